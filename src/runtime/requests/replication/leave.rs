//! The end of a node that has replicas: writes wait, for `shutdown-timeout` at most, until the replicas have everything.

use crate::command::core::ShutdownOptions;
use crate::command::replication::Hold;
use crate::command::shutdown;
use crate::runtime::requests::Requests;
use crate::runtime::requests::snapshots::Waiting;

/// A node that is to end when its replicas have all; core 0's.
pub(super) struct Leaving {
    options: ShutdownOptions,
    waiting: Vec<Waiting>,
    deadline_ms: u64,
    /// Up to where replicas are to have everything; none while something may still be written.
    place: Option<u64>,
    /// The wait is over.
    is_over: bool,
}

impl Requests {
    /// SHUTDOWN waits for replicas that have not everything (core 0). Gives back who waits for the end when there are none to wait for.
    #[expect(clippy::option_option, reason = "who waits, if anybody; unless it is kept")]
    pub(in crate::runtime::requests) fn wait_for_replicas(
        &mut self,
        options: ShutdownOptions,
        waiting: Option<Waiting>,
    ) -> Option<Option<Waiting>> {
        if let Some(leaving) = &mut self.replicating.leaving {
            if options.now || leaving.is_over {
                return Some(waiting);
            }
            leaving.waiting.extend(waiting);
            return None;
        }
        let (now_ms, timeout_s) = (self.core.clock.monotonic_us() / 1000, self.core.config.shutdown_timeout);
        let replication = &self.core.node().replication;
        // What other cores have acknowledged may still be on its way to the log: who has all of that says nothing yet.
        let has_none = !replication.replicas.list.iter().any(|replica| replica.state.is_online());
        if options.now || timeout_s == 0 || replication.upstream.is_some() || has_none {
            return Some(waiting);
        }
        let leaves_by = self.core.clock.unix().plus(i64::from(timeout_s) * 1000);
        self.core.node().replication.leaves_by = Some(leaves_by);
        self.core.node().persistence.saving.set_shutting_down(true);
        self.replicating.leaving = Some(Leaving {
            options,
            waiting: waiting.into_iter().collect(),
            deadline_ms: now_ms + u64::from(timeout_s) * 1000,
            place: None,
            is_over: false,
        });
        self.hold_writes(Hold::Leaving);
        None
    }

    /// All cores have stopped writing, and the log has what they have written (core 0).
    pub(super) fn leave_when_replicas_follow(&mut self) {
        let replication = &self.core.node().replication;
        let place = replication.place_of_data();
        if replication.replicas.behind(place).next().is_some() {
            tracing::info!("Waiting for replicas before shutting down.");
            self.replicating.asks_acks = true;
        }
        if let Some(leaving) = &mut self.replicating.leaving {
            leaving.place = Some(place);
        }
    }

    /// Ends the node if its replicas have all, or have had their time (core 0).
    pub(super) fn leave_if_replicas_follow(&mut self) {
        let now_ms = self.core.clock.monotonic_us() / 1000;
        let Some(leaving) = self.replicating.leaving.as_ref().filter(|leaving| !leaving.is_over) else { return };
        let (deadline_ms, options, place) = (leaving.deadline_ms, leaving.options, leaving.place);
        if place.is_none() && now_ms < deadline_ms {
            return;
        }
        let replication = &self.core.node().replication;
        let place = place.unwrap_or_else(|| replication.place_of_data());
        let lagging: Vec<String> = replication
            .replicas
            .behind(place)
            .map(|replica| {
                format!("Lagging replica {} reported offset {} behind master", replica.name(), place - replica.acked)
            })
            .collect();
        if !lagging.is_empty() && now_ms < deadline_ms {
            return;
        }
        lagging.iter().for_each(|line| tracing::warn!("{line}"));
        let count = self.core.node().replication.replicas.list.len();
        tracing::info!("{} of {count} replicas are in sync when shutting down.", count - lagging.len());
        // Meanwhile append-only files may have been asked for.
        if !shutdown::may_end(&mut self.core, options) {
            return self.call_shutdown_off();
        }
        let Some(leaving) = &mut self.replicating.leaving else { return };
        leaving.is_over = true;
        let mut waiting = std::mem::take(&mut leaving.waiting).into_iter();
        self.shut_down(options, waiting.next());
        waiting.for_each(|waiting| self.shut_down(options, Some(waiting)));
    }

    /// The node does not end after all: writes go on (core 0).
    pub(in crate::runtime::requests) fn stay(&mut self) {
        let Some(leaving) = self.replicating.leaving.take() else { return };
        self.core.node().persistence.saving.set_shutting_down(false);
        self.core.node().replication.leaves_by = None;
        self.release_writes(Hold::Leaving);
        self.answer_all_with_shutdown_error(leaving.waiting);
    }
}
