//! A file as it is read: a window of its bytes that moves forward in chunks.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use super::parcel::Chunk;

/// Bytes read at a time: what the places found in them take fits into a core's cache.
const CHUNK_BYTES: usize = 256 << 10;
/// Buffers that have grown beyond this for one large value are not used again.
const KEPT_BYTES_MAX: usize = 4 * CHUNK_BYTES;

pub struct Window {
    file: File,
    name: Arc<str>,
    pub bytes: Vec<u8>,
    /// Where in the file they begin.
    pub offset: u64,
    /// The file has no more.
    pub is_at_end: bool,
}

impl Window {
    pub fn new(file: File, name: &str) -> Window {
        // Advice: it may be refused.
        let _ = nix::fcntl::posix_fadvise(&file, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
        Window { file, name: name.into(), bytes: Vec::new(), offset: 0, is_at_end: false }
    }

    /// Reads on until the window has at least `wanted` bytes, one chunk at the least.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn fill(&mut self, wanted: u64) -> io::Result<()> {
        let missing = wanted.saturating_sub(self.bytes.len() as u64).max(CHUNK_BYTES as u64);
        // What a length alone announces is not reserved: `read_to_end` grows with what comes.
        self.bytes.reserve(CHUNK_BYTES);
        let read = (&self.file).take(missing).read_to_end(&mut self.bytes)?;
        self.is_at_end = (read as u64) < missing;
        Ok(())
    }

    /// Takes the first `count` bytes out as a chunk; what is behind them goes to `buffer`, where the window goes on.
    pub fn cut(&mut self, count: usize, mut buffer: Vec<u8>) -> Chunk {
        if buffer.capacity() > KEPT_BYTES_MAX {
            buffer = Vec::new();
        }
        buffer.extend_from_slice(&self.bytes[count..]);
        let mut bytes = std::mem::replace(&mut self.bytes, buffer);
        bytes.truncate(count);
        let chunk = Chunk { bytes, offset: self.offset, file: self.name.clone() };
        self.offset += count as u64;
        chunk
    }
}
