//! What the relocation under way still waits for.

/// Core 0's count, from Hold to Release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outstanding {
    /// Cores that have not marked.
    to_mark: usize,
    /// Cores, the giver aside, that may not have heard yet what the giver had to say to their clients.
    to_pass: usize,
    is_installed: bool,
}

impl Outstanding {
    /// At Hold.
    pub fn of(cores_count: usize) -> Outstanding {
        Outstanding { to_mark: cores_count, to_pass: cores_count - 1, is_installed: false }
    }

    pub fn marked(&mut self) {
        self.to_mark -= 1;
    }

    /// Whether every core but one has marked: core 0's mark comes last.
    pub fn only_one_mark_is_missing(&self) -> bool {
        self.to_mark <= 1
    }

    /// A core has heard Behind.
    pub fn passed(&mut self) {
        self.to_pass -= 1;
    }

    pub fn installed(&mut self) {
        self.is_installed = true;
    }

    /// Whether requests may run at the taker. Not before all have passed: a core that has the giver's last messages still in a full
    /// queue would give its clients the taker's first.
    pub fn is_through(&self) -> bool {
        self.is_installed && self.to_pass == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_run_at_the_taker_when_it_has_the_slots_and_nobody_waits_for_the_givers_last_words() {
        let mut outstanding = Outstanding::of(4);
        (0..4).for_each(|_| outstanding.marked());
        outstanding.installed();
        for _ in 0..3 {
            assert!(!outstanding.is_through(), "{outstanding:?}");
            outstanding.passed();
        }
        assert!(outstanding.is_through());

        let mut outstanding = Outstanding::of(4);
        (0..3).for_each(|_| outstanding.passed());
        assert!(!outstanding.is_through(), "all have passed, and the tables are on their way");
        outstanding.installed();
        assert!(outstanding.is_through());
    }

    #[test]
    fn the_last_mark_is_known() {
        let mut outstanding = Outstanding::of(3);
        outstanding.marked();
        assert!(!outstanding.only_one_mark_is_missing());
        outstanding.marked();
        assert!(outstanding.only_one_mark_is_missing());
    }
}
