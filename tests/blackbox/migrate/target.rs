//! A target of MIGRATE played by the test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::support::holds_within;
use crate::support::reply;

pub const LIMIT: Duration = Duration::from_secs(20);

/// It accepts, and does what the test says.
pub struct Target {
    listener: TcpListener,
    pub port: u16,
}

impl Target {
    pub fn start() -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let port = listener.local_addr().expect("an address").port();
        Target { listener, port }
    }

    /// The next connection.
    pub fn accept(&self) -> Link {
        let mut found = None;
        let came = holds_within(LIMIT, || {
            found = self.listener.accept().ok();
            found.is_some()
        });
        assert!(came, "nobody has connected");
        let (stream, _) = found.expect("a connection");
        stream.set_nonblocking(false).expect("a socket can be made blocking");
        stream.set_read_timeout(Some(LIMIT)).expect("a read timeout");
        Link { stream, buffer: Vec::new() }
    }

    /// Whether somebody else waits to be accepted.
    pub fn has_another(&self) -> bool {
        self.listener.accept().is_ok()
    }
}

pub struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Link {
    /// The next request, its words as text.
    pub fn request(&mut self) -> Vec<String> {
        loop {
            if let Some((value, used)) = reply::parse(&self.buffer).expect("RESP") {
                self.buffer.drain(..used);
                return value.items().iter().map(|word| word.text()).collect();
            }
            let mut bytes = [0; 64 << 10];
            let count = self.stream.read(&mut bytes).expect("a request");
            assert!(count > 0, "the connection was closed");
            self.buffer.extend_from_slice(&bytes[..count]);
        }
    }

    /// The next request, which must begin so.
    pub fn must_get(&mut self, words: &[&str]) {
        let request = self.request();
        assert_eq!(&request[..words.len()], words);
    }

    pub fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).expect("the node takes the bytes");
    }

    /// Whether the node has closed it.
    pub fn is_closed(&mut self) -> bool {
        let mut bytes = [0; 1024];
        matches!(self.stream.read(&mut bytes), Ok(0) | Err(_))
    }
}
