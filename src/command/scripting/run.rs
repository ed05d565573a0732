//! Driving the engine: a job is begun, what it demands is done, until it is done itself.

use super::call::Run;
use super::{Running, Scripting};
use crate::command::context::Context;
use crate::command::core::Core;
use crate::command::error::CommandError;
use crate::resp::{Args, ReplyBuffer, RespVersion};
use crate::script::{Demand, Engine, FunctionFlags, Job, Outcome, Supply};

/// What the machine may be doing for so long before a library's code is given up (FUNCTION LOAD).
const LOAD_LIMIT_MS: u64 = 500;

/// How a script is to be run.
pub(super) struct Order<'a> {
    pub job: Job,
    /// The digest, or the function's name.
    pub name: &'a [u8],
    pub is_function: bool,
    /// Of a script or function that says something of itself.
    pub flags: Option<FunctionFlags>,
    /// EVAL_RO and its like.
    pub reads_only: bool,
}

impl Scripting {
    /// # Errors
    /// There is no memory for a machine.
    fn take_engine(&mut self, seed: impl FnOnce() -> u32) -> Result<Engine, CommandError> {
        let engine = self.engine.take().map_or_else(|| Engine::new(seed()), Ok);
        engine.map_err(|error| CommandError::formatted(format!("ERR no memory for the machine of scripts: {error}")))
    }

    pub(super) fn unload(&mut self, generation: u64) {
        if let Some(engine) = &mut self.engine {
            engine.resume(Supply::Start(Box::new(Job::Unload { generation })));
        }
    }
}

/// Has the machine do something that calls no commands: compile a script, or run the code of a library.
pub(super) fn prepare(core: &mut Core, job: Job) -> Outcome {
    let mut engine = match core.scripting.take_engine(|| core.random.next_u64() as u32) {
        Ok(engine) => engine,
        Err(error) => return Outcome::Failed(error.line().into_owned()),
    };
    let begun_us = now_us();
    let obeys = core.obeys();
    let mut supply = Supply::Start(Box::new(job));
    let outcome = loop {
        supply = match engine.resume(supply) {
            Demand::Done { outcome, .. } => break outcome,
            Demand::Log { level, line } => log(level, &line),
            Demand::Tick if !obeys && now_us().saturating_sub(begun_us) > LOAD_LIMIT_MS * 1000 => {
                Supply::Kill(b"FUNCTION LOAD timeout".to_vec())
            }
            Demand::Tick => Supply::GoOn,
            Demand::Call { .. } | Demand::Check(_) => Supply::Refused(b"there are no commands here".to_vec()),
        };
    };
    core.scripting.engine = Some(engine);
    outcome
}

/// The time, which does not stand still while a script runs.
pub(super) fn now_us() -> u64 {
    crate::base::clock::Clock::read().monotonic_us()
}

fn log(level: u8, line: &[u8]) -> Supply {
    let line = String::from_utf8_lossy(line);
    match level {
        0 => tracing::trace!("{line}"),
        1 => tracing::debug!("{line}"),
        2 => tracing::info!("{line}"),
        _ => tracing::warn!("{line}"),
    }
    Supply::GoOn
}

/// How far a script has come.
pub(super) enum Came {
    ToAnEnd(Outcome),
    /// It has taken as long as it was given.
    ThisFar,
}

/// A script under way.
pub(super) struct Script {
    pub engine: Engine,
    pub run: Run,
    pub running: Running,
}

impl Script {
    /// Goes on, with `supply`, until the script is done or `limit_us` is over; a script that has written goes on to its end.
    pub fn go_on(&mut self, core: &mut Core, mut supply: Supply, limit_us: Option<u64>) -> Came {
        let begun_us = now_us();
        self.run.enter(core);
        let was_held = core.journal.hold();
        let came = loop {
            supply = match self.engine.resume(supply) {
                Demand::Done { outcome, .. } => break Came::ToAnEnd(outcome),
                Demand::Log { level, line } => log(level, &line),
                Demand::Tick => match limit_us {
                    Some(limit_us) if !self.run.has_written() && now_us().saturating_sub(begun_us) >= limit_us => {
                        break Came::ThisFar;
                    }
                    _ => Supply::GoOn,
                },
                Demand::Check(args) => self.run.check(&args),
                Demand::Call { args, version, replication } => self.run.call(core, &args, version, replication),
            };
        };
        if !was_held {
            core.journal.end_transaction();
        }
        self.run.leave(core);
        came
    }
}

/// Runs a script for a client, and writes its reply unless it is parked.
///
/// # Errors
/// Why it may not run.
pub(super) fn run(cx: &mut Context<'_>, args: &Args<'_>, order: Order<'_>) -> Result<(), CommandError> {
    let run = Run::begin(cx, &order)?;
    let Order { job, name, is_function, .. } = order;
    let core = &mut *cx.core;
    let words = || args.iter().map(<[u8]>::to_vec).collect();
    let may_park = core.scripting.may_park && core.config.busy_reply_threshold > 0;
    let running = Running {
        name: name.to_vec(),
        is_function,
        words: if may_park { words() } else { Vec::new() },
        begun_us: now_us(),
    };
    let engine = core.scripting.take_engine(|| core.random.next_u64() as u32)?;
    let mut script = Script { engine, run, running };
    let limit_us = may_park.then(|| core.config.busy_reply_threshold.saturating_mul(1000));
    let came = script.go_on(core, Supply::Start(Box::new(job)), limit_us);
    // What the script came to is recorded.
    core.journal.replace_request();
    match came {
        Came::ToAnEnd(outcome) => {
            core.scripting.engine = Some(script.engine);
            let mut reply = reply_of(core, outcome)?;
            cx.reply.append(&mut reply);
        }
        Came::ThisFar => super::parked::park(core, cx.caller, script),
    }
    Ok(())
}

/// What a script's client is answered.
///
/// # Errors
/// The error reply, whether the script has failed with it or returned it. One that is in the books of a command already is marked as such.
pub(super) fn reply_of(core: &mut Core, outcome: Outcome) -> Result<ReplyBuffer, CommandError> {
    match outcome {
        Outcome::Reply { reply, failed: true, is_counted } => {
            core.scripting.is_error_counted = is_counted;
            let bytes = reply.to_vec();
            let line = bytes.trim_ascii_end();
            Err(CommandError::Text(line.strip_prefix(b"-").unwrap_or(line).to_vec().into()))
        }
        Outcome::Reply { reply, .. } => Ok(reply),
        Outcome::Failed(text) => Err(CommandError::Text([b"ERR ", &*text].concat().into())),
        Outcome::Done | Outcome::Loaded(_) => unreachable!("a script that was run has a reply"),
    }
}

/// KEYS and ARGV of a request: the number of keys stands at `count_at`.
pub(super) fn split(args: &Args<'_>, count_at: usize, keys_count: usize) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut words = args.iter().skip(count_at + 1).map(<[u8]>::to_vec);
    let keys = words.by_ref().take(keys_count).collect();
    (keys, words.collect())
}

/// How many keys there are; `not_a_number` is the error for what is none.
///
/// # Errors
/// Redis's texts.
pub(super) fn keys_count(args: &Args<'_>, count_at: usize, not_a_number: CommandError) -> Result<usize, CommandError> {
    let count = crate::base::number::parse_i64(&args[count_at]).ok_or(not_a_number)?;
    let most = args.len() - count_at - 1;
    match usize::try_from(count) {
        Err(_) => Err(CommandError::text_static("ERR Number of keys can't be negative")),
        Ok(count) if count > most => {
            Err(CommandError::text_static("ERR Number of keys can't be greater than number of args"))
        }
        Ok(count) => Ok(count),
    }
}

/// The version that the reply is written in.
pub(super) fn version(cx: &Context<'_>) -> RespVersion {
    cx.reply.version()
}
