//! Scripts that take too long.
//!
//! Redis answers its clients from within the script then. Here the script stands still between two slices, in which its core serves
//! whoever comes: with BUSY, but for the few commands that are allowed then. Only scripts that have not written are parked: others
//! could not be killed anyway, and what they have changed would show half done.

use super::Running;
use super::run::{Came, Script, now_us, reply_of};
use crate::command::client::Caller;
use crate::command::context::Context;
use crate::command::core::{Core, Effect};
use crate::command::error::CommandError;
use crate::command::spec::{CommandResult, Part};
use crate::resp::{Args, Reply, ReplyBuffer, RespVersion};
use crate::script::Supply;

/// How long the script goes on before the core looks after its clients.
const SLICE_US: u64 = 2_000;

const KILLED: &[u8] = b"Script killed by user with SCRIPT KILL...";

/// A script that stands still.
pub(super) struct Parked {
    script: Script,
    caller: Caller,
    /// Under which number its client awaits the reply; the runtime says it.
    sequence: u32,
    is_killed: bool,
}

/// Leaves a script standing.
pub(super) fn park(core: &mut Core, caller: Caller, script: Script) {
    let Running { name, is_function, begun_us, .. } = &script.running;
    tracing::warn!(
        "Slow script detected: still in execution after {} milliseconds. You can try killing the script using the {} \
         command. Script name is: {}.",
        now_us().saturating_sub(*begun_us) / 1000,
        if *is_function { "FUNCTION KILL" } else { "SCRIPT KILL" },
        String::from_utf8_lossy(name)
    );
    core.scripting.parked = Some(Box::new(Parked { script, caller, sequence: 0, is_killed: false }));
}

impl Core {
    /// Whether a script has been running for too long: nearly everything is refused.
    #[inline]
    pub fn is_busy(&self) -> bool {
        self.scripting.parked.is_some()
    }

    /// Whether there is such a script, and it may go on: it might write, and is not to while the node or some of its slots are being handed
    /// over. That may take seconds, a pause that a client asks for any time: that one does not hold it.
    pub fn has_script_to_go_on_with(&self) -> bool {
        let is_held = || self.pause.is_of_node() || self.migration.held.is_some();
        self.scripting.parked.as_ref().is_some_and(|parked| parked.is_killed || !is_held())
    }

    /// The script that has just been parked is to be answered under this number.
    pub fn answer_parked_as(&mut self, sequence: u32) {
        if let Some(parked) = &mut self.scripting.parked {
            parked.sequence = sequence;
        }
    }

    /// What is refused while a script runs.
    #[cold]
    pub fn busy_error(&self) -> CommandError {
        match &self.scripting.parked {
            Some(parked) if parked.script.running.is_function => BUSY_WITH_FUNCTION,
            _ => BUSY_WITH_SCRIPT,
        }
    }

    /// Goes on with the script that is parked, for a while. Its reply, if it is done, is an effect.
    pub fn go_on_with_script(&mut self) {
        let Some(mut parked) = self.scripting.parked.take() else { return };
        let supply = if parked.is_killed { Supply::Kill(KILLED.to_vec()) } else { Supply::GoOn };
        let limit_us = (!parked.is_killed).then_some(SLICE_US);
        let position = self.journal.position();
        match parked.script.go_on(self, supply, limit_us) {
            Came::ThisFar => self.scripting.parked = Some(parked),
            Came::ToAnEnd(outcome) => {
                let Parked { script, caller, sequence, .. } = *parked;
                self.scripting.engine = Some(script.engine);
                let reply = reply_of(self, outcome).unwrap_or_else(|error| {
                    let line = error.line();
                    if !std::mem::take(&mut self.scripting.is_error_counted) {
                        self.stats.error(&line);
                    }
                    let mut reply = ReplyBuffer::new();
                    Reply::new(&mut reply, RespVersion::V2).error(&line);
                    reply
                });
                let recorded = self.journal.position() != position;
                self.effects.push(Effect::Answer { to: caller.client, sequence, reply: Box::new(reply), recorded });
            }
        }
    }
}

const BUSY_WITH_SCRIPT: CommandError =
    CommandError::text_static("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.");
const BUSY_WITH_FUNCTION: CommandError = CommandError::text_static(
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
);
const NOT_BUSY: CommandError = CommandError::text_static("NOTBUSY No scripts in execution right now.");

/// SCRIPT KILL on one core: `None` where there is nothing to kill.
pub(super) fn kill_script_part(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    kill(cx.core, false)
}

/// FUNCTION KILL on one core.
pub(super) fn kill_function_part(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    kill(cx.core, true)
}

fn kill(core: &mut Core, of_functions: bool) -> Result<Part, CommandError> {
    let error = core.busy_error();
    let outcome = match &mut core.scripting.parked {
        None => None,
        Some(parked) if parked.script.running.is_function != of_functions => Some(Err(error)),
        Some(parked) => {
            parked.is_killed = true;
            tracing::info!("Lua script killed by user with SCRIPT KILL.");
            Some(Ok(()))
        }
    };
    Ok(Part::new(outcome))
}

/// Killed is killed, whatever other cores say.
pub(super) fn kill_merge(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    type Outcome = Option<Result<(), CommandError>>;
    let outcomes: Vec<Result<(), CommandError>> = parts.into_iter().filter_map(Part::take::<Outcome>).collect();
    if !outcomes.iter().any(Result::is_ok) {
        outcomes.into_iter().next().unwrap_or(Err(NOT_BUSY))?;
    }
    cx.reply.ok();
    Ok(())
}

/// FUNCTION STATS on one core: the function that has been running for too long.
pub(super) fn running_part(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    match &cx.core.scripting.parked {
        Some(parked) if !parked.script.running.is_function => Err(BUSY_WITH_SCRIPT),
        parked => Ok(Part::new(parked.as_ref().map(|parked| parked.script.running.clone()))),
    }
}

/// The function that runs, as FUNCTION STATS shows it.
pub(super) fn write_running(reply: &mut Reply<'_>, running: Option<&Running>) {
    let Some(running) = running else { return reply.null() };
    reply.map(3);
    reply.bulk(b"name");
    reply.bulk(&running.name);
    reply.bulk(b"command");
    reply.array(running.words.len());
    running.words.iter().for_each(|word| reply.bulk(word));
    reply.bulk(b"duration_ms");
    reply.integer((now_us().saturating_sub(running.begun_us) / 1000) as i64);
}
