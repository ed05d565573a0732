//! CONFIG: the settings, shown, changed while the node runs, and written back to the file.
//!
//! Core 0 has the settings that count. CONFIG SET checks all of them, applies what reaches beyond the process's own
//! data (ports, folder, limits, log), and publishes the new snapshot, which every core has before the reply leaves.

use super::context::Context;
use super::core::{Effect, Publication};
use super::error::CommandError;
use super::machine::Machine;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Part, Run};
use crate::config::{Change, Config, Requester, SetError};
use crate::resp::Args;

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);

/// The rows of this family.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "config",
        arity: Arity::AtLeast(2),
        flags: Flags::NONE,
        keys: Keys::None,
        group: Group::Server,
        since: "2.0.0",
        summary: "Shows, changes and saves the node's settings.",
        complexity: "Depends on subcommand.",
        syntax: "",
        run: Run::Container,
    },
    CommandSpec {
        name: "config|get",
        arity: Arity::AtLeast(3),
        flags: ADMIN,
        keys: Keys::None,
        group: Group::Server,
        since: "2.0.0",
        summary: "Lists the settings whose names match, with their values.",
        complexity: "O(N) when N is the number of configuration parameters provided",
        syntax: "parameter [parameter ...]",
        run: Run::OnFirstCore(get),
    },
    CommandSpec {
        name: "config|set",
        arity: Arity::AtLeast(4),
        flags: ADMIN,
        keys: Keys::None,
        group: Group::Server,
        since: "2.0.0",
        summary: "Changes settings of the running node, all of them or none.",
        complexity: "O(N) when N is the number of configuration parameters provided",
        syntax: "parameter value [parameter value ...]",
        run: Run::OnFirstCore(set),
    },
    CommandSpec {
        name: "config|rewrite",
        arity: Arity::Exactly(2),
        flags: ADMIN,
        keys: Keys::None,
        group: Group::Server,
        since: "2.8.0",
        summary: "Writes the settings in effect to the configuration file.",
        complexity: "O(1)",
        syntax: "",
        run: Run::OnFirstCore(rewrite),
    },
    CommandSpec {
        name: "config|resetstat",
        arity: Arity::Exactly(2),
        flags: ADMIN,
        keys: Keys::None,
        group: Group::Server,
        since: "2.0.0",
        summary: "Sets the counters of INFO back to zero.",
        complexity: "O(1)",
        syntax: "",
        run: Run::OnEveryCore { part: reset_part, merge: reset_merge },
    },
    CommandSpec {
        name: "config|help",
        arity: Arity::Exactly(2),
        flags: Flags::LOADING.and(Flags::STALE),
        keys: Keys::None,
        group: Group::Server,
        since: "5.0.0",
        summary: "Explains the subcommands of CONFIG.",
        complexity: "O(1)",
        syntax: "",
        run: Run::OnConnection(help),
    },
];

/// CONFIG GET parameter [parameter ...].
fn get(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let patterns: Vec<&[u8]> = args.iter().skip(2).collect();
    let found = cx.core.node().config.get(&patterns);
    cx.reply.map(found.len());
    for (name, value) in &found {
        cx.reply.bulk(name);
        cx.reply.bulk(value);
    }
    Ok(())
}

/// CONFIG SET parameter value [parameter value ...].
///
/// This core takes the change over at once, so that the slow log judges this very call by the new threshold; the
/// others do before the reply leaves.
fn set(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    let values: Vec<&[u8]> = args.iter().skip(2).collect();
    let pairs: Vec<(&[u8], &[u8])> = values.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let requester = Requester { local: cx.caller.local, loading: cx.core.disk.loading };
    let node = cx.core.node();
    let Change { config, changed } = node.config.set(&pairs, requester).map_err(refusal)?;
    apply(&*node.machine, &node.config, &config, &changed).map_err(refusal)?;
    node.config = config.clone();
    let concerns_cluster = changed.iter().any(|name| name.starts_with("cluster-"));
    let publication = Publication::Config { config: Box::new(config), changed };
    cx.core.apply(publication.clone());
    cx.core.effects.push(Effect::Publish(publication));
    if concerns_cluster {
        // Clients are redirected by the new settings from the next request on, not from the next tick on.
        let clock = cx.core.clock;
        if let Some(step) = cx.core.node().follow_settings(&clock) {
            cx.core.take_step(step);
        }
    }
    cx.reply.ok();
    Ok(())
}

fn refusal(error: SetError) -> CommandError {
    CommandError::Text(error.reply().into())
}

/// Applies what the process itself must do. What may fail comes first, and what was done before a failure is undone.
fn apply(machine: &dyn Machine, old: &Config, new: &Config, changed: &[&'static str]) -> Result<(), SetError> {
    let has = |name: &str| changed.contains(&name);
    if has("maxclients") {
        machine.fit_open_files(new.maxclients).map_err(|fitting| {
            SetError::failed(
                "maxclients",
                &format!(
                    "The operating system is not able to handle the specified number of clients, try with {fitting}"
                ),
            )
        })?;
    }
    if has("dir") {
        machine.change_folder(&new.dir).map_err(|error| SetError::failed("dir", &reason(&error)))?;
    }
    if has("port") || has("bind") {
        machine.listen(new).map_err(|line| {
            tracing::warn!("{line}");
            if has("dir") {
                let _ = machine.change_folder(&old.dir);
            }
            cannot_listen(changed)
        })?;
    }
    if has("loglevel") {
        machine.set_log_level(new.loglevel);
    }
    Ok(())
}

/// Redis names the first of the two that the command has.
fn cannot_listen(changed: &[&'static str]) -> SetError {
    match changed.iter().find(|name| matches!(**name, "port" | "bind")) {
        Some(&"bind") => SetError::failed("bind", "Failed to bind to specified addresses."),
        _ => SetError::failed("port", "Unable to listen on this port. Check server logs."),
    }
}

/// The system's text for an error, without the number that std adds.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// CONFIG REWRITE.
fn rewrite(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    rewrite_file(cx)?;
    cx.reply.ok();
    Ok(())
}

/// Writes the settings in effect to the file that the node was started with.
pub fn rewrite_file(cx: &mut Context<'_>) -> Result<(), CommandError> {
    let path = cx.core.facts.config_file.clone();
    if path.is_empty() {
        return Err(CommandError::text_static("ERR The server is running without a config file"));
    }
    let node = cx.core.node();
    let old = node.machine.read_file(&path);
    let result = old.and_then(|old| node.machine.replace_file(&path, &node.config.rewrite(&old, None)));
    result.map_err(|error| {
        let reason = reason(&error);
        tracing::warn!("CONFIG REWRITE failed: {reason}");
        CommandError::formatted(format!("ERR Rewriting config file: {reason}"))
    })?;
    tracing::info!("CONFIG REWRITE executed with success.");
    Ok(())
}

/// CONFIG RESETSTAT, one core's share.
fn reset_part(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    cx.core.stats.reset();
    cx.core.slot_usage.reset();
    let stats = &mut cx.core.keyspace.stats;
    *stats = crate::keyspace::KeyspaceStats { dirty: stats.dirty, ..Default::default() };
    Ok(Part::done())
}

fn reset_merge(cx: &mut Context<'_>, _: &Args<'_>, _: Vec<Part>) -> CommandResult {
    cx.reply.ok();
    Ok(())
}

/// CONFIG HELP.
fn help(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    cx.reply.help(
        "CONFIG",
        &[
            "GET <pattern>",
            "    List the settings whose names match the pattern, and their values.",
            "SET <directive> <value>",
            "    Give a setting another value while the node runs.",
            "RESETSTAT",
            "    Start the counters of INFO again from zero.",
            "REWRITE",
            "    Write the settings in effect to the configuration file.",
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;

    use super::*;
    use crate::command::machine::{CpuTimes, ProcessMemory};
    use crate::config::LogLevel;

    /// Remembers what it was asked and refuses to listen.
    #[derive(Default)]
    struct Recorder {
        asked: RefCell<Vec<String>>,
    }

    impl Machine for Recorder {
        fn memory(&self) -> ProcessMemory {
            ProcessMemory::default()
        }
        fn huge_pages_bytes(&self) -> u64 {
            0
        }
        fn cpu_times(&self) -> CpuTimes {
            CpuTimes::default()
        }
        fn set_log_level(&self, level: LogLevel) {
            self.asked.borrow_mut().push(format!("{level:?}"));
        }
        fn change_folder(&self, folder: &str) -> io::Result<()> {
            self.asked.borrow_mut().push(folder.to_owned());
            Ok(())
        }
        fn fit_open_files(&self, maxclients: u32) -> Result<(), u32> {
            if maxclients > 100 { Err(100) } else { Ok(()) }
        }
        fn listen(&self, _: &Config) -> Result<(), String> {
            Err("taken".to_owned())
        }
        fn read_file(&self, _: &str) -> io::Result<Vec<u8>> {
            Ok(Vec::new())
        }
        fn replace_file(&self, _: &str, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
    }

    fn config(folder: &str, maxclients: u32) -> Config {
        Config { dir: folder.to_owned(), maxclients, ..Config::default() }
    }

    #[test]
    fn a_port_that_is_taken_undoes_what_was_applied_before() {
        let machine = Recorder::default();
        let result = apply(&machine, &config("/a", 1), &config("/b", 2), &["loglevel", "dir", "port", "bind"]);
        assert_eq!(result, Err(SetError::failed("port", "Unable to listen on this port. Check server logs.")));
        assert_eq!(*machine.asked.borrow(), ["/b", "/a"]);
    }

    #[test]
    fn too_many_clients_are_refused_with_the_number_that_fits() {
        let result = apply(&Recorder::default(), &config("/", 1), &config("/", 101), &["maxclients"]);
        let error = String::from_utf8(result.unwrap_err().reply()).unwrap();
        assert!(error.ends_with("number of clients, try with 100"), "{error}");
    }

    #[test]
    fn the_system_s_reason_has_no_number() {
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "No such file or directory");
    }
}
