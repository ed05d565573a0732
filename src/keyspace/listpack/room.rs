//! The bytes of a listpack in one allocation with room at both ends, so that neither end of a list is far from a push or a pop.
//!
//! ```text
//! start   unused
//! length  the bytes, what `Room` dereferences to
//!         unused, up to the end of the allocation
//! ```
//!
//! Used by the listpack alone, which says what the bytes mean.

use std::ops::{Deref, DerefMut};

use crate::keyspace::entry::room_for;

/// Bytes that grow and shrink anywhere.
#[derive(Debug)]
pub(super) struct Room {
    memory: Box<[u8]>,
    length: u32,
    start: u16,
    _spare: Spare,
}

/// Values of this byte that are never used: who holds a listpack or something else needs no byte to tell which.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Spare {
    Unused,
}

const _: () = assert!(size_of::<Room>() == 24 && size_of::<Option<Option<Room>>>() == 24);

impl Room {
    /// A copy of `bytes` in an allocation of `capacity`, at least what they take.
    pub fn with_capacity(bytes: &[u8], capacity: usize) -> Room {
        let mut memory = vec![0; capacity.max(bytes.len())];
        memory[..bytes.len()].copy_from_slice(bytes);
        Room { memory: memory.into_boxed_slice(), length: length_of(bytes.len()), start: 0, _spare: Spare::Unused }
    }

    /// Bytes allocated.
    pub fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// Makes `old` bytes at `offset` to `new` bytes, whose content is anything. What stands in front and behind keeps its order;
    /// the shorter of the two is moved where there is room for that.
    #[inline]
    pub fn resize_gap(&mut self, offset: usize, old: usize, new: usize) {
        let (start, length) = (usize::from(self.start), self.len());
        let behind = length - offset - old;
        let is_front_shorter = offset < behind;
        if new > old {
            let more = new - old;
            if is_front_shorter && more <= start {
                self.memory.copy_within(start..start + offset, start - more);
                self.start -= more as u16;
            } else if !is_front_shorter && start + length + more <= self.memory.len() {
                let from = start + offset + old;
                self.memory.copy_within(from..from + behind, from + more);
            } else {
                self.move_apart(offset, old, more);
            }
            self.length = length_of(length + more);
        } else {
            let less = old - new;
            if is_front_shorter && start + less <= usize::from(u16::MAX) {
                self.memory.copy_within(start..start + offset, start + less);
                self.start += less as u16;
            } else {
                let from = start + offset + old;
                self.memory.copy_within(from..from + behind, from - less);
            }
            self.length -= less as u32;
        }
    }

    /// Makes the gap larger where the side that would be moved has no room: by sharing what room there is between both ends
    /// if that is much, else by growing, all new room being where it was needed.
    #[cold]
    fn move_apart(&mut self, offset: usize, old: usize, more: usize) {
        let (start, length) = (usize::from(self.start), self.len());
        let behind = length - offset - old;
        let is_front_shorter = offset < behind;
        let from = start + offset + old;
        let left = self.memory.len().checked_sub(length + more);
        match left {
            Some(left) if left >= length / 8 => {
                let new_start = (left / 2).min(usize::from(u16::MAX));
                let new_from = new_start + offset + old + more;
                if new_from > from {
                    self.memory.copy_within(from..from + behind, new_from);
                    self.memory.copy_within(start..start + offset + old, new_start);
                } else {
                    self.memory.copy_within(start..start + offset + old, new_start);
                    self.memory.copy_within(from..from + behind, new_from);
                }
                self.start = new_start as u16;
            }
            // Little room, and not where it is needed: the longer side moves once more before there is none.
            Some(_) if is_front_shorter && start + length + more <= self.memory.len() => {
                self.memory.copy_within(from..from + behind, from + more);
            }
            _ => {
                let capacity = room_for(length + more);
                let room = if is_front_shorter { capacity - length - more } else { 0 };
                let new_start = room.min(usize::from(u16::MAX));
                let new_from = new_start + offset + old + more;
                let mut memory = vec![0; capacity].into_boxed_slice();
                memory[new_start..new_start + offset + old].copy_from_slice(&self.memory[start..from]);
                memory[new_from..new_from + behind].copy_from_slice(&self.memory[from..from + behind]);
                self.memory = memory;
                self.start = new_start as u16;
            }
        }
    }

    /// Drops what stands behind the first `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length_of(length));
    }

    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let length = self.len();
        self.resize_gap(length, 0, bytes.len());
        self[length..].copy_from_slice(bytes);
    }

    /// Gives back the room at both ends.
    pub fn shrink_to_fit(&mut self) {
        if self.memory.len() > self.len() {
            self.memory = self[..].into();
            self.start = 0;
        }
    }
}

/// The length of a listpack has 32 bits in its own format.
fn length_of(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("collections keep listpacks far below 4 GiB")
}

impl From<Vec<u8>> for Room {
    fn from(bytes: Vec<u8>) -> Room {
        let length = length_of(bytes.len());
        Room { memory: bytes.into_boxed_slice(), length, start: 0, _spare: Spare::Unused }
    }
}

impl Clone for Room {
    fn clone(&self) -> Room {
        Room::with_capacity(self, self.len())
    }
}

impl PartialEq for Room {
    fn eq(&self, other: &Room) -> bool {
        self[..] == other[..]
    }
}

impl Eq for Room {}

impl Deref for Room {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.memory[usize::from(self.start)..][..self.length as usize]
    }
}

impl DerefMut for Room {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[usize::from(self.start)..][..self.length as usize]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_stay_in_order_wherever_gaps_open_and_close(
            steps in proptest::collection::vec((any::<u16>(), 0usize..40, 0usize..60, any::<bool>()), 0..200),
        ) {
            let (mut room, mut model) = (Room::with_capacity(b"begin", 5), b"begin".to_vec());
            for (number, (place, old, new, at_end)) in steps.into_iter().enumerate() {
                let offset = if at_end { [0, model.len()][number % 2] } else { usize::from(place) % (model.len() + 1) };
                let old = old.min(model.len() - offset);
                room.resize_gap(offset, old, new);
                room[offset..offset + new].fill(number as u8);
                model.splice(offset..offset + old, std::iter::repeat_n(number as u8, new));
                prop_assert_eq!(&room[..], &model[..]);
                prop_assert!(room.capacity() <= 4 * model.len().max(64) + 4 * 60 * (number + 1));
                if number % 50 == 49 {
                    room.shrink_to_fit();
                    prop_assert_eq!((&room[..], room.capacity()), (&model[..], model.len()));
                }
            }
        }
    }

    #[test]
    fn pushes_at_either_end_move_everything_only_now_and_then() {
        for alternate in [false, true] {
            let (mut room, mut moves) = (Room::with_capacity(&[0; 7], 16), 0);
            let mut last_start = 0;
            for number in 0..1000 {
                let offset = if alternate && number % 2 == 1 { room.len() - 1 } else { 6 };
                room.resize_gap(offset, 0, 8);
                let start = usize::from(room.start);
                moves += usize::from(start != last_start && start + 8 != last_start);
                last_start = start;
            }
            assert_eq!(room.len(), 7 + 8000);
            assert!(moves < 100, "{moves} moves of everything");
        }
    }
}
