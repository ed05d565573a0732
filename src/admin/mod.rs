//! `slotcore cluster ...`, `slotcore health` and `slotcore announce`: forming a cluster, looking at it and changing its nodes,
//! without another tool.
//!
//! A client and nothing else: a process of its own that speaks RESP2 with nodes over blocking sockets and ends. It works
//! with every node that knows Redis's CLUSTER commands, and its subcommands and options are those of `redis-cli --cluster`.
//! Called by `main`, which also starts what finds other nodes by name; no other part of a running node knows of it.
//!
//! | file | has |
//! |---|---|
//! | `arguments` | the table of subcommands and options, the command line, the help |
//! | `reply`, `client` | one connection to one node |
//! | `topology` | what CLUSTER NODES and CLUSTER INFO say, as values |
//! | `members` | connections to all nodes of a cluster |
//! | `agreement` | what every node should say, and waiting until it does |
//! | `plan` | which node serves which slots, which replicates which |
//! | `create` | forming a cluster |
//! | `check` | `check` and `info` |
//! | `membership` | `add-node` and `del-node` |
//! | `discovery` | what a node does by itself that finds others by name |
//! | `reshard`, `shares` | `reshard` and `rebalance`, and which slots they move |
//! | `repair`, `diagnosis` | `fix`, and what is to be done about a slot |
//! | `transfer` | slots moved with CLUSTER SETSLOT and MIGRATE |
//! | `everywhere` | `call` and `set-timeout` |
//! | `announce` | `slotcore announce`: the ports of containers, told to their nodes |
//! | `health` | whether a node is ready, for those who watch over containers |
//! | `output` | tables, progress, questions |

mod agreement;
mod announce;
mod arguments;
mod check;
mod client;
mod create;
mod diagnosis;
mod discovery;
mod everywhere;
mod health;
mod members;
mod membership;
mod output;
mod plan;
mod repair;
mod reply;
mod reshard;
mod shares;
mod topology;
mod transfer;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::config::{PASSWORD_FILE_VARIABLE, password_in};
use arguments::{Command, Environment, Invocation};
pub use discovery::Discoverer;
use output::Output;

/// The password for AUTH where the command line has none; redis-cli reads it too.
const PASSWORD_VARIABLE: &str = "REDISCLI_AUTH";
/// Set to 1, no question is asked; redis-cli reads it too.
const YES_VARIABLE: &str = "REDISCLI_CLUSTER_YES";

const EXIT_OK: u8 = 0;
const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;

/// Why a command ends without success. Each line says what is wrong, with which node, and what mends it.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// The command line makes no sense.
    Usage(String),
    /// Nodes could not or would not do it, or a check found something.
    Failed(Vec<String>),
}

impl Failure {
    fn line(line: impl Into<String>) -> Failure {
        Failure::Failed(vec![line.into()])
    }
}

/// Runs `slotcore cluster` with the words that follow it. Results go to standard output, errors to standard error.
/// Returns the exit code: 0, 1 when what was asked for failed or a check found something, 2 for a wrong command line.
pub fn run(words: &[Vec<u8>]) -> u8 {
    let mut output = Output::new();
    let result = environment()
        .and_then(|environment| arguments::parse(words, environment))
        .and_then(|invocation| perform(&invocation, &mut output));
    match result {
        Ok(()) => EXIT_OK,
        Err(Failure::Usage(line)) => {
            output.error(&line);
            EXIT_USAGE
        }
        Err(Failure::Failed(lines)) => {
            lines.iter().for_each(|line| output.error(line));
            EXIT_FAILED
        }
    }
}

/// Runs `slotcore health` with the words that follow it: one line, and the exit code 0 or 1.
pub fn health(words: &[Vec<u8>]) -> u8 {
    health::run(words)
}

/// Runs `slotcore announce` with the words that follow it. Returns the exit code.
pub fn announce(words: &[Vec<u8>]) -> u8 {
    announce::run(words)
}

fn environment() -> Result<Environment, Failure> {
    let yes = std::env::var_os(YES_VARIABLE).is_some_and(|value| value == "1");
    Ok(Environment { password: password_variable().map_err(Failure::Failed)?, yes })
}

/// The password that the environment has: in a variable that redis-cli reads too, or in the file that a container is given.
/// Empty variables count as none.
fn password_variable() -> Result<Option<Vec<u8>>, Vec<String>> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    match (variable(PASSWORD_VARIABLE).map(OsString::into_vec), variable(PASSWORD_FILE_VARIABLE)) {
        (None, Some(file)) => password_in(Path::new(&file)).map_err(|line| vec![line]),
        (password, _) => Ok(password),
    }
}

fn perform(invocation: &Invocation, output: &mut Output) -> Result<(), Failure> {
    let settings = &invocation.settings;
    match &invocation.command {
        Command::Help => {
            output.line(&arguments::help());
            Ok(())
        }
        Command::Create { nodes, replicas } => create::create(nodes, *replicas, settings, output),
        Command::Check { node, search_owners } => check::check(node, *search_owners, settings, output),
        Command::Info { node } => check::info(node, settings, output),
        Command::AddNode { new, existing, role } => membership::add(new, existing, role, settings, output),
        Command::DelNode { node, id } => membership::delete(node, id, settings, output),
        Command::Reshard { node, wish, moving } => reshard::reshard(node, wish, moving, settings, output),
        Command::Rebalance { node, balance, moving } => reshard::rebalance(node, balance, moving, settings, output),
        Command::Fix { node, extent, moving } => repair::fix(node, *extent, moving, settings, output),
        Command::Call { node, words, only } => everywhere::call(node, words, *only, settings, output),
        Command::SetTimeout { node, timeout_ms } => everywhere::set_timeout(node, *timeout_ms, settings, output),
    }
}
