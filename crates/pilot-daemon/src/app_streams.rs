//! The overlay as apps reach it: streams that they were granted, opened in this agent's name.

use pilot::Node;
use pilot_api::PeerRef;
use pilot_appstore::{Dialling, Duplex, Overlay};
use pilot_tcp::Dial;
use pilot_types::Port;

use crate::tcp_streams;

/// Opens streams for apps.
pub(crate) struct AppStreams(tcp_streams::Overlay);

impl AppStreams {
    pub(crate) const fn new(node: Node) -> Self {
        Self(tcp_streams::Overlay(node))
    }

    async fn open(&self, peer: &str, port: u16) -> Result<Box<dyn Duplex>, String> {
        let peer: PeerRef = peer.parse().map_err(|error| format!("{error}"))?;
        if matches!(peer, PeerRef::Ticket(_)) {
            return Err("a ticket makes trust, which is not an app's to make".to_owned());
        }
        let stream = self.0.dial(&peer, Port::new(port)).await;
        let stream = stream.map_err(|error| error.message)?;
        Ok(Box::new(stream))
    }
}

impl Overlay for AppStreams {
    fn dial(&self, peer: String, port: u16) -> Dialling<'_> {
        Box::pin(async move { self.open(&peer, port).await })
    }
}
