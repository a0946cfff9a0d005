use super::*;
use crate::envelope::Unsigned;
use crate::gates::{Submission, Verdict, check_record};
use crate::identity::KeyState;
use crate::policy::{DEFAULT_POLICY, PolicyHash};
use crate::testing::{
    CHAIN, TIMESTAMP_MS, committee, edit, json, offer, public, sign, signed, text, with_signature,
};
use bizra_types::json::Members;
use proptest::prelude::*;
use std::collections::BTreeSet;

const NOW: TimestampMs = TimestampMs::new(TIMESTAMP_MS);

/// A good offer with members of its `payload.data` changed.
fn with(changes: &[(&str, &str)]) -> Members {
    let mut members = offer(7, 1);
    for (path, value) in changes {
        edit(&mut members, &format!("payload.data.{path}"), Some(json(value)));
    }
    members
}

fn pattern(members: &Members) -> Pattern {
    let (envelope, _) = Envelope::parse(&sign(members, 7)).expect("the form is right");
    pattern_of(&envelope).clone()
}

fn check(bytes: &[u8], now: TimestampMs) -> Result<Offer, Rejection> {
    let mut policies = Policies::new([DEFAULT_POLICY]);
    let parameters = LedgerParameters::default();
    let signed = SignedOffer::parse_canonical(bytes, &CHAIN)?;
    signed.check(now, None, &committee([200]), &parameters, &mut policies)
}

/// The good offer of a key.
fn good(seed: u8, nonce: u64) -> Offer {
    check(&sign(&offer(seed, nonce), seed), NOW).expect("a good offer")
}

#[test]
fn a_name_is_the_beginning_of_a_hash() {
    let id = PatternId::of("abc");
    assert_eq!(id.to_string(), "sape_ba7816bf8f01cfea");
    assert_eq!(PatternId::parse("sape_ba7816bf8f01cfea"), Some(id));
    for text in ["", "sape_", "ba7816bf8f01cfea", "SAPE_ba7816bf8f01cfea", "sape_BA7816BF8F01CFEA"]
    {
        assert_eq!(PatternId::parse(text), None, "{text}");
    }
    for text in ["sape_ba7816bf8f01cfe", "sape_ba7816bf8f01cfea0", " sape_ba7816bf8f01cfea"] {
        assert_eq!(PatternId::parse(text), None, "{text}");
    }
}

#[test]
fn a_good_offer_is_read() {
    let bytes = sign(&offer(7, 1), 7);
    let offered = check(&bytes, NOW).expect("good");
    assert_eq!(offered.bytes(), &bytes);
    assert_eq!(offered.source(), public(7));
    assert_eq!(offered.timestamp(), NOW);
    assert_eq!(offered.digest(), Envelope::parse(&bytes).expect("good").0.digest);
    let pattern = offered.pattern();
    assert_eq!(pattern.trigger_condition, "latency above 1 ms");
    assert_eq!(pattern.id, PatternId::of(&pattern.trigger_condition));
    assert_eq!(pattern.action, "ask the smaller model first");
    assert_eq!(pattern.domain, "routing");
    assert_eq!(NOW.saturating_ms_since(pattern.created_at), 6 * 3_600_000);
    assert_eq!((pattern.elevation_count, pattern.status), (4, Status::Proposed));
    assert_eq!(pattern.ihsan.parts_per_million(), 980_000);
    let Metrics { uses, successes, total_snr_delta_ppm, total_latency_saved_ms, .. } =
        pattern.metrics;
    assert_eq!((uses, successes, total_snr_delta_ppm), (10, 9, 1_250_000));
    assert_eq!(total_latency_saved_ms, 4_200);
    let age_ms = |time| NOW.saturating_ms_since(time);
    assert_eq!(age_ms(pattern.metrics.first_used), 20_763_123);
    assert_eq!(age_ms(pattern.metrics.last_used), 1_123);
    // 0.9 × 0.98 × 1.125 × (0.5 + 0.5 × 6/24)
    assert_eq!(offered.impact().to_string(), "0.620156250");
}

#[test]
fn the_schema_is_closed() {
    let refuse = |path: &str, value: Option<bizra_types::json::Value>| {
        let mut members = offer(7, 1);
        edit(&mut members, path, value);
        let rejection = Unsigned::parse(&text(&members)).expect_err(path);
        assert_eq!((rejection.code, rejection.member.as_str()), (Code::Schema, path));
        rejection.detail
    };
    for path in [
        "pattern_id",
        "source_node",
        "trigger_condition",
        "action",
        "domain",
        "creation_time",
        "elevation_count",
        "status",
        "ihsan_score",
        "metrics",
        "metrics.uses",
        "metrics.successes",
        "metrics.total_snr_delta",
        "metrics.total_latency_saved_ms",
        "metrics.first_used",
        "metrics.last_used",
    ] {
        let path = format!("payload.data.{path}");
        assert_eq!(refuse(&path, None), "is missing");
        for wrong in ["null", "[]", "true"] {
            let detail = refuse(&path, Some(json(wrong)));
            assert!(detail.starts_with("must be"), "{path} {wrong}: {detail}");
        }
    }
    for object in ["", "metrics."] {
        let path = format!("payload.data.{object}note");
        let detail = refuse(&path, Some("tell me a secret".into()));
        assert!(detail.starts_with("is an unknown member"), "{detail}");
    }
}

#[test]
fn every_value_has_one_form() {
    let long = |size: usize| format!("\"{}\"", "n".repeat(size));
    let (trigger, action, domain) = (long(2_049), long(8_193), long(129));
    let source = format!("\"{}\"", public(8));
    let other_id = format!("\"{}\"", PatternId::of("another trigger"));
    for (path, value, detail) in [
        ("pattern_id", "\"\"", "a string that is not empty"),
        ("pattern_id", "7", "a string that is not empty"),
        ("pattern_id", "\"sape_00\"", "the name of the pattern with this trigger"),
        ("pattern_id", other_id.as_str(), "the name of the pattern with this trigger"),
        ("source_node", "\"node-7\"", "must be 64 lower-case hex digits"),
        ("source_node", source.as_str(), "the key of the sender"),
        ("trigger_condition", "\"\"", "a string that is not empty"),
        ("trigger_condition", trigger.as_str(), "at most 2048 bytes, but has 2049"),
        ("action", "{}", "a string that is not empty"),
        ("action", action.as_str(), "at most 8192 bytes, but has 8193"),
        ("domain", "0", "a string that is not empty"),
        ("domain", domain.as_str(), "at most 128 bytes, but has 129"),
        ("creation_time", "1795311963", "must be a string"),
        ("creation_time", "\"2026-11-21T19:46:03\"", "must be a UTC time"),
        ("elevation_count", "1.5", "must be an integer from 0 to 1000000000"),
        ("elevation_count", "-1", "must be an integer from 0 to 1000000000"),
        ("elevation_count", "1000000001", "must be an integer from 0 to 1000000000"),
        ("status", "\"Proposed\"", "must be \"LOCAL\" or \"PROPOSED\" or"),
        ("status", "2", "must be \"LOCAL\" or \"PROPOSED\" or"),
        ("ihsan_score", "1.1", "must be a number from 0 to 1"),
        ("ihsan_score", "\"0.97\"", "must be a number from 0 to 1"),
        ("metrics", "7", "must be an object"),
        ("metrics.uses", "\"10\"", "must be an integer from 0 to 1000000000"),
        ("metrics.uses", "1000000001", "must be an integer from 0 to 1000000000"),
        ("metrics.uses", "9.5", "must be an integer from 0 to 1000000000"),
        ("metrics.successes", "1000000001", "must be an integer from 0 to 1000000000"),
        ("metrics.successes", "-9", "must be an integer from 0 to 1000000000"),
        ("metrics.total_snr_delta", "-0.1", "must be a number from 0 to 1000000000"),
        ("metrics.total_snr_delta", "1000000000.5", "must be a number from 0 to 1000000000"),
        ("metrics.total_snr_delta", "\"1\"", "must be a number"),
        ("metrics.total_latency_saved_ms", "-1", "must be an integer from 0 to 9007199254740991"),
        ("metrics.total_latency_saved_ms", "0.5", "must be an integer from 0"),
        ("metrics.first_used", "0", "must be a string"),
        ("metrics.first_used", "\"yesterday\"", "must be a UTC time"),
        ("metrics.last_used", "\"2026-11-22T01:46:02\"", "must be a UTC time"),
    ] {
        let rejection = Unsigned::parse(&text(&with(&[(path, value)]))).expect_err(detail);
        assert_eq!(rejection.code, Code::Schema);
        assert_eq!(rejection.member, format!("payload.data.{path}"));
        assert!(rejection.detail.contains(detail), "{rejection} lacks {detail}");
    }
    // The largest that there may be.
    let (trigger, action, domain) = ("t".repeat(2_048), long(8_192), long(128));
    let id = format!("\"{}\"", PatternId::of(&trigger));
    let largest = pattern(&with(&[
        ("trigger_condition", &format!("\"{trigger}\"")),
        ("pattern_id", &id),
        ("action", &action),
        ("domain", &domain),
        ("elevation_count", "1000000000"),
        ("metrics.uses", "1000000000"),
        ("metrics.successes", "1e9"),
        ("metrics.total_snr_delta", "1000000000.0"),
        ("metrics.total_latency_saved_ms", "9007199254740991"),
    ]));
    assert_eq!(largest.metrics.total_snr_delta_ppm, 1_000_000_000_000_000);
    assert_eq!(largest.check_consistent(NOW), Ok(()));
    assert_eq!(largest.impact(NOW).parts_per_billion(), BILLION);
}

#[test]
fn every_status_has_its_name() {
    let mut seen = BTreeSet::new();
    for (name, status) in STATUSES {
        let read = pattern(&with(&[("status", &format!("\"{name}\""))])).status;
        assert_eq!((read, read.name()), (*status, *name));
        seen.insert(read);
    }
    assert_eq!(seen.len(), 5);
}

#[test]
fn an_offer_agrees_with_itself() {
    let check = |changes: &[(&str, &str)]| {
        pattern(&with(changes)).check_consistent(NOW).map_err(|rejection| {
            assert_eq!(rejection.code, Code::Invariant);
            format!("{} {}", rejection.member, rejection.detail)
        })
    };
    let (created, used) = ("creation_time", "metrics.last_used");
    for good in [
        &[][..],
        &[("metrics.successes", "10")],
        &[("metrics.total_snr_delta", "10")],
        &[("elevation_count", "10")],
        &[(created, "\"2026-11-21T20:00:00Z\"")],
        &[("metrics.first_used", "\"2026-11-22T01:46:02Z\"")],
        // As late as its envelope may be.
        &[(used, "\"2026-11-22T01:48:03.123Z\"")],
    ] {
        assert_eq!(check(good), Ok(()), "{good:?}");
    }
    for (change, sentence) in [
        (
            ("metrics.successes", "11"),
            "metrics.successes must be at most `metrics.uses`, which is 10",
        ),
        (
            ("metrics.total_snr_delta", "10.000001"),
            "metrics.total_snr_delta must be at most `metrics.uses`, which is 10",
        ),
        (("elevation_count", "11"), "elevation_count must be at most `metrics.uses`, which is 10"),
        (
            (created, "\"2026-11-21T20:00:00.001Z\""),
            "metrics.first_used must not lie before `creation_time`, but does by 1 ms",
        ),
        (
            ("metrics.first_used", "\"2026-11-22T01:46:02.007Z\""),
            "metrics.last_used must not lie before `metrics.first_used`, but does by 7 ms",
        ),
        (
            (used, "\"2026-11-22T01:48:03.124Z\""),
            "metrics.last_used must not lie after the envelope's time and 120000 ms, but does by \
             1 ms",
        ),
    ] {
        assert_eq!(check(&[change]), Err(format!("payload.data.{sentence}")));
    }
}

#[test]
fn only_what_has_proven_itself_is_shared() {
    let check = |changes: &[(&str, &str)]| {
        pattern(&with(changes)).check_shared(&LedgerParameters::default())
    };
    let few = [("metrics.uses", "3"), ("elevation_count", "3")];
    for good in [
        &[][..],
        &[("ihsan_score", "0.95")],
        &[("status", "\"VALIDATED\"")],
        &[few[0], few[1], ("metrics.successes", "3"), ("metrics.total_snr_delta", "0.3")],
        &[("metrics.successes", "8")],
    ] {
        assert_eq!(check(good), Ok(()), "{good:?}");
    }
    for (change, sentence) in [
        (
            ("ihsan_score", "0.9499999"),
            "IHSAN: `payload.data.ihsan_score` must be at least 0.950000, but is 0.949999",
        ),
        (
            ("status", "\"LOCAL\""),
            "INVARIANT: `payload.data.status` must be \"PROPOSED\" or \"VALIDATED\" for a pattern \
             that is offered",
        ),
        (
            ("elevation_count", "2"),
            "INVARIANT: `payload.data.elevation_count` must be at least 3, but is 2",
        ),
        (
            ("metrics.uses", "2"),
            "INVARIANT: `payload.data.metrics.uses` must be at least 3, but is 2",
        ),
        (
            ("metrics.total_snr_delta", "0.2999999"),
            "INVARIANT: `payload.data.metrics.total_snr_delta` must be at least 0.100000 for each \
             of 3 triggers",
        ),
        (
            ("metrics.successes", "7"),
            "INVARIANT: `payload.data.metrics.successes` must be at least 0.800000 of \
             `metrics.uses`, but is 7 of 10",
        ),
    ] {
        assert_eq!(check(&[change]).expect_err(sentence).to_string(), sentence);
    }
    for status in ["REJECTED", "DEPRECATED"] {
        let rejection = check(&[("status", &format!("\"{status}\""))]).expect_err(status);
        assert_eq!(rejection.member, "payload.data.status");
    }
    let strict = LedgerParameters { ihsan_min_ppm: 990_000, ..LedgerParameters::default() };
    let rejection = pattern(&offer(7, 1)).check_shared(&strict).expect_err("governed");
    assert_eq!(rejection.code, Code::Ihsan);
}

#[test]
fn the_first_gate_that_fails_decides() {
    let late = NOW.saturating_add_ms(TIMESTAMP_TOLERANCE_MS + 1);
    let mut members = with(&[("metrics.uses", "2")]);
    let code = |bytes: &[u8], now| check(bytes, now).map(drop).map_err(|rejection| rejection.code);
    assert_eq!(code(&text(&members), NOW), Err(Code::Schema), "it is not signed");
    assert_eq!(code(&with_signature(&members, 0), late), Err(Code::Signature));
    assert_eq!(code(&sign(&members, 8), late), Err(Code::Signature));
    edit(&mut members, "metadata.ihsan_score", Some(json("0.94")));
    edit(&mut members, "sender.agent_type", Some("SAT".into()));
    let hash = PolicyHash([0xab; 32]).to_string();
    edit(&mut members, "payload.policy_hash", Some(hash.as_str().into()));
    assert_eq!(code(&sign(&members, 7), late), Err(Code::Stale));
    assert_eq!(code(&sign(&members, 7), NOW), Err(Code::Role));
    edit(&mut members, "sender.agent_type", Some("PAT".into()));
    assert_eq!(code(&sign(&members, 7), NOW), Err(Code::Ihsan));
    edit(&mut members, "metadata.ihsan_score", Some(json("0.95")));
    assert_eq!(code(&sign(&members, 7), NOW), Err(Code::Policy));
    let hash = PolicyHash::of(DEFAULT_POLICY).to_string();
    edit(&mut members, "payload.policy_hash", Some(hash.as_str().into()));
    assert_eq!(code(&sign(&members, 7), NOW), Err(Code::Invariant));
    edit(&mut members, "payload.data.metrics.uses", Some(json("10")));
    assert_eq!(code(&sign(&members, 7), NOW), Ok(()));
    edit(&mut members, "metadata.chain_id", Some(bizra_types::hash::hex(&[1; 32]).as_str().into()));
    assert_eq!(code(&sign(&members, 7), NOW), Err(Code::Schema), "another chain");
    assert_eq!(code(&signed(7, 1), NOW), Err(Code::Schema), "an inference is no offer");
}

#[test]
fn a_revoked_key_offers_nothing() {
    let identity = public(7);
    let of = |state: Option<KeyState>, registered_only| {
        let key = state.map(|state| KeyEntry { identity, state, height: Height::new(4) });
        let parameters = LedgerParameters { registered_only, ..LedgerParameters::default() };
        let signed = SignedOffer::parse(&sign(&offer(7, 1), 7), &CHAIN).expect("good");
        assert_eq!(signed.source(), identity);
        let mut policies = Policies::new([DEFAULT_POLICY]);
        let committee = committee([200]);
        let checked = signed.check(NOW, key.as_ref(), &committee, &parameters, &mut policies);
        checked.map(drop).map_err(|rejection| rejection.code)
    };
    assert_eq!(of(None, 0), Ok(()));
    assert_eq!(of(Some(KeyState::Valid), 1), Ok(()));
    assert_eq!(of(None, 1), Err(Code::State));
    assert_eq!(of(Some(KeyState::Revoked), 0), Err(Code::State));
    assert_eq!(of(Some(KeyState::Replaced), 0), Err(Code::State));
}

#[test]
fn nodes_pass_on_one_spelling() {
    let bytes = sign(&offer(7, 1), 7);
    let padded = [b" ", &*bytes].concat();
    let signed = SignedOffer::parse(&padded, &CHAIN).expect("any spelling will do");
    assert_eq!(signed.bytes, bytes);
    let rejection = SignedOffer::parse_canonical(&padded, &CHAIN).expect_err("not canonical");
    assert_eq!(rejection.code, Code::Schema);
}

#[test]
fn an_offer_is_no_record_of_the_log() {
    let bytes = sign(&offer(7, 1), 7);
    let rejection = Submission::parse(&bytes, &CHAIN).expect_err("no record");
    assert_eq!(
        rejection.to_string(),
        "SCHEMA: `payload.action` is an offer to other nodes, which the log does not hold"
    );
    assert_eq!(check_record(&bytes, NOW, &CHAIN), Verdict::Bad(rejection));
}

fn metrics(uses: u64, successes: u64, total_snr_delta_ppm: u64) -> Metrics {
    Metrics {
        uses,
        successes,
        total_snr_delta_ppm,
        total_latency_saved_ms: 0,
        first_used: NOW,
        last_used: NOW,
    }
}

const HOUR_MS: u64 = 3_600_000;

#[test]
fn impact_is_cut_off_once_and_ends_at_one() {
    for (uses, successes, snr_delta, ihsan, age_ms, parts) in [
        // Nothing succeeded, or nobody vouches for it.
        (0, 0, 0, 1_000_000, 24 * HOUR_MS, 0),
        (10, 0, 10_000_000, 1_000_000, 24 * HOUR_MS, 0),
        (10, 10, 10_000_000, 0, 24 * HOUR_MS, 0),
        // Young it is worth half, and from a day on all.
        (10, 10, 0, 1_000_000, 0, 500_000_000),
        (10, 10, 0, 1_000_000, 999, 500_000_000),
        (10, 10, 0, 1_000_000, 1_000, 500_005_787),
        (10, 10, 0, 1_000_000, 12 * HOUR_MS, 750_000_000),
        (10, 10, 0, 1_000_000, 24 * HOUR_MS - 1, 999_994_212),
        (10, 10, 0, 1_000_000, 24 * HOUR_MS, 1_000_000_000),
        (10, 10, 0, 1_000_000, u64::MAX, 1_000_000_000),
        // The gain raises it, up to one.
        (4, 3, 1_000_000, 960_000, 24 * HOUR_MS, 900_000_000),
        (4, 4, 4_000_000, 950_000, 24 * HOUR_MS, 1_000_000_000),
        (4, 4, 4_000_000, 950_000, 0, 950_000_000),
        // Cut off: a third, and the smallest steps there are.
        (3, 1, 0, 1_000_000, 24 * HOUR_MS, 333_333_333),
        (3, 2, 0, 1_000_000, 24 * HOUR_MS, 666_666_666),
        (1_000_000_000, 1, 0, 1_000_000, 24 * HOUR_MS, 1),
        (1_000_000_000, 1, 0, 999_999, 24 * HOUR_MS, 0),
        (1_000_000_000, 999_999_999, 1, 1_000_000, 24 * HOUR_MS, 999_999_999),
        (1_000_000_000, 1_000_000_000, 1_000_000_000_000_000, 1_000_000, u64::MAX, 1_000_000_000),
        // One success without a use is what no offer says, and counts as one use.
        (0, 1, 0, 1_000_000, 24 * HOUR_MS, 1_000_000_000),
    ] {
        let impact = Impact::of(&metrics(uses, successes, snr_delta), ppm(ihsan), age_ms);
        assert_eq!(impact.parts_per_billion(), parts, "{uses} {successes} {snr_delta} {ihsan}");
    }
    assert_eq!(Impact(42).to_string(), "0.000000042");
    assert_eq!(Impact(BILLION).to_string(), "1.000000000");
}

#[test]
#[should_panic(expected = "1000000001 uses, where the schema allows 1000000000")]
fn impact_of_more_than_the_schema_allows_is_our_own_fault() {
    let _ = Impact::of(&metrics(USES_MAX + 1, 0, 0), Score::ONE, 0);
}

fn ppm(parts: u32) -> Score {
    Score::from_parts_per_million(parts).expect("a share")
}

/// The formula of the design in floating point.
fn reference(metrics: &Metrics, ihsan: Score, age_ms: u64) -> f64 {
    let uses = metrics.uses.max(1) as f64;
    let success_rate = metrics.successes as f64 / uses;
    let snr_boost = metrics.total_snr_delta_ppm as f64 / 1e6 / uses;
    let age_h = (age_ms / 1_000) as f64 / 3_600.0;
    let ihsan = f64::from(ihsan.parts_per_million()) / 1e6;
    let age = 0.5 + 0.5 * (age_h / 24.0).min(1.0);
    (success_rate * ihsan * (1.0 + snr_boost) * age).min(1.0)
}

/// Counts of all magnitudes.
fn any_uses() -> impl Strategy<Value = u64> {
    (0u32..=30, any::<u64>()).prop_map(|(bits, random)| (random % (1 << bits)).min(USES_MAX))
}

fn any_metrics() -> impl Strategy<Value = Metrics> {
    (any_uses(), any::<(u64, u64)>()).prop_map(|(uses, (successes, snr_delta))| {
        metrics(uses, successes % (uses + 1), snr_delta % (uses * MILLION + 1))
    })
}

proptest! {
    #[test]
    fn impact_is_that_of_the_formula(
        metrics in any_metrics(),
        ihsan in 0u32..=1_000_000,
        age_ms in 0..30 * HOUR_MS,
    ) {
        let impact = Impact::of(&metrics, ppm(ihsan), age_ms).parts_per_billion();
        let difference = reference(&metrics, ppm(ihsan), age_ms) - f64::from(impact) / 1e9;
        prop_assert!((-1e-12..1.000_001e-9).contains(&difference), "{difference}");
    }

    #[test]
    fn whoever_does_better_is_not_worth_less(
        worse in any_metrics(),
        ihsan in 0u32..1_000_000,
        age_ms in 0..30 * HOUR_MS,
        choice in 0..4,
    ) {
        let mut better = (worse, ihsan, age_ms);
        match choice {
            0 => better.0.successes = (worse.successes + 1).min(worse.uses),
            1 => better.0.total_snr_delta_ppm += u64::from(worse.uses > 0 && worse.uses < USES_MAX),
            2 => better.1 += 1,
            _ => better.2 += 1_000,
        }
        let of = |(metrics, ihsan, age_ms): (Metrics, u32, u64)| {
            Impact::of(&metrics, ppm(ihsan), age_ms)
        };
        prop_assert!(of((worse, ihsan, age_ms)) <= of(better));
    }
}

/// An offer of the source `seed` for the pattern `id`, as its checks would leave it.
fn offered(base: &Offer, seed: u8, id: u8, impact: u32, timestamp: TimestampMs) -> Offer {
    let mut offer = base.clone();
    offer.envelope.sender.public_key = PublicKey([seed; 32]);
    offer.envelope.timestamp = timestamp;
    let mut digest = [0; 32];
    digest[..2].copy_from_slice(&[seed, id]);
    digest[2..6].copy_from_slice(&impact.to_le_bytes());
    digest[6..14].copy_from_slice(&timestamp.get().to_le_bytes());
    offer.envelope.digest = RecordDigest(digest);
    let Content::Pattern(pattern) = &mut offer.envelope.content else { panic!("a pattern") };
    pattern.id = PatternId([id; 8]);
    pattern.domain = format!("domain {}", id % 2);
    offer.impact = Impact(impact);
    offer
}

/// What is in a book: id, source, impact.
fn held(book: &PatternBook, now: TimestampMs) -> Vec<(u8, u8, u32)> {
    let found = book.find(None, None, &Reputations::default(), now);
    let of = |offer: &&Offer| (offer.key().0.0[0], offer.source().0[0], offer.impact.0);
    found.iter().map(of).collect()
}

#[test]
fn a_known_pattern_is_replaced_by_a_higher_impact_only() {
    let base = good(7, 1);
    let mut book = PatternBook::new(BookLimits::default());
    assert!(book.is_empty());
    let mut adopt = |seed, impact, ms| {
        let time = NOW.saturating_add_ms(ms);
        let adopted = book.adopt(offered(&base, seed, 1, impact, time), time);
        (adopted.map_err(|rejection| rejection.to_string()), book.len())
    };
    assert_eq!(adopt(1, 600_000_000, 0), (Ok(Adoption::New), 1));
    assert_eq!(adopt(1, 600_000_000, 0), (Ok(Adoption::Known), 1));
    let refused = |impact: &str| {
        let sentence = "STATE: `payload.data.metrics` must show an impact above 0.600000000, that \
                        of the offer which is known, but shows ";
        (Err(format!("{sentence}{impact}")), 1)
    };
    assert_eq!(adopt(1, 600_000_000, 1), refused("0.600000000"));
    assert_eq!(adopt(1, 599_999_999, 1), refused("0.599999999"));
    assert_eq!(adopt(1, 600_000_001, 2), (Ok(Adoption::Better), 1));
    assert_eq!(adopt(2, 1, 2), (Ok(Adoption::New), 2));
    assert_eq!(held(&book, NOW), [(1, 1, 600_000_001), (1, 2, 1)]);
}

#[test]
fn an_offer_lives_for_a_week() {
    let base = good(7, 1);
    let mut book = PatternBook::new(BookLimits::default());
    book.adopt(offered(&base, 1, 1, 5, NOW), NOW).expect("new");
    let last = NOW.saturating_add_ms(TTL_MS - 1);
    assert_eq!(held(&book, last), [(1, 1, 5)]);
    let over = NOW.saturating_add_ms(TTL_MS);
    assert_eq!(held(&book, over), []);
    assert_eq!(
        book.adopt(offered(&base, 1, 1, 9, NOW), over).expect_err("expired").to_string(),
        "STALE: `timestamp` must be at most 604800000 ms old"
    );
    assert!(book.is_empty());
    // What has expired is known no more, so a lower impact is new.
    assert_eq!(book.adopt(offered(&base, 1, 1, 4, over), over), Ok(Adoption::New));
}

#[test]
fn one_source_throws_out_nobody_but_itself() {
    let base = good(7, 1);
    let mut book = PatternBook::new(BookLimits { offers_max: 20, offers_per_source_max: 4 });
    for seed in 1..=4 {
        for id in 0..4 {
            let offer = offered(&base, seed, id, 100 + u32::from(id), NOW);
            assert_eq!(book.adopt(offer, NOW), Ok(Adoption::New));
        }
    }
    let honest: BTreeSet<_> = held(&book, NOW).into_iter().collect();
    // Every pattern there can be, each with the highest impact there is.
    for id in 0..=255 {
        let time = NOW.saturating_add_ms(id.into());
        let adopted = book.adopt(offered(&base, 9, id, BILLION - 255 + u32::from(id), time), time);
        assert_eq!(adopted, Ok(Adoption::New));
        let now: BTreeSet<_> = held(&book, time).into_iter().collect();
        assert!(now.is_superset(&honest));
        assert!(now.len() <= honest.len() + 4);
    }
    let liar: Vec<u8> =
        held(&book, NOW).iter().filter(|(_, seed, _)| *seed == 9).map(|(id, ..)| *id).collect();
    assert_eq!(liar, [255, 254, 253, 252]);
}

#[test]
fn the_lowest_impact_leaves_first_and_of_equal_ones_the_youngest() {
    let base = good(7, 1);
    let mut book = PatternBook::new(BookLimits { offers_max: 3, offers_per_source_max: 3 });
    let at = |ms| NOW.saturating_add_ms(ms);
    for (seed, impact, ms) in [(1, 10, 0), (2, 20, 1), (3, 10, 2)] {
        book.adopt(offered(&base, seed, 1, impact, at(ms)), at(ms)).expect("there is room");
    }
    // The newest of equal ones is the youngest itself.
    let refused = book.adopt(offered(&base, 4, 1, 10, at(3)), at(3)).expect_err("no room");
    assert_eq!(
        refused.to_string(),
        "STATE: `payload.data.metrics` must show an impact above 0.000000010, the lowest for which \
         there is room, but shows 0.000000010"
    );
    assert_eq!(held(&book, NOW), [(1, 2, 20), (1, 1, 10), (1, 3, 10)]);
    book.adopt(offered(&base, 4, 1, 11, at(4)), at(4)).expect("it is higher");
    assert_eq!(held(&book, NOW), [(1, 2, 20), (1, 4, 11), (1, 1, 10)]);
    // A better offer of somebody who is there needs no room.
    assert_eq!(book.adopt(offered(&base, 1, 1, 12, at(5)), at(5)), Ok(Adoption::Better));
    assert_eq!(held(&book, NOW), [(1, 2, 20), (1, 1, 12), (1, 4, 11)]);
}

#[test]
fn a_node_goes_by_impact_and_reputation() {
    let base = good(7, 1);
    let mut book = PatternBook::new(BookLimits::default());
    for (seed, id, impact) in [(1, 1, 900), (2, 1, 800), (1, 2, 700), (3, 3, 600)] {
        book.adopt(offered(&base, seed, id, impact, NOW), NOW).expect("there is room");
    }
    let mut reputations = Reputations::default();
    let best = |book: &PatternBook, reputations: &Reputations, id| {
        book.best(PatternId([id; 8]), reputations, NOW).map(|offer| offer.source().0[0])
    };
    assert_eq!(best(&book, &reputations, 1), Some(1));
    assert_eq!(best(&book, &reputations, 9), None);
    // 900 × 0.45 is above 800 × 0.5, and 900 × 0.4 is not.
    let wrong = Err(Code::Invariant);
    reputations.note(PublicKey([1; 32]), wrong, NOW);
    assert_eq!(best(&book, &reputations, 1), Some(1));
    reputations.note(PublicKey([1; 32]), wrong, NOW);
    assert_eq!(best(&book, &reputations, 1), Some(2));
    let of = |domain: Option<&str>, id: Option<u8>| -> Vec<u32> {
        let id = id.map(|id| PatternId([id; 8]));
        let found = book.find(domain, id, &reputations, NOW);
        found.iter().map(|offer| offer.impact.0).collect()
    };
    assert_eq!(of(None, None), [800, 900, 600, 700]);
    assert_eq!(of(Some("domain 1"), None), [800, 900, 600]);
    assert_eq!(of(Some("domain 0"), None), [700]);
    assert_eq!(of(Some("domain 0"), Some(1)), [0; 0]);
    assert_eq!(of(None, Some(3)), [600]);
}

#[test]
fn a_reputation_is_earned_slowly_and_lost_fast() {
    let mut reputations = Reputations::default();
    let source = public(7);
    let good = Ok(Adoption::New);
    let parts = |it: &Reputations| it.of(&source, NOW).parts_per_million();
    assert_eq!(parts(&reputations), 500_000);
    reputations.note(source, good, NOW);
    assert_eq!(parts(&reputations), 510_000);
    let hours = |count: u64| NOW.saturating_add_ms(count * HOUR_MS);
    // Not by many offers at once.
    for time in [NOW, hours(1).saturating_sub_ms(1)] {
        reputations.note(source, Ok(Adoption::Better), time);
        assert_eq!(parts(&reputations), 510_000);
    }
    reputations.note(source, Ok(Adoption::Better), hours(1));
    assert_eq!(parts(&reputations), 520_000);
    // What an honest source may send too: late, twice, or where there is no room.
    for outcome in [Ok(Adoption::Known), Err(Code::Stale), Err(Code::State), Err(Code::Policy)] {
        reputations.note(source, outcome, NOW);
        assert_eq!(parts(&reputations), 520_000, "{outcome:?}");
    }
    for (code, left) in [
        (Code::Invariant, 470_000),
        (Code::Ihsan, 420_000),
        (Code::Invariant, 370_000),
        (Code::Invariant, 320_000),
    ] {
        reputations.note(source, Err(code), NOW);
        assert_eq!(parts(&reputations), left);
        assert_eq!(reputations.check(&source, NOW), Ok(()));
    }
    reputations.note(source, Err(Code::Invariant), NOW);
    assert_eq!(
        reputations.check(&source, NOW).expect_err("too low").to_string(),
        "STATE: `sender.public_key` must have a reputation of at least 0.300000 here, but has \
         0.270000, because of offers that were wrong"
    );
    assert_eq!(reputations.check(&public(8), NOW), Ok(()));
    let later = NOW.saturating_add_ms(TTL_MS);
    assert_eq!(reputations.check(&source, later), Ok(()), "it is forgotten in time");
    for _ in 0..20 {
        reputations.note(source, Err(Code::Invariant), NOW);
    }
    assert_eq!(parts(&reputations), 0);
    for hour in 1..200 {
        reputations.note(source, good, hours(hour));
    }
    assert_eq!(reputations.of(&source, NOW), Score::ONE);
}

#[test]
fn the_memory_of_reputations_is_bounded() {
    let mut reputations = Reputations::default();
    let key = |number: usize| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(number as u64).to_be_bytes());
        PublicKey(key)
    };
    for number in 0..REPUTATIONS_MAX + 10 {
        let now = NOW.saturating_add_ms(number as u64);
        reputations.note(key(number), Ok(Adoption::New), now);
    }
    assert_eq!(reputations.known.len(), REPUTATIONS_MAX);
    assert!(!reputations.known.contains_key(&key(9)), "the oldest is forgotten");
    assert!(reputations.known.contains_key(&key(10)));
}

#[test]
fn a_validator_votes_once_and_those_who_left_are_dropped() {
    let elevation = Elevation { digest: RecordDigest([5; 32]) };
    let (old, new) = (committee(1..=4), committee(3..=6));
    let vote = |seed, votes: &PatternVotes, committee| {
        elevation.vote(public(seed), votes.clone(), committee)
    };
    let keys = |seeds: &[u8]| {
        let mut keys: Vec<PublicKey> = seeds.iter().copied().map(public).collect();
        keys.sort_unstable();
        keys
    };
    let mut votes = PatternVotes::default();
    for seed in [4, 2] {
        votes = vote(seed, &votes, &old).expect("a first vote");
    }
    assert_eq!(votes, PatternVotes { voters: keys(&[2, 4]), validated_at: None });
    assert_eq!(
        vote(4, &votes, &old).expect_err("a second vote").to_string(),
        format!("STATE: `sender.public_key` must not have voted for {} already", elevation.digest)
    );
    // Of those who have voted, 4 alone still has a seat.
    votes = vote(6, &votes, &new).expect("a first vote");
    assert_eq!(votes.voters, keys(&[4, 6]));
    votes.validated_at = Some(Height::new(9));
    assert_eq!(
        vote(5, &votes, &new).expect_err("not needed").to_string(),
        "STATE: `payload.data.digest` must not be validated already, but is since the block at \
         height 9"
    );
    let unordered = |mut voters: Vec<PublicKey>| {
        voters.reverse();
        let bytes = PatternVotes { voters, validated_at: None }.to_bytes();
        PatternVotes::from_bytes(&bytes) == Err(DecodeError::Unordered("voters"))
    };
    assert!(unordered(keys(&[2, 4])) && unordered(keys(&[2, 2])) && !unordered(keys(&[2])));
    assert_eq!(PatternVotes::from_bytes(&votes.to_bytes()), Ok(votes));
}

#[test]
fn an_elevation_names_a_digest() {
    let with = |data: &str| {
        let mut members = offer(7, 1);
        edit(&mut members, "payload.action", Some("pattern/elevate".into()));
        edit(&mut members, "payload.data", Some(json(data)));
        edit(&mut members, "metadata.chain_id", Some(CHAIN.to_string().as_str().into()));
        Unsigned::parse(&text(&members)).map(drop).map_err(|rejection| {
            assert_eq!(rejection.code, Code::Schema);
            rejection.to_string()
        })
    };
    let digest = "ab".repeat(32);
    assert_eq!(with(&format!(r#"{{"digest":"{digest}"}}"#)), Ok(()));
    for (data, message) in [
        ("[]".to_owned(), "`payload.data` must be an object"),
        ("{}".to_owned(), "`payload.data.digest` is missing"),
        (r#"{"digest":"ab"}"#.to_owned(), "`payload.data.digest` must be 64 lower-case hex digits"),
        (r#"{"digest":7}"#.to_owned(), "`payload.data.digest` must be 64 lower-case hex digits"),
        (format!(r#"{{"digest":"{digest}","why":1}}"#), "`payload.data.why` is an unknown member"),
    ] {
        let rejection = with(&data).expect_err(message);
        assert!(rejection.contains(message), "{rejection} lacks {message}");
    }
}

/// The rules of a book in the plainest way: a list, sorted and cut.
#[derive(Default)]
struct Model(Vec<Offer>);

impl Model {
    fn adopt(&mut self, limits: BookLimits, offer: &Offer, now: TimestampMs) -> &'static str {
        self.0.retain(|it| now.get() < it.timestamp().get() + TTL_MS);
        if now.get() >= offer.timestamp().get() + TTL_MS {
            return "stale";
        }
        let same = |it: &&Offer| it.key() == offer.key();
        if let Some(known) = self.0.iter().find(same) {
            if known == offer {
                return "known";
            }
            if known.impact >= offer.impact {
                return "not better";
            }
            self.0.retain(|it| it.key() != offer.key());
            self.0.push(offer.clone());
            return "better";
        }
        self.0.push(offer.clone());
        // The best first; among equals the oldest.
        self.0.sort_by(|left, right| {
            let order = right.impact.cmp(&left.impact);
            order
                .then(left.timestamp().cmp(&right.timestamp()))
                .then(right.digest().cmp(&left.digest()))
        });
        let mut of_source = 0;
        self.0.retain(|it| {
            of_source += usize::from(it.source() == offer.source());
            it.source() != offer.source() || of_source <= limits.offers_per_source_max
        });
        self.0.truncate(limits.offers_max);
        if self.0.contains(offer) { "new" } else { "no room" }
    }
}

proptest! {
    #[test]
    fn a_book_is_the_sorted_list_cut_off(
        offers in prop::collection::vec((0u8..4, 0u8..6, 0u32..8, 0u64..4, 0u64..200), 1..120),
        offers_max in 1usize..10,
        offers_per_source_max in 1usize..5,
    ) {
        let base = good(7, 1);
        let limits = BookLimits { offers_max, offers_per_source_max };
        let (mut book, mut model) = (PatternBook::new(limits), Model::default());
        let mut now = NOW;
        for (seed, id, impact, wait_h, age_h) in offers {
            now = now.saturating_add_ms(wait_h * HOUR_MS);
            // A fifth of them is too old, some only just.
            let timestamp = now.saturating_sub_ms(age_h * HOUR_MS);
            let offer = offered(&base, seed, id, impact, timestamp);
            let expected = model.adopt(limits, &offer, now);
            let adopted = match book.adopt(offer, now) {
                Ok(Adoption::New) => "new",
                Ok(Adoption::Better) => "better",
                Ok(Adoption::Known) => "known",
                Err(it) if it.code == Code::Stale => "stale",
                Err(it) if it.detail.contains("which is known") => "not better",
                Err(it) if it.detail.contains("there is room") => "no room",
                Err(it) => panic!("{it}"),
            };
            prop_assert_eq!(adopted, expected);
            let mut listed: Vec<&Offer> = model.0.iter().collect();
            listed.sort_by_key(|it| it.key());
            prop_assert_eq!(book.offers.values().collect::<Vec<_>>(), listed);
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(
        uses in "[0-9]{1,12}(\\.[0-9]{1,8})?(e-?[0-9]{1,2})?",
        time in "[0-9T:.Z-]{1,24}",
    ) {
        let value = format!("\"{time}\"");
        for (path, value) in [
            ("metrics.uses", uses.as_str()),
            ("metrics.total_snr_delta", uses.as_str()),
            ("metrics.last_used", value.as_str()),
            ("creation_time", value.as_str()),
        ] {
            let Ok(value) = bizra_types::json::parse(value.as_bytes(), bizra_types::json::Limits::ENVELOPE)
            else { continue };
            let mut members = offer(7, 1);
            edit(&mut members, &format!("payload.data.{path}"), Some(value));
            if let Ok(unsigned) = Unsigned::parse(&text(&members)) {
                let bytes = unsigned.with_signature(bizra_types::crypto::Signature([0; 64]));
                let (envelope, _) = Envelope::parse(&bytes.expect("small")).expect("it was read");
                let pattern = pattern_of(&envelope);
                if pattern.check_consistent(NOW).is_ok() {
                    prop_assert!(pattern.impact(NOW) <= Impact(BILLION));
                    let _ = pattern.check_shared(&LedgerParameters::default());
                }
            }
        }
    }
}
