//! Blocking commands: a handler that finds nothing leaves its client waiting until a key gets what it wants.
//!
//! A handler is written as if it did not block: it takes what it finds and replies. Only where it finds nothing it ends
//! with [`wait`], writing nothing. When one of the keys gets a value of the right kind, the same handler is run again with
//! the same arguments, for the clients that wait longest first; it either replies now or ends with [`wait`] again.

use super::context::Context;
use super::error::CommandError;
use super::spec::CommandResult;
use crate::base::number::{parse_f64, parse_i64};
use crate::keyspace::ValueKind;
use crate::resp::ArgsBuf;

/// What a command that found nothing waits for.
pub struct Wait {
    /// Any of these keys, in the order in which the handler looks at them.
    pub keys: Vec<Vec<u8>>,
    /// Only a value of this kind ends the wait.
    pub kind: ValueKind,
    /// The handler is run again also when a key goes away or changes its kind (XREADGROUP).
    pub or_removed: bool,
    pub timeout: Timeout,
    /// The reply when the time is over, or when the client must not wait.
    pub nothing: Nothing,
    /// What to run in place of the request (XREAD has found out what `$` means).
    pub request: Option<ArgsBuf>,
}

/// The reply that says: nothing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {
    Null,
    NullArray,
}

/// How long to wait, in milliseconds; `None` for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(pub Option<u64>);

impl Timeout {
    /// Seconds with a fraction, 0 for ever; rounded up to milliseconds.
    ///
    /// # Errors
    /// Redis's texts for what is no number, negative or too large.
    pub fn seconds(argument: &[u8]) -> Result<Timeout, CommandError> {
        let seconds =
            parse_f64(argument).ok_or(CommandError::text_static("ERR timeout is not a float or out of range"))?;
        let millis = (seconds * 1000.0).ceil();
        if millis >= i64::MAX as f64 {
            return Err(CommandError::text_static("ERR timeout is out of range"));
        }
        Timeout::of(millis as i64)
    }

    /// Whole milliseconds, 0 for ever.
    ///
    /// # Errors
    /// Redis's texts for what is no integer, negative or too large.
    pub fn milliseconds(argument: &[u8]) -> Result<Timeout, CommandError> {
        let millis =
            parse_i64(argument).ok_or(CommandError::text_static("ERR timeout is not an integer or out of range"))?;
        Timeout::of(millis)
    }

    fn of(millis: i64) -> Result<Timeout, CommandError> {
        match u64::try_from(millis) {
            Err(_) => Err(CommandError::text_static("ERR timeout is negative")),
            Ok(0) => Ok(Timeout(None)),
            Ok(millis) => Ok(Timeout(Some(millis))),
        }
    }
}

/// Ends a handler that found nothing: its client waits, or is told so at once where it must not wait (in MULTI).
pub fn wait(cx: &mut Context<'_>, wait: Wait) -> CommandResult {
    match wait.nothing {
        Nothing::Null => cx.reply.null(),
        Nothing::NullArray => cx.reply.null_array(),
    }
    Ok(())
}
