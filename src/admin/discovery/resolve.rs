//! Where the nodes are, by name, and for how long that has been so.

use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::config::Discovery;

/// The addresses of the last look.
pub struct Addresses {
    discovery: Discovery,
    /// The port behind a name that comes without one.
    port: u16,
    now: BTreeSet<SocketAddr>,
    same_looks: u32,
}

impl Addresses {
    pub fn new(discovery: Discovery, port: u16) -> Addresses {
        Addresses { discovery, port, now: BTreeSet::new(), same_looks: 0 }
    }

    /// Asks anew. A name that nobody knows, as while the network is away, leaves everything as it was, but for how long.
    pub fn look(&mut self) {
        let found = resolve(&self.discovery, self.port);
        if found.is_empty() {
            self.same_looks = 0;
        } else if found == self.now {
            self.same_looks = self.same_looks.saturating_add(1);
        } else {
            self.now = found;
            self.same_looks = 1;
        }
    }

    /// Ascending.
    pub fn now(&self) -> &BTreeSet<SocketAddr> {
        &self.now
    }

    /// How many looks in a row have found just these; 0 after one that found none.
    pub fn same_looks(&self) -> u32 {
        self.same_looks
    }
}

fn resolve(discovery: &Discovery, own_port: u16) -> BTreeSet<SocketAddr> {
    let addresses = |host: &str, port: u16| {
        let found: Vec<SocketAddr> = (host, port).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
        found
    };
    let mut found: BTreeSet<SocketAddr> = match discovery {
        Discovery::Dns { name, port } => addresses(name, port.unwrap_or(own_port)).into_iter().collect(),
        Discovery::Hosts(hosts) => hosts.iter().flat_map(|(host, port)| addresses(host, *port)).collect(),
    };
    // A node that goes by addresses of both kinds would be two.
    if found.iter().any(SocketAddr::is_ipv4) {
        found.retain(SocketAddr::is_ipv4);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_find_the_same_are_counted() {
        let hosts = |text: &str| Discovery::parse(text).unwrap().unwrap();
        let mut addresses = Addresses::new(hosts("hosts:127.0.0.1:7001,localhost:7000,no-such-host.invalid:1"), 6379);
        assert_eq!(addresses.same_looks(), 0);
        addresses.look();
        addresses.look();
        let expected: Vec<SocketAddr> = ["127.0.0.1:7000", "127.0.0.1:7001"].map(|text| text.parse().unwrap()).to_vec();
        assert_eq!((addresses.now().iter().copied().collect::<Vec<_>>(), addresses.same_looks()), (expected, 2));
        addresses.discovery = hosts("dns:127.0.0.1");
        addresses.look();
        assert_eq!((addresses.now().first().unwrap().port(), addresses.same_looks()), (6379, 1));
        addresses.discovery = hosts("dns:no-such-host.invalid");
        addresses.look();
        assert_eq!((addresses.now().len(), addresses.same_looks()), (1, 0));
    }
}
