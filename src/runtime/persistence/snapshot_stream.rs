//! A snapshot on its way to replicas: a thread of its own writes it to their sockets, so that no core waits for them.
//!
//! What it sends is what [`SnapshotFile`](super::snapshot_file::SnapshotFile) writes, between two marks, and to all replicas at the
//! same pace: a piece is done with when each has taken it, and whoever has not taken any of it for `repl-timeout` is dropped.
//! Nothing else writes to these sockets meanwhile. It can also send a file that is there already.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};

use super::super::allocator;
use super::super::mesh::BellPull;
use super::priority;
use super::snapshot_file::{Retired, Written};
use crate::base::core_id::CoreId;
use crate::command::core::MemoryFigures;
use crate::persist::rdb::{Checksum, file};

/// Bytes of a file that are read at once.
const READ_BYTES: usize = 256 << 10;
/// How often a thread that waits for sockets looks whether anybody still wants what it sends.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A replica's socket.
pub struct Sink {
    /// The number of its client.
    pub client_id: u64,
    /// A copy of the descriptor.
    pub socket: OwnedFd,
    /// Counts what it was sent.
    pub sent_bytes: Arc<AtomicU64>,
}

/// How a stream is written.
pub struct StreamSettings {
    /// `rdbchecksum`.
    pub checksum: bool,
    /// `repl-timeout`.
    pub patience: Duration,
    /// What stands behind the snapshot, and is told before it.
    pub mark: Vec<u8>,
}

enum Job {
    /// What comes before the snapshot.
    Preface(Vec<u8>),
    Write(CoreId, Vec<u8>),
    Finish,
}

/// Core 0's hold of a stream being written. Dropped before the end, what was sent stays without its end.
pub struct SnapshotStream {
    jobs: Sender<Job>,
    reports: Receiver<Written>,
    thread: JoinHandle<MemoryFigures>,
}

impl SnapshotStream {
    /// Starts the thread that sends a snapshot to these.
    ///
    /// # Errors
    /// A line for the log.
    pub fn begin(settings: StreamSettings, sinks: Vec<Sink>, bell: BellPull) -> Result<SnapshotStream, String> {
        let ((jobs, jobs_taken), (report, reports)) = (channel(), channel());
        let fan = Fan { sinks: targets(sinks), patience: settings.patience, report, bell };
        let sender = StreamSender { fan, checksum: settings.checksum.then(Checksum::new), mark: settings.mark };
        let thread = spawn(move || sender.run(&jobs_taken))?;
        Ok(SnapshotStream { jobs, reports, thread })
    }

    /// Starts the thread that sends a file to these, behind its length.
    ///
    /// # Errors
    /// A line for the log.
    pub fn of_file(
        source: File,
        patience: Duration,
        sinks: Vec<Sink>,
        bell: BellPull,
    ) -> Result<SnapshotStream, String> {
        let ((jobs, _), (report, reports)) = (channel(), channel());
        let fan = Fan { sinks: targets(sinks), patience, report, bell };
        let thread = spawn(move || send_file(source, fan))?;
        Ok(SnapshotStream { jobs, reports, thread })
    }

    /// Sends bytes that are no part of the snapshot, before it.
    pub fn preface(&self, bytes: Vec<u8>) {
        let _ = self.jobs.send(Job::Preface(bytes));
    }

    /// Appends bytes. After a failure they go nowhere: the report of the failure is on its way.
    pub fn write(&self, core: CoreId, bytes: Vec<u8>) {
        let _ = self.jobs.send(Job::Write(core, bytes));
    }

    /// All was written.
    pub fn finish(&self) {
        let _ = self.jobs.send(Job::Finish);
    }

    /// Nothing more is to be sent.
    pub fn retire(self) -> Retired {
        Retired::new(self.thread)
    }

    /// The next report, if there is one.
    pub fn report(&self) -> Option<Written> {
        self.reports.try_recv().ok()
    }
}

fn spawn(run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<MemoryFigures>, String> {
    let thread = std::thread::Builder::new().name("snapshot".to_owned());
    let started = thread.spawn(move || {
        priority::lower();
        run();
        allocator::figures()
    });
    started.map_err(|error| format!("Can't start the thread that sends a snapshot: {error}"))
}

struct Target {
    client_id: u64,
    socket: OwnedFd,
    sent_bytes: Arc<AtomicU64>,
    /// Bytes of the piece under way that it has taken.
    taken: usize,
    /// When it last took some.
    moved: Instant,
}

fn targets(sinks: Vec<Sink>) -> Vec<Target> {
    let now = Instant::now();
    let targets = sinks.into_iter();
    let target =
        |Sink { client_id, socket, sent_bytes }| Target { client_id, socket, sent_bytes, taken: 0, moved: now };
    targets.map(target).collect()
}

/// Sends the same to several sockets.
struct Fan {
    sinks: Vec<Target>,
    patience: Duration,
    report: Sender<Written>,
    bell: BellPull,
}

/// Nobody is left who wants anything.
struct Deserted;

impl Fan {
    /// Sends a piece to all, at the pace of the slowest.
    fn send(&mut self, piece: &[u8]) -> Result<(), Deserted> {
        self.sinks.iter_mut().for_each(|sink| (sink.taken, sink.moved) = (0, Instant::now()));
        loop {
            let (patience, now) = (self.patience, Instant::now());
            let mut gone = Vec::new();
            self.sinks.retain_mut(|sink| {
                // Who has taken the whole piece waits for the others.
                let is_sound = sink.push(piece, now);
                let has_all = sink.taken == piece.len();
                let stays = is_sound && (has_all || now.duration_since(sink.moved) < patience);
                if !stays {
                    gone.push(sink.client_id);
                }
                stays
            });
            gone.into_iter().for_each(|client_id| self.tell(Written::Gone(client_id)));
            if self.sinks.is_empty() {
                return Err(Deserted);
            }
            let waiting: Vec<PollFd<'_>> = self
                .sinks
                .iter()
                .filter(|sink| sink.taken < piece.len())
                .map(|sink| PollFd::new(std::os::fd::AsFd::as_fd(&sink.socket), PollFlags::POLLOUT))
                .collect();
            if waiting.is_empty() {
                return Ok(());
            }
            let mut waiting = waiting;
            let timeout = PollTimeout::try_from(LOOK_EVERY).unwrap_or(PollTimeout::ZERO);
            // Whatever it says, the next round finds out.
            let _ = poll(&mut waiting, timeout);
        }
    }

    fn tell(&self, report: Written) {
        let _ = self.report.send(report);
        self.bell.ring();
    }

    fn end(&self, outcome: Result<(), Deserted>) {
        let outcome = outcome.map_err(|Deserted| "Snapshot for replicas given up: no replica is left".to_owned());
        self.tell(Written::End(outcome));
    }
}

impl Target {
    /// Sends what the socket takes at once. False when it is broken.
    fn push(&mut self, piece: &[u8], now: Instant) -> bool {
        while self.taken < piece.len() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.socket.as_raw_fd(), &piece[self.taken..], flags) {
                Ok(0) => return false,
                Ok(count) => {
                    (self.taken, self.moved) = (self.taken + count, now);
                    self.sent_bytes.fetch_add(count as u64, Ordering::Relaxed);
                }
                Err(Errno::EAGAIN) => return true,
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

struct StreamSender {
    fan: Fan,
    checksum: Option<Checksum>,
    mark: Vec<u8>,
}

impl StreamSender {
    /// Works until the end is sent, or nobody wants it any more.
    fn run(mut self, jobs: &Receiver<Job>) {
        let outcome = loop {
            let sent = match jobs.recv() {
                Ok(Job::Preface(bytes)) => self.fan.send(&bytes),
                Ok(Job::Write(core, bytes)) => {
                    if let Some(checksum) = &mut self.checksum {
                        checksum.update(&bytes);
                    }
                    let sent = self.fan.send(&bytes);
                    if sent.is_ok() {
                        self.fan.tell(Written::Bytes(core, bytes));
                    }
                    sent
                }
                Ok(Job::Finish) => {
                    let mut end = Vec::new();
                    file::footer(self.checksum.take(), &mut end);
                    end.extend_from_slice(&self.mark);
                    break self.fan.send(&end);
                }
                Err(_) => return,
            };
            if sent.is_err() {
                break sent;
            }
        };
        self.fan.end(outcome);
    }
}

fn send_file(mut source: File, mut fan: Fan) {
    let outcome = (|| -> io::Result<Result<(), Deserted>> {
        let length = source.metadata()?.len();
        if fan.send(format!("${length}\r\n").as_bytes()).is_err() {
            return Ok(Err(Deserted));
        }
        let mut buffer = vec![0; READ_BYTES];
        let mut left = length;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let piece = &mut buffer[..wanted];
            source.read_exact(piece)?;
            if fan.send(piece).is_err() {
                return Ok(Err(Deserted));
            }
            left -= piece.len() as u64;
        }
        Ok(Ok(()))
    })();
    match outcome {
        Ok(outcome) => fan.end(outcome),
        Err(error) => fan.tell(Written::End(Err(format!("Read error sending DB to replica: {error}")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn bell() -> BellPull {
        super::super::super::mesh::Mesh::build(1).unwrap().remove(0).bell_pull()
    }

    fn settings(patience_ms: u64) -> StreamSettings {
        let mark = b"mark".to_vec();
        StreamSettings { checksum: true, patience: Duration::from_millis(patience_ms), mark }
    }

    fn pairs(count: u64) -> (Vec<Sink>, Vec<UnixStream>) {
        let pairs = (1..=count).map(|client_id| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            (Sink { client_id, socket: ours.into(), sent_bytes: Arc::default() }, theirs)
        });
        pairs.unzip()
    }

    #[test]
    fn all_receive_the_same_between_preface_and_mark() {
        let (sinks, readers) = pairs(2);
        let stream = SnapshotStream::begin(settings(60_000), sinks, bell()).unwrap();
        let readers = readers.into_iter().map(|mut reader| {
            std::thread::spawn(move || {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).unwrap();
                all
            })
        });
        let readers: Vec<_> = readers.collect();
        stream.preface(b"+before\r\n".to_vec());
        let body = vec![b'x'; 3_000_000];
        stream.write(CoreId::FIRST, body.clone());
        stream.finish();
        let Written::Bytes(CoreId::FIRST, bytes) = stream.reports.recv().unwrap() else { panic!("no buffer") };
        assert_eq!(bytes.len(), body.len());
        assert!(matches!(stream.reports.recv().unwrap(), Written::End(Ok(()))));
        drop(stream);
        let mut expected = [b"+before\r\n", &body[..], &[0xff]].concat();
        let sum = Checksum::of(&expected[9..]);
        expected.extend_from_slice(&sum.to_le_bytes());
        expected.extend_from_slice(b"mark");
        for reader in readers {
            assert_eq!(reader.join().unwrap(), expected);
        }
    }

    #[test]
    fn who_does_not_read_is_dropped_and_the_others_go_on() {
        let (sinks, mut readers) = pairs(2);
        let slow = readers.pop().unwrap();
        let mut quick = readers.pop().unwrap();
        let stream = SnapshotStream::begin(settings(1500), sinks, bell()).unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            quick.read_to_end(&mut all).unwrap();
            all.len()
        });
        stream.write(CoreId::FIRST, vec![1; 5_000_000]);
        stream.finish();
        assert!(matches!(stream.reports.recv().unwrap(), Written::Gone(2)));
        assert!(matches!(stream.reports.recv().unwrap(), Written::Bytes(..)));
        assert!(matches!(stream.reports.recv().unwrap(), Written::End(Ok(()))));
        drop((stream, slow));
        assert_eq!(reader.join().unwrap(), 5_000_000 + 9 + 4);
    }

    #[test]
    fn when_all_are_gone_it_ends() {
        let (sinks, readers) = pairs(1);
        drop(readers);
        let stream = SnapshotStream::begin(settings(60_000), sinks, bell()).unwrap();
        stream.write(CoreId::FIRST, vec![1; 100]);
        assert!(matches!(stream.reports.recv().unwrap(), Written::Gone(1)));
        assert!(matches!(stream.reports.recv().unwrap(), Written::End(Err(_))));
    }

    #[test]
    fn a_file_stands_behind_its_length() {
        let path = std::env::temp_dir().join(format!("slotcore-stream-{}", std::process::id()));
        File::create(&path).unwrap().write_all(&[7; 700_000]).unwrap();
        let (sinks, mut readers) = pairs(1);
        let source = File::open(&path).unwrap();
        let stream = SnapshotStream::of_file(source, Duration::from_secs(60), sinks, bell()).unwrap();
        let mut all = Vec::new();
        readers[0].read_to_end(&mut all).unwrap();
        assert_eq!(all, [&b"$700000\r\n"[..], &[7; 700_000]].concat());
        assert!(matches!(stream.reports.recv().unwrap(), Written::End(Ok(()))));
        std::fs::remove_file(path).unwrap();
    }
}
