use proptest::prelude::*;

use super::*;

const LINE: &[u8] = br#"CONNECT {"verbose":false,"lang":"test"}"#;

fn introduction(line: &[u8]) -> Introduction {
    Introduction { line: line.to_vec(), nkey: "U1".into(), signature: "s".into() }
}

/// What the broker gets for another chain.
fn shown(chain: &str) -> Vec<u8> {
    let options = format!(r#"{{"auth_token":"{chain}","lang":"test","nkey":"U1","sig":"s","verbose":false}}"#);
    format!("CONNECT {options}\r\n").into_bytes()
}

/// What the broker gets of these pieces, where there is another chain before the one of this number.
async fn relayed(line: &[u8], pieces: &[&[u8]], renewed_before: usize) -> Vec<u8> {
    let (renew, chains) = watch::channel(Arc::<str>::from("first"));
    let mut upstream = Upstream::new(introduction(line), chains, "first".into());
    let mut broker = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        if number == renewed_before {
            renew.send_replace("second".into());
            // As the relay does when it hears of it.
            if upstream.is_understood() {
                upstream.is_due = *upstream.chains.borrow_and_update() != upstream.shown;
                upstream.pass(&[], &mut broker).await.unwrap();
            }
        }
        upstream.pass(piece, &mut broker).await.unwrap();
    }
    broker
}

#[tokio::test]
async fn another_chain_is_shown_between_two_commands_with_the_subscriptions_that_stand() {
    let pieces: [&[u8]; 4] =
        [b"SUB a 1\r\nSUB b 2\r\nUNSUB 1\r\nPUB a 14", b"\r\nPING\r\nPING\r\nx", b"x", b"\r\nPING\r\nPONG\r\n"];
    let [one, two, three, four] = pieces;
    let second = [&shown("second")[..], b"SUB b 2\r\n"].concat();
    let (end, rest) = four.split_at(2);
    // Within a line or a payload it waits for the end.
    for before in [1, 2, 3] {
        assert_eq!(relayed(LINE, &pieces, before).await, [one, two, three, end, &second, rest].concat(), "{before}");
    }
    assert_eq!(relayed(LINE, &pieces, 0).await, [&shown("second"), &pieces.concat()[..]].concat());
    assert_eq!(relayed(LINE, &pieces, 9).await, pieces.concat());
}

#[tokio::test]
async fn a_client_that_is_not_understood_or_would_be_answered_is_left_alone() {
    let odd: [&[u8]; 2] = [b"UNSUB 1 5\r\n", b"PING\r\n"];
    assert_eq!(relayed(LINE, &odd, 1).await, odd.concat());
    let plain: [&[u8]; 2] = [b"PING\r\n", b"PING\r\n"];
    for line in [&b"CONNECT {}"[..], br#"CONNECT {"verbose":true}"#] {
        assert_eq!(relayed(line, &plain, 1).await, plain.concat());
    }
    assert_eq!(relayed(LINE, &plain, 1).await, [plain[0], &shown("second"), plain[1]].concat());
}

/// The broker keeps the first signature: by it a client without the key could have another chain of that key judged.
#[tokio::test]
async fn a_client_that_introduces_itself_anew_is_cut_off() {
    for bytes in [&b"PING\r\nCONNECT {\"nkey\":\"U1\"}\r\n"[..], b"ping\r\nconnect {}\r\n"] {
        let (_renew, chains) = watch::channel(Arc::<str>::from("first"));
        let upstream = Upstream::new(introduction(LINE), chains, "first".into());
        let mut broker = Vec::new();
        assert!(upstream.relay(bytes, &mut tokio::io::empty(), &mut broker).await.is_err());
        assert!(!broker.to_ascii_uppercase().windows(7).any(|word| word == b"CONNECT"));
    }
}

/// Over pipes, as in a relay: an idle client's link is renewed, once for each chain, and its end is passed on.
#[tokio::test]
async fn an_idle_link_is_renewed_for_each_chain_and_ends_with_its_client() {
    let (renew, chains) = watch::channel(Arc::<str>::from("first"));
    let upstream = Upstream::new(introduction(LINE), chains, "first".into());
    let (mut client, mut from_client) = tokio::io::duplex(64);
    let (mut to_broker, mut broker) = tokio::io::duplex(64);
    let relaying = tokio::spawn(async move { upstream.relay(b"SUB a 1\r\n", &mut from_client, &mut to_broker).await });
    let mut wanted = b"SUB a 1\r\n".to_vec();
    for chain in ["first", "second", "third"] {
        renew.send_replace(chain.into());
        if chain != "first" {
            wanted.extend([&shown(chain)[..], b"SUB a 1\r\n"].concat());
        }
        let mut come = vec![0; wanted.len()];
        broker.read_exact(&mut come).await.unwrap();
        assert_eq!(come, wanted);
        wanted.clear();
    }
    client.write_all(b"PING\r\nPU").await.unwrap();
    renew.send_replace("fourth".into());
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    broker.read_to_end(&mut rest).await.unwrap();
    relaying.await.unwrap().unwrap();
    // It had begun another command, or had not yet: whichever, its bytes are all there, in their order.
    let (plain, fourth) = (b"PING\r\nPU".to_vec(), [&shown("fourth")[..], b"SUB a 1\r\n"].concat());
    let places = [0, 6].map(|at| [&plain[..at], &fourth, &plain[at..]].concat());
    assert!(rest == plain || places.contains(&rest), "{}", String::from_utf8_lossy(&rest));
}

proptest! {
    /// However a client's bytes come, and whatever they are: they pass unchanged, and the chain stands where the whole of
    /// them has a command's end, or nowhere.
    #[test]
    fn a_clients_bytes_are_its_own(
        text in "(PUB a 3\r\nabc\r\n|PUB a 8\r\nPING\r\n\r\n\r\n|PING\r\n|SUB a 1\r\n|UNSUB 1\r\n|PI|\r\n| |x){0,10}",
        size in 1..9_usize,
        renewed in 0..12_usize,
    ) {
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let got = runtime.block_on(relayed(LINE, &pieces, renewed));
        let connect = shown("second");
        let at = got.windows(connect.len()).position(|window| window == connect);
        let Some(at) = at else {
            prop_assert_eq!(got, text.as_bytes());
            return Ok(());
        };
        let ends = crate::agent_run::boundaries(text.as_bytes(), &[]);
        prop_assert!(at == 0 || ends.contains(&at), "{at} of {ends:?}");
        // Only the subscription that stands may follow.
        let behind = &got[at + connect.len()..];
        let behind = if behind.len() + at > text.len() { behind.strip_prefix(b"SUB a 1\r\n").unwrap() } else { behind };
        prop_assert_eq!([&got[..at], behind].concat(), text.as_bytes());
    }
}
