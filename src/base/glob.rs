//! Glob patterns as KEYS, SCAN, PSUBSCRIBE, CONFIG GET and ACL read them.
//!
//! The semantics are those of stock Redis 7.2, oddities included: `*` alone does not match the empty text (callers
//! treat a lone `*` specially), ranges compare bytes as signed, a class without `]` ends with the pattern.

/// Stock gives up on patterns with more stars than this.
const STARS_MAX: usize = 1000;

/// Whether `text` matches `pattern`. With `nocase`, ASCII letters match in both cases.
///
/// `?` is any byte, `*` any run of bytes, `[abc]`, `[a-z]` and `[^a]` are classes, `\` takes the next byte literally.
/// Time is bounded by the product of the lengths: a mismatch only ever returns to the last star.
pub fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    let (mut pattern_at, mut text_at) = (0, 0);
    // Where to go on after a mismatch: the pattern behind the last star, and the text position to try next.
    let mut retry: Option<(usize, usize)> = None;
    let mut stars = 0;
    loop {
        if text_at >= text.len() {
            // A star eats nothing at the end of the text, but only when it stands behind something that ate.
            if text_at > 0 {
                while pattern.get(pattern_at) == Some(&b'*') {
                    pattern_at += 1;
                }
            }
            return pattern_at >= pattern.len();
        }
        if pattern.get(pattern_at) == Some(&b'*') {
            while pattern.get(pattern_at) == Some(&b'*') {
                pattern_at += 1;
            }
            if pattern_at >= pattern.len() {
                return true;
            }
            stars += 1;
            if stars > STARS_MAX {
                return false;
            }
            retry = Some((pattern_at, text_at + 1));
            continue;
        }
        if let Some(next) = match_one(pattern, pattern_at, text[text_at], nocase) {
            pattern_at = next;
            text_at += 1;
            continue;
        }
        match retry {
            None => return false,
            Some((behind_star, next_text)) => {
                (pattern_at, text_at) = (behind_star, next_text);
                retry = Some((behind_star, next_text + 1));
                if text_at >= text.len() {
                    return false;
                }
            }
        }
    }
}

/// Matches one byte against the item of the pattern at `at`, which is not a star; where the next item begins, or `None`.
fn match_one(pattern: &[u8], at: usize, byte: u8, nocase: bool) -> Option<usize> {
    match pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => {
            let (matched, next) = match_class(pattern, at + 1, byte, nocase);
            matched.then_some(next)
        }
        b'\\' => {
            // A backslash at the very end stands for itself.
            let at = if at + 1 < pattern.len() { at + 1 } else { at };
            same(pattern[at], byte, nocase).then_some(at + 1)
        }
        &literal => same(literal, byte, nocase).then_some(at + 1),
    }
}

/// Matches one byte against the class whose inside begins at `at`; also where the pattern goes on.
fn match_class(pattern: &[u8], mut at: usize, byte: u8, nocase: bool) -> (bool, usize) {
    let negated = pattern.get(at) == Some(&b'^');
    if negated {
        at += 1;
    }
    let mut matched = false;
    loop {
        match pattern.get(at..).unwrap_or_default() {
            [] => return (matched != negated, pattern.len()),
            [b'\\', escaped, ..] => {
                matched |= *escaped == byte;
                at += 2;
            }
            [b']', ..] => return (matched != negated, at + 1),
            [low, b'-', high, ..] => {
                matched |= in_range(*low, *high, byte, nocase);
                at += 3;
            }
            [literal, ..] => {
                matched |= same(*literal, byte, nocase);
                at += 1;
            }
        }
    }
}

fn in_range(low: u8, high: u8, byte: u8, nocase: bool) -> bool {
    let (low, high) = if low.cast_signed() > high.cast_signed() { (high, low) } else { (low, high) };
    if nocase {
        (c_lowercase(low)..=c_lowercase(high)).contains(&c_lowercase(byte))
    } else {
        (low.cast_signed()..=high.cast_signed()).contains(&byte.cast_signed())
    }
}

/// What C's `tolower` gives for a byte taken as `signed char`: the bytes above ASCII come back positive, but for 255,
/// which it takes for the end of a file. Ranges that reach beyond ASCII change their meaning by that.
fn c_lowercase(byte: u8) -> i16 {
    if byte == u8::MAX { -1 } else { i16::from(byte.to_ascii_lowercase()) }
}

fn same(one: u8, other: u8, nocase: bool) -> bool {
    one == other || (nocase && one.eq_ignore_ascii_case(&other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(matches(pattern.as_bytes(), text.as_bytes(), false), expected, "{pattern} against {text}");
    }

    #[test]
    fn items_match_as_documented() {
        check("h?llo", "hello", true);
        check("h?llo", "hllo", false);
        check("h*llo", "heeeello", true);
        check("h[ae]llo", "hallo", true);
        check("h[ae]llo", "hillo", false);
        check("h[^e]llo", "hallo", true);
        check("h[^e]llo", "hello", false);
        check("h[a-b]llo", "hbllo", true);
        check("h[b-a]llo", "hallo", true);
        check("a\\*", "a*", true);
        check("a\\*", "ab", false);
        check("[\\]]", "]", true);
        check("a\\", "a\\", true);
    }

    #[test]
    fn stars_backtrack_and_collapse() {
        check("a*b*c", "aXbXbc", true);
        check("a**c", "ac", true);
        check("a*", "a", true);
        check("*a", "ba", true);
        check("*a", "ab", false);
        check("*ab", "aab", true);
    }

    #[test]
    fn stock_oddities_hold() {
        check("*", "", false);
        check("", "", true);
        check("[^", "x", true);
        check("[", "x", false);
        check("[a", "a", true);
        check("[a-", "-", true);
        check("[a-]", "b", false);
        check("[a-]", "]", true);
        assert!(matches(b"[\x80-a]", b"B", false));
        assert!(!matches(b"[\x80-a]", b"B", true));
    }

    #[test]
    fn case_is_folded_on_request() {
        assert!(matches(b"MAX*", b"maxmemory", true));
        assert!(matches(b"[A-C]x", b"bX", true));
        assert!(!matches(b"MAX*", b"maxmemory", false));
    }

    #[test]
    fn abusive_patterns_end_soon() {
        let pattern = b"a*".repeat(900);
        let text = [vec![b'a'; 60_000], vec![b'b']].concat();
        assert!(matches(&pattern, &text, false));
        let pattern = [b"a*".repeat(900), vec![b'c']].concat();
        assert!(!matches(&pattern, &text, false));
        assert!(!matches(&b"*a".repeat(1002), &[b'a'; 3000], false));
    }

    proptest! {
        #[test]
        fn no_input_panics(pattern in proptest::collection::vec(prop_oneof![Just(b'*'), Just(b'['), Just(b']'), Just(b'\\'), Just(b'-'), Just(b'^'), any::<u8>()], 0..20),
                           text in proptest::collection::vec(any::<u8>(), 0..20), nocase: bool) {
            matches(&pattern, &text, nocase);
        }

        #[test]
        fn escaped_text_matches_itself(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let pattern: Vec<u8> = text.iter().flat_map(|&byte| [b'\\', byte]).collect();
            prop_assert!(matches(&pattern, &text, false));
        }
    }
}
