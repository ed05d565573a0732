//! The end of a node that has replicas: writes wait, for `shutdown-timeout` at most, until the replicas have everything.

use crate::command::core::ShutdownOptions;
use crate::runtime::requests::Requests;
use crate::runtime::requests::snapshots::Waiting;

/// A node that is to end when its replicas have all; core 0's.
pub(super) struct Leaving {
    options: ShutdownOptions,
    waiting: Vec<Waiting>,
    deadline_ms: u64,
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
        self.feed_log();
        let replication = &mut self.core.node().replication;
        let place = replication.log.end();
        if options.now
            || timeout_s == 0
            || replication.upstream.is_some()
            || replication.replicas.behind(place).next().is_none()
        {
            return Some(waiting);
        }
        tracing::info!("Waiting for replicas before shutting down.");
        replication.holds_writes = true;
        self.core.node().persistence.saving.set_shutting_down(true);
        self.publish_role();
        // Asked once: the question is part of what they must have, and its answer is not about it. They tell each second anyway.
        self.replicating.asks_acks = true;
        self.replicating.leaving = Some(Leaving {
            options,
            waiting: waiting.into_iter().collect(),
            deadline_ms: now_ms + u64::from(timeout_s) * 1000,
            is_over: false,
        });
        None
    }

    /// Ends the node if its replicas have all, or have had their time (core 0).
    pub(super) fn leave_if_replicas_follow(&mut self) {
        let now_ms = self.core.clock.monotonic_us() / 1000;
        let Some(leaving) = &self.replicating.leaving else { return };
        let (deadline_ms, options) = (leaving.deadline_ms, leaving.options);
        let replication = &self.core.node().replication;
        let place = replication.log.end();
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
        let Some(leaving) = &mut self.replicating.leaving else { return };
        leaving.is_over = true;
        let mut waiting = std::mem::take(&mut leaving.waiting).into_iter();
        self.shut_down(options, waiting.next());
        waiting.for_each(|waiting| self.shut_down(options, Some(waiting)));
    }

    /// The node does not end after all: writes go on (core 0).
    pub(in crate::runtime::requests) fn stay(&mut self) {
        let Some(leaving) = self.replicating.leaving.take() else { return };
        self.core.node().replication.holds_writes = false;
        self.core.node().persistence.saving.set_shutting_down(false);
        self.publish_role();
        self.answer_all_with_shutdown_error(leaving.waiting);
    }
}
