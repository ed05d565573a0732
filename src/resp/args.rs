//! The arguments of one request: views into the bytes that were received, or an owned copy.

use std::ops::Index;

use bytes::Bytes;

/// Where an argument lies: in the request's bytes, or in its list of large arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    length: u32,
}

impl Span {
    /// `start` of a span that is an index into the large arguments; the index is the length.
    const LARGE: u32 = u32::MAX;

    /// # Panics
    /// From 4 GiB on: the query buffer limit is far below, and who reads files looks before.
    pub fn of(start: usize, length: usize) -> Span {
        assert!(start < Span::LARGE as usize && length < Span::LARGE as usize);
        Span { start: start as u32, length: length as u32 }
    }

    pub(super) fn large(index: usize) -> Span {
        Span { start: Span::LARGE, length: index as u32 }
    }
}

/// The arguments of one request, the command's name first. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    data: &'a [u8],
    spans: &'a [Span],
    large: &'a [Bytes],
}

impl<'a> Args<'a> {
    /// Arguments that someone laid out with `copy_into`, or that the parser found.
    pub fn from_parts(data: &'a [u8], spans: &'a [Span], large: &'a [Bytes]) -> Args<'a> {
        Args { data, spans, large }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|span| self.resolve(*span))
    }

    #[inline]
    fn resolve(&self, span: Span) -> &'a [u8] {
        match span.start {
            Span::LARGE => &self.large[span.length as usize],
            start => &self.data[start as usize..start as usize + span.length as usize],
        }
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let args = *self;
        self.spans.iter().map(move |span| args.resolve(*span))
    }

    /// The argument as a shared buffer, when it was large enough to be received into one: no copy.
    pub fn shared(&self, index: usize) -> Option<Bytes> {
        let span = self.spans.get(index)?;
        (span.start == Span::LARGE).then(|| self.large[span.length as usize].clone())
    }

    /// Bytes of all arguments together.
    pub fn total_bytes(&self) -> usize {
        self.iter().map(<[u8]>::len).sum()
    }

    /// Bytes of the request as the protocol has it: an array of bulk strings.
    pub fn wire_bytes(&self) -> usize {
        let framed = |length: usize| 3 + length.checked_ilog10().map_or(1, |power| power as usize + 1);
        framed(self.len()) + self.iter().map(|argument| framed(argument.len()) + argument.len() + 2).sum::<usize>()
    }

    /// Lays the arguments out at the end of shared buffers: small ones copied, large ones shared. `large_base` is where
    /// this request's large arguments begin in `large`.
    pub fn copy_into(&self, data: &mut Vec<u8>, spans: &mut Vec<Span>, large: &mut Vec<Bytes>, large_base: usize) {
        for span in self.spans {
            if span.start == Span::LARGE {
                spans.push(Span::large(large.len() - large_base));
                large.push(self.large[span.length as usize].clone());
            } else {
                let bytes = self.resolve(*span);
                spans.push(Span::of(data.len(), bytes.len()));
                data.extend_from_slice(bytes);
            }
        }
    }
}

/// `args[i]` for an index below the arity that the gate has checked.
impl Index<usize> for Args<'_> {
    type Output = [u8];

    #[inline]
    fn index(&self, index: usize) -> &[u8] {
        self.resolve(self.spans[index])
    }
}

/// Arguments that own their bytes.
#[derive(Clone, Debug, Default)]
pub struct ArgsBuf {
    data: Vec<u8>,
    spans: Vec<Span>,
    large: Vec<Bytes>,
}

impl ArgsBuf {
    pub fn as_args(&self) -> Args<'_> {
        Args::from_parts(&self.data, &self.spans, &self.large)
    }

    /// Appends an argument.
    pub fn push(&mut self, bytes: &[u8]) {
        self.spans.push(Span::of(self.data.len(), bytes.len()));
        self.data.extend_from_slice(bytes);
    }
}

impl From<&Args<'_>> for ArgsBuf {
    fn from(args: &Args<'_>) -> ArgsBuf {
        let mut copy = ArgsBuf::default();
        args.copy_into(&mut copy.data, &mut copy.spans, &mut copy.large, 0);
        copy
    }
}

impl<B: AsRef<[u8]>> FromIterator<B> for ArgsBuf {
    fn from_iter<I: IntoIterator<Item = B>>(arguments: I) -> ArgsBuf {
        let mut args = ArgsBuf::default();
        arguments.into_iter().for_each(|argument| args.push(argument.as_ref()));
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::write_request;

    #[test]
    fn wire_bytes_are_those_of_the_request_written_out() {
        let words = |count: usize, length: usize| vec![vec![b'x'; length]; count];
        for arguments in [words(1, 0), words(1, 9), words(9, 10), words(10, 99), words(101, 1000)] {
            let args: ArgsBuf = arguments.iter().collect();
            let mut written = Vec::new();
            write_request(&mut written, args.as_args().iter());
            assert_eq!(args.as_args().wire_bytes(), written.len());
        }
    }
}
