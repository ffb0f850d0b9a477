//! What lies in directories that are to be sent.

use std::fs;
use std::path::{Path, PathBuf};

use pilot_api::ApiError;
use pilot_rendezvous::error::io_code;
use pilot_wire::FilePath;
use pilot_wire::limits::MAX_FILE_DEPTH;
use serde::Serialize;

/// Files of one command: no agent keeps more.
const MAX_FILES: usize = 10_000;

/// A file that is to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// Absolute.
    pub(super) path: PathBuf,
    /// Where it is to be at the receiver, if it was found in a directory.
    pub(super) name: Option<String>,
}

/// What lies in a directory and is not sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Skipped {
    pub(super) path: PathBuf,
    pub(super) why: String,
}

/// The files that the paths name and those in the directories that they name, in the order of their names. Links in directories are not
/// followed; a path of the command's own is.
pub(super) fn find(paths: &[PathBuf]) -> Result<(Vec<Found>, Vec<Skipped>), ApiError> {
    let mut tree = Tree::default();
    for path in paths {
        let absolute = std::path::absolute(path)
            .map_err(|error| ApiError::invalid(format!("{}: {error}", path.display())))?;
        if fs::metadata(&absolute).is_ok_and(|meta| meta.is_dir()) {
            let name = own_name(&absolute)?;
            tree.walk(&absolute, &name, 1)?;
        } else {
            // Whether it is there, and a file, is for the daemon to say.
            tree.add(Found {
                path: absolute,
                name: None,
            })?;
        }
    }
    Ok((tree.found, tree.skipped))
}

/// What a directory is called, also where it is named as `.` or `..`.
fn own_name(path: &Path) -> Result<String, ApiError> {
    let real = fs::canonicalize(path)
        .map_err(|error| ApiError::new(io_code(&error), format!("{}: {error}", path.display())))?;
    let name = match path.file_name() {
        Some(name) => Some(name),
        None => real.file_name(),
    };
    let name = name.map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    match name.parse::<FilePath>() {
        Ok(name) => Ok(name.into()),
        Err(error) => Err(ApiError::invalid(format!("{}: {error}", path.display()))),
    }
}

#[derive(Default)]
struct Tree {
    found: Vec<Found>,
    skipped: Vec<Skipped>,
}

impl Tree {
    fn walk(&mut self, dir: &Path, name: &str, depth: usize) -> Result<(), ApiError> {
        if depth >= MAX_FILE_DEPTH {
            return self.skip(dir, &format!("deeper than {MAX_FILE_DEPTH} names"));
        }
        let unreadable = |error: std::io::Error| {
            ApiError::new(io_code(&error), format!("{}: {error}", dir.display()))
        };
        let entries = fs::read_dir(dir).map_err(unreadable)?;
        let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let Some(own) = entry.file_name().to_str().map(str::to_owned) else {
                self.skip(&path, "its name is not UTF-8")?;
                continue;
            };
            let name = format!("{name}/{own}");
            if let Err(error) = name.parse::<FilePath>() {
                self.skip(&path, &error.to_string())?;
                continue;
            }
            let kind = entry.file_type().map_err(unreadable)?;
            if kind.is_dir() {
                self.walk(&path, &name, depth + 1)?;
            } else if kind.is_file() {
                let name = Some(name);
                self.add(Found { path, name })?;
            } else if kind.is_symlink() {
                self.skip(&path, "a symbolic link")?;
            } else {
                self.skip(&path, "not a regular file")?;
            }
        }
        Ok(())
    }

    fn add(&mut self, found: Found) -> Result<(), ApiError> {
        self.found.push(found);
        self.check()
    }

    fn skip(&mut self, path: &Path, why: &str) -> Result<(), ApiError> {
        let (path, why) = (path.to_owned(), why.to_owned());
        self.skipped.push(Skipped { path, why });
        self.check()
    }

    fn check(&self) -> Result<(), ApiError> {
        if self.found.len().max(self.skipped.len()) > MAX_FILES {
            let words = format!("more than {MAX_FILES} files: an agent keeps no more");
            return Err(ApiError::invalid(words).with_hint("pack them: tar -cf files.tar DIR"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(found: &[Found]) -> Vec<&str> {
        found
            .iter()
            .map(|it| it.name.as_deref().unwrap_or("-"))
            .collect()
    }

    #[test]
    fn directories_are_walked_in_order_and_links_and_hidden_names_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("photos");
        fs::create_dir_all(base.join("2026/march")).unwrap();
        fs::create_dir_all(base.join(".git")).unwrap();
        fs::create_dir_all(base.join("empty")).unwrap();
        for name in ["b", "a", "2026/march/x.jpg", ".git/config", ".hidden"] {
            fs::write(base.join(name), b"x").unwrap();
        }
        symlink("/etc", base.join("etc")).unwrap();
        symlink("/etc/passwd", base.join("passwd")).unwrap();
        let (found, skipped) = find(&[base.clone(), base.join("a")]).unwrap();
        let expected = ["photos/2026/march/x.jpg", "photos/a", "photos/b", "-"];
        assert_eq!(names(&found), expected);
        assert!(found.iter().all(|it| it.path.is_absolute()));
        let skipped: Vec<_> = skipped
            .iter()
            .map(|it| {
                (
                    it.path.strip_prefix(&base).unwrap().to_str().unwrap(),
                    it.why.as_str(),
                )
            })
            .collect();
        let dot = "a file name does not begin with a dot";
        let link = "a symbolic link";
        let expected = [
            (".git", dot),
            (".hidden", dot),
            ("etc", link),
            ("passwd", link),
        ];
        assert_eq!(skipped, expected);
    }

    #[test]
    fn what_is_too_deep_is_skipped_and_a_path_that_is_not_there_is_for_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let deep = vec!["d"; MAX_FILE_DEPTH + 3].join("/");
        fs::create_dir_all(dir.path().join(&deep)).unwrap();
        fs::write(dir.path().join(&deep).join("f"), b"x").unwrap();
        let (found, skipped) = find(&[dir.path().join("d")]).unwrap();
        assert!(found.is_empty());
        assert_eq!(skipped.len(), 1);
        let (found, _) = find(&[dir.path().join("missing")]).unwrap();
        assert_eq!(names(&found), ["-"]);
    }

    #[test]
    fn a_directory_whose_own_name_is_hidden_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let hidden = dir.path().join(".ssh");
        fs::create_dir(&hidden).unwrap();
        let error = find(&[hidden]).unwrap_err();
        assert!(error.message.contains("begin with a dot"), "{error}");
    }
}
