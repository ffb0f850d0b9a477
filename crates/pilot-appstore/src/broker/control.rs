//! The channel between an app and its broker: requests and answers are packets, JSON in each, and a connection comes with its answer
//! (`docs/apps.md`, "Connections").

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType,
};
use serde::Deserialize;
use serde_json::json;
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::dial::Target;
use super::error::ConnectError;
use crate::net_grant::Host;

/// Longest request: a name has 253 bytes.
const MAX_REQUEST: usize = 1024;

/// What an app asks for. Fields that are not known are left aside.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub(super) struct Request {
    host: Option<String>,
    peer: Option<String>,
    port: u16,
}

impl Request {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ConnectError> {
        if bytes.len() > MAX_REQUEST {
            let words = format!("it is longer than {MAX_REQUEST} bytes");
            return Err(ConnectError::Malformed(words));
        }
        serde_json::from_slice(bytes).map_err(|error| ConnectError::Malformed(error.to_string()))
    }

    pub(super) fn target(&self) -> Result<Target, ConnectError> {
        let port = self.port;
        match (&self.host, &self.peer) {
            (_, _) if port == 0 => Err(ConnectError::Malformed("port 0".to_owned())),
            (Some(text), None) => {
                let host = Host::parse(text);
                let host = host.ok_or_else(|| ConnectError::Host(shortened(text)))?;
                Ok(Target::Tcp { host, port })
            }
            (None, Some(peer)) => Ok(Target::Agent {
                peer: peer.clone(),
                port,
            }),
            (Some(_), Some(_)) | (None, None) => Err(ConnectError::Malformed(
                "expected either host or peer".to_owned(),
            )),
        }
    }
}

/// For the audit log: whatever an app says, it steers no terminal and fills no line.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match (&self.host, &self.peer) {
            (Some(host), _) => ("net", host),
            (None, Some(peer)) => ("overlay", peer),
            (None, None) => return f.write_str("?"),
        };
        write!(f, "{kind}:{}:{}", shortened(name), self.port)
    }
}

fn shortened(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control());
    plain.take(253).collect()
}

/// Gives an app its end of a new channel, before it is started: with an empty line on the socket of its calls, which who knows nothing of
/// it skips. Gives the daemon's end.
pub(crate) fn hand_over(calls: &StdUnixStream) -> io::Result<OwnedFd> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    send(calls, b"\n", Some(&theirs))?;
    Ok(ours)
}

/// The daemon's end. A stream only by its type, which has what is needed of a socket of packets too.
pub(super) struct Control(UnixStream);

impl Control {
    pub(super) fn new(channel: OwnedFd) -> io::Result<Self> {
        let channel = StdUnixStream::from(channel);
        channel.set_nonblocking(true)?;
        Ok(Self(UnixStream::from_std(channel)?))
    }

    /// The next request; none when the app has closed its end. Cancel safe.
    pub(super) async fn receive(&self) -> io::Result<Option<Vec<u8>>> {
        // One byte more than may be, so that what is longer is seen to be.
        let mut buffer = [0; MAX_REQUEST + 1];
        let received = self.0.async_io(Interest::READABLE, || {
            let (_, length) = rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::empty())?;
            Ok(length)
        });
        let length = received.await?;
        Ok((length > 0).then(|| buffer[..length].to_vec()))
    }

    pub(super) async fn give(&self, connection: OwnedFd) -> io::Result<()> {
        self.say(b"{}", Some(connection)).await
    }

    pub(super) async fn refuse(&self, error: &ConnectError) -> io::Result<()> {
        let answer = json!({ "error": { "kind": error.name(), "message": error.to_string() } });
        self.say(answer.to_string().as_bytes(), None).await
    }

    async fn say(&self, bytes: &[u8], with: Option<OwnedFd>) -> io::Result<()> {
        let sent = self
            .0
            .async_io(Interest::WRITABLE, || send(&self.0, bytes, with.as_ref()));
        sent.await
    }
}

fn send(socket: impl AsFd, bytes: &[u8], with: Option<&OwnedFd>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = with.map(AsFd::as_fd);
    let rights = SendAncillaryMessage::ScmRights(descriptors.as_slice());
    if with.is_some() && !ancillary.push(rights) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    let parts = [IoSlice::new(bytes)];
    rustix::net::sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_for_a_host_or_a_peer() {
        let target = |text: &str| Request::parse(text.as_bytes())?.target();
        assert!(matches!(
            target(r#"{"host":"a.example","port":80,"later":1}"#),
            Ok(Target::Tcp { port: 80, .. })
        ));
        assert!(matches!(
            target(r#"{"peer":"worker","port":7}"#),
            Ok(Target::Agent { port: 7, .. })
        ));
        let long = format!(r#"{{"host":"{}","port":80}}"#, "a".repeat(MAX_REQUEST));
        for text in [
            "",
            "hello",
            "[]",
            r#"{"port":80}"#,
            r#"{"host":"a","peer":"b","port":80}"#,
            r#"{"host":"a b","port":80}"#,
            r#"{"host":"a","port":0}"#,
            r#"{"host":"a","port":65536}"#,
            &long,
        ] {
            assert_eq!(target(text).unwrap_err().name(), "invalid", "{text}");
        }
    }

    #[test]
    fn what_is_audited_is_one_plain_line() {
        let request = Request::parse(br#"{"host":"a\u001b[1m\nb","port":80}"#).unwrap();
        assert_eq!(request.to_string(), "net:a[1mb:80");
    }
}
