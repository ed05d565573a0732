//! A line of configuration: its words, the quotes around them, and how a word is quoted to be read back.
//!
//! The notation is that of redis.conf. Called by the file reader, the command line and CONFIG REWRITE. It knows no directive.

/// Without blanks and line ends on both sides.
pub fn trim(line: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = line
        .iter()
        .position(|byte| !blank(byte))
        .unwrap_or(line.len());
    let end = line
        .iter()
        .rposition(|byte| !blank(byte))
        .map_or(start, |last| last.saturating_add(1));
    line.get(start..end).unwrap_or_default()
}

/// Splits a line into words at blanks, with the quotes of redis.conf and of inline commands:
/// `"..."` knows `\n \r \t \b \a \xHH` and takes any other character after a backslash as it is; `'...'` knows `\'`.
/// A closing quote ends the word. `None` if a quote is not closed or something follows a closing one at once.
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let start = rest.iter().position(|byte| !is_space(*byte));
        let Some(word) = start.and_then(|start| rest.get(start..)) else {
            return Some(words);
        };
        let (word, after) = next_word(word)?;
        words.push(word);
        rest = after;
    }
}

/// The word that the text begins with, and what follows it.
fn next_word(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut rest = text;
    loop {
        match rest {
            [] | [b' ' | b'\n' | b'\r' | b'\t' | 0, ..] => {
                return Some((word, rest.get(1..).unwrap_or_default()));
            }
            [b'"', after @ ..] => return double_quoted(after, word),
            [b'\'', after @ ..] => return single_quoted(after, word),
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

fn double_quoted(text: &[u8], mut word: Vec<u8>) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return None,
            [b'"', after @ ..] => return closed(word, after),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex_digit(*high).wrapping_shl(4) | hex_digit(*low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
        };
    }
}

fn single_quoted(text: &[u8], mut word: Vec<u8>) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return None,
            [b'\'', after @ ..] => return closed(word, after),
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
        };
    }
}

/// A closing quote must stand before a blank or the end.
fn closed(word: Vec<u8>, after: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    match after.first() {
        Some(byte) if !is_space(*byte) => None,
        _ => Some((word, after)),
    }
}

fn hex_digit(digit: u8) -> u8 {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
        .unwrap_or(0)
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// A word in double quotes, with what is not printable escaped, so that the line splitter reads the same bytes again.
pub fn quoted(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len().saturating_add(2));
    out.push(b'"');
    for byte in word {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            7 => out.extend_from_slice(b"\\a"),
            8 => out.extend_from_slice(b"\\b"),
            0x20..=0x7e => out.push(*byte),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    out.push(b'"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(line: &str) -> Option<Vec<String>> {
        let words = split_words(line.as_bytes())?;
        Some(
            words
                .into_iter()
                .map(|word| String::from_utf8_lossy(&word).into_owned())
                .collect(),
        )
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
            let words = words.map(|words| {
                words
                    .iter()
                    .map(|word| (*word).to_owned())
                    .collect::<Vec<_>>()
            });
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
