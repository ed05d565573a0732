//! Append-only files: commands that bring the data about, and the manifest that names the files.

pub mod reader;

pub use reader::{CommandReader, Damage, Mark, Step, Units};
