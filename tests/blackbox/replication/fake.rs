//! The other side of a link played by the test: a primary or a replica whose every byte the test chooses.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::Server;
use crate::support::aof::Words;
use crate::support::reply::{self, Value};

const LIMIT: Duration = Duration::from_secs(30);
pub const HISTORY: &str = "0123456789abcdef0123456789abcdef01234567";

/// An RDB file without a checksum that holds the string `key`, in version 10.
pub fn rdb(key: &str, value: &str) -> Vec<u8> {
    let mut bytes = b"REDIS0010\xfe\x00\x00".to_vec();
    for text in [key, value] {
        bytes.push(u8::try_from(text.len()).expect("a short text"));
        bytes.extend(text.as_bytes());
    }
    bytes.push(0xff);
    bytes.extend([0; 8]);
    bytes
}

/// A primary that does what the test says.
pub struct FakePrimary {
    listener: TcpListener,
    pub port: u16,
}

impl FakePrimary {
    pub fn start() -> FakePrimary {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let port = listener.local_addr().expect("an address").port();
        FakePrimary { listener, port }
    }

    /// The next connection of the replica.
    pub fn accept(&self) -> Link {
        let mut found = None;
        let came = crate::support::holds_within(LIMIT, || {
            found = self.listener.accept().ok();
            found.is_some()
        });
        assert!(came, "no replica came within {LIMIT:?}");
        let (stream, _) = found.expect("a connection");
        stream.set_nonblocking(false).expect("a socket can be made blocking");
        Link::over(stream)
    }

    /// A replica that asks for `what` and is not answered yet.
    pub fn asked(&self) -> (Link, Words) {
        let mut link = self.accept();
        let asked = link.talk();
        (link, asked)
    }

    /// A replica that has been given everything: `rdb(key, value)` at offset `offset`.
    pub fn synchronised(&self, key: &str, value: &str, offset: u64) -> Link {
        let (mut link, _) = self.asked();
        let rdb = rdb(key, value);
        link.send(format!("+FULLRESYNC {HISTORY} {offset}\r\n${}\r\n", rdb.len()).as_bytes());
        link.send(&rdb);
        link
    }
}

/// One connection between a primary and a replica.
pub struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Link {
    fn over(stream: TcpStream) -> Link {
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(LIMIT)).expect("a read timeout");
        stream.set_write_timeout(Some(LIMIT)).expect("a write timeout");
        Link { stream, buffer: Vec::new() }
    }

    /// As a replica, to a node.
    pub fn to(server: &Server) -> Link {
        Link::over(TcpStream::connect(server.address()).expect("a connection"))
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the other side takes the bytes");
    }

    /// `send` where the other side may have closed already.
    pub fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    fn fill(&mut self) -> usize {
        let mut piece = [0; 64 << 10];
        let count = match self.stream.read(&mut piece) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("nothing came: {error}; there is {:?}", self.buffer.escape_ascii().to_string()),
        };
        self.buffer.extend(&piece[..count]);
        count
    }

    /// The next value; `None` at the end.
    pub fn value(&mut self) -> Option<Value> {
        loop {
            // A primary keeps the link alive with line ends of their own.
            let blank = self.buffer.iter().take_while(|byte| **byte == b'\n').count();
            self.buffer.drain(..blank);
            if let Some((value, used)) = reply::parse(&self.buffer).expect("RESP") {
                self.buffer.drain(..used);
                return Some(value);
            }
            if self.fill() == 0 {
                return None;
            }
        }
    }

    /// The next command; `None` at the end.
    pub fn command(&mut self) -> Option<Words> {
        Some(self.value()?.items().iter().map(|word| word.bytes().to_vec()).collect())
    }

    /// The next command that is none of those with which a link is kept alive.
    pub fn news(&mut self) -> Words {
        loop {
            let command = self.command().expect("a command");
            let name = command[0].to_ascii_uppercase();
            if name != b"PING" && !(name == b"REPLCONF" && command[1].eq_ignore_ascii_case(b"ack")) {
                return command;
            }
        }
    }

    /// Answers a replica's talk up to PSYNC, which comes back unanswered.
    pub fn talk(&mut self) -> Words {
        loop {
            let command = self.command().expect("the replica goes on until PSYNC");
            match command[0].to_ascii_uppercase().as_slice() {
                b"PING" => self.send(b"+PONG\r\n"),
                b"PSYNC" => return command,
                _ => self.send(b"+OK\r\n"),
            }
        }
    }

    /// Asks for the offset, which must be this one, and counts the bytes of the question to it.
    pub fn acknowledges(&mut self, expected: u64) -> u64 {
        const QUESTION: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";
        self.send(QUESTION);
        let since = Instant::now();
        let mut last = 0;
        // Acknowledgements by time come in between: of less before the answer, of the question too behind it.
        while since.elapsed() < LIMIT && last < expected {
            let command = self.command().expect("an acknowledgement");
            let name = command[0].to_ascii_uppercase();
            assert_eq!((name.as_slice(), command[1].to_ascii_uppercase().as_slice()), (&b"REPLCONF"[..], &b"ACK"[..]));
            last = String::from_utf8_lossy(&command[2]).parse().expect("an offset");
        }
        assert_eq!(last, expected, "bytes of the stream that the replica counts");
        expected + QUESTION.len() as u64
    }

    /// A line without its end.
    pub fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).take(end).collect();
                return String::from_utf8_lossy(&line).trim_start_matches('\n').to_owned();
            }
            assert_ne!(self.fill(), 0, "an end before the end of a line");
        }
    }

    /// So many bytes.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert_ne!(self.fill(), 0, "an end before {count} bytes");
        }
        self.buffer.drain(..count).collect()
    }

    /// Bytes up to `mark`, which is taken too.
    pub fn take_until(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|window| window == mark) {
                let taken = self.buffer.drain(..at + mark.len()).take(at).collect();
                return taken;
            }
            assert_ne!(self.fill(), 0, "an end before the mark");
        }
    }

    /// Whether the other side closes within the limit; what it says until then does not matter.
    pub fn is_closed(&mut self) -> bool {
        let since = Instant::now();
        while since.elapsed() < LIMIT {
            self.buffer.clear();
            if self.fill() == 0 {
                return true;
            }
        }
        false
    }
}
