//! Reading what the collector gathered: the only place in carota that reads a snapshot from disk.
//!
//! Everything is checked here, where it enters: names and paths, the collector's own hashes, sizes,
//! text where text is expected, and that no private value came along. Behind this door is a State.

mod files;
mod light;
mod objects;
mod strict;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::input;
use crate::names::NodeName;
use crate::parallel;
use crate::spec::{NodeSpec, Role, Spec};
use crate::state::{State, Texts};

/// Reads a snapshot for a cluster.toml: its nodes must be those that the snapshot holds.
///
/// `folder` is where the snapshot lies on this machine; messages name it `snapshot/…` whatever its
/// place.
pub fn read(folder: &Path, spec: &Spec) -> Result<State> {
    let found = node_folders(folder)?;
    for (name, declared) in &spec.nodes {
        if !found.contains(name) {
            return Err(node_missing(name, declared));
        }
    }
    if let Some(foreign) = found.iter().find(|name| !spec.nodes.contains_key(*name)) {
        return Err(Diagnostic::new(
            Code::SnapshotWithoutNode,
            format!("the snapshot holds node `{foreign}`, which is not declared"),
            format!("declare it: [[node]] with name = \"{foreign}\" and its role; or remove nodes/{foreign}"),
        )
        .at(spec.start()));
    }
    let roles = spec
        .nodes
        .iter()
        .map(|(name, node)| (name.clone(), node.role));
    assemble(folder, &roles.collect::<Vec<_>>())
}

/// Reads a snapshot without a cluster.toml, for `carota init`. Every node is a worker until what
/// runs on it says otherwise.
pub fn survey(folder: &Path) -> Result<State> {
    let names = node_folders(folder)?.into_iter();
    assemble(
        folder,
        &names.map(|name| (name, Role::Worker)).collect::<Vec<_>>(),
    )
}

fn assemble(folder: &Path, roles: &[(NodeName, Role)]) -> Result<State> {
    let texts = Mutex::new(Texts::default());
    let (objects, read) = parallel::both(
        || objects::read(folder),
        || {
            parallel::map(roles, |(name, role)| {
                files::read_node(folder, name, *role, &texts)
            })
        },
    );
    let mut nodes = BTreeMap::new();
    for ((name, _), node) in roles.iter().zip(read) {
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

/// A text as it is kept, whoever read it first.
fn once(texts: &Mutex<Texts>, text: &str) -> Arc<str> {
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

/// The names of the folders below `nodes/`.
fn node_folders(folder: &Path) -> Result<Vec<NodeName>> {
    let entries = fs::read_dir(folder.join("nodes")).map_err(|e| {
        Diagnostic::new(
            Code::SnapshotShape,
            format!("the snapshot has no readable folder nodes/: {}", e.kind()),
            "point cluster.snapshot at what the collector wrote",
        )
        .at(Place::start_of("snapshot/nodes"))
    })?;
    let mut out = Vec::new();
    for entry in entries {
        let name = entry
            .ok()
            .and_then(|e| e.file_name().into_string().ok())
            .unwrap_or_else(|| "\u{fffd}".to_owned());
        out.push(NodeName::new(&name).map_err(|why| {
            Diagnostic::new(
                Code::HostileName,
                format!("a folder in snapshot/nodes is no node: {why}"),
                "remove what is not a node's folder",
            )
            .at(Place::start_of(&format!("snapshot/nodes/{name}")))
        })?);
    }
    out.sort();
    Ok(out)
}

/// Reads a text file of the snapshot. `label` is its name in messages. A link is refused: it could
/// lead out of the snapshot.
fn read_text(path: &Path, label: &str, limit: u64) -> Result<String> {
    let remedy = "take the snapshot again";
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink()) {
        let why = "this is a symbolic link, not a regular file";
        return Err(Diagnostic::new(Code::FileUnreadable, why, remedy).at(Place::start_of(label)));
    }
    input::read_text(path, label, limit, remedy)
}
