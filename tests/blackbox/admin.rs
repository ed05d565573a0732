//! `slotcore cluster` and tools/cluster, with slotcore as the nodes and with redis-server: a cluster that they form and judge is then one by
//! Redis's own measure.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::server::{free_port, fresh_dir};
use crate::support::{Client, Kind, Server, holds_within};

/// More than any command here takes on a loaded machine.
const COMMAND_LIMIT: Duration = Duration::from_secs(90);
/// For what nodes tell each other.
const GOSSIP_LIMIT: Duration = Duration::from_secs(20);

/// How a command ended.
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Both outputs, for messages.
    pub fn all(&self) -> String {
        format!("exit code {}\n{}{}", self.code, self.out, self.err)
    }

    /// Asserts the exit code and that each of `parts` was printed.
    pub fn must(self, code: i32, parts: &[&str]) -> Ended {
        assert_eq!(self.code, code, "{}", self.all());
        for part in parts {
            assert!(self.out.contains(part) || self.err.contains(part), "no '{part}' in: {}", self.all());
        }
        self
    }
}

/// The program whose `cluster` is tested: slotcore, also where something else stands in its place as a server.
pub fn program() -> String {
    if Kind::Slotcore.is_slotcore() {
        Kind::Slotcore.command_line()[0].clone()
    } else {
        env!("CARGO_BIN_EXE_slotcore").to_owned()
    }
}

/// Runs a command to its end, with `input` on its standard input.
pub fn ended(command: &mut Command, input: &str) -> Ended {
    ended_within(COMMAND_LIMIT, command, input)
}

/// As `ended`, for a command that may take so long.
pub fn ended_within(limit: Duration, command: &mut Command, input: &str) -> Ended {
    command.env_remove("REDISCLI_CLUSTER_YES").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    // Whoever does not ask has closed its end.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    // What it says is read as it comes: a pipe holds less than some say.
    let mut pipes: (Box<dyn Read + Send>, Box<dyn Read + Send>) =
        (Box::new(child.stdout.take().expect("a pipe")), Box::new(child.stderr.take().expect("a pipe")));
    let text = |pipe: &mut Box<dyn Read + Send>| {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("the program's output");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (out, err) = (std::thread::spawn(move || text(&mut pipes.0)), std::thread::spawn(move || text(&mut pipes.1)));
    let is_over = holds_within(limit, || child.try_wait().expect("a status").is_some());
    if !is_over {
        child.kill().expect("the program can be ended");
    }
    let status = child.wait().expect("an exit status");
    let of = |reader: std::thread::JoinHandle<String>| reader.join().expect("what it has said");
    let ended = Ended { code: status.code().unwrap_or(-1), out: of(out), err: of(err) };
    assert!(is_over, "{command:?} runs on: {}", ended.all());
    ended
}

/// `slotcore cluster` with these words.
pub fn cluster(words: &[&str]) -> Ended {
    ended(Command::new(program()).arg("cluster").args(words).env_remove("REDISCLI_AUTH"), "")
}

/// An empty node whose bus is not where MEET looks for it by itself.
fn node_of(kind: Kind, args: &[&str]) -> Server {
    let bus_port = free_port().to_string();
    let base = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", &bus_port];
    Server::start(kind, &[&base, args].concat())
}

fn node(args: &[&str]) -> Server {
    node_of(Kind::Slotcore, args)
}

fn nodes(count: usize, args: &[&str]) -> Vec<Server> {
    (0..count).map(|_| node(args)).collect()
}

/// `create` with all of these nodes.
fn create(servers: &[Server], options: &[&str]) -> Ended {
    let addresses: Vec<String> = servers.iter().map(Server::address).collect();
    let mut words = vec!["create"];
    words.extend(addresses.iter().map(String::as_str));
    words.extend(options);
    cluster(&words)
}

/// Three primaries.
fn three() -> Vec<Server> {
    let servers = nodes(3, &[]);
    create(&servers, &["--yes"]).must(0, &["[OK] All 16384 slots covered."]);
    servers
}

fn id(server: &Server) -> String {
    server.connect().must("CLUSTER MYID").text()
}

/// The line of a node in another's CLUSTER NODES.
fn line_of(client: &mut Client, id: &str) -> Option<String> {
    let text = client.must("CLUSTER NODES").text();
    text.lines().find(|line| line.starts_with(id)).map(str::to_owned)
}

/// The primary that a node replicates, by its own account.
fn primary_of(server: &Server) -> Option<String> {
    let mut client = server.connect();
    let line = line_of(&mut client, &id(server)).expect("a node knows itself");
    let primary = line.split(' ').nth(3).expect("a fourth word");
    (primary != "-").then(|| primary.to_owned())
}

#[test]
fn create_forms_a_cluster_that_redis_cli_approves_and_finds_it_again() {
    for kind in [Kind::Slotcore, Kind::Redis] {
        forms_a_cluster_of((0..6).map(|_| node_of(kind, &[])).collect());
    }
}

fn forms_a_cluster_of(servers: Vec<Server>) {
    let made =
        create(&servers, &["--cluster-replicas", "1", "--cluster-yes"]).must(0, &["[OK] All 16384 slots covered."]);
    assert!(made.err.is_empty(), "{}", made.all());
    // Ranges and placement are those of redis-cli.
    let primaries: Vec<String> = servers.iter().map(|server| primary_of(server).unwrap_or_default()).collect();
    let ids: Vec<String> = servers.iter().map(id).collect();
    assert_eq!(primaries, ["", "", "", &ids[2], &ids[0], &ids[1]]);
    let slots = ["0-5460", "5461-10922", "10923-16383"];
    let mut epochs = Vec::new();
    for server in &servers {
        let mut client = server.connect();
        assert!(client.must("CLUSTER INFO").text().contains("cluster_state:ok"));
        for (id, slots) in ids.iter().zip(slots) {
            let line = line_of(&mut client, id).expect("every node knows every other");
            assert!(line.ends_with(&format!("connected {slots}")), "{line}");
        }
        epochs.push(line_of(&mut client, &ids[epochs.len()]).expect("itself").split(' ').nth(6).map(str::to_owned));
    }
    assert_eq!(epochs[..3].iter().flatten().collect::<Vec<_>>(), ["1", "2", "3"]);
    let judged = ended(Command::new("redis-cli").args(["--cluster", "check", &servers[3].address()]), "");
    judged.must(0, &["All nodes agree about slots configuration", "All 16384 slots covered"]);

    let before = servers[0].connect().must("CLUSTER INFO").text();
    create(&servers, &["--replicas", "1", "--yes"]).must(0, &["already stands"]);
    create(&servers[..5], &["--yes"]).must(1, &["is not empty: it knows 5 other nodes"]);
    let epoch = |text: &str| text.lines().find(|line| line.starts_with("cluster_current_epoch")).map(str::to_owned);
    assert_eq!(epoch(&servers[0].connect().must("CLUSTER INFO").text()), epoch(&before));
    let checked = cluster(&["check", "localhost", &servers[4].port.to_string(), "--cluster-search-multiple-owners"]);
    checked.must(0, &["[OK] All nodes agree", "[OK] All 16384 slots covered.", "[OK] No slot has keys on several"]);

    for number in 0..30 {
        let key = format!("key:{number}");
        let done = servers[..3].iter().filter(|server| !server.connect().cmd(&["SET", &key, "v"]).is_error()).count();
        assert_eq!(done, 1, "{key}");
    }
    let info = cluster(&["info", &servers[5].address()])
        .must(0, &["30 keys in 3 primaries with 3 replicas", "0.00 keys per slot"]);
    assert_eq!(info.out.lines().filter(|line| line.starts_with("127.0.0.1:") && line.ends_with('1')).count(), 3);
}

#[test]
fn create_asks_and_takes_only_yes() {
    let servers = nodes(3, &[]);
    let addresses: Vec<String> = servers.iter().map(|server| format!("localhost:{}", server.port)).collect();
    let answer = |text: &str| ended(Command::new(program()).args(["cluster", "create"]).args(&addresses), text);
    for text in ["no\n", "y\n", ""] {
        answer(text).must(1, &["type 'yes' to accept", "nothing was changed"]);
        assert!(servers[0].connect().must("CLUSTER INFO").text().contains("cluster_slots_assigned:0"));
    }
    answer("yes\n").must(0, &["[OK] All 16384 slots covered."]);
    // MEET had the address behind the name.
    let line = line_of(&mut servers[0].connect(), &id(&servers[1])).expect("a node");
    assert!(line.contains(&format!("127.0.0.1:{}@", servers[1].port)), "{line}");
}

#[test]
fn check_names_what_is_not_in_order() {
    let servers = three();
    let mut owner = servers[0].connect();
    let mut other = servers[1].connect();
    let other_id = id(&servers[1]);
    // A key of slot 0 on a node that does not serve it.
    const KEY_OF_SLOT_0: &str = "3560";
    assert_eq!(owner.must(&format!("CLUSTER KEYSLOT {KEY_OF_SLOT_0}")).integer(), 0);
    other.must(&format!("CLUSTER SETSLOT 0 IMPORTING {}", id(&servers[0])));
    other.must("ASKING");
    other.must(&format!("SET {KEY_OF_SLOT_0} v"));
    owner.must(&format!("CLUSTER SETSLOT 7 MIGRATING {other_id}"));
    let entry = servers[2].address();
    let open = cluster(&["check", &entry]).must(1, &["[OK] All 16384 slots covered.", "is not in order"]);
    let migrating = format!("[ERR] {} has slot 7 migrating to {other_id}", servers[0].address());
    let importing = format!("[ERR] {} has slot 0 importing from", servers[1].address());
    let open = open.must(1, &[&migrating, &importing]);
    assert!(!open.out.contains("keys on"), "{}", open.all());
    owner.must("CLUSTER SETSLOT 7 STABLE");
    other.must("CLUSTER SETSLOT 0 STABLE");
    cluster(&["check", &entry]).must(0, &["[OK] No slot is migrating"]);
    cluster(&["check", &entry, "--search-multiple-owners"]).must(1, &["[ERR] slot 0 is served or has keys on"]);
    other.must(&format!("CLUSTER SETSLOT 0 IMPORTING {}", id(&servers[0])));
    other.must("ASKING");
    other.must(&format!("DEL {KEY_OF_SLOT_0}"));
    other.must("CLUSTER SETSLOT 0 STABLE");

    // One node no longer knows who serves a slot; then none does.
    owner.must("CLUSTER DELSLOTS 42");
    cluster(&["check", &entry]).must(1, &["do not agree about who serves", "[ERR] 1 of 16384 slots", ": 42;"]);
    for server in &servers[1..] {
        server.connect().must("CLUSTER DELSLOTS 42");
    }
    cluster(&["check", &entry]).must(1, &["[OK] All nodes agree", "[ERR] 1 of 16384 slots", ": 42;"]);
    cluster(&["add-node", &entry, &entry]).must(1, &["error: 1 of 16384 slots"]);
}

#[test]
fn nodes_join_as_primaries_and_replicas_and_leave_again() {
    let servers = three();
    let entry = servers[0].address();
    let (primary, replica, far) = (node(&[]), node(&[]), node(&[]));
    cluster(&["add-node", &primary.address(), &entry]).must(0, &["[OK]", "a primary without slots", &id(&primary)]);
    cluster(&["add-node", &primary.address(), &entry]).must(1, &["is a node of this cluster already"]);
    let with_id =
        ["add-node", &replica.address(), &entry, "--cluster-replica", "--cluster-master-id", &id(&primary)[..10]];
    cluster(&with_id).must(0, &["[OK]", &format!("a replica of {}", primary.address())]);
    assert_eq!(primary_of(&replica), Some(id(&primary)));
    // The one with the fewest replicas, but one that serves slots.
    cluster(&["add-node", &far.address(), &entry, "--cluster-slave"]).must(0, &["[OK]"]);
    let far_primary = primary_of(&far).expect("a replica");
    assert!(servers.iter().any(|server| id(server) == far_primary));
    let of_replica = ["add-node", &node(&[]).address(), &entry, "--replica", "--master-id", &id(&replica)];
    cluster(&of_replica).must(1, &["is itself a replica"]);

    cluster(&["del-node", &entry, &id(&servers[1])]).must(1, &["serves 5462 slots"]);
    cluster(&["del-node", &entry, "0123456789abcdef"]).must(1, &["no node of this cluster has the id"]);
    // The replica of a node that leaves goes to one of the two primaries that have none.
    cluster(&["del-node", &entry, &id(&primary)]).must(0, &["now replicates", "no longer part"]);
    let next = primary_of(&replica).expect("still a replica");
    assert!(next != far_primary && servers.iter().any(|server| id(server) == next), "{next}");
    assert_eq!(primary.connect().must("CLUSTER NODES").text().lines().count(), 1);
    let gone = id(&primary);
    assert!(servers.iter().all(|server| line_of(&mut server.connect(), &gone).is_none()));

    // One that is dead leaves too.
    let dead = id(&far);
    drop(far);
    cluster(&["del-node", &entry, &dead]).must(0, &["does not answer", "no longer part"]);
    cluster(&["check", &entry]).must(0, &["[OK] All 16384 slots covered."]);
}

#[test]
fn call_shows_the_reply_of_every_node() {
    let mut servers = three();
    let replica = node(&[]);
    cluster(&["add-node", &replica.address(), &servers[0].address(), "--cluster-replica"]).must(0, &["[OK]"]);
    let entry = servers[1].address();
    let said = cluster(&["call", &entry, "ECHO", "--two words"]).must(0, &[]);
    let mut expected: Vec<String> =
        servers.iter().chain([&replica]).map(|server| format!("{}: --two words", server.address())).collect();
    expected.sort();
    let mut lines: Vec<&str> = said.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, expected);
    let replicas = cluster(&["call", &entry, "ROLE", "--cluster-only-replicas"]).must(0, &[]);
    assert!(replicas.out.starts_with(&format!("{}: slave\n", replica.address())), "{}", replicas.all());
    let primaries = cluster(&["call", &entry, "PING", "--cluster-only-masters"]).must(0, &[]);
    assert_eq!(primaries.out.matches(": PONG\n").count(), 3);
    cluster(&["call", &entry, "GET"]).must(1, &["wrong number of arguments", "4 of 4 nodes did not do it"]);
    // A node that is gone did not do it either.
    let gone = servers.remove(2);
    let address = gone.address();
    drop(gone);
    cluster(&["call", &entry, "PING"]).must(1, &[&address, "1 of 4 nodes did not do it"]);
}

#[test]
fn set_timeout_reaches_every_node_and_its_file() {
    let dir = fresh_dir();
    let servers: Vec<Server> = (0..3)
        .map(|number| {
            let file = dir.join(format!("{number}.conf"));
            fs::write(&file, "cluster-enabled yes\ncluster-node-timeout 2000\n").expect("a configuration");
            Server::start_with_file(Kind::Redis, &file, &[])
        })
        .collect();
    create(&servers, &["--yes"]).must(0, &[]);
    let entry = servers[0].address();
    cluster(&["set-timeout", &entry, "99"]).must(2, &["from 100 to"]);
    let set = cluster(&["set-timeout", &entry, "2500"]).must(0, &[]);
    assert_eq!(set.out.matches("[OK] ").count(), 3, "{}", set.all());
    for (number, server) in servers.iter().enumerate() {
        assert_eq!(server.connect().must("CONFIG GET cluster-node-timeout").items()[1].text(), "2500");
        let file = fs::read_to_string(dir.join(format!("{number}.conf"))).expect("the configuration");
        assert!(file.contains("cluster-node-timeout 2500"), "{file}");
    }
    // Where there is no file, the timeout is set all the same, and the user is told.
    let without = node(&[]);
    cluster(&["add-node", &without.address(), &entry]).must(0, &["[OK]"]);
    let half = cluster(&["set-timeout", &entry, "3000"]).must(1, &["CONFIG REWRITE", "without a config file"]);
    assert_eq!((half.out.matches("[OK] ").count(), half.err.lines().count()), (3, 1), "{}", half.all());
    assert_eq!(without.connect().must("CONFIG GET cluster-node-timeout").items()[1].text(), "3000");
    fs::remove_dir_all(&dir).expect("the folder can be removed");
}

#[test]
fn passwords_come_from_the_command_line_or_the_environment() {
    let servers = nodes(3, &["--requirepass", "se cret", "--masterauth", "se cret"]);
    create(&servers, &["--yes"]).must(1, &["NOAUTH", "REDISCLI_AUTH"]);
    create(&servers, &["--yes", "-a", "wrong"]).must(1, &["WRONGPASS"]);
    create(&servers, &["--yes", "--pass", "se cret"]).must(0, &["[OK]"]);
    let entry = servers[0].address();
    let mut check = Command::new(program());
    check.args(["cluster", "check", &entry]).env("REDISCLI_AUTH", "se cret");
    ended(&mut check, "").must(0, &["[OK] All 16384 slots covered."]);
    cluster(&["--user", "default", "-a", "se cret", "call", &entry, "PING"]).must(0, &["PONG"]);
    cluster(&["--user", "nobody", "-a", "se cret", "info", &entry]).must(1, &["WRONGPASS", &entry]);
    // A password for a node that has none.
    let open = node(&[]);
    cluster(&["info", &open.address(), "-a", "x"]).must(1, &["leave -a and REDISCLI_AUTH away"]);
}

#[test]
fn create_says_of_every_node_why_it_cannot_be_part() {
    let [full, known, plain] = [node(&[]), node(&[]), Server::redis(&[])];
    full.connect().must("CLUSTER ADDSLOTSRANGE 0 16383");
    assert!(holds_within(GOSSIP_LIMIT, || !full.connect().line("SET a 1").is_error()));
    let other = node(&[]);
    known.connect().must(&format!("CLUSTER MEET 127.0.0.1 {} {}", other.port, bus_port(&other)));
    let free = free_port();
    let dead = format!("127.0.0.1:{free}");
    let create = |addresses: &[&str]| cluster(&[&["create"], addresses, &["--yes"]].concat());
    let absent = create(&[&full.address(), &dead, &plain.address(), "no-such-host.invalid:7000"]);
    let absent = absent.must(
        1,
        &[
            &format!("error: {dead} does not answer"),
            &format!(
                "error: {} refuses CLUSTER NODES: ERR This instance has cluster support disabled; start it with",
                plain.address()
            ),
            "error: no-such-host.invalid:7000: the host has no address",
        ],
    );
    assert_eq!(absent.err.lines().count(), 3, "{}", absent.all());
    assert!(holds_within(GOSSIP_LIMIT, || known.connect().must("CLUSTER NODES").text().lines().count() == 2));
    let has = create(&[&full.address(), &known.address(), &node(&[]).address()]);
    has.must(1, &["is not empty: it has 1 key", "is not empty: it knows 1 other node", "CLUSTER RESET HARD"]);
    full.connect().must("FLUSHALL");
    create(&[&full.address(), &node(&[]).address(), &node(&[]).address()]).must(1, &["it serves 16384 slots"]);
    let twice = node(&[]);
    let again = format!("localhost:{}", twice.port);
    create(&[&twice.address(), &again, &other.address()]).must(1, &["are the same node"]);
    cluster(&["check", &dead]).must(1, &["does not answer"]);
    cluster(&["info", &plain.address()]).must(1, &["cluster-enabled yes"]);
}

/// The port of a node's bus.
fn bus_port(server: &Server) -> String {
    let line = line_of(&mut server.connect(), &id(server)).expect("itself");
    let address = line.split(' ').nth(1).expect("an address");
    address.split('@').nth(1).expect("a bus port").split(',').next().expect("a part").to_owned()
}

#[test]
fn a_listener_that_says_nothing_or_something_else_is_not_waited_for_forever() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    cluster(&["check", &address]).must(1, &["does not answer; is it stopped, or busy?"]);
    let other = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = other.local_addr().expect("an address").to_string();
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().expect("a connection");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("bytes are taken");
        // Until the other end has read it and closes.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    cluster(&["check", &address]).must(1, &["does not speak RESP"]);
    answer.join().expect("the listener");
}

#[test]
fn nodes_that_do_not_find_each_other_are_named_in_time() {
    // Each announces a bus port that nobody listens on, and that is where the others look for it.
    let nowhere = free_port().to_string();
    let servers = nodes(3, &["--cluster-announce-bus-port", &nowhere]);
    let late = create(&servers, &["--yes", "--cluster-wait", "3"]);
    let late = late.must(1, &["3 of 3 nodes did not agree within 3 s", "bus port"]);
    for server in &servers {
        assert!(late.err.contains(&format!("error: {} knows ", server.address())), "{}", late.all());
    }
}

#[test]
fn wrong_command_lines_end_with_2_and_help_with_0() {
    for words in [&["help"][..], &["--help"], &["create", "-h"]] {
        let help = cluster(words)
            .must(0, &["create host1:port1", "add-node", "del-node", "reshard", "set-timeout", "--cluster-replicas"]);
        assert!(!help.out.contains("backup") && help.err.is_empty(), "{}", help.all());
    }
    for words in [
        &[][..],
        &["reshard", "h:1", "--cluster-slots", "0"],
        &["backup", "h:1", "folder"],
        &["dance"],
        &["check"],
        &["check", "nowhere"],
        &["check", "h:1", "--cluster-replicas", "1"],
        &["create", "h:1", "h:2", "--yes"],
        &["add-node", "h:1"],
    ] {
        let wrong = cluster(words).must(2, &["error: "]);
        assert!(wrong.out.is_empty() && wrong.err.lines().count() == 1, "{}", wrong.all());
    }
    cluster(&["import", "h:1"]).must(2, &["import is not available in this version"]);
}

/// Six ports in a row that nothing listens on, nor on the bus ports above them.
fn free_ports() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let base = free_port();
        if (base..base + 6).all(|port| is_free(port) && is_free(port + 10_000)) {
            return base;
        }
    }
}

/// tools/cluster in a folder of its own; dropped, its nodes are gone.
struct Tool {
    /// The program of the nodes.
    server: String,
    base: u16,
    dir: std::path::PathBuf,
}

impl Tool {
    fn run(&self, words: &[&str]) -> Ended {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/cluster");
        let mut command = Command::new(script);
        command.args(words).env("CLUSTER_PORT_BASE", self.base.to_string()).env("CLUSTER_DIR", self.dir.join("nodes"));
        command.env("SLOTCORE_BIN", &self.server).env("SLOTCORE_ADMIN_BIN", program()).env_remove("REDISCLI_AUTH");
        ended(&mut command, "")
    }

    fn pid(&self, number: u16) -> Pid {
        let file = self.dir.join(format!("nodes/{}/node.pid", self.base + number));
        let text = fs::read_to_string(file).expect("a file with the process id");
        Pid::from_raw(text.split(' ').next().expect("an id").parse().expect("a number"))
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        self.run(&["clean"]);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn the_script_starts_kills_restarts_and_removes_a_cluster() {
    starts_kills_restarts_and_removes(program());
}

#[test]
fn the_script_does_so_with_redis_server_too() {
    starts_kills_restarts_and_removes("redis-server".to_owned());
}

fn starts_kills_restarts_and_removes(server: String) {
    let tool = Tool { server, base: free_ports(), dir: fresh_dir() };
    let port = |number: u16| (tool.base + number).to_string();
    tool.run(&["status"]).must(1, &["no node runs"]);
    {
        let _holder = TcpListener::bind(("127.0.0.1", tool.base + 3)).expect("the port");
        tool.run(&["start"]).must(1, &[&format!("port {} is in use", port(3))]);
        tool.run(&["status"]).must(1, &["no node runs"]);
    }
    tool.run(&["start"])
        .must(0, &["6 nodes started", "[OK] All 16384 slots covered.", &format!("redis-cli -c -p {}", port(0))]);
    let pids: Vec<Pid> = (0..6).map(|number| tool.pid(number)).collect();
    tool.run(&["start"]).must(0, &["0 nodes started, 6 were running", "already stands"]);
    assert_eq!(pids, (0..6).map(|number| tool.pid(number)).collect::<Vec<_>>());
    tool.run(&["status"])
        .must(0, &[&format!("node {} runs (process {})", port(5), pids[5]), "[OK] All 16384 slots covered."]);

    tool.run(&["kill", "4"]).must(0, &["was killed"]);
    tool.run(&["kill", &port(4)]).must(1, &["does not run"]);
    tool.run(&["kill", "6"]).must(1, &["which node?"]);
    tool.run(&["restart", &port(4)]).must(0, &[&format!("node {} runs", port(4))]);
    assert!(tool.pid(4) != pids[4]);
    // A process id that now is another's is not touched.
    let file = tool.dir.join(format!("nodes/{}/node.pid", port(5)));
    let written = fs::read_to_string(&file).expect("the process id");
    fs::write(&file, format!("{} 1\n", std::process::id())).expect("a process id");
    tool.run(&["kill", "5"]).must(1, &["does not run"]);
    fs::write(&file, written).expect("the process id");

    // A node refuses to end while it writes its first append-only file, which does not end before this does.
    let mut client = Client::connect(&format!("127.0.0.1:{}", port(0))).expect("a connection");
    for line in
        ["SET b 1", "CONFIG SET rdb-key-save-delay 90000000", "CONFIG SET appendonly no", "CONFIG SET appendonly yes"]
    {
        client.must(line);
    }
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| tool.run(&["stop"]));
        let log = tool.dir.join(format!("nodes/{}/node.log", port(0)));
        let says_no = || fs::read_to_string(&log).expect("the log").contains("Writing initial AOF, can't exit");
        assert!(holds_within(COMMAND_LIMIT, says_no));
        client.must("CONFIG SET rdb-key-save-delay 0");
        client.must("CONFIG SET appendonly no");
        stop.join().expect("its end").must(0, &["no node runs"]);
    });
    assert!(pids.iter().all(|pid| kill(*pid, None::<Signal>).is_err() || is_zombie(*pid)));
    tool.run(&["start"]).must(0, &["6 nodes started", "already stands"]);
    tool.run(&["clean"]).must(0, &["are gone"]);
    assert!(!tool.dir.join("nodes").exists());
    tool.run(&["dance"]).must(2, &["tools/cluster start"]);
}

/// Ended, but not yet waited for by whoever must: in a container that may be nobody.
fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}
