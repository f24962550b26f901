//! 11: nodes that join trust API servers of both CAs.

use serde_json::json;

use crate::diagnostic::Result;
use crate::digest::sha256;
use crate::phases::tools::{
    Reader, change_kubeconfig_trust, kubeconfig_with_trust, set_field, step, text,
};
use crate::phases::{Act, Action, Outcome, Part, Phase, WayBack};
use crate::pki::Certificate;
use crate::rotation::{Rotation, Trust};
use crate::spec::CaName;
use crate::state::{Draft, ObjectId, State};

/// The phase.
pub const PHASE: Phase = Phase {
    number: 11,
    name: "bootstrap-trust",
    act: Act::Widen,
    page_step: "10",
    title: "joining nodes trust both CAs: cluster-info and bootstrap kubeconfigs",
    why: "The page updates `cluster-info` after the API servers have switched; a node that joins in \
          between would trust the wrong CA (gap G11). With both CAs in it, `kubeadm join` accepts a \
          pin of either.",
    way_back: WayBack::until(
        14,
        "restores cluster-info; its signatures follow by themselves.",
        "nothing on nodes that have joined; a join that is pinned to the new CA's hash fails.",
    ),
    run,
};

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let files = step(
        before,
        "widen bootstrap kubeconfigs",
        Part::Nodes { serial: false },
        Vec::new(),
        |draft| {
            change_kubeconfig_trust(rotation, draft, &[Reader::Bootstrap], Trust::Widened)?;
            Ok(())
        },
    )?;
    if files.is_none() {
        outcome
            .absent
            .push("No bootstrap kubeconfig lies on a node.".into());
    }
    let last = files.as_ref().map_or(before, |s| &s.after).clone();
    outcome.steps.extend(files);
    let object = step(
        &last,
        "widen cluster-info",
        Part::Cluster,
        Vec::new(),
        |draft| change_cluster_info(rotation, draft, Trust::Widened),
    )?;
    match object {
        Some(mut step) => {
            step.actions.extend(pins(rotation));
            outcome.steps.push(step);
        }
        None => outcome
            .absent
            .push("ConfigMap kube-public/cluster-info holds no rotated CA.".into()),
    }
    Ok(outcome)
}

/// Changes the trust in ConfigMap `cluster-info`.
pub fn change_cluster_info(rotation: &Rotation, draft: &mut Draft, trust: Trust) -> Result<()> {
    let id = ObjectId::new("configmaps", "kube-public", "cluster-info");
    let Some(kubeconfig) = draft
        .now()
        .object(&id)
        .and_then(|o| text(o, &["data", "kubeconfig"]))
    else {
        return Ok(());
    };
    let label = "snapshot/cluster/configmaps.yaml";
    if let Some(changed) = kubeconfig_with_trust(rotation, kubeconfig, label, trust)? {
        draft.change_object(&id, |o| {
            set_field(o, &["data", "kubeconfig"], json!(changed));
        });
    }
    Ok(())
}

/// The pins that `kubeadm join --discovery-token-ca-cert-hash` takes, and from when to when.
fn pins(rotation: &Rotation) -> Option<Action> {
    let pair = rotation.cas.get(&CaName::Cluster)?;
    Some(Action::Note(format!(
        "Discovery hash for kubeadm join: old sha256:{} (accepted until phase 17), new sha256:{} \
         (accepted from now on).",
        public_key_pin(&pair.old),
        public_key_pin(&pair.new)
    )))
}

/// SHA-256 over the certificate's public key (util/pubkeypin of kubeadm), in hexadecimal.
fn public_key_pin(certificate: &Certificate) -> String {
    sha256(certificate.spki_der())
}
