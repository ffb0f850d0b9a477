//! A trusted agent that sends what no `send-file` does.

use std::fs;
use std::path::Path;

use pilot::{DialOptions, Node, Port, Stream, Target};
use pilot_api::types::ReceivedRequest;
use pilot_wire::{FILE_STREAM, FILE_STREAM_1, encode_postcard, put_varint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Agent, Network, approve};

/// A node of its own program, and the agent that trusts it.
async fn mallory(network: &Network) -> (Node, Agent) {
    let victim = network.start("victim").await;
    let node = Node::builder()
        .home(network.home("mallory"))
        .rendezvous(network.rendezvous().url())
        .hostname("mallory".parse().unwrap())
        .listen("127.0.0.1:0".parse().unwrap())
        .work_bits(0)
        .min_work_bits(0)
        .start()
        .await
        .unwrap();
    node.registered().await.unwrap();
    node.knock(target(), "").await.unwrap();
    victim.until_knocked().await;
    let peer = "mallory".parse().unwrap();
    victim.call(approve(peer)).await.unwrap();
    node.trusted_with(&target()).await.unwrap();
    (node, victim)
}

fn target() -> Target {
    Target::Hostname("victim".parse().unwrap())
}

async fn dial(node: &Node, metadata: &[u8]) -> Stream {
    let options = DialOptions {
        metadata: metadata.to_vec(),
        ..DialOptions::default()
    };
    node.dial_peer(target(), Port::DATA_EXCHANGE, options)
        .await
        .unwrap()
}

/// Says it and gives what comes back until the end, however that is.
async fn told(node: &Node, metadata: &[u8], head: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut stream = dial(node, metadata).await;
    let mut bytes = vec![];
    put_varint(&mut bytes, head.len() as u64);
    bytes.extend_from_slice(head);
    bytes.extend_from_slice(rest);
    let mut answer = vec![];
    if stream.write_all(&bytes).await.is_ok() {
        let _ = stream.shutdown().await;
    }
    let mut piece = [0; 4096];
    while let Ok(len @ 1..) = stream.read(&mut piece).await {
        answer.extend_from_slice(&piece[..len]);
    }
    answer
}

fn head(name: &str, size: u64) -> Vec<u8> {
    encode_postcard(&([1_u8; 16], name, size, None::<()>))
}

/// Files and directories below, whatever they are.
fn count(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().flatten();
    let counts = entries.map(|entry| {
        if entry.file_type().unwrap().is_dir() {
            1 + count(&entry.path())
        } else {
            1
        }
    });
    counts.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_leaves_the_directory() {
    let network = Network::new().await;
    let (node, victim) = mallory(&network).await;
    let home = network.home("victim");
    let before = count(&home);
    let mut body = vec![1];
    body.extend(b"key");
    body.extend(ring_sha256(b"key"));
    for name in [
        "../../.ssh/authorized_keys",
        "/etc/cron.d/x",
        "a/../../x",
        "..",
        ".",
        "",
        "a//b",
        ".part-x",
        "received/./x",
        "a\0b",
        "a\nb",
        "\u{1b}[2Jx",
        &"d/".repeat(100),
        &"x".repeat(241),
        &"x/".repeat(600),
    ] {
        let answer = told(&node, FILE_STREAM, &head(name, 3), &body).await;
        assert!(answer.is_empty(), "{name:?}: {answer:?}");
    }
    assert_eq!(count(&home), before);
    // The same bytes under a name that is one are taken.
    let answer = told(&node, FILE_STREAM, &head("d/key", 3), &body).await;
    assert_eq!(answer[..3], [2, 0, 0]);
    assert_eq!(fs::read(home.join("received/d/key")).unwrap(), b"key");
    let received = victim.call(ReceivedRequest { clear: false }).await.unwrap();
    assert_eq!(received.total, 1);
}

fn ring_sha256(bytes: &[u8]) -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA256, bytes)
        .as_ref()
        .to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_about_size_bytes_and_hash_store_nothing() {
    let network = Network::new().await;
    let (node, victim) = mallory(&network).await;
    let hash = ring_sha256(b"key");
    let body = |parts: &[&[u8]]| parts.concat();
    for (size, rest) in [
        // Fewer bytes than announced, more, another hash, a chunk that is not there, an unknown kind, nothing.
        (4, body(&[&[1], b"key", &hash])),
        (2, body(&[&[1], b"key", &hash])),
        (3, body(&[&[1], b"key", &[0; 32]])),
        (3, body(&[&[0], &hash])),
        (3, body(&[&[7], b"key", &hash])),
        (3, vec![]),
        // More than any disk has.
        (u64::MAX, body(&[&[1], b"key", &hash])),
    ] {
        let answer = told(&node, FILE_STREAM, &head("lie", size), &rest).await;
        assert!(!answer.is_empty(), "{size}");
    }
    let received = victim.call(ReceivedRequest { clear: false }).await.unwrap();
    assert_eq!(received.total, 0);
    assert_eq!(count(&network.home("victim").join("received")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_of_the_earlier_version_reads_why_it_is_refused() {
    let network = Network::new().await;
    let (node, _victim) = mallory(&network).await;
    let answer = told(&node, FILE_STREAM_1, &head("old", 3), b"").await;
    // Its answer's second variant, and a text.
    assert_eq!(answer[1], 1);
    assert!(String::from_utf8_lossy(&answer).contains("update the sender"));
}
