//! CLIENT's sub-commands about the client that asks: its number, line, names, and how it wants to be treated. All run on
//! the client's own core.

use super::listing::describe;
use crate::command::client::{ReplyMode, check_name};
use crate::command::context::Context;
use crate::command::error::CommandError;
use crate::command::spec::CommandResult;
use crate::resp::Args;

pub(super) fn id(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let id = cx.caller.client.id;
    cx.reply.integer(id as i64);
    Ok(())
}

pub(super) fn info(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let now = cx.core.clock.unix();
    let mut line = Vec::new();
    describe(cx.client(), now, Some(args), &mut line);
    cx.reply.verbatim("txt", &line);
    Ok(())
}

pub(super) fn set_name(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    check_name(&args[2], b"Client names")?;
    cx.client().name = args[2].to_vec();
    cx.reply.ok();
    Ok(())
}

pub(super) fn get_name(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let name = cx.client().name.clone();
    if name.is_empty() {
        cx.reply.null()
    } else {
        cx.reply.bulk(&name)
    }
    Ok(())
}

/// CLIENT SETINFO <LIB-NAME | LIB-VER> value.
pub(super) fn set_info(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let attribute = &args[2];
    let is_name = attribute.eq_ignore_ascii_case(b"lib-name");
    if !is_name && !attribute.eq_ignore_ascii_case(b"lib-ver") {
        return Err(CommandError::quoting("ERR Unrecognized option '", attribute, "'"));
    }
    check_name(&args[3], attribute)?;
    let client = cx.client();
    let field = if is_name { &mut client.library_name } else { &mut client.library_version };
    *field = args[3].to_vec();
    cx.reply.ok();
    Ok(())
}

/// CLIENT REPLY <ON | OFF | SKIP>: only ON answers; the runtime drops what others answer meanwhile.
pub(super) fn reply(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let mode = &args[2];
    let client = cx.client();
    if mode.eq_ignore_ascii_case(b"on") {
        client.reply_mode = ReplyMode::On;
        cx.reply.ok();
    } else if mode.eq_ignore_ascii_case(b"off") {
        client.reply_mode = ReplyMode::Off;
    } else if mode.eq_ignore_ascii_case(b"skip") {
        if client.reply_mode != ReplyMode::Off {
            client.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(CommandError::Syntax);
    }
    Ok(())
}

pub(super) fn no_evict(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    cx.client().no_evict = on_or_off(&args[2])?;
    cx.reply.ok();
    Ok(())
}

pub(super) fn no_touch(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    cx.client().no_touch = on_or_off(&args[2])?;
    cx.reply.ok();
    Ok(())
}

fn on_or_off(word: &[u8]) -> Result<bool, CommandError> {
    match word {
        on if on.eq_ignore_ascii_case(b"on") => Ok(true),
        off if off.eq_ignore_ascii_case(b"off") => Ok(false),
        _ => Err(CommandError::Syntax),
    }
}
