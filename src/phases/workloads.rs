//! Workloads: which pods use the API, which a rolling restart reaches, and how they are rolled.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::tools::{WORKLOAD_ANNOTATION, field, remove_field, set_field, step, text};
use super::{Action, Part, Phase, Step};
use crate::diagnostic::Result;
use crate::layout::PodSpec;
use crate::names::{NodePath, below};
use crate::rotation::Rotation;
use crate::state::{Draft, ObjectId, Process, State};

/// The kinds whose pods are rolled by changing their template.
pub const ROLLED_KINDS: [&str; 3] = ["daemonsets", "deployments", "statefulsets"];
const TEMPLATE: [&str; 2] = ["spec", "template"];
const TEMPLATE_ANNOTATION: [&str; 5] = [
    "spec",
    "template",
    "metadata",
    "annotations",
    WORKLOAD_ANNOTATION,
];

/// Workloads that are to start anew, and how.
#[derive(Default)]
pub struct Restarts {
    /// Rolled by their own controller.
    pub rolled: BTreeSet<ObjectId>,
    /// Not reached by a roll: the reason.
    pub gated: Vec<(ObjectId, String)>,
    /// What the reader should know of the strategy.
    pub notes: Vec<String>,
}

/// Every workload whose pods use the API in-cluster.
pub fn using_api(state: &State) -> Restarts {
    select(state, |pod, _| pod.uses_api(state))
}

/// Every workload whose pods get one of these Secrets.
pub fn getting_secrets(state: &State, secrets: &BTreeSet<ObjectId>) -> Restarts {
    select(state, |pod, _| secrets.iter().any(|id| pod.gets(id)))
}

/// Every workload that mounts one of these files of the host.
pub fn mounting_host_paths(state: &State, paths: &BTreeSet<NodePath>) -> Restarts {
    select(state, |pod, _| {
        pod.host_paths().any(|mounted| {
            paths
                .iter()
                .any(|path| below(path.as_str(), mounted).is_some())
        })
    })
}

/// Every workload behind one of these Services (namespace and name).
pub fn behind_services(state: &State, services: &BTreeSet<(String, String)>) -> Restarts {
    let selectors: Vec<(&str, &serde_json::Map<String, Value>)> = services
        .iter()
        .filter_map(|(namespace, name)| {
            let service = state.object(&ObjectId::new("services", namespace, name))?;
            let selector = field(service, &["spec", "selector"])?.as_object()?;
            (!selector.is_empty()).then_some((namespace.as_str(), selector))
        })
        .collect();
    select(state, |pod, labels| {
        selectors.iter().any(|(of, selector)| {
            *of == pod.namespace
                && selector
                    .iter()
                    .all(|(k, v)| labels.and_then(|l| l.get(k)) == Some(v))
        })
    })
}

/// Selects workloads and pods that none of them makes, by their pods' spec and labels.
fn select(state: &State, wanted: impl Fn(PodSpec<'_>, Option<&Value>) -> bool) -> Restarts {
    let mut out = Restarts::default();
    for kind in ROLLED_KINDS {
        for (id, object) in state.objects_of(kind) {
            let Some(template) = field(object, &TEMPLATE) else {
                continue;
            };
            let Some(spec) = field(template, &["spec"]) else {
                continue;
            };
            let labels = field(template, &["metadata", "labels"]);
            let pod = PodSpec::new(&id.namespace, spec);
            if wanted(pod, labels) && replicas(object) != Some(0) {
                sort_workload(state, &mut out, id, object);
            }
        }
    }
    for (id, pod) in state.objects_of("pods") {
        let Some(spec) = field(pod, &["spec"]) else {
            continue;
        };
        let labels = field(pod, &["metadata", "labels"]);
        if !wanted(PodSpec::new(&id.namespace, spec), labels) || has_ended(pod) {
            continue;
        }
        if let Some(why) = unreached_pod(state, pod) {
            out.gated.push((id.clone(), why));
        }
    }
    out
}

fn replicas(workload: &Value) -> Option<u64> {
    field(workload, &["spec", "replicas"]).and_then(Value::as_u64)
}

fn has_ended(pod: &Value) -> bool {
    matches!(
        text(pod, &["status", "phase"]),
        Some("Succeeded" | "Failed")
    )
}

/// A rolling update reaches a workload, or it does not and the pods are gated on their start times
/// (gap G19).
fn sort_workload(state: &State, out: &mut Restarts, id: &ObjectId, object: &Value) {
    let strategy = text(object, &["spec", "updateStrategy", "type"]);
    let partition = field(
        object,
        &["spec", "updateStrategy", "rollingUpdate", "partition"],
    )
    .and_then(Value::as_u64)
    .unwrap_or(0);
    if strategy == Some("OnDelete") {
        out.gated.push((
            id.clone(),
            "its update strategy is OnDelete: delete its pods one by one".into(),
        ));
    } else if field(object, &["spec", "paused"]).and_then(Value::as_bool) == Some(true) {
        out.gated.push((
            id.clone(),
            "it is paused: resume it, or delete its pods one by one".into(),
        ));
    } else if partition > 0 {
        out.gated.push((
            id.clone(),
            format!("its rolling update stops at partition {partition}: delete the pods below it one by one"),
        ));
    } else {
        out.rolled.insert(id.clone());
        out.notes.extend(budget_note(state, id, object));
    }
}

/// A PodDisruptionBudget that the workload's own strategy may breach: a rolling update does not ask
/// it (gap G19).
fn budget_note(state: &State, id: &ObjectId, object: &Value) -> Option<String> {
    let labels = field(object, &["spec", "template", "metadata", "labels"])?;
    let budget = state
        .objects_of("poddisruptionbudgets")
        .find(|(of, budget)| {
            of.namespace == id.namespace
                && field(budget, &["spec", "selector", "matchLabels"])
                    .and_then(Value::as_object)
                    .is_some_and(|s| s.iter().all(|(k, v)| labels.get(k) == Some(v)))
        })?;
    Some(format!(
        "{id} is covered by PodDisruptionBudget {}, but a rolling update does not ask it: the \
         workload's own strategy decides how many pods are away at once.",
        budget.0.name
    ))
}

/// Why no roll reaches a pod: it has no owner, or one that does not roll.
fn unreached_pod(state: &State, pod: &Value) -> Option<String> {
    let owners = field(pod, &["metadata", "ownerReferences"]).and_then(Value::as_array);
    let Some(owner) = owners.and_then(|owners| owners.first()) else {
        return Some("it has no owner: delete it and create it again".into());
    };
    let (kind, name) = (text(owner, &["kind"])?, text(owner, &["name"])?);
    match kind {
        // Mirror pods: the kubelet restarts them with their manifest.
        "Node" | "DaemonSet" | "StatefulSet" => None,
        "ReplicaSet" => {
            let namespace = text(pod, &["metadata", "namespace"])?;
            let deployed = state.objects_of("deployments").any(|(id, _)| {
                &*id.namespace == namespace && name.starts_with(&format!("{}-", id.name))
            });
            (!deployed).then(|| format!("its ReplicaSet {name} has no Deployment: delete the pod"))
        }
        "Job" => Some(format!(
            "its Job {name} runs to its end: wait for it, or run it again"
        )),
        other => Some(format!(
            "its owner is {other} {name}, which carota does not know: restart it by that"
        )),
    }
}

impl Restarts {
    /// Takes in the workloads of another selection.
    pub fn extend(&mut self, other: Restarts) {
        self.rolled.extend(other.rolled);
        for gated in other.gated {
            if !self.gated.contains(&gated) {
                self.gated.push(gated);
            }
        }
        for note in other.notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }

    /// The step that rolls them: another value of their templates' annotation, and their processes start anew.
    fn rolling(&self, before: &State, title: &str, value: &str) -> Result<Option<Step>> {
        step(before, title, Part::Cluster, self.actions(), |draft| {
            for id in &self.rolled {
                draft.change_object(id, |object| {
                    set_field(object, &TEMPLATE_ANNOTATION, json!(value));
                });
                draft.restart(Process::Workload(id.clone()));
            }
            self.restart_gated(draft);
            Ok(())
        })
    }

    /// What is gated has started anew when the gate lets pass.
    pub fn restart_gated(&self, draft: &mut Draft) {
        for (id, _) in &self.gated {
            draft.restart(Process::Workload(id.clone()));
        }
    }

    /// The step that rolls them, one after another; None where there are none.
    pub fn step(
        &self,
        rotation: &Rotation,
        phase: &Phase,
        before: &State,
        title: &str,
    ) -> Result<Option<Step>> {
        let value = format!("{}-phase-{:02}", rotation.spec.id, phase.number);
        self.rolling(before, title, &value)
    }

    /// The same as the last step of a phase's way back.
    pub fn step_back(
        &self,
        rotation: &Rotation,
        phase: &Phase,
        before: &State,
    ) -> Result<Option<Step>> {
        let title = "roll the workloads that may have the later files in memory";
        let value = format!("{}-phase-{:02}-undone", rotation.spec.id, phase.number);
        self.rolling(before, title, &value)
    }

    /// The rollouts and gates that confirm it.
    pub fn actions(&self) -> Vec<Action> {
        let rollouts = self.rolled.iter().cloned().map(Action::Rollout);
        let gates = self.gated.iter().map(|(object, why)| Action::GatePods {
            object: object.clone(),
            why: why.clone(),
        });
        rollouts.chain(gates).collect()
    }
}

/// The workloads that carry carota's annotation.
pub fn annotated(state: &State) -> BTreeSet<ObjectId> {
    let mut out = BTreeSet::new();
    for kind in ROLLED_KINDS {
        for (id, object) in state.objects_of(kind) {
            if field(object, &TEMPLATE_ANNOTATION).is_some() {
                out.insert(id.clone());
            }
        }
    }
    out
}

/// Takes the annotation off a workload, which rolls it once more. An `annotations` that carota
/// brought goes with it.
pub fn unannotate(rotation: &Rotation, draft: &mut Draft, id: &ObjectId) {
    let had = rotation
        .start
        .object(id)
        .and_then(|o| field(o, &TEMPLATE_ANNOTATION[..4]))
        .is_some();
    draft.change_object(id, |object| {
        remove_field(
            object,
            if had {
                &TEMPLATE_ANNOTATION
            } else {
                &TEMPLATE_ANNOTATION[..4]
            },
        );
    });
    draft.restart(Process::Workload(id.clone()));
}
