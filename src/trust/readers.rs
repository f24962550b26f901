//! Programs that read a rotated CA, or a certificate under one, in a way that the proof does not know.
//! Each of them is an error: an edge that nobody modelled is no edge that holds.
//!
//! Knows flags, units, pods and what their words name. It must not know time or what a phase does.
//!
//! What is looked at: flags of the control plane and of kubelets that are no input of the proof, other
//! units, and pods (static ones and workloads) that name or mount a file of the node. A file that is
//! named may hold certificates, or be a configuration that names files that do. What may be of that kind and is not in
//! the snapshot is said to be unproven.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::artifacts::is_modelled;
use super::edges::workloads;
use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::edit::kubeconfig::looks_like_kubeconfig;
use crate::edit::{KEPT, embedded};
use crate::layout::{self, Component, Program, snapshot_file};
use crate::names::{NodeName, NodePath, below};
use crate::pki::Certificate;
use crate::spec::{CaName, quoted};
use crate::state::{Node, ObjectId, State};

/// Flags of kubelets that the proof reads, or that name what it finds by itself.
const KUBELET_FLAGS: [&str; 8] = [
    "bootstrap-kubeconfig",
    "cert-dir",
    "client-ca-file",
    "config",
    "kubeconfig",
    "pod-manifest-path",
    "tls-cert-file",
    "tls-private-key-file",
];

/// A flag whose file holds keys for data, and no trust.
const OF_KEYS: &str = "encryption-provider-config";

/// What cluster.toml declares.
#[derive(Default)]
pub struct Declared<'s> {
    /// Files whose readers somebody answers for.
    pub files: BTreeSet<&'s str>,
    /// Objects that hold a CA, each with the workloads that are restarted when it has changed.
    pub objects: Vec<(ObjectId, BTreeSet<ObjectId>)>,
    /// Fingerprints of certificates that somebody else re-issues.
    pub leaves: BTreeSet<&'s str>,
}

/// Searches the cluster as it is before the rotation. Gives what is no error and not proven either.
pub fn check(
    start: &State,
    cas: &BTreeMap<CaName, (Certificate, Certificate)>,
    declared: &Declared<'_>,
) -> Result<BTreeSet<String>> {
    let mut search = Search {
        start,
        cas,
        declared,
        weaknesses: BTreeSet::new(),
    };
    for (node, files) in &start.nodes {
        let components = layout::components(start, node)?;
        for component in &components {
            search.flags_of(component)?;
        }
        search.kubelet(node)?;
        search.units(node, files, &components)?;
        search.static_pods(node, files, &components)?;
    }
    search.workloads()?;
    search.secrets();
    Ok(search.weaknesses)
}

struct Search<'s> {
    start: &'s State,
    cas: &'s BTreeMap<CaName, (Certificate, Certificate)>,
    declared: &'s Declared<'s>,
    weaknesses: BTreeSet<String>,
}

/// Who reads, and where that stands.
struct Reader<'r> {
    who: &'r str,
    node: &'r NodeName,
    place: &'r Place,
    /// A file that it reads and that the proof knows.
    known: Option<NodePath>,
}

/// What was found in a file.
enum Found {
    Ca(CaName),
    Leaf { ca: CaName, fingerprint: String },
}

impl Search<'_> {
    fn flags_of(&mut self, component: &Component) -> Result<()> {
        for flag in component.flags()? {
            let Some(value) = flag.value.as_deref() else {
                continue;
            };
            // The key alone counts there, which stays.
            let key_only = flag.name == "service-account-key-file";
            if key_only || is_modelled(component.program, &flag.name) {
                continue;
            }
            let who = format!(
                "--{} of {} on {}",
                flag.name, component.program, component.node
            );
            let mut reader = Reader {
                who: &who,
                node: &component.node,
                place: &flag.place,
                known: None,
            };
            if flag.name == "config" && is_modelled(component.program, "kubeconfig") {
                reader.known = component.host_file("kubeconfig")?;
            }
            // Whoever asks these for health and metrics is outside, and told so before phase 14.
            let serves = flag.name == "tls-cert-file" && component.program != Program::Apiserver;
            for part in value.split([',', ':']).filter(|part| part.starts_with('/')) {
                let Some(path) = on_node(component, part) else {
                    continue;
                };
                if serves {
                    if self.first_in(&reader, &path).is_some() {
                        self.weaknesses.insert(format!(
                            "{who} is served from a rotated CA; who verifies it is not in the snapshot"
                        ));
                    }
                } else {
                    self.note_absent(&reader, &flag.name, &path);
                    self.look(&reader, &path, true)?;
                    if let Ok(inside) = NodePath::new(part) {
                        self.through(&reader, component, &inside, &mut BTreeSet::new())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// What a program's configuration names, and what that names in turn, as an API server's does kubeconfigs of
    /// webhooks and they their CAs. Names are those that the program sees, some of them relative.
    fn through(
        &mut self,
        reader: &Reader<'_>,
        component: &Component,
        inside: &NodePath,
        seen: &mut BTreeSet<NodePath>,
    ) -> Result<()> {
        let Some(path) = on_node(component, inside.as_str()) else {
            return Ok(());
        };
        let Some((_, file)) = self.start.nodes[reader.node].file(&path) else {
            return Ok(());
        };
        if reader.known.as_ref() == Some(&path) || !seen.insert(path.clone()) {
            return Ok(());
        }
        self.look(reader, &path, false)?;
        if !file.text.starts_with("-----BEGIN") {
            let names = words(&file.text).map(|name| name.trim_matches(['{', '}', '[', ']']));
            for name in names.filter(|name| name.contains(['/', '.'])) {
                if let Some(named) = inside.named(name) {
                    self.through(reader, component, &named, seen)?;
                }
            }
        }
        Ok(())
    }

    /// A file that may hold trust, or name it, and whose text the snapshot does not have.
    fn note_absent(&mut self, reader: &Reader<'_>, flag: &str, path: &NodePath) {
        let of_trust = ["ca-file", "cert-file", "cert-key", "-config", "config-file"];
        let is_of_trust = of_trust.iter().any(|end| flag.ends_with(end));
        if is_of_trust && flag != OF_KEYS && self.start.nodes[reader.node].file(path).is_none() {
            self.weaknesses.insert(format!(
                "{} reads {path}, whose text is not in the snapshot: whether it has to do with a rotated CA is not known",
                reader.who
            ));
        }
    }

    /// Secrets in which kubeconfigs and truststores are kept. The collector leaves nothing of them but certificates.
    fn secrets(&mut self) {
        for (id, secret) in self.start.objects_of("secrets") {
            let kind = secret.get("type").and_then(Value::as_str);
            let of_others = ["kubernetes.io/", "helm.sh/", "bootstrap.kubernetes.io/"];
            if of_others
                .iter()
                .any(|of| kind.unwrap_or_default().starts_with(of))
            {
                continue;
            }
            let values = secret.get("data").and_then(Value::as_object);
            for (name, value) in values.into_iter().flatten() {
                let withheld = value.as_str().is_some_and(|v| v.starts_with(KEPT));
                if withheld && may_be_of_a_client(name) {
                    self.weaknesses.insert(format!(
                        "{id} holds `{name}`, which is not in the snapshot: if it is a kubeconfig or truststore with a rotated CA, \
                         nothing in this plan changes it, and nothing is proven of who reads it"
                    ));
                }
            }
        }
    }

    fn kubelet(&mut self, node: &NodeName) -> Result<()> {
        for flag in layout::kubelet_flags(self.start, node)? {
            if KUBELET_FLAGS.contains(&&*flag.name) {
                continue;
            }
            let path = flag.value.as_deref().and_then(|v| NodePath::new(v).ok());
            if let Some(path) = path {
                let reader = Reader {
                    who: &format!("--{} of the kubelet on {node}", flag.name),
                    node,
                    place: &flag.place,
                    known: None,
                };
                self.note_absent(&reader, &flag.name, &path);
                self.look(&reader, &path, true)?;
            }
        }
        Ok(())
    }

    /// Units other than the kubelet's. One that runs once and ends reads its files each time, which is
    /// what the proof takes by path.
    fn units(
        &mut self,
        node: &NodeName,
        files: &Node,
        components: &[Arc<Component>],
    ) -> Result<()> {
        for (path, file) in files.regular_files() {
            let Some(unit) = layout::unit_of(path).filter(|unit| *unit != layout::KUBELET_UNIT)
            else {
                continue;
            };
            let of_program = match components.iter().find(|c| c.files().contains(path)) {
                Some(component) => {
                    let mut read = files_of_flags(component)?;
                    read.extend(component.files());
                    read
                }
                None => BTreeSet::new(),
            };
            let once = file.text.contains("Type=oneshot");
            let label = snapshot_file(node, path);
            for (at, named) in paths_in(&file.text) {
                if of_program.contains(&named) || once && self.is_read_by_path(node, &named)? {
                    continue;
                }
                let reader = Reader {
                    who: &format!("{unit} on {node}"),
                    node,
                    place: &Place::at(&label, &file.text, at),
                    known: None,
                };
                self.look(&reader, &named, true)?;
            }
        }
        Ok(())
    }

    /// Containers of static pods that are no program of the control plane.
    fn static_pods(
        &mut self,
        node: &NodeName,
        files: &Node,
        components: &[Arc<Component>],
    ) -> Result<()> {
        let folder = layout::kubelet(self.start, node)?.and_then(|k| k.static_pods.clone());
        let Some(folder) = folder else { return Ok(()) };
        for (path, file) in files.regular_files() {
            if path.folder() != folder.as_str() || path.file_name().starts_with('.') {
                continue;
            }
            let Ok(pod) = serde_yaml::from_str::<Value>(&file.text) else {
                continue;
            };
            let label = snapshot_file(node, path);
            for (at, container) in containers(&pod["spec"]).into_iter().enumerate() {
                if components.iter().any(|c| c.is_container(path, at)) {
                    continue;
                }
                let reader = Reader {
                    who: &format!("container `{}` of {path} on {node}", container.name),
                    node,
                    place: &Place::start_of(&label),
                    known: None,
                };
                self.container(&reader, files, &container, false)?;
            }
        }
        Ok(())
    }

    fn workloads(&mut self) -> Result<()> {
        for workload in workloads(self.start) {
            for (object, restarted) in &self.declared.objects {
                if workload.lasting
                    && !restarted.contains(&workload.id)
                    && workload.pod().gets(object)
                {
                    self.weaknesses.insert(format!(
                        "{} gets {object}, and its `restart` in cluster.toml does not name it: that it reads anew by itself what phases 09 and 19 change is not proven",
                        workload.id
                    ));
                }
            }
            let place = Place::start_of(&format!("snapshot/cluster/{}.yaml", workload.id.kind));
            for container in containers(workload.spec) {
                if container.mounts.is_empty() {
                    continue;
                }
                for (node, files) in &self.start.nodes {
                    let reader = Reader {
                        who: &format!("container `{}` of {}", container.name, workload.id),
                        node,
                        place: &place,
                        known: None,
                    };
                    self.container(&reader, files, &container, !workload.lasting)?;
                }
            }
        }
        Ok(())
    }

    /// A container reads what its words name, and a file that is mounted by itself. What else lies in
    /// a folder that it mounts it may read.
    fn container(
        &mut self,
        reader: &Reader<'_>,
        files: &Node,
        container: &Container,
        once: bool,
    ) -> Result<()> {
        let mut named: Vec<NodePath> = Vec::new();
        for word in &container.words {
            let inside = paths_in(word).into_iter();
            named.extend(inside.filter_map(|(_, path)| container.on_host(&path)));
        }
        let hosts = container.mounts.iter().map(|(_, host)| host);
        named.extend(hosts.filter_map(|host| NodePath::new(host).ok()));
        named.sort();
        named.dedup();
        for path in &named {
            let kubeconfig = files
                .file(path)
                .is_some_and(|(_, f)| looks_like_kubeconfig(&f.text));
            // Kubeconfigs that pods mount are edges.
            if kubeconfig || once && self.is_read_by_path(reader.node, path)? {
                continue;
            }
            self.look(reader, path, true)?;
        }
        for (path, file) in files.regular_files() {
            let mounted = |(_, host): &(String, String)| below(path.as_str(), host).is_some();
            if file.text.contains("BEGIN CERTIFICATE")
                && container.mounts.iter().any(mounted)
                && !named.contains(path)
                && self.first_in(reader, path).is_some()
            {
                self.weaknesses.insert(format!(
                    "{} mounts {}: whether it reads it is not in the snapshot",
                    reader.who,
                    path.folder()
                ));
            }
        }
        Ok(())
    }

    /// What kubeadm, probes and backups read from etcd's folder each time they run is an edge.
    fn is_read_by_path(&self, node: &NodeName, path: &NodePath) -> Result<bool> {
        for component in layout::components(self.start, node)? {
            if component.program == Program::Etcd
                && let Some(ca) = component.host_file("trusted-ca-file")?
            {
                let pair = format!("{}/healthcheck-client.crt", ca.folder());
                return Ok(*path == ca || path.as_str() == pair);
            }
        }
        Ok(false)
    }

    /// Refuses a file that holds what is rotated, or names a file that does.
    fn look(&mut self, reader: &Reader<'_>, path: &NodePath, deeper: bool) -> Result<()> {
        let Some((at, file)) = self.start.nodes[reader.node].file(path) else {
            return Ok(());
        };
        if reader.known.as_ref() == Some(path) {
            return Ok(());
        }
        if let Some(found) = self.first_in(reader, path) {
            return Err(unknown(reader, at, &found));
        }
        // A certificate, a key or a kubeconfig names no more files that are read by others.
        if deeper && !file.text.starts_with("-----BEGIN") {
            for (_, named) in paths_in(&file.text) {
                if named != *path {
                    self.look(reader, &named, false)?;
                }
            }
        }
        Ok(())
    }

    /// The first thing of a rotated CA in a file that nobody has declared.
    fn first_in(&mut self, reader: &Reader<'_>, path: &NodePath) -> Option<Found> {
        let (at, file) = self.start.nodes[reader.node].file(path)?;
        let found = embedded::find_embedded_certificates(&file.text, "")
            .into_iter()
            .filter_map(|found| self.of_rotated(&Certificate::from_der(&found.der).ok()?))
            .collect::<Vec<_>>();
        if !found.is_empty() && self.declared.files.contains(at.as_str()) {
            self.weaknesses.insert(format!(
                "{} reads {at}, as declared: not proven",
                reader.who
            ));
            return None;
        }
        found.into_iter().find(|found| match found {
            Found::Ca(_) => true,
            Found::Leaf { fingerprint, .. } => !self.declared.leaves.contains(fingerprint.as_str()),
        })
    }

    fn of_rotated(&self, certificate: &Certificate) -> Option<Found> {
        self.cas.iter().find_map(|(name, (old, _))| {
            if certificate == old {
                return Some(Found::Ca(*name));
            }
            let signed =
                certificate.issuer_der() == old.subject_der() && certificate.signed_by(old);
            signed.then(|| Found::Leaf {
                ca: *name,
                fingerprint: certificate.fingerprint().to_owned(),
            })
        })
    }
}

/// What the node calls a file of a program.
fn on_node(component: &Component, path: &str) -> Option<NodePath> {
    NodePath::new(&component.host_path(path)?).ok()
}

/// Whether a key of a Secret is one under which kubeconfigs and truststores are kept: `value` is that of Cluster API,
/// `config` that of Argo CD.
fn may_be_of_a_client(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let ends = [".conf", ".jks", ".p12", ".pfx", ".keystore", "truststore"];
    matches!(&*key, "value" | "config")
        || key.contains("kubeconfig")
        || ends.iter().any(|end| key.ends_with(end))
}

/// The files of a program's flags, which are looked at as such.
fn files_of_flags(component: &Component) -> Result<BTreeSet<NodePath>> {
    let values = component.flags()?.iter().filter_map(|f| f.value.as_deref());
    let paths = values.flat_map(|value| value.split([',', ':']));
    Ok(paths.filter_map(|path| NodePath::new(path).ok()).collect())
}

fn unknown(reader: &Reader<'_>, path: &NodePath, found: &Found) -> Diagnostic {
    let (what, declare) = match found {
        Found::Ca(name) => (
            format!("the old {name} CA"),
            format!(
                "if no other program reads this file, declare it in cluster.toml, and see that the reader restarts \
                 between phases 09 and 14 and after 19; else give it a file of its own first:\n\n[[trust_consumer]]\n\
                 file = {}\nmode = \"bundle\"\n",
                quoted(path.as_str())
            ),
        ),
        Found::Leaf { ca, fingerprint } => (
            format!("a certificate of the old {ca} CA"),
            format!(
                "declare who re-issues it, in cluster.toml:\n\n[[external_leaf]]\nfingerprint = \"{fingerprint}\"\n\
                 owner = \"…\"\n"
            ),
        ),
    };
    let reason = format!(
        "{} reads {what} from {path}, and the proof does not know whom that connects",
        reader.who
    );
    Diagnostic::new(Code::UnknownReader, reason, declare).at(reader.place.clone())
}

/// A container of a pod, as far as files of the node go.
struct Container {
    name: String,
    /// Command, arguments and environment.
    words: Vec<String>,
    /// Path in the container, path on the node.
    mounts: Vec<(String, String)>,
}

impl Container {
    fn on_host(&self, path: &NodePath) -> Option<NodePath> {
        let fits = |(inside, host): &(String, String)| {
            let rest = below(path.as_str(), inside)?;
            Some((inside.len(), format!("{host}{rest}")))
        };
        let (_, host) = self.mounts.iter().filter_map(fits).max()?;
        NodePath::new(&host).ok()
    }
}

/// The containers of a pod's spec that run for as long as it does.
fn containers(spec: &Value) -> Vec<Container> {
    let list = |value: &'_ Value, key: &str| -> Vec<Value> {
        let items = value.get(key).and_then(Value::as_array);
        items.cloned().unwrap_or_default()
    };
    let text = |value: &Value, pointer: &str| {
        let found = value.pointer(pointer).and_then(Value::as_str);
        found.map(|text| text.trim_end_matches('/').to_owned())
    };
    let mut hosts: BTreeMap<String, String> = BTreeMap::new();
    for volume in list(spec, "volumes") {
        if let (Some(name), Some(host)) = (text(&volume, "/name"), text(&volume, "/hostPath/path"))
        {
            hosts.insert(name, host);
        }
    }
    let mut out = Vec::new();
    let beside = list(spec, "initContainers").into_iter();
    let beside = beside.filter(|c| c.get("restartPolicy").is_some_and(|p| p == "Always"));
    for container in list(spec, "containers").into_iter().chain(beside) {
        let mut words = Vec::new();
        for key in ["command", "args"] {
            words.extend(list(&container, key));
        }
        let values = list(&container, "env");
        words.extend(values.iter().filter_map(|env| env.get("value")).cloned());
        let mount = |mount: &Value| {
            let mut host = hosts.get(&text(mount, "/name")?)?.clone();
            if let Some(sub) = text(mount, "/subPath") {
                host = format!("{host}/{sub}");
            }
            Some((text(mount, "/mountPath")?, host))
        };
        out.push(Container {
            name: text(&container, "/name").unwrap_or_default(),
            words: words
                .iter()
                .filter_map(|w| w.as_str().map(str::to_owned))
                .collect(),
            mounts: list(&container, "volumeMounts")
                .iter()
                .filter_map(mount)
                .collect(),
        });
    }
    out
}

/// What may be a name of a file in a text, as it stands.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '=' | ',' | ':' | ';'))
}

/// Every absolute path in a text, with where it begins.
fn paths_in(text: &str) -> Vec<(usize, NodePath)> {
    let mut out = Vec::new();
    let mut at = 0;
    for word in words(text) {
        if word.starts_with('/')
            && let Ok(path) = NodePath::new(word)
        {
            out.push((at, path));
        }
        // Every separator is one character.
        at += word.len();
        at += text[at..].chars().next().map_or(0, char::len_utf8);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_whatever_is_around_them() {
        let text = "ExecStart=/usr/bin/x --ca=/etc/a.crt,/etc/b.key:name \"/etc/c\" é=/etc/d\nhttps://host/path";
        let found: Vec<_> = paths_in(text)
            .into_iter()
            .map(|(at, path)| {
                assert!(text[at..].starts_with(path.as_str()));
                path.to_string()
            })
            .collect();
        assert_eq!(
            found,
            ["/usr/bin/x", "/etc/a.crt", "/etc/b.key", "/etc/c", "/etc/d"]
        );
    }
}
