//! What a core counts: calls per command, errors per code, traffic. Merged over cores when INFO asks.

use hashbrown::HashMap;
use hdrhistogram::Histogram;

use super::table::CommandId;

/// Durations are kept from 1 ns to 1 s with two significant digits.
const LATENCY_MAX_NS: u64 = 1_000_000_000;
const LATENCY_DIGITS: u8 = 2;
/// INFO lists at most this many different error codes, as Redis does (errorstats are switched off beyond).
const ERROR_CODES_MAX: usize = 128;

/// One command's counters.
#[derive(Clone, Default)]
pub struct CommandStats {
    pub calls: u64,
    pub duration_ns: u64,
    /// Refused before it ran: wrong arity, no permission, redirected.
    pub rejected: u64,
    /// Ran and answered an error.
    pub failed: u64,
    /// Durations in ns; made on the first call while latency-tracking is on.
    pub latency: Option<Box<Histogram<u32>>>,
}

impl CommandStats {
    fn merge(&mut self, other: &CommandStats) {
        self.calls += other.calls;
        self.duration_ns += other.duration_ns;
        self.rejected += other.rejected;
        self.failed += other.failed;
        if let Some(theirs) = &other.latency {
            match &mut self.latency {
                Some(ours) => {
                    let _ = ours.add(theirs.as_ref()); // same bounds on both sides: cannot fail
                }
                None => self.latency = Some(theirs.clone()),
            }
        }
    }
}

/// Counters of one core, or of the node once merged.
#[derive(Clone, Default)]
pub struct CoreStats {
    /// By `CommandId`.
    pub commands: Vec<CommandStats>,
    pub commands_processed: u64,
    pub connections_received: u64,
    pub connections_rejected: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub reads_processed: u64,
    pub writes_processed: u64,
    pub error_replies: u64,
    pub client_output_limit_disconnections: u64,
    pub client_query_buffer_limit_disconnections: u64,
    pub requests_forwarded: u64,
    pub requests_for_others: u64,
    /// Most clients at one time; kept by core 0.
    pub clients_peak: u64,
    rates: Rates,
    errors: HashMap<Box<str>, u64>,
}

/// Samples for INFO's `instantaneous_*`: what was counted per second over the last ticks.
#[derive(Clone, Copy, Default)]
struct Rates {
    sampled_us: u64,
    /// Commands, received and sent bytes at the last sample.
    counted: [u64; 3],
    samples: [[u64; SAMPLES_COUNT]; 3],
    next: usize,
}

/// Samples averaged (Redis's STATS_METRIC_SAMPLES).
const SAMPLES_COUNT: usize = 16;
/// Shortest time between samples, in microseconds.
const SAMPLE_EVERY_US: u64 = 100_000;

impl CoreStats {
    /// Takes a sample of the rates; called by the tick.
    pub fn sample(&mut self, monotonic_us: u64) {
        let elapsed_us = monotonic_us.saturating_sub(self.rates.sampled_us);
        if elapsed_us < SAMPLE_EVERY_US {
            return;
        }
        let counted = [self.commands_processed, self.received_bytes, self.sent_bytes];
        for (index, now) in counted.into_iter().enumerate() {
            let per_second = now.saturating_sub(self.rates.counted[index]).saturating_mul(1_000_000) / elapsed_us;
            self.rates.samples[index][self.rates.next] = per_second;
        }
        self.rates.counted = counted;
        self.rates.sampled_us = monotonic_us;
        self.rates.next = (self.rates.next + 1) % SAMPLES_COUNT;
    }

    /// Commands, received bytes and sent bytes per second, averaged over the last samples.
    pub fn rates(&self) -> [u64; 3] {
        self.rates.samples.map(|samples| samples.iter().sum::<u64>() / SAMPLES_COUNT as u64)
    }

    pub fn new(commands_count: usize) -> CoreStats {
        CoreStats { commands: vec![CommandStats::default(); commands_count], ..CoreStats::default() }
    }

    /// Counts one finished call. `track` is latency-tracking.
    #[inline]
    pub fn called(&mut self, command: CommandId, duration_ns: u64, failed: bool, track: bool) {
        self.commands_processed += 1;
        let stats = &mut self.commands[command.index()];
        stats.calls += 1;
        stats.duration_ns += duration_ns;
        stats.failed += failed as u64;
        if track {
            let latency = stats.latency.get_or_insert_with(|| {
                let histogram = Histogram::new_with_bounds(1, LATENCY_MAX_NS, LATENCY_DIGITS);
                Box::new(histogram.expect("constant bounds are valid"))
            });
            latency.saturating_record(duration_ns.max(1));
        }
    }

    /// Counts an error reply under its code, the first word of its text.
    pub fn error(&mut self, text: &str) {
        self.error_replies += 1;
        let code = text.split(' ').next().unwrap_or("ERR");
        if let Some(count) = self.errors.get_mut(code) {
            *count += 1;
        } else if self.errors.len() < ERROR_CODES_MAX {
            self.errors.insert(code.into(), 1);
        }
    }

    /// Error codes and their counts, sorted by code.
    pub fn errors(&self) -> Vec<(&str, u64)> {
        let mut errors: Vec<_> = self.errors.iter().map(|(code, count)| (code.as_ref(), *count)).collect();
        errors.sort_unstable();
        errors
    }

    /// latency-tracking was switched off.
    pub fn forget_latencies(&mut self) {
        self.commands.iter_mut().for_each(|stats| stats.latency = None);
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&mut self) {
        *self = CoreStats::new(self.commands.len());
    }

    /// Adds another core's counters to these.
    pub fn merge(&mut self, other: &CoreStats) {
        for (ours, theirs) in self.commands.iter_mut().zip(&other.commands) {
            ours.merge(theirs);
        }
        self.commands_processed += other.commands_processed;
        self.connections_received += other.connections_received;
        self.connections_rejected += other.connections_rejected;
        self.received_bytes += other.received_bytes;
        self.sent_bytes += other.sent_bytes;
        self.reads_processed += other.reads_processed;
        self.writes_processed += other.writes_processed;
        self.error_replies += other.error_replies;
        self.client_output_limit_disconnections += other.client_output_limit_disconnections;
        self.client_query_buffer_limit_disconnections += other.client_query_buffer_limit_disconnections;
        self.requests_forwarded += other.requests_forwarded;
        self.requests_for_others += other.requests_for_others;
        self.clients_peak = self.clients_peak.max(other.clients_peak);
        for (ours, theirs) in self.rates.samples.iter_mut().flatten().zip(other.rates.samples.iter().flatten()) {
            *ours += theirs;
        }
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_insert(0) += count;
        }
    }
}
