//! Sends certificates that it knows under other labels: a later view, another
//! era, another result.
//!
//! It hopes that a certificate is good for more than its signers meant: that
//! one of an old block passes for the newest, and views are skipped or blocks
//! dropped by it. Every signature covers kind, chain, era, view and whatever
//! else the message says, so no signature is left under another label.

use super::{Lie, Stage};
use bizra_consensus::Outgoing;
use bizra_types::certificate::Certificate;
use bizra_types::hash::ExecHash;
use bizra_types::numbers::View;
use std::collections::BTreeMap;

/// Nothing to remember.
#[derive(Debug)]
pub(super) struct RelabelledCertificates;

impl Lie for RelabelledCertificates {
    fn tick(&mut self, stage: &mut Stage<'_>) {
        let Some(certificate) = relabelled(stage) else { return };
        stage.lie();
        let to = stage.peers();
        stage.tell(to, Outgoing::Certificate(certificate));
    }
}

fn relabelled(stage: &mut Stage<'_>) -> Option<Certificate> {
    let later = View::new(stage.memory.view().get() + stage.rng.below(3));
    let is_of_era = stage.rng.chance(800_000);
    Some(match stage.rng.below(4) {
        0 | 1 => {
            let mut qc = recent(&stage.memory.qcs, stage.rng.below(8))?;
            if is_of_era {
                qc.vote.view = later;
            } else {
                qc.vote.era = qc.vote.era.next();
            }
            Certificate::Qc(qc)
        }
        2 => {
            let mut tc = recent(&stage.memory.tcs, stage.rng.below(8))?;
            if is_of_era {
                tc.view = later;
            } else {
                tc.era = tc.era.next();
            }
            Certificate::Tc(tc)
        }
        _ => {
            let mut cert = recent(&stage.memory.commit_certs, stage.rng.below(8))?;
            if is_of_era {
                cert.vote.view = later;
            } else {
                cert.vote.exec = ExecHash(stage.noise());
            }
            Certificate::Commit(cert)
        }
    })
}

/// The last that is known, but for so many.
fn recent<T: Clone>(all: &BTreeMap<View, T>, but: u64) -> Option<T> {
    all.values().rev().nth(usize::try_from(but).expect("a small number")).cloned()
}
