//! The rotation, phase by phase: this file is its table of contents.
//!
//! Three acts. **Widen**: every verifier comes to trust the old and the new CA. **Switch**: every
//! identity is re-issued by the new CA. **Narrow**: the old CA goes from every verifier. No act
//! begins before the one before it is complete everywhere; inside an act the order is that of the
//! Kubernetes page 'Manual Rotation of CA Certificates'.
//!
//! A phase is a pure function from a [`State`] to the states that follow it, one for each of its
//! steps. It edits files and objects and restarts processes; it knows nothing of diffs, scripts or
//! directories. A phase with nothing to do has no steps and says why; numbers never shift.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::diagnostic::Result;
use crate::names::NodeName;
use crate::rotation::Rotation;
use crate::state::{ObjectId, Process, State};

mod narrow;
mod switch;
mod tools;
mod widen;
mod workloads;

pub use narrow::retire_service_accounts::HANDLERS;
pub use tools::POD_ANNOTATION;
use widen::kubeconfig_trust::handing_out;
pub use workloads::ROLLED_KINDS;

/// The part of the rotation that a phase belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Before anything changes.
    Prepare,
    /// Trust grows.
    Widen,
    /// Identities change.
    Switch,
    /// Trust shrinks.
    Narrow,
    /// After everything has changed.
    Finish,
}

impl Act {
    /// The act's name in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Act::Prepare => "prepare",
            Act::Widen => "widen",
            Act::Switch => "switch",
            Act::Narrow => "narrow",
            Act::Finish => "finish",
        }
    }
}

/// A phase: what it is called, what it is for, and what it does.
pub struct Phase {
    /// Its number; also its place in the order.
    pub number: u8,
    /// The rest of its directory's name.
    pub name: &'static str,
    /// Its act.
    pub act: Act,
    /// The step of the Kubernetes page, or `-` where the page has none.
    pub page_step: &'static str,
    /// What it does, in one line.
    pub title: &'static str,
    /// Why, and why here: a paragraph for a reader without context.
    pub why: &'static str,
    /// Until when its rollback is safe, and what it does.
    pub way_back: WayBack,
    /// Makes the states that follow `before`.
    pub run: fn(&Rotation, before: &State) -> Result<Outcome>,
}

impl Phase {
    /// The phase that people mean by `05`, `5`, `apiserver-trust` or `05-apiserver-trust`.
    #[must_use]
    pub fn named(what: &str) -> Option<&'static Phase> {
        let number = what.parse::<u8>().ok();
        PHASES.iter().find(|phase| {
            number == Some(phase.number) || what == phase.name || what == phase.directory()
        })
    }

    /// Whether pods that no roll reaches must start anew once more when the phase is undone: those that know less than
    /// what it takes back. Who knows more may go on.
    #[must_use]
    pub fn gates_back(&self) -> bool {
        self.act >= Act::Narrow
    }

    /// Why, as one line.
    #[must_use]
    pub fn why_text(&self) -> String {
        self.why.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The step of the Kubernetes page, in words.
    #[must_use]
    pub fn page_text(&self) -> String {
        match self.page_step {
            "-" => "none: the page does not have it".to_owned(),
            "caution" => "the caution at its beginning".to_owned(),
            step if step.contains(',') => format!("steps {step}"),
            step => format!("step {step}"),
        }
    }

    /// The directory in the plan: `05-apiserver-trust`.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("{:02}-{}", self.number, self.name)
    }
}

/// The page of the Kubernetes documentation whose steps the phases follow.
pub const PAGE: &str = "https://kubernetes.io/docs/tasks/tls/manual-rotation-of-ca-certificates/";

/// What is to be known of the column that says until when a phase can be undone.
pub const UNDO: &str = "`safe to undo until`: from that phase on, later ones rely on what this one did, and are undone first.\n\
     The scripts always go back phase by phase, the last one first; so every phase but 20 can be undone, until 20 begins.";

/// The way back from a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WayBack {
    /// Until when it is safe.
    pub until: Until,
    how: &'static str,
    lost: &'static str,
}

/// Until when a phase can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// There is nothing to undo.
    Nothing,
    /// Until the phase of this number begins.
    Phase(u8),
    /// At any time.
    Always,
    /// Not at all.
    Never,
}

impl WayBack {
    /// Safe until another phase begins.
    const fn until(phase: u8, how: &'static str, lost: &'static str) -> WayBack {
        let until = Until::Phase(phase);
        WayBack { until, how, lost }
    }

    /// Safe whenever it is wanted.
    const fn always(how: &'static str, lost: &'static str) -> WayBack {
        let until = Until::Always;
        WayBack { until, how, lost }
    }

    /// The phase changes nothing of its own.
    const fn nothing(how: &'static str, lost: &'static str) -> WayBack {
        let until = Until::Nothing;
        WayBack { until, how, lost }
    }

    /// What the phase does is final.
    const fn none(how: &'static str, lost: &'static str) -> WayBack {
        let until = Until::Never;
        WayBack { until, how, lost }
    }

    /// In sentences: until when it is safe, what it does, and what is lost by it.
    #[must_use]
    pub fn text(&self) -> String {
        let until = match self.until {
            Until::Nothing | Until::Always => "Safe at any time".to_owned(),
            Until::Phase(number) => format!("Safe until phase {number:02} begins"),
            Until::Never => "There is none".to_owned(),
        };
        format!("{until}: {} What is lost: {}", self.how, self.lost)
    }

    /// Until when, for a table.
    #[must_use]
    pub fn until_text(&self) -> String {
        match self.until {
            Until::Nothing => "changes nothing".to_owned(),
            Until::Phase(number) => format!("{number:02} begins"),
            Until::Always => "any time".to_owned(),
            Until::Never => "not reversible".to_owned(),
        }
    }
}

/// What a phase made.
#[derive(Default)]
pub struct Outcome {
    /// Its steps, in order. Empty: nothing to do.
    pub steps: Vec<Step>,
    /// What the phase would do on other clusters and does not do here, each with the reason.
    pub absent: Vec<String>,
    /// What the reader must know.
    pub notes: Vec<String>,
    /// What must be confirmed before it is undone.
    pub undoing: Vec<Undoing>,
    /// The last step of its way back, from the cluster before it: who starts anew then, beside what the phase itself
    /// has rolled.
    pub back: Option<Step>,
}

/// What a person must have confirmed by name before a phase is undone: a later phase gave people
/// something that no longer works from then on.
pub struct Undoing {
    /// The name to give to `--ack`.
    pub name: String,
    /// What is confirmed. A file may be taken before any node begins the later phase, so that it is
    /// asked even where no node did.
    pub text: String,
    /// Whose file it is, where it is one user's.
    pub user: Option<NodeName>,
}

/// Where a step is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// On nodes, as root.
    Nodes {
        /// One node finishes before the next begins.
        serial: bool,
    },
    /// Where kubectl works.
    Cluster,
}

/// One step: everything in it may happen in any order and on any subset of its nodes; the next step
/// begins on a node when this one is confirmed there, and a step of the other part when this one is
/// confirmed everywhere.
pub struct Step {
    /// What it does, in words.
    pub title: String,
    /// Where.
    pub part: Part,
    /// The cluster after it.
    pub after: State,
    /// What it asks for or waits for beyond the changes of objects.
    pub actions: Vec<Action>,
}

/// What a cluster step does besides applying the objects that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A person must have confirmed something by this name before the step's first write.
    Acknowledge {
        /// The name to give to `--ack`.
        name: String,
        /// What is confirmed.
        text: String,
    },
    /// Wait until a restarted workload has rolled out.
    Rollout(ObjectId),
    /// Pods that no roll reaches must have started since the phase began.
    GatePods {
        /// The pod or workload.
        object: ObjectId,
        /// Why a roll does not reach it.
        why: String,
    },
    /// Every Node object must be one of these: a node that joined since the snapshot has its own
    /// certificates and must be collected first.
    GateNodes(Vec<NodeName>),
    /// The server at `address` must serve, for `name`, a chain that verifies against `anchors` (PEM).
    ProbeServed {
        /// `host:port`.
        address: String,
        /// Server name to ask for and verify.
        name: String,
        /// PEM bundle to verify against.
        anchors: String,
    },
    /// Something for the operator to read.
    Note(String),
}

/// Every phase, in order.
pub static PHASES: [Phase; 21] = [
    widen::preflight::PHASE,
    widen::distribute_ca::PHASE,
    widen::controller_manager_root_ca::PHASE,
    widen::service_account_trust::PHASE,
    widen::restart_in_cluster_clients::PHASE,
    widen::apiserver_trust::PHASE,
    widen::control_plane_trust::PHASE,
    widen::etcd_trust::PHASE,
    widen::kubeconfig_trust::PHASE,
    widen::extension_trust::PHASE,
    widen::kubelet_trust::PHASE,
    widen::bootstrap_trust::PHASE,
    switch::signer::PHASE,
    switch::client_certificates::PHASE,
    switch::leaf_certificates::PHASE,
    switch::workloads::PHASE,
    switch::verify::PHASE,
    narrow::retire_service_accounts::PHASE,
    narrow::retire_control_plane::PHASE,
    narrow::retire_kubelets::PHASE,
    narrow::clean_up::PHASE,
];

/// A phase that has run.
pub struct Done {
    /// The phase.
    pub phase: &'static Phase,
    /// The cluster before it.
    pub before: State,
    /// What it made.
    pub outcome: Outcome,
    /// Which pods and users start anew when it is undone. None: it cannot be undone.
    pub undone: Option<BTreeSet<Process>>,
}

impl Done {
    fn new(phase: &'static Phase, before: State, outcome: Outcome) -> Done {
        let undone = (phase.way_back.until != Until::Never).then(|| {
            let steps = outcome.steps.iter().map(|step| (step, phase.gates_back()));
            let back = outcome.back.iter().map(|step| (step, true));
            let pods = steps.chain(back).flat_map(|(step, gates)| {
                step.actions.iter().filter_map(move |action| match action {
                    Action::Rollout(id) => Some(id),
                    Action::GatePods { object, .. } if gates => Some(object),
                    _ => None,
                })
            });
            let users = outcome
                .undoing
                .iter()
                .filter_map(|asked| asked.user.clone());
            let pods = pods.cloned().map(Process::Workload);
            pods.chain(users.map(Process::User)).collect()
        });
        Done {
            phase,
            before,
            outcome,
            undone,
        }
    }

    /// The cluster after it.
    #[must_use]
    pub fn after(&self) -> &State {
        self.outcome
            .steps
            .last()
            .map_or(&self.before, |step| &step.after)
    }
}

/// Runs the whole rotation from the snapshot's state. Each phase is shown to `seen` as soon as it
/// has run.
pub fn run(
    rotation: &Rotation,
    start: &State,
    seen: impl FnMut(&Arc<Done>),
) -> Result<Vec<Arc<Done>>> {
    run_in_order(rotation, start, &PHASES, seen)
}

/// Runs phases in the order given. For proofs of what goes wrong in another order.
pub fn run_in_order(
    rotation: &Rotation,
    start: &State,
    phases: &'static [Phase],
    mut seen: impl FnMut(&Arc<Done>),
) -> Result<Vec<Arc<Done>>> {
    let mut done: Vec<Arc<Done>> = Vec::with_capacity(phases.len());
    for phase in phases {
        let before = done.last().map_or(start, |last| last.after()).clone();
        let outcome = (phase.run)(rotation, &before)?;
        let one = Arc::new(Done::new(phase, before, outcome));
        seen(&one);
        done.push(one);
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_numbered_in_order_and_acts_do_not_mix() {
        for (number, phase) in PHASES.iter().enumerate() {
            assert_eq!(usize::from(phase.number), number, "{}", phase.name);
        }
        assert!(PHASES.is_sorted_by_key(|p| p.act));
    }

    #[test]
    fn a_way_back_ends_with_a_later_phase() {
        for phase in &PHASES {
            if let Until::Phase(number) = phase.way_back.until {
                assert!(number > phase.number, "{}", phase.name);
            }
        }
    }

    #[test]
    fn a_phase_goes_by_its_number_its_name_and_its_directory() {
        for what in ["5", "05", "apiserver-trust", "05-apiserver-trust"] {
            assert_eq!(Phase::named(what).map(|p| p.number), Some(5), "{what}");
        }
        assert!(Phase::named("21").is_none() && Phase::named("apiserver").is_none());
    }
}
