//! Where the daemon's log goes, and in which form.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The variable that says what is logged, as `info` or `pilot_node=debug,info`.
pub(crate) const LOG_VARIABLE: &str = "PILOT_LOG";
/// A file of this size makes place for the next; with the one before it, the log takes at most twice as much.
const ROTATE_AT: u64 = 16 * 1024 * 1024;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging cannot start.
#[derive(Debug, Error)]
#[error("cannot open the log file {}", path.display())]
pub(crate) struct LogError {
    path: PathBuf,
    source: io::Error,
}

/// Sends what the process logs to a file or, without one, to standard error.
///
/// If the process has a subscriber already, as an embedder or a test may, that one stays.
///
/// # Errors
/// [`LogError`] if the file cannot be opened.
pub(crate) fn install(format: LogFormat, file: Option<&Path>) -> Result<(), LogError> {
    match file {
        Some(path) => {
            let file = LogFile::open(path, ROTATE_AT).map_err(|source| LogError {
                path: path.to_owned(),
                source,
            })?;
            subscribe(format, false, file);
        }
        None => subscribe(format, stderr_has_colours(), io::stderr),
    }
    Ok(())
}

fn stderr_has_colours() -> bool {
    io::IsTerminal::is_terminal(&io::stderr()) && std::env::var_os("NO_COLOR").is_none()
}

fn subscribe<W>(format: LogFormat, colours: bool, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(writer);
    // An error says that a subscriber is set already.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// A file that is renamed to `NAME.1` when it is full.
#[derive(Debug)]
struct LogFile {
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    written: u64,
    rotate_at: u64,
}

impl LogFile {
    fn open(path: &Path, rotate_at: u64) -> io::Result<Self> {
        let file = append(path)?;
        let open = Open {
            path: path.to_owned(),
            written: file.metadata()?.len(),
            file,
            rotate_at,
        };
        Ok(Self {
            open: Mutex::new(open),
        })
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.written >= open.rotate_at {
            open.rotate()?;
        }
        open.file.write_all(line)?;
        open.written += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Open {
    fn rotate(&mut self) -> io::Result<()> {
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        fs::rename(&self.path, old)?;
        self.file = append(&self.path)?;
        self.written = 0;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_makes_place_for_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.log");
        for line in ["one\n", "two\n", "three\n"] {
            let log = LogFile::open(&path, 8).unwrap();
            (&log).write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(
            fs::read_to_string(dir.path().join("daemon.log.1")).unwrap(),
            "one\ntwo\n"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = install(LogFormat::Text, Some(Path::new("/nonexistent/x.log"))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot open the log file /nonexistent/x.log"
        );
    }
}
