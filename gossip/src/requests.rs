//! Requests: one stream each, a question of one frame and an answer of one frame.

use crate::frame::{
    self, FrameError, FrameReader, KIND_ANSWER, KIND_BUSY, KIND_NO_ANSWER, KIND_REQUEST,
};
use crate::links::OpenError;
use crate::mailbox::Event;
use crate::roster::Fault;
use crate::streams::{Common, Notice, Shared};
use bizra_types::hash::ChainId;
use bytes::Bytes;
use futures::AsyncWriteExt;
use libp2p::PeerId;
use libp2p::swarm::{Stream, StreamProtocol};
use lru::LruCache;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

/// Bytes of a request, at most.
pub const REQUEST_SIZE_MAX: usize = 64 << 10;

/// Bytes of an answer, at most.
pub const RESPONSE_SIZE_MAX: usize = 16 << 20;

/// Peers whose running requests are counted, at most; the least recent is forgotten.
const COUNTED_PEERS_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");

const READ_BUFFER_SIZE: usize = 32 << 10;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The request is above the limit.
    #[error("a request of {size} bytes where at most {limit} are allowed")]
    TooLarge {
        /// Bytes of the request.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// There is no connection with the peer.
    #[error("the peer is not connected")]
    NotConnected,
    /// The peer does not answer requests of this chain.
    #[error("the peer does not speak {0}")]
    Unsupported(String),
    /// The time given is over.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The peer has too many requests under way.
    #[error("the peer is busy")]
    Busy,
    /// The peer does not have what was asked for.
    #[error("the peer has no answer")]
    NoAnswer,
    /// The peer answered with something that is no answer. It was noted as a fault.
    #[error("the answer is {0}")]
    Faulty(Fault),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Connection(String),
}

/// An answer that does not fit into one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer of {size} bytes where at most {limit} are allowed")]
pub struct AnswerTooLarge {
    /// Bytes of the answer.
    pub size: usize,
    /// Bytes allowed.
    pub limit: usize,
}

/// Takes the answer to one request. Dropped, it tells the peer that there is none.
#[derive(Debug)]
pub struct Reply(oneshot::Sender<Bytes>);

impl Reply {
    /// Answers. The peer may have given up meanwhile; nobody needs to know.
    ///
    /// # Errors
    /// When the answer is above [`RESPONSE_SIZE_MAX`]; the peer is told that
    /// there is none.
    pub fn send(self, answer: Bytes) -> Result<(), AnswerTooLarge> {
        let size = answer.len();
        if size > RESPONSE_SIZE_MAX {
            return Err(AnswerTooLarge { size, limit: RESPONSE_SIZE_MAX });
        }
        // Without a peer that waits, the answer is of no use.
        let _ = self.0.send(answer);
        Ok(())
    }
}

/// The protocol of requests. It names the chain: nodes of another cannot ask.
pub(crate) fn protocol(chain_id: &ChainId) -> StreamProtocol {
    StreamProtocol::try_from_owned(format!("/bizra/{chain_id}/request/1"))
        .expect("it begins with a slash")
}

/// Running requests per peer.
#[derive(Debug)]
pub(crate) struct Slots {
    per_peer: usize,
    slots: Mutex<LruCache<PeerId, Arc<Semaphore>>>,
}

impl Slots {
    pub(crate) fn new(per_peer: usize) -> Self {
        Self { per_peer, slots: Mutex::new(LruCache::new(COUNTED_PEERS_MAX)) }
    }

    fn of(&self, peer: PeerId) -> Arc<Semaphore> {
        let mut slots = self.slots.lock().expect("no holder panics");
        Arc::clone(slots.get_or_insert(peer, || Arc::new(Semaphore::new(self.per_peer))))
    }

    /// A place for one more request, if there is one.
    pub(crate) fn try_take(&self, peer: PeerId) -> Option<OwnedSemaphorePermit> {
        self.of(peer).try_acquire_owned().ok()
    }

    async fn take(&self, peer: PeerId) -> OwnedSemaphorePermit {
        self.of(peer).acquire_owned().await.expect("slots are never closed")
    }
}

/// Asks a peer.
pub(crate) async fn request(
    common: &Common,
    slots: &Slots,
    peer: PeerId,
    protocol: StreamProtocol,
    request: &[u8],
    limit: Duration,
) -> Result<Bytes, RequestError> {
    if request.len() > REQUEST_SIZE_MAX {
        return Err(RequestError::TooLarge { size: request.len(), limit: REQUEST_SIZE_MAX });
    }
    let answered = async {
        let _slot = slots.take(peer).await;
        let mut stream = common.open(peer, None, protocol).await?;
        let mut bytes = Vec::with_capacity(request.len() + 8);
        frame::push_frame(KIND_REQUEST, request, &mut bytes);
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        let mut reader = FrameReader::new(stream, READ_BUFFER_SIZE);
        let frame = match reader.next(RESPONSE_SIZE_MAX + 1).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Err(RequestError::Connection("no answer came".to_owned())),
            Err(FrameError::TooLarge { size, limit }) => {
                return Err(RequestError::Faulty(Fault::FrameTooLarge { size, limit }));
            }
            Err(FrameError::Empty) => return Err(RequestError::Faulty(Fault::Garbage)),
            Err(error) => return Err(RequestError::Connection(error.to_string())),
        };
        match frame[0] {
            KIND_ANSWER => Ok(Bytes::from(frame).slice(1..)),
            KIND_NO_ANSWER => Err(RequestError::NoAnswer),
            KIND_BUSY => Err(RequestError::Busy),
            _ => Err(RequestError::Faulty(Fault::Garbage)),
        }
    };
    let answer = timeout(limit, answered).await.unwrap_or(Err(RequestError::Timeout(limit)));
    if let Err(RequestError::Faulty(fault)) = answer {
        common.notify(Notice::Fault { peer, fault }).await;
    }
    answer
}

impl From<OpenError> for RequestError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NotConnected => Self::NotConnected,
            OpenError::Unsupported(protocol) => Self::Unsupported(protocol.to_string()),
            OpenError::Connection(reason) => Self::Connection(reason),
        }
    }
}

impl From<io::Error> for RequestError {
    fn from(error: io::Error) -> Self {
        Self::Connection(error.to_string())
    }
}

/// Reads one request, waits for its answer and writes it.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    peer: PeerId,
    stream: Stream,
    _slot: OwnedSemaphorePermit,
) {
    let limit = shared.limits.request_serve_timeout;
    let mut reader = FrameReader::new(stream, READ_BUFFER_SIZE);
    let fault = match timeout(limit, reader.next(REQUEST_SIZE_MAX + 1)).await {
        Ok(Ok(Some(frame))) if frame[0] == KIND_REQUEST => {
            let (sender, answer) = oneshot::channel();
            let bytes = Bytes::from(frame).slice(1..);
            let event = Event::Request { peer, bytes, reply: Reply(sender) };
            let answer = match shared.mailbox.request(event) {
                Ok(()) => match timeout(limit, answer).await {
                    Ok(Ok(answer)) => Answered::With(answer),
                    Ok(Err(_)) => Answered::Nothing,
                    Err(_) => Answered::Busy,
                },
                Err(_) => Answered::Busy,
            };
            // A peer that gave up has closed the stream, and needs no answer.
            let _ = timeout(limit, write_answer(reader.stream_mut(), answer)).await;
            None
        }
        Ok(Ok(Some(_)) | Err(FrameError::Empty)) => Some(Fault::Garbage),
        Ok(Err(FrameError::TooLarge { size, limit })) => Some(Fault::FrameTooLarge { size, limit }),
        Ok(Ok(None) | Err(_)) | Err(_) => None,
    };
    if let Some(fault) = fault {
        shared.notify(Notice::Fault { peer, fault }).await;
    }
}

/// Tells a peer that it has too many requests under way.
pub(crate) async fn refuse(shared: Arc<Shared>, mut stream: Stream) {
    // The peer learns it by the end of the stream if not by the byte.
    let _ =
        timeout(shared.limits.handshake_timeout, write_answer(&mut stream, Answered::Busy)).await;
}

enum Answered {
    With(Bytes),
    Nothing,
    Busy,
}

async fn write_answer(stream: &mut Stream, answer: Answered) -> io::Result<()> {
    let mut header = Vec::new();
    match answer {
        Answered::With(bytes) => {
            frame::push_header(KIND_ANSWER, bytes.len(), &mut header);
            stream.write_all(&header).await?;
            stream.write_all(&bytes).await?;
        }
        Answered::Nothing => {
            frame::push_header(KIND_NO_ANSWER, 0, &mut header);
            stream.write_all(&header).await?;
        }
        Answered::Busy => {
            frame::push_header(KIND_BUSY, 0, &mut header);
            stream.write_all(&header).await?;
        }
    }
    stream.close().await
}
