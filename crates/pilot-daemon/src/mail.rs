//! What was left in our mailbox goes into the inbox, on the terms that hold now.

use std::sync::Arc;

use pilot::{Mail, Mailbox, Node, Port};
use pilot_apps::{DataExchange, Delivery, Mailed, Sender, ServeError, Terms};

use crate::error;
use crate::inbox::StoredInbox;
use crate::services::{group_terms, terms_of};

/// Stores letters one after the other, in the order in which each sender left them; what could not be stored stays with its rendezvous, and
/// so does what came with it and behind it.
pub(crate) async fn take(
    node: Node,
    mut mailbox: Mailbox,
    exchange: Arc<DataExchange<StoredInbox>>,
) {
    let mut failed: Option<Mail> = None;
    while let Some(mail) = mailbox.next().await {
        if failed
            .as_ref()
            .is_some_and(|failed| failed.is_of_same_batch(&mail))
        {
            mailbox.done(&mail, false);
            continue;
        }
        let is_taken = take_one(&node, &mail, &exchange).await;
        mailbox.done(&mail, is_taken);
        failed = (!is_taken).then_some(mail);
    }
}

/// Whether the letter need not come again.
async fn take_one(node: &Node, mail: &Mail, exchange: &DataExchange<StoredInbox>) -> bool {
    let from = mail.from.address();
    let Some(terms) = terms(node, mail) else {
        tracing::info!(%from, "a letter from an agent that is not trusted any more");
        return true;
    };
    let delivery = Delivery {
        sender: Sender {
            agent: mail.from,
            hostname: mail.hostname.clone(),
        },
        terms,
        head: mail.head.clone(),
        body: Arc::clone(&mail.body),
        mailed: Some(Mailed {
            sent_at: mail.sent_at,
            not_after: mail.not_after,
        }),
        finding: None,
    };
    match exchange.take_letter(delivery).await {
        Ok(outcome) => {
            tracing::debug!(%from, ?outcome, "letter");
            true
        }
        Err(error @ ServeError::Inbox(_)) => {
            tracing::warn!(%from, error = error::describe(&error), "a letter stays in the mailbox");
            false
        }
        Err(error) => {
            tracing::info!(%from, error = error::describe(&error), "letter refused");
            true
        }
    }
}

/// What the sender may do here now; `None` if it may not write to us.
fn terms(node: &Node, mail: &Mail) -> Option<Terms> {
    match &mail.group {
        Some(group) => group_terms(node, group, &mail.from),
        None => terms_of(node, &mail.from)
            .filter(|terms| terms.is_reply_only || node.admits(&mail.from, Port::DATA_EXCHANGE)),
    }
}
