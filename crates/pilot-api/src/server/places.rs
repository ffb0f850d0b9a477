//! Who may be connected: bounds for requests and for streams, who gives way, and how often somebody had to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Connections that ask for things. With a head of 16 KiB, an answer's 16 KiB, and a body of 64 KiB that is decoded into as much
/// again, 40 MiB at worst; `body.rs` bounds the larger bodies.
const MAX_CONNECTIONS: usize = 256;
/// Connections that carry streams: with 64 KiB of buffer in each direction, 64 MiB at worst.
pub(super) const MAX_STREAMS: usize = 512;
/// Connections that are told that there is no place for them: what is beyond is closed without a word.
///
/// 256 + 512 + 32 descriptors leave 224 of the 1,024 that a process has where nobody gave it more.
const MAX_REFUSALS: usize = 32;

/// Why a connection or a request was refused or broken off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    OtherUser,
    Connections,
    Unheard,
    Idle,
    Streams,
    SlowHead,
    SlowBody,
    LargeBodies,
    SlowReader,
}

impl Refusal {
    const ALL: [Self; 9] = [
        Self::OtherUser,
        Self::Connections,
        Self::Unheard,
        Self::Idle,
        Self::Streams,
        Self::SlowHead,
        Self::SlowBody,
        Self::LargeBodies,
        Self::SlowReader,
    ];

    /// As `docs/operations.md` lists them.
    const fn name(self) -> &'static str {
        match self {
            Self::OtherUser => "other_user",
            Self::Connections => "connections",
            Self::Unheard => "unheard",
            Self::Idle => "idle",
            Self::Streams => "streams",
            Self::SlowHead => "slow_head",
            Self::SlowBody => "slow_body",
            Self::LargeBodies => "large_bodies",
            Self::SlowReader => "slow_reader",
        }
    }
}

/// The places of a server.
#[derive(Debug, Default)]
pub(crate) struct Places {
    table: Mutex<Table>,
    refusals: [AtomicU64; Refusal::ALL.len()],
}

#[derive(Debug, Default)]
struct Table {
    /// Numbers connections, and the moments at which they became idle.
    next: u64,
    connections: BTreeMap<u64, Seat>,
    /// Connections by the moment: the first has been idle longest.
    idle: BTreeMap<u64, u64>,
    streams: usize,
    refusing: usize,
}

#[derive(Debug)]
struct Seat {
    idle_since: Option<u64>,
    leave: Arc<Notify>,
}

impl Places {
    /// A place for a new connection, if need be that of the connection that has been idle longest. `None` if all are busy.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut table = self.lock();
        if table.connections.len() >= MAX_CONNECTIONS {
            let (_, oldest) = table.idle.pop_first()?;
            let seat = table.connections.remove(&oldest);
            seat.expect("who is idle is connected").leave.notify_one();
            self.count(Refusal::Idle);
        }
        let id = table.number();
        let leave = Arc::new(Notify::new());
        let seat = Seat {
            idle_since: None,
            leave: Arc::clone(&leave),
        };
        table.connections.insert(id, seat);
        table.set_idle(id);
        Some(Place {
            id,
            leave,
            is_stream: AtomicBool::new(false),
            places: Arc::clone(self),
        })
    }

    /// Leave to tell a connection that there is no place for it.
    pub(super) fn refuse(self: &Arc<Self>) -> Option<Refusing> {
        let mut table = self.lock();
        if table.refusing >= MAX_REFUSALS {
            self.count(Refusal::Unheard);
            return None;
        }
        table.refusing += 1;
        Some(Refusing(Arc::clone(self)))
    }

    pub(super) fn count(&self, refusal: Refusal) {
        self.refusals[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether it has a place among those that ask for things.
    fn set_busy(&mut self, id: u64) -> bool {
        let Some(seat) = self.connections.get_mut(&id) else {
            return false;
        };
        if let Some(since) = seat.idle_since.take() {
            self.idle.remove(&since);
        }
        true
    }

    /// Idle from now on, whatever it was.
    fn set_idle(&mut self, id: u64) {
        if self.set_busy(id) {
            let since = self.number();
            self.idle.insert(since, id);
            let seat = self.connections.get_mut(&id);
            seat.expect("it has just been found").idle_since = Some(since);
        }
    }

    fn leave(&mut self, id: u64) {
        self.set_busy(id);
        self.connections.remove(&id);
    }
}

/// A connection's place, first among those that ask for things, then perhaps among the streams; never back.
#[derive(Debug)]
pub(crate) struct Place {
    id: u64,
    leave: Arc<Notify>,
    is_stream: AtomicBool,
    places: Arc<Places>,
}

impl Place {
    /// Resolves once another connection has this place.
    pub(super) async fn lost(&self) {
        self.leave.notified().await;
    }

    /// The connection has a request, until this is dropped. `None` if it has lost its place meanwhile.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Busy> {
        let is_here = self.places.lock().set_busy(self.id);
        is_here.then(|| Busy(Arc::clone(self)))
    }

    /// Something of an answer went out: whoever reads is not the one who gives way.
    pub(super) fn touch(&self) {
        let mut table = self.places.lock();
        let seat = table.connections.get(&self.id);
        if seat.is_some_and(|seat| seat.idle_since.is_some()) {
            table.set_idle(self.id);
        }
    }

    /// Whether it has become a stream's.
    pub(super) fn is_stream(&self) -> bool {
        self.is_stream.load(Ordering::Relaxed)
    }

    /// Makes it a stream's. `false` if there are too many.
    pub(super) fn become_stream(&self) -> bool {
        let mut table = self.places.lock();
        if table.streams >= MAX_STREAMS {
            self.places.count(Refusal::Streams);
            return false;
        }
        table.leave(self.id);
        table.streams += 1;
        self.is_stream.store(true, Ordering::Relaxed);
        true
    }

    pub(super) fn count(&self, refusal: Refusal) {
        self.places.count(refusal);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.places.lock();
        if *self.is_stream.get_mut() {
            table.streams -= 1;
        } else {
            table.leave(self.id);
        }
    }
}

/// A request is under way.
pub(super) struct Busy(Arc<Place>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.places.lock().set_idle(self.0.id);
    }
}

/// A refusal is being told.
pub(super) struct Refusing(Arc<Places>);

impl Drop for Refusing {
    fn drop(&mut self) {
        self.0.lock().refusing -= 1;
    }
}

/// How busy a server is, and how often it refused somebody.
#[derive(Clone, Debug)]
pub struct Load(pub(crate) Arc<Places>);

impl Load {
    /// Connections that ask, or may ask, for things.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.lock().connections.len()
    }

    /// Connections that carry a stream, or wait for one.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.0.lock().streams
    }

    /// What was refused or broken off since the start, by reason.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refusal::ALL.into_iter().map(|refusal| {
            let count = self.0.refusals[refusal as usize].load(Ordering::Relaxed);
            (refusal.name(), count)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection's place, with a request under way.
    fn busy(places: &Arc<Places>) -> (Arc<Place>, Busy) {
        let place = Arc::new(places.enter().unwrap());
        let request = place.begin().unwrap();
        (place, request)
    }

    fn count(places: &Arc<Places>, wanted: &str) -> u64 {
        let load = Load(Arc::clone(places));
        let found = load.refusals().find(|(name, _)| *name == wanted);
        found.unwrap().1
    }

    #[test]
    fn reasons_are_counted_in_their_own_places_and_in_the_manual() {
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index);
            let row = format!("\n| `{}` |", refusal.name());
            let manual = include_str!("../../../../docs/operations.md");
            assert!(manual.contains(&row), "{row}");
        }
    }

    #[tokio::test]
    async fn the_connection_that_has_been_idle_longest_gives_way() {
        let places = Arc::new(Places::default());
        let mut all: Vec<Arc<Place>> = vec![];
        for _ in 0..MAX_CONNECTIONS {
            all.push(Arc::new(places.enter().unwrap()));
        }
        // The first has a request, the second has had one, the third's answer goes out.
        let request = all[0].begin().unwrap();
        drop(all[1].begin().unwrap());
        all[2].touch();
        let new = places.enter().unwrap();
        all[3].lost().await;
        assert!(all[3].begin().is_none(), "it has no place");
        assert!(all[1].begin().is_some() && all[2].begin().is_some());
        assert_eq!(count(&places, "idle"), 1);
        drop((request, new, all));
        assert!(places.lock().connections.is_empty() && places.lock().idle.is_empty());
    }

    #[test]
    fn nobody_gives_way_who_has_a_request() {
        let places = Arc::new(Places::default());
        let all: Vec<_> = (0..MAX_CONNECTIONS).map(|_| busy(&places)).collect();
        assert!(places.enter().is_none());
        // Streams are counted apart: one more makes room for one more.
        assert!(all[0].0.become_stream());
        let _more = busy(&places);
        assert!(places.enter().is_none());
        let load = Load(Arc::clone(&places));
        assert_eq!((load.connections(), load.streams()), (MAX_CONNECTIONS, 1));
        drop(all);
        assert_eq!((load.connections(), load.streams()), (1, 0));
    }

    #[test]
    fn streams_have_a_bound_of_their_own() {
        let places = Arc::new(Places::default());
        let all: Vec<_> = (0..MAX_STREAMS)
            .map(|_| {
                let place = places.enter().unwrap();
                assert!(place.become_stream());
                place
            })
            .collect();
        let more = places.enter().unwrap();
        assert!(!more.become_stream());
        assert_eq!(count(&places, "streams"), 1);
        drop(all);
        assert!(more.become_stream());
    }

    #[test]
    fn refusals_have_a_bound() {
        let places = Arc::new(Places::default());
        let all: Vec<_> = (0..MAX_REFUSALS)
            .map(|_| places.refuse().unwrap())
            .collect();
        assert!(places.refuse().is_none());
        assert_eq!(count(&places, "unheard"), 1);
        drop(all);
        assert!(places.refuse().is_some());
    }
}
