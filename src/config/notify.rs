//! `notify-keyspace-events`: the classes of events and their letters.
//!
//! Owns [`NotifyFlags`], which whoever publishes an event asks, and the kind of its row. It publishes nothing.

use super::line::quoted;
use super::value::{Kind, Origin, Rewrite, single};

/// `notify-keyspace-events`: which classes of events are published, and on which channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotifyFlags(pub u16);

impl NotifyFlags {
    /// Letter of a class and its bit, in the order that CONFIG GET shows the classes.
    const CLASSES: [(u8, u16); 11] = [
        (b'g', Self::GENERIC),
        (b'$', Self::STRING),
        (b'l', Self::LIST),
        (b's', Self::SET),
        (b'h', Self::HASH),
        (b'z', Self::ZSET),
        (b'x', Self::EXPIRED),
        (b'e', Self::EVICTED),
        (b't', Self::STREAM),
        (b'd', Self::MODULE),
        (b'n', Self::NEW),
    ];
    /// Letters that stay apart from `A`, shown last.
    const CHANNELS: [(u8, u16); 3] = [(b'K', Self::KEYSPACE), (b'E', Self::KEYEVENT), (b'm', Self::KEY_MISS)];

    /// Publish on `__keyspace@<db>__:<key>`.
    pub const KEYSPACE: u16 = 1 << 0;
    /// Publish on `__keyevent@<db>__:<event>`.
    pub const KEYEVENT: u16 = 1 << 1;
    pub const GENERIC: u16 = 1 << 2;
    pub const STRING: u16 = 1 << 3;
    pub const LIST: u16 = 1 << 4;
    pub const SET: u16 = 1 << 5;
    pub const HASH: u16 = 1 << 6;
    pub const ZSET: u16 = 1 << 7;
    pub const EXPIRED: u16 = 1 << 8;
    pub const EVICTED: u16 = 1 << 9;
    pub const STREAM: u16 = 1 << 10;
    pub const KEY_MISS: u16 = 1 << 11;
    pub const MODULE: u16 = 1 << 13;
    pub const NEW: u16 = 1 << 14;
    /// What `A` stands for: every class but misses and new keys.
    pub const ALL: u16 = Self::GENERIC
        | Self::STRING
        | Self::LIST
        | Self::SET
        | Self::HASH
        | Self::ZSET
        | Self::EXPIRED
        | Self::EVICTED
        | Self::STREAM
        | Self::MODULE;

    /// Whether all bits of `flags` are set.
    pub const fn has(self, flags: u16) -> bool {
        self.0 & flags == flags
    }
}

/// Letters out of `Ag$lshzxeKEtmdn`.
pub struct NotifyKind;

impl Kind for NotifyKind {
    type Value = NotifyFlags;

    fn parse(&self, words: &[Vec<u8>], _old: &NotifyFlags, _origin: Origin) -> Result<NotifyFlags, String> {
        let mut flags = 0;
        for letter in single(words)? {
            if *letter == b'A' {
                flags |= NotifyFlags::ALL;
                continue;
            }
            let known = NotifyFlags::CLASSES.iter().chain(&NotifyFlags::CHANNELS).find(|(one, _)| one == letter);
            match known {
                Some((_, flag)) => flags |= flag,
                None => {
                    return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".to_owned());
                }
            }
        }
        Ok(NotifyFlags(flags))
    }

    /// As Redis shows it: `A` swallows `n` too.
    fn format(&self, value: &NotifyFlags) -> Vec<u8> {
        let letters = |list: &[(u8, u16)]| -> Vec<u8> {
            list.iter().filter(|(_, flag)| value.has(*flag)).map(|(letter, _)| *letter).collect()
        };
        let mut shown = if value.has(NotifyFlags::ALL) { b"A".to_vec() } else { letters(&NotifyFlags::CLASSES) };
        shown.extend(letters(&NotifyFlags::CHANNELS));
        shown
    }

    fn rewrite(&self, name: &str, value: &NotifyFlags, default: &NotifyFlags) -> Rewrite {
        Rewrite::line(name, &quoted(&self.format(value)), value != default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(word: &str) -> Vec<Vec<u8>> {
        vec![word.as_bytes().to_vec()]
    }

    #[test]
    fn keyspace_events_are_shown_in_their_canonical_order() {
        let parse = |word| NotifyKind.parse(&words(word), &NotifyFlags::default(), Origin::Command);
        for (word, shown) in [("KEA", "AKE"), ("Elg$", "g$lE"), ("", ""), ("Anm", "Am"), ("g$lshzxetd", "A")] {
            assert_eq!(NotifyKind.format(&parse(word).unwrap()), shown.as_bytes(), "{word}");
        }
        assert!(parse("KQ").is_err());
    }
}
