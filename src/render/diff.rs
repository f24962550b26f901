//! `phase.diff`: every change of a phase, for people. Nodes with the same change share one section, and
//! of changes that are alike (see `alike`) one is shown.
//!
//! Text files are unified diffs that `patch -p1` applies to the pre-images. Where certificates
//! change, their decoded facts are compared instead, with `|` before each line so that no tool takes
//! it for a patch.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use similar::{ChangeTag, TextDiff};

use super::alike::{self, Alike};
use super::cluster::{Ownership, difference, ownership, to_yaml};
use super::decode::{decode_values, decoded};
use crate::names::{NodeName, NodePath};
use crate::parallel;
use crate::phases::Done;
use crate::rotation::Rotation;
use crate::state::{ObjectId, State, address};

/// One section of a phase's diff: one change, with everything that it is made to.
pub struct Section {
    /// What changes.
    pub of: Subject,
    /// Whether there was anything before, and is anything after.
    pub there: (bool, bool),
    /// Whether certificates are shown as their facts.
    pub decoded: bool,
    /// The unified diff; empty where what is shown does not change.
    pub unified: String,
    /// Other changes that are like this one.
    pub alike: Alike,
}

/// What a section is about.
pub enum Subject {
    /// A file, on these nodes.
    File(NodePath, BTreeSet<NodeName>),
    /// Objects, and who makes the change.
    Objects(Vec<ObjectId>, &'static str),
    /// A user's kubeconfig.
    User(NodeName),
}

/// The sections of a phase's diff, in order.
pub fn of(done: &Done, fills_tokens: bool) -> Vec<Section> {
    let (before, after) = (&done.before, done.after());
    let mut out: Vec<Section> = Vec::new();
    for (path, changes) in files(before, after) {
        for (shown, nodes) in grouped_best(path.as_str(), &changes) {
            out.push(shown.into_section(Subject::File(path.clone(), nodes)));
        }
    }
    let mut out = alike::together(out);
    out.extend(objects(before, after, fills_tokens));
    for user in after.changed_users(before) {
        let change = (
            Some(before.users[&user].clone()),
            Some(after.users[&user].clone()),
        );
        out.push(Shown::of("", &change, CONTEXT).into_section(Subject::User(user)));
    }
    out
}

/// Who makes a change that API servers make by themselves when they start.
pub const PUBLISHED: &str = "published by API servers";

/// The whole phase.diff; empty where nothing changes.
pub fn text(rotation: &Rotation, sections: &[Section]) -> String {
    sections
        .iter()
        .map(|section| {
            let heading = match &section.of {
                Subject::File(path, nodes) => {
                    let on = node_names(rotation, nodes);
                    let alike = alike_on(rotation, section);
                    let alike = alike.map(|nodes| format!("# {nodes}: CERTIFICATES\n"));
                    format!("# {path} on {on}\n{}", alike.unwrap_or_default())
                }
                Subject::Objects(ids, owner) => format!("# {}\n# {owner}\n", object_names(ids)),
                Subject::User(user) => format!("# users/{user}.kubeconfig\n"),
            };
            let body = if section.decoded {
                shielded(&section.unified)
            } else {
                format!("{}{}", changed_words(&section.unified), section.unified)
            };
            format!("{heading}{body}\n")
        })
        .collect()
}

/// A text before and after; None where there is no file.
type Change = (Option<Arc<str>>, Option<Arc<str>>);

/// Lines of context, and how few there are when that lets nodes share a section.
const CONTEXT: usize = 3;
const NARROW_CONTEXT: usize = 1;

/// Changed files: for each path the change on each node.
fn files(before: &State, after: &State) -> BTreeMap<NodePath, BTreeMap<NodeName, Change>> {
    let mut out: BTreeMap<NodePath, BTreeMap<NodeName, Change>> = BTreeMap::new();
    let text = |state: &State, node: &NodeName, path: &NodePath| {
        let file = state.nodes[node].files.file(path);
        file.map(|file| file.text.clone())
    };
    for (node, paths) in after.changed_files(before) {
        for path in paths {
            let change = (text(before, &node, &path), text(after, &node, &path));
            out.entry(path).or_default().insert(node.clone(), change);
        }
    }
    out
}

/// The changes of one path, nodes with the same change together, with as much context as that allows.
fn grouped_best(
    path: &str,
    changes: &BTreeMap<NodeName, Change>,
) -> Vec<(Shown, BTreeSet<NodeName>)> {
    let wide = grouped(path, changes, CONTEXT);
    // Of decoded changes only what changes tells them apart.
    if wide.len() == 1 || wide.iter().all(|(shown, _)| shown.decoded) {
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
) -> Vec<(Shown, BTreeSet<NodeName>)> {
    // Texts that are one and the same give equal sections: on many nodes most are.
    let mut distinct: FxHashMap<[usize; 2], usize> = FxHashMap::default();
    let mut alike: Vec<(&Change, Vec<&NodeName>)> = Vec::new();
    for (node, change) in changes {
        let lies_at = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |t| address(t));
        let texts = [lies_at(&change.0), lies_at(&change.1)];
        let index = *distinct.entry(texts).or_insert_with(|| {
            alike.push((change, Vec::new()));
            alike.len() - 1
        });
        alike[index].1.push(node);
    }
    let shown = parallel::map(&alike, |(change, _)| {
        let shown = Shown::of(path, change, context);
        (shown.key(), shown)
    });
    let mut keyed: FxHashMap<String, usize> = FxHashMap::default();
    let mut out: Vec<(Shown, BTreeSet<NodeName>)> = Vec::new();
    for ((key, shown), (_, nodes)) in shown.into_iter().zip(alike) {
        let index = *keyed.entry(key).or_insert_with(|| {
            out.push((shown, BTreeSet::new()));
            out.len() - 1
        });
        out[index].1.extend(nodes.into_iter().cloned());
    }
    out
}

/// A change as it is shown.
struct Shown {
    there: (bool, bool),
    decoded: bool,
    unified: String,
}

impl Shown {
    fn of(path: &str, change: &Change, context: usize) -> Shown {
        let (old, new) = (Side::of(change.0.as_ref()), Side::of(change.1.as_ref()));
        let decoded = old.decoded || new.decoded;
        let label = |side: &Side, prefix: &str, words: &str| match (side.there, decoded) {
            (false, true) => "absent".to_owned(),
            (false, false) => "/dev/null".to_owned(),
            (true, true) => words.to_owned(),
            (true, false) => format!("{prefix}{path}"),
        };
        let from = label(&old, "a", "before (decoded)");
        let to = label(&new, "b", "after (decoded)");
        Shown {
            there: (old.there, new.there),
            decoded,
            unified: unified(&from, &to, &old.shown, &new.shown, context),
        }
    }

    /// What makes two nodes' changes the same: for a patch all of it, for decoded facts the lines
    /// that change (their surroundings differ in addresses and names).
    fn key(&self) -> String {
        if !self.decoded {
            return self.unified.clone();
        }
        self.unified
            .lines()
            .filter(|l| l.starts_with(['+', '-']))
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn into_section(self, of: Subject) -> Section {
        Section {
            of,
            there: self.there,
            decoded: self.decoded,
            unified: self.unified,
            alike: Alike::default(),
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

/// Lines that are longer than this are hard to compare.
const LONG: usize = 240;

/// The words that change in long lines, as comments: a whole command may stand in one line.
fn changed_words(diff: &str) -> String {
    let mut out = String::new();
    let mut removed: VecDeque<&str> = VecDeque::new();
    // Behind the two lines that name the file.
    for line in diff.lines().skip(2) {
        if let Some(old) = line.strip_prefix('-') {
            removed.push_back(old);
            continue;
        }
        if let Some(new) = line.strip_prefix('+')
            && let Some(old) = removed.pop_front()
        {
            if old.len().max(new.len()) > LONG {
                let words = |line| str::split_whitespace(line).collect::<Vec<_>>();
                let (old, new) = (words(old), words(new));
                for change in TextDiff::from_slices(&old, &new).iter_all_changes() {
                    match change.tag() {
                        ChangeTag::Delete => out.push_str(&format!("#   - {}\n", change.value())),
                        ChangeTag::Insert => out.push_str(&format!("#   + {}\n", change.value())),
                        ChangeTag::Equal => {}
                    }
                }
            }
            continue;
        }
        removed.clear();
    }
    if !out.is_empty() {
        out.insert_str(0, "# what changes in a long line, word by word:\n");
    }
    out
}

fn shielded(diff: &str) -> String {
    diff.lines().map(|line| format!("| {line}\n")).collect()
}

/// Changed objects: equal changes by the same owner share a section.
fn objects(before: &State, after: &State, fills_tokens: bool) -> Vec<Section> {
    let mut grouped: BTreeMap<(&'static str, String), Vec<ObjectId>> = BTreeMap::new();
    for id in after.changed_objects(before) {
        let (Some(old), Some(new)) = (before.object(&id), after.object(&id)) else {
            continue;
        };
        let yaml = |from, to| {
            let mut value = difference(&id, from, to, false);
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
            Ownership::Pruned => PUBLISHED,
        };
        let diff = unified("before", "after", &yaml(new, old), &yaml(old, new), CONTEXT);
        grouped.entry((owner, diff)).or_default().push(id);
    }
    let section = |((owner, unified), ids)| Section {
        of: Subject::Objects(ids, owner),
        there: (true, true),
        decoded: true,
        unified,
        alike: Alike::default(),
    };
    grouped.into_iter().map(section).collect()
}

/// Where a change that is like this one is made; None where there is none.
pub fn alike_on(rotation: &Rotation, section: &Section) -> Option<String> {
    let others = section.alike.members.iter().skip(1);
    let nodes: BTreeSet<NodeName> = others.flat_map(|member| member.nodes.clone()).collect();
    let on = node_names(rotation, &nodes);
    (!nodes.is_empty()).then(|| format!("alike on {on}, each with a certificate of its own"))
}

/// All of them, or each by name.
pub fn node_names(rotation: &Rotation, nodes: &BTreeSet<NodeName>) -> String {
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
