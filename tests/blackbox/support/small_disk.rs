//! A file system of few bytes that only one server sees: a tmpfs in a mount namespace of its own.
//!
//! Root may make the namespace; others may where the kernel lets them have user namespaces. It ends with the server, and
//! the test reaches into it through the server's entry in /proc.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What stands before a command line so that it runs with a file system of `bytes` mounted at `dir`. The program that
/// follows keeps the process id.
pub fn prefix(dir: &Path, bytes: u64) -> Vec<String> {
    let mount = format!("mount -t tmpfs -o size={bytes} slotcore-test \"$0\" && exec \"$@\"");
    let namespaces = if nix::unistd::geteuid().is_root() { "-m" } else { "-rm" };
    let words = ["unshare", namespaces, "--", "sh", "-c", &mount, &dir.display().to_string()];
    words.map(str::to_owned).to_vec()
}

/// The folder `dir` as the process sees it.
pub fn seen_by(pid: u32, dir: &Path) -> PathBuf {
    let inside = dir.strip_prefix("/").expect("an absolute path");
    Path::new("/proc").join(pid.to_string()).join("root").join(inside)
}

/// False where this machine does not let us mount. The reason then goes to the terminal past the capture of the test's
/// output: a test that is left out says so.
pub fn can_be_mounted(test: &str) -> bool {
    static REFUSAL: OnceLock<Option<String>> = OnceLock::new();
    let refusal = REFUSAL.get_or_init(|| {
        let line = prefix(&std::env::temp_dir(), 1 << 20);
        match Command::new(&line[0]).args(&line[1..]).arg("true").output() {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Some(format!("{}: {error}", line[0])),
        }
    });
    if let Some(reason) = refusal {
        let line = format!("SKIPPED {test}: no file system can be mounted here: {reason}\n");
        std::io::stderr().write_all(line.as_bytes()).expect("stderr");
    }
    refusal.is_none()
}
