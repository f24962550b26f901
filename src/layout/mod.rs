//! What runs where, read from a State's artifacts: static pods and units with their flags, kubelets with
//! their configuration, kubeconfigs and who reads them.
//!
//! This is reading only, and never an assumption about paths: everything is found by the flags,
//! units and volumes that name it. Both the phases and the proof look at a State through this
//! module; it knows nothing of what either wants.

mod units;

use std::fmt;
use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::edit::component_config;
use crate::edit::kubelet_config::KubeletConfig;
use crate::edit::manifest::{Flag, Manifest};
use crate::names::{NodeName, NodePath};
use crate::state::{Entry, Node, Process, State};

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
            Form::Unit(service) => service.files.clone(),
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

    /// What the program must call a file of the host.
    #[must_use]
    pub fn own_path(&self, host: &NodePath) -> Option<String> {
        match &self.form {
            Form::Pod {
                manifest,
                container,
            } => manifest.container_path_of(*container, host.as_str()),
            Form::Unit(_) => Some(host.to_string()),
        }
    }

    /// The files that change when some flags get other values, with their texts.
    pub fn with_flags(&self, flags: &[(&str, String)]) -> Result<Vec<(NodePath, String)>> {
        match &self.form {
            Form::Pod {
                manifest,
                container,
            } => {
                let flags: Vec<_> = flags.iter().map(|(n, v)| (*n, v.as_str())).collect();
                let text = manifest.set_flags(*container, &flags)?;
                Ok(vec![(self.path.clone(), text)])
            }
            Form::Unit(service) => service.with_flags(flags),
        }
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

/// The programs of the control plane on a node: units in order of their names, then static pods in order
/// of their manifests' names.
pub fn components(state: &State, node: &NodeName) -> Result<Vec<Component>> {
    let Some(files) = state.nodes.get(node) else {
        return Ok(Vec::new());
    };
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
    if let Some(folder) = kubelet(state, node)?.and_then(|k| k.static_pods) {
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
    for (path, entry) in manifests_in(files, folder) {
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
    let Some(unit) = units::load(node, files, KUBELET_UNIT)?.map(|loaded| loaded.unit) else {
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
        Some(files) => units::load(node, files, KUBELET_UNIT)?.map(|loaded| loaded.unit),
        None => None,
    };
    unit.map_or(Ok(Vec::new()), |unit| Ok(unit.flags()?.to_vec()))
}
