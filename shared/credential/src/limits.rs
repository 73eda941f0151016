//! How large a token and its parts may be. Numbers from AAT §3.4, §4.3 and Appendix B.5.

/// Encoded size of one token in bytes (AAT §4.3 MAX_TOKEN_SIZE, recommended 64 KiB).
pub const TOKEN_BYTES_MAX: usize = 64 * 1024;
/// Encoded size of a chain in bytes, its tokens together (AAT §4.3 MAX_CHAIN_SIZE, recommended 256 KiB).
pub const CHAIN_BYTES_MAX: usize = 256 * 1024;
/// Delegation depth (AAT §4.3 MAX_DELEGATION_DEPTH: at least 8). Ours leaves room for swarms.
pub const DELEGATION_DEPTH_MAX: u64 = 64;
/// Life of a token in seconds (AAT §4.4 MAX_TOKEN_LIFETIME, recommended 90 days).
pub const LIFETIME_SECONDS_MAX: i64 = 90 * 24 * 3600;
/// How far in the future an `iat` may lie, in seconds (AAT §4.4 MAX_IAT_SKEW, recommended 30).
pub const IAT_SKEW_SECONDS_MAX: i64 = 30;
/// Nesting of a constraint (AAT §3.4 MAX_CONSTRAINT_DEPTH, recommended 32); a leaf type has depth 1.
pub const CONSTRAINT_DEPTH_MAX: usize = 32;
/// Tools in one token (AAT Appendix B.5).
pub const TOOLS_MAX: usize = 256;
/// Arguments that one tool's constraint map names (AAT Appendix B.5).
pub const ARGUMENTS_MAX: usize = 64;
/// A tool's name in bytes (AAT Appendix B.5).
pub const TOOL_NAME_BYTES_MAX: usize = 256;
/// One literal inside a constraint in bytes of its canonical form (AAT Appendix B.5).
pub const CONSTRAINT_VALUE_BYTES_MAX: usize = 4 * 1024;
/// Hosts or schemes that one `url` constraint lists: they are compared pairwise. Ours.
pub const URL_NAMES_MAX: usize = 64;
