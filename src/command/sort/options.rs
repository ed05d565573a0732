//! What SORT is asked for.

use std::ops::Range;

use super::super::arguments::{integer, is_word};
use super::super::error::CommandError;
use super::pattern::Pattern;
use crate::resp::Args;

/// The options behind the key.
#[derive(Debug)]
pub struct Options<'a> {
    pub descending: bool,
    /// By text, not by number.
    pub alpha: bool,
    /// LIMIT's first index and number of elements; negative: from the first, and to the last.
    limit: (i64, i64),
    pub store: Option<&'a [u8]>,
    /// What to sort by in place of the elements.
    pub by: Option<Pattern<'a>>,
    /// A BY without `*`: the order stays as it is.
    pub unsorted: bool,
    /// What to return in place of the elements.
    pub get: Vec<Pattern<'a>>,
}

impl<'a> Options<'a> {
    /// Reads them. In a cluster, patterns would name keys of other slots: they are refused.
    ///
    /// # Errors
    /// Of several mistakes, the first one's.
    pub fn parse(args: &Args<'a>, may_store: bool, in_cluster: bool) -> Result<Options<'a>, CommandError> {
        let mut options = Options {
            descending: false,
            alpha: false,
            limit: (0, -1),
            store: None,
            by: None,
            unsorted: false,
            get: Vec::new(),
        };
        let mut index = 2;
        while let Some(word) = args.get(index) {
            let (first, second) = (args.get(index + 1), args.get(index + 2));
            index += match (first, second) {
                _ if is_word(word, "ASC") => {
                    options.descending = false;
                    1
                }
                _ if is_word(word, "DESC") => {
                    options.descending = true;
                    1
                }
                _ if is_word(word, "ALPHA") => {
                    options.alpha = true;
                    1
                }
                (Some(start), Some(count)) if is_word(word, "LIMIT") => {
                    options.limit = (integer(start)?, integer(count)?);
                    3
                }
                (Some(key), _) if may_store && is_word(word, "STORE") => {
                    options.store = Some(key);
                    2
                }
                (Some(pattern), _) if is_word(word, "BY") => {
                    options.sort_by(Pattern::new(pattern), in_cluster)?;
                    2
                }
                (Some(_), _) if in_cluster && is_word(word, "GET") => {
                    return Err(CommandError::text_static("ERR GET option of SORT denied in Cluster mode."));
                }
                (Some(pattern), _) if is_word(word, "GET") => {
                    options.get.push(Pattern::new(pattern));
                    2
                }
                _ => return Err(CommandError::Syntax),
            };
        }
        Ok(options)
    }

    /// Once without `*`, the order stays, whatever BY comes behind it.
    fn sort_by(&mut self, pattern: Pattern<'a>, in_cluster: bool) -> Result<(), CommandError> {
        if !pattern.depends_on_element() {
            self.unsorted = true;
        } else if in_cluster {
            return Err(CommandError::text_static("ERR BY option of SORT denied in Cluster mode."));
        }
        self.by = Some(pattern);
        Ok(())
    }

    /// Which of `len` sorted elements are wanted.
    pub fn range(&self, len: usize) -> Range<usize> {
        let within = |number: i64| usize::try_from(number.max(0)).unwrap_or(usize::MAX).min(len);
        let start = within(self.limit.0);
        let count = if self.limit.1 < 0 { len } else { within(self.limit.1) };
        start..start.saturating_add(count).min(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::ArgsBuf;

    #[test]
    fn a_limit_is_cut_to_what_is_there() {
        for (limit, expected) in [
            ("", 0..5),
            ("limit 1 2", 1..3),
            ("limit 3 10", 3..5),
            ("limit 5 1", 5..5),
            ("limit 9223372036854775807 9223372036854775807", 5..5),
            ("limit -3 2", 0..2),
            ("limit 2 -1", 2..5),
            ("limit 2 -9223372036854775808", 2..5),
            ("limit 2 0", 2..2),
            ("limit 2 1 limit 0 1", 0..1),
        ] {
            let args: ArgsBuf = format!("sort k {limit}").split_ascii_whitespace().collect();
            let args = args.as_args();
            assert_eq!(Options::parse(&args, true, false).unwrap().range(5), expected, "{limit}");
        }
    }

    #[test]
    fn a_constant_pattern_ends_the_sorting_for_good() {
        let args: ArgsBuf = "sort k by nosort by w_*".split(' ').collect();
        let args = args.as_args();
        assert!(Options::parse(&args, true, false).unwrap().unsorted);
        assert!(Options::parse(&args, true, true).is_err());
    }
}
