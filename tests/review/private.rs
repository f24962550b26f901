//! Public and private never mix: every private value of a run, in every encoding that tools use, is
//! looked for in everything that may be seen.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::common::{carota, edit, inputs_of, judge, tree};
use crate::{example, said};

/// How many bytes of a value are looked up before the whole is compared.
const PREFIX: usize = 16;

/// Values to look for, by their first bytes.
#[derive(Default)]
struct Needles(HashMap<Vec<u8>, BTreeSet<Vec<u8>>>);

impl Needles {
    fn add(&mut self, value: &[u8]) {
        assert!(value.len() >= PREFIX, "too short to be told from chance");
        self.0
            .entry(value[..PREFIX].to_vec())
            .or_default()
            .insert(value.to_vec());
    }

    /// A value in every form: as it is, in hexadecimal of both cases, in base64 and in base64 of that,
    /// wherever in a longer text it may begin.
    fn add_encoded(&mut self, value: &[u8]) {
        let hex: String = value.iter().map(|b| format!("{b:02x}")).collect();
        self.add(value);
        self.add(hex.as_bytes());
        self.add(hex.to_uppercase().as_bytes());
        for once in shifted(value) {
            self.add(once.as_bytes());
            for twice in shifted(once.as_bytes()) {
                self.add(twice.as_bytes());
            }
        }
    }

    fn count(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    fn found_in(&self, text: &[u8]) -> bool {
        text.windows(PREFIX).enumerate().any(|(at, start)| {
            let values = self.0.get(start);
            values
                .into_iter()
                .flatten()
                .any(|value| text[at..].starts_with(value))
        })
    }
}

/// Base64 of a value as it shows inside the base64 of a longer text: at each of three offsets, without
/// the characters that neighbours have a part in.
fn shifted(value: &[u8]) -> Vec<String> {
    (0..3)
        .map(|skip| {
            let rest = &value[skip..];
            BASE64.encode(&rest[..rest.len() / 3 * 3])
        })
        .collect()
}

/// The private PEM blocks of a text, those in base64 included.
fn private_blocks(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("-----BEGIN ") {
        let block = &rest[at..];
        let label = block["-----BEGIN ".len()..].split("-----").next().unwrap();
        let end = format!("-----END {label}-----");
        let stop = block.find(&end).unwrap() + end.len();
        if label.ends_with("PRIVATE KEY") {
            out.push(block[..stop].to_owned());
        }
        rest = &block[stop..];
    }
    for word in text.split_whitespace().filter(|w| w.len() > 100) {
        let decoded = BASE64
            .decode(word)
            .ok()
            .and_then(|b| String::from_utf8(b).ok());
        out.extend(decoded.iter().flat_map(|text| private_blocks(text)));
    }
    out
}

/// What makes a private key known: its PEM, its base64 lines joined, its DER.
fn add_key(needles: &mut Needles, pem: &str) {
    let lines: Vec<&str> = pem.lines().filter(|l| !l.starts_with("-----")).collect();
    let body = lines.concat();
    needles.add_encoded(pem.as_bytes());
    needles.add_encoded(&BASE64.decode(&body).unwrap());
    // A line alone gives a part of it away, unless it is of the part that is public: the modulus of an
    // RSA key, the point of an EC key.
    let public = judge(
        "openssl",
        &["pkey", "-pubout", "-outform", "DER"],
        format!("{pem}\n").as_bytes(),
    );
    assert!(public.status.success());
    for line in lines.iter().filter(|l| l.len() == 64) {
        let bytes = BASE64.decode(line).unwrap();
        if !public.stdout.windows(bytes.len()).any(|part| part == bytes) {
            needles.add(line.as_bytes());
        }
    }
}

/// Everything that the commands print of a folder.
fn printed(folder: &Path) -> Vec<u8> {
    let manifest =
        "plan/05-apiserver-trust/nodes/cp-1/etc/kubernetes/manifests/kube-apiserver.yaml";
    let key = "plan/01-distribute-ca/nodes/cp-1/etc/kubernetes/pki/ca-new.key";
    let conf = "plan/13-client-certificates/nodes/cp-1/etc/kubernetes/admin.conf";
    let mut out = Vec::new();
    for arguments in [
        &["compile", "-v", "cluster.toml"][..],
        &["check", "-v", "cluster.toml"],
        &["check", "cluster.toml", "--format", "json"],
        &["check", "cluster.toml", "--format", "github"],
        &["prove", "cluster.toml"],
        &["prove", "cluster.toml", "--format", "json"],
        &["diff", "plan", "plan"],
        &["explain", manifest],
        &["explain", key],
        &["explain", conf],
        &["explain", "secrets/keyring/cluster.key"],
        &["explain", "carota.lock"],
    ] {
        let output = carota(arguments, folder);
        assert!(
            output.status.code().is_some_and(|code| code < 3),
            "{arguments:?}"
        );
        out.extend([output.stdout, output.stderr].concat());
    }
    out
}

#[test]
fn no_private_value_of_a_run_is_in_anything_that_may_be_seen() {
    let inputs = inputs_of(&example());
    let folder = inputs.path();
    fs::remove_file(folder.join("carota.lock")).unwrap();
    edit(
        &folder.join("cluster.toml"),
        "leaf_keys = \"keep\"",
        "leaf_keys = \"new\"",
    );
    let shown = printed(folder);
    let mut all = Needles::default();
    let mut keys: BTreeSet<String> = BTreeSet::new();
    let mut of_node: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, (bytes, _)) in tree(&folder.join("secrets")) {
        let blocks = private_blocks(&said(&bytes));
        assert!(
            !blocks.is_empty() || path == ".gitignore",
            "{path} holds no private value"
        );
        if let Some((node, _)) = path.strip_prefix("nodes/").and_then(|p| p.split_once('/')) {
            of_node
                .entry(node.to_owned())
                .or_default()
                .extend(blocks.iter().cloned());
        }
        keys.extend(blocks);
    }
    for key in &keys {
        add_key(&mut all, key);
    }
    // 3 CAs and 38 leaves, some of which share a key's file.
    assert!(
        keys.len() >= 3 + 38 && all.count() > 20 * keys.len(),
        "{} keys",
        keys.len()
    );
    assert!(!all.found_in(&shown), "a private value is printed");
    for (path, (bytes, _)) in tree(folder) {
        if !path.starts_with("secrets/") {
            assert!(!all.found_in(&bytes), "a private value is in {path}");
        }
    }
    // A node's bundle has its own, and nobody else's.
    for (node, own) in &of_node {
        let output = carota(
            &["bundle", "cluster.toml", "--node", node, "--out", "."],
            folder,
        );
        assert!(output.status.success(), "{}", said(&output.stderr));
        assert!(!all.found_in(&[output.stdout, output.stderr].concat()));
        let tar = fs::read(folder.join(format!("carota-2026-11-25-{node}.tar"))).unwrap();
        let mut others = Needles::default();
        keys.difference(own)
            .for_each(|key| add_key(&mut others, key));
        assert!(
            !others.found_in(&tar),
            "the bundle of {node} has another's private value"
        );
        let mut mine = Needles::default();
        for key in own {
            add_key(&mut mine, key);
        }
        assert!(
            mine.found_in(&tar),
            "the search finds nothing: it is broken"
        );
    }
    assert_eq!(of_node.len(), 5);
}

#[test]
fn what_a_snapshot_holds_by_mistake_is_never_shown() {
    let token = "eyJhbGciOiJub25lIn0.c2VjcmV0LW9mLWEtdGVzdA.AAAABBBBCCCC";
    for file in [
        "snapshot/users/alice.kubeconfig",
        "snapshot/nodes/cp-1/etc/kubernetes/admin.conf",
    ] {
        let inputs = inputs_of(&example());
        let folder = inputs.path();
        edit(
            &folder.join(file),
            "client-key-data: ",
            &format!("token: {token}\n    client-key-data: "),
        );
        let mut needles = Needles::default();
        needles.add_encoded(token.as_bytes());
        assert!(!needles.found_in(&printed(folder)), "{file}");
    }
}
