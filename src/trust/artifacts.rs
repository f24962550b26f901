//! What lies in a State, as the proof needs it: programs with their flags, kubelets, kubeconfigs,
//! bundles and certificates.
//!
//! Knows where things stand in files and objects. It must not know time, processes, or what any
//! phase is for. Everything read once is kept by its text, since the states share nearly all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use rustc_hash::FxHashMap as HashMap;

use super::judge::{Credential, CredentialId, Judge, NO_CA, Trust, TrustId};
use crate::diagnostic::Result;
use crate::edit::kubeconfig::{CaSource, CertSource, Kubeconfig};
use crate::edit::manifest::Manifest;
use crate::layout::{self, Kubelet, Program, snapshot_file};
use crate::names::{NodeName, NodePath};
use crate::state::{Entry, File, Node, State, address};

/// Flags that name files, by program.
const FILE_FLAGS: [(Program, &str); 48] = [
    (Program::Apiserver, "client-ca-file"),
    (Program::Apiserver, "requestheader-client-ca-file"),
    (Program::Apiserver, "kubelet-certificate-authority"),
    (Program::Apiserver, "etcd-cafile"),
    (Program::Apiserver, "etcd-certfile"),
    (Program::Apiserver, "kubelet-client-certificate"),
    (Program::Apiserver, "proxy-client-cert-file"),
    (Program::Apiserver, "tls-cert-file"),
    (Program::Apiserver, "etcd-keyfile"),
    (Program::Apiserver, "kubelet-client-key"),
    (Program::Apiserver, "proxy-client-key-file"),
    (Program::Apiserver, "tls-private-key-file"),
    (Program::Apiserver, WEBHOOK_FLAGS[0]),
    (Program::Apiserver, WEBHOOK_FLAGS[1]),
    (Program::Apiserver, WEBHOOK_FLAGS[2]),
    (Program::ControllerManager, "root-ca-file"),
    (Program::ControllerManager, "client-ca-file"),
    (Program::ControllerManager, "requestheader-client-ca-file"),
    (Program::ControllerManager, "cluster-signing-key-file"),
    (
        Program::ControllerManager,
        "cluster-signing-kubelet-client-key-file",
    ),
    (
        Program::ControllerManager,
        "cluster-signing-kubelet-serving-key-file",
    ),
    (
        Program::ControllerManager,
        "cluster-signing-kube-apiserver-client-key-file",
    ),
    (Program::Scheduler, "client-ca-file"),
    (Program::Scheduler, "requestheader-client-ca-file"),
    (Program::CloudControllerManager, "client-ca-file"),
    (
        Program::CloudControllerManager,
        "requestheader-client-ca-file",
    ),
    (Program::ControllerManager, "cluster-signing-cert-file"),
    (
        Program::ControllerManager,
        "cluster-signing-kubelet-client-cert-file",
    ),
    (
        Program::ControllerManager,
        "cluster-signing-kubelet-serving-cert-file",
    ),
    (
        Program::ControllerManager,
        "cluster-signing-kube-apiserver-client-cert-file",
    ),
    (
        Program::ControllerManager,
        "cluster-signing-legacy-unknown-cert-file",
    ),
    (
        Program::ControllerManager,
        "cluster-signing-legacy-unknown-key-file",
    ),
    (Program::ControllerManager, "kubeconfig"),
    (Program::ControllerManager, "authentication-kubeconfig"),
    (Program::ControllerManager, "authorization-kubeconfig"),
    (Program::Scheduler, "kubeconfig"),
    (Program::Scheduler, "authentication-kubeconfig"),
    (Program::Scheduler, "authorization-kubeconfig"),
    (Program::CloudControllerManager, "kubeconfig"),
    (Program::CloudControllerManager, "authentication-kubeconfig"),
    (Program::CloudControllerManager, "authorization-kubeconfig"),
    (Program::Proxy, "kubeconfig"),
    (Program::Etcd, "cert-file"),
    (Program::Etcd, "key-file"),
    (Program::Etcd, "peer-cert-file"),
    (Program::Etcd, "peer-key-file"),
    (Program::Etcd, "trusted-ca-file"),
    (Program::Etcd, "peer-trusted-ca-file"),
];

/// Flags by which API servers name kubeconfigs of webhooks.
pub const WEBHOOK_FLAGS: [&str; 3] = [
    "authentication-token-webhook-config-file",
    "authorization-webhook-config-file",
    "audit-webhook-config-file",
];

/// Whether the proof knows what a program does with the file of a flag.
pub fn is_modelled(program: Program, flag: &str) -> bool {
    FILE_FLAGS.contains(&(program, flag))
}

/// Flags that say something else.
const TEXT_FLAGS: [(Program, &str); 7] = [
    (Program::Apiserver, "etcd-servers"),
    (Program::Apiserver, "etcd-servers-overrides"),
    (Program::Apiserver, "advertise-address"),
    (Program::Apiserver, "kubelet-preferred-address-types"),
    (Program::Etcd, "advertise-client-urls"),
    (Program::Etcd, "listen-client-urls"),
    (Program::Etcd, "initial-advertise-peer-urls"),
];

/// Those of them whose values add up when they are given again.
const LISTS: [&str; 3] = [
    "etcd-servers",
    "etcd-servers-overrides",
    "kubelet-preferred-address-types",
];

/// A control-plane program as its manifest starts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Which program.
    pub program: Program,
    /// Its manifest.
    pub manifest: NodePath,
    /// The files on the node that its flags name.
    pub files: BTreeMap<&'static str, NodePath>,
    /// Other flags.
    pub flags: BTreeMap<&'static str, String>,
    /// Files that are mounted by themselves: it sees the one that was there when it started.
    pub single: BTreeSet<NodePath>,
}

/// A kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its clusters.
    pub clusters: Vec<ClusterView>,
    /// Its users.
    pub users: Vec<UserView>,
    /// Which cluster and user belong together: by the contexts, the current one first.
    pub pairs: Vec<(usize, usize)>,
}

/// A cluster of a kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// The URL's host.
    pub host: String,
    /// The name that the certificate must hold.
    pub name: String,
    /// What it trusts: there, or in a file.
    pub trust: Held<TrustId>,
}

/// A user of a kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserView {
    /// Its certificate: there, or in a file.
    pub certificate: Held<CredentialId>,
    /// Whether a program gives what it shows, which may be a certificate too.
    pub by_program: bool,
}

/// Something that a file holds, or that lies in a file it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held<T> {
    /// In the file itself.
    Here(T),
    /// In the file of this name.
    In(String),
}

/// What has been read.
pub struct Artifacts<'a> {
    /// Where verdicts are.
    pub judge: Judge,
    programs: HashMap<usize, Rc<Vec<Rc<Started>>>>,
    kubelets: HashMap<usize, Option<Arc<Kubelet>>>,
    nodes_by_address: HashMap<(usize, usize), &'a Arc<Node>>,
    views: HashMap<&'a str, Option<Rc<View>>>,
    views_by_address: HashMap<usize, Option<Rc<View>>>,
    trusts: HashMap<&'a str, TrustId>,
    credentials: HashMap<&'a str, CredentialId>,
    /// Trusts and credentials by where their text lies in memory; the states share nearly all.
    by_address: HashMap<(usize, bool), usize>,
}

impl<'a> Artifacts<'a> {
    /// Nothing read yet.
    pub fn new(judge: Judge) -> Artifacts<'a> {
        Artifacts {
            judge,
            programs: HashMap::default(),
            kubelets: HashMap::default(),
            nodes_by_address: HashMap::default(),
            views: HashMap::default(),
            views_by_address: HashMap::default(),
            trusts: HashMap::default(),
            credentials: HashMap::default(),
            by_address: HashMap::default(),
        }
    }

    /// A node's files. Among thousands of nodes, looking for a name takes longer than anything else here.
    pub fn node(&mut self, state: &'a State, node: &NodeName) -> Option<&'a Arc<Node>> {
        let key = (std::ptr::from_ref(state) as usize, node.address());
        if let Some(known) = self.nodes_by_address.get(&key) {
            return Some(known);
        }
        let found = state.nodes.get(node)?;
        self.nodes_by_address.insert(key, found);
        Some(found)
    }

    /// A file of a node.
    pub fn file(&mut self, state: &'a State, node: &NodeName, path: &NodePath) -> Option<&'a File> {
        self.node(state, node)?.file(path).map(|(_, file)| file)
    }

    /// The control-plane programs that run on a node.
    pub fn programs(&mut self, state: &'a State, node: &NodeName) -> Result<Rc<Vec<Rc<Started>>>> {
        let Some(files) = self.node(state, node) else {
            return Ok(Rc::default());
        };
        let key = Arc::as_ptr(files) as usize;
        if let Some(known) = self.programs.get(&key) {
            return Ok(known.clone());
        }
        let folder = self
            .kubelet(state, node)?
            .and_then(|k| k.static_pods.clone());
        let any = folder.is_some_and(|f| layout::manifests_in(files, &f).next().is_some())
            || layout::may_run_units(files);
        let mut out = Vec::new();
        for component in if any {
            layout::components(state, node)?
        } else {
            Vec::new()
        } {
            let mut started = Started {
                program: component.program,
                manifest: component.path.clone(),
                files: BTreeMap::new(),
                flags: BTreeMap::new(),
                single: component.single_files().collect(),
            };
            for (_, flag) in FILE_FLAGS.iter().filter(|(of, _)| *of == component.program) {
                if let Some(path) = component.host_file(flag)? {
                    started.files.insert(flag, path);
                }
            }
            for (_, flag) in TEXT_FLAGS.iter().filter(|(of, _)| *of == component.program) {
                let value = if LISTS.contains(flag) {
                    let items = component.list(flag)?;
                    (!items.is_empty()).then(|| items.join(","))
                } else {
                    component.flag(flag)?
                };
                if let Some(value) = value {
                    started.flags.insert(flag, value);
                }
            }
            out.push(Rc::new(started));
        }
        let out = Rc::new(out);
        self.programs.insert(key, out.clone());
        Ok(out)
    }

    /// Static pods that carota does not know, with the folders and files of the host they mount.
    pub fn foreign_static_pods(
        &mut self,
        state: &'a State,
        node: &NodeName,
    ) -> Result<Vec<(NodePath, Vec<String>)>> {
        let known = self.programs(state, node)?;
        let folder = self
            .kubelet(state, node)?
            .and_then(|k| k.static_pods.clone());
        let (Some(folder), Some(files)) = (folder, self.node(state, node)) else {
            return Ok(Vec::new());
        };
        let mut out = Vec::new();
        for (path, entry) in layout::manifests_in(files, &folder) {
            let Entry::File(file) = entry else { continue };
            if known.iter().any(|started| started.manifest == *path) {
                continue;
            }
            let manifest = Manifest::parse(&file.text, &snapshot_file(node, path))?;
            let mounts = manifest
                .volumes()
                .iter()
                .filter_map(|v| v.host_path.clone())
                .collect();
            out.push((path.clone(), mounts));
        }
        Ok(out)
    }

    /// One program of a node, by its manifest.
    pub fn program(
        &mut self,
        state: &'a State,
        node: &NodeName,
        program: Program,
        manifest: &NodePath,
    ) -> Result<Option<Rc<Started>>> {
        let all = self.programs(state, node)?;
        Ok(all
            .iter()
            .find(|s| s.program == program && s.manifest == *manifest)
            .cloned())
    }

    /// A node's kubelet.
    pub fn kubelet(&mut self, state: &'a State, node: &NodeName) -> Result<Option<Arc<Kubelet>>> {
        let Some(files) = self.node(state, node) else {
            return Ok(None);
        };
        let address = Arc::as_ptr(files) as usize;
        if let Some(known) = self.kubelets.get(&address) {
            return Ok(known.clone());
        }
        let found = layout::kubelet(state, node)?;
        self.kubelets.insert(address, found.clone());
        Ok(found)
    }

    /// A text as a kubeconfig; none where it is none.
    pub fn view(
        &mut self,
        text: &'a str,
        label: impl FnOnce() -> String,
    ) -> Result<Option<Rc<View>>> {
        let address = address(text);
        if let Some(known) = self.views_by_address.get(&address) {
            return Ok(known.clone());
        }
        let view = match self.views.get(text) {
            Some(known) => known.clone(),
            None if looks_like_kubeconfig(text) => self.read_view(text, &label())?,
            None => None,
        };
        self.views.insert(text, view.clone());
        self.views_by_address.insert(address, view.clone());
        Ok(view)
    }

    fn read_view(&mut self, text: &str, label: &str) -> Result<Option<Rc<View>>> {
        // What is no kubeconfig after all is no edge; a real one that is damaged stops the compile
        // long before.
        let Ok(parsed) = Kubeconfig::parse(text, label) else {
            return Ok(None);
        };
        let mut clusters = Vec::new();
        for cluster in &parsed.clusters {
            let host = host_of(cluster.server.as_deref().unwrap_or_default()).to_owned();
            let trust = match &cluster.ca {
                _ if cluster.insecure_skip_tls_verify => {
                    Held::Here(self.judge.trust(Trust::Unverified))
                }
                CaSource::Data(data) => {
                    Held::Here(self.judge.trust_in(&String::from_utf8_lossy(data), label)?)
                }
                CaSource::File(path) => Held::In(path.clone()),
                CaSource::None => Held::Here(self.judge.trust(Trust::Lacking(NO_CA))),
            };
            let name = cluster
                .tls_server_name
                .clone()
                .unwrap_or_else(|| host.clone());
            clusters.push(ClusterView { host, name, trust });
        }
        let mut users = Vec::new();
        for user in &parsed.users {
            users.push(UserView {
                certificate: match &user.certificate {
                    CertSource::Data(data) => Held::Here(
                        self.judge
                            .credential_in(&String::from_utf8_lossy(data), label)?,
                    ),
                    CertSource::File(path) => Held::In(path.clone()),
                    CertSource::None => Held::Here(self.judge.credential(Credential::None)),
                },
                by_program: user.exec.is_some(),
            });
        }
        let none = self.judge.credential(Credential::None);
        if users.is_empty() {
            users.push(UserView {
                certificate: Held::Here(none),
                by_program: false,
            });
        }
        let pairs = pairs(&parsed, clusters.len());
        Ok(Some(Rc::new(View {
            clusters,
            users,
            pairs,
        })))
    }

    /// The trust in a file of a node.
    pub fn trust_file(
        &mut self,
        state: &'a State,
        node: &NodeName,
        path: &NodePath,
    ) -> Result<TrustId> {
        let Some(file) = self.file(state, node, path) else {
            let why = format!("{} is not there", snapshot_file(node, path));
            return Ok(self.judge.trust(Trust::Absent(why)));
        };
        let address = (address(&file.text), false);
        if let Some(known) = self.by_address.get(&address) {
            return Ok(*known);
        }
        let id = match self.trusts.get(&*file.text) {
            Some(known) => *known,
            None => self
                .judge
                .trust_in(&file.text, &snapshot_file(node, path))?,
        };
        self.trusts.insert(&file.text, id);
        self.by_address.insert(address, id);
        Ok(id)
    }

    /// The credential in a file of a node.
    pub fn credential_file(
        &mut self,
        state: &'a State,
        node: &NodeName,
        path: &NodePath,
    ) -> Result<CredentialId> {
        let Some(file) = self.file(state, node, path) else {
            let why = format!("{} is not there", snapshot_file(node, path));
            return Ok(self.judge.credential(Credential::Absent(why)));
        };
        let address = (address(&file.text), true);
        if let Some(known) = self.by_address.get(&address) {
            return Ok(*known);
        }
        let id = match self.credentials.get(&*file.text) {
            Some(known) => *known,
            None => self
                .judge
                .credential_in(&file.text, &snapshot_file(node, path))?,
        };
        self.credentials.insert(&file.text, id);
        self.by_address.insert(address, id);
        Ok(id)
    }

    /// The trust in a text field of an object: PEM, or base64 of it.
    pub fn trust_field(&mut self, value: &'a Value, label: &str) -> Result<Option<TrustId>> {
        let key = (std::ptr::from_ref(value) as usize, false);
        if let Some(known) = self.by_address.get(&key) {
            return Ok(Some(*known));
        }
        let Some(pem) = pem_of(value) else {
            return Ok(None);
        };
        let id = self.judge.trust_in(&pem, label)?;
        self.by_address.insert(key, id);
        Ok(Some(id))
    }

    /// The credential in a text field of an object: PEM, or base64 of it.
    pub fn credential_field(
        &mut self,
        value: &'a Value,
        label: &str,
    ) -> Result<Option<CredentialId>> {
        let key = (std::ptr::from_ref(value) as usize, true);
        if let Some(known) = self.by_address.get(&key) {
            return Ok(Some(*known));
        }
        let Some(pem) = pem_of(value) else {
            return Ok(None);
        };
        let id = self.judge.credential_in(&pem, label)?;
        self.by_address.insert(key, id);
        Ok(Some(id))
    }
}

/// Which clusters and users of a kubeconfig belong together.
fn pairs(parsed: &Kubeconfig, clusters: usize) -> Vec<(usize, usize)> {
    let of = |context: &crate::edit::kubeconfig::Context| {
        let cluster = parsed
            .clusters
            .iter()
            .position(|c| Some(&c.name) == context.cluster.as_ref())?;
        let user = parsed
            .users
            .iter()
            .position(|u| Some(&u.name) == context.user.as_ref());
        Some((cluster, user.unwrap_or(0)))
    };
    let mut out = Vec::new();
    if let (Some(cluster), user) = parsed.current() {
        out.push((cluster, user.unwrap_or(0)));
    }
    for pair in parsed.contexts.iter().filter_map(of) {
        if !out.contains(&pair) {
            out.push(pair);
        }
    }
    if out.is_empty() && clusters > 0 {
        out.push((0, 0));
    }
    out
}

/// A field's PEM text, decoded where it is base64.
fn pem_of(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    if text.contains("-----BEGIN") {
        return Some(text.to_owned());
    }
    let compact: String = text.split_whitespace().collect();
    let decoded = String::from_utf8(BASE64.decode(compact).ok()?).ok()?;
    decoded.contains("BEGIN CERTIFICATE").then_some(decoded)
}

/// Whether a text is worth parsing as a kubeconfig.
fn looks_like_kubeconfig(text: &str) -> bool {
    text.contains("clusters") && text.contains("server") && !text.starts_with("-----BEGIN")
}

/// The host of a URL.
#[must_use]
pub fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    if let Some(inner) = authority.strip_prefix('[') {
        return inner.split(']').next().unwrap_or(inner);
    }
    authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::host_of;

    #[test]
    fn the_host_of_a_url_is_what_a_certificate_must_name() {
        assert_eq!(host_of("https://k8s-api.lab:6443"), "k8s-api.lab");
        assert_eq!(host_of("https://[fd00::1]:2379/health"), "fd00::1");
        assert_eq!(host_of("https://10.0.0.1"), "10.0.0.1");
        assert_eq!(host_of(""), "");
    }
}
