//! What a process may not do, set between fork and exec: how a test gives a server the machine that it must refuse.
//!
//! The only unsafe code of the tests. Each hook makes system calls alone, on memory made before the fork, as the
//! time between fork and exec demands.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the system call fail with `error` in this command and all it starts.
pub fn deny_system_call(command: &mut Command, number: libc::c_long, error: i32) {
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let compare = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let answer = (libc::BPF_RET | libc::BPF_K) as u16;
    let number = u32::try_from(number).expect("a number of a system call");
    let refused = libc::SECCOMP_RET_ERRNO | error.cast_unsigned();
    let step = |code, k, jt| libc::sock_filter { code, jt, jf: 0, k };
    let mut filter = [
        // The number stands first in what the filter is shown.
        step(load, 0, 0),
        step(compare, number, 1),
        step(answer, libc::SECCOMP_RET_ALLOW, 0),
        step(answer, refused, 0),
    ];
    let hook = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: two system calls that take numbers, and the address of a program that lives until they return.
        unsafe {
            done(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
            done(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program))
        }
    };
    // SAFETY: the hook makes system calls only and allocates nothing.
    unsafe { command.pre_exec(hook) };
}

/// Lets the kernel call itself 2.6.
pub fn pretend_old_kernel(command: &mut Command) {
    const UNAME26: libc::c_ulong = 0x0002_0000;
    // SAFETY: one system call that takes a number.
    unsafe { command.pre_exec(|| done(libc::personality(UNAME26))) };
}

/// Limits what the command may lock in memory, and takes root's exemption from that limit away: root goes on as nobody.
pub fn limit_lockable_memory(command: &mut Command, bytes: u64) {
    const NOBODY: u32 = 65534;
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: one system call that reads a limit that the hook owns.
    unsafe { command.pre_exec(move || done(libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit))) };
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
