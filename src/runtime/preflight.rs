//! What must hold before the node listens: each failure is one line with the way to mend it.

use std::io;

use glommio::{LocalExecutorBuilder, Placement};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::ring::ClientRing;

/// The oldest kernel with multishot receive and `DEFER_TASKRUN`.
const KERNEL_FLOOR: (u32, u32) = (6, 1);
/// glommio's rings and buffers per core, in lockable memory; root needs none.
pub const EXECUTOR_MEMORY_BYTES: usize = 1 << 20;
/// Descriptors beside clients: listeners, rings, files, the bus.
const RESERVED_DESCRIPTORS: u64 = 32;

/// Tries everything that a core needs, on a thread of its own that then ends.
///
/// # Errors
/// One line: what is missing and how to mend it.
pub fn check() -> Result<(), String> {
    check_kernel()?;
    check_lockable_memory()?;
    let probe = std::thread::Builder::new().name("preflight".into()).spawn(probe_rings);
    let probe = probe.map_err(|error| format!("Can't start a thread: {error}"))?;
    probe.join().map_err(|_| "io_uring could not be set up: the probe failed. See the kernel's log.".to_owned())?
}

fn check_kernel() -> Result<(), String> {
    let system = nix::sys::utsname::uname().map_err(|error| format!("uname: {error}"))?;
    judge_kernel(&system.release().to_string_lossy())
}

/// `release` as uname tells it: `6.1.0-18-amd64`.
fn judge_kernel(release: &str) -> Result<(), String> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < KERNEL_FLOOR {
        return Err(format!(
            "Linux {release} is too old: slotcore needs {}.{} or newer (io_uring with DEFER_TASKRUN and multishot receive). Upgrade the kernel.",
            KERNEL_FLOOR.0, KERNEL_FLOOR.1
        ));
    }
    Ok(())
}

fn check_lockable_memory() -> Result<(), String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).map_err(|error| format!("getrlimit: {error}"))?;
    match judge_lockable_memory(soft, hard, nix::unistd::geteuid().is_root())? {
        Some(raised) => {
            // Where it fails after all, the rings tell.
            let _ = setrlimit(Resource::RLIMIT_MEMLOCK, raised, hard);
            Ok(())
        }
        None => Ok(()),
    }
}

/// The limits in bytes; the soft limit to raise to, if it is too low.
fn judge_lockable_memory(soft: u64, hard: u64, is_root: bool) -> Result<Option<u64>, String> {
    let needed = EXECUTOR_MEMORY_BYTES as u64;
    if soft >= needed {
        Ok(None)
    } else if hard >= needed {
        Ok(Some(hard))
    } else if is_root {
        // Root's memory is not counted.
        Ok(None)
    } else {
        Err(format!(
            "Too little lockable memory: {} KiB, {} KiB are needed per core. Raise it with 'ulimit -l', LimitMEMLOCK= of the service or --ulimit memlock of the container.",
            soft / 1024,
            needed / 1024
        ))
    }
}

fn probe_rings() -> Result<(), String> {
    // A profile may let rings be made and forbid to enter them, which nothing else here would notice.
    ClientRing::new().and_then(|mut ring| ring.enter(0)).map_err(|error| explain(&error))?;
    executor(Placement::Unbound, "preflight").make().map(drop).map_err(|error| match error {
        glommio::GlommioError::IoError(error) => explain(&error),
        other => format!("The executor could not be set up: {other}"),
    })
}

/// The settings of every core's executor. Client sockets are not its business, so its rings are small.
pub fn executor(placement: Placement, name: &str) -> LocalExecutorBuilder {
    LocalExecutorBuilder::new(placement).name(name).io_memory(EXECUTOR_MEMORY_BYTES / 2).ring_depth(64)
}

fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is forbidden here: allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile, or set kernel.io_uring_disabled=0.".to_owned()
        }
        Some(libc::ENOSYS) => "This kernel has no io_uring: use Linux 6.1 or newer built with CONFIG_IO_URING.".to_owned(),
        Some(libc::EINVAL) => "This kernel's io_uring lacks a feature (SINGLE_ISSUER, DEFER_TASKRUN or provided buffer rings): use Linux 6.1 or newer.".to_owned(),
        Some(libc::ENOMEM) => "Too little lockable memory for io_uring: raise 'ulimit -l' (LimitMEMLOCK=, --ulimit memlock).".to_owned(),
        _ => format!("io_uring could not be set up: {error}"),
    }
}

/// Raises the limit of open files to what `maxclients` needs, or lowers `maxclients` to what there is.
///
/// # Errors
/// When not even one client would fit.
pub fn fit_open_files(maxclients: u32) -> Result<u32, String> {
    let wanted = u64::from(maxclients) + RESERVED_DESCRIPTORS;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| format!("getrlimit: {error}"))?;
    if soft >= wanted {
        return Ok(maxclients);
    }
    for limit in [(wanted, hard.max(wanted)), (hard, hard)] {
        if setrlimit(Resource::RLIMIT_NOFILE, limit.0, limit.1).is_ok() {
            break;
        }
    }
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| format!("getrlimit: {error}"))?;
    if soft >= wanted {
        return Ok(maxclients);
    }
    if soft <= RESERVED_DESCRIPTORS {
        return Err(format!(
            "Your current 'ulimit -n' of {soft} is not enough for the server to start. Please increase your open file limit to at least {wanted}. Exiting."
        ));
    }
    let fitting = (soft - RESERVED_DESCRIPTORS) as u32;
    tracing::warn!(
        "maxclients has been reduced to {fitting}: the limit of open files is {soft}. Raise 'ulimit -n' to {wanted} for {maxclients} clients."
    );
    Ok(fitting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_from_6_1_on_will_do() {
        for release in ["6.1", "6.1.0-18-amd64", "6.10.3", "6.18.44-fc", "7.0.0", "10.2"] {
            assert_eq!(judge_kernel(release), Ok(()), "{release}");
        }
        for release in ["6.0.19", "5.15.0-91-generic", "2.6.78", "4.19", "6", "", "x"] {
            let line = judge_kernel(release).unwrap_err();
            assert!(line.starts_with(&format!("Linux {release} is too old: slotcore needs 6.1 ")), "{line}");
        }
    }

    #[test]
    fn lockable_memory_is_enough_or_raised_or_roots() {
        let needed = EXECUTOR_MEMORY_BYTES as u64;
        assert_eq!(judge_lockable_memory(needed, needed, false), Ok(None));
        assert_eq!(judge_lockable_memory(u64::MAX, u64::MAX, false), Ok(None));
        assert_eq!(judge_lockable_memory(65536, needed, false), Ok(Some(needed)));
        assert_eq!(judge_lockable_memory(65536, 65536, true), Ok(None));
        let line = judge_lockable_memory(65536, 65536, false).unwrap_err();
        assert!(line.starts_with("Too little lockable memory: 64 KiB, 1024 KiB are needed per core."), "{line}");
    }

    #[test]
    fn what_the_kernel_refuses_is_one_line_with_the_way_to_mend_it() {
        for (error, mends) in [
            (libc::EPERM, "seccomp profile, or set kernel.io_uring_disabled=0"),
            (libc::EACCES, "seccomp profile"),
            (libc::ENOSYS, "CONFIG_IO_URING"),
            (libc::EINVAL, "use Linux 6.1 or newer"),
            (libc::ENOMEM, "ulimit -l"),
            (libc::EMFILE, "Too many open files"),
        ] {
            let line = explain(&io::Error::from_raw_os_error(error));
            assert!(line.contains(mends) && !line.contains('\n'), "{line}");
        }
    }
}
