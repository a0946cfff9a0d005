//! Answers with certificates of the past, answers questions half of the time,
//! and proposes on a block of the past although it knows a later certificate:
//! with the TC that knows the least of all that it can make.
//!
//! It hopes to hold others back and to drop certified or even final blocks. A
//! certificate never moves a view back, and rule 1 allows no vote for a
//! justification that ranks below a high QC in the TC that comes with it;
//! without TC it must be that of the view before. Of a block that may be final
//! every TC knows the certificate or a later one.

use super::{Letter, Lie, Parcel, Stage, changed, vote_for_replacement};
use crate::rng::Rng;
use bizra_consensus::{Ask, Outgoing};
use bizra_types::block::Block;
use bizra_types::certificate::{Certificate, Tc};
use bizra_types::hash::BlockId;
use bizra_types::numbers::{TimestampMs, View};
use std::collections::BTreeMap;

/// The last block that was proposed in another's place.
#[derive(Debug, Default)]
pub(super) struct StaleCertificates {
    replaced: Option<(BlockId, Block)>,
}

impl StaleCertificates {
    /// A block of the same view on an older certificate.
    fn replace(&mut self, block: &Block, tc: Option<&Tc>, stage: &mut Stage<'_>) -> Option<Block> {
        if let Some((_, other)) = self.replaced.as_ref().filter(|(id, _)| *id == block.id()) {
            return Some(other.clone());
        }
        let justify = tc.map_or(block.justify(), |tc| &tc.high_qc).vote.view;
        let below = if tc.is_some() { justify.next() } else { justify };
        let older = stage.memory.qcs.range(..below).rev().map(|(_, qc)| qc);
        let known: Vec<_> = older
            .filter_map(|qc| Some((qc, stage.memory.block(qc.vote.block)?.header())))
            .collect();
        let newest = stage.rng.chance(600_000);
        let place = if newest { 0 } else { stage.rng.index(known.len().max(1)) };
        let (qc, parent) = *known.get(place)?;
        let other = changed(block, |content| {
            content.justify = qc.clone();
            content.height = parent.height.next();
            content.citations.clear();
            content.reveals.clear();
            let after = TimestampMs::new(parent.timestamp_ms.get() + 1);
            content.timestamp_ms = content.timestamp_ms.max(after);
        });
        self.replaced = Some((block.id(), other.clone()));
        Some(other)
    }
}

impl Lie for StaleCertificates {
    fn send(&mut self, parcel: Parcel, stage: &mut Stage<'_>) {
        match &parcel.letter {
            Letter::Own(Outgoing::Certificate(certificate)) => {
                let older = match certificate {
                    Certificate::Qc(qc) => {
                        before(&stage.memory.qcs, qc.vote.view, stage.rng).map(Certificate::Qc)
                    }
                    Certificate::Tc(tc) => {
                        before(&stage.memory.tcs, tc.view, stage.rng).map(Certificate::Tc)
                    }
                    Certificate::Commit(cert) => {
                        before(&stage.memory.commit_certs, cert.vote.view, stage.rng)
                            .map(Certificate::Commit)
                    }
                    Certificate::Filler(..) => None,
                };
                let Some(older) = older else { return stage.post(parcel) };
                stage.lie();
                stage.post(parcel.with(Outgoing::Certificate(older)));
            }
            Letter::Own(Outgoing::Proposal { block, tc }) => {
                let before = block.header().view.previous().unwrap_or_default();
                let lowest = stage.memory.lowest_tc(stage.committee(), before);
                let heard = || stage.memory.tcs.get(&before).cloned();
                let tc = lowest.or_else(heard).or_else(|| tc.clone());
                let other = self.replace(block, tc.as_ref(), stage);
                let Some(block) = other else { return stage.post(parcel) };
                stage.lie();
                stage.post(parcel.with(Outgoing::Proposal { block, tc }));
            }
            Letter::Own(Outgoing::Vote(vote)) => {
                let vote = vote_for_replacement(*vote, self.replaced.as_ref());
                stage.post(parcel.with(Outgoing::Vote(vote)));
            }
            _ => stage.post(parcel),
        }
    }

    fn answers(&mut self, _ask: &Ask, stage: &mut Stage<'_>) -> bool {
        let answers = stage.rng.chance(500_000);
        if !answers {
            stage.lie();
        }
        answers
    }
}

/// Any certificate of a view before.
fn before<T: Clone>(all: &BTreeMap<View, T>, view: View, rng: &mut Rng) -> Option<T> {
    let older: Vec<_> = all.range(..view).map(|(_, certificate)| certificate).collect();
    (!older.is_empty()).then(|| older[rng.index(older.len())].clone())
}
