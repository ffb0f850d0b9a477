//! Notices and the webhook.

use pilot_api::types::*;
use pilot_api::{ApiError, Payload};
use tokio::sync::mpsc;

use super::{PEER, THEN, node, peer};

const URL: &str = "https://hooks.example/pilot";

/// A knock and a message, and more than once a gap where notices after another run's are asked for.
pub(super) fn watch(request: &WatchRequest) -> Result<mpsc::Receiver<Notice>, ApiError> {
    let kinds = request.kinds.as_deref().unwrap_or_default();
    let kinds = kinds.split(',').filter(|kind| !kind.is_empty());
    let kinds: Vec<NoticeKind> = kinds
        .map(str::parse)
        .collect::<Result<_, String>>()
        .map_err(ApiError::invalid)?;
    let message = InboxMessage {
        id: "00112233445566778899aabbccddeeff".parse().unwrap(),
        from: node(PEER),
        from_address: peer().address,
        from_hostname: peer().hostname,
        kind: MessageKind::Text,
        body: Some(Payload::new(b"rain\x1b[31m\nat six".to_vec())),
        bytes: 17,
        received_at: THEN,
        reply_to: None,
        trust: "trusted".into(),
        network_id: None,
        via: "direct".into(),
        sent_at: None,
        filter: None,
    };
    let missed = request
        .after
        .map(|_| (None, What::Missed { count: Some(2) }));
    let all = [
        (Some(7), What::Knock { agent: peer() }),
        (Some(8), What::Message { message }),
    ];
    let (sender, receiver) = mpsc::channel(16);
    for (id, what) in missed.into_iter().chain(all) {
        if what.kind().is_among(&kinds) {
            sender.try_send(Notice { id, at: THEN, what }).unwrap();
        }
    }
    // It goes on, as a daemon does that has nothing to tell.
    tokio::spawn(async move { sender.closed().await });
    Ok(receiver)
}

pub(super) fn webhook() -> Webhook {
    Webhook {
        url: Some(URL.into()),
        kinds: vec![NoticeKind::Message, NoticeKind::Knock],
        state: "retrying".into(),
        delivered: 40,
        lost: 2,
        waiting: 3,
        last_error: Some("it answered 503".into()),
    }
}

pub(super) fn set_webhook(request: SetWebhookRequest) -> Result<WebhookSet, ApiError> {
    if request
        .url
        .as_deref()
        .is_some_and(|url| !url.contains("://"))
    {
        let words = "invalid webhook URL: expected http://HOST/… or https://HOST/…";
        return Err(ApiError::invalid(words));
    }
    Ok(WebhookSet {
        secret: (request.url.is_some() && request.secret.is_none()).then(|| "5e".repeat(32)),
        url: request.url,
        applied: true,
        kinds: request.kinds,
    })
}

pub(super) fn tested() -> WebhookTested {
    WebhookTested {
        url: URL.into(),
        status: 204,
        duration_ms: 12.5,
    }
}
