//! A cluster with keys of its own, made at run time after the committed snapshot: every certificate
//! gets a twin of the same subject, names and usages, from a twin of its CA; every private value that
//! the snapshot only names gets a new value. What comes out is what the collector would find on the
//! nodes and get from the API. Knows OpenSSL and text; nothing of rotations.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use carota::pki::{Certificate, certificates_in_pem};

use crate::common::pieces::{certificates_of, with_certificates};
use crate::common::{judge, tree};

const KEPT: &str = "carota-kept:";

/// The folder of a made cluster: `nodes/<node>/…` as on the nodes, `cluster/<kind>.yaml` as kubectl
/// prints it, `users/<name>.kubeconfig`.
pub fn make(snapshot: &Path, to: &Path) {
    let twins = Twins::mint(snapshot, &to.join("mint"));
    for node in nodes(snapshot) {
        make_node(
            &twins,
            &snapshot.join("nodes").join(&node),
            &to.join("nodes").join(&node),
        );
    }
    for (name, (bytes, _)) in tree(&snapshot.join("cluster")) {
        let text = twins.private(&name, &twins.renewed(&text_of(bytes)), None);
        write(&to.join("cluster").join(name), &text, 0o644);
    }
    for (name, (bytes, _)) in tree(&snapshot.join("users")) {
        let text = text_of(bytes);
        let owner = twins.owner(&text, None);
        write(
            &to.join("users").join(&name),
            &twins.private(&name, &twins.renewed(&text), owner),
            0o600,
        );
    }
    fs::remove_dir_all(to.join("mint")).unwrap();
}

/// The names of a snapshot's nodes.
pub fn nodes(snapshot: &Path) -> Vec<String> {
    let mut out: Vec<String> = fs::read_dir(snapshot.join("nodes"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    out.sort();
    out
}

fn make_node(twins: &Twins, snapshot: &Path, root: &Path) {
    let table = fs::read_to_string(snapshot.join("FILES")).unwrap();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let at = root.join(&columns[4][1..]);
        if columns[0] == "l" {
            symlink(columns[5], at).unwrap();
            continue;
        }
        let text = fs::read_to_string(snapshot.join(&columns[4][1..])).unwrap();
        let beside = columns[4].strip_suffix(".key").map(|stem| {
            let public = if stem.ends_with("/sa") { "pub" } else { "crt" };
            fs::read_to_string(snapshot.join(format!("{}.{public}", &stem[1..]))).unwrap()
        });
        let owner = twins.owner(&text, beside.as_deref());
        let mut text = twins.private(columns[4], &twins.renewed(&text), owner);
        if columns[4].ends_with("/sa.pub") {
            text = fs::read_to_string(twins.folder.join("sa.pub")).unwrap();
        }
        write(&at, &text, u32::from_str_radix(columns[2], 8).unwrap());
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// A value that is nobody's but this run's.
fn random(bytes: usize) -> Vec<u8> {
    let count = bytes.to_string();
    judge("openssl", &["rand", &count], b"").stdout
}

/// Every certificate of the snapshot by fingerprint, its twin, and the twins' keys.
struct Twins {
    folder: PathBuf,
    old: BTreeMap<String, Certificate>,
    /// Fingerprint of the old one: PEM of the new one.
    new: BTreeMap<String, String>,
    /// Public key of the old one: file of the new private key.
    keys: BTreeMap<Vec<u8>, PathBuf>,
}

impl Twins {
    fn mint(snapshot: &Path, folder: &Path) -> Twins {
        fs::create_dir_all(folder).unwrap();
        let mut old = BTreeMap::new();
        for (_, (bytes, _)) in tree(snapshot) {
            for certificate in certificates_of(&text_of(bytes)) {
                old.insert(certificate.fingerprint().to_owned(), certificate);
            }
        }
        let mut twins = Twins {
            keys: mint_keys(&old, folder),
            folder: folder.to_owned(),
            old,
            new: BTreeMap::new(),
        };
        let (cas, leaves): (Vec<_>, Vec<_>) = twins
            .old
            .values()
            .cloned()
            .partition(Certificate::is_self_issued);
        for (count, certificate) in cas.iter().chain(&leaves).enumerate() {
            let pem = twins.issue(certificate, count);
            twins.new.insert(certificate.fingerprint().to_owned(), pem);
        }
        twins
    }

    /// A certificate of the same subject, names and usages, for the new key, by the new issuer.
    fn issue(&self, old: &Certificate, count: usize) -> String {
        let at = |name: &str| self.folder.join(format!("{count}.{name}"));
        fs::write(at("ext"), extensions(old)).unwrap();
        let key = &self.keys[old.spki_der()];
        let mut subject: String = old
            .organizations()
            .iter()
            .map(|o| format!("/O={o}"))
            .collect();
        subject += &format!("/CN={}", old.common_name().unwrap());
        let serial = format!("0x7{}", &old.fingerprint()[..14]);
        let mut arguments: Vec<String> = ["x509", "-new", "-days", "360", "-sha256"]
            .map(str::to_owned)
            .into();
        let mut option = |name: &str, value: &str| {
            arguments.extend([format!("-{name}"), value.to_owned()]);
        };
        option("set_serial", &serial);
        option("subj", &subject);
        option("extfile", at("ext").to_str().unwrap());
        option("out", at("crt").to_str().unwrap());
        if old.is_self_issued() {
            option("signkey", key.to_str().unwrap());
        } else {
            let issuer = self
                .old
                .values()
                .find(|ca| ca.is_self_issued() && old.signed_by(ca))
                .expect("the snapshot holds every issuer");
            let (ca, public) = (at("ca"), at("pub"));
            fs::write(&ca, &self.new[issuer.fingerprint()]).unwrap();
            openssl(&[
                "pkey",
                "-pubout",
                "-in",
                key.to_str().unwrap(),
                "-out",
                public.to_str().unwrap(),
            ]);
            option("force_pubkey", public.to_str().unwrap());
            option("CA", ca.to_str().unwrap());
            option("CAkey", self.keys[issuer.spki_der()].to_str().unwrap());
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        openssl(&arguments);
        let made = fs::read_to_string(at("crt")).unwrap();
        let twin = certificates_in_pem(&made, "").unwrap().remove(0);
        assert_eq!(
            (
                old.subject(),
                old.issuer(),
                old.san_text(),
                old.key_usages()
            ),
            (
                twin.subject(),
                twin.issuer(),
                twin.san_text(),
                twin.key_usages()
            ),
        );
        twin.to_pem()
    }

    /// The text with every certificate replaced by its twin, in whatever form it stands there.
    fn renewed(&self, text: &str) -> String {
        with_certificates(text, &|old| self.new[old.fingerprint()].clone())
    }

    /// The private key that a file's references mean: that of its own leaf, or of the file beside it.
    fn owner(&self, text: &str, beside: Option<&str>) -> Option<&Path> {
        if beside.is_some_and(|text| text.contains("PUBLIC KEY")) {
            return Some(&self.keys[&Vec::new()]);
        }
        let mut candidates = certificates_of(beside.unwrap_or(text));
        if beside.is_none() {
            candidates.retain(|c| !c.is_ca());
        }
        let first = candidates.into_iter().next()?;
        Some(&self.keys[first.spki_der()])
    }

    /// The text with every reference replaced by a private value.
    #[allow(clippy::unused_self, reason = "it reads as its place")]
    fn private(&self, name: &str, text: &str, owner: Option<&Path>) -> String {
        let mut out = String::new();
        for line in text.split_inclusive('\n') {
            let Some(at) = line.find(KEPT) else {
                out.push_str(line);
                continue;
            };
            let end = at
                + line[at..]
                    .find(|c: char| c.is_whitespace() || c == '"')
                    .unwrap_or(line.len() - at);
            let value = if line[at..].starts_with("carota-kept:token@cluster/") {
                BASE64.encode(random(24))
            } else if line[at..].starts_with("carota-kept:token@") {
                format!(
                    "{}.{}",
                    BASE64.encode(random(30)),
                    BASE64.encode(random(60))
                )
            } else {
                let key = owner.unwrap_or_else(|| panic!("whose key is in {name}?"));
                let pem = fs::read_to_string(key).unwrap();
                if line.contains("client-key-data") {
                    BASE64.encode(pem)
                } else {
                    pem.trim_end().to_owned()
                }
            };
            out.push_str(&line[..at]);
            out.push_str(&value);
            out.push_str(&line[end..]);
        }
        out
    }
}

fn openssl(arguments: &[&str]) {
    let output = judge("openssl", arguments, b"");
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// One key for each public key of the snapshot, in the form that kubeadm and the
/// kubelet write; under the empty name the ServiceAccounts' key.
fn mint_keys(old: &BTreeMap<String, Certificate>, folder: &Path) -> BTreeMap<Vec<u8>, PathBuf> {
    let kinds: BTreeMap<Vec<u8>, bool> = old
        .values()
        .map(|c| (c.spki_der().to_vec(), stays_rsa(c)))
        .chain([(Vec::new(), true)])
        .collect();
    let kinds: Vec<(Vec<u8>, bool)> = kinds.into_iter().collect();
    let (next, made) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((public, rsa)) = kinds.get(index) else {
                        return;
                    };
                    let file = folder.join(format!("{index}.key"));
                    let out = file.to_str().unwrap();
                    if *rsa {
                        openssl(&["genrsa", "-traditional", "-out", out, "2048"]);
                    } else {
                        openssl(&[
                            "ecparam",
                            "-name",
                            "prime256v1",
                            "-genkey",
                            "-noout",
                            "-out",
                            out,
                        ]);
                    }
                    made.lock().unwrap().insert(public.clone(), file);
                }
            });
        }
    });
    let keys = made.into_inner().unwrap();
    let public = folder.join("sa.pub");
    openssl(&[
        "pkey",
        "-pubout",
        "-in",
        keys[&Vec::new()].to_str().unwrap(),
        "-out",
        public.to_str().unwrap(),
    ]);
    keys
}

/// Every fourth leaf and the CAs keep the kind of their key: finding primes takes time.
fn stays_rsa(old: &Certificate) -> bool {
    let chosen = old.is_ca() || old.fingerprint().starts_with(['0', '1', '2', '3']);
    chosen && old.key_algorithm_text().starts_with("RSA")
}

/// An OpenSSL configuration of a certificate's extensions.
fn extensions(old: &Certificate) -> String {
    let usages = old.key_usages();
    let of = |extended: bool| {
        let wanted = |u: &&String| matches!(u.as_str(), "serverAuth" | "clientAuth") == extended;
        let found: Vec<&str> = usages.iter().filter(wanted).map(String::as_str).collect();
        found.join(",")
    };
    let mut out = format!(
        "basicConstraints=critical,CA:{}\nsubjectKeyIdentifier={}\nauthorityKeyIdentifier={}\n",
        if old.is_ca() { "TRUE" } else { "FALSE" },
        if old.ski().is_some() { "hash" } else { "none" },
        if old.aki().is_some() { "keyid" } else { "none" },
    );
    if !of(false).is_empty() {
        out += &format!("keyUsage=critical,{}\n", of(false));
    }
    if !of(true).is_empty() {
        out += &format!("extendedKeyUsage={}\n", of(true));
    }
    if !old.san_text().is_empty() {
        out += &format!("subjectAltName={}\n", old.san_text().join(","));
    }
    out
}
