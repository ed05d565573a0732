//! A node of a stream: entries with ids close to each other in one listpack, in the byte format of Redis.
//!
//! ```text
//! node    live entries, entries marked as deleted, number of names, name ..., 0
//!         entry ...
//! entry   flags, milliseconds, sequence,                   the id relative to the node's
//!         value ...                                        with SAME_FIELDS: the names are the node's
//!         number of fields, name, value, name, value ...   without
//!         how many elements that were                      to walk backwards
//! ```
//!
//! The node's id is the key under which `log` keeps it: that of the first entry it was made with. Entries are never moved:
//! a deleted one is marked and its place is lost until the node goes. Bytes from outside pass [`Node::from_listpack`].

use super::id::StreamId;
use crate::keyspace::listpack::{At, Damaged, Element, Iter, Listpack, Needle};

/// The entry is deleted.
const DELETED: i64 = 1;
/// The entry has the node's names.
const SAME_FIELDS: i64 = 2;

/// Elements of an entry beside names and values: flags, two of the id. The count at the end does not count itself.
const HEAD_ELEMENTS: i64 = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    listpack: Listpack,
}

/// What stands before the first entry.
#[derive(Clone, Copy, Debug)]
struct Header {
    live: u64,
    names_count: u64,
    /// The first name.
    names: At,
    /// The zero in front of the first entry.
    end: At,
}

/// An entry's place and what its head says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub id: StreamId,
    flags: At,
    is_deleted: bool,
    has_own_names: bool,
    fields_count: u64,
    /// What follows the head: values, or names and values.
    body: At,
}

impl Head {
    pub fn is_live(&self) -> bool {
        !self.is_deleted
    }

    /// Names and values behind the head.
    fn body_elements(&self) -> u64 {
        if self.has_own_names { self.fields_count.saturating_mul(2) } else { self.fields_count }
    }
}

impl Node {
    /// A node without entries whose names are every other one of `words`.
    pub fn new<'a>(words: impl ExactSizeIterator<Item = &'a [u8]> + Clone) -> Node {
        let mut listpack = Listpack::new();
        let counts = [0, 0, words.len() as i64 / 2].into_iter().map(Needle::from_integer);
        let names = words.step_by(2).map(Needle::new);
        listpack.push_back_all(counts.chain(names).chain([Needle::from_integer(0)]));
        Node { listpack }
    }

    /// Takes over a listpack that says it is a node, after a look at every entry.
    ///
    /// # Errors
    /// `Damaged`: numbers are missing or do not add up.
    pub fn from_listpack(listpack: Listpack) -> Result<Node, Damaged> {
        let node = Node { listpack };
        if node.is_sound() { Ok(node) } else { Err(Damaged) }
    }

    pub fn listpack(&self) -> &Listpack {
        &self.listpack
    }

    /// Gives back what growing has left over: no entry will be added.
    pub fn shrink_to_fit(&mut self) {
        self.listpack.shrink_to_fit();
    }

    /// Entries that are not deleted.
    pub fn live(&self) -> u64 {
        self.counts().0
    }

    /// Entries, deleted ones included.
    pub fn all(&self) -> u64 {
        let (live, deleted) = self.counts();
        live.saturating_add(deleted)
    }

    fn counts(&self) -> (u64, u64) {
        let mut elements = self.listpack.iter().map(|element| count(element).unwrap_or(0));
        (elements.next().unwrap_or(0), elements.next().unwrap_or(0))
    }

    fn set_counts(&mut self, live: u64, deleted: u64) {
        let Some(at) = self.listpack.first() else { return };
        self.listpack.overwrite_integer(at, live as i64);
        if let Some(at) = self.listpack.next(at) {
            self.listpack.overwrite_integer(at, deleted as i64);
        }
    }

    /// Adds an entry; `words` are names and values in turn.
    pub fn append<'a>(&mut self, base: StreamId, id: StreamId, words: impl ExactSizeIterator<Item = &'a [u8]> + Clone) {
        let fields_count = words.len() as i64 / 2;
        let header = self.header();
        let same = header.is_some_and(|header| self.has_names(&header, words.clone().step_by(2)));
        let (ms, seq) = id.relative_to(base);
        let head = [if same { SAME_FIELDS } else { 0 }, ms, seq].into_iter().map(Needle::from_integer);
        let own_count = (!same).then_some(Needle::from_integer(fields_count));
        let body = words.enumerate().filter(move |(index, _)| !same || index % 2 == 1);
        let elements = HEAD_ELEMENTS + if same { fields_count } else { 2 * fields_count + 1 };
        let elements = [Needle::from_integer(elements)];
        let body = body.map(|(_, word)| Needle::new(word));
        self.listpack.push_back_all(head.chain(own_count).chain(body).chain(elements));
        if let (Some(at), Some(header)) = (self.listpack.first(), header) {
            self.listpack.overwrite_integer(at, header.live.saturating_add(1) as i64);
        }
    }

    fn has_names<'a>(&self, header: &Header, names: impl ExactSizeIterator<Item = &'a [u8]>) -> bool {
        let ours = self.listpack.iter_from(header.names);
        header.names_count == names.len() as u64 && ours.zip(names).all(|(ours, theirs)| ours.is(theirs))
    }

    /// Marks an entry that is not deleted yet. Other entries keep their places.
    pub fn delete(&mut self, head: &Head) {
        self.mark(head);
        let (live, deleted) = self.counts();
        self.set_counts(live.saturating_sub(1), deleted.saturating_add(1));
    }

    /// Deletes entries from the front while `goes` says so of an entry and of how many were deleted before it. Returns how
    /// many were deleted.
    pub fn delete_front(&mut self, base: StreamId, goes: impl Fn(StreamId, u64) -> bool) -> u64 {
        let mut removed = 0;
        let Some(header) = self.header() else { return 0 };
        let mut at = self.listpack.next(header.end);
        while let Some(head) = at.and_then(|at| self.head(at, base, &header)) {
            if !goes(head.id, removed) {
                break;
            }
            at = self.behind(&head);
            if head.is_live() {
                self.mark(&head);
                removed += 1;
            }
        }
        let (live, deleted) = self.counts();
        self.set_counts(live.saturating_sub(removed), deleted.saturating_add(removed));
        removed
    }

    /// Setting the lowest bit never changes how many bytes the flags take.
    fn mark(&mut self, head: &Head) {
        let flags = self.listpack.get(head.flags).integer().unwrap_or(0);
        self.listpack.overwrite_integer(head.flags, flags | DELETED);
    }

    /// The entry that stands last, deleted or not.
    pub fn last_id(&self, base: StreamId) -> Option<StreamId> {
        self.backward(base).next().map(|head| head.id)
    }

    /// Every entry, deleted ones too, from the front.
    pub fn forward(&self, base: StreamId) -> Forward<'_> {
        let header = self.header();
        Forward { node: self, base, at: header.and_then(|header| self.listpack.next(header.end)), header, left: None }
    }

    /// Every entry, deleted ones too, from the end.
    pub fn backward(&self, base: StreamId) -> Backward<'_> {
        let header = self.header();
        Backward { node: self, base, at: header.and_then(|_| self.listpack.last()), header }
    }

    /// Names and values of an entry.
    pub fn fields(&self, head: &Head) -> Fields<'_> {
        let names = if head.has_own_names { None } else { self.header().map(|header| header.names) };
        Fields {
            names: names.map(|names| self.listpack.iter_from(names)),
            words: self.listpack.iter_from(head.body),
            left: head.fields_count,
        }
    }

    fn header(&self) -> Option<Header> {
        let listpack = &self.listpack;
        let first = listpack.first()?;
        let live = count(listpack.get(first))?;
        let at = listpack.next(listpack.next(first)?)?;
        let names_count = count(listpack.get(at))?;
        let names = listpack.next(at)?;
        Some(Header { live, names_count, names, end: self.skip(names, names_count)? })
    }

    /// What the entry at `at` says of itself; `None` when that is no entry.
    fn head(&self, flags: At, base: StreamId, header: &Header) -> Option<Head> {
        let number = |at: At| self.listpack.get(at).integer();
        let bits = number(flags)?;
        let ms = self.listpack.next(flags)?;
        let seq = self.listpack.next(ms)?;
        let id = base.plus(number(ms)?, number(seq)?);
        let mut body = self.listpack.next(seq)?;
        let has_own_names = bits & SAME_FIELDS == 0;
        let mut fields_count = header.names_count;
        if has_own_names {
            fields_count = count(self.listpack.get(body))?;
            body = self.listpack.next(body)?;
        }
        Some(Head { id, flags, is_deleted: bits & DELETED != 0, has_own_names, fields_count, body })
    }

    /// Where the entry behind this one begins.
    fn behind(&self, head: &Head) -> Option<At> {
        let end = self.skip(head.body, head.body_elements())?;
        self.listpack.next(end)
    }

    /// The element `elements` behind `at`.
    fn skip(&self, at: At, elements: u64) -> Option<At> {
        let mut at = at;
        for _ in 0..elements {
            at = self.listpack.next(at)?;
        }
        Some(at)
    }

    /// Do all counts agree with what is there?
    fn is_sound(&self) -> bool {
        let Some(header) = self.header() else { return false };
        let mut counts = self.listpack.iter().take(2).map(count);
        let (Some(Some(live)), Some(Some(deleted))) = (counts.next(), counts.next()) else { return false };
        if self.listpack.get(header.end) != Element::Integer(0) {
            return false;
        }
        let (mut found, mut found_deleted) = (0u64, 0u64);
        let mut at = self.listpack.next(header.end);
        while let Some(flags) = at {
            let Some(head) = self.head(flags, StreamId::MIN, &header) else { return false };
            let Some(end) = self.skip(head.body, head.body_elements()) else { return false };
            let elements = head.body_elements() + HEAD_ELEMENTS as u64 + u64::from(head.has_own_names);
            if count(self.listpack.get(end)) != Some(elements) {
                return false;
            }
            found += 1;
            found_deleted += u64::from(head.is_deleted);
            at = self.listpack.next(end);
        }
        found_deleted == deleted && live.checked_add(deleted) == Some(found)
    }
}

/// An element that counts something.
fn count(element: Element<'_>) -> Option<u64> {
    element.integer().and_then(|integer| u64::try_from(integer).ok())
}

/// Entries from the front.
#[derive(Clone)]
pub(super) struct Forward<'a> {
    node: &'a Node,
    base: StreamId,
    header: Option<Header>,
    at: Option<At>,
    /// The entry that was given last: it is skipped only when another one is wanted.
    left: Option<Head>,
}

impl Iterator for Forward<'_> {
    type Item = Head;

    fn next(&mut self) -> Option<Head> {
        if let Some(left) = self.left.take() {
            self.at = self.node.behind(&left);
        }
        let head = self.node.head(self.at?, self.base, self.header.as_ref()?);
        self.left = head;
        head
    }
}

/// Entries from the end.
#[derive(Clone)]
pub(super) struct Backward<'a> {
    node: &'a Node,
    base: StreamId,
    header: Option<Header>,
    /// The count that an entry ends with, or the zero before the first entry.
    at: Option<At>,
}

impl Iterator for Backward<'_> {
    type Item = Head;

    fn next(&mut self) -> Option<Head> {
        let (end, header) = (self.at?, self.header.as_ref()?);
        self.at = None;
        if end <= header.end {
            return None;
        }
        let listpack = &self.node.listpack;
        let mut at = end;
        for _ in 0..count(listpack.get(end))? {
            at = listpack.previous(at)?;
        }
        let head = self.node.head(at, self.base, header)?;
        self.at = listpack.previous(at);
        Some(head)
    }
}

/// Names and values of one entry.
#[derive(Clone)]
pub struct Fields<'a> {
    names: Option<Iter<'a>>,
    words: Iter<'a>,
    left: u64,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (Element<'a>, Element<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let name = match &mut self.names {
            Some(names) => names.next()?,
            None => self.words.next()?,
        };
        Some((name, self.words.next()?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Fields<'_> {}
