use pilot_types::AgentId;
use pilot_wire::{Capability, Record};
use proptest::prelude::*;

use super::super::SearchQuery;
use super::*;

const END: UnixTime = UnixTime::from_secs(100);
const NOW: UnixTime = UnixTime::from_secs(50);

fn agent(number: u8) -> AgentId {
    AgentId::new([number; 32])
}

fn doc(number: u8, name: &str, description: &str) -> NewDoc {
    let record = Record {
        hostname: name.parse().ok(),
        capabilities: vec![Capability {
            description: description.to_owned(),
            ..Capability::named("say", "1.0.0")
        }],
        ..Record::default()
    };
    NewDoc {
        agent: agent(number),
        serial: 1,
        not_after: END,
        terms: Terms::of(&record),
    }
}

fn index(docs: impl IntoIterator<Item = NewDoc>) -> Index {
    let mut index = Index::new(1000);
    assert!(docs.into_iter().all(|doc| index.put(&doc)));
    index
}

fn question(text: &str) -> Question {
    Question::new(&SearchQuery {
        text: text.to_owned(),
        ..SearchQuery::default()
    })
}

fn found(index: &mut Index, text: &str) -> Vec<AgentId> {
    let (hits, total) = index.find(&question(text), usize::MAX, NOW);
    assert_eq!(hits.len() as u64, total);
    hits.into_iter().map(|hit| hit.agent).collect()
}

#[test]
fn a_name_counts_more_than_a_description_and_a_rare_word_more_than_a_frequent_one() {
    let mut index = index([
        doc(1, "oracle", "tells the weather"),
        doc(2, "weather", "tells what it is like"),
        doc(3, "tax", "tells what is due"),
    ]);
    assert_eq!(found(&mut index, "weather"), [agent(2), agent(1)]);
    assert_eq!(
        found(&mut index, "tells weather"),
        [agent(2), agent(1), agent(3)]
    );
    assert_eq!(found(&mut index, "WEATHER!")[0], agent(2));
    assert!(found(&mut index, "rain").is_empty());
    assert_eq!(found(&mut index, "").len(), 3);
}

#[test]
fn a_word_stands_for_longer_ones_but_counts_less() {
    let mut index = index([
        doc(1, "forecaster", ""),
        doc(2, "forecast", ""),
        doc(3, "fork", ""),
    ]);
    assert_eq!(found(&mut index, "forecast"), [agent(2), agent(1)]);
    assert_eq!(found(&mut index, "for").len(), 3);
    assert!(
        found(&mut index, "fo").is_empty(),
        "too short to stand for others"
    );
}

#[test]
fn text_without_a_word_finds_nothing_and_no_text_everything() {
    let mut index = index([doc(1, "one", "")]);
    assert!(found(&mut index, "\u{1b}[2J ---").is_empty());
    assert_eq!(found(&mut index, "  "), [agent(1)]);
}

#[test]
fn what_has_ended_is_neither_found_nor_counted() {
    let mut index = index([doc(1, "one", "")]);
    let (hits, total) = index.find(&question("one"), 10, END);
    assert_eq!((hits.len(), total), (0, 0));
}

#[test]
fn a_full_index_takes_no_more_until_there_is_room() {
    let size = doc(1, "one", "").terms.weights.len();
    let name = |number: u8| format!("n{}", number % 2);
    let mut index = Index::new(9 * size);
    let taken = (0..20).filter(|number| index.put(&doc(*number, &name(*number), "")));
    assert_eq!(taken.count(), 9, "as many terms as are allowed");
    assert!(index.put(&doc(2, "n1", "")), "in the place of its last one");
    index.remove(&agent(1));
    assert!(index.put(&doc(30, "n1", "")));
    assert!(!index.put(&doc(31, "n1", "")));
    let mut index = Index::new(4 * size);
    assert!(index.put(&doc(1, "one", "")));
    assert!(
        !index.put(&doc(2, "two", "")),
        "as many different terms as are allowed"
    );
    assert!(index.put(&doc(3, "one", "")));
}

#[derive(Clone, Debug)]
enum Op {
    Put(u8, &'static str, &'static str),
    Remove(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let name = prop::sample::select(vec!["a-one", "two", "b-two", ""]);
    let text = prop::sample::select(vec!["", "one two", "three three one", "onethree"]);
    prop_oneof![
        3 => (0..6u8, name, text).prop_map(|(agent, name, text)| Op::Put(agent, name, text)),
        1 => (0..6u8).prop_map(Op::Remove),
    ]
}

proptest! {
    /// After any changes the index finds and weighs as one that was made anew, and as what holds a record against a question alone.
    #[test]
    fn changes_leave_no_trace(ops in prop::collection::vec(op(), 0..40)) {
        let mut changed = Index::new(1000);
        let mut kept = BTreeMap::new();
        for op in ops {
            match op {
                Op::Put(number, name, text) => {
                    prop_assert!(changed.put(&doc(number, name, text)));
                    kept.insert(number, (name, text));
                }
                Op::Remove(number) => {
                    changed.remove(&agent(number));
                    kept.remove(&number);
                }
            }
        }
        let docs = || kept.iter().map(|(number, (name, text))| doc(*number, name, text));
        let mut anew = index(docs());
        prop_assert_eq!(changed.by_text.len(), anew.by_text.len());
        prop_assert_eq!((changed.count, changed.len), (anew.count, anew.len));
        for text in ["", "one", "two three", "one two three"] {
            let question = question(text);
            let (hits, total) = changed.find(&question, usize::MAX, NOW);
            prop_assert_eq!(&hits, &anew.find(&question, usize::MAX, NOW).0);
            prop_assert_eq!(&hits[..hits.len().min(2)], &changed.find(&question, 2, NOW).0);
            let alone = docs().filter_map(|doc| changed.score(&question, &doc.terms));
            prop_assert_eq!(alone.count() as u64, total);
        }
        let kept: Vec<u8> = kept.into_keys().collect();
        for number in kept {
            changed.remove(&agent(number));
        }
        prop_assert!(changed.by_text.is_empty() && changed.count == 0 && changed.len == 0);
    }
}
