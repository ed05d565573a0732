//! What clients of a cluster say of themselves: ASKING, READONLY, READWRITE.

use super::super::context::Context;
use super::super::spec::{Arity, CommandResult, CommandSpec, Flags, Run};
use super::{ANY_TIME, ROW, needs_cluster};
use crate::resp::Args;

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "asking",
        arity: Arity::Exactly(1),
        flags: Flags::FAST.and(Flags::CONNECTION),
        summary: "Lets the next command use a slot that is being imported.",
        run: Run::OnConnection(asking),
        ..ROW
    },
    CommandSpec {
        name: "readonly",
        arity: Arity::Exactly(1),
        flags: Flags::FAST.and(ANY_TIME).and(Flags::CONNECTION),
        summary: "Lets a replica answer this connection's reads.",
        run: Run::OnConnection(readonly),
        ..ROW
    },
    CommandSpec {
        name: "readwrite",
        arity: Arity::Exactly(1),
        flags: Flags::FAST.and(ANY_TIME).and(Flags::CONNECTION),
        summary: "Ends what READONLY began.",
        run: Run::OnConnection(readwrite),
        ..ROW
    },
];

/// ASKING.
fn asking(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    needs_cluster(cx)?;
    cx.client().asking = true;
    cx.reply.ok();
    Ok(())
}

/// READONLY.
fn readonly(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    needs_cluster(cx)?;
    cx.client().readonly = true;
    cx.reply.ok();
    Ok(())
}

/// READWRITE.
fn readwrite(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    needs_cluster(cx)?;
    cx.client().readonly = false;
    cx.reply.ok();
    Ok(())
}
