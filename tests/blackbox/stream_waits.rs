//! XREAD and XREADGROUP that wait for entries.

use std::time::{Duration, Instant};

use crate::support::{Client, Server, check, client::encode, client::split_line, holds_within, on_both};

const LIMIT: Duration = Duration::from_secs(20);

/// Sends the request and comes back when its client waits, as the `count`th of the server.
fn wait_with(server: &Server, client: &mut Client, line: &str, count: i64) {
    client.send(&encode(&split_line(line)));
    let mut other = server.connect();
    assert!(holds_within(LIMIT, || other.info_number("blocked_clients") == count), "{line} does not wait");
}

fn read(client: &mut Client) -> String {
    client.read().to_string()
}

#[test]
fn xread_wakes_up_with_the_entry_that_came() {
    on_both(|server| {
        let (mut waiter, mut writer) = (server.connect(), server.connect());
        writer.must("XADD s 1 a 1");
        wait_with(server, &mut waiter, "XREAD BLOCK 0 STREAMS missing s $ $", 1);
        writer.must("XADD other 1 a 1");
        writer.must("XADD s 2 a 2");
        assert_eq!(read(&mut waiter), "[['s', [['2-0', ['a', '2']]]]]");
        wait_with(server, &mut waiter, "XREAD BLOCK 20000 COUNT 5 STREAMS missing s 0-0 $", 1);
        writer.must("XADD missing 7 b 1");
        assert_eq!(read(&mut waiter), "[['missing', [['7-0', ['b', '1']]]]]");
    });
}

#[test]
fn what_is_there_already_or_behind_the_id_does_not_wait() {
    on_both(|server| {
        check(
            &mut server.connect(),
            &[
                ("XADD s 5 a 1", "'5-0'"),
                ("XREAD BLOCK 0 STREAMS s 4", "[['s', [['5-0', ['a', '1']]]]]"),
                ("XGROUP CREATE s g 0", "+OK"),
                ("XREADGROUP GROUP g c BLOCK 0 STREAMS s >", "[['s', [['5-0', ['a', '1']]]]]"),
                ("XREADGROUP GROUP g c BLOCK 0 STREAMS s 5", "[['s', []]]"),
                ("MULTI", "+OK"),
                ("XREAD BLOCK 0 STREAMS s $", "+QUEUED"),
                ("XREADGROUP GROUP g c BLOCK 0 STREAMS s >", "+QUEUED"),
                ("EXEC", "[nil*, nil*]"),
            ],
        );
        let begun = Instant::now();
        check(&mut server.connect(), &[("XREAD BLOCK 50 STREAMS s $", "nil*")]);
        assert!(begun.elapsed() >= Duration::from_millis(50));
    });
}

#[test]
fn an_older_entry_wakes_nobody_and_each_reader_gets_the_new_one() {
    on_both(|server| {
        let (mut first, mut second, mut writer) = (server.connect(), server.connect(), server.connect());
        writer.must("XADD s 1 a 1");
        wait_with(server, &mut first, "XREAD BLOCK 0 STREAMS s 10", 1);
        wait_with(server, &mut second, "XREAD BLOCK 0 STREAMS s $", 2);
        writer.must("XADD s 5 a 5");
        assert_eq!(read(&mut second), "[['s', [['5-0', ['a', '5']]]]]");
        assert_eq!(writer.info_number("blocked_clients"), 1);
        writer.must("XADD s 11 a 11");
        assert_eq!(read(&mut first), "[['s', [['11-0', ['a', '11']]]]]");
    });
}

#[test]
fn a_group_gives_what_comes_to_the_consumer_that_waits_longest() {
    on_both(|server| {
        let (mut ann, mut bob, mut writer) = (server.connect(), server.connect(), server.connect());
        writer.must("XGROUP CREATE s g $ MKSTREAM");
        wait_with(server, &mut ann, "XREADGROUP GROUP g ann BLOCK 0 STREAMS s >", 1);
        wait_with(server, &mut bob, "XREADGROUP GROUP g bob BLOCK 0 STREAMS s >", 2);
        writer.must("XADD s 1 a 1");
        assert_eq!(read(&mut ann), "[['s', [['1-0', ['a', '1']]]]]");
        writer.must("XADD s 2 a 2");
        assert_eq!(read(&mut bob), "[['s', [['2-0', ['a', '2']]]]]");
        check(&mut writer, &[("XPENDING s g", "[:2, '1-0', '2-0', [['ann', '1'], ['bob', '1']]]")]);
    });
}

#[test]
fn a_transaction_wakes_readers_with_all_that_it_added() {
    on_both(|server| {
        let (mut waiter, mut writer) = (server.connect(), server.connect());
        wait_with(server, &mut waiter, "XREAD BLOCK 0 STREAMS s $", 1);
        check(
            &mut writer,
            &[("MULTI", "+OK"), ("XADD s 1 a 1", "+QUEUED"), ("XADD s 2 a 2", "+QUEUED"), ("EXEC", "['1-0', '2-0']")],
        );
        assert_eq!(read(&mut waiter), "[['s', [['1-0', ['a', '1']], ['2-0', ['a', '2']]]]]");
    });
}

/// 7.0 has other texts for a key that goes.
#[test]
fn a_group_or_key_that_goes_wakes_its_consumers_with_an_error() {
    const NO_GROUP: &str = "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option";
    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    let server = Server::slotcore(&[]);
    let (mut waiter, mut writer) = (server.connect(), server.connect());
    for (change, reply) in
        [("XGROUP DESTROY s g", NO_GROUP), ("DEL s", NO_GROUP), ("SET s x", WRONG_TYPE), ("FLUSHALL", NO_GROUP)]
    {
        writer.must("DEL s");
        writer.must("XGROUP CREATE s g $ MKSTREAM");
        wait_with(&server, &mut waiter, "XREADGROUP GROUP g ann BLOCK 0 STREAMS s >", 1);
        writer.must(change);
        assert_eq!(read(&mut waiter), reply, "{change}");
    }
}

/// XREAD stays where it is when its key goes or is something else for a while.
#[test]
fn a_plain_reader_waits_on_when_its_key_goes() {
    on_both(|server| {
        let (mut waiter, mut writer) = (server.connect(), server.connect());
        writer.must("XADD s 5 a 5");
        wait_with(server, &mut waiter, "XREAD BLOCK 0 STREAMS s $", 1);
        for line in ["DEL s", "SET s x", "DEL s", "XADD s 3 a 3", "DEL s", "XADD s 6 a 6"] {
            writer.must(line);
        }
        assert_eq!(read(&mut waiter), "[['s', [['6-0', ['a', '6']]]]]");
    });
}
