//! Manifests and configurations of shapes that cannot be edited safely, and one that can.

use std::fs;

use carota::diagnostic::Code;

use crate::case::{Case, on};

const MANIFEST: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
const CLIENT_CA: &str = "    - --client-ca-file=/etc/kubernetes/pki/ca.crt\n";

/// The manifest with one edit is refused where `needle` stands.
fn refuses(code: Code, from: &str, to: &str, needle: &str) {
    let file = on("cp-1", MANIFEST);
    Case::new()
        .edit(&file, from, to)
        .refused(code, &file, needle);
}

#[test]
fn anchors_and_aliases_are_refused_at_their_place() {
    let component = "    component: kube-apiserver\n";
    let anchored = "    component: &name kube-apiserver\n    alias: *name\n";
    refuses(
        Code::ManifestShape,
        component,
        anchored,
        "kube-apiserver\n    alias",
    );
    let alias = "    component: kube-apiserver\n    alias: *name\n";
    refuses(Code::ManifestShape, component, alias, "*name");
    let merge = "    <<: {a: b}\n    component: kube-apiserver\n";
    refuses(Code::ManifestShape, component, merge, "<<");
}

#[test]
fn a_second_document_is_refused_at_its_place() {
    let file = on("cp-1", MANIFEST);
    Case::new()
        .append(&file, "---\nkind: Pod # second\n")
        .refused_on_line(Code::ManifestShape, &file, "---");
}

#[test]
fn a_duplicate_flag_is_refused_at_the_second_place() {
    let again = format!("{CLIENT_CA}    - --client_ca_file=/etc/other.crt\n");
    refuses(Code::ManifestShape, CLIENT_CA, &again, "--client_ca_file");
}

#[test]
fn a_duplicate_key_is_refused_at_the_second_place() {
    refuses(
        Code::ManifestShape,
        "kind: Pod\n",
        "kind: Pod\nkind: Pod # again\n",
        "kind: Pod # again",
    );
}

#[test]
fn a_shell_that_hides_the_flags_is_refused_at_its_place() {
    let command = "  - command:\n    - kube-apiserver\n";
    let hidden = "  - command:\n    - sh\n    - -c\n    - exec kube-apiserver \"$@\"\n";
    refuses(Code::ManifestShape, command, hidden, "-c\n");
}

#[test]
fn a_flag_in_a_block_scalar_is_refused_at_its_place() {
    let block = "    - >-\n      --client-ca-file=/etc/kubernetes/pki/ca.crt\n";
    let at = ">-\n      --client-ca-file";
    refuses(Code::ManifestShape, CLIENT_CA, block, at);
}

#[test]
fn what_is_no_yaml_or_no_pod_is_refused() {
    refuses(
        Code::ManifestShape,
        "kind: Pod\n",
        "kind: Deployment\n",
        "apiVersion",
    );
    let file = on("cp-1", MANIFEST);
    Case::new()
        .edit(&file, "metadata:\n", "metadata: [\n")
        .refused_with(Code::YamlSyntax);
}

#[test]
fn a_file_that_no_volume_of_the_host_covers_is_refused_at_its_flag() {
    let elsewhere = "    - --client-ca-file=/opt/ca.crt\n";
    refuses(
        Code::Unsupported,
        CLIENT_CA,
        elsewhere,
        "--client-ca-file=/opt",
    );
}

#[test]
fn a_file_that_the_snapshot_lacks_is_refused_at_its_flag() {
    let lost = "    - --client-ca-file=/etc/kubernetes/pki/lost.crt\n";
    refuses(
        Code::FileUnreadable,
        CLIENT_CA,
        lost,
        "--client-ca-file=/etc/kubernetes/pki/lost",
    );
}

#[test]
fn a_control_plane_without_api_server_is_refused_where_it_is_declared() {
    Case::new().remove(&on("cp-2", MANIFEST)).refused(
        Code::ComponentMissing,
        "cluster.toml",
        "\"cp-2\"",
    );
}

#[test]
fn a_flag_and_its_value_in_two_items_are_edited_as_they_stand() {
    let two = "    - --client-ca-file\n    - /etc/kubernetes/pki/ca.crt\n";
    let case =
        Case::new().on_control_planes(|case, node| case.edit(&on(node, MANIFEST), CLIENT_CA, two));
    case.compiles();
    let image = |phase: &str| {
        let path = format!("plan/{phase}/nodes/cp-2{MANIFEST}");
        fs::read_to_string(case.path(&path)).unwrap()
    };
    let wide = "    - --client-ca-file\n    - /etc/kubernetes/pki/ca-bundle.crt\n";
    assert!(image("05-apiserver-trust").contains(wide));
    assert_eq!(
        image("18-retire-control-plane"),
        case.text(&on("cp-2", MANIFEST))
    );
}
