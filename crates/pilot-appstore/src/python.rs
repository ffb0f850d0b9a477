//! Apps in Python: the machine's own interpreter, checked, and the app's modules, sealed as one document.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::bundle::{self, Bundle, BundleError, FilePath, MAX_BYTES};
use crate::executable::ExecutableError;
use crate::hash::Sha256;

/// What the interpreter is told to do: to run the modules that it finds on a descriptor.
pub(crate) const BOOT: &str = include_str!("python/boot.py");
/// Isolated from environment, directories and users (`-I`), without installed packages (`-S`), writing nothing beside sources (`-B`).
pub(crate) const OPTIONS: [&str; 4] = ["-I", "-S", "-B", "-c"];
/// The one interpreter that is used: the system's.
const INTERPRETER: &str = "/usr/bin/python3";
/// The earliest version, 3.9.
const LEAST_MINOR: u32 = 9;
/// What makes a file's name a module's.
const SUFFIX: &str = ".py";

/// An interpreter that root alone may change, opened.
#[derive(Debug)]
pub(crate) struct Interpreter {
    /// Where it is, without symbolic links.
    pub(crate) path: PathBuf,
    pub(crate) file: File,
}

/// The machine's interpreter; `None` if there is none of this version or later that belongs to root, with all directories above it, and that
/// nobody else may change.
pub(crate) fn interpreter() -> Option<Interpreter> {
    let path = fs::canonicalize(INTERPRETER).ok()?;
    let name = path.file_name()?.to_str()?;
    let minor: u32 = name.strip_prefix("python3.")?.parse().ok()?;
    let is_roots = path.ancestors().skip(1).all(|dir| {
        let found = fs::metadata(dir);
        found.is_ok_and(|found| belongs_to_root(&found))
    });
    if minor < LEAST_MINOR || !is_roots {
        return None;
    }
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(&path)
        .ok()?;
    // What is executed is this descriptor's file, whatever has the name later.
    let found = file.metadata().ok()?;
    (found.is_file() && belongs_to_root(&found)).then_some(Interpreter { path, file })
}

/// Whether this machine can run an app in Python, and may.
///
/// # Errors
/// [`ExecutableError`].
pub(crate) fn check(has_grant: bool) -> Result<(), ExecutableError> {
    if !has_grant {
        return Err(ExecutableError::Script);
    }
    match interpreter() {
        Some(_) => Ok(()),
        None => Err(ExecutableError::Interpreter),
    }
}

/// Neither set-user-id nor to be written to by anybody else.
fn belongs_to_root(found: &fs::Metadata) -> bool {
    found.uid() == 0 && found.mode() & 0o6022 == 0
}

/// Whether a file is a program in Python.
pub(crate) fn is_script(path: &FilePath) -> bool {
    path.as_str().ends_with(SUFFIX)
}

/// An app's modules, as `boot.py` reads them.
#[derive(Serialize)]
struct Modules<'a> {
    entry: &'a str,
    files: BTreeMap<&'a str, String>,
}

/// The modules of a bundle, each checked against its hash as it is read. Those in directories are none.
///
/// # Errors
/// [`BundleError`].
pub(crate) fn modules(bundle: &Bundle) -> Result<Vec<u8>, BundleError> {
    let manifest = bundle.manifest();
    let mut files = BTreeMap::new();
    for (name, hash) in &manifest.files {
        if let Some(module) = module(name) {
            files.insert(module, read(bundle.dir(), name, hash)?);
        }
    }
    let modules = Modules {
        entry: module(&manifest.entry).unwrap_or_default(),
        files,
    };
    Ok(serde_json::to_vec(&modules).unwrap_or_default())
}

fn module(name: &FilePath) -> Option<&str> {
    let module = name.as_str().strip_suffix(SUFFIX)?;
    (!module.contains('/')).then_some(module)
}

fn read(dir: &Path, name: &FilePath, hash: &Sha256) -> Result<String, BundleError> {
    let path = dir.join(name.as_str());
    let failed = |source| BundleError::Read {
        path: path.clone(),
        source,
    };
    let mut bytes = vec![];
    let file = bundle::open(&path).map_err(failed)?;
    file.take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if Sha256::of(&bytes) != *hash {
        return Err(BundleError::Changed(name.clone()));
    }
    String::from_utf8(bytes).map_err(|error| failed(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_change_is_not_run() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mode = |mode| {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            belongs_to_root(&file.as_file().metadata().unwrap())
        };
        let is_root = file.as_file().metadata().unwrap().uid() == 0;
        assert_eq!(mode(0o755), is_root);
        for loose in [0o775, 0o757, 0o4755, 0o2755] {
            assert!(!mode(loose), "{loose:o}");
        }
    }

    #[test]
    fn an_interpreter_that_is_found_is_an_absolute_file_of_python_3() {
        let Some(found) = interpreter() else {
            eprintln!("skipped: this machine has no python3 of root's");
            return;
        };
        assert!(found.path.is_absolute());
        assert!(found.file.metadata().unwrap().is_file());
    }

    #[test]
    fn modules_lie_at_the_top() {
        let name = |text: &str| text.parse::<FilePath>().unwrap();
        assert_eq!(module(&name("app.py")), Some("app"));
        assert_eq!(module(&name("lib/app.py")), None);
        assert_eq!(module(&name("app.pyc")), None);
    }
}
