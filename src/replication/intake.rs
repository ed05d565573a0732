//! What the cores record, put into the one order of the log.
//!
//! Each core's bytes come in its own order. Two things concern all cores, and each core passes them at its own moment:
//!
//! - a *cut*, at which a snapshot stands. The log must be divided at one place: what cores send behind the cut is kept apart until all
//!   have passed it.
//! - a *flush* of all keys, which is one command of the log. What a core sends behind it must stand behind that command, and what the
//!   others send before they have flushed, before it: it is said, and what was kept apart follows, when all have flushed. The first
//!   flush of each core is taken for the same one, and so on: they do not differ.
//!
//! Cores may pass the two in different orders. A flush that came behind the cut for any of them is said behind the place of the cut; from
//! then on, what comes from any core stands behind it. What the snapshot has of a core that had flushed before is wiped out by that,
//! and written again by what follows, all of which that core has sent since its flush.

use std::collections::VecDeque;

use super::log::Log;

/// What stands for a flush.
const FLUSH: &[u8] = b"*1\r\n$8\r\nFLUSHALL\r\n";

/// Bytes that have come and are not in the log.
pub struct Intake {
    /// For each core: how many of `flushes` it has passed.
    passed: Vec<usize>,
    /// Those that not all have passed, the first first.
    flushes: VecDeque<Flush>,
    cut: Option<Cut>,
    /// The number of the last cut, and of the last that each core has passed.
    cuts: u64,
    last_cut: Vec<u64>,
}

#[derive(Default)]
struct Flush {
    /// What came behind it, each with the last cut that its core had passed.
    held: VecDeque<(u64, Vec<u8>)>,
    /// The last cut that some core had passed when it flushed.
    last_cut: u64,
}

struct Cut {
    number: u64,
    held: Vec<u8>,
    /// A flush is in `held`: all that comes stands behind it.
    takes_all: bool,
}

impl Intake {
    /// Of so many cores.
    pub fn new(cores_count: usize) -> Intake {
        let flushes = VecDeque::new();
        Intake { passed: vec![0; cores_count], flushes, cut: None, cuts: 0, last_cut: vec![0; cores_count] }
    }

    /// A core has recorded these.
    pub fn put(&mut self, log: &mut Log, core: usize, bytes: &[u8]) {
        let last_cut = self.last_cut[core];
        match self.passed[core].checked_sub(1).and_then(|last| self.flushes.get_mut(last)) {
            Some(flush) => flush.held.push_back((last_cut, bytes.to_vec())),
            None => self.append(log, last_cut, bytes),
        }
    }

    /// Bytes that flushes do not concern: a primary's stream, which has its own.
    pub fn put_stream(&mut self, log: &mut Log, core: usize, bytes: &[u8]) {
        let last_cut = self.last_cut[core];
        self.append(log, last_cut, bytes);
    }

    /// Appends what came from a core that had passed this cut.
    fn append(&mut self, log: &mut Log, last_cut: u64, bytes: &[u8]) {
        match &mut self.cut {
            Some(cut) if cut.number == last_cut || cut.takes_all => cut.held.extend_from_slice(bytes),
            _ => log.append(bytes),
        }
    }

    /// A cut begins.
    ///
    /// # Panics
    /// While another has not ended.
    pub fn begin_cut(&mut self) {
        assert!(self.cut.is_none(), "one cut at a time");
        self.cuts += 1;
        self.cut = Some(Cut { number: self.cuts, held: Vec::new(), takes_all: false });
    }

    /// A core has passed the cut under way.
    pub fn pass_cut(&mut self, core: usize) {
        self.last_cut[core] = self.cuts;
    }

    /// All have passed it, or nobody wants it any more: what was kept apart follows. Its place.
    pub fn end_cut(&mut self, log: &mut Log) -> u64 {
        let place = log.end();
        if let Some(cut) = self.cut.take() {
            log.append(&cut.held);
        }
        place
    }

    /// A core has flushed. `is_said`: the log tells of it.
    pub fn pass_flush(&mut self, log: &mut Log, core: usize, is_said: bool) {
        let at = self.passed[core];
        self.passed[core] += 1;
        if at == self.flushes.len() {
            self.flushes.push_back(Flush::default());
        }
        let flush = &mut self.flushes[at];
        flush.last_cut = flush.last_cut.max(self.last_cut[core]);
        if self.passed.contains(&0) {
            return;
        }
        let Some(flush) = self.flushes.pop_front() else { return };
        self.passed.iter_mut().for_each(|passed| *passed -= 1);
        if is_said {
            self.append(log, flush.last_cut, FLUSH);
            if let Some(cut) = self.cut.as_mut().filter(|cut| cut.number == flush.last_cut) {
                cut.takes_all = true;
            }
        }
        for (last_cut, bytes) in flush.held {
            self.append(log, last_cut, &bytes);
        }
    }

    /// Bytes that the log will have beyond its end, from what has come so far.
    pub fn held_bytes(&self) -> u64 {
        let held = self.flushes.iter().flat_map(|flush| flush.held.iter().map(|(_, bytes)| bytes.len()));
        let cut = self.cut.as_ref().map_or(0, |cut| cut.held.len());
        (held.sum::<usize>() + cut + self.flushes.len() * FLUSH.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    const CORES: usize = 3;

    /// Cores that write, flush and are cut in turns of their own. A write is the core's number and a value.
    struct Model {
        intake: Intake,
        log: Log,
        /// What each core has.
        data: Vec<Vec<u8>>,
        /// What each has yet to do with: flushes and cuts that were begun.
        orders: Vec<VecDeque<bool>>,
        at_cut: Vec<Option<Vec<u8>>>,
        cut_place: Option<u64>,
        /// The snapshot and its place.
        snapshots: Vec<(Vec<Vec<u8>>, u64)>,
    }

    impl Model {
        fn obey(&mut self, core: usize) {
            match self.orders[core].pop_front() {
                Some(true) => {
                    self.data[core].clear();
                    self.intake.pass_flush(&mut self.log, core, true);
                }
                Some(false) => {
                    self.at_cut[core] = Some(self.data[core].clone());
                    self.intake.pass_cut(core);
                    if self.at_cut.iter().all(Option::is_some) {
                        let place = self.intake.end_cut(&mut self.log);
                        let snapshot = self.at_cut.iter_mut().map(|data| data.take().unwrap()).collect();
                        self.snapshots.push((snapshot, place));
                        self.cut_place = None;
                    }
                }
                None => {}
            }
        }

        fn write(&mut self, core: usize, value: u8) {
            self.data[core].push(value);
            self.intake.put(&mut self.log, core, &[core as u8, value]);
        }
    }

    /// A snapshot, and the log behind it.
    fn replayed(mut data: Vec<Vec<u8>>, log: &[u8]) -> Vec<Vec<u8>> {
        let mut rest = log;
        while !rest.is_empty() {
            if let Some(behind) = rest.strip_prefix(FLUSH) {
                data.iter_mut().for_each(Vec::clear);
                rest = behind;
            } else {
                data[rest[0] as usize].push(rest[1]);
                rest = &rest[2..];
            }
        }
        data
    }

    #[test]
    fn a_snapshot_and_what_follows_it_make_what_the_cores_have() {
        for seed in 0..3000 {
            let mut random = Random::new(seed);
            let mut log = Log::default();
            log.keep();
            let mut model = Model {
                intake: Intake::new(CORES),
                log,
                data: vec![Vec::new(); CORES],
                orders: vec![VecDeque::new(); CORES],
                at_cut: vec![None; CORES],
                cut_place: None,
                snapshots: vec![(vec![Vec::new(); CORES], 0)],
            };
            for step in 0..60 {
                let core = random.below(CORES as u64) as usize;
                match random.below(10) {
                    0 => (0..CORES).for_each(|core| {
                        // Each core hears of a flush and of a cut in an order of its own.
                        let at = random.below(1 + model.orders[core].len() as u64) as usize;
                        model.orders[core].insert(at, true);
                    }),
                    1 if model.cut_place.is_none() => {
                        model.cut_place = Some(0);
                        model.intake.begin_cut();
                        for core in 0..CORES {
                            let at = random.below(1 + model.orders[core].len() as u64) as usize;
                            model.orders[core].insert(at, false);
                        }
                    }
                    2..5 => model.obey(core),
                    _ => model.write(core, step as u8 + 100),
                }
            }
            for core in 0..CORES {
                while !model.orders[core].is_empty() {
                    model.obey(core);
                }
            }
            assert_eq!(model.intake.held_bytes(), 0, "seed {seed}");
            for (snapshot, place) in model.snapshots {
                let rest: Vec<u8> = model.log.pieces_from(place).flatten().copied().collect();
                assert_eq!(replayed(snapshot, &rest), model.data, "seed {seed}, from {place}");
            }
        }
    }
}
