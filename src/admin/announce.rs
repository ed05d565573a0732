//! `slotcore announce`: tells the nodes in containers where this machine's ports lead to them.
//!
//! Docker gives containers ports of the machine that nobody knows before they run, and others after a restart; a node must announce
//! them (`cluster-announce-ip`, `-port`, `-bus-port`) where clients and peers do not reach the containers themselves. This asks the
//! engine through its socket, once a second, which containers of its own compose project have the label `slotcore.announce`, and
//! tells each node that announces something else. It only ever reads from the engine: GET /containers/json.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use miniserde::json::{self, Number, Object, Value};

use super::client::{Client, Credentials, HostPort, Trouble};
use super::output::Output;
use super::reply::Reply;
use super::{EXIT_FAILED, EXIT_OK, EXIT_USAGE};

const USAGE: &str = "expected: slotcore announce [--once] [--ip <address>] [--socket <path>]";
const SOCKET_DEFAULT: &str = "/var/run/docker.sock";
/// The address to announce, where the command line has none.
const IP_VARIABLE: &str = "SLOTCORE_ANNOUNCE_IP";
/// Marks the containers that nodes run in; its value is the port for clients inside.
const LABEL: &str = "slotcore.announce";
const PROJECT_LABEL: &str = "com.docker.compose.project";
const BUS_PORT_OFFSET: u16 = 10_000;
const INTERVAL: Duration = Duration::from_secs(1);
const ENGINE_LIMIT: Duration = Duration::from_secs(5);
/// More than a list of a thousand containers.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// The command line.
struct Task {
    once: bool,
    /// Empty: the address that this machine has on the container's network.
    ip: String,
    socket: PathBuf,
}

/// A node's container and what its node should announce.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Published {
    /// Inside of the containers' network.
    node: HostPort,
    ip: String,
    port: u16,
    bus_port: u16,
}

/// Runs `slotcore announce` with the words that follow it, for ever, or once. Returns the exit code.
pub fn run(words: &[Vec<u8>]) -> u8 {
    let mut output = Output::new();
    let (task, credentials) = match read(words).and_then(|task| Ok((task, credentials()?))) {
        Ok(read) => read,
        Err(line) => {
            output.error(&line);
            return EXIT_USAGE;
        }
    };
    let mut said = String::new();
    loop {
        let errors = announce_all(&task, &credentials, &mut output);
        let line = errors.join("; ");
        if line != said && !line.is_empty() {
            output.error(&line);
        }
        said = line;
        if task.once {
            return if errors.is_empty() { EXIT_OK } else { EXIT_FAILED };
        }
        std::thread::sleep(INTERVAL);
    }
}

fn credentials() -> Result<Credentials, String> {
    let password = super::password_variable().map_err(|lines| lines.join("; "))?;
    Ok(Credentials { user: None, password })
}

fn read(words: &[Vec<u8>]) -> Result<Task, String> {
    let ip = std::env::var(IP_VARIABLE).unwrap_or_default();
    let mut task = Task { once: false, ip, socket: PathBuf::from(SOCKET_DEFAULT) };
    let mut words = words.iter().map(|word| String::from_utf8_lossy(word).into_owned());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--once" => task.once = true,
            "--ip" => task.ip = words.next().ok_or(USAGE)?,
            "--socket" => task.socket = words.next().ok_or(USAGE)?.into(),
            _ => return Err(USAGE.to_owned()),
        }
    }
    if !task.ip.is_empty() && task.ip.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("'{}' is no IP address; nodes can announce nothing else", task.ip));
    }
    Ok(task)
}

/// One round over all nodes; returns what went wrong.
fn announce_all(task: &Task, credentials: &Credentials, output: &mut Output) -> Vec<String> {
    let published = match look(task) {
        Ok(published) => published,
        Err(error) => return vec![format!("{}: {error}", task.socket.display())],
    };
    let mut errors = Vec::new();
    for one in published {
        match announce(&one, credentials) {
            Ok(false) => {}
            Ok(true) => output.line(&format!("{} announces {}:{}@{}", one.node, one.ip, one.port, one.bus_port)),
            Err(trouble) => errors.push(trouble.to_string()),
        }
    }
    errors
}

/// Whether the node had to be told.
fn announce(published: &Published, credentials: &Credentials) -> Result<bool, Trouble> {
    let (port, bus_port) = (published.port.to_string(), published.bus_port.to_string());
    let wanted = [
        ("cluster-announce-ip", published.ip.as_str()),
        ("cluster-announce-port", port.as_str()),
        ("cluster-announce-bus-port", bus_port.as_str()),
    ];
    let mut client = Client::connect(&published.node, credentials)?;
    let mut words = vec!["CONFIG", "SET"];
    for (name, value) in wanted {
        let has = match client.ask(&["CONFIG", "GET", name])? {
            Reply::Array(pair) => pair.get(1).map(Reply::text).unwrap_or_default(),
            _ => String::new(),
        };
        if has != value {
            words.extend([name, value]);
        }
    }
    if words.len() == 2 {
        return Ok(false);
    }
    client.ask(&words).map(|_| true)
}

// ---- the engine ---------------------------------------------------------------------------------------------------------

/// The containers of this one's project that are marked, run, and have both ports.
fn look(task: &Task) -> io::Result<Vec<Published>> {
    // The engine calls a container by its id, which is its host name unless somebody gives it another.
    let myself = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let own = get(&task.socket, &format!("/containers/{}/json", myself.trim())).ok();
    let project = own.as_ref().and_then(|own| text(at(at(at(own, "Config")?, "Labels")?, PROJECT_LABEL)?));
    let networks = own.as_ref().and_then(|own| object(at(at(own, "NetworkSettings")?, "Networks")?));
    let networks: Vec<String> = networks.map(|networks| networks.keys().cloned().collect()).unwrap_or_default();
    let containers = get(&task.socket, "/containers/json")?;
    let is_ours = |container: &&Value| {
        let theirs = at(container, "Labels").and_then(|labels| text(at(labels, PROJECT_LABEL)?));
        project.is_none() || theirs == project
    };
    let ours = array(&containers).iter().filter(is_ours);
    Ok(ours.filter_map(|container| read_container(container, &networks, &task.ip)).collect())
}

/// What one entry of /containers/json says; `None`: it is not marked, or has no ports (yet).
fn read_container(container: &Value, networks: &[String], ip: &str) -> Option<Published> {
    let inside: u16 = text(at(at(container, "Labels")?, LABEL)?)?.parse().ok()?;
    let ports = array(at(container, "Ports")?);
    let public = |private: u16| {
        // An engine with IPv6 lists a port twice, and may give each another number.
        let is_v4 = |port: &&Value| at(port, "IP").and_then(text).is_none_or(|ip| !ip.contains(':'));
        let leads_there = |port: &&Value| at(port, "PrivatePort").and_then(number) == Some(private);
        ports.iter().filter(is_v4).filter(leads_there).find_map(|port| number(at(port, "PublicPort")?))
    };
    let (port, bus_port) = (public(inside)?, public(inside.checked_add(BUS_PORT_OFFSET)?)?);
    let all = object(at(at(container, "NetworkSettings")?, "Networks")?)?;
    let (_, network) = all.iter().find(|(name, _)| networks.contains(name)).or_else(|| all.iter().next())?;
    let known = |name: &str| text(at(network, name)?).filter(|text| !text.is_empty()).map(str::to_owned);
    let node = HostPort { host: known("IPAddress")?, port: inside };
    let ip = if ip.is_empty() { known("Gateway")? } else { ip.to_owned() };
    Some(Published { node, ip, port, bus_port })
}

fn at<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    object(value)?.get(name)
}

fn object(value: &Value) -> Option<&Object> {
    match value {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// The items of an array; none of anything else.
fn array(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        _ => &[],
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// A port; 0 is none.
fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Number(Number::U64(number)) => u16::try_from(*number).ok().filter(|number| *number != 0),
        _ => None,
    }
}

/// Asks the engine for one thing, in whichever version of its interface it speaks. HTTP 1.0, so that the answer ends with the connection and is not cut into chunks.
fn get(socket: &Path, path: &str) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ENGINE_LIMIT))?;
    stream.set_write_timeout(Some(ENGINE_LIMIT))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: engine\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    read_answer(&answer)
}

fn read_answer(answer: &[u8]) -> io::Result<Value> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let end =
        answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(|| wrong("no HTTP answer".into()))?;
    let (head, body) = answer.split_at(end);
    let status = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let status = String::from_utf8_lossy(status).into_owned();
    if status.split(' ').nth(1) != Some("200") {
        return Err(wrong(format!("the engine answers '{status}'")));
    }
    let body = std::str::from_utf8(body).map_err(|_| wrong("the engine's answer is no text".to_owned()))?;
    json::from_str(body).map_err(|_| wrong("the engine's answer is no JSON".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(ports: &str) -> Value {
        let text = format!(
            r#"{{"Labels": {{"slotcore.announce": "6379"}}, "Ports": [{ports}], "NetworkSettings": {{"Networks":
            {{"other": {{"IPAddress": "10.0.0.2", "Gateway": "10.0.0.1"}}, "shared": {{"IPAddress": "172.18.0.3", "Gateway": "172.18.0.1"}}}}}}}}"#
        );
        json::from_str(&text).unwrap()
    }

    #[test]
    fn a_container_with_both_ports_is_announced_at_the_machine_s_address() {
        let port = |ip: &str, private: u16, public: u16| {
            format!(r#"{{"IP": "{ip}", "PrivatePort": {private}, "PublicPort": {public}, "Type": "tcp"}}"#)
        };
        let both = [port("::", 6379, 1), port("0.0.0.0", 6379, 32768), port("0.0.0.0", 16379, 32769)].join(",");
        let shared = ["shared".to_owned()];
        let found = read_container(&container(&both), &shared, "").unwrap();
        assert_eq!((found.node.to_string().as_str(), found.ip.as_str()), ("172.18.0.3:6379", "172.18.0.1"));
        assert_eq!((found.port, found.bus_port), (32768, 32769));
        assert_eq!(read_container(&container(&both), &shared, "192.0.2.1").unwrap().ip, "192.0.2.1");
        for ports in [port("0.0.0.0", 6379, 1), r#"{"PrivatePort": 6379, "Type": "tcp"}"#.to_owned(), String::new()] {
            assert_eq!(read_container(&container(&ports), &shared, ""), None);
        }
        assert_eq!(read_container(&json::from_str(r#"{"Labels": {}}"#).unwrap(), &shared, ""), None);
    }

    #[test]
    fn only_an_answer_with_json_is_one() {
        assert_eq!(array(&read_answer(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n[1, 2]\n").unwrap()).len(), 2);
        for wrong in [&b""[..], b"HTTP/1.0 404 Not Found\r\n\r\n{}", b"HTTP/1.0 200 OK\r\n\r\n<", b"\r\n\r\n"] {
            assert!(read_answer(wrong).is_err());
        }
    }

    #[test]
    fn a_wrong_address_or_option_is_refused() {
        let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        assert!(read(&words(&["--ip", "host"])).is_err_and(|line| line.contains("no IP address")));
        assert!(read(&words(&["--ip"])).is_err() && read(&words(&["x"])).is_err());
        let task = read(&words(&["--once", "--ip", "::1", "--socket", "/s"])).unwrap();
        assert!(task.once && task.ip == "::1" && task.socket == Path::new("/s"));
    }
}
