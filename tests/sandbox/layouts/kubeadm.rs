//! The files of kubeadm's nodes, as version 1.34 writes them, and those of etcd nodes after its guide
//! 'Set up a High Availability etcd Cluster with kubeadm'.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::pki::Leaf;
use super::{Cas, Etcd, Host, Making, fill};

const PKI: &str = "/etc/kubernetes/pki";
const MANIFESTS: &str = "/etc/kubernetes/manifests";
const UNITS: &str = "/usr/lib/systemd/system";

pub fn make(made: &mut Making<'_>) {
    made.pki.ca("cluster", "/CN=kubernetes");
    made.pki.share("front-proxy", "cluster");
    made.pki.ca("front-proxy", "/CN=front-proxy-ca");
    made.pki.ca("etcd", "/CN=etcd-ca");
    let accounts = super::pki::Pki::service_account();
    for host in made.layout.control_planes() {
        control_plane(made, &host, &accounts);
        kubelet(made, &host);
    }
    for host in made.layout.workers() {
        let ca = made.pki.ca("cluster", "");
        made.file(&host.name, &format!("{PKI}/ca.crt"), &ca.certificate);
        kubelet(made, &host);
    }
    for host in made.layout.etcd_nodes() {
        match made.layout.etcd {
            Etcd::Pods => etcd_pod_node(made, &host),
            Etcd::Units | Etcd::Variables => etcd_unit_node(made, &host),
            Etcd::Stacked | Etcd::Foreign => {}
        }
    }
}

fn control_plane(made: &mut Making<'_>, host: &Host, (key, public): &(String, String)) {
    let Host { name, address } = host;
    for (ca, file) in [("cluster", "ca"), ("front-proxy", "front-proxy-ca")] {
        let pair = made.pki.ca(ca, "");
        made.file(name, &format!("{PKI}/{file}.crt"), &pair.certificate);
        if made.layout.cas != Cas::External {
            made.file(name, &format!("{PKI}/{file}.key"), &pair.key);
        }
    }
    made.file(name, &format!("{PKI}/sa.key"), key);
    made.file(name, &format!("{PKI}/sa.pub"), public);
    let endpoint = made.layout.endpoint();
    let by_name = endpoint.strip_suffix(":6443").unwrap();
    let extra = if by_name == address {
        String::new()
    } else {
        format!("DNS:{by_name},")
    };
    let names = format!(
        "DNS:{name},{extra}DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
         DNS:kubernetes.default.svc.cluster.local,IP:10.96.0.1,IP:{address}"
    );
    let leaves = [
        (
            "apiserver",
            "cluster",
            "/CN=kube-apiserver",
            &*names,
            "serverAuth",
        ),
        (
            "apiserver-kubelet-client",
            "cluster",
            "/O=kubeadm:cluster-admins/CN=kube-apiserver-kubelet-client",
            "",
            "clientAuth",
        ),
        (
            "front-proxy-client",
            "front-proxy",
            "/CN=front-proxy-client",
            "",
            "clientAuth",
        ),
        (
            "apiserver-etcd-client",
            "etcd",
            "/CN=kube-apiserver-etcd-client",
            "",
            "clientAuth",
        ),
    ];
    for (stem, ca, subject, names, usages) in leaves {
        let leaf = Leaf {
            ca,
            subject,
            names,
            usages,
        };
        made.pair(name, &format!("{PKI}/{stem}"), &leaf);
    }
    let here = format!("{address}:6443");
    for (file, subject, user, server) in [
        (
            "admin",
            "/O=kubeadm:cluster-admins/CN=kubernetes-admin",
            "kubernetes-admin",
            &endpoint,
        ),
        (
            "super-admin",
            "/O=system:masters/CN=kubernetes-super-admin",
            "kubernetes-super-admin",
            &endpoint,
        ),
        (
            "controller-manager",
            "/CN=system:kube-controller-manager",
            "system:kube-controller-manager",
            &here,
        ),
        (
            "scheduler",
            "/CN=system:kube-scheduler",
            "system:kube-scheduler",
            &here,
        ),
    ] {
        if file == "super-admin" && name != "cp-1" {
            continue;
        }
        let text = made.kubeconfig(KUBECONFIG, subject, user, server);
        made.file(name, &format!("/etc/kubernetes/{file}.conf"), &text);
        if file == "admin" {
            made.file(name, "/root/.kube/config", &text);
        }
    }
    static_pods(made, host);
}

/// A text without the lines that hold something.
fn without(text: &str, what: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains(what));
    lines.map(|line| format!("{line}\n")).collect()
}

fn static_pods(made: &mut Making<'_>, host: &Host) {
    let Host { name, address } = host;
    let members = match made.layout.etcd {
        Etcd::Stacked => vec!["https://127.0.0.1:2379".to_owned()],
        _ => made
            .layout
            .etcd_nodes()
            .iter()
            .map(|host| format!("https://{}:2379", host.address))
            .collect(),
    };
    let members = members.join(",");
    let values = BTreeMap::from([("address", &**address), ("etcd-servers", &members)]);
    for (file, template) in [
        ("kube-apiserver", APISERVER),
        ("kube-controller-manager", CONTROLLER_MANAGER),
        ("kube-scheduler", SCHEDULER),
    ] {
        let mut text = fill(template, &values);
        if made.layout.cas == Cas::External {
            // What kubeadm leaves out where it finds no ca.key.
            text = without(&text, "--cluster-signing-");
        }
        made.file(name, &format!("{MANIFESTS}/{file}.yaml"), &text);
    }
    if made.layout.etcd == Etcd::Stacked {
        let etcd = made.pki.ca("etcd", "");
        made.file(name, &format!("{PKI}/etcd/ca.key"), &etcd.key);
        etcd_files(made, host, &format!("{PKI}/etcd"));
        let manifest = etcd_manifest(host, std::slice::from_ref(host));
        made.file(name, &format!("{MANIFESTS}/etcd.yaml"), &manifest);
    } else {
        let etcd = made.pki.ca("etcd", "");
        made.file(name, &format!("{PKI}/etcd/ca.crt"), &etcd.certificate);
    }
}

/// A member's CA and pairs.
fn etcd_files(made: &mut Making<'_>, host: &Host, folder: &str) {
    let Host { name, address } = host;
    std::fs::create_dir_all(made.at(name, "/var/lib/etcd")).unwrap();
    let ca = made.pki.ca("etcd", "");
    made.file(name, &format!("{folder}/ca.crt"), &ca.certificate);
    let names = format!("DNS:localhost,DNS:{name},IP:{address},IP:127.0.0.1,IP:::1");
    for stem in ["server", "peer"] {
        let leaf = Leaf {
            ca: "etcd",
            subject: &format!("/CN={name}"),
            names: &names,
            usages: "serverAuth, clientAuth",
        };
        made.pair(name, &format!("{folder}/{stem}"), &leaf);
    }
    let leaf = Leaf {
        ca: "etcd",
        subject: "/CN=kube-etcd-healthcheck-client",
        names: "",
        usages: "clientAuth",
    };
    made.pair(name, &format!("{folder}/healthcheck-client"), &leaf);
}

fn etcd_manifest(host: &Host, members: &[Host]) -> String {
    let cluster: Vec<String> = members
        .iter()
        .map(|m| format!("{}=https://{}:2380", m.name, m.address))
        .collect();
    fill(
        ETCD,
        &BTreeMap::from([
            ("address", &*host.address),
            ("name", &host.name),
            ("cluster", &cluster.join(",")),
        ]),
    )
}

/// The guide leaves the CA's key on the first of the etcd nodes only, and the API server's client
/// certificate on each of them.
fn etcd_pod_node(made: &mut Making<'_>, host: &Host) {
    let name = &host.name;
    etcd_files(made, host, &format!("{PKI}/etcd"));
    if name == "etcd-1" {
        let ca = made.pki.ca("etcd", "");
        made.file(name, &format!("{PKI}/etcd/ca.key"), &ca.key);
    }
    let leaf = Leaf {
        ca: "etcd",
        subject: "/CN=kube-apiserver-etcd-client",
        names: "",
        usages: "clientAuth",
    };
    made.pair(name, &format!("{PKI}/apiserver-etcd-client"), &leaf);
    let manifest = etcd_manifest(host, &made.layout.etcd_nodes());
    made.file(name, &format!("{MANIFESTS}/etcd.yaml"), &manifest);
    made.file(name, &format!("{UNITS}/kubelet.service"), KUBELET_SERVICE);
    let folder = format!("{UNITS}/kubelet.service.d");
    made.file(name, &format!("{folder}/10-kubeadm.conf"), KUBEADM_DROP_IN);
    let folder = "/etc/systemd/system/kubelet.service.d";
    made.file(name, &format!("{folder}/kubelet.conf"), ETCD_KUBELET);
    let drop_in = format!("{folder}/20-etcd-service-manager.conf");
    made.file(name, &drop_in, ETCD_DROP_IN);
}

/// A member as a unit, with certificates where its packages keep them.
fn etcd_unit_node(made: &mut Making<'_>, host: &Host) {
    let name = &host.name;
    etcd_files(made, host, "/etc/etcd/pki");
    if name == "etcd-1" {
        let ca = made.pki.ca("etcd", "");
        made.file(name, "/etc/etcd/pki/ca.key", &ca.key);
    }
    let members = made.layout.etcd_nodes();
    let cluster: Vec<String> = members
        .iter()
        .map(|m| format!("{}=https://{}:2380", m.name, m.address))
        .collect();
    let cluster = cluster.join(",");
    let values = BTreeMap::from([
        ("address", &*host.address),
        ("name", &**name),
        ("cluster", &*cluster),
    ]);
    if made.layout.etcd == Etcd::Units {
        let unit = fill(ETCD_UNIT, &values);
        made.file(name, "/etc/systemd/system/etcd.service", &unit);
    } else {
        made.file(name, &format!("{UNITS}/etcd.service"), ETCD_PLAIN_UNIT);
        let variables = fill(ETCD_VARIABLES, &values);
        made.file(name, "/etc/default/etcd", &variables);
    }
}

fn kubelet(made: &mut Making<'_>, host: &Host) {
    let Host { name, address } = host;
    made.file(name, &format!("{UNITS}/kubelet.service"), KUBELET_SERVICE);
    let folder = format!("{UNITS}/kubelet.service.d");
    made.file(name, &format!("{folder}/10-kubeadm.conf"), KUBEADM_DROP_IN);
    let flags =
        "KUBELET_KUBEADM_ARGS=\"--pod-infra-container-image=registry.k8s.io/pause:3.10.1\"\n";
    made.file(name, "/var/lib/kubelet/kubeadm-flags.env", flags);
    made.file(name, "/var/lib/kubelet/config.yaml", KUBELET_CONFIG);
    let folder = "/var/lib/kubelet/pki";
    let client = made.pki.leaf(&Leaf {
        ca: "cluster",
        subject: &format!("/O=system:nodes/CN=system:node:{name}"),
        names: "",
        usages: "clientAuth",
    });
    let dated = "kubelet-client-2026-11-25-03-00-00.pem";
    let both = format!("{}{}", client.certificate, client.key);
    made.file(name, &format!("{folder}/{dated}"), &both);
    made.link(
        name,
        &format!("{folder}/kubelet-client-current.pem"),
        &format!("{folder}/{dated}"),
    );
    // Signed by a CA that the kubelet makes for this alone and forgets.
    let own = format!("kubelet of {name}");
    made.pki.ca(&own, &format!("/CN={name}-ca@1764039600"));
    let leaf = Leaf {
        ca: &own,
        subject: &format!("/CN={name}@1764039600"),
        names: &format!("DNS:{name},IP:{address}"),
        usages: "serverAuth",
    };
    made.pair(name, &format!("{folder}/kubelet"), &leaf);
    let ca = made.pki.ca("cluster", "");
    let text = fill(
        KUBELET_KUBECONFIG,
        &BTreeMap::from([
            ("ca", &*BASE64.encode(ca.certificate)),
            ("server", &*made.layout.endpoint()),
            ("user", &format!("system:node:{name}")),
        ]),
    );
    made.file(name, "/etc/kubernetes/kubelet.conf", &text);
}

const KUBECONFIG: &str = "\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {ca}
    server: https://{server}
  name: kubernetes
contexts:
- context:
    cluster: kubernetes
    user: {user}
  name: {user}@kubernetes
current-context: {user}@kubernetes
kind: Config
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
";

const KUBELET_KUBECONFIG: &str = "\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {ca}
    server: https://{server}
  name: kubernetes
contexts:
- context:
    cluster: kubernetes
    user: {user}
  name: {user}@kubernetes
current-context: {user}@kubernetes
kind: Config
users:
- name: {user}
  user:
    client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem
    client-key: /var/lib/kubelet/pki/kubelet-client-current.pem
";

const KUBELET_SERVICE: &str = "\
[Unit]
Description=kubelet: The Kubernetes Node Agent
Documentation=https://kubernetes.io/docs/
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=/usr/bin/kubelet
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=multi-user.target
";

const KUBEADM_DROP_IN: &str = "\
# Note: This dropin only works with kubeadm and kubelet v1.11+
[Service]
Environment=\"KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf\"
Environment=\"KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml\"
# This is a file that \"kubeadm init\" and \"kubeadm join\" generates at runtime, populating the KUBELET_KUBEADM_ARGS variable dynamically
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
# This is a file that the user can use for overrides of the kubelet args as a last resort.
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
";

const KUBELET_CONFIG: &str = "\
apiVersion: kubelet.config.k8s.io/v1beta1
authentication:
  anonymous:
    enabled: false
  webhook:
    cacheTTL: 0s
    enabled: true
  x509:
    clientCAFile: /etc/kubernetes/pki/ca.crt
authorization:
  mode: Webhook
  webhook:
    cacheAuthorizedTTL: 0s
    cacheUnauthorizedTTL: 0s
cgroupDriver: systemd
clusterDNS:
- 10.96.0.10
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///var/run/containerd/containerd.sock
healthzBindAddress: 127.0.0.1
healthzPort: 10248
kind: KubeletConfiguration
rotateCertificates: true
staticPodPath: /etc/kubernetes/manifests
";

/// The guide's kubelet configuration. It lies among the drop-ins and ends like one: systemd reads it, and
/// skips its lines with a warning.
const ETCD_KUBELET: &str = "\
# Replace \"systemd\" with the cgroup driver of your container runtime. The default value in the kubelet is \"cgroupfs\".
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous:
    enabled: false
  webhook:
    enabled: false
authorization:
  mode: AlwaysAllow
cgroupDriver: systemd
address: 127.0.0.1
containerRuntimeEndpoint: unix:///var/run/containerd/containerd.sock
staticPodPath: /etc/kubernetes/manifests
";

const ETCD_DROP_IN: &str = "\
[Service]
ExecStart=
ExecStart=/usr/bin/kubelet --config=/etc/systemd/system/kubelet.service.d/kubelet.conf
Restart=always
";

const ETCD_UNIT: &str = "\
[Unit]
Description=etcd
Documentation=https://etcd.io/docs/
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
ExecStart=/usr/local/bin/etcd \\
  --name {name} \\
  --data-dir=/var/lib/etcd \\
  --initial-advertise-peer-urls=https://{address}:2380 \\
  --initial-cluster={cluster} \\
  --listen-peer-urls=https://{address}:2380 \\
  --listen-client-urls=https://{address}:2379,https://127.0.0.1:2379 \\
  --advertise-client-urls=https://{address}:2379 \\
  --listen-metrics-urls=http://127.0.0.1:2381 \\
  --cert-file=/etc/etcd/pki/server.crt \\
  --key-file=/etc/etcd/pki/server.key \\
  --client-cert-auth \\
  --trusted-ca-file=/etc/etcd/pki/ca.crt \\
  --peer-cert-file=/etc/etcd/pki/peer.crt \\
  --peer-key-file=/etc/etcd/pki/peer.key \\
  --peer-client-cert-auth \\
  --peer-trusted-ca-file=/etc/etcd/pki/ca.crt
Restart=on-failure
RestartSec=5

[Install]
WantedBy=multi-user.target
";

const ETCD_PLAIN_UNIT: &str = "\
[Unit]
Description=etcd - highly-available key value store
After=network.target

[Service]
Type=notify
User=etcd
EnvironmentFile=/etc/default/etcd
ExecStart=/usr/bin/etcd
Restart=on-abnormal
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
";

const ETCD_VARIABLES: &str = "\
ETCD_NAME={name}
ETCD_DATA_DIR=\"/var/lib/etcd\"
ETCD_INITIAL_ADVERTISE_PEER_URLS=https://{address}:2380
ETCD_INITIAL_CLUSTER={cluster}
ETCD_LISTEN_PEER_URLS=https://{address}:2380
ETCD_LISTEN_CLIENT_URLS=https://{address}:2379,https://127.0.0.1:2379
ETCD_ADVERTISE_CLIENT_URLS=https://{address}:2379
ETCD_LISTEN_METRICS_URLS=http://127.0.0.1:2381
# TLS
ETCD_CERT_FILE=/etc/etcd/pki/server.crt
ETCD_KEY_FILE=/etc/etcd/pki/server.key
ETCD_CLIENT_CERT_AUTH=true
ETCD_TRUSTED_CA_FILE=\"/etc/etcd/pki/ca.crt\"
ETCD_PEER_CERT_FILE=/etc/etcd/pki/peer.crt
ETCD_PEER_KEY_FILE=/etc/etcd/pki/peer.key
ETCD_PEER_CLIENT_CERT_AUTH=true
ETCD_PEER_TRUSTED_CA_FILE=/etc/etcd/pki/ca.crt
";

const APISERVER: &str = include_str!("kube-apiserver.yaml");
const CONTROLLER_MANAGER: &str = include_str!("kube-controller-manager.yaml");
const SCHEDULER: &str = include_str!("kube-scheduler.yaml");
const ETCD: &str = include_str!("etcd.yaml");
