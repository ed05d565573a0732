//! LCS: the longest common subsequence of two strings, its length, or where its parts lie.

use super::arguments::{integer, is_word};
use super::context::Context;
use super::error::CommandError;
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use super::strings::string;
use crate::resp::{Args, Reply};

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    match_len_min: i64,
}

impl Options {
    fn parse(args: &Args<'_>) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut index = 3;
        while let Some(option) = args.get(index) {
            index += 1;
            if is_word(option, "IDX") {
                options.idx = true;
            } else if is_word(option, "LEN") {
                options.len = true;
            } else if is_word(option, "WITHMATCHLEN") {
                options.with_match_len = true;
            } else if is_word(option, "MINMATCHLEN") {
                options.match_len_min = integer(args.get(index).ok_or(CommandError::Syntax)?)?.max(0);
                index += 1;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if options.len && options.idx {
            return Err(CommandError::text_static("ERR If you want both the length and indexes, please just use IDX."));
        }
        Ok(options)
    }
}

/// LCS key1 key2 [LEN] [IDX] [MINMATCHLEN n] [WITHMATCHLEN]. Keys that are not there count as empty strings.
fn lcs(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let a = value_of(cx, &args[1])?;
    let b = value_of(cx, &args[2])?;
    let options = Options::parse(args)?;
    let table = Table::new(&a, &b, cx.core.config.proto_max_bulk_len)?;
    let length = i64::from(table.at(a.len(), b.len()));
    if options.idx {
        reply_matches(&mut cx.reply, &table.matches(&a, &b), length, &options);
    } else if options.len {
        cx.reply.integer(length);
    } else {
        let mut common = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        for found in table.matches(&a, &b).iter().rev() {
            common.extend_from_slice(&a[found.a..found.a + found.length]);
        }
        cx.reply.bulk(&common);
    }
    Ok(())
}

fn value_of(cx: &mut Context<'_>, name: &[u8]) -> Result<Vec<u8>, CommandError> {
    let key = cx.key(name);
    match cx.core.keyspace.read(cx.caller.db as usize, key) {
        None => Ok(Vec::new()),
        Some(value) => match string(value) {
            Ok(value) => Ok(value.to_vec()),
            Err(_) => Err(CommandError::text_static("ERR The specified keys must contain string values")),
        },
    }
}

/// The answer to IDX: a map of the matches, the last one first, and the length.
fn reply_matches(reply: &mut Reply<'_>, matches: &[Match], length: i64, options: &Options) {
    let long_enough = |found: &&Match| found.length as i64 >= options.match_len_min;
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(matches.iter().filter(long_enough).count());
    for found in matches.iter().filter(long_enough) {
        reply.array(2 + usize::from(options.with_match_len));
        for begin in [found.a, found.b] {
            reply.array(2);
            reply.integer(begin as i64);
            reply.integer((begin + found.length - 1) as i64);
        }
        if options.with_match_len {
            reply.integer(found.length as i64);
        }
    }
    reply.bulk(b"len");
    reply.integer(length);
}

/// Bytes `a..a + length` of the first string stand in the second from `b` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Match {
    a: usize,
    b: usize,
    length: usize,
}

/// Lengths of the longest common subsequences of all pairs of beginnings.
struct Table {
    lengths: Vec<u32>,
    columns: usize,
}

impl Table {
    /// Errors: the table would be larger than proto-max-bulk-len, or the memory is not there.
    fn new(a: &[u8], b: &[u8], limit_bytes: u64) -> Result<Table, CommandError> {
        if a.len() >= u32::MAX as usize - 1 || b.len() >= u32::MAX as usize - 1 {
            return Err(CommandError::text_static("ERR String too long for LCS"));
        }
        const OUT_OF_MEMORY: CommandError =
            CommandError::text_static("ERR Insufficient memory, failed allocating transient memory for LCS");
        let columns = b.len() + 1;
        let cells = (a.len() + 1).checked_mul(columns).ok_or(OUT_OF_MEMORY)?;
        if cells.checked_mul(size_of::<u32>()).ok_or(OUT_OF_MEMORY)? as u64 > limit_bytes {
            return Err(CommandError::text_static(
                "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
            ));
        }
        let mut lengths = Vec::new();
        lengths.try_reserve_exact(cells).map_err(|_| OUT_OF_MEMORY)?;
        lengths.resize(columns, 0);
        for &byte in a {
            let above = lengths.len() - columns;
            let (mut diagonal, mut left) = (0, 0);
            lengths.push(0);
            for (column, &other) in b.iter().enumerate() {
                let up = lengths[above + column + 1];
                left = if byte == other { diagonal + 1 } else { up.max(left) };
                diagonal = up;
                lengths.push(left);
            }
        }
        Ok(Table { lengths, columns })
    }

    /// For the first `rows` bytes of one string and the first `columns` of the other.
    fn at(&self, rows: usize, columns: usize) -> u32 {
        self.lengths[rows * self.columns + columns]
    }

    /// The runs of bytes that make up the subsequence, the last one first, chosen as Redis chooses among equals.
    fn matches(&self, a: &[u8], b: &[u8]) -> Vec<Match> {
        let mut matches: Vec<Match> = Vec::new();
        let (mut i, mut j) = (a.len(), b.len());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                i -= 1;
                j -= 1;
                match matches.last_mut() {
                    Some(last) if last.a == i + 1 && last.b == j + 1 => {
                        *last = Match { a: i, b: j, length: last.length + 1 };
                    }
                    _ => matches.push(Match { a: i, b: j, length: 1 }),
                }
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        matches
    }
}

pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "lcs",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY,
    keys: Keys::Range { first: 1, last: 2, step: 1, access: Access::READ },
    group: Group::String,
    since: "7.0.0",
    summary: "Finds the longest subsequence that two strings share.",
    complexity: "O(N*M) in the lengths of the strings",
    syntax: "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
    run: Run::OnOwner(lcs),
}];

#[cfg(test)]
mod tests {
    use super::*;

    fn common(a: &str, b: &str) -> (u32, Vec<Match>) {
        let (a, b) = (a.as_bytes(), b.as_bytes());
        let table = Table::new(a, b, 1 << 20).unwrap();
        (table.at(a.len(), b.len()), table.matches(a, b))
    }

    #[test]
    fn matches_come_from_the_end_and_join_neighbours() {
        let (length, matches) = common("ohmytext", "mynewtext");
        assert_eq!(length, 6);
        assert_eq!(matches, [Match { a: 4, b: 5, length: 4 }, Match { a: 2, b: 0, length: 2 }]);
    }

    #[test]
    fn strings_without_a_byte_in_common_have_no_match() {
        assert_eq!(common("abc", "xyz"), (0, Vec::new()));
        assert_eq!(common("", "xyz"), (0, Vec::new()));
    }

    #[test]
    fn a_table_beyond_the_limit_is_refused_before_it_is_made() {
        let long = vec![b'x'; 1000];
        let error = Table::new(&long, &long, 1001 * 1001 * 4 - 1).err().unwrap();
        assert!(error.text().contains("exceeds proto-max-bulk-len"));
        assert!(Table::new(&long, &long, 1001 * 1001 * 4).is_ok());
    }
}
