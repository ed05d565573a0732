//! Nodes that replicate: how they are started, joined, and waited for.

use std::time::Duration;

use crate::support::{Client, Kind, Server, holds_within};

/// Longer than a replica waits before it tries again and than a full synchronisation of a test's data takes on a busy machine.
pub const SYNC_LIMIT: Duration = Duration::from_secs(60);

/// What every node gets: a replica does not wait for others to ask too, and the primary is heard of every second.
const PROMPT: &[&str] = &[
    "--enable-debug-command",
    "yes",
    "--repl-diskless-sync-delay",
    "0",
    "--repl-ping-replica-period",
    "1",
    "--repl-backlog-size",
    "16mb",
];

/// The pairs of primary and replica that must work.
pub const PAIRS: &[(Kind, Kind)] =
    &[(Kind::Slotcore, Kind::Slotcore), (Kind::Redis, Kind::Slotcore), (Kind::Slotcore, Kind::Redis)];

/// Those and redis-server with itself, which shows that a test expects what is so.
pub const ALL_PAIRS: &[(Kind, Kind)] = &[
    (Kind::Redis, Kind::Redis),
    (Kind::Slotcore, Kind::Slotcore),
    (Kind::Redis, Kind::Slotcore),
    (Kind::Slotcore, Kind::Redis),
];

pub fn node(kind: Kind, args: &[&str]) -> Server {
    Server::start(kind, &[PROMPT, args].concat())
}

/// A node that can write its configuration down: it has a file of its own.
pub fn node_with_file(kind: Kind, args: &[&str]) -> Server {
    let file = crate::support::server::fresh_dir().join("node.conf");
    std::fs::write(&file, "").expect("an empty configuration");
    Server::start_with_file(kind, &file, &[PROMPT, args].concat())
}

/// Two nodes, the second a replica of the first that has caught up.
pub fn pair(primary: Kind, replica: Kind, args: &[&str]) -> (Server, Server) {
    let (primary, replica) = (node(primary, args), node(replica, args));
    follow(&replica, primary.port);
    settle(&primary, &replica);
    (primary, replica)
}

pub fn follow(replica: &Server, port: u16) {
    ask_until_loaded(replica, &format!("REPLICAOF 127.0.0.1 {port}"));
}

pub fn follow_nobody(replica: &Server) {
    ask_until_loaded(replica, "REPLICAOF NO ONE");
}

/// A replica that is loading its primary's data refuses most commands until it has.
fn ask_until_loaded(server: &Server, line: &str) {
    let (mut client, mut said) = (server.connect(), String::new());
    let is_answered = holds_within(SYNC_LIMIT, || {
        said = client.line(line).to_string();
        !said.starts_with("-LOADING")
    });
    assert!(is_answered && said.starts_with("+OK"), "{line}: {said}");
}

/// The fields of INFO replication, and of others of the same reply, at one moment.
pub struct Info {
    text: String,
}

impl Info {
    /// Asked again where the connection ends: a sentinel closes all clients of a node whose role it changes.
    pub fn of(server: &Server) -> Info {
        const TRIES: u32 = 5;
        for _ in 1..TRIES {
            let mut client = server.connect();
            let reply = client.try_send(b"INFO everything\r\n").and_then(|()| client.try_read());
            if let Ok(reply) = reply {
                return Info { text: reply.text() };
            }
        }
        Info::ask(&mut server.connect())
    }

    pub fn ask(client: &mut Client) -> Info {
        Info { text: client.cmd(&["INFO", "everything"]).text() }
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim_end()))
    }

    pub fn is(&self, name: &str, value: &str) -> bool {
        self.field(name) == Some(value)
    }

    pub fn number(&self, name: &str) -> i64 {
        let value = self.field(name).unwrap_or_else(|| panic!("INFO has no {name}:\n{}", self.replication()));
        value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}"))
    }

    /// The section of replication, for messages.
    pub fn replication(&self) -> &str {
        let from = self.text.find("# Replication").unwrap_or(0);
        let section = &self.text[from..];
        &section[..section.find("\r\n\r\n").unwrap_or(section.len())]
    }
}

pub fn is_up(replica: &Server) -> bool {
    Info::of(replica).is("master_link_status", "up")
}

pub fn wait_until_up(replica: &Server) {
    assert!(holds_within(SYNC_LIMIT, || is_up(replica)), "not up:\n{}", Info::of(replica).replication());
}

pub fn wait_until_down(replica: &Server) {
    assert!(holds_within(SYNC_LIMIT, || !is_up(replica)), "still up:\n{}", Info::of(replica).replication());
}

/// Waits until the replica has all that the primary has written, by what both say.
pub fn settle(primary: &Server, replica: &Server) {
    let (mut ours, mut theirs) = (primary.connect(), replica.connect());
    let settled = holds_within(SYNC_LIMIT, || {
        let (primary, replica) = (Info::ask(&mut ours), Info::ask(&mut theirs));
        replica.is("master_link_status", "up")
            && replica.is("loading", "0")
            && replica.field("master_replid") == primary.field("master_replid")
            && replica.number("slave_repl_offset") == primary.number("master_repl_offset")
    });
    assert!(
        settled,
        "not in step within {SYNC_LIMIT:?}\nprimary:\n{}\nreplica:\n{}",
        Info::of(primary).replication(),
        Info::of(replica).replication()
    );
}

/// Waits until the primary counts so many replicas that are online.
pub fn wait_for_replicas(primary: &Server, count: usize) {
    let online = || (0..count).all(|number| state_of(&Info::of(primary), number).as_deref() == Some("online"));
    assert!(holds_within(SYNC_LIMIT, online), "not {count} online:\n{}", Info::of(primary).replication());
}

/// `state` of the line `slave<number>`.
pub fn state_of(info: &Info, number: usize) -> Option<String> {
    part_of(info, number, "state")
}

/// One part, such as `offset`, of the line `slave<number>`.
pub fn part_of(info: &Info, number: usize, part: &str) -> Option<String> {
    let line = info.field(&format!("slave{number}"))?;
    line.split(',').find_map(|one| one.strip_prefix(part)?.strip_prefix('=').map(str::to_owned))
}

/// Full and partial synchronisations that a primary has granted.
pub fn granted(primary: &Server) -> (i64, i64) {
    let info = Info::of(primary);
    (info.number("sync_full"), info.number("sync_partial_ok"))
}

/// Resident memory of the process itself, in bytes.
pub fn resident_bytes(server: &Server) -> u64 {
    let path = format!("/proc/{}/status", server.pid());
    let status = std::fs::read_to_string(path).expect("the server's status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line VmRSS");
    let kilobytes = line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes");
    kilobytes << 10
}

/// Fills a node with `count` keys of `bytes` bytes, `fill:0` and on.
pub fn fill(server: &Server, count: u64, bytes: usize) {
    const BATCH: u64 = 500;
    let mut client = server.connect();
    let value = vec![b'v'; bytes];
    for start in (0..count).step_by(usize::try_from(BATCH).expect("a small number")) {
        let keys: Vec<String> = (start..count.min(start + BATCH)).map(|number| format!("fill:{number}")).collect();
        let request = |key: &String| crate::support::client::encode(&[b"SET", key.as_bytes(), &value]);
        client.send(&keys.iter().flat_map(request).collect::<Vec<u8>>());
        for _ in &keys {
            let reply = client.read();
            assert!(!reply.is_error(), "{reply}");
        }
    }
}
