//! What the driver drives.

use std::net::SocketAddr;

use pilot_types::{Deadline, Ecn, Transmit, TransmitBuf};

use crate::clock::Now;

/// A sans-IO machine on a host. Tests implement it around the machines that they test.
///
/// The driver calls one of the `handle_*` methods, then drains `poll_transmit`, then reads `poll_timeout`.
pub trait Machine {
    /// A datagram arrived at this host.
    #[expect(
        clippy::too_many_arguments,
        reason = "the facts that a socket hands out with a datagram"
    )]
    fn handle_datagram(
        &mut self,
        now: Now,
        local: SocketAddr,
        remote: SocketAddr,
        ecn: Option<Ecn>,
        data: &mut [u8],
    );

    /// The deadline is reached. Early and repeated calls do nothing.
    fn handle_timeout(&mut self, now: Now);

    /// The next datagrams to send: bytes in `out`, facts in [`Transmit`]. `out` is empty and has no overhead set; the
    /// path is [`pilot_types::PathId::Udp`].
    fn poll_transmit(&mut self, now: Now, out: &mut TransmitBuf) -> Option<Transmit>;

    /// When it wants to be woken. If output is queued, that is now.
    fn poll_timeout(&self) -> Option<Deadline>;
}
