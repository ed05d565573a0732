//! Inline requests: a line of words, with the quoting of redis-cli and redis.conf.

/// Splits a line into words. `"..."` knows `\n \r \t \b \a \\ \"` and `\xHH`, `'...'` knows `\'`; a closing quote must end
/// its word. None when a quote is not closed.
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|b| is_space(*b)) {
            at += 1;
        }
        if at >= line.len() || line[at] == 0 {
            return Some(words);
        }
        let mut word = Vec::new();
        at = read_word(line, at, &mut word)?;
        words.push(word);
    }
}

/// C's isspace in the default locale.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Reads one word from `at`; quotes may open in its middle. Returns where it ends.
fn read_word(line: &[u8], mut at: usize, word: &mut Vec<u8>) -> Option<usize> {
    while let Some(&byte) = line.get(at) {
        match byte {
            b'"' => return read_double_quoted(line, at + 1, word),
            b'\'' => return read_single_quoted(line, at + 1, word),
            0 => break,
            _ if is_space(byte) => break,
            _ => word.push(byte),
        }
        at += 1;
    }
    Some(at)
}

fn read_double_quoted(line: &[u8], mut at: usize, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        match *line.get(at)? {
            b'\\' => at = read_escape(line, at, word)?,
            b'"' => return closed(line, at + 1),
            byte => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

/// Reads the escape at `at`; returns where it ends.
fn read_escape(line: &[u8], at: usize, word: &mut Vec<u8>) -> Option<usize> {
    if let (Some(b'x'), Some(high), Some(low)) = (line.get(at + 1), hex_digit(line, at + 2), hex_digit(line, at + 3)) {
        word.push(high << 4 | low);
        return Some(at + 4);
    }
    word.push(match *line.get(at + 1)? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    });
    Some(at + 2)
}

fn hex_digit(line: &[u8], at: usize) -> Option<u8> {
    (*line.get(at)? as char).to_digit(16).map(|digit| digit as u8)
}

fn read_single_quoted(line: &[u8], mut at: usize, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        match *line.get(at)? {
            b'\\' if line.get(at + 1) == Some(&b'\'') => {
                word.push(b'\'');
                at += 2;
            }
            b'\'' => return closed(line, at + 1),
            byte => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

/// After a closing quote the word must end.
fn closed(line: &[u8], at: usize) -> Option<usize> {
    line.get(at).is_none_or(|b| is_space(*b)).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let words = split_words(line.as_bytes())?;
        Some(words.into_iter().map(|w| String::from_utf8_lossy(&w).into_owned()).collect())
    }

    #[test]
    fn quotes_and_escapes_are_redis_cli_s() {
        assert_eq!(words("  set  k 'a b'  ").unwrap(), ["set", "k", "a b"]);
        assert_eq!(words(r#"set k "\x41\n\"""#).unwrap(), ["set", "k", "A\n\""]);
        assert_eq!(words(r"'it\'s'").unwrap(), ["it's"]);
        assert_eq!(words("").unwrap(), [""; 0]);
        assert_eq!(words(r#"ab"cd""#).unwrap(), ["abcd"]);
    }

    #[test]
    fn an_open_quote_or_one_inside_a_word_is_refused() {
        for line in ["\"a", "'a", "\"a\"b", "'a'b", "\"a\\"] {
            assert_eq!(words(line), None, "{line}");
        }
    }
}
