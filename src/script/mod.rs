//! Scripts: Lua 5.1 with what Redis adds to it and without what it takes away. Knows no core, no client and no key.
//!
//! The way of a script. An [`Engine`] is a Lua machine on a stack of its own (a coroutine, so that it can stand still in the
//! middle of a script). The command layer hands it a [`Job`], and it runs until it needs something: a command to be run
//! (`redis.call`), a line for the log, or just a look at the clock after so many instructions. Then it hands out a [`Demand`] and stands still;
//! whoever drives it does what is asked, or something else in between, and resumes it with a [`Supply`]. So a script never holds on to the
//! core that it runs on, and one that takes too long can be left standing while the core tells its clients so.
//!
//! `prelude.lua` is the part of the machine that is best said in Lua: errors with the position of the script, and tables that cannot be
//! changed. `values` turns replies into Lua values and back.

mod api;
mod bits;
mod engine;
mod json;
mod library;
mod machine;
mod msgpack;
mod native;
mod packing;
mod values;

pub use api::digest;
pub use engine::Replication;
pub use engine::{Demand, Engine, Supply};
pub use library::{FunctionFacts, FunctionFlags, Shebang};
pub use machine::{Job, Outcome};
