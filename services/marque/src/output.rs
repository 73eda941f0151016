//! Where words go: data on stdout, talk on stderr; in JSON mode exactly one document on stdout, whatever happens.

use std::io::Write as _;

use clap::ValueEnum;
use marque_identity::Code;
use serde::Serialize;
use serde_json::Value;

use crate::{Exit, Failure, stdout};

/// In which form data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people: aligned text.
    #[default]
    Human,
    /// One JSON document.
    Json,
    /// A list as one JSON document per line; anything else as one document on one line.
    Ndjson,
}

/// When text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    /// On a terminal without `NO_COLOR`.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a command has to say when it is done.
#[derive(Debug)]
pub struct Answer {
    /// The document of JSON mode.
    pub data: Value,
    /// The text for people, without a final newline.
    pub text: String,
    /// The member of the document that is a list: NDJSON mode writes it alone, one row on each line.
    pub rows: Option<&'static str>,
    /// The exit code.
    pub exit: Exit,
    /// What was changed, where something was: who does not get the answer must know it all the same.
    pub changed: Option<Changed>,
}

/// What a command has changed before it answers.
#[derive(Debug)]
pub struct Changed {
    /// What it was, and how to learn the rest.
    pub what: String,
    /// The key with which asking again changes nothing twice.
    pub retry_key: Option<String>,
}

impl Answer {
    /// A yes.
    pub fn yes(data: impl Serialize, text: impl Into<String>) -> Self {
        Self { data: to_value(&data), text: text.into(), rows: None, exit: Exit::Yes, changed: None }
    }

    /// The same, which is a list beside what is said of it.
    #[must_use]
    pub fn rows(mut self, member: &'static str) -> Self {
        self.rows = Some(member);
        self
    }

    /// A yes that has said everything already.
    pub fn silent() -> Self {
        Self { data: Value::Null, text: String::new(), rows: None, exit: Exit::Yes, changed: None }
    }

    /// The same of a command that has changed something: what, and how to learn the rest if this answer is lost.
    #[must_use]
    pub fn changed(mut self, what: impl Into<String>) -> Self {
        self.changed = Some(Changed { what: what.into(), retry_key: None });
        self
    }

    /// The same of a request that is asked again under this key.
    #[must_use]
    pub fn changed_by(mut self, what: impl Into<String>, retry_key: &str) -> Self {
        self.changed = Some(Changed { what: what.into(), retry_key: Some(retry_key.to_owned()) });
        self
    }

    /// The same data, with another exit code.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

/// Any of our own answers as a JSON value.
pub fn to_value(data: &impl Serialize) -> Value {
    serde_json::to_value(data).unwrap_or_else(|error| Value::String(format!("unprintable: {error}")))
}

/// The two channels and the form in which to speak.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
    color: Color,
}

impl Output {
    /// Speaks in this form.
    pub fn new(format: Format, color: Color) -> Self {
        Self { format, color }
    }

    /// The form.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether people read: no JSON was asked for.
    pub fn is_human(&self) -> bool {
        self.format == Format::Human
    }

    /// One line of talk, on stderr. Never part of the data.
    pub fn talk(&self, line: impl AsRef<str>) {
        // A closed stderr must not stop a command.
        let _ = writeln!(std::io::stderr().lock(), "{}", line.as_ref());
    }

    /// One line for people while the command runs, on stdout; nothing in JSON mode.
    pub fn line(&self, line: impl AsRef<str>) -> Result<(), Failure> {
        if self.is_human() { stdout::put(line.as_ref()) } else { Ok(()) }
    }

    /// One item of a list that is still growing: a line of its own in NDJSON mode, nothing otherwise.
    pub fn item(&self, item: &impl Serialize) -> Result<(), Failure> {
        if self.format == Format::Ndjson { stdout::put(&to_value(item).to_string()) } else { Ok(()) }
    }

    /// The command's answer, once, at its end: its exit code, or what it means that nobody got it.
    pub fn answer(&self, answer: &Answer) -> Exit {
        match self.tell(answer) {
            Ok(()) => answer.exit,
            Err(lost) => self.failure(&unheard(lost, answer.changed.as_ref())),
        }
    }

    /// Writes an answer.
    pub fn tell(&self, answer: &Answer) -> Result<(), Failure> {
        let rows = answer.rows.and_then(|member| answer.data.get(member)).filter(|_| self.format == Format::Ndjson);
        match (self.format, rows.unwrap_or(&answer.data)) {
            (_, Value::Null) => Ok(()),
            (Format::Human, _) if answer.text.is_empty() => Ok(()),
            (Format::Human, _) => stdout::put(&answer.text),
            (Format::Json, data) => stdout::put(&pretty(data)),
            (Format::Ndjson, Value::Array(items)) if items.is_empty() => Ok(()),
            (Format::Ndjson, Value::Array(items)) => {
                stdout::put(&items.iter().map(Value::to_string).collect::<Vec<_>>().join("\n"))
            }
            (Format::Ndjson, data) => stdout::put(&data.to_string()),
        }
    }

    /// The command's failure: people read it on stderr, JSON mode makes it the one document. Where that can't be
    /// written, stderr has both.
    pub fn failure(&self, failure: &Failure) -> Exit {
        if self.is_human() || failure.code == Code::OutputLost {
            self.in_words(failure);
            return failure.exit;
        }
        let mut document = serde_json::json!({ "error": failure });
        document["error"]["why"] = failure.code.why().into();
        let text = if self.format == Format::Json { pretty(&document) } else { document.to_string() };
        if let Err(lost) = stdout::put(&text) {
            self.in_words(failure);
            self.in_words(&lost);
        }
        failure.exit
    }

    fn in_words(&self, failure: &Failure) {
        let at = failure.step.as_ref().map(|step| format!(" at step {step}")).unwrap_or_default();
        self.talk(format!("{}[{}]{at}: {}", self.paint(Paint::Red, "error"), failure.code, failure.message));
        self.talk(format!("  why: {}", failure.code.why()));
        if let Some(key) = &failure.retry_key {
            self.talk(format!("  retry with: --retry-key {key}"));
        }
        self.talk(format!("  {} {}", self.paint(Paint::Cyan, "hint:"), failure.hint));
    }

    /// The text in a colour, where colours are shown.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        let shown = match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => stdout::is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        if shown && self.is_human() { format!("\x1b[{}m{text}\x1b[0m", paint.sgr()) } else { text.to_owned() }
    }
}

/// What a colour is for.
#[derive(Debug, Clone, Copy)]
pub enum Paint {
    /// Good.
    Green,
    /// Bad.
    Red,
    /// Mind this.
    Yellow,
    /// A command to type.
    Cyan,
    /// A heading.
    Bold,
    /// Beside the point.
    Dim,
}

impl Paint {
    fn sgr(self) -> &'static str {
        match self {
            Self::Green => "32",
            Self::Red => "31",
            Self::Yellow => "33",
            Self::Cyan => "36",
            Self::Bold => "1",
            Self::Dim => "2",
        }
    }
}

/// An answer that nobody got. What was changed may have happened for all that they know.
fn unheard(lost: Failure, changed: Option<&Changed>) -> Failure {
    match changed {
        None => lost,
        Some(Changed { what, retry_key }) => {
            let lost = Failure { exit: Exit::OutcomeUnknown, retry_key: retry_key.clone(), ..lost };
            lost.hint(what.clone())
        }
    }
}

fn pretty(data: &Value) -> String {
    serde_json::to_string_pretty(data).unwrap_or_else(|_| data.to_string())
}

/// Words that others chose, as a terminal may be shown them: without the control characters by which they could move its
/// cursor, name its window or begin a line of their own.
pub fn tame(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// Rows under a heading, each column as wide as its widest cell.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| tame(cell)).collect()).collect();
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut heading.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

/// `1 tool`, `2 tools`.
pub fn counted(count: u64, noun: &str) -> String {
    match (count, noun.strip_suffix('f')) {
        (1, _) => format!("1 {noun}"),
        // A leaf, two leaves.
        (_, Some(stem)) => format!("{count} {stem}ves"),
        (_, None) => format!("{count} {noun}s"),
    }
}

/// `name  value` lines, the values under each other.
pub fn facts(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let tamed = |value: &str| value.lines().map(tame).collect::<Vec<_>>().join("\n");
    let lines: Vec<String> = pairs.iter().map(|(name, value)| format!("{name:<width$}  {}", tamed(value))).collect();
    lines.join("\n")
}
