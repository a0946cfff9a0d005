//! The list of events: hashed always, kept as text on request.

use bizra_consensus::{Ask, Input};
use bizra_types::certificate::Certificate;
use bizra_types::hash::{Hash, hex};

/// What has happened, each event noted before it is applied.
#[derive(Debug)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    lines: Option<Vec<String>>,
    events: u64,
}

impl Trace {
    /// An empty trace; `kept` keeps every event as a line.
    pub(crate) fn new(kept: bool) -> Self {
        Self { hasher: blake3::Hasher::new(), lines: kept.then(Vec::new), events: 0 }
    }

    /// Notes an event: when, of which kind, at which node, with which content.
    pub(crate) fn note(
        &mut self,
        at_micros: u64,
        kind: u8,
        node: usize,
        content: u64,
        describe: impl FnOnce() -> String,
    ) {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&(at_micros << 8 | u64::from(kind)).to_le_bytes());
        bytes[8..16].copy_from_slice(&(node as u64).to_le_bytes());
        bytes[16..].copy_from_slice(&content.to_le_bytes());
        self.hasher.update(&bytes);
        if let Some(lines) = &mut self.lines {
            let (seconds, micros) = (at_micros / 1_000_000, at_micros % 1_000_000);
            let event = describe();
            lines.push(format!("{} {seconds}.{micros:06} node {node} {event}", self.events));
        }
        self.events += 1;
    }

    /// How many events there were.
    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    /// Hash over all events.
    pub(crate) fn hash(&self) -> Hash {
        Hash(*self.hasher.finalize().as_bytes())
    }

    /// The lines, if they were kept.
    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}

/// Eight bytes that stand for an input's content.
pub(crate) fn fingerprint(input: &Input) -> u64 {
    match input {
        Input::Proposal(it) => leading(&it.get().signature.0),
        Input::Vote(it) => leading(&it.get().signature.0),
        Input::CommitVote(it) => leading(&it.get().signature.0),
        Input::Timeout(it) => leading(&it.get().signature.0),
        Input::Certificate(it) => match it.get() {
            Certificate::Qc(qc) => leading(qc.vote.block.as_bytes()),
            Certificate::Tc(tc) => tc.view.get(),
            Certificate::Commit(cert) | Certificate::Filler(cert, _) => {
                leading(cert.vote.exec.as_bytes())
            }
        },
        Input::Reveal(it) => leading(&it.get().output),
        Input::Batch(it) => leading(&it.get().signature().0),
        Input::BatchAck(it) => leading(it.get().message.digest.as_bytes()),
        Input::BatchHint(it) => leading(it.get().message.digest.as_bytes()),
        Input::Record(record) => leading(&record.bytes),
        Input::Heard { peer, .. } => peer.get().into(),
        Input::Executed { exec, .. } => leading(exec.as_bytes()),
        Input::Block(it) => leading(it.get().id().as_bytes()),
        Input::LaterEra { era, .. } => era.get(),
        Input::Wake => 0,
    }
}

/// An input in a few words.
pub(crate) fn describe(input: &Input) -> String {
    match input {
        Input::Proposal(it) => {
            let (proposal, header) = (it.get(), it.get().block.header());
            format!(
                "proposal view {} height {} block {:?} on {:?} of view {}{} cites {} time {}",
                header.view,
                header.height,
                proposal.block.id(),
                header.parent,
                proposal.block.justify().vote.view,
                if proposal.tc.is_some() { " by TC" } else { "" },
                proposal.block.citations().len(),
                header.timestamp_ms,
            )
        }
        Input::Vote(it) => {
            let vote = it.get().vote;
            format!("vote of {} view {} block {:?}", it.get().signer, vote.view, vote.block)
        }
        Input::CommitVote(it) => {
            let vote = it.get().vote;
            format!("commit vote of {} view {} block {:?}", it.get().signer, vote.view, vote.block)
        }
        Input::Timeout(it) => {
            let timeout = it.get().timeout;
            format!(
                "timeout of {} view {} high QC {}",
                it.get().signer,
                timeout.view,
                timeout.high_qc_view
            )
        }
        Input::Certificate(it) => match it.get() {
            Certificate::Qc(qc) => format!("QC view {} block {:?}", qc.vote.view, qc.vote.block),
            Certificate::Tc(tc) => {
                format!("TC view {} high QC {}", tc.view, tc.high_qc.vote.view)
            }
            Certificate::Commit(cert) => {
                format!("commit certificate view {} block {:?}", cert.vote.view, cert.vote.block)
            }
            Certificate::Filler(cert, header) => format!(
                "commit certificate view {} of a filler of {:?}",
                cert.vote.view, header.closes
            ),
        },
        Input::Reveal(it) => format!("reveal of {} for {:?}", it.get().validator, it.get().epoch),
        Input::Batch(it) => {
            let header = it.get().header();
            format!("batch {:?} {}", header.author, header.lane_seq)
        }
        Input::BatchAck(it) => {
            let ack = it.get();
            format!(
                "acknowledgement of {} for {:?} {}",
                ack.sender, ack.message.author, ack.message.lane_seq
            )
        }
        Input::BatchHint(it) => {
            format!("hint of {} view {}", it.get().sender, it.get().message.view)
        }
        Input::Record(record) => format!("record {}", hex(&record.bytes[..8])),
        Input::Heard { peer, .. } => format!("heard {peer}"),
        Input::Executed { block, exec, decisions } => {
            let ends = if decisions.next_committee.is_some() { ", the era's last" } else { "" };
            format!("executed {block:?} to {exec:?}{ends}")
        }
        Input::Block(it) => {
            let header = it.get().header();
            format!("block {:?} view {} height {}", it.get().id(), header.view, header.height)
        }
        Input::LaterEra { era, .. } => format!("of era {era}, which is not known"),
        Input::Wake => "wake".to_string(),
    }
}

/// Eight bytes that stand for a question.
pub(crate) fn ask_fingerprint(ask: &Ask) -> u64 {
    match ask {
        Ask::Batches { digest, .. } => leading(digest.as_bytes()),
        Ask::Block { block, .. } => leading(block.as_bytes()),
        Ask::End { era, .. } => era.get(),
        Ask::Chain { target, above, .. } => leading(target.as_bytes()) ^ above.get(),
    }
}

fn leading(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().expect("at least eight bytes"))
}
