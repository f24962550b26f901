//! What must hold of a made cluster in the middle and at the end of its rotation: judged by signatures and by
//! OpenSSL, not by carota's proof.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use carota::pki::Certificate;

use crate::common::pieces::certificates_of;
use crate::common::{judge, tree};
use crate::made::{Made, temporary};
use crate::world::{Entry, Files, World, text};

/// What was applied, by file.
pub fn objects(world: &World) -> BTreeMap<String, String> {
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
pub fn objects_are_back(
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

/// The value of a program's flag on a node, wherever it is set: in a manifest, a unit, or by etcd's variable
/// of the same name. None where the program does not run there.
fn flag(files: &Files, program: &str, name: &str) -> Option<String> {
    let variable = format!("ETCD_{}=", name.replace('-', "_").to_uppercase());
    let prefix = format!("--{name}=");
    texts(files)
        .filter(|(path, _)| {
            let named = |end: &str| path.ends_with(&format!("/{program}{end}"));
            named(".yaml")
                || named(".service")
                || path.ends_with("/default/etcd") && program == "etcd"
        })
        .find_map(|(_, text)| {
            let mut words = text.split_whitespace();
            let word = words.find_map(|w| w.strip_prefix(&prefix).or(w.strip_prefix(&variable)))?;
            Some(word.trim_matches('"').to_owned())
        })
}

/// After every phase: each API server accepts each client certificate, each kubeconfig trusts each
/// API server, and API servers and etcd's members trust one another. A check of its own, of signatures alone.
pub fn everyone_trusts_everyone(world: &World, phase: &str) {
    let all = world.all_files();
    let signed = |leaf: &Certificate, cas: &str, what: &str| {
        let mut cas = certificates_of(cas).into_iter();
        assert!(
            cas.any(|ca| leaf.signed_by(&ca)),
            "after {phase}: {what} does not trust `{}`",
            leaf.subject()
        );
    };
    // The content of the file that a flag names, of every node on which the program runs.
    let every = |program: &str, name: &str| -> Vec<String> {
        all.values()
            .filter_map(|files| Some(content(files, &flag(files, program, name)?)))
            .collect()
    };
    let first = |texts: Vec<String>| -> Vec<Certificate> {
        texts.iter().map(|t| certificates_of(t).remove(0)).collect()
    };
    let api = |name| every("kube-apiserver", name);
    let etcd = |name| every("etcd", name);
    let (clients, served) = (api("client-ca-file"), first(api("tls-cert-file")));
    assert_eq!(clients.len(), world.made.masters().len());
    assert_eq!(etcd("cert-file").is_empty(), world.made.old_cas.len() == 2);
    for (verifiers, leaves, what) in [
        (etcd("trusted-ca-file"), first(api("etcd-certfile")), "etcd"),
        (
            api("etcd-cafile"),
            first(etcd("cert-file")),
            "etcd's client",
        ),
        (
            etcd("peer-trusted-ca-file"),
            first(etcd("peer-cert-file")),
            "etcd's peer",
        ),
    ] {
        for cas in &verifiers {
            for leaf in &leaves {
                signed(leaf, cas, what);
            }
        }
    }
    for files in all.values() {
        for (path, text) in texts(files) {
            let kubeconfig = text.contains("kind: Config\n");
            if kubeconfig {
                for leaf in &served {
                    signed(leaf, &authority(&text), path);
                }
            }
            if kubeconfig || path.contains("kubelet-client-") {
                for leaf in certificates_of(&text).iter().filter(|c| !c.is_ca()) {
                    for cas in &clients {
                        signed(leaf, cas, "the API server");
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
pub fn old_leaves_verify_against_both(world: &World) {
    for node in world.made.registered() {
        let files = world.files(node);
        let mut paths = ["etc/kubernetes/pki/ca.crt", "var/lib/kubelet/ca.crt"].into_iter();
        let cas = content(
            &files,
            paths.find(|path| files.contains_key(*path)).unwrap(),
        );
        assert_eq!(certificates_of(&cas).len(), 2);
        let leaf = |p: &str| p.contains("kubelet-client-") || p == "var/lib/kubelet/kubelet.crt";
        let (path, text) = texts(&files).find(|(p, _)| leaf(p)).unwrap();
        let leaf = &certificates_of(&text)[0];
        assert!(leaf.signed_by(&world.made.old_cas[0]));
        verifies(leaf, &cas, path);
    }
}

pub fn ends_as_it_began(made: &Made, start: &BTreeMap<String, Files>, world: &World) {
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
    if made.users.contains_key("alice") {
        alice_completes_her_file(made);
    }
}

/// What must be byte for byte as at the start.
fn stays(path: &str) -> bool {
    path.contains("/manifests/")
        || path.contains("/systemd/")
        || path.contains("/default/")
        || path.contains("/sa.")
        || path.contains("/pki/kubelet.")
        || [".env", ".conflist", "config.yaml", "/kube-scheduler.yaml"]
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
    // An etcd that somebody else runs has a CA that stays.
    let rotated = |c: &Certificate| made.old_cas.iter().any(|ca| c == ca || c.signed_by(ca));
    if path.contains("etcd")
        && made.old_cas.len() == 2
        && !certificates_of(&was).iter().any(rotated)
    {
        assert!(was == is, "{path} on {node} is not as it was");
        return;
    }
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
    let least = match &node[..2] {
        "cp" => 11,
        "et" => 3,
        _ => 2,
    };
    assert!(seen >= least, "{node}: {seen}");
}

fn scalar(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|l| l.trim_start().starts_with(key))?;
    let value = line.split(": ").nth(1)?.trim().trim_matches('"');
    Some(String::from_utf8(BASE64.decode(value).ok()?).unwrap())
}

fn every_certificate_verifies(node: &str, files: &Files) {
    let ca = |name: &str| {
        let folders = [
            "etc/kubernetes/pki",
            "etc/etcd/pki",
            "var/lib/kubernetes",
            "var/lib/kubelet",
        ];
        let mut paths = folders.iter().map(|folder| format!("{folder}/{name}"));
        paths.find(|path| files.contains_key(path))
    };
    let of_etcd = |path: &str| path.contains("etcd/") || path.contains("etcd-c");
    let mut seen = 0;
    for (path, text) in texts(files) {
        let ca = match path {
            p if of_etcd(p) => ca("etcd/ca.crt")
                .or_else(|| ca("etcd-ca.crt"))
                .or_else(|| ca("ca.crt")),
            p if p.contains("front-proxy") => ca("front-proxy-ca.crt"),
            p if p.ends_with("/pki/kubelet.crt") => continue,
            _ => ca("ca.crt"),
        };
        for certificate in certificates_of(&text) {
            let cas = content(files, ca.as_deref().expect("a CA for each certificate"));
            assert_eq!(certificates_of(&cas).len(), 1);
            verifies(&certificate, &cas, &format!("{path} on {node}"));
            seen += 1;
        }
    }
    assert!(seen >= 3, "{node}: {seen}");
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
    let nodes = made.nodes.iter();
    let keys: Vec<String> = nodes.flat_map(|n| made.ca_keys(n).into_values()).collect();
    assert!(keys.len() >= made.old_cas.len());
    for (node, files) in end {
        for (path, text) in texts(files) {
            look(&text, &format!("{path} on {node}"));
        }
        let journal = world.root(node).join("var/lib/carota");
        for (path, (bytes, _)) in tree(&journal) {
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
    assert!(seen > 9 * made.nodes.len(), "{seen}");
}

/// user.sh puts alice's own key into each file that she is handed.
fn alice_completes_her_file(made: &Made) {
    let plan = made.folder().join("plan");
    let folder = temporary();
    let present = folder.path().join("present");
    fs::write(&present, &made.users["alice"]).unwrap();
    let key = made.users["alice"]
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
    let (was, is) = (certificates_of(&made.users["alice"]), certificates_of(&end));
    assert_eq!((was.len(), is.len()), (2, 2));
    assert_eq!(is[1].organizations(), was[1].organizations());
    assert_eq!(is[1].organizations().len(), 2);
    assert_eq!(is[1].spki_der(), was[1].spki_der());
    verifies(&is[1], &is[0].to_pem(), "alice's certificate");
    assert!(!is[1].signed_by(&made.old_cas[0]));
}
