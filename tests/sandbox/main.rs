//! The whole compiled plan of a cluster like the example, carried out by its own scripts: five nodes in
//! sandbox roots with keys that this test makes, collected by the collector, compiled, then taken
//! through all phases forth, back and forth again. Stand-ins only for what cannot run there: kubectl and
//! the controllers behind it, systemd, the kubelet, and connections to servers.

#![allow(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "paths on nodes are case-sensitive"
)]

#[path = "../common/mod.rs"]
mod common;
mod twin;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use carota::pki::Certificate;
use tempfile::TempDir;

use common::pieces::certificates_of;
use common::{carota, edit, judge, phases};
use world::{Entry, Files, SHELLS, World, assert_same, text};

/// What the scripts ask people for by name, on the whole way: the halves of phases that cannot be seen
/// from where the next script runs (forth, and `undone-` back), what only people know, and the pods that no
/// roll reaches.
const ASKED: [&str; 26] = [
    "00-preflight",
    "02-controller-manager-root-ca",
    "04-restart-in-cluster-clients",
    "04-restart-in-cluster-clients: debug",
    "08-kubeconfig-trust",
    "09-extension-trust",
    "10-kubelet-trust",
    "11-bootstrap-trust",
    "14-leaf-certificates",
    "16-verify",
    "17-retire-service-accounts",
    "17-retire-service-accounts: debug",
    "18-retire-control-plane",
    "destroy-backups",
    "external-clients",
    "undone-00-preflight",
    "undone-04-restart-in-cluster-clients",
    "undone-05-apiserver-trust",
    "undone-09-extension-trust",
    "undone-10-kubelet-trust",
    "undone-11-bootstrap-trust",
    "undone-12-signer",
    "undone-17-retire-service-accounts",
    "undone-18-retire-control-plane",
    "user-alice",
    "user-alice-certificate",
];

/// A made cluster, collected and compiled.
pub struct Made {
    dir: TempDir,
    /// What is on the nodes and in the API.
    raw: PathBuf,
    nodes: Vec<String>,
    uid: String,
    digest: String,
    /// The CAs before the rotation.
    old_cas: Vec<Certificate>,
    alice: String,
}

impl Made {
    fn new() -> Made {
        let dir = temporary();
        let snapshot = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/kubeadm-ha/snapshot");
        let raw = dir.path().join("raw");
        twin::make(&snapshot, &raw);
        let mut made = Made {
            nodes: twin::nodes(&snapshot),
            uid: String::new(),
            digest: String::new(),
            old_cas: Vec::new(),
            alice: fs::read_to_string(raw.join("users/alice.kubeconfig")).unwrap(),
            raw,
            dir,
        };
        for ca in ["ca.crt", "front-proxy-ca.crt", "etcd/ca.crt"] {
            let path = made.raw.join("nodes/cp-1/etc/kubernetes/pki").join(ca);
            let text = fs::read_to_string(path).unwrap();
            made.old_cas.extend(certificates_of(&text));
        }
        made.collect();
        made.compile();
        made.carry();
        let phase = fs::read_to_string(made.folder().join("plan/00-preflight/PHASE")).unwrap();
        let uid = phase.lines().find_map(|l| l.strip_prefix("cluster-uid\t"));
        uid.expect("the cluster's UID").clone_into(&mut made.uid);
        made
    }

    #[allow(clippy::unused_self, reason = "it reads as its place")]
    fn temporary(&self) -> TempDir {
        temporary()
    }

    /// Where cluster.toml, plan/ and secrets/ are.
    fn folder(&self) -> PathBuf {
        self.dir.path().join("rotation")
    }

    /// Where a node's bundle was unpacked: plan/ and secrets/.
    fn carried(&self, node: &str) -> PathBuf {
        let unpacked = self.dir.path().join("carried").join(node);
        let top = fs::read_dir(unpacked).unwrap().next().unwrap();
        top.unwrap().path()
    }

    /// Packs what each node gets, and unpacks it there.
    fn carry(&self) {
        let (folder, bundles) = (self.folder(), self.dir.path().join("bundles"));
        fs::create_dir(&bundles).unwrap();
        let out = bundles.to_str().unwrap();
        let output = carota(&["bundle", "cluster.toml", "--all", "--out", out], &folder);
        assert!(output.status.success(), "{}", text(&output));
        for node in &self.nodes {
            let to = self.dir.path().join("carried").join(node);
            fs::create_dir_all(&to).unwrap();
            let name = fs::read_dir(&bundles).unwrap().map(|e| e.unwrap().path());
            let tar = { name }.find(|p| p.to_str().unwrap().ends_with(&format!("-{node}.tar")));
            let status = Command::new("tar")
                .args(["-x", "-p", "-f"])
                .args([tar.unwrap(), "-C".into(), to])
                .status();
            assert!(status.unwrap().success());
            let secrets = self.carried(node).join("secrets");
            assert_eq!(node.starts_with("cp-"), secrets.is_dir(), "{node}");
        }
    }

    fn collect(&self) {
        let folder = self.folder();
        fs::create_dir(&folder).unwrap();
        fs::write(
            folder.join("collect.sh"),
            carota(&["collect"], &folder).stdout,
        )
        .unwrap();
        let run = |arguments: &[&str]| {
            let output = Command::new("sh")
                .arg("collect.sh")
                .args(arguments)
                .current_dir(&folder)
                .env("TMPDIR", self.dir.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        };
        for node in &self.nodes {
            let root = self.raw.join("nodes").join(node);
            run(&["node", "--node", node, "--root", root.to_str().unwrap()]);
        }
        run(&[
            "cluster",
            "--from",
            self.raw.join("cluster").to_str().unwrap(),
        ]);
        let alice = self.raw.join("users/alice.kubeconfig");
        run(&["user", "alice", alice.to_str().unwrap()]);
    }

    fn compile(&mut self) {
        let folder = self.folder();
        let done = |arguments: &[&str]| {
            let output = carota(arguments, &folder);
            assert!(output.status.success(), "{arguments:?}: {}", text(&output));
            text(&output)
        };
        done(&["init", "snapshot", "--out", "cluster.toml"]);
        // The certificates are a few seconds old: the window begins now, not at the next midnight.
        let toml = fs::read_to_string(folder.join("cluster.toml")).unwrap();
        let line = toml
            .lines()
            .find(|l| l.starts_with("not_before = "))
            .unwrap();
        let now = judge("date", &["-u", "+not_before = %Y-%m-%dT%H:%M:%SZ"], b"").stdout;
        edit(
            &folder.join("cluster.toml"),
            line,
            String::from_utf8(now).unwrap().trim_end(),
        );
        let said = done(&["compile", "cluster.toml"]);
        let written = said
            .lines()
            .find(|l| l.starts_with("plan/ written"))
            .unwrap();
        written
            .rsplit(' ')
            .next()
            .unwrap()
            .clone_into(&mut self.digest);
        assert_eq!(self.digest.len(), 64, "{said}");
    }

    /// The names of the phases.
    fn phases(&self) -> Vec<String> {
        phases(&self.folder().join("plan"))
            .iter()
            .map(|p| p.file_name().unwrap().to_str().unwrap().to_owned())
            .collect()
    }
}

/// In memory where that is possible: the scripts sync every file.
fn temporary() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        TempDir::new_in(memory).unwrap()
    } else {
        TempDir::new().unwrap()
    }
}

#[test]
fn the_whole_plan_runs_both_ways_and_ends_as_it_began_with_new_cas() {
    let begin = Instant::now();
    let made = Made::new();
    println!("made, collected and compiled in {:?}", begin.elapsed());
    for shell in shells() {
        let begin = Instant::now();
        let (runs, middles) = both_ways(&made, shell);
        println!(
            "{shell:?}: {runs} scripts run in {:?}; back from each of 20 phases, and from {middles} places in the middle of them: the same bytes",
            begin.elapsed()
        );
    }
}

/// Each run in the next shell, or with `CAROTA_SANDBOX=all` everything in each shell.
fn shells() -> Vec<Option<usize>> {
    if std::env::var("CAROTA_SANDBOX").is_ok_and(|value| value == "all") {
        (0..SHELLS.len()).map(Some).collect()
    } else {
        vec![None]
    }
}

fn both_ways(made: &Made, shell: Option<usize>) -> (usize, usize) {
    let world = World::new(made, shell);
    let start = world.all_files();
    let names = made.phases();
    assert_eq!(names.len(), 21);
    let (last, reversible) = names.split_last().unwrap();
    // Forth up to where there is still a way back, and from the middle of each phase back to its start.
    world.snapshots.store(true, Ordering::Relaxed);
    let (mut states, mut middles) = (Vec::new(), 0);
    for name in reversible {
        let before = (world.all_files(), objects(&world));
        world.apply(name);
        middles += back_from_the_middle(&world, name, &before);
        everyone_trusts_everyone(&world, name);
        states.push(before);
    }
    world.snapshots.store(false, Ordering::Relaxed);
    let done = world.all_files();
    // Back through all of them: after each, everything is as it was before it.
    for (name, before) in reversible.iter().zip(&states).rev() {
        world.roll_back(name);
        assert_same(
            &world.all_files(),
            &before.0,
            &format!("{name} rolled back"),
        );
        objects_are_back(made, &before.1, &objects(&world), name);
        everyone_trusts_everyone(&world, name);
    }
    assert_same(&world.all_files(), &start, "all rolled back");
    // And forth again, to the end.
    for (name, before) in reversible.iter().zip(&states) {
        kill_in_the_middle(&world, name, &before.0);
        world.apply_again(name);
        everyone_trusts_everyone(&world, name);
        if name.starts_with("12") {
            old_leaves_verify_against_both(&world);
        }
    }
    assert_same(&world.all_files(), &done, "all applied again");
    world.apply(last);
    no_way_back(&world, last, &world.all_files());
    ends_as_it_began(made, &start, &world);
    let asked = world.asked.lock().unwrap();
    assert_eq!(asked.iter().map(String::as_str).collect::<Vec<_>>(), ASKED);
    (world.runs.load(Ordering::Relaxed), middles)
}

/// From the middle of each half of a phase that was just applied, its rollback restores what was before:
/// in worlds of their own.
fn back_from_the_middle(
    world: &World,
    phase: &str,
    before: &(BTreeMap<String, Files>, BTreeMap<String, String>),
) -> usize {
    world.roll_back_from_the_middle(phase, |fork, node, what| {
        let nodes = fork
            .made
            .nodes
            .iter()
            .filter(|n| node.is_none_or(|node| node == *n));
        let found = nodes.map(|n| (n.clone(), fork.files(n))).collect();
        assert_same(&found, &before.0, what);
        if node.is_none() {
            objects_are_back(fork.made, &before.1, &objects(fork), what);
        }
    })
}

/// Kills runs on one node after a few operations, rolls back, and finds everything as it was. Every
/// operation of a phase's scripts is killed in another test; this is that of a real plan.
fn kill_in_the_middle(world: &World, phase: &str, before: &BTreeMap<String, Files>) {
    let at = match &phase[..2] {
        "12" => 50,
        "18" => 120,
        _ => return,
    };
    world.kill(phase, "apply", "cp-2", at);
    world.run(phase, "rollback", Some("cp-2"));
    assert_same(
        &world.all_files(),
        before,
        &format!("{phase} killed at {at} and rolled back"),
    );
}

fn no_way_back(world: &World, phase: &str, after: &BTreeMap<String, Files>) {
    for node in &world.made.nodes {
        let output = world
            .command(phase, "rollback", Some(node))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(12), "{}", text(&output));
    }
    assert_same(&world.all_files(), after, "a rollback after the clean-up");
}

/// What was applied, by file.
fn objects(world: &World) -> BTreeMap<String, String> {
    fs::read_dir(world.cluster().join("objects"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .map(|p| {
            (
                p.file_name().unwrap().to_str().unwrap().to_owned(),
                fs::read_to_string(p).unwrap(),
            )
        })
        .collect()
}

fn trusted(text: &str) -> BTreeSet<String> {
    let found = certificates_of(text).into_iter();
    found.map(|c| c.fingerprint().to_owned()).collect()
}

/// After a rollback each object trusts whom it trusted before: whom the phase before left there, or at
/// first the old CA.
fn objects_are_back(
    made: &Made,
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
    phase: &str,
) {
    let old = BTreeSet::from([made.old_cas[0].fingerprint().to_owned()]);
    for (name, text) in now {
        let wanted = before.get(name).map_or_else(|| old.clone(), |t| trusted(t));
        let found = trusted(text);
        assert!(
            found == wanted || (found.is_empty() && !before.contains_key(name)),
            "{name} after the way back of {phase}"
        );
    }
}

/// One node's files as texts.
fn texts(files: &Files) -> impl Iterator<Item = (&str, String)> {
    files.iter().filter_map(|(path, entry)| match entry {
        Entry::File { bytes, .. } => {
            Some((path.as_str(), String::from_utf8_lossy(bytes).into_owned()))
        }
        _ => None,
    })
}

fn content(files: &Files, path: &str) -> String {
    match files.get(path.trim_start_matches('/')) {
        Some(Entry::File { bytes, .. }) => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("{path}: {other:?}"),
    }
}

/// The values of a flag in a node's manifest.
fn flag(files: &Files, component: &str, name: &str) -> String {
    let manifest = content(files, &format!("etc/kubernetes/manifests/{component}.yaml"));
    let prefix = format!("- --{name}=");
    let mut lines = manifest.lines().map(str::trim);
    lines
        .find_map(|l| l.strip_prefix(&prefix).map(str::to_owned))
        .unwrap_or_else(|| panic!("{component} has no --{name}"))
}

/// After every phase: each API server accepts each client certificate, and each kubeconfig trusts each
/// API server. A check of its own, of signatures alone.
fn everyone_trusts_everyone(world: &World, phase: &str) {
    let all = world.all_files();
    let masters: Vec<&Files> = all
        .iter()
        .filter(|(node, _)| node.starts_with("cp-"))
        .map(|(_, files)| files)
        .collect();
    let signed = |leaf: &Certificate, cas: &str, what: &str| {
        let mut cas = certificates_of(cas).into_iter();
        assert!(
            cas.any(|ca| leaf.signed_by(&ca)),
            "after {phase}: {what} does not trust `{}`",
            leaf.subject()
        );
    };
    for server in &masters {
        let clients = content(server, &flag(server, "kube-apiserver", "client-ca-file"));
        let served = content(server, &flag(server, "kube-apiserver", "tls-cert-file"));
        let served = &certificates_of(&served)[0];
        let etcd = content(server, &flag(server, "etcd", "trusted-ca-file"));
        let client = content(server, &flag(server, "kube-apiserver", "etcd-certfile"));
        signed(&certificates_of(&client)[0], &etcd, "etcd");
        for files in all.values() {
            for (path, text) in texts(files) {
                let kubeconfig = text.contains("kind: Config");
                if kubeconfig {
                    signed(served, &authority(&text), path);
                }
                if kubeconfig || path.contains("kubelet-client-") {
                    for leaf in certificates_of(&text).iter().filter(|c| !c.is_ca()) {
                        signed(leaf, &clients, "the API server");
                    }
                }
            }
        }
    }
}

/// The certificate-authority-data of a kubeconfig.
fn authority(text: &str) -> String {
    let line = text
        .lines()
        .find(|l| l.contains("certificate-authority-data"))
        .unwrap();
    let value = line.split(": ").nth(1).unwrap().trim_matches('"');
    String::from_utf8(BASE64.decode(value).unwrap()).unwrap()
}

/// `openssl verify -x509_strict` of a certificate against the CAs of a text.
fn verifies(leaf: &Certificate, cas: &str, what: &str) {
    let folder = temporary();
    let file = folder.path().join("ca");
    fs::write(&file, cas).unwrap();
    let arguments = [
        "verify",
        "-x509_strict",
        "-no-CApath",
        "-CAfile",
        file.to_str().unwrap(),
    ];
    let output = judge("openssl", &arguments, leaf.to_pem().as_bytes());
    assert!(output.status.success(), "{what}: {}", text(&output));
}

/// After phase 12 the original file holds both CAs, and the leaves are still the old ones.
fn old_leaves_verify_against_both(world: &World) {
    for node in &world.made.nodes {
        let files = world.files(node);
        let cas = content(&files, "etc/kubernetes/pki/ca.crt");
        assert_eq!(certificates_of(&cas).len(), 2);
        let (path, text) = texts(&files)
            .find(|(p, _)| p.contains("kubelet-client-"))
            .unwrap();
        let leaf = &certificates_of(&text)[0];
        assert!(leaf.signed_by(&world.made.old_cas[0]));
        verifies(leaf, &cas, path);
    }
}

fn ends_as_it_began(made: &Made, start: &BTreeMap<String, Files>, world: &World) {
    let end = world.all_files();
    for (node, files) in &end {
        let same = |what: &str| {
            let names = |f: &Files| f.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&start[node]), names(files), "{what} on {node}");
        };
        same("names");
        for (path, entry) in files {
            ends_like(made, node, path, &start[node][path], entry);
        }
        keys_belong_to_their_certificates(node, files);
        every_certificate_verifies(node, files);
    }
    no_old_ca(made, world, &end);
    alice_completes_her_file(made);
}

/// What must be byte for byte as at the start.
fn stays(path: &str) -> bool {
    path.contains("/manifests/")
        || path.contains("/systemd/")
        || path.contains("/sa.")
        || path.contains("/pki/kubelet.")
        || [".env", ".conflist", "/config.yaml", "/instance-config.yaml"]
            .iter()
            .any(|e| path.ends_with(e))
        || (path.ends_with(".key") && !path.ends_with("ca.key"))
}

fn ends_like(made: &Made, node: &str, path: &str, before: &Entry, after: &Entry) {
    let (
        Entry::File { bytes, mode, owner },
        Entry::File {
            bytes: now,
            mode: m,
            owner: o,
        },
    ) = (before, after)
    else {
        assert_eq!(before, after, "{path} on {node}");
        return;
    };
    assert_eq!((mode, owner), (m, o), "{path} on {node}");
    if stays(path) {
        assert!(bytes == now, "{path} on {node} is not as it was");
        return;
    }
    let (was, is) = (String::from_utf8_lossy(bytes), String::from_utf8_lossy(now));
    let (mut was, mut is) = (was.into_owned(), is.into_owned());
    assert_ne!(was, is, "{path} on {node}");
    if path.ends_with("ca.key") {
        return;
    }
    // Without its certificates the file is the old one: private values, comments, order and all.
    for text in [&mut was, &mut is] {
        for certificate in certificates_of(text) {
            let pem = certificate.to_pem();
            *text = text.replace(&pem, "*").replace(&BASE64.encode(&pem), "*");
        }
    }
    assert!(
        was == is,
        "{path} on {node} differs in more than certificates"
    );
    assert!(is.contains('*') && made.nodes.iter().any(|n| n == node));
}

/// The public key of a private key, and of a certificate, as OpenSSL prints both.
fn public_of(key: &str) -> Vec<u8> {
    let output = judge("openssl", &["pkey", "-pubout"], key.as_bytes());
    assert!(output.status.success(), "{}", text(&output));
    output.stdout
}

fn public_in(certificate: &str) -> Vec<u8> {
    let output = judge(
        "openssl",
        &["x509", "-noout", "-pubkey"],
        certificate.as_bytes(),
    );
    assert!(output.status.success(), "{}", text(&output));
    output.stdout
}

fn keys_belong_to_their_certificates(node: &str, files: &Files) {
    let mut seen = 0;
    for (path, text) in texts(files) {
        let pair = if let Some(stem) = path.strip_suffix(".key") {
            if stem.ends_with("/sa") {
                assert_eq!(
                    public_of(&text),
                    content(files, &format!("{stem}.pub")).into_bytes()
                );
                continue;
            }
            Some((text, content(files, &format!("{stem}.crt"))))
        } else if path.ends_with(".pem") {
            Some((text.clone(), text))
        } else {
            scalar(&text, "client-key-data")
                .map(|key| (key, scalar(&text, "client-certificate-data").unwrap()))
        };
        if let Some((key, certificate)) = pair {
            seen += 1;
            assert!(
                public_of(&key) == public_in(&certificate),
                "{path} on {node}"
            );
        }
    }
    assert!(
        seen >= if node.starts_with("cp-") { 15 } else { 2 },
        "{node}: {seen}"
    );
}

fn scalar(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|l| l.trim_start().starts_with(key))?;
    let value = line.split(": ").nth(1)?.trim().trim_matches('"');
    Some(String::from_utf8(BASE64.decode(value).ok()?).unwrap())
}

fn every_certificate_verifies(node: &str, files: &Files) {
    let control_plane = node.starts_with("cp-");
    for (path, text) in texts(files) {
        let ca = match path {
            p if p.contains("/pki/etcd/") || p.ends_with("apiserver-etcd-client.crt") => {
                "etcd/ca.crt"
            }
            p if p.contains("front-proxy") => "front-proxy-ca.crt",
            p if p.ends_with("kubelet.crt") => continue,
            _ => "ca.crt",
        };
        let cas = content(files, &format!("etc/kubernetes/pki/{ca}"));
        assert_eq!(certificates_of(&cas).len(), 1);
        for certificate in certificates_of(&text) {
            verifies(&certificate, &cas, &format!("{path} on {node}"));
        }
    }
    assert_eq!(
        control_plane,
        files.contains_key("etc/kubernetes/pki/etcd/ca.crt")
    );
}

/// No certificate of an old CA, and nothing that it signed, in any encoding, nor its key: not in the
/// roots with their journals, and not in what the API was given.
fn no_old_ca(made: &Made, world: &World, end: &BTreeMap<String, Files>) {
    let mut seen = 0;
    let mut look = |text: &str, what: &str| {
        for certificate in certificates_of(text) {
            seen += 1;
            for old in &made.old_cas {
                assert!(
                    certificate.spki_der() != old.spki_der() && !certificate.signed_by(old),
                    "{what} holds `{}` of `{}`",
                    certificate.subject(),
                    certificate.issuer()
                );
            }
        }
    };
    let keys: Vec<String> = ["ca.key", "front-proxy-ca.key", "etcd/ca.key"]
        .iter()
        .map(|key| made.raw.join("nodes/cp-1/etc/kubernetes/pki").join(key))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    for (node, files) in end {
        for (path, text) in texts(files) {
            look(&text, &format!("{path} on {node}"));
        }
        let journal = world.root(node).join("var/lib/carota");
        for (path, (bytes, _)) in common::tree(&journal) {
            let text = String::from_utf8_lossy(&bytes);
            look(&text, &path);
            assert!(
                !text.contains("PRIVATE KEY") && !path.contains("/backup"),
                "{path} on {node}"
            );
        }
        for (path, text) in texts(files) {
            assert!(!keys.contains(&text), "{path} on {node} is an old CA's key");
        }
    }
    for (name, text) in objects(world) {
        look(&text, &name);
    }
    for key in ["client-ca-file", "requestheader-client-ca-file"] {
        look(
            &fs::read_to_string(world.cluster().join("auth").join(key)).unwrap(),
            key,
        );
    }
    assert!(seen > 60, "{seen}");
}

/// user.sh puts alice's own key into each file that she is handed.
fn alice_completes_her_file(made: &Made) {
    let plan = made.folder().join("plan");
    let folder = temporary();
    let present = folder.path().join("present");
    fs::write(&present, &made.alice).unwrap();
    let key = made
        .alice
        .lines()
        .find(|l| l.contains("client-key-data"))
        .unwrap();
    let mut handed = 0;
    for phase in made.phases() {
        let new = plan.join(&phase).join("users/alice.kubeconfig");
        let Ok(public) = fs::read_to_string(&new) else {
            continue;
        };
        handed += 1;
        let output = Command::new("sh")
            .arg(plan.join("lib/user.sh"))
            .args([&present, &new])
            .env("TMPDIR", folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let complete = String::from_utf8(output.stdout).unwrap();
        let reference = public
            .lines()
            .find(|l| l.contains("client-key-data"))
            .unwrap();
        assert_eq!(complete, public.replace(reference, key));
        fs::write(&present, complete).unwrap();
    }
    assert_eq!(handed, 3);
    let end = fs::read_to_string(present).unwrap();
    let (was, is) = (certificates_of(&made.alice), certificates_of(&end));
    assert_eq!((was.len(), is.len()), (2, 2));
    assert_eq!(is[1].organizations(), was[1].organizations());
    assert_eq!(is[1].organizations().len(), 2);
    assert_eq!(is[1].spki_der(), was[1].spki_der());
    verifies(&is[1], &is[0].to_pem(), "alice's certificate");
    assert!(!is[1].signed_by(&made.old_cas[0]));
}
