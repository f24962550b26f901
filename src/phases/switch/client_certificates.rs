//! 13: clients of the API get certificates of the new CA.

use std::collections::BTreeSet;

use crate::diagnostic::Result;
use crate::edit::kubeconfig::{CertSource, Kubeconfig};
use crate::layout::{self, snapshot_file};
use crate::names::{NodeName, NodePath};
use crate::phases::handing_out;
use crate::phases::tools::{
    Reader, change_kubeconfigs, change_users, edit_file, kubeconfig_reissued, kubeconfigs,
    put_back_by_users, recreate, step,
};
use crate::phases::{Act, Outcome, Part, Phase, Undoing, WayBack};
use crate::rotation::Rotation;
use crate::state::{Draft, Process, State};

/// The phase.
pub const PHASE: Phase = Phase {
    number: 13,
    name: "client-certificates",
    act: Act::Switch,
    page_step: "7, 9.2",
    title: "control plane, kubelets and users get client certificates of the new CA",
    why: "Each is re-issued for the same subject and extensions, and for its own key unless new keys are \
          asked for, so the identity that API servers see stays the same. Every kubelet is re-issued now: one that renews by itself would keep its \
          old certificate for up to a year and be locked out in 18 (gap G7).",
    way_back: WayBack::until(
        18,
        "restores the old certificates, which are trusted until then.",
        "the new certificates. Users who took their new kubeconfig must put back the former \
         one before 10 or 05 is undone, whose rollbacks ask for it: from then on nobody knows \
         the new certificate.",
    ),
    run,
};

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let on_nodes = step(
        before,
        "re-issue client certificates on the nodes",
        Part::Nodes { serial: true },
        Vec::new(),
        |draft| {
            let readers = [
                Reader::Apiserver,
                Reader::ControlPlane,
                Reader::Agent,
                Reader::Person,
                Reader::Kubelet,
                Reader::Bootstrap,
            ];
            let changed = change_kubeconfigs(draft, &readers, |draft, node, path| {
                edit_file(draft, node, path, |text, label| {
                    kubeconfig_reissued(rotation, text, label)
                })
            })?;
            draft.each_node(|draft, node| {
                let mut paths: BTreeSet<_> =
                    changed.get(node).into_iter().flatten().cloned().collect();
                paths.extend(reissue_named_files(rotation, draft, node)?);
                restart_kubelet_if_its(draft, before, node, &paths)
            })?;
            Ok(())
        },
    )?;
    let last = on_nodes.as_ref().map_or(before, |s| &s.after).clone();
    outcome.steps.extend(on_nodes);
    let users = step(
        &last,
        "hand out the users' new certificates",
        Part::Cluster,
        Vec::new(),
        |draft| {
            change_users(draft, |text, label| {
                kubeconfig_reissued(rotation, text, label)
            })
        },
    )?;
    outcome.steps.extend(handing_out(before, users));
    if outcome.steps.is_empty() {
        outcome
            .absent
            .push("No client certificate of a rotated CA was found.".into());
    }
    Ok(outcome)
}

/// What must be confirmed before trust in the users' new certificates is taken back.
pub fn taken_back(rotation: &Rotation, state: &State) -> Result<Vec<Undoing>> {
    let what = (
        "-certificate",
        "has put back the kubeconfig of before phase 13, or never took that of 13: its client certificate is refused from now on",
    );
    put_back_by_users(state, what, |text, label| {
        kubeconfig_reissued(rotation, text, label)
    })
}

/// The files that kubeconfigs name as client certificates on a node.
pub fn named_client_files(
    state: &State,
    node: &NodeName,
) -> Result<Vec<(NodePath, BTreeSet<NodePath>)>> {
    let mut out = Vec::new();
    for kubeconfig in kubeconfigs(state, node)? {
        let Some(file) = state.file(node, &kubeconfig.path) else {
            continue;
        };
        let parsed = Kubeconfig::parse(&file.text, &snapshot_file(node, &kubeconfig.path))?;
        for user in &parsed.users {
            if let CertSource::File(path) = &user.certificate
                && let Ok(path) = NodePath::new(path)
                && let Some(at) = state.nodes[node].resolve(&path)
            {
                out.push((at, kubeconfig.pods.clone()));
            }
        }
    }
    Ok(out)
}

fn reissue_named_files(
    rotation: &Rotation,
    draft: &mut Draft,
    node: &NodeName,
) -> Result<Vec<NodePath>> {
    let mut changed = Vec::new();
    for (path, pods) in named_client_files(draft.now(), node)? {
        if edit_file(draft, node, &path, |text, label| {
            rotation.reissued_pem(text, label)
        })? {
            for pod in pods {
                recreate(draft, node, &pod, std::slice::from_ref(&path))?;
            }
            changed.push(path);
        }
    }
    Ok(changed)
}

/// The kubelet reads its certificate when it starts.
fn restart_kubelet_if_its(
    draft: &mut Draft,
    before: &State,
    node: &NodeName,
    changed: &BTreeSet<NodePath>,
) -> Result<()> {
    let Some(kubelet) = layout::kubelet(before, node)? else {
        return Ok(());
    };
    let Some(kubeconfig) = kubelet.kubeconfig.clone() else {
        return Ok(());
    };
    let Some(file) = before.file(node, &kubeconfig) else {
        return Ok(());
    };
    let mut its = BTreeSet::from([kubeconfig.clone()]);
    for user in &Kubeconfig::parse(&file.text, &snapshot_file(node, &kubeconfig))?.users {
        if let CertSource::File(path) = &user.certificate
            && let Ok(path) = NodePath::new(path)
        {
            its.extend(before.nodes[node].resolve(&path));
        }
    }
    if !its.is_disjoint(changed) {
        draft.restart(Process::Kubelet(node.clone()));
    }
    Ok(())
}
