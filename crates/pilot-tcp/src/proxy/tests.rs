//! Clients that do not do what clients do, on real sockets with a clock that jumps.

use std::sync::mpsc;

use pilot_api::ErrorCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;
use crate::tcp::bind;

/// Every agent is an echo, but for those that are not there.
struct Echoes;

impl Dial for Echoes {
    async fn dial(&self, peer: &PeerRef, _: Port) -> Result<BoxStream, ApiError> {
        if peer.to_string() == "nobody" {
            return Err(ApiError::new(ErrorCode::NotFound, "no agent nobody"));
        }
        let (near, far) = tokio::io::duplex(4096);
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(far);
            drop(tokio::io::copy(&mut reader, &mut writer).await);
            drop(writer.shutdown().await);
        });
        Ok(Box::new(near))
    }

    async fn dial_confirmed(&self, peer: &PeerRef, port: Port) -> Result<BoxStream, ApiError> {
        self.dial(peer, port).await
    }
}

struct Bench {
    addr: SocketAddr,
    faults: mpsc::Receiver<Fault>,
    running: JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn bench() -> Bench {
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (told, faults) = mpsc::channel();
    let traffic = Traffic::new(move |fault, _| drop(told.send(fault)));
    let running = tokio::spawn(proxy(
        listener,
        Arc::new(Echoes),
        traffic,
        std::future::pending(),
    ));
    Bench {
        addr,
        faults,
        running,
    }
}

impl Bench {
    /// Everything that comes back to a client that says this and then waits for the end.
    async fn hear(&self, said: &[u8]) -> Vec<u8> {
        let mut tcp = TcpStream::connect(self.addr).await.unwrap();
        tcp.write_all(said).await.unwrap();
        let mut heard = vec![];
        // A reset is an end as well.
        drop(tcp.read_to_end(&mut heard).await);
        heard
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_half_way_is_dropped() {
    let bench = bench().await;
    for (said, heard) in [
        (&b""[..], &b""[..]),
        (b"\x05", b""),
        (b"\x05\x01\x00", b"\x05\x00"),
        (b"\x05\x01\x00\x05\x01\x00\x03\x09bob.pi", b"\x05\x00"),
    ] {
        assert_eq!(bench.hear(said).await, heard, "{said:?}");
        let fault = bench.faults.recv().unwrap();
        assert_eq!(fault.error.code, ErrorCode::Timeout);
    }
    let heard = bench
        .hear(b"GET http://bob.pilot/ HTTP/1.1\r\nHost: b")
        .await;
    assert!(
        heard.is_empty() || heard.starts_with(b"HTTP/1.1 408"),
        "{heard:?}"
    );
}

#[tokio::test]
async fn what_is_neither_socks5_nor_http_is_dropped() {
    let bench = bench().await;
    for said in [
        &b"\x04\x01\x00\x50\x01\x02\x03\x04\x00"[..],
        b"\x16\x03\x01",
        b"\x00",
        b"hello",
    ] {
        assert_eq!(bench.hear(said).await, b"", "{said:?}");
        let fault = bench.faults.recv().unwrap();
        assert_eq!(fault.error.code, ErrorCode::InvalidArgument);
    }
}

#[tokio::test]
async fn bytes_behind_a_request_are_the_streams() {
    let bench = bench().await;
    let connect = b"CONNECT bob.pilot:7 HTTP/1.1\r\nHost: bob.pilot:7\r\n\r\nearly";
    let mut tcp = TcpStream::connect(bench.addr).await.unwrap();
    tcp.write_all(connect).await.unwrap();
    tcp.shutdown().await.unwrap();
    let mut heard = String::new();
    tcp.read_to_string(&mut heard).await.unwrap();
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
    assert!(heard.ends_with("\r\n\r\nearly"), "{heard}");

    let socks = [
        &b"\x05\x01\x00\x05\x01\x00\x03\x09bob.pilot\x00\x07"[..],
        b"early",
    ]
    .concat();
    let mut tcp = TcpStream::connect(bench.addr).await.unwrap();
    tcp.write_all(&socks).await.unwrap();
    tcp.shutdown().await.unwrap();
    let mut heard = vec![];
    tcp.read_to_end(&mut heard).await.unwrap();
    assert_eq!(
        heard,
        b"\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00early"
    );
}

#[tokio::test]
async fn requests_that_are_no_proxys_are_told_so() {
    let bench = bench().await;
    let close = "Connection: close\r\n\r\n";
    for (request, status, words) in [
        (
            "GET / HTTP/1.1\r\nHost: bob.pilot\r\n",
            "400",
            "this is a proxy",
        ),
        (
            "GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n",
            "403",
            "not an overlay address",
        ),
        (
            "GET https://bob.pilot/ HTTP/1.1\r\nHost: bob.pilot\r\n",
            "400",
            "CONNECT",
        ),
        (
            "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n",
            "403",
            "not an overlay address",
        ),
        (
            "CONNECT bob.pilot HTTP/1.1\r\nHost: bob.pilot\r\n",
            "400",
            "no port",
        ),
        (
            "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]\r\n",
            "403",
            "not an overlay address",
        ),
        (
            "GET http://nobody.pilot/ HTTP/1.1\r\nHost: nobody.pilot\r\n",
            "404",
            "no agent nobody",
        ),
        (
            "GET http://u:p@bob.pilot/ HTTP/1.1\r\nHost: bob.pilot\r\n",
            "400",
            "user information",
        ),
    ] {
        let heard = bench.hear(format!("{request}{close}").as_bytes()).await;
        let heard = String::from_utf8(heard).unwrap();
        assert!(
            heard.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}: {heard}"
        );
        assert!(heard.contains(words), "{request}: {heard}");
    }
    let long = format!(
        "GET http://bob.pilot/ HTTP/1.1\r\nX: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    let heard = bench.hear(long.as_bytes()).await;
    assert!(
        heard.is_empty() || heard.starts_with(b"HTTP/1.1 431"),
        "{heard:?}"
    );
}
