//! Events of groups: each member has a broker for each of its groups, to which the others publish.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use pilot::{GroupId, Node};
use pilot_apps::Broker;

/// The brokers, of groups that this agent is in and no others: as many as it may be in, each bounded by itself.
#[derive(Default)]
pub(crate) struct GroupBrokers(Mutex<BTreeMap<GroupId, Arc<Broker>>>);

impl GroupBrokers {
    /// The broker of a group; `None` if this agent is not in it.
    pub(crate) fn of(&self, node: &Node, group: GroupId) -> Option<Arc<Broker>> {
        let groups = node.groups();
        let is_in = |group: &GroupId| groups.iter().any(|info| info.group == *group);
        let mut brokers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever left a group hears nothing of it any more.
        brokers.retain(|group, _| is_in(group));
        is_in(&group).then(|| Arc::clone(brokers.entry(group).or_default()))
    }
}
