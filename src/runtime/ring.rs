//! The client ring: one io_uring per core, for client sockets, append-only files and all that wakes the core.
//!
//! Owns the ring, the provided receive buffers and the encoding of what was asked (`Operation`) in a
//! completion's 64 bits. Called by the turn loop of its core only (`SINGLE_ISSUER`). It never looks into the
//! bytes it moves.
//!
//! `DEFER_TASKRUN`: the kernel does its part of a completion only inside our own enter, so that packets that
//! arrive do not interrupt the core, and a turn reaps what has gathered. The price: an enter must ask for
//! events (`GETEVENTS`) or nothing ever completes; `enter` below always does.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, Fd, FsyncFlags, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

/// Bytes of one receive buffer. 64 pipelined SETs of 16 + 16 B are 4.4 KB; a larger one only cools the cache.
pub const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;
/// Receive buffers of a core, a power of two. They are handed back within the turn that received them, so this
/// bounds how many receives one enter can complete, not how many connections there are.
const RECEIVE_BUFFERS_COUNT: u16 = 128;
const BUFFER_GROUP: u16 = 0;
const SUBMISSION_ENTRIES: u32 = 1024;
const COMPLETION_ENTRIES: u32 = 8192;
/// The kernel's memory for one ring, rounded up: both queues and the table of buffers. Since about 6.14 it is counted against the limit of
/// lockable memory, for all rings of a user together.
pub const RING_BYTES: usize = 256 * 1024;

/// What a completion answers. The index is a connection's or a listener's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Accept(u32),
    Receive(u32),
    Send(u32),
    /// The bell that other cores ring.
    Bell,
    /// The timer of the periodic work.
    Tick,
    /// The timer of what is gone on with in a moment.
    Nap,
    /// The timer of the blocked client whose time is over first.
    Deadline,
    /// The signal descriptor (core 0 only).
    Signal,
    /// A cancellation; its result does not matter.
    Cancel,
    /// Bytes for this core's append-only file.
    DiskWrite,
    /// An fsync of it.
    DiskSync,
    /// Other nodes wait to be let in at this listener of the bus (core 0 only, as all of the bus).
    BusAccept(u32),
    /// This link of the bus can be read from, or written to.
    BusRead(u32),
    BusWrite(u32),
    /// The timer of the cluster's periodic work.
    BusTick,
    /// This connection to a target of MIGRATE can be read from, or written to.
    MoveRead(u32),
    MoveWrite(u32),
}

impl Operation {
    const fn encode(self) -> u64 {
        let (kind, index) = match self {
            Operation::Accept(i) => (1u64, i),
            Operation::Receive(i) => (2, i),
            Operation::Send(i) => (3, i),
            Operation::Bell => (4, 0),
            Operation::Tick => (5, 0),
            Operation::Signal => (6, 0),
            Operation::Cancel => (7, 0),
            Operation::Nap => (8, 0),
            Operation::Deadline => (9, 0),
            Operation::DiskWrite => (10, 0),
            Operation::DiskSync => (11, 0),
            Operation::BusAccept(i) => (12, i),
            Operation::BusRead(i) => (13, i),
            Operation::BusWrite(i) => (14, i),
            Operation::BusTick => (15, 0),
            Operation::MoveRead(i) => (16, i),
            Operation::MoveWrite(i) => (17, i),
        };
        kind << 32 | index as u64
    }

    fn decode(bits: u64) -> Operation {
        let index = bits as u32;
        match bits >> 32 {
            1 => Operation::Accept(index),
            2 => Operation::Receive(index),
            3 => Operation::Send(index),
            4 => Operation::Bell,
            5 => Operation::Tick,
            6 => Operation::Signal,
            7 => Operation::Cancel,
            8 => Operation::Nap,
            9 => Operation::Deadline,
            10 => Operation::DiskWrite,
            11 => Operation::DiskSync,
            12 => Operation::BusAccept(index),
            13 => Operation::BusRead(index),
            14 => Operation::BusWrite(index),
            15 => Operation::BusTick,
            16 => Operation::MoveRead(index),
            17 => Operation::MoveWrite(index),
            kind => unreachable!("a completion of a kind this ring never submits: {kind}"),
        }
    }
}

/// One finished (or, for multishot operations, one more) result.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    pub operation: Operation,
    /// Bytes moved or a descriptor when >= 0, else a negated errno.
    pub result: i32,
    /// The receive buffer that the bytes lie in, if any; goes back with `recycle`.
    pub buffer: Option<u16>,
    /// A multishot operation goes on; without it, it has to be submitted again.
    pub more: bool,
}

/// What a send does when its socket is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Completes at once: with what the socket has taken, or with EAGAIN.
    None,
    /// Waits until the socket has taken everything.
    Waits,
}

impl Patience {
    fn flags(self) -> i32 {
        let flags = match self {
            Patience::None => libc::MSG_DONTWAIT,
            Patience::Waits => libc::MSG_WAITALL,
        };
        flags | libc::MSG_NOSIGNAL
    }
}

/// The client ring of one core.
pub struct ClientRing {
    ring: IoUring,
    buffers: ReceiveBuffers,
    tick: Box<Timespec>,
    nap: Box<Timespec>,
    deadline: Box<Timespec>,
    bus_tick: Box<Timespec>,
}

impl ClientRing {
    /// Sets the ring up on the calling thread, which becomes its only user.
    ///
    /// # Errors
    /// What the kernel says when io_uring is forbidden, too old or short of memory (see `preflight`).
    pub fn new() -> io::Result<ClientRing> {
        let ring = ClientRing::bare()?;
        let buffers = ReceiveBuffers::register(&ring)?;
        let timer = Box::<Timespec>::default;
        Ok(ClientRing { ring, buffers, tick: timer(), nap: timer(), deadline: timer(), bus_tick: timer() })
    }

    /// The ring without what is registered with it: as much of the kernel's memory as a core needs.
    ///
    /// # Errors
    /// As `new`.
    pub fn bare() -> io::Result<IoUring> {
        IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(COMPLETION_ENTRIES)
            .build(SUBMISSION_ENTRIES)
    }

    fn push(&mut self, entry: squeue::Entry) {
        loop {
            // SAFETY: every entry is built below from descriptors and buffers that outlive the operation: the
            // caller keeps a connection's slot, descriptor and bytes until its operations have completed.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            // The queue is full: hand it to the kernel. EBUSY/EINTR leave room or come round again.
            let _ = self.ring.submit();
        }
    }

    /// Accepts connections on `listener` until cancelled.
    pub fn accept(&mut self, listener: u32, fd: RawFd) {
        let entry = opcode::AcceptMulti::new(Fd(fd)).flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
        self.push(entry.build().user_data(Operation::Accept(listener).encode()));
    }

    /// Receives into provided buffers until the peer closes, the buffers run out or it is cancelled.
    pub fn receive(&mut self, connection: u32, fd: RawFd) {
        let entry = opcode::RecvMulti::new(Fd(fd), BUFFER_GROUP);
        self.push(entry.build().user_data(Operation::Receive(connection).encode()));
    }

    /// Sends `bytes`, which must stay where they are until the completion.
    pub fn send(&mut self, connection: u32, fd: RawFd, bytes: &[u8], patience: Patience) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(Fd(fd), bytes.as_ptr(), length).flags(patience.flags());
        self.push(entry.build().user_data(Operation::Send(connection).encode()));
    }

    /// Sends the pieces that `message` names; it and they must stay until the completion.
    pub fn send_vectored(&mut self, connection: u32, fd: RawFd, message: *const libc::msghdr, patience: Patience) {
        let entry = opcode::SendMsg::new(Fd(fd), message).flags(patience.flags() as u32);
        self.push(entry.build().user_data(Operation::Send(connection).encode()));
    }

    /// Writes `bytes`, which must stay where they are until the completion, at `offset` of a file.
    pub fn write_file(&mut self, fd: RawFd, bytes: &[u8], offset: u64) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Write::new(Fd(fd), bytes.as_ptr(), length).offset(offset);
        self.push(entry.build().user_data(Operation::DiskWrite.encode()));
    }

    /// Brings a file's data, and its length, to the disk.
    pub fn sync_file(&mut self, fd: RawFd) {
        let entry = opcode::Fsync::new(Fd(fd)).flags(FsyncFlags::DATASYNC);
        self.push(entry.build().user_data(Operation::DiskSync.encode()));
    }

    /// Stops a multishot operation; it completes with ECANCELED.
    pub fn cancel(&mut self, operation: Operation) {
        let entry = opcode::AsyncCancel::new(operation.encode());
        self.push(entry.build().user_data(Operation::Cancel.encode()));
    }

    /// Completes with `operation` each time `fd` becomes readable.
    pub fn watch(&mut self, operation: Operation, fd: RawFd) {
        let entry = opcode::PollAdd::new(Fd(fd), libc::POLLIN as u32).multi(true);
        self.push(entry.build().user_data(operation.encode()));
    }

    /// Completes once with `operation` when `fd` is readable, or broken.
    pub fn await_input(&mut self, operation: Operation, fd: RawFd) {
        let entry = opcode::PollAdd::new(Fd(fd), libc::POLLIN as u32);
        self.push(entry.build().user_data(operation.encode()));
    }

    /// Completes once with `operation` when `fd` is writable, or broken.
    pub fn await_room(&mut self, operation: Operation, fd: RawFd) {
        let entry = opcode::PollAdd::new(Fd(fd), libc::POLLOUT as u32);
        self.push(entry.build().user_data(operation.encode()));
    }

    /// Completes once with `BusTick` after `delay`.
    pub fn bus_tick_after(&mut self, delay: Duration) {
        *self.bus_tick = Timespec::from(delay);
        let entry = opcode::Timeout::new(&*self.bus_tick);
        self.push(entry.build().user_data(Operation::BusTick.encode()));
    }

    /// Completes once with `Tick` after `delay`.
    pub fn tick_after(&mut self, delay: Duration) {
        *self.tick = Timespec::from(delay);
        let entry = opcode::Timeout::new(&*self.tick);
        self.push(entry.build().user_data(Operation::Tick.encode()));
    }

    /// Completes once with `Nap` after `delay`.
    pub fn nap_after(&mut self, delay: Duration) {
        *self.nap = Timespec::from(delay);
        let entry = opcode::Timeout::new(&*self.nap);
        self.push(entry.build().user_data(Operation::Nap.encode()));
    }

    /// Completes once with `Deadline` after `delay`.
    pub fn deadline_after(&mut self, delay: Duration) {
        *self.deadline = Timespec::from(delay);
        let entry = opcode::Timeout::new(&*self.deadline);
        self.push(entry.build().user_data(Operation::Deadline.encode()));
    }

    /// Submits what is queued, lets the kernel do its deferred work, and waits for `want` completions: for as long as that
    /// takes, so there must be a timer in the ring.
    pub fn enter(&mut self, want: usize) -> io::Result<()> {
        const GETEVENTS: u32 = 1;
        let queued = {
            let mut queue = self.ring.submission();
            queue.sync();
            queue.len() as u32
        };
        let submitter = self.ring.submitter();
        // SAFETY: no entry is submitted that `push` did not vouch for.
        let result = unsafe { submitter.enter::<libc::sigset_t>(queued, want as u32, GETEVENTS, None) };
        match result {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // A signal came, or completions overflowed and must be reaped first.
                Some(libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Moves what has completed into `into`.
    pub fn reap(&mut self, into: &mut Vec<Completion>) {
        for entry in self.ring.completion() {
            into.push(Completion {
                operation: Operation::decode(entry.user_data()),
                result: entry.result(),
                buffer: cqueue::buffer_select(entry.flags()),
                more: cqueue::more(entry.flags()),
            });
        }
    }

    /// The first `length` bytes of a receive buffer that a completion named.
    pub fn received(&self, buffer: u16, length: usize) -> &[u8] {
        self.buffers.bytes(buffer, length)
    }

    /// Gives a receive buffer back to the kernel.
    pub fn recycle(&mut self, buffer: u16) {
        self.buffers.recycle(buffer);
    }
}

/// The provided buffers: a table of entries that the kernel takes from the head of and we append to, and the
/// memory they point into. One anonymous mapping each, so that untouched buffers cost nothing.
struct ReceiveBuffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    tail: u16,
}

impl ReceiveBuffers {
    fn register(ring: &IoUring) -> io::Result<ReceiveBuffers> {
        let table_bytes = RECEIVE_BUFFERS_COUNT as usize * size_of::<BufRingEntry>();
        let entries = map_anonymous(table_bytes)?.cast::<BufRingEntry>();
        let memory = map_anonymous(RECEIVE_BUFFERS_COUNT as usize * RECEIVE_BUFFER_BYTES)?;
        // SAFETY: both mappings are page-aligned, large enough, and live as long as the ring (they are never unmapped:
        // a core's ring ends with the process).
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                entries.as_ptr() as u64,
                RECEIVE_BUFFERS_COUNT,
                BUFFER_GROUP,
                0,
            )?;
        }
        let mut buffers = ReceiveBuffers { entries, memory, tail: 0 };
        for id in 0..RECEIVE_BUFFERS_COUNT {
            buffers.recycle(id);
        }
        Ok(buffers)
    }

    fn bytes(&self, buffer: u16, length: usize) -> &[u8] {
        assert!(buffer < RECEIVE_BUFFERS_COUNT && length <= RECEIVE_BUFFER_BYTES);
        // SAFETY: in range of the mapping (asserted); the kernel does not write to a buffer between the completion that
        // named it and `recycle`, which needs `&mut self` and so cannot happen while this slice lives.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(buffer as usize * RECEIVE_BUFFER_BYTES), length) }
    }

    fn recycle(&mut self, buffer: u16) {
        assert!(buffer < RECEIVE_BUFFERS_COUNT);
        let position = (self.tail & (RECEIVE_BUFFERS_COUNT - 1)) as usize;
        // SAFETY: position and buffer are in range of the two mappings; entry 0's tail field is shared with the kernel,
        // which only reads it: it is written through an atomic, after the entry.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(position);
            entry.set_addr(self.memory.as_ptr().add(buffer as usize * RECEIVE_BUFFER_BYTES) as u64);
            entry.set_len(RECEIVE_BUFFER_BYTES as u32);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.entries.as_ptr()) as *const AtomicU16;
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

fn map_anonymous(bytes: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a fresh private mapping with no address wish; the result is checked.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(address.cast()).ok_or_else(io::Error::last_os_error)
}

impl AsRawFd for ClientRing {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}
