//! The CAs, old and new, and the certificates under them.

use carota::diagnostic::Code;
use carota::pki::{CaRequest, Certificate, KeyAlgorithm, SigningCa, certificates_in_pem};

use crate::case::{CONTROL_PLANES, Case, on, place_in};
use crate::certificates::{
    BEFORE, EARLY, LATE, ca, key, not_a_ca, pem, public_key, version_1, without_key_cert_sign,
};

const TOML: &str = "cluster.toml";
const CA: &str = "/etc/kubernetes/pki/ca.crt";
const FRONT_PROXY_CA: &str = "/etc/kubernetes/pki/front-proxy-ca.crt";
const CONTROLLER_MANAGER: &str = "/etc/kubernetes/manifests/kube-controller-manager.yaml";
const SETTINGS: &str =
    "subject = \"CN=kubernetes-ca-2026-11-25\"\nkey = \"ecdsa-p256\"\nvalidity = \"10y\"\n";
const IMPORT: &str = "certificate = \"ca.crt\"\nkey = \"ca.key\"\n";

/// The cluster CA of the example, as PEM and as a certificate.
fn old_ca() -> (String, Certificate) {
    let text = Case::new().text(&on("cp-1", CA));
    let certificate = certificates_in_pem(&text, CA).unwrap().remove(0);
    (text, certificate)
}

/// The example with another certificate as its cluster CA.
fn with_old_ca(pem: &str) -> Case {
    Case::new().on_control_planes(|case, node| case.put(&on(node, CA), pem))
}

/// The example with an imported new cluster CA.
fn importing(certificate: &str, key: &str) -> Case {
    Case::unlocked()
        .edit(TOML, SETTINGS, IMPORT)
        .put("ca.crt", certificate)
        .put("ca.key", key)
}

#[test]
fn an_old_ca_that_may_not_sign_is_refused() {
    for (pem, why) in [
        (without_key_cert_sign(), "may sign: false"),
        (not_a_ca(), "CA:false"),
        (version_1(), "version 1"),
    ] {
        let said = with_old_ca(&pem).refused(Code::NotACa, &on("cp-1", CA), "");
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn an_old_ca_that_is_not_valid_for_the_window_is_refused() {
    for (from, to) in [
        (EARLY, BEFORE),
        (EARLY, BEFORE + 7 * 86_400),
        (LATE, LATE + 1),
    ] {
        let pem = ca(from, to).certificate.to_pem();
        with_old_ca(&pem).refused(Code::CaExpired, &on("cp-1", CA), "");
    }
}

#[test]
fn an_imported_ca_that_may_not_sign_is_refused() {
    let key = key(&ca(EARLY, LATE));
    for (pem, why) in [
        (without_key_cert_sign(), "keyCertSign"),
        (not_a_ca(), "CA:TRUE"),
        (version_1(), "version 3"),
    ] {
        // Their key is not this one; what they are is looked at first.
        let said = importing(&pem, &key).refused(Code::NotACa, "ca.crt", "");
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn an_imported_ca_that_is_not_valid_for_the_window_is_refused() {
    for (from, to) in [(EARLY, BEFORE), (LATE, LATE + 1)] {
        let ca = ca(from, to);
        importing(&ca.certificate.to_pem(), &key(&ca)).refused_with(Code::CaExpired);
    }
}

#[test]
fn a_key_that_is_not_that_of_the_imported_ca_is_refused() {
    let (certificate, other) = (ca(EARLY, LATE), ca(EARLY, LATE));
    importing(&certificate.certificate.to_pem(), &key(&other)).refused(
        Code::KeyMismatch,
        "ca.key",
        "",
    );
}

#[test]
fn the_name_of_the_old_ca_is_refused_for_the_new_one() {
    let subject = "subject = \"CN=kubernetes-ca-2026-11-25\"";
    Case::unlocked()
        .edit(TOML, subject, "subject = \"CN=kubernetes\"")
        .refused_with(Code::ImportInvalid);
}

#[test]
fn an_imported_file_that_is_no_ca_is_refused() {
    let ca = ca(EARLY, LATE);
    let (good, private) = (ca.certificate.to_pem(), key(&ca));
    let (alien, _) = old_ca();
    importing("", &private).refused(Code::ImportInvalid, "ca.crt", "");
    importing(&(good.clone() + &alien), &private).refused(Code::ImportInvalid, "ca.crt", "");
    importing(&(good.clone() + &private), &private).refused_on_line(
        Code::ImportInvalid,
        "ca.crt",
        "PRIVATE KEY",
    );
    importing(&good, "").refused_with(Code::PemMalformed);
    importing(&good, &private[..private.len() / 2]).refused_with(Code::PemMalformed);
    importing(&good, "")
        .put_huge("ca.key")
        .refused(Code::FileUnreadable, "ca.key", "");
    let said = importing(&good, &private)
        .remove("ca.crt")
        .refused_with(Code::FileUnreadable);
    assert_eq!(place_in(&said), "ca.crt:1:1");
}

#[test]
fn an_imported_ca_is_taken() {
    let ca = ca(EARLY, LATE);
    let case = importing(&ca.certificate.to_pem(), &key(&ca));
    case.compiles();
    assert!(
        case.text("carota.lock")
            .contains(ca.certificate.fingerprint())
    );
}

#[test]
fn truncated_pem_is_refused_where_the_block_begins() {
    let (text, _) = old_ca();
    let half = &text[..text.len() / 2];
    let no_end = text.replace("-----END CERTIFICATE-----\n", "");
    for damaged in [half, &no_end, &text.replacen("\nM", "\n!", 1)] {
        Case::new().put(&on("cp-1", CA), damaged).refused(
            Code::PemMalformed,
            &on("cp-1", CA),
            "-----BEGIN",
        );
    }
    let no_begin = text.replace("-----BEGIN CERTIFICATE-----\n", "");
    Case::new().put(&on("cp-1", CA), no_begin).refused(
        Code::PemMalformed,
        &on("cp-1", CA),
        "-----END",
    );
}

#[test]
fn truncated_pem_in_a_leaf_or_a_kubeconfig_is_refused() {
    let leaf = on("cp-2", "/etc/kubernetes/pki/apiserver.crt");
    let text = Case::new().text(&leaf);
    Case::new().put(&leaf, &text[..text.len() / 2]).refused(
        Code::PemMalformed,
        &leaf,
        "-----BEGIN",
    );
    let alice = "snapshot/users/alice.kubeconfig";
    Case::new()
        .edit(
            alice,
            "certificate-authority-data: LS0t",
            "certificate-authority-data: LS0",
        )
        .refused(Code::PemMalformed, alice, "LS0");
}

#[test]
fn a_certificate_that_is_none_is_refused() {
    let der = old_ca().1.der().to_vec();
    let damaged = pem("CERTIFICATE", &der[..der.len() / 2]);
    Case::new().put(&on("cp-1", CA), damaged).refused(
        Code::CertificateMalformed,
        &on("cp-1", CA),
        "",
    );
}

#[test]
fn a_signer_with_a_bundle_is_refused() {
    let (text, _) = old_ca();
    let bundle = text + &ca(EARLY, LATE).certificate.to_pem();
    let (from, to) = (
        "--cluster-signing-cert-file=/etc/kubernetes/pki/ca.crt",
        "--cluster-signing-cert-file=/etc/kubernetes/pki/bundle.crt",
    );
    let file = on("cp-1", "/etc/kubernetes/pki/bundle.crt");
    Case::new()
        .edit(&on("cp-1", CONTROLLER_MANAGER), from, to)
        .put(&file, bundle)
        .refused(Code::SignerBundle, &file, "");
}

#[test]
fn a_bundle_where_one_ca_is_expected_is_refused() {
    let text = Case::new().text(&on("cp-1", FRONT_PROXY_CA));
    let bundle = text + &ca(EARLY, LATE).certificate.to_pem();
    Case::new()
        .put(&on("cp-1", FRONT_PROXY_CA), bundle)
        .refused(Code::HalfRotated, &on("cp-1", FRONT_PROXY_CA), "");
}

#[test]
fn control_planes_with_different_cas_are_refused() {
    Case::new()
        .put(
            &on("cp-3", FRONT_PROXY_CA),
            ca(EARLY, LATE).certificate.to_pem(),
        )
        .refused(Code::HalfRotated, &on("cp-3", FRONT_PROXY_CA), "");
}

#[test]
fn a_service_account_key_that_is_a_ca_key_is_refused() {
    let (text, certificate) = old_ca();
    for (node, public) in [("cp-1", public_key(&certificate)), ("cp-3", text)] {
        let file = on(node, "/etc/kubernetes/pki/sa.pub");
        Case::new()
            .put(&file, public)
            .refused(Code::SharedServiceAccountKey, &file, "");
    }
    for ca in ["ca.key", "front-proxy-ca.key"] {
        let case = Case::new();
        let kept = case.text(&on("cp-2", &format!("/etc/kubernetes/pki/{ca}")));
        let file = on("cp-2", "/etc/kubernetes/pki/sa.key");
        case.put(&file, kept)
            .refused(Code::SharedServiceAccountKey, &file, "");
    }
}

#[test]
fn several_service_account_keys_are_taken_unless_one_is_a_ca_key() {
    let manifest = "/etc/kubernetes/manifests/kube-apiserver.yaml";
    let flag = "    - --service-account-key-file=/etc/kubernetes/pki/sa.pub\n";
    let second = "    - --service-account-key-file=/etc/kubernetes/pki/sa-old.pub\n";
    let with = |key: &str| {
        Case::new()
            .edit(&on("cp-1", manifest), flag, &format!("{flag}{second}"))
            .put(&on("cp-1", "/etc/kubernetes/pki/sa-old.pub"), key)
    };
    with(&public_key(&ca(EARLY, LATE).certificate)).compiles();
    with(&public_key(&old_ca().1)).refused(
        Code::SharedServiceAccountKey,
        &on("cp-1", "/etc/kubernetes/pki/sa-old.pub"),
        "",
    );
}

#[test]
fn a_ca_that_no_flag_names_is_refused() {
    let flags = [
        ("kube-apiserver", "--requestheader-client-ca-file"),
        ("kube-controller-manager", "--requestheader-client-ca-file"),
    ];
    let case = Case::new().on_control_planes(|case, node| {
        flags.iter().fold(case, |case, (program, flag)| {
            let file = on(node, &format!("/etc/kubernetes/manifests/{program}.yaml"));
            case.edit(&file, &format!("    - {flag}={FRONT_PROXY_CA}\n"), "")
        })
    });
    case.refused(Code::CaNotFound, TOML, "front-proxy]");
}

#[test]
fn a_ca_whose_key_is_not_on_the_control_planes_is_refused() {
    let case = CONTROL_PLANES.iter().fold(Case::new(), |case, node| {
        case.remove(&on(node, "/etc/kubernetes/pki/front-proxy-ca.key"))
    });
    case.refused(Code::Unsupported, &on("cp-1", FRONT_PROXY_CA), "");
}

#[test]
fn a_leaf_that_expires_before_the_window_ends_is_refused() {
    let said = Case::unlocked()
        .edit(TOML, "not_before = 2026-11-25", "not_before = 2027-11-20")
        .refused_with(Code::LeafInvalid);
    assert!(
        place_in(&said).starts_with("snapshot/nodes/cp-1/"),
        "{said}"
    );
    assert!(said.contains("expires before the window ends"), "{said}");
}

#[test]
fn a_leaf_that_is_not_valid_yet_is_refused() {
    // After the CAs began, before the last certificate under them.
    let said = Case::unlocked()
        .edit(
            TOML,
            "not_before = 2026-11-25T00:00:00Z",
            "not_before = 2026-11-24T21:30:05Z",
        )
        .refused_with(Code::LeafInvalid);
    assert_eq!(place_in(&said), "snapshot/users/alice.kubeconfig:1:1");
    assert!(said.contains("not valid yet"), "{said}");
}

/// The old and the new one under one root: nothing takes trust in the root away, and so the plan says what it means.
#[test]
fn a_root_that_stays_above_both_is_named() {
    const ETCD: &str = "/etc/kubernetes/pki/etcd/ca.crt";
    let root = ca(EARLY, LATE);
    let under = |certificate: &Certificate| {
        let (from, to) = (certificate.not_before(), certificate.not_after());
        root.reissue(certificate, from, to, "under")
            .unwrap()
            .to_pem()
            + &root.certificate.to_pem()
    };
    let old = certificates_in_pem(&Case::new().text(&on("cp-1", ETCD)), ETCD)
        .unwrap()
        .remove(0);
    let own = SigningCa::mint(&CaRequest {
        subject: "CN=new under it".into(),
        key: KeyAlgorithm::EcdsaP256,
        not_before: EARLY,
        not_after: LATE,
        serial: [0x42; 16],
    })
    .unwrap();
    let settings =
        "subject = \"CN=etcd-ca-2026-11-25\"\nkey = \"ecdsa-p256\"\nvalidity = \"10y\"\n";
    let case = Case::unlocked()
        .edit(TOML, settings, IMPORT)
        .put("ca.crt", under(&own.certificate))
        .put("ca.key", key(&own))
        .on_control_planes(|case, node| case.put(&on(node, ETCD), under(&old)));
    case.compiles();
    let readme = case.text("plan/README.md");
    let said = "`CN=elsewhere`, above the old etcd CA, is above the new one too and stays trusted";
    assert!(readme.contains(said), "{readme}");
}
