//! What HSCAN and SSCAN have in common: their arguments, and the reply of cursor and elements.

use super::arguments::{integer, is_word, text};
use super::error::CommandError;
use crate::base::glob;
use crate::base::number::parse_u64_lenient;
use crate::keyspace::listpack::{Digits, Element};
use crate::resp::{Args, Reply};

/// Elements looked at when the client does not say how many.
const COUNT_DEFAULT: usize = 10;

/// As C's `strtoul` reads it: nothing at all is 0.
///
/// # Errors
/// `InvalidCursor`.
pub fn parse_cursor(argument: &[u8]) -> Result<u64, CommandError> {
    match text(argument) {
        b"" => Ok(0),
        digits => parse_u64_lenient(digits).ok_or(CommandError::InvalidCursor),
    }
}

/// COUNT and MATCH.
pub struct ScanOptions<'a> {
    pub count: usize,
    pattern: Option<&'a [u8]>,
}

impl<'a> ScanOptions<'a> {
    /// Reads what stands behind key and cursor. Redis reads it only once it has found a collection of the right kind.
    ///
    /// # Errors
    /// `Syntax`, `NotAnInteger`.
    pub fn parse(args: &Args<'a>) -> Result<ScanOptions<'a>, CommandError> {
        let mut options = ScanOptions { count: COUNT_DEFAULT, pattern: None };
        let mut index = 3;
        while let Some(option) = args.get(index) {
            let argument = args.get(index + 1).ok_or(CommandError::Syntax)?;
            if is_word(option, "COUNT") {
                let count = integer(argument)?;
                options.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(CommandError::Syntax)?;
            } else if is_word(option, "MATCH") {
                options.pattern = (argument != b"*").then_some(argument);
            } else {
                return Err(CommandError::Syntax);
            }
            index += 2;
        }
        Ok(options)
    }

    /// Whether an element's name matches the pattern.
    pub fn wants(&self, name: Element<'_>) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name.as_bytes(&mut Digits::new()), false))
    }
}

/// Elements found by a call: they are known before the cursor, which stands in front of them.
#[derive(Default)]
pub struct Found {
    bulks: Vec<u8>,
    count: usize,
}

impl Found {
    pub fn push(&mut self, element: Element<'_>) {
        Reply::append_bulk(&mut self.bulks, element.as_bytes(&mut Digits::new()));
        self.count += 1;
    }

    /// Writes the cursor and the elements.
    pub fn reply(self, cursor: u64, reply: &mut Reply<'_>) {
        reply.array(2);
        reply.bulk(Digits::new().format(cursor).as_bytes());
        reply.array(self.count);
        reply.raw(&self.bulks);
    }
}
