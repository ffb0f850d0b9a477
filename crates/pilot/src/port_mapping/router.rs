//! Routers as they are: PCP and NAT-PMP by `crab_nat`, UPnP by `igd-next`.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::{InternetProtocol, PortMappingOptions, PortMappingType, TimeoutConfig};
use igd_next::aio::{Gateway, tokio::Tokio};
use igd_next::{AddPortError, PortMappingProtocol, SearchOptions};

use super::MappingProtocol;
use super::gateway::{Route, routes};
use super::keeper::{Granted, MapError, Router};

/// What we ask for; RFC 6886 §3.3 recommends it.
const LIFETIME: Duration = Duration::from_secs(7200);
/// Requests by UDP after 0, 250 and 750 ms; the last is waited for until 1.75 s.
const UDP_REPEATS: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 2,
    max_retry_timeout: None,
};
/// UPnP's discovery.
const SSDP_PORT: u16 = 1900;
const SSDP_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
/// How long a router has to answer a question to itself; then all on the link are asked for it, who may take 3 s (MX).
const UNICAST_WAIT: Duration = Duration::from_secs(1);
const MULTICAST_WAIT: Duration = Duration::from_millis(3500);
/// What a router shows its owner.
const DESCRIPTION: &str = "Pilot";

/// The router of the network that our socket is in.
pub(super) struct LanRouter {
    bound: Ipv4Addr,
    port: NonZeroU16,
}

/// A port of a router.
pub(super) enum Lease {
    Udp(Box<crab_nat::PortMapping>),
    Upnp {
        device: Box<Gateway<Tokio>>,
        outer_port: u16,
    },
}

impl Lease {
    fn outer_port(&self) -> u16 {
        match self {
            Self::Udp(mapping) => mapping.external_port().get(),
            Self::Upnp { outer_port, .. } => *outer_port,
        }
    }
}

impl Router for LanRouter {
    type Lease = Lease;

    fn routes(&self) -> Vec<Route> {
        routes(self.bound)
    }

    async fn map(
        &self,
        protocol: MappingProtocol,
        route: Route,
        lease: Option<&Lease>,
    ) -> Result<Granted<Lease>, MapError> {
        match (protocol, lease) {
            (_, Some(Lease::Udp(mapping))) => renew(route, mapping).await,
            (MappingProtocol::Pcp, _) => self.map_pcp(route).await,
            (MappingProtocol::NatPmp, _) => self.map_nat_pmp(route).await,
            (MappingProtocol::Upnp, lease) => self.map_upnp(route, lease).await,
        }
    }

    async fn unmap(&self, lease: Lease) {
        let ended = match lease {
            Lease::Udp(mapping) => mapping.try_drop().await.map_err(|(error, _)| words(error)),
            Lease::Upnp { device, outer_port } => {
                let removed = device.remove_port(PortMappingProtocol::UDP, outer_port);
                removed.await.map_err(words)
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "the port was not given back");
        }
    }
}

impl LanRouter {
    /// For a socket that is bound there.
    pub(super) const fn new(bound: Ipv4Addr, port: NonZeroU16) -> Self {
        Self { bound, port }
    }

    fn options(&self) -> PortMappingOptions {
        PortMappingOptions {
            external_port: Some(self.port),
            lifetime_seconds: u32::try_from(LIFETIME.as_secs()).ok(),
            timeout_config: Some(UDP_REPEATS),
        }
    }

    async fn map_pcp(&self, route: Route) -> Result<Granted<Lease>, MapError> {
        let request = crab_nat::pcp::BaseMapRequest::new(
            route.gateway.into(),
            route.local.into(),
            InternetProtocol::Udp,
            self.port,
        );
        let mapped = crab_nat::pcp::port_mapping(request, None, None, self.options()).await;
        granted(route, mapped.map_err(words)?).await
    }

    async fn map_nat_pmp(&self, route: Route) -> Result<Granted<Lease>, MapError> {
        let (gateway, options) = (route.gateway.into(), self.options());
        let mapped =
            crab_nat::natpmp::port_mapping(gateway, InternetProtocol::Udp, self.port, options);
        granted(route, mapped.await.map_err(words)?).await
    }

    async fn map_upnp(
        &self,
        route: Route,
        lease: Option<&Lease>,
    ) -> Result<Granted<Lease>, MapError> {
        let device = find(route).await?;
        let ip = device.get_external_ip().await.map_err(words)?;
        let internal = SocketAddr::new(route.local.into(), self.port.get());
        let wanted = lease.map_or(self.port.get(), Lease::outer_port);
        let outer_port = add_port(&device, wanted, internal).await?;
        Ok(Granted {
            outer: SocketAddr::new(ip, outer_port),
            lifetime: LIFETIME,
            lease: Lease::Upnp {
                device: Box::new(device),
                outer_port,
            },
        })
    }
}

async fn renew(route: Route, mapping: &crab_nat::PortMapping) -> Result<Granted<Lease>, MapError> {
    let mut mapping = mapping.clone();
    mapping.renew().await.map_err(words)?;
    granted(route, mapping).await
}

/// NAT-PMP tells the router's address by a question of its own.
async fn granted(route: Route, mapping: crab_nat::PortMapping) -> Result<Granted<Lease>, MapError> {
    let ip = match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => external_ip.to_canonical(),
        PortMappingType::NatPmp => {
            let asked = crab_nat::natpmp::external_address(route.gateway.into(), Some(UDP_REPEATS));
            asked.await.map_err(words)?.into()
        }
    };
    Ok(Granted {
        outer: SocketAddr::new(ip, mapping.external_port().get()),
        lifetime: Duration::from_secs(mapping.lifetime().into()),
        lease: Lease::Udp(Box::new(mapping)),
    })
}

/// The router as a UPnP device: it is asked itself, and by a question to all on the link if it hears only those. Nobody
/// else's answer counts.
async fn find(route: Route) -> Result<Gateway<Tokio>, MapError> {
    let asked = [(route.gateway, UNICAST_WAIT), (SSDP_GROUP, MULTICAST_WAIT)];
    for (destination, wait) in asked {
        let mut options = SearchOptions::default();
        // From our own address there, which makes it the link that a question to all goes to.
        options.bind_addr = SocketAddr::new(route.local.into(), 0);
        options.broadcast_address = SocketAddr::new(destination.into(), SSDP_PORT);
        options.timeout = Some(wait);
        options.single_search_timeout = Some(wait);
        let found = igd_next::aio::tokio::search_gateway(options).await;
        if let Ok(device) = found
            && device.addr.ip() == IpAddr::V4(route.gateway)
        {
            return Ok(device);
        }
    }
    Err(MapError("no UPnP gateway".to_owned()))
}

/// The port that we have inside if it is free, else any; without an end where the router knows no other.
async fn add_port(
    device: &Gateway<Tokio>,
    wanted: u16,
    internal: SocketAddr,
) -> Result<u16, MapError> {
    let udp = PortMappingProtocol::UDP;
    let seconds = u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX);
    let add = |lifetime| device.add_port(udp, wanted, internal, lifetime, DESCRIPTION);
    match add(seconds).await {
        Ok(()) => Ok(wanted),
        Err(AddPortError::OnlyPermanentLeasesSupported) => {
            add(0).await.map_err(words)?;
            Ok(wanted)
        }
        Err(AddPortError::PortInUse) => {
            let any = device.add_any_port(udp, internal, seconds, DESCRIPTION);
            any.await.map_err(words)
        }
        Err(error) => Err(words(error)),
    }
}

fn words(error: impl Display) -> MapError {
    MapError(error.to_string())
}
