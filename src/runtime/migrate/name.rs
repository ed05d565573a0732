//! Where a target is. An address is read here; a name is looked up by a thread of its own, which rings the core's bell when it knows.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use super::super::mesh::BellPull;
use super::Target;
use crate::base::number::parse_u64_lenient;

/// Stack of the thread: the resolver's own needs.
const STACK_BYTES: usize = 256 << 10;

/// What looking for a target has come to.
pub enum Found {
    /// In the order in which they are to be tried; none when the name means nothing.
    Addresses(Vec<SocketAddr>),
    NotYet,
}

/// A name that is being looked up.
pub struct Search(Receiver<Vec<SocketAddr>>);

impl Target {
    /// The address, if the host is one.
    pub fn address(&self) -> Option<SocketAddr> {
        let ip: IpAddr = std::str::from_utf8(&self.host).ok()?.parse().ok()?;
        Some(SocketAddr::new(ip, self.port_number()))
    }

    /// As C reads it: digits up to where they end, 0 for none, the low 16 bits of what is too large.
    fn port_number(&self) -> u16 {
        let text = self.port.trim_ascii_start();
        let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
        parse_u64_lenient(&text[..end]).unwrap_or(0) as u16
    }

    /// Begins to look the name up. `None` when it cannot be one, or there is no thread to be had.
    pub fn search(&self, bell: BellPull) -> Option<Search> {
        let (host, port) = (String::from_utf8(self.host.clone()).ok()?, self.port_number());
        let (report, reports) = channel();
        let thread = std::thread::Builder::new().name("name".to_owned()).stack_size(STACK_BYTES);
        let started = thread.spawn(move || {
            let addresses = (host.as_str(), port).to_socket_addrs();
            // Nobody may wait for it any more.
            let _ = report.send(addresses.map(Iterator::collect).unwrap_or_default());
            bell.ring();
        });
        started.ok().map(|_| Search(reports))
    }
}

impl Search {
    pub fn found(&self) -> Found {
        match self.0.try_recv() {
            Ok(addresses) => Found::Addresses(addresses),
            Err(TryRecvError::Empty) => Found::NotYet,
            Err(TryRecvError::Disconnected) => Found::Addresses(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_ports_are_read_as_they_are_written() {
        for (host, port, address) in [
            ("127.0.0.1", "7000", Some("127.0.0.1:7000")),
            ("::1", "7000x", Some("[::1]:7000")),
            ("127.0.0.1", "x", Some("127.0.0.1:0")),
            ("localhost", "7000", None),
            ("", "7000", None),
        ] {
            let target = Target { host: host.into(), port: port.into() };
            assert_eq!(target.address().map(|address| address.to_string()).as_deref(), address, "{host} {port}");
        }
    }
}
