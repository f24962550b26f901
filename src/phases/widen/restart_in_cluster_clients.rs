//! 04: pods that use the API start anew, with old and new CA.

use crate::diagnostic::Result;
use crate::phases::workloads;
use crate::phases::{Act, Outcome, Phase, WayBack};
use crate::rotation::Rotation;
use crate::spec::CaName;
use crate::state::State;

/// The phase.
pub const PHASE: Phase = Phase {
    number: 4,
    name: "restart-in-cluster-clients",
    act: Act::Widen,
    page_step: "4",
    title: "roll every workload whose pods use the API",
    why: "Client libraries read the CA once, when they start. A pod that started before phase 03 trusts \
          only the old CA, and fails when the API servers' certificate changes in 14. The page names \
          only system pods; every pod with a mounted ServiceAccount counts (gap G10).",
    way_back: WayBack::always(
        "rolls the same workloads once more.",
        "what the pods hold in memory and in emptyDir volumes, as in every roll.",
    ),
    run,
};

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    if !rotation.rotates(CaName::Cluster) {
        outcome
            .absent
            .push("The cluster CA is not rotated, so no pod's trust changes.".into());
        return Ok(outcome);
    }
    let restarts = workloads::using_api(before);
    let step = restarts.step(
        rotation,
        &PHASE,
        before,
        "roll the workloads, one after another",
    )?;
    if step.is_none() {
        outcome
            .absent
            .push("No workload in the snapshot uses the API.".into());
    }
    outcome.steps.extend(step);
    outcome.notes.extend(restarts.notes);
    Ok(outcome)
}
