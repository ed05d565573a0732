//! Slots that change their core within a node. There is nothing to compare with in Redis: what is tested is that nobody can tell.

mod balance;
mod care;
mod keys;
mod load;
mod moves;
mod schedules;

use super::nodes::{LIMIT, node};
use crate::cluster_one_node::own_all_slots;
use crate::support::{Client, Kind, Server, holds_within, server};

/// A node with all slots.
pub fn alone(args: &[&str]) -> Server {
    let server = node(Kind::Slotcore, args);
    own_all_slots(&mut server.connect());
    server
}

/// Starts a node again that knows its slots, and waits until it serves them.
pub fn start_again(server: &mut Server) -> Client {
    server.restart();
    let mut client = server.connect();
    assert!(holds_within(LIMIT, || !client.line("GET anything").is_error()), "it does not serve");
    client
}

/// Whether there is a core to go to.
pub fn has_several_cores() -> bool {
    server::cores() > 1
}

pub fn core_of(client: &mut Client, slot: u16) -> u64 {
    u64::try_from(client.must(&format!("DEBUG SLOT-CORE {slot}")).integer()).expect("the number of a core")
}

/// Gives a slot to the next core, and waits until it is there. Returns that core.
pub fn hop(client: &mut Client, slot: u16) -> u64 {
    let to = (core_of(client, slot) + 1) % server::cores();
    client.must(&format!("DEBUG SLOT-CORE {slot} {to}"));
    assert_eq!(core_of(client, slot), to);
    to
}
