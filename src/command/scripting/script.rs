//! SCRIPT: the scripts that the node knows.

use bytes::Bytes;

use super::eval::add;
use super::parked;
use crate::command::arguments::is_word;
use crate::command::context::Context;
use crate::command::error::CommandError;
use crate::command::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Part, Run};
use crate::resp::Args;
use crate::script::digest;

/// SCRIPT LOAD script: every core learns it.
fn load_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let digest = digest(&args[2]);
    if !cx.core.scripting.scripts.contains_key(&digest) {
        let code = args.shared(2).unwrap_or_else(|| Bytes::copy_from_slice(&args[2]));
        add(cx.core, &digest, code)?;
    }
    Ok(Part::new(digest))
}

fn load_merge(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let digest = parts.into_iter().next().map(Part::take::<String>).unwrap_or_default();
    cx.reply.bulk(digest.as_bytes());
    Ok(())
}

/// SCRIPT EXISTS sha1 [sha1 ...]: what one core knows is as good as known.
fn exists_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let scripts = &cx.core.scripting.scripts;
    let known = |digest: &[u8]| std::str::from_utf8(digest).is_ok_and(|digest| scripts.contains_key(digest));
    Ok(Part::new(args.iter().skip(2).map(known).collect::<Vec<bool>>()))
}

fn exists_merge(cx: &mut Context<'_>, args: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let parts: Vec<Vec<bool>> = parts.into_iter().map(Part::take).collect();
    cx.reply.array(args.len() - 2);
    for place in 0..args.len() - 2 {
        cx.reply.integer(i64::from(parts.iter().any(|part| part.get(place) == Some(&true))));
    }
    Ok(())
}

/// SCRIPT FLUSH [ASYNC | SYNC].
fn flush_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    match (args.get(2), args.len()) {
        (None, _) => {}
        (Some(mode), 3) if is_word(mode, "ASYNC") || is_word(mode, "SYNC") => {}
        _ => return Err(CommandError::text_static("ERR SCRIPT FLUSH only support SYNC|ASYNC option")),
    }
    cx.core.scripting.flush();
    Ok(Part::done())
}

fn flush_merge(cx: &mut Context<'_>, _: &Args<'_>, _: Vec<Part>) -> CommandResult {
    cx.reply.ok();
    Ok(())
}

/// SCRIPT DEBUG YES | SYNC | NO: there is no debugger to be switched on.
fn debug(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    match &args[2] {
        mode if is_word(mode, "NO") => {
            cx.reply.ok();
            Ok(())
        }
        mode if is_word(mode, "YES") || is_word(mode, "SYNC") => {
            Err(CommandError::text_static("ERR the debugger of scripts is not supported"))
        }
        _ => Err(CommandError::text_static("ERR Use SCRIPT DEBUG YES/SYNC/NO")),
    }
}

fn help(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    cx.reply.help(
        "SCRIPT",
        &[
            "DEBUG (YES|SYNC|NO)",
            "    The debugger, which is not supported.",
            "EXISTS <sha1> [<sha1> ...]",
            "    Whether the node knows these scripts.",
            "FLUSH [ASYNC|SYNC]",
            "    Forget all scripts.",
            "KILL",
            "    End the script that runs.",
            "LOAD <script>",
            "    Learn a script without running it.",
        ],
    );
    Ok(())
}

const SCRIPT: CommandSpec = CommandSpec {
    name: "script",
    arity: Arity::AtLeast(2),
    flags: Flags::NONE,
    keys: Keys::None,
    group: Group::Scripting,
    since: "2.6.0",
    summary: "Scripts that the node knows.",
    complexity: "Depends on the sub-command.",
    syntax: "",
    run: Run::Container,
};

pub const COMMANDS: &[CommandSpec] = &[
    SCRIPT,
    CommandSpec {
        name: "script|load",
        arity: Arity::Exactly(3),
        flags: Flags::NOSCRIPT.and(Flags::STALE),
        summary: "Learns a script without running it.",
        complexity: "O(N) in the length of the script",
        syntax: "script",
        run: Run::OnEveryCore { part: load_part, merge: load_merge },
        ..SCRIPT
    },
    CommandSpec {
        name: "script|exists",
        arity: Arity::AtLeast(3),
        flags: Flags::NOSCRIPT,
        summary: "Says which of these scripts the node knows.",
        complexity: "O(N) in the number of scripts asked about",
        syntax: "sha1 [sha1 ...]",
        run: Run::OnEveryCore { part: exists_part, merge: exists_merge },
        ..SCRIPT
    },
    CommandSpec {
        name: "script|flush",
        flags: Flags::NOSCRIPT,
        summary: "Forgets all scripts.",
        complexity: "O(N) in the number of scripts",
        syntax: "[ASYNC | SYNC]",
        run: Run::OnEveryCore { part: flush_part, merge: flush_merge },
        ..SCRIPT
    },
    CommandSpec {
        name: "script|kill",
        arity: Arity::Exactly(2),
        flags: Flags::NOSCRIPT.and(Flags::ALLOW_BUSY),
        summary: "Ends the script that runs.",
        complexity: "O(1)",
        run: Run::OnEveryCore { part: parked::kill_script_part, merge: parked::kill_merge },
        ..SCRIPT
    },
    CommandSpec {
        name: "script|debug",
        arity: Arity::Exactly(3),
        flags: Flags::NOSCRIPT,
        since: "3.2.0",
        summary: "Switches the debugger of scripts.",
        complexity: "O(1)",
        syntax: "<YES | SYNC | NO>",
        run: Run::OnConnection(debug),
        ..SCRIPT
    },
    CommandSpec {
        name: "script|help",
        arity: Arity::Exactly(2),
        flags: Flags::LOADING.and(Flags::STALE),
        since: "5.0.0",
        summary: "Lists the sub-commands of SCRIPT.",
        complexity: "O(1)",
        run: Run::OnConnection(help),
        ..SCRIPT
    },
];
