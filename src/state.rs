//! The one idea of carota: a rotation is a sequence of **states**.
//!
//! A [`State`] is the cluster at one moment: the files of each node, the API objects, users'
//! kubeconfigs, and for each process the number of the state in which it last started. A process
//! goes on trusting what it read until it starts again (or is known to reload that file), so what a
//! process may be using in state k follows from the states between its start and k; nothing about
//! it has to be written down twice.
//!
//! States are immutable and share what they have in common. A phase makes the next one from the
//! last with a [`Draft`]. Everything a reader sees (diffs, hashes, restarts, the way back) is derived
//! from two neighbouring states. This module knows nothing of certificates, phases or output.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use rustc_hash::FxHashSet;
use serde_json::Value;

use crate::names::{NodeName, NodePath, is_same};
use crate::parallel;
use crate::spec::{Role, Workload};

/// A regular file on a node, in its public form.
#[derive(Clone, Debug)]
pub struct File {
    /// The public form: private values are `carota-kept:` references.
    pub text: Arc<str>,
    /// Permission bits.
    pub mode: u32,
    /// `uid:gid`.
    pub owner: Arc<str>,
}

impl PartialEq for File {
    /// Most files that are compared have one and the same text, which is seen without reading it.
    fn eq(&self, other: &File) -> bool {
        self.mode == other.mode
            && is_same(&self.owner, &other.owner)
            && is_same(&self.text, &other.text)
    }
}

impl Eq for File {}

/// Texts that were read or written: the same text on many nodes is kept once.
#[derive(Clone, Debug, Default)]
pub struct Texts(FxHashSet<Arc<str>>);

impl Texts {
    /// The text as it is kept.
    pub fn keep(&mut self, text: impl AsRef<str> + Into<Arc<str>>) -> Arc<str> {
        if let Some(known) = self.0.get(text.as_ref()) {
            return known.clone();
        }
        let text = text.into();
        self.0.insert(text.clone());
        text
    }
}

/// Where a text lies in memory: of texts that are kept, the same one lies at the same place for as long as somebody has it.
#[must_use]
pub fn address(text: &str) -> usize {
    text.as_ptr() as usize
}

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file that carota may read and change.
    File(File),
    /// A symbolic link and its target as stored.
    Link(Arc<str>),
    /// A file that exists, but whose content the collector withheld.
    Withheld,
}

/// What lies at the paths of a node, in the order of the paths. A list takes a third of a tree's room, and each
/// state of thousands of nodes has its own; the paths are the same one list until one is added or taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    paths: Arc<[NodePath]>,
    entries: Vec<Entry>,
}

impl Files {
    fn find(&self, path: &str) -> Result<usize, usize> {
        self.paths.binary_search_by(|at| at.as_str().cmp(path))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The path as it is kept here, and what lies there.
    #[must_use]
    pub fn get_key_value(&self, path: &NodePath) -> Option<(&NodePath, &Entry)> {
        let at = self.find(path.as_str()).ok()?;
        Some((&self.paths[at], &self.entries[at]))
    }

    /// What lies at a path.
    #[must_use]
    pub fn get(&self, path: &NodePath) -> Option<&Entry> {
        self.get_key_value(path).map(|(_, entry)| entry)
    }

    /// The regular file at a path, which is no link to one.
    #[must_use]
    pub fn file(&self, path: &NodePath) -> Option<&File> {
        match self.get(path)? {
            Entry::File(file) => Some(file),
            _ => None,
        }
    }

    /// What lies at a path, to be changed.
    pub fn get_mut(&mut self, path: &NodePath) -> Option<&mut Entry> {
        let at = self.find(path.as_str()).ok()?;
        Some(&mut self.entries[at])
    }

    /// Whether anything lies at a path.
    #[must_use]
    pub fn contains_key(&self, path: &NodePath) -> bool {
        self.find(path.as_str()).is_ok()
    }

    /// Puts something at a path, and gives what lay there.
    pub fn insert(&mut self, path: NodePath, entry: Entry) -> Option<Entry> {
        match self.find(path.as_str()) {
            Ok(at) => Some(std::mem::replace(&mut self.entries[at], entry)),
            Err(at) => {
                let (before, after) = self.paths.split_at(at);
                let before = before.iter().cloned();
                self.paths = before.chain([path]).chain(after.iter().cloned()).collect();
                // A list grows by an entry or two, and thousands of nodes have one.
                self.entries.reserve_exact(1);
                self.entries.insert(at, entry);
                None
            }
        }
    }

    /// Takes away what lies at a path.
    pub fn remove(&mut self, path: &NodePath) -> Option<Entry> {
        let at = self.find(path.as_str()).ok()?;
        let (before, after) = self.paths.split_at(at);
        self.paths = before.iter().chain(&after[1..]).cloned().collect();
        Some(self.entries.remove(at))
    }

    /// The paths and what lies there.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&NodePath, &Entry)> {
        self.paths.iter().zip(&self.entries)
    }

    /// The paths.
    pub fn keys(&self) -> impl Iterator<Item = &NodePath> {
        self.paths.iter()
    }

    /// What lies there, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    /// The paths from this text on, and what lies there.
    fn starting_at(&self, text: &str) -> impl Iterator<Item = (&NodePath, &Entry)> + use<'_> {
        let (Ok(first) | Err(first)) = self.find(text);
        self.paths[first..].iter().zip(&self.entries[first..])
    }
}

impl From<BTreeMap<NodePath, Entry>> for Files {
    fn from(files: BTreeMap<NodePath, Entry>) -> Files {
        let (paths, entries): (Vec<_>, _) = files.into_iter().unzip();
        let paths = paths.into();
        Files { paths, entries }
    }
}

/// One node's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What the node does.
    pub role: Role,
    /// Its files, links included.
    pub files: Files,
}

impl Node {
    /// The path that `path` leads to after following links, if it ends at something known.
    #[must_use]
    pub fn resolve(&self, path: &NodePath) -> Option<NodePath> {
        let mut at = path.clone();
        // Linux gives up after 40 links; a snapshot needs a handful.
        for _ in 0..40 {
            match self.files.get(&at)? {
                Entry::Link(target) => at = at.named(target)?,
                _ => return Some(at),
            }
        }
        None
    }

    /// The file that `path` leads to, following links.
    #[must_use]
    pub fn file(&self, path: &NodePath) -> Option<(&NodePath, &File)> {
        let direct = self.files.get_key_value(path)?;
        let at = match direct.1 {
            Entry::Link(_) => self.files.get_key_value(&self.resolve(path)?)?,
            _ => direct,
        };
        match at {
            (path, Entry::File(file)) => Some((path, file)),
            _ => None,
        }
    }

    /// What lies directly in a folder, in order of the names.
    pub fn in_folder<'a>(
        &'a self,
        folder: &str,
    ) -> impl Iterator<Item = (&'a NodePath, &'a Entry)> + use<'a> {
        let begin = format!("{folder}/");
        let depth = begin.len();
        self.files
            .starting_at(&begin)
            .take_while(move |(path, _)| path.as_str().starts_with(&begin))
            .filter(move |(path, _)| !path.as_str()[depth..].contains('/'))
    }

    /// The private key that lies beside a certificate by custom.
    #[must_use]
    pub fn key_beside(&self, certificate: &NodePath) -> Option<NodePath> {
        let mut keys = certificate.keys().into_iter();
        keys.find(|key| key != certificate && self.files.contains_key(key))
    }

    /// The paths whose entry is not that of `before`.
    fn changed_since(self: &Arc<Node>, before: &Arc<Node>) -> BTreeSet<NodePath> {
        let mut out = BTreeSet::new();
        if Arc::ptr_eq(self, before) {
            return out;
        }
        // Both are in the order of their paths.
        let (mut new, mut old) = (self.files.iter().peekable(), before.files.iter().peekable());
        loop {
            let (path, same) = match (new.peek(), old.peek()) {
                (None, None) => return out,
                (Some((a, x)), Some((b, y))) if a == b => (*a, x == y),
                (Some((a, _)), Some((b, _))) => (*a.min(b), false),
                (Some((path, _)), None) | (None, Some((path, _))) => (*path, false),
            };
            if !same {
                out.insert(path.clone());
            }
            new.next_if(|(at, _)| *at == path);
            old.next_if(|(at, _)| *at == path);
        }
    }

    /// The regular files with their paths.
    pub fn regular_files(&self) -> impl Iterator<Item = (&NodePath, &File)> {
        self.files.iter().filter_map(|(path, entry)| match entry {
            Entry::File(file) => Some((path, file)),
            _ => None,
        })
    }
}

/// Names an API object: plural kind (as in kubectl), namespace (empty for cluster-wide), name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Plural, lower case: `configmaps`.
    pub kind: Arc<str>,
    /// Empty for objects without a namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ObjectId {
    /// An id from its parts.
    #[must_use]
    pub fn new(kind: &str, namespace: &str, name: &str) -> ObjectId {
        ObjectId {
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl From<&Workload> for ObjectId {
    fn from(workload: &Workload) -> ObjectId {
        ObjectId::new(&workload.kind, &workload.namespace, &workload.name)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}/{}", self.kind, self.name)
        } else {
            write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// Something that reads certificates when it starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Process {
    /// The control-plane program that the file at this path starts: a static pod's manifest, whose change
    /// restarts it, or a unit of systemd.
    Program(NodeName, NodePath),
    /// A node's kubelet.
    Kubelet(NodeName),
    /// All pods of a workload (`deployments/ns/name`) or one bare pod (`pods/ns/name`).
    Workload(ObjectId),
    /// The holder of a kubeconfig outside the nodes. Starting means: confirmed that the file handed
    /// out in that state is in use, or a later one.
    User(NodeName),
}

impl Process {
    /// The node it runs on, if it is one node's.
    #[must_use]
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Process::Program(node, _) | Process::Kubelet(node) => Some(node),
            Process::Workload(_) | Process::User(_) => None,
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Process::Program(node, path) => {
                let what = if path.file_name().ends_with(".service") {
                    "unit"
                } else {
                    "static pod"
                };
                write!(f, "{what} {path} on {node}")
            }
            Process::Kubelet(node) => write!(f, "kubelet on {node}"),
            Process::Workload(id) => write!(f, "{id}"),
            Process::User(name) => write!(f, "user {name}"),
        }
    }
}

/// A map that is the same one in all states until one of them changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared<K, V>(Arc<BTreeMap<K, V>>);

impl<K, V> From<BTreeMap<K, V>> for Shared<K, V> {
    fn from(map: BTreeMap<K, V>) -> Shared<K, V> {
        Shared(Arc::new(map))
    }
}

impl<K: Ord, V> Shared<K, V> {
    /// The entries, each with what `before` has in its place; nothing where both are one and the same map.
    fn beside<'m>(
        &'m self,
        before: &'m Shared<K, V>,
    ) -> impl Iterator<Item = (&'m K, &'m V, Option<&'m V>)> {
        let mut old = before.iter().peekable();
        let entries = (!Arc::ptr_eq(&self.0, &before.0)).then(|| self.iter());
        entries.into_iter().flatten().map(move |(key, value)| {
            while old.next_if(|(at, _)| *at < key).is_some() {}
            let same = old.next_if(|(at, _)| *at == key);
            (key, value, same.map(|(_, old)| old))
        })
    }
}

impl<K, V> Deref for Shared<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &BTreeMap<K, V> {
        &self.0
    }
}

impl<K: Clone, V: Clone> DerefMut for Shared<K, V> {
    fn deref_mut(&mut self) -> &mut BTreeMap<K, V> {
        Arc::make_mut(&mut self.0)
    }
}

impl<'m, K, V> IntoIterator for &'m Shared<K, V> {
    type Item = (&'m K, &'m V);
    type IntoIter = btree_map::Iter<'m, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// The cluster at one moment.
#[derive(Clone, Debug)]
pub struct State {
    /// 0 for the snapshot, then one more for each step.
    pub number: usize,
    /// The nodes.
    pub nodes: Shared<NodeName, Arc<Node>>,
    /// The API objects, as JSON values.
    pub objects: Shared<ObjectId, Arc<Value>>,
    /// Kubeconfigs that live outside the nodes, by the user's name.
    pub users: BTreeMap<NodeName, Arc<str>>,
    /// In which states each user was handed another kubeconfig, in order.
    pub handed_out: BTreeMap<NodeName, Vec<usize>>,
    /// In which state each process last started, confirmed. Absent: before state 0, having read
    /// what the snapshot shows.
    pub started: Shared<Process, usize>,
}

impl State {
    /// The next state, to be changed.
    #[must_use]
    pub fn draft(&self) -> Draft {
        let mut state = self.clone();
        state.number += 1;
        Draft {
            state,
            written: Texts::default(),
        }
    }

    /// What `look` gives of every node, in order, or the first error; nodes are looked at on all cores.
    pub fn look_at_nodes<T: Send, E: Send>(
        &self,
        look: impl Fn(&NodeName, &Node) -> Result<T, E> + Sync,
    ) -> Result<Vec<T>, E> {
        let nodes: Vec<_> = self.nodes.iter().collect();
        let seen = parallel::map(&nodes, |(name, node)| look(name, node));
        seen.into_iter().collect()
    }

    /// The file at `path` on `node`, following links.
    #[must_use]
    pub fn file(&self, node: &NodeName, path: &NodePath) -> Option<&File> {
        self.nodes.get(node)?.file(path).map(|(_, file)| file)
    }

    /// An object.
    #[must_use]
    pub fn object(&self, id: &ObjectId) -> Option<&Value> {
        self.objects.get(id).map(AsRef::as_ref)
    }

    /// The objects of one kind, in order of namespace and name.
    pub fn objects_of<'a>(
        &'a self,
        kind: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectId, &'a Value)> {
        self.objects
            .range(ObjectId::new(kind, "", "")..)
            .take_while(move |(id, _)| &*id.kind == kind)
            .map(|(id, value)| (id, value.as_ref()))
    }

    /// The names of the nodes with a role.
    pub fn nodes_with(&self, role: Role) -> impl Iterator<Item = &NodeName> {
        self.nodes
            .iter()
            .filter(move |(_, node)| node.role == role)
            .map(|(name, _)| name)
    }

    /// In which state a process last started.
    #[must_use]
    pub fn started_in(&self, process: &Process) -> usize {
        self.started.get(process).copied().unwrap_or(0)
    }

    /// What changed on the nodes since `before`, which has the same ones: for each node the paths whose entry differs.
    #[must_use]
    pub fn changed_files(&self, before: &State) -> BTreeMap<NodeName, BTreeSet<NodePath>> {
        let mut out = BTreeMap::new();
        for (name, node, old) in self.nodes.beside(&before.nodes) {
            let changed = old.map_or_else(BTreeSet::new, |old| node.changed_since(old));
            if !changed.is_empty() {
                out.insert(name.clone(), changed);
            }
        }
        out
    }

    /// Whether anything changed since `before`, or a process started.
    #[must_use]
    pub fn differs_from(&self, before: &State) -> bool {
        let mut nodes = self.nodes.beside(&before.nodes);
        nodes.any(|(_, node, old)| {
            old.is_some_and(|old| !Arc::ptr_eq(node, old) && node.files != old.files)
        }) || !self.changed_objects(before).is_empty()
            || !self.changed_users(before).is_empty()
            || !self.restarted_since(before).is_empty()
    }

    /// The objects that differ from those of `before`.
    #[must_use]
    pub fn changed_objects(&self, before: &State) -> Vec<ObjectId> {
        let objects = self.objects.beside(&before.objects);
        let changed = objects.filter(|(_, object, old)| {
            old.is_none_or(|old| !Arc::ptr_eq(object, old) && *object != old)
        });
        changed.map(|(id, ..)| id.clone()).collect()
    }

    /// The users whose kubeconfig differs from that of `before`.
    #[must_use]
    pub fn changed_users(&self, before: &State) -> Vec<NodeName> {
        self.users
            .iter()
            .filter(|(name, text)| before.users.get(*name) != Some(*text))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The processes that started on the way from `before`.
    #[must_use]
    pub fn restarted_since(&self, before: &State) -> BTreeSet<Process> {
        let processes = self.started.beside(&before.started);
        let started = processes.filter(|(_, at, old)| *old != Some(at));
        started.map(|(process, ..)| process.clone()).collect()
    }
}

/// A state in the making.
#[derive(Clone, Debug)]
pub struct Draft {
    state: State,
    written: Texts,
}

/// Fewer nodes are not worth being divided among cores.
const MANY_NODES: usize = 64;

impl Draft {
    /// The state as changed so far.
    #[must_use]
    pub fn now(&self) -> &State {
        &self.state
    }

    /// Writes `text` to the file that `path` leads to. A new file gets `mode` and `owner`; an
    /// existing one keeps its own.
    pub fn write(&mut self, node: &NodeName, path: &NodePath, text: &str, mode: u32, owner: &str) {
        let Some(files) = self.state.nodes.get(node) else {
            return;
        };
        let at = files.resolve(path).unwrap_or_else(|| path.clone());
        let old = match files.files.get(&at) {
            Some(Entry::File(old)) if *old.text == *text => return,
            Some(Entry::File(old)) => Some(old.clone()),
            _ => None,
        };
        let text = self.written.keep(text);
        let file = match old {
            Some(old) => File { text, ..old },
            None => File {
                text,
                mode,
                owner: self.written.keep(owner),
            },
        };
        if let Some(files) = self.state.nodes.get_mut(node) {
            Arc::make_mut(files).files.insert(at, Entry::File(file));
        }
    }

    /// Lets `edit` change every node, in order, and gives what it says of each. It may look at all there is, and
    /// changes nothing but the files and processes of its node: many nodes are divided among all cores.
    pub fn each_node<T: Send, E: Send>(
        &mut self,
        edit: impl Fn(&mut Draft, &NodeName) -> Result<T, E> + Sync,
    ) -> Result<Vec<(NodeName, T)>, E> {
        let names: Vec<NodeName> = self.state.nodes.keys().cloned().collect();
        let all = |draft: &mut Draft, names: &[NodeName]| {
            let edited = names
                .iter()
                .map(|name| Ok((name.clone(), edit(draft, name)?)));
            edited.collect::<Result<Vec<_>, E>>()
        };
        if names.len() < MANY_NODES {
            return all(self, &names);
        }
        let shares: Vec<&[NodeName]> = names
            .chunks(names.len().div_ceil(parallel::cores()))
            .collect();
        let drafts = parallel::map(&shares, |share| {
            let mut draft = self.clone();
            all(&mut draft, share).map(|out| (draft, out))
        });
        let mut out = Vec::with_capacity(names.len());
        for (share, drafted) in shares.into_iter().zip(drafts) {
            let (draft, said) = drafted?;
            self.take(draft, share);
            out.extend(said);
        }
        Ok(out)
    }

    /// Takes over what another draft made of some nodes, which are in order.
    fn take(&mut self, other: Draft, nodes: &[NodeName]) {
        for name in nodes {
            if let Some(node) = other.state.nodes.get(name) {
                self.state.nodes.insert(name.clone(), node.clone());
            }
        }
        let number = self.state.number;
        let started = other.state.started.iter().filter(|(process, at)| {
            let node = process.node();
            **at == number && node.is_some_and(|node| nodes.binary_search(node).is_ok())
        });
        let started: Vec<_> = started.map(|(p, at)| (p.clone(), *at)).collect();
        self.state.started.extend(started);
        self.written.0.extend(other.written.0);
    }

    /// Removes what lies at `path`.
    pub fn remove(&mut self, node: &NodeName, path: &NodePath) {
        let there = |files: &Arc<Node>| files.files.contains_key(path);
        if self.state.nodes.get(node).is_some_and(there)
            && let Some(files) = self.state.nodes.get_mut(node)
        {
            Arc::make_mut(files).files.remove(path);
        }
    }

    /// Replaces a user's kubeconfig.
    pub fn write_user(&mut self, user: &NodeName, text: &str) {
        let number = self.state.number;
        self.state
            .handed_out
            .entry(user.clone())
            .or_default()
            .push(number);
        self.state.users.insert(user.clone(), text.into());
    }

    /// Changes an object. Nothing happens where there is none.
    pub fn change_object(&mut self, id: &ObjectId, change: impl FnOnce(&mut Value)) {
        if let Some(object) = self.state.objects.get_mut(id) {
            change(Arc::make_mut(object));
        }
    }

    /// A user has confirmed to use the `nth` file that was handed out (from 0), or a later one. Where
    /// fewer were, the last counts.
    pub fn confirm(&mut self, user: &NodeName, nth: usize) {
        let files = self.state.handed_out.get(user);
        let since = files
            .and_then(|files| files.get(nth).or(files.last()))
            .copied();
        let process = Process::User(user.clone());
        self.state
            .started
            .insert(process, since.unwrap_or(self.state.number));
    }

    /// Restarts a process in this step: it reads everything anew.
    pub fn restart(&mut self, process: Process) {
        self.state.started.insert(process, self.state.number);
    }

    /// The finished state.
    #[must_use]
    pub fn finish(self) -> State {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> NodePath {
        NodePath::new(text).unwrap()
    }

    fn state() -> (State, NodeName) {
        let name = NodeName::new("cp-1").unwrap();
        let file = File {
            text: "old".into(),
            mode: 0o600,
            owner: "0:0".into(),
        };
        let files: BTreeMap<_, _> = BTreeMap::from([
            (path("/pki/real.pem"), Entry::File(file)),
            (path("/pki/current.pem"), Entry::Link("real.pem".into())),
            (path("/pki/loop"), Entry::Link("/pki/loop".into())),
        ]);
        let node = Node {
            role: Role::ControlPlane,
            files: files.into(),
        };
        let state = State {
            number: 0,
            nodes: BTreeMap::from([(name.clone(), Arc::new(node))]).into(),
            objects: BTreeMap::new().into(),
            users: BTreeMap::new(),
            handed_out: BTreeMap::new(),
            started: BTreeMap::new().into(),
        };
        (state, name)
    }

    #[test]
    fn a_write_goes_through_links_and_keeps_mode_and_owner() {
        let (before, node) = state();
        let mut draft = before.draft();
        draft.write(&node, &path("/pki/current.pem"), "new", 0o644, "1:1");
        let after = draft.finish();
        let file = after.file(&node, &path("/pki/current.pem")).unwrap();
        assert_eq!(
            (&*file.text, file.mode, &*file.owner),
            ("new", 0o600, "0:0")
        );
        let changed = after.changed_files(&before);
        assert_eq!(changed[&node], BTreeSet::from([path("/pki/real.pem")]));
        assert_eq!(
            &*before.file(&node, &path("/pki/real.pem")).unwrap().text,
            "old"
        );
    }

    /// Two states with more nodes than are kept together, one edited node by node, one divided.
    #[test]
    fn nodes_that_are_divided_among_cores_change_as_they_would_in_order() {
        let (mut state, node) = state();
        let like = state.nodes[&node].clone();
        let name = |n: usize| NodeName::new(&format!("worker-{n}")).unwrap();
        state
            .nodes
            .extend((0..2 * MANY_NODES).map(|n| (name(n), like.clone())));
        let edit = |draft: &mut Draft, node: &NodeName| {
            let number: usize = node.as_str().bytes().map(usize::from).sum();
            if number.is_multiple_of(3) {
                draft.write(node, &path("/new"), "the same", 0o600, "0:0");
                draft.remove(node, &path("/pki/loop"));
                draft.restart(Process::Kubelet(node.clone()));
            }
            Ok::<_, ()>(number)
        };
        let (mut divided, mut in_order) = (state.draft(), state.draft());
        let said = divided.each_node(edit).unwrap();
        let names: Vec<_> = state.nodes.keys().cloned().collect();
        let expected: Vec<_> = names
            .iter()
            .map(|name| (name.clone(), edit(&mut in_order, name).unwrap()))
            .collect();
        assert_eq!(said, expected);
        let (divided, in_order) = (divided.finish(), in_order.finish());
        assert_eq!(divided.nodes, in_order.nodes);
        assert_eq!(divided.started, in_order.started);
        assert!(divided.differs_from(&state) && !divided.differs_from(&divided));
        let changed = divided.changed_files(&state);
        assert!(changed.len() > 20 && changed.len() < names.len());
        let paths = BTreeSet::from([path("/new"), path("/pki/loop")]);
        assert!(changed.values().all(|of_node| *of_node == paths));

        let fails = |_: &mut Draft, node: &NodeName| match node.as_str() {
            "worker-100" | "worker-99" => Err(node.to_string()),
            _ => Ok(()),
        };
        let error = state.draft().each_node(fails).unwrap_err();
        assert_eq!(error, "worker-100", "the first in order");
    }

    #[test]
    fn a_text_on_many_nodes_is_kept_once() {
        let (mut before, node) = state();
        let other = NodeName::new("cp-2").unwrap();
        let like = before.nodes[&node].clone();
        before.nodes.insert(other.clone(), like);
        let mut draft = before.draft();
        for name in [&node, &other] {
            draft.write(name, &path("/pki/real.pem"), "new", 0o600, "0:0");
        }
        let after = draft.finish();
        let text = |name| &after.file(name, &path("/pki/real.pem")).unwrap().text;
        assert!(Arc::ptr_eq(text(&node), text(&other)));
    }

    #[test]
    fn a_folder_holds_what_lies_directly_in_it() {
        let (state, node) = state();
        let mut draft = state.draft();
        for other in ["/pki/etcd/ca.crt", "/pki-2/ca.crt", "/pki!", "/a"] {
            draft.write(&node, &path(other), "", 0o600, "0:0");
        }
        let state = draft.finish();
        let held: Vec<&str> = state.nodes[&node]
            .in_folder("/pki")
            .map(|(path, _)| path.as_str())
            .collect();
        assert_eq!(held, ["/pki/current.pem", "/pki/loop", "/pki/real.pem"]);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_no_file() {
        let (before, node) = state();
        assert!(before.file(&node, &path("/pki/loop")).is_none());
    }

    #[test]
    fn a_restart_is_dated_with_the_number_of_its_state() {
        let (before, node) = state();
        let kubelet = Process::Kubelet(node);
        let mut draft = before.draft();
        draft.restart(kubelet.clone());
        let after = draft.finish();
        assert_eq!(
            (before.started_in(&kubelet), after.started_in(&kubelet)),
            (0, 1)
        );
        assert_eq!(after.restarted_since(&before), BTreeSet::from([kubelet]));
    }
}
