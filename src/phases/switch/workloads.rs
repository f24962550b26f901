//! 15: workloads that mount what 14 re-issued start anew.

use std::collections::BTreeSet;

use crate::diagnostic::Result;
use crate::phases::widen::extension_trust::declared_restarts;
use crate::phases::{Act, Outcome, Phase, WayBack, workloads};
use crate::rotation::{Rotation, secret_certificates};
use crate::spec::ConsumerMode;
use crate::state::State;

/// The phase.
pub const PHASE: Phase = Phase {
    number: 15,
    name: "workloads",
    act: Act::Switch,
    page_step: "9.4",
    title: "roll workloads that mount re-issued certificates",
    why: "A server that read its certificate from a Secret when it started goes on with the old one. \
          What 04 rolled for the sake of its trust is not rolled again for the same reason.",
    way_back: WayBack::until(
        17,
        "rolls the same workloads once more.",
        "what the pods hold in memory and in emptyDir volumes, as in every roll.",
    ),
    run,
};

/// The workloads that may have in memory what phase 14 replaces.
pub fn readers(rotation: &Rotation, before: &State) -> Result<workloads::Restarts> {
    let secrets: BTreeSet<_> = secret_certificates(&rotation.start)?
        .into_iter()
        .filter(|(_, _, certificates)| certificates.iter().any(|c| rotation.reissued(c).is_some()))
        .map(|(id, _, _)| id)
        .collect();
    let mut restarts = workloads::getting_secrets(before, &secrets);
    restarts.extend(declared_restarts(rotation, before, ConsumerMode::Replace));
    Ok(restarts)
}

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let restarts = readers(rotation, before)?;
    let step = restarts.step(
        rotation,
        &PHASE,
        before,
        "roll the workloads, one after another",
    )?;
    if step.is_none() {
        outcome.absent.push(
            "No workload mounts a certificate that phase 14 re-issued; 04 has rolled the clients of the API."
                .into(),
        );
    }
    outcome.steps.extend(step);
    outcome.notes.extend(restarts.notes);
    Ok(outcome)
}
