//! The folder of append-only files, once per node: locked while the node runs, its manifest replaced whole.
//!
//! Called when the node starts and when files change, by core 0 or before there are cores. What it does is rare and waits for
//! the disk; bytes of commands never pass through here.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::FolderJob;
use crate::config::Config;
use crate::persist::aof::{self, FileEntry, Manifest};

/// Larger than any manifest that is one.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// The folder with its files.
pub struct Folder {
    path: PathBuf,
    /// `appendfilename`.
    file_name: String,
    /// Open so that the lock holds.
    locked: File,
    manifest: Manifest,
    /// With files that wait for their base, when append-only files begin while the node runs.
    pending: Option<Manifest>,
    /// `aof-disable-auto-gc`: files that are no longer needed stay.
    keeps_history: bool,
}

/// An incremental file that a core writes to.
pub struct AppendFile {
    pub file: File,
    /// What is in it already; bytes are appended behind.
    pub length_bytes: u64,
    /// On core 0: the size of the files that come before those that are written to.
    pub before_bytes: u64,
}

/// What reading the files has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// For each incremental file, by its number: how many bytes of it are whole commands. What is behind is cut off.
    pub valid_bytes: Vec<(u64, u64)>,
    /// Each core's last file has only keys of that core (a stock server may have gone on with one of them).
    pub may_continue: bool,
}

impl Folder {
    /// Makes the folder if there is none, locks it, and reads the manifest. A single file of a version before 7 becomes the base, also
    /// when an earlier start was interrupted at that.
    ///
    /// # Errors
    /// One line for the operator.
    pub fn open(config: &Config) -> Result<Folder, String> {
        let name = &config.appenddirname;
        let in_folder = |error: io::Error| format!("Can't open or create append-only dir {name}: {}", reason(&error));
        let path = std::path::absolute(name).map_err(in_folder)?;
        match DirBuilder::new().mode(0o755).create(&path) {
            Ok(()) => sync_folder(path.parent().unwrap_or(&path)).map_err(in_folder)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(in_folder(error)),
        }
        let locked = File::open(&path).map_err(in_folder)?;
        match locked.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!(
                    "Sorry, the append-only dir {name} is already used by a different process. \
                     Please make sure that different nodes use different folders ('dir' or 'appenddirname')."
                ));
            }
            Err(TryLockError::Error(error)) => {
                return Err(format!("Can't lock append-only dir {name}: {}", reason(&error)));
            }
        }
        let mut folder = Folder {
            path,
            file_name: config.appendfilename.clone(),
            locked,
            manifest: Manifest::default(),
            pending: None,
            keeps_history: config.aof_disable_auto_gc,
        };
        folder.manifest = folder.read_manifest()?.unwrap_or_default();
        folder.adopt_single_file()?;
        Ok(folder)
    }

    /// Whether files that are no longer needed stay.
    pub fn keeps_history(&self) -> bool {
        self.keeps_history
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where one of the files is.
    pub fn path_of(&self, entry: &FileEntry) -> PathBuf {
        self.path.join(OsStr::from_bytes(&entry.name))
    }

    fn manifest_path(&self) -> PathBuf {
        self.path.join(aof::manifest_name(&self.file_name))
    }

    fn read_manifest(&self) -> Result<Option<Manifest>, String> {
        let path = self.manifest_path();
        let failed = |error: io::Error| {
            format!("Fatal error: can't open the AOF manifest file {}: {}", path.display(), reason(&error))
        };
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
            Ok(metadata) if metadata.len() > MANIFEST_BYTES_MAX => {
                return Err(format!("The AOF manifest file {} is too large to be one", path.display()));
            }
            Ok(_) => {}
        }
        let text = fs::read(&path).map_err(failed)?;
        let manifest = Manifest::parse(&text).map_err(|error| format!("AOF manifest {}, {error}", path.display()))?;
        Ok(Some(manifest))
    }

    /// A file of Redis before 7 stands beside the folder: it becomes the base, as Redis does it. Where the manifest names it already
    /// and the folder does not have it, an earlier start has got so far.
    fn adopt_single_file(&mut self) -> Result<(), String> {
        let single = Path::new(&self.file_name);
        let failed = |error: io::Error| {
            format!("Error trying to move the old AOF file {} into dir: {}", self.file_name, reason(&error))
        };
        let within = self.path.join(single);
        let names_nothing = self.manifest.base.is_none() && self.manifest.increments.is_empty();
        let names_it = self.manifest.increments.is_empty()
            && self.manifest.base.as_ref().is_some_and(|base| base.name == self.file_name.as_bytes());
        if !(names_nothing || names_it && !within.try_exists().map_err(failed)?)
            || !single.try_exists().map_err(failed)?
        {
            return Ok(());
        }
        if names_nothing {
            let base = FileEntry { name: self.file_name.clone().into_bytes(), sequence: 1 };
            let manifest = Manifest { base: Some(base), ..self.manifest.clone() };
            // The manifest first, so that a crash in between leaves a file to be moved and not one that is forgotten.
            self.write_manifest(&manifest).map_err(failed)?;
            self.manifest = manifest;
        }
        fs::rename(single, within).map_err(failed)?;
        self.locked.sync_all().and_then(|()| sync_folder(Path::new("."))).map_err(failed)?;
        tracing::info!("Successfully migrated an old-style AOF configuration ({}) into the AOF dir.", self.file_name);
        Ok(())
    }

    /// The files that `writers` cores write to, in the order of the cores: those of the last time, cut to what is whole, or
    /// new ones. On return the manifest and the files are on the disk.
    ///
    /// # Errors
    /// One line for the operator.
    pub fn begin(&mut self, writers: usize, loaded: &Loaded) -> Result<Vec<AppendFile>, String> {
        self.delete_history();
        self.trim(loaded)?;
        let continued = self.manifest.continuable(writers).filter(|_| loaded.may_continue).map(<[_]>::to_vec);
        let files = match continued {
            Some(entries) => self.go_on_in(&entries),
            None => self.begin_anew(writers),
        };
        let mut files =
            files.map_err(|error| format!("Can't open the append-only file in {}: {error}", self.path.display()))?;
        let others = self.manifest.increments.len() - writers;
        let before = self.manifest.base.iter().chain(&self.manifest.increments[..others]);
        let before_bytes = before.map(|entry| fs::metadata(self.path_of(entry)).map_or(0, |file| file.len())).sum();
        if let Some(first) = files.first_mut() {
            first.before_bytes = before_bytes;
        }
        Ok(files)
    }

    /// The files that are there already. A manifest that another server has written becomes our own.
    fn go_on_in(&mut self, entries: &[FileEntry]) -> io::Result<Vec<AppendFile>> {
        if self.manifest.writers != Some(entries.len()) {
            self.commit(Manifest { writers: Some(entries.len()), ..self.manifest.clone() })?;
        }
        entries.iter().map(|entry| self.open_increment(entry)).collect()
    }

    /// New incremental files, and a base without keys where there is nothing at all.
    fn begin_anew(&mut self, writers: usize) -> io::Result<Vec<AppendFile>> {
        let mut manifest = self.manifest.clone();
        if manifest.base.is_none() && manifest.increments.is_empty() {
            manifest.base = Some(self.empty_base(&manifest)?);
        }
        let files = self.add_increments(&mut manifest, writers)?;
        self.commit(manifest)?;
        Ok(files)
    }

    /// Does a piece of work that takes time, for a thread that is no core.
    ///
    /// # Errors
    /// A line for the log; the folder is as it was before.
    pub fn work(&mut self, job: &FolderJob) -> Result<Vec<AppendFile>, String> {
        let done = match job {
            FolderJob::Add { cores, is_for_all, replaces, commits } => {
                self.add(cores.len(), *is_for_all, *replaces, *commits)
            }
            FolderJob::Rebase { base, first } => self.rebase(base.clone(), *first).map(|()| Vec::new()),
            FolderJob::KeepHistory(keeps) => {
                self.keeps_history = *keeps;
                self.delete_history();
                Ok(Vec::new())
            }
        };
        done.map_err(|error| format!("append-only dir {}: {}", self.path.display(), reason(&error)))
    }

    /// New files for so many cores, in the manifest unless it is to name them only with their base.
    fn add(&mut self, count: usize, is_for_all: bool, replaces: bool, commits: bool) -> io::Result<Vec<AppendFile>> {
        let old = self.pending.clone().unwrap_or_else(|| self.manifest.clone());
        let mut manifest = old.clone();
        if replaces {
            let base = self.empty_base(&old)?;
            // The numbers go on from the old files.
            manifest.history.extend(old.base.into_iter().chain(old.increments));
            manifest.base = Some(base);
        }
        let added = self.add_increments(&mut manifest, count);
        if !is_for_all {
            manifest.writers = None;
        }
        if replaces {
            manifest.increments.drain(..manifest.increments.len().saturating_sub(count));
        }
        let files = added?;
        if !commits {
            self.pending = Some(manifest);
            return Ok(files);
        }
        self.commit(manifest)?;
        self.pending = None;
        self.delete_history();
        Ok(files)
    }

    /// The files before `first` are in `base` now.
    fn rebase(&mut self, base: FileEntry, first: u64) -> io::Result<()> {
        let old = self.pending.clone().unwrap_or_else(|| self.manifest.clone());
        let (increments, done): (Vec<_>, Vec<_>) =
            old.increments.into_iter().partition(|entry| entry.sequence >= first);
        let history = old.history.into_iter().chain(old.base).chain(done).collect();
        self.commit(Manifest { base: Some(base), increments, history, writers: old.writers })?;
        self.pending = None;
        self.delete_history();
        Ok(())
    }

    /// The next base, by its name; there is no such file yet.
    pub fn next_base(&self) -> FileEntry {
        let manifest = self.pending.as_ref().unwrap_or(&self.manifest);
        let sequence = manifest.next_base();
        FileEntry { name: aof::base_name(&self.file_name, sequence).into_bytes(), sequence }
    }

    /// The number of the next incremental file.
    pub fn next_increment(&self) -> u64 {
        self.pending.as_ref().unwrap_or(&self.manifest).next_increment()
    }

    /// Whether there are files that no manifest names before they have a base.
    pub fn is_beginning(&self) -> bool {
        self.pending.is_some()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a base without keys.
    fn empty_base(&self, manifest: &Manifest) -> io::Result<FileEntry> {
        let sequence = manifest.next_base();
        let base = FileEntry { name: aof::base_name(&self.file_name, sequence).into_bytes(), sequence };
        let mut file = File::create(self.path_of(&base))?;
        file.write_all(aof::EMPTY_BASE)?;
        file.sync_all()?;
        tracing::info!("Creating AOF base file {}", String::from_utf8_lossy(&base.name));
        Ok(base)
    }

    /// Makes an empty incremental file for each writer and appends them to `manifest`, which is not written.
    fn add_increments(&self, manifest: &mut Manifest, writers: usize) -> io::Result<Vec<AppendFile>> {
        manifest.writers = Some(writers);
        let mut files = Vec::new();
        for _ in 0..writers {
            let sequence = manifest.next_increment();
            let entry = FileEntry { name: aof::increment_name(&self.file_name, sequence).into_bytes(), sequence };
            let file = File::create(self.path_of(&entry))?;
            file.sync_all()?;
            tracing::info!("Creating AOF incr file {}", String::from_utf8_lossy(&entry.name));
            manifest.increments.push(entry);
            files.push(AppendFile { file, length_bytes: 0, before_bytes: 0 });
        }
        Ok(files)
    }

    fn open_increment(&self, entry: &FileEntry) -> io::Result<AppendFile> {
        let file = OpenOptions::new().write(true).open(self.path_of(entry))?;
        let length_bytes = file.metadata()?.len();
        Ok(AppendFile { file, length_bytes, before_bytes: 0 })
    }

    /// Cuts off what is no whole command, so that a stock server reads all files, too.
    fn trim(&self, loaded: &Loaded) -> Result<(), String> {
        for (sequence, valid_bytes) in &loaded.valid_bytes {
            let Some(entry) = self.manifest.increments.iter().find(|entry| entry.sequence == *sequence) else {
                continue;
            };
            let path = self.path_of(entry);
            let failed =
                |error: io::Error| format!("Error truncating the AOF file {}: {}", path.display(), reason(&error));
            let length = fs::metadata(&path).map_err(failed)?.len();
            if length > *valid_bytes {
                tracing::warn!("Truncating the AOF {} at offset {valid_bytes}", path.display());
                let file = OpenOptions::new().write(true).open(&path).map_err(failed)?;
                file.set_len(*valid_bytes).and_then(|()| file.sync_all()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Makes `manifest` the folder's: after a crash it has this one or the one before.
    fn commit(&mut self, manifest: Manifest) -> io::Result<()> {
        self.write_manifest(&manifest)?;
        self.manifest = manifest;
        Ok(())
    }

    fn write_manifest(&self, manifest: &Manifest) -> io::Result<()> {
        replace_manifest(&self.path, &aof::manifest_name(&self.file_name), manifest)
    }

    /// Deletes files that are no longer needed, unless they are to stay. What cannot be deleted stays for the next time.
    fn delete_history(&mut self) {
        if self.keeps_history || self.manifest.history.is_empty() {
            return;
        }
        let deleted = self.manifest.history.iter().all(|entry| match fs::remove_file(self.path_of(entry)) {
            Err(error) => error.kind() == io::ErrorKind::NotFound,
            Ok(()) => true,
        });
        if deleted {
            let manifest = Manifest { history: Vec::new(), ..self.manifest.clone() };
            if let Err(error) = self.commit(manifest) {
                tracing::warn!("Can't write the AOF manifest: {}", reason(&error));
            }
        }
    }
}

/// Writes the manifest of this name in the folder; after a crash there is this one or the one before.
pub fn replace_manifest(folder: &Path, name: &str, manifest: &Manifest) -> io::Result<()> {
    let temporary = folder.join(format!("temp-{name}"));
    let mut file = File::create(&temporary)?;
    file.write_all(&manifest.to_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(name))?;
    sync_folder(folder)
}

/// Brings the names in a folder to the disk.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The system's reason, without the number.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
