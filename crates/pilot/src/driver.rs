//! The event loop: socket, timer and callers' wake-ups into the node, and its output back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pilot_types::{FourTuple, PathId, PeerAddr};
use tokio::sync::mpsc;

use crate::clock;
use crate::persist::Notice;
use crate::socket::ReceiveBuffers;
use crate::state::Shared;

/// Receive calls before the loop sends.
const MAX_RECEIVES: usize = 8;
/// How long a shutdown waits for its CLOSE packets to be sent and acknowledged in silence.
const LINGER: Duration = Duration::from_millis(500);

/// Runs until the node is shut down and its sessions are gone, or the linger is over.
pub(crate) async fn drive(shared: Arc<Shared>, mut notices: mpsc::UnboundedReceiver<Notice>) {
    let mut buffers = ReceiveBuffers::new();
    let mut linger_until: Option<Instant> = None;
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
        let deadline = [next.deadline, linger_until].into_iter().flatten().min();
        tokio::select! {
            _ = shared.udp.readable() => receive(&shared, &mut buffers),
            _ = shared.udp.writable(), if next.is_blocked => {}
            () = shared.wake.notified() => {}
            () = sleep_until(deadline) => shared.lock().node.handle_timeout(clock::now()),
            Some(notice) = notices.recv() => written(&shared, notice),
        }
    }
}

fn written(shared: &Shared, notice: Notice) {
    let mut state = shared.lock();
    match notice {
        Notice::Freshness(block) => state.node.extend_freshness(&block),
        Notice::Trust(count) => state.node.trust_written(clock::now(), count),
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn receive(shared: &Shared, buffers: &mut ReceiveBuffers) {
    let local = shared.udp.local();
    for _ in 0..MAX_RECEIVES {
        let count = match shared.udp.receive(buffers) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) => {
                tracing::warn!(%error, "receive failed");
                shared.lock().node.count_drop("receive_failed");
                return;
            }
        };
        let mut state = shared.lock();
        let now = clock::now();
        for (source, ecn, datagram) in buffers.datagrams(count) {
            let path = PathId::Udp(FourTuple {
                local,
                remote: PeerAddr(source),
            });
            state.node.handle_datagram(now, path, ecn, datagram);
        }
    }
}
