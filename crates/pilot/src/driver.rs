//! The event loop: socket, timer and callers' wake-ups into the node, and its output back.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pilot_node::Now;
use pilot_types::{FourTuple, PathId, PeerAddr};
use tokio::sync::mpsc;

use crate::clock;
use crate::interfaces::{Surroundings, Watch};
use crate::persist::Notice;
use crate::port_mapping::PortMapper;
use crate::socket::{ReceiveBuffers, Udp};
use crate::state::Shared;

/// Rounds of receive calls before the loop sends.
const MAX_RECEIVES: usize = 8;
/// A timer that is later than this by itself slept; a busy machine is not that late.
const SLEEP: Duration = Duration::from_secs(3);
/// How long a shutdown waits for its CLOSE packets to be sent and acknowledged in silence.
const LINGER: Duration = Duration::from_millis(500);

/// Runs until the node is shut down and its sessions are gone, or the linger is over.
pub(crate) async fn drive(
    shared: Arc<Shared>,
    mut notices: mpsc::UnboundedReceiver<Notice>,
    mapper: Option<&PortMapper>,
) {
    let mut buffers = ReceiveBuffers::new();
    let watch = match Watch::new() {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!(%error, "changes of our addresses are noticed by silence alone");
            None
        }
    };
    let mut surroundings = Surroundings::look();
    let mut awake = Awake::new();
    let mut linger_until: Option<Instant> = None;
    let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
    let mut set_to: Option<Instant> = None;
    loop {
        let next = shared.pump();
        if shared.lock().is_shutdown {
            let until = *linger_until.get_or_insert_with(|| Instant::now() + LINGER);
            if next.is_done || Instant::now() >= until {
                return;
            }
        }
        if next.has_more {
            receive(&shared, &mut buffers);
            tokio::task::yield_now().await;
            continue;
        }
        let wakes_at = [next.wakes_at, linger_until].into_iter().flatten().min();
        if let Some(at) = wakes_at.filter(|_| wakes_at != set_to) {
            timer.as_mut().reset(at.into());
        }
        set_to = wakes_at;
        tokio::select! {
            () = shared.sockets.readable() => receive(&shared, &mut buffers),
            () = shared.sockets.writable(next.blocked) => {}
            () = shared.wake.notified() => {}
            () = timer.as_mut(), if wakes_at.is_some() => {
                set_to = None;
                shared.handle_timeout();
            }
            () = changed(watch.as_ref()) => look_around(&shared, &mut surroundings, mapper),
            Some(notice) = notices.recv() => written(&shared, notice),
        }
        if awake.has_slept(wakes_at) {
            tracing::info!("woke up");
            shared.lock().node.network_changed(clock::now());
            if let Some(mapper) = mapper {
                mapper.network_changed();
            }
        }
    }
}

/// Tells the node where the machine is, if that changed.
fn look_around(shared: &Shared, before: &mut Surroundings, mapper: Option<&PortMapper>) {
    let now = Surroundings::look();
    if now == *before {
        return;
    }
    let mut state = shared.lock();
    if now.prefixes == before.prefixes {
        state.node.network_changed(clock::now());
    } else {
        state
            .node
            .set_interfaces(clock::now(), now.prefixes.clone());
    }
    drop(state);
    if let Some(mapper) = mapper {
        mapper.network_changed();
    }
    *before = now;
}

fn written(shared: &Shared, notice: Notice) {
    let mut state = shared.lock();
    match notice {
        Notice::Freshness(block) => state.node.extend_freshness(&block),
        Notice::Prekey(public) => state.node.prekey_written(clock::now(), &public),
        Notice::Trust(count) => state.node.trust_written(clock::now(), count),
    }
}

/// Resolves when the machine may be elsewhere; never where the system does not tell.
async fn changed(watch: Option<&Watch>) {
    if let Some(watch) = watch {
        match watch.changed().await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "the system tells no more changes of addresses"),
        }
    }
    std::future::pending::<()>().await;
}

/// Whether the machine slept, or this process was stopped: what was known of paths may hold no longer.
struct Awake {
    last: Now,
}

impl Awake {
    fn new() -> Self {
        Self { last: clock::now() }
    }

    /// Asked after each wait, with the time by which it was to end.
    fn has_slept(&mut self, deadline: Option<Instant>) -> bool {
        let now = clock::now();
        let before = std::mem::replace(&mut self.last, now);
        let ran = now.instant.saturating_duration_since(before.instant);
        // The monotonic clock stands while a machine sleeps, the wall clock is set again afterwards.
        let stood = now.unix.since(before.unix).saturating_sub(ran);
        let is_late = deadline.is_some_and(|at| now.instant > at + SLEEP);
        is_late || stood > SLEEP
    }
}

/// Takes what came, a batch of each socket in turn, so that none keeps the others waiting.
fn receive(shared: &Shared, buffers: &mut ReceiveBuffers) {
    for _ in 0..MAX_RECEIVES {
        let mut has_more = false;
        shared
            .sockets
            .for_each(|udp| has_more |= receive_from(shared, udp, buffers));
        if !has_more {
            return;
        }
    }
}

/// One batch; whether there was any.
fn receive_from(shared: &Shared, udp: &Udp, buffers: &mut ReceiveBuffers) -> bool {
    let local = udp.local();
    let count = match udp.receive(buffers) {
        Ok(0) => return false,
        Ok(count) => count,
        Err(error) => {
            tracing::warn!(%error, "receive failed");
            shared.lock().node.count_drop("receive_failed");
            return false;
        }
    };
    let datagrams = buffers.datagrams(count).map(|(source, ecn, datagram)| {
        let path = PathId::Udp(FourTuple {
            local,
            remote: PeerAddr(source),
        });
        (path, ecn, datagram)
    });
    let mut state = shared.lock();
    state.node.handle_datagrams(clock::now(), datagrams);
    true
}
