//! Asks peers for what the engine misses and brings the answers in.
//!
//! The engine asks again, and somebody else, until it has what it wants: here
//! a failure is only noted.

use super::Context;
use super::seats::Seats;
use bizra_consensus::{Ask, Input};
use bizra_gossip::PeerId;
use bizra_gossip::wire::{Request, Response};
use bizra_types::batch::SignedBatch;
use bizra_types::verify::Fault;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Questions under way at once.
const QUESTIONS_MAX: usize = 32;
/// Time for an answer; the engine will have asked somebody else long before.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks on behalf of the driver's thread, which never waits.
pub(super) struct Fetcher {
    context: Arc<Context>,
    runtime: tokio::runtime::Handle,
    room: Arc<Semaphore>,
    /// One range of final blocks at a time: it is large, and the next depends on it.
    chain_room: Arc<Semaphore>,
    /// Questions that somebody else was asked than the engine named.
    astray: AtomicUsize,
}

impl Fetcher {
    pub(super) fn start(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
            runtime: tokio::runtime::Handle::current(),
            room: Arc::new(Semaphore::new(QUESTIONS_MAX)),
            chain_room: Arc::new(Semaphore::new(1)),
            astray: AtomicUsize::new(0),
        }
    }

    /// Asks a member of the era, unless too many questions are under way. If it
    /// is not connected, another peer is asked: whoever was away for long may
    /// know nobody of the committee that there is now. Answers prove themselves.
    pub(super) fn ask(&self, seats: &Seats, ask: Ask) {
        let room = if matches!(ask, Ask::Chain { .. }) { &self.chain_room } else { &self.room };
        let Ok(room) = Arc::clone(room).try_acquire_owned() else { return };
        let (index, request) = match ask {
            Ask::Batches { author, after, up_to, digest, peer } => {
                (peer, Request::Batches { author, after, up_to, digest })
            }
            Ask::Block { block, peer } => (peer, Request::Block { block }),
            Ask::Chain { target, above, peer } => (peer, Request::Chain { target, above }),
            Ask::End { era, peer } => (peer, Request::End { era }),
        };
        let context = Arc::clone(&self.context);
        let connected = context.network.connected_peers();
        let named = seats.peer(index).filter(|peer| connected.contains(peer));
        let other = || any(&connected, self.astray.fetch_add(1, Ordering::Relaxed));
        let Some(peer) = named.or_else(other) else { return };
        self.runtime.spawn(async move {
            let answer = context.network.request(peer, request.encode(), ANSWER_TIMEOUT).await;
            match answer {
                Ok(bytes) => {
                    let taken = tokio::task::spawn_blocking(move || {
                        take(&context, peer, request, &bytes);
                    });
                    if taken.await.is_err() {
                        tracing::error!(%peer, "an answer could not be taken in");
                    }
                }
                Err(error) => tracing::debug!(%peer, %error, ?request, "no answer"),
            }
            drop(room);
        });
    }
}

/// One of these peers, each in its turn.
fn any(peers: &BTreeSet<PeerId>, turn: usize) -> Option<PeerId> {
    peers.iter().copied().nth(turn.checked_rem(peers.len())?)
}

fn take(context: &Context, peer: PeerId, request: Request, bytes: &[u8]) {
    let response = match Response::decode(bytes) {
        Ok(response) => response,
        Err(error) => {
            tracing::warn!(%peer, %error, "an answer that cannot be read");
            context.network.report_fault(peer, "an answer that cannot be read");
            return;
        }
    };
    if let Err(fault) = bring_in(context, request, response) {
        tracing::warn!(%peer, %fault, "an answer that does not verify");
        if fault.is_misbehaviour() {
            context.network.report_fault(peer, "an answer that does not verify");
        }
    }
}

/// The engine believes that a block it gets this way is certified: it is the one
/// whose certificate it holds, or an ancestor of one that came with its own.
fn bring_in(context: &Context, request: Request, response: Response) -> Result<(), Fault> {
    match response {
        Response::Batches(batches) => bring_batches(context, batches),
        Response::Block(block) => {
            let asked = matches!(request, Request::Block { block: id } if id == block.id());
            if !asked {
                return Err(Fault::Inconsistent("an answer with another block than was asked for"));
            }
            let block = context.verifier().block(block)?;
            context.input(Input::Block(block));
            Ok(())
        }
        Response::Chain(part) => {
            // Blocks before their batches: the engine takes in what a block cites.
            let last = part.blocks.last().map(|(block, _)| block.id());
            let linked = part
                .blocks
                .is_sorted_by(|(block, _), (child, _)| child.header().parent == block.id());
            let made_final = part.certificate.made_final().map(|(block, _)| block);
            if !linked || last.is_none() || last != made_final {
                return Err(Fault::Inconsistent("blocks that their certificate does not cover"));
            }
            let certificate = context.verifier().certificate(part.certificate)?;
            for (block, batches) in part.blocks {
                let block = context.verifier().block(block)?;
                context.input(Input::Block(block));
                bring_batches(context, batches)?;
            }
            context.input(Input::Certificate(certificate));
            Ok(())
        }
        Response::End(certificate) => {
            let certificate = context.verifier().certificate(certificate)?;
            context.input(Input::Certificate(certificate));
            Ok(())
        }
    }
}

fn bring_batches(context: &Context, batches: Vec<SignedBatch>) -> Result<(), Fault> {
    for batch in batches {
        let batch = context.verifier().batch(batch)?;
        context.input(Input::Batch(batch));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_asked_in_turn() {
        assert_eq!(any(&BTreeSet::new(), 0), None);
        let peers: BTreeSet<_> = (0..3).map(|_| PeerId::random()).collect();
        let asked: Vec<_> = (0..3).filter_map(|turn| any(&peers, turn)).collect();
        assert!(asked.iter().eq(&peers));
        assert_eq!(any(&peers, 3), any(&peers, 0));
    }
}
