//! What everything else stands on: slots, time, numbers, globs, randomness, ids.
//!
//! Pure values and functions. Nothing here knows of connections, commands or keys beyond their bytes, and nothing
//! here does I/O but `clock` (reads the clock) and `random` (reads a seed once).
pub mod clock;
pub mod glob;
pub mod hex;
pub mod long_double;
pub mod number;
pub mod random;
pub mod slot;
pub mod core_id;
