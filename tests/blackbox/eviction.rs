//! `maxmemory`: what goes when memory is full, what is refused, and whose keys they are.
//!
//! Memory is counted by the servers themselves (`used_memory`), with margins wide enough for both allocators.

use std::time::Duration;

use crate::cluster_one_node::own_all_slots;
use crate::support::server::cores;
use crate::support::{Client, Kind, Server, check, holds_within, on_both, on_both_with};

const CLUSTER: &[&str] = &["--cluster-enabled", "yes"];
const SOON: Duration = Duration::from_secs(10);
/// Keys are written in pipelines of so many.
const BATCH: usize = 200;
/// Memory above the limit that passes: requests under way, and what cores have not told one another yet.
const MARGIN_BYTES: i64 = 256 << 10;
const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.";

const ALLKEYS: [&str; 3] = ["allkeys-lru", "allkeys-lfu", "allkeys-random"];
const VOLATILE: [&str; 4] = ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"];

/// Runs a test on both servers, standalone and as a cluster of one node, where every core owns keys.
fn on_all(test: impl Fn(&mut Client)) {
    on_both(|server| test(&mut server.connect()));
    on_both_with(CLUSTER, |server| {
        let client = &mut server.connect();
        own_all_slots(client);
        test(client);
    });
}

/// Starts over, with so much room above what is in use.
fn limit_to(client: &mut Client, policy: &str, room_bytes: i64) -> i64 {
    client.must("CONFIG SET maxmemory 0");
    // The first key of a core may cost more than a key.
    fill(client, "first", 1000, None);
    client.must("FLUSHALL SYNC");
    client.must("CONFIG RESETSTAT");
    let limit = client.info_number("used_memory") + room_bytes;
    client.must(&format!("CONFIG SET maxmemory {limit} maxmemory-policy {policy}"));
    limit
}

/// Sets `prefix:0`.. with values of 200 bytes; how many were refused for lack of memory.
fn fill(client: &mut Client, prefix: &str, count: usize, seconds: Option<u32>) -> usize {
    let value = "v".repeat(200);
    let mut refused = 0;
    for first in (0..count).step_by(BATCH) {
        let lines = (first..count.min(first + BATCH)).map(|number| match seconds {
            Some(seconds) => format!("SET {prefix}:{number} {value} EX {seconds}"),
            None => format!("SET {prefix}:{number} {value}"),
        });
        for reply in client.pipeline(&lines.collect::<Vec<_>>()) {
            let text = reply.to_string();
            assert!(text == "+OK" || text == OOM, "{text}");
            refused += usize::from(text == OOM);
        }
    }
    refused
}

/// Writes new keys until so many keys were evicted.
fn fill_until_evicted(client: &mut Client, count: i64) {
    for round in 0..100 {
        fill(client, &format!("new{round}"), BATCH, None);
        if client.info_number("evicted_keys") >= count {
            return;
        }
    }
    panic!("{} keys were evicted, not {count}", client.info_number("evicted_keys"));
}

/// How many of `prefix:first`.. are there.
fn present(client: &mut Client, prefix: &str, range: std::ops::Range<usize>) -> usize {
    let lines: Vec<String> = range.map(|number| format!("EXISTS {prefix}:{number}")).collect();
    let replies = lines.chunks(BATCH).flat_map(|batch| client.pipeline(batch)).collect::<Vec<_>>();
    replies.into_iter().filter(|reply| reply.to_string() == ":1").count()
}

/// Whether each of so many keys is there or counted as evicted; not while some are on their way out.
fn all_are_counted(client: &mut Client, count: i64) -> bool {
    client.must("DBSIZE").integer() + client.info_number("evicted_keys") == count
}

#[test]
fn the_limit_is_honoured_whatever_the_policy() {
    on_all(|client| {
        for policy in ALLKEYS.into_iter().chain(VOLATILE) {
            let limit = limit_to(client, policy, 2 << 20);
            assert_eq!(fill(client, "key", 20_000, Some(10_000)), 0, "{policy}");
            let used = client.info_number("used_memory");
            assert!(used < limit + MARGIN_BYTES, "{policy}: {} bytes too many", used - limit);
            let left = client.must("DBSIZE").integer();
            assert!(left > 2000, "{policy}: only {left} keys are left");
            assert!(holds_within(SOON, || all_are_counted(client, 20_000)), "{policy}");
        }
    });
}

#[test]
fn volatile_policies_leave_keys_without_an_expiry() {
    on_all(|client| {
        for policy in VOLATILE {
            limit_to(client, policy, 2 << 20);
            assert_eq!(fill(client, "stays", 3000, None), 0);
            assert_eq!(fill(client, "goes", 10_000, Some(10_000)), 0, "{policy}");
            assert_eq!(present(client, "stays", 0..3000), 3000, "{policy}");
            assert!(client.info_number("evicted_keys") > 3000, "{policy}");
        }
    });
}

#[test]
fn without_volatile_keys_volatile_policies_refuse_writes() {
    on_all(|client| {
        limit_to(client, "volatile-lru", 1 << 20);
        assert!(fill(client, "key", 10_000, None) > 3000);
        assert_eq!(client.info_number("evicted_keys"), 0);
        // The argument takes more than is left, whatever has been freed since.
        assert_eq!(client.cmd(&["SET", "big", &"v".repeat(1 << 20)]).to_string(), OOM);
        check(client, &[("GET key:0", "?"), ("DEL key:0", ":1")]);
    });
}

#[test]
fn noeviction_refuses_what_needs_memory_and_nothing_else() {
    on_both(|server| {
        let client = &mut server.connect();
        check(
            client,
            &[
                ("SET k v", "+OK"),
                ("SET n 1", "+OK"),
                ("CONFIG SET maxmemory 1 maxmemory-policy noeviction", "+OK"),
                ("SET k w", OOM),
                ("INCR n", OOM),
                ("APPEND k w", OOM),
                ("MSET a 1 b 2", OOM),
                ("COPY k l", OOM),
                ("GET k", "'v'"),
                ("EXISTS k", ":1"),
                ("EXPIRE k 100", ":1"),
                ("PERSIST k", ":1"),
                ("RENAME k m", "+OK"),
                ("PING", "+PONG"),
                ("PUBLISH c m", ":0"),
                ("DEL m", ":1"),
                ("SET k w", OOM),
                ("CONFIG SET maxmemory 0", "+OK"),
                ("SET k w", "+OK"),
            ],
        );
        assert_eq!(client.info_number("evicted_keys"), 0);
        let errors = client.info("errorstat_OOM").unwrap_or_default();
        assert_eq!(errors, "count=6");
        assert!(client.must("INFO commandstats").text().contains("cmdstat_set:calls=3"));
    });
}

#[test]
fn a_transaction_is_refused_as_a_whole_and_not_in_the_middle() {
    const ABORTED: &str =
        "-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.";
    on_both(|server| {
        let client = &mut server.connect();
        let other = &mut server.connect();
        // While it is queued.
        check(client, &[("SET k 1", "+OK"), ("MULTI", "+OK"), ("INCR k", "+QUEUED")]);
        other.must("CONFIG SET maxmemory 1");
        check(
            client,
            &[
                ("GET k", OOM),
                ("EXEC", ABORTED),
                ("EXEC", "-ERR EXEC without MULTI"),
                ("MULTI", "+OK"),
                ("PING", OOM),
                ("DISCARD", "+OK"),
                ("MULTI", "+OK"),
                ("EXEC", "[]"),
            ],
        );
        // Once it is queued, for what needs memory.
        other.must("CONFIG SET maxmemory 0");
        check(client, &[("MULTI", "+OK"), ("INCR k", "+QUEUED")]);
        other.must("CONFIG SET maxmemory 1");
        check(client, &[("EXEC", ABORTED), ("GET k", "'1'")]);
        other.must("CONFIG SET maxmemory 0");
        check(client, &[("MULTI", "+OK"), ("GET k", "+QUEUED"), ("DEL k", "+QUEUED")]);
        other.must("CONFIG SET maxmemory 1");
        check(client, &[("EXEC", "['1', :1]")]);
        // In the middle nothing is looked at.
        other.must("CONFIG SET maxmemory 0");
        check(
            client,
            &[
                ("MULTI", "+OK"),
                ("SET k 1", "+QUEUED"),
                ("CONFIG SET maxmemory 1", "+QUEUED"),
                ("INCR k", "+QUEUED"),
                ("EXEC", "[+OK, +OK, :2]"),
                ("INCR k", OOM),
            ],
        );
    });
}

#[test]
fn lru_spares_what_was_used_lately() {
    on_all(|client| {
        limit_to(client, "allkeys-lru", 2 << 20);
        assert_eq!(fill(client, "key", 4000, None), 0);
        assert_eq!(client.info_number("evicted_keys"), 0);
        // Accesses are dated in seconds.
        assert!(holds_within(SOON, || client.must("OBJECT IDLETIME key:3999").integer() >= 2));
        let reads: Vec<String> = (0..400).map(|number| format!("GET key:{number}")).collect();
        client.pipeline(&reads);
        fill_until_evicted(client, 1000);
        let (hot, cold) = (present(client, "key", 0..400), present(client, "key", 400..4000));
        assert!(hot >= 340, "{hot} of 400 that were used are left");
        assert!(cold < 3200, "{cold} of 3600 that were not used are left");
    });
}

#[test]
fn lfu_spares_what_is_used_often() {
    on_all(|client| {
        client.must("CONFIG SET lfu-log-factor 0");
        limit_to(client, "allkeys-lfu", 2 << 20);
        assert_eq!(fill(client, "key", 4000, None), 0);
        for _ in 0..20 {
            let reads: Vec<String> = (0..400).map(|number| format!("GET key:{number}")).collect();
            client.pipeline(&reads);
        }
        fill_until_evicted(client, 1000);
        let (hot, cold) = (present(client, "key", 0..400), present(client, "key", 400..4000));
        assert!(hot >= 380, "{hot} of 400 that were used often are left");
        assert!(cold < 3400, "{cold} of 3600 that were not are left");
    });
}

#[test]
fn volatile_ttl_takes_what_would_expire_first() {
    on_all(|client| {
        limit_to(client, "volatile-ttl", 2 << 20);
        assert_eq!(fill(client, "late", 2000, Some(100_000)), 0);
        assert_eq!(fill(client, "early", 2000, Some(10_000)), 0);
        fill(client, "later", 6000, Some(50_000));
        let (late, early) = (present(client, "late", 0..2000), present(client, "early", 0..2000));
        assert!(client.info_number("evicted_keys") > 1000);
        assert!(late >= 1800, "{late} of 2000 that live longest are left");
        assert!(early < 1500, "{early} of 2000 that live shortest are left");
    });
}

#[test]
fn a_lower_limit_takes_effect_soon_without_writes() {
    on_all(|client| {
        limit_to(client, "allkeys-random", 64 << 20);
        assert_eq!(fill(client, "key", 20_000, None), 0);
        let limit = client.info_number("used_memory") - (3 << 20);
        client.must(&format!("CONFIG SET maxmemory {limit}"));
        assert!(holds_within(SOON, || client.info_number("used_memory") < limit + MARGIN_BYTES));
        assert!(holds_within(SOON, || all_are_counted(client, 20_000)));
        let left = client.must("DBSIZE").integer();
        assert!(left > 5000, "only {left} keys are left");
        assert_eq!(client.info_number("maxmemory"), limit);
        assert!(holds_within(SOON, || client.info_number("current_eviction_exceeded_time") == 0));
    });
}

#[test]
fn a_limit_of_one_byte_empties_the_node() {
    on_all(|client| {
        limit_to(client, "allkeys-lru", 64 << 20);
        assert_eq!(fill(client, "key", 5000, None), 0);
        client.must("CONFIG SET maxmemory 1");
        assert!(holds_within(SOON, || client.must("DBSIZE").integer() == 0));
        assert_eq!(client.info_number("evicted_keys"), 5000);
        assert!(client.info_number("current_eviction_exceeded_time") >= 0);
        assert_eq!(client.line("SET k v").to_string(), OOM);
        client.must("CONFIG SET maxmemory 0");
        assert_eq!(client.line("SET k v").to_string(), "+OK");
        assert!(client.info_number("total_eviction_exceeded_time") >= 0);
    });
}

#[test]
fn an_evicted_key_is_announced_and_touches_who_watches_it() {
    on_both(|server| {
        let (client, listener) = (&mut server.connect(), &mut server.connect());
        client.must("CONFIG SET notify-keyspace-events Ee");
        listener.must("SUBSCRIBE __keyevent@0__:evicted");
        let watcher = &mut server.connect();
        check(client, &[("SET k v", "+OK")]);
        check(watcher, &[("WATCH k", "+OK"), ("MULTI", "+OK"), ("PING", "+QUEUED")]);
        client.must("CONFIG SET maxmemory 1 maxmemory-policy allkeys-random");
        assert_eq!(listener.read().to_string(), "['message', '__keyevent@0__:evicted', 'k']");
        check(watcher, &[("EXEC", "nil*")]);
        check(client, &[("EXISTS k", ":0")]);
    });
}

#[test]
fn several_databases_give_way_together() {
    on_both(|server| {
        let client = &mut server.connect();
        for db in 0..4 {
            client.must(&format!("SELECT {db}"));
            limit_to(client, "allkeys-random", 2 << 20);
        }
        for db in [0, 1, 2, 3, 0, 1, 2, 3] {
            client.must(&format!("SELECT {db}"));
            assert_eq!(fill(client, "key", 3000, None), 0);
        }
        for db in 0..4 {
            client.must(&format!("SELECT {db}"));
            let left = client.must("DBSIZE").integer();
            assert!((200..2900).contains(&left), "{left} keys are left in database {db}");
        }
    });
}

/// Tags whose slots belong to different cores, one for each core: slots are dealt to cores in stripes of 64.
fn tag_of_each_core(client: &mut Client) -> Vec<String> {
    let mut tags = vec![String::new(); cores() as usize];
    for number in 0.. {
        let tag = format!("{{{number}}}");
        let slot = client.must(&format!("CLUSTER KEYSLOT {tag}")).integer() as usize;
        let count = tags.len();
        tags[slot / 64 % count] = tag;
        if tags.iter().all(|tag| !tag.is_empty()) {
            break;
        }
    }
    tags
}

/// Slotcore alone: cores are its own.
#[test]
fn each_core_gives_what_its_share_of_the_keys_is() {
    if !Kind::Slotcore.is_slotcore() {
        return;
    }
    let server = Server::slotcore(CLUSTER);
    let client = &mut server.connect();
    own_all_slots(client);
    let tags = tag_of_each_core(client);
    limit_to(client, "allkeys-random", 4 << 20);
    // One core has all there is; the next ones write, and are never refused.
    for tag in &tags {
        assert_eq!(fill(client, tag, 12_000, None), 0, "{tag}");
    }
    let last = tags.last().expect("a core");
    let (own, all) = (present(client, last, 0..12_000), client.must("DBSIZE").integer() as usize);
    // Who has written last has replaced the others' keys, not only its own: with two cores the half, about.
    assert!(own * 3 > all, "{own} of {all}");
    // And when all have to give, all give.
    let limit = client.info_number("used_memory") - (1 << 20);
    for tag in &tags {
        fill(client, tag, 12_000, None);
    }
    let before: Vec<usize> = tags.iter().map(|tag| present(client, tag, 0..12_000)).collect();
    client.must(&format!("CONFIG SET maxmemory {limit}"));
    assert!(holds_within(SOON, || client.info_number("used_memory") < limit + MARGIN_BYTES));
    for (tag, before) in tags.iter().zip(before) {
        let left = present(client, tag, 0..12_000);
        assert!(left < before || before < 200, "the core of {tag} gave none of {before}");
        assert!(left > before / 3, "the core of {tag} gave nearly all: {left} of {before} are left");
    }
}

#[test]
fn an_idle_node_at_its_limit_stays_idle() {
    let server = Server::slotcore(&[]);
    let client = &mut server.connect();
    client.must("SET k v");
    client.must("CONFIG SET maxmemory 1");
    assert_eq!(client.line("SET k v").to_string(), OOM);
    let before = server.cpu_ticks();
    std::thread::sleep(Duration::from_secs(2));
    let spent = server.cpu_ticks() - before;
    assert!(spent < 60, "{spent} ticks of 10 ms in 2 s");
}

/// A client that has sent the beginning of a request with a large argument.
fn half_sent(server: &Server, name: &str, bytes: usize) -> Client {
    let mut client = server.connect();
    client.must(&format!("CLIENT SETNAME {name}"));
    client.send(format!("*2\r\n${}\r\n", 2 * bytes).as_bytes());
    // The server may close while this is sent.
    let _ = client.try_send(&vec![b'x'; bytes]);
    client
}

fn names(client: &mut Client) -> Vec<String> {
    let list = client.must("CLIENT LIST").text();
    let names = list.lines().filter_map(|line| line.split(' ').find_map(|field| field.strip_prefix("name=")));
    let mut names: Vec<String> = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    names.sort_unstable();
    names
}

#[test]
fn the_largest_clients_go_first_when_all_take_too_much() {
    on_both(|server| {
        let control = &mut server.connect();
        control.must("CLIENT NO-EVICT ON");
        let _small = half_sent(server, "small", 100 << 10);
        let _large = half_sent(server, "large", 8 << 20);
        let _medium = half_sent(server, "medium", 2 << 20);
        let arrived = |control: &mut Client| control.info_number("mem_clients_normal") > 10 << 20;
        assert!(holds_within(SOON, || arrived(control)));
        assert_eq!(names(control), ["large", "medium", "small"]);
        control.must("CONFIG SET maxmemory-clients 6mb");
        assert!(holds_within(SOON, || names(control) == ["medium", "small"]));
        assert_eq!(control.info_number("evicted_clients"), 1);
        control.must("CONFIG SET maxmemory-clients 1mb");
        assert!(holds_within(SOON, || names(control) == ["small"]));
        assert_eq!(control.info_number("evicted_clients"), 2);
        assert_eq!(control.line("PING").to_string(), "+PONG");
    });
}

#[test]
fn maxmemory_clients_closes_who_grows_beyond_it_but_not_who_is_spared() {
    on_both_with(&["--maxmemory-clients", "2mb"], |server| {
        let control = &mut server.connect();
        let mut spared = server.connect();
        spared.must("CLIENT NO-EVICT ON");
        spared.must("CLIENT SETNAME spared");
        let mut grows = half_sent(server, "grows", 4 << 20);
        assert!(holds_within(SOON, || control.info_number("evicted_clients") == 1));
        assert_eq!(names(control), ["spared"]);
        grows.set_read_timeout(Duration::from_secs(5));
        assert!(grows.is_closed());
        assert_eq!(spared.line("PING").to_string(), "+PONG");
    });
}

#[test]
fn clients_are_closed_before_keys_go() {
    on_both(|server| {
        let control = &mut server.connect();
        control.must("CLIENT NO-EVICT ON");
        limit_to(control, "allkeys-lru", 8 << 20);
        control.must("CONFIG SET maxmemory-clients 2mb");
        assert_eq!(fill(control, "key", 5000, None), 0);
        for _ in 0..10 {
            half_sent(server, "large", 3 << 20);
        }
        assert!(holds_within(SOON, || control.info_number("evicted_clients") >= 1));
        assert_eq!(control.info_number("evicted_keys"), 0);
    });
}
