//! Folders: their files, as texts.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pilot_web::Wanted;

/// Longest file that is read.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Folders within each other.
const MAX_DEPTH: usize = 32;
/// Entries of folders that are looked at.
const MAX_ENTRIES: usize = 200_000;
/// Bytes in which a zero byte shows that a file is no text.
const HEAD: usize = 8 * 1024;

/// A file as it was found.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    /// Differs once the file is another.
    pub(crate) stamp: String,
    pub(crate) bytes: u64,
}

/// What a folder has, one after the other. Links are not followed: they may lead in circles. Names that begin with a dot are left out.
pub(crate) struct Files {
    left: Vec<(PathBuf, usize)>,
    entries: usize,
    /// What could not be looked at.
    pub(crate) refused: Vec<(PathBuf, String)>,
    /// Whether all of it was looked at.
    pub(crate) is_whole: bool,
}

impl Files {
    /// Of a folder, or a file alone.
    ///
    /// # Errors
    /// If it cannot be looked into.
    pub(crate) fn of(root: &Path) -> io::Result<Self> {
        let meta = fs::metadata(root)?;
        if meta.is_dir() {
            drop(fs::read_dir(root)?);
        } else {
            drop(open(root)?);
        }
        Ok(Self {
            left: vec![(root.to_owned(), 0)],
            entries: 0,
            refused: vec![],
            is_whole: true,
        })
    }

    fn look_into(&mut self, dir: &Path, depth: usize) {
        let entries = match fs::read_dir(dir) {
            Ok(entries) if depth <= MAX_DEPTH => entries,
            Ok(_) => return self.refuse(dir, "it is too deep"),
            Err(error) => return self.refuse(dir, &error.to_string()),
        };
        let mut paths = vec![];
        for entry in entries.flatten() {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                self.is_whole = false;
                break;
            }
            let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if !is_hidden && !is_link {
                paths.push((entry.path(), depth + 1));
            }
        }
        paths.sort();
        self.left.extend(paths.into_iter().rev());
    }

    fn refuse(&mut self, path: &Path, why: &str) {
        // What is there but cannot be read now is not gone.
        self.is_whole = false;
        self.refused.push((path.to_owned(), why.to_owned()));
    }
}

impl Iterator for Files {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        while let Some((path, depth)) = self.left.pop() {
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => self.look_into(&path, depth),
                Ok(meta) if meta.is_file() => {
                    let (stamp, bytes) = (stamp(&meta), meta.len());
                    return Some(Found { path, stamp, bytes });
                }
                // A pipe or a device; or it is gone meanwhile.
                Ok(_) | Err(_) => {}
            }
        }
        None
    }
}

/// When it was written and when anything of it was changed, its length and its number.
fn stamp(meta: &Metadata) -> String {
    let times = [
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
    ];
    let [mtime, mtime_nsec, ctime, ctime_nsec] = times;
    format!(
        "{mtime}.{mtime_nsec}-{ctime}.{ctime_nsec}-{}-{}",
        meta.len(),
        meta.ino()
    )
}

/// The title and the text of a file.
///
/// # Errors
/// Words: too long, no text, or what the system says.
pub(crate) fn read(found: &Found) -> Result<(String, String), String> {
    if found.bytes > MAX_FILE {
        return Err(format!("it is longer than {} MiB", MAX_FILE >> 20));
    }
    let file = open(&found.path).map_err(|error| error.to_string())?;
    let mut bytes = vec![];
    // It may have grown meanwhile.
    let read = file.take(MAX_FILE).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    let is_utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    if bytes[..bytes.len().min(HEAD)].contains(&0) && !is_utf16 {
        return Err("it is no text".to_owned());
    }
    let (text, _) = pilot_web::decode(&bytes, None);
    let name = found.path.file_name().unwrap_or_default().to_string_lossy();
    let extension = found
        .path
        .extension()
        .map(std::ffi::OsStr::to_ascii_lowercase);
    let is_html = extension.is_some_and(|e| e == "html" || e == "htm" || e == "xhtml");
    if is_html {
        let page = pilot_web::from_html(&text, &wanted());
        return Ok((
            page.title.unwrap_or_else(|| name.into_owned()),
            page.markdown,
        ));
    }
    let heading = text.lines().find_map(|line| line.strip_prefix("# "));
    let title = heading.map_or_else(
        || name.clone().into_owned(),
        |heading| format!("{} ({name})", heading.trim()),
    );
    Ok((title.chars().take(300).collect(), text))
}

/// A pipe that took a file's place does not make it wait.
fn open(path: &Path) -> io::Result<File> {
    const O_NONBLOCK: i32 = 0o4000;
    File::options()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)
}

/// All of a page's text, within what is kept of anything.
pub(crate) const fn wanted() -> Wanted<'static> {
    Wanted {
        base: None,
        main: false,
        most: 4 * 1024 * 1024,
        time: pilot_web::PARSING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_and_what_is_none_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        write("a.md", b"# Heading\n\ntext");
        write(
            "sub/b.html",
            b"<title>Page</title><script>no</script><p>shown",
        );
        write("c.bin", b"\x7fELF\0\0");
        write(".hidden", b"secret");
        std::os::unix::fs::symlink(dir.path(), dir.path().join("circle")).unwrap();
        let files: Vec<Found> = Files::of(dir.path()).unwrap().collect();
        let names: Vec<_> = files.iter().map(|f| f.path.file_name().unwrap()).collect();
        assert_eq!(names, ["a.md", "c.bin", "b.html"]);
        assert_eq!(read(&files[0]).unwrap().0, "Heading (a.md)");
        assert_eq!(read(&files[1]).unwrap_err(), "it is no text");
        assert_eq!(read(&files[2]).unwrap(), ("Page".into(), "shown".into()));
    }

    #[test]
    fn a_changed_file_has_another_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "one").unwrap();
        let stamp = |path: &Path| Files::of(path).unwrap().next().unwrap().stamp;
        let before = stamp(&path);
        assert_eq!(stamp(&path), before);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "three").unwrap();
        assert_ne!(stamp(&path), before);
    }
}
