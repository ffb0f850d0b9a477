//! A port of the router in front of us, kept open for as long as the node runs (`docs/nat.md` §7).
//!
//! ```text
//!  driver ──network changed──▶ Keeper ──map, renew, unmap──▶ Router (PCP, NAT-PMP, UPnP)
//!                                │ status
//!                                ▼
//!                     node: a candidate, or none
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::{Arc, Weak};
use std::time::Duration;

use pilot_node::Refusal;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock;
use crate::state::Shared;

mod gateway;
mod keeper;
mod router;

use keeper::Keeper;
use router::LanRouter;

/// How long a shutdown waits for the router to take the port back.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// By what a router was asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MappingProtocol {
    /// Port Control Protocol, RFC 6887.
    Pcp,
    /// NAT Port Mapping Protocol, RFC 6886.
    NatPmp,
    /// UPnP Internet Gateway Device.
    Upnp,
}

impl MappingProtocol {
    /// In the order in which they are tried: the newest first, the one with the most packets last.
    pub const ALL: [Self; 3] = [Self::Pcp, Self::NatPmp, Self::Upnp];

    /// Its name in metrics and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcp => "pcp",
            Self::NatPmp => "nat_pmp",
            Self::Upnp => "upnp",
        }
    }
}

/// A port that a router granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortMapping {
    /// By what.
    pub protocol: MappingProtocol,
    /// The router.
    pub gateway: Ipv4Addr,
    /// Where the router says that it takes packets for us.
    pub outer: SocketAddr,
}

/// How far the search for a port mapping is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MappingState {
    /// It is switched off.
    #[default]
    Off,
    /// No router could help: every rendezvous is on this machine, or the socket is on loopback or IPv6.
    NotNeeded,
    /// Routers are being asked.
    Searching,
    /// No router in a private network of ours leads out.
    NoGateway,
    /// The router granted nothing, by none of the protocols. It is asked again later.
    Refused(Ipv4Addr),
    /// The router itself has an address that is of no use outside: it is behind a NAT.
    BehindNat(PortMapping),
    /// The port is open.
    Mapped(PortMapping),
    /// The port is open until its lifetime is over: the router does not answer any more.
    Expiring(PortMapping),
}

impl MappingState {
    /// The port, while it is open.
    #[must_use]
    pub const fn mapping(&self) -> Option<PortMapping> {
        match self {
            Self::Mapped(mapping) | Self::Expiring(mapping) => Some(*mapping),
            Self::Off
            | Self::NotNeeded
            | Self::Searching
            | Self::NoGateway
            | Self::Refused(_)
            | Self::BehindNat(_) => None,
        }
    }
}

/// The search for a port mapping, and what did not work since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortMappingStatus {
    /// How far it is.
    pub state: MappingState,
    /// Requests that a router did not grant, in the order of [`MappingProtocol::ALL`].
    pub failures: [u64; 3],
}

/// The keeper's task. Without [`PortMapper::stop`] the port stays open until its lifetime is over.
pub(crate) struct PortMapper {
    /// One change that waits is enough: the keeper looks at the network as it is then.
    changes: mpsc::Sender<()>,
    task: JoinHandle<()>,
}

impl PortMapper {
    /// Begins to ask routers for a port to the node's socket; `None`, with the state that says why, where none is wanted or
    /// none could help.
    pub(crate) fn start(shared: &Arc<Shared>, want: Want) -> Option<Self> {
        let locals = shared.sockets.locals();
        let by_ipv4 = locals.iter().find(|local| local.is_ipv4());
        let local = *by_ipv4.unwrap_or(&locals[0]);
        let (ip, port) = match (local.ip(), NonZeroU16::new(local.port()), want) {
            (IpAddr::V4(ip), Some(port), Want::Yes) if !ip.is_loopback() => (ip, port),
            (_, _, Want::No) => return None,
            (_, _, Want::Yes | Want::NotNeeded) => {
                shared.lock().port_mapping.state = MappingState::NotNeeded;
                return None;
            }
        };
        let (changes, receiver) = mpsc::channel(1);
        let node = Arc::downgrade(shared);
        let tell = move |status: &PortMappingStatus| tell(&node, *status);
        let keeper = Keeper::new(LanRouter::new(ip, port), receiver, tell);
        Some(Self {
            changes,
            task: tokio::spawn(keeper.run()),
        })
    }

    /// The machine may be on another network.
    pub(crate) fn network_changed(&self) {
        // A full channel holds a change that was not looked at yet.
        let _ = self.changes.try_send(());
    }

    /// Gives the port back, if the router answers soon.
    pub(crate) async fn stop(self) {
        drop(self.changes);
        if tokio::time::timeout(STOP_LIMIT, self.task).await.is_err() {
            tracing::debug!("the router did not take the port back in time");
        }
    }
}

/// Whether a port mapping is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Want {
    Yes,
    No,
    NotNeeded,
}

fn tell(shared: &Weak<Shared>, status: PortMappingStatus) -> Result<(), Refusal> {
    let Some(shared) = shared.upgrade() else {
        return Ok(());
    };
    shared.with(|state| {
        let outer = status.state.mapping().map(|mapping| mapping.outer);
        let told = state.node.set_port_mapping(clock::now(), outer);
        if told.is_ok() {
            state.port_mapping = status;
        }
        told
    })
}
