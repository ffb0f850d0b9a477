//! What a transport tells its owner.

use std::collections::VecDeque;
use std::time::Duration;

use pilot_types::{PathId, StreamId};
use pilot_wire::ErrorCode;

/// Something happened; in the order in which it did.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The peer opened a stream.
    StreamOpened(StreamId),
    /// There is something to read: bytes, or the end.
    Readable(StreamId),
    /// A stream whose buffer was full has room again.
    Writable(StreamId),
    /// The peer has everything that was written, and the end.
    StreamFinished(StreamId),
    /// The peer gave up sending on the stream.
    StreamReset {
        /// The stream.
        id: StreamId,
        /// Why.
        code: ErrorCode,
    },
    /// The peer wants no more of the stream.
    StreamStopped {
        /// The stream.
        id: StreamId,
        /// Why.
        code: ErrorCode,
    },
    /// Streams can be opened again after `OpenError::Limit`.
    StreamsAvailable,
    /// An unreliable datagram.
    Datagram(Vec<u8>),
    /// A frame of a layer above, delivered at least once; unknown kinds are to be ignored.
    Extension {
        /// Its type, from 0x40.
        kind: u64,
        /// Its body.
        body: Vec<u8>,
    },
    /// A spare receiver index, delivered at least once.
    NewIndex {
        /// Its sequence.
        sequence: u64,
        /// The index.
        index: u32,
    },
    /// An index that will not be used again, delivered at least once.
    RetireIndex {
        /// Its sequence.
        sequence: u64,
    },
    /// The peer answers on the path that we migrated to.
    PathValidated(PathId),
    /// The peer did not answer on the path that we migrated to; the one before is in use again, if there was one.
    PathFailed(PathId),
    /// The peer answered a probe.
    PathProbed {
        /// The path that the probe went on.
        path: PathId,
        /// From challenge to response, whichever way the response came.
        rtt: Duration,
    },
    /// The peer sends on this path now, which is not the one in use. Told once until it sends on another one.
    PeerMoved(PathId),
    /// Something is in flight and nothing of it was acknowledged for three probe timeouts, at least 0.5 s and at most 2 s. Told
    /// again after as long again.
    Silent,
    /// A packet of the peer was the first word of either end for so long; told after [`Transport::set_keep_alive`] alone, and
    /// of five seconds or more. What lies between still lets in who was not sent to for that long.
    ///
    /// [`Transport::set_keep_alive`]: crate::Transport::set_keep_alive
    Rested(Duration),
    /// Neither end said anything for the time of [`Transport::set_keep_alive`]: a PING goes out.
    ///
    /// [`Transport::set_keep_alive`]: crate::Transport::set_keep_alive
    Unheard,
    /// The session ends; streams are gone.
    Closed {
        /// Why.
        code: ErrorCode,
        /// For people.
        reason: String,
        /// Whether the peer said so.
        by_peer: bool,
    },
    /// Nothing more will be sent or is expected; the transport can be dropped.
    Drained,
}

/// Events that wait to be polled.
#[derive(Debug, Default)]
pub(crate) struct Events {
    queue: VecDeque<Event>,
    /// How many in `queue` carry what a peer sends at will.
    unsolicited: usize,
}

impl Events {
    /// Datagrams, extensions, indices and moves that wait: as many as several packets full of the smallest frames (1200 / 2).
    const MAX_UNSOLICITED: usize = 2048;

    /// Whether another event that a peer causes at will may be queued.
    pub(crate) const fn has_room(&self) -> bool {
        self.unsolicited < Self::MAX_UNSOLICITED
    }

    pub(crate) fn push(&mut self, event: Event) {
        self.unsolicited += usize::from(is_unsolicited(&event));
        self.queue.push_back(event);
    }

    /// The peer is silent; told once until it is polled.
    pub(crate) fn push_silent(&mut self) {
        if self.queue.back() != Some(&Event::Silent) {
            self.push(Event::Silent);
        }
    }

    pub(crate) fn has_some(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        let event = self.queue.pop_front()?;
        self.unsolicited -= usize::from(is_unsolicited(&event));
        Some(event)
    }
}

/// Stream events are bounded by the number of streams: each kind waits at most once per stream.
const fn is_unsolicited(event: &Event) -> bool {
    match event {
        Event::Datagram(_)
        | Event::Extension { .. }
        | Event::NewIndex { .. }
        | Event::RetireIndex { .. }
        | Event::PeerMoved(_) => true,
        Event::StreamOpened(_)
        | Event::Readable(_)
        | Event::Writable(_)
        | Event::StreamFinished(_)
        | Event::StreamReset { .. }
        | Event::StreamStopped { .. }
        | Event::StreamsAvailable
        | Event::PathValidated(_)
        | Event::PathFailed(_)
        | Event::PathProbed { .. }
        | Event::Silent
        | Event::Closed { .. }
        | Event::Rested(_)
        | Event::Unheard
        | Event::Drained => false,
    }
}
