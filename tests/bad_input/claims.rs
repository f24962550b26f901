//! What cluster.toml claims of the cluster and the snapshot contradicts.

use carota::diagnostic::Code;

use crate::case::{CONTROL_PLANES, Case, on};

const TOML: &str = "cluster.toml";
const OBJECT: &str = "\"configmaps/shop/gateway-trust\"";
const ENDPOINT: &str = "\"https://k8s-api.lab:6443\"";
const NODES: &str = "snapshot/cluster/nodes.yaml";

/// The example with one value of cluster.toml exchanged, refused there. Gives what was said.
fn exchanged(from: &str, to: &str) -> String {
    let case = Case::new().edit(TOML, from, to);
    case.refused(Code::NotInCluster, TOML, to)
}

fn restarting(workload: &str) -> Case {
    Case::new().edit(TOML, "restart = []", &format!("restart = [{workload}]"))
}

#[test]
fn a_workload_to_restart_that_is_not_there_is_refused_with_the_nearest() {
    restarting("\"deployments/shop/web\"").compiles();
    for (wrong, help) in [
        ("deployments/shop/nope", "did you mean `deployments/shop/"),
        (
            "deployment/shop/web",
            "did you mean `deployments/shop/web`?",
        ),
        (
            "deployments/shpo/web",
            "did you mean `deployments/shop/web`?",
        ),
        ("pods/shop/debug", "did you mean"),
        (
            "configmaps/x/y",
            "the kinds are `daemonsets`, `deployments`, `statefulsets`",
        ),
    ] {
        let wrong = format!("\"{wrong}\"");
        let said = restarting(&wrong).refused(Code::NotInCluster, TOML, &wrong);
        assert!(said.contains(help), "{said}");
    }
}

#[test]
fn a_trust_consumer_that_is_not_there_is_refused_at_its_object_key_or_file() {
    for wrong in [
        "configmaps/shop/gateway-trsut",
        "configmap/shop/gateway-trust",
    ] {
        let said = exchanged(OBJECT, &format!("\"{wrong}\""));
        let near = "did you mean `configmaps/shop/gateway-trust`?";
        assert!(said.contains(near), "{said}");
    }
    let said = exchanged("\"ca.crt\"", "\"ca.cert\"");
    assert!(said.contains("did you mean `ca.crt`?"), "{said}");
    let said = exchanged("\"ca.crt\"", "\"x\"");
    assert!(said.contains("its keys are ca.crt"), "{said}");
    let consumer =
        "\n[[trust_consumer]]\nfile = \"/etc/kubernetes/pik/ca.crt\"\nmode = \"bundle\"\n";
    let case = Case::new().append(TOML, consumer);
    let said = case.refused(Code::NotInCluster, TOML, "\"/etc/kubernetes/pik/ca.crt\"");
    let near = "did you mean `/etc/kubernetes/pki/ca.crt`?";
    assert!(said.contains(near), "{said}");
}

#[test]
fn a_leaf_of_somebody_else_that_is_not_there_is_refused_at_its_fingerprint() {
    let fingerprint = format!("\"{}\"", "0".repeat(64));
    let leaf = format!("\n[[external_leaf]]\nfingerprint = {fingerprint}\nowner = \"x\"\n");
    let case = Case::new().append(TOML, &leaf);
    case.refused(Code::NotInCluster, TOML, &fingerprint);
}

#[test]
fn an_endpoint_that_no_certificate_and_no_kubeconfig_has_is_refused() {
    for (wrong, near) in [
        ("https://k8s.lab:6443", "`https://k8s-api.lab:6443`"),
        ("https://10.99.99.99:6443", "`https://10.200.0."),
    ] {
        let said = exchanged(ENDPOINT, &format!("\"{wrong}\""));
        assert!(said.contains(&format!("did you mean {near}")), "{said}");
    }
    // By an address of an API server's certificate it is reached as well.
    let text = Case::new().text(&on("cp-1", "/etc/kubernetes/manifests/kube-apiserver.yaml"));
    let address = text.split("--advertise-address=").nth(1).unwrap();
    let address = address.lines().next().unwrap();
    let by_address = format!("\"https://{address}:6443\"");
    Case::new().edit(TOML, ENDPOINT, &by_address).compiles();
}

#[test]
fn an_endpoint_of_whoever_ends_tls_before_the_api_servers_is_taken() {
    let alice = "snapshot/users/alice.kubeconfig";
    let case = Case::new().edit(TOML, ENDPOINT, "\"https://front.example:443\"");
    let text = case.text(alice);
    let line = text.lines().find(|line| line.contains("server: ")).unwrap();
    let case = case.edit(alice, line, "    server: https://front.example:443");
    let output = case.compile();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("error[C043]"), "{said}");
}

#[test]
fn a_version_that_the_cluster_is_not_of_is_refused() {
    let said = exchanged("\"1.34.4\"", "\"1.33.0\"");
    assert!(said.contains("write `1.34.4`"), "{said}");
    exchanged("\"1.34.4\"", "\"1.35.0\"");
    // Another patch, or what some kubelets still are, is of the cluster.
    let case = Case::new().edit(TOML, "\"1.34.4\"", "\"1.34.0\"");
    case.compiles();
    let case = Case::new().edit(NODES, "kubeletVersion: v1.34.4", "kubeletVersion: v1.33.9");
    case.edit(TOML, "\"1.34.4\"", "\"1.33.0\"").compiles();
}

#[test]
fn kubelets_alone_leave_room_for_newer_api_servers() {
    let without_tags = || {
        CONTROL_PLANES.iter().fold(Case::new(), |case, node| {
            let manifest = on(node, "/etc/kubernetes/manifests/kube-apiserver.yaml");
            case.edit(&manifest, "kube-apiserver:v1.34.4", "kube-apiserver")
        })
    };
    let with = |version: &str| without_tags().edit(TOML, "\"1.34.4\"", version);
    with("\"1.35.0\"").compiles();
    for wrong in ["\"1.33.0\"", "\"1.38.0\""] {
        with(wrong).refused(Code::NotInCluster, TOML, wrong);
    }
}
