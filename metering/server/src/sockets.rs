//! The Unix sockets, who is at their other end, and how many at once.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream, unix::SocketAddr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

use crate::caller::Caller;

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody listens there.
    #[error("another server listens on {}: stop it, or give this one another path", .0.display())]
    Taken(PathBuf),
    /// There is something else.
    #[error("{} is there and is no socket: remove it, or give another path", .0.display())]
    NoSocket(PathBuf),
    /// The system refuses.
    #[error(
        "cannot listen on {}: its directory must be there and writable to this user", path.display()
    )]
    Io {
        /// The socket.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// Listens on `path` with `mode`, to `most` peers at once: the next waits until one goes, so that
/// no socket can use up the process's file descriptors. What a dead server left there is replaced.
pub fn listen(path: &Path, mode: u32, most: usize) -> Result<Limited, ListenError> {
    let io = |source| ListenError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NoSocket(path.to_owned()));
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(io)?;
            }
            Ok(_) => return Err(ListenError::Taken(path.to_owned())),
            Err(error) => return Err(io(error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
    }
    let listener = UnixListener::bind(path).map_err(io)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io)?;
    Ok(Limited { listener, free: Arc::new(Semaphore::new(most)), open: Arc::default() })
}

/// How many connections a user other than root has at once: the next is closed, so that no user can
/// take the places of all.
const MOST_OF_A_USER: usize = 8;

/// How long a connection may take in all, one request and its answer: one that is half sent is no
/// reason to keep it.
const PATIENCE: Duration = Duration::from_mins(1);

/// A listener with a bound on open connections, and on those of each user.
#[derive(Debug)]
pub struct Limited {
    listener: UnixListener,
    free: Arc<Semaphore>,
    open: Arc<Mutex<BTreeMap<u32, usize>>>,
}

/// One of a user's connections, until dropped.
#[derive(Debug)]
struct Place {
    open: Arc<Mutex<BTreeMap<u32, usize>>>,
    uid: u32,
}

impl Place {
    /// `None` where the user has his share already.
    fn take(open: &Arc<Mutex<BTreeMap<u32, usize>>>, uid: u32) -> Option<Self> {
        let mut counts = open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(uid).or_default();
        if uid != 0 && *count >= MOST_OF_A_USER {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Self { open: Arc::clone(open), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.uid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed; were it, the connection would just not be counted.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            // Whoever the kernel does not know shares one place's count, and is refused later.
            let uid = stream.peer_cred().map_or(u32::MAX, |peer| peer.uid());
            if let Some(place) = Place::take(&self.open, uid) {
                let deadline = Box::pin(sleep(PATIENCE));
                return (Connection { stream, deadline, _permit: permit, _place: place }, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    deadline: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
    _place: Place,
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if read.is_pending() && this.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

impl Connected<IncomingStream<'_, Limited>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Limited>) -> Self {
        Self::Local(stream.io().stream.peer_cred().ok().map(|peer| peer.uid()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_his_share_of_places_and_no_more() {
        let open = Arc::default();
        let mut held: Vec<_> = (0..MOST_OF_A_USER).map(|_| Place::take(&open, 2001).unwrap()).collect();
        assert!(Place::take(&open, 2001).is_none(), "one more than his share");
        assert!(Place::take(&open, 2002).is_some(), "another user has his own");
        assert!((0..MOST_OF_A_USER * 2).all(|_| Place::take(&open, 0).is_some()), "root serves all");
        held.pop();
        assert!(Place::take(&open, 2001).is_some(), "a place that is free again");
        drop(held);
        assert!(open.lock().unwrap().is_empty());
    }
}
