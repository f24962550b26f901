//! 09: API servers trust webhooks and aggregated API servers of both CAs, and these trust both.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::diagnostic::Result;
use crate::phases::tools::{
    consumer_with_trust, edit_file, field, pem_with_trust, set_field, step, text,
};
use crate::phases::{Act, Outcome, Part, Phase, WayBack, workloads};
use crate::rotation::{Rotation, Trust, decode_pem};
use crate::spec::{ConsumerMode, ConsumerPlace};
use crate::state::{Draft, ObjectId, State};

/// The phase.
pub const PHASE: Phase = Phase {
    number: 9,
    name: "extension-trust",
    act: Act::Widen,
    page_step: "9.1",
    title: "webhooks, APIServices, CRD conversion and declared consumers trust both CAs",
    why: "A `caBundle` that holds the old CA is widened before a handler's certificate can change in \
          14. Handlers and aggregated API servers start anew, so that they trust the new CAs which \
          API servers present from 14 on.",
    way_back: WayBack::until(
        14,
        "restores the bundles.",
        "servers that changed to a certificate of the new CA by themselves: API servers do \
         not believe them any more. A workload that was rolled for these bundles rolls once \
         more.",
    ),
    run,
};

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let files = step(
        before,
        "widen declared files",
        Part::Nodes { serial: false },
        Vec::new(),
        |draft| change_consumer_files(rotation, draft, Trust::Widened),
    )?;
    let mut last = files.as_ref().map_or(before, |s| &s.after).clone();
    outcome.steps.extend(files);
    let mut restarts = workloads::behind_services(before, &services(before));
    restarts.extend(declared_restarts(rotation, before, ConsumerMode::Bundle));
    let objects = step(
        &last,
        "widen CA bundles in objects",
        Part::Cluster,
        Vec::new(),
        |draft| {
            change_ca_bundles(rotation, draft, Trust::Widened)?;
            change_consumer_objects(rotation, draft, ConsumerMode::Bundle, Trust::Widened)
        },
    )?;
    if let Some(step) = &objects {
        last = step.after.clone();
    } else {
        outcome
            .absent
            .push("No webhook, APIService or CRD holds a CA that is rotated.".into());
    }
    outcome.steps.extend(objects);
    let rolled = restarts.step(
        rotation,
        &PHASE,
        &last,
        "roll handlers and aggregated API servers",
    )?;
    if rolled.is_none() {
        outcome
            .absent
            .push("No workload in the snapshot stands behind a webhook or an APIService.".into());
    }
    outcome.steps.extend(rolled);
    outcome.notes.extend(restarts.notes);
    Ok(outcome)
}

/// The `caBundle`s of an object: paths of keys; a number picks an item of a list.
fn ca_bundle_paths(id: &ObjectId, object: &Value) -> Vec<Vec<String>> {
    let fixed = |path: &[&str]| vec![path.iter().map(ToString::to_string).collect::<Vec<_>>()];
    match &*id.kind {
        "validatingwebhookconfigurations" | "mutatingwebhookconfigurations" => {
            let count = field(object, &["webhooks"])
                .and_then(Value::as_array)
                .map_or(0, Vec::len);
            (0..count)
                .map(|i| {
                    ["webhooks", &i.to_string(), "clientConfig", "caBundle"]
                        .map(String::from)
                        .to_vec()
                })
                .collect()
        }
        "apiservices" => fixed(&["spec", "caBundle"]),
        "customresourcedefinitions" => {
            fixed(&["spec", "conversion", "webhook", "clientConfig", "caBundle"])
        }
        _ => Vec::new(),
    }
}

/// The kinds that carry a `caBundle`.
pub const BUNDLE_KINDS: [&str; 4] = [
    "apiservices",
    "customresourcedefinitions",
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
];

/// Changes the trust in every `caBundle`.
pub fn change_ca_bundles(rotation: &Rotation, draft: &mut Draft, trust: Trust) -> Result<()> {
    for kind in BUNDLE_KINDS {
        let objects: Vec<_> = draft
            .now()
            .objects_of(kind)
            .map(|(id, o)| (id.clone(), o.clone()))
            .collect();
        for (id, object) in objects {
            for path in ca_bundle_paths(&id, &object) {
                let pointer = format!("/{}", path.join("/"));
                let Some(pem) = object
                    .pointer(&pointer)
                    .and_then(Value::as_str)
                    .and_then(decode_pem)
                else {
                    continue;
                };
                let label = format!("snapshot/cluster/{kind}.yaml");
                if let Some(changed) = pem_with_trust(rotation, &pem, &label, trust)? {
                    draft.change_object(&id, |o| {
                        if let Some(at) = o.pointer_mut(&pointer) {
                            *at = json!(BASE64.encode(changed));
                        }
                    });
                }
            }
        }
    }
    Ok(())
}

/// The Services that API servers call as webhooks or aggregated API servers.
fn services(state: &State) -> BTreeSet<(String, String)> {
    let mut out = BTreeSet::new();
    for kind in BUNDLE_KINDS {
        for (_, object) in state.objects_of(kind) {
            collect_services(object, &mut out);
        }
    }
    out
}

/// Every `service: {namespace, name}` in a value.
fn collect_services(value: &Value, out: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(map) => {
            if let Some(service) = map.get("service")
                && let (Some(namespace), Some(name)) =
                    (text(service, &["namespace"]), text(service, &["name"]))
            {
                out.insert((namespace.to_owned(), name.to_owned()));
            }
            map.values().for_each(|v| collect_services(v, out));
        }
        Value::Array(items) => items.iter().for_each(|v| collect_services(v, out)),
        _ => {}
    }
}

/// Changes the trust in the declared consumers' objects.
pub fn change_consumer_objects(
    rotation: &Rotation,
    draft: &mut Draft,
    mode: ConsumerMode,
    trust: Trust,
) -> Result<()> {
    for consumer in rotation
        .spec
        .trust_consumers
        .iter()
        .filter(|c| c.mode == mode)
    {
        let ConsumerPlace::Object {
            kind,
            namespace,
            name,
            key,
        } = &consumer.at
        else {
            continue;
        };
        let id = ObjectId::new(kind, namespace, name);
        let Some(value) = draft
            .now()
            .object(&id)
            .and_then(|o| text(o, &["data", key]))
        else {
            continue;
        };
        let label = format!("snapshot/cluster/{kind}.yaml");
        if let Some(changed) = consumer_with_trust(rotation, value, &label, trust)? {
            draft.change_object(&id, |o| set_field(o, &["data", key], json!(changed)));
        }
    }
    Ok(())
}

/// Changes the trust in the declared consumers' files that can hold a bundle.
pub fn change_consumer_files(rotation: &Rotation, draft: &mut Draft, trust: Trust) -> Result<()> {
    change_files_of(rotation, draft, ConsumerMode::Bundle, trust)
}

/// Changes the trust in the declared consumers' files of one mode.
pub fn change_files_of(
    rotation: &Rotation,
    draft: &mut Draft,
    mode: ConsumerMode,
    trust: Trust,
) -> Result<()> {
    let nodes: Vec<_> = draft.now().nodes.keys().cloned().collect();
    for consumer in rotation
        .spec
        .trust_consumers
        .iter()
        .filter(|c| c.mode == mode)
    {
        let ConsumerPlace::File { path } = &consumer.at else {
            continue;
        };
        for node in &nodes {
            edit_file(draft, node, path, |text, label| {
                consumer_with_trust(rotation, text, label, trust)
            })?;
        }
    }
    Ok(())
}

/// The workloads that declared consumers name for a restart.
pub fn declared_restarts(
    rotation: &Rotation,
    state: &State,
    mode: ConsumerMode,
) -> workloads::Restarts {
    let mut out = workloads::Restarts::default();
    for consumer in rotation
        .spec
        .trust_consumers
        .iter()
        .filter(|c| c.mode == mode)
    {
        for workload in &consumer.restart {
            let id = ObjectId::from(workload);
            if state.object(&id).is_some() {
                out.rolled.insert(id);
            }
        }
    }
    out
}
