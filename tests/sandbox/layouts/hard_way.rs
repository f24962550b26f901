//! The files of a cluster that was set up by hand, after 'Kubernetes The Hard Way': every program a unit of
//! systemd with its flags on continued lines, paths of its own, no kubelet on the control planes, kubelets
//! with static certificates, kube-proxy on the nodes.

use std::collections::BTreeMap;

use super::pki::{Leaf, Pki};
use super::{Cas, Host, Making, fill};

const KUBERNETES: &str = "/var/lib/kubernetes";
const UNITS: &str = "/etc/systemd/system";

pub fn make(made: &mut Making<'_>) {
    if made.layout.cas == Cas::Intermediate {
        made.pki.ca("root", "/O=example/CN=Company Root");
    }
    made.pki.ca("cluster", "/CN=Kubernetes");
    made.pki.share("front-proxy", "cluster");
    made.pki.share("etcd", "cluster");
    made.pki.ca("front-proxy", "/CN=Kubernetes front proxy");
    made.pki.ca("etcd", "/CN=etcd");
    let accounts = Pki::key();
    for host in made.layout.control_planes() {
        etcd(made, &host);
        control_plane(made, &host, &accounts);
    }
    for host in made.layout.workers() {
        worker(made, &host);
    }
}

fn etcd(made: &mut Making<'_>, host: &Host) {
    let Host { name, address } = host;
    std::fs::create_dir_all(made.at(name, "/var/lib/etcd")).unwrap();
    let ca = made.pki.ca("etcd", "");
    made.file(name, "/etc/etcd/ca.crt", &ca.certificate);
    made.file(name, "/etc/etcd/ca.key", &ca.key);
    let leaf = Leaf {
        ca: "etcd",
        subject: &format!("/CN={name}"),
        names: &format!("DNS:{name},IP:{address},IP:127.0.0.1"),
        usages: "serverAuth, clientAuth",
    };
    made.pair(name, "/etc/etcd/etcd", &leaf);
    let members = made.layout.control_planes();
    let members: Vec<String> = members
        .iter()
        .map(|m| format!("{}=https://{}:2380", m.name, m.address))
        .collect();
    unit(made, host, "etcd", ETCD, &[("cluster", &members.join(","))]);
}

fn unit(made: &mut Making<'_>, host: &Host, name: &str, flags: &str, values: &[(&str, &str)]) {
    let mut all = BTreeMap::from([("address", &*host.address), ("name", &*host.name)]);
    all.extend(values.iter().copied());
    let flags: Vec<String> = fill(flags, &all)
        .lines()
        .map(|flag| format!("  {flag}"))
        .collect();
    let text = format!(
        "[Unit]\nDescription={name}\nDocumentation=https://kubernetes.io/docs/\n\n[Service]\nExecStart=/usr/local/bin/{name} \\\n{}\n\
         Restart=on-failure\nRestartSec=5\n\n[Install]\nWantedBy=multi-user.target\n",
        flags.join(" \\\n")
    );
    made.file(&host.name, &format!("{UNITS}/{name}.service"), &text);
}

fn control_plane(made: &mut Making<'_>, host: &Host, accounts: &str) {
    let Host { name, address } = host;
    for (ca, stem) in [("cluster", "ca"), ("front-proxy", "front-proxy-ca")] {
        let pair = made.pki.ca(ca, "");
        made.file(name, &format!("{KUBERNETES}/{stem}.crt"), &pair.certificate);
        made.file(name, &format!("{KUBERNETES}/{stem}.key"), &pair.key);
    }
    let trust = made.pki.trust("cluster");
    if trust != made.pki.ca("cluster", "").certificate {
        made.file(name, &format!("{KUBERNETES}/{}.crt", trusted(made)), &trust);
    }
    let etcd = made.pki.ca("etcd", "");
    made.file(
        name,
        &format!("{KUBERNETES}/etcd-ca.crt"),
        &etcd.certificate,
    );
    let names = format!(
        "DNS:{name},DNS:k8s-api.example,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
         DNS:kubernetes.default.svc.cluster.local,IP:10.96.0.1,IP:127.0.0.1,IP:{address}"
    );
    for (stem, ca, subject, names, usages) in [
        (
            "kube-api-server",
            "cluster",
            "/O=system:masters/CN=kubernetes",
            &*names,
            "serverAuth, clientAuth",
        ),
        (
            "front-proxy",
            "front-proxy",
            "/CN=front-proxy",
            "",
            "clientAuth",
        ),
        (
            "etcd-client",
            "etcd",
            "/CN=kube-api-server",
            "",
            "clientAuth",
        ),
    ] {
        let leaf = Leaf {
            ca,
            subject,
            names,
            usages,
        };
        made.pair(name, &format!("{KUBERNETES}/{stem}"), &leaf);
    }
    service_accounts(made, name, accounts);
    for (file, subject, user) in [
        ("/root/.kube/config", "/O=system:masters/CN=admin", "admin"),
        (
            "/var/lib/kubernetes/kube-controller-manager.kubeconfig",
            "/CN=system:kube-controller-manager",
            "system:kube-controller-manager",
        ),
        (
            "/var/lib/kubernetes/kube-scheduler.kubeconfig",
            "/CN=system:kube-scheduler",
            "system:kube-scheduler",
        ),
    ] {
        let text = made.kubeconfig(KUBECONFIG, subject, user, "127.0.0.1:6443");
        made.file(name, file, &text);
    }
    made.file(
        name,
        "/etc/kubernetes/config/kube-scheduler.yaml",
        SCHEDULER_CONFIG,
    );
    let trusted = [("trusted", trusted(made))];
    unit(made, host, "kube-apiserver", APISERVER, &trusted);
    unit(
        made,
        host,
        "kube-controller-manager",
        CONTROLLER_MANAGER,
        &trusted,
    );
    unit(
        made,
        host,
        "kube-scheduler",
        "--config=/etc/kubernetes/config/kube-scheduler.yaml\n--v=2\n",
        &[],
    );
}

/// One pair for all: tokens are verified by its key alone.
fn service_accounts(made: &mut Making<'_>, name: &str, accounts: &str) {
    let leaf = Leaf {
        ca: "cluster",
        subject: "/CN=service-accounts",
        names: "",
        usages: "clientAuth",
    };
    let bundle = made.pki.leaf_of(&leaf, Some(accounts)).certificate;
    // Each certificate there is a key that tokens are verified by: an intermediate must not be.
    let end = "-----END CERTIFICATE-----\n";
    let certificate = &bundle[..bundle.find(end).unwrap() + end.len()];
    made.file(
        name,
        &format!("{KUBERNETES}/service-accounts.crt"),
        certificate,
    );
    made.file(
        name,
        &format!("{KUBERNETES}/service-accounts.key"),
        accounts,
    );
}

/// The file by which control planes trust the cluster CA: the signer's own, which takes one certificate, or one
/// beside it.
fn trusted(made: &Making<'_>) -> &'static str {
    if made.layout.cas == Cas::Intermediate {
        "ca-chain"
    } else {
        "ca"
    }
}

fn worker(made: &mut Making<'_>, host: &Host) {
    let Host { name, address } = host;
    let trust = made.pki.trust("cluster");
    made.file(name, "/var/lib/kubelet/ca.crt", &trust);
    let leaf = Leaf {
        ca: "cluster",
        subject: &format!("/O=system:nodes/CN=system:node:{name}"),
        names: &format!("DNS:{name},IP:{address}"),
        usages: "serverAuth, clientAuth",
    };
    made.pair(name, "/var/lib/kubelet/kubelet", &leaf);
    let endpoint = made.layout.endpoint();
    let user = format!("system:node:{name}");
    let text = made.kubeconfig(
        KUBECONFIG,
        &format!("/O=system:nodes/CN={user}"),
        &user,
        &endpoint,
    );
    made.file(name, "/var/lib/kubelet/kubeconfig", &text);
    made.file(name, "/var/lib/kubelet/kubelet-config.yaml", KUBELET_CONFIG);
    let flags = "--config=/var/lib/kubelet/kubelet-config.yaml\n--kubeconfig=/var/lib/kubelet/kubeconfig\n--v=2\n";
    unit(made, host, "kubelet", flags, &[]);
    let text = made.kubeconfig(
        KUBECONFIG,
        "/O=system:node-proxier/CN=system:kube-proxy",
        "system:kube-proxy",
        &endpoint,
    );
    made.file(name, "/var/lib/kube-proxy/kubeconfig", &text);
    made.file(
        name,
        "/var/lib/kube-proxy/kube-proxy-config.yaml",
        PROXY_CONFIG,
    );
    let flags = "--config=/var/lib/kube-proxy/kube-proxy-config.yaml\n";
    unit(made, host, "kube-proxy", flags, &[]);
}

/// As `kubectl config --embed-certs=true` writes it.
const KUBECONFIG: &str = "\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {ca}
    server: https://{server}
  name: kubernetes-the-hard-way
contexts:
- context:
    cluster: kubernetes-the-hard-way
    user: {user}
  name: default
current-context: default
kind: Config
preferences: {}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
";

const ETCD: &str = "\
--name {name}
--cert-file=/etc/etcd/etcd.crt
--key-file=/etc/etcd/etcd.key
--peer-cert-file=/etc/etcd/etcd.crt
--peer-key-file=/etc/etcd/etcd.key
--trusted-ca-file=/etc/etcd/ca.crt
--peer-trusted-ca-file=/etc/etcd/ca.crt
--peer-client-cert-auth
--client-cert-auth
--initial-advertise-peer-urls https://{address}:2380
--listen-peer-urls https://{address}:2380
--listen-client-urls https://{address}:2379,https://127.0.0.1:2379
--advertise-client-urls https://{address}:2379
--initial-cluster-token etcd-cluster-0
--initial-cluster {cluster}
--initial-cluster-state new
--data-dir=/var/lib/etcd
";

const APISERVER: &str = "\
--advertise-address={address}
--allow-privileged=true
--authorization-mode=Node,RBAC
--bind-address=0.0.0.0
--client-ca-file=/var/lib/kubernetes/{trusted}.crt
--enable-admission-plugins=NamespaceLifecycle,NodeRestriction,LimitRanger,ServiceAccount,DefaultStorageClass,ResourceQuota
--etcd-cafile=/var/lib/kubernetes/etcd-ca.crt
--etcd-certfile=/var/lib/kubernetes/etcd-client.crt
--etcd-keyfile=/var/lib/kubernetes/etcd-client.key
--etcd-servers=https://127.0.0.1:2379
--event-ttl=1h
--kubelet-certificate-authority=/var/lib/kubernetes/{trusted}.crt
--kubelet-client-certificate=/var/lib/kubernetes/kube-api-server.crt
--kubelet-client-key=/var/lib/kubernetes/kube-api-server.key
--proxy-client-cert-file=/var/lib/kubernetes/front-proxy.crt
--proxy-client-key-file=/var/lib/kubernetes/front-proxy.key
--requestheader-allowed-names=front-proxy
--requestheader-client-ca-file=/var/lib/kubernetes/front-proxy-ca.crt
--requestheader-extra-headers-prefix=X-Remote-Extra-
--requestheader-group-headers=X-Remote-Group
--requestheader-username-headers=X-Remote-User
--runtime-config=api/all=true
--service-account-key-file=/var/lib/kubernetes/service-accounts.crt
--service-account-signing-key-file=/var/lib/kubernetes/service-accounts.key
--service-account-issuer=https://k8s-api.example:6443
--service-cluster-ip-range=10.96.0.0/16
--service-node-port-range=30000-32767
--tls-cert-file=/var/lib/kubernetes/kube-api-server.crt
--tls-private-key-file=/var/lib/kubernetes/kube-api-server.key
--v=2
";

const CONTROLLER_MANAGER: &str = "\
--bind-address=0.0.0.0
--cluster-cidr=10.200.0.0/16
--cluster-name=kubernetes
--cluster-signing-cert-file=/var/lib/kubernetes/ca.crt
--cluster-signing-key-file=/var/lib/kubernetes/ca.key
--kubeconfig=/var/lib/kubernetes/kube-controller-manager.kubeconfig
--leader-elect=true
--root-ca-file=/var/lib/kubernetes/{trusted}.crt
--service-account-private-key-file=/var/lib/kubernetes/service-accounts.key
--service-cluster-ip-range=10.96.0.0/16
--use-service-account-credentials=true
--v=2
";

const SCHEDULER_CONFIG: &str = "\
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection:
  kubeconfig: \"/var/lib/kubernetes/kube-scheduler.kubeconfig\"
leaderElection:
  leaderElect: true
";

const KUBELET_CONFIG: &str = "\
kind: KubeletConfiguration
apiVersion: kubelet.config.k8s.io/v1beta1
address: \"0.0.0.0\"
authentication:
  anonymous:
    enabled: false
  webhook:
    enabled: true
  x509:
    clientCAFile: \"/var/lib/kubelet/ca.crt\"
authorization:
  mode: Webhook
cgroupDriver: systemd
containerRuntimeEndpoint: \"unix:///var/run/containerd/containerd.sock\"
enableServer: true
failSwapOn: false
maxPods: 16
memorySwap:
  swapBehavior: NoSwap
port: 10250
resolvConf: \"/etc/resolv.conf\"
registerNode: true
runtimeRequestTimeout: \"15m\"
tlsCertFile: \"/var/lib/kubelet/kubelet.crt\"
tlsPrivateKeyFile: \"/var/lib/kubelet/kubelet.key\"
";

const PROXY_CONFIG: &str = "\
kind: KubeProxyConfiguration
apiVersion: kubeproxy.config.k8s.io/v1alpha1
clientConnection:
  kubeconfig: \"/var/lib/kube-proxy/kubeconfig\"
mode: \"iptables\"
clusterCIDR: \"10.200.0.0/16\"
";
