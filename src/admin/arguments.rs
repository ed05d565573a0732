//! The command line of `slotcore cluster`: the table of subcommands, the table of options, and the help made of both.
//!
//! Names are those of `redis-cli --cluster`; each option may also be given without its `--cluster-`. Pure: what the
//! environment adds is handed in.

mod options;

use std::fmt::Write;
use std::ops::RangeInclusive;
use std::time::Duration;

use options::{EVERYWHERE, MOVING, OPTIONS, Opt, OptionSpec};

use super::Failure;
use super::client::{Credentials, HostPort};
use super::plan::PRIMARIES_MIN;
use super::repair::Extent;
use super::reshard::{Balance, Wish};
use crate::base::slot::SLOTS_COUNT;

/// How long waiting for agreement may take, unless `--cluster-wait` says otherwise.
const WAIT_SECONDS_DEFAULT: u64 = 60;
const WAIT_SECONDS_MAX: u64 = 86_400;
/// How long MIGRATE may take without anything moving, as in redis-cli.
const MIGRATE_TIMEOUT_MS_DEFAULT: u64 = 60_000;
/// Keys of one MIGRATE, as in redis-cli.
const PIPELINE_DEFAULT: u64 = 10;
const PIPELINE_MAX: u64 = 10_000;
/// How far primaries may be from their part, in percent, as in redis-cli.
const THRESHOLD_DEFAULT: f32 = 2.0;
/// A shorter node timeout lets nodes fail for every hiccup of a network; redis-cli refuses it too.
const NODE_TIMEOUT_MS_MIN: u64 = 100;
/// The highest that redis-server takes.
const NODE_TIMEOUT_MS_MAX: u64 = i32::MAX as u64;

/// What the environment says.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub password: Option<Vec<u8>>,
    pub yes: bool,
}

/// A command line that makes sense.
#[derive(Debug, PartialEq)]
pub struct Invocation {
    pub command: Command,
    pub settings: Settings,
}

/// What all subcommands heed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub credentials: Credentials,
    /// Do not ask.
    pub yes: bool,
    /// How long to wait for nodes to agree.
    pub wait: Duration,
}

/// How keys are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moving {
    /// Of MIGRATE.
    pub timeout: Duration,
    /// Keys of one MIGRATE.
    pub pipeline: u64,
    /// What is at the target already goes.
    pub replace: bool,
    /// Not as a whole, where that would be possible.
    pub key_by_key: bool,
}

#[derive(Debug, PartialEq)]
pub enum Command {
    Help,
    /// `replicas` for each primary.
    Create {
        nodes: Vec<HostPort>,
        replicas: usize,
    },
    Check {
        node: HostPort,
        search_owners: bool,
    },
    Info {
        node: HostPort,
    },
    AddNode {
        new: HostPort,
        existing: HostPort,
        role: NewRole,
    },
    DelNode {
        node: HostPort,
        id: String,
    },
    Reshard {
        node: HostPort,
        wish: Wish,
        moving: Moving,
    },
    Rebalance {
        node: HostPort,
        balance: Balance,
        moving: Moving,
    },
    Fix {
        node: HostPort,
        extent: Extent,
        moving: Moving,
    },
    Call {
        node: HostPort,
        words: Vec<Vec<u8>>,
        only: Only,
    },
    SetTimeout {
        node: HostPort,
        timeout_ms: u64,
    },
}

/// What a node becomes that joins.
#[derive(Debug, PartialEq, Eq)]
pub enum NewRole {
    /// A primary without slots.
    Primary,
    /// A replica of the primary with this id, or of the one with the fewest replicas.
    Replica(Option<String>),
}

/// Which nodes `call` calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    All,
    Primaries,
    Replicas,
}

/// What options have set.
#[derive(Default)]
struct Given {
    seen: Vec<Opt>,
    replicas: usize,
    from: Option<Vec<String>>,
    to: Option<String>,
    slots: Option<usize>,
    timeout_ms: Option<u64>,
    pipeline: Option<u64>,
    weights: Vec<(String, f32)>,
    threshold_percent: Option<f32>,
    primary_id: Option<String>,
    wait_seconds: Option<u64>,
    password: Option<Vec<u8>>,
    user: Option<Vec<u8>>,
}

impl Given {
    fn has(&self, option: Opt) -> bool {
        self.seen.contains(&option)
    }

    fn moving(&self) -> Moving {
        Moving {
            timeout: Duration::from_millis(self.timeout_ms.unwrap_or(MIGRATE_TIMEOUT_MS_DEFAULT)),
            pipeline: self.pipeline.unwrap_or(PIPELINE_DEFAULT),
            replace: self.has(Opt::Replace),
            key_by_key: self.has(Opt::KeyByKey),
        }
    }
}

struct Subcommand {
    name: &'static str,
    arguments: &'static str,
    counts: RangeInclusive<usize>,
    options: &'static [Opt],
    /// It takes those of `MOVING`, too.
    moves: bool,
    summary: &'static str,
    build: fn(&[Vec<u8>], &Given) -> Result<Command, Failure>,
}

const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "create",
        arguments: "host1:port1 ... hostN:portN",
        counts: 1..=usize::MAX,
        options: &[Opt::Replicas, Opt::Wait],
        moves: false,
        summary: "forms a cluster of empty nodes",
        build: create,
    },
    Subcommand {
        name: "check",
        arguments: "host:port",
        counts: 1..=2,
        options: &[Opt::SearchOwners],
        moves: false,
        summary: "do all nodes agree, and is every slot served? exit code 1 if not",
        build: |words, given| {
            Ok(Command::Check { node: one_node(words)?, search_owners: given.has(Opt::SearchOwners) })
        },
    },
    Subcommand {
        name: "info",
        arguments: "host:port",
        counts: 1..=2,
        options: &[],
        moves: false,
        summary: "keys, slots and replicas of each primary",
        build: |words, _| Ok(Command::Info { node: one_node(words)? }),
    },
    Subcommand {
        name: "add-node",
        arguments: "new_host:new_port existing_host:existing_port",
        counts: 2..=2,
        options: &[Opt::Replica, Opt::PrimaryId, Opt::Wait],
        moves: false,
        summary: "an empty node joins, as a primary without slots or as a replica",
        build: add_node,
    },
    Subcommand {
        name: "del-node",
        arguments: "host:port node_id",
        counts: 2..=2,
        options: &[],
        moves: false,
        summary: "a node without slots leaves and is reset",
        build: |words, _| {
            Ok(Command::DelNode { node: host_port(&words[0])?, id: text(&words[1])?.to_ascii_lowercase() })
        },
    },
    Subcommand {
        name: "reshard",
        arguments: "host:port",
        counts: 1..=2,
        options: &[Opt::From, Opt::To, Opt::Slots],
        moves: true,
        summary: "moves slots with their keys to one primary; asks for what is not given",
        build: |words, given| {
            let wish = Wish { from: given.from.clone(), to: given.to.clone(), slots: given.slots };
            Ok(Command::Reshard { node: one_node(words)?, wish, moving: given.moving() })
        },
    },
    Subcommand {
        name: "rebalance",
        arguments: "host:port",
        counts: 1..=2,
        options: &[Opt::Weight, Opt::UseEmpty, Opt::Threshold, Opt::Simulate],
        moves: true,
        summary: "evens out how many slots primaries serve",
        build: |words, given| {
            let balance = Balance {
                weights: given.weights.clone(),
                use_empty: given.has(Opt::UseEmpty),
                threshold_percent: given.threshold_percent.unwrap_or(THRESHOLD_DEFAULT),
                simulate: given.has(Opt::Simulate),
            };
            Ok(Command::Rebalance { node: one_node(words)?, balance, moving: given.moving() })
        },
    },
    Subcommand {
        name: "fix",
        arguments: "host:port",
        counts: 1..=2,
        options: &[Opt::SearchOwners, Opt::WithUnreachable],
        moves: true,
        summary: "finishes moves that were interrupted, and gives slots that nobody serves to primaries",
        build: |words, given| {
            let (search_owners, without_unreachable) = (given.has(Opt::SearchOwners), given.has(Opt::WithUnreachable));
            let extent = Extent { search_owners, without_unreachable };
            Ok(Command::Fix { node: one_node(words)?, extent, moving: given.moving() })
        },
    },
    Subcommand {
        name: "call",
        arguments: "host:port command arg ... arg",
        counts: 2..=usize::MAX,
        options: &[Opt::OnlyPrimaries, Opt::OnlyReplicas],
        moves: false,
        summary: "one command to every node; behind -- everything belongs to the command",
        build: call,
    },
    Subcommand {
        name: "set-timeout",
        arguments: "host:port milliseconds",
        counts: 2..=2,
        options: &[],
        moves: false,
        summary: "sets cluster-node-timeout on every node and in its configuration file",
        build: set_timeout,
    },
    Subcommand {
        name: "help",
        arguments: "",
        counts: 0..=0,
        options: &[],
        moves: false,
        summary: "",
        build: |_, _| Ok(Command::Help),
    },
];

/// Subcommands of redis-cli that this version does not have.
const NOT_AVAILABLE: &[&str] = &["import", "backup"];

/// Reads the words behind `slotcore cluster`.
///
/// # Errors
/// `Failure::Usage` with what is wrong.
pub fn parse(words: &[Vec<u8>], environment: Environment) -> Result<Invocation, Failure> {
    let (words, given) = split(words)?;
    let Some((name, arguments)) = words.split_first() else {
        return Err(usage("no subcommand; 'slotcore cluster help' lists them"));
    };
    let name = text(name)?;
    if NOT_AVAILABLE.contains(&name) {
        return Err(usage(format!("{name} is not available in this version")));
    }
    let Some(subcommand) = SUBCOMMANDS.iter().find(|subcommand| subcommand.name == name) else {
        return Err(usage(format!("'{name}' is no subcommand; 'slotcore cluster help' lists them")));
    };
    if !subcommand.counts.contains(&arguments.len()) {
        return Err(usage(format!("expected: slotcore cluster {name} {}", subcommand.arguments)));
    }
    let takes = |option: &Opt| {
        EVERYWHERE.contains(option)
            || subcommand.options.contains(option)
            || subcommand.moves && MOVING.contains(option)
    };
    let foreign = given.seen.iter().find(|option| !takes(option));
    if let Some(foreign) = foreign {
        return Err(usage(format!("{name} does not take {}", spec(*foreign).names[0])));
    }
    let command = (subcommand.build)(arguments, &given)?;
    let password = given.password.or(environment.password);
    if given.user.is_some() && password.is_none() {
        return Err(usage("--user needs a password: give it with -a or in REDISCLI_AUTH"));
    }
    let settings = Settings {
        yes: environment.yes || given.seen.contains(&Opt::Yes),
        wait: Duration::from_secs(given.wait_seconds.unwrap_or(WAIT_SECONDS_DEFAULT)),
        credentials: Credentials { user: given.user, password },
    };
    Ok(Invocation { command, settings })
}

/// What `slotcore cluster help` prints.
pub fn help() -> String {
    let mut out = String::from("Usage: slotcore cluster <subcommand> [arguments] [options]\n");
    for subcommand in SUBCOMMANDS.iter().filter(|subcommand| !subcommand.summary.is_empty()) {
        // Writing to a string does not fail.
        let _ = writeln!(out, "\n  {} {}\n      {}", subcommand.name, subcommand.arguments, subcommand.summary);
        subcommand.options.iter().for_each(|option| help_option(&mut out, *option));
    }
    out.push_str("\nOptions of reshard, rebalance and fix:\n");
    MOVING.iter().for_each(|option| help_option(&mut out, *option));
    out.push_str("\nOptions of all subcommands:\n");
    EVERYWHERE.iter().for_each(|option| help_option(&mut out, *option));
    out.push_str(
        "\nhost:port is any node of the cluster. An option may be given without its 'cluster-': --replicas 1, --yes.\n\
         Exit code: 0 done, 1 failed or something was found, 2 a wrong command line.",
    );
    out
}

fn help_option(out: &mut String, option: Opt) {
    let spec = spec(option);
    if !spec.meaning.is_empty() {
        let usage = [spec.names[0], spec.value.unwrap_or_default()].join(" ");
        let _ = writeln!(out, "      {usage:<34} {}", spec.meaning);
    }
}

fn spec(option: Opt) -> &'static OptionSpec {
    OPTIONS.iter().find(|row| row.option == option).expect("every option has its row")
}

fn usage(line: impl Into<String>) -> Failure {
    Failure::Usage(line.into())
}

/// Takes the options out; the rest in its order.
fn split(words: &[Vec<u8>]) -> Result<(Vec<Vec<u8>>, Given), Failure> {
    let (mut rest, mut given) = (Vec::new(), Given::default());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == b"--" {
            rest.extend(words.by_ref().cloned());
            break;
        }
        // What looks like an option may belong to the command that `call` sends.
        let is_in_call = rest.len() > 2 && rest.first().is_some_and(|name| name == b"call");
        let matches = |name: &str| name.as_bytes() == word && (!is_in_call || is_unmistakable(name));
        if let Some(spec) = OPTIONS.iter().find(|spec| spec.names.iter().any(|name| matches(name))) {
            let value = match spec.value {
                Some(_) => words.next().ok_or_else(|| usage(format!("{} needs a value", shown(word))))?,
                None => word,
            };
            set(spec.option, value, &mut given)?;
            // Of weights several may follow.
            while spec.option == Opt::Weight
                && let Some(next) = words.as_slice().first().filter(|next| next.contains(&b'='))
            {
                set(spec.option, next, &mut given)?;
                words.next();
            }
        } else if word == b"-h" || word == b"--help" {
            rest = vec![b"help".to_vec()];
            break;
        } else if word.starts_with(b"-") && !is_in_call {
            return Err(usage(format!("'{}' is no option; 'slotcore cluster help' lists them", shown(word))));
        } else {
            rest.push(word.clone());
        }
    }
    Ok((rest, given))
}

/// Names that no argument of a command has.
fn is_unmistakable(name: &str) -> bool {
    name.starts_with("--cluster-") || matches!(name, "-a" | "--pass" | "--user" | "--no-auth-warning")
}

fn set(option: Opt, value: &[u8], given: &mut Given) -> Result<(), Failure> {
    given.seen.push(option);
    match option {
        Opt::Replicas => given.replicas = number(value, "--cluster-replicas", 0..=1000)? as usize,
        Opt::PrimaryId => given.primary_id = Some(text(value)?.to_ascii_lowercase()),
        Opt::Wait => given.wait_seconds = Some(number(value, "--cluster-wait", 1..=WAIT_SECONDS_MAX)?),
        Opt::Password => given.password = Some(value.to_vec()),
        Opt::User => given.user = Some(value.to_vec()),
        Opt::From => {
            let ids = text(value)?.split(',').map(|id| id.trim().to_ascii_lowercase());
            given.from = Some(ids.filter(|id| !id.is_empty()).collect());
        }
        Opt::To => given.to = Some(text(value)?.to_ascii_lowercase()),
        Opt::Slots => given.slots = Some(number(value, "--cluster-slots", 1..=SLOTS_COUNT as u64)? as usize),
        Opt::Timeout => given.timeout_ms = Some(number(value, "--cluster-timeout", 1..=NODE_TIMEOUT_MS_MAX)?),
        Opt::Pipeline => given.pipeline = Some(number(value, "--cluster-pipeline", 1..=PIPELINE_MAX)?),
        Opt::Weight => given.weights.push(weight(value)?),
        Opt::Threshold => given.threshold_percent = Some(share(value, "--cluster-threshold")?),
        Opt::Yes
        | Opt::SearchOwners
        | Opt::Replica
        | Opt::OnlyPrimaries
        | Opt::OnlyReplicas
        | Opt::Replace
        | Opt::KeyByKey
        | Opt::Whole
        | Opt::UseEmpty
        | Opt::Simulate
        | Opt::WithUnreachable
        | Opt::NoWarning => {}
    }
    Ok(())
}

/// `id=weight`.
fn weight(word: &[u8]) -> Result<(String, f32), Failure> {
    let wrong = || usage(format!("'{}' is no weight: give <id>=<number>", shown(word)));
    let (id, number) = text(word)?.split_once('=').ok_or_else(wrong)?;
    Ok((id.to_ascii_lowercase(), share(number.as_bytes(), "a weight")?))
}

/// A number from 0 to a million, with a fraction.
fn share(word: &[u8], what: &str) -> Result<f32, Failure> {
    let value = std::str::from_utf8(word).ok().and_then(|digits| digits.parse::<f32>().ok());
    let value = value.filter(|value| (0.0..=1e6).contains(value));
    value.ok_or_else(|| usage(format!("{what} is a number from 0 on, not '{}'", shown(word))))
}

fn create(words: &[Vec<u8>], given: &Given) -> Result<Command, Failure> {
    let nodes = words.iter().map(|word| host_port(word)).collect::<Result<Vec<_>, _>>()?;
    if let Some(twice) = nodes.iter().enumerate().find(|(number, node)| nodes[..*number].contains(node)) {
        return Err(usage(format!("{} is named twice", twice.1)));
    }
    let (replicas, count) = (given.replicas, nodes.len());
    if count / (replicas + 1) < PRIMARIES_MIN {
        let least = PRIMARIES_MIN * (replicas + 1);
        return Err(usage(format!(
            "a cluster has at least {PRIMARIES_MIN} primaries: with {replicas} replicas for each, name at least {least} nodes, not {count}"
        )));
    }
    Ok(Command::Create { nodes, replicas })
}

fn add_node(words: &[Vec<u8>], given: &Given) -> Result<Command, Failure> {
    let role = match (given.has(Opt::Replica), given.primary_id.clone()) {
        (true, id) => NewRole::Replica(id),
        (false, None) => NewRole::Primary,
        (false, Some(_)) => return Err(usage("--cluster-master-id is for replicas: add --cluster-replica")),
    };
    Ok(Command::AddNode { new: host_port(&words[0])?, existing: host_port(&words[1])?, role })
}

fn call(words: &[Vec<u8>], given: &Given) -> Result<Command, Failure> {
    let only = match (given.has(Opt::OnlyPrimaries), given.has(Opt::OnlyReplicas)) {
        (false, false) => Only::All,
        (true, false) => Only::Primaries,
        (false, true) => Only::Replicas,
        (true, true) => return Err(usage("--cluster-only-masters and --cluster-only-replicas leave no node")),
    };
    Ok(Command::Call { node: host_port(&words[0])?, words: words[1..].to_vec(), only })
}

fn set_timeout(words: &[Vec<u8>], _: &Given) -> Result<Command, Failure> {
    let timeout_ms = number(&words[1], "the node timeout in milliseconds", NODE_TIMEOUT_MS_MIN..=NODE_TIMEOUT_MS_MAX)?;
    Ok(Command::SetTimeout { node: host_port(&words[0])?, timeout_ms })
}

/// `host:port`, or `host` and `port`.
fn one_node(words: &[Vec<u8>]) -> Result<HostPort, Failure> {
    match words {
        [host, port] => host_port(&[host.as_slice(), port].join(&b':')),
        _ => host_port(&words[0]),
    }
}

/// `host:port`, `[::1]:port`, or with the `@bus-port` that CLUSTER NODES shows, which is not needed.
///
/// # Errors
/// `Failure::Usage` with the word.
pub fn host_port(word: &[u8]) -> Result<HostPort, Failure> {
    let word = text(word)?;
    let wrong = || usage(format!("'{word}' is no host:port"));
    let address = word.split('@').next().unwrap_or_default();
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match port.parse::<u16>() {
        Ok(port) if port != 0 && !host.is_empty() => Ok(HostPort { host: host.to_owned(), port }),
        _ => Err(wrong()),
    }
}

fn number(word: &[u8], what: &str, range: RangeInclusive<u64>) -> Result<u64, Failure> {
    let value = std::str::from_utf8(word).ok().and_then(|digits| digits.parse().ok());
    value.filter(|value| range.contains(value)).ok_or_else(|| {
        usage(format!("{what} is a number from {} to {}, not '{}'", range.start(), range.end(), shown(word)))
    })
}

fn text(word: &[u8]) -> Result<&str, Failure> {
    std::str::from_utf8(word).map_err(|_| usage(format!("'{}' is no text", shown(word))))
}

fn shown(word: &[u8]) -> String {
    word.escape_ascii().to_string()
}

#[cfg(test)]
mod tests;
