//! The objects of a made cluster that tell something of its CAs, as `kubectl get -A -o yaml` prints them.

use std::fs;

use serde_json::{Value, json};

use super::{Installer, Making, VERSION};

const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

pub fn make(made: &mut Making<'_>) {
    let cluster = made.pki.trust("cluster");
    let front_proxy = made.pki.ca("front-proxy", "").certificate;
    let by_hand = made.layout.installer == Installer::HardWay;
    let lists = [
        ("namespaces", namespaces()),
        ("nodes", nodes(made)),
        ("configmaps", config_maps(made, &cluster, &front_proxy)),
        (
            "daemonsets",
            if by_hand {
                Vec::new()
            } else {
                vec![kube_proxy()]
            },
        ),
        ("deployments", vec![coredns()]),
        ("pods", pods(made)),
        ("secrets", Vec::new()),
        ("services", services()),
        ("serviceaccounts", service_accounts()),
    ];
    fs::create_dir_all(made.to.join("cluster")).unwrap();
    for (kind, items) in lists {
        let list = json!({
            "apiVersion": "v1", "items": items, "kind": "List", "metadata": { "resourceVersion": "" },
        });
        let text = serde_yaml::to_string(&list).unwrap();
        let file = made.to.join("cluster").join(format!("{kind}.yaml"));
        fs::write(file, text).unwrap();
    }
}

fn namespaces() -> Vec<Value> {
    let of = |(number, name): (usize, &&str)| {
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name, "uid": format!("00000000-0000-4000-8000-00000000000{number}") },
        })
    };
    NAMESPACES.iter().enumerate().map(of).collect()
}

/// Nodes of etcd alone have no Node object: their kubelets know no API server.
fn nodes(made: &Making<'_>) -> Vec<Value> {
    let node = |host: &super::Host, labels: Value| {
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": host.name, "labels": labels },
            "status": {
                "addresses": [
                    { "address": host.address, "type": "InternalIP" },
                    { "address": host.name, "type": "Hostname" },
                ],
                "nodeInfo": { "kubeletVersion": VERSION },
            },
        })
    };
    let label = |host: &super::Host| {
        if host.name.starts_with("cp-") {
            json!({ "node-role.kubernetes.io/control-plane": "" })
        } else {
            json!({})
        }
    };
    let hosts = made.registered();
    hosts.iter().map(|host| node(host, label(host))).collect()
}

fn config_map(namespace: &str, name: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": { "name": name, "namespace": namespace },
    })
}

fn config_maps(made: &Making<'_>, cluster: &str, front_proxy: &str) -> Vec<Value> {
    use base64::Engine as _;
    let endpoint = made.layout.endpoint();
    let mut out: Vec<Value> = NAMESPACES
        .iter()
        .map(|namespace| config_map(namespace, "kube-root-ca.crt", &json!({ "ca.crt": cluster })))
        .collect();
    let encoded = base64::engine::general_purpose::STANDARD.encode(cluster);
    let info = format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {encoded}\n    \
         server: https://{endpoint}\n  name: \"\"\ncontexts: null\ncurrent-context: \"\"\nkind: Config\nusers: null\n"
    );
    let by_hand = made.layout.installer == Installer::HardWay;
    if !by_hand {
        out.push(config_map(
            "kube-public",
            "cluster-info",
            &json!({ "kubeconfig": info }),
        ));
    }
    out.push(config_map(
        "kube-system",
        "extension-apiserver-authentication",
        &json!({
            "client-ca-file": cluster,
            "requestheader-allowed-names": match made.layout.installer {
                Installer::Kubeadm => "[\"front-proxy-client\"]",
                Installer::HardWay => "[\"front-proxy\"]",
                Installer::Scripts => "[\"aggregator\"]",
            },
            "requestheader-client-ca-file": front_proxy,
            "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
            "requestheader-group-headers": "[\"X-Remote-Group\"]",
            "requestheader-username-headers": "[\"X-Remote-User\"]",
        }),
    ));
    if by_hand {
        return out;
    }
    let folder = "/var/run/secrets/kubernetes.io/serviceaccount";
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    certificate-authority: {folder}/ca.crt\n    \
         server: https://{endpoint}\n  name: default\ncontexts:\n- context:\n    cluster: default\n    namespace: default\n    \
         user: default\n  name: default\ncurrent-context: default\nusers:\n- name: default\n  user:\n    tokenFile: {folder}/token\n"
    );
    let proxy =
        json!({ "config.conf": "kind: KubeProxyConfiguration\n", "kubeconfig.conf": kubeconfig });
    out.push(config_map("kube-system", "kube-proxy", &proxy));
    out
}

fn services() -> Vec<Value> {
    let service = |namespace: &str, name: &str, ip: &str, port: u16, selector: Value| {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name, "namespace": namespace },
            "spec": { "clusterIP": ip, "ports": [{ "port": port }], "selector": selector },
        })
    };
    vec![
        service("default", "kubernetes", "10.96.0.1", 443, Value::Null),
        service(
            "kube-system",
            "kube-dns",
            "10.96.0.10",
            53,
            json!({ "k8s-app": "kube-dns" }),
        ),
    ]
}

fn service_accounts() -> Vec<Value> {
    let account = |namespace: &str, name: &str| {
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": name, "namespace": namespace },
        })
    };
    let defaults = NAMESPACES
        .iter()
        .map(|namespace| account(namespace, "default"));
    let of_system = ["coredns", "kube-proxy"].iter();
    defaults
        .chain(of_system.map(|name| account("kube-system", name)))
        .collect()
}

fn proxy_spec() -> Value {
    json!({
        "containers": [{
            "command": [
                "/usr/local/bin/kube-proxy",
                "--config=/var/lib/kube-proxy/config.conf",
                "--hostname-override=$(NODE_NAME)",
            ],
            "image": format!("registry.k8s.io/kube-proxy:{VERSION}"),
            "name": "kube-proxy",
            "volumeMounts": [{ "mountPath": "/var/lib/kube-proxy", "name": "kube-proxy" }],
        }],
        "hostNetwork": true,
        "serviceAccountName": "kube-proxy",
        "volumes": [{ "configMap": { "name": "kube-proxy" }, "name": "kube-proxy" }],
    })
}

fn kube_proxy() -> Value {
    let labels = json!({ "k8s-app": "kube-proxy" });
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": { "name": "kube-proxy", "namespace": "kube-system", "labels": labels },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": proxy_spec() },
            "updateStrategy": { "type": "RollingUpdate" },
        },
    })
}

fn dns_spec() -> Value {
    json!({
        "containers": [{
            "args": ["-conf", "/etc/coredns/Corefile"],
            "image": "registry.k8s.io/coredns/coredns:v1.12.1",
            "name": "coredns",
        }],
        "serviceAccountName": "coredns",
    })
}

fn coredns() -> Value {
    let labels = json!({ "k8s-app": "kube-dns" });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "coredns", "namespace": "kube-system", "labels": labels },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": labels },
            "strategy": { "type": "RollingUpdate" },
            "template": { "metadata": { "labels": labels }, "spec": dns_spec() },
        },
    })
}

fn pods(made: &Making<'_>) -> Vec<Value> {
    let pod = |name: &str, owner: (&str, &str), label: &str, spec: Value| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "namespace": "kube-system", "labels": { "k8s-app": label },
                "ownerReferences": [{ "controller": true, "kind": owner.0, "name": owner.1 }],
            },
            "spec": spec,
            "status": { "phase": "Running" },
        })
    };
    let replicas = ("ReplicaSet", "coredns-66bc5c9577");
    let mut out: Vec<Value> = ["coredns-66bc5c9577-4x7ml", "coredns-66bc5c9577-v9k2r"]
        .iter()
        .map(|name| pod(name, replicas, "kube-dns", dns_spec()))
        .collect();
    if made.layout.installer == Installer::HardWay {
        return out;
    }
    for host in made.registered() {
        let name = format!("kube-proxy-{}", host.name);
        let mut spec = proxy_spec();
        spec["nodeName"] = json!(host.name);
        out.push(pod(&name, ("DaemonSet", "kube-proxy"), "kube-proxy", spec));
    }
    out
}
