//! The same ten thousand records come to the same, whoever executes them.
//!
//! `exec` of the last block is pinned. It commits to `exec` of every block before
//! it, and each of them to log, state and outcomes. With `--nocapture` every
//! `exec` is printed, so that the outputs of two builds can be compared line by
//! line: `scripts/determinism.sh` does that for several.
//!
//! The records go through all gates, signatures included: inferences in sessions
//! that branch, merge and are rolled back, the market, identities, and
//! governance that changes a parameter, the policy, a key and the committee.
//! A quarter of them is refused, for one of fifteen reasons.

use bizra_ledger::codes::Code;
use bizra_ledger::envelope::Unsigned;
use bizra_ledger::execution::{BlockInput, BlockRecord, Parent, execute, genesis_exec};
use bizra_ledger::gates::check_records;
use bizra_ledger::identity::rotation_message;
use bizra_ledger::memory::MemoryLedger;
use bizra_ledger::policy::{DEFAULT_POLICY, Policies, PolicyHash};
use bizra_types::committee::{Committee, Validator};
use bizra_types::crypto::{PublicKey, Signature};
use bizra_types::hash::{ChainId, hex};
use bizra_types::numbers::{Height, ProtocolVersion, TimestampMs, ValidatorIndex};
use ed25519_dalek::{Signer as _, SigningKey};
use std::collections::BTreeMap;
use std::sync::Arc;

/// `exec` of the last block.
const EXEC: &str = "e3c28649a5640fe10106202114dc13dcc84f34a315da4d90c6e39b7031beea15";
/// Records with each code.
const CODES: &[(Code, usize)] = &[
    (Code::Success, 7551),
    (Code::Schema, 104),
    (Code::Signature, 27),
    (Code::Stale, 56),
    (Code::Future, 81),
    (Code::Ihsan, 77),
    (Code::Snr, 77),
    (Code::Policy, 184),
    (Code::State, 392),
    (Code::Role, 70),
    (Code::Fate, 114),
    (Code::Invariant, 65),
    (Code::Gini, 173),
    (Code::Negative, 181),
    (Code::InvalidTransaction, 619),
    (Code::Dust, 1),
    (Code::Skipped, 228),
];

const CHAIN: ChainId = ChainId([0xd7; 32]);
const BLOCKS: u64 = 200;
const BLOCK_RECORDS: usize = 50;
const VALIDATORS: u8 = 4;
const SENDERS: u8 = 24;
/// 2026-11-22T00:00:00Z, in milliseconds.
const BEGIN_MS: u64 = 1_795_305_600_000;
/// Chain time from one block to the next: three governance epochs for all.
const BLOCK_MS: u64 = 20 * 60_000;
/// The second policy allows whatever the first does.
const COMMENT: &str = "# Another text is another policy.\n";

#[test]
fn ten_thousand_records_come_to_the_same() {
    let mut committee = committee((0..VALIDATORS).collect::<Vec<_>>().as_slice());
    let mut ledger = MemoryLedger::genesis();
    let mut policies = Policies::new([DEFAULT_POLICY]);
    let mut mix = Mix::new();
    let mut codes: BTreeMap<Code, usize> = BTreeMap::new();
    let mut exec = genesis_exec();
    for height in 1..=BLOCKS {
        let time_ms = BEGIN_MS + height * BLOCK_MS;
        let texts = mix.block(height, time_ms);
        let admitted: Vec<_> = texts.iter().map(|(at, text)| (*at, &text[..])).collect();
        let verdicts = check_records(&admitted, &CHAIN);
        let records: Vec<_> = texts
            .iter()
            .zip(verdicts)
            .enumerate()
            .map(|(at, ((_, bytes), verdict))| {
                // Two batches, of two authors.
                let turn = height + u64::from(at >= BLOCK_RECORDS / 2);
                let author = ValidatorIndex::new((turn % u64::from(VALIDATORS)) as u16);
                let author = committee.key(author).expect("a member");
                BlockRecord { author, bytes: Arc::clone(bytes), verdict }
            })
            .collect();
        let reveals = [ValidatorIndex::new((height % u64::from(VALIDATORS)) as u16)];
        let block = BlockInput {
            height: Height::new(height),
            timestamp: TimestampMs::new(time_ms),
            protocol_version: ProtocolVersion::new(1),
            committee: &committee,
            reveals: &reveals[..usize::from(height % 3 == 0)],
            records: &records,
        };
        let overlay = Parent::new(&ledger, Vec::new())
            .and_then(|parent| execute(&parent, &block, &mut policies))
            .expect("memory does not fail");
        for outcome in overlay.outcomes() {
            *codes.entry(outcome.code).or_default() += 1;
            if let (Some(digest), false) = (outcome.digest, outcome.code == Code::Success) {
                mix.note_refused(&digest.0);
            }
        }
        exec = overlay.exec();
        println!("exec {height} {exec}");
        ledger.commit(&overlay);
        if let Some(next) = &overlay.decisions().next_committee {
            println!("committee {height} {}", next.hash());
            committee = Committee::clone(next);
        }
    }
    for (code, count) in &codes {
        println!("code {} {count}", code.name());
    }
    assert_eq!(codes.values().sum::<usize>(), BLOCKS as usize * BLOCK_RECORDS);
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), CODES);
    assert_eq!(exec.to_string(), EXEC);
}

/// The key from a number: validators from 0 on, and a joiner with 50; senders
/// from 100 on, the keys that take their places from 200 on, and those of senders
/// that begin anew after a revocation from 150 on.
fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number + 1; 32])
}

fn public(number: u8) -> PublicKey {
    PublicKey(key(number).verifying_key().to_bytes())
}

fn validator(seat: usize, key: u8) -> Validator {
    Validator {
        name: format!("validator-{seat}"),
        peer_id: format!("peer-{key}"),
        consensus_key: public(key),
        vrf_key: [key; 32],
        kem_key: vec![key; 1_216],
    }
}

fn committee(keys: &[u8]) -> Committee {
    let members = keys.iter().enumerate().map(|(seat, key)| validator(seat, *key));
    Committee::new(members.collect()).expect("the keys are good")
}

/// An RFC 3339 time of November 2026.
fn time(ms: u64) -> String {
    let seconds = (ms - BEGIN_MS) / 1_000;
    let (day, hour, minute) = (22 + seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    format!("2026-11-{day:02}T{hour:02}:{minute:02}:{:02}.{:03}Z", seconds % 60, ms % 1_000)
}

/// One sender, and what its records should have led to.
struct Agent {
    key: u8,
    is_registered: bool,
    has_joined: bool,
    session: u64,
    /// Records of the session.
    count: u64,
    heads: Vec<([u8; 32], &'static str)>,
    licences: Vec<(String, u64)>,
}

impl Agent {
    fn begin_session(&mut self) {
        (self.session, self.count) = (self.session + 1, 0);
        self.heads.clear();
    }
}

/// What a record says.
struct Draft {
    key: u8,
    agent_type: &'static str,
    action: &'static str,
    data: String,
    ihsan: u64,
    snr: u64,
    policy: String,
    timestamp_ms: u64,
    chain: ChainId,
}

impl Draft {
    /// The signed text, and the digest.
    fn sign(&self, nonce: u64) -> (Arc<[u8]>, [u8; 32]) {
        let text = format!(
            r#"{{
                "version": "1.0.0",
                "envelope_id": "123e4567-e89b-42d3-a456-{nonce:012x}",
                "timestamp": "{timestamp}",
                "nonce": "{nonce:064x}",
                "sender": {{
                    "agent_type": "{agent_type}", "agent_id": "agent", "public_key": "{key}"
                }},
                "payload": {{
                    "action": "{action}", "policy_hash": "{policy}", "data": {data}
                }},
                "metadata": {{
                    "ihsan_score": {ihsan}, "snr_score": {snr}, "urgency": "BATCH",
                    "chain_id": "{chain}"
                }}
            }}"#,
            timestamp = time(self.timestamp_ms),
            agent_type = self.agent_type,
            key = public(self.key),
            action = self.action,
            policy = self.policy,
            data = self.data,
            ihsan = share(self.ihsan),
            snr = share(self.snr),
            chain = self.chain,
        );
        let unsigned = Unsigned::parse(text.as_bytes()).expect("the form is right");
        let digest = unsigned.digest();
        let signature = Signature(key(self.key).sign(digest.as_bytes()).to_bytes());
        (unsigned.with_signature(signature).expect("small enough"), digest.0)
    }
}

/// Parts per million as a JSON number.
fn share(parts_per_million: u64) -> String {
    if parts_per_million == 1_000_000 {
        "1".to_owned()
    } else {
        format!("0.{parts_per_million:06}")
    }
}

/// A text, and when the author of its batch has admitted it.
type Admitted = (TimestampMs, Arc<[u8]>);

/// Draws records; the numbers that it draws are always the same.
struct Mix {
    random: u64,
    nonce: u64,
    agents: Vec<Agent>,
    /// Texts that may come again, with the times of their admission.
    sent: Vec<Admitted>,
    /// Open proposals, each with the height from which approvals count.
    proposals: Vec<(u64, [u8; 32])>,
    policy: String,
}

impl Mix {
    fn new() -> Self {
        let agent = |number| Agent {
            key: 100 + number,
            is_registered: false,
            has_joined: false,
            session: 0,
            count: 0,
            heads: Vec::new(),
            licences: Vec::new(),
        };
        Self {
            random: 0x9e37_79b9_7f4a_7c15,
            nonce: 0,
            agents: (0..SENDERS).map(agent).collect(),
            sent: Vec::new(),
            proposals: Vec::new(),
            policy: PolicyHash::of(DEFAULT_POLICY).to_string(),
        }
    }

    /// A number below `end` (xorshift64).
    fn draw(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % end
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.draw(items.len() as u64) as usize]
    }

    /// The records of a block.
    fn block(&mut self, height: u64, time_ms: u64) -> Vec<Admitted> {
        let admitted_at = TimestampMs::new(time_ms - 1_000);
        let governance = self.governance(height, time_ms).into_iter();
        let mut texts: Vec<Admitted> = governance.map(|text| (admitted_at, text)).collect();
        while texts.len() < BLOCK_RECORDS {
            let at = self.draw(SENDERS.into()) as usize;
            let text = match self.draw(100) {
                0..=63 => self.inference(at, time_ms),
                64..=81 => self.market(at, time_ms),
                82..=85 => self.identity(at, time_ms),
                86..=87 => self.close(at, time_ms),
                88..=90 if !self.sent.is_empty() => {
                    let at = self.draw(self.sent.len() as u64) as usize;
                    texts.push(self.sent[at].clone());
                    continue;
                }
                _ => self.refused(at, time_ms),
            };
            self.sent.push((admitted_at, Arc::clone(&text)));
            texts.push((admitted_at, text));
        }
        texts
    }

    /// Whose session should go on from a record that was refused begins another.
    fn note_refused(&mut self, digest: &[u8; 32]) {
        for agent in &mut self.agents {
            if agent.heads.iter().any(|head| head.0 == *digest) {
                agent.begin_session();
            }
        }
    }

    fn draft(&mut self, key: u8, action: &'static str, data: String, time_ms: u64) -> Draft {
        Draft {
            key,
            agent_type: if key < 100 { "SAT" } else { "PAT" },
            action,
            data,
            ihsan: 950_000 + self.draw(50_001),
            snr: 930_000 + self.draw(70_001),
            policy: self.policy.clone(),
            timestamp_ms: time_ms - self.draw(60_000),
            chain: CHAIN,
        }
    }

    fn sign(&mut self, draft: &Draft) -> (Arc<[u8]>, [u8; 32]) {
        self.nonce += 1;
        draft.sign(self.nonce)
    }

    fn say(&mut self, key: u8, action: &'static str, data: String, time_ms: u64) -> Arc<[u8]> {
        let draft = self.draft(key, action, data, time_ms);
        self.sign(&draft).0
    }

    /// A random UUID of version 4.
    fn uuid(&mut self) -> String {
        let (high, low) = (self.draw(1 << 48), self.draw(1 << 60));
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 16,
            high & 0xffff,
            low >> 48,
            low >> 36 & 0xfff,
            low & 0xf_ffff_ffff
        )
    }

    /// `payload.data` of an inference.
    fn model_call(
        &mut self,
        session: u64,
        transition: &str,
        parents: &[[u8; 32]],
        time_ms: u64,
    ) -> String {
        let parents: Vec<String> = parents.iter().map(|it| format!("\"{}\"", hex(it))).collect();
        let duration_ms = self.draw(9_000);
        let (tokens_in, tokens_out) = (self.draw(3_000), self.draw(3_000));
        let rationale = self.draw(2) == 0;
        let digest = |number: u64| format!("{number:064x}");
        format!(
            r#"{{
                "session_id": "0189d3a0-0000-7000-8000-{session:012x}",
                "transition": "{transition}", "parents": [{parents}],
                "model": {{
                    "name": "{model}", "digest": "{model_digest}", "evidence": "{evidence}"
                }},
                "tier": "{tier}", "input_commitment": "{input}", "output_commitment": "{output}",
                {rationale}
                "operation": "{operation}", "operations": ["infer", "read"], "intent": ["infer"],
                "parameters_digest": "{input}",
                "usage": {{"input_tokens": {tokens_in}, "output_tokens": {tokens_out}}},
                "started_at": "{started}", "finished_at": "{finished}",
                "finish_reason": "{finish}", "trace_id": "{trace:032x}",
                "fate": {{"f": 1, "a": 1, "t": {t}, "e": {e}}},
                "flags": {{"personal_data": false, "toxicity": false, "violation": false}},
                "budget": {{
                    "tier": "{budget}", "depth": {depth}, "tracks": {tracks}, "retries": {retries},
                    "entropy": {entropy}, "knowledge_gap": {gap}, "mean_snr": {mean}
                }}
            }}"#,
            parents = parents.join(", "),
            model = self.pick(&["tiny", "small", "large"]),
            model_digest = digest(self.draw(3)),
            evidence = self.pick(&["host_verified", "configured_claim"]),
            tier = self.pick(&["EDGE", "LOCAL", "POOL"]),
            input = digest(self.draw(u64::MAX)),
            output = digest(self.draw(u64::MAX)),
            rationale = if rationale {
                format!("\"rationale_commitment\": \"{}\",", digest(duration_ms))
            } else {
                String::new()
            },
            operation = self.pick(&["chat", "text_completion", "retrieval", "other"]),
            started = time(time_ms - 90_000 - duration_ms),
            finished = time(time_ms - 90_000),
            finish = self.pick(&["stop", "length", "tool_call"]),
            trace = self.draw(u64::MAX),
            t = share(980_000 + self.draw(20_001)),
            e = share(980_000 + self.draw(20_001)),
            budget = self.pick(&["NANO", "MICRO", "MESO", "MACRO", "MEGA"]),
            depth = self.draw(8),
            tracks = 1 + self.draw(3),
            retries = self.draw(9),
            entropy = share(self.draw(1_000_001)),
            gap = share(self.draw(1_000_001)),
            mean = share(self.draw(1_000_001)),
        )
    }

    /// The next arrow of the sender's session.
    fn inference(&mut self, at: usize, time_ms: u64) -> Arc<[u8]> {
        let heads = self.agents[at].heads.clone();
        let last = heads.last().copied();
        let (transition, state) = match last.map(|(_, state)| state) {
            None => self.pick(&[("init", "init"), ("commit", "committed")]),
            Some("init" | "resumed" | "recovered") => ("activate", "active"),
            Some("active") => self.pick(&[
                ("compute", "computing"),
                ("compute", "computing"),
                ("commit", "committed"),
                ("suspend", "suspended"),
                ("fail", "failed"),
                ("branch", "active"),
            ]),
            Some("computing") => self.pick(&[
                ("validate", "validated"),
                ("validate", "validated"),
                ("fail", "failed"),
            ]),
            Some("validated") => ("commit", "committed"),
            Some("committed") => self.pick(&[
                ("activate", "active"),
                ("activate", "active"),
                ("commit", "committed"),
                ("branch", "committed"),
                ("rollback", "active"),
                ("terminate", "terminated"),
            ]),
            Some("suspended") => ("resume", "resumed"),
            Some("failed") => ("recover", "recovered"),
            Some(_) => ("init", "init"),
        };
        let can_merge = heads.len() > 1
            && heads.iter().all(|(_, state)| matches!(*state, "active" | "committed"));
        let (transition, state) =
            if can_merge && self.draw(2) == 0 { ("merge", "active") } else { (transition, state) };
        let agent = &mut self.agents[at];
        if last.is_some_and(|(_, state)| state == "terminated") {
            agent.begin_session();
        }
        let parents: Vec<[u8; 32]> = match transition {
            "merge" => agent.heads.iter().map(|(digest, _)| *digest).collect(),
            _ => agent.heads.last().map(|(digest, _)| *digest).into_iter().collect(),
        };
        let (key, session) = (agent.key, agent.session);
        let data = self.model_call(session, transition, &parents, time_ms);
        let draft = self.draft(key, "inference/commit", data, time_ms);
        let (text, digest) = self.sign(&draft);
        let agent = &mut self.agents[at];
        match transition {
            "branch" => {}
            "merge" | "rollback" => agent.heads.clear(),
            _ => drop(agent.heads.pop()),
        }
        if state != "terminated" || agent.heads.is_empty() {
            agent.heads.push((digest, state));
        }
        agent.count += 1;
        text
    }

    fn close(&mut self, at: usize, time_ms: u64) -> Arc<[u8]> {
        let agent = &mut self.agents[at];
        let (key, session, records) = (agent.key, agent.session, agent.count);
        agent.begin_session();
        let data = format!(
            r#"{{"session_id": "0189d3a0-0000-7000-8000-{session:012x}", "records": {records}}}"#
        );
        self.say(key, "session/close", data, time_ms)
    }

    fn market(&mut self, at: usize, time_ms: u64) -> Arc<[u8]> {
        let key = self.agents[at].key;
        if !std::mem::replace(&mut self.agents[at].has_joined, true) || self.draw(50) == 0 {
            return self.say(key, "market/join", "{}".to_owned(), time_ms);
        }
        let value = self.draw(2_000);
        if self.agents[at].licences.is_empty() || self.draw(3) == 0 {
            let licence = self.uuid();
            let quantity = self.draw(1_001);
            let resource = self.pick(&[
                "cpu",
                "gpu",
                "memory",
                "storage",
                "bandwidth",
                "inference",
                "consensus",
            ]);
            self.agents[at].licences.push((licence.clone(), value));
            let data = format!(
                r#"{{"licence_id": "{licence}", "resource": "{resource}", "quantity": {quantity},
                    "value": {value}}}"#
            );
            return self.say(key, "market/issue", data, time_ms);
        }
        let owner = if self.draw(3) == 0 { self.draw(SENDERS.into()) as usize } else { at };
        let Some((licence, price)) = self.agents[owner].licences.last().cloned() else {
            return self.say(key, "market/join", "{}".to_owned(), time_ms);
        };
        let named = format!(r#""licence_id": "{licence}""#);
        let verb = if owner == at { self.draw(3) } else { 3 };
        match verb {
            0 => self.say(key, "market/pay", format!("{{{named}}}"), time_ms),
            1 => {
                self.agents[at].licences.last_mut().expect("found above").1 = value;
                let data = format!(r#"{{{named}, "value": {value}}}"#);
                self.say(key, "market/assess", data, time_ms)
            }
            2 => {
                self.agents[at].licences.pop();
                self.say(key, "market/release", format!("{{{named}}}"), time_ms)
            }
            _ => {
                self.agents[owner].licences.pop();
                self.agents[at].licences.push((licence, value));
                let data = format!(r#"{{{named}, "price": {price}, "value": {value}}}"#);
                self.say(key, "market/buy", data, time_ms)
            }
        }
    }

    fn identity(&mut self, at: usize, time_ms: u64) -> Arc<[u8]> {
        let (old, is_registered) = (self.agents[at].key, self.agents[at].is_registered);
        if !is_registered {
            self.agents[at].is_registered = true;
            return self.say(old, "identity/register", "{}".to_owned(), time_ms);
        }
        if old >= 200 && self.draw(4) == 0 {
            let agent = &mut self.agents[at];
            agent.begin_session();
            (agent.key, agent.is_registered, agent.has_joined) = (old - 50, false, false);
            let data = format!(r#"{{"key": "{}"}}"#, public(old));
            return self.say(old, "identity/revoke", data, time_ms);
        }
        if old >= 150 {
            return self.say(old, "identity/register", "{}".to_owned(), time_ms);
        }
        let new = old + 100;
        let message = rotation_message(&CHAIN, &public(old), &public(new));
        let proof = key(new).sign(message.as_bytes()).to_bytes();
        self.agents[at].key = new;
        let data = format!(r#"{{"new_key": "{}", "proof": "{}"}}"#, public(new), hex(&proof));
        self.say(old, "identity/rotate", data, time_ms)
    }

    /// Proposals at fixed heights, approved by all once that counts.
    fn governance(&mut self, height: u64, time_ms: u64) -> Vec<Arc<[u8]>> {
        let mut texts = Vec::new();
        let change = match height {
            1 => Some((
                0,
                r#"{"kind": "parameter", "name": "market_endowment", "value": 100000}"#.to_owned(),
            )),
            2 => {
                let rego = format!("{COMMENT}{DEFAULT_POLICY}");
                let rego = rego.replace('\\', "\\\\").replace('"', "\\\"");
                let rego = rego.replace('\n', "\\n").replace('\t', "\\t");
                Some((1, format!(r#"{{"kind": "policy", "name": "second", "rego": "{rego}"}}"#)))
            }
            3 => Some((2, format!(r#"{{"kind": "revocation", "key": "{}"}}"#, public(99)))),
            4 => {
                let seat = Validator {
                    peer_id: "12D3KooW9pNAk8aiBuGVQtWRdbkLmo5qVL3e2h5UxbN2Nz9ttwiw".to_owned(),
                    ..validator(3, 50)
                };
                Some((
                    3,
                    format!(
                        r#"{{"kind": "committee", "remove": [], "put": [{{
                            "name": "{}", "peer_id": "{}", "consensus_key": "{}",
                            "vrf_key": "{}", "kem_key": "{}"}}]}}"#,
                        seat.name,
                        seat.peer_id,
                        seat.consensus_key,
                        hex(&seat.vrf_key),
                        hex(&seat.kem_key)
                    ),
                ))
            }
            100 => Some((0, r#"{"kind": "version", "version": 2, "height": 900}"#.to_owned())),
            101 => Some((
                1,
                r#"{"kind": "parameter", "name": "snr_min_ppm", "value": 2000000}"#.to_owned(),
            )),
            _ => None,
        };
        if let Some((proposer, change)) = change {
            let data = format!(r#"{{"procedure": "emergency", "change": {change}}}"#);
            let draft = self.draft(proposer, "governance/propose", data, time_ms);
            let (text, digest) = self.sign(&draft);
            texts.push(text);
            self.proposals.push((height + 11, digest));
        }
        let due: Vec<_> = self.proposals.iter().copied().filter(|it| it.0 == height).collect();
        for (_, digest) in due {
            let last = if height > 75 { 50 } else { 3 };
            for key in [0, 1, 2, last] {
                let data = format!(r#"{{"proposal": "{}", "choice": "approve"}}"#, hex(&digest));
                texts.push(self.say(key, "governance/vote", data, time_ms));
            }
        }
        if height.is_multiple_of(40) {
            let digest = hex(&[height as u8; 32]);
            let data = format!(
                r#"{{"release": "0.{height}.0", "artefacts_root": "{digest}",
                    "rego_hash": "{digest}", "infrastructure_hash": "{digest}"}}"#
            );
            texts.push(self.say(0, "release/attest", data, time_ms));
        }
        // Decided at the end of block 73; the first one stays valid for the rest.
        if height == 74 {
            let rego = format!("{COMMENT}{DEFAULT_POLICY}");
            self.policy = PolicyHash::of(&rego).to_string();
        }
        texts
    }

    /// A record that some gate refuses.
    fn refused(&mut self, at: usize, time_ms: u64) -> Arc<[u8]> {
        let session = (1 << 40) + self.draw(1 << 40);
        let data = self.model_call(session, "commit", &[], time_ms);
        let key = self.agents[at].key;
        let mut draft = self.draft(key, "inference/commit", data, time_ms);
        let replace = |draft: &mut Draft, from: &str, to: &str| {
            assert!(draft.data.contains(from), "{from}");
            draft.data = draft.data.replacen(from, to, 1);
        };
        match self.draw(14) {
            0 => draft.ihsan = 949_999,
            1 => draft.snr = 849_999,
            2 => draft.policy = hex(&[1; 32]),
            3 => draft.agent_type = "SAT",
            4 => replace(&mut draft, r#""toxicity": false"#, r#""toxicity": true"#),
            5 => replace(&mut draft, r#""violation": false"#, r#""violation": true"#),
            6 => replace(&mut draft, r#""intent": ["infer"]"#, r#""intent": []"#),
            7 => replace(&mut draft, r#""f": 1"#, r#""f": 0.5"#),
            8 => {
                let finished = time(time_ms - 90_000);
                let finished = format!(r#""finished_at": "{finished}""#);
                let early = time(time_ms - 500_000);
                replace(&mut draft, &finished, &format!(r#""finished_at": "{early}""#));
            }
            9 => draft.timestamp_ms = time_ms - 600_000,
            10 => draft.timestamp_ms = time_ms + 600_000,
            11 => draft.chain = ChainId([1; 32]),
            12 => {
                let parents = format!(r#""parents": ["{}"]"#, hex(&[9; 32]));
                replace(&mut draft, r#""parents": []"#, &parents);
            }
            _ => {
                let (text, _) = self.sign(&draft);
                let mut bytes = text.to_vec();
                // Either the canonical form is gone, or the signature is of other scores.
                if self.draw(2) == 0 {
                    bytes.push(b' ');
                } else {
                    let at = bytes.windows(7).position(|it| it == b"\"BATCH\"");
                    let at = at.expect("every record has an urgency");
                    bytes.splice(at..at + 7, *b"\"NEAR_REAL_TIME\"");
                }
                return bytes.into();
            }
        }
        self.sign(&draft).0
    }
}
