//! Expire times: options, limits, lazy and active expiry.

use std::time::Duration;

use crate::support::{check, holds_within, on_both};

fn table(rows: &[(&str, &str)]) {
    on_both(|server| check(&mut server.connect(), rows));
}

#[test]
fn ttl_family_says_missing_persistent_and_left() {
    table(&[
        ("TTL k", ":-2"),
        ("PTTL k", ":-2"),
        ("EXPIRETIME k", ":-2"),
        ("PEXPIRETIME k", ":-2"),
        ("SET k v", "+OK"),
        ("TTL k", ":-1"),
        ("PTTL k", ":-1"),
        ("EXPIRETIME k", ":-1"),
        ("PEXPIRETIME k", ":-1"),
        ("EXPIRE k 100", ":1"),
        ("TTL k", ":100"),
        ("PERSIST k", ":1"),
        ("PERSIST k", ":0"),
        ("PERSIST missing", ":0"),
        ("PEXPIREAT k 33177117420500", ":1"),
        ("EXPIRETIME k", ":33177117421"),
        ("PEXPIRETIME k", ":33177117420500"),
        ("EXPIREAT k 33177117420", ":1"),
        ("PEXPIRETIME k", ":33177117420000"),
        ("PEXPIRE k 100000", ":1"),
        ("TTL k", ":100"),
    ]);
}

#[test]
fn expire_conditions_nx_xx_gt_lt() {
    table(&[
        ("EXPIRE missing 100 NX", ":0"),
        ("SET k v", "+OK"),
        ("EXPIRE k 100 XX", ":0"),
        ("EXPIRE k 100 GT", ":0"),
        ("TTL k", ":-1"),
        ("EXPIRE k 100 NX", ":1"),
        ("EXPIRE k 200 NX", ":0"),
        ("EXPIRE k 200 XX", ":1"),
        ("EXPIRE k 300 GT", ":1"),
        ("EXPIRE k 200 GT", ":0"),
        ("EXPIRE k 200 LT", ":1"),
        ("EXPIRE k 300 LT", ":0"),
        ("EXPIRE k 150 XX LT", ":1"),
        ("TTL k", ":150"),
        ("PERSIST k", ":1"),
        ("EXPIRE k 100 LT", ":1"),
        ("EXPIRE k 100 NX XX", "-ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("EXPIRE k 100 NX GT", "-ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("EXPIRE k 100 GT LT", "-ERR GT and LT options at the same time are not compatible"),
        ("EXPIRE k 100 BOGUS", "-ERR Unsupported option BOGUS"),
        ("EXPIRE k x", "-ERR value is not an integer or out of range"),
        ("EXPIRE k", "-ERR wrong number of arguments for 'expire' command"),
    ]);
}

#[test]
fn expire_times_out_of_range_are_refused() {
    table(&[
        ("SET k v", "+OK"),
        ("EXPIRE k 9223372036854775807", "-ERR invalid expire time in 'expire' command"),
        ("EXPIRE k -9223372036854775808", "-ERR invalid expire time in 'expire' command"),
        ("PEXPIRE k 9223372036854775807", "-ERR invalid expire time in 'pexpire' command"),
        ("EXPIREAT k 9223372036854775807", "-ERR invalid expire time in 'expireat' command"),
        ("PEXPIREAT k 9223372036854775807", ":1"),
        ("PEXPIRETIME k", ":9223372036854775807"),
        ("EXPIRE k 9223372036854775", "-ERR invalid expire time in 'expire' command"),
        ("EXISTS k", ":1"),
    ]);
}

#[test]
fn an_expire_time_in_the_past_deletes() {
    table(&[
        ("SET k v", "+OK"),
        ("EXPIRE k -1", ":1"),
        ("EXISTS k", ":0"),
        ("SET k v", "+OK"),
        ("PEXPIREAT k 1", ":1"),
        ("DBSIZE", ":0"),
        ("SET k v", "+OK"),
        ("EXPIRE k 0", ":1"),
        ("DBSIZE", ":0"),
    ]);
}

#[test]
fn writing_in_place_keeps_the_expire_time() {
    table(&[
        ("SET k 1 PXAT 33177117420000", "+OK"),
        ("INCR k", ":2"),
        ("APPEND k 3", ":2"),
        ("SETRANGE k 0 4", ":2"),
        ("PEXPIRETIME k", ":33177117420000"),
        ("MSET k 1", "+OK"),
        ("TTL k", ":-1"),
    ]);
}

#[test]
fn keys_are_gone_when_their_time_has_come_and_no_sooner() {
    on_both(|server| {
        let client = &mut server.connect();
        client.must("SET k v PX 300");
        client.must("SET j v PX 100");
        assert_eq!(client.line("GET k").to_string(), "'v'");
        std::thread::sleep(Duration::from_millis(150));
        assert_eq!(client.line("GET j").to_string(), "nil");
        assert_eq!(client.line("TTL j").to_string(), ":-2");
        assert_eq!(client.line("SET j w XX").to_string(), "nil");
        assert_eq!(client.line("SETNX j w").to_string(), ":1");
        assert!(holds_within(Duration::from_secs(2), || client.line("EXISTS k").integer() == 0));
        assert_eq!(client.line("RENAME k other").to_string(), "-ERR no such key");
    });
}

#[test]
fn active_expiry_frees_keys_that_nobody_reads() {
    on_both(|server| {
        let client = &mut server.connect();
        let lines: Vec<String> = (0..20_000).map(|n| format!("SET key:{n} value PX {}", 1 + n % 200)).collect();
        client.pipeline(&lines);
        assert!(
            holds_within(Duration::from_secs(15), || client.line("DBSIZE").integer() == 0),
            "{} keys stay",
            client.line("DBSIZE")
        );
        assert_eq!(client.info_number("expired_keys"), 20_000);
    });
}

#[test]
fn info_counts_keys_that_expire() {
    on_both(|server| {
        let client = &mut server.connect();
        for n in 0..100 {
            client.must(&format!("SET key:{n} value"));
        }
        for n in 0..40 {
            client.must(&format!("EXPIRE key:{n} 1000"));
        }
        client.must("PERSIST key:0");
        client.must("DEL key:1");
        client.must("SET key:2 again");
        let keyspace = client.info("db0").expect("db0 in INFO");
        assert!(keyspace.starts_with("keys=99,expires=37,avg_ttl="), "{keyspace}");
    });
}
