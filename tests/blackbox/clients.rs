//! Clients as people run them: redis-cli, redis-benchmark, redis-py.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cluster_one_node::own_all_slots;
use crate::support::{Server, on_both, on_both_with};

/// Runs a program with `input` on its stdin; panics unless it ends with status 0.
fn run(program: &str, args: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} does not start ({error}); tools/test installs it"));
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("the program reads");
    let output = child.wait_with_output().expect("the program ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?} ended with {}:\n{text}\n{errors}", output.status);
    text
}

fn cli(server: &Server, args: &[&str], input: &str) -> Vec<String> {
    let port = server.port.to_string();
    let mut all = vec!["-p", &port];
    all.extend_from_slice(args);
    run("redis-cli", &all, input).lines().map(str::to_owned).collect()
}

#[test]
fn redis_cli_speaks_resp2_and_resp3() {
    on_both(|server| {
        let lines = cli(server, &[], "SET k v\nGET k\nINCR n\nMGET k missing\nNOSUCH\nCONFIG GET maxmemory\n");
        assert_eq!(
            lines.iter().filter(|line| !line.is_empty()).collect::<Vec<_>>(),
            ["OK", "v", "1", "v", "ERR unknown command 'NOSUCH', with args beginning with: ", "maxmemory", "0"]
        );
        let lines =
            cli(server, &["-3", "--no-raw"], "GET missing\nMGET k missing\nCONFIG GET maxmemory\nCLIENT INFO\n");
        assert_eq!(&lines[..4], ["(nil)", "1) \"v\"", "2) (nil)", "1# \"maxmemory\" => \"0\""]);
        assert!(lines[4].contains(" resp=3"), "{}", lines[4]);
        let lines = cli(server, &["-n", "3", "--no-raw"], "SET in-three 1\nDBSIZE\n");
        assert_eq!(lines, ["OK", "(integer) 1"]);
    });
}

#[test]
fn redis_cli_scans_pipes_and_watches() {
    on_both(|server| {
        let mut protocol = String::new();
        for n in 0..1000 {
            let key = format!("key:{n}");
            protocol.push_str(&format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$1\r\nx\r\n", key.len()));
        }
        let lines = cli(server, &["--pipe"], &protocol);
        assert!(lines.iter().any(|line| line == "errors: 0, replies: 1000"), "{lines:?}");
        let mut keys = cli(server, &["--scan", "--pattern", "key:1*"], "");
        keys.sort();
        assert_eq!(keys.len(), 111);
        assert_eq!(keys[0], "key:1");
        assert!(cli(server, &["info", "server"], "").iter().any(|line| line.starts_with("redis_version:7.")));
    });
}

#[test]
fn redis_cli_in_cluster_mode_reads_and_writes_every_slot() {
    on_both_with(&["--cluster-enabled", "yes"], |server| {
        own_all_slots(&mut server.connect());
        let input: String = (0..50).map(|n| format!("SET key:{n} {n}\nGET key:{n}\n")).collect();
        for protocol in [vec!["-c"], vec!["-c", "-3"]] {
            let lines = cli(server, &protocol, &input);
            let expected: Vec<String> = (0..50).flat_map(|n| ["OK".to_owned(), n.to_string()]).collect();
            assert_eq!(lines, expected);
        }
        let port = server.port.to_string();
        let check = run("redis-cli", &["--cluster", "check", &format!("127.0.0.1:{port}")], "");
        assert!(check.contains("[OK] All 16384 slots covered."), "{check}");
    });
}

#[test]
fn redis_benchmark_runs_its_tests_of_these_commands() {
    on_both(|server| {
        let port = server.port.to_string();
        for pipeline in ["1", "16"] {
            let args = [
                "-p",
                &port,
                "-t",
                "ping,set,get,incr,mset",
                "-n",
                "1000",
                "-c",
                "20",
                "-r",
                "1000",
                "-P",
                pipeline,
                "--csv",
            ];
            let text = run("redis-benchmark", &args, "");
            for test in ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"] {
                assert!(text.contains(&format!("\"{test}\",")), "{test} is not in\n{text}");
            }
        }
        assert_eq!(server.connect().info("total_error_replies").as_deref(), Some("0"));
    });
}

/// The interpreter that has redis-py: `SLOTCORE_PYTHON`, or the virtual environment that tools/test makes.
pub fn python() -> PathBuf {
    match std::env::var_os("SLOTCORE_PYTHON") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python"),
    }
}

fn redis_py(server: &Server, mode: &str) {
    let python = python();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/redis_py.py");
    let python = python.to_str().expect("a path in UTF-8");
    let script = script.to_str().expect("a path in UTF-8");
    let text = run(python, &[script, mode, &server.port.to_string()], "");
    assert!(text.trim_end().ends_with("all passed"), "{text}");
}

#[test]
fn redis_py_works_with_a_standalone_node() {
    on_both(|server| redis_py(server, "standalone"));
}

#[test]
fn redis_py_cluster_client_works_with_one_node() {
    on_both_with(&["--cluster-enabled", "yes"], |server| {
        own_all_slots(&mut server.connect());
        redis_py(server, "cluster");
    });
}
