//! Ports on which this machine's programs take datagrams.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pilot::{DatagramListener, Node, Peer, Port};
use pilot_api::{ApiError, ErrorCode};

/// Ports at a time; each keeps at most 256 datagrams.
const MAX_PORTS: usize = 64;
/// How long a port stays open after the last who asked, so that nothing is missed between two questions.
const KEPT_OPEN: Duration = Duration::from_secs(30);

/// Opens a port when it is asked for and closes it when nobody asks any more.
pub(crate) struct Datagrams {
    node: Node,
    ports: Mutex<HashMap<Port, Arc<Taken>>>,
}

/// An open port.
struct Taken {
    listener: tokio::sync::Mutex<DatagramListener>,
    last_asked: Mutex<Instant>,
}

impl Datagrams {
    pub(crate) fn new(node: Node) -> Self {
        Self {
            node,
            ports: Mutex::default(),
        }
    }

    /// Waits for a datagram to `port` and takes what waits behind it, at most `max`.
    pub(crate) async fn receive(
        &self,
        port: Port,
        max: usize,
    ) -> Result<Vec<(Vec<u8>, Peer)>, ApiError> {
        let taken = self.open(port).await?;
        let mut listener = taken.listener.lock().await;
        let ended = |_| ApiError::new(ErrorCode::NotRunning, "the daemon is ending");
        let mut datagrams = vec![listener.recv().await.map_err(ended)?];
        while datagrams.len() < max {
            let Some(next) = listener.try_recv() else {
                break;
            };
            datagrams.push(next);
        }
        *lock(&taken.last_asked) = Instant::now();
        Ok(datagrams)
    }

    async fn open(&self, port: Port) -> Result<Arc<Taken>, ApiError> {
        self.close_unused();
        if let Some(taken) = lock(&self.ports).get(&port) {
            *lock(&taken.last_asked) = Instant::now();
            return Ok(Arc::clone(taken));
        }
        if lock(&self.ports).len() >= MAX_PORTS {
            let words = format!("{MAX_PORTS} ports take datagrams already");
            return Err(ApiError::new(ErrorCode::RateLimited, words)
                .with_retry_after_ms(u64::try_from(KEPT_OPEN.as_millis()).unwrap_or(u64::MAX)));
        }
        let listener = self.node.listen_datagrams(port).await;
        let listener =
            listener.map_err(|error| ApiError::new(ErrorCode::AlreadyExists, error.to_string()))?;
        let taken = Arc::new(Taken {
            listener: tokio::sync::Mutex::new(listener),
            last_asked: Mutex::new(Instant::now()),
        });
        lock(&self.ports).insert(port, Arc::clone(&taken));
        Ok(taken)
    }

    /// Closes the ports that nobody waits on and nobody asked for of late.
    pub(crate) fn close_unused(&self) {
        lock(&self.ports).retain(|_, taken| {
            Arc::strong_count(taken) > 1 || lock(&taken.last_asked).elapsed() < KEPT_OPEN
        });
    }

    /// Closes unused ports for as long as the daemon runs.
    pub(crate) async fn run_expiry(&self) {
        loop {
            tokio::time::sleep(KEPT_OPEN).await;
            self.close_unused();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
