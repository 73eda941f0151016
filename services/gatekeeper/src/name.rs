//! The name under which the server lists a connection: the agent's key, and where its *connected* record stands.
//!
//! The server repeats it in its events and lists, so that a gatekeeper which was not there when the agent came finds by
//! it what the agent showed.

use std::fmt;
use std::str::FromStr;

use marque_identity::Did;

/// A connection's name: `<agent's key>@<sequence of its record>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionName {
    /// The agent.
    pub agent: Did,
    /// The audit stream's sequence of its *connected* record.
    pub sequence: u64,
}

impl fmt::Display for ConnectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.agent.multibase(), self.sequence)
    }
}

/// A text that is no connection's name of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotOurs;

impl FromStr for ConnectionName {
    type Err = NotOurs;
    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let (agent, sequence) = text.split_once('@').ok_or(NotOurs)?;
        let agent = Did::from_multibase(agent).map_err(|_| NotOurs)?;
        let plain = sequence.bytes().all(|c| c.is_ascii_digit()) && !sequence.starts_with('0');
        let sequence = sequence.parse().ok().filter(|_| plain).ok_or(NotOurs)?;
        Ok(Self { agent, sequence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_reads_nothing_else() {
        let name = ConnectionName { agent: Did::from_key_bytes([7; 32]), sequence: 42 };
        let text = name.to_string();
        assert_eq!(text.parse(), Ok(name));
        let key = Did::from_key_bytes([7; 32]).multibase();
        for bad in [
            "",
            "@",
            "x@1",
            &key,
            &format!("{key}@"),
            &format!("{key}@+1"),
            &format!("{key}@01"),
            &format!("{key}@-1"),
            &format!("{key}@99999999999999999999"),
        ] {
            assert_eq!(bad.parse::<ConnectionName>(), Err(NotOurs), "{bad}");
        }
    }
}
