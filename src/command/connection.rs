//! Commands about the connection itself.

use super::context::Context;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::resp::Args;

pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "ping",
    arity: Arity::AtLeast(1),
    flags: Flags::FAST,
    keys: Keys::None,
    group: Group::Connection,
    since: "1.0.0",
    summary: "Answers PONG, or the message.",
    complexity: "O(1)",
    syntax: "[message]",
    run: Run::OnConnection(ping),
}];

/// PING [message].
fn ping(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    match args.len() {
        1 => cx.reply.simple("PONG"),
        2 => cx.reply.bulk(&args[1]),
        _ => return Err(super::error::CommandError::WrongArity("ping".into())),
    }
    Ok(())
}
