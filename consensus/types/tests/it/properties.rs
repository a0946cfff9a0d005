//! decode(encode(x)) = x, and bytes that decode are the encoding of their value.

use crate::samples::Stream;
use bizra_types::batch::{SignedBatch, SignedTicket};
use bizra_types::block::{Block, FinalHeader, Header, SignedProposal};
use bizra_types::certificate::{Certificate, CommitCert, Qc, Tc};
use bizra_types::committee::{Committee, SignerSet};
use bizra_types::encoding::{Decode, Encode};
use bizra_types::execution::ExecFields;
use bizra_types::message::{BatchAck, BatchHint, SignedCommitVote, SignedTimeout, SignedVote};
use core::fmt::Debug;
use proptest::prelude::*;

/// What is done to good bytes.
#[derive(Clone, Debug)]
enum Damage {
    Replace { at: usize, byte: u8 },
    Insert { at: usize, byte: u8 },
    Remove { at: usize },
    Cut { at: usize },
}

fn damage() -> impl Strategy<Value = Damage> {
    // Counts, tags and bitmaps stand near the front.
    let at = prop_oneof![0usize..300, any::<usize>()];
    (0..4, at, any::<u8>()).prop_map(|(kind, at, byte)| match kind {
        0 => Damage::Replace { at, byte },
        1 => Damage::Insert { at, byte },
        2 => Damage::Remove { at },
        _ => Damage::Cut { at },
    })
}

fn apply(damage: &Damage, bytes: &mut Vec<u8>) {
    let length = bytes.len().max(1);
    match *damage {
        _ if bytes.is_empty() => {}
        Damage::Replace { at, byte } => bytes[at % length] = byte,
        Damage::Insert { at, byte } => bytes.insert(at % length, byte),
        Damage::Remove { at } => drop(bytes.remove(at % length)),
        Damage::Cut { at } => bytes.truncate(at % length),
    }
}

/// Bytes either decode to a value with just this encoding, or are refused.
fn is_canonical<T: Encode + Decode>(bytes: &[u8]) -> bool {
    T::from_bytes(bytes).map_or(true, |value| value.to_bytes() == bytes)
}

fn check<T: Encode + Decode + PartialEq + Debug>(
    value: &T,
    damages: &[Damage],
    arbitrary: &[u8],
) -> Result<(), TestCaseError> {
    let good = value.to_bytes();
    let decoded = T::from_bytes(&good);
    prop_assert_eq!(decoded.as_ref(), Ok(value));
    for damage in damages {
        let mut bad = good.clone();
        apply(damage, &mut bad);
        prop_assert!(is_canonical::<T>(&bad), "{:?}", damage);
    }
    prop_assert!(is_canonical::<T>(arbitrary));
    Ok(())
}

macro_rules! properties {
    ($($test:ident: $type:ty = $make:ident,)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(64))]
            $(
                #[test]
                fn $test(
                    seed in any::<u64>(),
                    damages in proptest::collection::vec(damage(), 12),
                    arbitrary in proptest::collection::vec(any::<u8>(), 0..300),
                ) {
                    check::<$type>(&Stream::new(seed, u64::MAX).$make(), &damages, &arbitrary)?;
                }
            )*
        }
    };
}

properties! {
    signer_set: SignerSet = signers,
    header: Header = header,
    block: Block = block,
    proposal: SignedProposal = proposal,
    signed_vote: SignedVote = signed_vote,
    signed_commit_vote: SignedCommitVote = signed_commit_vote,
    signed_timeout: SignedTimeout = signed_timeout,
    qc: Qc = qc,
    tc: Tc = tc,
    commit_cert: CommitCert = commit_cert,
    certificate: Certificate = certificate,
    final_header: FinalHeader = final_header,
    batch: SignedBatch = batch,
    batch_ack: BatchAck = batch_ack,
    batch_hint: BatchHint = batch_hint,
    ticket: SignedTicket = ticket,
    exec: ExecFields = exec,
    committee: Committee = committee,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn proof(
        seed in any::<u64>(),
        damages in proptest::collection::vec(damage(), 12),
        arbitrary in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        use bizra_types::proof::{FinalHead, FinalityProof};
        let proof = Stream::new(seed, u64::MAX).proof();
        let good = proof.to_cbor();
        let head = FinalHead::from_cbor(&proof.head.to_cbor());
        prop_assert_eq!(head.as_ref(), Ok(&proof.head));
        let decoded = FinalityProof::from_cbor(&good);
        prop_assert_eq!(decoded, Ok(proof));
        let bad = damages.iter().map(|damage| {
            let mut bad = good.clone();
            apply(damage, &mut bad);
            bad
        });
        for bytes in bad.chain([arbitrary]) {
            if let Ok(proof) = FinalityProof::from_cbor(&bytes) {
                prop_assert_eq!(proof.to_cbor(), bytes);
            }
        }
    }
    #[test]
    fn state_proof(
        seed in any::<u64>(),
        damages in proptest::collection::vec(damage(), 12),
        arbitrary in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        use bizra_types::proof::StateProof;
        let proof = Stream::new(seed, (1 << 53) - 1).state_proof();
        let good = proof.to_cbor();
        let text = proof.to_json().expect("JSON has these numbers");
        let (from_json, from_cbor) = (StateProof::from_json(&text), StateProof::from_cbor(&good));
        for read in [from_json, from_cbor, StateProof::from_either(&text)] {
            prop_assert_eq!(read.as_ref(), Ok(&proof));
        }
        let bad = damages.iter().map(|damage| {
            let mut bad = good.clone();
            apply(damage, &mut bad);
            bad
        });
        for bytes in bad.chain([arbitrary]) {
            if let Ok(proof) = StateProof::from_cbor(&bytes) {
                prop_assert_eq!(proof.to_cbor(), bytes);
            }
        }
    }
}
