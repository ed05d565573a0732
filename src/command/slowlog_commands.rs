//! SLOWLOG: the slow calls of the whole node. Each core has those of its own clients.

use super::arguments::integer;
use super::context::Context;
use super::error::CommandError;
use super::slowlog::SlowEntry;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Part, Run};
use crate::resp::Args;

/// Entries that SLOWLOG GET shows when it is not told how many.
const SHOWN_COUNT: usize = 10;

const ADMIN: Flags = Flags::ADMIN.and(Flags::LOADING).and(Flags::STALE);

const fn row(
    name: &'static str,
    arity: Arity,
    flags: Flags,
    summary: &'static str,
    syntax: &'static str,
    run: Run,
) -> CommandSpec {
    CommandSpec {
        name,
        arity,
        flags,
        keys: Keys::None,
        group: Group::Server,
        since: "2.2.12",
        summary,
        complexity: "O(1)",
        syntax,
        run,
    }
}

/// The rows of this family.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        complexity: "Depends on subcommand.",
        ..row("slowlog", Arity::AtLeast(2), Flags::NONE, "Shows and clears the log of slow calls.", "", Run::Container)
    },
    CommandSpec {
        complexity: "O(N) where N is the number of entries returned",
        ..row(
            "slowlog|get",
            Arity::AtLeast(2),
            ADMIN,
            "Lists slow calls, newest first.",
            "[count]",
            Run::OnEveryCore { part: get_part, merge: get_merge },
        )
    },
    row(
        "slowlog|len",
        Arity::Exactly(2),
        ADMIN,
        "Counts the slow calls in the log.",
        "",
        Run::OnEveryCore { part: len_part, merge: len_merge },
    ),
    CommandSpec {
        complexity: "O(N) where N is the number of entries in the slowlog",
        ..row(
            "slowlog|reset",
            Arity::Exactly(2),
            ADMIN,
            "Empties the log of slow calls.",
            "",
            Run::OnEveryCore { part: reset_part, merge: reset_merge },
        )
    },
    CommandSpec {
        since: "6.2.0",
        ..row(
            "slowlog|help",
            Arity::Exactly(2),
            Flags::LOADING.and(Flags::STALE),
            "Explains the subcommands of SLOWLOG.",
            "",
            Run::OnConnection(help),
        )
    },
];

/// How many entries are asked for: `usize::MAX` for all.
fn count(args: &Args<'_>) -> Result<usize, CommandError> {
    const WRONG: CommandError = CommandError::text_static("ERR count should be greater than or equal to -1");
    match (args.len(), args.get(2).map(integer)) {
        (2, _) => Ok(SHOWN_COUNT),
        (3, Some(Ok(-1))) => Ok(usize::MAX),
        (3, Some(Ok(count))) => usize::try_from(count).map_err(|_| WRONG),
        (3, _) => Err(WRONG),
        _ => {
            let given = String::from_utf8_lossy(&args[1]);
            Err(CommandError::formatted(format!(
                "ERR unknown subcommand or wrong number of arguments for '{given}'. Try SLOWLOG HELP."
            )))
        }
    }
}

/// SLOWLOG GET [count], one core's share.
fn get_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let entries: Vec<SlowEntry> = cx.core.slowlog.entries().take(count(args)?).cloned().collect();
    Ok(Part::new(entries))
}

fn get_merge(cx: &mut Context<'_>, args: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let mut entries: Vec<SlowEntry> = parts.into_iter().flat_map(Part::take::<Vec<SlowEntry>>).collect();
    entries.sort_by_key(|entry| std::cmp::Reverse((entry.unix_us, entry.id)));
    entries.truncate(count(args)?.min(length_max(cx)));
    cx.reply.array(entries.len());
    for entry in &entries {
        cx.reply.array(6);
        cx.reply.integer(entry.id.cast_signed());
        cx.reply.integer(entry.unix_us.div_euclid(1_000_000));
        cx.reply.integer(entry.duration_us.cast_signed());
        cx.reply.array(entry.arguments.len());
        entry.arguments.iter().for_each(|argument| cx.reply.bulk(argument));
        cx.reply.bulk(entry.client_address.as_bytes());
        cx.reply.bulk(&entry.client_name);
    }
    Ok(())
}

/// slowlog-max-len holds for all cores together, though each may keep so many.
fn length_max(cx: &Context<'_>) -> usize {
    usize::try_from(cx.core.config.slowlog_max_len).unwrap_or(usize::MAX)
}

fn len_part(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    Ok(Part::new(cx.core.slowlog.len()))
}

/// SLOWLOG LEN.
fn len_merge(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let total: usize = parts.into_iter().map(Part::take::<usize>).sum();
    cx.reply.integer(total.min(length_max(cx)) as i64);
    Ok(())
}

fn reset_part(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    cx.core.slowlog.clear();
    Ok(Part::done())
}

/// SLOWLOG RESET.
fn reset_merge(cx: &mut Context<'_>, _: &Args<'_>, _: Vec<Part>) -> CommandResult {
    cx.reply.ok();
    Ok(())
}

/// SLOWLOG HELP.
fn help(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    cx.reply.help(
        "SLOWLOG",
        &[
            "GET [<count>]",
            "    List the newest entries (10 if not told how many, all for -1), each with its number, the",
            "    time, the duration in microseconds, the arguments, the client's address and its name.",
            "LEN",
            "    Count the entries.",
            "RESET",
            "    Forget all entries.",
        ],
    );
    Ok(())
}
