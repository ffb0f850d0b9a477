//! Apps: catalogues in their order, and what every failure is called in the API.

use std::path::Path;

use pilot_api::{ApiError, ErrorCode};
use pilot_appstore::{
    AppId, Bundle, CallError, Catalogue, CatalogueError, ConsentError, Entry, Grant, Manifest,
    Publishers, PublishersError, StageError, StoreError,
};
use pilot_rendezvous::error::io_code;
use pilot_store::Home;
use semver::Version;

use crate::catalogues::Place;
use crate::error::{describe, file_config, home};

/// JSON-RPC 2.0 §5.1: the app's word for arguments that it does not take.
const INVALID_PARAMS: i64 = -32602;
/// How long a call waits that found too many others.
const BUSY_RETRY_MS: u64 = 100;

/// The catalogues of a home, opened. Blocks on the disk.
pub(crate) struct Catalogues {
    /// With the URL of each.
    pub(crate) open: Vec<(String, Catalogue)>,
    pub(crate) unusable: Vec<String>,
}

/// The URLs of the catalogues: the one that is asked for, or those of the configuration in their order. Blocks on the disk.
///
/// # Errors
/// If none is configured.
pub(crate) fn catalogue_urls(dir: &Path, asked: Option<&str>) -> Result<Vec<String>, ApiError> {
    if let Some(url) = asked {
        return Ok(vec![url.to_owned()]);
    }
    let store = Home::open(dir).map_err(|error| home(&error))?;
    let config = store.load_config().map_err(|error| file_config(&error))?;
    if config.catalogues.is_empty() {
        return Err(
            ApiError::new(ErrorCode::NotFound, "no catalogue is configured").with_hint(
                "pilotctl config --set catalogues=file:///DIR, or give --catalogue file:///DIR",
            ),
        );
    }
    Ok(config.catalogues)
}

impl Catalogues {
    /// Those at these URLs; of other machines what is kept here.
    ///
    /// # Errors
    /// If the only one cannot be used.
    pub(crate) fn open(dir: &Path, urls: &[String]) -> Result<Self, ApiError> {
        let publishers = Publishers::new(dir);
        let mut all = Self {
            open: vec![],
            unusable: vec![],
        };
        for url in urls {
            let place = match Place::parse(url) {
                Ok(place) => place,
                Err(error) if urls.len() == 1 => return Err(error),
                Err(error) => {
                    all.unusable.push(error.message);
                    continue;
                }
            };
            match Catalogue::open(&place.local(dir, url), &publishers) {
                Ok(opened) => all.open.push((url.clone(), opened)),
                Err(error) if urls.len() == 1 => return Err(catalogue(&error)),
                Err(error) => all.unusable.push(format!("{url}: {}", describe(&error))),
            }
        }
        Ok(all)
    }

    /// The newest version of every app, from the first catalogue that has it.
    pub(crate) fn newest(&self) -> Vec<&Entry> {
        let mut found: Vec<&Entry> = vec![];
        for (_, catalogue) in &self.open {
            let mut here: Vec<&Entry> = vec![];
            for entry in catalogue.entries().iter().filter(|entry| !entry.yanked) {
                if found.iter().any(|known| known.id == entry.id) {
                    continue;
                }
                match here.iter_mut().find(|known| known.id == entry.id) {
                    Some(known) if is_newer(&entry.version, &known.version) => *known = entry,
                    Some(_) => {}
                    None => here.push(entry),
                }
            }
            found.extend(here);
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found
    }

    /// An app's entry, by its id or short name, with the URL of its catalogue.
    pub(crate) fn find(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<(&str, &Catalogue, &Entry), ApiError> {
        let version = version.map(|text| {
            let invalid = |error| ApiError::invalid(format!("invalid version {text:?}: {error}"));
            Version::parse(text).map_err(invalid)
        });
        let version = version.transpose()?;
        for (url, catalogue) in &self.open {
            let entries = catalogue.entries().iter();
            let called = entries.filter(|entry| entry.id.is_called(name) && !entry.yanked);
            let called: Vec<&Entry> = called.collect();
            let Some(id) = only_id(name, &called)? else {
                continue;
            };
            let of_it = called.into_iter().filter(|entry| {
                entry.id == id
                    && version
                        .as_ref()
                        .is_none_or(|version| *version == entry.version)
            });
            let newest = of_it.reduce(|a, b| {
                if is_newer(&b.version, &a.version) {
                    b
                } else {
                    a
                }
            });
            if let Some(entry) = newest {
                return Ok((url, catalogue, entry));
            }
        }
        Err(self.not_found(name, version.as_ref()))
    }

    fn not_found(&self, name: &str, version: Option<&Version>) -> ApiError {
        let version = version
            .map(|version| format!(" {version}"))
            .unwrap_or_default();
        let name: String = name.chars().take(128).collect();
        let mut words = format!("no catalogue has an app {name}{version}");
        if !self.unusable.is_empty() {
            words.push_str(&format!("; not readable: {}", self.unusable.join(", ")));
        }
        ApiError::new(ErrorCode::NotFound, words).with_hint("pilotctl appstore catalogue")
    }
}

/// A release is newer than any version before a release.
fn is_newer(this: &Version, that: &Version) -> bool {
    (this.pre.is_empty(), this) > (that.pre.is_empty(), that)
}

fn only_id(name: &str, called: &[&Entry]) -> Result<Option<AppId>, ApiError> {
    let mut ids: Vec<&AppId> = called.iter().map(|entry| &entry.id).collect();
    ids.sort();
    ids.dedup();
    if let Some(whole) = ids.iter().find(|id| id.as_str() == name) {
        return Ok(Some((*whole).clone()));
    }
    match ids.as_slice() {
        [] => Ok(None),
        [id] => Ok(Some((*id).clone())),
        several => {
            let several: Vec<&str> = several.iter().map(|id| id.as_str()).collect();
            Err(ApiError::invalid(format!(
                "{name} may mean {}",
                several.join(" or ")
            )))
        }
    }
}

/// The bundle of an entry: checked, and the one that the catalogue means.
pub(crate) fn open_bundle(from: &Catalogue, entry: &Entry) -> Result<Bundle, ApiError> {
    let bundle = Bundle::open(&from.bundle_dir(entry));
    let bundle = bundle.map_err(|error| ApiError::invalid(describe(&error)))?;
    if bundle.signed().hash() == entry.manifest_sha256 {
        Ok(bundle)
    } else {
        let words = format!(
            "{} {} is not the one that the catalogue has",
            entry.id, entry.version
        );
        Err(ApiError::invalid(words))
    }
}

pub(crate) fn catalogue(error: &CatalogueError) -> ApiError {
    let words = describe(error);
    match error {
        CatalogueError::Missing(_) => ApiError::new(ErrorCode::NotFound, words),
        CatalogueError::Io { source, .. } => ApiError::new(io_code(source), words),
        CatalogueError::Signer(source) => publisher(source, words),
        CatalogueError::Url(_)
        | CatalogueError::Format { .. }
        | CatalogueError::Signature { .. }
        | CatalogueError::Bundle(_)
        | _ => ApiError::invalid(words),
    }
}

fn publisher(error: &PublishersError, words: String) -> ApiError {
    match error {
        PublishersError::NotTrusted(key) => ApiError::new(ErrorCode::NotTrusted, words)
            .with_hint(format!("pilotctl appstore key trust {key}")),
        PublishersError::Io { source, .. } => ApiError::new(io_code(source), words),
        PublishersError::Revoked(_) | PublishersError::Damaged { .. } | _ => {
            ApiError::new(ErrorCode::PermissionDenied, words)
        }
    }
}

/// What can be called of an app.
pub(crate) fn methods(manifest: &Manifest) -> Vec<String> {
    let names = manifest.methods.keys().map(ToString::to_string);
    let help = std::iter::once(pilot_appstore::HELP.to_owned());
    let short = manifest.id.short();
    names
        .chain(help)
        .map(|name| format!("{short}.{name}"))
        .collect()
}

/// What goes wrong with what is installed.
pub(crate) fn store(error: &StoreError) -> ApiError {
    let words = describe(error);
    let with = |code| ApiError::new(code, words.clone());
    match error {
        StoreError::NotInstalled(name) => {
            with(ErrorCode::NotFound).with_hint(format!("pilotctl appstore install {name}"))
        }
        StoreError::NoPrevious(_) => with(ErrorCode::NotFound),
        StoreError::Exists(..) => with(ErrorCode::AlreadyExists),
        StoreError::Downgrade { .. } | StoreError::OtherPublisher { .. } => {
            with(ErrorCode::PermissionDenied)
        }
        StoreError::Io { source, .. } | StoreError::Stage(StageError::Io { source, .. }) => {
            with(io_code(source))
        }
        StoreError::Publisher(source) => publisher(source, words),
        StoreError::Consent(source) => consent(source, words),
        StoreError::Ambiguous { .. }
        | StoreError::Full
        | StoreError::Damaged { .. }
        | StoreError::Bundle(_)
        | StoreError::Stage(_)
        | _ => ApiError::invalid(words),
    }
}

fn consent(error: &ConsentError, words: String) -> ApiError {
    match error {
        ConsentError::Missing(asked) => {
            let options: Vec<String> = asked
                .iter()
                .map(|asked| format!("--grant {}", quoted(&asked.grant)))
                .collect();
            ApiError::new(ErrorCode::PermissionDenied, words)
                .with_hint(format!("add {}, or --yes for all", options.join(" ")))
        }
        ConsentError::Unenforced(_) => ApiError::new(ErrorCode::PermissionDenied, words)
            .with_hint("--allow-unenforced, if it may run all the same"),
        ConsentError::NotAsked(_) | ConsentError::Unnamed(_) => ApiError::invalid(words),
        ConsentError::OwnHome(_) | _ => ApiError::new(ErrorCode::PermissionDenied, words),
    }
}

/// For a shell.
fn quoted(grant: &Grant) -> String {
    let text = grant.to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/:._-[]".contains(c);
    if text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Why a call has no result.
pub(crate) fn call(name: &str, error: &CallError) -> ApiError {
    let words = describe(error);
    let code = match error {
        CallError::Store(error) => return store(error),
        CallError::NoMethod { .. } => ErrorCode::NotFound,
        CallError::TooLarge | CallError::Params(_) => ErrorCode::InvalidArgument,
        CallError::App(error) if error.code == INVALID_PARAMS => ErrorCode::InvalidArgument,
        CallError::Timeout(_) => ErrorCode::Timeout,
        CallError::Suspended(..) => {
            return ApiError::new(ErrorCode::PermissionDenied, words)
                .with_hint(format!("pilotctl appstore restart {name}"));
        }
        CallError::Recovering(wait) => {
            let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            return ApiError::new(ErrorCode::RateLimited, words).with_retry_after_ms(millis);
        }
        CallError::Busy | CallError::Changing => {
            return ApiError::new(ErrorCode::RateLimited, words).with_retry_after_ms(BUSY_RETRY_MS);
        }
        CallError::Result(_)
        | CallError::App(_)
        | CallError::Ended(_)
        | CallError::Start(_)
        | _ => ErrorCode::Internal,
    };
    ApiError::new(code, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_newer_than_what_came_before_it() {
        let newer = |a: &str, b: &str| is_newer(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(newer("1.10.0", "1.9.0") && newer("1.0.0", "2.0.0-rc.1"));
        assert!(!newer("1.0.0", "1.0.0"));
    }

    #[test]
    fn a_grant_in_a_hint_can_be_pasted_into_a_shell() {
        let in_hint = |text: &str| quoted(&text.parse().unwrap());
        assert_eq!(in_hint("read:/srv/a-b"), "read:/srv/a-b");
        assert_eq!(in_hint("read:/it's here"), r"'read:/it'\''s here'");
    }
}
