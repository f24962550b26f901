//! 05: API servers trust clients, kubelets, etcd and the front proxy of both CAs.

use std::collections::BTreeMap;

use serde_json::json;

use crate::diagnostic::Result;
use crate::layout::Program;
use crate::phases::switch::{client_certificates, signer};
use crate::phases::tools::{
    Reader, change_kubeconfig_trust, components_now, pem_with_trust, point_at_bundles, set_field,
    step, text, trust_flags,
};
use crate::phases::{Act, Outcome, Part, Phase, WayBack};
use crate::rotation::{Rotation, Trust};
use crate::state::{Draft, ObjectId, State};

/// The phase.
pub const PHASE: Phase = Phase {
    number: 5,
    name: "apiserver-trust",
    act: Act::Widen,
    page_step: "5",
    title: "API servers trust both CAs for clients, kubelets, front proxy and etcd",
    why: "`--client-ca-file`, `--kubelet-certificate-authority`, `--requestheader-client-ca-file` (not \
          named by the page, gap G3) and `--etcd-cafile` (G4) are pointed at bundles, on one control \
          plane after another. A flag that is not set is not added.",
    way_back: WayBack::until(
        12,
        "restores manifests and units, one control plane after another.",
        "the trust in clients of the new CA: API servers refuse the certificate of phase 13 in a user's \
         kubeconfig, and what the cluster has signed since 12.",
    ),
    run,
};

/// Where API servers publish what they trust, for aggregated API servers and others.
fn published_trust() -> ObjectId {
    ObjectId::new(
        "configmaps",
        "kube-system",
        "extension-apiserver-authentication",
    )
}

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut unset: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let step = step(
        before,
        "point the API server's trust at bundles",
        Part::Nodes { serial: true },
        Vec::new(),
        |draft| {
            for node in before.nodes.keys() {
                for component in components_now(draft, node, Program::Apiserver)? {
                    let flags = trust_flags(Program::Apiserver, &[]);
                    for flag in point_at_bundles(rotation, draft, &component, &flags)? {
                        unset.entry(flag).or_default().push(node.to_string());
                    }
                }
            }
            change_kubeconfig_trust(rotation, draft, &[Reader::Apiserver], Trust::Widened)?;
            change_published_trust(rotation, draft, Trust::Widened)
        },
    )?;
    for (flag, nodes) in unset {
        let what = match flag.as_str() {
            "kubelet-certificate-authority" => {
                "API servers do not verify kubelets' serving certificates at all"
            }
            "etcd-cafile" => "API servers use the system's roots for etcd, or no TLS",
            _ => "that kind of client certificate is not accepted",
        };
        outcome.absent.push(format!(
            "--{flag} is not set on {}: {what}.",
            nodes.join(", ")
        ));
    }
    if step.is_some() {
        outcome.undoing = client_certificates::taken_back(rotation, before)?;
        outcome.undoing.extend(signer::taken_back(rotation)?);
    }
    outcome.steps.extend(step);
    Ok(outcome)
}

/// Changes what API servers publish of their own trust: a union of all that they have seen
/// (pkg/controlplane/controller/clusterauthenticationtrust).
pub fn change_published_trust(rotation: &Rotation, draft: &mut Draft, trust: Trust) -> Result<()> {
    let id = published_trust();
    for key in ["client-ca-file", "requestheader-client-ca-file"] {
        let Some(pem) = draft
            .now()
            .object(&id)
            .and_then(|o| text(o, &["data", key]))
        else {
            continue;
        };
        let label = "snapshot/cluster/configmaps.yaml";
        if let Some(changed) = pem_with_trust(rotation, pem, label, trust)? {
            draft.change_object(&id, |o| set_field(o, &["data", key], json!(changed)));
        }
    }
    Ok(())
}
