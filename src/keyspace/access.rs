//! The access word of an entry: 24 bits that say how long ago, or how often, it was used.
//!
//! LRU: the second of the last access, modulo 2^24. LFU: minutes modulo 2^16 above a logarithmic counter of 8 bits,
//! which an access raises with a probability that falls as it grows, and which time lowers. Both as in Redis, so
//! that OBJECT IDLETIME and OBJECT FREQ answer alike. Switching the policy does not rewrite words.

use crate::base::clock::{
    LFU_INIT_VAL, LRU_CLOCK_MAX, UnixMillis, lfu_decayed, lfu_incremented, lfu_minutes, lru_clock, lru_idle_ms,
};

/// What access words record: `maxmemory-policy` chooses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessPolicy {
    Lru,
    Lfu {
        /// `lfu-log-factor`: the higher, the more accesses for a given frequency.
        log_factor: u32,
        /// `lfu-decay-time`: the counter falls by one for each such span; 0 never.
        decay_minutes: u32,
    },
}

/// When, or how often, a value was used before it was stored.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum StoredAccess {
    #[default]
    Unknown,
    Idle {
        seconds: u64,
    },
    Frequency(u8),
}

/// The clocks that access words are measured with, taken once per turn.
#[derive(Clone, Copy)]
pub(super) struct AccessClock {
    policy: AccessPolicy,
    seconds: u32,
    minutes: u16,
}

impl AccessClock {
    pub fn new(policy: AccessPolicy, now: UnixMillis) -> Self {
        AccessClock { policy, seconds: lru_clock(now), minutes: lfu_minutes(now) }
    }

    pub fn policy(&self) -> AccessPolicy {
        self.policy
    }

    fn lfu_word(&self, counter: u8) -> u32 {
        u32::from(self.minutes) << 8 | u32::from(counter)
    }

    /// The word of a new entry.
    #[inline]
    pub fn fresh(&self) -> u32 {
        match self.policy {
            AccessPolicy::Lru => self.seconds,
            AccessPolicy::Lfu { .. } => self.lfu_word(LFU_INIT_VAL),
        }
    }

    /// The word after an access. `random`: uniform, decides whether the counter rises.
    #[inline]
    pub fn touched(&self, word: u32, random: impl FnOnce() -> u32) -> u32 {
        match self.policy {
            AccessPolicy::Lru => self.seconds,
            AccessPolicy::Lfu { log_factor, .. } => {
                self.lfu_word(lfu_incremented(self.frequency(word), log_factor, random()))
            }
        }
    }

    /// The word after the value was replaced: a fresh clock under LRU; under LFU the access has counted already.
    #[inline]
    pub fn rewritten(&self, word: u32) -> u32 {
        match self.policy {
            AccessPolicy::Lru => self.seconds,
            AccessPolicy::Lfu { .. } => word,
        }
    }

    /// Seconds since the last access, for a word kept under LRU.
    pub fn idle_seconds(&self, word: u32) -> u64 {
        lru_idle_ms(self.seconds, word) / 1000
    }

    /// The counter as of now, for a word kept under LFU.
    pub fn frequency(&self, word: u32) -> u8 {
        let counter = word as u8;
        match self.policy {
            AccessPolicy::Lru => counter,
            AccessPolicy::Lfu { decay_minutes, .. } => {
                lfu_decayed(counter, self.minutes, (word >> 8) as u16, decay_minutes)
            }
        }
    }

    /// The word of an entry whose access was stored: what the policy of today has no use for counts as unknown.
    #[inline]
    pub fn stored(&self, access: StoredAccess) -> u32 {
        match (self.policy, access) {
            (AccessPolicy::Lru, StoredAccess::Idle { seconds }) => self.word_with_idle(seconds),
            (AccessPolicy::Lfu { .. }, StoredAccess::Frequency(counter)) => self.word_with_frequency(counter),
            _ => self.fresh(),
        }
    }

    /// The word of an entry last used `idle_seconds` ago (RESTORE ... IDLETIME).
    pub fn word_with_idle(&self, idle_seconds: u64) -> u32 {
        (u64::from(self.seconds).wrapping_sub(idle_seconds) & u64::from(LRU_CLOCK_MAX)) as u32
    }

    /// The word of an entry with this counter (RESTORE ... FREQ).
    pub fn word_with_frequency(&self, counter: u8) -> u32 {
        self.lfu_word(counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LFU: AccessPolicy = AccessPolicy::Lfu { log_factor: 10, decay_minutes: 1 };

    #[test]
    fn idle_time_counts_from_the_last_access() {
        let last = AccessClock::new(AccessPolicy::Lru, UnixMillis(1_700_000_000_000)).fresh();
        let later = AccessClock::new(AccessPolicy::Lru, UnixMillis(1_700_000_007_000));
        assert_eq!(later.idle_seconds(last), 7);
        assert_eq!(later.idle_seconds(later.word_with_idle(30)), 30);
        assert_eq!(later.idle_seconds(later.rewritten(last)), 0);
    }

    #[test]
    fn frequency_rises_at_first_access_and_falls_with_minutes() {
        let now = UnixMillis(1_700_000_000_000);
        let clock = AccessClock::new(LFU, now);
        let word = clock.touched(clock.fresh(), || u32::MAX);
        assert_eq!(clock.frequency(word), 6);
        assert_eq!(clock.frequency(clock.touched(word, || u32::MAX)), 6);
        assert_eq!(clock.frequency(clock.touched(word, || 0)), 7);
        assert_eq!(clock.rewritten(word), word);
        assert_eq!(AccessClock::new(LFU, now.plus(4 * 60_000)).frequency(word), 2);
        assert_eq!(clock.frequency(clock.word_with_frequency(255)), 255);
    }
}
