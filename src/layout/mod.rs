//! What runs where, read from a State's artifacts: static pods and units with their flags, kubelets with
//! their configuration, kubeconfigs and who reads them.
//!
//! This is reading only, and never an assumption about paths: everything is found by the flags,
//! units and volumes that name it. Both the phases and the proof look at a State through this
//! module; it knows nothing of what either wants.

mod pods;
mod seen;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::edit::component_config;
use crate::edit::kubelet_config::KubeletConfig;
use crate::edit::manifest::{Flag, Manifest};
use crate::names::{NodeName, NodePath};
use crate::spec::Role;
use crate::state::{Entry, Node, ObjectId, Process, State};

pub use pods::{PodSpec, ROOT_CA, SERVING_SIGNER, is_token};
use seen::Seen;
use units::Service;
pub use units::{KUBELET_UNIT, may_run_units, unit_of};

/// A program of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// kube-apiserver.
    Apiserver,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// cloud-controller-manager, by whatever name its image gives it.
    CloudControllerManager,
    /// etcd.
    Etcd,
    /// kube-proxy, where it is no pod of a DaemonSet.
    Proxy,
}

impl Program {
    /// The program that a command's base name stands for.
    #[must_use]
    pub fn of(command: &str) -> Option<Program> {
        Some(match command {
            "kube-apiserver" => Program::Apiserver,
            "kube-controller-manager" => Program::ControllerManager,
            "kube-scheduler" => Program::Scheduler,
            "etcd" => Program::Etcd,
            "kube-proxy" => Program::Proxy,
            other if other.ends_with("cloud-controller-manager") => Program::CloudControllerManager,
            _ => return None,
        })
    }

    /// Its usual name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Program::Apiserver => "kube-apiserver",
            Program::ControllerManager => "kube-controller-manager",
            Program::Scheduler => "kube-scheduler",
            Program::CloudControllerManager => "cloud-controller-manager",
            Program::Etcd => "etcd",
            Program::Proxy => "kube-proxy",
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Certificate and key of every signer that the controller manager has (gap G2).
pub const SIGNERS: [(&str, &str); 5] = [
    ("cluster-signing-cert-file", "cluster-signing-key-file"),
    (
        "cluster-signing-kubelet-serving-cert-file",
        "cluster-signing-kubelet-serving-key-file",
    ),
    (
        "cluster-signing-kubelet-client-cert-file",
        "cluster-signing-kubelet-client-key-file",
    ),
    (
        "cluster-signing-kube-apiserver-client-cert-file",
        "cluster-signing-kube-apiserver-client-key-file",
    ),
    (
        "cluster-signing-legacy-unknown-cert-file",
        "cluster-signing-legacy-unknown-key-file",
    ),
];

/// A control-plane program on a node, with its flags.
pub struct Component {
    /// Which program.
    pub program: Program,
    /// On which node.
    pub node: NodeName,
    /// The file that starts it: the manifest of its static pod, or its unit.
    pub path: NodePath,
    form: Form,
    /// What its configuration file says, under the names of the flags that say the same.
    settings: Vec<Flag>,
}

/// How a component is started.
enum Form {
    /// By the kubelet, as a container of a static pod.
    Pod {
        manifest: Arc<Manifest>,
        container: usize,
    },
    /// By systemd.
    Unit(Service),
}

impl Component {
    /// The process that its file starts.
    #[must_use]
    pub fn process(&self) -> Process {
        Process::Program(self.node.clone(), self.path.clone())
    }

    /// The files that make its command line, and that the snapshot has.
    #[must_use]
    pub fn files(&self) -> Vec<NodePath> {
        match &self.form {
            Form::Pod { .. } => vec![self.path.clone()],
            Form::Unit(service) => service.loaded.files().cloned().collect(),
        }
    }

    /// The image of its container, as written; None for a unit.
    #[must_use]
    pub fn image(&self) -> Option<&str> {
        match &self.form {
            Form::Pod {
                manifest,
                container,
            } => manifest.containers()[*container].image.as_deref(),
            Form::Unit(_) => None,
        }
    }

    /// Whether it is a unit of systemd.
    #[must_use]
    pub fn is_unit(&self) -> bool {
        matches!(self.form, Form::Unit(_))
    }

    /// Whether it is this container of the manifest at `path`.
    #[must_use]
    pub fn is_container(&self, path: &NodePath, at: usize) -> bool {
        let container = match &self.form {
            Form::Pod { container, .. } => Some(*container),
            Form::Unit(_) => None,
        };
        self.path == *path && container == Some(at)
    }

    /// Whether it is the same program of the same file, in another state.
    #[must_use]
    pub fn is_like(&self, other: &Component) -> bool {
        let container = |component: &Component| match &component.form {
            Form::Pod { container, .. } => Some(*container),
            Form::Unit(_) => None,
        };
        self.node == other.node && self.path == other.path && container(self) == container(other)
    }

    fn found(&self, name: &str) -> Result<Option<&Flag>> {
        let flag = match &self.form {
            Form::Pod {
                manifest,
                container,
            } => manifest.containers()[*container].flag(name),
            Form::Unit(service) => service.flag(name),
        }?;
        // The file wins where both say something (cmd/kube-scheduler/app/options, cmd/kube-proxy/app).
        let setting = self.settings.iter().find(|setting| setting.name == name);
        Ok(setting.or(flag))
    }

    /// The scheduler and kube-proxy may name their kubeconfig in a configuration file.
    fn read_settings(&mut self, files: &Node) -> Result<()> {
        if !matches!(self.program, Program::Scheduler | Program::Proxy) {
            return Ok(());
        }
        let Some(path) = self.host_file("config")? else {
            return Ok(());
        };
        let Some((path, file)) = files.file(&path) else {
            return Err(Diagnostic::new(
                Code::FileUnreadable,
                format!(
                    "the configuration of {}, {path}, is not in the snapshot: the kubeconfig that it names is not seen",
                    self.program
                ),
                "collect this node again with `carota collect`, as root",
            )
            .at(self.flag_place("config")));
        };
        self.settings = component_config::settings(&file.text, &snapshot_file(&self.node, path))?;
        Ok(())
    }

    /// A flag's value, if the flag is set.
    pub fn flag(&self, name: &str) -> Result<Option<String>> {
        Ok(self.found(name)?.and_then(|flag| flag.value.clone()))
    }

    /// The items of a list, which may be given in several pieces (`StringSlice` of pflag).
    pub fn list(&self, name: &str) -> Result<Vec<&str>> {
        let pieces = self.flags()?.iter().filter(|flag| flag.name == name);
        let pieces = pieces.filter_map(|flag| flag.value.as_deref());
        let items = pieces.flat_map(|piece| piece.split(','));
        Ok(items.filter(|item| !item.is_empty()).collect())
    }

    /// Every flag, in order.
    pub fn flags(&self) -> Result<&[Flag]> {
        match &self.form {
            Form::Pod {
                manifest,
                container,
            } => manifest.containers()[*container].flags(),
            Form::Unit(service) => Ok(&service.flags),
        }
    }

    /// Where a flag stands in its file.
    #[must_use]
    pub fn flag_place(&self, name: &str) -> Place {
        match self.found(name) {
            Ok(Some(flag)) => flag.place.clone(),
            _ => Place::start_of(&snapshot_file(&self.node, &self.path)),
        }
    }

    /// The file on the host that a flag's path means, through the container's mounts. A path that no
    /// hostPath volume covers is an error: carota could not change that file.
    pub fn host_file(&self, name: &str) -> Result<Option<NodePath>> {
        let Some(value) = self.flag(name)? else {
            return Ok(None);
        };
        self.on_host(name, &value, &self.flag_place(name)).map(Some)
    }

    /// The files on the host that a flag means which may be given several times.
    pub fn host_files(&self, name: &str) -> Result<Vec<NodePath>> {
        let flags = self.flags()?.iter().filter(|f| f.name == name);
        flags
            .filter_map(|f| Some(self.on_host(name, f.value.as_deref()?, &f.place)))
            .collect()
    }

    fn on_host(&self, name: &str, value: &str, place: &Place) -> Result<NodePath> {
        let host = self.host_path(value).ok_or_else(|| {
            Diagnostic::new(
                Code::Unsupported,
                format!(
                    "{} on {} reads --{name} from a path that no hostPath volume covers",
                    self.program, self.node
                ),
                "mount the file from the host, as kubeadm does, and take the snapshot again",
            )
            .at(place.clone())
        })?;
        NodePath::new(&host).map_err(|why| {
            Diagnostic::new(Code::HostileName, why, "use a plain absolute path").at(place.clone())
        })
    }

    /// What the host calls a file of the program.
    #[must_use]
    pub fn host_path(&self, path: &str) -> Option<String> {
        match &self.form {
            Form::Pod {
                manifest,
                container,
            } => manifest.host_path_of(*container, path),
            Form::Unit(_) => Some(path.to_owned()),
        }
    }

    /// The files that change when some flags come to mean other files of the host, with their texts: the
    /// flags themselves, or where a volume shows only the one file, what that volume shows.
    pub fn with_files(&self, files: &[(&str, NodePath)]) -> Result<Vec<(NodePath, String)>> {
        match &self.form {
            Form::Pod {
                manifest,
                container,
            } => {
                let (flags, volumes) = self.places(manifest, *container, files)?;
                let flags: Vec<_> = flags.iter().map(|(n, v)| (*n, v.as_str())).collect();
                let text = manifest.set(*container, &flags, &volumes)?;
                Ok(vec![(self.path.clone(), text)])
            }
            Form::Unit(service) => {
                let flags: Vec<_> = files
                    .iter()
                    .map(|(n, file)| (*n, file.to_string()))
                    .collect();
                service.loaded.with_flags(&flags)
            }
        }
    }

    /// What flags and volumes of a pod must become for these flags to mean these files.
    fn places<'f>(
        &self,
        manifest: &Manifest,
        container: usize,
        files: &[(&'f str, NodePath)],
    ) -> Result<Places<'f>> {
        let mut flags = Vec::new();
        let mut volumes = BTreeMap::new();
        for (flag, file) in files {
            if let Some(path) = manifest.container_path_of(container, file.as_str()) {
                flags.push((*flag, path));
                continue;
            }
            let value = self.flag(flag)?.unwrap_or_default();
            let volume = manifest
                .single_file_volume(container, &value)
                .filter(|volume| !manifest.is_shared(container, &volume.name));
            let Some(volume) = volume else {
                return Err(self.out_of_sight(flag, file));
            };
            let before = volumes.insert(volume.name.clone(), file.to_string());
            if before.is_some_and(|other| other != file.as_str()) {
                return Err(self.out_of_sight(flag, file));
            }
        }
        // Whatever else is read from there would change with it.
        for other in self.flags()? {
            let asked = files.iter().any(|(flag, _)| *flag == other.name);
            let mut values = other.value.as_deref().unwrap_or_default().split(',');
            let moves = |value| {
                let volume = manifest.single_file_volume(container, value)?;
                volumes.get(&volume.name)
            };
            if let Some(file) = values.find_map(moves).filter(|_| !asked) {
                let file = NodePath::new(file).map_err(|why| {
                    Diagnostic::new(Code::HostileName, why, "use a plain absolute path")
                        .at(other.place.clone())
                })?;
                return Err(self.out_of_sight(&other.name, &file));
            }
        }
        Ok((flags, volumes))
    }

    fn out_of_sight(&self, flag: &str, file: &NodePath) -> Diagnostic {
        Diagnostic::new(
            Code::Unsupported,
            format!(
                "{} on {} could not see {file}: its volumes cover only the single file of --{flag}, which others read too",
                self.program, self.node
            ),
            "mount the folder instead of the file, and take the snapshot again",
        )
        .at(self.flag_place(flag))
    }

    /// The files of the host that are mounted one by one into its pod: a file that is renamed over one does
    /// not reach the program before it is started again.
    pub fn single_files(&self) -> impl Iterator<Item = NodePath> {
        let paths = match &self.form {
            Form::Pod {
                manifest,
                container,
            } => manifest.single_files(*container),
            Form::Unit(_) => Vec::new(),
        };
        paths
            .into_iter()
            .filter_map(|path| NodePath::new(&path).ok())
    }
}

/// Flags with the values that they get, and volumes with what they come to show of the host.
type Places<'f> = (Vec<(&'f str, String)>, BTreeMap<String, String>);

/// A node's kubelet. Where a flag and its configuration file say the same, the flag wins
/// (cmd/kubelet/app/server.go).
pub struct Kubelet {
    /// On which node.
    pub node: NodeName,
    /// Its `--kubeconfig`.
    pub kubeconfig: Option<NodePath>,
    /// Its `--bootstrap-kubeconfig`, whether or not the file exists.
    pub bootstrap_kubeconfig: Option<NodePath>,
    /// Where static pod manifests lie.
    pub static_pods: Option<NodePath>,
    /// Its client CA file.
    pub client_ca_file: Option<NodePath>,
    /// The certificate that it serves with, where it is told which.
    pub serving: Option<NodePath>,
    /// Whether it has its serving certificate signed by the cluster.
    pub serving_is_signed: bool,
    /// Whether it renews its own client certificate.
    pub rotates: bool,
    /// Where it keeps certificates that it had signed.
    pub certificates: Option<NodePath>,
    /// Where on its host it tells whether it is healthy; None where it has no such port.
    pub health: Option<SocketAddr>,
    /// Its configuration file, where there is one.
    config: Option<NodePath>,
    /// Its unit with drop-ins and environment files.
    sources: Vec<NodePath>,
}

impl Kubelet {
    /// The files that say how it runs: its configuration, its unit with drop-ins and environment files.
    pub fn files(&self) -> impl Iterator<Item = &NodePath> {
        self.config.iter().chain(&self.sources)
    }

    /// The files that change when its client CA file becomes another, with their texts. `files` are those of
    /// its node.
    pub fn with_client_ca_file(
        &self,
        files: &Node,
        file: &NodePath,
    ) -> Result<Vec<(NodePath, String)>> {
        let flag = "client-ca-file";
        if let Some(loaded) = units::load(&self.node, files, KUBELET_UNIT)?
            && loaded.flag(flag)?.is_some()
        {
            return loaded.with_flags(&[(flag, file.to_string())]);
        }
        let Some((path, config)) = kubelet_config(&self.node, files, self.config.as_ref())? else {
            return Ok(Vec::new());
        };
        let text = config.set_client_ca_file(file.as_str())?;
        Ok(vec![(path, text)])
    }
}

/// A kubelet's configuration, where its file is in the snapshot.
fn kubelet_config(
    node: &NodeName,
    files: &Node,
    path: Option<&NodePath>,
) -> Result<Option<(NodePath, KubeletConfig)>> {
    let Some((path, file)) = path.and_then(|path| files.file(path)) else {
        return Ok(None);
    };
    let config = KubeletConfig::parse(&file.text, &snapshot_file(node, path))?;
    Ok(Some((path.clone(), config)))
}

static KUBELETS: Seen<Option<Arc<Kubelet>>> = Seen::new();
static COMPONENTS: Seen<Vec<Arc<Component>>> = Seen::new();

/// A file of the snapshot as messages name it.
#[must_use]
pub fn snapshot_file(node: &NodeName, path: &NodePath) -> String {
    format!("snapshot/nodes/{node}{path}")
}

/// The programs of the control plane on a node: units in order of their names, then static pods in order
/// of their manifests' names.
pub fn components(state: &State, node: &NodeName) -> Result<Vec<Arc<Component>>> {
    let Some(files) = state.nodes.get(node) else {
        return Ok(Vec::new());
    };
    COMPONENTS.of(node, files, || {
        let read = read_components(node, files)?;
        Ok(read.into_iter().map(Arc::new).collect())
    })
}

fn read_components(node: &NodeName, files: &Arc<Node>) -> Result<Vec<Component>> {
    let mut out = Vec::new();
    for (program, service) in units::programs(node, files)? {
        out.push(Component {
            program,
            node: node.clone(),
            path: service.path.clone(),
            form: Form::Unit(service),
            settings: Vec::new(),
        });
    }
    if let Some(folder) = kubelet_of(node, files)?.and_then(|k| k.static_pods.clone()) {
        static_pods(node, files, &folder, &mut out)?;
    }
    for component in &mut out {
        component.read_settings(files)?;
    }
    for component in out.iter().filter(|c| c.program == Program::Etcd) {
        if let Some(flag) = component.found("config-file")? {
            return Err(hidden_settings(flag.place.clone()));
        }
    }
    Ok(out)
}

/// etcd takes its settings from a file in place of flags, or beside them from a pod's environment: what it
/// trusts would not be seen.
fn hidden_settings(place: Place) -> Diagnostic {
    Diagnostic::new(
        Code::Unsupported,
        "etcd has settings that are no flags: a configuration file, or variables of its pod",
        "write them as flags, or for a unit as variables of its environment file, and take the snapshot again",
    )
    .at(place)
}

fn static_pods(
    node: &NodeName,
    files: &Node,
    folder: &NodePath,
    out: &mut Vec<Component>,
) -> Result<()> {
    let mut pods = BTreeMap::new();
    for (path, entry) in manifests_in(files, folder) {
        let Some((path, file)) = files.file(path) else {
            if *entry == Entry::Withheld {
                return Err(withheld_manifest(&snapshot_file(node, path)));
            }
            continue;
        };
        let name = snapshot_file(node, path);
        let manifest = Manifest::parse(&file.text, &name)?;
        let pod = (
            manifest.namespace().map(str::to_owned),
            manifest.name().map(str::to_owned),
        );
        if let Some(other) = pods.insert(pod, path.clone()) {
            return Err(two_of_one_pod(&name, &other));
        }
        for container in 0..manifest.containers().len() {
            let program = manifest.containers()[container]
                .program()?
                .and_then(Program::of);
            let Some(program) = program else { continue };
            if program == Program::Etcd
                && let Some(at) = file.text.find("ETCD_")
            {
                return Err(hidden_settings(Place::at(&name, &file.text, at)));
            }
            out.push(Component {
                program,
                node: node.clone(),
                path: path.clone(),
                form: Form::Pod {
                    manifest: manifest.clone(),
                    container,
                },
                settings: Vec::new(),
            });
        }
    }
    Ok(())
}

/// The kubelet runs one of them, and which is not to be seen (pkg/kubelet/config/config.go, by full name).
fn two_of_one_pod(label: &str, other: &NodePath) -> Diagnostic {
    Diagnostic::new(
        Code::ManifestShape,
        format!("this is a second manifest of the pod of {other}"),
        "move the one that is not in use to another directory on the node, and take the snapshot again",
    )
    .at(Place::start_of(label))
}

fn withheld_manifest(label: &str) -> Diagnostic {
    Diagnostic::new(
        Code::FileUnreadable,
        "the collector withheld this manifest: it is binary or too large, and may be anything",
        "remove it from the folder of static pods if it is none, and take the snapshot again",
    )
    .at(Place::start_of(label))
}

/// The components of one program over all nodes. Thousands of workers are not asked: what runs anything but kube-proxy is
/// declared as something else (`rotation::role_of`).
pub fn all(state: &State, program: Program) -> Result<Vec<Arc<Component>>> {
    let mut out = Vec::new();
    let asked = |node: &Node| program == Program::Proxy || node.role != Role::Worker;
    for (node, _) in state.nodes.iter().filter(|(_, node)| asked(node)) {
        out.extend(
            components(state, node)?
                .into_iter()
                .filter(|c| c.program == program),
        );
    }
    Ok(out)
}

/// The files of certificate and key that the controller managers of a node sign with.
pub fn signer_files(state: &State, node: &NodeName) -> Result<BTreeSet<(NodePath, NodePath)>> {
    let mut out = BTreeSet::new();
    let components = components(state, node)?;
    for component in components
        .iter()
        .filter(|c| c.program == Program::ControllerManager)
    {
        for (certificate, key) in SIGNERS {
            out.extend(
                component
                    .host_file(certificate)?
                    .zip(component.host_file(key)?),
            );
        }
    }
    Ok(out)
}

/// The manifests that the kubelet takes from a folder: every file directly in it whose name does not
/// begin with a dot (pkg/kubelet/config/file.go).
pub fn manifests_in<'a>(
    files: &'a Node,
    folder: &NodePath,
) -> impl Iterator<Item = (&'a NodePath, &'a Entry)> {
    files
        .in_folder(folder.as_str())
        .filter(|(path, _)| !path.file_name().starts_with('.'))
}

/// A node's kubelet, from its unit, drop-ins and configuration. None where the snapshot has no unit.
pub fn kubelet(state: &State, node: &NodeName) -> Result<Option<Arc<Kubelet>>> {
    match state.nodes.get(node) {
        Some(files) => kubelet_of(node, files),
        None => Ok(None),
    }
}

fn kubelet_of(node: &NodeName, files: &Arc<Node>) -> Result<Option<Arc<Kubelet>>> {
    KUBELETS.of(node, files, || Ok(read_kubelet(node, files)?.map(Arc::new)))
}

fn read_kubelet(node: &NodeName, files: &Node) -> Result<Option<Kubelet>> {
    let Some(loaded) = units::load(node, files, KUBELET_UNIT)? else {
        return Ok(None);
    };
    let path_flag = |name: &str| -> Result<Option<NodePath>> {
        let Some(flag) = loaded.flag(name)? else {
            return Ok(None);
        };
        let Some(value) = flag.value.clone().filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        if let Some(path) = NodePath::cleaned(&value) {
            return Ok(Some(path));
        }
        NodePath::new(&value).map(Some).map_err(|why| {
            Diagnostic::new(Code::HostileName, why, "use a plain absolute path")
                .at(flag.place.clone())
        })
    };
    let config = kubelet_config(node, files, path_flag("config")?.as_ref())?;
    if let Some(flag) = loaded.flag("config-dir")? {
        return Err(Diagnostic::new(
            Code::Unsupported,
            format!("the kubelet of {node} reads more configuration files, from --config-dir"),
            "keep its configuration in the one file of --config, and take the snapshot again",
        )
        .at(flag.place.clone()));
    }
    let path = |name: &str, of: fn(&KubeletConfig) -> &Option<String>| {
        // Relative to the file (pkg/kubelet/kubeletconfig/configfiles, `resolveRelativePaths`).
        let configured = config
            .as_ref()
            .and_then(|(file, c)| file.named(of(c).as_ref()?));
        Ok(path_flag(name)?.or(configured))
    };
    let switch = |name: &str, of: fn(&KubeletConfig) -> Option<bool>| {
        let flag = loaded.flag(name)?;
        let configured = config.as_ref().and_then(|(_, c)| of(c)) == Some(true);
        // A flag without a value is on.
        Ok(flag.map_or(configured, |flag| flag.value.as_deref() != Some("false")))
    };
    let text = |name: &str, of: fn(&KubeletConfig) -> &Option<String>| {
        let configured = config.as_ref().and_then(|(_, c)| of(c).clone());
        Ok(loaded
            .flag(name)?
            .and_then(|flag| flag.value)
            .or(configured))
    };
    let health = health_address(
        text("healthz-bind-address", |c| &c.healthz_bind_address)?.as_deref(),
        text("healthz-port", |c| &c.healthz_port)?.as_deref(),
    );
    Ok(Some(Kubelet {
        node: node.clone(),
        kubeconfig: path_flag("kubeconfig")?,
        bootstrap_kubeconfig: path_flag("bootstrap-kubeconfig")?,
        static_pods: path("pod-manifest-path", |c| &c.static_pod_path)?,
        client_ca_file: path("client-ca-file", |c| &c.client_ca_file)?,
        serving: path("tls-cert-file", |c| &c.tls_cert_file)?,
        serving_is_signed: switch("rotate-server-certificates", |c| c.server_tls_bootstrap)?,
        rotates: switch("rotate-certificates", |c| c.rotate_certificates)?,
        certificates: path_flag("cert-dir")?,
        health,
        config: config.map(|(path, _)| path),
        sources: loaded.files().cloned().collect(),
    }))
}

/// Where a kubelet tells whether it is healthy, from inside of its host, with the defaults of
/// pkg/kubelet/apis/config/v1beta1/defaults.go. None where it is told not to, or at what is no address.
fn health_address(address: Option<&str>, port: Option<&str>) -> Option<SocketAddr> {
    let port = port.map_or(Some(10248), |port| port.parse().ok())?;
    let address: IpAddr = address.unwrap_or("127.0.0.1").parse().ok()?;
    let address = match address {
        all if !all.is_unspecified() => all,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    (port != 0).then(|| SocketAddr::new(address, port))
}

/// The workload that made a pod: its DaemonSet, StatefulSet, or the Deployment of its `ReplicaSet`. None for other owners,
/// and for none.
#[must_use]
pub fn workload_of(pod: &Value) -> Option<ObjectId> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
    let name = text("/metadata/ownerReferences/0/name")?;
    let (kind, name) = match text("/metadata/ownerReferences/0/kind")? {
        "DaemonSet" => ("daemonsets", name),
        "StatefulSet" => ("statefulsets", name),
        // The hash at the end of a ReplicaSet's name is the Deployment's template's.
        "ReplicaSet" => ("deployments", name.rsplit_once('-')?.0),
        _ => return None,
    };
    Some(ObjectId::new(kind, text("/metadata/namespace")?, name))
}

/// Every flag of a node's kubelet, in order.
pub fn kubelet_flags(state: &State, node: &NodeName) -> Result<Vec<Flag>> {
    let loaded = match state.nodes.get(node) {
        Some(files) => units::load(node, files, KUBELET_UNIT)?,
        None => None,
    };
    loaded.map_or(Ok(Vec::new()), |loaded| loaded.flags())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_is_asked_for_its_health_where_it_listens() {
        let at = |address, port| health_address(address, port).map(|at| at.to_string());
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(at(None, None), some("127.0.0.1:10248"));
        assert_eq!(at(Some("0.0.0.0"), Some("10348")), some("127.0.0.1:10348"));
        assert_eq!(at(Some("::"), None), some("[::1]:10248"));
        assert_eq!(at(Some("10.0.0.7"), None), some("10.0.0.7:10248"));
        for (address, port) in [(None, "0"), (None, "-1"), (None, "x"), (Some("$(x)"), "1")] {
            assert_eq!(at(address, Some(port)), None);
        }
    }
}
