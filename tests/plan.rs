//! What a compiled plan promises, on the examples: the same bytes from the same inputs, tables that
//! lead from the snapshot to the new cluster, certificates that OpenSSL accepts, diffs that `patch`
//! applies, an end that looks like the beginning.

#![allow(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "paths on nodes are case-sensitive"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use carota::pki::{CaRequest, Certificate, KeyAlgorithm, SigningCa, certificates_in_pem};
use common::{
    carota, compile, copy_tree, edit, example, examples, inputs_of, judge, phases, table, tree,
};
use sha2::{Digest, Sha256};

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[test]
fn the_committed_plan_is_what_its_inputs_give_without_any_secret() {
    for example in examples() {
        let folder = inputs_of(&example);
        // Another directory, locale and time zone; and neither keyring nor clock can matter.
        let output = Command::new(env!("CARGO_BIN_EXE_carota"))
            .args(["compile", "cluster.toml"])
            .current_dir(folder.path())
            .env("LC_ALL", "tr_TR.UTF-8")
            .env("TZ", "Pacific/Kiritimati")
            .output()
            .unwrap();
        let messages = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{messages}");
        assert!(
            messages.contains("private files could not be written"),
            "{messages}"
        );
        let (made, committed) = (
            tree(&folder.path().join("plan")),
            tree(&example.join("plan")),
        );
        let names = |t: &BTreeMap<String, _>| t.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&made), names(&committed), "{}", example.display());
        for (path, file) in &committed {
            assert!(
                made[path] == *file,
                "{path} differs: compile the example again"
            );
        }
        assert_eq!(
            fs::read(folder.path().join("carota.lock")).unwrap(),
            fs::read(example.join("carota.lock")).unwrap()
        );
        assert!(!folder.path().join("secrets").exists());
    }
}

#[test]
fn compiling_again_gives_the_same_bytes_with_and_without_the_keyring() {
    let folder = inputs_of(&example("kubeadm-ha"));
    fs::remove_file(folder.path().join("carota.lock")).unwrap();
    compile(folder.path());
    let (plan, lock) = (
        tree(&folder.path().join("plan")),
        fs::read(folder.path().join("carota.lock")).unwrap(),
    );
    let secrets = tree(&folder.path().join("secrets"));
    compile(folder.path());
    assert!(plan == tree(&folder.path().join("plan")));
    assert!(secrets == tree(&folder.path().join("secrets")));
    fs::remove_dir_all(folder.path().join("secrets")).unwrap();
    compile(folder.path());
    assert!(plan == tree(&folder.path().join("plan")));
    assert_eq!(lock, fs::read(folder.path().join("carota.lock")).unwrap());
}

#[test]
fn a_version_that_was_not_looked_at_compiles_with_a_note() {
    let example = example("kubeadm-ha");
    let readme = |folder: &Path| fs::read_to_string(folder.join("plan/README.md")).unwrap();
    let note = "is newer than 1.37, and was not looked at";
    assert!(!readme(&example).contains(note));
    let folder = inputs_of(&example);
    let toml = folder.path().join("cluster.toml");
    let version = |version| format!("kubernetes = \"{version}\"");
    // The cluster has nodes of that version.
    let nodes = folder.path().join("snapshot/cluster/nodes.yaml");
    edit(&nodes, "kubeletVersion: v1.34.4", "kubeletVersion: v1.38.0");
    edit(&toml, &version("1.34.4"), &version("1.37.2"));
    compile(folder.path());
    assert!(!readme(folder.path()).contains(note));
    edit(&toml, &version("1.37.2"), &version("1.38.0"));
    compile(folder.path());
    assert!(readme(folder.path()).contains(&format!("Kubernetes 1.38.0 {note}")));
}

#[test]
fn the_sums_are_those_of_the_files_as_sha256sum_sees_them() {
    for example in examples() {
        let status = Command::new("sha256sum")
            .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
            .current_dir(example.join("plan"))
            .status()
            .unwrap();
        assert!(status.success());
        let listed = fs::read_to_string(example.join("plan/SHA256SUMS"))
            .unwrap()
            .lines()
            .count();
        assert_eq!(
            listed + 1,
            tree(&example.join("plan")).len(),
            "every file is listed"
        );
    }
}

/// Replays the tables of a plan on the snapshot's public forms: an implementation of its own, that
/// knows only the format. Gives the files of each node after each phase.
struct Replay {
    nodes: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
}

impl Replay {
    fn start(example: &Path) -> Replay {
        let mut nodes = BTreeMap::new();
        for entry in fs::read_dir(example.join("snapshot/nodes")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let files = tree(&path)
                .into_iter()
                .filter(|(name, _)| name != "FILES")
                .map(|(name, (bytes, _))| (format!("/{name}"), bytes))
                .collect();
            nodes.insert(name, files);
        }
        Replay { nodes }
    }

    fn phase(&mut self, phase: &Path) {
        let mut members: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in table(&phase.join("NODES")) {
            members
                .entry(row[0].clone())
                .or_default()
                .insert(row[1].clone());
        }
        for row in table(&phase.join("CHANGES")) {
            let [_, set, op, path, _, _, pre, post, _] = &row[..] else {
                panic!("{row:?}")
            };
            for node in &members[set] {
                let files = self.nodes.get_mut(node).unwrap();
                let now = files.get(path).map_or("absent".to_owned(), |b| sha256(b));
                match op.as_str() {
                    "write" => {
                        assert_eq!(now, *pre, "{path} on {node} in {}", phase.display());
                        let image = fs::read(phase.join(format!("nodes/{set}{path}"))).unwrap();
                        assert_eq!(sha256(&image), *post);
                        files.insert(path.clone(), image);
                    }
                    "remove" => {
                        assert_eq!(now, *pre);
                        files.remove(path);
                    }
                    "check" => assert_eq!(now, *pre),
                    "restart" => {
                        if let Some(manifest) = path.strip_prefix("static-pod:") {
                            assert_eq!(sha256(&files[manifest]), *post);
                        }
                    }
                    "forget" => {}
                    other => panic!("unknown operation {other}"),
                }
            }
        }
    }
}

#[test]
fn the_tables_lead_from_the_snapshot_to_an_end_that_looks_like_the_beginning() {
    for example in examples() {
        let start = Replay::start(&example).nodes;
        let mut replay = Replay::start(&example);
        let all = phases(&example.join("plan"));
        assert_eq!(all.len(), 21);
        for phase in &all {
            replay.phase(phase);
        }
        for (node, files) in &start {
            let end = &replay.nodes[node];
            assert_eq!(
                files.keys().collect::<Vec<_>>(),
                end.keys().collect::<Vec<_>>(),
                "no helper file is left on {node}"
            );
            for (path, bytes) in files {
                let fixed = path.contains("/manifests/")
                    || path.contains("/systemd/")
                    || path.ends_with("/config.yaml")
                    || path.ends_with(".env")
                    || path.ends_with(".conflist");
                if fixed {
                    assert!(bytes == &end[path], "{path} on {node} is not as it was");
                }
            }
        }
        no_old_ca(&example, &replay.nodes);
    }
}

/// No certificate of an old CA, and none that it signed, is in any node's files, in any encoding that
/// files have.
fn no_old_ca(example: &Path, nodes: &BTreeMap<String, BTreeMap<String, Vec<u8>>>) {
    let plan: serde_json::Value =
        serde_json::from_slice(&fs::read(example.join("plan/plan.json")).unwrap()).unwrap();
    let old: BTreeSet<&str> = plan["cas"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ca| ca["old"]["subject"].as_str().unwrap())
        .collect();
    assert_eq!(old.len(), 3);
    let mut seen = 0;
    for (node, files) in nodes {
        for (path, bytes) in files {
            for certificate in certificates_of(&String::from_utf8_lossy(bytes)) {
                seen += 1;
                assert!(
                    !old.contains(certificate.subject()) && !old.contains(certificate.issuer()),
                    "{path} on {node} still holds `{}` of `{}`",
                    certificate.subject(),
                    certificate.issuer()
                );
            }
        }
    }
    assert!(
        seen > 8 * nodes.len(),
        "the certificates of every node were looked at, not {seen}"
    );
}

/// The certificates of a PEM file or a kubeconfig.
fn certificates_of(text: &str) -> Vec<Certificate> {
    let mut out = certificates_in_pem(text, "").unwrap_or_default();
    for word in text.split(|c: char| c.is_whitespace() || c == '"') {
        if let Ok(bytes) = BASE64.decode(word)
            && let Ok(pem) = String::from_utf8(bytes)
        {
            out.extend(certificates_in_pem(&pem, "").unwrap_or_default());
        }
    }
    out
}

/// One issued leaf of a lock: the CA's name, the fingerprint that it replaces, itself.
type IssuedLeaf = (String, String, Certificate);

/// The new CAs of a lock, by name, and its leaves.
fn issued(folder: &Path) -> (BTreeMap<String, String>, Vec<IssuedLeaf>) {
    let lock: toml::Table =
        toml::from_str(&fs::read_to_string(folder.join("carota.lock")).unwrap()).unwrap();
    let cas = lock["ca"]
        .as_table()
        .unwrap()
        .iter()
        .map(|(name, ca)| (name.clone(), ca["certificate"].as_str().unwrap().to_owned()))
        .collect();
    let leaves = lock["leaf"]
        .as_array()
        .unwrap()
        .iter()
        .map(|leaf| {
            let text = |key: &str| leaf[key].as_str().unwrap().to_owned();
            let pem = text("certificate");
            (
                text("ca"),
                text("replaces"),
                certificates_in_pem(&pem, "").unwrap().remove(0),
            )
        })
        .collect();
    (cas, leaves)
}

/// `openssl verify -x509_strict` of one certificate for what it may be used for.
fn openssl_verifies(ca: &Path, leaf: &Certificate) {
    let mut purposes: Vec<Vec<String>> = Vec::new();
    if leaf.client_auth() {
        purposes.push(vec!["-purpose".into(), "sslclient".into()]);
    }
    if leaf.server_auth() {
        for name in leaf.dns_names() {
            purposes.push(vec![
                "-purpose".into(),
                "sslserver".into(),
                "-verify_hostname".into(),
                name.clone(),
            ]);
        }
        for ip in leaf.ip_addresses() {
            purposes.push(vec![
                "-purpose".into(),
                "sslserver".into(),
                "-verify_ip".into(),
                ip.to_string(),
            ]);
        }
    }
    assert!(!purposes.is_empty(), "{} is for nothing", leaf.subject());
    let at = (leaf.not_before() + 1).to_string();
    for purpose in purposes {
        let mut arguments = vec![
            "verify",
            "-x509_strict",
            "-attime",
            &at,
            "-CAfile",
            ca.to_str().unwrap(),
        ];
        arguments.extend(purpose.iter().map(String::as_str));
        let output = judge("openssl", &arguments, leaf.to_pem().as_bytes());
        assert!(
            output.status.success(),
            "{} for {purpose:?}: {}",
            leaf.subject(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn openssl_accepts_every_issued_certificate_strictly_for_each_of_its_names() {
    for example in examples() {
        let (cas, leaves) = issued(&example);
        let folder = tempfile::tempdir().unwrap();
        for (name, pem) in &cas {
            fs::write(folder.path().join(name), pem).unwrap();
        }
        assert!(leaves.len() > 10);
        for (ca, _, leaf) in &leaves {
            openssl_verifies(&folder.path().join(ca), leaf);
        }
    }
}

#[test]
fn a_reissued_leaf_keeps_subject_names_usages_and_key() {
    for example in examples() {
        let mut before = BTreeMap::new();
        let mut texts: Vec<String> = Vec::new();
        for (_, (bytes, _)) in tree(&example.join("snapshot")) {
            texts.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        for certificate in texts.iter().flat_map(|t| certificates_of(t)) {
            before.insert(certificate.fingerprint().to_owned(), certificate);
        }
        let (_, leaves) = issued(&example);
        for (ca, replaces, leaf) in &leaves {
            let old = &before[replaces];
            if example.ends_with("external-ca") && ca == "cluster" {
                // Somebody else wrote it, for a new key and in their own order.
                let said = |c: &Certificate| {
                    (
                        c.common_name(),
                        c.organizations(),
                        c.san_text(),
                        c.client_auth(),
                        c.server_auth(),
                    )
                };
                assert_eq!(said(old), said(leaf));
                assert_ne!(old.spki_der(), leaf.spki_der());
                continue;
            }
            assert_eq!(old.subject_der(), leaf.subject_der());
            assert_eq!(old.spki_der(), leaf.spki_der(), "{}", old.subject());
            // OpenSSL's reading of what must stay, without the issuer's identifiers.
            let facts = |c: &Certificate| {
                let what = "subjectAltName,keyUsage,extendedKeyUsage,basicConstraints,subjectKeyIdentifier";
                let args = ["x509", "-noout", "-subject", "-pubkey", "-ext", what];
                String::from_utf8(judge("openssl", &args, c.to_pem().as_bytes()).stdout).unwrap()
            };
            assert_eq!(facts(old), facts(leaf));
            assert_ne!(old.serial(), leaf.serial());
        }
        let two: Vec<_> = leaves
            .iter()
            .filter(|(_, _, l)| l.organizations().len() == 2)
            .collect();
        let alice = example.join("snapshot/users/alice.kubeconfig").exists();
        assert_eq!(
            two.len(),
            usize::from(alice),
            "alice's certificate has two organizations"
        );
    }
}

/// The sections of a phase.diff: the line that names it, and its body.
fn sections(diff: &str) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut fresh = true;
    for line in diff.split_inclusive('\n') {
        if fresh && line.starts_with("# ") {
            out.push((line.trim_end()[2..].to_owned(), String::new()));
            fresh = false;
        } else {
            fresh = line == "\n";
            if let Some((_, body)) = out.last_mut()
                && !line.starts_with("# ")
            {
                body.push_str(line);
            }
        }
    }
    out
}

#[test]
fn patch_applies_the_diffs_of_text_files_to_the_pre_images() {
    let mut applied = 0;
    for example in examples() {
        let mut replay = Replay::start(&example);
        for phase in phases(&example.join("plan")) {
            let before: BTreeMap<_, _> = replay.nodes.clone();
            replay.phase(&phase);
            let diff = fs::read_to_string(phase.join("phase.diff")).unwrap();
            for (title, body) in sections(&diff) {
                let Some((path, on)) = title.split_once(" on ") else {
                    continue;
                };
                if body.starts_with("| ") {
                    continue;
                }
                for (node, files) in &before {
                    if !on.starts_with("all ") && !on.split(", ").any(|n| n == node) {
                        continue;
                    }
                    let folder = tempfile::tempdir().unwrap();
                    let file = folder.path().join(&path[1..]);
                    fs::create_dir_all(file.parent().unwrap()).unwrap();
                    if let Some(pre_image) = files.get(path) {
                        fs::write(&file, pre_image).unwrap();
                    }
                    let at = folder.path().to_str().unwrap();
                    let output = judge("patch", &["-p1", "--fuzz=0", "-d", at], body.as_bytes());
                    assert!(
                        output.status.success(),
                        "{}",
                        String::from_utf8_lossy(&output.stdout)
                    );
                    assert!(
                        fs::read(&file).ok() == replay.nodes[node].get(path).cloned(),
                        "{title}"
                    );
                    applied += 1;
                }
            }
        }
    }
    assert!(applied > 60, "{applied} patches were applied");
}

/// SHA-256 of every certificate in a file, as PEM or inside a kubeconfig.
fn fingerprints(file: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(file);
    let words = text.split_whitespace();
    let decoded = words.filter_map(|word| String::from_utf8(BASE64.decode(word).ok()?).ok());
    let inside: Vec<String> = decoded
        .filter(|pem| pem.contains("BEGIN CERTIFICATE"))
        .collect();
    let pem = certificates_in_pem(&text, "").unwrap().into_iter();
    let inside = inside
        .iter()
        .flat_map(|pem| certificates_in_pem(pem, "").unwrap());
    pem.chain(inside)
        .map(|certificate| certificate.fingerprint().to_owned())
        .collect()
}

/// One of several changes is shown, so that the others must be listed, each with its own certificate.
#[test]
fn every_changed_file_is_shown_or_listed_with_its_certificates() {
    let mut listed = 0;
    for example in examples() {
        let mut replay = Replay::start(&example);
        for phase in phases(&example.join("plan")) {
            let before = replay.nodes.clone();
            replay.phase(&phase);
            let mut known: BTreeSet<(String, String)> = BTreeSet::new();
            let diff = fs::read_to_string(phase.join("phase.diff")).unwrap();
            for (title, _) in sections(&diff) {
                let Some((path, on)) = title.split_once(" on ") else {
                    continue;
                };
                let all = on.starts_with("all ");
                let named = |node: &&String| all || on.split(", ").any(|n| n == *node);
                let nodes = before.keys().filter(named);
                known.extend(nodes.map(|node| (node.clone(), path.to_owned())));
            }
            let tables = fs::read_to_string(phase.join("CERTIFICATES")).unwrap_or_default();
            let mut columns: Vec<&str> = Vec::new();
            for line in tables.lines().filter(|line| !line.starts_with("# ")) {
                let row: Vec<&str> = line.split('\t').collect();
                if row[0] == "node" {
                    columns = row;
                } else if let [node, path, ..] = row[..] {
                    let (old, new) = (&before[node][path], &replay.nodes[node][path]);
                    for (column, value) in columns.iter().zip(&row) {
                        let there = match *column {
                            "-SHA-256" => fingerprints(old),
                            "+SHA-256" => fingerprints(new),
                            _ => continue,
                        };
                        assert!(there.contains(*value), "{path} on {node}: {column}");
                        listed += 1;
                    }
                    known.insert((node.to_owned(), path.to_owned()));
                }
            }
            for (node, files) in &replay.nodes {
                for (path, file) in files {
                    let changed = before[node].get(path) != Some(file);
                    let shown = known.contains(&(node.clone(), path.clone()));
                    assert!(!changed || shown, "{}: {path} on {node}", phase.display());
                }
            }
        }
    }
    assert!(listed > 60, "{listed} certificates are listed");
}

#[test]
fn a_plan_for_many_nodes_is_as_short_to_review_as_one_for_few() {
    let lines = |workers: usize| {
        let folder = tempfile::tempdir().unwrap();
        common::fleet::make(&example("kubeadm-ha"), workers, folder.path());
        // Something on each worker of which nothing can be proven.
        for number in 1..=workers {
            let agent = "clusters: [{name: x, cluster: {server: 'https://k8s-api.lab:6443'}}]\n";
            let (snapshot, node) = (folder.path().join("snapshot"), format!("node{number:04}"));
            common::put_on_node(&snapshot, &node, "/etc/agent/kubeconfig", agent);
        }
        compile(folder.path());
        let plan = folder.path().join("plan");
        let readme = fs::read_to_string(plan.join("README.md")).unwrap();
        let more = format!(
            "names no CA: the system's roots, which are not in the snapshot); nothing is proven of it (and {} more, of other nodes",
            3 * workers - 1
        );
        assert!(readme.contains(&more), "{readme}");
        let count = |path: &str| fs::read_to_string(plan.join(path)).unwrap().lines().count();
        [
            count("README.md"),
            count("10-kubelet-trust/phase.diff"),
            count("13-client-certificates/phase.diff"),
            count("14-leaf-certificates/phase.diff"),
        ]
    };
    let (few, many) = (lines(20), lines(90));
    assert_eq!(few, many);
    assert!(
        many[0] < 300 && many[1..].iter().all(|lines| *lines < 500),
        "{many:?}"
    );
}

#[test]
fn a_diff_shows_no_wall_of_base64() {
    for example in examples() {
        for phase in phases(&example.join("plan")) {
            let diff = fs::read_to_string(phase.join("phase.diff")).unwrap();
            let longest = diff
                .split(|c: char| !(c.is_ascii_alphanumeric() || c == '+' || c == '='))
                .map(str::len)
                .max()
                .unwrap_or(0);
            // A SHA-256 in hexadecimal is the longest word that a person has to look at.
            assert!(
                longest <= 64,
                "{}: a word of {longest} characters",
                phase.display()
            );
        }
    }
}

#[test]
fn private_values_are_in_no_public_output() {
    let folder = inputs_of(&example("kubeadm-ha"));
    fs::remove_file(folder.path().join("carota.lock")).unwrap();
    let output = compile(folder.path());
    let mut private: BTreeSet<Vec<u8>> = BTreeSet::new();
    for (path, (bytes, _)) in tree(&folder.path().join("secrets")) {
        if !path.ends_with(".key") {
            continue;
        }
        let pem = String::from_utf8(bytes).unwrap();
        let body: String = pem.lines().filter(|l| !l.starts_with("-----")).collect();
        let der = BASE64.decode(&body).unwrap();
        let hex: String = der.iter().map(|b| format!("{b:02x}")).collect();
        let first_line = pem.lines().nth(1).unwrap();
        for value in [
            &pem,
            first_line,
            &body,
            &BASE64.encode(&pem),
            &BASE64.encode(BASE64.encode(&pem)),
            &hex,
        ] {
            private.insert(value.as_bytes().to_vec());
        }
        private.insert(der);
    }
    assert!(private.len() >= 3 * 7);
    let mut public: Vec<u8> = [output.stdout, output.stderr].concat();
    public.extend(fs::read(folder.path().join("carota.lock")).unwrap());
    for (_, (bytes, _)) in tree(&folder.path().join("plan")) {
        public.extend(bytes);
    }
    for value in &private {
        let found = public.windows(value.len()).any(|window| window == value);
        assert!(!found, "a private value of {} bytes is public", value.len());
    }
    for (path, _) in tree(&folder.path().join("secrets")) {
        let meta = fs::metadata(folder.path().join("secrets").join(&path)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600, "{path}");
    }
}

#[test]
fn new_leaf_keys_fit_their_certificates_and_travel_in_secrets() {
    let folder = inputs_of(&example("kubeadm-ha"));
    fs::remove_file(folder.path().join("carota.lock")).unwrap();
    edit(
        &folder.path().join("cluster.toml"),
        "leaf_keys = \"keep\"",
        "leaf_keys = \"new\"",
    );
    compile(folder.path());
    let secrets = tree(&folder.path().join("secrets/nodes"));
    let public_key = |pem: &[u8], args: &[&str]| {
        let output = judge("openssl", args, pem);
        assert!(output.status.success());
        output.stdout
    };
    let mut pairs = 0;
    for (path, (bytes, _)) in &secrets {
        let Some((node, rest)) = path.split_once('/') else {
            continue;
        };
        let Some((phase, on_node)) = rest.split_once('/') else {
            continue;
        };
        if !phase.starts_with("14") || !on_node.ends_with(".key") {
            continue;
        }
        let certificate = on_node.replace(".key", ".crt");
        let image = folder
            .path()
            .join(format!("plan/{phase}/nodes/{node}/{certificate}"));
        let of_certificate = public_key(&fs::read(image).unwrap(), &["x509", "-noout", "-pubkey"]);
        assert_eq!(
            of_certificate,
            public_key(bytes, &["pkey", "-pubout"]),
            "{path}"
        );
        pairs += 1;
    }
    assert!(
        pairs >= 3 * 7,
        "each control plane has seven pairs, {pairs} were compared"
    );
    let kubelet = secrets
        .iter()
        .find(|(p, _)| p.contains("worker-1/13-") && p.ends_with(".pem"));
    let (_, (bytes, _)) = kubelet.expect("a kubelet's new pem holds certificate and key");
    let certificate = public_key(bytes, &["x509", "-noout", "-pubkey"]);
    assert_eq!(certificate, public_key(bytes, &["pkey", "-pubout"]));
    // With the lock and without the keyring the plan is the same: it holds references only.
    let plan = tree(&folder.path().join("plan"));
    fs::remove_dir_all(folder.path().join("secrets")).unwrap();
    compile(folder.path());
    assert!(plan == tree(&folder.path().join("plan")));
}

#[test]
fn every_kind_of_ca_key_and_an_imported_intermediate_work() {
    let example = &example("kubeadm-ha");
    let folder = inputs_of(example);
    fs::remove_file(folder.path().join("carota.lock")).unwrap();
    let toml = folder.path().join("cluster.toml");
    let text = fs::read_to_string(&toml).unwrap();
    let mut algorithms = ["rsa-2048", "ecdsa-p384", "ecdsa-p256"].into_iter();
    let mut parts = text.split("key = \"ecdsa-p256\"");
    let mut changed = parts.next().unwrap().to_owned();
    for part in parts {
        changed.push_str(&format!("key = \"{}\"{part}", algorithms.next().unwrap()));
    }
    // The etcd CA comes from elsewhere: an intermediate with its root behind it.
    let at = changed.find("[rotation.ca.etcd]").unwrap();
    let end = changed[at..].find("\n\n").unwrap() + at;
    changed.replace_range(
        at..end,
        "[rotation.ca.etcd]\ncertificate = \"made/ca.crt\"\nkey = \"made/ca.key\"",
    );
    fs::write(&toml, changed).unwrap();
    make_intermediate(&folder.path().join("made"));
    compile(folder.path());
    let (cas, leaves) = issued(folder.path());
    let kind = |pem: &str| {
        certificates_in_pem(pem, "").unwrap()[0]
            .key_algorithm_text()
            .to_owned()
    };
    assert_eq!(kind(&cas["cluster"]), "RSA 2048");
    assert_eq!(kind(&cas["front-proxy"]), "ECDSA P-384");
    let root = fs::read_to_string(folder.path().join("made/root.crt")).unwrap();
    let bundles = tempfile::tempdir().unwrap();
    for (name, pem) in &cas {
        let trust = if name == "etcd" {
            format!("{pem}{root}")
        } else {
            pem.clone()
        };
        fs::write(bundles.path().join(name), trust).unwrap();
    }
    for (ca, _, leaf) in &leaves {
        openssl_verifies(&bundles.path().join(ca), leaf);
    }
    // Verifiers get the whole chain. No process will read another copy of etcd's new CA.
    let phase = &phases(&folder.path().join("plan"))[1];
    let count = |path: &str| {
        let text = fs::read_to_string(phase.join(path)).unwrap();
        text.matches("BEGIN CERTIFICATE").count()
    };
    assert_eq!(
        count("nodes/@control-planes/etc/kubernetes/pki/etcd/ca-bundle.crt"),
        3
    );
    let copy = |of: &str| {
        let path = format!("nodes/@control-planes/etc/kubernetes/pki/{of}ca-new.crt");
        phase.join(path).exists()
    };
    assert!(copy("") && !copy("etcd/") && !copy("front-proxy-"));
}

/// A root and an intermediate under it, whose key signs.
fn make_intermediate(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let mint = |subject: &str, serial: u8| {
        SigningCa::mint(&CaRequest {
            subject: subject.to_owned(),
            key: KeyAlgorithm::EcdsaP256,
            not_before: 1_767_225_600,
            not_after: 2_398_377_600,
            serial: [serial; 16],
        })
        .unwrap()
    };
    let (root, own) = (mint("CN=company-root", 1), mint("CN=company-etcd", 2));
    let own_validity = (own.certificate.not_before(), own.certificate.not_after());
    let under = root
        .reissue(
            &own.certificate,
            own_validity.0,
            own_validity.1,
            "intermediate",
        )
        .unwrap();
    let root = root.certificate.to_pem();
    fs::write(folder.join("ca.crt"), under.to_pem() + &root).unwrap();
    fs::write(folder.join("ca.key"), own.key.to_pem().expose()).unwrap();
    fs::write(folder.join("root.crt"), root).unwrap();
}

#[test]
fn with_one_ca_the_other_phases_say_why_they_do_nothing() {
    let folder = inputs_of(&example("kubeadm-ha"));
    fs::remove_file(folder.path().join("carota.lock")).unwrap();
    let toml = folder.path().join("cluster.toml");
    edit(
        &toml,
        "cas = [\"cluster\", \"front-proxy\", \"etcd\"]",
        "cas = [\"front-proxy\"]",
    );
    let text = fs::read_to_string(&toml).unwrap();
    let mut kept = String::new();
    for block in text.split("\n\n") {
        let other = block.contains("[rotation.ca.cluster]")
            || block.contains("[rotation.ca.etcd]")
            || block.contains("[[trust_consumer]]");
        if !other {
            kept.push_str(block);
            kept.push_str("\n\n");
        }
    }
    fs::write(&toml, kept).unwrap();
    compile(folder.path());
    let all = phases(&folder.path().join("plan"));
    assert_eq!(all.len(), 21);
    for number in [3, 4, 7, 8, 10, 11] {
        assert_eq!(fs::read_to_string(all[number].join("CHANGES")).unwrap(), "");
        let readme = fs::read_to_string(all[number].join("README.md")).unwrap();
        assert!(
            readme.contains("Nothing to do in this cluster"),
            "{}",
            all[number].display()
        );
        assert!(readme.contains("Not done, and why:"), "{readme}");
    }
    assert!(
        !fs::read_to_string(all[5].join("CHANGES"))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn init_writes_a_description_that_compiles_as_it_is() {
    for example in examples() {
        let folder = tempfile::tempdir().unwrap();
        copy_tree(&example.join("snapshot"), &folder.path().join("snapshot"));
        let output = carota(
            &["init", "snapshot", "--out", "cluster.toml"],
            folder.path(),
        );
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        compile(folder.path());
        let again = carota(
            &["init", "snapshot", "--out", "cluster.toml"],
            folder.path(),
        );
        assert_eq!(
            again.status.code(),
            Some(2),
            "an existing cluster.toml is not replaced"
        );
    }
}

/// What is lost by the way back, in the words of the README, where it matters most.
const LOST: [(&str, &str); 4] = [
    (
        "13-client-certificates",
        "Safe until phase 18 begins: restores the old certificates, which are trusted until then. What is lost: the new \
         certificates. Users who took their new kubeconfig must put back the former one before 10 or 05 is undone, \
         whose rollbacks ask for it: from then on nobody knows the new certificate.",
    ),
    (
        "14-leaf-certificates",
        "Safe until phase 17 begins: restores the old certificates, which are trusted until then, and rolls the workloads \
         that get them. What is lost: the new certificates, with their keys where those are new. A client that trusts the new CA alone does not believe \
         the servers any more: users who took the kubeconfig of phase 18 must put it away first, and the rollback \
         asks for it.",
    ),
    (
        "18-retire-control-plane",
        "Safe until phase 20 begins: restores both CAs, one control plane after another. What is lost: nothing; \
         certificates of the new CA stay in use, and those of the old one are accepted again. Users may keep the \
         kubeconfig of this phase until 14 is undone.",
    ),
    (
        "20-clean-up",
        "There is none: what is removed here is not needed by anything. What is lost: the backups of every phase, \
         and with them the old CAs' keys: nothing of the rotation can be undone.",
    ),
];

#[test]
fn each_phase_says_until_when_its_way_back_is_safe_and_what_it_loses() {
    for example in examples() {
        let folders = phases(&example.join("plan"));
        assert_eq!(folders.len(), 21, "{}", example.display());
        for (phase, _) in LOST {
            assert!(folders.iter().any(|f| f.ends_with(phase)), "{phase}");
        }
        for folder in folders {
            let phase = folder.file_name().unwrap().to_str().unwrap();
            let readme = fs::read_to_string(folder.join("README.md")).unwrap();
            let (_, back) = readme.split_once("## Way back\n").expect("the section");
            let until = ["Safe until phase ", "Safe at any time: ", "There is none: "];
            let says = until.iter().any(|until| back.trim().starts_with(until));
            assert!(says && back.contains("What is lost: "), "{phase}: {back}");
            for (_, words) in LOST.iter().filter(|(of, _)| *of == phase) {
                assert!(back.contains(words), "{phase}: {back}");
            }
        }
    }
}
