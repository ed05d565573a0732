//! Clients that want to be replicas, on their way to core 0, which has the log.
//!
//! A client that says PSYNC is held as one in a blocking command is. On another core than the first its connection then leaves its
//! ring: the receive is cancelled, what is to be sent goes out, and connection and client go to core 0 as a message, with
//! whatever input had come behind the request.

use super::Asking;
use crate::base::core_id::CoreId;
use crate::command::client::{Client, ClientRef};
use crate::command::replication::peers::SyncRequest;
use crate::runtime::connection::{Connection, ConnectionParts};
use crate::runtime::mesh::Message;
use crate::runtime::requests::Requests;

/// A client that moves to core 0.
pub struct Arrival {
    client: Client,
    connection: ConnectionParts,
    request: SyncRequest,
}

impl Requests {
    /// A client of this core, whose connection is at hand, asks to be a replica.
    #[cold]
    pub(in crate::runtime::requests) fn client_asks_to_sync(
        &mut self,
        client: ClientRef,
        request: SyncRequest,
        connection: &mut Connection,
    ) {
        let sequence = connection.await_reply(true);
        connection.hold_until(sequence);
        self.replicating.asking.push(Asking { client, sequence, request });
    }

    /// Between requests: answers those who ask here, and sends the others to core 0.
    pub(in crate::runtime::requests) fn settle_arrivals(&mut self) {
        for asking in std::mem::take(&mut self.replicating.asking) {
            if self.core.id == CoreId::FIRST {
                self.replica_asks(asking);
                continue;
            }
            let index = asking.client.index;
            if let Some(connection) = self.connection(index)
                && connection.receiving
            {
                self.held.push(index);
            }
            self.replicating.departing.push(asking);
        }
        if self.replicating.departing.is_empty() {
            return;
        }
        for asking in std::mem::take(&mut self.replicating.departing) {
            self.depart(asking);
        }
    }

    /// Whether somebody is to be answered at once.
    pub(in crate::runtime::requests) fn has_arrivals(&self) -> bool {
        !self.replicating.asking.is_empty()
    }

    /// Whether the client is leaving this core: it is not received from any more.
    pub fn is_departing(&self, index: u32) -> bool {
        self.replicating.departing.iter().any(|asking| asking.client.index == index)
    }

    /// Sends a client to core 0 if nothing of it is under way here.
    fn depart(&mut self, asking: Asking) {
        let index = asking.client.index;
        let is_here = self.core.own_client(asking.client).is_some_and(|client| client.closing.is_none());
        if !is_here {
            return;
        }
        let is_busy = self
            .connection(index)
            .is_none_or(|c| c.receiving || c.is_sending || c.has_output() || c.elsewhere_count() > 1);
        if is_busy {
            return self.replicating.departing.push(asking);
        }
        let Some(connection) = self.connections.get_mut(index as usize).and_then(Option::take) else { return };
        let client = self.core.clients.remove(index as usize);
        self.account_gone(&client);
        if client.has_footprint {
            self.client_left(asking.client);
        }
        self.census.move_to_first(self.core.id);
        let arrival = Box::new(Arrival { client, connection: connection.take_apart(), request: asking.request });
        self.mesh.send(CoreId::FIRST, Message::ReplicaArrives(arrival));
    }

    /// A client of another core comes to this one (core 0).
    pub(in crate::runtime::requests) fn arrive(&mut self, arrival: Arrival) {
        let Arrival { mut client, connection, request } = arrival;
        let mut connection = Box::new(connection.assemble());
        let sequence = connection.await_reply(true);
        connection.hold_until(sequence);
        let entry = self.core.clients.vacant_entry();
        let index = entry.key() as u32;
        client.index = index;
        (client.has_footprint, client.accounted_bytes) = (false, 0);
        let at = ClientRef { core: self.core.id, index, id: client.id };
        let descriptor = connection.descriptor();
        connection.receiving = true;
        entry.insert(client);
        if self.connections.len() <= index as usize {
            self.connections.resize_with(index as usize + 1, || None);
        }
        self.connections[index as usize] = Some(connection);
        self.adopted.push((index, descriptor));
        self.replicating.asking.push(Asking { client: at, sequence, request });
    }
}
