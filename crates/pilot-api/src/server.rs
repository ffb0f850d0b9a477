//! The server: HTTP/1.1 on a Unix socket that only its owner may use.

mod answer;
pub(crate) mod body;
pub(crate) mod connection;
mod document;
mod feed;
mod line;
mod outcomes;
pub(crate) mod places;
pub(crate) mod router;
mod upgrade;

use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::daemon_api::DaemonApi;
pub use places::Load;
pub(crate) use upgrade::{ID_HEADER, INFO_HEADER, PROTOCOL};

use connection::Connection;
use places::{Places, Refusal};
use router::Shared;

/// How long requests may go on once the server is to end.
const DRAIN: Duration = Duration::from_secs(2);
/// Pause after a failed accept: the process is out of descriptors, and the next try would fail at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// `sun_path` of unix(7) less the closing zero.
const MAX_SOCKET_PATH: usize = 107;

/// Mode bits of inode(7).
const OTHERS_WRITE: u32 = 0o0002;
const STICKY: u32 = 0o1000;

/// Why the server cannot have its socket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another server answers there.
    #[error("another daemon listens on {0}")]
    InUse(PathBuf),
    /// Something that is no socket is in the way; it is left alone.
    #[error("{0} exists and is not a socket")]
    NotASocket(PathBuf),
    /// Anybody may put another socket into its place.
    #[error("others may replace files in {0}")]
    Exposed(PathBuf),
    /// A Unix socket's path has at most 107 bytes.
    #[error("socket path {0} is longer than {MAX_SOCKET_PATH} bytes")]
    TooLong(PathBuf),
    /// The system refused.
    #[error("cannot listen on {path}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A bound socket. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    socket: SocketFile,
    places: Arc<Places>,
}

#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "the socket's file was gone");
        }
    }
}

impl Server {
    /// Binds the socket with mode 0600. A file that a dead server left is replaced. Its directory must be one in which other
    /// users cannot replace it: not writable for them, or sticky (`t`), as `/tmp` is. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(socket: &Path) -> Result<Self, BindError> {
        if socket.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(BindError::TooLong(socket.to_owned()));
        }
        let io = |source| BindError::Io {
            path: socket.to_owned(),
            source,
        };
        check_directory(socket)?;
        remove_stale(socket)?;
        let listener = UnixListener::bind(socket).map_err(io)?;
        let file = SocketFile(socket.to_owned());
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
        Ok(Self {
            listener,
            socket: file,
            places: Arc::default(),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket.0
    }

    /// How busy it is, now and later.
    #[must_use]
    pub fn load(&self) -> Load {
        Load(Arc::clone(&self.places))
    }

    /// Serves until `shutdown` resolves; then requests get 2 s to end, and streams are broken off.
    pub async fn serve<D: DaemonApi>(self, api: Arc<D>, shutdown: impl Future<Output = ()> + Send) {
        let (closing, closed) = watch::channel(false);
        let shared = Arc::new(Shared::new(api, self.places, closed));
        let router = router::router(Arc::clone(&shared));
        let mut tasks = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = tasks.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => admit(&mut tasks, stream, &router, &shared),
                    Err(error) => {
                        tracing::warn!(%error, "accepting a connection failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        closing.send_replace(true);
        let drained = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::debug!("requests were cut off at the end");
        }
    }
}

/// Serves a connection of our own user or root; tells any other, and any beyond the bound, why not.
fn admit<D: DaemonApi>(
    tasks: &mut JoinSet<()>,
    stream: UnixStream,
    router: &axum::Router,
    shared: &Arc<Shared<D>>,
) {
    let places = &shared.places;
    let refusal: (Refusal, fn() -> Response<Body>) = if !is_permitted(&stream) {
        (Refusal::OtherUser, answer::forbidden)
    } else if let Some(place) = places.enter() {
        let connection = Connection::new(stream, place, router.clone());
        tasks.spawn(connection.serve(shared.closed()));
        return;
    } else {
        (Refusal::Connections, answer::busy)
    };
    let (reason, answer) = refusal;
    places.count(reason);
    if let Some(refusing) = places.refuse() {
        tasks.spawn(connection::refuse(stream, answer, refusing));
    }
}

fn is_permitted(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == own || peer.uid() == 0 => true,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), "another user's connection was refused");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "a connection without credentials was refused");
            false
        }
    }
}

/// In a directory that others may write they could replace the socket, and clients would talk to them.
fn check_directory(socket: &Path) -> Result<(), BindError> {
    let directory = match socket.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let found = std::fs::metadata(directory).map_err(|source| BindError::Io {
        path: socket.to_owned(),
        source,
    })?;
    let mode = found.permissions().mode();
    if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
        return Err(BindError::Exposed(directory.to_owned()));
    }
    Ok(())
}

/// Removes what a dead server left. The caller holds the home's lock, so that no second one does the same.
fn remove_stale(socket: &Path) -> Result<(), BindError> {
    let Ok(found) = std::fs::symlink_metadata(socket) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket(socket.to_owned()));
    }
    match std::os::unix::net::UnixStream::connect(socket) {
        Ok(_) => Err(BindError::InUse(socket.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(socket).map_err(|source| BindError::Io {
                path: socket.to_owned(),
                source,
            })
        }
        Err(source) => Err(BindError::Io {
            path: socket.to_owned(),
            source,
        }),
    }
}
