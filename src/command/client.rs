//! A client as commands see it: who it is and what it has set up. The socket side is the runtime's.

use std::fmt;
use std::net::SocketAddr;

use crate::base::clock::UnixMillis;
use crate::base::core_id::CoreId;
use crate::base::hex::HexId;
use crate::base::slot::SlotSet;
use crate::command::error::CommandError;
use crate::command::replication::replicas::PeerFacts;
use crate::command::spec::CommandSpec;
use crate::command::tracking::Tracking;
use crate::command::transactions::Transaction;
use crate::resp::RespVersion;

/// Where a connection ends: an address or a Unix socket's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Tcp(SocketAddr),
    Unix(String),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(SocketAddr::V4(address)) => write!(f, "{address}"),
            // Redis prints IPv6 addresses in brackets, as std does.
            Endpoint::Tcp(address) => write!(f, "{address}"),
            Endpoint::Unix(path) => write!(f, "{path}:0"),
        }
    }
}

/// Finds a client again from another core. The id tells whether the index still means the same client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ClientRef {
    pub core: CoreId,
    pub index: u32,
    pub id: u64,
}

/// What a request carries of its client to the core that runs it.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub client: ClientRef,
    pub db: u16,
    pub resp: RespVersion,
    /// CLIENT NO-TOUCH: lookups leave the access clocks alone.
    pub no_touch: bool,
    /// ASKING came before this command.
    pub asking: bool,
    /// READONLY: a replica may answer reads of its primary's slots.
    pub readonly: bool,
    /// Whether this node answers depends on which keys of the slot are here (see `routing`).
    pub is_slot_open: bool,
    /// The peer is on this host: loopback or a Unix socket (enable-debug-command local).
    pub local: bool,
    /// What the command reads is remembered for client-side caching.
    pub tracks: bool,
    /// In a transaction a blocking command answers at once that nothing came.
    pub must_not_wait: bool,
    /// CLIENT REPLY has not turned the reply off.
    pub wants_reply: bool,
    /// It is what another node's client has said there, and belongs to a slot that is on its way here.
    pub is_import: bool,
    /// The client has come to the port of the core that serves it.
    pub is_on_core_port: bool,
}

/// What the other end of a migration is (`cluster::migration`).
#[derive(Clone, Debug)]
pub enum MigrationEnd {
    /// The source of these slots.
    Import { job: HexId, slots: Box<SlotSet> },
    /// The target.
    Export { job: HexId },
}

impl MigrationEnd {
    pub fn job(&self) -> HexId {
        match self {
            MigrationEnd::Import { job, .. } | MigrationEnd::Export { job } => *job,
        }
    }
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ReplyMode {
    #[default]
    On,
    Off,
    /// The reply to the next command is skipped.
    SkipNext,
    /// The reply to the running command is skipped.
    Skip,
}

/// Why a connection ends, for the log and INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed or the socket failed.
    Peer,
    /// QUIT, or a protocol error: what is still to send goes out first.
    AfterReply,
    Killed,
    Timeout,
    OutputLimit,
    QueryBufferLimit,
    Shutdown,
    /// `maxmemory-clients`: all clients together took too much, this one most.
    Evicted,
}

/// What a connection takes besides its buffers: the client, the runtime's side of it, the kernel's not included.
const CLIENT_BYTES: usize = size_of::<Client>() + 512;

/// What a watched key or a subscription takes, about, its name not included.
const INTEREST_BYTES: usize = 64;

/// A connected client of this core.
#[derive(Clone)]
pub struct Client {
    pub id: u64,
    pub index: u32,
    pub peer: Endpoint,
    pub local: Endpoint,
    /// The descriptor's number, as CLIENT LIST shows it.
    pub descriptor: i32,
    pub name: Vec<u8>,
    pub library_name: Vec<u8>,
    pub library_version: Vec<u8>,
    pub db: u16,
    pub resp: RespVersion,
    pub authenticated: bool,
    /// It has come to the port of the core that serves it.
    pub is_on_core_port: bool,
    pub readonly: bool,
    pub asking: bool,
    pub no_evict: bool,
    pub no_touch: bool,
    pub monitor: bool,
    /// CLIENT PAUSE holds its next request.
    pub postponed: bool,
    pub reply_mode: ReplyMode,
    /// What was queued since MULTI.
    pub transaction: Option<Box<Transaction>>,
    /// CLIENT TRACKING.
    pub tracking: Option<Box<Tracking>>,
    /// Cores on which the client watches keys, and how many it has named.
    pub watch_cores: Vec<CoreId>,
    pub watched_count: usize,
    /// Channels, patterns and shard channels that it listens to.
    pub subscriptions: [usize; 3],
    /// A blocking command of it has not been answered.
    pub blocked: bool,
    /// It has sent a command that writes.
    pub has_written: bool,
    /// What it has said with REPLCONF.
    pub replica_facts: Option<Box<PeerFacts>>,
    /// It is the primary that this node copies.
    pub is_upstream: bool,
    /// It is the other end of a migration of slots.
    pub migration: Option<Box<MigrationEnd>>,
    /// It has said PSYNC or SYNC: it reads the log.
    pub is_replica: bool,
    /// Other cores may know of this client, and are told when it leaves.
    pub has_footprint: bool,
    /// Set by handlers and limits; the runtime closes the connection at the end of the turn.
    pub closing: Option<CloseReason>,
    pub created: UnixMillis,
    pub last_interaction: UnixMillis,
    pub last_command: Option<&'static CommandSpec>,
    /// Since when the output has been above its soft limit.
    pub output_soft_since: Option<UnixMillis>,
    /// Its part in what the core's clients take together; kept while they are limited.
    pub accounted_bytes: usize,
    pub traffic: Traffic,
}

/// What the runtime reports of a connection's buffers, for CLIENT LIST and INFO.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// Bytes of requests received and not yet run.
    pub query_buffer_bytes: usize,
    /// Capacity beyond that.
    pub query_buffer_free_bytes: usize,
    /// Replies that wait to be sent, or are on their way through the kernel.
    pub output_bytes: usize,
    /// Memory that those replies take.
    pub output_memory_bytes: usize,
    /// Largest `query_buffer_bytes` and output in the last seconds.
    pub largest_query_buffer_bytes: usize,
    pub largest_output_bytes: usize,
    /// Requests that run on other cores now.
    pub elsewhere_count: usize,
}

impl Client {
    pub fn new(id: u64, index: u32, descriptor: i32, peer: Endpoint, local: Endpoint, now: UnixMillis) -> Client {
        Client {
            id,
            index,
            peer,
            local,
            descriptor,
            name: Vec::new(),
            library_name: Vec::new(),
            library_version: Vec::new(),
            db: 0,
            resp: RespVersion::V2,
            authenticated: false,
            readonly: false,
            is_on_core_port: false,
            asking: false,
            no_evict: false,
            no_touch: false,
            monitor: false,
            postponed: false,
            reply_mode: ReplyMode::On,
            transaction: None,
            tracking: None,
            watch_cores: Vec::new(),
            watched_count: 0,
            subscriptions: [0; 3],
            blocked: false,
            has_written: false,
            replica_facts: None,
            is_upstream: false,
            migration: None,
            is_replica: false,
            has_footprint: false,
            closing: None,
            created: now,
            last_interaction: now,
            last_command: None,
            output_soft_since: None,
            accounted_bytes: 0,
            traffic: Traffic::default(),
        }
    }

    /// The address that it comes from, without the port.
    pub fn host(&self) -> String {
        match &self.peer {
            Endpoint::Tcp(address) => address.ip().to_string(),
            Endpoint::Unix(path) => path.clone(),
        }
    }

    pub fn is_local(&self) -> bool {
        match &self.peer {
            Endpoint::Tcp(address) => address.ip().is_loopback(),
            Endpoint::Unix(_) => true,
        }
    }

    /// Bytes that the client takes: its buffers as last reported, what it has queued.
    pub fn memory_bytes(&self) -> usize {
        let traffic = &self.traffic;
        let buffers = traffic.query_buffer_bytes + traffic.query_buffer_free_bytes + traffic.output_memory_bytes;
        let interests = self.watched_count + self.subscriptions.iter().sum::<usize>();
        let queue_bytes = self.transaction.as_ref().map_or(0, |transaction| transaction.memory_bytes());
        CLIENT_BYTES + buffers + queue_bytes + interests * INTEREST_BYTES
    }

    /// What travels with a request of this client.
    pub fn caller(&self, core: CoreId) -> Caller {
        Caller {
            client: ClientRef { core, index: self.index, id: self.id },
            db: self.db,
            resp: self.resp,
            no_touch: self.no_touch,
            asking: self.asking,
            readonly: self.readonly,
            is_slot_open: false,
            local: self.is_local(),
            tracks: self.tracking.as_ref().is_some_and(|tracking| tracking.remembers()),
            must_not_wait: false,
            wants_reply: true,
            is_import: false,
            is_on_core_port: self.is_on_core_port,
        }
    }

    /// CLIENT CACHING is for one command, or one transaction.
    #[cold]
    pub fn end_caching(&mut self, spec: &CommandSpec) {
        let is_client_command = spec.name.starts_with("client|");
        if let Some(tracking) = &mut self.tracking
            && self.transaction.is_none()
            && !is_client_command
            && spec.name != "multi"
        {
            tracking.caching = false;
        }
    }

    /// Whether it listens to anything: in version 2 of the protocol it may then do little else.
    #[inline]
    pub fn is_listening(&self) -> bool {
        self.subscriptions != [0; 3]
    }

    /// Takes over what commands of a transaction have set on a copy of this client.
    pub fn take_over(&mut self, copy: Client) {
        let Client { name, library_name, library_version, db, resp, authenticated, readonly, .. } = copy;
        (self.name, self.library_name, self.library_version) = (name, library_name, library_version);
        (self.db, self.resp, self.authenticated, self.readonly) = (db, resp, authenticated, readonly);
        (self.no_evict, self.no_touch, self.reply_mode) = (copy.no_evict, copy.no_touch, copy.reply_mode);
    }

    /// The flags column of CLIENT LIST.
    pub fn flags_text(&self) -> String {
        let mut text = String::new();
        for (set, letter) in [
            (self.is_replica && !self.monitor, 'S'),
            (self.is_upstream, 'M'),
            (self.monitor, 'O'),
            (self.is_listening(), 'P'),
            (self.transaction.is_some(), 'x'),
            (self.tracking.is_some(), 't'),
            (self.tracking.as_ref().is_some_and(|tracking| tracking.broken_redirect), 'R'),
            (self.tracking.as_ref().is_some_and(|tracking| tracking.bcast), 'B'),
            (self.blocked || self.postponed, 'b'),
            (self.closing == Some(CloseReason::AfterReply), 'c'),
            (self.closing == Some(CloseReason::Killed), 'A'),
            (matches!(self.peer, Endpoint::Unix(_)), 'U'),
            (self.readonly, 'r'),
            (self.no_evict, 'e'),
            (self.no_touch, 'T'),
        ] {
            if set {
                text.push(letter);
            }
        }
        if text.is_empty() {
            text.push('N');
        }
        text
    }

    /// RESET: everything but the connection itself as it was after the accept.
    pub fn reset(&mut self, authenticated: bool) {
        self.name.clear();
        self.db = 0;
        self.resp = RespVersion::V2;
        self.authenticated = authenticated;
        self.readonly = false;
        self.asking = false;
        self.no_evict = false;
        self.no_touch = false;
        self.monitor = false;
        self.transaction = None;
        self.tracking = None;
        self.watch_cores.clear();
        self.watched_count = 0;
        self.subscriptions = [0; 3];
        self.reply_mode = ReplyMode::On;
    }
}

/// Checks a connection or library name: printable, no spaces. `what` it is stands in the error.
pub fn check_name(name: &[u8], what: &[u8]) -> Result<(), CommandError> {
    if name.iter().all(|b| (b'!'..=b'~').contains(b)) {
        return Ok(());
    }
    Err(CommandError::quoting("ERR ", what, " cannot contain spaces, newlines or special characters."))
}
