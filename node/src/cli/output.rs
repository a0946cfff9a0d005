//! What verbs print, and what their exit code says.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::io::Write as _;

/// Whether what was asked is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Exit code 0.
    True,
    /// Exit code 1; the verb has said why.
    False,
}

/// Arguments that cannot be meant: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongUse(pub(crate) String);

impl Answer {
    pub(crate) const fn of(truth: bool) -> Self {
        if truth { Self::True } else { Self::False }
    }
}

/// Prints facts to standard output, as one line of JSON or as text.
pub(crate) fn print(as_json: bool, facts: &Value, text: &str) -> Result<()> {
    if as_json { line(&facts.to_string()) } else { line(text) }
}

/// Prints one line to standard output and flushes it, so that a pipe sees it.
pub(crate) fn line(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("cannot write to standard output")
}

/// An error and its causes. Many of ours quote their cause, so one that was told
/// already is not told again.
pub(crate) fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// `1 node`, `2 nodes`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
