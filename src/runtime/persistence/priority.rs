//! The priority of a thread that nobody waits for.
//!
//! The writer of a snapshot's file shares the CPUs with the cores. The kernel gives threads turns of some milliseconds; one of lower
//! priority does not get the CPU before those that answer requests, but what they leave.

/// What the kernel calls niceness, added to that of the process. At 10 a thread gets a tenth of what another gets that wants the
/// same CPU, so that a file is written however busy the cores are.
const NICENESS: libc::c_int = 10;
/// The kernel knows no lower priority.
const NICENESS_MAX: libc::c_int = 19;

/// Lowers the calling thread's priority. A system that refuses leaves it as it is: nothing but speed depends on it.
pub fn lower() {
    // SAFETY: both calls take and give integers; 0 is the calling thread, whatever other threads do.
    unsafe {
        let niceness = libc::getpriority(libc::PRIO_PROCESS, 0).saturating_add(NICENESS).min(NICENESS_MAX);
        libc::setpriority(libc::PRIO_PROCESS, 0, niceness);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> libc::c_int {
        // SAFETY: as above.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[test]
    fn only_the_thread_that_asks_is_lowered() {
        let before = niceness();
        let lowered = std::thread::spawn(|| {
            lower();
            niceness()
        });
        assert_eq!(lowered.join().unwrap(), (before + NICENESS).min(NICENESS_MAX));
        assert_eq!(niceness(), before);
    }
}
