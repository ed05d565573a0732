//! The stack on which a Lua machine runs, and the two ways over its edge: demands out, supplies in.

use std::cell::Cell;
use std::ptr;
use std::rc::Rc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::machine::{Job, Machine, Outcome};
use crate::resp::{ArgsBuf, RespVersion};

/// Address space of the stack; the system gives it memory as it is used. Lua's pattern matching and its parser recurse, as does the
/// conversion of nested tables.
const STACK_BYTES: usize = 16 << 20;

/// What the machine wants before it goes on.
pub enum Demand {
    /// Run this command and supply its reply in this version of the protocol.
    Call { args: ArgsBuf, version: RespVersion, replication: Replication },
    /// Say whether the script's user may run this command: supply `Flag`, or an error's text.
    Check(ArgsBuf),
    /// A line for the log, of a level from 0 (debug) to 3 (warning).
    Log { level: u8, line: Vec<u8> },
    /// So many instructions have gone by: supply `GoOn` or `Kill`.
    Tick,
    /// The job is done, and the next one may come. `memory_bytes`: what the machine takes now.
    Done { outcome: Outcome, memory_bytes: usize },
}

/// Where the changes of a command go (`redis.set_repl`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replication {
    pub to_file: bool,
    pub to_replicas: bool,
}

impl Replication {
    pub const ALL: Replication = Replication { to_file: true, to_replicas: true };
}

/// What the machine is given.
pub enum Supply {
    Start(Box<Job>),
    /// The reply to a command as bytes of the protocol.
    Reply(Vec<u8>),
    /// The command was not run, for this reason (without an error code).
    Refused(Vec<u8>),
    Flag(bool),
    GoOn,
    /// End the script with an error of this text, which it cannot catch.
    Kill(Vec<u8>),
}

/// A Lua machine that stands still between two calls of `resume`.
pub struct Engine {
    /// Only a machine that is at rest is dropped: its stack has nothing but itself.
    coroutine: Option<Coroutine<Supply, Demand, ()>>,
    is_running: bool,
    memory_bytes: usize,
}

impl Engine {
    /// `seed` is for `math.random`.
    ///
    /// # Errors
    /// There is no address space for the stack.
    pub fn new(seed: u32) -> std::io::Result<Engine> {
        let stack = DefaultStack::new(STACK_BYTES)?;
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<Supply, Demand>, first| {
            let edge = Edge(Rc::new(Cell::new(ptr::from_ref(yielder))));
            let mut machine = Machine::new(&edge, seed);
            let mut supply = first;
            while let Supply::Start(job) = supply {
                let outcome = machine.run(*job);
                supply = edge.ask(Demand::Done { outcome, memory_bytes: machine.memory_bytes() });
            }
        });
        Ok(Engine { coroutine: Some(coroutine), is_running: false, memory_bytes: 0 })
    }

    /// What the machine took when its last job was done.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Begins a job, or goes on with the one that waits for `supply`.
    ///
    /// # Panics
    /// When a job is begun before the last one was done, or the other way round: our own mistake.
    pub fn resume(&mut self, supply: Supply) -> Demand {
        assert_eq!(self.is_running, !matches!(supply, Supply::Start(_)), "one job at a time");
        let coroutine = self.coroutine.as_mut().expect("the machine is there until it is dropped");
        let CoroutineResult::Yield(demand) = coroutine.resume(supply) else {
            unreachable!("jobs never end the machine")
        };
        self.is_running = true;
        if let Demand::Done { memory_bytes, .. } = demand {
            (self.is_running, self.memory_bytes) = (false, memory_bytes);
        }
        demand
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(mut coroutine) = self.coroutine.take() else { return };
        if self.is_running {
            // Frames of Lua's C code cannot be unwound: the process is about to end, and takes them with it.
            std::mem::forget(coroutine);
        } else if coroutine.started() {
            // What is no job ends the loop, and with it the machine.
            let _ = coroutine.resume(Supply::GoOn);
        }
    }
}

/// The way out of the machine, for the functions that Lua calls.
#[derive(Clone)]
pub(super) struct Edge(Rc<Cell<*const Yielder<Supply, Demand>>>);

impl Edge {
    /// Stands still until whoever drives the engine supplies what is wanted.
    pub fn ask(&self, demand: Demand) -> Supply {
        // SAFETY: the pointer is of the yielder that the coroutine's body has borrowed for as long as it runs. Every copy of an `Edge`
        // belongs to the machine, which the body owns and drops before it returns, and is used by nothing but functions that the machine
        // calls, on the coroutine's stack.
        unsafe { (*self.0.get()).suspend(demand) }
    }
}
