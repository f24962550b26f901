//! What a phase does on the nodes: the tables CHANGES and NODES, post-images by node set, and which
//! private files a node needs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::set_name;
use crate::diagnostic::Result;
use crate::digest::sha256;
use crate::layout::{self, unit_of};
use crate::names::{NodeName, NodePath};
use crate::phases::{Act, Done};
use crate::rotation::{Rotation, references};
use crate::state::{File, Process, State, address};

/// One action on a set of nodes.
struct Action {
    step: usize,
    nodes: BTreeSet<NodeName>,
    what: What,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Write {
        path: NodePath,
        mode: u32,
        owner: Arc<str>,
        pre: String,
        text: Arc<str>,
        keys: Keys,
    },
    Remove {
        path: NodePath,
        pre: String,
    },
    Check {
        path: NodePath,
        /// Mode and owner of the file, if there is one.
        there: Option<(u32, Arc<str>)>,
        pre: String,
    },
    RestartPod {
        manifest: NodePath,
        hash: String,
    },
    RestartUnit(NodePath),
    RestartKubelet {
        /// Where it is asked for its health; None where it has no port for that.
        health: Option<SocketAddr>,
    },
    Forget,
}

impl Action {
    /// The process that it restarts, by its manifest's or unit's name.
    fn restarted(&self) -> Option<&str> {
        match &self.what {
            What::RestartPod { manifest: path, .. } | What::RestartUnit(path) => {
                let name = path.file_name();
                Some(name.rsplit_once('.').map_or(name, |(stem, _)| stem))
            }
            What::RestartKubelet { .. } => Some("kubelet"),
            _ => None,
        }
    }
}

/// Where a file's private values come from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Keys {
    None,
    Kept,
    New,
}

/// A phase's changes on the nodes.
pub struct Changes {
    actions: Vec<(String, Action)>,
}

/// Derives them from the states on both sides of each step.
pub fn of(rotation: &Rotation, done: &Done) -> Result<Changes> {
    let mut actions = Vec::new();
    let mut before = &done.before;
    for (index, step) in done.outcome.steps.iter().enumerate() {
        actions.extend(of_step(rotation, index + 1, before, &step.after)?);
        before = &step.after;
    }
    if done.phase.act == Act::Finish && !actions.is_empty() {
        let nodes = rotation.start.nodes.keys().cloned().collect();
        actions.push(Action {
            step: done.outcome.steps.len() + 1,
            nodes,
            what: What::Forget,
        });
    }
    Ok(named(rotation, actions))
}

/// What the preflight compares: every file that any phase touches, as the snapshot shows it.
pub fn checks(rotation: &Rotation, done: &[Arc<Done>]) -> Changes {
    let mut touched: BTreeMap<NodeName, BTreeSet<NodePath>> = BTreeMap::new();
    for phase in done {
        for (node, paths) in phase.after().changed_files(&phase.before) {
            touched.entry(node).or_default().extend(paths);
        }
    }
    let mut alike: Alike<Option<Looks>> = FxHashMap::default();
    for (node, paths) in touched {
        for path in paths {
            let looks = rotation.start.nodes[&node].files.file(&path).map(Looks::of);
            alike.entry((path, looks)).or_default().push(node.clone());
        }
    }
    let mut merged: BTreeMap<What, BTreeSet<NodeName>> = BTreeMap::new();
    for ((path, _), nodes) in alike {
        let file = rotation.start.nodes[&nodes[0]].files.file(&path);
        let what = What::Check {
            there: file.map(|f| (f.mode, f.owner.clone())),
            pre: file.map_or_else(|| "absent".to_owned(), hash),
            path,
        };
        merged.entry(what).or_default().extend(nodes);
    }
    let actions = merged.into_iter().map(|(what, nodes)| Action {
        step: 1,
        nodes,
        what,
    });
    named(rotation, actions.collect())
}

/// Gives each set of nodes its name.
fn named(rotation: &Rotation, actions: Vec<Action>) -> Changes {
    let mut numbered: BTreeMap<BTreeSet<NodeName>, String> = BTreeMap::new();
    let mut others = 0;
    let actions = actions
        .into_iter()
        .map(|action| {
            let name = numbered.entry(action.nodes.clone()).or_insert_with(|| {
                let name = set_name(&rotation.start, &action.nodes, others);
                others += usize::from(name.starts_with("@set-"));
                name
            });
            (name.clone(), action)
        })
        .collect();
    Changes { actions }
}

/// The actions of one step, equal ones merged, in the order in which a node carries them out.
fn of_step(rotation: &Rotation, step: usize, before: &State, after: &State) -> Result<Vec<Action>> {
    let mut merged: BTreeMap<(u8, NodePath, What), BTreeSet<NodeName>> = BTreeMap::new();
    let restarted = after.restarted_since(before);
    let manifests: BTreeSet<(&NodeName, &NodePath)> = restarted
        .iter()
        .filter_map(|process| match process {
            Process::Program(node, path) => Some((node, path)),
            _ => None,
        })
        .collect();
    let mut alike: Alike<(bool, [Option<Looks>; 2])> = FxHashMap::default();
    for (node, paths) in after.changed_files(before) {
        for path in paths {
            let looks =
                [before, after].map(|state| state.nodes[&node].files.file(&path).map(Looks::of));
            let restarts = manifests.contains(&(&node, &path));
            let nodes = alike.entry((path, (restarts, looks))).or_default();
            nodes.push(node.clone());
        }
    }
    for ((path, (restarts, _)), nodes) in alike {
        let what = file_change(rotation, &nodes[0], &path, before, after);
        // Files first, then each manifest with the restart that it causes, then removals.
        let rank = match &what {
            What::Remove { .. } => 3,
            _ if restarts => 1,
            _ => 0,
        };
        merged.entry((rank, path, what)).or_default().extend(nodes);
    }
    for process in &restarted {
        let (rank, path, what, node) = match process {
            Process::Program(node, path) if unit_of(path).is_some() => {
                (1, path.clone(), What::RestartUnit(path.clone()), node)
            }
            Process::Program(node, path) => {
                let Some(file) = after.file(node, path) else {
                    continue;
                };
                let hash = sha256(file.text.as_bytes());
                let what = What::RestartPod {
                    manifest: path.clone(),
                    hash,
                };
                (1, path.clone(), what, node)
            }
            Process::Kubelet(node) => {
                // Its place in the order is its rank; the path only has to be some path.
                let Ok(path) = NodePath::new("/kubelet") else {
                    continue;
                };
                let health = layout::kubelet(after, node)?.and_then(|kubelet| kubelet.health);
                (2, path, What::RestartKubelet { health }, node)
            }
            Process::Workload(_) | Process::User(_) => continue,
        };
        merged
            .entry((rank, path, what))
            .or_default()
            .insert(node.clone());
    }
    let mut ordered: Vec<_> = merged.into_iter().collect();
    ordered.sort_by_key(|((rank, path, what), nodes)| {
        let restart = matches!(
            what,
            What::RestartPod { .. } | What::RestartUnit(_) | What::RestartKubelet { .. }
        );
        (*rank, path.clone(), restart, nodes.first().cloned())
    });
    let actions = ordered.into_iter();
    Ok(actions
        .map(|((_, _, what), nodes)| Action { step, nodes, what })
        .collect())
}

fn file_change(
    rotation: &Rotation,
    node: &NodeName,
    path: &NodePath,
    before: &State,
    after: &State,
) -> What {
    let pre = before.nodes[node].files.file(path);
    let pre = pre.map_or_else(|| "absent".to_owned(), hash);
    let Some(file) = after.nodes[node].files.file(path) else {
        return What::Remove {
            path: path.clone(),
            pre,
        };
    };
    let keys = if rotation.holds_new_key(&file.text) {
        Keys::New
    } else if references(&file.text).next().is_some() {
        Keys::Kept
    } else {
        Keys::None
    };
    What::Write {
        path: path.clone(),
        mode: file.mode,
        owner: file.owner.clone(),
        pre,
        text: file.text.clone(),
        keys,
    }
}

/// Nodes on which the same happens to a path.
type Alike<K> = FxHashMap<(NodePath, K), Vec<NodeName>>;

/// What files have in common of which one has to be looked at: a text that is one and the same for all of them, by where it
/// lies in memory, mode and owner.
#[derive(PartialEq, Eq, Hash)]
struct Looks {
    text: usize,
    mode: u32,
    owner: Arc<str>,
}

impl Looks {
    fn of(file: &File) -> Looks {
        Looks {
            text: address(&file.text),
            mode: file.mode,
            owner: file.owner.clone(),
        }
    }
}

fn hash(file: &File) -> String {
    sha256(file.text.as_bytes())
}

impl Changes {
    /// CHANGES.
    pub fn table(&self) -> String {
        self.actions
            .iter()
            .map(|(set, action)| {
                let step = action.step;
                match &action.what {
                    What::Write { path, mode, owner, pre, text, keys } => {
                        let post = sha256(text.as_bytes());
                        let keys = match keys {
                            Keys::None => "-",
                            Keys::Kept => "kept",
                            Keys::New => "new",
                        };
                        format!("{step}\t{set}\twrite\t{path}\t{mode:04o}\t{owner}\t{pre}\t{post}\t{keys}\n")
                    }
                    What::Remove { path, pre } => {
                        format!("{step}\t{set}\tremove\t{path}\t-\t-\t{pre}\t-\t-\n")
                    }
                    What::Check { path, there, pre } => {
                        let (mode, owner) = match there {
                            Some((mode, owner)) => (format!("{mode:04o}"), &**owner),
                            None => ("-".to_owned(), "-"),
                        };
                        format!("{step}\t{set}\tcheck\t{path}\t{mode}\t{owner}\t{pre}\t-\t-\n")
                    }
                    What::RestartPod { manifest, hash } => {
                        format!("{step}\t{set}\trestart\tstatic-pod:{manifest}\t-\t-\t-\t{hash}\t-\n")
                    }
                    What::RestartUnit(path) => {
                        let unit = path.file_name();
                        format!("{step}\t{set}\trestart\tunit:{unit}\t-\t-\t-\t-\t-\n")
                    }
                    What::RestartKubelet { health } => {
                        let health = health.map_or("-".to_owned(), |at| format!("http://{at}/healthz"));
                        format!("{step}\t{set}\trestart\tkubelet\t-\t-\t-\t{health}\t-\n")
                    }
                    What::Forget => format!("{step}\t{set}\tforget\t-\t-\t-\t-\t-\t-\n"),
                }
            })
            .collect()
    }

    /// The nodes on which something restarts.
    pub fn restarting_nodes(&self) -> impl Iterator<Item = &NodeName> {
        let restarts = self.actions.iter().map(|(_, action)| action);
        restarts
            .filter(|action| action.restarted().is_some())
            .flat_map(|action| &action.nodes)
    }

    /// Whether a unit of systemd restarts on a node.
    pub fn restarts_unit(&self, node: &NodeName, unit: &NodePath) -> bool {
        let is_it = |what: &What| matches!(what, What::RestartUnit(path) if path == unit);
        let mut actions = self.actions.iter();
        actions.any(|(_, action)| is_it(&action.what) && action.nodes.contains(node))
    }

    /// NODES.
    pub fn nodes_table(&self) -> String {
        let sets: BTreeMap<&String, &BTreeSet<NodeName>> = self
            .actions
            .iter()
            .map(|(set, action)| (set, &action.nodes))
            .collect();
        sets.iter()
            .flat_map(|(set, nodes)| nodes.iter().map(move |node| format!("{set}\t{node}\n")))
            .collect()
    }

    /// The post-images: `<set>/<path>` and text. The last image of a path wins where a phase writes
    /// it twice.
    pub fn images(&self) -> BTreeMap<String, String> {
        self.actions
            .iter()
            .filter_map(|(set, action)| match &action.what {
                What::Write { path, text, .. } => Some((format!("{set}{path}"), text.to_string())),
                _ => None,
            })
            .collect()
    }

    /// The files whose private values are new: node, path, public form.
    pub fn private_files(&self) -> Vec<(NodeName, NodePath, String)> {
        let mut out = Vec::new();
        for (_, action) in &self.actions {
            if let What::Write {
                path,
                text,
                keys: Keys::New,
                ..
            } = &action.what
            {
                for node in &action.nodes {
                    out.push((node.clone(), path.clone(), text.to_string()));
                }
            }
        }
        out
    }

    /// Whether there is anything to do on nodes.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Whether backups are destroyed, and with them the way back.
    pub fn forget(&self) -> bool {
        self.actions
            .iter()
            .any(|(_, action)| matches!(action.what, What::Forget))
    }

    /// The nodes on which something is done.
    pub fn nodes(&self) -> BTreeSet<NodeName> {
        self.actions
            .iter()
            .flat_map(|(_, action)| action.nodes.iter().cloned())
            .collect()
    }

    /// How many files are written or removed, over all nodes.
    pub fn file_count(&self) -> usize {
        let files =
            |action: &Action| matches!(action.what, What::Write { .. } | What::Remove { .. });
        self.actions
            .iter()
            .filter(|(_, a)| files(a))
            .map(|(_, a)| a.nodes.len())
            .sum()
    }

    /// What restarts: in words, with the nodes.
    pub fn restarts(&self) -> BTreeMap<String, BTreeSet<NodeName>> {
        let mut out: BTreeMap<String, BTreeSet<NodeName>> = BTreeMap::new();
        for (_, action) in &self.actions {
            if let Some(what) = action.restarted() {
                let nodes = action.nodes.iter().cloned();
                out.entry(what.to_owned()).or_default().extend(nodes);
            }
        }
        out
    }

    /// What restarts in each step, on each node.
    pub fn restarts_by_step(&self) -> BTreeMap<usize, BTreeMap<&NodeName, Vec<&str>>> {
        let mut out: BTreeMap<usize, BTreeMap<&NodeName, Vec<&str>>> = BTreeMap::new();
        for (_, action) in &self.actions {
            if let Some(what) = action.restarted() {
                let step = out.entry(action.step).or_default();
                for node in &action.nodes {
                    step.entry(node).or_default().push(what);
                }
            }
        }
        out
    }
}
