//! A job of the target, or one that it has told its replicas and files of.

use super::{Act, CLAIM_WITHIN_MS, Event, Job, Limits, Moment, OUT_OF_TURN, Owner, SILENT, State, Word};

const LOST: &str =
    "Connection lost to source. Check CLUSTER GETSLOTMIGRATIONS on the source node for more information.";

impl Job {
    pub(super) fn import_event(&mut self, now: Moment, limits: &Limits, event: Event, acts: &mut Vec<Act>) {
        match (event, self.state) {
            (_, state) if state.is_over() => {}
            (Event::Dropped, State::CleaningUp) => {
                self.end_as(now, State::Failed);
                acts.push(Act::TellEnd);
            }
            (Event::Demoted, State::CleaningUp) => self.leave_to_primary(now, acts),
            (_, State::CleaningUp) => {}
            (event, State::OccurringOnPrimary) => self.known_event(now, event, acts),
            (Event::Heard(word), _) => self.source_says(now, word, acts),
            (Event::Lost, _) => {
                self.is_linked = false;
                self.fail_import(now, LOST, acts);
            }
            (Event::Claimed(Ok(())), State::FailoverGranted) => {
                acts.push(Act::TellEnd);
                self.close(acts);
                self.end_as(now, State::Success);
            }
            (Event::Claimed(Err(why)), State::FailoverGranted) => self.fail_import(now, &why, acts),
            (Event::Owned(Owner::Source), _) => {}
            (Event::Owned(Owner::Target), _) => {
                self.fail_import(now, "Slots were unexpectedly assigned to myself during import", acts);
            }
            (Event::Owned(Owner::Other), _) => self.fail_import(now, "Slots are no longer owned by source node", acts),
            (Event::Demoted, _) => self.leave_to_primary(now, acts),
            (Event::Flushed, _) => self.fail_import(now, "Data was flushed", acts),
            (Event::Broken(why), _) => self.fail_import(now, &why, acts),
            (Event::Tick, _) => {
                if self.is_silent(now, limits) {
                    self.fail_import(now, SILENT, acts);
                } else if self.state != State::WaitingForAck {
                    self.keep_in_touch(now, acts);
                }
            }
            _ => {}
        }
    }

    fn source_says(&mut self, now: Moment, word: Word, acts: &mut Vec<Act>) {
        (self.heard_ms, self.acked_s) = (now.ms, now.unix_s);
        match (word, self.state) {
            (Word::Ack, State::WaitingForAck) => self.go_to(now, State::ReceivingSnapshot),
            (Word::Ack, _) => {}
            (Word::SnapshotEof, State::ReceivingSnapshot) => {
                acts.push(Act::Say(Word::RequestPause));
                self.go_to(now, State::WaitingForPaused);
            }
            (Word::Paused, State::WaitingForPaused) => {
                acts.push(Act::Say(Word::RequestFailover));
                self.asked_ms = now.ms;
                self.go_to(now, State::FailoverRequested);
            }
            (Word::FailoverGranted, State::FailoverRequested) => {
                if now.ms.saturating_sub(self.asked_ms) > CLAIM_WITHIN_MS {
                    // The source may hold the writes no longer by the time it hears of the claim.
                    return self.fail_import(now, "The grant came too late", acts);
                }
                self.go_to(now, State::FailoverGranted);
                acts.push(Act::Claim);
            }
            _ => self.fail_import(now, OUT_OF_TURN, acts),
        }
    }

    /// What concerns a job that another node has.
    fn known_event(&mut self, now: Moment, event: Event, acts: &mut Vec<Act>) {
        match event {
            Event::Finished { succeeded, message } => {
                self.message = message;
                self.end_as(now, if succeeded { State::Success } else { State::Failed });
            }
            Event::Promoted => self.fail_import(now, "A failover occurred during slot import", acts),
            Event::Broken(why) => self.fail_import(now, &why, acts),
            _ => {}
        }
    }

    /// This node's keys are what its primary says from now on.
    fn leave_to_primary(&mut self, now: Moment, acts: &mut Vec<Act>) {
        self.close(acts);
        (self.source, self.target) = (None, None);
        self.go_to(now, State::OccurringOnPrimary);
    }

    fn fail_import(&mut self, now: Moment, why: &str, acts: &mut Vec<Act>) {
        why.clone_into(&mut self.message);
        self.close(acts);
        self.go_to(now, State::CleaningUp);
        acts.push(Act::Drop);
    }
}
