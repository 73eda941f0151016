//! How many are served at once, in all and of one user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Connections at once: each holds a line's buffer and, for a while, a thread that hashes.
pub(crate) const CONNECTIONS_MAX: usize = 256;
/// Of one user: a quarter, so that no user keeps all the others out.
pub(crate) const CONNECTIONS_OF_USER_MAX: usize = CONNECTIONS_MAX / 4;

/// The seats that are taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seats(Arc<Mutex<HashMap<u32, usize>>>);

/// A seat; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Seats,
    uid: u32,
}

impl Seats {
    /// A seat for this user; none where all of the user's, or all, are taken.
    pub(crate) fn take(&self, uid: u32) -> Option<Seat> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<usize>() >= CONNECTIONS_MAX {
            return None;
        }
        let of_user = taken.entry(uid).or_default();
        if *of_user >= CONNECTIONS_OF_USER_MAX {
            return None;
        }
        *of_user += 1;
        Some(Seat { seats: self.clone(), uid })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_user) = taken.get_mut(&self.uid) {
            *of_user = of_user.saturating_sub(1);
            if *of_user == 0 {
                taken.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_can_t_take_every_seat() {
        let seats = Seats::default();
        let first: Vec<Seat> = (0..CONNECTIONS_OF_USER_MAX).map(|_| seats.take(1).unwrap()).collect();
        assert!(seats.take(1).is_none());
        let others: Vec<Seat> = (2..5)
            .flat_map(|uid| (0..CONNECTIONS_OF_USER_MAX).map(move |_| uid))
            .map(|uid| seats.take(uid).unwrap())
            .collect();
        assert!(seats.take(9).is_none());
        drop(first);
        assert!(seats.take(1).is_some() && seats.take(9).is_some());
        drop(others);
        assert!(seats.0.lock().unwrap().is_empty());
    }
}
