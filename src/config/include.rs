//! The files that `include` names: patterns in paths, and reading a file within a limit.
//!
//! Called by the file reader alone. It decides nothing about what the files say.

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
            Component::Normal(name) if is_pattern(name.as_bytes()) => found
                .iter()
                .flat_map(|folder| matches_in(folder, name.as_bytes()))
                .collect(),
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
        !hidden && matches(pattern, name.as_bytes(), false)
    });
    wanted.map(|name| folder.join(name)).collect()
}

fn is_pattern(path: &[u8]) -> bool {
    path.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// The whole file; an error if it is larger than any configuration.
pub fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let length = std::fs::File::open(path)?
        .take(FILE_BYTES_MAX.saturating_add(1))
        .read_to_end(&mut text)?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other("the file is too large"));
    }
    Ok(text)
}

/// Whether the whole text matches: `*`, `?`, `[a-z]`, `[^a]` and `\` before a character that stands for itself.
pub fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // Where to go on after a mismatch: behind the last star, one byte further in the text.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        let step = match (pattern, text) {
            ([], []) => return true,
            ([b'*', after @ ..], _) => {
                retry = Some((after, text));
                Some((after, text))
            }
            (_, [byte, rest @ ..]) => one(pattern, *byte, nocase).map(|after| (after, rest)),
            _ => None,
        };
        (pattern, text) = match (step, retry) {
            (Some(step), _) => step,
            (None, Some((after, [_, rest @ ..]))) => {
                retry = Some((after, rest));
                (after, rest)
            }
            _ => return false,
        };
    }
}

/// What follows in the pattern if its first element matches the byte.
fn one(pattern: &[u8], byte: u8, nocase: bool) -> Option<&[u8]> {
    let fold = |byte: u8| {
        if nocase {
            byte.to_ascii_lowercase()
        } else {
            byte
        }
    };
    match pattern {
        [b'?', after @ ..] => Some(after),
        [b'[', class @ ..] => {
            let (negated, mut class) = class
                .strip_prefix(b"^")
                .map_or((false, class), |class| (true, class));
            let mut found = false;
            loop {
                class = match class {
                    [] => return (found != negated).then_some(class),
                    [b']', after @ ..] => return (found != negated).then_some(after),
                    [b'\\', member, after @ ..] => {
                        found |= fold(*member) == fold(byte);
                        after
                    }
                    [from, b'-', to, after @ ..] => {
                        let (low, high) = (fold(*from.min(to)), fold(*from.max(to)));
                        found |= (low..=high).contains(&fold(byte));
                        after
                    }
                    [member, after @ ..] => {
                        found |= fold(*member) == fold(byte);
                        after
                    }
                };
            }
        }
        [b'\\', literal, after @ ..] | [literal, after @ ..] => {
            (fold(*literal) == fold(byte)).then_some(after)
        }
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_the_whole_text() {
        for (pattern, text, matched) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("MAX?em[l-n]ry*", "maxmemory", false),
            ("MAX?em[l-p]ry*", "maxmemory", true),
            ("[^a]*", "abc", false),
            ("\\*", "*", true),
            ("*list*", "server_cpulist", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes(), true),
                matched,
                "{pattern} {text}"
            );
        }
    }
}
