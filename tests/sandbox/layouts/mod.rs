//! Clusters of other layouts than the committed ones, made at run time from a small description: what lies on
//! each node, what the API holds, with keys of their own. Written after the public documentation of each
//! layout. Knows where programs keep things; nothing of rotations.

mod hard_way;
mod kubeadm;
mod objects;
mod pki;
mod scripts;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pki::Pki;

/// The Kubernetes version of every made cluster.
pub const VERSION: &str = "v1.34.4";

/// Where etcd runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Etcd {
    /// On the control planes, as kubeadm sets it up by itself.
    Stacked,
    /// On three nodes of its own, as static pods of kubelets that know no API server.
    Pods,
    /// On three nodes of its own, as systemd units with flags.
    Units,
    /// The same, configured by the variables of an environment file.
    Variables,
    /// Somebody else runs it: its nodes are not in the snapshot.
    Foreign,
}

/// Who set the cluster up, and so where things lie and what starts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installer {
    /// kubeadm: static pods below /etc/kubernetes.
    Kubeadm,
    /// A person: units of systemd, and no kubelet on the control planes.
    HardWay,
    /// Shell scripts: manifests in JSON and other spellings, paths of their own.
    Scripts,
}

/// What its CAs are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cas {
    /// Each for itself.
    Apart,
    /// One certificate for all that the layout lets share: everything, and with kubeadm cluster and front proxy.
    Shared,
    /// Without key identifiers, as old tools made them; and so are all certificates.
    WithoutKeyIds,
    /// The cluster's is an intermediate of a company's root: what trusts it holds both, and leaves bring it.
    Intermediate,
    /// The keys of the cluster's and the front proxy's are on no node, and nothing in the cluster signs.
    External,
}

/// What a cluster is like.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// How many nodes run API servers.
    pub control_planes: u8,
    /// How many run workloads only.
    pub workers: u8,
    /// Where etcd runs.
    pub etcd: Etcd,
    /// Who set it up.
    pub installer: Installer,
    /// What its CAs are like.
    pub cas: Cas,
}

/// kubeadm with one control plane and one worker.
pub const SINGLE: Layout = Layout {
    control_planes: 1,
    workers: 1,
    etcd: Etcd::Stacked,
    installer: Installer::Kubeadm,
    cas: Cas::Apart,
};

/// Units on two control planes and a worker.
pub const HARD_WAY: Layout = Layout {
    control_planes: 2,
    workers: 1,
    etcd: Etcd::Stacked,
    installer: Installer::HardWay,
    cas: Cas::Apart,
};

/// The manifests of an installer of shell scripts, on two control planes and a worker.
pub const SCRIPTED: Layout = Layout {
    control_planes: 2,
    workers: 1,
    etcd: Etcd::Stacked,
    installer: Installer::Scripts,
    cas: Cas::Apart,
};

/// kubeadm with an etcd of three nodes.
pub const EXTERNAL_ETCD: Layout = Layout {
    control_planes: 2,
    workers: 1,
    etcd: Etcd::Pods,
    installer: Installer::Kubeadm,
    cas: Cas::Apart,
};

/// One control plane whose CAs have no key identifiers.
pub const WITHOUT_KEY_IDS: Layout = Layout {
    cas: Cas::WithoutKeyIds,
    ..SINGLE
};
/// One control plane whose cluster's and front proxy's CAs have their keys elsewhere.
pub const EXTERNAL_CAS: Layout = Layout {
    cas: Cas::External,
    ..SINGLE
};
/// One control plane with one CA for cluster and front proxy.
pub const SHARED_FRONT_PROXY: Layout = Layout {
    cas: Cas::Shared,
    ..SINGLE
};
/// Units with one CA for everything.
pub const ONE_CA: Layout = Layout {
    cas: Cas::Shared,
    ..HARD_WAY
};

/// Units under a company's root.
pub const INTERMEDIATE: Layout = Layout {
    cas: Cas::Intermediate,
    ..HARD_WAY
};

/// The same with etcd as units, and with an environment file in place of flags.
pub const ETCD_UNITS: Layout = Layout {
    etcd: Etcd::Units,
    ..EXTERNAL_ETCD
};
pub const ETCD_VARIABLES: Layout = Layout {
    etcd: Etcd::Variables,
    ..EXTERNAL_ETCD
};
/// The same with an etcd that somebody else runs.
pub const ETCD_FOREIGN: Layout = Layout {
    etcd: Etcd::Foreign,
    ..EXTERNAL_ETCD
};

/// A node of a made cluster.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
}

impl Layout {
    fn hosts(prefix: &str, count: u8, first: u8) -> Vec<Host> {
        (1..=count)
            .map(|n| Host {
                name: format!("{prefix}-{n}"),
                address: format!("10.20.0.{}", first + n),
            })
            .collect()
    }

    /// The nodes with API servers.
    pub fn control_planes(self) -> Vec<Host> {
        Layout::hosts("cp", self.control_planes, 10)
    }

    /// The nodes with workloads only.
    pub fn workers(self) -> Vec<Host> {
        Layout::hosts("worker", self.workers, 20)
    }

    /// The nodes with etcd only, ours or somebody else's.
    pub fn etcd_nodes(self) -> Vec<Host> {
        let count = if self.etcd == Etcd::Stacked { 0 } else { 3 };
        Layout::hosts("etcd", count, 30)
    }

    /// The names of the nodes that are collected.
    pub fn nodes(self) -> Vec<String> {
        let mut hosts = self.control_planes();
        if self.etcd != Etcd::Foreign {
            hosts.extend(self.etcd_nodes());
        }
        hosts.extend(self.workers());
        hosts.into_iter().map(|host| host.name).collect()
    }

    /// The host and port by which clients reach the API.
    pub fn endpoint(self) -> String {
        match &self.control_planes()[..] {
            [one] => format!("{}:6443", one.address),
            _ => "k8s-api.example:6443".to_owned(),
        }
    }

    /// Makes the cluster: `nodes/<node>/…` as on the nodes, `cluster/<kind>.yaml` as kubectl prints it.
    pub fn make(self, to: &Path) {
        let mut made = Making {
            layout: self,
            to,
            pki: Pki::new(&to.join("mint"), self.cas),
        };
        match self.installer {
            Installer::Kubeadm => kubeadm::make(&mut made),
            Installer::HardWay => hard_way::make(&mut made),
            Installer::Scripts => scripts::make(&mut made),
        }
        objects::make(&mut made);
        fs::remove_dir_all(to.join("mint")).unwrap();
    }
}

/// A cluster that is being made.
struct Making<'a> {
    layout: Layout,
    to: &'a Path,
    pki: Pki,
}

impl Making<'_> {
    /// The nodes with a kubelet that the API knows.
    fn registered(&self) -> Vec<Host> {
        let mut out = self.layout.workers();
        if self.layout.installer != Installer::HardWay {
            out.splice(0..0, self.layout.control_planes());
        }
        out
    }

    fn at(&self, node: &str, path: &str) -> PathBuf {
        self.to.join("nodes").join(node).join(&path[1..])
    }

    /// Writes a file of a node. Private keys and kubeconfigs are for root alone.
    fn file(&self, node: &str, path: &str, text: &str) {
        let private = text.contains("PRIVATE KEY") || text.contains("client-key-data");
        let private = private || path.contains("/manifests/") || path.ends_with("/kubelet.conf");
        let at = self.at(node, path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(&at, text).unwrap();
        let mode = if private { 0o600 } else { 0o644 };
        fs::set_permissions(at, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn link(&self, node: &str, path: &str, target: &str) {
        symlink(target, self.at(node, path)).unwrap();
    }

    /// A template's kubeconfig with a certificate of the cluster CA for this subject.
    fn kubeconfig(&mut self, template: &str, subject: &str, user: &str, server: &str) -> String {
        let trust = self.pki.trust("cluster");
        let pair = self.pki.leaf(&pki::Leaf {
            ca: "cluster",
            subject,
            names: "",
            usages: "clientAuth",
        });
        fill(
            template,
            &BTreeMap::from([
                ("ca", &*BASE64.encode(trust)),
                ("server", server),
                ("user", user),
                ("certificate", &BASE64.encode(pair.certificate)),
                ("key", &BASE64.encode(pair.key)),
            ]),
        )
    }

    /// Writes a certificate and its key beside it.
    fn pair(&mut self, node: &str, stem: &str, leaf: &pki::Leaf<'_>) {
        let pair = self.pki.leaf(leaf);
        self.file(node, &format!("{stem}.crt"), &pair.certificate);
        self.file(node, &format!("{stem}.key"), &pair.key);
    }
}

/// A template with its `{names}` filled in.
fn fill(template: &str, values: &BTreeMap<&str, &str>) -> String {
    let mut out = template.to_owned();
    for (name, value) in values {
        out = out.replace(&format!("{{{name}}}"), value);
    }
    out
}
