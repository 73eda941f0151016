//! The gatekeeper: the broker asks it whom to let in, and it closes what must end.
