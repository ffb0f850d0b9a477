//! The same for many members, some at a time.

use std::future::Future;

use tokio::task::JoinSet;

/// Members that are spoken to at a time: each is a dial and a stream.
const AT_A_TIME: usize = 64;

/// Runs all tasks, 64 at a time, and gives what they said, in the order in which they ended. One that panicked says nothing.
pub(super) async fn each<T>(tasks: impl IntoIterator<Item = T>) -> Vec<T::Output>
where
    T: Future<Output: Send + 'static> + Send + 'static,
{
    let mut waiting = tasks.into_iter();
    let (mut running, mut said) = (JoinSet::new(), vec![]);
    for task in waiting.by_ref().take(AT_A_TIME) {
        running.spawn(task);
    }
    while let Some(ended) = running.join_next().await {
        said.extend(ended);
        if let Some(task) = waiting.next() {
            running.spawn(task);
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn all_are_run_and_no_more_at_a_time_than_may_be() {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..200).map(|number| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                let now = running.fetch_add(1, Ordering::Relaxed) + 1;
                most.fetch_max(now, Ordering::Relaxed);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::Relaxed);
                assert!(number != 7, "as the test wants");
                number
            }
        });
        let mut said = each(tasks).await;
        said.sort_unstable();
        assert_eq!(said.len(), 199);
        assert_eq!(most.load(Ordering::Relaxed), AT_A_TIME);
    }
}
