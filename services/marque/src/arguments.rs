//! A command line that could not be read: what is wrong with it, in which argument, in the form that it asks for.

use std::ffi::OsString;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::Cli;
use crate::output::{Answer, Color, Format, Output};
use crate::{Exit, Failure, stdout};

/// Help and versions are answers; anything else that clap stops at is a usage failure.
pub(crate) fn refuse(args: &[OsString], error: &clap::Error) -> Exit {
    let format = wanted_format(args);
    let out = Output::new(format, Color::Auto);
    match (error.kind(), format) {
        (ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, Format::Human) => {
            let text = error.render();
            let text = if stdout::is_terminal() { text.ansi().to_string() } else { text.to_string() };
            out.answer(&Answer::yes(true, text.trim_end()))
        }
        (ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, Format::Json | Format::Ndjson) => {
            let text = error.render().to_string();
            out.answer(&Answer::yes(serde_json::json!({ "help": text }), ""))
        }
        (ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, Format::Human) => {
            // Whoever named no command gets to read which there are; on stderr, for it is no answer.
            let _ = error.print();
            out.failure(&failure(args, error))
        }
        (_, _) => out.failure(&failure(args, error)),
    }
}

/// What is wrong, and in which argument.
fn failure(args: &[OsString], error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    // 1. What: everything that clap says before its tips and the usage, on one line.
    let said = text.split("\n\n").next().unwrap_or_default();
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let what = match (error.kind(), lines.split_first()) {
        // Its text is the help, whose first line is no error.
        (ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, _) | (_, None) => {
            "what shall be done? a command or its verb is missing".to_owned()
        }
        (_, Some((first, [list @ .., last]))) if first.ends_with(':') => {
            let separator = if list.is_empty() { "" } else { ", " };
            format!("{first} {}{separator}{last}", list.join(", "))
        }
        (_, Some(_)) => lines.join(" "),
    };
    // 2. In which argument.
    let named = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand];
    let argument = named.into_iter().find_map(|kind| match error.get(kind)? {
        ContextValue::String(name) => Some(name.clone()),
        ContextValue::Strings(names) => Some(names.join(", ")),
        _ => None,
    });
    // 3. What to do: clap's own tips, then the command's help.
    let tips = text.split("\n\n").flat_map(str::lines).filter_map(|line| line.trim().strip_prefix("tip: "));
    let help = format!("`{} --help` says what it takes", command(args));
    let hint = tips.map(str::to_owned).chain([help]).collect::<Vec<_>>().join("; ");
    Failure { argument: argument.map(Into::into), ..Failure::usage(what) }.hint(hint)
}

/// The command that was being read: the words of the line that lead to it.
fn command(args: &[OsString]) -> String {
    let (root, mut words) = (Cli::command(), vec!["marque".to_owned()]);
    let mut at = &root;
    for word in args.iter().skip(1).filter_map(|arg| arg.to_str()) {
        if let Some(below) = at.find_subcommand(word) {
            words.push(below.get_name().to_owned());
            at = below;
        }
    }
    words.join(" ")
}

/// The form asked for on a command line that could not be read.
fn wanted_format(args: &[OsString]) -> Format {
    let texts: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).take_while(|arg| *arg != "--").collect();
    let follows = |word: &str| {
        texts.windows(2).any(|pair| matches!(pair[0], "-o" | "--output") && pair[1] == word)
            || texts.iter().any(|arg| {
                arg.strip_prefix("--output=")
                    .or_else(|| arg.strip_prefix("-o"))
                    .map(|rest| rest.trim_start_matches('='))
                    == Some(word)
            })
    };
    if follows("ndjson") {
        Format::Ndjson
    } else if follows("json") || texts.iter().any(|arg| matches!(*arg, "-j" | "--json")) {
        Format::Json
    } else {
        Format::Human
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> Failure {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let error = Cli::command().try_get_matches_from(&args).unwrap_err();
        failure(&args, &error)
    }

    #[test]
    fn says_what_is_wrong_in_which_argument_and_whose_help_to_read() {
        let missing = refused("marque token issue --home h --purpose p");
        for name in ["--task <TASK>", "--tools <TOOLS>"] {
            assert!(
                missing.message.contains(name) && missing.argument.as_deref().unwrap().contains(name),
                "{missing:?}"
            );
        }
        assert!(missing.hint.contains("`marque token issue --help`"), "{missing:?}");
        let value = refused("marque audit query --limit many");
        assert!(value.message.contains("many") && value.argument.as_deref() == Some("--limit <LIMIT>"), "{value:?}");
        let both = refused("marque -j -o json doctor");
        assert!(both.message.contains("--json") && both.message.contains("--output"), "{both:?}");
        let kind = refused("marque revoke tokn x");
        assert!(kind.message.contains("tokn") && kind.hint.contains("'token'"), "{kind:?}");
        assert!(kind.hint.contains("`marque revoke --help`"), "{kind:?}");
        let verb = refused("marque agent lss");
        assert!(verb.message.contains("lss") && verb.argument.as_deref() == Some("lss"), "{verb:?}");
        assert!(verb.hint.contains("'ls'") && verb.hint.contains("`marque agent --help`"), "{verb:?}");
        let flag = refused("marque agent ls --lmit 3");
        assert!(flag.argument.as_deref() == Some("--lmit") && flag.hint.contains("--limit"), "{flag:?}");
        for line in ["marque", "marque token"] {
            assert!(refused(line).message.starts_with("what shall be done?"), "{line}");
        }
        for line in ["marque", "marque token issue", "marque nope", "marque explain", "marque revoke tokn x"] {
            let refused = refused(line);
            assert_eq!((refused.code.as_str(), refused.exit), ("usage", Exit::Usage), "{line}");
            assert!(!refused.message.contains('\n') && !refused.message.contains("Usage:"), "{refused:?}");
        }
    }
}
