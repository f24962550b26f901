//! CAs whose keys are on no node, and certificates that somebody else signs.

use std::process::{Command, Output};

use carota::diagnostic::Code;
use carota::pki::{Certificate, SigningCa, certificates_in_pem};

use crate::case::{Case, judged, on};
use crate::certificates::{EARLY, LATE, ca, key};

const TOML: &str = "cluster.toml";
const CA: &str = "/etc/kubernetes/pki/ca.crt";
const SETTINGS: &str =
    "subject = \"CN=kubernetes-ca-2026-11-25\"\nkey = \"ecdsa-p256\"\nvalidity = \"10y\"\n";
const ELSEWHERE: &str = "external = true\ncertificate = \"office.pem\"\n";

/// The example with its cluster CA's key on no node, and nothing that signs with it.
fn external(settings: &str) -> Case {
    let case = Case::unlocked().edit(TOML, SETTINGS, settings);
    case.on_control_planes(|case, node| {
        let manifest = on(
            node,
            "/etc/kubernetes/manifests/kube-controller-manager.yaml",
        );
        let lines: Vec<String> = case
            .text(&manifest)
            .lines()
            .filter(|line| !line.contains("--cluster-signing-"))
            .map(str::to_owned)
            .collect();
        case.put(&manifest, lines.join("\n") + "\n")
            .remove(&on(node, "/etc/kubernetes/pki/ca.key"))
    })
}

fn carota(case: &Case, arguments: &[&str]) -> Output {
    Command::new(assert_cmd::cargo::cargo_bin!("carota"))
        .args(arguments)
        .current_dir(case.path(""))
        .output()
        .unwrap()
}

#[test]
fn a_key_on_no_node_must_be_meant() {
    external(SETTINGS).refused(Code::Unsupported, &on("cp-1", CA), "");
    let said = external(SETTINGS).refused_with(Code::Unsupported);
    assert!(
        said.contains("`external = true` in [rotation.ca.cluster]"),
        "{said}"
    );
    let meant = format!("external = true\n{SETTINGS}");
    external(&meant).compiles();
    let said = Case::unlocked().edit(TOML, SETTINGS, &meant).refused(
        Code::Unsupported,
        &on("cp-1", CA),
        "",
    );
    assert!(
        said.contains("cp-1 has its key as /etc/kubernetes/pki/ca.key"),
        "{said}"
    );
}

#[test]
fn an_imported_ca_without_a_key_must_be_external() {
    let only = "certificate = \"office.pem\"\n";
    external(only).refused(Code::TomlValue, TOML, "\"office.pem\"");
    external(ELSEWHERE).refused(Code::FileUnreadable, "office.pem", "");
}

/// The example whose cluster CA is somebody else's, its requests, and that CA.
fn requested() -> (Case, SigningCa) {
    let office = ca(EARLY, LATE);
    let case = external(ELSEWHERE).put("office.pem", office.certificate.to_pem());
    let said = case.refused_with(Code::Unsigned);
    assert!(said.contains("`carota request`"), "{said}");
    let output = carota(&case, &["request", TOML]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (case, office)
}

/// The certificate of an API server, as somebody would sign it, and as it is.
fn old(case: &Case) -> Certificate {
    let path = on("cp-1", "/etc/kubernetes/pki/apiserver.crt");
    certificates_in_pem(&case.text(&path), &path)
        .unwrap()
        .remove(0)
}

#[test]
fn what_answers_no_request_is_refused() {
    let (case, office) = requested();
    // For the key that the certificate has now: no request has that one.
    let signed = office.reissue(&old(&case), EARLY, LATE, "x").unwrap();
    for (text, code) in [
        (signed.to_pem(), Code::LeafInvalid),
        ("hello\n".to_owned(), Code::PemMalformed),
        (key(&office), Code::PrivateInSnapshot),
    ] {
        let case = &case;
        std::fs::write(case.path("signed.pem"), &text).unwrap();
        let before = case.tree();
        let said = judged(&carota(case, &["import", TOML, "signed.pem"]), code);
        assert!(said.contains(" --> signed.pem:1:1"), "{said}");
        assert!(!said.contains("PRIVATE KEY"), "{said}");
        assert_eq!(case.tree(), before, "something was written");
    }
    let said = judged(
        &carota(&case, &["import", TOML, "nowhere.pem"]),
        Code::FileUnreadable,
    );
    assert!(said.contains("nowhere.pem"), "{said}");
    // A CA alone is nobody's answer, and no error: it comes along with answers.
    std::fs::write(case.path("signed.pem"), office.certificate.to_pem()).unwrap();
    let output = carota(&case, &["import", TOML, "signed.pem"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("0 certificates taken, "), "{said}");
    assert!(!case.path("carota.lock").exists());
}

#[test]
fn a_lock_of_a_ca_with_a_key_is_not_taken_for_one_without() {
    let office = ca(EARLY, LATE);
    let case = external("external = true\ncertificate = \"office.pem\"\nkey = \"office.key\"\n")
        .put("office.pem", office.certificate.to_pem())
        .put("office.key", key(&office));
    case.compiles();
    case.edit(TOML, "key = \"office.key\"\n", "").refused(
        Code::LockMismatch,
        "carota.lock",
        "[ca.\"cluster\"]",
    );
}
