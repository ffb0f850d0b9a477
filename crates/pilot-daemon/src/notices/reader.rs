//! One who reads notices: of the board, and of the broker where events are wanted.

use std::sync::Arc;

use pilot::Node;
use pilot_api::types::{Notice, NoticeKind, What};
use pilot_apps::{Broker, Published, SubscribeError, Subscription};

use super::{Board, Seen};
use crate::daemon::event;
use crate::inbox::now;

/// A reader, where it stands.
pub(crate) struct Reader {
    board: Arc<Board>,
    node: Node,
    cursor: u64,
    kinds: Vec<NoticeKind>,
    events: Option<Subscription>,
}

impl Reader {
    /// A reader of these kinds, of all if there is none, which begins after a notice; at the end of the board if none is named.
    ///
    /// # Errors
    /// The broker's, if events are wanted.
    pub(crate) fn new(
        board: Arc<Board>,
        node: Node,
        broker: &Broker,
        kinds: Vec<NoticeKind>,
        after: Option<u64>,
    ) -> Result<Self, SubscribeError> {
        let events = if NoticeKind::Event.is_among(&kinds) {
            let all = "#".parse().expect("all topics are a filter");
            Some(broker.subscribe(node.agent(), all)?)
        } else {
            None
        };
        Ok(Self {
            cursor: after.map_or_else(|| board.newest(), |id| board.cursor_after(id)),
            board,
            node,
            kinds,
            events,
        })
    }

    /// The newest notice of the board that was read or passed over.
    pub(crate) const fn cursor(&self) -> u64 {
        self.cursor
    }

    /// The next notice of the wanted kinds. Cancel safe.
    pub(crate) async fn next(&mut self) -> Arc<Notice> {
        loop {
            let what = tokio::select! {
                seen = self.board.next(&mut self.cursor) => match seen {
                    Seen::Notice(notice) if notice.what.kind().is_among(&self.kinds) => return notice,
                    Seen::Notice(_) => continue,
                    Seen::Missed(count) => What::Missed { count },
                },
                published = published(&mut self.events) => match published {
                    Published::Event(published) => {
                        let published = Arc::unwrap_or_clone(published);
                        let event = event(&self.node, published.topic, published.from, published.body);
                        What::Event { event }
                    }
                    Published::Dropped(count) => What::Missed { count: Some(count) },
                },
            };
            return Arc::new(Notice {
                id: None,
                at: now(),
                what,
            });
        }
    }
}

async fn published(events: &mut Option<Subscription>) -> Published {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}
