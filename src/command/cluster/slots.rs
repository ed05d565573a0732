//! CLUSTER's commands about slots: who has them, what is in them.

use super::super::arguments::is_word;
use super::super::context::Context;
use super::super::core::{Core, Effect};
use super::super::error::CommandError;
use super::super::spec::{CommandResult, Part};
use super::members::id_of;
use super::{membership, needs_cluster};
use crate::base::number::parse_i64;
use crate::base::slot::{Slot, SlotSet};
use crate::cluster::machine::{SetSlot, SetSlotRefusal};
use crate::cluster::state::{SlotOrder, SlotRefusal};
use crate::resp::{Args, write_request};

/// CLUSTER ADDSLOTS slot [slot ...].
pub fn add_slots(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    one_by_one(cx, args, SlotOrder::Assign)
}

/// CLUSTER DELSLOTS slot [slot ...].
pub fn del_slots(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    one_by_one(cx, args, SlotOrder::Release)
}

/// CLUSTER ADDSLOTSRANGE start-slot end-slot [start-slot end-slot ...].
pub fn add_slots_range(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    by_ranges(cx, args, SlotOrder::Assign)
}

/// CLUSTER DELSLOTSRANGE start-slot end-slot [start-slot end-slot ...].
pub fn del_slots_range(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    by_ranges(cx, args, SlotOrder::Release)
}

/// Every argument must be a slot before any is looked at.
fn one_by_one(cx: &mut Context<'_>, args: &Args<'_>, order: SlotOrder) -> CommandResult {
    let state = membership(cx)?.state();
    let slots = args.iter().skip(2).map(slot).collect::<Result<Vec<Slot>, CommandError>>()?;
    let mut picked = SlotSet::new();
    for slot in slots {
        state.pick(order, slot..=slot, &mut picked).map_err(refusal)?;
    }
    carry_out(cx, order, &picked)
}

/// Each range is judged before the next is read.
fn by_ranges(cx: &mut Context<'_>, args: &Args<'_>, order: SlotOrder) -> CommandResult {
    let state = membership(cx)?.state();
    if args.len() % 2 == 1 {
        let name = if order == SlotOrder::Assign { "cluster|addslotsrange" } else { "cluster|delslotsrange" };
        return Err(CommandError::WrongArity(name.into()));
    }
    let mut picked = SlotSet::new();
    for at in (2..args.len()).step_by(2) {
        let (first, last) = (slot(&args[at])?, slot(&args[at + 1])?);
        if first > last {
            let text = format!("ERR start slot number {first} is greater than end slot number {last}");
            return Err(CommandError::formatted(text));
        }
        state.pick(order, first..=last, &mut picked).map_err(refusal)?;
    }
    carry_out(cx, order, &picked)
}

fn carry_out(cx: &mut Context<'_>, order: SlotOrder, picked: &SlotSet) -> CommandResult {
    super::order(cx, |machine, _| machine.order_slots(order, picked))?;
    cx.reply.ok();
    Ok(())
}

pub(super) fn slot(digits: &[u8]) -> Result<Slot, CommandError> {
    parse_i64(digits).and_then(Slot::checked).ok_or(CommandError::InvalidSlot)
}

fn refusal(refusal: SlotRefusal) -> CommandError {
    CommandError::formatted(match refusal {
        SlotRefusal::Busy(slot) => format!("ERR Slot {slot} is already busy"),
        SlotRefusal::Unassigned(slot) => format!("ERR Slot {slot} is already unassigned"),
        SlotRefusal::Repeated(slot) => format!("ERR Slot {slot} specified multiple times"),
    })
}

/// One core's number of keys. A write that comes behind it loses the race: it stays, in a slot that nobody serves.
pub fn count_keys(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    Ok(Part::new(cx.core.keyspace.len(0)))
}

/// The keys of all cores.
pub fn total(parts: Vec<Part>) -> u64 {
    parts.into_iter().map(Part::take::<u64>).sum()
}

/// CLUSTER FLUSHSLOTS.
pub fn flush_slots(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    membership(cx)?;
    if total(parts) != 0 {
        return Err(CommandError::text_static("ERR DB must be empty to perform CLUSTER FLUSHSLOTS."));
    }
    super::order(cx, |machine, _| machine.release_own_slots())?;
    cx.reply.ok();
    Ok(())
}

/// Before the cores count the keys of a slot that is to be another node's, and is not on its way yet: it is put on its way, so that
/// none makes a key behind its count. In Redis nothing comes between.
pub fn close_slot(core: &mut Core, args: &Args<'_>) {
    let Some((slot, SetSlot::Node(target))) = set_slot_of(args) else { return };
    if !core.cluster.is_settled_here(slot) {
        return;
    }
    let clock = core.clock;
    let Ok(cluster) = core.node().cluster() else { return };
    if cluster.state().myself().id == target {
        return;
    }
    let migrating = SetSlot::Migrating(target);
    // What is wrong with it is said by `set_slot`.
    if let Ok((Ok(()), step)) = cluster.order_soon(&clock, |machine, now| machine.set_slot(now, slot, migrating, false))
    {
        core.node().closing_slots.insert(slot);
        core.take_step(step);
    }
}

/// The owner's number of keys in the slot that the first argument names.
pub fn count_keys_of_slot(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let slot = parse_i64(&args[2]).and_then(Slot::checked);
    let own = slot.filter(|slot| cx.core.owners.owner(*slot) == cx.core.id);
    Ok(Part::new(own.map_or(0, |slot| cx.core.keyspace.slot_len(0, slot))))
}

/// CLUSTER SETSLOT slot (IMPORTING | MIGRATING | NODE) node-id, or STABLE.
pub fn set_slot(cx: &mut Context<'_>, args: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    if membership(cx)?.state().myself().is_replica() {
        return Err(set_slot_refusal(SetSlotRefusal::Replica, args));
    }
    let slot = slot(&args[2])?;
    let form = form_of(args).ok_or(CommandError::text_static(
        "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
    ))?;
    let has_keys = total(parts) != 0;
    let outcome = super::order_soon(cx, |machine, now| machine.set_slot(now, slot, form, has_keys))?;
    let is_closing = matches!(form, SetSlot::Node(_)) && cx.core.node().closing_slots.remove(&slot);
    if let Err(refusal) = outcome {
        if is_closing {
            _ = super::order_soon(cx, |machine, now| machine.set_slot(now, slot, SetSlot::Stable, has_keys))?;
        }
        return Err(set_slot_refusal(refusal, args));
    }
    // What replicas are told leaves before the reply does.
    if cx.core.node().replication.replicas.know_slot_states() {
        let mut bytes = Vec::new();
        write_request(&mut bytes, args.iter());
        cx.core.effects.push(Effect::ForReplicas(bytes));
    }
    cx.reply.ok();
    Ok(())
}

fn form_of(args: &Args<'_>) -> Option<SetSlot> {
    match (args.len(), args.get(3)?) {
        (5, word) if is_word(word, "MIGRATING") => Some(SetSlot::Migrating(id_of(&args[4]))),
        (5, word) if is_word(word, "IMPORTING") => Some(SetSlot::Importing(id_of(&args[4]))),
        (4, word) if is_word(word, "STABLE") => Some(SetSlot::Stable),
        (5, word) if is_word(word, "NODE") => Some(SetSlot::Node(id_of(&args[4]))),
        _ => None,
    }
}

/// What CLUSTER SETSLOT in a primary's stream says.
pub fn set_slot_of(args: &Args<'_>) -> Option<(Slot, SetSlot)> {
    Some((slot(args.get(2)?).ok()?, form_of(args)?))
}

/// The same in words, for slots that are open.
pub fn set_slot_words(slot: Slot, form: SetSlot, into: &mut Vec<u8>) {
    let number = slot.to_string();
    let (word, id) = match form {
        SetSlot::Migrating(id) => ("MIGRATING", Some(id)),
        SetSlot::Importing(id) => ("IMPORTING", Some(id)),
        SetSlot::Node(id) => ("NODE", Some(id)),
        SetSlot::Stable => ("STABLE", None),
    };
    let mut words: Vec<&[u8]> = vec![b"CLUSTER", b"SETSLOT", number.as_bytes(), word.as_bytes()];
    words.extend(id.as_ref().map(|id| id.as_str().as_bytes()));
    write_request(into, words.into_iter());
}

fn set_slot_refusal(refusal: SetSlotRefusal, args: &Args<'_>) -> CommandError {
    let slot = || parse_i64(&args[2]).unwrap_or_default();
    match refusal {
        SetSlotRefusal::Replica => CommandError::text_static("ERR Please use SETSLOT only with masters."),
        SetSlotRefusal::NotOwner => CommandError::formatted(format!("ERR I'm not the owner of hash slot {}", slot())),
        SetSlotRefusal::AlreadyOwner => {
            CommandError::formatted(format!("ERR I'm already the owner of hash slot {}", slot()))
        }
        SetSlotRefusal::Unknown(_) if is_word(&args[3], "NODE") => {
            CommandError::quoting("ERR Unknown node ", &args[4], "")
        }
        SetSlotRefusal::Unknown(_) => CommandError::quoting("ERR I don't know about node ", &args[4], ""),
        SetSlotRefusal::HandingOver => CommandError::text_static(
            "ERR A replica is taking over. Please use SETSLOT with it, once it is the master.",
        ),
        SetSlotRefusal::TargetIsReplica => CommandError::text_static("ERR Target node is not a master"),
        SetSlotRefusal::HasKeys => CommandError::formatted(format!(
            "ERR Can't assign hashslot {} to a different node while I still hold keys for this hash slot.",
            slot()
        )),
    }
}

/// CLUSTER COUNTKEYSINSLOT slot.
pub fn count_keys_in_slot(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    needs_cluster(cx)?;
    let number = parse_i64(&args[2]).ok_or(CommandError::NotAnInteger)?;
    let slot = Slot::checked(number).ok_or(CommandError::text_static("ERR Invalid slot"))?;
    cx.reply.integer(cx.core.keyspace.slot_len(0, slot) as i64);
    Ok(())
}

/// CLUSTER GETKEYSINSLOT slot count.
pub fn get_keys_in_slot(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    needs_cluster(cx)?;
    let number = parse_i64(&args[2]).ok_or(CommandError::NotAnInteger)?;
    let limit = parse_i64(&args[3]).ok_or(CommandError::NotAnInteger)?;
    let invalid = CommandError::text_static("ERR Invalid slot or number of keys");
    let (Some(slot), Ok(limit)) = (Slot::checked(number), usize::try_from(limit)) else {
        return Err(invalid);
    };
    let list = cx.reply.begin_array();
    let mut count = 0;
    cx.core.keyspace.for_each_in_slot(0, slot, limit, &mut |key, _| {
        cx.reply.bulk(key);
        count += 1;
    });
    cx.reply.finish(list, count);
    Ok(())
}
