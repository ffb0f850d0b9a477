//! Records and locators: `Register`, `Locate`, `Deregister`.

use pilot_types::{AgentId, Hostname};
use pilot_wire::limits::{LOCATOR_LIFETIME, MAX_CANDIDATES, MAX_TAGS, RECORD_LIFETIME};
use pilot_wire::{Locator, Record, SignedBytes, check_capabilities};

use crate::asked::{Asked, Outcome, Refusal, check_lifetime};
use crate::changes::Changes;
use crate::message::{RefusalCode, Response};
use crate::rows::{AgentRow, LocatorRow, RecordRow};
use crate::store::Store;
use crate::verify::{LogFacts, Verify};

impl<S: Store, V: Verify> Asked<'_, S, V> {
    /// Plans `Register`. A record sent again unchanged writes nothing.
    pub(crate) fn register(
        &self,
        log: Vec<Vec<u8>>,
        record: SignedBytes,
    ) -> Result<Outcome, Refusal> {
        let old = self.store.agent(&self.from)?;
        if let Some(known) = old.as_ref().and_then(|row| self.same(row, &log, &record)) {
            return Ok(self.unchanged(self.registered(known)));
        }
        let facts = self.verify.log(&log).map_err(Refusal::invalid)?;
        if facts.agent != self.from {
            return Err(Refusal::invalid("the identity log is another agent's"));
        }
        if let Some(old) = &old {
            self.check_log_order(old, &facts, &log)?;
        }
        let (head, statement) = self.statement::<Record>(&log, &record)?;
        check_lifetime(&head, RECORD_LIFETIME)?;
        check_record(&statement)?;
        // Serials are compared among those of one key: a thief of the one before may have gone as high as he liked.
        let is_same_key = |row: &AgentRow| order_of(&row.facts) == order_of(&facts);
        if old
            .as_ref()
            .is_some_and(|row| is_same_key(row) && head.serial <= row.serial)
        {
            return Err(Refusal::stale(
                "a record with this or a higher serial is known",
            ));
        }
        let mut changes = self.changes();
        self.claim_address(old.as_ref(), &changes)?;
        if let Some(name) = &statement.hostname {
            self.claim_name(name, &mut changes)?;
        }
        let record = RecordRow {
            raw: record,
            not_after: head.not_after,
            hostname: statement.hostname,
            visibility: statement.visibility,
        };
        let response = self.registered(&record);
        let row = AgentRow {
            is_key_indexed: self.may_index(old.as_ref(), &facts)?,
            serial: head.serial,
            due: record.not_after,
            record: Some(record),
            // A locator is signed by the key of its day: readers would refuse it after a rotation.
            locator: old
                .as_ref()
                .filter(|row| row.facts == facts)
                .and_then(|row| row.locator.clone()),
            log,
            facts,
        };
        changes.put_agent(old.as_ref(), row);
        Ok(Outcome {
            response,
            changes,
            pushes: vec![],
        })
    }

    /// Plans `Locate`.
    pub(crate) fn locate(&self, locator: SignedBytes) -> Result<Outcome, Refusal> {
        let old = self.own_row()?;
        if old.live_record(self.now).is_none() {
            return Err(Refusal::new(RefusalCode::NotRegistered, "register first"));
        }
        if old
            .locator
            .as_ref()
            .is_some_and(|known| known.raw == locator)
        {
            return Ok(self.unchanged(Response::Located));
        }
        let (head, statement) = self.statement::<Locator>(&old.log, &locator)?;
        check_lifetime(&head, LOCATOR_LIFETIME)?;
        if statement.reflexive.len() > MAX_CANDIDATES {
            return Err(Refusal::invalid(format!(
                "more than {MAX_CANDIDATES} addresses"
            )));
        }
        let order = (statement.boot_counter, head.serial);
        if old
            .locator
            .as_ref()
            .is_some_and(|known| order <= known.order)
        {
            return Err(Refusal::stale("a later locator is known"));
        }
        let row = AgentRow {
            locator: Some(LocatorRow {
                raw: locator,
                order,
                not_after: head.not_after,
            }),
            ..old.clone()
        };
        let mut changes = self.changes();
        changes.put_agent(Some(&old), row);
        Ok(Outcome {
            response: Response::Located,
            changes,
            pushes: vec![],
        })
    }

    /// Plans `Deregister`. Log, address, serial and grants stay for the retention: a revocation must outlive the visit.
    pub(crate) fn deregister(&self) -> Result<Outcome, Refusal> {
        let mut outcome = self.unchanged(Response::Deregistered);
        let old = self.store.agent(&self.from)?;
        if let Some(old) = old.filter(|row| row.record.is_some()) {
            let due = self.now.plus(self.config.retention);
            outcome.changes.retire(&old, due);
        }
        Ok(outcome)
    }

    fn same<'r>(
        &self,
        row: &'r AgentRow,
        log: &[Vec<u8>],
        record: &SignedBytes,
    ) -> Option<&'r RecordRow> {
        row.live_record(self.now)
            .filter(|known| known.raw == *record && row.log == log)
    }

    fn registered(&self, record: &RecordRow) -> Response {
        let left = record.not_after.since(self.now).as_millis() / 2;
        Response::Registered {
            hostname: record.hostname.clone(),
            not_after: record.not_after,
            renew_after_ms: u64::try_from(left).unwrap_or(u64::MAX),
        }
    }

    /// The first agent with given 48 bits keeps them; a new one needs room.
    fn claim_address(&self, old: Option<&AgentRow>, changes: &Changes) -> Result<(), Refusal> {
        if old.is_some() {
            return Ok(());
        }
        let node = self.from.node();
        if node.is_reserved() {
            return Err(Refusal::invalid("the address is reserved"));
        }
        if self.store.node(node)?.is_some() {
            return Err(Refusal::new(
                RefusalCode::AddressTaken,
                format!("address {} is another agent's", self.from.address()),
            ));
        }
        if changes.totals().agents >= self.config.max_agents {
            let wait = std::time::Duration::from_secs(60);
            return Err(Refusal::rate_limited("the registry is full", wait));
        }
        Ok(())
    }

    /// A name belongs to whoever holds a valid record that claims it.
    fn claim_name(&self, name: &Hostname, changes: &mut Changes) -> Result<(), Refusal> {
        if name.is_reserved() {
            return Err(Refusal::new(
                RefusalCode::Reserved,
                format!("hostname {name} belongs to a service"),
            ));
        }
        let Some(holder) = self.other_holder(name)? else {
            return Ok(());
        };
        match holder.live_record(self.now) {
            Some(_) => Err(Refusal::new(
                RefusalCode::AlreadyExists,
                format!("hostname {name} is taken"),
            )),
            None => {
                changes.retire(&holder, holder.due.plus(self.config.retention));
                Ok(())
            }
        }
    }

    fn other_holder(&self, name: &Hostname) -> Result<Option<AgentRow>, Refusal> {
        let holder: Option<AgentId> = self.store.hostname(name)?;
        match holder.filter(|holder| *holder != self.from) {
            Some(holder) => Ok(self.store.agent(&holder)?),
            None => Ok(None),
        }
    }

    /// Order is (generation, sequence); within a generation a log only grows, and a higher one follows the known one's anchor.
    fn check_log_order(
        &self,
        old: &AgentRow,
        facts: &LogFacts,
        log: &[Vec<u8>],
    ) -> Result<(), Refusal> {
        if order_of(facts) < order_of(&old.facts) {
            return Err(Refusal::stale("a longer identity log is known"));
        }
        let follows = if facts.generation == old.facts.generation {
            log.starts_with(&old.log)
        } else {
            self.verify.follows(&old.log, log)
        };
        if follows {
            return Ok(());
        }
        Err(Refusal::invalid(
            "the identity log contradicts the one that is known: recover the identity",
        ))
    }

    fn may_index(&self, old: Option<&AgentRow>, facts: &LogFacts) -> Result<bool, Refusal> {
        if let Some(old) = old.filter(|old| old.facts.sign_key == facts.sign_key) {
            return Ok(old.is_key_indexed);
        }
        Ok(self.store.key(&facts.sign_key)?.is_none())
    }
}

/// Keys of one agent are ordered by it.
const fn order_of(facts: &LogFacts) -> (u32, u32) {
    (facts.generation, facts.sequence)
}

fn check_record(record: &Record) -> Result<(), Refusal> {
    if record.tags.len() > MAX_TAGS {
        return Err(Refusal::invalid(format!("more than {MAX_TAGS} tags")));
    }
    check_capabilities(&record.capabilities).map_err(|error| Refusal::invalid(error.to_string()))
}
