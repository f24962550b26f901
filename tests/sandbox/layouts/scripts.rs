//! The files of a cluster that an installer of shell scripts set up, in the manner of kube-up and its kin:
//! manifests in JSON and in flow style, programs behind `sh -c "exec … 1>>log 2>&1"`, flags and values as
//! words of their own, single files mounted, `-key.pem` beside `.pem`, trust and signer in files of their
//! own, and a kubelet with flags in an environment file.

use std::collections::BTreeMap;

use super::pki::{Leaf, Pki};
use super::{Host, Making, fill};

const SRV: &str = "/srv/kubernetes";
const SSL: &str = "/etc/kubernetes/ssl/etcd";
const MANIFESTS: &str = "/etc/kubernetes/manifests";

pub fn make(made: &mut Making<'_>) {
    made.pki.ca("cluster", "/O=example/CN=kube-ca");
    made.pki.ca("front-proxy", "/O=example/CN=kube-proxy-ca");
    made.pki.ca("etcd", "/O=example/CN=etcd-ca");
    let accounts = Pki::service_account();
    for host in made.layout.control_planes() {
        control_plane(made, &host, &accounts);
        etcd(made, &host);
        kubelet(made, &host);
    }
    for host in made.layout.workers() {
        kubelet(made, &host);
    }
}

/// A certificate and its key as cfssl names them.
fn pair(made: &mut Making<'_>, node: &str, stem: &str, leaf: &Leaf<'_>) {
    let pair = made.pki.leaf(leaf);
    made.file(node, &format!("{stem}.pem"), &pair.certificate);
    made.file(node, &format!("{stem}-key.pem"), &pair.key);
}

fn ca(made: &mut Making<'_>, node: &str, name: &str, stem: &str) {
    let pair = made.pki.ca(name, "");
    made.file(node, &format!("{stem}.pem"), &pair.certificate);
    made.file(node, &format!("{stem}-key.pem"), &pair.key);
}

fn control_plane(made: &mut Making<'_>, host: &Host, (key, public): &(String, String)) {
    let Host { name, address } = host;
    ca(made, name, "cluster", &format!("{SRV}/signer/ca"));
    ca(made, name, "front-proxy", &format!("{SRV}/proxy-ca"));
    let cluster = made.pki.ca("cluster", "").certificate;
    for copy in ["clients", "root"] {
        made.file(name, &format!("{SRV}/{copy}.pem"), &cluster);
    }
    made.file(name, &format!("{SRV}/service-account.key"), key);
    made.file(name, &format!("{SRV}/service-account.pub"), public);
    let names = format!(
        "DNS:{name},DNS:k8s-api.example,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
         DNS:kubernetes.default.svc.cluster.local,IP:10.96.0.1,IP:127.0.0.1,IP:{address}"
    );
    for (stem, ca, subject, names, usages) in [
        (
            "apiserver",
            "cluster",
            "/CN=kube-apiserver",
            &*names,
            "serverAuth",
        ),
        (
            "kubelet-client",
            "cluster",
            "/O=system:masters/CN=kubelet-client",
            "",
            "clientAuth",
        ),
        (
            "proxy-client",
            "front-proxy",
            "/CN=aggregator",
            "",
            "clientAuth",
        ),
        ("etcd-client", "etcd", "/CN=apiserver", "", "clientAuth"),
    ] {
        let leaf = Leaf {
            ca,
            subject,
            names,
            usages,
        };
        pair(made, name, &format!("{SRV}/{stem}"), &leaf);
    }
    let here = format!("{address}:6443");
    for (file, subject, user, server) in [
        (
            "/root/.kube/config",
            "/O=system:masters/CN=admin",
            "admin",
            &made.layout.endpoint(),
        ),
        (
            "/srv/kubernetes/kube-controller-manager/kubeconfig",
            "/CN=system:kube-controller-manager",
            "kube-controller-manager",
            &here,
        ),
        (
            "/srv/kubernetes/kube-scheduler/kubeconfig",
            "/CN=system:kube-scheduler",
            "kube-scheduler",
            &here,
        ),
    ] {
        let text = made.kubeconfig(KUBECONFIG, subject, user, server);
        made.file(name, file, &text);
    }
    let values = BTreeMap::from([("address", &**address)]);
    for (file, template) in [
        ("kube-apiserver.json", APISERVER),
        ("kube-controller-manager.manifest", CONTROLLER_MANAGER),
        ("kube-scheduler.yaml", SCHEDULER),
    ] {
        let text = fill(template, &values);
        made.file(name, &format!("{MANIFESTS}/{file}"), &text);
    }
    for log in ["kube-apiserver", "etcd"] {
        made.file(name, &format!("/var/log/{log}.log"), "");
    }
}

fn etcd(made: &mut Making<'_>, host: &Host) {
    let Host { name, address } = host;
    std::fs::create_dir_all(made.at(name, "/var/lib/etcd")).unwrap();
    ca(made, name, "etcd", &format!("{SSL}/ca"));
    let leaf = Leaf {
        ca: "etcd",
        subject: &format!("/CN={name}"),
        names: &format!("DNS:{name},IP:{address},IP:127.0.0.1"),
        usages: "serverAuth, clientAuth",
    };
    pair(made, name, &format!("{SSL}/member"), &leaf);
    let members = made.layout.control_planes();
    let members: Vec<String> = members
        .iter()
        .map(|m| format!("{}=https://{}:2380", m.name, m.address))
        .collect();
    let cluster = members.join(",");
    let values = BTreeMap::from([
        ("address", &**address),
        ("name", name),
        ("cluster", &*cluster),
    ]);
    let text = fill(ETCD, &values);
    made.file(name, &format!("{MANIFESTS}/etcd.manifest"), &text);
}

fn kubelet(made: &mut Making<'_>, host: &Host) {
    let Host { name, address } = host;
    let ca = made.pki.ca("cluster", "").certificate;
    made.file(name, "/var/lib/kubelet/clients.pem", &ca);
    made.file(name, "/var/lib/kubelet/root.pem", &ca);
    for (stem, names, usages) in [
        ("client", String::new(), "clientAuth"),
        ("serving", format!("DNS:{name},IP:{address}"), "serverAuth"),
    ] {
        let leaf = Leaf {
            ca: "cluster",
            subject: &format!("/O=system:nodes/CN=system:node:{name}"),
            names: &names,
            usages,
        };
        pair(made, name, &format!("/var/lib/kubelet/{stem}"), &leaf);
    }
    let endpoint = made.layout.endpoint();
    let text = fill(
        KUBELET_KUBECONFIG,
        &BTreeMap::from([("server", &*endpoint)]),
    );
    made.file(name, "/var/lib/kubelet/kubeconfig", &text);
    made.file(name, "/etc/systemd/system/kubelet.service", KUBELET_SERVICE);
    made.file(name, "/etc/default/kubelet", KUBELET_FLAGS);
}

const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
clusters:
- name: local
  cluster:
    certificate-authority-data: {ca}
    server: https://{server}
contexts:
- context:
    cluster: local
    user: {user}
  name: service-account-context
current-context: service-account-context
";

const KUBELET_KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
users:
- name: kubelet
  user:
    client-certificate: /var/lib/kubelet/client.pem
    client-key: /var/lib/kubelet/client-key.pem
clusters:
- name: local
  cluster:
    certificate-authority: root.pem
    server: https://{server}
contexts:
- context:
    cluster: local
    user: kubelet
  name: service-account-context
current-context: service-account-context
";

const KUBELET_SERVICE: &str = "\
[Unit]
Description=Kubernetes kubelet
Requires=network-online.target

[Service]
Restart=always
RestartSec=10
EnvironmentFile=/etc/default/kubelet
ExecStart=/usr/local/bin/kubelet $KUBELET_OPTS
KillMode=process

[Install]
WantedBy=multi-user.target
";

const KUBELET_FLAGS: &str = "\
KUBELET_OPTS=\"--v=2 --kubeconfig=/var/lib/kubelet/kubeconfig --client-ca-file=/var/lib/kubelet/clients.pem --anonymous-auth=false --authorization-mode=Webhook --tls-cert-file=/var/lib/kubelet/serving.pem --tls-private-key-file=/var/lib/kubelet/serving-key.pem --pod-manifest-path=/etc/kubernetes/manifests --cluster-dns=10.96.0.10\"
";

/// JSON, with everything in one shell command.
const APISERVER: &str = include_str!("kube-apiserver.json");

/// Each flag and each value an item of its own; every file mounted by itself.
const CONTROLLER_MANAGER: &str = include_str!("kube-controller-manager.manifest");

const SCHEDULER: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: kube-scheduler, namespace: kube-system, labels: {tier: control-plane, component: kube-scheduler}}
spec:
  hostNetwork: true
  containers:
  - name: kube-scheduler
    image: registry.k8s.io/kube-scheduler:v1.34.4
    command: [/usr/local/bin/kube-scheduler]
    args: [\"--kubeconfig=/srv/kubernetes/kube-scheduler/kubeconfig\", --leader-elect=true, '--v=2']
    livenessProbe: {httpGet: {host: 127.0.0.1, path: /healthz, port: 10259, scheme: HTTPS}, initialDelaySeconds: 15}
    volumeMounts: [{name: srv, mountPath: /srv/kubernetes/kube-scheduler, readOnly: true}]
  volumes: [{name: srv, hostPath: {path: /srv/kubernetes/kube-scheduler, type: Directory}}]
";

const ETCD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: etcd-server
  namespace: kube-system
spec:
  hostNetwork: true
  containers:
  - name: etcd-container
    image: registry.k8s.io/etcd:3.6.5-0
    command: ['/bin/sh', '-c']
    args:
    - >-
      exec /usr/local/bin/etcd --name={name}
      --data-dir=/var/lib/etcd
      --listen-client-urls=https://{address}:2379,https://127.0.0.1:2379
      --advertise-client-urls=https://{address}:2379
      --listen-peer-urls=https://{address}:2380
      --initial-advertise-peer-urls=https://{address}:2380
      --initial-cluster={cluster}
      --client-cert-auth=true --trusted-ca-file=/etc/kubernetes/ssl/etcd/ca.pem
      --cert-file=/etc/kubernetes/ssl/etcd/member.pem --key-file=/etc/kubernetes/ssl/etcd/member-key.pem
      --peer-client-cert-auth=true --peer-trusted-ca-file=/etc/kubernetes/ssl/etcd/ca.pem
      --peer-cert-file=/etc/kubernetes/ssl/etcd/member.pem --peer-key-file=/etc/kubernetes/ssl/etcd/member-key.pem
      1>>/var/log/etcd.log 2>&1
    volumeMounts:
    - {name: data, mountPath: /var/lib/etcd}
    - {name: ssl, mountPath: /etc/kubernetes/ssl/etcd, readOnly: true}
    - {name: log, mountPath: /var/log/etcd.log}
  volumes:
  - {name: data, hostPath: {path: /var/lib/etcd}}
  - {name: ssl, hostPath: {path: /etc/kubernetes/ssl/etcd}}
  - {name: log, hostPath: {path: /var/log/etcd.log, type: FileOrCreate}}
";
