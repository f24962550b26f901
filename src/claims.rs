//! What cluster.toml claims of the cluster, held against the snapshot: workloads to restart, copies of a CA,
//! certificates of others, the API's endpoint, the version. A name that means nothing there is a slip of the pen, and a
//! plan that passes over it would leave undone what somebody meant to have done.
//!
//! Knows the description and the snapshot, and nothing of the rotation. What it cannot tell it does not refuse.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::coverage::{certificates_in, may_hold_certificates, texts_of_objects};
use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::edit::kubeconfig::{Kubeconfig, looks_like_kubeconfig};
use crate::layout::{self, Component, Program, snapshot_file};
use crate::phases::ROLLED_KINDS;
use crate::pki::{self, Certificate};
use crate::spec::{ConsumerPlace, Role, Spec, TrustConsumer, Version, Workload};
use crate::state::{ObjectId, State};
use crate::trust::host_of;

/// How alike a name must be to be suggested.
const NEAR: f32 = 0.6;

/// Refuses what the snapshot contradicts, at its place in cluster.toml.
pub fn check(spec: &Spec, state: &State) -> Result<()> {
    for consumer in &spec.trust_consumers {
        check_consumer(consumer, state)?;
        for workload in &consumer.restart {
            check_workload(workload, state)?;
        }
    }
    check_leaves(spec, state)?;
    check_version(spec, state)?;
    check_endpoint(spec, state)
}

fn contradicted(reason: String, remedy: String, place: &Place) -> Diagnostic {
    Diagnostic::new(Code::NotInCluster, reason, remedy).at(place.clone())
}

/// The nearest of some names, as a question; else `otherwise`.
fn suggestion(name: &str, names: &[String], otherwise: &str) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match similar::get_close_matches(name, &names, 1, NEAR).first() {
        Some(near) => format!("did you mean `{near}`?"),
        None => otherwise.to_owned(),
    }
}

fn check_consumer(consumer: &TrustConsumer, state: &State) -> Result<()> {
    match &consumer.at {
        ConsumerPlace::Object {
            kind,
            namespace,
            name,
            key,
        } => {
            let id = ObjectId::new(kind, namespace, name);
            let Some(object) = state.object(&id) else {
                let known = ["configmaps", "secrets"].into_iter();
                let known = known.flat_map(|kind| state.objects_of(kind));
                let known: Vec<String> = known.map(|(id, _)| id.to_string()).collect();
                return Err(contradicted(
                    format!("the snapshot has no object `{id}`"),
                    suggestion(
                        &id.to_string(),
                        &known,
                        "name one of the snapshot, or remove this [[trust_consumer]] if it is gone",
                    ),
                    &consumer.place,
                ));
            };
            let data = object.get("data").and_then(Value::as_object);
            let keys: Vec<String> = data.into_iter().flat_map(|d| d.keys().cloned()).collect();
            if keys.contains(key) {
                return Ok(());
            }
            let otherwise = if keys.is_empty() {
                "it has no `data`: name another object, or remove this [[trust_consumer]]"
                    .to_owned()
            } else {
                format!("its keys are {}", keys.join(", "))
            };
            Err(contradicted(
                format!("`{id}` has no key `{key}` below `data`"),
                suggestion(key, &keys, &otherwise),
                &consumer.key_place,
            ))
        }
        ConsumerPlace::File { path } => {
            let mut nodes = state.nodes.values();
            if nodes.any(|node| node.files.contains_key(path)) {
                return Ok(());
            }
            let mut known = BTreeSet::new();
            for node in state.nodes.values() {
                let files = node.files.iter().map(|(path, _)| path);
                known.extend(
                    files
                        .filter(|p| p.file_name() == path.file_name())
                        .map(ToString::to_string),
                );
            }
            let known: Vec<String> = known.into_iter().collect();
            Err(contradicted(
                format!("the snapshot has no file {path} on any node"),
                suggestion(
                    path.as_str(),
                    &known,
                    "write the path that the nodes have, or remove this [[trust_consumer]] if it is gone",
                ),
                &consumer.place,
            ))
        }
    }
}

fn check_workload(workload: &Workload, state: &State) -> Result<()> {
    let Workload { kind, place, .. } = workload;
    let id = ObjectId::from(workload);
    let rolled = ROLLED_KINDS.contains(&kind.as_str());
    if rolled && state.object(&id).is_some() {
        return Ok(());
    }
    let known = ROLLED_KINDS.iter().flat_map(|kind| state.objects_of(kind));
    let known: Vec<String> = known.map(|(id, _)| id.to_string()).collect();
    let kinds = ROLLED_KINDS.map(|kind| format!("`{kind}`")).join(", ");
    let (reason, otherwise) = if rolled {
        (
            format!("the snapshot has no workload `{id}`"),
            "name one of the snapshot, or remove it if it is gone".to_owned(),
        )
    } else {
        (
            format!("`{kind}` is no kind of workload that carota can restart"),
            format!("the kinds are {kinds}"),
        )
    };
    let near = suggestion(&id.to_string(), &known, &otherwise);
    Err(contradicted(reason, near, place))
}

/// Every certificate that somebody else re-issues is in the snapshot.
fn check_leaves(spec: &Spec, state: &State) -> Result<()> {
    if spec.external_leaves.is_empty() {
        return Ok(());
    }
    let found = certificates(state)?;
    let found: BTreeSet<&str> = found.iter().map(Certificate::fingerprint).collect();
    let mut leaves = spec.external_leaves.iter();
    let unknown = leaves.find(|leaf| !found.contains(leaf.fingerprint.as_str()));
    unknown.map_or(Ok(()), |leaf| {
        Err(contradicted(
            "no certificate in the snapshot has this fingerprint".to_owned(),
            "copy it from the message that asked for it; remove this [[external_leaf]] if the certificate was replaced or is gone"
                .to_owned(),
            &leaf.place,
        ))
    })
}

/// Every certificate that lies anywhere, trust included. What cannot be decoded is for others to refuse.
fn certificates(state: &State) -> Result<Vec<Certificate>> {
    let in_text = |text: &str| {
        let found = may_hold_certificates(text).then(|| certificates_in(text));
        found.unwrap_or_default()
    };
    let of_nodes = state.look_at_nodes(|_, files| {
        let texts = files.regular_files().map(|(_, file)| in_text(&file.text));
        Ok::<_, Diagnostic>(texts.flatten().collect::<Vec<_>>())
    })?;
    let mut out: Vec<Certificate> = of_nodes.into_iter().flatten().collect();
    out.extend(state.users.values().flat_map(|text| in_text(text)));
    texts_of_objects(state, |_, _, text| {
        out.extend(in_text(text));
        Ok(())
    })?;
    Ok(out)
}

/// The version is one that runs there: a plan for another one knows other rules of what is read again when.
fn check_version(spec: &Spec, state: &State) -> Result<()> {
    /// Kubelets may be so many minor versions older than API servers (Kubernetes' version skew policy).
    const SKEW: u32 = 3;
    let mut servers = BTreeSet::new();
    for server in api_servers(state)? {
        servers.extend(server.image().and_then(version_of_image));
    }
    let of_node = |object: &Value| {
        let version = object
            .pointer("/status/nodeInfo/kubeletVersion")?
            .as_str()?;
        Version::parse(version)
    };
    let kubelets: BTreeSet<Version> = state
        .objects_of("nodes")
        .filter_map(|(_, object)| of_node(object))
        .collect();
    let seen: BTreeSet<Version> = servers.union(&kubelets).copied().collect();
    let (Some(oldest), Some(newest)) = (seen.first(), seen.last()) else {
        return Ok(());
    };
    // What no image says may be newer than the kubelets.
    let beyond = if servers.is_empty() { SKEW } else { 0 };
    let minor = |version: &Version| (version.major, version.minor);
    let last = (newest.major, newest.minor.saturating_add(beyond));
    if (minor(oldest)..=last).contains(&minor(&spec.kubernetes)) {
        return Ok(());
    }
    let named = |versions: &BTreeSet<Version>| {
        let all: Vec<String> = versions.iter().map(ToString::to_string).collect();
        all.join(", ")
    };
    let says = match (servers.is_empty(), kubelets.is_empty()) {
        (false, false) => format!(
            "API servers of {} and kubelets of {}",
            named(&servers),
            named(&kubelets)
        ),
        (false, true) => format!("API servers of {}", named(&servers)),
        _ => format!("kubelets of {}", named(&kubelets)),
    };
    let right = servers.first().unwrap_or(oldest);
    Err(contradicted(
        format!(
            "the cluster is not of Kubernetes {}: the snapshot has {says}",
            spec.kubernetes
        ),
        format!("write `{right}`, or take the snapshot again if the cluster was upgraded since"),
        &spec.kubernetes_place,
    ))
}

/// The API servers of the nodes that are declared to run one: nobody has looked at the others yet, of which there may be
/// thousands.
fn api_servers(state: &State) -> Result<Vec<Arc<Component>>> {
    let mut out = Vec::new();
    for node in state.nodes_with(Role::ControlPlane) {
        let components = layout::components(state, node)?.into_iter();
        out.extend(components.filter(|c| c.program == Program::Apiserver));
    }
    Ok(out)
}

/// The version in the tag of an image: `registry/kube-apiserver:v1.34.4@sha256:…`.
fn version_of_image(image: &str) -> Option<Version> {
    let tagged = image.split('@').next()?;
    let (_, tag) = tagged.rsplit_once(':')?;
    Version::parse(tag)
}

/// Somebody can be reached by the endpoint's name: an API server that serves it, or else whoever ends TLS before them,
/// whose certificate is in the snapshot or whom a kubeconfig there dials. By any other name no connection could be
/// verified, and phase 16 would wait for one in vain.
fn check_endpoint(spec: &Spec, state: &State) -> Result<()> {
    let host = host_of(&spec.endpoint);
    let serving = serving_certificates(state)?;
    // An API server that makes its own certificate serves who knows what.
    let Some(serving) = serving else {
        return Ok(());
    };
    if serving.iter().any(|c| pki::holds_name(c, host)) {
        return Ok(());
    }
    let dialled = dialled(state);
    if dialled
        .iter()
        .any(|server| host_of(server).eq_ignore_ascii_case(host))
    {
        return Ok(());
    }
    let mut others = certificates(state)?.into_iter();
    if others.any(|c| !c.is_ca() && pki::holds_name(&c, host)) {
        return Ok(());
    }
    let local = ["127.0.0.1", "localhost", "::1"];
    let urls: Vec<String> = dialled
        .into_iter()
        .filter(|server| !local.contains(&host_of(server)))
        .collect();
    let names: BTreeSet<String> = serving.iter().flat_map(Certificate::san_text).collect();
    let names: Vec<String> = names.into_iter().collect();
    let otherwise = match urls.first() {
        Some(url) => format!("kubeconfigs of the snapshot use {url}"),
        None => format!("the certificates are for {}", names.join(", ")),
    };
    Err(contradicted(
        format!(
            "no API server can be reached as `{host}`: neither a serving certificate nor a kubeconfig of the snapshot has that name"
        ),
        suggestion(&spec.endpoint, &urls, &otherwise),
        &spec.endpoint_place,
    ))
}

/// The certificates with which API servers serve; None where one of them is not to be seen.
fn serving_certificates(state: &State) -> Result<Option<Vec<Certificate>>> {
    let mut out = Vec::new();
    for server in api_servers(state)? {
        let path = server.host_file("tls-cert-file")?;
        let file = path
            .as_ref()
            .and_then(|path| state.file(&server.node, path));
        let first = file.and_then(|file| {
            let label = "";
            let certificates = pki::certificates_in_pem(&file.text, label).ok()?;
            certificates.into_iter().next()
        });
        let Some(first) = first else {
            return Ok(None);
        };
        out.push(first);
    }
    Ok((!out.is_empty()).then_some(out))
}

/// The URLs of API servers in kubeconfigs of users and nodes, those of users and administrators first.
fn dialled(state: &State) -> Vec<String> {
    let servers = |text: &str, label: &str| -> Vec<String> {
        let parsed = Kubeconfig::parse(text, label);
        let clusters = parsed.map(|parsed| parsed.clusters.clone());
        let clusters = clusters.into_iter().flatten();
        clusters.filter_map(|cluster| cluster.server).collect()
    };
    let mut out = Vec::new();
    for (user, text) in &state.users {
        out.extend(servers(text, &format!("snapshot/users/{user}.kubeconfig")));
    }
    for (node, files) in &state.nodes {
        for (path, file) in files.regular_files() {
            if looks_like_kubeconfig(&file.text) {
                out.extend(servers(&file.text, &snapshot_file(node, path)));
            }
        }
    }
    let mut seen = BTreeSet::new();
    out.retain(|server| seen.insert(server.clone()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_an_image_is_that_of_its_tag() {
        let of = |image| version_of_image(image).map(|v| v.to_string());
        for image in [
            "registry.k8s.io/kube-apiserver:v1.34.4",
            "localhost:5000/kube-apiserver:v1.34.4-rc.1",
            "registry.k8s.io/kube-apiserver:v1.34.4@sha256:0123456789abcdef",
        ] {
            assert_eq!(of(image).as_deref(), Some("1.34.4"), "{image}");
        }
        for image in [
            "localhost:5000/kube-apiserver",
            "kube-apiserver:latest",
            "kube-apiserver@sha256:0123456789abcdef",
        ] {
            assert_eq!(of(image), None, "{image}");
        }
    }
}
