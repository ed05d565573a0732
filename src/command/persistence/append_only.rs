//! The append-only files, as commands see them: what INFO tells of each core's file, why writes are refused, and the faults that
//! tests put into the disk.
//!
//! The files are written by `runtime/persistence/append_only`, which keeps these figures up to date.

use crate::base::clock::Clock;
use crate::base::core_id::CoreId;
use crate::base::number::parse_i64;
use crate::command::arguments::integer;
use crate::command::blocking::{self, Nothing, Timeout, Wait};
use crate::command::context::Context;
use crate::command::core::Effect;
use crate::command::error::CommandError;
use crate::command::replication::peers::ReplicaQuestion;
use crate::command::replication::replicas::Having;
use crate::command::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::config::Config;
use crate::keyspace::ValueKind;
use crate::resp::Args;

/// After one failure the next rewrite that is due by itself waits twice as long, and so on.
const RETRY_DELAY_S: i64 = 30;
const RETRY_DOUBLINGS: u64 = 7;

/// The rows of this family.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "bgrewriteaof",
        arity: Arity::Exactly(1),
        flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::NO_ASYNC_LOADING),
        keys: Keys::None,
        group: Group::Server,
        since: "1.0.0",
        summary: "Rewrites the append-only files in the background: a base with the data as they are, and files for what follows.",
        complexity: "O(1)",
        syntax: "",
        run: Run::OnFirstCore(bgrewriteaof),
    },
    CommandSpec {
        name: "waitaof",
        arity: Arity::Exactly(4),
        flags: Flags::BLOCKING.and(Flags::CONNECTION),
        keys: Keys::None,
        group: Group::Generic,
        since: "7.2.0",
        summary: "Waits until what the connection has written is on the disk, here and on this many replicas.",
        complexity: "O(1)",
        syntax: "numlocal numreplicas timeout",
        run: Run::OnConnection(waitaof),
    },
];

/// BGREWRITEAOF. While another file is being written it is scheduled for afterwards. With `appendonly no` too: a base is written that
/// has all there is, and nothing follows it.
fn bgrewriteaof(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let in_transaction = cx.caller.must_not_wait;
    let now_s = cx.core.clock.unix().seconds();
    let persistence = &mut cx.core.node().persistence;
    let is_saving = persistence.saving.is_under_way();
    let files = &mut persistence.append_only;
    if files.is_rewriting() {
        return Err(CommandError::text_static("ERR Background append only file rewriting already in progress"));
    }
    if is_saving || in_transaction {
        (files.scheduled, files.failures_in_a_row) = (true, 0);
        cx.reply.simple("Background append only file rewriting scheduled");
        return Ok(());
    }
    files.begin_rewrite(now_s);
    cx.core.effects.push(Effect::Rewrite);
    cx.reply.simple("Background append only file rewriting started");
    Ok(())
}

/// WAITAOF numlocal numreplicas timeout: with `numlocal` 1, every core is asked when all that it has recorded so far is on the
/// disk, which covers what this client has written.
fn waitaof(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let local_wanted = integer(&args[1])?;
    if !(0..=1).contains(&local_wanted) {
        return Err(CommandError::text_static("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas_wanted = parse_i64(&args[2])
        .filter(|count| *count >= 0)
        .ok_or(CommandError::text_static("ERR value is out of range, must be positive"))?;
    let timeout = Timeout::milliseconds(&args[3])?;
    if cx.core.replication.role.is_replica() {
        return Err(CommandError::text_static(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local \
             and are not propagated.",
        ));
    }
    if local_wanted == 1 && !cx.core.config.appendonly {
        return Err(no_files());
    }
    let local_wanted = usize::try_from(local_wanted).unwrap_or(0);
    let wanted = usize::try_from(replicas_wanted).unwrap_or(usize::MAX);
    let nothing = Nothing::Safe { local: 0, replicas: 0, local_wanted, replicas_wanted: wanted };
    if cx.caller.must_not_wait {
        nothing.write(&mut cx.reply);
        return Ok(());
    }
    let client = cx.caller.client;
    let of_nothing = !cx.client().has_written;
    cx.core.effects.push(Effect::AskReplicas(ReplicaQuestion { client, having: Having::Durable, wanted, of_nothing }));
    if cx.core.config.appendonly {
        cx.core.effects.push(Effect::AwaitDurable(client));
    }
    blocking::wait(cx, waits(timeout, nothing))
}

/// WAITAOF without append-only files.
pub fn no_files() -> CommandError {
    CommandError::text_static("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.")
}

/// A wait that no key ends.
pub(in crate::command) fn waits(timeout: Timeout, nothing: Nothing) -> Wait {
    Wait { keys: Vec::new(), kind: ValueKind::String, or_removed: false, timeout, nothing, request: None }
}

/// What one core tells of its append-only file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendFigures {
    /// It has one.
    pub is_open: bool,
    /// Bytes in it, or on their way. On core 0 with those of the files that came before.
    pub size_bytes: u64,
    /// As `size_bytes`, as of the start or the last rewrite.
    pub base_bytes: u64,
    /// Recorded and not written.
    pub buffer_bytes: u64,
    /// 1 while an fsync is under way.
    pub syncs_pending: u64,
    /// How often the disk was so slow that replies had to wait although `appendfsync` is `everysec`.
    pub syncs_delayed: u64,
    /// The last write, or the last fsync, failed.
    pub is_failing: bool,
}

impl AppendFigures {
    /// Another core's.
    pub fn add(&mut self, other: AppendFigures) {
        self.is_open |= other.is_open;
        self.size_bytes += other.size_bytes;
        self.base_bytes += other.base_bytes;
        self.buffer_bytes += other.buffer_bytes;
        self.syncs_pending += other.syncs_pending;
        self.syncs_delayed += other.syncs_delayed;
        self.is_failing |= other.is_failing;
    }
}

/// What is known of the append-only files; core 0's.
#[derive(Default)]
pub struct AppendOnly {
    /// When the rewrite under way began, in seconds since the unix epoch.
    begun_s: Option<i64>,
    /// `appendonly yes` was said: the first rewrite begins when the folder is open.
    is_about_to_begin: bool,
    /// `appendonly yes` was said, and no manifest leads to the data yet.
    awaits_base: bool,
    /// A rewrite is to begin as soon as it can.
    scheduled: bool,
    last_duration_s: Option<i64>,
    has_failed: bool,
    count: u64,
    failures_in_a_row: u64,
    /// After failures no rewrite begins by itself before this time.
    retry_s: i64,
    /// Of each core's file, or of all: bytes now, and at the start or the last rewrite.
    sizes: Vec<(u64, u64)>,
    /// Why the folder cannot be worked on.
    folder_failure: Option<String>,
    /// The cores whose file cannot be written, with the system's reasons.
    failing: Vec<(CoreId, String)>,
}

/// What INFO tells of rewriting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RewriteFigures {
    pub in_progress: bool,
    pub scheduled: bool,
    /// -1 before the first.
    pub last_duration_s: i64,
    /// -1 when there is none under way.
    pub current_duration_s: i64,
    pub has_failed: bool,
    /// Begun since the start.
    pub count: u64,
    pub failures_in_a_row: u64,
}

impl Default for RewriteFigures {
    fn default() -> RewriteFigures {
        RewriteFigures {
            in_progress: false,
            scheduled: false,
            last_duration_s: -1,
            current_duration_s: -1,
            has_failed: false,
            count: 0,
            failures_in_a_row: 0,
        }
    }
}

impl AppendOnly {
    /// What INFO tells of rewriting.
    pub fn figures(&self, clock: &Clock) -> RewriteFigures {
        RewriteFigures {
            in_progress: self.is_rewriting(),
            scheduled: self.scheduled,
            last_duration_s: self.last_duration_s.unwrap_or(-1),
            current_duration_s: self.begun_s.map_or(-1, |begun_s| clock.unix().seconds() - begun_s),
            has_failed: self.has_failed,
            count: self.count,
            failures_in_a_row: self.failures_in_a_row,
        }
    }

    /// `appendonly yes`: whoever asks from now on whether a rewrite is under way, as tools do until there are files, is told so.
    /// While a snapshot is being written it is scheduled.
    pub fn turned_on(&mut self, is_saving: bool) {
        self.is_about_to_begin = !is_saving && self.begun_s.is_none();
        self.scheduled |= is_saving;
        self.awaits_base = true;
    }

    /// Whether the data are in no append-only file yet although they are to be: the first rewrite has not ended. Without files, with
    /// `appendonly no`, it says nothing.
    pub fn awaits_base(&self) -> bool {
        self.awaits_base
    }

    /// No manifest leads to the data before the rewrite that is about to begin has ended.
    pub fn begins_files(&mut self) {
        self.awaits_base = true;
        self.schedule();
    }

    /// The manifest leads to all data.
    pub fn base_is_named(&mut self) {
        self.awaits_base = false;
    }

    /// `appendonly no`, or the folder cannot be opened.
    pub fn does_not_begin(&mut self) {
        self.is_about_to_begin = false;
    }

    /// A rewrite begins. Handlers say it before the runtime does, so that there are never two.
    pub fn begin_rewrite(&mut self, now_s: i64) {
        assert!(self.begun_s.is_none(), "one rewrite at a time");
        (self.begun_s, self.scheduled, self.is_about_to_begin) = (Some(now_s), false, false);
        self.count += 1;
    }

    /// It has ended; `outcome` is `None` when it was given up.
    pub fn end_rewrite(&mut self, outcome: Option<bool>, now_s: i64) {
        let Some(begun_s) = self.begun_s.take() else { return };
        self.last_duration_s = Some(now_s - begun_s);
        match outcome {
            Some(true) => (self.has_failed, self.failures_in_a_row) = (false, 0),
            Some(false) => {
                self.has_failed = true;
                self.failures_in_a_row += 1;
                let delay_s = RETRY_DELAY_S << self.failures_in_a_row.min(RETRY_DOUBLINGS);
                self.retry_s = now_s + delay_s;
            }
            None => {}
        }
    }

    /// To begin as soon as it can, and without waiting for anything but that.
    pub fn schedule(&mut self) {
        self.scheduled = true;
    }

    /// Whether a rewrite begins as soon as nothing is in its way.
    pub fn is_scheduled(&self) -> bool {
        self.scheduled
    }

    /// Whether a rewrite is to begin now; `is_busy` while other work on files excludes it.
    pub fn is_rewrite_due(&mut self, config: &Config, now_s: i64, is_busy: bool) -> bool {
        if self.begun_s.is_some() || is_busy {
            return false;
        }
        if self.scheduled || !config.appendonly {
            return self.scheduled;
        }
        let size_bytes: u64 = self.sizes.iter().map(|(size, _)| size).sum();
        let base_bytes: u64 = self.sizes.iter().map(|(_, base)| base).sum::<u64>().max(1);
        let percentage = u64::from(config.auto_aof_rewrite_percentage);
        if percentage == 0 || size_bytes <= config.auto_aof_rewrite_min_size || now_s < self.retry_s {
            return false;
        }
        let growth = (u128::from(size_bytes) * 100 / u128::from(base_bytes)).saturating_sub(100);
        let is_due = growth >= u128::from(percentage);
        if is_due {
            tracing::info!("Starting automatic rewriting of AOF on {growth}% growth");
        }
        is_due
    }

    /// A core tells how large its file is.
    pub fn core_size(&mut self, core: CoreId, size_bytes: u64, base_bytes: u64) {
        self.sizes.resize(self.sizes.len().max(core.index() + 1), (0, 0));
        self.sizes[core.index()] = (size_bytes, base_bytes);
    }

    /// The folder cannot be worked on, or can be again.
    pub fn folder_reports(&mut self, failure: Option<String>) {
        self.folder_failure = failure;
    }

    /// There are no append-only files any more.
    pub fn forget_files(&mut self) {
        self.sizes.clear();
        self.failing.clear();
        (self.folder_failure, self.scheduled, self.awaits_base) = (None, false, false);
    }

    /// A core's file cannot be written, or can be again.
    pub fn core_reports(&mut self, core: CoreId, failure: Option<String>) {
        self.failing.retain(|(other, _)| *other != core);
        self.failing.extend(failure.map(|reason| (core, reason)));
    }

    /// Whether the files are being rewritten.
    pub fn is_rewriting(&self) -> bool {
        self.begun_s.is_some() || self.is_about_to_begin
    }

    /// Why commands that write are refused, if they are.
    pub fn failure(&self) -> Option<&str> {
        self.failing.first().map(|(_, reason)| reason.as_str()).or(self.folder_failure.as_deref())
    }
}

/// DEBUG DISK-FAULT: what the disk shall do instead of what it is asked, so that tests see what the node makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskFault {
    pub operation: DiskOperation,
    pub kind: FaultKind,
    /// For so many operations.
    pub times: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskOperation {
    Write,
    Fsync,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It fails with this number.
    Error(i32),
    /// It writes only half.
    Short,
    /// It does not begin until another fault, or none, takes the place of this one.
    Hold,
    /// It works.
    None,
}
