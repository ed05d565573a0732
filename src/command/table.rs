//! The table of commands: every family's rows in one list, found by name.

use std::sync::OnceLock;

use super::FAMILIES;
use super::spec::CommandSpec;

/// A command's place in the table; stable for the life of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandId(u16);

impl CommandId {
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    pub const fn from_index(index: usize) -> CommandId {
        CommandId(index as u16)
    }

    pub fn spec(self) -> &'static CommandSpec {
        table().rows[self.index()]
    }
}

/// All rows and their index.
pub struct CommandTable {
    rows: Vec<&'static CommandSpec>,
    /// Open addressing over `NameKey`; a power of two, at most half full.
    index: Vec<Option<(NameKey, CommandId)>>,
}

/// A lower-case name and its length in three words: compared without a loop.
#[derive(Clone, Copy, PartialEq, Eq)]
struct NameKey([u64; 3]);

/// Longer names are no commands. One byte of the key is the length, so that a NUL is not padding.
const NAME_BYTES_MAX: usize = 23;

impl NameKey {
    #[inline]
    fn new(name: &[u8]) -> Option<NameKey> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return None;
        }
        let length = (name.len() as u64) << 56;
        if let Some(word) = short_word(name) {
            return Some(NameKey([lower(word), 0, length]));
        }
        let mut bytes = [0u8; NAME_BYTES_MAX + 1];
        bytes[..name.len()].copy_from_slice(name);
        let word = |at: usize| {
            let eight: [u8; 8] = bytes[at..at + 8].try_into().expect("eight bytes");
            lower(u64::from_le_bytes(eight))
        };
        let words = [word(0), word(8), word(16) | length];
        Some(NameKey(words))
    }

    #[inline]
    fn hash(self) -> usize {
        let mixed = self.0[0] ^ self.0[1].rotate_left(21) ^ self.0[2].rotate_left(42);
        (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize
    }
}

/// A name of one to eight bytes in one word, without a loop: two reads that overlap.
#[inline]
fn short_word(name: &[u8]) -> Option<u64> {
    let half = |at: usize| -> Option<u64> {
        let four: [u8; 4] = name.get(at..at + 4)?.try_into().ok()?;
        Some(u64::from(u32::from_le_bytes(four)))
    };
    match name.len() {
        4..=8 => Some(half(0)? | half(name.len() - 4)? << ((name.len() - 4) * 8)),
        3 => Some(u64::from(name[0]) | u64::from(name[1]) << 8 | u64::from(name[2]) << 16),
        2 => Some(u64::from(name[0]) | u64::from(name[1]) << 8),
        1 => Some(u64::from(name[0])),
        _ => None,
    }
}

/// Lower-cases eight ASCII bytes at once; bytes outside A-Z stay.
#[inline]
const fn lower(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let seven = word & (ONES * 0x7f);
    let above_at = seven + ONES * (0x7f - b'@' as u64);
    let above_z = seven + ONES * (0x7f - b'Z' as u64);
    let upper = above_at & !above_z & !word & (ONES * 0x80);
    word | upper >> 2
}

impl CommandTable {
    fn new() -> CommandTable {
        let rows: Vec<&'static CommandSpec> = FAMILIES.iter().flat_map(|family| family.iter()).collect();
        let top_level = rows.iter().filter(|row| row.sub_name().is_none()).count();
        let mut index = vec![None; (top_level * 2).next_power_of_two()];
        for (position, row) in rows.iter().enumerate() {
            if row.sub_name().is_some() {
                continue;
            }
            let key = NameKey::new(row.name.as_bytes()).expect("a row's name fits");
            let mask = index.len() - 1;
            let mut at = key.hash() & mask;
            while index[at].is_some() {
                at = (at + 1) & mask;
            }
            index[at] = Some((key, CommandId(position as u16)));
        }
        CommandTable { rows, index }
    }

    /// The row of a top-level command, in any case of letters.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<CommandId> {
        let key = NameKey::new(name)?;
        let mask = self.index.len() - 1;
        let mut at = key.hash() & mask;
        while let Some((other, id)) = self.index[at] {
            if other == key {
                return Some(id);
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// The row of `container|sub`; rows of one container stand together behind it.
    pub fn find_sub(&self, container: CommandId, sub: &[u8]) -> Option<CommandId> {
        let name = container.spec().name;
        self.rows[container.index() + 1..]
            .iter()
            .map_while(|row| row.sub_name().filter(|(parent, _)| *parent == name))
            .position(|(_, own)| own.as_bytes().eq_ignore_ascii_case(sub))
            .map(|offset| CommandId((container.index() + 1 + offset) as u16))
    }

    /// `container|sub` or a plain name, as COMMAND INFO and LATENCY HISTOGRAM take them.
    pub fn find_full(&self, name: &[u8]) -> Option<CommandId> {
        match name.iter().position(|b| *b == b'|') {
            None => self.find(name),
            Some(at) => self.find_sub(self.find(&name[..at])?, &name[at + 1..]),
        }
    }

    /// Every row, containers before their sub-commands.
    pub fn rows(&self) -> impl Iterator<Item = (CommandId, &'static CommandSpec)> + '_ {
        self.rows.iter().enumerate().map(|(index, row)| (CommandId(index as u16), *row))
    }

    /// The sub-commands of a container.
    pub fn subcommands(&self, container: CommandId) -> impl Iterator<Item = (CommandId, &'static CommandSpec)> + '_ {
        let name = container.spec().name;
        let is_container = container.spec().run.is_container();
        let first = container.index() + 1;
        self.rows[first..]
            .iter()
            .take_while(move |row| is_container && row.sub_name().is_some_and(|(parent, _)| parent == name))
            .enumerate()
            .map(move |(offset, row)| (CommandId((first + offset) as u16), *row))
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// The one table, built on first use and never changed.
pub fn table() -> &'static CommandTable {
    static TABLE: OnceLock<CommandTable> = OnceLock::new();
    TABLE.get_or_init(CommandTable::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(table().find(b"GeT").unwrap().spec().name, "get");
        assert_eq!(table().find(b"no-such-command"), None);
        assert_eq!(table().find(b"get\x00"), None);
        assert_eq!(table().find(&[0xC7, 0xC5, 0xD4]), None, "high bytes are not letters");
    }

    #[test]
    fn every_row_is_found_under_its_own_name() {
        for (id, row) in table().rows() {
            assert_eq!(table().find_full(row.name.as_bytes()), Some(id), "{}", row.name);
        }
    }

    #[test]
    fn subcommand_rows_follow_their_container() {
        for (_, row) in table().rows() {
            if let Some((parent, _)) = row.sub_name() {
                let container = table().find(parent.as_bytes()).unwrap();
                assert!(container.spec().run.is_container(), "{parent}");
            }
        }
    }

    #[test]
    fn lower_touches_letters_only() {
        assert_eq!(lower(u64::from_le_bytes(*b"AZ@[az\xC1{")).to_le_bytes(), *b"az@[az\xC1{");
    }
}
