//! What goes from the thread that reads to the cores: parcels, and the queues that they go through and come back by.
//!
//! A parcel is what one chunk of a file has for one core: places in the chunk, no copies. Cores give spent parcels back, so that
//! memory is freed by the thread that allocated it (the allocator counts by thread), and so that the reader knows when all that
//! it has handed out is done.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use crate::base::clock::UnixMillis;
use crate::base::core_id::CoreId;
use crate::base::hex::HexId;
use crate::base::slot::Slot;
use crate::command::table::CommandId;
use crate::keyspace::StoredAccess;
use crate::resp::Span;
use crate::runtime::mesh::Bells;
use crate::runtime::persistence::append_only::{AppendFile, Folder};

/// Parcels under way to one core.
const PARCELS_MAX: usize = 16;
/// Longest that the reader waits for a core before it looks again.
const WAIT_MAX: Duration = Duration::from_millis(20);

/// What the reader and all cores look at.
pub struct Shared {
    pub total_bytes: u64,
    pub handed_bytes: AtomicU64,
    /// `used-mem` of the snapshot.
    pub written_with_bytes: AtomicU64,
    pub keys_loaded: AtomicU64,
    pub keys_expired: AtomicU64,
    /// Collections without elements, which old versions have written.
    pub keys_empty: AtomicU64,
    /// `key-load-delay`, as it is now.
    pub key_delay_us: AtomicI32,
    /// Something is wrong with a value: the reader need not go on.
    pub has_failed: AtomicBool,
    /// What it is, the first time.
    failure: Mutex<Option<String>>,
    /// The folder of append-only files and the files that the cores go on with, left for core 0.
    folder: Mutex<Option<(Folder, Vec<AppendFile>)>>,
    /// Slots that were on their way to the node of a snapshot, as `SLOT_IMPORT_FACT` has them.
    imports: Mutex<Vec<String>>,
    /// What the snapshot says of the history that it belongs to, left for core 0.
    history: Mutex<HistoryFacts>,
    reader: OnceLock<Thread>,
}

/// The place of a snapshot in a history: its AUX fields `repl-id`, `repl-offset` and `repl-stream-db`.
#[derive(Clone, Copy, Debug, Default)]
pub struct HistoryFacts {
    pub id: Option<HexId>,
    pub place: Option<u64>,
    /// The database that the stream has selected there.
    pub db: Option<u16>,
}

impl Shared {
    pub fn new(total_bytes: u64, key_delay_us: i32) -> Shared {
        Shared {
            total_bytes,
            handed_bytes: AtomicU64::new(0),
            written_with_bytes: AtomicU64::new(0),
            keys_loaded: AtomicU64::new(0),
            keys_expired: AtomicU64::new(0),
            keys_empty: AtomicU64::new(0),
            key_delay_us: AtomicI32::new(key_delay_us),
            has_failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            folder: Mutex::new(None),
            imports: Mutex::new(Vec::new()),
            history: Mutex::new(HistoryFacts::default()),
            reader: OnceLock::new(),
        }
    }

    /// A core has met damage.
    pub fn fail(&self, line: String) {
        let mut failure = self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        failure.get_or_insert(line);
        self.has_failed.store(true, Ordering::Release);
    }

    pub fn leave_folder(&self, folder: Folder, files: Vec<AppendFile>) {
        *self.folder.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((folder, files));
    }

    pub fn take_folder(&self) -> Option<(Folder, Vec<AppendFile>)> {
        self.folder.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    pub fn note_import(&self, import: String) {
        self.imports.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(import);
    }

    pub fn take_imports(&self) -> Vec<String> {
        std::mem::take(&mut *self.imports.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Enters what was found of the history.
    pub fn note_history(&self, note: impl FnOnce(&mut HistoryFacts)) {
        note(&mut self.history.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    pub fn history(&self) -> HistoryFacts {
        *self.history.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// Bytes of a chunk, from its start.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub start: usize,
    pub length: usize,
}

impl Place {
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start..self.start + self.length]
    }
}

/// A key and its value.
pub struct KeyItem {
    pub key: Place,
    /// The key was compressed: its place is in the parcel's `unpacked`.
    pub is_unpacked: bool,
    pub kind: u8,
    pub db: u16,
    pub slot: Slot,
    pub value: Place,
    pub expiry: Option<UnixMillis>,
    pub access: StoredAccess,
}

/// A command.
pub struct CommandItem {
    pub command: CommandId,
    pub db: u16,
    pub slot: Option<Slot>,
    pub place: Place,
    /// The end of its words in the parcel's `spans`.
    pub spans_end: usize,
}

/// A chunk of a file.
#[derive(Default)]
pub struct Chunk {
    pub bytes: Vec<u8>,
    /// Where in the file it begins.
    pub offset: u64,
    pub file: Arc<str>,
}

/// What one chunk has for one core.
#[derive(Default)]
pub struct Parcel {
    pub chunk: Arc<Chunk>,
    pub keys: Vec<KeyItem>,
    pub unpacked: Vec<u8>,
    pub commands: Vec<CommandItem>,
    /// Libraries of functions, for core 0; they come before the rest.
    pub libraries: Vec<Vec<u8>>,
    pub spans: Vec<Span>,
    /// The last one.
    pub is_end: bool,
}

impl Parcel {
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.commands.is_empty() && self.libraries.is_empty() && !self.is_end
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.unpacked.clear();
        self.commands.clear();
        self.libraries.clear();
        self.spans.clear();
    }
}

/// A core's end.
pub struct Inbox {
    to: Consumer<Parcel>,
    back: Producer<Parcel>,
    pub shared: Arc<Shared>,
}

impl Inbox {
    pub fn is_empty(&self) -> bool {
        self.to.is_empty()
    }

    pub fn receive(&mut self) -> Option<Parcel> {
        self.to.pop().ok()
    }

    /// Gives a spent parcel back.
    pub fn give_back(&mut self, parcel: Parcel) {
        // There is room for as many as are under way. Without a reader nobody waits for it.
        let _ = self.back.push(parcel);
        if let Some(reader) = self.shared.reader.get() {
            reader.unpark();
        }
    }
}

/// The reader's end.
pub struct Dealer {
    to: Vec<Producer<Parcel>>,
    back: Vec<Consumer<Parcel>>,
    bells: Bells,
    pub shared: Arc<Shared>,
    /// By core, what is being gathered.
    gathering: Vec<Parcel>,
    spare: Vec<Parcel>,
    spare_buffers: Vec<Vec<u8>>,
    under_way: usize,
}

/// The node ends: nobody takes parcels any more.
pub struct Ended;

/// The ends of the queues of one loading.
pub fn connect(cores_count: usize, shared: &Arc<Shared>, bells: Bells) -> (Dealer, Vec<Inbox>) {
    let (mut producers, mut consumers, mut inboxes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..cores_count {
        let (producer, to) = RingBuffer::new(PARCELS_MAX);
        let (back, consumer) = RingBuffer::new(PARCELS_MAX + 1);
        producers.push(producer);
        consumers.push(consumer);
        inboxes.push(Inbox { to, back, shared: shared.clone() });
    }
    let dealer = Dealer {
        to: producers,
        back: consumers,
        bells,
        shared: shared.clone(),
        gathering: (0..cores_count).map(|_| Parcel::default()).collect(),
        spare: Vec::new(),
        spare_buffers: Vec::new(),
        under_way: 0,
    };
    (dealer, inboxes)
}

impl Dealer {
    /// The calling thread is the one that reads, and is woken when parcels come back.
    pub fn begin(&self) {
        let _ = self.shared.reader.set(std::thread::current());
    }

    pub fn cores(&self) -> impl ExactSizeIterator<Item = CoreId> + use<> {
        (0..self.to.len()).map(CoreId::new)
    }

    /// What the chunk being read has for a core.
    pub fn parcel(&mut self, core: CoreId) -> &mut Parcel {
        &mut self.gathering[core.index()]
    }

    /// An empty buffer for a chunk.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.take_back();
        self.spare_buffers.pop().unwrap_or_default()
    }

    /// Hands out what was gathered from a chunk.
    ///
    /// # Errors
    /// When the node ends.
    pub fn hand_out(&mut self, chunk: Chunk) -> Result<(), Ended> {
        let handed_bytes = chunk.bytes.len() as u64;
        let chunk = Arc::new(chunk);
        for index in 0..self.to.len() {
            if !self.gathering[index].is_empty() {
                let next = self.spare.pop().unwrap_or_default();
                let mut parcel = std::mem::replace(&mut self.gathering[index], next);
                parcel.chunk = chunk.clone();
                self.push(index, parcel)?;
            }
        }
        self.shared.handed_bytes.fetch_add(handed_bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until the cores have done all they were given.
    ///
    /// # Errors
    /// When the node ends.
    pub fn settle(&mut self) -> Result<(), Ended> {
        loop {
            self.take_back();
            if self.under_way == 0 {
                return Ok(());
            }
            self.wait()?;
        }
    }

    /// Tells every core that this was all; what is given back after is not waited for.
    ///
    /// # Errors
    /// When the node ends.
    pub fn end(mut self) -> Result<(), Ended> {
        for index in 0..self.to.len() {
            self.push(index, Parcel { is_end: true, ..Parcel::default() })?;
        }
        self.settle()
    }

    fn push(&mut self, index: usize, mut parcel: Parcel) -> Result<(), Ended> {
        loop {
            match self.to[index].push(parcel) {
                Ok(()) => break,
                Err(PushError::Full(back)) => parcel = back,
            }
            self.take_back();
            self.wait()?;
        }
        self.under_way += 1;
        self.bells.ring(CoreId::new(index));
        Ok(())
    }

    fn wait(&self) -> Result<(), Ended> {
        if self.to.iter().any(Producer::is_abandoned) {
            return Err(Ended);
        }
        std::thread::park_timeout(WAIT_MAX);
        Ok(())
    }

    fn take_back(&mut self) {
        for queue in &mut self.back {
            while let Ok(mut parcel) = queue.pop() {
                self.under_way -= 1;
                if let Ok(mut chunk) = Arc::try_unwrap(std::mem::take(&mut parcel.chunk)) {
                    chunk.bytes.clear();
                    self.spare_buffers.push(chunk.bytes);
                }
                parcel.clear();
                self.spare.push(parcel);
            }
        }
    }
}
