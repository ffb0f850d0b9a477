//! The list of what came, a line of JSON each.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use super::ReceivedFile;
use crate::atomic;
use crate::db::sync_parent;

#[derive(Debug)]
pub(super) struct List(PathBuf);

impl List {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Adds a line; one that is not on the disk for sure is taken back.
    pub(super) fn enter(&self, facts: &ReceivedFile) -> io::Result<()> {
        let mut list = OpenOptions::new().create(true).append(true).open(&self.0)?;
        let before = list.metadata()?.len();
        // A line that a crash cut has no end: this one begins anew all the same.
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, facts)?;
        line.push(b'\n');
        let mut written = list.write_all(&line).and_then(|()| list.sync_all());
        if before == 0 {
            written = written.and_then(|()| sync_parent(&self.0));
        }
        if written.is_err()
            && let Err(error) = list.set_len(before)
        {
            tracing::error!(%error, path = %self.0.display(), "a line stays of a file that was not kept");
        }
        written
    }

    /// All lines that are whole.
    pub(super) fn read(&self) -> io::Result<Vec<ReceivedFile>> {
        let file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(error),
        };
        let mut files = vec![];
        for line in BufReader::new(file).split(b'\n') {
            let line = line?;
            if line.is_empty() {
                continue;
            }
            match serde_json::from_slice(&line) {
                Ok(facts) => files.push(facts),
                Err(error) => tracing::debug!(%error, "a line of the received files is cut"),
            }
        }
        Ok(files)
    }

    pub(super) fn clear(&self) -> io::Result<()> {
        atomic::replace(&self.0, b"")
    }
}
