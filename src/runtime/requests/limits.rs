//! Memory within its limits, at the end of a turn: `maxmemory` and `maxmemory-clients`.

use super::Requests;
use crate::command::client::{Client, CloseReason};
use crate::command::core::Effect;
use crate::command::memory_limit::{self, Pressure};
use crate::runtime::tick::report;

impl Requests {
    /// Tells all cores what this one keeps that is no reason to evict keys, each turn.
    pub fn enter_spared(&mut self) {
        let backlog_bytes = self.core.config.repl_backlog_size;
        let log_bytes = self.core.node.as_ref().map_or(0, |node| node.replication.log.memory_bytes() as u64);
        let spared_bytes = log_bytes.saturating_sub(backlog_bytes) + self.core.append_figures.buffer_bytes;
        self.core.ledger.spare(i64::try_from(spared_bytes).unwrap_or(i64::MAX));
    }

    /// Frees memory while the node has more than it may, for as long as the settings allow at a time. Clients go before keys.
    pub fn keep_limits(&mut self) {
        let clients_limit_bytes = memory_limit::clients_limit_bytes(&self.core.config);
        if clients_limit_bytes != self.clients_limit_bytes {
            self.clients_limit_bytes = clients_limit_bytes;
            self.account_all();
        }
        if let Some(limit_bytes) = clients_limit_bytes {
            // Who has overrun a limit of its own goes first, and may leave enough room for the others.
            for place in 0..self.dirty.len() {
                self.check_output(self.dirty[place]);
            }
            self.evict_clients(i64::try_from(limit_bytes).unwrap_or(i64::MAX));
        }
        self.easing = false;
        // What is being loaded is all loaded.
        if self.core.config.maxmemory != 0 && !self.core.disk.loading {
            memory_limit::offer(&self.core);
            let pressure = memory_limit::relieve(&mut self.core);
            self.easing = pressure == Pressure::Easing && self.core.ledger.asked(self.core.id) > 0;
            self.core.settle();
            self.carry_out_effects();
        }
    }

    /// Brings one client's part in what all clients take up to date, while they are limited.
    #[inline]
    pub(super) fn account(&mut self, index: u32) {
        if memory_limit::limits_clients(&self.core.config) {
            self.account_one(index as usize);
        }
    }

    /// As `account`, for all clients of this core.
    pub(super) fn account_all(&mut self) {
        self.clients_bytes = 0;
        if !memory_limit::limits_clients(&self.core.config) {
            return;
        }
        let clients = self.core.clients.iter_mut().map(|(_, client)| client);
        let staying = clients.filter(|client| client.closing != Some(CloseReason::Evicted));
        staying.for_each(|client| client.accounted_bytes = 0);
        (0..self.connections.len()).for_each(|index| self.account_one(index));
        self.settle_clients();
    }

    fn account_one(&mut self, index: usize) {
        let Some(client) = self.core.clients.get_mut(index) else { return };
        let Some(Some(connection)) = self.connections.get(index) else { return };
        report(client, connection);
        if client.closing == Some(CloseReason::Evicted) {
            return; // its memory is as good as free
        }
        let bytes = if is_going(client) || client.is_upstream { 0 } else { client.memory_bytes() };
        self.clients_bytes += bytes as i64 - client.accounted_bytes as i64;
        client.accounted_bytes = bytes;
    }

    /// A client has gone, and its memory with it.
    pub(super) fn account_gone(&mut self, client: &Client) {
        let bytes = client.accounted_bytes as i64;
        match client.closing {
            Some(CloseReason::Evicted) => self.core.departing_bytes -= bytes,
            _ => self.clients_bytes -= bytes,
        }
    }

    /// Tells the other cores what this one's clients take; returns what all take.
    fn settle_clients(&mut self) -> i64 {
        let largest_bytes = self.largest_client().map_or(0, |(bytes, _)| bytes);
        self.core.ledger.offer_client(largest_bytes);
        self.core.ledger.settle_clients(self.clients_bytes)
    }

    /// The largest client that may be closed, and its index.
    fn largest_client(&self) -> Option<(u64, u32)> {
        let candidates =
            self.core.clients.iter().filter(|(_, client)| {
                !client.no_evict && !client.is_upstream && !client.is_replica && !is_going(client)
            });
        candidates.map(|(index, client)| (client.accounted_bytes as u64, index as u32)).max()
    }

    /// Closes the largest clients of the node until all together take less than the limit: those of this core here, for those of
    /// others it wakes their core.
    fn evict_clients(&mut self, limit_bytes: i64) {
        let mut total_bytes = self.core.ledger.settle_clients(self.clients_bytes);
        while total_bytes >= limit_bytes {
            total_bytes = self.settle_clients();
            let (elsewhere_bytes, elsewhere) = self.core.ledger.largest_client_elsewhere();
            let Some((bytes, index)) = self.largest_client().filter(|_| total_bytes >= limit_bytes) else { return };
            if elsewhere_bytes > bytes {
                self.core.effects.push(Effect::FreeMemory(elsewhere));
                return self.carry_out_effects();
            }
            let client = &self.core.clients[index as usize];
            tracing::info!("Evicting client: id={} addr={} bytes={bytes}", client.id, client.peer);
            self.core.stats.evicted_clients += 1;
            self.close(index, CloseReason::Evicted);
            self.clients_bytes -= bytes as i64;
            self.core.departing_bytes += bytes as i64;
        }
    }
}

/// Whether the client is about to be closed: it no longer counts.
fn is_going(client: &Client) -> bool {
    client.closing.is_some()
}
