//! The plan directory, derived from neighbouring states: tables, post-images, objects, diffs,
//! scripts, READMEs. All of it exists in memory before the first byte is written; [`write`] is the
//! only part of carota that writes.
//!
//! Nothing is said twice: what a step changes follows from the states on its two sides, and so do the
//! hash that guards it, the hash that verifies it, and the way back.

mod alike;
mod ansible;
mod calendar;
mod changes;
mod cluster;
mod decode;
mod diagram;
mod diff;
mod json;
pub mod kinds;
mod pods;
mod readme;
mod report;
mod scripts;
mod times;
pub mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::coverage::Coverage;
use crate::diagnostic::Result;
use crate::digest::sha256;
use crate::layout::{self, Program};
use crate::names::NodeName;
use crate::parallel;
use crate::phases::{Act, Action, Done, PHASES, Part, Step};
use crate::pki::PrivateText;
use crate::rotation::Rotation;
use crate::spec::Role;
use crate::state::State;
use crate::trust::Proof;
use changes::Changes;

/// A file of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanFile {
    /// Its content.
    pub text: String,
    /// Whether it is to be executable.
    pub executable: bool,
    sha256: String,
}

impl PlanFile {
    fn new(text: String, executable: bool) -> PlanFile {
        PlanFile {
            sha256: sha256(&text),
            text,
            executable,
        }
    }
}

/// The whole output of a compile.
pub struct Plan {
    /// The files of `plan/`, by path.
    pub files: BTreeMap<String, PlanFile>,
    /// The private files of `secrets/nodes/`, by path below `secrets/`.
    pub secrets: BTreeMap<String, PrivateText>,
    /// Private files that could not be made because the keyring is not here.
    pub missing_secrets: Vec<String>,
    /// SHA-256 of `SHA256SUMS`: what people approve.
    pub digest: String,
}

/// What a phase is, for every renderer: the phase with its steps as pairs of states.
struct PhaseView {
    done: Arc<Done>,
    changes: Changes,
    cluster: cluster::ClusterPart,
    diff: Vec<diff::Section>,
}

impl PhaseView {
    fn directory(&self) -> String {
        self.done.phase.directory()
    }

    /// The order of its parts, as PHASE says it.
    fn order(&self) -> String {
        // The preflight's checks are no step of its own: nothing changes.
        let checks = self.done.phase.act == Act::Prepare && !self.changes.is_empty();
        let mut parts: Vec<&str> = if checks { vec!["node"] } else { Vec::new() };
        for step in &self.done.outcome.steps {
            let part = match step.part {
                Part::Nodes { .. } => "node",
                Part::Cluster if self.only_asks(step) => continue,
                Part::Cluster => "cluster",
            };
            if parts.last() != Some(&part) {
                parts.push(part);
            }
        }
        parts.join(" ")
    }

    /// Whether a step does nothing but ask people: then every script of the phase asks, wherever it runs.
    fn only_asks(&self, step: &Step) -> bool {
        let asks = |action: &Action| matches!(action, Action::Acknowledge { .. });
        !step.actions.is_empty()
            && step.actions.iter().all(asks)
            && step.after.changed_objects(&self.done.before).is_empty()
    }

    /// Whether a step does nothing but hand files to users.
    fn only_hands_out(&self, step: &Step) -> bool {
        let before = &self.done.before;
        step.actions.is_empty()
            && step.after.changed_objects(before).is_empty()
            && !step.after.changed_users(before).is_empty()
    }

    /// Whether one node must finish before the next.
    fn serial(&self) -> bool {
        let one_by_one = |part: Part| matches!(part, Part::Nodes { serial: true });
        self.done
            .outcome
            .steps
            .iter()
            .any(|step| one_by_one(step.part))
    }
}

/// The phases' directories, which depend on nothing but states.
pub struct Phases {
    views: Vec<PhaseView>,
    files: BTreeMap<String, PlanFile>,
    secrets: BTreeMap<String, PrivateText>,
    missing_secrets: Vec<String>,
}

/// One phase's directory.
pub struct Rendered {
    view: PhaseView,
    files: Vec<(String, PlanFile)>,
}

/// Renders the directories of phases, each by itself.
pub struct Renderer<'a> {
    rotation: &'a Rotation<'a>,
    fills_tokens: bool,
}

impl<'a> Renderer<'a> {
    /// For the phases of one rotation.
    pub fn new(rotation: &'a Rotation<'a>) -> Result<Renderer<'a>> {
        Ok(Renderer {
            rotation,
            fills_tokens: fills_tokens(rotation)?,
        })
    }

    /// The directory of one phase. None for the preflight, which is about all the others.
    #[must_use]
    pub fn phase(&self, done: Arc<Done>) -> Option<Result<Rendered>> {
        if done.phase.act == Act::Prepare {
            return None;
        }
        let changes = changes::of(self.rotation, &done);
        Some(changes.and_then(|changes| self.directory(done, changes)))
    }

    fn directory(&self, done: Arc<Done>, changes: Changes) -> Result<Rendered> {
        let view = PhaseView {
            changes,
            cluster: cluster::of(&done, self.fills_tokens),
            diff: diff::of(&done, self.fills_tokens),
            done,
        };
        let files = phase_files(self.rotation, &view)?;
        Ok(Rendered { view, files })
    }

    /// All directories together: those of [`Renderer::phase`], and what it left out.
    pub fn phases(
        &self,
        done: &[Arc<Done>],
        rendered: Vec<Option<Result<Rendered>>>,
    ) -> Result<Phases> {
        let mut out = Phases {
            views: Vec::new(),
            files: BTreeMap::new(),
            secrets: BTreeMap::new(),
            missing_secrets: Vec::new(),
        };
        for (phase, rendered) in done.iter().zip(rendered) {
            let Rendered { view, files } = match rendered {
                Some(rendered) => rendered?,
                None => self.directory(phase.clone(), changes::checks(self.rotation, done))?,
            };
            let folder = view.directory();
            out.files.extend(files);
            for (node, path, text) in view.changes.private_files() {
                let place = format!("nodes/{node}/{folder}{path}");
                match fill(self.rotation, &text) {
                    Some(private) => {
                        out.secrets.insert(place, private);
                    }
                    None => out.missing_secrets.push(place),
                }
            }
            out.views.push(view);
        }
        let numbers: Vec<usize> = (0..out.views.len()).collect();
        let readmes = parallel::map(&numbers, |n| {
            readme::phase(self.rotation, &out.views[..=*n])
        });
        for (view, readme) in out.views.iter().zip(readmes) {
            let path = format!("{}/README.md", view.directory());
            out.files.insert(path, PlanFile::new(readme?, false));
        }
        Ok(out)
    }
}

/// The public files of a phase's directory, but for its README, which knows the phases before it.
fn phase_files(rotation: &Rotation, view: &PhaseView) -> Result<Vec<(String, PlanFile)>> {
    let mut out = Vec::new();
    let folder = view.directory();
    let mut put = |path: String, text: String, executable: bool| {
        let path = format!("{folder}/{path}");
        out.push((path, PlanFile::new(text, executable)));
    };
    let number = usize::from(view.done.phase.number);
    let previous = number.checked_sub(1).map(|n| PHASES[n].directory());
    let phase = scripts::phase_file(rotation, view, previous)?;
    put("PHASE".into(), phase, false);
    put("CHANGES".into(), view.changes.table(), false);
    put("NODES".into(), view.changes.nodes_table(), false);
    for (path, text) in view.changes.images() {
        put(format!("nodes/{path}"), text, false);
    }
    for (path, text) in view.cluster.files() {
        put(path, text, false);
    }
    for (user, text) in users_files(&view.done) {
        put(format!("users/{user}.kubeconfig"), text, false);
    }
    let diff = diff::text(rotation, &view.diff);
    put("phase.diff".into(), diff, false);
    let pods = pods::table(&view.done)?;
    if !pods.is_empty() {
        put("PODS".into(), pods, false);
    }
    let tables = alike::tables(&view.diff);
    if !tables.is_empty() {
        put("CERTIFICATES".into(), tables, false);
    }
    for (name, text) in scripts::of(view)? {
        put(name.into(), text, true);
    }
    Ok(out)
}

/// Renders the whole plan from its phases.
pub fn plan(
    rotation: &Rotation,
    phases: Phases,
    coverage: &Coverage,
    proof: &Proof,
) -> Result<Plan> {
    let Phases {
        views,
        mut files,
        secrets,
        missing_secrets,
    } = phases;
    let mut put = |path: String, text: String| {
        files.insert(path, PlanFile::new(text, false));
    };
    for (name, text) in scripts::library() {
        put(format!("lib/{name}"), text);
    }
    for (name, text) in ansible::files(rotation, &views)? {
        put(format!("ansible/{name}"), text);
    }
    let (report, (json, readme)) = parallel::both(
        || report::plan(rotation, &views, coverage, proof),
        || {
            let json = json::plan(rotation, &views, coverage, proof);
            (json, readme::plan(rotation, &views, coverage, proof))
        },
    );
    put("plan.json".into(), json);
    put("README.md".into(), readme?);
    put("report.html".into(), report?);
    parallel::let_go(views);
    let sums = PlanFile::new(sums(&files), false);
    let digest = sums.sha256.clone();
    files.insert("SHA256SUMS".into(), sums);
    Ok(Plan {
        files,
        secrets,
        missing_secrets,
        digest,
    })
}

/// Whether a controller manager of the cluster writes token Secrets.
fn fills_tokens(rotation: &Rotation) -> Result<bool> {
    for component in layout::all(&rotation.start, Program::ControllerManager)? {
        if component
            .flag("service-account-private-key-file")?
            .is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `SHA256SUMS` of all files, as `sha256sum -c` reads it.
fn sums(files: &BTreeMap<String, PlanFile>) -> String {
    let line = |(path, file): (&String, &PlanFile)| format!("{}  ./{path}\n", file.sha256);
    files.iter().map(line).collect()
}

/// A private file: every reference replaced by its value. None where a value is not here.
fn fill(rotation: &Rotation, text: &str) -> Option<PrivateText> {
    let mut out = text.to_owned();
    for reference in crate::rotation::references(text) {
        let value = rotation.new_keys.get(reference)?.as_ref()?;
        // A PEM block ends its own line; the line break of the reference's line follows it.
        out = out.replace(reference, value.expose().trim_end_matches('\n'));
    }
    Some(PrivateText::new(out))
}

/// The kubeconfigs that a phase hands out.
fn users_files(done: &Done) -> Vec<(String, String)> {
    let after = done.after();
    after
        .changed_users(&done.before)
        .into_iter()
        .map(|user| (user.to_string(), after.users[&user].to_string()))
        .collect()
}

/// What people call a set of nodes: a node's own name, everybody, a role, or a number.
fn set_name(start: &State, nodes: &BTreeSet<NodeName>, others: usize) -> String {
    if nodes.len() == 1
        && let Some(one) = nodes.first()
    {
        return one.to_string();
    }
    let with = |role| start.nodes_with(role).cloned().collect::<BTreeSet<_>>();
    if nodes.len() == start.nodes.len() {
        "@all".into()
    } else if *nodes == with(Role::ControlPlane) {
        "@control-planes".into()
    } else if *nodes == with(Role::Worker) {
        "@workers".into()
    } else if *nodes == with(Role::Etcd) {
        "@etcd".into()
    } else {
        format!("@set-{}", others + 1)
    }
}
