//! What a core counts: calls per command, errors per code, traffic. Merged over cores when INFO asks.

use hashbrown::HashMap;
use hdrhistogram::Histogram;

use super::table::CommandId;

/// Durations are kept from 1 ns to 1 s with two significant digits.
const LATENCY_MAX_NS: u64 = 1_000_000_000;
const LATENCY_DIGITS: u8 = 2;
/// INFO lists at most this many different error codes, as Redis does (errorstats are switched off beyond).
const ERROR_CODES_MAX: usize = 128;
/// What is longer is no code (Redis looks for the blank in the first 32 bytes, the sign included).
const ERROR_CODE_BYTES_MAX: usize = 30;

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
    /// Bytes of a primary's stream; those of them in `received_bytes`.
    pub replication_received_bytes: u64,
    /// Bytes for replicas, snapshots among them; those of them in `sent_bytes`.
    pub replication_sent_bytes: u64,
    /// Commands of the primary that failed here.
    pub unexpected_error_replies: u64,
    pub client_output_limit_disconnections: u64,
    pub client_query_buffer_limit_disconnections: u64,
    pub requests_forwarded: u64,
    pub requests_for_others: u64,
    /// Slots that have come here from another core of this node.
    pub slots_relocated: u64,
    /// When the last call ended or the turn began, monotonic: calls are timed back to back with one clock reading each.
    pub last_instant_ns: u64,
    /// All calls' durations.
    pub commands_ns: u64,
    /// Turns of the core's loop that had something to do.
    pub turns: u64,
    /// Time of those, from the turn's beginning to its last call.
    pub turns_ns: u64,
    pub turn_max_ns: u64,
    /// Processor time that the core's thread has used, as of the last tick. A turn's time says less: most of the work on small requests
    /// is the kernel's, in the enter in which the core also sleeps.
    pub busy_ns: u64,
    /// Most calls of one turn.
    pub turn_commands_max: u64,
    /// Time of the periodic work.
    pub ticks_ns: u64,
    /// Time of the expiry cycle, and how often it left something for the next time.
    pub expire_cycle_ns: u64,
    pub expire_budget_reached: u64,
    /// Clients closed because all clients together took too much.
    pub evicted_clients: u64,
    /// Time that the node was above maxmemory, and since when it is (monotonic; 0: it is not). Kept by core 0.
    pub eviction_exceeded_us: u64,
    pub eviction_exceeded_since_us: u64,
    turn_begun_ns: u64,
    turn_begun_commands: u64,
    /// Most clients at one time; kept by core 0.
    pub clients_peak: u64,
    rates: Rates,
    errors: HashMap<Box<str>, u64>,
}

/// What was counted per second over the last ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerSecond {
    pub commands: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub replication_received_bytes: u64,
    pub replication_sent_bytes: u64,
    pub turns: u64,
    /// Microseconds that a turn took on average.
    pub turn_us: u64,
    /// Nanoseconds in which the thread had work.
    pub busy_ns: u64,
}

/// Samples for INFO's `instantaneous_*`: commands, received and sent bytes, those of replication, turns, microseconds of
/// turns, nanoseconds of work.
#[derive(Clone, Copy, Default)]
struct Rates {
    sampled_us: u64,
    /// As of the last sample.
    counted: [u64; RATES_COUNT],
    samples: [[u64; SAMPLES_COUNT]; RATES_COUNT],
    next: usize,
}

const RATES_COUNT: usize = 8;
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
        let counted = [
            self.commands_processed,
            self.received_bytes,
            self.sent_bytes,
            self.replication_received_bytes,
            self.replication_sent_bytes,
            self.turns,
            self.turns_ns / 1000,
            self.busy_ns,
        ];
        for (index, now) in counted.into_iter().enumerate() {
            let per_second = now.saturating_sub(self.rates.counted[index]).saturating_mul(1_000_000) / elapsed_us;
            self.rates.samples[index][self.rates.next] = per_second;
        }
        self.rates.counted = counted;
        self.rates.sampled_us = monotonic_us;
        self.rates.next = (self.rates.next + 1) % SAMPLES_COUNT;
    }

    /// What was counted per second, averaged over the last samples.
    pub fn rates(&self) -> PerSecond {
        let averages = self.rates.samples.map(|samples| samples.iter().sum::<u64>() / SAMPLES_COUNT as u64);
        let [
            commands,
            received_bytes,
            sent_bytes,
            replication_received_bytes,
            replication_sent_bytes,
            turns,
            turns_us,
            busy_ns,
        ] = averages;
        PerSecond {
            commands,
            received_bytes,
            sent_bytes,
            replication_received_bytes,
            replication_sent_bytes,
            turns,
            turn_us: turns_us.checked_div(turns).unwrap_or(0),
            busy_ns,
        }
    }

    /// A copy for another core: with or without the counters of commands, with or without their histograms.
    pub fn copy(&self, commands: bool, latencies: bool) -> CoreStats {
        let copied = |stats: &CommandStats| CommandStats {
            latency: if latencies { stats.latency.clone() } else { None },
            ..*stats
        };
        let commands = if commands { self.commands.iter().map(copied).collect() } else { Vec::new() };
        CoreStats { commands, errors: self.errors.clone(), ..*self }
    }

    /// A turn of the core's loop begins: calls are timed from here.
    #[inline]
    pub fn turn_begins(&mut self, now_ns: u64) {
        self.last_instant_ns = now_ns;
        self.turn_begun_ns = now_ns;
        self.turn_begun_commands = self.commands_processed;
    }

    /// A turn that had something to do ends.
    #[inline]
    pub fn turn_ends(&mut self) {
        let duration_ns = self.last_instant_ns - self.turn_begun_ns;
        self.turns += 1;
        self.turns_ns += duration_ns;
        self.turn_max_ns = self.turn_max_ns.max(duration_ns);
        let commands = self.commands_processed.saturating_sub(self.turn_begun_commands);
        self.turn_commands_max = self.turn_commands_max.max(commands);
    }

    pub fn new(commands_count: usize) -> CoreStats {
        CoreStats { commands: vec![CommandStats::default(); commands_count], ..CoreStats::default() }
    }

    /// Counts one finished call. `track` is latency-tracking.
    #[inline]
    pub fn called(&mut self, command: CommandId, duration_ns: u64, failed: bool, track: bool) {
        self.commands_processed += 1;
        self.commands_ns += duration_ns;
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
    pub fn error(&mut self, line: impl AsRef<[u8]>) {
        self.error_replies += 1;
        let line = line.as_ref();
        let code = line.iter().position(|byte| *byte == b' ').map_or(&b"ERR"[..], |end| &line[..end]);
        let code = std::str::from_utf8(code).ok().filter(|code| code.len() <= ERROR_CODE_BYTES_MAX).unwrap_or("ERR");
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
        let (last_instant_ns, turn_begun_ns) = (self.last_instant_ns, self.turn_begun_ns);
        *self = CoreStats { last_instant_ns, turn_begun_ns, ..CoreStats::new(self.commands.len()) };
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
        self.replication_received_bytes += other.replication_received_bytes;
        self.replication_sent_bytes += other.replication_sent_bytes;
        self.unexpected_error_replies += other.unexpected_error_replies;
        self.client_output_limit_disconnections += other.client_output_limit_disconnections;
        self.client_query_buffer_limit_disconnections += other.client_query_buffer_limit_disconnections;
        self.requests_forwarded += other.requests_forwarded;
        self.requests_for_others += other.requests_for_others;
        self.slots_relocated += other.slots_relocated;
        self.clients_peak = self.clients_peak.max(other.clients_peak);
        self.commands_ns += other.commands_ns;
        self.turns += other.turns;
        self.turns_ns += other.turns_ns;
        self.turn_max_ns = self.turn_max_ns.max(other.turn_max_ns);
        self.turn_commands_max = self.turn_commands_max.max(other.turn_commands_max);
        self.ticks_ns += other.ticks_ns;
        self.expire_cycle_ns += other.expire_cycle_ns;
        self.expire_budget_reached += other.expire_budget_reached;
        self.evicted_clients += other.evicted_clients;
        self.eviction_exceeded_us += other.eviction_exceeded_us;
        self.eviction_exceeded_since_us = self.eviction_exceeded_since_us.max(other.eviction_exceeded_since_us);
        for (ours, theirs) in self.rates.samples.iter_mut().flatten().zip(other.rates.samples.iter().flatten()) {
            *ours += theirs;
        }
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_insert(0) += count;
        }
    }
}
