//! The end of the node, by SHUTDOWN or a signal (core 0).
//!
//! ```text
//! `may_end`             its data would not be lost with it (`command::shutdown`)
//! `wait_for_replicas`   writes are held until the replicas have everything, or have had their time (`replication::leave`)
//! `begin_last_save`     where there are save points, or with SAVE: a snapshot
//! `end_node`            every core stops after its turn
//! ```
//!
//! SHUTDOWN ABORT, or a snapshot that cannot be written, calls it off: who waits hears of an error, and the node goes on.

use super::Requests;
use super::snapshots::{Outcome, Waiting, error_reply};
use crate::base::core_id::CoreId;
use crate::command::core::ShutdownOptions;
use crate::command::error::CommandError;
use crate::command::persistence::saving::SaveFor;
use crate::command::shutdown;
use crate::runtime::mesh::Message;

/// SHUTDOWN, while it waits for a snapshot; core 0's.
pub(super) struct Ending {
    pub(super) options: ShutdownOptions,
    waiting: Vec<Waiting>,
}

impl Requests {
    /// Ends the node, once its data are in a file if they are to be.
    pub fn shut_down(&mut self, options: ShutdownOptions, waiting: Option<Waiting>) {
        if let Some(ending) = &mut self.ending {
            ending.waiting.extend(waiting);
            return;
        }
        let Some(waiting) = self.wait_for_replicas(options, waiting) else { return };
        if self.files.rewrite.is_some() {
            self.give_up_rewrite();
        }
        let now_s = self.core.clock.unix().seconds();
        if let Some((_, waiting)) = self.postponed_save.take() {
            self.core.node().persistence.saving.end(None, now_s);
            if let Some((target, reply)) = waiting {
                self.answer_saved(false, target, reply);
            }
        }
        let node = self.core.node();
        let saves = options.save.unwrap_or(!node.config.save.is_empty());
        if !saves {
            return self.end_node(options);
        }
        node.persistence.saving.set_shutting_down(true);
        self.ending = Some(Ending { options, waiting: waiting.into_iter().collect() });
        match self.save {
            Some(_) => self.give_up_save(Outcome::GivenUp),
            None => self.begin_last_save(options),
        }
    }

    pub(super) fn begin_last_save(&mut self, options: ShutdownOptions) {
        tracing::info!("Saving the final RDB snapshot before exiting.");
        let (now_s, purpose) = (self.core.clock.unix().seconds(), SaveFor::Shutdown(options));
        self.core.node().persistence.saving.begin(purpose, now_s);
        self.begin_save(purpose, None);
    }

    pub(super) fn saved_for_shutdown(&mut self, options: ShutdownOptions, outcome: Outcome) {
        if outcome == Outcome::Failed {
            tracing::warn!("Error trying to save the DB, can't exit.");
        }
        match outcome {
            Outcome::Saved => self.end_node(options),
            Outcome::Failed if options.force => self.end_node(options),
            Outcome::GivenUp => self.call_shutdown_off(),
            Outcome::Failed => {
                shutdown::log_failure();
                self.call_shutdown_off();
            }
        }
    }

    /// SHUTDOWN ABORT, or the data could not be saved: the node goes on.
    pub(in crate::runtime::requests) fn call_shutdown_off(&mut self) {
        self.stay();
        let Some(ending) = self.ending.take() else { return };
        self.core.node().persistence.saving.set_shutting_down(false);
        if self.is_last_save_under_way() {
            self.give_up_save(Outcome::GivenUp);
        }
        if ending.waiting.is_empty() {
            tracing::warn!(
                "SIGTERM received but errors trying to shut down the server, check the logs for more information"
            );
        }
        self.answer_all_with_shutdown_error(ending.waiting);
        self.release_output();
    }

    pub(super) fn answer_all_with_shutdown_error(&mut self, waiting: Vec<Waiting>) {
        for (target, _) in waiting {
            let error = CommandError::text_static("ERR Errors trying to SHUTDOWN. Check logs.");
            self.answer(target, error_reply(&error));
        }
    }

    /// Every core stops after its turn. A file that is not complete goes.
    pub(super) fn end_node(&mut self, options: ShutdownOptions) {
        assert!(self.core.id == CoreId::FIRST, "core 0 ends the node");
        if self.are_files_pending() {
            // Bytes of other cores wait for a file that is being made.
            self.files.ends = Some(options);
            return self.advance_files();
        }
        self.remove_unfinished_file();
        self.send_to_others(|| Message::Stop);
        self.stopped = Some(Some(options));
    }
}
