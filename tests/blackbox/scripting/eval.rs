//! What scripts can do and what they cannot, beside redis-server.

use crate::support::{Client, Server, on_both};

fn eval(client: &mut Client, script: &str, words: &[&str]) -> String {
    let mut request = vec!["EVAL", script];
    request.extend(if words.is_empty() { &["0"] } else { words });
    client.cmd(&request).to_string()
}

/// Runs each script on slotcore and on redis-server, whose data go along, and compares what they answer.
fn same(rows: &[(&str, &[&str])]) {
    let servers = [Server::slotcore(&[]), Server::redis(&[])];
    let mut clients = servers.each_ref().map(Server::connect);
    let mut differences = Vec::new();
    for version in ["2", "3"] {
        clients.iter_mut().for_each(|client| drop(client.must(&format!("HELLO {version}"))));
        for (script, words) in rows {
            let [ours, theirs] = clients.each_mut().map(|client| eval(client, script, words));
            if ours != theirs {
                differences.push(format!("RESP{version} {script}\n  slotcore: {ours}\n  redis:    {theirs}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn values_become_replies_and_replies_become_values() {
    same(&[
        ("return 1", &[]),
        ("return -1.9", &[]),
        ("return 1e3", &[]),
        ("return 3.9999", &[]),
        ("return 'text'", &[]),
        ("return ''", &[]),
        ("return true", &[]),
        ("return false", &[]),
        ("return nil", &[]),
        ("return", &[]),
        ("return {1, 2, {3, 'four', {}}, true, 'five'}", &[]),
        ("return {1, nil, 3}", &[]),
        ("return {1, false, 3}", &[]),
        ("return {ok = 'fine\\r\\nsecond'}", &[]),
        ("return {err = 'MY error'}", &[]),
        ("return {double = 3.25}", &[]),
        ("return {big_number = '12345678901234567890'}", &[]),
        ("return {verbatim_string = {format = 'txt', string = 'hi'}}", &[]),
        ("return {map = {a = 1}}", &[]),
        ("return {set = {b = true}}", &[]),
        ("return function() end", &[]),
        ("return redis.status_reply('GOOD')", &[]),
        ("return redis.error_reply('BAD thing')", &[]),
        ("return redis.error_reply('alone')", &[]),
        ("return redis.error_reply('-MY err')", &[]),
        ("return redis.error_reply(1)", &[]),
        ("return {KEYS[1], KEYS[2], ARGV[1], ARGV[2], #KEYS, #ARGV}", &["2", "{a}1", "{a}2", "x", "y"]),
        ("return redis.call('set', KEYS[1], ARGV[1])", &["1", "key", "value"]),
        ("return redis.call('get', KEYS[1])", &["1", "key"]),
        ("return redis.call('get', KEYS[1])", &["1", "missing"]),
        ("return type(redis.call('get', 'missing'))", &[]),
        ("return redis.call('set', 'key', 1.5) and redis.call('get', 'key')", &[]),
        ("redis.call('set', 'n', 12345678901234) return redis.call('get', 'n')", &[]),
        ("redis.call('set', 'n', 1e15) return redis.call('get', 'n')", &[]),
        ("redis.call('set', 'n', 0.5) return redis.call('get', 'n')", &[]),
        ("redis.call('del', 'l') redis.call('rpush', 'l', 'a', 'b', 'c') return redis.call('lrange', 'l', 0, -1)", &[]),
        ("local t = redis.call('lrange', 'l', 0, -1) return {#t, t[1], t[3]}", &[]),
        ("redis.call('del', 'h') redis.call('hset', 'h', 'f', 'v') return redis.call('hgetall', 'h')", &[]),
        ("redis.setresp(3) return redis.call('hgetall', 'h')", &[]),
        ("redis.setresp(3) local r = redis.call('hgetall', 'h') return r.map.f", &[]),
        (
            "redis.setresp(3) redis.call('del', 's') redis.call('sadd', 's', 'm') return redis.call('smembers', 's')",
            &[],
        ),
        ("redis.setresp(3) redis.call('zadd', 'z', 1.5, 'm') return redis.call('zscore', 'z', 'm')", &[]),
        ("redis.call('zadd', 'z', 1.5, 'm') return redis.call('zscore', 'z', 'm')", &[]),
        ("redis.setresp(3) return redis.call('get', 'missing')", &[]),
        ("redis.setresp(3) return type(redis.call('get', 'missing'))", &[]),
        ("redis.setresp(3) return true", &[]),
        ("redis.setresp(3) return false", &[]),
        ("return redis.call('type', 'l').ok", &[]),
        ("return redis.call('ping')", &[]),
        ("return redis.call('ping').ok", &[]),
        ("return redis.call('echo', 'x')", &[]),
        ("return redis.pcall('incr', 'l')", &[]),
        ("return redis.pcall('incr', 'l').err", &[]),
        ("return redis.call('incr', 'l')", &[]),
        ("redis.call('incr', 'l') return 1", &[]),
        ("return {redis.pcall('incr', 'l'), 2}", &[]),
        ("return redis.call('dbsize')", &[]),
        ("redis.call('select', 3) redis.call('set', 'three', 1) return redis.call('dbsize')", &[]),
        ("return redis.call('exists', 'three')", &[]),
    ]);
}

#[test]
fn errors_say_what_and_where() {
    same(&[
        ("return bar", &[]),
        ("foo = 1", &[]),
        ("return\n\nbar", &[]),
        ("error('boom')", &[]),
        ("error({err = 'MY own'})", &[]),
        ("error({err = 'alone'})", &[]),
        ("error(nil)", &[]),
        ("local x = nil; return x.y", &[]),
        ("return 1 +", &[]),
        ("this is not lua", &[]),
        ("return redis.call()", &[]),
        ("return redis.call({})", &[]),
        ("return redis.call('get', {})", &[]),
        ("return redis.call('nosuch')", &[]),
        ("return redis.call('get')", &[]),
        ("return redis.call('config')", &[]),
        ("return redis.call('subscribe', 'c')", &[]),
        ("return redis.call('eval', 'return 1', 0)", &[]),
        ("return redis.call('multi')", &[]),
        ("return redis.call('auth', 'x')", &[]),
        ("return redis.pcall('nosuch')", &[]),
        ("return redis.pcall('nosuch').err", &[]),
        ("local ok, e = pcall(redis.call, 'nosuch') return {tostring(ok), e}", &[]),
        ("local ok, e = pcall(function() error('x') end) return {tostring(ok), e}", &[]),
        ("local ok, e = pcall(function() error({err = 'E t'}) end) return {tostring(ok), e}", &[]),
        ("local ok, e = pcall(function() return foo end) return e", &[]),
        ("return {pcall(function(...) return ... end, 1, 2, 3)}", &[]),
        ("local ok, e = xpcall(function() redis.call('nosuch') end, function(e) return e.err end) return e", &[]),
        ("return redis.sha1hex()", &[]),
        ("return redis.sha1hex('abc')", &[]),
        ("return redis.sha1hex(1)", &[]),
        ("return redis.log(1)", &[]),
        ("return redis.log('x', 'y')", &[]),
        ("return redis.log(9, 'y')", &[]),
        ("redis.log(redis.LOG_DEBUG, 'a', 'b') return 'logged'", &[]),
        ("redis.setresp()", &[]),
        ("redis.setresp(4)", &[]),
        ("redis.set_repl(17)", &[]),
        ("redis.set_repl(redis.REPL_ALL) return redis.REPL_ALL", &[]),
        ("return redis.acl_check_cmd('set', 'a', 'b')", &[]),
        ("return redis.acl_check_cmd('nosuch')", &[]),
        ("return redis.register_function('a', function() end)", &[]),
        ("return redis.replicate_commands()", &[]),
        ("return KEYS[1]", &["x"]),
        ("return 1", &["1"]),
        ("return 1", &["-1"]),
        ("return 1", &["2", "a"]),
    ]);
}

#[test]
fn the_machine_gives_scripts_what_redis_gives_and_nothing_else() {
    same(&[
        ("redis.call = 1", &[]),
        ("redis.foo = 1", &[]),
        ("string.foo = 1", &[]),
        ("_G.foo = 1", &[]),
        ("_G['redis'] = 1", &[]),
        ("setmetatable(_G, {})", &[]),
        ("rawset(_G, 'a', 1)", &[]),
        ("rawset(redis, 'a', 1)", &[]),
        ("getmetatable(_G).__index = nil", &[]),
        ("getmetatable('').__index = nil", &[]),
        ("return ('x'):rep(3)", &[]),
        ("return ('abc'):upper():sub(2)", &[]),
        ("return type(_G)", &[]),
        ("return type(print)", &[]),
        ("return type(dofile)", &[]),
        ("return type(loadfile)", &[]),
        ("return type(require)", &[]),
        ("return type(os)", &[]),
        ("return type(io)", &[]),
        ("return type(debug)", &[]),
        ("return type(loadstring)", &[]),
        ("return loadstring('return 1 + 1')()", &[]),
        ("return loadstring('foo = 1')()", &[]),
        ("local f, e = loadstring('1 +') return e", &[]),
        ("return tostring(loadstring(string.dump(function() return 1 end)))", &[]),
        ("return table.concat({1, 2, 3}, ',')", &[]),
        ("local t = {3, 1, 2} table.sort(t) return t", &[]),
        ("return {math.floor(1.5), math.max(1, 2), math.pi > 3}", &[]),
        ("math.randomseed(7) return {tostring(math.random()), math.random(100), math.random(5, 9)}", &[]),
        ("math.randomseed(100) local t = {} for i = 1, 20 do t[i] = math.random(1000) end return t", &[]),
        ("return math.random(0)", &[]),
        ("return math.random(2, 1)", &[]),
        ("return string.format('%5.2f|%d|%s', 1.234, 7, 'x')", &[]),
        ("return {string.find('hello', 'l+')}", &[]),
        ("return (string.gsub('hello', 'l', 'L'))", &[]),
        (
            "local co = coroutine.create(function(a) local b = coroutine.yield(a) return b end) local _, x = coroutine.resume(co, 1) local _, y = coroutine.resume(co, 2) return {x, y}",
            &[],
        ),
        ("local co = coroutine.wrap(function() return redis.call('ping') end) return co()", &[]),
        (
            "local co = coroutine.create(function() redis.call('nosuch') end) local ok, e = coroutine.resume(co) return {tostring(ok), e.err}",
            &[],
        ),
        ("return {next({a = 1})}", &[]),
        ("local n = 0 for k in pairs({1, 2, x = 3}) do n = n + 1 end return n", &[]),
        ("return select('#', 1, 2, 3)", &[]),
        ("return tostring(_VERSION)", &[]),
        ("return {tonumber('0x10'), tonumber('z', 36), tostring(1e15), tostring(0.1)}", &[]),
        ("return cjson.encode({1, 2, {a = 'b'}})", &[]),
        ("return cjson.decode('{\"a\": [1, 2, null]}').a[2]", &[]),
        ("return cjson.encode({[1] = 1, [2] = 2, [100] = 3})", &[]),
        ("local ok, e = pcall(cjson.decode, '[1, 2') return e", &[]),
        ("return cjson.decode('bad')", &[]),
        ("return cmsgpack.unpack(cmsgpack.pack({1, 'a', {x = 2.5}}))[2]", &[]),
        ("return cmsgpack.unpack('')", &[]),
        ("return {struct.unpack('>I2h', struct.pack('>I2h', 1, -2))}", &[]),
        ("return struct.pack('z')", &[]),
        ("return {bit.band(0xff, 0x0f), bit.tohex(255), bit.bswap(1), bit.rshift(-1, 28)}", &[]),
        ("return bit.band('x')", &[]),
        ("return redis.REDIS_VERSION_NUM > 0x70000", &[]),
    ]);
}

/// Scripts that take the end of some stack: redis-server 7.0 ends with the first of them.
#[test]
fn no_script_goes_through_the_end_of_a_stack() {
    let server = Server::slotcore(&[]);
    let client = &mut server.connect();
    for (script, wanted) in [
        (
            "local x = string.find(('a'):rep(300000), ('a-'):rep(300000) .. 'b') return x",
            "-ERR user_script:1: pattern too complex",
        ),
        (
            "local x = (('a'):rep(300000)):gsub(('a?'):rep(300000), '') return x",
            "-ERR user_script:1: pattern too complex",
        ),
        ("return string.find(('a'):rep(20000), ('a?'):rep(8000))", ":1"),
        ("return string.find(('a'):rep(20000), ('a'):rep(20000), 1, true)", ":1"),
        ("return loadstring('return ' .. ('('):rep(100000) .. '1') and 1 or 0", ":0"),
        ("local function f() return 1 + f() end return f()", "-ERR user_script:1: stack overflow"),
        ("local function f(n) return coroutine.wrap(function() return f(n + 1) end)() end return f(1)", "-ERR"),
        ("local s = ('('):rep(40) .. 'a' local x = string.find('a', s) return x", "-ERR user_script:1: "),
        ("local x = string.find(nil, 'a') return x", "-ERR user_script:1: bad argument #1 to 'find'"),
        ("return cjson.encode(setmetatable({}, {__index = function(t) return t end}))", "'{}'"),
    ] {
        let said = eval(client, script, &[]);
        assert!(said.starts_with(wanted), "{script}: {}", said.chars().take(300).collect::<String>());
    }
    assert_eq!(client.line("PING").to_string(), "+PONG");
}

#[test]
fn scripts_are_known_by_their_digests() {
    on_both(|server| {
        let client = &mut server.connect();
        let digest = client.cmd(&["SCRIPT", "LOAD", "return 'loaded'"]).to_string();
        let digest = digest.trim_matches('\'').to_owned();
        assert_eq!(digest.len(), 40);
        assert_eq!(client.line(&format!("EVALSHA {digest} 0")).to_string(), "'loaded'");
        assert_eq!(client.line(&format!("EVALSHA {} 0", digest.to_uppercase())).to_string(), "'loaded'");
        assert_eq!(client.line(&format!("EVALSHA_RO {digest} 0")).to_string(), "'loaded'");
        let unknown = "f".repeat(40);
        assert_eq!(client.line(&format!("SCRIPT EXISTS {digest} {unknown}")).to_string(), "[:1, :0]");
        let missing = "-NOSCRIPT No matching script. Please use EVAL.";
        assert_eq!(client.line(&format!("EVALSHA {unknown} 0")).to_string(), missing);
        assert_eq!(client.line("EVALSHA short 0").to_string(), missing);
        assert_eq!(client.line("SCRIPT FLUSH SYNC").to_string(), "+OK");
        assert_eq!(client.line(&format!("EVALSHA {digest} 0")).to_string(), missing);
        assert_eq!(eval(client, "return 'loaded'", &[]), "'loaded'");
        assert_eq!(client.line(&format!("EVALSHA {digest} 0")).to_string(), "'loaded'");
        let refused = client.cmd(&["SCRIPT", "LOAD", "return 1 +"]).to_string();
        assert!(refused.starts_with("-ERR Error compiling script (new function): user_script:1:"), "{refused}");
        assert_eq!(client.line("SCRIPT FLUSH SOON").to_string(), "-ERR SCRIPT FLUSH only support SYNC|ASYNC option");
        assert_eq!(client.line("SCRIPT KILL").to_string(), "-NOTBUSY No scripts in execution right now.");
        assert_eq!(client.line("SCRIPT DEBUG NO").to_string(), "+OK");
    });
}

#[test]
fn what_a_script_says_of_itself_binds_it() {
    on_both(|server| {
        let client = &mut server.connect();
        let mut says = |script: &str, words: &[&str], wanted: &str| {
            let said = eval(client, script, words);
            assert!(said.starts_with(wanted), "{script}: {said}");
        };
        says("#!lua\nreturn 1", &[], ":1");
        says("#!lua flags=no-writes\nreturn redis.call('get', KEYS[1])", &["1", "a"], "nil");
        says(
            "#!lua flags=no-writes\nreturn redis.call('set', KEYS[1], 1)",
            &["1", "a"],
            "-ERR Write commands are not allowed from read-only scripts.",
        );
        says("#!lua flags=no-such\nreturn 1", &[], "-ERR Unexpected flag in script shebang: no-such");
        says("#!python\nreturn 1", &[], "-ERR Unexpected engine in script shebang: #!python");
        says("#!lua name=x\nreturn 1", &[], "-ERR Unknown lua shebang option: name=x");
        says("#!lua", &[], "-ERR Invalid script shebang");
        says(
            "#!lua\nreturn\nfoo",
            &[],
            "-ERR user_script:3: Script attempted to access nonexistent global variable 'foo'",
        );
        let refused = client.cmd(&["EVAL_RO", "return redis.call('set', 'a', 1)", "0"]).to_string();
        assert!(refused.starts_with("-ERR Write commands are not allowed from read-only scripts."), "{refused}");
        assert_eq!(client.cmd(&["EVAL_RO", "return redis.call('get', 'a')", "0"]).to_string(), "nil");
        let refused = client.cmd(&["EVAL_RO", "#!lua\nreturn 1", "0"]).to_string();
        assert_eq!(refused, "-ERR Can not execute a script with write flag using *_ro command.");
    });
}

#[test]
fn transactions_have_scripts_and_scripts_have_no_transactions() {
    on_both(|server| {
        let client = &mut server.connect();
        client.must("MULTI");
        client.must("SET {t}a 1");
        client.cmd(&["EVAL", "return redis.call('incr', KEYS[1])", "1", "{t}a"]);
        client.cmd(&["EVAL", "return redis.call('incr', 'x', 'y')", "1", "{t}a"]);
        client.must("GET {t}a");
        let replies = client.line("EXEC").to_string();
        assert!(
            replies.starts_with("[+OK, :2, -ERR Wrong number of args calling Redis command from script"),
            "{replies}"
        );
        assert!(replies.ends_with("'2']"), "{replies}");
    });
}

#[test]
fn blocking_commands_do_not_wait_in_scripts() {
    let server = Server::slotcore(&[]);
    let client = &mut server.connect();
    assert_eq!(eval(client, "return redis.call('blpop', KEYS[1], 0)", &["1", "list"]), "nil");
    assert_eq!(eval(client, "return redis.call('bzpopmin', KEYS[1], 0)", &["1", "zset"]), "nil");
}
