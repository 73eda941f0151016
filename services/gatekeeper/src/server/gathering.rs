//! What has come of one list: pages of several servers, within bounds.
//!
//! A server whose pages did not all come, or not all fit, is not among those that answered: nobody takes what it left out
//! for gone.

use std::collections::{BTreeMap, BTreeSet};

use super::{Listed, PAGE_CONNECTIONS, Page, of_agents};
use crate::connections::CONNECTIONS_MAX;

/// Servers of one list. A cluster has three or five; answers of more are passed over.
pub(super) const SERVERS_MAX: usize = 64;
/// Connections of one list: twice what the account may have, which servers of a cluster agree on a moment late.
pub(super) const LISTED_MAX: usize = 2 * CONNECTIONS_MAX;

/// Pages as they come.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    listed: Vec<Listed>,
    /// Of each server, how many pages in a row.
    read: BTreeMap<String, u64>,
    /// Those whose last page has come.
    whole: BTreeSet<String>,
}

impl Gathering {
    /// Takes a server's page of this number, the first page being 0. Gives whether it did: once, after the one before, and
    /// where there is room.
    pub(super) fn take(&mut self, number: u64, page: Page) -> bool {
        let Some(data) = &page.data else { return false };
        let server = page.server.id.clone();
        let is_next = match self.read.get(&server) {
            Some(read) => *read == number,
            None => number == 0 && self.read.len() < SERVERS_MAX,
        };
        let room = LISTED_MAX.saturating_sub(self.listed.len());
        if !is_next || data.connections.len() > page_len_max().min(room) {
            return false;
        }
        if data.total <= number.saturating_add(1).saturating_mul(PAGE_CONNECTIONS) {
            self.whole.insert(server.clone());
        }
        self.read.insert(server, number.saturating_add(1));
        self.listed.extend(of_agents(page));
        true
    }

    /// Whether a server has more than its page of this number, which is its last one so far.
    pub(super) fn wants_more(&self, number: u64) -> bool {
        let next = number.saturating_add(1);
        self.read.iter().any(|(server, read)| *read == next && !self.whole.contains(server))
    }

    /// Whether a server has begun, and is not whole.
    pub(super) fn is_cut(&self) -> bool {
        self.whole.len() < self.read.len()
    }

    /// The connections, and the servers that have answered to the last of theirs.
    pub(super) fn done(self) -> (Vec<Listed>, BTreeSet<String>) {
        (self.listed, self.whole)
    }
}

fn page_len_max() -> usize {
    usize::try_from(PAGE_CONNECTIONS).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A page of so many connections, from this one on, of a server that has so many in all.
    fn page(server: &str, from: u64, count: u64, total: u64) -> Page {
        let entry = |cid: u64| json!({ "cid": cid, "account": "AGENTS", "authorized_user": "z6Mk@4" });
        let connections: Vec<_> = (from..from + count).map(entry).collect();
        serde_json::from_value(
            json!({ "server": { "id": server }, "data": { "connections": connections, "total": total } }),
        )
        .unwrap()
    }

    fn servers(gathered: Gathering) -> Vec<String> {
        gathered.done().1.into_iter().collect()
    }

    #[test]
    fn a_server_has_answered_when_its_last_page_has_come() {
        let mut gathered = Gathering::default();
        assert!(gathered.take(0, page("A", 0, PAGE_CONNECTIONS, PAGE_CONNECTIONS + 1)) && gathered.wants_more(0));
        assert!(gathered.take(0, page("B", 0, 1, 1)) && gathered.is_cut());
        assert!(gathered.take(1, page("A", PAGE_CONNECTIONS, 1, PAGE_CONNECTIONS + 1)));
        assert!(!gathered.wants_more(1) && !gathered.is_cut());
        let (listed, servers) = gathered.done();
        assert_eq!((listed.len() as u64, servers.len()), (PAGE_CONNECTIONS + 2, 2));
    }

    #[test]
    fn a_server_that_goes_silent_between_its_pages_has_not_answered() {
        let mut gathered = Gathering::default();
        assert!(gathered.take(0, page("A", 0, PAGE_CONNECTIONS, 3 * PAGE_CONNECTIONS)));
        assert!(gathered.take(0, page("B", 0, 1, 1)));
        // It misses a page: the next one closes no row.
        assert!(!gathered.take(2, page("A", 0, 1, 1)) && !gathered.wants_more(1) && gathered.is_cut());
        assert_eq!(servers(gathered), ["B"]);
    }

    #[test]
    fn a_server_that_comes_late_has_not_answered() {
        let mut gathered = Gathering::default();
        assert!(gathered.take(0, page("A", 0, 1, 1)));
        assert!(!gathered.take(1, page("B", 0, 1, 1)));
        assert_eq!(servers(gathered), ["A"]);
    }

    #[test]
    fn each_server_answers_once() {
        let mut gathered = Gathering::default();
        assert!(gathered.take(0, page("A", 0, 1, 1)) && !gathered.take(0, page("A", 7, 1, 1)));
        assert_eq!(gathered.done().0.len(), 1);
    }

    #[test]
    fn an_error_is_no_answer() {
        let mut gathered = Gathering::default();
        let error = json!({ "server": { "id": "A" }, "error": { "code": 400, "description": "no" } });
        assert!(!gathered.take(0, serde_json::from_value(error).unwrap()));
        assert!(servers(gathered).is_empty());
    }

    #[test]
    fn servers_and_connections_beyond_the_bounds_have_not_answered() {
        let mut gathered = Gathering::default();
        for n in 0..SERVERS_MAX {
            assert!(gathered.take(0, page(&format!("N{n}"), 0, 0, 0)));
        }
        assert!(!gathered.take(0, page("one-more", 0, 1, 1)));
        assert_eq!(servers(gathered).len(), SERVERS_MAX);

        let mut gathered = Gathering::default();
        let endless = |number| page("A", number * PAGE_CONNECTIONS, PAGE_CONNECTIONS, u64::MAX);
        let pages = (0..).take_while(|number| gathered.take(*number, endless(*number))).count();
        assert!(pages <= LISTED_MAX / page_len_max() && gathered.is_cut());
        let (listed, servers) = gathered.done();
        assert!(listed.len() <= LISTED_MAX && servers.is_empty());
        assert!(!Gathering::default().take(0, page("A", 0, PAGE_CONNECTIONS + 1, 1)), "more than was asked for");
    }
}
