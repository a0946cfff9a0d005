//! A virtual cluster that tries to break the consensus engine.
//!
//! Real replicas, lanes included, on a virtual network, clock and disk. All
//! that happens follows from one seed; rules with names are judged after every
//! event; after each time of faults the cluster must prove that it lives. In a
//! third of the seeds the committee changes on the way, and so may the version
//! of the protocol; then nodes without a seat follow, and one node may lose its
//! safety records or know the first version only. In a build with `--cfg
//! planted_bugs` the engine can be given known mistakes, which must be found.
//!
//! | module | holds |
//! |---|---|
//! | `cluster` | the queue of events and the course of a run |
//! | `node` | the model of the driver around a replica |
//! | `network`, `disk`, `clock`, `ledger` | the virtual world |
//! | `faults` | what goes wrong |
//! | `byzantine` | validators that lie, one file per behaviour |
//! | `twins` | validators that exist twice, in lock-step views, and who is blamed for a fork |
//! | `oracles` | what must hold |
//! | `keys` | who sits where in which era, and signatures without curves |
//! | `wan` | time to finality across continents |
//! | `rng`, `trace` | one source of chance, one record of what came of it |

mod byzantine;
mod clock;
mod cluster;
mod disk;
mod faults;
mod keys;
mod ledger;
mod network;
mod node;
mod oracles;
mod rng;
mod trace;
pub mod twins;
mod wan;

pub use bizra_types::planted::Bug;
pub use byzantine::Behaviour;
pub use cluster::{HAS_BUGS, LIVENESS_MICROS_MAX, Options, Report, SETTLING_MICROS, Sabotage, run};
pub use faults::FaultKind;
pub use keys::VALIDATORS_MAX;
pub use oracles::{Breach, Invariant};
pub use wan::{Absence, Matrix, WanOptions, finality_micros};
