//! The practical limit: sealed datagrams without reliability. Bulk blasts full-size batches (GSO, GRO) and counts what comes
//! and opens; round trips use plain blocking sockets.

use std::io::{IoSliceMut, Result as IoResult};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, Nonce, UnboundKey};
use tokio::io::Interest;

use crate::setup::{Bounds, Done, Mode, Result, Setup, Usage};

/// What a link of 1500 bytes carries beside the headers of IPv4 and UDP.
const DATAGRAM: usize = 1472;
/// A packet number before the sealed payload.
const NUMBER: usize = 8;
/// Payload of a full datagram.
const PAYLOAD: usize = DATAGRAM - NUMBER - MAX_TAG_LEN;
/// Datagrams of one call: as many as fit into the largest UDP payload.
const BATCH: usize = 65_507 / DATAGRAM;
/// Buffers of one receive call, each with room for a coalesced batch.
const RECEIVES: usize = 8;
/// What both sides ask of the kernel for each socket; it gives what its limits allow.
const KERNEL_BUFFER: usize = 4 << 20;
/// How long a datagram is waited for that may be lost.
const LOST: Duration = Duration::from_secs(1);
/// Times that the end of a blast is said: it may be lost too.
const ENDS: usize = 50;

/// Seals and opens with a key that everybody knows: it measures, it protects nothing.
struct Sealer {
    key: LessSafeKey,
    next: u64,
}

impl Sealer {
    fn new() -> Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(|_| "no AES-256-GCM")?;
        Ok(Self {
            key: LessSafeKey::new(key),
            next: 0,
        })
    }

    fn nonce(number: &[u8]) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(number);
        Nonce::assume_unique_for_key(nonce)
    }

    /// Seals the payload that lies between packet number and tag.
    fn seal(&mut self, datagram: &mut [u8]) {
        self.next += 1;
        let (number, sealed) = datagram.split_at_mut(NUMBER);
        number.copy_from_slice(&self.next.to_be_bytes());
        let (payload, tag) = sealed.split_at_mut(sealed.len() - MAX_TAG_LEN);
        let made =
            self.key
                .seal_in_place_separate_tag(Self::nonce(number), Aad::from(&*number), payload);
        tag.copy_from_slice(made.expect("far below the limit of a key").as_ref());
    }

    /// The payload's length, if it is whole.
    fn open(&self, datagram: &mut [u8]) -> Option<usize> {
        let (number, sealed) = datagram.split_at_mut_checked(NUMBER)?;
        let opened = self
            .key
            .open_in_place(Self::nonce(number), Aad::from(&*number), sealed);
        opened.ok().map(|payload| payload.len())
    }
}

fn bind(setup: &Setup) -> IoResult<UdpSocket> {
    let socket = UdpSocket::bind((setup.address, 0))?;
    let options = socket2::SockRef::from(&socket);
    let _ = options.set_recv_buffer_size(KERNEL_BUFFER);
    let _ = options.set_send_buffer_size(KERNEL_BUFFER);
    Ok(socket)
}

/// Listens; gives its address.
pub(crate) fn listen(setup: &Setup) -> Result<(UdpSocket, String)> {
    let socket = bind(setup)?;
    let address = socket.local_addr()?.to_string();
    Ok((socket, address))
}

/// Serves a mode until the process ends.
pub(crate) async fn serve(socket: UdpSocket, mode: Mode) -> Result<()> {
    match mode {
        Mode::Bulk => count(socket).await,
        _ => tokio::task::spawn_blocking(move || reflect(&socket)).await?,
    }
}

/// Measures a mode.
pub(crate) async fn run(setup: &Setup) -> Result<Done> {
    let (socket, bounds) = (bind(setup)?, setup.bounds);
    socket.connect(setup.ticket.parse::<SocketAddr>()?)?;
    let size = if setup.mode == Mode::Rtt { 1 } else { 64 };
    match setup.mode {
        Mode::Bulk => blast(socket, &bounds).await,
        Mode::Rtt | Mode::Rtt64 => {
            let trips = tokio::task::spawn_blocking(move || round_trips(&socket, &bounds, size));
            trips.await?
        }
        Mode::Streams | Mode::Requests | Mode::Connect => Err("datagrams have no streams".into()),
    }
}

/// Sends back what opens, sealed anew.
fn reflect(socket: &UdpSocket) -> Result<()> {
    let (opener, mut sealer) = (Sealer::new()?, Sealer::new()?);
    // The two directions count apart under one key.
    sealer.next = 1 << 63;
    let mut buffer = [0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        if opener.open(&mut buffer[..length]).is_some() {
            sealer.seal(&mut buffer[..length]);
            socket.send_to(&buffer[..length], from)?;
        }
    }
}

fn round_trips(socket: &UdpSocket, bounds: &Bounds, size: usize) -> Result<Done> {
    let (mut sealer, opener) = (Sealer::new()?, Sealer::new()?);
    socket.set_read_timeout(Some(LOST))?;
    let (before, start) = (Usage::own(), Instant::now());
    let until = start + Duration::from_secs_f64(bounds.seconds);
    let mut nanos = vec![];
    let mut buffer = [0; 2048];
    let length = NUMBER + size + MAX_TAG_LEN;
    while nanos.len() < bounds.round_trips as usize && Instant::now() < until {
        let begin = Instant::now();
        sealer.seal(&mut buffer[..length]);
        socket.send(&buffer[..length])?;
        // What is lost is no round trip.
        let Ok(length) = socket.recv(&mut buffer) else {
            continue;
        };
        if opener.open(&mut buffer[..length]).is_some() {
            nanos.push(begin.elapsed().as_nanos() as u64);
        }
    }
    let done = Done {
        seconds: start.elapsed().as_secs_f64(),
        usage: Usage::own().since(before),
        ..Done::default()
    };
    Ok(done.with_times(nanos))
}

/// Sends as fast as the socket takes it, then asks what came, in which time.
async fn blast(socket: UdpSocket, bounds: &Bounds) -> Result<Done> {
    let (mut sealer, to) = (Sealer::new()?, socket.peer_addr()?);
    let state = UdpSocketState::new((&socket).into())?;
    let io = tokio::net::UdpSocket::from_std(socket)?;
    let segments = state.max_gso_segments().clamp(1, BATCH);
    let mut batch = vec![0; segments * DATAGRAM];
    let (before, start) = (Usage::own(), Instant::now());
    let until = start + Duration::from_secs_f64(bounds.seconds);
    let (mut left, each) = (bounds.megabytes * 1_000_000, (segments * PAYLOAD) as u64);
    while left > 0 && Instant::now() < until {
        batch
            .chunks_mut(DATAGRAM)
            .for_each(|datagram| sealer.seal(datagram));
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: &batch,
            segment_size: Some(DATAGRAM),
            src_ip: None,
        };
        let send = || state.try_send((&io).into(), &transmit);
        io.async_io(Interest::WRITABLE, send).await?;
        left = left.saturating_sub(each);
    }
    let usage = Usage::own().since(before);
    let mut answer = [0; 16];
    for _ in 0..ENDS {
        io.send(&[0]).await?;
        if let Ok(received) = tokio::time::timeout(LOST / 10, io.recv(&mut answer)).await {
            received?;
            let (bytes, nanos) = answer.split_at(8);
            return Ok(Done {
                seconds: u64::from_be_bytes(nanos.try_into()?) as f64 / 1e9,
                bytes: u64::from_be_bytes(bytes.try_into()?),
                usage,
                ..Done::default()
            });
        }
    }
    Err("the other side does not say what came".into())
}

/// Opens what comes and says at the end how many bytes it was, and how long from the first to the last.
async fn count(socket: UdpSocket) -> Result<()> {
    let opener = Sealer::new()?;
    let state = UdpSocketState::new((&socket).into())?;
    let io = tokio::net::UdpSocket::from_std(socket)?;
    let mut memory = vec![0; RECEIVES << 16];
    let mut metas = [RecvMeta::default(); RECEIVES];
    let (mut total, mut span) = (0_u64, None::<(Instant, Instant)>);
    loop {
        let mut slices: Vec<_> = memory.chunks_mut(1 << 16).map(IoSliceMut::new).collect();
        let receive = || state.recv((&io).into(), &mut slices, &mut metas);
        let count = io.async_io(Interest::READABLE, receive).await?;
        for (buffer, meta) in memory.chunks_mut(1 << 16).zip(&metas).take(count) {
            for datagram in buffer[..meta.len].chunks_mut(meta.stride.max(1)) {
                if let Some(payload) = opener.open(datagram) {
                    total += payload as u64;
                    let now = Instant::now();
                    span = Some((span.map_or(now, |it| it.0), now));
                } else if datagram.len() == 1 {
                    let nanos = span.map_or(0, |(first, last)| (last - first).as_nanos() as u64);
                    let answer = [total.to_be_bytes(), nanos.to_be_bytes()].concat();
                    io.send_to(&answer, meta.addr).await?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_and_what_was_changed_does_not() {
        let (mut sealer, opener) = (Sealer::new().unwrap(), Sealer::new().unwrap());
        let mut datagram = vec![3; DATAGRAM];
        sealer.seal(&mut datagram);
        let mut changed = datagram.clone();
        changed[100] ^= 1;
        assert_eq!(opener.open(&mut datagram), Some(PAYLOAD));
        assert_eq!(opener.open(&mut changed), None);
        assert_eq!(opener.open(&mut [0]), None);
    }
}
