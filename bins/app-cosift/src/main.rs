//! Indexes folders, pages and feeds that its owner names, and searches them: ranked, with passages.

mod directory;
mod folder;
mod index;
mod pages;
mod passages;
mod state;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use index::{Hit, Index, PutError, Text};
use pilot_app::{App, Error};
use pilot_web::Client;
use serde::{Deserialize, Serialize};
use state::Kind;
use tantivy::TantivyError;

/// Where the index is, in the app's own directory, where it starts.
const INDEX: &str = "index";
/// How long one call indexes, in milliseconds, unless something else is asked for; the manifest's `call_ms` is beyond the most.
const TIMEOUT_MS: u64 = 10_000;
const MAX_TIMEOUT_MS: u64 = 50_000;
/// Hits, unless something else is asked for, and the most.
const HITS: usize = 10;
const MAX_HITS: usize = 50;
/// What is named of the files that were left out.
const MAX_NAMED: usize = 20;

/// Arguments of `index`: one of the three.
#[derive(Deserialize)]
struct Indexed {
    path: Option<PathBuf>,
    url: Option<String>,
    feed: Option<String>,
    timeout_ms: Option<u64>,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    source: String,
    indexed: usize,
    unchanged: usize,
    removed: usize,
    skipped: usize,
    reasons: Vec<Skipped>,
    /// Whether all of the source is in the index; otherwise the same call goes on.
    complete: bool,
}

#[derive(Debug, Serialize)]
struct Skipped {
    item: String,
    reason: String,
}

#[derive(Deserialize)]
struct Search {
    query: String,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Hits {
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Nothing {}

#[derive(Serialize)]
struct Status {
    sources: Vec<SourceStatus>,
    items: usize,
    passages: usize,
    text_bytes: u64,
    /// Whether it outlives this process.
    kept: bool,
    /// Whether an index was there that could not be read: everything is to be indexed again.
    lost: bool,
}

#[derive(Serialize)]
struct SourceStatus {
    source: String,
    kind: Kind,
    items: usize,
    text_bytes: u64,
}

#[derive(Deserialize)]
struct Forget {
    source: String,
}

#[derive(Serialize)]
struct Forgotten {
    source: String,
    items: usize,
}

fn main() -> std::io::Result<()> {
    let client = Client::new().map_err(std::io::Error::other)?;
    let opened = Index::open(Path::new(INDEX)).map_err(std::io::Error::other)?;
    let index = Rc::new(RefCell::new(opened));
    let shared = || Rc::clone(&index);
    let (indexing, searching, looking, forgetting) = (shared(), shared(), shared(), shared());
    App::new()
        .method("index", move |asked: Indexed| {
            index_source(&mut indexing.borrow_mut(), &client, &asked)
        })
        .method("search", move |asked: Search| {
            let limit = asked.limit.unwrap_or(HITS).clamp(1, MAX_HITS);
            let hits = searching.borrow().search(&asked.query, limit);
            hits.map(|hits| Hits { hits })
                .map_err(|error| failed(&error))
        })
        .method("status", move |_: Nothing| status(&looking.borrow()))
        .method("forget", move |asked: Forget| {
            forget(&mut forgetting.borrow_mut(), asked.source)
        })
        .serve_connected()
}

fn index_source(index: &mut Index, client: &Client, asked: &Indexed) -> Result<Outcome, Error> {
    let millis = asked.timeout_ms.unwrap_or(TIMEOUT_MS).min(MAX_TIMEOUT_MS);
    let time = Duration::from_millis(millis);
    let done = match (&asked.path, &asked.url, &asked.feed) {
        (Some(path), None, None) => index_folder(index, path, Instant::now() + time),
        (None, Some(url), None) => pages::page(client, url, time)
            .map_err(PutError::Full)
            .and_then(|text| index_texts(index, url, Kind::Page, vec![text])),
        (None, None, Some(url)) => pages::feed(client, url, time)
            .map_err(PutError::Full)
            .and_then(|texts| index_texts(index, url, Kind::Feed, texts)),
        _ => return Err("expected one of path, url and feed".into()),
    };
    let done = done.and_then(|outcome| {
        index.commit().map_err(PutError::Failed)?;
        Ok(outcome)
    });
    match done {
        Ok(outcome) => Ok(outcome),
        Err(PutError::Full(words)) => Err(words.into()),
        Err(PutError::Failed(words)) => {
            index.open_again().map_err(|error| failed(&error))?;
            Err(format!("{words}; what was not written is to be indexed again").into())
        }
    }
}

fn index_folder(index: &mut Index, path: &Path, until: Instant) -> Result<Outcome, PutError> {
    let refused = |words: String| PutError::Full(format!("{}: {words}", path.display()));
    if !path.is_absolute() {
        return Err(refused("expected an absolute path".to_owned()));
    }
    let mut files = folder::Files::of(path).map_err(|error| {
        if error.kind() != std::io::ErrorKind::PermissionDenied {
            return refused(error.to_string());
        }
        refused(format!(
            "not granted; its owner may: pilotctl appstore install cosift --grant read:{}",
            path.display()
        ))
    })?;
    let source = path
        .to_str()
        .ok_or_else(|| refused("its name is no UTF-8".to_owned()))?;
    index.begin(source, Kind::Folder).map_err(PutError::Full)?;
    let mut outcome = Outcome::of(source);
    let mut present = BTreeSet::new();
    outcome.complete = true;
    for found in files.by_ref() {
        let Some(item) = found.path.to_str().map(str::to_owned) else {
            outcome.skip(&found.path.to_string_lossy(), "its name is no UTF-8");
            continue;
        };
        if index.state().has(source, &item, &found.stamp) {
            outcome.unchanged += 1;
            present.insert(item);
            continue;
        }
        if Instant::now() >= until {
            outcome.complete = false;
            break;
        }
        match folder::read(&found) {
            Ok((title, text)) => {
                let stamp = found.stamp;
                present.insert(item.clone());
                let name = item.clone();
                let put = index.put(
                    source,
                    Text {
                        item,
                        stamp,
                        title,
                        text,
                    },
                );
                outcome.count(&name, put)?;
            }
            Err(words) => outcome.skip(&item, &words),
        }
    }
    for (path, why) in &files.refused {
        outcome.skip(&path.to_string_lossy(), why);
    }
    // What was not looked at may still be there.
    if outcome.complete && files.is_whole {
        outcome.removed = index.keep_only(source, &present);
    }
    outcome.complete &= files.is_whole;
    Ok(outcome)
}

/// Entries that a feed no longer has are kept: that is what a feed is indexed for.
fn index_texts(
    index: &mut Index,
    source: &str,
    kind: Kind,
    texts: Vec<Text>,
) -> Result<Outcome, PutError> {
    index.begin(source, kind).map_err(PutError::Full)?;
    let mut outcome = Outcome::of(source);
    outcome.complete = true;
    for text in texts {
        if index.state().has(source, &text.item, &text.stamp) {
            outcome.unchanged += 1;
            continue;
        }
        let name = text.item.clone();
        let put = index.put(source, text);
        outcome.count(&name, put)?;
    }
    Ok(outcome)
}

impl Outcome {
    fn of(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            ..Self::default()
        }
    }

    /// What has no room is left out in words; anything else ends the call.
    fn count(&mut self, item: &str, put: Result<(), PutError>) -> Result<(), PutError> {
        match put {
            Ok(()) => self.indexed += 1,
            Err(PutError::Full(words)) => self.skip(item, &words),
            Err(failed @ PutError::Failed(_)) => return Err(failed),
        }
        Ok(())
    }

    fn skip(&mut self, item: &str, reason: &str) {
        self.skipped += 1;
        if self.reasons.len() < MAX_NAMED {
            self.reasons.push(Skipped {
                item: item.to_owned(),
                reason: reason.to_owned(),
            });
        }
    }
}

fn status(index: &Index) -> Result<Status, Error> {
    let state = index.state();
    let sources = state.sources.iter().map(|(name, source)| SourceStatus {
        source: name.clone(),
        kind: source.kind,
        items: source.items.len(),
        text_bytes: source.bytes(),
    });
    Ok(Status {
        sources: sources.collect(),
        items: state.items(),
        passages: index.passages().map_err(|error| failed(&error))?,
        text_bytes: state.bytes(),
        kept: index.is_kept(),
        lost: index.was_lost(),
    })
}

fn forget(index: &mut Index, source: String) -> Result<Forgotten, Error> {
    match index.forget(&source)? {
        Some(items) => Ok(Forgotten { source, items }),
        None => Err(format!("{source} is not indexed; cosift.status names what is").into()),
    }
}

fn failed(error: &TantivyError) -> Error {
    error.to_string().into()
}

#[cfg(test)]
mod tests;
