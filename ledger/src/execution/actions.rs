//! What the gates and actions of one record do to the draft of its block.
//!
//! Each action reads all that it needs and decides before it writes, so a
//! record that is refused leaves nothing but its outcome and what it is charged.

use super::{BlockInput, BlockRecord, Draft};
use crate::budget::{is_breached, limits_of};
use crate::codes::Rejection;
use crate::envelope::{Action, AgentType, Content, Envelope, Sender};
use crate::gates::{check_content, check_role, check_scores, snr_of};
use crate::identity::{IdentityAction, IdentityUsage, KeyEntry, KeyState, identity_of};
use crate::inference::{Fate, InferenceCommit};
use crate::log::StorageError;
use crate::market::{Account, Books, Licence, MarketAction};
use crate::outcomes::OutcomeFlags;
use crate::plain::Family;
use crate::session::{
    ClosedSession, ParentRecord, SessionClose, SessionKey, Step, advance, check_parents, closed,
};
use alloc::collections::BTreeMap;
use bizra_types::committee::Committee;
use bizra_types::crypto::PublicKey;
use bizra_types::encoding::{Decode, Encode};

/// Why a record was not executed.
pub(super) enum Failure {
    /// A gate refused it: its outcome.
    Refused(Rejection),
    /// The store failed: no outcome.
    Storage(StorageError),
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// Whom a record is charged to.
pub(super) struct Payer {
    /// The identity of the sender's key.
    pub(super) identity: PublicKey,
    /// What it has used with this record.
    pub(super) usage: IdentityUsage,
}

impl Draft<'_> {
    /// Charges a record to the author of its batch; a refusal says that its room is used up.
    pub(super) fn charge_author(
        &mut self,
        record: &BlockRecord,
        block: &BlockInput<'_>,
    ) -> Result<Result<(), Rejection>, StorageError> {
        let author = record.author;
        let used = match self.authors.get(&author) {
            Some(usage) => *usage,
            None => self.read(Family::AuthorUsage, &author.0)?.unwrap_or_default(),
        };
        let charged = used.of_author(record.bytes.len(), block.timestamp, &self.parameters);
        Ok(charged.map(|usage| {
            self.authors.insert(author, usage);
        }))
    }

    /// Whether a validator needs no room for the record: it revokes a key that was registered, or
    /// is a say in governance, which must not end because others have filled the log. Either is
    /// bounded by the room of its own identity.
    pub(super) fn is_exempt(
        &self,
        envelope: &Envelope,
        committee: &Committee,
    ) -> Result<bool, StorageError> {
        let Sender { public_key, agent_type, .. } = &envelope.sender;
        match envelope.action() {
            Action::GovernancePropose | Action::GovernanceVote => {
                let is_member = committee.index_of(public_key).is_some();
                return Ok(*agent_type == AgentType::Sat && is_member);
            }
            Action::IdentityRevoke => {}
            _ => return Ok(false),
        }
        let entry = self.read::<KeyEntry>(Family::Key, &envelope.sender.public_key.0)?;
        Ok(entry.is_some_and(|entry| entry.state == KeyState::Valid))
    }

    /// The identity for which the sender's key speaks, charged with a record unless its digest was
    /// before; a refusal says that there is none, or that its room is used up.
    pub(super) fn payer(
        &self,
        envelope: &Envelope,
        size: usize,
        is_new: bool,
        block: &BlockInput<'_>,
    ) -> Result<Result<Payer, Rejection>, StorageError> {
        let (sender, action) = (&envelope.sender, envelope.action());
        let entry = self.read(Family::Key, &sender.public_key.0)?;
        let is_registration = action == Action::IdentityRegister;
        let (committee, parameters) = (block.committee, &self.parameters);
        let identity =
            match identity_of(sender, entry.as_ref(), is_registration, committee, parameters) {
                Ok(identity) => identity,
                Err(rejection) => return Ok(Err(rejection)),
            };
        let mut usage: IdentityUsage = self.read(Family::Usage, &identity.0)?.unwrap_or_default();
        if is_new && action != Action::IdentityRevoke {
            match usage.judged.of_identity(size, block.timestamp, &self.parameters) {
                Ok(judged) => usage.judged = judged,
                Err(rejection) => return Ok(Err(rejection)),
            }
        }
        Ok(Ok(Payer { identity, usage }))
    }

    /// Asks the gates that are left to execution, and does what the record says.
    pub(super) fn act(
        &mut self,
        envelope: &Envelope,
        identity: PublicKey,
        block: &BlockInput<'_>,
    ) -> Result<OutcomeFlags, Failure> {
        check_role(envelope, block.committee)?;
        check_scores(envelope, &self.parameters)?;
        self.policies.check(envelope)?;
        let fate = check_content(envelope, &self.parameters)?;
        match &envelope.content {
            Content::Inference(inference) => {
                let fate = fate.expect("FATE judges every inference");
                self.infer(envelope, inference, fate, identity, block)
            }
            Content::SessionClose(close) => self.close_session(close, identity, block),
            Content::Market(action) => self.trade(action, identity, block),
            Content::Identity(action) => self.identify(envelope, action, block),
            Content::Governance(action) => self.govern(envelope, action, block),
            Content::Release(attest) => self.attest(envelope.sender.public_key, attest, block),
            Content::Pattern(_) => unreachable!("check_content refuses what is no record"),
            Content::Elevation(elevation) => {
                self.elevate(envelope.sender.public_key, elevation, block)
            }
            Content::Evidence(evidence) => self.punish(envelope, evidence, block),
        }
    }

    /// Writes what authors have used: once in a block, not with each record.
    pub(super) fn write_authors(&mut self) {
        for (author, usage) in core::mem::take(&mut self.authors) {
            self.write(Family::AuthorUsage, &author.0, &usage);
        }
    }

    fn infer(
        &mut self,
        envelope: &Envelope,
        inference: &InferenceCommit,
        fate: Fate,
        owner: PublicKey,
        block: &BlockInput<'_>,
    ) -> Result<OutcomeFlags, Failure> {
        let key = SessionKey { owner, session_id: inference.session_id };
        let encoded_key = key.to_bytes();
        self.check_open(&encoded_key)?;
        let session = self.read(Family::Session, &encoded_key)?;
        check_parents(session.as_ref(), &inference.parents, inference.transition)?;
        let mut parents = Vec::with_capacity(inference.parents.len());
        for record in &inference.parents {
            let node = self.read(Family::SessionNode, record.as_bytes())?;
            parents.push(ParentRecord { record: *record, node });
        }
        let step = Step {
            record: envelope.digest,
            transition: inference.transition,
            height: block.height,
            timestamp: block.timestamp,
            ihsan: envelope.metadata.ihsan_score,
            snr: snr_of(envelope)?,
            fate,
            window: limits_of(inference).window,
        };
        let (session, node) = advance(key, session.as_ref(), &parents, &step)?;
        self.write(Family::Session, &encoded_key, &session);
        self.write(Family::SessionNode, envelope.digest.as_bytes(), &node);
        let is_breached = is_breached(inference, step.snr);
        Ok(if is_breached { OutcomeFlags::BUDGET } else { OutcomeFlags::default() })
    }

    fn close_session(
        &mut self,
        close: &SessionClose,
        owner: PublicKey,
        block: &BlockInput<'_>,
    ) -> Result<OutcomeFlags, Failure> {
        let key = SessionKey { owner, session_id: close.session_id }.to_bytes();
        self.check_open(&key)?;
        let session = self.read(Family::Session, &key)?;
        let entry = close.close(session.as_ref(), block.height)?;
        self.delete(Family::Session, &key);
        self.write(Family::ClosedSession, &key, &entry);
        Ok(OutcomeFlags::default())
    }

    fn trade(
        &mut self,
        action: &MarketAction,
        sender: PublicKey,
        block: &BlockInput<'_>,
    ) -> Result<OutcomeFlags, Failure> {
        let licence_key = action.licence_id().map(|id| id.0);
        let licence: Option<Licence> = match &licence_key {
            Some(key) => self.read(Family::Licence, key)?,
            None => None,
        };
        let mut accounts = BTreeMap::new();
        for key in [Some(sender), licence.map(|licence| licence.holder)].into_iter().flatten() {
            if let Some(account) = self.read::<Account>(Family::Account, &key.0)? {
                accounts.insert(key, account);
            }
        }
        let before = Books {
            market: self.read(Family::Market, &[])?.unwrap_or_default(),
            accounts,
            licence,
            holdings: None,
        };
        let mut after = before.clone();
        let mut resource = None;
        action.execute::<Failure>(sender, block.timestamp, &mut after, &self.parameters, |it| {
            resource = Some(it);
            Ok(self.read(Family::Holdings, &it.to_bytes())?.unwrap_or_default())
        })?;

        self.write(Family::Market, &[], &after.market);
        for (key, account) in &after.accounts {
            if before.accounts.get(key) != Some(account) {
                self.write(Family::Account, &key.0, account);
            }
        }
        if let Some(key) = licence_key {
            self.put(Family::Licence, &key, after.licence.map(|licence| licence.to_bytes()));
        }
        if let (Some(resource), Some(holdings)) = (resource, &after.holdings) {
            self.write(Family::Holdings, &resource.to_bytes(), holdings);
        }
        Ok(OutcomeFlags::default())
    }

    fn identify(
        &mut self,
        envelope: &Envelope,
        action: &IdentityAction,
        block: &BlockInput<'_>,
    ) -> Result<OutcomeFlags, Failure> {
        let sender = envelope.sender.public_key;
        let sender_entry = self.read(Family::Key, &sender.0)?;
        let (new_entry, new_usage) = match action {
            IdentityAction::Rotate { new_key, .. } => {
                (self.read(Family::Key, &new_key.0)?, self.read(Family::Usage, &new_key.0)?)
            }
            _ => (None, None),
        };
        let (own, new) = action.execute(
            sender,
            sender_entry.as_ref(),
            new_entry.as_ref(),
            new_usage.as_ref(),
            block.height,
        )?;
        self.write(Family::Key, &sender.0, &own);
        if let Some((key, entry)) = new {
            self.write(Family::Key, &key.0, &entry);
        }
        Ok(OutcomeFlags::default())
    }

    fn check_open(&self, key: &[u8]) -> Result<(), Failure> {
        match self.read::<ClosedSession>(Family::ClosedSession, key)? {
            Some(entry) => Err(closed(&entry).into()),
            None => Ok(()),
        }
    }

    /// An entry, decoded.
    pub(super) fn read<T: Decode>(
        &self,
        family: Family,
        key: &[u8],
    ) -> Result<Option<T>, StorageError> {
        self.plain(family, key, |entry| entry.map(|bytes| family.decode_entry(bytes)).transpose())?
    }

    pub(super) fn write(&mut self, family: Family, key: &[u8], value: &impl Encode) {
        self.put(family, key, Some(value.to_bytes()));
    }

    pub(super) fn delete(&mut self, family: Family, key: &[u8]) {
        self.put(family, key, None);
    }
}
