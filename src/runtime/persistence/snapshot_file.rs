//! The file that a snapshot becomes: a thread of its own writes it, so that no core waits for the disk.
//!
//! Core 0 opens the temporary file, starts the writer with it, and hands over bytes in the order of the file. The writer keeps the
//! checksum, has the disk take what was written in steps (`rdb-save-incremental-fsync`), and in the end puts the file in the place
//! of the old one, which stays as it is until then. It reports by a channel and rings core 0's bell.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::super::mesh::BellPull;
use crate::base::core_id::CoreId;
use crate::persist::rdb::{Checksum, file};

/// With `rdb-save-incremental-fsync` the disk is this far behind at most.
const SYNC_STEP_BYTES: usize = 4 << 20;

/// How and where a file is written.
#[derive(Clone, Debug)]
pub struct FileSettings {
    /// `dir` and `dbfilename`.
    pub folder: PathBuf,
    pub name: String,
    /// `rdbchecksum`.
    pub checksum: bool,
    /// `rdb-save-incremental-fsync`.
    pub incremental_fsync: bool,
}

impl FileSettings {
    fn temporary(&self) -> PathBuf {
        self.folder.join(format!("temp-{}.rdb", std::process::id()))
    }
}

enum Job {
    /// Bytes of a core's chunk, or the header.
    Write(CoreId, Vec<u8>),
    Finish,
}

/// What the writer reports.
#[derive(Debug)]
pub enum Written {
    /// Bytes that came from this core have left memory.
    Bytes(CoreId, usize),
    /// The file is in its place, or cannot be: the line for the log.
    End(Result<(), String>),
}

/// Core 0's hold of a file being written. Dropped before the end, it takes the temporary file with it.
pub struct SnapshotFile {
    temporary: PathBuf,
    jobs: Sender<Job>,
    reports: Receiver<Written>,
}

impl SnapshotFile {
    /// Opens the temporary file and starts its writer.
    ///
    /// # Errors
    /// A line for the log.
    pub fn begin(settings: FileSettings, bell: BellPull) -> Result<SnapshotFile, String> {
        let path = settings.temporary();
        let temporary = path.clone();
        let target = File::create(&path).map_err(|error| {
            format!(
                "Failed opening the temp RDB file {} (in server root dir {}) for saving: {}",
                file_name(&path),
                settings.folder.display(),
                reason(&error)
            )
        })?;
        let ((jobs, jobs_taken), (report, reports)) = (channel(), channel());
        let writer = Writer { file: target, path, settings, checksum: Checksum::new(), unsynced_bytes: 0 };
        let thread = std::thread::Builder::new().name("snapshot".to_owned());
        let started = thread.spawn(move || writer.run(&jobs_taken, &report, &bell));
        started.map_err(|error| format!("Can't start the thread that writes a snapshot: {}", reason(&error)))?;
        Ok(SnapshotFile { temporary, jobs, reports })
    }

    /// Appends bytes. After a failure they go nowhere: the report of the failure is on its way.
    pub fn write(&self, core: CoreId, bytes: Vec<u8>) {
        let _ = self.jobs.send(Job::Write(core, bytes));
    }

    /// All was written: writes the footer and puts the file in its place.
    pub fn finish(&self) {
        let _ = self.jobs.send(Job::Finish);
    }

    /// Takes the temporary file away, for the end of the process, which the writer would not see.
    pub fn remove(self) {
        let _ = fs::remove_file(&self.temporary);
    }

    /// The next report, if there is one.
    pub fn report(&self) -> Option<Written> {
        self.reports.try_recv().ok()
    }
}

struct Writer {
    file: File,
    path: PathBuf,
    settings: FileSettings,
    checksum: Checksum,
    unsynced_bytes: usize,
}

impl Writer {
    /// Works until the file is in its place, something fails, or nobody wants it any more.
    fn run(mut self, jobs: &Receiver<Job>, reports: &Sender<Written>, bell: &BellPull) {
        let outcome = loop {
            match jobs.recv() {
                Ok(Job::Write(core, bytes)) => {
                    if let Err(error) = self.append(&bytes) {
                        break Err(format!(
                            "Write error saving DB on disk({}): {}",
                            self.settings.name,
                            reason(&error)
                        ));
                    }
                    let _ = reports.send(Written::Bytes(core, bytes.len()));
                    bell.ring();
                }
                Ok(Job::Finish) => break self.put_in_place(),
                Err(_) => {
                    let _ = fs::remove_file(&self.path);
                    return;
                }
            }
        };
        if outcome.is_err() {
            let _ = fs::remove_file(&self.path);
        }
        let _ = reports.send(Written::End(outcome));
        bell.ring();
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        if self.settings.checksum {
            self.checksum.update(bytes);
        }
        self.unsynced_bytes += bytes.len();
        if self.settings.incremental_fsync && self.unsynced_bytes >= SYNC_STEP_BYTES {
            self.unsynced_bytes = 0;
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn put_in_place(&mut self) -> Result<(), String> {
        let mut footer = Vec::new();
        file::footer(self.settings.checksum.then(|| self.checksum.clone()), &mut footer);
        let written = self.file.write_all(&footer).and_then(|()| self.file.sync_all());
        written.map_err(|error| format!("Write error saving DB on disk(fsync): {}", reason(&error)))?;
        let target = self.settings.folder.join(&self.settings.name);
        fs::rename(&self.path, &target).map_err(|error| {
            format!(
                "Error moving temp DB file {} on the final destination {} (in server root dir {}): {}",
                file_name(&self.path),
                self.settings.name,
                self.settings.folder.display(),
                reason(&error)
            )
        })?;
        File::open(&self.settings.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| format!("Failed to fsync directory while saving DB: {}", reason(&error)))
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The system's words without its number.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}
