//! Listening sockets and what an accepted connection is made of.
//!
//! Core 0 accepts for all and hands a connection to the core whose port it came to, or to the core that has the fewest. Measured over 300 rounds with two
//! listeners: SO_REUSEPORT's hashing gives the busier core 68 % of 4 connections (11 % of the time all of them) and 55 % of
//! 50 (at worst 72 %); counting gives it half.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    self, AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, UnixAddr, sockopt,
};

use crate::base::core_id::CoreId;
use crate::cluster::core_ports::CorePorts;
use crate::cluster::settings::ClusterSettings;
use crate::command::client::Endpoint;
use crate::config::Config;

/// How long a node that starts waits for a port: the kernel takes the rings of a process that has ended apart in the
/// background, and with them the sockets that they accept from (up to 13 ms after the exit, measured).
const START_PATIENCE: Duration = Duration::from_millis(1000);

/// A socket that listens.
pub struct Listener {
    pub descriptor: OwnedFd,
    /// The path to remove at the end, for a Unix socket.
    pub unix_path: Option<String>,
    /// The core that serves whoever comes here; the one that has the fewest clients otherwise.
    pub core: Option<CoreId>,
}

/// A connection that core 0 has accepted, on its way to the core that serves it.
pub struct Accepted {
    pub descriptor: OwnedFd,
    pub peer: Endpoint,
    pub local: Endpoint,
    pub id: u64,
    /// It has come to a core's own port.
    pub is_on_core_port: bool,
}

/// Opens every listening socket that the configuration names.
///
/// # Errors
/// One line that says which address and why; optional addresses (a leading `-`) that do not exist here are passed over.
pub fn listen(config: &Config, cores_count: usize) -> Result<Vec<Listener>, String> {
    let mut listeners = open_all_tcp(config, cores_count, START_PATIENCE)?;
    if !config.unixsocket.is_empty() {
        let listener = listen_unix(&config.unixsocket, config.unixsocketperm, config.tcp_backlog)
            .map_err(|error| format!("Failed opening Unix socket: bind: {}: {error}", config.unixsocket))?;
        listeners.push(listener);
    }
    if listeners.is_empty() {
        return Err("Configured to not listen anywhere, exiting.".to_owned());
    }
    Ok(listeners)
}

/// Opens the listening sockets of `port`, of the cores' ports and of `bind`; none without a port.
///
/// # Errors
/// As [`listen`].
pub fn tcp_listeners(config: &Config, cores_count: usize) -> Result<Vec<Listener>, String> {
    open_all_tcp(config, cores_count, Duration::ZERO)
}

fn open_all_tcp(config: &Config, cores_count: usize, patience: Duration) -> Result<Vec<Listener>, String> {
    let mut listeners = open_tcp(config, config.port, "tcp", patience)?;
    let Some(base) = CorePorts::base_of(config) else { return Ok(listeners) };
    if CorePorts::checked(base, cores_count).is_none() {
        return Err(format!("core-port-base {base} leaves no room for the ports of {cores_count} cores"));
    }
    for (core, port) in (0..cores_count).map(CoreId::new).zip(base..=u16::MAX) {
        let of_core = open_tcp(config, port, "core", patience)?;
        listeners.extend(of_core.into_iter().map(|listener| Listener { core: Some(core), ..listener }));
    }
    Ok(listeners)
}

/// Opens the sockets of the cluster bus, at the addresses of `bind`; none outside of cluster mode.
///
/// # Errors
/// As [`listen`].
pub fn listen_for_bus(config: &Config) -> Result<Vec<Listener>, String> {
    if !config.cluster_enabled {
        return Ok(Vec::new());
    }
    open_tcp(config, ClusterSettings::bus_port(config), "cluster", START_PATIENCE)
}

/// `whose`: as Redis calls those who connect there.
fn open_tcp(config: &Config, port: u16, whose: &str, patience: Duration) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::new();
    if port == 0 {
        return Ok(listeners);
    }
    for name in &config.bind {
        let (optional, address) = match name.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, name.as_str()),
        };
        match listen_patiently(address, port, config.tcp_backlog, patience) {
            Ok(listener) => listeners.push(listener),
            Err(error) if optional && is_missing_address(&error) => {}
            // The public test suite waits for these words.
            Err(error) => {
                return Err(format!(
                    "Failed listening on port {port} ({whose}), aborting. Could not create server TCP listening socket {address}:{port}: {error}"
                ));
            }
        }
    }
    Ok(listeners)
}

impl Listener {
    /// Takes no more connections and gives the address free; connections not yet accepted are reset.
    pub fn suspend(&self) {
        let _ = socket::shutdown(self.descriptor.as_raw_fd(), socket::Shutdown::Both);
    }

    /// Takes connections again at the same address.
    pub fn resume(&self, backlog: u32) {
        if let Err(error) = socket::listen(&self.descriptor, backlog_of(backlog)) {
            tracing::warn!("Can't go on listening: {error}");
        }
    }
}

fn is_missing_address(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ENOPROTOOPT)
    )
}

/// `*` is every IPv4 address, `::*` every IPv6 address, as in redis.conf. Names are resolved.
fn resolve(address: &str, port: u16) -> io::Result<SocketAddr> {
    use std::net::ToSocketAddrs;
    match address {
        "*" | "" => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)),
        "::*" => Ok(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)),
        _ => (address, port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address")),
    }
}

fn listen_patiently(address: &str, port: u16, backlog: u32, patience: Duration) -> io::Result<Listener> {
    let deadline = Instant::now() + patience;
    loop {
        match listen_tcp(address, port, backlog) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(patience / 100);
            }
            outcome => return outcome,
        }
    }
}

fn listen_tcp(address: &str, port: u16, backlog: u32) -> io::Result<Listener> {
    let address = resolve(address, port)?;
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let descriptor = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    socket::setsockopt(&descriptor, sockopt::ReuseAddr, &true)?;
    match address {
        SocketAddr::V4(v4) => socket::bind(descriptor.as_raw_fd(), &SockaddrIn::from(v4))?,
        SocketAddr::V6(v6) => {
            socket::setsockopt(&descriptor, sockopt::Ipv6V6Only, &true)?;
            socket::bind(descriptor.as_raw_fd(), &SockaddrIn6::from(v6))?;
        }
    }
    socket::listen(&descriptor, backlog_of(backlog))?;
    Ok(Listener { descriptor, unix_path: None, core: None })
}

fn listen_unix(path: &str, permissions: u32, backlog: u32) -> io::Result<Listener> {
    let _ = std::fs::remove_file(path); // a socket left behind by a process that was killed
    let descriptor =
        socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    socket::bind(descriptor.as_raw_fd(), &UnixAddr::new(path)?)?;
    if permissions != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(permissions))?;
    }
    socket::listen(&descriptor, backlog_of(backlog))?;
    Ok(Listener { descriptor, unix_path: Some(path.to_owned()), core: None })
}

/// The kernel cuts the backlog to net.core.somaxconn by itself.
fn backlog_of(backlog: u32) -> Backlog {
    Backlog::new(backlog.clamp(1, 4096) as i32).unwrap_or(Backlog::MAXCONN)
}

impl Accepted {
    /// Takes over a descriptor that accept returned, with the options that Redis sets on it.
    ///
    /// # Errors
    /// When the peer is gone already.
    pub fn new(descriptor: RawFd, listener: &Listener, id: u64, keepalive_s: u32) -> io::Result<Accepted> {
        // SAFETY: the kernel has just handed this descriptor to us; nobody else knows it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        if let Some(path) = &listener.unix_path {
            return Ok(Accepted {
                descriptor,
                peer: Endpoint::Unix(path.clone()),
                local: Endpoint::Unix(path.clone()),
                id,
                is_on_core_port: false,
            });
        }
        let peer = endpoint(socket::getpeername::<SockaddrStorage>(descriptor.as_raw_fd())?)?;
        let local = endpoint(socket::getsockname::<SockaddrStorage>(descriptor.as_raw_fd())?)?;
        socket::setsockopt(&descriptor, sockopt::TcpNoDelay, &true)?;
        if keepalive_s > 0 {
            // Probes in the last third of the interval, as Redis sets them: a dead peer is found within about twice of it.
            socket::setsockopt(&descriptor, sockopt::KeepAlive, &true)?;
            socket::setsockopt(&descriptor, sockopt::TcpKeepIdle, &keepalive_s)?;
            socket::setsockopt(&descriptor, sockopt::TcpKeepInterval, &(keepalive_s / 3).max(1))?;
            socket::setsockopt(&descriptor, sockopt::TcpKeepCount, &3)?;
        }
        Ok(Accepted { descriptor, peer, local, id, is_on_core_port: listener.core.is_some() })
    }
}

fn endpoint(address: SockaddrStorage) -> io::Result<Endpoint> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Ok(Endpoint::Tcp(SocketAddr::new(IpAddr::V4(v4.ip()), v4.port())));
    }
    if let Some(v6) = address.as_sockaddr_in6() {
        return Ok(Endpoint::Tcp(SocketAddr::new(IpAddr::V6(v6.ip()), v6.port())));
    }
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
