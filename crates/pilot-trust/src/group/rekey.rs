//! What an admin's change of keys means for the groups that it looks after.

use pilot_types::{AgentId, UnixTime};
use pilot_wire::limits::MAX_GROUP_LOG;
use pilot_wire::{AdminProof, RemovalCause, Role, SignedBytes};

use super::errors::GroupError;
use super::set::{GroupSet, Says};
use crate::identity::Identity;

impl GroupSet {
    /// With other keys an admin shows its log, so that others can check what it signs from now on, and signs anew what it said with the keys
    /// before and still counts: who reads it for the first time has the new log alone. After a recovery it signs nothing anew, because a thief
    /// may have said it.
    pub(crate) fn sign_again(
        &mut self,
        now: UnixTime,
        signer: &Identity,
    ) -> Result<Vec<SignedBytes>, GroupError> {
        let us = signer.agent();
        let Some(admin) = self.admins.get(&us) else {
            return Ok(vec![]);
        };
        let (known, log) = (&admin.log, signer.verified());
        let len: usize = log.log().entries().iter().map(Vec::len).sum();
        if known == log || len > MAX_GROUP_LOG {
            return Ok(vec![]);
        }
        let is_rotation = known.generation() == log.generation();
        let proof = AdminProof {
            log: log.log().entries().to_vec(),
            certificate: admin.certificate.clone(),
        };
        self.take_admin(&proof)?;
        if !is_rotation || !self.may_sign(now, &us) {
            return Ok(vec![]);
        }
        let mut fresh = vec![];
        for (member, says) in self.said_by(&us) {
            match says {
                Says::Is(_) if self.role(now, &member) == Some(Role::Member) => {
                    fresh.extend(self.certify(now, signer, (member, Role::Member), None)?);
                }
                Says::Removed(cause) if self.role(now, &member).is_none() => {
                    fresh.extend(self.remove_again(now, signer, (member, cause))?);
                }
                Says::Is(_) | Says::Removed(_) => {}
            }
        }
        Ok(fresh)
    }

    fn said_by(&self, signer: &AgentId) -> Vec<(AgentId, Says)> {
        let held = self.held.iter().filter(|((_, by), _)| by == signer);
        held.map(|((member, _), held)| (*member, held.says))
            .collect()
    }

    fn remove_again(
        &mut self,
        now: UnixTime,
        signer: &Identity,
        removal: (AgentId, RemovalCause),
    ) -> Result<Vec<SignedBytes>, GroupError> {
        let raw = self.sign_removal(now, signer, removal);
        self.insert(now, &raw)?;
        Ok(vec![raw])
    }
}
