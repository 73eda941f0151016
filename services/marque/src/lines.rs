//! JSON lines in, JSON lines out: one answer for each line, whatever the line holds.

use std::io::{BufRead, BufReader, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use marque_identity::Code;

use crate::Failure;

/// A question's chain may be 256 KiB (PROTOCOL §2), and its arguments are as large as a message; eight times that.
pub(crate) const LINE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What one line gets, and whether it is a yes.
pub(crate) struct LineAnswer {
    /// The answer's JSON text, without a newline.
    pub text: String,
    /// Whether it is a yes.
    pub yes: bool,
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
) -> std::io::Result<bool> {
    let mut input = BufReader::with_capacity(64 * 1024, input);
    let mut line = Vec::new();
    let mut all_yes = true;
    while let Some(whole) = next_line(&mut input, &mut line)? {
        let given = if whole {
            catch_unwind(AssertUnwindSafe(|| answer(&line)))
                .unwrap_or_else(|_| refuse(Failure::new(Code::Internal, "judging this line panicked")))
        } else {
            refuse(Failure::new(Code::Oversize, format!("the line is longer than {LINE_BYTES_MAX} bytes")))
        };
        all_yes &= given.yes;
        output.write_all(given.text.as_bytes())?;
        output.write_all(b"\n")?;
        // Whoever asks line by line waits for the answer; whoever pours in a file does not pay for each.
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
    output.flush()?;
    Ok(all_yes)
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

    #[test]
    fn survives_a_panic() {
        assert_eq!(answers(b"panic\nok\n"), (vec!["internal".into(), "2".into()], false));
    }
}
