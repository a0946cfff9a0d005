//! One type per role. Every key is the image of a 32-byte seed, and the seed
//! is what the key file stores.

use crate::file::{self, KeyFileError};
use crate::sealing::{self, SealError};
use bizra_types::crypto::{PublicKey, Signature};
use bizra_types::hash::{hex, hex_array};
use bizra_types::vrf::{self, VrfInput};
use ed25519_dalek::{Signer as _, SigningKey};
use hpke::kem::XWing;
use hpke::{Deserializable as _, Kem as _, Serializable as _};
use libp2p_identity::{Keypair, PeerId};
use merlin::Transcript;
use schnorrkel::context::attach_rng;
use schnorrkel::{ExpansionMode, MiniSecretKey};
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use zeroize::Zeroizing;

/// Bytes of a hybrid X25519 + ML-KEM-768 (X-Wing) public key.
pub const KEM_PUBLIC_BYTES: usize = 1216;

/// What a key is for. A key file holds one kind, and no key serves two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// Identity of a node towards its peers (libp2p, Ed25519).
    Network,
    /// A validator's votes, proposals, batches and tickets (Ed25519).
    Consensus,
    /// A validator's share in the leader schedule (Ristretto VRF).
    Vrf,
    /// What others seal backups to (X25519 + ML-KEM-768).
    Kem,
    /// An application's signature under its records (Ed25519).
    Sender,
}

/// Text that names no kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of key: expected one of network, consensus, vrf, kem, sender")]
pub struct UnknownKind;

/// A node's identity towards its peers.
#[derive(Clone)]
pub struct NetworkKey {
    seed: Zeroizing<[u8; 32]>,
    keypair: Keypair,
}

/// The key under a validator's votes.
#[derive(Clone)]
pub struct ConsensusKey(SigningKey);

/// The key under an application's records.
#[derive(Clone)]
pub struct SenderKey(SigningKey);

/// A validator's key to the randomness of the leader schedule.
#[derive(Clone)]
pub struct VrfKey {
    seed: Zeroizing<[u8; 32]>,
    keypair: schnorrkel::Keypair,
}

/// The key that opens what was sealed to a validator or an operator.
#[derive(Clone)]
pub struct KemKey {
    seed: Zeroizing<[u8; 32]>,
    public: KemPublicKey,
}

/// The public half of a [`KemKey`]; a valid X-Wing encapsulation key.
#[derive(Clone, PartialEq, Eq)]
pub struct KemPublicKey(Box<[u8; KEM_PUBLIC_BYTES]>);

/// A key of any kind, as a file may hold it.
#[derive(Clone, Debug)]
pub enum Key {
    /// A [`NetworkKey`].
    Network(NetworkKey),
    /// A [`ConsensusKey`].
    Consensus(ConsensusKey),
    /// A [`VrfKey`].
    Vrf(VrfKey),
    /// A [`KemKey`].
    Kem(KemKey),
    /// A [`SenderKey`].
    Sender(SenderKey),
}

impl KeyKind {
    /// All kinds, in the order in which they are listed to people.
    pub const ALL: [Self; 5] = [Self::Network, Self::Consensus, Self::Vrf, Self::Kem, Self::Sender];

    /// The word for it in key files and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Consensus => "consensus",
            Self::Vrf => "vrf",
            Self::Kem => "kem",
            Self::Sender => "sender",
        }
    }
}

impl FromStr for KeyKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownKind)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl NetworkKey {
    /// The key that this seed makes, always the same.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let seed = Zeroizing::new(*seed);
        let keypair = Keypair::ed25519_from_bytes(Zeroizing::new(*seed).as_mut_slice())
            .expect("every 32 bytes are an ed25519 seed");
        Self { seed, keypair }
    }

    /// The name under which peers know the node.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.keypair.public().to_peer_id()
    }

    /// The key as libp2p's swarm takes it.
    #[must_use]
    pub const fn keypair(&self) -> &Keypair {
        &self.keypair
    }

    /// The Ed25519 key inside the peer id.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let public = self.keypair.public().try_into_ed25519();
        PublicKey(public.expect("the pair was made as ed25519").to_bytes())
    }

    fn seed(&self) -> Zeroizing<[u8; 32]> {
        self.seed.clone()
    }

    fn public_text(&self) -> String {
        self.peer_id().to_base58()
    }
}

macro_rules! ed25519_key {
    ($name:ident) => {
        impl $name {
            /// The key that this seed makes, always the same (RFC 8032).
            #[must_use]
            pub fn from_seed(seed: &[u8; 32]) -> Self {
                Self(SigningKey::from_bytes(seed))
            }

            /// The public half.
            #[must_use]
            pub fn public(&self) -> PublicKey {
                PublicKey(self.0.verifying_key().to_bytes())
            }

            /// Signs the message as it stands. Deterministic: the same message
            /// always gets the same bytes, so that a message stored before a
            /// crash is signed again without contradicting the first signature.
            #[must_use]
            pub fn sign(&self, message: &[u8]) -> Signature {
                Signature(self.0.sign(message).to_bytes())
            }

            fn seed(&self) -> Zeroizing<[u8; 32]> {
                Zeroizing::new(self.0.to_bytes())
            }

            fn public_text(&self) -> String {
                self.public().to_string()
            }
        }
    };
}

ed25519_key!(ConsensusKey);
ed25519_key!(SenderKey);

impl VrfKey {
    /// The key that this seed makes, always the same.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        // Uniform expansion: the other mode hashes as Ed25519 does, and a seed
        // that strayed into both roles would then share its scalar.
        let keypair = MiniSecretKey::from_bytes(seed)
            .expect("every 32 bytes are a seed")
            .expand_to_keypair(ExpansionMode::Uniform);
        Self { seed: Zeroizing::new(*seed), keypair }
    }

    /// The public half: a compressed Ristretto point.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.keypair.public.to_bytes()
    }

    /// The output for an input and the proof that it is the only one.
    ///
    /// Deterministic, proof included, so that a restart reveals the same bytes.
    #[must_use]
    pub fn evaluate(&self, input: &VrfInput) -> ([u8; 32], [u8; 64]) {
        // The transcript of the proof is schnorrkel's own; only where its
        // nonce comes from is ours.
        let proof_transcript = attach_rng(Transcript::new(b"VRF"), NoRandomness);
        let (pair, proof, _) =
            self.keypair.vrf_sign_extra(vrf::transcript(input), proof_transcript);
        (pair.to_preout().to_bytes(), proof.to_bytes())
    }

    fn seed(&self) -> Zeroizing<[u8; 32]> {
        self.seed.clone()
    }

    fn public_text(&self) -> String {
        hex(&self.public())
    }
}

/// Zeros where schnorrkel mixes randomness into a proof's nonce. The nonce is
/// still secret and never used twice: it is derived from the key's nonce seed
/// and from the input's point, as RFC 8032 derives Ed25519's.
struct NoRandomness;

impl rand_core::RngCore for NoRandomness {
    fn next_u32(&mut self) -> u32 {
        0
    }

    fn next_u64(&mut self) -> u64 {
        0
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        bytes.fill(0);
        Ok(())
    }
}

impl rand_core::CryptoRng for NoRandomness {}

impl KemKey {
    /// The key that this seed makes, always the same: the seed is the X-Wing
    /// decapsulation key itself.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let seed = Zeroizing::new(*seed);
        let public = XWing::sk_to_pk(&private_key(&seed)).to_bytes();
        let public = Box::new(public.as_slice().try_into().expect("the size is X-Wing's"));
        Self { seed, public: KemPublicKey(public) }
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &KemPublicKey {
        &self.public
    }

    /// Opens what [`crate::seal`] sealed to [`KemKey::public`].
    ///
    /// # Errors
    /// When the bytes are not a sealed file, were sealed to another key, or
    /// have been changed since.
    pub fn unseal(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        sealing::unseal(&private_key(&self.seed), &self.public, sealed)
    }

    fn seed(&self) -> Zeroizing<[u8; 32]> {
        self.seed.clone()
    }

    fn public_text(&self) -> String {
        self.public.to_string()
    }
}

fn private_key(seed: &[u8; 32]) -> <XWing as hpke::Kem>::PrivateKey {
    <XWing as hpke::Kem>::PrivateKey::from_bytes(seed).expect("every 32 bytes are a seed")
}

impl KemPublicKey {
    /// Takes bytes that are a valid encapsulation key; `None` for others.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        <XWing as hpke::Kem>::PublicKey::from_bytes(bytes).ok()?;
        bytes.try_into().ok().map(|bytes| Self(Box::new(bytes)))
    }

    /// Reads 2,432 lower-case hex digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        Self::from_bytes(&hex_array::<KEM_PUBLIC_BYTES>(text)?)
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEM_PUBLIC_BYTES] {
        &self.0
    }

    pub(crate) fn to_hpke(&self) -> <XWing as hpke::Kem>::PublicKey {
        <XWing as hpke::Kem>::PublicKey::from_bytes(self.as_bytes())
            .expect("checked when the value was made")
    }
}

impl fmt::Display for KemPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(self.as_bytes()))
    }
}

impl fmt::Debug for KemPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0[..4]))
    }
}

macro_rules! key_kinds {
    ($($name:ident = $variant:ident),* $(,)?) => {
        $(
            impl $name {
                /// What the key is for.
                pub const KIND: KeyKind = KeyKind::$variant;

                /// A new key from the operating system's randomness.
                ///
                /// # Panics
                /// When the operating system has no randomness to give.
                #[must_use]
                pub fn generate() -> Self {
                    Self::from_seed(&random_seed())
                }

                /// Reads the key from its file.
                ///
                /// # Errors
                /// When the file cannot be read, others than its owner could
                /// read or change it, it is malformed, or it holds another kind.
                pub fn load(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
                    let path = path.as_ref();
                    match Key::load(path)? {
                        Key::$variant(key) => Ok(key),
                        other => Err(KeyFileError::WrongKind {
                            path: path.to_owned(),
                            expected: Self::KIND,
                            found: other.kind(),
                        }),
                    }
                }

                /// Writes the key to a new file of mode 0600. Durable when it returns.
                ///
                /// # Errors
                /// When the file exists already or cannot be written; then
                /// nothing has been left behind.
                pub fn write_new(&self, path: impl AsRef<Path>) -> Result<(), KeyFileError> {
                    file::write_key(path.as_ref(), Self::KIND, &self.public_text(), &self.seed())
                }
            }

            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.debug_tuple(stringify!($name)).field(&self.public()).finish()
                }
            }

            impl From<$name> for Key {
                fn from(key: $name) -> Self {
                    Self::$variant(key)
                }
            }
        )*

        impl Key {
            /// The key of this kind that the seed makes.
            #[must_use]
            pub fn from_seed(kind: KeyKind, seed: &[u8; 32]) -> Self {
                match kind {
                    $(KeyKind::$variant => Self::$variant($name::from_seed(seed)),)*
                }
            }

            /// What the key is for.
            #[must_use]
            pub const fn kind(&self) -> KeyKind {
                match self {
                    $(Self::$variant(_) => KeyKind::$variant,)*
                }
            }

            /// The public part as key files and people write it: a peer id for
            /// a network key, lower-case hex for the others.
            #[must_use]
            pub fn public_text(&self) -> String {
                match self {
                    $(Self::$variant(key) => key.public_text(),)*
                }
            }

            /// Writes the key to a new file of mode 0600. Durable when it returns.
            ///
            /// # Errors
            /// When the file exists already or cannot be written; then
            /// nothing has been left behind.
            pub fn write_new(&self, path: impl AsRef<Path>) -> Result<(), KeyFileError> {
                match self {
                    $(Self::$variant(key) => key.write_new(path),)*
                }
            }

            pub(crate) fn seed(&self) -> Zeroizing<[u8; 32]> {
                match self {
                    $(Self::$variant(key) => key.seed(),)*
                }
            }
        }
    };
}

key_kinds!(
    NetworkKey = Network,
    ConsensusKey = Consensus,
    VrfKey = Vrf,
    KemKey = Kem,
    SenderKey = Sender,
);

impl Key {
    /// A new key from the operating system's randomness.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    #[must_use]
    pub fn generate(kind: KeyKind) -> Self {
        Self::from_seed(kind, &random_seed())
    }

    /// Reads a key of any kind from its file.
    ///
    /// # Errors
    /// When the file cannot be read, others than its owner could read or
    /// change it, or it is malformed.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        file::read_key(path.as_ref())
    }

    /// The first 8 hex digits of the public key's bytes: enough to tell an
    /// operator's files apart. A peer id would not do, all begin alike.
    #[must_use]
    pub fn short_id(&self) -> String {
        match self {
            Self::Network(key) => hex(&key.public().0[..4]),
            Self::Consensus(key) => hex(&key.public().0[..4]),
            Self::Vrf(key) => hex(&key.public()[..4]),
            Self::Kem(key) => hex(&key.public().as_bytes()[..4]),
            Self::Sender(key) => hex(&key.public().0[..4]),
        }
    }
}

fn random_seed() -> Zeroizing<[u8; 32]> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).expect("the operating system gives randomness");
    seed
}
