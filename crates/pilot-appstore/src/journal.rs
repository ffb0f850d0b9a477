//! Files that grow at their end and are begun anew: an app's log, and the audit log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file of a bounded length; what was before is kept once, under the name with `.1`.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    most: u64,
    file: Option<(File, u64)>,
}

impl Journal {
    pub(crate) fn new(path: PathBuf, most: u64) -> Self {
        let file = None;
        Self { path, most, file }
    }

    /// Adds bytes, whole.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = match &self.file {
            Some((_, length)) => *length,
            None => self.open()?,
        };
        if length > 0 && length + bytes.len() as u64 > self.most {
            fs::rename(&self.path, earlier(&self.path))?;
            self.open()?;
        }
        let Some((file, length)) = &mut self.file else {
            return Err(io::Error::other("it was opened just now"));
        };
        file.write_all(bytes)?;
        *length += bytes.len() as u64;
        Ok(())
    }

    fn open(&mut self) -> io::Result<u64> {
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)?;
        let length = file.metadata()?.len();
        self.file = Some((file, length));
        Ok(length)
    }
}

/// What was there before the file was begun anew.
pub(crate) fn earlier(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_stays_within_twice_its_bound_and_goes_on_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for number in 0..100 {
            let mut journal = Journal::new(path.clone(), 50);
            journal
                .write(format!("line {number:02}\n").as_bytes())
                .unwrap();
            journal.write(b"again\n").unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("line 99\nagain\n"));
        let before = fs::read_to_string(earlier(&path)).unwrap();
        assert!(text.len() <= 50 && before.len() <= 50 && before.ends_with('\n'));
    }
}
