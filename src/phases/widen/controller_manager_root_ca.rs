//! 02: the controller manager publishes old and new CA to every namespace.

use crate::diagnostic::Result;
use crate::layout::{Component, Program};
use crate::phases::tools::{
    Reader, change_kubeconfig, components_now, kubeconfigs, point_at_bundles, recreate, step,
};
use crate::phases::{Act, Outcome, Part, Phase, WayBack};
use crate::rotation::{Rotation, Trust};
use crate::state::{Draft, State};

/// The phase.
pub const PHASE: Phase = Phase {
    number: 2,
    name: "controller-manager-root-ca",
    act: Act::Widen,
    page_step: "2",
    title: "kube-controller-manager publishes old and new CA to ServiceAccounts",
    why: "`--root-ca-file` is what every pod comes to trust for the API. It is pointed at the bundle \
          first, because it takes longest to reach everything. The signer stays on the old CA: \
          signing with the new one before API servers trust it would lock out a kubelet that renews \
          just then (the page does that; gap G1).",
    way_back: WayBack::until(
        14,
        "restores manifests and units; ServiceAccounts go back to the old CA.",
        "nothing; pods that started meanwhile know both CAs, which does no harm.",
    ),
    run,
};

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut from_kubeconfig = Vec::new();
    let step = step(
        before,
        "point --root-ca-file at the bundle",
        Part::Nodes { serial: true },
        Vec::new(),
        |draft| {
            for node in before.nodes.keys() {
                for component in components_now(draft, node, Program::ControllerManager)? {
                    let unset = point_at_bundles(rotation, draft, &component, &["root-ca-file"])?;
                    if unset.is_empty() {
                        continue;
                    }
                    from_kubeconfig.push(node.to_string());
                    change_own_kubeconfig(rotation, draft, &component, Trust::Widened)?;
                }
            }
            Ok(())
        },
    )?;
    if !from_kubeconfig.is_empty() {
        outcome.notes.push(format!(
            "--root-ca-file is not set on {}: the controller manager publishes the CA data of its own \
             kubeconfig, so that is widened here already (gap G17).",
            from_kubeconfig.join(", ")
        ));
    }
    if let Some((id, _)) = before
        .objects_of("clustertrustbundles")
        .find(|(id, object)| crate::coverage::is_published_bundle(id, object))
    {
        outcome.notes.push(format!(
            "The controller manager also publishes {id}, under another name from now on: a pod that \
             names the object instead of selecting it by its signer does not start any more."
        ));
    }
    if step.is_none() {
        outcome
            .absent
            .push("No controller manager publishes a CA that is rotated.".into());
    }
    outcome.steps.extend(step);
    Ok(outcome)
}

/// Changes the trust of the kubeconfigs that a controller manager reads, and recreates it: without
/// `--root-ca-file` it publishes their CA data (gap G17).
pub fn change_own_kubeconfig(
    rotation: &Rotation,
    draft: &mut Draft,
    component: &Component,
    trust: Trust,
) -> Result<()> {
    for kubeconfig in kubeconfigs(draft.now(), &component.node)? {
        let its =
            kubeconfig.reader == Reader::ControlPlane && kubeconfig.pods.contains(&component.path);
        if its && change_kubeconfig(rotation, draft, &component.node, &kubeconfig.path, trust)? {
            recreate(draft, &component.node, &component.path, &[kubeconfig.path])?;
        }
    }
    Ok(())
}
