//! Silence is an error: after the last phase no old CA and nothing signed by one may be anywhere in
//! the cluster, unless cluster.toml accounts for it.
//!
//! This looks at the last State as a whole and knows nothing of what any phase meant to do. So a CA
//! that no rule reaches is found wherever it hides, at whatever depth of encoding. In the same way it
//! looks at the State before the first certificate of a new CA is used: what people and pods are given
//! to trust must hold the new CA by then, whether the proof sees a reader of it or not.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashSet;
use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::edit::embedded;
use crate::edit::kubeconfig::{CaSource, Kubeconfig, looks_like_kubeconfig};
use crate::layout::{SERVING_SIGNER, snapshot_file};
use crate::pki::Certificate;
use crate::rotation::{Rotation, decode_lines, is_unused_kubelet_pem};
use crate::spec::{ConsumerMode, ConsumerPlace, quoted};
use crate::state::{ObjectId, State, address};

/// The annotation in which `kubectl apply` keeps what was applied last: trusted by nothing, but the
/// sign of a source file that will bring the old CA back.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Kinds whose objects are records, not configuration: certificates in them are used by nobody from
/// there.
const RECORDS: [&str; 2] = ["certificatesigningrequests", "events"];

/// What the check found that is no error.
#[derive(Default)]
pub struct Coverage {
    /// Objects whose source (what `kubectl apply` was given) still holds the old CA.
    pub stale_sources: BTreeSet<ObjectId>,
    /// Dated kubelet certificates that nothing uses, by file.
    pub unused: Vec<String>,
}

/// Searches the last state.
pub fn check(rotation: &Rotation, last: &State) -> Result<Coverage> {
    let mut out = Coverage::default();
    let external: BTreeSet<&str> = rotation
        .spec
        .external_leaves
        .iter()
        .map(|l| l.fingerprint.as_str())
        .collect();
    let judge = |text: &str, declare: &dyn Fn() -> String| -> Result<()> {
        for found in embedded::find_embedded_certificates(text, "") {
            let Ok(certificate) = Certificate::from_der(&found.der) else {
                continue;
            };
            judge_one(rotation, &external, &certificate, &found.place, declare)?;
        }
        Ok(())
    };
    let settled = Settled::default();
    let of_nodes = last.look_at_nodes(|node, files| {
        let mut unused = Vec::new();
        for (path, file) in files.regular_files() {
            if !rotation.start.nodes[node].files.contains_key(path) {
                return Err(left_behind(&snapshot_file(node, path)));
            }
            let unused_pem = is_unused_kubelet_pem(files, path);
            if !unused_pem && settled.has(&file.text) {
                continue;
            }
            if !may_hold_certificates(&file.text) {
                settled.add(&file.text);
                continue;
            }
            let label = snapshot_file(node, path);
            if unused_pem {
                unused.push(label);
                continue;
            }
            let declare = || {
                format!(
                    "[[trust_consumer]]\nfile = {}\nmode = \"{}\"",
                    quoted(path.as_str()),
                    mode_for(&file.text)
                )
            };
            judge(&file.text, &declare).map_err(|e| relabel(e, &label))?;
            settled.add(&file.text);
        }
        Ok(unused)
    })?;
    out.unused = of_nodes.into_iter().flatten().collect();
    for (user, text) in &last.users {
        let label = format!("snapshot/users/{user}.kubeconfig");
        let declare = || "# carota has no way to declare a user's file".to_owned();
        judge(text, &declare).map_err(|e| relabel(e, &label))?;
    }
    texts_of_objects(last, |id, path, text| {
        if path.last().is_some_and(|key| key == LAST_APPLIED) {
            if judge(text, &String::new).is_err() {
                out.stale_sources.insert(id.clone());
            }
            return Ok(());
        }
        let declare = || declaration(id, path, text);
        judge(text, &declare).map_err(|e| {
            let label = format!("snapshot/cluster/{}.yaml", id.kind);
            let mut error = relabel(e, &label);
            error.reason = format!("{} ({id}, {})", error.reason, path.join("."));
            error.place = Some(Place::start_of(&label));
            error
        })
    })?;
    Ok(out)
}

/// Texts in which nothing was found, by where they lie in memory: the state keeps them there, and the same one stands on
/// thousands of nodes.
#[derive(Default)]
struct Settled(Mutex<FxHashSet<usize>>);

impl Settled {
    fn texts(&self) -> MutexGuard<'_, FxHashSet<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, text: &Arc<str>) -> bool {
        self.texts().contains(&address(text))
    }

    fn add(&self, text: &Arc<str>) {
        self.texts().insert(address(text));
    }
}

/// A file that the rotation brought is there when it has ended.
fn left_behind(label: &str) -> Diagnostic {
    Diagnostic::new(
        Code::UnaccountedCa,
        "the rotation would bring this file and leave it there",
        "this is an error in carota: please report it, with the layout of this node",
    )
    .at(Place::start_of(label))
}

/// Searches the last state before a certificate of a new CA is used: objects, and the trust inside
/// kubeconfigs. Files of trust have a name of their own while they are widened, and the proof sees
/// their readers.
pub fn check_wide(rotation: &Rotation, wide: &State) -> Result<()> {
    let settled = Settled::default();
    wide.look_at_nodes(|node, files| {
        for (path, file) in files.regular_files() {
            if settled.has(&file.text) {
                continue;
            }
            let embedded = !file.text.contains("-----BEGIN CERTIFICATE");
            if embedded && may_hold_certificates(&file.text) {
                if is_unused_kubelet_pem(files, path) {
                    continue;
                }
                judge_wide(rotation, &file.text, &snapshot_file(node, path))?;
            }
            settled.add(&file.text);
        }
        Ok(())
    })?;
    for (user, text) in &wide.users {
        judge_wide(rotation, text, &format!("snapshot/users/{user}.kubeconfig"))?;
    }
    texts_of_objects(wide, |id, path, text| {
        let passed_over = path.last().is_some_and(|key| key == LAST_APPLIED);
        if passed_over || holds_one(rotation, id, path) {
            return Ok(());
        }
        judge_wide(rotation, text, &format!("{id}, {}", path.join(".")))
    })
}

/// Calls `visit` with every text of the objects that may hold certificates, and its path; what is a record, or
/// published by its controller, is passed over.
pub fn texts_of_objects(
    state: &State,
    mut visit: impl FnMut(&ObjectId, &[String], &str) -> Result<()>,
) -> Result<()> {
    for (id, object) in &state.objects {
        if RECORDS.contains(&&*id.kind) || is_published_bundle(id, object) {
            continue;
        }
        walk(object, &mut Vec::new(), &mut |path, text| {
            if may_hold_certificates(text) {
                visit(id, path, text)
            } else {
                Ok(())
            }
        })?;
    }
    Ok(())
}

/// Whether this key of an object was declared to hold one certificate only.
fn holds_one(rotation: &Rotation, id: &ObjectId, path: &[String]) -> bool {
    let consumers = rotation.spec.trust_consumers.iter();
    let mut single = consumers.filter(|consumer| consumer.mode == ConsumerMode::Replace);
    single.any(|consumer| match &consumer.at {
        ConsumerPlace::Object {
            kind,
            namespace,
            name,
            key,
        } => {
            **kind == *id.kind
                && **namespace == *id.namespace
                && **name == *id.name
                && path.last() == Some(key)
        }
        ConsumerPlace::File { .. } => false,
    })
}

fn judge_wide(rotation: &Rotation, text: &str, label: &str) -> Result<()> {
    let trusted = trusted_in(text);
    let mut narrow = rotation.cas.values().filter(|pair| {
        trusted.iter().any(|one| {
            one.iter().any(|certificate| pair.is_old(certificate)) && !one.contains(&pair.new)
        })
    });
    narrow.next().map_or(Ok(()), |pair| {
        Err(Diagnostic::new(
            Code::UnaccountedCa,
            format!(
                "the old {} CA would stand here without the new one when certificates of the new one come into use",
                pair.name
            ),
            "this is an error in carota: please report it, with the shape of this file or object",
        )
        .at(Place::start_of(label)))
    })
}

/// What the readers of a text trust: one list for each of them.
fn trusted_in(text: &str) -> Vec<Vec<Certificate>> {
    let decoded = decode_lines(text).and_then(|bytes| String::from_utf8(bytes).ok());
    let plain = decoded.as_deref().unwrap_or(text);
    if looks_like_kubeconfig(plain)
        && let Ok(kubeconfig) = Kubeconfig::parse(plain, "")
    {
        // Its users' certificates are no trust, wherever they stand.
        let of_clusters = kubeconfig.clusters.iter().filter_map(|c| match &c.ca {
            CaSource::Data(pem) => Some(certificates_in(&String::from_utf8_lossy(pem))),
            _ => None,
        });
        return of_clusters.collect();
    }
    let found = certificates_in(text);
    // A chain ends in its CA, and is no trust.
    if found.first().is_some_and(|first| !first.is_ca()) {
        return Vec::new();
    }
    vec![found]
}

/// The certificates in a text, in any encoding, in the order of their places. What cannot be decoded is none.
#[must_use]
pub fn certificates_in(text: &str) -> Vec<Certificate> {
    embedded::find_embedded_certificates(text, "")
        .into_iter()
        .filter_map(|found| Certificate::from_der(&found.der).ok())
        .collect()
}

/// The ClusterTrustBundle that the controller manager publishes beside `kube-root-ca.crt`: it follows
/// `--root-ca-file`, under a new name each time
/// (pkg/controller/certificates/clustertrustbundlepublisher).
pub fn is_published_bundle(id: &ObjectId, object: &Value) -> bool {
    &*id.kind == "clustertrustbundles"
        && object.pointer("/spec/signerName").and_then(Value::as_str) == Some(SERVING_SIGNER)
}

/// Cheap: whether a text is worth searching. A certificate in any encoding shows as a long run of
/// base64, even where it is folded over lines.
#[must_use]
pub fn may_hold_certificates(text: &str) -> bool {
    /// Shorter than any line that base64 is folded into.
    const RUN: usize = 48;
    let in_base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    text.contains("BEGIN CERTIFICATE")
        || text
            .as_bytes()
            .split(|b| !in_base64(*b))
            .any(|run| run.len() >= RUN)
}

fn relabel(mut error: Diagnostic, label: &str) -> Diagnostic {
    if let Some(place) = &mut error.place {
        label.clone_into(&mut place.file);
    }
    error
}

fn declaration(id: &ObjectId, path: &[String], text: &str) -> String {
    match path {
        [data, key] if data == "data" && !id.namespace.is_empty() => format!(
            "[[trust_consumer]]\nobject = {}\nkey = {}\nmode = \"{}\"\nrestart = []",
            quoted(&id.to_string()),
            quoted(key),
            mode_for(text)
        ),
        _ => "# only keys below `data` can be declared; change the object by hand, then collect again"
            .to_owned(),
    }
}

/// What can hold the certificate in this text: DER holds one, everything else several.
fn mode_for(text: &str) -> &'static str {
    let mut text = text.to_owned();
    loop {
        let Some(bytes) = decode_lines(&text) else {
            return "bundle";
        };
        match String::from_utf8(bytes) {
            Ok(inner) => text = inner,
            Err(_) => return "replace",
        }
    }
}

fn judge_one(
    rotation: &Rotation,
    external: &BTreeSet<&str>,
    certificate: &Certificate,
    place: &Place,
    declare: &dyn Fn() -> String,
) -> Result<()> {
    if let Some(pair) = rotation.old_ca(certificate) {
        return Err(Diagnostic::new(
            Code::UnaccountedCa,
            format!(
                "the old {} CA is here, and no rule accounts for it",
                pair.name
            ),
            format!("declare it in cluster.toml:\n\n{}\n", declare()),
        )
        .at(place.clone()));
    }
    let signer = rotation.cas.values().find(|pair| {
        certificate.issuer_der() == pair.old.subject_der() && certificate.signed_by(&pair.old)
    });
    match signer {
        Some(pair) if !external.contains(certificate.fingerprint()) => Err(Diagnostic::new(
            Code::UnknownLeaf,
            format!(
                "a certificate of the old {} CA for `{}` is here, and no rule re-issues it",
                pair.name,
                certificate.subject()
            ),
            format!(
                "declare who re-issues it, in cluster.toml:\n\n[[external_leaf]]\nfingerprint = \"{}\"\nowner = \"…\"\n",
                certificate.fingerprint()
            ),
        )
        .at(place.clone())),
        _ => Ok(()),
    }
}

/// Calls `visit` with the path and value of every text in a JSON value.
fn walk(
    value: &Value,
    path: &mut Vec<String>,
    visit: &mut impl FnMut(&[String], &str) -> Result<()>,
) -> Result<()> {
    match value {
        Value::String(text) => visit(path, text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                walk(item, path, visit)?;
                path.pop();
            }
            Ok(())
        }
        Value::Object(map) => {
            for (key, item) in map {
                path.push(key.clone());
                walk(item, path, visit)?;
                path.pop();
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
