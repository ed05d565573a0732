//! MEMORY: what keys, clients and the node take.

use super::arguments::{integer, is_word};
use super::context::Context;
use super::core::Effect;
use super::error::CommandError;
use super::info::{Figures, Share, Wanted, human};
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Part, Run};
use crate::resp::{Args, Reply};

/// A node with less is too small to judge.
const EMPTY_BYTES: u64 = 5 << 20;
/// Overheads below this are not worth a word.
const NOTABLE_BYTES: i64 = 10 << 20;
/// Clients that take more than this on average have long replies waiting.
const CLIENT_BYTES_MAX: u64 = 200 << 10;

const fn row(name: &'static str, arity: Arity, flags: Flags, summary: &'static str, run: Run) -> CommandSpec {
    CommandSpec {
        name,
        arity,
        flags,
        keys: Keys::None,
        group: Group::Server,
        since: "4.0.0",
        summary,
        complexity: "O(1)",
        syntax: "",
        run,
    }
}

/// The rows of this family.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        complexity: "Depends on subcommand.",
        ..row("memory", Arity::AtLeast(2), Flags::NONE, "Shows what takes memory, and gives some back.", Run::Container)
    },
    row(
        "memory|doctor",
        Arity::Exactly(2),
        Flags::NONE,
        "Explains what is unusual about the memory in use.",
        Run::OnEveryCore { part: figures_part, merge: doctor },
    ),
    row(
        "memory|help",
        Arity::Exactly(2),
        Flags::LOADING.and(Flags::STALE),
        "Explains the subcommands of MEMORY.",
        Run::OnConnection(help),
    ),
    CommandSpec {
        complexity: "Depends on how much memory is allocated, could be slow",
        ..row(
            "memory|malloc-stats",
            Arity::Exactly(2),
            Flags::NONE,
            "Shows what the allocator counts.",
            Run::OnConnection(malloc_stats),
        )
    },
    CommandSpec {
        complexity: "Depends on how much memory is allocated, could be slow",
        ..row(
            "memory|purge",
            Arity::Exactly(2),
            Flags::NONE,
            "Gives free memory back to the system.",
            Run::OnEveryCore { part: purge_part, merge: purge_merge },
        )
    },
    row(
        "memory|stats",
        Arity::Exactly(2),
        Flags::NONE,
        "Lists what memory is used for.",
        Run::OnEveryCore { part: figures_part, merge: stats },
    ),
    CommandSpec {
        keys: Keys::At(2, Access::LOOK),
        syntax: "key [SAMPLES count]",
        complexity: "O(N) where N is the number of samples.",
        ..row(
            "memory|usage",
            Arity::AtLeast(3),
            Flags::READONLY,
            "Tells how many bytes a key and its value take.",
            Run::OnOwner(usage),
        )
    },
];

/// Elements of a collection that MEMORY USAGE looks at unless it is told how many.
const USAGE_SAMPLES: usize = 5;

/// MEMORY USAGE key [SAMPLES count]: judged by the parts that hold so many elements, exact with 0.
fn usage(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (mut at, mut samples) = (3, USAGE_SAMPLES);
    while at < args.len() {
        let Some(count) = args.get(at + 1).filter(|_| is_word(&args[at], "SAMPLES")) else {
            return Err(CommandError::Syntax);
        };
        samples = match integer(count)? {
            ..0 => return Err(CommandError::Syntax),
            0 => usize::MAX,
            count => usize::try_from(count).unwrap_or(usize::MAX),
        };
        at += 2;
    }
    let (db, key) = (cx.db(), cx.key(&args[2]));
    match cx.core.keyspace.memory_usage(db, key, samples) {
        Some(bytes) => cx.reply.integer(bytes as i64),
        None => cx.reply.null(),
    }
    Ok(())
}

fn figures_part(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    Ok(Share::of(cx, Wanted { tables: true, ..Wanted::default() }).part())
}

/// One value of MEMORY STATS.
enum Stat {
    Bytes(u64),
    Difference(i64),
    Ratio(f64),
}

impl Stat {
    fn write(&self, name: &str, reply: &mut Reply<'_>) {
        reply.bulk(name.as_bytes());
        match self {
            Stat::Bytes(bytes) => reply.integer(bytes.cast_signed()),
            Stat::Difference(bytes) => reply.integer(*bytes),
            Stat::Ratio(ratio) => reply.double(*ratio),
        }
    }
}

/// MEMORY STATS.
fn stats(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let figures = Figures::merge(cx.core, parts);
    let (before, after) = stats_around_databases(&figures);
    let used = || figures.databases.iter().enumerate().filter(|(_, database)| database.keys > 0);
    cx.reply.map(before.len() + used().count() + after.len());
    before.iter().for_each(|(name, stat)| stat.write(name, &mut cx.reply));
    for (db, database) in used() {
        cx.reply.bulk(format!("db.{db}").as_bytes());
        cx.reply.map(3);
        // Expiries lie in their entries and slots have tables of their own: one table holds it all.
        for (name, bytes) in [("main", database.tables_bytes()), ("expires", 0), ("slot-to-keys", 0)] {
            cx.reply.bulk(format!("overhead.hashtable.{name}").as_bytes());
            cx.reply.integer(bytes.cast_signed());
        }
    }
    after.iter().for_each(|(name, stat)| stat.write(name, &mut cx.reply));
    Ok(())
}

type Stats = Vec<(&'static str, Stat)>;

/// The values before and behind those of the databases. What is 0 here waits for replication, the bus, the AOF and
/// scripts.
fn stats_around_databases(figures: &Figures<'_>) -> (Stats, Stats) {
    let before = vec![
        ("peak.allocated", Stat::Bytes(figures.peak_bytes())),
        ("total.allocated", Stat::Bytes(figures.used_bytes())),
        ("startup.allocated", Stat::Bytes(figures.startup_bytes())),
        ("replication.backlog", Stat::Bytes(0)),
        ("clients.slaves", Stat::Bytes(0)),
        ("clients.normal", Stat::Bytes(figures.clients.memory_bytes)),
        ("cluster.links", Stat::Bytes(figures.bus.links_bytes)),
        ("aof.buffer", Stat::Bytes(0)),
        ("lua.caches", Stat::Bytes(figures.scripts.scripts_bytes)),
        ("functions.caches", Stat::Bytes(figures.core.scripting.libraries_bytes())),
    ];
    let resident_bytes = figures.memory.resident_bytes;
    let after = vec![
        ("overhead.total", Stat::Bytes(figures.overhead_bytes())),
        ("keys.count", Stat::Bytes(figures.keys())),
        ("keys.bytes-per-key", Stat::Bytes(figures.net_bytes().checked_div(figures.keys()).unwrap_or(0))),
        ("dataset.bytes", Stat::Bytes(figures.dataset_bytes())),
        ("dataset.percentage", Stat::Ratio(figures.dataset_percent())),
        ("peak.percentage", Stat::Ratio(figures.peak_percent())),
        ("allocator.allocated", Stat::Bytes(figures.used_bytes())),
        ("allocator.active", Stat::Bytes(resident_bytes)),
        ("allocator.resident", Stat::Bytes(resident_bytes)),
        ("allocator-fragmentation.ratio", Stat::Ratio(figures.fragmentation_ratio())),
        ("allocator-fragmentation.bytes", Stat::Difference(figures.fragmentation_bytes())),
        ("allocator-rss.ratio", Stat::Ratio(1.0)),
        ("allocator-rss.bytes", Stat::Difference(0)),
        ("rss-overhead.ratio", Stat::Ratio(1.0)),
        ("rss-overhead.bytes", Stat::Difference(0)),
        ("fragmentation", Stat::Ratio(figures.fragmentation_ratio())),
        ("fragmentation.bytes", Stat::Difference(figures.fragmentation_bytes())),
    ];
    (before, after)
}

/// MEMORY DOCTOR.
fn doctor(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let figures = Figures::merge(cx.core, parts);
    let text = report(&figures);
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn report(figures: &Figures<'_>) -> String {
    let used = figures.used_bytes();
    if used < EMPTY_BYTES {
        return format!("There are {} in use: too little to judge. Ask again when there is data.\n", human(used));
    }
    let mut findings = Vec::new();
    if figures.peak_bytes() / 3 > used / 2 {
        findings.push(format!(
            "At its peak the node had {} allocated, now {}. The allocator keeps the rest for later; MEMORY PURGE gives back what it can.",
            human(figures.peak_bytes()),
            human(used)
        ));
    }
    if figures.fragmentation_ratio() > 1.4 && figures.fragmentation_bytes() > NOTABLE_BYTES {
        findings.push(format!(
            "The process occupies {:.2} times what is allocated: after a peak that is memory kept for later (MEMORY PURGE), else it is fragmented.",
            figures.fragmentation_ratio()
        ));
    }
    if figures.clients.memory_bytes / figures.clients.count.max(1) > CLIENT_BYTES_MAX {
        findings.push(format!(
            "Clients take {} on average: CLIENT LIST shows whose replies or requests wait (omem, qbuf).",
            human(figures.clients.memory_bytes / figures.clients.count.max(1))
        ));
    }
    if findings.is_empty() {
        return "Nothing about the memory in use is unusual.\n".to_owned();
    }
    let lines: Vec<String> = findings.into_iter().map(|finding| format!(" * {finding}\n")).collect();
    format!("This is unusual about the memory in use:\n\n{}", lines.concat())
}

fn purge_part(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    cx.core.effects.push(Effect::PurgeMemory);
    Ok(Part::done())
}

/// MEMORY PURGE.
fn purge_merge(cx: &mut Context<'_>, _: &Args<'_>, _: Vec<Part>) -> CommandResult {
    cx.reply.ok();
    Ok(())
}

/// MEMORY MALLOC-STATS: Redis's answer where the allocator is not jemalloc.
fn malloc_stats(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    cx.reply.bulk(b"Stats not supported for the current allocator");
    Ok(())
}

/// MEMORY HELP.
fn help(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    cx.reply.help(
        "MEMORY",
        &[
            "DOCTOR",
            "    Explain what is unusual about the memory in use.",
            "MALLOC-STATS",
            "    Show what the allocator counts, if it does.",
            "PURGE",
            "    Give free memory back to the system.",
            "STATS",
            "    List what memory is used for.",
            "USAGE <key> [SAMPLES <count>]",
            "    Tell how many bytes a key and its value take. The count is accepted and not needed:",
            "    nothing is estimated.",
        ],
    );
    Ok(())
}
