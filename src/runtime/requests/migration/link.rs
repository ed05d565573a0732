//! A source's connection to its target while it is made: a thread of its own connects, authenticates and has the job accepted. Then the
//! socket goes to core 0, as a connection whose input are the target's words.
//!
//! One thread for each attempt, as for the link to a primary (`runtime::replication::link`). It reports by a channel and rings core 0's
//! bell; cancelled, it ends when its socket is shut down.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Requests;
use crate::base::hex::HexId;
use crate::cluster::migration::Event;
use crate::command::client::{Client, ClientRef, Endpoint, MigrationEnd, ReplyMode};
use crate::command::core::MemoryFigures;
use crate::resp::write_request;
use crate::runtime::allocator;
use crate::runtime::connection::Connection;
use crate::runtime::mesh::BellPull;
use crate::runtime::persistence::snapshot_file::Retired;
use crate::runtime::replication::link::connect_to;

/// Stack of the thread.
const STACK_BYTES: usize = 128 << 10;
/// Longest line that a target answers with.
const LINE_BYTES_MAX: usize = 16 << 10;

/// What an attempt needs to know.
struct Settings {
    host: String,
    port: u16,
    /// `bind-source-addr`.
    source: String,
    /// `repl-timeout`.
    patience: Duration,
    /// AUTH, if there is a password; and ESTABLISH.
    auth: Option<Vec<u8>>,
    establish: Vec<u8>,
}

/// What the thread reports.
enum Report {
    Connected,
    /// The job is accepted: the socket, and what has been read behind the answer.
    Made(TcpStream, Vec<u8>),
    Failed(String),
}

/// Where whoever cancels finds the socket; nothing once it is cancelled.
#[derive(Default)]
enum Held {
    #[default]
    NotYet,
    Socket(TcpStream),
    Cancelled,
}

/// Core 0's hold of an attempt.
pub(super) struct Link {
    held: Arc<Mutex<Held>>,
    reports: Receiver<Report>,
    thread: JoinHandle<MemoryFigures>,
}

impl Link {
    fn begin(settings: Settings, bell: BellPull) -> Result<Link, String> {
        let held = Arc::<Mutex<Held>>::default();
        let (report, reports) = channel();
        let attempt = Attempt { settings, held: held.clone(), report, bell };
        let thread = std::thread::Builder::new().name("migration".to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn(move || {
            attempt.run();
            allocator::figures()
        });
        let thread = thread.map_err(|error| format!("can't start a thread: {error}"))?;
        Ok(Link { held, reports, thread })
    }

    /// Nobody wants it any more.
    pub fn cancel(self) -> Retired {
        let held = std::mem::replace(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner), Held::Cancelled);
        if let Held::Socket(socket) = held {
            let _ = socket.shutdown(Shutdown::Both);
        }
        Retired::of(self.thread)
    }

    /// It has reported its last.
    fn retire(self) -> Retired {
        Retired::of(self.thread)
    }
}

struct Attempt {
    settings: Settings,
    held: Arc<Mutex<Held>>,
    report: Sender<Report>,
    bell: BellPull,
}

impl Attempt {
    fn run(self) {
        let report = self.make().unwrap_or_else(Report::Failed);
        // Whoever cancels must not find a socket that is no longer ours.
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        if !matches!(held, Held::Cancelled) {
            self.say(report);
        }
    }

    fn say(&self, report: Report) {
        let _ = self.report.send(report);
        self.bell.ring();
    }

    fn make(&self) -> Result<Report, String> {
        let mut socket = self.connect().map_err(|why| format!("Unable to connect to target node: {why}"))?;
        self.say(Report::Connected);
        if let Some(auth) = &self.settings.auth {
            let lost = |error| format!("Failed to send AUTH command to target node: {error}");
            socket.write_all(auth).map_err(lost)?;
            let (line, _) = answer(&mut socket).ok_or("Target node did not respond to AUTH command")?;
            if line.starts_with('-') {
                return Err(format!("Failed to AUTH to target node: {line}"));
            }
        }
        let lost = "Connection lost during handshake to target";
        socket.write_all(&self.settings.establish).map_err(|_| lost)?;
        let (line, rest) = answer(&mut socket).ok_or(lost)?;
        if !line.starts_with('+') {
            return Err(format!("Received error during handshake to target: {line}"));
        }
        let ready = socket.set_read_timeout(None).and_then(|()| socket.set_nonblocking(true));
        ready.map(|()| Report::Made(socket, rest)).map_err(|error| error.to_string())
    }

    fn connect(&self) -> Result<TcpStream, String> {
        let settings = &self.settings;
        let addresses = (settings.host.as_str(), settings.port).to_socket_addrs().map_err(|error| error.to_string())?;
        let mut failed = "the name has no address".to_owned();
        for address in addresses {
            match connect_to(address, &settings.source, settings.patience).and_then(|socket| self.prepare(socket)) {
                Ok(socket) => return Ok(socket),
                Err(error) => failed = error.to_string(),
            }
        }
        Err(failed)
    }

    fn prepare(&self, socket: TcpStream) -> std::io::Result<TcpStream> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(self.settings.patience))?;
        socket.set_write_timeout(Some(self.settings.patience))?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*held, Held::Cancelled) {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        *held = Held::Socket(socket.try_clone()?);
        Ok(socket)
    }
}

/// The next line, without its end, and what was read behind it. None when the other side has nothing to say.
fn answer(socket: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut read = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        if let Some(end) = read.windows(2).position(|pair| pair == b"\r\n") {
            let rest = read.split_off(end + 2);
            read.truncate(end);
            return Some((String::from_utf8_lossy(&read).into_owned(), rest));
        }
        let count = socket.read(&mut buffer).ok().filter(|count| *count > 0)?;
        read.extend_from_slice(buffer.get(..count)?);
        if read.len() > LINE_BYTES_MAX {
            return None;
        }
    }
}

impl Requests {
    pub(super) fn connect_to_target(&mut self, job: HexId) {
        let outcome = self.link_settings(&job).and_then(|settings| Link::begin(settings, self.mesh.bell_pull()));
        match outcome {
            Ok(link) => self.migrating.links.push((job, link)),
            Err(why) => self.job_event(job, Event::Refused(format!("Unable to connect to target node: {why}"))),
        }
    }

    fn link_settings(&self, name: &HexId) -> Result<Settings, String> {
        let config = &self.core.config;
        let job = self.job(name).ok_or("the job is gone")?;
        let cluster = self.core.node.as_ref().and_then(|node| node.cluster.as_deref()).ok_or("no cluster")?;
        let state = cluster.state();
        let target = job.target.and_then(|id| state.find(&id)).ok_or("target node not found")?;
        let address = &state.node(target).address;
        let mut establish = Vec::new();
        let source = state.myself().id;
        let numbers: Vec<String> =
            job.ranges.iter().flat_map(|(first, last)| [first.to_string(), last.to_string()]).collect();
        let mut words: Vec<&[u8]> = vec![b"CLUSTER", b"SYNCSLOTS", b"ESTABLISH", b"SOURCE", source.as_bytes()];
        words.extend([&b"NAME"[..], name.as_bytes(), b"SLOTSRANGE"]);
        words.extend(numbers.iter().map(|number| number.as_bytes()));
        write_request(&mut establish, words.into_iter());
        let auth = (!config.masterauth.is_empty()).then(|| {
            let user = Some(&config.masteruser[..]).filter(|user| !user.is_empty());
            let words: Vec<&[u8]> =
                [Some(&b"AUTH"[..]), user, Some(&config.masterauth)].into_iter().flatten().collect();
            let mut auth = Vec::new();
            write_request(&mut auth, words.into_iter());
            auth
        });
        Ok(Settings {
            host: address.ip.clone(),
            port: address.port,
            source: config.bind_source_addr.clone(),
            patience: Duration::from_secs(u64::from(config.repl_timeout)),
            auth,
            establish,
        })
    }

    /// What attempts report. True when there was anything.
    pub(super) fn attend_links(&mut self) -> bool {
        let reported: Vec<(HexId, Report)> = self
            .migrating
            .links
            .iter()
            .flat_map(|(job, link)| link.reports.try_iter().map(|report| (*job, report)))
            .collect();
        let worked = !reported.is_empty();
        for (job, report) in reported {
            if !matches!(report, Report::Connected)
                && let Some(at) = self.migrating.links.iter().position(|(name, _)| *name == job)
            {
                let (_, link) = self.migrating.links.remove(at);
                self.retired_writers.push(link.retire());
            }
            match report {
                Report::Connected => self.job_event(job, Event::Connected),
                Report::Failed(why) => self.job_event(job, Event::Refused(why)),
                Report::Made(socket, rest) => self.link_is_made(job, socket, &rest),
            }
        }
        worked
    }

    fn link_is_made(&mut self, job: HexId, socket: TcpStream, rest: &[u8]) {
        if self.job(&job).is_none_or(|job| !job.state.is_under_way()) {
            return;
        }
        match self.adopt_target(job, socket) {
            Ok(client) => {
                self.migrating.ends.push((job, client));
                self.job_event(job, Event::Established);
                if !rest.is_empty() {
                    self.input(client.index, rest);
                }
            }
            Err(error) => self.job_event(job, Event::Refused(format!("Unable to connect to target node: {error}"))),
        }
    }

    /// Makes the link a connection of this core.
    fn adopt_target(&mut self, job: HexId, socket: TcpStream) -> std::io::Result<ClientRef> {
        let (peer, local) = (Endpoint::Tcp(socket.peer_addr()?), Endpoint::Tcp(socket.local_addr()?));
        let mut connection = Box::new(Connection::new(OwnedFd::from(socket)));
        let descriptor = connection.descriptor();
        connection.receiving = true;
        let (id, now) = (self.census.enter(self.core.id), self.core.clock.unix());
        let entry = self.core.clients.vacant_entry();
        let index = entry.key() as u32;
        let mut client = Client::new(id, index, descriptor, peer, local, now);
        client.authenticated = true;
        client.reply_mode = ReplyMode::Off;
        client.migration = Some(Box::new(MigrationEnd::Export { job }));
        entry.insert(client);
        if self.connections.len() <= index as usize {
            self.connections.resize_with(index as usize + 1, || None);
        }
        self.connections[index as usize] = Some(connection);
        self.adopted.push((index, descriptor));
        Ok(ClientRef { core: self.core.id, index, id })
    }
}
