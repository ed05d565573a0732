//! The periodic work of one core that is not about a single request: expiry, idle clients, buffers that have grown.

use super::connection::Connection;
use crate::base::clock::UnixMillis;
use crate::command::client::Client;
use crate::command::core::Core;
use crate::command::replication::own_expiries;

/// Buckets or entries that one tick of active expiry looks at: about 1 ms of work.
const EXPIRE_BUDGET: usize = 20_000;
/// A connection quiet for so long gives its buffers back.
const SHRINK_AFTER_MS: i64 = 2_000;

/// Deletes keys whose time has come, unless they are loaded, CLIENT PAUSE keeps them as they are, or a primary says what has expired. True when more are waiting.
pub fn expire(core: &mut Core) -> bool {
    if !core.disk.loading && core.active_expire {
        own_expiries::expire(core);
    }
    if core.disk.loading
        || core.replication.role.is_replica()
        || !core.active_expire
        || core.pause.until(core.clock.unix()).is_some()
    {
        return false;
    }
    let begun_ns = core.nanos.now_ns();
    let outcome = core.keyspace.expire_cycle(EXPIRE_BUDGET, &mut |_, _, _| {});
    let duration_ns = core.nanos.now_ns().saturating_sub(begun_ns);
    core.stats.expire_cycle_ns += duration_ns;
    core.stats.expire_budget_reached += u64::from(outcome.more);
    core.note_latency("expire-cycle", duration_ns);
    outcome.more
}

/// Refreshes what CLIENT LIST shows of a connection and gives back what it does not need.
pub fn observe(client: &mut Client, connection: &mut Connection, now: UnixMillis) {
    report(client, connection);
    connection.shrink_input();
    if now.since(client.last_interaction) > SHRINK_AFTER_MS {
        connection.shrink();
    }
}

/// Copies the connection's figures into its client.
pub fn report(client: &mut Client, connection: &Connection) {
    let traffic = &mut client.traffic;
    traffic.query_buffer_bytes = connection.query_buffer_bytes();
    let memory_bytes = connection.input_memory_bytes();
    traffic.query_buffer_free_bytes = memory_bytes.saturating_sub(traffic.query_buffer_bytes);
    traffic.output_bytes = connection.output_bytes();
    traffic.output_memory_bytes = connection.output_memory_bytes();
    traffic.elsewhere_count = connection.elsewhere_count();
    traffic.largest_query_buffer_bytes = traffic.largest_query_buffer_bytes.max(traffic.query_buffer_bytes);
    traffic.largest_output_bytes = traffic.largest_output_bytes.max(traffic.output_bytes);
}

/// `timeout` spares clients that only listen, and those that CLIENT PAUSE holds.
pub fn may_time_out(client: &Client, connection: &Connection) -> bool {
    !client.monitor
        && !client.is_replica
        && !client.is_upstream
        && client.migration.is_none()
        && !client.is_listening()
        && !connection.is_held()
        && client.closing.is_none()
}
