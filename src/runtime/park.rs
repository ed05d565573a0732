//! Parking: how a quiet core sleeps in glommio and is woken by its client ring.
//!
//! With `DEFER_TASKRUN` the client ring's own descriptor never polls readable from outside (the completion is only
//! made inside our enter), so an eventfd is registered with the ring: the kernel signals it when work is
//! waiting. glommio has no public "wait until this descriptor is readable"; what it has is a `TcpStream`, whose
//! read first polls the descriptor and then fails with ENOTSOCK on an eventfd. That failure is our wake-up; the
//! eventfd is drained by hand. Nothing outside this file knows of the trick.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use futures_lite::AsyncReadExt;
use glommio::net::TcpStream;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// The eventfd that a parked core waits for.
pub struct Parking {
    eventfd: EventFd,
}

impl Parking {
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new() -> io::Result<Parking> {
        Ok(Parking { eventfd: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)? })
    }

    /// The descriptor to register with the client ring.
    pub fn descriptor(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }

    /// Sleeps in glommio until the eventfd is readable, then drains it. Timers and files of this core go on meanwhile.
    pub async fn park(&self) {
        let Ok(copy) = nix::unistd::dup(&self.eventfd) else { return };
        let copy: OwnedFd = copy;
        // SAFETY: `copy` is ours alone and the stream closes it.
        let mut stream = unsafe { TcpStream::from_raw_fd(copy.into_raw_fd()) };
        let mut byte = [0u8; 8];
        let _ = stream.read(&mut byte).await;
        let _ = self.eventfd.read();
    }
}
