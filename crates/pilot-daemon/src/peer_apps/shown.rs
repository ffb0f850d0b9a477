//! The catalogue that is shown to agents which may read it: the first one of the configuration that lies on this machine.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use pilot_api::{ErrorCode, Payload};
use pilot_apps::{AppRefusal, FilePart};
use pilot_appstore::{AppId, CatalogueUrl, FilePath, INDEX, MANIFEST, SIGNATURE, open_file};
use pilot_store::Home;
use semver::Version;
use serde_json::{Value, json};

/// Bytes of one part: with base64 around them they are well below the longest answer.
pub(crate) const PART: u64 = 1024 * 1024;

/// Blocks on the disk.
pub(super) fn read(home: &Path, part: &FilePart) -> Result<Value, AppRefusal> {
    let refusal = |code: ErrorCode, words: &str| AppRefusal::new(code.name(), words);
    let no_file = || refusal(ErrorCode::NotFound, "no such file is shown");
    let dir = shown(home).ok_or_else(no_file)?;
    if !is_of_a_catalogue(&part.path) {
        return Err(no_file());
    }
    let mut file = open_file(&dir.join(&part.path)).map_err(|_| no_file())?;
    let mut bytes = vec![];
    let read = file.metadata().and_then(|found| {
        file.seek(SeekFrom::Start(part.offset))?;
        file.take(PART).read_to_end(&mut bytes)?;
        Ok(found.len())
    });
    let size = read.map_err(|_| refusal(ErrorCode::Internal, "the file was not read"))?;
    Ok(json!({ "size": size, "data_b64": Payload::new(bytes).to_base64() }))
}

/// The directory.
fn shown(home: &Path) -> Option<PathBuf> {
    let config = Home::open(home).ok()?.load_config().ok()?;
    let mut all = config.catalogues.iter();
    all.find_map(|url| Some(url.parse::<CatalogueUrl>().ok()?.dir().to_owned()))
}

/// The index, or `ID/VERSION/FILE` in its one spelling: nothing that climbs or is hidden.
fn is_of_a_catalogue(path: &str) -> bool {
    if path == INDEX {
        return true;
    }
    let mut parts = path.splitn(3, '/');
    let (Some(id), Some(version), Some(file)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let is_version = version
        .parse::<Version>()
        .is_ok_and(|parsed| parsed.to_string() == version);
    let is_file = [MANIFEST, SIGNATURE].contains(&file) || file.parse::<FilePath>().is_ok();
    id.parse::<AppId>().is_ok() && is_version && is_file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_catalogue_consists_of_is_shown() {
        for path in [
            "catalogue.jsonl",
            "a.b/1.0.0/manifest.toml",
            "a.b/1.0.0/bin/x",
        ] {
            assert!(is_of_a_catalogue(path), "{path}");
        }
        for path in [
            "",
            "/",
            "../x",
            "a.b",
            "a.b/1.0.0",
            "a.b/1.0.0/",
            "a.b/1.0.0/../../../x",
            "a.b/../x/y",
            "/etc/passwd",
            "a.b/1.0.0//etc/passwd",
            "a.b/1.0.0/.hidden",
            "publisher.key",
            "a.b/1/x",
        ] {
            assert!(!is_of_a_catalogue(path), "{path}");
        }
    }
}
