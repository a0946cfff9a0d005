//! Keys and what they make of a seed: published vectors, and nothing secret in
//! what is shown.

use bizra_keys::{ConsensusKey, KemKey, Key, KeyKind, KeyRing, NetworkKey, SenderKey, VrfKey};
use bizra_types::crypto::SignatureCheck;
use bizra_types::hash::{ChainId, Hash, hex, hex_array};
use bizra_types::numbers::Epoch;
use bizra_types::vrf::{self, VrfInput};
use std::collections::BTreeSet;

/// RFC 8032, section 7.1, test 1.
const RFC_8032_SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const RFC_8032_PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const RFC_8032_SIGNATURE: &str = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555\
                                  fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";

/// The seed of the first test vector of draft-connolly-cfrg-xwing-kem.
const X_WING_SEED: &str = "7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26";

fn seed(text: &str) -> [u8; 32] {
    hex_array(text).expect("the constant is 64 hex digits")
}

fn input(epoch: u64) -> VrfInput {
    VrfInput { chain_id: ChainId([7; 32]), epoch: Epoch::new(epoch), seed: Hash([9; 32]) }
}

#[test]
fn ed25519_keys_follow_rfc_8032() {
    let consensus = ConsensusKey::from_seed(&seed(RFC_8032_SEED));
    assert_eq!(consensus.public().to_string(), RFC_8032_PUBLIC);
    assert_eq!(consensus.sign(b"").to_string(), RFC_8032_SIGNATURE);

    let sender = SenderKey::from_seed(&seed(RFC_8032_SEED));
    assert_eq!(sender.public().to_string(), RFC_8032_PUBLIC);
    assert_eq!(sender.sign(b"").to_string(), RFC_8032_SIGNATURE);

    let network = NetworkKey::from_seed(&seed(RFC_8032_SEED));
    assert_eq!(network.public().to_string(), RFC_8032_PUBLIC);
    assert_eq!(hex(&network.keypair().sign(b"").expect("ed25519 signs")), RFC_8032_SIGNATURE);
}

#[test]
fn the_peer_id_is_the_base58_of_the_encoded_public_key() {
    // Worked out by hand: base58 of 0x002408011220 and RFC_8032_PUBLIC.
    let network = NetworkKey::from_seed(&seed(RFC_8032_SEED));
    let expected = "12D3KooWQK1wnefoLrcVHbbnf5tLzbopUd3K3bFAoJpA7YJgL5pV";
    assert_eq!(network.peer_id().to_base58(), expected);
    assert_eq!(Key::from(network).public_text(), expected);
}

#[test]
fn the_kem_key_follows_the_x_wing_draft() {
    let key = KemKey::from_seed(&seed(X_WING_SEED));
    let expected = include_str!("vectors/x-wing-public.hex").trim_end();
    assert_eq!(key.public().to_string(), expected);
}

#[test]
fn signatures_pass_the_rule_that_the_federation_verifies_by() {
    let key = ConsensusKey::generate();
    let message = b"a vote";
    let signature = key.sign(message);
    let check = SignatureCheck { key: key.public(), message, signature };
    assert!(check.is_good());
    assert!(!SignatureCheck { message: b"another vote", ..check }.is_good());
    assert!(!SignatureCheck { key: ConsensusKey::generate().public(), ..check }.is_good());
}

#[test]
fn a_vrf_output_passes_the_check_of_the_leader_schedule_and_is_bound_to_key_and_input() {
    let key = VrfKey::generate();
    let (output, proof) = key.evaluate(&input(4));
    assert!(vrf::is_good(&key.public(), &input(4), &output, &proof));
    assert!(!vrf::is_good(&key.public(), &input(5), &output, &proof));
    assert!(!vrf::is_good(&VrfKey::generate().public(), &input(4), &output, &proof));
    for bit in 0..512 {
        let mut changed = proof;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!vrf::is_good(&key.public(), &input(4), &output, &changed), "proof bit {bit}");
    }
    for bit in 0..256 {
        let mut changed = output;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!vrf::is_good(&key.public(), &input(4), &changed, &proof), "output bit {bit}");
    }
}

#[test]
fn a_vrf_evaluates_to_the_same_bytes_every_time_and_to_others_for_other_inputs() {
    let key = VrfKey::from_seed(&[3; 32]);
    assert_eq!(key.evaluate(&input(4)), VrfKey::from_seed(&[3; 32]).evaluate(&input(4)));

    let mut outputs = BTreeSet::new();
    let mut proofs = BTreeSet::new();
    for epoch in 0..50 {
        let (output, proof) = key.evaluate(&input(epoch));
        outputs.insert(output);
        proofs.insert(proof);
    }
    let other_chain = VrfInput { chain_id: ChainId([8; 32]), ..input(0) };
    let other_seed = VrfInput { seed: Hash([8; 32]), ..input(0) };
    for other in [other_chain, other_seed] {
        let (output, proof) = key.evaluate(&other);
        outputs.insert(output);
        proofs.insert(proof);
    }
    assert_eq!((outputs.len(), proofs.len()), (52, 52));
}

#[test]
fn a_seed_always_makes_the_same_key_and_another_seed_another() {
    for kind in KeyKind::ALL {
        let key = Key::from_seed(kind, &[1; 32]);
        assert_eq!(key.kind(), kind);
        assert_eq!(key.public_text(), Key::from_seed(kind, &[1; 32]).public_text());
        assert_ne!(key.public_text(), Key::from_seed(kind, &[2; 32]).public_text());
        assert_ne!(Key::generate(kind).public_text(), Key::generate(kind).public_text());
    }
}

#[test]
fn one_seed_in_two_schemes_does_not_make_one_point() {
    // A VRF key expanded as Ed25519 does would share its scalar with the
    // consensus key of the same seed.
    let ed25519 = ConsensusKey::from_seed(&[5; 32]).public().0;
    assert_ne!(VrfKey::from_seed(&[5; 32]).public(), ed25519);
    // schnorrkel's Ed25519 expansion of this seed, for the regression it guards.
    let clamped = schnorrkel::MiniSecretKey::from_bytes(&[5; 32])
        .expect("32 bytes are a seed")
        .expand_to_public(schnorrkel::ExpansionMode::Ed25519);
    assert_ne!(VrfKey::from_seed(&[5; 32]).public(), clamped.to_bytes());
}

#[test]
fn the_names_of_kinds_are_read_back_and_others_refused() {
    for kind in KeyKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    for text in ["", "Network", "networks", " network", "bft"] {
        assert!(text.parse::<KeyKind>().is_err(), "{text:?}");
    }
}

#[test]
fn debug_output_holds_no_secret() {
    // Bytes that stand out in hex, in decimal lists and as text.
    let secret = [0xa7; 32];
    let mut shown: Vec<String> =
        KeyKind::ALL.iter().map(|kind| format!("{:?}", Key::from_seed(*kind, &secret))).collect();
    shown.push(format!(
        "{:?}",
        KeyRing {
            network: NetworkKey::from_seed(&secret),
            consensus: ConsensusKey::from_seed(&secret),
            next_consensus: Some(ConsensusKey::from_seed(&secret)),
            vrf: VrfKey::from_seed(&secret),
            kem: KemKey::from_seed(&secret),
        }
    ));
    for text in shown {
        assert!(!text.contains("a7a7a7"), "{text}");
        assert!(!text.contains("167, 167, 167"), "{text}");
        assert!(!text.contains("ecret"), "{text}");
    }
}
