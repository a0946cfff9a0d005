use super::*;
use crate::policy::{DEFAULT_POLICY, TEXT_INTERVAL_MS};
use crate::testing::{
    CHAIN, TIMESTAMP_MS, committee, edit, json, key, public, sign, signed, text, unsigned,
    with_signature,
};
use bizra_types::crypto::Signature;
use bizra_types::hash::{hex, hex_array};
use ed25519_dalek::Signer as _;
use proptest::prelude::*;

const NOW: TimestampMs = TimestampMs::new(TIMESTAMP_MS);

fn code(verdict: &Verdict) -> Option<Code> {
    match verdict {
        Verdict::Good(_) => None,
        Verdict::Bad(rejection) => Some(rejection.code),
    }
}

fn submit(bytes: &[u8]) -> Submission {
    Submission::parse(bytes, &CHAIN).expect("form and signature are good")
}

/// Asks the gates of admission by these parameters, with key 1 as the only validator.
fn admit_by(
    submission: Submission,
    now: TimestampMs,
    nonces: &mut NonceCache,
    parameters: &LedgerParameters,
) -> Result<Admitted, Rejection> {
    let mut policies = Policies::new([DEFAULT_POLICY]);
    let committee = committee([1]);
    submission.admit(now, nonces, &Standing::default(), &committee, parameters, &mut policies)
}

/// The same by the parameters of the design.
fn admit(bytes: &[u8], now: TimestampMs, nonces: &mut NonceCache) -> Result<Admitted, Rejection> {
    admit_by(submit(bytes), now, nonces, &LedgerParameters::default())
}

#[test]
fn a_good_record_gets_a_good_verdict() {
    let bytes = signed(7, 1);
    let verdict = check_record(&bytes, NOW, &CHAIN);
    let envelope = verdict.envelope().expect("good");
    assert_eq!(*envelope, Envelope::parse_canonical(&bytes).expect("good"));
}

#[test]
fn a_receipt_wants_canonical_bytes_and_admission_does_not() {
    let bytes = signed(7, 1);
    let padded = [b" ", &*bytes].concat();
    assert_eq!(code(&check_record(&padded, NOW, &CHAIN)), Some(Code::Schema));
    let admitted = admit(&padded, NOW, &mut NonceCache::new(8)).expect("any spelling will do");
    assert_eq!(admitted.bytes, bytes);
    assert_eq!(admitted.admitted_at, NOW);
    assert!(check_record(&admitted.bytes, admitted.admitted_at, &CHAIN).envelope().is_some());
}

#[test]
fn a_signature_by_another_key_or_over_another_record_is_bad() {
    let members = unsigned(7, 1);
    for bytes in [sign(&members, 8), with_signature(&members, 0), with_signature(&members, 0xff)] {
        let Verdict::Bad(rejection) = check_record(&bytes, NOW, &CHAIN) else {
            panic!("accepted a bad signature")
        };
        assert_eq!(
            rejection.to_string(),
            "SIGNATURE: `signature.value` is not the sender's signature over the digest of the \
             record"
        );
        assert_eq!(Submission::parse(&bytes, &CHAIN).expect_err("bad"), rejection);
    }
}

/// Every encoding of the points of small order, canonical or not, that ZIP 215 decodes.
const SMALL_ORDER: [&str; 14] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
];

#[test]
fn a_key_of_small_order_signs_nothing() {
    for key in SMALL_ORDER {
        let mut members = unsigned(7, 1);
        edit(&mut members, "sender.public_key", Some(key.into()));
        let bytes = with_signature(&members, 0);
        let rejection = Submission::parse(&bytes, &CHAIN).expect_err(key);
        assert_eq!(
            rejection.to_string(),
            "SIGNATURE: `sender.public_key` is a key of small order, under which anything verifies"
        );
        assert_eq!(check_record(&bytes, NOW, &CHAIN), Verdict::Bad(rejection));
        // The rule is needed: with R the identity and s = 0, the verification
        // equation itself holds for any message.
        let mut signature = [0; 64];
        signature[0] = 1;
        let key = PublicKey(hex_array(key).expect("64 digits"));
        let check = SignatureCheck { key, message: b"x", signature: Signature(signature) };
        assert!(check.is_good());
    }
}

#[test]
fn a_record_for_another_chain_is_refused() {
    let mut members = unsigned(7, 1);
    edit(&mut members, "metadata.chain_id", Some(hex(CHAIN.as_bytes()).as_str().into()));
    assert_eq!(code(&check_record(&sign(&members, 7), NOW, &CHAIN)), None);
    let rejection = Submission::parse(&sign(&members, 7), &ChainId::ZERO).expect_err("other chain");
    let verdict = check_record(&sign(&members, 7), NOW, &ChainId::ZERO);
    assert_eq!(verdict, Verdict::Bad(rejection.clone()));
    assert_eq!(
        rejection.to_string(),
        format!(
            "SCHEMA: `metadata.chain_id` must be {}, the chain of this network, but is {CHAIN}",
            ChainId::ZERO
        )
    );
}

#[test]
fn a_timestamp_may_lie_two_minutes_off() {
    let bytes = signed(7, 1);
    for (admitted_at_ms, expected) in [
        (0, Some(Code::Future)),
        (TIMESTAMP_MS - 120_001, Some(Code::Future)),
        (TIMESTAMP_MS - 120_000, None),
        (TIMESTAMP_MS, None),
        (TIMESTAMP_MS + 120_000, None),
        (TIMESTAMP_MS + 120_001, Some(Code::Stale)),
        (u64::MAX, Some(Code::Stale)),
    ] {
        let admitted_at = TimestampMs::new(admitted_at_ms);
        assert_eq!(code(&check_record(&bytes, admitted_at, &CHAIN)), expected);
        let admission = admit(&bytes, admitted_at, &mut NonceCache::new(8));
        assert_eq!(admission.err().map(|rejection| rejection.code), expected);
    }
    let Verdict::Bad(rejection) = check_record(&bytes, NOW.saturating_add_ms(130_000), &CHAIN)
    else {
        panic!("accepted a stale record")
    };
    assert_eq!(
        rejection.to_string(),
        "STALE: `timestamp` must be within 120000 ms of the time of admission, but lies 130000 ms \
         before"
    );
}

#[test]
fn the_first_gate_that_fails_decides() {
    let late = NOW.saturating_add_ms(1_000_000);
    let members = unsigned(7, 1);
    let bad = with_signature(&members, 0);
    assert_eq!(code(&check_record(&bad, late, &CHAIN)), Some(Code::Signature));
    assert_eq!(code(&check_record(b"{}", late, &CHAIN)), Some(Code::Schema));
    assert_eq!(code(&check_record(&signed(7, 1), late, &CHAIN)), Some(Code::Stale));

    // At admission: TIMESTAMP, then REPLAY, then ROLE.
    let mut system = unsigned(7, 1);
    edit(&mut system, "sender.agent_type", Some("SAT".into()));
    let system = sign(&system, 7);
    let mut nonces = NonceCache::new(8);
    let mut admit = |bytes: &[u8], now| {
        admit(bytes, now, &mut nonces).map(drop).map_err(|rejection| rejection.code)
    };
    assert_eq!(admit(&system, late), Err(Code::Stale));
    assert_eq!(admit(&system, NOW), Err(Code::Role));
    assert_eq!(admit(&signed(7, 1), NOW), Ok(()), "a refused record leaves no nonce behind");
    assert_eq!(admit(&system, NOW), Err(Code::NonceReplay));
}

#[test]
fn a_nonce_serves_one_record_of_a_key() {
    let mut nonces = NonceCache::new(8);
    let now = |ms| NOW.saturating_add_ms(ms);
    let mut other = unsigned(7, 1);
    edit(&mut other, "metadata.note", Some(true.into()));
    let other = sign(&other, 7);
    let first = signed(7, 1);
    let digest = submit(&first).digest();
    admit(&first, now(0), &mut nonces).expect("new");
    admit(&signed(7, 1), now(1), &mut nonces).expect("the same record");
    admit(&signed(8, 1), now(1), &mut nonces).expect("another key");
    admit(&signed(7, 2), now(1), &mut nonces).expect("another nonce");
    assert_eq!(nonces.len(), 3);
    let rejection = admit(&other, now(2), &mut nonces).expect_err("the same nonce");
    assert_eq!(
        rejection.to_string(),
        format!(
            "NONCE_REPLAY: `nonce` was used by this key for the record {digest} a short while ago"
        )
    );
}

#[test]
fn a_nonce_is_forgotten_in_time() {
    let envelope = |nonce, note: bool| {
        let mut members = unsigned(7, nonce);
        edit(&mut members, "metadata.note", Some(note.into()));
        Envelope::parse_canonical(&sign(&members, 7)).expect("good")
    };
    let mut nonces = NonceCache::new(8);
    nonces.note(&envelope(1, false), NOW);
    let later = |ms| NOW.saturating_add_ms(ms);
    assert!(nonces.check(&envelope(1, true), later(299_999)).is_err());
    assert!(nonces.check(&envelope(1, true), later(300_000)).is_ok());
    // A clock that went back does not make the cache forget.
    assert!(nonces.check(&envelope(1, true), NOW.saturating_sub_ms(1_000_000)).is_err());
    nonces.note(&envelope(2, false), later(299_999));
    assert_eq!(nonces.len(), 2);
    nonces.note(&envelope(3, false), later(300_000));
    assert_eq!(nonces.len(), 2, "the first has left");
    assert!(nonces.check(&envelope(2, true), later(300_000)).is_err());
}

#[test]
fn a_full_cache_drops_the_oldest_and_survives_a_restart() {
    let envelope = |nonce| Envelope::parse_canonical(&signed(7, nonce)).expect("good");
    let mut nonces = NonceCache::new(3);
    assert!(nonces.is_empty());
    for nonce in [1, 2, 3, 1, 4] {
        nonces.note(&envelope(nonce), NOW);
    }
    let known = |cache: &NonceCache| -> Vec<u8> {
        cache.order.iter().map(|(_, nonce)| nonce[31]).collect()
    };
    assert_eq!(known(&nonces), [3, 1, 4]);
    assert_eq!(nonces.uses.len(), 3);

    let bytes = nonces.to_bytes();
    assert_eq!(NonceCache::restore(&bytes, 3), Ok(nonces));
    let smaller = NonceCache::restore(&bytes, 2).expect("the same bytes");
    assert_eq!(known(&smaller), [1, 4]);
    assert!(NonceCache::restore(&bytes[1..], 3).is_err());
    assert!(NonceCache::restore(&[&bytes[..], b"x"].concat(), 3).is_err());
}

/// Admission and the gates of execution say the same.
fn scored(path: &str, value: Option<&str>) -> Result<(), Rejection> {
    let mut members = unsigned(7, 1);
    edit(&mut members, path, value.map(json));
    let bytes = sign(&members, 7);
    let parameters = LedgerParameters::default();
    let admission = admit_by(submit(&bytes), NOW, &mut NonceCache::new(8), &parameters);
    let envelope = Envelope::parse_canonical(&bytes).expect("the form is right");
    let execution = check_scores(&envelope, &parameters)
        .and_then(|()| check_content(&envelope, &parameters))
        .map(drop);
    assert_eq!(admission.map(drop), execution);
    execution
}

#[test]
fn scores_and_times_are_judged_with_a_sentence() {
    for (path, value, sentence) in [
        (
            "metadata.snr_score",
            None,
            "SNR: `metadata.snr_score` is missing, and an inference needs it",
        ),
        (
            "metadata.snr_score",
            Some("0.8499999"),
            "SNR: `metadata.snr_score` must be at least 0.850000, but is 0.849999",
        ),
        (
            "metadata.ihsan_score",
            Some("0.9499999"),
            "IHSAN: `metadata.ihsan_score` must be at least 0.950000, but is 0.949999",
        ),
        (
            "payload.data.finished_at",
            Some("\"2026-11-22T01:46:00.999Z\""),
            "INVARIANT: `payload.data.finished_at` must not lie before `payload.data.started_at`, \
             but does by 1 ms",
        ),
        (
            "payload.data.fate.a",
            Some("0.5"),
            "FATE: `payload.data.fate.a` is the weakest dimension with 0.500000, the lower of \
             claim and recomputation; the geometric mean of all four must be at least 0.950000, \
             but is 0.799951",
        ),
    ] {
        let rejection = scored(path, value).expect_err(sentence);
        assert_eq!(rejection.to_string(), sentence);
    }
    for (path, value) in [
        ("metadata.snr_score", "1"),
        ("metadata.ihsan_score", "0.95"),
        ("payload.data.finished_at", "\"2026-11-22T01:46:01Z\""),
    ] {
        assert_eq!(scored(path, Some(value)), Ok(()), "{path}");
    }
}

/// `identity/rotate` from key 1 to `new_key`, with this proof.
fn rotating(new_key: PublicKey, proof: Signature, nonce: u64) -> Arc<[u8]> {
    let mut members = unsigned(1, nonce);
    let data = format!(r#"{{"new_key":"{new_key}","proof":"{proof}"}}"#);
    edit(&mut members, "payload.action", Some("identity/rotate".into()));
    edit(&mut members, "payload.data", Some(json(&data)));
    edit(&mut members, "metadata.chain_id", Some(CHAIN.to_string().as_str().into()));
    sign(&members, 1)
}

#[test]
fn a_new_key_must_have_been_asked() {
    let proof = |chain_id: ChainId, from: u8| {
        let message = rotation_message(&chain_id, &public(from), &public(2));
        Signature(key(2).sign(message.as_bytes()).to_bytes())
    };
    let records = [
        rotating(public(2), proof(CHAIN, 1), 1),
        rotating(public(2), proof(CHAIN, 3), 2),
        signed(7, 3),
        rotating(public(2), proof(ChainId([6; 32]), 1), 4),
        rotating(public(2), Signature([0; 64]), 5),
        rotating(PublicKey([0; 32]), Signature([0; 64]), 6),
        rotating(public(2), proof(CHAIN, 1), 7),
    ];
    let unasked = "SIGNATURE: `payload.data.proof` is not the new key's signature of the rotation";
    let small = "SIGNATURE: `payload.data.new_key` is a key of small order, under which anything \
                 verifies";
    let expected = [None, Some(unasked), None, Some(unasked), Some(unasked), Some(small), None];
    let timed: Vec<(TimestampMs, &[u8])> = records.iter().map(|bytes| (NOW, &**bytes)).collect();
    for ((verdict, bytes), expected) in
        check_records(&timed, &CHAIN).iter().zip(&records).zip(expected)
    {
        let rejection = match verdict {
            Verdict::Good(_) => None,
            Verdict::Bad(rejection) => Some(rejection.to_string()),
        };
        assert_eq!(rejection.as_deref(), expected);
        let submitted = Submission::parse(bytes, &CHAIN).map(drop);
        assert_eq!(submitted.map_err(|rejection| rejection.to_string()).err(), rejection);
    }
    // Of a rotation that is not signed by its sender, the proof does not matter.
    let bytes = with_signature(&unsigned(7, 8), 1);
    let mixed = [(NOW, &*records[0]), (NOW, &*bytes), (NOW, &*records[2])];
    let codes: Vec<_> = check_records(&mixed, &CHAIN).iter().map(code).collect();
    assert_eq!(codes, [None, Some(Code::Signature), None]);
}

#[test]
fn gates_are_asked_in_their_order() {
    let mut members = unsigned(7, 1);
    let mut broken = Vec::new();
    // From the last gate to the first: each hides those after it.
    for (path, value) in [
        ("payload.data.finished_at", "\"2026-11-22T01:46:00Z\""),
        ("payload.data.fate.f", "0.1"),
        ("payload.data.flags.violation", "true"),
        ("metadata.ihsan_score", "0.5"),
        ("metadata.snr_score", "0.5"),
        ("sender.agent_type", "\"SAT\""),
    ] {
        edit(&mut members, path, Some(json(value)));
        let admission = admit(&sign(&members, 7), NOW, &mut NonceCache::new(8));
        broken.push(admission.expect_err(path).code);
    }
    use Code::{Fate, Ihsan, Invariant, Policy, Role, Snr};
    assert_eq!(broken, [Invariant, Fate, Policy, Ihsan, Snr, Role]);
}

#[test]
fn roles_are_kept_apart() {
    let of_type = |agent_type: &str| {
        let mut members = unsigned(7, 1);
        edit(&mut members, "sender.agent_type", Some(agent_type.into()));
        Envelope::parse_canonical(&sign(&members, 7)).expect("good")
    };
    assert_eq!(check_role(&of_type("PAT"), &committee([1])), Ok(()));
    // Being in the committee does not let a system agent propose an inference.
    for committee in [committee([1]), committee([1, 7])] {
        assert_eq!(
            check_role(&of_type("SAT"), &committee).expect_err("wrong role").to_string(),
            "ROLE: `sender.agent_type` must be \"PAT\" for this action"
        );
    }
}

#[test]
fn validators_are_admitted_by_their_seats() {
    // Nobody is registered, and the validator need not be.
    let strict = LedgerParameters { registered_only: 1, ..LedgerParameters::default() };
    let sent = |seed: u8, action: &str, data: &str| {
        let mut members = unsigned(seed, 1);
        edit(&mut members, "sender.agent_type", Some("SAT".into()));
        edit(&mut members, "payload.action", Some(action.into()));
        edit(&mut members, "payload.data", Some(json(data)));
        edit(&mut members, "metadata.chain_id", Some(CHAIN.to_string().as_str().into()));
        let submission = submit(&sign(&members, seed));
        let admitted = admit_by(submission, NOW, &mut NonceCache::new(8), &strict);
        admitted.map(drop).map_err(|rejection| rejection.code)
    };
    let vote = format!(r#"{{"proposal":"{}","choice":"veto"}}"#, "ab".repeat(32));
    assert_eq!(sent(1, "governance/vote", &vote), Ok(()));
    assert_eq!(sent(7, "governance/vote", &vote), Err(Code::State));
    for (rego, expected) in [("true", Ok(())), ("false", Err(Code::Invariant))] {
        let rego = format!("package bizra.policy\\n\\ndefault allow := {rego}\\n");
        let change = format!(r#"{{"kind":"policy","name":"next","rego":"{rego}"}}"#);
        let data = format!(r#"{{"procedure":"amendment","change":{change}}}"#);
        assert_eq!(sent(1, "governance/propose", &data), expected);
    }
    for (value, expected) in [(950_000, Ok(())), (949_999, Err(Code::Invariant))] {
        let change = format!(r#"{{"kind":"parameter","name":"ihsan_min_ppm","value":{value}}}"#);
        let data = format!(r#"{{"procedure":"emergency","change":{change}}}"#);
        assert_eq!(sent(1, "governance/propose", &data), expected);
    }
}

#[test]
fn each_sender_rule_holds() {
    use AgentType::{Pat, Sat};
    let committee = committee([1]);
    for (allowed, agent_type, key, member) in [
        (AllowedSender::Pat, Pat, 7, None),
        (AllowedSender::Pat, Sat, 1, Some("sender.agent_type")),
        (AllowedSender::Sat, Sat, 1, None),
        (AllowedSender::Sat, Sat, 7, Some("sender.public_key")),
        (AllowedSender::Sat, Pat, 1, Some("sender.agent_type")),
        (AllowedSender::Either, Pat, 7, None),
        (AllowedSender::Either, Sat, 1, None),
        (AllowedSender::Either, Sat, 7, Some("sender.public_key")),
    ] {
        let sender = Sender { agent_type, agent_id: "a".into(), public_key: public(key) };
        let result = check_sender(allowed, &sender, &committee);
        assert_eq!(result.as_ref().err().map(|rejection| rejection.member.as_str()), member);
    }
}

#[test]
fn submissions_are_judged_one_by_one() {
    let good = signed(7, 1);
    let results =
        Submission::parse_each(&[&good, b"x", &with_signature(&unsigned(7, 2), 1), &good], &CHAIN);
    let codes: Vec<Option<Code>> = results
        .iter()
        .map(|result| result.as_ref().err().map(|rejection| rejection.code))
        .collect();
    assert_eq!(codes, [None, Some(Code::Schema), Some(Code::Signature), None]);
    assert!(Submission::parse_each(&[], &CHAIN).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_batch_is_judged_like_its_records(
        kinds in prop::collection::vec((0u8..6, 1u8..4), 0..12)
    ) {
        let records: Vec<(TimestampMs, Arc<[u8]>)> = kinds
            .iter()
            .zip(0..)
            .map(|((kind, seed), nonce)| match kind {
                0 => (NOW, with_signature(&unsigned(*seed, nonce), 3)),
                1 => (NOW, Arc::from(&text(&unsigned(*seed, nonce))[..])),
                2 => (NOW.saturating_add_ms(200_000), signed(*seed, nonce)),
                3 => (NOW, sign(&unsigned(*seed, nonce), seed + 1)),
                _ => (NOW, signed(*seed, nonce)),
            })
            .collect();
        let borrowed: Vec<(TimestampMs, &[u8])> =
            records.iter().map(|(at, bytes)| (*at, &**bytes)).collect();
        let verdicts = check_records(&borrowed, &CHAIN);
        prop_assert_eq!(verdicts.len(), kinds.len());
        for (((kind, _), (at, bytes)), verdict) in kinds.iter().zip(&borrowed).zip(&verdicts) {
            prop_assert_eq!(verdict, &check_record(bytes, *at, &CHAIN));
            prop_assert_eq!(code(verdict), match kind {
                0 | 3 => Some(Code::Signature),
                1 => Some(Code::Schema),
                2 => Some(Code::Stale),
                _ => None,
            });
        }
    }
}

#[test]
fn a_validator_has_one_policy_at_a_time_looked_at() {
    let propose = |seed, nonce, rego: &str| {
        let mut members = unsigned(seed, nonce);
        edit(&mut members, "sender.agent_type", Some("SAT".into()));
        edit(&mut members, "payload.action", Some("governance/propose".into()));
        let data = r#"{"procedure":"amendment","change":{"kind":"policy","name":"p"}}"#;
        edit(&mut members, "payload.data", Some(json(data)));
        edit(&mut members, "payload.data.change.rego", Some(rego.into()));
        edit(&mut members, "metadata.snr_score", None);
        edit(&mut members, "metadata.chain_id", Some(CHAIN.to_string().as_str().into()));
        submit(&sign(&members, seed))
    };
    let mut policies = Policies::new([DEFAULT_POLICY]);
    let mut ask = |record: Submission, now: TimestampMs| {
        let (mut nonces, standing) = (NonceCache::new(8), Standing::default());
        let (both, parameters) = (committee([1, 2]), LedgerParameters::default());
        record
            .admit(now, &mut nonces, &standing, &both, &parameters, &mut policies)
            .map(|_| ())
            .map_err(|rejection| rejection.code)
    };
    let broken = "package bizra.policy\nallow := 1 + 1\n";
    assert_eq!(ask(propose(1, 1, broken), NOW), Err(Code::Invariant));
    assert_eq!(ask(propose(1, 2, DEFAULT_POLICY), NOW), Err(Code::Rate), "also another text");
    assert_eq!(ask(propose(2, 3, DEFAULT_POLICY), NOW), Ok(()), "others need not wait");
    let later = TimestampMs::new(NOW.get() + TEXT_INTERVAL_MS);
    assert_eq!(ask(propose(1, 4, DEFAULT_POLICY), later), Ok(()));
}
