//! What every black-box test stands on: servers, a client that keeps bytes, tables of requests and replies.
//!
//! The tests know slotcore only by its command line and its sockets; nothing here names the crate's own types.

pub mod aof;
pub mod client;
pub mod confine;
pub mod events;
pub mod random;
pub mod reply;
pub mod server;
pub mod small_disk;
pub mod table;

pub use client::Client;
pub use events::check_published;
pub use reply::{Reply, Value};
pub use server::{Kind, Server};
pub use table::{check, on_both, on_both_with};

use std::time::{Duration, Instant};

/// Looks every 5 ms whether `condition` holds, for at most `limit`; says whether it came true.
pub fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The number in environment variable `name`, or `default` where it is unset or empty.
pub fn number_from_env(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        _ => default,
    }
}
