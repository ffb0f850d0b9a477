//! Whether the agent does what it is there for, in one word and an exit code.

use pilot_api::types::{AgentSummary, InfoRequest, RendezvousInfo};
use pilot_api::{ApiError, ErrorCode};
use serde::Serialize;

use super::profile::rendezvous_words;
use crate::context::Context;
use crate::output::{Failure, Reply, to_json};

/// The state of a rendezvous that serves us.
const CONNECTED: &str = "connected";

#[derive(Serialize)]
struct Health {
    /// Whether the daemon answers and is connected to a rendezvous.
    healthy: bool,
    #[serde(flatten)]
    agent: AgentSummary,
    uptime_secs: u64,
    peers: u64,
    connections: u64,
    rendezvous: Vec<RendezvousInfo>,
}

/// Exit 0 where it is well; 4 without a daemon, 6 without a rendezvous.
pub(crate) async fn health(context: &Context) -> Result<Reply, Failure> {
    let info = context.client()?.call(&InfoRequest {}).await?;
    let health = Health {
        healthy: info.rendezvous.iter().any(|it| it.state == CONNECTED),
        agent: info.agent,
        uptime_secs: info.uptime_secs,
        peers: info.peers,
        connections: info.connections,
        rendezvous: info.rendezvous,
    };
    if health.healthy {
        let words = format!(
            "{} is connected, {} peers",
            health.agent.address, health.peers
        );
        return Reply::new(&health, context.output.style.done(&words));
    }
    let states: Vec<String> = health.rendezvous.iter().map(rendezvous_words).collect();
    let words = format!("connected to no rendezvous: {}", states.join(", "));
    Err(Failure {
        error: ApiError::new(ErrorCode::ConnectionFailed, words).with_hint("pilotctl doctor"),
        data: Some(to_json(&health)?),
    })
}
