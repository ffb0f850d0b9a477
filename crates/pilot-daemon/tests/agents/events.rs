//! Events at other agents' brokers and at one's own.

use pilot_api::types::{EventLine, PublishRequest, SubscribeRequest};
use pilot_api::{ApiStream, ErrorCode, Payload, PeerRef};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::harness::{Agent, Network};

fn publish(to: PeerRef, topic: &str, data: &[u8]) -> PublishRequest {
    PublishRequest {
        peer: to,
        topic: topic.parse().unwrap(),
        body: Payload::new(data.to_vec()),
        timeout_ms: None,
    }
}

async fn subscribe(from: &Agent, to: PeerRef, topic: &str) -> BufReader<ApiStream> {
    let request = SubscribeRequest {
        peer: to,
        topic: topic.parse().unwrap(),
        replay: 0,
        timeout_ms: None,
    };
    let (_, stream) = from.client.subscribe(&request).await.unwrap();
    BufReader::new(stream)
}

async fn line(stream: &mut BufReader<ApiStream>) -> EventLine {
    let mut text = String::new();
    stream.read_line(&mut text).await.unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_reaches_remote_and_local_subscribers_and_says_who_published_it() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let mut remote = subscribe(&one, other.name(), "jobs/*").await;
    let mut local = subscribe(&other, other.peer(), "jobs.#").await;
    for (publisher, data) in [(&one, b"from one"), (&other, b"by other")] {
        let published = publisher
            .call(publish(other.name(), "jobs/done", data))
            .await
            .unwrap();
        assert_eq!(published.subscribers, 2);
        for stream in [&mut remote, &mut local] {
            let EventLine::Event(event) = line(stream).await else {
                panic!("a gap");
            };
            assert_eq!(event.from, publisher.ready.agent.node_id);
            assert_eq!(event.from_hostname, publisher.ready.agent.hostname);
            assert_eq!(event.body.as_bytes(), data);
        }
    }
    let elsewhere = one
        .call(publish(other.name(), "other", b"x"))
        .await
        .unwrap();
    assert_eq!(elsewhere.subscribers, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_ended_frees_its_place_and_one_that_breaks_says_so() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let mut remote = subscribe(&one, other.name(), "a").await;
    let number = remote.get_ref().number();
    remote.get_mut().shutdown().await.unwrap();
    one.client.outcome(number).await.unwrap();
    crate::harness::until(|| async {
        let published = other.call(publish(other.peer(), "a", b"")).await.unwrap();
        published.subscribers == 0
    })
    .await;
    let broken = subscribe(&one, other.name(), "a").await;
    other.stop().await;
    let error = one.client.outcome(broken.get_ref().number()).await;
    assert_eq!(error.unwrap_err().code, ErrorCode::ConnectionFailed);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_neither_publish_nor_subscribe() {
    let network = Network::new().await;
    let one = network.start("one").await;
    let stranger = network.start("stranger").await;
    let refused = stranger.call(publish(one.name(), "a", b"x")).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::NotFound);
    let request = SubscribeRequest {
        peer: one.name(),
        topic: "#".parse().unwrap(),
        replay: 0,
        timeout_ms: None,
    };
    let refused = stranger.client.subscribe(&request).await;
    assert_eq!(refused.err().unwrap().code, ErrorCode::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_comes_later_gets_the_last_events_first_here_and_there() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    for data in [b"1", b"2", b"3"] {
        one.call(publish(other.name(), "jobs/done", data))
            .await
            .unwrap();
    }
    for subscriber in [&one, &other] {
        let request = SubscribeRequest {
            peer: other.name(),
            topic: "jobs/*".parse().unwrap(),
            replay: 2,
            timeout_ms: None,
        };
        let (_, stream) = subscriber.client.subscribe(&request).await.unwrap();
        let mut stream = BufReader::new(stream);
        for data in [b"2", b"3"] {
            let EventLine::Event(event) = line(&mut stream).await else {
                panic!("a gap");
            };
            assert_eq!(event.body.as_bytes(), data);
        }
    }
}
