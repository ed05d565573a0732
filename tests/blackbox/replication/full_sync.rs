//! Full synchronisations: by every way that a file can take, and what may go wrong in the middle of one.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::compare::{Sameness, assert_same};
use super::fake::FakePrimary;
use super::load::Load;
use super::nodes::{
    ALL_PAIRS, Info, PAIRS, SYNC_LIMIT, fill, follow, granted, is_up, node, resident_bytes, settle, wait_for_replicas,
};
use super::proxy::{Proxy, Way};
use super::seed;
use crate::support::random::Random;
use crate::support::{Kind, Server, holds_within};

/// Enough that a full synchronisation has a middle.
const KEYS: u64 = 20_000;
const VALUE_BYTES: usize = 500;

/// Directives of the primary and of the replica: how the file is sent and how it is taken.
const WAYS: &[(&[&str], &[&str])] = &[
    (&["--repl-diskless-sync", "no"], &["--repl-diskless-load", "disabled"]),
    (&["--repl-diskless-sync", "no"], &["--repl-diskless-load", "swapdb"]),
    (&["--repl-diskless-sync", "yes"], &["--repl-diskless-load", "disabled"]),
    (&["--repl-diskless-sync", "yes"], &["--repl-diskless-load", "on-empty-db"]),
    (&["--repl-diskless-sync", "yes"], &["--repl-diskless-load", "swapdb"]),
    (&["--repl-diskless-sync", "yes", "--rdbcompression", "no", "--rdbchecksum", "no"], &[]),
    (&["--repl-diskless-sync", "yes", "--repl-disable-tcp-nodelay", "yes"], &["--rdb-del-sync-files", "yes"]),
];

/// Each way, to a replica that is empty and to one that has data of its own, under writes.
#[test]
fn every_way_of_a_file_brings_the_same_data() {
    for (primary, replica) in ALL_PAIRS {
        let mut random = Random::new(seed("ways"));
        for (sends, takes) in WAYS {
            let primary = node(*primary, sends);
            fill(&primary, 2000, 100);
            let (empty, full) = (node(*replica, takes), node(*replica, takes));
            full.connect().must("SET own data");
            let load = Load::start(&primary, random.next());
            for replica in [&empty, &full] {
                follow(replica, primary.port);
            }
            assert!(holds_within(SYNC_LIMIT, || is_up(&empty) && is_up(&full)), "{sends:?} {takes:?}");
            load.finish();
            assert_same(&primary, &[&empty, &full], Sameness::All);
            assert!(full.connect().line("GET own").is_nil(), "{sends:?} {takes:?}");
        }
    }
}

/// Replicas that ask within the delay are served by one walk through the data: their files begin at the same offset.
#[test]
fn replicas_that_ask_together_share_one_walk() {
    for kind in [Kind::Redis, Kind::Slotcore] {
        let primary = node(kind, &["--repl-diskless-sync-delay", "20", "--repl-diskless-sync-max-replicas", "2"]);
        fill(&primary, 100, 10);
        let mut links = [(); 2].map(|()| super::fake::Link::to(&primary));
        let mut starts = Vec::new();
        for link in &mut links {
            link.send(b"REPLCONF capa eof capa psync2\r\n");
            assert_eq!(link.line(), "+OK");
            link.send(b"PSYNC ? -1\r\n");
            primary.connect().must("SET between them");
        }
        // The second one is as many as are waited for.
        for link in &mut links {
            starts.push(link.line());
        }
        assert!(starts[0].starts_with("+FULLRESYNC "), "{kind:?}: {starts:?}");
        assert_eq!(starts[0], starts[1], "{kind:?}");
        assert_eq!(granted(&primary).0, 2);
    }
}

/// Started with `--appendonly yes`, so that it has its data again after a kill.
fn lasting(kind: Kind) -> Server {
    let server = node(kind, &["--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0"]);
    fill(&server, KEYS, VALUE_BYTES);
    server
}

/// Lets the replica ask through the proxy, and holds the file up in the middle.
fn hold_in_the_middle(primary: &Server, replica: &Server) -> Proxy {
    let proxy = Proxy::start(primary.port);
    proxy.hold_after(Way::ToReplica, 1000);
    follow(replica, proxy.port);
    assert!(holds_within(SYNC_LIMIT, || proxy.passed(Way::ToReplica) > 1000), "nothing comes");
    let syncs = || Info::of(replica).is("master_sync_in_progress", "1");
    assert!(holds_within(SYNC_LIMIT, syncs), "{}", Info::of(replica).replication());
    proxy
}

#[test]
fn a_primary_killed_during_a_full_synchronisation_is_followed_after_its_restart() {
    for (primary, replica) in ALL_PAIRS {
        let mut primary = lasting(*primary);
        let replica = node(*replica, &["--repl-timeout", "10"]);
        replica.connect().must("SET own data");
        // The file is 300 kB even when it is compressed, and the way holds less.
        let proxy = hold_in_the_middle(&primary, &replica);
        assert_eq!(
            replica.connect().line("GET own").to_string(),
            "'data'",
            "the old data serve until the new are there"
        );
        primary.signal(Signal::SIGKILL);
        primary.wait_for_exit();
        proxy.hold(Way::ToReplica, false);
        let is_down = || {
            let info = Info::of(&replica);
            info.is("master_link_status", "down") && info.is("master_sync_in_progress", "0")
        };
        assert!(holds_within(SYNC_LIMIT, is_down), "{}", Info::of(&replica).replication());
        primary.restart();
        settle(&primary, &replica);
        assert_same(&primary, &[&replica], Sameness::All);
    }
}

/// `repl-diskless-load`: nothing comes to the replica's disk, and its old data serve until the new are there all the same.
#[test]
fn data_that_are_received_in_memory_leave_the_disk_alone() {
    if !Kind::Slotcore.is_slotcore() {
        return; // redis-server gives its old data up first
    }
    for (takes, has_file) in [("disabled", true), ("on-empty-db", false), ("swapdb", false)] {
        let primary = node(Kind::Slotcore, &[]);
        fill(&primary, KEYS, VALUE_BYTES);
        let replica = node(Kind::Slotcore, &["--repl-diskless-load", takes]);
        replica.connect().must("SET own data");
        let files = |ends: &str| {
            let names = std::fs::read_dir(&replica.dir).expect("the replica's folder");
            names
                .filter(|file| file.as_ref().is_ok_and(|file| file.file_name().to_string_lossy().ends_with(ends)))
                .count()
        };
        let proxy = hold_in_the_middle(&primary, &replica);
        let comes = || {
            let info = Info::of(&replica);
            info.field("master_sync_read_bytes")
                .and_then(|bytes| bytes.parse().ok())
                .is_some_and(|bytes: u64| bytes > 1000)
        };
        assert!(holds_within(SYNC_LIMIT, comes), "{takes}");
        assert_eq!(files(".rdb"), usize::from(has_file), "{takes}");
        assert_eq!(replica.connect().line("GET own").to_string(), "'data'");
        proxy.hold(Way::ToReplica, false);
        settle(&primary, &replica);
        assert_same(&primary, &[&replica], Sameness::All);
        assert_eq!(files(".rdb"), usize::from(has_file), "{takes}: the file that stays is that of dbfilename");
    }
}

/// Killed at random moments of its first synchronisation, a replica that starts again begins anew.
#[test]
fn a_replica_killed_while_it_loads_begins_anew() {
    const ROUNDS: u64 = 4;
    const LOAD_LIMIT: Duration = Duration::from_secs(15);
    for (primary, replica) in PAIRS {
        let mut random = Random::new(seed("killed"));
        let primary = node(*primary, &[]);
        fill(&primary, KEYS, VALUE_BYTES);
        let port = primary.port.to_string();
        let load = Load::start(&primary, random.next());
        let slow = ["--key-load-delay", "200", "--loading-process-events-interval-bytes", "1024"];
        let mut replica = node(*replica, &[&slow[..], &["--replicaof", "127.0.0.1", &port]].concat());
        let mut met = 0;
        for _ in 0..ROUNDS {
            // The load may flush everything, so that there is nothing to be long at.
            fill(&primary, KEYS, VALUE_BYTES);
            met += u64::from(holds_within(LOAD_LIMIT, || Info::of(&replica).is("loading", "1")));
            std::thread::sleep(Duration::from_millis(random.below(300)));
            replica.signal(Signal::SIGKILL);
            replica.wait_for_exit();
            replica.restart();
        }
        assert!(met > 0, "never loading: {}", Info::of(&replica).replication());
        let mut client = replica.connect();
        assert!(holds_within(SYNC_LIMIT, || !client.line("CONFIG SET key-load-delay 0").is_error()));
        assert!(holds_within(SYNC_LIMIT, || is_up(&replica)));
        load.finish();
        assert_same(&primary, &[&replica], Sameness::All);
        let is_alone = || Info::of(&primary).is("connected_slaves", "1");
        assert!(
            holds_within(SYNC_LIMIT, is_alone),
            "links of killed replicas are kept: {}",
            Info::of(&primary).replication()
        );
    }
}

/// A primary that loads its own file says so, and the replica comes again.
#[test]
fn a_primary_that_is_itself_loading_is_waited_for() {
    for (primary, replica) in ALL_PAIRS {
        let slow = ["--key-load-delay", "200", "--loading-process-events-interval-bytes", "1024"];
        let mut primary = node(*primary, &slow);
        primary.connect().must("CONFIG SET key-load-delay 0");
        fill(&primary, KEYS, 20);
        primary.connect().send(b"SHUTDOWN SAVE\r\n");
        primary.wait_for_exit();
        let replica = node(*replica, &[]);
        replica.connect().must("SET own data");
        primary.restart();
        follow(&replica, primary.port);
        assert!(
            Info::of(&primary).is("loading", "1"),
            "{:?}: the test needs a start that takes its time",
            primary.kind
        );
        let mut client = primary.connect();
        let is_refused = || client.info("errorstat_LOADING").is_some();
        assert!(holds_within(SYNC_LIMIT, is_refused), "{:?} did not ask", replica.kind);
        assert!(Info::of(&replica).is("master_link_status", "down"));
        assert_eq!(replica.connect().line("GET own").to_string(), "'data'");
        primary.connect().must("CONFIG SET key-load-delay 0");
        settle(&primary, &replica);
        assert_same(&primary, &[&replica], Sameness::All);
    }
}

/// The first word of a primary that loads is an error, and no reason to fall.
#[test]
fn a_primary_that_answers_ping_with_an_error_is_asked_again() {
    for kind in [Kind::Redis, Kind::Slotcore] {
        let replica = node(kind, &[]);
        let primary = FakePrimary::start();
        follow(&replica, primary.port);
        for _ in 0..2 {
            let mut link = primary.accept();
            assert_eq!(link.command().expect("a first word")[0].to_ascii_uppercase(), b"PING");
            link.send(b"-LOADING Redis is loading the dataset in memory\r\n");
            assert!(link.is_closed(), "{kind:?}");
        }
        let _link = primary.synchronised("k", "v", 1);
        assert!(holds_within(SYNC_LIMIT, || is_up(&replica)));
    }
}

/// Lets every core see as much as it will: what its heap has held once it may keep.
fn warm_up(primary: &Server) {
    for _ in 0..2 * crate::support::server::cores() {
        fill(primary, 200, 100_000);
    }
}

/// A replica that does not read is closed when it has cost the configured room, and what was kept for it goes with it.
#[test]
fn a_replica_too_slow_to_read_is_closed() {
    const LIMIT: &str = "replica 4mb 2mb 5";
    for (primary, replica) in ALL_PAIRS {
        let primary = node(*primary, &["--client-output-buffer-limit", LIMIT, "--repl-backlog-size", "1mb"]);
        let replica = node(*replica, &[]);
        let proxy = Proxy::start(primary.port);
        follow(&replica, proxy.port);
        settle(&primary, &replica);
        wait_for_replicas(&primary, 1);
        warm_up(&primary);
        settle(&primary, &replica);
        let (before, full) = (resident_bytes(&primary), granted(&primary).0);
        proxy.hold(Way::ToReplica, true);
        let mut most = before;
        // The same keys again and again: 200 MB pass by, and only the log could grow.
        for _ in 0..10 {
            fill(&primary, 200, 100_000);
            most = most.max(resident_bytes(&primary));
        }
        let is_closed = || Info::of(&primary).is("connected_slaves", "0");
        assert!(holds_within(SYNC_LIMIT, is_closed), "{}", Info::of(&primary).replication());
        let grown = most.saturating_sub(before);
        assert!(grown < 64 << 20, "{:?}: {grown} bytes for a replica that may cost 4 MB", primary.kind);
        proxy.hold(Way::ToReplica, false);
        settle(&primary, &replica);
        assert!(granted(&primary).0 > full);
        assert_same(&primary, &[&replica], Sameness::All);
    }
}

/// What is written while a replica takes its file waits for it; that has the same limit.
#[test]
fn a_replica_that_stands_still_during_its_file_is_closed() {
    for (primary, replica) in ALL_PAIRS {
        let primary =
            node(*primary, &["--client-output-buffer-limit", "replica 4mb 2mb 5", "--repl-backlog-size", "1mb"]);
        fill(&primary, KEYS, VALUE_BYTES);
        warm_up(&primary);
        let replica = node(*replica, &[]);
        let proxy = hold_in_the_middle(&primary, &replica);
        let before = resident_bytes(&primary);
        let mut most = before;
        for _ in 0..10 {
            fill(&primary, 200, 100_000);
            most = most.max(resident_bytes(&primary));
        }
        let is_closed = || Info::of(&primary).is("connected_slaves", "0");
        assert!(holds_within(SYNC_LIMIT, is_closed), "{}", Info::of(&primary).replication());
        let grown = most.saturating_sub(before);
        assert!(grown < 96 << 20, "{:?}: {grown} bytes for a replica that may cost 4 MB", primary.kind);
        proxy.hold(Way::ToReplica, false);
        settle(&primary, &replica);
        assert_same(&primary, &[&replica], Sameness::All);
    }
}

#[test]
fn a_password_is_needed_where_there_is_one() {
    for (primary, replica) in ALL_PAIRS {
        let primary = node(*primary, &["--requirepass", "open", "--masterauth", "open"]);
        let mut client = primary.connect();
        client.must("AUTH open");
        client.must("SET k v");
        let replica = node(*replica, &[]);
        follow(&replica, primary.port);
        let mut theirs = replica.connect();
        for auth in ["", "wrong"] {
            theirs.must(&format!("CONFIG SET masterauth \"{auth}\""));
            let before = rejections(&mut client, auth);
            let tried = || rejections(&mut client, auth) > before;
            assert!(holds_within(SYNC_LIMIT, tried), "{:?} does not try with {auth:?}", replica.kind);
            assert!(Info::ask(&mut theirs).is("master_link_status", "down"));
            assert!(theirs.line("GET k").is_nil());
        }
        for (user, auth) in [("", "open"), ("default", "open")] {
            theirs.must(&format!("CONFIG SET masteruser \"{user}\" masterauth {auth}"));
            theirs.must("REPLICAOF NO ONE");
            theirs.must("DEL k");
            follow(&replica, primary.port);
            let is_there = || theirs.line("GET k").to_string() == "'v'";
            assert!(holds_within(SYNC_LIMIT, is_there), "{}", Info::of(&replica).replication());
        }
    }
}

/// How often the primary has refused what comes without a password, or with a wrong one.
fn rejections(client: &mut crate::support::Client, auth: &str) -> i64 {
    let field = if auth.is_empty() { "errorstat_NOAUTH" } else { "errorstat_WRONGPASS" };
    let count = client.info(field).and_then(|text| text.strip_prefix("count=")?.parse().ok());
    count.unwrap_or(0)
}
