//! Digests of values and of the whole data set, as Redis 7.2 computes them: the same data gives the same digest on
//! either server, whatever the order of its keys.

use sha1::{Digest as _, Sha1};

use crate::base::clock::UnixMillis;
use crate::base::number::format_double_by_digits;
use crate::keyspace::stream::{Log, StreamId};
use crate::keyspace::{Digits, Object, Value};

/// 160 bits that grow with what is mixed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest([u8; 20]);

impl Digest {
    /// Adds bytes whose order does not matter: exclusive or with their SHA-1.
    pub fn add(&mut self, bytes: &[u8]) {
        self.combine(Digest(Sha1::digest(bytes).into()));
    }

    /// Adds bytes whose order matters: what is there is hashed again.
    pub fn mix(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Adds a finished digest, of a key or an element, as bytes whose order does not matter.
    pub fn add_digest(&mut self, other: Digest) {
        self.add(&other.0);
    }

    /// Exclusive or with what was added elsewhere.
    pub fn combine(&mut self, other: Digest) {
        self.0.iter_mut().zip(other.0).for_each(|(ours, theirs)| *ours ^= theirs);
    }

    /// Mixes in the number of a type or database: four bytes, the highest first.
    pub fn mix_number(&mut self, number: u32) {
        self.mix(&number.to_be_bytes());
    }

    /// Mixes in a value and whether it expires.
    pub fn mix_value(&mut self, value: &Value<'_>, expiry: Option<UnixMillis>) {
        match value {
            Value::String(string) => {
                self.mix_number(0);
                self.mix(string.as_bytes(&mut Digits::new()));
            }
            Value::Object(object) => self.mix_object(object),
        }
        if expiry.is_some() {
            self.add(b"!!expire!!");
        }
    }

    /// Mixes in the number of the type and the elements.
    fn mix_object(&mut self, object: &Object) {
        match object {
            Object::List(list) => {
                self.mix_number(1);
                list.iter().for_each(|item| self.mix(item.as_bytes(&mut Digits::new())));
            }
            Object::Set(set) => {
                self.mix_number(2);
                set.iter().for_each(|member| self.add(member.as_bytes(&mut Digits::new())));
            }
            Object::SortedSet(set) => {
                self.mix_number(3);
                let mut text = Vec::new();
                for (member, score) in set.iter() {
                    text.clear();
                    format_double_by_digits(score, &mut text);
                    let mut pair = Digest::default();
                    pair.mix(member.as_bytes(&mut Digits::new()));
                    pair.mix(&text);
                    self.add_digest(pair);
                }
            }
            Object::Hash(hash) => {
                self.mix_number(4);
                for (field, value) in hash.iter() {
                    let mut pair = Digest::default();
                    pair.mix(field.as_bytes(&mut Digits::new()));
                    pair.mix(value.as_bytes(&mut Digits::new()));
                    self.add_digest(pair);
                }
            }
            Object::Stream(stream) => {
                self.mix_number(6);
                self.mix_log(&stream.log);
            }
        }
    }

    /// Mixes in each entry of a stream: its id with a point between the numbers, names and values. Groups do not count.
    fn mix_log(&mut self, log: &Log) {
        for entry in log.range(StreamId::MIN, StreamId::MAX) {
            let StreamId { ms, seq } = entry.id();
            self.mix(format!("{ms}.{seq}").as_bytes());
            for (name, value) in entry.fields() {
                self.mix(name.as_bytes(&mut Digits::new()));
                self.mix(value.as_bytes(&mut Digits::new()));
            }
        }
    }

    /// Forty lower-case digits.
    pub fn hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_matters_where_it_is_mixed_and_not_where_it_is_added() {
        let digest = |change: fn(&mut Digest)| {
            let mut digest = Digest::default();
            change(&mut digest);
            digest
        };
        assert_eq!(
            digest(|d| {
                d.add(b"a");
                d.add(b"b")
            }),
            digest(|d| {
                d.add(b"b");
                d.add(b"a")
            })
        );
        assert_ne!(
            digest(|d| {
                d.mix(b"a");
                d.mix(b"b")
            }),
            digest(|d| {
                d.mix(b"b");
                d.mix(b"a")
            })
        );
        assert_eq!(
            digest(|d| {
                d.add(b"a");
                d.add(b"a")
            })
            .hex(),
            "0".repeat(40)
        );
    }
}
