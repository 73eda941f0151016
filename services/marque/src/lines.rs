//! JSON lines in, JSON lines out: one answer for each line, whatever the line holds.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use marque_identity::Code;

use crate::output::Answer;
use crate::stdout::{self, Stdout};
use crate::{Exit, Failure};

/// A question's chain may be 256 KiB (PROTOCOL §2), and its arguments are as large as a message; eight times that.
pub(crate) const LINE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What one line gets, and whether it is a yes.
pub(crate) struct LineAnswer {
    /// The answer's JSON text, without a newline.
    pub text: String,
    /// Whether it is a yes.
    pub yes: bool,
}

/// Which side broke off.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The questions can't be read on.
    Input(std::io::Error),
    /// The answers can't be written.
    Output(std::io::Error),
}

/// Answers every line of `input` on `output`, in order; `Ok(true)` where all were a yes.
///
/// A line longer than [`LINE_BYTES_MAX`] is skipped to its end and answered by `refuse`, as is one at which `answer`
/// panics. Blank lines are lines. A last line without a newline counts; an empty rest does not.
pub(crate) fn answer_each(
    input: impl Read,
    mut output: impl Write,
    answer: impl Fn(&[u8]) -> LineAnswer,
    refuse: impl Fn(Failure) -> LineAnswer,
) -> Result<bool, Broken> {
    let mut input = BufReader::with_capacity(64 * 1024, input);
    let mut line = Vec::new();
    let mut all_yes = true;
    while let Some(whole) = next_line(&mut input, &mut line).map_err(Broken::Input)? {
        let given = if whole {
            catch_unwind(AssertUnwindSafe(|| answer(&line)))
                .unwrap_or_else(|_| refuse(Failure::new(Code::Internal, "judging this line panicked")))
        } else {
            refuse(Failure::new(Code::Oversize, format!("the line is longer than {LINE_BYTES_MAX} bytes")))
        };
        all_yes &= given.yes;
        let written = output.write_all(given.text.as_bytes()).and_then(|()| output.write_all(b"\n"));
        // Whoever asks line by line waits for the answer; whoever pours in a file does not pay for each.
        let written = written.and_then(|()| if input.buffer().is_empty() { output.flush() } else { Ok(()) });
        match written {
            Ok(()) => {}
            // A reader that went away has seen what it wanted: what it was told so far counts.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(all_yes),
            Err(error) => return Err(Broken::Output(error)),
        }
    }
    match output.flush() {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Broken::Output(error)),
        Ok(()) | Err(_) => Ok(all_yes),
    }
}

/// The same from stdin, or from a file, to stdout.
pub(crate) fn answer_stdout(
    file: Option<&Path>,
    answer: impl Fn(&[u8]) -> LineAnswer,
    refuse: impl Fn(Failure) -> LineAnswer,
) -> Result<Answer, Failure> {
    let output = BufWriter::new(Stdout::open()?);
    let opened = |file: &Path| std::fs::File::open(file).map_err(|error| Failure::file(file, &error));
    let all = match file {
        None => answer_each(std::io::stdin().lock(), output, answer, refuse),
        Some(file) => answer_each(opened(file)?, output, answer, refuse),
    };
    match all {
        Ok(all) => Ok(Answer::silent().exit(if all { Exit::Yes } else { Exit::No })),
        Err(Broken::Input(error)) => Err(Failure::file(file.unwrap_or(Path::new("stdin")), &error)),
        Err(Broken::Output(error)) => stdout::arrived(Err(error)).map(|_| Answer::silent()),
    }
}

/// Reads the next line without its newline: `Some(true)` whole, `Some(false)` too long and skipped, `None` at the end.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<Option<bool>> {
    line.clear();
    let (mut whole, mut any) = (true, false);
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(any.then_some(whole));
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        whole &= line.len() + part.len() <= LINE_BYTES_MAX;
        if whole {
            line.extend_from_slice(part);
        } else {
            line.clear();
        }
        let taken = end.map_or(buffer.len(), |end| end + 1);
        input.consume(taken);
        if end.is_some() {
            return Ok(Some(whole));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(input: &[u8]) -> (Vec<String>, bool) {
        let mut output = Vec::new();
        let echo = |line: &[u8]| match line {
            b"panic" => panic!("asked to"),
            line => LineAnswer { text: format!("{}", line.len()), yes: true },
        };
        let refuse = |failure: Failure| LineAnswer { text: failure.code.to_string(), yes: false };
        let all = answer_each(input, &mut output, echo, refuse).unwrap();
        (String::from_utf8(output).unwrap().lines().map(str::to_owned).collect(), all)
    }

    #[test]
    fn gives_one_answer_for_each_line() {
        assert_eq!(answers(b"ab\n\nabc"), (vec!["2".into(), "0".into(), "3".into()], true));
        assert_eq!(answers(b""), (vec![], true));
        assert_eq!(answers(b"\n"), (vec!["0".into()], true));
    }

    #[test]
    fn skips_a_line_that_is_too_long_and_goes_on() {
        let mut input = vec![b'x'; LINE_BYTES_MAX];
        input.extend_from_slice(b"\n");
        assert_eq!(answers(&input).0, vec![LINE_BYTES_MAX.to_string()]);
        input.insert(0, b'x');
        input.extend_from_slice(b"ok\n");
        assert_eq!(answers(&input), (vec!["oversize".into(), "2".into()], false));
    }

    /// Fails at each write in this way.
    struct Wall(std::io::ErrorKind);

    impl Write for Wall {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_and_a_full_disk_is() {
        use std::io::ErrorKind::{BrokenPipe, StorageFull};
        let refuse = |_| LineAnswer { text: String::new(), yes: false };
        for yes in [true, false] {
            let answer = |_: &[u8]| LineAnswer { text: "x".into(), yes };
            let gone = answer_each(&b"a\nb\n"[..], Wall(BrokenPipe), answer, refuse);
            assert!(matches!(gone, Ok(all) if all == yes), "{gone:?}");
            let full = answer_each(&b"a\nb\n"[..], BufWriter::new(Wall(StorageFull)), answer, refuse);
            assert!(matches!(full, Err(Broken::Output(_))), "{full:?}");
        }
    }

    #[test]
    fn survives_a_panic() {
        assert_eq!(answers(b"panic\nok\n"), (vec!["internal".into(), "2".into()], false));
    }
}
