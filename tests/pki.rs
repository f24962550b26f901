//! What carota issues is accepted by others: OpenSSL in its strict mode judges every certificate and
//! key, and makes the old CAs and leaves that are re-issued. Its command line tool must be installed.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use carota::diagnostic::Code;
use carota::pki::verify::verify;
use carota::pki::{
    Bundle, CaRequest, CaSource, Certificate, Issuer, KeyAlgorithm, Keyring, LeafRequest, Lock,
    PrivateText, Purpose, SigningCa, VerifyError, certificates_in_pem, facts, import_public,
};

/// 2030-01-01, 2031-01-01 and 2040-01-01.
const BEGIN: i64 = 1_893_456_000;
const END: i64 = 1_924_992_000;
const CA_END: i64 = 2_208_988_800;
const ROTATION: &str = "2030-01-kubernetes";

const SERVER: Purpose<'_> = Purpose::Server {
    name: Some("api.example"),
};

/// A directory where OpenSSL works.
struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Lab {
        Lab {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn run(&self, arguments: &str) -> Output {
        Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.dir.path())
            .output()
            .expect("these tests need the openssl command line tool")
    }

    fn openssl(&self, arguments: &str) {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "openssl {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn key(&self, name: &str, kind: &str) {
        let options = match kind {
            "rsa" => "RSA -pkeyopt rsa_keygen_bits:2048",
            "rsa-3072" => "RSA -pkeyopt rsa_keygen_bits:3072",
            "p521" => "EC -pkeyopt ec_paramgen_curve:P-521",
            "p384" => "EC -pkeyopt ec_paramgen_curve:P-384",
            _ => "EC -pkeyopt ec_paramgen_curve:P-256",
        };
        self.openssl(&format!("genpkey -out {name}.key -algorithm {options}"));
    }

    fn certificate(&self, name: &str) -> Certificate {
        let file = format!("{name}.crt");
        let mut found = certificates_in_pem(&self.read(&file), &file).unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    /// Makes `name.crt` and its key, signed by `ca`, or by itself for `ca == name`.
    fn issue(&self, name: &str, ca: &str, kind: &str, subject: &str, options: &str, ext: &str) {
        self.key(name, kind);
        self.write("ext", ext);
        self.openssl(&format!(
            "req -new -key {name}.key -out {name}.csr -subj {subject}"
        ));
        let signer = if ca == name {
            format!("-signkey {name}.key")
        } else {
            format!("-CA {ca}.crt -CAkey {ca}.key")
        };
        let extensions = if ext.is_empty() { "" } else { "-extfile ext" };
        self.openssl(&format!(
            "x509 -req -in {name}.csr -out {name}.crt {signer} -days 3650 {options} {extensions}"
        ));
    }

    /// A CA as kubeadm 1.20 makes it: serial number 0, no SAN.
    fn old_ca(&self) {
        self.issue(
            "old-ca",
            "old-ca",
            "p256",
            "/CN=kubernetes",
            "-set_serial 0",
            "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign\n\
             basicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=hash\n",
        );
    }

    /// A serving and client certificate of the old CA.
    fn old_leaf(&self, name: &str, kind: &str, more: &str) -> Certificate {
        self.issue(
            name,
            "old-ca",
            kind,
            &format!("/O=system:masters/O=second/CN={name}"),
            "-set_serial 77",
            &format!(
                "keyUsage=critical,digitalSignature,keyEncipherment\n\
                 extendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=critical,CA:FALSE\n\
                 subjectAltName=DNS:api.example,DNS:*.svc.example,IP:10.96.0.1,IP:fd00::1\n{more}\n"
            ),
        );
        self.certificate(name)
    }

    fn put(&self, name: &str, certificates: &[Certificate]) {
        let text: String = certificates.iter().map(Certificate::to_pem).collect();
        self.write(name, &text);
    }

    /// OpenSSL, in strict mode, accepts the leaf as a server by name and by address, and as a client.
    fn accepts(&self, leaf: &Certificate, between: &[Certificate], anchor: &Certificate) {
        self.put("leaf.pem", std::slice::from_ref(leaf));
        self.put("anchor.pem", std::slice::from_ref(anchor));
        self.put("between.pem", between);
        let untrusted = if between.is_empty() {
            ""
        } else {
            "-untrusted between.pem"
        };
        for purpose in [
            "-purpose sslserver -verify_hostname api.example",
            "-purpose sslserver -verify_hostname web.svc.example",
            "-purpose sslserver -verify_ip 10.96.0.1",
            "-purpose sslserver -verify_ip fd00::1",
            "-purpose sslclient",
        ] {
            self.openssl(&format!(
                "verify -x509_strict -check_ss_sig -attime {} -CAfile anchor.pem {untrusted} {purpose} leaf.pem",
                leaf.not_before() + 1
            ));
        }
    }
}

fn request(key: KeyAlgorithm) -> CaRequest {
    CaRequest {
        subject: "CN=kubernetes 2030,O=example".to_owned(),
        key,
        not_before: BEGIN,
        not_after: CA_END,
        serial: [0x41; 16],
    }
}

fn mint(key: KeyAlgorithm) -> SigningCa {
    SigningCa::mint(&request(key)).unwrap()
}

fn reissued(ca: &SigningCa, old: &Certificate) -> Certificate {
    ca.reissue(old, BEGIN, END, ROTATION).unwrap()
}

/// The text of a certificate's extensions as OpenSSL prints them.
fn extension_text(lab: &Lab, certificate: &Certificate) -> String {
    lab.put("shown.pem", std::slice::from_ref(certificate));
    let output = lab.run("x509 -in shown.pem -noout -text -certopt no_header,no_version,no_serial,no_signame,no_issuer,no_validity,no_subject,no_pubkey,no_sigdump");
    String::from_utf8(output.stdout).unwrap()
}

fn issued_under(key: KeyAlgorithm, old_kind: &str) {
    let lab = Lab::new();
    lab.old_ca();
    let old = lab.old_leaf("server", old_kind, "");
    let ca = mint(key);
    lab.accepts(&reissued(&ca, &old), &[], &ca.certificate);
    assert_eq!(
        verify(
            &reissued(&ca, &old),
            &[],
            std::slice::from_ref(&ca.certificate),
            SERVER,
            BEGIN
        ),
        Ok(())
    );
    lab.write("ca.key", ca.key.to_pem().expose());
    lab.openssl("pkey -in ca.key -check -noout");
    let ca_text = ca.certificate.to_pem();
    lab.write("self.pem", &ca_text);
    lab.openssl(&format!(
        "verify -x509_strict -check_ss_sig -attime {BEGIN} -CAfile self.pem self.pem"
    ));
    assert_eq!(ca.certificate.subject(), "O=example, CN=kubernetes 2030");
    assert_eq!(ca.certificate.serial(), "41".repeat(16));
    assert_eq!(ca.certificate.key_algorithm_text(), key.certificate_text());
}

#[test]
fn what_an_rsa_2048_ca_issues_passes_openssl_strictly() {
    issued_under(KeyAlgorithm::Rsa2048, "rsa");
}

#[test]
fn what_an_rsa_4096_ca_issues_passes_openssl_strictly() {
    issued_under(KeyAlgorithm::Rsa4096, "p256");
}

#[test]
fn what_a_p256_ca_issues_passes_openssl_strictly() {
    issued_under(KeyAlgorithm::EcdsaP256, "rsa");
}

#[test]
fn what_a_p384_ca_issues_passes_openssl_strictly() {
    issued_under(KeyAlgorithm::EcdsaP384, "p384");
}

#[test]
fn a_leaf_keeps_subject_key_and_extensions_byte_for_byte() {
    let lab = Lab::new();
    lab.old_ca();
    let old = lab.old_leaf(
        "server",
        "p256",
        "subjectKeyIdentifier=hash\nnsComment=kept",
    );
    let ca = mint(KeyAlgorithm::EcdsaP256);
    let new = reissued(&ca, &old);
    assert_eq!(new.subject_der(), old.subject_der());
    assert_eq!(new.organizations(), ["system:masters", "second"]);
    assert_eq!(new.common_name().as_deref(), Some("server"));
    assert_eq!(new.spki_der(), old.spki_der());
    assert_eq!(new.issuer_der(), ca.certificate.subject_der());
    assert_eq!((new.not_before(), new.not_after()), (BEGIN, END));
    assert_eq!(new.aki(), ca.certificate.ski());
    assert_ne!(new.aki(), old.aki());
    let without_aki = |text: String| {
        let colons = |line: &str| line.len() == 75 && line.contains(':');
        let keep = |line: &&str| !line.contains("Authority Key") && !colons(line);
        text.lines()
            .filter(keep)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        without_aki(extension_text(&lab, &new)),
        without_aki(extension_text(&lab, &old))
    );
}

#[test]
fn the_same_leaf_under_the_same_ca_is_the_same_bytes() {
    let lab = Lab::new();
    lab.old_ca();
    let old = lab.old_leaf("server", "p256", "");
    for key in [
        KeyAlgorithm::Rsa2048,
        KeyAlgorithm::EcdsaP256,
        KeyAlgorithm::EcdsaP384,
    ] {
        let ca = mint(key);
        let first = reissued(&ca, &old);
        assert_eq!(first, reissued(&ca, &old));
        assert_eq!(first.serial().len(), 32);
        assert!(
            first.serial().as_bytes()[0] < b'8',
            "the serial number is positive"
        );
        let other = ca.reissue(&old, BEGIN, END, "another rotation").unwrap();
        assert_ne!(first.serial(), other.serial());
    }
}

#[test]
fn a_leaf_without_an_authority_key_identifier_gets_one() {
    let lab = Lab::new();
    lab.old_ca();
    let old = lab.old_leaf(
        "server",
        "p256",
        "authorityKeyIdentifier=none\nsubjectKeyIdentifier=none",
    );
    assert_eq!((old.aki(), old.ski()), (None, None));
    let ca = mint(KeyAlgorithm::EcdsaP256);
    let new = reissued(&ca, &old);
    assert_eq!(new.aki(), ca.certificate.ski());
    assert_eq!(new.ski(), None);
    lab.accepts(&new, &[], &ca.certificate);
}

#[test]
fn a_version_1_leaf_becomes_version_3() {
    let lab = Lab::new();
    lab.old_ca();
    lab.issue("v1", "old-ca", "p256", "/CN=user", "", "");
    let old = lab.certificate("v1");
    assert_eq!(old.version(), 1);
    let ca = mint(KeyAlgorithm::EcdsaP256);
    let new = reissued(&ca, &old);
    assert_eq!(new.version(), 3);
    lab.put("leaf.pem", std::slice::from_ref(&new));
    lab.put("anchor.pem", std::slice::from_ref(&ca.certificate));
    lab.openssl(&format!(
        "verify -x509_strict -attime {BEGIN} -purpose sslclient -CAfile anchor.pem leaf.pem"
    ));
    let anchors = [lab.certificate("old-ca")];
    let now = anchors[0].not_before();
    assert_eq!(
        verify(&old, &[], &anchors, Purpose::Client, now),
        Err(VerifyError::NotVersion3)
    );
}

#[test]
fn a_new_key_is_of_the_same_kind_and_its_identifier_follows_it() {
    let lab = Lab::new();
    lab.old_ca();
    let ca = mint(KeyAlgorithm::EcdsaP256);
    for (kind, text) in [
        ("rsa", "RSA 2048"),
        ("rsa-3072", "RSA 3072"),
        ("p256", "ECDSA P-256"),
        ("p384", "ECDSA P-384"),
    ] {
        let old = lab.old_leaf(kind, kind, "subjectKeyIdentifier=hash");
        let (new, key) = ca.reissue_with_new_key(&old, BEGIN, END, ROTATION).unwrap();
        assert_eq!(new.key_algorithm_text(), text);
        assert_ne!(new.spki_der(), old.spki_der());
        assert!(key.belongs_to(&new));
        assert!(new.ski().is_some());
        assert_ne!(new.ski(), old.ski());
        lab.accepts(&new, &[], &ca.certificate);
        lab.write("new.key", key.to_pem().expose());
        lab.openssl("pkey -in new.key -check -noout");
    }
}

#[test]
fn a_leaf_never_outlives_its_ca() {
    let lab = Lab::new();
    lab.old_ca();
    let old = lab.old_leaf("server", "p256", "");
    let ca = mint(KeyAlgorithm::EcdsaP256);
    let new = ca.reissue(&old, BEGIN, CA_END + 1000, ROTATION).unwrap();
    assert_eq!(new.not_after(), CA_END);
    let late = ca.reissue(&old, CA_END, CA_END + 1000, ROTATION);
    assert_eq!(late.unwrap_err().code, Code::CaExpired);
}

#[test]
fn a_subject_with_two_organizations_is_minted_as_asked() {
    let ca = SigningCa::mint(&CaRequest {
        subject: "CN=ca,O=b,O=a".to_owned(),
        ..request(KeyAlgorithm::EcdsaP256)
    })
    .unwrap();
    assert_eq!(ca.certificate.subject(), "O=a, O=b, CN=ca");
    assert!(ca.certificate.may_sign());
    assert_eq!(ca.certificate.serial(), "41".repeat(16));
    assert_eq!(ca.certificate.aki(), ca.certificate.ski());
    let lab = Lab::new();
    lab.put("ca.pem", std::slice::from_ref(&ca.certificate));
    lab.openssl(&format!(
        "verify -x509_strict -check_ss_sig -attime {BEGIN} -CAfile ca.pem ca.pem"
    ));
}

#[test]
fn a_kubeadm_1_20_ca_with_serial_0_is_read_and_trusted() {
    let lab = Lab::new();
    lab.old_ca();
    let ca = lab.certificate("old-ca");
    assert_eq!(ca.serial(), "00");
    assert!(ca.is_ca() && ca.may_sign() && ca.is_self_issued() && ca.signed_by(&ca));
    let leaf = lab.old_leaf("server", "rsa", "");
    assert!(leaf.signed_by(&ca) && !ca.signed_by(&leaf));
    let now = leaf.not_before();
    assert_eq!(verify(&leaf, &[], &[ca], SERVER, now), Ok(()));
}

/// A root, an intermediate below it, and the text of both in the order that an import file has.
fn intermediate(lab: &Lab) -> String {
    let ca = "keyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n";
    lab.issue(
        "root",
        "root",
        "p384",
        "/CN=root",
        "-set_serial 1 -days 36500",
        &format!("{ca}basicConstraints=critical,CA:TRUE\n"),
    );
    for (name, above) in [("middle", "root"), ("sub", "middle")] {
        lab.issue(
            name,
            above,
            "rsa",
            &format!("/CN={name}"),
            "-set_serial 2 -days 36500",
            &format!("{ca}basicConstraints=critical,CA:TRUE\nauthorityKeyIdentifier=keyid\n"),
        );
    }
    // The chain is out of order.
    lab.read("sub.crt") + &lab.read("root.crt") + &lab.read("middle.crt")
}

fn import(lab: &Lab, certificates: &str, key: &str) -> Result<SigningCa, Code> {
    let key = PrivateText::new(lab.read(key));
    SigningCa::import(certificates, "ca.crt", &key, "ca.key").map_err(|error| error.code)
}

#[test]
fn an_imported_intermediate_issues_and_its_chain_is_in_order() {
    let lab = Lab::new();
    lab.old_ca();
    let old = lab.old_leaf("server", "p256", "");
    let text = intermediate(&lab);
    let ca = import(&lab, &text, "sub.key").unwrap();
    let subjects: Vec<_> = ca.chain.iter().map(Certificate::subject).collect();
    assert_eq!(subjects, ["CN=middle", "CN=root"]);
    // OpenSSL's certificates begin now, whenever that is.
    let now = ca.certificate.not_before();
    let new = ca.reissue(&old, now, now + 1000, ROTATION).unwrap();
    let between = [ca.certificate.clone(), ca.chain[0].clone()];
    lab.accepts(&new, &between, &ca.chain[1]);
    assert_eq!(verify(&new, &between, &ca.chain[1..], SERVER, now), Ok(()));
    // Kubernetes may trust the intermediate alone.
    let anchor = std::slice::from_ref(&ca.certificate);
    assert_eq!(verify(&new, &[], anchor, SERVER, now), Ok(()));
    assert_eq!(
        verify(&new, &[], &ca.chain[1..], SERVER, now),
        Err(VerifyError::UnknownIssuer)
    );
}

#[test]
fn what_cannot_be_a_ca_is_not_imported() {
    let lab = Lab::new();
    lab.old_ca();
    lab.old_leaf("server", "p256", "");
    lab.issue("v1", "v1", "p256", "/CN=v1", "", "");
    let sub = intermediate(&lab);
    assert_eq!(
        import(&lab, &sub, "root.key").unwrap_err(),
        Code::KeyMismatch
    );
    for name in ["server", "v1"] {
        let text = lab.read(&format!("{name}.crt"));
        let found = import(&lab, &text, &format!("{name}.key"));
        assert_eq!(found.unwrap_err(), Code::NotACa, "{name}");
    }
    let stray = lab.read("root.crt") + &lab.read("old-ca.crt");
    assert_eq!(
        import(&lab, &stray, "root.key").unwrap_err(),
        Code::ImportInvalid
    );
    assert_eq!(
        import(&lab, "", "root.key").unwrap_err(),
        Code::ImportInvalid
    );
    let with_key = lab.read("root.crt") + &lab.read("root.key");
    assert_eq!(
        import(&lab, &with_key, "root.key").unwrap_err(),
        Code::ImportInvalid
    );
}

#[test]
fn keys_in_each_form_that_openssl_writes_are_read() {
    let lab = Lab::new();
    for kind in ["rsa", "p256", "p384"] {
        lab.key("any", kind);
        lab.openssl("pkey -in any.key -traditional -out traditional.key");
        let read = |name: &str| {
            let text = PrivateText::new(lab.read(name));
            carota::pki::PrivateKey::from_pem(&text, name).unwrap()
        };
        let (pkcs8, traditional) = (read("any.key"), read("traditional.key"));
        assert_eq!(pkcs8.spki_der(), traditional.spki_der());
        // The form that kubeadm, and OpenSSL's traditional format, has.
        assert_eq!(pkcs8.to_pem().expose(), lab.read("traditional.key"));
        let block = lab.run("dgst -sha256 traditional.key");
        let hash = String::from_utf8(block.stdout).unwrap();
        let hash = hash.rsplit_once(' ').unwrap().1.trim().to_owned();
        assert_eq!(pkcs8.pem_reference(), format!("carota-kept:sha256:{hash}"));
        lab.openssl("base64 -A -in traditional.key -out encoded");
        let block = lab.run("dgst -sha256 encoded");
        let hash = String::from_utf8(block.stdout).unwrap();
        let hash = hash.rsplit_once(' ').unwrap().1.trim().to_owned();
        assert_eq!(
            pkcs8.base64_reference(),
            format!("carota-kept:sha256:{hash}")
        );
    }
}

#[test]
fn each_reason_to_refuse_a_certificate_is_told_apart() {
    let lab = Lab::new();
    lab.old_ca();
    let old = lab.old_leaf("server", "p256", "");
    let ca = mint(KeyAlgorithm::EcdsaP256);
    let new = reissued(&ca, &old);
    let anchor = [ca.certificate.clone()];
    let named = |name| Purpose::Server { name: Some(name) };
    for name in [
        "api.example",
        "API.example",
        "a.svc.example",
        "10.96.0.1",
        "fd00::1",
        "[fd00::1]",
    ] {
        assert_eq!(
            verify(&new, &[], &anchor, named(name), BEGIN),
            Ok(()),
            "{name}"
        );
    }
    for name in [
        "other.example",
        "a.b.svc.example",
        "10.96.0.2",
        "server",
        "",
    ] {
        assert_eq!(
            verify(&new, &[], &anchor, named(name), BEGIN),
            Err(VerifyError::WrongName),
            "{name}"
        );
    }
    assert_eq!(
        verify(&new, &[], &anchor, SERVER, END + 1),
        Err(VerifyError::Expired { not_after: END })
    );
    assert_eq!(
        verify(&new, &[], &anchor, SERVER, BEGIN - 1),
        Err(VerifyError::NotYetValid { not_before: BEGIN })
    );
    let twin = mint(KeyAlgorithm::EcdsaP256);
    assert_eq!(
        verify(
            &new,
            &[],
            std::slice::from_ref(&twin.certificate),
            SERVER,
            BEGIN
        ),
        Err(VerifyError::IssuerKeyDiffers)
    );
    let both = [twin.certificate, ca.certificate.clone()];
    assert_eq!(verify(&new, &[], &both, SERVER, BEGIN), Ok(()));
    assert_eq!(
        verify(&new, &[], &[lab.certificate("old-ca")], SERVER, BEGIN),
        Err(VerifyError::UnknownIssuer)
    );
    assert_eq!(
        verify(&new, &[], &[], SERVER, BEGIN),
        Err(VerifyError::UnknownIssuer)
    );
}

#[test]
fn anchors_are_judged_as_go_judges_them() {
    let lab = Lab::new();
    let leaf_of = |ca: &str, purpose: &str| {
        lab.issue(
            "leaf",
            ca,
            "p256",
            "/CN=leaf",
            "-set_serial 9",
            &format!("subjectAltName=DNS:api.example\nextendedKeyUsage={purpose}\n"),
        );
        lab.certificate("leaf")
    };
    let judged = |ca: &str, purpose: &str| {
        let leaf = leaf_of(ca, purpose);
        let now = leaf.not_before();
        verify(&leaf, &[], &[lab.certificate(ca)], SERVER, now)
    };
    let anchor = |name: &str, ext: &str| {
        lab.issue(
            name,
            name,
            "p256",
            &format!("/CN={name}"),
            "-set_serial 1",
            ext,
        );
        name.to_owned()
    };
    let good = anchor("good", "basicConstraints=CA:TRUE\n");
    assert_eq!(judged(&good, "serverAuth"), Ok(()));
    assert_eq!(judged(&good, "anyExtendedKeyUsage"), Ok(()));
    assert_eq!(judged(&good, "clientAuth"), Err(VerifyError::WrongPurpose));
    let not_ca = |name: &str| {
        Err(VerifyError::AnchorNotCa {
            subject: format!("CN={name}"),
        })
    };
    let v1 = anchor("v1", "");
    assert_eq!(judged(&v1, "serverAuth"), not_ca("v1"));
    let no_sign = anchor(
        "nosign",
        "basicConstraints=CA:TRUE\nkeyUsage=digitalSignature\n",
    );
    assert_eq!(judged(&no_sign, "serverAuth"), not_ca("nosign"));
    let client = anchor(
        "client",
        "basicConstraints=CA:TRUE\nextendedKeyUsage=clientAuth\n",
    );
    assert_eq!(
        judged(&client, "serverAuth"),
        Err(VerifyError::WrongPurpose)
    );
    let names = anchor(
        "names",
        "basicConstraints=CA:TRUE\nnameConstraints=permitted;DNS:elsewhere.example\n",
    );
    assert_eq!(
        judged(&names, "serverAuth"),
        Err(VerifyError::NameNotPermitted)
    );
}

#[test]
fn a_kind_of_key_that_cannot_be_checked_is_said_to_be_one() {
    let lab = Lab::new();
    let ca = "basicConstraints=critical,CA:TRUE\n";
    lab.issue("p521", "p521", "p521", "/CN=p521", "", ca);
    let own = lab.certificate("p521");
    assert_eq!(own.key_algorithm_text(), "ECDSA P-521");
    assert!(!own.signed_by(&own));
    lab.issue(
        "leaf",
        "p521",
        "p256",
        "/CN=leaf",
        "",
        "subjectAltName=DNS:api.example\n",
    );
    let leaf = lab.certificate("leaf");
    let now = leaf.not_before();
    assert_eq!(
        verify(&leaf, &[], &[own], SERVER, now),
        Err(VerifyError::UnsupportedAlgorithm)
    );
}

#[test]
fn a_certificate_that_is_its_own_anchor_is_accepted_as_go_does() {
    let lab = Lab::new();
    for (name, ext) in [("plain", ""), ("ca", "basicConstraints=critical,CA:TRUE\n")] {
        lab.issue(
            name,
            name,
            "p256",
            "/CN=webhook",
            "",
            &format!("subjectAltName=DNS:api.example\n{ext}"),
        );
        let own = lab.certificate(name);
        let (now, anchors) = (own.not_before(), [own.clone()]);
        assert_eq!(verify(&own, &[], &anchors, SERVER, now), Ok(()));
        let wrong = Purpose::Server {
            name: Some("x.example"),
        };
        assert_eq!(
            verify(&own, &[], &anchors, wrong, now),
            Err(VerifyError::WrongName)
        );
        assert!(matches!(
            verify(&own, &[], &anchors, SERVER, own.not_after() + 1),
            Err(VerifyError::Expired { .. })
        ));
    }
}

#[test]
fn an_anchor_that_allows_no_intermediate_is_obeyed() {
    let lab = Lab::new();
    let ca = "basicConstraints=critical,CA:TRUE";
    lab.issue(
        "top",
        "top",
        "p256",
        "/CN=top",
        "",
        &format!("{ca},pathlen:0\n"),
    );
    lab.issue("mid", "top", "p256", "/CN=mid", "", &format!("{ca}\n"));
    lab.issue(
        "leaf",
        "mid",
        "p256",
        "/CN=leaf",
        "",
        "subjectAltName=DNS:api.example\n",
    );
    let leaf = lab.certificate("leaf");
    let (mid, top) = ([lab.certificate("mid")], [lab.certificate("top")]);
    let now = leaf.not_before();
    assert_eq!(
        verify(&leaf, &mid, &top, SERVER, now),
        Err(VerifyError::PathTooLong)
    );
    assert_eq!(verify(&leaf, &[], &mid, SERVER, now), Ok(()));
}

/// Requests for two leaves, one of them with a new key.
fn requests(lab: &Lab) -> Vec<LeafRequest> {
    lab.old_ca();
    [("server", false), ("client", true)]
        .map(|(name, new_key)| LeafRequest {
            ca: "kubernetes".to_owned(),
            old: lab.old_leaf(name, "p256", ""),
            not_before: BEGIN,
            not_after: END,
            needed_until: END,
            new_key,
        })
        .to_vec()
}

fn new_ca() -> CaSource {
    CaSource::Mint(request(KeyAlgorithm::EcdsaP256))
}

fn first_run(wanted: &[LeafRequest]) -> (Lock, Keyring) {
    let mut issuer = Issuer::new(ROTATION, None, Keyring::default());
    issuer.ca("kubernetes", new_ca()).unwrap();
    issuer.leaves(wanted).unwrap();
    issuer.finish()
}

/// Writes a keyring as the renderer does, and reads it again.
fn through_disk(lab: &Lab, keyring: &Keyring) -> Keyring {
    for (path, text) in keyring.files() {
        let path = lab.path("secrets").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.expose()).unwrap();
    }
    Keyring::load(&lab.path("secrets")).unwrap()
}

#[test]
fn a_lock_survives_its_text() {
    let lab = Lab::new();
    let (mut lock, _) = first_run(&requests(&lab));
    lock.inputs = "in\"puts".to_owned();
    let text = lock.to_text();
    assert!(text.starts_with("# carota.lock: "));
    assert!(!text.contains("PRIVATE"));
    let again = Lock::parse(&text, "carota.lock").unwrap();
    assert_eq!(again.to_text(), text);
    assert_eq!(again.cas, lock.cas);
    assert_eq!(again.inputs, lock.inputs);
}

#[test]
fn a_damaged_lock_is_refused() {
    let lab = Lab::new();
    let text = first_run(&requests(&lab)).0.to_text();
    for (from, to) in [
        ("version = 1", "version = 2"),
        ("version = 1", "version = 1\nextra = 1"),
        ("serial = \"4", "serial = \"5"),
        ("carota-kept:sha256:", "carota-kept:sha256:0"),
        ("-----END CERTIFICATE-----", ""),
        ("[[leaf]]", "[[leaf"),
    ] {
        let damaged = text.replacen(from, to, 1);
        assert_ne!(damaged, text, "{from}");
        let error = Lock::parse(&damaged, "carota.lock").unwrap_err();
        assert_eq!(error.code, Code::LockSyntax, "{from}");
        assert_eq!(error.place.unwrap().file, "carota.lock");
    }
}

#[test]
fn a_second_run_gives_the_same_without_any_key() {
    let lab = Lab::new();
    let wanted = requests(&lab);
    let (lock, keyring) = first_run(&wanted);
    let keyring = through_disk(&lab, &keyring);
    assert_eq!(keyring.files().len(), 2);

    for (keyring, has_keys) in [(Keyring::default(), false), (keyring, true)] {
        let mut issuer = Issuer::new(ROTATION, Some(lock.clone()), keyring).sealed();
        let ca = issuer.ca("kubernetes", new_ca()).unwrap();
        assert_eq!(ca, lock.cas["kubernetes"].certificate);
        assert_eq!(issuer.ca_key("kubernetes").is_some(), has_keys);
        assert_eq!(
            issuer.ca_key_reference("kubernetes"),
            lock.cas["kubernetes"].key_reference
        );
        let found = issuer.leaves(&wanted).unwrap();
        assert_eq!(found.len(), 2);
        let kept = &found[wanted[0].old.fingerprint()];
        assert!(kept.key.is_none());
        let new = found[wanted[1].old.fingerprint()].key.clone().unwrap();
        assert_eq!(new.pem.is_some(), has_keys);
        assert!(new.pem_reference.starts_with("carota-kept:sha256:"));
        assert_ne!(new.pem_reference, new.base64_reference);
        assert_eq!(issuer.finish().0.to_text(), lock.to_text());
    }
}

#[test]
fn the_lock_keeps_only_what_was_asked_for() {
    let lab = Lab::new();
    let wanted = requests(&lab);
    let (lock, keyring) = first_run(&wanted);
    let mut issuer = Issuer::new(ROTATION, Some(lock), keyring);
    issuer.ca("kubernetes", new_ca()).unwrap();
    issuer.leaves(&wanted[..1]).unwrap();
    let (lock, keyring) = issuer.finish();
    assert_eq!(lock.leaves.len(), 1);
    let paths: Vec<_> = keyring.files().into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["keyring/kubernetes.key"]);
}

#[test]
fn the_order_of_requests_does_not_matter() {
    let lab = Lab::new();
    let mut wanted = requests(&lab);
    let first = wanted.remove(0);
    wanted.clear();
    wanted.extend((0..5).map(|i| LeafRequest {
        old: lab.old_leaf(&format!("more-{i}"), "p256", ""),
        ..first.clone()
    }));
    let (lock, keyring) = first_run(&[]);
    let mut texts = Vec::new();
    for _ in 0..2 {
        let keyring = through_disk(&lab, &keyring);
        let mut issuer = Issuer::new(ROTATION, Some(lock.clone()), keyring);
        issuer.ca("kubernetes", new_ca()).unwrap();
        issuer.leaves(&wanted).unwrap();
        texts.push(issuer.finish().0.to_text());
        wanted.reverse();
    }
    assert_eq!(texts[0], texts[1]);
}

#[test]
fn what_does_not_fit_the_lock_is_an_error() {
    let lab = Lab::new();
    let wanted = requests(&lab);
    let (lock, _) = first_run(&wanted);
    let fresh = || Issuer::new(ROTATION, Some(lock.clone()), Keyring::default());
    let original = request(KeyAlgorithm::EcdsaP256);
    for changed in [
        CaRequest {
            subject: "CN=other".to_owned(),
            ..original.clone()
        },
        CaRequest {
            key: KeyAlgorithm::EcdsaP384,
            ..original.clone()
        },
        CaRequest {
            not_after: CA_END - 1,
            ..original.clone()
        },
        CaRequest {
            not_before: BEGIN - 1,
            ..original.clone()
        },
    ] {
        let error = fresh()
            .ca("kubernetes", CaSource::Mint(changed))
            .unwrap_err();
        assert_eq!(error.code, Code::LockMismatch);
    }
    for changed in [
        LeafRequest {
            not_after: END - 1,
            ..wanted[0].clone()
        },
        LeafRequest {
            not_before: BEGIN + 1,
            ..wanted[0].clone()
        },
        LeafRequest {
            new_key: true,
            ..wanted[0].clone()
        },
        LeafRequest {
            new_key: false,
            ..wanted[1].clone()
        },
    ] {
        let mut issuer = fresh();
        issuer.ca("kubernetes", new_ca()).unwrap();
        let error = issuer.leaves(&[changed]).unwrap_err();
        assert_eq!(error.code, Code::LockMismatch);
    }
    let mut other = Issuer::new("other", Some(lock.clone()), Keyring::default());
    let error = other.ca("kubernetes", new_ca()).unwrap_err();
    assert_eq!(error.code, Code::LockMismatch);
    let error = fresh().sealed().ca("etcd", new_ca()).unwrap_err();
    assert_eq!(error.code, Code::LockMismatch);
}

#[test]
fn nothing_is_signed_without_the_key_or_with_a_foreign_one() {
    let lab = Lab::new();
    let wanted = requests(&lab);
    let (mut lock, keyring) = first_run(&wanted);
    lock.leaves.clear();
    let mut issuer = Issuer::new(ROTATION, Some(lock.clone()), Keyring::default());
    issuer.ca("kubernetes", new_ca()).unwrap();
    let error = issuer.leaves(&wanted).unwrap_err();
    assert_eq!(error.code, Code::KeyringMissing);

    // A key without its lock may be that of a CA that is already installed.
    let kept = through_disk(&lab, &keyring);
    let error = Issuer::new(ROTATION, None, kept).ca("kubernetes", new_ca());
    assert_eq!(error.unwrap_err().code, Code::KeyringMismatch);

    let (_, foreign) = first_run(&[]);
    let error = Issuer::new(ROTATION, Some(lock), foreign).ca("kubernetes", new_ca());
    assert_eq!(error.unwrap_err().code, Code::KeyringMismatch);
}

#[test]
fn an_imported_ca_needs_its_key_only_to_sign() {
    let lab = Lab::new();
    let wanted = requests(&lab);
    let text = intermediate(&lab);
    let public = || {
        let (certificate, chain) = import_public(&text, "ca.crt").unwrap();
        CaSource::ImportPublic { certificate, chain }
    };
    let mut first = Issuer::new(ROTATION, None, Keyring::default());
    let error = first.ca("kubernetes", public()).unwrap_err();
    assert_eq!(error.code, Code::KeyringMissing);
    let source = CaSource::Import(import(&lab, &text, "sub.key").unwrap());
    first.ca("kubernetes", source).unwrap();
    first.leaves(&wanted).unwrap();
    assert_eq!(first.chain("kubernetes").len(), 2);
    let (lock, _) = first.finish();
    let lock = Lock::parse(&lock.to_text(), "carota.lock").unwrap();
    let mut second = Issuer::new(ROTATION, Some(lock.clone()), Keyring::default());
    second.ca("kubernetes", public()).unwrap();
    second.leaves(&wanted).unwrap();
    assert_eq!(second.finish().0, lock);
}

#[test]
fn one_certificate_in_two_places_has_one_successor() {
    let lab = Lab::new();
    let mut wanted = requests(&lab);
    wanted.push(wanted[0].clone());
    let mut issuer = Issuer::new(ROTATION, None, Keyring::default());
    issuer.ca("kubernetes", new_ca()).unwrap();
    assert_eq!(issuer.leaves(&wanted).unwrap().len(), 2);
    wanted[2].not_after -= 1;
    let error = issuer.leaves(&wanted).unwrap_err();
    assert_eq!(error.code, Code::LeafInvalid);
    let elsewhere = LeafRequest {
        ca: "etcd".to_owned(),
        ..wanted[0].clone()
    };
    let error = issuer.leaves(&[elsewhere]).unwrap_err();
    assert_eq!(error.code, Code::CaNotFound);
    let error = issuer.ca("../etcd", new_ca()).unwrap_err();
    assert_eq!(error.code, Code::HostileName);
}

#[test]
fn nothing_private_can_be_printed() {
    let lab = Lab::new();
    let mut issuer = Issuer::new(ROTATION, None, Keyring::default());
    issuer.ca("kubernetes", new_ca()).unwrap();
    let found = issuer.leaves(&requests(&lab)).unwrap();
    let printed = format!("{issuer:?} {found:?} {:?}", issuer.ca_key("kubernetes"));
    let bodies = |text: &str| {
        let inner = |line: &&str| !line.starts_with("-----");
        text.lines()
            .filter(inner)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (_, keyring) = issuer.finish();
    assert_eq!(format!("{keyring:?}"), "Keyring(..)");
    for (_, text) in keyring.files() {
        for line in bodies(text.expose()) {
            assert!(!printed.contains(&line));
        }
    }
    assert!(!printed.contains("PRIVATE"));
}

#[test]
fn a_pem_file_with_a_private_key_is_not_public() {
    let lab = Lab::new();
    lab.old_ca();
    let text = format!("note\n{}{}", lab.read("old-ca.crt"), lab.read("old-ca.key"));
    let error = certificates_in_pem(&text, "f.pem").unwrap_err();
    assert_eq!(error.code, Code::PrivateInSnapshot);
    let line = 2 + lab.read("old-ca.crt").lines().count();
    assert_eq!(error.place.unwrap().line, line);
    let kept = format!("{}carota-kept:sha256:00\n", lab.read("old-ca.crt"));
    assert_eq!(certificates_in_pem(&kept, "f.pem").unwrap().len(), 1);
    let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let error = certificates_in_pem(broken, "f.pem").unwrap_err();
    assert_eq!(error.code, Code::CertificateMalformed);
}

#[test]
fn a_bundle_is_ordered_and_distinct() {
    let [a, b, c] = [1, 2, 3].map(|_| mint(KeyAlgorithm::EcdsaP256).certificate);
    assert!(Bundle::new(Vec::new()).is_none());
    let bundle = Bundle::new(vec![a.clone(), b.clone(), a.clone()]).unwrap();
    assert_eq!(bundle.certificates(), [a.clone(), b.clone()]);
    assert_eq!(bundle.with_first(&b).certificates(), [b.clone(), a.clone()]);
    assert_eq!(
        bundle.with_last(&c).certificates(),
        [a.clone(), b.clone(), c]
    );
    let text = bundle.to_pem();
    assert_eq!(certificates_in_pem(&text, "f").unwrap(), [a, b]);
}

#[test]
fn the_facts_of_a_certificate_are_those_that_openssl_prints() {
    let lab = Lab::new();
    lab.old_ca();
    let leaf = lab.old_leaf(
        "server",
        "rsa",
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid",
    );
    let found: BTreeMap<_, _> = facts(&leaf).into_iter().collect();
    let printed = |what: &str| {
        let output = lab.run(&format!("x509 -in server.crt -noout {what}"));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(found["subject"], "O=system:masters, O=second, CN=server");
    assert_eq!(found["issuer"], "CN=kubernetes");
    assert_eq!(found["serial"], "4d");
    assert_eq!(
        printed("-fingerprint -sha256")
            .trim()
            .rsplit_once('=')
            .unwrap()
            .1
            .replace(':', "")
            .to_lowercase(),
        found["SHA-256"]
    );
    let identifiers = printed("-ext subjectKeyIdentifier,authorityKeyIdentifier");
    let identifiers = identifiers.replace(':', "").to_lowercase();
    assert!(identifiers.contains(&found["SKI"]) && identifiers.contains(&found["AKI"]));
    assert_eq!(
        found["SANs"],
        "DNS:api.example, DNS:*.svc.example, IP:10.96.0.1, IP:fd00::1"
    );
    assert_eq!(
        found["usages"],
        "digitalSignature, keyEncipherment, serverAuth, clientAuth"
    );
    assert_eq!(found["key"], "RSA 2048");
    let made = reissued(&mint(KeyAlgorithm::EcdsaP256), &leaf);
    let made: BTreeMap<_, _> = facts(&made).into_iter().collect();
    assert_eq!(made["not after"], "2031-01-01T00:00:00Z");
}
