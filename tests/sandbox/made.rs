//! A made cluster: collected by the printed collector, described by `carota init`, compiled, and packed for
//! its nodes. Knows the program's commands; nothing of what its plan holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use carota::pki::Certificate;
use tempfile::TempDir;

use crate::common::pieces::certificates_of;
use crate::common::{carota, edit, phases};
use crate::layouts::Layout;
use crate::world::{Entry, Files, text, walk};

/// A made cluster, collected and compiled.
pub struct Made {
    dir: TempDir,
    /// What is on the nodes and in the API.
    pub raw: PathBuf,
    pub nodes: Vec<String>,
    pub uid: String,
    pub digest: String,
    /// The CAs before the rotation.
    pub old_cas: Vec<Certificate>,
    /// What was above them.
    pub above: Vec<Certificate>,
    /// The kubeconfigs outside the nodes, by their users' names.
    pub users: BTreeMap<String, String>,
    /// How many of the CAs have their key on no node.
    pub external: usize,
}

impl Made {
    /// A cluster of `nodes`, whose files and objects `fill` puts into a folder.
    pub fn new(nodes: Vec<String>, fill: impl FnOnce(&Path)) -> Made {
        Made::described(nodes, fill, |_| ())
    }

    /// The same, with a description that people have changed.
    pub fn described(
        nodes: Vec<String>,
        fill: impl FnOnce(&Path),
        change: impl FnOnce(&Path),
    ) -> Made {
        Made::described_by(&[], nodes, fill, change)
    }

    /// The same, with more options of `init`.
    pub fn described_by(
        options: &[&str],
        nodes: Vec<String>,
        fill: impl FnOnce(&Path),
        change: impl FnOnce(&Path),
    ) -> Made {
        let dir = temporary();
        let raw = dir.path().join("raw");
        fill(&raw);
        let mut made = Made {
            nodes,
            uid: String::new(),
            digest: String::new(),
            old_cas: Vec::new(),
            above: Vec::new(),
            users: BTreeMap::new(),
            external: 0,
            raw,
            dir,
        };
        for entry in fs::read_dir(made.raw.join("users")).into_iter().flatten() {
            let path = entry.unwrap().path();
            let user = path.file_stem().unwrap().to_str().unwrap().to_owned();
            made.users.insert(user, fs::read_to_string(path).unwrap());
        }
        made.collect();
        made.compile(options, change);
        let description = fs::read_to_string(made.folder().join("cluster.toml")).unwrap();
        made.external = description.matches("\nexternal = true").count();
        made.find_cas();
        made.carry();
        let phase = fs::read_to_string(made.folder().join("plan/00-preflight/PHASE")).unwrap();
        let uid = phase.lines().find_map(|l| l.strip_prefix("cluster-uid\t"));
        uid.expect("the cluster's UID").clone_into(&mut made.uid);
        made
    }

    fn find_cas(&mut self) {
        let mut files = Files::new();
        walk(&self.raw.join("nodes"), "", &mut files);
        let texts = files.values().filter_map(|entry| match entry {
            Entry::File { bytes, .. } => std::str::from_utf8(bytes).ok(),
            _ => None,
        });
        let all: Vec<Certificate> = texts.flat_map(certificates_of).collect();
        self.old_cas = rotated(&self.folder(), &all);
        for ca in &self.old_cas {
            let mut signers = all.iter().filter(|c| ca.signed_by(c) && *c != ca);
            self.above.extend(signers.next().cloned());
        }
    }

    /// The nodes with API servers.
    pub fn masters(&self) -> Vec<&str> {
        let names = self.nodes.iter().map(String::as_str);
        names.filter(|n| n.starts_with("cp-")).collect()
    }

    /// The nodes with a kubelet that the API knows.
    pub fn registered(&self) -> Vec<&str> {
        let names = self.nodes.iter().map(String::as_str);
        let kubelet = |node: &&str| {
            let root = self.raw.join("nodes").join(node);
            let folders =
                ["etc", "usr/lib"].map(|at| root.join(at).join("systemd/system/kubelet.service"));
            !node.starts_with("etcd-") && folders.iter().any(|unit| unit.exists())
        };
        names.filter(kubelet).collect()
    }

    /// The names of the namespaces, a line each.
    pub fn namespaces(&self) -> String {
        let file = self.folder().join("snapshot/cluster/namespaces.yaml");
        let list: serde_yaml::Value =
            serde_yaml::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let items = list["items"].as_sequence().unwrap().iter();
        items
            .map(|n| format!("{}\n", n["metadata"]["name"].as_str().unwrap()))
            .collect()
    }

    /// The keys of the CAs before the rotation, by the path on their node.
    pub fn ca_keys(&self, node: &str) -> BTreeMap<String, String> {
        let mut files = Files::new();
        walk(&self.raw.join("nodes").join(node), "", &mut files);
        let text = |path: &str| match files.get(path) {
            Some(Entry::File { bytes, .. }) => std::str::from_utf8(bytes).ok(),
            _ => None,
        };
        let of_a_ca = |path: &str| {
            let certificate = match path.strip_suffix("-key.pem") {
                Some(stem) => format!("{stem}.pem"),
                None => format!("{}.crt", path.strip_suffix(".key")?),
            };
            let found = certificates_of(text(&certificate)?);
            found
                .first()
                .filter(|ca| self.old_cas.contains(ca))
                .cloned()
        };
        let keys = files.keys().filter(|path| of_a_ca(path).is_some());
        keys.map(|path| (path.clone(), text(path).unwrap().to_owned()))
            .collect()
    }

    #[allow(clippy::unused_self, reason = "it reads as its place")]
    pub fn temporary(&self) -> TempDir {
        temporary()
    }

    /// Where cluster.toml, plan/ and secrets/ are.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("rotation")
    }

    /// Where a node's bundle was unpacked: plan/ and secrets/.
    pub fn carried(&self, node: &str) -> PathBuf {
        let unpacked = self.dir.path().join("carried").join(node);
        let top = fs::read_dir(unpacked).unwrap().next().unwrap();
        top.unwrap().path()
    }

    /// What each node gets.
    pub fn bundles(&self) -> PathBuf {
        self.dir.path().join("bundles")
    }

    /// The rotation's id.
    pub fn id(&self) -> String {
        let description = fs::read_to_string(self.folder().join("cluster.toml")).unwrap();
        let line = description.lines().find(|line| line.starts_with("id = "));
        line.unwrap()[5..].trim_matches('"').to_owned()
    }

    /// Packs what each node gets, and unpacks it there.
    fn carry(&self) {
        let (folder, bundles) = (self.folder(), self.bundles());
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
            let private = !self.ca_keys(node).is_empty() || self.external > 0;
            assert_eq!(private, secrets.is_dir(), "{node}");
        }
    }

    fn collect(&self) {
        collect(&self.raw, &self.nodes, &self.folder());
    }

    fn compile(&mut self, options: &[&str], change: impl FnOnce(&Path)) {
        let folder = self.folder();
        let done = |arguments: &[&str]| done(arguments, &folder);
        done(&[&["init", "snapshot", "--out", "cluster.toml"], options].concat());
        change(&folder);
        // As it is: certificates that are a few seconds old are no hindrance.
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
    pub fn phases(&self) -> Vec<String> {
        phases(&self.folder().join("plan"))
            .iter()
            .map(|p| p.file_name().unwrap().to_str().unwrap().to_owned())
            .collect()
    }
}

/// The CAs that a folder's cluster.toml rotates, among all certificates before: it names their subjects.
pub fn rotated(folder: &Path, all: &[Certificate]) -> Vec<Certificate> {
    let toml = fs::read_to_string(folder.join("cluster.toml")).unwrap();
    let subjects = toml.lines().filter_map(|l| l.strip_prefix("# Replaces "));
    let find = |line: &str| {
        let named = |ca: &&Certificate| line.starts_with(&format!("{} (", ca.subject()));
        let ca = all.iter().find(|ca| ca.is_ca() && named(ca));
        ca.unwrap().clone()
    };
    subjects.map(find).collect()
}

/// What comes of a cluster's files: collected, described by `init`, changed by people, and compiled.
pub fn plan_of(raw: &Path, layout: Layout, folder: &Path, change: impl FnOnce(&Path)) -> Output {
    collect(raw, &layout.nodes(), folder);
    let described = carota(&["init", "snapshot", "--out", "cluster.toml"], folder);
    if !described.status.success() {
        return described;
    }
    change(folder);
    carota(&["compile", "cluster.toml"], folder)
}

/// In memory where that is possible: the scripts sync every file.
pub fn temporary() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        TempDir::new_in(memory).unwrap()
    } else {
        TempDir::new().unwrap()
    }
}

/// Runs the program, which must succeed. Gives what it said.
fn done(arguments: &[&str], folder: &Path) -> String {
    let output = carota(arguments, folder);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    text(&output)
}

/// Collects what is on the nodes and in the API into `folder`/snapshot, by the printed script.
pub fn collect(raw: &Path, nodes: &[String], folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let script = raw.join("collect.sh");
    fs::write(&script, carota(&["collect"], folder).stdout).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new("sh")
            .arg(&script)
            .args(arguments)
            .current_dir(folder)
            .env("TMPDIR", raw)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    };
    for node in nodes {
        let root = raw.join("nodes").join(node);
        run(&["node", "--node", node, "--root", root.to_str().unwrap()]);
    }
    run(&["cluster", "--from", raw.join("cluster").to_str().unwrap()]);
    for entry in fs::read_dir(raw.join("users")).into_iter().flatten() {
        let file = entry.unwrap().path();
        let user = file.file_stem().unwrap().to_str().unwrap();
        run(&["user", user, file.to_str().unwrap()]);
    }
}

/// Writes an example: `cluster.toml` as `carota init` makes it and people change it, snapshot, lock and plan. No
/// private file stays.
pub fn write_example(layout: Layout, folder: &Path, change: fn(&Path)) {
    let raw = temporary();
    layout.make(raw.path());
    for old in ["snapshot", "plan", "secrets"] {
        let _ = fs::remove_dir_all(folder.join(old));
    }
    for old in ["carota.lock", "cluster.toml"] {
        let _ = fs::remove_file(folder.join(old));
    }
    collect(raw.path(), &layout.nodes(), folder);
    done(&["init", "snapshot", "--out", "cluster.toml"], folder);
    let toml = folder.join("cluster.toml");
    let text = fs::read_to_string(&toml).unwrap();
    let schema = text.lines().next().unwrap().to_owned();
    edit(&toml, &schema, "#:schema ../../docs/schema/cluster.json");
    change(folder);
    done(&["compile", "cluster.toml"], folder);
    fs::remove_dir_all(folder.join("secrets")).unwrap();
}
