//! Every error reply that commands share, with Redis's text in one place.
//!
//! A handler returns one of these and writes nothing; whoever ran it puts the text on the wire, counts it under its
//! first word (INFO errorstats) and counts the call as failed.

use std::borrow::Cow;

use crate::keyspace::WrongKind;

/// An error reply. `text` gives the line without the leading `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    WrongType,
    Syntax,
    NotAnInteger,
    NotAFloat,
    IncrementOverflow,
    NanOrInfinity,
    NoSuchKey,
    OutOfRange,
    IndexOutOfRange,
    StringTooLong,
    InvalidExpire(&'static str),
    SameObject,
    WrongArity(Cow<'static, str>),
    UnknownSubcommand {
        given: String,
        container: &'static str,
    },
    NoAuth,
    WrongPass,
    CrossSlot,
    ClusterDown,
    ClusterDownUnbound,
    Moved {
        slot: u16,
        address: String,
    },
    Ask {
        slot: u16,
        address: String,
    },
    ClusterDisabled,
    InvalidSlot,
    Loading,
    ReadOnly,
    NoReplicas,
    OutOfMemory,
    InvalidDbIndex,
    InvalidCursor,
    /// Any other text, error code first. Bytes, because arguments of the call may stand in it.
    Text(Cow<'static, [u8]>),
}

impl From<WrongKind> for CommandError {
    fn from(_: WrongKind) -> CommandError {
        CommandError::WrongType
    }
}

impl CommandError {
    /// `ERR` and a fixed text.
    pub const fn text_static(text: &'static str) -> CommandError {
        CommandError::Text(Cow::Borrowed(text.as_bytes()))
    }

    /// A formatted text; it begins with its code (`ERR ...`).
    pub fn formatted(text: String) -> CommandError {
        CommandError::Text(Cow::Owned(text.into_bytes()))
    }

    /// `before`, what the client gave up to its first NUL (C's `%s` ends there), and `after`.
    pub fn quoting(before: &str, given: &[u8], after: &str) -> CommandError {
        let given = given.split(|byte| *byte == 0).next().unwrap_or_default();
        CommandError::Text(Cow::Owned([before.as_bytes(), given, after.as_bytes()].concat()))
    }

    /// The line on the wire, without the leading `-` and the line end.
    pub fn line(&self) -> Cow<'static, [u8]> {
        match self {
            CommandError::Text(text) => text.clone(),
            other => match other.text() {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            },
        }
    }

    /// The line as text; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> Cow<'static, str> {
        use CommandError::*;
        match self {
            WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value".into(),
            Syntax => "ERR syntax error".into(),
            NotAnInteger => "ERR value is not an integer or out of range".into(),
            NotAFloat => "ERR value is not a valid float".into(),
            IncrementOverflow => "ERR increment or decrement would overflow".into(),
            NanOrInfinity => "ERR increment would produce NaN or Infinity".into(),
            NoSuchKey => "ERR no such key".into(),
            OutOfRange => "ERR value is out of range".into(),
            IndexOutOfRange => "ERR index out of range".into(),
            StringTooLong => "ERR string exceeds maximum allowed size (proto-max-bulk-len)".into(),
            InvalidExpire(command) => format!("ERR invalid expire time in '{command}' command").into(),
            SameObject => "ERR source and destination objects are the same".into(),
            WrongArity(name) => format!("ERR wrong number of arguments for '{name}' command").into(),
            UnknownSubcommand { given, container } => {
                format!("ERR unknown subcommand '{given}'. Try {container} HELP.").into()
            }
            NoAuth => "NOAUTH Authentication required.".into(),
            WrongPass => "WRONGPASS invalid username-password pair or user is disabled.".into(),
            CrossSlot => "CROSSSLOT Keys in request don't hash to the same slot".into(),
            ClusterDown => "CLUSTERDOWN The cluster is down".into(),
            ClusterDownUnbound => "CLUSTERDOWN Hash slot not served".into(),
            Moved { slot, address } => format!("MOVED {slot} {address}").into(),
            Ask { slot, address } => format!("ASK {slot} {address}").into(),
            ClusterDisabled => "ERR This instance has cluster support disabled".into(),
            InvalidSlot => "ERR Invalid or out of range slot".into(),
            Loading => "LOADING Redis is loading the dataset in memory".into(),
            NoReplicas => "NOREPLICAS Not enough good replicas to write.".into(),
            ReadOnly => "READONLY You can't write against a read only replica.".into(),
            OutOfMemory => "OOM command not allowed when used memory > 'maxmemory'.".into(),
            InvalidDbIndex => "ERR DB index is out of range".into(),
            InvalidCursor => "ERR invalid cursor".into(),
            Text(text) => String::from_utf8_lossy(text).into_owned().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_gave_is_quoted_byte_for_byte_up_to_a_nul() {
        let error = CommandError::quoting("ERR Unsupported option ", b"\xff\xfe\0rest", "!");
        assert_eq!(&*error.line(), b"ERR Unsupported option \xff\xfe!");
        assert_eq!(&*CommandError::Syntax.line(), b"ERR syntax error");
        assert_eq!(CommandError::formatted("ERR a".into()).text(), "ERR a");
    }
}
