use proptest::prelude::*;

use super::*;

/// Every boundary in these bytes, given in these pieces; and whether it is lost behind them.
fn boundaries(bytes: &[u8], pieces: &[usize]) -> (Vec<usize>, bool) {
    let (mut frames, mut told, mut at) = (Frames::default(), Vec::new(), 0);
    let mut ends: Vec<usize> = pieces.iter().map(|piece| piece % (bytes.len() + 1)).chain([bytes.len()]).collect();
    ends.sort_unstable();
    for end in ends {
        while at < end {
            at += frames.take(&bytes[at..end]);
            if frames.at_boundary() {
                told.push(at);
            }
        }
    }
    (told, frames.is_lost())
}

/// The same by looking at the whole text: nothing is kept from one byte to the next.
fn by_the_whole_text(bytes: &[u8]) -> (Vec<usize>, bool) {
    let (mut told, mut at) = (Vec::new(), 0);
    loop {
        let rest = &bytes[at..];
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return (told, rest.len() > LINE_BYTES_MAX);
        };
        let Some(line) = std::str::from_utf8(&rest[..=end]).ok().and_then(|line| line.strip_suffix("\r\n")) else {
            return (told, true);
        };
        let words: Vec<&str> = line.split(' ').collect();
        let size =
            |word: &str| word.parse::<usize>().ok().filter(|size| size.to_string() == word && *size < 1_000_000_000);
        if end + 1 > LINE_BYTES_MAX || line.contains(|c: char| c.is_ascii_control()) || words.contains(&"") {
            return (told, true);
        }
        let payload = match words[..] {
            ["PING"] | ["PONG"] => None,
            ["UNSUB", _] | ["SUB", _, _] | ["SUB", _, _, _] => None,
            ["UNSUB", _, most] if size(most).is_some() => None,
            ["PUB", _, bytes] | ["PUB", _, _, bytes] if size(bytes).is_some() => size(bytes),
            ["HPUB", _, head, bytes] | ["HPUB", _, _, head, bytes]
                if size(head).is_some() && size(head) <= size(bytes) =>
            {
                size(bytes)
            }
            _ => return (told, true),
        };
        let mut whole = end + 1;
        if let Some(size) = payload {
            let behind = rest.get(whole + size..).unwrap_or_default();
            match behind {
                [b'\r', b'\n', ..] => whole += size + 2,
                [] | [b'\r'] => return (told, false),
                _ => return (told, true),
            }
        }
        at += whole;
        told.push(at);
        if at == bytes.len() {
            return (told, false);
        }
    }
}

/// A word as clients write it: letters of two bytes as well.
fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z.*>_0-9é]{1,6}"
}

/// What a payload may hold: what looks like commands, and anything else.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"\r\nPING\r\n".to_vec()),
        Just(b"CONNECT {}\r\nPUB a 0\r\n\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

/// One command, and of which kind.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let message = |line: String, payload: Vec<u8>| [line.as_bytes(), &payload, b"\r\n"].concat();
    prop_oneof![
        Just(b"PING\r\n".to_vec()),
        Just(b"PONG\r\n".to_vec()),
        (word(), payload()).prop_map(move |(to, payload)| message(format!("PUB {to} {}\r\n", payload.len()), payload)),
        (word(), word(), payload()).prop_map(move |(to, reply, payload)| {
            message(format!("HPUB {to} {reply} {} {}\r\n", payload.len() / 2, payload.len()), payload)
        }),
        (word(), 0..1000_u32).prop_map(|(to, id)| format!("SUB {to} {id}\r\n").into_bytes()),
        (word(), word(), 0..1000_u32).prop_map(|(to, group, id)| format!("SUB {to} {group} {id}\r\n").into_bytes()),
        (0..1000_u32).prop_map(|id| format!("UNSUB {id}\r\n").into_bytes()),
        (0..1000_u32).prop_map(|id| format!("UNSUB {id} 5\r\n").into_bytes()),
    ]
}

proptest! {
    /// However the bytes come, the boundaries are the ends of the commands, as far as it is not lost; and never within one.
    #[test]
    fn boundaries_are_the_ends_of_commands_however_the_bytes_come(
        frames in proptest::collection::vec(frame(), 0..12),
        pieces in proptest::collection::vec(any::<usize>(), 0..12),
    ) {
        let bytes = frames.concat();
        let ends: Vec<usize> = frames.iter().scan(0, |at, frame| { *at += frame.len(); Some(*at) }).collect();
        let (told, lost) = boundaries(&bytes, &pieces);
        prop_assert_eq!(&told, &ends);
        prop_assert_eq!((told, lost), by_the_whole_text(&bytes));
    }

    /// One byte is another one, or missing, or too many: the same, and nothing behind what is not understood.
    #[test]
    fn noise_among_commands_is_read_as_by_the_whole_text(
        frames in proptest::collection::vec(frame(), 1..8),
        pieces in proptest::collection::vec(any::<usize>(), 0..8),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(&b"\r\n \t0PUBx"[..])],
        change in 0..3_u8,
    ) {
        let mut bytes = frames.concat();
        let at = at.index(bytes.len());
        match change {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => drop(bytes.remove(at)),
        }
        let (told, lost) = boundaries(&bytes, &pieces);
        let (expected, is_lost) = by_the_whole_text(&bytes);
        prop_assert_eq!(&told, &expected);
        // The whole text is lost where its last line has its end; this one knows no sooner.
        prop_assert!(!lost || is_lost || told == expected);
    }

    /// Nothing but noise, of the bytes that commands are made of.
    #[test]
    fn pure_noise_is_read_as_by_the_whole_text(bytes in "(PUB a |PING|\r\n|\n|[0-3]|SUB a 1| |x){0,12}", pieces in proptest::collection::vec(any::<usize>(), 0..6)) {
        prop_assert_eq!(boundaries(bytes.as_bytes(), &pieces).0, by_the_whole_text(bytes.as_bytes()).0);
    }
}

#[test]
fn what_clients_do_not_write_is_not_understood_for_good() {
    for line in [
        "ping\r\n",
        "PING\n",
        "PING \r\n",
        "PING\r\r\n",
        "\r\n",
        "PUB a\t1\r\n",
        "PUB  a 1\r\n",
        "PUB a 01\r\n",
        "PUB a +1\r\n",
        "PUB a -1\r\n",
        "PUB a 1234567890\r\n",
        "PUB a b c 1\r\n",
        "PUB a\r\n",
        "HPUB a 2 1\r\n",
        "HPUB a 1\r\n",
        "SUB a\r\n",
        "SUB a b c 1\r\n",
        "UNSUB\r\n",
        "CONNECT {}\r\n",
        "INFO {}\r\n",
        "MSG a 1 0\r\n\r\n",
        "+OK\r\n",
        "PUB a\0 1\r\n",
        "PUB a\x0b1 1\r\n",
        "PUB a 1\r\nab\r\n",
        "PUB a 1\r\na\n",
        "PUB a 0\r\na\r\n",
    ] {
        let mut frames = Frames::default();
        let bytes = [line, "PING\r\n", "PING\r\n"].concat();
        let mut at = 0;
        while at < bytes.len() {
            at += frames.take(&bytes.as_bytes()[at..]);
        }
        assert!(frames.is_lost() && !frames.at_boundary(), "{line:?}");
        assert_eq!(frames.subscriptions(), None, "{line:?}");
    }
}

#[test]
fn the_subscriptions_that_stand_are_told_in_their_order() {
    let mut frames = Frames::default();
    let bytes = b"SUB c 9\r\nSUB a.> 1\r\nSUB b q 2\r\nPUB x 9\r\nSUB z 3\r\n\r\nUNSUB 1\r\nUNSUB 7\r\nSUB d 1\r\n";
    let mut at = 0;
    while at < bytes.len() {
        at += frames.take(&bytes[at..]);
        assert!(frames.at_boundary());
    }
    assert_eq!(frames.subscriptions().unwrap(), b"SUB c 9\r\nSUB b q 2\r\nSUB d 1\r\n");
}

#[test]
fn a_line_and_what_stands_are_bounded() {
    let line = |length: usize| format!("SUB {} 1\r\n", "a".repeat(length - "SUB  1\r\n".len()));
    for (length, lost) in [(LINE_BYTES_MAX, false), (LINE_BYTES_MAX + 1, true)] {
        let mut frames = Frames::default();
        assert_eq!((frames.take(line(length).as_bytes()), frames.is_lost()), (length, lost));
    }
    let unended = vec![b'a'; LINE_BYTES_MAX + 1];
    let mut frames = Frames::default();
    frames.take(&unended[1..]);
    assert!(!frames.is_lost());
    frames.take(&unended[..1]);
    assert!(frames.is_lost());
    // So many of the same length, and one more; of those that have ended none counts.
    let one = |id: usize| format!("SUB a {id:08}\r\n");
    let most = SUBSCRIBED_BYTES_MAX / (one(0).len() + SUBSCRIPTION_BYTES);
    let mut frames = Frames::default();
    for id in 0..3 * most {
        frames.take(b"SUB b x\r\n");
        frames.take(b"UNSUB x\r\n");
        assert!(frames.subscriptions().is_some(), "{id}");
    }
    for id in 0..most {
        frames.take(one(id).as_bytes());
        assert!(frames.subscriptions().is_some(), "{id}");
    }
    frames.take(one(most).as_bytes());
    assert!(frames.subscriptions().is_none() && frames.at_boundary());
}

/// Has all of these taken, boundary by boundary.
fn feed(frames: &mut Frames, bytes: &[u8]) {
    let mut at = 0;
    while at < bytes.len() {
        at += frames.take(&bytes[at..]);
    }
}

#[test]
fn which_subscriptions_stand_is_known_or_not_told() {
    for unknown in [&b"SUB a 1\r\nSUB b 1\r\n"[..], b"UNSUB 1 5\r\n"] {
        let bytes = [unknown, b"SUB c 7\r\n"].concat();
        let mut frames = Frames::default();
        feed(&mut frames, &bytes);
        assert!(frames.at_boundary() && frames.subscriptions().is_none());
    }
}

#[test]
fn a_connect_of_the_clients_own_is_told_wherever_it_may_be_one() {
    let told = |bytes: &[u8], size: usize| {
        let mut frames = Frames::default();
        bytes.chunks(size).for_each(|piece| feed(&mut frames, piece));
        frames.connects()
    };
    let long = [&b"a".repeat(LINE_BYTES_MAX + 1)[..], b"\nconnect {}"].concat();
    for size in [1, 3, 10_000] {
        for bytes in [
            &b"CONNECT {}\r\n"[..],
            b"PING\r\ncOnNeCt",
            b"ping\r\nCONNECT\t{}",
            b"PUB a 1\r\nxx\nCONNECT{}",
            b"x\n\nCONNECT",
            b"ping\r\nCON\nCONNECT",
            &long,
        ] {
            assert!(told(bytes, size), "{:?}", String::from_utf8_lossy(bytes));
        }
        for bytes in [
            &b"PUB a 11\r\n\r\nCONNECT {\r\nPING\r\n"[..],
            b"PUB CONNECT 0\r\n\r\n",
            b"ping\r\nxCONNECT {}",
            b"ping\r\nCONNEC {}",
            b"PONG\r\n",
        ] {
            assert!(!told(bytes, size), "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
