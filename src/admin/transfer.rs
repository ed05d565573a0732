//! Moves slots: as a whole where both nodes can (`whole`), else key by key, with the commands that every version of Redis Cluster
//! has: CLUSTER SETSLOT and MIGRATE.
//!
//! ```text
//! target  SETSLOT n IMPORTING source      from now on who is sent there with ASK is served
//! source  SETSLOT n MIGRATING target      and for keys that are not here it sends them
//! source  GETKEYSINSLOT n, MIGRATE ...    until there is none left
//! target  SETSLOT n NODE target           first, so that the slot always has somebody who serves it
//! source, then all other primaries        SETSLOT n NODE target
//! ```
//!
//! Several slots are under way at once, and are opened and closed together. A source that stands still while it sends keys, as
//! redis-server does, is given one MIGRATE at a time; one that does not, several.
//! All of it runs in one thread: requests go out to all, then their replies are read. When something goes wrong nothing new is begun; slots that are under way stay open, which `fix` closes.
//!
//! Called by `reshard` and `fix`, which say what is to move.

mod whole;

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::Failure;
use super::arguments::{Moving, Settings};
use super::client::{Client, HostPort, Trouble};
use super::members::{Cluster, Member};
use super::output::{Output, count, duration};
use super::reply::Reply;
use super::shares::Move;
use crate::base::hex::HexId;
use crate::base::slot::Slot;

/// Slots of one source under way at once, where it serves others meanwhile, and where it does not.
const LANES_OF_SLOTCORE: usize = 16;
const LANES_OF_OTHERS: usize = 8;
/// Longer than MIGRATE may take for the keys of one request, beyond its own time limit.
const MIGRATE_SLACK: std::time::Duration = std::time::Duration::from_secs(30);
/// What a source that has become a replica says: it has given its last slot away.
const IS_REPLICA: &str = "ERR Please use SETSLOT only with masters.";
/// Of DEBUG DIGEST-VALUE for a key that is not there.
const NO_DIGEST: &[u8] = b"0000000000000000000000000000000000000000";

/// What has been moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub slots: usize,
    pub keys: u64,
}

/// The primaries that know what moves, as places to connect to.
pub struct Ground<'c> {
    settings: &'c Settings,
    moving: &'c Moving,
    primaries: Vec<Place>,
    /// Connections to sources that no lane uses.
    spare: Vec<(HexId, Client)>,
}

/// A primary: its id, where it is, whether it goes on serving while it sends keys, and whether it moves slots as a whole.
struct Place {
    id: HexId,
    address: HostPort,
    /// For slot states; the lanes have connections of their own.
    client: Client,
    serves_meanwhile: bool,
    moves_whole: bool,
}

/// A slot under way.
struct Lane {
    step: Move,
    source: Client,
    /// Keys whose MIGRATE was sent.
    sent: Vec<Vec<u8>>,
}

/// How far all of it is, as the user sees it.
struct Progress {
    begun: Instant,
    slots_total: usize,
    keys_total: u64,
    moved: Moved,
    /// Sent by slots that have moved as a whole; nobody counts those of MIGRATE.
    bytes: u64,
}

impl<'c> Ground<'c> {
    /// Connects to all primaries of the cluster.
    ///
    /// # Errors
    /// One does not answer.
    pub fn new(cluster: &Cluster, settings: &'c Settings, moving: &'c Moving) -> Result<Ground<'c>, Failure> {
        let mut primaries = Vec::new();
        for member in cluster.primaries() {
            primaries.push(Place::new(member, settings)?);
        }
        Ok(Ground { settings, moving, primaries, spare: Vec::new() })
    }

    fn place(&mut self, id: HexId) -> Result<&mut Place, Failure> {
        let place = self.primaries.iter_mut().find(|place| place.id == id);
        place.ok_or_else(|| Failure::line(format!("the primary {id} is not there any more")))
    }

    /// Moves these slots with all their keys. The states of slots are set on the way.
    ///
    /// # Errors
    /// What went wrong first, and which slots are half moved.
    pub fn move_slots(&mut self, moves: &[Move], output: &mut Output) -> Result<Moved, Failure> {
        let counts = self.count_keys(moves)?;
        let keys_total = counts.values().fold(0u64, |sum, keys| sum.saturating_add(*keys));
        let mut progress =
            Progress { begun: Instant::now(), slots_total: moves.len(), keys_total, moved: Moved::default(), bytes: 0 };
        let (whole, single): (Vec<Move>, Vec<Move>) = moves.iter().partition(|step| self.can_move_whole(step));
        let what = format!("{} with {}", count(moves.len(), "slot"), keys(keys_total));
        output.begin(&match (whole.len(), single.len()) {
            (_, 0) => format!("Moving {what}, each slot at one moment"),
            (0, _) => format!("Moving {what}, key by key"),
            (whole, single) => format!("Moving {what}: {whole} at one moment each, {single} key by key"),
        });
        if let Err(failure) = self.move_whole(&whole, &counts, &mut progress, output) {
            return Err(half_moved(failure, &[], progress.moved));
        }
        self.move_key_by_key(&single, &mut progress, output)?;
        Ok(progress.moved)
    }

    /// Whether both ends of a move have CLUSTER MIGRATESLOTS, and may use it.
    fn can_move_whole(&self, step: &Move) -> bool {
        let can = |id| self.primaries.iter().any(|place| place.id == id && place.moves_whole);
        !self.moving.key_by_key && can(step.from) && can(step.to)
    }

    fn move_key_by_key(&mut self, moves: &[Move], progress: &mut Progress, output: &mut Output) -> Result<(), Failure> {
        let mut queues = self.queues(moves);
        let mut lanes: Vec<Lane> = Vec::new();
        let mut failure = None;
        loop {
            if failure.is_none() {
                failure = self.fill_lanes(&mut queues, &mut lanes).err();
            }
            if lanes.is_empty() || failure.is_some() {
                break;
            }
            failure = self.round(&mut lanes, progress, output).err();
            progress.show(0, 0, output);
        }
        failure.map_or(Ok(()), |failure| Err(half_moved(failure, &lanes, progress.moved)))
    }

    /// The slots that go from each source, in their order.
    fn queues(&self, moves: &[Move]) -> Vec<(HexId, usize, VecDeque<Move>)> {
        let of = |place: &Place| {
            let own: VecDeque<Move> = moves.iter().filter(|step| step.from == place.id).copied().collect();
            (place.id, if place.serves_meanwhile { LANES_OF_SLOTCORE } else { LANES_OF_OTHERS }, own)
        };
        self.primaries.iter().map(of).filter(|(_, _, own)| !own.is_empty()).collect()
    }

    /// How many keys each of the slots has now.
    fn count_keys(&mut self, moves: &[Move]) -> Result<HashMap<Slot, u64>, Failure> {
        let mut counts = HashMap::new();
        for place in &mut self.primaries {
            let own: Vec<Slot> = moves.iter().filter(|step| step.from == place.id).map(|step| step.slot).collect();
            let questions: Vec<Vec<String>> = own.iter().map(|slot| question("COUNTKEYSINSLOT", *slot)).collect();
            let replies = place.client.ask_all(&questions)?;
            counts.extend(own.into_iter().zip(replies.iter().map(integer)));
        }
        Ok(counts)
    }

    /// Begins slots while there are lanes for them: all targets are told first, then all sources.
    fn fill_lanes(
        &mut self,
        queues: &mut [(HexId, usize, VecDeque<Move>)],
        lanes: &mut Vec<Lane>,
    ) -> Result<(), Failure> {
        let mut steps: Vec<Move> = Vec::new();
        for (source, width, queue) in queues {
            let used = lanes.iter().filter(|lane| lane.step.from == *source).count();
            steps.extend(queue.drain(..queue.len().min(width.saturating_sub(used))));
        }
        let importing = steps.iter().map(|step| (step.to, set_slot(step.slot, "IMPORTING", step.from)));
        self.order_all(&importing.collect::<Vec<_>>())?;
        for step in &steps {
            lanes.push(self.lane(*step)?);
        }
        let migrating = steps.iter().map(|step| (step.from, set_slot(step.slot, "MIGRATING", step.to)));
        self.order_all(&migrating.collect::<Vec<_>>())
    }

    /// Sends orders to primaries, all of them before the first reply is read.
    fn order_all(&mut self, orders: &[(HexId, Vec<String>)]) -> Result<(), Failure> {
        self.order_and_pass_over(orders, |_| false)
    }

    /// As `order_all`; some refusals do not matter.
    fn order_and_pass_over(
        &mut self,
        orders: &[(HexId, Vec<String>)],
        does_not_matter: impl Fn(&str) -> bool,
    ) -> Result<(), Failure> {
        for (id, words) in orders {
            let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
            self.place(*id)?.client.send_words(&words)?;
        }
        // All replies are read, whatever one of them says: the connections are used again.
        let mut failure = None;
        for (id, words) in orders {
            match self.place(*id)?.client.receive_reply(&words.join(" ")) {
                Err(trouble) if trouble.reply().is_some_and(&does_not_matter) => {}
                Err(trouble) => failure = failure.or(Some(trouble)),
                Ok(_) => {}
            }
        }
        failure.map_or(Ok(()), |trouble| Err(trouble.into()))
    }

    fn lane(&mut self, step: Move) -> Result<Lane, Failure> {
        if let Some(at) = self.spare.iter().position(|(id, _)| *id == step.from) {
            let (_, source) = self.spare.swap_remove(at);
            return Ok(Lane { step, source, sent: Vec::new() });
        }
        let (settings, timeout) = (self.settings, self.moving.timeout);
        let mut source = Client::connect(&self.place(step.from)?.address, &settings.credentials)?;
        source.wait_for_replies(timeout + MIGRATE_SLACK);
        Ok(Lane { step, source, sent: Vec::new() })
    }

    /// The next keys of each lane, and their move. Lanes without keys are closed.
    fn round(&mut self, lanes: &mut Vec<Lane>, progress: &mut Progress, output: &mut Output) -> Result<(), Failure> {
        let pipeline = self.moving.pipeline.to_string();
        for lane in lanes.iter_mut() {
            let slot = lane.step.slot.to_string();
            lane.source.send_words(&[b"CLUSTER", b"GETKEYSINSLOT", slot.as_bytes(), pipeline.as_bytes()])?;
        }
        for lane in lanes.iter_mut() {
            lane.sent = key_names(lane.source.receive_reply("CLUSTER GETKEYSINSLOT")?);
        }
        let (full, empty): (Vec<Lane>, Vec<Lane>) =
            std::mem::take(lanes).into_iter().partition(|lane| !lane.sent.is_empty());
        *lanes = full;
        let moved = self.move_keys_of(lanes, progress, output);
        // Also where something went wrong: these are through.
        let closed = self.close(&empty.iter().map(|lane| lane.step).collect::<Vec<_>>());
        match closed {
            Ok(()) => {
                progress.moved.slots += empty.len();
                self.spare.extend(empty.into_iter().map(|lane| (lane.step.from, lane.source)));
            }
            Err(_) => lanes.extend(empty),
        }
        moved.and(closed)
    }

    /// One MIGRATE in each lane: of a source that stands still meanwhile one at a time, of others all at once.
    fn move_keys_of(
        &mut self,
        lanes: &mut [Lane],
        progress: &mut Progress,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let goes_on: Vec<HexId> =
            self.primaries.iter().filter(|place| place.serves_meanwhile).map(|place| place.id).collect();
        let is_one_by_one = |lane: &Lane| !goes_on.contains(&lane.step.from);
        for lane in lanes.iter_mut().filter(|lane| !is_one_by_one(lane)) {
            self.send_keys(lane, false)?;
        }
        // All replies are read, whatever one of them says.
        let mut failure = None;
        for lane in lanes.iter_mut() {
            let sent = if is_one_by_one(lane) { self.send_keys(lane, false) } else { Ok(()) };
            let outcome = sent.and_then(|()| match lane.source.receive_reply("MIGRATE") {
                Err(trouble) if is_busy(&trouble) => self.replace(lane, output),
                Err(trouble) => Err(trouble.into()),
                Ok(_) => Ok(()),
            });
            match outcome {
                Ok(()) => progress.moved.keys += lane.sent.len() as u64,
                Err(error) => failure = failure.or(Some(error)),
            }
            lane.sent.clear();
        }
        failure.map_or(Ok(()), Err)
    }

    fn send_keys(&mut self, lane: &mut Lane, replace: bool) -> Result<(), Failure> {
        let target = self.place(lane.step.to)?.address.clone();
        let words = migrate_words(&target, lane.sent.iter(), replace, self.moving, self.settings);
        Ok(lane.source.send_words(&slices(&words))?)
    }

    /// Keys of this request are at the target already: where the values are the same, or it was said so, they are replaced.
    fn replace(&mut self, lane: &mut Lane, output: &mut Output) -> Result<(), Failure> {
        let keys = lane.sent.clone();
        if !self.moving.replace {
            self.must_be_the_same(&lane.step, &keys)?;
        }
        output.warning(&format!("slot {}: keys that are at the target already are replaced", lane.step.slot));
        self.send_keys(lane, true)?;
        lane.source.receive_reply("MIGRATE")?;
        Ok(())
    }

    /// Both sides say of which value each key is.
    fn must_be_the_same(&mut self, step: &Move, keys: &[Vec<u8>]) -> Result<(), Failure> {
        let mut words: Vec<&[u8]> = vec![b"DEBUG", b"DIGEST-VALUE"];
        words.extend(keys.iter().map(Vec::as_slice));
        let mut digests = Vec::new();
        for id in [step.from, step.to] {
            let place = self.place(id)?;
            place.client.send_words(&words)?;
            digests.push(match place.client.receive_reply("DEBUG DIGEST-VALUE") {
                Ok(Reply::Array(items)) => items,
                Ok(_) => Vec::new(),
                Err(trouble) => {
                    let line = format!(
                        "{trouble}; without it values cannot be compared: look at them, then add --cluster-replace"
                    );
                    return Err(Failure::line(line));
                }
            });
        }
        let [here, there] = digests.as_slice() else { return Ok(()) };
        let pairs = keys.iter().zip(here.iter().zip(there));
        let different = pairs.filter(|(_, (here, there))| {
            here.bytes() != there.bytes() && here.bytes() != NO_DIGEST && there.bytes() != NO_DIGEST
        });
        let names: Vec<String> = different.map(|(key, _)| format!("'{}'", key.escape_ascii())).collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(Failure::line(format!(
            "slot {}: keys with other values on both sides: {}; remove the wrong ones, or add --cluster-replace to keep the source's",
            step.slot,
            names.join(", ")
        )))
    }

    /// All keys of these are there: the slots are the targets'. They are told first.
    fn close(&mut self, steps: &[Move]) -> Result<(), Failure> {
        let owners = steps.iter().map(|step| (step.to, set_slot(step.slot, "NODE", step.to)));
        self.order_all(&owners.collect::<Vec<_>>())?;
        let ids: Vec<HexId> = self.primaries.iter().map(|place| place.id).collect();
        let mut others = Vec::new();
        for step in steps {
            // The source before those who only look on.
            let told = std::iter::once(step.from).chain(ids.iter().copied().filter(|id| *id != step.from));
            let told = told.filter(|id| *id != step.to);
            others.extend(told.map(|id| (id, set_slot(step.slot, "NODE", step.to))));
        }
        // A replica by now has given its last slot away. Of a target it would mean that another has taken over, who gets the slots by
        // `fix`: those that look on must not give them to the old one.
        self.order_and_pass_over(&others, |reply| reply == IS_REPLICA)
    }

    // ---- for `fix` ---------------------------------------------------------------------------------------------------

    /// Moves the keys of a slot without changing who serves it.
    ///
    /// # Errors
    /// As `move_slots`.
    pub fn move_keys(&mut self, step: Move, output: &mut Output) -> Result<u64, Failure> {
        let mut lane = self.lane(step)?;
        let (slot, pipeline) = (step.slot.to_string(), self.moving.pipeline.to_string());
        let mut keys = 0;
        loop {
            lane.sent = key_names(lane.source.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, &pipeline])?);
            if lane.sent.is_empty() {
                return Ok(keys);
            }
            self.send_keys(&mut lane, false)?;
            match lane.source.receive_reply("MIGRATE") {
                Err(trouble) if is_busy(&trouble) => self.replace(&mut lane, output)?,
                other => drop(other?),
            }
            keys += lane.sent.len() as u64;
        }
    }

    /// Sends an order about a slot to a primary.
    ///
    /// # Errors
    /// It is gone or refuses.
    pub fn order(&mut self, id: HexId, words: &[&str]) -> Result<Reply, Failure> {
        Ok(self.place(id)?.client.ask(words)?)
    }

    /// As `order`, whatever it answers.
    ///
    /// # Errors
    /// It does not answer.
    pub fn suggest(&mut self, id: HexId, words: &[&str]) -> Result<(), Failure> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        Ok(self.place(id)?.client.raw(&words).map(drop)?)
    }

    /// How many keys of a slot a primary has.
    ///
    /// # Errors
    /// It is gone or refuses.
    pub fn keys_of(&mut self, id: HexId, slot: Slot) -> Result<u64, Failure> {
        let reply = self.place(id)?.client.ask(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()])?;
        Ok(integer(&reply))
    }
}

impl Place {
    fn new(member: &Member, settings: &Settings) -> Result<Place, Failure> {
        let at = member.client.address();
        let address = HostPort { host: at.ip().to_canonical().to_string(), port: at.port() };
        let mut client = Client::connect(&address, &settings.credentials)?;
        let serves_meanwhile = match client.raw(&[b"INFO", b"server"])? {
            Reply::Bulk(text) => text.windows(20).any(|line| line == b"server_name:slotcore"),
            _ => false,
        };
        let moves_whole = Place::knows_whole_moves(&mut client)?;
        Ok(Place { id: member.id(), address, client, serves_meanwhile, moves_whole })
    }
}

impl Progress {
    /// With keys and bytes of what is under way and not yet moved.
    fn show(&self, keys_sent: u64, bytes_sent: u64, output: &mut Output) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let (slots, keys) = (self.moved.slots, self.moved.keys + keys_sent);
        let done = match self.keys_total {
            0 => slots as f64 / self.slots_total.max(1) as f64,
            total => (keys as f64 / total as f64).min(1.0),
        };
        let left = if done > 0.0 { format!(", {} left", duration(seconds / done - seconds)) } else { String::new() };
        let bytes = match self.bytes + bytes_sent {
            0 => String::new(),
            bytes => format!(", {:.1} MB", bytes as f64 / 1e6),
        };
        let rate = keys as f64 / seconds.max(0.001);
        output.bar(done, &format!("slots {slots}/{}, keys {keys}{bytes}, {rate:.0} keys/s{left}", self.slots_total));
    }
}

/// Names the slots that are half moved.
fn half_moved(failure: Failure, lanes: &[Lane], moved: Moved) -> Failure {
    let Failure::Failed(mut lines) = failure else { return failure };
    let slots: Vec<String> = lanes.iter().map(|lane| lane.step.slot.to_string()).collect();
    let done = format!("{} were moved before", count(moved.slots, "slot"));
    lines.push(match slots.as_slice() {
        [] => format!("{done}; no slot is half moved"),
        _ => format!("{done}; half moved: {}; 'slotcore cluster fix' finishes that", slots.join(", ")),
    });
    Failure::Failed(lines)
}

fn is_busy(trouble: &Trouble) -> bool {
    trouble.reply().is_some_and(|reply| reply.contains("BUSYKEY"))
}

fn set_slot(slot: Slot, word: &str, id: HexId) -> Vec<String> {
    vec!["CLUSTER".to_owned(), "SETSLOT".to_owned(), slot.to_string(), word.to_owned(), id.to_string()]
}

fn question(name: &str, slot: Slot) -> Vec<String> {
    vec!["CLUSTER".to_owned(), name.to_owned(), slot.to_string()]
}

fn integer(reply: &Reply) -> u64 {
    match reply {
        Reply::Integer(number) => u64::try_from(*number).unwrap_or(0),
        _ => 0,
    }
}

fn key_names(reply: Reply) -> Vec<Vec<u8>> {
    match reply {
        Reply::Array(items) => items.into_iter().map(|item| item.bytes().to_vec()).collect(),
        _ => Vec::new(),
    }
}

fn keys(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "key")
}

fn slices(words: &[Vec<u8>]) -> Vec<&[u8]> {
    words.iter().map(Vec::as_slice).collect()
}

fn migrate_words<'k>(
    target: &HostPort,
    keys: impl Iterator<Item = &'k Vec<u8>>,
    replace: bool,
    moving: &Moving,
    settings: &Settings,
) -> Vec<Vec<u8>> {
    let timeout_ms = moving.timeout.as_millis().to_string();
    let texts = ["MIGRATE", &target.host, &target.port.to_string(), "", "0", &timeout_ms];
    let mut words: Vec<Vec<u8>> = texts.map(|word| word.as_bytes().to_vec()).to_vec();
    if replace {
        words.push(b"REPLACE".to_vec());
    }
    if let Some(password) = &settings.credentials.password {
        match &settings.credentials.user {
            Some(user) => words.extend([b"AUTH2".to_vec(), user.clone(), password.clone()]),
            None => words.extend([b"AUTH".to_vec(), password.clone()]),
        }
    }
    words.push(b"KEYS".to_vec());
    words.extend(keys.cloned());
    words
}
