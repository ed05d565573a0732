//! DEBUG's sub-commands about the cluster's bus: core 0 does them.

use super::unknown;
use crate::base::hex::HexId;
use crate::cluster::machine::{Machine, Now};
use crate::command::arguments::{integer, is_word};
use crate::command::context::Context;
use crate::command::error::CommandError;
use crate::command::spec::{CommandResult, Part};
use crate::resp::Args;

/// Lets the machine do something, where there is one: on core 0, in cluster mode.
fn on_machine<T>(cx: &mut Context<'_>, act: impl FnOnce(&mut Machine, Now) -> T) -> Option<T> {
    let clock = cx.core.clock;
    let membership = cx.core.node.as_mut()?.cluster.as_mut()?;
    let (outcome, step) = membership.step(&clock, act);
    cx.core.take_step(step);
    Some(outcome)
}

/// DEBUG CLUSTERLINK KILL to|from|all node-id.
pub fn kill_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let is = |word: &str| is_word(&args[3], word) || is_word(&args[3], "ALL");
    let (to, from) = (is("TO"), is("FROM"));
    let id = HexId::parse(&args[4]).filter(|_| is_word(&args[2], "KILL"));
    let known = id.and_then(|id| on_machine(cx, |machine, _| machine.kill_links(&id, to, from)));
    Ok(Part::new(known.unwrap_or(false)))
}

/// Its answer.
pub fn kill(cx: &mut Context<'_>, args: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    if !is_word(&args[2], "KILL") {
        return Err(unknown(args));
    }
    if !cx.core.cluster.enabled {
        return Err(CommandError::text_static("ERR Debug option only available for cluster mode enabled setup!"));
    }
    if !parts.into_iter().any(Part::take::<bool>) {
        return Err(CommandError::quoting("ERR Unknown node ", &args[4], ""));
    }
    if !["TO", "FROM", "ALL"].iter().any(|word| is_word(&args[3], word)) {
        return Err(CommandError::quoting("ERR Unknown direction ", &args[3], ""));
    }
    cx.reply.ok();
    Ok(())
}

/// DEBUG DROP-CLUSTER-PACKET-FILTER packet-type.
pub fn filter_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let kind = u16::try_from(integer(&args[2])?).ok();
    on_machine(cx, |machine, _| machine.ignore_kind(kind));
    Ok(Part::done())
}
