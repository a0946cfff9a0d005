use super::*;
use crate::storage::testing::{TestChain, on_small_disk, record};
use bizra_consensus::Persist;
use bizra_ledger::envelope::Envelope;
use bizra_ledger::memory::MemoryLedger;
use bizra_types::numbers::{Height, View};
use std::path::Path;
use std::sync::mpsc;
use tempfile::TempDir;

/// An executor over a folder, and what it says.
struct Bench {
    store: Store,
    executor: Executor,
    reports: mpsc::Receiver<Report>,
    committed: broadcast::Receiver<Arc<Committed>>,
    ordered: broadcast::Receiver<Arc<Ordered>>,
    verdicts: Arc<Verdicts>,
    committee: Arc<Committee>,
}

impl Bench {
    fn start(dir: &Path, chain: &TestChain) -> Self {
        let store = Store::open(dir, &chain.genesis).expect("the folder opens");
        let (report, reports) = mpsc::channel();
        let (broadcast, committed) = broadcast::channel(16);
        let (announce, ordered) = broadcast::channel(16);
        let chain_id = chain.genesis.chain_id();
        let verdicts = Arc::new(Verdicts::new(chain_id, VERDICTS_SIZE_MAX, |_| ()));
        let executor = Executor::start(
            store.clone(),
            &chain.genesis,
            Arc::clone(&verdicts),
            broadcast,
            announce,
            move |it| drop(report.send(it)),
        );
        let committee = Arc::clone(&chain.genesis.committee);
        Self { store, executor, reports, committed, ordered, verdicts, committee }
    }

    fn execute(&self, block: &Block, batches: &[Arc<SignedBatch>]) -> ExecHash {
        self.submit_execute(block, batches);
        match self.reports.recv() {
            Ok(Report::Executed { block: id, exec, .. }) if id == block.id() => exec,
            other => panic!("expected the exec of {}, got {other:?}", block.id()),
        }
    }

    fn submit_execute(&self, block: &Block, batches: &[Arc<SignedBatch>]) {
        let job = Execute { block: block.clone(), batches: batches.to_vec() };
        self.executor.submit(Job::Execute(job, Arc::clone(&self.committee)));
    }

    fn commit(&self, chain: &TestChain, blocks: &[(Block, ExecHash)]) {
        self.executor.submit(Job::Commit(chain.commit(blocks)));
    }

    fn next_committed(&self) -> Arc<Committed> {
        match self.reports.recv() {
            Ok(Report::Committed(committed)) => committed,
            other => panic!("expected a committed block, got {other:?}"),
        }
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

#[test]
fn blocks_run_on_uncommitted_parents_as_they_do_one_by_one() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let mut bench = Bench::start(dir.path(), &chain);
    let mut blocks = Vec::new();
    let mut expected = Vec::new();
    let mut ledger = MemoryLedger::genesis();
    for number in 1..=4 {
        // The second record of each block repeats the first of the one before.
        let batch = chain.batch(0, &[record(number), record(number - 1)]);
        let block = chain.block(&[Arc::clone(&batch)]);
        let run = chain.run(&ledger, &[], &block, &[Arc::clone(&batch)]);
        ledger.commit(&run.overlay);
        expected.push(run.overlay.exec());
        blocks.push((block.clone(), bench.execute(&block, &[batch])));
    }
    let execs: Vec<_> = blocks.iter().map(|(_, exec)| *exec).collect();
    assert_eq!(execs, expected);

    bench.commit(&chain, &blocks);
    for (at, (block, _)) in blocks.iter().enumerate() {
        let committed = bench.next_committed();
        assert_eq!(committed.block, block.id());
        assert_eq!(committed.height.get(), at as u64 + 1);
        let codes: Vec<_> = committed.records.iter().map(|record| record.1).collect();
        assert_eq!(codes, if at == 0 { [0, 0] } else { [0, 255] });
        let heard = bench.committed.try_recv().expect("the broadcast says the same");
        assert_eq!(heard.block, block.id());
    }
    assert_eq!(bench.store.head().root.exec, expected[3]);
    assert_eq!(bench.store.head().fields.log_size, 5);
}

#[test]
fn a_block_that_was_run_is_answered_again_before_and_after_its_commit() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let bench = Bench::start(dir.path(), &chain);
    let batch = chain.batch(0, &[record(1)]);
    let block = chain.block(&[Arc::clone(&batch)]);
    let exec = bench.execute(&block, &[Arc::clone(&batch)]);
    assert_eq!(bench.execute(&block, &[Arc::clone(&batch)]), exec);
    bench.commit(&chain, &[(block.clone(), exec)]);
    assert_eq!(bench.next_committed().block, block.id());
    assert_eq!(bench.execute(&block, &[batch]), exec);
}

#[test]
fn forks_are_dropped_and_what_follows_the_head_is_kept() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let bench = Bench::start(dir.path(), &chain);
    let mut other = chain.clone();
    let forked = other.batch(1, &[record(2)]);
    let fork = other.block_in(View::new(2), &[Arc::clone(&forked)]);
    let fork_child = other.block(&[]);
    let batch = chain.batch(0, &[record(1)]);
    let first = chain.block(&[Arc::clone(&batch)]);
    let commit_chain = chain.clone();
    let second = chain.block_in(View::new(4), &[]);
    bench.execute(&fork, &[Arc::clone(&forked)]);
    bench.execute(&fork_child, &[]);
    let exec = bench.execute(&first, &[batch]);
    let second_exec = bench.execute(&second, &[]);
    bench.commit(&commit_chain, &[(first.clone(), exec)]);
    assert_eq!(bench.next_committed().block, first.id());
    // The fork is not answered; the next answer is that of the kept overlay.
    bench.submit_execute(&fork, &[forked]);
    assert_eq!(bench.execute(&second, &[]), second_exec);
    bench.commit(&chain, &[(second.clone(), second_exec)]);
    assert_eq!(bench.next_committed().block, second.id());
    assert_eq!(bench.store.head().height(), Height::new(2));
}

#[test]
fn a_certified_block_orders_the_good_records_up_to_it_once() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let mut bench = Bench::start(dir.path(), &chain);
    let bad: Arc<[u8]> = b"{}".as_slice().into();
    let batches: Vec<_> =
        (1..=3).map(|number| chain.batch(0, &[record(number), Arc::clone(&bad)])).collect();
    let blocks: Vec<_> = batches.iter().map(|it| chain.block(&[Arc::clone(it)])).collect();
    let digest = |number| Envelope::parse(&record(number)).expect("a good record").0.digest;
    let run = |bench: &Bench, at: usize| bench.execute(&blocks[at], &[Arc::clone(&batches[at])]);
    let heard = |bench: &mut Bench| {
        let ordered = core::iter::from_fn(|| bench.ordered.try_recv().ok());
        ordered.map(|it| (it.height.get(), it.records.clone())).collect::<Vec<_>>()
    };

    run(&bench, 0);
    run(&bench, 1);
    assert_eq!(heard(&mut bench), [], "run is not ordered");
    // The QC may be here before its block was run.
    bench.executor.submit(Job::Certified(blocks[2].id()));
    let exec = run(&bench, 2);
    // Whatever was submitted before is done once this is answered.
    assert_eq!(run(&bench, 2), exec);
    let expected: Vec<_> = [3, 2, 1].map(|number| (number, vec![digest(number)])).into();
    assert_eq!(heard(&mut bench), expected);
    bench.executor.submit(Job::Certified(blocks[1].id()));
    assert_eq!(run(&bench, 2), exec);
    assert_eq!(heard(&mut bench), [], "each once");
}

#[test]
fn after_a_restart_the_same_blocks_come_to_the_same() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let bench = Bench::start(dir.path(), &chain);
    let batches: Vec<_> = (1..=3).map(|number| chain.batch(0, &[record(number)])).collect();
    let blocks: Vec<_> = batches.iter().map(|it| chain.block(&[Arc::clone(it)])).collect();
    let persist =
        Persist { blocks: blocks.clone(), batches: batches.clone(), ..Persist::default() };
    bench.store.persist(&persist).expect("the store can be written");
    let execs: Vec<_> = blocks
        .iter()
        .zip(&batches)
        .map(|(block, batch)| bench.execute(block, &[Arc::clone(batch)]))
        .collect();
    drop(bench);

    let bench = Bench::start(dir.path(), &chain);
    let restored = bench.store.restored().expect("the store can be read");
    assert_eq!(restored.blocks, blocks);
    let again: Vec<_> = restored
        .blocks
        .iter()
        .zip(&restored.batches)
        .map(|(block, batch)| bench.execute(block, &[Arc::clone(batch)]))
        .collect();
    assert_eq!(again, execs);
    let pairs: Vec<_> = blocks.into_iter().zip(execs).collect();
    bench.commit(&chain, &pairs);
    for (block, _) in &pairs {
        assert_eq!(bench.next_committed().block, block.id());
    }
    drop(bench);

    // The engine may have missed that the commit was made.
    let bench = Bench::start(dir.path(), &chain);
    bench.commit(&chain, &pairs);
    let batch = chain.batch(0, &[record(4)]);
    let next = chain.block(&[Arc::clone(&batch)]);
    let exec = bench.execute(&next, &[batch]);
    let mut longer = pairs;
    longer.push((next.clone(), exec));
    bench.commit(&chain, &longer);
    assert_eq!(bench.next_committed().block, next.id(), "each block is committed once");
}

#[test]
fn another_block_at_a_final_height_stops_the_executor() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let bench = Bench::start(dir.path(), &chain);
    let mut other = chain.clone();
    let fork = other.block_in(View::new(2), &[]);
    let block = chain.block(&[]);
    let exec = bench.execute(&block, &[]);
    bench.commit(&chain, &[(block, exec)]);
    bench.next_committed();
    bench.commit(&other, &[(fork, exec)]);
    assert!(matches!(bench.reports.recv(), Ok(Report::Panicked)));
    let Bench { executor, .. } = bench;
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(executor)));
    assert!(dropped.is_err(), "a panic of the thread is not lost");
}

#[test]
fn a_full_disk_delays_a_commit() {
    on_small_disk("executor::tests::a_full_disk_delays_a_commit", |dir, disk| {
        let mut chain = TestChain::new("a");
        let mut bench = Bench::start(dir, &chain);
        disk.fill(&bench.store);
        // The log may have some room left.
        let records: Vec<_> = (0..100).map(record).collect();
        let mut height = 0;
        let (block, batch, exec) = loop {
            let batch = chain.batch(0, &records);
            let block = chain.block(&[Arc::clone(&batch)]);
            let exec = bench.execute(&block, &[Arc::clone(&batch)]);
            bench.commit(&chain, &[(block.clone(), exec)]);
            match bench.reports.recv() {
                Ok(Report::Committed(_)) => height += 1,
                Ok(Report::DiskFull(error)) => {
                    assert!(error.is_full());
                    break (block, batch, exec);
                }
                other => panic!("expected a commit or a full disk, got {other:?}"),
            }
        };
        assert_eq!(bench.store.head().height().get(), height);
        disk.free(&bench.store);
        if disk.recovers() {
            assert!(matches!(bench.reports.recv(), Ok(Report::DiskWritable)));
        } else {
            drop(bench);
            bench = Bench::start(dir, &chain);
            assert_eq!(bench.execute(&block, &[batch]), exec);
            bench.commit(&chain, &[(block.clone(), exec)]);
        }
        assert_eq!(bench.next_committed().block, block.id());
        assert_eq!(bench.store.head().height().get(), height + 1);
    });
}

#[test]
fn a_full_disk_does_not_keep_the_node_from_stopping() {
    let name = "executor::tests::a_full_disk_does_not_keep_the_node_from_stopping";
    on_small_disk(name, |dir, disk| {
        let mut chain = TestChain::new("a");
        let bench = Bench::start(dir, &chain);
        disk.fill(&bench.store);
        let records: Vec<_> = (0..100).map(record).collect();
        loop {
            let batch = chain.batch(0, &records);
            let block = chain.block(&[Arc::clone(&batch)]);
            let exec = bench.execute(&block, &[batch]);
            bench.commit(&chain, &[(block, exec)]);
            match bench.reports.recv() {
                Ok(Report::Committed(_)) => {}
                Ok(Report::DiskFull(_)) => break,
                other => panic!("expected a commit or a full disk, got {other:?}"),
            }
        }
        drop(bench);
    });
}

#[test]
fn verdicts_are_computed_once_and_bounded() {
    let mut chain = TestChain::new("a");
    let batches: Vec<_> = (1..=3).map(|number| chain.batch(0, &[record(number)])).collect();
    let size = batches[0].header().records_bytes as usize;
    let verdicts = Verdicts::new(chain.genesis.chain_id(), 2 * size, |_| ());
    let first = verdicts.check_batch(&batches[0]);
    assert!(first.iter().all(|verdict| verdict.envelope().is_some()));
    assert!(Arc::ptr_eq(&first, &verdicts.check_batch(&batches[0])));
    let second = verdicts.check_batch(&batches[1]);
    // The first was used last before the third needs room.
    verdicts.check_batch(&batches[0]);
    verdicts.check_batch(&batches[2]);
    assert!(Arc::ptr_eq(&first, &verdicts.check_batch(&batches[0])));
    assert!(!Arc::ptr_eq(&second, &verdicts.check_batch(&batches[1])));
    assert!(verdicts.known().size <= 2 * size);
}

#[test]
fn a_batch_with_a_bad_record_is_told_once_while_it_is_remembered() {
    let mut chain = TestChain::new("a");
    let bad: Arc<[u8]> = b"{}".as_slice().into();
    let batches = [
        chain.batch(0, &[record(1)]),
        chain.batch(0, &[record(2), bad]),
        chain.batch(1, &[record(3)]),
    ];
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let verdicts = Verdicts::new(chain.genesis.chain_id(), VERDICTS_SIZE_MAX, move |batch| {
        tell.lock().expect("nobody panics").push(batch.clone());
    });
    for batch in batches.iter().chain(&batches) {
        verdicts.check_batch(batch);
    }
    assert_eq!(*told.lock().expect("nobody panics"), [SignedBatch::clone(&batches[1])]);
}

#[test]
fn the_executor_uses_verdicts_that_are_there() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let bench = Bench::start(dir.path(), &chain);
    let batch = chain.batch(0, &[record(1)]);
    // A verdict that the bytes do not have, so that its use shows.
    let other = chain.clone().batch(1, &[b"{}".as_slice().into()]);
    let bad = bench.verdicts.check_batch(&other);
    let digest = batch.header().digest(&chain.genesis.chain_id());
    bench.verdicts.remember(digest, bad, batch.header().records_bytes as usize);
    let block = chain.block(&[Arc::clone(&batch)]);
    let exec = bench.execute(&block, &[batch]);
    bench.commit(&chain, &[(block, exec)]);
    assert_eq!(bench.next_committed().records, [(None, 1, None)]);
}

#[test]
fn a_child_of_an_unknown_block_is_a_bug_of_ours() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let bench = Bench::start(dir.path(), &chain);
    chain.block(&[]);
    let orphan = chain.block(&[]);
    bench.submit_execute(&orphan, &[]);
    assert!(matches!(bench.reports.recv(), Ok(Report::Panicked)));
    let Bench { executor, .. } = bench;
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(executor)));
    assert!(dropped.is_err(), "a panic of the thread is not lost");
}
