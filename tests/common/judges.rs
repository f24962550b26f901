//! Other judges of certificates: Go's `crypto/x509`, which Kubernetes is built on, and OpenSSL, which
//! other clients are.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether a leaf is accepted. The files are PEM, named relative to a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// The certificate.
    pub leaf: String,
    /// What is sent with it, perhaps nothing.
    pub middle: Option<String>,
    /// What is trusted.
    pub anchors: String,
    /// As a server's, or else a client's.
    pub server: bool,
    /// The name that is dialled; none where none is checked.
    pub name: Option<String>,
    /// When, unix time.
    pub at: i64,
}

/// The reason of a refusal in a judge's own words.
pub type Answer = Result<(), String>;

/// Whether Go is on this machine. Says so where it is not.
pub fn go_is_here() -> bool {
    let here = Command::new("go").arg("version").output().is_ok();
    if !here {
        eprintln!("Go is not installed: its opinion is missing");
    }
    here
}

/// What Go says, one process for all questions.
pub fn ask_go(folder: &Path, questions: &[Question]) -> Vec<Answer> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go/verify.go");
    let mut lines = String::new();
    for q in questions {
        let kind = if q.server { "server" } else { "client" };
        let (middle, name) = (q.middle.as_deref(), q.name.as_deref());
        let fields = [
            &q.leaf,
            middle.unwrap_or("-"),
            &q.anchors,
            kind,
            name.unwrap_or("-"),
            &q.at.to_string(),
        ];
        lines.push_str(&(fields.join("\t") + "\n"));
    }
    fs::write(folder.join("questions"), lines).unwrap();
    let output = Command::new("go")
        .args(["run", source])
        .current_dir(folder)
        .stdin(fs::File::open(folder.join("questions")).unwrap())
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "the Go program failed: {complaint}"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Answer> = text
        .lines()
        .map(|line| match line {
            "ok" => Ok(()),
            why => Err(why.to_owned()),
        })
        .collect();
    assert_eq!(answers.len(), questions.len());
    answers
}

/// What OpenSSL says, one process for all leaves of which the rest is the same.
pub fn ask_openssl(folder: &Path, questions: &[Question]) -> Vec<Answer> {
    let mut groups: BTreeMap<Question, Vec<usize>> = BTreeMap::new();
    for (at, question) in questions.iter().enumerate() {
        let leaf = String::new();
        let but_leaf = Question {
            leaf,
            ..question.clone()
        };
        groups.entry(but_leaf).or_default().push(at);
    }
    let mut answers = vec![Err("no answer".to_owned()); questions.len()];
    for (alike, members) in groups {
        let leaves = members.iter().map(|at| questions[*at].leaf.as_str());
        let said = openssl_verify(folder, &alike, leaves);
        for at in members {
            answers[at].clone_from(&said[&questions[at].leaf]);
        }
    }
    answers
}

/// `-partial_chain`: whatever is trusted is an anchor, as in Go, whether or not it signed itself.
fn openssl_verify<'l>(
    folder: &Path,
    alike: &Question,
    leaves: impl Iterator<Item = &'l str>,
) -> BTreeMap<String, Answer> {
    let leaves: Vec<&str> = leaves.collect();
    let mut command = Command::new("openssl");
    command
        .args(["verify", "-no-CApath", "-no-CAstore", "-partial_chain"])
        .args(["-CAfile", &alike.anchors, "-attime", &alike.at.to_string()])
        .args([
            "-purpose",
            if alike.server {
                "sslserver"
            } else {
                "sslclient"
            },
        ]);
    if let Some(middle) = &alike.middle {
        command.args(["-untrusted", middle]);
    }
    if let Some(name) = &alike.name {
        let of = match name.parse::<IpAddr>() {
            Ok(_) => "-verify_ip",
            Err(_) => "-verify_hostname",
        };
        command.args([of, name]);
    }
    let output = command
        .args(&leaves)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("this test needs the openssl command line tool");
    let (accepted, complaints) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    let mut out = BTreeMap::new();
    for leaf in accepted.lines().filter_map(|l| l.strip_suffix(": OK")) {
        out.insert(leaf.to_owned(), Ok(()));
    }
    let mut why = "";
    for line in complaints.lines() {
        if let Some((_, reason)) = line.split_once(" depth lookup: ") {
            why = reason;
        }
        let refused = line.strip_prefix("error ");
        if let Some(leaf) = refused.and_then(|l| l.strip_suffix(": verification failed")) {
            out.insert(leaf.to_owned(), Err(why.to_owned()));
        }
    }
    for leaf in leaves {
        assert!(out.contains_key(leaf), "OpenSSL on {leaf}: {complaints}");
    }
    out
}
