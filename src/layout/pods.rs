//! What a pod's spec says: whose account it runs under, which Secrets and `ConfigMaps` it gets, what of its host it mounts.
//!
//! Knows the shape of core/v1 `PodSpec`, which pods and the templates of workloads have. It must not know who asks.

use serde_json::Value;

use crate::state::{ObjectId, State};

/// A pod's spec, with the namespace that its names are looked up in.
#[derive(Clone, Copy)]
pub struct PodSpec<'s> {
    /// Where names in it are looked up.
    pub namespace: &'s str,
    spec: &'s Value,
}

impl<'s> PodSpec<'s> {
    /// The spec of a pod, or of a workload's template, in a namespace.
    #[must_use]
    pub fn new(namespace: &'s str, spec: &'s Value) -> Self {
        Self { namespace, spec }
    }

    /// The name of its ServiceAccount.
    #[must_use]
    pub fn account(self) -> &'s str {
        let text = |key: &str| self.spec.get(key).and_then(Value::as_str);
        text("serviceAccountName")
            .or_else(|| text("serviceAccount"))
            .unwrap_or("default")
    }

    /// Whether it gets the API's CA, mostly with a token: mounted for it as that of its ServiceAccount, or because it
    /// asks for them by itself.
    ///
    /// The ServiceAccount's own `automountServiceAccountToken` counts where the pod says nothing
    /// (plugin/pkg/admission/serviceaccount).
    #[must_use]
    pub fn uses_api(self, state: &State) -> bool {
        let automount = |value: &Value| value.get("automountServiceAccountToken")?.as_bool();
        let account = ObjectId::new("serviceaccounts", self.namespace, self.account());
        automount(self.spec)
            .or_else(|| automount(state.object(&account)?))
            .unwrap_or(true)
            || self.projections().any(is_of_api)
            || self.gets(&ObjectId::new("configmaps", self.namespace, ROOT_CA))
            || state
                .objects_of("secrets")
                .any(|(id, secret)| is_token(secret) && self.gets(id))
    }

    /// Whether it gets a `ConfigMap` or Secret, as a volume, as part of one, or for its environment; or a
    /// ClusterTrustBundle, by its name or its signer's.
    #[must_use]
    pub fn gets(self, object: &ObjectId) -> bool {
        let keys = match &*object.kind {
            "configmaps" => ["configMap", "configMapKeyRef", "configMapRef"],
            "secrets" => ["secret", "secretKeyRef", "secretRef"],
            "clustertrustbundles" => {
                return self.bundles().any(|bundle| selects(bundle, &object.name));
            }
            _ => return false,
        };
        *object.namespace == *self.namespace && names(self.spec, &keys, &object.name)
    }

    /// The folders and files of its host that it mounts, without the slash at their end; the whole host is none of them.
    pub fn host_paths(self) -> impl Iterator<Item = &'s str> {
        self.volumes()
            .filter_map(|volume| volume.pointer("/hostPath/path")?.as_str())
            .map(|path| path.trim_end_matches('/'))
            .filter(|path| !path.is_empty())
    }

    fn bundles(self) -> impl Iterator<Item = &'s Value> {
        self.projections()
            .filter_map(|source| source.get("clusterTrustBundle"))
    }

    fn projections(self) -> impl Iterator<Item = &'s Value> {
        self.volumes()
            .filter_map(|volume| volume.pointer("/projected/sources")?.as_array())
            .flatten()
    }

    fn volumes(self) -> impl Iterator<Item = &'s Value> {
        let volumes = self.spec.get("volumes").and_then(Value::as_array);
        volumes.into_iter().flatten()
    }
}

/// The `ConfigMap` with the API's CA that kube-controller-manager puts into each namespace.
pub const ROOT_CA: &str = "kube-root-ca.crt";

/// The signer of the ClusterTrustBundle in which kube-controller-manager publishes the same.
pub const SERVING_SIGNER: &str = "kubernetes.io/kube-apiserver-serving";

/// Whether a Secret is a ServiceAccount's token, with the API's CA beside it.
#[must_use]
pub fn is_token(secret: &Value) -> bool {
    secret.get("type").and_then(Value::as_str) == Some("kubernetes.io/service-account-token")
}

/// Whether a part of a volume is a token for the API, or the bundle by which its servers are trusted
/// (pkg/controller/certificates/clustertrustbundlepublisher).
fn is_of_api(source: &Value) -> bool {
    let bundle = source.get("clusterTrustBundle");
    source.get("serviceAccountToken").is_some()
        || bundle.is_some_and(|bundle| {
            let signer = bundle.get("signerName").and_then(Value::as_str);
            let name = bundle.get("name").and_then(Value::as_str);
            signer == Some(SERVING_SIGNER)
                || name.is_some_and(|name| is_of_signer(name, SERVING_SIGNER))
        })
}

/// Whether a volume's ClusterTrustBundle is the one of this name, or may be: it is also selected by its signer, with or
/// without labels.
fn selects(bundle: &Value, name: &str) -> bool {
    let text = |key: &str| bundle.get(key).and_then(Value::as_str);
    text("name") == Some(name)
        || text("signerName").is_some_and(|signer| is_of_signer(name, signer))
}

/// Whether a ClusterTrustBundle's name is of a signer: it begins with the signer's, with colons
/// (pkg/apis/certificates/validation, `ValidateClusterTrustBundle`).
fn is_of_signer(name: &str, signer: &str) -> bool {
    name.strip_prefix(&signer.replace('/', ":"))
        .is_some_and(|rest| rest.starts_with(':'))
}

/// Whether a reference by one of these keys, anywhere in a value, is to an object of this name.
fn names(value: &Value, keys: &[&str], name: &str) -> bool {
    let is_it = |reference: &Value| {
        let named = reference
            .get("name")
            .or_else(|| reference.get("secretName"));
        named.and_then(Value::as_str) == Some(name)
    };
    match value {
        Value::Array(items) => items.iter().any(|item| names(item, keys, name)),
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            keys.contains(&key.as_str()) && is_it(value) || names(value, keys, name)
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn state(objects: &[(&str, &str, Value)]) -> State {
        let objects = objects.iter().map(|(kind, name, object)| {
            let object = Arc::new(object.clone());
            (ObjectId::new(kind, "web", name), object)
        });
        State {
            number: 0,
            nodes: BTreeMap::new().into(),
            objects: objects.collect::<BTreeMap<_, _>>().into(),
            users: BTreeMap::new(),
            handed_out: BTreeMap::new(),
            started: BTreeMap::new().into(),
        }
    }

    #[test]
    fn an_object_is_got_as_a_volume_as_part_of_one_and_for_the_environment() {
        let env = |item: Value| json!({"containers": [{"name": "x", "env": [item]}]});
        let volume = |item: Value| json!({"volumes": [item]});
        let ways = [
            (
                "secrets",
                volume(json!({"name": "v", "secret": {"secretName": "tls"}})),
            ),
            (
                "secrets",
                volume(json!({"projected": {"sources": [{"secret": {"name": "tls"}}]}})),
            ),
            (
                "secrets",
                env(
                    json!({"name": "C", "valueFrom": {"secretKeyRef": {"name": "tls", "key": "tls.crt"}}}),
                ),
            ),
            (
                "secrets",
                json!({"initContainers": [{"envFrom": [{"secretRef": {"name": "tls"}}]}]}),
            ),
            (
                "configmaps",
                volume(json!({"name": "v", "configMap": {"name": "tls"}})),
            ),
            (
                "configmaps",
                env(json!({"valueFrom": {"configMapKeyRef": {"name": "tls", "key": "ca"}}})),
            ),
            (
                "configmaps",
                json!({"containers": [{"envFrom": [{"configMapRef": {"name": "tls"}}]}]}),
            ),
        ];
        for (kind, spec) in &ways {
            let pod = PodSpec::new("web", spec);
            for other in ["secrets", "configmaps", "issuers"] {
                let got = pod.gets(&ObjectId::new(other, "web", "tls"));
                assert_eq!(got, *kind == other, "{other} by {spec}");
            }
            assert!(!pod.gets(&ObjectId::new(kind, "web", "other")), "{spec}");
            assert!(!pod.gets(&ObjectId::new(kind, "elsewhere", "tls")));
        }
    }

    #[test]
    fn who_has_no_token_mounted_may_still_ask_for_the_ca() {
        let token = json!({"type": "kubernetes.io/service-account-token"});
        let state = state(&[
            (
                "serviceaccounts",
                "silent",
                json!({"automountServiceAccountToken": false}),
            ),
            ("secrets", "legacy", token),
        ]);
        let uses = |spec: Value| PodSpec::new("web", &spec).uses_api(&state);
        let silent =
            |more: &str, value: Value| json!({"serviceAccountName": "silent", more: value});
        assert!(uses(json!({})));
        assert!(!uses(json!({"automountServiceAccountToken": false})));
        assert!(!uses(json!({"serviceAccount": "silent"})));
        assert!(uses(silent("automountServiceAccountToken", json!(true))));
        assert!(uses(silent(
            "volumes",
            json!([{"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}])
        )));
        assert!(uses(silent(
            "volumes",
            json!([{"configMap": {"name": "kube-root-ca.crt"}}])
        )));
        assert!(uses(silent(
            "containers",
            json!([{"env": [{"valueFrom": {"secretKeyRef": {"name": "legacy", "key": "ca.crt"}}}]}])
        )));
        assert!(!uses(silent(
            "volumes",
            json!([{"secret": {"secretName": "other"}}])
        )));
        let bundle = |of: Value| json!([{"projected": {"sources": [{"clusterTrustBundle": of}]}}]);
        for (of, is) in [
            (
                json!({"signerName": "kubernetes.io/kube-apiserver-serving"}),
                true,
            ),
            (
                json!({"name": "kubernetes.io:kube-apiserver-serving:f00"}),
                true,
            ),
            (json!({"signerName": "example.com/roots"}), false),
            (json!({"name": "corporate"}), false),
        ] {
            assert_eq!(uses(silent("volumes", bundle(of.clone()))), is, "{of}");
        }
    }

    #[test]
    fn a_bundle_is_got_by_its_name_and_by_its_signer() {
        let of = |of: Value| json!({"volumes": [{"projected": {"sources": [{"clusterTrustBundle": of}]}}]});
        let gets = |spec: &Value, name: &str| {
            PodSpec::new("web", spec).gets(&ObjectId::new("clustertrustbundles", "", name))
        };
        let named = of(json!({"name": "corporate", "path": "ca"}));
        assert!(gets(&named, "corporate") && !gets(&named, "corporate2"));
        let signed = of(json!({"signerName": "example.com/roots", "path": "ca"}));
        assert!(gets(&signed, "example.com:roots:a") && gets(&signed, "example.com:roots:b"));
        assert!(!gets(&signed, "example.com:roots2:a") && !gets(&signed, "corporate"));
    }

    #[test]
    fn the_whole_host_is_no_folder_of_it() {
        let spec = json!({"volumes": [
            {"hostPath": {"path": "/etc/kubernetes/"}},
            {"hostPath": {"path": "/"}},
            {"emptyDir": {}},
        ]});
        let paths: Vec<_> = PodSpec::new("web", &spec).host_paths().collect();
        assert_eq!(paths, ["/etc/kubernetes"]);
    }
}
