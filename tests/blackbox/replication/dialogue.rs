//! The dialogue between primary and replica to the letter, with the test on one side and nodes of both kinds on the other.

use super::fake::{FakePrimary, HISTORY, Link, rdb};
use super::nodes::{Info, SYNC_LIMIT, follow, granted, is_up, node, settle};
use crate::support::aof::shown;
use crate::support::{Kind, Server, holds_within};

const KINDS: [Kind; 2] = [Kind::Redis, Kind::Slotcore];

fn wait_for(replica: &Server, line: &str, expected: &str) {
    let mut client = replica.connect();
    let is_so = || client.line(line).to_string() == expected;
    assert!(holds_within(SYNC_LIMIT, is_so), "{:?}: {line} is not {expected}", replica.kind);
}

/// Attaches as a replica and takes the file; where the stream begins, by id and offset.
fn attach(primary: &Server, capabilities: &str) -> (Link, String, u64) {
    let mut link = Link::to(primary);
    link.send(format!("REPLCONF listening-port 1234 ip-address 10.1.2.3 {capabilities}\r\n").as_bytes());
    assert_eq!(link.line(), "+OK");
    link.send(b"PSYNC ? -1\r\n");
    let granted = link.line();
    let words: Vec<&str> = granted.split(' ').collect();
    assert_eq!((words[0], words.len()), ("+FULLRESYNC", 3), "{granted}");
    let (id, offset) = (words[1].to_owned(), words[2].parse::<u64>().expect("an offset"));
    let mut length = link.line();
    while length.is_empty() {
        length = link.line();
    }
    let file = match length.strip_prefix("$EOF:") {
        Some(mark) => {
            assert!(capabilities.contains("eof") && mark.len() == 40, "{length}");
            link.take_until(mark.as_bytes())
        }
        None => link.take(length[1..].parse().expect("a length")),
    };
    assert!(file.starts_with(b"REDIS00"), "{:?}", file[..9].escape_ascii().to_string());
    // The stream begins with the first acknowledgement after the primary knows that the file is through.
    let is_through = || Info::of(primary).replication().contains("port=1234,state=online");
    assert!(holds_within(SYNC_LIMIT, is_through), "{}", Info::of(primary).replication());
    link.send(format!("*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n${}\r\n{offset}\r\n", offset.to_string().len()).as_bytes());
    (link, id, offset)
}

/// What a replica says before it asks, and what it asks for.
#[test]
fn a_replica_says_who_it_is() {
    for kind in KINDS {
        let replica = node(kind, &["--replica-announce-ip", "10.9.8.7", "--replica-announce-port", "4321"]);
        let primary = FakePrimary::start();
        follow(&replica, primary.port);
        let mut link = primary.accept();
        let mut said = Vec::new();
        loop {
            let command = link.command().expect("the replica goes on until PSYNC");
            let name = command[0].to_ascii_uppercase();
            said.push(shown(&command));
            match name.as_slice() {
                b"PSYNC" => break,
                b"PING" => link.send(b"+PONG\r\n"),
                _ => link.send(b"+OK\r\n"),
            }
        }
        let said: Vec<String> = said.iter().map(|words| words.to_lowercase()).collect();
        let text = said.join("\n");
        for part in ["listening-port 4321", "ip-address 10.9.8.7", "capa eof", "capa psync2"] {
            assert!(text.contains(part), "{kind:?} does not say {part}:\n{text}");
        }
        assert_eq!(said[0], "ping");
        assert!(text.contains("psync "), "{text}");
    }
}

/// Empty lines before the file, a file with a mark, the database that the file names, every byte of the stream counted.
#[test]
fn a_replica_counts_every_byte_of_the_stream() {
    for kind in KINDS {
        let replica = node(kind, &[]);
        let primary = FakePrimary::start();
        follow(&replica, primary.port);
        let (mut link, _) = primary.asked();
        let mark = "m".repeat(40);
        link.send(b"\n\n\n");
        link.send(format!("+FULLRESYNC {HISTORY} 5000\r\n\n\n$EOF:{mark}\r\n").as_bytes());
        link.send(&rdb("k", "v"));
        link.send(mark.as_bytes());
        wait_for(&replica, "GET k", "'v'");
        let mut expected = 5000;
        for part in [
            "*1\r\n$4\r\nPING\r\n",
            "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n",
            "*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*1\r\n$4\r\nEXEC\r\n",
            "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n",
        ] {
            link.send(part.as_bytes());
            expected += part.len() as u64;
            expected = link.acknowledges(expected);
        }
        let mut client = replica.connect();
        client.must("SELECT 3");
        assert_eq!(client.line("GET a").to_string(), "'3'");
        assert_eq!(Info::of(&replica).field("master_replid"), Some(HISTORY));
        assert_eq!(Info::of(&replica).number("slave_repl_offset"), i64::try_from(expected).expect("an offset"));
    }
}

/// After a cut: the next byte is asked for, in the history as it is called now, and the database stays selected.
#[test]
fn a_replica_goes_on_where_it_was_and_takes_a_new_name() {
    for kind in KINDS {
        let replica = node(kind, &[]);
        let primary = FakePrimary::start();
        follow(&replica, primary.port);
        let mut link = primary.synchronised("k", "v", 700);
        let stream = b"*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n";
        link.send(stream);
        let offset = link.acknowledges(700 + stream.len() as u64);
        drop(link);
        let (mut link, asked) = primary.asked();
        assert_eq!(shown(&asked), format!("PSYNC {HISTORY} {}", offset + 1), "{kind:?}");
        let renamed = "e".repeat(40);
        link.send(format!("+CONTINUE {renamed}\r\n").as_bytes());
        let stream = b"*2\r\n$4\r\nINCR\r\n$1\r\na\r\n";
        link.send(stream);
        link.acknowledges(offset + stream.len() as u64);
        let mut client = replica.connect();
        client.must("SELECT 2");
        assert_eq!(client.line("GET a").to_string(), "'2'");
        let info = Info::of(&replica);
        assert_eq!(info.field("master_replid"), Some(renamed.as_str()), "{kind:?}");
        assert_eq!(info.field("master_replid2"), Some(HISTORY), "{kind:?}");
        assert_eq!(info.number("second_repl_offset"), i64::try_from(offset + 1).expect("an offset"));
    }
}

/// A clock that goes ahead of ours or after it: keys expire by the primary's word, not by the replica's clock.
#[test]
fn keys_expire_on_a_replica_by_the_word_of_its_primary() {
    for kind in KINDS {
        let replica = node(kind, &[]);
        let primary = FakePrimary::start();
        follow(&replica, primary.port);
        let mut link = primary.synchronised("k", "v", 1);
        let set = |name: &str, at: &str| {
            let words = ["SET", name, "5", "PXAT", at];
            crate::support::client::encode(&words)
        };
        let mut stream = [set("late", "1000"), set("lent", "1000"), set("early", "33177117420000")].concat();
        stream.extend(b"*2\r\n$4\r\nINCR\r\n$4\r\nlate\r\n");
        link.send(&stream);
        let offset = link.acknowledges(1 + stream.len() as u64);
        let mut client = replica.connect();
        // For a client its time has come; for the primary it has not.
        assert_eq!(client.line("GET late").to_string(), "nil", "{kind:?}");
        assert_eq!(client.line("EXISTS late lent early").to_string(), ":1", "{kind:?}");
        assert_eq!(client.line("DBSIZE").to_string(), ":4", "{kind:?}: a replica takes nothing away by itself");
        let stream = b"*2\r\n$7\r\nPERSIST\r\n$4\r\nlate\r\n*2\r\n$3\r\nDEL\r\n$5\r\nearly\r\n*2\r\n$6\r\nUNLINK\r\n$4\r\nlent\r\n";
        link.send(stream);
        link.acknowledges(offset + stream.len() as u64);
        assert_eq!(client.line("GET late").to_string(), "'6'", "{kind:?}");
        assert_eq!(client.line("DBSIZE").to_string(), ":2", "{kind:?}");
    }
}

/// The primary's side: file, stream, questions, and where it can go on.
#[test]
fn a_primary_goes_on_where_a_replica_was() {
    for kind in KINDS {
        let primary = node(kind, &[]);
        let mut client = primary.connect();
        client.must("SET before file");
        let (mut link, id, offset) = attach(&primary, "capa eof capa psync2");
        client.must("SELECT 7");
        client.must("SET k v");
        assert_eq!(shown(&link.news()), "SELECT 7");
        assert_eq!(shown(&link.news()), "SET k v");
        let here = u64::try_from(Info::of(&primary).number("master_repl_offset")).expect("an offset");
        drop(link);
        client.must("SET k w");
        let ask = |from: u64, id: &str, capabilities: &str| {
            let mut link = Link::to(&primary);
            if !capabilities.is_empty() {
                link.send(format!("REPLCONF {capabilities}\r\n").as_bytes());
                assert_eq!(link.line(), "+OK");
            }
            link.send(format!("PSYNC {id} {from}\r\n").as_bytes());
            let line = link.line();
            (link, line)
        };
        let (mut link, line) = ask(here + 1, &id, "capa psync2");
        assert_eq!(line, format!("+CONTINUE {id}"), "{kind:?}");
        assert_eq!(shown(&link.news()), "SET k w", "{kind:?}");
        let (mut link, line) = ask(offset + 1, &id, "");
        assert_eq!(line, "+CONTINUE", "{kind:?}: who does not know PSYNC2 is told no id");
        assert_eq!(shown(&link.news()), "SELECT 7");
        assert_eq!(shown(&link.news()), "SET k v");
        assert_eq!(shown(&link.news()), "SET k w");
        let ahead = here + 1_000_000;
        for (from, other) in [(ahead, id.as_str()), (here, HISTORY), (0, "?")] {
            let (_, line) = ask(from, other, "capa eof capa psync2");
            assert!(line.starts_with(&format!("+FULLRESYNC {id} ")), "{kind:?}: {from} {other}: {line}");
        }
        assert_eq!(granted(&primary).1, 2);
        assert!(Info::of(&primary).number("sync_partial_err") >= 2);
    }
}

/// Replicas that are older: SYNC without PSYNC, and files with their length for who does not know the mark.
#[test]
fn a_primary_serves_replicas_that_know_less() {
    for kind in KINDS {
        let primary = node(kind, &[]);
        primary.connect().must("SET k v");
        let (mut link, ..) = attach(&primary, "capa psync2");
        primary.connect().must("SET more data");
        assert_eq!(shown(&link.news()), "SELECT 0");
        assert_eq!(shown(&link.news()), "SET more data");

        let mut link = Link::to(&primary);
        link.send(b"SYNC\r\n");
        let mut length = link.line();
        while length.is_empty() {
            length = link.line();
        }
        let file = link.take(length[1..].parse().expect("a length"));
        assert!(file.starts_with(b"REDIS00"), "{kind:?}");
        primary.connect().must("SET k w");
        assert_eq!(shown(&link.news()), "SELECT 0");
        assert_eq!(shown(&link.news()), "SET k w");
    }
}

/// What a replica is to a primary: its address in INFO and ROLE, its acknowledgements, and that it counts for WAIT.
#[test]
fn a_primary_knows_its_replica_by_what_it_says() {
    for kind in KINDS {
        let primary = node(kind, &[]);
        let (mut link, _, offset) = attach(&primary, "capa eof capa psync2");
        let line = |number: &str| Info::of(&primary).field(number).map(str::to_owned);
        let is_online = || line("slave0").is_some_and(|line| line.contains("state=online"));
        assert!(holds_within(SYNC_LIMIT, is_online), "{kind:?}: {:?}", line("slave0"));
        let shown_line = line("slave0").expect("a replica");
        assert!(shown_line.starts_with("ip=10.1.2.3,port=1234,state=online,offset="), "{shown_line}");
        let role = primary.connect().line("ROLE").to_string();
        assert!(role.ends_with(&format!("[['10.1.2.3', '1234', '{offset}']]]")), "{kind:?}: {role}");

        let mut client = primary.connect();
        client.must("SET k v");
        client.send(b"WAIT 1 0\r\n");
        // The primary asks; the answer is an offset, and one that is too small is none.
        loop {
            let command = shown(&link.news()).to_lowercase();
            if command == "replconf getack *" {
                break;
            }
        }
        assert!(client.read_what_is_there().is_none());
        let here = Info::of(&primary).number("master_repl_offset");
        for (acknowledged, is_enough) in [(offset, false), (u64::try_from(here).expect("an offset"), true)] {
            let text = acknowledged.to_string();
            link.send(format!("*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n${}\r\n{text}\r\n", text.len()).as_bytes());
            let seen = || line("slave0").is_some_and(|line| line.contains(&format!("offset={text},")));
            assert!(holds_within(SYNC_LIMIT, seen), "{kind:?}: {:?}", line("slave0"));
            if is_enough {
                assert_eq!(client.read().to_string(), ":1");
            } else {
                assert!(client.read_what_is_there().is_none(), "{kind:?}: half of the way is not there");
            }
        }
    }
}

/// REPLCONF with words that it does not know, and PSYNC where it cannot be.
#[test]
fn replconf_and_psync_say_what_is_wrong() {
    crate::support::on_both(|server| {
        crate::support::check(
            &mut server.connect(),
            &[
                ("REPLCONF nonsense 1", "-ERR Unrecognized REPLCONF option: nonsense"),
                ("REPLCONF listening-port", "-ERR syntax error"),
                ("REPLCONF listening-port x", "-ERR value is not an integer or out of range"),
                ("REPLCONF capa whatever", "+OK"),
                ("REPLCONF", "+OK"),
                ("REPLCONF rdb-only x", "-ERR value is not an integer or out of range"),
                ("PSYNC ?", "-ERR wrong number of arguments for 'psync' command"),
            ],
        );
        // Behind a primary that is not there nothing can be had.
        follow(server, 1);
        assert!(!is_up(server));
        let refused = server.connect().line("PSYNC ? -1").to_string();
        assert_eq!(refused, "-NOMASTERLINK Can't SYNC while not connected with my master");
        let refused = server.connect().line("SYNC").to_string();
        assert_eq!(refused, "-NOMASTERLINK Can't SYNC while not connected with my master");
    });
}

/// The node in the middle sends on what it gets, to the byte, and its own clients' words never go down the chain.
#[test]
fn a_chained_replica_gets_the_bytes_of_the_first_primary() {
    for kind in KINDS {
        let middle = node(kind, &[]);
        let primary = FakePrimary::start();
        follow(&middle, primary.port);
        let mut upper = primary.synchronised("k", "v", 300);
        wait_for(&middle, "GET k", "'v'");
        let (mut lower, id, offset) = attach(&middle, "capa eof capa psync2");
        assert_eq!((id.as_str(), offset), (HISTORY, 300), "{kind:?}");
        // Odd but valid ways to write a command stay as they are.
        let stream = b"*2\r\n$6\r\nselect\r\n$1\r\n9\r\n*3\r\n$3\r\nsEt\r\n$1\r\na\r\n$1\r\n1\r\n*1\r\n$4\r\nPING\r\n";
        upper.send(stream);
        middle.connect().must("PUBLISH channel only-here");
        let passed = lower.take(stream.len());
        assert_eq!(passed.escape_ascii().to_string(), stream.escape_ascii().to_string(), "{kind:?}");
        drop(lower);
        let other = node(kind, &[]);
        follow(&other, middle.port);
        settle(&middle, &other);
        assert_eq!(Info::of(&other).number("slave_repl_offset"), 300 + i64::try_from(stream.len()).expect("a length"));
    }
}
