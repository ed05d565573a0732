//! The manifest of append-only files, in Redis 7's format: lines of `file <name> seq <number> type <b|i|h>`.
//!
//! Names with blanks or quotes are quoted as in redis.conf; lines that begin with `#` are for people, and one of them is ours:
//! `# slotcore writers <count>` says that the last `count` incremental files belong to as many cores, in their order, so that
//! they may be continued by as many. Redis skips it, and leaves it out when it writes the manifest anew.

use std::fmt;

use crate::base::words::{is_bare, quote_into, split_words};

/// Longest line with its end; Redis's limit.
const LINE_BYTES_MAX: usize = 1024;
/// What our own line begins with.
const WRITERS: &[u8] = b"# slotcore writers ";

/// One file of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// A name without a folder.
    pub name: Vec<u8>,
    /// From 1; incremental files are read in its order.
    pub sequence: u64,
}

/// The files of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub base: Option<FileEntry>,
    pub increments: Vec<FileEntry>,
    /// Files that are no longer needed and wait to be deleted.
    pub history: Vec<FileEntry>,
    /// How many of the last incremental files are one for each core. None when the manifest does not say.
    pub writers: Option<usize>,
}

/// Why a manifest is refused, in Redis's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// From 1; 0 when no line is to blame.
    pub line_number: usize,
    pub line: Vec<u8>,
    pub reason: &'static str,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line_number == 0 {
            return f.write_str(self.reason);
        }
        let line = String::from_utf8_lossy(&self.line);
        write!(f, "line {} '{}': {}", self.line_number, line.escape_debug(), self.reason)
    }
}

impl Manifest {
    /// Reads a whole manifest.
    ///
    /// # Errors
    /// The first line that is not as Redis wants it.
    pub fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
        let mut manifest = Manifest::default();
        if text.is_empty() {
            return Err(ManifestError { line_number: 0, line: Vec::new(), reason: "Found an empty AOF manifest" });
        }
        for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            manifest.take_line(line).map_err(|reason| ManifestError {
                line_number: index + 1,
                line: line.trim_ascii().to_vec(),
                reason,
            })?;
        }
        if manifest.writers.is_some_and(|writers| writers > manifest.increments.len()) {
            manifest.writers = None;
        }
        Ok(manifest)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        const MALFORMED: &str = "Invalid AOF manifest file format";
        if line.starts_with(b"#") {
            if let Some(count) = line.strip_prefix(WRITERS) {
                self.writers = parse_sequence(count.trim_ascii()).and_then(|count| usize::try_from(count).ok());
            }
            return Ok(());
        }
        if !line.ends_with(b"\n") || line.len() > LINE_BYTES_MAX {
            return Err("The AOF manifest file contains too long line");
        }
        let words = split_words(line).filter(|words| words.len() >= 6 && words.len() % 2 == 0).ok_or(MALFORMED)?;
        let (mut name, mut sequence, mut kind) = (None, None, None);
        for pair in words.chunks_exact(2) {
            let [key, value] = pair else { continue };
            match () {
                () if key.eq_ignore_ascii_case(b"file") => {
                    if value.iter().any(|byte| matches!(byte, b'/' | b'\\')) {
                        return Err("File can't be a path, just a filename");
                    }
                    name = Some(value.clone());
                }
                () if key.eq_ignore_ascii_case(b"seq") => sequence = parse_sequence(value),
                () if key.eq_ignore_ascii_case(b"type") => kind = value.first().copied(),
                // Of a later version.
                () => {}
            }
        }
        let name = name.filter(|name| is_file_name(name)).ok_or(MALFORMED)?;
        let entry = FileEntry { name, sequence: sequence.ok_or(MALFORMED)? };
        self.add(entry, kind.ok_or(MALFORMED)?)
    }

    fn add(&mut self, entry: FileEntry, kind: u8) -> Result<(), &'static str> {
        match kind {
            b'b' if self.base.is_some() => return Err("Found duplicate base file information"),
            b'b' => self.base = Some(entry),
            b'h' => self.history.push(entry),
            b'i' if self.increments.last().is_some_and(|last| entry.sequence <= last.sequence) => {
                return Err("Found a non-monotonic sequence number");
            }
            b'i' => self.increments.push(entry),
            _ => return Err("Unknown AOF file type"),
        }
        Ok(())
    }

    /// The manifest's text, to be read by this node and by Redis.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(writers) = self.writers {
            out.extend_from_slice(WRITERS);
            out.extend_from_slice(writers.to_string().as_bytes());
            out.push(b'\n');
        }
        // Redis's order.
        let base = self.base.iter().map(|entry| (entry, 'b'));
        let history = self.history.iter().map(|entry| (entry, 'h'));
        let increments = self.increments.iter().map(|entry| (entry, 'i'));
        for (entry, kind) in base.chain(history).chain(increments) {
            out.extend_from_slice(b"file ");
            match is_bare(&entry.name) && entry.name.is_ascii() {
                true => out.extend_from_slice(&entry.name),
                false => quote_into(&entry.name, &mut out),
            }
            out.extend_from_slice(format!(" seq {} type {kind}\n", entry.sequence).as_bytes());
        }
        out
    }

    /// The number of the next base file.
    pub fn next_base(&self) -> u64 {
        self.base.as_ref().map_or(0, |base| base.sequence) + 1
    }

    /// The number of the next incremental file.
    pub fn next_increment(&self) -> u64 {
        self.increments.last().map_or(0, |last| last.sequence) + 1
    }

    /// The incremental files that `writers` cores may go on with, in the order of the cores. A stock server has one writer.
    pub fn continuable(&self, writers: usize) -> Option<&[FileEntry]> {
        let first = self.increments.len().checked_sub(writers)?;
        if self.writers.unwrap_or(1) != writers { None } else { self.increments.get(first..) }
    }
}

/// A number from 1 on that leaves room for many more.
fn parse_sequence(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse::<u64>().ok().filter(|sequence| (1..=u64::MAX / 4).contains(sequence))
}

/// Whether the bytes name a file in a folder.
fn is_file_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reason(text: &str) -> String {
        Manifest::parse(text.as_bytes()).unwrap_err().to_string()
    }

    fn entry(name: &str, sequence: u64) -> FileEntry {
        FileEntry { name: name.into(), sequence }
    }

    #[test]
    fn what_redis_writes_is_read() {
        let text = "file appendonly.aof.2.base.rdb seq 2 type b\nfile old seq 1 type h\n# a note\n\
                    file appendonly.aof.3.incr.aof seq 3 type i\nFILE \"a b\\x41\" SEQ 5 TYPE incr more x\n";
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.base, Some(entry("appendonly.aof.2.base.rdb", 2)));
        assert_eq!(manifest.history, [entry("old", 1)]);
        assert_eq!(manifest.increments, [entry("appendonly.aof.3.incr.aof", 3), entry("a bA", 5)]);
        assert_eq!((manifest.next_base(), manifest.next_increment(), manifest.writers), (3, 6, None));
    }

    #[test]
    fn what_is_written_is_text_that_redis_reads() {
        let manifest = Manifest {
            base: Some(entry("a.1.base.rdb", 1)),
            increments: vec![entry("a.1.incr.aof", 1), entry("with blank", 2)],
            history: vec![entry("h", 1)],
            writers: Some(2),
        };
        let text = manifest.to_bytes();
        let expected = "# slotcore writers 2\nfile a.1.base.rdb seq 1 type b\nfile h seq 1 type h\n\
                        file a.1.incr.aof seq 1 type i\nfile \"with blank\" seq 2 type i\n";
        assert_eq!(String::from_utf8(text.clone()).unwrap(), expected);
        assert_eq!(Manifest::parse(&text).unwrap(), manifest);
    }

    #[test]
    fn a_damaged_manifest_is_refused_with_its_line_and_redis_s_reason() {
        for (text, expected) in [
            ("", "Found an empty AOF manifest"),
            ("\n", "line 1 '': Invalid AOF manifest file format"),
            ("file a seq 1\n", "line 1 'file a seq 1': Invalid AOF manifest file format"),
            ("file a seq 0 type i\n", "line 1 'file a seq 0 type i': Invalid AOF manifest file format"),
            ("file a seq 1 type i", "line 1 'file a seq 1 type i': The AOF manifest file contains too long line"),
            ("file a/b seq 1 type i\n", "line 1 'file a/b seq 1 type i': File can't be a path, just a filename"),
            ("file .. seq 1 type i\n", "line 1 'file .. seq 1 type i': Invalid AOF manifest file format"),
            ("file a seq 1 type x\n", "line 1 'file a seq 1 type x': Unknown AOF file type"),
            (
                "file a seq 1 type b\nfile b seq 2 type b\n",
                "line 2 'file b seq 2 type b': Found duplicate base file information",
            ),
            (
                "file a seq 2 type i\nfile b seq 2 type i\n",
                "line 2 'file b seq 2 type i': Found a non-monotonic sequence number",
            ),
        ] {
            assert_eq!(reason(text), expected, "{text:?}");
        }
        let long = format!("file {} seq 1 type i\n", "a".repeat(LINE_BYTES_MAX));
        assert!(reason(&long).ends_with("too long line"));
    }

    #[test]
    fn only_as_many_cores_as_wrote_the_last_files_go_on_with_them() {
        let text = b"# slotcore writers 2\nfile a seq 1 type i\nfile b seq 2 type i\nfile c seq 3 type i\n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.continuable(2), Some(&[entry("b", 2), entry("c", 3)][..]));
        assert_eq!(manifest.continuable(3), None);
        let fewer = Manifest::parse(b"# slotcore writers 2\nfile a seq 1 type i\n").unwrap();
        assert_eq!((fewer.writers, fewer.continuable(2)), (None, None));
    }

    proptest! {
        #[test]
        fn nothing_makes_the_reader_panic_and_what_it_accepts_it_writes_back(
            text in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            if let Ok(manifest) = Manifest::parse(&text) {
                prop_assert!(manifest == Manifest::default() || Manifest::parse(&manifest.to_bytes()) == Ok(manifest));
            }
        }

        #[test]
        fn any_names_are_read_back(names in proptest::collection::vec("[^/\\\\\0]{1,40}", 0..5)) {
            let named = names.iter().filter(|name| !matches!(name.as_str(), "." | ".."));
            let increments: Vec<FileEntry> = named.zip(1..).map(|(name, sequence)| entry(name, sequence)).collect();
            let manifest = Manifest { increments, base: Some(entry("base", 7)), ..Manifest::default() };
            prop_assert_eq!(Manifest::parse(&manifest.to_bytes()), Ok(manifest));
        }
    }
}
