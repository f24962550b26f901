//! What a bundle promises: the plan and one node's private files, the same bytes each time, refused when
//! anything in it is not what was compiled.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{carota, compile, example, inputs_of, judge, tree};
use tempfile::TempDir;

/// An example compiled anew, with a keyring of its own.
fn compiled() -> TempDir {
    let folder = inputs_of(&example("kubeadm-ha"));
    fs::remove_file(folder.path().join("carota.lock")).unwrap();
    compile(folder.path());
    folder
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn bundles(folder: &Path, arguments: &[&str]) -> Vec<PathBuf> {
    let out = tempfile::tempdir_in(folder).unwrap().keep();
    let mut all = vec!["bundle", "cluster.toml", "--out", out.to_str().unwrap()];
    all.extend(arguments);
    let output = carota(&all, folder);
    assert!(output.status.success(), "{}", said(&output));
    let mut found: Vec<PathBuf> = fs::read_dir(&out)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    found.sort();
    found
}

/// Exits with 2, says this, and writes nothing.
fn refused(folder: &Path, node: &str, what: &str) {
    let out = tempfile::tempdir().unwrap();
    let place = out.path().to_str().unwrap();
    let output = carota(
        &["bundle", "cluster.toml", "--node", node, "--out", place],
        folder,
    );
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains(what), "{}", said(&output));
    assert!(tree(out.path()).is_empty());
}

fn unpack(program: &[&str], tar: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    let output = Command::new(program[0])
        .args(&program[1..])
        .args([
            Path::new("-x"),
            Path::new("-f"),
            tar,
            Path::new("-C"),
            to.path(),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    to
}

/// Whether a node needs a file of the plan: reviewers' own are not for it, nor are files of sets that it is not in.
fn is_for(
    node: &str,
    path: &str,
    plan: &std::collections::BTreeMap<String, (Vec<u8>, bool)>,
) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["plan.json" | "report.html"] => false,
        [phase, "nodes", set, ..] => {
            let table = String::from_utf8(plan[&format!("{phase}/NODES")].0.clone()).unwrap();
            let rows: Vec<&str> = table.lines().collect();
            rows.contains(&format!("{set}\t{node}").as_str())
        }
        _ => true,
    }
}

#[test]
fn a_bundle_is_what_a_node_needs_of_the_plan_and_its_private_files_and_nothing_else() {
    let folder = compiled();
    let (plan, secrets) = (
        tree(&folder.path().join("plan")),
        tree(&folder.path().join("secrets/nodes")),
    );
    let all = bundles(folder.path(), &["--all"]);
    assert_eq!(all.len(), 5);
    let mut private = 0;
    for tar in &all {
        assert_eq!(tar.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let name = tar.file_stem().unwrap().to_str().unwrap();
        let node = &name[name.len() - if name.contains("worker") { 8 } else { 4 }..];
        for program in [&["tar"][..], &["busybox", "tar"]] {
            let to = unpack(program, tar);
            let top = to.path().join(name);
            let needed = plan.iter().filter(|(path, _)| is_for(node, path, &plan));
            let mut wanted = needed
                .clone()
                .map(|(path, file)| (format!("plan/{path}"), file.clone()))
                .chain(
                    secrets
                        .iter()
                        .filter(|(path, _)| path.starts_with(&format!("{node}/")))
                        .map(|(path, file)| (format!("secrets/nodes/{path}"), file.clone())),
                )
                .collect::<std::collections::BTreeMap<_, _>>();
            private += wanted.len() - needed.count();
            let mut found = tree(&top);
            let readme = found.remove("README").unwrap().0;
            assert!(String::from_utf8(readme).unwrap().contains(node));
            found.remove("SHA256SUMS").unwrap();
            assert!(found == wanted, "{name}");
            wanted.retain(|path, _| path.starts_with("secrets"));
            for path in wanted.keys() {
                let mode = top.join(path).metadata().unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{path}");
            }
            let status = Command::new("sha256sum")
                .args(["-c", "--quiet", "--strict", "SHA256SUMS"])
                .current_dir(&top)
                .status();
            assert!(status.unwrap().success());
        }
    }
    // Each was unpacked twice.
    assert_eq!(private, 2 * secrets.len());
    assert!(!secrets.is_empty());
}

#[test]
fn the_same_inputs_give_the_same_bundle_of_nobody_and_no_time() {
    let folder = compiled();
    let first = bundles(folder.path(), &["--node", "cp-1"]).remove(0);
    // A later copy with other modes and times.
    let copy = tempfile::tempdir().unwrap();
    common::copy_tree(folder.path(), copy.path());
    let secret = fs::read_dir(copy.path().join("secrets/nodes/cp-1"))
        .unwrap()
        .next();
    fs::set_permissions(
        secret.unwrap().unwrap().path(),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    let second = bundles(copy.path(), &["--node", "cp-1"]).remove(0);
    assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap());
    let listed = judge(
        "tar",
        &[
            "-t",
            "-v",
            "--numeric-owner",
            "--utc",
            "-f",
            first.to_str().unwrap(),
        ],
        b"",
    );
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.lines().count() > 300);
    for line in listed.lines() {
        let columns: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((columns[1], columns[3]), ("0/0", "1970-01-01"), "{line}");
        assert!(
            matches!(
                columns[0],
                "-rw-r--r--" | "-rwxr-xr-x" | "-rw-------" | "drwxr-xr-x" | "drwx------"
            ),
            "{line}"
        );
    }
    let apply = listed
        .lines()
        .find(|l| l.ends_with("01-distribute-ca/apply.sh"));
    assert!(apply.unwrap().starts_with("-rwxr-xr-x"));
}

#[test]
fn what_is_not_as_it_was_compiled_is_not_packed() {
    let folder = compiled();
    let plan = folder.path().join("plan");
    refused(
        folder.path(),
        "cp-9",
        "cp-1, cp-2, cp-3, worker-1, worker-2",
    );
    let apply = plan.join("01-distribute-ca/apply.sh");
    let text = fs::read_to_string(&apply).unwrap();
    fs::write(&apply, format!("{text}#\n")).unwrap();
    refused(folder.path(), "cp-1", "plan/01-distribute-ca/apply.sh");
    fs::write(&apply, text).unwrap();
    fs::write(plan.join("lib/more.sh"), "").unwrap();
    refused(folder.path(), "cp-1", "plan/lib/more.sh");
    fs::remove_file(plan.join("lib/more.sh")).unwrap();
    let secret = "secrets/nodes/cp-1/01-distribute-ca/etc/kubernetes/pki/ca-new.key";
    fs::remove_file(folder.path().join(secret)).unwrap();
    refused(folder.path(), "cp-1", secret);
    // What another node lacks does not matter; nor what lies beside what this one needs.
    fs::write(folder.path().join("secrets/nodes/cp-2/stray"), "x").unwrap();
    let tar = bundles(folder.path(), &["--node", "cp-2"]).remove(0);
    assert!(
        !tree(unpack(&["tar"], &tar).path())
            .keys()
            .any(|p| p.ends_with("stray"))
    );
}

#[test]
fn a_bundle_for_a_recipient_goes_through_age() {
    let folder = compiled();
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let run = |path: &str| {
        Command::new(env!("CARGO_BIN_EXE_carota"))
            .args([
                "bundle",
                "cluster.toml",
                "--node",
                "worker-1",
                "--recipient",
                "age1x",
            ])
            .current_dir(folder.path())
            .env("PATH", path)
            .output()
            .unwrap()
    };
    let there = || {
        let names = fs::read_dir(folder.path()).unwrap();
        let names = names.map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|n| n.contains("worker-1")).collect::<Vec<_>>()
    };
    let output = run(bin.to_str().unwrap());
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("install age"), "{}", said(&output));
    assert!(there().is_empty(), "{:?}", there());
    let age = bin.join("age");
    fs::write(&age, "#!/bin/sh\necho \"for $*\"\nexec sha256sum\n").unwrap();
    fs::set_permissions(&age, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let output = run(&path);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(there().len(), 1);
    let plain = bundles(folder.path(), &["--node", "worker-1"]).remove(0);
    let hash = judge("sha256sum", &[], &fs::read(plain).unwrap()).stdout;
    let wanted = format!("for -r age1x\n{}", String::from_utf8(hash).unwrap());
    let encrypted = folder.path().join(&there()[0]);
    assert_eq!(fs::read_to_string(&encrypted).unwrap(), wanted);
    assert_eq!(
        encrypted.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    fs::write(&age, "#!/bin/sh\nexit 3\n").unwrap();
    fs::remove_file(encrypted).unwrap();
    assert_eq!(run(&path).status.code(), Some(2));
    assert!(there().is_empty());
}

#[test]
fn without_a_node_both_ways_to_name_some_are_said() {
    let output = carota(&["bundle", "cluster.toml"], Path::new("."));
    assert_eq!(output.status.code(), Some(2));
    let text = said(&output);
    assert!(text.contains("<--node <NAME>|--all>"), "{text}");
    let both = ["bundle", "cluster.toml", "--all", "--node", "cp-1"];
    assert_eq!(carota(&both, Path::new(".")).status.code(), Some(2));
}
