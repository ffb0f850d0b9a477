//! Frames that are no stream's: reliable ones of the layers above, and datagrams.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pilot_wire::Frame;

use crate::error::{ControlError, DatagramError};
use crate::stats::ControlFrame;
use crate::writer::{FrameWriter, SentFrame};

/// A frame of the queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Control {
    Index(ControlFrame),
    Extension { kind: u64, body: Vec<u8> },
}

impl Control {
    fn frame(&self) -> Frame<'_> {
        match self {
            Self::Index(ControlFrame::NewIndex { sequence, index }) => Frame::NewIndex {
                sequence: *sequence,
                index: *index,
            },
            Self::Index(ControlFrame::RetireIndex { sequence }) => Frame::RetireIndex {
                sequence: *sequence,
            },
            Self::Extension { kind, body } => Frame::Extension { kind: *kind, body },
        }
    }
}

/// Frames that are repeated until they are acknowledged.
#[derive(Debug)]
pub(crate) struct ControlQueue {
    /// At most `max`; only we add to it.
    waiting: BTreeMap<u64, Control>,
    due: BTreeSet<u64>,
    next: u64,
    max: usize,
}

impl ControlQueue {
    pub(crate) const fn new(max: usize) -> Self {
        Self {
            waiting: BTreeMap::new(),
            due: BTreeSet::new(),
            next: 0,
            max,
        }
    }

    pub(crate) fn push(&mut self, control: Control) -> Result<(), ControlError> {
        if self.waiting.len() >= self.max {
            return Err(ControlError::Full);
        }
        self.waiting.insert(self.next, control);
        self.due.insert(self.next);
        self.next += 1;
        Ok(())
    }

    pub(crate) fn fill(&mut self, writer: &mut FrameWriter<'_>) {
        while let Some(&key) = self.due.first() {
            let frame = self.waiting.get(&key).map(Control::frame);
            if frame.is_some_and(|frame| !writer.put_tracked(&frame, SentFrame::Control(key))) {
                return;
            }
            self.due.remove(&key);
        }
    }

    pub(crate) fn is_pending(&self) -> bool {
        !self.due.is_empty()
    }

    pub(crate) fn on_acked(&mut self, key: u64) {
        self.waiting.remove(&key);
        self.due.remove(&key);
    }

    pub(crate) fn on_lost(&mut self, key: u64) {
        if self.waiting.contains_key(&key) {
            self.due.insert(key);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.due.clear();
    }
}

/// Unreliable datagrams that wait to be sent.
#[derive(Debug)]
pub(crate) struct DatagramQueue {
    waiting: VecDeque<Vec<u8>>,
    max: usize,
}

impl DatagramQueue {
    pub(crate) const fn new(max: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            max,
        }
    }

    pub(crate) fn push(&mut self, data: &[u8]) -> Result<(), DatagramError> {
        if self.waiting.len() >= self.max {
            return Err(DatagramError::Full);
        }
        self.waiting.push_back(data.to_vec());
        Ok(())
    }

    pub(crate) fn fill(&mut self, writer: &mut FrameWriter<'_>) {
        while let Some(data) = self.waiting.front() {
            if !writer.put(&Frame::Datagram(data)) {
                return;
            }
            self.waiting.pop_front();
        }
    }

    pub(crate) fn is_pending(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Drops those that a smaller path cannot carry; they would hold up the others.
    pub(crate) fn shrink(&mut self, max: usize) {
        self.waiting.retain(|data| data.len() <= max);
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}
