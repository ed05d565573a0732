//! The files that `include` names: patterns in paths, and reading a file within a limit.
//!
//! Called by the file reader alone. It decides nothing about what the files say.

use crate::base::glob;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The largest file of configuration that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What a path stands for.
pub enum Included {
    /// A plain path: the file must exist.
    One(PathBuf),
    /// The matches of a pattern, sorted; there may be none.
    Pattern(Vec<PathBuf>),
}

/// The path of a word.
pub fn path_of(word: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(word))
}

/// Resolves a path, relative to `folder`, with `*`, `?` and `[...]` in any of its parts.
pub fn expand(path: &Path, folder: &Path) -> Included {
    let path = folder.join(path);
    if !is_pattern(path.as_os_str().as_bytes()) {
        return Included::One(path);
    }
    let mut found = vec![PathBuf::new()];
    for part in path.components() {
        found = match part {
            Component::Normal(name) if is_pattern(name.as_bytes()) => {
                found.iter().flat_map(|folder| matches_in(folder, name.as_bytes())).collect()
            }
            _ => found.into_iter().map(|folder| folder.join(part)).collect(),
        };
    }
    found.retain(|path| path.exists());
    found.sort();
    Included::Pattern(found)
}

/// The entries of a folder that match; those that begin with a dot only if the pattern does too.
fn matches_in(folder: &Path, pattern: &[u8]) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let wanted = names.filter(|name| {
        let hidden = name.as_bytes().starts_with(b".") && !pattern.starts_with(b".");
        !hidden && glob::matches(pattern, name.as_bytes(), false)
    });
    wanted.map(|name| folder.join(name)).collect()
}

fn is_pattern(path: &[u8]) -> bool {
    path.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// The whole file; an error if it is larger than any configuration.
pub fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let length = std::fs::File::open(path)?.take(FILE_BYTES_MAX.saturating_add(1)).read_to_end(&mut text)?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other("the file is too large"));
    }
    Ok(text)
}
