//! The allocator: mimalloc, with bytes counted per thread so that a core knows what it uses.
//!
//! A core may free what another one allocated (a batch that crossed the mesh); a thread's balance may then be negative, the
//! sum over all threads is right. Counting costs an addition on a thread's own cache line.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

use mimalloc::MiMalloc;

use crate::command::core::MemoryFigures;

thread_local! {
    static ALLOCATED_BYTES: Cell<i64> = const { Cell::new(0) };
}

/// The counting allocator; `main` installs it.
pub struct CountingAllocator;

/// What the allocator really takes for a request: 16-byte steps up to 128, then eight steps per doubling.
const fn size_class(bytes: usize) -> i64 {
    if bytes <= 8 {
        return 8;
    }
    if bytes <= 128 {
        return ((bytes + 15) & !15) as i64;
    }
    let step = 1usize << (usize::BITS - (bytes - 1).leading_zeros() - 1).saturating_sub(2);
    ((bytes + step - 1) & !(step - 1)) as i64
}

fn count(bytes: i64) {
    // After the thread's locals are gone nobody asks any more.
    let _ = ALLOCATED_BYTES.try_with(|total| total.set(total.get() + bytes));
}

// SAFETY: every call is passed on to mimalloc unchanged; counting touches only a thread-local integer.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size_class(layout.size()));
        // SAFETY: the caller's contract is mimalloc's.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-size_class(layout.size()));
        // SAFETY: the caller's contract is mimalloc's.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(size_class(layout.size()));
        // SAFETY: the caller's contract is mimalloc's.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(size_class(new_size) - size_class(layout.size()));
        // SAFETY: the caller's contract is mimalloc's.
        unsafe { MiMalloc.realloc(pointer, layout, new_size) }
    }
}

/// Takes the balance of a thread that has ended over.
pub fn take_over(figures: MemoryFigures) {
    count(figures.allocated_bytes);
}

/// This thread's balance.
pub fn figures() -> MemoryFigures {
    MemoryFigures { allocated_bytes: ALLOCATED_BYTES.with(Cell::get) }
}

/// Returns this thread's free pages to the system (MEMORY PURGE).
pub fn purge() {
    // SAFETY: takes no pointers; collects the calling thread's own heap.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_and_freed_balances() {
        let before = figures().allocated_bytes;
        let layout = Layout::from_size_align(1000, 8).unwrap();
        // SAFETY: a valid layout, and the block is freed with the same one.
        unsafe {
            let block = CountingAllocator.alloc(layout);
            assert!(figures().allocated_bytes >= before + 1000);
            let block = CountingAllocator.realloc(block, layout, 5000);
            assert!(figures().allocated_bytes >= before + 5000);
            CountingAllocator.dealloc(block, Layout::from_size_align(5000, 8).unwrap());
        }
        assert_eq!(figures().allocated_bytes, before);
    }

    #[test]
    fn size_classes_are_mimalloc_s() {
        // Below its alignment of 8 a block is not always of the smallest class; there are next to none of them.
        for bytes in (9..4096).chain([5000, 9000, 20000]) {
            let layout = Layout::from_size_align(bytes, 8).unwrap();
            // SAFETY: as above.
            let usable = unsafe {
                let block = MiMalloc.alloc(layout);
                let usable = libmimalloc_sys::mi_usable_size(block.cast());
                MiMalloc.dealloc(block, layout);
                usable
            };
            let counted = size_class(bytes) as usize;
            assert_eq!(counted, usable, "{bytes}");
        }
    }
}
