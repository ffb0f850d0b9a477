//! The inverted index of public records, in memory: for each term the records that have it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use pilot_types::{AgentId, UnixTime};

use super::Hit;
use super::query::Question;
use super::words::Terms;

/// BM25: how soon a word that stands there often counts no more.
const SATURATION: f32 = 1.2;
/// BM25: how much a long record is held against its words.
const LENGTH_SHARE: f32 = 0.5;
/// From how many bytes on a word also stands for longer words that begin with it.
const MIN_PREFIX: usize = 3;
/// For how many, the first in the alphabet.
const MAX_COMPLETIONS: usize = 16;
/// How much such a longer word counts.
const COMPLETION_SHARE: f32 = 0.5;
/// Postings that one question looks at, the rarest words first: some 20 ms. What is as frequent as that says little.
const MAX_VISITED: usize = 4_000_000;

/// One in so many terms may be a different one: of its words, a record has few that no other has.
const DIFFERENT_SHARE: usize = 4;

/// A record of the index: about 80 bytes and 4 for each term.
#[derive(Debug)]
struct Doc {
    agent: AgentId,
    serial: u64,
    not_after: UnixTime,
    len: u32,
    terms: Box<[u32]>,
}

/// What is to stand in the index of one agent.
#[derive(Debug)]
pub(crate) struct NewDoc {
    pub(crate) agent: AgentId,
    pub(crate) serial: u64,
    pub(crate) not_after: UnixTime,
    pub(crate) terms: Terms,
}

/// A term and the records that have it, by number: 8 bytes each.
#[derive(Debug)]
struct Term {
    text: Arc<str>,
    postings: Vec<Posting>,
}

#[derive(Clone, Copy, Debug)]
struct Posting {
    doc: u32,
    weight: u8,
}

/// The index. Its size is bounded by `max_terms`, summed over all records, and [`DIFFERENT_SHARE`].
#[derive(Debug)]
pub(crate) struct Index {
    max_terms: usize,
    docs: Vec<Option<Doc>>,
    free_docs: Vec<u32>,
    by_agent: BTreeMap<AgentId, u32>,
    by_text: BTreeMap<Arc<str>, u32>,
    terms: Vec<Term>,
    free_terms: Vec<u32>,
    /// Postings in all.
    count: usize,
    /// Lengths of all records together.
    len: u64,
    scratch: Scratch,
}

/// Room for one question at a time, zero between questions.
#[derive(Debug, Default)]
struct Scratch {
    scores: Vec<f32>,
    /// How many filters a record has.
    marks: Vec<u8>,
}

/// A term that counts for a question.
#[derive(Clone, Copy)]
struct Weighed {
    term: u32,
    factor: f32,
}

impl Index {
    pub(crate) fn new(max_terms: usize) -> Self {
        Self {
            max_terms,
            docs: vec![],
            free_docs: vec![],
            by_agent: BTreeMap::new(),
            by_text: BTreeMap::new(),
            terms: vec![],
            free_terms: vec![],
            count: 0,
            len: 0,
            scratch: Scratch::default(),
        }
    }

    /// Records in it.
    pub(crate) fn len(&self) -> usize {
        self.by_agent.len()
    }

    pub(crate) fn has(&self, agent: &AgentId) -> bool {
        self.by_agent.contains_key(agent)
    }

    /// Whether the record with this serial is in it.
    pub(crate) fn has_serial(&self, agent: &AgentId, serial: u64) -> bool {
        let doc = self
            .by_agent
            .get(agent)
            .map(|doc| &self.docs[*doc as usize]);
        doc.is_some_and(|doc| doc.as_ref().is_some_and(|doc| doc.serial == serial))
    }

    /// Puts a record in the place of the agent's last one; `false` if there is no room.
    pub(crate) fn put(&mut self, new: &NewDoc) -> bool {
        self.remove(&new.agent);
        let count = new.terms.weights.len();
        if self.count + count > self.max_terms || !self.has_room_for(&new.terms) {
            return false;
        }
        let number = self.free_docs.pop().unwrap_or_else(|| {
            self.docs.push(None);
            self.scratch.scores.push(0.0);
            self.scratch.marks.push(0);
            number(self.docs.len() - 1)
        });
        let weights = new.terms.weights.iter();
        let terms = weights.map(|(text, weight)| self.add(text, number, *weight));
        self.docs[number as usize] = Some(Doc {
            agent: new.agent,
            serial: new.serial,
            not_after: new.not_after,
            len: new.terms.len,
            terms: terms.collect(),
        });
        self.by_agent.insert(new.agent, number);
        self.count += count;
        self.len += u64::from(new.terms.len);
        true
    }

    /// Different terms cost more: there are fewer of them.
    fn has_room_for(&self, terms: &Terms) -> bool {
        let texts = terms.weights.keys().map(AsRef::as_ref);
        let added = texts
            .filter(|text: &&str| !self.by_text.contains_key(*text))
            .count();
        self.by_text.len() + added <= self.max_terms / DIFFERENT_SHARE
    }

    /// Takes an agent's record out, if it is in.
    pub(crate) fn remove(&mut self, agent: &AgentId) {
        let Some(number) = self.by_agent.remove(agent) else {
            return;
        };
        let Some(doc) = self.docs[number as usize].take() else {
            return;
        };
        self.count -= doc.terms.len();
        self.len -= u64::from(doc.len);
        self.free_docs.push(number);
        for id in doc.terms {
            let term = &mut self.terms[id as usize];
            if let Ok(at) = term.postings.binary_search_by_key(&number, |p| p.doc) {
                term.postings.remove(at);
            }
            if term.postings.is_empty() {
                self.by_text.remove(&term.text);
                self.free_terms.push(id);
            }
        }
    }

    fn add(&mut self, text: &str, doc: u32, weight: u8) -> u32 {
        let known = self.by_text.get(text).copied();
        let id = known.unwrap_or_else(|| self.add_term(text));
        let postings = &mut self.terms[id as usize].postings;
        let at = postings.partition_point(|posting| posting.doc < doc);
        postings.insert(at, Posting { doc, weight });
        id
    }

    fn add_term(&mut self, text: &str) -> u32 {
        let term = Term {
            text: text.into(),
            postings: vec![],
        };
        let text = Arc::clone(&term.text);
        let id = if let Some(id) = self.free_terms.pop() {
            self.terms[id as usize] = term;
            id
        } else {
            self.terms.push(term);
            number(self.terms.len() - 1)
        };
        self.by_text.insert(text, id);
        id
    }

    /// The best `count` records that have not ended, in order, and how many fit.
    pub(crate) fn find(
        &mut self,
        question: &Question,
        count: usize,
        now: UnixTime,
    ) -> (Vec<Hit>, u64) {
        let filters = question
            .filters
            .iter()
            .map(|text| self.by_text.get(&**text));
        let Some(filters) = filters
            .map(Option::<&u32>::copied)
            .collect::<Option<Vec<u32>>>()
        else {
            return (vec![], 0);
        };
        if question.is_hopeless {
            return (vec![], 0);
        }
        if filters.is_empty() && question.words.is_empty() {
            return self.all(count, now);
        }
        self.mark(&filters, 1);
        let mut found = if question.words.is_empty() {
            self.marked(&filters)
        } else {
            self.scored(&self.weighed(question), filters.len())
        };
        self.mark(&filters, 0);
        found.retain(|(_, doc)| self.doc(*doc).is_some_and(|doc| now < doc.not_after));
        let total = found.len() as u64;
        (self.best(found, count), total)
    }

    /// The first records by id, and how many there are: the order of those that fit equally well.
    fn all(&self, count: usize, now: UnixTime) -> (Vec<Hit>, u64) {
        let is_live = |doc: &&Doc| now < doc.not_after;
        let total = self.docs.iter().flatten().filter(is_live).count() as u64;
        let by_id = self.by_agent.values().filter_map(|doc| self.doc(*doc));
        let hits = by_id.filter(is_live).take(count).map(|doc| Hit {
            score: 0.0,
            agent: doc.agent,
        });
        (hits.collect(), total)
    }

    /// How well a record that is not in the index fits; `None` if it does not.
    pub(crate) fn score(&self, question: &Question, terms: &Terms) -> Option<f32> {
        let mut filters = question.filters.iter().map(AsRef::as_ref);
        let has = |filter: &str| terms.weights.contains_key(filter);
        if question.is_hopeless || !filters.all(has) {
            return None;
        }
        if question.words.is_empty() {
            return Some(0.0);
        }
        let mut score = 0.0;
        for word in &question.words {
            if let Some(weight) = terms.weights.get(word) {
                score += self.rarity(word) * self.saturated(*weight, terms.len);
            }
            for (text, weight) in completions(&terms.weights, word) {
                score += COMPLETION_SHARE * self.rarity(text) * self.saturated(*weight, terms.len);
            }
        }
        (score > 0.0).then_some(score)
    }

    /// The terms that count for a question, the rarest first.
    fn weighed(&self, question: &Question) -> Vec<Weighed> {
        let mut weighed = vec![];
        for word in &question.words {
            let exact = self.by_text.get(&**word);
            weighed.extend(exact.map(|term| Weighed {
                term: *term,
                factor: self.rarity(word),
            }));
            let longer = completions(&self.by_text, word);
            weighed.extend(longer.map(|(text, term)| Weighed {
                term: *term,
                factor: COMPLETION_SHARE * self.rarity(text),
            }));
        }
        weighed.sort_by_key(|weighed| self.terms[weighed.term as usize].postings.len());
        weighed
    }

    /// Writes how many filters each record has, or takes it back.
    fn mark(&mut self, filters: &[u32], step: u8) {
        for id in filters {
            for posting in &self.terms[*id as usize].postings {
                let mark = &mut self.scratch.marks[posting.doc as usize];
                *mark = if step == 0 {
                    0
                } else {
                    mark.saturating_add(step)
                };
            }
        }
    }

    /// Records that have every filter.
    fn marked(&self, filters: &[u32]) -> Vec<(f32, u32)> {
        let postings = filters.iter().map(|id| &self.terms[*id as usize].postings);
        match postings.min_by_key(|postings| postings.len()) {
            Some(rarest) => {
                let all = rarest.iter().map(|posting| posting.doc);
                all.filter(|doc| self.is_marked(*doc, filters.len()))
                    .map(|doc| (0.0, doc))
                    .collect()
            }
            None => vec![],
        }
    }

    fn is_marked(&self, doc: u32, filters: usize) -> bool {
        usize::from(self.scratch.marks[doc as usize]) == filters
    }

    /// Records that have every filter and at least one of the terms.
    fn scored(&mut self, weighed: &[Weighed], filters: usize) -> Vec<(f32, u32)> {
        let mut scores = std::mem::take(&mut self.scratch.scores);
        let (mut found, mut visited) = (vec![], 0);
        for Weighed { term, factor } in weighed {
            let postings = &self.terms[*term as usize].postings;
            visited += postings.len();
            if visited > MAX_VISITED && !found.is_empty() {
                break;
            }
            for Posting { doc, weight } in postings {
                let Some(of) = self.doc(*doc).filter(|_| self.is_marked(*doc, filters)) else {
                    continue;
                };
                let score = &mut scores[*doc as usize];
                if *score == 0.0 {
                    found.push(*doc);
                }
                *score += factor * self.saturated(*weight, of.len);
            }
        }
        let found = found.into_iter().map(|doc| {
            let score = std::mem::take(&mut scores[doc as usize]);
            (score, doc)
        });
        let found = found.collect();
        self.scratch.scores = scores;
        found
    }

    fn best(&self, mut found: Vec<(f32, u32)>, count: usize) -> Vec<Hit> {
        let agent = |doc: u32| self.doc(doc).map(|doc| &doc.agent);
        // Ids are looked at where scores are equal alone: they lie all over the memory.
        let order = |a: &(f32, u32), b: &(f32, u32)| {
            let by_score = b.0.total_cmp(&a.0);
            by_score.then_with(|| agent(a.1).cmp(&agent(b.1)))
        };
        if count == 0 {
            return vec![];
        }
        if count < found.len() {
            found.select_nth_unstable_by(count - 1, order);
            found.truncate(count);
        }
        found.sort_unstable_by(order);
        let hits = found.iter().filter_map(|(score, doc)| {
            Some(Hit {
                score: *score,
                agent: *agent(*doc)?,
            })
        });
        hits.collect()
    }

    fn doc(&self, number: u32) -> Option<&Doc> {
        self.docs[number as usize].as_ref()
    }

    /// BM25's weight of a word: the fewer public records have it, the more it says. Never 0.
    #[expect(clippy::cast_precision_loss, reason = "a weight, not a count")]
    fn rarity(&self, word: &str) -> f32 {
        let id = self.by_text.get(word);
        let with = id.map_or(0, |id| self.terms[*id as usize].postings.len()) as f32;
        let all = self.len() as f32;
        ((all - with + 0.5).max(0.5) / (with + 0.5)).ln_1p()
    }

    /// BM25's share of a word that stands in a record with this weight.
    #[expect(clippy::cast_precision_loss, reason = "a weight, not a count")]
    fn saturated(&self, weight: u8, len: u32) -> f32 {
        let mean = self.len as f32 / self.len().max(1) as f32;
        let length = if mean > 0.0 { len as f32 / mean } else { 1.0 };
        let weight = f32::from(weight);
        let full = SATURATION * (1.0 - LENGTH_SHARE + LENGTH_SHARE * length);
        weight * (SATURATION + 1.0) / (weight + full)
    }
}

/// Longer words that begin with a word.
fn completions<'a, K, V>(
    terms: &'a BTreeMap<K, V>,
    word: &'a str,
) -> impl Iterator<Item = (&'a str, &'a V)>
where
    K: std::borrow::Borrow<str> + Ord,
{
    let after = (Bound::Excluded(word), Bound::Unbounded);
    let longer = terms.range::<str, _>(after);
    longer
        .map(|(text, value)| (text.borrow(), value))
        .take_while(move |(text, _)| text.starts_with(word))
        .take(if word.len() < MIN_PREFIX {
            0
        } else {
            MAX_COMPLETIONS
        })
}

/// Numbers of records and terms: there are fewer than `max_terms` of each, and empty ones are used again.
fn number(index: usize) -> u32 {
    u32::try_from(index).expect("max_terms is below 2^32")
}

#[cfg(test)]
mod tests;
