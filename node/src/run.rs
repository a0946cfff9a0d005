//! A node from its configuration to its end.

use crate::api;
use crate::config::{Config, LogFormat};
use crate::driver::{
    self, Driver, DriverParts, PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN, wall_clock,
};
use crate::key_use;
use crate::metrics::Metrics;
use crate::patterns::{ASKS_MAX, Pool};
use crate::shared::{NodeStatus, SUBMISSIONS_MAX, Shared};
use crate::storage::Store;
use anyhow::{Context as _, bail};
use bizra_consensus::{Persist, Restored, SafetyRecord};
use bizra_gossip::{Hello, Limits, Network, NetworkConfig, PeerAddress, parse_peers};
use bizra_keys::ring::NEXT_CONSENSUS_FILE;
use bizra_keys::{ConsensusKey, KeyRing};
use bizra_ledger::policy::Policies;
use bizra_types::batch::SignedBatch;
use bizra_types::certificate::Qc;
use bizra_types::committee::Committee;
use bizra_types::crypto::Signature;
use bizra_types::genesis::Genesis;
use bizra_types::numbers::{Era, Height, ProtocolVersion, ValidatorIndex};
use bizra_types::verify::Chain;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, mpsc, watch};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, reload};

/// Committed blocks that a slow listener may fall behind.
const COMMITTED_BEHIND_MAX: usize = 4_096;
/// The status line appears so often, and free space is looked at.
const STATUS_LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Runs a node until SIGINT or SIGTERM.
///
/// # Errors
/// When it cannot start; says what is wrong, where, and what to do.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let log_level = start_log(config)?;
    for (key, value) in config.effective() {
        tracing::info!(key, value, "configuration");
    }
    // The other half of the processors is for the threads of driver and disk.
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.div_ceil(2))
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    runtime.block_on(serve(config, log_level))
}

async fn serve(config: &Config, log_level: api::LogLevel) -> anyhow::Result<()> {
    let genesis = read_genesis(&config.genesis)?;
    let keys = KeyRing::load(&config.keys_dir)
        .with_context(|| format!("the keys in {} cannot be used", config.keys_dir.display()))?;
    let _lock = key_use::lock(&config.keys_dir, key_use::LOCK_PATIENCE)?;
    let store = Store::open(&config.data_dir, &genesis)?;
    store.keep_free(config.storage.reserve_bytes());
    let mut restored = sign_own_batches(store.restored()?, &genesis, &keys, &store)?;
    let chain = restored.chain(&genesis).context("the data folder cannot be started from")?;
    let era = chain.newest();
    let committee = Arc::clone(&chain.era(era)?.committee);
    let me = place_in_committee(&committee, &keys);
    ensure_safety_records(&config.keys_dir, &genesis, &chain, &keys, &store, &mut restored)?;

    let network = network_config(config, &genesis, &chain, &keys, &store)?;
    let mut registry = prometheus_client::registry::Registry::default();
    let (network, events) = Network::start(network, &mut registry).await?;
    let metrics = Arc::new(Metrics::with_registry(registry));

    let (submissions, submitted) = mpsc::channel(SUBMISSIONS_MAX);
    let (patterns, pattern_asks) = mpsc::channel(ASKS_MAX);
    let (status_sender, status) = watch::channel(NodeStatus::new(era, committee, me));
    let (committed, _) = broadcast::channel(COMMITTED_BEHIND_MAX);
    let (ordered, _) = broadcast::channel(COMMITTED_BEHIND_MAX);
    let shared = Shared {
        genesis: Arc::clone(&genesis),
        store: store.clone(),
        submissions,
        patterns,
        status,
        committed: committed.clone(),
        ordered: ordered.clone(),
        metrics: Arc::clone(&metrics),
    };
    let (shut_down, shutdown) = watch::channel(false);
    let options = api::Options {
        listen: config.api.listen,
        admin_listen: config.admin.listen,
        admin_token: config.admin.token()?,
        limits: api::Limits::default(),
        note_key: keys.consensus.clone(),
    };
    let servers = api::start(options, shared.clone(), log_level, shutdown).await?;
    let known_patterns = Pool::restored(
        &genesis,
        store.clone(),
        shared.status.clone(),
        Arc::clone(&metrics),
        wall_clock(),
    )?;
    let driver = Driver::start(DriverParts {
        genesis,
        keys: Arc::new(keys),
        store,
        restored,
        network: network.clone(),
        events,
        submissions: submitted,
        patterns: known_patterns,
        pattern_asks,
        status: status_sender,
        committed,
        ordered,
        metrics,
    })
    .context("the data folder cannot be started from")?;
    tracing::info!(api = %config.api.listen, admin = %config.admin.listen, "running");

    watch_signals(config, &network, &shared).await?;
    tracing::info!("stopping");
    shut_down.send_replace(true);
    servers.stopped().await;
    network.shutdown().await;
    tokio::task::spawn_blocking(move || driver.stop()).await.context("the driver panicked")?;
    Ok(())
}

/// Returns on SIGINT or SIGTERM; SIGHUP reads the list of peers again.
async fn watch_signals(config: &Config, network: &Network, shared: &Shared) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut status_line = tokio::time::interval(STATUS_LINE_INTERVAL);
    let mut height = shared.store.head().height();
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => match read_peers(&config.peers) {
                Ok(peers) => {
                    tracing::info!(count = peers.len(), "read the list of peers again");
                    network.update_peers(peers);
                }
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "keeping the old list of peers");
                }
            },
            _ = status_line.tick() => {
                let status = shared.status.borrow().clone();
                let blocks = status.height.get().saturating_sub(height.get());
                height = status.height;
                tracing::info!(
                    height = %status.height,
                    view = %status.view,
                    blocks,
                    peers = status.peers,
                    mode = ?status.mode,
                    waits_for = status.waiting_for,
                    "status"
                );
            }
        }
    }
}

fn start_log(config: &Config) -> anyhow::Result<api::LogLevel> {
    let filter = EnvFilter::try_new(&config.log.level)
        .with_context(|| format!("log.level {:?} is no filter", config.log.level))?;
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Json => registry.with(layer.json()).init(),
        LogFormat::Text => registry.with(layer.with_ansi(false)).init(),
    }
    Ok(api::LogLevel::new(move |text| {
        let filter = EnvFilter::try_new(text).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    }))
}

fn read_genesis(path: &Path) -> anyhow::Result<Arc<Genesis>> {
    let text = std::fs::read(path)
        .with_context(|| format!("the genesis file {} cannot be read", path.display()))?;
    let genesis = Genesis::parse(&text).with_context(|| format!("in {}", path.display()))?;
    let policies = Policies::new(genesis.policies.iter().map(|policy| &*policy.rego));
    if let Some(error) = policies.errors().next() {
        bail!("in {}: {error}", path.display());
    }
    check_version(genesis.protocol_version).with_context(|| format!("in {}", path.display()))?;
    Ok(Arc::new(genesis))
}

/// That this program knows the version of the protocol that the chain begins with.
fn check_version(version: ProtocolVersion) -> anyhow::Result<()> {
    if !(PROTOCOL_VERSION_MIN..=PROTOCOL_VERSION_MAX).contains(&version) {
        bail!(
            "the chain follows version {version} of the protocol, but this program knows versions \
             {PROTOCOL_VERSION_MIN} to {PROTOCOL_VERSION_MAX}: install the release that knows it, \
             or check that this is the genesis file that the others have"
        );
    }
    Ok(())
}

fn read_peers(path: &Path) -> anyhow::Result<Vec<PeerAddress>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the list of peers {} cannot be read", path.display()))?;
    parse_peers(&text).with_context(|| format!("in {}", path.display()))
}

fn place_in_committee(committee: &Committee, keys: &KeyRing) -> Option<ValidatorIndex> {
    let place = driver::seat(committee, keys);
    if let Err(reason) = &place {
        tracing::warn!(
            key = %keys.consensus.public(),
            %reason,
            "this node has no seat in the committee: it signs nothing and serves what its folder \
             holds"
        );
    }
    place.ok()
}

/// Gives each key that never signed on this chain its first, empty safety record,
/// on disk before anything is signed; whether it has a seat yet or gets one in a
/// later era.
fn ensure_safety_records(
    keys_dir: &Path,
    genesis: &Genesis,
    chain: &Chain,
    keys: &KeyRing,
    store: &Store,
    restored: &mut Restored,
) -> anyhow::Result<()> {
    for key in keys.consensus_keys().map(ConsensusKey::public) {
        if restored.safety.iter().all(|(of, _)| *of != key) {
            let had_seat = chain.eras().any(|(_, it)| it.committee.index_of(&key).is_some());
            // An emptied data folder alone looks like that of a validator that never ran.
            let mark = key_use::found_mark(keys_dir, &genesis.chain_id(), &key)?;
            let is_used = mark.is_some() || store.head().height() > Height::ZERO;
            if had_seat && is_used {
                bail!(
                    "the data folder {} has no safety record of consensus key {key}, but {}: a \
                     validator that forgot what it signed must not sign again; restore the whole \
                     data folder, or rotate the consensus key. A new key has its record once this \
                     node was started with it, as {}, before a committee listed it",
                    store.dir().display(),
                    match mark {
                        Some(mark) => {
                            format!("{} says that it signs on this chain", mark.display())
                        }
                        None => "it has blocks".to_owned(),
                    },
                    keys_dir.join(NEXT_CONSENSUS_FILE).display(),
                );
            }
            if let Some(mark) = mark {
                tracing::warn!(
                    %key,
                    mark = %mark.display(),
                    "the data folder has no safety record of this consensus key, and it was in use \
                     on this chain: this node will not sign with it, should it get a seat"
                );
                continue;
            }
            let root = Qc::root(Era::new(1), genesis.header().id(), genesis.committee.size());
            let safety = vec![(key, SafetyRecord::new(root, None))];
            store.persist(&Persist { safety: safety.clone(), ..Persist::default() })?;
            restored.safety.extend(safety);
        }
        key_use::mark(keys_dir, &genesis.chain_id(), &key)?;
    }
    Ok(())
}

/// A batch of ours that was stored and not yet signed when the node stopped
/// gets the signature it would have got then: Ed25519 is deterministic.
fn sign_own_batches(
    mut restored: Restored,
    genesis: &Genesis,
    keys: &KeyRing,
    store: &Store,
) -> anyhow::Result<Restored> {
    for batch in &mut restored.batches {
        let header = *batch.header();
        if batch.signature() == Signature([0; 64])
            && let Some(key) = keys.consensus_of(&header.author)
        {
            let signature = key.sign(&header.signed_bytes(&genesis.chain_id()));
            let signed = SignedBatch::new(header, signature, Arc::clone(batch.records()))
                .context("a stored batch does not fit its header")?;
            store.store_signature(&signed)?;
            *batch = Arc::new(signed);
        }
    }
    Ok(restored)
}

fn network_config(
    config: &Config,
    genesis: &Genesis,
    chain: &Chain,
    keys: &KeyRing,
    store: &Store,
) -> anyhow::Result<NetworkConfig> {
    Ok(NetworkConfig {
        identity: keys.network.keypair().clone(),
        listen: vec![config.p2p.listen_tcp.clone(), config.p2p.listen_quic.clone()],
        peers: read_peers(&config.peers)?,
        validators: driver::stream_peers(chain, keys),
        followers_allowed: config.p2p.followers_allowed,
        hello: Hello {
            protocol_version_min: PROTOCOL_VERSION_MIN,
            protocol_version_max: PROTOCOL_VERSION_MAX,
            chain_id: genesis.chain_id(),
            era: chain.newest(),
            height: store.head().height(),
        },
        dial_first: config.p2p.dial_first,
        limits: Limits::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::{TestChain, genesis, validator_key};
    use tempfile::TempDir;

    /// A node's two folders, and its keys.
    struct Folders {
        data: TempDir,
        keys_dir: TempDir,
        keys: KeyRing,
    }

    impl Folders {
        fn new(keys: KeyRing) -> Self {
            let folder = || tempfile::tempdir().expect("a folder");
            Self { data: folder(), keys_dir: folder(), keys }
        }

        /// What a start does before anything is signed; says the keys with a record.
        fn start(&self, genesis: &Genesis) -> anyhow::Result<Vec<ConsensusKey>> {
            let store = Store::open(self.data.path(), genesis)?;
            let mut restored = store.restored()?;
            let chain = restored.chain(genesis)?;
            let keys_dir = self.keys_dir.path();
            ensure_safety_records(keys_dir, genesis, &chain, &self.keys, &store, &mut restored)?;
            let on_disk = store.restored()?.safety;
            let has_record = |key: &&ConsensusKey| on_disk.iter().any(|it| it.0 == key.public());
            Ok(self.keys.consensus_keys().filter(has_record).cloned().collect())
        }

        fn grow(&self, chain: &mut TestChain) {
            let store = Store::open(self.data.path(), &chain.genesis).expect("it opens");
            chain.grow(&store, &[]);
        }
    }

    fn publics(keys: &[ConsensusKey]) -> Vec<bizra_types::crypto::PublicKey> {
        keys.iter().map(ConsensusKey::public).collect()
    }

    #[test]
    fn a_next_key_has_its_record_before_its_era() {
        let (member, next) = (validator_key(0), validator_key(100));
        let mut chain = TestChain::new("a");
        let keys = KeyRing { consensus: member.clone(), ..KeyRing::generate() };
        let mut folders = Folders::new(keys.clone());
        let recorded = folders.start(&chain.genesis).expect("a first start");
        assert_eq!(publics(&recorded), [member.public()]);
        folders.grow(&mut chain);

        folders.keys = KeyRing { next_consensus: Some(next.clone()), ..keys.clone() };
        let recorded = folders.start(&chain.genesis).expect("the next key has no seat yet");
        assert_eq!(publics(&recorded), [member.public(), next.public()]);

        // Once it took over.
        folders.keys = KeyRing { consensus: next.clone(), ..keys };
        let recorded = folders.start(&chain.genesis).expect("its record is there");
        assert_eq!(publics(&recorded), [next.public()]);

        // Its mark tells that it signed, though no committee that this folder knows lists it.
        folders.data = tempfile::tempdir().expect("a folder");
        let recorded = folders.start(&chain.genesis).expect("it may follow");
        assert!(recorded.is_empty());
    }

    #[test]
    fn a_key_with_a_seat_and_no_record_is_refused() {
        let chain = TestChain::new("a");
        let keys = KeyRing { consensus: validator_key(0), ..KeyRing::generate() };
        let mut folders = Folders::new(keys.clone());
        folders.start(&chain.genesis).expect("a first start");
        folders.data = tempfile::tempdir().expect("a folder");
        let error = folders.start(&chain.genesis).expect_err("emptied").to_string();
        assert!(error.contains("says that it signs on this chain"), "{error}");

        // Blocks, but not what the key signed: whether it is in use or is the next.
        let next = KeyRing {
            consensus: validator_key(100),
            next_consensus: Some(validator_key(0)),
            ..keys.clone()
        };
        for keys in [keys, next] {
            let folders = Folders::new(keys);
            folders.grow(&mut chain.clone());
            let error = folders.start(&chain.genesis).expect_err("copied").to_string();
            assert!(error.contains("it has blocks"), "{error}");
        }
    }

    #[test]
    fn a_chain_of_an_unknown_version_is_refused() {
        check_version(genesis("a").protocol_version).expect("it is known");
        for version in [0, 2] {
            let error = check_version(ProtocolVersion::new(version)).expect_err("unknown");
            let error = error.to_string();
            assert!(error.contains(&format!("follows version {version} ")), "{error}");
        }
    }
}
