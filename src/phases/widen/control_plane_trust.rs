//! 06: scheduler and controller managers trust clients of both CAs.

use crate::diagnostic::Result;
use crate::layout::Program;
use crate::phases::tools::{components_now, point_at_bundles, step, trust_flags};
use crate::phases::{Act, Outcome, Part, Phase, WayBack};
use crate::rotation::Rotation;
use crate::state::State;

/// The phase.
pub const PHASE: Phase = Phase {
    number: 6,
    name: "control-plane-trust",
    act: Act::Widen,
    page_step: "6, 8",
    title: "scheduler, controller manager and cloud controller manager trust both CAs",
    why: "Their `--client-ca-file` and `--requestheader-client-ca-file` decide who may ask for health \
          and metrics. kubeadm sets none for the scheduler, which then takes the API servers' (gap G6). \
          The page says that the controller manager's must not be a bundle; it may (G9).",
    way_back: WayBack::until(
        13,
        "restores manifests and units.",
        "the trust in clients of the new CA: controller manager and scheduler refuse what the cluster has \
         signed since 12.",
    ),
    run,
};

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut seen_cloud = false;
    let mut unset = std::collections::BTreeSet::new();
    let step = step(
        before,
        "point delegated authentication at bundles",
        Part::Nodes { serial: true },
        Vec::new(),
        |draft| {
            for node in before.nodes.keys() {
                for (program, but) in [
                    // Widened in 02.
                    (Program::ControllerManager, &["root-ca-file"][..]),
                    (Program::Scheduler, &[]),
                    (Program::CloudControllerManager, &[]),
                ] {
                    for component in components_now(draft, node, program)? {
                        seen_cloud |= program == Program::CloudControllerManager;
                        let flags = trust_flags(program, but);
                        for flag in point_at_bundles(rotation, draft, &component, &flags)? {
                            unset.insert(format!("--{flag} of {program} is not set."));
                        }
                    }
                }
            }
            Ok(())
        },
    )?;
    outcome.absent.extend(unset);
    if !seen_cloud {
        outcome
            .absent
            .push("There is no cloud-controller-manager.".into());
    }
    outcome.steps.extend(step);
    Ok(outcome)
}
