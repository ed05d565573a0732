//! What there is to load: which files, in which order. Looks at the folder; reads the manifest, not the data.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::persist::aof::{FileEntry, Manifest, manifest_name};

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
    /// The base of append-only files.
    pub is_base: bool,
    /// It may end in the middle of a command, if `aof-load-truncated` says so: it was being written when the node ended.
    pub may_be_cut: bool,
}

/// All files, in their order.
#[derive(Clone, Debug)]
pub struct Plan {
    pub source: Source,
    pub files: Vec<PlannedFile>,
    pub total_bytes: u64,
}

impl Plan {
    /// What a node with these settings loads when it starts. None when there is nothing. A single append-only file of Redis 6 or
    /// older is taken over first.
    ///
    /// # Errors
    /// One line for the operator: a file that should be there is not, or the manifest is damaged.
    pub fn at_start(config: &Config) -> Result<Option<Plan>, String> {
        if config.appendonly { Plan::append_only(config) } else { Plan::snapshot(config) }
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
        let file = PlannedFile { path, name, bytes, is_base: false, may_be_cut: false };
        Ok(Some(Plan { source: Source::Snapshot, files: vec![file], total_bytes: bytes }))
    }

    /// The append-only files that the manifest names.
    ///
    /// # Errors
    /// As for `at_start`.
    pub fn append_only(config: &Config) -> Result<Option<Plan>, String> {
        let folder = Path::new(&config.appenddirname);
        let mut manifest = read_manifest(&folder.join(manifest_name(&config.appendfilename)))?;
        upgrade(config, folder, &mut manifest)?;
        check(&manifest, folder)?;
        let cut_from = manifest.increments.len().saturating_sub(manifest.writers.unwrap_or(1));
        let has_increments = !manifest.increments.is_empty();
        let base = manifest.base.iter().map(|entry| (entry, true, !has_increments));
        let increments = manifest.increments.iter().enumerate().map(|(at, entry)| (entry, false, at >= cut_from));
        let files = base.chain(increments).map(|(entry, is_base, may_be_cut)| {
            let name = shown(&entry.name);
            let path = folder.join(path_of(entry));
            let found = fs::metadata(&path)
                .map_err(|error| format!("Unable to obtain the AOF file {name} length. stat: {}", reason(&error)))?;
            Ok(PlannedFile { path, name, bytes: found.len(), is_base, may_be_cut })
        });
        let files = files.collect::<Result<Vec<PlannedFile>, String>>()?;
        let total_bytes = files.iter().map(|file| file.bytes).sum();
        Ok((total_bytes > 0).then_some(Plan { source: Source::AppendOnly, files, total_bytes }))
    }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn path_of(entry: &FileEntry) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(&entry.name))
}

/// The system's reason as C's `strerror` has it.
fn reason(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |code| nix::errno::Errno::from_raw(code).desc().to_owned())
}

fn read_manifest(path: &Path) -> Result<Manifest, String> {
    let shown = path.display();
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Manifest::default()),
        Err(error) => {
            return Err(format!(
                "Fatal error: can't open the AOF manifest file {shown} for reading: {}",
                reason(&error)
            ));
        }
    };
    Manifest::parse(&text).map_err(|error| {
        tracing::error!("*** FATAL AOF MANIFEST FILE ERROR ***");
        format!(
            "Reading the manifest file {shown}, at line {}: {} >>> '{}'",
            error.line_number,
            error.reason,
            String::from_utf8_lossy(&error.line)
        )
    })
}

/// What no node writes: a number that is not the one in the file's name, a file that is no longer needed but younger than one
/// that is, more writers than files. A manifest has no checksum, and what it leaves out would be missing in silence.
fn check(manifest: &Manifest, folder: &Path) -> Result<(), String> {
    let wrong = |entry: &FileEntry, reason: &str| {
        Err(format!("The AOF manifest in {} is damaged: {}: {reason}", folder.display(), shown(&entry.name)))
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
    match manifest.increments.last() {
        Some(entry) if manifest.writers.is_some_and(|count| count > manifest.increments.len()) => {
            wrong(entry, "there are fewer files than writers")
        }
        _ => Ok(()),
    }
}

/// Takes over a single append-only file, as Redis 6 and older have it in `dir`: it becomes the base. The manifest is there before
/// the file is moved, so that a node that ends in between goes on here when it starts again.
fn upgrade(config: &Config, folder: &Path, manifest: &mut Manifest) -> Result<(), String> {
    let name = &config.appendfilename;
    if !Path::new(name).is_file() {
        return Ok(());
    }
    let is_empty = manifest.base.is_none() && manifest.increments.is_empty();
    let is_half_done = manifest.increments.is_empty()
        && manifest.base.as_ref().is_some_and(|base| base.name == name.as_bytes())
        && !folder.join(name).exists();
    if folder.is_dir() && !is_empty && !is_half_done {
        return Ok(());
    }
    let shown = folder.display();
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(format!("Can't create append-only dir {shown}: {}", reason(&error)));
        }
        _ => {}
    }
    manifest.base = Some(FileEntry { name: name.clone().into_bytes(), sequence: 1 });
    replace_file(folder, &manifest_name(name), &manifest.to_bytes())
        .map_err(|error| format!("Can't write the AOF manifest in {shown}: {}", reason(&error)))?;
    fs::rename(name, folder.join(name))
        .map_err(|error| format!("Error trying to move the old AOF file {name} into dir {shown}: {}", reason(&error)))?;
    let synced = sync_folder(folder).and_then(|()| sync_folder(Path::new(".")));
    synced.map_err(|error| format!("Can't write the AOF dir {shown}: {}", reason(&error)))?;
    tracing::info!("Successfully migrated an old-style AOF configuration ({name}) into the AOF dir ({shown}).");
    Ok(())
}

/// Writes a file of the folder whole or not at all.
fn replace_file(folder: &Path, name: &str, content: &[u8]) -> std::io::Result<()> {
    let temporary = folder.join(format!("temp-{name}"));
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(name))?;
    sync_folder(folder)
}

pub fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
