//! The state tree in blocks, on overlays and in forks.

use super::*;
use crate::state::tests::root_of;
use crate::state::{StateTree, prove};
use bizra_types::proof::state::StateEntry;

type Entries = BTreeMap<(Family, Vec<u8>), Vec<u8>>;
type Write = ((Family, Vec<u8>), Option<Vec<u8>>);

/// Executes a block that does nothing but to set and delete these entries, in this order.
fn write(base: &MemoryLedger, pending: &[Arc<Overlay>], height: u64, writes: &[Write]) -> Overlay {
    let parent = Parent::new(base, pending.to_vec()).expect("memory does not fail");
    let mut policies = policies();
    let block = block(height, &[]);
    let mut draft = Draft::new(&parent, &block, &mut policies).expect("memory does not fail");
    for ((family, key), value) in writes {
        draft.put(*family, key, value.clone());
    }
    draft.finish(&block, vec![]).expect("memory does not fail")
}

fn set(family: Family, key: u8, value: u8) -> Write {
    ((family, vec![key; 32]), Some(vec![value; 7]))
}

fn root(entries: &Entries) -> Hash {
    let entries = entries.iter().filter(|((family, _), _)| family.is_in_tree());
    root_of(entries.map(|((family, key), value)| (*family, key.as_slice(), value.as_slice())))
}

#[test]
fn the_root_knows_the_entries_and_not_how_they_came() {
    let base = MemoryLedger::genesis();
    let (one, two) = (set(Family::Key, 1, 1), set(Family::Account, 2, 2));
    let straight = write(&base, &[], 1, &[one.clone(), two.clone()]);
    let undone = (one.0.clone(), None);
    let other = (set(Family::Licence, 3, 3), ((Family::Licence, vec![3; 32]), None));
    let detour = [set(Family::Key, 1, 9), other.0, two, undone, other.1, one];
    let detour = write(&base, &[], 1, &detour);
    assert_eq!(straight.fields(), detour.fields());
    assert!(straight.state_nodes().eq(detour.state_nodes()));
    assert_ne!(straight.fields().state_root, StateTree::EMPTY.root);
    assert_eq!(straight.fields().plain_digest, LtHash::new().digest());
}

#[test]
fn a_block_that_changes_nothing_leaves_the_version() {
    let mut base = MemoryLedger::genesis();
    base.commit(&write(&base, &[], 1, &[set(Family::Key, 1, 1)]));
    let head = base.head().expect("memory does not fail");
    assert_eq!(head.state.version, StateVersion::new(1));
    let there_and_back = [set(Family::Key, 1, 2), set(Family::Key, 1, 1)];
    for writes in [&[][..], &[set(Family::Key, 1, 1)], &[set(Family::Usage, 1, 1)], &there_and_back]
    {
        let overlay = write(&base, &[], 2, writes);
        assert_eq!(overlay.head().state, head.state);
        assert_eq!(overlay.fields().state_root, head.state.root);
        assert_eq!(overlay.state_nodes().count(), 0);
        assert_eq!(overlay.stale_nodes(), None);
    }
}

#[test]
fn a_registered_key_is_proven_and_an_unknown_one_is_proven_absent() {
    let mut base = MemoryLedger::genesis();
    let overlay = run(&base, &[], 1, &[identifying(7, 1, "register", "{}")]);
    assert_eq!(codes(&overlay), [Code::Success]);
    base.commit(&overlay);
    let tree = base.head().expect("memory does not fail").state;
    assert_eq!((tree.version.get(), tree.root), (1, overlay.fields().state_root));

    let path = prove(&tree, Family::Key, &public(7).0, &base).expect("memory does not fail");
    let entry = base.plain(Family::Key, &public(7).0).expect("memory does not fail");
    assert_eq!(path.entry.value(), entry.as_deref());
    assert!(entry.is_some());
    assert_eq!(path.root(Family::Key.number(), &public(7).0), Some(tree.root));
    let path = prove(&tree, Family::Key, &public(8).0, &base).expect("memory does not fail");
    assert!(matches!(path.entry, StateEntry::Absent(Some(_))));
    assert_eq!(path.root(Family::Key.number(), &public(8).0), Some(tree.root));
}

/// A block of the tree of forks, and all entries after it.
struct Node {
    parent: Option<usize>,
    overlay: Arc<Overlay>,
    writes: Vec<Write>,
    entries: Entries,
}

/// One step of a generated history.
#[derive(Clone, Debug)]
enum Step {
    /// Execute a block on one of the live blocks.
    Extend { parent: prop::sample::Index, writes: Vec<Write> },
    /// Commit the next block on the way to one of the live blocks.
    Commit { towards: prop::sample::Index },
}

fn any_step() -> impl Strategy<Value = Step> {
    let family = prop::sample::select(vec![Family::Key, Family::Account, Family::Usage]);
    let key = (family, (0_u8..12).prop_map(|key| vec![key; 4]));
    let value = prop::option::weighted(0.7, (0_u8..3).prop_map(|value| vec![value; 6]));
    prop_oneof![
        3 => (any::<prop::sample::Index>(), prop::collection::vec((key, value), 0..8))
            .prop_map(|(parent, writes)| Step::Extend { parent, writes }),
        1 => any::<prop::sample::Index>().prop_map(|towards| Step::Commit { towards }),
    ]
}

fn path(nodes: &[Node], node: Option<usize>) -> Vec<usize> {
    let mut path: Vec<usize> = core::iter::successors(node, |node| nodes[*node].parent).collect();
    path.reverse();
    path
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_tree_follows_its_branch_and_forks_leave_no_trace(
        steps in prop::collection::vec(any_step(), 1..24)
    ) {
        let mut ledger = MemoryLedger::genesis();
        let mut nodes: Vec<Node> = Vec::new();
        let mut committed: Vec<usize> = Vec::new();
        let mut live: Vec<Option<usize>> = vec![None];
        for step in steps {
            match step {
                Step::Extend { parent, writes } => {
                    let parent = *parent.get(&live);
                    let path = path(&nodes, parent);
                    let height = path.len() as u64 + 1;
                    let mut all: Vec<Arc<Overlay>> =
                        path.iter().map(|node| nodes[*node].overlay.clone()).collect();
                    let overlay =
                        Arc::new(write(&ledger, &all[committed.len()..], height, &writes));
                    // Ancestors that were flushed meanwhile do not disturb.
                    let again = write(&ledger, &all, height, &writes);
                    prop_assert_eq!(overlay.fields(), again.fields());
                    prop_assert!(overlay.state_nodes().eq(again.state_nodes()));
                    prop_assert_eq!(overlay.stale_nodes(), again.stale_nodes());

                    let mut entries = parent.map_or_else(Entries::new, |at| nodes[at].entries.clone());
                    for (key, value) in &writes {
                        match value {
                            Some(value) => drop(entries.insert(key.clone(), value.clone())),
                            None => drop(entries.remove(key)),
                        }
                    }
                    prop_assert_eq!(overlay.fields().state_root, root(&entries));
                    all.push(overlay.clone());
                    let view = Parent::new(&ledger, all).expect("memory does not fail");
                    for key in 0..13 {
                        let key = (Family::Account, vec![key; 4]);
                        let path = prove(&view.head().state, key.0, &key.1, &view);
                        let path = path.expect("memory does not fail");
                        prop_assert_eq!(path.entry.value(), entries.get(&key).map(Vec::as_slice));
                        prop_assert_eq!(path.root(7, &key.1), Some(overlay.fields().state_root));
                    }
                    live.push(Some(nodes.len()));
                    nodes.push(Node { parent, overlay, writes, entries });
                }
                Step::Commit { towards } => {
                    let path = path(&nodes, *towards.get(&live));
                    let Some(next) = path.get(committed.len()).copied() else { continue };
                    ledger.commit(&nodes[next].overlay);
                    committed.push(next);
                    live.retain(|node| {
                        self::path(&nodes, *node).get(committed.len() - 1) == Some(&next)
                    });

                    // The same blocks without any fork, each on what is committed.
                    let mut straight = MemoryLedger::genesis();
                    for (height, node) in (1..).zip(&committed) {
                        let overlay = write(&straight, &[], height, &nodes[*node].writes);
                        straight.commit(&overlay);
                    }
                    prop_assert_eq!(&ledger, &straight);
                    let head = ledger.head().expect("memory does not fail");
                    prop_assert_eq!(ledger.recomputed_plain(), head.plain);
                    prop_assert_eq!(root(&nodes[next].entries), head.state.root);
                    prop_assert!(ledger.plain_entries().eq(nodes[next].entries.iter().map(
                        |((family, key), value)| (*family, key.as_slice(), value.as_slice())
                    )));
                }
            }
        }
    }
}
