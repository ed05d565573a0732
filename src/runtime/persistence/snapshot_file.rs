//! The file that a snapshot becomes: a thread of its own writes it, so that no core waits for the disk.
//!
//! Core 0 opens the temporary file, starts the writer with it, and hands over bytes in the order of the file. The writer keeps the
//! checksum, has the disk take what was written in steps (`rdb-save-incremental-fsync`), and in the end puts the file in the place
//! of the old one, which stays as it is until then. It reports by a channel and rings core 0's bell.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::super::allocator;
use super::super::mesh::BellPull;
use super::priority;
use crate::base::core_id::CoreId;
use crate::command::core::MemoryFigures;
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

/// Files begun by this process.
static BEGUN: AtomicU64 = AtomicU64::new(0);

impl FileSettings {
    /// A name that no other file of this process has: a writer that was given up may not be through with its own.
    fn temporary(&self) -> PathBuf {
        let number = BEGUN.fetch_add(1, Ordering::Relaxed) + 1;
        self.folder.join(format!("temp-{}-{number}.rdb", std::process::id()))
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
    /// Bytes that came from this core are written: it may have the buffer again.
    Bytes(CoreId, Vec<u8>),
    /// A replica has gone, or does not take what it is sent (streams only).
    Gone(u64),
    /// The file is in its place, or cannot be: the line for the log.
    End(Result<(), String>),
}

/// Core 0's hold of a file being written. Dropped before the end, it takes the temporary file with it.
pub struct SnapshotFile {
    temporary: PathBuf,
    jobs: Sender<Job>,
    reports: Receiver<Written>,
    thread: JoinHandle<MemoryFigures>,
}

/// The writer of a file that core 0 has done with.
pub struct Retired(JoinHandle<MemoryFigures>);

impl Retired {
    /// Any thread that works for core 0 and tells its balance at the end.
    pub fn of(thread: JoinHandle<MemoryFigures>) -> Retired {
        Retired(thread)
    }

    pub(super) fn new(thread: JoinHandle<MemoryFigures>) -> Retired {
        Retired(thread)
    }

    /// Whether the writer has ended.
    pub fn has_ended(&self) -> bool {
        self.0.is_finished()
    }

    /// Takes what the writer has freed, and the core had allocated, into this core's books.
    pub fn join(self) {
        if let Ok(figures) = self.0.join() {
            allocator::take_over(figures);
        }
    }
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
        let started = thread.spawn(move || {
            priority::lower();
            writer.run(&jobs_taken, &report, &bell);
            drop((jobs_taken, report, bell));
            allocator::figures()
        });
        let thread =
            started.map_err(|error| format!("Can't start the thread that writes a snapshot: {}", reason(&error)))?;
        Ok(SnapshotFile { temporary, jobs, reports, thread })
    }

    /// Appends bytes. After a failure they go nowhere: the report of the failure is on its way.
    pub fn write(&self, core: CoreId, bytes: Vec<u8>) {
        let _ = self.jobs.send(Job::Write(core, bytes));
    }

    /// All was written: writes the footer and puts the file in its place.
    pub fn finish(&self) {
        let _ = self.jobs.send(Job::Finish);
    }

    /// Nothing more is to be written. If the file is not in its place by then, it goes.
    pub fn retire(self) -> Retired {
        Retired(self.thread)
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
                    let _ = reports.send(Written::Bytes(core, bytes));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh_folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("slotcore-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn settings(folder: &Path) -> FileSettings {
        FileSettings { folder: folder.to_owned(), name: "dump.rdb".to_owned(), checksum: true, incremental_fsync: true }
    }

    /// What the writer reports until its end.
    fn reports(file: &SnapshotFile) -> (usize, Result<(), String>) {
        let mut bytes = 0;
        loop {
            match file.reports.recv().unwrap() {
                Written::Bytes(_, more) => bytes += more.len(),
                Written::Gone(_) => panic!("a file has no replicas"),
                Written::End(outcome) => return (bytes, outcome),
            }
        }
    }

    fn bell() -> BellPull {
        super::super::super::mesh::Mesh::build(1).unwrap().remove(0).bell_pull()
    }

    #[test]
    fn bytes_come_in_order_behind_them_the_footer_and_the_old_file_goes_last() {
        let folder = fresh_folder("file");
        fs::write(folder.join("dump.rdb"), b"old").unwrap();
        let file = SnapshotFile::begin(settings(&folder), bell()).unwrap();
        file.write(CoreId::FIRST, b"one".to_vec());
        file.write(CoreId::new(1), vec![b'x'; SYNC_STEP_BYTES]);
        assert_eq!(fs::read(folder.join("dump.rdb")).unwrap(), b"old");
        file.finish();
        assert_eq!(reports(&file), (3 + SYNC_STEP_BYTES, Ok(())));
        let content = fs::read(folder.join("dump.rdb")).unwrap();
        let (body, sum) = content.split_at(content.len() - 8);
        assert_eq!((&body[..4], body.last()), (&b"onex"[..], Some(&0xff)));
        assert_eq!(Checksum::of(body).to_le_bytes(), *sum);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_full_disk_is_reported_once_and_nothing_is_put_in_place() {
        let folder = fresh_folder("full");
        let (report, reports) = channel();
        let (jobs, jobs_taken) = channel();
        jobs.send(Job::Write(CoreId::FIRST, vec![0; 100])).unwrap();
        jobs.send(Job::Finish).unwrap();
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let path = folder.join("temp.rdb");
        fs::write(&path, b"").unwrap();
        let settings = settings(&folder);
        let writer = Writer { file: full, path, settings, checksum: Checksum::new(), unsynced_bytes: 0 };
        writer.run(&jobs_taken, &report, &bell());
        drop(report);
        let all: Vec<Written> = reports.iter().collect();
        let [Written::End(Err(line))] = &all[..] else { panic!("{all:?}") };
        assert_eq!(line, "Write error saving DB on disk(dump.rdb): No space left on device");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_nobody_wants_any_more_goes() {
        let folder = fresh_folder("unwanted");
        let file = SnapshotFile::begin(settings(&folder), bell()).unwrap();
        file.write(CoreId::FIRST, b"one".to_vec());
        let SnapshotFile { jobs, reports, .. } = file;
        drop(jobs);
        while reports.recv().is_ok() {}
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir_all(folder).unwrap();
    }
}
