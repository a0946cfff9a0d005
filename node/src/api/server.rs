//! Connections: accepted, timed and bounded.
//!
//! `axum::serve` sets no time limits, so the loop is our own: a header that
//! takes too long is answered with 408, a client that stops reading is dropped,
//! and no more than a fixed number of connections are open at once. A connection
//! that begins as HTTP/2 does, with prior knowledge as gRPC has it, is spoken to
//! in that; it may have a few requests open at once, and is closed when it has
//! none for as long as a header may take.

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{Request, Response, StatusCode};
use bytes::{Buf as _, Bytes};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, Sleep, interval, sleep, timeout};
use tower_service::Service as _;
use tracing::{debug, warn};

use super::error::Refusal;

/// Bytes of request line and headers together.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// What a client that speaks HTTP/2 sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Requests that are open at once on one connection of HTTP/2.
const REQUESTS_MAX: u32 = 32;
/// Bytes that a client may send before they are read, of one request and of all.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// Bytes of a response that are handed over at once, between which is seen
/// whether the client takes them.
const PIECE_BYTES: usize = 16 * 1024;
/// Time between two questions whether the other side of a connection is there.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// How the connections of one port are bounded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    /// Time for a request's header, also from the end of the request before.
    pub(crate) header_time: Duration,
    /// Time for which a client may refuse to take a single byte.
    pub(crate) stalled_time: Duration,
    /// Connections open at once.
    pub(crate) connections_max: usize,
}

/// Serves until `shutdown` turns true, and then until the open requests are answered.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    mut shutdown: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = shutdown.wait_for(|ends| *ends) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let connection = connection(stream, router.clone(), limits, shutdown.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of file descriptors or the like: the next try may find one.
                warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Takes the next connection once there is room for it; until then it waits in
/// the kernel's backlog.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

async fn connection(
    mut stream: TcpStream,
    router: Router,
    limits: ConnectionLimits,
    mut shutdown: watch::Receiver<bool>,
) {
    // Answers are small and written at once; waiting for more bytes only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY is not available");
    }
    let mut begun = Vec::with_capacity(PREFACE.len());
    let read = tokio::select! {
        _ = shutdown.wait_for(|ends| *ends) => return,
        read = timeout(limits.header_time, begins_as_http2(&mut stream, &mut begun)) => read,
    };
    let is_http2 = match read {
        Ok(Ok(is_http2)) => is_http2,
        Ok(Err(error)) => {
            debug!(%error, "a client hung up before it asked");
            return;
        }
        // An idle connection has nothing to be answered.
        Err(_) if begun.is_empty() => return,
        Err(_) => return refuse_slow_header(stream).await,
    };
    let io = Impatient::new(stream, begun.into(), limits.stalled_time);
    if is_http2 {
        http2(io, router, limits, shutdown).await;
    } else {
        http1(io, router, limits, shutdown).await;
    }
}

/// Reads until it is clear which protocol is spoken. What was read is in
/// `begun`, also when this is given up.
async fn begins_as_http2(stream: &mut TcpStream, begun: &mut Vec<u8>) -> io::Result<bool> {
    while PREFACE.starts_with(begun) {
        if begun.len() == PREFACE.len() {
            return Ok(true);
        }
        let missing = PREFACE.len() - begun.len();
        if (&mut *stream).take(missing as u64).read_buf(begun).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(false)
}

async fn http1(
    io: Impatient,
    router: Router,
    limits: ConnectionLimits,
    mut shutdown: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        // A router is always ready.
        router.clone().call(request.map(Body::new))
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service);
    let result = {
        let mut ends = pin!(async { drop(shutdown.wait_for(|ends| *ends).await) });
        tokio::select! {
            result = &mut connection => result,
            () = &mut ends => {
                Pin::new(&mut connection).graceful_shutdown();
                (&mut connection).await
            }
        }
    };
    if let Err(error) = result
        && error.is_timeout()
    {
        let parts = connection.into_parts();
        // An idle connection has nothing to be answered.
        if !parts.read_buf.is_empty() {
            refuse_slow_header(parts.io.into_inner()).await;
        }
    }
}

async fn refuse_slow_header(mut stream: impl AsyncWrite + Unpin) {
    let answered = stream.write_all(header_timeout().as_bytes()).await;
    if let Err(error) = answered.and(stream.shutdown().await) {
        debug!(%error, "a client with a slow header is gone");
    }
}

async fn http2(
    io: Impatient,
    router: Router,
    limits: ConnectionLimits,
    mut shutdown: watch::Receiver<bool>,
) {
    let turns = Turns::default();
    let open = turns.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (turn, mut router) = (open.begin(), router.clone());
        async move {
            // A router is always ready.
            let Ok(response): Result<Response<Body>, Infallible> =
                router.call(request.map(Body::new)).await;
            Ok::<_, Infallible>(response.map(|body| Taken::new(body, turn)))
        }
    });
    let mut connection = pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(REQUESTS_MAX)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).expect("it is small"))
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(limits.stalled_time)
            .serve_connection(TokioIo::new(io), service)
    );
    let mut look = interval(limits.header_time.min(limits.stalled_time) / 4);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut idle_since = Some(Instant::now());
    let mut closing_since = None;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    debug!(%error, "a connection broke off");
                }
                return;
            }
            _ = shutdown.wait_for(|ends| *ends), if closing_since.is_none() => {
                connection.as_mut().graceful_shutdown();
                closing_since = Some(Instant::now());
            }
            _ = look.tick() => {}
        }
        let (are_open, longest) = turns.look();
        if longest >= limits.stalled_time {
            debug!("a client takes nothing of what it asked for");
            return;
        }
        idle_since = if are_open { None } else { idle_since.or_else(|| Some(Instant::now())) };
        let idle = idle_since.map_or(Duration::ZERO, |since| since.elapsed());
        match closing_since {
            None if idle >= limits.header_time => {
                connection.as_mut().graceful_shutdown();
                closing_since = Some(Instant::now());
            }
            // It was told, has nothing open, and does not hang up.
            Some(since) if idle.min(since.elapsed()) >= limits.stalled_time => return,
            _ => {}
        }
    }
}

/// The open requests of one connection.
#[derive(Clone, Debug, Default)]
struct Turns(Arc<Mutex<Vec<Weak<Turn>>>>);

/// An open request: since when it is the client's turn to take what is
/// answered; none while the answer is being made.
#[derive(Debug, Default)]
struct Turn(Mutex<Option<Instant>>);

impl Turns {
    fn begin(&self) -> Arc<Turn> {
        let turn = Arc::new(Turn::default());
        locked(&self.0).push(Arc::downgrade(&turn));
        turn
    }

    /// Whether there are any, and for how long a client has left one of them lying.
    fn look(&self) -> (bool, Duration) {
        let mut turns = locked(&self.0);
        turns.retain(|turn| turn.strong_count() > 0);
        let since = turns.iter().filter_map(Weak::upgrade).filter_map(|turn| *locked(&turn.0));
        let longest = since.map(|since| since.elapsed()).max().unwrap_or_default();
        (!turns.is_empty(), longest)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A body that is handed over in pieces, and knows whose turn it is.
struct Taken {
    body: Body,
    rest: Bytes,
    is_begun: bool,
    turn: Arc<Turn>,
}

impl Taken {
    fn new(body: Body, turn: Arc<Turn>) -> Self {
        *locked(&turn.0) = Some(Instant::now());
        Self { body, rest: Bytes::new(), is_begun: false, turn }
    }
}

/// Once it has given something, it does not say beforehand that it is at its end:
/// then it would be dropped while that is still waiting to be taken.
impl HttpBody for Taken {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        this.is_begun = true;
        if !this.rest.has_remaining() {
            let frame = match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    *locked(&this.turn.0) = None;
                    return Poll::Pending;
                }
            };
            *locked(&this.turn.0) = Some(Instant::now());
            match frame.map(|frame| frame.map(Frame::into_data)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Ok(Ok(data))) => this.rest = data,
            }
        }
        *locked(&this.turn.0) = Some(Instant::now());
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    /// A refused call must end with its headers.
    fn is_end_stream(&self) -> bool {
        !self.is_begun && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a slow header is answered with, where hyper would only hang up.
fn header_timeout() -> String {
    let refusal = Refusal::new(
        StatusCode::REQUEST_TIMEOUT,
        "TIMEOUT",
        "the request's header did not arrive in time; send it at once",
    );
    let body = refusal.body().to_string();
    format!(
        "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A stream whose other side must keep reading: when it takes no byte for the
/// given time, writing fails.
struct Impatient {
    stream: TcpStream,
    /// What was read to know the protocol, and belongs to it.
    begun: Bytes,
    patience: Duration,
    deadline: Pin<Box<Sleep>>,
    is_stalled: bool,
}

impl Impatient {
    fn new(stream: TcpStream, begun: Bytes, patience: Duration) -> Self {
        let deadline = Box::pin(sleep(patience));
        Self { stream, begun, patience, deadline, is_stalled: false }
    }

    /// Passes progress on and times the lack of it.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        progress: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.is_stalled = false;
            return progress;
        }
        if !self.is_stalled {
            self.is_stalled = true;
            self.deadline.as_mut().reset(Instant::now() + self.patience);
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.begun.has_remaining() {
            let length = self.begun.len().min(buffer.remaining());
            buffer.put_slice(&self.begun.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
