//! A disk in memory that keeps apart what was synced and what was only written, loses power, and fills up.

use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pilot_sim::SimRng;
use redb::{BackendError, Builder, Database, StorageBackend};

use crate::db::{After, Medium, open_error, rewrite};
use crate::error::OpenDbError;

/// What a disk writes wholly or not at all.
const SECTOR: usize = 512;

/// What a database's file is called in these tests.
pub(super) const NAME: &str = "/agents/home/some.redb";

/// A disk; clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What is there after a loss of power, whatever happens.
    synced: Vec<u8>,
    /// What is read.
    cached: Vec<u8>,
    /// What was done since the last sync.
    pending: Vec<Change>,
    /// Writes, changes of length and syncs that it still does; then the power is off.
    calls_left: Option<u64>,
    full_for: Option<Call>,
}

#[derive(Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// What a full disk refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call {
    Write,
    Length,
    Sync,
}

impl Disk {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State {
            synced: bytes.clone(),
            cached: bytes,
            ..State::default()
        })))
    }

    /// What is read from it now.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.state().cached.clone()
    }

    /// It does so many calls more, and then none.
    pub(super) fn cut_power_after(&self, calls: u64) {
        self.state().calls_left = Some(calls);
    }

    pub(super) fn is_off(&self) -> bool {
        self.state().calls_left == Some(0)
    }

    /// From now on it has no space left for what the call needs.
    pub(super) fn fill(&self, call: Call) {
        self.state().full_for = Some(call);
    }

    /// There is room again.
    pub(super) fn make_room(&self) {
        self.state().full_for = None;
    }

    /// The power comes back: of what was not synced some is there, some in parts.
    pub(super) fn restart(&self, rng: &mut SimRng) {
        let mut state = self.state();
        let mut bytes = std::mem::take(&mut state.synced);
        for change in std::mem::take(&mut state.pending) {
            match change {
                Change::Length(len) if rng.below(2) == 0 => bytes.resize(len, 0),
                Change::Length(_) => {}
                Change::Write(at, data) => write_some(&mut bytes, at, &data, rng),
            }
        }
        *state = State {
            synced: bytes.clone(),
            cached: bytes,
            ..State::default()
        };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All of it, nothing, its beginning, or any of its sectors; what lies beyond the end was never the file's.
fn write_some(bytes: &mut [u8], at: usize, data: &[u8], rng: &mut SimRng) {
    let how = rng.below(4);
    let torn = SECTOR as u64 * rng.below(data.len().div_ceil(SECTOR) as u64);
    for (index, sector) in data.chunks(SECTOR).enumerate() {
        let offset = index * SECTOR;
        let is_kept = match how {
            0 => false,
            1 => true,
            2 => (offset as u64) < torn,
            _ => rng.below(2) == 0,
        };
        let place = at + offset..at + offset + sector.len();
        if let Some(place) = bytes.get_mut(place).filter(|_| is_kept) {
            place.copy_from_slice(sector);
        }
    }
}

impl State {
    fn call(&mut self, call: Call) -> io::Result<()> {
        match &mut self.calls_left {
            Some(0) => return Err(io::Error::other("the power is off")),
            Some(left) => *left -= 1,
            None => {}
        }
        if self.full_for == Some(call) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn write(&mut self, at: usize, data: &[u8]) {
        self.cached[at..at + data.len()].copy_from_slice(data);
        self.pending.push(Change::Write(at, data.to_vec()));
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Length(len) => self.synced.resize(len, 0),
                Change::Write(at, data) => self.synced[at..at + data.len()].copy_from_slice(&data),
            }
        }
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let at = place(offset);
        let bytes = state.cached.get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let (mut state, len) = (self.state(), place(len));
        // To shrink needs no space.
        let grows = len > state.cached.len();
        state.call(if grows { Call::Length } else { Call::Write })?;
        state.cached.resize(len, 0);
        state.pending.push(Change::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        let done = state.call(Call::Sync);
        if done.is_ok() {
            state.sync();
        } else if state.full_for.is_some() {
            // As a system does that calls pages clean which it could not write: it never tries them again.
            state
                .pending
                .retain(|change| matches!(change, Change::Length(_)));
        }
        done
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let done = state.call(Call::Write);
        if done.is_ok() {
            state.write(place(offset), data);
        } else if state.full_for.is_some() {
            state.write(place(offset), &data[..data.len() / 2]);
        }
        done
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Err(BackendError::Unsupported)
    }
}

impl Medium for Disk {
    fn open(&self, builder: &mut Builder, after: After) -> Result<Database, OpenDbError> {
        let path = Path::new(NAME);
        if after == After::Failure {
            rewrite(self).map_err(|source| OpenDbError::Io {
                path: path.to_owned(),
                source,
            })?;
        }
        let opened = builder.create_with_backend(self.clone());
        opened.map_err(|error| open_error(path, error))
    }
}
