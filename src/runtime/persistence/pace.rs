//! How much of a core's time the walk of a snapshot takes.
//!
//! A core that never sleeps loses what the kernel gives to those that do: the CPU at once, when something comes for it.
//! With fewer CPUs than threads that want them a request then waits for whole time slices of others, here and at whoever sent
//! it. So while requests come the walk takes a share of the time and sleeps in between; while none come it takes all of it.
//!
//! The share is kept in credit: time that passes earns it, slices spend it.

/// Of the time, while requests come, one part in so many: of a core that walks alone, and of each of several, which have less
/// to walk.
const SHARE_ALONE: i64 = 4;
const SHARE_OF_SEVERAL: i64 = 8;
/// No request for so long, and the walk takes all.
const QUIET_NS: u64 = 50_000_000;
/// What is earned at most while nothing can be spent: how far the walk may catch up in one go.
const CREDIT_MAX_NS: i64 = 500_000;

/// The walk's account.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// One part of the time in so many. None when somebody waits for the end of the walk: all of the time, always.
    share: Option<i64>,
    credit_ns: i64,
    /// When it was last looked at.
    at_ns: u64,
    /// What the core had run then, and since when it is no more.
    requests: u64,
    asked_ns: u64,
}

impl Pace {
    /// What the walk takes of a core's time: of one of so many cores.
    pub fn share(is_hurried: bool, cores_count: usize) -> Option<i64> {
        let share = if cores_count > 1 { SHARE_OF_SEVERAL } else { SHARE_ALONE };
        (!is_hurried).then_some(share)
    }

    pub fn new(share: Option<i64>, now_ns: u64, requests: u64) -> Pace {
        Pace { share, credit_ns: CREDIT_MAX_NS, at_ns: now_ns, requests, asked_ns: now_ns }
    }

    /// Earns what the time since the last look is worth. `requests` is what the core has run since it began.
    pub fn earn(&mut self, now_ns: u64, requests: u64) {
        if requests != self.requests {
            (self.requests, self.asked_ns) = (requests, now_ns);
        }
        let passed = i64::try_from(now_ns.saturating_sub(self.at_ns)).unwrap_or(i64::MAX);
        self.at_ns = now_ns;
        let is_quiet = now_ns.saturating_sub(self.asked_ns) >= QUIET_NS;
        let earned = match self.share.filter(|_| !is_quiet) {
            Some(share) => passed / share,
            None => CREDIT_MAX_NS,
        };
        self.credit_ns = self.credit_ns.saturating_add(earned).min(CREDIT_MAX_NS);
    }

    /// From now on somebody waits for the end.
    pub fn hurry(&mut self) {
        self.share = None;
    }

    pub fn spend(&mut self, spent_ns: u64) {
        self.credit_ns = self.credit_ns.saturating_sub(i64::try_from(spent_ns).unwrap_or(i64::MAX));
    }

    /// Whether there is time for a slice.
    #[inline]
    pub fn has_time(&self) -> bool {
        self.credit_ns > 0
    }

    /// Whether the slice is due even where requests wait: they have kept the walk from its share.
    #[inline]
    pub fn is_behind(&self) -> bool {
        self.share.is_none() || self.credit_ns >= CREDIT_MAX_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is spent in a second of slices of 100 us, looked for every 20 us, with a request at every look or none.
    fn spent_ns(mut pace: Pace, asks: bool) -> u64 {
        let (mut now_ns, mut spent, mut requests) = (0, 0, 0);
        while now_ns < 1_000_000_000 {
            requests += u64::from(asks);
            pace.earn(now_ns, requests);
            if pace.has_time() {
                pace.spend(100_000);
                spent += 100_000;
                now_ns += 100_000;
            }
            now_ns += 20_000;
        }
        spent
    }

    #[test]
    fn a_share_while_requests_come_and_all_when_none_do_or_somebody_waits() {
        for (cores_count, expected) in [(1, 240_000_000..260_000_000), (2, 120_000_000..130_000_000)] {
            let share = spent_ns(Pace::new(Pace::share(false, cores_count), 0, 0), true);
            assert!(expected.contains(&share), "{share}");
        }
        assert!(spent_ns(Pace::new(Pace::share(false, 1), 0, 0), false) > 780_000_000);
        assert!(spent_ns(Pace::new(Pace::share(true, 1), 0, 0), true) > 820_000_000);
    }

    #[test]
    fn what_could_not_be_spent_is_due_and_has_a_limit() {
        let mut pace = Pace::new(Pace::share(false, 1), 0, 0);
        pace.spend(CREDIT_MAX_NS as u64);
        assert!(!pace.has_time() && !pace.is_behind());
        pace.earn(1_000_000, 1);
        assert!(pace.has_time() && !pace.is_behind());
        pace.earn(1_000_000_000, 2);
        assert!(pace.is_behind());
        pace.spend(CREDIT_MAX_NS as u64);
        assert!(!pace.has_time());
    }
}
