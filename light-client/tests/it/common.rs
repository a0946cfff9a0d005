//! A chain made up from seeds, with honest certificates.

use bizra_types::block::{Closes, Header};
use bizra_types::certificate::CommitCert;
use bizra_types::committee::{Committee, SignerSet, Validator};
use bizra_types::crypto::{PublicKey, Signature};
use bizra_types::encoding::Encode as _;
use bizra_types::envelope::{SIGNED_FIELDS, record_digest};
use bizra_types::execution::{EMPTY_STATE_ROOT, ExecFields};
use bizra_types::genesis::{Genesis, Parameters};
use bizra_types::hash::{BlockId, ChainId, ExecHash, Hash, hex};
use bizra_types::json::{Limits, Members, Value, canonical, parse};
use bizra_types::message::CommitVote;
use bizra_types::numbers::{
    Era, Height, LogIndex, ProtocolVersion, TimestampMs, ValidatorIndex, View,
};
use bizra_types::proof::tree::{leaf_hash, node_hash};
use bizra_types::proof::{EraChange, FinalHead, FinalityProof};
use ed25519_dalek::{Signer as _, SigningKey};

/// The members of a committee, with their secrets.
#[derive(Clone)]
pub(crate) struct Team {
    pub(crate) committee: Committee,
    pub(crate) keys: Vec<SigningKey>,
}

/// A chain that grows by order of the test.
#[derive(Clone)]
pub(crate) struct TestChain {
    pub(crate) genesis: Genesis,
    pub(crate) team: Team,
    pub(crate) era: Era,
    pub(crate) eras: Vec<EraChange>,
    /// Of the blocks to come.
    pub(crate) state_root: Hash,
    parent: BlockId,
    parent_exec: ExecHash,
    height: Height,
    view: View,
}

/// All levels of a Merkle tree, leaves first.
pub(crate) struct Tree(Vec<Vec<Hash>>);

/// `size` validators whose keys follow from `seed`; other seeds, other keys.
pub(crate) fn team(seed: u8, size: u8) -> Team {
    let keys: Vec<_> =
        (0..size).map(|index| SigningKey::from_bytes(&[seed.wrapping_add(index); 32])).collect();
    let validators = keys.iter().enumerate().map(|(index, key)| Validator {
        name: format!("validator-{seed}-{index}"),
        peer_id: format!("12D3KooW{seed}x{index}"),
        consensus_key: PublicKey(key.verifying_key().to_bytes()),
        vrf_key: [seed.wrapping_add(u8::try_from(index).expect("a team is small")); 32],
        kem_key: vec![0xce; 1216],
    });
    Team { committee: Committee::new(validators.collect()).expect("seeds differ"), keys }
}

/// Canonical bytes of a signed envelope; `number` makes it differ from others.
pub(crate) fn envelope(number: u64, chain_id: Option<ChainId>) -> Vec<u8> {
    let key = SigningKey::from_bytes(&[0xe0; 32]);
    let text = format!(
        r#"{{
            "version": "1.0.0",
            "envelope_id": "123e4567-e89b-42d3-a456-426614174000",
            "timestamp": "2026-11-22T01:46:03.123Z",
            "nonce": "{number:064x}",
            "sender": {{"agent_type": "PAT", "agent_id": "agent", "public_key": "{}"}},
            "payload": {{"action": "inference/commit", "data": {{}}, "policy_hash": "{}"}},
            "metadata": {{"ihsan_score": 0.97, "snr_score": 0.91{}}}
        }}"#,
        hex(key.verifying_key().as_bytes()),
        hex(&[0xab; 32]),
        chain_id.map(|id| format!(r#", "chain_id": "{id}""#)).unwrap_or_default(),
    );
    sign(&text, &key)
}

/// Signs an envelope that has no signature yet.
pub(crate) fn sign(text: &str, key: &SigningKey) -> Vec<u8> {
    let Ok(Value::Object(mut members)) = parse(text.as_bytes(), Limits::ENVELOPE) else {
        panic!("not an object: {text}")
    };
    let digest = record_digest(&[&canonical(&Value::Object(members.clone()))]);
    let signature = key.sign(digest.as_bytes());
    let member = |name: &str, value| (name.to_owned(), value);
    let signature = Members::new(vec![
        member("algorithm", "ed25519".into()),
        member("value", hex(&signature.to_bytes()).as_str().into()),
        member("signed_fields", Value::Array(SIGNED_FIELDS.map(Value::from).to_vec())),
    ])
    .expect("the three names differ");
    members.insert("signature", Value::Object(signature));
    canonical(&Value::Object(members))
}

impl TestChain {
    /// A chain with nothing but its genesis block.
    pub(crate) fn new(team: &Team) -> Self {
        let genesis = Genesis::new(
            "test".to_owned(),
            TimestampMs::new(1_795_311_000_000),
            team.committee.clone(),
            ProtocolVersion::new(1),
            parameters(),
            Vec::new(),
        );
        Self {
            parent: genesis.header().id(),
            team: team.clone(),
            era: Era::new(1),
            eras: Vec::new(),
            state_root: EMPTY_STATE_ROOT,
            parent_exec: ExecHash::ZERO,
            height: Height::ZERO,
            view: View::ZERO,
            genesis,
        }
    }

    /// The next block is of this view.
    pub(crate) fn skip_to(&mut self, view: View) {
        self.view = view.previous().expect("view 0 has no block to come");
    }

    /// The next block is final; the log after it is `tree`.
    pub(crate) fn commit(&mut self, tree: &Tree) -> FinalHead {
        let exec = self.exec(tree, Hash::ZERO);
        let header = self.next_header(None);
        let commit = self.certify(&header, &exec);
        self.parent = header.id();
        self.parent_exec = exec.hash();
        FinalHead { exec, header, filler: None, commit, eras: self.eras.clone() }
    }

    /// The next block is final and hands over to `next`; the certificate is for
    /// a filler if `with_filler`.
    pub(crate) fn end_era(&mut self, tree: &Tree, next: &Team, with_filler: bool) -> FinalHead {
        let exec = self.exec(tree, next.committee.hash());
        let header = self.next_header(None);
        let filler = with_filler.then(|| {
            let closes = Closes { block: header.id(), exec: exec.hash() };
            let filler = self.next_header(Some(closes));
            Header { height: header.height, parent: header.id(), ..filler }
        });
        let commit = self.certify(filler.as_ref().unwrap_or(&header), &exec);
        let head = FinalHead { exec, header, filler, commit, eras: self.eras.clone() };
        let FinalHead { exec, header, filler, commit, eras: _ } = head.clone();
        self.eras.push(EraChange {
            header,
            exec,
            committee: next.committee.clone(),
            filler,
            commit,
        });
        self.team = next.clone();
        self.era = self.era.next();
        self.parent = header.id();
        self.parent_exec = exec.hash();
        self.height = header.height;
        self.view = View::ZERO;
        head
    }

    /// The certificate of a header by exactly a quorum, not the first ones.
    pub(crate) fn certify(&self, header: &Header, exec: &ExecFields) -> CommitCert {
        let size = self.team.keys.len();
        self.certify_by(header, exec, size - self.team.committee.quorum()..size)
    }

    /// The certificate of a header by these validators.
    pub(crate) fn certify_by(
        &self,
        header: &Header,
        exec: &ExecFields,
        signers: impl IntoIterator<Item = usize>,
    ) -> CommitCert {
        let (era, view) = (header.era, header.view);
        let vote = CommitVote { era, view, block: header.id(), exec: exec.hash() };
        sign_commit(&self.team, &self.genesis.chain_id(), vote, signers)
    }

    fn exec(&self, tree: &Tree, next_committee: Hash) -> ExecFields {
        ExecFields {
            parent: self.parent_exec,
            log_root: tree.root(),
            log_size: tree.size(),
            state_root: self.state_root,
            plain_digest: Hash([0x91; 32]),
            outcomes_root: Hash([0x92; 32]),
            next_committee,
        }
    }

    fn next_header(&mut self, closes: Option<Closes>) -> Header {
        self.height = self.height.next();
        self.view = self.view.next();
        Header {
            era: self.era,
            height: self.height,
            view: self.view,
            parent: self.parent,
            justify: Hash([0x77; 32]),
            timestamp_ms: TimestampMs::new(1_795_311_000_000 + 250 * self.height.get()),
            proposer: ValidatorIndex::new(2),
            closes,
            ..self.genesis.header()
        }
    }
}

/// A commit certificate over any vote.
pub(crate) fn sign_commit(
    team: &Team,
    chain_id: &ChainId,
    vote: CommitVote,
    signers: impl IntoIterator<Item = usize>,
) -> CommitCert {
    let message = vote.signed_bytes(chain_id);
    let signers = signers
        .into_iter()
        .map(|signer| ValidatorIndex::new(u16::try_from(signer).expect("a team is small")));
    let signers = SignerSet::of(team.keys.len(), signers);
    let signatures = signers
        .iter()
        .map(|signer| Signature(team.keys[usize::from(signer.get())].sign(&message).to_bytes()));
    CommitCert { vote, signatures: signatures.collect(), signers }
}

impl Tree {
    /// The tree over these leaf hashes. A node without a sibling rises, which
    /// gives the shape of RFC 9162.
    pub(crate) fn new(leaves: Vec<Hash>) -> Self {
        assert!(!leaves.is_empty(), "the tests need no empty tree");
        let mut levels = vec![leaves];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            let next = level
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => node_hash(left, right),
                    lone => lone[0],
                })
                .collect();
            levels.push(next);
        }
        Self(levels)
    }

    pub(crate) fn of_records(records: &[Vec<u8>]) -> Self {
        Self::new(records.iter().map(|record| leaf_hash(record)).collect())
    }

    pub(crate) fn size(&self) -> u64 {
        self.0[0].len() as u64
    }

    pub(crate) fn root(&self) -> Hash {
        self.0.last().expect("there is a level")[0]
    }

    pub(crate) fn path(&self, index: usize) -> Vec<Hash> {
        let sibling =
            |(depth, level): (usize, &Vec<Hash>)| level.get((index >> depth) ^ 1).copied();
        self.0[..self.0.len() - 1].iter().enumerate().filter_map(sibling).collect()
    }
}

/// Proof of one of the records of a tree.
pub(crate) fn proof(
    head: &FinalHead,
    records: &[Vec<u8>],
    tree: &Tree,
    index: usize,
) -> FinalityProof {
    FinalityProof {
        envelope: records[index].clone(),
        log_index: LogIndex::new(index as u64),
        inclusion: tree.path(index),
        head: head.clone(),
    }
}

/// `count` records of one sender.
pub(crate) fn records(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|number| envelope(number, None)).collect()
}

/// What a proof takes besides the envelope, in bytes of CBOR.
pub(crate) fn overhead(proof: &FinalityProof) -> usize {
    proof.to_cbor().len() - proof.envelope.len()
}

/// Bytes of the binary encoding of a committee, which era changes carry.
pub(crate) fn committee_size(team: &Team) -> usize {
    team.committee.to_bytes().len()
}

/// Parameters that stay as they are when the defaults change.
const fn parameters() -> Parameters {
    Parameters {
        view_timer_ms_min: 300,
        view_timer_ms_max: 60_000,
        view_timer_round_trips: 8,
        idle_block_ms: 1_000,
        leader_silence_ms: 400,
        vrf_epoch_ms: 3_000,
        clock_ahead_ms: 500,
        block_bytes_max: 4_194_304,
        unacknowledged_bytes_max: 1_048_576,
        uncommitted_blocks_max: 64,
        withholding_views: 100,
        ticket_deadline_ms: 86_400_000,
        record_time_window_ms: 120_000,
    }
}
