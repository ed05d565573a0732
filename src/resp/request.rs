//! The request parser: finds one request after the other in the bytes of a connection, in place and without reading a
//! byte twice.
//!
//! The connection calls `parse` with all bytes from the start of the current request. Small arguments stay where they
//! are and are named by spans; a bulk of at least `LARGE_BYTES_MIN` is collected in a buffer of its own, which becomes the
//! value without another copy. What is not there yet leaves the parser where it stopped: a request of a million
//! arguments that arrives in small pieces costs linear time.

use bytes::Bytes;
use memchr::memchr2;

use super::args::{Args, Span};
use crate::base::number::parse_i64;
use crate::base::words::split_words_into;

/// A bulk from here on gets a buffer of its own (Redis's PROTO_MBULK_BIG_ARG).
pub const LARGE_BYTES_MIN: usize = 32 * 1024;
/// Longest inline request and longest length line (Redis's PROTO_INLINE_MAX_SIZE).
const LINE_BYTES_MAX: usize = 64 * 1024;
/// What a length line alone can make us reserve; beyond it the client must have sent half as much.
const RESERVED_BYTES_MAX: usize = 1024 * 1024;
/// Memory for inline words that is kept for the next request.
const INLINE_BYTES_KEPT: usize = 1024;
/// Limits of a client that has yet to authenticate.
const UNAUTHENTICATED_ARGUMENTS_MAX: i64 = 10;
const UNAUTHENTICATED_BULK_BYTES_MAX: i64 = 16384;

/// What a client may ask for.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Longest bulk, in bytes (`proto-max-bulk-len`).
    pub bulk_bytes_max: u64,
    /// A client that still has to authenticate is held shorter.
    pub authenticated: bool,
}

/// What `parse` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parse {
    /// A whole request in the first `bytes` of the data; `args` has its arguments (none for an empty one). Call `next`
    /// before parsing what follows.
    Request { bytes: usize },
    /// More is needed. Keep the first `keep` bytes of the data and parse again with what comes appended to them; the
    /// rest has been taken over.
    Incomplete { keep: usize },
    /// The reply is the error, and the connection ends.
    Error(ProtocolError),
}

/// What a client did wrong; the text is Redis's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    TooBigInline,
    UnbalancedQuotes,
    TooBigCount,
    InvalidCount,
    UnauthenticatedCount,
    TooBigBulkCount,
    ExpectedDollar(u8),
    InvalidBulk,
    UnauthenticatedBulk,
}

impl ProtocolError {
    /// The error line without the leading `-`.
    pub fn text(&self) -> String {
        let reason = match self {
            ProtocolError::TooBigInline => "too big inline request".into(),
            ProtocolError::UnbalancedQuotes => "unbalanced quotes in request".into(),
            ProtocolError::TooBigCount => "too big mbulk count string".into(),
            ProtocolError::InvalidCount => "invalid multibulk length".into(),
            ProtocolError::UnauthenticatedCount => "unauthenticated multibulk length".into(),
            ProtocolError::TooBigBulkCount => "too big bulk count string".into(),
            ProtocolError::ExpectedDollar(got) => format!("expected '$', got '{}'", *got as char),
            ProtocolError::InvalidBulk => "invalid bulk length".into(),
            ProtocolError::UnauthenticatedBulk => "unauthenticated bulk length".into(),
        };
        format!("ERR Protocol error: {reason}")
    }
}

/// A large argument on its way.
struct Filling {
    bytes: Vec<u8>,
    length: usize,
    /// Bytes of the line end behind it that have come, of two.
    line_end: usize,
}

impl Filling {
    fn new(length: usize) -> Filling {
        Filling { bytes: Vec::with_capacity(length.min(RESERVED_BYTES_MAX)), length, line_end: 0 }
    }

    fn is_complete(&self) -> bool {
        self.bytes.len() == self.length && self.line_end == 2
    }

    /// Takes what belongs to it; returns how many bytes that is.
    fn feed(&mut self, chunk: &[u8]) -> usize {
        let wanted = self.length - self.bytes.len();
        let taken = wanted.min(chunk.len());
        if self.bytes.capacity() < self.bytes.len() + taken {
            // Doubled up to the announced length: the value ends in a buffer of exactly its size.
            let capacity = (2 * self.bytes.capacity()).max(self.bytes.len() + taken);
            self.bytes.reserve_exact(capacity.min(self.length) - self.bytes.len());
        }
        self.bytes.extend_from_slice(&chunk[..taken]);
        if self.bytes.len() < self.length {
            return taken;
        }
        let line_end = (2 - self.line_end).min(chunk.len() - taken);
        self.line_end += line_end;
        taken + line_end
    }
}

/// The parser of one connection.
#[derive(Default)]
pub struct RequestParser {
    /// How far the current request has been read, from its start.
    at: usize,
    /// Bytes after `at` known to hold no line end.
    scanned: usize,
    /// Arguments still to come, once the count is known.
    missing: Option<usize>,
    /// Length of the argument that comes next, once its header is read.
    bulk: Option<usize>,
    spans: Vec<Span>,
    large: Vec<Bytes>,
    filling: Option<Filling>,
    /// Words of an inline request.
    inline: Vec<u8>,
    /// The spans point into `inline`.
    is_inline: bool,
}

impl RequestParser {
    pub fn new() -> RequestParser {
        RequestParser::default()
    }

    /// The arguments of the request that `parse` has just found in `data`.
    #[inline]
    pub fn args<'a>(&'a self, data: &'a [u8]) -> Args<'a> {
        Args::from_parts(if self.is_inline { &self.inline } else { data }, &self.spans, &self.large)
    }

    /// The spans of the request just found, when all its arguments lie in the data itself.
    #[inline]
    pub(super) fn plain_spans(&self) -> Option<&[Span]> {
        (!self.is_inline && self.large.is_empty()).then_some(&self.spans)
    }

    /// Begins the next request.
    #[inline]
    pub fn next(&mut self) {
        self.at = 0;
        self.scanned = 0;
        self.missing = None;
        self.spans.clear();
        if !self.large.is_empty() {
            self.large.clear();
        }
        if self.is_inline {
            self.is_inline = false;
            self.inline.clear();
            self.inline.shrink_to(INLINE_BYTES_KEPT);
        }
        // A request of very many arguments is rare: do not keep its table.
        if self.spans.capacity() > 4096 {
            self.spans = Vec::new();
        }
    }

    /// Has part of a request been read?
    pub fn is_inside_request(&self) -> bool {
        self.at > 0 || self.missing.is_some()
    }

    /// Memory beyond the connection's own buffer.
    pub fn memory_bytes(&self) -> usize {
        let filling = self.filling.as_ref().map_or(0, |f| f.bytes.capacity());
        filling + self.large.iter().map(Bytes::len).sum::<usize>() + self.spans.capacity() * size_of::<Span>()
    }

    /// Bytes of large arguments that have come so far.
    pub fn collected_bytes(&self) -> usize {
        let filling = self.filling.as_ref().map_or(0, |filling| filling.bytes.len());
        filling + self.large.iter().map(Bytes::len).sum::<usize>()
    }

    /// Feeds bytes straight into a large argument that is being collected, past the connection's buffer. Returns how many
    /// it took: 0 when none is.
    pub fn feed_large(&mut self, chunk: &[u8]) -> usize {
        self.filling.as_mut().map_or(0, |filling| filling.feed(chunk))
    }

    /// Reads on in `data`, which begins where the current request begins.
    #[inline]
    pub fn parse(&mut self, data: &[u8], limits: &RequestLimits) -> Parse {
        match self.advance(data, limits) {
            Ok(true) => Parse::Request { bytes: self.at },
            Ok(false) => Parse::Incomplete { keep: if self.filling.is_some() { self.at } else { data.len() } },
            Err(error) => Parse::Error(error),
        }
    }

    /// True when a whole request is there, false when more is needed.
    fn advance(&mut self, data: &[u8], limits: &RequestLimits) -> Result<bool, ProtocolError> {
        let mut missing = match self.missing {
            Some(missing) => missing,
            None => match data.first() {
                None => return Ok(false),
                Some(b'*') => match self.read_count(data, limits)? {
                    Some(count) => count,
                    None => return Ok(false),
                },
                Some(_) => return self.read_inline(data),
            },
        };
        while missing > 0 {
            if !self.read_argument(data, limits)? {
                self.missing = Some(missing);
                return Ok(false);
            }
            missing -= 1;
        }
        self.missing = Some(0);
        Ok(true)
    }

    /// `*<count>\r\n`; a count of zero or less is an empty request.
    fn read_count(&mut self, data: &[u8], limits: &RequestLimits) -> Result<Option<usize>, ProtocolError> {
        let Some(line) = self.line(data, ProtocolError::TooBigCount)? else { return Ok(None) };
        let count = parse_i64(&data[1..line]).ok_or(ProtocolError::InvalidCount)?;
        if count > i64::from(i32::MAX) {
            return Err(ProtocolError::InvalidCount);
        }
        if count > UNAUTHENTICATED_ARGUMENTS_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedCount);
        }
        self.at = line + 2;
        let count = count.max(0) as usize;
        self.missing = Some(count);
        Ok(Some(count))
    }

    /// `$<length>\r\n<bytes>\r\n`. False when it is not all there.
    #[inline]
    fn read_argument(&mut self, data: &[u8], limits: &RequestLimits) -> Result<bool, ProtocolError> {
        let length = match self.bulk {
            Some(length) => length,
            None => match self.read_length(data, limits)? {
                Some(length) => length,
                None => return Ok(false),
            },
        };
        if length >= LARGE_BYTES_MIN {
            return Ok(self.read_large(data, length));
        }
        // The two bytes after the argument are passed over unread, as Redis does.
        let end = self.at + length;
        if data.len() < end + 2 {
            self.bulk = Some(length);
            return Ok(false);
        }
        self.spans.push(Span::of(self.at, length));
        self.bulk = None;
        self.at = end + 2;
        Ok(true)
    }

    #[inline]
    fn read_length(&mut self, data: &[u8], limits: &RequestLimits) -> Result<Option<usize>, ProtocolError> {
        // Nearly all lengths have one or two digits.
        match data.get(self.at..self.at + 5) {
            Some(&[b'$', d @ b'0'..=b'9', b'\r', b'\n', _]) => {
                self.at += 4;
                self.scanned = 0;
                Ok(Some((d - b'0') as usize))
            }
            Some(&[b'$', tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n']) => {
                self.at += 5;
                self.scanned = 0;
                Ok(Some((tens - b'0') as usize * 10 + (ones - b'0') as usize))
            }
            _ => self.read_any_length(data, limits),
        }
    }

    fn read_any_length(&mut self, data: &[u8], limits: &RequestLimits) -> Result<Option<usize>, ProtocolError> {
        let Some(line) = self.line(data, ProtocolError::TooBigBulkCount)? else { return Ok(None) };
        if data[self.at] != b'$' {
            return Err(ProtocolError::ExpectedDollar(data[self.at]));
        }
        let length = parse_i64(&data[self.at + 1..line]).ok_or(ProtocolError::InvalidBulk)?;
        if length < 0 || length as u64 > limits.bulk_bytes_max {
            return Err(ProtocolError::InvalidBulk);
        }
        if length > UNAUTHENTICATED_BULK_BYTES_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedBulk);
        }
        self.at = line + 2;
        self.scanned = 0;
        Ok(Some(length as usize))
    }

    /// Takes what there is of a large argument out of `data`: all of it, unless the argument ends there.
    fn read_large(&mut self, data: &[u8], length: usize) -> bool {
        self.bulk = Some(length);
        self.filling.get_or_insert_with(|| Filling::new(length));
        let taken = self.feed_large(&data[self.at..]);
        match self.filling.take_if(|filling| filling.is_complete()) {
            // What was taken is not kept: the position stays, and what comes next is appended there.
            None => false,
            Some(filling) => {
                self.at += taken;
                self.bulk = None;
                self.spans.push(Span::large(self.large.len()));
                self.large.push(Bytes::from(filling.bytes));
                true
            }
        }
    }

    /// The index of the `\r` that ends the line at `at`, once the byte behind it is there too.
    fn line(&mut self, data: &[u8], too_long: ProtocolError) -> Result<Option<usize>, ProtocolError> {
        match self.find_in_line(data, b'\r') {
            Some(end) if end + 1 < data.len() => {
                self.scanned = 0;
                Ok(Some(end))
            }
            Some(_) => Ok(None),
            None if data.len().saturating_sub(self.at) > LINE_BYTES_MAX => Err(too_long),
            None => Ok(None),
        }
    }

    /// Where `wanted` first stands in the line at `at`. A NUL hides all that follows it, as it does from Redis's
    /// `strchr`: such a line never ends, but in the error for long ones. The search is taken up where it stopped.
    fn find_in_line(&mut self, data: &[u8], wanted: u8) -> Option<usize> {
        let from = self.at + self.scanned;
        let rest = data.get(from..).unwrap_or_default();
        let offset = memchr2(wanted, 0, rest).unwrap_or(rest.len());
        self.scanned += offset;
        (rest.get(offset) == Some(&wanted)).then_some(from + offset)
    }

    /// A line of words.
    fn read_inline(&mut self, data: &[u8]) -> Result<bool, ProtocolError> {
        let Some(end) = self.find_in_line(data, b'\n') else {
            return if data.len() > LINE_BYTES_MAX { Err(ProtocolError::TooBigInline) } else { Ok(false) };
        };
        let line = &data[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let spans = &mut self.spans;
        self.is_inline = true;
        if !split_words_into(line, &mut self.inline, |start, length| spans.push(Span::of(start, length))) {
            return Err(ProtocolError::UnbalancedQuotes);
        }
        self.at = end + 1;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: RequestLimits = RequestLimits { bulk_bytes_max: 512 << 20, authenticated: true };

    /// Parses chunks as a connection does; each request as a list of its arguments.
    fn parse_chunks(chunks: &[&[u8]], limits: &RequestLimits) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
        let (mut parser, mut left, mut requests) = (RequestParser::new(), Vec::new(), Vec::new());
        for chunk in chunks {
            let taken = parser.feed_large(chunk);
            left.extend_from_slice(&chunk[taken..]);
            let mut at = 0;
            loop {
                match parser.parse(&left[at..], limits) {
                    Parse::Request { bytes } => {
                        requests.push(parser.args(&left[at..]).iter().map(<[u8]>::to_vec).collect());
                        parser.next();
                        at += bytes;
                    }
                    Parse::Incomplete { keep } => {
                        left.truncate(at + keep);
                        break;
                    }
                    Parse::Error(error) => return Err(error),
                }
            }
            left.drain(..at);
        }
        Ok(requests)
    }

    fn encode(request: &[Vec<u8>]) -> Vec<u8> {
        let mut out = format!("*{}\r\n", request.len()).into_bytes();
        for argument in request {
            out.extend(format!("${}\r\n", argument.len()).bytes());
            out.extend(argument);
            out.extend(b"\r\n");
        }
        out
    }

    fn error_of(bytes: &[u8]) -> String {
        parse_chunks(&[bytes], &LIMITS).unwrap_err().text()
    }

    #[test]
    fn protocol_errors_have_redis_s_text() {
        for (bytes, text) in [
            (&b"*abc\r\n"[..], "invalid multibulk length"),
            (b"*3000000000\r\n", "invalid multibulk length"),
            (b"*1\r\nfoo\r\n", "expected '$', got 'f'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$536870913\r\n", "invalid bulk length"),
            (b"set \"a\r\n", "unbalanced quotes in request"),
        ] {
            assert_eq!(error_of(bytes), format!("ERR Protocol error: {text}"));
        }
        assert_eq!(error_of(&[b'a'; LINE_BYTES_MAX + 1]), "ERR Protocol error: too big inline request");
        assert_eq!(error_of(&[b'*'; LINE_BYTES_MAX + 1]), "ERR Protocol error: too big mbulk count string");
    }

    #[test]
    fn who_has_not_authenticated_is_held_short() {
        let limits = RequestLimits { authenticated: false, ..LIMITS };
        for (bytes, error) in [
            (&b"*11\r\n"[..], ProtocolError::UnauthenticatedCount),
            (b"*2\r\n$16385\r\n", ProtocolError::UnauthenticatedBulk),
        ] {
            assert_eq!(parse_chunks(&[bytes], &limits), Err(error));
        }
    }

    #[test]
    fn empty_requests_and_inline_ones_are_requests() {
        let requests = parse_chunks(&[b"\r\n*0\r\n*-1\r\nPING\r\nset k 'a b'\n"], &LIMITS).unwrap();
        let shape: Vec<Vec<&[u8]>> = requests.iter().map(|r| r.iter().map(Vec::as_slice).collect()).collect();
        assert_eq!(shape, [vec![], vec![], vec![], vec![&b"PING"[..]], vec![&b"set"[..], b"k", b"a b"]]);
    }

    #[test]
    fn a_length_alone_reserves_little() {
        let mut parser = RequestParser::new();
        let head = b"*2\r\n$3\r\nSET\r\n$536870912\r\n";
        assert!(matches!(parser.parse(head, &LIMITS), Parse::Incomplete { .. }));
        assert!(parser.memory_bytes() <= 2 * RESERVED_BYTES_MAX, "{}", parser.memory_bytes());
    }

    #[test]
    fn a_large_argument_is_a_buffer_of_its_own() {
        let request = vec![b"SET".to_vec(), vec![7; LARGE_BYTES_MIN + 1], vec![8; 3], vec![9; LARGE_BYTES_MIN]];
        let bytes = encode(&request);
        for chunk in [1000, 16384, 40000, bytes.len()] {
            let chunks: Vec<&[u8]> = bytes.chunks(chunk).collect();
            assert_eq!(parse_chunks(&chunks, &LIMITS).unwrap(), std::slice::from_ref(&request), "{chunk}");
        }
    }

    #[test]
    fn a_large_argument_grows_with_what_arrives() {
        let mut parser = RequestParser::new();
        let mut data = b"*1\r\n$400000000\r\n".to_vec();
        data.extend(std::iter::repeat_n(b'v', 3 * RESERVED_BYTES_MAX));
        assert!(matches!(parser.parse(&data, &LIMITS), Parse::Incomplete { .. }));
        assert!(parser.memory_bytes() < 8 * RESERVED_BYTES_MAX, "{}", parser.memory_bytes());
    }

    #[test]
    fn a_nul_hides_the_end_of_its_line() {
        let fill = [b'A'; LINE_BYTES_MAX];
        for (start, text) in [
            (&b"\0\n"[..], "too big inline request"),
            (b"*\0\r\n", "too big mbulk count string"),
            (b"*1\r\n$\0\r\n", "too big bulk count string"),
        ] {
            assert_eq!(parse_chunks(&[start], &LIMITS), Ok(vec![]));
            assert_eq!(error_of(&[start, &fill].concat()), format!("ERR Protocol error: {text}"));
            let chunks: Vec<&[u8]> = std::iter::once(start).chain(fill.chunks(1000)).collect();
            assert_eq!(parse_chunks(&chunks, &LIMITS).unwrap_err().text(), format!("ERR Protocol error: {text}"));
        }
    }

    #[test]
    fn inline_words_end_at_blanks_only() {
        let requests = parse_chunks(&[b"\x0ba\x0bb \"c\"\x0bd\r\nPING\n"], &LIMITS).unwrap();
        assert_eq!(requests, [vec![b"a\x0bb".to_vec(), b"c".to_vec(), b"d".to_vec()], vec![b"PING".to_vec()]]);
    }

    fn argument() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            8 => proptest::collection::vec(any::<u8>(), 0..40),
            1 => (LARGE_BYTES_MIN - 2..LARGE_BYTES_MIN + 2).prop_map(|length| vec![b'\r'; length]),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn where_a_pipeline_is_cut_does_not_matter(
            requests in proptest::collection::vec(proptest::collection::vec(argument(), 1..5), 1..5),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
        ) {
            let bytes: Vec<u8> = requests.iter().flat_map(|request| encode(request)).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(parse_chunks(&chunks, &LIMITS).unwrap(), requests);
        }

        #[test]
        fn any_bytes_parse_alike_however_cut_and_never_panic(
            bytes in proptest::collection::vec(prop_oneof![Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'"'), b'0'..=b'9', any::<u8>()], 0..200),
            size in 1usize..50,
        ) {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assert_eq!(parse_chunks(&chunks, &LIMITS), parse_chunks(&[&bytes], &LIMITS));
        }
    }
}
