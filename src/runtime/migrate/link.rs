//! One connection to a target.

use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use super::super::send_queue::SendQueue;
use super::Target;

/// A longer line is no reply to what MIGRATE asks.
const LINE_BYTES_MAX: usize = 64 << 10;

/// A socket with what has still to leave, and the beginning of a line.
pub struct Link {
    pub target: Target,
    pub stream: TcpStream,
    /// It is connected.
    pub is_open: bool,
    /// The ring is to say when there is room.
    pub awaits_room: bool,
    pub queue: SendQueue,
    /// None when it is not known.
    pub selected_db: Option<i64>,
    /// Since when nobody has used it, in monotonic milliseconds; none while somebody does.
    pub idle_since_ms: Option<u64>,
    input: Vec<u8>,
}

impl Link {
    pub fn new(target: Target, stream: TcpStream) -> Link {
        Link {
            target,
            stream,
            is_open: false,
            awaits_room: true,
            queue: SendQueue::default(),
            selected_db: None,
            idle_since_ms: None,
            input: Vec::new(),
        }
    }

    /// Whether it is connected, and nobody uses it.
    pub fn is_kept(&self) -> bool {
        self.is_open && self.idle_since_ms.is_some()
    }

    pub fn descriptor(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// What the connection has failed of, if it has.
    pub fn take_error(&self) -> io::Result<()> {
        self.stream.take_error()?.map_or(Ok(()), Err)
    }

    pub fn shut_down(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.read(into)
    }

    /// Takes whole lines out of what has come, together with what had come before. False when a line is too long.
    pub fn take(&mut self, bytes: &[u8], lines: &mut Vec<Vec<u8>>) -> bool {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.input.extend_from_slice(piece);
            if self.input.len() > LINE_BYTES_MAX {
                return false;
            }
            if let Some(line) = self.input.strip_suffix(b"\n") {
                lines.push(line.strip_suffix(b"\r").unwrap_or(line).to_vec());
                self.input.clear();
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_however_they_are_cut() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let target = || Target { host: b"h".to_vec(), port: b"1".to_vec() };
        let bytes = b"+OK\r\n-ERR no\r\n\r\n+last\n+rest";
        for step in 1..bytes.len() {
            let (mut link, mut lines) = (Link::new(target(), stream()), Vec::new());
            assert!(bytes.chunks(step).all(|piece| link.take(piece, &mut lines)));
            assert_eq!(lines, [&b"+OK"[..], b"-ERR no", b"", b"+last"], "in steps of {step}");
        }
        let mut link = Link::new(target(), stream());
        assert!(!link.take(&[b'x'; LINE_BYTES_MAX + 1], &mut Vec::new()));
    }
}
