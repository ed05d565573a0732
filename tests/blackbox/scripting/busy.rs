//! Scripts that take too long.

use std::time::Duration;

use crate::support::{Client, Server, holds_within};

const LIMIT: Duration = Duration::from_secs(20);
const ENDLESS: &str = "while true do end";
const BUSY: &str = "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";

/// A node on which this script has been running for too long; without keys it runs on the first core.
fn busy_with(words: &[&str]) -> (Server, Client, Client) {
    let server = Server::slotcore(&["--busy-reply-threshold", "10"]);
    let (mut runner, mut client) = (server.connect(), server.connect());
    runner.send(&crate::support::client::encode(words));
    assert!(holds_within(LIMIT, || client.line("GET key").to_string().starts_with("-BUSY")));
    (server, runner, client)
}

#[test]
fn a_script_that_takes_too_long_is_killed() {
    let (_server, mut runner, mut client) = busy_with(&["EVAL", ENDLESS, "0"]);
    assert_eq!(client.line("GET key").to_string(), BUSY);
    assert_eq!(client.line("SET key 1").to_string(), BUSY);
    assert_eq!(client.line("DBSIZE").to_string(), BUSY);
    assert!(client.line("FUNCTION KILL").to_string().starts_with("-BUSY"));
    assert!(client.line("SHUTDOWN").to_string().starts_with("-BUSY"));
    assert_eq!(client.line("MULTI").to_string(), "+OK");
    // Refused at once where the client's core is the one that is busy.
    let queued = client.line("GET key").to_string();
    assert!(queued == BUSY || queued == "+QUEUED", "{queued}");
    let said = client.line("EXEC").to_string();
    assert!(said.starts_with("-EXECABORT") || said == BUSY, "{said}");
    assert_eq!(client.line("SCRIPT KILL").to_string(), "+OK");
    let said = runner.read().to_string();
    assert!(said.starts_with("-ERR Script killed by user with SCRIPT KILL... script: "), "{said}");
    assert!(holds_within(LIMIT, || client.line("GET key").to_string() == "nil"));
    assert_eq!(runner.line("PING").to_string(), "+PONG");
    assert_eq!(client.line("SCRIPT KILL").to_string(), "-NOTBUSY No scripts in execution right now.");
}

#[test]
fn a_script_that_catches_errors_is_killed_all_the_same() {
    let (_server, mut runner, mut client) =
        busy_with(&["EVAL", "while true do pcall(function() while true do end end) end", "0"]);
    assert_eq!(client.line("SCRIPT KILL").to_string(), "+OK");
    let said = runner.read().to_string();
    assert!(said.starts_with("-ERR Script killed by user with SCRIPT KILL..."), "{said}");
}

#[test]
fn a_function_that_takes_too_long_is_shown_and_killed() {
    let server = Server::slotcore(&["--busy-reply-threshold", "10"]);
    let (mut runner, mut client) = (server.connect(), server.connect());
    let code = "#!lua name=lib\nredis.register_function('endless', function() while true do end end)";
    assert_eq!(client.cmd(&["FUNCTION", "LOAD", code]).to_string(), "'lib'");
    runner.send(&crate::support::client::encode(&["FCALL", "endless", "0"]));
    assert!(holds_within(LIMIT, || client.line("GET key").to_string().starts_with("-BUSY")));
    let stats = client.line("FUNCTION STATS").to_string();
    assert!(stats.contains("'endless'") && stats.contains("duration_ms"), "{stats}");
    assert!(client.line("SCRIPT KILL").to_string().starts_with("-BUSY"));
    assert_eq!(client.line("FUNCTION KILL").to_string(), "+OK");
    assert!(runner.read().to_string().starts_with("-ERR Script killed by user"));
}

#[test]
fn a_script_that_ends_by_itself_answers_late_and_in_order() {
    let server = Server::slotcore(&["--busy-reply-threshold", "10"]);
    let mut client = server.connect();
    let slow = "local n = 0 for i = 1, 30000000 do n = n + i % 7 end redis.call('set', KEYS[1], 'done') return 'slow'";
    let mut bytes = crate::support::client::encode(&["EVAL", slow, "1", "{k}"]);
    bytes.extend(crate::support::client::encode(&["GET", "{k}"]));
    client.send(&bytes);
    client.set_read_timeout(Duration::from_secs(120));
    assert_eq!(client.read().to_string(), "'slow'");
    assert_eq!(client.read().to_string(), "'done'");
}

#[test]
fn a_node_that_is_busy_is_shut_down_without_saving() {
    let (mut server, _runner, mut client) = busy_with(&["EVAL", ENDLESS, "0"]);
    client.send(b"SHUTDOWN NOSAVE\r\n");
    assert!(server.wait_for_exit().success());
}

#[test]
fn a_client_that_leaves_does_not_end_its_script() {
    let (_server, runner, mut client) = busy_with(&["EVAL", ENDLESS, "0"]);
    drop(runner);
    assert_eq!(client.line("GET key").to_string(), BUSY);
    assert_eq!(client.line("SCRIPT KILL").to_string(), "+OK");
    assert!(holds_within(LIMIT, || client.line("GET key").to_string() == "nil"));
}

#[test]
fn a_library_that_does_not_end_is_given_up() {
    let server = Server::slotcore(&[]);
    let mut client = server.connect();
    let said = client.cmd(&["FUNCTION", "LOAD", "#!lua name=lib\nwhile true do end"]).to_string();
    assert!(said.starts_with("-ERR Error registering functions: ERR FUNCTION LOAD timeout"), "{said}");
    assert_eq!(client.line("PING").to_string(), "+PONG");
}
