//! Rotations that somebody began and did not finish.

use std::process::{Command, Output};

use carota::diagnostic::Code;

use crate::case::{Case, judged, on};
use crate::certificates::{EARLY, LATE, ca, key};

const TOML: &str = "cluster.toml";
const CA: &str = "/etc/kubernetes/pki/ca.crt";
const APISERVER: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
const SETTINGS: &str =
    "subject = \"CN=kubernetes-ca-2026-11-25\"\nkey = \"ecdsa-p256\"\nvalidity = \"10y\"\n";
const RESUMED: &str = "resume = true\ncertificate = \"new.pem\"\nkey = \"new.key\"\n";

/// The example, in which the rotation of the cluster CA to this one is to be finished.
fn resumed() -> (Case, String) {
    let new = ca(EARLY, LATE);
    let case = Case::unlocked()
        .edit(TOML, SETTINGS, RESUMED)
        .put("new.pem", new.certificate.to_pem())
        .put("new.key", key(&new));
    (case, new.certificate.to_pem())
}

/// The example's API servers with another file of trust in their clients, which holds both.
fn trusting(file: &str) -> Case {
    let (case, new) = resumed();
    case.on_control_planes(|case, node| {
        let both = case.text(&on(node, CA)) + &new;
        case.put(&on(node, file), both).edit(
            &on(node, APISERVER),
            &format!("--client-ca-file={CA}"),
            &format!("--client-ca-file={file}"),
        )
    })
}

#[test]
fn what_was_begun_by_hand_is_finished() {
    trusting("/etc/kubernetes/pki/trusted.crt").compiles();
    // Nobody need have brought it anywhere yet.
    resumed().0.compiles();
}

#[test]
fn resuming_needs_the_new_ca() {
    Case::unlocked()
        .edit(TOML, SETTINGS, "resume = true\n")
        .refused(Code::TomlValue, TOML, "true\n");
}

#[test]
fn a_plan_that_was_stopped_is_not_resumed_by_another() {
    let file = "/etc/kubernetes/pki/ca-bundle.crt";
    let said = trusting(file).refused(Code::HalfRotated, &on("cp-1", file), "");
    assert!(said.contains("with its own scripts"), "{said}");
}

#[test]
fn a_third_ca_is_one_too_many() {
    let third = ca(EARLY, LATE).certificate.to_pem();
    let file = "/etc/kubernetes/pki/trusted.crt";
    let case = trusting(file).on_control_planes(|case, node| {
        let all = case.text(&on(node, file)) + &third;
        case.put(&on(node, file), all)
    });
    case.refused(Code::HalfRotated, &on("cp-1", file), "");
    let said = judged(&described(&case), Code::HalfRotated);
    assert!(
        said.contains("which comes and which goes") || said.contains("cannot be told"),
        "{said}"
    );
}

fn described(case: &Case) -> Output {
    Command::new(assert_cmd::cargo::cargo_bin!("carota"))
        .args(["init", "snapshot", "--out", "again.toml", "--resume"])
        .current_dir(case.path(""))
        .output()
        .unwrap()
}

#[test]
fn what_nobody_began_is_not_resumed() {
    let case = Case::new();
    let before = case.tree();
    judged(&described(&case), Code::CaNotFound);
    assert_eq!(case.tree(), before, "something was written");
}

#[test]
fn what_is_finished_is_not_resumed() {
    let (case, new) = resumed();
    let case = case.on_control_planes(|case, node| case.put(&on(node, CA), &new));
    let said = case.refused_with(Code::CaNotFound);
    assert!(said.contains("it has been rotated"), "{said}");
}
