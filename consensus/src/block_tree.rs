//! The blocks above the committed head: who builds on whom, what is executed,
//! and what a commit certificate makes final.

use crate::effects::{Root, Versions};
use crate::schedule::EpochState;
use bizra_types::batch::SignedBatch;
use bizra_types::block::{Block, Closes, Header};
use bizra_types::committee::Committee;
use bizra_types::crypto::PublicKey;
use bizra_types::genesis::Parameters;
use bizra_types::hash::{BatchDigest, BlockId, ExecHash, Hash};
use bizra_types::numbers::{Height, LaneSeq};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where each lane stands at a block.
pub(crate) type LaneHeads = BTreeMap<PublicKey, (LaneSeq, BatchDigest)>;

/// What is known of a block's cited batches and contents.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// Some batches are not here.
    Wanting,
    /// All are, in order of execution, and the block keeps every rule that
    /// does not depend on a clock.
    Ready(Vec<Arc<SignedBatch>>),
    /// It breaks this rule.
    Invalid(&'static str),
}

/// Execution of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Execution {
    /// Not asked for.
    No,
    /// Asked for.
    Running,
    /// Known.
    Done(ExecHash),
}

/// A block above the committed head.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) block: Block,
    pub(crate) body: Body,
    pub(crate) execution: Execution,
    /// The committee that takes over after it, once it is executed.
    pub(crate) next_committee: Option<Arc<Committee>>,
    /// The versions of the protocol after it, once it is executed.
    pub(crate) versions: Versions,
    /// The parameters after it, once it is executed.
    pub(crate) parameters: Parameters,
    /// Lanes after this block.
    pub(crate) lane_heads: Arc<LaneHeads>,
    /// The lottery after this block.
    pub(crate) epoch: Arc<EpochState>,
    /// The lottery with which a child begins.
    pub(crate) child_epoch: Arc<EpochState>,
}

/// The committed head and everything that builds on it.
#[derive(Debug)]
pub(crate) struct BlockTree {
    root: Root,
    root_id: BlockId,
    root_lane_heads: Arc<LaneHeads>,
    root_child_epoch: Arc<EpochState>,
    nodes: BTreeMap<BlockId, Node>,
}

/// What a child needs to know of its parent.
#[derive(Clone, Debug)]
pub(crate) struct Parent {
    pub(crate) header: Header,
    pub(crate) exec: Option<ExecHash>,
    /// Right once it is executed.
    pub(crate) versions: Versions,
    /// Right once it is executed.
    pub(crate) parameters: Parameters,
    pub(crate) lane_heads: Arc<LaneHeads>,
    pub(crate) child_epoch: Arc<EpochState>,
}

impl BlockTree {
    pub(crate) fn new(root: Root, child_epoch: EpochState) -> Self {
        Self {
            root_id: root.header.id(),
            root_lane_heads: Arc::new(root.lane_heads.clone()),
            root_child_epoch: Arc::new(child_epoch),
            root,
            nodes: BTreeMap::new(),
        }
    }

    pub(crate) const fn root(&self) -> &Root {
        &self.root
    }

    pub(crate) const fn root_id(&self) -> BlockId {
        self.root_id
    }

    pub(crate) const fn height(&self) -> Height {
        self.root.header.height
    }

    pub(crate) fn contains(&self, id: BlockId) -> bool {
        id == self.root_id || self.nodes.contains_key(&id)
    }

    pub(crate) fn get(&self, id: BlockId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: BlockId) -> Option<&mut Node> {
        self.nodes.get_mut(&id)
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The root or a node, as a parent.
    pub(crate) fn parent(&self, id: BlockId) -> Option<Parent> {
        if id == self.root_id {
            return Some(Parent {
                header: self.root.header,
                exec: Some(self.root.exec),
                versions: self.root.versions,
                parameters: self.root.parameters,
                lane_heads: Arc::clone(&self.root_lane_heads),
                child_epoch: Arc::clone(&self.root_child_epoch),
            });
        }
        self.nodes.get(&id).map(|node| Parent {
            header: *node.block.header(),
            exec: match node.execution {
                Execution::Done(exec) => Some(exec),
                Execution::No | Execution::Running => None,
            },
            versions: node.versions,
            parameters: node.parameters,
            lane_heads: Arc::clone(&node.lane_heads),
            child_epoch: Arc::clone(&node.child_epoch),
        })
    }

    /// The seed under which children of the root or of a node find their leaders.
    pub(crate) fn child_seed(&self, id: BlockId) -> Option<Hash> {
        if id == self.root_id {
            return Some(self.root_child_epoch.seed);
        }
        self.nodes.get(&id).map(|node| node.child_epoch.seed)
    }

    /// The exec of the root or of an executed node.
    pub(crate) fn exec(&self, id: BlockId) -> Option<ExecHash> {
        if id == self.root_id {
            return Some(self.root.exec);
        }
        match self.nodes.get(&id)?.execution {
            Execution::Done(exec) => Some(exec),
            Execution::No | Execution::Running => None,
        }
    }

    /// Adds a block whose parent is here.
    pub(crate) fn insert(&mut self, node: Node) {
        assert!(self.contains(node.block.header().parent), "a block is added after its parent");
        self.nodes.insert(node.block.id(), node);
    }

    /// The blocks from above the root up to `id`, ascending; none if `id` does
    /// not build on the root.
    pub(crate) fn path(&self, id: BlockId) -> Option<Vec<BlockId>> {
        let mut path = Vec::new();
        let mut at = id;
        while at != self.root_id {
            path.push(at);
            at = self.nodes.get(&at)?.block.header().parent;
        }
        path.reverse();
        Some(path)
    }

    /// The block that a block closes its era with: itself, or what it fills.
    /// None while the era goes on, as far as is known.
    pub(crate) fn closing(&self, id: BlockId) -> Option<Closes> {
        let node = self.nodes.get(&id)?;
        match (node.block.header().closes, node.execution) {
            (Some(closes), _) => Some(closes),
            (None, Execution::Done(exec)) if node.next_committee.is_some() => {
                Some(Closes { block: id, exec })
            }
            (None, _) => None,
        }
    }

    /// Makes `id` the root; drops its ancestors and all that does not build on
    /// it. Nothing builds on the last block of an era but its fillers.
    pub(crate) fn commit(&mut self, root: Root) {
        let id = root.header.id();
        let is_last = root.opening.is_some();
        let node = self.nodes.get(&id).expect("what is committed is here");
        self.root_lane_heads = Arc::clone(&node.lane_heads);
        self.root_child_epoch = Arc::clone(&node.child_epoch);
        self.root_id = id;
        self.root = root;
        let mut kept = BTreeMap::new();
        let mut blocks: Vec<_> = core::mem::take(&mut self.nodes).into_values().collect();
        blocks.sort_by_key(|node| node.block.header().height);
        for node in blocks {
            let parent = node.block.header().parent;
            if !is_last && (parent == self.root_id || kept.contains_key(&parent)) {
                kept.insert(node.block.id(), node);
            }
        }
        self.nodes = kept;
    }
}
