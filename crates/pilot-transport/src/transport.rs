//! One session's transport: its parts and the calls of its owner.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pilot_types::{Deadline, Ecn, PacketNumber, PathId, Seed, StreamId};
use pilot_wire::limits::{BASE_DATAGRAM, DATA_HEAD, TAG};
use pilot_wire::{ErrorCode, TransportParams, varint_len};
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use crate::ack::AckTracker;
use crate::close::{Closing, State};
use crate::config::{Config, KeepAlive, Side};
use crate::control::{Control, ControlQueue, DatagramQueue};
use crate::error::{ControlError, DatagramError, OpenError, PeerError, ReadError, WriteError};
use crate::event::{Event, Events};
use crate::loss::LossDetector;
use crate::migration::Paths;
use crate::sent::InFlight;
use crate::stats::{ControlFrame, Read, Stats, StreamStats};
use crate::streams::Streams;
use crate::timer::{Timer, Timers, timers};

/// No peer's promise makes us wait longer for its ACK.
const MAX_ACK_DELAY: Duration = Duration::from_secs(1);
/// No peer's idle timeout is taken to be longer; a session of more silence is better made anew.
const MAX_IDLE: Duration = Duration::from_secs(24 * 3600);
/// RFC 9000 §10.2: "at least three times the current PTO".
const DRAIN_TIMEOUTS: u32 = 3;

/// Streams, datagrams and control frames between two ends, over any path that carries datagrams.
///
/// The owner seals what [`Transport::poll_transmit`] writes and opens what it passes to [`Transport::handle_packet`].
#[derive(Debug)]
pub struct Transport {
    pub(crate) config: Arc<Config>,
    pub(crate) peer: Peer,
    pub(crate) state: State,
    pub(crate) paths: Paths,
    pub(crate) acks: AckTracker,
    pub(crate) loss: LossDetector,
    pub(crate) streams: Streams,
    /// What came whole before the peer closed; bounded as the streams were.
    left: Vec<(StreamId, Vec<u8>)>,
    pub(crate) control: ControlQueue,
    pub(crate) datagrams: DatagramQueue,
    pub(crate) events: Events,
    pub(crate) timers: Timers,
    pub(crate) activity: Activity,
    pub(crate) totals: Stats,
    pub(crate) rng: ChaCha12Rng,
    pub(crate) scratch: Scratch,
}

/// What the peer announced, bounded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) max_ack_delay: Duration,
    max_datagram: u64,
    /// The shorter of both ends' timeouts; `None` for never.
    pub(crate) idle_timeout: Option<Duration>,
}

/// Who spoke last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Activity {
    /// Whether an ack-eliciting packet left since the last one came.
    pub(crate) has_sent: bool,
    pub(crate) is_ping_due: bool,
    /// Packets with nothing but an ACK since the last ack-eliciting one.
    pub(crate) ack_only: u32,
    /// When we sent anything last; `None` before that.
    pub(crate) spoke_at: Option<Instant>,
    /// What the owner set in place of the configured keep-alive.
    pub(crate) keep_alive: Option<KeepAlive>,
}

/// Memory that is used again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) packets: Vec<InFlight>,
}

impl Peer {
    fn new(ours: &TransportParams, theirs: &TransportParams) -> Self {
        let timeout = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms).min(MAX_IDLE));
        let (a, b) = (
            timeout(ours.idle_timeout_ms),
            timeout(theirs.idle_timeout_ms),
        );
        Self {
            max_ack_delay: Duration::from_micros(theirs.max_ack_delay_us).min(MAX_ACK_DELAY),
            max_datagram: theirs.max_datagram,
            idle_timeout: a.into_iter().chain(b).min(),
        }
    }
}

impl Transport {
    /// A transport over a session that was just made; `peer` is what the other end announced, `path` where it answers.
    #[must_use]
    #[expect(
        clippy::too_many_arguments,
        reason = "six facts of a fresh session, none of which belong together"
    )]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a seed keys one generator and is wiped then"
    )]
    pub fn new(
        config: Arc<Config>,
        side: Side,
        peer: TransportParams,
        path: PathId,
        seed: Seed,
        now: Instant,
    ) -> Self {
        let delay = Duration::from_micros(config.params.max_ack_delay_us).min(MAX_ACK_DELAY);
        let mut transport = Self {
            peer: Peer::new(&config.params, &peer),
            state: State::Open,
            paths: Paths::new(path, &config, now),
            acks: AckTracker::new(config.max_ack_ranges, delay),
            loss: LossDetector::default(),
            streams: Streams::new(&config, side, &peer),
            left: vec![],
            control: ControlQueue::new(config.control_queue),
            datagrams: DatagramQueue::new(config.datagram_queue),
            events: Events::default(),
            timers: timers(),
            activity: Activity::default(),
            totals: Stats::default(),
            rng: ChaCha12Rng::from_seed(*seed.expose()),
            scratch: Scratch::default(),
            config,
        };
        transport.arm_idle(now);
        transport
    }

    /// Takes the opened payload of a packet; the session has dropped duplicates. `datagram_size` is that of the whole
    /// datagram in bytes.
    ///
    /// # Errors
    /// [`PeerError`] if the peer broke the protocol; the transport is closing with its code then.
    #[expect(
        clippy::too_many_arguments,
        reason = "facts of one arrival; the composition layer calls exactly this"
    )]
    pub fn handle_packet(
        &mut self,
        now: Instant,
        path: PathId,
        number: PacketNumber,
        ecn: Option<Ecn>,
        datagram_size: usize,
        payload: &[u8],
    ) -> Result<(), PeerError> {
        self.totals.packets_received += 1;
        self.totals.bytes_received += datagram_size as u64;
        self.paths.on_received(&path, datagram_size as u64);
        match &mut self.state {
            State::Open => {}
            State::Closing(closing) => {
                closing.on_packet();
                return Ok(());
            }
            State::Draining | State::Drained => return Ok(()),
        }
        let arrival = crate::receive::Datagram {
            path,
            number,
            ecn,
            size: datagram_size,
        };
        let result = self.process(now, arrival, payload);
        if let Err(error) = result {
            self.close(now, error.code(), &error.to_string());
        }
        result
    }

    /// Does what is due; early and repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        // A deadline's only work is to have the packet polled that waited for it.
        self.timers.take_if_due(Timer::Ack as usize, now);
        self.timers.take_if_due(Timer::Pacing as usize, now);
        if self.timers.take_if_due(Timer::Drain as usize, now) {
            self.drained();
        }
        if self.timers.take_if_due(Timer::Idle as usize, now) {
            self.closed(ErrorCode::IDLE_TIMEOUT, "nothing was heard", false);
            self.drained();
        }
        if self.timers.take_if_due(Timer::KeepAlive as usize, now) {
            self.keep_alive_due();
        }
        if self.timers.take_if_due(Timer::Lull as usize, now) {
            self.activity.is_ping_due |= !self.streams.is_empty();
        }
        self.handle_recovery_timeout(now);
        self.handle_path_timeout(now);
    }

    /// When to call [`Transport::handle_timeout`]; `None`: never, by itself.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        self.timers.next()
    }

    /// Whether [`Transport::poll_event`] has something.
    #[must_use]
    pub fn has_event(&self) -> bool {
        self.events.has_some()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop()?;
        self.streams.on_polled(&event);
        Some(event)
    }

    fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Opens a stream; the peer learns of it with its first byte.
    ///
    /// # Errors
    /// [`OpenError::Limit`] while the peer allows no more, [`OpenError::Closed`] once the session ends.
    pub fn open_stream(&mut self, _now: Instant) -> Result<StreamId, OpenError> {
        if !self.is_open() {
            return Err(OpenError::Closed);
        }
        self.streams.open()
    }

    /// Takes bytes to send on a stream and gives how many: fewer than all when its buffer is full, and then
    /// [`Event::Writable`] follows.
    ///
    /// # Errors
    /// [`WriteError`] if the stream takes no more bytes.
    pub fn write(&mut self, _now: Instant, id: StreamId, data: &[u8]) -> Result<usize, WriteError> {
        if !self.is_open() {
            return Err(WriteError::Closed);
        }
        self.streams.write(id, data)
    }

    /// Ends our direction of a stream; what was written still arrives.
    ///
    /// # Errors
    /// [`WriteError`] if it is over already.
    pub fn finish(&mut self, _now: Instant, id: StreamId) -> Result<(), WriteError> {
        if !self.is_open() {
            return Err(WriteError::Closed);
        }
        self.streams.finish(id)
    }

    /// Gives our direction of a stream up. After [`Transport::finish`] it does nothing: what was finished arrives.
    pub fn reset(&mut self, _now: Instant, id: StreamId, code: ErrorCode) {
        self.streams.reset(id, code);
    }

    /// Reads the next bytes of a stream.
    ///
    /// # Errors
    /// [`ReadError::Reset`] if the peer gave up; others if there is no such stream any more.
    pub fn read(&mut self, _now: Instant, id: StreamId, out: &mut [u8]) -> Result<Read, ReadError> {
        if !self.is_open() {
            return Err(ReadError::Closed);
        }
        let result = self.streams.read(id, out);
        self.rest_without_streams();
        result
    }

    /// Asks the peer to stop sending on a stream; nothing more can be read from it.
    pub fn stop(&mut self, _now: Instant, id: StreamId, code: ErrorCode) {
        self.streams.stop(id, code);
        self.rest_without_streams();
    }

    /// Pings after so long without a word of either end, in place of the configured time. The idle timeout grows where it is
    /// shorter than three such times. [`Event::Rested`] and [`Event::Unheard`] tell how it goes.
    pub fn set_keep_alive(&mut self, now: Instant, keep_alive: KeepAlive) {
        let keep_alive = match keep_alive {
            KeepAlive::Always(interval) => KeepAlive::Always(interval.min(MAX_IDLE)),
            KeepAlive::WithStreams(_) => keep_alive,
        };
        if self.activity.keep_alive.replace(keep_alive) == Some(keep_alive) || !self.is_open() {
            return;
        }
        match keep_alive {
            KeepAlive::Always(_) => self.arm_idle(now),
            // A peer that is gone is not to seem to be there for it.
            KeepAlive::WithStreams(_) => self.arm_keep_alive(now),
        }
    }

    /// The last stream may be over: nothing needs to be kept alive for it, and nothing comes on it.
    fn rest_without_streams(&mut self) {
        if self.streams.is_empty() {
            self.timers.stop(Timer::Lull as usize);
        }
        if self.keep_alive().is_none() {
            self.timers.stop(Timer::KeepAlive as usize);
        }
    }

    /// Bytes of frames that fit into one packet of the path in use.
    fn max_payload(&self) -> usize {
        self.paths.current.mtu - DATA_HEAD - TAG
    }

    /// Sends a frame of a layer above, `kind` from 0x40, until it is acknowledged; it may arrive twice.
    ///
    /// # Errors
    /// [`ControlError`] if it was not queued.
    pub fn send_extension(
        &mut self,
        _now: Instant,
        kind: u64,
        body: Vec<u8>,
    ) -> Result<(), ControlError> {
        const FIRST: u64 = 0x40;
        const LAST: u64 = PacketNumber::MAX.to_u64();
        if !(FIRST..=LAST).contains(&kind) {
            return Err(ControlError::Kind(kind));
        }
        let head = varint_len(kind) + varint_len(body.len() as u64);
        // It stays queued, and the path that it leaves on may carry no more than the base.
        if head + body.len() > BASE_DATAGRAM - DATA_HEAD - TAG {
            return Err(ControlError::TooLarge);
        }
        self.queue_control(Control::Extension { kind, body })
    }

    /// Sends an index frame until it is acknowledged; it may arrive twice.
    ///
    /// # Errors
    /// [`ControlError`] if it was not queued.
    pub fn send_control(&mut self, _now: Instant, frame: ControlFrame) -> Result<(), ControlError> {
        self.queue_control(Control::Index(frame))
    }

    fn queue_control(&mut self, control: Control) -> Result<(), ControlError> {
        if !self.is_open() {
            return Err(ControlError::Closed);
        }
        self.control.push(control)
    }

    /// Sends an unreliable datagram.
    ///
    /// # Errors
    /// [`DatagramError`] if it was not queued.
    pub fn send_datagram(&mut self, _now: Instant, data: &[u8]) -> Result<(), DatagramError> {
        if !self.is_open() {
            return Err(DatagramError::Closed);
        }
        let max = self.max_datagram();
        if data.len() > max {
            return Err(DatagramError::TooLarge { max });
        }
        self.datagrams.push(data)
    }

    /// Largest body that [`Transport::send_datagram`] takes now.
    #[must_use]
    pub fn max_datagram(&self) -> usize {
        let payload = self.max_payload();
        // A DATAGRAM frame's type is one byte.
        let fits = payload - 1 - varint_len(payload as u64);
        usize::try_from(self.peer.max_datagram).map_or(fits, |peer| peer.min(fits))
    }

    /// Has one ack-eliciting packet sent, whatever the congestion window says: its acknowledgement is what shows that
    /// a path carries again, and starts the repair of what was lost meanwhile.
    pub fn ping(&mut self, _now: Instant) {
        self.activity.is_ping_due = true;
    }

    /// Ends the session: the peer gets a CLOSE, streams are gone. Does nothing if it ends already.
    pub fn close(&mut self, now: Instant, code: ErrorCode, reason: &str) {
        if self.is_open() {
            self.closed(code, reason, false);
            self.state = State::Closing(Closing::new(code, reason));
            self.arm_drain(now);
        }
    }

    /// The peer ended the session.
    pub(crate) fn closed_by_peer(&mut self, now: Instant, code: ErrorCode, reason: &[u8]) {
        self.left = self.streams.take_complete();
        self.closed(code, &String::from_utf8_lossy(reason), true);
        self.state = State::Draining;
        self.arm_drain(now);
    }

    fn closed(&mut self, code: ErrorCode, reason: &str, by_peer: bool) {
        tracing::debug!(%code, reason, by_peer, "session closed");
        self.timers.stop_all();
        self.streams.clear();
        self.control.clear();
        self.datagrams.clear();
        self.events.push(Event::Closed {
            code,
            reason: reason.to_owned(),
            by_peer,
        });
    }

    fn arm_drain(&mut self, now: Instant) {
        let timeout = self.probe_timeout() * DRAIN_TIMEOUTS;
        self.timers.set(Timer::Drain as usize, now + timeout);
    }

    fn drained(&mut self) {
        self.state = State::Drained;
        self.timers.stop_all();
        self.events.push(Event::Drained);
    }

    /// Takes the unread bytes of streams that had come whole when the peer closed the session: it was told that they are
    /// delivered.
    pub fn take_left(&mut self) -> Vec<(StreamId, Vec<u8>)> {
        std::mem::take(&mut self.left)
    }

    /// Whether the session ends or has ended.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        !self.is_open()
    }

    /// Whether nothing more will be sent or is expected.
    #[must_use]
    pub const fn is_drained(&self) -> bool {
        matches!(self.state, State::Drained)
    }

    /// The path in use.
    #[must_use]
    pub const fn path(&self) -> PathId {
        self.paths.current.id
    }

    /// Where the peer's newest packet came from, probes apart. Whoever sees its packets may have sent one on from there.
    #[must_use]
    pub const fn peer_path(&self) -> PathId {
        self.paths.peer_at()
    }

    /// Figures of now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let path = &self.paths.current;
        Stats {
            srtt: path.rtt.smoothed(),
            min_rtt: path.rtt.min().unwrap_or_default(),
            cwnd: path.window(),
            in_flight: path.in_flight(),
            mtu: path.mtu,
            bytes_retransmitted: self.streams.bytes_retransmitted(),
            ..self.totals
        }
    }

    /// Figures of a stream; `None` if there is none, or it is over in both directions.
    #[must_use]
    pub fn stream_stats(&self, id: StreamId) -> Option<StreamStats> {
        self.streams.stats(id)
    }

    /// Streams whose end we sent and the peer has not acknowledged, and the bytes of theirs that it has not.
    #[must_use]
    pub fn unfinished(&self) -> (u64, u64) {
        self.streams.unfinished()
    }

    /// The streams that are not over in both directions, by id.
    pub fn stream_ids(&self) -> impl Iterator<Item = StreamId> {
        self.streams.ids()
    }

    /// Probe timeouts in a row without an answer.
    #[must_use]
    pub const fn silence(&self) -> u32 {
        self.loss.silence()
    }
}
