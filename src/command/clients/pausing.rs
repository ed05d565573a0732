//! CLIENT PAUSE and UNPAUSE: every core lets its clients wait, or no longer. What waits is the gate's to judge.

use crate::base::clock::UnixMillis;
use crate::base::number::parse_i64;
use crate::command::context::Context;
use crate::command::core::Effect;
use crate::command::error::CommandError;
use crate::command::spec::{CommandResult, Part};
use crate::resp::Args;

/// CLIENT PAUSE timeout [WRITE | ALL], the timeout in milliseconds.
pub(super) fn pause_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let now = cx.core.clock.unix();
    let everything = match args.get(3) {
        _ if args.len() > 4 => return Err(malformed(args)),
        None => true,
        Some(mode) if mode.eq_ignore_ascii_case(b"write") => false,
        Some(mode) if mode.eq_ignore_ascii_case(b"all") => true,
        Some(_) => return Err(CommandError::text_static("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let until = deadline(&args[2], now)?;
    cx.core.pause.begin(until, everything, now);
    cx.core.effects.push(Effect::PauseChanged);
    Ok(Part::done())
}

/// The time `timeout` milliseconds from now; 0 is a time long past.
fn deadline(timeout: &[u8], now: UnixMillis) -> Result<UnixMillis, CommandError> {
    let timeout_ms =
        parse_i64(timeout).ok_or(CommandError::text_static("ERR timeout is not an integer or out of range"))?;
    match timeout_ms {
        ..0 => Err(CommandError::text_static("ERR timeout is negative")),
        0 => Ok(UnixMillis(0)),
        _ => timeout_ms
            .checked_add(now.get())
            .map(UnixMillis)
            .ok_or(CommandError::text_static("ERR timeout is out of range")),
    }
}

pub(super) fn unpause_part(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    cx.core.pause.end();
    cx.core.effects.push(Effect::PauseChanged);
    Ok(Part::done())
}

pub(super) fn answer_ok(cx: &mut Context<'_>, _: &Args<'_>, _: Vec<Part>) -> CommandResult {
    cx.reply.ok();
    Ok(())
}

/// A known sub-command with arguments that no form of it has.
fn malformed(args: &Args<'_>) -> CommandError {
    let given = &args[1][..args[1].len().min(128)];
    CommandError::quoting("ERR unknown subcommand or wrong number of arguments for '", given, "'. Try CLIENT HELP.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_within_the_range_of_time() {
        let now = UnixMillis(1_000);
        assert_eq!(deadline(b"5", now), Ok(UnixMillis(1_005)));
        assert_eq!(deadline(b"0", now), Ok(UnixMillis(0)));
        for (timeout, text) in [
            ("x", "ERR timeout is not an integer or out of range"),
            ("-1", "ERR timeout is negative"),
            ("9223372036854775807", "ERR timeout is out of range"),
        ] {
            assert_eq!(deadline(timeout.as_bytes(), now).unwrap_err().text(), text);
        }
    }
}
