//! Cutting an RDB file into records.
//!
//! The caller has the file's bytes in a window that moves forward: it gives the window to [`RecordReader::batch`], takes
//! records from the batch until there are no more whole ones, ends it, drops as many bytes off the front of the window as that
//! says, and adds more at the end. Records borrow from the window. What is in the window twice is not scanned twice.
//!
//! Values are passed over, not looked into: whoever owns the key does that ([`super::decode_value`]).

use std::borrow::Cow;

use super::checksum::Checksum;
use super::cursor::{Cursor, Stop};
use super::error::RdbError;
use super::grammar::{Part, Scan, opcode_parts, value_parts};
use super::types::*;
use crate::base::clock::UnixMillis;
use crate::keyspace::StoredAccess;

const CUT_OFF: &str = "the file ends in the middle of a record";

/// How a file is read.
#[derive(Clone, Copy, Debug)]
pub struct ReaderOptions {
    /// `rdbchecksum`.
    pub checksum: bool,
    /// Bytes of the file, where that is known: then a length that cannot be right is found out at once.
    pub total_bytes: Option<u64>,
}

/// One thing that a file says.
#[derive(Clone, PartialEq, Debug)]
pub enum Record<'w> {
    /// The first record: the file's format.
    Start(Format),
    /// A fact about the file, such as `redis-ver`, `ctime`, `repl-id`.
    Aux {
        name: Cow<'w, [u8]>,
        value: Cow<'w, [u8]>,
    },
    /// The database of the keys that follow.
    SelectDb(u64),
    /// How many keys the database has, and how many of them expire.
    ResizeDb {
        keys: u64,
        volatile: u64,
    },
    /// How many keys the slot has, and how many of them expire.
    SlotInfo {
        slot: u64,
        keys: u64,
        volatile: u64,
    },
    /// The source of a library of functions.
    Function(Cow<'w, [u8]>),
    Key(KeyRecord<'w>),
    /// The last record.
    End(ChecksumVerdict),
}

/// A key with its value.
#[derive(Clone, PartialEq, Debug)]
pub struct KeyRecord<'w> {
    /// The database that the last [`Record::SelectDb`] named; 0 before the first.
    pub db: u64,
    pub key: Cow<'w, [u8]>,
    pub expiry: Option<UnixMillis>,
    pub access: StoredAccess,
    /// The type of the value, for [`super::decode_value`].
    pub kind: u8,
    /// The value's bytes.
    pub value: &'w [u8],
    /// Where in the file they begin, for errors ([`RdbError::shifted`]).
    pub value_offset: u64,
}

/// What came of comparing checksums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChecksumVerdict {
    /// The file has none, or nobody wants to know.
    Unchecked,
    Matches,
    Differs {
        stored: u64,
        computed: u64,
    },
}

/// What a batch has done with the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes at the front of the window that are not needed any more.
    pub consumed: usize,
    /// The least bytes that the window must have, after those are gone, for the next record to be whole.
    pub wanted: u64,
}

/// A file that is being read.
pub struct RecordReader {
    options: ReaderOptions,
    format: Option<Format>,
    /// Where in the file the window begins.
    offset: u64,
    /// How far the window has been scanned.
    at: usize,
    scan: Scan,
    item: Option<Item>,
    db: u64,
    expiry: Option<UnixMillis>,
    access: StoredAccess,
    checksum: Checksum,
    finished: bool,
}

/// What is being passed over.
#[derive(Clone, Copy, Debug)]
struct Item {
    /// An opcode, or the type of a value.
    code: u8,
    /// Where in the window that which follows the code begins.
    body: usize,
    /// Where the value of a key begins, once that is known.
    value: Option<usize>,
}

impl RecordReader {
    pub fn new(options: ReaderOptions) -> RecordReader {
        RecordReader {
            options,
            format: None,
            offset: 0,
            at: 0,
            scan: Scan::default(),
            item: None,
            db: 0,
            expiry: None,
            access: StoredAccess::Unknown,
            checksum: Checksum::new(),
            finished: false,
        }
    }

    /// Whether the last record has been read. What follows in the file is not RDB (an AOF may go on with commands).
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Where in the file the window begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The error for a file that ends where more is wanted.
    pub fn cut_off(&self) -> RdbError {
        RdbError { offset: self.offset, reason: CUT_OFF.into() }
    }

    /// The records in `window`, whose first byte is the one behind what was consumed so far. [`Batch::end`] must follow.
    pub fn batch<'r, 'w>(&'r mut self, window: &'w [u8]) -> Batch<'r, 'w> {
        Batch { reader: self, window, start: 0, summed: 0, wanted: 0 }
    }
}

/// Why a record is not read.
enum Halt {
    Stop(Stop),
    Error(RdbError),
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Halt {
        Halt::Stop(stop)
    }
}

/// The records of one window.
#[must_use = "the reader goes on only after `end`"]
pub struct Batch<'r, 'w> {
    reader: &'r mut RecordReader,
    window: &'w [u8],
    /// Where the record begins that is being read.
    start: usize,
    /// Up to where the window is in the checksum.
    summed: usize,
    wanted: u64,
}

impl<'w> Batch<'_, 'w> {
    /// The next record that is whole in the window.
    ///
    /// # Errors
    /// The file is damaged, or needs what is not there: the reader is of no use any more.
    #[inline]
    pub fn next_record(&mut self) -> Result<Option<Record<'w>>, RdbError> {
        while !self.reader.finished {
            match self.step() {
                Ok(found) => {
                    self.start = self.reader.at;
                    if found.is_some() {
                        return Ok(found);
                    }
                }
                Err(Halt::Stop(Stop::More(wanted))) => {
                    if wanted > self.bytes_max() {
                        return Err(self.error(self.start, CUT_OFF));
                    }
                    self.wanted = wanted;
                    return Ok(None);
                }
                Err(Halt::Stop(Stop::Damage(reason))) => return Err(self.error(self.reader.at, reason)),
                Err(Halt::Error(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Ends the batch: what may be dropped, and what is needed.
    pub fn end(mut self) -> Progress {
        if !self.reader.finished {
            self.sum(self.start);
        }
        let Batch { reader, start, wanted, .. } = self;
        reader.offset += start as u64;
        reader.at -= start;
        if let Some(item) = &mut reader.item {
            item.body -= start;
            item.value = item.value.map(|value| value - start);
        }
        Progress { consumed: start, wanted: wanted.saturating_sub(start as u64) }
    }
}

impl<'w> Batch<'_, 'w> {
    fn error(&self, at: usize, reason: impl Into<Cow<'static, str>>) -> RdbError {
        RdbError { offset: self.reader.offset.saturating_add(at as u64), reason: reason.into() }
    }

    /// How many bytes the window will ever have, from its first on.
    fn bytes_max(&self) -> u64 {
        self.reader.options.total_bytes.map_or(u64::MAX, |total| total.saturating_sub(self.reader.offset))
    }

    /// Takes the window up to `end` into the checksum.
    fn sum(&mut self, end: usize) {
        if self.reader.options.checksum {
            self.reader.checksum.update(&self.window[self.summed..end]);
            self.summed = end;
        }
    }

    /// Reads one item: a record, or what concerns the key that follows.
    #[inline]
    fn step(&mut self) -> Result<Option<Record<'w>>, Halt> {
        let Some(format) = self.reader.format else { return self.magic() };
        let mut item = match self.reader.item {
            Some(item) => item,
            None => self.begin(format)?,
        };
        let bytes_max = self.bytes_max();
        let reader = &mut *self.reader;
        reader.scan.run(self.window, &mut reader.at, bytes_max)?;
        if let Some(parts) = value_parts(item.code) {
            let value = match item.value {
                Some(value) => value,
                None => {
                    item.value = Some(reader.at);
                    reader.item = Some(item);
                    reader.scan.start(parts);
                    reader.scan.run(self.window, &mut reader.at, bytes_max)?;
                    item.value.unwrap_or(item.body)
                }
            };
            return self.key(item, value).map(Some);
        }
        self.after_opcode(item, format)
    }

    fn magic(&mut self) -> Result<Option<Record<'w>>, Halt> {
        let magic = self.window.first_chunk::<MAGIC_BYTES>().ok_or(Stop::More(MAGIC_BYTES as u64))?;
        let format = Format::of_magic(magic).map_err(|reason| Halt::Error(self.error(0, reason)))?;
        self.reader.format = Some(format);
        self.reader.at = MAGIC_BYTES;
        Ok(Some(Record::Start(format)))
    }

    /// Reads the code of the next item.
    #[inline]
    fn begin(&mut self, format: Format) -> Result<Item, Halt> {
        let at = self.reader.at;
        let code = *self.window.get(at).ok_or(Stop::More(at as u64 + 1))?;
        let parts = match (value_parts(code), opcode_parts(code)) {
            (Some(_), _) if format.has_type(code) => KEY,
            (None, Some(parts)) => parts,
            _ => return Err(Halt::Error(self.error(at, why_not(code)))),
        };
        self.reader.at = at + 1;
        self.reader.scan.start(parts);
        let item = Item { code, body: at + 1, value: None };
        self.reader.item = Some(item);
        Ok(item)
    }

    #[inline]
    fn key(&mut self, item: Item, value: usize) -> Result<Record<'w>, Halt> {
        let key = Cursor::new(&self.window[item.body..value]).string();
        let key = key.map_err(|error| Halt::Error(error.shifted(self.reader.offset + item.body as u64)))?;
        let reader = &mut *self.reader;
        reader.item = None;
        Ok(Record::Key(KeyRecord {
            db: reader.db,
            key,
            expiry: reader.expiry.take(),
            access: std::mem::take(&mut reader.access),
            kind: item.code,
            value: &self.window[value..reader.at],
            value_offset: reader.offset + value as u64,
        }))
    }

    /// Acts on an opcode whose parts are all there.
    fn after_opcode(&mut self, item: Item, format: Format) -> Result<Option<Record<'w>>, Halt> {
        let end = if item.code == OP_EOF { self.after_eof(format)? } else { self.reader.at };
        let base = self.reader.offset + item.body as u64;
        let mut cursor = Cursor::new(&self.window[item.body..end]);
        let record = self.meaning(item.code, &mut cursor, format).map_err(|error| Halt::Error(error.shifted(base)))?;
        self.reader.at = end;
        self.reader.item = None;
        Ok(record)
    }

    fn meaning(&mut self, opcode: u8, cursor: &mut Cursor<'w>, format: Format) -> Result<Option<Record<'w>>, RdbError> {
        let reader = &mut *self.reader;
        match opcode {
            OP_EXPIRY_MS => reader.expiry = Some(UnixMillis(cursor.millis()?)),
            OP_EXPIRY_S => {
                let seconds = i64::from(i32::from_le_bytes(cursor.array()?));
                reader.expiry = Some(UnixMillis(seconds * 1000));
            }
            OP_IDLE => reader.access = StoredAccess::Idle { seconds: cursor.length()? },
            OP_FREQ => reader.access = StoredAccess::Frequency(cursor.byte()?),
            OP_SELECT_DB => {
                reader.db = cursor.length()?;
                return Ok(Some(Record::SelectDb(reader.db)));
            }
            OP_RESIZE_DB => {
                return Ok(Some(Record::ResizeDb { keys: cursor.length()?, volatile: cursor.length()? }));
            }
            OP_AUX => return Ok(Some(Record::Aux { name: cursor.string()?, value: cursor.string()? })),
            OP_FUNCTION => return cursor.string().map(|code| Some(Record::Function(code))),
            OP_SLOT_INFO => {
                let (slot, keys, volatile) = (cursor.length()?, cursor.length()?, cursor.length()?);
                return Ok(Some(Record::SlotInfo { slot, keys, volatile }));
            }
            MODULE => {
                cursor.string()?;
                let name = module_name(cursor.length()?);
                let reason = format!("a value of the module type {name}: modules are not supported");
                return Err(RdbError::new(0, reason));
            }
            OP_MODULE_AUX => {
                let name = module_name(cursor.length()?);
                return Err(RdbError::new(0, format!("data of the module {name}: modules are not supported")));
            }
            OP_SLOT_IMPORT => {
                let reason = "slots were being imported when the file was written: their keys are not whole";
                return Err(RdbError::new(0, reason));
            }
            OP_EOF => return self.verdict(cursor, format).map(|verdict| Some(Record::End(verdict))),
            _ => {}
        }
        Ok(None)
    }

    /// Where the file ends: the checksum must be there, if it has one.
    fn after_eof(&self, format: Format) -> Result<usize, Stop> {
        let at = self.reader.at;
        let end = if format.version() >= CHECKSUM_SINCE { at + CHECKSUM_BYTES } else { at };
        if end <= self.window.len() { Ok(end) } else { Err(Stop::More(end as u64)) }
    }

    fn verdict(&mut self, cursor: &mut Cursor<'w>, format: Format) -> Result<ChecksumVerdict, RdbError> {
        self.sum(self.reader.at);
        self.reader.finished = true;
        if format.version() < CHECKSUM_SINCE {
            return Ok(ChecksumVerdict::Unchecked);
        }
        let stored = u64::from_le_bytes(cursor.array()?);
        let computed = self.reader.checksum.value();
        Ok(match stored {
            0 => ChecksumVerdict::Unchecked,
            _ if !self.reader.options.checksum => ChecksumVerdict::Unchecked,
            _ if stored == computed => ChecksumVerdict::Matches,
            _ => ChecksumVerdict::Differs { stored, computed },
        })
    }
}

/// Why an item of this code is not read.
fn why_not(code: u8) -> String {
    match code {
        MODULE_PRE_GA => "a value in a module format of before Redis 4.0: it is not supported".to_owned(),
        OP_FUNCTION_PRE_GA => "functions in the format of before Redis 7.0: it is not supported".to_owned(),
        _ => format!("{code} is no type of value and no opcode that is known"),
    }
}

/// What stands between a type and its value.
const KEY: &[Part] = &[Part::String];
const CHECKSUM_BYTES: usize = 8;

/// The name of a module's type: nine letters of six bits above ten bits of a version.
fn module_name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).map(|index| char::from(LETTERS[(id >> (58 - 6 * index)) as usize & 0x3f])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All records, the window growing by `step` bytes at a time, each shown as text.
    fn records(file: &[u8], step: usize) -> Result<Vec<String>, RdbError> {
        let options = ReaderOptions { checksum: true, total_bytes: Some(file.len() as u64) };
        let mut reader = RecordReader::new(options);
        let (mut start, mut end, mut shown) = (0, 0, Vec::new());
        while !reader.is_finished() {
            let mut batch = reader.batch(&file[start..end]);
            while let Some(record) = batch.next_record()? {
                shown.push(format!("{record:?}"));
            }
            let progress = batch.end();
            start += progress.consumed;
            if !reader.is_finished() {
                assert!(start as u64 + progress.wanted > end as u64, "what is wanted is more");
                assert!(end < file.len(), "the reader knows where the file ends");
            }
            end = (end + step).min(file.len());
        }
        Ok(shown)
    }

    fn file(version: &str, items: &[&[u8]]) -> Vec<u8> {
        let mut file = [version.as_bytes(), &items.concat(), b"\xff"].concat();
        let sum = Checksum::of(&file);
        file.extend_from_slice(&sum.to_le_bytes());
        file
    }

    const ITEMS: &[&[u8]] = &[
        b"\xfa\x09redis-ver\x055.0.1",
        b"\xf5\x03lib",
        b"\xfe\x02",
        b"\xfb\x02\x01",
        b"\xf4\x07\x02\x01",
        b"\xfc\x01\x00\x00\x00\x00\x00\x00\x00\xf8\x40\x64\x00\x01k\x03abc",
        b"\xfd\x02\x00\x00\x00\xf9\x05\x02\xc0\x07\x02\x01a\x01b",
    ];

    #[test]
    fn records_come_out_however_the_file_is_cut() {
        let file = file("REDIS0012", ITEMS);
        let whole = records(&file, file.len()).unwrap();
        assert_eq!(whole.len(), 9, "{whole:#?}");
        assert_eq!(whole[0], "Start(Redis(12))");
        assert_eq!(whole[4], "ResizeDb { keys: 2, volatile: 1 }");
        assert_eq!(whole[8], "End(Matches)");
        let key = "Key(KeyRecord { db: 2, key: [107], expiry: Some(UnixMillis(1)), access: Idle { seconds: 100 }, kind: 0, \
                   value: [3, 97, 98, 99], value_offset: 55 })";
        assert_eq!(whole[6], key);
        assert!(whole[7].contains("key: [55], expiry: Some(UnixMillis(2000)), access: Frequency(5), kind: 2"));
        for step in [1, 2, 3, 7, 20] {
            assert_eq!(records(&file, step).unwrap(), whole);
        }
        for cut in 0..file.len() {
            let error = records(&file[..cut], 5).unwrap_err();
            assert!(error.offset <= cut as u64, "{error}");
        }
    }

    #[test]
    fn a_checksum_is_compared_unless_there_is_none() {
        let good = file("REDIS0009", ITEMS);
        let last = |file: &[u8]| records(file, 11).unwrap().pop().unwrap();
        assert_eq!(last(&good), "End(Matches)");
        let mut bad = good.clone();
        bad[12] ^= 1;
        assert!(last(&bad).starts_with("End(Differs"));
        let end = bad.len() - 8;
        bad[end..].fill(0);
        assert_eq!(last(&bad), "End(Unchecked)");
        assert_eq!(last(b"REDIS0004\xff"), "End(Unchecked)");
    }

    #[test]
    fn what_is_not_read_is_named() {
        let error = |file: &[u8]| records(file, 4096).unwrap_err().to_string();
        assert_eq!(error(b"REDIX0011"), "offset 0: no RDB file: it does not begin with REDIS or VALKEY and a version");
        assert_eq!(error(b"REDIS0013"), "offset 0: RDB version 13 is not supported (1 to 12 and Valkey's 80 are)");
        assert_eq!(error(b"VALKEY081"), "offset 0: Valkey's RDB version 81 is not supported (80 is)");
        assert_eq!(error(b"REDIS0000"), "offset 0: RDB version 0 is not supported (1 to 12 and Valkey's 80 are)");
        assert!(error(b"REDIS0012\x16").ends_with("22 is no type of value and no opcode that is known"));
        assert!(error(b"REDIS0012\x08").ends_with("8 is no type of value and no opcode that is known"));
        let module = b"REDIS0009\x07\x03key\x81\x00\x10\x83\x10\x51\x87\x20\x92\x0a";
        assert_eq!(error(module), "offset 10: a value of the module type ABCDEFGHI: modules are not supported");
        let aux = b"REDIS0009\xf7\x81\x00\x10\x83\x10\x51\x87\x20\x92\x0a";
        assert_eq!(error(aux), "offset 10: data of the module ABCDEFGHI: modules are not supported");
        for file in [&module[..], aux] {
            // However little of it is there at a time, and a file that ends there is cut off.
            assert_eq!(records(file, 1).unwrap_err(), records(file, 4096).unwrap_err());
            assert_eq!(records(&file[..14], 1).unwrap_err(), records(&file[..14], 4096).unwrap_err());
        }
        assert!(error(b"VALKEY080\xf3\x01x\x01\x01\x02\xff00000000").contains("slots were being imported"));
        assert!(error(b"REDIS0009\x00\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xff").contains("announces more bytes"));
        assert_eq!(error(b"REDIS0009\x00\x01k\x40\xff"), "offset 12: more is announced than there is");
    }
}
