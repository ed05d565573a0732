//! The thread that reads: files in their order, records and commands in them, dealt out to the cores that own the keys.
//!
//! It decodes no value and runs no command. Order is kept for every key, because one core owns it and has one queue. What
//! concerns all keys (FLUSHALL) goes through every queue: each core comes to it behind what was before it and ahead of what is
//! after, which is all that the order of a file says.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::parcel::{CommandItem, Dealer, Ended, KeyItem, Place};
use super::plan::{Plan, PlannedFile, Source};
use super::window::Window;
use crate::base::core_id::CoreId;
use crate::base::hex::HexId;
use crate::base::slot::key_slot;
use crate::command::persistence::replay::{Destination, Routes};
use crate::persist::aof::{CommandReader, Mark, Step, Units};
use crate::persist::rdb::file::SLOT_IMPORT_FACT;
use crate::persist::rdb::{ChecksumVerdict, KeyRecord, RdbError, ReaderOptions, Record, RecordReader};
use crate::resp::Span;
use crate::runtime::persistence::append_only::{Folder, Loaded};

/// What the reader does as the settings say.
#[derive(Clone, Copy, Debug)]
pub struct ReaderSettings {
    /// `rdbchecksum`.
    pub checksum: bool,
    /// `aof-load-truncated`.
    pub takes_truncated: bool,
}

/// Why loading ends early.
pub enum Failure {
    /// The node ends.
    Ended,
    /// One line for the operator.
    Fatal(String),
}

impl From<Ended> for Failure {
    fn from(_: Ended) -> Failure {
        Failure::Ended
    }
}

fn fatal<T>(line: String) -> Result<T, Failure> {
    Err(Failure::Fatal(line))
}

pub struct Reader {
    pub plan: Plan,
    pub routes: Routes,
    pub settings: ReaderSettings,
    pub dealer: Dealer,
    /// The folder of append-only files, and how many cores write to it: it is taken up when all is loaded.
    pub folder: Option<(Folder, usize)>,
    /// Keys and commands so far: every so many of them are delayed.
    pub items_count: u64,
    /// What was found in the files.
    pub found: Loaded,
}

impl Reader {
    /// Reads all files and waits until the cores are done with them.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn load(&mut self) -> Result<(), Failure> {
        self.dealer.begin();
        let begun = Instant::now();
        let files = std::mem::take(&mut self.plan.files);
        for file in &files {
            match self.plan.source {
                Source::Snapshot => self.snapshot(file)?,
                Source::AppendOnly => self.append_only(file)?,
            }
        }
        let from = match self.plan.source {
            Source::Snapshot => "disk",
            Source::AppendOnly => "append only file",
        };
        tracing::info!("DB loaded from {from}: {:.3} seconds", begun.elapsed().as_secs_f64());
        self.put_in_place()?;
        self.take_up_folder()
    }

    /// What was received from a primary becomes this node's snapshot, or goes.
    fn put_in_place(&mut self) -> Result<(), Failure> {
        let Some(afterwards) = self.plan.afterwards.take() else { return Ok(()) };
        let done = match &afterwards.becomes {
            Some(name) => fs::rename(&afterwards.path, name),
            None => fs::remove_file(&afterwards.path),
        };
        done.map_err(|error| {
            let path = afterwards.path.display();
            Failure::Fatal(format!(
                "Failed trying to rename the temp DB {path} in MASTER <-> REPLICA synchronization: {error}"
            ))
        })
    }

    /// Whether it reads a snapshot, not append-only files.
    pub fn is_of_snapshot(&self) -> bool {
        matches!(self.plan.source, Source::Snapshot)
    }

    /// The files that the cores go on with are opened here, where waiting for the disk holds nobody up.
    fn take_up_folder(&mut self) -> Result<(), Failure> {
        let Some((mut folder, writers)) = self.folder.take() else { return Ok(()) };
        let files = folder.begin(writers, &self.found).map_err(Failure::Fatal)?;
        self.dealer.shared.leave_folder(folder, files);
        Ok(())
    }

    fn snapshot(&mut self, file: &PlannedFile) -> Result<(), Failure> {
        let opened = File::open(&file.path)
            .map_err(|error| format!("Fatal error: can't open the RDB file {} for reading: {error}", file.name));
        let mut window = Window::new(opened.map_err(Failure::Fatal)?, &file.name);
        fill(&mut window, 0, file)?;
        self.records(&mut window, file)
    }

    fn append_only(&mut self, file: &PlannedFile) -> Result<(), Failure> {
        if file.bytes == 0 {
            return Ok(());
        }
        let begun = Instant::now();
        let opened = File::open(&file.path)
            .map_err(|error| format!("Fatal error: can't open the append log file {} for reading: {error}", file.name));
        let mut window = Window::new(opened.map_err(Failure::Fatal)?, &file.name);
        fill(&mut window, 0, file)?;
        if window.bytes.starts_with(b"REDIS") || window.bytes.starts_with(b"VALKEY") {
            let is_whole = file.name.ends_with(".rdb");
            if is_whole {
                tracing::info!("Reading RDB base file on AOF loading...");
            } else {
                tracing::info!("Reading RDB preamble from AOF file...");
            }
            self.records(&mut window, file)?;
            if !is_whole {
                tracing::info!("Reading the remaining AOF tail...");
            }
        }
        self.commands(&mut window, file)?;
        self.settle()?;
        let kind = if file.sequence.is_some() { "incr" } else { "base" };
        tracing::info!("DB loaded from {kind} file {}: {:.3} seconds", file.name, begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Waits until all that was handed out is done.
    fn settle(&mut self) -> Result<(), Failure> {
        self.dealer.settle()?;
        self.look_for_failure()
    }

    /// A core may have met damage that cannot be seen from here.
    fn look_for_failure(&self) -> Result<(), Failure> {
        match self.dealer.shared.has_failed.load(Ordering::Acquire) {
            true => fatal(self.dealer.shared.failure().unwrap_or_default()),
            false => Ok(()),
        }
    }

    fn cut(&mut self, window: &mut Window, count: usize) -> Result<(), Failure> {
        let buffer = self.dealer.buffer();
        self.dealer.hand_out(window.cut(count, buffer))?;
        self.look_for_failure()
    }

    /// `key-load-delay`: so many microseconds for each item, or one microsecond for every so many items.
    fn delay(&mut self) {
        self.items_count += 1;
        match self.dealer.shared.key_delay_us.load(Ordering::Relaxed) {
            0 => {}
            delay @ 1.. => std::thread::sleep(Duration::from_micros(delay.unsigned_abs().into())),
            every => {
                if self.items_count.is_multiple_of(every.unsigned_abs().into()) {
                    std::thread::sleep(Duration::from_micros(1));
                }
            }
        }
    }
}

fn fill(window: &mut Window, wanted: u64, file: &PlannedFile) -> Result<(), Failure> {
    let read = window.fill(wanted);
    read.map_err(|error| Failure::Fatal(format!("Unrecoverable error reading the file {}: {error}", file.name)))
}

// ---- snapshots --------------------------------------------------------------------------------------------------

impl Reader {
    /// Reads the records of an RDB file, which begins where the window does.
    fn records(&mut self, window: &mut Window, file: &PlannedFile) -> Result<(), Failure> {
        let options = ReaderOptions { checksum: self.settings.checksum, total_bytes: Some(file.bytes) };
        let mut reader = RecordReader::new(options);
        let damaged = |error: RdbError| damage(file, error.offset, &error.reason);
        loop {
            let mut batch = reader.batch(&window.bytes);
            while let Some(record) = batch.next_record().map_err(damaged)? {
                self.record(record, &window.bytes, file)?;
            }
            let progress = batch.end();
            self.cut(window, progress.consumed)?;
            if reader.is_finished() {
                break;
            }
            if window.is_at_end {
                return Err(damaged(reader.cut_off()));
            }
            fill(window, progress.wanted, file)?;
        }
        self.settle()?;
        let shared = &self.dealer.shared;
        let [loaded, expired, empty] =
            [&shared.keys_loaded, &shared.keys_expired, &shared.keys_empty].map(|count| count.load(Ordering::Relaxed));
        let skipped = if empty > 0 { format!(", empty keys skipped: {empty}") } else { String::new() };
        tracing::info!("Done loading RDB, keys loaded: {loaded}, keys expired: {expired}{skipped}.");
        Ok(())
    }

    #[inline]
    fn record(&mut self, record: Record<'_>, window: &[u8], file: &PlannedFile) -> Result<(), Failure> {
        match record {
            Record::Key(key) => {
                self.key(&key, window)?;
                self.delay();
            }
            Record::Aux { name, value } => self.fact(&name, &value),
            Record::Function(source) => self.dealer.parcel(CoreId::FIRST).libraries.push(source.into_owned()),
            Record::End(ChecksumVerdict::Differs { stored, computed }) => {
                let reason = format!("RDB CRC error: the checksum should be {computed:x} and is {stored:x}");
                return Err(damage(file, file.bytes.saturating_sub(8), &reason));
            }
            Record::Start(_)
            | Record::SelectDb(_)
            | Record::ResizeDb { .. }
            | Record::SlotInfo { .. }
            | Record::End(_) => {}
        }
        Ok(())
    }

    #[inline]
    fn key(&mut self, record: &KeyRecord<'_>, window: &[u8]) -> Result<(), Failure> {
        let db = self.routes.database(record.db).map_err(Failure::Fatal)?;
        let slot = key_slot(&record.key);
        let parcel = self.dealer.parcel(self.routes.owners.owner(slot));
        let (key, is_unpacked) = match &record.key {
            Cow::Borrowed(key) => (place(key, window), false),
            Cow::Owned(key) => {
                let start = parcel.unpacked.len();
                parcel.unpacked.extend_from_slice(key);
                (Place { start, length: key.len() }, true)
            }
        };
        parcel.keys.push(KeyItem {
            key,
            is_unpacked,
            kind: record.kind,
            db,
            slot,
            value: place(record.value, window),
            expiry: record.expiry,
            access: record.access,
        });
        Ok(())
    }

    /// A fact about the file, for the log.
    fn fact(&mut self, name: &[u8], value: &[u8]) {
        let text = String::from_utf8_lossy(value);
        let number = || text.parse::<i64>().unwrap_or(0);
        match name {
            b"redis-ver" | b"valkey-ver" => tracing::info!("Loading RDB produced by version {text}"),
            b"ctime" => {
                let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
                tracing::info!("RDB age {} seconds", now_s.saturating_sub(number()).max(0));
            }
            b"used-mem" => {
                let bytes = u64::try_from(number()).unwrap_or(0);
                self.dealer.shared.written_with_bytes.store(bytes, Ordering::Relaxed);
                tracing::info!("RDB memory usage when created {:.2} Mb", bytes as f64 / (1024.0 * 1024.0));
            }
            b"repl-id" => self.dealer.shared.note_history(|history| history.id = HexId::parse(value)),
            b"repl-offset" => {
                self.dealer.shared.note_history(|history| history.place = u64::try_from(number()).ok());
            }
            b"repl-stream-db" => {
                self.dealer.shared.note_history(|history| history.db = u16::try_from(number()).ok());
            }
            name if name == SLOT_IMPORT_FACT.as_bytes() => self.dealer.shared.note_import(text.into_owned()),
            b"aof-preamble" if number() != 0 => tracing::info!("RDB has an AOF tail"),
            b"aof-base" if number() != 0 => tracing::info!("RDB is base AOF"),
            _ if name.first() == Some(&b'%') => {
                tracing::info!("RDB '{}': {text}", String::from_utf8_lossy(name));
            }
            _ => tracing::trace!("RDB AUX field '{}' says nothing here", String::from_utf8_lossy(name)),
        }
    }
}

/// Where a part of the window lies in it.
fn place(part: &[u8], window: &[u8]) -> Place {
    match part.len() {
        0 => Place { start: 0, length: 0 },
        length => Place { start: part.as_ptr().addr() - window.as_ptr().addr(), length },
    }
}

fn damage(file: &PlannedFile, offset: u64, reason: &str) -> Failure {
    Failure::Fatal(format!("Internal error in RDB reading offset {offset} of {}: {reason}", file.name))
}

// ---- append-only files -------------------------------------------------------------------------------------------

/// A command whose EXEC has yet to come.
struct Queued {
    destination: Destination,
    db: u16,
    /// From where the unit begins.
    start: usize,
    length: usize,
    spans_end: usize,
}

/// Where the reader stands in a file of commands.
#[derive(Default)]
struct Position {
    units: Units,
    db: u16,
    /// Where in the window the next command begins.
    at: usize,
    /// Where in the window the open unit begins.
    unit_at: usize,
    /// The core that wrote the file.
    writer: Option<CoreId>,
    /// The file has what another core owns now.
    strays: bool,
    queue: Vec<Queued>,
    queue_spans: Vec<Span>,
}

impl Reader {
    /// Reads commands from where the window is to the end of the file.
    fn commands(&mut self, window: &mut Window, file: &PlannedFile) -> Result<(), Failure> {
        let mut reader = CommandReader::default();
        let mut position = Position::default();
        position.units.whole_bytes = window.offset;
        position.writer = file.writer.map(CoreId::new);
        loop {
            let data = &window.bytes[position.at..];
            match reader.next(data) {
                Ok(Step::Command { bytes }) => {
                    self.command(&reader, data, bytes, &mut position, window.offset)
                        .map_err(|failure| said_of(file, window.offset + position.at as u64, failure))?;
                    reader.pass();
                    position.at += bytes;
                    self.delay();
                }
                Ok(Step::Annotation { bytes }) => {
                    position.at += bytes;
                    position.units.annotation(window.offset + position.at as u64);
                }
                Ok(Step::Incomplete) => {
                    if window.is_at_end {
                        break;
                    }
                    self.go_on(window, &mut position)?;
                    fill(window, 0, file)?;
                }
                Err(damage) => {
                    let offset = window.offset + (position.at + damage.at) as u64;
                    tracing::error!(
                        "Bad file format reading the append only file {}: make a backup of your AOF file, then use \
                         slotcore check-aof --fix <filename.manifest>",
                        file.name
                    );
                    return fatal(format!(
                        "Bad file format reading the append only file {}, offset {offset}: {}",
                        file.name, damage.reason
                    ));
                }
            }
        }
        let is_whole = position.at == window.bytes.len() && !position.units.is_open;
        self.found.may_continue &= file.sequence.is_none() || file.writer.is_none() || !position.strays;
        if !is_whole {
            if position.units.is_open && position.at == window.bytes.len() {
                tracing::warn!("Revert incomplete MULTI/EXEC transaction in AOF file {}", file.name);
            }
            self.cut_short(file, position.units.whole_bytes)?;
        }
        self.go_on(window, &mut position)
    }

    /// Hands out what is whole in the window.
    fn go_on(&mut self, window: &mut Window, position: &mut Position) -> Result<(), Failure> {
        let done = if position.units.is_open { position.unit_at } else { position.at };
        if done > 0 {
            self.cut(window, done)?;
            position.at -= done;
            position.unit_at -= position.unit_at.min(done);
        }
        Ok(())
    }

    fn command(
        &mut self,
        reader: &CommandReader,
        data: &[u8],
        bytes: usize,
        position: &mut Position,
        window_offset: u64,
    ) -> Result<(), Failure> {
        let args = reader.args(data);
        let end = window_offset + (position.at + bytes) as u64;
        match position.units.command(args.get(0).unwrap_or_default(), end) {
            Mark::Begins => {
                position.unit_at = position.at;
                return Ok(());
            }
            Mark::Ends => {
                self.deal_unit(position);
                return Ok(());
            }
            Mark::Other => {}
        }
        match self.routes.destination(&args).map_err(Failure::Fatal)? {
            Destination::Select(db) => position.db = db,
            Destination::Nowhere => {}
            destination => self.own(destination, bytes, reader.spans(), position),
        }
        Ok(())
    }

    /// A command that changes data: it is dealt out, or waits for EXEC.
    #[inline]
    fn own(&mut self, destination: Destination, bytes: usize, spans: &[Span], position: &mut Position) {
        position.strays |= match destination {
            Destination::Core { core, .. } => position.writer != Some(core),
            _ => self.dealer.cores().len() > 1,
        };
        match position.units.is_open {
            true => {
                position.queue_spans.extend_from_slice(spans);
                position.queue.push(Queued {
                    destination,
                    db: position.db,
                    start: position.at - position.unit_at,
                    length: bytes,
                    spans_end: position.queue_spans.len(),
                });
            }
            false => {
                let place = Place { start: position.at, length: bytes };
                self.deal(destination, position.db, place, spans);
            }
        }
    }

    /// EXEC has come.
    fn deal_unit(&mut self, position: &mut Position) {
        let mut spans_begin = 0;
        for queued in position.queue.drain(..) {
            let place = Place { start: position.unit_at + queued.start, length: queued.length };
            let spans = &position.queue_spans[spans_begin..queued.spans_end];
            self.deal(queued.destination, queued.db, place, spans);
            spans_begin = queued.spans_end;
        }
        position.queue_spans.clear();
    }

    #[inline]
    fn deal(&mut self, destination: Destination, db: u16, place: Place, spans: &[Span]) {
        let give = |dealer: &mut Dealer, core: CoreId, command, slot| {
            let parcel = dealer.parcel(core);
            parcel.spans.extend_from_slice(spans);
            let spans_end = parcel.spans.len();
            parcel.commands.push(CommandItem { command, db, slot, place, spans_end });
        };
        match destination {
            Destination::Core { command, core, slot } => give(&mut self.dealer, core, command, slot),
            Destination::EveryCore(command) => {
                for core in self.dealer.cores() {
                    give(&mut self.dealer, core, command, None);
                }
            }
            Destination::Select(_) | Destination::Nowhere => {}
        }
    }

    /// The file ends in the middle of a unit: it is trimmed to what is whole, or refused.
    fn cut_short(&mut self, file: &PlannedFile, whole_bytes: u64) -> Result<(), Failure> {
        let name = &file.name;
        if !self.settings.takes_truncated {
            return fatal(format!(
                "Unexpected end of file reading the append only file {name}. You can: 1) Make a backup of your AOF file, \
                 then use slotcore check-aof --fix <filename.manifest>. 2) Alternatively you can set the \
                 'aof-load-truncated' configuration option to yes and restart the server."
            ));
        }
        tracing::warn!("!!! Warning: short read while loading the AOF file {name}!!!");
        let is_written_to = file.writer.is_some() && self.folder.is_some();
        if !is_written_to {
            return fatal(format!(
                "Fatal error: the truncated file is not the last file: {name} has whole commands up to offset {whole_bytes}"
            ));
        }
        tracing::warn!("!!! Truncating the AOF {name} at offset {whole_bytes} !!!");
        match file.sequence {
            // Done when the folder is taken up.
            Some(sequence) => self.found.valid_bytes.push((sequence, whole_bytes)),
            None => trim(file, whole_bytes)?,
        }
        tracing::warn!("AOF {name} loaded anyway because aof-load-truncated is enabled");
        Ok(())
    }
}

fn trim(file: &PlannedFile, whole_bytes: u64) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).open(&file.path);
    let trimmed = opened.and_then(|opened| opened.set_len(whole_bytes).and_then(|()| opened.sync_all()));
    trimmed.map_err(|error| Failure::Fatal(format!("Error truncating the AOF file {}: {error}", file.name)))
}

/// Adds file and place to what a command is refused for.
fn said_of(file: &PlannedFile, offset: u64, failure: Failure) -> Failure {
    match failure {
        Failure::Fatal(line) if line.starts_with("Unknown command") => {
            Failure::Fatal(format!("{line} reading the append only file {}, offset {offset}", file.name))
        }
        Failure::Fatal(line) if !line.ends_with("xiting") && !line.ends_with("xiting.") => {
            Failure::Fatal(format!("Error reading the append only file {}, offset {offset}: {line}", file.name))
        }
        other => other,
    }
}
