//! Finds commands in the bytes of an append-only file, however they are cut into chunks.
//!
//! The caller calls `next` with all bytes from the start of the current command; what is not there yet leaves the reader where it
//! stopped, so that no byte of a long command is read twice. Stricter than a connection's parser: what a node wrote ends its
//! lines with CR LF, has no negative counts and no words outside of arrays, and a flipped bit should not pass for a command.
//!
//! Used by loading and by `slotcore check-aof`. Opens no file and knows no command but MULTI and EXEC.

use crate::resp::{Args, Span};

/// Longest line of a count or a length: a mark, the largest number, CR LF.
const LINE_BYTES_MAX: usize = 23;
/// Longest line that begins with `#` (Redis's AOF_ANNOTATION_LINE_MAX_LEN).
const ANNOTATION_BYTES_MAX: usize = 1024;
/// Longest command: places in it are numbered with 32 bits.
const COMMAND_BYTES_MAX: usize = u32::MAX as usize - 1;
/// Arguments for which space is kept from one command to the next.
const KEPT_SPANS_MAX: usize = 4096;

/// What stands at the start of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A command of so many bytes; `args` has its words. Call `pass` before reading what follows.
    Command { bytes: usize },
    /// A line for people, of so many bytes (`#TS:...`).
    Annotation { bytes: usize },
    /// More is needed: call again with the same bytes and what follows them.
    Incomplete,
}

/// Bytes that are no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// From the start of the data.
    pub at: usize,
    pub reason: &'static str,
}

/// Where the reader stands in the current command.
#[derive(Default)]
pub struct CommandReader {
    /// Bytes of the command that have been read.
    at: usize,
    /// Arguments still to come, once the count is known.
    missing: Option<usize>,
    /// Length of the argument that comes next, once its header is read.
    length: Option<usize>,
    spans: Vec<Span>,
}

impl CommandReader {
    /// Reads on in `data`, which begins where the current command begins.
    ///
    /// # Errors
    /// The first place that cannot be part of a command.
    pub fn next(&mut self, data: &[u8]) -> Result<Step, Damage> {
        if data.first() == Some(&b'#') {
            return annotation(data);
        }
        let mut missing = match self.missing {
            Some(missing) => missing,
            None => match self.number(data, b'*', "a count was expected")? {
                None => return Ok(Step::Incomplete),
                Some(0) => return Err(Damage { at: 0, reason: "a command without words" }),
                Some(count) if count > i32::MAX as usize => {
                    return Err(Damage { at: 0, reason: "a command of too many words" });
                }
                Some(count) => count,
            },
        };
        while missing > 0 {
            self.missing = Some(missing);
            if !self.word(data)? {
                return Ok(Step::Incomplete);
            }
            missing -= 1;
        }
        self.missing = Some(0);
        Ok(Step::Command { bytes: self.at })
    }

    /// The words of the command that `next` has just found in `data`.
    pub fn args<'a>(&'a self, data: &'a [u8]) -> Args<'a> {
        Args::from_parts(data, &self.spans, &[])
    }

    /// Where they lie, from the start of the command.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Goes on to the next command.
    pub fn pass(&mut self) {
        (self.at, self.missing, self.length) = (0, None, None);
        self.spans.clear();
        if self.spans.capacity() > KEPT_SPANS_MAX {
            self.spans = Vec::new();
        }
    }

    /// Memory for the words found so far.
    pub fn memory_bytes(&self) -> usize {
        self.spans.capacity() * size_of::<Span>()
    }

    /// `$<length>\r\n<bytes>\r\n`. False when it is not all there.
    fn word(&mut self, data: &[u8]) -> Result<bool, Damage> {
        let length = match self.length {
            Some(length) => length,
            None => match self.number(data, b'$', "a length was expected")? {
                None => return Ok(false),
                Some(length) => length,
            },
        };
        let end = self.at.checked_add(length).filter(|end| *end <= COMMAND_BYTES_MAX);
        let end = end.ok_or(Damage { at: self.at, reason: "a command of more than 4 GiB" })?;
        self.length = Some(length);
        // What is there of the line end is looked at even when the rest is still to come.
        match data.get(end..).unwrap_or_default() {
            [b'\r', b'\n', ..] => {}
            [] | [b'\r'] => return Ok(false),
            _ => return Err(Damage { at: end, reason: "a word does not end with CR LF" }),
        }
        self.spans.push(Span::of(self.at, length));
        (self.at, self.length) = (end + 2, None);
        Ok(true)
    }

    /// `<mark><digits>\r\n` at `at`; goes past it.
    fn number(&mut self, data: &[u8], mark: u8, reason: &'static str) -> Result<Option<usize>, Damage> {
        let damage = Err(Damage { at: self.at, reason });
        let rest = data.get(self.at..).unwrap_or_default();
        if rest.first().is_some_and(|first| *first != mark) {
            return damage;
        }
        let digits = rest.get(1..).unwrap_or_default();
        let digits_count = digits.iter().take(LINE_BYTES_MAX).take_while(|byte| byte.is_ascii_digit()).count();
        let end = digits.get(digits_count..).unwrap_or_default();
        if digits_count > LINE_BYTES_MAX - 3 || digits_count == 0 && !end.is_empty() {
            return damage;
        }
        match end {
            [b'\r', b'\n', ..] => {}
            [] | [b'\r'] => return Ok(None),
            _ => return damage,
        }
        let number = digits
            .iter()
            .take(digits_count)
            .try_fold(0usize, |number, digit| number.checked_mul(10)?.checked_add(usize::from(digit - b'0')));
        let Some(number) = number else { return damage };
        self.at += digits_count + 3;
        Ok(Some(number))
    }
}

fn annotation(data: &[u8]) -> Result<Step, Damage> {
    match memchr::memchr(b'\n', data.get(..ANNOTATION_BYTES_MAX).unwrap_or(data)) {
        Some(end) => Ok(Step::Annotation { bytes: end + 1 }),
        None if data.len() >= ANNOTATION_BYTES_MAX => Err(Damage { at: 0, reason: "an annotation of more than 1 KiB" }),
        None => Ok(Step::Incomplete),
    }
}

/// How far a file can be used: to the end of its last command that is not within an unfinished transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// Bytes from the start of the file to the end of the last whole unit.
    pub whole_bytes: u64,
    /// Within MULTI.
    pub is_open: bool,
}

/// What a command is to the units of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// MULTI: what follows is applied whole or not at all.
    Begins,
    /// EXEC: all since MULTI is there.
    Ends,
    Other,
}

impl Units {
    /// A command whose first word is `name` ends at `end` of the file. A second MULTI, or an EXEC without one, is a command that
    /// fails, as it is to Redis.
    pub fn command(&mut self, name: &[u8], end: u64) -> Mark {
        let mark = match () {
            () if !self.is_open && name.eq_ignore_ascii_case(b"multi") => Mark::Begins,
            () if self.is_open && name.eq_ignore_ascii_case(b"exec") => Mark::Ends,
            () => Mark::Other,
        };
        self.is_open = mark == Mark::Begins || self.is_open && mark != Mark::Ends;
        if !self.is_open {
            self.whole_bytes = end;
        }
        mark
    }

    /// A line for people ends at `end` of the file.
    pub fn annotation(&mut self, end: u64) {
        if !self.is_open {
            self.whole_bytes = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Words = Vec<Vec<u8>>;

    /// Reads chunks as loading does.
    fn read(chunks: &[&[u8]]) -> Result<(Vec<Words>, usize), Damage> {
        let (mut reader, mut commands, mut left, mut base) = (CommandReader::default(), Vec::new(), Vec::new(), 0);
        for chunk in chunks {
            left.extend_from_slice(chunk);
            let mut at = 0;
            loop {
                let data: &[u8] = &left[at..];
                match reader.next(data).map_err(|damage| Damage { at: base + at + damage.at, ..damage })? {
                    Step::Command { bytes } => {
                        commands.push(reader.args(data).iter().map(<[u8]>::to_vec).collect());
                        reader.pass();
                        at += bytes;
                    }
                    Step::Annotation { bytes } => at += bytes,
                    Step::Incomplete => break,
                }
            }
            left.drain(..at);
            base += at;
        }
        Ok((commands, left.len()))
    }

    fn encode(words: &[Vec<u8>]) -> Vec<u8> {
        let mut out = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            out.extend(format!("${}\r\n", word.len()).bytes());
            out.extend(word);
            out.extend(b"\r\n");
        }
        out
    }

    #[test]
    fn what_no_node_writes_is_damage_at_its_place() {
        for (bytes, at, reason) in [
            (&b"SET a b\r\n"[..], 0, "a count was expected"),
            (b"\0\0\0", 0, "a count was expected"),
            (b"*0\r\n", 0, "a command without words"),
            (b"*-1\r\n", 0, "a count was expected"),
            (b"*3000000000\r\n", 0, "a command of too many words"),
            (b"*2\n", 0, "a count was expected"),
            (b"*99999999999999999999999", 0, "a count was expected"),
            (b"*1\r\n*4\r\n", 4, "a length was expected"),
            (b"*1\r\n$-1\r\n", 4, "a length was expected"),
            (b"*1\r\n$4294967295\r\n", 17, "a command of more than 4 GiB"),
            (b"*1\r\n$4\r\nPINGPONG\r\n", 12, "a word does not end with CR LF"),
            (b"*1\r\n$4\r\nPING\r\n*1\r\n$x", 18, "a length was expected"),
        ] {
            assert_eq!(read(&[bytes]), Err(Damage { at, reason }), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn annotations_are_passed_over() {
        let bytes = b"#TS:1628217470\r\n*1\r\n$4\r\nPING\r\n#\n*1\r\n$4\r\nPONG\r\n#half";
        assert_eq!(read(&[bytes]), Ok((vec![vec![b"PING".to_vec()], vec![b"PONG".to_vec()]], 5)));
        assert!(read(&[&[b'#'; ANNOTATION_BYTES_MAX]]).is_err());
    }

    #[test]
    fn a_transaction_is_whole_with_its_exec() {
        let mut units = Units::default();
        let names = ["SET", "MULTI", "SET", "multi", "EXEC", "EXEC", "MULTI", "SET"];
        let marks: Vec<Mark> =
            names.iter().zip(1..).map(|(name, end)| units.command(name.as_bytes(), end * 10)).collect();
        use Mark::{Begins, Ends, Other};
        assert_eq!(marks, [Other, Begins, Other, Other, Ends, Other, Begins, Other]);
        assert_eq!(units, Units { whole_bytes: 60, is_open: true });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn where_a_file_is_cut_does_not_matter(
            commands in proptest::collection::vec(
                proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..5), 1..5),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
            lost in any::<proptest::sample::Index>(),
        ) {
            let bytes: Vec<u8> = commands.iter().flat_map(|command| encode(command)).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(&chunks), Ok((commands.clone(), 0)));
            // The start of a file is the start of its commands, never damage.
            let (found, left) = read(&[&bytes[..lost.index(bytes.len())]]).expect("a file cut short");
            prop_assert!(commands.starts_with(&found));
            prop_assert!(left > 0 || found.iter().map(|words| encode(words).len()).sum::<usize>() == lost.index(bytes.len()));
        }
    }
}
