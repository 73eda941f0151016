//! The one closed list of reasons: the command line, bus errors, metrics, records and documents all draw on it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who has to change something before it can work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The one who asked.
    Caller,
    /// Something between or beyond: the broker, the network, the disk.
    World,
    /// Marque itself.
    Us,
}

/// A refusal as it leaves us: stable code, step of AAT §8 (or of ours, 9 to 14), one plain sentence, blame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// Stable reason.
    pub code: Code,
    /// The step that refused: `"4p4"`, `"11"`; none outside the algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<&'static str>,
    /// One sentence, lower-case, no full stop; outside input in backticks, cut short.
    pub message: String,
    /// Who has to change something.
    pub blame: Blame,
}

impl Refusal {
    /// A refusal outside the chain algorithm.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, step: None, message: message.into(), blame: code.blame() }
    }

    /// The same, at a step of the algorithm.
    pub fn at(step: &'static str, code: Code, message: impl Into<String>) -> Self {
        Self { step: Some(step), ..Self::new(code, message) }
    }
}

macro_rules! codes {
    ($($variant:ident $text:literal $blame:ident $why:literal $hint:literal;)*) => {
        /// A stable reason. New ones are added; none changes its text.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = $why] $variant,)* }

        impl Code {
            /// Every code, in the order of the manual.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The text on every wire: `snake_case`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// What it means, one sentence.
            pub fn why(self) -> &'static str {
                match self { $(Code::$variant => $why,)* }
            }

            /// What to do about it, often a command.
            pub fn hint(self) -> &'static str {
                match self { $(Code::$variant => $hint,)* }
            }

            /// Who has to change something.
            pub fn blame(self) -> Blame {
                match self { $(Code::$variant => Blame::$blame,)* }
            }
        }
    };
}

codes! {
    // Bytes
    Malformed "malformed" Caller "The bytes are not of the form that is expected here." "check the producer; `marque token inspect -` shows what can be decoded";
    Oversize "oversize" Caller "The input is larger than its limit." "make it smaller than the limit that is named";
    DuplicateMember "duplicate_member" Caller "A JSON object names a member twice." "send each member once";
    TooDeep "too_deep" Caller "The input is nested more deeply than is allowed." "flatten it";
    // AAT §8 steps 1 to 6
    ChainEmpty "chain_empty" Caller "No token was presented." "send the chain, root first";
    ChainUnknown "chain_unknown" Caller "The chain was named by its digest, and is not held here." "send the whole chain in `Marque-Chain`";
    TokenIdRepeated "token_id_repeated" Caller "Two tokens of the chain have one `jti`." "derive each token with a new jti";
    AlgorithmNotAllowed "algorithm_not_allowed" Caller "The header's `alg` is not on the allow-list." "sign with Ed25519";
    TypeMismatch "type_mismatch" Caller "The header's `typ` is not the one that belongs here." "present a token of the right kind in this place";
    CriticalUnknown "critical_unknown" Caller "The header's `crit` names something that is not understood." "drop the extension or use a verifier that knows it";
    SignatureInvalid "signature_invalid" Caller "The signature does not verify under the key that must have made it." "present the token exactly as it was signed";
    ClaimsMalformed "claims_malformed" Caller "A claim is missing or not of its kind." "`marque token inspect -` shows the claims";
    RootDepthNotZero "root_depth_not_zero" Caller "The first token is not a root: its `del_depth` is not 0." "present the chain from its root";
    RootHasParent "root_has_parent" Caller "The first token names a parent." "present the chain from its root";
    TokenExpired "token_expired" Caller "A token's `exp` has passed." "ask the issuer for a new root token";
    TokenFromFuture "token_from_future" Caller "A token's `iat` lies in the future." "set the clocks right";
    LifetimeInvalid "lifetime_invalid" Caller "A token's life is empty or longer than is allowed." "issue a shorter one";
    DepthInvalid "depth_invalid" Caller "A token's maximal depth is outside the limit." "issue with a smaller maximal depth";
    IssuerUnknown "issuer_unknown" Caller "The root is not issued by the anchor that signed it." "check the trust bundle: `marque doctor`";
    HolderKeyInvalid "holder_key_invalid" Caller "`cnf.jwk` is not a public Ed25519 key." "bind the token to a public OKP key";
    GrantMalformed "grant_malformed" Caller "The token has no single, well-shaped entry of tools." "write authorization_details as AAT §3.3 says";
    ConstraintMalformed "constraint_malformed" Caller "A constraint is not well-formed." "write it as AAT §3.4 says";
    ConstraintUnknown "constraint_unknown" Caller "A constraint's type is not known here." "use exact, range, one_of, not_one_of, contains, subset, wildcard, all, any, nats_subject, subpath, url or cidr";
    LinkIssuerMismatch "link_issuer_mismatch" Caller "A derived token's `iss` is not its signer's thumbprint." "derive with the parent's holder key";
    DepthSkipped "depth_skipped" Caller "A derived token's depth is not its parent's plus one." "derive from the token that is presented before it";
    DepthExhausted "depth_exhausted" Caller "The parent may not be delegated further." "ask for a larger maximal depth at the root";
    DepthWidened "depth_widened" Caller "A derived token raises the maximal depth." "keep or lower del_max_depth";
    LinkOutlivesParent "link_outlives_parent" Caller "A derived token lives longer, or began earlier, than its parent." "derive within the parent's life";
    AuthorityWidened "authority_widened" Caller "A derived token grants what its parent does not." "only narrow; `marque token inspect -` shows both";
    ParentHashMismatch "parent_hash_mismatch" Caller "`par_hash` is not the parent's digest." "present the parent it was derived from";
    ChainLengthMismatch "chain_length_mismatch" Caller "The chain is not as long as its leaf's depth says." "present every token from root to leaf";
    ToolNotGranted "tool_not_granted" Caller "The leaf does not grant this tool." "ask the delegator for it";
    ArgumentRefused "argument_refused" Caller "An argument is outside what the leaf grants." "stay within the grant: `marque token inspect -`";
    ArgumentMissing "argument_missing" Caller "A required argument is absent." "send every argument that the grant names";
    NumberInadmissible "number_inadmissible" Caller "A number does not survive RFC 8785's round trip." "send it as a string, or with fewer digits";
    AudienceMismatch "audience_mismatch" Caller "The token or proof is meant for another enforcement point, or names none where one is demanded." "address it to this place";
    // AAT §8 step 7
    ProofMalformed "proof_malformed" Caller "The proof lacks a claim, or one is not of its kind." "make the proof as AAT §7.2 says";
    ProofTokenMismatch "proof_token_mismatch" Caller "The proof was made for another token." "prove the leaf that is presented";
    ProofToolMismatch "proof_tool_mismatch" Caller "The proof was made for another tool." "prove the tool that is called";
    ProofArgumentsMismatch "proof_arguments_mismatch" Caller "The proof was made for other arguments." "prove the arguments that are sent";
    ProofOutOfWindow "proof_out_of_window" Caller "The proof's `iat` is too far from now." "set the clocks right; make each proof when it is used";
    NonceMismatch "nonce_mismatch" Caller "The proof lacks the nonce that was demanded." "fetch the nonce and prove again";
    ProofReplayed "proof_replayed" Caller "This proof has been accepted before." "make a new proof for each action";
    // Ours: steps 9 to 14
    Revoked "revoked" Caller "A directive has ended a link of this chain." "ask for a new commission; `marque audit explain` says why";
    Suspended "suspended" Caller "A directive has suspended a link of this chain." "wait for it to be resumed";
    Narrowed "narrowed" Caller "A live narrowing does not allow this call." "stay within it, or ask for it to be lifted";
    ViewStale "view_stale" World "The verifier's view of the directives is older than this tool allows." "check the broker and the broadcaster: `marque doctor`";
    ViewDiverged "view_diverged" Us "The verifier's set of directives differs from the broadcaster's." "restart the verifier and report it";
    ReplayUndecided "replay_undecided" World "Whether this proof was used elsewhere could not be learned." "try again with a new proof";
    LimitUnsupported "limit_unsupported" Caller "The token carries a limit that this verifier does not enforce." "use a verifier that does";
    ManifestChanged "manifest_changed" Caller "The manifest is not the one that the credential was issued for." "enrol again with what is deployed now, or have the blueprint allow it";
    PolicyDenied "policy_denied" Caller "Local policy forbids this call." "ask the operator of the tool";
    // Services
    NotRecorded "not_recorded" World "The record was not acknowledged, so nothing was done." "try again; check the audit stream: `marque doctor`";
    ReplySubjectRefused "reply_subject_refused" Caller "The request's reply subject is not an inbox." "use a request inbox";
    BlueprintUnknown "blueprint_unknown" Caller "No blueprint has this name." "`marque blueprint ls`";
    JoinTokenInvalid "join_token_invalid" Caller "The join token is not one of ours, has expired, or is for another blueprint." "`marque agent invite` makes one";
    JoinTokenUsed "join_token_used" Caller "The join token has been used." "`marque agent invite` makes another";
    EvidenceMissing "evidence_missing" Caller "The blueprint demands evidence that was not sent." "`marque blueprint info` lists what it demands; then enrol again";
    EvidenceInvalid "evidence_invalid" Caller "A piece of evidence does not verify, is out of its time, or is not for this key and domain." "fetch fresh evidence for the agent's own key";
    EvidenceMismatch "evidence_mismatch" Caller "A piece of evidence is genuine, but not of what the blueprint demands." "compare what runs with `marque blueprint info`";
    EvidenceReused "evidence_reused" Caller "A piece of evidence has enrolled an agent before." "fetch fresh evidence for each enrolment";
    ModelNotAllowed "model_not_allowed" Caller "The blueprint does not allow this model." "`marque blueprint info` lists the allowed ones";
    CeilingExceeded "ceiling_exceeded" Caller "The request goes beyond the blueprint's ceiling." "ask for less: `marque blueprint info`";
    CredentialInvalid "credential_invalid" Caller "The identity credential is not valid here." "enrol again";
    PossessionUnproven "possession_unproven" Caller "The request is not signed by the key that it speaks for." "sign it with the agent's own key";
    RequestStale "request_stale" Caller "The signed request is too old, or from the future." "set the clocks right and sign again";
    TooManyConnections "too_many_connections" Caller "The agent has as many connections at the broker as one agent may have." "close one; `gatekeeper.connections_per_agent` is how many it may have";
    NotAuthorized "not_authorized" Caller "The requester may not ask for this." "ask an operator, or the holder of an ancestor token";
    DirectiveUnknown "directive_unknown" Caller "No active directive has this id." "`marque revoke ls`";
    TargetInvalid "target_invalid" Caller "The target is not one that a directive can name." "name a token by its digest or itself, a key by its DID, a manifest by its digest, a task by its URN: `marque revoke --help`";
    BundleUntrusted "bundle_untrusted" World "The trust bundle is not the pinned one, or its signature fails." "fetch it again and compare the fingerprint";
    NotFound "not_found" Caller "There is no such thing." "check the name";
    Conflict "conflict" Caller "It exists already, with other content." "use another name or key";
    Unavailable "unavailable" World "A service or the broker did not answer." "`marque doctor`";
    OutcomeUnknown "outcome_unknown" World "It was sent, but no answer came: it may have happened." "ask again with the same key";
    StreamDiffers "stream_differs" World "A stream's settings differ from what is asked for." "compare and change it by hand; nothing is recreated";
    ConfigInvalid "config_invalid" Caller "The configuration is not valid." "correct what is named; of a service, `config show --origin` tells where each setting comes from";
    LogInvalid "log_invalid" World "The log does not verify." "keep this copy as evidence; compare with another replica";
    LogHalted "log_halted" World "The log halted rather than fork." "read the sink's telemetry, which names what differs; keep its files";
    ToolFailed "tool_failed" World "The tool answered with an error, or not at all." "look at the tool's own telemetry";
    ToolUnserved "tool_unserved" World "Nobody serves the tool's subject: it did not run." "start the tool's host, or compare the subject with `marque blueprint info`; `marque doctor` looks at the rest";
    Internal "internal" Us "A rule of ours was broken." "report it with the record's id";
    // The command line
    Usage "usage" Caller "The command line is not one that this command takes." "`marque help` lists the commands; `marque <command> --help` its flags";
    FileUnusable "file_unusable" Caller "A file or directory can't be used as what it was named for." "check the path, and what lies there";
    OutputLost "output_lost" World "The answer could not be written to stdout." "make room there, or send stdout elsewhere, and ask again";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == text)
            .ok_or_else(|| serde::de::Error::custom(format!("unknown code `{text}`")))
    }
}

/// Outside input as a message may show it: in backticks, printable, at most 64 characters.
pub fn quoted(input: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 64;
    let shown: String =
        input.chars().take(SHOWN_CHARS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let cut = if input.chars().nth(SHOWN_CHARS_MAX).is_some() { "…" } else { "" };
    format!("`{shown}{cut}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_distinct_snake_case() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert!(code.as_str().bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{code}");
            assert!(seen.insert(code.as_str()), "{code} twice");
            assert!(!code.hint().is_empty() && code.why().ends_with('.'));
        }
    }
}
