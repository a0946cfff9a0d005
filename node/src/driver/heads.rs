//! Final heads over gossip: ours are announced, others' are checked.
//!
//! Whoever proposed the newest final block announces it; when nobody has done
//! so for a while, every validator that has it does. A head stands for all
//! before it, so of several only the newest goes out.

use super::{Context, sleep_until, wall_clock};
use bizra_consensus::Input;
use bizra_gossip::{GossipId, Topic, Verdict};
use bizra_types::block::FinalHeader;
use bizra_types::encoding::{Decode as _, Encode as _};
use bizra_types::numbers::{Era, Height, ValidatorIndex};
use bizra_types::verify::{Fault, Verified, Verifier};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Shortest time between two announcements, whoever makes them.
const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(200);
/// A final head that nobody has announced for so long is everybody's to announce.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// Heads that may wait to be checked; each comes alone or not at all.
const HEARD_MAX: usize = 64;

/// The ways into the task that announces heads and checks those of others.
pub(super) struct Heads {
    /// The newest head that is final here.
    pub(super) committed: watch::Sender<Option<Arc<FinalHeader>>>,
    /// What the network hears on the topic; what finds no room is ignored.
    pub(super) heard: mpsc::Sender<(GossipId, Bytes)>,
}

impl Heads {
    /// Starts the task. It ends when the driver drops `committed`.
    pub(super) fn start(context: &Arc<Context>) -> Self {
        let (committed, commits) = watch::channel(None);
        let (heard, hearing) = mpsc::channel(HEARD_MAX);
        tokio::spawn(run(Arc::clone(context), commits, hearing));
        Self { committed, heard }
    }
}

async fn run(
    context: Arc<Context>,
    mut commits: watch::Receiver<Option<Arc<FinalHeader>>>,
    mut heard: mpsc::Receiver<(GossipId, Bytes)>,
) {
    let mut turns = Turns::new(context.eras.now().me);
    loop {
        let due = turns.due();
        tokio::select! {
            changed = commits.changed() => {
                if changed.is_err() {
                    return;
                }
                if let Some(head) = commits.borrow_and_update().clone() {
                    turns.me = context.eras.of(head.header.era).and_then(|seats| seats.me);
                    turns.on_committed(head, Instant::now());
                }
            }
            Some((id, bytes)) = heard.recv() => {
                let judged = judge(&mut context.verifier(), turns.announced, &bytes);
                if let Err(Useless::LaterEra(era)) = judged {
                    context.try_input(Input::LaterEra { era, peer: None });
                }
                let verdict = match &judged {
                    Ok(_) if context.network.has_followers() => Verdict::Accept,
                    // Validators hear it from whoever announces it; passing it
                    // on would bring it to each six times.
                    Ok(_) => Verdict::Ignore,
                    Err(useless) => useless.verdict(),
                };
                context.network.report(id, verdict);
                if let Ok(head) = judged {
                    let header = head.get().header;
                    let age = wall_clock().get().saturating_sub(header.timestamp_ms.get());
                    context.network.observe_propagation(Duration::from_millis(age));
                    if turns.is_news(header.height) {
                        context.try_input(Input::Certificate(head.into_certificate()));
                    }
                    turns.on_announced(header.height, Instant::now());
                }
            }
            () = sleep_until(due) => {
                if let Some(head) = turns.take(Instant::now()) {
                    let bytes = head.to_bytes().into();
                    if let Err(error) = context.network.publish(Topic::Heads, bytes).await {
                        tracing::debug!(height = %head.header.height, %error, "head not announced");
                    }
                }
            }
        }
    }
}

/// Why a message on the topic tells nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Useless {
    /// It is not newer than what was there before.
    Old,
    /// It is of an era whose committee is not known here.
    LaterEra(Era),
    /// Only a faulty peer sends or passes it on.
    Rejected,
}

impl Useless {
    const fn verdict(self) -> Verdict {
        match self {
            Self::Old | Self::LaterEra(_) => Verdict::Ignore,
            Self::Rejected => Verdict::Reject,
        }
    }
}

/// What a message on the topic is worth, where `announced` is the newest height
/// that was there before. What is not newer costs no look at its signatures.
fn judge(
    verifier: &mut Verifier,
    announced: Height,
    bytes: &[u8],
) -> Result<Verified<FinalHeader>, Useless> {
    let head = FinalHeader::from_bytes(bytes).map_err(|_| Useless::Rejected)?;
    if head.header.height <= announced {
        return Err(Useless::Old);
    }
    verifier.final_header(head).map_err(|fault| match fault {
        Fault::Era(era) => Useless::LaterEra(era),
        _ => Useless::Rejected,
    })
}

/// Whose turn it is to announce, and when.
#[derive(Debug)]
struct Turns {
    me: Option<ValidatorIndex>,
    /// The newest head that is final here.
    newest: Option<Arc<FinalHeader>>,
    /// The newest height that was announced, by us or by others.
    announced: Height,
    announced_at: Option<Instant>,
    /// Since when something is final here that was not announced.
    waits_since: Option<Instant>,
}

impl Turns {
    const fn new(me: Option<ValidatorIndex>) -> Self {
        Self { me, newest: None, announced: Height::ZERO, announced_at: None, waits_since: None }
    }

    /// Whether a head of this height is not final here yet.
    fn is_news(&self, height: Height) -> bool {
        self.newest.as_ref().is_none_or(|newest| newest.header.height < height)
    }

    fn on_committed(&mut self, head: Arc<FinalHeader>, now: Instant) {
        if head.header.height > self.announced {
            self.waits_since.get_or_insert(now);
        }
        self.newest = Some(head);
    }

    fn on_announced(&mut self, height: Height, now: Instant) {
        self.announced = height;
        self.announced_at = Some(now);
        let is_newest = self.newest.as_ref().is_none_or(|head| head.header.height <= height);
        self.waits_since = (!is_newest).then_some(now);
    }

    /// When we are to announce the newest head, unless something changes.
    fn due(&self) -> Option<Instant> {
        let (me, newest, since) = (self.me?, self.newest.as_ref()?, self.waits_since?);
        let turn = if newest.header.proposer == me { since } else { since + SILENCE_MAX };
        Some(self.announced_at.map_or(turn, |at| turn.max(at + ANNOUNCE_INTERVAL)))
    }

    /// The head to announce now, which counts as announced then.
    fn take(&mut self, now: Instant) -> Option<Arc<FinalHeader>> {
        self.due().filter(|due| *due <= now)?;
        let newest = Arc::clone(self.newest.as_ref()?);
        self.on_announced(newest.header.height, now);
        Some(newest)
    }
}

#[cfg(test)]
mod tests;
