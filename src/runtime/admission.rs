//! Who may connect at all: maxclients and protected mode, answered before a client exists.

use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, send};

use super::listen::Accepted;
use crate::command::client::Endpoint;
use crate::config::Config;

const TOO_MANY: &str = "-ERR max number of clients reached\r\n";
const PROTECTED: &str = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. In this mode connections are only accepted from the loopback interface. If you want to connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis configuration file, and setting the protected mode option to 'no', and then restarting the server. 3) If you started the server manually just for testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication password for the default user. NOTE: You only need to do one of the above things in order for the server to start accepting connections from the outside.\r\n";

/// Why this connection is turned away, as a whole error line; None when it is welcome.
pub fn refusal(config: &Config, accepted: &Accepted, clients_count: u32) -> Option<&'static str> {
    if clients_count >= config.maxclients {
        return Some(TOO_MANY);
    }
    let Endpoint::Tcp(peer) = &accepted.peer else { return None };
    let is_local = match peer.ip() {
        std::net::IpAddr::V4(ip) => ip.is_loopback(),
        std::net::IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()),
    };
    (config.protected_mode && config.requirepass.is_empty() && !is_local).then_some(PROTECTED)
}

/// Says why and closes. A peer that does not read does not hold us up.
pub fn refuse(accepted: &Accepted, text: &str) {
    let _ = send(accepted.descriptor.as_raw_fd(), text.as_bytes(), MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
}
