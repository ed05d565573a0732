//! nodes.conf on disk: locked while the node runs, replaced whole.
//!
//! Called when the node starts and whenever the cluster state has changed. Knows nothing of what the bytes mean. Writes are
//! rare (an operator's command, a change of the topology) and wait for the disk.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// No file of a cluster, which has some thousand nodes at most, comes near this.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// How often another process may replace the file between our opening and locking it.
const LOCK_ATTEMPTS: usize = 16;

/// The file and the lock on it.
pub struct NodesFile {
    path: PathBuf,
    /// Open so that the lock holds; always the file that stands under `path`.
    _locked: File,
}

impl NodesFile {
    /// Opens the file, makes it when there is none, and locks it. Returns its content too, empty for a new one.
    ///
    /// # Errors
    /// One line for the operator: another process uses the file, or it cannot be had.
    pub fn open(name: &str) -> Result<(NodesFile, Vec<u8>), String> {
        let path = std::path::absolute(name).map_err(|error| format!("Can't find {name}: {error}"))?;
        for _ in 0..LOCK_ATTEMPTS {
            let mut file =
                open(&path).map_err(|error| format!("Can't open {name} in order to acquire a lock: {error}"))?;
            lock(&file, name)?;
            // Whoever held the lock may have put a new file in place of the one that we opened.
            if is_in_place(&file, &path) {
                let content =
                    read(&mut file).map_err(|error| format!("Loading the cluster node config from {name}: {error}"))?;
                return Ok((NodesFile { path, _locked: file }, content));
            }
        }
        Err(format!("Impossible to lock {name}: it is being replaced again and again"))
    }

    /// Replaces the content: after a crash the file has the old one or the new one. It is on disk when this returns.
    ///
    /// # Errors
    /// When the disk says so; the old content stays.
    pub fn save(&mut self, content: &[u8]) -> io::Result<()> {
        self.put(content, true)?;
        sync_folder(&self.path)
    }

    /// As `save`, without waiting for the disk: after the crash of a process the file has the new content, after that of the machine perhaps
    /// the old.
    ///
    /// # Errors
    /// When the system says so; the old content stays.
    pub fn replace(&mut self, content: &[u8]) -> io::Result<()> {
        self.put(content, false)
    }

    fn put(&mut self, content: &[u8], is_synced: bool) -> io::Result<()> {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".tmp-{}", std::process::id()));
        let temporary = PathBuf::from(name);
        let written = write(&temporary, content, is_synced).and_then(|file| {
            std::fs::rename(&temporary, &self.path)?;
            Ok(file)
        });
        match written {
            Ok(file) => {
                self._locked = file;
                Ok(())
            }
            Err(error) => {
                let _ = std::fs::remove_file(&temporary);
                Err(error)
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn lock(file: &File, name: &str) -> Result<(), String> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(format!(
            "Sorry, the cluster configuration file {name} is already used by a different Redis Cluster node. Please make \
             sure that different nodes use different cluster configuration files."
        )),
        Err(TryLockError::Error(error)) => Err(format!("Impossible to lock {name}: {error}")),
    }
}

fn is_in_place(file: &File, path: &Path) -> bool {
    let opened = file.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
    let named = std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    matches!((opened, named), (Ok(opened), Ok(named)) if opened == named)
}

fn read(file: &mut File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "this is no such file, it is too large"));
    }
    Ok(content)
}

/// A complete file, on disk if it is to be, locked before it gets its name, so that there is no moment without a lock.
fn write(path: &Path, content: &[u8], is_synced: bool) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    file.try_lock().map_err(io::Error::from)?;
    file.write_all(content)?;
    if is_synced {
        file.sync_all()?;
    }
    Ok(file)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("slotcore-nodes-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn file(&self) -> String {
            self.0.join("nodes.conf").display().to_string()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_saved_is_there_the_next_time() {
        let folder = Folder::new("saved");
        let (mut file, content) = NodesFile::open(&folder.file()).unwrap();
        assert_eq!(content, b"");
        file.save(b"one").unwrap();
        file.save(b"two").unwrap();
        drop(file);
        let (_file, content) = NodesFile::open(&folder.file()).unwrap();
        assert_eq!(content, b"two");
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
    }

    #[test]
    fn a_file_in_use_is_refused_before_and_after_it_is_replaced() {
        let folder = Folder::new("locked");
        let (mut file, _) = NodesFile::open(&folder.file()).unwrap();
        let refused =
            |name: &str| NodesFile::open(name).err().is_some_and(|line| line.starts_with("Sorry, the cluster"));
        assert!(refused(&folder.file()));
        file.save(b"new").unwrap();
        assert!(refused(&folder.file()));
        drop(file);
        assert!(!refused(&folder.file()));
    }

    #[test]
    fn a_failed_save_keeps_the_old_content() {
        let folder = Folder::new("failed");
        let (mut file, _) = NodesFile::open(&folder.file()).unwrap();
        file.save(b"old").unwrap();
        std::fs::remove_dir_all(&folder.0).unwrap();
        assert!(file.save(b"new").is_err());
    }
}
