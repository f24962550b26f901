//! 03: wait until every namespace has old and new CA.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use crate::diagnostic::Result;
use crate::layout::{ROOT_CA, is_token};
use crate::phases::tools::{published_ca, set_field, step, text};
use crate::phases::{Act, Outcome, Part, Phase, WayBack};
use crate::pki;
use crate::rotation::{Rotation, decode_pem};
use crate::state::{Draft, State};

/// The phase.
pub const PHASE: Phase = Phase {
    number: 3,
    name: "service-account-trust",
    act: Act::Widen,
    page_step: "3",
    title: "wait until every namespace has old and new CA",
    why: "The leading controller manager writes ConfigMap `kube-root-ca.crt` and the `ca.crt` of token \
          Secrets in every namespace. They are its objects, so they are waited for and never applied: \
          it would revert a foreign edit. On clusters with many namespaces it lags.",
    way_back: WayBack::nothing(
        "these objects follow phase 02, and there is nothing to undo here.",
        "nothing.",
    ),
    run,
};

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let step = step(
        before,
        "kube-root-ca.crt and token Secrets",
        Part::Cluster,
        Vec::new(),
        |draft| publish(rotation, draft),
    )?;
    if step.is_none() {
        outcome
            .absent
            .push("No namespace holds a CA that is rotated.".into());
    }
    outcome.steps.extend(step);
    Ok(outcome)
}

/// Brings what the controller manager publishes to every namespace up to date with its files.
pub fn publish(rotation: &Rotation, draft: &mut Draft) -> Result<()> {
    let Some(published) = published_ca(draft.now())? else {
        return Ok(());
    };
    let holds_rotated = |pem: &str, label: &str| -> Result<bool> {
        let trust = pki::certificates_in_pem(pem, label)?;
        let new = |c: &pki::Certificate| rotation.cas.values().any(|pair| pair.new == *c);
        Ok(rotation.affects(&trust) || trust.iter().any(new))
    };
    let start = rotation.start.clone();
    for (id, object) in start.objects_of("configmaps") {
        let Some(pem) = text(object, &["data", "ca.crt"]) else {
            continue;
        };
        if &*id.name == ROOT_CA && holds_rotated(pem, "snapshot/cluster/configmaps.yaml")? {
            draft.change_object(id, |o| set_field(o, &["data", "ca.crt"], json!(published)));
        }
    }
    for (id, object) in start.objects_of("secrets") {
        let Some(pem) = text(object, &["data", "ca.crt"]).and_then(decode_pem) else {
            continue;
        };
        if is_token(object) && holds_rotated(&pem, "snapshot/cluster/secrets.yaml")? {
            let value = json!(BASE64.encode(&published));
            draft.change_object(id, |o| set_field(o, &["data", "ca.crt"], value));
        }
    }
    Ok(())
}
