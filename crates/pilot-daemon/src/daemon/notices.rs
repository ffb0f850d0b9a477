//! Notices: for clients that watch, and for the webhook.

use std::sync::Arc;

use pilot_api::ApiError;
use pilot_api::ErrorCode;
use pilot_api::types::{
    Notice, NoticeKind, SetWebhookRequest, WatchRequest, Webhook, WebhookSet, WebhookTested,
};
use pilot_types::encode_hex;
use tokio::sync::mpsc;

use super::Daemon;
use super::messages::random_bytes;
use crate::notices::{Reader, tell_of_node};
use crate::webhook::WebhookSettings;

/// Notices between the board and a client that does not read: what waits beyond them waits at the board.
const QUEUE: usize = 16;

impl Daemon {
    /// Puts what happens on the board, and posts it where that is wanted, until the node ends.
    pub(crate) fn tell_and_post(self: &Arc<Self>) {
        tokio::spawn(tell_of_node(
            self.node.clone(),
            Arc::clone(self.webhooks.board()),
        ));
        let daemon = Arc::clone(self);
        tokio::spawn(async move {
            let mut notices = daemon.node.notices();
            let ended = async { while notices.next().await.is_some() {} };
            tokio::select! {
                () = daemon.webhooks.run(&daemon.services) => {}
                () = ended => {}
            }
        });
    }

    pub(super) fn watch_notices(
        &self,
        request: &WatchRequest,
    ) -> Result<mpsc::Receiver<Notice>, ApiError> {
        let kinds = kinds(request.kinds.as_deref())?;
        let (board, node) = (Arc::clone(self.webhooks.board()), self.node.clone());
        let broker = self.services.broker();
        let reader = Reader::new(board, node, broker, kinds, request.after);
        let mut reader = reader.map_err(|error| {
            ApiError::new(ErrorCode::RateLimited, error.to_string()).with_retry_after_ms(1000)
        })?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            loop {
                let notice = tokio::select! {
                    notice = reader.next() => notice,
                    () = sender.closed() => return,
                };
                if sender.send(Arc::unwrap_or_clone(notice)).await.is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }

    pub(super) fn webhook_status(&self) -> Webhook {
        self.webhooks.status()
    }

    /// In the file first: what is in effect is in effect after a restart.
    pub(super) async fn change_webhook(
        &self,
        request: SetWebhookRequest,
    ) -> Result<WebhookSet, ApiError> {
        let SetWebhookRequest { url, secret, kinds } = request;
        let Some(url) = url else {
            self.change_config(|file| WebhookSettings::write(None, file))
                .await?;
            self.webhooks.set(None);
            return Ok(WebhookSet {
                url: None,
                applied: true,
                secret: None,
                kinds: vec![],
            });
        };
        let made = secret.is_none().then(|| encode_hex(&random_bytes::<32>()));
        let used = secret.or_else(|| made.clone()).unwrap_or_default();
        let settings = WebhookSettings::new(url.clone(), used, kinds)?;
        let kept = settings.clone();
        self.change_config(move |file| WebhookSettings::write(Some(&kept), file))
            .await?;
        let kinds = settings.kinds();
        self.webhooks.set(Some(settings));
        Ok(WebhookSet {
            url: Some(url),
            applied: true,
            secret: made,
            kinds,
        })
    }

    pub(super) async fn post_test(&self) -> Result<WebhookTested, ApiError> {
        self.webhooks.test().await
    }
}

fn kinds(words: Option<&str>) -> Result<Vec<NoticeKind>, ApiError> {
    let words = words.into_iter().flat_map(|words| words.split(','));
    let kinds = words.map(|word| word.trim().parse());
    kinds
        .collect::<Result<_, String>>()
        .map_err(ApiError::invalid)
}
