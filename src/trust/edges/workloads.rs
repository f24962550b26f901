//! Whose pods run, and what they get mounted.
//!
//! Knows the shapes of workloads and pods. It must not know trust.

use serde_json::Value;

use crate::layout::workload_of;
use crate::state::{ObjectId, State};

/// Pods of one making.
pub struct Workload<'s> {
    /// The workload, or the pod that no other rolls.
    pub id: ObjectId,
    /// The pods' spec.
    pub spec: &'s Value,
    /// Whether its pods stay; those of a `CronJob` come and go.
    pub lasting: bool,
}

impl Workload<'_> {
    pub(super) fn account(&self) -> &str {
        let text = |key: &str| self.spec.get(key).and_then(Value::as_str);
        text("serviceAccountName")
            .or_else(|| text("serviceAccount"))
            .unwrap_or("default")
    }

    /// Whether its pods get a ServiceAccount's token and CA, or mount the CA by themselves.
    pub(super) fn uses_api(&self, state: &State) -> bool {
        let of_account = state
            .object(&ObjectId::new(
                "serviceaccounts",
                &self.id.namespace,
                self.account(),
            ))
            .and_then(|a| a.get("automountServiceAccountToken"))
            .and_then(Value::as_bool);
        let of_pod = self
            .spec
            .get("automountServiceAccountToken")
            .and_then(Value::as_bool);
        of_pod.or(of_account).unwrap_or(true) || self.volumes().any(holds_credentials)
    }

    fn volumes(&self) -> impl Iterator<Item = &Value> {
        let volumes = self.spec.get("volumes").and_then(Value::as_array);
        volumes.into_iter().flatten()
    }

    pub(super) fn mounts_secret(&self, name: &str) -> bool {
        self.volumes().any(|volume| {
            volume.pointer("/secret/secretName").and_then(Value::as_str) == Some(name)
                || sources(volume)
                    .any(|s| s.pointer("/secret/name").and_then(Value::as_str) == Some(name))
        })
    }

    pub(super) fn mounts_token_secret(&self, state: &State) -> bool {
        state.objects_of("secrets").any(|(id, secret)| {
            id.namespace == self.id.namespace
                && secret.get("type").and_then(Value::as_str)
                    == Some("kubernetes.io/service-account-token")
                && self.mounts_secret(&id.name)
        })
    }
}

fn sources(volume: &Value) -> impl Iterator<Item = &Value> {
    volume
        .pointer("/projected/sources")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn holds_credentials(volume: &Value) -> bool {
    let root = |v: &Value, pointer: &str| {
        v.pointer(pointer).and_then(Value::as_str) == Some("kube-root-ca.crt")
    };
    root(volume, "/configMap/name")
        || sources(volume)
            .any(|s| s.get("serviceAccountToken").is_some() || root(s, "/configMap/name"))
}

/// Everything whose pods run: workloads with pods, and pods that none of them makes.
pub fn workloads(state: &State) -> Vec<Workload<'_>> {
    let mut out = Vec::new();
    for kind in ["daemonsets", "deployments", "statefulsets"] {
        for (id, object) in state.objects_of(kind) {
            let none = object.pointer("/spec/replicas").and_then(Value::as_u64) == Some(0);
            if let Some(spec) = object.pointer("/spec/template/spec").filter(|_| !none) {
                out.push(Workload {
                    id: id.clone(),
                    spec,
                    lasting: true,
                });
            }
        }
    }
    for (id, object) in state.objects_of("cronjobs") {
        if let Some(spec) = object.pointer("/spec/jobTemplate/spec/template/spec") {
            out.push(Workload {
                id: id.clone(),
                spec,
                lasting: false,
            });
        }
    }
    for (id, object) in state.objects_of("pods") {
        let ended = object.pointer("/status/phase").and_then(Value::as_str);
        if matches!(ended, Some("Succeeded" | "Failed")) || is_made_by_workload(state, object) {
            continue;
        }
        if let Some(spec) = object.get("spec") {
            out.push(Workload {
                id: id.clone(),
                spec,
                lasting: true,
            });
        }
    }
    out
}

/// Whether a pod is one of a workload's, or a static pod's mirror.
fn is_made_by_workload(state: &State, pod: &Value) -> bool {
    let owner = pod.pointer("/metadata/ownerReferences/0/kind");
    owner.and_then(Value::as_str) == Some("Node")
        || workload_of(pod).is_some_and(|id| state.object(&id).is_some())
}
