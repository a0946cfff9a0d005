//! Direct streams: one task per validator and channel writes ours, one reads theirs.
//!
//! The swarm task only hands streams over. A stream carries data one way; the
//! other way carries the acceptor's one byte and the news of its end.

use crate::config::Limits;
use crate::frame::{
    self, FrameError, FrameReader, KIND_HEARTBEAT, KIND_HELLO, KIND_MESSAGE, LENGTH_SIZE,
};
use crate::handshake::{Answer, HELLO_SIZE_MAX, Hello, Incompatible};
use crate::heartbeat::{Heartbeat, Heartbeats};
use crate::links::{OpenError, OpenReply};
use crate::mailbox::{Event, Mailbox};
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::roster::Fault;
use bizra_types::encoding::Encode;
use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::PeerId;
use libp2p::swarm::{ConnectionId, Stream, StreamProtocol};
use prometheus_client::metrics::gauge::Gauge;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

/// Bytes that are written and flushed together, about.
const COALESCE_SIZE: usize = 256 << 10;

/// A message from this size on is written by itself and not copied first.
const COPY_SIZE_MAX: usize = 64 << 10;

/// Heartbeats are sent at least this often, however busy the stream, so that
/// the round trip stays known.
const BUSY_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// A peer that sends heartbeats faster than this is not reported more often.
const HEARD_INTERVAL_MIN: Duration = Duration::from_millis(20);

/// First pause before a stream is opened again; doubles up to [`REOPEN_PAUSE_MAX`].
const REOPEN_PAUSE_MIN: Duration = Duration::from_millis(20);

/// Longest pause before a stream is opened again.
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(2);

/// The two classes of direct streams. They share a connection and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Proposals, votes, timeouts, certificates: small and urgent.
    Consensus,
    /// Lane batches: large, and able to wait.
    Bulk,
}

impl Channel {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Consensus, Self::Bulk];

    /// The channel's name in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consensus => "consensus",
            Self::Bulk => "bulk",
        }
    }

    /// Bytes of one message, at most.
    #[must_use]
    pub const fn message_size_max(self) -> usize {
        match self {
            Self::Consensus => 1 << 20,
            Self::Bulk => 8 << 20,
        }
    }

    /// The protocol that a stream of this channel is negotiated as.
    pub(crate) const fn protocol(self) -> StreamProtocol {
        match self {
            Self::Consensus => StreamProtocol::new("/bizra/consensus/1"),
            Self::Bulk => StreamProtocol::new("/bizra/bulk/1"),
        }
    }

    /// Bytes of one peer's events that may wait for the owner.
    const fn waiting_bytes_max(self) -> usize {
        match self {
            Self::Consensus => 4 << 20,
            Self::Bulk => 32 << 20,
        }
    }

    /// What an event is charged at least, which bounds their number too.
    const fn waiting_charge_min(self) -> usize {
        match self {
            Self::Consensus => 4 << 10,
            Self::Bulk => 64 << 10,
        }
    }

    const fn read_buffer_size(self) -> usize {
        match self {
            Self::Consensus => 16 << 10,
            Self::Bulk => 64 << 10,
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a task tells the swarm task.
#[derive(Debug)]
pub(crate) enum Notice {
    /// Open a stream, on the newest connection or on the one named.
    Open {
        peer: PeerId,
        connection: Option<ConnectionId>,
        protocol: StreamProtocol,
        reply: OpenReply,
    },
    /// The peer misbehaved.
    Fault { peer: PeerId, fault: Fault },
    /// A stream ended inside a frame: a fault, unless its connection dies too.
    EndedEarly { peer: PeerId, connection: ConnectionId },
    /// A connection is dead, whatever its socket says.
    Silent { peer: PeerId, connection: ConnectionId },
    /// The peer's consensus stream to us opened.
    Opened { peer: PeerId },
}

/// What all tasks and the handles see.
pub(crate) struct Common {
    pub(crate) local: PeerId,
    /// From where ticks are counted.
    pub(crate) epoch: Instant,
    pub(crate) limits: Limits,
    pub(crate) hello: RwLock<Hello>,
    pub(crate) peers: RwLock<HashMap<PeerId, Arc<StreamPeer>>>,
    /// Peers with a connection.
    pub(crate) connected: RwLock<BTreeSet<PeerId>>,
    pub(crate) metrics: Metrics,
    pub(crate) notices: mpsc::Sender<Notice>,
}

/// What all tasks see. The handles do not hold the mailbox, so that it closes
/// when the tasks end, however they end.
pub(crate) struct Shared {
    pub(crate) common: Arc<Common>,
    pub(crate) mailbox: Mailbox,
}

impl Deref for Shared {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

impl Common {
    pub(crate) fn hello(&self) -> Hello {
        *self.hello.read().expect("no holder panics")
    }

    pub(crate) fn peer(&self, peer: &PeerId) -> Option<Arc<StreamPeer>> {
        self.peers.read().expect("no holder panics").get(peer).cloned()
    }

    /// Tells the swarm task something. Without a swarm task there is nobody to tell.
    pub(crate) async fn notify(&self, notice: Notice) {
        let _ = self.notices.send(notice).await;
    }

    /// Opens a stream by way of the swarm task.
    pub(crate) async fn open(
        &self,
        peer: PeerId,
        connection: Option<ConnectionId>,
        protocol: StreamProtocol,
    ) -> Result<Stream, OpenError> {
        let (reply, opened) = oneshot::channel();
        self.notify(Notice::Open { peer, connection, protocol, reply }).await;
        opened.await.unwrap_or(Err(OpenError::NotConnected))
    }
}

/// A validator that we have direct streams with.
pub(crate) struct StreamPeer {
    pub(crate) peer: PeerId,
    queues: [Queue; 2],
    /// The newest connection, kept by the swarm task.
    pub(crate) connection: watch::Sender<Option<ConnectionId>>,
    budgets: [Arc<Semaphore>; 2],
    heartbeats: Mutex<Heartbeats>,
    open: [AtomicBool; 2],
    round_trip: Mutex<Option<Duration>>,
    round_trip_gauge: Gauge<f64, AtomicU64>,
    incompatible: Mutex<Option<Incompatible>>,
}

impl StreamPeer {
    pub(crate) fn new(peer: PeerId, limits: &Limits, metrics: &Metrics) -> Self {
        Self {
            peer,
            queues: Channel::ALL.map(|channel| Queue::new(channel, limits)),
            connection: watch::Sender::new(None),
            budgets: Channel::ALL
                .map(|channel| Arc::new(Semaphore::new(channel.waiting_bytes_max()))),
            heartbeats: Mutex::default(),
            open: Default::default(),
            round_trip: Mutex::new(None),
            round_trip_gauge: metrics.round_trip_of(&peer),
            incompatible: Mutex::new(None),
        }
    }

    pub(crate) const fn queue(&self, channel: Channel) -> &Queue {
        &self.queues[channel.index()]
    }

    /// Whether the peer has taken up our stream.
    pub(crate) fn is_open(&self, channel: Channel) -> bool {
        self.open[channel.index()].load(Ordering::Relaxed)
    }

    /// The newest measured round trip.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        *self.round_trip.lock().expect("no holder panics")
    }

    /// Waits until the owner has room for an event of this size.
    async fn permit(&self, channel: Channel, size: usize) -> OwnedSemaphorePermit {
        let charge = size.clamp(channel.waiting_charge_min(), channel.waiting_bytes_max());
        let charge = u32::try_from(charge).expect("the bound fits");
        let budget = Arc::clone(&self.budgets[channel.index()]);
        budget.acquire_many_owned(charge).await.expect("budgets are never closed")
    }
}

/// Marks a stream as open as long as it lives.
struct OpenMark<'a> {
    peer: &'a StreamPeer,
    channel: Channel,
    metrics: &'a Metrics,
}

impl<'a> OpenMark<'a> {
    fn new(peer: &'a StreamPeer, channel: Channel, metrics: &'a Metrics) -> Self {
        peer.open[channel.index()].store(true, Ordering::Relaxed);
        if channel == Channel::Consensus {
            metrics.mesh_peers.inc();
        }
        Self { peer, channel, metrics }
    }
}

impl Drop for OpenMark<'_> {
    fn drop(&mut self) {
        self.peer.open[self.channel.index()].store(false, Ordering::Relaxed);
        if self.channel == Channel::Consensus {
            self.metrics.mesh_peers.dec();
        }
    }
}

/// Why a stream of ours did not open.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the stream failed: {0}")]
    Io(#[from] io::Error),
    #[error("the peer took too long to answer")]
    Slow,
    #[error("the peer refused it: {0:?}")]
    Refused(Answer),
    #[error("the peer answered with {0}, which means nothing")]
    Nonsense(u8),
}

/// Keeps a stream of ours to the peer open and writes what is queued, until aborted.
pub(crate) async fn write_for_ever(shared: Arc<Shared>, peer: Arc<StreamPeer>, channel: Channel) {
    let mut connections = peer.connection.subscribe();
    let mut pause = REOPEN_PAUSE_MIN;
    loop {
        let connection = match connections.wait_for(Option::is_some).await {
            Ok(connection) => connection.expect("waited for it"),
            Err(_) => return,
        };
        let opening = start_stream(&shared, peer.peer, connection, channel);
        let started = match timeout(shared.limits.handshake_timeout, opening).await {
            Ok(started) => started,
            Err(_) => Err(StartError::Slow),
        };
        match started {
            Ok(stream) => {
                tracing::debug!(peer = %peer.peer, %channel, "stream open");
                let since = Instant::now();
                let error = pump(&shared, &peer, connection, channel, stream).await;
                tracing::debug!(peer = %peer.peer, %channel, %error, "stream ended");
                if since.elapsed() > REOPEN_PAUSE_MAX {
                    pause = REOPEN_PAUSE_MIN;
                }
            }
            Err(error) => {
                tracing::debug!(peer = %peer.peer, %channel, %error, "stream not opened");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(REOPEN_PAUSE_MAX),
            changed = connections.changed() => match changed {
                Ok(()) => pause = REOPEN_PAUSE_MIN,
                Err(_) => return,
            },
        }
    }
}

/// Opens a stream and waits for the acceptor's byte.
async fn start_stream(
    shared: &Shared,
    peer: PeerId,
    connection: ConnectionId,
    channel: Channel,
) -> Result<Stream, StartError> {
    let mut stream = shared.open(peer, Some(connection), channel.protocol()).await?;
    let mut hello = Vec::new();
    frame::push_frame(KIND_HELLO, &shared.hello().to_bytes(), &mut hello);
    stream.write_all(&hello).await?;
    stream.flush().await?;
    let mut answer = [0];
    stream.read_exact(&mut answer).await?;
    match Answer::from_byte(answer[0]) {
        Some(Answer::Open) => Ok(stream),
        Some(answer) => Err(StartError::Refused(answer)),
        None => Err(StartError::Nonsense(answer[0])),
    }
}

/// Writes what is queued, and heartbeats on the consensus channel, until the
/// stream fails.
async fn pump(
    shared: &Shared,
    peer: &StreamPeer,
    connection: ConnectionId,
    channel: Channel,
    mut stream: Stream,
) -> io::Error {
    let _mark = OpenMark::new(peer, channel, &shared.metrics);
    let interval = shared.limits.heartbeat_interval;
    let queue = peer.queue(channel);
    let mut messages: Vec<Bytes> = Vec::new();
    let mut buffer: Vec<u8> = Vec::new();
    peer.heartbeats.lock().expect("no holder panics").restart_sending();
    // The first heartbeat goes at once, so that the round trip is known early.
    let mut heartbeat_due = Instant::now();
    let mut busy_heartbeat_due = heartbeat_due;
    loop {
        let now = Instant::now();
        let stale = queue.take(COALESCE_SIZE, &mut messages, now);
        if stale > 0 {
            shared.metrics.dropped(channel, "stale", stale);
            tracing::warn!(peer = %peer.peer, %channel, stale, "messages waited too long: dropped");
        }
        let beats = channel == Channel::Consensus
            && (busy_heartbeat_due <= now || (messages.is_empty() && heartbeat_due <= now));
        if messages.is_empty() && !beats {
            let mut byte = [0];
            tokio::select! {
                () = queue.filled.notified() => {}
                () = tokio::time::sleep_until(heartbeat_due.into()),
                    if channel == Channel::Consensus => {}
                read = stream.read(&mut byte) => return match read {
                    // The acceptor says nothing after its answer.
                    Ok(0) => io::ErrorKind::UnexpectedEof.into(),
                    Ok(_) => io::Error::other("the peer wrote on a stream of ours"),
                    Err(error) => error,
                },
            }
            continue;
        }
        if beats {
            let heartbeat = peer.heartbeats.lock().expect("no holder panics").send(now);
            frame::push_frame(KIND_HEARTBEAT, &heartbeat.to_bytes(), &mut buffer);
            busy_heartbeat_due = now + BUSY_HEARTBEAT_INTERVAL;
        }
        let count = messages.len();
        let written = write_messages(&mut stream, &mut messages, &mut buffer);
        let size = match channel {
            // A bulk frame may take long on a thin line; heartbeats find out
            // whether the connection lives.
            Channel::Bulk => written.await,
            Channel::Consensus => match timeout(shared.limits.silence_max * 2, written).await {
                Ok(size) => size,
                Err(_) => {
                    shared.notify(Notice::Silent { peer: peer.peer, connection }).await;
                    return io::ErrorKind::TimedOut.into();
                }
            },
        };
        match size {
            Ok(size) => shared.metrics.sent(channel, count, size),
            Err(error) => return error,
        }
        heartbeat_due = next_tick(shared.epoch, Instant::now(), interval);
    }
}

/// From where ticks are counted: a whole second of the system's clock. Where
/// clocks agree, all nodes' ticks do; nothing depends on it.
pub(crate) fn epoch() -> Instant {
    let now = Instant::now();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.checked_sub(Duration::from_nanos(wall.subsec_nanos().into())).unwrap_or(now)
}

/// The last tick within one interval from now. Heartbeats go out and come in
/// together, so that an idle node wakes once per interval and not once per peer.
fn next_tick(epoch: Instant, now: Instant, interval: Duration) -> Instant {
    let latest = (now + interval).saturating_duration_since(epoch);
    let beyond = latest.as_nanos() % interval.as_nanos().max(1);
    let beyond = Duration::from_nanos(u64::try_from(beyond).unwrap_or(0));
    now + interval - beyond
}

/// Writes the buffer and then the messages, and flushes. Returns how many bytes.
async fn write_messages(
    stream: &mut Stream,
    messages: &mut Vec<Bytes>,
    buffer: &mut Vec<u8>,
) -> io::Result<usize> {
    let mut size = 0;
    for message in messages.drain(..) {
        frame::push_header(KIND_MESSAGE, message.len(), buffer);
        if message.len() >= COPY_SIZE_MAX {
            stream.write_all(buffer).await?;
            stream.write_all(&message).await?;
            size += buffer.len() + message.len();
            buffer.clear();
        } else {
            buffer.extend_from_slice(&message);
        }
    }
    stream.write_all(buffer).await?;
    size += buffer.len();
    buffer.clear();
    stream.flush().await?;
    Ok(size)
}

/// Answers a stream that may not be opened here.
pub(crate) async fn refuse_stream(shared: Arc<Shared>, mut stream: Stream) {
    let answer = async {
        stream.write_all(&[Answer::NotAllowed as u8]).await?;
        stream.close().await
    };
    // The opener learns it by the end of the stream if not by the byte.
    let _ = timeout(shared.limits.handshake_timeout, answer).await;
}

/// Reads a stream that the peer opened, until it ends or is replaced.
pub(crate) async fn read_stream(
    shared: Arc<Shared>,
    peer: Arc<StreamPeer>,
    connection: ConnectionId,
    channel: Channel,
    stream: Stream,
) {
    let mut reader = FrameReader::new(stream, channel.read_buffer_size());
    let end = match accept_stream(&shared, &peer, channel, &mut reader).await {
        Ok(()) => read_frames(&shared, &peer, channel, &mut reader).await,
        Err(end) => end,
    };
    let peer = peer.peer;
    tracing::debug!(%peer, %channel, ?end, "the peer's stream ended");
    match end {
        End::Closed | End::Refused => {}
        End::Fault(fault) => shared.notify(Notice::Fault { peer, fault }).await,
        End::Early => shared.notify(Notice::EndedEarly { peer, connection }).await,
        End::Silent => shared.notify(Notice::Silent { peer, connection }).await,
    }
}

/// Why a stream of the peer's is read no further.
#[derive(Debug)]
enum End {
    Closed,
    Refused,
    Early,
    Silent,
    Fault(Fault),
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLarge { size, limit } => {
                Self::Fault(Fault::FrameTooLarge { size, limit })
            }
            FrameError::Empty => Self::Fault(Fault::Garbage),
            FrameError::Truncated { .. } => Self::Early,
            FrameError::Io(error) if error.kind() == io::ErrorKind::TimedOut => Self::Silent,
            FrameError::Io(_) => Self::Closed,
        }
    }
}

/// Reads the peer's hello and answers it.
async fn accept_stream(
    shared: &Shared,
    peer: &StreamPeer,
    channel: Channel,
    reader: &mut FrameReader<Stream>,
) -> Result<(), End> {
    reader.set_silence_max(Some(shared.limits.handshake_timeout));
    let frame = reader.next(HELLO_SIZE_MAX).await?.ok_or(End::Closed)?;
    let hello: Hello =
        frame::decode_body(KIND_HELLO, &frame).map_err(|_| End::Fault(Fault::Garbage))?;
    let check = shared.hello().check(&hello);
    let answer = check.err().map_or(Answer::Open, Answer::from);
    note_compatibility(shared, peer, check);
    let stream = reader.stream_mut();
    let written = async {
        stream.write_all(&[answer as u8]).await?;
        stream.flush().await
    };
    if !matches!(timeout(shared.limits.handshake_timeout, written).await, Ok(Ok(()))) {
        return Err(End::Closed);
    }
    if answer != Answer::Open {
        return Err(End::Refused);
    }
    if channel == Channel::Consensus {
        peer.heartbeats.lock().expect("no holder panics").restart_hearing();
        let permit = peer.permit(channel, 0).await;
        let opened = Event::Opened { peer: peer.peer, hello };
        shared.mailbox.deliver(channel, opened, Some(permit)).map_err(|_| End::Closed)?;
        shared.notify(Notice::Opened { peer: peer.peer }).await;
    }
    Ok(())
}

/// Says once, and again after each change, why a validator cannot take part.
fn note_compatibility(shared: &Shared, peer: &StreamPeer, check: Result<(), Incompatible>) {
    let mut known = peer.incompatible.lock().expect("no holder panics");
    let reason = check.err();
    if *known == reason {
        return;
    }
    *known = reason;
    match reason {
        Some(reason) => {
            tracing::warn!(peer = %peer.peer, "stream refused: {reason}");
            shared.mailbox.notice(Event::Incompatible { peer: peer.peer, reason });
        }
        None => tracing::info!(peer = %peer.peer, "the peer is compatible again"),
    }
}

async fn read_frames(
    shared: &Shared,
    peer: &StreamPeer,
    channel: Channel,
    reader: &mut FrameReader<Stream>,
) -> End {
    // Bulk may be idle for as long as it likes; only consensus has heartbeats.
    reader.set_silence_max(match channel {
        Channel::Consensus => Some(shared.limits.silence_max),
        Channel::Bulk => None,
    });
    let limit = channel.message_size_max() + 1;
    let mut rate = Rate::new(shared.limits.consensus_frames_per_second_max, Instant::now());
    let mut heard_at: Option<Instant> = None;
    loop {
        let frame = match reader.next(limit).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return End::Closed,
            Err(error) => return error.into(),
        };
        if channel == Channel::Consensus
            && let Some(pause) = rate.count(Instant::now())
        {
            tokio::time::sleep(pause).await;
        }
        let (event, permit) = match frame[0] {
            KIND_MESSAGE => {
                shared.metrics.received(channel, frame.len() + LENGTH_SIZE);
                let permit = peer.permit(channel, frame.len()).await;
                let bytes = Bytes::from_owner(Held { frame, _permit: permit }).slice(1..);
                (Event::Message { peer: peer.peer, channel, bytes }, None)
            }
            KIND_HEARTBEAT if channel == Channel::Consensus => {
                let Ok(heartbeat) = frame::decode_body::<Heartbeat>(KIND_HEARTBEAT, &frame) else {
                    return End::Fault(Fault::Garbage);
                };
                let now = Instant::now();
                let round_trip =
                    peer.heartbeats.lock().expect("no holder panics").hear(heartbeat, now);
                if let Some(round_trip) = round_trip {
                    *peer.round_trip.lock().expect("no holder panics") = Some(round_trip);
                    peer.round_trip_gauge.set(round_trip.as_secs_f64());
                }
                if heard_at.is_some_and(|at| now - at < HEARD_INTERVAL_MIN) {
                    continue;
                }
                heard_at = Some(now);
                let permit = peer.permit(channel, 0).await;
                (Event::Heard { peer: peer.peer, round_trip }, Some(permit))
            }
            _ => return End::Fault(Fault::Garbage),
        };
        if shared.mailbox.deliver(channel, event, permit).is_err() {
            return End::Closed;
        }
    }
}

/// A message's memory and its sender's share of the owner's, given back together.
struct Held {
    frame: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

/// Counts frames per second.
struct Rate {
    per_second_max: u32,
    second_start: Instant,
    count: u32,
}

impl Rate {
    const fn new(per_second_max: u32, now: Instant) -> Self {
        Self { per_second_max, second_start: now, count: 0 }
    }

    /// Counts one; returns how long to wait when the second is used up.
    fn count(&mut self, now: Instant) -> Option<Duration> {
        let elapsed = now.saturating_duration_since(self.second_start);
        if elapsed >= Duration::from_secs(1) {
            self.second_start = now;
            self.count = 0;
        }
        self.count += 1;
        if self.count <= self.per_second_max {
            return None;
        }
        Some(Duration::from_secs(1).saturating_sub(elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_come_within_an_interval_and_then_in_step() {
        let start = Instant::now();
        let (interval, at) = (Duration::from_millis(100), |ms| start + Duration::from_millis(ms));
        assert_eq!(next_tick(start, at(0), interval), at(100));
        assert_eq!(next_tick(start, at(101), interval), at(200));
        assert_eq!(next_tick(start, at(199), interval), at(200));
        assert_eq!(next_tick(start, at(200), interval), at(300));
        assert_eq!(next_tick(start, at(7), Duration::ZERO), at(7));
    }

    #[test]
    fn a_rate_pauses_to_the_end_of_its_second() {
        let start = Instant::now();
        let mut rate = Rate::new(2, start);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(rate.count(at(0)), None);
        assert_eq!(rate.count(at(100)), None);
        assert_eq!(rate.count(at(300)), Some(Duration::from_millis(700)));
        assert_eq!(rate.count(at(1000)), None);
        assert_eq!(rate.count(at(1000)), None);
        assert!(rate.count(at(1001)).is_some());
    }
}
