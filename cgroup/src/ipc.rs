//! System V IPC: its objects outlive their makers and are charged to the group that filled them, so
//! whoever ends a group's last user must be able to remove them. The kernel's only way is three
//! system calls that no safe library offers.
#![allow(unsafe_code)]

use std::io;
use std::ptr;

use nix::libc;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A shared memory segment.
    SharedMemory,
    /// A set of semaphores.
    Semaphores,
    /// A message queue.
    Messages,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SharedMemory, Self::Semaphores, Self::Messages];

    /// The kernel's table of them.
    #[must_use]
    pub fn table(self) -> &'static str {
        match self {
            Self::SharedMemory => "/proc/sysvipc/shm",
            Self::Semaphores => "/proc/sysvipc/sem",
            Self::Messages => "/proc/sysvipc/msg",
        }
    }
}

/// Removes an object: a segment goes with the last process that has it mapped.
///
/// # Errors
/// Where the kernel refuses; [`io::ErrorKind::InvalidInput`] where there is no such object.
pub fn remove(kind: Kind, id: i32) -> io::Result<()> {
    let rc = match kind {
        // SAFETY: IPC_RMID reads and writes nothing through the pointer, and takes any number as an id.
        Kind::SharedMemory => unsafe { libc::shmctl(id, libc::IPC_RMID, ptr::null_mut()) },
        // SAFETY: IPC_RMID takes no fourth argument, and any number as an id.
        Kind::Semaphores => unsafe { libc::semctl(id, 0, libc::IPC_RMID) },
        // SAFETY: as for shared memory.
        Kind::Messages => unsafe { libc::msgctl(id, libc::IPC_RMID, ptr::null_mut()) },
    };
    if rc == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_gone_once_it_is_removed() {
        // SAFETY: no pointer is passed; the number that comes back is all there is of it.
        let id = unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) };
        if id == -1 {
            println!("TENANTRY-SKIP ipc: no semaphore can be made here: {}", io::Error::last_os_error());
            return;
        }
        remove(Kind::Semaphores, id).unwrap();
        assert!(remove(Kind::Semaphores, id).is_err());
        assert!(remove(Kind::SharedMemory, -1).is_err() && remove(Kind::Messages, -1).is_err());
    }
}
