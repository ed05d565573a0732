//! The mesh: how the cores of one node speak with one another.
//!
//! Between each pair of cores runs a bounded queue in each direction, written by one core and read by the other.
//! During a turn a core gathers what it has for another in an `Envelope`, and the turn sends at most one per
//! destination: cross-core messages are cheap only in batches. Within an envelope, and between envelopes, order is kept; that
//! is what keeps the order of one connection's commands on one slot.
//!
//! A core that waits in its ring has said so in its `Bell`; whoever sends to it then rings. A busy core looks into its queues each
//! turn and needs no bell.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use bytes::Bytes;
use nix::sys::eventfd::{EfdFlags, EventFd};
use rtrb::{Consumer, Producer, PushError, RingBuffer};

use super::batch::{OwnedCall, ReplyBatch, ReplyTarget, RequestBatch};
use super::listen::Accepted;
use super::persistence::append_only::{AppendFile, SwitchKind};
use super::persistence::loading::LoadOrder;
use super::persistence::snapshot::{AtCut, Chunk, Cut};
use super::requests::{ApplyBatch, Arrival, LogMark, MigrationMessage, RelocationMessage};
use crate::base::core_id::CoreId;
use crate::base::slot::SlotSet;
use crate::command::client::{Client, ClientRef};
use crate::command::core::Publication;
use crate::command::execute::Share;
use crate::command::persistence::loading::Reload;
use crate::command::pubsub::Delivery;
use crate::command::slowlog::SlowEntry;
use crate::command::transactions::Exec;

/// Envelopes under way between two cores. A turn sends one, so this is how many turns the sender may be ahead; a full
/// queue holds the envelope back, where it goes on growing, bounded by what clients have sent.
const ENVELOPES_MAX: usize = 256;

/// What one core has for another at the end of a turn.
#[derive(Default)]
pub struct Envelope {
    /// The last cut that the sender has begun when it sends it.
    pub cut: Cut,
    pub replies: ReplyBatch,
    pub messages: Vec<Message>,
}

impl Envelope {
    fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.messages.is_empty()
    }
}

/// Anything but replies, in order.
pub enum Message {
    /// Run these and reply.
    Requests(Box<RequestBatch>),
    /// Do your share of a command and answer with `Share`.
    Part {
        gather: u32,
        call: Box<OwnedCall>,
    },
    Share {
        gather: u32,
        share: Share,
    },
    /// Take this snapshot over and answer with `Published`.
    Publish {
        ticket: u32,
        publication: Publication,
    },
    Published {
        ticket: u32,
    },
    /// A reply that was long in the making (gathered or published first).
    Reply {
        target: ReplyTarget,
        reply: Box<crate::resp::ReplyBuffer>,
    },
    /// Bytes for a client of yours.
    Push {
        to: ClientRef,
        bytes: Bytes,
    },
    /// A line for a monitor among your clients.
    MonitorLine {
        to: ClientRef,
        line: Bytes,
    },
    /// A client of mine has left MONITOR.
    MonitorLeft(ClientRef),
    /// A script that the sender has learnt.
    Script {
        digest: String,
        code: Bytes,
    },
    /// A reply to a client of the receiver was cut off (`Effect::Overran`).
    Overran(ClientRef),
    /// A message for clients of yours.
    Deliver {
        to: Vec<ClientRef>,
        delivery: Delivery,
    },
    /// Run this transaction and reply.
    Exec {
        target: ReplyTarget,
        exec: Box<Exec>,
    },
    /// What a transaction has set on a client of yours.
    ClientChanged(Box<Client>),
    /// My client watches nothing any more; answer with `WatchesEnded` whether its keys on your side are untouched.
    EndWatches {
        ticket: u32,
        client_id: u64,
    },
    WatchesEnded {
        ticket: u32,
        intact: bool,
    },
    /// My client watches nothing any more.
    Unwatch {
        client_id: u64,
    },
    /// My client does not listen to these key prefixes.
    Untrack {
        client: ClientRef,
        prefixes: Vec<Vec<u8>>,
    },
    /// A client of mine has gone: forget what you know of it.
    ClientLeft(ClientRef),
    /// A slow call of a client of yours.
    Slow {
        client: ClientRef,
        entry: Box<SlowEntry>,
    },
    /// Go on with this append-only file.
    AppendTo(Box<AppendFile>),
    /// The next of the append-only files that your bytes wait for.
    AppendFile(Box<AppendFile>),
    /// I have gone on to another append-only file: make it.
    AppendSwitched(SwitchKind),
    /// The append-only files have another base.
    AppendRebased,
    /// My append-only file has so many bytes, now and at the last rewrite.
    AppendSize {
        size_bytes: u64,
        base_bytes: u64,
    },
    /// Answer with `Durable` when all that you have recorded so far is on the disk.
    AwaitDurable {
        ticket: u32,
    },
    Durable {
        ticket: u32,
        has_file: bool,
    },
    /// My append-only file cannot be written, for this reason, or can be again.
    AppendFailure(Option<String>),
    /// A client of mine waits for data to be loaded again.
    Reload {
        target: ReplyTarget,
        order: Reload,
    },
    /// Say when your journal is written.
    WriteJournal,
    JournalWritten,
    /// Load your part of files.
    Load(Box<LoadOrder>),
    /// My part is loaded; in cluster mode these slots have keys.
    Loaded {
        slots: Option<Box<SlotSet>>,
    },
    /// I have recorded this, for the log.
    Feed(Vec<u8>),
    /// I have flushed: what I record from now on comes behind it.
    FlushPassed,
    /// Send what you have recorded, and this behind it.
    MarkLog(LogMark),
    LogMarked(LogMark),
    /// Tell all cores that you send them no more writes, for the hold of this number.
    StopWrites(u64),
    WritesStopped(u64),
    /// No core sends me writes any more, and you have what I have recorded.
    StandsStill(u64),
    /// So many replicas have what your client has written.
    ReplicasHave {
        client_id: u64,
        count: usize,
    },
    /// A client of mine wants to be a replica: it is yours.
    ReplicaArrives(Box<Arrival>),
    /// I have begun a cut, as the envelope says: so do you.
    Cut,
    /// I have begun a cut, too.
    CutBegun {
        number: u64,
        at_cut: AtCut,
    },
    /// What you have for clients may go: all cores have begun this cut, or it is called off.
    ReleaseOutput {
        number: u64,
    },
    /// My next piece of a snapshot.
    SnapshotChunk(Box<Chunk>),
    /// This of yours is written: have the buffer again.
    ChunkWritten {
        number: u64,
        buffer: Vec<u8>,
    },
    /// Clear this snapshot away: nobody wants it any more.
    AbandonSnapshot {
        number: u64,
    },
    // Replica side.
    /// Apply this of the primary's stream and answer with `Applied`.
    Apply(Box<ApplyBatch>),
    /// I have applied what I was sent up to this place of the history; so many bytes of the stream were in it.
    Applied {
        place: u64,
        bytes: u64,
    },
    /// Forget all keys: what you have loaded is damaged elsewhere.
    Empty,
    // Cluster.
    /// A client of mine has published this: tell the other nodes.
    Broadcast {
        channel: Bytes,
        message: Bytes,
        is_sharded: bool,
    },
    /// I stood still for so long that I believe no view any more that I have from before.
    StoodStill,
    /// These slots are another node's: drop their keys.
    DropSlots(Box<SlotSet>),
    /// About slots on their way to another node, or from one.
    Migration(Box<MigrationMessage>),
    /// About slots that change their core.
    Relocation(Box<RelocationMessage>),
    /// You are asked to free memory: the end of your turn sees to it.
    FreeMemory,
    /// A connection for you to serve.
    Connection(Box<Accepted>),
    /// End.
    Stop,
}

/// Wakes a core that waits: it sees `eventfd` through a poll of its client ring.
pub struct Bell {
    eventfd: EventFd,
    /// Whether the core waits, or is about to, and nobody has rung.
    is_waiting: AtomicBool,
}

impl Bell {
    fn new() -> std::io::Result<Bell> {
        let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Bell { eventfd, is_waiting: AtomicBool::new(false) })
    }

    fn ring_if_waiting(&self) {
        // Pairs with the fence in `Mesh::begin_wait`: either we see the flag, or the waiter sees our envelope.
        fence(Ordering::SeqCst);
        if self.is_waiting.load(Ordering::Relaxed) && self.is_waiting.swap(false, Ordering::Relaxed) {
            // A write fails only when the counter is at its end, and then it is ringing.
            let _ = self.eventfd.write(1);
        }
    }
}

/// The bells of all cores, for whoever has work for them and is no core.
#[derive(Clone)]
pub struct Bells(Arc<[Bell]>);

impl Bells {
    /// Wakes a core, if it waits, to look for what was left for it before this call.
    pub fn ring(&self, core: CoreId) {
        self.0[core.index()].ring_if_waiting();
    }
}

/// Rings a core's bell from a thread that is no core.
pub struct BellPull {
    bells: Arc<[Bell]>,
    core: CoreId,
}

impl BellPull {
    /// Wakes the core: if it does not wait yet, as soon as it does.
    pub fn ring(&self) {
        let bell = &self.bells[self.core.index()];
        fence(Ordering::SeqCst);
        bell.is_waiting.store(false, Ordering::Relaxed);
        // A core that is awake does not look into the ringer's queue before it waits, unlike into the mesh: it is
        // rung for all the same. A write fails only when the counter is at its end, and then it is ringing.
        let _ = bell.eventfd.write(1);
    }
}

/// One core's end of the mesh.
pub struct Mesh {
    me: CoreId,
    /// The last cut that this core has begun.
    cut: Cut,
    to: Vec<Option<Producer<Envelope>>>,
    from: Vec<Option<Consumer<Envelope>>>,
    outgoing: Vec<Envelope>,
    bells: Arc<[Bell]>,
}

impl Mesh {
    /// The ends of a full mesh between `count` cores, by core.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn build(count: usize) -> std::io::Result<Vec<Mesh>> {
        let bells: Arc<[Bell]> = (0..count).map(|_| Bell::new()).collect::<Result<Vec<_>, _>>()?.into();
        let mut ends: Vec<Mesh> = (0..count)
            .map(|index| Mesh {
                me: CoreId::new(index),
                cut: Cut::default(),
                to: (0..count).map(|_| None).collect(),
                from: (0..count).map(|_| None).collect(),
                outgoing: (0..count).map(|_| Envelope::default()).collect(),
                bells: bells.clone(),
            })
            .collect();
        for source in 0..count {
            for target in (0..count).filter(|target| *target != source) {
                let (producer, consumer) = RingBuffer::new(ENVELOPES_MAX);
                ends[source].to[target] = Some(producer);
                ends[target].from[source] = Some(consumer);
            }
        }
        Ok(ends)
    }

    pub fn bells(&self) -> Bells {
        Bells(self.bells.clone())
    }

    /// The last cut that this core has begun.
    #[inline]
    pub fn cut(&self) -> Cut {
        self.cut
    }

    /// From now on envelopes say that this core has begun the cut.
    pub fn begin_cut(&mut self, cut: Cut) {
        assert!(cut.number > self.cut.number, "cuts come in order");
        self.cut = cut;
    }

    /// For a thread that works for this core.
    pub fn bell_pull(&self) -> BellPull {
        BellPull { bells: self.bells.clone(), core: self.me }
    }

    /// The descriptor of this core's bell, to be watched by its client ring.
    pub fn bell_descriptor(&self) -> RawFd {
        self.bells[self.me.index()].eventfd.as_raw_fd()
    }

    /// The other cores.
    pub fn others(&self) -> impl Iterator<Item = CoreId> + use<> {
        let me = self.me;
        (0..self.to.len()).map(CoreId::new).filter(move |core| *core != me)
    }

    /// Where requests for `core` are appended.
    pub fn requests_to(&mut self, core: CoreId) -> &mut RequestBatch {
        let messages = &mut self.outgoing[core.index()].messages;
        if !matches!(messages.last(), Some(Message::Requests(batch)) if batch.has_room()) {
            messages.push(Message::Requests(Box::default()));
        }
        match messages.last_mut() {
            Some(Message::Requests(batch)) => batch,
            _ => unreachable!("just pushed"),
        }
    }

    /// Where replies for the clients of `core` are appended.
    pub fn replies_to(&mut self, core: CoreId) -> &mut ReplyBatch {
        &mut self.outgoing[core.index()].replies
    }

    pub fn send(&mut self, core: CoreId, message: Message) {
        assert!(core != self.me, "a core does not write to itself");
        self.outgoing[core.index()].messages.push(message);
    }

    /// Hands over what has gathered, one envelope per destination. Says whether anything had to stay behind.
    pub fn flush(&mut self) -> bool {
        let mut held_back = false;
        for (index, envelope) in self.outgoing.iter_mut().enumerate() {
            if envelope.is_empty() {
                continue;
            }
            let Some(queue) = self.to[index].as_mut() else { continue };
            envelope.cut = self.cut;
            match queue.push(std::mem::take(envelope)) {
                Ok(()) => self.bells[index].ring_if_waiting(),
                Err(PushError::Full(back)) => {
                    *envelope = back;
                    held_back = true;
                }
            }
        }
        held_back
    }

    /// The next envelope of any other core.
    pub fn receive(&mut self) -> Option<(CoreId, Envelope)> {
        self.from.iter_mut().enumerate().find_map(|(index, queue)| {
            let envelope = queue.as_mut()?.pop().ok()?;
            Some((CoreId::new(index), envelope))
        })
    }

    /// Says that this core is about to wait. False when something has come meanwhile: do not wait.
    pub fn begin_wait(&mut self) -> bool {
        let bell = &self.bells[self.me.index()];
        bell.is_waiting.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let quiet = self.from.iter().flatten().all(|queue| queue.is_empty());
        if !quiet {
            bell.is_waiting.store(false, Ordering::Relaxed);
        }
        quiet
    }

    /// This core is awake and looks into its queues by itself.
    pub fn end_wait(&mut self) {
        self.bells[self.me.index()].is_waiting.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(envelope: Envelope) -> Vec<Bytes> {
        envelope
            .messages
            .into_iter()
            .filter_map(|m| if let Message::Push { bytes, .. } = m { Some(bytes) } else { None })
            .collect()
    }

    #[test]
    fn an_envelope_carries_a_turns_messages_in_order() {
        let mut ends = Mesh::build(2).unwrap();
        let mut second = ends.pop().unwrap();
        let mut first = ends.pop().unwrap();
        for text in ["a", "b"] {
            first.send(CoreId::new(1), Message::Push { to: ClientRef::default(), bytes: Bytes::from(text) });
        }
        assert!(!first.flush());
        let (from, envelope) = second.receive().unwrap();
        assert_eq!(from, CoreId::FIRST);
        assert_eq!(pushed(envelope), ["a", "b"]);
        assert!(second.receive().is_none());
    }

    #[test]
    fn a_full_queue_holds_the_envelope_back_and_loses_nothing() {
        let mut ends = Mesh::build(2).unwrap();
        let mut second = ends.pop().unwrap();
        let mut first = ends.pop().unwrap();
        let sent = ENVELOPES_MAX + 10;
        let mut held = false;
        for number in 0..sent {
            first.send(
                CoreId::new(1),
                Message::Push { to: ClientRef::default(), bytes: Bytes::from(number.to_string()) },
            );
            held = first.flush();
        }
        assert!(held);
        let mut received = Vec::new();
        while let Some((_, envelope)) = second.receive() {
            received.extend(pushed(envelope));
            first.flush();
        }
        assert_eq!(received, (0..sent).map(|n| Bytes::from(n.to_string())).collect::<Vec<_>>());
    }

    #[test]
    fn who_waits_is_told_of_what_came_before() {
        let mut ends = Mesh::build(2).unwrap();
        let mut second = ends.pop().unwrap();
        let mut first = ends.pop().unwrap();
        assert!(second.begin_wait());
        first.send(CoreId::new(1), Message::Stop);
        first.flush();
        assert_eq!(second.bells[1].eventfd.read().unwrap(), 1);
        assert!(!second.begin_wait());
    }
}
