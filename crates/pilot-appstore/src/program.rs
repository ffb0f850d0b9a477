//! The program of an app: the very bytes that were checked, in memory that nobody can change any more.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::bundle::{self, Bundle, BundleError, MAX_BYTES};
use crate::hash::Sha256;
use crate::python;
use crate::secrets::Secrets;

/// Reads the entry of a bundle, checks the hash of the bytes that were read, and seals them; of one in Python all its modules.
///
/// # Errors
/// [`BundleError::Changed`] if they are not what was signed.
///
/// Of an app with an adapter these are its description, and the values of its credentials behind it.
pub(crate) fn sealed(bundle: &Bundle, secrets: &Secrets) -> Result<OwnedFd, BundleError> {
    let manifest = bundle.manifest();
    let path = bundle.dir().join(manifest.entry.as_str());
    let failed = |source| BundleError::Read {
        path: path.clone(),
        source,
    };
    if python::is_script(&manifest.entry) {
        return seal(&python::modules(bundle)?).map_err(failed);
    }
    let mut bytes = vec![];
    let file = bundle::open(&path).map_err(failed)?;
    file.take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if manifest.files.get(&manifest.entry) != Some(&Sha256::of(&bytes)) {
        return Err(BundleError::Changed(manifest.entry.clone()));
    }
    if manifest.adapter.is_some() {
        let values = secrets
            .values(&manifest.id)
            .map_err(|error| failed(error.into_io()))?;
        bytes = pilot_adapter::pack(&bytes, &values);
    }
    seal(&bytes).map_err(failed)
}

fn seal(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Linux 6.3 wants to be told that it will be executed; those before do not know the flag.
    let memory = match rustix::fs::memfd_create("app", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => rustix::fs::memfd_create("app", flags),
        other => other,
    }?;
    let mut file = File::from(memory);
    file.write_all(bytes)?;
    file.rewind()?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::signed::sign;
    use crate::testing::{DRAFT, secret, write_draft};

    #[test]
    fn what_is_sealed_is_what_was_signed_and_stays_so() {
        let dir = tempfile::tempdir().unwrap();
        write_draft(dir.path(), DRAFT);
        let bundle = sign(dir.path(), &secret(1)).unwrap();
        let mut program = File::from(sealed(&bundle, &Secrets::new(dir.path())).unwrap());
        assert!(program.write_all(b"x").is_err());
        assert!(program.set_len(0).is_err());
    }

    #[test]
    fn a_file_that_was_swapped_after_the_check_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        write_draft(dir.path(), DRAFT);
        let bundle = sign(dir.path(), &secret(1)).unwrap();
        let entry = dir.path().join("bin/echo");
        let mut bytes = fs::read(&entry).unwrap();
        bytes[100] ^= 1;
        fs::write(&entry, bytes).unwrap();
        let error = sealed(&bundle, &Secrets::new(dir.path())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "file bin/echo is not the one that was signed"
        );
    }
}
