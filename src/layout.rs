//! What runs where, read from a State's artifacts: static pods with their flags, kubelets with their
//! configuration, kubeconfigs and who reads them.
//!
//! This is reading only, and never an assumption about paths: everything is found by the flags,
//! units and volumes that name it. Both the phases and the proof look at a State through this
//! module; it knows nothing of what either wants.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::edit::kubelet_config::KubeletConfig;
use crate::edit::manifest::{Container, Flag, Manifest};
use crate::edit::unit::{EnvironmentFile, Unit};
use crate::memo::Memo;
use crate::names::{NodeName, NodePath};
use crate::state::{Entry, Node, Process, State};

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
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A control-plane program on a node, with its flags.
pub struct Component {
    /// Which program.
    pub program: Program,
    /// On which node.
    pub node: NodeName,
    /// The manifest of its static pod.
    pub path: NodePath,
    /// The manifest, parsed.
    pub manifest: Arc<Manifest>,
    /// Which of its containers.
    pub container: usize,
}

impl Component {
    /// The process that restarts when the manifest changes.
    #[must_use]
    pub fn process(&self) -> Process {
        Process::StaticPod(self.node.clone(), self.path.clone())
    }

    fn container(&self) -> &Container {
        &self.manifest.containers()[self.container]
    }

    /// A flag's value, if the flag is set.
    pub fn flag(&self, name: &str) -> Result<Option<String>> {
        Ok(self
            .container()
            .flag(name)?
            .and_then(|flag| flag.value.clone()))
    }

    /// Every flag, in order.
    pub fn flags(&self) -> Result<&[Flag]> {
        self.container().flags()
    }

    /// Where a flag stands in its file.
    #[must_use]
    pub fn flag_place(&self, name: &str) -> Place {
        match self.container().flag(name) {
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
        let flags = self.container().flags()?.iter().filter(|f| f.name == name);
        flags
            .filter_map(|f| Some(self.on_host(name, f.value.as_deref()?, &f.place)))
            .collect()
    }

    fn on_host(&self, name: &str, value: &str, place: &Place) -> Result<NodePath> {
        let host = self
            .manifest
            .host_path_of(self.container, value)
            .ok_or_else(|| {
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

    /// What the container must call a file of the host.
    #[must_use]
    pub fn container_path(&self, host: &NodePath) -> Option<String> {
        self.manifest
            .container_path_of(self.container, host.as_str())
    }

    /// The manifest's text with other values for some flags.
    pub fn with_flags(&self, flags: &[(&str, String)]) -> Result<String> {
        let flags: Vec<_> = flags
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        self.manifest.set_flags(self.container, &flags)
    }
}

/// A node's kubelet.
pub struct Kubelet {
    /// On which node.
    pub node: NodeName,
    /// Its `--kubeconfig`.
    pub kubeconfig: Option<NodePath>,
    /// Its `--bootstrap-kubeconfig`, whether or not the file exists.
    pub bootstrap_kubeconfig: Option<NodePath>,
    /// Its `--config` and the file, parsed.
    pub config: Option<(NodePath, KubeletConfig)>,
    /// Where static pod manifests lie.
    pub static_pods: Option<NodePath>,
    /// Its client CA file, from the configuration.
    pub client_ca_file: Option<NodePath>,
    /// Whether it renews its own client certificate.
    pub rotates: bool,
}

/// A file of the snapshot as messages name it.
#[must_use]
pub fn snapshot_file(node: &NodeName, path: &NodePath) -> String {
    format!("snapshot/nodes/{node}{path}")
}

/// The static pods of the control plane on a node, in order of their manifests' names.
pub fn components(state: &State, node: &NodeName) -> Result<Vec<Component>> {
    let Some(files) = state.nodes.get(node) else {
        return Ok(Vec::new());
    };
    let Some(folder) = kubelet(state, node)?.and_then(|k| k.static_pods) else {
        return Ok(Vec::new());
    };
    let mut out = Vec::new();
    for (path, entry) in manifests_in(files, &folder) {
        let Some((path, file)) = files.file(path) else {
            if *entry == Entry::Withheld {
                return Err(withheld_manifest(&snapshot_file(node, path)));
            }
            continue;
        };
        let name = snapshot_file(node, path);
        let manifest = Manifest::parse(&file.text, &name)?;
        for container in 0..manifest.containers().len() {
            let program = manifest.containers()[container]
                .program()?
                .and_then(Program::of);
            let Some(program) = program else { continue };
            out.push(Component {
                program,
                node: node.clone(),
                path: path.clone(),
                manifest: manifest.clone(),
                container,
            });
        }
    }
    Ok(out)
}

fn withheld_manifest(label: &str) -> Diagnostic {
    Diagnostic::new(
        Code::FileUnreadable,
        "the collector withheld this manifest: it is binary or too large, and may be anything",
        "remove it from the folder of static pods if it is none, and take the snapshot again",
    )
    .at(Place::start_of(label))
}

/// The components of one program over all nodes.
pub fn all(state: &State, program: Program) -> Result<Vec<Component>> {
    let mut out = Vec::new();
    for node in state.nodes.keys() {
        out.extend(
            components(state, node)?
                .into_iter()
                .filter(|c| c.program == program),
        );
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
pub fn kubelet(state: &State, node: &NodeName) -> Result<Option<Kubelet>> {
    let Some(files) = state.nodes.get(node) else {
        return Ok(None);
    };
    let Some(unit) = kubelet_unit(node, files)? else {
        return Ok(None);
    };
    let path_flag = |name: &str| -> Result<Option<NodePath>> {
        let Some(flag) = unit.flag(name)? else {
            return Ok(None);
        };
        let Some(value) = flag.value.clone() else {
            return Ok(None);
        };
        NodePath::new(&value).map(Some).map_err(|why| {
            Diagnostic::new(Code::HostileName, why, "use a plain absolute path")
                .at(flag.place.clone())
        })
    };
    let config = match path_flag("config")? {
        None => None,
        Some(path) => match files.file(&path) {
            None => None,
            Some((path, file)) => {
                let config = KubeletConfig::parse(&file.text, &snapshot_file(node, path))?;
                Some((path.clone(), config))
            }
        },
    };
    let from_config = |read: fn(&KubeletConfig) -> &Option<String>| -> Option<NodePath> {
        let (_, config) = config.as_ref()?;
        read(config).as_ref().and_then(|p| NodePath::new(p).ok())
    };
    Ok(Some(Kubelet {
        node: node.clone(),
        kubeconfig: path_flag("kubeconfig")?,
        bootstrap_kubeconfig: path_flag("bootstrap-kubeconfig")?,
        static_pods: match path_flag("pod-manifest-path")? {
            Some(path) => Some(path),
            None => from_config(|c| &c.static_pod_path),
        },
        client_ca_file: match path_flag("client-ca-file")? {
            Some(path) => Some(path),
            None => from_config(|c| &c.client_ca_file),
        },
        rotates: config
            .as_ref()
            .is_some_and(|(_, c)| c.rotate_certificates == Some(true)),
        config,
    }))
}

/// Every flag of a node's kubelet, in order.
pub fn kubelet_flags(state: &State, node: &NodeName) -> Result<Vec<Flag>> {
    let unit = match state.nodes.get(node) {
        Some(files) => kubelet_unit(node, files)?,
        None => None,
    };
    unit.map_or(Ok(Vec::new()), |unit| Ok(unit.flags()?.to_vec()))
}

/// The service that a file is the unit or a drop-in of.
#[must_use]
pub fn unit_of(path: &NodePath) -> Option<&str> {
    let rest = UNIT_FOLDERS
        .iter()
        .find_map(|folder| path.as_str().strip_prefix(folder)?.strip_prefix('/'))?;
    let unit = rest.split('/').next()?;
    let unit = unit.strip_suffix(".d").unwrap_or(unit);
    unit.ends_with(".service").then_some(unit)
}

/// The folders in which systemd looks for units, most important first (systemd.unit(5)).
const UNIT_FOLDERS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Reads `kubelet.service` with its drop-ins and environment files.
fn kubelet_unit(node: &NodeName, files: &Node) -> Result<Option<Arc<Unit>>> {
    let find = |name: &str| {
        UNIT_FOLDERS
            .iter()
            .filter_map(|folder| NodePath::new(&format!("{folder}/{name}")).ok())
            .find_map(|path| files.file(&path))
    };
    let Some(main) = find("kubelet.service") else {
        return Ok(None);
    };
    // A drop-in of one name hides those of the same name in less important folders; the rest apply
    // in order of their names (systemd.unit(5)).
    let mut drop_ins = BTreeMap::new();
    for folder in UNIT_FOLDERS.iter().rev() {
        let folder = format!("{folder}/kubelet.service.d");
        for (path, entry) in files.in_folder(&folder) {
            let stem = path.file_name().strip_suffix(".conf");
            if stem.is_some_and(|stem| !stem.is_empty())
                && let Entry::File(file) = entry
            {
                drop_ins.insert(path.file_name(), (path, file));
            }
        }
    }
    let fragments: Vec<(String, &str)> = std::iter::once(main)
        .chain(drop_ins.into_values())
        .map(|(path, file)| (snapshot_file(node, path), &*file.text))
        .collect();
    let fragments: Vec<(&str, &str)> = fragments.iter().map(|(f, t)| (f.as_str(), *t)).collect();
    let environment: Vec<(String, Option<&str>)> = environment_files(&fragments)?
        .iter()
        .map(|named| {
            let file = NodePath::new(&named.path)
                .ok()
                .and_then(|path| files.file(&path));
            (
                format!("snapshot/nodes/{node}{}", named.path),
                file.map(|(_, f)| &*f.text),
            )
        })
        .collect();
    let environment: Vec<_> = environment.iter().map(|(f, t)| (f.as_str(), *t)).collect();
    load_once(&fragments, &environment).map(Some)
}

static UNITS: Memo<Arc<Unit>> = Memo::new();
static ENVIRONMENTS: Memo<Arc<Vec<EnvironmentFile>>> = Memo::new();

/// The environment files of a unit; every phase asks for the same ones.
fn environment_files(fragments: &[(&str, &str)]) -> Result<Arc<Vec<EnvironmentFile>>> {
    let parts: Vec<&[u8]> = fragments
        .iter()
        .flat_map(|(file, text)| [file.as_bytes(), text.as_bytes()])
        .collect();
    ENVIRONMENTS.recall(&parts, || Unit::environment_files(fragments).map(Arc::new))
}

/// Reads a unit; every phase asks for the same ones.
fn load_once(
    fragments: &[(&str, &str)],
    environment: &[(&str, Option<&str>)],
) -> Result<Arc<Unit>> {
    let files = fragments.iter().map(|(file, text)| (*file, Some(*text)));
    let parts: Vec<&[u8]> = files
        .chain(environment.iter().copied())
        .flat_map(|(file, text)| {
            let there: &[u8] = if text.is_some() { b"there" } else { b"absent" };
            [file.as_bytes(), there, text.unwrap_or_default().as_bytes()]
        })
        .collect();
    UNITS.recall(&parts, || Unit::load(fragments, environment).map(Arc::new))
}
