//! Connections, which the daemon makes: an app has no sockets of its own (`docs/apps.md`, "Connections").

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, Shutdown};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;

/// Longest answer of the broker: an error's words.
const MAX_ANSWER: usize = 4096;

thread_local! {
    /// The channel to the broker: an app is one thread.
    static BROKER: RefCell<Option<OwnedFd>> = const { RefCell::new(None) };
}

/// A connection that the daemon made, to read from and to write to. It ends when the daemon says so.
#[derive(Debug)]
pub struct Connection {
    socket: File,
    deadline: Option<Instant>,
}

#[derive(Deserialize)]
struct Answer {
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    kind: String,
    message: String,
}

/// Connects to a host and a TCP port that the app was granted.
///
/// # Errors
/// In the daemon's words: [`io::ErrorKind::PermissionDenied`] if it was not granted, [`io::ErrorKind::NotFound`] if nobody knows the name,
/// [`io::ErrorKind::TimedOut`], [`io::ErrorKind::QuotaExceeded`] with too many connections at a time, and
/// [`io::ErrorKind::ConnectionRefused`] for the rest; [`io::ErrorKind::Unsupported`] if there is no broker.
pub fn connect(host: &str, port: u16) -> io::Result<Connection> {
    ask(&json!({ "host": host, "port": port }))
}

/// Opens a stream to an agent and a port of the overlay that the app was granted.
///
/// # Errors
/// As [`connect`].
pub fn connect_peer(peer: &str, port: u16) -> io::Result<Connection> {
    ask(&json!({ "peer": peer, "port": port }))
}

impl App {
    /// As [`App::serve`], for an app that may have been granted connections: takes the channel to the broker first, if there is one.
    ///
    /// # Errors
    /// As [`App::serve`].
    pub fn serve_connected(self) -> io::Result<()> {
        let socket = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let mut peeked = [0];
        let looked = rustix::net::recv(&socket, &mut peeked, RecvFlags::PEEK);
        if looked.is_err_and(|error| error == Errno::PERM) {
            // Without a grant for connections the sandbox refuses this call, and ends an app that goes on to `recvmsg`.
            return self.serve();
        }
        let (first, broker) = receive(&socket, 1)?;
        BROKER.set(broker);
        let answers = socket.try_clone()?;
        // The line that came with the channel is empty; anything else is the begin of a request.
        let rest = io::Cursor::new(if first == b"\n" { vec![] } else { first });
        self.serve_on(BufReader::new(rest.chain(socket)), answers)
    }
}

fn ask(request: &Value) -> io::Result<Connection> {
    BROKER.with_borrow(|broker| {
        let Some(broker) = broker else {
            let words = "no broker: the app has no grant for connections, or does not serve by serve_connected";
            return Err(io::Error::new(io::ErrorKind::Unsupported, words));
        };
        rustix::io::write(broker, request.to_string().as_bytes())?;
        let (answer, connection) = receive(broker, MAX_ANSWER)?;
        let answer: Answer = serde_json::from_slice(&answer)?;
        match (answer.error, connection) {
            (None, Some(connection)) => Connection::new(connection),
            (Some(refusal), _) => Err(io::Error::new(kind(&refusal.kind), refusal.message)),
            (None, None) => Err(io::Error::other("the app has too many files open")),
        }
    })
}

fn kind(name: &str) -> io::ErrorKind {
    match name {
        "not_granted" | "inside" => io::ErrorKind::PermissionDenied,
        "not_found" => io::ErrorKind::NotFound,
        "timeout" => io::ErrorKind::TimedOut,
        "too_many" => io::ErrorKind::QuotaExceeded,
        "invalid" => io::ErrorKind::InvalidInput,
        _ => io::ErrorKind::ConnectionRefused,
    }
}

/// Bytes, and the descriptor that came with them.
fn receive(socket: impl AsFd, most: usize) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; most];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(socket, &mut parts, &mut ancillary, flags)?;
    let mut descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        RecvAncillaryMessage::ScmCredentials(_) | _ => None,
    });
    let descriptor = descriptors.next().and_then(|mut some| some.next());
    bytes.truncate(received.bytes);
    Ok((bytes, descriptor))
}

impl Connection {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::fs::fcntl_setfl(&socket, OFlags::RDWR | OFlags::NONBLOCK)?;
        let socket = File::from(socket);
        let deadline = None;
        Ok(Self { socket, deadline })
    }

    /// Until when reading and writing wait; afterwards they fail with [`io::ErrorKind::TimedOut`]. Without a deadline they wait until the
    /// call's own time is over.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Says that nothing more is written.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.socket, Shutdown::Write)?)
    }

    /// Until it is ready for `what`.
    fn wait(&self, what: PollFlags) -> io::Result<()> {
        let left = self
            .deadline
            .map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.map(timespec).transpose()?;
        let mut looked = [PollFd::new(&self.socket, what)];
        match rustix::event::poll(&mut looked, left.as_ref()) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::TimedOut, "the time is over")),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn timespec(left: Duration) -> io::Result<Timespec> {
    Timespec::try_from(left).map_err(io::Error::other)
}

/// Again and again until it is done or the time is over.
fn retried<T>(
    connection: &Connection,
    what: PollFlags,
    mut work: impl FnMut(&File) -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match work(&connection.socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => connection.wait(what)?,
            other => return other,
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        retried(self, PollFlags::IN, |mut socket| socket.read(buffer))
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        retried(self, PollFlags::OUT, |mut socket| socket.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn reading_ends_with_the_time_and_with_the_other_side() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut connection = Connection::new(near.into()).unwrap();
        far.write_all(b"ab").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(connection.read(&mut buffer).unwrap(), 2);
        connection.set_deadline(Some(Instant::now()));
        let late = connection.read(&mut buffer).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        connection.set_deadline(None);
        connection.write_all(b"cd").unwrap();
        connection.finish().unwrap();
        let mut heard = String::new();
        far.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "cd");
        drop(far);
        assert_eq!(connection.read(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn without_a_broker_the_error_says_so() {
        let error = connect("example.org", 443).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }
}
