//! 10: kubelets trust clients and API servers of both CAs.

use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::edit::kubelet_config::KubeletConfig;
use crate::layout::{self, snapshot_file};
use crate::phases::switch::{client_certificates, signer};
use crate::phases::tools::{bundle_of, edit_file, kubeconfig_with_trust, pem_file, step};
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
            for node in before.nodes.keys() {
                let Some(kubelet) = layout::kubelet(before, node)? else {
                    without.push(node.to_string());
                    continue;
                };
                let mut changed = false;
                if let Some((path, config)) = &kubelet.config
                    && let Some(file) = &kubelet.client_ca_file
                    && let Some((_, certificates)) = pem_file(&rotation.start, node, file)?
                    && rotation.affects(&certificates)
                {
                    if config.client_ca_file.is_none() {
                        return Err(flag_unsupported(node, path));
                    }
                    changed |= edit_file(draft, node, path, |text, label| {
                        let config = KubeletConfig::parse(text, label)?;
                        config
                            .set_client_ca_file(bundle_of(file).as_str())
                            .map(Some)
                    })?;
                }
                if let Some(path) = &kubelet.kubeconfig {
                    changed |= edit_file(draft, node, path, |text, label| {
                        kubeconfig_with_trust(rotation, text, label, Trust::Widened)
                    })?;
                }
                if changed {
                    draft.restart(Process::Kubelet(node.clone()));
                }
            }
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

fn flag_unsupported(node: &crate::names::NodeName, path: &crate::names::NodePath) -> Diagnostic {
    Diagnostic::new(
        Code::Unsupported,
        format!("the kubelet of {node} gets --client-ca-file as a flag"),
        "set authentication.x509.clientCAFile in its configuration file instead, and collect again",
    )
    .at(Place::start_of(&snapshot_file(node, path)))
}
