//! Units of systemd: which files make a service, and which services are programs of the control plane.
//!
//! Knows where systemd looks and how etcd takes its flags from variables. It must not know what a flag is for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Program, snapshot_file};
use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::edit::manifest::Flag;
use crate::edit::unit::{EnvironmentFile, Unit};
use crate::memo::Memo;
use crate::names::{NodeName, NodePath};
use crate::state::{Entry, Node};

/// The kubelet's unit.
pub const KUBELET_UNIT: &str = "kubelet.service";

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

/// A service with the files that make it.
pub struct Loaded {
    node: NodeName,
    /// As systemd reads it, with places on the node: thousands of nodes share it.
    unit: Arc<Unit>,
    /// Its fragments and environment files, by the numbers that [`Unit::set_flag`] gives; None for an
    /// environment file that does not exist.
    sources: Vec<Option<NodePath>>,
}

impl Loaded {
    /// Its fragments and environment files, as far as the snapshot has them.
    pub fn files(&self) -> impl Iterator<Item = &NodePath> {
        self.sources.iter().flatten()
    }

    /// One flag; given twice it is an error at the second place.
    pub fn flag(&self, name: &str) -> Result<Option<Flag>> {
        let flag = self.unit.flag(name).map_err(|e| of_node(&self.node, e))?;
        Ok(flag.map(|flag| self.here(flag)))
    }

    /// Every flag, in order.
    pub fn flags(&self) -> Result<Vec<Flag>> {
        let flags = self.unit.flags().map_err(|e| of_node(&self.node, e))?;
        Ok(flags.iter().map(|flag| self.here(flag)).collect())
    }

    /// The program that it starts.
    fn program(&self) -> Result<Option<Program>> {
        let program = self.unit.program().map_err(|e| of_node(&self.node, e))?;
        Ok(program.and_then(Program::of))
    }

    fn here(&self, flag: &Flag) -> Flag {
        let mut flag = flag.clone();
        flag.place = place_of_node(&self.node, &flag.place);
        flag
    }

    /// The files that change when some flags get other values, with their texts.
    pub fn with_flags(&self, flags: &[(&str, String)]) -> Result<Vec<(NodePath, String)>> {
        self.edited(flags).map_err(|e| of_node(&self.node, e))
    }

    fn edited(&self, flags: &[(&str, String)]) -> Result<Vec<(NodePath, String)>> {
        let mut unit = (*self.unit).clone();
        let mut changed = BTreeSet::new();
        for (name, value) in flags {
            let (index, next) = if unit.flag(name)?.is_some() {
                unit.with_flag(name, value)?
            } else {
                unit.with_variable(&variable_of(name), value)?
            };
            changed.insert(index);
            unit = next;
        }
        let path = |index: usize| self.sources.get(index).cloned().flatten();
        Ok(changed
            .into_iter()
            .filter_map(|index| Some((path(index)?, unit.text(index)?.to_owned())))
            .collect())
    }
}

/// A service that is a program of the control plane.
pub struct Service {
    /// Its unit.
    pub path: NodePath,
    /// Its flags; for etcd, those that variables set as well.
    pub flags: Vec<Flag>,
    /// As systemd reads it.
    pub loaded: Loaded,
}

impl Service {
    /// One flag; given twice on the command line it is an error at the second place.
    pub fn flag(&self, name: &str) -> Result<Option<&Flag>> {
        self.loaded.flag(name)?;
        Ok(self.flags.iter().find(|flag| flag.name == name))
    }
}

/// The variable by which etcd takes a flag that its command line does not have (pkg/flags/flag.go of etcd).
fn variable_of(flag: &str) -> String {
    format!("ETCD_{}", flag.replace('-', "_").to_uppercase())
}

/// A node's units, by the paths of their main files: the most important of each name.
fn unit_files(files: &Node) -> BTreeMap<&str, &NodePath> {
    let mut out = BTreeMap::new();
    for folder in UNIT_FOLDERS.iter().rev() {
        for (path, _) in files.in_folder(folder) {
            if path.file_name().ends_with(".service") {
                out.insert(path.file_name(), path);
            }
        }
    }
    out
}

/// Whether a node has units that may be programs of the control plane.
#[must_use]
pub fn may_run_units(files: &Node) -> bool {
    unit_files(files).keys().any(|name| *name != KUBELET_UNIT)
}

/// The services of a node that are programs of the control plane, in order of their names.
pub fn programs(node: &NodeName, files: &Node) -> Result<Vec<(Program, Service)>> {
    let mut out = Vec::new();
    for (name, path) in unit_files(files) {
        if name == KUBELET_UNIT {
            continue;
        }
        match program(node, files, name, path) {
            Ok(found) => out.extend(found),
            // What is no program of the control plane by its name need not be understood: what it reads of a
            // rotated CA is refused where readers are looked for.
            Err(error) => {
                let stem = name.strip_suffix(".service").unwrap_or(name);
                if Program::of(stem).is_some() {
                    return Err(error);
                }
            }
        }
    }
    Ok(out)
}

fn program(
    node: &NodeName,
    files: &Node,
    name: &str,
    path: &NodePath,
) -> Result<Option<(Program, Service)>> {
    let Some(loaded) = load(node, files, name)? else {
        return Ok(None);
    };
    let Some(program) = loaded.program()? else {
        return Ok(None);
    };
    let mut flags = loaded.flags()?;
    if program == Program::Etcd {
        let of_variables = loaded.unit.variables().iter().filter_map(|variable| {
            let name = variable.name.strip_prefix("ETCD_")?;
            let name = name.replace('_', "-").to_lowercase();
            let place = place_of_node(node, &variable.place);
            Some(Flag::elsewhere(name, variable.value.clone(), place))
        });
        // The command line wins, whatever stands where.
        let of_variables: Vec<Flag> = of_variables
            .filter(|v| !flags.iter().any(|flag| flag.name == v.name))
            .collect();
        flags.extend(of_variables);
    }
    let service = Service {
        path: path.clone(),
        flags,
        loaded,
    };
    Ok(Some((program, service)))
}

/// Reads a service with its drop-ins and environment files.
pub fn load(node: &NodeName, files: &Node, name: &str) -> Result<Option<Loaded>> {
    let mut places = UNIT_FOLDERS
        .iter()
        .filter_map(|folder| NodePath::new(&format!("{folder}/{name}")).ok());
    // One that is masked hides the others, and does not run.
    let main = places.find_map(|path| {
        let (path, entry) = files.files.get_key_value(&path)?;
        if is_masked(entry) {
            Some(None)
        } else {
            files.file(path).map(Some)
        }
    });
    let Some(main) = main.flatten() else {
        return Ok(None);
    };
    // A drop-in of one name hides those of the same name in less important folders; the rest apply
    // in order of their names (systemd.unit(5)).
    let mut drop_ins = BTreeMap::new();
    for folder in UNIT_FOLDERS.iter().rev() {
        let folder = format!("{folder}/{name}.d");
        for (path, entry) in files.in_folder(&folder) {
            let stem = path.file_name().strip_suffix(".conf");
            if stem.is_none_or(str::is_empty) {
                continue;
            }
            let read = if is_masked(entry) {
                None
            } else {
                let file = files.file(path).ok_or_else(|| not_there(node, path))?;
                Some(file)
            };
            drop_ins.insert(path.file_name(), read);
        }
    }
    let fragments: Vec<_> = std::iter::once(main)
        .chain(drop_ins.into_values().flatten())
        .collect();
    let mut sources: Vec<Option<NodePath>> = fragments
        .iter()
        .map(|(path, _)| Some((*path).clone()))
        .collect();
    let fragments: Vec<(&str, &str)> = fragments
        .into_iter()
        .map(|(path, file)| (path.as_str(), &*file.text))
        .collect();
    let named = environment_files(&fragments).map_err(|e| of_node(node, e))?;
    let mut environment = Vec::with_capacity(named.len());
    for named in named.iter() {
        let path = NodePath::new(&named.path).ok();
        let file = path.and_then(|path| files.file(&path));
        sources.push(file.map(|(path, _)| path.clone()));
        environment.push((named.path.as_str(), file.map(|(_, f)| &*f.text)));
    }
    let unit = load_once(&fragments, &environment).map_err(|e| of_node(node, e))?;
    Ok(Some(Loaded {
        node: node.clone(),
        unit,
        sources,
    }))
}

/// Whether systemd reads a unit or drop-in as one that is not there (systemd.unit(5)).
fn is_masked(entry: &Entry) -> bool {
    matches!(entry, Entry::Link(target) if &**target == "/dev/null")
}

fn not_there(node: &NodeName, path: &NodePath) -> Diagnostic {
    Diagnostic::new(
        Code::FileUnreadable,
        format!("what the drop-in {path} of {node} holds is not in the snapshot"),
        "collect this node again with the collector of this version",
    )
    .at(Place::start_of(&snapshot_file(node, path)))
}

/// A place in a file of a node, as messages name it.
fn place_of_node(node: &NodeName, place: &Place) -> Place {
    let file = match NodePath::new(&place.file) {
        Ok(path) => snapshot_file(node, &path),
        Err(_) => place.file.clone(),
    };
    Place {
        file,
        ..place.clone()
    }
}

/// An error in a file of a node.
fn of_node(node: &NodeName, mut error: Diagnostic) -> Diagnostic {
    error.place = error.place.map(|place| place_of_node(node, &place));
    error
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
