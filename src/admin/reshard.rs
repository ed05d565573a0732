//! `reshard` and `rebalance`: slots go from primaries to others, with a plan before and a table after.

use super::Failure;
use super::agreement::wait_for_all;
use super::arguments::{Moving, Settings};
use super::check::must_be_in_order;
use super::client::HostPort;
use super::members::{Cluster, Member, short};
use super::output::{Output, count, duration, table};
use super::shares::{self, Move, Share, Weighted};
use super::transfer::Ground;
use crate::base::hex::HexId;
use crate::base::slot::{SLOTS_COUNT, Slot};
use std::time::Instant;

/// What `reshard` was told; what is missing is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Ids, or `all`.
    pub from: Option<Vec<String>>,
    pub to: Option<String>,
    pub slots: Option<usize>,
}

/// What `rebalance` was told.
#[derive(Debug, PartialEq)]
pub struct Balance {
    /// Ids, or their beginnings, with their weights; those that are not named have 1.
    pub weights: Vec<(String, f32)>,
    /// Primaries without slots get some, too.
    pub use_empty: bool,
    pub threshold_percent: f32,
    /// Only say what would move.
    pub simulate: bool,
}

/// Moves so many slots to one primary.
///
/// # Errors
/// The cluster is not in order, no such primary, no is the answer, or something went wrong on the way.
pub fn reshard(
    entry: &HostPort,
    wish: &Wish,
    moving: &Moving,
    settings: &Settings,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut cluster = Cluster::load(entry, settings, output)?;
    must_be_in_order(&cluster)?;
    let count_wanted = match wish.slots {
        Some(slots) => slots,
        None => ask_count(output)?,
    };
    let to = match &wish.to {
        Some(to) => primary(&cluster, to)?,
        None => primary(&cluster, &ask_word(output, "To which primary (its id)?")?)?,
    };
    let from = match &wish.from {
        Some(from) => from.clone(),
        None => {
            let answer = ask_word(output, "From which primaries (their ids with commas between, or all)?")?;
            answer.split(',').map(|word| word.trim().to_owned()).collect()
        }
    };
    let sources = sources(&cluster, &from, to)?;
    let moves = shares::reshard(&sources, to, count_wanted);
    if moves.is_empty() {
        return Err(Failure::line("the sources serve no slots: nothing can be moved"));
    }
    let question = format!("Move {} to {}?", count(moves.len(), "slot"), name_of(&cluster, to));
    carry_out(&mut cluster, &moves, &question, moving, settings, output)
}

/// Evens out what primaries serve.
///
/// # Errors
/// As `reshard`.
pub fn rebalance(
    entry: &HostPort,
    balance: &Balance,
    moving: &Moving,
    settings: &Settings,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut cluster = Cluster::load(entry, settings, output)?;
    must_be_in_order(&cluster)?;
    let mut weights: Vec<(HexId, f32)> = Vec::new();
    for (id, weight) in &balance.weights {
        weights.push((primary(&cluster, id)?, *weight));
    }
    let weight_of = |id: HexId| weights.iter().rev().find(|(of, _)| *of == id).map_or(1.0, |(_, weight)| *weight);
    let primaries: Vec<Weighted> = cluster
        .primaries()
        .filter(|member| balance.use_empty || member.myself().slots_count() > 0)
        .map(|member| Weighted { share: share(member), weight: weight_of(member.id()) })
        .collect();
    let Some(moves) = shares::rebalance(&primaries, balance.threshold_percent) else {
        let percent = balance.threshold_percent;
        output.line(&format!("[OK] No rebalancing needed: all primaries are within {percent:.2} % of their part."));
        return Ok(());
    };
    if balance.simulate {
        output.line(&plan_table(&cluster, &moves));
        output.line("Nothing was changed (--cluster-simulate).");
        return Ok(());
    }
    let question = format!("Move {}?", count(moves.len(), "slot"));
    // As with redis-cli, who says rebalance has said yes.
    let settings = &Settings { yes: true, ..settings.clone() };
    carry_out(&mut cluster, &moves, &question, moving, settings, output)
}

fn carry_out(
    cluster: &mut Cluster,
    moves: &[Move],
    question: &str,
    moving: &Moving,
    settings: &Settings,
    output: &mut Output,
) -> Result<(), Failure> {
    output.line(&plan_table(cluster, moves));
    if !settings.yes && !output.ask(question) {
        return Err(Failure::line("nothing was changed"));
    }
    let begun = Instant::now();
    let moved = Ground::new(cluster, settings, moving)?.move_slots(moves, output)?;
    let seconds = begun.elapsed().as_secs_f64();
    output.begin("Waiting until all nodes agree");
    wait_for_all(&mut cluster.members, settings.wait, output, lack_of_agreement, |_| Ok(()))?;
    output.line(&result_table(cluster, moves));
    output.line(&format!(
        "[OK] {} and {} keys moved in {}.",
        count(moved.slots, "slot"),
        moved.keys,
        duration(seconds)
    ));
    Ok(())
}

/// What a member lacks that does not see what the first one sees.
fn lack_of_agreement(all: &[Member], member: &Member) -> Option<String> {
    let first = all.first()?;
    (member.view.slot_map() != first.view.slot_map())
        .then(|| format!("does not agree with {} about who serves which slots", first.name()))
}

/// One line for each pair between which slots move.
fn plan_table(cluster: &Cluster, moves: &[Move]) -> String {
    let mut pairs: Vec<(HexId, HexId, Vec<Slot>)> = Vec::new();
    for step in moves {
        match pairs.iter_mut().find(|(from, to, _)| (*from, *to) == (step.from, step.to)) {
            Some((_, _, slots)) => slots.push(step.slot),
            None => pairs.push((step.from, step.to, vec![step.slot])),
        }
    }
    let row = |(from, to, slots): &(HexId, HexId, Vec<Slot>)| {
        let set: crate::base::slot::SlotSet = slots.iter().copied().collect();
        let ranges = super::topology::show_ranges(set.ranges());
        vec![name_of(cluster, *from), name_of(cluster, *to), slots.len().to_string(), ranges]
    };
    let rows: Vec<Vec<String>> = pairs.iter().map(row).collect();
    table(&["From", "To", "Slots", "Which"], &rows)
}

/// What the primaries that took part in it have now.
fn result_table(cluster: &Cluster, moves: &[Move]) -> String {
    let takes_part = |id: HexId| moves.iter().any(|step| step.from == id || step.to == id);
    let members = cluster.members.iter().filter(|member| takes_part(member.id()));
    let row = |member: &Member| {
        let given = moves.iter().filter(|step| step.from == member.id()).count();
        let taken = moves.iter().filter(|step| step.to == member.id()).count();
        let now = member.myself().slots_count();
        let numbers = [given, taken, now].map(|number| number.to_string());
        [&[member.name().to_owned(), short(member.id())][..], &numbers].concat()
    };
    let rows: Vec<Vec<String>> = members.map(row).collect();
    table(&["Node", "Id", "Given", "Taken", "Slots"], &rows)
}

fn share(member: &Member) -> Share {
    let ranges = member.myself().slots.iter();
    let slots = ranges.flat_map(|(first, last)| (first.get()..=last.get()).map(Slot::new)).collect();
    Share { id: member.id(), slots }
}

/// The primary whose id begins so.
fn primary(cluster: &Cluster, text: &str) -> Result<HexId, Failure> {
    let id = cluster.find_id(text)?;
    match cluster.members.iter().find(|member| member.id() == id) {
        Some(member) if member.is_primary() => Ok(id),
        Some(member) => Err(Failure::line(format!("{} is a replica: name its primary", member.name()))),
        None => Err(Failure::line(format!("the node {id} does not answer; start it, or name another"))),
    }
}

fn sources(cluster: &Cluster, from: &[String], to: HexId) -> Result<Vec<Share>, Failure> {
    if from.iter().any(|word| word == "all") {
        return Ok(cluster.primaries().filter(|member| member.id() != to).map(share).collect());
    }
    let mut sources: Vec<Share> = Vec::new();
    for text in from {
        let id = primary(cluster, text)?;
        if id == to {
            return Err(Failure::line(format!("{} cannot be source and target", name_of(cluster, id))));
        }
        let member = cluster.members.iter().find(|member| member.id() == id);
        if let Some(member) = member.filter(|_| sources.iter().all(|known| known.id != id)) {
            sources.push(share(member));
        }
    }
    Ok(sources)
}

fn name_of(cluster: &Cluster, id: HexId) -> String {
    cluster.members.iter().find(|member| member.id() == id).map_or(id.to_string(), |member| member.name().to_owned())
}

fn ask_count(output: &mut Output) -> Result<usize, Failure> {
    let answer = ask_word(output, &format!("How many slots (1 to {SLOTS_COUNT})?"))?;
    let slots = answer.parse().ok().filter(|slots| (1..=SLOTS_COUNT).contains(slots));
    slots.ok_or_else(|| Failure::line(format!("'{answer}' is no number of slots")))
}

fn ask_word(output: &mut Output, question: &str) -> Result<String, Failure> {
    let answer = output.question(question).unwrap_or_default();
    match answer.as_str() {
        "" => Err(Failure::line("no answer: nothing was changed")),
        _ => Ok(answer),
    }
}
