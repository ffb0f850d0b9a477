//! The index: passages, found by their words.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tantivy::Directory;
use tantivy::collector::{Count, TopDocs};
use tantivy::directory::RamDirectory;
use tantivy::indexer::IndexWriterOptions;
use tantivy::query::{AllQuery, BooleanQuery, BoostQuery, Occur, Query, TermQuery};
use tantivy::schema::{
    Field, IndexRecordOption, STORED, STRING, Schema, TEXT, TantivyDocument, Value,
};
use tantivy::tokenizer::TokenStream;
use tantivy::{IndexReader, IndexWriter, ReloadPolicy, TantivyError, Term};

use crate::directory::OwnDirectory;
use crate::passages;
use crate::state::{Item, Kind, MAX_ITEMS, MAX_SOURCES, MAX_TEXT, Source, State};

/// Words of a query that count.
const MAX_WORDS: usize = 32;
/// A word in a title says more than one in the text.
const TITLE: f32 = 2.0;
/// Passages that are looked at for each hit: one item may have several of the best.
const PER_HIT: usize = 4;
/// The least that tantivy takes for what is not on the disk yet.
const WRITING: usize = 16_000_000;
/// Text after which what was indexed is made to last.
const COMMIT: u64 = 4 * 1024 * 1024;

/// Something that was found.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Hit {
    pub(crate) source: String,
    pub(crate) title: String,
    pub(crate) passage: String,
    pub(crate) score: f32,
}

/// A text to index.
pub(crate) struct Text {
    /// What a person calls it.
    pub(crate) item: String,
    pub(crate) stamp: String,
    pub(crate) title: String,
    pub(crate) text: String,
}

/// Why a text is not in the index.
#[derive(Debug)]
pub(crate) enum PutError {
    /// There is no room.
    Full(String),
    /// The disk or the library: what was not made to last is lost, and the index is to be opened again.
    Failed(String),
}

#[derive(Clone, Copy)]
struct Fields {
    /// The source and the item, to remove it by.
    key: Field,
    /// The source alone.
    source: Field,
    item: Field,
    title: Field,
    text: Field,
}

/// The index and what is known of its items.
pub(crate) struct Index {
    fields: Fields,
    /// Where it is; nowhere but in memory without a directory of its own.
    dir: Option<PathBuf>,
    index: tantivy::Index,
    writer: IndexWriter,
    reader: IndexReader,
    state: State,
    uncommitted: u64,
    /// Whether what was there before could not be read.
    was_lost: bool,
}

impl Index {
    /// Opens the index in a directory. One that cannot be read is begun anew: it holds nothing that is not elsewhere. Where the app
    /// has no directory it is in memory.
    pub(crate) fn open(dir: &Path) -> Result<Self, TantivyError> {
        match OwnDirectory::open(dir) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Self::with(None, RamDirectory::create());
            }
            Err(error) => return Err(io_error(error)),
        }
        // Files that were cut may be more than the library is ready for.
        let opened = std::panic::catch_unwind(|| Self::open_whole(dir));
        match opened {
            Ok(Ok(index)) => return Ok(index),
            // A full disk, say: what is there may well be whole.
            Ok(Err(error)) if is_the_systems(&error) => return Err(error),
            Ok(Err(_)) | Err(_) => {}
        }
        fs::remove_dir_all(dir).map_err(io_error)?;
        let mut new = Self::open_whole(dir)?;
        new.was_lost = true;
        Ok(new)
    }

    /// The same again, as it was made to last.
    pub(crate) fn open_again(&mut self) -> Result<(), TantivyError> {
        *self = match &self.dir {
            Some(dir) => Self::open(dir)?,
            None => Self::with(None, RamDirectory::create())?,
        };
        Ok(())
    }

    fn open_whole(dir: &Path) -> Result<Self, TantivyError> {
        let directory = OwnDirectory::open(dir).map_err(io_error)?;
        Self::with(Some(dir.to_owned()), directory)
    }

    fn with(
        dir: Option<PathBuf>,
        directory: impl Into<Box<dyn Directory>>,
    ) -> Result<Self, TantivyError> {
        let (schema, fields) = schema();
        let index = tantivy::Index::open_or_create(directory, schema)?;
        let payload = index.load_metas()?.payload;
        let state = payload.map(|text| serde_json::from_str(&text)).transpose();
        let state = state.map_err(|error| TantivyError::SystemError(error.to_string()))?;
        // One thread indexes, one merges and one keeps the list of parts; with the first one that is four.
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(WRITING)
            .build();
        let writer = index.writer_with_options(options)?;
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual);
        let reader = reader.try_into()?;
        Ok(Self {
            fields,
            dir,
            index,
            writer,
            reader,
            state: state.unwrap_or_default(),
            uncommitted: 0,
            was_lost: false,
        })
    }

    pub(crate) const fn state(&self) -> &State {
        &self.state
    }

    pub(crate) const fn was_lost(&self) -> bool {
        self.was_lost
    }

    pub(crate) const fn is_kept(&self) -> bool {
        self.dir.is_some()
    }

    pub(crate) fn passages(&self) -> Result<usize, TantivyError> {
        self.reader.searcher().search(&AllQuery, &Count)
    }

    /// Begins a source, or goes on with it.
    ///
    /// # Errors
    /// Words, if there are too many or it is of another kind.
    pub(crate) fn begin(&mut self, source: &str, kind: Kind) -> Result<(), String> {
        match self.state.sources.get(source) {
            Some(known) if known.kind == kind => Ok(()),
            Some(_) => Err(format!(
                "{source} is indexed as something else; forget it first"
            )),
            None if self.state.sources.len() >= MAX_SOURCES => Err(format!(
                "at most {MAX_SOURCES} sources are kept; forget one"
            )),
            None => {
                let items = std::collections::BTreeMap::new();
                let new = Source { kind, items };
                self.state.sources.insert(source.to_owned(), new);
                Ok(())
            }
        }
    }

    /// Puts an item in the place of what it was before.
    ///
    /// # Errors
    /// [`PutError`].
    pub(crate) fn put(&mut self, source: &str, text: Text) -> Result<(), PutError> {
        let bytes = text.text.len() as u64;
        let known = self
            .state
            .sources
            .get(source)
            .and_then(|s| s.items.get(&text.item));
        let before = known.map_or(0, |item| item.bytes);
        if known.is_none() && self.state.items() >= MAX_ITEMS {
            return Err(PutError::Full(format!(
                "at most {MAX_ITEMS} items are kept"
            )));
        }
        if self.state.bytes() - before + bytes > MAX_TEXT {
            let words = format!("at most {} MiB of text are kept", MAX_TEXT >> 20);
            return Err(PutError::Full(words));
        }
        self.remove(source, &text.item);
        let key = key(source, &text.item);
        for passage in passages::cut(&text.text) {
            let mut document = TantivyDocument::default();
            document.add_text(self.fields.key, &key);
            document.add_text(self.fields.source, source);
            document.add_text(self.fields.item, &text.item);
            document.add_text(self.fields.title, &text.title);
            document.add_text(self.fields.text, passage);
            let added = self.writer.add_document(document);
            added.map_err(|error| PutError::Failed(error.to_string()))?;
        }
        let item = Item {
            stamp: text.stamp,
            bytes,
        };
        if let Some(source) = self.state.sources.get_mut(source) {
            source.items.insert(text.item, item);
        }
        self.uncommitted += bytes;
        if self.uncommitted >= COMMIT {
            self.commit().map_err(PutError::Failed)?;
        }
        Ok(())
    }

    /// Removes those items of a source that are not named. Gives how many.
    pub(crate) fn keep_only(&mut self, source: &str, named: &BTreeSet<String>) -> usize {
        let known = self.state.sources.get(source);
        let known = known.into_iter().flat_map(|source| source.items.keys());
        let gone: Vec<String> = known.filter(|i| !named.contains(*i)).cloned().collect();
        for item in &gone {
            self.remove(source, item);
        }
        gone.len()
    }

    fn remove(&mut self, source: &str, item: &str) {
        let items = self.state.sources.get_mut(source).map(|s| &mut s.items);
        if items.and_then(|items| items.remove(item)).is_some() {
            let key = Term::from_field_text(self.fields.key, &key(source, item));
            self.writer.delete_term(key);
        }
    }

    /// Removes a source. Gives how many items it had.
    pub(crate) fn forget(&mut self, source: &str) -> Result<Option<usize>, String> {
        let Some(gone) = self.state.sources.remove(source) else {
            return Ok(None);
        };
        let term = Term::from_field_text(self.fields.source, source);
        self.writer.delete_term(term);
        self.commit()?;
        Ok(Some(gone.items.len()))
    }

    /// Makes what was changed last, and searches see it.
    pub(crate) fn commit(&mut self) -> Result<(), String> {
        let state = serde_json::to_string(&self.state).map_err(|error| error.to_string())?;
        let mut commit = self
            .writer
            .prepare_commit()
            .map_err(|error| error.to_string())?;
        commit.set_payload(&state);
        commit.commit().map_err(|error| error.to_string())?;
        self.reader.reload().map_err(|error| error.to_string())?;
        self.uncommitted = 0;
        Ok(())
    }

    /// The best passage of each of the best items.
    pub(crate) fn search(&self, query: &str, most: usize) -> Result<Vec<Hit>, TantivyError> {
        let Some(query) = self.query(query)? else {
            return Ok(vec![]);
        };
        let searcher = self.reader.searcher();
        let best = TopDocs::with_limit(most * PER_HIT).order_by_score();
        let mut hits: Vec<Hit> = vec![];
        for (score, address) in searcher.search(&*query, &best)? {
            let document: TantivyDocument = searcher.doc(address)?;
            let text = |field| {
                let value = document.get_first(field).and_then(|value| value.as_str());
                value.unwrap_or_default().to_owned()
            };
            let source = text(self.fields.item);
            if hits.len() < most && !hits.iter().any(|hit| hit.source == source) {
                hits.push(Hit {
                    source,
                    title: text(self.fields.title),
                    passage: text(self.fields.text),
                    score,
                });
            }
        }
        Ok(hits)
    }

    /// Any of the words; the more of them and the rarer they are, the better. There are no operators that could go wrong.
    fn query(&self, text: &str) -> Result<Option<Box<dyn Query>>, TantivyError> {
        let mut analyzer = self.index.tokenizer_for_field(self.fields.text)?;
        let mut words = BTreeSet::new();
        let mut tokens = analyzer.token_stream(text);
        while words.len() < MAX_WORDS && tokens.advance() {
            words.insert(tokens.token().text.clone());
        }
        let mut parts: Vec<(Occur, Box<dyn Query>)> = vec![];
        for word in &words {
            let term = |field| {
                let term = Term::from_field_text(field, word);
                TermQuery::new(term, IndexRecordOption::WithFreqs)
            };
            let title = BoostQuery::new(Box::new(term(self.fields.title)), TITLE);
            parts.push((Occur::Should, Box::new(title)));
            parts.push((Occur::Should, Box::new(term(self.fields.text))));
        }
        Ok((!parts.is_empty()).then(|| Box::new(BooleanQuery::new(parts)) as Box<dyn Query>))
    }
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let fields = Fields {
        key: schema.add_text_field("key", STRING),
        source: schema.add_text_field("source", STRING),
        item: schema.add_text_field("item", STORED),
        title: schema.add_text_field("title", TEXT | STORED),
        text: schema.add_text_field("text", TEXT | STORED),
    };
    (schema.build(), fields)
}

/// No path and no URL has a zero byte in it.
fn key(source: &str, item: &str) -> String {
    format!("{source}\0{item}")
}

fn is_the_systems(error: &TantivyError) -> bool {
    matches!(
        error,
        TantivyError::IoError(_)
            | TantivyError::OpenWriteError(_)
            | TantivyError::OpenDirectoryError(_)
            | TantivyError::LockFailure(..)
    )
}

fn io_error(error: io::Error) -> TantivyError {
    TantivyError::IoError(std::sync::Arc::new(error))
}

#[cfg(test)]
mod tests;
