//! What is kept of objects that a large cluster has by the thousand: little of its Nodes, and nothing of pods that
//! its workloads made, since all that is asked of them is asked of their template. A whole one takes tens of kilobytes.
//!
//! Knows which fields are asked for. Whatever holds a certificate, anywhere in it, is kept whole, so that no
//! trust is overlooked.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::edit::embedded::holds_certificate;
use crate::layout::workload_of;
use crate::state::ObjectId;

/// What is asked of a Node.
const OF_NODES: [&[&str]; 5] = [
    &["apiVersion"],
    &["kind"],
    &["metadata", "name"],
    &["status", "addresses"],
    &["status", "nodeInfo", "kubeletVersion"],
];

/// The object without what nobody asks for; None where nobody asks for any of it. `others` are the objects of
/// other kinds.
pub fn lightened(
    kind: &str,
    object: Value,
    others: &BTreeMap<ObjectId, Arc<Value>>,
) -> Option<Value> {
    let asked: &[&[&str]] = match kind {
        "nodes" => &OF_NODES,
        "pods" if workload_of(&object).is_some_and(|id| others.contains_key(&id)) => &[],
        _ => return Some(object),
    };
    if holds_any(&object) {
        return Some(object);
    }
    let mut out = None;
    for path in asked {
        let found = path.iter().try_fold(&object, |at, part| at.get(*part));
        if let Some(found) = found {
            let out = out.get_or_insert_with(|| Value::Object(Map::new()));
            put(out, path, found.clone());
        }
    }
    out
}

fn holds_any(value: &Value) -> bool {
    match value {
        Value::String(text) => holds_certificate(text),
        Value::Array(items) => items.iter().any(holds_any),
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| holds_certificate(name) || holds_any(value)),
        _ => false,
    }
}

/// Sets a field below objects that are made where they are missing.
fn put(out: &mut Value, path: &[&str], value: Value) {
    let mut at = out;
    for part in path {
        let Value::Object(fields) = at else { return };
        at = fields
            .entry(*part)
            .or_insert_with(|| Value::Object(Map::new()));
    }
    *at = value;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pki::{CaRequest, KeyAlgorithm, SigningCa};

    fn pod(owner: &str, name: &str, env: &str) -> Value {
        json!({
            "kind": "Pod",
            "metadata": {
                "name": "x", "namespace": "kube-system", "uid": "1",
                "ownerReferences": [{"kind": owner, "name": name}],
            },
            "spec": {"containers": [{"env": [{"name": "X", "value": env}]}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1"},
        })
    }

    fn others() -> BTreeMap<ObjectId, Arc<Value>> {
        [("daemonsets", "proxy"), ("deployments", "dns")]
            .map(|(kind, name)| {
                let id = ObjectId::new(kind, "kube-system", name);
                (id, Arc::new(json!({})))
            })
            .into()
    }

    #[test]
    fn a_pod_of_a_workload_that_is_there_is_not_kept() {
        for (owner, name) in [("DaemonSet", "proxy"), ("ReplicaSet", "dns-5f")] {
            assert_eq!(lightened("pods", pod(owner, name, "x"), &others()), None);
        }
    }

    #[test]
    fn other_pods_other_kinds_and_whatever_holds_a_certificate_stay_whole() {
        let ca = SigningCa::mint(&CaRequest {
            subject: "CN=kubernetes".to_owned(),
            key: KeyAlgorithm::EcdsaP256,
            not_before: 0,
            not_after: 1 << 31,
            serial: [1; 16],
        });
        let certificate = ca.unwrap().certificate.to_pem();
        for (kind, object) in [
            ("pods", pod("DaemonSet", "gone", "x")),
            ("pods", pod("Job", "proxy", "x")),
            ("pods", pod("DaemonSet", "proxy", &certificate)),
            ("configmaps", pod("DaemonSet", "proxy", "x")),
        ] {
            assert_eq!(lightened(kind, object.clone(), &others()), Some(object));
        }
    }

    #[test]
    fn a_node_keeps_its_addresses_and_version() {
        let node = json!({
            "metadata": {"name": "n", "labels": {"a": "b"}},
            "spec": {"podCIDR": "10.0.0.0/24"},
            "status": {
                "addresses": [{"type": "Hostname", "address": "n"}],
                "images": [{"names": ["x".repeat(300)]}],
                "nodeInfo": {"kubeletVersion": "v1.34.4", "osImage": "y"},
            },
        });
        let expected = json!({
            "metadata": {"name": "n"},
            "status": {
                "addresses": [{"type": "Hostname", "address": "n"}],
                "nodeInfo": {"kubeletVersion": "v1.34.4"},
            },
        });
        assert_eq!(lightened("nodes", node, &others()), Some(expected));
    }
}
