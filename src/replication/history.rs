//! The names of a history: what a replica says it has, and whether this node can go on from there.
//!
//! A history is all bytes that a primary has ever sent its replicas. It has an id, and a place in it is the number of bytes before
//! it (Redis's `master_repl_offset`). A node that takes over from its primary goes on under a new id, and remembers
//! under which old one, and up to where, its history is the same as its siblings'.

use crate::base::hex::HexId;
use crate::base::random::Random;

/// The ids of what this node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// `master_replid`.
    pub id: HexId,
    /// `master_replid2`, and the last place up to which that history is this one, too.
    second: Option<(HexId, u64)>,
}

impl History {
    /// A new one.
    pub fn new(random: &mut Random) -> History {
        History::with_id(HexId::random(random))
    }

    /// One that is somebody else's so far.
    pub fn with_id(id: HexId) -> History {
        History { id, second: None }
    }

    /// The node goes on by itself from `place`: under a new id, and known under the old one up to here.
    pub fn shift(&mut self, place: u64, random: &mut Random) {
        self.second = Some((self.id, place));
        self.id = HexId::random(random);
    }

    /// The primary has changed its id at `place`, and what came before is the same.
    pub fn follow(&mut self, id: HexId, place: u64) {
        if id != self.id {
            self.second = Some((self.id, place));
            self.id = id;
        }
    }

    /// Remembers the history that a file tells of, up to its end.
    pub fn remember(&mut self, id: HexId, place: u64) {
        self.second = Some((id, place));
    }

    /// A new id, and the old one is forgotten: what follows has nothing to do with what came before.
    pub fn replace(&mut self, random: &mut Random) {
        *self = History::new(random);
    }

    /// Forgets the second id.
    pub fn forget_second(&mut self) {
        self.second = None;
    }

    /// Whether somebody who has the history `id` up to `place` has nothing but what this node has, too.
    pub fn knows(&self, id: &HexId, place: u64) -> bool {
        self.id == *id || self.second.is_some_and(|(second, end)| second == *id && place <= end)
    }

    /// `master_replid2` and `second_repl_offset`.
    pub fn second(&self) -> (HexId, i64) {
        match self.second {
            Some((id, place)) => (id, i64::try_from(place).unwrap_or(i64::MAX).saturating_add(1)),
            None => (HexId::ZEROS, -1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_id_is_good_up_to_where_the_node_took_over() {
        let mut random = Random::new(1);
        let mut history = History::new(&mut random);
        let old = history.id;
        assert_eq!(history.second(), (HexId::ZEROS, -1));
        history.shift(100, &mut random);
        assert!(history.id != old && history.knows(&history.id, 1000));
        assert!(history.knows(&old, 100) && !history.knows(&old, 101));
        assert_eq!(history.second(), (old, 101));
        assert!(!history.knows(&HexId::ZEROS, 0));
        history.replace(&mut random);
        assert!(!history.knows(&old, 0));
    }

    #[test]
    fn a_primary_that_has_taken_over_is_followed() {
        let mut random = Random::new(1);
        let (first, second) = (HexId::random(&mut random), HexId::random(&mut random));
        let mut history = History::with_id(first);
        history.follow(first, 7);
        assert_eq!(history.second(), (HexId::ZEROS, -1));
        history.follow(second, 50);
        assert_eq!((history.id, history.second()), (second, (first, 51)));
    }
}
