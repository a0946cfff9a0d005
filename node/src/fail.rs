//! Points at which a build with the feature `fail-points` dies on request, as if
//! it were killed: `DIE_AT=POINT:COUNT` names the point and how often it
//! may be passed before. Other builds hold none of it.
//!
//! A death of the process between a write and its sync is not a point of its
//! own: what was written is in the hands of the system then, and the next
//! process reads it as if it had been synced. What a machine that dies there
//! leaves, the simulator shows.

/// Where it can be asked to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// A step's decisions are about to be written.
    BeforeWrite,
    /// They are on disk, and nothing of them was signed or sent.
    AfterWrite,
    /// Some of their messages are on their way.
    MidSend,
    /// All of them are.
    AfterSend,
    /// An own batch is signed, and its signature is not kept.
    BeforeSignature,
    /// Its signature is kept, and nothing sent.
    AfterSignature,
    /// Final blocks are about to be written.
    BeforeCommit,
    /// They are written, and nobody was told.
    AfterCommit,
}

/// Dies here if that was asked for.
#[cfg(feature = "fail-points")]
pub(crate) fn at(point: Point) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, Ordering};
    static ORDER: OnceLock<Option<(String, AtomicI64)>> = OnceLock::new();
    let order = ORDER.get_or_init(|| {
        let text = std::env::var("DIE_AT").ok()?;
        let (name, count) = text.split_once(':').expect("DIE_AT is POINT:COUNT");
        Some((name.to_owned(), AtomicI64::new(count.parse().expect("COUNT is a number"))))
    });
    if let Some((name, left)) = order
        && *name == format!("{point:?}")
        && left.fetch_sub(1, Ordering::Relaxed) == 0
    {
        eprintln!("dies at {name}, as DIE_AT asks");
        std::process::abort();
    }
}

/// Nothing dies here.
#[cfg(not(feature = "fail-points"))]
pub(crate) const fn at(_: Point) {}
