//! Requests as bytes: both request forms, any cut, any size, and the exact protocol errors.

use std::time::Duration;

use crate::support::client::{Client, encode};
use crate::support::random::Random;
use crate::support::{Server, on_both, on_both_with};

/// What the server sends before it closes, for bytes that it must refuse.
fn answer_and_close(server: &Server, bytes: &[u8]) -> String {
    let mut client = server.connect();
    client.send(bytes);
    String::from_utf8_lossy(&client.read_until_closed()).into_owned()
}

#[test]
fn protocol_errors_are_redis_texts_and_close() {
    on_both(|server| {
        let too_big_inline = vec![b'x'; 70_000];
        let too_long_count = [b"*".as_slice(), &[b'1'; 70_000]].concat();
        let too_long_bulk = [b"*1\r\n$".as_slice(), &[b'1'; 70_000]].concat();
        let rows: &[(&[u8], &str)] = &[
            (b"*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
            (b"*2147483648\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
            (b"*9999999999999999999\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
            (b"*+1\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
            (b"* 1\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
            (b"*\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
            (b"*1\r\nPING\r\n", "-ERR Protocol error: expected '$', got 'P'\r\n"),
            (b"*1\r\n:1\r\n", "-ERR Protocol error: expected '$', got ':'\r\n"),
            (b"*1\r\n\r\n", "-ERR Protocol error: expected '$', got ' '\r\n"),
            (b"*1\r\n$x\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
            (b"*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
            (b"*1\r\n$\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
            (b"*1\r\n$536870913\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
            (b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$2000000000\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
            (b"GET \"unbalanced\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
            (b"GET 'unbalanced\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
            (b"GET \"a\"b\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
            (&too_big_inline, "-ERR Protocol error: too big inline request\r\n"),
            (&too_long_count, "-ERR Protocol error: too big mbulk count string\r\n"),
            (&too_long_bulk, "-ERR Protocol error: too big bulk count string\r\n"),
            (
                b"PING\r\n*1\r\n$4\r\nPING\r\n*x\r\n",
                "+PONG\r\n+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n",
            ),
        ];
        for (bytes, expected) in rows {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
            assert_eq!(answer_and_close(server, bytes), *expected, "for {shown:?}");
        }
        assert_eq!(server.connect().line("PING").to_string(), "+PONG");
    });
}

#[test]
fn inline_requests_are_words_and_quotes() {
    on_both(|server| {
        let rows: &[(&[u8], &[u8])] = &[
            (b"PING\r\n", b"+PONG\r\n"),
            (b"PING\n", b"+PONG\r\n"),
            (b"  PING  \r\n", b"+PONG\r\n"),
            (b"\r\n\r\n\nPING\r\n", b"+PONG\r\n"),
            (b"SET k \"a b\\x41\\n\"\r\n", b"+OK\r\n"),
            (b"GET k\r\n", b"$5\r\na bA\n\r\n"),
            (b"SET k 'a\\'b'\r\n", b"+OK\r\n"),
            (b"GET 'k'\r\n", b"$3\r\na'b\r\n"),
            (b"SET k \"\"\r\n", b"+OK\r\n"),
            (b"GET\tk\r\n", b"$0\r\n\r\n"),
            (b"*0\r\nPING\r\n", b"+PONG\r\n"),
            (b"*-1\r\nPING\r\n", b"+PONG\r\n"),
            (b"*-10\r\nPING\r\n", b"+PONG\r\n"),
            (b"*1\r\n$0\r\n\r\n", b"-ERR unknown command '', with args beginning with: \r\n"),
        ];
        let mut client = server.connect();
        for (request, expected) in rows {
            client.send(request);
            assert_eq!(client.read().raw, *expected, "for {:?}", String::from_utf8_lossy(request));
        }
    });
}

#[test]
fn a_connection_that_may_not_yet_speak_is_held_to_small_requests() {
    on_both_with(&["--requirepass", "secret"], |server| {
        assert_eq!(answer_and_close(server, b"*100\r\n"), "-ERR Protocol error: unauthenticated multibulk length\r\n");
        assert_eq!(
            answer_and_close(server, b"*1\r\n$100000\r\n"),
            "-ERR Protocol error: unauthenticated bulk length\r\n"
        );
        let mut client = server.connect();
        client.must("AUTH secret");
        client.must(&format!("DEL {}", "key ".repeat(200)));
    });
}

#[test]
fn ten_thousand_requests_in_one_pipeline_answer_in_order() {
    on_both(|server| {
        let mut client = server.connect();
        let mut bytes = Vec::new();
        for number in 0..5000 {
            let (key, value) = (format!("key:{}", number % 977), number.to_string());
            bytes.extend(encode(&["SET", &key, &value]));
            bytes.extend(encode(&["GET", &key]));
        }
        // Written by another thread: the server may stop reading while its replies wait.
        let mut writer = client.writer();
        let writing = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &bytes));
        for number in 0..5000 {
            assert_eq!(client.read().to_string(), "+OK");
            assert_eq!(client.read().text(), number.to_string());
        }
        writing.join().expect("the writer ends").expect("everything is written");
    });
}

#[test]
fn errors_in_a_pipeline_leave_the_others_alone() {
    on_both(|server| {
        let mut client = server.connect();
        let replies = client.pipeline(&["SET n x", "INCR n", "NOSUCH", "GET n", "GET", "PING"]);
        let texts: Vec<String> = replies.iter().map(|reply| reply.to_string()).collect();
        assert_eq!(
            texts,
            [
                "+OK",
                "-ERR value is not an integer or out of range",
                "-ERR unknown command 'NOSUCH', with args beginning with: ",
                "'x'",
                "-ERR wrong number of arguments for 'get' command",
                "+PONG"
            ]
        );
    });
}

/// Requests of every form, and the replies they get in a fresh database.
const SAMPLE: (&[u8], &[u8]) = (
    b"*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$5\r\na\r\nbc\r\n\r\nget nothing\r\n*2\r\n$3\r\nGET\r\n$3\r\nk\r\n\r\n*0\r\n*1\r\n$4\r\nPING\r\nECHO 'x y'\n",
    b"+OK\r\n$-1\r\n$5\r\na\r\nbc\r\n+PONG\r\n$3\r\nx y\r\n",
);

#[test]
fn a_request_may_be_cut_at_any_byte() {
    on_both(|server| {
        let (request, expected) = SAMPLE;
        for cut in 1..request.len() {
            let mut client = server.connect();
            client.send(&request[..cut]);
            // An answered PING on another connection: the server has most likely seen the first part by then.
            assert_eq!(server.connect().line("PING").to_string(), "+PONG");
            client.send(&request[cut..]);
            read_exactly(&mut client, expected, &format!("cut at {cut}"));
        }
        let mut client = server.connect();
        for byte in request {
            client.send(std::slice::from_ref(byte));
            std::thread::sleep(Duration::from_micros(200));
        }
        read_exactly(&mut client, expected, "byte by byte");
    });
}

fn read_exactly(client: &mut Client, expected: &[u8], what: &str) {
    let mut got = Vec::new();
    while got.len() < expected.len() {
        got.extend(client.try_read().unwrap_or_else(|error| panic!("{what}: {error}")).raw);
    }
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected), "{what}");
}

#[test]
fn a_connection_may_be_closed_at_any_byte() {
    on_both(|server| {
        let (request, _) = SAMPLE;
        for cut in 0..request.len() {
            let mut client = server.connect();
            client.send(&request[..cut]);
        }
        assert_eq!(server.connect().line("PING").to_string(), "+PONG");
    });
}

#[test]
fn random_cuts_of_a_long_pipeline_change_nothing() {
    on_both(|server| {
        let mut random = Random::new(7);
        let mut client = server.connect();
        let (mut request, mut expected) = (Vec::new(), Vec::new());
        for number in 0..3000 {
            let len = random.index(40);
            let value = random.bytes(len);
            let key = format!("key:{}", random.below(50));
            request.extend(encode(&[b"SET", key.as_bytes(), &value]));
            request.extend(encode(&[b"GET", key.as_bytes()]));
            expected.extend_from_slice(b"+OK\r\n");
            expected.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
            expected.extend_from_slice(&value);
            expected.extend_from_slice(b"\r\n");
            if number % 10 == 0 {
                request.extend_from_slice(b"PING\r\n");
                expected.extend_from_slice(b"+PONG\r\n");
            }
        }
        let mut writer = client.writer();
        let writing = std::thread::spawn(move || {
            let mut rest = request.as_slice();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(1 + random.index(400)));
                std::io::Write::write_all(&mut writer, now).expect("the server reads");
                rest = later;
            }
        });
        let mut got = Vec::new();
        while got.len() < expected.len() {
            got.extend(client.read().raw);
        }
        writing.join().expect("the writer ends");
        assert!(got == expected, "replies differ");
    });
}

/// 4 MB of INCRs with a lot between them, from several clients that close their side at once.
#[test]
fn a_mass_load_is_answered_whole_though_its_end_has_come() {
    const REQUESTS: usize = 2000;
    on_both(|server| {
        let padding = vec![b'x'; 2000];
        let clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        let loads = clients.into_iter().enumerate().map(|(number, mut client)| {
            let (padding, own) = (padding.clone(), format!("own:{number}"));
            std::thread::spawn(move || {
                let pair =
                    [encode(&[b"SET", own.as_bytes(), &padding]), encode(&["INCR", &format!("{own}:n")])].concat();
                let mut writer = client.writer();
                let writing = std::thread::spawn(move || {
                    let sent = std::io::Write::write_all(&mut writer, &pair.repeat(REQUESTS));
                    sent.and_then(|()| writer.shutdown(std::net::Shutdown::Write))
                });
                let expected: String = (1..=REQUESTS).map(|count| format!("+OK\r\n:{count}\r\n")).collect();
                let got = client.read_until_closed();
                writing.join().expect("the writer ends").expect("everything is written");
                assert!(got == expected.as_bytes(), "client {number}: {} of {} bytes", got.len(), expected.len());
            })
        });
        let loads: Vec<_> = loads.collect();
        loads.into_iter().for_each(|load| load.join().expect("every answer has come"));
    });
}

/// A connection that sends as fast as it can is served in small parts, and the others between them.
#[test]
fn a_mass_load_takes_many_turns() {
    const BYTES: usize = 16 << 20;
    const MOST_PER_TURN: usize = 80 * 1024;
    let server = Server::slotcore(&["--cores", "1"]);
    let mut client = server.connect();
    let turns = || server.connect().info_number("eventloop_cycles");
    let before = turns();
    let request = encode(&[b"SET".as_slice(), b"key", &[b'x'; 1000]]);
    let count = BYTES / request.len();
    let mut writer = client.writer();
    let load = request.repeat(count);
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &load));
    (0..count).for_each(|_| assert_eq!(client.read().to_string(), "+OK"));
    writing.join().expect("the writer ends").expect("everything is written");
    let took = turns() - before;
    assert!(took as usize > count * request.len() / MOST_PER_TURN, "{took} turns for {BYTES} bytes");
}

#[test]
fn a_bulk_of_64_megabytes_comes_back_whole() {
    on_both(|server| {
        let mut client = server.connect();
        let block = Random::new(64).bytes(1 << 20);
        let value = block.repeat(64);
        assert_eq!(client.cmd(&[b"SET".as_slice(), b"big", &value]).to_string(), "+OK");
        assert_eq!(client.line("STRLEN big").integer(), 64 << 20);
        assert!(client.line("GET big").bytes() == value, "the value changed on its way");
        assert!(client.line("GETRANGE big 1048576 2097151").bytes() == block);
        let reply = client.cmd(&[b"ECHO".as_slice(), &value]);
        assert!(reply.bytes() == value, "ECHO changed the value");
        client.must("DEL big");
    });
}

#[test]
fn proto_max_bulk_len_is_the_limit_of_a_bulk() {
    on_both_with(&["--proto-max-bulk-len", "1048576"], |server| {
        let mut client = server.connect();
        let exact = vec![b'x'; 1 << 20];
        assert_eq!(client.cmd(&[b"SET".as_slice(), b"k", &exact]).to_string(), "+OK");
        assert_eq!(
            client.line("APPEND k y").to_string(),
            "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"
        );
        assert_eq!(
            answer_and_close(server, b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$1048577\r\n"),
            "-ERR Protocol error: invalid bulk length\r\n"
        );
    });
}

#[test]
fn many_arguments_make_one_request() {
    on_both(|server| {
        let mut client = server.connect();
        let mut args = vec!["MSET".to_owned()];
        for number in 0..50_000 {
            args.push(format!("key:{number}"));
            args.push(number.to_string());
        }
        assert_eq!(client.cmd(&args).to_string(), "+OK");
        assert_eq!(client.line("DBSIZE").integer(), 50_000);
        let keys: Vec<String> =
            std::iter::once("MGET".to_owned()).chain((0..50_000).map(|n| format!("key:{n}"))).collect();
        let reply = client.cmd(&keys);
        assert_eq!(reply.items().len(), 50_000);
        assert!(reply.items().iter().enumerate().all(|(n, value)| value.text() == n.to_string()));
    });
}
