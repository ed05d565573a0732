//! The writer of one core's append-only file: takes what the journal has recorded, writes it, and knows up to which position it
//! is safe.
//!
//! Called by the turn loop at the end of a turn and when the disk has completed something; it never waits. Bytes are gathered
//! in chunks that do not move while they are written. They are kept until an fsync has covered them: the kernel may drop
//! what an fsync that failed should have written, so all of it is written again before the next. (With `appendfsync no` nothing
//! is promised, and nothing kept.)
//!
//! Files change while bytes go on coming: [`Writer::switch`] ends one file, and what follows waits in memory until core 0 has
//! made the next and the manifest names it. So nothing is durable that a manifest does not lead to.
//!
//! Two numbers matter to others, both positions of the journal: up to where everything is written, and up to where it is
//! *durable*, that is covered by an fsync that succeeded.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::rc::Rc;

use super::AppendFile;
use super::folder::reason;
use crate::base::clock::Clock;
use crate::command::journal::Journal;
use crate::command::persistence::append_only::{AppendFigures, DiskFault};
use crate::config::{AppendFsync, Config};
use crate::persist::aof;
use crate::runtime::persistence::disk::Disk;
use crate::runtime::ring::ClientRing;

/// Room of a chunk; one unit that is larger has a chunk of its own size.
const CHUNK_BYTES: usize = 256 << 10;
/// With `everysec`, an fsync begins early when so much waits for one.
const UNSYNCED_BYTES_MAX: u64 = 64 << 20;
/// `everysec`: the oldest byte that waits is at most this old when an fsync begins.
const SYNC_EVERY_MS: u64 = 1000;
/// `everysec`: when it is older than this, the disk does not keep up, and replies wait.
const LATE_AFTER_MS: u64 = 2000;
/// Replies wait, too, when so much is kept in memory because the disk has not taken it.
const BACKLOG_BYTES_MAX: u64 = 256 << 20;
/// After a failure the next attempt comes so much later.
const RETRY_AFTER_MS: u64 = 1000;
/// A failure that goes on is logged this often.
const COMPLAIN_EVERY_MS: u64 = 30_000;

/// Bytes that stand together in a file.
struct Chunk {
    /// Not moved while they are written: the capacity is never exceeded.
    bytes: Vec<u8>,
    /// The number of the file.
    slot: u64,
    /// Where in the file they begin.
    offset: u64,
    /// The journal's position at their end.
    end_position: u64,
}

/// A place in the chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cursor {
    chunk: usize,
    byte: usize,
}

/// A write or an fsync under way.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    /// What it covers when it succeeds.
    until: Cursor,
    position: u64,
    began_ms: u64,
}

/// What the writer last failed at.
struct Failure {
    reason: String,
    /// An fsync failed, not a write.
    of_sync: bool,
    /// A write has worked since.
    writes_again: bool,
    retry_ms: u64,
    complain_ms: u64,
}

/// What has happened that others want to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Events for the latency monitor: name and duration.
    pub latency: Option<(&'static str, u64)>,
    /// It fails now and did not before, or the other way round.
    pub failure_changed: bool,
}

/// One core's file and what is on its way there.
pub struct Writer {
    disk: Disk,
    /// Files that are written to, by their numbers, the oldest first.
    files: VecDeque<(u64, Rc<File>)>,
    /// The number of the file that bytes are gathered for, and of the next that comes from core 0.
    slot: u64,
    next_slot: u64,
    is_open: bool,
    /// Where in the file the next byte goes that is gathered.
    end_offset: u64,
    chunks: VecDeque<Chunk>,
    spare: Vec<u8>,
    /// Bytes of the first chunk that an fsync has covered.
    synced_bytes: usize,
    written: Cursor,
    writing: Option<UnderWay>,
    syncing: Option<UnderWay>,
    /// What was written must be written again, once the write under way has ended.
    rewinds: bool,
    gathered_position: u64,
    written_position: u64,
    durable_position: u64,
    /// Up to here `everysec` is in a hurry.
    wanted_position: u64,
    /// When the oldest byte came that is not durable, in monotonic milliseconds.
    oldest_ms: Option<u64>,
    failure: Option<Failure>,
    is_late: bool,
    ends: bool,
    timestamp_s: i64,
    tick_ms: u64,
    policy: AppendFsync,
    now_ms: u64,
    /// When the last write began.
    wrote_ms: u64,
    before_bytes: u64,
    base_bytes: u64,
    syncs_delayed: u64,
}

impl Writer {
    /// Without a file: nothing is taken from the journal.
    pub fn new() -> Writer {
        Writer {
            disk: Disk::default(),
            files: VecDeque::new(),
            slot: 0,
            next_slot: 0,
            is_open: false,
            end_offset: 0,
            chunks: VecDeque::new(),
            spare: Vec::new(),
            synced_bytes: 0,
            written: Cursor::default(),
            writing: None,
            syncing: None,
            rewinds: false,
            gathered_position: 0,
            written_position: 0,
            durable_position: 0,
            wanted_position: 0,
            oldest_ms: None,
            failure: None,
            is_late: false,
            ends: false,
            timestamp_s: 0,
            tick_ms: 0,
            policy: AppendFsync::No,
            now_ms: 0,
            wrote_ms: 0,
            before_bytes: 0,
            base_bytes: 0,
            syncs_delayed: 0,
        }
    }

    /// Begins with this file; the journal's bytes from `position` on belong there.
    pub fn open(&mut self, file: AppendFile, position: u64) {
        self.begin(position);
        self.end_offset = file.length_bytes;
        self.before_bytes = file.before_bytes;
        self.base_bytes = file.before_bytes + file.length_bytes;
        self.take_file(file);
    }

    /// The journal is on from `position` on; the file comes later.
    fn begin(&mut self, position: u64) {
        if !self.has_more_to_do() {
            self.chunks.clear();
            (self.synced_bytes, self.written) = (0, Cursor::default());
            (self.written_position, self.durable_position) = (position, position);
        }
        (self.gathered_position, self.is_open, self.ends) = (position, true, false);
    }

    /// The next of the files that bytes behind a switch wait for, or the first.
    pub fn take_file(&mut self, file: AppendFile) {
        self.files.push_back((self.next_slot, Rc::new(file.file)));
        self.next_slot += 1;
    }

    /// Somebody waits for what stands before this position of the journal to be durable.
    pub fn sync_until(&mut self, position: u64) {
        self.wanted_position = position;
    }

    /// What was gathered so far, with `last` behind, ends its file; what follows `position` belongs to the next.
    pub fn switch(&mut self, last: &[u8], position: u64) {
        if !self.is_open {
            self.begin(position);
            self.slot = self.next_slot;
            (self.end_offset, self.before_bytes, self.base_bytes) = (0, 0, 0);
            return;
        }
        if !last.is_empty() {
            let chunk = self.room_for(last.len());
            chunk.bytes.extend_from_slice(last);
            chunk.end_position = position;
            self.gathered_position = position;
            self.end_offset += last.len() as u64;
            self.oldest_ms.get_or_insert(self.now_ms);
        }
        self.before_bytes += self.end_offset;
        (self.slot, self.end_offset) = (self.slot + 1, 0);
    }

    /// The files before the one that is gathered for are gone: there is a base of so many bytes in their place (counted by core 0).
    pub fn rebased(&mut self, base_bytes: u64) {
        self.before_bytes = base_bytes;
        self.base_bytes = base_bytes + self.end_offset;
    }

    /// `appendonly no`: nothing is gathered any more, and the files go once all is written.
    pub fn close_when_done(&mut self) {
        if self.is_open && !self.has_more_to_do() {
            self.is_open = false;
            self.files.clear();
            // On a disk that fails there may be a rest: nobody waits for it any more.
            self.chunks.clear();
            (self.synced_bytes, self.written) = (0, Cursor::default());
            (self.written_position, self.durable_position) = (self.gathered_position, self.gathered_position);
            self.slot = self.next_slot;
            (self.failure, self.oldest_ms, self.is_late, self.ends) = (None, None, false, false);
        }
    }

    /// Puts a fault into the disk, for tests.
    pub fn inject(&mut self, ring: &mut ClientRing, fault: DiskFault) {
        self.disk.inject(ring, fault);
    }

    /// Replies to writes up to this position may leave.
    pub fn released_position(&self) -> u64 {
        match self.policy {
            AppendFsync::No => self.written_position,
            AppendFsync::Always | AppendFsync::EverySecond => self.durable_position,
        }
    }

    /// Up to here an fsync has covered everything.
    pub fn durable_position(&self) -> u64 {
        self.durable_position
    }

    /// Whether replies to writes must wait although `appendfsync` is not `always`.
    pub fn is_late(&self) -> bool {
        self.is_late
    }

    /// The system's reason why nothing can be written.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_ref().map(|failure| failure.reason.as_str())
    }

    pub fn figures(&self) -> AppendFigures {
        let unwritten = self.chunks.iter().skip(self.written.chunk).map(|chunk| chunk.bytes.len() as u64).sum::<u64>();
        AppendFigures {
            is_open: self.is_open,
            size_bytes: self.before_bytes + self.end_offset,
            base_bytes: self.base_bytes,
            buffer_bytes: unwritten.saturating_sub(self.written.byte as u64),
            syncs_pending: u64::from(self.syncing.is_some()),
            syncs_delayed: self.syncs_delayed,
            is_failing: self.failure.is_some(),
        }
    }

    /// Takes what the journal has recorded, and begins what is due.
    /// `spares_disk`: there are no fsyncs now, whatever `appendfsync` says (`no-appendfsync-on-rewrite`).
    pub fn turn_ends(
        &mut self,
        ring: &mut ClientRing,
        journal: &mut Journal,
        clock: &Clock,
        config: &Config,
        spares_disk: bool,
    ) -> News {
        self.now_ms = clock.monotonic_us() / 1000;
        self.policy = if spares_disk { AppendFsync::No } else { config.appendfsync };
        self.tick_ms = 1000 / u64::from(config.hz.clamp(1, 500));
        if !journal.is_empty() {
            self.gather(journal, clock, config);
        }
        self.advance(ring)
    }

    fn gather(&mut self, journal: &mut Journal, clock: &Clock, config: &Config) {
        if !self.is_open {
            return;
        }
        let mut note = String::new();
        let now_s = clock.unix().seconds();
        if config.aof_timestamp_enabled && now_s > self.timestamp_s {
            self.timestamp_s = now_s;
            note = aof::timestamp(now_s);
        }
        let wanted = note.len() + (journal.position() - self.gathered_position) as usize;
        let chunk = self.room_for(wanted);
        let (before, place) = (chunk.bytes.len(), chunk.bytes.as_ptr());
        chunk.bytes.extend_from_slice(note.as_bytes());
        journal.take_into(&mut chunk.bytes);
        assert!(before == 0 || place == chunk.bytes.as_ptr(), "bytes that may be on their way to the disk do not move");
        chunk.end_position = journal.position();
        let gathered = (chunk.bytes.len() - before) as u64;
        self.gathered_position = journal.position();
        self.end_offset += gathered;
        self.oldest_ms.get_or_insert(self.now_ms);
    }

    /// The chunk that so many more bytes fit in.
    fn room_for(&mut self, wanted: usize) -> &mut Chunk {
        let slot = self.slot;
        let fits = |chunk: &Chunk| chunk.slot == slot && chunk.bytes.capacity() - chunk.bytes.len() >= wanted;
        if !self.chunks.back().is_some_and(fits) {
            let mut bytes = std::mem::take(&mut self.spare);
            bytes.reserve_exact(wanted.max(CHUNK_BYTES));
            self.chunks.push_back(Chunk { bytes, slot, offset: self.end_offset, end_position: 0 });
        }
        self.chunks.back_mut().expect("just looked")
    }

    /// The file of this number, if it has come.
    fn file(&self, slot: u64) -> Option<&Rc<File>> {
        self.files.iter().find(|(number, _)| *number == slot).map(|(_, file)| file)
    }

    /// Begins what is due, until something is under way or nothing is due.
    fn advance(&mut self, ring: &mut ClientRing) -> News {
        let mut news = News::default();
        if self.failure.as_ref().is_some_and(|failure| self.now_ms < failure.retry_ms && !self.ends) {
            return news;
        }
        while self.step(ring, &mut news) {}
        self.look_whether_late();
        news
    }

    /// Begins one operation. True when it has ended at once, so that another may be due.
    ///
    /// Where no reply waits for it, a write begins once in a millisecond at most: one in each of thousands of turns would cost
    /// more than the requests in them. Whoever sleeps meanwhile is woken by the turn loop's nap (`writes_soon`), which is as long.
    fn step(&mut self, ring: &mut ClientRing, news: &mut News) -> bool {
        let batches = self.policy == AppendFsync::Always || self.ends;
        if self.syncing.is_none() && self.is_sync_due() && !(batches && self.writing.is_some()) {
            return self.begin_sync(ring, news);
        }
        if self.writing.is_none() && !(batches && self.syncing.is_some()) && (batches || self.wrote_ms != self.now_ms) {
            return self.begin_write(ring, news);
        }
        false
    }

    fn is_sync_due(&self) -> bool {
        if self.written_position == self.durable_position || self.rewinds {
            return false;
        }
        // What an fsync that failed should have covered is written again first.
        if self.failure.as_ref().is_some_and(|failure| failure.of_sync)
            && self.written_position < self.gathered_position
        {
            return false;
        }
        match self.policy {
            _ if self.ends || self.failure.as_ref().is_some_and(|failure| failure.of_sync) => true,
            AppendFsync::Always => true,
            AppendFsync::No => false,
            AppendFsync::EverySecond => {
                let is_old = self.oldest_ms.is_some_and(|oldest| self.now_ms + self.tick_ms >= oldest + SYNC_EVERY_MS);
                is_old
                    || self.durable_position < self.wanted_position
                    || self.gathered_position - self.durable_position > UNSYNCED_BYTES_MAX
            }
        }
    }

    fn begin_write(&mut self, ring: &mut ClientRing, news: &mut News) -> bool {
        while self.chunks.get(self.written.chunk).is_some_and(|chunk| self.written.byte == chunk.bytes.len())
            && self.written.chunk + 1 < self.chunks.len()
        {
            self.written = Cursor { chunk: self.written.chunk + 1, byte: 0 };
        }
        let Some(chunk) = self.chunks.get(self.written.chunk) else { return false };
        let Some(bytes) = chunk.bytes.get(self.written.byte..).filter(|bytes| !bytes.is_empty()) else { return false };
        let file = self.files.iter().find(|(number, _)| *number == chunk.slot);
        let Some((_, file)) = file else { return false }; // not made yet
        let until = Cursor { chunk: self.written.chunk, byte: chunk.bytes.len() };
        self.writing = Some(UnderWay { until, position: chunk.end_position, began_ms: self.now_ms });
        let offset = chunk.offset + self.written.byte as u64;
        self.wrote_ms = self.now_ms;
        match self.disk.write(ring, file, bytes, offset) {
            None => false,
            Some(result) => self.write_ended(result, news),
        }
    }

    fn begin_sync(&mut self, ring: &mut ClientRing, news: &mut News) -> bool {
        let Some((file, until, position)) = self.sync_reach() else { return false };
        self.syncing = Some(UnderWay { until, position, began_ms: self.now_ms });
        match self.disk.sync(ring, &file) {
            None => false,
            Some(result) => self.sync_ended(result, news),
        }
    }

    /// What one fsync covers: the written part of the oldest file.
    fn sync_reach(&self) -> Option<(Rc<File>, Cursor, u64)> {
        let Some(first) = self.chunks.front() else {
            // Written while nothing was promised, and not kept.
            return self.files.back().map(|(_, file)| (file.clone(), Cursor::default(), self.written_position));
        };
        let file = self.file(first.slot)?.clone();
        let of_file = self.chunks.iter().take_while(|chunk| chunk.slot == first.slot).count();
        if self.written.chunk < of_file {
            return Some((file, self.written, self.written_position));
        }
        let last = self.chunks.get(of_file - 1)?;
        Some((file, Cursor { chunk: of_file, byte: 0 }, last.end_position))
    }

    /// The write under way has ended: bytes, or a negated error number.
    pub fn wrote(&mut self, ring: &mut ClientRing, result: i32, now_ms: u64) -> News {
        self.now_ms = now_ms;
        let mut news = News::default();
        self.write_ended(result, &mut news);
        let more = self.advance(ring);
        News { failure_changed: news.failure_changed || more.failure_changed, latency: news.latency.or(more.latency) }
    }

    /// The fsync under way has ended: 0, or a negated error number.
    pub fn synced(&mut self, ring: &mut ClientRing, result: i32, now_ms: u64) -> News {
        self.now_ms = now_ms;
        let mut news = News::default();
        self.sync_ended(result, &mut news);
        let more = self.advance(ring);
        News { failure_changed: news.failure_changed || more.failure_changed, latency: news.latency.or(more.latency) }
    }

    /// True when the next step may follow at once.
    fn write_ended(&mut self, result: i32, news: &mut News) -> bool {
        let Some(under_way) = self.writing.take() else { unreachable!("one write is under way at a time") };
        let duration_ns = (self.now_ms - under_way.began_ms) * 1_000_000;
        news.latency = Some((self.write_event(), duration_ns));
        if std::mem::take(&mut self.rewinds) {
            self.rewind();
            return false;
        }
        match result {
            1.. => {
                self.written.byte += result as usize;
                assert!(self.written.byte <= under_way.until.byte, "no more is written than was asked");
                if self.written == under_way.until {
                    self.written_position = under_way.position;
                    self.wrote_all_of_it(news);
                }
                true
            }
            _ if matches!(-result, libc::EINTR | libc::EAGAIN | libc::ECANCELED) => true,
            0 => self.fail(libc::EIO, false, news),
            _ => self.fail(-result, false, news),
        }
    }

    fn write_event(&self) -> &'static str {
        if self.syncing.is_some() { "aof-write-pending-fsync" } else { "aof-write-alone" }
    }

    fn wrote_all_of_it(&mut self, news: &mut News) {
        if let Some(failure) = &mut self.failure {
            failure.writes_again = true;
        }
        if self.policy == AppendFsync::No && self.syncing.is_none() && !self.ends {
            self.forget_until(self.written);
            self.oldest_ms = None;
            self.recover(news);
        } else if self.failure.as_ref().is_some_and(|failure| !failure.of_sync) && self.policy != AppendFsync::Always {
            self.recover(news);
        }
    }

    fn sync_ended(&mut self, result: i32, news: &mut News) -> bool {
        let Some(under_way) = self.syncing.take() else { unreachable!("one fsync is under way at a time") };
        if self.policy == AppendFsync::Always {
            news.latency = Some(("aof-fsync-always", (self.now_ms - under_way.began_ms) * 1_000_000));
        }
        if result < 0 {
            match self.writing {
                Some(_) => self.rewinds = true,
                None => self.rewind(),
            }
            return self.fail(-result, true, news);
        }
        assert!(under_way.position >= self.durable_position, "what is durable stays so");
        self.durable_position = under_way.position;
        self.forget_until(under_way.until);
        // What has come since is no older than the beginning of this fsync.
        self.oldest_ms = (self.durable_position < self.gathered_position).then_some(under_way.began_ms);
        if self.failure.as_ref().is_some_and(|failure| failure.of_sync || failure.writes_again) {
            self.recover(news);
        }
        true
    }

    /// All that is not durable counts as not written.
    fn rewind(&mut self) {
        self.written = Cursor { chunk: 0, byte: self.synced_bytes };
        self.written_position = self.durable_position;
    }

    /// Nothing before this place is needed any more.
    fn forget_until(&mut self, place: Cursor) {
        for _ in 0..place.chunk {
            let Some(chunk) = self.chunks.pop_front() else { break };
            self.keep_spare(chunk.bytes);
        }
        self.written.chunk -= place.chunk.min(self.written.chunk);
        if let Some(writing) = &mut self.writing {
            writing.until.chunk -= place.chunk;
        }
        self.synced_bytes = place.byte;
        let is_through = |chunk: &Chunk| place.byte == chunk.bytes.len();
        if self.chunks.len() == 1 && self.chunks.front().is_some_and(is_through) && self.writing.is_none() {
            let Some(chunk) = self.chunks.pop_front() else { return };
            self.keep_spare(chunk.bytes);
            (self.synced_bytes, self.written) = (0, Cursor::default());
        }
        // Files that nothing is left for.
        let oldest = self.chunks.front().map_or(self.slot, |chunk| chunk.slot);
        self.files.retain(|(number, _)| *number >= oldest);
    }

    /// Memory for what an fsync has not covered. With `appendfsync no` what is written is not kept.
    fn kept_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum()
    }

    fn keep_spare(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= 2 * CHUNK_BYTES {
            bytes.clear();
            self.spare = bytes;
        }
    }

    /// Notes a failure; returns false, because the next attempt comes later.
    fn fail(&mut self, number: i32, of_sync: bool, news: &mut News) -> bool {
        let reason = reason(&io::Error::from_raw_os_error(number));
        let known = self.failure.take();
        news.failure_changed = known.as_ref().is_none_or(|known| known.reason != reason);
        let mut complain_ms = known.map_or(0, |known| if known.reason == reason { known.complain_ms } else { 0 });
        if self.now_ms >= complain_ms {
            complain_ms = self.now_ms + COMPLAIN_EVERY_MS;
            match of_sync {
                true => tracing::warn!("Fail to fsync the AOF file: {reason}"),
                false => tracing::warn!("Error writing to the AOF file: {reason}"),
            }
        }
        self.failure =
            Some(Failure { reason, of_sync, retry_ms: self.now_ms + RETRY_AFTER_MS, complain_ms, writes_again: false });
        false
    }

    fn recover(&mut self, news: &mut News) {
        if self.failure.take().is_some() {
            tracing::warn!("AOF write error looks solved. The server can write again.");
            news.failure_changed = true;
        }
    }

    /// A disk that does not keep up: with `everysec` more than two seconds would be at risk, or memory fills.
    fn look_whether_late(&mut self) {
        let age_ms = self.oldest_ms.map_or(0, |oldest| self.now_ms.saturating_sub(oldest));
        let is_old = self.policy == AppendFsync::EverySecond && age_ms > LATE_AFTER_MS;
        let is_behind = self.gathered_position - self.released_position() > BACKLOG_BYTES_MAX;
        let is_late = is_old || is_behind && self.kept_bytes() > BACKLOG_BYTES_MAX;
        if is_late && !self.is_late && self.failure.is_none() {
            self.syncs_delayed += 1;
            tracing::warn!(
                "Asynchronous AOF fsync is taking too long (disk is busy?). Writing the AOF buffer without waiting for \
                 fsync to complete, this may slow down Redis."
            );
        }
        self.is_late = is_late;
    }

    /// The node ends: everything is to become durable now, whatever `appendfsync` says.
    pub fn begin_end(&mut self) {
        self.ends = true;
    }

    /// Whether something waits for the next millisecond to be written.
    pub fn writes_soon(&self) -> bool {
        self.written_position < self.gathered_position
            && self.writing.is_none()
            && self.failure.is_none()
            && self.chunks.get(self.written.chunk).is_some_and(|chunk| self.file(chunk.slot).is_some())
    }

    /// Whether something is under way or, in an end that has not failed, left to do.
    pub fn has_more_to_do(&self) -> bool {
        let has_file = self.chunks.get(self.written.chunk).is_none_or(|chunk| self.file(chunk.slot).is_some());
        let is_behind = self.durable_position < self.gathered_position && has_file;
        self.writing.is_some() || self.syncing.is_some() || is_behind && self.failure.is_none()
    }
}
