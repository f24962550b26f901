//! `verify` is never more lenient than Go's `crypto/x509`, and differs from it only where its
//! documentation says so. Needs Go and OpenSSL; without Go the test does nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use carota::pki::verify::verify;
use carota::pki::{Certificate, Purpose, VerifyError, certificates_in_pem};

/// The old CAs: name, extensions.
const ANCHORS: [(&str, &str); 8] = [
    ("plain", "basicConstraints=CA:TRUE\n"),
    (
        "kubeadm",
        "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature,keyCertSign\nsubjectKeyIdentifier=hash\n",
    ),
    ("v1", ""),
    ("not-ca", "basicConstraints=CA:FALSE\n"),
    (
        "no-sign",
        "basicConstraints=CA:TRUE\nkeyUsage=digitalSignature\n",
    ),
    (
        "client-only",
        "basicConstraints=CA:TRUE\nextendedKeyUsage=clientAuth\n",
    ),
    ("pathlen-0", "basicConstraints=CA:TRUE,pathlen:0\n"),
    (
        "names",
        "basicConstraints=CA:TRUE\nnameConstraints=critical,permitted;DNS:example\n",
    ),
];

/// What each CA issues: name, extensions.
const LEAVES: [(&str, &str); 9] = [
    ("v1", ""),
    ("no-usage", "subjectAltName=DNS:api.example,IP:10.0.0.1\n"),
    (
        "server",
        "subjectAltName=DNS:*.example\nextendedKeyUsage=serverAuth\n",
    ),
    (
        "client",
        "subjectAltName=DNS:api.example\nextendedKeyUsage=clientAuth\n",
    ),
    (
        "any",
        "subjectAltName=DNS:API.example.\nextendedKeyUsage=anyExtendedKeyUsage\n",
    ),
    ("no-san", "extendedKeyUsage=serverAuth,clientAuth\n"),
    (
        "critical",
        "subjectAltName=DNS:api.example\n1.2.3.4=critical,DER:0500\n",
    ),
    (
        "ca",
        "subjectAltName=DNS:api.example\nbasicConstraints=critical,CA:TRUE\n",
    ),
    (
        "elsewhere",
        "subjectAltName=DNS:api.elsewhere,DNS:api.example\nbasicConstraints=critical,CA:FALSE\n",
    ),
];

const NAMES: [&str; 6] = [
    "-",
    "api.example",
    "a.b.example",
    "10.0.0.1",
    "api.elsewhere",
    "CN",
];

struct Case {
    title: String,
    leaf: Certificate,
    intermediates: Vec<Certificate>,
    anchors: Vec<Certificate>,
    server: bool,
    name: &'static str,
    at: i64,
    line: String,
}

impl Case {
    fn judge(&self) -> Result<(), VerifyError> {
        let name = (self.name != "-").then_some(self.name);
        let purpose = if self.server {
            Purpose::Server { name }
        } else {
            Purpose::Client
        };
        verify(
            &self.leaf,
            &self.intermediates,
            &self.anchors,
            purpose,
            self.at,
        )
    }
}

fn openssl(dir: &Path, arguments: &str) {
    let status = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(dir)
        .stderr(Stdio::null())
        .status()
        .expect("this test needs the openssl command line tool");
    assert!(status.success(), "openssl {arguments}");
}

/// Makes `name.crt` signed by `ca`, all with keys of their own.
fn issue(dir: &Path, name: &str, ca: &str, ext: &str) {
    fs::write(dir.join("ext"), ext).unwrap();
    openssl(
        dir,
        &format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key"),
    );
    openssl(
        dir,
        &format!("req -new -key {name}.key -out csr -subj /CN={name}"),
    );
    let signer = if ca == name {
        format!("-signkey {name}.key")
    } else {
        format!("-CA {ca}.crt -CAkey {ca}.key")
    };
    let ext = if ext.is_empty() { "" } else { "-extfile ext" };
    openssl(
        dir,
        &format!("x509 -req -in csr -out {name}.crt {signer} -set_serial 5 -days 30 {ext}"),
    );
}

fn read(dir: &Path, name: &str) -> Vec<Certificate> {
    let file = format!("{name}.crt");
    certificates_in_pem(&fs::read_to_string(dir.join(&file)).unwrap(), &file).unwrap()
}

/// Every leaf under every anchor, directly and below an intermediate, for every purpose, name, time.
fn cases(dir: &Path) -> Vec<Case> {
    fs::write(dir.join("none.crt"), "").unwrap();
    let mut cases = Vec::new();
    for (anchor, ext) in ANCHORS {
        issue(dir, anchor, anchor, ext);
        let middle = format!("{anchor}-middle");
        issue(dir, &middle, anchor, "basicConstraints=critical,CA:TRUE\n");
        for (leaf, ext) in LEAVES {
            let (direct, below) = (format!("{anchor}-{leaf}"), format!("{middle}-{leaf}"));
            issue(dir, &direct, anchor, ext);
            issue(dir, &below, &middle, ext);
            add(&mut cases, dir, &direct, "none", anchor);
            add(&mut cases, dir, &below, &middle, anchor);
            add(&mut cases, dir, &direct, "none", &direct);
        }
    }
    cases
}

fn add(cases: &mut Vec<Case>, dir: &Path, leaf: &str, middle: &str, anchor: &str) {
    let certificate = read(dir, leaf).remove(0);
    let (begin, end) = (certificate.not_before(), certificate.not_after());
    let add = |cases: &mut Vec<Case>, server: bool, name, at| {
        let kind = if server { "server" } else { "client" };
        cases.push(Case {
            title: format!(
                "{leaf} via {middle} to {anchor} as {kind} {name} at {}",
                at - begin
            ),
            leaf: certificate.clone(),
            intermediates: read(dir, middle),
            anchors: read(dir, anchor),
            server,
            name,
            at,
            line: format!("{leaf}.crt\t{middle}.crt\t{anchor}.crt\t{kind}\t{name}\t{at}\n"),
        });
    };
    for name in NAMES {
        add(cases, true, name, begin + 60);
    }
    add(cases, false, "-", begin + 60);
    add(cases, true, "-", begin - 60);
    add(cases, true, "-", end + 60);
}

fn ask_go(dir: &Path, cases: &[Case]) -> Option<Vec<String>> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go/verify.go");
    let lines: String = cases.iter().map(|c| c.line.as_str()).collect();
    fs::write(dir.join("cases"), lines).unwrap();
    let output = Command::new("go")
        .args(["run", source])
        .current_dir(dir)
        .stdin(fs::File::open(dir.join("cases")).unwrap())
        .output()
        .ok()?;
    assert!(output.status.success(), "the Go program failed");
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(str::to_owned).collect())
}

/// Where the documentation of `verify` says that it is stricter than Go.
fn stricter(error: &VerifyError) -> bool {
    match error {
        VerifyError::NotVersion3 | VerifyError::LeafIsCa => true,
        VerifyError::AnchorNotCa { subject } => subject == "CN=v1",
        VerifyError::Malformed(what) => what == "MalformedDnsIdentifier",
        _ => false,
    }
}

#[test]
fn a_chain_is_judged_as_go_judges_it() {
    let dir = tempfile::tempdir().unwrap();
    if Command::new("go").arg("version").output().is_err() {
        eprintln!("Go is not installed: no second opinion");
        return;
    }
    let cases = cases(dir.path());
    let answers = ask_go(dir.path(), &cases).expect("Go runs");
    assert_eq!(answers.len(), cases.len());
    let accepted = answers.iter().filter(|a| *a == "ok").count();
    assert!((100..cases.len() / 2).contains(&accepted), "{accepted}");
    let mut wrong = Vec::new();
    for (case, answer) in cases.iter().zip(answers) {
        let verdict = case.judge();
        let agree = match &verdict {
            Ok(()) => answer == "ok",
            Err(error) => answer != "ok" || stricter(error),
        };
        if !agree {
            wrong.push(format!("{}: {verdict:?}, Go: {answer}", case.title));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
