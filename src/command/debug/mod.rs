//! DEBUG: what tests ask of a server. Off unless `enable-debug-command` allows it.
//!
//! One row, as in Redis, with a table of sub-commands of its own: each has a share that every core does (nothing, for most) and
//! an answer that is written where the client is. Sub-commands of Redis that crash the server or show its C structures
//! are left out.

mod cluster;
mod digest;
mod disk;
mod keys;
mod protocol;
mod relocation;

use std::time::Duration;

use super::arguments::{integer, is_word};
use super::context::Context;
use super::core::Effect;
use super::error::CommandError;
use super::persistence::loading::Reload;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, MergeHandler, Part, PartHandler, Run};
use crate::base::glob;
use crate::base::hex::HexId;
use crate::base::number::parse_f64;
use crate::config;
use crate::resp::Args;

/// The rows of this family.
pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "debug",
    arity: Arity::AtLeast(2),
    flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE).and(Flags::PROTECTED),
    keys: Keys::None,
    group: Group::Server,
    since: "1.0.0",
    summary: "Looks into the node and changes what only tests change.",
    complexity: "Depends on subcommand.",
    syntax: "",
    run: Run::OnEveryCore { part, merge },
}];

/// One sub-command.
struct Sub {
    name: &'static str,
    /// Number of arguments, DEBUG and the name included.
    arity: (usize, usize),
    part: PartHandler,
    merge: MergeHandler,
    /// The lines of HELP: arguments, then what it does.
    help: (&'static str, &'static str),
}

const MANY: usize = usize::MAX;

const fn sub(
    name: &'static str,
    arity: (usize, usize),
    part: PartHandler,
    merge: MergeHandler,
    help: (&'static str, &'static str),
) -> Sub {
    Sub { name, arity, part, merge, help }
}

/// In the order of HELP.
const SUBS: &[Sub] = &[
    sub("CHANGE-REPL-ID", (2, 2), change_repl_id, ok, ("", "Give the node's history another replication id.")),
    sub(
        "CLUSTERLINK",
        (5, 5),
        cluster::kill_part,
        cluster::kill,
        ("KILL <to|from|all> <node-id>", "Close the bus's connections to a node, from it, or both."),
    ),
    sub("DIGEST", (2, 2), keys::digest_part, keys::digest, ("", "Show a digest of all data.")),
    sub(
        "DIGEST-VALUE",
        (2, MANY),
        keys::digest_value_part,
        keys::digest_value,
        ("<key> [<key> ...]", "Show a digest of each value."),
    ),
    sub(
        "DISK-FAULT",
        (4, 5),
        disk::fault_part,
        ok,
        (
            "<WRITE|FSYNC> <errno|SHORT|HOLD|NONE> [<times>]",
            "Let the append-only files' writes or fsyncs fail, do half, wait until the next DISK-FAULT, or work.",
        ),
    ),
    sub(
        "DROP-CLUSTER-PACKET-FILTER",
        (3, 3),
        cluster::filter_part,
        ok,
        ("<packet-type>", "Pass over packets of this type that come over the bus; -1 for none."),
    ),
    sub("ERROR", (3, 3), nothing, error, ("<string>", "Answer with this error.")),
    sub(
        "HTSTATS",
        (3, 4),
        keys::tables_part,
        keys::tables,
        ("<dbid> [full]", "Show how large the tables of a database are."),
    ),
    sub(
        "HTSTATS-KEY",
        (3, 4),
        keys::object_part,
        keys::key_tables,
        ("<key> [full]", "Show how large the table inside a value is."),
    ),
    sub("LISTPACK", (3, 3), keys::object_part, keys::listpack, ("<key>", "Print the listpack of a value.")),
    sub("LOADAOF", (2, 2), nothing, load_append_only, ("", "Drop all data and load the append-only files again.")),
    sub("LOG", (3, 3), nothing, log, ("<message>", "Write a line to the log.")),
    sub("OBJECT", (3, 3), keys::object_part, keys::object, ("<key>", "Show how a value is kept.")),
    sub("PAUSE-CRON", (3, 3), pause_cron, ok, ("<0|1>", "Stop the periodic work, or let it go on.")),
    sub(
        "POPULATE",
        (3, 5),
        keys::populate,
        ok,
        (
            "<count> [<prefix>] [<size>]",
            "Create this many strings <prefix>:<number>, spread over the cores that own them.",
        ),
    ),
    sub(
        "PROTOCOL",
        (3, 3),
        nothing,
        protocol::protocol,
        ("<type>", "Answer with a value of this type of the protocol."),
    ),
    sub("QUICKLIST-PACKED-THRESHOLD", (3, 3), packed_threshold, ok, ("<size>", "Accepted; lists will follow it.")),
    sub(
        "RELOAD",
        (2, MANY),
        nothing,
        reload,
        (
            "[NOSAVE] [NOFLUSH] [MERGE]",
            "Save all data, drop them, and load them again. NOSAVE leaves the file as it is, NOFLUSH the data; \
             with MERGE what the file has replaces what is there.",
        ),
    ),
    sub(
        "REPLYBUFFER",
        (4, 4),
        reply_buffer,
        ok,
        ("PEAK-RESET-TIME|RESIZING <value>", "Accepted; reply buffers here have no fixed part to resize."),
    ),
    sub(
        "SET-ACTIVE-EXPIRE",
        (3, 3),
        set_active_expire,
        ok,
        ("<0|1>", "Expire keys in the background, or only when they are met."),
    ),
    sub(
        "SET-DISABLE-DENY-SCRIPTS",
        (3, 3),
        allow_all_in_scripts,
        ok,
        ("<0|1>", "Let scripts call commands that they may not."),
    ),
    sub(
        "SET-SKIP-CHECKSUM-VALIDATION",
        (3, 3),
        skip_checksums,
        ok,
        ("<0|1>", "Take payloads of RESTORE whatever their checksums are, or only with the right one."),
    ),
    sub("SLEEP", (3, 3), sleep, ok, ("<seconds>", "Stop all cores for so long.")),
    sub(
        "SLOT-CORE",
        (3, 4),
        nothing,
        relocation::slot_core,
        ("<slot> [<core>]", "Show which core has a slot, or give it to another."),
    ),
    sub("STRINGMATCH-TEST", (2, 2), match_random, matched, ("", "Match random strings with random patterns.")),
];

fn find(args: &Args<'_>) -> Option<&'static Sub> {
    let fits = |sub: &&Sub| is_word(&args[1], sub.name) && (sub.arity.0..=sub.arity.1).contains(&args.len());
    SUBS.iter().find(fits)
}

/// Redis's answer to a sub-command that it does not know or that has too few arguments.
fn unknown(args: &Args<'_>) -> CommandError {
    let given = &args[1];
    let given = String::from_utf8_lossy(&given[..given.len().min(128)]);
    CommandError::formatted(format!(
        "ERR unknown subcommand or wrong number of arguments for '{given}'. Try DEBUG HELP."
    ))
}

fn part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    find(args).map_or_else(|| Ok(Part::done()), |sub| (sub.part)(cx, args))
}

fn merge(cx: &mut Context<'_>, args: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    if args.len() == 2 && is_word(&args[1], "HELP") {
        return help(cx);
    }
    (find(args).ok_or_else(|| unknown(args))?.merge)(cx, args, parts)
}

fn help(cx: &mut Context<'_>) -> CommandResult {
    let lines: Vec<String> = SUBS
        .iter()
        .flat_map(|sub| [format!("{} {}", sub.name, sub.help.0).trim_end().to_owned(), format!("    {}", sub.help.1)])
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    cx.reply.help("DEBUG", &lines);
    Ok(())
}

// ---- shares -----------------------------------------------------------------------------------------------------

fn nothing(_: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    Ok(Part::done())
}

/// C's `atoi`, as far as tests need it: anything but a number other than 0 is off.
fn is_on(argument: &[u8]) -> bool {
    integer(argument).is_ok_and(|number| number != 0)
}

fn set_active_expire(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    cx.core.active_expire = is_on(&args[2]);
    Ok(Part::done())
}

fn allow_all_in_scripts(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    cx.core.allows_all_in_scripts = is_on(&args[2]);
    Ok(Part::done())
}

fn skip_checksums(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    cx.core.skips_checksums = is_on(&args[2]);
    Ok(Part::done())
}

fn pause_cron(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    cx.core.paused_tick = is_on(&args[2]);
    Ok(Part::done())
}

/// DEBUG SLEEP: the one place where a handler blocks its core, because that is what is asked for.
fn sleep(_: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let seconds = parse_f64(&args[2]).unwrap_or(0.0);
    std::thread::sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    Ok(Part::done())
}

fn change_repl_id(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    let id = HexId::random(&mut cx.core.random);
    if let Some(node) = &mut cx.core.node {
        node.replication.history.id = id;
    }
    Ok(Part::done())
}

fn packed_threshold(_: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    const LARGEST_BYTES: u64 = (1 << 32) - (1 << 20);
    match config::bytes_of(&args[2]) {
        Some(bytes) if bytes <= LARGEST_BYTES => Ok(Part::done()),
        _ => Err(CommandError::text_static("ERR argument must be a memory value bigger than 1 and smaller than 4gb")),
    }
}

fn reply_buffer(_: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let (name, value) = (&args[2], &args[3]);
    let is_time = || is_word(value, "NEVER") || is_word(value, "RESET");
    match () {
        () if is_word(name, "PEAK-RESET-TIME") && !is_time() => integer(value).map(|_| Part::done()),
        () if is_word(name, "PEAK-RESET-TIME") || is_word(name, "RESIZING") => Ok(Part::done()),
        () => Err(unknown(args)),
    }
}

/// Patterns and strings of few different bytes, so that they match now and then.
fn match_random(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    const ROUNDS: usize = 10_000;
    const BYTES: &[u8] = b"ab*?[]^-\\\0\xff";
    let mut matches = 0usize;
    for _ in 0..ROUNDS {
        let random = &mut cx.core.random;
        let mut word = || {
            let length = random.below(32);
            (0..length).map(|_| BYTES[random.below(BYTES.len() as u64) as usize]).collect::<Vec<u8>>()
        };
        let (pattern, text) = (word(), word());
        matches += usize::from(glob::matches(&pattern, &text, false));
    }
    Ok(Part::new(matches))
}

// ---- answers ----------------------------------------------------------------------------------------------------

fn ok(cx: &mut Context<'_>, _: &Args<'_>, _: Vec<Part>) -> CommandResult {
    cx.reply.ok();
    Ok(())
}

fn matched(cx: &mut Context<'_>, _: &Args<'_>, _: Vec<Part>) -> CommandResult {
    cx.reply.simple("Apparently Redis did not crash: test passed");
    Ok(())
}

/// Whether the answer comes only when all data are loaded again.
pub fn loads_again(args: &Args<'_>) -> bool {
    find(args).is_some_and(|sub| matches!(sub.name, "RELOAD" | "LOADAOF"))
}

/// Whether a slot is to change its core, which the runtime answers late.
pub fn relocates(args: &Args<'_>) -> bool {
    args.len() == 4 && find(args).is_some_and(|sub| sub.name == "SLOT-CORE")
}

fn reload(cx: &mut Context<'_>, args: &Args<'_>, _: Vec<Part>) -> CommandResult {
    let mut order = Reload { append_only: false, saves: true, empties: true, replaces: false };
    for option in args.iter().skip(2) {
        match () {
            () if is_word(option, "MERGE") => order.replaces = true,
            () if is_word(option, "NOFLUSH") => order.empties = false,
            () if is_word(option, "NOSAVE") => order.saves = false,
            () => {
                let text = "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.";
                return Err(CommandError::text_static(text));
            }
        }
    }
    load_again(cx, order)
}

fn load_append_only(cx: &mut Context<'_>, _: &Args<'_>, _: Vec<Part>) -> CommandResult {
    load_again(cx, Reload { append_only: true, saves: false, empties: true, replaces: false })
}

fn load_again(cx: &mut Context<'_>, order: Reload) -> CommandResult {
    if cx.caller.must_not_wait {
        return Err(CommandError::text_static("ERR data cannot be loaded again within a transaction"));
    }
    if cx.core.disk.loading {
        return Err(CommandError::Loading);
    }
    cx.core.effects.push(Effect::Reload(order));
    Ok(())
}

fn error(_: &mut Context<'_>, args: &Args<'_>, _: Vec<Part>) -> CommandResult {
    Err(CommandError::formatted(String::from_utf8_lossy(&args[2]).into_owned()))
}

fn log(cx: &mut Context<'_>, args: &Args<'_>, _: Vec<Part>) -> CommandResult {
    tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(&args[2]));
    cx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::ArgsBuf;

    #[test]
    fn names_are_unique_and_in_the_order_of_help() {
        assert!(SUBS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(SUBS.iter().all(|sub| sub.name == sub.name.to_uppercase() && sub.arity.0 >= 2));
    }

    #[test]
    fn a_sub_command_is_found_by_name_and_number_of_arguments() {
        let found = |line: &str| {
            let args: ArgsBuf = line.split(' ').collect();
            find(&args.as_args()).map(|sub| sub.name)
        };
        assert_eq!(found("debug sleep 1"), Some("SLEEP"));
        assert_eq!(found("debug Sleep"), None);
        assert_eq!(found("debug populate 1 a 2"), Some("POPULATE"));
        assert_eq!(found("debug populate 1 a 2 3"), None);
        assert_eq!(found("debug segfault"), None);
    }
}
