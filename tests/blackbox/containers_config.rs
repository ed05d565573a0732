//! What containers need of the program: directives in environment variables, passwords in files, `slotcore health`. Redis has none of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::support::server::{free_port, fresh_dir};
use crate::support::{Client, Kind, Server, holds_within};

const START_LIMIT: Duration = Duration::from_secs(20);

/// A node that is configured by its environment; dropped, it is killed.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> Option<String> {
    Kind::Slotcore.is_slotcore().then(|| Kind::Slotcore.command_line()[0].clone())
}

fn command(program: &str, dir: &Path, variables: &[(&str, &str)], words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words).env_remove("REDISCLI_AUTH").envs(variables.iter().copied()).current_dir(dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn start(mut command: Command, port: u16, password: Option<&str>) -> (Node, Client) {
    let node = Node(command.stdout(Stdio::null()).spawn().expect("the program starts"));
    let mut client = None;
    let answers = holds_within(START_LIMIT, || {
        client = Client::connect(&format!("127.0.0.1:{port}")).ok();
        client.is_some()
    });
    assert!(answers, "the node does not listen on {port}");
    let mut client = client.expect("a connection");
    if let Some(password) = password {
        assert_eq!(client.cmd(&["AUTH", password]).to_string(), "+OK");
    }
    (node, client)
}

fn health(program: &str, variables: &[(&str, &str)], words: &[&str]) -> (i32, String) {
    let words = [&["health"], words].concat();
    let output = command(program, Path::new("/"), variables, &words).output().expect("the program runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).expect("text");
    assert_eq!(said.lines().count(), 1, "{said}");
    (output.status.code().expect("an exit code"), said)
}

fn settings(client: &mut Client, names: &[&str]) -> BTreeMap<String, String> {
    let all = names.iter().map(|name| {
        let pair = client.cmd(&["CONFIG", "GET", name]);
        ((*name).to_owned(), pair.items()[1].text())
    });
    all.collect()
}

#[test]
fn variables_win_over_the_file_and_lose_against_arguments() {
    let Some(program) = program() else { return };
    let (dir, port) = (fresh_dir(), free_port());
    fs::write(dir.join("node.conf"), "timeout 1\nmaxclients 100\ntcp-keepalive 10\nmaxmemory 1mb\n").expect("a file");
    let port_text = port.to_string();
    let variables = [
        ("SLOTCORE_PORT", port_text.as_str()),
        ("SLOTCORE_CORES", "1"),
        ("SLOTCORE_TIMEOUT", "2"),
        ("SLOTCORE_MAXCLIENTS", "200"),
        ("SLOTCORE_SAVE", "900 1 300 10"),
        ("SLOTCORE_MAXMEMORY", ""),
        ("SLOTCORE_NO_SUCH_DIRECTIVE", "1"),
        ("SLOTCORE_LOGFILE", "node.log"),
    ];
    let (_node, mut client) = start(command(&program, &dir, &variables, &["node.conf", "--timeout", "3"]), port, None);
    let found = settings(&mut client, &["timeout", "maxclients", "tcp-keepalive", "save", "maxmemory"]);
    let wanted = [
        ("timeout", "3"),
        ("maxclients", "200"),
        ("tcp-keepalive", "10"),
        ("save", "900 1 300 10"),
        ("maxmemory", "1048576"),
    ];
    assert_eq!(found, wanted.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect());
    let log = fs::read_to_string(dir.join("node.log")).expect("a log");
    assert!(log.contains("SLOTCORE_NO_SUCH_DIRECTIVE names no directive"), "{log}");
    fs::remove_dir_all(&dir).expect("the folder can be removed");
}

#[test]
fn a_wrong_variable_or_password_file_ends_the_start_with_its_name() {
    let Some(program) = program() else { return };
    let dir = fresh_dir();
    let port = free_port().to_string();
    let refused = |name: &str, value: &str| -> Output {
        let variables = [("SLOTCORE_PORT", port.as_str()), (name, value)];
        let output = command(&program, &dir, &variables, &[]).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(1), "{name}={value}");
        output
    };
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let wrong = refused("SLOTCORE_APPENDONLY", "maybe");
    assert!(said(&wrong).contains("of the environment\n>>> 'appendonly \"maybe\"'\nargument must be 'yes' or 'no'"));
    let missing = refused("SLOTCORE_PASSWORD_FILE", "/no/such/secret");
    let expected = "Can't read the password in '/no/such/secret' (SLOTCORE_PASSWORD_FILE): No such file or directory\n";
    assert_eq!(said(&missing), expected);
    let alone = refused("SLOTCORE_CLUSTER_DISCOVERY", "dns:node");
    assert!(said(&alone).contains("cluster-discovery needs cluster-enabled yes"), "{}", said(&alone));
    fs::remove_dir_all(&dir).expect("the folder can be removed");
}

#[test]
fn a_password_comes_from_a_file_and_health_finds_it_there() {
    let Some(program) = program() else { return };
    let (dir, port) = (fresh_dir(), free_port());
    let file = dir.join("secret");
    fs::write(&file, "pass word\n").expect("a file");
    let (file, port_text) = (file.display().to_string(), port.to_string());
    let secret = ("SLOTCORE_PASSWORD_FILE", file.as_str());
    let place = ("SLOTCORE_PORT", port_text.as_str());
    let variables = [secret, place, ("SLOTCORE_CORES", "1"), ("SLOTCORE_SAVE", "\"\"")];
    let (_node, mut client) = start(command(&program, &dir, &variables, &[]), port, Some("pass word"));
    let found = settings(&mut client, &["requirepass", "masterauth", "save"]);
    assert_eq!(
        (found["requirepass"].as_str(), found["masterauth"].as_str(), found["save"].as_str()),
        ("pass word", "pass word", "")
    );

    let ready = (0, format!("127.0.0.1:{port} is ready, not in cluster mode\n"));
    assert_eq!(health(&program, &[place, secret], &[]), ready);
    assert_eq!(health(&program, &[place, ("REDISCLI_AUTH", "pass word")], &[]), ready);
    assert_eq!(health(&program, &[place, ("SLOTCORE_REQUIREPASS", "pass word")], &[]), ready);
    let (code, said) = health(&program, &[place], &[]);
    assert!(code == 1 && said.contains("is not ready: NOAUTH"), "{said}");
    let (code, said) = health(&program, &[place, ("REDISCLI_AUTH", "other")], &[]);
    assert!(code == 1 && said.contains("is not ready: WRONGPASS"), "{said}");
    let (code, said) = health(&program, &[place], &["--live"]);
    assert!(code == 0 && said.contains("is alive: NOAUTH"), "{said}");
    fs::remove_dir_all(&dir).expect("the folder can be removed");
}

#[test]
fn a_node_is_ready_before_it_joins_a_cluster_and_while_the_cluster_is_ok() {
    let Some(program) = program() else { return };
    let bus_port = free_port().to_string();
    let server = Server::slotcore(&["--cluster-enabled", "yes", "--cluster-port", &bus_port]);
    let address = server.address();
    let asked = |words: &[&str]| health(&program, &[], &[&[address.as_str()], words].concat());
    assert_eq!(asked(&[]), (0, format!("{address} is ready, not part of a cluster yet\n")));
    server.connect().must("CLUSTER ADDSLOTSRANGE 0 100");
    let (code, said) = asked(&[]);
    assert!(code == 1 && said.contains("is not ready: cluster_state:fail"), "{said}");
    assert_eq!(asked(&["--live"]), (0, format!("{address} is alive\n")));
    server.connect().must("CLUSTER ADDSLOTSRANGE 101 16383");
    let ready = (0, format!("{address} is ready, cluster_state:ok\n"));
    assert!(holds_within(START_LIMIT, || asked(&[]) == ready), "{:?}", asked(&[]));
    // A password that the node does not want does no harm: all containers of a project may be given one.
    assert_eq!(health(&program, &[("REDISCLI_AUTH", "x")], &[&address]), ready);
    drop(server);
    assert_eq!(asked(&["--live"]).0, 1);
    for words in [&["--dead"][..], &["nowhere"], &["a:1", "b:2"]] {
        assert_eq!(health(&program, &[], words).0, 1);
    }
}

#[test]
fn a_node_that_loads_is_alive_and_not_ready() {
    let Some(program) = program() else { return };
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let answer = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().expect("a connection");
            let _ = stream.read(&mut [0; 512]).expect("a request");
            stream.write_all(b"-LOADING Redis is loading the dataset in memory\r\n").expect("bytes are taken");
        }
    });
    let (code, said) = health(&program, &[], &[&address]);
    assert!(code == 1 && said.contains("is not ready: LOADING"), "{said}");
    let (code, said) = health(&program, &[], &["--live", &address]);
    assert!(code == 0 && said.contains("is alive: LOADING"), "{said}");
    answer.join().expect("the listener");
}
