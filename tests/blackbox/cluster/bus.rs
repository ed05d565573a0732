//! The bus: nodes of both kinds meet and agree, strangers do no harm, messages cross.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::nodes::{
    LIMIT, join, lines, meet, node, replicate, state, wait_until_agreed, wait_until_all_agree, wait_until_loaded,
};
use crate::support::random::Random;
use crate::support::server::{free_port, fresh_dir};
use crate::support::{Client, Kind, Server, holds_within};

#[test]
fn nodes_of_both_kinds_agree_about_nodes_and_slots() {
    // The cluster's clock does not follow hz.
    let ours = &mut node(Kind::Slotcore, &["--hz", "1", "--cluster-announce-human-nodename", "ours"]);
    let (one, two) = (node(Kind::Redis, &[]), node(Kind::Redis, &[]));
    for (server, slots) in [(&*ours, "0 5000"), (&one, "5001 10000"), (&two, "10001 16383")] {
        server.connect().must(&format!("CLUSTER ADDSLOTSRANGE {slots}"));
    }
    // One is told of it, the other hears.
    meet(&one, &[ours, &two]);
    let before = wait_until_all_agree(&[ours, &one, &two]);
    assert!(before.iter().all(|line| line.flags == "master" && line.primary == "-"), "{before:#?}");
    let client = &mut ours.connect();
    assert!(client.info_number("cluster_connections") >= 4);
    assert_eq!(client.line("GET foo").to_string(), format!("-MOVED 12182 127.0.0.1:{}", two.port));
    assert!(one.connect().line("GET {b}x").to_string().ends_with(&ours.port.to_string()));
    // One that ends is found failing, and takes its place again when it is back.
    ours.stop();
    let mut other = one.connect();
    assert!(holds_within(LIMIT, || state(&mut other) == "fail"), "{}", other.must("CLUSTER NODES").text());
    ours.restart();
    let mut after = wait_until_all_agree(&[ours, &one, &two]);
    after.iter_mut().zip(&before).for_each(|(after, before)| after.address.clone_from(&before.address));
    assert_eq!(after, before);
}

#[test]
fn slotcore_nodes_make_a_cluster_among_themselves() {
    let nodes: Vec<Server> = (0..3).map(|_| node(Kind::Slotcore, &["--hz", "500"])).collect();
    let nodes: Vec<&Server> = nodes.iter().collect();
    join(&nodes);
    let moved = nodes[0].connect().line("SET foo bar").to_string();
    assert_eq!(moved, format!("-MOVED 12182 127.0.0.1:{}", nodes[2].port));
    nodes[2].connect().must("SET foo bar");
    let forgotten = lines(&mut nodes[1].connect())[0].id.clone();
    let of = |server: &&&Server| super::nodes::id_of(server) != forgotten;
    for server in nodes.iter().filter(of) {
        server.connect().must(&format!("CLUSTER FORGET {forgotten}"));
    }
    let rest: Vec<&Server> = nodes.iter().filter(of).copied().collect();
    for server in rest {
        assert_eq!(lines(&mut server.connect()).len(), 2);
    }
}

#[test]
fn a_bus_port_in_use_ends_the_start_with_one_clear_line() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let bus_port = holder.local_addr().expect("its address").port().to_string();
    let (port, dir) = (free_port(), fresh_dir());
    let args = ["--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", &bus_port].map(str::to_owned);
    let output = Server::command(Kind::Slotcore, None, port, &dir, &args).output().expect("it ends");
    let said = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
    assert!(output.status.code().is_some_and(|code| code != 0), "{}", output.status);
    let wanted = format!("Failed listening on port {bus_port} (cluster), aborting.");
    assert!(said.lines().any(|line| line.contains(&wanted)) && !said.contains("panicked"), "{said}");
    let _ = std::fs::remove_dir_all(dir);
}

fn bus_of(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port + 10_000)).expect("the bus port");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    stream
}

/// Sends bytes to the bus and waits until the node has closed, where it is to.
fn throw(server: &Server, bytes: &[u8], is_closed: bool) {
    let mut stream = bus_of(server);
    // It may close before it has read all.
    let _ = stream.write_all(bytes);
    if is_closed {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
}

/// A ping of somebody that nobody knows, as Redis lays it out.
fn ping() -> Vec<u8> {
    let mut packet = vec![0; 2256];
    packet[..4].copy_from_slice(b"RCmb");
    packet[4..8].copy_from_slice(&2256u32.to_be_bytes());
    packet[8..10].copy_from_slice(&1u16.to_be_bytes());
    packet[40..80].fill(b'a');
    packet
}

#[test]
fn garbage_on_the_bus_changes_nothing() {
    let ours = node(Kind::Slotcore, &[]);
    let peer = node(Kind::Redis, &[]);
    join(&[&ours, &peer]);
    let before = lines(&mut ours.connect());
    let mut random = Random::new(11);
    for length in [1usize, 7, 8, 100, 2256, 70_000] {
        let mut bytes: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        bytes[0] = b'X';
        throw(&ours, &bytes, true);
    }
    throw(&ours, b"GET / HTTP/1.1\r\n\r\n", true);
    let with = |at: usize, bytes: &[u8]| {
        let mut packet = ping();
        packet[at..at + bytes.len()].copy_from_slice(bytes);
        packet
    };
    throw(&ours, &with(4, &u32::MAX.to_be_bytes()), true); // longer than anything
    throw(&ours, &with(4, &(900u32 << 20).to_be_bytes()), true); // longer than a stranger may send
    throw(&ours, &with(4, &8u32.to_be_bytes()), true); // shorter than a header
    throw(&ours, &ping()[..1000], false); // cut off
    // What can be measured is passed over, and the link goes on: the ping behind it is answered.
    for damaged in [
        with(8, &9u16.to_be_bytes()),        // another version
        with(14, &u16::MAX.to_be_bytes()),   // more gossip than there is
        with(2214, &u16::MAX.to_be_bytes()), // more extensions than there are
        with(40, b"no id"),                  // no sender
        with(12, &u16::MAX.to_be_bytes()),   // a kind of a later version
        with(12, &4u16.to_be_bytes()),       // a message for subscribers without its lengths
    ] {
        let mut stream = bus_of(&ours);
        stream.write_all(&[damaged, ping()].concat()).expect("it takes them");
        let mut head = [0; 4];
        stream.read_exact(&mut head).expect("a pong");
        assert_eq!(&head, b"RCmb");
    }
    assert_eq!(lines(&mut ours.connect()), before);
    assert_eq!(state(&mut ours.connect()), "ok");
}

#[test]
fn connections_of_strangers_do_not_keep_nodes_out() {
    let ours = node(Kind::Slotcore, &[]);
    let strangers: Vec<TcpStream> = (0..400).map(|_| bus_of(&ours)).collect();
    let peer = node(Kind::Redis, &[]);
    join(&[&ours, &peer]);
    let kept = ours.connect().info_number("cluster_connections");
    assert!(kept <= 150, "{kept} connections");
    drop(strangers);
}

/// A client that listens to a channel.
fn subscriber(server: &Server, command: &str, channel: &str) -> Client {
    let mut client = server.connect();
    client.must(&format!("{command} {channel}"));
    client
}

#[test]
fn messages_cross_between_nodes_in_order() {
    let ours = node(Kind::Slotcore, &[]);
    let peer = node(Kind::Redis, &[]);
    join(&[&ours, &peer]);
    for (from, to) in [(&ours, &peer), (&peer, &ours)] {
        // Clients of all cores listen and speak.
        let mut listeners: Vec<Client> = (0..3).map(|_| subscriber(to, "SUBSCRIBE", "news")).collect();
        let mut pattern = subscriber(to, "PSUBSCRIBE", "n*");
        let mut speakers: Vec<Client> = (0..3).map(|_| from.connect()).collect();
        for number in 0..100 {
            assert_eq!(speakers[0].must(&format!("PUBLISH news {number}")).integer(), 0);
        }
        for speaker in &mut speakers {
            speaker.must("PUBLISH news last");
        }
        for listener in listeners.iter_mut().chain([&mut pattern]) {
            for number in 0..100 {
                assert_eq!(listener.read().items().last().expect("the message").text(), number.to_string());
            }
            (0..3).for_each(|_| assert_eq!(listener.read().items().last().expect("the message").text(), "last"));
        }
    }
}

#[test]
fn a_long_message_crosses_and_its_memory_is_given_back() {
    let ours = node(Kind::Slotcore, &[]);
    let peer = node(Kind::Slotcore, &[]);
    join(&[&ours, &peer]);
    let mut listener = subscriber(&peer, "SUBSCRIBE", "long");
    let message = "x".repeat(20 << 20);
    ours.connect().cmd(&["PUBLISH", "long", &message]);
    assert_eq!(listener.read().items()[2].bytes().len(), message.len());
    for server in [&ours, &peer] {
        let mut client = server.connect();
        let is_small = holds_within(LIMIT, || client.info_number("mem_cluster_links") < 1 << 20);
        assert!(is_small, "{} bytes are kept", client.info_number("mem_cluster_links"));
    }
}

#[test]
fn a_link_in_which_too_much_waits_is_closed_and_opened_again() {
    let ours = node(Kind::Slotcore, &["--cluster-node-timeout", "60000", "--cluster-link-sendbuf-limit", "4mb"]);
    let peer = node(Kind::Redis, &["--cluster-node-timeout", "60000"]);
    join(&[&ours, &peer]);
    peer.signal(Signal::SIGSTOP);
    let mut client = ours.connect();
    let message = "x".repeat(1 << 20);
    let closed = holds_within(LIMIT, || {
        client.cmd(&["PUBLISH", "news", &message]);
        ours.log().contains("exceeds the limit of 4194304 bytes")
    });
    assert!(closed, "{}", client.info_number("mem_cluster_links"));
    let is_small = holds_within(LIMIT, || client.info_number("mem_cluster_links") < 1 << 20);
    assert!(is_small, "{} bytes are kept", client.info_number("mem_cluster_links"));
    peer.signal(Signal::SIGCONT);
    wait_until_agreed(&[&ours, &peer], |lines| lines.len() == 2);
    let mut listener = subscriber(&peer, "SUBSCRIBE", "again");
    let came = holds_within(LIMIT, || {
        client.must("PUBLISH again here");
        listener.read_what_is_there().is_some()
    });
    assert!(came, "nothing crosses any more");
}

#[test]
fn sharded_messages_reach_the_replicas_of_the_shard() {
    let (ours, peer, replica) = (node(Kind::Slotcore, &[]), node(Kind::Redis, &[]), node(Kind::Slotcore, &[]));
    join(&[&ours, &peer]);
    meet(&ours, &[&replica]);
    replicate(&[&ours, &peer, &replica], &replica, &ours);
    // `bar` is of slot 5061.
    let mut listener = subscriber(&replica, "SSUBSCRIBE", "bar");
    let mut speaker = ours.connect();
    for number in 0..10 {
        speaker.must(&format!("SPUBLISH bar {number}"));
    }
    for number in 0..10 {
        let message = listener.read();
        assert_eq!((message.items()[0].text(), message.items()[2].text()), ("smessage".to_owned(), number.to_string()));
    }
    assert!(speaker.line("SPUBLISH foo x").to_string().starts_with("-MOVED 12182"));
}

#[test]
fn a_node_that_loads_is_not_believed_alive_before_it_serves() {
    let mut ours = node(Kind::Slotcore, &["--appendonly", "yes", "--key-load-delay", "1000000"]);
    let peer = node(Kind::Redis, &[]);
    join(&[&ours, &peer]);
    let mut client = ours.connect();
    (0..100).for_each(|number| _ = client.must(&format!("SET {{bar}}{number} v")));
    ours.restart();
    let is_suspected = |lines: &[super::nodes::Line]| lines.iter().any(|line| line.flags.contains("fail"));
    let suspected = holds_within(LIMIT, || is_suspected(&lines(&mut peer.connect())));
    let mut client = ours.connect();
    assert!(suspected && client.info_number("loading") == 1, "{}", client.must("INFO persistence").text());
    client.must("CONFIG SET key-load-delay 0");
    wait_until_loaded(&ours);
    wait_until_agreed(&[&ours, &peer], |lines| lines.len() == 2 && !is_suspected(lines));
    assert_eq!(ours.connect().must("DBSIZE").integer(), 100);
}

#[test]
fn whoever_lets_a_node_in_and_throws_it_out_does_not_keep_it_busy() {
    let ours = node(Kind::Slotcore, &[]);
    let door = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = door.local_addr().expect("its address").port();
    door.set_nonblocking(true).expect("a listener need not wait");
    let mut client = ours.connect();
    client.must(&format!("CLUSTER MEET 127.0.0.1 {port} {port}"));
    // It is given up after the node timeout, of two seconds.
    let mut let_in = 0;
    let given_up = holds_within(LIMIT, || {
        let_in += std::iter::from_fn(|| door.accept().ok()).count();
        lines(&mut client).len() == 1
    });
    assert!(given_up && (1..=60).contains(&let_in), "let in {let_in} times");
}

#[test]
fn links_are_described_with_what_waits_in_them() {
    let (ours, peer) = (node(Kind::Slotcore, &[]), node(Kind::Redis, &[]));
    join(&[&ours, &peer]);
    let mut client = ours.connect();
    let links = client.must("CLUSTER LINKS");
    assert_eq!(links.items().len(), 2, "{links}");
}
