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

/// The file that a program's flag names on a node, wherever the flag is set: in a manifest of any spelling, a
/// unit, or by etcd's variable of the same name. None where the program does not run there.
fn file_of(files: &Files, program: &str, name: &str) -> Option<String> {
    let variable = format!("ETCD_{}", name.replace('-', "_").to_uppercase());
    let flag = format!("--{name}");
    let of_program = |path: &str| {
        let file = path.rsplit('/').next().unwrap();
        let starts = path.contains("/manifests/") || file.ends_with(".service");
        starts && file.split('.').next() == Some(program)
            || path.ends_with("/default/etcd") && program == "etcd"
    };
    let unquoted = |word: &str| word.trim_matches(['"', '\'', ',', '[', ']']).to_owned();
    texts(files)
        .filter(|(path, _)| of_program(path))
        .find_map(|(_, text)| {
            let spaced = text.replace("- ", "  ");
            let words: Vec<String> = spaced.split_whitespace().map(unquoted).collect();
            let at = |(index, word): (usize, &String)| {
                let rest = word.strip_prefix(&flag).or(word.strip_prefix(&variable))?;
                match rest.strip_prefix('=') {
                    Some(value) => Some(unquoted(value)),
                    None => rest.is_empty().then(|| words[index + 1].clone()),
                }
            };
            let value = words.iter().enumerate().find_map(at)?;
            Some(on_host(&text, &value).unwrap_or(value))
        })
}

/// What the host calls a file that a manifest mounts by itself.
fn on_host(manifest: &str, path: &str) -> Option<String> {
    let manifest: serde_yaml::Value = serde_yaml::from_str(manifest).ok()?;
    let mounts = manifest["spec"]["containers"][0]["volumeMounts"].as_sequence()?;
    let mount = mounts.iter().find(|m| m["mountPath"] == path)?;
    let mut volumes = manifest["spec"]["volumes"].as_sequence()?.iter();
    let volume = volumes.find(|v| v["name"] == mount["name"])?;
    Some(volume["hostPath"]["path"].as_str()?.to_owned())
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
            .filter_map(|files| Some(content(files, &file_of(files, program, name)?)))
            .collect()
    };
    let first = |texts: Vec<String>| -> Vec<Certificate> {
        texts.iter().map(|t| certificates_of(t).remove(0)).collect()
    };
    let api = |name| every("kube-apiserver", name);
    let etcd = |name| every("etcd", name);
    let (clients, served) = (api("client-ca-file"), first(api("tls-cert-file")));
    assert_eq!(clients.len(), world.made.masters().len());
    let member = |path: &String| {
        ["/etcd.yaml", "/etcd.manifest", "/etcd.service"]
            .iter()
            .any(|end| path.ends_with(end))
    };
    let members = all
        .values()
        .filter(|files| files.keys().any(member))
        .count();
    assert_eq!(etcd("cert-file").len(), members);
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
                    signed(leaf, &authority(files, path, &text), path);
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

/// What a kubeconfig trusts: its CA data, or the file beside it that it names.
fn authority(files: &Files, path: &str, text: &str) -> String {
    let line = text
        .lines()
        .find(|l| l.contains("certificate-authority"))
        .unwrap();
    let value = line.split(": ").nth(1).unwrap().trim_matches('"');
    if line.contains("certificate-authority:") {
        let folder = path.rsplit_once('/').unwrap().0;
        return content(files, &format!("{folder}/{value}"));
    }
    String::from_utf8(BASE64.decode(value).unwrap()).unwrap()
}

/// `openssl verify -x509_strict` of a certificate against the CAs of a text.
fn verifies(leaf: &Certificate, cas: &str, what: &str) {
    verifies_with(&["-x509_strict"], leaf, cas, what);
}

/// `openssl verify` of a certificate against the CAs of a text.
fn verifies_with(options: &[&str], leaf: &Certificate, cas: &str, what: &str) {
    let folder = temporary();
    let file = folder.path().join("ca");
    fs::write(&file, cas).unwrap();
    let file = file.to_str().unwrap();
    let arguments = [&["verify"], options, &["-no-CApath", "-CAfile", file]].concat();
    let output = judge("openssl", &arguments, leaf.to_pem().as_bytes());
    assert!(output.status.success(), "{what}: {}", text(&output));
}

/// After phase 12 the original files hold both CAs, and the leaves are still the old ones.
pub fn old_leaves_verify_against_both(world: &World, start: &BTreeMap<String, Files>) {
    let old = &world.made.old_cas[0];
    let lock = fs::read_to_string(world.made.folder().join("carota.lock")).unwrap();
    for node in world.made.registered() {
        let files = world.files(node);
        let trusts = |text: &str| {
            text.starts_with("-----BEGIN") && certificates_of(text).first() == Some(old)
        };
        let mut originals = texts(&start[node]).filter(|(_, text)| trusts(text));
        let (path, before) = originals.next().unwrap();
        let before = certificates_of(&before);
        // Somebody may have brought the new one already.
        let there = before.iter().any(|ca| lock.contains(&ca.to_pem()));
        let cas = content(&files, path);
        assert_eq!(
            certificates_of(&cas).len(),
            before.len() + usize::from(!there)
        );
        let leaves = [
            "pki/kubelet-client-",
            "/kubelet/kubelet.crt",
            "/kubelet/client.pem",
        ];
        let leaf = |p: &str| leaves.iter().any(|name| p.contains(name));
        let (path, text) = texts(&files).find(|(p, _)| leaf(p)).unwrap();
        let leaf = &certificates_of(&text)[0];
        assert!(leaf.signed_by(old));
        // Old tools left out what strictness asks for.
        verifies_with(&["-partial_chain"], leaf, &cas, path);
    }
}

/// A text with a mark in place of each private key.
fn without_keys(text: &str) -> String {
    let mut out = String::new();
    let mut within = false;
    for line in text.lines() {
        let begins = line.contains("-----BEGIN") && line.contains("PRIVATE KEY");
        let line = match line.split_once("client-key-data: ") {
            Some((before, _)) => format!("{before}KEY"),
            None if begins => line.replace("-----BEGIN", "KEY"),
            None => line.to_owned(),
        };
        if begins || !within {
            out += &(line.clone() + "\n");
        }
        within = begins || within && !line.starts_with("-----END");
    }
    out
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
    }
    every_certificate_verifies(made, start, &end);
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
        || path.contains("/service-account.")
        || path.ends_with(".log")
        || path.contains("/pki/kubelet.")
        || [".env", ".conflist", "config.yaml", "/kube-scheduler.yaml"]
            .iter()
            .any(|e| path.ends_with(e))
        || is_key(path) && !is_ca_key(path)
}

fn is_key(path: &str) -> bool {
    path.ends_with(".key") || path.ends_with("-key.pem")
}

fn is_ca_key(path: &str) -> bool {
    path.ends_with("ca.key") || path.ends_with("ca-key.pem")
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
    if stays(path) && !(made.external > 0 && is_key(path)) {
        assert!(bytes == now, "{path} on {node} is not as it was");
        return;
    }
    let (was, is) = (String::from_utf8_lossy(bytes), String::from_utf8_lossy(now));
    let (mut was, mut is) = (was.into_owned(), is.into_owned());
    // What is of a CA that stays, stays; a CA's key goes with its certificate.
    let rotated = |c: &Certificate| made.old_cas.iter().any(|ca| c == ca || c.signed_by(ca));
    let goes = if is_ca_key(path) {
        made.ca_keys(node).contains_key(path)
    } else if is_key(path) {
        // Where somebody else signs, leaves have new keys: whether it is the right one is asked apart.
        was != is
    } else {
        certificates_of(&was).iter().any(rotated)
    };
    if !goes {
        assert!(was == is, "{path} on {node} is not as it was");
        return;
    }
    assert_ne!(was, is, "{path} on {node}");
    if is_key(path) {
        return;
    }
    // Without its certificates the file is the old one: private values, comments, order and all.
    for text in [&mut was, &mut is] {
        for certificate in certificates_of(text) {
            *text = text.replace(&certificate.to_pem(), "*");
        }
        let words = text.split_whitespace().map(|word| word.trim_matches('"'));
        let encoded = words.filter(|word| {
            let bytes = BASE64.decode(word).unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains("BEGIN CERTIFICATE")
        });
        let mut encoded: Vec<String> = encoded.map(str::to_owned).collect();
        // The longest first: one may end in another.
        encoded.sort_by_key(|word| std::cmp::Reverse(word.len()));
        for word in encoded {
            *text = text.replace(&word, "*");
        }
        // What was above an old CA goes with it.
        *text = text.replace("**", "*");
        if made.external > 0 {
            *text = without_keys(text);
        }
    }
    // Their names alone: lines may be private.
    let name = |(number, (a, b)): (usize, (&str, &str))| {
        let name = a.split_once(':').map_or("", |(name, _)| name);
        (a != b).then(|| format!("{} {name}", number + 1))
    };
    let lines = was.lines().zip(is.lines()).enumerate();
    let differing: Vec<String> = lines.filter_map(name).collect();
    assert!(
        was == is,
        "{path} on {node} differs in more than certificates: lines {differing:?}"
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
        let pair = if let Some(stem) = path.strip_suffix("-key.pem") {
            Some((text, content(files, &format!("{stem}.pem"))))
        } else if let Some(stem) = path.strip_suffix(".key") {
            if stem.ends_with("/sa") || stem.ends_with("/service-account") {
                assert_eq!(
                    public_of(&text),
                    content(files, &format!("{stem}.pub")).into_bytes()
                );
                continue;
            }
            Some((text, content(files, &format!("{stem}.crt"))))
        } else if path.ends_with(".pem") {
            text.contains("PRIVATE KEY").then(|| (text.clone(), text))
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

/// What an old CA had signed is signed by the new one now, alone in each file of trust.
fn every_certificate_verifies(
    made: &Made,
    start: &BTreeMap<String, Files>,
    end: &BTreeMap<String, Files>,
) {
    let mut new: Vec<Option<Certificate>> = vec![None; made.old_cas.len()];
    let mut leaves = Vec::new();
    let mut seen = BTreeMap::new();
    for (node, files) in start {
        for (path, text) in texts(files) {
            let now = certificates_of(&content(&end[node], path));
            // What was above an old CA has no successor.
            let mut before = certificates_of(&text);
            before.retain(|c| !made.above.contains(c));
            for (place, was) in before.iter().enumerate() {
                let is_ca = |ca: &Certificate| was == ca;
                if let Some(at) = made.old_cas.iter().position(is_ca) {
                    let known = new[at].get_or_insert_with(|| now[place].clone());
                    assert!(*known == now[place], "{path} on {node}");
                } else if let Some(at) = made.old_cas.iter().position(|ca| was.signed_by(ca)) {
                    leaves.push((at, now[place].clone(), format!("{path} on {node}")));
                } else {
                    continue;
                }
                *seen.entry(node).or_insert(0) += 1;
            }
        }
    }
    for (at, leaf, what) in leaves {
        verifies(&leaf, &new[at].as_ref().unwrap().to_pem(), &what);
    }
    for (node, seen) in seen {
        assert!(seen >= 3, "{node}: {seen}");
    }
}

/// No certificate of an old CA, and nothing that it signed, in any encoding, nor its key: not in the
/// roots with their journals, and not in what the API was given.
fn no_old_ca(made: &Made, world: &World, end: &BTreeMap<String, Files>) {
    let mut seen = 0;
    let mut look = |text: &str, what: &str| {
        for certificate in certificates_of(text) {
            seen += 1;
            assert!(
                !made.above.contains(&certificate),
                "{what} holds what was above"
            );
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
    assert!(keys.len() + made.external >= made.old_cas.len());
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
