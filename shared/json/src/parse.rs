//! The strict reader.

use std::borrow::Cow;

use crate::scan::plain_length;
use crate::value::repeated;
use crate::{Json, Number, Object};

/// The largest text of ours is a chain (256 KiB) inside a request; twice that leaves room for its frame.
const BYTES_MAX: usize = 512 * 1024;
/// Constraints nest 32 deep, two levels each (AAT §3.4), inside a handful of levels of token.
const DEPTH_MAX: usize = 96;

/// How large and how deep a text may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Size of the text in bytes.
    pub bytes_max: usize,
    /// Arrays and objects inside each other; a scalar has depth 0.
    pub depth_max: usize,
}

impl Limits {
    /// 512 KiB and depth 96.
    pub const DEFAULT: Self = Self { bytes_max: BYTES_MAX, depth_max: DEPTH_MAX };

    /// The default depth, and at most this many bytes.
    pub const fn bytes(bytes_max: usize) -> Self {
        Self { bytes_max, depth_max: DEPTH_MAX }
    }
}

/// Why a text was refused. Offsets count bytes from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// More bytes than allowed.
    #[error("{bytes} bytes of JSON where {bytes_max} are allowed")]
    Oversize {
        /// Size of the text.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Nested too deeply.
    #[error("nested deeper than {depth_max} at byte {offset}")]
    TooDeep {
        /// Where.
        offset: usize,
        /// The limit.
        depth_max: usize,
    },
    /// Not UTF-8.
    #[error("not UTF-8 at byte {offset}")]
    NotUtf8 {
        /// Where.
        offset: usize,
    },
    /// Not RFC 8259's grammar, or a lone surrogate.
    #[error("{expected} expected at byte {offset}")]
    Syntax {
        /// Where.
        offset: usize,
        /// What would have been right.
        expected: &'static str,
    },
    /// One name twice in an object.
    #[error("member `{name}` stands twice in one object")]
    DuplicateMember {
        /// The name, cut at 64 characters.
        name: String,
    },
    /// Well-formed JSON of another shape than the type it is read into.
    #[error("{reason}")]
    Shape {
        /// `serde_json`'s words.
        reason: String,
    },
}

/// One member of the outermost object: its name, its value, and the value's bytes as received.
#[derive(Debug, Clone, PartialEq)]
pub struct Member<'a> {
    /// The name, unescaped.
    pub name: Cow<'a, str>,
    /// The value.
    pub value: Json<'a>,
    /// The value's bytes as received.
    pub raw: &'a [u8],
}

/// Reads one JSON text (RFC 8259), strictly: UTF-8, no duplicate members, no lone surrogates, nothing behind it.
pub fn parse<'a>(bytes: &'a [u8], limits: Limits) -> Result<Json<'a>, JsonError> {
    let mut reader = Reader::new(bytes, limits)?;
    reader.skip_space();
    let value = reader.value(limits.depth_max)?;
    reader.end()?;
    Ok(value)
}

/// Reads one JSON object as [`parse`] does, keeping the bytes of each member's value.
pub fn parse_members<'a>(bytes: &'a [u8], limits: Limits) -> Result<Vec<Member<'a>>, JsonError> {
    let mut reader = Reader::new(bytes, limits)?;
    reader.skip_space();
    let mut members = Vec::with_capacity(MEMBERS_EXPECTED);
    reader.members(limits.depth_max, |reader, depth, name| {
        let start = reader.at;
        let value = reader.value(depth)?;
        members.push(Member { name, value, raw: &reader.bytes()[start..reader.at] });
        Ok(())
    })?;
    if let Some(name) = repeated(members.iter().map(|member| member.name.as_ref()), members.len()) {
        return Err(duplicate(name));
    }
    reader.end()?;
    Ok(members)
}

/// A token, a proof or a record has a dozen members or so.
const MEMBERS_EXPECTED: usize = 16;

fn duplicate(name: &str) -> JsonError {
    JsonError::DuplicateMember { name: name.chars().take(64).collect() }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth_max: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], limits: Limits) -> Result<Self, JsonError> {
        if bytes.len() > limits.bytes_max {
            return Err(JsonError::Oversize { bytes: bytes.len(), bytes_max: limits.bytes_max });
        }
        let text = std::str::from_utf8(bytes).map_err(|error| JsonError::NotUtf8 { offset: error.valid_up_to() })?;
        Ok(Self { text, at: 0, depth_max: limits.depth_max })
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn peek(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    fn expected<T>(&self, expected: &'static str) -> Result<T, JsonError> {
        Err(JsonError::Syntax { offset: self.at, expected })
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn end(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { self.expected("the end") }
    }

    fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), JsonError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        self.expected(expected)
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        match self.peek() {
            Some(b'{') => {
                // Inner objects may be many, and have few members or none.
                let mut members = Vec::with_capacity(if depth == self.depth_max { MEMBERS_EXPECTED } else { 0 });
                self.members(depth, |reader, depth, name| {
                    members.push((name, reader.value(depth)?));
                    Ok(())
                })?;
                Object::from_members(members).map(Json::Object).map_err(|name| duplicate(&name))
            }
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Json::Number),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => self.expected("a value"),
        }
    }

    fn word(&mut self, word: &'static str, value: Json<'a>) -> Result<Json<'a>, JsonError> {
        if !self.bytes()[self.at..].starts_with(word.as_bytes()) {
            return self.expected("a value");
        }
        self.at += word.len();
        Ok(value)
    }

    fn descend(&self, depth: usize) -> Result<usize, JsonError> {
        depth.checked_sub(1).ok_or(JsonError::TooDeep { offset: self.at, depth_max: self.depth_max })
    }

    fn array(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        let depth = self.descend(depth)?;
        let mut elements = Vec::new();
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(elements));
        }
        loop {
            self.skip_space();
            elements.push(self.value(depth)?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::Array(elements));
                }
                _ => return self.expected("`,` or `]`"),
            }
        }
    }

    /// Reads an object: `member` is handed each name with the reader at its value, which it reads.
    fn members(
        &mut self,
        depth: usize,
        mut member: impl FnMut(&mut Self, usize, Cow<'a, str>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.take(b'{', "an object")?;
        let depth = self.descend(depth)?;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.expected("a member name");
            }
            let name = self.string()?;
            self.skip_space();
            self.take(b':', "`:`")?;
            self.skip_space();
            member(self, depth, name)?;
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.expected("`,` or `}`"),
            }
            self.skip_space();
        }
    }

    fn number(&mut self) -> Result<Number<'a>, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return self.expected("a digit"),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(Number::from_grammatical(&self.text[start..self.at]))
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<(), JsonError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.expected("a digit");
        }
        self.digits();
        Ok(())
    }

    #[inline]
    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.at += 1;
        let run = self.run();
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(run));
        }
        self.unescaped(run).map(Cow::Owned)
    }

    /// The rest of a string that is not one run.
    #[cold]
    fn unescaped(&mut self, run: &str) -> Result<String, JsonError> {
        let mut out = String::from(run);
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(0..=0x1f) => return self.expected("no control character"),
                Some(_) => out.push_str(self.run()),
                None => return self.expected("`\"`"),
            }
        }
    }

    /// Characters up to the next quote, backslash or control character.
    fn run(&mut self) -> &'a str {
        let start = self.at;
        let rest = &self.bytes()[start..];
        self.at += plain_length(rest);
        &self.text[start..self.at]
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        self.at += 1;
        let Some(kind) = self.peek() else { return self.expected("an escape") };
        self.at += 1;
        Ok(match kind {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return self.expected("an escape"),
        })
    }

    fn unicode(&mut self) -> Result<char, JsonError> {
        let first = self.hex4()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            if !self.bytes()[self.at..].starts_with(b"\\u") {
                return self.expected("a low surrogate");
            }
            self.at += 2;
            let second = self.hex4()?;
            if !(0xdc00..0xe000).contains(&second) {
                return self.expected("a low surrogate");
            }
            0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(code).map_or_else(|| self.expected("no lone surrogate"), Ok)
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let digits = self.bytes().get(self.at..self.at + 4).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let Some(digits) = digits else { return self.expected("four hexadecimal digits") };
        self.at += 4;
        Ok(digits.iter().fold(0, |code, c| code << 4 | char::from(*c).to_digit(16).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Json<'_>, JsonError> {
        parse(text.as_bytes(), Limits::DEFAULT)
    }

    #[test]
    fn reads_what_is_json() {
        for text in [
            r#"{"a":[1,2.5,-7,{"b":null}],"c":"\u00e9\ud83d\ude00\n","d":true,"e":false,"":""}"#,
            " [ ] ",
            "{ }",
            "0",
            "\"\"",
            "\"é\"",
        ] {
            let ours = read(text).unwrap();
            let theirs: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&ours.canonical()).unwrap(), theirs, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not() {
        for text in [
            "",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "-",
            "nul",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "\"\\u12\"",
            "\"a",
            "\"\n\"",
            "\"\t\"",
            "[1 2]",
            "1 1",
            "{\"a\" 1}",
            "{\"a\"",
            "[",
            "NaN",
            "Infinity",
            "\u{feff}1",
            "'a'",
            "\"ab\u{1}c\"",
            "\"\\n\u{1}\"",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_duplicate_members_wherever_they_stand() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"b":2,"\u0061":1}]}"#] {
            assert!(matches!(read(text), Err(JsonError::DuplicateMember { .. })), "{text}");
        }
        let many: String = (0..40).map(|n| format!("\"k{n}\":0,")).collect();
        assert!(read(&format!("{{{many}\"z\":0}}")).is_ok());
        assert!(matches!(read(&format!("{{{many}\"k7\":0}}")), Err(JsonError::DuplicateMember { .. })));
    }

    #[test]
    fn bounds_depth_and_size() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(read(&nested(Limits::DEFAULT.depth_max)).is_ok());
        assert!(matches!(read(&nested(Limits::DEFAULT.depth_max + 1)), Err(JsonError::TooDeep { .. })));
        assert!(matches!(read(&"[".repeat(100_000)), Err(JsonError::TooDeep { .. })));
        assert!(parse(b"1234", Limits::bytes(4)).is_ok());
        assert!(matches!(parse(b"12345", Limits::bytes(4)), Err(JsonError::Oversize { .. })));
    }

    #[test]
    fn keeps_each_members_bytes() {
        let members = parse_members(br#" {"a": [1, 2] ,"b":"x"}"#, Limits::DEFAULT).unwrap();
        assert_eq!((members[0].raw, members[1].raw), (&b"[1, 2]"[..], &b"\"x\""[..]));
        assert!(parse_members(b"[]", Limits::DEFAULT).is_err());
        assert!(parse_members(br#"{"a":1,"a":2}"#, Limits::DEFAULT).is_err());
    }

    proptest! {
        #[test]
        fn never_panics_and_agrees_with_serde_json(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if parse(&bytes, Limits::DEFAULT).is_ok() {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok() || String::from_utf8_lossy(&bytes).contains('e') || String::from_utf8_lossy(&bytes).contains('E'));
            }
        }

        #[test]
        fn agrees_with_serde_json_on_json_like_text(text in r#"[\[\]{},:"a\\u0d8 \-.1e+]{0,24}"#) {
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            match read(&text) {
                Ok(ours) => if let Ok(theirs) = theirs {
                    prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&ours.canonical()).unwrap().to_string(), serde_json::from_slice::<serde_json::Value>(&crate::to_canonical(&theirs).unwrap()).unwrap().to_string());
                },
                Err(JsonError::DuplicateMember { .. }) => {}
                Err(_) => prop_assert!(theirs.is_err(), "{}", text),
            }
        }
    }
}
