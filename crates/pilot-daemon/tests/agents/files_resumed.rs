//! Files whose transfer breaks: what was there is not sent again, and what is there is right.

use std::fs;
use std::path::{Path, PathBuf};

use pilot_api::types::{FileSent, FilesSendingRequest, ReceivedRequest};
use pilot_api::{ApiError, ErrorCode};
use pilot_wire::limits::FILE_CHUNK;
use tokio::task::JoinHandle;

use crate::files::{file, send};
use crate::harness::{Agent, Network, until};

const MIB: u64 = FILE_CHUNK;

/// Bytes of which no chunk is like another.
fn content(mib: u64) -> Vec<u8> {
    let mut state = 1_u64;
    let words = (0..mib * MIB / 8).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.collect()
}

/// What an agent holds of a file that did not come whole.
fn left(home: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(home.join("received")).ok()?.flatten();
    let mut paths = entries.map(|entry| entry.path());
    paths.find(|path| path.to_string_lossy().contains(".part-"))
}

fn left_len(home: &Path) -> u64 {
    left(home).map_or(0, |path| fs::metadata(path).map_or(0, |meta| meta.len()))
}

fn start_sending(from: &Agent, to: &Agent, path: &Path) -> JoinHandle<Result<FileSent, ApiError>> {
    let (client, mut request) = (from.client.clone(), send(to, path.to_owned()));
    request.timeout_ms = Some(0);
    tokio::spawn(async move { client.call(&request).await })
}

/// Waits until the sender is through with so many bytes.
async fn until_done(sender: &Agent, bytes: u64) {
    until(|| async {
        let sending = sender.call(FilesSendingRequest {}).await.unwrap();
        sending.files.first().is_some_and(|it| it.done >= bytes)
    })
    .await;
}

async fn check(receiver: &Agent, bytes: &[u8]) {
    let received = receiver.call(ReceivedRequest { clear: false }).await;
    let received = received.unwrap();
    assert_eq!(received.total, 1);
    assert!(fs::read(&received.files[0].path).unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_goes_on_through_restarts_of_its_receiver() {
    let network = Network::new().await;
    let (one, mut other) = network.friends("one", "other").await;
    let bytes = content(192);
    let path = file(&network, "large", &bytes);
    let sending = start_sending(&one, &other, &path);
    for percent in [5, 30, 60] {
        until_done(&one, percent * 192 * MIB / 100).await;
        other.stop().await;
        other = network.start("other").await;
    }
    let sent = sending.await.unwrap().unwrap();
    assert!(sent.tries > 3 && sent.resumed_from > 0, "{sent:?}");
    // Of what came, nothing is sent again; what was on its way each time is bounded by the windows and a chunk.
    let again = sent.bytes_sent - 192 * MIB;
    println!("{} tries, {again} bytes sent again", sent.tries);
    check(&other, &bytes).await;
    assert_eq!(left_len(&network.home("other")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_command_goes_on_where_the_first_was_given_up() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let bytes = content(96);
    let path = file(&network, "large", &bytes);
    let home = network.home("other");
    let mut before = 0;
    for percent in [10, 40, 70] {
        let sending = start_sending(&one, &other, &path);
        until_done(&one, percent * 96 * MIB / 100).await;
        sending.abort();
        // The server sees that the client went away.
        until_none_is_sent(&one).await;
        let held = left_len(&home);
        assert!(held >= before, "{held} after {before}");
        before = held;
    }
    let sent = one.call(send(&other, path)).await.unwrap();
    assert!(
        sent.resumed_from >= before / MIB * MIB,
        "{sent:?} after {before}"
    );
    assert_eq!(sent.bytes_sent, 96 * MIB - sent.resumed_from);
    assert_eq!(sent.tries, 1);
    check(&other, &bytes).await;
}

async fn until_none_is_sent(agent: &Agent) {
    until(|| async {
        let sending = agent.call(FilesSendingRequest {}).await.unwrap();
        sending.files.is_empty()
    })
    .await;
}

/// Leaves about a half of a file at the receiver; gives what was left.
async fn leave(network: &Network, one: &Agent, other: &Agent, path: &Path, size: u64) -> PathBuf {
    let sending = start_sending(one, other, path);
    until_done(one, size / 2).await;
    sending.abort();
    let home = network.home("other");
    until(|| async { left_len(&home) >= size / 4 }).await;
    until_none_is_sent(one).await;
    left(&home).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_damaged_or_changed_meanwhile_is_sent_again_and_nothing_else() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let mut bytes = content(64);
    let path = file(&network, "large", &bytes);
    let partial = leave(&network, &one, &other, &path, 64 * MIB).await;
    other.stop().await;
    // A bit of the third chunk is another one there, and the sixth is another one here.
    let mut there = fs::read(&partial).unwrap();
    there[2 * FILE_CHUNK as usize + 7] ^= 1;
    fs::write(&partial, &there).unwrap();
    bytes[5 * FILE_CHUNK as usize + 9] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let other = network.start("other").await;
    let sent = one.call(send(&other, path)).await.unwrap();
    let held = there.len() as u64 / MIB;
    assert_eq!(sent.resumed_from, (held - 2) * MIB);
    assert_eq!(sent.bytes_sent, (64 - held + 2) * MIB);
    check(&other, &bytes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trust_that_ends_on_the_way_ends_the_transfer() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let path = file(&network, "large", &content(192));
    let sending = start_sending(&one, &other, &path);
    until_done(&one, 19 * MIB).await;
    let untrust = pilot_api::types::UntrustRequest { peer: one.name() };
    other.call(untrust).await.unwrap();
    let error = sending.await.unwrap().unwrap_err();
    assert!(
        matches!(error.code, ErrorCode::NotTrusted | ErrorCode::NotFound),
        "{error}"
    );
    let received = other.call(ReceivedRequest { clear: false }).await.unwrap();
    assert_eq!(received.total, 0);
}
