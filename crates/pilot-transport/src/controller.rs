//! What a congestion controller is told, and answers.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use crate::delivery_rate::RateSample;

/// An acknowledged packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckedPacket {
    /// When it was sent.
    pub(crate) sent_at: Instant,
    /// Bytes of its datagram.
    pub(crate) size: u64,
    /// Whether the sender had less to send than the window allows, so that the window is no limit that could grow.
    pub(crate) is_app_limited: bool,
}

/// Packets of one path that were found lost at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LostPackets {
    /// Bytes of all of them.
    pub(crate) bytes: u64,
    /// When the newest of them was sent.
    pub(crate) newest_sent_at: Instant,
    /// Bytes in flight when the newest had left, itself included.
    pub(crate) newest_in_flight: u64,
    /// The latest round trip: that of a packet next to them.
    pub(crate) latest_rtt: Duration,
}

/// Decides how many bytes may be in flight on one path, and how fast they leave. One that does not measure leaves
/// `on_sent` and `on_sample` as they are, one that does leaves `on_acked`.
pub(crate) trait Controller: Debug + Send + Sync {
    /// A packet is about to leave; `in_flight` are the bytes on the path before it.
    fn on_sent(&mut self, _now: Instant, _in_flight: u64) {}
    /// A packet was acknowledged.
    fn on_acked(&mut self, _now: Instant, _packet: AckedPacket, _srtt: Duration) {}
    /// An ACK was dealt with, its losses before it: what it says of the rate at which the path delivers.
    fn on_sample(&mut self, _now: Instant, _sample: &RateSample) {}
    /// Packets were lost.
    fn on_lost(&mut self, now: Instant, lost: &LostPackets);
    /// Everything over several probe timeouts was lost (RFC 9002 §7.6).
    fn on_persistent_congestion(&mut self);
    /// Bytes that may be in flight.
    fn window(&self) -> u64;
    /// Bytes per second that may leave, over more than a burst.
    fn pacing_rate(&self, srtt: Duration) -> u64;
}
