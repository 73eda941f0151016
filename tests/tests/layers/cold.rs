//! The world in the sources of L0 to L2: files, processes, sockets, clocks, threads, randomness that was not handed in.
//!
//! Reads tokens, so that comments and texts are nothing, and follows `mod` lines, so that tests are nothing either.
//! Does not resolve names: what is renamed on its way (`use std as s`) is itself refused.

use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Paths that lead out, from their first word; whatever lies below, too.
const OUTSIDE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    // A glob, or another name, hides which of them is meant.
    "std::*",
    "std as",
    "std::io::*",
    "async_nats",
    "getrandom",
    "jiff",
    "rand",
    "rand_core",
    "tokio",
    "tracing",
    "ureq",
];
/// Values that merely live in one of them.
const VALUES: &[&str] = &["std::net::IpAddr", "std::net::Ipv4Addr", "std::net::Ipv6Addr"];
/// Names that are a clock, or randomness, wherever they stand.
const ANYWHERE: &[&str] = &["Instant", "SystemTime", "UNIX_EPOCH", "OsRng", "RandomState"];
/// What makes a value out of them: of some type, `Type::generate`.
const MADE: &[&str] = &["generate", "now_v1", "now_v6", "now_v7", "new_v4"];
/// Methods of paths that ask the file system, and of instants that ask the clock.
const METHODS: &[&str] = &["canonicalize", "elapsed", "exists", "is_dir", "is_file", "read_dir", "try_exists"];
/// Macros that speak or ask.
const MACROS: &[&str] = &["dbg", "eprint", "eprintln", "print", "println"];

/// What a crate's sources touch, as `file: name`, once each; the file as from the crate's folder.
pub(crate) fn touched(krate: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for file in files(&krate.join("src/lib.rs")) {
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let name = file.strip_prefix(krate).unwrap().display().to_string();
        found.extend(touched_by(&text).into_iter().map(|what| format!("{name}: {what}")));
    }
    found.sort();
    found.dedup();
    found
}

/// A source and those of its modules that are no tests.
fn files(file: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let folder = match file.file_stem().unwrap().to_str().unwrap() {
        "lib" | "mod" => file.parent().unwrap().to_owned(),
        stem => file.parent().unwrap().join(stem),
    };
    let mut all = vec![file.to_owned()];
    let tokens = without_tests(text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display())));
    assert!(!text.contains("#[path"), "{}: a module that stands elsewhere", file.display());
    for module in modules(&tokens) {
        let beside = folder.join(format!("{module}.rs"));
        all.extend(files(&if beside.exists() { beside } else { folder.join(module).join("mod.rs") }));
    }
    all
}

/// The names in `mod name;`.
fn modules(tokens: &[TokenTree]) -> Vec<String> {
    let words = words(tokens);
    let named = words.windows(3).filter(|next| next[0] == "mod" && next[2] == ";");
    named.map(|next| next[1].clone()).collect()
}

fn touched_by(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    look(&without_tests(text.parse().expect("it compiles")), &mut found);
    found
}

/// The tokens without the items under `#[cfg(test)]`.
fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let mut kept: Vec<TokenTree> = Vec::new();
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        let is_test = is_mark(&token, '#')
            && matches!(rest.peek(), Some(TokenTree::Group(group)) if group.to_string().replace(' ', "") == "[cfg(test)]");
        if !is_test {
            kept.push(token);
            continue;
        }
        // The item ends with its body, or with a semicolon where it has none.
        rest.next();
        for token in rest.by_ref() {
            let body = matches!(&token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
            if body || is_mark(&token, ';') {
                break;
            }
        }
    }
    kept
}

fn is_mark(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

fn words(tokens: &[TokenTree]) -> Vec<String> {
    tokens.iter().map(ToString::to_string).collect()
}

/// Looks through the tokens for paths, and into what is in brackets.
fn look(tokens: &[TokenTree], found: &mut Vec<String>) {
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(_) => {
                let (paths, end) = paths(tokens, at);
                let is_method = at > 0 && is_mark(&tokens[at - 1], '.');
                found.extend(paths.iter().filter(|name| is_method && METHODS.contains(&name.as_str())).cloned());
                let is_macro = tokens.get(end).is_some_and(|next| is_mark(next, '!'));
                let renamed = matches!(tokens.get(end), Some(TokenTree::Ident(next)) if next == "as");
                for path in paths {
                    let path = if renamed && path == "std" { "std as".to_owned() } else { path };
                    found.extend(judged(&path, is_macro));
                }
                at = end.max(at + 1);
                // What stands in the braces of a `use` has been taken with the path.
            }
            TokenTree::Group(group) => {
                look(&without_tests(group.stream()), found);
                at += 1;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => at += 1,
        }
    }
}

/// The paths that begin here, one for each leaf of a `use` tree, and where they end.
fn paths(tokens: &[TokenTree], from: usize) -> (Vec<String>, usize) {
    let mut path = tokens[from].to_string();
    let mut at = from + 1;
    while tokens.get(at).is_some_and(|one| is_mark(one, ':')) && tokens.get(at + 1).is_some_and(|two| is_mark(two, ':'))
    {
        match tokens.get(at + 2) {
            Some(TokenTree::Ident(next)) => path = format!("{path}::{next}"),
            Some(next) if is_mark(next, '*') => return (vec![format!("{path}::*")], at + 3),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                return (leaves(&path, group.stream()), at + 3);
            }
            // Generics: the path ends here as far as this is concerned.
            Some(_) | None => return (vec![path], at + 2),
        }
        at += 3;
    }
    (vec![path], at)
}

fn leaves(path: &str, tree: TokenStream) -> Vec<String> {
    let tokens: Vec<TokenTree> = tree.into_iter().collect();
    let mut all = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(_) => {
                let (below, end) = paths(&tokens, at);
                let renamed = matches!(tokens.get(end), Some(TokenTree::Ident(next)) if next == "as");
                for leaf in below {
                    all.push(match leaf.strip_prefix("self") {
                        Some("") if renamed => format!("{path} as"),
                        Some("") => path.to_owned(),
                        Some(_) | None => format!("{path}::{leaf}"),
                    });
                }
                at = end;
            }
            other => {
                if is_mark(other, '*') {
                    all.push(format!("{path}::*"));
                }
                at += 1;
            }
        }
    }
    all
}

/// What a path touches, if anything.
fn judged(path: &str, is_macro: bool) -> Option<String> {
    let path = path.replace("r#", "");
    let path = path.replacen("core::", "std::", usize::from(path.starts_with("core::")));
    let below = |outer: &str| path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    let is_value = VALUES.iter().any(|value| below(value));
    let leads_out = OUTSIDE.iter().any(|outer| below(outer)) && !is_value;
    let last = path.rsplit("::").next().unwrap_or(&path);
    let reads = path.split("::").any(|word| ANYWHERE.contains(&word));
    let makes = path.contains("::") && MADE.contains(&last);
    let speaks = is_macro && MACROS.contains(&last);
    (leads_out || reads || makes || speaks).then_some(path)
}

#[test]
fn the_scanner_finds_the_world_however_it_is_written() {
    let cases = [
        ("fn f() { std::fs::read(\"x\"); }", "std::fs::read"),
        ("use std::fs;", "std::fs"),
        ("use std::{collections::BTreeMap, fs::{self, File}};", "std::fs"),
        ("use std::{fmt, net::TcpStream};", "std::net::TcpStream"),
        ("use std::{self as s};", "std as"),
        ("use std as s;", "std as"),
        ("extern crate std as s;", "std as"),
        ("use std::*;", "std::*"),
        ("fn f() { ::std::env::var(\"X\"); }", "std::env::var"),
        ("fn f() { let at = std::time::SystemTime::now(); }", "std::time::SystemTime::now"),
        ("use std::time::*; fn f() { Instant::now(); }", "Instant::now"),
        ("fn f() { [format!(\"{}\", std::process::id())]; }", "std::process::id"),
        ("fn f() { if x { loop { std::thread::sleep(d) } } }", "std::thread::sleep"),
        ("async fn f() { tokio::time::sleep(d).await }", "tokio::time::sleep"),
        ("fn f() { getrandom::fill(&mut b); }", "getrandom::fill"),
        ("fn f() { Uuid::now_v7(); }", "Uuid::now_v7"),
        ("fn f() { TokenId::generate(); }", "TokenId::generate"),
        ("fn f() { println!(\"x\"); }", "println"),
        ("fn f(path: &Path) { if path.exists() { } }", "exists"),
        ("fn f() { std::r#fs::read(\"x\"); }", "std::fs::read"),
        ("fn f() { core::net::TcpStream }", "std::net::TcpStream"),
        ("use std::io::{Read, stdin};", "std::io::stdin"),
        ("#[cfg(not(test))] fn f() { std::fs::read(\"x\"); }", "std::fs::read"),
        ("#[cfg(test)] use std::fs; fn f() { std::env::args(); }", "std::env::args"),
        ("#[cfg(test)] mod tests { } mod m { fn f() { std::fs::read(\"x\"); } }", "std::fs::read"),
    ];
    for (bad, what) in cases {
        assert!(touched_by(bad).contains(&what.to_owned()), "{bad}: {:?}", touched_by(bad));
    }
}

#[test]
fn the_scanner_lets_values_texts_and_tests_be() {
    let good = [
        "//! std::fs::read\n/// `tokio::spawn` /* std::env */\nfn f() { /* std::net */ \"std::process::exit(1)\"; }",
        "use std::net::{IpAddr, Ipv4Addr};",
        "use std::io::{Read as _, Write};",
        "use std::time::Duration;",
        "#[cfg(test)] mod tests { use std::fs; fn f() { tokio::spawn(x); } }",
        "mod m { #[cfg(test)] mod tests { fn f() { std::env::var(\"X\"); } } }",
        "#[cfg(test)] use std::fs;",
        "use crate::env; fn f() { self.fs.read(); crate::fs::read(); }",
        "fn print(x: u8) { print(x) }",
        "fn generate() {} fn exists() { generate() }",
    ];
    for good in good {
        assert_eq!(touched_by(good), [""; 0], "{good}");
    }
}

#[test]
fn the_scanner_goes_through_modules_that_are_no_tests() {
    let krate = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = krate.path().join("src").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    };
    write("lib.rs", "pub mod a; mod b; #[cfg(test)] mod testing;");
    write("a.rs", "mod deep; #[cfg(test)] mod tests;");
    write("a/deep.rs", "fn f() { std::fs::read(\"x\"); std::fs::read(\"y\"); }");
    write("a/tests.rs", "fn f() { std::net::lookup(); }");
    write("b/mod.rs", "mod c;");
    write("b/c.rs", "use std::env;");
    write("testing.rs", "use std::process;");
    assert_eq!(touched(krate.path()), ["src/a/deep.rs: std::fs::read", "src/b/c.rs: std::env"]);
}
