//! A bucket: up to 128 entries in one array, sorted by tag.
//!
//! A word of the array packs the entry's tag (the low 16 bits of its hash) above its 48-bit pointer. Hashes are
//! uniform, so the tag itself says about where in the array it stands: a search begins there and walks a few
//! words up or down within one or two cache lines, and follows a pointer only when the tags agree.
//!
//! The array grows in the steps of the allocator's size classes, so that little of it is slack. Only the table's
//! deepest buckets may grow past [`BUCKET_MAX_ENTRIES`].
//!
//! `min_expiry` is a lower bound of the expiries inside (see `expiry::coarse`): it may be too early once keys
//! went away, never too late.
//!
//! Used by `table`; knows nothing about hashes but the tag that it is told. With `entry.rs` the only file of the
//! keyspace with `unsafe`.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ptr::{self, NonNull};

use super::entry::{EntryBox, EntryRef};
use super::expiry::{NEVER, coarse};
use super::object::Object;

/// A bucket with this many entries splits before it takes another.
pub(super) const BUCKET_MAX_ENTRIES: usize = 128;

/// Capacities in words; all up to 128 are size classes of the allocator. The last ones serve buckets at the
/// table's greatest depth, which cannot split.
const CAPACITIES: [u16; 34] = [
    0, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 768, 1024, 1536,
    2048, 3072, 4096, 8192, 16384, 32768, 49152, 65535,
];

/// Words that a search compares at once.
const WINDOW_WORDS: usize = 16;

const ADDRESS_BITS: u32 = 48;
const ADDRESS_MASK: usize = (1 << ADDRESS_BITS) - 1;

/// A tag above a pointer made by `EntryBox::into_pointer`.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Word(*mut u8);

impl Word {
    fn new(tag: u16, entry: EntryBox) -> Self {
        let pointer = entry.into_pointer().as_ptr();
        assert!(pointer.addr() <= ADDRESS_MASK, "user addresses fit in 48 bits");
        Word(pointer.map_addr(|address| address | usize::from(tag) << ADDRESS_BITS))
    }

    #[inline]
    fn tag(self) -> u16 {
        (self.0.addr() >> ADDRESS_BITS) as u16
    }

    #[inline]
    fn pointer(self) -> NonNull<u8> {
        let pointer = self.0.map_addr(|address| address & ADDRESS_MASK);
        // SAFETY: `new` packed a non-null pointer of at most 48 bits.
        unsafe { NonNull::new_unchecked(pointer) }
    }
}

/// The distance of the bits that [`agreeing_words`] sets for two neighbours.
const AGREEING_BITS: u32 = u64::BITS / WINDOW_WORDS as u32;

/// One bit, at a multiple of [`AGREEING_BITS`] plus a constant below it, for each word of the window that has the tag.
#[inline]
fn agreeing_words(window: &[Word; WINDOW_WORDS], tag: u16) -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{
            __m128i, _mm_cmpeq_epi16, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_set1_epi16,
        };
        const HIGHEST_OF_EACH: u64 = 0x8888_8888_8888_8888;
        let words = window.as_ptr().cast::<__m128i>();
        let mut agreeing = 0;
        for four in (0..WINDOW_WORDS / 4).rev() {
            // SAFETY: SSE2 is part of x86-64; each load reads two of the window's words.
            let bytes = unsafe {
                let wanted = _mm_set1_epi16(tag.cast_signed());
                let low = _mm_cmpeq_epi16(_mm_loadu_si128(words.add(2 * four)), wanted);
                let high = _mm_cmpeq_epi16(_mm_loadu_si128(words.add(2 * four + 1)), wanted);
                // A byte for each 16 bits of the four words; the tag is the last of a word's four.
                _mm_movemask_epi8(_mm_packs_epi16(low, high))
            };
            agreeing = agreeing << 16 | u64::from(bytes as u16);
        }
        agreeing & HIGHEST_OF_EACH
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    {
        let bits = window.iter().enumerate();
        bits.fold(0, |agreeing, (index, word)| {
            agreeing | u64::from(word.tag() == tag) << (index as u32 * AGREEING_BITS)
        })
    }
}

/// A hint that the cache line at `pointer` will be needed; the address need not be valid.
#[inline]
fn prefetch(pointer: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: SSE is part of x86-64, and a prefetch never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(pointer.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = pointer;
}

/// An array of entries in order of their tags, owned. 16 bytes, so that a slot holds one inline.
pub(super) struct Bucket {
    /// Dangling while the capacity is 0.
    words: NonNull<Word>,
    min_expiry: u32,
    len: u16,
    /// Index into [`CAPACITIES`].
    capacity_step: u8,
    depth: u8,
}

// SAFETY: a bucket owns its array and its entries, which are `Send`; nothing else points to them.
unsafe impl Send for Bucket {}

const _: () = assert!(size_of::<Bucket>() == 16 && size_of::<Word>() == 8);

impl Bucket {
    /// An empty bucket, without an allocation, whose keys agree in the first `depth` bits of their hashes.
    pub const fn new(depth: u8) -> Self {
        Bucket { words: NonNull::dangling(), min_expiry: NEVER, len: 0, capacity_step: 0, depth }
    }

    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Bits of the hash that all keys of this bucket share.
    #[inline]
    pub fn depth(&self) -> u8 {
        self.depth
    }

    pub fn set_depth(&mut self, depth: u8) {
        self.depth = depth;
    }

    /// The lower bound of the expiries, `NEVER` when no key has one.
    #[inline]
    pub fn min_expiry(&self) -> u32 {
        self.min_expiry
    }

    /// Lowers the bound to `expiry` (Unix milliseconds).
    pub fn note_expiry(&mut self, expiry: i64) {
        self.min_expiry = self.min_expiry.min(coarse(expiry));
    }

    /// Computes the bound anew: one visit of each entry.
    pub fn refresh_min_expiry(&mut self) {
        self.min_expiry = self.entries().filter_map(EntryRef::expiry).map(coarse).min().unwrap_or(NEVER);
    }

    /// Bytes of the array.
    pub fn allocated_bytes(&self) -> usize {
        self.capacity() * size_of::<Word>()
    }

    fn capacity(&self) -> usize {
        usize::from(CAPACITIES[usize::from(self.capacity_step)])
    }

    #[inline]
    fn words(&self) -> &[Word] {
        // SAFETY: the first `len` words are initialised; with capacity 0 the pointer is aligned and `len` is 0.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.len()) }
    }

    /// Searches the entries with `tag` for one that `matches`.
    #[inline]
    pub fn find(&self, tag: u16, mut matches: impl FnMut(EntryRef<'_>) -> bool) -> Option<usize> {
        let words = self.words();
        if let Some((first, window)) = self.window(tag) {
            // All words of the window at once, without a branch for each: the processor guesses right that one agrees and
            // fetches its entry while the words are still on their way.
            let mut agreeing = agreeing_words(window, tag);
            while agreeing != 0 {
                let index = first + (agreeing.trailing_zeros() / AGREEING_BITS) as usize;
                if matches(self.entry_of(words[index])) {
                    return Some(index);
                }
                agreeing &= agreeing - 1;
            }
            if window[0].tag() < tag && window[WINDOW_WORDS - 1].tag() > tag {
                return None;
            }
        }
        let first = self.lower_bound(tag);
        let agreeing = words[first..].iter().take_while(|word| word.tag() == tag);
        (first..).zip(agreeing).find(|(_, word)| matches(self.entry_of(**word))).map(|(index, _)| index)
    }

    /// The words around the place where `tag` is likely to stand, and the index of the first; `None` in a small bucket.
    #[inline]
    fn window(&self, tag: u16) -> Option<(usize, &[Word; WINDOW_WORDS])> {
        let words = self.words();
        let last = words.len().checked_sub(WINDOW_WORDS)?;
        let first = self.likely_index(tag).saturating_sub(WINDOW_WORDS / 2).min(last);
        Some((first, words[first..].first_chunk()?))
    }

    /// Asks the processor for the words that a search for `tag` will compare. Touches nothing itself.
    #[inline]
    pub fn prefetch_words(&self, tag: u16) {
        let first = self.likely_index(tag).saturating_sub(WINDOW_WORDS / 2);
        // Sixteen words lie in three cache lines at most; past the end of a small array it does no harm.
        let pointer = self.words.as_ptr().wrapping_add(first);
        prefetch(pointer.cast());
        prefetch(pointer.wrapping_add(WINDOW_WORDS / 2).cast());
        prefetch(pointer.wrapping_add(WINDOW_WORDS - 1).cast());
    }

    /// Asks the processor for the entry at `index`, if there is one.
    #[inline]
    pub fn prefetch_at(&self, index: usize) {
        if let Some(word) = self.words().get(index) {
            prefetch(word.pointer().as_ptr());
        }
    }

    /// Asks the processor for the entry with this tag, of several for any one.
    #[inline]
    pub fn prefetch_entry(&self, tag: u16) {
        if let Some(index) = self.find(tag, |_| true) {
            let pointer = self.words()[index].pointer().as_ptr();
            prefetch(pointer);
            // Half of the smallest entries lie across two lines.
            prefetch(pointer.wrapping_add(40));
        }
    }

    /// Tags are uniform: this is where the tag stands but for a few places (sqrt(len) / 2 as a rule).
    #[inline]
    fn likely_index(&self, tag: u16) -> usize {
        (usize::from(tag) * self.len()) >> u16::BITS
    }

    /// The index of the first entry whose tag is at least `tag`; `len` when there is none.
    #[inline]
    pub fn lower_bound(&self, tag: u16) -> usize {
        let words = self.words();
        let mut index = self.likely_index(tag);
        while let Some(word) = words.get(index)
            && word.tag() < tag
        {
            index += 1;
        }
        while index > 0
            && let Some(word) = words.get(index - 1)
            && word.tag() >= tag
        {
            index -= 1;
        }
        index
    }

    #[inline]
    fn entry_of(&self, word: Word) -> EntryRef<'_> {
        // SAFETY: words hold pointers of entries that this bucket owns; borrowing the bucket keeps them as they are.
        unsafe { EntryRef::from_pointer(word.pointer()) }
    }

    #[inline]
    pub fn tag(&self, index: usize) -> u16 {
        self.words()[index].tag()
    }

    #[inline]
    pub fn entry(&self, index: usize) -> EntryRef<'_> {
        self.entry_of(self.words()[index])
    }

    pub fn entries(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.words().iter().map(|word| self.entry_of(*word))
    }

    /// Lends the entry out to be changed; it may move to another allocation.
    #[inline]
    pub fn with_entry<R>(&mut self, index: usize, change: impl FnOnce(&mut EntryBox) -> R) -> R {
        /// Puts the entry's pointer, perhaps a new one, back into its word, also when `change` panics.
        struct Lent<'a> {
            word: &'a mut Word,
            entry: std::mem::ManuallyDrop<EntryBox>,
        }
        impl Drop for Lent<'_> {
            fn drop(&mut self) {
                // SAFETY: taken once, here, and the guard is not used again.
                let entry = unsafe { std::mem::ManuallyDrop::take(&mut self.entry) };
                *self.word = Word::new(self.word.tag(), entry);
            }
        }
        assert!(index < self.len());
        // SAFETY: the word is initialised, and the bucket is borrowed mutably.
        let word = unsafe { self.words.add(index).as_mut() };
        // SAFETY: the bucket owns the entry; until the guard puts it back nobody else uses the word.
        let entry = std::mem::ManuallyDrop::new(unsafe { EntryBox::from_pointer(word.pointer()) });
        let mut lent = Lent { word, entry };
        change(&mut lent.entry)
    }

    /// The collection of the entry, to be changed. It lies in a box of its own: the entry does not move.
    pub fn object_mut(&mut self, index: usize) -> Option<&mut Object> {
        assert!(index < self.len());
        let word = self.words()[index];
        // SAFETY: the bucket owns the entry and is borrowed mutably for as long as the collection is.
        unsafe { EntryBox::object_of(word.pointer()) }
    }

    /// Inserts before `index`, where [`Bucket::lower_bound`] says that `tag` belongs.
    pub fn insert(&mut self, index: usize, tag: u16, entry: EntryBox) {
        let len = self.len();
        assert!(index <= len);
        debug_assert!(index == 0 || self.tag(index - 1) <= tag);
        debug_assert!(index == len || self.tag(index) >= tag);
        if len == self.capacity() {
            self.set_capacity_step(self.capacity_step + 1);
        }
        if let Some(expiry) = entry.borrow().expiry() {
            self.note_expiry(expiry);
        }
        // SAFETY: there is room for `len + 1` words; `len - index` of them move up by one.
        unsafe {
            let at = self.words.add(index);
            ptr::copy(at.as_ptr(), at.add(1).as_ptr(), len - index);
            at.write(Word::new(tag, entry));
        }
        self.len += 1;
    }

    pub fn remove(&mut self, index: usize) -> EntryBox {
        let len = self.len();
        assert!(index < len);
        // SAFETY: the word at `index` is initialised and owns its entry; the words above close the gap, so the
        // pointer leaves the array.
        let entry = unsafe {
            let at = self.words.add(index);
            let word = at.read();
            ptr::copy(at.add(1).as_ptr(), at.as_ptr(), len - index - 1);
            EntryBox::from_pointer(word.pointer())
        };
        self.len -= 1;
        self.shrink();
        entry
    }

    /// Takes the last entry.
    pub fn pop(&mut self) -> Option<EntryBox> {
        let last = self.len().checked_sub(1)?;
        Some(self.remove(last))
    }

    /// Gives room back once two steps are empty, so that an insertion right after does not take it again.
    fn shrink(&mut self) {
        let len = self.len();
        if len == 0 {
            self.set_capacity_step(0);
            self.min_expiry = NEVER;
        } else if let Some(two_below) = self.capacity_step.checked_sub(2)
            && len <= usize::from(CAPACITIES[usize::from(two_below)])
        {
            self.set_capacity_step(self.capacity_step - 1);
        }
    }

    fn set_capacity_step(&mut self, step: u8) {
        let (old, new) = (
            self.capacity(),
            usize::from(*CAPACITIES.get(usize::from(step)).expect("hashes are keyed: no bucket holds 65535 keys")),
        );
        assert!(new >= self.len());
        if old == new {
            return;
        }
        let layout = |words: usize| Layout::array::<Word>(words).expect("at most 65535 words");
        // SAFETY: empty layouts are neither requested nor freed; the old array was allocated with its capacity's
        // layout; `realloc` keeps the first `len` words, which fit in both.
        unsafe {
            let old_pointer = self.words.as_ptr().cast::<u8>();
            if new == 0 {
                dealloc(old_pointer, layout(old));
                self.words = NonNull::dangling();
            } else {
                let pointer =
                    if old == 0 { alloc(layout(new)) } else { realloc(old_pointer, layout(old), layout(new).size()) };
                self.words = NonNull::new(pointer.cast::<Word>()).unwrap_or_else(|| handle_alloc_error(layout(new)));
            }
        }
        self.capacity_step = step;
    }

    /// The least capacity for `len` words.
    fn fit(&mut self, len: usize) {
        let step = CAPACITIES.partition_point(|&capacity| usize::from(capacity) < len);
        self.set_capacity_step(step as u8);
    }

    /// Moves the entries that `goes_up` picks into a new bucket; both are one bit deeper afterwards.
    pub fn split(&mut self, mut goes_up: impl FnMut(EntryRef<'_>) -> bool) -> Bucket {
        let picked: Vec<bool> = self.words().iter().map(|word| goes_up(self.entry_of(*word))).collect();
        self.depth += 1;
        let mut upper = Bucket::new(self.depth);
        upper.fit(picked.iter().filter(|up| **up).count());
        let mut kept = 0;
        for (index, up) in picked.into_iter().enumerate() {
            // SAFETY: `index` is below `len`; `kept` is at most `index`; `upper` has room for all picked words.
            // Each word ends in exactly one of the two arrays.
            unsafe {
                let word = self.words.add(index).read();
                if up {
                    upper.words.add(upper.len()).write(word);
                    upper.len += 1;
                } else {
                    self.words.add(kept).write(word);
                    kept += 1;
                }
            }
        }
        self.len = kept as u16;
        self.fit(kept);
        self.refresh_min_expiry();
        upper.refresh_min_expiry();
        upper
    }

    /// Takes the entries of the sibling in, in order of tags; one bit shallower afterwards.
    pub fn merge(&mut self, sibling: Bucket) {
        assert_eq!(self.depth, sibling.depth);
        let mut merged = Bucket::new(self.depth - 1);
        merged.min_expiry = self.min_expiry.min(sibling.min_expiry);
        merged.fit(self.len() + sibling.len());
        let (mut ours, mut theirs) = (self.words().iter().peekable(), sibling.words().iter().peekable());
        loop {
            let word = match (ours.peek(), theirs.peek()) {
                (Some(our), Some(their)) if our.tag() > their.tag() => theirs.next(),
                (Some(_), _) => ours.next(),
                (None, _) => theirs.next(),
            };
            let Some(word) = word else { break };
            // SAFETY: there is room for the words of both.
            unsafe { merged.words.add(merged.len()).write(*word) };
            merged.len += 1;
        }
        sibling.forget_entries();
        std::mem::replace(self, merged).forget_entries();
    }

    /// Frees the array only: its entries have moved to another bucket.
    fn forget_entries(mut self) {
        self.len = 0;
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        for word in self.words() {
            // SAFETY: the bucket owns its entries, and its words are not read again.
            drop(unsafe { EntryBox::from_pointer(word.pointer()) });
        }
        self.len = 0;
        self.set_capacity_step(0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::NewValue;
    use super::*;
    use crate::base::random::Random;

    fn entry(number: usize) -> EntryBox {
        EntryBox::new(&number.to_le_bytes(), NewValue::Integer(number as i64), false, None, 0)
    }

    fn insert(bucket: &mut Bucket, tag: u16, number: usize) {
        let index = bucket.lower_bound(tag);
        bucket.insert(index, tag, entry(number));
    }

    fn find(bucket: &Bucket, tag: u16, number: usize) -> Option<usize> {
        bucket.find(tag, |entry| entry.key() == number.to_le_bytes())
    }

    fn tags(bucket: &Bucket) -> Vec<u16> {
        (0..bucket.len()).map(|index| bucket.tag(index)).collect()
    }

    /// Tags of several shapes: uniform, as hashes give them; crowded at either end; all equal; a few values only.
    fn shapes(len: usize) -> [Vec<u16>; 5] {
        let mut random = Random::new(len as u64);
        let mut draw = |end: u64, from: u16| (0..len).map(|_| from + random.below(end) as u16).collect::<Vec<u16>>();
        [draw(1 << 16, 0), draw(100, 0), draw(100, u16::MAX - 99), draw(1, 777), draw(3, 30_000)]
    }

    #[test]
    fn every_entry_is_found_and_no_other_whatever_the_tags() {
        let lens: &[usize] =
            if cfg!(miri) { &[5, 17, 40] } else { &[0, 1, 2, 7, 15, 16, 17, 40, 64, 100, 127, 128, 300] };
        for &len in lens {
            for shape in shapes(len) {
                let mut bucket = Bucket::new(0);
                for (number, tag) in shape.iter().enumerate() {
                    insert(&mut bucket, *tag, number);
                }
                assert!(tags(&bucket).is_sorted());
                for (number, tag) in shape.iter().enumerate() {
                    let index = find(&bucket, *tag, number).expect("inserted");
                    assert_eq!(bucket.entry(index).key(), number.to_le_bytes());
                    assert_eq!(find(&bucket, *tag, len + number), None);
                    assert_eq!(find(&bucket, tag.wrapping_add(7), number), None);
                }
                for tag in (0..=u16::MAX).step_by(if cfg!(miri) { 9999 } else { 97 }) {
                    assert_eq!(bucket.lower_bound(tag), tags(&bucket).partition_point(|other| *other < tag));
                }
            }
        }
    }

    #[test]
    fn split_and_merge_keep_order_and_bounds() {
        let mut bucket = Bucket::new(3);
        for (number, tag) in shapes(100)[0].iter().enumerate() {
            insert(&mut bucket, *tag, number);
        }
        let before = tags(&bucket);
        bucket.with_entry(0, |entry| entry.set_expiry(Some(i64::MAX)));
        bucket.note_expiry(i64::MAX);
        let mut upper = bucket.split(|entry| entry.key()[0] % 3 == 0);
        assert_eq!((bucket.len(), upper.len(), bucket.depth(), upper.depth()), (66, 34, 4, 4));
        assert!(tags(&bucket).is_sorted() && tags(&upper).is_sorted());
        assert!(upper.entries().all(|entry| entry.key()[0] % 3 == 0));
        assert_eq!(bucket.min_expiry().min(upper.min_expiry()), coarse(i64::MAX));
        assert_eq!(bucket.min_expiry().max(upper.min_expiry()), NEVER);
        std::mem::swap(&mut bucket, &mut upper);
        bucket.merge(upper);
        assert_eq!((tags(&bucket), bucket.depth(), bucket.min_expiry()), (before, 3, coarse(i64::MAX)));
    }

    #[test]
    fn an_emptied_bucket_keeps_no_memory() {
        let mut bucket = Bucket::new(0);
        (0..200).for_each(|number| insert(&mut bucket, number as u16, number));
        let full = bucket.allocated_bytes();
        assert!((200 * 8..=200 * 10).contains(&full));
        (0..180).for_each(|_| drop(bucket.remove(5)));
        assert!(bucket.allocated_bytes() <= 40 * 8);
        while bucket.pop().is_some() {}
        assert_eq!((bucket.allocated_bytes(), bucket.min_expiry()), (0, NEVER));
    }

    #[test]
    fn a_panic_while_an_entry_is_lent_leaves_the_bucket_whole() {
        let mut bucket = Bucket::new(0);
        insert(&mut bucket, 9, 1);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            bucket.with_entry(0, |entry| {
                entry.set_value(NewValue::Embedded(&[7; 100]), false);
                panic!("in the middle");
            })
        }));
        assert!(result.is_err());
        assert_eq!(find(&bucket, 9, 1), Some(0));
        assert_eq!(bucket.entry(0).value().string().unwrap().len(), 100);
    }
}
