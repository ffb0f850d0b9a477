//! One completed handshake's keys, and how long they last.

use std::time::{Duration, Instant};

use pilot_types::{Epoch as EpochId, PacketNumber, TransmitBuf};

use crate::config::Config;
use crate::drop_reason::DropReason;
use crate::error::SealError;
use crate::index::{LocalIndices, RemoteIndices};
use crate::replay::ReplayWindow;
use crate::seal::{EpochKeys, Exporter, Opener, Sealer};

/// Payloads up to this are keep-alives, acknowledgements and keystrokes.
const SMALL_PAYLOAD: usize = 64;
/// How much more a longer one says about an epoch being in use.
const LARGE_WEIGHT: u32 = 32;
/// Weight beyond which an epoch counts as carrying application data: 8 large payloads, or 256 small ones, which is more
/// than an hour of keep-alives.
const ACTIVE_WEIGHT: u32 = 256;
/// The responder asks for a new epoch only if the initiator has not by then.
const RESPONDER_PATIENCE: Duration = Duration::from_secs(15);
/// Packets within one [`WINDOW_CHECK`] that make an epoch busy: what the idle replay window holds.
const BUSY_PACKETS: u64 = 1024;
/// How long a replay window stays large without being busy.
const WINDOW_CHECK: Duration = Duration::from_secs(30);

/// An epoch's place among those of its session, which both ends know: the larger one is used for sending.
///
/// The number is agreed in the handshake, above all that either end knew; only handshakes that crossed can have the same
/// one, and of these the smaller agent's comes out larger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Order {
    pub(crate) number: u32,
    pub(crate) by_smaller: bool,
}

impl Order {
    pub(crate) fn to_u64(self) -> u64 {
        (u64::from(self.number) << 1) | u64::from(self.by_smaller)
    }

    pub(crate) fn from_u64(order: u64) -> Option<Self> {
        let number = u32::try_from(order >> 1).ok()?;
        Some(Self {
            number,
            by_smaller: order & 1 == 1,
        })
    }
}

/// Facts about a new epoch.
pub(crate) struct EpochFacts {
    pub(crate) id: EpochId,
    pub(crate) order: Order,
    pub(crate) is_initiator: bool,
    /// The index that the peer puts on its packets.
    pub(crate) local_index: u32,
    /// The index that this end puts on its packets.
    pub(crate) remote_index: u32,
}

/// The keys of one completed handshake.
///
/// Memory: two directions of AES-256-GCM (a key schedule of 15 × 16 bytes and a GHASH table of 256) and of a mask's
/// schedule (240), the exporter (32) and an idle replay window (128): under 2 KiB; a session in steady state has one epoch,
/// for some seconds after a rekey two, and at most [`crate::session::MAX_EPOCHS`].
pub(crate) struct Epoch {
    pub(crate) id: EpochId,
    pub(crate) order: Order,
    sealer: Sealer,
    opener: Opener,
    exporter: Exporter,
    pub(crate) local: LocalIndices,
    pub(crate) remote: RemoteIndices,
    replay: ReplayWindow,
    life: Life,
}

/// What changed by a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Notice {
    /// The epoch's deadline may be another.
    pub(crate) is_rescheduled: bool,
    /// The epoch has had so many packets that it is due for replacement.
    pub(crate) is_rekey_due: bool,
}

impl Notice {
    /// Both changes.
    pub(crate) const fn or(self, other: Self) -> Self {
        Self {
            is_rescheduled: self.is_rescheduled || other.is_rescheduled,
            is_rekey_due: self.is_rekey_due || other.is_rekey_due,
        }
    }
}

/// A packet, opened.
pub(crate) struct Opened<'a> {
    pub(crate) number: PacketNumber,
    pub(crate) payload: &'a mut [u8],
    pub(crate) notice: Notice,
}

impl Epoch {
    pub(crate) fn new(now: Instant, config: &Config, facts: &EpochFacts, keys: EpochKeys) -> Self {
        Self {
            id: facts.id,
            order: facts.order,
            sealer: keys.sealer,
            opener: keys.opener,
            exporter: keys.exporter,
            local: LocalIndices::new(facts.local_index),
            remote: RemoteIndices::new(facts.remote_index),
            replay: ReplayWindow::new(config.replay_idle),
            life: Life::new(now, facts.is_initiator),
        }
    }

    pub(crate) const fn exporter(&self) -> &Exporter {
        &self.exporter
    }

    pub(crate) fn can_seal(&self, now: Instant, config: &Config) -> bool {
        now < self.life.stop_at(config) && self.sealer.count() < config.stop_packets
    }

    /// Seals the datagram under construction.
    pub(crate) fn seal(
        &mut self,
        now: Instant,
        config: &Config,
        number: PacketNumber,
        buf: &mut TransmitBuf,
    ) -> Result<Notice, SealError> {
        if !self.can_seal(now, config) {
            return Err(SealError::Expired);
        }
        let len = buf.payload().len();
        self.sealer
            .seal(self.remote.current(), number, buf)
            .map_err(|_| SealError::NumberOutOfOrder)?;
        Ok(self.life.note(now, config, len, self.sealer.count()))
    }

    /// Opens a packet; `largest` is the largest number that the session received under any epoch.
    pub(crate) fn open<'a>(
        &mut self,
        now: Instant,
        config: &Config,
        largest: Option<PacketNumber>,
        packet: &'a mut [u8],
    ) -> Result<Opened<'a>, DropReason> {
        self.opener.unmask(packet);
        let header = pilot_wire::decode_data_header(packet).map_err(|_| DropReason::Malformed)?;
        let number = PacketNumber::expand(header.low_number, self.replay.largest().or(largest));
        if !self.replay.is_fresh(number) {
            return Err(DropReason::Replay);
        }
        let payload = self
            .opener
            .open(number, packet)
            .map_err(|_| DropReason::BadTag)?;
        self.replay.mark(number);
        self.life.opened += 1;
        let notice = self.life.note(now, config, payload.len(), self.life.opened);
        let is_rescheduled = self.grow_if_busy(now, config);
        Ok(Opened {
            number,
            payload,
            notice: notice.or(Notice {
                is_rescheduled,
                is_rekey_due: false,
            }),
        })
    }

    /// The peer uses a newer epoch: late packets are opened for a while. Whether that is news.
    pub(crate) fn retire(&mut self, now: Instant, config: &Config) -> bool {
        let is_news = self.life.retire_at.is_none();
        self.life
            .retire_at
            .get_or_insert(now + config.old_epoch_grace);
        is_news
    }

    /// When there is something to do for it; `is_current` if packets are sealed under it.
    pub(crate) fn deadline(&self, config: &Config, is_current: bool) -> Instant {
        let wipe = self.life.wipe_at(config);
        let rekey = self.life.rekey_at(config).filter(|_| is_current);
        let check = self.life.window_check;
        [rekey, check]
            .into_iter()
            .flatten()
            .fold(wipe, Instant::min)
    }

    pub(crate) fn is_over(&self, now: Instant, config: &Config) -> bool {
        now >= self.life.wipe_at(config)
    }

    /// Whether to ask for a replacement now; says so once.
    pub(crate) fn take_rekey_due(&mut self, now: Instant, config: &Config) -> bool {
        let is_due = self.life.rekey_at(config).is_some_and(|at| at <= now);
        self.life.is_announced |= is_due;
        is_due
    }

    /// Lets it ask once more, after a handshake that was to replace it failed.
    pub(crate) const fn ask_again(&mut self) {
        self.life.is_announced = false;
    }

    /// Makes the replay window small again if the epoch is no longer busy.
    pub(crate) fn check_window(&mut self, now: Instant, config: &Config) {
        if self.life.window_check.is_none_or(|at| at > now) {
            return;
        }
        let is_busy = self.life.opened - self.life.opened_at_check >= BUSY_PACKETS;
        self.life.opened_at_check = self.life.opened;
        self.life.window_check = is_busy.then(|| now + WINDOW_CHECK);
        if !is_busy {
            self.replay.resize(config.replay_idle);
        }
    }

    fn grow_if_busy(&mut self, now: Instant, config: &Config) -> bool {
        let is_busy = self.life.opened - self.life.opened_at_check >= BUSY_PACKETS;
        if !is_busy || self.life.window_check.is_some() {
            return false;
        }
        self.life.opened_at_check = self.life.opened;
        self.life.window_check = Some(now + WINDOW_CHECK);
        self.replay.resize(config.replay_active);
        true
    }
}

/// An epoch's age and use.
#[derive(Clone, Debug)]
struct Life {
    created: Instant,
    is_initiator: bool,
    /// Weight of what was carried; see [`ACTIVE_WEIGHT`].
    weight: u32,
    /// Since when the epoch counts as carrying application data.
    active_since: Option<Instant>,
    /// Packets opened.
    opened: u64,
    /// `opened` when the window was last looked at.
    opened_at_check: u64,
    /// When to see whether the large window is still needed.
    window_check: Option<Instant>,
    /// Whether the caller was told that the epoch is due for replacement.
    is_announced: bool,
    /// When late packets are no longer opened.
    retire_at: Option<Instant>,
}

impl Life {
    const fn new(now: Instant, is_initiator: bool) -> Self {
        Self {
            created: now,
            is_initiator,
            weight: 0,
            active_since: None,
            opened: 0,
            opened_at_check: 0,
            window_check: None,
            is_announced: false,
            retire_at: None,
        }
    }

    /// Notes a packet; `count` is that of its direction.
    fn note(&mut self, now: Instant, config: &Config, len: usize, count: u64) -> Notice {
        let weight = if len > SMALL_PAYLOAD { LARGE_WEIGHT } else { 1 };
        self.weight = self.weight.saturating_add(weight);
        let becomes_active = self.weight > ACTIVE_WEIGHT && self.active_since.is_none();
        if becomes_active {
            self.active_since = Some(now);
        }
        let is_rekey_due = !self.is_announced && count >= self.rekey_packets(config);
        self.is_announced |= is_rekey_due;
        Notice {
            is_rescheduled: becomes_active || is_rekey_due,
            is_rekey_due,
        }
    }

    /// The responder leaves the initiator half of the packets that remain until the end.
    const fn rekey_packets(&self, config: &Config) -> u64 {
        if self.is_initiator {
            config.rekey_packets
        } else {
            config.rekey_packets + config.stop_packets.saturating_sub(config.rekey_packets) / 2
        }
    }

    /// When to ask for a replacement; `None` once that was done.
    fn rekey_at(&self, config: &Config) -> Option<Instant> {
        let patience = if self.is_initiator {
            Duration::ZERO
        } else {
            RESPONDER_PATIENCE
        };
        (!self.is_announced).then(|| self.due_at(config) + patience)
    }

    /// An epoch that carries application data only when it is older than `rekey_after` is due from then on.
    fn due_at(&self, config: &Config) -> Instant {
        let idle = self.created + config.rekey_idle;
        match self.active_since {
            Some(since) => since.max(self.created + config.rekey_after).min(idle),
            None => idle,
        }
    }

    fn stop_at(&self, config: &Config) -> Instant {
        self.due_at(config) + config.stop_after.saturating_sub(config.rekey_after)
    }

    fn wipe_at(&self, config: &Config) -> Instant {
        let end = self.stop_at(config) + config.old_epoch_grace;
        self.retire_at.map_or(end, |retire| retire.min(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_epoch_stays_within_the_memory_budget() {
        // Two epochs and the session's own state within 8 KiB.
        let heap = Config::default().replay_idle / 8 + 5 * size_of::<(u8, u32)>();
        assert!(size_of::<Epoch>() + heap <= 3 * 1024);
    }

    #[test]
    fn the_later_number_wins_and_among_crossed_ones_the_smaller_agents() {
        let order = |number, by_smaller| Order { number, by_smaller };
        assert!(order(2, false) > order(1, true));
        assert!(order(1, true) > order(1, false));
        for order in [order(0, false), order(u32::MAX, true)] {
            assert_eq!(Order::from_u64(order.to_u64()), Some(order));
        }
    }
}
