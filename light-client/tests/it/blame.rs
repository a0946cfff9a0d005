//! Two proofs that contradict each other name those who made both.

use crate::common::{TestChain, Tree, records, sign_commit, team};
use bizra_light_client::{Client, Comparison, FinalHead, Offence};
use bizra_types::block::Header;
use bizra_types::certificate::{Certificate, Qc, Tc};
use bizra_types::committee::SignerSet;
use bizra_types::crypto::Signature;
use bizra_types::hash::{BlockId, ExecHash};
use bizra_types::message::{CommitVote, Timeout, Vote};
use bizra_types::numbers::{Era, TimestampMs, ValidatorIndex, View};
use ed25519_dalek::Signer as _;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn tree() -> Tree {
    Tree::of_records(&records(3))
}

fn client(chain: &TestChain) -> Client {
    Client::from_genesis(&chain.genesis.to_json()).expect("a genesis file")
}

/// These validators, each guilty of one thing.
fn each(
    members: impl IntoIterator<Item = u16>,
    offence: Offence,
) -> BTreeMap<ValidatorIndex, BTreeSet<Offence>> {
    members.into_iter().map(|it| (ValidatorIndex::new(it), BTreeSet::from([offence]))).collect()
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

fn quorum_cert(chain: &TestChain, view: u64, block: u8, signers: &[u16]) -> Qc {
    let vote = Vote { era: chain.era, view: View::new(view), block: BlockId([block; 32]) };
    let message = vote.signed_bytes(&chain.genesis.chain_id());
    let signatures = signers
        .iter()
        .map(|it| Signature(chain.team.keys[usize::from(*it)].sign(&message).to_bytes()));
    let members = signers.iter().copied().map(ValidatorIndex::new);
    let signatures = signatures.collect();
    Qc { vote, signers: SignerSet::of(chain.team.keys.len(), members), signatures }
}

#[test]
fn of_one_view_both_certificates_name_whoever_signed_them() {
    let mut chain = TestChain::new(&team(1, 7));
    // By validators 2 to 6, and by 0 to 4.
    let head = chain.commit(&tree());
    let other = contrary(&chain, &head, 0, &[0, 1, 2, 3, 4]);
    let client = client(&chain);
    let Ok(Comparison::Guilty { era, guilty, committee }) = client.compare(&head, &other, &[], &[])
    else {
        panic!("they contradict each other in one view")
    };
    let offence = Offence::TwoCommitVotes { view: head.header.view };
    assert_eq!((era, guilty), (Era::new(1), each(2..=4, offence)));
    assert_eq!(committee, chain.team.committee);
    assert_eq!(client.compare(&head, &head, &[], &[]), Ok(Comparison::NoContradiction));
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
    let needed = Ok(Comparison::CertificatesNeeded { era: Era::new(1), from, to });
    assert_eq!(client.compare(&other, &head, &[], &[]), needed);

    // Of the signers 2 to 6 of the first certificate, 4 to 6 hide it; 3 is
    // honest and shows it; 0 and 1 never saw it.
    let lie = [(0, view - 1), (1, view - 1), (4, view - 1), (5, view - 1), (6, 0)];
    let tc = timeout_cert(&chain, view + 1, &lie);
    let hidden = Offence::HiddenCertificate { committed: from, left: View::new(view + 1) };
    for proofs in [[&head, &other], [&other, &head]] {
        let Ok(Comparison::Guilty { guilty, .. }) =
            client.compare(proofs[0], proofs[1], &[Certificate::Tc(tc.clone())], &[])
        else {
            panic!("the timeouts show who lied")
        };
        assert_eq!(guilty, each(4..=6, hidden));
    }
    let unproven = |tc| client.compare(&head, &other, &[Certificate::Tc(tc)], &[]);
    let honest = [(0, view - 1), (1, view - 1), (3, view), (4, view), (5, view)];
    let shown = timeout_cert(&chain, view + 1, &honest);
    assert_eq!(unproven(shown), needed, "nobody hid anything");
    let before = timeout_cert(&chain, view - 1, &[(2, 0), (3, 0), (4, 0), (5, 0), (6, 0)]);
    assert_eq!(unproven(before), needed, "before there was a certificate");
    let few = timeout_cert(&chain, view + 1, &lie[1..]);
    assert_eq!(unproven(few), needed, "no quorum, no certificate");
    let mut forged = tc.clone();
    forged.signatures.swap(0, 1);
    assert_eq!(unproven(forged), needed, "nobody signed that");
    let mut shown_higher = tc.clone();
    shown_higher.high_qc_views[4] = View::new(view - 1);
    assert_eq!(unproven(shown_higher), needed, "nor that");
    assert_eq!(unproven(Tc { era: Era::new(2), ..tc }), needed, "of another era");
}

#[test]
fn of_two_views_two_certificates_of_one_view_name_who_voted_twice() {
    let mut chain = TestChain::new(&team(1, 7));
    chain.commit(&tree());
    let head = chain.commit(&tree());
    let view = head.header.view.get();
    let other = contrary(&chain, &head, 2, &[0, 1, 2, 3, 4]);
    let client = client(&chain);
    let (from, to) = (View::new(view), View::new(view + 2));
    let needed = Ok(Comparison::CertificatesNeeded { era: Era::new(1), from, to });
    let compare = |certificates: &[Certificate]| client.compare(&head, &other, certificates, &[]);

    let first = quorum_cert(&chain, view, 1, &[2, 3, 4, 5, 6]);
    let second = quorum_cert(&chain, view, 2, &[0, 1, 2, 3, 4]);
    let qc = Certificate::Qc;
    let Ok(Comparison::Guilty { guilty, .. }) = compare(&[qc(first.clone()), qc(second.clone())])
    else {
        panic!("three voted for two blocks")
    };
    assert_eq!(guilty, each(2..=4, Offence::TwoVotes { view: from }));
    // A TC brings a QC with it.
    let honest = [(0, view), (1, view), (2, view), (3, view), (4, view)];
    let high_qc = second.clone();
    let tc = Tc { high_qc, ..timeout_cert(&chain, view + 1, &honest) };
    let Ok(Comparison::Guilty { guilty, .. }) = compare(&[qc(first.clone()), Certificate::Tc(tc)])
    else {
        panic!("three voted for two blocks")
    };
    assert_eq!(guilty, each(2..=4, Offence::TwoVotes { view: from }));

    // What C₁'s signers voted for themselves is in no commit certificate: who
    // votes for one block and commit-votes for the other is honest.
    assert_eq!(compare(&[qc(second.clone())]), needed);
    let same = quorum_cert(&chain, view, 1, &[0, 1, 2, 3, 4]);
    assert_eq!(compare(&[qc(first.clone()), qc(same)]), needed, "one block");
    let later = quorum_cert(&chain, view + 1, 2, &[0, 1, 2, 3, 4]);
    assert_eq!(compare(&[qc(first.clone()), qc(later)]), needed, "two views");
    let mut forged = second;
    forged.signatures.swap(0, 1);
    assert_eq!(compare(&[qc(first), qc(forged)]), needed, "nobody signed that");
}

#[test]
fn of_two_views_a_third_commit_certificate_names_who_gave_two_votes() {
    let mut chain = TestChain::new(&team(1, 4));
    let head = chain.commit(&tree());
    let other = contrary(&chain, &head, 2, &[0, 1, 2]);
    let third = contrary(&chain, &head, 0, &[0, 1, 2]).commit;
    let view = head.header.view;
    let client = client(&chain);
    let Ok(Comparison::Guilty { guilty, .. }) =
        client.compare(&head, &other, &[Certificate::Commit(third)], &[])
    else {
        panic!("two gave two commit votes in a view")
    };
    assert_eq!(guilty, each(1..=2, Offence::TwoCommitVotes { view }));
}

/// What one lie names too few for, several may.
#[test]
fn what_several_certificates_prove_counts_together() {
    let mut chain = TestChain::new(&team(1, 7));
    chain.commit(&tree());
    let head = chain.commit(&tree());
    let view = head.header.view.get();
    let other = contrary(&chain, &head, 4, &[0, 1, 2, 3, 4]);
    let client = client(&chain);
    let some = [(0, 0), (1, 0), (2, view), (3, view), (4, view - 1)];
    let rest = [(0, 0), (1, 0), (2, view), (5, view - 1), (6, view - 1)];
    let tcs = [timeout_cert(&chain, view, &some), timeout_cert(&chain, view + 2, &rest)];
    let tcs = tcs.map(Certificate::Tc);
    for tc in &tcs {
        let compared = client.compare(&head, &other, std::slice::from_ref(tc), &[]);
        assert!(matches!(compared, Ok(Comparison::CertificatesNeeded { .. })), "{compared:?}");
    }
    let Ok(Comparison::Guilty { guilty, .. }) = client.compare(&head, &other, &tcs, &[]) else {
        panic!("three hid the certificate, in two views")
    };
    assert_eq!(guilty.into_keys().collect::<Vec<_>>(), [4, 5, 6].map(ValidatorIndex::new));
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
    let Ok(Comparison::Guilty { era, guilty, .. }) = client.compare(&head, &other, &[], &[]) else {
        panic!("one era ends with two committees")
    };
    let offence = Offence::TwoCommitVotes { view: head.eras[0].header.view };
    assert_eq!((era, guilty), (Era::new(1), each(1..=3, offence)));

    goes_on.commit(&tree());
    let beyond = goes_on.commit(&tree());
    let view = beyond.header.view;
    let compared = client.compare(&head, &beyond, &[], &[]);
    let from = head.eras[0].header.view;
    assert_eq!(compared, Ok(Comparison::CertificatesNeeded { era: Era::new(1), from, to: view }));
}

#[test]
fn blocks_of_one_chain_do_not_contradict_each_other() {
    let mut chain = TestChain::new(&team(1, 4));
    let client = client(&chain);
    let mut heads = vec![chain.commit(&Tree::of_records(&records(1)))];
    heads.push(chain.commit(&Tree::of_records(&records(2))));
    heads.push(chain.end_era(&Tree::of_records(&records(2)), &team(20, 4), true));
    heads.push(chain.commit(&Tree::of_records(&records(5))));
    let headers: Vec<_> = heads.iter().map(|head| head.header).collect();
    for one in &heads {
        for other in &heads {
            let compared = client.compare(one, other, &[], &headers);
            assert_eq!(compared, Ok(Comparison::NoContradiction));
        }
    }
    let (era, from, to) = (Era::new(1), heads[0].header.view, heads[2].header.view);
    for (one, other) in [(&heads[0], &heads[2]), (&heads[3], &heads[0])] {
        let unknown = client.compare(one, other, &[], &[]);
        assert_eq!(unknown, Ok(Comparison::HeadersNeeded { era, from, to }));
    }
    let mut bad = heads[0].clone();
    bad.commit.signatures.swap(0, 1);
    assert!(
        client.compare(&bad, &heads[0], &[], &[]).is_err(),
        "what does not hold accuses nobody"
    );
}

/// Two chains of one genesis that part after the first block: their next four
/// blocks, which are of these views.
fn forks(views: [[u64; 4]; 2]) -> (TestChain, [Vec<FinalHead>; 2]) {
    let mut chain = TestChain::new(&team(1, 7));
    chain.commit(&Tree::of_records(&records(1)));
    let fork = |views: [u64; 4]| {
        let mut fork = chain.clone();
        let heads = (2..).zip(views).map(|(size, view)| {
            fork.skip_to(View::new(view));
            fork.commit(&Tree::of_records(&records(size)))
        });
        heads.collect()
    };
    (chain.clone(), views.map(fork))
}

fn headers(heads: &[FinalHead]) -> Vec<Header> {
    heads.iter().map(|head| head.header).collect()
}

#[test]
fn blocks_of_different_heights_contradict_each_other_by_the_headers_between() {
    let (chain, [one, other]) = forks([[2, 3, 4, 5], [3, 4, 5, 6]]);
    let client = client(&chain);
    let compare = |low: &FinalHead, high: &FinalHead, between: &[Header]| {
        let compared = client.compare(low, high, &[], between);
        assert_eq!(compared, client.compare(high, low, &[], between), "in either order");
        compared.expect("both hold")
    };
    let (low, high) = (&one[0], &other[3]);
    let (era, from, to) = (Era::new(1), low.header.view, high.header.view);
    let unknown = Comparison::HeadersNeeded { era, from, to };
    let contrary = Comparison::CertificatesNeeded { era, from, to };
    let between = headers(&other);
    assert_eq!(compare(low, high, &between[1..3]), contrary);
    assert_eq!(compare(low, high, &[between[2], between[1], between[0]]), contrary);
    assert_eq!(compare(low, high, &between[2..3]), unknown, "one is missing");
    assert_eq!(compare(low, high, &headers(&one)), unknown, "of the other chain");
    let mut forged = between.clone();
    forged[1].parent = low.header.id();
    assert_eq!(compare(low, high, &forged), unknown, "nobody certified that");
    // The block right above needs none.
    let (from, to) = (low.header.view, other[1].header.view);
    let contrary = Comparison::CertificatesNeeded { era, from, to };
    assert_eq!(compare(low, &other[1], &[]), contrary);
}

/// The chain of the higher block passes the lower one by where it has no block
/// of its view or of a view between.
#[test]
fn a_chain_that_passes_a_view_by_does_not_have_its_block() {
    let (chain, [one, other]) = forks([[7, 8, 9, 10], [2, 3, 11, 12]]);
    let client = client(&chain);
    let (low, high) = (&one[0], &other[3]);
    let (era, from, to) = (Era::new(1), low.header.view, high.header.view);
    let compare = |headers: &[Header]| client.compare(low, high, &[], headers);
    let contrary = Ok(Comparison::CertificatesNeeded { era, from, to });
    assert_eq!(compare(&headers(&other[1..3])), contrary);
    let unknown = Ok(Comparison::HeadersNeeded { era, from, to });
    assert_eq!(compare(&headers(&other[2..3])), unknown);
}

#[test]
fn what_ascends_along_a_chain_and_does_not_here_is_a_contradiction() {
    let (chain, [one, other]) = forks([[2, 3, 4, 5], [11, 12, 13, 14]]);
    let client = client(&chain);
    // Of heights 2 and 4, in views 11 and 4.
    let compared = client.compare(&other[0], &one[2], &[], &[]);
    let (from, to) = (one[2].header.view, other[0].header.view);
    assert_eq!(compared, Ok(Comparison::CertificatesNeeded { era: Era::new(1), from, to }));

    let mut early = one[2].clone();
    early.header.timestamp_ms = one[0].header.timestamp_ms;
    early.commit = chain.certify(&early.header, &early.exec);
    let (from, to) = (one[0].header.view, early.header.view);
    let compared = client.compare(&one[0], &early, &[], &[]);
    assert_eq!(compared, Ok(Comparison::CertificatesNeeded { era: Era::new(1), from, to }));
}

/// The proof of an era's last block lists no change of the committee after it.
#[test]
fn nothing_of_its_era_follows_a_block_that_ends_it() {
    let mut chain = TestChain::new(&team(1, 4));
    chain.commit(&Tree::of_records(&records(1)));
    let mut goes_on = chain.clone();
    let last = chain.end_era(&Tree::of_records(&records(2)), &team(20, 4), false);
    goes_on.commit(&Tree::of_records(&records(3)));
    let beyond = goes_on.commit(&Tree::of_records(&records(4)));
    let compared = client(&chain).compare(&last, &beyond, &[], &[]);
    let (from, to) = (last.header.view, beyond.header.view);
    assert_eq!(compared, Ok(Comparison::CertificatesNeeded { era: Era::new(1), from, to }));
}

#[test]
fn timeouts_that_nobody_gives_both_name_who_did() {
    let mut chain = TestChain::new(&team(1, 7));
    chain.commit(&tree());
    let head = chain.commit(&tree());
    let view = head.header.view.get();
    let other = contrary(&chain, &head, 9, &[0, 1, 2, 3, 4]);
    let client = client(&chain);
    let compare = |tcs: &[Tc]| {
        let certificates: Vec<_> = tcs.iter().cloned().map(Certificate::Tc).collect();
        client.compare(&head, &other, &certificates, &[]).expect("both hold")
    };
    let high = |high| [0, 1, 2, 3, 4].map(|it| (it, high));
    let tc = |left: u64, mut highs: [(u16, u64); 5], lower: u64| {
        // Nobody but 0 to 2 ever names a lower one; they signed no commit vote
        // that shows.
        for (_, high) in &mut highs[..3] {
            *high -= lower;
        }
        timeout_cert(&chain, view + left, &highs)
    };
    let shown = view + 3;
    let before = tc(4, high(shown), 0);
    for (later, lower) in [(5, 1), (7, 2), (4, 1)] {
        let falling = tc(later, high(shown), lower);
        for tcs in [[before.clone(), falling.clone()], [falling.clone(), before.clone()]] {
            let Comparison::Guilty { guilty, .. } = compare(&tcs) else {
                panic!("three named a lower certificate in a later view")
            };
            let (left, later) = (View::new(view + 4), View::new(view + later));
            assert_eq!(guilty, each(0..=2, Offence::TwoTimeouts { left, later }));
        }
    }
    for honest in [tc(5, high(shown), 0), tc(3, high(shown - 1), 0), tc(6, high(shown + 2), 0)] {
        let compared = compare(&[before.clone(), honest]);
        assert!(matches!(compared, Comparison::CertificatesNeeded { .. }), "{compared:?}");
    }
}

/// An honest validator of a history that is drawn.
#[derive(Clone, Copy, Default)]
struct Honest {
    /// View of its high QC.
    high: u64,
    /// The last view that it left by timeout.
    left: u64,
}

/// Draws certificates of a history in which the first `liars` of the chain's
/// validators sign whatever there is to sign, and the others keep the rules.
/// Both blocks of view 1 have been commit-voted for.
fn drawn_certificates(chain: &TestChain, liars: usize, choices: &[u8]) -> Vec<Certificate> {
    let size = chain.team.keys.len();
    let quorum = chain.team.committee.quorum();
    let mut choices = choices.iter().copied().cycle();
    let mut draw = |below: u64| u64::from(choices.next().expect("endless")) % below;
    let mut honest = vec![Honest { high: 1, left: 0 }; size - liars];
    let mut certificates = Vec::new();
    for view in 2..=6 {
        let mut votes: [Vec<usize>; 2] = Default::default();
        let mut timeouts: Vec<(usize, u64)> = (0..liars).map(|it| (it, draw(view))).collect();
        for (it, state) in honest.iter_mut().enumerate() {
            if let Some(votes) = votes.get_mut(usize::try_from(draw(3)).expect("small")) {
                votes.push(liars + it);
            }
            if draw(2) == 0 {
                state.left = view;
                timeouts.push((liars + it, state.high));
            }
        }
        let is_certified =
            [0, 1].map(|block: usize| liars + votes[block].len() >= quorum && draw(4) > 0);
        let mut commits: [Vec<usize>; 2] = Default::default();
        for (it, state) in honest.iter_mut().enumerate() {
            let block = usize::try_from(draw(3)).expect("small");
            if is_certified.get(block) == Some(&true) {
                state.high = view;
                if state.left < view {
                    commits[block].push(liars + it);
                }
            }
        }
        let with_liars =
            |others: &[usize]| (0..liars).chain(others.iter().copied()).collect::<Vec<_>>();
        let narrow = |it: usize| u16::try_from(it).expect("a team is small");
        for block in [0, 1] {
            let id = u8::try_from(10 * view).expect("few views") + narrow(block).to_be_bytes()[1];
            if is_certified[block] {
                let signers: Vec<_> = with_liars(&votes[block]).into_iter().map(narrow).collect();
                certificates.push(Certificate::Qc(quorum_cert(chain, view, id, &signers)));
            }
            let signers = with_liars(&commits[block]);
            if signers.len() >= quorum {
                let (era, view) = (chain.era, View::new(view));
                let (block, exec) = (BlockId([id; 32]), ExecHash([id; 32]));
                let vote = CommitVote { era, view, block, exec };
                let cert = sign_commit(&chain.team, &chain.genesis.chain_id(), vote, signers);
                certificates.push(Certificate::Commit(cert));
            }
        }
        if timeouts.len() >= quorum {
            let signed: Vec<_> = timeouts.iter().map(|(it, high)| (narrow(*it), *high)).collect();
            certificates.push(Certificate::Tc(timeout_cert(chain, view, &signed)));
        }
    }
    certificates
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nobody_honest_is_ever_named(
        is_four: bool,
        choices in proptest::collection::vec(any::<u8>(), 150..250),
    ) {
        let (size, liars) = if is_four { (4, 2) } else { (7, 4) };
        let mut chain = TestChain::new(&team(1, size));
        let mut head = chain.commit(&tree());
        let quorum = chain.team.committee.quorum();
        head.commit = chain.certify_by(&head.header, &head.exec, 0..quorum);
        let last = usize::from(size) - 1;
        let signers: Vec<usize> = (0..quorum - 1).chain([last]).collect();
        let other = contrary(&chain, &head, 0, &signers);
        let certificates = drawn_certificates(&chain, liars, &choices);
        let compared = client(&chain).compare(&head, &other, &certificates, &[]);
        let Ok(Comparison::Guilty { guilty, .. }) = compared else {
            panic!("commit votes alone name the liars: {compared:?}")
        };
        let is_liar = |it: &ValidatorIndex| usize::from(it.get()) < liars;
        prop_assert!(guilty.keys().all(is_liar), "{guilty:?}");
    }
}
