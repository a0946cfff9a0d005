//! Two proofs that contradict each other name those who made both.

use crate::common::{TestChain, Tree, records, team};
use bizra_light_client::{Client, Comparison, FinalHead};
use bizra_types::certificate::{Qc, Tc};
use bizra_types::committee::SignerSet;
use bizra_types::crypto::Signature;
use bizra_types::hash::BlockId;
use bizra_types::message::Timeout;
use bizra_types::numbers::{Era, TimestampMs, ValidatorIndex, View};
use ed25519_dalek::Signer as _;
use std::collections::BTreeSet;

fn tree() -> Tree {
    Tree::of_records(&records(3))
}

fn client(chain: &TestChain) -> Client {
    Client::from_genesis(&chain.genesis.to_json()).expect("a genesis file")
}

fn indices(members: impl IntoIterator<Item = u16>) -> BTreeSet<ValidatorIndex> {
    members.into_iter().map(ValidatorIndex::new).collect()
}

/// A block beside `head`, at its height, in a view so many later, by these signers.
fn contrary(chain: &TestChain, head: &FinalHead, later: u64, signers: &[usize]) -> FinalHead {
    let mut other = head.clone();
    other.header.timestamp_ms = TimestampMs::new(head.header.timestamp_ms.get() + 1);
    other.header.view = View::new(head.header.view.get() + later);
    other.commit = chain.certify_by(&other.header, &other.exec, signers.iter().copied());
    other
}

fn timeout_cert(chain: &TestChain, view: u64, signers: &[(u16, u64)]) -> Tc {
    let chain_id = chain.genesis.chain_id();
    let size = chain.team.keys.len();
    let era = chain.era;
    let signatures = signers.iter().map(|(signer, high)| {
        let timeout = Timeout { era, view: View::new(view), high_qc_view: View::new(*high) };
        let key = &chain.team.keys[usize::from(*signer)];
        Signature(key.sign(&timeout.signed_bytes(&chain_id)).to_bytes())
    });
    Tc {
        era,
        view: View::new(view),
        signers: SignerSet::of(
            size,
            signers.iter().map(|(signer, _)| ValidatorIndex::new(*signer)),
        ),
        high_qc_views: signers.iter().map(|(_, high)| View::new(*high)).collect(),
        signatures: signatures.collect(),
        high_qc: Qc::root(era, BlockId::ZERO, size),
    }
}

#[test]
fn of_one_view_both_certificates_name_whoever_signed_them() {
    let mut chain = TestChain::new(&team(1, 7));
    // By validators 2 to 6, and by 0 to 4.
    let head = chain.commit(&tree());
    let other = contrary(&chain, &head, 0, &[0, 1, 2, 3, 4]);
    let client = client(&chain);
    let Ok(Comparison::Guilty { era, guilty, committee }) = client.compare(&head, &other, &[])
    else {
        panic!("they contradict each other in one view")
    };
    assert_eq!((era, guilty), (Era::new(1), indices(2..=4)));
    assert_eq!(committee, chain.team.committee);
    assert_eq!(client.compare(&head, &head, &[]), Ok(Comparison::NoContradiction));
}

#[test]
fn of_two_views_the_timeouts_between_name_who_hid_the_first() {
    let mut chain = TestChain::new(&team(1, 7));
    chain.commit(&tree());
    let head = chain.commit(&tree());
    let view = head.header.view.get();
    let other = contrary(&chain, &head, 3, &[0, 1, 2, 3, 4]);
    let client = client(&chain);
    let (from, to) = (View::new(view), View::new(view + 3));
    let needed = Ok(Comparison::TimeoutsNeeded { era: Era::new(1), from, to });
    assert_eq!(client.compare(&other, &head, &[]), needed);

    // Of the signers 2 to 6 of the first certificate, 4 to 6 hide it; 3 is
    // honest and shows it; 0 and 1 never saw it.
    let lie = [(0, view - 1), (1, view - 1), (4, view - 1), (5, view - 1), (6, 0)];
    let tc = timeout_cert(&chain, view + 1, &lie);
    for proofs in [[&head, &other], [&other, &head]] {
        let Ok(Comparison::Guilty { guilty, .. }) =
            client.compare(proofs[0], proofs[1], std::slice::from_ref(&tc))
        else {
            panic!("the timeouts show who lied")
        };
        assert_eq!(guilty, indices(4..=6));
    }
    let honest = [(0, view - 1), (1, view - 1), (3, view), (4, view), (5, view)];
    let shown = timeout_cert(&chain, view + 1, &honest);
    assert_eq!(client.compare(&head, &other, &[shown]), needed, "nobody hid anything");
    let before = timeout_cert(&chain, view - 1, &[(2, 0), (3, 0), (4, 0), (5, 0), (6, 0)]);
    assert_eq!(client.compare(&head, &other, &[before]), needed, "before there was a certificate");
    let mut forged = tc.clone();
    forged.signatures.swap(0, 1);
    assert_eq!(client.compare(&head, &other, &[forged]), needed, "nobody signed that");
}

#[test]
fn an_era_that_ends_twice_or_goes_on_after_its_end_is_a_contradiction() {
    let mut chain = TestChain::new(&team(1, 4));
    chain.commit(&tree());
    let mut fork = chain.clone();
    let mut goes_on = chain.clone();
    chain.end_era(&tree(), &team(20, 4), false);
    let head = chain.commit(&tree());
    fork.end_era(&tree(), &team(40, 4), false);
    let other = fork.commit(&tree());
    let client = client(&chain);
    let Ok(Comparison::Guilty { era, guilty, .. }) = client.compare(&head, &other, &[]) else {
        panic!("one era ends with two committees")
    };
    assert_eq!((era, guilty), (Era::new(1), indices(1..=3)));

    goes_on.commit(&tree());
    let beyond = goes_on.commit(&tree());
    let view = beyond.header.view;
    let compared = client.compare(&head, &beyond, &[]);
    let from = head.eras[0].header.view;
    assert_eq!(compared, Ok(Comparison::TimeoutsNeeded { era: Era::new(1), from, to: view }));
}

#[test]
fn blocks_of_one_chain_do_not_contradict_each_other() {
    let mut chain = TestChain::new(&team(1, 4));
    let client = client(&chain);
    let mut heads = vec![chain.commit(&Tree::of_records(&records(1)))];
    heads.push(chain.commit(&Tree::of_records(&records(2))));
    heads.push(chain.end_era(&Tree::of_records(&records(2)), &team(20, 4), true));
    heads.push(chain.commit(&Tree::of_records(&records(5))));
    for one in &heads {
        for other in &heads {
            assert_eq!(client.compare(one, other, &[]), Ok(Comparison::NoContradiction));
        }
    }
    let mut bad = heads[0].clone();
    bad.commit.signatures.swap(0, 1);
    assert!(client.compare(&bad, &heads[0], &[]).is_err(), "what does not hold accuses nobody");
}
