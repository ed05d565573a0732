//! The data of a full synchronisation as they come over the wire: a length before them, or a mark behind them.
//!
//! ```text
//! $<length>\r\n<bytes>                  a primary that has a file
//! $EOF:<40 bytes>\r\n<bytes><40 bytes>  one that does not know the length beforehand (diskless)
//! ```
//!
//! The link's thread hands in chunks as they come and writes to a file what it is told to. No I/O here.

use memchr::memmem::Finder;

use crate::base::number::parse_i64;

/// Bytes of the mark.
pub const MARK_BYTES: usize = 40;

/// How the end of the data is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// There are so many bytes.
    Length(u64),
    /// These bytes stand behind them.
    Mark([u8; MARK_BYTES]),
}

impl Form {
    /// What the line before the data says. None for an empty line, by which the primary shows that it is still at work.
    ///
    /// # Errors
    /// Why no data come, as the log has it.
    pub fn parse(line: &[u8]) -> Result<Option<Form>, String> {
        let shown = || String::from_utf8_lossy(line.get(..128).unwrap_or(line)).into_owned();
        if line.is_empty() {
            return Ok(None);
        }
        if line.first() == Some(&b'-') {
            return Err(format!("MASTER aborted replication with an error: {}", shown()));
        }
        let Some(rest) = line.strip_prefix(b"$") else {
            return Err(format!(
                "Bad protocol from MASTER, the first byte is not '$' (we received '{}'), are you sure the host and port \
                 are right?",
                shown()
            ));
        };
        if let Some(mark) = rest.strip_prefix(b"EOF:") {
            let mark = mark.get(..MARK_BYTES).and_then(|mark| mark.try_into().ok());
            return mark
                .map(|mark| Some(Form::Mark(mark)))
                .ok_or_else(|| format!("Bad end mark from MASTER: {}", shown()));
        }
        let length = parse_i64(rest).and_then(|length| u64::try_from(length).ok());
        length.map(|length| Some(Form::Length(length))).ok_or_else(|| format!("Bad length from MASTER: {}", shown()))
    }
}

/// The data on their way.
pub struct Payload {
    end: End,
}

enum End {
    Length { left: u64 },
    Mark { finder: Box<Finder<'static>>, held: Vec<u8> },
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// More is to come.
    More,
    /// The data end in this chunk; so many bytes at its end are no part of them.
    End { rest: usize },
}

impl Payload {
    pub fn new(form: Form) -> Payload {
        let end = match form {
            Form::Length(left) => End::Length { left },
            Form::Mark(mark) => End::Mark { finder: Box::new(Finder::new(&mark).into_owned()), held: Vec::new() },
        };
        Payload { end }
    }

    /// Whether there is nothing to come at all.
    pub fn is_empty(&self) -> bool {
        matches!(self.end, End::Length { left: 0 })
    }

    /// Bytes to ask for at most, so that nothing behind the data is read with them.
    pub fn wanted_max(&self) -> u64 {
        match &self.end {
            End::Length { left } => *left,
            End::Mark { .. } => u64::MAX,
        }
    }

    /// Takes what has come and hands data to `write`. What could be the beginning of the mark is kept for the next time.
    ///
    /// # Errors
    /// What `write` says.
    pub fn take<E>(&mut self, chunk: &[u8], mut write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<Taken, E> {
        match &mut self.end {
            End::Length { left } => {
                let count = usize::try_from(*left).map_or(chunk.len(), |left| left.min(chunk.len()));
                let (data, rest) = chunk.split_at(count);
                write(data)?;
                *left -= count as u64;
                Ok(if *left == 0 { Taken::End { rest: rest.len() } } else { Taken::More })
            }
            End::Mark { finder, held } => {
                held.extend_from_slice(chunk);
                if let Some(at) = finder.find(held) {
                    write(held.get(..at).unwrap_or_default())?;
                    let rest = held.len() - at - MARK_BYTES;
                    return Ok(Taken::End { rest });
                }
                let sure = held.len().saturating_sub(MARK_BYTES - 1);
                write(held.get(..sure).unwrap_or_default())?;
                held.drain(..sure);
                Ok(Taken::More)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    const MARK: &[u8; MARK_BYTES] = b"mmmmmmmmmmmmmmmmmmmmxmmmmmmmmmmmmmmmmmmm";

    /// Hands `stream` in by chunks that `cut` chooses; returns the data and what stood behind them.
    fn received(form: Form, stream: &[u8], mut cut: impl FnMut(usize) -> usize) -> Option<(Vec<u8>, Vec<u8>)> {
        let (mut payload, mut data, mut at) = (Payload::new(form), Vec::new(), 0);
        while at < stream.len() {
            let end = at + cut(stream.len() - at);
            let taken = payload.take(&stream[at..end], |bytes| {
                data.extend_from_slice(bytes);
                Ok::<(), ()>(())
            });
            if let Ok(Taken::End { rest }) = taken {
                return Some((data, stream[end - rest..].to_vec()));
            }
            at = end;
        }
        None
    }

    #[test]
    fn the_first_line_says_how_the_end_is_known() {
        assert_eq!(Form::parse(b""), Ok(None));
        assert_eq!(Form::parse(b"$17"), Ok(Some(Form::Length(17))));
        assert_eq!(Form::parse(&[b"$EOF:", &MARK[..]].concat()), Ok(Some(Form::Mark(*MARK))));
        for line in [&b"$-1"[..], b"$x", b"$EOF:short", b"+OK", b"-ERR no", b"$18446744073709551616"] {
            assert!(Form::parse(line).is_err(), "{}", String::from_utf8_lossy(line));
        }
        assert_eq!(Form::parse(b"-ERR no"), Err("MASTER aborted replication with an error: -ERR no".to_owned()));
    }

    #[test]
    fn both_forms_find_the_end_however_the_bytes_are_cut() {
        let mut random = Random::new(5);
        for round in 0..3000 {
            let mut data: Vec<u8> = (0..random.below(300)).map(|_| b"mx"[random.below(2) as usize]).collect();
            // Long beginnings of the mark, which are none.
            data.extend_from_slice(&MARK[..random.below(MARK_BYTES as u64) as usize]);
            data.push(b'-');
            let behind = &b"*1\r\n"[..random.below(5) as usize];
            let (form, mark) = match round % 2 {
                0 => (Form::Length(data.len() as u64), &b""[..]),
                _ => (Form::Mark(*MARK), &MARK[..]),
            };
            let stream = [&data[..], mark, behind].concat();
            let most = 1 + random.below(100);
            let cut = |left: usize| left.min(1 + random.below(most) as usize);
            assert_eq!(received(form, &stream, cut), Some((data, behind.to_vec())));
        }
    }

    #[test]
    fn data_that_are_cut_off_have_no_end() {
        assert_eq!(received(Form::Length(10), b"123456789", |left| left), None);
        assert_eq!(received(Form::Mark(*MARK), &[b"data", &MARK[..39]].concat(), |left| left), None);
        assert!(Payload::new(Form::Length(0)).is_empty());
    }
}
