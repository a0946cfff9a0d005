//! Write, sync, sign, send: in this order, one job after the other.
//!
//! Jobs that wait are written together, so the disk is synced once for all of
//! them. A full disk makes the node silent, not dead: the jobs stay in line
//! until space returns. Any other failed write ends the process, because
//! nobody knows what is on the disk then.

use super::seats::Seats;
use super::waiters::Waiter;
use super::{Context, NO_SEAT};
use crate::fail::{self, Point};
use crate::storage::StorageError;
use bizra_consensus::{Evidence, Input, Outgoing, Persist, Recipients, Send};
use bizra_gossip::wire::Message;
use bizra_gossip::{Channel, PeerId, SendError};
use bizra_keys::ConsensusKey;
use bizra_types::batch::{SignedBatch, SignedTicket, Ticket};
use bizra_types::block::{Reveal, SignedProposal, proposal_signed_bytes};
use bizra_types::crypto::{Signature, SignatureCheck};
use bizra_types::message::{SignedCommitVote, SignedTimeout, SignedVote};
use bizra_types::numbers::Era;
use crossbeam_channel::Receiver;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Jobs written with one sync.
const JOBS_PER_SYNC_MAX: usize = 128;
/// Pause between two attempts to write to a full disk.
const DISK_RETRY: Duration = Duration::from_millis(500);

/// What one step of the engine wants done.
pub(super) struct Job {
    /// Those of the era that the engine was in after the step. An answer of a
    /// step that ended an era goes astray: who needs it asks again.
    pub(super) seats: Arc<Seats>,
    pub(super) persist: Persist,
    pub(super) send: Vec<Send>,
    pub(super) waiters: Vec<Waiter>,
    pub(super) evidence: Vec<Evidence>,
}

impl Job {
    pub(super) fn is_empty(&self) -> bool {
        self.persist.is_empty()
            && self.send.is_empty()
            && self.waiters.is_empty()
            && self.evidence.is_empty()
    }
}

/// Works until the driver is gone and the queue is empty.
pub(super) fn run(context: &Context, queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let mut jobs = vec![first];
        jobs.extend(queue.try_iter().take(JOBS_PER_SYNC_MAX - 1));
        let mut whole = Persist::default();
        for job in &mut jobs {
            whole.join(core::mem::take(&mut job.persist));
        }
        if write(context, &whole).is_err() {
            return;
        }
        fail::at(Point::AfterWrite);
        for job in jobs {
            for message in job.send {
                deliver(context, &job.seats, message);
                fail::at(Point::MidSend);
            }
            for waiter in job.waiters {
                answer(context, &job.seats, waiter);
            }
            for evidence in job.evidence {
                if let Err(error) = context.store.store_evidence(&evidence) {
                    tracing::error!(%error, "evidence could not be stored");
                }
            }
        }
        fail::at(Point::AfterSend);
    }
}

/// The node ended while the disk was full: nothing was written or sent.
struct Stopped;

/// Returns when all of it is on disk.
fn write(context: &Context, persist: &Persist) -> Result<(), Stopped> {
    if persist.is_empty() {
        return Ok(());
    }
    fail::at(Point::BeforeWrite);
    loop {
        let started = Instant::now();
        match context.store.persist(persist) {
            Ok(()) => {
                context.metrics.fsync(started.elapsed());
                if context.disk_unwritable.swap(false, Ordering::Relaxed) {
                    tracing::warn!("the disk has room again: signing goes on");
                }
                return Ok(());
            }
            Err(error @ StorageError::Full { .. }) => {
                if !context.disk_unwritable.swap(true, Ordering::Relaxed) {
                    context.metrics.error("disk_full");
                    tracing::error!(%error, "signing nothing until there is room on the disk");
                }
                if context.is_stopping.load(Ordering::Relaxed) {
                    return Err(Stopped);
                }
                std::thread::sleep(DISK_RETRY);
            }
            Err(error) => super::stop_for_good(&error),
        }
    }
}

fn deliver(context: &Context, seats: &Seats, send: Send) {
    let Some(message) = sign(context, seats, send.message) else { return };
    let channel = message.channel();
    let bytes = message.encode();
    let send_to = |peer: PeerId| match context.network.send(&peer, channel, bytes.clone()) {
        Err(SendError::Full { .. }) => context.metrics.error("peer_queue_full"),
        Err(SendError::TooLarge { .. }) => context.metrics.error("message_too_large"),
        // Whoever is not connected asks when it comes back.
        Err(SendError::NoStream) | Ok(()) => {}
    };
    match send.to {
        Recipients::One(index) => seats.peer(index).into_iter().for_each(send_to),
        Recipients::Former(key) => context.eras.owner(&key).into_iter().for_each(send_to),
        Recipients::All => {
            seats.others().for_each(send_to);
            context.answer(own_input(context, seats.era, message));
        }
    }
}

/// The message to send; none if only a member of the era could say it and this
/// node is none. Whoever has left still passes on what proves itself: it may be
/// the only one that knows how its era ended, or has the records of its lane.
fn sign(context: &Context, seats: &Seats, message: Outgoing) -> Option<Message> {
    let chain_id = context.genesis.chain_id();
    let me = seats.signer(&context.keys);
    // The step may have ended the era of what it says, where another of our keys,
    // or this one in another place, had the seat.
    let me_in = |era| context.eras.of(era)?.signer(&context.keys);
    Some(match message {
        Outgoing::Proposal { block, tc } => {
            let (_, key) = me_in(block.header().era)?;
            let signature = sign_bytes(context, key, &proposal_signed_bytes(block.header()));
            Message::Proposal(SignedProposal { block, tc, signature })
        }
        Outgoing::Vote(vote) => {
            let (signer, key) = me_in(vote.era)?;
            let signature = sign_bytes(context, key, &vote.signed_bytes(&chain_id));
            Message::Vote(SignedVote { vote, signer, signature })
        }
        Outgoing::CommitVote(vote) => {
            let (signer, key) = me_in(vote.era)?;
            let signature = sign_bytes(context, key, &vote.signed_bytes(&chain_id));
            Message::CommitVote(SignedCommitVote { vote, signer, signature })
        }
        Outgoing::Timeout { timeout, high_qc, entry_tc, missing } => {
            let (signer, key) = me_in(timeout.era)?;
            context.metrics.timeout_signed();
            let signature = sign_bytes(context, key, &timeout.signed_bytes(&chain_id));
            Message::Timeout(SignedTimeout {
                timeout,
                signer,
                signature,
                high_qc,
                entry_tc,
                missing,
            })
        }
        Outgoing::Batch { header, records } => {
            let key = context.keys.consensus_of(&header.author);
            let key = key.expect("the engine makes batches of our keys only");
            let signature = sign_bytes(context, key, &header.signed_bytes(&chain_id));
            let batch = SignedBatch::new(header, signature, records)
                .expect("the header was made of these records");
            fail::at(Point::BeforeSignature);
            if let Err(error) = context.store.store_signature(&batch) {
                tracing::warn!(%error, "a batch's signature was not kept and will be made again");
            }
            fail::at(Point::AfterSignature);
            Message::Batch(batch)
        }
        Outgoing::Reveal(input) => {
            let (validator, _) = me?;
            let (output, proof) = context.keys.vrf.evaluate(&input);
            Message::Reveal(Reveal { validator, epoch: input.epoch, output, proof })
        }
        Outgoing::Certificate(certificate) => Message::Certificate(certificate),
        Outgoing::BatchAck(ack) => {
            me?;
            Message::BatchAck(ack)
        }
        Outgoing::BatchHint(hint) => {
            me?;
            Message::BatchHint(hint)
        }
    })
}

/// Signs, and notes the signature as good so that it is never verified here.
fn sign_bytes(context: &Context, key: &ConsensusKey, message: &[u8]) -> Signature {
    let signature = key.sign(message);
    let key = key.public();
    context.verifier().memo().remember(&SignatureCheck { key, message, signature });
    signature
}

/// What we send to all comes back to us through the same door. `now` is the era
/// of what says none.
fn own_input(context: &Context, now: Era, message: Message) -> Input {
    let era = message.era().unwrap_or(now);
    let me = context.eras.of(era).and_then(|seats| seats.me);
    match context.verify(era, me, message) {
        Ok(input) => input,
        Err(fault) => panic!("this node sent what it would not accept: {fault}"),
    }
}

fn answer(context: &Context, seats: &Seats, waiter: Waiter) {
    let Some(signer) = seats.me else {
        let _ = waiter.reply.send(Err(NO_SEAT));
        return;
    };
    let ticket = Ticket {
        digest: waiter.digest,
        admitted_at_ms: waiter.admitted_at_ms,
        deadline_ms: waiter
            .admitted_at_ms
            .saturating_add_ms(context.genesis.parameters.ticket_deadline_ms),
    };
    let era = seats.era;
    let bytes = ticket.signed_bytes(&context.genesis.chain_id(), era);
    let (_, key) = seats.signer(&context.keys).expect("there is a seat");
    let signature = key.sign(&bytes);
    // A submitter that has gone away still finds its record by digest.
    let _ = waiter.reply.send(Ok(SignedTicket { ticket, era, signer, signature }));
}

/// Which stream a message takes.
trait MessageChannel {
    fn channel(&self) -> Channel;
}

impl MessageChannel for Message {
    fn channel(&self) -> Channel {
        match self {
            Self::Batch(_) => Channel::Bulk,
            _ => Channel::Consensus,
        }
    }
}

#[cfg(test)]
mod tests;
