//! Static pod manifests: which program a container runs, with which flags, on which files of the
//! node; and edits of flags and annotations.
//!
//! Knows the shape of a Pod. Does not know which flags matter, which files exist, or why something
//! is edited.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde_yaml::{Mapping, Value};

use crate::diagnostic::{Code, Diagnostic, Place, Result};
pub use crate::edit::argv::Flag;
use crate::edit::argv::{self, CommandLine, Word};
use crate::edit::pairs::{self, Left};
use crate::edit::scalar::{self, Style};
use crate::edit::shell;
use crate::edit::yaml::{Document, Edit, Entry, Node, Step, set_value};
use crate::memo::Memo;
use crate::names::{below, clean};

static READ: Memo<Arc<Manifest>> = Memo::new();

/// A static pod manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    doc: Document,
    containers: Vec<Container>,
    volumes: Vec<Volume>,
    annotations: Vec<(String, String)>,
}

/// A container of the pod.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image as written.
    pub image: Option<String>,
    /// Environment variables with a literal value, in order; `None` for one from elsewhere.
    pub env: Vec<(String, Option<String>)>,
    /// What is mounted into it.
    pub mounts: Vec<Mount>,
    /// Where the container stands.
    pub place: Place,
    /// How the kubelet asks whether it is healthy: the probe for readiness, else liveness, else the start.
    pub health: Option<Health>,
    line: CommandLine,
    /// For each word, where it stands.
    words: Vec<Position>,
}

/// Where a word of a command line stands.
#[derive(Clone, Debug)]
struct Position {
    /// `command` or `args`.
    list: &'static str,
    /// The item's index there.
    index: usize,
    /// Its part of the item, where that is a shell command.
    within: Option<Range<usize>>,
}

/// The probes of a container, the most telling first.
const PROBES: [&str; 3] = ["readinessProbe", "livenessProbe", "startupProbe"];

/// An HTTP probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// `http` or `https`.
    pub scheme: String,
    /// The host; this one, where the probe names none.
    pub host: String,
    /// The port's number.
    pub port: String,
    /// The path.
    pub path: String,
}

/// A `volumeMounts` entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The name of the volume.
    pub volume: String,
    /// The path in the container, without a trailing slash.
    pub path: String,
    /// `subPath`, or `None`.
    pub sub_path: Option<String>,
    /// It has a `subPathExpr`, whose result is not known here.
    pub computed: bool,
}

/// A `volumes` entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// `hostPath.path`, without a trailing slash; `None` for other kinds of volumes.
    pub host_path: Option<String>,
    /// `hostPath.type`, where it is set.
    pub host_type: Option<String>,
}

impl Manifest {
    /// Reads a manifest.
    pub fn parse(text: &str, file: &str) -> Result<Arc<Manifest>> {
        READ.recall(&[file.as_bytes(), text.as_bytes()], || {
            Manifest::read(text, file).map(Arc::new)
        })
    }

    fn read(text: &str, file: &str) -> Result<Manifest> {
        let doc = Document::parse(text, file)?;
        let root = doc.root();
        if doc.scalar_of(root, "kind")?.map(|(_, kind)| kind) != Some("Pod") {
            return Err(doc.shape(root, "this is not a manifest of kind Pod"));
        }
        let Some(spec) = root.get("spec").filter(|s| s.entries().is_some()) else {
            return Err(doc.shape(root, "the Pod has no `spec`"));
        };
        let containers = doc
            .list_of(spec, "containers")?
            .iter()
            .map(|c| container(&doc, c))
            .collect::<Result<Vec<_>>>()?;
        let volumes = doc
            .list_of(spec, "volumes")?
            .iter()
            .map(|v| volume(&doc, v))
            .collect::<Result<Vec<_>>>()?;
        let annotations = annotations(&doc)?;
        Ok(Manifest {
            doc,
            containers,
            volumes,
            annotations,
        })
    }

    /// The text as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        self.doc.text()
    }

    /// The YAML document.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.doc
    }

    fn metadata(&self, key: &str) -> Option<&str> {
        let node = self.doc.root().get("metadata")?.get(key)?;
        if node.is_null() { None } else { node.as_str() }
    }

    /// `metadata.name`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.metadata("name")
    }

    /// `metadata.namespace`.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.metadata("namespace")
    }

    /// `metadata.uid`, which some tools set; a kubelet then keeps it instead of a hash of the file.
    #[must_use]
    pub fn uid(&self) -> Option<&str> {
        self.metadata("uid")
    }

    /// The annotations in order.
    #[must_use]
    pub fn annotations(&self) -> &[(String, String)] {
        &self.annotations
    }

    /// One annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// The containers in order, without init containers.
    #[must_use]
    pub fn containers(&self) -> &[Container] {
        &self.containers
    }

    /// Whether it is spelled as kubeadm spells manifests, which can be read line by line: block style, each
    /// flag with its value on a line of its own, no shell.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let root = self.doc.root();
        let list = root.at(&[Step::Key("spec"), Step::Key("containers")]);
        let in_lines = |node: &Node| !node.in_flow && node.range.start < node.range.end;
        let word = |item: &Node| {
            let spelled = &self.doc.text()[item.range.clone()];
            let escapes = spelled.replace("\\\"", "").replace("\\\\", "");
            let hidden = spelled.starts_with('"') && escapes.contains('\\');
            let lines = item.style().is_some_and(Style::is_block) || spelled.contains('\n');
            !hidden && !lines
        };
        let plain = |container: &Node| {
            let items = |key: &str| container.get(key).and_then(Node::items);
            let mut words = ["command", "args"].into_iter().filter_map(items).flatten();
            let mut ports = items("ports").into_iter().flatten();
            let mut fields = PROBES
                .into_iter()
                .filter_map(|key| container.get(key)?.get("httpGet"));
            in_lines(container)
                && words.all(|item| in_lines(item) && word(item))
                && ports.all(in_lines)
                && fields.all(|get| {
                    let mut entries = get.entries().into_iter().flatten();
                    entries.all(|entry| in_lines(&entry.key))
                })
        };
        let all = list.and_then(Node::items);
        all.is_some_and(|all| all.iter().all(plain))
            && self.containers.iter().all(Container::is_in_words)
    }

    /// The index of the container that runs `program`. Two of them are an error, and so is a
    /// container in which it may hide.
    pub fn container_running(&self, program: &str) -> Result<Option<usize>> {
        let mut found = None;
        for (i, container) in self.containers.iter().enumerate() {
            if container.program()? == Some(program) {
                if found.is_some() {
                    return Err(Diagnostic::new(
                        Code::ManifestShape,
                        format!("two containers run `{program}`"),
                        "run it once in a pod",
                    )
                    .at(container.place.clone()));
                }
                found = Some(i);
            }
        }
        Ok(found)
    }

    /// The volumes in order.
    #[must_use]
    pub fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    fn volume(&self, name: &str) -> Option<&Volume> {
        self.volumes.iter().find(|v| v.name == name)
    }

    /// What a mount shows of the host: the host path at its root.
    fn host_root(&self, mount: &Mount) -> Option<String> {
        if mount.computed {
            return None;
        }
        let host = self.volume(&mount.volume)?.host_path.as_deref()?;
        Some(
            mount
                .sub_path
                .as_deref()
                .map_or_else(|| host.to_owned(), |sub| join(host, sub)),
        )
    }

    /// The path on the node of `path` in the container. `None` where it is not on the node.
    #[must_use]
    pub fn host_path_of(&self, container: usize, path: &str) -> Option<String> {
        let path = clean(path)?;
        let mount = self
            .containers
            .get(container)?
            .mounts
            .iter()
            .filter(|m| below(&path, &m.path).is_some())
            .max_by_key(|m| m.path.len())?;
        Some(or_root(join(
            &self.host_root(mount)?,
            below(&path, &mount.path)?,
        )))
    }

    /// The path in the container of `host_path` on the node. `None` where it is not mounted, or
    /// another mount covers it.
    #[must_use]
    pub fn container_path_of(&self, container: usize, host_path: &str) -> Option<String> {
        let host_path = clean(host_path)?;
        let mut roots: Vec<(String, &Mount)> = self
            .containers
            .get(container)?
            .mounts
            .iter()
            .filter_map(|m| Some((self.host_root(m)?, m)))
            .filter(|(root, _)| below(&host_path, root).is_some())
            .collect();
        roots.sort_by_key(|(root, _)| std::cmp::Reverse(root.len()));
        roots.into_iter().find_map(|(root, mount)| {
            let path = join(&mount.path, below(&host_path, &root)?);
            let back = self.host_path_of(container, &path)?;
            (back == or_root(host_path.clone())).then(|| or_root(path))
        })
    }

    /// What of the host is mounted by itself and said to be no folder: a file that is renamed over it does not
    /// reach the container.
    #[must_use]
    pub fn single_files(&self, container: usize) -> Vec<String> {
        let mounts = self
            .containers
            .get(container)
            .map_or(&[][..], |c| &c.mounts);
        let alone = |m: &&Mount| {
            m.sub_path.is_some()
                || self
                    .volume(&m.volume)
                    .and_then(|v| v.host_type.as_deref())
                    .is_none_or(|t| !t.starts_with("Directory"))
        };
        mounts
            .iter()
            .filter(alone)
            .filter_map(|m| self.host_root(m))
            .collect()
    }

    /// The text with the values of flags replaced, and with what some volumes show of the host. Each flag
    /// must be there, once, with a value; each volume must be a hostPath.
    pub fn set(
        &self,
        container: usize,
        flags: &[(&str, &str)],
        volumes: &BTreeMap<String, String>,
    ) -> Result<String> {
        let mut edits = Edits::default();
        self.set_flags(container, flags, &mut edits)?;
        for (name, host) in volumes {
            self.set_host_path(name, host, &mut edits)?;
        }
        self.doc.apply(&edits.edits, |value| {
            let mut expected = edits.expected.iter();
            expected.all(|(path, whole)| set_value(value, path, Some(whole.as_str().into())))
        })
    }

    fn set_flags<'a>(
        &'a self,
        container: usize,
        values: &[(&str, &str)],
        out: &mut Edits<'a>,
    ) -> Result<()> {
        let Some(c) = self.containers.get(container) else {
            return Err(self
                .doc
                .shape(self.doc.root(), "the manifest has no such container"));
        };
        // A shell command is one item with many flags.
        let mut commands: BTreeMap<(&'static str, usize), Vec<NewWord<'_>>> = BTreeMap::new();
        for (name, new) in values {
            let flag = c.line.flag_to_set(name)?;
            check_printable(new, &flag.place)?;
            let Position {
                list,
                index,
                within,
            } = &c.words[flag.value_word.unwrap_or(flag.word)];
            let prefix = match flag.value_word {
                Some(_) => String::new(),
                None => format!("{}=", flag.spelled),
            };
            let whole = format!("{prefix}{new}");
            if let Some(range) = within {
                commands
                    .entry((list, *index))
                    .or_default()
                    .push((range, whole));
                continue;
            }
            let (path, node) = self.item(container, list, *index)?;
            out.edits.push(self.replace_after(node, &prefix, new)?);
            out.expected.push((path, whole));
        }
        for ((list, index), words) in commands {
            let (path, node) = self.item(container, list, index)?;
            let (edits, command) = self.replace_in_shell(node, words)?;
            out.edits.extend(edits);
            out.expected.push((path, command));
        }
        Ok(())
    }

    /// The edits that put other words into a shell command, and the command with them: each word where it
    /// stands, if it is spelled there as it reads, or the whole command.
    fn replace_in_shell(
        &self,
        node: &Node,
        mut words: Vec<NewWord<'_>>,
    ) -> Result<(Vec<Edit>, String)> {
        let before = node.as_str().unwrap_or_default();
        let mut command = before.to_owned();
        let spelled = &self.doc.text()[node.range.clone()];
        let plain = |word: &str| !word.contains(['\'', '"', '\\', ' ']);
        let mut edits = Some(Vec::new());
        words.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
        for (range, word) in words {
            let Some(word) = shell::encode(&word) else {
                return Err(self.doc.shape(node, "no shell command can hold this value"));
            };
            let old = &before[range.clone()];
            let mut found = spelled.match_indices(old);
            match (found.next(), found.next()) {
                (Some((at, _)), None) if plain(old) && plain(&word) => {
                    let begin = node.range.start + at;
                    let edit = Edit::new(begin..begin + old.len(), word.clone());
                    edits = edits.map(|all| [all, vec![edit]].concat());
                }
                _ => edits = None,
            }
            command.replace_range(range.clone(), &word);
        }
        let edits = match edits {
            Some(edits) => edits,
            None => vec![self.doc.replace(node, &command)?],
        };
        Ok((edits, command))
    }

    /// An item of a container's command line.
    fn item<'a>(
        &'a self,
        container: usize,
        list: &'static str,
        index: usize,
    ) -> Result<(Vec<Step<'a>>, &'a Node)> {
        let path = vec![
            Step::Key("spec"),
            Step::Key("containers"),
            Step::Index(container),
            Step::Key(list),
            Step::Index(index),
        ];
        match self.doc.root().at(&path) {
            Some(node) => Ok((path, node)),
            None => Err(self
                .doc
                .shape(self.doc.root(), "the manifest has no such flag")),
        }
    }

    fn set_host_path<'a>(&'a self, name: &str, host: &str, out: &mut Edits<'a>) -> Result<()> {
        let at = self
            .volumes
            .iter()
            .position(|v| v.name == name && v.host_path.is_some());
        let path = at.map(|at| {
            vec![
                Step::Key("spec"),
                Step::Key("volumes"),
                Step::Index(at),
                Step::Key("hostPath"),
                Step::Key("path"),
            ]
        });
        let node = path.as_ref().and_then(|path| self.doc.root().at(path));
        let (Some(path), Some(node)) = (path, node) else {
            return Err(self
                .doc
                .shape(self.doc.root(), "the manifest has no such volume"));
        };
        check_printable(host, &self.doc.place(node))?;
        out.edits.push(self.replace_after(node, "", host)?);
        out.expected.push((path, host.to_owned()));
        Ok(())
    }

    /// The volume that shows a program the one file at `path` of its container, and nothing else.
    #[must_use]
    pub fn single_file_volume(&self, container: usize, path: &str) -> Option<&Volume> {
        let path = clean(path)?;
        let mounts = &self.containers.get(container)?.mounts;
        let mount = mounts
            .iter()
            .find(|m| m.path == path && m.sub_path.is_none())?;
        self.volume(&mount.volume).filter(|volume| {
            let host = volume.host_path.as_ref();
            host.is_some_and(|host| self.single_files(container).contains(host))
        })
    }

    /// Whether a container other than this one mounts a volume, or this one does twice.
    #[must_use]
    pub fn is_shared(&self, container: usize, volume: &str) -> bool {
        let count = |c: &Container| c.mounts.iter().filter(|m| m.volume == volume).count();
        let all = self.containers.iter().enumerate();
        let others = all.filter(|(at, _)| *at != container);
        let here = self.containers.get(container).map_or(0, count);
        here != 1 || others.map(|(_, c)| count(c)).sum::<usize>() > 0
    }

    /// The edit that makes the scalar `node` `prefix` and `new`, touching only what follows the
    /// prefix where the prefix is spelled as it reads.
    fn replace_after(&self, node: &Node, prefix: &str, new: &str) -> Result<Edit> {
        let whole = format!("{prefix}{new}");
        let (quote, inner) = match node.style() {
            Some(Style::Plain) if scalar::is_plain_safe(&whole, node.in_flow) => {
                (0, new.to_owned())
            }
            Some(Style::Single) => (1, scalar::single_inner(new)),
            Some(Style::Double) => (1, scalar::double_inner(new)),
            _ => return self.doc.replace(node, &whole),
        };
        let start = node.range.start + quote;
        let end = node.range.end - quote;
        if !self.doc.text()[start..end].starts_with(prefix) {
            return self.doc.replace(node, &whole);
        }
        Ok(Edit::new(start + prefix.len()..end, inner))
    }

    /// The text with the annotation set: replaced where it is, added after the last one otherwise.
    pub fn set_annotation(&self, key: &str, value: &str) -> Result<String> {
        let parent = self.metadata_entry()?;
        let place = self.doc.place(&parent.key);
        check_printable(key, &place)?;
        check_printable(value, &place)?;
        let path = [
            Step::Key("metadata"),
            Step::Key("annotations"),
            Step::Key(key),
        ];
        if self.doc.root().at(&path).is_some() {
            return self.doc.set_scalar(&path, value);
        }
        let edits = pairs::add(&self.doc, parent, "annotations", key, value)?;
        self.doc.apply(&edits, |root| {
            let map = root.get_mut("metadata").and_then(Value::as_mapping_mut);
            let Some(annotations) =
                map.map(|m| m.entry("annotations".into()).or_insert(Value::Null))
            else {
                return false;
            };
            if annotations.is_null() {
                *annotations = Value::Mapping(Mapping::new());
            }
            set_value(annotations, &[Step::Key(key)], Some(value.into()))
        })
    }

    /// The text without the annotation. After [`Manifest::set_annotation`] added it, this gives the
    /// bytes from before.
    pub fn remove_annotation(&self, key: &str) -> Result<String> {
        let parent = self.metadata_entry()?;
        let (edits, left) = pairs::remove(&self.doc, parent, "annotations", key)?;
        let annotations = [Step::Key("metadata"), Step::Key("annotations")];
        self.doc.apply(&edits, |root| match left {
            Left::Map => set_value(
                root,
                &[annotations[0], annotations[1], Step::Key(key)],
                None,
            ),
            Left::Null => set_value(root, &annotations, Some(Value::Null)),
            Left::Nothing => set_value(root, &annotations, None),
        })
    }

    fn metadata_entry(&self) -> Result<&Entry> {
        let root = self.doc.root();
        root.entries()
            .and_then(|entries| {
                entries
                    .iter()
                    .find(|e| e.name() == "metadata" && e.value.entries().is_some())
            })
            .ok_or_else(|| self.doc.shape(root, "the Pod has no `metadata`"))
    }
}

/// Where a word of a shell command stands in it, and what it becomes.
type NewWord<'a> = (&'a Range<usize>, String);

/// Edits, and what they make of the parsed value.
#[derive(Default)]
struct Edits<'a> {
    edits: Vec<Edit>,
    expected: Vec<(Vec<Step<'a>>, String)>,
}

impl Container {
    /// The program that runs: the base name of the first word. An error where a component may hide
    /// in a shell command or a script.
    pub fn program(&self) -> Result<Option<&str>> {
        self.line.program()
    }

    /// The flags, of `command` first, then of `args`.
    pub fn flags(&self) -> Result<&[Flag]> {
        self.line.flags()
    }

    /// One flag; given twice it is an error at the second place.
    pub fn flag(&self, name: &str) -> Result<Option<&Flag>> {
        self.line.flag(name)
    }

    /// The command line as the program gets it; without the program where the image names it.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.line.words().iter().map(|word| word.text.as_str())
    }

    /// Whether the first word is the program.
    #[must_use]
    pub fn names_program(&self) -> bool {
        self.words.first().is_some_and(|at| at.list == "command") || self.is_in_shell()
    }

    fn is_in_shell(&self) -> bool {
        self.words.iter().any(|at| at.within.is_some())
    }

    /// Whether each flag stands with its value in one item.
    fn is_in_words(&self) -> bool {
        let mut flags = self.flags().into_iter().flatten();
        !self.is_in_shell() && flags.all(|flag| flag.value_word.is_none())
    }

    /// The value of one flag.
    pub fn flag_value(&self, name: &str) -> Result<Option<&str>> {
        Ok(self.flag(name)?.and_then(|f| f.value.as_deref()))
    }
}

/// Values come from other files; a control character in one is an attack or a mistake.
fn check_printable(value: &str, place: &Place) -> Result<()> {
    if value.chars().any(scalar::needs_escape) {
        return Err(Diagnostic::new(
            Code::ManifestShape,
            "a value with a control character cannot be written here",
            "rename the file that the value names",
        )
        .at(place.clone()));
    }
    Ok(())
}

fn annotations(doc: &Document) -> Result<Vec<(String, String)>> {
    let Some(map) = doc
        .root()
        .get("metadata")
        .and_then(|m| m.get("annotations"))
    else {
        return Ok(Vec::new());
    };
    if map.is_null() {
        return Ok(Vec::new());
    }
    let entries = map
        .entries()
        .ok_or_else(|| doc.shape(map, "`annotations` must be a map"))?;
    entries
        .iter()
        .map(|e| match e.value.as_str() {
            Some(value) => Ok((e.name().to_owned(), value.to_owned())),
            None => Err(doc.shape(&e.value, "an annotation must be a string")),
        })
        .collect()
}

fn text_of(doc: &Document, node: &Node, key: &str) -> Result<Option<String>> {
    Ok(doc.scalar_of(node, key)?.map(|(_, text)| text.to_owned()))
}

fn container(doc: &Document, node: &Node) -> Result<Container> {
    if node.entries().is_none() {
        return Err(doc.shape(node, "a container must be a map"));
    }
    let image = text_of(doc, node, "image")?;
    let mut words = Vec::new();
    let mut positions = Vec::new();
    for list in ["command", "args"] {
        for (i, item) in doc.list_of(node, list)?.iter().enumerate() {
            let text = item
                .as_str()
                .ok_or_else(|| doc.shape(item, format!("an item of `{list}` must be a string")))?;
            let block = item.style().is_some_and(Style::is_block) || text.contains('\n');
            words.push(Word {
                text: text.to_owned(),
                place: doc.place(item),
                block,
            });
            positions.push(Position {
                list,
                index: i,
                within: None,
            });
        }
    }
    if let Some(command) = argv::in_shell(&words)
        && let Some(script) = positions.pop()
    {
        let within = |(word, range)| {
            let position = Position {
                within: Some(range),
                ..script.clone()
            };
            (word, position)
        };
        (words, positions) = command.into_iter().map(within).unzip();
    }
    let env = doc
        .list_of(node, "env")?
        .iter()
        .map(|e| {
            Ok((
                text_of(doc, e, "name")?.unwrap_or_default(),
                text_of(doc, e, "value")?,
            ))
        })
        .collect::<Result<_>>()?;
    let mounts = doc
        .list_of(node, "volumeMounts")?
        .iter()
        .map(|m| mount(doc, m))
        .collect::<Result<_>>()?;
    Ok(Container {
        name: text_of(doc, node, "name")?.unwrap_or_default(),
        env,
        mounts,
        place: doc.place(node),
        health: health(doc, node)?,
        line: CommandLine::read(words, image.as_deref()),
        image,
        words: positions,
    })
}

fn health(doc: &Document, container: &Node) -> Result<Option<Health>> {
    for probe in PROBES {
        let Some(get) = container.get(probe).and_then(|probe| probe.get("httpGet")) else {
            continue;
        };
        let field = |name: &str| text_of(doc, get, name).map(|text| text.filter(|t| !t.is_empty()));
        let Some(mut port) = field("port")? else {
            continue;
        };
        for known in doc.list_of(container, "ports")? {
            if text_of(doc, known, "name")?.as_deref() == Some(&port) {
                port = text_of(doc, known, "containerPort")?.unwrap_or(port);
                break;
            }
        }
        return Ok(Some(Health {
            scheme: field("scheme")?.map_or("http".to_owned(), |s| s.to_lowercase()),
            host: field("host")?.unwrap_or_else(|| "127.0.0.1".to_owned()),
            port,
            path: field("path")?.unwrap_or_else(|| "/".to_owned()),
        }));
    }
    Ok(None)
}

fn mount(doc: &Document, node: &Node) -> Result<Mount> {
    let path = text_of(doc, node, "mountPath")?.and_then(|p| clean(&p));
    let Some(path) = path else {
        return Err(doc.shape(node, "a volume mount without an absolute `mountPath`"));
    };
    Ok(Mount {
        volume: text_of(doc, node, "name")?.unwrap_or_default(),
        path,
        sub_path: text_of(doc, node, "subPath")?.filter(|p| !p.is_empty()),
        computed: text_of(doc, node, "subPathExpr")?.is_some_and(|p| !p.is_empty()),
    })
}

fn volume(doc: &Document, node: &Node) -> Result<Volume> {
    let host = node.get("hostPath").filter(|h| h.entries().is_some());
    let host_path = match host {
        None => None,
        Some(host) => match text_of(doc, host, "path")?.and_then(|p| clean(&p)) {
            Some(path) => Some(path),
            None => return Err(doc.shape(host, "a hostPath volume without an absolute `path`")),
        },
    };
    Ok(Volume {
        name: text_of(doc, node, "name")?.unwrap_or_default(),
        host_path,
        host_type: host.map_or(Ok(None), |h| text_of(doc, h, "type"))?,
    })
}

/// The root directory is empty while paths are joined.
fn or_root(path: String) -> String {
    if path.is_empty() {
        "/".to_owned()
    } else {
        path
    }
}

fn join(root: &str, rest: &str) -> String {
    let joined = format!("{root}/{rest}");
    clean(&joined).unwrap_or(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: kube-apiserver # ours
  namespace: kube-system
spec:
  containers:
  - command:
    - kube-apiserver
    - --client-ca-file=/etc/kubernetes/pki/ca.crt # trust
    - \"--etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt\"
    - --tls_cert_file
    - '/etc/kubernetes/pki/apiserver.crt'
    args: [--allow-privileged]
    image: registry.example/kube-apiserver:v1
    name: api
    volumeMounts:
    - {mountPath: /etc/kubernetes/pki, name: pki}
    - {mountPath: /etc/kubernetes/pki/etcd/, name: etcd, subPath: certs}
    - {mountPath: /conf/a.conf, name: conf}
    - {mountPath: /etc/kubernetes/pki/tmp, name: tmp}
  volumes:
  - {name: pki, hostPath: {path: /srv/pki/}}
  - {name: etcd, hostPath: {path: /srv/etcd}}
  - {name: conf, hostPath: {path: /etc/kubernetes/a.conf, type: FileOrCreate}}
  - {name: tmp, emptyDir: {}}
";

    fn set(m: &Manifest, container: usize, flags: &[(&str, &str)]) -> Result<String> {
        m.set(container, flags, &BTreeMap::new())
    }

    #[test]
    fn flags_are_read_and_only_their_values_replaced() {
        let m = Manifest::parse(POD, "f").unwrap();
        let c = &m.containers()[0];
        assert_eq!(c.program().unwrap(), Some("kube-apiserver"));
        assert_eq!(
            c.flag_value("tls-cert-file").unwrap(),
            Some("/etc/kubernetes/pki/apiserver.crt")
        );
        assert_eq!(
            c.flag("etcd-cafile").unwrap().unwrap().place.to_string(),
            "f:11:7"
        );
        assert_eq!(c.flag("allow-privileged").unwrap().unwrap().value, None);
        let new = [
            ("client-ca-file", "/etc/kubernetes/pki/ca-bundle.crt"),
            ("--etcd-cafile", "/x \"y\""),
            ("tls-cert-file", "/it's"),
        ];
        let expected = POD
            .replace("/pki/ca.crt #", "/pki/ca-bundle.crt #")
            .replace("=/etc/kubernetes/pki/etcd/ca.crt\"", "=/x \\\"y\\\"\"")
            .replace("'/etc/kubernetes/pki/apiserver.crt'", "'/it''s'");
        assert_eq!(set(&m, 0, &new).unwrap(), expected);
        assert_eq!(
            set(&m, 0, &[("client-ca-file", "/a #b")]).unwrap(),
            POD.replace(
                "--client-ca-file=/etc/kubernetes/pki/ca.crt",
                "\"--client-ca-file=/a #b\""
            )
        );
    }

    #[test]
    fn flags_that_are_absent_valueless_or_hostile_are_not_set() {
        let m = Manifest::parse(POD, "f").unwrap();
        let code = |name, value| set(&m, 0, &[(name, value)]).unwrap_err().code;
        assert_eq!(code("root-ca-file", "/x"), Code::ManifestShape);
        assert_eq!(code("allow-privileged", "true"), Code::ManifestShape);
        assert_eq!(code("client-ca-file", "/x\n"), Code::ManifestShape);
        assert!(set(&m, 1, &[("a", "b")]).is_err());
    }

    #[test]
    fn paths_map_between_container_and_node() {
        let m = Manifest::parse(POD, "f").unwrap();
        let host = |p| m.host_path_of(0, p);
        assert_eq!(
            host("/etc/kubernetes/pki/ca.crt").as_deref(),
            Some("/srv/pki/ca.crt")
        );
        assert_eq!(
            host("/etc/kubernetes/pki/etcd/ca.crt").as_deref(),
            Some("/srv/etcd/certs/ca.crt")
        );
        assert_eq!(host("/etc/kubernetes/pki/tmp/x"), None);
        assert_eq!(host("/etc/kubernetes/pkix"), None);
        assert_eq!(
            host("/conf/a.conf").as_deref(),
            Some("/etc/kubernetes/a.conf")
        );
        let inside = |p| m.container_path_of(0, p);
        assert_eq!(
            inside("/srv/pki/ca.crt").as_deref(),
            Some("/etc/kubernetes/pki/ca.crt")
        );
        assert_eq!(inside("/srv/pki/etcd/ca.crt"), None);
        assert_eq!(
            inside("/srv/etcd/certs/x").as_deref(),
            Some("/etc/kubernetes/pki/etcd/x")
        );
        assert_eq!(
            inside("/etc/kubernetes/a.conf").as_deref(),
            Some("/conf/a.conf")
        );
        // Neither of the first two is said to be a folder.
        assert_eq!(
            m.single_files(0),
            ["/srv/pki", "/srv/etcd/certs", "/etc/kubernetes/a.conf"]
        );
        let conf = m.single_file_volume(0, "/conf/a.conf").map(|v| &*v.name);
        assert_eq!(conf, Some("conf"));
        assert!(
            m.single_file_volume(0, "/etc/kubernetes/pki/ca.crt")
                .is_none()
        );
    }

    fn round_trip(before: &str, after: &str) {
        let m = Manifest::parse(before, "f").unwrap();
        let added = m.set_annotation("carota.dev/x", "sha256:1f").unwrap();
        assert_eq!(added, after);
        let m = Manifest::parse(&added, "f").unwrap();
        assert_eq!(m.annotation("carota.dev/x"), Some("sha256:1f"));
        assert_eq!(m.remove_annotation("carota.dev/x").unwrap(), before);
    }

    #[test]
    fn an_annotation_added_and_removed_gives_the_bytes_from_before() {
        let block = |meta: &str| format!("kind: Pod\nmetadata:\n{meta}spec: {{}}\n");
        for (before, after) in [
            (
                "  name: a\n",
                "  name: a\n  annotations:\n    carota.dev/x: sha256:1f\n",
            ),
            (
                "    name: a # c\n    # d\n",
                "    name: a # c\n    annotations:\n        carota.dev/x: sha256:1f\n    # d\n",
            ),
            (
                "  annotations: {} # c\n",
                "  annotations: {\"carota.dev/x\": \"sha256:1f\"} # c\n",
            ),
            (
                "  annotations: { }\n",
                "  annotations: {\"carota.dev/x\": \"sha256:1f\" }\n",
            ),
            (
                "  annotations: {a: b,}\n",
                "  annotations: {a: b, \"carota.dev/x\": \"sha256:1f\",}\n",
            ),
            (
                "  annotations: null # c\n",
                "  annotations: # carota: was null # c\n    carota.dev/x: sha256:1f\n",
            ),
            (
                "  annotations: ~\n  name: a\n",
                "  annotations: # carota: was ~\n    carota.dev/x: sha256:1f\n  name: a\n",
            ),
            (
                "  annotations:\n",
                "  annotations: # carota: was empty\n    carota.dev/x: sha256:1f\n",
            ),
            (
                "  annotations: # c\n",
                "  annotations: # carota: was empty # c\n    carota.dev/x: sha256:1f\n",
            ),
            (
                "  annotations:\n   a: b # c\n   # d\n  name: a\n",
                "  annotations:\n   a: b # c\n   carota.dev/x: sha256:1f\n   # d\n  name: a\n",
            ),
            (
                "  annotations:\n    a: |\n      b\n\n  name: a\n",
                "  annotations:\n    a: |\n      b\n\n    carota.dev/x: sha256:1f\n  name: a\n",
            ),
            (
                "  labels:\n    a: [b,\n      c]\n",
                "  labels:\n    a: [b,\n      c]\n  annotations:\n    carota.dev/x: sha256:1f\n",
            ),
        ] {
            round_trip(&block(before), &block(after));
            round_trip(
                &block(before).replace('\n', "\r\n"),
                &block(after).replace('\n', "\r\n"),
            );
        }
        round_trip(
            "kind: Pod\nspec: {}\nmetadata:\n  name: a",
            "kind: Pod\nspec: {}\nmetadata:\n  name: a\n  annotations:\n    carota.dev/x: sha256:1f",
        );
        let json = |meta: &str| format!("{{\"kind\":\"Pod\",\"metadata\":{meta},\"spec\":{{}}}}");
        let pair = "\"carota.dev/x\": \"sha256:1f\"";
        for (before, after) in [
            (
                "{\"name\":\"a\"}",
                format!("{{\"name\":\"a\", \"annotations\": {{ {pair} }}}}"),
            ),
            ("{}", format!("{{\"annotations\": {{ {pair} }}}}")),
            (
                "{\"annotations\":{},\"name\":\"a\"}",
                format!("{{\"annotations\":{{{pair}}},\"name\":\"a\"}}"),
            ),
            (
                "{\"annotations\":{\"b\":\"c\"}}",
                format!("{{\"annotations\":{{\"b\":\"c\", {pair}}}}}"),
            ),
            (
                "{\n    \"name\": \"a\"\n  }",
                format!(
                    "{{\n    \"name\": \"a\",\n    \"annotations\": {{\n      {pair}\n    }}\n  }}"
                ),
            ),
        ] {
            round_trip(&json(before), &json(&after));
        }
    }

    #[test]
    fn an_annotation_is_replaced_where_it_stands() {
        let text = "kind: Pod\nmetadata:\n  annotations: {a: 'b'}\nspec: {}\n";
        let m = Manifest::parse(text, "f").unwrap();
        assert_eq!(
            m.set_annotation("a", "c d").unwrap(),
            text.replace("'b'", "'c d'")
        );
    }

    #[test]
    fn shapes_that_could_not_be_undone_are_refused() {
        for text in [
            "{kind: Pod, metadata: {annotations: null}, spec: {}}",
            "kind: Pod\nmetadata:\n  annotations:\n    null\nspec: {}\n",
            "kind: Pod\nspec: {}\nmetadata:\n  a: |\n    b",
            "kind: Pod\nmetadata: x\nspec: {}\n",
        ] {
            let m = Manifest::parse(text, "f").unwrap();
            assert_eq!(
                m.set_annotation("k", "v").unwrap_err().code,
                Code::ManifestShape,
                "{text}"
            );
        }
    }

    #[test]
    fn a_container_that_is_no_component_does_not_fail_the_parse() {
        let text = "kind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: s\n    command: [sh, -c]\n    args:\n    - |\n      exec kube-scheduler --x && true\n  - name: t\n    command: [sh, -c, 'true']\n  - name: u\n    command:\n    - nginx\n    - >-\n      --a=b\n";
        let m = Manifest::parse(text, "f").unwrap();
        assert_eq!(
            m.containers()[0]
                .program()
                .unwrap_err()
                .place
                .unwrap()
                .to_string(),
            "f:8:7"
        );
        assert_eq!(m.containers()[1].program().unwrap(), Some("sh"));
        assert!(m.containers()[1].flags().is_err());
        assert_eq!(
            m.containers()[2]
                .flag("a")
                .unwrap_err()
                .place
                .unwrap()
                .to_string(),
            "f:15:7"
        );
        assert!(m.container_running("kube-scheduler").is_err());
    }

    #[test]
    fn flags_in_a_shell_command_are_replaced_where_they_stand() {
        for (spelled, changed) in [
            (
                "[sh, -c, \"exec etcd --a=/x 1>>/l 2>&1\"]",
                "[sh, -c, \"exec etcd --a=/y 1>>/l 2>&1\"]",
            ),
            // Spelled otherwise than it reads: the whole item is written anew.
            (
                "[sh, -c, \"exec etcd --a=\\x2fx 1\\x3e\\x3e/l\"]",
                "[sh, -c, \"exec etcd --a=/y 1>>/l\"]",
            ),
            ("[sh, -c, 'etcd --a ''/x''']", "[sh, -c, 'etcd --a /y']"),
            (
                "[sh, -c, \"etcd --a=/x --b=/x\"]",
                "[sh, -c, \"etcd --a=/y --b=/x\"]",
            ),
            (
                "\n    - /bin/sh\n    - -c\n    - >-\n      exec etcd\n      --a=/x\n      --b",
                "\n    - /bin/sh\n    - -c\n    - >-\n      exec etcd\n      --a=/y\n      --b",
            ),
        ] {
            let text = |command: &str| {
                format!(
                    "kind: Pod\nmetadata: {{name: a}}\nspec:\n  containers:\n  - name: c\n    command: {command}\n"
                )
            };
            let m = Manifest::parse(&text(spelled), "f").unwrap();
            assert_eq!(m.containers()[0].program().unwrap(), Some("etcd"));
            assert!(m.containers()[0].names_program() && !m.is_plain());
            assert_eq!(set(&m, 0, &[("a", "/y")]).unwrap(), text(changed));
            assert!(set(&m, 0, &[("a", "/y z")]).unwrap().contains("/y z"));
        }
    }

    #[test]
    fn what_a_volume_of_one_file_shows_is_replaced() {
        let m = Manifest::parse(POD, "f").unwrap();
        let volumes = BTreeMap::from([("conf".to_owned(), "/etc/kubernetes/b.conf".to_owned())]);
        assert_eq!(
            m.set(0, &[], &volumes).unwrap(),
            POD.replace("/etc/kubernetes/a.conf", "/etc/kubernetes/b.conf")
        );
        assert!(!m.is_shared(0, "conf") && m.is_shared(0, "other"));
        let none = BTreeMap::from([("tmp".to_owned(), "/x".to_owned())]);
        assert!(m.set(0, &[], &none).is_err());
    }

    #[test]
    fn what_can_be_read_line_by_line_is_plain() {
        let plain = |text: &str| Manifest::parse(text, "f").unwrap().is_plain();
        let block = "kind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - command:\n    - etcd\n    - --a=b\n    - \"c \\\"d\\\"\"\n";
        assert!(plain(block));
        // The value in an item of its own, an escape, several lines, flow style.
        for (from, to) in [
            ("--a=b", "--a\n    - b"),
            ("--a=b", "\"--a=\\x62\""),
            ("--a=b", ">-\n      --a=b"),
            (
                "    - etcd\n    - --a=b\n",
                "    - etcd\n    args: [--a=b]\n    x:\n",
            ),
        ] {
            assert!(!plain(&block.replace(from, to)), "{to}");
        }
        let probe = "    livenessProbe: {httpGet: {port: 1}}\n";
        assert!(!plain(&format!("{block}{probe}")));
    }
}
