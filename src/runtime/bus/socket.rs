//! How sockets of the bus are made.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, sockopt};

/// Begins to connect, from this address if one is given.
///
/// # Errors
/// When it is known at once that this does not come about.
pub fn connect(ip: &str, port: u16, source: &str, keepalive_s: u32) -> io::Result<TcpStream> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let address = SocketAddr::new(ip.parse().map_err(invalid)?, port);
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let descriptor = socket::socket(family, SockType::Stream, flags, None)?;
    if !source.is_empty() {
        let source: IpAddr = source.parse().map_err(invalid)?;
        socket::bind(descriptor.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
    }
    match socket::connect(descriptor.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(descriptor);
    prepare(&stream, keepalive_s)?;
    Ok(stream)
}

/// Sets what every link has: it does not wait, neither for room nor for more to send, and finds out when the other side is gone.
///
/// # Errors
/// When the socket is of no use.
pub fn prepare(stream: &TcpStream, keepalive_s: u32) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    if keepalive_s > 0 {
        socket::setsockopt(stream, sockopt::KeepAlive, &true)?;
        socket::setsockopt(stream, sockopt::TcpKeepIdle, &keepalive_s)?;
        socket::setsockopt(stream, sockopt::TcpKeepInterval, &(keepalive_s / 3).max(1))?;
        socket::setsockopt(stream, sockopt::TcpKeepCount, &3)?;
    }
    Ok(())
}
