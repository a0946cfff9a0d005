//! Time to finality across continents, with and without some of the
//! validators: the real replicas over measured distances.
//!
//! A run lets the validators get to know their distances, stops those that are
//! to be missing, and from that moment on submits records at the others. The
//! time of a record is from its submission at a validator until that validator
//! knows it as final, which is what a waiting client sees. Records that are
//! submitted to a missing validator are accepted by nobody and do not count.

use crate::cluster::{Cluster, Options};
use crate::network::Network;
use crate::oracles::{Breach, Checked, Invariant};
use crate::rng::Rng;
use bizra_consensus::Commit;
use bizra_types::genesis::Parameters;
use bizra_types::numbers::LaneSeq;
use std::collections::BTreeMap;

/// Where the validators of [`Matrix::Cloud`] stand, in turn: Virginia, Oregon,
/// Ireland, Frankfurt, Tokyo, Singapore, São Paulo.
const REGIONS: usize = 7;
/// Round trips between these regions of AWS in ms, averages.
///
/// From "Latency Between AWS Global Regions", as tabulated in
/// <https://acomputerscientistlearnsaws.blogspot.com/2017/04/aws-regions.html>.
/// Some routes have become shorter since; <https://www.cloudping.co> measures
/// them every day.
const ROUND_TRIPS_MS: [[u64; REGIONS]; REGIONS] = [
    [1, 88, 81, 89, 145, 217, 120],
    [88, 1, 137, 160, 89, 161, 183],
    [81, 137, 1, 20, 212, 239, 191],
    [89, 160, 20, 1, 237, 326, 195],
    [145, 89, 212, 237, 1, 74, 257],
    [217, 161, 239, 326, 74, 1, 328],
    [120, 183, 191, 195, 257, 328, 1],
];
/// Any message may take so much longer than the shortest, in µs.
const JITTER_MICROS: u64 = 4_000;
/// A sync takes at most so long, as on a cloud's disks.
const SYNC_MICROS: u64 = 2_000;
/// Size of a record in bytes, at most.
const RECORD_BYTES_MAX: u64 = 2_000;
/// Before anybody is stopped everything is well for so long.
const WARM_UP_MICROS: u64 = 5_000_000;
/// Records are submitted for so long after that.
const MEASURED_MICROS: u64 = 30_000_000;
/// The last of them are final after so long at most.
const DRAIN_MICROS_MAX: u64 = 30_000_000;

/// Distances between the validators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrix {
    /// Seven regions of a cloud on four continents.
    Cloud,
    /// The same one-way delay between any two, in ms.
    Uniform(u64),
}

/// How validators are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The process is gone.
    Closed,
    /// The process stands still, as under SIGSTOP: its connections stay open.
    Silent,
}

/// One run to measure.
#[derive(Clone, Copy, Debug)]
pub struct WanOptions {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// Size of the committee.
    pub validators: usize,
    /// Distances.
    pub matrix: Matrix,
    /// How many are missing, at most f.
    pub missing: usize,
    /// In which way.
    pub absence: Absence,
    /// Records per second, submitted at random validators.
    pub rate: u64,
}

/// When the records of a run were submitted, and how long it took.
#[derive(Debug)]
pub(crate) struct Finality {
    submitted: BTreeMap<u64, u64>,
    /// Of each node, when the records of its batches that are not final were
    /// submitted.
    waiting: Vec<BTreeMap<LaneSeq, Vec<u64>>>,
    micros: Vec<u64>,
}

/// Times from submission to finality of all records of a run, in µs.
///
/// # Errors
/// When a rule is broken, liveness among them.
///
/// # Panics
/// When more than f validators are to be missing, or the rate is 0.
pub fn finality_micros(options: &WanOptions) -> Result<Vec<u64>, Box<Breach>> {
    let WanOptions { seed, validators, missing, .. } = *options;
    assert!(3 * missing < validators, "{missing} of {validators} are missing");
    assert!(options.rate > 0, "no records");
    let usual = Options { faults_min: 0, changes: false, ..Options::new(seed, validators) };
    let mut cluster = Cluster::new(usual, Some(Parameters::default()));
    cluster.set_out(
        Network::between(seed, one_way_micros(options.matrix, validators), JITTER_MICROS),
        SYNC_MICROS,
        1_000_000 / options.rate,
        RECORD_BYTES_MAX,
    );
    cluster.measure(options)
}

/// Shortest delays from node to node in µs.
fn one_way_micros(matrix: Matrix, validators: usize) -> Vec<Vec<u64>> {
    let between = |from: usize, to: usize| match matrix {
        Matrix::Cloud => 500 * ROUND_TRIPS_MS[from % REGIONS][to % REGIONS],
        Matrix::Uniform(ms) => 1_000 * ms,
    };
    (0..validators).map(|from| (0..validators).map(|to| between(from, to)).collect()).collect()
}

impl Cluster {
    fn measure(&mut self, options: &WanOptions) -> Result<Vec<u64>, Box<Breach>> {
        self.begin()?;
        self.run_until(WARM_UP_MICROS, |_| false)?;
        self.stop(options)?;
        self.finality = Some(Finality::new(options.validators));
        self.oracles.on_healed(true);
        self.run_until(WARM_UP_MICROS + MEASURED_MICROS, |_| false)?;
        self.stop_records();
        let is_final =
            |cluster: &Self| cluster.finality.as_ref().is_some_and(Finality::is_complete);
        self.run_until(self.now_micros + DRAIN_MICROS_MAX, is_final)?;
        if !is_final(self) {
            self.oracles.breach(Invariant::Liveness, || {
                format!("records are not final after {DRAIN_MICROS_MAX} µs")
            })?;
        }
        Ok(self.finality.take().expect("set above").micros)
    }

    fn stop(&mut self, options: &WanOptions) -> Checked {
        let mut rng = Rng::new(options.seed, "missing");
        let mut left: Vec<usize> = (0..options.validators).collect();
        for _ in 0..options.missing {
            let node = left.swap_remove(rng.index(left.len()));
            match options.absence {
                Absence::Closed => {
                    let survivors = self.nodes[node].disk.unsynced();
                    self.kill(node, survivors)?;
                }
                Absence::Silent => self.nodes[node].is_paused = true,
            }
        }
        Ok(())
    }
}

impl Finality {
    fn new(nodes: usize) -> Self {
        let waiting = vec![BTreeMap::new(); nodes];
        Self { submitted: BTreeMap::new(), waiting, micros: Vec::new() }
    }

    /// A record is handed in.
    pub(crate) fn on_record(&mut self, number: u64, now_micros: u64) {
        self.submitted.insert(number, now_micros);
    }

    /// A node's batch is durable; its records have these numbers.
    pub(crate) fn on_accepted(
        &mut self,
        node: usize,
        seq: LaneSeq,
        numbers: impl Iterator<Item = u64>,
    ) {
        let submitted = numbers.filter_map(|number| self.submitted.remove(&number));
        self.waiting[node].insert(seq, submitted.collect());
    }

    /// A node commits up to `seq` of its own lane.
    pub(crate) fn on_final(&mut self, node: usize, seq: LaneSeq, now_micros: u64) {
        let later = self.waiting[node].split_off(&seq.next());
        let settled = std::mem::replace(&mut self.waiting[node], later);
        self.micros.extend(settled.into_values().flatten().map(|since| now_micros - since));
    }

    fn is_complete(&self) -> bool {
        self.submitted.is_empty() && self.waiting.iter().all(BTreeMap::is_empty)
    }
}

impl Cluster {
    /// A node commits: which of its own records are final now?
    pub(crate) fn note_final(&mut self, node: usize, commit: &Commit) {
        let seat = self.keyring.members().seat(commit.root.header.era, node);
        if let (Some(finality), Some((_, key))) = (&mut self.finality, seat)
            && let Some((seq, _)) = commit.root.lane_heads.get(&key)
        {
            finality.on_final(node, *seq, self.now_micros);
        }
    }
}
