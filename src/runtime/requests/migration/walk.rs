//! The walk through a slot that is on its way to another node.
//!
//! A slot is walked through while writes go on; the keys that change meanwhile are sent again, in rounds that get shorter, the
//! last of them between two requests. From then on the slot is *through*: what is recorded of it follows.
//!
//! A large value goes in pieces. What changes of it from its first piece on is sent besides (`command::followed`), until the slot is
//! through. A stream that changes before its last piece begins anew in the next round, and so does another value when something is done to
//! it that is not about single elements; after [`ROUNDS_MAX`] rounds it goes at once, which is a pause that its size decides.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::base::slot::Slot;
use crate::command::followed::{Followed, ListEnd};
use crate::keyspace::{Key, Keyspace, Object, SlotPlace, Value};
use crate::persist::aof::{Piece, ValueWriter};

/// Entries that are visited between two looks at the clock.
const STEP_ENTRIES: usize = 16;
/// Keys that are sent again in the last round at most.
const LAST_ROUND_KEYS: usize = 16;
/// Rounds that are spent on keys that change.
const ROUNDS_MAX: u32 = 8;

pub(super) struct SlotWalk {
    pub slot: Slot,
    /// Where it goes on; none once it has been through.
    place: Option<SlotPlace>,
    /// Large values that have still to go, and the one that is going.
    large: VecDeque<Box<[u8]>>,
    going: Option<(Box<[u8]>, Piece)>,
    /// Those that are followed and have gone.
    gone: HashMap<Box<[u8]>, Piece>,
    /// Keys to be sent again, in this round.
    again: VecDeque<Box<[u8]>>,
    round: u32,
    /// Keys that the walk has come by and nobody has been told of.
    pub keys: u64,
}

/// What a walk works with for a step.
pub(super) struct Means<'a> {
    pub keyspace: &'a mut Keyspace,
    pub followed: &'a mut Followed,
    pub writer: &'a mut ValueWriter,
    pub out: &'a mut Vec<u8>,
}

impl SlotWalk {
    pub fn new(slot: Slot) -> SlotWalk {
        let (large, going, gone, again) = Default::default();
        SlotWalk { slot, place: Some(SlotPlace::BEGIN), large, going, gone, again, round: 0, keys: 0 }
    }

    /// Goes on a little. False when the slot is through.
    pub fn step(&mut self, means: &mut Means<'_>) -> bool {
        if let Some((key, mut piece)) = self.going.take() {
            match self.go_on(&key, &mut piece, means) {
                true => self.going = Some((key, piece)),
                false if means.followed.contains(&key) => _ = self.gone.insert(key, piece),
                false => {}
            }
        } else if let Some(place) = self.place {
            self.place = self.walk_on(place, means);
        } else if let Some(key) = self.large.pop_front() {
            self.begin_large(key, means);
        } else if let Some(key) = self.again.pop_front() {
            // One that has changed once more comes in the next round.
            if !means.keyspace.is_touched(&key) {
                self.send_again(key, means);
            }
        } else {
            return self.next_round(means);
        }
        true
    }

    fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        Key { bytes, slot: self.slot }
    }

    /// The next piece of a large value, and what has changed since the last. False when it was the last, or the value has to be sent
    /// anew.
    fn go_on(&self, key: &[u8], piece: &mut Piece, means: &mut Means<'_>) -> bool {
        if means.followed.contains(key) {
            // Its expiry goes with the last piece.
            return self.send_changes(key, piece, false, means)
                && means
                    .keyspace
                    .entry_as_it_is(0, self.key(key))
                    .is_some_and(|entry| means.writer.go_on(&entry, piece, means.out));
        }
        let entry = means.keyspace.entry_as_it_is(0, self.key(key)).filter(|_| !means.keyspace.is_touched(key));
        entry.is_some_and(|entry| means.writer.go_on(&entry, piece, means.out))
    }

    fn walk_on(&mut self, place: SlotPlace, means: &mut Means<'_>) -> Option<SlotPlace> {
        let (large, keys) = (&mut self.large, &mut self.keys);
        let (writer, out) = (&mut *means.writer, &mut *means.out);
        means.keyspace.walk_slot(0, self.slot, place, STEP_ENTRIES, &mut |entry| {
            *keys += 1;
            match ValueWriter::is_large(entry.value) {
                true => large.push_back(entry.key.into()),
                false => writer.whole(entry, out),
            }
        })
    }

    fn begin_large(&mut self, key: Box<[u8]>, means: &mut Means<'_>) {
        let entry = means.keyspace.entry_as_it_is(0, self.key(&key));
        match entry.filter(|entry| Followed::is_possible(entry.value)) {
            Some(entry) => means.followed.begin(&key, entry.value),
            // It is sent in a later round.
            None if means.keyspace.is_touched(&key) => return,
            None => {}
        }
        let piece = ValueWriter::begin(&key, means.out);
        self.going = Some((key, piece));
    }

    /// Sends what has changed of a value that is followed, and perhaps its expiry. False when that does not do: it is not followed any more,
    /// and sent in a later round.
    fn send_changes(&self, key: &[u8], piece: &mut Piece, with_expiry: bool, means: &mut Means<'_>) -> bool {
        let entry = means.keyspace.entry_as_it_is(0, self.key(key));
        let changes = means.followed.take(key, entry.as_ref().map(|entry| entry.value));
        let (Some(entry), Some(changes)) = (entry, changes) else {
            means.followed.end(key);
            means.keyspace.note_touched(self.key(key));
            return false;
        };
        means.writer.elements(&entry, &changes.elements, means.out);
        changes.ends.iter().for_each(|end| send_end(key, end, piece, means.out));
        // Whatever has changed: a value that was emptied and filled again has lost its expiry without a word about it.
        if with_expiry && !changes.is_empty() {
            ValueWriter::expiry(&entry, means.out);
        }
        true
    }

    /// What has been put to the end of a list that had gone.
    fn send_end_of_list(&self, key: &[u8], piece: &mut Piece, means: &mut Means<'_>) {
        let Some(entry) = means.keyspace.entry_as_it_is(0, self.key(key)) else { return };
        let Value::Object(Object::List(list)) = entry.value else { return };
        while piece.sent() < list.len() {
            means.writer.go_on(&entry, piece, means.out);
        }
    }

    /// All has been sent once more: is what has changed since little enough to be sent at once? False when it was, and nothing is left.
    fn next_round(&mut self, means: &mut Means<'_>) -> bool {
        self.round += 1;
        let followed: Vec<Box<[u8]>> = means.followed.keys().map(Box::from).collect();
        for key in followed {
            let Some(mut piece) = self.gone.remove(&key) else { continue };
            if self.send_changes(&key, &mut piece, true, means) {
                self.send_end_of_list(&key, &mut piece, means);
                self.gone.insert(key, piece);
            }
        }
        let mut again = means.keyspace.take_touched();
        again.retain(|key| !means.followed.contains(key));
        let is_small = |key: &[u8]| {
            let entry = means.keyspace.entry_as_it_is(0, self.key(key));
            entry.is_none_or(|entry| !ValueWriter::is_large(entry.value))
        };
        let is_last =
            self.round > ROUNDS_MAX || again.len() <= LAST_ROUND_KEYS && again.iter().all(|key| is_small(key));
        if !is_last {
            self.again = again.into();
            return true;
        }
        // Nothing changes before this is done.
        for key in again {
            match means.keyspace.entry_as_it_is(0, self.key(&key)) {
                None => ValueWriter::removal(&key, means.out),
                Some(entry) if ValueWriter::is_large(entry.value) => {
                    let mut piece = ValueWriter::begin(&key, means.out);
                    while means.writer.go_on(&entry, &mut piece, means.out) {}
                }
                Some(entry) => means.writer.whole(&entry, means.out),
            }
        }
        means.followed.clear();
        false
    }

    fn send_again(&mut self, key: Box<[u8]>, means: &mut Means<'_>) {
        match means.keyspace.entry_as_it_is(0, self.key(&key)) {
            None => ValueWriter::removal(&key, means.out),
            Some(entry) if ValueWriter::is_large(entry.value) => self.large.push_back(key),
            Some(entry) => means.writer.whole(&entry, means.out),
        }
    }
}

/// Does to what has been sent of a list what was done to the list.
fn send_end(key: &[u8], end: &ListEnd, piece: &mut Piece, out: &mut Vec<u8>) {
    let sent = piece.sent();
    match end {
        // It is among what has still to be sent.
        ListEnd::Pushed(_) if sent == 0 => {}
        ListEnd::Pushed(elements) => {
            ValueWriter::before_list(key, elements, out);
            piece.set_sent(sent + elements.len());
        }
        ListEnd::Popped(count) => {
            let count = sent.min(*count);
            ValueWriter::from_list(key, count, true, out);
            piece.set_sent(sent - count);
        }
        ListEnd::Cut(length) => {
            ValueWriter::from_list(key, sent.saturating_sub(*length), false, out);
            piece.set_sent(sent.min(*length));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::clock::UnixMillis;
    use crate::base::random::Random;
    use crate::keyspace::hash::{Hash, HashLimits};
    use crate::keyspace::list::{End, Incoming, List};
    use crate::keyspace::{AccessPolicy, Disposal, KeyspaceOptions};

    const KEY: &str = "{t}hash";
    const FIELDS: u64 = 20_000;
    const LIMITS: HashLimits = HashLimits { entries: 128, value_bytes: 64 };
    /// A step is some elements, or some keys.
    const STEP_BYTES_MAX: usize = 16 << 10;

    fn keyspace() -> Keyspace {
        let access = AccessPolicy::Lru;
        Keyspace::new(KeyspaceOptions { databases: 1, hash_seeds: [1, 2, 3, 4], access })
    }

    fn key() -> Key<'static> {
        Key::new(KEY.as_bytes())
    }

    fn edit(keyspace: &mut Keyspace, edit: impl FnOnce(&mut Hash)) {
        let mut entry = keyspace.write(0, key());
        edit(entry.collection_or_new::<Hash>().expect("a hash"));
        entry.commit(1);
    }

    fn set_field(keyspace: &mut Keyspace, field: &str, value: &str) {
        edit(keyspace, |hash| _ = hash.set(field.as_bytes(), value.as_bytes(), LIMITS));
    }

    fn remove_field(keyspace: &mut Keyspace, field: &str) {
        edit(keyspace, |hash| _ = hash.remove(field.as_bytes()));
    }

    fn note(followed: &mut Followed, line: &str) {
        followed.note(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    }

    /// The commands in the order in which they were written.
    fn commands(bytes: &[u8]) -> impl Iterator<Item = Vec<&str>> {
        let mut lines = std::str::from_utf8(bytes).expect("ascii").split("\r\n").filter(|line| !line.is_empty());
        std::iter::from_fn(move || {
            let count: usize = lines.next()?[1..].parse().expect("a number of words");
            Some((0..count).map(|_| lines.nth(1).expect("a word")).collect())
        })
    }

    /// The hash that the commands make.
    fn replayed(bytes: &[u8]) -> BTreeMap<String, String> {
        let mut hash = BTreeMap::new();
        for words in commands(bytes) {
            assert_eq!(words[1], KEY);
            match words[0] {
                "UNLINK" => hash.clear(),
                "PERSIST" => {}
                "HSET" => words[2..].chunks(2).for_each(|pair| _ = hash.insert(pair[0].to_owned(), pair[1].to_owned())),
                "HDEL" => words[2..].iter().for_each(|field| _ = hash.remove(*field)),
                name => panic!("{name}"),
            }
        }
        hash
    }

    fn is(keyspace: &Keyspace) -> BTreeMap<String, String> {
        let mut bytes = Vec::new();
        let (mut writer, entry) = (ValueWriter::default(), keyspace.entry_as_it_is(0, key()).expect("it is there"));
        let mut piece = ValueWriter::begin(KEY.as_bytes(), &mut bytes);
        while writer.go_on(&entry, &mut piece, &mut bytes) {}
        replayed(&bytes)
    }

    /// Walks through the slot, and does something to the hash after each step.
    fn walked(mut change: impl FnMut(&mut Keyspace, &mut Followed)) -> (Vec<usize>, Vec<u8>, Keyspace) {
        let mut keyspace = keyspace();
        (0..FIELDS).for_each(|number| set_field(&mut keyspace, &format!("f{number}"), "old"));
        keyspace.note_touched_of(Some(key().slot));
        let (mut followed, mut writer, mut out, mut steps) =
            (Followed::default(), ValueWriter::default(), Vec::new(), Vec::new());
        let mut walk = SlotWalk::new(key().slot);
        loop {
            let before = out.len();
            let mut means =
                Means { keyspace: &mut keyspace, followed: &mut followed, writer: &mut writer, out: &mut out };
            let goes_on = walk.step(&mut means);
            steps.push(out.len() - before);
            if !goes_on {
                assert!(followed.is_empty());
                return (steps, out, keyspace);
            }
            change(&mut keyspace, &mut followed);
        }
    }

    #[test]
    fn a_large_value_that_changes_all_the_time_goes_in_small_steps_and_once() {
        let mut random = Random::new(5);
        let mut changes = 0;
        let (steps, out, keyspace) = walked(|keyspace, followed| {
            changes += 1;
            let (kept, gone) = (random.below(FIELDS * 2), random.below(FIELDS));
            set_field(keyspace, &format!("f{kept}"), &format!("new{changes}"));
            note(followed, &format!("HSET {KEY} f{kept} new{changes}"));
            remove_field(keyspace, &format!("f{gone}"));
            note(followed, &format!("HDEL {KEY} f{gone}"));
        });
        assert!(replayed(&out) == is(&keyspace));
        assert!(
            changes > 200 && steps.iter().all(|bytes| *bytes < STEP_BYTES_MAX),
            "{changes} {:?}",
            steps.iter().max()
        );
        let mut whole = Vec::new();
        let mut piece = ValueWriter::begin(KEY.as_bytes(), &mut whole);
        let entry = keyspace.entry_as_it_is(0, key()).expect("it is there");
        while ValueWriter::default().go_on(&entry, &mut piece, &mut whole) {}
        assert!(out.len() < whole.len() * 2, "{} bytes of {}", out.len(), whole.len());
    }

    /// The list that the commands make.
    fn replayed_list(bytes: &[u8]) -> VecDeque<String> {
        let mut list = VecDeque::new();
        for words in commands(bytes) {
            let count = || words[2].parse::<usize>().expect("a number");
            match words[0] {
                "UNLINK" => list.clear(),
                "PERSIST" => {}
                "RPUSH" => list.extend(words[2..].iter().map(|word| word.to_string())),
                "LPUSH" => words[2..].iter().for_each(|word| list.push_front(word.to_string())),
                "LPOP" => _ = list.drain(..count()),
                "RPOP" => list.truncate(list.len() - count()),
                name => panic!("{name}"),
            }
        }
        list
    }

    #[test]
    fn a_list_whose_ends_change_all_the_time_goes_in_small_steps() {
        const LIST: &str = "{t}list";
        for seed in 0..20 {
            let mut random = Random::new(seed);
            let mut keyspace = keyspace();
            let key = Key::new(LIST.as_bytes());
            let mut model: VecDeque<String> = (0..30_000).map(|number| format!("e{number}")).collect();
            let change = |keyspace: &mut Keyspace, change: &mut dyn FnMut(&mut List)| {
                let mut entry = keyspace.write(0, key);
                change(entry.collection_or_new::<List>().expect("a list"));
                entry.commit(1);
            };
            let push = |list: &mut List, end, element: &str| {
                list.grow_for(1, element.len(), -2);
                list.push(end, Incoming::copied(element.as_bytes()));
            };
            change(&mut keyspace, &mut |list| model.iter().for_each(|element| push(list, End::Back, element)));
            keyspace.note_touched_of(Some(key.slot));
            let (mut followed, mut writer, mut out) = (Followed::default(), ValueWriter::default(), Vec::new());
            let (mut walk, mut steps) = (SlotWalk::new(key.slot), Vec::new());
            // Mostly taken from, or mostly put to, at either end.
            let shares = [random.below(10), random.below(10), random.below(10), random.below(10)];
            loop {
                let before = out.len();
                let mut means =
                    Means { keyspace: &mut keyspace, followed: &mut followed, writer: &mut writer, out: &mut out };
                let goes_on = walk.step(&mut means);
                steps.push(out.len() - before);
                if !goes_on {
                    break;
                }
                let (count, new) = (1 + random.below(200) as usize, format!("new{}", steps.len()));
                if random.below(10) < shares[0] {
                    change(&mut keyspace, &mut |list| push(list, End::Front, &new));
                    note(&mut followed, &format!("LPUSH {LIST} {new}"));
                    model.push_front(new.clone());
                }
                if random.below(10) < shares[1] {
                    change(&mut keyspace, &mut |list| push(list, End::Back, &new));
                    note(&mut followed, &format!("RPUSH {LIST} {new}"));
                    model.push_back(new.clone());
                }
                let count = count.min(model.len().saturating_sub(1));
                if random.below(10) < shares[2] && count > 0 {
                    change(&mut keyspace, &mut |list| list.remove_end(End::Front, count));
                    note(&mut followed, &format!("LPOP {LIST} {count}"));
                    model.drain(..count);
                }
                let count = count.min(model.len().saturating_sub(1));
                if random.below(10) < shares[3] && count > 0 {
                    change(&mut keyspace, &mut |list| list.remove_end(End::Back, count));
                    note(&mut followed, &format!("RPOP {LIST} {count}"));
                    model.truncate(model.len() - count);
                }
            }
            assert!(replayed_list(&out) == model, "seed {seed}");
            let most = steps.iter().max().expect("a step");
            assert!(*most <= 2 * STEP_BYTES_MAX, "seed {seed}: {most}");
        }
    }

    #[test]
    fn a_value_that_was_emptied_and_filled_again_has_no_expiry() {
        let mut keyspace = keyspace();
        (0..FIELDS).for_each(|number| set_field(&mut keyspace, &format!("f{number}"), "old"));
        let mut entry = keyspace.write(0, key());
        assert!(entry.set_expiry(Some(UnixMillis(1 << 40))));
        entry.commit(1);
        keyspace.note_touched_of(Some(key().slot));
        let (mut followed, mut writer, mut out) = (Followed::default(), ValueWriter::default(), Vec::new());
        let mut walk = SlotWalk::new(key().slot);
        let mut has_gone = false;
        loop {
            let mut means =
                Means { keyspace: &mut keyspace, followed: &mut followed, writer: &mut writer, out: &mut out };
            if !walk.step(&mut means) {
                break;
            }
            if !has_gone && !walk.gone.is_empty() {
                has_gone = true;
                assert_eq!(commands(&out).last().expect("a command")[0], "PEXPIREAT");
                keyspace.remove(0, key(), Disposal::Now);
                (0..FIELDS).for_each(|number| note(&mut followed, &format!("HDEL {KEY} f{number}")));
                (0..300).for_each(|number| {
                    set_field(&mut keyspace, &format!("f{number}"), "new");
                    note(&mut followed, &format!("HSET {KEY} f{number} new"));
                });
            }
        }
        assert!(has_gone && commands(&out).last().expect("a command")[0] == "PERSIST");
    }

    #[test]
    fn what_is_not_about_elements_has_it_sent_anew_and_at_once_in_the_end() {
        let (steps, out, keyspace) = walked(|keyspace, followed| {
            set_field(keyspace, "f1", "other");
            note(followed, &format!("HRANDOM {KEY}"));
        });
        assert!(replayed(&out) == is(&keyspace));
        assert!(*steps.last().expect("a step") > 10 * STEP_BYTES_MAX);

        // It goes when the first piece is on its way.
        let mut steps_count = 0;
        let (_, out, keyspace) = walked(|keyspace, followed| {
            steps_count += 1;
            if steps_count == 5 {
                keyspace.remove(0, key(), Disposal::Now);
                note(followed, &format!("DEL {KEY}"));
            }
        });
        assert!(replayed(&out).is_empty() && keyspace.entry_as_it_is(0, key()).is_none());
    }
}
