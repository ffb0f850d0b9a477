//! What this node shares with one boot of one peer: the epochs that it completed with it.

use std::time::Instant;

use pilot_types::{BootId, Epoch as EpochId, PacketNumber, TransmitBuf};

use crate::config::Config;
use crate::drop_reason::DropReason;
use crate::epoch::{Epoch, Notice, Opened, Order};
use crate::error::SealError;

/// Epochs of a session: the current one, its predecessor, and two that crossed them.
pub(crate) const MAX_EPOCHS: usize = 4;

/// All usable epochs with one boot of a peer; never empty but while it is taken apart.
pub(crate) struct Session {
    boot: BootId,
    /// Freshness of the newest hello that took effect.
    freshness: Option<u64>,
    /// In ascending order; the last one is used for sending.
    epochs: Vec<Epoch>,
    /// Largest packet number received under any epoch.
    largest: Option<PacketNumber>,
    /// Order of the newest epoch that the peer was seen to use.
    newest_used: Option<Order>,
}

/// What a session's timer found.
pub(crate) struct SessionTimeout {
    pub(crate) is_rekey_due: bool,
    /// Epochs that ended.
    pub(crate) ended: Vec<Epoch>,
}

impl Session {
    pub(crate) const fn new(boot: BootId) -> Self {
        Self {
            boot,
            freshness: None,
            epochs: vec![],
            largest: None,
            newest_used: None,
        }
    }

    pub(crate) const fn boot(&self) -> BootId {
        self.boot
    }

    pub(crate) const fn largest(&self) -> Option<PacketNumber> {
        self.largest
    }

    pub(crate) const fn freshness(&self) -> Option<u64> {
        self.freshness
    }

    /// The peer has another key: its stamps begin anew.
    pub(crate) const fn forget_freshness(&mut self) {
        self.freshness = None;
    }

    /// Notes a hello that took effect.
    pub(crate) fn set_freshness(&mut self, freshness: u64) {
        self.freshness = self.freshness.max(Some(freshness));
    }

    pub(crate) fn newest_number(&self) -> Option<u32> {
        self.epochs.last().map(|epoch| epoch.order.number)
    }

    /// The epoch that packets are sealed under.
    pub(crate) fn current(&self) -> Option<&Epoch> {
        self.epochs.last()
    }

    pub(crate) fn current_mut(&mut self) -> Option<&mut Epoch> {
        self.epochs.last_mut()
    }

    pub(crate) fn epoch_by_order(&mut self, order: Order) -> Option<&mut Epoch> {
        self.epochs.iter_mut().find(|epoch| epoch.order == order)
    }

    /// Adds an epoch that is usable from now on; gives the oldest back if it is one too many.
    pub(crate) fn insert(&mut self, epoch: Epoch) -> Option<Epoch> {
        let place = self.epochs.partition_point(|e| e.order <= epoch.order);
        self.epochs.insert(place, epoch);
        (self.epochs.len() > MAX_EPOCHS).then(|| self.epochs.remove(0))
    }

    /// All epochs, to be wiped.
    pub(crate) fn into_epochs(self) -> Vec<Epoch> {
        self.epochs
    }

    pub(crate) fn can_seal(&self, now: Instant, config: &Config) -> bool {
        self.current().is_some_and(|e| e.can_seal(now, config))
    }

    pub(crate) fn seal(
        &mut self,
        now: Instant,
        config: &Config,
        number: PacketNumber,
        buf: &mut TransmitBuf,
    ) -> Result<Notice, SealError> {
        let epoch = self.epochs.last_mut().ok_or(SealError::NoSession)?;
        epoch.seal(now, config, number, buf)
    }

    pub(crate) fn open<'a>(
        &mut self,
        now: Instant,
        config: &Config,
        id: EpochId,
        packet: &'a mut [u8],
    ) -> Result<Opened<'a>, DropReason> {
        let epoch = self
            .epochs
            .iter_mut()
            .find(|epoch| epoch.id == id)
            .ok_or(DropReason::UnknownIndex)?;
        let mut opened = epoch.open(now, config, self.largest, packet)?;
        let order = epoch.order;
        opened.notice.is_rescheduled |= self.note_opened(now, config, order, opened.number);
        if self.current().is_some_and(|current| current.id != id) {
            opened.notice.is_rekey_due = false;
        }
        Ok(opened)
    }

    /// Notes a packet of the epoch at `order`. Whether deadlines changed.
    ///
    /// A peer that seals under one epoch has it as its newest usable one and never goes back: older ones can end.
    pub(crate) fn note_opened(
        &mut self,
        now: Instant,
        config: &Config,
        order: Order,
        number: PacketNumber,
    ) -> bool {
        self.largest = self.largest.max(Some(number));
        self.newest_used = self.newest_used.max(Some(order));
        let mut is_rescheduled = false;
        for epoch in &mut self.epochs {
            if Some(epoch.order) < self.newest_used {
                is_rescheduled |= epoch.retire(now, config);
            }
        }
        is_rescheduled
    }

    /// When there is something to do.
    pub(crate) fn deadline(&self, config: &Config) -> Option<Instant> {
        let newest = self.epochs.len().checked_sub(1)?;
        let deadlines = self.epochs.iter().enumerate();
        deadlines
            .map(|(place, epoch)| epoch.deadline(config, place == newest))
            .min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, config: &Config) -> SessionTimeout {
        for epoch in &mut self.epochs {
            epoch.check_window(now, config);
        }
        // What is older than an epoch that ended was replaced by it: packets are never sealed under it again.
        let ended = self.epochs.iter().rposition(|e| e.is_over(now, config));
        let ended = self.epochs.drain(..ended.map_or(0, |last| last + 1));
        let ended = ended.collect();
        let is_rekey_due = self
            .current_mut()
            .is_some_and(|epoch| epoch.take_rekey_due(now, config));
        SessionTimeout {
            is_rekey_due,
            ended,
        }
    }
}

#[cfg(test)]
impl Session {
    pub(crate) fn epoch_count(&self) -> usize {
        self.epochs.len()
    }
}
