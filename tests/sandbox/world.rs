//! The nodes of a made cluster as sandbox roots, with stand-ins for what cannot run there, and the
//! people who carry a plan from node to node: they do what the scripts' messages ask for, and nothing
//! else. Knows the plan's tables and scripts; nothing of certificates.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tempfile::TempDir;

use crate::common::{judge, table};
use crate::made::Made;

pub const SHELLS: [&[&str]; 3] = [&["dash"], &["busybox", "sh"], &["bash"]];
/// All that a node needs beside a shell; the last node has no more than this.
const TOOLS: &str = "awk cat chmod chown cp date df find id ln mkdir mktemp mv readlink rm rmdir sed \
    sha256sum sort stat sync tr uname wc dash bash busybox";
/// The file operations that a run can be killed at.
const OPERATIONS: [&str; 9] = [
    "cp", "mv", "rm", "ln", "sync", "chmod", "chown", "mkdir", "rmdir",
];

/// A file, link or folder of a root.
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum Entry {
    File {
        bytes: Vec<u8>,
        mode: u32,
        owner: (u32, u32),
    },
    Link(PathBuf, (u32, u32)),
    Folder(u32, (u32, u32)),
}

pub type Files = BTreeMap<String, Entry>;

pub struct World<'a> {
    pub made: &'a Made,
    dir: TempDir,
    /// The only shell, or each in turn.
    shell: Option<usize>,
    /// Whether each apply keeps what it would leave if it were killed.
    pub snapshots: AtomicBool,
    /// What people have confirmed, by phase and place.
    answers: Mutex<BTreeMap<(String, String), Vec<String>>>,
    /// Names that scripts asked for.
    pub asked: Mutex<BTreeSet<String>>,
    pub runs: AtomicUsize,
}

impl<'a> World<'a> {
    pub fn new(made: &'a Made, shell: Option<usize>) -> Self {
        let world = World {
            made,
            dir: made.temporary(),
            shell,
            snapshots: AtomicBool::default(),
            answers: Mutex::default(),
            asked: Mutex::default(),
            runs: AtomicUsize::default(),
        };
        for folder in [
            "bin",
            "tools",
            "fault",
            "snapshot",
            "home-node",
            "home-admin",
            "tmp",
            "fault-state",
        ] {
            fs::create_dir(world.dir.path().join(folder)).unwrap();
        }
        for name in ["systemctl", "openssl", "kubectl"] {
            world.program("bin", name, &stand_in(&format!("sandbox-{name}.sh")));
        }
        world.program("bin", "curl", "#!/bin/sh\necho 200\n");
        // A minute in which API servers put back what they publish.
        world.program(
            "bin",
            "sleep",
            "#!/bin/sh\n[ \"$1\" = 65 ] || exec /usr/bin/sleep 0.05\nexec kubectl settle\n",
        );
        for name in OPERATIONS {
            world.program("fault", name, &stand_in("fault.sh"));
        }
        world.program("snapshot", "mv", &stand_in("sandbox-mv.sh"));
        for name in TOOLS.split_whitespace() {
            symlink(where_is(name), world.dir.path().join("tools").join(name)).unwrap();
        }
        // Ten seconds in which a process goes on as it is, for each restart of each node.
        let quick =
            "#!/bin/sh\n[ \"$1\" = 10 ] || exec /usr/bin/sleep \"$1\"\nexec /usr/bin/sleep 0.05\n";
        world.program("tools", "sleep", quick);
        world.record_cluster();
        for node in &made.nodes {
            world.boot(node);
        }
        world
    }

    /// The same world as it was when a run of `phase` at this place noted its action `at`: of the nodes
    /// that one, or for the cluster's half all of them, which stand still meanwhile.
    fn fork(&self, phase: &str, node: Option<&str>, at: usize) -> World<'a> {
        let fork = World {
            made: self.made,
            dir: self.made.temporary(),
            shell: self.shell,
            snapshots: AtomicBool::default(),
            answers: Mutex::new(self.answers.lock().unwrap().clone()),
            asked: Mutex::default(),
            runs: AtomicUsize::default(),
        };
        let at = self.kept(phase, node).join(at.to_string());
        let dir = fork.dir.path();
        for shared in ["bin", "tools"] {
            symlink(self.dir.path().join(shared), dir.join(shared)).unwrap();
        }
        for folder in ["home-node", "tmp"] {
            fs::create_dir(dir.join(folder)).unwrap();
        }
        if let Some(node) = node {
            fs::create_dir(dir.join("nodes")).unwrap();
            copy_all(&at.join(node), &fork.root(node));
            copy_all(&self.cluster(), &fork.cluster());
        } else {
            copy_all(&self.dir.path().join("nodes"), &dir.join("nodes"));
            for name in ["cluster", "home-admin"] {
                copy_all(&at.join(name), &dir.join(name));
            }
        }
        fork
    }

    /// Where a run's snapshots are.
    fn kept(&self, phase: &str, node: Option<&str>) -> PathBuf {
        let place = node.unwrap_or("cluster");
        self.dir.path().join("snapshots").join(phase).join(place)
    }

    /// Rolls a phase back from where a killed run would have left it: at places in the middle of each
    /// half, each in a world of its own, which is handed to `check` then. Returns how many.
    pub fn roll_back_from_the_middle(
        &self,
        phase: &str,
        check: impl Fn(&World, Option<&str>, &str) + Sync,
    ) -> usize {
        let (nodes, cluster) = self.places_of(phase);
        let halves = nodes.iter().map(|n| Some(n.as_str()));
        let places: Vec<(Option<&str>, usize)> = halves
            .chain(cluster.then_some(None))
            .flat_map(|node| {
                self.chosen(phase, node)
                    .into_iter()
                    .map(move |at| (node, at))
            })
            .collect();
        let back = |&(node, at): &(Option<&str>, usize)| {
            let fork = self.fork(phase, node, at);
            match node {
                Some(_) => drop(fork.run(phase, "rollback", node)),
                None => fork.roll_back(phase),
            }
            let what = format!("{phase} {node:?} stopped at {at} and rolled back");
            check(&fork, node, &what);
            self.runs
                .fetch_add(fork.runs.into_inner(), Ordering::Relaxed);
            let mut asked = fork.asked.lock().unwrap();
            self.asked.lock().unwrap().append(&mut asked);
        };
        std::thread::scope(|scope| {
            for half in places.chunks(places.len().div_ceil(2).max(1)) {
                scope.spawn(move || half.iter().for_each(back));
            }
        });
        let _ = fs::remove_dir_all(self.dir.path().join("snapshots"));
        places.len()
    }

    /// The places where runs are stopped: on one control plane, one worker and in the cluster at the first
    /// action, in the middle and at the last; everywhere, where there is time.
    fn chosen(&self, phase: &str, node: Option<&str>) -> BTreeSet<usize> {
        let names = fs::read_dir(self.kept(phase, node)).into_iter().flatten();
        let number = |name: OsString| name.to_str().and_then(|name| name.parse().ok());
        let kept: BTreeSet<usize> = names
            .map(|entry| number(entry.unwrap().file_name()).unwrap())
            .collect();
        if self.shell.is_some() {
            return kept;
        }
        let sampled = [self.made.nodes.get(1), self.made.nodes.last()];
        if node.is_some_and(|node| !sampled.into_iter().flatten().any(|n| n == node)) {
            return BTreeSet::new();
        }
        let points: Vec<usize> = kept.into_iter().collect();
        let middle = points.get(points.len() / 2);
        // Of the made layouts one place: where a run stops is no matter of where files lie.
        let chosen = if self.made.users.is_empty() {
            [None, middle, None]
        } else {
            [points.get(1), middle, points.last()]
        };
        chosen.into_iter().flatten().copied().collect()
    }

    pub fn program(&self, folder: &str, name: &str, text: &str) {
        let path = self.dir.path().join(folder).join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn root(&self, node: &str) -> PathBuf {
        self.dir.path().join("nodes").join(node)
    }

    pub fn cluster(&self) -> PathBuf {
        self.dir.path().join("cluster")
    }

    /// What the API holds at the start.
    fn record_cluster(&self) {
        let at = self.cluster();
        for folder in ["objects", "auth"] {
            fs::create_dir_all(at.join(folder)).unwrap();
        }
        let lines = |names: Vec<&str>| names.iter().map(|n| format!("{n}\n")).collect::<String>();
        let masters = self.made.masters();
        let leader = masters.get(1).unwrap_or(&masters[0]);
        for (name, text) in [
            ("uid", self.made.uid.clone()),
            ("leader", format!("{leader}\n")),
            ("namespaces", self.made.namespaces()),
            ("nodes", lines(self.made.registered())),
            ("control-planes", lines(masters)),
            ("pods", "debug Running 2001-01-01T00:00:00Z\n".into()),
        ] {
            fs::write(at.join(name), text).unwrap();
        }
    }

    /// Copies a node's root with modes and links, and starts its processes.
    fn boot(&self, node: &str) {
        let root = self.root(node);
        copy(&self.made.raw.join("nodes").join(node), &root);
        fs::create_dir(root.join("proc")).unwrap();
        let manifests = root.join("etc/kubernetes/manifests");
        let mut calls: Vec<Vec<String>> = made_units(&root)
            .map(|unit| vec!["restart".to_owned(), unit])
            .collect();
        if manifests.is_dir() {
            for entry in fs::read_dir(manifests).unwrap() {
                let path = entry.unwrap().path().display().to_string();
                calls.push(vec!["static-pod".to_owned(), path]);
            }
        }
        for call in calls {
            let status = Command::new(self.dir.path().join("bin/systemctl"))
                .args(&call)
                .env("SANDBOX", &root)
                .status();
            assert!(status.unwrap().success(), "{call:?}");
        }
        let settled = Command::new(self.dir.path().join("bin/kubectl"))
            .arg("settle")
            .envs(self.places())
            .status();
        assert!(settled.unwrap().success());
    }

    fn places(&self) -> [(&'static str, PathBuf); 2] {
        [
            ("CLUSTER", self.cluster()),
            ("NODES", self.dir.path().join("nodes")),
        ]
    }

    /// The files of a node: all but the journal and what the stand-ins keep.
    pub fn files(&self, node: &str) -> Files {
        let mut out = Files::new();
        walk(&self.root(node), "", &mut out);
        out
    }

    pub fn all_files(&self) -> BTreeMap<String, Files> {
        let nodes = self.made.nodes.iter();
        nodes.map(|n| (n.clone(), self.files(n))).collect()
    }

    /// The shell of a run: each phase, node and verb goes through all of them, and a rollback is
    /// another's than the phase.
    fn shell(&self, phase: &str, verb: &str, node: Option<&str>) -> &'static [&'static str] {
        let of = |text: &str| text.bytes().map(usize::from).sum::<usize>();
        let turn = of(phase) + of(verb) + node.map_or(0, of);
        SHELLS[self.shell.unwrap_or(turn % SHELLS.len())]
    }

    /// Where a run keeps temporary files; nothing is left there.
    fn temporary(&self, node: Option<&str>) -> PathBuf {
        let folder = self.dir.path().join("tmp").join(node.unwrap_or("cluster"));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// The PATH of a place.
    fn programs(&self, node: Option<&str>) -> String {
        let dir = self.dir.path().display();
        if node == self.made.nodes.last().map(String::as_str) {
            return format!("{dir}/tools");
        }
        format!("{dir}/bin:{}", std::env::var("PATH").unwrap())
    }

    /// A script's command; no node: the cluster's part.
    pub fn command(&self, phase: &str, verb: &str, node: Option<&str>) -> Command {
        let shell = self.shell(phase, verb, node);
        let mut command = Command::new(where_is(shell[0]));
        let (dir, bin) = (self.dir.path(), self.dir.path().join("bin"));
        let mut path = self.programs(node);
        if verb == "apply" && self.snapshots.load(Ordering::Relaxed) {
            path = format!("{}:{path}", dir.join("snapshot").display());
            let of = match node {
                Some(node) => self.root(node).display().to_string(),
                None => format!("{0}/cluster:{0}/home-admin", dir.display()),
            };
            command
                .env("SNAPSHOTS", self.kept(phase, node))
                .env("SNAPSHOT_OF", of);
        }
        let folder = match node {
            Some(node) => self.made.carried(node),
            None => self.made.folder(),
        };
        command
            .args(&shell[1..])
            .arg(folder.join("plan").join(phase).join(format!("{verb}.sh")))
            .args(["--timeout", "5", "--digest", &self.made.digest])
            .env("PATH", path)
            .env("TMPDIR", self.temporary(node))
            .envs(self.places())
            .current_dir(self.dir.path().join("tmp"));
        if let Some(node) = node {
            command
                .args(["--node", node, "--root"])
                .arg(self.root(node))
                .env("HOME", self.dir.path().join("home-node"))
                .env("SANDBOX", self.root(node))
                .env("CAROTA_TEST_RESTART", bin.join("systemctl"));
        } else {
            command
                .arg("--cluster")
                .env("HOME", self.dir.path().join("home-admin"))
                .env_remove("SANDBOX");
        }
        command
    }

    /// Runs a script as a person does who follows its messages, until it succeeds.
    pub fn run(&self, phase: &str, verb: &str, node: Option<&str>) -> String {
        let place = match node {
            None => "cluster",
            Some(node) if node.starts_with("cp-") => "control plane",
            Some(node) if node.starts_with("etcd-") => "etcd node",
            Some(_) => "worker",
        };
        let key = (phase.to_owned(), place.to_owned());
        for _ in 0..8 {
            let answers = self
                .answers
                .lock()
                .unwrap()
                .get(&key)
                .cloned()
                .unwrap_or_default();
            let mut command = self.command(phase, verb, node);
            if verb != "verify" {
                command.args(&answers);
            }
            let output = command.output().expect("the shell runs");
            self.runs.fetch_add(1, Ordering::Relaxed);
            let text = text(&output);
            let answer: Vec<String> = match output.status.code() {
                Some(0) => {
                    assert!(is_empty(&self.temporary(node)), "{text}");
                    return text;
                }
                Some(20) => vec!["--i-checked".into()],
                Some(21) => {
                    let name = text.rsplit("--ack ").next().unwrap().trim().to_owned();
                    self.asked.lock().unwrap().insert(name.clone());
                    if verb == "apply" {
                        self.readme_says(phase, node, &name);
                    }
                    vec!["--ack".into(), name]
                }
                // Pods that no roll reaches: a person starts them anew.
                Some(23) if text.contains("debug (started") => {
                    let now = ["-u", "+debug Running %Y-%m-%dT%H:%M:%SZ"];
                    fs::write(self.cluster().join("pods"), judge("date", &now, b"").stdout)
                        .unwrap();
                    self.asked.lock().unwrap().insert(format!("{phase}: debug"));
                    continue;
                }
                code => panic!(
                    "{:?} {phase} {verb} {node:?}: {code:?}\n{text}",
                    self.shell(phase, verb, node)
                ),
            };
            assert!(!answers.ends_with(&answer), "asks again: {text}");
            self.answers
                .lock()
                .unwrap()
                .entry(key.clone())
                .or_default()
                .extend(answer);
        }
        panic!("{phase} {verb} {node:?} asks without end");
    }

    /// The command in the phase's README confirms what its script asks for.
    fn readme_says(&self, phase: &str, node: Option<&str>, name: &str) {
        let readme = self
            .made
            .folder()
            .join("plan")
            .join(phase)
            .join("README.md");
        let readme = fs::read_to_string(readme).unwrap();
        let mut commands = readme.lines().filter(|line| {
            line.starts_with("sh apply.sh") && line.contains("--cluster") == node.is_none()
        });
        let confirms = |line: &str| format!("{line} ").contains(&format!(" --ack {name} "));
        assert!(
            commands.clone().count() > 0 && commands.all(confirms),
            "{phase} {node:?} asks for {name}:\n{readme}"
        );
    }

    /// Kills a run at one of its file operations.
    pub fn kill(&self, phase: &str, verb: &str, node: &str, at: usize) {
        let state = self.dir.path().join("fault-state");
        fs::write(state.join("count"), "0\n").unwrap();
        let mut command = self.command(phase, verb, Some(node));
        let key = (phase.to_owned(), "control plane".to_owned());
        let dir = self.dir.path();
        command
            .args(self.answers.lock().unwrap().get(&key).into_iter().flatten())
            .process_group(0)
            .env(
                "PATH",
                format!("{}/fault:{}", dir.display(), self.programs(Some(node))),
            )
            .env("FAULT", &state)
            .env("FAULT_AT", at.to_string())
            .env("FAULT_MODE", "kill");
        let output = command.output().expect("the shell runs");
        assert_eq!(
            output.status.code(),
            None,
            "{phase} {at}: {}",
            text(&output)
        );
        assert!(state.join("hit").exists());
        fs::remove_file(state.join("hit")).unwrap();
        fs::remove_dir_all(self.temporary(Some(node))).unwrap();
    }

    /// The nodes that a phase has work for, and whether it has work for the cluster.
    pub fn places_of(&self, phase: &str) -> (Vec<String>, bool) {
        let folder = self.made.folder().join("plan").join(phase);
        let sets: BTreeSet<String> = table(&folder.join("CHANGES"))
            .into_iter()
            .map(|row| row[1].clone())
            .collect();
        let nodes: BTreeSet<String> = table(&folder.join("NODES"))
            .into_iter()
            .filter(|row| sets.contains(&row[0]))
            .map(|row| row[1].clone())
            .collect();
        let cluster = table(&folder.join("CLUSTER"))
            .iter()
            .any(|row| row[0] != "note" && row[0] != "ack");
        (nodes.into_iter().collect(), cluster)
    }

    /// Carries a phase out, and looks after each script whether it did.
    pub fn apply(&self, phase: &str) {
        self.carry(phase, &["apply", "verify"]);
    }

    pub fn apply_again(&self, phase: &str) {
        self.carry(phase, &["apply"]);
    }

    fn carry(&self, phase: &str, verbs: &[&str]) {
        let order = self.value(phase, "order");
        let (nodes, cluster) = self.places_of(phase);
        let mut parts: Vec<&str> = order.split_whitespace().collect();
        parts.retain(|p| *p == "node" || cluster);
        let wanted: usize = usize::from(!nodes.is_empty()) + usize::from(cluster);
        assert_eq!(parts.len(), wanted, "{phase}: order {order:?}");
        for part in parts {
            if part == "node" {
                self.on_nodes(phase, &nodes, verbs);
            } else {
                for verb in verbs {
                    self.run(phase, verb, None);
                }
            }
        }
    }

    pub fn roll_back(&self, phase: &str) {
        let (mut nodes, cluster) = self.places_of(phase);
        nodes.reverse();
        self.on_nodes(phase, &nodes, &["rollback"]);
        if cluster {
            self.run(phase, "rollback", None);
        }
    }

    /// One node after another, or side by side where the phase allows it.
    fn on_nodes(&self, phase: &str, nodes: &[String], verbs: &[&str]) {
        let at = |node: &String| {
            for verb in verbs {
                self.run(phase, verb, Some(node));
            }
        };
        if self.value(phase, "serial") == "1" {
            nodes.iter().for_each(at);
            return;
        }
        std::thread::scope(|scope| {
            for half in nodes.chunks(nodes.len().div_ceil(2).max(1)) {
                scope.spawn(move || half.iter().for_each(at));
            }
        });
    }

    fn value(&self, phase: &str, key: &str) -> String {
        table(&self.made.folder().join("plan").join(phase).join("PHASE"))
            .into_iter()
            .find(|row| row[0] == key)
            .map(|row| row.get(1).cloned().unwrap_or_default())
            .unwrap()
    }
}

/// A program's path.
fn where_is(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name));
    { found }.find(|path| path.exists()).expect(name)
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The units of a root.
fn made_units(root: &Path) -> impl Iterator<Item = String> {
    let folders = ["etc/systemd/system", "usr/lib/systemd/system"];
    let entries = folders.map(|folder| fs::read_dir(root.join(folder)));
    let names = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.unwrap().file_name());
    names
        .map(|name| name.into_string().unwrap())
        .filter(|name| name.ends_with(".service"))
}

fn stand_in(name: &str) -> String {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    fs::read_to_string(scripts.join(name)).unwrap()
}

fn copy_all(from: &Path, to: &Path) {
    let status = Command::new("/usr/bin/cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status();
    assert!(status.unwrap().success(), "{}", from.display());
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            symlink(fs::read_link(entry.path()).unwrap(), target).unwrap();
        } else if kind.is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub fn walk(root: &Path, below: &str, out: &mut Files) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = if below.is_empty() {
            name
        } else {
            format!("{below}/{name}")
        };
        let stand_ins = [
            "proc",
            "served",
            "last-pid",
            "command",
            "words",
            "variables",
            "var/lib/carota",
        ];
        if stand_ins.contains(&path.as_str()) {
            continue;
        }
        let meta = fs::symlink_metadata(entry.path()).unwrap();
        let owner = (meta.uid(), meta.gid());
        let what = if meta.is_symlink() {
            Entry::Link(fs::read_link(entry.path()).unwrap(), owner)
        } else if meta.is_dir() {
            walk(root, &path, out);
            Entry::Folder(meta.mode() & 0o7777, owner)
        } else {
            Entry::File {
                bytes: fs::read(entry.path()).unwrap(),
                mode: meta.mode() & 0o7777,
                owner,
            }
        };
        out.insert(path, what);
    }
}

/// Fails with the names of what differs; the bytes may be private.
#[track_caller]
pub fn assert_same(found: &BTreeMap<String, Files>, wanted: &BTreeMap<String, Files>, what: &str) {
    assert!(!found.is_empty(), "{what}");
    for (node, found) in found {
        let wanted = &wanted[node];
        let names: BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
        let differing: Vec<&&String> = names
            .iter()
            .filter(|name| found.get(**name) != wanted.get(**name))
            .collect();
        assert!(differing.is_empty(), "{what}, {node}: {differing:?}");
    }
}
