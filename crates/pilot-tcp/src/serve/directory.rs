//! The directory that is served. The kernel holds every look-up below it (`openat2`, RESOLVE_BENEATH).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use pilot_api::{ApiError, ErrorCode};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat,
};
use rustix::io::Errno;
use tokio::task::spawn_blocking;

use super::content_type;
use super::path::RequestPath;

/// Served in place of a directory that has it.
const INDEX: &str = "index.html";
/// Something may be renamed meanwhile, which openat2(2) wants to be tried again; a lease on the file looks the same, and lasts.
const LOOK_UPS: usize = 16;
/// Longest listing: with names of 255 bytes a page of some 16 MiB at worst.
const MAX_ENTRIES: usize = 10_000;

/// A directory and what is below it, without names that begin with a dot. Symbolic links lead to what is below, too.
#[derive(Clone, Debug)]
pub struct Directory {
    root: Arc<OwnedFd>,
}

/// What a path names.
pub(super) enum Found {
    File(FoundFile),
    Directory(Entries),
}

pub(super) struct FoundFile {
    pub(super) file: File,
    pub(super) length: u64,
    pub(super) content_type: &'static str,
    /// Seconds and nanoseconds of its last change.
    changed: (i64, i64),
}

impl FoundFile {
    /// Another one for every version of the file.
    pub(super) fn tag(&self) -> String {
        let (secs, nanos) = self.changed;
        format!("\"{:x}-{secs:x}-{nanos:x}\"", self.length)
    }
}

/// By name.
#[derive(Default)]
pub(super) struct Entries {
    pub(super) entries: Vec<Entry>,
    /// Whether there are more than are listed.
    pub(super) is_cut: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) is_directory: bool,
}

pub(super) enum OpenError {
    /// There is nothing, or nothing that is shown.
    NotFound,
    Io(io::Error),
}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> Self {
        match errno {
            // XDEV: it leads out. LOOP: too many links. ACCESS: not for this user, and no matter for a client.
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::XDEV
            | Errno::LOOP
            | Errno::ACCESS
            | Errno::PERM
            | Errno::NAMETOOLONG
            | Errno::NXIO => Self::NotFound,
            errno => Self::Io(errno.into()),
        }
    }
}

impl Directory {
    /// The directory at a path. Blocks.
    ///
    /// # Errors
    /// `invalid_argument` if there is none, `permission_denied` if it may not be read, `internal` if the kernel cannot hold
    /// look-ups below it.
    pub fn open_root(path: &Path) -> Result<Self, ApiError> {
        let shown = path.display();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => ApiError::invalid(format!("no directory {shown}")),
            Errno::NOTDIR => ApiError::invalid(format!("{shown} is no directory")),
            Errno::ACCESS | Errno::PERM => ApiError::new(
                ErrorCode::PermissionDenied,
                format!("{shown} may not be read"),
            ),
            errno => ApiError::internal(format!("cannot open {shown}: {errno}")),
        })?;
        let directory = Self {
            root: Arc::new(root),
        };
        directory.look_up(Path::new(".")).map_err(|errno| {
            ApiError::internal(format!(
                "the kernel has no openat2, which holds look-ups below {shown}: {errno}"
            ))
            .with_hint("a kernel from Linux 5.6 on, and a container that allows the call")
        })?;
        Ok(directory)
    }

    pub(super) async fn open(&self, path: RequestPath) -> Result<Found, OpenError> {
        let directory = self.clone();
        spawn_blocking(move || directory.find(&path))
            .await
            .unwrap_or_else(|error| Err(OpenError::Io(io::Error::other(error))))
    }

    fn find(&self, path: &RequestPath) -> Result<Found, OpenError> {
        if path.is_hidden() {
            return Err(OpenError::NotFound);
        }
        let relative = path.to_relative();
        let opened = self.look_up(&relative)?;
        let kind = kind(&opened)?;
        if kind == FileType::RegularFile && !path.is_directory() {
            return found(opened, path.name());
        }
        if kind != FileType::Directory {
            // Sockets, pipes and devices are not for reading from afar.
            return Err(OpenError::NotFound);
        }
        if !path.is_directory() {
            return Ok(Found::Directory(Entries::default()));
        }
        match self.look_up(&relative.join(INDEX)) {
            Ok(index) if is_file(&index)? => found(index, INDEX.as_bytes()),
            Ok(_) | Err(Errno::NOENT) => Ok(Found::Directory(list(&opened)?)),
            Err(errno) => Err(errno.into()),
        }
    }

    fn look_up(&self, relative: &Path) -> Result<OwnedFd, Errno> {
        // A pipe would wait for its other end.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let look = || openat2(&*self.root, relative, flags, Mode::empty(), resolve);
        let is_final = |result: &Result<_, _>| !matches!(result, Err(Errno::AGAIN | Errno::INTR));
        (1..LOOK_UPS)
            .map(|_| look())
            .find(is_final)
            .unwrap_or_else(look)
    }
}

fn kind(opened: &OwnedFd) -> Result<FileType, Errno> {
    let stat = rustix::fs::fstat(opened)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn is_file(opened: &OwnedFd) -> Result<bool, Errno> {
    Ok(kind(opened)? == FileType::RegularFile)
}

fn found(opened: OwnedFd, name: &[u8]) -> Result<Found, OpenError> {
    let stat = rustix::fs::fstat(&opened)?;
    Ok(Found::File(FoundFile {
        file: File::from(opened),
        length: u64::try_from(stat.st_size).unwrap_or(0),
        content_type: content_type::of_name(name),
        changed: (
            stat.st_mtime,
            i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
        ),
    }))
}

fn list(opened: &OwnedFd) -> Result<Entries, OpenError> {
    let mut entries = vec![];
    let mut is_cut = false;
    for entry in Dir::read_from(opened)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name.starts_with(b".") {
            continue;
        }
        let mut kind = entry.file_type();
        if kind == FileType::Unknown {
            // Some file systems do not say.
            kind = statat(opened, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                .map_or(kind, |stat| FileType::from_raw_mode(stat.st_mode));
        }
        if !matches!(
            kind,
            FileType::Directory | FileType::RegularFile | FileType::Symlink
        ) {
            continue;
        }
        if entries.len() >= MAX_ENTRIES {
            is_cut = true;
            break;
        }
        entries.push(Entry {
            name: name.to_owned(),
            is_directory: kind == FileType::Directory,
        });
    }
    entries.sort();
    Ok(Entries { entries, is_cut })
}
