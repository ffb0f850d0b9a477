//! A publisher's signature over a manifest, and so over every file that it names.

use pilot_trust::{DocumentError, DocumentSecret};
use thiserror::Error;

use crate::bundle::{self, BundleError, MANIFEST, SIGNATURE};
use crate::hash::Sha256;
use crate::manifest::{Draft, Manifest, ManifestError};

/// What a manifest's signature is made under.
const CONTEXT: &str = "pilot/app/1";

/// Why a manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It is no text.
    #[error("manifest.toml: expected UTF-8")]
    Text,
    /// It is no manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Its publisher did not sign it so.
    #[error("manifest.toml: {0}")]
    Signature(#[from] DocumentError),
}

/// A manifest that its publisher signed. Whether the publisher is trusted is [`crate::Publishers`]' to say.
#[derive(Clone, Debug)]
pub struct SignedManifest {
    manifest: Manifest,
    hash: Sha256,
}

impl SignedManifest {
    /// Checks a signature in hex over the very bytes of a manifest: these are its one canonical form.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(text: &[u8], signature: &str) -> Result<Self, VerifyError> {
        let words = std::str::from_utf8(text).map_err(|_| VerifyError::Text)?;
        let manifest = Manifest::parse(words)?;
        manifest.publisher.verify(CONTEXT, text, signature)?;
        let hash = Sha256::of(text);
        Ok(Self { manifest, hash })
    }

    /// The manifest.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The hash of its bytes, by which a catalogue names it.
    #[must_use]
    pub const fn hash(&self) -> Sha256 {
        self.hash
    }
}

/// Why a bundle was not signed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignError {
    /// It would be no bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The manifest cannot be completed.
    #[error("manifest.toml: {0}")]
    Form(&'static str),
    /// It cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Puts publisher and hashes into the manifest of a directory and signs it.
///
/// # Errors
/// [`SignError`]; nothing is written unless the bundle is valid.
pub fn sign(dir: &std::path::Path, secret: &DocumentSecret) -> Result<bundle::Bundle, SignError> {
    let path = dir.join(MANIFEST);
    let read = |source| BundleError::Read {
        path: path.clone(),
        source,
    };
    let text = std::fs::read_to_string(&path).map_err(read)?;
    let text = completed(&text, dir, secret)?;
    let signature = secret.sign(CONTEXT, text.as_bytes());
    // What is written can be opened, or nothing is.
    let signed = SignedManifest::verify(text.as_bytes(), &signature).map_err(BundleError::from)?;
    bundle::check_entry(dir, signed.manifest())?;
    write(dir, MANIFEST, &text)?;
    write(dir, SIGNATURE, &format!("{signature}\n"))?;
    Ok(bundle::Bundle::open(dir)?)
}

fn write(dir: &std::path::Path, name: &str, text: &str) -> Result<(), SignError> {
    let failed = |source| SignError::Write {
        path: dir.join(name).display().to_string(),
        source,
    };
    pilot_store::replace_file(&dir.join(name), text.as_bytes()).map_err(failed)
}

/// The manifest with these two fields anew and everything else, comments included, as its author wrote it.
fn completed(
    text: &str,
    dir: &std::path::Path,
    secret: &DocumentSecret,
) -> Result<String, SignError> {
    let mut expected = Draft::parse(text).map_err(BundleError::from)?;
    expected.publisher = Some(secret.public().to_string());
    expected.files = bundle::hashes(dir)?;
    let mut completed = format!("publisher = \"{}\"\n", secret.public());
    for line in without_generated(text) {
        completed.push_str(line);
        completed.push('\n');
    }
    completed.truncate(completed.trim_end().len());
    completed.push_str("\n\n[files]\n");
    for (name, hash) in &expected.files {
        completed.push_str(&format!("\"{name}\" = \"{hash}\"\n"));
    }
    // Lines of a longer text may look like those that are replaced: then the result says something else.
    if Draft::parse(&completed).is_ok_and(|draft| draft == expected) {
        Ok(completed)
    } else {
        Err(SignError::Form(
            "publisher and [files] could not be put in: remove both, and lines in texts that look like them",
        ))
    }
}

/// The lines but `publisher = …` before the first table and the table `[files]`.
fn without_generated(text: &str) -> impl Iterator<Item = &str> {
    let (mut is_top, mut is_files) = (true, false);
    text.lines().filter(move |line| {
        let line = line.trim();
        if line.starts_with('[') {
            is_top = false;
            is_files = line == "[files]";
        }
        let is_publisher = is_top
            && line
                .strip_prefix("publisher")
                .is_some_and(|rest| rest.trim_start().starts_with('='));
        !is_files && !is_publisher
    })
}
