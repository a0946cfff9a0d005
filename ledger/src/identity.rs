//! Identities of submitters: keys that are registered, replaced and revoked.
//!
//! | action | `payload.data` | does |
//! |---|---|---|
//! | `identity/register` | – | registers the sender's key |
//! | `identity/rotate` | `new_key`, `proof` | a new key takes the place of the sender's |
//! | `identity/revoke` | `key` | the sender's key is worth nothing any more |
//!
//! An identity is named by its first key. Whatever belongs to it, sessions and
//! accounts, belongs to that name, so it stays when the key changes. A key that
//! nobody registered is an identity of its own, with the same name after its
//! registration; a parameter says whether it may submit. `proof` is the new
//! key's signature of [`rotation_message`]: without it anybody could take an
//! unregistered key of somebody else into an identity, and revoke it. A key
//! that was replaced or revoked never counts again.
//!
//! A validator of the committee speaks by its seat, whatever is known of its key as that of an
//! identity; its bytes are charged to the key. Else whoever governs identities could silence the
//! validators that govern them.
//!
//! The log is for ever, and a refused record leaves an outcome, so the bytes
//! are limited that one identity, or the batches of one validator, may have
//! judged in one governance epoch, whatever comes of them:
//! - The validator is charged for each record of its batches, also for copies
//!   and for those with a bad signature.
//! - The identity is charged once for each digest, when it is judged first.
//!   Charged each time, anybody who holds one refused record of somebody else
//!   could use up the sender's room with it. A key that speaks for no identity
//!   charges none.
//! - Whose room is used up has its records refused, and they leave no outcome
//!   in the ledger.
//! - A revocation is exempt from the room of the identity: whoever has stolen
//!   a key could otherwise use it up and keep the key. That of a registered key
//!   is exempt from the validator's too; there are no more of these than
//!   registrations, which are charged.

use crate::codes::{Code, Rejection};
use crate::envelope::{Action, AgentType, Envelope, Sender};
use crate::log::StorageError;
use crate::parameters::LedgerParameters;
use crate::plain::Family;
use bizra_types::committee::Committee;
use bizra_types::crypto::{PublicKey, Signature};
use bizra_types::encode_fields;
use bizra_types::encoding::{Decode, DecodeError, Encode, Reader};
use bizra_types::hash::{ChainId, Context, Hash};
use bizra_types::json::{Member, SchemaError};
use bizra_types::numbers::{Height, TimestampMs};

/// `payload.data` of an `identity/…` action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityAction {
    /// `identity/register`
    Register,
    /// `identity/rotate`
    Rotate {
        /// The key that takes the place of the sender's.
        new_key: PublicKey,
        /// Its signature of [`rotation_message`].
        proof: Signature,
    },
    /// `identity/revoke`
    Revoke {
        /// The key to revoke.
        key: PublicKey,
    },
}

/// Value of [`Family::Key`](crate::plain::Family::Key), by the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// The first key of the identity.
    pub identity: PublicKey,
    /// What the key is worth.
    pub state: KeyState,
    /// The block since which it is so.
    pub height: Height,
}

/// What a key is worth; the numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum KeyState {
    /// It speaks for its identity.
    Valid = 1,
    /// Another one took its place.
    Replaced = 2,
    /// It was revoked.
    Revoked = 3,
}

/// Value of [`Family::Usage`], by identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdentityUsage {
    /// What it has had judged.
    pub judged: Usage,
    /// Its records in the log.
    pub logged: u64,
}

/// Value of [`Family::AuthorUsage`], by the validator's key, and part of [`IdentityUsage`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The governance epoch of the latest record.
    pub epoch: u64,
    /// Bytes of records that were judged in it.
    pub bytes: u64,
}

/// What the ledger says of the sender of a record, and of the validator that would put it into
/// a batch: what admission needs to refuse early what execution would refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    key: Option<KeyEntry>,
    identity: IdentityUsage,
    author: Usage,
    waiting_bytes: usize,
}

impl IdentityAction {
    /// Reads `payload.data` of `identity/register`.
    ///
    /// # Errors
    /// When it has a member.
    pub fn read_register(data: &Member<'_>) -> Result<Self, SchemaError> {
        data.object()?.finish()?;
        Ok(Self::Register)
    }

    /// Reads `payload.data` of `identity/rotate`.
    ///
    /// # Errors
    /// When a member is missing, unknown or of another form.
    pub fn read_rotate(data: &Member<'_>) -> Result<Self, SchemaError> {
        let mut object = data.object()?;
        let new_key = PublicKey(object.take("new_key")?.hex()?);
        let proof = Signature(object.take("proof")?.hex()?);
        object.finish()?;
        Ok(Self::Rotate { new_key, proof })
    }

    /// Reads `payload.data` of `identity/revoke`.
    ///
    /// # Errors
    /// When a member is missing, unknown or of another form.
    pub fn read_revoke(data: &Member<'_>) -> Result<Self, SchemaError> {
        let mut object = data.object()?;
        let key = PublicKey(object.take("key")?.hex()?);
        object.finish()?;
        Ok(Self::Revoke { key })
    }

    /// Whether a personal agent may ask for it: only the own key is revoked.
    ///
    /// # Errors
    /// [`Code::Role`] when the key to revoke is another's.
    pub fn check(&self, sender: PublicKey) -> Result<(), Rejection> {
        match *self {
            Self::Revoke { key } if key != sender => {
                let detail = "must be the sender's own key; others are revoked by governance";
                Err(Rejection::new(Code::Role, "payload.data.key", detail))
            }
            _ => Ok(()),
        }
    }

    /// The entries to set: of the sender's key, and of the new one. `sender_entry` and
    /// `new_entry` are what there is, and the sender's key is neither replaced nor revoked;
    /// `new_usage` is that of the identity with the name of the new key.
    ///
    /// # Errors
    /// [`Code::State`] when a key is registered that is so already, or replaced that is not, or
    /// the new key is known or has records of its own, whose sessions and account would be
    /// nobody's any more.
    pub fn execute(
        &self,
        sender: PublicKey,
        sender_entry: Option<&KeyEntry>,
        new_entry: Option<&KeyEntry>,
        new_usage: Option<&IdentityUsage>,
        height: Height,
    ) -> Result<(KeyEntry, Option<(PublicKey, KeyEntry)>), Rejection> {
        let identity = sender_entry.map_or(sender, |entry| entry.identity);
        let entry = |state| KeyEntry { identity, state, height };
        match *self {
            Self::Register if sender_entry.is_some() => {
                Err(refused("sender.public_key", "must be new, but is registered already"))
            }
            Self::Register => Ok((entry(KeyState::Valid), None)),
            Self::Rotate { .. } if sender_entry.is_none() => {
                Err(refused("sender.public_key", "must be registered to be replaced"))
            }
            Self::Rotate { .. } if new_entry.is_some() => {
                Err(refused("payload.data.new_key", "must be new, but was registered before"))
            }
            Self::Rotate { .. } if new_usage.is_some_and(|usage| usage.logged > 0) => {
                Err(refused("payload.data.new_key", "must be new, but has records in the log"))
            }
            Self::Rotate { new_key, .. } => {
                Ok((entry(KeyState::Replaced), Some((new_key, entry(KeyState::Valid)))))
            }
            Self::Revoke { .. } => Ok((entry(KeyState::Revoked), None)),
        }
    }
}

/// What the new key signs, as raw bytes, to take the place of the old one.
#[must_use]
pub fn rotation_message(chain_id: &ChainId, old_key: &PublicKey, new_key: &PublicKey) -> Hash {
    Context::KeyRotation.hash(&[chain_id.as_bytes(), &old_key.0, &new_key.0])
}

/// The identity for which a sender speaks, where `entry` is that of its key; `is_registration` if
/// the record registers it.
///
/// # Errors
/// [`Code::State`] when it speaks for none.
pub fn identity_of(
    sender: &Sender,
    entry: Option<&KeyEntry>,
    is_registration: bool,
    committee: &Committee,
    parameters: &LedgerParameters,
) -> Result<PublicKey, Rejection> {
    let key = sender.public_key;
    if sender.agent_type == AgentType::Sat && committee.index_of(&key).is_some() {
        return Ok(key);
    }
    let Some(entry) = entry else {
        if parameters.registered_only == 1 && !is_registration {
            let detail = "must be registered (identity/register) before it submits";
            return Err(refused("sender.public_key", detail));
        }
        return Ok(key);
    };
    let verb = match entry.state {
        KeyState::Valid => return Ok(entry.identity),
        KeyState::Replaced => "replaced",
        KeyState::Revoked => "revoked",
    };
    let detail = format!("must be a valid key, but was {verb} at height {}", entry.height);
    Err(refused("sender.public_key", detail))
}

impl Usage {
    /// The usage of an identity with a record of so many bytes.
    ///
    /// # Errors
    /// [`Code::State`] when it has no room left in this epoch.
    pub fn of_identity(
        self,
        size: usize,
        now: TimestampMs,
        parameters: &LedgerParameters,
    ) -> Result<Self, Rejection> {
        let limit = parameters.identity_bytes_max;
        self.with(size, now, limit, parameters).map_err(|bytes| {
            let detail = format!(
                "may have at most {limit} bytes judged in a governance epoch, and this would make \
                 {bytes}"
            );
            refused("sender.public_key", detail)
        })
    }

    /// The usage of the author of a batch with a record of so many bytes.
    ///
    /// # Errors
    /// [`Code::State`] when it has no room left in this epoch.
    pub fn of_author(
        self,
        size: usize,
        now: TimestampMs,
        parameters: &LedgerParameters,
    ) -> Result<Self, Rejection> {
        let limit = parameters.author_bytes_max;
        self.with(size, now, limit, parameters).map_err(|bytes| {
            let detail = format!(
                "must go through another validator, because the batches of this one may have \
                 {limit} bytes in a governance epoch, and this would make {bytes}"
            );
            refused("", detail)
        })
    }

    /// Adds a record, or says how many bytes would be too many.
    fn with(
        self,
        size: usize,
        now: TimestampMs,
        limit: u64,
        parameters: &LedgerParameters,
    ) -> Result<Self, u64> {
        let epoch = now.get() / parameters.governance_epoch_ms;
        let used = if self.epoch == epoch { self.bytes } else { 0 };
        let bytes = used.saturating_add(size as u64);
        if bytes > limit { Err(bytes) } else { Ok(Self { epoch, bytes }) }
    }
}

impl Standing {
    /// Reads it through `plain`; `author` is the validator, if there is one, and
    /// `waiting_bytes` are in its lane and not judged yet.
    ///
    /// # Errors
    /// When `plain` fails, or an entry is damaged.
    pub fn read(
        sender: PublicKey,
        author: Option<PublicKey>,
        waiting_bytes: usize,
        plain: impl Fn(Family, &[u8]) -> Result<Option<Vec<u8>>, StorageError>,
    ) -> Result<Self, StorageError> {
        let key: Option<KeyEntry> = read_entry(Family::Key, sender, &plain)?;
        let identity = key.map_or(sender, |entry| entry.identity);
        let author = match author {
            Some(author) => read_entry(Family::AuthorUsage, author, &plain)?,
            None => None,
        };
        Ok(Self {
            key,
            identity: read_entry(Family::Usage, identity, &plain)?.unwrap_or_default(),
            author: author.unwrap_or_default(),
            waiting_bytes,
        })
    }

    /// Whether key and quotas would let a record of so many bytes pass, in the era of `committee`.
    ///
    /// # Errors
    /// [`Code::State`] when the key speaks for no identity, [`Code::Rate`] when a quota is used
    /// up.
    pub fn check(
        &self,
        envelope: &Envelope,
        size: usize,
        now: TimestampMs,
        committee: &Committee,
        parameters: &LedgerParameters,
    ) -> Result<(), Rejection> {
        let (sender, action) = (&envelope.sender, envelope.action());
        let is_registration = action == Action::IdentityRegister;
        identity_of(sender, self.key.as_ref(), is_registration, committee, parameters)?;
        let rate = |rejection| Rejection { code: Code::Rate, ..rejection };
        let is_revocation = action == Action::IdentityRevoke;
        if !is_revocation {
            self.identity.judged.of_identity(size, now, parameters).map_err(rate)?;
        }
        if !(is_revocation && self.key.is_some()) {
            let size = size.saturating_add(self.waiting_bytes);
            self.author.of_author(size, now, parameters).map_err(rate)?;
        }
        Ok(())
    }
}

fn read_entry<T: Decode>(
    family: Family,
    key: PublicKey,
    plain: impl Fn(Family, &[u8]) -> Result<Option<Vec<u8>>, StorageError>,
) -> Result<Option<T>, StorageError> {
    plain(family, &key.0)?.map(|bytes| family.decode_entry(&bytes)).transpose()
}

fn refused(member: &str, detail: impl Into<String>) -> Rejection {
    Rejection::new(Code::State, member, detail)
}

impl Encode for KeyState {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
}

impl Decode for KeyState {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            1 => Ok(Self::Valid),
            2 => Ok(Self::Replaced),
            3 => Ok(Self::Revoked),
            other => Err(DecodeError::Invalid { what: "state of a key", value: other.into() }),
        }
    }
}

encode_fields!(KeyEntry { identity, state, height });
encode_fields!(IdentityUsage { judged, logged });
encode_fields!(Usage { epoch, bytes });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Envelope;
    use crate::testing::{committee, public, signed};

    fn entry(identity: u8, state: KeyState) -> KeyEntry {
        KeyEntry { identity: public(identity), state, height: Height::new(4) }
    }

    #[test]
    fn only_the_own_key_is_revoked() {
        let revoke = IdentityAction::Revoke { key: public(1) };
        assert_eq!(revoke.check(public(1)), Ok(()));
        assert_eq!(
            revoke.check(public(2)).expect_err("another's").to_string(),
            "ROLE: `payload.data.key` must be the sender's own key; others are revoked by \
             governance"
        );
        assert_eq!(IdentityAction::Register.check(public(1)), Ok(()));
    }

    #[test]
    fn each_action_sets_its_entries() {
        let valid = entry(9, KeyState::Valid);
        let at = |state| KeyEntry { height: Height::new(7), ..entry(9, state) };
        let own = |state| KeyEntry { identity: public(1), ..at(state) };
        let execute = |action: IdentityAction, sender_entry, new_entry| {
            action.execute(public(1), sender_entry, new_entry, None, Height::new(7))
        };
        let rotate = IdentityAction::Rotate { new_key: public(2), proof: Signature([0; 64]) };
        let used = IdentityUsage { logged: 1, ..IdentityUsage::default() };
        let revoke = IdentityAction::Revoke { key: public(1) };
        let register = IdentityAction::Register;
        assert_eq!(execute(register, None, None), Ok((own(KeyState::Valid), None)));
        assert_eq!(
            execute(rotate, Some(&valid), None),
            Ok((at(KeyState::Replaced), Some((public(2), at(KeyState::Valid)))))
        );
        assert_eq!(execute(revoke, Some(&valid), None), Ok((at(KeyState::Revoked), None)));
        assert_eq!(execute(revoke, None, None), Ok((own(KeyState::Revoked), None)));
        for (result, sentence) in [
            (
                execute(register, Some(&valid), None),
                "STATE: `sender.public_key` must be new, but is registered already",
            ),
            (
                execute(rotate, None, None),
                "STATE: `sender.public_key` must be registered to be replaced",
            ),
            (
                execute(rotate, Some(&valid), Some(&valid)),
                "STATE: `payload.data.new_key` must be new, but was registered before",
            ),
            (
                rotate.execute(public(1), Some(&valid), None, Some(&used), Height::new(7)),
                "STATE: `payload.data.new_key` must be new, but has records in the log",
            ),
        ] {
            assert_eq!(result.expect_err(sentence).to_string(), sentence);
        }
    }

    #[test]
    fn a_key_speaks_for_its_identity_while_it_is_valid() {
        let open = LedgerParameters::default();
        let strict = LedgerParameters { registered_only: 1, ..open };
        let validators = committee([5]);
        let sender = |agent_type, seed| Sender {
            agent_type,
            agent_id: "agent".into(),
            public_key: public(seed),
        };
        let of = |entry: Option<KeyEntry>, is_registration, parameters| {
            let sender = sender(AgentType::Pat, 1);
            identity_of(&sender, entry.as_ref(), is_registration, &validators, parameters)
        };
        // A validator speaks by its seat, and nobody else who says to be one.
        let revoked = entry(9, KeyState::Revoked);
        for (agent_type, seed, expected) in
            [(AgentType::Sat, 5, true), (AgentType::Pat, 5, false), (AgentType::Sat, 6, false)]
        {
            let sender = sender(agent_type, seed);
            for entry in [None, Some(&revoked)] {
                let identity = identity_of(&sender, entry, false, &validators, &strict);
                assert_eq!(identity.ok(), expected.then(|| public(seed)));
            }
        }
        assert_eq!(of(None, false, &open), Ok(public(1)));
        assert_eq!(of(None, true, &strict), Ok(public(1)));
        assert_eq!(of(Some(entry(9, KeyState::Valid)), false, &strict), Ok(public(9)));
        for (entry, sentence) in [
            (None, "must be registered (identity/register) before it submits"),
            (
                Some(entry(9, KeyState::Replaced)),
                "must be a valid key, but was replaced at height 4",
            ),
            (Some(entry(9, KeyState::Revoked)), "must be a valid key, but was revoked at height 4"),
        ] {
            let rejection = of(entry, false, &strict).expect_err(sentence);
            assert_eq!(rejection.to_string(), format!("STATE: `sender.public_key` {sentence}"));
        }
    }

    #[test]
    fn the_bytes_of_an_epoch_are_limited() {
        let parameters = LedgerParameters {
            identity_bytes_max: 100_000,
            author_bytes_max: 50_000,
            governance_epoch_ms: 3_600_000,
            ..LedgerParameters::default()
        };
        let at = |usage: Usage, size, hour: u64| {
            usage.of_identity(size, TimestampMs::new(hour * 3_600_000 + 5), &parameters)
        };
        let first = at(Usage::default(), 60_000, 3).expect("there is room");
        assert_eq!(first, Usage { epoch: 3, bytes: 60_000 });
        let full = at(first, 40_000, 3).expect("there is room");
        assert_eq!(
            at(full, 1, 3).expect_err("it is full").to_string(),
            "STATE: `sender.public_key` may have at most 100000 bytes judged in a governance \
             epoch, and this would make 100001"
        );
        assert_eq!(at(full, 1, 4), Ok(Usage { epoch: 4, bytes: 1 }));
        let now = TimestampMs::new(3 * 3_600_000);
        assert_eq!(
            first.of_author(1, now, &parameters).expect_err("it is full").to_string(),
            "STATE: the record must go through another validator, because the batches of this \
             one may have 50000 bytes in a governance epoch, and this would make 60001"
        );
    }

    #[test]
    fn admission_knows_key_and_quotas() {
        let parameters = LedgerParameters { registered_only: 1, ..LedgerParameters::default() };
        let now = TimestampMs::new(7);
        let envelope = Envelope::parse_canonical(&signed(7, 1)).expect("the form is right");
        let full = |bytes| Usage { epoch: 0, bytes };
        let (identity_max, author_max) =
            (parameters.identity_bytes_max, parameters.author_bytes_max);
        let read = |state: Option<KeyState>, identity: u64, author: u64, waiting_bytes| {
            let plain = |family, key: &[u8]| {
                Ok(match family {
                    Family::Key if key == public(7).0 => state.map(|it| entry(9, it).to_bytes()),
                    Family::Usage if key == public(9).0 => {
                        Some(IdentityUsage { judged: full(identity), logged: 1 }.to_bytes())
                    }
                    Family::AuthorUsage if key == public(200).0 => Some(full(author).to_bytes()),
                    _ => None,
                })
            };
            Standing::read(public(7), Some(public(200)), waiting_bytes, plain).expect("undamaged")
        };
        let validators = committee([200]);
        let check =
            |standing: Standing| standing.check(&envelope, 10, now, &validators, &parameters);
        let valid = Some(KeyState::Valid);
        assert_eq!(check(read(valid, identity_max - 10, author_max - 10, 0)), Ok(()));
        for (standing, code, member) in [
            (read(None, 0, 0, 0), Code::State, "sender.public_key"),
            (read(Some(KeyState::Replaced), 0, 0, 0), Code::State, "sender.public_key"),
            (read(valid, identity_max - 9, 0, 0), Code::Rate, "sender.public_key"),
            (read(valid, 0, author_max - 9, 0), Code::Rate, ""),
            (read(valid, 0, author_max - 10, 1), Code::Rate, ""),
        ] {
            let rejection = check(standing).expect_err("it would be refused");
            assert_eq!((rejection.code, rejection.member.as_str()), (code, member));
        }
        let damaged = Standing::read(public(7), None, 0, |_, _| Ok(Some(vec![1])));
        assert_eq!(
            damaged.expect_err("a damaged entry").to_string(),
            "the ledger's storage failed: an entry of the Key family ends after 1 bytes where 32 \
             more are needed"
        );
    }

    #[test]
    fn entries_have_one_encoding() {
        for state in [KeyState::Valid, KeyState::Replaced, KeyState::Revoked] {
            let entry = entry(3, state);
            assert_eq!(KeyEntry::from_bytes(&entry.to_bytes()), Ok(entry));
        }
        let mut bytes = entry(3, KeyState::Valid).to_bytes();
        bytes[32] = 4;
        assert_eq!(
            KeyEntry::from_bytes(&bytes),
            Err(DecodeError::Invalid { what: "state of a key", value: 4 })
        );
        let usage = IdentityUsage { judged: Usage { epoch: 1, bytes: 2 }, logged: 3 };
        assert_eq!(IdentityUsage::from_bytes(&usage.to_bytes()), Ok(usage));
    }
}
