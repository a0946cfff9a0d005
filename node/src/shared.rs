//! What the driver, the executor and the API share: handles and messages, no logic.

use bizra_types::batch::SignedTicket;
use bizra_types::committee::Committee;
use bizra_types::crypto::PublicKey;
use bizra_types::genesis::Genesis;
use bizra_types::hash::{BlockId, ExecHash, RecordDigest};
use bizra_types::numbers::{Era, Height, LogIndex, TimestampMs, ValidatorIndex, View};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::metrics::Metrics;
use crate::patterns;
use crate::storage::Store;

/// Submissions that may wait for the driver; beyond it the API answers 429.
pub const SUBMISSIONS_MAX: usize = 4_096;

/// Everything the API needs of a running node. Cheap to clone.
#[derive(Clone)]
pub struct Shared {
    /// The chain's genesis file.
    pub genesis: Arc<Genesis>,
    /// What is on disk, for reading.
    pub store: Store,
    /// To the driver.
    pub submissions: mpsc::Sender<Submission>,
    /// To the pool of patterns.
    pub patterns: mpsc::Sender<patterns::Ask>,
    /// The driver's state, republished when it changes.
    pub status: watch::Receiver<NodeStatus>,
    /// Each committed block, ascending; the executor sends it after its write batch.
    pub committed: broadcast::Sender<Arc<Committed>>,
    /// The records of each block that becomes ordered; the executor sends it.
    pub ordered: broadcast::Sender<Arc<Ordered>>,
    /// All counters and histograms of the node.
    pub metrics: Arc<Metrics>,
}

impl Shared {
    /// The key of this validator, while it has a seat.
    #[must_use]
    pub fn own_key(&self) -> Option<PublicKey> {
        let status = self.status.borrow();
        status.committee.key(status.me?)
    }
}

/// A record that passed admission, on its way into the lane.
pub struct Submission {
    /// Canonical bytes of the signed envelope.
    pub bytes: Arc<[u8]>,
    /// Its identity.
    pub digest: RecordDigest,
    /// When it was admitted, by this node's clock; goes into ticket and batch.
    pub admitted_at_ms: TimestampMs,
    /// Answered once the record is on this node's disk, or refused.
    pub reply: oneshot::Sender<Result<SignedTicket, NotAccepted>>,
}

/// Why the driver did not take a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// The lane is full: try again later.
    #[error("the lane of this validator is full")]
    LaneFull,
    /// This node has no lane: it is no validator, or it has stopped signing.
    #[error("this node does not accept records: {0}")]
    NotAValidator(&'static str),
    /// The disk is full or failing; reads go on.
    #[error("this node cannot write to its disk")]
    DiskUnwritable,
}

/// How the node is connected to the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A quorum is heard.
    Federated,
    /// No quorum: records are accepted into the lane and wait.
    #[default]
    LocalOnly,
    /// Nobody is heard.
    Offline,
}

/// The driver's state, for people and probes.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// The validators of the era.
    pub committee: Arc<Committee>,
    /// This validator's place in the committee; none for a follower.
    pub me: Option<ValidatorIndex>,
    /// The era.
    pub era: Era,
    /// The view.
    pub view: View,
    /// Who leads it, if known.
    pub leader: Option<ValidatorIndex>,
    /// Height of the committed head.
    pub height: Height,
    /// The committed head.
    pub block: BlockId,
    /// Its exec.
    pub exec: ExecHash,
    /// View of the highest QC.
    pub high_qc_view: View,
    /// Who voted in this view so far.
    pub voted: Vec<ValidatorIndex>,
    /// Who timed out of this view so far.
    pub timed_out: Vec<ValidatorIndex>,
    /// Validators heard within the last second, this one included.
    pub heard: BTreeSet<ValidatorIndex>,
    /// Connected peers.
    pub peers: usize,
    /// How it is connected.
    pub mode: Mode,
    /// What it waits for, in words.
    pub waiting_for: String,
    /// Stopped signing because a quorum executed something else.
    pub diverged: bool,
    /// The last write failed for want of space or otherwise.
    pub disk_unwritable: bool,
    /// A block became final here since a quorum was last heard anew, with
    /// nothing missing: before that, nobody knows how far the others are.
    pub synced: bool,
    /// It is fetching final blocks that others have.
    pub catching_up: bool,
    /// Bytes of records in this node's lane that are not final.
    pub lane_bytes: usize,
}

impl NodeStatus {
    /// The state of a node that has heard nothing yet.
    #[must_use]
    pub fn new(era: Era, committee: Arc<Committee>, me: Option<ValidatorIndex>) -> Self {
        Self {
            committee,
            me,
            era,
            view: View::default(),
            leader: None,
            height: Height::default(),
            block: BlockId::default(),
            exec: ExecHash::default(),
            high_qc_view: View::default(),
            voted: Vec::new(),
            timed_out: Vec::new(),
            heard: BTreeSet::new(),
            peers: 0,
            mode: Mode::default(),
            waiting_for: String::new(),
            diverged: false,
            disk_unwritable: false,
            synced: false,
            catching_up: false,
            lane_bytes: 0,
        }
    }
}

/// A block with a QC that is not final yet, for those who wait for that much.
#[derive(Clone, Debug)]
pub struct Ordered {
    /// Its height.
    pub height: Height,
    /// Its records that get into the log if it becomes final.
    pub records: Vec<RecordDigest>,
}

/// A committed block, for those who wait for their records.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its height.
    pub height: Height,
    /// Its id.
    pub block: BlockId,
    /// Its view.
    pub view: View,
    /// Chain time.
    pub timestamp_ms: TimestampMs,
    /// Its proposer.
    pub proposer: ValidatorIndex,
    /// Its records in order of execution: digest (none when the bytes have
    /// none), outcome code (0 is success, 255 skipped), index in the log.
    pub records: Vec<(Option<RecordDigest>, u8, Option<LogIndex>)>,
}
