//! Batches of the same random requests for tests that look at what they leave behind on one server.

use std::collections::VecDeque;

use super::generate::Generator;
use super::transactions::{self, Step};
use super::{PHASE_REQUESTS, PIPELINE_MAX, TRANSACTIONS_PERCENT, seed};

/// Requests in the order in which they are to be sent.
pub struct Mixed {
    seed: u64,
    generator: Generator,
    connections: usize,
    ahead: VecDeque<Step>,
    in_phase: u64,
}

impl Mixed {
    pub fn new(connections: usize) -> Self {
        let seed = seed();
        let generator = Generator::new(seed, false);
        Self { seed, generator, connections, ahead: VecDeque::new(), in_phase: 0 }
    }

    /// What repeats the run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The next batch, and the connection that it goes over.
    pub fn next(&mut self) -> (usize, Vec<Vec<Vec<u8>>>) {
        if self.in_phase >= PHASE_REQUESTS {
            self.in_phase = 0;
            self.generator.relative = !self.generator.relative;
        }
        while self.ahead.is_empty() {
            if self.generator.random().chance(TRANSACTIONS_PERCENT) {
                self.ahead.extend(transactions::steps(&mut self.generator, self.connections));
            } else {
                let connection = self.generator.random().index(self.connections);
                let len = 1 + self.generator.random().below(PIPELINE_MAX);
                self.ahead.push_back((connection, (0..len).flat_map(|_| self.generator.next()).collect()));
            }
        }
        let (connection, batch) = self.ahead.pop_front().expect("there is a batch");
        self.in_phase += batch.len() as u64;
        (connection, batch.into_iter().map(|request| request.args).collect())
    }
}
