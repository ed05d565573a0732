//! Snapshots: SAVE, BGSAVE, LASTSAVE, and when `save` makes one due.
//!
//! The handlers run on core 0 and decide by [`Saving`] what is possible; what is to be done they leave to the runtime as
//! `Effect::Save`, which reports back here. There is no difference in the work between SAVE and BGSAVE: the node goes on serving
//! either way, and SAVE's reply waits until the file is in its place.

use crate::command::arguments::is_word;
use crate::command::context::Context;
use crate::command::core::{Effect, ShutdownOptions};
use crate::command::error::CommandError;
use crate::command::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::config::{Config, SavePoint};
use crate::resp::Args;

/// How long after a failure no save point makes the next attempt due.
const RETRY_DELAY_S: i64 = 5;

/// Who wants a snapshot in `dbfilename`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveFor {
    /// BGSAVE and save points: nobody waits.
    Background,
    /// SAVE: the reply that was just written waits.
    Foreground,
    /// SHUTDOWN, or a signal: from the cut on no reply leaves, so that nothing is acknowledged that the file does not have.
    Shutdown(ShutdownOptions),
    /// BGREWRITEAOF and its like: the base of the append-only files, which goes to their folder.
    Rewrite,
    /// Replicas, whose sockets it goes to.
    Replicas,
    /// Replicas that are sent the file.
    ReplicasFile,
    /// DEBUG RELOAD: the reply waits, and the file is loaded again.
    Reload,
}

/// What is known of snapshots; core 0's.
#[derive(Debug, Default)]
pub struct Saving {
    current: Option<CurrentSave>,
    /// BGSAVE was asked for at a time when it could not begin.
    scheduled: bool,
    /// All keys were removed: the file is to follow at once.
    flushed: bool,
    last_save_s: i64,
    last_try_s: i64,
    /// The last one in the background.
    failed: bool,
    last_duration_s: Option<i64>,
    saves: u64,
    /// The sum of the cores' changes that the last file has.
    saved_changes: u64,
    /// SHUTDOWN has begun and waits for its snapshot.
    shutting_down: bool,
}

/// A snapshot under way.
#[derive(Debug)]
struct CurrentSave {
    purpose: SaveFor,
    begun_s: i64,
    changes: u64,
    keys_total: u64,
    keys_processed: u64,
}

/// What INFO shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SavingFigures {
    pub in_progress: bool,
    pub last_save_s: i64,
    pub failed: bool,
    pub last_duration_s: Option<i64>,
    pub begun_s: Option<i64>,
    pub saves: u64,
    pub saved_changes: u64,
    pub keys_processed: u64,
    pub keys_total: u64,
}

impl Saving {
    /// Of a node that has been started now, whose data are as new as that.
    pub fn new(now_s: i64) -> Saving {
        Saving { last_save_s: now_s, ..Saving::default() }
    }

    /// Whether a snapshot is under way.
    pub fn is_under_way(&self) -> bool {
        self.current.is_some()
    }

    /// Whether SHUTDOWN waits for its snapshot.
    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down
    }

    pub fn set_shutting_down(&mut self, shutting_down: bool) {
        self.shutting_down = shutting_down;
    }

    /// The changes of all cores, `changes` since their start, that the file does not have.
    pub fn unsaved(&self, changes: u64) -> u64 {
        changes.saturating_sub(self.saved_changes)
    }

    /// The data are those of the file: they were just loaded. `changes`: of all cores since their start.
    pub fn forget_changes(&mut self, changes: u64) {
        self.saved_changes = changes;
    }

    /// All keys were removed. With save points the file must not bring them back.
    pub fn note_flush(&mut self, config: &Config) {
        self.flushed = !config.save.is_empty();
    }

    /// One begins. Handlers say it before the runtime does, so that there are never two.
    pub fn begin(&mut self, purpose: SaveFor, now_s: i64) {
        assert!(self.current.is_none(), "one snapshot at a time");
        self.saves += u64::from(!matches!(purpose, SaveFor::Shutdown(_)));
        self.last_try_s = now_s;
        self.current = Some(CurrentSave { purpose, begun_s: now_s, changes: 0, keys_total: 0, keys_processed: 0 });
    }

    /// All cores have begun: what there is to save, and the changes that the file will have.
    pub fn cut(&mut self, keys_total: u64, changes: u64) {
        if let Some(current) = &mut self.current {
            (current.keys_total, current.changes) = (keys_total, changes);
        }
    }

    pub fn progressed(&mut self, keys: u64) {
        if let Some(current) = &mut self.current {
            current.keys_processed += keys;
        }
    }

    /// The file is in its place, or the attempt has failed or was given up (`outcome` is `None`).
    pub fn end(&mut self, outcome: Option<bool>, now_s: i64) {
        let Some(current) = self.current.take() else { return };
        let is_background = matches!(current.purpose, SaveFor::Background | SaveFor::ReplicasFile);
        if current.purpose == SaveFor::Replicas {
            return; // there is no file
        }
        match outcome {
            Some(true) => {
                self.saved_changes = current.changes;
                (self.last_save_s, self.failed) = (now_s, false);
            }
            // As in Redis: whoever waits for the reply knows.
            Some(false) => self.failed |= is_background,
            None => {}
        }
        if is_background && outcome.is_some() {
            self.last_duration_s = Some(now_s - current.begun_s);
        }
    }

    /// Whether commands that write are refused because the last snapshot failed.
    pub fn refuses_writes(&self, config: &Config) -> bool {
        self.failed && config.stop_writes_on_bgsave_error && !config.save.is_empty()
    }

    /// Whether a snapshot is to begin now; `is_busy` while another kind of work on files excludes it.
    pub fn is_due(&mut self, config: &Config, now_s: i64, changes: u64, is_busy: bool) -> bool {
        if self.current.is_some() || is_busy || self.shutting_down {
            return false;
        }
        if std::mem::take(&mut self.flushed) {
            return true;
        }
        let may_try = !self.failed || now_s - self.last_try_s > RETRY_DELAY_S;
        if !may_try {
            return false;
        }
        if std::mem::take(&mut self.scheduled) {
            return true;
        }
        let (unsaved, age_s) = (self.unsaved(changes), now_s - self.last_save_s);
        let is_reached = |point: &&SavePoint| {
            unsaved >= u64::from(point.changes) && age_s > i64::try_from(point.seconds).unwrap_or(i64::MAX)
        };
        let reached = config.save.iter().find(is_reached);
        if let Some(point) = reached {
            tracing::info!("{} changes in {} seconds. Saving...", point.changes, point.seconds);
        }
        reached.is_some()
    }

    pub fn figures(&self) -> SavingFigures {
        let current = self.current.as_ref();
        SavingFigures {
            in_progress: current.is_some(),
            last_save_s: self.last_save_s,
            failed: self.failed,
            last_duration_s: self.last_duration_s,
            begun_s: current.map(|current| current.begun_s),
            saves: self.saves,
            saved_changes: self.saved_changes,
            keys_processed: current.map_or(0, |current| current.keys_processed),
            keys_total: current.map_or(0, |current| current.keys_total),
        }
    }
}

/// The rows of this family.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "save",
        arity: Arity::Exactly(1),
        flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::NO_ASYNC_LOADING).and(Flags::NO_MULTI),
        keys: Keys::None,
        group: Group::Server,
        since: "1.0.0",
        summary: "Saves all data to disk and replies when they are there.",
        complexity: "O(N) where N is the total number of keys in all databases",
        syntax: "",
        run: Run::OnFirstCore(save),
    },
    CommandSpec {
        name: "bgsave",
        arity: Arity::AtLeast(1),
        flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::NO_ASYNC_LOADING),
        keys: Keys::None,
        group: Group::Server,
        since: "1.0.0",
        summary: "Saves all data to disk in the background.",
        complexity: "O(1)",
        syntax: "[SCHEDULE]",
        run: Run::OnFirstCore(bgsave),
    },
    CommandSpec {
        name: "lastsave",
        arity: Arity::Exactly(1),
        flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST).and(Flags::ADMIN_CATEGORY).and(Flags::DANGEROUS),
        keys: Keys::None,
        group: Group::Server,
        since: "1.0.0",
        summary: "Tells when the data were last saved to disk, in seconds since the unix epoch.",
        complexity: "O(1)",
        syntax: "",
        run: Run::OnFirstCore(lastsave),
    },
];

const IN_PROGRESS: CommandError = CommandError::text_static("ERR Background save already in progress");

/// SAVE.
fn save(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let now_s = cx.core.clock.unix().seconds();
    let saving = &mut cx.core.node().persistence.saving;
    if saving.is_under_way() {
        return Err(IN_PROGRESS);
    }
    saving.begin(SaveFor::Foreground, now_s);
    cx.core.effects.push(Effect::Save(SaveFor::Foreground));
    cx.reply.ok();
    Ok(())
}

/// BGSAVE [SCHEDULE].
fn bgsave(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let schedules = match args.get(1) {
        None => false,
        Some(word) if args.len() == 2 && is_word(word, "SCHEDULE") => true,
        Some(_) => return Err(CommandError::Syntax),
    };
    let (now_s, in_transaction) = (cx.core.clock.unix().seconds(), cx.caller.must_not_wait);
    let persistence = &mut cx.core.node().persistence;
    let is_busy = persistence.is_rewriting();
    let saving = &mut persistence.saving;
    if saving.is_under_way() {
        return Err(IN_PROGRESS);
    }
    if is_busy || in_transaction {
        if !schedules && !in_transaction {
            return Err(CommandError::text_static(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to \
                 schedule a BGSAVE whenever possible.",
            ));
        }
        saving.scheduled = true;
        cx.reply.simple("Background saving scheduled");
        return Ok(());
    }
    saving.begin(SaveFor::Background, now_s);
    cx.core.effects.push(Effect::Save(SaveFor::Background));
    cx.reply.simple("Background saving started");
    Ok(())
}

/// LASTSAVE.
fn lastsave(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let last_save_s = cx.core.node().persistence.saving.last_save_s;
    cx.reply.integer(last_save_s);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(points: &[(u64, u32)]) -> Config {
        let save = points.iter().map(|(seconds, changes)| SavePoint { seconds: *seconds, changes: *changes }).collect();
        Config { save, ..Config::default() }
    }

    #[test]
    fn a_save_point_needs_its_changes_and_more_than_its_seconds() {
        let config = config(&[(60, 100), (10, 1000)]);
        let mut saving = Saving::new(1000);
        for (now_s, changes, due) in
            [(1061, 99, false), (1060, 100, false), (1061, 100, true), (1010, 1000, false), (1011, 1000, true)]
        {
            assert_eq!(saving.is_due(&config, now_s, changes, false), due, "{now_s} {changes}");
            assert!(!saving.is_due(&config, now_s, changes, true));
        }
    }

    #[test]
    fn what_was_saved_counts_as_changed_no_more() {
        let mut saving = Saving::new(0);
        saving.begin(SaveFor::Background, 10);
        saving.cut(3, 70);
        saving.end(Some(true), 12);
        assert_eq!(saving.unsaved(100), 30);
        saving.begin(SaveFor::Background, 20);
        saving.cut(3, 100);
        saving.end(Some(false), 21);
        assert_eq!(saving.unsaved(100), 30);
        let figures = saving.figures();
        assert_eq!((figures.last_save_s, figures.last_duration_s, figures.failed), (12, Some(1), true));
    }

    #[test]
    fn after_a_failure_the_next_attempt_waits_and_writes_are_refused() {
        let mut config = config(&[(1, 1)]);
        let mut saving = Saving::new(0);
        saving.begin(SaveFor::Background, 10);
        saving.end(Some(false), 10);
        assert!(saving.refuses_writes(&config));
        assert!(!saving.is_due(&config, 15, 1, false));
        assert!(saving.is_due(&config, 16, 1, false));
        config.stop_writes_on_bgsave_error = false;
        assert!(!saving.refuses_writes(&config));
    }

    #[test]
    fn a_failed_save_in_the_foreground_refuses_no_writes() {
        let mut saving = Saving::new(0);
        saving.begin(SaveFor::Foreground, 10);
        saving.end(Some(false), 10);
        assert!(!saving.refuses_writes(&config(&[(1, 1)])));
    }

    #[test]
    fn a_flush_makes_one_due_where_there_are_save_points() {
        let mut saving = Saving::new(0);
        saving.note_flush(&config(&[]));
        assert!(!saving.is_due(&config(&[]), 1, 5, false));
        saving.note_flush(&config(&[(3600, 1)]));
        assert!(saving.is_due(&config(&[(3600, 1)]), 1, 5, false));
        assert!(!saving.is_due(&config(&[(3600, 1)]), 1, 5, false));
    }
}
