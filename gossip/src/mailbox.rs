//! What the network tells its owner, in which order, and how much of it waits.

use crate::Channel;
use crate::handshake::{Hello, Incompatible};
use crate::requests::Reply;
use crate::roster::Fault;
use crate::topics::{GossipId, Topic};
use bytes::Bytes;
use libp2p::PeerId;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Events about consensus that are handed out before one of another kind must
/// have its turn, so that a peer that floods consensus stops no batch.
const CONSENSUS_IN_A_ROW_MAX: u32 = 64;

/// Requests of peers that wait for the owner, at most; more are told that we are busy.
pub(crate) const REQUESTS_WAITING_MAX: usize = 256;

/// Gossip messages that wait for the owner, at most; more are ignored.
pub(crate) const GOSSIP_WAITING_MAX: usize = 1024;

/// Something that happened on the network.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A peer's consensus stream to us opened; its messages follow.
    Opened {
        /// Who.
        peer: PeerId,
        /// What it says of itself.
        hello: Hello,
    },
    /// The last connection with a peer whose consensus stream was open is gone.
    Closed {
        /// Who.
        peer: PeerId,
    },
    /// A validator sent a message on a direct stream. The bytes are not checked.
    ///
    /// Each peer has a share of memory per channel, and a message holds its
    /// part until the last clone of `bytes` is dropped: a peer that sends
    /// faster than the owner works is read no further, and delays only itself.
    /// Keep what was decoded, not the bytes.
    Message {
        /// Who sent it, as the transport authenticated it.
        peer: PeerId,
        /// On which channel. Messages of one peer and channel arrive in order.
        channel: Channel,
        /// The message.
        bytes: Bytes,
    },
    /// A validator sent a heartbeat.
    Heard {
        /// Who.
        peer: PeerId,
        /// The round trip, when the heartbeat echoed one of ours.
        round_trip: Option<Duration>,
    },
    /// A peer asks for something.
    Request {
        /// Who asks.
        peer: PeerId,
        /// What for. The bytes are not checked.
        bytes: Bytes,
        /// Takes the answer; dropping it tells the peer that there is none.
        reply: Reply,
    },
    /// A gossip message that waits for [`crate::Network::report`] before it is passed on.
    Gossip {
        /// What to report on.
        id: GossipId,
        /// On which topic.
        topic: Topic,
        /// The message. The bytes are not checked.
        bytes: Bytes,
    },
    /// A peer did what only a faulty peer does.
    Fault {
        /// Who.
        peer: PeerId,
        /// What it did.
        fault: Fault,
        /// Whether it is banned for a time now.
        banned: bool,
    },
    /// A validator's stream was refused.
    Incompatible {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: Incompatible,
    },
}

/// Hands out events: those about consensus first, none starved.
#[derive(Debug)]
pub struct EventReceiver {
    consensus: mpsc::UnboundedReceiver<Charged>,
    bulk: mpsc::UnboundedReceiver<Charged>,
    requests: mpsc::Receiver<Event>,
    gossip: mpsc::Receiver<Event>,
    consensus_in_a_row: u32,
}

/// An event with its sender's share of the memory, given back when it is taken.
type Charged = (Event, Option<OwnedSemaphorePermit>);

/// The sending side of an [`EventReceiver`].
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// Bounded by each peer's permits; without a permit only what a ban or a
    /// closed connection bounds.
    consensus: mpsc::UnboundedSender<Charged>,
    bulk: mpsc::UnboundedSender<Charged>,
    requests: mpsc::Sender<Event>,
    gossip: mpsc::Sender<Event>,
}

/// Nobody listens to events any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnerGone;

/// Too much waits for the owner, or nobody listens any more; the event is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

pub(crate) fn mailbox() -> (Mailbox, EventReceiver) {
    let (consensus, consensus_receiver) = mpsc::unbounded_channel();
    let (bulk, bulk_receiver) = mpsc::unbounded_channel();
    let (requests, requests_receiver) = mpsc::channel(REQUESTS_WAITING_MAX);
    let (gossip, gossip_receiver) = mpsc::channel(GOSSIP_WAITING_MAX);
    let receiver = EventReceiver {
        consensus: consensus_receiver,
        bulk: bulk_receiver,
        requests: requests_receiver,
        gossip: gossip_receiver,
        consensus_in_a_row: 0,
    };
    (Mailbox { consensus, bulk, requests, gossip }, receiver)
}

impl Mailbox {
    /// Delivers what came on a channel, with the sender's permit unless the event holds it.
    pub(crate) fn deliver(
        &self,
        channel: Channel,
        event: Event,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<(), OwnerGone> {
        let sender = match channel {
            Channel::Consensus => &self.consensus,
            Channel::Bulk => &self.bulk,
        };
        sender.send((event, permit)).map_err(|_| OwnerGone)
    }

    /// Delivers what the network itself has to say.
    pub(crate) fn notice(&self, event: Event) {
        // Without an owner there is nobody to tell.
        let _ = self.consensus.send((event, None));
    }

    /// Delivers a request unless too many wait.
    pub(crate) fn request(&self, event: Event) -> Result<(), NoRoom> {
        self.requests.try_send(event).map_err(|_| NoRoom)
    }

    /// Delivers a gossip message unless too many wait.
    pub(crate) fn gossip(&self, event: Event) -> Result<(), NoRoom> {
        self.gossip.try_send(event).map_err(|_| NoRoom)
    }
}

impl EventReceiver {
    /// The next event, or `None` when the network has stopped, by
    /// [`crate::Network::shutdown`] or by a panic. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Event> {
        if self.consensus_in_a_row >= CONSENSUS_IN_A_ROW_MAX {
            self.consensus_in_a_row = 0;
            if let Some(event) = self.try_other() {
                return Some(event);
            }
        }
        tokio::select! {
            biased;
            Some((event, _)) = self.consensus.recv() => {
                self.consensus_in_a_row += 1;
                Some(event)
            }
            Some(event) = self.requests.recv() => Some(self.other(event)),
            Some((event, _)) = self.bulk.recv() => Some(self.other(event)),
            Some(event) = self.gossip.recv() => Some(self.other(event)),
            else => None,
        }
    }

    /// The next event if one waits already.
    pub fn try_recv(&mut self) -> Option<Event> {
        if self.consensus_in_a_row < CONSENSUS_IN_A_ROW_MAX
            && let Ok((event, _)) = self.consensus.try_recv()
        {
            self.consensus_in_a_row += 1;
            return Some(event);
        }
        self.consensus_in_a_row = 0;
        self.try_other().or_else(|| self.consensus.try_recv().ok().map(|(event, _)| event))
    }

    const fn other(&mut self, event: Event) -> Event {
        self.consensus_in_a_row = 0;
        event
    }

    fn try_other(&mut self) -> Option<Event> {
        if let Ok(event) = self.requests.try_recv() {
            return Some(event);
        }
        if let Ok((event, _)) = self.bulk.try_recv() {
            return Some(event);
        }
        self.gossip.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    fn message(channel: Channel) -> Event {
        Event::Message { peer: PeerId::random(), channel, bytes: Bytes::new() }
    }

    fn channel_of(event: &Event) -> Channel {
        match event {
            Event::Message { channel, .. } => *channel,
            other => panic!("not a message: {other:?}"),
        }
    }

    fn fill(counts: &[(Channel, usize)]) -> (Mailbox, EventReceiver, Arc<Semaphore>) {
        let (mailbox, receiver) = mailbox();
        let permits = Arc::new(Semaphore::new(1000));
        for (channel, count) in counts {
            for _ in 0..*count {
                let permit = Arc::clone(&permits).try_acquire_owned().unwrap();
                mailbox.deliver(*channel, message(*channel), Some(permit)).unwrap();
            }
        }
        (mailbox, receiver, permits)
    }

    #[test]
    fn consensus_goes_first_and_starves_nobody() {
        let (_mailbox, mut receiver, _) = fill(&[(Channel::Bulk, 3), (Channel::Consensus, 200)]);
        let order: Vec<_> = (0..203)
            .map(|_| channel_of(&receiver.recv().now_or_never().unwrap().unwrap()))
            .collect();
        let bulk_at: Vec<_> = (0..203).filter(|i| order[*i] == Channel::Bulk).collect();
        assert_eq!(bulk_at, [64, 129, 194]);
        assert!(receiver.recv().now_or_never().is_none());
    }

    #[test]
    fn a_taken_event_gives_its_permit_back() {
        let (_mailbox, mut receiver, permits) = fill(&[(Channel::Consensus, 5)]);
        assert_eq!(permits.available_permits(), 995);
        while receiver.try_recv().is_some() {}
        assert_eq!(permits.available_permits(), 1000);
    }

    #[test]
    fn the_end_is_reported() {
        let (mailbox, mut receiver, _) = fill(&[(Channel::Bulk, 1)]);
        drop(mailbox);
        assert!(receiver.recv().now_or_never().unwrap().is_some());
        assert!(receiver.recv().now_or_never().unwrap().is_none());
    }
}
