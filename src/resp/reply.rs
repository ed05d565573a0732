//! Writing replies, in either version of the protocol, into a `ReplyBuffer`.

use bytes::Bytes;

use super::buffer::{Mark, ReplyBuffer, SHARED_BYTES_MIN};
use crate::base::number::{format_double, format_double_resp3};

/// The version that a client has chosen with HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RespVersion {
    #[default]
    V2,
    V3,
}

/// A reply being written.
pub struct Reply<'a> {
    buffer: &'a mut ReplyBuffer,
    version: RespVersion,
}

/// An array, set or map whose length comes later. Must be given to `Reply::finish`.
#[must_use]
pub struct Deferred {
    mark: Mark,
    kind: Aggregate,
}

#[derive(Clone, Copy)]
enum Aggregate {
    Array,
    Set,
    Map,
}

impl<'a> Reply<'a> {
    pub fn new(buffer: &'a mut ReplyBuffer, version: RespVersion) -> Reply<'a> {
        Reply { buffer, version }
    }

    pub fn version(&self) -> RespVersion {
        self.version
    }

    /// HELLO changes the version of its own reply.
    pub fn set_version(&mut self, version: RespVersion) {
        self.version = version;
    }

    /// Whether the reply has grown beyond what its client may have waiting: whoever writes may stop.
    #[inline]
    pub fn is_cut_off(&self) -> bool {
        self.buffer.is_cut_off()
    }

    fn is_v3(&self) -> bool {
        self.version == RespVersion::V3
    }

    /// `<kind><number>\r\n`.
    #[inline]
    fn header(&mut self, kind: u8, number: i64) {
        self.buffer.append(|out| write_header(out, kind, number));
    }

    pub fn ok(&mut self) {
        self.buffer.extend(b"+OK\r\n");
    }

    /// `+text`. The text is ours and has no line ends.
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']));
        self.buffer.append(|out| {
            out.push(b'+');
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        });
    }

    /// `+text` of bytes that are not ours. Line ends become spaces.
    pub fn status(&mut self, line: &[u8]) {
        self.buffer.append(|out| {
            out.push(b'+');
            out.extend(line.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
            out.extend_from_slice(b"\r\n");
        });
    }

    /// `-text`. Line ends, which may come from a client's own bytes, become spaces.
    pub fn error(&mut self, line: impl AsRef<[u8]>) {
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let line = line.as_ref();
        let line = &line[..line.iter().rposition(|byte| !is_end(byte)).map_or(0, |last| last + 1)];
        self.buffer.append(|out| {
            out.push(b'-');
            out.extend(line.iter().map(|byte| if is_end(byte) { b' ' } else { *byte }));
            out.extend_from_slice(b"\r\n");
        });
    }

    #[inline]
    pub fn integer(&mut self, value: i64) {
        self.header(b':', value);
    }

    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.buffer.append(|out| Reply::append_bulk(out, bytes));
    }

    /// Appends a bulk string to bytes that become part of a reply later (`raw`); all versions agree on its form.
    #[inline]
    pub fn append_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
        // Once for all parts, so that none of them stops to look for room.
        out.reserve(bytes.len() + 16);
        write_header(out, b'$', bytes.len() as i64);
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
    }

    /// A bulk whose bytes are shared with whoever owns them when that is worth it.
    pub fn bulk_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            return self.bulk(bytes);
        }
        self.header(b'$', bytes.len() as i64);
        self.buffer.push_shared(bytes.clone());
        self.buffer.extend(b"\r\n");
    }

    /// An integer as a bulk string.
    pub fn bulk_integer(&mut self, value: i64) {
        let mut digits = itoa::Buffer::new();
        self.bulk(digits.format(value).as_bytes());
    }

    pub fn null(&mut self) {
        self.buffer.extend(if self.is_v3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    pub fn null_array(&mut self) {
        self.buffer.extend(if self.is_v3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    #[inline]
    pub fn array(&mut self, length: usize) {
        self.header(b'*', length as i64);
    }

    /// `pairs` keys with a value each: an array of twice the length in version 2.
    pub fn map(&mut self, pairs: usize) {
        if self.is_v3() { self.header(b'%', pairs as i64) } else { self.header(b'*', 2 * pairs as i64) }
    }

    pub fn set(&mut self, length: usize) {
        self.header(if self.is_v3() { b'~' } else { b'*' }, length as i64);
    }

    /// An out-of-band message; an array in version 2.
    pub fn push(&mut self, length: usize) {
        self.header(if self.is_v3() { b'>' } else { b'*' }, length as i64);
    }

    /// Attributes of the reply that follows. Version 3 only.
    pub fn attribute(&mut self, pairs: usize) {
        assert!(self.is_v3(), "version 2 has no attributes");
        self.header(b'|', pairs as i64);
    }

    pub fn boolean(&mut self, value: bool) {
        match (self.is_v3(), value) {
            (true, true) => self.buffer.extend(b"#t\r\n"),
            (true, false) => self.buffer.extend(b"#f\r\n"),
            (false, value) => self.integer(value as i64),
        }
    }

    /// A double; a bulk string in version 2.
    pub fn double(&mut self, value: f64) {
        if self.is_v3() {
            self.buffer.append(|out| {
                out.push(b',');
                format_double_resp3(value, out);
                out.extend_from_slice(b"\r\n");
            });
        } else {
            let mut text = Vec::with_capacity(24);
            format_double(value, &mut text);
            self.bulk(&text);
        }
    }

    /// A big number; a bulk string in version 2.
    pub fn big_number(&mut self, digits: &str) {
        if !self.is_v3() {
            return self.bulk(digits.as_bytes());
        }
        self.buffer.append(|out| {
            out.push(b'(');
            out.extend_from_slice(digits.as_bytes());
            out.extend_from_slice(b"\r\n");
        });
    }

    /// Text with a three-letter format (`txt`, `mkd`); a bulk string in version 2.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        assert!(format.len() == 3);
        if !self.is_v3() {
            return self.bulk(text);
        }
        self.header(b'=', text.len() as i64 + 4);
        self.buffer.append(|out| {
            out.extend_from_slice(format.as_bytes());
            out.push(b':');
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
        });
    }

    /// A reply that was written elsewhere.
    pub fn append(&mut self, other: &mut ReplyBuffer) {
        let length = other.len_bytes();
        other.drain_into(self.buffer, length);
    }

    /// Bytes that are a reply already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend(bytes);
    }

    /// Array of bulk strings, each on a line of help.
    pub fn help(&mut self, container: &str, lines: &[&str]) {
        self.array(lines.len() + 3);
        self.simple(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
        lines.iter().for_each(|line| self.simple(line));
        self.simple("HELP");
        self.simple("    Print this help.");
    }

    /// Begins an array whose length `finish` gives.
    pub fn begin_array(&mut self) -> Deferred {
        Deferred { mark: self.buffer.mark(), kind: Aggregate::Array }
    }

    pub fn begin_set(&mut self) -> Deferred {
        Deferred { mark: self.buffer.mark(), kind: Aggregate::Set }
    }

    pub fn begin_map(&mut self) -> Deferred {
        Deferred { mark: self.buffer.mark(), kind: Aggregate::Map }
    }

    /// Ends what `begin_*` began: elements of an array or set, pairs of a map.
    pub fn finish(&mut self, deferred: Deferred, length: usize) {
        let (kind, number) = match (deferred.kind, self.is_v3()) {
            (Aggregate::Array, _) | (Aggregate::Set, false) => (b'*', length),
            (Aggregate::Set, true) => (b'~', length),
            (Aggregate::Map, true) => (b'%', length),
            (Aggregate::Map, false) => (b'*', 2 * length),
        };
        let mut header = Vec::with_capacity(16);
        write_header(&mut header, kind, number as i64);
        self.buffer.insert_at(deferred.mark, &header);
    }
}

#[inline]
fn write_header(out: &mut Vec<u8>, kind: u8, number: i64) {
    if (0..10).contains(&number) {
        out.extend_from_slice(&[kind, b'0' + number as u8, b'\r', b'\n']);
    } else if (10..100).contains(&number) {
        let number = number as u8;
        out.extend_from_slice(&[kind, b'0' + number / 10, b'0' + number % 10, b'\r', b'\n']);
    } else {
        out.push(kind);
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(version: RespVersion, write: impl FnOnce(&mut Reply<'_>)) -> String {
        let mut buffer = ReplyBuffer::new();
        write(&mut Reply::new(&mut buffer, version));
        String::from_utf8(buffer.to_vec()).unwrap()
    }

    #[test]
    fn each_kind_has_its_form_in_both_versions() {
        type Write = fn(&mut Reply<'_>);
        let cases: &[(Write, &str, &str)] = &[
            (|r| r.null(), "$-1\r\n", "_\r\n"),
            (|r| r.null_array(), "*-1\r\n", "_\r\n"),
            (|r| r.map(1), "*2\r\n", "%1\r\n"),
            (|r| r.set(12), "*12\r\n", "~12\r\n"),
            (|r| r.push(3), "*3\r\n", ">3\r\n"),
            (|r| r.boolean(true), ":1\r\n", "#t\r\n"),
            (|r| r.verbatim("txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
            (|r| r.integer(-123456), ":-123456\r\n", ":-123456\r\n"),
            (|r| r.bulk(b"0123456789"), "$10\r\n0123456789\r\n", "$10\r\n0123456789\r\n"),
            (|r| r.error("ERR a\r\nb\r\n"), "-ERR a  b\r\n", "-ERR a  b\r\n"),
        ];
        for (write, v2, v3) in cases {
            assert_eq!(written(RespVersion::V2, write), *v2);
            assert_eq!(written(RespVersion::V3, write), *v3);
        }
    }

    #[test]
    fn a_deferred_length_lands_before_its_elements() {
        let text = written(RespVersion::V3, |reply| {
            let outer = reply.begin_array();
            reply.integer(1);
            let inner = reply.begin_map();
            reply.bulk(b"k");
            reply.bulk(b"v");
            reply.finish(inner, 1);
            reply.finish(outer, 2);
        });
        assert_eq!(text, "*2\r\n:1\r\n%1\r\n$1\r\nk\r\n$1\r\nv\r\n");
    }
}
