//! The consensus engine (specification follows in this doc).

mod block_tree;
mod effects;
mod lanes;
mod pacemaker;
mod replica;
mod safety;
mod schedule;
mod votes;

pub use effects::{
    Alarm, Ask, Commit, Effects, Evidence, Execute, Input, Now, Outgoing, Persist, Recipients,
    Restored, Root, SafetyRecord, Send, Time,
};
pub use replica::{Replica, ReplicaConfig, Status};
pub use schedule::{EpochState, Schedule};
