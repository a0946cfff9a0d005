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
use bizra_types::numbers::{Epoch, ProtocolVersion, TimestampMs, ValidatorIndex};
use bizra_types::verify::Verifier;
use bizra_types::vrf::{self, VrfInput};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Largest committee the simulator knows keys for.
pub const VALIDATORS_MAX: usize = 16;

/// Wall clock at the start of every run.
pub(crate) const START_MS: TimestampMs = TimestampMs::new(1_800_000_000_000);

/// Keys of one validator; the same in every run, so that curves are met once.
struct Identity {
    validator: Validator,
    vrf: schnorrkel::Keypair,
}

/// All keys of a cluster, and the verifier that all its nodes share.
pub(crate) struct Keyring {
    genesis: Arc<Genesis>,
    keys: Vec<PublicKey>,
    verifier: Verifier,
    reveals: BTreeMap<(ValidatorIndex, Epoch, Hash), Reveal>,
}

impl Keyring {
    /// The keys of a committee. The seed makes the chain's id, and so the
    /// order of its leaders.
    pub(crate) fn new(seed: u64, size: usize, parameters: Parameters) -> Self {
        let validators: Vec<_> =
            identities()[..size].iter().map(|identity| identity.validator.clone()).collect();
        let keys = validators.iter().map(|validator| validator.consensus_key).collect();
        let committee = Committee::new(validators).expect("derived keys are distinct points");
        let version = ProtocolVersion::new(1);
        let name = format!("simulated {seed}");
        let genesis = Genesis::new(name, START_MS, committee, version, parameters, Vec::new());
        // The memo must not forget: what it does not know it would check on
        // the curve, where a signature of this cluster is nonsense.
        let memo = SignatureMemo::new(usize::MAX);
        let verifier = Verifier::new(genesis.chain(), memo);
        Self { genesis: Arc::new(genesis), keys, verifier, reveals: BTreeMap::new() }
    }

    pub(crate) const fn genesis(&self) -> &Arc<Genesis> {
        &self.genesis
    }

    pub(crate) fn chain_id(&self) -> ChainId {
        self.genesis.chain_id()
    }

    pub(crate) const fn verifier(&mut self) -> &mut Verifier {
        &mut self.verifier
    }

    /// Signs as `node` would.
    pub(crate) fn sign(&mut self, node: usize, message: &[u8]) -> Signature {
        let key = self.keys[node];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&key.0).update(message);
        let mut bytes = [0; 64];
        hasher.finalize_xof().fill(&mut bytes);
        let signature = Signature(bytes);
        self.verifier.memo().remember(&SignatureCheck { key, message, signature });
        signature
    }

    /// Signs a batch as `node` would.
    pub(crate) fn sign_batch(
        &mut self,
        node: usize,
        header: BatchHeader,
        records: Arc<[BatchRecord]>,
    ) -> SignedBatch {
        let signature = self.sign(node, &header.signed_bytes(&self.genesis.chain_id()));
        SignedBatch::new(header, signature, records).expect("the engine made header and records")
    }

    /// The VRF output of `node`, evaluated once.
    pub(crate) fn reveal(&mut self, node: usize, input: &VrfInput) -> Reveal {
        let validator = index(node);
        *self.reveals.entry((validator, input.epoch, input.seed)).or_insert_with(|| {
            let transcript =
                schnorrkel::context::attach_rng(merlin::Transcript::new(b"VRF"), NoRandomness);
            let (pair, proof, _) =
                identities()[node].vrf.vrf_sign_extra(vrf::transcript(input), transcript);
            Reveal {
                validator,
                epoch: input.epoch,
                output: pair.to_preout().to_bytes(),
                proof: proof.to_bytes(),
            }
        })
    }
}

/// Position of a node in the committee.
pub(crate) fn index(node: usize) -> ValidatorIndex {
    ValidatorIndex::new(u16::try_from(node).expect("committees are small"))
}

/// The node at a position of the committee.
pub(crate) fn node(index: ValidatorIndex) -> usize {
    usize::from(index.get())
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
    Identity { validator, vrf }
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
    use bizra_types::numbers::{Era, View};

    #[test]
    fn what_was_signed_passes_the_real_verifier_and_nothing_else_does() {
        let mut keyring = Keyring::new(1, 4, Parameters::default());
        let vote = Vote { era: Era::new(1), view: View::new(3), block: BlockId([7; 32]) };
        let signature = keyring.sign(2, &vote.signed_bytes(&keyring.chain_id()));
        let signed = SignedVote { vote, signer: index(2), signature };
        assert!(keyring.verifier().vote(signed).is_ok());
        assert!(keyring.verifier().vote(SignedVote { signer: index(1), ..signed }).is_err());
        let other = Vote { view: View::new(4), ..vote };
        assert!(keyring.verifier().vote(SignedVote { vote: other, ..signed }).is_err());
    }

    #[test]
    fn reveals_are_real() {
        let mut keyring = Keyring::new(1, 4, Parameters::default());
        let input =
            VrfInput { chain_id: keyring.chain_id(), epoch: Epoch::new(2), seed: Hash([1; 32]) };
        let reveal = keyring.reveal(3, &input);
        let key = keyring.genesis().committee.get(index(3)).expect("four validators").vrf_key;
        assert!(vrf::is_good(&key, &input, &reveal.output, &reveal.proof));
        assert_eq!(keyring.reveal(3, &input), reveal);
    }
}
