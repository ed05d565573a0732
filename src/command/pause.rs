//! CLIENT PAUSE, and what the node holds by itself: until when which commands wait.

use crate::base::clock::UnixMillis;

/// The pause of one core; every core has the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    until: Option<UnixMillis>,
    everything: bool,
    /// The node holds writes: it hands over to a replica, or ends.
    holds_writes: bool,
}

impl Pause {
    /// Begins or extends a pause. A pause of everything is not weakened to writes by a second call, and the later
    /// end wins, as in Redis.
    pub fn begin(&mut self, until: UnixMillis, everything: bool, now: UnixMillis) {
        let running = self.until.filter(|end| *end > now);
        self.everything = everything || (running.is_some() && self.everything);
        self.until = Some(running.map_or(until, |end| end.max(until)));
    }

    pub fn end(&mut self) {
        *self = Pause { holds_writes: self.holds_writes, ..Pause::default() };
    }

    /// The node holds writes by itself, or does no more. True when that is a change.
    pub fn hold_writes(&mut self, holds_writes: bool) -> bool {
        std::mem::replace(&mut self.holds_writes, holds_writes) != holds_writes
    }

    /// Until when anything waits.
    pub fn until(&self, now: UnixMillis) -> Option<UnixMillis> {
        if self.holds_writes {
            return Some(UnixMillis(i64::MAX));
        }
        self.until.filter(|end| *end > now)
    }

    /// Whether the node holds writes by itself.
    pub fn is_of_node(&self) -> bool {
        self.holds_writes
    }

    /// Does a command wait? `writes`: it may change data or be propagated.
    #[inline]
    pub fn holds(&self, writes: bool, now: UnixMillis) -> bool {
        self.holds_writes && writes || self.until.is_some_and(|end| end > now) && (self.everything || writes)
    }
}
