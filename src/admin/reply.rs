//! Reading RESP2 replies from a stream, and showing them as redis-cli does in a pipe.
//!
//! The other end may be anything that listens on a port: lengths, depth and line lengths have limits, and memory grows
//! with what has arrived, not with what is announced.

use std::io::{self, BufRead, Read};

use crate::base::number::parse_i64;

/// Lines of replies are statuses, errors and numbers.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Redis's own limit for a bulk string.
const BULK_BYTES_MAX: i64 = 512 << 20;
const ITEMS_MAX: i64 = 1 << 24;
const DEPTH_MAX: usize = 16;

/// One reply of RESP2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    /// A null bulk string or a null array.
    Nil,
    Array(Vec<Reply>),
}

impl Reply {
    /// The bytes of a string, a status or an error; empty for everything else.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Reply::Simple(bytes) | Reply::Error(bytes) | Reply::Bulk(bytes) => bytes,
            Reply::Integer(_) | Reply::Nil | Reply::Array(_) => &[],
        }
    }

    /// `bytes` as text; what is no UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// Appends the reply without quotes or types; items of an array stand on lines of their own.
    pub fn show(&self, out: &mut Vec<u8>) {
        match self {
            Reply::Simple(bytes) | Reply::Error(bytes) | Reply::Bulk(bytes) => out.extend_from_slice(bytes),
            Reply::Integer(number) => crate::base::number::format_i64(*number, out),
            Reply::Nil => {}
            Reply::Array(items) => {
                for (number, item) in items.iter().enumerate() {
                    if number > 0 {
                        out.push(b'\n');
                    }
                    item.show(out);
                }
            }
        }
    }
}

/// Reads one reply.
///
/// # Errors
/// The stream's own, `UnexpectedEof` when it ends first, `InvalidData` for what is no RESP2 or beyond the limits.
pub fn read_reply(stream: &mut impl BufRead) -> io::Result<Reply> {
    read_nested(stream, 0)
}

fn read_nested(stream: &mut impl BufRead, depth: usize) -> io::Result<Reply> {
    let line = read_line(stream)?;
    let (kind, rest) = line.split_first().ok_or_else(|| invalid("an empty line"))?;
    let number = || parse_i64(rest).ok_or_else(|| invalid("a number was expected"));
    Ok(match kind {
        b'+' => Reply::Simple(rest.to_vec()),
        b'-' => Reply::Error(rest.to_vec()),
        b':' => Reply::Integer(number()?),
        b'$' => match number()? {
            -1 => Reply::Nil,
            length @ 0..=BULK_BYTES_MAX => Reply::Bulk(read_bulk(stream, length.cast_unsigned())?),
            _ => return Err(invalid("a length out of range")),
        },
        b'*' => match number()? {
            -1 => Reply::Nil,
            count @ 0..=ITEMS_MAX if depth < DEPTH_MAX => {
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(read_nested(stream, depth + 1)?);
                }
                Reply::Array(items)
            }
            _ => return Err(invalid("an array out of range")),
        },
        _ => return Err(invalid("an unknown kind of reply")),
    })
}

/// A line without its end.
fn read_line(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    stream.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\r\n") {
        Some(text) => Ok(text.to_vec()),
        None if line.len() as u64 == LINE_BYTES_MAX || line.ends_with(b"\n") => Err(invalid("a line without its end")),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn read_bulk(stream: &mut impl BufRead, length_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let got = stream.by_ref().take(length_bytes).read_to_end(&mut bytes)?;
    let mut end = [0; 2];
    stream.read_exact(&mut end)?;
    if got as u64 != length_bytes || end != *b"\r\n" {
        return Err(invalid("a string that does not end where it says"));
    }
    Ok(bytes)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.show(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_kind_is_read_and_shown() {
        let cases: &[(&str, &str)] = &[
            ("+OK\r\n", "OK"),
            ("-ERR no\r\n", "ERR no"),
            (":-7\r\n", "-7"),
            ("$5\r\na\r\nbc\r\n", "a\r\nbc"),
            ("$0\r\n\r\n", ""),
            ("$-1\r\n", ""),
            ("*-1\r\n", ""),
            ("*3\r\n:1\r\n*2\r\n+a\r\n+b\r\n$-1\r\n", "1\na\nb\n"),
        ];
        for (bytes, text) in cases {
            let mut stream = bytes.as_bytes();
            assert_eq!(shown(&read_reply(&mut stream).unwrap()), *text, "{bytes:?}");
            assert!(stream.is_empty());
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        let cases = [
            "",
            "+OK",
            "HTTP/1.1 400 Bad Request\r\n",
            "$3\r\nab",
            "$3\r\nabcd\r\n",
            "$-2\r\n",
            ":x\r\n",
            "+a\n",
            "\r\n",
        ];
        for bytes in cases {
            assert!(read_reply(&mut bytes.as_bytes()).is_err(), "{bytes:?}");
        }
        let deep = "*1\r\n".repeat(1000);
        assert_eq!(read_reply(&mut deep.as_bytes()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(read_reply(&mut "*16777217\r\n".as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'*'), Just(b'$'), Just(b'1'), any::<u8>()], 0..200)) {
            let _ = read_reply(&mut bytes.as_slice());
        }
    }
}
