//! FUNCTION and FCALL: libraries, which live as long as the data do.
//!
//! Core 0 decides which libraries there are: it compiles a new one, and hands all of them to every core.

use bytes::Bytes;

use super::parked;
use super::run::{Order, keys_count, prepare, run, split, version};
use super::{Libraries, Library, Running};
use crate::base::glob::matches;
use crate::command::arguments::is_word;
use crate::command::context::Context;
use crate::command::core::{Core, Effect, Publication};
use crate::command::error::CommandError;
use crate::command::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Part, Run};
use crate::persist::rdb::{Encoder, payload};
use crate::resp::Args;
use crate::script::{Job, Outcome, Shebang};

/// FCALL function numkeys [key ...] [arg ...].
fn fcall(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    call(cx, args, false)
}

/// FCALL_RO function numkeys [key ...] [arg ...].
fn fcall_ro(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    call(cx, args, true)
}

fn call(cx: &mut Context<'_>, args: &Args<'_>, reads_only: bool) -> CommandResult {
    let Some((library, facts)) = cx.core.scripting.find(&args[1]) else {
        return Err(CommandError::text_static("ERR Function not found"));
    };
    let (generation, flags, code, name) = (library.generation, facts.flags, library.code.clone(), facts.name.clone());
    let not_a_number = CommandError::text_static("ERR Bad number of keys provided");
    let keys_count = keys_count(args, 2, not_a_number)?;
    if !cx.core.scripting.loaded.contains(&generation) {
        compile(cx.core, generation, &code).map_err(failed)?;
    }
    let (keys, argv) = split(args, 2, keys_count);
    let job = Job::Call { generation, function: name.clone(), keys, argv, version: version(cx) };
    run(cx, args, Order { job, name: &name, is_function: true, flags: Some(flags), reads_only })
}

fn failed(text: Vec<u8>) -> CommandError {
    CommandError::Text([b"ERR ", &*text].concat().into())
}

/// Has the engine load a library, under a generation of its own.
fn compile(core: &mut Core, generation: u64, code: &[u8]) -> Result<Vec<crate::script::FunctionFacts>, Vec<u8>> {
    let (_, begin) = Shebang::of_library(code)?;
    let code = code.get(begin..).unwrap_or_default().to_vec();
    match prepare(core, Job::Load { generation, code }) {
        Outcome::Loaded(functions) => {
            core.scripting.loaded.insert(generation);
            Ok(functions)
        }
        Outcome::Failed(text) => Err(text),
        _ => unreachable!("a library is loaded or is not"),
    }
}

/// Adds a library to others; its name.
///
/// # Errors
/// Redis's text; the libraries are as they were.
fn add(core: &mut Core, libraries: &mut Libraries, code: &[u8], replaces: bool) -> Result<Vec<u8>, Vec<u8>> {
    let (name, _) = Shebang::of_library(code)?;
    if libraries.contains_key(&name) && !replaces {
        return Err([b"Library '", &*name, b"' already exists"].concat());
    }
    core.scripting.next_generation += 1;
    let generation = core.scripting.next_generation;
    let functions = compile(core, generation, code)?;
    let others = libraries.iter().filter(|(other, _)| **other != name).flat_map(|(_, library)| &library.functions);
    let taken = others
        .map(|facts| &facts.name)
        .find(|taken| functions.iter().any(|facts| facts.name.eq_ignore_ascii_case(taken)));
    if let Some(taken) = taken {
        let text = [b"Function ", taken.as_slice(), b" already exists"].concat();
        core.scripting.loaded.remove(&generation);
        core.scripting.unload(generation);
        return Err(text);
    }
    libraries.insert(name.clone(), Library { code: Bytes::copy_from_slice(code), generation, functions });
    Ok(name)
}

/// From here on there are these libraries.
fn publish(core: &mut Core, libraries: Libraries) {
    // For core 0 at once: commands that follow in a transaction find them.
    core.scripting.set_libraries(libraries.clone());
    core.keyspace.stats.dirty += 1;
    core.effects.push(Effect::Publish(Publication::Libraries(libraries)));
}

/// What files have: all libraries, in place of those that there were.
pub fn load_from_file(core: &mut Core, code: &[u8]) -> Result<(), Vec<u8>> {
    let mut libraries = core.scripting.libraries.clone();
    add(core, &mut libraries, code, true)?;
    core.scripting.set_libraries(libraries.clone());
    core.effects.push(Effect::Publish(Publication::Libraries(libraries)));
    Ok(())
}

/// Data are about to be replaced, and the libraries with them.
pub fn forget_all(core: &mut Core) {
    core.scripting.set_libraries(Libraries::new());
    core.effects.push(Effect::Publish(Publication::Libraries(Libraries::new())));
}

/// FUNCTION LOAD [REPLACE] code.
fn load(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let mut replaces = false;
    for option in args.iter().take(args.len() - 1).skip(2) {
        if !is_word(option, "REPLACE") {
            return Err(CommandError::quoting("ERR Unknown option given: ", option, ""));
        }
        replaces = true;
    }
    let mut libraries = cx.core.scripting.libraries.clone();
    let name = add(cx.core, &mut libraries, &args[args.len() - 1], replaces).map_err(failed)?;
    publish(cx.core, libraries);
    cx.reply.bulk(&name);
    Ok(())
}

/// FUNCTION DELETE library.
fn delete(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let mut libraries = cx.core.scripting.libraries.clone();
    if libraries.remove(&args[2]).is_none() {
        return Err(CommandError::text_static("ERR Library not found"));
    }
    publish(cx.core, libraries);
    cx.reply.ok();
    Ok(())
}

/// FUNCTION FLUSH [ASYNC | SYNC].
fn flush(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    match (args.get(2), args.len()) {
        (None, _) => {}
        (Some(mode), 3) if is_word(mode, "ASYNC") || is_word(mode, "SYNC") => {}
        (_, 3) => return Err(CommandError::text_static("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")),
        _ => return Err(subcommand_error(&args[1])),
    }
    publish(cx.core, Libraries::new());
    cx.reply.ok();
    Ok(())
}

fn subcommand_error(given: &[u8]) -> CommandError {
    CommandError::quoting("ERR unknown subcommand or wrong number of arguments for '", given, "'. Try FUNCTION HELP.")
}

/// FUNCTION LIST [LIBRARYNAME pattern] [WITHCODE].
fn list(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (mut pattern, mut with_code) = (None, false);
    let mut place = 2;
    while let Some(option) = args.get(place) {
        if !with_code && is_word(option, "WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && is_word(option, "LIBRARYNAME") {
            place += 1;
            let given = args.get(place);
            pattern = Some(given.ok_or(CommandError::text_static("ERR library name argument was not given"))?);
        } else {
            return Err(CommandError::quoting("ERR Unknown argument ", option, ""));
        }
        place += 1;
    }
    let libraries = &cx.core.scripting.libraries;
    let is_meant = |name: &[u8]| pattern.is_none_or(|pattern| matches(pattern, name, true));
    let meant: Vec<_> = libraries.iter().filter(|(name, _)| is_meant(name)).collect();
    let reply = &mut cx.reply;
    reply.array(meant.len());
    for (name, library) in meant {
        reply.map(if with_code { 4 } else { 3 });
        reply.bulk(b"library_name");
        reply.bulk(name);
        reply.bulk(b"engine");
        reply.bulk(b"LUA");
        reply.bulk(b"functions");
        reply.array(library.functions.len());
        for facts in &library.functions {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(&facts.name);
            reply.bulk(b"description");
            match &facts.description {
                Some(description) => reply.bulk(description),
                None => reply.null(),
            }
            reply.bulk(b"flags");
            let flags: Vec<&str> = facts.flags.names().collect();
            reply.set(flags.len());
            flags.iter().for_each(|flag| reply.simple(flag));
        }
        if with_code {
            reply.bulk(b"library_code");
            reply.bulk(&library.code);
        }
    }
    Ok(())
}

/// FUNCTION STATS.
fn stats(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let running = parts.into_iter().find_map(Part::take::<Option<Running>>);
    let scripting = &cx.core.scripting;
    let (libraries, functions) = (scripting.libraries.len() as i64, scripting.functions_count() as i64);
    let reply = &mut cx.reply;
    reply.map(2);
    reply.bulk(b"running_script");
    parked::write_running(reply, running.as_ref());
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.integer(libraries);
    reply.bulk(b"functions_count");
    reply.integer(functions);
    Ok(())
}

/// FUNCTION DUMP.
fn dump(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let mut encoder = Encoder::new(cx.core.config.rdbcompression);
    let codes = cx.core.scripting.libraries.values().map(|library| &*library.code);
    let mut bytes = Vec::new();
    payload::write_functions(codes, &mut encoder, &mut bytes);
    cx.reply.bulk(&bytes);
    Ok(())
}

/// FUNCTION RESTORE payload [FLUSH | APPEND | REPLACE].
fn restore(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (mut flushes, mut replaces) = (false, false);
    match (args.get(3), args.len()) {
        (None, _) => {}
        (Some(policy), 4) if is_word(policy, "APPEND") => {}
        (Some(policy), 4) if is_word(policy, "REPLACE") => replaces = true,
        (Some(policy), 4) if is_word(policy, "FLUSH") => flushes = true,
        (_, 4) => {
            return Err(CommandError::text_static(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
        _ => return Err(subcommand_error(&args[1])),
    }
    let sealed = payload::open(&args[2], cx.core.skips_checksums)
        .map_err(|_| CommandError::text_static("ERR DUMP payload version or checksum are wrong"))?;
    let codes = sealed.functions().map_err(|text| CommandError::formatted(format!("ERR {text}")))?;
    // Among themselves first, as Redis does it: a library twice is an error whatever the policy.
    let mut restored = Libraries::new();
    for code in &codes {
        add(cx.core, &mut restored, code, false).map_err(failed)?;
    }
    let libraries = match flushes {
        true => restored,
        false => join(cx.core.scripting.libraries.clone(), restored, replaces).map_err(failed)?,
    };
    publish(cx.core, libraries);
    cx.reply.ok();
    Ok(())
}

/// Old libraries and new ones together.
fn join(mut libraries: Libraries, new: Libraries, replaces: bool) -> Result<Libraries, Vec<u8>> {
    for name in new.keys() {
        if libraries.remove(name).is_some() && !replaces {
            return Err([b"Library ", name.as_slice(), b" already exists"].concat());
        }
    }
    let mut old = libraries.values().flat_map(|library| &library.functions);
    let is_new = |name: &[u8]| {
        new.values().flat_map(|library| &library.functions).any(|facts| facts.name.eq_ignore_ascii_case(name))
    };
    if let Some(taken) = old.find(|facts| is_new(&facts.name)) {
        return Err([b"Function ", taken.name.as_slice(), b" already exists"].concat());
    }
    libraries.extend(new);
    Ok(libraries)
}

fn help(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    cx.reply.help(
        "FUNCTION",
        &[
            "DELETE <LIBRARY NAME>",
            "    Remove a library and its functions.",
            "DUMP",
            "    All libraries as a payload for FUNCTION RESTORE.",
            "FLUSH [ASYNC|SYNC]",
            "    Remove all libraries.",
            "KILL",
            "    End the function that runs.",
            "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
            "    The libraries with their functions, and with their code if that is asked for.",
            "LOAD [REPLACE] <FUNCTION CODE>",
            "    Add a library, or put it in place of one of the same name.",
            "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
            "    Add the libraries of a payload: in place of all, to those that there are, or in place of those of the same names.",
            "STATS",
            "    The function that runs, and how many libraries and functions there are.",
        ],
    );
    Ok(())
}

const FCALL: CommandSpec = CommandSpec {
    name: "fcall",
    arity: Arity::AtLeast(3),
    flags: Flags::NOSCRIPT
        .and(Flags::SKIP_MONITOR)
        .and(Flags::MAY_REPLICATE)
        .and(Flags::NO_MANDATORY_KEYS)
        .and(Flags::STALE)
        .and(Flags::MOVABLEKEYS),
    keys: Keys::Counted { count_at: 2, access: Access::CHANGE_AND_RETURN },
    group: Group::Scripting,
    since: "7.0.0",
    summary: "Calls a function of a library.",
    complexity: "Depends on the function.",
    syntax: "function numkeys [key ...] [arg ...]",
    run: Run::OnOwner(fcall),
};

const FUNCTION: CommandSpec = CommandSpec {
    name: "function",
    arity: Arity::AtLeast(2),
    flags: Flags::NONE,
    keys: Keys::None,
    group: Group::Scripting,
    since: "7.0.0",
    summary: "Libraries of functions.",
    complexity: "Depends on the sub-command.",
    syntax: "",
    run: Run::Container,
};

pub const COMMANDS: &[CommandSpec] = &[
    FCALL,
    CommandSpec {
        name: "fcall_ro",
        flags: Flags::NOSCRIPT
            .and(Flags::SKIP_MONITOR)
            .and(Flags::NO_MANDATORY_KEYS)
            .and(Flags::STALE)
            .and(Flags::READONLY)
            .and(Flags::MOVABLEKEYS),
        keys: Keys::Counted { count_at: 2, access: Access::READ },
        summary: "Calls a function of a library that does not write.",
        run: Run::OnOwner(fcall_ro),
        ..FCALL
    },
    FUNCTION,
    CommandSpec {
        name: "function|load",
        arity: Arity::AtLeast(3),
        flags: Flags::NOSCRIPT.and(Flags::WRITE).and(Flags::DENYOOM),
        summary: "Adds a library.",
        complexity: "O(1), the compilation left aside",
        syntax: "[REPLACE] function-code",
        run: Run::OnFirstCore(load),
        ..FUNCTION
    },
    CommandSpec {
        name: "function|delete",
        arity: Arity::Exactly(3),
        flags: Flags::NOSCRIPT.and(Flags::WRITE),
        summary: "Removes a library and its functions.",
        complexity: "O(1)",
        syntax: "library-name",
        run: Run::OnFirstCore(delete),
        ..FUNCTION
    },
    CommandSpec {
        name: "function|flush",
        flags: Flags::NOSCRIPT.and(Flags::WRITE),
        summary: "Removes all libraries.",
        complexity: "O(N) in the number of functions",
        syntax: "[ASYNC | SYNC]",
        run: Run::OnFirstCore(flush),
        ..FUNCTION
    },
    CommandSpec {
        name: "function|list",
        flags: Flags::NOSCRIPT,
        summary: "Lists the libraries and their functions.",
        complexity: "O(N) in the number of functions",
        syntax: "[LIBRARYNAME library-name-pattern] [WITHCODE]",
        run: Run::OnFirstCore(list),
        ..FUNCTION
    },
    CommandSpec {
        name: "function|stats",
        arity: Arity::Exactly(2),
        flags: Flags::NOSCRIPT.and(Flags::ALLOW_BUSY),
        summary: "Says which function runs.",
        complexity: "O(1)",
        run: Run::OnEveryCore { part: parked::running_part, merge: stats },
        ..FUNCTION
    },
    CommandSpec {
        name: "function|kill",
        arity: Arity::Exactly(2),
        flags: Flags::NOSCRIPT.and(Flags::ALLOW_BUSY),
        summary: "Ends the function that runs.",
        complexity: "O(1)",
        run: Run::OnEveryCore { part: parked::kill_function_part, merge: parked::kill_merge },
        ..FUNCTION
    },
    CommandSpec {
        name: "function|dump",
        arity: Arity::Exactly(2),
        flags: Flags::NOSCRIPT,
        summary: "Returns all libraries as a payload.",
        complexity: "O(N) in the number of functions",
        run: Run::OnFirstCore(dump),
        ..FUNCTION
    },
    CommandSpec {
        name: "function|restore",
        arity: Arity::AtLeast(3),
        flags: Flags::NOSCRIPT.and(Flags::WRITE).and(Flags::DENYOOM),
        summary: "Adds the libraries of a payload.",
        complexity: "O(N) in the number of functions",
        syntax: "serialized-value [FLUSH | APPEND | REPLACE]",
        run: Run::OnFirstCore(restore),
        ..FUNCTION
    },
    CommandSpec {
        name: "function|help",
        arity: Arity::Exactly(2),
        flags: Flags::LOADING.and(Flags::STALE),
        summary: "Lists the sub-commands of FUNCTION.",
        complexity: "O(1)",
        run: Run::OnConnection(help),
        ..FUNCTION
    },
];
