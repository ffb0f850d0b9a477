//! An app to begin with.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::id::AppId;

const MAIN: &str = include_str!("template/main.rs.txt");
const CARGO: &str = include_str!("template/Cargo.toml.txt");
const BUILD: &str = include_str!("template/build.sh.txt");
const MANIFEST: &str = include_str!("template/manifest.toml.txt");
const PYTHON_APP: &str = include_str!("template/app.py.txt");
const PYTHON_MANIFEST: &str = include_str!("template/python.toml.txt");
/// What stands for the app's name in all of them.
const NAME: &str = "APP_NAME";

/// Why no app was written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NewAppError {
    /// There is something already.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The directory's name is no app's.
    #[error("{0:?} is no name for an app: expected a-z first, then a-z, 0-9 or -")]
    Name(String),
    /// It could not be written.
    #[error("cannot write {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewApp {
    /// The app's id.
    pub id: AppId,
    /// The files, in the directory.
    pub files: Vec<&'static str>,
}

/// Writes an app in Rust that builds, signs and answers: a method that greets.
///
/// # Errors
/// [`NewAppError`]; an existing directory is left as it is.
pub fn new_app(dir: &Path) -> Result<NewApp, NewAppError> {
    let files = [
        ("Cargo.toml", CARGO),
        ("build.sh", BUILD),
        ("src/main.rs", MAIN),
        ("src/pilot_app.rs", pilot_app::SOURCE),
        ("bundle/manifest.toml", MANIFEST),
    ];
    write_app(dir, &files)
}

/// The same in Python, which needs no building.
///
/// # Errors
/// As [`new_app`].
pub fn new_python_app(dir: &Path) -> Result<NewApp, NewAppError> {
    let files = [
        ("bundle/app.py", PYTHON_APP),
        ("bundle/pilot_app.py", pilot_app::PYTHON_SOURCE),
        ("bundle/manifest.toml", PYTHON_MANIFEST),
    ];
    write_app(dir, &files)
}

fn write_app(dir: &Path, files: &[(&'static str, &str)]) -> Result<NewApp, NewAppError> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let id = format!("local.{name}").parse::<AppId>();
    let id = id
        .ok()
        .filter(|id| id.short() == name)
        .ok_or_else(|| NewAppError::Name(name.clone().into_owned()))?;
    match fs::create_dir(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(NewAppError::Exists(dir.to_owned()));
        }
        Err(source) => {
            return Err(NewAppError::Io {
                path: dir.to_owned(),
                source,
            });
        }
    }
    for (file, text) in files {
        let path = dir.join(file);
        let written = fs::create_dir_all(path.parent().unwrap_or(dir))
            .and_then(|()| fs::write(&path, text.replace(NAME, &name)));
        written.map_err(|source| NewAppError::Io { path, source })?;
    }
    let files = files.iter().map(|(file, _)| *file).collect();
    Ok(NewApp { id, files })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Draft;

    #[test]
    fn what_is_written_is_an_app_of_that_name() {
        let dir = tempfile::tempdir().unwrap();
        let app = dir.path().join("hello-2");
        let made = new_app(&app).unwrap();
        assert_eq!(made.id.as_str(), "local.hello-2");
        let manifest = fs::read_to_string(app.join("bundle/manifest.toml")).unwrap();
        let draft = Draft::parse(&manifest).unwrap();
        assert_eq!((draft.id, draft.entry.as_str()), (made.id, "hello-2"));
        for file in made.files {
            assert!(
                !fs::read_to_string(app.join(file)).unwrap().contains(NAME),
                "{file}"
            );
        }
        assert!(matches!(new_app(&app), Err(NewAppError::Exists(_))));
    }

    #[test]
    fn what_is_written_in_python_is_one_too() {
        let dir = tempfile::tempdir().unwrap();
        let app = dir.path().join("hello");
        let made = new_python_app(&app).unwrap();
        let manifest = fs::read_to_string(app.join("bundle/manifest.toml")).unwrap();
        let draft = Draft::parse(&manifest).unwrap();
        assert_eq!((draft.id, draft.entry.as_str()), (made.id, "app.py"));
        assert_eq!(draft.grants[0].grant.to_string(), "python");
    }

    #[test]
    fn a_directorys_name_has_to_be_an_apps() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["Hello", "a.b", "1a", "a b"] {
            assert!(
                matches!(new_app(&dir.path().join(name)), Err(NewAppError::Name(_))),
                "{name}"
            );
            assert!(!dir.path().join(name).exists());
        }
    }
}
