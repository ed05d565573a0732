//! What there is to load: which files, in which order. Looks at the folder and its manifest, not at the data.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::config::Config;
use crate::persist::aof::{FileEntry, Manifest};
use crate::runtime::persistence::append_only::Folder;
use crate::runtime::persistence::append_only::folder::reason;

/// Which files hold the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `dbfilename`.
    Snapshot,
    /// What the manifest names.
    AppendOnly,
}

/// One file.
#[derive(Clone, Debug)]
pub struct PlannedFile {
    pub path: PathBuf,
    /// As the log calls it.
    pub name: String,
    pub bytes: u64,
    /// The number of an incremental file.
    pub sequence: Option<u64>,
    /// The core that wrote it until the node ended, if one did: it may end in the middle of a command.
    pub writer: Option<usize>,
}

/// All files, in their order.
#[derive(Clone, Debug)]
pub struct Plan {
    pub source: Source,
    pub files: Vec<PlannedFile>,
    pub total_bytes: u64,
    /// What becomes of the file when all is loaded.
    pub afterwards: Option<Afterwards>,
}

/// What becomes of a file that was received from a primary.
#[derive(Clone, Debug)]
pub struct Afterwards {
    pub path: PathBuf,
    /// Its new name; without one it is removed.
    pub becomes: Option<PathBuf>,
}

impl Plan {
    /// A snapshot that was received from a primary. A file takes the place of `dbfilename`, unless nothing is kept on disk here and
    /// `rdb-del-sync-files` says so.
    pub fn received(path: PathBuf, bytes: u64, is_file: bool, config: &Config) -> Plan {
        let name = path.display().to_string();
        let keeps_nothing = config.rdb_del_sync_files && config.save.is_empty() && !config.appendonly;
        let becomes = (!keeps_nothing).then(|| PathBuf::from(&config.dir).join(&config.dbfilename));
        let file = PlannedFile { path: path.clone(), name, bytes, sequence: None, writer: None };
        let afterwards = is_file.then_some(Afterwards { path, becomes });
        Plan { source: Source::Snapshot, files: vec![file], total_bytes: bytes, afterwards }
    }

    /// The snapshot in `dbfilename`.
    ///
    /// # Errors
    /// When it is there and cannot be looked at.
    pub fn snapshot(config: &Config) -> Result<Option<Plan>, String> {
        let name = config.dbfilename.clone();
        let bytes = match fs::metadata(&name) {
            Ok(found) if found.is_file() => found.len(),
            Ok(_) => return Err(format!("Fatal error: can't open the RDB file {name} for reading: it is no file")),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("Fatal error: can't open the RDB file {name} for reading: {error}")),
        };
        let path = PathBuf::from(&name);
        let file = PlannedFile { path, name, bytes, sequence: None, writer: None };
        Ok(Some(Plan { source: Source::Snapshot, files: vec![file], total_bytes: bytes, afterwards: None }))
    }

    /// The append-only files that the manifest names. None when there are none, or nothing is in them.
    ///
    /// # Errors
    /// One line for the operator: a file that should be there is not, or the manifest is damaged.
    pub fn append_only(folder: &Folder) -> Result<Option<Plan>, String> {
        let manifest = folder.manifest();
        check(manifest)?;
        // A single file is written to by one core, as a stock server has it.
        let written_from = manifest.increments.len().saturating_sub(manifest.writers.unwrap_or(1));
        let has_increments = !manifest.increments.is_empty();
        let base = manifest.base.iter().map(|entry| (entry, None, (!has_increments).then_some(0)));
        let increments = manifest.increments.iter().enumerate();
        let increments = increments.map(|(at, entry)| (entry, Some(entry.sequence), at.checked_sub(written_from)));
        let files = base.chain(increments).map(|(entry, sequence, writer)| {
            let (path, name) = (folder.path_of(entry), shown(&entry.name));
            let found = fs::metadata(&path)
                .map_err(|error| format!("Unable to obtain the AOF file {name} length. stat: {}", reason(&error)))?;
            Ok(PlannedFile { path, name, bytes: found.len(), sequence, writer })
        });
        let files = files.collect::<Result<Vec<PlannedFile>, String>>()?;
        let total_bytes = files.iter().map(|file| file.bytes).sum();
        Ok((total_bytes > 0).then_some(Plan { source: Source::AppendOnly, files, total_bytes, afterwards: None }))
    }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// What no node writes: a number that is not the one in the file's name, a file that is no longer needed but younger than one
/// that is, more writers than files. A manifest has no checksum, and what it leaves out would be missing in silence.
fn check(manifest: &Manifest) -> Result<(), String> {
    let wrong = |entry: &FileEntry, reason: &str| {
        Err(format!("The AOF manifest file is damaged, at '{}': {reason}", shown(&entry.name)))
    };
    let oldest = manifest.increments.first().map_or(u64::MAX, |entry| entry.sequence);
    let increments = manifest.increments.iter().map(|entry| (entry, ".incr.", false));
    let history = manifest.history.iter().map(|entry| (entry, ".incr.", true));
    for (entry, kind, is_history) in increments.chain(history).chain(manifest.base.iter().map(|b| (b, ".base.", false)))
    {
        let name = shown(&entry.name);
        let Some((before, _)) = name.rsplit_once(kind) else { continue };
        let number = before.rsplit_once('.').map(|(_, number)| number);
        if number != Some(entry.sequence.to_string().as_str()) {
            return wrong(entry, "its name and its number differ");
        }
        if is_history && entry.sequence > oldest {
            return wrong(entry, "it is history, and older files are not");
        }
    }
    if let (true, Some(entry)) =
        (manifest.increments.is_empty(), manifest.history.iter().find(|e| shown(&e.name).contains(".incr.")))
    {
        return wrong(entry, "it is history, and nothing came after it");
    }
    match manifest.increments.last() {
        Some(entry) if manifest.writers.is_some_and(|count| count > manifest.increments.len()) => {
            wrong(entry, "there are fewer files than writers")
        }
        _ => Ok(()),
    }
}
