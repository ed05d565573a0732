//! One connection to one node: a blocking socket on which nothing waits longer than its limit.

use std::fmt;
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::Failure;
use super::reply::{Reply, read_reply};
use crate::resp::write_request;

/// How long one address of a node may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// How long a node may take with what administration asks of it.
const REPLY_LIMIT: Duration = Duration::from_secs(10);
/// Between two questions to a node that loads its data.
const LOADING_INTERVAL: Duration = Duration::from_millis(50);
/// Requests that are sent before their replies are read: few enough that neither side waits for the other.
const PIPELINE_MAX: usize = 512;

/// Where the user says a node is: a host name or an IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.host, self.port)
    }
}

/// What AUTH is sent with; nothing is sent without a password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    pub user: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
}

/// What went wrong between a node and us.
#[derive(Debug)]
pub struct Trouble {
    pub node: String,
    pub kind: TroubleKind,
}

#[derive(Debug)]
pub enum TroubleKind {
    /// The host name means nothing, or the system cannot say.
    NoAddress(String),
    /// No connection came about.
    Unreachable(io::Error),
    /// The connection ended, or the reply is overdue.
    Broken(io::Error),
    /// What came back is no reply.
    NotRedis,
    /// What CLUSTER NODES says makes no sense.
    Unclear(String),
    /// An error reply, with the command that it answers.
    Refused { command: String, reply: String },
}

impl Trouble {
    /// The error reply, when it is one.
    pub fn reply(&self) -> Option<&str> {
        match &self.kind {
            TroubleKind::Refused { reply, .. } => Some(reply),
            _ => None,
        }
    }

    /// Whether the node is there but loads its data.
    pub fn is_loading(&self) -> bool {
        self.reply().is_some_and(|reply| reply.starts_with("LOADING "))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = &self.node;
        match &self.kind {
            TroubleKind::NoAddress(why) => write!(out, "{node}: the host has no address ({why}); check its name"),
            TroubleKind::Unreachable(error) => {
                write!(out, "{node} does not answer ({error}); start it there, or correct the address")
            }
            TroubleKind::Broken(error) if is_overdue(error) => {
                write!(out, "{node} took the connection but does not answer; is it stopped, or busy?")
            }
            TroubleKind::Broken(error) => write!(out, "{node} closed the connection ({error}); its log may say why"),
            TroubleKind::NotRedis => {
                write!(out, "{node} does not speak RESP; is the port the one for clients, without TLS?")
            }
            TroubleKind::Unclear(why) => write!(out, "{node} answers CLUSTER NODES with what is {why}"),
            TroubleKind::Refused { command, reply } => {
                write!(out, "{node} refuses {command}: {reply}")?;
                out.write_str(remedy(reply))
            }
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        Failure::line(trouble.to_string())
    }
}

/// What mends the refusals that a user can mend.
fn remedy(reply: &str) -> &'static str {
    const REMEDIES: &[(&str, &str)] = &[
        ("NOAUTH", "; give the password with -a or in REDISCLI_AUTH"),
        ("WRONGPASS", "; correct the password (-a, REDISCLI_AUTH) or the user (--user)"),
        (
            "ERR AUTH <password> called without any password",
            "; leave -a and REDISCLI_AUTH away, or set requirepass there",
        ),
        ("NOPERM", "; name a user with more rights with --user"),
        ("DENIED", "; the node only answers its own machine: set bind and requirepass there"),
        ("ERR This instance has cluster support disabled", "; start it with cluster-enabled yes"),
        ("LOADING", "; try again when it has loaded its data"),
    ];
    REMEDIES.iter().find(|(start, _)| reply.starts_with(start)).map_or("", |(_, remedy)| remedy)
}

fn is_overdue(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// A connection that is authenticated where there is a password.
#[derive(Debug)]
pub struct Client {
    name: String,
    address: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects to the first address of the host that takes the connection.
    ///
    /// # Errors
    /// The host is unknown, nobody listens, or the password is refused.
    pub fn connect(node: &HostPort, credentials: &Credentials) -> Result<Client, Trouble> {
        let name = node.to_string();
        let trouble = |kind| Trouble { node: name.clone(), kind };
        let stream = connect_to(node).map_err(trouble)?;
        let address = prepare(&stream).map_err(|error| trouble(TroubleKind::Unreachable(error)))?;
        let mut client = Client { name, address, stream: BufReader::new(stream) };
        if let Some(password) = &credentials.password {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(credentials.user.as_deref());
            words.push(password);
            let reply = client.raw(&words)?;
            client.accepted("AUTH", reply)?;
        }
        Ok(client)
    }

    /// `host:port` as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address behind the name.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets replies take so long from now on.
    pub fn wait_for_replies(&mut self, limit: Duration) {
        // A socket that cannot be told keeps the limit that it has.
        let _ = self.stream.get_ref().set_read_timeout(Some(limit));
    }

    /// Sends a request and returns its reply, which may be an error reply.
    ///
    /// # Errors
    /// No reply came.
    pub fn raw(&mut self, words: &[&[u8]]) -> Result<Reply, Trouble> {
        let mut bytes = Vec::new();
        write_request(&mut bytes, words.iter().copied());
        self.send(&bytes)?;
        self.receive()
    }

    /// Sends a request whose reply is read later, with [`Client::receive_reply`].
    ///
    /// # Errors
    /// The node is gone.
    pub fn send_words(&mut self, words: &[&[u8]]) -> Result<(), Trouble> {
        let mut bytes = Vec::new();
        write_request(&mut bytes, words.iter().copied());
        self.send(&bytes)
    }

    /// The next reply, with error replies among the errors. `command` names in them what was asked.
    ///
    /// # Errors
    /// No reply came, or an error reply.
    pub fn receive_reply(&mut self, command: &str) -> Result<Reply, Trouble> {
        let reply = self.receive()?;
        self.accepted(command, reply)
    }

    /// `raw` for words of text, with error replies among the errors. A node that loads its data, as a new replica does for
    /// a moment, is asked again for as long as a reply may take.
    ///
    /// # Errors
    /// No reply came, or an error reply.
    pub fn ask(&mut self, words: &[&str]) -> Result<Reply, Trouble> {
        let bytes: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        // Long commands (ADDSLOTS) are named by their beginning.
        let name = words.get(..words.len().min(2)).unwrap_or_default().join(" ");
        let begun = Instant::now();
        loop {
            let reply = self.raw(&bytes)?;
            match self.accepted(&name, reply) {
                Err(trouble) if trouble.is_loading() && begun.elapsed() < REPLY_LIMIT => {
                    std::thread::sleep(LOADING_INTERVAL);
                }
                other => return other,
            }
        }
    }

    /// Many requests of text; the replies in their order.
    ///
    /// # Errors
    /// Those of `ask`, for the first request that has one.
    pub fn ask_all(&mut self, requests: &[Vec<String>]) -> Result<Vec<Reply>, Trouble> {
        let mut replies = Vec::with_capacity(requests.len());
        for batch in requests.chunks(PIPELINE_MAX) {
            let mut bytes = Vec::new();
            batch.iter().for_each(|words| write_request(&mut bytes, words.iter().map(String::as_bytes)));
            self.send(&bytes)?;
            for words in batch {
                let reply = self.receive()?;
                replies.push(self.accepted(&words.join(" "), reply)?);
            }
        }
        Ok(replies)
    }

    fn accepted(&self, command: &str, reply: Reply) -> Result<Reply, Trouble> {
        match reply {
            Reply::Error(_) => {
                let kind = TroubleKind::Refused { command: command.to_owned(), reply: reply.text() };
                Err(Trouble { node: self.name.clone(), kind })
            }
            other => Ok(other),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.stream.get_mut().write_all(bytes).map_err(|error| self.broken(error))
    }

    fn receive(&mut self) -> Result<Reply, Trouble> {
        read_reply(&mut self.stream).map_err(|error| self.broken(error))
    }

    fn broken(&self, error: io::Error) -> Trouble {
        let kind = match error.kind() {
            io::ErrorKind::InvalidData => TroubleKind::NotRedis,
            _ => TroubleKind::Broken(error),
        };
        Trouble { node: self.name.clone(), kind }
    }
}

fn connect_to(node: &HostPort) -> Result<TcpStream, TroubleKind> {
    let addresses = (node.host.as_str(), node.port).to_socket_addrs();
    let mut addresses: Vec<SocketAddr> =
        addresses.map_err(|error| TroubleKind::NoAddress(error.to_string()))?.collect();
    // A node that goes by several addresses would count as several hosts: localhost and 127.0.0.1 should be one.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let mut last = TroubleKind::NoAddress("none".to_owned());
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = TroubleKind::Unreachable(error),
        }
    }
    Err(last)
}

fn prepare(stream: &TcpStream) -> io::Result<SocketAddr> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(REPLY_LIMIT))?;
    stream.set_write_timeout(Some(REPLY_LIMIT))?;
    stream.peer_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_is_one_line_that_names_the_node_and_a_way_on() {
        let refused =
            |reply: &str| TroubleKind::Refused { command: "CLUSTER NODES".to_owned(), reply: reply.to_owned() };
        let cases = [
            (TroubleKind::NoAddress("no such name".to_owned()), "check its name"),
            (TroubleKind::Unreachable(io::ErrorKind::ConnectionRefused.into()), "start it there"),
            (TroubleKind::Broken(io::ErrorKind::WouldBlock.into()), "does not answer"),
            (TroubleKind::Broken(io::ErrorKind::UnexpectedEof.into()), "its log"),
            (TroubleKind::NotRedis, "the one for clients"),
            (refused("NOAUTH Authentication required."), "REDISCLI_AUTH"),
            (refused("ERR This instance has cluster support disabled"), "cluster-enabled yes"),
        ];
        for (kind, way) in cases {
            let line = Trouble { node: "h:1".to_owned(), kind }.to_string();
            assert!(line.starts_with("h:1") && line.contains(way) && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn a_port_that_nobody_listens_on_is_trouble() {
        // Port 1 of the loopback address is reserved and not in use on any machine that builds this.
        let node = HostPort { host: "127.0.0.1".to_owned(), port: 1 };
        let trouble = Client::connect(&node, &Credentials::default()).unwrap_err();
        assert!(matches!(trouble.kind, TroubleKind::Unreachable(_)), "{trouble}");
        assert!(trouble.reply().is_none());
    }
}
