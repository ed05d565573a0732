//! What one connection may take of a turn.
//!
//! A client that loads data, or the node that slots come from, sends as fast as its socket takes it: 2 MB are there when the
//! core looks, some 10 ms of work for which everybody else waits. So a connection's bytes are taken up to a share in a turn, the
//! rest stays in its receive buffers until the next ones; when much stays, its receive is cancelled, so that these
//! buffers are there for others too, and begun again when all is taken.

use super::ring::RECEIVE_BUFFER_BYTES;

/// Bytes of one connection that one turn takes: 0.1 ms of work where they are SETs of 1 KB.
const SHARE_BYTES: u32 = 64 * 1024;
/// With so much in one turn a connection is no longer received from for now.
const STOP_BYTES: u32 = 4 * SHARE_BYTES;

/// What becomes of bytes that were received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Take,
    /// In the next turn, with all that follows of this connection.
    Defer,
    /// As `Defer`, and the receive is to be cancelled.
    DeferAndStop,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    turn: u32,
    /// In that turn: taken and deferred.
    bytes: u32,
    /// Something of that turn was deferred.
    deferred: bool,
    /// The receive was cancelled; its last completion has not been taken.
    stopped: bool,
}

/// The shares of a core's connections in the turn under way.
#[derive(Default)]
pub struct Shares {
    turn: u32,
    /// By the connection's index.
    seen: Vec<Seen>,
}

impl Shares {
    pub fn turn_begins(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    /// Decides about a completion of the connection's receive with `bytes` bytes; `is_last`: none comes after it. They are told in
    /// the order in which they came; those deferred in the last turn come first in this one.
    pub fn judge(&mut self, connection: u32, bytes: u32, is_last: bool) -> Verdict {
        let index = connection as usize;
        if index >= self.seen.len() {
            self.seen.resize(index + 1, Seen::default());
        }
        let seen = &mut self.seen[index];
        if seen.turn != self.turn {
            (seen.turn, seen.bytes, seen.deferred) = (self.turn, 0, false);
        }
        let before = seen.bytes;
        seen.bytes = before.saturating_add(bytes);
        // The rest of what a socket had is not worth a turn.
        if before < SHARE_BYTES || !seen.deferred && bytes < RECEIVE_BUFFER_BYTES as u32 {
            seen.stopped &= !is_last;
            return Verdict::Take;
        }
        seen.deferred = true;
        if seen.bytes < STOP_BYTES || is_last || seen.stopped {
            return Verdict::Defer;
        }
        seen.stopped = true;
        Verdict::DeferAndStop
    }

    /// Whether bytes of this connection wait for the next turn.
    pub fn is_behind(&self, connection: u32) -> bool {
        self.seen.get(connection as usize).is_some_and(|seen| seen.turn == self.turn && seen.deferred)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u32 = RECEIVE_BUFFER_BYTES as u32;

    #[test]
    fn a_share_is_taken_and_the_rest_is_deferred_in_order() {
        let mut shares = Shares::default();
        shares.turn_begins();
        let verdicts: Vec<Verdict> = (0..6).map(|_| shares.judge(7, CHUNK, false)).collect();
        assert_eq!(verdicts[..4], [Verdict::Take; 4]);
        assert_eq!(verdicts[4..], [Verdict::Defer; 2]);
        assert_eq!(shares.judge(7, 1, false), Verdict::Defer);
        // The end of the connection stays behind what came before it.
        assert_eq!(shares.judge(7, 0, true), Verdict::Defer);
        assert_eq!(shares.judge(8, CHUNK, false), Verdict::Take, "another connection has a share of its own");
        assert!(shares.is_behind(7) && !shares.is_behind(8));
        shares.turn_begins();
        assert_eq!(shares.judge(7, CHUNK, false), Verdict::Take);
        assert_eq!(shares.judge(7, CHUNK, false), Verdict::Take);
        assert_eq!(shares.judge(7, 1, false), Verdict::Take);
        assert_eq!(shares.judge(7, 0, true), Verdict::Take);
        assert!(!shares.is_behind(7));
        (0..4).for_each(|_| _ = shares.judge(9, CHUNK, false));
        assert_eq!(shares.judge(9, CHUNK - 1, false), Verdict::Take, "the little that is left is taken too");
    }

    #[test]
    fn a_connection_that_sends_much_is_stopped_once() {
        let mut shares = Shares::default();
        shares.turn_begins();
        let count = |verdicts: &[Verdict], of| verdicts.iter().filter(|verdict| **verdict == of).count();
        let first: Vec<Verdict> = (0..32).map(|_| shares.judge(0, CHUNK, false)).collect();
        assert_eq!((count(&first, Verdict::Take), count(&first, Verdict::DeferAndStop)), (4, 1));
        assert_eq!(shares.judge(0, 0, true), Verdict::Defer);
        let mut left = 28;
        while left > 0 {
            shares.turn_begins();
            let next: Vec<Verdict> = (0..left).map(|_| shares.judge(0, CHUNK, false)).collect();
            let last = shares.judge(0, 0, true);
            assert_eq!(count(&next, Verdict::DeferAndStop), 0);
            left -= count(&next, Verdict::Take);
            assert_eq!(last, if left > 0 { Verdict::Defer } else { Verdict::Take });
        }
        // The receive begun anew can be stopped again.
        let again: Vec<Verdict> = (0..32).map(|_| shares.judge(0, CHUNK, false)).collect();
        assert_eq!(count(&again, Verdict::DeferAndStop), 1);
    }
}
