//! EVAL, EVALSHA, and their read-only forms.

use bytes::Bytes;

use super::Script;
use super::run::{Order, keys_count, prepare, run, split, version};
use crate::command::context::Context;
use crate::command::core::{Core, Effect};
use crate::command::error::CommandError;
use crate::command::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::resp::Args;
use crate::script::{Job, Outcome, Shebang, digest};

/// The length of a digest in hexadecimal.
const DIGEST_CHARACTERS: usize = 40;

const NO_SCRIPT: CommandError = CommandError::text_static("NOSCRIPT No matching script. Please use EVAL.");

/// EVAL script numkeys [key ...] [arg ...].
fn eval(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    evaluate(cx, args, false)
}

/// EVAL_RO script numkeys [key ...] [arg ...].
fn eval_ro(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    evaluate(cx, args, true)
}

fn evaluate(cx: &mut Context<'_>, args: &Args<'_>, reads_only: bool) -> CommandResult {
    let keys_count = keys_count(args, 2, CommandError::NotAnInteger)?;
    let digest = digest(&args[1]);
    if !cx.core.scripting.scripts.contains_key(&digest) {
        let code = args.shared(1).unwrap_or_else(|| Bytes::copy_from_slice(&args[1]));
        add(cx.core, &digest, code.clone())?;
        if cx.core.facts.cores_count > 1 {
            cx.core.effects.push(Effect::Script { digest: digest.clone(), code });
        }
    }
    run_known(cx, args, &digest, keys_count, reads_only)
}

/// EVALSHA sha1 numkeys [key ...] [arg ...].
fn evalsha(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    evaluate_known(cx, args, false)
}

/// EVALSHA_RO sha1 numkeys [key ...] [arg ...].
fn evalsha_ro(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    evaluate_known(cx, args, true)
}

fn evaluate_known(cx: &mut Context<'_>, args: &Args<'_>, reads_only: bool) -> CommandResult {
    if args[1].len() != DIGEST_CHARACTERS {
        return Err(NO_SCRIPT);
    }
    let keys_count = keys_count(args, 2, CommandError::NotAnInteger)?;
    let digest = String::from_utf8_lossy(&args[1]).to_ascii_lowercase();
    run_known(cx, args, &digest, keys_count, reads_only)
}

fn run_known(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    digest: &str,
    keys_count: usize,
    reads_only: bool,
) -> CommandResult {
    let flags = compiled(cx.core, digest)?;
    let (keys, argv) = split(args, 2, keys_count);
    let job = Job::Run { digest: digest.to_owned(), keys, argv, version: version(cx) };
    run(cx, args, Order { job, name: digest.as_bytes(), is_function: false, flags, reads_only })
}

/// Keeps a script that compiles.
///
/// # Errors
/// Redis's text for one that does not.
pub(super) fn add(core: &mut Core, digest: &str, code: Bytes) -> Result<(), CommandError> {
    let shebang = Shebang::of_script(&code).map_err(|text| CommandError::formatted(format!("ERR {text}")))?;
    let script = Script { code, flags: shebang.flags, is_compiled: false };
    core.scripting.scripts.insert(digest.to_owned(), script);
    let outcome = compiled(core, digest);
    if outcome.is_err() {
        core.scripting.scripts.remove(digest);
    }
    outcome.map(drop)
}

/// Sees to it that the engine has the script, and returns what that says of itself.
fn compiled(core: &mut Core, digest: &str) -> Result<Option<crate::script::FunctionFlags>, CommandError> {
    let Some(script) = core.scripting.scripts.get(digest) else { return Err(NO_SCRIPT) };
    let flags = script.flags;
    if script.is_compiled {
        return Ok(flags);
    }
    let shebang = Shebang::of_script(&script.code).unwrap_or_default();
    let code = script.code.get(shebang.length_bytes..).unwrap_or_default().to_vec();
    match prepare(core, Job::Compile { digest: digest.to_owned(), code }) {
        Outcome::Failed(text) => {
            Err(CommandError::Text([b"ERR Error compiling script (new function): ", &*text].concat().into()))
        }
        _ => {
            if let Some(script) = core.scripting.scripts.get_mut(digest) {
                script.is_compiled = true;
            }
            Ok(flags)
        }
    }
}

const EVAL: CommandSpec = CommandSpec {
    name: "eval",
    arity: Arity::AtLeast(3),
    flags: Flags::NOSCRIPT
        .and(Flags::SKIP_MONITOR)
        .and(Flags::MAY_REPLICATE)
        .and(Flags::NO_MANDATORY_KEYS)
        .and(Flags::STALE)
        .and(Flags::MOVABLEKEYS),
    keys: Keys::Counted { count_at: 2, access: Access::CHANGE_AND_RETURN },
    group: Group::Scripting,
    since: "2.6.0",
    summary: "Runs a script in Lua.",
    complexity: "Depends on the script.",
    syntax: "script numkeys [key ...] [arg ...]",
    run: Run::OnOwner(eval),
};

const EVAL_RO: CommandSpec = CommandSpec {
    name: "eval_ro",
    flags: Flags::NOSCRIPT
        .and(Flags::SKIP_MONITOR)
        .and(Flags::NO_MANDATORY_KEYS)
        .and(Flags::STALE)
        .and(Flags::READONLY)
        .and(Flags::MOVABLEKEYS),
    keys: Keys::Counted { count_at: 2, access: Access::READ },
    since: "7.0.0",
    summary: "Runs a script in Lua that does not write.",
    run: Run::OnOwner(eval_ro),
    ..EVAL
};

pub const COMMANDS: &[CommandSpec] = &[
    EVAL,
    EVAL_RO,
    CommandSpec {
        name: "evalsha",
        summary: "Runs a script that the node knows, named by its SHA-1.",
        syntax: "sha1 numkeys [key ...] [arg ...]",
        run: Run::OnOwner(evalsha),
        ..EVAL
    },
    CommandSpec {
        name: "evalsha_ro",
        summary: "Runs a script that the node knows and that does not write, named by its SHA-1.",
        syntax: "sha1 numkeys [key ...] [arg ...]",
        run: Run::OnOwner(evalsha_ro),
        ..EVAL_RO
    },
];
