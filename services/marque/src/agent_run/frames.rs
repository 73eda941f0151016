//! Where a client's bytes are between two commands of the NATS protocol, and which subscriptions stand there.
//!
//! Reads the one spelling that clients write, and nothing of what the broker would take besides: other case, tabs, more
//! than one space, a number with a leading zero, a line that ends without `\r`. Whatever it does not know exactly makes it
//! know nothing any more, for good; but for one thing.
//!
//! A `CONNECT` of the client's own is told of, in any case, and where nothing is known any more wherever a line might begin
//! with it: the broker (2.15.1) keeps the signature of the first one, and would take another chain by it.
//!
//! INVARIANT: a boundary that it tells is one for the broker too. What is sent there of ours is never part of a payload.

use std::collections::HashMap;

/// A command's line: the broker's own default of `max_control_line`.
const LINE_BYTES_MAX: usize = 4096;
/// Digits of a size: the broker reads as many.
const SIZE_DIGITS_MAX: usize = 9;
/// An end of line, and the verb behind it.
const CONNECT: &[u8; 8] = b"\nCONNECT";
/// What ends a line, and a payload.
const END: &[u8; 2] = b"\r\n";
/// The lines of the subscriptions that stand at once, together with what it costs to keep each.
const SUBSCRIBED_BYTES_MAX: usize = 256 * 1024;
/// What it costs to keep one beside its line: about two allocations and their places in the table.
const SUBSCRIPTION_BYTES: usize = 128;

/// What a client has sent so far.
#[derive(Debug, Default)]
pub(super) struct Frames {
    place: Place,
    subscriptions: Subscriptions,
}

/// Where the next byte stands.
#[derive(Debug)]
enum Place {
    /// In a line, which began with these; none: at a boundary.
    Line(Vec<u8>),
    /// In a payload, with so many to come before its end.
    Payload(usize),
    /// In the end of a payload, of which so many have come.
    End(usize),
    /// Nobody knows. So much has come of an end of line with `CONNECT` behind it.
    Lost(usize),
    /// In a `CONNECT` of the client's own, or what may be one.
    Connect,
}

impl Default for Place {
    fn default() -> Self {
        Self::Line(Vec::new())
    }
}

/// What a line says.
enum Command<'a> {
    Message(usize),
    Subscribe(&'a [u8]),
    Unsubscribe(&'a [u8]),
    /// It ends after so many messages, which are not counted here.
    UnsubscribeLater,
    Heartbeat,
}

/// The subscriptions that stand.
#[derive(Debug, Default)]
struct Subscriptions {
    /// By the client's id: its number in order, and the line.
    by_id: HashMap<Vec<u8>, (u64, Vec<u8>)>,
    next: u64,
    bytes: usize,
    /// Which stand is not known any more.
    is_unknown: bool,
}

impl Frames {
    /// Takes bytes to the end of the first command that ends in them, or all of them. Gives how many it took.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            taken += self.step(rest);
            if self.at_boundary() {
                break;
            }
        }
        taken
    }

    /// Whether the last command has ended, and no other has begun.
    pub(super) fn at_boundary(&self) -> bool {
        matches!(&self.place, Place::Line(begun) if begun.is_empty())
    }

    /// Whether it will never tell a boundary again.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.place, Place::Lost(_) | Place::Connect)
    }

    /// Whether the client sends a `CONNECT` of its own, or what may be one.
    pub(super) fn connects(&self) -> bool {
        matches!(self.place, Place::Connect)
    }

    /// Whether it knows which subscriptions stand.
    pub(super) fn knows_subscriptions(&self) -> bool {
        !self.is_lost() && !self.subscriptions.is_unknown
    }

    /// The lines that make the subscriptions which stand, in their order; none where that is not known.
    pub(super) fn subscriptions(&self) -> Option<Vec<u8>> {
        if !self.knows_subscriptions() {
            return None;
        }
        let mut lines: Vec<_> = self.subscriptions.by_id.values().collect();
        lines.sort_unstable_by_key(|(number, _)| *number);
        Some(lines.into_iter().flat_map(|(_, line)| line).copied().collect())
    }

    /// Takes some of these bytes, of which there is one at least: no further than the place reaches.
    fn step(&mut self, bytes: &[u8]) -> usize {
        let (taken, next) = match &mut self.place {
            Place::Line(begun) => {
                let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
                let taken = end.unwrap_or(bytes.len());
                let lost = Place::Lost(usize::from(end.is_some()));
                begun.extend_from_slice(bytes.get(..taken.min(LINE_BYTES_MAX)).unwrap_or_default());
                if begun.get(..CONNECT.len() - 1).is_some_and(|verb| verb.eq_ignore_ascii_case(&CONNECT[1..])) {
                    (taken, Place::Connect)
                } else if begun.len() > LINE_BYTES_MAX || taken > LINE_BYTES_MAX {
                    (taken, lost)
                } else if end.is_none() {
                    return taken;
                } else {
                    let line = std::mem::take(begun);
                    (taken, self.subscriptions.after(&line).unwrap_or(lost))
                }
            }
            Place::Payload(left) => {
                let taken = bytes.len().min(*left);
                *left -= taken;
                if *left > 0 {
                    return taken;
                }
                (taken, Place::End(0))
            }
            Place::End(come) => match (bytes.first() == END.get(*come), *come + 1 == END.len()) {
                (true, true) => (1, Place::default()),
                (true, false) => (1, Place::End(*come + 1)),
                (false, _) => (0, Place::Lost(0)),
            },
            Place::Lost(come) => {
                for byte in bytes {
                    *come = match *byte {
                        b'\n' => 1,
                        byte if *come > 0 && CONNECT.get(*come).is_some_and(|next| byte.eq_ignore_ascii_case(next)) => {
                            *come + 1
                        }
                        _ => 0,
                    };
                    if *come == CONNECT.len() {
                        self.place = Place::Connect;
                        break;
                    }
                }
                return bytes.len();
            }
            Place::Connect => return bytes.len(),
        };
        self.place = next;
        if self.is_lost() {
            self.subscriptions = Subscriptions::default(); // of no use any more
        }
        taken
    }
}

impl Subscriptions {
    /// Where the next byte stands behind this line; none: nobody knows.
    fn after(&mut self, line: &[u8]) -> Option<Place> {
        match command(line)? {
            Command::Message(0) => return Some(Place::End(0)),
            Command::Message(size) => return Some(Place::Payload(size)),
            Command::Heartbeat => {}
            Command::UnsubscribeLater => self.forget(),
            Command::Unsubscribe(id) => {
                if let Some((_, line)) = self.by_id.remove(id) {
                    self.bytes -= line.len() + SUBSCRIPTION_BYTES;
                }
            }
            Command::Subscribe(id) => {
                self.bytes += line.len() + SUBSCRIPTION_BYTES;
                self.next += 1;
                // An id that is in use: whether the broker took the first or the second depends on what it permits.
                let is_taken = self.by_id.insert(id.to_owned(), (self.next, line.to_owned())).is_some();
                if is_taken || self.is_unknown || self.bytes > SUBSCRIBED_BYTES_MAX {
                    self.forget();
                }
            }
        }
        Some(Place::default())
    }

    fn forget(&mut self) {
        *self = Self { is_unknown: true, ..Self::default() };
    }
}

/// Reads a line with its end. None: it is not one of those, or not spelled as clients do.
fn command(line: &[u8]) -> Option<Command<'_>> {
    std::str::from_utf8(line).ok()?;
    let words: Vec<&[u8]> = line.strip_suffix(END)?.split(|byte| *byte == b' ').collect();
    if !words.iter().all(|word| is_word(word)) {
        return None;
    }
    match words[..] {
        [b"PUB", _, size] | [b"PUB", _, _, size] => Some(Command::Message(number(size)?)),
        [b"HPUB", _, headers, size] | [b"HPUB", _, _, headers, size] => {
            let size = number(size)?;
            (number(headers)? <= size).then_some(Command::Message(size))
        }
        [b"SUB", _, id] | [b"SUB", _, _, id] => Some(Command::Subscribe(id)),
        [b"UNSUB", id] => Some(Command::Unsubscribe(id)),
        [b"UNSUB", _, most] => number(most).map(|_| Command::UnsubscribeLater),
        [b"PING"] | [b"PONG"] => Some(Command::Heartbeat),
        _ => None,
    }
}

/// One byte at least, and nothing that anybody takes for space, an end or a control.
fn is_word(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|byte| !byte.is_ascii_control() && *byte != b' ')
}

fn number(word: &[u8]) -> Option<usize> {
    let plain = word.iter().all(u8::is_ascii_digit) && (word == b"0" || word.first() != Some(&b'0'));
    let word = std::str::from_utf8(word).ok().filter(|word| plain && word.len() <= SIZE_DIGITS_MAX)?;
    word.parse().ok()
}

#[cfg(test)]
mod tests;
