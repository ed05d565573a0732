//! `call` and `set-timeout`: the same for every node of a cluster.

use std::time::Duration;

use super::Failure;
use super::arguments::{Only, Settings};
use super::client::HostPort;
use super::members::Cluster;
use super::output::{Output, count};
use super::reply::Reply;

/// How long a node may take with a user's command, which may be one that works on all its keys.
const CALL_LIMIT: Duration = Duration::from_secs(600);

/// Sends a command to every node and prints `host:port: reply` for each; arrays take a line for each item.
///
/// # Errors
/// Nodes that did not answer, and those that answered with an error.
pub fn call(
    entry: &HostPort,
    words: &[Vec<u8>],
    only: Only,
    settings: &Settings,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut cluster = Cluster::load(entry, settings, output)?;
    let is_called = |is_replica: bool| match only {
        Only::All => true,
        Only::Primaries => !is_replica,
        Only::Replicas => is_replica,
    };
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let (mut called, mut failed) = (0usize, 0usize);
    for member in cluster.members.iter_mut().filter(|member| is_called(!member.is_primary())) {
        called += 1;
        member.client.wait_for_replies(CALL_LIMIT);
        match member.client.raw(&words) {
            Ok(reply) => {
                let mut line = format!("{}: ", member.name()).into_bytes();
                reply.show(&mut line);
                output.bytes(&line);
                failed += usize::from(matches!(reply, Reply::Error(_)));
            }
            Err(trouble) => {
                output.error(&trouble.to_string());
                failed += 1;
            }
        }
    }
    let missing = cluster.missing.iter().filter(|missing| is_called(missing.node.is_replica)).count();
    called += missing;
    failed += missing;
    match failed {
        0 => Ok(()),
        failed => Err(Failure::line(format!("{failed} of {} did not do it, see above", count(called, "node")))),
    }
}

/// Sets `cluster-node-timeout` on every node, for now and in its configuration file.
///
/// # Errors
/// One line for each node that did not take it, or could not write its file.
pub fn set_timeout(entry: &HostPort, timeout_ms: u64, settings: &Settings, output: &mut Output) -> Result<(), Failure> {
    let mut cluster = Cluster::load(entry, settings, output)?;
    let mut lines: Vec<String> = Vec::new();
    for member in &mut cluster.members {
        let name = member.name().to_owned();
        if let Err(trouble) = member.client.ask(&["CONFIG", "SET", "cluster-node-timeout", &timeout_ms.to_string()]) {
            lines.push(trouble.to_string());
        } else if let Err(trouble) = member.client.ask(&["CONFIG", "REWRITE"]) {
            lines.push(format!("{trouble} (the timeout holds until the node ends)"));
        } else {
            output.line(&format!("[OK] {name}: cluster-node-timeout {timeout_ms}"));
        }
    }
    let missing = cluster.missing.iter();
    lines.extend(missing.map(|missing| {
        format!("{} keeps its node timeout: it does not answer; repeat this when it does", missing.name())
    }));
    if lines.is_empty() { Ok(()) } else { Err(Failure::Failed(lines)) }
}
