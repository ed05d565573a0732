//! A proxy on loopback between a replica and its primary: it cuts, holds up and damages what passes.
//!
//! Each direction of each connection is a thread of its own that copies bytes. What a test orders holds for all of them,
//! those of later connections included.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often a copying thread looks whether something was ordered.
const TICK: Duration = Duration::from_millis(5);
const PIECE_BYTES: usize = 16 << 10;

/// The way of bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    ToReplica,
    ToPrimary,
}

/// What is to happen to one direction.
#[derive(Default)]
struct Orders {
    /// Bytes that may still pass before the connection is cut; negative: no cut is ordered.
    until_cut: AtomicI64,
    /// Bytes that may still pass before one is damaged; negative: none.
    until_damage: AtomicI64,
    /// Bytes that may still pass before nothing more is read; negative: no such order.
    until_hold: AtomicI64,
    /// Nothing is read while this holds.
    holds: AtomicBool,
    passed: AtomicU64,
}

struct Shared {
    target: u16,
    to_replica: Orders,
    to_primary: Orders,
    /// New connections are closed at once while this holds.
    refuses: AtomicBool,
    ends: AtomicBool,
    connections: AtomicU64,
    cuts: AtomicU64,
    damages: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl Shared {
    fn orders(&self, way: Way) -> &Orders {
        match way {
            Way::ToReplica => &self.to_replica,
            Way::ToPrimary => &self.to_primary,
        }
    }

    fn close_all(&self) {
        for stream in self.open.lock().expect("no thread panics with the list").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A proxy; dropped, it closes everything.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Listens on a port of its own and passes on to `target`.
    pub fn start(target: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let none = || Orders {
            until_cut: AtomicI64::new(-1),
            until_damage: AtomicI64::new(-1),
            until_hold: AtomicI64::new(-1),
            ..Orders::default()
        };
        let shared = Arc::new(Shared {
            target,
            to_replica: none(),
            to_primary: none(),
            refuses: AtomicBool::new(false),
            ends: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            damages: AtomicU64::new(0),
            open: Mutex::new(Vec::new()),
        });
        let for_thread = shared.clone();
        std::thread::spawn(move || accept(&listener, &for_thread));
        Proxy { port, shared }
    }

    /// Cuts now.
    pub fn cut(&self) {
        self.shared.cuts.fetch_add(1, Ordering::Relaxed);
        self.shared.close_all();
    }

    /// Cuts when so many more bytes have gone that way: in the middle of whatever they are.
    pub fn cut_after(&self, way: Way, bytes: u64) {
        let bytes = i64::try_from(bytes).expect("a small number");
        self.shared.orders(way).until_cut.store(bytes, Ordering::Relaxed);
    }

    /// Turns the bits of one byte over when so many more have gone that way.
    pub fn damage_after(&self, way: Way, bytes: u64) {
        let bytes = i64::try_from(bytes).expect("a small number");
        self.shared.orders(way).until_damage.store(bytes, Ordering::Relaxed);
    }

    /// Stops reading what goes that way, or goes on.
    pub fn hold(&self, way: Way, holds: bool) {
        self.shared.orders(way).holds.store(holds, Ordering::Relaxed);
    }

    /// Stops reading what goes that way, once so many more bytes have passed and the piece that they are in.
    pub fn hold_after(&self, way: Way, bytes: u64) {
        let bytes = i64::try_from(bytes).expect("a small number");
        self.shared.orders(way).until_hold.store(bytes, Ordering::Relaxed);
    }

    /// Closes new connections at once, or lets them through again.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::Relaxed);
    }

    /// Cuts that have happened, ordered by bytes or at once.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }

    pub fn damages(&self) -> u64 {
        self.shared.damages.load(Ordering::Relaxed)
    }

    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Bytes that have gone that way.
    pub fn passed(&self, way: Way) -> u64 {
        self.shared.orders(way).passed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        self.shared.close_all();
        // The thread that accepts sees it at the next connection.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.ends.load(Ordering::Relaxed) {
            return;
        }
        let Ok(replica) = stream else { continue };
        if shared.refuses.load(Ordering::Relaxed) {
            continue;
        }
        let Ok(primary) = TcpStream::connect(("127.0.0.1", shared.target)) else { continue };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let pass = |from: &TcpStream, to: &TcpStream, way: Way| {
            let (from, to) = (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
            let shared = shared.clone();
            std::thread::spawn(move || copy(from, to, &shared, way));
        };
        pass(&primary, &replica, Way::ToReplica);
        pass(&replica, &primary, Way::ToPrimary);
        shared.open.lock().expect("no thread panics with the list").extend([primary, replica]);
    }
}

/// Copies until either end closes or a cut is due, then closes both.
fn copy(mut from: TcpStream, mut to: TcpStream, shared: &Shared, way: Way) {
    let orders = shared.orders(way);
    let _ = from.set_read_timeout(Some(TICK));
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    let mut piece = vec![0; PIECE_BYTES];
    while !shared.ends.load(Ordering::Relaxed) {
        if orders.holds.load(Ordering::Relaxed) {
            std::thread::sleep(TICK);
            continue;
        }
        let count = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if is_tick(&error) => continue,
            Err(_) => break,
        };
        if let Some(at) = due(&orders.until_damage, count)
            && at < count
        {
            piece[at] ^= 0xff;
            shared.damages.fetch_add(1, Ordering::Relaxed);
        }
        let cut = due(&orders.until_cut, count).filter(|at| *at < count);
        let passes = cut.unwrap_or(count);
        if to.write_all(&piece[..passes]).is_err() {
            break;
        }
        if due(&orders.until_hold, count).is_some() {
            orders.holds.store(true, Ordering::Relaxed);
        }
        orders.passed.fetch_add(passes as u64, Ordering::Relaxed);
        if cut.is_some() {
            shared.cuts.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Where within the next `count` bytes the ordered place lies; an order that is met is taken away.
fn due(order: &AtomicI64, count: usize) -> Option<usize> {
    let count = i64::try_from(count).expect("a small number");
    let left = order.load(Ordering::Relaxed);
    if left < 0 {
        return None;
    }
    if left < count {
        order.store(-1, Ordering::Relaxed);
        return usize::try_from(left).ok();
    }
    order.store(left - count, Ordering::Relaxed);
    None
}

fn is_tick(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut | std::io::ErrorKind::Interrupted
    )
}
