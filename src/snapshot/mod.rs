//! Reading what the collector gathered: the only place in carota that reads a snapshot from disk.
//!
//! Everything is checked here, where it enters: names and paths, the collector's own hashes, sizes,
//! text where text is expected, and that no private value came along. Behind this door is a State.

mod files;
mod fold;
mod forms;
mod light;
mod objects;
mod sets;
mod strict;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::input;
use crate::names::NodeName;
use crate::parallel;
use crate::spec::{NodeSpec, Role, Spec};
use crate::state::{Node, State, Texts};

pub use fold::{Folded, fold, unfold};
use sets::Set;

/// Reads a snapshot for a cluster.toml: its nodes must be those that the snapshot holds.
///
/// `folder` is where the snapshot lies on this machine. Errors, here and wherever a State is looked at, name it
/// `snapshot/…` whatever its place; [`on_disk`] makes of that what its user calls it.
pub fn read(folder: &Path, spec: &Spec) -> Result<State> {
    let texts = Mutex::new(Texts::default());
    let places = Places::find(folder, &texts)?;
    for (name, declared) in &spec.nodes {
        if !places.nodes.contains_key(name) {
            return Err(node_missing(name, declared));
        }
    }
    if let Some(foreign) = places
        .nodes
        .keys()
        .find(|name| !spec.nodes.contains_key(*name))
    {
        return Err(Diagnostic::new(
            Code::SnapshotWithoutNode,
            format!("the snapshot holds node `{foreign}`, which is not declared"),
            format!("declare it: [[node]] with name = \"{foreign}\" and its role; or remove nodes/{foreign}"),
        )
        .at(last_declared(spec)));
    }
    assemble(folder, &places, &|name| spec.nodes[name].role, &texts)
}

/// Where another node would be declared: below the last one.
fn last_declared(spec: &Spec) -> Place {
    let places = spec.nodes.values().map(|node| &node.place);
    places.max().cloned().unwrap_or_else(|| spec.start())
}

/// Reads a snapshot without a cluster.toml, for `carota init`. Every node is a worker until what
/// runs on it says otherwise.
pub fn survey(folder: &Path) -> Result<State> {
    let texts = Mutex::new(Texts::default());
    let places = Places::find(folder, &texts)?;
    assemble(folder, &places, &|_| Role::Worker, &texts)
}

fn assemble(
    folder: &Path,
    places: &Places,
    role: &(dyn Fn(&NodeName) -> Role + Sync),
    texts: &Mutex<Texts>,
) -> Result<State> {
    places.refuse_outdated()?;
    let names: Vec<&NodeName> = places.nodes.keys().collect();
    let (objects, read) = parallel::both(
        || objects::read(folder),
        || parallel::map(&names, |name| places.read(folder, name, role(name), texts)),
    );
    let mut nodes = BTreeMap::new();
    for (name, node) in names.into_iter().zip(read) {
        nodes.insert(name.clone(), Arc::new(node?));
    }
    Ok(State {
        number: 0,
        nodes: nodes.into(),
        objects: objects?.into(),
        users: files::read_users(folder)?,
        handed_out: BTreeMap::new(),
        started: BTreeMap::new().into(),
    })
}

/// Where the files of each node lie.
struct Places {
    sets: Vec<(String, Set)>,
    nodes: BTreeMap<NodeName, Lies>,
    /// Nodes that have a folder of their own, and that a set of this number knows as well.
    twice: BTreeMap<NodeName, usize>,
}

/// Where the files of a node lie.
enum Lies {
    /// In a folder of its own.
    Alone,
    /// In a set: its number, and that of the row.
    InSet(usize, usize),
}

impl Places {
    /// Looks at the folders below `nodes/`, and reads the sets.
    fn find(folder: &Path, texts: &Mutex<Texts>) -> Result<Places> {
        let mut out = Places {
            sets: Vec::new(),
            nodes: BTreeMap::new(),
            twice: BTreeMap::new(),
        };
        for name in folders(folder)? {
            if sets::is_name_of_set(&name) {
                let set = Set::read(folder, &name, texts)?;
                out.sets.push((name, set));
            } else {
                out.nodes.insert(node_name(&name)?, Lies::Alone);
            }
        }
        for (number, (label, set)) in out.sets.iter().enumerate() {
            for (row, name) in set.nodes().enumerate() {
                match out.nodes.get(name) {
                    None => {
                        let lies = Lies::InSet(number, row);
                        out.nodes.insert(name.clone(), lies);
                    }
                    Some(Lies::Alone) => {
                        out.twice.insert(name.clone(), number);
                    }
                    Some(Lies::InSet(..)) => {
                        return Err(Diagnostic::new(
                            Code::SnapshotShape,
                            format!("node `{name}` is in two sets"),
                            "remove the folder that is not of this snapshot",
                        )
                        .at(Place::start_of(&format!(
                            "snapshot/nodes/{label}/{}",
                            sets::TABLE
                        ))));
                    }
                }
            }
        }
        Ok(out)
    }

    /// Refuses a node that lies in a folder of its own and in a set: which of them is right?
    fn refuse_outdated(&self) -> Result<()> {
        let Some((name, set)) = self.twice.first_key_value() else {
            return Ok(());
        };
        let set = &self.sets[*set].0;
        Err(Diagnostic::new(
            Code::SnapshotShape,
            format!("node `{name}` has a folder of its own, and a row in nodes/{set}"),
            "if it was collected again, `carota fold` puts the new one in the place of the old; otherwise remove the folder",
        )
        .at(Place::start_of(&format!("snapshot/nodes/{name}"))))
    }

    fn read(
        &self,
        folder: &Path,
        name: &NodeName,
        role: Role,
        texts: &Mutex<Texts>,
    ) -> Result<Node> {
        match self.nodes[name] {
            Lies::Alone => Ok(files::read_node(folder, name, role, texts)?.0),
            Lies::InSet(set, row) => self.sets[set].1.node(row, role, texts),
        }
    }
}

/// An error about the snapshot as its user meets it: `folder` is where the snapshot lies, `named` what they call it. Of a
/// node that lies in a set there is no such file as the place says: the remedy says so.
#[must_use]
pub fn on_disk(folder: &Path, named: &str, mut error: Diagnostic) -> Diagnostic {
    let file = error.place.as_ref().map_or("", |place| &place.file);
    let node = file
        .strip_prefix("snapshot/nodes/")
        .and_then(|path| Some(path.split_once('/')?.0));
    if let Some(node) = node.filter(|node| !folder.join("nodes").join(node).exists())
        && let Some((set, row)) = row_of(folder, node)
    {
        let _ = write!(
            error.remedy,
            "; node {node} lies in a set, with its values in nodes/{set}/{}:{row}",
            sets::TABLE
        );
    }
    called(named, error)
}

/// The set that has a row for a node, and the line of that in NODES.
fn row_of(folder: &Path, node: &str) -> Option<(String, usize)> {
    let begin = format!("{node}\t");
    let row = |set: &String| {
        let table = folder.join("nodes").join(set).join(sets::TABLE);
        let table = input::read_text(&table, "", input::MAX_LIST, "").ok()?;
        let at = table.lines().position(|line| line.starts_with(&begin))?;
        Some((set.clone(), at + 1))
    };
    let folders = folders(folder).ok()?;
    let mut sets = folders.iter().filter(|name| sets::is_name_of_set(name));
    sets.find_map(row)
}

/// The same error, about the snapshot by the name that its user gave it.
fn called(named: &str, mut error: Diagnostic) -> Diagnostic {
    if let Some(place) = &mut error.place
        && let Some(inside) = place.file.strip_prefix("snapshot")
        && (inside.is_empty() || inside.starts_with('/'))
    {
        place.file = format!("{}{inside}", named.trim_end_matches('/'));
    }
    error
}

/// A text as it is kept, whoever read it first.
fn once(texts: &Mutex<Texts>, text: impl AsRef<str> + Into<Arc<str>>) -> Arc<str> {
    let mut texts = texts.lock().unwrap_or_else(PoisonError::into_inner);
    texts.keep(text)
}

fn node_missing(name: &NodeName, declared: &NodeSpec) -> Diagnostic {
    Diagnostic::new(
        Code::NodeWithoutSnapshot,
        format!("node `{name}` has no folder in the snapshot"),
        format!("run `sh collect.sh node` on it and put nodes/{name} into the snapshot, or remove the declaration"),
    )
    .at(declared.place.clone())
}

/// The names of the folders below `nodes/`, in order.
fn folders(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder.join("nodes")).map_err(|e| {
        let (reason, label) = if fs::metadata(folder).is_err() {
            ("there is no snapshot here", "snapshot")
        } else {
            (
                "the snapshot has no readable folder nodes/",
                "snapshot/nodes",
            )
        };
        Diagnostic::new(
            Code::SnapshotShape,
            format!("{reason}: {}", input::why(&e)),
            "name the folder that the collector wrote; in cluster.toml it is cluster.snapshot",
        )
        .at(Place::start_of(label))
    })?;
    let name = |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    let mut out: Vec<String> = entries
        .map(|entry| name(entry).unwrap_or_else(|| "\u{fffd}".to_owned()))
        .collect();
    out.sort();
    Ok(out)
}

fn node_name(folder: &str) -> Result<NodeName> {
    NodeName::new(folder).map_err(|why| {
        Diagnostic::new(
            Code::HostileName,
            format!("a folder in snapshot/nodes is no node: {why}"),
            "remove what is not a node's folder",
        )
        .at(Place::start_of(&format!("snapshot/nodes/{folder}")))
    })
}

/// Reads a text file of the snapshot. `label` is its name in messages. A link is refused: it could
/// lead out of the snapshot.
fn read_text(path: &Path, label: &str, limit: u64) -> Result<String> {
    input::read_text_no_link(path, label, limit, "take the snapshot again")
}
