//! What a congestion controller is told, and answers.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// An acknowledged packet.
#[derive(Clone, Copy, Debug)]
pub struct AckedPacket {
    /// When it was sent.
    pub sent_at: Instant,
    /// Bytes of its datagram.
    pub size: u64,
    /// Whether the sender had less to send than the window allows, so that the window is no limit that could grow.
    pub is_app_limited: bool,
}

/// Decides how many bytes may be in flight on one path.
pub trait Controller: Debug + Send + Sync {
    /// A packet was acknowledged.
    fn on_ack(&mut self, now: Instant, packet: AckedPacket, srtt: Duration);
    /// A packet sent at `sent_at` was lost or marked.
    fn on_congestion(&mut self, now: Instant, sent_at: Instant);
    /// Everything over several probe timeouts was lost (RFC 9002 §7.6).
    fn on_persistent_congestion(&mut self);
    /// Bytes that may be in flight.
    fn window(&self) -> u64;
    /// Whether it still looks for the path's capacity, so that pacing leaves room to grow.
    fn is_in_slow_start(&self) -> bool;
}
