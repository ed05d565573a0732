//! Reading single arguments as Redis reads them. Called by handlers; knows nothing about any command.

use super::error::CommandError;
use crate::base::number::parse_i64;

/// An argument up to its first NUL: Redis compares options as C strings.
pub fn text(argument: &[u8]) -> &[u8] {
    argument.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Whether an argument is the option `word` (upper or lower case, all the same).
pub fn is_word(argument: &[u8], word: &str) -> bool {
    text(argument).eq_ignore_ascii_case(word.as_bytes())
}

/// A signed 64-bit integer.
///
/// # Errors
/// `NotAnInteger`.
pub fn integer(argument: &[u8]) -> Result<i64, CommandError> {
    parse_i64(argument).ok_or(CommandError::NotAnInteger)
}

/// A signed 32-bit integer, as database numbers are.
///
/// # Errors
/// `NotAnInteger`, or the text that names the range.
pub fn int(argument: &[u8]) -> Result<i32, CommandError> {
    i32::try_from(integer(argument)?).map_err(|_| {
        CommandError::text_static("ERR value is out of range, value must between -2147483648 and 2147483647")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_ends_at_a_nul_and_has_no_case() {
        assert!(is_word(b"Nx", "NX"));
        assert!(is_word(b"nx\0more", "NX"));
        assert!(!is_word(b"nxx", "NX"));
        assert!(!is_word(b"", "NX"));
    }

    #[test]
    fn a_database_number_is_told_its_range() {
        assert_eq!(int(b"-3"), Ok(-3));
        assert_eq!(int(b"x"), Err(CommandError::NotAnInteger));
        assert_eq!(int(b"9223372036854775808"), Err(CommandError::NotAnInteger));
        assert!(int(b"2147483648").unwrap_err().text().contains("must between -2147483648 and 2147483647"));
    }
}
