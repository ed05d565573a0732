//! Streams and files that are not what they should be: no node falls, nothing is half applied, and what was damaged comes again.
//!
//! A stream has no checksum: a byte turned over inside a value is a value. What can be seen is shown here: damage of the
//! frame, of the talk before it, and of the file with its checksum.

use super::compare::{Sameness, assert_same};
use super::fake::{FakePrimary, HISTORY, rdb};
use super::nodes::{Info, SYNC_LIMIT, fill, follow, granted, node, resident_bytes, settle};
use super::proxy::{Proxy, Way};
use super::seed;
use crate::support::random::Random;
use crate::support::{Kind, Server, holds_within};

const KINDS: [Kind; 2] = [Kind::Redis, Kind::Slotcore];
/// Talks of a test that all take their second until the replica tries again.
const SHORT: &[&str] = &["--repl-timeout", "5"];

fn wait_for_key(replica: &Server, key: &str, value: &str) {
    let mut client = replica.connect();
    let is_there = || client.line(&format!("GET {key}")).to_string() == format!("'{value}'");
    assert!(holds_within(SYNC_LIMIT, is_there), "{key} is not there:\n{}", Info::of(replica).replication());
}

/// What breaks the frame of a stream: the link is given up, and everything is asked for again.
const BROKEN_FRAMES: &[&[u8]] = &[
    b"*99999999999\r\n",
    b"*x\r\n",
    b"*1\r\n$-5\r\n",
    b"*1\r\n+PING\r\n",
    b"*2\r\n$3\r\nDEL\r\n:5\r\n",
    b"*3\r\n$3\r\nSET\r\n$x\r\na\r\n$1\r\nb\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n!1\r\nb\r\n",
];

#[test]
fn a_stream_with_a_broken_frame_is_given_up_and_asked_for_again() {
    for kind in KINDS {
        let replica = node(kind, SHORT);
        let primary = FakePrimary::start();
        follow(&replica, primary.port);
        for (number, broken) in BROKEN_FRAMES.iter().enumerate() {
            let mut link = primary.synchronised("round", &number.to_string(), 100);
            wait_for_key(&replica, "round", &number.to_string());
            link.send(b"*3\r\n$3\r\nSET\r\n$6\r\nbefore\r\n$1\r\n1\r\n");
            wait_for_key(&replica, "before", "1");
            link.send(broken);
            link.try_send(b"*3\r\n$3\r\nSET\r\n$5\r\nafter\r\n$1\r\n1\r\n");
            assert!(link.is_closed(), "{kind:?}: {} is taken", broken.escape_ascii());
            let (_, asked) = primary.asked();
            assert_eq!(asked[1], b"?", "{kind:?}: after {} the history is not to be trusted", broken.escape_ascii());
            assert!(replica.connect().line("GET after").is_nil(), "{kind:?}: what stood behind the damage was applied");
        }
    }
}

/// A string longer than any: it may be waited for, but no room is made for it before it comes, and the link ends in time.
#[test]
fn a_string_without_end_takes_no_room() {
    for kind in KINDS {
        let replica = node(kind, SHORT);
        let primary = FakePrimary::start();
        follow(&replica, primary.port);
        let mut link = primary.synchronised("k", "v", 100);
        wait_for_key(&replica, "k", "v");
        let before = resident_bytes(&replica);
        link.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$99999999999\r\nabc");
        assert!(link.is_closed(), "{kind:?}");
        drop(primary.asked());
        let grown = resident_bytes(&replica).saturating_sub(before);
        assert!(grown < 64 << 20, "{kind:?}: {grown} bytes more");
        assert!(replica.connect().line("GET a").is_nil());
    }
}

/// `propagation-error-behavior`: a command that the primary has run and this node cannot run.
#[test]
fn a_command_that_fails_is_named_or_ends_the_replica() {
    for kind in [Kind::Redis, Kind::Slotcore] {
        for (behavior, ends) in [("ignore", false), ("panic", true), ("panic-on-replicas", true)] {
            let args = ["--propagation-error-behavior", behavior, "--crash-memcheck-enabled", "no"];
            let mut replica = node(kind, &args);
            let primary = FakePrimary::start();
            follow(&replica, primary.port);
            let mut link = primary.synchronised("k", "v", 100);
            wait_for_key(&replica, "k", "v");
            link.send(b"*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n*3\r\n$3\r\nSET\r\n$5\r\nafter\r\n$1\r\n1\r\n");
            if ends {
                assert!(!replica.wait_for_exit().success(), "{kind:?} {behavior}");
                assert!(replica.log().contains("This replica panicked sending an error to its master"));
            } else {
                wait_for_key(&replica, "after", "1");
                assert!(replica.log().contains("== CRITICAL == This replica is sending an error to its master"));
            }
        }
    }
}

/// `replica-ignore-disk-write-errors`: what the primary writes cannot be kept here.
#[test]
fn a_replica_whose_disk_fails_ends_unless_told_to_go_on() {
    if !Kind::Slotcore.is_slotcore() {
        return; // redis-server has no disk that fails when it is told to
    }
    for ignores in ["no", "yes"] {
        let args = ["--appendonly", "yes", "--appendfsync", "always", "--replica-ignore-disk-write-errors", ignores];
        let primary = node(Kind::Slotcore, &[]);
        let mut replica = node(Kind::Slotcore, &args);
        follow(&replica, primary.port);
        settle(&primary, &replica);
        let mut theirs = replica.connect();
        // The files are begun anew after a full synchronisation, and have nothing of what comes before that.
        let has_files = || theirs.info_number("aof_rewrites") > 0 && theirs.info_number("aof_rewrite_in_progress") == 0;
        assert!(holds_within(SYNC_LIMIT, has_files));
        theirs.must(&format!("DEBUG DISK-FAULT WRITE {}", libc::ENOSPC));
        let mut client = primary.connect();
        client.must("SET first 1");
        assert!(holds_within(SYNC_LIMIT, || theirs.line("PING").is_error()), "{}", replica.log());
        client.must("SET second 2");
        let said = if ignores == "yes" {
            wait_for_key(&replica, "second", "2");
            "Replica is applying a command it is unable to write to disk."
        } else {
            assert!(!replica.wait_for_exit().success());
            "Replica was unable to write command to disk."
        };
        assert!(replica.log().contains(said), "{}", replica.log());
    }
}

/// What a primary may answer to PSYNC that is no answer: the replica asks again, and what it had is there until then.
#[test]
fn an_odd_answer_to_psync_is_no_end() {
    for kind in KINDS {
        let replica = node(kind, SHORT);
        replica.connect().must("SET own data");
        let primary = FakePrimary::start();
        follow(&replica, primary.port);
        for answer in [
            "-LOADING Redis is loading the dataset in memory\r\n",
            "-NOMASTERLINK Can't SYNC while not connected with my master\r\n",
            "+FULLRES",
        ] {
            let (mut link, _) = primary.asked();
            link.send(answer.as_bytes());
            drop(link);
            assert_eq!(replica.connect().line("GET own").to_string(), "'data'", "{kind:?}: {answer:?}");
        }
        let _link = primary.synchronised("after", "all", 7);
        wait_for_key(&replica, "after", "all");
        assert!(replica.connect().line("GET own").is_nil());
    }
}

/// What a primary may send in place of the file. redis-server ends when it finds a file damaged, so it is not shown here.
#[test]
fn a_damaged_file_leaves_a_replica_that_asks_again() {
    if !Kind::Slotcore.is_slotcore() {
        return; // a redis-server in slotcore's place ends by its own design
    }
    let whole = rdb("k", "v");
    let with_length = |length: usize, bytes: &[u8]| [format!("${length}\r\n").as_bytes(), bytes].concat();
    let mut newer = whole.clone();
    newer[5..9].copy_from_slice(b"9999");
    let mut odd_type = whole.clone();
    odd_type[11] = 0xc8;
    let mut wrong_sum = whole.clone();
    *wrong_sum.last_mut().expect("a byte") = 1;
    let mut long_key = whole.clone();
    long_key[12] = 0x7f;
    let damages: Vec<(&str, Vec<u8>)> = vec![
        ("a length that is none", b"$x\r\n".to_vec()),
        ("a negative length", b"$-1\r\n".to_vec()),
        ("a length without end", [b"$9223372036854775807\r\n".as_slice(), &whole[..20]].concat()),
        ("an error", b"-ERR no file today\r\n".to_vec()),
        ("a mark that is too short", b"$EOF:abc\r\n".to_vec()),
        ("no file", with_length(5, b"XXXXX")),
        ("an empty file", with_length(0, b"")),
        ("half a file", with_length(whole.len(), &whole[..whole.len() / 2])),
        ("a file that ends early", with_length(whole.len() / 2, &whole[..whole.len() / 2])),
        ("a newer version", with_length(newer.len(), &newer)),
        ("an unknown type", with_length(odd_type.len(), &odd_type)),
        ("a wrong checksum", with_length(wrong_sum.len(), &wrong_sum)),
        ("a key longer than the file", with_length(long_key.len(), &long_key)),
        ("a mark that does not come", [b"$EOF:", [b'a'; 40].as_slice(), b"\r\n", &whole, &[b'b'; 40]].concat()),
    ];
    let replica = node(Kind::Slotcore, SHORT);
    let primary = FakePrimary::start();
    follow(&replica, primary.port);
    for (what, bytes) in damages {
        let (mut link, asked) = primary.asked();
        assert_ne!(asked[1], HISTORY.as_bytes(), "{what}: a history of which it has nothing");
        link.send(format!("+FULLRESYNC {HISTORY} 10\r\n").as_bytes());
        link.try_send(&bytes);
        drop(link);
        let info = Info::of(&replica);
        assert!(info.is("master_link_status", "down"), "{what}: {}", info.replication());
    }
    let _link = primary.synchronised("whole", "again", 10);
    wait_for_key(&replica, "whole", "again");
    assert!(replica.connect().line("GET k").is_nil());
}

/// Bytes of the talk and of the file turned over on the way: the checksum or the frame tells, and in the end all is there.
#[test]
fn bytes_turned_over_during_a_full_synchronisation_are_found() {
    const ROUNDS: u64 = 12;
    if !Kind::Slotcore.is_slotcore() {
        return; // a redis-server in slotcore's place ends when a file is damaged
    }
    for kind in KINDS {
        let mut random = Random::new(seed("damage"));
        let primary = node(kind, SHORT);
        fill(&primary, 2000, 300);
        let stray = node(Kind::Slotcore, SHORT);
        let replica = node(Kind::Slotcore, SHORT);
        let proxy = Proxy::start(primary.port);
        for round in 0..ROUNDS {
            let (before, full) = (proxy.damages(), granted(&primary).0);
            // The talk is about 150 bytes, the file more than 20,000 even when it is compressed.
            let within = if round % 4 == 0 { 150 } else { 20_000 };
            proxy.damage_after(Way::ToReplica, random.below(within));
            follow(&replica, proxy.port);
            assert!(holds_within(SYNC_LIMIT, || proxy.damages() > before), "round {round}: nothing was damaged");
            settle(&primary, &replica);
            assert_same(&primary, &[&replica], Sameness::All);
            assert!(granted(&primary).0 > full);
            // Another history, so that the next round begins with nothing.
            follow(&replica, stray.port);
            settle(&stray, &replica);
            stray.connect().must(&format!("SET round {round}"));
        }
    }
}

/// Bytes turned over in the stream under writes: the node lives, and another full synchronisation mends what they did.
#[test]
fn bytes_turned_over_in_a_stream_fell_no_node() {
    const ROUNDS: u64 = 20;
    for kind in KINDS {
        let mut random = Random::new(seed("damage"));
        let primary = node(kind, SHORT);
        let stray = node(Kind::Slotcore, SHORT);
        let replica = node(Kind::Slotcore, SHORT);
        let proxy = Proxy::start(primary.port);
        follow(&replica, proxy.port);
        settle(&primary, &replica);
        let load = super::load::Load::start(&primary, random.next());
        for round in 0..ROUNDS {
            let before = proxy.damages();
            proxy.damage_after(Way::ToReplica, random.below(20_000));
            assert!(holds_within(SYNC_LIMIT, || proxy.damages() > before), "round {round}: nothing was damaged");
            // It may be loading all data anew.
            let said = replica.connect().line("PING").to_string();
            assert!(said == "+PONG" || said.starts_with("-LOADING"), "round {round}: {said}");
        }
        load.finish();
        follow(&replica, stray.port);
        settle(&stray, &replica);
        follow(&replica, primary.port);
        assert_same(&primary, &[&replica], Sameness::All);
    }
}

/// A command that no node knows, or that fails, is logged; what follows it is applied, and every byte counts.
#[test]
fn commands_that_fail_do_not_end_a_stream() {
    for kind in KINDS {
        let replica = node(kind, SHORT);
        let primary = FakePrimary::start();
        follow(&replica, primary.port);
        let mut link = primary.synchronised("k", "v", 100);
        let stream: &[u8] = b"*2\r\n$7\r\nNOTHING\r\n$1\r\nx\r\n*3\r\n$5\r\nLPUSH\r\n$1\r\nk\r\n$1\r\nx\r\n\
            *3\r\n$3\r\nSET\r\n$5\r\nafter\r\n$2\r\nit\r\n";
        link.send(stream);
        wait_for_key(&replica, "after", "it");
        link.acknowledges(100 + stream.len() as u64);
        assert_eq!(replica.connect().line("GET k").to_string(), "'v'");
    }
}

/// A transaction of which only the beginning came is not there, and is asked for from its beginning.
#[test]
fn half_a_transaction_is_not_applied() {
    for kind in KINDS {
        let replica = node(kind, SHORT);
        let primary = FakePrimary::start();
        follow(&replica, primary.port);
        let mut link = primary.synchronised("k", "v", 100);
        let whole = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n";
        link.send(whole);
        wait_for_key(&replica, "a", "1");
        link.send(b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n2\r\n*3\r\n$3\r\nSET\r\n$1\r\nb");
        drop(link);
        let (mut link, asked) = primary.asked();
        let from = 100 + whole.len() as u64 + 1;
        let shown = crate::support::aof::shown(&asked);
        assert_eq!(shown, format!("PSYNC {HISTORY} {from}"), "{kind:?}");
        assert_eq!(replica.connect().line("GET a").to_string(), "'1'", "{kind:?}");
        link.send(b"+CONTINUE\r\n*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n2\r\n*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n2\r\n*1\r\n$4\r\nEXEC\r\n");
        wait_for_key(&replica, "b", "2");
        assert_eq!(replica.connect().line("GET a").to_string(), "'2'");
    }
}
