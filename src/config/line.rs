//! A line of configuration: its words, the quotes around them, and how a word is quoted to be read back.
//!
//! The notation is that of redis.conf. Called by the file reader, the command line and CONFIG REWRITE. It knows no directive.

use crate::base::words::quote_into;
pub use crate::base::words::split_words;

/// Without blanks and line ends on both sides.
pub fn trim(line: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = line.iter().position(|byte| !blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last.saturating_add(1));
    line.get(start..end).unwrap_or_default()
}

/// A word in double quotes, with what is not printable escaped, so that the line splitter reads the same bytes again.
pub fn quoted(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len().saturating_add(2));
    quote_into(word, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(line: &str) -> Option<Vec<String>> {
        let words = split_words(line.as_bytes())?;
        Some(words.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned()).collect())
    }

    #[test]
    fn words_are_split_as_redis_splits_them() {
        let table: &[(&str, Option<&[&str]>)] = &[
            ("", Some(&[])),
            ("  a\tb  ", Some(&["a", "b"])),
            (r#"a"b c" d"#, Some(&["ab c", "d"])),
            (r#""\x41\n\q\"" ''"#, Some(&["A\nq\"", ""])),
            (r"'it\'s \n'", Some(&[r"it's \n"])),
            (r#""a"b"#, None),
            (r#""a"#, None),
            ("'a", None),
            (r#""a\"#, None),
            (r#""\xZZ""#, Some(&["xZZ"])),
        ];
        for (line, words) in table {
            let words = words.map(|words| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
            assert_eq!(split(line), words, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_the_splitter_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = split_words(&line);
        }

        #[test]
        fn what_is_quoted_is_read_back(words in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..5)) {
            let line: Vec<Vec<u8>> = words.iter().map(|word| quoted(word)).collect();
            prop_assert_eq!(split_words(&line.join(&b' ')), Some(words));
        }
    }
}
