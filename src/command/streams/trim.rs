//! The options that XADD and XTRIM share: what to cut off, and how exactly.

use super::ids::{self, AddedId};
use crate::command::arguments::{integer, is_word, text};
use crate::command::error::CommandError;
use crate::keyspace::stream::{IdText, Log, StreamId, Threshold, Trim};
use crate::resp::Args;

/// Nodes that trimming with `~` removes at most where no LIMIT is given.
const NODES_PER_TRIM: u64 = 100;
/// What that comes to for an unlimited node, and at most.
const LIMIT_OF_UNLIMITED_NODES: u64 = 10_000;
const LIMIT_MAX: u64 = 1_000_000;

/// Which command the options belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Add,
    Trim,
}

/// The options as they were given.
pub(super) struct Options {
    pub trim: Option<Trim>,
    /// Where the threshold of `trim` stands.
    threshold_at: usize,
    /// XADD only: do not create the stream.
    pub no_stream: bool,
    /// XADD only: the id; `None` for `*`.
    pub id: Option<AddedId>,
    /// XADD only: where the id stands.
    pub id_at: usize,
}

impl Options {
    /// Reads the arguments behind the key: for XTRIM to the end, for XADD up to the id. `is_obeyed`: they come from a journal
    /// and have been reckoned out; no LIMIT counts.
    ///
    /// # Errors
    /// Redis's texts for options that do not go together or are out of range.
    pub(super) fn parse(
        args: &Args<'_>,
        command: Command,
        node_entries_max: u64,
        is_obeyed: bool,
    ) -> Result<Options, CommandError> {
        let mut reader = Reader { args, at: 2, to: None, to_at: 0, whole_nodes: false, limit: None };
        let mut options = Options { trim: None, threshold_at: 0, no_stream: false, id: None, id_at: args.len() };
        while let Some(option) = args.get(reader.at) {
            let has_more = reader.at + 1 < args.len();
            match () {
                _ if command == Command::Add && text(option) == b"*" => {
                    options.id_at = reader.at;
                    break;
                }
                _ if has_more && is_word(option, "MAXLEN") => reader.threshold(length)?,
                _ if has_more && is_word(option, "MINID") => reader.threshold(first_id)?,
                _ if has_more && is_word(option, "LIMIT") => reader.limit()?,
                _ if command == Command::Add && is_word(option, "NOMKSTREAM") => options.no_stream = true,
                _ if command == Command::Add => {
                    options.id = Some(ids::added(option)?);
                    options.id_at = reader.at;
                    break;
                }
                _ => return Err(CommandError::Syntax),
            }
            reader.at += 1;
        }
        options.trim = reader.trim(command, node_entries_max, is_obeyed)?;
        options.threshold_at = reader.to_at;
        Ok(options)
    }

    /// The words by which the journal tells of a trimming with `~`, which depends on how the stream lies in nodes: exactly as
    /// far as it went. LIMIT stays where it is, as in Redis, and is overlooked by who obeys.
    pub(super) fn exact_words(&self, log: &Log) -> Option<ExactWords> {
        let threshold = match self.trim.filter(|trim| trim.whole_nodes)?.to {
            Threshold::Length(_) => log.len().to_string().into_bytes(),
            Threshold::Id(_) if log.is_empty() => StreamId::MAX.format(&mut IdText::new()).to_vec(),
            Threshold::Id(_) => log.first_id().format(&mut IdText::new()).to_vec(),
        };
        Some(ExactWords { at: self.threshold_at, threshold })
    }
}

/// A threshold in place of the one that was asked for, and `=` in place of `~`.
pub(super) struct ExactWords {
    at: usize,
    threshold: Vec<u8>,
}

impl ExactWords {
    /// The words with the places of those for which they stand.
    pub(super) fn places(&self) -> [(usize, &[u8]); 2] {
        [(self.at - 1, b"="), (self.at, &self.threshold)]
    }
}

/// Goes over the options; `at` is the one in hand.
struct Reader<'r, 'a> {
    args: &'r Args<'a>,
    at: usize,
    to: Option<Threshold>,
    to_at: usize,
    whole_nodes: bool,
    limit: Option<u64>,
}

impl Reader<'_, '_> {
    /// MAXLEN or MINID: `=` or `~`, if something follows it, and the threshold.
    fn threshold(&mut self, read: fn(&[u8]) -> Result<Threshold, CommandError>) -> Result<(), CommandError> {
        if self.to.is_some() {
            return Err(CommandError::text_static(
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
            ));
        }
        let sign = if self.at + 2 < self.args.len() { text(&self.args[self.at + 1]) } else { b"" };
        self.whole_nodes = sign == b"~";
        self.at += if self.whole_nodes || sign == b"=" { 2 } else { 1 };
        self.to = Some(read(&self.args[self.at])?);
        self.to_at = self.at;
        Ok(())
    }

    fn limit(&mut self) -> Result<(), CommandError> {
        self.at += 1;
        let limit = u64::try_from(integer(&self.args[self.at])?);
        self.limit = Some(limit.map_err(|_| CommandError::text_static("ERR The LIMIT argument must be >= 0."))?);
        Ok(())
    }

    /// What the options come to, `None` without a threshold.
    fn trim(&self, command: Command, node_entries_max: u64, is_obeyed: bool) -> Result<Option<Trim>, CommandError> {
        let Some(to) = self.to else {
            return match self.limit {
                Some(1..) => Err(CommandError::text_static(
                    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
                )),
                _ if command == Command::Trim => {
                    Err(CommandError::text_static("ERR syntax error, XTRIM must be called with a trimming strategy"))
                }
                Some(0) => Err(LIMIT_WITHOUT_TILDE),
                None => Ok(None),
            };
        };
        let limit = match self.limit {
            _ if is_obeyed => 0,
            Some(_) if !self.whole_nodes => return Err(LIMIT_WITHOUT_TILDE),
            Some(limit) => limit,
            None if self.whole_nodes => default_limit(node_entries_max),
            None => 0,
        };
        Ok(Some(Trim { to, whole_nodes: self.whole_nodes, limit }))
    }
}

const LIMIT_WITHOUT_TILDE: CommandError =
    CommandError::text_static("ERR syntax error, LIMIT cannot be used without the special ~ option");

fn length(argument: &[u8]) -> Result<Threshold, CommandError> {
    let length = u64::try_from(integer(argument)?);
    length.map(Threshold::Length).map_err(|_| CommandError::text_static("ERR The MAXLEN argument must be >= 0."))
}

fn first_id(argument: &[u8]) -> Result<Threshold, CommandError> {
    ids::strict(argument, 0).map(Threshold::Id)
}

/// Entries that trimming with `~` removes at most; the product wraps as Redis's does.
fn default_limit(node_entries_max: u64) -> u64 {
    match node_entries_max.wrapping_mul(NODES_PER_TRIM).cast_signed() {
        limit @ 1.. => limit.unsigned_abs().min(LIMIT_MAX),
        _ => LIMIT_OF_UNLIMITED_NODES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::ArgsBuf;

    fn parsed(line: &str, command: Command) -> Result<Option<Trim>, String> {
        let args: ArgsBuf = line.split(' ').collect();
        let options = Options::parse(&args.as_args(), command, 100, false);
        options.map(|options| options.trim).map_err(|error| error.text().into_owned())
    }

    fn trim(to: Threshold, whole_nodes: bool, limit: u64) -> Result<Option<Trim>, String> {
        Ok(Some(Trim { to, whole_nodes, limit }))
    }

    #[test]
    fn thresholds_are_exact_unless_a_tilde_says_otherwise() {
        let length = Threshold::Length(7);
        assert_eq!(parsed("xtrim k MAXLEN 7", Command::Trim), trim(length, false, 0));
        assert_eq!(parsed("xtrim k MAXLEN = 7", Command::Trim), trim(length, false, 0));
        assert_eq!(parsed("xtrim k MAXLEN ~ 7", Command::Trim), trim(length, true, 10_000));
        assert_eq!(parsed("xtrim k LIMIT 0 MAXLEN ~ 7", Command::Trim), trim(length, true, 0));
        assert_eq!(parsed("xadd k MAXLEN ~ 7 LIMIT 3 * a b", Command::Add), trim(length, true, 3));
        assert_eq!(parsed("xadd k * MAXLEN 7", Command::Add), Ok(None));
        assert!(parsed("xtrim k MAXLEN 7 LIMIT 3", Command::Trim).unwrap_err().contains("special ~ option"));
        assert!(parsed("xtrim k LIMIT 3", Command::Trim).unwrap_err().contains("without specifying"));
        assert!(parsed("xtrim k LIMIT 0", Command::Trim).unwrap_err().contains("must be called with"));
        assert!(parsed("xadd k LIMIT 0 * a b", Command::Add).unwrap_err().contains("special ~ option"));
        assert!(parsed("xtrim k MAXLEN ~", Command::Trim).unwrap_err().contains("not an integer"));
        assert!(parsed("xtrim k MAXLEN 1 MINID 1", Command::Trim).unwrap_err().contains("not compatible"));
    }

    #[test]
    fn the_default_limit_is_a_hundred_nodes_within_bounds() {
        assert_eq!(default_limit(100), 10_000);
        assert_eq!(default_limit(1), 100);
        assert_eq!(default_limit(0), LIMIT_OF_UNLIMITED_NODES);
        assert_eq!(default_limit(20_000), LIMIT_MAX);
        assert_eq!(default_limit(i64::MAX as u64), LIMIT_OF_UNLIMITED_NODES);
    }
}
