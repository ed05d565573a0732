//! Small commands about the node: TIME, LOLWUT. And what eviction wants of access clocks.

use super::arguments::{integer, is_word};
use super::context::Context;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::config::{Config, MaxmemoryPolicy};
use crate::keyspace::AccessPolicy;
use crate::resp::Args;

/// The rows of this family.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "time",
        arity: Arity::Exactly(1),
        flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
        keys: Keys::None,
        group: Group::Server,
        since: "2.6.0",
        summary: "Tells the time in seconds and microseconds.",
        complexity: "O(1)",
        syntax: "",
        run: Run::OnConnection(time),
    },
    CommandSpec {
        name: "lolwut",
        arity: Arity::AtLeast(1),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::None,
        group: Group::Server,
        since: "5.0.0",
        summary: "Draws something and tells the version.",
        complexity: "",
        syntax: "[VERSION version]",
        run: Run::OnConnection(lolwut),
    },
];

/// TIME.
fn time(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let now_us = cx.core.clock.unix_us();
    cx.reply.array(2);
    cx.reply.bulk_integer(now_us.div_euclid(1_000_000));
    cx.reply.bulk_integer(now_us.rem_euclid(1_000_000));
    Ok(())
}

/// Width and height of LOLWUT's picture, when it is not told others.
const PICTURE: (usize, usize) = (66, 22);
const PICTURE_MAX: (usize, usize) = (1000, 1000);

/// LOLWUT [VERSION version] [columns] [rows]: a cellular automaton that begins with random cells, drawn with two rows of
/// cells to a line. Every version draws the same.
fn lolwut(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let skipped = if args.get(1).is_some_and(|word| is_word(word, "VERSION")) && args.len() >= 3 { 2 } else { 0 };
    if skipped > 0 {
        integer(&args[2])?;
    }
    // What is no number is passed over, as by a redis-server that draws nothing.
    let size = |at: usize, default: usize, max: usize| {
        let number = args.get(1 + skipped + at).and_then(|number| integer(number).ok());
        number.map_or(default, |number| usize::try_from(number).unwrap_or(1).clamp(1, max))
    };
    let (columns, rows) = (size(0, PICTURE.0, PICTURE_MAX.0), size(1, PICTURE.1, PICTURE_MAX.1));
    let cells: Vec<bool> = (0..columns).map(|_| cx.core.random.below(2) == 1).collect();
    let rule = RULES[cx.core.random.below(RULES.len() as u64) as usize];
    let text = format!("{}\nRedis ver. 7.2.4\n", picture(cells, rule, rows));
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// Rules of elementary automata that neither die out nor repeat soon, from whatever cells they begin.
const RULES: [u8; 6] = [30, 45, 54, 90, 110, 150];

/// Runs the automaton on a ring of cells and draws two generations to a line.
fn picture(mut cells: Vec<bool>, rule: u8, lines: usize) -> String {
    let mut text = String::with_capacity(lines * (cells.len() + 1));
    for _ in 0..lines {
        let next = generation(&cells, rule);
        text.extend(cells.iter().zip(&next).map(|pair| match pair {
            (false, false) => ' ',
            (true, false) => '\'',
            (false, true) => '.',
            (true, true) => ':',
        }));
        text.push('\n');
        cells = generation(&next, rule);
    }
    text
}

fn generation(cells: &[bool], rule: u8) -> Vec<bool> {
    let count = cells.len();
    let next = |at: usize| {
        let neighbours = [cells[(at + count - 1) % count], cells[at], cells[(at + 1) % count]];
        let number = neighbours.into_iter().fold(0u8, |number, cell| number << 1 | u8::from(cell));
        rule >> number & 1 == 1
    };
    (0..count).map(next).collect()
}

/// The access clock that the eviction policy wants kept.
pub fn access_policy(config: &Config) -> AccessPolicy {
    match config.maxmemory_policy {
        MaxmemoryPolicy::VolatileLfu | MaxmemoryPolicy::AllkeysLfu => {
            AccessPolicy::Lfu { log_factor: config.lfu_log_factor, decay_minutes: config.lfu_decay_time }
        }
        _ => AccessPolicy::Lru,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_90_draws_a_triangle() {
        let cells = (0..9).map(|at| at == 4).collect();
        assert_eq!(picture(cells, 90, 2), "   .'.   \n .'. .'. \n");
        assert_eq!(picture(vec![true], 30, 1), "'\n");
    }
}
