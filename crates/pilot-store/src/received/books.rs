//! What is kept, and what is promised to files on their way in.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use pilot_types::AgentId;
use pilot_wire::{FileId, FilePath};

use super::{MAX_FILES, ReceivedError, ReceivedFile, Transfer, failed, lock, partial};
use crate::atomic;

/// What files leave on the disk for everything else: a quarter of what there was without them, and at least this.
pub(super) const RESERVE: u64 = 64 * 1024 * 1024;
/// Files on their way in at a time; each holds under 1 MiB of memory: 16 MiB in all.
pub(super) const MAX_COMING: usize = 16;
/// Of them, those of one sender: it takes four senders to keep out the others.
pub(super) const MAX_FROM_ONE: usize = MAX_COMING / 4;
/// What broken transfers leave for another try, in number. Their bytes count as room for every file that comes: they give way.
pub(super) const MAX_IDLE: usize = 64;
/// Of it, what is of one sender.
pub(super) const MAX_IDLE_OF_ONE: usize = MAX_IDLE / 4;
/// What nobody went on with for so long is removed.
const MAX_IDLE_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Transfers that came whole lately, of which a sender that missed our word may ask again: 1.2 KiB each with the longest path.
const MAX_RECENT: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Books {
    dir: PathBuf,
    /// Bytes of all that is kept and comes, as the owner wants.
    quota: Option<u64>,
    /// Lines of the list.
    pub(super) listed: usize,
    /// Bytes of the files in it.
    pub(super) listed_bytes: u64,
    /// Bytes of all that come, as their senders say.
    pub(super) coming_bytes: u64,
    /// Those of them that are on the disk.
    pub(super) written_bytes: u64,
    /// Files that come, by sender: at most [`MAX_COMING`].
    coming: BTreeMap<AgentId, usize>,
    /// Which of them go on with what was left, or leave it, by its name.
    open: BTreeMap<String, FileId>,
    /// What was left, by its name: at most [`MAX_IDLE`].
    pub(super) idle: BTreeMap<String, Idle>,
    /// What came whole, the newest last: at most [`MAX_RECENT`].
    recent: VecDeque<(AgentId, FileId, FilePath, [u8; 32])>,
}

/// What a broken transfer left.
#[derive(Debug)]
pub(super) struct Idle {
    from: AgentId,
    bytes: u64,
    touched: SystemTime,
}

impl Books {
    pub(super) fn new(dir: PathBuf, quota: Option<u64>) -> Self {
        Self {
            dir,
            quota,
            ..Self::default()
        }
    }

    /// Looks for what transfers left, and removes what is beyond the bounds.
    pub(super) fn find_idle(&mut self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if partial::is_lost(&name) {
                atomic::remove_quietly(&entry.path());
            }
            let (Some(from), Ok(meta)) = (partial::sender_of(&name), entry.metadata()) else {
                continue;
            };
            let touched = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let bytes = meta.len();
            self.leave(
                name,
                Idle {
                    from,
                    bytes,
                    touched,
                },
            );
        }
        Ok(())
    }

    /// Admits a file whose promise is made at once; what was left of it is idle no more.
    pub(super) fn admit(
        &mut self,
        transfer: &Transfer,
        name: Option<&str>,
    ) -> Result<(), ReceivedError> {
        if let Some(id) = name.and_then(|name| self.open.get(name)) {
            let is_same = *id == transfer.id;
            return Err(ReceivedError::Coming { is_same });
        }
        let coming = self.coming.values().sum::<usize>();
        if self.listed + coming >= MAX_FILES {
            return Err(ReceivedError::Full);
        }
        let of_sender = self.coming.get(&transfer.from).copied().unwrap_or_default();
        if coming >= MAX_COMING || of_sender >= MAX_FROM_ONE {
            return Err(ReceivedError::Busy);
        }
        let kept = name.and_then(|name| self.idle.get(name));
        let kept = kept.map_or(0, |idle| idle.bytes.min(transfer.size));
        self.make_room(transfer.size, kept, name)?;
        if let Some(name) = name {
            self.idle.remove(name);
            self.open.insert(name.to_owned(), transfer.id);
        }
        *self.coming.entry(transfer.from).or_default() += 1;
        self.coming_bytes += transfer.size;
        Ok(())
    }

    /// Room for `size` bytes, of which `kept` lie under `name`; others' leavings give way, the oldest first.
    fn make_room(&mut self, size: u64, kept: u64, name: Option<&str>) -> Result<(), ReceivedError> {
        let left = self.quota_left();
        if size > left {
            let (needed, available) = (size, left);
            return Err(ReceivedError::Quota { needed, available });
        }
        let available = self.room(self.free()?, kept);
        if size > available {
            return Err(ReceivedError::Space {
                needed: size,
                available,
                dir: self.dir.clone(),
            });
        }
        while self.is_tight(self.free()?, size, kept) && self.evict(|idle| Some(idle) != name, None)
        {
        }
        Ok(())
    }

    /// Bytes that are free on the disk.
    pub(super) fn free(&self) -> Result<u64, ReceivedError> {
        let stat = rustix::fs::statvfs(&self.dir);
        let stat = stat.map_err(|error| failed(&self.dir)(error.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn idle_bytes(&self) -> u64 {
        self.idle.values().map(|idle| idle.bytes).sum()
    }

    fn quota_left(&self) -> u64 {
        let promised = self.listed_bytes.saturating_add(self.coming_bytes);
        self.quota
            .map_or(u64::MAX, |quota| quota.saturating_sub(promised))
    }

    /// What all files may take on a disk where so many bytes are free.
    fn share(&self, free: u64) -> u64 {
        let without_files = free
            .saturating_add(self.listed_bytes)
            .saturating_add(self.written_bytes)
            .saturating_add(self.idle_bytes());
        let share = without_files.saturating_sub(RESERVE.max(without_files / 4));
        share.min(self.quota.unwrap_or(u64::MAX))
    }

    /// What a file may take of which `kept` bytes are there, if all that was left gives way.
    pub(super) fn room(&self, free: u64, kept: u64) -> u64 {
        let promised = self.listed_bytes.saturating_add(self.coming_bytes);
        let share = self.share(free).saturating_sub(promised);
        // What others wrote meanwhile is gone, whatever the share says.
        let to_come = self.coming_bytes.saturating_sub(self.written_bytes);
        let others = self.idle_bytes().saturating_sub(kept);
        let rest = free.saturating_add(others).saturating_sub(RESERVE);
        share.min(rest.saturating_sub(to_come).saturating_add(kept))
    }

    /// Whether a file does not fit beside what was left.
    fn is_tight(&self, free: u64, size: u64, kept: u64) -> bool {
        let others = self.idle_bytes().saturating_sub(kept);
        let promised = self.listed_bytes.saturating_add(self.coming_bytes);
        let to_come = self.coming_bytes.saturating_sub(self.written_bytes);
        promised.saturating_add(size).saturating_add(others) > self.share(free)
            || to_come.saturating_add(size - kept) > free.saturating_sub(RESERVE)
    }

    /// Takes what a transfer left into account, within the bounds.
    fn leave(&mut self, name: String, idle: Idle) {
        let from = idle.from;
        self.idle.insert(name, idle);
        while self.idle.values().filter(|idle| idle.from == from).count() > MAX_IDLE_OF_ONE {
            self.evict(|_| true, Some(from));
        }
        while self.idle.len() > MAX_IDLE {
            self.evict(|_| true, None);
        }
        let now = SystemTime::now();
        let is_old = |idle: &Idle| {
            now.duration_since(idle.touched)
                .is_ok_and(|age| age > MAX_IDLE_AGE)
        };
        while self.idle.values().any(is_old) {
            self.evict(|_| true, None);
        }
    }

    /// Removes the oldest of what was left, of this sender if one is given; `false` if there is none.
    fn evict(&mut self, may: impl Fn(&str) -> bool, from: Option<AgentId>) -> bool {
        let mut all = self
            .idle
            .iter()
            .filter(|(name, idle)| may(name.as_str()) && from.is_none_or(|from| from == idle.from));
        let first = all.next();
        let oldest = first.map(|first| {
            all.fold(first, |one, other| {
                if other.1.touched < one.1.touched {
                    other
                } else {
                    one
                }
            })
        });
        let Some(name) = oldest.map(|(name, _)| name.clone()) else {
            return false;
        };
        self.idle.remove(&name);
        atomic::remove_quietly(&self.dir.join(name));
        true
    }

    /// A sender that missed our word may ask for it again.
    pub(super) fn remember(&mut self, facts: &ReceivedFile) {
        let (Some(id), Ok(name)) = (facts.transfer, facts.name.parse()) else {
            return;
        };
        self.recent.push_back((facts.from, id, name, facts.sha256));
        if self.recent.len() > MAX_RECENT {
            self.recent.pop_front();
        }
    }

    pub(super) fn stored_before(&self, transfer: &Transfer) -> Option<(FilePath, [u8; 32])> {
        let found = self
            .recent
            .iter()
            .find(|(from, id, ..)| *from == transfer.from && *id == transfer.id);
        found.map(|(_, _, name, sha256)| (name.clone(), *sha256))
    }
}

/// A file's entry in the books, for as long as it lives.
#[derive(Debug)]
pub(super) struct Promise {
    books: Arc<Mutex<Books>>,
    from: AgentId,
    /// Under which what comes is left.
    name: Option<String>,
    size: u64,
    written: u64,
}

impl Promise {
    /// For a file that was just admitted.
    pub(super) fn new(books: Arc<Mutex<Books>>, transfer: &Transfer, name: Option<String>) -> Self {
        Self {
            books,
            from: transfer.from,
            name,
            size: transfer.size,
            written: 0,
        }
    }

    pub(super) const fn from(&self) -> AgentId {
        self.from
    }

    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that are on the disk.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// The file is at least so long.
    pub(super) fn written_to(&mut self, end: u64) {
        let more = end.saturating_sub(self.written);
        self.written += more;
        lock(&self.books).written_bytes += more;
    }

    /// What is there stays for another try; `false` if none would find it.
    pub(super) fn leave(&mut self) -> bool {
        let Some(name) = self.name.clone() else {
            return false;
        };
        let idle = Idle {
            from: self.from,
            bytes: self.written,
            touched: SystemTime::now(),
        };
        lock(&self.books).leave(name, idle);
        true
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut books = lock(&self.books);
        books.coming_bytes = books.coming_bytes.saturating_sub(self.size);
        books.written_bytes = books.written_bytes.saturating_sub(self.written);
        if let Some(name) = &self.name {
            books.open.remove(name);
        }
        if let Some(count) = books.coming.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                books.coming.remove(&self.from);
            }
        }
    }
}
