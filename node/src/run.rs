//! A node from its configuration to its end.

use crate::api;
use crate::config::{Config, LogFormat};
use crate::driver::{Driver, DriverParts};
use crate::key_use;
use crate::metrics::Metrics;
use crate::shared::{NodeStatus, SUBMISSIONS_MAX, Shared};
use crate::storage::Store;
use anyhow::{Context as _, bail};
use bizra_consensus::{Persist, Restored, SafetyRecord};
use bizra_gossip::{Hello, Limits, Network, NetworkConfig, PeerAddress, parse_peers};
use bizra_keys::KeyRing;
use bizra_ledger::policy::Policies;
use bizra_types::batch::SignedBatch;
use bizra_types::certificate::Qc;
use bizra_types::committee::Committee;
use bizra_types::crypto::Signature;
use bizra_types::genesis::Genesis;
use bizra_types::numbers::{Era, Height, ValidatorIndex};
use bizra_types::verify::Chain;
use std::collections::BTreeSet;
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
    let _lock = key_use::lock(&config.keys_dir)?;
    let store = Store::open(&config.data_dir, &genesis)?;
    store.keep_free(config.storage.reserve_bytes());
    let mut restored = sign_own_batches(store.restored()?, &genesis, &keys, &store)?;
    let chain = restored.chain(&genesis).context("the data folder cannot be started from")?;
    let committee = Arc::clone(&chain.era(chain.newest())?.committee);
    let me = place_in_committee(&committee, &keys)?;
    ensure_safety_record(config, &genesis, &chain, &keys, &store, &mut restored)?;

    let network = network_config(config, &genesis, &chain, &keys, &store)?;
    let mut registry = prometheus_client::registry::Registry::default();
    let (network, events) = Network::start(network, &mut registry).await?;
    let metrics = Arc::new(Metrics::with_registry(registry));

    let (submissions, submitted) = mpsc::channel(SUBMISSIONS_MAX);
    let (status_sender, status) = watch::channel(NodeStatus::new(committee, me));
    let (committed, _) = broadcast::channel(COMMITTED_BEHIND_MAX);
    let (ordered, _) = broadcast::channel(COMMITTED_BEHIND_MAX);
    let shared = Shared {
        genesis: Arc::clone(&genesis),
        store: store.clone(),
        submissions,
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
    let driver = Driver::start(DriverParts {
        genesis,
        keys: Arc::new(keys),
        store,
        restored,
        network: network.clone(),
        events,
        submissions: submitted,
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
                shared.metrics.disk_free(free_bytes(&config.data_dir));
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
    Ok(Arc::new(genesis))
}

fn read_peers(path: &Path) -> anyhow::Result<Vec<PeerAddress>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the list of peers {} cannot be read", path.display()))?;
    parse_peers(&text).with_context(|| format!("in {}", path.display()))
}

fn place_in_committee(
    committee: &Committee,
    keys: &KeyRing,
) -> anyhow::Result<Option<ValidatorIndex>> {
    let key = keys.consensus.public();
    let Some(me) = committee.index_of(&key) else {
        tracing::warn!(
            %key,
            "this node has no seat in the committee: it signs nothing and serves what its folder \
             holds"
        );
        return Ok(None);
    };
    let listed = committee.get(me).expect("found above");
    let peer = keys.network.peer_id().to_string();
    if listed.peer_id != peer {
        bail!(
            "the committee lists validator {} with peer id {}, but the network key here is that \
             of {peer}: use the network key that belongs to the consensus key",
            listed.name,
            listed.peer_id
        );
    }
    if listed.vrf_key != keys.vrf.public() {
        bail!(
            "the committee lists validator {} with another VRF key than the one here: use the VRF \
             key that belongs to the consensus key",
            listed.name
        );
    }
    Ok(Some(me))
}

/// Gives a key that never signed on this chain its first, empty safety record,
/// on disk before anything is signed; whether it has a seat yet or gets one in a
/// later era.
fn ensure_safety_record(
    config: &Config,
    genesis: &Genesis,
    chain: &Chain,
    keys: &KeyRing,
    store: &Store,
    restored: &mut Restored,
) -> anyhow::Result<()> {
    let key = keys.consensus.public();
    if restored.safety.iter().all(|(of, _)| *of != key) {
        let had_seat = chain.eras().any(|(_, it)| it.committee.index_of(&key).is_some());
        // An emptied data folder alone looks like that of a validator that never ran.
        let mark = key_use::found_mark(&config.keys_dir, &genesis.chain_id())?;
        let is_used = mark.is_some() || store.head().height() > Height::ZERO;
        if had_seat && is_used {
            bail!(
                "the data folder {} has no safety record, but {}: a validator that forgot what it \
                 signed must not sign again; restore the whole data folder, or rotate the \
                 consensus key",
                config.data_dir.display(),
                match mark {
                    Some(mark) => {
                        format!("{} says that these keys sign on this chain", mark.display())
                    }
                    None => "it has blocks".to_owned(),
                }
            );
        }
        if let Some(mark) = mark {
            tracing::warn!(
                mark = %mark.display(),
                "the data folder has no safety record, and its keys were in use on this chain: \
                 this node will not sign with them, should they get a seat"
            );
            return Ok(());
        }
        let root = Qc::root(Era::new(1), genesis.header().id(), genesis.committee.size());
        let safety = vec![(key, SafetyRecord::new(root, None))];
        store.persist(&Persist { safety: safety.clone(), ..Persist::default() })?;
        restored.safety.extend(safety);
    }
    key_use::mark(&config.keys_dir, &genesis.chain_id())
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
        if batch.signature() == Signature([0; 64]) && header.author == keys.consensus.public() {
            let signature = keys.consensus.sign(&header.signed_bytes(&genesis.chain_id()));
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
    let era = chain.newest();
    let committee = &chain.era(era)?.committee;
    let validators: Result<BTreeSet<_>, _> =
        committee.iter().map(|(_, validator)| validator.peer_id.parse()).collect();
    Ok(NetworkConfig {
        identity: keys.network.keypair().clone(),
        listen: vec![config.p2p.listen_tcp.clone(), config.p2p.listen_quic.clone()],
        peers: read_peers(&config.peers)?,
        validators: validators.context("the committee has a peer id that is none")?,
        followers_allowed: config.p2p.followers_allowed,
        hello: Hello {
            protocol_version_min: genesis.protocol_version,
            protocol_version_max: genesis.protocol_version,
            chain_id: genesis.chain_id(),
            era,
            height: store.head().height(),
        },
        dial_first: config.p2p.dial_first,
        limits: Limits::default(),
    })
}

fn free_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}
