//! `phase.diff`: every change of a phase, for people. Nodes with the same change share one section.
//!
//! Text files are unified diffs that `patch -p1` applies to the pre-images. Where certificates
//! change, their decoded facts are compared instead, with `|` before each line so that no tool takes
//! it for a patch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use similar::TextDiff;

use super::cluster::{Ownership, difference, ownership, to_yaml};
use super::decode::{decode_values, decoded};
use crate::names::{NodeName, NodePath};
use crate::phases::Done;
use crate::rotation::Rotation;
use crate::state::{Entry, ObjectId, State};

/// The whole phase.diff; empty where nothing changes.
pub fn of(rotation: &Rotation, done: &Done, fills_tokens: bool) -> String {
    let (before, after) = (&done.before, done.after());
    let mut out = String::new();
    for (path, changes) in files(before, after) {
        for (body, nodes) in sections(path.as_str(), &changes) {
            out.push_str(&format!(
                "# {path} on {}\n{body}\n",
                names(rotation, &nodes)
            ));
        }
    }
    for (body, ids) in objects(before, after, fills_tokens) {
        out.push_str(&format!("# {}\n{body}\n", object_names(&ids)));
    }
    for user in after.changed_users(before) {
        let change = (
            Some(before.users[&user].clone()),
            Some(after.users[&user].clone()),
        );
        let body = Section::of("", &change, CONTEXT).body;
        out.push_str(&format!("# users/{user}.kubeconfig\n{body}\n"));
    }
    out
}

/// A text before and after; None where there is no file.
type Change = (Option<Arc<str>>, Option<Arc<str>>);

/// Lines of context, and how few there are when that lets nodes share a section.
const CONTEXT: usize = 3;
const NARROW_CONTEXT: usize = 1;

/// Changed files: for each path the change on each node.
fn files(before: &State, after: &State) -> BTreeMap<NodePath, BTreeMap<NodeName, Change>> {
    let mut out: BTreeMap<NodePath, BTreeMap<NodeName, Change>> = BTreeMap::new();
    let text =
        |state: &State, node: &NodeName, path: &NodePath| match state.nodes[node].files.get(path) {
            Some(Entry::File(file)) => Some(file.text.clone()),
            _ => None,
        };
    for (node, paths) in after.changed_files(before) {
        for path in paths {
            let change = (text(before, &node, &path), text(after, &node, &path));
            out.entry(path).or_default().insert(node.clone(), change);
        }
    }
    out
}

/// The sections for one path: nodes with the same change share one.
fn sections(path: &str, changes: &BTreeMap<NodeName, Change>) -> Vec<(String, BTreeSet<NodeName>)> {
    let wide = grouped(path, changes, CONTEXT);
    if wide.len() == 1 {
        return wide;
    }
    let narrow = grouped(path, changes, NARROW_CONTEXT);
    if narrow.len() < wide.len() {
        narrow
    } else {
        wide
    }
}

fn grouped(
    path: &str,
    changes: &BTreeMap<NodeName, Change>,
    context: usize,
) -> Vec<(String, BTreeSet<NodeName>)> {
    let mut keyed: BTreeMap<String, usize> = BTreeMap::new();
    let mut out: Vec<(String, BTreeSet<NodeName>)> = Vec::new();
    // Equal texts give equal sections: on many nodes most are.
    let mut seen: BTreeMap<&Change, usize> = BTreeMap::new();
    for (node, change) in changes {
        let index = *seen.entry(change).or_insert_with(|| {
            let section = Section::of(path, change, context);
            *keyed.entry(section.key).or_insert_with(|| {
                out.push((section.body, BTreeSet::new()));
                out.len() - 1
            })
        });
        out[index].1.insert(node.clone());
    }
    out
}

/// One section of the diff.
struct Section {
    body: String,
    /// What makes two nodes' changes the same: for a patch all of it, for decoded facts the lines
    /// that change (their surroundings differ in addresses and names).
    key: String,
}

impl Section {
    fn of(path: &str, change: &Change, context: usize) -> Section {
        let (old, new) = (Side::of(change.0.as_ref()), Side::of(change.1.as_ref()));
        let is_decoded = old.decoded || new.decoded;
        let label = |side: &Side, prefix: &str, words: &str| match (side.there, is_decoded) {
            (false, true) => "absent".to_owned(),
            (false, false) => "/dev/null".to_owned(),
            (true, true) => words.to_owned(),
            (true, false) => format!("{prefix}{path}"),
        };
        let from = label(&old, "a", "before (decoded)");
        let to = label(&new, "b", "after (decoded)");
        let body = unified(&from, &to, &old.shown, &new.shown, context);
        if !is_decoded {
            return Section {
                key: body.clone(),
                body,
            };
        }
        let key = body
            .lines()
            .filter(|l| l.starts_with(['+', '-']))
            .collect::<Vec<_>>()
            .join("\n");
        Section {
            key,
            body: shielded(&body),
        }
    }
}

/// One side of a change as it is shown.
struct Side {
    shown: Arc<str>,
    there: bool,
    decoded: bool,
}

impl Side {
    fn of(text: Option<&Arc<str>>) -> Side {
        let facts = text.and_then(|text| decoded(text));
        Side {
            there: text.is_some(),
            decoded: facts.is_some(),
            shown: facts.or_else(|| text.cloned()).unwrap_or_default(),
        }
    }
}

fn unified(from: &str, to: &str, old: &str, new: &str, context: usize) -> String {
    TextDiff::from_lines(old, new)
        .unified_diff()
        .context_radius(context)
        .header(from, to)
        .to_string()
}

fn shielded(diff: &str) -> String {
    diff.lines().map(|line| format!("| {line}\n")).collect()
}

/// Changed objects: the text of the change, with the objects that have it.
fn objects(before: &State, after: &State, fills_tokens: bool) -> BTreeMap<String, Vec<ObjectId>> {
    let mut out: BTreeMap<String, Vec<ObjectId>> = BTreeMap::new();
    for id in after.changed_objects(before) {
        let (Some(old), Some(new)) = (before.object(&id), after.object(&id)) else {
            continue;
        };
        let yaml = |from, to| {
            let mut value = difference(&id, from, to);
            // The names stand above; without them equal changes share one section.
            if let Some(map) = value.as_object_mut() {
                map.remove("metadata");
            }
            decode_values(&mut value);
            to_yaml(&value)
        };
        let owner = match ownership(&id, new, fills_tokens) {
            Ownership::Applied => "applied",
            Ownership::Awaited => "written by its controller, waited for",
            Ownership::Pruned => "published by API servers",
        };
        let diff = unified("before", "after", &yaml(new, old), &yaml(old, new), CONTEXT);
        let body = format!("# {owner}\n{}", shielded(&diff));
        out.entry(body).or_default().push(id);
    }
    out
}

fn names(rotation: &Rotation, nodes: &BTreeSet<NodeName>) -> String {
    if nodes.len() > 1 && nodes.len() == rotation.start.nodes.len() {
        return format!("all {} nodes", nodes.len());
    }
    listed(nodes.iter().map(ToString::to_string))
}

fn object_names(ids: &[ObjectId]) -> String {
    listed(ids.iter().map(ToString::to_string))
}

/// The first few, and how many more.
fn listed(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    let shown = 12;
    let mut out = names
        .iter()
        .take(shown)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > shown {
        out.push_str(&format!(" and {} more", names.len() - shown));
    }
    out
}
