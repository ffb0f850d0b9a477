//! Files from agent to agent.

use std::path::PathBuf;

use pilot_api::ErrorCode;
use pilot_api::types::{ReceivedRequest, SendFileRequest};

use crate::harness::{Agent, Network};

fn send(to: &Agent, path: PathBuf) -> SendFileRequest {
    SendFileRequest {
        peer: to.name(),
        path,
        timeout_ms: None,
    }
}

/// A file with these bytes, in a directory of its own.
fn file(network: &Network, name: &str, bytes: &[u8]) -> PathBuf {
    let dir = network.home("outgoing");
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_arrives_whole_and_its_name_twice_is_two_files() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i * 7 % 251) as u8).collect();
    let path = file(&network, "weights.bin", &bytes);
    let first = one.call(send(&other, path.clone())).await.unwrap();
    assert_eq!((first.bytes, first.verified), (3_000_000, true));
    assert_eq!(first.filename, "weights.bin");
    let second = one.call(send(&other, path)).await.unwrap();
    assert_eq!(second.filename, "weights (1).bin");
    let received = other.call(ReceivedRequest { clear: false }).await.unwrap();
    assert_eq!(received.total, 2);
    for (shown, name) in received
        .files
        .iter()
        .zip(["weights.bin", "weights (1).bin"])
    {
        assert_eq!((shown.name.as_str(), &shown.sha256), (name, &first.sha256));
        assert_eq!(shown.from, one.ready.agent.node_id);
        assert_eq!(std::fs::read(&shown.path).unwrap(), bytes);
    }
    let cleared = other.call(ReceivedRequest { clear: true }).await.unwrap();
    assert_eq!(cleared.total, 2);
    assert!(!cleared.files[0].path.exists());
    let left = other.call(ReceivedRequest { clear: false }).await.unwrap();
    assert_eq!(left.total, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_is_there_after_a_restart() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let path = file(&network, "kept", b"kept");
    one.call(send(&other, path)).await.unwrap();
    other.stop().await;
    let other = network.start("other").await;
    let received = other.call(ReceivedRequest { clear: false }).await.unwrap();
    assert_eq!(received.files[0].name, "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_or_not_trusted_is_refused_in_words() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let stranger = network.start("stranger").await;
    let path = file(&network, "a", b"a");
    let hidden = file(&network, ".hidden", b"a");
    let dir = path.parent().unwrap().to_owned();
    for (from, path, code) in [
        (&stranger, path, ErrorCode::NotFound),
        (&one, dir.join("missing"), ErrorCode::NotFound),
        (&one, dir.clone(), ErrorCode::InvalidArgument),
        (&one, hidden, ErrorCode::InvalidArgument),
        (&one, "relative".into(), ErrorCode::InvalidArgument),
        (&one, "/dev/zero".into(), ErrorCode::InvalidArgument),
    ] {
        let error = from.call(send(&other, path.clone())).await.unwrap_err();
        assert_eq!(error.code, code, "{}: {}", path.display(), error.message);
    }
    let received = other.call(ReceivedRequest { clear: false }).await.unwrap();
    assert_eq!(received.total, 0);
}
