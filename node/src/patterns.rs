//! The patterns that this node knows: heard from others, offered here, asked for.
//!
//! One thread owns them, so that neither the engine nor the API's threads read
//! envelopes of strangers. What is adopted is in memory and in the store, which
//! holds no more than memory does, so a node knows after a restart what it knew
//! before: nobody would tell it again. The last ones may be lost with the power:
//! an offer is worth something for a week, its source makes another when its
//! metrics have changed, and nothing that is agreed on depends on one. What
//! validators have voted for is in the ledger. The reputation of sources begins
//! anew with each start.
//!
//! An offer that is adopted is passed on at once; whatever is refused here goes
//! no further, and neither does one that is known or no better than what is. So
//! each source can make a node pass on one message for each step of impact, and
//! nothing can go round in circles.
//!
//! **A fault of the peer** is what every honest node refuses whatever its clock
//! and its state: a wrong form, signature or role, or metrics that contradict
//! themselves. Whoever passes that on has not looked, and gossipsub and the
//! roster of peers count it. All else that is refused may have looked good to
//! the peer a moment ago.
//!
//! How many hops an offer has come is not measured: a count in the message would
//! make each copy another message, and one beside it could say anything. What
//! each node measures is what it adds, and the whole way.

use bizra_gossip::{GossipId, Network, Topic, Verdict};
use bizra_ledger::codes::{Code, Rejection};
use bizra_ledger::execution::Base as _;
use bizra_ledger::forms::Score;
use bizra_ledger::governance::Governance;
use bizra_ledger::identity::KeyEntry;
use bizra_ledger::log::StorageError as LedgerError;
use bizra_ledger::parameters::LedgerParameters;
use bizra_ledger::pattern::{
    Adoption, BookLimits, Impact, Offer, PatternBook, PatternId, Reputations, SignedOffer,
};
use bizra_ledger::plain::Family;
use bizra_ledger::policy::Policies;
use bizra_types::encoding::Decode as _;
use bizra_types::genesis::Genesis;
use bizra_types::hash::{ChainId, RecordDigest};
use bizra_types::numbers::TimestampMs;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use crate::driver::wall_clock;
use crate::metrics::{Metrics, OfferOutcome};
use crate::shared::NodeStatus;
use crate::storage::{PatternKey, StorageError, Store};

/// Questions of the API that may wait; beyond it answers 429.
pub const ASKS_MAX: usize = 256;
/// Messages of the network that may wait; more are ignored.
const HEARD_MAX: usize = 256;

/// What the API asks of the pool.
pub enum Ask {
    /// Adopt an offer, and tell the others.
    Offer {
        /// The signed envelope in any spelling.
        text: Bytes,
        /// What came of it.
        reply: oneshot::Sender<Result<Taken, Rejection>>,
    },
    /// Tell what is known.
    Find {
        /// Of what.
        wanted: Wanted,
        /// The answer.
        reply: oneshot::Sender<Found>,
    },
}

/// Which offers are wanted, of those in the order of their worth here.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of this domain only.
    pub domain: Option<String>,
    /// Of this pattern only.
    pub id: Option<PatternId>,
    /// How many to pass over.
    pub after: usize,
    /// How many to tell, at most.
    pub limit: usize,
}

/// Offers that were asked for.
#[derive(Clone, Debug)]
pub struct Found {
    /// A page of them with the reputation of their sources, the best first.
    pub page: Vec<(Offer, Score)>,
    /// How many there are on all pages.
    pub total: usize,
}

/// An offer that is known now.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Its pattern.
    pub id: PatternId,
    /// The digest of its envelope.
    pub digest: RecordDigest,
    /// The time of its envelope.
    pub timestamp: TimestampMs,
    /// What it is worth.
    pub impact: Impact,
    /// Whether that is news.
    pub adoption: Adoption,
    /// Its canonical bytes.
    pub bytes: Arc<[u8]>,
}

/// The pool, without its thread.
pub struct Pool {
    chain_id: ChainId,
    store: Store,
    status: watch::Receiver<NodeStatus>,
    metrics: Arc<Metrics>,
    policies: Policies,
    book: PatternBook,
    /// What the store holds.
    kept: BTreeSet<PatternKey>,
    reputations: Reputations,
}

/// A message on the topic that waits for its verdict.
#[derive(Debug)]
pub(crate) struct Heard {
    /// What to report on.
    pub(crate) id: GossipId,
    /// The message.
    pub(crate) bytes: Bytes,
    /// When it came.
    pub(crate) at: Instant,
}

/// Starts the pool's thread. It ends when the way in for messages is dropped.
///
/// # Panics
/// Outside a tokio runtime, or when the system gives no thread.
pub(crate) fn start(
    pool: Pool,
    network: Network,
    asks: mpsc::Receiver<Ask>,
) -> (mpsc::Sender<Heard>, JoinHandle<()>) {
    let (heard, hearing) = mpsc::channel(HEARD_MAX);
    let runtime = Handle::current();
    let thread = std::thread::Builder::new().name("patterns".to_owned());
    let thread = thread.spawn(move || runtime.block_on(run(pool, network, asks, hearing)));
    (heard, thread.expect("the system has room for a node's few threads"))
}

async fn run(
    mut pool: Pool,
    network: Network,
    mut asks: mpsc::Receiver<Ask>,
    mut heard: mpsc::Receiver<Heard>,
) {
    loop {
        tokio::select! {
            message = heard.recv() => {
                let Some(Heard { id, bytes, at }) = message else { return };
                let verdict = pool.hear(&bytes, wall_clock());
                network.report(id, verdict);
                if verdict == Verdict::Accept {
                    pool.metrics.pattern_passed_on(at.elapsed());
                }
            }
            Some(ask) = asks.recv() => {
                if let Some(bytes) = pool.answer(ask, wall_clock())
                    && let Err(error) = network.publish(Topic::Patterns, bytes).await
                {
                    tracing::debug!(%error, "a pattern was not passed on");
                }
            }
        }
    }
}

impl Pool {
    /// A pool that knows what the store holds and is still worth something. `status` tells it the
    /// committee.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn restored(
        genesis: &Genesis,
        store: Store,
        status: watch::Receiver<NodeStatus>,
        metrics: Arc<Metrics>,
        now: TimestampMs,
    ) -> Result<Self, StorageError> {
        let mut pool = Self {
            chain_id: genesis.chain_id(),
            store,
            status,
            metrics,
            policies: Policies::new(genesis.policies.iter().map(|policy| &*policy.rego)),
            book: PatternBook::new(BookLimits::default()),
            kept: BTreeSet::new(),
            reputations: Reputations::default(),
        };
        for (key, bytes) in pool.store.patterns()? {
            pool.kept.insert(key);
            let offer = SignedOffer::parse_canonical(&bytes, &pool.chain_id);
            let adoption = offer.and_then(|it| pool.book.adopt(it.checked_before(), now));
            if let Err(rejection) = adoption {
                tracing::debug!(id = %key.0, source = %key.1, %rejection, "a pattern is forgotten");
            }
        }
        pool.keep(None);
        pool.metrics.patterns(pool.book.len());
        Ok(pool)
    }

    /// Adopts a message of the network, and says what it was worth.
    pub fn hear(&mut self, bytes: &[u8], now: TimestampMs) -> Verdict {
        let signed = SignedOffer::parse_canonical(bytes, &self.chain_id);
        match self.take(signed, now) {
            Ok(Taken { adoption: Adoption::New | Adoption::Better, timestamp, .. }) => {
                let age = Duration::from_millis(now.saturating_ms_since(timestamp));
                self.metrics.pattern_propagated(age);
                Verdict::Accept
            }
            Err(Rejection {
                code: Code::Schema | Code::Signature | Code::Role | Code::Invariant,
                ..
            }) => Verdict::Reject,
            Ok(_) | Err(_) => Verdict::Ignore,
        }
    }

    /// Answers the API. What it returns is news for the others.
    #[must_use]
    pub fn answer(&mut self, ask: Ask, now: TimestampMs) -> Option<Bytes> {
        // Whoever asked may have gone.
        match ask {
            Ask::Find { wanted, reply } => {
                let _ = reply.send(self.find(&wanted, now));
                None
            }
            Ask::Offer { text, reply } => {
                let taken = self.take(SignedOffer::parse(&text, &self.chain_id), now);
                let news = taken.as_ref().ok().filter(|it| it.adoption != Adoption::Known);
                let news = news.map(|taken| Bytes::from_owner(Arc::clone(&taken.bytes)));
                let _ = reply.send(taken);
                news
            }
        }
    }

    fn find(&self, wanted: &Wanted, now: TimestampMs) -> Found {
        let found = self.book.find(wanted.domain.as_deref(), wanted.id, &self.reputations, now);
        let page = found.iter().skip(wanted.after).take(wanted.limit);
        let with_reputation =
            |offer: &&Offer| ((*offer).clone(), self.reputations.of(&offer.source(), now));
        Found { page: page.map(with_reputation).collect(), total: found.len() }
    }

    fn take(
        &mut self,
        signed: Result<SignedOffer, Rejection>,
        now: TimestampMs,
    ) -> Result<Taken, Rejection> {
        let taken = signed.and_then(|signed| {
            let source = signed.source();
            self.reputations.check(&source, now)?;
            let taken = self.adopt(signed, now);
            let outcome = taken.as_ref().map(|it| it.adoption).map_err(|it| it.code);
            self.reputations.note(source, outcome, now);
            taken
        });
        self.metrics.offer(match &taken {
            Ok(Taken { adoption: Adoption::New, .. }) => OfferOutcome::New,
            Ok(Taken { adoption: Adoption::Better, .. }) => OfferOutcome::Better,
            Ok(Taken { adoption: Adoption::Known, .. }) => OfferOutcome::Known,
            Err(_) => OfferOutcome::Refused,
        });
        self.metrics.patterns(self.book.len());
        taken
    }

    fn adopt(&mut self, signed: SignedOffer, now: TimestampMs) -> Result<Taken, Rejection> {
        let (parameters, key) = self.rules_for(&signed, now).map_err(|error| {
            Rejection::new(Code::Internal, "", format!("cannot be judged here: {error}"))
        })?;
        let committee = Arc::clone(&self.status.borrow().committee);
        let policies = &mut self.policies;
        let offer = signed.check(now, key.as_ref(), &committee, &parameters, policies)?;
        let key = offer.key();
        let taken = Taken {
            id: offer.pattern().id,
            digest: offer.digest(),
            timestamp: offer.timestamp(),
            impact: offer.impact(),
            adoption: Adoption::New,
            bytes: Arc::clone(offer.bytes()),
        };
        let adoption = self.book.adopt(offer, now)?;
        if adoption != Adoption::Known {
            self.keep(Some((key, &taken.bytes)));
        }
        Ok(Taken { adoption, ..taken })
    }

    /// Has the store hold what the book does, after this was adopted. What it refuses is not known
    /// after a restart, and nothing else.
    fn keep(&mut self, adopted: Option<(PatternKey, &[u8])>) {
        let is_gone = |key: &&PatternKey| !self.book.contains(key);
        let gone: Vec<_> = self.kept.iter().filter(is_gone).copied().collect();
        if adopted.is_none() && gone.is_empty() {
            return;
        }
        let written = adopted.as_ref().map(|(key, bytes)| (key, *bytes));
        if let Err(error) = self.store.keep_pattern(written, &gone) {
            tracing::warn!(%error, "a pattern was not written to disk");
            return;
        }
        for key in &gone {
            self.kept.remove(key);
        }
        self.kept.extend(adopted.map(|(key, _)| key));
    }

    /// What governance has decided, and what the ledger says of the source's key.
    fn rules_for(
        &mut self,
        signed: &SignedOffer,
        now: TimestampMs,
    ) -> Result<(LedgerParameters, Option<KeyEntry>), LedgerError> {
        let plain = |family, key: &[u8]| self.store.plain(family, key);
        self.policies.follow(&Governance::read(plain)?.policies, now, plain)?;
        let key = plain(Family::Key, &signed.source().0)?;
        let key = key.map(|bytes| KeyEntry::from_bytes(&bytes)).transpose();
        let key =
            key.map_err(|error| LedgerError(format!("an entry of the Key family {error}")))?;
        Ok((LedgerParameters::read(plain)?, key))
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
