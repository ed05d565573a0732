//! Collections as the value of one key: what all kinds have in common.

use super::hash::Hash;
use super::list::List;
use super::set::Set;
use super::sorted_set::SortedSet;
use super::stream::Stream;
use super::value::ValueKind;

/// A collection. Each kind chooses by itself between its compact and its large form.
#[derive(Clone, Debug)]
pub enum Object {
    List(List),
    Set(Set),
    SortedSet(SortedSet),
    Hash(Hash),
    Stream(Stream),
}

/// Tables with their collections move between cores.
const _: fn() = || {
    fn moves_between_threads<T: Send>() {}
    moves_between_threads::<Object>();
};

/// The value at a key is of another kind than the command works on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrongKind;

/// One kind of collection, as [`super::Keyspace::read_as`] and the write door give it out.
pub trait Collection: Default {
    fn of(object: &Object) -> Option<&Self>;
    fn of_mut(object: &mut Object) -> Option<&mut Self>;
    fn into_object(self) -> Object;
}

macro_rules! collection {
    ($kind:ident) => {
        impl Collection for $kind {
            #[inline]
            fn of(object: &Object) -> Option<&Self> {
                if let Object::$kind(collection) = object { Some(collection) } else { None }
            }
            #[inline]
            fn of_mut(object: &mut Object) -> Option<&mut Self> {
                if let Object::$kind(collection) = object { Some(collection) } else { None }
            }
            fn into_object(self) -> Object {
                Object::$kind(self)
            }
        }
    };
}

collection!(List);
collection!(Set);
collection!(SortedSet);
collection!(Hash);
collection!(Stream);

/// What all parts of a collection of `total` elements take, judged by the first that hold `samples` of them. Each part is
/// given as its elements and its bytes.
pub(super) fn extrapolate(parts: impl Iterator<Item = (usize, usize)>, total: usize, samples: usize) -> usize {
    let (mut seen, mut bytes) = (0usize, 0usize);
    for (elements, part_bytes) in parts {
        seen += elements;
        bytes += part_bytes;
        if seen >= samples.max(1) {
            break;
        }
    }
    if seen == 0 || seen >= total { bytes } else { (bytes as u128 * total as u128 / seen as u128) as usize }
}

impl Object {
    pub fn kind(&self) -> ValueKind {
        match self {
            Object::List(_) => ValueKind::List,
            Object::Set(_) => ValueKind::Set,
            Object::SortedSet(_) => ValueKind::SortedSet,
            Object::Hash(_) => ValueKind::Hash,
            Object::Stream(_) => ValueKind::Stream,
        }
    }

    /// What OBJECT ENCODING answers.
    pub fn encoding_name(&self) -> &'static str {
        match self {
            Object::List(list) => list.encoding_name(),
            Object::Set(set) => set.encoding_name(),
            Object::SortedSet(set) => set.encoding_name(),
            Object::Hash(hash) => hash.encoding_name(),
            Object::Stream(_) => "stream",
        }
    }

    /// Whether a key with this value is to go: no collection stays empty, but for streams.
    pub(super) fn is_spent(&self) -> bool {
        match self {
            Object::List(list) => list.is_empty(),
            Object::Set(set) => set.is_empty(),
            Object::SortedSet(set) => set.is_empty(),
            Object::Hash(hash) => hash.is_empty(),
            Object::Stream(_) => false,
        }
    }

    /// Bytes allocated, besides the object itself (MEMORY USAGE). Of a large form as many parts are visited as hold `samples`
    /// elements, and stand for the others; all of them with `usize::MAX`.
    pub fn memory_bytes(&self, samples: usize) -> usize {
        match self {
            Object::List(list) => list.memory_bytes(samples),
            Object::Set(set) => set.memory_bytes(samples),
            Object::SortedSet(set) => set.memory_bytes(samples),
            Object::Hash(hash) => hash.memory_bytes(samples),
            Object::Stream(stream) => stream.memory_bytes(samples),
        }
    }

    /// Allocations that freeing it takes, about: whether that is work for the background.
    pub fn free_effort(&self) -> usize {
        match self {
            Object::List(list) => list.free_effort(),
            Object::Set(set) => set.free_effort(),
            Object::SortedSet(set) => set.free_effort(),
            Object::Hash(hash) => hash.free_effort(),
            Object::Stream(stream) => stream.free_effort(),
        }
    }

    /// Frees parts of a collection that nobody will look at again, and takes what it freed off `budget`, which is not 0.
    /// True when what is left costs nothing to drop; until then there is less to do with each call.
    pub(super) fn dismantle(&mut self, budget: &mut usize) -> bool {
        match self {
            Object::List(list) => list.dismantle(budget),
            Object::Set(set) => set.dismantle(budget),
            Object::SortedSet(set) => set.dismantle(budget),
            Object::Hash(hash) => hash.dismantle(budget),
            Object::Stream(stream) => stream.dismantle(budget),
        }
    }
}
