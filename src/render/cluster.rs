//! What a phase does with kubectl: the tables CLUSTER and, for the way back, CLUSTER-BACK, and the
//! objects to apply.
//!
//! An object is patched with nothing but the fields that change, waited for where a controller owns it, or
//! pruned. It is not applied: what `kubectl apply --server-side` finds made by `kubectl apply` it takes over
//! whole, and then removes every field that it was not given (kubectl,
//! pkg/cmd/apply/apply.go, `migrateToSSAIfNecessary`; seen on 1.34.4).

use std::collections::BTreeMap;

use crate::digest::sha256;
use crate::layout::{ROOT_CA, is_token};
use crate::phases::{Act, Action, Done, Part, Step};
use crate::rotation::decode_pem;
use crate::state::{ObjectId, State};
use serde_json::{Map, Value, json};

/// Who owns what changes in an object (DESIGN.md, rule 9).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// carota writes the field.
    Applied,
    /// The controller manager writes it; it is waited for.
    Awaited,
    /// API servers publish a union; after the last of them the old part is pruned.
    Pruned,
}

impl Ownership {
    /// One word, for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Ownership::Applied => "applied",
            Ownership::Awaited => "awaited",
            Ownership::Pruned => "pruned",
        }
    }
}

/// Who owns the changes of an object. `fills_tokens`: whether the controller manager writes token
/// Secrets, which it does when it has the key that signs them
/// (`pkg/controller/serviceaccount/tokens_controller.go`).
pub fn ownership(id: &ObjectId, object: &Value, fills_tokens: bool) -> Ownership {
    match (&*id.kind, &*id.name) {
        ("configmaps", ROOT_CA) => Ownership::Awaited,
        ("configmaps", "extension-apiserver-authentication") => Ownership::Pruned,
        ("secrets", _) if fills_tokens && is_token(object) => Ownership::Awaited,
        _ => Ownership::Applied,
    }
}

/// One object as it is patched.
struct Patched {
    file: String,
    text: String,
    /// The kind of patch, as kubectl calls it.
    how: &'static str,
}

/// A phase's part in the cluster.
#[derive(Default)]
pub struct ClusterPart {
    lines: Vec<String>,
    /// What undoes them: the lines that belong together, in the order of the way back.
    back: Vec<Vec<String>>,
    /// What is asked before the way back.
    undoing: Vec<String>,
    applied: BTreeMap<String, String>,
    fills_tokens: bool,
    /// Whether what is gated is gated on the way back too.
    gates_back: bool,
    /// The objects that change, with who owns the change.
    pub objects: Vec<(ObjectId, Ownership)>,
}

/// Derives it from the states on both sides of each cluster step.
pub fn of(done: &Done, fills_tokens: bool) -> ClusterPart {
    let mut out = ClusterPart {
        fills_tokens,
        gates_back: done.phase.gates_back(),
        ..ClusterPart::default()
    };
    let mut before = &done.before;
    // What controllers publish follows the nodes. Where another phase changed those, that phase's way
    // back comes later, and there is nothing to wait for yet.
    let mut follows = false;
    for step in &done.outcome.steps {
        if step.part == Part::Cluster {
            out.take_step(before, &step.after, &step.actions, follows);
        } else {
            follows = true;
        }
        before = &step.after;
    }
    if done.phase.act == Act::Finish {
        out.lines.push(
            "ack\tdestroy-backups\tthe backups on the nodes, which hold the old CA keys, may be \
             destroyed: there is no way back after this\n"
                .into(),
        );
    }
    for asked in &done.outcome.undoing {
        out.undoing
            .push(format!("ack\t{}\t{}\n", asked.name, one_line(&asked.text)));
    }
    if let Some(step) = &done.outcome.back {
        out.take_way_back(&done.before, step);
    }
    out.back.sort_by_key(|lines| rank(lines));
    for note in &done.outcome.notes {
        out.lines.push(format!("note\t{}\n", one_line(note)));
    }
    out
}

impl ClusterPart {
    fn take_step(&mut self, before: &State, after: &State, actions: &[Action], follows: bool) {
        let (mut asks, mut rest): (Vec<_>, Vec<_>) = actions
            .iter()
            .partition(|a| matches!(a, Action::Acknowledge { .. } | Action::Note(_)));
        asks.drain(..).for_each(|action| self.take_action(action));
        let rolled: Vec<&ObjectId> = rest
            .iter()
            .filter_map(|a| match a {
                Action::Rollout(id) => Some(id),
                _ => None,
            })
            .collect();
        let mut published: Option<(String, String)> = None;
        let mut back = Vec::new();
        for id in after.changed_objects(before) {
            let (Some(old), Some(new)) = (before.object(&id), after.object(&id)) else {
                continue;
            };
            let owner = ownership(&id, new, self.fills_tokens);
            self.objects.push((id.clone(), owner));
            match owner {
                Ownership::Applied => {
                    let forth = self.patch(&id, old, new, "");
                    let undo = self.patch(&id, new, old, "back-");
                    self.lines.push(forth);
                    let mut undo = vec![undo];
                    if rolled.contains(&&id) {
                        self.lines.push(rollout(&id));
                        undo.push(rollout(&id));
                    }
                    back.push(undo);
                }
                Ownership::Awaited if &*id.name == ROOT_CA => {
                    let at = |o: &Value| hash_of_text(o, "ca.crt");
                    published = Some((at(new), at(old)));
                }
                Ownership::Awaited => {
                    let at = |o: &Value| wait_for_secret(&id, o);
                    self.lines.push(at(new));
                    if follows {
                        back.push(vec![at(old)]);
                    }
                }
                Ownership::Pruned => self.prune(&id, old, new),
            }
        }
        if let Some((new, old)) = published {
            let line = |hash| format!("wait-ca-all\tconfigmaps\t{ROOT_CA}\tca.crt\t{hash}\n");
            self.lines.push(line(new));
            if follows {
                back.push(vec![line(old)]);
            }
        }
        // What is rolled without a change of its own (nothing today) or gated.
        let applied: Vec<ObjectId> = self.objects.iter().map(|(id, _)| id.clone()).collect();
        rest.retain(|a| !matches!(a, Action::Rollout(id) if applied.contains(id)));
        for action in rest {
            self.take_action(action);
        }
        // The way back undoes the last first.
        back.reverse();
        back.append(&mut self.back);
        self.back = back;
    }

    /// What the way back ends with.
    fn take_way_back(&mut self, before: &State, step: &Step) {
        for id in step.after.changed_objects(before) {
            if let (Some(old), Some(new)) = (before.object(&id), step.after.object(&id)) {
                let patch = self.patch(&id, old, new, "back-roll-");
                self.back.push(vec![patch, rollout(&id)]);
            }
        }
        if self.lines.is_empty() {
            let why = "nothing is done here on the way forth: it is the way back that starts workloads anew";
            self.lines.push(format!("note\t{why}\n"));
        }
        for action in &step.actions {
            if let Action::GatePods { object, why } = action {
                self.back.push(vec![gate_pods(object, why)]);
            }
        }
    }

    fn take_action(&mut self, action: &Action) {
        let line = match action {
            Action::Acknowledge { name, text } => format!("ack\t{name}\t{}\n", one_line(text)),
            Action::Note(text) => format!("note\t{}\n", one_line(text)),
            Action::Rollout(id) => rollout(id),
            Action::GatePods { object, why } => {
                let line = gate_pods(object, why);
                if self.gates_back {
                    self.back.push(vec![line.clone()]);
                }
                line
            }
            Action::GateNodes(nodes) => {
                let file = "cluster/known-nodes".to_owned();
                let text = nodes.iter().map(|n| format!("{n}\n")).collect();
                self.applied.insert(file.clone(), text);
                format!("gate-nodes\t{file}\n")
            }
            Action::ProbeServed {
                address,
                name,
                anchors,
            } => {
                let file = "cluster/new-ca.crt".to_owned();
                self.applied.insert(file.clone(), anchors.clone());
                format!("probe\t{address}\t{name}\t{file}\n")
            }
        };
        if !self.lines.contains(&line) {
            self.lines.push(line);
        }
    }

    /// Adds the file that takes an object from `old` to `new`, and gives its line.
    fn patch(&mut self, id: &ObjectId, old: &Value, new: &Value, prefix: &str) -> String {
        let Patched { file, text, how } = patched(id, old, new, prefix);
        self.applied.insert(file.clone(), text);
        format!("patch\t{file}\t{how}\n")
    }

    fn prune(&mut self, id: &ObjectId, old: &Value, new: &Value) {
        for key in ["client-ca-file", "requestheader-client-ca-file"] {
            let at = |o: &Value| o.pointer(&format!("/data/{key}")).cloned();
            let (Some(Value::String(text)), before) = (at(new), at(old)) else {
                continue;
            };
            if before.as_ref() != Some(&Value::String(text.clone())) {
                let file = format!("cluster/{}.{key}.crt", id.name);
                self.applied.insert(file.clone(), text);
                self.lines.push(format!("prune-auth\t{key}\t{file}\n"));
            }
        }
    }

    /// CLUSTER, CLUSTER-BACK and the files that they name.
    pub fn files(&self) -> Vec<(String, String)> {
        let mut out: Vec<(String, String)> = self
            .applied
            .iter()
            .map(|(path, text)| (path.clone(), text.clone()))
            .collect();
        if !self.lines.is_empty() {
            out.push(("CLUSTER".into(), self.lines.concat()));
        }
        if !self.lines.is_empty() || !self.undoing.is_empty() {
            let back = self.undoing.concat() + &self.back.concat().concat();
            out.push(("CLUSTER-BACK".into(), back));
        }
        out
    }

    /// Whether there is nothing to run in the cluster. What is asked for and noted is shown on either
    /// side.
    pub fn is_empty(&self) -> bool {
        self.back.is_empty()
            && self
                .lines
                .iter()
                .all(|line| line.starts_with("ack\t") || line.starts_with("note\t"))
    }

    /// The notes that its steps make.
    pub fn notes(&self) -> Vec<&str> {
        self.lines
            .iter()
            .filter_map(|line| Some(line.strip_prefix("note\t")?.trim_end()))
            .collect()
    }

    /// The workloads and pods that no roll reaches, `pods/shop/debug`, and why.
    pub fn unreached(&self) -> Vec<(String, &str)> {
        gated(self.lines.iter())
    }

    /// Those among them whose pods must start anew once more when the phase is undone.
    pub fn unreached_back(&self) -> Vec<(String, &str)> {
        gated(self.back.iter().flatten())
    }

    /// The operations, by their first column, counted.
    pub fn counts(&self) -> BTreeMap<&str, usize> {
        let mut out = BTreeMap::new();
        for line in &self.lines {
            *out.entry(line.split('\t').next().unwrap_or_default())
                .or_insert(0) += 1;
        }
        out
    }

    /// The acknowledgements: name and text.
    pub fn acknowledgements(&self) -> Vec<(&str, &str)> {
        self.lines
            .iter()
            .filter_map(|line| line.strip_prefix("ack\t")?.trim_end().split_once('\t'))
            .collect()
    }
}

/// What the `gate-pods` among lines name, and why.
fn gated<'l>(lines: impl Iterator<Item = &'l String>) -> Vec<(String, &'l str)> {
    lines
        .filter_map(|line| line.strip_prefix("gate-pods\t"))
        .map(|line| {
            let columns: Vec<&str> = line.trim_end().split('\t').collect();
            let why = columns.get(3).copied().unwrap_or_default();
            (columns[..columns.len().min(3)].join("/"), why)
        })
        .collect()
}

/// In which turn lines come on the way back: what pods read when they start is there before they are rolled.
fn rank(lines: &[String]) -> u8 {
    let first = lines.first().map_or("", |line| line);
    let rolls = lines.iter().any(|line| line.starts_with("rollout\t"));
    match first.split('\t').next() {
        Some("wait-ca" | "wait-ca-all") => 0,
        Some("gate-pods") => 3,
        _ if rolls => 2,
        _ => 1,
    }
}

fn gate_pods(object: &ObjectId, why: &str) -> String {
    let (kind, namespace, name) = (&object.kind, &object.namespace, &object.name);
    let why = one_line(why);
    format!("gate-pods\t{kind}\t{namespace}\t{name}\t{why}\n")
}

fn rollout(id: &ObjectId) -> String {
    format!("rollout\t{}\t{}\t{}\n", id.kind, id.namespace, id.name)
}

/// Text for one cell of a table.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn hash_of_text(object: &Value, key: &str) -> String {
    let text = object
        .pointer(&format!("/data/{key}"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    sha256(text)
}

fn wait_for_secret(id: &ObjectId, object: &Value) -> String {
    let encoded = object
        .pointer("/data/ca.crt")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let hash = sha256(decode_pem(encoded).unwrap_or_default());
    format!(
        "wait-ca\tsecrets\t{}\t{}\tca.crt\t{hash}\n",
        id.namespace, id.name
    )
}

/// The object with only its identity and the fields that differ; those that are gone as null if they are asked
/// for, as a patch wants them.
pub fn difference(id: &ObjectId, old: &Value, new: &Value, gone: bool) -> Value {
    let mut out = Map::new();
    for key in ["apiVersion", "kind"] {
        if let Some(value) = new.get(key) {
            out.insert(key.into(), value.clone());
        }
    }
    let mut metadata = Map::new();
    metadata.insert("name".into(), json!(&*id.name));
    if !id.namespace.is_empty() {
        metadata.insert("namespace".into(), json!(&*id.namespace));
    }
    out.insert("metadata".into(), Value::Object(metadata));
    if let Some(Value::Object(changed)) = changed_fields(old, new, gone) {
        for (key, value) in changed {
            out.entry(key).or_insert(value);
        }
    }
    Value::Object(out)
}

/// The part of `new` that differs from `old`. Items of lists keep their `name`, by which the API
/// merges them.
fn changed_fields(old: &Value, new: &Value, gone: bool) -> Option<Value> {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            let mut out = Map::new();
            for (key, value) in after {
                let changed = match before.get(key) {
                    Some(old) => changed_fields(old, value, gone),
                    None => Some(value.clone()),
                };
                if let Some(changed) = changed {
                    out.insert(key.clone(), changed);
                }
            }
            if gone {
                let lacking = before.iter().filter(|(key, _)| !after.contains_key(*key));
                out.extend(lacking.map(|(key, value)| (key.clone(), removed(value))));
            }
            (!out.is_empty()).then_some(Value::Object(out))
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            let mut out = Vec::new();
            for (old, new) in before.iter().zip(after) {
                if let Some(Value::Object(mut changed)) = changed_fields(old, new, gone) {
                    if let Some(name) = new.get("name") {
                        changed.insert("name".into(), name.clone());
                    }
                    out.push(Value::Object(changed));
                }
            }
            (!out.is_empty()).then_some(Value::Array(out))
        }
        _ => (old != new).then(|| new.clone()),
    }
}

/// What takes a field away, and of a map each of its keys: others may have put theirs beside them.
fn removed(value: &Value) -> Value {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let keys = map.iter().map(|(key, value)| (key.clone(), removed(value)));
            Value::Object(keys.collect())
        }
        _ => Value::Null,
    }
}

fn patched(id: &ObjectId, old: &Value, new: &Value, prefix: &str) -> Patched {
    let place = [&*id.kind, &*id.namespace, &*id.name]
        .iter()
        .filter(|part| !part.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join(".");
    let patch = difference(id, old, new, true);
    Patched {
        file: format!("cluster/{prefix}{place}.yaml"),
        how: if has_list(&patch) {
            "strategic"
        } else {
            "merge"
        },
        text: to_yaml(&patch),
    }
}

/// Whether a patch changes items of a list, such as a configuration's webhooks: only a strategic patch merges
/// them by their names, and the API knows how for its own kinds.
fn has_list(patch: &Value) -> bool {
    match patch {
        Value::Array(_) => true,
        Value::Object(map) => map.values().any(has_list),
        _ => false,
    }
}

/// A JSON value as YAML, in the order of its keys.
pub fn to_yaml(value: &Value) -> String {
    serde_yaml::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_lists_are_merged_by_their_names() {
        let how = |old: Value, new: Value| {
            let id = ObjectId::new("x", "", "x");
            let line = ClusterPart::default().patch(&id, &old, &new, "");
            line.trim_end().rsplit('\t').next().unwrap().to_owned()
        };
        let at = |bundle| json!({"spec": {"caBundle": bundle, "groups": ["a"]}});
        assert_eq!(how(at("old"), at("new")), "merge");
        let at =
            |bundle| json!({"webhooks": [{"name": "a", "clientConfig": {"caBundle": bundle}}]});
        assert_eq!(how(at("old"), at("new")), "strategic");
    }

    #[test]
    fn an_object_is_patched_with_the_changed_fields_only() {
        let id = ObjectId::new("validatingwebhookconfigurations", "", "policy");
        let old = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "policy", "uid": "1"},
            "webhooks": [
                {"name": "a", "clientConfig": {"caBundle": "old", "url": "https://x"}},
                {"name": "b", "clientConfig": {"caBundle": "other"}}
            ]
        });
        let mut new = old.clone();
        new["webhooks"][0]["clientConfig"]["caBundle"] = json!("new");
        assert_eq!(
            difference(&id, &old, &new, true),
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": "policy"},
                "webhooks": [{"name": "a", "clientConfig": {"caBundle": "new"}}]
            })
        );
    }

    #[test]
    fn a_field_that_goes_is_taken_away_by_itself() {
        let id = ObjectId::new("deployments", "shop", "web");
        let old = json!({"kind": "Deployment", "spec": {"annotations": {"x": "1"}, "replicas": 3}});
        let new = json!({"kind": "Deployment", "spec": {"replicas": 3}});
        let named = json!({"name": "web", "namespace": "shop"});
        assert_eq!(
            difference(&id, &old, &new, true),
            json!({"kind": "Deployment", "metadata": named, "spec": {"annotations": {"x": null}}})
        );
        assert_eq!(
            difference(&id, &old, &new, false),
            json!({"kind": "Deployment", "metadata": named})
        );
    }
}
