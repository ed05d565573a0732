//! Loading: how far it is, and what was read.

use crate::base::clock::UnixMillis;

/// What is known of loading; core 0's. The runtime keeps it up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loading {
    /// While data are being loaded.
    pub progress: Option<Progress>,
    /// Keys of the snapshot that was loaded last, and those left out because their time had come.
    pub last_keys_loaded: u64,
    pub last_keys_expired: u64,
}

/// How far loading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub started: UnixMillis,
    /// Bytes of all files.
    pub total_bytes: u64,
    pub loaded_bytes: u64,
    /// Memory that the node which wrote the snapshot had in use, as the snapshot says; 0 when it does not.
    pub written_with_bytes: u64,
}

impl Progress {
    /// In percent.
    pub fn percent(&self) -> f64 {
        if self.total_bytes == 0 { 0.0 } else { self.loaded_bytes as f64 * 100.0 / self.total_bytes as f64 }
    }

    /// Seconds that the rest will take if it goes on as it did; 1 before anything is known, as in Redis.
    pub fn eta_s(&self, now: UnixMillis) -> i64 {
        match now.seconds() - self.started.seconds() {
            elapsed_s @ 1.. => {
                let left_bytes = self.total_bytes.saturating_sub(self.loaded_bytes);
                (elapsed_s as f64 * left_bytes as f64 / (self.loaded_bytes as f64 + 1.0)) as i64
            }
            _ => 1,
        }
    }
}

/// What DEBUG RELOAD and DEBUG LOADAOF ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// The append-only files, in place of `dbfilename`.
    pub append_only: bool,
    /// Write the file first.
    pub saves: bool,
    /// All keys go first.
    pub empties: bool,
    /// Keys that are there are replaced.
    pub replaces: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_what_was() {
        let started = UnixMillis(1_000_000);
        let progress = Progress { started, total_bytes: 4001, loaded_bytes: 999, written_with_bytes: 0 };
        assert_eq!(progress.eta_s(UnixMillis(1_000_900)), 1);
        assert_eq!(progress.eta_s(UnixMillis(1_010_000)), 30);
        assert!((progress.percent() - 24.968).abs() < 0.001);
        assert!(Progress { total_bytes: 0, ..progress }.percent() < 0.001);
    }
}
