//! The validators' keys, signatures without curves, and the real checks.
//!
//! A signature here is 64 bytes of BLAKE3 over key and message, noted in the
//! verifier's memo when it is made. So the real [`Verifier`] runs on every
//! message, and what nobody signed still fails: the memo does not know it, and
//! as Ed25519 it is nonsense. One verifier serves all nodes, because the memo
//! holds only what was really signed; what a message is worth does not depend
//! on who reads it.

use bizra_types::batch::{BatchHeader, BatchRecord, SignedBatch};
use bizra_types::block::Reveal;
use bizra_types::committee::{Committee, Validator};
use bizra_types::crypto::{PublicKey, Signature, SignatureCheck, SignatureMemo};
use bizra_types::genesis::{Genesis, Parameters};
use bizra_types::hash::{ChainId, Hash};
use bizra_types::numbers::{Epoch, Era, ProtocolVersion, TimestampMs, ValidatorIndex};
use bizra_types::verify::{EraContext, Verifier};
use bizra_types::vrf::{self, VrfInput};
use ed25519_dalek::Signer as _;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Largest committee the simulator knows keys for.
pub const VALIDATORS_MAX: usize = 16;
/// Nodes beside the first committee in a run whose committee changes.
const OBSERVERS_MAX: usize = 3;

/// Wall clock at the start of every run.
pub(crate) const START_MS: TimestampMs = TimestampMs::new(1_800_000_000_000);

/// Keys of one validator; the same in every run, so that curves are met once.
struct Identity {
    validator: Validator,
    consensus: ed25519_dalek::SigningKey,
    vrf: schnorrkel::Keypair,
}

/// Who votes in which era, and whose key is whose.
///
/// A node and its place in a committee are two things: committees are reordered
/// as they change, and a node that rotates its key stands in the next one
/// under another identity.
#[derive(Clone, Debug)]
pub(crate) struct Members {
    committees: BTreeMap<Era, Arc<Committee>>,
    /// Identities of each node: the one it starts with, and perhaps one to
    /// rotate to.
    identities: Vec<Vec<usize>>,
    owners: BTreeMap<PublicKey, usize>,
}

/// All keys of a cluster, and the verifier that all its nodes share.
pub(crate) struct Keyring {
    genesis: Arc<Genesis>,
    members: Members,
    verifier: Verifier,
    reveals: BTreeMap<(PublicKey, Epoch, Hash), Reveal>,
}

impl Members {
    /// The first `size` nodes are the committee of the first era. If it
    /// changes later, there are more nodes, and identities to rotate to.
    fn new(committee: Arc<Committee>, is_changing: bool) -> Self {
        let size = committee.size();
        let nodes = if is_changing { (size + OBSERVERS_MAX).min(VALIDATORS_MAX) } else { size };
        let identities: Vec<Vec<usize>> = (0..nodes)
            .map(|node| {
                let second = Some(nodes + node).filter(|it| is_changing && *it < VALIDATORS_MAX);
                [Some(node), second].into_iter().flatten().collect()
            })
            .collect();
        let owners = identities
            .iter()
            .enumerate()
            .flat_map(|(node, all)| all.iter().map(move |it| (validator(*it).consensus_key, node)));
        let owners = owners.collect();
        Self { committees: BTreeMap::from([(Era::new(1), committee)]), identities, owners }
    }

    /// How many nodes there are.
    pub(crate) const fn nodes(&self) -> usize {
        self.identities.len()
    }

    /// The committee of an era that began somewhere.
    pub(crate) fn committee(&self, era: Era) -> &Arc<Committee> {
        &self.committees[&era]
    }

    /// The committees of all eras before one, ascending.
    pub(crate) fn committees_before(&self, era: Era) -> impl Iterator<Item = &Arc<Committee>> {
        self.committees.range(..era).map(|(_, committee)| committee)
    }

    /// Whether an era began somewhere.
    pub(crate) fn knows(&self, era: Era) -> bool {
        self.committees.contains_key(&era)
    }

    /// The last era that began somewhere.
    pub(crate) fn newest(&self) -> Era {
        *self.committees.last_key_value().expect("there is a first era").0
    }

    /// Takes in the era after the newest.
    pub(crate) fn begin(&mut self, era: Era, committee: Arc<Committee>) {
        assert_eq!(era, self.newest().next(), "eras follow one another");
        self.committees.insert(era, committee);
    }

    /// Whose key it is.
    pub(crate) fn owner(&self, key: &PublicKey) -> Option<usize> {
        self.owners.get(key).copied()
    }

    /// The node at a place of an era's committee, if the place exists.
    pub(crate) fn node(&self, era: Era, place: ValidatorIndex) -> Option<usize> {
        self.owner(&self.committees.get(&era)?.key(place)?)
    }

    /// The place of a node in an era's committee and the key it has there.
    pub(crate) fn seat(&self, era: Era, node: usize) -> Option<(ValidatorIndex, PublicKey)> {
        let committee = self.committees.get(&era)?;
        let mut keys = self.keys(node).into_iter();
        keys.find_map(|key| Some((committee.index_of(&key)?, key)))
    }

    /// The keys of a node: in each committee stands at most one of them.
    pub(crate) fn keys(&self, node: usize) -> Vec<PublicKey> {
        self.identities[node].iter().map(|it| validator(*it).consensus_key).collect()
    }

    /// What a node registers when it takes a seat: its first identity or, where
    /// it has one, its second.
    pub(crate) fn registration(&self, node: usize, is_second: bool) -> Option<&'static Validator> {
        self.identities[node].get(usize::from(is_second)).map(|it| validator(*it))
    }
}

impl Keyring {
    /// The keys of a committee. The seed makes the chain's id, and so the
    /// order of its leaders.
    pub(crate) fn new(seed: u64, size: usize, parameters: Parameters, is_changing: bool) -> Self {
        let committee = committee(size);
        let version = ProtocolVersion::new(1);
        let name = format!("simulated {seed}");
        let genesis = Genesis::new(name, START_MS, committee, version, parameters, Vec::new());
        let members = Members::new(Arc::clone(&genesis.committee), is_changing);
        // The memo must not forget: what it does not know it would check on
        // the curve, where a signature of this cluster is nonsense.
        let memo = SignatureMemo::new(usize::MAX);
        let verifier = Verifier::new(genesis.chain(), memo);
        Self { genesis: Arc::new(genesis), members, verifier, reveals: BTreeMap::new() }
    }

    pub(crate) const fn genesis(&self) -> &Arc<Genesis> {
        &self.genesis
    }

    pub(crate) const fn members(&self) -> &Members {
        &self.members
    }

    pub(crate) fn chain_id(&self) -> ChainId {
        self.genesis.chain_id()
    }

    pub(crate) const fn verifier(&mut self) -> &mut Verifier {
        &mut self.verifier
    }

    /// Takes in an era that began somewhere, once.
    pub(crate) fn begin(&mut self, era: Era, context: EraContext) {
        if !self.members.knows(era) {
            self.members.begin(era, Arc::clone(&context.committee));
            self.verifier.add_era(era, context);
        }
    }

    /// Signs with the key that `node` has in an era. Whoever has none there
    /// signs with its first: peers will refuse it.
    pub(crate) fn sign(&mut self, era: Era, node: usize, message: &[u8]) -> Signature {
        let seat = self.members.seat(era, node).map(|(_, key)| key);
        let key = seat.unwrap_or_else(|| self.members.keys(node)[0]);
        self.sign_with(key, message)
    }

    /// Signs a batch with its author's key.
    pub(crate) fn sign_batch(
        &mut self,
        header: BatchHeader,
        records: Arc<[BatchRecord]>,
    ) -> SignedBatch {
        let message = header.signed_bytes(&self.genesis.chain_id());
        let signature = self.sign_with(header.author, &message);
        SignedBatch::new(header, signature, records).expect("the engine made header and records")
    }

    fn sign_with(&mut self, key: PublicKey, message: &[u8]) -> Signature {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&key.0).update(message);
        let mut bytes = [0; 64];
        hasher.finalize_xof().fill(&mut bytes);
        let signature = Signature(bytes);
        self.verifier.memo().remember(&SignatureCheck { key, message, signature });
        signature
    }

    /// The VRF output of the member at a place of an era, evaluated once.
    ///
    /// # Panics
    /// When there is no such member.
    pub(crate) fn reveal(&mut self, era: Era, place: ValidatorIndex, input: &VrfInput) -> Reveal {
        let key = self.members.committee(era).key(place).expect("a member");
        let made = self.reveals.entry((key, input.epoch, input.seed)).or_insert_with(|| {
            let transcript =
                schnorrkel::context::attach_rng(merlin::Transcript::new(b"VRF"), NoRandomness);
            let mut known = identities().iter();
            let identity = known.find(|it| it.validator.consensus_key == key);
            let identity = identity.expect("members are among the identities");
            let (pair, proof, _) = identity.vrf.vrf_sign_extra(vrf::transcript(input), transcript);
            Reveal {
                validator: place,
                epoch: input.epoch,
                output: pair.to_preout().to_bytes(),
                proof: proof.to_bytes(),
            }
        });
        // The same key may stand in another place of another committee.
        Reveal { validator: place, ..*made }
    }
}

/// Place of a node in the first committee, and in all of them while the
/// committee does not change.
pub(crate) fn index(node: usize) -> ValidatorIndex {
    ValidatorIndex::new(u16::try_from(node).expect("committees are small"))
}

/// The signature that Ed25519 gives, of a node that never rotates its key.
pub(crate) fn real_signature(node: usize, message: &[u8]) -> Signature {
    Signature(identities()[node].consensus.sign(message).to_bytes())
}

/// The first committee, of so many validators.
pub(crate) fn committee(size: usize) -> Committee {
    let validators = (0..size).map(|number| validator(number).clone()).collect();
    Committee::new(validators).expect("derived keys are distinct points")
}

fn validator(number: usize) -> &'static Validator {
    &identities()[number].validator
}

fn identities() -> &'static [Identity] {
    static IDENTITIES: OnceLock<Vec<Identity>> = OnceLock::new();
    IDENTITIES.get_or_init(|| (0..VALIDATORS_MAX).map(identity).collect())
}

fn identity(number: usize) -> Identity {
    let seed = |role: &str| {
        let mut hasher = blake3::Hasher::new_derive_key("bizra 2026 simulator keys v1");
        hasher.update(role.as_bytes()).update(&(number as u64).to_le_bytes());
        *hasher.finalize().as_bytes()
    };
    let consensus = ed25519_dalek::SigningKey::from_bytes(&seed("consensus"));
    let vrf = schnorrkel::MiniSecretKey::from_bytes(&seed("vrf"))
        .expect("every 32 bytes are a seed")
        .expand_to_keypair(schnorrkel::ExpansionMode::Uniform);
    let validator = Validator {
        name: format!("node {number}"),
        peer_id: format!("peer {number}"),
        consensus_key: PublicKey(consensus.verifying_key().to_bytes()),
        vrf_key: vrf.public.to_bytes(),
        kem_key: Vec::new(),
    };
    Identity { validator, consensus, vrf }
}

/// Zeros where schnorrkel would mix ambient randomness into a proof: the same
/// run must give the same bytes.
struct NoRandomness;

impl rand_core::RngCore for NoRandomness {
    fn next_u32(&mut self) -> u32 {
        0
    }

    fn next_u64(&mut self) -> u64 {
        0
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        bytes.fill(0);
        Ok(())
    }
}

impl rand_core::CryptoRng for NoRandomness {}

#[cfg(test)]
mod tests {
    use super::*;
    use bizra_types::hash::BlockId;
    use bizra_types::message::{SignedVote, Vote};
    use bizra_types::numbers::View;

    const ERA: Era = Era::new(1);

    #[test]
    fn what_was_signed_passes_the_real_verifier_and_nothing_else_does() {
        let mut keyring = Keyring::new(1, 4, Parameters::default(), false);
        let vote = Vote { era: ERA, view: View::new(3), block: BlockId([7; 32]) };
        let signature = keyring.sign(ERA, 2, &vote.signed_bytes(&keyring.chain_id()));
        let signed = SignedVote { vote, signer: index(2), signature };
        assert!(keyring.verifier().vote(signed).is_ok());
        assert!(keyring.verifier().vote(SignedVote { signer: index(1), ..signed }).is_err());
        let other = Vote { view: View::new(4), ..vote };
        assert!(keyring.verifier().vote(SignedVote { vote: other, ..signed }).is_err());
    }

    #[test]
    fn reveals_are_real() {
        let mut keyring = Keyring::new(1, 4, Parameters::default(), false);
        let input =
            VrfInput { chain_id: keyring.chain_id(), epoch: Epoch::new(2), seed: Hash([1; 32]) };
        let reveal = keyring.reveal(ERA, index(3), &input);
        let key = keyring.genesis().committee.get(index(3)).expect("four validators").vrf_key;
        assert!(vrf::is_good(&key, &input, &reveal.output, &reveal.proof));
        assert_eq!(keyring.reveal(ERA, index(3), &input), reveal);
    }

    #[test]
    fn a_node_keeps_its_number_while_its_place_and_its_key_change() {
        let mut keyring = Keyring::new(1, 4, Parameters::default(), true);
        assert_eq!(keyring.members().nodes(), 7);
        let next = [(5, false), (2, true), (0, false), (1, false)].map(|(node, is_second)| {
            keyring.members().registration(node, is_second).expect("each has two").clone()
        });
        let committee = Arc::new(Committee::new(next.to_vec()).expect("distinct"));
        keyring.begin(Era::new(2), EraContext { committee, root: BlockId([1; 32]) });
        let members = keyring.members();
        assert_eq!(members.newest(), Era::new(2));
        assert_eq!(members.node(Era::new(2), index(1)), Some(2));
        let seat = |era, node| members.seat(Era::new(era), node).map(|(place, _)| place);
        assert_eq!((seat(1, 2), seat(2, 2)), (Some(index(2)), Some(index(1))));
        assert_eq!((seat(1, 5), seat(2, 5)), (None, Some(index(0))));
        assert_eq!((seat(1, 3), seat(2, 3)), (Some(index(3)), None));
        let key = |era| members.seat(Era::new(era), 2).expect("a member").1;
        assert_ne!(key(1), key(2));
        assert_eq!(members.owner(&key(1)), members.owner(&key(2)));
    }
}
