//! The plan's playbooks, run by a real `ansible-playbook` on the sandbox roots of six nodes: what they do is
//! what the scripts do, and where a script stops they stop.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::laid_out;
use crate::layouts;
use crate::made::Made;
use crate::world::{World, assert_same, text};

/// Whether Ansible is on this machine. Says so where it is not.
fn ansible_is_here() -> bool {
    let runs = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let here = runs("ansible-playbook") && runs("ansible-lint");
    if !here {
        eprintln!("ansible-core and ansible-lint are not installed: the playbooks are not run");
    }
    here
}

/// The hosts of an inventory as a person keeps it beside the plan's: each a root on this machine.
struct Fleet<'a> {
    world: &'a World<'a>,
    made: &'a Made,
    dir: tempfile::TempDir,
}

impl<'a> Fleet<'a> {
    fn new(world: &'a World<'a>, made: &'a Made) -> Self {
        let dir = made.temporary();
        let mut hosts = String::from("all:\n  hosts:\n");
        for node in &made.nodes {
            let shell = dir.path().join(format!("shell-{node}"));
            fs::write(&shell, wrapper(world, node)).unwrap();
            fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).unwrap();
            let home = dir.path().join("homes").join(node);
            fs::create_dir_all(home.parent().unwrap()).unwrap();
            let _ = write!(
                hosts,
                "    {node}:\n      ansible_connection: local\n      ansible_become: false\n      carota_home: {}\n      carota_shell: [{}]\n",
                home.display(),
                shell.display()
            );
        }
        fs::write(dir.path().join("hosts.yml"), hosts).unwrap();
        Fleet { world, made, dir }
    }

    fn playbooks(&self) -> PathBuf {
        self.made.folder().join("plan/ansible")
    }

    fn play(&self, playbook: &str, arguments: &[&str]) -> Output {
        let variables = format!(
            "carota_bundles={} carota_digest={}",
            self.made.bundles().display(),
            self.made.digest
        );
        Command::new("ansible-playbook")
            .args(["-i", "inventory.yml", "-i"])
            .arg(self.dir.path().join("hosts.yml"))
            .args(["-e", &variables, playbook])
            .args(arguments)
            .env("ANSIBLE_NOCOLOR", "1")
            .env("ANSIBLE_LOCALHOST_WARNING", "False")
            .env("ANSIBLE_PYTHON_INTERPRETER", "auto_silent")
            .env("ANSIBLE_LOCAL_TEMP", self.dir.path().join("tmp"))
            .env("ANSIBLE_REMOTE_TEMP", self.dir.path().join("tmp"))
            .env("ANSIBLE_RETRY_FILES_ENABLED", "False")
            .env("HOME", self.dir.path())
            .env("LC_ALL", "C.UTF-8")
            .current_dir(self.playbooks())
            .output()
            .unwrap()
    }

    fn succeeds(&self, playbook: &str, arguments: &[&str]) -> String {
        let output = self.play(playbook, arguments);
        let said = text(&output);
        assert!(output.status.success(), "{playbook}: {said}");
        said
    }

    fn fails(&self, playbook: &str, arguments: &[&str], with: &str) -> String {
        let output = self.play(playbook, arguments);
        let said = text(&output);
        assert!(!output.status.success(), "{playbook}: {said}");
        assert!(said.contains(with), "{playbook}: {said}");
        said
    }

    /// Whether a phase is done on this node.
    fn finished(&self, node: &str, phase: &str) -> bool {
        let state = self.world.root(node).join("var/lib/carota");
        let plans = fs::read_dir(state).into_iter().flatten();
        plans
            .flatten()
            .any(|plan| plan.path().join(phase).join("done").exists())
    }
}

/// What stands for the node's shell: it sets what the world's own runs of scripts have.
fn wrapper(world: &World, node: &str) -> String {
    let quoted = |text: &Path| format!("'{}'", text.display().to_string().replace('\'', "'\\''"));
    let exec = |of: Option<&str>, more: &str| {
        let command = world.command("00-preflight", "apply", of);
        let mut out = String::new();
        for (name, value) in command.get_envs() {
            let name = name.to_str().unwrap();
            match value {
                Some(value) => {
                    let _ = writeln!(out, "export {name}={}", quoted(Path::new(value)));
                }
                None => {
                    let _ = writeln!(out, "unset {name}");
                }
            }
        }
        let shell = quoted(Path::new(command.get_program()));
        format!("{out}exec {shell} \"$@\" --timeout 5 {more}\n")
    };
    let root = quoted(&world.root(node));
    format!(
        "#!/bin/sh\ncase \" $* \" in\n*' --cluster '*)\n{};;\n*)\n{};;\nesac\n",
        exec(None, ""),
        exec(Some(node), &format!("--root {root}"))
    )
}

#[test]
fn ansible_runs_the_same_scripts_and_stops_where_they_stop() {
    if !ansible_is_here() {
        return;
    }
    let made = laid_out(layouts::EXTERNAL_ETCD);
    assert!(made.nodes.len() >= 6);
    let world = World::new(&made, Some(0));
    let fleet = Fleet::new(&world, &made);
    let start = world.all_files();
    lint(&fleet);
    let syntax = fleet.succeeds("site.yml", &["--syntax-check"]);
    assert!(!syntax.contains("WARNING"), "{syntax}");

    // Private files are carried, and never shown.
    fleet.fails(
        "01-distribute-ca.yml",
        &["--check"],
        "run bundles.yml first",
    );
    let said = fleet.succeeds("bundles.yml", &["-vvv", "--diff"]);
    for node in &made.nodes {
        for key in private_lines(&made.carried(node).join("secrets")) {
            assert!(!said.contains(&key), "a private key of {node} is shown");
        }
    }
    let key = format!("homes/cp-1/carota-{}-cp-1/secrets", made.id());
    assert!(!private_lines(&fleet.dir.path().join(&key)).is_empty());
    assert_same(&world.all_files(), &start, "bundles are carried");
    // A run that ended while it unpacked: what is there is no bundle, and does not stay.
    let bundle = fleet.dir.path().join(&key);
    let bundle = bundle.parent().unwrap();
    let part = bundle.with_extension("part");
    fs::create_dir(&part).unwrap();
    fs::rename(bundle, part.join(bundle.file_name().unwrap())).unwrap();
    fleet.succeeds("bundles.yml", &["--limit", "cp-1"]);
    assert!(!private_lines(&bundle.join("secrets")).is_empty());
    assert!(!part.exists());

    // A check shows what would change, and changes nothing.
    // What a person has to confirm is asked for, between the halves of a phase too.
    fleet.fails("00-preflight.yml", &[], "--ack 00-preflight");
    let acks = ["-e", "{\"carota_acks\": [\"00-preflight\"]}"];
    fleet.succeeds("00-preflight.yml", &acks);
    let checked = world.all_files();
    let said = fleet.succeeds("01-distribute-ca.yml", &["--check", "--diff"]);
    assert!(
        said.contains("would write /etc/kubernetes/pki/ca-bundle.crt"),
        "{said}"
    );
    assert_same(&world.all_files(), &checked, "--check");

    // One host in the middle is not as planned for: those after it are left alone.
    let stray = world
        .root("etcd-2")
        .join("etc/kubernetes/pki/etcd/ca-bundle.crt");
    fs::write(&stray, "by hand\n").unwrap();
    let (phase, playbook) = ("01-distribute-ca", "01-distribute-ca.yml");
    fleet.fails(playbook, &acks, "this node is not as the plan expects");
    let finished = |fleet: &Fleet| -> Vec<String> {
        let nodes = made.nodes.iter().filter(|node| fleet.finished(node, phase));
        nodes.cloned().collect()
    };
    assert_eq!(finished(&fleet), ["cp-1", "cp-2", "etcd-1"]);
    fs::remove_file(&stray).unwrap();
    let rest = ["--limit", "etcd-2,etcd-3,worker-1"];
    fleet.succeeds(playbook, &[acks, rest].concat());
    assert_eq!(finished(&fleet), made.nodes);
    let again = fleet.succeeds(playbook, &acks);
    assert!(!again.contains("changed=1"), "{again}");

    // The other half is kubectl's.
    let phase = "02-controller-manager-root-ca";
    fleet.succeeds("02-controller-manager-root-ca.yml", &acks);
    let acks = [
        "-e",
        "{\"carota_acks\": [\"02-controller-manager-root-ca\"], \"carota_kubectl\": \"cp-2\"}",
    ];
    fleet.succeeds("03-service-account-trust.yml", &acks);
    assert!(fleet.finished("cp-2", phase) && !fleet.finished("worker-1", phase));

    // Whoever starts again from the top comes past phases whose files later ones have changed.
    let again = fleet.succeeds("00-preflight.yml", &acks);
    assert!(!again.contains("changed=1"), "{again}");
    fleet.succeeds("01-distribute-ca.yml", &acks);

    // And back, the last phase first.
    for phase in ["03-service-account-trust", phase, "01-distribute-ca"] {
        let variables = format!(
            "{{\"carota_phase\": \"{phase}\", \"carota_options\": [\"--i-checked\"], \
             \"carota_acks\": [\"undone-04-restart-in-cluster-clients\"]}}"
        );
        fleet.succeeds("rollback.yml", &["-e", &variables]);
    }
    assert_same(&world.all_files(), &start, "all rolled back");
    fleet.succeeds("forget.yml", &[]);
    let home = fleet.dir.path().join("homes/cp-1");
    assert_eq!(fs::read_dir(home).unwrap().count(), 0);
}

fn lint(fleet: &Fleet) {
    let names = fs::read_dir(fleet.playbooks()).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "tasks" && name != "inventory.yml")
        .collect();
    names.sort();
    assert!(names.len() > 20, "{names:?}");
    let output = Command::new("ansible-lint")
        .args(["--offline", "--nocolor", "--profile", "production"])
        .args(&names)
        .env("HOME", fleet.dir.path())
        .env("LC_ALL", "C.UTF-8")
        .current_dir(fleet.playbooks())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

/// A line of each private key below a folder.
fn private_lines(folder: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            out.extend(private_lines(&path));
        } else if let Ok(text) = fs::read_to_string(&path)
            && text.contains("PRIVATE KEY")
        {
            out.extend(text.lines().nth(1).map(str::to_owned));
        }
    }
    out
}
