//! Values of the state, from the disk or out of a proof.

#![no_main]

use bizra_fuzz::decodes_exactly;
use bizra_ledger::evidence::FiledEvidence;
use bizra_ledger::governance::{Attestation, Ballots, ClosedProposal, Governance, Proposal};
use bizra_ledger::identity::{IdentityUsage, KeyEntry, Usage};
use bizra_ledger::market::{Account, Holdings, Licence, Market};
use bizra_ledger::pattern::PatternVotes;
use bizra_ledger::plain::{LtHash, OutcomeEntry};
use bizra_ledger::policy::PolicyText;
use bizra_ledger::reputation::Reputation;
use bizra_ledger::session::{ClosedSession, Session, SessionKey, SessionNode};
use bizra_ledger::state::{StaleNodes, StateTree};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decodes_exactly::<OutcomeEntry>(bytes);
    decodes_exactly::<SessionKey>(bytes);
    decodes_exactly::<Session>(bytes);
    decodes_exactly::<SessionNode>(bytes);
    decodes_exactly::<ClosedSession>(bytes);
    decodes_exactly::<Market>(bytes);
    decodes_exactly::<Account>(bytes);
    decodes_exactly::<Licence>(bytes);
    decodes_exactly::<Holdings>(bytes);
    decodes_exactly::<KeyEntry>(bytes);
    decodes_exactly::<IdentityUsage>(bytes);
    decodes_exactly::<Usage>(bytes);
    decodes_exactly::<Governance>(bytes);
    decodes_exactly::<Proposal>(bytes);
    decodes_exactly::<Ballots>(bytes);
    decodes_exactly::<ClosedProposal>(bytes);
    decodes_exactly::<PolicyText>(bytes);
    decodes_exactly::<Attestation>(bytes);
    decodes_exactly::<Reputation>(bytes);
    decodes_exactly::<PatternVotes>(bytes);
    decodes_exactly::<FiledEvidence>(bytes);
    decodes_exactly::<LtHash>(bytes);
    decodes_exactly::<StateTree>(bytes);
    decodes_exactly::<StaleNodes>(bytes);
});
