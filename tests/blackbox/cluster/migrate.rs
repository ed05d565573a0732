//! MIGRATE of keys of open slots, between nodes of a cluster.

use std::net::TcpListener;

use super::nodes::{LIMIT, id_of, join, node};
use crate::support::client::{encode, split_line};
use crate::support::{Kind, Server, holds_within};

/// Two nodes of which the first serves the slot of `{06S}`, which is slot 0.
fn pair(source: Kind, target: Kind) -> (Server, Server) {
    let nodes = (node(source, &[]), node(target, &[]));
    join(&[&nodes.0, &nodes.1]);
    (nodes.0, nodes.1)
}

/// Opens slot 0 on both sides.
fn open(source: &Server, target: &Server) {
    target.connect().must(&format!("CLUSTER SETSLOT 0 IMPORTING {}", id_of(source)));
    source.connect().must(&format!("CLUSTER SETSLOT 0 MIGRATING {}", id_of(target)));
}

#[test]
fn keys_of_an_open_slot_go_one_by_one_and_clients_are_sent_after_them() {
    for (source, target) in
        [(Kind::Slotcore, Kind::Redis), (Kind::Redis, Kind::Slotcore), (Kind::Slotcore, Kind::Slotcore)]
    {
        let (here, there) = pair(source, target);
        let (mut client, mut other) = (here.connect(), there.connect());
        (0..4).for_each(|number| _ = client.must(&format!("SET {{06S}}{number} {number}")));
        open(&here, &there);
        let ask = format!("-ASK 0 127.0.0.1:{}", there.port);
        let migrate = |words: &str| format!("MIGRATE 127.0.0.1 {} {words}", there.port);
        client.must(&migrate("{06S}0 0 5000"));
        assert_eq!(client.line("GET {06S}0").to_string(), ask);
        assert_eq!(
            client.line("MGET {06S}0 {06S}1").to_string(),
            "-TRYAGAIN Multiple keys request during rehashing of slot"
        );
        assert_eq!(client.must("MGET {06S}1 {06S}2").to_string(), "['1', '2']");
        assert_eq!(other.line("GET {06S}0").to_string(), format!("-MOVED 0 127.0.0.1:{}", here.port));
        other.must("ASKING");
        assert_eq!(other.must("GET {06S}0").text(), "0");
        // What is not here is not looked for there.
        assert_eq!(client.must(&migrate("{06S}0 0 5000")).to_string(), "+NOKEY");
        assert_eq!(
            client.line(&migrate("\"\" 0 5000 KEYS {06S}1 x")).to_string(),
            "-CROSSSLOT Keys in request don't hash to the same slot"
        );
        // Another database there is none of in a cluster.
        let refused = client.line(&migrate("{06S}1 1 5000")).to_string();
        assert_eq!(
            refused, "-ERR Target instance replied with error: ERR SELECT is not allowed in cluster mode",
            "{source:?} {target:?}"
        );
        // It was restored there all the same, as Redis does it.
        client.must(&migrate("\"\" 0 5000 REPLACE KEYS {06S}0 {06S}1 {06S}2 {06S}3"));
        assert_eq!(client.must("CLUSTER COUNTKEYSINSLOT 0").integer(), 0);
        // On the importing side it works, too, though the other does not take a key back whose slot it gives away.
        let back = other.line(&format!("MIGRATE 127.0.0.1 {} \"\" 0 5000 KEYS {{06S}}1", here.port)).to_string();
        assert_eq!(back, format!("-ERR Target instance replied with error: {}", &ask[1..]));
        let id = id_of(&there);
        other.must(&format!("CLUSTER SETSLOT 0 NODE {id}"));
        client.must(&format!("CLUSTER SETSLOT 0 NODE {id}"));
        assert!(client.line("GET {06S}0").to_string().starts_with("-MOVED 0 "));
        assert_eq!(other.must("MGET {06S}0 {06S}1 {06S}2 {06S}3").to_string(), "['0', '1', '2', '3']");
    }
}

#[test]
fn a_target_that_does_not_import_sends_the_key_back() {
    let (here, there) = pair(Kind::Slotcore, Kind::Redis);
    let mut client = here.connect();
    client.must("SET {06S}k v");
    client.must(&format!("CLUSTER SETSLOT 0 MIGRATING {}", id_of(&there)));
    let refused = client.line(&format!("MIGRATE 127.0.0.1 {} {{06S}}k 0 5000", there.port)).to_string();
    let moved = format!("-ERR Target instance replied with error: MOVED 0 127.0.0.1:{}", here.port);
    assert_eq!(refused, moved);
    assert_eq!(client.must("GET {06S}k").text(), "v");
}

#[test]
fn a_write_that_has_waited_is_sent_after_its_key() {
    let (here, there) = pair(Kind::Slotcore, Kind::Slotcore);
    // Plays the target's part, and answers when the test says so.
    let target = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = target.local_addr().expect("an address").port();
    let (mut client, mut mover) = (here.connect(), here.connect());
    client.must("SET {06S}k v");
    client.must("SET {06S}stays v");
    open(&here, &there);
    mover.send(&encode(&split_line(&format!("MIGRATE 127.0.0.1 {port} {{06S}}k 0 20000"))));
    let (mut link, _) = target.accept().expect("a connection");
    let mut seen = Vec::new();
    let mut bytes = [0; 4096];
    while !seen.windows(14).any(|word| word == b"RESTORE-ASKING") {
        let count = std::io::Read::read(&mut link, &mut bytes).expect("a request");
        seen.extend_from_slice(&bytes[..count]);
    }
    let mut writers: Vec<_> = (0..6).map(|_| here.connect()).collect();
    for writer in &mut writers {
        for line in ["SET {06S}k new", "GET {06S}stays", "GET {06S}k"] {
            writer.send(&encode(&split_line(line)));
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(writer.read_what_is_there().is_none());
    }
    // A transaction, and one of its own slot that does not touch the key.
    let mut transaction = here.connect();
    for line in ["MULTI", "SET {06S}k tx", "EXEC"] {
        transaction.send(&encode(&split_line(line)));
    }
    assert_eq!(transaction.read().to_string(), "+OK");
    assert_eq!(transaction.read().to_string(), "+QUEUED");
    assert_eq!(client.must("SET {06S}stays w").to_string(), "+OK");
    std::io::Write::write_all(&mut link, b"+OK\r\n+OK\r\n").expect("it is read");
    assert_eq!(mover.read().to_string(), "+OK");
    let ask = format!("-ASK 0 127.0.0.1:{}", there.port);
    for writer in &mut writers {
        assert_eq!(writer.read().to_string(), ask);
        assert_eq!(writer.read().to_string(), "'w'");
        assert_eq!(writer.read().to_string(), ask);
    }
    assert_eq!(transaction.read().to_string(), ask);
    assert!(holds_within(LIMIT, || client.must("CLUSTER COUNTKEYSINSLOT 0").integer() == 1));
}
