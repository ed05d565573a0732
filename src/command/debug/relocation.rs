//! DEBUG SLOT-CORE, which Redis does not have: which core of this node has a slot, and the order to give it to another.

use super::Context;
use crate::base::core_id::CoreId;
use crate::base::number::parse_i64;
use crate::base::slot::Slot;
use crate::cluster::view::Serving;
use crate::command::core::Effect;
use crate::command::error::CommandError;
use crate::command::spec::{CommandResult, Part};
use crate::resp::Args;

/// DEBUG SLOT-CORE slot [core]: the number of the core, or OK when the slot is there. With an order the runtime answers late.
///
/// Errors: no such slot or core, a slot of another node, no cluster mode.
pub fn slot_core(cx: &mut Context<'_>, args: &Args<'_>, _: Vec<Part>) -> CommandResult {
    if !cx.core.cluster.enabled {
        return Err(CommandError::ClusterDisabled);
    }
    let slot = parse_i64(&args[2]).and_then(Slot::checked).ok_or(CommandError::InvalidSlot)?;
    let Some(wanted) = args.get(3) else {
        let owner = cx.core.owners.owner(slot).index();
        cx.reply.integer(owner as i64);
        return Ok(());
    };
    let cores_count = cx.core.facts.cores_count;
    let index = parse_i64(wanted).and_then(|number| usize::try_from(number).ok()).filter(|index| *index < cores_count);
    let to = CoreId::new(index.ok_or(CommandError::text_static("ERR Invalid or out of range core"))?);
    if cx.core.cluster.serving(slot) != Serving::Here {
        return Err(CommandError::text_static("ERR The slot is not served by this node"));
    }
    cx.core.effects.push(Effect::Relocate { slots: Box::new([slot].into_iter().collect()), to });
    cx.reply.ok();
    Ok(())
}
