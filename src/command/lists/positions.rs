//! Searching a list: LPOS.

use super::super::arguments::{integer, is_word};
use super::super::context::Context;
use super::super::error::CommandError;
use super::super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::keyspace::list::{Item, List};
use crate::keyspace::listpack::Needle;
use crate::resp::Args;

/// What is searched for besides the element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Search {
    /// From the tail on.
    backwards: bool,
    /// Matches that are passed over.
    skip: usize,
    /// How many matches are wanted in an array; 0: all. Without it, one alone.
    count: Option<usize>,
    /// How many elements are compared; 0: all.
    max_len: usize,
}

impl Search {
    /// Reads the options behind key and element.
    fn parse(args: &Args<'_>) -> Result<Search, CommandError> {
        let mut search = Search { backwards: false, skip: 0, count: None, max_len: 0 };
        let mut index = 3;
        while let Some(option) = args.get(index) {
            let value = args.get(index + 1).ok_or(CommandError::Syntax)?;
            if is_word(option, "RANK") {
                let rank = rank(value)?;
                search.backwards = rank < 0;
                search.skip = usize::try_from(rank.unsigned_abs() - 1).unwrap_or(usize::MAX);
            } else if is_word(option, "COUNT") {
                search.count = Some(not_negative(value, "ERR COUNT can't be negative")?);
            } else if is_word(option, "MAXLEN") {
                search.max_len = not_negative(value, "ERR MAXLEN can't be negative")?;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 2;
        }
        Ok(search)
    }

    /// Indexes from the front of the matches, in the order of the search.
    fn run<'a>(&self, list: &'a List, needle: Needle<'a>) -> impl Iterator<Item = usize> {
        let (len, backwards) = (list.len(), self.backwards);
        let mut items = list.iter();
        let next = move || if backwards { items.next_back() } else { items.next() };
        let compared = if self.max_len == 0 { len } else { self.max_len };
        let wanted = match self.count {
            None => 1,
            Some(0) => usize::MAX,
            Some(count) => count,
        };
        std::iter::from_fn(next)
            .take(compared)
            .map(Item::element)
            .enumerate()
            .filter(move |(_, element)| needle.is(*element))
            .map(move |(distance, _)| if backwards { len - 1 - distance } else { distance })
            .skip(self.skip)
            .take(wanted)
    }
}

/// A rank: the first match is 1, the last one -1.
fn rank(argument: &[u8]) -> Result<i64, CommandError> {
    match integer(argument)? {
        0 => Err(CommandError::text_static(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start \
             from the end of the list",
        )),
        i64::MIN => Err(CommandError::text_static(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        rank => Ok(rank),
    }
}

fn not_negative(argument: &[u8], text: &'static str) -> Result<usize, CommandError> {
    let number = integer(argument).ok().and_then(|number| usize::try_from(number).ok());
    number.ok_or(CommandError::text_static(text))
}

/// LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]: an index or null; with COUNT an array of them.
fn lpos(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let search = Search::parse(args)?;
    let (db, key) = (cx.db(), cx.key(&args[1]));
    let list = cx.core.keyspace.read_as::<List>(db, key)?;
    let mut found = list.into_iter().flat_map(|list| search.run(list, Needle::new(&args[2])));
    match search.count {
        None => match found.next() {
            Some(index) => cx.reply.integer(index as i64),
            None => cx.reply.null(),
        },
        Some(_) => {
            let array = cx.reply.begin_array();
            let mut count = 0;
            for index in found {
                cx.reply.integer(index as i64);
                count += 1;
            }
            cx.reply.finish(array, count);
        }
    }
    Ok(())
}

pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "lpos",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY,
    keys: Keys::At(1, Access::READ),
    group: Group::List,
    since: "6.0.6",
    summary: "Returns the indexes of elements that are equal to one.",
    complexity: "O(N) in the number of elements compared",
    syntax: "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
    run: Run::OnOwner(lpos),
}];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::list::{End, Incoming};
    use crate::resp::ArgsBuf;

    fn found(options: &str) -> Vec<usize> {
        let mut list = List::default();
        "abcabca".bytes().for_each(|byte| list.push(End::Back, Incoming::copied(&[byte])));
        let args: ArgsBuf = format!("lpos k a {options}").split_ascii_whitespace().collect();
        Search::parse(&args.as_args()).unwrap().run(&list, Needle::new(b"a")).collect()
    }

    #[test]
    fn rank_count_and_maxlen_go_together() {
        for (options, expected) in [
            ("", &[0][..]),
            ("rank 2", &[3]),
            ("rank 4", &[]),
            ("rank -1", &[6]),
            ("rank -2", &[3]),
            ("count 0", &[0, 3, 6]),
            ("count 2", &[0, 3]),
            ("count 0 rank -1", &[6, 3, 0]),
            ("count 0 rank 2", &[3, 6]),
            ("count 0 maxlen 4", &[0, 3]),
            ("count 0 maxlen 4 rank -2", &[3]),
            ("maxlen 3 rank 2", &[]),
            ("rank 9223372036854775807", &[]),
        ] {
            assert_eq!(found(options), expected, "{options}");
        }
    }
}
