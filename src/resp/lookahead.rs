//! A few requests read ahead of running them, so that the keys of all of them can be fetched into the cache at once.

use super::args::{Args, Span};
use super::request::{Parse, RequestLimits, RequestParser};

/// Requests read ahead at most: as many keys as the processor can wait for at a time, and some.
pub const LOOKAHEAD_MAX: usize = 16;

/// Requests of very many arguments are rare: a table for more is not kept.
const SPANS_KEPT: usize = 1024 * LOOKAHEAD_MAX;

/// Requests that lie whole in one buffer, small arguments only. Reused from call to call.
#[derive(Default)]
pub struct Lookahead {
    /// Where each request begins in the data, and where its spans end.
    requests: Vec<(usize, usize)>,
    spans: Vec<Span>,
}

/// Why reading ahead stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// As many as were asked for.
    Full,
    /// The parser holds a request that cannot be kept aside (inline, or with a large argument): run it by itself.
    Single { bytes: usize },
    /// As the parser says.
    Other(Parse),
}

impl Lookahead {
    /// Parses up to `count` requests of `data` from `at` on, which moves behind each one that is kept.
    pub fn fill(
        &mut self,
        parser: &mut RequestParser,
        data: &[u8],
        at: &mut usize,
        limits: &RequestLimits,
        count: usize,
    ) -> Stopped {
        self.requests.clear();
        self.spans.clear();
        if self.spans.capacity() > SPANS_KEPT {
            self.spans = Vec::new();
        }
        while self.requests.len() < count {
            match parser.parse(&data[*at..], limits) {
                Parse::Request { bytes } => {
                    let Some(spans) = parser.plain_spans() else { return Stopped::Single { bytes } };
                    if !spans.is_empty() {
                        self.spans.extend_from_slice(spans);
                        self.requests.push((*at, self.spans.len()));
                    }
                    parser.next();
                    *at += bytes;
                }
                other => return Stopped::Other(other),
            }
        }
        Stopped::Full
    }

    pub fn len(&self) -> usize {
        self.requests.len()
    }

    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The arguments of each request, in order.
    #[inline]
    pub fn requests<'a>(&'a self, data: &'a [u8]) -> impl Iterator<Item = Args<'a>> + 'a {
        let mut begin = 0;
        self.requests.iter().map(move |(start, end)| {
            let spans = &self.spans[begin..*end];
            begin = *end;
            Args::from_parts(&data[*start..], spans, &[])
        })
    }
}
