//! Governance: the validators change the rules, and who they are, by votes.
//!
//! | action | `payload.data` | does |
//! |---|---|---|
//! | `governance/propose` | `procedure`, `change` | opens a proposal, which has the name of its record |
//! | `governance/vote` | `proposal`, `choice` | casts a ballot, in place of the sender's earlier one |
//! | `release/attest` | `release`, `artefacts_root`, `rego_hash`, `infrastructure_hash` | says what a release consists of |
//!
//! | `change.kind` | its other members | once enacted |
//! |---|---|---|
//! | `parameter` | `name`, `value` | the parameter has the value |
//! | `policy` | `name`, `rego` | the policy is the one in force; those before it stay valid for `policy_grace_ms` |
//! | `committee` | `put`, `remove` | the block is the last of its era, and the next has this committee |
//! | `version` | `version`, `height` | blocks from the height on follow the next protocol version |
//! | `revocation` | `key` | the key speaks for no identity any more |
//!
//! **Time.** A proposal of a block at height h is deliberated for d blocks, then voted on for v,
//! both as the parameters of its procedure say at h. `approve` and `reject` count from the block
//! at h + d + 1 on, `veto` from h on. At the end of the block at h + d + v, after its records, it
//! is decided. What is enacted holds from the next block on. The `emergency` procedure is the one
//! with the shorter periods and the higher threshold.
//!
//! **Votes.** Each validator has one ballot, and may change it until the end. With n validators,
//! f of whom may be gone, an amendment needs n − f approvals: a quorum, more than two thirds, and
//! never more than can be had. An emergency needs ⌈0.85·n⌉, and ⌈0.33·n⌉ vetoes, at least f + 1,
//! end a proposal at once. These two shares are parameters that cannot go below that. n is the size
//! of the committee of the block that decides, whoever is alive.
//! Whoever leaves the committee takes the ballots on open proposals along, at the end of the block
//! that closes the era; a joiner may vote in the next. A validator in quarantine
//! ([`crate::reputation`]) can neither propose, vote nor attest, and its ballots do not count.
//!
//! **How a proposal ends** is an [`Ending`]. Those of one block are decided in the order in which
//! they were opened, by the parameters and the committee of that block; each is held against the
//! state that the ones before it have left. What cannot be enacted then is void, as is a second
//! change of the committee in one block.
//!
//! **Bounds.** A validator has at most one open proposal of each procedure, and there are at most
//! two for each seat.
//!
//! **What cannot be governed.** A change whose enactment would leave something impossible is
//! refused with [`Code::Invariant`]: a parameter outside its range, which keeps the minimum of
//! Ihsān and the thresholds above; a committee with an unusable or repeated key, with a peer id of
//! no Ed25519 key, with fewer than [`COMMITTEE_SIZE_MIN`] validators, or with more than f changed.
//! What the state does not allow just now is [`Code::State`]. A text that is no policy, or one that
//! would shut governance out, is refused by the admission of whatever honest validator; execution
//! compiles a text only once it was approved, and then the proposal is void. Compiling takes a tenth
//! of a second, and a liar could have every block of everybody filled with such texts. Who may send
//! which action is no parameter, and the ROLE gate comes before the policy, so validators never
//! propose inferences and nobody else ever votes.

use crate::codes::{Code, Rejection};
use crate::envelope::AgentType;
use crate::forms::is_peer_id;
use crate::identity::{KeyEntry, KeyState};
use crate::log::StorageError;
use crate::parameters::LedgerParameters;
use crate::plain::Family;
use crate::policy::subset::POLICY_SIZE_MAX;
use crate::policy::{Decision, POLICY_NAME_SIZE_MAX, Policy, PolicyInForce, Projection};
use alloc::collections::{BTreeMap, BTreeSet};
use bizra_types::committee::{COMMITTEE_SIZE_MAX, Committee, NAME_BYTES_MAX, Validator};
use bizra_types::crypto::PublicKey;
use bizra_types::encode_fields;
use bizra_types::encoding::{Decode, DecodeError, Encode, Reader, encode_bytes, encode_list};
use bizra_types::execution::Activation;
use bizra_types::genesis;
use bizra_types::hash::{Hash, RecordDigest};
use bizra_types::json::{Member, SchemaError};
use bizra_types::numbers::{Height, ProtocolVersion};
use bizra_types::proof::state::STATE_VALUE_BYTES_MAX;
use core::ops::RangeInclusive;

/// Fewest validators of a committee that governance may bring about. With fewer than four not one
/// may be faulty, so none could ever be changed again.
pub const COMMITTEE_SIZE_MIN: usize = 4;

/// Most policies that are in force at once; the oldest lose what is left of their grace.
pub const POLICIES_MAX: usize = 64;

/// Most proposals that are open at once in any committee.
const OPEN_MAX: usize = 2 * COMMITTEE_SIZE_MAX;

/// Longest name of a parameter in a proposal, in bytes.
const PARAMETER_NAME_SIZE_MAX: usize = 64;

/// Longest name of a release, in bytes.
const RELEASE_NAME_SIZE_MAX: usize = 64;

/// An enumeration whose names stand in JSON and whose numbers in entries.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident is $what:literal {
        $($(#[$variant_doc:meta])* $variant:ident = $number:literal $text:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $number,)*
        }

        impl $name {
            /// Every value with its name.
            pub const NAMES: &[(&'static str, Self)] = &[$(($text, Self::$variant)),*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                out.push(*self as u8);
            }
        }

        impl Decode for $name {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                match u8::decode(reader)? {
                    $($number => Ok(Self::$variant),)*
                    other => Err(DecodeError::Invalid { what: $what, value: other.into() }),
                }
            }
        }
    };
}

named! {
    /// How a proposal is treated; the numbers are part of the format.
    Procedure is "procedure" {
        /// `amendment`
        Amendment = 1 "amendment",
        /// `emergency`: shorter periods, more approvals.
        Emergency = 2 "emergency",
    }
}

named! {
    /// A ballot; the numbers are part of the format.
    Choice is "choice" {
        /// `approve`
        Approve = 1 "approve",
        /// `reject`: the same as no ballot, but said aloud.
        Reject = 2 "reject",
        /// `veto`: enough of these end the proposal at once.
        Veto = 3 "veto",
    }
}

named! {
    /// How a proposal ended; the numbers are part of the format.
    Ending is "ending of a proposal" {
        /// It was approved and holds from the next block on.
        Enacted = 1 "enacted",
        /// Too few approved.
        Refused = 2 "refused",
        /// Enough vetoed.
        Vetoed = 3 "vetoed",
        /// It was approved, and the state did not allow it any more, or its policy was none.
        Void = 4 "void",
    }
}

/// `payload.data` of a `governance/…` action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GovernanceAction {
    /// `governance/propose`
    Propose {
        /// How it is to be treated.
        procedure: Procedure,
        /// What is to change.
        change: Box<Change>,
    },
    /// `governance/vote`
    Vote {
        /// The record that opened the proposal.
        proposal: RecordDigest,
        /// The ballot.
        choice: Choice,
    },
}

/// What a proposal would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `parameter`
    Parameter {
        /// One of [`LedgerParameters`].
        name: String,
        /// Its new value.
        value: u64,
    },
    /// `policy`
    Policy {
        /// For people; at most 128 bytes.
        name: String,
        /// The text.
        rego: String,
    },
    /// `committee`
    Committee {
        /// Validators that take the place of the member of the same name, or join at the end.
        put: Vec<Validator>,
        /// Names of members that leave.
        remove: Vec<String>,
    },
    /// `version`
    Version(Activation),
    /// `revocation`
    Revocation {
        /// The key of whatever identity.
        key: PublicKey,
    },
}

/// `payload.data` of `release/attest`: one validator's word on a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseAttest {
    /// The name of the release, 1 to 64 bytes.
    pub release: String,
    /// Merkle root of its artefacts.
    pub artefacts_root: Hash,
    /// Hash of the policies that belong to it.
    pub rego_hash: Hash,
    /// Hash of the state of the infrastructure that it runs on.
    pub infrastructure_hash: Hash,
}

/// Value of [`Family::Governance`]: what every block has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Governance {
    /// The open proposals, in the order in which they were opened.
    pub open: Vec<OpenProposal>,
    /// The policies in force, the latest last; none while those of the genesis file are.
    pub policies: Vec<PolicyInForce>,
    /// The governance epoch of the latest block, once a reveal was seen.
    pub epoch: Option<u64>,
}

/// A proposal that is not decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenProposal {
    /// The record that opened it.
    pub proposal: RecordDigest,
    /// Who did.
    pub proposer: PublicKey,
    /// How it is treated.
    pub procedure: Procedure,
    /// The block at whose end it is decided.
    pub decided_at: Height,
}

/// Value of [`Family::Proposal`], by the digest of the record, while it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Who made it.
    pub proposer: PublicKey,
    /// How it is treated.
    pub procedure: Procedure,
    /// The block that opened it.
    pub opened_at: Height,
    /// The last block of the deliberation.
    pub deliberated_until: Height,
    /// The block at whose end it is decided.
    pub decided_at: Height,
    /// What it would change.
    pub change: Change,
}

/// Value of [`Family::Ballots`], by the digest of the proposal, while it is open: those of members
/// of the committee.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ballots(pub BTreeMap<PublicKey, Choice>);

/// Value of [`Family::ClosedProposal`], by the digest of the record that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedProposal {
    /// Who made it.
    pub proposer: PublicKey,
    /// How it was treated.
    pub procedure: Procedure,
    /// The block that opened it.
    pub opened_at: Height,
    /// The block that ended it.
    pub closed_at: Height,
    /// How it ended.
    pub ending: Ending,
    /// The ballots that counted.
    pub tally: Tally,
}

/// Ballots that count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// To approve.
    pub approvals: u16,
    /// To end it at once.
    pub vetoes: u16,
}

/// How many ballots decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Approvals of an amendment.
    pub amendment: usize,
    /// Approvals of an emergency.
    pub emergency: usize,
    /// Vetoes.
    pub veto: usize,
}

/// Value of [`Family::Release`], by the validator's key and the release's name behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// Merkle root of its artefacts.
    pub artefacts_root: Hash,
    /// Hash of the policies that belong to it.
    pub rego_hash: Hash,
    /// Hash of the state of the infrastructure that it runs on.
    pub infrastructure_hash: Hash,
    /// The block that executed the latest word of this validator.
    pub height: Height,
}

impl GovernanceAction {
    /// Reads `payload.data` of `governance/propose`.
    ///
    /// # Errors
    /// When a member is missing, unknown or of another form.
    pub fn read_propose(data: &Member<'_>) -> Result<Self, SchemaError> {
        let mut object = data.object()?;
        let procedure = object.take("procedure")?.one_of(Procedure::NAMES)?;
        let change = Box::new(Change::read(&object.take("change")?)?);
        object.finish()?;
        Ok(Self::Propose { procedure, change })
    }

    /// Reads `payload.data` of `governance/vote`.
    ///
    /// # Errors
    /// When a member is missing, unknown or of another form.
    pub fn read_vote(data: &Member<'_>) -> Result<Self, SchemaError> {
        let mut object = data.object()?;
        let proposal = RecordDigest(object.take("proposal")?.hex()?);
        let choice = object.take("choice")?.one_of(Choice::NAMES)?;
        object.finish()?;
        Ok(Self::Vote { proposal, choice })
    }

    /// The name of the action.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Propose { .. } => "governance/propose",
            Self::Vote { .. } => "governance/vote",
        }
    }

    /// What would change.
    #[must_use]
    pub fn change(&self) -> Option<&Change> {
        match self {
            Self::Propose { change, .. } => Some(change),
            Self::Vote { .. } => None,
        }
    }
}

/// Which change a proposal makes, as `change.kind` says.
#[derive(Clone, Copy)]
enum Kind {
    Parameter,
    Policy,
    Committee,
    Version,
    Revocation,
}

impl Change {
    fn read(member: &Member<'_>) -> Result<Self, SchemaError> {
        let mut object = member.object()?;
        let kind = object.take("kind")?.one_of(&[
            ("parameter", Kind::Parameter),
            ("policy", Kind::Policy),
            ("committee", Kind::Committee),
            ("version", Kind::Version),
            ("revocation", Kind::Revocation),
        ])?;
        let change = match kind {
            Kind::Parameter => Self::Parameter {
                name: object.take("name")?.text(PARAMETER_NAME_SIZE_MAX)?.to_owned(),
                value: object.take("value")?.unsigned()?,
            },
            Kind::Policy => Self::Policy {
                name: object.take("name")?.text(POLICY_NAME_SIZE_MAX)?.to_owned(),
                rego: object.take("rego")?.text(POLICY_SIZE_MAX)?.to_owned(),
            },
            Kind::Committee => {
                let put = object.take("put")?.items(COMMITTEE_SIZE_MAX)?;
                let remove = object.take("remove")?.items(COMMITTEE_SIZE_MAX)?;
                let name = |it: &Member<'_>| it.text(NAME_BYTES_MAX).map(str::to_owned);
                Self::Committee {
                    put: put.iter().map(Validator::read).collect::<Result<_, _>>()?,
                    remove: remove.iter().map(name).collect::<Result<_, _>>()?,
                }
            }
            Kind::Version => {
                let version = object.take("version")?.unsigned_in(1..=u64::from(u16::MAX))?;
                let version = u16::try_from(version).expect("the range is that of u16");
                Self::Version(Activation {
                    height: Height::new(object.take("height")?.unsigned()?),
                    version: ProtocolVersion::new(version),
                })
            }
            Kind::Revocation => Self::Revocation { key: PublicKey(object.take("key")?.hex()?) },
        };
        object.finish()?;
        Ok(change)
    }

    /// What can be said at once and without the state.
    ///
    /// # Errors
    /// [`Code::Invariant`] for what could never be enacted; [`Code::State`] for a parameter that
    /// this protocol version does not govern.
    pub fn check(&self) -> Result<(), Rejection> {
        match self {
            Self::Parameter { name, value } => check_parameter(name, *value),
            Self::Committee { put, remove } => check_seats(put, remove),
            Self::Policy { .. } | Self::Version(_) | Self::Revocation { .. } => Ok(()),
        }
    }

    /// What can be said of a policy, after up to a tenth of a second.
    ///
    /// # Errors
    /// [`Code::Invariant`] for a text that is no policy, or under which governance would end.
    pub fn check_policy(&self) -> Result<(), Rejection> {
        match self {
            Self::Policy { rego, .. } => check_policy(rego),
            _ => Ok(()),
        }
    }
}

/// Whose number a parameter is.
enum Governed {
    /// The ledger's or the engine's, within this range.
    By(&'static RangeInclusive<u64>),
    /// One of [`genesis::Parameters::FIXED`].
    Fixed,
}

impl Governed {
    fn of(name: &str) -> Option<Self> {
        if genesis::Parameters::FIXED.contains(&name) {
            return Some(Self::Fixed);
        }
        let mut all = LedgerParameters::RANGES.iter().chain(genesis::Parameters::RANGES);
        all.find(|(known, _)| *known == name).map(|(_, range)| Self::By(range))
    }
}

fn check_parameter(name: &str, value: u64) -> Result<(), Rejection> {
    match Governed::of(name) {
        Some(Governed::By(range)) if range.contains(&value) => Ok(()),
        Some(Governed::By(range)) => {
            let (least, most) = (range.start(), range.end());
            let detail =
                format!("must be from {least} to {most} for this parameter, but is {value}");
            Err(impossible("payload.data.change.value", detail))
        }
        Some(Governed::Fixed) => {
            let detail =
                "must be a governed parameter, but the genesis file sets this one for ever";
            Err(refused("payload.data.change.name", detail))
        }
        None => {
            let detail = "must be the name of a governed parameter, but there is none of this name";
            Err(refused("payload.data.change.name", detail))
        }
    }
}

/// That the text is a policy, and one under which governance goes on.
fn check_policy(rego: &str) -> Result<(), Rejection> {
    let member = "payload.data.change.rego";
    let policy = Policy::compile(rego)
        .map_err(|error| impossible(member, format!("must be a policy, but {}", error.detail)))?;
    for action in ["governance/propose", "governance/vote"] {
        if policy.decide(&Projection::of_action(action, AgentType::Sat)) != Decision::Allowed {
            let detail = format!("must allow validators {action}, or nothing could change it");
            return Err(impossible(member, detail));
        }
    }
    Ok(())
}

/// What can be said of a change of the committee by itself.
fn check_seats(put: &[Validator], remove: &[String]) -> Result<(), Rejection> {
    if put.is_empty() && remove.is_empty() {
        let detail = "must name somebody in `put` or `remove`, but changes nothing";
        return Err(impossible("payload.data.change", detail));
    }
    for (at, validator) in put.iter().enumerate() {
        if !validator.consensus_key.is_usable() {
            let member = format!("payload.data.change.put[{at}].consensus_key");
            let detail = "must be a point of the curve that is not of small order";
            return Err(impossible(member, detail));
        }
        // Nobody could connect to it: the seat would stand empty.
        if !is_peer_id(&validator.peer_id) {
            let member = format!("payload.data.change.put[{at}].peer_id");
            let detail = "must be the libp2p peer id of an Ed25519 key, like 12D3KooW…";
            return Err(impossible(member, detail));
        }
    }
    let mut names = BTreeSet::new();
    for name in put.iter().map(|validator| &validator.name).chain(remove) {
        if !names.insert(name) {
            let detail = format!("must name each validator once, but names {name} again");
            return Err(impossible("payload.data.change", detail));
        }
    }
    Ok(())
}

/// The committee after a change. A member that is put anew keeps its place; joiners come last.
///
/// # Errors
/// [`Code::Invariant`] when it is none, or too many change at once; [`Code::State`] when somebody
/// who is to leave is no member.
pub fn changed_committee(
    current: &Committee,
    put: &[Validator],
    remove: &[String],
) -> Result<Committee, Rejection> {
    let mut validators: Vec<Validator> =
        current.iter().map(|(_, validator)| validator.clone()).collect();
    let place_of =
        |validators: &[Validator], name: &str| validators.iter().position(|it| it.name == name);
    // A new key is a joiner in a leaver's seat.
    let (mut leavers, mut joiners) = (remove.len(), put.len());
    for (at, name) in remove.iter().enumerate() {
        let Some(place) = place_of(&validators, name) else {
            let member = format!("payload.data.change.remove[{at}]");
            return Err(refused(member, "must be the name of a member of the committee"));
        };
        validators.remove(place);
    }
    for (at, validator) in put.iter().enumerate() {
        match place_of(&validators, &validator.name) {
            Some(place) if validators[place] == *validator => {
                let member = format!("payload.data.change.put[{at}]");
                return Err(refused(member, "must change the member, but is the same as now"));
            }
            Some(place) => {
                leavers += 1;
                validators[place] = validator.clone();
            }
            None => validators.push(validator.clone()),
        }
    }
    joiners = joiners.max(leavers);
    let limit = current.faulty_max();
    if joiners > limit {
        let detail = format!(
            "must change at most {limit} of {} validators at once, but changes {joiners}",
            current.size()
        );
        return Err(impossible("payload.data.change", detail));
    }
    if validators.len() < COMMITTEE_SIZE_MIN {
        let detail = format!(
            "must leave at least {COMMITTEE_SIZE_MIN} validators, but leaves {}",
            validators.len()
        );
        return Err(impossible("payload.data.change", detail));
    }
    let committee = Committee::new(validators).map_err(|error| {
        impossible("payload.data.change.put", format!("must make a committee, but makes {error}"))
    })?;
    let size = committee.to_bytes().len();
    if size > STATE_VALUE_BYTES_MAX {
        let detail = format!(
            "must leave a committee of at most {STATE_VALUE_BYTES_MAX} bytes, an entry of the \
             state, but leaves {size}"
        );
        return Err(impossible("payload.data.change.put", detail));
    }
    Ok(committee)
}

/// Whether a version can come into force, where blocks follow `current` and the proposal is decided
/// at `decided_at`.
///
/// # Errors
/// [`Code::State`].
pub fn check_activation(
    activation: Activation,
    current: ProtocolVersion,
    decided_at: Height,
) -> Result<(), Rejection> {
    let Activation { height, version } = activation;
    // Every program runs one version and the next.
    if Some(current) != version.previous() {
        let detail = format!("must be the one after {current}, but is {version}");
        return Err(refused("payload.data.change.version", detail));
    }
    if height <= decided_at {
        let detail =
            format!("must lie after {decided_at}, where the proposal is decided, but is {height}");
        return Err(refused("payload.data.change.height", detail));
    }
    Ok(())
}

/// The entry of a key that is revoked at `height`, where `entry` is what there is.
///
/// # Errors
/// [`Code::State`] when the key is worth nothing any more.
pub fn revoked(
    key: PublicKey,
    entry: Option<&KeyEntry>,
    height: Height,
) -> Result<KeyEntry, Rejection> {
    if let Some(entry) = entry
        && entry.state != KeyState::Valid
    {
        let detail = format!("must be a valid key, but is none since height {}", entry.height);
        return Err(refused("payload.data.change.key", detail));
    }
    let identity = entry.map_or(key, |entry| entry.identity);
    Ok(KeyEntry { identity, state: KeyState::Revoked, height })
}

impl ReleaseAttest {
    /// Reads `payload.data`.
    ///
    /// # Errors
    /// When a member is missing, unknown or of another form.
    pub fn read(data: &Member<'_>) -> Result<Self, SchemaError> {
        let mut object = data.object()?;
        let release = object.take("release")?;
        let name = release.text(RELEASE_NAME_SIZE_MAX)?;
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b".+-_".contains(&byte);
        if !name.bytes().all(is_name_byte) {
            return Err(release.error("must consist of letters, digits and `.+-_`"));
        }
        let attest = Self {
            release: name.to_owned(),
            artefacts_root: Hash(object.take("artefacts_root")?.hex()?),
            rego_hash: Hash(object.take("rego_hash")?.hex()?),
            infrastructure_hash: Hash(object.take("infrastructure_hash")?.hex()?),
        };
        object.finish()?;
        Ok(attest)
    }

    /// The key of a validator's entry.
    #[must_use]
    pub fn key(&self, validator: &PublicKey) -> Vec<u8> {
        [&validator.0[..], self.release.as_bytes()].concat()
    }

    /// The value of the entry, in a block at `height`.
    #[must_use]
    pub const fn at(&self, height: Height) -> Attestation {
        let Self { artefacts_root, rego_hash, infrastructure_hash, .. } = *self;
        Attestation { artefacts_root, rego_hash, infrastructure_hash, height }
    }
}

impl Governance {
    /// Reads it through `plain`.
    ///
    /// # Errors
    /// When `plain` fails, or the entry is damaged.
    pub fn read(
        plain: impl Fn(Family, &[u8]) -> Result<Option<Vec<u8>>, StorageError>,
    ) -> Result<Self, StorageError> {
        let bytes = plain(Family::Governance, &[])?;
        let entry = bytes.map(|bytes| Family::Governance.decode_entry(&bytes)).transpose()?;
        Ok(entry.unwrap_or_default())
    }

    /// Whether there is room for one more proposal.
    ///
    /// # Errors
    /// [`Code::State`] when the proposer has one of this procedure, or there are two for each seat.
    pub fn check_room(
        &self,
        proposer: PublicKey,
        procedure: Procedure,
        committee: &Committee,
    ) -> Result<(), Rejection> {
        let own = |it: &&OpenProposal| it.proposer == proposer && it.procedure == procedure;
        if let Some(open) = self.open.iter().find(own) {
            let detail = format!(
                "must have no open proposal of this procedure, but has {} until height {}",
                open.proposal, open.decided_at
            );
            return Err(refused("sender.public_key", detail));
        }
        let limit = 2 * committee.size();
        if self.open.len() >= limit {
            return Err(refused("", format!("must wait, because {limit} proposals are open")));
        }
        Ok(())
    }
}

impl Procedure {
    /// Blocks of deliberation, and of voting after it.
    #[must_use]
    pub const fn periods(self, parameters: &LedgerParameters) -> (u64, u64) {
        match self {
            Self::Amendment => (parameters.deliberation_blocks, parameters.voting_blocks),
            Self::Emergency => {
                (parameters.emergency_deliberation_blocks, parameters.emergency_voting_blocks)
            }
        }
    }
}

impl Proposal {
    /// A proposal that a block opens.
    ///
    /// # Panics
    /// At a height within two million blocks of 2⁶⁴.
    #[must_use]
    pub const fn new(
        proposer: PublicKey,
        procedure: Procedure,
        change: Change,
        opened_at: Height,
        parameters: &LedgerParameters,
    ) -> Self {
        let (deliberation, voting) = procedure.periods(parameters);
        let deliberated_until = Height::new(opened_at.get() + deliberation);
        let decided_at = Height::new(deliberated_until.get() + voting);
        Self { proposer, procedure, opened_at, deliberated_until, decided_at, change }
    }

    /// Whether a ballot may be cast in a block at `height`.
    ///
    /// # Errors
    /// [`Code::State`] while it is deliberated.
    pub fn check_ballot(&self, choice: Choice, height: Height) -> Result<(), Rejection> {
        if choice != Choice::Veto && height <= self.deliberated_until {
            let detail = format!(
                "is deliberated until height {}; before, only a veto counts",
                self.deliberated_until
            );
            return Err(refused("payload.data.proposal", detail));
        }
        Ok(())
    }

    /// What is kept of it once it has ended.
    #[must_use]
    pub const fn closed(&self, closed_at: Height, ending: Ending, tally: Tally) -> ClosedProposal {
        let Self { proposer, procedure, opened_at, .. } = *self;
        ClosedProposal { proposer, procedure, opened_at, closed_at, ending, tally }
    }
}

impl Tally {
    /// Counts the ballots of those whose ballots count.
    pub fn of(choices: impl Iterator<Item = Choice>) -> Self {
        choices.fold(Self::default(), |mut tally, choice| {
            match choice {
                Choice::Approve => tally.approvals += 1,
                Choice::Reject => {}
                Choice::Veto => tally.vetoes += 1,
            }
            tally
        })
    }
}

impl Thresholds {
    /// Those of a committee.
    #[must_use]
    pub fn of(committee: &Committee, parameters: &LedgerParameters) -> Self {
        let share = |parts_per_million: u64| {
            let parts = committee.size() as u64 * parts_per_million;
            usize::try_from(parts.div_ceil(1_000_000)).expect("at most the committee")
        };
        Self {
            // More would lock governance up with f validators gone, fewer let the lying decide.
            amendment: committee.quorum(),
            emergency: share(parameters.emergency_min_ppm).max(committee.quorum()),
            // Those who may be faulty must not be enough.
            veto: share(parameters.veto_min_ppm).max(committee.one_honest()),
        }
    }

    /// Whether so many vetoes end a proposal.
    #[must_use]
    pub fn is_vetoed(&self, tally: Tally) -> bool {
        usize::from(tally.vetoes) >= self.veto
    }

    /// How many approvals are enough.
    #[must_use]
    pub const fn approvals(&self, procedure: Procedure) -> usize {
        match procedure {
            Procedure::Amendment => self.amendment,
            Procedure::Emergency => self.emergency,
        }
    }

    /// Whether so many approvals are enough.
    #[must_use]
    pub fn is_approved(&self, procedure: Procedure, tally: Tally) -> bool {
        usize::from(tally.approvals) >= self.approvals(procedure)
    }
}

fn impossible(member: impl Into<String>, detail: impl Into<String>) -> Rejection {
    Rejection::new(Code::Invariant, member, detail)
}

fn refused(member: impl Into<String>, detail: impl Into<String>) -> Rejection {
    Rejection::new(Code::State, member, detail)
}

impl Encode for Change {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Parameter { name, value } => {
                out.push(1);
                encode_bytes(name.as_bytes(), out);
                value.encode(out);
            }
            Self::Policy { name, rego } => {
                out.push(2);
                encode_bytes(name.as_bytes(), out);
                encode_bytes(rego.as_bytes(), out);
            }
            Self::Committee { put, remove } => {
                out.push(3);
                encode_list(put, out);
                let names: Vec<Name> = remove.iter().cloned().map(Name).collect();
                encode_list(&names, out);
            }
            Self::Version(Activation { height, version }) => {
                out.push(4);
                version.encode(out);
                height.encode(out);
            }
            Self::Revocation { key } => {
                out.push(5);
                key.encode(out);
            }
        }
    }
}

impl Decode for Change {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match u8::decode(reader)? {
            1 => Self::Parameter {
                name: reader.text("parameter", PARAMETER_NAME_SIZE_MAX)?.to_owned(),
                value: Decode::decode(reader)?,
            },
            2 => Self::Policy {
                name: reader.text("policy name", POLICY_NAME_SIZE_MAX)?.to_owned(),
                rego: reader.text("policy", POLICY_SIZE_MAX)?.to_owned(),
            },
            3 => {
                let put = reader.list("put", COMMITTEE_SIZE_MAX, 76)?;
                let names: Vec<Name> = reader.list("remove", COMMITTEE_SIZE_MAX, 4)?;
                Self::Committee { put, remove: names.into_iter().map(|Name(name)| name).collect() }
            }
            4 => {
                let version = Decode::decode(reader)?;
                Self::Version(Activation { version, height: Decode::decode(reader)? })
            }
            5 => Self::Revocation { key: Decode::decode(reader)? },
            other => {
                return Err(DecodeError::Invalid { what: "kind of change", value: other.into() });
            }
        })
    }
}

/// The name of a validator in a list.
struct Name(String);

impl Encode for Name {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self.0.as_bytes(), out);
    }
}

impl Decode for Name {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(reader.text("validator name", NAME_BYTES_MAX)?.to_owned()))
    }
}

impl Encode for Governance {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_list(&self.open, out);
        encode_list(&self.policies, out);
        self.epoch.encode(out);
    }
}

impl Decode for Governance {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            open: reader.list("open proposals", OPEN_MAX, 73)?,
            policies: reader.list("policies in force", POLICIES_MAX, 33)?,
            epoch: Decode::decode(reader)?,
        })
    }
}

/// One ballot, in the list that encodes [`Ballots`] ascending by key.
struct Ballot {
    validator: PublicKey,
    choice: Choice,
}

impl Encode for Ballots {
    fn encode(&self, out: &mut Vec<u8>) {
        let list: Vec<Ballot> = self
            .0
            .iter()
            .map(|(validator, choice)| Ballot { validator: *validator, choice: *choice })
            .collect();
        encode_list(&list, out);
    }
}

impl Decode for Ballots {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let key = |ballot: &Ballot| ballot.validator;
        let list = reader.ascending("ballots", COMMITTEE_SIZE_MAX, 33, key)?;
        Ok(Self(list.into_iter().map(|ballot| (ballot.validator, ballot.choice)).collect()))
    }
}

encode_fields!(Ballot { validator, choice });
encode_fields!(OpenProposal { proposal, proposer, procedure, decided_at });
encode_fields!(Proposal { proposer, procedure, opened_at, deliberated_until, decided_at, change });
encode_fields!(Tally { approvals, vetoes });
encode_fields!(ClosedProposal { proposer, procedure, opened_at, closed_at, ending, tally });
encode_fields!(Attestation { artefacts_root, rego_hash, infrastructure_hash, height });

#[cfg(test)]
mod tests;
