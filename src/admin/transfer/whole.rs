//! Moves slots as a whole, with CLUSTER MIGRATESLOTS, where both sides have it: slotcore nodes, and Valkey nodes from version 9 on.
//!
//! ```text
//! source  MIGRATESLOTS SLOTSRANGE a b ... NODE target    begins a job
//! source  GETSLOTMIGRATIONS                              again and again, until the job is over
//! ```
//!
//! A job either succeeds or leaves everything as it was. Each source has one under way; the slots that go to one target are split
//! into jobs of [`JOB_SLOTS`], so that what a failure throws away, and the moment at which writes wait, have an upper limit.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::super::Failure;
use super::super::output::Output;
use super::super::reply::Reply;
use super::super::shares::Move;
use super::{Ground, Place, Progress};
use crate::base::hex::HexId;
use crate::base::slot::{Slot, SlotSet};

/// Slots of one job at most.
const JOB_SLOTS: usize = 256;
/// Between two questions how far a job is.
const INTERVAL: Duration = Duration::from_millis(50);

/// Slots that go to one target at one moment.
struct Batch {
    to: HexId,
    slots: Vec<Slot>,
}

/// What a source has to do.
struct Queue {
    source: HexId,
    waiting: VecDeque<Batch>,
    under_way: Option<Batch>,
}

/// What GETSLOTMIGRATIONS says of a job.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    state: Vec<u8>,
    message: String,
    /// None where the node does not count them.
    sent_keys: Option<u64>,
    sent_bytes: u64,
}

impl Ground<'_> {
    /// Moves these slots, all of whose nodes can do it. `counts`: how many keys each has.
    ///
    /// # Errors
    /// What went wrong first. Then no further job is begun, and those under way come to their end.
    pub(super) fn move_whole(
        &mut self,
        moves: &[Move],
        counts: &HashMap<Slot, u64>,
        progress: &mut Progress,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let mut queues = queues(moves);
        let mut failure = None;
        loop {
            let (mut is_idle, mut has_news) = (true, false);
            // What the jobs under way have sent counts while they may still succeed.
            let (mut keys, mut bytes) = (0, 0);
            for queue in &mut queues {
                if queue.under_way.is_none() && failure.is_none() {
                    failure = self.begin_job(queue).err();
                }
                let Some(batch) = &queue.under_way else { continue };
                is_idle = false;
                let report = self.look_at_job(queue.source, batch);
                has_news |= report.as_ref().is_ok_and(Report::is_over);
                match report {
                    Ok(report) if report.state == b"success" => {
                        progress.moved.slots += batch.slots.len();
                        // Valkey does not say.
                        let counted = || batch.slots.iter().filter_map(|slot| counts.get(slot)).sum();
                        progress.moved.keys += report.sent_keys.unwrap_or_else(counted);
                        progress.bytes += report.sent_bytes;
                        queue.under_way = None;
                    }
                    Ok(report) if report.is_over() => {
                        let told = self.job_failure(queue.source, batch, &report);
                        failure = failure.or(Some(told));
                        queue.under_way = None;
                    }
                    Ok(report) => {
                        keys += report.sent_keys.unwrap_or(0);
                        bytes += report.sent_bytes;
                    }
                    Err(trouble) => {
                        failure = failure.or(Some(trouble));
                        queue.under_way = None;
                    }
                }
            }
            progress.show(keys, bytes, output);
            if is_idle {
                return failure.map_or(Ok(()), Err);
            }
            if !has_news {
                std::thread::sleep(INTERVAL);
            }
        }
    }

    fn begin_job(&mut self, queue: &mut Queue) -> Result<(), Failure> {
        let Some(batch) = queue.waiting.pop_front() else { return Ok(()) };
        let target = batch.to.to_string();
        let numbers: Vec<[String; 2]> =
            ranges(&batch.slots).iter().map(|(first, last)| [first, last].map(Slot::to_string)).collect();
        let mut words = vec!["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE"];
        words.extend(numbers.iter().flatten().map(String::as_str));
        words.extend(["NODE", &target]);
        self.place(queue.source)?.client.ask(&words)?;
        queue.under_way = Some(batch);
        Ok(())
    }

    fn look_at_job(&mut self, source: HexId, batch: &Batch) -> Result<Report, Failure> {
        let place = self.place(source)?;
        let reply = place.client.ask(&["CLUSTER", "GETSLOTMIGRATIONS"])?;
        let report = find_report(&reply, "EXPORT", batch);
        report.ok_or_else(|| Failure::line(format!("{} knows nothing of the move that it began", place.address)))
    }

    /// The target is asked as well: often it alone knows.
    fn job_failure(&mut self, source: HexId, batch: &Batch, report: &Report) -> Failure {
        let name = |id: HexId| {
            let place = self.primaries.iter().find(|place| place.id == id);
            place.map_or(id.to_string(), |place| place.address.to_string())
        };
        let (from, to) = (name(source), name(batch.to));
        let ranges = ranges_text(&batch.slots, ", ");
        let mut lines = vec![format!("{from} could not give the slots {ranges} to {to}: {}", report.reason())];
        let answer = self.place(batch.to).and_then(|place| Ok(place.client.ask(&["CLUSTER", "GETSLOTMIGRATIONS"])?));
        if let Some(report) = answer.ok().and_then(|reply| find_report(&reply, "IMPORT", batch)) {
            lines.push(format!("{to} says of it: {}", report.reason()));
        }
        lines.push(format!("they are {from}'s as before; --cluster-key-by-key is another way"));
        Failure::Failed(lines)
    }
}

impl Place {
    /// Whether it has CLUSTER MIGRATESLOTS.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) fn knows_whole_moves(client: &mut super::Client) -> Result<bool, Failure> {
        let reply = client.raw(&[b"COMMAND", b"INFO", b"CLUSTER|MIGRATESLOTS"])?;
        Ok(matches!(reply, Reply::Array(items) if items.iter().any(|item| matches!(item, Reply::Array(_)))))
    }
}

impl Report {
    /// Why it is over: its message, or if there is none, its state.
    fn reason(&self) -> String {
        if self.message.is_empty() { String::from_utf8_lossy(&self.state).into_owned() } else { self.message.clone() }
    }

    fn is_over(&self) -> bool {
        matches!(self.state.as_slice(), b"success" | b"failed" | b"cancelled" | b"canceled")
    }
}

/// The latest job for these slots, of this kind: the list begins with it.
fn find_report(reply: &Reply, operation: &str, batch: &Batch) -> Option<Report> {
    let Reply::Array(jobs) = reply else { return None };
    let wanted = ranges_text(&batch.slots, " ");
    jobs.iter().find_map(|job| {
        let Reply::Array(fields) = job else { return None };
        let field = |name: &str| {
            let (pairs, _) = fields.as_chunks::<2>();
            pairs.iter().find(|[key, _]| key.bytes() == name.as_bytes()).map(|[_, value]| value)
        };
        let text = |name: &str| field(name).map(Reply::text).unwrap_or_default();
        let is_it = text("operation") == operation
            && text("slot_ranges") == wanted
            && text("target_node") == batch.to.to_string();
        is_it.then(|| Report {
            state: text("state").into_bytes(),
            message: text("message"),
            sent_keys: field("sent_keys").map(super::integer),
            sent_bytes: field("sent_bytes").map_or(0, super::integer),
        })
    })
}

fn queues(moves: &[Move]) -> Vec<Queue> {
    let mut queues: Vec<Queue> = Vec::new();
    for step in moves {
        let at = queues.iter().position(|queue| queue.source == step.from).unwrap_or_else(|| {
            queues.push(Queue { source: step.from, waiting: VecDeque::new(), under_way: None });
            queues.len() - 1
        });
        let waiting = &mut queues[at].waiting;
        match waiting.iter_mut().find(|batch| batch.to == step.to && batch.slots.len() < JOB_SLOTS) {
            Some(batch) => batch.slots.push(step.slot),
            None => waiting.push_back(Batch { to: step.to, slots: vec![step.slot] }),
        }
    }
    queues
}

fn ranges(slots: &[Slot]) -> Vec<(Slot, Slot)> {
    slots.iter().copied().collect::<SlotSet>().ranges().collect()
}

/// As GETSLOTMIGRATIONS writes them.
fn ranges_text(slots: &[Slot], between: &str) -> String {
    let texts: Vec<String> = ranges(slots).iter().map(|(first, last)| format!("{first}-{last}")).collect();
    texts.join(between)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    fn ids<const N: usize>() -> [HexId; N] {
        let mut random = Random::new(7);
        std::array::from_fn(|_| HexId::random(&mut random))
    }

    #[test]
    fn slots_of_one_source_go_in_jobs_of_limited_size() {
        let [a, b, c] = ids();
        let step = |from, to, number| Move { slot: Slot::new(number), from, to };
        let mut moves: Vec<Move> =
            (0..600).map(|number| step(a, if number % 3 == 0 { b } else { c }, number)).collect();
        moves.push(step(b, c, 9000));
        let queues = queues(&moves);
        let shape: Vec<(HexId, Vec<(HexId, usize)>)> = queues
            .iter()
            .map(|queue| (queue.source, queue.waiting.iter().map(|batch| (batch.to, batch.slots.len())).collect()))
            .collect();
        assert_eq!(shape, [(a, vec![(b, 200), (c, 256), (c, 144)]), (b, vec![(c, 1)])]);
    }

    #[test]
    fn the_latest_job_of_these_slots_is_found() {
        let [target, other] = ids();
        let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
        let job = |operation: &str, ranges: &str, target: HexId, state: &str| {
            let texts =
                [("operation", operation), ("slot_ranges", ranges), ("target_node", target.as_str()), ("state", state)];
            let mut fields: Vec<Reply> = texts.iter().flat_map(|(name, value)| [bulk(name), bulk(value)]).collect();
            fields.extend([bulk("sent_keys"), Reply::Integer(5)]);
            Reply::Array(fields)
        };
        let batch = Batch { to: target, slots: [3, 1, 2, 9].map(Slot::new).to_vec() };
        let reply = Reply::Array(vec![
            job("IMPORT", "1-3 9-9", target, "failed"),
            job("EXPORT", "1-3 9-9", other, "failed"),
            job("EXPORT", "1-3", target, "failed"),
            job("EXPORT", "1-3 9-9", target, "snapshotting"),
            job("EXPORT", "1-3 9-9", target, "failed"),
        ]);
        let report = find_report(&reply, "EXPORT", &batch).expect("it is there");
        assert_eq!(
            (report.state.as_slice(), report.sent_keys, report.is_over()),
            (&b"snapshotting"[..], Some(5), false)
        );
        assert_eq!(find_report(&Reply::Array(vec![Reply::Nil]), "EXPORT", &batch), None);
    }
}
