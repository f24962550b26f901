//! Whose pods run, and what they get mounted.
//!
//! Knows the shapes of workloads and pods. It must not know trust.

use serde_json::Value;

use crate::layout::{PodSpec, workload_of};
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
    /// What the pods' spec says.
    pub fn pod(&self) -> PodSpec<'_> {
        PodSpec::new(&self.id.namespace, self.spec)
    }
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
