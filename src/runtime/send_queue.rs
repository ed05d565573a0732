//! What has still to leave over a socket that does not wait: pieces of bytes in their order.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::TcpStream;

use bytes::{Buf, Bytes};

/// Pieces of one write.
const PIECES_MAX: usize = 64;

/// Pieces that wait for room in a socket.
#[derive(Default)]
pub struct SendQueue {
    pieces: VecDeque<Bytes>,
    queued_bytes: usize,
}

impl SendQueue {
    /// Puts bytes behind those that wait.
    pub fn push(&mut self, piece: Bytes) {
        self.queued_bytes += piece.len();
        self.pieces.push_back(piece);
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes that wait.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Memory that they take.
    pub fn allocated_bytes(&self) -> usize {
        self.queued_bytes + self.pieces.capacity() * size_of::<Bytes>()
    }

    /// Sends what the socket takes at once; how many bytes that were.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn flush(&mut self, stream: &mut TcpStream) -> io::Result<usize> {
        let before = self.queued_bytes;
        while !self.pieces.is_empty() {
            let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
            let count = self.pieces.len().min(PIECES_MAX);
            for (piece, waiting) in pieces.iter_mut().zip(&self.pieces) {
                *piece = IoSlice::new(waiting);
            }
            match stream.write_vectored(&pieces[..count]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.sent(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(before - self.queued_bytes),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pieces = VecDeque::new();
        Ok(before)
    }

    fn sent(&mut self, mut count: usize) {
        self.queued_bytes -= count;
        while let Some(front) = self.pieces.front_mut() {
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
    }
}
