//! Files from agent to agent.

use std::path::PathBuf;

use pilot_api::ErrorCode;
use pilot_api::types::{ReceivedRequest, SendFileRequest};

use crate::harness::{Agent, Network};

pub(crate) fn send(to: &Agent, path: PathBuf) -> SendFileRequest {
    SendFileRequest {
        peer: to.name(),
        path,
        name: None,
        transfer: None,
        timeout_ms: None,
    }
}

/// The same, to be put there.
fn send_as(to: &Agent, path: PathBuf, name: &str) -> SendFileRequest {
    SendFileRequest {
        name: Some(name.to_owned()),
        ..send(to, path)
    }
}

/// A file with these bytes, in a directory of its own.
pub(crate) fn file(network: &Network, name: &str, bytes: &[u8]) -> PathBuf {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_directory_lies_in_that_directory_and_is_not_what_a_link_leads_to() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let path = file(&network, "march.jpg", b"a picture");
    let name = "photos/2026/march.jpg";
    let sent = one.call(send_as(&other, path.clone(), name)).await.unwrap();
    assert_eq!(sent.filename, name);
    let again = one.call(send_as(&other, path.clone(), name)).await.unwrap();
    assert_eq!(again.filename, "photos/2026/march (1).jpg");
    let received = other.call(ReceivedRequest { clear: true }).await.unwrap();
    assert_eq!(received.total, 2);
    assert!(!received.dir.join("photos").exists());
    let link = path.with_file_name("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for (path, name) in [
        (link.clone(), "photos/link"),
        (path.clone(), "../march.jpg"),
        (path.clone(), "/etc/march.jpg"),
        (path.clone(), "a//b"),
        (path, ""),
    ] {
        let error = one.call(send_as(&other, path, name)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{name}: {error}");
    }
    // What the owner of a file calls by its own path is followed.
    assert_eq!(one.call(send(&other, link)).await.unwrap().filename, "link");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_owner_does_not_take_is_refused_in_words_with_the_setting_that_changes_it() {
    let network = Network::new().await;
    let home = network.home("other");
    std::fs::create_dir_all(&home).unwrap();
    let policy = r#"{"files_max_size": 8, "files_quota": 12, "files_names": ["*.txt"]}"#;
    std::fs::write(home.join("config.json"), policy).unwrap();
    let (one, other) = network.friends("one", "other").await;
    let ok = file(&network, "a.txt", b"12345678");
    one.call(send(&other, ok.clone())).await.unwrap();
    for (path, words, hint) in [
        (
            file(&network, "b.txt", b"123456789"),
            "at most 8",
            "files_max_size",
        ),
        (file(&network, "b.exe", b"1"), "of that name", "files_names"),
        (ok, "no space", "received --clear"),
    ] {
        let error = one.call(send(&other, path)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::PermissionDenied, "{error}");
        assert!(error.message.contains(words), "{error}");
        assert!(error.hint.as_ref().unwrap().contains(hint), "{error:?}");
    }
    other.stop().await;
    std::fs::write(home.join("config.json"), r#"{"files_from": "nobody"}"#).unwrap();
    let other = network.start("other").await;
    let path = file(&network, "a", b"a");
    let error = one.call(send(&other, path)).await.unwrap_err();
    assert!(error.message.contains("takes no files from you"), "{error}");
    let received = other.call(ReceivedRequest { clear: false }).await.unwrap();
    assert_eq!(received.total, 1);
}
