//! HTTP/1.1 connections: accepted, timed and bounded.
//!
//! `axum::serve` sets no time limits, so the loop is our own: a header that
//! takes too long is answered with 408, a client that stops reading is dropped,
//! and no more than a fixed number of connections are open at once.

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep};
use tower_service::Service as _;
use tracing::{debug, warn};

use super::error::Refusal;

/// Bytes of request line and headers together.
const HEADER_BYTES_MAX: usize = 16 * 1024;

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
    stream: TcpStream,
    router: Router,
    limits: ConnectionLimits,
    mut shutdown: watch::Receiver<bool>,
) {
    // Answers are small and written at once; waiting for more bytes only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY is not available");
    }
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        // A router is always ready.
        router.clone().call(request.map(Body::new))
    });
    let io = TokioIo::new(Impatient::new(stream, limits.stalled_time));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(io, service);
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
            let mut stream = parts.io.into_inner();
            let answered = stream.write_all(header_timeout().as_bytes()).await;
            if let Err(error) = answered.and(stream.shutdown().await) {
                debug!(%error, "a client with a slow header is gone");
            }
        }
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
    patience: Duration,
    deadline: Pin<Box<Sleep>>,
    is_stalled: bool,
}

impl Impatient {
    fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, deadline: Box::pin(sleep(patience)), is_stalled: false }
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
