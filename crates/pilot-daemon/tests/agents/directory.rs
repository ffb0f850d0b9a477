//! Capabilities, searches, and the directory agent.

use pilot::Tag;
use pilot_api::types::{
    Capability, DialRequest, FindRequest, InboxRequest, InfoRequest, LookupRequest, MessageKind,
    PingRequest, SearchFound, SearchRequest, SendMessageRequest, SetCapabilitiesRequest,
    SetVisibilityRequest, TrustRequest,
};
use pilot_api::{ErrorCode, Payload, PeerRef};
use pilot_daemon::Config;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::harness::{Agent, Network, start};

fn forecast() -> Capability {
    Capability {
        name: "forecast".to_owned(),
        version: "1.2.0".to_owned(),
        description: Some("tells the weather of tomorrow".to_owned()),
        input: Some(json!({"type": "object", "properties": {"city": {"type": "string"}}})),
        output: Some(json!({"type": "string"})),
    }
}

async fn say(agent: &Agent, capabilities: Vec<Capability>) {
    let named: Vec<String> = capabilities
        .iter()
        .map(|c| format!("{}@{}", c.name, c.version))
        .collect();
    let set = agent.call(SetCapabilitiesRequest { capabilities }).await;
    assert_eq!(set.unwrap().capabilities, named);
}

/// A network with a directory, a public agent that tells the weather, and one that looks for it.
async fn weather() -> (Network, Agent, Agent) {
    let network = Network::new().await;
    pilot_rendezvous::serve_directory(network.rendezvous()).unwrap();
    let oracle = Config {
        public: true,
        tags: vec!["gpu".parse().unwrap()],
        ..network.config("oracle")
    };
    let (oracle, seeker) = tokio::join!(start(oracle), network.start("seeker"));
    let oracle = oracle.unwrap();
    say(&oracle, vec![forecast()]).await;
    (network, oracle, seeker)
}

async fn search(agent: &Agent, text: &str) -> SearchFound {
    let request = SearchRequest {
        text: Some(text.to_owned()),
        ..SearchRequest::default()
    };
    agent.call(request).await.unwrap()
}

fn question(peer: &str, data: &str) -> SendMessageRequest {
    SendMessageRequest {
        peer: peer.parse().unwrap(),
        body: Payload::new(data.as_bytes().to_vec()),
        kind: MessageKind::Text,
        id: None,
        reply_to: None,
        wait_ms: Some(15_000),
        timeout_ms: None,
        traceparent: None,
    }
}

/// What the directory answers.
async fn told(agent: &Agent, data: &str) -> Value {
    let sent = agent.call(question("list-agents", data)).await.unwrap();
    let reply = sent.reply.unwrap();
    assert_eq!(reply.from_hostname.unwrap().as_str(), "list-agents");
    assert_eq!(reply.kind, MessageKind::Json);
    serde_json::from_slice(reply.body.as_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_can_do_is_shown_found_and_kept() {
    let (network, oracle, seeker) = weather().await;
    let looked = LookupRequest {
        peer: oracle.name(),
        timeout_ms: None,
    };
    let looked = seeker.call(looked).await.unwrap();
    assert_eq!(looked.capabilities, ["forecast@1.2.0"]);
    assert_eq!(looked.capability_details, [forecast()]);
    let found = search(&seeker, "weather tomorrow").await;
    assert_eq!((found.total, found.agents.len()), (1, 1));
    let agent = &found.agents[0];
    let find = FindRequest {
        name: "oracle".parse().unwrap(),
        timeout_ms: None,
    };
    assert_eq!(agent.found, seeker.call(find).await.unwrap());
    assert_eq!(agent.capabilities, ["forecast@1.2.0"]);
    assert_eq!(
        agent.description.as_deref(),
        Some("tells the weather of tomorrow")
    );

    oracle.stop().await;
    let again = Config {
        public: true,
        ..network.config("oracle")
    };
    let oracle = start(again).await.unwrap();
    let info = oracle.call(InfoRequest {}).await.unwrap();
    assert_eq!(info.capabilities, ["forecast@1.2.0"]);
    let by_capability = SearchRequest {
        capability: Some("forecast".to_owned()),
        ..SearchRequest::default()
    };
    assert_eq!(seeker.call(by_capability).await.unwrap().total, 1);
    say(&oracle, vec![]).await;
    assert_eq!(search(&seeker, "weather").await.total, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_agent_is_found_by_those_it_trusts_alone() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let stranger = network.start("stranger").await;
    say(&other, vec![forecast()]).await;
    assert_eq!(search(&one, "weather").await.total, 1);
    assert_eq!(search(&stranger, "weather").await.total, 0);
    assert_eq!(search(&stranger, "").await.total, 1, "itself");
    let shown = other.call(SetVisibilityRequest { public: true }).await;
    assert!(shown.unwrap().public);
    assert_eq!(search(&stranger, "weather").await.total, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_bounds_is_refused_in_words() {
    let network = Network::new().await;
    let agent = network.start("agent").await;
    let large = Capability {
        input: Some(json!({"description": "x".repeat(40_000)})),
        ..forecast()
    };
    let capabilities = vec![large];
    let error = agent
        .call(SetCapabilitiesRequest { capabilities })
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    assert!(error.message.contains("at most 12288"), "{error}");
    let wrong = Capability {
        output: Some(json!({"type": "weather"})),
        ..forecast()
    };
    let capabilities = vec![wrong];
    let error = agent
        .call(SetCapabilitiesRequest { capabilities })
        .await
        .unwrap_err();
    assert!(error.message.contains("JSON Schema"), "{error}");
    let searches = [
        SearchRequest {
            limit: Some(1_000_000_000),
            ..SearchRequest::default()
        },
        SearchRequest {
            text: Some("x".repeat(60 * 1024)),
            ..SearchRequest::default()
        },
        SearchRequest {
            tags: vec!["gpu".parse::<Tag>().unwrap(); 17],
            ..SearchRequest::default()
        },
    ];
    for request in searches {
        let error = agent.call(request).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{error}");
        assert!(error.message.len() < 300, "{error}");
    }
    assert_eq!(search(&agent, "\u{1b}[2J\u{0}").await.total, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_answers_whoever_asks_with_nothing_approved() {
    let (_network, oracle, seeker) = weather().await;
    let page = told(&seeker, r#"/data {"search":"weather","limit":10}"#).await;
    let expected = json!({"hostname": "oracle", "address": oracle.ready.agent.address.to_string(),
        "description": "tells the weather of tomorrow", "tags": ["gpu"], "capabilities": ["forecast@1.2.0"]});
    assert_eq!(
        page,
        json!({"items": [expected], "count": 1, "total": 1, "next": null})
    );
    for data in [
        "/data",
        r#"/data {"tag":"gpu","capability":"forecast@1.2.0","hostname":"oracle"}"#,
    ] {
        assert_eq!(told(&seeker, data).await["total"], 1, "{data}");
    }
    assert!(told(&seeker, "/help").await["commands"].is_object());
    let by_address = seeker
        .call(question("0:0000.0000.0004", "/data"))
        .await
        .unwrap();
    assert!(by_address.reply.is_some());
    assert_eq!(
        seeker.call(TrustRequest::default()).await.unwrap().trusted,
        []
    );
    let kept = seeker.call(InboxRequest::default()).await.unwrap();
    assert_eq!(kept.total, 5, "answers are kept as any others are");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_shows_public_agents_alone() {
    let network = Network::new().await;
    pilot_rendezvous::serve_directory(network.rendezvous()).unwrap();
    let (one, _other) = network.friends("one", "other").await;
    assert_eq!(search(&one, "").await.total, 2);
    assert_eq!(told(&one, "/data").await["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_answers_what_it_cannot_read_in_words() {
    let (_network, _oracle, seeker) = weather().await;
    let cases = [
        r#"/data {"limit":1000000000}"#.to_owned(),
        r#"/data {"page":0}"#.to_owned(),
        format!(r#"/data {{"search":"{}"}}"#, "x".repeat(10_000)),
        "/data {\"search\":\"\u{7}\"}".to_owned(),
        "give me everything".to_owned(),
    ];
    for data in cases {
        let error = told(&seeker, &data).await;
        assert_eq!(error["code"], "invalid_argument", "{error}");
        assert_eq!(error["hint"], "send /help");
    }
    let far = told(&seeker, r#"/data {"page":1000000000,"limit":500}"#).await;
    assert_eq!((&far["count"], &far["total"]), (&json!(0), &json!(1)));
    let long = question("list-agents", &"x".repeat(100 * 1024));
    let error = seeker.call(long).await.unwrap_err();
    assert!(error.message.contains("at most 16384"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_much_is_told_to_wait() {
    let (_network, _oracle, seeker) = weather().await;
    let mut refused = None;
    // A burst of thirty, and five a second: forty at once are too many.
    for _ in 0..10 {
        let four = tokio::join!(
            told(&seeker, "/data"),
            told(&seeker, "/data"),
            told(&seeker, "/data"),
            told(&seeker, "/data")
        );
        let answers = [four.0, four.1, four.2, four.3];
        refused = refused.or_else(|| {
            answers
                .into_iter()
                .find(|answer| answer["code"] == "rate_limited")
        });
    }
    let refused = refused.expect("one was refused");
    assert!(
        refused["retry_after_ms"].as_u64().unwrap() <= 200,
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_of_a_rendezvous_can_be_reached() {
    let (_network, _oracle, seeker) = weather().await;
    let directory: PeerRef = "list-agents".parse().unwrap();
    let dial = DialRequest {
        peer: directory.clone(),
        port: pilot::Port::STDIO,
        timeout_ms: None,
        traceparent: None,
    };
    let (_, mut stream) = seeker.client.dial(&dial).await.unwrap();
    let mut read = vec![];
    stream.read_to_end(&mut read).await.unwrap();
    assert!(read.is_empty());
    let ended = seeker.client.outcome(stream.number()).await.unwrap_err();
    assert_eq!(ended.code, ErrorCode::NotTrusted, "{ended}");
    let ping = PingRequest {
        peer: directory,
        timeout_ms: None,
    };
    assert_eq!(
        seeker.call(ping).await.unwrap_err().code,
        ErrorCode::NotFound
    );
}
