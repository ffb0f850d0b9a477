//! Files below a directory, reached name by name without following a symbolic link.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use pilot_wire::{FileName, FilePath};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, fsync, linkat, mkdirat, openat, renameat_with,
    unlinkat,
};
use rustix::io::Errno;

use super::{MAX_FILES, ReceivedError, failed};

/// Names tried for one file: `a`, `a (1)`, …
const MAX_NUMBER: u32 = MAX_FILES as u32 + 1;

/// Moves `partial` to `name`, or the first of its numbered names that is free; makes directories. Durable when it returns.
pub(super) fn place(
    base: &Path,
    partial: &str,
    name: &FilePath,
) -> Result<FilePath, ReceivedError> {
    let (directories, _) = name.split();
    let opened = open_base(base).map_err(failed(base))?;
    let parent = make_directories(base, &opened, &directories)?;
    let placed = place_in(base, (&opened, partial), &parent, name);
    if placed.is_err() {
        remove_empty(base, &directories);
    }
    placed
}

fn place_in(
    base: &Path,
    (from, partial): (&OwnedFd, &str),
    parent: &OwnedFd,
    name: &FilePath,
) -> Result<FilePath, ReceivedError> {
    for number in 0..MAX_NUMBER {
        let candidate = name.numbered(number);
        let path = base.join(candidate.as_str());
        match rename_new((from, partial), (parent, candidate.file_name())) {
            Ok(()) => {
                let synced = fsync(parent).and_then(|()| fsync(from));
                if synced.is_err() {
                    // Its sender is told that it is not stored.
                    let _ = unlinkat(parent, candidate.file_name(), AtFlags::empty());
                }
                synced.map_err(|error| failed(&path)(error.into()))?;
                return Ok(candidate);
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(&path)(error.into())),
        }
    }
    Err(ReceivedError::Full)
}

/// Never onto something that is there.
fn rename_new((from, old): (&OwnedFd, &str), (to, new): (&OwnedFd, &str)) -> Result<(), Errno> {
    match renameat_with(from, old, to, new, RenameFlags::NOREPLACE) {
        // The file system does not know how: a second name, then without the first one.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            linkat(from, old, to, new, AtFlags::empty())?;
            unlinkat(from, old, AtFlags::empty())
        }
        renamed => renamed,
    }
}

/// Removes a file, and the directories above it that are empty then. What is not there, or not ours any more, is no error.
pub(super) fn remove(base: &Path, name: &str) -> io::Result<()> {
    let Ok(name) = name.parse::<FilePath>() else {
        // Nothing that we put there.
        return Ok(());
    };
    let (directories, _) = name.split();
    let Some(parent) = open_directories(base, &directories)? else {
        return Ok(());
    };
    match unlinkat(&parent, name.file_name(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    remove_empty(base, &directories);
    Ok(())
}

fn open_base(base: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, base, flags, Mode::empty())?)
}

fn open_child(parent: &OwnedFd, name: &FileName) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name.as_str(), flags, Mode::empty())
}

fn make_directories(
    base: &Path,
    opened: &OwnedFd,
    names: &[FileName],
) -> Result<OwnedFd, ReceivedError> {
    let mut path = base.to_owned();
    let mut at = opened.try_clone().map_err(failed(base))?;
    for name in names {
        path.push(name.as_str());
        match mkdirat(&at, name.as_str(), Mode::RWXU) {
            Ok(()) => fsync(&at).map_err(|error| failed(&path)(error.into()))?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(&path)(error.into())),
        }
        at = open_child(&at, name).map_err(|error| match error {
            Errno::NOTDIR | Errno::LOOP => ReceivedError::InTheWay { path: path.clone() },
            error => failed(&path)(error.into()),
        })?;
    }
    Ok(at)
}

/// `None` if one of them is not there, or is no directory any more.
fn open_directories(base: &Path, names: &[FileName]) -> io::Result<Option<OwnedFd>> {
    let mut at = match open_base(base) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    for name in names {
        at = match open_child(&at, name) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            opened => opened?,
        };
    }
    Ok(Some(at))
}

/// From the innermost on, as long as they are empty.
fn remove_empty(base: &Path, names: &[FileName]) {
    for depth in (0..names.len()).rev() {
        let Ok(Some(parent)) = open_directories(base, &names[..depth]) else {
            return;
        };
        if unlinkat(&parent, names[depth].as_str(), AtFlags::REMOVEDIR).is_err() {
            return;
        }
    }
}
