//! Clusters of any size, made after an example: its control planes, and as many workers as wanted, in
//! the shapes of its own workers, each with its daemons' pods. All CAs and leaves are made anew, so that thousands of nodes have thousands
//! of certificates; their keys are forgotten, as a snapshot holds none. Everything but keys depends on
//! the number alone.
//!
//! A worker's name has as many letters as the one it is made after, and so has its address in a
//! certificate: names are exchanged where they stand.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;

use carota::digest::sha256;
use carota::pki::{CaRequest, Certificate, KeyAlgorithm, SigningCa};

use super::pieces::{certificates_of, with_certificates};
use super::tree;

/// The workers of the example after which others are made, and their addresses.
const SHAPES: [(&str, [u8; 4]); 2] = [
    ("worker-1", [10, 200, 0, 14]),
    ("worker-2", [10, 200, 0, 15]),
];
const CONTROL_PLANES: [&str; 3] = ["cp-1", "cp-2", "cp-3"];
const AUTHORED: &str = "carota-fleet";

/// Makes `cluster.toml` and `snapshot/` of a cluster with so many workers below a folder.
pub fn make(example: &Path, workers: usize, folder: &Path) {
    let from = example.join("snapshot");
    let to = folder.join("snapshot");
    let authority = Authority::mint(&from);
    for node in CONTROL_PLANES {
        let text = |text: &str| with_certificates(text, &|old| authority.renewed(old));
        write_node(&from.join("nodes").join(node), &to, node, &text);
    }
    let numbers: Vec<usize> = (1..=workers).collect();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for share in numbers.chunks(workers.div_ceil(cores)) {
            let (authority, from, to) = (&authority, &from, &to);
            scope.spawn(move || {
                for number in share {
                    Worker::numbered(*number).write(authority, from, to);
                }
            });
        }
    });
    for (name, (bytes, _)) in tree(&from.join("cluster")) {
        let text = String::from_utf8(bytes).unwrap();
        let renewed = with_certificates(&text, &|old| authority.renewed(old));
        put(
            &to.join("cluster").join(name),
            &with_workers(&renewed, workers),
        );
    }
    for (name, (bytes, _)) in tree(&from.join("users")) {
        let text = String::from_utf8(bytes).unwrap();
        let renewed = with_certificates(&text, &|old| authority.renewed(old));
        put(&to.join("users").join(name), &renewed);
    }
    put(&folder.join("cluster.toml"), &description(example, workers));
}

/// The example's cluster.toml, its workers replaced by one pattern.
fn description(example: &Path, workers: usize) -> String {
    let text = fs::read_to_string(example.join("cluster.toml")).unwrap();
    let node = |name: &str| format!("[[node]]\nname = \"{name}\"\nrole = \"worker\"\n");
    let (first, last) = (Worker::numbered(1).name, Worker::numbered(workers).name);
    let number = |name: &str| name.trim_start_matches("node").to_owned();
    let pattern = format!("node[{}-{}]", number(&first), number(&last));
    let mut out = text;
    for (shape, replacement) in SHAPES.iter().zip([node(&pattern), String::new()]) {
        assert!(out.contains(&node(shape.0)), "{} is declared", shape.0);
        out = out.replace(&node(shape.0), &replacement);
    }
    out
}

/// A worker of the made cluster.
struct Worker {
    name: String,
    address: [u8; 4],
    shape: (&'static str, [u8; 4]),
}

impl Worker {
    fn numbered(number: usize) -> Worker {
        let [.., high, low] = number.to_be_bytes();
        Worker {
            name: format!("node{number:04}"),
            address: [10, 201, high, low],
            shape: SHAPES[number % SHAPES.len()],
        }
    }

    fn write(&self, authority: &Authority, from: &Path, to: &Path) {
        let text = |text: &str| {
            let named = self.named(text);
            with_certificates(&named, &|old| self.certificate(authority, old))
        };
        let folder = from.join("nodes").join(self.shape.0);
        write_node(&folder, to, &self.name, &text);
    }

    /// A text of the shape with this worker's name and address.
    fn named(&self, text: &str) -> String {
        let dotted = |address: [u8; 4]| address.map(|byte| byte.to_string()).join(".");
        text.replace(self.shape.0, &self.name)
            .replace(&dotted(self.shape.1), &dotted(self.address))
    }

    /// A certificate of the shape for this worker: a leaf of a CA is issued, with a key of its own.
    fn certificate(&self, authority: &Authority, old: &Certificate) -> String {
        let mut der = old.der().to_vec();
        exchange(&mut der, self.shape.0.as_bytes(), self.name.as_bytes());
        exchange(&mut der, &self.shape.1, &self.address);
        if der == old.der() {
            return authority.renewed(old);
        }
        let wanted = Certificate::from_der(&der).unwrap();
        match authority.issuer(old) {
            Some(ca) => issue(ca, &wanted),
            None => wanted.to_pem(),
        }
    }
}

fn exchange(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    assert_eq!(old.len(), new.len());
    for at in 0..bytes.len().saturating_sub(old.len()) {
        if bytes[at..].starts_with(old) {
            bytes[at..at + new.len()].copy_from_slice(new);
        }
    }
}

fn issue(ca: &SigningCa, like: &Certificate) -> String {
    ca.reissue_with_new_key(like, like.not_before(), like.not_after(), AUTHORED)
        .unwrap()
        .0
        .to_pem()
}

/// The CAs of the made cluster.
struct Authority {
    /// The example's, and what stands for them.
    cas: Vec<(Certificate, SigningCa)>,
    /// The certificates of all but the workers, by fingerprint of the old one.
    new: BTreeMap<String, String>,
}

impl Authority {
    fn mint(snapshot: &Path) -> Authority {
        let certificates = |folder: &str| -> BTreeMap<String, Certificate> {
            tree(&snapshot.join(folder))
                .into_values()
                .flat_map(|(bytes, _)| certificates_of(&String::from_utf8(bytes).unwrap()))
                .map(|c| (c.fingerprint().to_owned(), c))
                .collect()
        };
        let mut all = certificates("cluster");
        all.extend(certificates("users"));
        for node in CONTROL_PLANES {
            all.extend(certificates(&format!("nodes/{node}")));
        }
        let mut out = Authority {
            cas: Vec::new(),
            new: BTreeMap::new(),
        };
        let issues = |ca: &Certificate| all.values().any(|c| !c.is_ca() && c.signed_by(ca));
        for old in all.values().filter(|c| c.is_ca() && issues(c)) {
            let mut serial = [1; 16];
            serial[1..9].copy_from_slice(&old.fingerprint().as_bytes()[..8]);
            let ca = SigningCa::mint(&CaRequest {
                subject: old.subject().to_owned(),
                key: KeyAlgorithm::Rsa2048,
                not_before: old.not_before(),
                not_after: old.not_after(),
                serial,
            });
            out.cas.push((old.clone(), ca.unwrap()));
        }
        for (fingerprint, old) in &all {
            let itself = out.cas.iter().find(|(ca, _)| ca == old);
            let new = match (itself, out.issuer(old)) {
                (Some((_, ca)), _) => ca.certificate.to_pem(),
                (None, Some(ca)) => issue(ca, old),
                (None, None) => old.to_pem(),
            };
            out.new.insert(fingerprint.clone(), new);
        }
        out
    }

    /// What stands for a certificate of the example in the made cluster.
    fn renewed(&self, old: &Certificate) -> String {
        let known = self.new.get(old.fingerprint());
        known.cloned().unwrap_or_else(|| old.to_pem())
    }

    fn issuer(&self, leaf: &Certificate) -> Option<&SigningCa> {
        let found = self.cas.iter().find(|(ca, _)| leaf.signed_by(ca));
        found.map(|(_, ca)| ca)
    }
}

/// Copies a node's folder, every text changed, FILES brought up to date.
fn write_node(from: &Path, to: &Path, name: &str, change: &dyn Fn(&str) -> String) {
    let to = to.join("nodes").join(name);
    let table = fs::read_to_string(from.join("FILES")).unwrap();
    let mut lines = vec![format!("# carota snapshot 1\t{name}")];
    for line in table.lines().skip(1) {
        let mut columns: Vec<String> = line.split('\t').map(str::to_owned).collect();
        let stored = columns[4][1..].to_owned();
        if columns[0] == "f" {
            let text = change(&fs::read_to_string(from.join(&stored)).unwrap());
            if columns[1] != "-" {
                columns[1] = sha256(&text);
            }
            put(&to.join(&stored), &text);
        }
        lines.push(columns.join("\t"));
    }
    put(&to.join("FILES"), &(lines.join("\n") + "\n"));
}

/// A list of objects in which every item about a worker stands once for each worker like it.
fn with_workers(list: &str, workers: usize) -> String {
    let Some((head, items)) = list.split_once("\nitems:\n") else {
        return list.to_owned();
    };
    let mut out = format!("{head}\nitems:\n");
    let begins = |line: &str| line.starts_with("- ");
    let mut item = String::new();
    let mut flush = |item: &mut String| {
        let about = |shape: &str| {
            let own = format!("    nodeName: {shape}\n");
            item.contains(&own) || item.contains(&format!("    name: {shape}\n"))
        };
        // Every node is there and has its daemons' pods; other pods run once.
        let everywhere = item.contains("\n  kind: Node\n") || item.contains("kind: DaemonSet\n");
        let most = if everywhere { workers } else { SHAPES.len() };
        match SHAPES.iter().find(|(shape, _)| about(shape)) {
            Some((shape, _)) => {
                for number in 1..=most.min(workers) {
                    let worker = Worker::numbered(number);
                    if worker.shape.0 == *shape {
                        out.push_str(&worker.object(item, number));
                    }
                }
            }
            None => out.push_str(item),
        }
        item.clear();
    };
    let mut tail = "";
    for (at, line) in items.split_inclusive('\n').scan(0, |at, line| {
        *at += line.len();
        Some((*at - line.len(), line))
    }) {
        if begins(line) {
            flush(&mut item);
        } else if !line.starts_with(' ') {
            tail = &items[at..];
            break;
        }
        item.push_str(line);
    }
    flush(&mut item);
    out + tail
}

impl Worker {
    /// An object of the shape for this worker; what runs there has a name of its own.
    fn object(&self, item: &str, number: usize) -> String {
        let named = self.named(item);
        let own = format!("    name: {}\n", self.name);
        if named.contains(&own) {
            return named;
        }
        let pod = named.lines().find(|line| line.starts_with("    name: "));
        match pod {
            Some(line) => named.replacen(line, &format!("{line}-{number}"), 1),
            None => named,
        }
    }
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
