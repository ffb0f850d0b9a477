//! The directory agent `list-agents`: the rendezvous itself, at port 1001 of the sessions that its agents have with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pilot::{AgentId, ErrorCode, ListenError, Listener, Peer, Port, Rendezvous, Stream};
use pilot_apps::{
    DirectoryError, DirectoryItem, DirectoryQuestion, MAX_DIRECTORY_QUESTION, Reply,
    answer_directory, answer_one,
};
use pilot_registry::{Entry, RefusalCode, Request, Response, SearchQuery};
use pilot_wire::{MessageId, MessageType, Record, describe};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Semaphore;

/// Questions under way: each holds 16 KiB at most, and its answer.
const MAX_SERVED: usize = 256;
/// Those of one agent, answers on their way included.
const MAX_SERVED_PER_AGENT: usize = 16;
/// How long a question may take to come, and its answer to be taken.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers the questions of the rendezvous' agents until it ends. Only public agents are told of, to whoever asks; what an agent may ask
/// is bounded by its quota of searches.
///
/// # Errors
/// [`ListenError`] if port 1001 is taken.
pub fn serve_directory(rendezvous: &Rendezvous) -> Result<(), ListenError> {
    let listener = rendezvous.listen_on(Port::DATA_EXCHANGE)?;
    tokio::spawn(serve(listener, rendezvous.clone()));
    Ok(())
}

async fn serve(mut listener: Listener, rendezvous: Rendezvous) {
    let places = Arc::new(Semaphore::new(MAX_SERVED));
    let askers = Arc::new(Askers::default());
    while let Ok((stream, peer)) = listener.accept().await {
        let place = Arc::clone(&places).try_acquire_owned();
        let (Ok(place), Some(asking)) = (place, askers.begin(peer.agent)) else {
            stream.reset(ErrorCode::BUSY);
            continue;
        };
        let rendezvous = rendezvous.clone();
        tokio::spawn(async move {
            answer(&rendezvous, stream, &peer).await;
            drop((place, asking));
        });
    }
}

async fn answer(rendezvous: &Rendezvous, stream: Stream, peer: &Peer) {
    let answer = |body: &[u8]| Reply {
        id: random_id(),
        kind: MessageType::Json,
        body: answer_directory(body, |question| find(rendezvous, peer.agent, question))
            .to_string()
            .into_bytes(),
    };
    let answered = answer_one(stream, MAX_DIRECTORY_QUESTION, PATIENCE, answer).await;
    if let Err(error) = answered {
        tracing::debug!(from = %peer.agent.address(), %error, "no question for the directory");
    }
}

/// Asks the registry, as often as it takes for a page.
fn find(
    rendezvous: &Rendezvous,
    from: AgentId,
    question: &DirectoryQuestion,
) -> Result<(Vec<DirectoryItem>, u64), DirectoryError> {
    let mut query = SearchQuery {
        text: question.text.clone(),
        tags: question.tags.clone(),
        capability: question.capability.clone(),
        hostname: question.hostname.clone(),
        is_public_only: true,
        offset: question.offset,
        limit: question.limit,
    };
    let mut items = vec![];
    loop {
        let request = Request::Search {
            query: query.clone(),
        };
        let response = rendezvous.ask(from, request);
        let Response::SearchResults {
            entries,
            total,
            next,
        } = response
        else {
            return Err(refused(response));
        };
        items.extend(entries.iter().filter_map(item));
        let left = next.map_or(0, |next| query.limit.saturating_sub(next - query.offset));
        let Some(next) = next.filter(|_| left > 0) else {
            return Ok((items, total));
        };
        (query.offset, query.limit) = (next, left);
    }
}

fn item(entry: &Entry) -> Option<DirectoryItem> {
    let record: Record = entry.record.envelope().ok()?.statement().ok()?;
    let named = record.capabilities.iter().map(ToString::to_string);
    Some(DirectoryItem {
        address: entry.agent.address(),
        description: describe(&record.capabilities),
        capabilities: named.collect(),
        hostname: record.hostname,
        tags: record.tags,
    })
}

fn refused(response: Response) -> DirectoryError {
    let Response::Refused {
        code,
        message,
        retry_after_ms,
    } = response
    else {
        return DirectoryError::Unavailable(format!("no answer to a search: {response:?}"));
    };
    match code {
        RefusalCode::RateLimited => DirectoryError::RateLimited { retry_after_ms },
        RefusalCode::Invalid => DirectoryError::Invalid(message),
        RefusalCode::AlreadyExists
        | RefusalCode::AddressTaken
        | RefusalCode::Stale
        | RefusalCode::NotRegistered
        | RefusalCode::Reserved
        | RefusalCode::NobodyOnline
        | RefusalCode::MailboxFull
        | RefusalCode::Unavailable
        | RefusalCode::Unknown => DirectoryError::Unavailable(message),
    }
}

fn random_id() -> MessageId {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the system has randomness");
    MessageId::new(bytes)
}

/// How many questions of each agent are under way. Bounded by [`MAX_SERVED`].
#[derive(Default)]
struct Askers(Mutex<BTreeMap<AgentId, usize>>);

/// One question under way.
struct Asking {
    agent: AgentId,
    askers: Arc<Askers>,
}

impl Askers {
    /// `None` if the agent has as many as it may.
    fn begin(self: &Arc<Self>, agent: AgentId) -> Option<Asking> {
        let mut askers = self.lock();
        let count = askers.get(&agent).copied().unwrap_or_default();
        if count >= MAX_SERVED_PER_AGENT {
            return None;
        }
        askers.insert(agent, count + 1);
        let askers = Arc::clone(self);
        Some(Asking { agent, askers })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgentId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut askers = self.askers.lock();
        if let Some(count) = askers.get_mut(&self.agent) {
            *count -= 1;
            if *count == 0 {
                askers.remove(&self.agent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_has_so_many_questions_under_way_and_no_more() {
        let askers = Arc::new(Askers::default());
        let [one, other] = [1, 2].map(|byte| AgentId::new([byte; 32]));
        let held: Vec<_> = (0..MAX_SERVED_PER_AGENT)
            .map(|_| askers.begin(one).unwrap())
            .collect();
        assert!(askers.begin(one).is_none());
        assert!(askers.begin(other).is_some());
        drop(held);
        assert!(askers.begin(one).is_some());
        assert!(askers.lock().is_empty());
    }
}
