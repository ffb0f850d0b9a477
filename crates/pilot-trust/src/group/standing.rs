//! Who is a member, as it follows from the set and the time.

use pilot_types::{AgentId, UnixTime};
use pilot_wire::{RemovalCause, Role};

use super::set::{GroupSet, Held, Says};

/// How far an admin's statements count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AdminTerm {
    /// It is one.
    Holds,
    /// It was one; removals with lower serials stay.
    EndedAt(u64),
}

impl GroupSet {
    /// What an agent is in the group now.
    #[must_use]
    pub fn role(&self, now: UnixTime, member: &AgentId) -> Option<Role> {
        let root = self.root(member).filter(|held| held.is_live(now));
        // Only the group's key speaks of owners and admins.
        if let Some(Held {
            says: Says::Is(role @ (Role::Owner | Role::Admin)),
            ..
        }) = root
        {
            return Some(*role);
        }
        let removed = self.removal(now, member).map(|(serial, _)| serial);
        let is_above = |held: &Held| removed.is_none_or(|removed| held.serial > removed);
        let counts = |(signer, held): &(&AgentId, &Held)| {
            let is_certificate = matches!(held.says, Says::Is(_));
            is_certificate && held.is_live(now) && is_above(held) && self.may_add(now, signer)
        };
        self.of(member).find(counts).map(|_| Role::Member)
    }

    /// The newest removal of an agent that counts, whether or not a certificate came after it.
    #[must_use]
    pub fn removal(&self, now: UnixTime, member: &AgentId) -> Option<(u64, RemovalCause)> {
        let counted = self.of(member).filter_map(|(signer, held)| {
            let Says::Removed(cause) = held.says else {
                return None;
            };
            let counts = held.is_live(now) && self.may_remove(now, signer, held.serial);
            counts.then_some((held.serial, cause))
        });
        counted.max_by_key(|(serial, _)| *serial)
    }

    /// All members and what they are, by id.
    pub fn members(&self, now: UnixTime) -> impl Iterator<Item = (AgentId, Role)> {
        self.agents()
            .filter_map(move |agent| Some((agent, self.role(now, &agent)?)))
    }

    /// When an agent ceases to be a member, unless it is certified anew.
    #[must_use]
    pub fn member_until(&self, now: UnixTime, member: &AgentId) -> Option<UnixTime> {
        self.role(now, member)?;
        let root = self.root(member).filter(|held| held.is_live(now));
        let certificates = self.of(member).filter(|(signer, held)| {
            let is_certificate = matches!(held.says, Says::Is(_));
            is_certificate && (self.may_add(now, signer) || root.is_some_and(|root| root == *held))
        });
        certificates.map(|(_, held)| held.not_after).max()
    }

    /// The highest serial that anybody used for an agent.
    pub(super) fn highest(&self, member: &AgentId) -> u64 {
        let serials = self.of(member).map(|(_, held)| held.serial);
        serials.max().unwrap_or(0)
    }

    /// Members that are members only because an agent says so, and agents that only it removed.
    pub(super) fn hangs_on(&self, now: UnixTime, admin: &AgentId) -> (Vec<AgentId>, Vec<AgentId>) {
        // What it said of itself goes with it.
        let said = |agent: &AgentId| agent != admin && self.held.contains_key(&(*agent, *admin));
        let agents = self.agents().filter(said);
        agents.partition(|agent| self.role(now, agent).is_some())
    }

    /// What the group's own key says of an agent.
    fn root(&self, member: &AgentId) -> Option<&Held> {
        self.held.get(&(*member, self.id().signer()))
    }

    fn may_add(&self, now: UnixTime, signer: &AgentId) -> bool {
        *signer == self.id().signer() || self.term(now, signer) == Some(AdminTerm::Holds)
    }

    fn may_remove(&self, now: UnixTime, signer: &AgentId, serial: u64) -> bool {
        if *signer == self.id().signer() {
            return true;
        }
        match self.term(now, signer) {
            Some(AdminTerm::Holds) => true,
            Some(AdminTerm::EndedAt(end)) => serial < end,
            None => false,
        }
    }

    fn term(&self, now: UnixTime, admin: &AgentId) -> Option<AdminTerm> {
        let known = self.admins.get(admin)?;
        let root = self.root(admin).filter(|held| held.is_live(now));
        Some(match root {
            Some(held) if held.says == Says::Is(Role::Admin) => AdminTerm::Holds,
            Some(held) if held.serial > known.serial => AdminTerm::EndedAt(held.serial),
            Some(_) | None => AdminTerm::EndedAt(known.not_after.as_millis()),
        })
    }
}
