//! The manifest of append-only files, in Redis 7's format: lines of `file <name> seq <number> type <b|i|h>`.
//!
//! Names with blanks or quotes are quoted as in redis.conf; lines that begin with `#` are for people, and one of them is ours,
//! the *seal*:
//!
//! ```text
//! # slotcore writers <count> crc64 <16 hexadecimal digits>
//! ```
//!
//! The last `count` incremental files belong to as many cores, in their order, so that they may be continued by as many (0: nothing
//! is said of that). The checksum is the one of RDB files, over all bytes of the manifest but its own digits, so that no byte
//! can change unnoticed. Redis skips the line, and leaves it out when it writes the manifest anew: a manifest without it is taken as
//! it is. A comment that has one of the seal's words and is no seal is a seal that was damaged.

use std::fmt;

use crate::base::words::{is_bare, quote_into, split_words};
use crate::persist::rdb::Checksum;

/// Longest line with its end; Redis's limit.
const LINE_BYTES_MAX: usize = 1024;
/// What our own line consists of, beside a count and the digits.
const SEAL: &[u8] = b"# slotcore writers ";
const SEAL_CHECKSUM: &[u8] = b" crc64 ";
const SEAL_DIGITS: usize = 16;
/// No other comment has one of these.
const SEAL_WORDS: [&[u8]; 2] = [b"slotcore", b"crc64"];
const SEAL_BROKEN: &str = "The checksum of slotcore's own line does not match the manifest, which was damaged or edited. \
                           If its other lines are as they should be, remove this line, or run 'slotcore check-aof --fix' on it";

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
    /// The first line that is not as Redis writes it, or the seal that does not match.
    pub fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
        let mut seals = Vec::new();
        let mut manifest = Manifest::default();
        manifest.take_lines(text, |seal| seals.push(seal))?;
        for seal in seals {
            let writers = check_seal(text, &seal).ok_or_else(|| error_at(seal.number, seal.bytes, SEAL_BROKEN))?;
            manifest.writers = writers;
        }
        if manifest.writers.is_some_and(|writers| writers > manifest.increments.len()) {
            manifest.writers = None;
        }
        Ok(manifest)
    }

    /// As `parse`, whatever the seal says. What is read belongs to no cores.
    ///
    /// # Errors
    /// The first line that is not as Redis writes it.
    pub fn parse_unsealed(text: &[u8]) -> Result<Manifest, ManifestError> {
        let mut manifest = Manifest::default();
        manifest.take_lines(text, |_| ())?;
        Ok(manifest)
    }

    /// Reads the lines; `sealed` gets those that are a seal, or what is left of one.
    fn take_lines<'a>(&mut self, text: &'a [u8], mut sealed: impl FnMut(Line<'a>)) -> Result<(), ManifestError> {
        if text.is_empty() {
            return Err(error_at(0, b"", "Found an empty AOF manifest"));
        }
        let mut end = 0;
        for (bytes, number) in text.split_inclusive(|byte| *byte == b'\n').zip(1..) {
            end += bytes.len();
            match bytes.first() {
                Some(b'#') if SEAL_WORDS.iter().any(|word| memchr::memmem::find(bytes, word).is_some()) => {
                    sealed(Line { number, end, bytes });
                }
                Some(b'#') if bytes.ends_with(b"\n") => {}
                _ => self.take_line(bytes).map_err(|reason| error_at(number, bytes, reason))?,
            }
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        const MALFORMED: &str = "Invalid AOF manifest file format";
        // Redis takes a comment that ends with the file; here it is what is left of more.
        if !line.ends_with(b"\n") || line.len() > LINE_BYTES_MAX {
            return Err("The AOF manifest file contains too long line");
        }
        let words = split_words(line).filter(|words| words.len() >= 6 && words.len() % 2 == 0).ok_or(MALFORMED)?;
        let (mut name, mut sequence, mut kind) = (None, None, None);
        for pair in words.chunks_exact(2) {
            let [key, value] = pair else { continue };
            match key.as_slice() {
                b"file" => {
                    if value.iter().any(|byte| matches!(byte, b'/' | b'\\')) {
                        return Err("File can't be a path, just a filename");
                    }
                    name = Some(value.clone());
                }
                b"seq" => sequence = parse_sequence(value),
                b"type" => kind = Some(value.clone()),
                // Of a later version.
                _ => {}
            }
        }
        let name = name.filter(|name| is_file_name(name)).ok_or(MALFORMED)?;
        let entry = FileEntry { name, sequence: sequence.ok_or(MALFORMED)? };
        self.add(entry, &kind.ok_or(MALFORMED)?)
    }

    fn add(&mut self, entry: FileEntry, kind: &[u8]) -> Result<(), &'static str> {
        match kind {
            b"b" if self.base.is_some() => return Err("Found duplicate base file information"),
            b"b" => self.base = Some(entry),
            b"h" => self.history.push(entry),
            b"i" if self.increments.last().is_some_and(|last| entry.sequence <= last.sequence) => {
                return Err("Found a non-monotonic sequence number");
            }
            b"i" => self.increments.push(entry),
            _ => return Err("Unknown AOF file type"),
        }
        Ok(())
    }

    /// The manifest's text, to be read by this node and by Redis.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut head = SEAL.to_vec();
        head.extend_from_slice(self.writers.unwrap_or(0).to_string().as_bytes());
        head.extend_from_slice(SEAL_CHECKSUM);
        let mut out = vec![b'\n'];
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
        let digits = seal_digits(&head, &out);
        head.extend_from_slice(digits.as_bytes());
        head.append(&mut out);
        head
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

/// A line of a manifest.
struct Line<'a> {
    /// From 1.
    number: usize,
    /// Where in the manifest it ends.
    end: usize,
    /// With the line's end.
    bytes: &'a [u8],
}

/// What a seal says of writers, if it is whole and matches the manifest.
fn check_seal(text: &[u8], seal: &Line<'_>) -> Option<Option<usize>> {
    let line = seal.bytes.strip_prefix(SEAL)?.strip_suffix(b"\n")?;
    let (count, digits) = line.split_at_checked(line.len().checked_sub(SEAL_DIGITS)?)?;
    let count = match count.strip_suffix(SEAL_CHECKSUM)? {
        b"0" => None,
        count => Some(usize::try_from(parse_sequence(count)?).ok()?),
    };
    let tail_at = seal.end - 1;
    let (head, tail) = (text.get(..tail_at - SEAL_DIGITS)?, text.get(tail_at..)?);
    (digits == seal_digits(head, tail).as_bytes()).then_some(count)
}

/// The digits that stand between these bytes.
fn seal_digits(head: &[u8], tail: &[u8]) -> String {
    let mut checksum = Checksum::new();
    checksum.update(head);
    checksum.update(tail);
    format!("{:016x}", checksum.value())
}

fn error_at(line_number: usize, line: &[u8], reason: &'static str) -> ManifestError {
    ManifestError { line_number, line: line.trim_ascii().to_vec(), reason }
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
                    file appendonly.aof.3.incr.aof seq 3 type i\nfile \"a b\\x41\" seq 5 type i more x\n";
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
        let expected = "# slotcore writers 2 crc64 DIGITS\nfile a.1.base.rdb seq 1 type b\nfile h seq 1 type h\n\
                        file a.1.incr.aof seq 1 type i\nfile \"with blank\" seq 2 type i\n";
        let digits = text["# slotcore writers 2 crc64 ".len()..][..SEAL_DIGITS].to_vec();
        let expected = expected.replace("DIGITS", &String::from_utf8(digits).unwrap());
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
            ("file a seq 1 type incr\n", "line 1 'file a seq 1 type incr': Unknown AOF file type"),
            ("File a seq 1 type i\n", "line 1 'File a seq 1 type i': Invalid AOF manifest file format"),
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
        let increments = vec![entry("a", 1), entry("b", 2), entry("c", 3)];
        let written = Manifest { increments, writers: Some(2), ..Manifest::default() };
        let manifest = Manifest::parse(&written.to_bytes()).unwrap();
        assert_eq!(manifest.continuable(2), Some(&[entry("b", 2), entry("c", 3)][..]));
        assert_eq!(manifest.continuable(3), None);
        let fewer = Manifest { increments: vec![entry("a", 1)], ..written };
        let fewer = Manifest::parse(&fewer.to_bytes()).unwrap();
        assert_eq!((fewer.writers, fewer.continuable(2)), (None, None));
    }

    fn of_two_cores() -> Vec<u8> {
        let manifest = Manifest {
            base: Some(entry("appendonly.aof.2.base.rdb", 2)),
            increments: vec![entry("appendonly.aof.3.incr.aof", 3), entry("appendonly.aof.4.incr.aof", 4)],
            history: vec![entry("appendonly.aof.1.base.rdb", 1)],
            writers: Some(2),
        };
        manifest.to_bytes()
    }

    #[test]
    fn no_byte_of_a_sealed_manifest_can_be_another() {
        let text = of_two_cores();
        for at in 0..text.len() {
            for flip in 1..=255 {
                let mut damaged = text.clone();
                damaged[at] ^= flip;
                assert!(Manifest::parse(&damaged).is_err(), "byte {at} ^ {flip}: {}", damaged.escape_ascii());
            }
            let cut = Manifest::parse(&text[..at]);
            assert!(cut.is_err(), "cut at {at}");
        }
        assert!(Manifest::parse(&[&text[..], b"# a note\n"].concat()).is_err());
    }

    #[test]
    fn a_seal_that_does_not_match_says_how_to_go_on() {
        let text = String::from_utf8(of_two_cores()).unwrap();
        let edited = text.replace("file appendonly.aof.3.incr.aof seq 3 type i\n", "");
        let said = reason(&edited);
        assert!(said.starts_with("line 1 '# slotcore writers 2 crc64 ") && said.ends_with(SEAL_BROKEN), "{said}");
        // Without it, or for `check-aof --fix`, the rest counts.
        let (_, rest) = edited.split_once('\n').unwrap();
        let manifest = Manifest::parse(rest.as_bytes()).unwrap();
        assert_eq!((manifest.increments.len(), manifest.writers), (1, None));
        assert_eq!(Manifest::parse_unsealed(edited.as_bytes()), Ok(manifest));
        // What is left of a seal is no comment.
        for line in ["# slotcore writers 2", "# writers 2 crc64 0123456789abcdef", "#slotcore", "# crc64"] {
            assert_eq!(reason(&format!("{rest}{line}\n")), format!("line 4 '{line}': {SEAL_BROKEN}"));
        }
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
