//! Building and signing records.

use anyhow::{Context as _, Result, bail};
use bizra_keys::{ConsensusKey, Key, SenderKey};
use bizra_ledger::envelope::Unsigned;
use bizra_ledger::forms::Uuid;
use bizra_types::crypto::{PublicKey, Signature};
use bizra_types::hash::{RecordDigest, hex};
use bizra_types::json::{Members, Value, canonical};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;

/// A signed record, ready to be submitted.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) digest: RecordDigest,
    /// Its canonical form.
    pub(crate) bytes: Arc<[u8]>,
}

/// A key that signs records.
pub(crate) enum SigningKey {
    /// An application's.
    Sender(SenderKey),
    /// A validator's: what it sends as a system agent has the key of its votes.
    Validator(ConsensusKey),
}

/// Who signs, and what every record of theirs has in common.
pub(crate) struct Sender {
    pub(crate) key: SigningKey,
    pub(crate) agent_type: String,
    pub(crate) agent_id: String,
    /// 64 hex digits.
    pub(crate) policy_hash: String,
}

impl SigningKey {
    /// Reads the key of an application or of a validator.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        match Key::load(path)? {
            Key::Sender(key) => Ok(Self::Sender(key)),
            Key::Consensus(key) => Ok(Self::Validator(key)),
            other => bail!(
                "{}: a {} key signs no records: give one of kind sender, or the consensus key of \
                 a validator",
                path.display(),
                other.kind()
            ),
        }
    }

    fn public(&self) -> PublicKey {
        match self {
            Self::Sender(key) => key.public(),
            Self::Validator(key) => key.public(),
        }
    }

    fn sign(&self, message: &[u8]) -> Signature {
        match self {
            Self::Sender(key) => key.sign(message),
            Self::Validator(key) => key.sign(message),
        }
    }
}

impl Sender {
    /// A personal agent.
    pub(crate) fn new(key: SenderKey, agent_id: &str, policy_hash: &str) -> Self {
        Self {
            key: SigningKey::Sender(key),
            agent_type: "PAT".to_owned(),
            agent_id: agent_id.to_owned(),
            policy_hash: policy_hash.to_owned(),
        }
    }

    /// Whose key it is: a validator as a system agent, anybody else as a personal one.
    pub(crate) fn of(key: SigningKey, policy_hash: &str) -> Self {
        let agent_type = match key {
            SigningKey::Sender(_) => "PAT",
            SigningKey::Validator(_) => "SAT",
        };
        Self {
            key,
            agent_type: agent_type.to_owned(),
            agent_id: "bizra".to_owned(),
            policy_hash: policy_hash.to_owned(),
        }
    }

    /// Completes a record with whatever of an envelope it lacks, and signs it.
    /// Members that are there already stay, so a wrong one is refused, not repaired.
    pub(crate) fn sign(&self, mut record: Members) -> Result<Signed> {
        fill(&mut record, "version", || "1.0.0".into());
        fill(&mut record, "envelope_id", || uuid().as_str().into());
        fill(&mut record, "timestamp", || now().as_str().into());
        fill(&mut record, "nonce", || hex(&random::<32>()).as_str().into());
        fill(&mut record, "sender", || {
            object([
                ("agent_type", self.agent_type.as_str().into()),
                ("agent_id", self.agent_id.as_str().into()),
                ("public_key", self.key.public().to_string().as_str().into()),
            ])
        });
        if let Some(Value::Object(payload)) = record.get("payload") {
            let mut payload = payload.clone();
            fill(&mut payload, "policy_hash", || self.policy_hash.as_str().into());
            record.insert("payload", Value::Object(payload));
        }
        let unsigned = Unsigned::parse(&canonical(&Value::Object(record)))?;
        let digest = unsigned.digest();
        let signature = self.key.sign(digest.as_bytes());
        Ok(Signed { digest, bytes: unsigned.with_signature(signature)? })
    }
}

fn fill(record: &mut Members, name: &str, value: impl FnOnce() -> Value) {
    if record.get(name).is_none() {
        record.insert(name, value());
    }
}

/// An object of distinct members.
pub(crate) fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let members = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Value::Object(Members::new(members).expect("the names differ"))
}

/// A new random UUID.
pub(crate) fn uuid() -> String {
    let mut bytes = random::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Uuid(bytes).to_string()
}

/// Bytes from the operating system's randomness.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// The time by this machine's clock, with three fraction digits always, so that
/// every envelope of a load has the same size.
pub(crate) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    timestamp(i64::try_from(since.as_millis()).expect("the clock is before the year 292 million"))
        .expect("the clock is before the year 10000")
}

fn timestamp(ms: i64) -> Result<String> {
    let time = OffsetDateTime::from_unix_timestamp(ms.div_euclid(1_000))
        .context("the time is out of range")?;
    Ok(format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        ms.rem_euclid(1_000),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bizra_ledger::envelope::Envelope;
    use bizra_ledger::forms::parse_timestamp;
    use bizra_types::json::{Limits, parse};

    fn sender() -> Sender {
        Sender::new(SenderKey::from_seed(&[7; 32]), "unit", &"0".repeat(64))
    }

    fn unsigned() -> Members {
        match super::super::load::inference() {
            Value::Object(members) => members,
            other => panic!("{other:?} is no record"),
        }
    }

    #[test]
    fn a_filled_in_record_is_a_good_envelope() {
        let signed = sender().sign(unsigned()).expect("signed");
        let envelope = Envelope::parse_canonical(&signed.bytes).expect("canonical");
        assert_eq!(envelope.digest, signed.digest);
        assert!(envelope.signature_check().is_good());
        let again = sender().sign(unsigned()).expect("signed");
        assert_ne!(again.digest, signed.digest, "id and nonce are new each time");
    }

    #[test]
    fn what_is_there_is_kept_or_refused() {
        let mut record = unsigned();
        record.insert("nonce", "ab".repeat(32).as_str().into());
        let signed = sender().sign(record.clone()).expect("signed");
        let Value::Object(read) = parse(&signed.bytes, Limits::ENVELOPE).expect("JSON") else {
            panic!("an envelope is an object");
        };
        assert_eq!(read.get("nonce"), record.get("nonce"));
        record.insert("version", "2.0.0".into());
        let error = sender().sign(record).expect_err("no such version");
        assert!(error.to_string().contains("version"), "{error}");
    }

    #[test]
    fn timestamps_are_read_back() {
        for ms in [0, 999, 951_868_799_500, 1_795_311_963_123] {
            let text = timestamp(ms).expect("in range");
            let read = parse_timestamp(&text).expect("a timestamp");
            assert_eq!(i64::try_from(read.get()).expect("small"), ms, "{text}");
        }
    }
}
