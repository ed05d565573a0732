//! Quiet cores wake: requests with pauses between them, so that cores fall asleep in every way they can.

use std::time::Duration;

use crate::support::random::Random;
use crate::support::{Client, on_both};

#[test]
fn a_quiet_core_wakes_for_every_request() {
    on_both(|server| {
        let mut clients: Vec<Client> = (0..8).map(|_| server.connect()).collect();
        let mut random = Random::new(11);
        for round in 0..800 {
            for (number, client) in clients.iter_mut().enumerate() {
                if random.chance(30) {
                    continue;
                }
                let key = format!("key:{}", random.below(1000));
                client.cmd(&["SET", &key, &number.to_string()]);
                let reply = client.cmd(&["GET", &key]);
                assert_eq!(reply.text(), number.to_string(), "round {round}, connection {number}");
            }
            // Shorter and longer than any wait before a core parks.
            std::thread::sleep(Duration::from_micros([0, 200, 900, 1100, 3000, 8000][random.index(6)]));
        }
    });
}

#[test]
fn new_connections_are_served_by_cores_that_sleep() {
    on_both(|server| {
        for round in 0..300 {
            let mut client = server.connect();
            assert_eq!(client.line("PING").to_string(), "+PONG", "round {round}");
            std::thread::sleep(Duration::from_millis(round % 12));
        }
    });
}
