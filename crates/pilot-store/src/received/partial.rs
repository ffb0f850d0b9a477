//! What came so far of a file.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pilot_types::{AgentId, encode_hex};
use pilot_wire::FilePath;
use pilot_wire::limits::FILE_CHUNK;
use ring::digest::{Context, SHA256};
use rustix::fs::OFlags;
use tempfile::Builder;

use super::books::Promise;
use super::{ReceivedError, Transfer, failed, place};
use crate::atomic;
use crate::error::is_no_space;

/// How names of what came so far begin; then the sender, and a hash of name and size.
const PREFIX: &str = ".part-";
/// Bytes of the hash.
const KEY: usize = 8;

/// The name under which another try finds what one has left: it is of the same sender, path and size. None for a file so
/// small that nothing is gained.
pub(super) fn name_of(transfer: &Transfer) -> Option<String> {
    if transfer.size < FILE_CHUNK {
        return None;
    }
    let mut hash = Context::new(&SHA256);
    hash.update(&transfer.size.to_be_bytes());
    hash.update(transfer.name.as_str().as_bytes());
    let key = encode_hex(&hash.finish().as_ref()[..KEY]);
    Some(format!("{PREFIX}{}-{key}", transfer.from))
}

/// Whose it is; `None` for what is not of this name.
pub(super) fn sender_of(name: &str) -> Option<AgentId> {
    let (sender, key) = name.strip_prefix(PREFIX)?.split_once('-')?;
    let is_key = key.len() == 2 * KEY && key.bytes().all(|it| it.is_ascii_hexdigit());
    sender.parse().ok().filter(|_| is_key)
}

/// Whether nobody will look for what has this name.
pub(super) fn is_lost(name: &str) -> bool {
    name.starts_with(PREFIX) && sender_of(name).is_none()
}

/// A file on its way in. What is dropped unfinished stays for another try, if there is something to go on with.
#[derive(Debug)]
pub struct IncomingFile {
    file: File,
    dir: PathBuf,
    name: String,
    is_placed: bool,
    /// Whether it met the end of the disk: then it must not lie there and keep it full.
    is_full: bool,
    promise: Promise,
}

impl IncomingFile {
    /// What was left under this name, or a new file.
    pub(super) fn open(
        dir: &Path,
        name: Option<String>,
        mut promise: Promise,
    ) -> Result<Self, ReceivedError> {
        let (file, name) = match name {
            Some(name) => (open_left(&dir.join(&name)).map_err(failed(dir))?, name),
            None => {
                let prefix = format!("{PREFIX}{}-new-", promise.from());
                let made = Builder::new().prefix(&prefix).tempfile_in(dir);
                let (file, path) = made.map_err(failed(dir))?.into_parts();
                let path = path.keep().map_err(|kept| failed(dir)(kept.error))?;
                let name = path.file_name().unwrap_or_default();
                (file, name.to_string_lossy().into_owned())
            }
        };
        let mut len = file.metadata().map_err(failed(dir))?.len();
        if len > promise.size() {
            file.set_len(0).map_err(failed(dir))?;
            len = 0;
        }
        promise.written_to(len);
        Ok(Self {
            file,
            dir: dir.to_owned(),
            name,
            is_placed: false,
            is_full: false,
            promise,
        })
    }

    /// Bytes from the start on that an earlier try left.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.promise.written()
    }

    pub(super) fn size(&self) -> u64 {
        self.promise.size()
    }

    /// Reads bytes that are there.
    ///
    /// # Errors
    /// [`ReceivedError::Io`].
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReceivedError> {
        let read = self.file.read_exact_at(bytes, offset);
        read.map_err(failed(&self.dir.join(&self.name)))
    }

    /// Writes bytes, over what is there.
    ///
    /// # Errors
    /// [`ReceivedError::Io`].
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), ReceivedError> {
        let written = self.file.write_all_at(bytes, offset);
        self.is_full = written.as_ref().is_err_and(is_no_space);
        written.map_err(failed(&self.dir.join(&self.name)))?;
        self.promise.written_to(offset + bytes.len() as u64);
        Ok(())
    }

    /// It is of no use: nothing stays.
    pub fn discard(mut self) {
        self.remove();
    }

    /// Gives the path under which it lies in the directory now, on the disk.
    pub(super) fn place(mut self, name: &FilePath) -> Result<FilePath, ReceivedError> {
        self.file.sync_all().map_err(failed(&self.dir))?;
        let placed = place::place(&self.dir, &self.name, name)?;
        self.is_placed = true;
        Ok(placed)
    }

    fn remove(&mut self) {
        self.is_placed = true;
        atomic::remove_quietly(&self.dir.join(&self.name));
    }
}

impl Drop for IncomingFile {
    fn drop(&mut self) {
        if self.is_placed {
            return;
        }
        if self.is_full || self.held() < FILE_CHUNK || !self.promise.leave() {
            self.remove();
        }
    }
}

/// For its owner alone. A second name of a file that came whole, which a crash left, is none that may be written to.
fn open_left(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::MetadataExt;
    let open = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
    };
    let file = open()?;
    if file.metadata()?.nlink() == 1 {
        return Ok(file);
    }
    fs::remove_file(path)?;
    open()
}
