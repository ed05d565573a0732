//! The numbers of the format: versions, opcodes, types of values.

/// The version that is written: of Redis 7.0.
pub const WRITTEN_VERSION: u16 = 10;
/// The newest version of Redis that is read.
pub(super) const REDIS_VERSION_MAX: u16 = 12;
/// The version of Valkey 9, with a magic of its own.
pub(super) const VALKEY_VERSION: u16 = 80;
/// Files have a checksum from this version on.
pub(super) const CHECKSUM_SINCE: u16 = 5;

/// Bytes that a file begins with.
pub(super) const MAGIC_BYTES: usize = 9;

/// Whose format, and which version of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Redis(u16),
    Valkey(u16),
}

impl Format {
    /// What the first nine bytes of a file say: `REDIS` and four digits, or `VALKEY` and three.
    ///
    /// # Errors
    /// Why the file cannot be read.
    pub(super) fn of_magic(magic: &[u8; MAGIC_BYTES]) -> Result<Format, String> {
        let version = |digits: &[u8]| {
            digits
                .iter()
                .try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u16::from(digit - b'0')))
        };
        let format = match magic {
            [b'R', b'E', b'D', b'I', b'S', digits @ ..] => version(digits).map(Format::Redis),
            [b'V', b'A', b'L', b'K', b'E', b'Y', digits @ ..] => version(digits).map(Format::Valkey),
            _ => None,
        };
        match format {
            Some(format @ (Format::Redis(1..=REDIS_VERSION_MAX) | Format::Valkey(VALKEY_VERSION))) => Ok(format),
            Some(Format::Redis(version)) => Err(format!(
                "RDB version {version} is not supported (1 to {REDIS_VERSION_MAX} and Valkey's {VALKEY_VERSION} are)"
            )),
            Some(Format::Valkey(version)) => {
                Err(format!("Valkey's RDB version {version} is not supported ({VALKEY_VERSION} is)"))
            }
            None => Err("no RDB file: it does not begin with REDIS or VALKEY and a version".to_owned()),
        }
    }

    /// What a payload of DUMP says, which names no server.
    pub(super) fn of_payload(version: u16) -> Option<Format> {
        match version {
            VALKEY_VERSION => Some(Format::Valkey(version)),
            0..=REDIS_VERSION_MAX => Some(Format::Redis(version)),
            _ => None,
        }
    }

    /// Whether values of this type may stand here: one number has two meanings.
    pub(super) fn has_type(self, kind: u8) -> bool {
        kind != HASH_WITH_EXPIRIES || matches!(self, Format::Valkey(_))
    }

    pub(super) fn version(self) -> u16 {
        match self {
            Format::Redis(version) | Format::Valkey(version) => version,
        }
    }
}

// ---- opcodes --------------------------------------------------------------------------------------------------------

/// Slots that a Valkey node was importing when it wrote the file.
pub(super) const OP_SLOT_IMPORT: u8 = 243;
/// How many keys the slot has that follows.
pub(super) const OP_SLOT_INFO: u8 = 244;
/// A library of functions.
pub(super) const OP_FUNCTION: u8 = 245;
/// The same in release candidates of 7.0.
pub(super) const OP_FUNCTION_PRE_GA: u8 = 246;
pub(super) const OP_MODULE_AUX: u8 = 247;
/// Seconds since the last access of the key that follows.
pub(super) const OP_IDLE: u8 = 248;
/// Access counter of the key that follows.
pub(super) const OP_FREQ: u8 = 249;
/// A fact about the file: name and value.
pub(super) const OP_AUX: u8 = 250;
/// How many keys the database has, and how many with an expiry.
pub(super) const OP_RESIZE_DB: u8 = 251;
/// When the key that follows expires: milliseconds, 8 bytes.
pub(super) const OP_EXPIRY_MS: u8 = 252;
/// The same in seconds, 4 bytes.
pub(super) const OP_EXPIRY_S: u8 = 253;
pub(super) const OP_SELECT_DB: u8 = 254;
pub(super) const OP_EOF: u8 = 255;

// ---- types of values ------------------------------------------------------------------------------------------------

pub(super) const STRING: u8 = 0;
pub(super) const LIST: u8 = 1;
pub(super) const SET: u8 = 2;
/// Scores as text.
pub(super) const SORTED_SET: u8 = 3;
pub(super) const HASH: u8 = 4;
/// Scores as doubles.
pub(super) const SORTED_SET_2: u8 = 5;
pub(super) const MODULE_PRE_GA: u8 = 6;
pub(super) const MODULE: u8 = 7;
pub(super) const HASH_ZIPMAP: u8 = 9;
pub(super) const LIST_ZIPLIST: u8 = 10;
pub(super) const SET_INTSET: u8 = 11;
pub(super) const SORTED_SET_ZIPLIST: u8 = 12;
pub(super) const HASH_ZIPLIST: u8 = 13;
/// Nodes are ziplists.
pub(super) const LIST_QUICKLIST: u8 = 14;
pub(super) const STREAM: u8 = 15;
pub(super) const HASH_LISTPACK: u8 = 16;
pub(super) const SORTED_SET_LISTPACK: u8 = 17;
/// Nodes are listpacks, or single elements.
pub(super) const LIST_QUICKLIST_2: u8 = 18;
/// With the first id, the greatest deleted id and the count of all entries ever added.
pub(super) const STREAM_2: u8 = 19;
pub(super) const SET_LISTPACK: u8 = 20;
/// With the time at which each consumer last got something.
pub(super) const STREAM_3: u8 = 21;
/// Valkey's, with an expiry for each field. In files of Redis the number means something else, which is not read.
pub(super) const HASH_WITH_EXPIRIES: u8 = 22;

/// How a type is called in the log, in Redis's words where Redis names it.
pub fn form_name(kind: u8) -> &'static str {
    match kind {
        STRING => "String",
        LIST => "List",
        SET => "Set",
        SORTED_SET | SORTED_SET_2 => "Zset",
        HASH | HASH_WITH_EXPIRIES => "Hash",
        HASH_ZIPMAP => "Zipmap",
        LIST_ZIPLIST => "List ziplist",
        SET_INTSET => "Intset",
        SORTED_SET_ZIPLIST => "Zset ziplist",
        HASH_ZIPLIST => "Hash ziplist",
        LIST_QUICKLIST => "Quicklist ziplist",
        HASH_LISTPACK => "Hash listpack",
        SORTED_SET_LISTPACK => "Zset listpack",
        LIST_QUICKLIST_2 => "Quicklist listpack",
        STREAM | STREAM_2 | STREAM_3 => "Stream listpack",
        SET_LISTPACK => "Set listpack",
        _ => "Value of unknown type",
    }
}

// ---- pieces ---------------------------------------------------------------------------------------------------------

/// What the six lower bits of a string's first byte mean when the upper two are set.
pub(super) const ENCODED_INT8: u8 = 0;
pub(super) const ENCODED_INT16: u8 = 1;
pub(super) const ENCODED_INT32: u8 = 2;
pub(super) const ENCODED_LZF: u8 = 3;

/// How a node of a list is kept.
pub(super) const NODE_PLAIN: u64 = 1;
pub(super) const NODE_PACKED: u64 = 2;

/// What stands for a field that never expires.
pub(super) const NO_FIELD_EXPIRY: i64 = -1;

/// Stands for "not known" where a group of a stream says how many entries it has read: -1.
pub(super) const ENTRIES_READ_UNKNOWN: u64 = u64::MAX;
