//! A command that a script calls: judged as one of the script's client would be, and run on the core that the script runs on.

use super::run::Order;
use crate::base::slot::Slot;
use crate::command::client::{Caller, Client, Endpoint};
use crate::command::context::Context;
use crate::command::core::Core;
use crate::command::error::CommandError;
use crate::command::execute::{self, Call};
use crate::command::gate::{self, Place, Placed};
use crate::command::memory_limit::{self, Pressure};
use crate::command::monitor;
use crate::command::replication::Role;
use crate::command::routing::Standing;
use crate::command::spec::{CommandSpec, Flags, Group, Run as Where};
use crate::command::table::{CommandId, table};
use crate::resp::{Args, ArgsBuf, ReplyBuffer, RespVersion};
use crate::script::{FunctionFlags, Replication, Supply};

const STALE: &str = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
const FOREIGN_KEY: &str = "Script attempted to access a non local key in a cluster node";

/// A script under way, as its commands see it.
pub(super) struct Run {
    caller: Caller,
    /// Its client while it stands still, and the client of a transaction that it is part of while it runs.
    other_guest: Option<Box<Client>>,
    /// The slot of all keys, once it is known.
    slot: Option<Slot>,
    reads_only: bool,
    allows_oom: bool,
    allows_cross_slot: bool,
    has_written: bool,
    /// The node was above its limit when the script began.
    is_out_of_memory: bool,
}

impl Run {
    /// Judges the script by what it says of itself, and puts its client in place: another one than the caller's, whose database and
    /// version of the protocol are its own.
    ///
    /// # Errors
    /// Redis's, for what the script may not do now.
    pub fn begin(cx: &mut Context<'_>, order: &Order<'_>) -> Result<Run, CommandError> {
        let core = &mut *cx.core;
        let is_out_of_memory = core.config.maxmemory != 0 && memory_limit::relieve(core) == Pressure::Full;
        judge(core, order, is_out_of_memory && !cx.caller.must_not_wait)?;
        let flags = order.flags;
        let has = |flag| flags.is_some_and(|flags: FunctionFlags| flags.has(flag));
        let caller = Caller { must_not_wait: true, wants_reply: false, is_slot_open: false, ..cx.caller };
        let client = script_client(&caller, core);
        Ok(Run {
            caller,
            other_guest: Some(Box::new(client)),
            slot: cx.slot,
            reads_only: order.reads_only || has(FunctionFlags::NO_WRITES),
            allows_oom: has(FunctionFlags::ALLOW_OOM),
            allows_cross_slot: flags.is_none() || has(FunctionFlags::ALLOW_CROSS_SLOT),
            has_written: false,
            is_out_of_memory,
        })
    }

    /// The script is about to go on: its client is in place of the caller's.
    pub fn enter(&mut self, core: &mut Core) {
        core.in_script = true;
        std::mem::swap(&mut core.guest, &mut self.other_guest);
    }

    /// The script stands still, or is done.
    pub fn leave(&mut self, core: &mut Core) {
        core.in_script = false;
        std::mem::swap(&mut core.guest, &mut self.other_guest);
    }

    pub fn has_written(&self) -> bool {
        self.has_written
    }

    /// `redis.acl_check_cmd`: there is one user, who may do everything.
    pub fn check(&self, args: &ArgsBuf) -> Supply {
        match find(&args.as_args()) {
            Some(_) => Supply::Flag(true),
            None => Supply::Refused(Vec::new()),
        }
    }

    /// Runs a command, or says why not.
    pub fn call(&mut self, core: &mut Core, args: &ArgsBuf, version: RespVersion, replication: Replication) -> Supply {
        let args = args.as_args();
        let (command, slot) = match self.admit(core, &args) {
            Ok(admitted) => admitted,
            Err((command, text)) => {
                if let Some(command) = command {
                    core.stats.commands[command.index()].rejected += 1;
                }
                let line = text.strip_prefix('-').map_or_else(|| format!("ERR {text}"), str::to_owned);
                core.stats.error(line.as_bytes());
                return Supply::Refused(text.into_bytes());
            }
        };
        let is_muted = replication == Replication { to_file: false, to_replicas: false };
        core.journal.mute(is_muted);
        let db = core.guest.as_ref().map_or(self.caller.db, |client| client.db);
        let call = Call { command, caller: Caller { db, resp: version, ..self.caller }, slot, args };
        let mut reply = ReplyBuffer::new();
        match command.spec().run {
            Where::OnEveryCore { .. } | Where::OnFirstCoreAfterAll { .. } => {
                let share = execute::run_part(core, &call);
                execute::merge(core, &call, vec![share], &mut reply);
            }
            _ => execute::run(core, &call, &mut reply),
        }
        core.journal.mute(false);
        if !core.monitors.is_empty() {
            monitor::feed(core, &call);
        }
        Supply::Reply(reply.to_vec())
    }

    /// The checks of Redis's `scriptCall`, in its order. The error has its code behind a `-`, or none.
    fn admit(
        &mut self,
        core: &Core,
        args: &Args<'_>,
    ) -> Result<(CommandId, Option<Slot>), (Option<CommandId>, String)> {
        let refused = |text: &str| Err((None, text.to_owned()));
        let Some(command) = find(args) else { return refused("Unknown Redis command called from script") };
        let spec = command.spec();
        let refused = |text: String| Err((Some(command), text));
        if !spec.arity.accepts(args.len()) || matches!(spec.run, Where::Container) {
            return refused("Wrong number of args calling Redis command from script".to_owned());
        }
        if (spec.flags.has(Flags::NOSCRIPT) && !core.allows_all_in_scripts) || spec.flags.has(Flags::LATE) {
            return refused("This Redis command is not allowed from script".to_owned());
        }
        let is_stale =
            core.replication.role == Role::Replica { is_linked: false } && !core.config.replica_serve_stale_data;
        if is_stale && !spec.flags.has(Flags::STALE) {
            return refused("Can not execute the command on a stale replica".to_owned());
        }
        if let Err(text) = self.judge_write(core, spec) {
            return refused(text);
        }
        let is_full = self.is_out_of_memory && !self.allows_oom && !self.has_written && !core.obeys();
        if is_full && spec.flags.has(Flags::DENYOOM) {
            return refused(format!("-{}", CommandError::OutOfMemory.text()));
        }
        if spec.flags.has(Flags::WRITE) {
            self.has_written = true;
        }
        // Scripts that name their keys have waited.
        if core.migrations.is_active() && core.migrations.is_written(spec, args) {
            return refused("-TRYAGAIN the script writes a key that is on its way to another node".to_owned());
        }
        match self.place(core, spec, args) {
            Ok(slot) => Ok((command, slot)),
            Err(text) => refused(text),
        }
    }

    fn judge_write(&self, core: &Core, spec: &CommandSpec) -> Result<(), String> {
        let may_write = spec.flags.has(Flags::WRITE) || spec.flags.has(Flags::MAY_REPLICATE);
        if self.reads_only && may_write {
            return Err("Write commands are not allowed from read-only scripts.".to_owned());
        }
        if !spec.flags.has(Flags::WRITE) || self.has_written || core.obeys() {
            return Ok(());
        }
        let error = if core.replication.role.is_replica() && core.config.replica_read_only {
            CommandError::ReadOnly
        } else if let Some(refusal) = &core.disk.refusal {
            refusal.error()
        } else if gate::lacks_replicas(core) {
            CommandError::NoReplicas
        } else {
            return Ok(());
        };
        Err(format!("-{}", error.text()))
    }

    /// The slot of the command's keys, which this core must own.
    fn place(&mut self, core: &Core, spec: &CommandSpec, args: &Args<'_>) -> Result<Option<Slot>, String> {
        let Some(client) = core.guest.as_deref() else { unreachable!("the script's client is in place") };
        if core.obeys() && !core.cluster.enabled {
            return Ok(None);
        }
        let Placed { place, slot, .. } = match gate::place(core, spec, args, Standing::of_request(client, spec)) {
            Ok(placed) => placed,
            Err(CommandError::ClusterDown) => {
                return Err("Script attempted to execute a command while the cluster is down".to_owned());
            }
            Err(CommandError::Text(text)) if text.starts_with(b"CLUSTERDOWN") => {
                return Err(
                    "Script attempted to execute a write command while the cluster is down and readonly".to_owned()
                );
            }
            Err(_) => return Err(FOREIGN_KEY.to_owned()),
        };
        let is_elsewhere = match place {
            Place::Core(owner) => owner != core.id,
            // Without cluster mode all keys are here, and what else concerns other cores does not concern scripts.
            Place::Every => core.cluster.enabled && core.facts.cores_count > 1 && spec.group != Group::PubSub,
            Place::Connection | Place::Transaction => false,
        };
        if is_elsewhere {
            return Err(if slot.is_some() { FOREIGN_KEY } else { ELSEWHERE }.to_owned());
        }
        if let Some(slot) = slot
            && !self.allows_cross_slot
            && *self.slot.get_or_insert(slot) != slot
        {
            return Err("Script attempted to access keys that do not hash to the same slot".to_owned());
        }
        Ok(slot)
    }
}

const ELSEWHERE: &str = "This Redis command is not allowed from script: it concerns other cores of this node";

/// The row, of the sub-command where there is one.
fn find(args: &Args<'_>) -> Option<CommandId> {
    let command = table().find(args.get(0)?)?;
    match args.get(1) {
        Some(sub) if command.spec().run.is_container() => table().find_sub(command, sub),
        _ => Some(command),
    }
}

/// What the script says of itself against how the node stands: as if the script were a command with these flags
/// (Redis's `scriptFlagsToCmdFlags`).
fn judge(core: &Core, order: &Order<'_>, is_out_of_memory: bool) -> Result<(), CommandError> {
    let text = |text: &'static str| Err(CommandError::text_static(text));
    let is_stale = core.replication.role == Role::Replica { is_linked: false } && !core.config.replica_serve_stale_data;
    let Some(flags) = order.flags else {
        return match is_stale {
            true => text(STALE),
            false => Ok(()),
        };
    };
    if flags.has(FunctionFlags::NO_CLUSTER) && core.cluster.enabled {
        return text("ERR Can not run script on cluster, 'no-cluster' flag is set.");
    }
    if is_stale && !flags.has(FunctionFlags::ALLOW_STALE) {
        return text(STALE);
    }
    if !flags.has(FunctionFlags::NO_WRITES) {
        if core.replication.role.is_replica() && core.config.replica_read_only && !core.obeys() {
            return Err(CommandError::ReadOnly);
        }
        if let Some(refusal) = core.disk.refusal.as_ref().filter(|_| !core.obeys()) {
            return Err(refusal.error());
        }
        if order.reads_only {
            return text("ERR Can not execute a script with write flag using *_ro command.");
        }
        if gate::lacks_replicas(core) {
            return Err(CommandError::NoReplicas);
        }
        if is_out_of_memory && !flags.has(FunctionFlags::ALLOW_OOM) {
            return Err(CommandError::OutOfMemory);
        }
    }
    Ok(())
}

/// The client of a script's commands: found in place of the one that has sent the script, and thrown away afterwards.
fn script_client(caller: &Caller, core: &Core) -> Client {
    let nowhere = || Endpoint::Unix(monitor::SCRIPT_SOURCE.to_owned());
    let mut client = Client::new(caller.client.id, caller.client.index, -1, nowhere(), nowhere(), core.clock.unix());
    (client.db, client.authenticated, client.no_touch) = (caller.db, true, caller.no_touch);
    (client.readonly, client.asking) = (caller.readonly, caller.asking);
    client
}
