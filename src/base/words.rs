//! Words and quotes, as inline requests and configuration files write them.

/// Splits a line into words as stock's `sdssplitargs` does: words are separated by white space; `"..."` knows `\xHH`,
/// `\n`, `\r`, `\t`, `\b`, `\a` and takes any other escaped byte literally; `'...'` knows `\'` only; a closing quote must
/// end the word. The unquoted words are appended to `words`, and `word` is told where each begins there and how many
/// bytes it has. False when a quote is unbalanced; then what was appended means nothing.
pub fn split_words_into(line: &[u8], words: &mut Vec<u8>, mut word: impl FnMut(usize, usize)) -> bool {
    // Stock's lines are C strings: a NUL ends them.
    let line = memchr::memchr(0, line).map_or(line, |end| &line[..end]);
    let mut at = 0;
    loop {
        at += line.iter().skip(at).take_while(|&&byte| is_space(byte)).count();
        if at >= line.len() {
            return true;
        }
        let start = words.len();
        match split_word(line, at, words) {
            Some(next) => at = next,
            None => return false,
        }
        word(start, words.len() - start);
    }
}

/// The words of a line; `None` when a quote is unbalanced.
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut joined, mut places) = (Vec::new(), Vec::new());
    split_words_into(line, &mut joined, |start, len| places.push(start..start + len))
        .then(|| places.into_iter().map(|place| joined.get(place).unwrap_or_default().to_vec()).collect())
}

/// Whether a word needs no quotes: it may stand in a line as it is, on its own, without blanks, quotes or control bytes.
pub fn is_bare(word: &[u8]) -> bool {
    !word.is_empty() && !word.iter().any(|byte| matches!(byte, 0..=b' ' | b'"' | b'\'' | 0x7f))
}

/// Unquotes the word that begins at `at`; where it ends, or `None` when a quote is unbalanced.
fn split_word(line: &[u8], mut at: usize, words: &mut Vec<u8>) -> Option<usize> {
    loop {
        match line.get(at) {
            // Vertical tab and form feed separate words only where a word begins; so does stock.
            None | Some(b' ' | b'\n' | b'\r' | b'\t') => return Some(at),
            Some(b'"') => return unquote(line, at + 1, b'"', words),
            Some(b'\'') => return unquote(line, at + 1, b'\'', words),
            Some(&byte) => words.push(byte),
        }
        at += 1;
    }
}

/// Unquotes up to the closing quote, which must end the word; where the word ends.
fn unquote(line: &[u8], mut at: usize, quote: u8, words: &mut Vec<u8>) -> Option<usize> {
    loop {
        match line.get(at..)? {
            [b'\\', b'x', high, low, ..] if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                words.push(hex_value(*high) << 4 | hex_value(*low));
                at += 4;
            }
            [b'\\', escaped, ..] if quote == b'"' => {
                words.push(unescaped(*escaped));
                at += 2;
            }
            [b'\\', b'\'', ..] if quote == b'\'' => {
                words.push(b'\'');
                at += 2;
            }
            [byte, rest @ ..] if *byte == quote => {
                return rest.first().is_none_or(|&byte| is_space(byte)).then_some(at + 1);
            }
            [byte, ..] => {
                words.push(*byte);
                at += 1;
            }
            [] => return None,
        }
    }
}

/// Appends `bytes` in double quotes with what is not printable escaped, as stock prints strings (`sdscatrepr`);
/// `split_words` reads them back.
pub fn quote_into(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            7 => out.extend_from_slice(b"\\a"),
            8 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(byte),
            other => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(&[b'\\', b'x', DIGITS[(other >> 4) as usize], DIGITS[(other & 15) as usize]]);
            }
        }
    }
    out.push(b'"');
}

fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

fn hex_value(digit: u8) -> u8 {
    (digit as char).to_digit(16).unwrap_or(0) as u8
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bare_word_is_read_back_as_it_is_written() {
        for byte in 0..=u8::MAX {
            let word = [b'a', byte, b'b'];
            if is_bare(&word) {
                assert_eq!(split_words(&word), Some(vec![word.to_vec()]), "{byte}");
            }
        }
        for bad in [&b""[..], b"a b", b"\"", b"it's", b"a\n", b"\0", b"\x7f", b"\x0b"] {
            assert!(!is_bare(bad), "{bad:?}");
        }
        assert!(is_bare(b"[::1]:7000@17000,,a\\b,\xff"));
    }

    #[test]
    fn words_are_split_as_stock_splits_them() {
        let cases: [(&[u8], &[&[u8]]); 9] = [
            (b"", &[]),
            (b" \t", &[]),
            (b"set  k v", &[b"set", b"k", b"v"]),
            (br#"set "a\x41\n\"b" 'it\'s \n'"#, &[b"set", b"aA\n\"b", b"it's \\n"]),
            (b"a\"b c\" d", &[b"ab c", b"d"]),
            (br#""\xZZ\q\t\a""#, &[b"xZZq\t\x07"]),
            (b"\x0ba\x0bb", &[b"a\x0bb"]),
            (b"\"\" ''", &[b"", b""]),
            (b"\"a\"\x0bb", &[b"a", b"b"]),
        ];
        for (line, words) in cases {
            let found = split_words(line).unwrap();
            assert!(found.iter().map(Vec::as_slice).eq(words.iter().copied()), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in [&b"set \"a"[..], b"set 'a", b"set \"a\"b", b"set 'a'b", b"\"a\\", b"'a\\'"] {
            assert_eq!(split_words(line), None, "{}", line.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn quoted_words_read_back(words in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..10), 0..5)) {
            let quote = |word: &Vec<u8>| format!("\"{}\"", word.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>());
            let line: Vec<String> = words.iter().map(quote).collect();
            prop_assert_eq!(split_words(line.join(" ").as_bytes()), Some(words));
        }

        #[test]
        fn no_line_panics(line in proptest::collection::vec(prop_oneof![Just(b'"'), Just(b'\''), Just(b'\\'), Just(b'x'), Just(b' '), any::<u8>()], 0..30)) {
            split_words(&line);
        }
    }
}
