//! Commands about the node.

use crate::config::{Config, MaxmemoryPolicy};
use crate::keyspace::AccessPolicy;

/// The access clock that the eviction policy wants kept.
pub fn access_policy(config: &Config) -> AccessPolicy {
    match config.maxmemory_policy {
        MaxmemoryPolicy::VolatileLfu | MaxmemoryPolicy::AllkeysLfu => AccessPolicy::Lfu {
            log_factor: config.lfu_log_factor as u32,
            decay_minutes: config.lfu_decay_time as u32,
        },
        _ => AccessPolicy::Lru,
    }
}
