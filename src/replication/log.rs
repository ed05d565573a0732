//! The log: the last bytes of a node's history, which all of its replicas read.
//!
//! Bytes are appended at the end and stay in blocks until they are neither within the backlog's size nor wanted by any
//! replica. A replica is a place in the log: what it has not been sent is here, once for all of them, so that its limit
//! (`client-output-buffer-limit replica`) is a distance.

use std::collections::VecDeque;

/// Bytes of a block. A larger append is cut into several.
const BLOCK_BYTES: usize = 16 << 10;

/// The bytes that are kept of a history, and how many there were in all.
#[derive(Debug, Default)]
pub struct Log {
    /// Bytes are kept: there is, or was lately, somebody to read them.
    is_kept: bool,
    blocks: VecDeque<Box<Block>>,
    /// The place of the first byte that is kept.
    begin: u64,
    /// The place behind the last byte.
    end: u64,
}

#[derive(Debug)]
struct Block {
    /// The place of its first byte.
    begin: u64,
    bytes: Vec<u8>,
}

impl Log {
    /// The place behind the last byte: `master_repl_offset`.
    #[inline]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The place of the first byte that can still be read.
    pub fn begin(&self) -> u64 {
        self.begin
    }

    /// Whether what is appended is kept.
    #[inline]
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Begins to keep what is appended.
    pub fn keep(&mut self) {
        if !self.is_kept {
            (self.is_kept, self.begin) = (true, self.end);
        }
    }

    /// Gives up what is kept. The place stays.
    pub fn drop_kept(&mut self) {
        (self.is_kept, self.begin) = (false, self.end);
        self.blocks = VecDeque::new();
    }

    /// Goes on at another place, with nothing kept from before it.
    pub fn restart_at(&mut self, place: u64) {
        self.blocks.clear();
        (self.begin, self.end) = (place, place);
    }

    /// Appends bytes: whole commands.
    pub fn append(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while self.is_kept && !rest.is_empty() {
            let room = self.blocks.back().map_or(0, |block| BLOCK_BYTES - block.bytes.len());
            if room == 0 {
                let begin = self.end + (bytes.len() - rest.len()) as u64;
                self.blocks.push_back(Box::new(Block { begin, bytes: Vec::with_capacity(BLOCK_BYTES) }));
                continue;
            }
            let (now, later) = rest.split_at(rest.len().min(room));
            if let Some(block) = self.blocks.back_mut() {
                block.bytes.extend_from_slice(now);
            }
            rest = later;
        }
        self.end += bytes.len() as u64;
        if !self.is_kept {
            self.begin = self.end;
        }
    }

    /// Lets go what is neither among the last `size_bytes` nor behind `wanted`, the place of the replica that has read least: by
    /// whole blocks, so that up to a block more is kept.
    pub fn trim(&mut self, size_bytes: u64, wanted: Option<u64>) {
        let keep_from = self.end.saturating_sub(size_bytes).min(wanted.unwrap_or(u64::MAX));
        while let Some(block) = self.blocks.front()
            && self.blocks.len() > 1
            && block.begin + block.bytes.len() as u64 <= keep_from
        {
            self.begin = block.begin + block.bytes.len() as u64;
            self.blocks.pop_front();
        }
    }

    /// Whether the bytes from `place` on are all here.
    pub fn reaches_back_to(&self, place: u64) -> bool {
        self.is_kept && (self.begin..=self.end).contains(&place)
    }

    /// The bytes from `place` on, piece by piece. `place` must be one that is reached.
    pub fn pieces_from(&self, place: u64) -> impl Iterator<Item = &[u8]> {
        debug_assert!(self.reaches_back_to(place) || place == self.end, "the bytes are gone");
        let first = self.blocks.partition_point(|block| block.begin + block.bytes.len() as u64 <= place);
        self.blocks.range(first..).map(move |block| {
            let skipped = usize::try_from(place.saturating_sub(block.begin)).unwrap_or(usize::MAX);
            block.bytes.get(skipped..).unwrap_or_default()
        })
    }

    /// Bytes that can be read: `repl_backlog_histlen`.
    pub fn kept_bytes(&self) -> u64 {
        self.end - self.begin
    }

    /// Memory of the blocks.
    pub fn memory_bytes(&self) -> usize {
        self.blocks.len() * (BLOCK_BYTES + size_of::<Block>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    fn read(log: &Log, place: u64) -> Vec<u8> {
        log.pieces_from(place).flatten().copied().collect()
    }

    #[test]
    fn what_is_kept_is_what_was_appended() {
        let mut random = Random::new(11);
        let (mut log, mut all) = (Log::default(), Vec::new());
        log.append(b"before");
        log.keep();
        for round in 0..2000 {
            let bytes: Vec<u8> = (0..random.below(200) * random.below(200)).map(|_| random.below(256) as u8).collect();
            log.append(&bytes);
            all.extend_from_slice(&bytes);
            let slowest = (round % 3 == 0).then(|| log.begin() + random.below(1 + log.kept_bytes()));
            log.trim(100_000, slowest);
            assert_eq!(log.end(), 6 + all.len() as u64);
            let kept_at_least = (all.len() as u64).min(100_000);
            assert!(log.kept_bytes() >= kept_at_least && log.reaches_back_to(slowest.unwrap_or(log.begin())));
            let place = log.begin() + random.below(1 + log.kept_bytes());
            assert_eq!(read(&log, place), all[(place - 6) as usize..]);
        }
        assert!(log.kept_bytes() < 100_000 + 2 * BLOCK_BYTES as u64, "{}", log.kept_bytes());
        assert!(!log.reaches_back_to(log.begin() - 1) && !log.reaches_back_to(log.end() + 1));
    }

    #[test]
    fn a_slow_reader_keeps_what_it_needs() {
        let mut log = Log::default();
        log.keep();
        (0..100).for_each(|_| log.append(&[7; BLOCK_BYTES]));
        log.trim(1, Some(10));
        assert!(log.reaches_back_to(10));
        log.trim(1, None);
        assert_eq!(log.kept_bytes(), BLOCK_BYTES as u64);
        assert_eq!(read(&log, log.end()), b"");
    }

    #[test]
    fn places_go_on_when_nothing_is_kept() {
        let mut log = Log::default();
        log.append(b"abc");
        assert_eq!((log.begin(), log.end(), log.memory_bytes()), (3, 3, 0));
        log.keep();
        log.append(b"de");
        log.drop_kept();
        log.append(b"f");
        assert_eq!((log.begin(), log.end(), log.reaches_back_to(6)), (6, 6, false));
        log.restart_at(100);
        log.keep();
        log.append(b"g");
        assert_eq!((log.begin(), log.end(), read(&log, 100)), (100, 101, b"g".to_vec()));
    }
}
