//! What a rendezvous makes of groups: it checks what it is given with the groups' own keys.

use pilot_registry::{GroupFacts, GroupMember, GroupPart};
use pilot_trust::GroupSet;
use pilot_types::{AgentId, UnixTime};
use pilot_wire::{GroupBundle, decode_postcard, encode_postcard};

pub(crate) fn merge(
    state: Option<&[u8]>,
    bundle: &GroupBundle,
    now: UnixTime,
) -> Result<GroupFacts, String> {
    let set = match state {
        None => GroupSet::verify(now, bundle).map_err(|error| error.to_string())?,
        Some(state) => {
            let damaged = || "the stored group is damaged".to_owned();
            let mut set = read(state).ok_or_else(damaged)?;
            set.merge(now, bundle).map_err(|error| error.to_string())?;
            set
        }
    };
    Ok(facts(&set, now))
}

pub(crate) fn part(state: &[u8], part: GroupPart) -> Option<(GroupBundle, Option<AgentId>)> {
    let set = read(state)?;
    Some(match part {
        GroupPart::Policy => {
            let bundle = GroupBundle {
                admins: vec![],
                ..set.with(vec![])
            };
            (bundle, None)
        }
        GroupPart::About(agent) => (set.about(&agent), None),
        GroupPart::After(after) => set.part(after),
    })
}

fn read(state: &[u8]) -> Option<GroupSet> {
    decode_postcard(state, "a group").ok()
}

fn facts(set: &GroupSet, now: UnixTime) -> GroupFacts {
    let members = set.members(now).map(|(agent, role)| GroupMember {
        agent,
        role,
        until: set.member_until(now, &agent).unwrap_or_default(),
    });
    GroupFacts {
        group: set.id(),
        name: set.policy().name.clone(),
        state: encode_postcard(set),
        members: members.collect(),
        removed: set.removed(now).collect(),
    }
}
