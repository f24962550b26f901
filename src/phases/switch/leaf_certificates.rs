//! 14: servers and the API servers' own clients get certificates of the new CA.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::layout::{self, Program, snapshot_file};
use crate::names::{NodeName, NodePath};
use crate::phases::narrow::retire_control_plane;
use crate::phases::switch::workloads;
use crate::phases::tools::{edit_file, recreate, set_field, step};
use crate::phases::widen::extension_trust::{change_consumer_objects, change_files_of};
use crate::phases::{Act, Action, Outcome, Part, Phase, WayBack};
use crate::rotation::{Rotation, Trust, is_unused_kubelet_pem, secret_certificates, to_pem};
use crate::spec::{CaName, ConsumerMode};
use crate::state::{Draft, Process, State};

/// The phase.
pub const PHASE: Phase = Phase {
    number: 14,
    name: "leaf-certificates",
    act: Act::Switch,
    page_step: "9.3",
    title: "API servers, etcd, kubelets' serving and workloads' certificates of the new CA",
    why: "This is the switch that everybody sees: API servers serve the new certificate within seconds \
          of the file write, before any restart. So everybody outside carota's reach must have \
          confirmed the widened kubeconfig of phase 08 before the first write (gap G13).",
    way_back: WayBack::until(
        17,
        "restores the old certificates, which are trusted until then, and rolls the workloads that get them.",
        "the new certificates, with their keys where those are new. A client that trusts the \
         new CA alone does not believe the servers any more: users who took the kubeconfig of \
         phase 18 must put it away first, and the rollback asks for it.",
    ),
    run,
};

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut first = step(
        before,
        "acknowledgements, and certificates in Secrets",
        Part::Cluster,
        acknowledgements(rotation, before),
        |draft| {
            for user in before.users.keys() {
                // The file of 08; whoever has that of 13 already trusts as much.
                draft.confirm(user, 0);
            }
            reissue_secrets(rotation, draft)?;
            change_consumer_objects(rotation, draft, ConsumerMode::Replace, Trust::Narrowed)
        },
    )?;
    if let Some(step) = &mut first {
        step.title = match (
            step.actions.is_empty(),
            step.after.changed_objects(before).is_empty(),
        ) {
            (false, true) => "acknowledgements".into(),
            (true, _) => "certificates in Secrets".into(),
            (false, false) => step.title.clone(),
        };
    }
    let last = first.as_ref().map_or(before, |s| &s.after).clone();
    outcome.steps.extend(first);
    let on_nodes = step(
        &last,
        "re-issue certificates on the nodes",
        Part::Nodes { serial: true },
        Vec::new(),
        |draft| {
            draft.each_node(|draft, node| {
                let changed = reissue_files(rotation, draft, node)?;
                restart_readers(draft, before, node, &changed)
            })?;
            change_files_of(rotation, draft, ConsumerMode::Replace, Trust::Narrowed)
        },
    )?;
    if on_nodes.is_some() {
        outcome.undoing = retire_control_plane::taken_back(rotation, before)?;
    }
    outcome.steps.extend(on_nodes);
    // 15 is undone before this, and its pods read then what is still there.
    outcome.back = workloads::readers(rotation, before)?.step_back(rotation, &PHASE, before)?;
    for leaf in &rotation.spec.external_leaves {
        outcome.notes.push(format!(
            "{} re-issues certificate {} by themselves, before phase 17.",
            leaf.owner, leaf.fingerprint
        ));
    }
    Ok(outcome)
}

/// Who must have confirmed the widened kubeconfig: each user, and everybody outside.
fn acknowledgements(rotation: &Rotation, state: &State) -> Vec<Action> {
    if !rotation.rotates(CaName::Cluster) {
        return Vec::new();
    }
    let users = state.users.keys().map(|user| Action::Acknowledge {
        name: format!("user-{user}"),
        text: format!("{user} uses the kubeconfig of phase 08 or 13, which trust both CAs"),
    });
    users
        .chain(std::iter::once(Action::Acknowledge {
            name: "external-clients".into(),
            text:
                "every client outside the cluster (CI, dashboards, monitoring, load balancers that \
                   verify, node templates) trusts both CAs"
                    .into(),
        }))
        .collect()
}

/// Re-issues every leaf in the PEM files of a node. Gives the paths that changed.
fn reissue_files(rotation: &Rotation, draft: &mut Draft, node: &NodeName) -> Result<Vec<NodePath>> {
    let files = rotation.start.nodes[node].clone();
    let mut changed = Vec::new();
    for (path, file) in files.regular_files() {
        if file.text.contains("BEGIN CERTIFICATE")
            && !is_unused_kubelet_pem(&files, path)
            && edit_file(draft, node, path, |text, label| {
                rotation.reissued_pem(text, label)
            })?
        {
            changed.push(path.clone());
            renew_key_beside(rotation, draft, node, path)?;
        }
    }
    Ok(changed)
}

/// A new key, if there is one, goes to the file beside the certificate, unless it lies in the same file.
fn renew_key_beside(
    rotation: &Rotation,
    draft: &mut Draft,
    node: &NodeName,
    path: &NodePath,
) -> Result<()> {
    let label = snapshot_file(node, path);
    let now = draft
        .now()
        .file(node, path)
        .map(|f| f.text.to_string())
        .unwrap_or_default();
    if rotation.holds_new_key(&now) {
        return Ok(());
    }
    let old = rotation
        .start
        .file(node, path)
        .map(|f| f.text.to_string())
        .unwrap_or_default();
    let issued = crate::pki::certificates_in_pem(&old, &label)?
        .iter()
        .find_map(|c| rotation.reissued(c))
        .and_then(|issued| issued.key.as_ref());
    let Some(key) = issued else { return Ok(()) };
    let Some(beside) = draft.now().nodes[node].key_beside(path) else {
        let [key, other] = path.keys();
        return Err(Diagnostic::new(
            Code::Unsupported,
            format!(
                "the key of {path} is not beside it as {key} or {other}, so it cannot be replaced"
            ),
            "use leaf_keys = \"keep\"",
        )
        .at(Place::start_of(&label)));
    };
    draft.write(
        node,
        &beside,
        &format!("{}\n", key.pem_reference),
        0o600,
        "0:0",
    );
    Ok(())
}

/// API servers restart although they serve the new certificate already: so that nothing of the old
/// one is left in memory, on any version (the page's step 9.3). etcd reads its pairs at every
/// handshake (client/pkg/transport/listener.go) and restarts in 18. A kubelet serves a changed pair
/// only after a restart to clients that dial it by address.
fn restart_readers(
    draft: &mut Draft,
    before: &State,
    node: &NodeName,
    changed: &[NodePath],
) -> Result<()> {
    let named = |value: Option<NodePath>| {
        value
            .and_then(|p| before.nodes[node].resolve(&p))
            .filter(|p| changed.contains(p))
    };
    for component in layout::components(before, node)? {
        if component.program == Program::Etcd {
            continue;
        }
        let mut inputs = Vec::new();
        for flag in [
            "tls-cert-file",
            "kubelet-client-certificate",
            "proxy-client-cert-file",
            "etcd-certfile",
        ] {
            inputs.extend(named(component.host_file(flag)?));
        }
        if !inputs.is_empty() {
            recreate(draft, node, &component.path, &inputs)?;
        }
    }
    if let Some(kubelet) = layout::kubelet(before, node)? {
        let rotated = changed
            .iter()
            .any(|p| p.file_name().starts_with("kubelet-server-"));
        if rotated || named(kubelet.serving.clone()).is_some() {
            draft.restart(Process::Kubelet(node.clone()));
        }
    }
    Ok(())
}

/// Re-issues leaves in Secrets (gap G14).
fn reissue_secrets(rotation: &Rotation, draft: &mut Draft) -> Result<()> {
    for (id, key, certificates) in secret_certificates(&rotation.start)? {
        let pem = to_pem(&certificates);
        let Some(changed) = rotation.reissued_pem(&pem, "snapshot/cluster/secrets.yaml")? else {
            continue;
        };
        let mut issued = certificates.iter().filter_map(|c| rotation.reissued(c));
        if issued.any(|issued| issued.key.is_some()) {
            return Err(Diagnostic::new(
                Code::Unsupported,
                format!("{id} holds a certificate of a rotated CA, and new keys for Secrets are not supported"),
                "use leaf_keys = \"keep\", or have its owner re-issue it ([[external_leaf]])",
            )
            .at(Place::start_of("snapshot/cluster/secrets.yaml")));
        }
        let value = json!(BASE64.encode(changed));
        draft.change_object(&id, |o| set_field(o, &["data", &key], value));
    }
    Ok(())
}
