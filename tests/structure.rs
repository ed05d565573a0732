//! Holds the shape of the source tree: which folder may import which, and what stays inside `runtime/`.
//!
//! The order is `main -> {runtime, admin}`, then `runtime -> command -> {cluster, replication, persist, script} -> keyspace -> {resp, config} -> base`
//! and `admin -> {resp, config} -> base`: code of one folder names only folders further right. Text is read, not parsed: comments and strings are cut out, then
//! names are looked for.

use std::fs;
use std::path::{Path, PathBuf};

/// Each folder with the folders it may name; a folder that is not here fails the test until it has its place.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("config", &["base"]),
    ("resp", &["base"]),
    ("keyspace", &["base", "config", "resp"]),
    ("persist", &["base", "config", "resp", "keyspace"]),
    ("replication", &["base", "config", "resp", "keyspace"]),
    ("cluster", &["base", "config", "resp", "keyspace"]),
    ("script", &["base", "resp"]),
    ("command", &["base", "config", "resp", "keyspace", "persist", "replication", "cluster", "script"]),
    ("admin", &["base", "config", "resp"]),
    ("runtime", &["base", "config", "resp", "keyspace", "persist", "replication", "cluster", "script", "command"]),
];

/// What only `runtime/` may name: rings, sockets and what threads share.
const RUNTIME_ONLY: &[&str] = &[
    "io_uring",
    "TcpStream",
    "TcpListener",
    "UnixStream",
    "UnixListener",
    "UdpSocket",
    "Mutex",
    "RwLock",
    "Arc",
    "OnceLock",
    "LazyLock",
    "Condvar",
    "AtomicBool",
    "AtomicU8",
    "AtomicU16",
    "AtomicU32",
    "AtomicU64",
    "AtomicUsize",
    "AtomicI32",
    "AtomicI64",
    "AtomicPtr",
    "thread_local",
    "mpsc",
];

/// Files that may say `unsafe`, below `src/`; each has its reason beside the block.
const UNSAFE_FILES: &[&str] = &[
    "keyspace/bucket.rs",
    "keyspace/entry.rs",
    "runtime/allocator.rs",
    "runtime/connection.rs",
    "runtime/listen.rs",
    "runtime/log.rs",
    "runtime/persistence/priority.rs",
    "runtime/ring.rs",
    "script/engine.rs",
];

/// Words of `RUNTIME_ONLY` that stand elsewhere all the same: file, word, why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "admin/client.rs",
        "TcpStream",
        "administration is a client in a process of its own, where no core waits for a socket",
    ),
    (
        "admin/announce.rs",
        "UnixStream",
        "the container engine is asked through a socket of that kind, by a process of its own",
    ),
    ("command/table.rs", "OnceLock", "the table of commands is built once and never changes"),
];

struct Source {
    /// Below `src/`, such as `resp/parse.rs`.
    path: String,
    /// The text without comments, strings and tests.
    code: String,
}

impl Source {
    /// The folder, or the file's own name for one directly in `src/`.
    fn folder(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    files_below(&root, &mut files);
    files.sort();
    files
        .iter()
        .map(|file| Source {
            path: file.strip_prefix(&root).expect("below src").to_string_lossy().into_owned(),
            code: without_tests(&without_comments_and_strings(&fs::read_to_string(file).expect("a source file"))),
        })
        .collect()
}

/// Line breaks stay, so that line numbers do.
fn without_comments_and_strings(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let keep_breaks =
        |out: &mut String, part: &[u8]| out.extend(part.iter().filter(|&&byte| byte == b'\n').map(|_| '\n'));
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"//") {
            rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            rest.windows(2).position(|pair| pair == b"*/").map_or(rest.len(), |found| found + 2)
        } else if let Some(len) = raw_string(rest, at > 0 && is_word(bytes[at - 1])) {
            len
        } else if rest[0] == b'"' {
            quoted(rest, b'"')
        } else if rest[0] == b'\'' {
            // A character, not a lifetime: 'x' or an escape.
            match rest {
                [_, b'\\', ..] => quoted(rest, b'\''),
                [_, _, b'\'', ..] => 3,
                _ => 1,
            }
        } else {
            out.push(char::from(rest[0]));
            at += 1;
            continue;
        };
        keep_breaks(&mut out, &rest[..end]);
        out.push(' ');
        at += end;
    }
    out
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The length of `r"..."`, `r#"..."#`, `br#"..."#` at the start of `rest`.
fn raw_string(rest: &[u8], inside_word: bool) -> Option<usize> {
    if inside_word {
        return None;
    }
    let prefix = if rest.starts_with(b"br") {
        2
    } else if rest.starts_with(b"r") {
        1
    } else {
        return None;
    };
    let hashes = rest[prefix..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return None;
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = &rest[prefix + hashes + 1..];
    let found = body.windows(end.len()).position(|window| window == end).unwrap_or(body.len());
    Some((prefix + hashes + 1 + found + end.len()).min(rest.len()))
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Unit tests stand at the foot of a file; they may use what they like.
fn without_tests(code: &str) -> String {
    match code.find("#[cfg(test)]\nmod ") {
        Some(at) => code[..at].to_owned(),
        None => code.to_owned(),
    }
}

/// The names that follow `crate::`, the ones in `crate::{...}` included, each with its line.
fn crate_names(code: &str) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if at > 0 && (is_word(code.as_bytes()[at - 1]) || code.as_bytes()[at - 1] == b'$') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut start_of_item = true;
            for (offset, character) in group.char_indices() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start_of_item = true,
                    other if start_of_item && !other.is_whitespace() => {
                        names.push((line, leading_word(&group[offset..])));
                        start_of_item = false;
                    }
                    _ => {}
                }
            }
        } else {
            names.push((line, leading_word(rest)));
        }
    }
    names
}

fn leading_word(text: &str) -> String {
    text.chars().take_while(|&character| character.is_ascii_alphanumeric() || character == '_').collect()
}

/// The lines on which `word` stands by itself.
fn lines_with(code: &str, word: &str) -> Vec<usize> {
    code.match_indices(word)
        .filter(|(at, _)| {
            let before = code[..*at].bytes().last();
            let after = code[at + word.len()..].bytes().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
        .map(|(at, _)| code[..at].matches('\n').count() + 1)
        .collect()
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn imports_point_one_way() {
    let mut wrong = Vec::new();
    for source in sources() {
        let folder = source.folder();
        if folder == "main" || folder == "lib" {
            continue;
        }
        let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| *name == folder) else {
            wrong.push(format!("{}: folder {folder} has no place in the order", source.path));
            continue;
        };
        for (line, name) in crate_names(&source.code) {
            let is_folder = MAY_NAME.iter().any(|(folder, _)| *folder == name);
            if is_folder && name != folder && !allowed.contains(&name.as_str()) {
                wrong.push(format!("src/{}:{line}: {folder} names {name}", source.path));
            }
        }
    }
    assert_none("imports against the order", &wrong);
}

#[test]
fn sockets_executors_and_shared_state_stay_in_the_runtime() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.folder() != "runtime") {
        for word in RUNTIME_ONLY {
            if EXCEPTIONS.iter().any(|(path, name, _)| *path == source.path && name == word) {
                continue;
            }
            for line in lines_with(&source.code, word) {
                wrong.push(format!("src/{}:{line}: {word}", source.path));
            }
        }
    }
    assert_none("what only runtime/ may name", &wrong);
}

#[test]
fn unsafe_stands_in_named_files_with_its_reason() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines = lines_with(&source.code, "unsafe");
        let named = UNSAFE_FILES.contains(&source.path.as_str());
        if !named {
            wrong.extend(
                lines.iter().map(|line| format!("src/{}:{line}: unsafe in a file that is not named", source.path)),
            );
        } else if !lines.is_empty() {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(&source.path);
            let text = fs::read_to_string(root).expect("a source file");
            if !text.contains("SAFETY:") {
                wrong.push(format!("src/{}: unsafe without a SAFETY: reason", source.path));
            }
        }
    }
    assert_none("unsafe", &wrong);
}

#[test]
fn every_module_says_what_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|source| !fs::read_to_string(root.join(&source.path)).expect("a source file").starts_with("//! "))
        .map(|source| format!("src/{}", source.path))
        .collect();
    assert_none("files without a module doc on their first line", &wrong);
}

#[test]
fn the_reader_of_this_test_sees_names_and_not_prose() {
    let code = without_comments_and_strings(
        "use crate::{base::x, keyspace::{a, b}}; // crate::runtime\nlet s = \"crate::command Mutex\"; let c = '\"'; r#\"Arc\"# 'a Mutex",
    );
    let names: Vec<String> = crate_names(&code).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["base", "keyspace"]);
    assert_eq!(lines_with(&code, "Mutex"), [2]);
    assert!(lines_with(&code, "Arc").is_empty());
}
