//! What must hold before the node listens: each failure is one line with the way to mend it.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::ring::{ClientRing, RING_BYTES};

/// The oldest kernel with multishot receive and `DEFER_TASKRUN`.
const KERNEL_FLOOR: (u32, u32) = (6, 1);
/// Descriptors beside clients: listeners, rings, files, the bus.
const RESERVED_DESCRIPTORS: u64 = 32;

/// Tries everything that so many cores need, on a thread of its own that then ends.
///
/// # Errors
/// One line: what is missing and how to mend it.
pub fn check(cores_count: usize) -> Result<(), String> {
    check_kernel()?;
    raise_lockable_memory(cores_count);
    let probe = std::thread::Builder::new().name("preflight".into()).spawn(move || probe_rings(cores_count));
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

/// What the rings of all cores may be counted against. Where raising it fails, the rings tell.
fn raise_lockable_memory(cores_count: usize) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK) else { return };
    let wanted = (cores_count * RING_BYTES) as u64;
    if soft < wanted {
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, wanted.min(hard), hard);
    }
}

/// `disable-thp yes`: the allocator asks for huge pages, and a core that grows then waits for the kernel to clear 2 MB at a time: 5 ms were
/// measured in a virtual machine that had to ask its host for them.
pub fn switch_huge_pages_off() {
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::warn!("Can't disable transparent huge pages: {error}");
    }
}

fn probe_rings(cores_count: usize) -> Result<(), String> {
    let explain = |error: io::Error| explain(&error, cores_count);
    // A profile may let rings be made and forbid to enter them, which nothing else here would notice.
    let mut first = ClientRing::new().map_err(explain)?;
    first.enter(0).map_err(explain)?;
    let others: io::Result<Vec<_>> = (1..cores_count).map(|_| ClientRing::bare()).collect();
    others.map(drop).map_err(explain)
}

fn explain(error: &io::Error, cores_count: usize) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is forbidden here: allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile, or set kernel.io_uring_disabled=0.".to_owned()
        }
        Some(libc::ENOSYS) => "This kernel has no io_uring: use Linux 6.1 or newer built with CONFIG_IO_URING.".to_owned(),
        Some(libc::EINVAL) => "This kernel's io_uring lacks a feature (SINGLE_ISSUER, DEFER_TASKRUN or provided buffer rings): use Linux 6.1 or newer.".to_owned(),
        Some(libc::ENOMEM) => {
            let there = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(_, hard)| hard / 1024);
            let needed = cores_count * RING_BYTES / 1024;
            format!(
                "Too little lockable memory for io_uring: {there} KiB, {needed} KiB are needed for {cores_count} core(s). Raise it with 'ulimit -l', LimitMEMLOCK= of the service or --ulimit memlock of the container."
            )
        }
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
    fn what_the_kernel_refuses_is_one_line_with_the_way_to_mend_it() {
        for (error, mends) in [
            (libc::EPERM, "seccomp profile, or set kernel.io_uring_disabled=0"),
            (libc::EACCES, "seccomp profile"),
            (libc::ENOSYS, "CONFIG_IO_URING"),
            (libc::EINVAL, "use Linux 6.1 or newer"),
            (libc::ENOMEM, "KiB, 512 KiB are needed for 2 core(s). Raise it with 'ulimit -l'"),
            (libc::EMFILE, "Too many open files"),
        ] {
            let line = explain(&io::Error::from_raw_os_error(error), 2);
            assert!(line.contains(mends) && !line.contains('\n'), "{line}");
        }
    }
}
