//! From the network's events to verified inputs, off the driver's thread.
//!
//! Votes and certificates have a thread of their own, so that a megabyte of
//! batches never delays them. What peers ask for is read from disk and
//! answered here, without the engine.

use super::{Context, sleep_until, spawn};
use bizra_consensus::Input;
use bizra_gossip::wire::{ChainPart, Message, Request, Response};
use bizra_gossip::{
    Channel, Event, EventReceiver, GossipId, PeerId, RESPONSE_SIZE_MAX, Reply, Topic, Verdict,
};
use bizra_types::numbers::{Era, ValidatorIndex};
use bizra_types::verify::Fault;
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError as NoRoom;

/// Messages of each class that may wait to be verified.
const MESSAGES_MAX: usize = 8_192;
/// A peer that sends messages is noted as heard at most so often, and the
/// engine told of heartbeats so late: they come from all peers at about one time.
const HEARD_INTERVAL: Duration = Duration::from_millis(50);
/// Most bytes of batches in one answer; leaves room for frames around them.
const BATCHES_ANSWER_BYTES_MAX: usize = RESPONSE_SIZE_MAX / 2;
/// Most bytes of final blocks in one answer, a single large one excepted: the
/// engine works on all uncommitted blocks at every step, so they come in small
/// parts.
const CHAIN_ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Starts the inbox's task and threads.
pub(super) fn start(
    context: &Arc<Context>,
    mut events: EventReceiver,
    heads: mpsc::Sender<(GossipId, Bytes)>,
) {
    let (urgent, urgent_queue) = crossbeam_channel::bounded(MESSAGES_MAX);
    let (bulk, bulk_queue) = crossbeam_channel::bounded(MESSAGES_MAX);
    for (name, queue) in [("verify", urgent_queue), ("verify-bulk", bulk_queue)] {
        let context = Arc::clone(context);
        spawn(name, move || verify_messages(&context, &queue));
    }
    let context = Arc::clone(context);
    tokio::spawn(async move {
        let mut tell_heard_at: Option<Instant> = None;
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = sleep_until(tell_heard_at) => {
                    tell_heard_at = None;
                    context.tell_heard();
                    continue;
                }
            };
            let Some(event) = event else { return };
            match event {
                Event::Message { peer, channel, bytes } => {
                    let queue = match channel {
                        Channel::Consensus => &urgent,
                        Channel::Bulk => &bulk,
                    };
                    enqueue(&context, queue, (peer, bytes));
                }
                Event::Heard { peer, round_trip } => {
                    if context.eras.now().place(&peer).is_some() {
                        context.note_heard(peer, round_trip);
                        tell_heard_at.get_or_insert_with(|| Instant::now() + HEARD_INTERVAL);
                    }
                }
                Event::Request { bytes, reply, .. } => {
                    let context = Arc::clone(&context);
                    tokio::task::spawn_blocking(move || serve(&context, &bytes, reply));
                }
                Event::Opened { peer, hello } => {
                    let now = context.eras.now();
                    let mut hellos = context.hellos();
                    hellos.retain(|peer, _| now.place(peer).is_some());
                    hellos.insert(peer, hello.height);
                    tracing::info!(%peer, height = %hello.height, "a validator is connected");
                }
                Event::Closed { peer } => tracing::info!(%peer, "a validator is gone"),
                Event::Fault { peer, fault, banned } => {
                    context.metrics.error("peer_fault");
                    tracing::warn!(%peer, ?fault, banned, "a peer did what only a faulty one does");
                }
                Event::Incompatible { peer, reason } => {
                    tracing::error!(%peer, %reason, "a validator's stream was refused");
                }
                Event::Gossip { id, topic: Topic::Heads, bytes } => {
                    if let Err(NoRoom::Full((id, _)) | NoRoom::Closed((id, _))) =
                        heads.try_send((id, bytes))
                    {
                        context.network.report(id, Verdict::Ignore);
                    }
                }
                Event::Gossip { id, .. } => context.network.report(id, Verdict::Ignore),
                other => tracing::debug!(?other, "an event of the network that means nothing here"),
            }
        }
    });
}

fn enqueue(context: &Context, queue: &Sender<(PeerId, Bytes)>, message: (PeerId, Bytes)) {
    if let Err(TrySendError::Full(_)) = queue.try_send(message) {
        context.metrics.error("verify_queue_full");
    }
}

fn verify_messages(context: &Context, queue: &Receiver<(PeerId, Bytes)>) {
    let mut heard: BTreeMap<PeerId, Instant> = BTreeMap::new();
    for (peer, bytes) in queue {
        let now = context.eras.now();
        let is_member = now.place(&peer).is_some();
        if is_member && heard.get(&peer).is_none_or(|last| last.elapsed() >= HEARD_INTERVAL) {
            heard.retain(|peer, _| now.place(peer).is_some());
            heard.insert(peer, Instant::now());
            context.note_heard(peer, None);
        }
        let message = match Message::decode(&bytes) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(%peer, %error, "a message that cannot be read");
                context.network.report_fault(peer, "a message that cannot be read");
                continue;
            }
        };
        // A peer has the place that it has in the era of which it speaks.
        let seats = match message.era() {
            None => now,
            Some(era) if era == now.era => now,
            Some(era) => {
                let Some(seats) = context.eras.of(era) else {
                    context.try_input(Input::LaterEra { era, peer: now.place(&peer) });
                    continue;
                };
                seats
            }
        };
        let sender = seats.place(&peer);
        if context.is_decided(sender, &message) {
            continue;
        }
        match context.verify(seats.era, sender, message) {
            Ok(input) => {
                if let Input::Batch(batch) = &input {
                    // Here, where nobody waits: the executor finds the verdicts ready.
                    let _ = context.verdicts.check_batch(batch.get());
                }
                context.input(input);
            }
            Err(fault) => {
                tracing::debug!(%peer, %fault, "a message was refused");
                if fault.is_misbehaviour() {
                    context.network.report_fault(peer, "a message that does not verify");
                }
            }
        }
    }
}

impl Context {
    /// Whether a vote only repeats, too late, what a certificate already says.
    /// A different vote of that view may be evidence and goes on; so does one
    /// of a view that is not the last decided, which may ask for an answer.
    fn is_decided(&self, sender: Option<ValidatorIndex>, message: &Message) -> bool {
        let decided = self.decided();
        match message {
            Message::Vote(vote) => Some(vote.signer) == sender && decided.vote == Some(vote.vote),
            Message::CommitVote(vote) if Some(vote.signer) == sender => {
                let late = decided.commit_vote == Some(vote.vote);
                if late {
                    self.metrics.signed(vote);
                }
                late
            }
            _ => false,
        }
    }

    /// Checks a message of whoever has the place `sender` in `era`, which is that
    /// of the message if it has one.
    pub(super) fn verify(
        &self,
        era: Era,
        sender: Option<ValidatorIndex>,
        message: Message,
    ) -> Result<Input, Fault> {
        if message.signer().is_some_and(|signer| Some(signer) != sender) {
            return Err(Fault::Inconsistent("a message that another validator signed"));
        }
        let member = || sender.ok_or(Fault::Inconsistent("a message of no validator"));
        let mut verifier = self.verifier();
        Ok(match message {
            Message::Proposal(proposal) => Input::Proposal(verifier.proposal(proposal)?),
            Message::Vote(vote) => Input::Vote(verifier.vote(vote)?),
            Message::CommitVote(vote) => {
                let vote = verifier.commit_vote(vote)?;
                self.metrics.signed(vote.get());
                Input::CommitVote(vote)
            }
            Message::Timeout(timeout) => Input::Timeout(verifier.timeout(timeout)?),
            Message::Certificate(certificate) => {
                Input::Certificate(verifier.certificate(certificate)?)
            }
            Message::Reveal(reveal) => Input::Reveal(verifier.reveal(era, reveal)?),
            Message::Batch(batch) => Input::Batch(verifier.batch(batch)?),
            Message::BatchAck(ack) => Input::BatchAck(verifier.batch_ack(era, member()?, ack)?),
            Message::BatchHint(hint) => {
                Input::BatchHint(verifier.batch_hint(era, member()?, hint)?)
            }
        })
    }
}

/// Answers a peer from disk; dropping `reply` tells it that there is nothing.
fn serve(context: &Context, bytes: &Bytes, reply: Reply) {
    let request = match Request::decode(bytes) {
        Ok(request) => request,
        Err(error) => {
            tracing::debug!(%error, "a question that cannot be read");
            return;
        }
    };
    let response = match request {
        Request::Batches { author, after, up_to, digest } => context
            .store
            .batches(author, after, up_to, digest, BATCHES_ANSWER_BYTES_MAX)
            .map(|batches| (!batches.is_empty()).then_some(Response::Batches(batches))),
        Request::Block { block } => {
            context.store.block(block).map(|block| block.map(Response::Block))
        }
        Request::Chain { target, above } => {
            let batches_max = BATCHES_ANSWER_BYTES_MAX;
            context.store.chain_from(above, target, CHAIN_ANSWER_BYTES_MAX, batches_max).map(
                |part| {
                    let part = part?;
                    let (blocks, certificate) = (part.blocks, part.certificate);
                    Some(Response::Chain(ChainPart { blocks, certificate }))
                },
            )
        }
        Request::End { era } => {
            context.store.closed(era).map(|it| it.map(|closed| Response::End(closed.certificate)))
        }
    };
    match response {
        Ok(Some(response)) => {
            if let Err(error) = reply.send(response.encode()) {
                context.metrics.error("answer_too_large");
                tracing::error!(%error, "a peer's question has no answer that can be sent");
            }
        }
        Ok(None) => {}
        Err(error) => {
            context.metrics.error("storage_read");
            tracing::error!(%error, "a peer's question could not be answered from disk");
        }
    }
}
