//! Persistence at work: the files behind `command::persistence` and `persist`.
//!
//! **A change on its way to the disk** (`append_only`): a handler changes keys and `execute` records the change in its core's
//! `Journal`. At the end of a turn that core takes the bytes and writes them to its own incremental file through its client ring,
//! one write under way at a time; an fsync follows as `appendfsync` says. With `always` a reply waits on its core,
//! by the journal's position, until an fsync covers it; replies to reads, and to writes of other cores, go at once.
//!
//! The files of all cores stand in one manifest, which core 0 changes (`requests::files`) when a core goes on to another file.
//!
//! **A snapshot** (`snapshot`): core 0 begins a *cut*. Its number goes with every envelope of the mesh, so that a core that
//! hears from one behind the cut begins its own before it runs anything that came after; until all cores have begun, none lets
//! a reply out. From its cut on, a core's keyspace hands each old value out before it changes, and a walker hands out
//! the others in slices, as the `pace` allows. What they hand out is encoded at once (`persist::rdb`) and goes in chunks
//! to core 0, which appends them to one file. BGSAVE, BGREWRITEAOF's base, a full synchronisation and a slot that leaves
//! all use it.
//!
//! **Loading** (`loading`): a thread of its own reads the files and finds the records in them; batches go to the cores that own
//! the keys, which decode and insert, or run, them between their turns. Until all is there, clients are told `-LOADING`.

pub mod append_only;
pub mod check_aof;
pub mod disk;
pub mod loading;
pub(super) mod pace;
mod priority;
pub mod snapshot;
pub mod snapshot_file;
pub mod snapshot_stream;
pub mod snapshot_target;
