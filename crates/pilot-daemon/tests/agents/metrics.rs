use std::net::{SocketAddr, TcpListener};

use pilot_api::ErrorCode;
use pilot_api::types::InfoRequest;
use pilot_daemon::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::harness::{Network, start};

/// A port that was free a moment ago.
fn free_addr() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

async fn page(addr: SocketAddr) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}

#[tokio::test]
async fn a_dropped_packet_shows_in_info_and_in_the_metrics() {
    let network = Network::new().await;
    let addr = free_addr();
    let config = Config {
        metrics: Some(addr),
        ..network.config("watched")
    };
    let agent = start(config).await.unwrap();
    let info = agent.client.call(&InfoRequest {}).await.unwrap();
    assert!(info.api.connections >= 1, "{:?}", info.api);
    let before = info.drops.get("unknown_first_byte").copied();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let endpoint = info.endpoints[0].clone();
    let drops = loop {
        socket.send_to(&[0x7F; 40], &endpoint).await.unwrap();
        let info = agent.client.call(&InfoRequest {}).await.unwrap();
        if info.drops.get("unknown_first_byte").copied() > before {
            break info.drops;
        }
    };
    let page = page(addr).await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    for line in [
        "pilot_sessions 1",
        "pilot_inbox_messages 0",
        "pilot_handshakes_total{stage=\"completed\"} 1",
        "pilot_api_streams 0",
        "pilot_api_refusals_total{reason=\"slow_head\"} 0",
        "pilot_port_mapping{protocol=\"pcp\"} 0",
        "pilot_port_mapping_failures_total{protocol=\"upnp\"} 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}: {page}");
    }
    for (reason, _) in drops {
        let sample = format!("pilot_drops_total{{reason=\"{reason}\"}} ");
        assert!(page.contains(&sample), "{sample}: {page}");
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_refused_in_words() {
    let network = Network::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let config = Config {
        metrics: Some(addr),
        ..network.config("watched")
    };
    let error = pilot_daemon::run(config, |_| {}).await.unwrap_err().0;
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    assert!(error.message.contains(&addr.to_string()), "{error}");
}
