//! The link to a primary while it is made: a thread of its own connects, says what `replication::handshake` has it say, and
//! receives the primary's data into a file, on the disk or in memory (`repl-diskless-load`). Then the socket goes to core 0, where the
//! stream is received as a client's requests are.
//!
//! One thread for each attempt, begun by core 0. It reports by a channel and rings core 0's bell. An attempt that nobody wants any
//! more is cancelled by shutting its socket down; the thread clears away what it has begun.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, sockopt};
use nix::sys::time::TimeVal;

use super::super::allocator;
use super::super::mesh::BellPull;
use super::super::persistence::snapshot_file::Retired;
use crate::base::hex::HexId;
use crate::command::core::MemoryFigures;
use crate::replication::handshake::{Handshake, Introduction, LINE_BYTES_MAX, Next};
use crate::replication::payload::{Form, Payload, Taken};

/// Stack of the thread.
const STACK_BYTES: usize = 256 << 10;
/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;
/// The disk is this far behind at most.
const SYNC_STEP_BYTES: u64 = 8 << 20;

/// What an attempt needs to know.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    pub host: String,
    pub port: u16,
    /// `bind-source-addr`; empty when the system chooses.
    pub source: String,
    /// `repl-timeout`: longest silence.
    pub patience: Duration,
    pub keepalive_s: u32,
    pub introduction: Introduction,
    /// `dir`: where the data are received into a file.
    pub folder: PathBuf,
    /// `repl-diskless-load`: the file is one of memory.
    pub in_memory: bool,
}

/// What the thread reports.
pub enum Report {
    /// All data will come: what this node had of a history is of no use any more.
    Full,
    /// They are in a file, and the stream follows.
    Received(Box<Received>),
    /// The stream goes on where this node is.
    Continues { id: Option<HexId>, link: Made },
    /// No way on: a line for the log.
    Failed(String),
    /// The primary does not want this node now: a line for the log.
    Refused(String),
}

/// A link over which the stream comes.
pub struct Made {
    pub socket: TcpStream,
    /// Bytes of it that have been read already.
    pub rest: Vec<u8>,
}

/// The primary's data, and the link over which the rest comes.
pub struct Received {
    pub path: PathBuf,
    /// What keeps a file of memory alive; the path leads to it.
    pub memory: Option<File>,
    pub bytes: u64,
    /// Their end was known by a mark: the primary waits to hear that they have come.
    pub by_mark: bool,
    /// The history and the place in it at which the data are.
    pub id: HexId,
    pub place: u64,
    pub link: Made,
}

/// How far an attempt is.
#[derive(Default)]
struct Shared {
    total_bytes: AtomicU64,
    read_bytes: AtomicU64,
    /// Unix time in milliseconds of the last bytes that came.
    heard_ms: AtomicU64,
    is_cancelled: AtomicBool,
    /// The socket, once there is one, for who cancels.
    socket: Mutex<Option<TcpStream>>,
}

/// Core 0's hold of an attempt.
pub struct Link {
    shared: Arc<Shared>,
    reports: Receiver<Report>,
    temporary: PathBuf,
    thread: JoinHandle<MemoryFigures>,
}

impl Received {
    /// Nobody wants the data any more.
    pub fn discard(&self) {
        if self.memory.is_none() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Link {
    /// Starts an attempt.
    ///
    /// # Errors
    /// A line for the log, when a thread cannot be had.
    pub fn begin(settings: LinkSettings, bell: BellPull) -> Result<Link, String> {
        let shared = Arc::new(Shared::default());
        let (report, reports) = channel();
        let name = format!("temp-{}.{}.rdb", unix_ms() / 1000, std::process::id());
        let temporary = settings.folder.join(name);
        let attempt = Attempt { settings, shared: shared.clone(), temporary: temporary.clone(), report, bell };
        let thread = std::thread::Builder::new().name("link".to_owned()).stack_size(STACK_BYTES);
        let started = thread.spawn(move || {
            attempt.run();
            allocator::figures()
        });
        let thread =
            started.map_err(|error| format!("Can't start the thread that connects with the master: {error}"))?;
        Ok(Link { shared, reports, temporary, thread })
    }

    /// The next report, if there is one.
    pub fn report(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// Bytes of data that are to come (0 when that is not known), and that have come.
    pub fn transferred(&self) -> (u64, u64) {
        (self.shared.total_bytes.load(Ordering::Relaxed), self.shared.read_bytes.load(Ordering::Relaxed))
    }

    /// Unix time in milliseconds at which something came last; 0 when nothing did.
    pub fn heard_ms(&self) -> u64 {
        self.shared.heard_ms.load(Ordering::Relaxed)
    }

    /// Nobody wants it any more.
    pub fn cancel(self) -> Retired {
        self.shared.is_cancelled.store(true, Ordering::Release);
        let socket = self.shared.socket.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(socket) = socket {
            let _ = socket.shutdown(Shutdown::Both);
        }
        let _ = fs::remove_file(&self.temporary);
        Retired::of(self.thread)
    }

    /// It has reported its last.
    pub fn retire(self) -> Retired {
        Retired::of(self.thread)
    }
}

/// The thread's side.
struct Attempt {
    settings: LinkSettings,
    shared: Arc<Shared>,
    temporary: PathBuf,
    report: Sender<Report>,
    bell: BellPull,
}

impl Attempt {
    fn run(self) {
        let report = self.make().unwrap_or_else(Report::Failed);
        // Whoever cancels must not find a socket that is no longer ours.
        *self.shared.socket.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if self.shared.is_cancelled.load(Ordering::Acquire) {
            let _ = fs::remove_file(&self.temporary);
            return;
        }
        self.say(report);
    }

    fn say(&self, report: Report) {
        let _ = self.report.send(report);
        self.bell.ring();
    }

    fn make(&self) -> Result<Report, String> {
        let socket = self.connect()?;
        tracing::info!("Non blocking connect for SYNC fired the event.");
        let mut peer = Peer { socket, shared: &self.shared, buffer: vec![0; READ_BYTES], begin: 0, end: 0 };
        let mut handshake = Handshake::new(self.settings.introduction.clone());
        peer.send(&handshake.begin())?;
        loop {
            match handshake.answer(&peer.line()?) {
                Next::Wait => {}
                Next::Send(bytes) => peer.send(&bytes)?,
                Next::Failed(line) => return Err(line),
                Next::Refused(line) => return Ok(Report::Refused(line)),
                Next::Continue { id } => return peer.into_made().map(|link| Report::Continues { id, link }),
                Next::Full { id, place } => {
                    self.say(Report::Full);
                    let target = self.target()?;
                    let (target, by_mark) = self.receive(&mut peer, target).inspect_err(|_| {
                        let _ = fs::remove_file(&self.temporary);
                    })?;
                    let (bytes, link) = (target.bytes, peer.into_made()?);
                    let (path, memory) = match self.settings.in_memory {
                        true => (format!("/proc/self/fd/{}", target.file.as_raw_fd()).into(), Some(target.file)),
                        false => (self.temporary.clone(), None),
                    };
                    return Ok(Report::Received(Box::new(Received { path, memory, bytes, by_mark, id, place, link })));
                }
            }
        }
    }

    /// Connects, with everything set that a link needs.
    fn connect(&self) -> Result<TcpStream, String> {
        let settings = &self.settings;
        let addresses = (settings.host.as_str(), settings.port).to_socket_addrs();
        let addresses = addresses.map_err(|error| format!("Unable to connect to MASTER: {}", reason(&error)))?;
        let mut failed = "Unable to connect to MASTER: the name has no address".to_owned();
        for address in addresses {
            match connect_to(address, &settings.source, settings.patience) {
                Ok(socket) => return self.prepare(socket).map_err(|error| reason(&error)),
                Err(error) if is_timeout(&error) => failed = "Timeout connecting to the MASTER...".to_owned(),
                Err(error) => failed = format!("Error condition on socket for SYNC: {}", reason(&error)),
            }
        }
        Err(failed)
    }

    fn prepare(&self, socket: TcpStream) -> io::Result<TcpStream> {
        let settings = &self.settings;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(settings.patience))?;
        socket.set_write_timeout(Some(settings.patience))?;
        if settings.keepalive_s > 0 {
            socket::setsockopt(&socket, sockopt::KeepAlive, &true)?;
            socket::setsockopt(&socket, sockopt::TcpKeepIdle, &settings.keepalive_s)?;
            socket::setsockopt(&socket, sockopt::TcpKeepInterval, &(settings.keepalive_s / 3).max(1))?;
            socket::setsockopt(&socket, sockopt::TcpKeepCount, &3)?;
        }
        let clone = socket.try_clone()?;
        *self.shared.socket.lock().unwrap_or_else(PoisonError::into_inner) = Some(clone);
        if self.shared.is_cancelled.load(Ordering::Acquire) {
            return Err(io::Error::from(ErrorKind::Interrupted));
        }
        Ok(socket)
    }

    /// The file that the data go to.
    fn target(&self) -> Result<Target<'_>, String> {
        let (in_memory, path) = (self.settings.in_memory, self.temporary.as_path());
        let opened = match in_memory {
            true => memfd_create("sync", MFdFlags::MFD_CLOEXEC).map(File::from).map_err(io::Error::from),
            false => File::create(path),
        };
        let file = opened.map_err(|error| {
            format!("Opening the temp file needed for MASTER <-> REPLICA synchronization: {}", reason(&error))
        })?;
        Ok(Target { file, path, in_memory, bytes: 0, synced_bytes: 0 })
    }

    /// Receives the data into the file; returns it, and whether a mark stood behind them.
    fn receive<'a>(&self, peer: &mut Peer<'_>, mut target: Target<'a>) -> Result<(Target<'a>, bool), String> {
        let form = loop {
            if let Some(form) = Form::parse(&peer.line()?)? {
                break form;
            }
        };
        let place = if target.in_memory { "memory" } else { "disk" };
        match form {
            Form::Length(bytes) => {
                self.shared.total_bytes.store(bytes, Ordering::Relaxed);
                tracing::info!("MASTER <-> REPLICA sync: receiving {bytes} bytes from master to {place}");
            }
            Form::Mark(_) => {
                tracing::info!("MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF to {place}");
            }
        }
        let mut payload = Payload::new(form);
        while !payload.is_empty() {
            let chunk = peer.chunk(payload.wanted_max())?;
            let taken = payload.take(chunk, |bytes| target.write(bytes))?;
            self.shared.read_bytes.store(target.bytes, Ordering::Relaxed);
            if let Taken::End { rest } = taken {
                peer.give_back(rest);
                break;
            }
        }
        if !target.in_memory {
            target.file.sync_all().map_err(|error| target.failed(&error))?;
        }
        Ok((target, matches!(form, Form::Mark(_))))
    }
}

/// The file that the data go to.
struct Target<'a> {
    file: File,
    path: &'a Path,
    in_memory: bool,
    bytes: u64,
    synced_bytes: u64,
}

impl Target<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.file.write_all(bytes).map_err(|error| self.failed(&error))?;
        self.bytes += bytes.len() as u64;
        if !self.in_memory && self.bytes - self.synced_bytes >= SYNC_STEP_BYTES {
            self.synced_bytes = self.bytes;
            self.file.sync_data().map_err(|error| self.failed(&error))?;
        }
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> String {
        format!(
            "Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA synchronization: {}: {}",
            self.path.display(),
            reason(error)
        )
    }
}

/// The primary's end of the socket.
struct Peer<'a> {
    socket: TcpStream,
    shared: &'a Shared,
    buffer: Vec<u8>,
    /// What was read and not used.
    begin: usize,
    end: usize,
}

impl Peer<'_> {
    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.socket.write_all(bytes).map_err(|error| format!("Sending command to master: {}", reason(&error)))
    }

    /// The next line, without its end.
    fn line(&mut self) -> Result<Vec<u8>, String> {
        let mut line = Vec::new();
        loop {
            let chunk = self.chunk(u64::MAX)?;
            let end = memchr::memchr(b'\n', chunk);
            let (count, used) = end.map_or((chunk.len(), chunk.len()), |end| (end, end + 1));
            line.extend_from_slice(chunk.get(..count).unwrap_or_default());
            let rest = chunk.len() - used;
            self.give_back(rest);
            if line.len() > LINE_BYTES_MAX {
                return Err("The master's reply has no end".to_owned());
            }
            if end.is_some() {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
        }
    }

    /// What has come, waiting for it if need be; `wanted` bytes at most.
    fn chunk(&mut self, wanted: u64) -> Result<&[u8], String> {
        if self.begin == self.end {
            let count = self.socket.read(&mut self.buffer).map_err(|error| match is_timeout(&error) {
                true => {
                    "Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' \
                         parameter in redis.conf to a larger value."
                        .to_owned()
                }
                false => format!("I/O error trying to sync with MASTER: {}", reason(&error)),
            })?;
            if count == 0 {
                return Err("I/O error trying to sync with MASTER: connection lost".to_owned());
            }
            self.shared.heard_ms.store(unix_ms(), Ordering::Relaxed);
            (self.begin, self.end) = (0, count);
        }
        let count = usize::try_from(wanted).map_or(self.end - self.begin, |wanted| wanted.min(self.end - self.begin));
        let begin = self.begin;
        self.begin += count;
        Ok(self.buffer.get(begin..self.begin).unwrap_or_default())
    }

    /// So many of the bytes that came last are for somebody else.
    fn give_back(&mut self, count: usize) {
        self.begin -= count;
    }

    fn into_made(self) -> Result<Made, String> {
        let rest = self.buffer.get(self.begin..self.end).unwrap_or_default().to_vec();
        let socket = self.socket;
        let ready = socket.set_read_timeout(None).and_then(|()| socket.set_nonblocking(true));
        ready.map(|()| Made { socket, rest }).map_err(|error| reason(&error))
    }
}

/// Connects within `patience`, from the address `source` if it is one.
pub(in crate::runtime) fn connect_to(address: SocketAddr, source: &str, patience: Duration) -> io::Result<TcpStream> {
    if source.is_empty() {
        return TcpStream::connect_timeout(&address, patience);
    }
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let descriptor = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let source: IpAddr = source.parse().map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    socket::bind(descriptor.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
    // On Linux the time for sending is the time for connecting, too.
    let seconds = i64::try_from(patience.as_secs()).unwrap_or(i64::MAX);
    socket::setsockopt(&descriptor, sockopt::SendTimeout, &TimeVal::new(seconds, 0))?;
    socket::connect(descriptor.as_raw_fd(), &SockaddrStorage::from(address)).map_err(|error| match error {
        nix::errno::Errno::EINPROGRESS => io::Error::from(ErrorKind::TimedOut),
        other => io::Error::from(other),
    })?;
    Ok(TcpStream::from(descriptor))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The system's words without its number.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}
