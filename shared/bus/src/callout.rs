//! The auth callout's two messages: the server's question, and the answer to it. Source: NATS ADR-26.
//!
//! Both are JWTs of NATS' own kind (`alg: ed25519-nkey`, issuers written as nkeys), sealed for their reader where an
//! xkey is configured. In scope: reading a question that a server signed, writing an answer that it will believe. Out of
//! scope: whom to let in (`marque-gatekeeper`).

mod answer;
mod jwt;
mod question;

pub use answer::{Admission, AnswerError, Answerer, Responses};
pub use jwt::JwtError;
pub use question::{QUESTION_BYTES_MAX, Question, QuestionError, Questions};

/// The header in which a server names the xkey that it seals with.
pub const SERVER_XKEY: &str = "Nats-Server-Xkey";
/// Responders share the questions as one queue group.
pub const QUEUE_GROUP: &str = "marque-gatekeepers";
