//! An open-loop flow of records, and what became of each.
//!
//! Record i is meant to leave at start + i / rate whatever the network does,
//! and its time to finality counts from that moment. A network that stands
//! still for a second is therefore measured by all the records of that second
//! and not only by the one that a closed loop would have had under way
//! (coordinated omission).
//!
//! A record is final when the first of the endpoints announces a block with it.
//! An endpoint that refuses the connection or fails has accepted nothing; the
//! next one is tried at once, and the clock goes on.

use super::events::{BlockSeen, EventStream};
use super::http::{Endpoint, client, get_json, refusal, send};
use super::sender::Signed;
use anyhow::{Result, bail};
use bizra_types::hash::RecordDigest;
use futures::StreamExt as _;
use reqwest::{Client, StatusCode};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long one endpoint may take to answer one submission.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// How long at least one endpoint may take to announce blocks.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(10);

/// Pause before a lost event stream is opened again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// Questions that are under way at once when the rest is looked up.
const LOOK_UPS_AT_ONCE: usize = 32;

/// Outcome codes of a record that is in the log: success, and a copy of one
/// that is there already.
const CODE_SUCCESS: u8 = 0;
const CODE_SKIPPED: u8 = 255;

/// Where the records go, and how fast.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Taken in turn.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Records per second.
    pub(crate) rate: f64,
    /// How long to wait for outcomes after the last answer.
    pub(crate) drain: Duration,
}

/// How far a flow is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Records that were due.
    pub(crate) sent: usize,
    /// Of these, the ones that an endpoint answered, or that all refused.
    pub(crate) answered: usize,
    /// Accepted by a validator, or final already.
    pub(crate) accepted: usize,
    /// Not accepted by anybody, and not final either.
    pub(crate) refused: usize,
    /// Accepted and then rejected with a code.
    pub(crate) rejected: usize,
    /// Final.
    pub(crate) finals: usize,
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) digest: RecordDigest,
    /// When it was meant to be sent.
    pub(crate) intended: Instant,
    pub(crate) end: End,
}

/// How a record ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In the log.
    Final {
        /// When that was first announced.
        at: Instant,
    },
    /// Accepted, and rejected with a code when it was executed.
    Rejected {
        /// The code.
        code: u8,
    },
    /// Accepted by nobody.
    Refused {
        /// What the last endpoint said.
        reason: String,
    },
    /// Accepted, and nothing was heard of it in the drain time.
    Lost,
}

/// Sends every record that comes out of the channel and follows it to its end.
///
/// # Errors
/// When no endpoint announces blocks, or one announces what cannot be read.
pub(crate) async fn run(
    plan: &Plan,
    mut records: mpsc::Receiver<Signed>,
    progress: watch::Sender<Progress>,
) -> Result<Vec<Outcome>> {
    let client = client()?;
    let board = Arc::new(Board::new(progress));
    let mut followers = JoinSet::new();
    for endpoint in &plan.endpoints {
        followers.spawn(follow(client.clone(), endpoint.clone(), Arc::clone(&board)));
    }
    let mut is_followed = board.is_followed.subscribe();
    if tokio::time::timeout(FOLLOW_PATIENCE, is_followed.wait_for(|it| *it)).await.is_err() {
        let names: Vec<_> = plan.endpoints.iter().map(ToString::to_string).collect();
        bail!("no endpoint announces blocks: {}", names.join(", "));
    }

    let mut submissions = JoinSet::new();
    let start = Instant::now();
    let mut number = 0_u32;
    while let Some(record) = records.recv().await {
        let intended = start + Duration::from_secs_f64(f64::from(number) / plan.rate);
        tokio::time::sleep_until(intended).await;
        let place = board.add(record.digest, intended);
        let turn = number as usize % plan.endpoints.len();
        let mut endpoints = plan.endpoints.clone();
        endpoints.rotate_left(turn);
        let (client, board) = (client.clone(), Arc::clone(&board));
        submissions.spawn(async move {
            let answer = submit(&client, &endpoints, &record).await;
            board.answered(place, answer);
        });
        while submissions.try_join_next().is_some() {}
        number += 1;
    }
    while submissions.join_next().await.is_some() {}

    let mut progress = board.progress.subscribe();
    let all_ended =
        progress.wait_for(|it| it.answered == it.sent && it.finals + it.rejected == it.accepted);
    if tokio::time::timeout(plan.drain, all_ended).await.is_err() {
        look_up_the_rest(&client, plan, &board).await;
    }
    followers.shutdown().await;
    board.into_outcomes()
}

/// Offers a record to one endpoint after the other until one answers.
async fn submit(client: &Client, endpoints: &[Endpoint], record: &Signed) -> Result<(), String> {
    let mut last = "no endpoint was given".to_owned();
    for endpoint in endpoints {
        let request = client
            .post(endpoint.url("/v1/records"))
            .header("Content-Type", "application/json")
            .body(reqwest::Body::from(bytes::Bytes::from_owner(Arc::clone(&record.bytes))))
            .timeout(ANSWER_PATIENCE);
        match send(request).await {
            Ok((status, _)) if status.is_success() => return Ok(()),
            Ok((status, body)) => {
                last = refusal(status, &body);
                let is_verdict = status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT;
                if is_verdict {
                    break;
                }
            }
            Err(error) => last = format!("{error:#}"),
        }
    }
    Err(last)
}

/// Follows the blocks of one endpoint, for as long as the task lives.
async fn follow(client: Client, endpoint: Endpoint, board: Arc<Board>) {
    let mut next_height = None;
    loop {
        // A stream that breaks is opened again from the next height: nothing
        // is missed, so there is nothing to report.
        let _ = follow_once(&client, &endpoint, &board, &mut next_height).await;
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

async fn follow_once(
    client: &Client,
    endpoint: &Endpoint,
    board: &Board,
    next_height: &mut Option<u64>,
) -> Result<()> {
    if next_height.is_none() {
        let status = get_json(client, &endpoint.url("/v1/status"), Duration::from_secs(5)).await?;
        *next_height = status["height"].as_u64().map(|height| height + 1);
    }
    let mut stream = EventStream::open(client, endpoint, *next_height).await?;
    board.is_followed.send_replace(true);
    while let Some(event) = stream.next().await? {
        if event.name == "lagged" {
            return Ok(());
        }
        match BlockSeen::of(&event) {
            Ok(Some(block)) => {
                board.on_block(&block, Instant::now());
                *next_height = Some(block.height + 1);
            }
            Ok(None) => {}
            Err(error) => {
                board.lock().fault = Some(format!("{endpoint}: {error:#}"));
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Asks for the status of what has no outcome yet: an event stream that was
/// cut off must not make a loss of what is final.
async fn look_up_the_rest(client: &Client, plan: &Plan, board: &Board) {
    let rest = board.without_outcome();
    futures::stream::iter(rest)
        .for_each_concurrent(LOOK_UPS_AT_ONCE, async |(place, digest)| {
            for endpoint in &plan.endpoints {
                let url = endpoint.url(&format!("/v1/records/{digest}"));
                let Ok(answer) = get_json(client, &url, Duration::from_secs(5)).await else {
                    continue;
                };
                match answer["status"].as_str() {
                    Some("final") => return board.on_outcome(place, CODE_SUCCESS, Instant::now()),
                    Some("rejected") => {
                        let code = answer["code"].as_u64().and_then(|it| u8::try_from(it).ok());
                        return board.on_outcome(place, code.unwrap_or(1), Instant::now());
                    }
                    _ => {}
                }
            }
        })
        .await;
}

/// What is known of every record so far.
struct Board {
    tracks: Mutex<Tracks>,
    progress: watch::Sender<Progress>,
    is_followed: watch::Sender<bool>,
}

#[derive(Default)]
struct Tracks {
    list: Vec<Track>,
    places: HashMap<RecordDigest, usize>,
    progress: Progress,
    /// What an endpoint announced and this program cannot read.
    fault: Option<String>,
}

struct Track {
    digest: RecordDigest,
    intended: Instant,
    answer: Option<Result<(), String>>,
    verdict: Option<Verdict>,
}

#[derive(Clone, Copy)]
enum Verdict {
    Final(Instant),
    Rejected(u8),
}

impl Board {
    fn new(progress: watch::Sender<Progress>) -> Self {
        Self { tracks: Mutex::default(), progress, is_followed: watch::Sender::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, Tracks> {
        self.tracks.lock().expect("no holder of the lock panics")
    }

    fn add(&self, digest: RecordDigest, intended: Instant) -> usize {
        let mut tracks = self.lock();
        let place = tracks.list.len();
        tracks.list.push(Track { digest, intended, answer: None, verdict: None });
        tracks.places.insert(digest, place);
        tracks.progress.sent += 1;
        self.progress.send_replace(tracks.progress);
        place
    }

    fn answered(&self, place: usize, answer: Result<(), String>) {
        self.change(&mut self.lock(), place, |track| track.answer = Some(answer));
    }

    fn on_block(&self, block: &BlockSeen, now: Instant) {
        for (digest, code) in &block.records {
            let place = self.lock().places.get(digest).copied();
            if let Some(place) = place {
                self.on_outcome(place, *code, now);
            }
        }
    }

    fn on_outcome(&self, place: usize, code: u8, now: Instant) {
        self.change(&mut self.lock(), place, |track| {
            track.verdict = match (track.verdict, code) {
                // The first announcement counts, and final never changes.
                (Some(Verdict::Final(at)), _) => Some(Verdict::Final(at)),
                (_, CODE_SUCCESS | CODE_SKIPPED) => Some(Verdict::Final(now)),
                (_, code) => Some(Verdict::Rejected(code)),
            };
        });
    }

    fn change(&self, tracks: &mut Tracks, place: usize, change: impl FnOnce(&mut Track)) {
        let track = &mut tracks.list[place];
        let before = track.share();
        change(track);
        let after = track.share();
        tracks.progress = tracks.progress.replace(before, after);
        self.progress.send_replace(tracks.progress);
    }

    fn without_outcome(&self) -> Vec<(usize, RecordDigest)> {
        let tracks = self.lock();
        let all = tracks.list.iter().enumerate();
        all.filter(|(_, track)| track.verdict.is_none() && matches!(track.answer, Some(Ok(()))))
            .map(|(place, track)| (place, track.digest))
            .collect()
    }

    fn into_outcomes(self: Arc<Self>) -> Result<Vec<Outcome>> {
        let mut tracks = self.lock();
        if let Some(fault) = tracks.fault.take() {
            bail!(fault);
        }
        Ok(std::mem::take(&mut tracks.list).into_iter().map(Track::into_outcome).collect())
    }
}

impl Track {
    /// What this record adds to the progress of all.
    fn share(&self) -> Progress {
        let is_final = matches!(self.verdict, Some(Verdict::Final(_)));
        let is_accepted = is_final || matches!(self.answer, Some(Ok(())));
        let is_rejected = matches!(self.verdict, Some(Verdict::Rejected(_)));
        Progress {
            sent: 1,
            answered: usize::from(self.answer.is_some()),
            accepted: usize::from(is_accepted),
            refused: usize::from(matches!(self.answer, Some(Err(_))) && !is_final),
            rejected: usize::from(is_accepted && is_rejected),
            finals: usize::from(is_final),
        }
    }

    fn into_outcome(self) -> Outcome {
        let end = match (self.verdict, self.answer) {
            (Some(Verdict::Final(at)), _) => End::Final { at },
            (Some(Verdict::Rejected(code)), Some(Ok(()))) => End::Rejected { code },
            (_, Some(Err(reason))) => End::Refused { reason },
            (None, Some(Ok(()))) => End::Lost,
            (_, None) => End::Refused { reason: "no answer".to_owned() },
        };
        Outcome { digest: self.digest, intended: self.intended, end }
    }
}

impl Progress {
    fn replace(self, before: Self, after: Self) -> Self {
        let swap = |total: usize, before: usize, after: usize| total - before + after;
        Self {
            sent: swap(self.sent, before.sent, after.sent),
            answered: swap(self.answered, before.answered, after.answered),
            accepted: swap(self.accepted, before.accepted, after.accepted),
            refused: swap(self.refused, before.refused, after.refused),
            rejected: swap(self.rejected, before.rejected, after.rejected),
            finals: swap(self.finals, before.finals, after.finals),
        }
    }
}
