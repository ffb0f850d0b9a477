//! Options of the commands for TCP programs.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use pilot_api::PeerRef;
use pilot_types::Port;

/// `forward`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: pilotctl forward 8080 bob:80, then curl http://127.0.0.1:8080/\n\
    The agent's owner lets you reach its port 80 with: pilotctl approve YOU --ports 7,80,1000-1002"
)]
pub(crate) struct ForwardArgs {
    /// The port of this machine, 0 for any that is free; ADDR:PORT for another address than 127.0.0.1
    #[arg(value_name = "LOCAL_PORT")]
    pub(crate) local: Local,
    /// The agent and its port
    #[arg(value_name = "PEER:PORT")]
    pub(crate) remote: Remote,
}

/// `expose`.
#[derive(Args, Debug)]
#[command(after_help = "Example: pilotctl expose localhost:3000 --port 80\n\
    Agents reach it whose grant has the port: pilotctl approve PEER --ports 7,80,1000-1002")]
pub(crate) struct ExposeArgs {
    /// The TCP port that it leads to
    #[arg(value_name = "HOST:PORT")]
    pub(crate) target: String,
    /// The port of this agent
    #[arg(long, value_name = "N")]
    pub(crate) port: Port,
}

/// `serve`.
#[derive(Args, Debug)]
#[command(after_help = "Example: pilotctl serve ./public --port 80\n\
    Agents reach it whose grant has the port: pilotctl approve PEER --ports 7,80,1000-1002")]
pub(crate) struct ServeArgs {
    /// The directory; names that begin with a dot are left out
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// The port of this agent
    #[arg(long, value_name = "N")]
    pub(crate) port: Port,
}

/// `proxy`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: pilotctl proxy, then curl --socks5-hostname 127.0.0.1:1080 http://bob.pilot/\n\
    or: http_proxy=http://127.0.0.1:1080 curl http://bob.pilot:8080/"
)]
pub(crate) struct ProxyArgs {
    /// Where: a port of 127.0.0.1, 0 for any that is free, or ADDR:PORT
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1080")]
    pub(crate) listen: Local,
}

/// A TCP address of this machine; loopback where only the port is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Local(pub(crate) SocketAddr);

impl FromStr for Local {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_port = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let addr = if is_port {
            let port = text.parse().ok();
            port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        } else {
            text.parse().ok()
        };
        addr.map(Self).ok_or_else(|| {
            "expected a port from 0 to 65535, or ADDR:PORT as 127.0.0.1:8080".to_owned()
        })
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A port of an agent.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) peer: PeerRef,
    pub(crate) port: Port,
}

impl FromStr for Remote {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (peer, port) = text
            .rsplit_once(':')
            .ok_or("expected PEER:PORT, as bob:80")?;
        Ok(Self {
            peer: peer.parse().map_err(|error| format!("{error}"))?,
            port: port.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_loopbacks() {
        for (text, addr) in [
            ("8080", "127.0.0.1:8080"),
            ("0", "127.0.0.1:0"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(text.parse::<Local>().unwrap().to_string(), addr);
        }
        for text in [
            "",
            "65536",
            "-1",
            "localhost:80",
            ":80",
            "127.0.0.1",
            "80x",
            "1.2.3.4:",
        ] {
            assert!(text.parse::<Local>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_port_stands_behind_the_last_colon() {
        for (text, peer, port) in [
            ("bob:80", "bob", 80),
            ("0:A91F.0000.7C2E:443", "0:A91F.0000.7C2E", 443),
            ("A91F.0000.7C2E:443", "0:A91F.0000.7C2E", 443),
            ("0xa91f00007c2e:1", "0xa91f00007c2e", 1),
        ] {
            let remote: Remote = text.parse().unwrap();
            assert_eq!(remote.peer, peer.parse().unwrap(), "{text}");
            assert_eq!(remote.port, Port::new(port), "{text}");
        }
        for text in [
            "bob",
            "bob:",
            ":80",
            "bob:65536",
            "0:A91F.0000.7C2E",
            "Bob:80",
            "a b:80",
        ] {
            assert!(text.parse::<Remote>().is_err(), "{text}");
        }
    }
}
