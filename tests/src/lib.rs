//! End to end: a real broker, the real processes, what others wrote, and kills.

pub mod binaries;
pub mod cast;
pub mod dojo;
pub mod exported;
pub mod hostile;
pub mod noise;
pub mod schemas;
pub mod system;
pub mod tap;
pub mod vectors;
