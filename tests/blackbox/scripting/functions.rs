//! FUNCTION and FCALL.

use crate::support::{Client, Kind, Server, Value, holds_within, on_both};
use std::time::Duration;

const LIBRARY: &str = "#!lua name=mylib\n\
    local function double(keys, args) return args[1] * 2 end\n\
    redis.register_function('double', double)\n\
    redis.register_function{function_name='get', callback=function(keys) return redis.call('get', keys[1]) end, \
    flags={'no-writes'}, description='reads'}\n\
    redis.register_function('set', function(keys, args) return redis.call('set', keys[1], args[1]) end)";

fn load(client: &mut Client, code: &str) -> String {
    client.cmd(&["FUNCTION", "LOAD", code]).to_string()
}

#[test]
fn libraries_are_loaded_called_listed_and_removed() {
    on_both(|server| {
        let client = &mut server.connect();
        assert_eq!(load(client, LIBRARY), "'mylib'");
        assert_eq!(load(client, LIBRARY), "-ERR Library 'mylib' already exists");
        assert_eq!(client.cmd(&["FUNCTION", "LOAD", "REPLACE", LIBRARY]).to_string(), "'mylib'");
        assert_eq!(client.line("FCALL double 0 21").to_string(), ":42");
        assert_eq!(client.line("FCALL set 1 key value").to_string(), "+OK");
        assert_eq!(client.line("FCALL get 1 key").to_string(), "'value'");
        assert_eq!(client.line("FCALL_RO get 1 key").to_string(), "'value'");
        let refused = client.line("FCALL_RO set 1 key value").to_string();
        assert_eq!(refused, "-ERR Can not execute a script with write flag using *_ro command.");
        assert_eq!(client.line("FCALL nosuch 0").to_string(), "-ERR Function not found");
        assert_eq!(client.line("FCALL double x").to_string(), "-ERR Bad number of keys provided");
        assert_eq!(client.line("FCALL double -1").to_string(), "-ERR Number of keys can't be negative");
        let refused = client.line("FCALL double 3 a").to_string();
        assert_eq!(refused, "-ERR Number of keys can't be greater than number of args");
        let list = client.must("FUNCTION LIST LIBRARYNAME MY* WITHCODE");
        let library = &list.items()[0];
        assert_eq!(library.field("library_name").map(Value::text).as_deref(), Some("mylib"));
        assert_eq!(library.field("library_code").map(Value::text).as_deref(), Some(LIBRARY));
        assert_eq!(library.field("functions").map(|functions| functions.items().len()), Some(3));
        assert_eq!(client.line("FUNCTION LIST LIBRARYNAME other").to_string(), "[]");
        assert_eq!(client.line("FUNCTION LIST x").to_string(), "-ERR Unknown argument x");
        assert_eq!(client.line("FUNCTION KILL").to_string(), "-NOTBUSY No scripts in execution right now.");
        assert!(client.line("FUNCTION STATS").to_string().contains("functions_count"));
        assert_eq!(client.line("FUNCTION DELETE other").to_string(), "-ERR Library not found");
        assert_eq!(client.line("FUNCTION DELETE mylib").to_string(), "+OK");
        assert_eq!(client.line("FCALL double 0 1").to_string(), "-ERR Function not found");
    });
}

#[test]
fn what_is_no_library_is_refused_with_the_reason() {
    on_both(|server| {
        let client = &mut server.connect();
        for (code, wanted) in [
            ("return 1", "-ERR Missing library metadata"),
            ("#!lua name=x", "-ERR Invalid library metadata"),
            ("#!lua\nx", "-ERR Library name was not given"),
            ("#!lua name=a name=b\nx", "-ERR Invalid metadata value, name argument was given multiple times"),
            ("#!lua name=a foo=b\nx", "-ERR Invalid metadata value given: foo=b"),
            ("#!js name=a\nx", "-ERR Engine 'js' not found"),
            (
                "#!lua name=a-b\nx",
                "-ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long",
            ),
            ("#!lua name=a\nreturn 1 +", "-ERR Error compiling function: user_function:2:"),
            ("#!lua name=a\nreturn 1", "-ERR No functions registered"),
            ("#!lua name=a\nredis.register_function('f')", "-ERR Error registering functions: "),
            (
                "#!lua name=a\nredis.register_function('f', 1)",
                "-ERR Error registering functions: ERR second argument to redis.register_function must be a function",
            ),
            (
                "#!lua name=a\nredis.register_function('f-f', function() end)",
                "-ERR Error registering functions: ERR Library names can only contain",
            ),
            (
                "#!lua name=a\nredis.register_function{function_name='f'}",
                "-ERR Error registering functions: ERR redis.register_function must get a callback argument",
            ),
            (
                "#!lua name=a\nredis.register_function{function_name='f', callback=function() end, flags={'x'}}",
                "-ERR Error registering functions: ERR unknown flag given",
            ),
            (
                "#!lua name=a\nredis.register_function('f', function() end)\nredis.register_function('f', function() end)",
                "-ERR Error registering functions: ERR Function already exists in the library",
            ),
            ("#!lua name=a\nfoo = 1", "-ERR Error registering functions: "),
            ("#!lua name=a\nerror('x')", "-ERR Error registering functions: "),
        ] {
            let said = load(client, code);
            assert!(said.starts_with(wanted), "{code}: {said}");
        }
        assert_eq!(client.line("FUNCTION LIST").to_string(), "[]");
        assert_eq!(load(client, LIBRARY), "'mylib'");
        let taken = "#!lua name=other\nredis.register_function('double', function() end)";
        assert_eq!(load(client, taken), "-ERR Function double already exists");
        assert_eq!(client.line("FCALL double 0 1").to_string(), ":2");
    });
}

#[test]
fn a_dump_is_restored_here_and_there() {
    let servers = [Server::slotcore(&[]), Server::redis(&[])];
    for (from, to) in [(0, 1), (1, 0), (0, 0)] {
        let mut source = servers[from].connect();
        source.must("FUNCTION FLUSH");
        assert_eq!(load(&mut source, LIBRARY), "'mylib'");
        let dump = source.must("FUNCTION DUMP").bytes().to_vec();
        let mut target = servers[to].connect();
        target.must("FUNCTION FLUSH");
        let restore = |target: &mut Client, policy: &str| {
            let words: Vec<&[u8]> = vec![b"FUNCTION", b"RESTORE", &dump, policy.as_bytes()];
            target.cmd(&words).to_string()
        };
        assert_eq!(restore(&mut target, "APPEND"), "+OK");
        assert_eq!(restore(&mut target, "APPEND"), "-ERR Library mylib already exists");
        assert_eq!(restore(&mut target, "REPLACE"), "+OK");
        assert_eq!(restore(&mut target, "FLUSH"), "+OK");
        assert!(restore(&mut target, "MAYBE").starts_with("-ERR Wrong restore policy given"));
        assert_eq!(target.line("FCALL double 0 4").to_string(), ":8");
        let refused = target.line("FUNCTION RESTORE nothing").to_string();
        assert_eq!(refused, "-ERR DUMP payload version or checksum are wrong");
    }
}

#[test]
fn libraries_outlive_a_restart_in_snapshots_and_append_only_files() {
    for args in [
        &["--save", "", "--enable-debug-command", "yes"][..],
        &["--appendonly", "yes", "--enable-debug-command", "yes"],
    ] {
        let mut server = Server::slotcore(args);
        let client = &mut server.connect();
        assert_eq!(load(client, LIBRARY), "'mylib'");
        assert_eq!(load(client, "#!lua name=gone\nredis.register_function('gone', function() end)"), "'gone'");
        client.must("FUNCTION DELETE gone");
        client.must("FCALL set 1 key value");
        if args[0] == "--save" {
            client.must("SAVE");
        }
        server.restart();
        let client = &mut server.connect();
        assert!(holds_within(Duration::from_secs(20), || client.line("FCALL get 1 key").to_string() == "'value'"));
        assert_eq!(client.line("FCALL gone 0").to_string(), "-ERR Function not found");
        client.must("DEBUG RELOAD");
        assert_eq!(client.line("FCALL double 0 2").to_string(), ":4");
    }
}

#[test]
fn replicas_have_the_libraries_of_their_primary() {
    for (primary, replica) in
        [(Kind::Slotcore, Kind::Slotcore), (Kind::Slotcore, Kind::Redis), (Kind::Redis, Kind::Slotcore)]
    {
        let primary = Server::start(primary, &["--repl-diskless-sync-delay", "0"]);
        let mut source = primary.connect();
        assert_eq!(load(&mut source, LIBRARY), "'mylib'");
        let replica = Server::start(replica, &["--replicaof", &format!("127.0.0.1 {}", primary.port)]);
        let mut copy = replica.connect();
        let has = |copy: &mut Client, name: &str| {
            !copy.line("FUNCTION LIST").is_error() && copy.line("FUNCTION LIST").to_string().contains(name)
        };
        assert!(holds_within(Duration::from_secs(20), || has(&mut copy, "mylib")));
        assert_eq!(
            load(&mut source, "#!lua name=later\nredis.register_function('later', function() return 'later' end)"),
            "'later'"
        );
        source.must("FCALL set 1 key value");
        assert!(holds_within(Duration::from_secs(20), || copy.line("GET key").to_string() == "'value'"));
        assert!(has(&mut copy, "later"));
        assert_eq!(copy.line("FCALL_RO get 1 key").to_string(), "'value'");
        let refused = copy.line("FCALL set 1 key other").to_string();
        assert_eq!(refused, "-READONLY You can't write against a read only replica.");
        source.must("FUNCTION FLUSH");
        assert!(holds_within(Duration::from_secs(20), || !has(&mut copy, "mylib")));
    }
}
