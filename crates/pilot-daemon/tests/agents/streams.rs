//! Streams to ports.

use pilot_api::types::{AcceptRequest, ApproveRequest, ConnectionsRequest, DialRequest};
use pilot_api::{ApiStream, ErrorCode};
use pilot_types::Port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Agent, Network, approve, until};

fn accept(port: Port) -> AcceptRequest {
    AcceptRequest {
        port,
        timeout_ms: Some(10_000),
    }
}

async fn dialled(from: &Agent, to: &Agent, port: Port) -> ApiStream {
    let request = DialRequest {
        peer: to.name(),
        port,
        timeout_ms: None,
        traceparent: None,
    };
    let (info, stream) = from.client.dial(&request).await.unwrap();
    assert_eq!(info.agent.node_id, to.ready.agent.node_id);
    stream
}

async fn say(stream: &mut ApiStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
}

async fn hear(stream: &mut ApiStream) -> Vec<u8> {
    let mut bytes = vec![];
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_waits_for_its_taker_and_each_direction_ends_by_itself() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let mut ours = dialled(&one, &other, Port::STDIO).await;
    say(&mut ours, b"over to you").await;
    let (info, mut theirs) = other.client.accept(&accept(Port::STDIO)).await.unwrap();
    assert_eq!(
        (info.from, info.port),
        (one.ready.agent.node_id, Port::STDIO)
    );
    assert_eq!(hear(&mut theirs).await, b"over to you");
    say(&mut theirs, b"and back").await;
    assert_eq!(hear(&mut ours).await, b"and back");
    let ended = one.client.outcome(ours.number()).await.unwrap();
    assert_eq!((ended.sent, ended.received), (11, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_megabytes_pass_through_echo_unchanged() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let stream = dialled(&one, &other, Port::ECHO).await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let bytes: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let sent = bytes.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
        writer
    });
    let mut back = vec![];
    reader.read_to_end(&mut back).await.unwrap();
    assert!(
        back == bytes,
        "{} of {} bytes came back",
        back.len(),
        bytes.len()
    );
    writing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_nobody_takes_streams_from_is_refused_with_the_command_to_run() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let ports = pilot_wire::Scope::parse_ports("53").ok();
    other
        .call(ApproveRequest {
            ports,
            ..approve(one.peer())
        })
        .await
        .unwrap();
    let stream = dialled(&one, &other, Port::NAMESERVER).await;
    let error = one.client.outcome(stream.number()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ConnectionFailed, "{error:?}");
    assert_eq!(
        error.hint.as_deref(),
        Some("run `pilotctl recv 53` on other, or `pilotctl expose HOST:PORT --port 53`")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_to_any_granted_user_port_waits_until_it_is_taken() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let port = Port::new(5000);
    let ports = pilot_wire::Scope::parse_ports("5000").ok();
    other
        .call(ApproveRequest {
            ports,
            ..approve(one.peer())
        })
        .await
        .unwrap();
    // Nobody takes streams from it yet: this one waits.
    let mut ours = dialled(&one, &other, port).await;
    ours.write_all(b"hello").await.unwrap();
    ours.shutdown().await.unwrap();
    let (_, mut theirs) = other.client.accept(&accept(port)).await.unwrap();
    assert_eq!(hear(&mut theirs).await, b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_services_cannot_be_taken() {
    let network = Network::new().await;
    let agent = network.start("agent").await;
    for port in [Port::LIVENESS, Port::ECHO, Port::TRUST, Port::DATA_EXCHANGE] {
        let error = agent.client.accept(&accept(port)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "port {port}");
    }
    let nothing = AcceptRequest {
        port: Port::STDIO,
        timeout_ms: Some(20),
    };
    assert_eq!(
        agent.client.accept(&nothing).await.unwrap_err().code,
        ErrorCode::Timeout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_ended_before_a_daemon_stops_arrives() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let bytes: Vec<u8> = (0..600_000_u32).map(|i| (i % 251) as u8).collect();
    let mut ours = dialled(&one, &other, Port::STDIO).await;
    say(&mut ours, &bytes).await;
    until(|| async {
        let open = one.call(ConnectionsRequest {}).await.unwrap();
        open.connections[0].bytes_sent >= bytes.len() as u64
    })
    .await;
    // It is gone before anybody looks.
    assert_eq!(one.stop().await.undelivered_bytes, Some(0));
    let (_, mut theirs) = other.client.accept(&accept(Port::STDIO)).await.unwrap();
    let mut got = vec![];
    let ended = theirs.read_to_end(&mut got).await;
    assert!(got == bytes, "{} of {}: {ended:?}", got.len(), bytes.len());
}
