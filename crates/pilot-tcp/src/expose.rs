//! A port of this agent that leads to a TCP port.

use std::fmt;
use std::future::Future;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use pilot_api::{ApiError, ErrorCode};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Inbound;
use crate::confirm::confirm;
use crate::relay::{Broken, relay};
use crate::tcp::prepare;
use crate::traffic::{Fault, Source, Traffic};

/// How long the target may take to answer.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// A TCP port somewhere: `HOST:PORT`, `[V6]:PORT`, or a port of this machine alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    host: String,
    port: u16,
}

impl FromStr for Target {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
        let bare = match host.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .filter(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok()),
            None => Some(host).filter(|host| is_host(host)),
        };
        let port = port.parse().ok().filter(|port| *port != 0);
        match (bare, port) {
            (Some(host), Some(port)) => Ok(Self {
                host: host.to_owned(),
                port,
            }),
            _ => Err(ApiError::invalid(format!(
                "invalid target {text:?}: expected HOST:PORT, as localhost:3000, [::1]:3000 or 3000"
            ))),
        }
    }
}

/// A name of the DNS or an IPv4 address, by its letters.
fn is_host(text: &str) -> bool {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    (1..=253).contains(&text.len()) && text.bytes().all(is_letter)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Leads every stream of the source to the target, until `until` resolves. A stream is refused where the target does not answer.
pub async fn expose<S>(
    source: S,
    target: Target,
    traffic: Arc<Traffic>,
    until: impl Future<Output = ()> + Send,
) where
    S: Source<Item: Inbound>,
{
    let target = Arc::new(target);
    let handle = |stream| {
        let (target, traffic) = (Arc::clone(&target), Arc::clone(&traffic));
        async move { lead(stream, &target, &traffic).await }
    };
    traffic.run(source, handle, until).await;
}

async fn lead<S: Inbound>(mut stream: S, target: &Target, traffic: &Traffic) {
    let from = stream.opener();
    let fault = |error| Fault {
        from: from.clone(),
        target: target.to_string(),
        error,
    };
    let connecting = TcpStream::connect((target.host.as_str(), target.port));
    let connected = timeout(CONNECT_PATIENCE, connecting)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let tcp = match connected {
        Ok(tcp) => tcp,
        Err(error) => {
            stream.refuse();
            traffic.fault(fault(no_answer(target, &error)));
            return;
        }
    };
    prepare(&tcp);
    if stream.wants_confirmation() && confirm(&mut stream).await.is_err() {
        // Its opener is gone.
        return;
    }
    match relay(tcp, stream).await {
        Ok(()) => {}
        Err(Broken::Stream(error)) => traffic.fault(fault(error)),
        Err(Broken::Tcp(error)) => tracing::debug!(%target, %error, "the target broke off"),
    }
}

fn no_answer(target: &Target, error: &io::Error) -> ApiError {
    let words = format!("cannot connect to {target}: {error}");
    let code = if error.kind() == io::ErrorKind::TimedOut {
        ErrorCode::Timeout
    } else {
        ErrorCode::ConnectionFailed
    };
    ApiError::new(code, words).with_hint("start the program that listens there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_strictly_and_printed_back() {
        for text in [
            "localhost:3000",
            "127.0.0.1:80",
            "[::1]:443",
            "db_1.internal:5432",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert_eq!(
            "3000".parse::<Target>().unwrap().to_string(),
            "127.0.0.1:3000"
        );
        for text in [
            "",
            ":",
            ":80",
            "localhost",
            "localhost:",
            "localhost:0",
            "localhost:65536",
            "::1:80",
            "[::1]",
            "[::1:80",
            "[localhost]:80",
            "a b:80",
            "http://a:80",
            "a/b:80",
            "a\n:80",
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument, "{text:?}");
        }
        assert!(format!("{}:80", "a".repeat(254)).parse::<Target>().is_err());
    }
}
