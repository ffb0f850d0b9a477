use tokio::io::{DuplexStream, ReadBuf, duplex};

use std::pin::Pin;
use std::task::{Context, Poll};

use super::*;

const ALICE: AgentId = AgentId::new([1; 32]);
const BOB: AgentId = AgentId::new([2; 32]);

fn topic(text: &str) -> Topic {
    text.parse().unwrap()
}

fn filter(text: &str) -> TopicFilter {
    text.parse().unwrap()
}

fn body_of(published: &Published) -> Vec<u8> {
    match published {
        Published::Event(event) => event.body.clone(),
        Published::Dropped(count) => panic!("{count} dropped"),
    }
}

#[tokio::test]
async fn events_reach_those_whose_filter_matches_in_order() {
    let broker = Broker::default();
    let mut all = broker.subscribe(ALICE, filter("jobs/*")).unwrap();
    let mut done = broker.subscribe(BOB, filter("jobs/done")).unwrap();
    assert_eq!(broker.publish(BOB, topic("jobs/new"), b"1".to_vec()), Ok(1));
    assert_eq!(
        broker.publish(BOB, topic("jobs/done"), b"2".to_vec()),
        Ok(2)
    );
    assert_eq!(broker.publish(BOB, topic("other"), b"3".to_vec()), Ok(0));
    assert_eq!(body_of(&all.next().await), b"1");
    assert_eq!(body_of(&all.next().await), b"2");
    assert_eq!(body_of(&done.next().await), b"2");
    drop(all);
    assert_eq!(broker.publish(BOB, topic("jobs/new"), vec![]), Ok(0));
}

#[tokio::test]
async fn a_slow_subscriber_learns_how_many_it_missed_and_delays_nobody() {
    let broker = Broker::default();
    let mut slow = broker.subscribe(ALICE, filter("#")).unwrap();
    let mut quick = broker.subscribe(BOB, filter("#")).unwrap();
    for number in 0..300_u32 {
        let body = number.to_be_bytes().to_vec();
        broker.publish(ALICE, topic("n"), body.clone()).unwrap();
        assert_eq!(body_of(&quick.next().await), body);
    }
    for number in 0..256_u32 {
        assert_eq!(body_of(&slow.next().await), number.to_be_bytes());
    }
    assert_eq!(slow.next().await, Published::Dropped(44));
    broker
        .publish(ALICE, topic("n"), b"after".to_vec())
        .unwrap();
    assert_eq!(body_of(&slow.next().await), b"after");
    for _ in 0..20 {
        broker
            .publish(ALICE, topic("n"), vec![0; 64 * 1024])
            .unwrap();
    }
    let mut whole = 0;
    while let Published::Event(_) = slow.next().await {
        whole += 1;
    }
    assert_eq!(whole, 8, "512 KiB wait at most");
}

#[tokio::test]
async fn who_comes_later_gets_the_last_that_match_then_what_follows() {
    let broker = Broker::default();
    for number in 0..300_u32 {
        let topic = topic(if number % 2 == 0 { "even" } else { "odd" });
        let body = number.to_be_bytes().to_vec();
        broker.publish(ALICE, topic, body).unwrap();
    }
    let mut last = broker.subscribe_after(BOB, filter("odd"), 2).unwrap();
    broker
        .publish(ALICE, topic("odd"), b"new".to_vec())
        .unwrap();
    for expected in [297_u32, 299] {
        assert_eq!(body_of(&last.next().await), expected.to_be_bytes());
    }
    assert_eq!(body_of(&last.next().await), b"new");
    // 256 are kept, and no more than a queue takes are given.
    let mut all = broker
        .subscribe_after(BOB, filter("#"), usize::MAX)
        .unwrap();
    assert_eq!(body_of(&all.next().await), 45_u32.to_be_bytes());
    for _ in 0..20 {
        let large = vec![0; 64 * 1024];
        broker.publish(ALICE, topic("large"), large).unwrap();
    }
    let mut large = broker.subscribe_after(BOB, filter("#"), 100).unwrap();
    broker.publish(ALICE, topic("end"), vec![]).unwrap();
    let mut whole = 0;
    while !body_of(&large.next().await).is_empty() {
        whole += 1;
    }
    assert_eq!(whole, 8, "512 KiB, none of them dropped");
}

#[test]
fn subscriptions_are_bounded_for_each_agent_and_in_all() {
    let broker = Broker::default();
    let mut kept = vec![];
    for agent in 0..8 {
        for _ in 0..32 {
            let agent = AgentId::new([agent; 32]);
            kept.push(broker.subscribe(agent, filter("a")).unwrap());
        }
    }
    let one_more = |agent| broker.subscribe(AgentId::new([agent; 32]), filter("a"));
    assert_eq!(one_more(0).unwrap_err(), SubscribeError::Agent);
    assert_eq!(one_more(9).unwrap_err(), SubscribeError::Full);
    kept.pop();
    assert!(one_more(9).is_ok());
    let long = broker.publish(ALICE, topic("a"), vec![0; 64 * 1024 + 1]);
    assert!(long.is_err());
}

#[tokio::test]
async fn over_streams_the_publisher_is_who_holds_the_session() {
    let broker = std::sync::Arc::new(Broker::default());
    let serve = |stream, agent| {
        let broker = std::sync::Arc::clone(&broker);
        tokio::spawn(async move { serve_events(stream, &broker, agent).await })
    };
    let (ours, theirs) = duplex(100);
    let feeding = serve(theirs, ALICE);
    let mut subscription = RemoteSubscription::open(ours, filter("news.#"), 0)
        .await
        .unwrap();
    let (ours, theirs) = duplex(100);
    serve(theirs, BOB);
    let count = publish_event(ours, topic("news.today"), vec![7; 1000]).await;
    assert_eq!(count.unwrap(), 1);
    let frame = subscription.next().await.unwrap();
    let expected = EventFrame::Event {
        topic: topic("news.today"),
        from: BOB,
        body: vec![7; 1000],
    };
    assert_eq!(frame, expected);
    drop(subscription);
    assert!(feeding.await.unwrap().is_ok());
    assert_eq!(broker.publish(BOB, topic("news.today"), vec![]), Ok(0));
}

#[tokio::test]
async fn a_broker_that_goes_away_is_an_error_to_its_subscribers() {
    let broker = std::sync::Arc::new(Broker::default());
    let (ours, theirs) = duplex(100);
    let serving = std::sync::Arc::clone(&broker);
    let feeding = tokio::spawn(async move { serve_events(theirs, &serving, ALICE).await });
    let mut subscription = RemoteSubscription::open(ours, filter("a"), 0)
        .await
        .unwrap();
    feeding.abort();
    assert!(subscription.next().await.is_err());
}

/// A stream that the other end has stopped reading by the time that it is ended.
struct Stopped(DuplexStream);

impl AsyncRead for Stopped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, out)
    }
}

impl AsyncWrite for Stopped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, data)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
}

#[tokio::test]
async fn a_broker_that_answers_before_the_end_of_the_request_is_believed() {
    let broker = Broker::default();
    let (ours, theirs) = duplex(4096);
    let (published, served) = tokio::join!(
        publish_event(Stopped(ours), topic("build/done"), b"green".to_vec()),
        serve_events(theirs, &broker, ALICE),
    );
    assert_eq!(published.unwrap(), 0);
    served.unwrap();

    let (ours, theirs) = duplex(4096);
    drop(theirs);
    let lost = publish_event(Stopped(ours), topic("build/done"), b"green".to_vec()).await;
    assert!(matches!(lost, Err(EventError::Stream(_))));
}
