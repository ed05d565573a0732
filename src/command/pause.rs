//! CLIENT PAUSE: until when which commands wait.

use crate::base::clock::UnixMillis;

/// The pause of one core; every core has the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    until: Option<UnixMillis>,
    everything: bool,
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
        *self = Pause::default();
    }

    /// Until when anything waits.
    pub fn until(&self, now: UnixMillis) -> Option<UnixMillis> {
        self.until.filter(|end| *end > now)
    }

    /// Does a command wait? `writes`: it may change data or be propagated.
    #[inline]
    pub fn holds(&self, writes: bool, now: UnixMillis) -> bool {
        self.until.is_some_and(|end| end > now) && (self.everything || writes)
    }
}
