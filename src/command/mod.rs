//! Commands: the table of rows, the gate that every request passes, the handlers, one file per family.
//!
//! A request comes from the runtime as `Args` of a client: `gate::check` judges it and names the core it runs on;
//! there `execute::run` calls the row's handler with a `Context`. A new command is one row beside its handler in the file of its
//! family; a new family is one line in `FAMILIES`.

mod attention;
pub mod blocking;
pub mod client;
mod clients;
pub mod context;
pub mod core;
pub mod core_balance;
pub mod error;
pub mod execute;
pub mod gate;
pub mod info;
pub mod journal;
pub mod latency;
pub mod machine;
pub mod monitor;
pub mod node;
pub mod pause;
pub mod persistence;
pub mod pubsub;
mod redact;
pub mod relocation;
pub mod replication;
pub mod routing;
pub mod slot_usage;
pub mod slowlog;
pub mod spec;
pub mod stats;
pub mod table;

mod arguments;
mod bitfield;
mod bitmaps;
pub mod cluster;
mod collection_scan;
mod config;
mod connection;
mod counters;
pub mod debug;
mod dump;
mod elements;
mod events;
mod expire;
mod facts;
pub mod flush;
pub mod followed;
mod geo;
mod hash_numbers;
mod hashes;
mod hyperloglog;
mod introspection;
mod keys;
mod latency_commands;
mod lcs;
mod lists;
mod memory;
pub mod memory_limit;
pub mod migrate;
mod object;
mod ranges;
mod sample;
mod scan;
pub mod scripting;
pub mod server;
mod set_operations;
mod set_options;
mod sets;
pub mod shutdown;
mod slowlog_commands;
mod sort;
mod sorted_sets;
mod streams;
mod strings;
mod syntax;
pub mod tracking;
pub mod transactions;
mod watch;

use spec::CommandSpec;

/// Every family's rows.
const FAMILIES: &[&[CommandSpec]] = &[
    connection::COMMANDS,
    clients::COMMANDS,
    blocking::COMMANDS,
    tracking::COMMANDS,
    introspection::COMMANDS,
    monitor::COMMANDS,
    transactions::COMMANDS,
    pubsub::COMMANDS,
    strings::COMMANDS,
    ranges::COMMANDS,
    counters::COMMANDS,
    lcs::COMMANDS,
    bitmaps::COMMANDS,
    bitfield::COMMANDS,
    hyperloglog::COMMANDS,
    hashes::COMMANDS,
    hash_numbers::COMMANDS,
    sets::COMMANDS,
    set_operations::COMMANDS,
    sorted_sets::add::COMMANDS,
    sorted_sets::scores::COMMANDS,
    sorted_sets::ranges::COMMANDS,
    sorted_sets::removal::COMMANDS,
    sorted_sets::combine::COMMANDS,
    sorted_sets::pop::COMMANDS,
    sorted_sets::sample::COMMANDS,
    geo::COMMANDS,
    keys::COMMANDS,
    dump::COMMANDS,
    migrate::COMMANDS,
    expire::COMMANDS,
    lists::COMMANDS,
    lists::pops::COMMANDS,
    lists::moves::COMMANDS,
    lists::positions::COMMANDS,
    sort::COMMANDS,
    scan::COMMANDS,
    flush::COMMANDS,
    object::COMMANDS,
    cluster::COMMANDS,
    cluster::members::COMMANDS,
    cluster::migration::COMMANDS,
    cluster::clients::COMMANDS,
    config::COMMANDS,
    info::COMMANDS,
    server::COMMANDS,
    memory::COMMANDS,
    slowlog_commands::COMMANDS,
    latency_commands::COMMANDS,
    shutdown::COMMANDS,
    persistence::saving::COMMANDS,
    debug::COMMANDS,
    persistence::append_only::COMMANDS,
    replication::peers::COMMANDS,
    replication::failover::COMMANDS,
    replication::upstream::COMMANDS,
    scripting::eval::COMMANDS,
    scripting::script::COMMANDS,
    scripting::functions::COMMANDS,
    streams::append::COMMANDS,
    streams::ranges::COMMANDS,
    streams::read::COMMANDS,
    streams::groups::COMMANDS,
    streams::pending::COMMANDS,
    streams::claim::COMMANDS,
    streams::info::COMMANDS,
];
