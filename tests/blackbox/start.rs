//! How a start fails, and what an idle node costs.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::confine::{deny_system_call, limit_lockable_memory, pretend_old_kernel};
use crate::support::server::{free_port, fresh_dir};
use crate::support::{Kind, Server, holds_within, number_from_env};

/// Starts a server that must not start; its output within 10 seconds.
fn refused(kind: Kind, file: Option<&std::path::Path>, port: u16, args: &[&str]) -> Output {
    let dir = fresh_dir();
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let output = ended(&mut Server::command(kind, file, port, &dir, &args));
    fs::remove_dir_all(&dir).expect("the folder can be removed");
    output
}

/// The output of a command that ends within 10 seconds.
fn ended(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let ended = holds_within(Duration::from_secs(10), || child.try_wait().expect("a status").is_some());
    if !ended {
        child.kill().expect("the program can be ended");
    }
    let output = child.wait_with_output().expect("the program's output");
    assert!(ended, "{command:?} runs on");
    output
}

fn said(output: &Output) -> String {
    [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat()
}

#[test]
fn a_port_in_use_ends_the_start_with_one_clear_line() {
    let port = free_port();
    let _holder = TcpListener::bind(("127.0.0.1", port)).expect("the port");
    for kind in [Kind::Slotcore, Kind::Redis] {
        let output = refused(kind, None, port, &["--bind", "127.0.0.1"]);
        let said = said(&output);
        assert!(output.status.code().is_some_and(|code| code != 0), "{kind:?}: {}", output.status);
        let line = said.lines().find(|line| line.contains("in use")).unwrap_or_else(|| panic!("{kind:?} said: {said}"));
        assert!(line.contains(&port.to_string()), "{line}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn a_nodes_conf_in_use_or_damaged_ends_the_start() {
    let dir = fresh_dir();
    let file = dir.join("nodes.conf");
    let name = file.display().to_string();
    let args = ["--cluster-enabled", "yes", "--cluster-config-file", &name];
    // redis-server 7.2 locks the file it finds and then puts another in its place, so it cannot tell.
    let mut server = Server::slotcore(&args);
    server.connect().must("CLUSTER ADDSLOTS 1");
    let output = refused(Kind::Slotcore, None, free_port(), &args);
    let used = said(&output);
    assert!(output.status.code().is_some_and(|code| code != 0), "{used}");
    assert!(used.contains(&format!("Sorry, the cluster configuration file {name} is already used")), "{used}");
    server.stop();
    let whole = fs::read_to_string(&file).expect("nodes.conf");
    fs::write(&file, whole.replace("connected 1", "connected 1-x")).expect("a damaged file");
    let output = refused(Kind::Slotcore, None, free_port(), &args);
    let damaged = said(&output);
    assert!(output.status.code().is_some_and(|code| code != 0), "{damaged}");
    assert!(damaged.contains(&format!("{name}, line 1: '1-x' is no range of slots")), "{damaged}");
    fs::write(&file, "nonsense\n").expect("a damaged file");
    for kind in [Kind::Slotcore, Kind::Redis] {
        let output = refused(kind, None, free_port(), &args);
        assert!(output.status.code().is_some_and(|code| code != 0), "{kind:?} starts");
        assert!(said(&output).contains("corrupted cluster config file"), "{kind:?}: {}", said(&output));
    }
    fs::remove_dir_all(&dir).expect("the folder can be removed");
}

#[test]
fn a_wrong_directive_is_named_with_its_file_and_line() {
    let rows = [
        ("port 7000\n\n# why\nnosuchdirective 1\n", 4, "nosuchdirective"),
        ("maxmemory-policy bogus\n", 1, "maxmemory-policy"),
        ("timeout abc\n", 1, "timeout"),
        ("appendonly maybe\n", 1, "appendonly"),
        ("save 900\n", 1, "save"),
        ("maxclients \"open\n", 1, "maxclients"),
        ("include /nonexistent/other.conf\n", 1, "/nonexistent/other.conf"),
    ];
    let dir = fresh_dir();
    let file = dir.join("bad.conf");
    for (text, line, word) in rows {
        fs::write(&file, text).expect("a file");
        for kind in [Kind::Slotcore, Kind::Redis] {
            let output = refused(kind, Some(&file), free_port(), &[]);
            let said = said(&output);
            assert!(output.status.code().is_some_and(|code| code != 0), "{kind:?} starts with {text:?}: {said}");
            assert!(said.contains(word), "{kind:?} does not name {word}: {said}");
            if kind.is_slotcore() {
                assert!(said.contains("bad.conf") && said.contains(&line.to_string()), "no file and line: {said}");
                assert!(!said.contains("panicked"), "{said}");
            }
        }
    }
    fs::remove_dir_all(&dir).expect("the folder can be removed");
}

#[test]
fn a_wrong_directive_on_the_command_line_is_named() {
    for kind in [Kind::Slotcore, Kind::Redis] {
        for (args, word) in [(["--nosuch", "1"], "nosuch"), (["--timeout", "abc"], "timeout")] {
            let output = refused(kind, None, free_port(), &args);
            assert!(output.status.code().is_some_and(|code| code != 0), "{kind:?}: {}", output.status);
            assert!(said(&output).contains(word), "{}", said(&output));
        }
    }
}

#[test]
fn a_missing_file_or_folder_ends_the_start() {
    for kind in [Kind::Slotcore, Kind::Redis] {
        let output = refused(kind, Some("/nonexistent/node.conf".as_ref()), free_port(), &[]);
        assert!(!output.status.success());
        assert!(said(&output).contains("/nonexistent/node.conf"), "{}", said(&output));
        let output = refused(kind, None, free_port(), &["--dir", "/nonexistent"]);
        assert!(!output.status.success());
        assert!(said(&output).contains("/nonexistent"), "{}", said(&output));
    }
}

#[test]
fn a_file_and_directives_together_the_later_wins() {
    let dir = fresh_dir();
    let file = dir.join("node.conf");
    fs::write(&file, "timeout 5\nmaxmemory 1gb\ntimeout 6\n").expect("a file");
    for kind in [Kind::Slotcore, Kind::Redis] {
        let server = Server::start_with_file(kind, &file, &["--maxmemory", "2mb"]);
        crate::support::check(
            &mut server.connect(),
            &[("CONFIG GET timeout", "['timeout', '6']"), ("CONFIG GET maxmemory", "['maxmemory', '2097152']")],
        );
    }
    fs::remove_dir_all(&dir).expect("the folder can be removed");
}

#[test]
fn the_configuration_file_that_debian_ships_is_accepted() {
    let Ok(text) = fs::read_to_string("/etc/redis/redis.conf") else {
        eprintln!("no /etc/redis/redis.conf on this machine, nothing to accept");
        return;
    };
    let dir = fresh_dir();
    let file = dir.join("redis.conf");
    // What belongs to that service: its folders, its files, running in the background.
    let ours: String = text
        .lines()
        .filter(|line| {
            !["dir ", "logfile ", "pidfile ", "daemonize ", "include "].iter().any(|name| line.starts_with(name))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&file, ours).expect("a file");
    for kind in [Kind::Slotcore, Kind::Redis] {
        let server = Server::start_with_file(kind, &file, &[]);
        assert_eq!(server.connect().line("PING").to_string(), "+PONG");
    }
    fs::remove_dir_all(&dir).expect("the folder can be removed");
}

/// Starts slotcore on a machine that `confine` has made unfit: it says so in one line on stderr and ends, and never
/// listened. Redis knows none of this.
fn refuses_machine(confine: impl FnOnce(&mut Command), expected: &str) {
    let dir = fresh_dir();
    let mut command = Server::command(Kind::Slotcore, None, free_port(), &dir, &["--cores".to_owned(), "1".to_owned()]);
    confine(&mut command);
    let output = ended(&mut command);
    fs::remove_dir_all(&dir).expect("the folder can be removed");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{expected}: {said}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains(expected), "{errors}");
    assert!(!said.contains("Ready to accept connections") && !said.contains("panicked"), "{said}");
}

#[test]
fn a_machine_without_io_uring_is_refused_with_the_reason() {
    if !Kind::Slotcore.is_slotcore() {
        return;
    }
    for (error, expected) in [
        (libc::EPERM, "io_uring is forbidden here"),
        (libc::ENOSYS, "This kernel has no io_uring"),
        (libc::EINVAL, "io_uring lacks a feature"),
        (libc::ENOMEM, "Too little lockable memory for io_uring"),
    ] {
        refuses_machine(|command| deny_system_call(command, libc::SYS_io_uring_setup, error), expected);
    }
    // A profile that lets rings be made and not be used.
    for number in [libc::SYS_io_uring_enter, libc::SYS_io_uring_register] {
        refuses_machine(|command| deny_system_call(command, number, libc::EPERM), "io_uring is forbidden here");
    }
}

#[test]
fn an_old_kernel_is_refused_with_its_version() {
    if !Kind::Slotcore.is_slotcore() {
        return;
    }
    refuses_machine(pretend_old_kernel, "is too old: slotcore needs 6.1 or newer");
}

/// What a service or a container has unless somebody thought of it: 8 MiB, or 64 KiB. Newer kernels count rings against it, older
/// ones do not; a node that does not start says what it needs.
#[test]
fn lockable_memory_is_enough_or_the_node_says_what_it_needs() {
    let line = Kind::Slotcore.command_line();
    if !Kind::Slotcore.is_slotcore() || line.len() > 1 {
        return;
    }
    // Nobody may not reach the program where it was built.
    let dir = fresh_dir();
    let program = dir.join("slotcore");
    fs::copy(&line[0], &program).expect("a copy of the program");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("a folder for everyone");
    let start = |bytes: u64, port: u16| {
        let mut command = Command::new(&program);
        command.args(["--port", &port.to_string(), "--cores", "2", "--save", ""]).current_dir(&dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        limit_lockable_memory(&mut command, bytes);
        command.spawn().expect("the program starts")
    };
    for bytes in [8 << 20, 64 << 10] {
        let port = free_port();
        let mut child = start(bytes, port);
        let mut has_ended = false;
        let serves = holds_within(Duration::from_secs(20), || {
            has_ended = child.try_wait().expect("a status").is_some();
            has_ended || TcpStream::connect(("127.0.0.1", port)).is_ok_and(answers_ping)
        });
        let _ = child.kill();
        let output = child.wait_with_output().expect("the program's output");
        assert!(serves && !(has_ended && bytes == 8 << 20), "{bytes}: {}", said(&output));
        if has_ended {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(errors.lines().count(), 1, "{errors}");
            let expected = "Too little lockable memory for io_uring: 64 KiB, 512 KiB are needed for 2 core(s)";
            assert!(errors.contains(expected), "{errors}");
        }
    }
    fs::remove_dir_all(&dir).expect("the folder can be removed");
}

fn answers_ping(mut stream: TcpStream) -> bool {
    let mut reply = [0; 7];
    stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut reply)).is_ok() && &reply == b"+PONG\r\n"
}

/// With two cores, at most 1 % of one CPU over the window that `SLOTCORE_IDLE_SECONDS` asks for. Without it the window is 5 s
/// and the machine is busy with other tests, so that only a core that spins is caught: 10 %.
#[test]
fn an_idle_node_uses_next_to_no_cpu() {
    let window = Duration::from_secs(number_from_env("SLOTCORE_IDLE_SECONDS", 5));
    let percent = if std::env::var_os("SLOTCORE_IDLE_SECONDS").is_some() { 1 } else { 10 };
    let server = Server::slotcore(&["--cores", "2"]);
    let mut client = server.connect();
    let lines: Vec<String> = (0..1000).map(|n| format!("SET key:{n} value EX 10000")).collect();
    client.pipeline(&lines);
    std::thread::sleep(Duration::from_secs(1));
    let (ticks, start) = (server.cpu_ticks(), Instant::now());
    std::thread::sleep(window);
    let used_ms = (server.cpu_ticks() - ticks) * 10;
    let allowed_ms = u64::try_from(start.elapsed().as_millis()).expect("a short window") / 100 * percent;
    // A tick is 10 ms, so that a short window cannot be judged finer than this.
    assert!(used_ms <= allowed_ms.max(10) + 10, "{used_ms} ms of CPU in {window:?}, allowed {allowed_ms}");
    assert_eq!(client.line("PING").to_string(), "+PONG");
}

#[test]
fn version_and_help_are_printed() {
    if !Kind::Slotcore.is_slotcore() {
        return;
    }
    let line = Kind::Slotcore.command_line();
    for flag in ["--version", "--help"] {
        let output =
            std::process::Command::new(&line[0]).args(&line[1..]).arg(flag).output().expect("the program runs");
        assert!(output.status.success());
        assert!(said(&output).contains("slotcore"), "{}", said(&output));
    }
}
