//! Datagrams, measurements, and streams that are given up.

use pilot::{DialOptions, PathKind};
use pilot_api::types::{
    BenchRequest, Benched, Datagram, DatagramSent, Datagrams, DisconnectRequest, Disconnected,
    ReceiveDatagramsRequest, SendDatagramRequest,
};
use pilot_api::{ApiError, ErrorCode, Payload};
use pilot_apps::{BenchDirection, MAX_BENCH, run_bench};
use pilot_types::Port;

use super::{Daemon, target, view};
use crate::error;

/// Datagrams in one answer.
const MAX_DATAGRAMS: u64 = 256;

impl Daemon {
    pub(super) async fn send_one(
        &self,
        request: SendDatagramRequest,
    ) -> Result<DatagramSent, ApiError> {
        let SendDatagramRequest {
            peer, port, body, ..
        } = request;
        let data = body.as_bytes();
        let sent = self.node.send_datagram(target(&peer)?, port, data).await;
        let agent = sent.map_err(|error| error::dial(&error, &peer, port))?;
        Ok(DatagramSent {
            target: agent.address(),
            node_id: agent.node(),
            port,
            bytes: data.len() as u64,
        })
    }

    pub(super) async fn receive(
        &self,
        request: ReceiveDatagramsRequest,
    ) -> Result<Datagrams, ApiError> {
        let max = request.max.unwrap_or(1);
        if !(1..=MAX_DATAGRAMS).contains(&max) {
            let words = format!("max: expected 1 to {MAX_DATAGRAMS}, got {max}");
            return Err(ApiError::invalid(words));
        }
        let max = usize::try_from(max).unwrap_or(1);
        let datagrams = self.services.receive_datagrams(request.port, max).await?;
        let message = |(data, peer): (Vec<u8>, pilot::Peer)| Datagram {
            src_addr: peer.agent.address(),
            src_port: peer.remote_port,
            src_node_id: peer.agent.node(),
            src_hostname: peer.hostname,
            port: peer.local_port,
            bytes: data.len() as u64,
            body: Payload::new(data),
        };
        Ok(Datagrams {
            messages: datagrams.into_iter().map(message).collect(),
        })
    }

    pub(super) async fn measure(&self, request: BenchRequest) -> Result<Benched, ApiError> {
        let BenchRequest {
            peer,
            bytes,
            reverse,
            ..
        } = request;
        if !(1..=MAX_BENCH).contains(&bytes) {
            let words = format!("bytes: expected 1 to {MAX_BENCH}, got {bytes}");
            return Err(ApiError::invalid(words));
        }
        let direction = if reverse {
            BenchDirection::Reverse
        } else {
            BenchDirection::Forward
        };
        let asked = pilot_apps::BenchRequest { direction, bytes };
        let options = DialOptions {
            metadata: asked.encode(),
            ..DialOptions::default()
        };
        let failed = |error| error::dial(&error, &peer, Port::ECHO);
        let dialled = self.node.dial_peer(target(&peer)?, Port::ECHO, options);
        let stream = dialled.await.map_err(failed)?;
        let agent = stream.peer().agent;
        let report = run_bench(stream, asked).await.map_err(|error| {
            error::code_of(&error).map_or_else(
                || ApiError::new(ErrorCode::ConnectionFailed, error.to_string()),
                |code| error::stream_code(code, &error::name_of(&peer), Port::ECHO),
            )
        })?;
        let session = self.node.peers().into_iter().find(|p| p.agent == agent);
        let seconds = report.duration.as_secs_f64();
        Ok(Benched {
            target: agent.address(),
            node_id: agent.node(),
            bytes: report.bytes,
            duration_ms: seconds * 1000.0,
            gbit_per_s: rate(report.bytes, seconds),
            intact: report.is_intact,
            reverse,
            path: view::path(session.as_ref().map_or(PathKind::Direct, |p| p.path)),
            rtt_ms: session
                .and_then(|p| p.rtt)
                .map(|rtt| rtt.as_secs_f64() * 1000.0),
        })
    }

    pub(super) fn give_up(&self, request: &DisconnectRequest) -> Result<Disconnected, ApiError> {
        let id = request.id;
        let agent = self.node.disconnect(id).ok_or_else(|| {
            ApiError::new(
                ErrorCode::NotFound,
                format!("no connection has the id {id}"),
            )
            .with_hint("pilotctl connections")
        })?;
        Ok(Disconnected {
            id,
            status: "disconnected".to_owned(),
            remote_addr: agent.address(),
            remote_node_id: agent.node(),
        })
    }
}

/// Gigabits a second; what came in one piece took no time that could be measured.
fn rate(bytes: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        bytes as f64 * 8.0 / seconds / 1e9
    } else {
        0.0
    }
}
