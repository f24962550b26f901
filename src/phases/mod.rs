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

use crate::diagnostic::Result;
use crate::names::NodeName;
use crate::rotation::Rotation;
use crate::state::{ObjectId, State};

mod narrow;
mod switch;
mod tools;
mod widen;
mod workloads;

use widen::kubeconfig_trust::handing_out;

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
    /// Until when its rollback is safe, and what is lost.
    pub way_back: &'static str,
    /// Makes the states that follow `before`.
    pub run: fn(&Rotation, before: &State) -> Result<Outcome>,
}

impl Phase {
    /// The directory in the plan: `05-apiserver-trust`.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("{:02}-{}", self.number, self.name)
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
}

impl Done {
    /// The cluster after it.
    #[must_use]
    pub fn after(&self) -> &State {
        self.outcome
            .steps
            .last()
            .map_or(&self.before, |step| &step.after)
    }
}

/// Runs the whole rotation from the snapshot's state.
pub fn run(rotation: &Rotation, start: &State) -> Result<Vec<Done>> {
    run_in_order(rotation, start, &PHASES)
}

/// Runs phases in the order given. For proofs of what goes wrong in another order.
pub fn run_in_order(
    rotation: &Rotation,
    start: &State,
    phases: &'static [Phase],
) -> Result<Vec<Done>> {
    let mut done: Vec<Done> = Vec::with_capacity(phases.len());
    for phase in phases {
        let before = done.last().map_or(start, Done::after).clone();
        let outcome = (phase.run)(rotation, &before)?;
        done.push(Done {
            phase,
            before,
            outcome,
        });
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
}
