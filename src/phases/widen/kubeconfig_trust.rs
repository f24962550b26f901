//! 08: every kubeconfig but the kubelets' trusts API servers of both CAs.

use std::collections::BTreeSet;

use crate::diagnostic::Result;
use crate::phases::tools::{
    Reader, change_kubeconfig_trust, change_users, kubeconfig_with_trust, step,
};
use crate::phases::{Act, Action, Outcome, Part, Phase, Step, WayBack, workloads};
use crate::rotation::{Rotation, Trust};
use crate::state::State;

/// The phase.
pub const PHASE: Phase = Phase {
    number: 8,
    name: "kubeconfig-trust",
    act: Act::Widen,
    page_step: "7",
    title: "kubeconfigs of control plane, node agents and users trust both CAs",
    why: "A client that knows only the old CA fails at the first write of phase 14, when API servers \
          begin to serve the new certificate. So everybody gets the widened file now, copies of \
          admin.conf on the nodes included (gaps G13, G15).",
    way_back: WayBack::until(
        14,
        "restores the files; users may keep the widened ones.",
        "nothing; a workload that was rolled for these files rolls once more.",
    ),
    run,
};

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut shared = BTreeSet::new();
    let on_nodes = step(
        before,
        "widen the kubeconfigs on the nodes",
        Part::Nodes { serial: true },
        Vec::new(),
        |draft| {
            let readers = [Reader::ControlPlane, Reader::Agent, Reader::Person];
            let changed = change_kubeconfig_trust(rotation, draft, &readers, Trust::Widened)?;
            shared = changed.into_values().flatten().collect();
            Ok(())
        },
    )?;
    let mut last = on_nodes.as_ref().map_or(before, |s| &s.after).clone();
    outcome.steps.extend(on_nodes);
    let handed_out = step(
        &last,
        "hand out the users' kubeconfigs",
        Part::Cluster,
        Vec::new(),
        |draft| {
            change_users(draft, |text, label| {
                kubeconfig_with_trust(rotation, text, label, Trust::Widened)
            })
        },
    )?;
    if let Some(step) = handing_out(before, handed_out) {
        last = step.after.clone();
        outcome.steps.push(step);
    }
    // A DaemonSet that reads a kubeconfig of the host has it in memory until it starts again.
    let readers = workloads::mounting_host_paths(before, &shared);
    let rolled = readers.step(
        rotation,
        &PHASE,
        &last,
        "roll workloads that read these files",
    )?;
    outcome.steps.extend(rolled);
    outcome.notes.extend(readers.notes);
    if outcome.steps.is_empty() {
        outcome
            .absent
            .push("No kubeconfig holds a CA that is rotated.".into());
    }
    Ok(outcome)
}

/// Tells the operator of a step in which users' kubeconfigs change to whom they go.
pub fn handing_out(before: &State, step: Option<Step>) -> Option<Step> {
    let mut step = step?;
    let users = step.after.changed_users(before);
    if !users.is_empty() {
        let names: Vec<_> = users.iter().map(ToString::to_string).collect();
        step.actions.push(Action::Note(format!(
            "Hand out the kubeconfigs in users/ to: {}. Their private keys are not in them: each user \
             keeps the key of the present file.",
            names.join(", ")
        )));
    }
    Some(step)
}
