//! Golden vectors: encodings that must be accepted and such that must be refused.
//!
//! The files in `tests/vectors/` are compared with what the code gives today;
//! `UPDATE_VECTORS=1 cargo test -p bizra-types` writes them anew, and the
//! difference is a change of format for everyone.

use crate::samples::{self, CHAIN, key, public, signers, validator};
use bizra_types::batch::{BatchHeader, SignedBatch, SignedTicket};
use bizra_types::block::{Block, FinalHeader, Header, SignedProposal, proposal_signed_bytes};
use bizra_types::certificate::{Certificate, CommitCert, Qc, Tc};
use bizra_types::committee::{COMMITTEE_SIZE_MAX, Committee, SignerSet};
use bizra_types::encoding::{Decode, Encode};
use bizra_types::execution::ExecFields;
use bizra_types::genesis::{Genesis, Parameters, Policy};
use bizra_types::hash::{Context, Hash, hex};
use bizra_types::message::{BatchAck, BatchHint, SignedCommitVote, SignedTimeout, SignedVote};
use bizra_types::numbers::{Era, LaneSeq, ProtocolVersion, TimestampMs, ValidatorIndex, View};
use serde_json::{Value, json};
use std::path::Path;

/// The vectors of one type.
struct Family {
    name: &'static str,
    accepted: Vec<Value>,
    rejected: Vec<Value>,
    good: Vec<Vec<u8>>,
    decode: fn(&[u8]) -> Result<Vec<u8>, String>,
}

impl Family {
    fn of<T: Encode + Decode>(name: &'static str) -> Self {
        Self {
            name,
            accepted: Vec::new(),
            rejected: Vec::new(),
            good: Vec::new(),
            decode: |bytes| {
                T::from_bytes(bytes)
                    .map(|value| value.to_bytes())
                    .map_err(|error| error.to_string())
            },
        }
    }

    /// A value, and what follows from it.
    fn accept(mut self, name: &str, value: &impl Encode, derived: &[(&str, String)]) -> Self {
        let bytes = value.to_bytes();
        assert_eq!((self.decode)(&bytes).as_ref(), Ok(&bytes), "{}: {name}", self.name);
        for length in 0..bytes.len() {
            let prefix = (self.decode)(&bytes[..length]);
            assert!(prefix.is_err(), "{}: {name}: {length} bytes are enough", self.name);
        }
        let mut entry = json!({ "name": name, "hex": hex(&bytes) });
        for (what, text) in derived {
            entry[*what] = text.as_str().into();
        }
        self.accepted.push(entry);
        if self.good.is_empty() {
            self = self.reject("trailing byte", [bytes.as_slice(), &[0]].concat());
            self = self.reject("nothing", Vec::new());
            let last = bytes.len() - 1;
            self = self.reject("last byte missing", bytes[..last].to_vec());
        }
        self.good.push(bytes);
        self
    }

    /// Bytes that are refused.
    fn reject(mut self, name: &str, bytes: Vec<u8>) -> Self {
        let error = (self.decode)(&bytes).expect_err(name);
        self.rejected.push(json!({ "name": name, "hex": hex(&bytes), "error": error }));
        self
    }

    /// The first accepted bytes with others written over them at `at`.
    fn reject_with(self, name: &str, at: usize, new: &[u8]) -> Self {
        let mut bytes = self.good[0].clone();
        assert_ne!(bytes[at..at + new.len()], *new, "{}: {name}", self.name);
        bytes[at..at + new.len()].copy_from_slice(new);
        self.reject(name, bytes)
    }

    fn to_json(&self) -> Value {
        json!({ "type": self.name, "accepted": self.accepted, "rejected": self.rejected })
    }
}

#[test]
fn encodings_are_the_recorded_ones() {
    for family in families() {
        compare(&format!("{}.json", family.name), &family.to_json());
    }
}

#[test]
fn the_genesis_file_is_the_recorded_one() {
    let genesis = genesis();
    let text = String::from_utf8(genesis.to_json()).expect("JSON is UTF-8");
    let spaced = serde_json::to_string_pretty(
        &serde_json::from_str::<Value>(&text).expect("canonical text is JSON"),
    )
    .expect("a value can be written");
    let again = Genesis::parse(spaced.as_bytes()).expect("white space means nothing");
    assert_eq!(again.chain_id(), genesis.chain_id());
    let parameter = r#""idle_block_ms":1000"#;
    let rejected: Vec<_> = [
        ("no JSON", text.replacen('{', "", 1)),
        ("trailing byte", format!("{text}7")),
        ("byte order mark", format!("\u{feff}{text}")),
        ("unknown member", text.replacen('{', r#"{"a":1,"#, 1)),
        ("member twice", text.replacen('{', r#"{"name":"again","#, 1)),
        ("member missing", text.replacen(r#""name":"golden","#, "", 1)),
        ("parameter missing", text.replacen(&format!("{parameter},"), "", 1)),
        ("parameter too large", text.replacen(parameter, r#""idle_block_ms":60001"#, 1)),
        ("parameter with a fraction", text.replacen(parameter, r#""idle_block_ms":1000.5"#, 1)),
        (
            "upper-case hex",
            text.replacen(&public(0).to_string(), &public(0).to_string().to_uppercase(), 1),
        ),
        ("key twice", text.replacen(&public(1).to_string(), &public(0).to_string(), 1)),
        ("key of small order", text.replacen(&public(1).to_string(), &hex(&neutral()), 1)),
        ("version 0", text.replacen(r#""protocol_version":1"#, r#""protocol_version":0"#, 1)),
        ("empty name", text.replacen("golden", "", 1)),
    ]
    .into_iter()
    .map(|(name, bad)| {
        assert_ne!(bad, text, "{name}");
        let error = Genesis::parse(bad.as_bytes()).expect_err(name);
        json!({ "name": name, "text": bad, "error": error.to_string() })
    })
    .collect();
    let header = genesis.header();
    compare(
        "Genesis.json",
        &json!({
            "type": "Genesis",
            "accepted": [{
                "name": "two validators",
                "text": text,
                "chain_id": genesis.chain_id().to_string(),
                "committee_hash": genesis.committee.hash().to_string(),
                "header": hex(&header.to_bytes()),
                "block_id": header.id().to_string(),
            }],
            "rejected": rejected,
        }),
    );
}

/// The sizes that `docs/formats.md` states.
#[test]
fn sizes_are_the_documented_ones() {
    let sizes = [
        (samples::block().header().to_bytes().len(), 197),
        (samples::filler().header().to_bytes().len(), 261),
        (samples::citation(1).to_bytes().len(), 72),
        (samples::reveal(1).to_bytes().len(), 106),
        (samples::vote().to_bytes().len(), 48),
        (samples::commit_vote().to_bytes().len(), 80),
        (samples::timeout().to_bytes().len(), 24),
        (samples::batch().header().to_bytes().len(), 124),
        (samples::ticket().ticket.to_bytes().len(), 48),
        (samples::exec().to_bytes().len(), 200),
        (samples::final_header().to_bytes().len(), 600),
        (samples::vote().signed_bytes(&CHAIN).len(), 1 + 32 + 8 + 48),
    ];
    for (place, (size, documented)) in sizes.into_iter().enumerate() {
        assert_eq!(size, documented, "entry {place}");
    }
}

/// All the ways to derive a hash, each from the three bytes `abc`.
#[test]
fn contexts_are_the_recorded_ones() {
    let contexts = [
        Context::Genesis,
        Context::Header,
        Context::List,
        Context::Certificate,
        Context::Batch,
        Context::Exec,
        Context::Committee,
        Context::Seed,
        Context::Schedule,
        Context::SignedBytes,
        Context::OutcomeLeaf,
        Context::OutcomeNode,
        Context::PlainElement,
        Context::PlainDigest,
        Context::SessionNode,
        Context::KeyRotation,
        Context::Signature,
    ];
    let hashes: Vec<_> = contexts
        .iter()
        .map(|context| {
            let hash = context.hash(&[b"a", b"bc"]);
            assert_eq!(hash, context.hash(&[b"abc"]));
            json!({ "context": context.as_str(), "hash_of_abc": hash.to_string() })
        })
        .collect();
    let mut strings: Vec<_> = contexts.iter().map(|context| context.as_str()).collect();
    strings.sort_unstable();
    strings.dedup();
    assert_eq!(strings.len(), contexts.len(), "a context string is used twice");
    let document = include_str!("../../../../docs/formats.md");
    for string in strings {
        assert!(document.contains(&format!("`{string}`")), "docs/formats.md leaves out {string}");
    }
    compare("contexts.json", &json!({ "contexts": hashes }));
}

#[expect(clippy::disallowed_methods, reason = "the variable of the tests' own author")]
fn compare(file: &str, value: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(file);
    let mut text = serde_json::to_string_pretty(value).expect("a value can be written");
    text.push('\n');
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(&path, text).expect("the folder of the vectors can be written");
        return;
    }
    let recorded = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_VECTORS=1 writes it", path.display()));
    let differs = recorded.lines().zip(text.lines()).find(|(old, new)| old != new);
    assert_eq!(differs, None, "{file} has another line (recorded, now)");
    assert_eq!(recorded, text, "{file}");
}

fn families() -> Vec<Family> {
    vec![
        header(),
        block(),
        proposal(),
        vote(),
        commit_vote(),
        timeout(),
        qc(),
        tc(),
        commit_cert(),
        certificate(),
        final_header(),
        batch(),
        ticket(),
        batch_ack(),
        batch_hint(),
        signer_set(),
        exec(),
        committee(),
    ]
}

fn header() -> Family {
    let header = *samples::block().header();
    let filler = *samples::filler().header();
    let first = genesis().header();
    let id = |header: &Header| ("block_id", header.id().to_string());
    Family::of::<Header>("Header")
        .accept("block", &header, &[id(&header)])
        .accept("filler", &filler, &[id(&filler)])
        .accept("genesis", &first, &[id(&first)])
        .reject_with("unknown option tag", 196, &[2])
        .reject_with("option without its value", 196, &[1])
}

fn block() -> Family {
    let block = samples::block();
    let filler = samples::filler();
    let header = block.header().to_bytes().len();
    let justify = block.justify().to_bytes().len();
    let citations = header + justify;
    let reveals = citations + 4 + 2 * 72;
    let swapped = |at: usize, size: usize| {
        let mut bytes = block.to_bytes();
        bytes[at + 4..at + 4 + 2 * size].rotate_left(size);
        bytes
    };
    let twice = {
        let mut bytes = block.to_bytes();
        bytes.copy_within(citations + 4..citations + 4 + 72, citations + 4 + 72);
        bytes
    };
    Family::of::<Block>("Block")
        .accept("block", &block, &[("block_id", block.id().to_string())])
        .accept("filler", &filler, &[("block_id", filler.id().to_string())])
        .reject("citations not ascending", swapped(citations, 72))
        .reject("reveals not ascending", swapped(reveals, 106))
        .reject("an author twice", twice)
        .reject_with("citation that the header does not name", citations + 4 + 33, &[0xaa])
        .reject_with("reveal that the header does not name", reveals + 4 + 12, &[0xaa])
        .reject_with("header of another parent", 2 + 32 + 24, &[0xaa])
        .reject_with("header of another era than its justification", 2 + 32, &[9])
        .reject_with("justification that the header does not name", header + 8, &[0x55])
        .reject_with("too few citations counted", citations, &[1])
        .reject_with("more citations counted than bytes", citations, &[0xff])
        .reject_with("too many citations counted", citations, &2049_u32.to_le_bytes())
        .reject_with("too many reveals counted", reveals, &1025_u32.to_le_bytes())
}

fn proposal() -> Family {
    let proposal = samples::proposal();
    let signed = proposal_signed_bytes(proposal.block.header());
    let tag = proposal.block.to_bytes().len();
    let without = SignedProposal { tc: None, ..proposal.clone() };
    Family::of::<SignedProposal>("SignedProposal")
        .accept("with a TC", &proposal, &[("signed_bytes", hex(&signed))])
        .accept("without a TC", &without, &[("signed_bytes", hex(&signed))])
        .reject_with("unknown option tag", tag, &[2])
        .reject_with("TC denied", tag, &[0])
}

fn vote() -> Family {
    let signed = samples::vote().signed_bytes(&CHAIN);
    let signature = samples::sign(3, &signed);
    let vote = SignedVote { vote: samples::vote(), signer: ValidatorIndex::new(3), signature };
    Family::of::<SignedVote>("SignedVote").accept("vote", &vote, &derived(&signed, 3))
}

fn commit_vote() -> Family {
    let signed = samples::commit_vote().signed_bytes(&CHAIN);
    let signature = samples::sign(3, &signed);
    let vote = samples::commit_vote();
    let vote = SignedCommitVote { vote, signer: ValidatorIndex::new(3), signature };
    Family::of::<SignedCommitVote>("SignedCommitVote").accept("vote", &vote, &derived(&signed, 3))
}

fn timeout() -> Family {
    let timeout = samples::signed_timeout();
    let signed = timeout.timeout.signed_bytes(&CHAIN);
    let tag = 24 + 2 + 64 + timeout.high_qc.to_bytes().len();
    let by_tc = SignedTimeout { entry_tc: Some(samples::tc()), ..timeout.clone() };
    Family::of::<SignedTimeout>("SignedTimeout")
        .accept("entered by QC", &timeout, &derived(&signed, 6))
        .accept("entered by TC", &by_tc, &derived(&signed, 6))
        .reject_with("unknown option tag", tag, &[7])
        .reject_with("more missing authors counted than bytes", tag + 1, &[2])
        .reject_with("too many missing authors counted", tag + 1, &[65])
}

fn qc() -> Family {
    let qc = samples::qc();
    let root = Qc::root(Era::new(2), samples::vote().block, 7);
    let identity = |qc: &Qc| ("identity", qc.identity().to_string());
    let signed = ("signed_bytes", hex(&samples::vote().signed_bytes(&CHAIN)));
    certificate_rejects(
        Family::of::<Qc>("Qc").accept("five of seven", &qc, &[identity(&qc), signed]).accept(
            "root of an era",
            &root,
            &[identity(&root)],
        ),
        48,
    )
}

fn commit_cert() -> Family {
    let signed = ("signed_bytes", hex(&samples::commit_vote().signed_bytes(&CHAIN)));
    certificate_rejects(
        Family::of::<CommitCert>("CommitCert").accept(
            "five of seven",
            &samples::commit_cert(),
            &[signed],
        ),
        80,
    )
}

fn tc() -> Family {
    let tc = samples::tc();
    let signed = tc.timeouts().map(|timeout| hex(&timeout.signed_bytes(&CHAIN)));
    let signed: Vec<_> = signed.collect();
    let family = Family::of::<Tc>("Tc").accept(
        "five of seven",
        &tc,
        &[("signed_bytes_of_each", signed.join(" "))],
    );
    certificate_rejects(family, 16)
}

/// What can be wrong with a bitmap and the signatures that follow it at `at`.
fn certificate_rejects(family: Family, at: usize) -> Family {
    let bitmap = family.good[0][at + 2];
    family
        .reject_with("unused bit of the bitmap", at + 2, &[bitmap | 0x80])
        .reject_with("a signer without signature", at + 2, &[bitmap | !bitmap & 0x7f])
        .reject_with("a signature without signer", at + 2, &[bitmap & 0x3f])
        .reject_with("committee too large", at, &1025_u16.to_le_bytes())
        .reject_with("bitmap of another committee", at, &9_u16.to_le_bytes())
}

fn certificate() -> Family {
    let filler = *samples::filler().header();
    let of_a_filler = Certificate::Filler(samples::commit_cert(), filler);
    Family::of::<Certificate>("Certificate")
        .accept("QC", &Certificate::Qc(samples::qc()), &[])
        .accept("TC", &Certificate::Tc(samples::tc()), &[])
        .accept("CommitCert", &Certificate::Commit(samples::commit_cert()), &[])
        .accept("of a filler", &of_a_filler, &[])
        .reject_with("tag 0", 0, &[0])
        .reject_with("tag 5", 0, &[5])
        .reject_with("tag of another kind", 0, &[3])
}

fn final_header() -> Family {
    let head = samples::final_header();
    let header = head.header.to_bytes().len();
    let filler = *samples::filler().header();
    let of_filler = FinalHeader { header: filler, ..head.clone() };
    let signed = head.commit.vote.signed_bytes(&CHAIN);
    let derived = [("block_id", head.header.id().to_string()), ("signed_bytes", hex(&signed))];
    let family = Family::of::<FinalHeader>("FinalHeader")
        .accept("five of seven", &head, &derived)
        .accept("of a filler, which no verifier accepts", &of_filler, &[])
        .reject_with("unknown option tag", header - 1, &[2])
        .reject("header alone", head.header.to_bytes())
        .reject("certificate alone", head.commit.to_bytes());
    certificate_rejects(family, header + 80)
}

fn batch() -> Family {
    let batch = samples::batch();
    let header = batch.header();
    let signed = header.signed_bytes(&CHAIN);
    let digest = ("digest", header.digest(&CHAIN).to_string());
    let records = header.to_bytes().len() + 64;
    let with_header = |change: fn(&mut BatchHeader)| {
        let mut changed = *header;
        change(&mut changed);
        let rest = &batch.to_bytes()[changed.to_bytes().len()..];
        [changed.to_bytes().as_slice(), rest].concat()
    };
    let empty = {
        let mut bytes = with_header(|header| {
            header.records_bytes = 4;
            header.newest_ms = TimestampMs::ZERO;
            header.records_hash = Context::List.hash(&[&[0; 4]]);
        });
        bytes.truncate(records);
        bytes.extend_from_slice(&[0; 4]);
        bytes
    };
    Family::of::<SignedBatch>("SignedBatch")
        .accept("two records", &batch, &[digest, ("signed_bytes", hex(&signed)), seed(4)])
        .reject("no records", empty)
        .reject("length of other records", with_header(|header| header.records_bytes += 1))
        .reject("hash of other records", with_header(|header| header.records_hash = Hash::ZERO))
        .reject(
            "time that is not the newest",
            with_header(|header| header.newest_ms = header.newest_ms.next()),
        )
        .reject_with("records that the header does not name", records + 4 + 12, &[0x7c])
        .reject_with("fewer records counted", records, &[1])
        .reject_with("too many records counted", records, &[0xff, 0xff, 0xff, 0xff])
        .reject_with("record too long", records + 4 + 8, &65_537_u32.to_le_bytes())
}

fn ticket() -> Family {
    let ticket = samples::ticket();
    let signed = ticket.ticket.signed_bytes(&CHAIN, ticket.era);
    Family::of::<SignedTicket>("SignedTicket").accept("ticket", &ticket, &derived(&signed, 5))
}

fn batch_ack() -> Family {
    let ack = BatchAck {
        author: public(1),
        lane_seq: LaneSeq::new(12),
        digest: samples::citation(1).digest,
    };
    Family::of::<BatchAck>("BatchAck").accept("acknowledgement", &ack, &[])
}

fn batch_hint() -> Family {
    let hint = BatchHint {
        view: View::new(44),
        author: public(1),
        lane_seq: LaneSeq::new(12),
        digest: samples::citation(1).digest,
    };
    Family::of::<BatchHint>("BatchHint").accept("hint", &hint, &[])
}

fn signer_set() -> Family {
    Family::of::<SignerSet>("SignerSet")
        .accept("five of seven", &signers(7, &[0, 2, 3, 5, 6]), &[])
        .accept("nobody of seven", &signers(7, &[]), &[])
        .accept("all of eight", &signers(8, &[0, 1, 2, 3, 4, 5, 6, 7]), &[])
        .accept("the last of nine", &signers(9, &[8]), &[])
        .accept("of nobody", &signers(0, &[]), &[])
        .accept("the last of the largest", &signers(COMMITTEE_SIZE_MAX, &[1023]), &[])
        .reject_with("unused bit", 2, &[0xed])
        .reject("unused bit of nine", vec![9, 0, 0, 2])
        .reject("bits of nobody", vec![0, 0, 0])
        .reject("bitmap too long", vec![7, 0, 1, 0])
        .reject("bitmap too short", vec![9, 0, 1])
        .reject("committee too large", [vec![1, 4], vec![0; 129]].concat())
}

fn exec() -> Family {
    let exec = samples::exec();
    let closing = ExecFields { next_committee: samples::committee(4).hash(), ..exec };
    let hash = |exec: &ExecFields| ("exec", exec.hash().to_string());
    Family::of::<ExecFields>("ExecFields").accept("in mid-era", &exec, &[hash(&exec)]).accept(
        "end of an era",
        &closing,
        &[hash(&closing)],
    )
}

fn committee() -> Family {
    let seven = samples::committee(7);
    let one = samples::committee(1);
    let hash = |committee: &Committee| ("hash", committee.hash().to_string());
    let entry = validator(0).to_bytes();
    let list = |validators: &[Vec<u8>]| {
        let count = u32::try_from(validators.len()).expect("few validators");
        [count.to_le_bytes().as_slice(), &validators.concat()].concat()
    };
    // Where the key of the first validator stands in its entry.
    let key_at = 4 + "validator-0".len() + 4 + "12D3KooWTest0".len();
    let with_key = |key: [u8; 32]| {
        let mut bytes = entry.clone();
        bytes[key_at..key_at + 32].copy_from_slice(&key);
        list(&[bytes])
    };
    let mut no_text = entry.clone();
    no_text[4] = 0xff;
    let long_name = [&65_u32.to_le_bytes(), [b'n'; 65].as_slice(), &entry[15..]].concat();
    Family::of::<Committee>("Committee")
        .accept("seven", &seven, &[hash(&seven)])
        .accept("one", &one, &[hash(&one)])
        .reject("nobody", list(&[]))
        .reject("one twice", list(&[entry.clone(), entry.clone()]))
        .reject("key of small order", with_key(neutral()))
        .reject("key that is no point", with_key([2; 32]))
        .reject("name that is no text", list(&[no_text]))
        .reject("name too long", list(&[long_name]))
        .reject("more validators counted than bytes", list(&[entry])[..4 + 40].to_vec())
        .reject_with("too many validators counted", 0, &1025_u32.to_le_bytes())
}

/// The neutral point of the curve, in its plain encoding.
fn neutral() -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = 1;
    bytes
}

fn derived(signed: &[u8], signer: u16) -> [(&'static str, String); 2] {
    [("signed_bytes", hex(signed)), seed(signer)]
}

/// The RFC 8032 seed of the key that signed, so that others can sign the same.
fn seed(signer: u16) -> (&'static str, String) {
    ("signer_seed", hex(&key(signer).to_bytes()))
}

fn genesis() -> Genesis {
    let kem_key = |index: u16| vec![u8::try_from(index).expect("few validators"); 1216];
    let validators = (0..2)
        .map(|index| bizra_types::committee::Validator {
            kem_key: kem_key(index),
            ..validator(index)
        })
        .collect();
    Genesis::new(
        "golden".to_owned(),
        TimestampMs::new(1_795_311_000_000),
        Committee::new(validators).expect("all keys differ"),
        ProtocolVersion::new(1),
        parameters(),
        vec![Policy { name: "policies.rego".to_owned(), rego: "package bizra\n".to_owned() }],
    )
}

/// Parameters that stay as they are when the defaults change.
const fn parameters() -> Parameters {
    Parameters {
        view_timer_ms_min: 300,
        view_timer_ms_max: 60_000,
        view_timer_round_trips: 8,
        idle_block_ms: 1_000,
        leader_silence_ms: 400,
        vrf_epoch_ms: 3_000,
        clock_ahead_ms: 500,
        block_bytes_max: 4_194_304,
        unacknowledged_bytes_max: 1_048_576,
        uncommitted_blocks_max: 64,
        withholding_views: 100,
        ticket_deadline_ms: 86_400_000,
        record_time_window_ms: 120_000,
    }
}
