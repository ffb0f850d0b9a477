//! What passes: bounded in number, counted, and told of where it fails.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pilot_api::ApiError;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Connections of one command at a time; further ones wait in the backlog. With two buffers of 64 KiB each they take at most
/// 64 MiB.
pub const MAX_CONNECTIONS: usize = 512;

/// A connection that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whose it was, for people.
    pub from: String,
    /// Where it was to go, as the user or the client said.
    pub target: String,
    /// Why.
    pub error: ApiError,
}

/// How much there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that came.
    pub connections: u64,
    /// Those that failed.
    pub failed: u64,
}

/// The connections of one command.
pub struct Traffic {
    places: Arc<Semaphore>,
    connections: AtomicU64,
    failed: AtomicU64,
    tell: Box<dyn Fn(Fault, Counts) + Send + Sync>,
}

/// Where connections come from.
pub trait Source: Send {
    /// A connection.
    type Item: Send + 'static;

    /// The next one; `None` once there will be no more. Cancel safe.
    fn next(&mut self) -> impl Future<Output = Option<Self::Item>> + Send;
}

impl Traffic {
    /// Every fault is told to `tell`, which must not block.
    #[must_use]
    pub fn new(tell: impl Fn(Fault, Counts) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            connections: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            tell: Box::new(tell),
        })
    }

    /// How much there was until now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            connections: self.connections.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        (self.tell)(fault, self.counts());
    }

    /// Handles each connection in a task of its own until `until` resolves or there are no more. Then those that are open are
    /// broken off, and are gone when this returns.
    pub(crate) async fn run<S, H, F>(
        &self,
        mut source: S,
        handle: H,
        until: impl Future<Output = ()> + Send,
    ) where
        S: Source,
        H: Fn(S::Item) -> F + Send,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        let taking = async {
            loop {
                let place = Arc::clone(&self.places)
                    .acquire_owned()
                    .await
                    .expect("the semaphore is never closed");
                while tasks.try_join_next().is_some() {}
                let Some(item) = source.next().await else {
                    return;
                };
                self.connections.fetch_add(1, Ordering::Relaxed);
                let work = handle(item);
                tasks.spawn(async move {
                    work.await;
                    drop(place);
                });
            }
        };
        tokio::select! {
            () = taking => {}
            () = until => {}
        }
        drop(source);
        tasks.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    struct Channel(mpsc::UnboundedReceiver<u32>);

    impl Source for Channel {
        type Item = u32;

        async fn next(&mut self) -> Option<u32> {
            self.0.recv().await
        }
    }

    #[tokio::test]
    async fn no_more_than_the_bound_are_handled_at_a_time() {
        let (sender, receiver) = mpsc::unbounded_channel();
        for item in 0..600 {
            sender.send(item).unwrap();
        }
        let (began, mut beginnings) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let traffic = Traffic::new(|_, _| {});
        let counted = Arc::clone(&traffic);
        let running = tokio::spawn(async move {
            let handle = |item| {
                began.send(item).unwrap();
                // It holds its place until it is broken off.
                std::future::pending()
            };
            let until = async { drop(stopped.await) };
            traffic.run(Channel(receiver), handle, until).await;
        });
        for expected in 0..512 {
            assert_eq!(beginnings.recv().await, Some(expected));
        }
        tokio::task::yield_now().await;
        assert!(beginnings.try_recv().is_err(), "one beyond the bound");
        assert_eq!(counted.counts().connections, 512);
        stop.send(()).unwrap();
        running.await.unwrap();
    }

    #[test]
    fn a_fault_is_counted_before_it_is_told() {
        let (told, was_told) = std::sync::mpsc::channel();
        let traffic = Traffic::new(move |fault, counts| told.send((fault, counts)).unwrap());
        let fault = Fault {
            from: "127.0.0.1:4000".to_owned(),
            target: "bob:80".to_owned(),
            error: ApiError::timeout("too late"),
        };
        traffic.fault(fault.clone());
        let counts = Counts {
            connections: 0,
            failed: 1,
        };
        assert_eq!(was_told.recv().unwrap(), (fault, counts));
    }
}
