//! What everything else stands on: slots, cores, time, numbers, globs, words, randomness, ids, bits.
//!
//! Pure values and functions. Nothing here knows of connections, commands or keys beyond their bytes, and nothing
//! here does I/O but `clock` (reads the clock) and `random` (reads a seed once).
pub mod bits;
pub mod clock;
pub mod core_id;
pub mod geo;
pub mod glob;
mod grisu;
pub mod hex;
pub mod hyperloglog;
pub mod long_double;
pub mod number;
pub mod random;
pub mod slot;
pub mod words;
