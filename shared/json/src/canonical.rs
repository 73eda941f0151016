//! RFC 8785, the JSON Canonicalization Scheme.

use std::cmp::Ordering;

use crate::Json;
use crate::scan::plain_length;

impl Json<'_> {
    /// The RFC 8785 form: members by UTF-16 code units, ECMAScript's numbers, minimal escapes, no space.
    ///
    /// Defined for values whose numbers are within double range; one beyond keeps its text.
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        self.write_canonical(&mut out);
        out
    }

    /// Appends the RFC 8785 form to `out`.
    pub fn write_canonical(&self, out: &mut Vec<u8>) {
        match self {
            Json::Null => out.extend_from_slice(b"null"),
            Json::Bool(true) => out.extend_from_slice(b"true"),
            Json::Bool(false) => out.extend_from_slice(b"false"),
            Json::Number(number) => number.write_canonical(out),
            Json::String(text) => write_string(text, out),
            Json::Array(elements) => {
                out.push(b'[');
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    element.write_canonical(out);
                }
                out.push(b']');
            }
            Json::Object(object) => {
                // What comes canonical stays in its order and needs no list of its own.
                if object.iter().is_sorted_by(|(a, _), (b, _)| by_utf16(a, b).is_lt()) {
                    return write_members(object.iter(), out);
                }
                let mut members: Vec<_> = object.iter().collect();
                members.sort_unstable_by(|(a, _), (b, _)| by_utf16(a, b));
                write_members(members.into_iter(), out);
            }
        }
    }
}

fn write_members<'j, 'a: 'j>(members: impl Iterator<Item = (&'j str, &'j Json<'a>)>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, value)) in members.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        value.write_canonical(out);
    }
    out.push(b'}');
}

fn by_utf16(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at(plain_length(rest));
        out.extend_from_slice(plain);
        let Some((character, behind)) = special.split_first() else { break };
        match character {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x09 => out.extend_from_slice(b"\\t"),
            0x0a => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            0x0d => out.extend_from_slice(b"\\r"),
            control => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
        rest = behind;
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use crate::{Limits, parse};

    #[test]
    fn sorts_by_utf16_and_escapes_minimally() {
        // RFC 8785 §3.2.3: the surrogate pair of U+1F600 sorts before U+FB33.
        let text = "{\"\u{fb33}\":1,\"\u{1f600}\":2,\"\\u0080\":3,\"\\r\":4,\"1\":5,\"\\u001f/\\\"\":6}";
        let canonical = parse(text.as_bytes(), Limits::DEFAULT).unwrap().canonical();
        let expected = "{\"\\r\":4,\"\\u001f/\\\"\":6,\"1\":5,\"\u{80}\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}";
        assert_eq!(String::from_utf8(canonical).unwrap(), expected);
    }
}
