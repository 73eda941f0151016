//! A number as it is written, and what its double makes of it.

use std::borrow::Cow;
use std::io::Write;

/// A JSON number: its text (RFC 8259 §6), from which everything else follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Number<'a> {
    text: Cow<'a, str>,
}

/// Every integer of this many digits is exact in a double.
const EXACT_DIGITS: usize = 15;

impl<'a> Number<'a> {
    /// INVARIANT: `text` matches RFC 8259's number grammar; the parser has seen to it.
    pub(crate) fn from_grammatical(text: &'a str) -> Self {
        Self { text: Cow::Borrowed(text) }
    }

    /// The number as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The nearest double; infinite where the text is beyond every double.
    pub fn value(&self) -> f64 {
        self.text.parse().unwrap_or(f64::NAN)
    }

    /// The integer, only if written as one: no fraction, no exponent, no `-0`, within 64 bits.
    pub fn as_integer(&self) -> Option<i64> {
        if self.text == "-0" { None } else { self.text.parse().ok() }
    }

    /// Whether the RFC 8785 form of the number's double denotes the same number as its text (AAT §3.4).
    pub fn is_admissible(&self) -> bool {
        if self.is_short_integer() {
            return true;
        }
        let value = self.value();
        if !value.is_finite() {
            return false;
        }
        let mut canonical = Vec::with_capacity(24);
        write_double(value, &mut canonical);
        Decimal::of(self.text.as_bytes()) == Decimal::of(&canonical)
    }

    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Number<'static> {
        Number { text: Cow::Owned(self.text.into_owned()) }
    }

    /// Appends the RFC 8785 form. A number beyond every double has none: its text is written, which equals no
    /// admissible number's form.
    pub(crate) fn write_canonical(&self, out: &mut Vec<u8>) {
        if self.is_short_integer() && self.text != "-0" {
            out.extend_from_slice(self.text.as_bytes());
            return;
        }
        let value = self.value();
        if value.is_finite() { write_double(value, out) } else { out.extend_from_slice(self.text.as_bytes()) }
    }

    fn is_short_integer(&self) -> bool {
        let digits = self.text.strip_prefix('-').unwrap_or(&self.text);
        digits.len() <= EXACT_DIGITS && digits.bytes().all(|c| c.is_ascii_digit())
    }
}

/// Appends ECMAScript's `Number::toString` of a finite double (RFC 8785 §3.2.2.3).
fn write_double(value: f64, out: &mut Vec<u8>) {
    if value == 0.0 {
        out.push(b'0');
        return;
    }
    // Rust's `{:e}` gives the shortest digits that read back as the same double: `-1.2345e-7`.
    let mut buffer = [0u8; 32];
    let mut rest = &mut buffer[..];
    let room = rest.len();
    if write!(rest, "{:e}", value.abs()).is_err() {
        return; // cannot happen: the longest form has 24 bytes
    }
    let written = room - rest.len();
    let (mantissa, exponent) = split_exponent(&buffer[..written]);
    let digits: Vec<u8> = mantissa.iter().copied().filter(u8::is_ascii_digit).collect();
    let count = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let point = exponent + 1; // digits stand before the decimal point
    if value < 0.0 {
        out.push(b'-');
    }
    if count <= point && point <= 21 {
        out.extend_from_slice(&digits);
        out.extend(std::iter::repeat_n(b'0', usize::try_from(point - count).unwrap_or(0)));
    } else if 0 < point && point <= 21 {
        let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or(0));
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else if -6 < point && point <= 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', usize::try_from(-point).unwrap_or(0)));
        out.extend_from_slice(&digits);
    } else {
        let (first, others) = digits.split_at(1);
        out.extend_from_slice(first);
        if !others.is_empty() {
            out.push(b'.');
            out.extend_from_slice(others);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        out.extend_from_slice(exponent.unsigned_abs().to_string().as_bytes());
    }
}

fn split_exponent(text: &[u8]) -> (&[u8], i64) {
    match text.iter().position(|c| matches!(c, b'e' | b'E')) {
        Some(at) => (&text[..at], exponent_value(&text[at + 1..])),
        None => (text, 0),
    }
}

/// A signed decimal exponent, saturating far beyond any double.
fn exponent_value(text: &[u8]) -> i64 {
    let (negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        _ => (false, text),
    };
    let size =
        digits.iter().fold(0i64, |sum, c| sum.saturating_mul(10).saturating_add(i64::from(c.wrapping_sub(b'0'))));
    let size = size.min(i64::MAX / 4);
    if negative { -size } else { size }
}

/// The number a text denotes, in one form: digits without outer zeros, and the power of ten of the last.
#[derive(PartialEq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    fn of(text: &[u8]) -> Self {
        let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
        let (mantissa, mut exponent) = split_exponent(text);
        let fraction = mantissa.iter().position(|c| *c == b'.').map_or(0, |at| mantissa.len() - at - 1);
        exponent -= i64::try_from(fraction).unwrap_or(i64::MAX / 4);
        let mut digits: Vec<u8> =
            mantissa.iter().copied().filter(u8::is_ascii_digit).skip_while(|c| *c == b'0').collect();
        while digits.last() == Some(&b'0') {
            digits.pop();
            exponent += 1;
        }
        if digits.is_empty() {
            Self { negative: false, digits, exponent: 0 }
        } else {
            Self { negative, digits, exponent }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn admissible(text: &str) -> bool {
        Number::from_grammatical(text).is_admissible()
    }

    #[test]
    fn judges_the_text_as_the_draft_does() {
        for text in ["0.1", "1e20", "9007199254740994", "-0", "0e999999999999999999999", "1.50", "100e-2", "1e21"] {
            assert!(admissible(text), "{text}");
        }
        for text in [
            "9007199254740993",
            "1.00000000000000001",
            "1e400",
            "-1e400",
            "1e-400",
            "0.1000000000000000055511151231257827",
        ] {
            assert!(!admissible(text), "{text}");
        }
    }

    #[test]
    fn writes_numbers_as_ecmascript_does() {
        for (text, form) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("1.0", "1"),
            ("1e21", "1e+21"),
            ("1e20", "100000000000000000000"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1e-7"),
            ("-1.5e-9", "-1.5e-9"),
            ("333333333.33333329", "333333333.3333333"),
            ("4.50", "4.5"),
            ("2e-3", "0.002"),
            ("1E30", "1e+30"),
            ("0.000000000000000000000000001", "1e-27"),
            ("9007199254740993", "9007199254740992"),
            ("123456789012345", "123456789012345"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ] {
            let mut out = Vec::new();
            Number::from_grammatical(text).write_canonical(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), form, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_double_survives_its_own_form(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let mut out = Vec::new();
            write_double(value, &mut out);
            let text = String::from_utf8(out).unwrap();
            prop_assert_eq!(text.parse::<f64>().unwrap(), value);
            prop_assert!(admissible(&text));
        }
    }
}
