//! Datagrams, measurements, streams that are given up, and leaving the registry.

use pilot_api::types::{
    BenchRequest, ConnectionsRequest, DeregisterRequest, DialRequest, DisconnectRequest,
    FindRequest, InfoRequest, PingRequest, ReceiveDatagramsRequest, SendDatagramRequest,
    SetVisibilityRequest,
};
use pilot_api::{ErrorCode, Payload};
use pilot_types::Port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Agent, Network, approve, until};

const CHAT: Port = Port::new(5000);

fn datagram(to: &Agent, port: Port, data: &[u8]) -> SendDatagramRequest {
    SendDatagramRequest {
        peer: to.name(),
        port,
        body: Payload::new(data.to_vec()),
        timeout_ms: None,
    }
}

fn receive(port: Port, timeout_ms: u64) -> ReceiveDatagramsRequest {
    ReceiveDatagramsRequest {
        port,
        max: Some(256),
        timeout_ms: Some(timeout_ms),
    }
}

async fn drops(agent: &Agent, reason: &str) -> u64 {
    let info = agent.call(InfoRequest {}).await.unwrap();
    info.drops.get(reason).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datagram_reaches_a_listener_whose_grant_names_the_port() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let mut all = approve(one.name());
    all.ports = Some(vec![pilot_wire::PortRange {
        first: CHAT,
        last: CHAT,
    }]);
    other.call(all).await.unwrap();
    // Opens the port; nothing is there yet.
    let early = other.call(receive(CHAT, 1)).await.unwrap_err();
    assert_eq!(early.code, ErrorCode::Timeout);
    for data in [&b"hello"[..], b"\xff\x00"] {
        let sent = one.call(datagram(&other, CHAT, data)).await.unwrap();
        assert_eq!(sent.bytes, data.len() as u64);
        assert_eq!(sent.node_id, other.ready.agent.node_id);
        let came = other.call(receive(CHAT, 10_000)).await.unwrap();
        let [message] = &came.messages[..] else {
            panic!("{came:?}");
        };
        assert_eq!(message.body.as_bytes(), data);
        assert_eq!(message.src_addr, one.ready.agent.address);
        assert_eq!(message.src_hostname, one.ready.agent.hostname);
        assert_eq!(message.port, CHAT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_without_a_grant_or_a_listener_are_dropped_and_counted() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let stranger = network.start("stranger").await;
    let refused = stranger.call(datagram(&other, CHAT, b"x")).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::NotFound);
    one.call(datagram(&other, CHAT, b"x")).await.unwrap();
    until(|| async { drops(&other, "datagram_not_trusted").await == 1 }).await;
    one.call(datagram(&other, Port::new(1000), b"x"))
        .await
        .unwrap();
    until(|| async { drops(&other, "datagram_port_closed").await == 1 }).await;
    let service = other.call(receive(Port::DATA_EXCHANGE, 1)).await;
    assert_eq!(service.unwrap_err().code, ErrorCode::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_no_packet_is_refused_with_the_limit() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let stdio = Port::STDIO;
    assert!(other.call(receive(stdio, 1)).await.is_err());
    let error = one.call(datagram(&other, stdio, &[0; 1166])).await;
    let error = error.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    assert!(error.message.contains("1165"), "{}", error.message);
    one.call(datagram(&other, stdio, &[7; 1165])).await.unwrap();
    let came = other.call(receive(stdio, 10_000)).await.unwrap();
    assert_eq!(came.messages[0].bytes, 1165);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_does_not_keep_up_loses_the_rest_and_the_daemon_counts_it() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    assert!(other.call(receive(Port::STDIO, 1)).await.is_err());
    for number in 0..300_u32 {
        let request = datagram(&other, Port::STDIO, &number.to_be_bytes());
        // More than the session may hold for sending: the next try goes through.
        while one.call(request.clone()).await.is_err() {}
    }
    until(|| async { drops(&other, "datagram_queue_full").await > 0 }).await;
    let came = other.call(receive(Port::STDIO, 10_000)).await.unwrap();
    assert_eq!(came.messages.len(), 256);
    assert_eq!(came.messages[0].body.as_bytes(), 0_u32.to_be_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_measurement_counts_every_byte_in_both_directions() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    for reverse in [false, true] {
        let measured = one.call(BenchRequest {
            peer: other.name(),
            bytes: 8 << 20,
            reverse,
            timeout_ms: None,
        });
        let measured = measured.await.unwrap();
        assert_eq!((measured.bytes, measured.intact), (8 << 20, true));
        assert_eq!(measured.node_id, other.ready.agent.node_id);
        assert!(measured.gbit_per_s > 0.0);
    }
    let nothing = one.call(BenchRequest {
        peer: other.name(),
        bytes: 0,
        reverse: false,
        timeout_ms: None,
    });
    assert_eq!(nothing.await.unwrap_err().code, ErrorCode::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_disconnected_ends_at_both_ends() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let request = DialRequest {
        peer: other.name(),
        port: Port::ECHO,
        timeout_ms: None,
        traceparent: None,
    };
    let (_, mut stream) = one.client.dial(&request).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.unwrap();
    let open = one.call(ConnectionsRequest {}).await.unwrap().connections;
    assert_eq!(open.len(), 1);
    assert!(open[0].cong_win > 0 && open[0].srtt_ms.is_some());
    let id = open[0].id;
    let gone = one.call(DisconnectRequest { id }).await.unwrap();
    assert_eq!(gone.remote_node_id, other.ready.agent.node_id);
    let ended = one.client.outcome(stream.number()).await.unwrap_err();
    assert_eq!(ended.code, ErrorCode::ConnectionFailed);
    for agent in [&one, &other] {
        until(|| async {
            let open = agent.call(ConnectionsRequest {}).await.unwrap();
            open.connections.is_empty()
        })
        .await;
    }
    let again = one.call(DisconnectRequest { id }).await.unwrap_err();
    assert_eq!(again.code, ErrorCode::NotFound);
    assert_eq!(again.hint.as_deref(), Some("pilotctl connections"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_deregisters_is_found_again_after_it_changes_its_profile() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let find = || FindRequest {
        name: other.ready.agent.hostname.clone().unwrap(),
        timeout_ms: None,
    };
    let ping = || PingRequest {
        peer: other.peer(),
        timeout_ms: None,
    };
    one.call(ping()).await.unwrap();
    let gone = other.call(DeregisterRequest {}).await.unwrap();
    assert!(!gone.registered);
    assert_eq!(
        one.call(find()).await.unwrap_err().code,
        ErrorCode::NotFound
    );
    // Trust is not the registry's, and where the agent was is remembered.
    one.call(ping()).await.unwrap();
    let public = SetVisibilityRequest { public: true };
    other.call(public).await.unwrap();
    let stranger = network.start("stranger").await;
    until(|| async { stranger.call(find()).await.is_ok() }).await;
}
