//! Catalogues on other machines: fetched, checked as any other, and kept in the home ([`pilot_appstore::Mirror`]), so that what was seen
//! once is usable while they are out of reach.

mod get;

use std::path::Path;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use pilot::{DialOptions, Node};
use pilot_api::{ApiError, ErrorCode, PeerRef};
use pilot_apps::{AppQuestion, FilePart, ask_app};
use pilot_appstore::{
    CatalogueUrl, Entry, FilePath, INDEX, MANIFEST, MAX_INDEX, Mirror, MirrorError, Publishers,
    SIGNATURE,
};
use pilot_types::{Port, UnixTime};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::timeout;

use self::get::Site;
use crate::daemon::{blocking, target};
use crate::error::{self, describe};
use crate::named;
use crate::peer_apps;

/// How long an index may take to come.
const INDEX_PATIENCE: Duration = Duration::from_secs(10);
/// And a bundle, with all its files.
const BUNDLE_PATIENCE: Duration = Duration::from_secs(300);
/// Longest file of a bundle on another machine: it is held in memory, one at a time.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// Longest manifest and signature.
const MAX_MANIFEST: u64 = 1024 * 1024;

/// Where a catalogue is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// On this machine.
    Here(CatalogueUrl),
    /// Behind a web server.
    Site(Site),
    /// At an agent that shows it.
    Agent(PeerRef),
}

impl Place {
    /// # Errors
    /// `invalid_argument`.
    pub(crate) fn parse(url: &str) -> Result<Self, ApiError> {
        if let Some(peer) = url.strip_prefix("pilot://") {
            let peer = peer.trim_end_matches('/').parse::<PeerRef>();
            let peer = peer.map_err(|error| invalid(url, &error.to_string()))?;
            if matches!(peer, PeerRef::Ticket(_)) {
                return Err(invalid(url, "a ticket makes trust, and is no place"));
            }
            return Ok(Self::Agent(peer));
        }
        if url.starts_with("https://") || url.starts_with("http://") {
            let site = Site::parse(url).map_err(|words| invalid(url, &words))?;
            return Ok(Self::Site(site));
        }
        let here = url.parse::<CatalogueUrl>();
        here.map(Self::Here).map_err(|_| {
            invalid(
                url,
                "expected file:///ABSOLUTE/PATH, https://HOST/… or pilot://PEER",
            )
        })
    }

    /// The catalogue, as far as it is on this machine.
    pub(crate) fn local(&self, home: &Path, url: &str) -> CatalogueUrl {
        match self {
            Self::Here(here) => here.clone(),
            Self::Site(_) | Self::Agent(_) => Mirror::of(home, url).url(),
        }
    }
}

fn invalid(url: &str, words: &str) -> ApiError {
    let url: String = url.chars().take(200).collect();
    ApiError::invalid(format!("invalid catalogue {url:?}: {words}"))
}

/// Fetches from other machines, one thing at a time: what is held in memory is one file.
pub(crate) struct Fetcher {
    node: Node,
    turn: Mutex<()>,
}

impl Fetcher {
    pub(crate) fn new(node: Node) -> Self {
        Self {
            node,
            turn: Mutex::default(),
        }
    }

    /// Brings what is kept of a catalogue up to date. Where that fails and something is kept, gives in words why, and of when it is.
    ///
    /// # Errors
    /// If nothing is kept.
    pub(crate) async fn refresh(&self, home: &Path, url: &str) -> Result<Option<String>, ApiError> {
        let place = Place::parse(url)?;
        if matches!(place, Place::Here(_)) {
            return Ok(None);
        }
        let mirror = Mirror::of(home, url);
        let _turn = self.turn.lock().await;
        let failed = match timeout(INDEX_PATIENCE, self.file(&place, INDEX, MAX_INDEX)).await {
            Ok(Ok(index)) => match self.take(home, mirror.clone(), index).await {
                Ok(()) => return Ok(None),
                Err(error) => error,
            },
            Ok(Err(error)) => error,
            Err(_) => ApiError::timeout("no answer within 10 s"),
        };
        let Some(seen) = mirror.seen() else {
            return Err(ApiError {
                message: format!("{url}: {}", failed.message),
                ..failed
            });
        };
        let since = UnixTime::from_secs(seconds(seen));
        Ok(Some(format!(
            "{url}: {}; used as it was on {since}",
            failed.message
        )))
    }

    async fn take(&self, home: &Path, mirror: Mirror, index: Vec<u8>) -> Result<(), ApiError> {
        let publishers = Publishers::new(home);
        blocking(move || {
            let taken = mirror.take_index(&index, &publishers);
            taken.map_err(|error| refused(&error))
        })
        .await
    }

    /// Fetches a bundle that is not kept yet. All of it is checked before any of it is used.
    ///
    /// # Errors
    /// If it does not come, or is not the one that the index names.
    pub(crate) async fn fetch(
        &self,
        home: &Path,
        url: &str,
        entry: &Entry,
    ) -> Result<(), ApiError> {
        let place = Place::parse(url)?;
        let mirror = Mirror::of(home, url);
        if matches!(place, Place::Here(_)) || !mirror.lacks(entry) {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        let fetched = timeout(BUNDLE_PATIENCE, self.bundle(&place, mirror, entry)).await;
        let fetched = fetched.unwrap_or_else(|_| {
            let words = format!("it did not come within {} s", BUNDLE_PATIENCE.as_secs());
            Err(ApiError::timeout(words))
        });
        fetched.map_err(|error| ApiError {
            message: format!("{url}: {} {}: {}", entry.id, entry.version, error.message),
            ..error
        })
    }

    async fn bundle(&self, place: &Place, mirror: Mirror, entry: &Entry) -> Result<(), ApiError> {
        let path = |name: &str| format!("{}/{}/{name}", entry.id, entry.version);
        let manifest = self.file(place, &path(MANIFEST), MAX_MANIFEST).await?;
        let signature = self.file(place, &path(SIGNATURE), MAX_MANIFEST).await?;
        let entry = entry.clone();
        let mut arriving = blocking(move || {
            let begun = mirror.begin(&entry, &manifest, &signature);
            begun.map_err(|error| refused(&error))
        })
        .await?;
        let mut left = pilot_appstore::MAX_BYTES;
        for file in arriving.files().to_vec() {
            let bytes = self
                .file(place, &path(file.as_str()), left.min(MAX_FILE))
                .await?;
            left -= bytes.len() as u64;
            arriving = add(arriving, file, bytes).await?;
        }
        blocking(move || arriving.finish().map_err(|error| refused(&error))).await
    }

    /// One file, of at most `most` bytes.
    async fn file(&self, place: &Place, path: &str, most: u64) -> Result<Vec<u8>, ApiError> {
        match place {
            Place::Here(_) => Err(ApiError::internal("a file of this machine is not fetched")),
            Place::Site(site) => site
                .get(path, most)
                .await
                .map_err(|error| ApiError::new(ErrorCode::ConnectionFailed, describe(&error))),
            Place::Agent(peer) => self.of_agent(peer, path, most).await,
        }
    }

    async fn of_agent(&self, peer: &PeerRef, path: &str, most: u64) -> Result<Vec<u8>, ApiError> {
        let (name, mut bytes) = (error::name_of(peer), vec![]);
        loop {
            let question = AppQuestion::File(FilePart {
                path: path.to_owned(),
                offset: bytes.len() as u64,
            });
            let options = DialOptions::default();
            let dialled = self
                .node
                .dial_peer(target(peer)?, Port::APPS, options)
                .await;
            let stream = dialled.map_err(|error| error::dial(&error, peer, Port::APPS))?;
            let part = ask_app(stream, &question).await;
            let part = part.map_err(|error| self.no_part(&error, &name))?;
            let broken = |words: &str| {
                ApiError::new(ErrorCode::ConnectionFailed, format!("{name}: {words}"))
            };
            let part: Part =
                serde_json::from_value(part).map_err(|error| broken(&error.to_string()))?;
            let data = BASE64.decode(part.data_b64.as_bytes());
            let data = data.map_err(|error| broken(&error.to_string()))?;
            bytes.extend_from_slice(&data);
            if part.size > most || bytes.len() as u64 > part.size {
                return Err(broken(&format!(
                    "{path} has more than {most} bytes, or grew"
                )));
            }
            if bytes.len() as u64 == part.size {
                return Ok(bytes);
            }
            if data.is_empty() {
                return Err(broken(&format!("{path} ended early")));
            }
        }
    }

    fn no_part(&self, error: &pilot_apps::AskAppError, peer: &str) -> ApiError {
        let own = named::own(&self.node);
        let error = peer_apps::unanswered(error, peer, "APP", &own);
        match error.code {
            ErrorCode::NotTrusted | ErrorCode::PermissionDenied => {
                let words = format!("{peer} does not show you its catalogue");
                ApiError::new(error.code, words).with_hint(format!(
                    "run `pilotctl approve {own} --catalogue` on {peer}"
                ))
            }
            ErrorCode::Internal
            | ErrorCode::InvalidArgument
            | ErrorCode::NotFound
            | ErrorCode::NotRunning
            | ErrorCode::ConnectionFailed
            | ErrorCode::Timeout
            | ErrorCode::AlreadyExists
            | ErrorCode::RateLimited => error,
        }
    }
}

/// What an agent answers.
#[derive(Deserialize)]
struct Part {
    size: u64,
    data_b64: String,
}

async fn add(
    arriving: pilot_appstore::Arriving,
    file: FilePath,
    bytes: Vec<u8>,
) -> Result<pilot_appstore::Arriving, ApiError> {
    blocking(move || {
        let added = arriving.add(&file, &bytes);
        added.map(|()| arriving).map_err(|error| refused(&error))
    })
    .await
}

fn refused(error: &MirrorError) -> ApiError {
    let words = describe(error);
    match error {
        MirrorError::Catalogue(error) => crate::apps::catalogue(error),
        MirrorError::Older { .. } => ApiError::new(ErrorCode::PermissionDenied, words),
        MirrorError::Io { source, .. } => {
            ApiError::new(pilot_rendezvous::error::io_code(source), words)
        }
        MirrorError::Bundle(_) | MirrorError::Other(..) | _ => ApiError::invalid(words),
    }
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart_and_others_refused() {
        let parsed = |url: &str| Place::parse(url);
        assert!(matches!(parsed("file:///srv/apps"), Ok(Place::Here(_))));
        assert!(matches!(
            parsed("https://apps.example.org/x/"),
            Ok(Place::Site(_))
        ));
        assert!(matches!(
            parsed("http://127.0.0.1:8080"),
            Ok(Place::Site(_))
        ));
        assert!(matches!(parsed("pilot://worker"), Ok(Place::Agent(_))));
        assert!(matches!(
            parsed("pilot://0:A91F.0000.7C2E"),
            Ok(Place::Agent(_))
        ));
        for url in [
            "",
            "apps",
            "file://apps",
            "ftp://x/",
            "http://example.org/",
            "https://a@b/",
            "https://",
            "pilot://",
            "pilot://pilot-ticket:abc",
            "https://x/?a=1",
        ] {
            let error = parsed(url).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument, "{url}");
        }
    }
}
