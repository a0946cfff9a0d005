//! A chain for tests: real keys, real certificates, real records.

use super::read::plain_key;
use super::{CommittedBlock, META, PLAIN, Store};
use crate::executor::run_block;
use bizra_consensus::{Commit, EpochState, Persist, Root, SafetyRecord, Versions};
use bizra_keys::{ConsensusKey, NetworkKey, SenderKey};
use bizra_ledger::envelope::Unsigned;
use bizra_ledger::execution::{Base, Overlay, Parent};
use bizra_ledger::gates::{Verdict, check_records};
use bizra_ledger::plain::Family;
use bizra_ledger::policy::{DEFAULT_POLICY, Policies, PolicyHash};
use bizra_types::batch::{BatchHeader, BatchRecord, SignedBatch};
use bizra_types::block::{Block, BlockContent, Citation};
use bizra_types::certificate::{CommitCert, Qc};
use bizra_types::committee::{Committee, SignerSet, Validator};
use bizra_types::crypto::{PublicKey, Signature};
use bizra_types::encoding::Encode;
use bizra_types::genesis::{Genesis, Parameters, Policy};
use bizra_types::hash::{BatchDigest, BlockId, ChainId, ExecHash, hex};
use bizra_types::message::{CommitVote, Vote};
use bizra_types::numbers::{
    Era, Height, LaneSeq, ProtocolVersion, TimestampMs, ValidatorIndex, View,
};
use rocksdb::WriteBatch;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Tells the test executable, started again, which folder it works in as a child.
pub(crate) const CHILD_FOLDER: &str = "BIZRA_TEST_CHILD_FOLDER";
/// What takes the space of a small disk.
const BALLAST: &str = "ballast";
/// Validators of the test chains; all of them sign every certificate.
const VALIDATORS: u8 = 4;
/// Admission time of every record: within the tolerance of its timestamp.
const ADMITTED_AT: TimestampMs = TimestampMs::new(1_795_311_963_123);

/// The end of a chain that grows; cloning it forks the chain.
#[derive(Clone)]
pub(crate) struct TestChain {
    pub(crate) genesis: Arc<Genesis>,
    pub(crate) committee: Arc<Committee>,
    /// Which keys stand in the committee, as numbers of [`validator_key`].
    seats: [u8; VALIDATORS as usize],
    era: Era,
    height: Height,
    view: View,
    parent: BlockId,
    lanes: BTreeMap<PublicKey, (LaneSeq, BatchDigest)>,
}

/// A block that was run, with all that its commit needs.
#[derive(Clone)]
pub(crate) struct RunBlock {
    pub(crate) block: Block,
    pub(crate) batches: Vec<Arc<SignedBatch>>,
    pub(crate) verdicts: Vec<Arc<[Verdict]>>,
    pub(crate) overlay: Arc<Overlay>,
}

impl RunBlock {
    pub(crate) fn committed(&self) -> CommittedBlock<'_> {
        CommittedBlock {
            block: &self.block,
            batches: &self.batches,
            verdicts: &self.verdicts,
            overlay: &self.overlay,
        }
    }
}

/// The consensus key of a validator.
pub(crate) fn validator_key(index: u8) -> ConsensusKey {
    ConsensusKey::from_seed(&validator_seed(index))
}

fn validator_seed(index: u8) -> [u8; 32] {
    [index + 1; 32]
}

/// A validator with its key.
pub(crate) fn validator(index: u8) -> Validator {
    Validator {
        name: format!("validator-{index}"),
        peer_id: NetworkKey::from_seed(&validator_seed(index)).peer_id().to_string(),
        consensus_key: validator_key(index).public(),
        vrf_key: [index; 32],
        kem_key: vec![index; 1216],
    }
}

/// The genesis of a chain with this name.
pub(crate) fn genesis(name: &str) -> Genesis {
    Genesis::new(
        name.to_string(),
        TimestampMs::new(ADMITTED_AT.get() - 1_000),
        Committee::new((0..VALIDATORS).map(validator).collect()).expect("a committee"),
        ProtocolVersion::new(1),
        Parameters::default(),
        vec![Policy { name: "default".to_owned(), rego: DEFAULT_POLICY.to_owned() }],
    )
}

/// A good record in a session of its own; `number` makes it differ from others.
pub(crate) fn record(number: u64) -> Arc<[u8]> {
    let data = format!(
        r#"{{
            "session_id": "0189d3a0-0000-7000-8000-{number:012x}",
            "transition": "commit",
            "parents": [],
            "model": {{"name": "tiny", "digest": "{hash}", "evidence": "host_verified"}},
            "tier": "EDGE",
            "input_commitment": "{hash}",
            "output_commitment": "{hash}",
            "operation": "chat",
            "operations": ["infer", "read"],
            "intent": ["infer"],
            "parameters_digest": "{hash}",
            "usage": {{"input_tokens": 12, "output_tokens": 34}},
            "started_at": "2026-11-22T01:46:01Z",
            "finished_at": "2026-11-22T01:46:02.5Z",
            "finish_reason": "stop",
            "trace_id": "00112233445566778899aabbccddeeff",
            "fate": {{"f": 1, "a": 1, "t": 0.95, "e": 0.91}},
            "flags": {{"personal_data": false, "toxicity": false, "violation": false}},
            "budget": {{
                "tier": "MICRO", "depth": 1, "tracks": 1, "retries": 0,
                "entropy": 0.25, "knowledge_gap": 0.125, "mean_snr": 0.9
            }}
        }}"#,
        hash = hex(&[0xab; 32]),
    );
    let metadata = r#""ihsan_score": 0.97, "snr_score": 0.93, "urgency": "REAL_TIME""#;
    let key = SenderKey::from_seed(&[99; 32]);
    signed(&key, "PAT", number, "inference/commit", &data, metadata)
}

/// The registration of a key on a chain: it gets an entry in the state tree.
pub(crate) fn registration(key: &SenderKey, chain: &ChainId) -> Arc<[u8]> {
    let metadata = format!(r#""ihsan_score": 0.97, "chain_id": "{chain}""#);
    signed(key, "PAT", 1, "identity/register", "{}", &metadata)
}

/// What a validator says on a chain in its own name; `nonce` makes it differ from others.
pub(crate) fn said_by(
    validator: u8,
    chain: &ChainId,
    nonce: u64,
    action: &str,
    data: &str,
) -> Arc<[u8]> {
    let key = SenderKey::from_seed(&validator_seed(validator));
    let metadata = format!(r#""ihsan_score": 0.97, "chain_id": "{chain}""#);
    signed(&key, "SAT", nonce, action, data, &metadata)
}

/// Puts an entry into the ledger that no block has written.
pub(crate) fn put_entry(store: &Store, family: Family, key: &[u8], value: &impl Encode) {
    let mut batch = WriteBatch::default();
    batch.put_cf(store.family(PLAIN), plain_key(family, key), value.to_bytes());
    store.write(batch, true).expect("the store can be written");
}

fn signed(
    key: &SenderKey,
    agent_type: &str,
    nonce: u64,
    action: &str,
    data: &str,
    metadata: &str,
) -> Arc<[u8]> {
    let text = format!(
        r#"{{
            "version": "1.0.0",
            "envelope_id": "123e4567-e89b-42d3-a456-426614174000",
            "timestamp": "2026-11-22T01:46:03.123456789Z",
            "nonce": "{nonce:064x}",
            "sender": {{
                "agent_type": "{agent_type}", "agent_id": "agent", "public_key": "{key}"
            }},
            "payload": {{"action": "{action}", "policy_hash": "{policy}", "data": {data}}},
            "metadata": {{{metadata}}}
        }}"#,
        key = key.public(),
        policy = PolicyHash::of(DEFAULT_POLICY),
    );
    let unsigned = Unsigned::parse(text.as_bytes()).expect("the form is right");
    let signature = key.sign(unsigned.digest().as_bytes());
    unsigned.with_signature(signature).expect("small enough")
}

/// A disk that a test can fill.
pub(crate) enum SmallDisk {
    /// A file system of a few megabytes of its own; filled by a file.
    Mounted,
    /// For systems that let nobody mount: every write-ahead log that a store
    /// begins stands on `/dev/full`, where a write answers that no space is
    /// left. It cannot be synced either, so a store recovers when it is opened
    /// again and not before.
    Trapped,
}

/// Runs the body with a folder on a disk that it can fill, in a process of its
/// own. `test` is the full name of the test that calls this.
pub(crate) fn on_small_disk(test: &str, body: impl FnOnce(&Path, SmallDisk)) {
    if let Some(dir) = std::env::var_os(CHILD_FOLDER) {
        return body(Path::new(&dir), SmallDisk::Mounted);
    }
    let dir = tempfile::tempdir().expect("a folder for the test");
    let mount = "mount -t tmpfs -o size=64m none \"$0\"";
    let in_namespace = |flag: &str, script: &str| {
        let mut command = Command::new("unshare");
        command.args([flag, "sh", "-c", script]).arg(dir.path());
        command
    };
    let flag = ["-Urm", "-m"].into_iter().find(|flag| {
        in_namespace(flag, mount).output().is_ok_and(|output| output.status.success())
    });
    let Some(flag) = flag else { return body(dir.path(), SmallDisk::Trapped) };
    let output = in_namespace(flag, &format!("{mount} && exec \"$@\""))
        .arg(std::env::current_exe().expect("the test's own path"))
        .args(["--exact", test, "--nocapture"])
        .env(CHILD_FOLDER, dir.path())
        .output()
        .expect("it ran a moment ago");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

impl SmallDisk {
    /// Whether a store recovers without being opened again.
    pub(crate) const fn recovers(&self) -> bool {
        matches!(self, Self::Mounted)
    }

    /// Takes all space away.
    pub(crate) fn fill(&self, store: &Store) {
        match self {
            Self::Mounted => {
                let mut ballast =
                    File::create(store.dir().join(BALLAST)).expect("it is not full yet");
                while ballast.write_all(&[0; 4096]).is_ok() {}
            }
            Self::Trapped => {
                for trap in traps(store) {
                    std::os::unix::fs::symlink("/dev/full", trap).expect("the test can write");
                }
                // A family with something to flush begins a new log.
                let mut batch = WriteBatch::default();
                batch.put_cf(store.family(META), b"of no meaning", [0]);
                store.write(batch, true).expect("it is not full yet");
                store.0.db.flush_cf(store.family(META)).expect("it is not full yet");
            }
        }
    }

    /// Gives the space back.
    pub(crate) fn free(&self, store: &Store) {
        match self {
            Self::Mounted => {
                fs::remove_file(store.dir().join(BALLAST)).expect("the ballast is there");
            }
            Self::Trapped => {
                for entry in fs::read_dir(store.dir()).expect("the folder can be listed") {
                    let path = entry.expect("the folder can be listed").path();
                    if path.is_symlink() {
                        fs::remove_file(path).expect("the test can write");
                    }
                }
            }
        }
    }
}

/// The next write-ahead logs that a store may begin.
fn traps(store: &Store) -> Vec<PathBuf> {
    let names = fs::read_dir(store.dir()).expect("the folder can be listed");
    let newest = names
        .filter_map(|entry| {
            let name = entry.expect("the folder can be listed").file_name();
            let digits = name.to_string_lossy().replace(|it: char| !it.is_ascii_digit(), "");
            digits.parse::<u64>().ok().filter(|number| *number < 1_000_000)
        })
        .max()
        .expect("a store has numbered files");
    (newest + 1..newest + 100).map(|it| store.dir().join(format!("{it:06}.log"))).collect()
}

impl TestChain {
    /// A chain that has its genesis block alone.
    pub(crate) fn new(name: &str) -> Self {
        Self::of(genesis(name))
    }

    /// The chain of a genesis file with the committee of [`genesis`].
    pub(crate) fn of(genesis: Genesis) -> Self {
        Self {
            parent: genesis.header().id(),
            committee: Arc::clone(&genesis.committee),
            seats: core::array::from_fn(|index| u8::try_from(index).expect("few")),
            genesis: Arc::new(genesis),
            era: Era::new(1),
            height: Height::ZERO,
            view: View::ZERO,
            lanes: BTreeMap::new(),
        }
    }

    /// Ends the era with the block at the end: another committee takes over, in which the last
    /// seat has the key of this number.
    pub(crate) fn hand_over(&mut self, committee: Arc<Committee>, last_seat: u8) {
        self.committee = committee;
        self.seats[usize::from(VALIDATORS) - 1] = last_seat;
        self.era = self.era.next();
        self.view = View::ZERO;
    }

    /// The next batch of a validator's lane.
    pub(crate) fn batch(&mut self, author: u8, records: &[Arc<[u8]>]) -> Arc<SignedBatch> {
        let key = validator_key(author);
        let (last, previous) =
            self.lanes.get(&key.public()).copied().unwrap_or((LaneSeq::ZERO, BatchDigest::ZERO));
        let records: Arc<[BatchRecord]> = records
            .iter()
            .map(|bytes| BatchRecord { admitted_at_ms: ADMITTED_AT, bytes: Arc::clone(bytes) })
            .collect();
        let header = BatchHeader::new(self.era, key.public(), last.next(), previous, &records);
        let chain_id = self.genesis.chain_id();
        self.lanes.insert(key.public(), (last.next(), header.digest(&chain_id)));
        let signature = key.sign(&header.signed_bytes(&chain_id));
        Arc::new(SignedBatch::new(header, signature, records).expect("the header is theirs"))
    }

    /// A block on the end of the chain that cites these batches, the last ones
    /// of their lanes. It becomes the end.
    pub(crate) fn block(&mut self, batches: &[Arc<SignedBatch>]) -> Block {
        self.block_in(self.view.next(), batches)
    }

    /// As [`TestChain::block`], in a later view.
    pub(crate) fn block_in(&mut self, view: View, batches: &[Arc<SignedBatch>]) -> Block {
        let chain_id = self.genesis.chain_id();
        let mut cited: BTreeMap<PublicKey, Citation> = BTreeMap::new();
        for batch in batches {
            let header = batch.header();
            let digest = header.digest(&chain_id);
            let citation = Citation { author: header.author, up_to_seq: header.lane_seq, digest };
            cited.insert(header.author, citation);
        }
        let block = Block::new(BlockContent {
            protocol_version: ProtocolVersion::new(1),
            chain_id,
            height: self.height.next(),
            view,
            justify: self.qc(),
            citations: cited.into_values().collect(),
            reveals: Vec::new(),
            timestamp_ms: TimestampMs::new(ADMITTED_AT.get() + self.height.next().get()),
            proposer: ValidatorIndex::ZERO,
            closes: None,
        });
        self.height = self.height.next();
        self.view = view;
        self.parent = block.id();
        block
    }

    /// The certificate of the end.
    pub(crate) fn qc(&self) -> Qc {
        let size = usize::from(VALIDATORS);
        if self.view == View::ZERO {
            return Qc::root(self.era, self.parent, size);
        }
        let vote = Vote { era: self.era, view: self.view, block: self.parent };
        let message = vote.signed_bytes(&self.genesis.chain_id());
        Qc { vote, signers: everyone(), signatures: self.signed_by_everyone(&message) }
    }

    /// The commit of these blocks by a certificate of the last one.
    pub(crate) fn commit(&self, blocks: &[(Block, ExecHash)]) -> Commit {
        let (last, exec) = blocks.last().expect("a commit has blocks");
        let vote =
            CommitVote { era: self.era, view: last.header().view, block: last.id(), exec: *exec };
        let message = vote.signed_bytes(&self.genesis.chain_id());
        let cert =
            CommitCert { vote, signers: everyone(), signatures: self.signed_by_everyone(&message) };
        let root = Root {
            header: *last.header(),
            exec: *exec,
            lane_heads: self.lanes.clone(),
            epoch: EpochState::genesis(&self.genesis.chain_id()),
            cert: Some(cert.clone()),
            versions: Versions::of(self.genesis.protocol_version),
            parameters: self.genesis.parameters,
            opening: None,
        };
        Commit { blocks: blocks.to_vec(), cert, root }
    }

    /// Runs a block on the overlays of its uncommitted ancestors.
    pub(crate) fn run(
        &self,
        base: &dyn Base,
        ancestors: &[RunBlock],
        block: &Block,
        batches: &[Arc<SignedBatch>],
    ) -> RunBlock {
        let pending = ancestors.iter().map(|run| Arc::clone(&run.overlay)).collect();
        let verdicts: Vec<Arc<[Verdict]>> =
            batches.iter().map(|batch| self.verdicts(batch)).collect();
        let parent = Parent::new(base, pending).expect("the store can be read");
        let policies = &mut Policies::new([DEFAULT_POLICY]);
        let committee = &self.committee;
        let overlay = run_block(&parent, block, batches, &verdicts, committee, policies)
            .expect("the store can be read");
        RunBlock {
            block: block.clone(),
            batches: batches.to_vec(),
            verdicts,
            overlay: Arc::new(overlay),
        }
    }

    /// Makes a block of these batches, runs it on the head and commits it.
    pub(crate) fn grow(&mut self, store: &Store, batches: &[Arc<SignedBatch>]) -> RunBlock {
        let block = self.block(batches);
        let run = self.run(store, &[], &block, batches);
        let commit = self.commit(&[(block, run.overlay.exec())]);
        store.commit(&commit, &[run.committed()]).expect("the store can be written");
        run
    }

    /// What a validator writes when it votes for the block at the end.
    pub(crate) fn vote(&self, block: &Block, batches: &[Arc<SignedBatch>]) -> Persist {
        let header = block.header();
        let safety = SafetyRecord {
            era: Era::new(1),
            current_view: header.view,
            last_voted: Some(Vote { era: Era::new(1), view: header.view, block: block.id() }),
            last_timeout: None,
            last_commit_vote: None,
            last_proposal: None,
            last_batch: None,
            high_qc: block.justify().clone(),
            high_tc: None,
        };
        Persist {
            safety: vec![(validator_key(0).public(), safety)],
            blocks: vec![block.clone()],
            batches: batches.to_vec(),
            ..Persist::default()
        }
    }

    fn signed_by_everyone(&self, message: &[u8]) -> Vec<Signature> {
        self.seats.iter().map(|key| validator_key(*key).sign(message)).collect()
    }

    fn verdicts(&self, batch: &SignedBatch) -> Arc<[Verdict]> {
        let records: Vec<_> =
            batch.records().iter().map(|it| (it.admitted_at_ms, &it.bytes[..])).collect();
        check_records(&records, &self.genesis.chain_id()).into()
    }
}

fn everyone() -> SignerSet {
    SignerSet::of(
        usize::from(VALIDATORS),
        (0..VALIDATORS).map(|index| ValidatorIndex::new(index.into())),
    )
}
