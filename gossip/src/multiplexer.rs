//! Yamux over a write buffer.
//!
//! Yamux writes the header and the body of a frame one after the other, and
//! TLS makes a record and a system call of each. A buffer between them joins
//! the two, which halves what a small message costs; yamux flushes after every
//! frame, so nothing waits in the buffer.

use futures::future::Ready;
use futures::io::BufWriter;
use futures::{AsyncRead, AsyncWrite};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::yamux;
use std::io;

/// A frame of yamux's largest body and its header fit.
const BUFFER_SIZE: usize = (16 << 10) + 64;

/// Negotiates as yamux does.
#[derive(Clone)]
pub(crate) struct BufferedYamux(yamux::Config);

impl BufferedYamux {
    /// With room for `streams_max` streams on one connection.
    pub(crate) fn new(streams_max: usize) -> Self {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(streams_max);
        Self(config)
    }
}

impl UpgradeInfo for BufferedYamux {
    type Info = <yamux::Config as UpgradeInfo>::Info;
    type InfoIter = <yamux::Config as UpgradeInfo>::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.protocol_info()
    }
}

impl<C> InboundConnectionUpgrade<C> for BufferedYamux
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = yamux::Muxer<BufWriter<C>>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Output>>;

    fn upgrade_inbound(self, connection: C, info: Self::Info) -> Self::Future {
        let buffered = BufWriter::with_capacity(BUFFER_SIZE, connection);
        self.0.upgrade_inbound(buffered, info)
    }
}

impl<C> OutboundConnectionUpgrade<C> for BufferedYamux
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = yamux::Muxer<BufWriter<C>>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Output>>;

    fn upgrade_outbound(self, connection: C, info: Self::Info) -> Self::Future {
        let buffered = BufWriter::with_capacity(BUFFER_SIZE, connection);
        self.0.upgrade_outbound(buffered, info)
    }
}
