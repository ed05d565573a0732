//! A network between nodes on loopback that can be cut, pair by pair and one way only.
//!
//! Every node announces two ports of the fabric, one for clients and one for its bus, and whoever dials them is passed on. Who has
//! dialled a bus port, its first packet says; so what goes from one node to another, on whichever connection, can be held
//! up. What is held up arrives late, as what TCP sends again does. Behind the client ports only whole nodes are held up: what passes
//! there is replication, since tests reach a node at the port that it listens on.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::nodes::{id_of, node};
use crate::support::{Kind, Server};

/// A packet's beginning, up to the id of its sender and with it (`clusterMsg` in Redis's cluster.h).
const SENDER_AT: usize = 40;
const SENDER_END: usize = SENDER_AT + 40;
const PIECE_BYTES: usize = 16 << 10;

/// Nodes by their place in the cluster.
type Place = usize;

#[derive(Default)]
struct State {
    places: BTreeMap<String, Place>,
    /// Behind the doors of each place: the port for clients and that of the bus.
    targets: BTreeMap<Place, (u16, u16)>,
    /// What goes from the first to the second on the bus is held up.
    cut: BTreeSet<(Place, Place)>,
    /// Places whose client ports let nothing through.
    held: BTreeSet<Place>,
    /// Both ends of every connection, with the place behind the door that it came through, by the number of the end.
    open: BTreeMap<u64, (Place, TcpStream)>,
    ends_counted: u64,
    ends: bool,
}

impl State {
    /// One end of a connection; its number, by which it is forgotten.
    fn note_end(&mut self, place: Place, stream: &TcpStream) -> u64 {
        self.ends_counted += 1;
        if let Ok(stream) = stream.try_clone() {
            self.open.insert(self.ends_counted, (place, stream));
        }
        self.ends_counted
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics with it")
    }

    /// Returns once `passes` holds; `false` when the fabric is gone.
    fn wait(&self, passes: impl Fn(&State) -> bool) -> bool {
        let held = |state: &mut State| !state.ends && !passes(state);
        !self.changed.wait_while(self.lock(), held).expect("no thread panics with it").ends
    }
}

/// The network; dropped, it closes every connection.
pub struct Fabric {
    shared: Arc<Shared>,
    doors: Vec<u16>,
}

impl Fabric {
    /// A cluster member at the next place, which announces the fabric's ports.
    pub fn node(&mut self, kind: Kind, args: &[&str]) -> Server {
        let place = self.doors.len() / 2;
        let ports = [false, true].map(|is_bus| self.open_door(place, is_bus).to_string());
        let announced = ["--cluster-announce-port", &ports[0], "--cluster-announce-bus-port", &ports[1]];
        let server = node(kind, &[&announced, args].concat());
        let mut state = self.shared.lock();
        state.targets.insert(place, (server.port, server.port + 10_000));
        state.places.insert(id_of(&server), place);
        server
    }

    pub fn new() -> Fabric {
        Fabric { shared: Arc::default(), doors: Vec::new() }
    }

    fn open_door(&mut self, place: Place, is_bus: bool) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = self.shared.clone();
        std::thread::spawn(move || accept(&listener, &shared, place, is_bus));
        self.doors.push(port);
        port
    }

    /// Has one node introduce itself to another.
    pub fn meet(&self, from: &Server, to: Place) {
        let (port, bus_port) = (self.doors[to * 2], self.doors[to * 2 + 1]);
        from.connect().must(&format!("CLUSTER MEET 127.0.0.1 {port} {bus_port}"));
    }

    /// Nothing goes from any of `from` to any of `to` on the bus.
    pub fn cut(&self, from: &[Place], to: &[Place]) {
        let pairs = from.iter().flat_map(|from| to.iter().map(|to| (*from, *to)));
        self.shared.lock().cut.extend(pairs);
    }

    /// Nothing goes to or from the client port of a node.
    pub fn hold(&self, place: Place) {
        self.shared.lock().held.insert(place);
    }

    /// Ends every connection to a port of these nodes, of clients and of the bus; what is on its way may be lost. They may dial again.
    pub fn sever(&self, places: &[Place]) {
        for (_, stream) in self.shared.lock().open.values().filter(|(place, _)| places.contains(place)) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Everything passes again, late or not.
    pub fn heal(&self) {
        let mut state = self.shared.lock();
        state.cut.clear();
        state.held.clear();
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ends = true;
        for (_, stream) in std::mem::take(&mut state.open).into_values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        self.shared.changed.notify_all();
        for port in &self.doors {
            // Whoever accepts there sees that it is over.
            let _ = TcpStream::connect(("127.0.0.1", *port));
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, place: Place, is_bus: bool) {
    for stream in listener.incoming() {
        let mut state = shared.lock();
        if state.ends {
            return;
        }
        let (Ok(near), Some(target)) = (stream, state.targets.get(&place).copied()) else { continue };
        let number = state.note_end(place, &near);
        drop(state);
        let shared = shared.clone();
        std::thread::spawn(move || {
            if is_bus {
                pass_bus(near, target.1, place, &shared)
            } else {
                pass_clients(near, target.0, place, &shared)
            }
            shared.lock().open.remove(&number);
        });
    }
}

fn pass_bus(mut near: TcpStream, port: u16, to: Place, shared: &Arc<Shared>) {
    let mut start = [0; SENDER_END];
    if near.read_exact(&mut start).is_err() {
        return;
    }
    let sender = String::from_utf8_lossy(&start[SENDER_AT..]).into_owned();
    let Some(from) = shared.lock().places.get(&sender).copied() else { return };
    let there = move |state: &State| !state.cut.contains(&(from, to));
    let back = move |state: &State| !state.cut.contains(&(to, from));
    pass(near, (to, port), &start, shared, there, back);
}

fn pass_clients(near: TcpStream, port: u16, place: Place, shared: &Arc<Shared>) {
    let passes = move |state: &State| !state.held.contains(&place);
    pass(near, (place, port), &[], shared, passes, passes);
}

/// Connects to the port of a place and copies both ways, `start` first, whatever passes.
fn pass(
    near: TcpStream,
    (place, port): (Place, u16),
    start: &[u8],
    shared: &Arc<Shared>,
    there: impl Fn(&State) -> bool + Send + 'static,
    back: impl Fn(&State) -> bool + Send + 'static,
) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else {
        let _ = near.shutdown(Shutdown::Both);
        return;
    };
    let number = shared.lock().note_end(place, &far);
    let handles = (near.try_clone().expect("a handle"), far.try_clone().expect("a handle"));
    let for_thread = shared.clone();
    std::thread::spawn(move || copy(handles.1, handles.0, &[], &for_thread, back));
    copy(near, far, start, shared, there);
    shared.lock().open.remove(&number);
}

fn copy(mut from: TcpStream, mut to: TcpStream, start: &[u8], shared: &Shared, passes: impl Fn(&State) -> bool) {
    let _ = to.set_nodelay(true);
    let mut piece = vec![0; PIECE_BYTES];
    let mut count = start.len();
    piece[..count].copy_from_slice(start);
    while shared.wait(&passes) && to.write_all(&piece[..count]).is_ok() {
        match from.read(&mut piece) {
            Ok(read) if read > 0 => count = read,
            _ => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
