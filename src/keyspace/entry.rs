//! One key with its value: a single allocation, at most 48 bytes for 16 + 16.
//!
//! ```text
//! offset  size  field
//!      0     4  access word (24 bits: LRU seconds or LFU, see `base::clock`) << 8 | kind
//!      4     1  flags: EXPIRY, WIDE_KEY, RAW, CUT
//!      5     1  length of an embedded value
//!      6     2  length of the key (0 with WIDE_KEY)
//!      8     8  expiry in Unix milliseconds               (only with EXPIRY)
//!      +  0/8/32  payload: nothing, an i64, a `Box<Object>` or a `Bytes`  (by kind)
//!      +     4  length of the key                         (only with WIDE_KEY)
//!      +     n  key
//!      +     m  embedded value                            (kind Embedded)
//! ```
//!
//! Every request to the allocator is rounded up to a size class first ([`size_class`]), so a value that changes
//! within its class is rewritten where it stands.
//!
//! All collections are one kind: a `Box` of an [`Object`], 8 bytes.
//!
//! Used by `bucket` and the doors of the keyspace; knows nothing about tables, clocks or statistics.
//! This file and `bucket.rs` are the only ones of the keyspace with `unsafe`.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use bytes::Bytes;

use super::hash::Hash;
use super::object::Object;
use super::value::{StringValue, Value};

/// Bytes of the header, which every entry begins with.
const HEADER_BYTES: usize = size_of::<Header>();
/// Bytes of the expiry, where there is one.
const EXPIRY_BYTES: usize = size_of::<i64>();
/// Bytes of the length of a key that does not fit in the header.
const WIDE_BYTES: usize = size_of::<u32>();
/// Largest entry, expiry included, that holds its value itself rather than in a buffer of its own.
const EMBEDDING_ENTRY_MAX_BYTES: usize = 256;
/// Values up to this long are embedded whatever the length of the key.
const EMBEDDED_ALWAYS_BYTES: usize = 64;

/// The entry has an expiry.
const EXPIRY: u8 = 1;
/// The key is longer than 65535 bytes: its length stands before it.
const WIDE_KEY: u8 = 2;
/// The string was modified in place or is long: OBJECT ENCODING says "raw".
const RAW: u8 = 4;
/// The parity of the last snapshot that the entry was handed out to, or is too new for (see `snapshot`).
const CUT: u8 = 8;

/// How the value of an entry is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Kind {
    /// A string, its bytes behind the key.
    Embedded = 0,
    /// A string that is a canonical integer.
    Integer = 1,
    /// A string in a buffer of its own.
    Heap = 2,
    /// A collection: a `Box` of it.
    Object = 3,
}

impl Kind {
    fn payload_bytes(self) -> usize {
        match self {
            Kind::Embedded => 0,
            Kind::Integer => size_of::<i64>(),
            Kind::Heap => size_of::<Bytes>(),
            Kind::Object => size_of::<Box<Object>>(),
        }
    }
}

/// A value on its way into an entry.
pub(super) enum NewValue<'a> {
    Integer(i64),
    /// At most what [`fits_embedded`] allows.
    Embedded(&'a [u8]),
    Heap(Bytes),
    Object(Box<Object>),
}

impl NewValue<'_> {
    fn kind(&self) -> Kind {
        match self {
            NewValue::Integer(_) => Kind::Integer,
            NewValue::Embedded(_) => Kind::Embedded,
            NewValue::Heap(_) => Kind::Heap,
            NewValue::Object(_) => Kind::Object,
        }
    }

    fn embedded_len(&self) -> u8 {
        match self {
            NewValue::Embedded(bytes) => u8::try_from(bytes.len()).expect("the caller asked fits_embedded first"),
            _ => 0,
        }
    }
}

/// A payload that has left its entry: there to be dropped.
enum OldPayload {
    Nothing,
    Heap(#[expect(dead_code, reason = "held to be dropped")] Bytes),
    Object(#[expect(dead_code, reason = "held to be dropped")] Box<Object>),
}

/// Whether a string of `value_len` bytes under a key of `key_len` bytes is kept inside the entry. An expiry is
/// allowed for, so that setting one never moves the value out.
pub(super) fn fits_embedded(key_len: usize, value_len: usize) -> bool {
    value_len <= EMBEDDED_ALWAYS_BYTES || HEADER_BYTES + EXPIRY_BYTES + key_len + value_len <= EMBEDDING_ENTRY_MAX_BYTES
}

// The length of an embedded value is kept in 8 bits.
const _: () = assert!(EMBEDDING_ENTRY_MAX_BYTES - HEADER_BYTES - EXPIRY_BYTES <= u8::MAX as usize);
const _: () = assert!(size_of::<Header>() == 8 && align_of::<Bytes>() <= 8);

/// `bytes` rounded up as the allocator would: multiples of 16 to 128, then four classes for each doubling.
/// These are mimalloc's small and medium classes; with another allocator the rounding only costs slack.
pub(super) fn size_class(bytes: usize) -> usize {
    const FINE_MAX_BYTES: usize = 128;
    const CLASSED_MAX_BYTES: usize = 4096;
    if bytes <= FINE_MAX_BYTES {
        bytes.next_multiple_of(16)
    } else if bytes <= CLASSED_MAX_BYTES {
        bytes.next_multiple_of(1 << ((bytes - 1).ilog2() - 2))
    } else {
        bytes.next_multiple_of(64)
    }
}

/// What to ask for when a buffer that goes on growing needs so many bytes: the allocator's class, which costs nothing more,
/// and for large ones a step that keeps the number of moves logarithmic.
pub(super) fn room_for(bytes: usize) -> usize {
    const CLASSED_MAX_BYTES: usize = 4096;
    const FINE_STEP_MIN_BYTES: usize = 128 * 1024;
    if bytes <= CLASSED_MAX_BYTES {
        return size_class(bytes);
    }
    let steps_log2 = if bytes < FINE_STEP_MIN_BYTES { 2 } else { 3 };
    bytes.next_multiple_of(1 << ((bytes - 1).ilog2() - steps_log2))
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Header {
    access_and_kind: u32,
    flags: u8,
    value_len: u8,
    key_len: u16,
}

impl Header {
    fn new(kind: Kind, flags: u8, access: u32, key_len: usize, value_len: u8) -> Self {
        let (key_len, wide) = match u16::try_from(key_len) {
            Ok(len) => (len, 0),
            Err(_) => (0, WIDE_KEY),
        };
        Header { access_and_kind: (access << 8) | kind as u32, flags: (flags & !WIDE_KEY) | wide, value_len, key_len }
    }

    #[inline]
    fn kind(self) -> Kind {
        match self.access_and_kind as u8 {
            0 => Kind::Embedded,
            1 => Kind::Integer,
            2 => Kind::Heap,
            _ => Kind::Object,
        }
    }

    #[inline]
    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    #[inline]
    fn payload_offset(self) -> usize {
        HEADER_BYTES + if self.has(EXPIRY) { EXPIRY_BYTES } else { 0 }
    }

    /// Where the bytes of the key begin; a wide length stands right before them.
    #[inline]
    fn key_offset(self) -> usize {
        let wide = if self.has(WIDE_KEY) { WIDE_BYTES } else { 0 };
        self.payload_offset() + self.kind().payload_bytes() + wide
    }

    /// Bytes used of the allocation.
    fn used_bytes(self, key_len: usize) -> usize {
        self.key_offset() + key_len + usize::from(self.value_len)
    }

    fn layout(self, key_len: usize) -> Layout {
        Layout::from_size_align(size_class(self.used_bytes(key_len)), align_of::<u64>())
            .expect("keys are shorter than isize::MAX")
    }
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: the layout has the size of a header at least, so it is not empty.
    let pointer = unsafe { alloc(layout) };
    NonNull::new(pointer).unwrap_or_else(|| handle_alloc_error(layout))
}

/// A borrowed entry. `'a` is the borrow of its owner.
#[derive(Clone, Copy)]
pub(super) struct EntryRef<'a> {
    pointer: NonNull<u8>,
    owner: PhantomData<&'a EntryBox>,
}

impl<'a> EntryRef<'a> {
    /// # Safety
    /// `pointer` came from [`EntryBox::into_pointer`], and for all of `'a` the entry is neither freed nor changed.
    #[inline]
    pub unsafe fn from_pointer(pointer: NonNull<u8>) -> Self {
        EntryRef { pointer, owner: PhantomData }
    }

    #[inline]
    fn header(self) -> Header {
        // SAFETY: every entry begins with an initialised header, aligned to 8.
        unsafe { self.pointer.cast::<Header>().read() }
    }

    /// A pointer `offset` bytes into the allocation.
    #[inline]
    fn at(self, offset: usize) -> NonNull<u8> {
        // SAFETY: callers pass offsets that the header gives, all of them within the allocation.
        unsafe { self.pointer.add(offset) }
    }

    #[inline]
    fn key_len(self, header: Header) -> usize {
        if header.has(WIDE_KEY) {
            // SAFETY: with WIDE_KEY an initialised u32 stands right before the key, aligned to 4 because what
            // comes before it has a size that is a multiple of 8.
            unsafe { self.at(header.key_offset() - WIDE_BYTES).cast::<u32>().read() as usize }
        } else {
            usize::from(header.key_len)
        }
    }

    #[inline]
    pub fn key(self) -> &'a [u8] {
        let header = self.header();
        let key_len = self.key_len(header);
        // SAFETY: the key's bytes are initialised, within the allocation and unchanged during 'a.
        unsafe { std::slice::from_raw_parts(self.at(header.key_offset()).as_ptr(), key_len) }
    }

    #[inline]
    pub fn value(self) -> Value<'a> {
        let header = self.header();
        match header.kind() {
            Kind::Embedded => {
                let offset = header.key_offset() + self.key_len(header);
                // SAFETY: `value_len` initialised bytes follow the key, unchanged during 'a.
                Value::String(StringValue::Bytes(unsafe {
                    std::slice::from_raw_parts(self.at(offset).as_ptr(), usize::from(header.value_len))
                }))
            }
            // SAFETY: an Integer's payload is an initialised i64 at an offset that is a multiple of 8.
            Kind::Integer => {
                Value::String(StringValue::Integer(unsafe { self.at(header.payload_offset()).cast::<i64>().read() }))
            }
            // SAFETY: a Heap's payload is an initialised Bytes at an offset that is a multiple of 8; nobody
            // replaces it during 'a.
            Kind::Heap => {
                Value::String(StringValue::Shared(unsafe { self.at(header.payload_offset()).cast::<Bytes>().as_ref() }))
            }
            // SAFETY: an Object's payload is an initialised Box at an offset that is a multiple of 8; nobody replaces it
            // during 'a.
            Kind::Object => Value::Object(unsafe { self.at(header.payload_offset()).cast::<Box<Object>>().as_ref() }),
        }
    }

    /// Unix milliseconds.
    #[inline]
    pub fn expiry(self) -> Option<i64> {
        if !self.header().has(EXPIRY) {
            return None;
        }
        // SAFETY: with EXPIRY an initialised i64 follows the header.
        Some(unsafe { self.at(HEADER_BYTES).cast::<i64>().read() })
    }

    /// 24 bits.
    #[inline]
    pub fn access(self) -> u32 {
        self.header().access_and_kind >> 8
    }

    pub fn is_raw(self) -> bool {
        self.header().has(RAW)
    }

    /// The parity that [`EntryBox::set_cut`] has left.
    #[inline]
    pub fn cut(self) -> bool {
        self.header().has(CUT)
    }

    /// Bytes of the entry's own allocation.
    pub fn allocated_bytes(self) -> usize {
        let header = self.header();
        size_class(header.used_bytes(self.key_len(header)))
    }

    /// A copy under `key`: value, expiry and access word. Heap values share their buffer, collections are copied.
    pub fn duplicate(self, key: &[u8]) -> EntryBox {
        let value = match self.value() {
            Value::String(StringValue::Integer(integer)) => NewValue::Integer(integer),
            Value::String(StringValue::Bytes(bytes)) if fits_embedded(key.len(), bytes.len()) => {
                NewValue::Embedded(bytes)
            }
            Value::String(StringValue::Bytes(bytes)) => NewValue::Heap(Bytes::copy_from_slice(bytes)),
            Value::String(StringValue::Shared(bytes)) if fits_embedded(key.len(), bytes.len()) => {
                NewValue::Embedded(bytes)
            }
            Value::String(StringValue::Shared(bytes)) => NewValue::Heap(bytes.clone()),
            Value::Object(object) => NewValue::Object(Box::new(object.clone())),
        };
        EntryBox::new(key, value, self.is_raw(), self.expiry(), self.access())
    }
}

/// An owned entry.
pub(super) struct EntryBox {
    pointer: NonNull<u8>,
}

// SAFETY: the box owns its allocation, and every payload is `Send`.
unsafe impl Send for EntryBox {}

impl EntryBox {
    /// `expiry` in Unix milliseconds, `access` 24 bits.
    pub fn new(key: &[u8], value: NewValue<'_>, raw: bool, expiry: Option<i64>, access: u32) -> Self {
        assert!(u32::try_from(key.len()).is_ok(), "a key is shorter than 4 GiB");
        let flags = if expiry.is_some() { EXPIRY } else { 0 } | if raw { RAW } else { 0 };
        let header = Header::new(value.kind(), flags, access, key.len(), value.embedded_len());
        let mut entry = EntryBox { pointer: allocate(header.layout(key.len())) };
        entry.write_header(header);
        if let Some(expiry) = expiry {
            entry.write_expiry(expiry);
        }
        // SAFETY: the allocation has room for the key at this offset and is not the caller's slice.
        unsafe {
            ptr::copy_nonoverlapping(key.as_ptr(), entry.at(header.key_offset()).as_ptr(), key.len());
        }
        entry.write_value(header, key.len(), value);
        entry
    }

    #[inline]
    pub fn borrow(&self) -> EntryRef<'_> {
        // SAFETY: the box owns the entry, and its borrow keeps everyone from changing it.
        unsafe { EntryRef::from_pointer(self.pointer) }
    }

    /// Gives up the box; [`EntryBox::from_pointer`] takes it back.
    pub fn into_pointer(self) -> NonNull<u8> {
        let pointer = self.pointer;
        std::mem::forget(self);
        pointer
    }

    /// # Safety
    /// `pointer` came from [`EntryBox::into_pointer`] and this is the only box made of it since.
    #[inline]
    pub unsafe fn from_pointer(pointer: NonNull<u8>) -> Self {
        EntryBox { pointer }
    }

    /// `access`: 24 bits.
    #[inline]
    pub fn set_access(&mut self, access: u32) {
        let mut header = self.borrow().header();
        header.access_and_kind = (access << 8) | (header.access_and_kind & 0xff);
        self.write_header(header);
    }

    /// Says to which snapshot the entry belongs: `snapshot` has the meaning. Nothing else changes it, but a new entry begins
    /// with `false`.
    #[inline]
    pub fn set_cut(&mut self, cut: bool) {
        let mut header = self.borrow().header();
        header.flags = (header.flags & !CUT) | if cut { CUT } else { 0 };
        self.write_header(header);
    }

    /// Replaces the value. Key, expiry and access word stay. Allocates only when the size class changes.
    pub fn set_value(&mut self, value: NewValue<'_>, raw: bool) {
        let old = self.borrow().header();
        let key_len = self.borrow().key_len(old);
        let flags = (old.flags & !RAW) | if raw { RAW } else { 0 };
        let new = Header::new(value.kind(), flags, old.access_and_kind >> 8, key_len, value.embedded_len());
        // SAFETY: the payload is overwritten or freed unread below.
        let old_payload = unsafe { self.take_payload(old) };
        let (old_layout, new_layout) = (old.layout(key_len), new.layout(key_len));
        if old_layout == new_layout {
            if old.key_offset() != new.key_offset() {
                // SAFETY: both ranges lie within the allocation, whose size serves both headers; the ranges may
                // overlap, which `copy` allows.
                unsafe {
                    ptr::copy(self.at(old.key_offset()).as_ptr(), self.at(new.key_offset()).as_ptr(), key_len);
                }
            }
        } else {
            let moved = EntryBox { pointer: allocate(new_layout) };
            // SAFETY: two distinct allocations; `payload_offset` bytes (header and expiry) and the key are
            // initialised in the old one and have room in the new one. The old allocation was made with
            // `old_layout`, and its payload was moved out above.
            unsafe {
                ptr::copy_nonoverlapping(self.pointer.as_ptr(), moved.pointer.as_ptr(), old.payload_offset());
                ptr::copy_nonoverlapping(
                    self.at(old.key_offset()).as_ptr(),
                    moved.at(new.key_offset()).as_ptr(),
                    key_len,
                );
                dealloc(self.pointer.as_ptr(), old_layout);
            }
            self.pointer = moved.into_pointer();
        }
        self.write_header(new);
        self.write_value(new, key_len, value);
        drop(old_payload);
    }

    /// The collection of an entry, to be changed.
    ///
    /// # Safety
    /// `pointer` came from [`EntryBox::into_pointer`], and for all of `'a` nobody else uses the entry.
    pub unsafe fn object_of<'a>(pointer: NonNull<u8>) -> Option<&'a mut Object> {
        // SAFETY: the entry is there and nobody changes it.
        let header = unsafe { EntryRef::from_pointer(pointer) }.header();
        if header.kind() != Kind::Object {
            return None;
        }
        // SAFETY: an Object's payload is an initialised Box at this offset, a multiple of 8; nobody else uses it during 'a.
        Some(unsafe { pointer.add(header.payload_offset()).cast::<Box<Object>>().as_mut() })
    }

    /// The collection of the entry, moved out: an empty one stays in its place.
    pub fn take_object(&mut self) -> Option<Object> {
        // SAFETY: the box owns the entry, and nobody else uses it while the box is borrowed.
        let object = unsafe { EntryBox::object_of(self.pointer) }?;
        Some(std::mem::replace(object, Object::Hash(Hash::default())))
    }

    /// Value, expiry and access word under another key. Unlike [`EntryRef::duplicate`] it moves collections: O(1).
    pub fn rekeyed(mut self, key: &[u8]) -> EntryBox {
        match self.take_object() {
            None => self.borrow().duplicate(key),
            Some(object) => {
                let (value, entry) = (NewValue::Object(Box::new(object)), self.borrow());
                EntryBox::new(key, value, entry.is_raw(), entry.expiry(), entry.access())
            }
        }
    }

    /// Reads out a payload that has to be dropped.
    ///
    /// # Safety
    /// `header` is the entry's, and its payload is not used after: it is overwritten or the entry freed.
    unsafe fn take_payload(&mut self, header: Header) -> OldPayload {
        let payload = self.at(header.payload_offset());
        // SAFETY: a payload of each kind is initialised, at an offset that is a multiple of 8.
        unsafe {
            match header.kind() {
                Kind::Embedded | Kind::Integer => OldPayload::Nothing,
                Kind::Heap => OldPayload::Heap(payload.cast::<Bytes>().read()),
                Kind::Object => OldPayload::Object(payload.cast::<Box<Object>>().read()),
            }
        }
    }

    /// Sets, changes or removes the expiry (Unix milliseconds).
    pub fn set_expiry(&mut self, expiry: Option<i64>) {
        let old = self.borrow().header();
        if old.has(EXPIRY) != expiry.is_some() {
            self.toggle_expiry(old);
        }
        if let Some(expiry) = expiry {
            self.write_expiry(expiry);
        }
    }

    /// Makes room for an expiry, not yet written, or closes the gap that one leaves.
    fn toggle_expiry(&mut self, old: Header) {
        let key_len = self.borrow().key_len(old);
        let new = Header { flags: old.flags ^ EXPIRY, ..old };
        let (old_layout, new_layout) = (old.layout(key_len), new.layout(key_len));
        let (from, to) = (old.payload_offset(), new.payload_offset());
        let tail_bytes = old.used_bytes(key_len) - from;
        if old_layout == new_layout {
            // SAFETY: both ranges lie within the allocation, whose size serves both headers; `copy` allows overlap.
            // A Bytes and a Box may be moved bit by bit.
            unsafe { ptr::copy(self.at(from).as_ptr(), self.at(to).as_ptr(), tail_bytes) };
        } else {
            let pointer = allocate(new_layout);
            // SAFETY: two distinct allocations with room for the tail at these offsets; the old one was made with
            // `old_layout`, and its payload has moved on.
            unsafe {
                ptr::copy_nonoverlapping(self.at(from).as_ptr(), pointer.add(to).as_ptr(), tail_bytes);
                dealloc(self.pointer.as_ptr(), old_layout);
            }
            self.pointer = pointer;
        }
        self.write_header(new);
    }

    /// Takes the buffer of a heap value out and leaves an empty one, so that it can be changed and put back with
    /// [`EntryBox::set_value`].
    pub fn take_heap(&mut self) -> Option<Bytes> {
        let header = self.borrow().header();
        (header.kind() == Kind::Heap).then(|| {
            // SAFETY: a Heap's payload is an initialised Bytes; another one takes its place.
            unsafe { self.at(header.payload_offset()).cast::<Bytes>().replace(Bytes::new()) }
        })
    }

    #[inline]
    fn at(&self, offset: usize) -> NonNull<u8> {
        self.borrow().at(offset)
    }

    #[inline]
    fn write_header(&mut self, header: Header) {
        // SAFETY: every allocation has room for a header and is aligned to 8.
        unsafe { self.pointer.cast::<Header>().write(header) };
    }

    fn write_expiry(&mut self, expiry: i64) {
        debug_assert!(self.borrow().header().has(EXPIRY));
        // SAFETY: with EXPIRY in the header, 8 bytes behind it are the expiry's.
        unsafe { self.at(HEADER_BYTES).cast::<i64>().write(expiry) };
    }

    /// Writes the payload, a wide key's length and an embedded value. The key stands already where `header` says.
    fn write_value(&mut self, header: Header, key_len: usize, value: NewValue<'_>) {
        let payload = self.at(header.payload_offset());
        // SAFETY: the allocation was made for `header` and `key_len`, so that the offsets are within it; the
        // payload is aligned to 8, the wide length to 4; what is overwritten was moved out or needs no drop;
        // `value` is borrowed from outside this entry, because the entry is borrowed mutably.
        unsafe {
            if header.has(WIDE_KEY) {
                let len = u32::try_from(key_len).expect("checked when the entry was made");
                self.at(header.key_offset() - WIDE_BYTES).cast::<u32>().write(len);
            }
            match value {
                NewValue::Integer(integer) => payload.cast::<i64>().write(integer),
                NewValue::Heap(bytes) => payload.cast::<Bytes>().write(bytes),
                NewValue::Object(object) => payload.cast::<Box<Object>>().write(object),
                NewValue::Embedded(bytes) => ptr::copy_nonoverlapping(
                    bytes.as_ptr(),
                    self.at(header.key_offset() + key_len).as_ptr(),
                    bytes.len(),
                ),
            }
        }
    }
}

impl Drop for EntryBox {
    fn drop(&mut self) {
        let header = self.borrow().header();
        let layout = header.layout(self.borrow().key_len(header));
        // SAFETY: the box owns the allocation, made with this layout, and its payload, which nobody reads after.
        unsafe {
            drop(self.take_payload(header));
            dealloc(self.pointer.as_ptr(), layout);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string<'a>(key: &[u8], value: &'a [u8]) -> NewValue<'a> {
        if fits_embedded(key.len(), value.len()) {
            NewValue::Embedded(value)
        } else {
            NewValue::Heap(Bytes::copy_from_slice(value))
        }
    }

    fn bytes_of(entry: &EntryBox) -> Vec<u8> {
        entry.borrow().value().string().expect("only strings are made here").to_vec()
    }

    #[test]
    fn sixteen_and_sixteen_take_48_bytes_with_and_without_expiry() {
        let mut entry = EntryBox::new(&[b'k'; 16], NewValue::Embedded(&[b'v'; 16]), false, None, 0);
        assert_eq!(entry.borrow().header().used_bytes(16), 40);
        assert_eq!(entry.borrow().allocated_bytes(), 48);
        let before = entry.pointer;
        entry.set_expiry(Some(1));
        assert_eq!(entry.borrow().allocated_bytes(), 48);
        assert_eq!(entry.pointer, before);
        assert_eq!(entry.borrow().key(), [b'k'; 16]);
        assert_eq!(bytes_of(&entry), [b'v'; 16]);
    }

    #[test]
    fn size_classes_match_the_allocator() {
        let classes = [
            (1, 16),
            (16, 16),
            (17, 32),
            (40, 48),
            (49, 64),
            (65, 80),
            (113, 128),
            (129, 160),
            (160, 160),
            (161, 192),
            (256, 256),
            (257, 320),
            (1000, 1024),
            (1025, 1280),
            (4096, 4096),
            (4097, 4160),
        ];
        for (bytes, class) in classes {
            assert_eq!(size_class(bytes), class, "{bytes}");
        }
    }

    #[test]
    fn every_kind_changes_into_every_kind_with_any_key_and_expiry() {
        let key_lens: &[usize] =
            if cfg!(miri) { &[0, 16, 70_000] } else { &[0, 1, 8, 16, 17, 100, 239, 240, 300, 65_535, 65_536, 70_000] };
        let long = vec![b'x'; 500];
        let values: [&[u8]; 5] = [b"", b"short", &long[..16], &long[..190], &long];
        for &key_len in key_lens {
            let key: Vec<u8> = (0..key_len).map(|i| i as u8).collect();
            let mut entry = EntryBox::new(&key, NewValue::Integer(-5), false, None, 0xabcdef);
            for round in 0..3 {
                for (i, from) in values.iter().enumerate() {
                    for to in &values {
                        let expiry = [None, Some(i64::MIN), Some(i64::MAX)][(round + i) % 3];
                        entry.set_value(string(&key, from), true);
                        entry.set_expiry(expiry);
                        assert_eq!((bytes_of(&entry).as_slice(), entry.borrow().is_raw()), (*from, true));
                        entry.set_value(NewValue::Integer(i64::MIN), false);
                        assert_eq!(bytes_of(&entry), i64::MIN.to_string().into_bytes());
                        entry.set_value(string(&key, to), false);
                        assert_eq!((bytes_of(&entry).as_slice(), entry.borrow().is_raw()), (*to, false));
                        assert_eq!(entry.borrow().expiry(), expiry);
                        assert_eq!(entry.borrow().key(), key);
                        assert_eq!(entry.borrow().access(), 0xabcdef);
                    }
                }
            }
            let copy = entry.borrow().duplicate(b"other");
            assert_eq!((copy.borrow().key(), bytes_of(&copy)), (&b"other"[..], bytes_of(&entry)));
            assert_eq!(copy.borrow().expiry(), entry.borrow().expiry());
        }
    }

    #[test]
    fn an_integer_changes_in_place() {
        let mut entry = EntryBox::new(b"counter", NewValue::Integer(1), false, None, 7);
        let before = entry.pointer;
        entry.set_value(NewValue::Integer(i64::MAX), false);
        entry.set_access(0xffffff);
        assert_eq!(entry.pointer, before);
        assert_eq!((bytes_of(&entry), entry.borrow().access()), (i64::MAX.to_string().into_bytes(), 0xffffff));
    }

    #[test]
    fn a_taken_buffer_is_unique_and_leaves_an_empty_value() {
        let mut entry = EntryBox::new(b"k", NewValue::Heap(Bytes::from(vec![1; 300])), true, Some(9), 0);
        let taken = entry.take_heap().expect("a heap value");
        assert!(taken.is_unique());
        assert_eq!(bytes_of(&entry), b"");
        assert!(EntryBox::new(b"k", NewValue::Integer(1), false, None, 0).take_heap().is_none());
    }
}
