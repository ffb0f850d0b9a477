use std::time::{Duration, Instant};

use pilot_api::types::{PathKind, PeerSummary};
use pilot_types::{Address, NetworkId, NodeId};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::super::model::Sample;
use super::*;

fn agent(number: u64, name: &str) -> AgentSummary {
    let node_id = NodeId::new(0xa91f_0000_0000 + number).unwrap();
    AgentSummary {
        node_id,
        address: Address::new(NetworkId::BACKBONE, node_id),
        hostname: name.parse().ok(),
    }
}

fn sample(at: Instant, bytes: u64) -> Sample {
    let info = json!({
        "node_id": 0xa91f_0000_0001_u64, "address": "0:A91F.0000.0001", "hostname": "worker",
        "public_key": "00".repeat(32), "key_state": "current", "version": "0.1.0", "uptime_secs": 61, "public": false, "tags": [],
        "capabilities": [], "peers": 2, "connections": 1, "ports": [],
        "rendezvous": [{"url": "pilot://k@host:9000", "state": "connected", "embedded": false}],
        "embedded": false, "nat": {"mapping": "easy\u{1b}[2J", "filtering": "unknown"}, "relays": [], "relay": null,
        "keep_alive_secs": 20, "endpoints": [],
        "port_mapping": {"state": "off", "protocol": null, "gateway": null, "outer": null},
        "bytes_sent": bytes, "bytes_recv": bytes * 2, "drops": {},
        "api": {"connections": 0, "streams": 0, "refusals": {}},
    });
    let peer = |number, name, rtt_ms| PeerSummary {
        agent: agent(number, name),
        path: PathKind::Direct,
        relay: None,
        rtt_ms,
        encrypted: true,
        authenticated: true,
    };
    let stream = json!({
        "id": 7, "local_port": 49152, "remote_addr": "0:A91F.0000.0003", "remote_node_id": 0xa91f_0000_0003_u64,
        "remote_port": 1000, "state": "established", "cong_win": 1, "in_flight": 0, "srtt_ms": 1.0,
        "bytes_sent": bytes, "bytes_recv": 0, "retransmits": 0,
    });
    Sample {
        info: serde_json::from_value(info).unwrap(),
        peers: vec![peer(2, "adam", Some(9.0)), peer(3, "eve", Some(2.0))],
        streams: vec![serde_json::from_value(stream).unwrap()],
        messages: 1,
        at,
    }
}

fn model() -> Model {
    let now = Instant::now();
    let mut model = Model::new(sample(now, 1000));
    model.take(sample(now + Duration::from_secs(2), 5_001_000));
    model
}

fn drawn(model: &Model, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn the_picture_has_agent_traffic_peers_and_streams() {
    let mut model = model();
    let picture = drawn(&model, (100, 20));
    for part in [
        "worker  0:A91F.0000.0001",
        "● connected  pilot://k@host:9000",
        " sent 2.50 MB/s ",
        " received 5.00 MB/s ",
        " 2 peers, by traffic ",
        "1 open streams",
        "0:A91F.0000.0003:1000",
        "q ends",
    ] {
        assert!(picture.contains(part), "{part} in\n{picture}");
    }
    let order = |model: &Model| {
        let names = model.peers().iter();
        names
            .map(|it| it.agent.hostname.clone().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(order(&model), ["eve", "adam"], "who is busy comes first");
    model.sort_by_next();
    assert_eq!(order(&model), ["adam", "eve"]);
    model.sort_by_next();
    assert_eq!(order(&model), ["eve", "adam"], "the nearest comes first");
    model.scroll_by(1);
    assert!(!drawn(&model, (100, 20)).contains("│eve"));
    model.failed(&pilot_api::ApiError::internal("gone"));
    assert!(drawn(&model, (100, 20)).contains("✗ gone, trying again"));
}

#[test]
fn any_size_of_terminal_is_borne_and_foreign_text_steers_none() {
    let model = model();
    for size in [(1, 1), (3, 2), (10, 5), (40, 10), (300, 100)] {
        assert!(!drawn(&model, size).contains('\u{1b}'));
    }
    assert!(!text(&model, Style { colours: false }).contains('\u{1b}'));
}

#[test]
fn a_daemon_that_was_started_again_counts_from_zero() {
    let now = Instant::now();
    let mut model = Model::new(sample(now, 9_000_000));
    model.take(sample(now + Duration::from_secs(1), 500));
    assert_eq!(
        model.rates(),
        Rates {
            sent: 500,
            received: 1000
        }
    );
}

#[test]
fn sizes_have_three_digits() {
    let sizes = [0, 999, 1000, 9_949, 12_345, 999_499, 5_000_000, u64::MAX].map(size);
    let expected = [
        "0 B", "999 B", "1.00 kB", "9.95 kB", "12.3 kB", "999 kB", "5.00 MB", "18447 PB",
    ];
    assert_eq!(sizes, expected);
}
