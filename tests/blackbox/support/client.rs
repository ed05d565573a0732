//! A blocking client that sends the bytes it is told and keeps the bytes it gets.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::reply::{self, Reply, Value};

/// Long enough for a loaded machine, short enough that a hang is a failure and not a stuck run.
pub const READ_TIMEOUT: Duration = Duration::from_secs(20);

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// One connection. Methods panic on a broken connection but for the `try_` ones.
pub struct Client {
    stream: Stream,
    buffer: Vec<u8>,
    start: usize,
}

impl Client {
    pub fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_write_timeout(Some(READ_TIMEOUT))?;
        Ok(Self::over(Stream::Tcp(stream)))
    }

    pub fn connect_unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Self::over(Stream::Unix(stream)))
    }

    fn over(stream: Stream) -> Self {
        Self { stream, buffer: Vec::new(), start: 0 }
    }

    pub fn set_read_timeout(&self, limit: Duration) {
        match &self.stream {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(limit)),
            Stream::Unix(stream) => stream.set_read_timeout(Some(limit)),
        }
        .expect("a read timeout can be set");
    }

    /// A second handle for a thread that writes while this one reads.
    pub fn writer(&self) -> TcpStream {
        match &self.stream {
            Stream::Tcp(stream) => stream.try_clone().expect("a socket can be duplicated"),
            Stream::Unix(_) => panic!("only TCP connections are duplicated"),
        }
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the server takes the bytes");
    }

    fn fill(&mut self) -> io::Result<usize> {
        if self.start > 0 && (self.start == self.buffer.len() || self.start > 1 << 20) {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let len = self.buffer.len();
        // Bigger reads where a bulk is big, so that parsing it again after every read stays cheap.
        let room = len.clamp(64 << 10, 16 << 20);
        self.buffer.resize(len + room, 0);
        let got = loop {
            let got = match &mut self.stream {
                Stream::Tcp(stream) => stream.read(&mut self.buffer[len..]),
                Stream::Unix(stream) => stream.read(&mut self.buffer[len..]),
            };
            // A read with a timeout is interrupted when the process is stopped and goes on.
            if !got.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
                break got;
            }
        };
        self.buffer.truncate(len + *got.as_ref().unwrap_or(&0));
        got
    }

    /// The next reply. Errors: the connection ended (`UnexpectedEof`), the time limit, bytes that are not RESP.
    pub fn try_read(&mut self) -> io::Result<Reply> {
        loop {
            if let Some((value, used)) = reply::parse(&self.buffer[self.start..])? {
                let raw = self.buffer[self.start..self.start + used].to_vec();
                self.start += used;
                return Ok(Reply { raw, value });
            }
            let got = self.fill().map_err(|error| {
                let rest = &self.buffer[self.start..];
                let shown = String::from_utf8_lossy(&rest[..rest.len().min(200)]);
                io::Error::new(error.kind(), format!("{error}; {} bytes are there: {shown:?}", rest.len()))
            })?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next reply, if all of it has arrived.
    pub fn read_what_is_there(&mut self) -> Option<Reply> {
        let set = |stream: &Stream, nonblocking| match stream {
            Stream::Tcp(stream) => stream.set_nonblocking(nonblocking),
            Stream::Unix(stream) => stream.set_nonblocking(nonblocking),
        };
        set(&self.stream, true).expect("a socket can be made non-blocking");
        let reply = self.try_read();
        set(&self.stream, false).expect("a socket can be made blocking");
        match reply {
            Ok(reply) => Some(reply),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("no reply: {error}"),
        }
    }

    pub fn read(&mut self) -> Reply {
        self.try_read().expect("a reply")
    }

    /// Everything until the server closes, unread replies included.
    pub fn read_until_closed(&mut self) -> Vec<u8> {
        loop {
            match self.fill() {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("the server did not close the connection: {error}"),
            }
        }
        self.buffer.split_off(self.start)
    }

    /// True when the server has closed and nothing was left to read.
    pub fn is_closed(&mut self) -> bool {
        self.read_until_closed().is_empty()
    }

    /// Sends one request in the unified form and reads its reply.
    pub fn cmd<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        self.send(&encode(args));
        self.read()
    }

    /// `cmd` for a request line as redis-cli reads it: words, "double quotes" with escapes, 'single quotes'.
    pub fn line(&mut self, line: &str) -> Reply {
        let args = split_line(line);
        self.cmd(&args)
    }

    /// Sends the line and asserts that no error came back.
    pub fn must(&mut self, line: &str) -> Value {
        let reply = self.line(line);
        assert!(!reply.is_error(), "{line}: {reply}");
        reply.value
    }

    /// Sends all lines at once, then reads as many replies.
    pub fn pipeline<S: AsRef<str>>(&mut self, lines: &[S]) -> Vec<Reply> {
        let mut bytes = Vec::new();
        for line in lines {
            bytes.extend(encode(&split_line(line.as_ref())));
        }
        self.send(&bytes);
        lines.iter().map(|_| self.read()).collect()
    }

    /// The value of `field` in INFO, such as `connected_clients`.
    pub fn info(&mut self, field: &str) -> Option<String> {
        let text = self.cmd(&["INFO", "everything"]).text();
        text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(|value| value.trim().to_owned()))
    }

    pub fn info_number(&mut self, field: &str) -> i64 {
        let value = self.info(field).unwrap_or_else(|| panic!("INFO has no {field}"));
        value.parse().unwrap_or_else(|_| panic!("INFO {field} is not a number: {value}"))
    }
}

/// The request as an array of bulk strings.
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// A request line cut into arguments; `"\x00\n"` and the like are read in double quotes.
pub fn split_line(line: &str) -> Vec<Vec<u8>> {
    let mut args = Vec::new();
    let mut bytes = line.bytes().peekable();
    loop {
        while bytes.next_if(u8::is_ascii_whitespace).is_some() {}
        let Some(&first) = bytes.peek() else { return args };
        let mut arg = Vec::new();
        if first == b'"' || first == b'\'' {
            bytes.next();
            loop {
                match bytes.next().unwrap_or_else(|| panic!("an open quote in: {line}")) {
                    byte if byte == first => break,
                    b'\\' if first == b'"' => match bytes.next() {
                        Some(b'n') => arg.push(b'\n'),
                        Some(b'r') => arg.push(b'\r'),
                        Some(b't') => arg.push(b'\t'),
                        Some(b'x') => {
                            let digits: String =
                                [bytes.next(), bytes.next()].into_iter().flatten().map(char::from).collect();
                            arg.push(u8::from_str_radix(&digits, 16).expect("two hex digits after \\x"));
                        }
                        Some(other) => arg.push(other),
                        None => panic!("an open escape in: {line}"),
                    },
                    byte => arg.push(byte),
                }
            }
        } else {
            while let Some(byte) = bytes.next_if(|byte| !byte.is_ascii_whitespace()) {
                arg.push(byte);
            }
        }
        args.push(arg);
    }
}
