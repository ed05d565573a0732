//! How the journal tells of what groups were given: an XCLAIM for each entry, which makes its pending entry what it came to
//! whatever was there before, and XGROUP SETID where a group went on without one.
//!
//! Handlers collect while they have the stream in hand, and record when they have let go of it.

use crate::command::context::Context;
use crate::keyspace::listpack::Digits;
use crate::keyspace::stream::{Group, IdText, Pending, StreamId};

/// Changes of a group that are to be recorded; none while the journal is off.
pub(super) struct Recorded {
    claims: Option<Vec<Claim>>,
    /// The group's place, where no claim tells of it.
    place: Option<Place>,
}

/// A pending entry.
struct Claim {
    id: Vec<u8>,
    consumer: Vec<u8>,
    delivered_ms: i64,
    deliveries: i64,
    last_id: StreamId,
}

/// How far a group has read.
#[derive(Clone, Copy)]
struct Place {
    last_id: StreamId,
    entries_read: Option<i64>,
}

impl Recorded {
    pub(super) fn new(journals: bool) -> Recorded {
        Recorded { claims: journals.then(Vec::new), place: None }
    }

    /// Notes what is known of a pending entry, by its id as the client wrote it.
    pub(super) fn claim(&mut self, id: &[u8], group: &Group, pending: &Pending) {
        let Some(claims) = &mut self.claims else { return };
        claims.push(Claim {
            id: id.to_vec(),
            consumer: group.consumer(pending.consumer).name().to_vec(),
            delivered_ms: pending.delivered_ms,
            deliveries: pending.deliveries,
            last_id: group.last_id,
        });
    }

    /// As [`Recorded::claim`], for an entry as it stands in the group.
    pub(super) fn claim_of(&mut self, id: StreamId, group: &Group) {
        if self.claims.is_some()
            && let Some(pending) = group.pending().get(&id)
        {
            self.claim(id.format(&mut IdText::new()), group, pending);
        }
    }

    /// Notes how far the group has read.
    pub(super) fn place_of(&mut self, group: &Group) {
        self.place = Some(Place { last_id: group.last_id, entries_read: group.entries_read });
    }

    /// Records all of it in place of the request.
    pub(super) fn record(self, cx: &mut Context<'_>, key: &[u8], group: &[u8]) {
        cx.journal_nothing();
        let Some(claims) = self.claims else { return };
        claims.iter().for_each(|claim| claim.record(cx, key, group));
        if let Some(Place { last_id, entries_read }) = self.place {
            let mut text = IdText::new();
            let words: [&[u8]; 6] = [b"XGROUP", b"SETID", key, group, last_id.format(&mut text), b"ENTRIESREAD"];
            // A count that a client set to the highest number wraps, as in Redis, and no command accepts what it becomes.
            cx.journal_as_number(&words, entries_read.filter(|&count| count >= 0).unwrap_or(-1));
        }
    }
}

impl Claim {
    fn record(&self, cx: &mut Context<'_>, key: &[u8], group: &[u8]) {
        let (mut time, mut count, mut last_id) = (Digits::new(), Digits::new(), IdText::new());
        cx.journal_as(&[
            b"XCLAIM",
            key,
            group,
            &self.consumer,
            b"0",
            &self.id,
            b"TIME",
            time.format(self.delivered_ms).as_bytes(),
            b"RETRYCOUNT",
            count.format(self.deliveries).as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            self.last_id.format(&mut last_id),
        ]);
    }
}
