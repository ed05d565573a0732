//! What commands ask of the process and of the operating system, answered at once.
//!
//! The runtime implements it and core 0 has it, in its `Node`: a handler that changes a setting must know before it
//! replies whether the change took place. Everything here is rare; nothing is called for ordinary requests.

use std::io;

use crate::config::{Config, LogLevel};

/// Memory of the process as the kernel counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Pages of the process in memory.
    pub resident_bytes: u64,
    /// Memory of the machine.
    pub system_bytes: u64,
    /// Most bytes that all cores together had allocated, at the times when this was looked at.
    pub peak_allocated_bytes: u64,
}

/// CPU time in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    pub user_us: u64,
    pub system_us: u64,
}

/// CPU time of whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// All threads.
    pub process: CpuTime,
    /// Children that have ended.
    pub children: CpuTime,
    /// Core 0's thread.
    pub first_core: CpuTime,
}

/// The process and the system under the node.
pub trait Machine {
    fn memory(&self) -> ProcessMemory;

    /// Bytes of anonymous huge pages. The kernel walks all pages for it.
    fn huge_pages_bytes(&self) -> u64;

    fn cpu_times(&self) -> CpuTimes;

    fn set_log_level(&self, level: LogLevel);

    /// Makes `folder` the working directory.
    ///
    /// # Errors
    /// The system's reason.
    fn change_folder(&self, folder: &str) -> io::Result<()>;

    /// Makes room for the descriptors of so many clients.
    ///
    /// # Errors
    /// How many clients there is room for.
    fn fit_open_files(&self, maxclients: u32) -> Result<(), u32>;

    /// Listens on the addresses and the port of `config` in place of those before. When that fails the node goes on
    /// listening where it did.
    ///
    /// # Errors
    /// A line for the log.
    fn listen(&self, config: &Config) -> Result<(), String>;

    /// The whole of a file; empty when there is none.
    fn read_file(&self, path: &str) -> io::Result<Vec<u8>>;

    /// Puts new content in a file's place so that at any moment either the old or the new one is there.
    fn replace_file(&self, path: &str, content: &[u8]) -> io::Result<()>;
}
