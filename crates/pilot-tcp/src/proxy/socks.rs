//! SOCKS5 (RFC 1928): no authentication, CONNECT, names of agents.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use pilot_api::ErrorCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The first byte of each message.
pub(super) const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const NO_METHOD: u8 = 0xFF;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const DOMAIN: u8 = 3;
const IPV6: u8 = 4;

/// RFC 1928 §6: what a reply says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reply {
    Succeeded = 0,
    Failed = 1,
    NotAllowed = 2,
    HostUnreachable = 4,
    Refused = 5,
    TimedOut = 6,
    CommandUnsupported = 7,
    AddressUnsupported = 8,
}

impl From<ErrorCode> for Reply {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::NotFound => Self::HostUnreachable,
            ErrorCode::NotTrusted | ErrorCode::PermissionDenied => Self::NotAllowed,
            ErrorCode::ConnectionFailed => Self::Refused,
            ErrorCode::Timeout => Self::TimedOut,
            ErrorCode::Internal
            | ErrorCode::InvalidArgument
            | ErrorCode::NotRunning
            | ErrorCode::AlreadyExists
            | ErrorCode::RateLimited => Self::Failed,
        }
    }
}

/// A client that asks for what there is not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// Its message is none of the version.
    Version(u8),
    /// It wants to authenticate.
    Methods,
    /// BIND, UDP ASSOCIATE or another command.
    Command(u8),
    /// An address of a kind that RFC 1928 does not have.
    AddressKind(u8),
    /// An IP address.
    NotOverlay(String),
    /// A name with bytes that no name has, or none.
    Name,
}

impl Refusal {
    /// The message that the client is told it with; `None` where the protocol has none.
    fn reply(&self) -> Option<Reply> {
        match self {
            Self::Version(_) | Self::Methods => None,
            Self::Command(_) => Some(Reply::CommandUnsupported),
            Self::AddressKind(_) => Some(Reply::AddressUnsupported),
            Self::NotOverlay(_) | Self::Name => Some(Reply::NotAllowed),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "a client speaks SOCKS version {version}, not 5"),
            Self::Methods => {
                f.write_str("a client wants to authenticate: there is nothing to authenticate with")
            }
            Self::Command(command) => {
                write!(f, "SOCKS command {command}: only CONNECT (1) is served")
            }
            Self::AddressKind(kind) => write!(f, "SOCKS address of the unknown kind {kind}"),
            Self::NotOverlay(ip) => write!(
                f,
                "{ip} is not an overlay address: ask for NAME.pilot, as with socks5h://"
            ),
            Self::Name => f.write_str("a SOCKS request whose host is no name"),
        }
    }
}

/// Why there is no request.
#[derive(Debug)]
pub(super) enum Error {
    Io(io::Error),
    Refused(Refusal),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Greets a client and reads where it wants to go: at most 257 + 262 bytes. Where the protocol has an answer to a refusal the
/// caller gives it by [`refuse`].
pub(super) async fn read_request<S>(stream: &mut S) -> Result<(String, u16), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let [version, methods] = read(stream).await?;
    check_version(version)?;
    let mut offered = vec![0; usize::from(methods)];
    stream.read_exact(&mut offered).await?;
    if !offered.contains(&NO_AUTHENTICATION) {
        stream.write_all(&[VERSION, NO_METHOD]).await?;
        return Err(Refusal::Methods.into());
    }
    stream.write_all(&[VERSION, NO_AUTHENTICATION]).await?;
    let [version, command, _, kind] = read(stream).await?;
    check_version(version)?;
    // The whole request is read before it is refused: a reply to half of one may be lost with the connection.
    let host = read_host(stream, kind).await?;
    let port = u16::from_be_bytes(read(stream).await?);
    if command != CONNECT {
        return Err(Refusal::Command(command).into());
    }
    Ok((host?, port))
}

fn check_version(version: u8) -> Result<(), Refusal> {
    if version == VERSION {
        Ok(())
    } else {
        Err(Refusal::Version(version))
    }
}

async fn read<const N: usize>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn read_host(
    stream: &mut (impl AsyncRead + Unpin),
    kind: u8,
) -> Result<Result<String, Refusal>, Error> {
    match kind {
        IPV4 => {
            let ip = Ipv4Addr::from(read(stream).await?);
            Ok(Err(Refusal::NotOverlay(ip.to_string())))
        }
        IPV6 => {
            let ip = Ipv6Addr::from(read(stream).await?);
            Ok(Err(Refusal::NotOverlay(ip.to_string())))
        }
        DOMAIN => {
            let [len] = read(stream).await?;
            let mut name = vec![0; usize::from(len)];
            stream.read_exact(&mut name).await?;
            let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
            let name = String::from_utf8(name).ok().filter(|_| is_name);
            Ok(name.ok_or(Refusal::Name))
        }
        // Its length is unknown, so that nothing behind it can be read.
        kind => Err(Refusal::AddressKind(kind).into()),
    }
}

/// Tells a client that its bytes pass from now on.
pub(super) async fn accept(stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    stream.write_all(&message(Reply::Succeeded)).await
}

/// Tells a client that it is refused, where it can be told.
pub(super) async fn refuse(stream: impl AsyncWrite + Unpin, refusal: &Refusal) {
    if let Some(reply) = refusal.reply() {
        answer(stream, reply).await;
    }
}

/// The last word to a client.
pub(super) async fn answer(mut stream: impl AsyncWrite + Unpin, reply: Reply) {
    // A client that left needs no answer.
    if stream.write_all(&message(reply)).await.is_ok() {
        drop(stream.shutdown().await);
    }
}

/// The bound address means nothing in the overlay: all zero.
const fn message(reply: Reply) -> [u8; 10] {
    [VERSION, reply as u8, 0, IPV4, 0, 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GREETING: &[u8] = &[5, 1, 0];

    /// What a client is answered during the handshake, and what it asked for.
    fn talk(said: &[u8]) -> (Vec<u8>, Result<(String, u16), Error>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut answers = vec![];
            let asked = read_request(&mut tokio::io::join(said, &mut answers)).await;
            (answers, asked)
        })
    }

    fn request(command: u8, kind: u8, host: &[u8]) -> Vec<u8> {
        [GREETING, &[5, command, 0, kind], host, &[0x1F, 0x90]].concat()
    }

    fn refusal(said: &[u8]) -> Refusal {
        match talk(said).1 {
            Err(Error::Refused(refusal)) => refusal,
            other => panic!("{said:?}: {other:?}"),
        }
    }

    #[test]
    fn a_name_and_a_port_are_read() {
        let said = request(1, 3, b"\x09bob.pilot");
        let (answers, asked) = talk(&said);
        assert_eq!(asked.unwrap(), ("bob.pilot".to_owned(), 8080));
        assert_eq!(answers, [5, 0]);
    }

    #[test]
    fn one_of_several_methods_is_taken() {
        let said = [&[5, 3, 2, 1, 0][..], &request(1, 3, b"\x03a.b")[3..]].concat();
        assert_eq!(talk(&said).1.unwrap().0, "a.b");
    }

    #[test]
    fn addresses_of_the_internet_are_refused_in_words() {
        let v4 = refusal(&request(1, 1, &[93, 184, 216, 34]));
        assert!(
            v4.to_string()
                .starts_with("93.184.216.34 is not an overlay address")
        );
        assert_eq!(v4.reply(), Some(Reply::NotAllowed));
        let mut loopback = [0; 16];
        loopback[15] = 1;
        let v6 = refusal(&request(1, 4, &loopback));
        assert!(v6.to_string().starts_with("::1 is not an overlay address"));
    }

    #[test]
    fn what_is_not_served_is_refused_with_its_reply() {
        for (said, expected, reply) in [
            (vec![4, 1, 0], Refusal::Version(4), None),
            (vec![5, 0], Refusal::Methods, None),
            (vec![5, 2, 1, 2], Refusal::Methods, None),
            (request(2, 3, b"\x03a.b"), Refusal::Command(2), Some(7)),
            (request(3, 1, &[1, 2, 3, 4]), Refusal::Command(3), Some(7)),
            (request(1, 2, b""), Refusal::AddressKind(2), Some(8)),
            (request(1, 3, b"\x00"), Refusal::Name, Some(2)),
            (request(1, 3, b"\x02\xFF\xFE"), Refusal::Name, Some(2)),
            (request(1, 3, b"\x03a b"), Refusal::Name, Some(2)),
            (request(1, 3, b"\x03a\0b"), Refusal::Name, Some(2)),
            (
                [GREETING, &[6, 1, 0, 3]].concat(),
                Refusal::Version(6),
                None,
            ),
        ] {
            assert_eq!(refusal(&said), expected, "{said:?}");
            assert_eq!(expected.reply().map(|reply| reply as u8), reply);
        }
        assert_eq!(talk(&[5, 1, 2]).0, [5, 0xFF]);
    }

    #[test]
    fn half_a_handshake_is_an_end_and_no_request() {
        let whole = request(1, 3, b"\x09bob.pilot");
        for len in 0..whole.len() {
            let asked = talk(&whole[..len]).1;
            assert!(matches!(asked, Err(Error::Io(_))), "{len}: {asked:?}");
        }
    }

    #[test]
    fn errors_have_the_replies_of_the_rfc() {
        for (code, reply) in [
            (ErrorCode::NotFound, 4),
            (ErrorCode::NotTrusted, 2),
            (ErrorCode::PermissionDenied, 2),
            (ErrorCode::ConnectionFailed, 5),
            (ErrorCode::Timeout, 6),
            (ErrorCode::Internal, 1),
        ] {
            assert_eq!(
                message(Reply::from(code)),
                [5, reply, 0, 1, 0, 0, 0, 0, 0, 0]
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(said in proptest::collection::vec(any::<u8>(), 0..600)) {
            drop(talk(&said));
            drop(talk(&[GREETING, &said].concat()));
            let asked = talk(&[GREETING, &[5, 1, 0, 3], &said].concat()).1;
            if let Ok((host, _)) = asked {
                prop_assert!(host.len() <= 255 && host.is_ascii());
            }
        }
    }
}
