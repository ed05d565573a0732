//! MONITOR: a line for each command, to every client that asked for it, on whatever core it is.

use bytes::Bytes;

use super::client::{Caller, Endpoint};
use super::context::Context;
use super::core::{Core, Effect};
use super::error::CommandError;
use super::execute::Call;
use super::redact::redacted;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Part, Run};
use crate::base::words::quote_into;
use crate::resp::Args;

pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "monitor",
    arity: Arity::Exactly(1),
    flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE),
    keys: Keys::None,
    group: Group::Server,
    since: "1.0.0",
    summary: "Streams a line for each command that the node runs.",
    complexity: "",
    syntax: "",
    run: Run::OnEveryCore { part: monitor_part, merge: monitor_merge },
}];

/// What stands in place of an address for commands that a script has called.
pub(super) const SCRIPT_SOURCE: &str = "lua";

/// Each core writes down who listens. Asking twice changes nothing and, as in Redis, is not answered.
fn monitor_part(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    let client = cx.caller.client;
    let is_new = !cx.core.monitors.contains(&client);
    if is_new {
        cx.core.monitors.push(client);
    }
    if let Some(client) = cx.core.own_client(client) {
        client.monitor = true;
    }
    Ok(Part::new(is_new))
}

fn monitor_merge(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    if parts.into_iter().any(|part| part.take::<bool>()) {
        cx.reply.ok();
    }
    Ok(())
}

/// Feeds one request, which the gate has let pass, to all monitors. Called after the request was run or sent on its
/// way, so that SELECT shows the database that it has chosen.
pub fn feed(core: &mut Core, call: &Call<'_>) {
    let flags = call.command.spec().flags;
    if flags.has(Flags::SKIP_MONITOR) || flags.has(Flags::ADMIN) {
        return;
    }
    let line = Bytes::from(line(core, call));
    let lines = core.monitors.iter().map(|to| Effect::MonitorLine { to: *to, line: line.clone() });
    core.effects.extend(lines);
}

/// Feeds the request of a script, and no other: before the commands that the script calls.
pub fn feed_script(core: &mut Core, call: &Call<'_>) {
    if !call.command.spec().runs_script() {
        return;
    }
    let line = Bytes::from(line_of(core, &call.caller, &call.args));
    let lines = core.monitors.iter().map(|to| Effect::MonitorLine { to: *to, line: line.clone() });
    core.effects.extend(lines);
}

fn line(core: &mut Core, call: &Call<'_>) -> Vec<u8> {
    let shown = redacted(call.command.spec(), &call.args);
    let shown = shown.as_ref().map_or(call.args, |args| args.as_args());
    line_of(core, &call.caller, &shown)
}

fn line_of(core: &mut Core, caller: &Caller, shown: &Args<'_>) -> Vec<u8> {
    let now_us = core.clock.unix_us();
    let (db, peer) = match core.own_client(caller.client) {
        Some(client) => (client.db, source(&client.peer)),
        None => (caller.db, String::new()),
    };
    let mut line = format!("+{}.{:06} [{db} {peer}]", now_us / 1_000_000, now_us % 1_000_000).into_bytes();
    for argument in shown.iter() {
        line.push(b' ');
        quote_into(argument, &mut line);
    }
    line.extend_from_slice(b"\r\n");
    line
}

/// Where a request came from, as the line shows it.
fn source(peer: &Endpoint) -> String {
    match peer {
        Endpoint::Unix(path) if path == SCRIPT_SOURCE => path.clone(),
        Endpoint::Unix(path) => format!("unix:{path}"),
        Endpoint::Tcp(_) => peer.to_string(),
    }
}
