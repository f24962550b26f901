//! Static pod manifests: which program a container runs, with which flags, on which files of the
//! node; and edits of flags and annotations.
//!
//! Knows the shape of a Pod. Does not know which flags matter, which files exist, or why something
//! is edited.

use std::sync::Arc;

use serde_yaml::{Mapping, Value};

use crate::diagnostic::{Code, Diagnostic, Place, Result};
pub use crate::edit::argv::Flag;
use crate::edit::argv::{CommandLine, Word};
use crate::edit::pairs::{self, Left};
use crate::edit::scalar::{self, Style};
use crate::edit::yaml::{Document, Edit, Entry, Node, Step, set_value};
use crate::memo::Memo;

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
    line: CommandLine,
    /// For each word: the list it stands in, and its index there.
    words: Vec<(&'static str, usize)>,
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

    /// Whether the file `host_path` is mounted by itself, so that renaming another file over it does
    /// not reach the container.
    #[must_use]
    pub fn is_single_file_mount(&self, container: usize, host_path: &str) -> bool {
        let (Some(path), Some(container)) = (clean(host_path), self.containers.get(container))
        else {
            return false;
        };
        container.mounts.iter().any(|m| {
            let directory = m.sub_path.is_none()
                && self
                    .volume(&m.volume)
                    .and_then(|v| v.host_type.as_deref())
                    .is_some_and(|t| t.starts_with("Directory"));
            !directory && self.host_root(m).as_deref() == Some(path.as_str())
        })
    }

    /// The text with the values of flags replaced. Each flag must be there, once, with a value.
    pub fn set_flags(&self, container: usize, values: &[(&str, &str)]) -> Result<String> {
        let Some(c) = self.containers.get(container) else {
            return Err(self
                .doc
                .shape(self.doc.root(), "the manifest has no such container"));
        };
        let mut edits = Vec::new();
        let mut expected = Vec::new();
        for (name, new) in values {
            let flag = c.line.flag_to_set(name)?;
            check_printable(new, &flag.place)?;
            let (list, index) = c.words[flag.value_word.unwrap_or(flag.word)];
            let path = [
                Step::Key("spec"),
                Step::Key("containers"),
                Step::Index(container),
                Step::Key(list),
                Step::Index(index),
            ];
            let Some(node) = self.doc.root().at(&path) else {
                return Err(self
                    .doc
                    .shape(self.doc.root(), "the manifest has no such flag"));
            };
            let (edit, whole) = if flag.value_word.is_some() {
                (self.doc.replace(node, new)?, (*new).to_owned())
            } else {
                let prefix = format!("{}=", flag.spelled);
                (
                    self.replace_after(node, &prefix, new)?,
                    format!("{prefix}{new}"),
                )
            };
            edits.push(edit);
            expected.push((path, whole));
        }
        self.doc.apply(&edits, |value| {
            expected
                .iter()
                .all(|(path, whole)| set_value(value, path, Some(whole.as_str().into())))
        })
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
            positions.push((list, i));
        }
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
        line: CommandLine::read(words, image.as_deref()),
        image,
        words: positions,
    })
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

/// An absolute path without `.`, `..`, doubled and trailing slashes; the root is empty.
fn clean(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.strip_prefix('/')?.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Some(
        parts
            .iter()
            .fold(String::new(), |path, part| path + "/" + part),
    )
}

/// What of `path` lies below `root`: empty for the root itself.
fn below<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    path.strip_prefix(root)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
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
        assert_eq!(m.set_flags(0, &new).unwrap(), expected);
        assert_eq!(
            m.set_flags(0, &[("client-ca-file", "/a #b")]).unwrap(),
            POD.replace(
                "--client-ca-file=/etc/kubernetes/pki/ca.crt",
                "\"--client-ca-file=/a #b\""
            )
        );
    }

    #[test]
    fn flags_that_are_absent_valueless_or_hostile_are_not_set() {
        let m = Manifest::parse(POD, "f").unwrap();
        let code = |name, value| m.set_flags(0, &[(name, value)]).unwrap_err().code;
        assert_eq!(code("root-ca-file", "/x"), Code::ManifestShape);
        assert_eq!(code("allow-privileged", "true"), Code::ManifestShape);
        assert_eq!(code("client-ca-file", "/x\n"), Code::ManifestShape);
        assert!(m.set_flags(1, &[("a", "b")]).is_err());
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
        assert!(m.is_single_file_mount(0, "/etc/kubernetes/a.conf"));
        assert!(!m.is_single_file_mount(0, "/srv/pki/ca.crt"));
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
        let text = "kind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: s\n    command: [sh, -c]\n    args:\n    - |\n      exec kube-scheduler --x\n  - name: t\n    command: [sh, -c, 'true']\n  - name: u\n    command:\n    - nginx\n    - >-\n      --a=b\n";
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
}
