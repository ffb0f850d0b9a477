//! Where an app's grants let it connect.

use std::net::IpAddr;

use super::addresses::{is_own, is_public};
use super::error::ConnectError;
use super::network::Network;
use crate::grant::Grant;
use crate::net_grant::{Host, NetGrant, OverlayGrant};
use crate::sandbox::Protection;
use crate::store::Installed;

/// What an app was granted of the network.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    app: String,
    hosts: Vec<NetGrant>,
    agents: Vec<OverlayGrant>,
    /// Whether its owner may grant other hosts than it asks for.
    is_wide: bool,
    /// Tests alone leave these off.
    looks_at_grants: bool,
    looks_at_addresses: bool,
}

impl Reach {
    pub(super) fn new(app: &Installed, network: &Network) -> Self {
        let mut hosts = vec![];
        let mut agents = vec![];
        for grant in &app.agreed.grants {
            match grant {
                Grant::Net(net) => hosts.push(net.clone()),
                Grant::Overlay(overlay) => agents.push(overlay.clone()),
                Grant::Read(_)
                | Grant::Folders
                | Grant::Write(_)
                | Grant::Data
                | Grant::Libs
                | Grant::Python
                | Grant::Env(_) => {}
            }
        }
        Self {
            app: app.bundle.manifest().id.short().to_owned(),
            hosts,
            agents,
            is_wide: app.bundle.manifest().asked().iter().any(Grant::is_wide),
            looks_at_grants: network.has(Protection::Grants),
            looks_at_addresses: network.has(Protection::Addresses),
        }
    }

    /// Whether the app may ask for this host at all, before anything is looked up for it.
    pub(super) fn check_host(&self, host: &Host, port: u16) -> Result<(), ConnectError> {
        let is_granted = match host {
            Host::Name(name) => self.hosts.iter().any(|net| net.covers_name(name, port)),
            Host::Address(address) => {
                self.names_address(*address, port)
                    || is_outside(*address) && self.hosts.iter().any(|net| net.is_for_all(port))
            }
        };
        self.decide(is_granted, || {
            let (app, grant) = (self.app.clone(), format!("net:{host}:{port}"));
            if self.is_wide {
                ConnectError::NotChosen { app, grant }
            } else {
                ConnectError::NotGranted { app, grant }
            }
        })
    }

    pub(super) fn check_peer(&self, peer: &str, port: u16) -> Result<(), ConnectError> {
        let is_granted = self.agents.iter().any(|agents| agents.covers(peer, port));
        self.decide(is_granted, || ConnectError::NotGranted {
            app: self.app.clone(),
            grant: format!("overlay:{peer}:{port}"),
        })
    }

    /// Whether a connection may go to this address, to which a name that was granted leads.
    pub(super) fn may_lead_to(&self, address: IpAddr, port: u16) -> bool {
        !self.looks_at_addresses || is_outside(address) || self.names_address(address, port)
    }

    fn names_address(&self, address: IpAddr, port: u16) -> bool {
        self.hosts
            .iter()
            .any(|net| net.names_address(address, port))
    }

    fn decide(
        &self,
        is_granted: bool,
        refusal: impl FnOnce() -> ConnectError,
    ) -> Result<(), ConnectError> {
        if is_granted || !self.looks_at_grants {
            Ok(())
        } else {
            Err(refusal())
        }
    }
}

/// Neither this machine nor its network.
fn is_outside(address: IpAddr) -> bool {
    is_public(address) && !is_own(address)
}
