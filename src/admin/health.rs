//! `slotcore health`: is the node ready for clients, or at least alive? For those who start, watch and restart containers.
//!
//! *Ready* is a node that has loaded its data and, once it is part of a cluster, says cluster_state:ok. A node that has not
//! joined one yet is ready to: whoever forms the cluster waits for that. *Alive* is a node that answers at all: one that loads,
//! wants a password or has too many clients must not be restarted for that. Changes nothing.

use std::time::Duration;

use super::arguments::host_port;
use super::client::{Client, Credentials, HostPort, Trouble};
use super::reply::Reply;
use super::{EXIT_FAILED, EXIT_OK, Failure};

const USAGE: &str = "expected: slotcore health [--live] [host:port]";
/// Where the node listens that is asked: that of a container is configured with these.
const PORT_VARIABLE: &str = "SLOTCORE_PORT";
const PORT_DEFAULT: &str = "6379";
/// The node's own password, where neither REDISCLI_AUTH nor a file has it.
const PASSWORD_VARIABLE: &str = "SLOTCORE_REQUIREPASS";
/// Whoever asks has a limit of its own, a few seconds as a rule, and would not show our line when it is over.
const REPLY_LIMIT: Duration = Duration::from_secs(2);

/// Runs `slotcore health`: one line on standard output, or on standard error for bad news. The exit code is 0 or 1, since
/// Docker gives others no meaning.
pub fn run(words: &[Vec<u8>]) -> u8 {
    match examine(words) {
        Ok(line) => {
            println!("{line}");
            EXIT_OK
        }
        Err(line) => {
            eprintln!("{line}");
            EXIT_FAILED
        }
    }
}

fn examine(words: &[Vec<u8>]) -> Result<String, String> {
    let (flags, places): (Vec<&Vec<u8>>, Vec<&Vec<u8>>) = words.iter().partition(|word| word.starts_with(b"-"));
    let only_liveness = match flags.as_slice() {
        [] => false,
        [flag] if *flag == b"--live" => true,
        _ => return Err(USAGE.to_owned()),
    };
    let node = match places.as_slice() {
        [] => own_place()?,
        [place] => read_place(place)?,
        _ => return Err(USAGE.to_owned()),
    };
    // The password is sent by hand: a refusal is an answer, too.
    let mut client = Client::connect(&node, &Credentials::default()).map_err(|trouble| trouble.to_string())?;
    client.wait_for_replies(REPLY_LIMIT);
    let state = if only_liveness { liveness(&mut client) } else { readiness(&mut client) };
    state.map(|state| format!("{node} is {state}"))
}

/// The node of this container.
fn own_place() -> Result<HostPort, String> {
    let port = std::env::var(PORT_VARIABLE).ok().filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let port = port.filter(|port| !port.is_empty()).unwrap_or_else(|| PORT_DEFAULT.to_owned());
    read_place(format!("127.0.0.1:{port}").as_bytes())
}

fn read_place(word: &[u8]) -> Result<HostPort, String> {
    host_port(word).map_err(|failure| match failure {
        Failure::Usage(line) => line,
        Failure::Failed(lines) => lines.join("; "),
    })
}

fn liveness(client: &mut Client) -> Result<String, String> {
    match client.raw(&[b"PING"]).map_err(|trouble| trouble.to_string())? {
        Reply::Error(reply) => Ok(format!("alive: {}", String::from_utf8_lossy(&reply))),
        _ => Ok("alive".to_owned()),
    }
}

fn readiness(client: &mut Client) -> Result<String, String> {
    let text = |trouble: Trouble| trouble.to_string();
    let not_ready = |name: &str, why: &str| format!("{name} is not ready: {why}");
    if let Some(password) = password().map_err(|lines| lines.join("; "))? {
        let reply = client.raw(&[b"AUTH", &password]).map_err(text)?;
        // A node without a password needs none.
        if matches!(&reply, Reply::Error(line) if !line.starts_with(b"ERR AUTH <password> called without any password"))
        {
            return Err(not_ready(client.name(), &reply.text()));
        }
    }
    match client.raw(&[b"CLUSTER", b"INFO"]).map_err(text)? {
        Reply::Error(line) if line.starts_with(b"ERR This instance has cluster support disabled") => {
            let reply = client.raw(&[b"INFO", b"persistence"]).map_err(text)?;
            match field(reply.bytes(), "loading") {
                Some("0") => Ok("ready, not in cluster mode".to_owned()),
                Some(_) => Err(not_ready(client.name(), "it loads its data")),
                None => Err(not_ready(client.name(), &reply.text())),
            }
        }
        Reply::Error(line) => Err(not_ready(client.name(), &String::from_utf8_lossy(&line))),
        reply => judge_cluster(reply.bytes()).map_err(|why| not_ready(client.name(), &why)),
    }
}

/// What CLUSTER INFO says of readiness.
fn judge_cluster(info: &[u8]) -> Result<String, String> {
    let is = |name: &str, value: &str| field(info, name) == Some(value);
    if is("cluster_state", "ok") {
        return Ok("ready, cluster_state:ok".to_owned());
    }
    if is("cluster_known_nodes", "1") && is("cluster_slots_assigned", "0") {
        return Ok("ready, not part of a cluster yet".to_owned());
    }
    let shown = |name: &str| format!("{name}:{}", field(info, name).unwrap_or("?"));
    let names = ["cluster_state", "cluster_known_nodes", "cluster_slots_assigned", "cluster_slots_fail"];
    Err(names.map(shown).join(" "))
}

/// The value of a line `name:value`.
fn field<'a>(text: &'a [u8], name: &str) -> Option<&'a str> {
    let lines = text.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let mut values = lines.filter_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'));
    values.next()
}

fn password() -> Result<Option<Vec<u8>>, Vec<String>> {
    let own = || std::env::var(PASSWORD_VARIABLE).ok().filter(|value| !value.is_empty()).map(String::into_bytes);
    Ok(super::password_variable()?.or_else(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_with_an_ok_cluster_or_none() {
        let info = |state: &str, known: u32, assigned: u32| {
            judge_cluster(
                format!(
                    "cluster_state:{state}\r\ncluster_slots_assigned:{assigned}\r\ncluster_known_nodes:{known}\r\n"
                )
                .as_bytes(),
            )
        };
        assert_eq!(info("ok", 6, 16384).unwrap(), "ready, cluster_state:ok");
        assert_eq!(info("fail", 1, 0).unwrap(), "ready, not part of a cluster yet");
        assert!(info("fail", 6, 16384).unwrap_err().contains("cluster_state:fail cluster_known_nodes:6"));
        assert!(info("fail", 1, 16384).is_err() && info("fail", 2, 0).is_err());
        assert!(judge_cluster(b"+OK").unwrap_err().contains("cluster_state:?"));
    }

    #[test]
    fn a_command_line_that_makes_no_sense_says_what_is_expected() {
        for words in [&["--dead"][..], &["a:1", "b:2"], &["--live", "--live"]] {
            let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
            assert_eq!(examine(&words).unwrap_err(), USAGE);
        }
    }
}
