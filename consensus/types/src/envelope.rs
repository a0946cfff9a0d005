//! What makes a signed envelope a record, whatever it says: its digest and its
//! signature.
//!
//! The digest is BLAKE3(`bizra-pci-v1:` ‖ RFC 8785 form without `signature`),
//! and the signature is Ed25519 over the raw 32 bytes of the digest. The
//! meaning of the other members is the ledger's business.

use crate::crypto::{PublicKey, Signature, SignatureCheck};
use crate::hash::{ChainId, RecordDigest};
use crate::json::{Document, JsonError, Limits, Member, SchemaError, canonical};
use alloc::string::ToString;

/// What is hashed before the canonical bytes.
pub const DIGEST_PREFIX: &[u8] = b"bizra-pci-v1:";

/// What the signature covers, in the order in which an envelope lists it.
pub const SIGNED_FIELDS: [&str; 7] =
    ["version", "envelope_id", "timestamp", "nonce", "sender", "payload", "metadata"];

/// An envelope's identity and signature, the signature checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedEnvelope {
    /// Identity of the record.
    pub digest: RecordDigest,
    /// Who signed it.
    pub public_key: PublicKey,
    /// Signature of the digest.
    pub signature: Signature,
    /// The one chain that may take it, if it names one.
    pub chain_id: Option<ChainId>,
}

/// Why bytes are no signed envelope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not JSON, or not strict JSON.
    #[error("the envelope is not strict JSON: {0}")]
    Json(#[from] JsonError),
    /// JSON, but not in the one canonical spelling.
    #[error("the envelope is not in canonical form (RFC 8785) from byte {0} on")]
    NotCanonical(usize),
    /// A member that matters here is missing or of the wrong form.
    #[error("the envelope: {0}")]
    Schema(#[from] SchemaError),
    /// A key that verifies what nobody signed.
    #[error("the envelope's key {0:?} is of small order")]
    SmallOrder(PublicKey),
    /// The signature is not one of the digest by the sender's key.
    #[error("the envelope's signature does not verify")]
    Signature,
}

impl SignedEnvelope {
    /// Reads canonical bytes and checks the signature. Members that play no
    /// part in that are not judged.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn verify(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let document = Document::parse(bytes, Limits::ENVELOPE)?;
        let mut object = document.object()?;
        if !document.is_canonical() {
            let canonical = canonical(&document.root().to_value());
            let same = canonical.iter().zip(bytes).take_while(|(left, right)| left == right);
            return Err(EnvelopeError::NotCanonical(same.count()));
        }
        let digest = record_digest(&document.around("signature"));
        let public_key = PublicKey(object.take("sender")?.object()?.take("public_key")?.hex()?);
        let chain_id = object
            .take("metadata")?
            .object()?
            .take_optional("chain_id")
            .map(|member| member.hex())
            .transpose()?
            .map(ChainId);
        let signature = read_signature(&object.take("signature")?)?;
        if public_key.is_small_order() {
            return Err(EnvelopeError::SmallOrder(public_key));
        }
        let check = SignatureCheck { key: public_key, message: digest.as_bytes(), signature };
        if !check.is_good() {
            return Err(EnvelopeError::Signature);
        }
        Ok(Self { digest, public_key, signature, chain_id })
    }
}

/// The digest of canonical bytes without `signature`, given in pieces.
#[must_use]
pub fn record_digest(pieces: &[&[u8]]) -> RecordDigest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(DIGEST_PREFIX);
    for piece in pieces {
        hasher.update(piece);
    }
    RecordDigest(*hasher.finalize().as_bytes())
}

/// Reads the member `signature` of an envelope.
///
/// # Errors
/// When it is not exactly an Ed25519 signature over [`SIGNED_FIELDS`].
pub fn read_signature(member: &Member<'_>) -> Result<Signature, SchemaError> {
    let mut signature = member.object()?;
    signature.take("algorithm")?.literal("ed25519")?;
    let value = Signature(signature.take("value")?.hex()?);
    let fields_member = signature.take("signed_fields")?;
    let fields = fields_member.items(SIGNED_FIELDS.len())?;
    if fields.len() != SIGNED_FIELDS.len() {
        let names = SIGNED_FIELDS.join(", ");
        return Err(fields_member.error("must list ".to_string() + &names));
    }
    for (field, name) in fields.iter().zip(SIGNED_FIELDS) {
        field.literal(name)?;
    }
    signature.finish()?;
    Ok(value)
}
