//! What the test files share: examples in temporary folders, the program, and walks over trees.

#![allow(
    dead_code,
    reason = "each test file is its own crate and uses a part of this"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub mod fleet;
pub mod judges;
pub mod pieces;

/// The examples: every folder of `plans/`.
pub fn examples() -> Vec<PathBuf> {
    let plans = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    let mut out: Vec<_> = fs::read_dir(plans)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    out.sort();
    assert!(out.len() >= 2, "plans/ has the current and the old cluster");
    out
}

/// The folder of one example.
pub fn example(name: &str) -> PathBuf {
    let found = examples().into_iter().find(|path| path.ends_with(name));
    found.unwrap_or_else(|| panic!("there is no example {name}"))
}

/// A copy of an example's inputs in a temporary folder: cluster.toml, snapshot and lock. No plan, no
/// private file.
pub fn inputs_of(example: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy_description(example, to.path());
    copy_tree(&example.join("snapshot"), &to.path().join("snapshot"));
    to
}

/// Copies what an example's people have committed beside its snapshot: cluster.toml, the lock, and the certificates that
/// cluster.toml names.
pub fn copy_description(example: &Path, to: &Path) {
    for entry in fs::read_dir(example).unwrap() {
        let name = entry.unwrap().file_name();
        let ending = Path::new(&name).extension();
        let ending = ending.and_then(|ending| ending.to_str());
        if ending.is_some_and(|ending| ["toml", "lock", "pem"].contains(&ending)) {
            fs::copy(example.join(&name), to.join(&name)).unwrap();
        }
    }
}

/// Copies a folder.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Every file below a folder: relative path, content and whether it is executable.
pub fn tree(root: &Path) -> BTreeMap<String, (Vec<u8>, bool)> {
    fn walk(root: &Path, folder: &Path, out: &mut BTreeMap<String, (Vec<u8>, bool)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                walk(root, &path, out);
            } else {
                let name = path
                    .strip_prefix(root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                let executable = meta.permissions().mode() & 0o111 != 0;
                out.insert(name, (fs::read(&path).unwrap(), executable));
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(root, root, &mut out);
    out
}

/// Runs the program.
pub fn carota(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_carota"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the program starts")
}

/// Compiles a folder's cluster.toml and expects success.
pub fn compile(folder: &Path) -> Output {
    let output = carota(&["compile", "cluster.toml"], folder);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Replaces text in a file, which must hold it.
pub fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(
        text.contains(from),
        "{} does not hold {from:?}",
        file.display()
    );
    fs::write(file, text.replace(from, to)).unwrap();
}

/// Gives a node of a snapshot another file, at a path as FILES has it.
pub fn put_on_node(snapshot: &Path, node: &str, stored: &str, text: &str) {
    let node = snapshot.join("nodes").join(node);
    let file = node.join(&stored[1..]);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
    let table = fs::read_to_string(node.join("FILES")).unwrap();
    let line = format!("f\t-\t0600\t0:0\t{stored}\n");
    fs::write(node.join("FILES"), table + &line).unwrap();
}

/// Records anew what a snapshot's file holds, after a test has changed it: FILES would refuse it.
pub fn record_anew(snapshot: &Path, node: &str, path: &str) {
    let table = snapshot.join("nodes").join(node).join("FILES");
    let text = fs::read_to_string(&table).unwrap();
    let ending = format!("\t{path}");
    let changed: String = text
        .lines()
        .map(|line| {
            if line.starts_with("f\t") && line.ends_with(&ending) {
                let mut columns: Vec<&str> = line.split('\t').collect();
                columns[1] = "-";
                format!("{}\n", columns.join("\t"))
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    assert_ne!(text, changed, "{path} is not in FILES of {node}");
    fs::write(&table, changed).unwrap();
}

/// The rows of a tab-separated table.
pub fn table(path: &Path) -> Vec<Vec<String>> {
    fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

/// The phase folders of a plan, in order.
pub fn phases(plan: &Path) -> Vec<PathBuf> {
    let mut out: Vec<_> = fs::read_dir(plan)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| {
            let name = p.file_name().unwrap().to_str().unwrap();
            p.is_dir() && name.as_bytes()[0].is_ascii_digit()
        })
        .collect();
    out.sort();
    out
}

/// A program of the machine that a test needs as a second judge.
pub fn judge(program: &str, arguments: &[&str], input: &[u8]) -> Output {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{program} is needed ({e}); .ci/run installs it"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}
