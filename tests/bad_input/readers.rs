//! A program that reads a rotated CA, or a certificate under one, in a way that the proof does not
//! know stops the compile at the flag, unit or pod that names it. What is known is an edge.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use carota::diagnostic::Code;

use crate::case::{Case, on};

const TOML: &str = "cluster.toml";
const MANIFEST: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
const CA: &str = "/etc/kubernetes/pki/ca.crt";

fn text_of(path: &str) -> String {
    Case::new().text(&on("cp-1", path))
}

/// The example with one more flag of the API server on a node.
fn with_flag(case: Case, node: &str, flag: &str) -> Case {
    let first = "    - --advertise-address";
    case.edit(
        &on(node, MANIFEST),
        first,
        &format!("    - {flag}\n{first}"),
    )
}

/// Refused at this flag of the API server on cp-1.
fn refused_at(case: &Case, flag: &str) -> String {
    case.refused_on_line(Code::UnknownReader, &on("cp-1", MANIFEST), flag)
}

#[test]
fn an_api_server_s_second_serving_pair_is_refused() {
    let pair = "/etc/kubernetes/pki/sni.crt,/etc/kubernetes/pki/sni.key:api.example";
    let leaf = text_of("/etc/kubernetes/pki/apiserver.crt");
    let case = Case::new().put(&on("cp-1", "/etc/kubernetes/pki/sni.crt"), leaf);
    let case = with_flag(case, "cp-1", &format!("--tls-sni-cert-key={pair}"));
    let said = refused_at(&case, "--tls-sni-cert-key");
    assert!(said.contains("[[external_leaf]]"), "{said}");
    assert!(said.contains("/etc/kubernetes/pki/sni.crt"), "{said}");
}

#[test]
fn a_ca_for_an_identity_provider_is_refused_until_it_is_declared() {
    let path = "/etc/kubernetes/pki/oidc-ca.crt";
    let case = Case::new().put(&on("cp-1", path), text_of(CA));
    let case = with_flag(case, "cp-1", &format!("--oidc-ca-file={path}"));
    let said = refused_at(&case, "--oidc-ca-file");
    let toml = &said[said.find("\n[[trust_consumer]]").unwrap()..];
    let case = case.append(TOML, toml);
    case.compiles();
    let readme = case.text("plan/README.md");
    let weak = "--oidc-ca-file of kube-apiserver on cp-1 reads /etc/kubernetes/pki/oidc-ca.crt, as declared: not proven";
    assert!(readme.contains(weak), "{readme}");
}

#[test]
fn a_configuration_that_holds_or_names_a_ca_is_refused() {
    let indented = text_of(CA).replace('\n', "\n      ");
    let authentication = format!(
        "kind: AuthenticationConfiguration\njwt:\n- issuer:\n    url: https://idp.example\n    certificateAuthority: |\n      {indented}\n"
    );
    let egress = format!(
        "kind: EgressSelectorConfiguration\negressSelections:\n- name: cluster\n  connection:\n    transport:\n      tcp:\n        tlsConfig:\n          caBundle: {CA}\n"
    );
    for (flag, config) in [
        ("authentication-config", authentication),
        ("egress-selector-config-file", egress.clone()),
        ("authorization-config", egress.clone()),
        ("admission-control-config-file", egress),
    ] {
        let path = format!("/etc/kubernetes/pki/{flag}.yaml");
        let case = Case::new().put(&on("cp-1", &path), config);
        let case = with_flag(case, "cp-1", &format!("--{flag}={path}"));
        refused_at(&case, &format!("--{flag}"));
    }
}

#[test]
fn a_certificate_in_a_kubelet_s_flag_is_known_or_refused() {
    let environment = on("worker-2", "/var/lib/kubelet/kubeadm-flags.env");
    let with = |flag: &str| {
        let flag = format!("ARGS=\"--{flag}=/var/lib/kubelet/pki/kubelet-server-current.pem ");
        Case::new().edit(&environment, "ARGS=\"", &flag)
    };
    with("tls-cert-file").compiles();
    let said = with("x-cert-file").refused_with(Code::UnknownReader);
    assert!(
        said.contains("--x-cert-file of the kubelet on worker-2"),
        "{said}"
    );
}

#[test]
fn a_unit_that_names_a_kubeconfig_is_refused() {
    let unit = on("worker-1", "/etc/systemd/system/node-agent.service");
    let text =
        "[Service]\nExecStart=/usr/bin/node-agent --kubeconfig=/etc/kubernetes/kubelet.conf\n";
    let case = Case::new().put(&unit, text);
    let said = case.refused(Code::UnknownReader, &unit, "/etc/kubernetes/kubelet.conf");
    assert!(said.contains("node-agent.service on worker-1"), "{said}");
}

#[test]
fn kube_proxy_as_a_unit_is_known_with_its_configuration_or_refused_without() {
    let unit = on("worker-1", "/etc/systemd/system/kube-proxy.service");
    let text = |flag: &str| format!("[Service]\nExecStart=/usr/bin/kube-proxy {flag}\n");
    let direct = text("--kubeconfig=/etc/kubernetes/kubelet.conf");
    Case::new().put(&unit, direct).compiles();
    let missing = Case::new().put(&unit, text("--config=/etc/kube-proxy.yaml"));
    let said = missing.refused(Code::FileUnreadable, &unit, "--config=");
    assert!(
        said.contains("the kubeconfig that it names is not seen"),
        "{said}"
    );
}

#[test]
fn what_else_such_a_configuration_names_is_looked_at() {
    let unit = on("worker-1", "/etc/systemd/system/kube-proxy.service");
    let text = "[Service]\nExecStart=/usr/bin/kube-proxy --config=/etc/kube-proxy.yaml\n";
    let config = on("worker-1", "/etc/kube-proxy.yaml");
    let named = |more: &str| {
        format!(
            "kind: KubeProxyConfiguration\nclientConnection:\n  kubeconfig: /etc/kubernetes/kubelet.conf\n{more}"
        )
    };
    let case = Case::new().put(&unit, text);
    case.put(&config, named("")).compiles();
    let case = Case::new().put(&unit, text);
    let other = case.put(&config, named("other: /etc/kubernetes/pki/ca.crt\n"));
    let said = other.refused(Code::UnknownReader, &unit, "--config=");
    assert!(said.contains("/etc/kubernetes/pki/ca.crt"), "{said}");
}

#[test]
fn a_unit_that_reads_etcd_s_files_each_time_it_runs_is_known_by_path() {
    let unit = on("cp-1", "/etc/systemd/system/etcd-backup.service");
    let text = |kind: &str| {
        format!(
            "[Service]\nType={kind}\nExecStart=/usr/bin/etcdctl --cacert=/etc/kubernetes/pki/etcd/ca.crt \
             --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt snapshot save /var/backups/etcd\n"
        )
    };
    Case::new().put(&unit, text("oneshot")).compiles();
    let lasting = Case::new().put(&unit, text("simple"));
    lasting.refused(
        Code::UnknownReader,
        &unit,
        "/etc/kubernetes/pki/etcd/ca.crt",
    );
}

/// A container with the control plane's folder of certificates at /pki.
fn container(name: &str, argument: &str) -> String {
    format!(
        "  - name: {name}\n    image: {name}\n    args: [\"{argument}\"]\n    volumeMounts:\n    - mountPath: /pki\n      name: k8s-certs\n"
    )
}

#[test]
fn a_container_beside_the_api_server_that_names_a_ca_is_refused() {
    let manifest = on("cp-1", MANIFEST);
    let add = |argument: &str| {
        let more = container("agent", argument);
        Case::new().edit(
            &manifest,
            "  hostNetwork: true\n",
            &format!("{more}  hostNetwork: true\n"),
        )
    };
    let said = add("--proxy-ca=/pki/ca.crt").refused_with(Code::UnknownReader);
    assert!(said.contains("container `agent`"), "{said}");
    let quiet = add("--verbose");
    quiet.compiles();
    let mounts = "mounts /etc/kubernetes/pki: whether it reads it is not in the snapshot";
    assert!(quiet.text("plan/README.md").contains(mounts));
}

#[test]
fn a_static_pod_of_another_program_that_names_a_ca_is_refused() {
    let manifest = on("cp-1", "/etc/kubernetes/manifests/haproxy.yaml");
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: haproxy\n  namespace: kube-system\nspec:\n  containers:\n{}  volumes:\n  - name: k8s-certs\n    hostPath:\n      path: /etc/kubernetes/pki\n",
        container("haproxy", "ca-file /pki/ca.crt")
    );
    let said = Case::new()
        .put(&manifest, pod)
        .refused(Code::UnknownReader, &manifest, "");
    assert!(said.contains("container `haproxy`"), "{said}");
}

#[test]
fn a_workload_that_names_a_ca_on_the_node_is_refused() {
    let file = "snapshot/cluster/daemonsets.yaml";
    let item = "items:\n- apiVersion: apps/v1\n  kind: DaemonSet\n  metadata:\n    name: exporter\n    namespace: shop\n  spec:\n    template:\n      spec:\n        automountServiceAccountToken: false\n        containers:\n        - name: exporter\n          image: exporter\n          command: [exporter, \"--etcd-ca=/host/etcd/ca.crt\"]\n          volumeMounts:\n          - {name: pki, mountPath: /host}\n        volumes:\n        - name: pki\n          hostPath: {path: /etc/kubernetes/pki}\n";
    let case = Case::new().edit(file, "items:\n", item);
    let said = case.refused(Code::UnknownReader, file, "");
    assert!(said.contains("daemonsets/shop/exporter"), "{said}");
    assert!(said.contains("/etc/kubernetes/pki/etcd/ca.crt"), "{said}");
}

#[test]
fn webhooks_of_kubeconfigs_are_edges() {
    let path = "/etc/kubernetes/pki/authz.conf";
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: authz\n  cluster:\n    server: https://authz.shop.svc\n    certificate-authority-data: {}\nusers:\n- name: apiserver\n  user: {{}}\ncontexts:\n- name: authz\n  context: {{cluster: authz, user: apiserver}}\ncurrent-context: authz\n",
        BASE64.encode(text_of(CA))
    );
    let case = Case::new().on_control_planes(|case, node| {
        let case = case.put(&on(node, path), &kubeconfig);
        with_flag(
            case,
            node,
            &format!("--authorization-webhook-config-file={path}"),
        )
    });
    case.compiles();
    let plan: serde_json::Value = serde_json::from_str(&case.text("plan/plan.json")).unwrap();
    let kind = "API server → authentication, authorization, audit webhook";
    assert_eq!(plan["proof"]["edges"][kind], 3);
    let rows = plan["proof"]["matrix"].as_array().unwrap();
    let row = rows.iter().find(|row| row["kind"] == kind).unwrap();
    let at = |phase: usize| {
        row["cells"][phase]["parts"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .clone()
    };
    let last = row["cells"].as_array().unwrap().len() - 1;
    assert_eq!(at(0)["trusted"], "old");
    assert_eq!(at(last)["trusted"], "new");
}

#[test]
fn what_may_hold_trust_and_is_not_in_the_snapshot_is_said_to_be_unproven() {
    let secret = "items:\n- apiVersion: v1\n  data:\n    fleet.kubeconfig: carota-kept:token@cluster/secrets.yaml#1\n    value: carota-kept:token@cluster/secrets.yaml#2\n    password: carota-kept:token@cluster/secrets.yaml#3\n  kind: Secret\n  metadata:\n    name: remote\n    namespace: shop\n  type: Opaque\n";
    let case = Case::new().edit("snapshot/cluster/secrets.yaml", "items:\n", secret);
    let case = with_flag(
        case,
        "cp-1",
        "--oidc-ca-file=/etc/kubernetes/pki/absent.pem",
    );
    let user = "snapshot/users/alice.kubeconfig";
    let text = case.text(user);
    let at = text.find("client-certificate-data").unwrap();
    let (before, entry) = text[..at].rsplit_once('\n').unwrap();
    let exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: login, interactiveMode: Never}";
    let with = format!("{before}\n{entry}{exec}\n{entry}{}", &text[at..]);
    let case = case.put(user, with);
    case.compiles();
    let readme = case.text("plan/README.md");
    for said in [
        "secrets/shop/remote holds `fleet.kubeconfig`",
        "secrets/shop/remote holds `value`",
        "--oidc-ca-file of kube-apiserver on cp-1 reads /etc/kubernetes/pki/absent.pem, whose text is not in the snapshot",
        "user alice has what it shows from a program (exec)",
    ] {
        assert!(readme.contains(said), "{said}:\n{readme}");
    }
    assert!(!readme.contains("`password`"));
}

#[test]
fn a_sidecar_that_names_a_ca_is_refused() {
    let file = "snapshot/cluster/daemonsets.yaml";
    let item = |policy: &str| {
        format!(
            "items:\n- apiVersion: apps/v1\n  kind: DaemonSet\n  metadata:\n    name: exporter\n    namespace: shop\n  spec:\n    template:\n      spec:\n        automountServiceAccountToken: false\n        containers:\n        - name: exporter\n          image: exporter\n        initContainers:\n        - name: tunnel\n          image: tunnel\n{policy}          args: [\"--ca=/host/etcd/ca.crt\"]\n          volumeMounts:\n          - {{name: pki, mountPath: /host}}\n        volumes:\n        - name: pki\n          hostPath: {{path: /etc/kubernetes/pki}}\n"
        )
    };
    Case::new().edit(file, "items:\n", &item("")).compiles();
    let sidecar = item("          restartPolicy: Always\n");
    let case = Case::new().edit(file, "items:\n", &sidecar);
    let said = case.refused(Code::UnknownReader, file, "");
    assert!(said.contains("container `tunnel`"), "{said}");
}

#[test]
fn a_ca_is_found_however_many_configurations_lead_to_it() {
    // As an API server names an image policy webhook: one file relative to the other, and that a kubeconfig.
    let folder = "/etc/kubernetes/pki/admission";
    let files = [
        ("config.yaml", "plugins:\n- name: ImagePolicyWebhook\n  path: policy/webhook.yaml\n".to_owned()),
        ("policy/webhook.yaml", "imagePolicy:\n  kubeConfigFile: ./webhook.conf\n".to_owned()),
        (
            "policy/webhook.conf",
            "apiVersion: v1\nkind: Config\nclusters:\n- name: w\n  cluster: {server: 'https://policy.example', certificate-authority: AUTHORITY}\n".to_owned(),
        ),
    ];
    let put = |case: Case, authority: &str| {
        let case = files.iter().fold(case, |case, (name, text)| {
            let text = text.replace("AUTHORITY", authority);
            case.put(&on("cp-1", &format!("{folder}/{name}")), text)
        });
        with_flag(
            case,
            "cp-1",
            &format!("--admission-control-config-file={folder}/config.yaml"),
        )
    };
    let said = refused_at(&put(Case::new(), CA), "--admission-control-config-file");
    assert!(said.contains(CA), "{said}");
    put(Case::new(), "/etc/kubernetes/pki/sa.pub").compiles();
}

#[test]
fn a_pod_that_gets_a_declared_ca_and_is_not_restarted_is_said_to_be_unproven() {
    let file = "snapshot/cluster/deployments.yaml";
    let item = "items:\n- apiVersion: apps/v1\n  kind: Deployment\n  metadata:\n    name: backup\n    namespace: shop\n  spec:\n    replicas: 1\n    template:\n      spec:\n        automountServiceAccountToken: false\n        containers:\n        - name: backup\n          image: backup\n        volumes:\n        - name: all\n          projected:\n            sources:\n            - configMap: {name: gateway-trust}\n";
    let weak = "deployments/shop/backup gets configmaps/shop/gateway-trust, and its `restart`";
    let case = Case::new().edit(file, "items:\n", item);
    case.compiles();
    assert!(case.text("plan/README.md").contains(weak));
    let case = case.edit(
        TOML,
        "restart = []",
        "restart = [\"deployments/shop/backup\"]",
    );
    case.compiles();
    assert!(!case.text("plan/README.md").contains(weak));
}
