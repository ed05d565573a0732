//! Parking: how a quiet core sleeps in glommio and is woken by its client ring.
//!
//! With `DEFER_TASKRUN` the client ring's own descriptor never polls readable from outside (the completion is only
//! made inside our enter), so an eventfd is registered with the ring: the kernel signals it when work is
//! waiting. glommio has no public "wait until this descriptor is readable"; what it has is a `TcpStream`, whose
//! read first polls the descriptor and then fails with ENOTSOCK on an eventfd. That failure is our wake-up; the
//! eventfd is drained by hand. Nothing outside this file knows of the trick.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use futures_lite::AsyncReadExt;
use glommio::net::TcpStream;
use nix::sys::eventfd::EventFd;

/// Longest sleep, whatever happens.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// The eventfd that a parked core waits for.
pub struct Parking {
    eventfd: EventFd,
}

impl Parking {
    /// # Errors
    /// When the process is out of descriptors.
    pub fn on(eventfd: RawFd) -> io::Result<Parking> {
        // SAFETY: the mesh that owns the descriptor outlives this call, and the copy is ours.
        let copy = nix::unistd::dup(unsafe { BorrowedFd::borrow_raw(eventfd) })?;
        // SAFETY: `copy` is a descriptor of an eventfd that nobody else owns.
        Ok(Parking { eventfd: unsafe { EventFd::from_owned_fd(copy) } })
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
        let signalled = async {
            let _ = stream.read(&mut byte).await;
        };
        // A signal that the kernel loses costs at most this long; the tick comes sooner in ordinary times.
        let overslept = async {
            glommio::timer::Timer::new(SLEEP_MAX).await;
        };
        futures_lite::future::or(signalled, overslept).await;
        let _ = self.eventfd.read();
    }
}
