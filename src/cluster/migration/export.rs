//! A job of the source.

use super::{
    Act, Event, GRANT_MS, Job, Limits, Moment, OUT_OF_TURN, Owner, PAUSE_MS, SILENT, State, TargetFacts, Word,
};

const NOT_OURS: &str = "Slots are no longer owned by myself";
const LOST: &str =
    "Connection lost to target. Check CLUSTER GETSLOTMIGRATIONS on the target node for more information.";

impl Job {
    pub(super) fn export_event(&mut self, now: Moment, limits: &Limits, event: Event, acts: &mut Vec<Act>) {
        if !self.state.is_under_way() {
            return;
        }
        match event {
            Event::Heard(word) => self.target_says(now, word, acts),
            Event::Connected if self.state == State::Connecting => {
                self.heard_ms = now.ms;
                self.go_to(now, State::ReadingEstablishResponse);
            }
            Event::Established if self.state == State::ReadingEstablishResponse => {
                (self.is_linked, self.heard_ms, self.told_ms) = (true, now.ms, now.ms);
                self.go_to(now, State::WaitingToSnapshot);
                acts.push(Act::Say(Word::Ack));
                acts.push(Act::Walk);
                self.go_to(now, State::Snapshotting);
            }
            Event::Refused(why) => self.fail_export(now, &why, acts),
            Event::Lost => {
                // What is still made for it goes.
                if std::mem::take(&mut self.is_linked) {
                    acts.push(Act::Close);
                }
                // What the target has been granted it may take without this connection.
                if self.state != State::FailoverGranted {
                    self.fail_export(now, LOST, acts);
                }
            }
            Event::SnapshotSent if self.state == State::Snapshotting => {
                acts.push(Act::Say(Word::SnapshotEof));
                self.go_to(now, State::Replicating);
            }
            Event::Queued { bytes } => {
                let is_little = limits.pause_below_bytes.is_none_or(|limit| bytes <= limit);
                if self.state == State::WaitingToPause && !self.holds && is_little {
                    tracing::info!(
                        "Pausing writes (remaining_repl_size is {bytes}) to allow slot migration {} to finalize failover.",
                        self.description()
                    );
                    (self.holds, self.holds_until_ms) = (true, now.ms + PAUSE_MS);
                    acts.push(Act::Hold);
                }
            }
            Event::Quiet if self.state == State::WaitingToPause && self.holds => {
                acts.push(Act::Say(Word::Paused));
                self.go_to(now, State::FailoverPaused);
            }
            Event::Owned(Owner::Source) => {}
            Event::Owned(Owner::Target) => self.succeed(now, acts),
            Event::Owned(Owner::Other) => self.fail_export(now, NOT_OURS, acts),
            Event::Target(facts) => self.judge_target(now, facts, acts),
            // A replica serves nobody's writes.
            Event::Demoted => self.fail_export(now, NOT_OURS, acts),
            Event::Cancelled if self.state == State::FailoverGranted => self.is_cancelled = true,
            Event::Cancelled => self.stop(now, State::Cancelled, "", acts),
            // Writes that concern all slots are held as well: this came before the grant.
            Event::Flushed if self.state != State::FailoverGranted => self.fail_export(now, "Data was flushed", acts),
            Event::Broken(why) if self.state != State::FailoverGranted => self.fail_export(now, &why, acts),
            Event::Tick => self.export_tick(now, limits, acts),
            _ => {}
        }
    }

    fn target_says(&mut self, now: Moment, word: Word, acts: &mut Vec<Act>) {
        (self.heard_ms, self.acked_s) = (now.ms, now.unix_s);
        match (word, self.state) {
            (Word::Ack, _) => {}
            (Word::RequestPause, State::Replicating) => self.go_to(now, State::WaitingToPause),
            (Word::RequestFailover, State::FailoverPaused) if now.ms < self.holds_until_ms => {
                self.holds_until_ms = self.holds_until_ms.max(now.ms + GRANT_MS);
                acts.push(Act::Say(Word::FailoverGranted));
                self.go_to(now, State::FailoverGranted);
                // From here on this is the end of what the target has been granted, not of the pause.
                self.holds_until_ms = now.ms + GRANT_MS;
            }
            (Word::RequestFailover, State::FailoverPaused) => {
                self.fail_export(now, "Unpaused before failover completed", acts);
            }
            (_, State::FailoverGranted) => {}
            _ => self.fail_export(now, OUT_OF_TURN, acts),
        }
    }

    fn export_tick(&mut self, now: Moment, limits: &Limits, acts: &mut Vec<Act>) {
        match self.state {
            State::FailoverGranted => return,
            State::FailoverPaused | State::WaitingToPause if self.holds && now.ms >= self.holds_until_ms => {
                return self.fail_export(now, "Timed out before streaming completed", acts);
            }
            _ if self.is_silent(now, limits) => return self.fail_export(now, SILENT, acts),
            _ => {}
        }
        if self.is_linked {
            self.keep_in_touch(now, acts);
        }
    }

    /// What follows from what is known of a target that may have taken the slots.
    fn judge_target(&mut self, now: Moment, facts: TargetFacts, acts: &mut Vec<Act>) {
        let granted_until_ms = self.holds_until_ms;
        if self.state != State::FailoverGranted || now.ms < granted_until_ms {
            return;
        }
        let state = if self.is_cancelled { State::Cancelled } else { State::Failed };
        if facts.answered_ms >= granted_until_ms {
            return self.stop(now, state, "The target did not take the slots in time", acts);
        }
        if facts.has_failed {
            acts.push(Act::Reclaim);
            self.stop(now, state, "The target failed before it was heard to have taken the slots", acts);
        }
    }

    fn succeed(&mut self, now: Moment, acts: &mut Vec<Act>) {
        self.release(acts);
        self.close(acts);
        self.end_as(now, State::Success);
    }

    fn fail_export(&mut self, now: Moment, why: &str, acts: &mut Vec<Act>) {
        self.stop(now, State::Failed, why, acts);
    }

    fn stop(&mut self, now: Moment, state: State, why: &str, acts: &mut Vec<Act>) {
        why.clone_into(&mut self.message);
        // The target must not hear the rest before it sees the end.
        self.close(acts);
        self.release(acts);
        self.end_as(now, state);
    }

    fn release(&mut self, acts: &mut Vec<Act>) {
        if std::mem::take(&mut self.holds) {
            acts.push(Act::Release);
        }
    }
}
