//! 10: kubelets trust clients and API servers of both CAs.

use crate::diagnostic::Result;
use crate::layout;
use crate::phases::switch::{client_certificates, signer};
use crate::phases::tools::{bundle_of, change_kubeconfig, pem_file, step};
use crate::phases::{Act, Outcome, Part, Phase, WayBack};
use crate::rotation::{Rotation, Trust};
use crate::state::{Process, State};

/// The phase.
pub const PHASE: Phase = Phase {
    number: 10,
    name: "kubelet-trust",
    act: Act::Widen,
    page_step: "9.2",
    title: "kubelets trust both CAs, for their clients and for API servers",
    why: "`clientCAFile` decides which API server may ask for logs and exec; the CA data of \
          kubelet.conf decides which API server the kubelet believes. Both are read when the kubelet \
          starts; restarting it leaves containers alone.",
    way_back: WayBack::until(
        14,
        "restores both files and restarts the kubelet.",
        "the trust in clients of the new CA: kubelets refuse the certificate of phase 13 in a user's \
         kubeconfig, and what the cluster has signed since 12.",
    ),
    run,
};

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut without = Vec::new();
    let step = step(
        before,
        "widen kubelet configuration and kubeconfig, restart the kubelet",
        Part::Nodes { serial: false },
        Vec::new(),
        |draft| {
            let there = draft.each_node(|draft, node| {
                let Some(kubelet) = layout::kubelet(before, node)? else {
                    return Ok(false);
                };
                let mut changed = false;
                if let Some(file) = &kubelet.client_ca_file
                    && let Some((_, certificates)) = pem_file(&rotation.start, node, file)?
                    && rotation.affects(&certificates)
                {
                    let files = &before.nodes[node];
                    for (path, text) in kubelet.with_client_ca_file(files, &bundle_of(file))? {
                        draft.write(node, &path, &text, 0o600, "0:0");
                        changed = true;
                    }
                }
                if let Some(path) = &kubelet.kubeconfig {
                    changed |= change_kubeconfig(rotation, draft, node, path, Trust::Widened)?;
                }
                if changed {
                    draft.restart(Process::Kubelet(node.clone()));
                }
                Ok(true)
            })?;
            let missing = there.into_iter().filter(|(_, there)| !there);
            without.extend(missing.map(|(node, _)| node.to_string()));
            Ok(())
        },
    )?;
    if !without.is_empty() {
        outcome.absent.push(format!(
            "No kubelet unit in the snapshot of {}.",
            without.join(", ")
        ));
    }
    if step.is_none() {
        outcome
            .absent
            .push("No kubelet trusts a CA that is rotated.".into());
    }
    if step.is_some() {
        outcome.undoing = client_certificates::taken_back(rotation, before)?;
        outcome.undoing.extend(signer::taken_back(rotation)?);
    }
    outcome.steps.extend(step);
    Ok(outcome)
}
