//! docs/ci/: the commands in the workflow, the job and the hook do what they say, in a clone without
//! secrets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_yaml::Value;

use crate::common::{copy_tree, edit, judge};
use crate::{clone_of, example, said};

fn ci(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A git repository with the example's inputs and plan in a folder, committed as `main`.
struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Repository {
        let repository = Repository(tempfile::tempdir().unwrap());
        let clone = clone_of(&example());
        copy_tree(clone.path(), &repository.path().join("clusters/a lab"));
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository.commit();
        repository
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn cluster(&self) -> PathBuf {
        self.path().join("clusters/a lab")
    }

    fn git(&self, arguments: &[&str]) {
        let output = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@localhost"])
            .args(arguments)
            .current_dir(self.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            said(&output.stderr)
        );
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", "change"]);
    }

    /// Runs a command of a file, as a runner does.
    fn run(&self, command: &str) -> Output {
        let program = Path::new(env!("CARGO_BIN_EXE_carota")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        Command::new("sh")
            .args(["-e", "-c", command])
            .current_dir(self.path())
            .env("PATH", format!("{}:{path}", program.display()))
            .env("BASE", "main")
            .output()
            .unwrap()
    }
}

/// The steps of the workflow that run something, by name.
fn steps_of_github() -> Vec<(String, String)> {
    let workflow = ci("docs/ci/github.yml");
    let steps = workflow["jobs"]["check"]["steps"].as_sequence().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let running = steps.iter().filter(|step| !step["run"].is_null());
    running
        .map(|step| (text(&step["name"]), text(&step["run"])))
        .collect()
}

fn commands_of_gitlab() -> Vec<String> {
    let job = ci("docs/ci/gitlab.yml");
    let lines = job["carota"]["script"].as_sequence().unwrap();
    lines
        .iter()
        .map(|line| line.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_workflows_commands_pass_where_the_plan_is_what_its_inputs_give() {
    let repository = Repository::new();
    let steps = steps_of_github();
    assert_eq!(steps.len(), 4);
    let install = "cargo install --locked --git \"$CAROTA_GIT\" --rev \"$CAROTA_COMMIT\" carota";
    assert_eq!(steps[0].1, install);
    for (name, command) in &steps[1..] {
        let output = repository.run(command);
        assert!(output.status.success(), "{name}: {}", said(&output.stderr));
        assert_eq!(said(&output.stdout), "", "{name}");
    }
    for command in commands_of_gitlab() {
        let output = repository.run(&command);
        assert!(
            output.status.success(),
            "{command}: {}",
            said(&output.stderr)
        );
    }
}

#[test]
fn the_workflow_fails_with_an_annotation_at_a_tampered_file() {
    let repository = Repository::new();
    edit(
        &repository
            .cluster()
            .join("plan/05-apiserver-trust/apply.sh"),
        "set -eu\n",
        "set -eu\nid\n",
    );
    let output = repository.run(&steps_of_github()[2].1);
    assert!(!output.status.success());
    let text = said(&output.stdout);
    assert!(
        text.starts_with("::error file=clusters/a lab/plan/05-apiserver-trust/apply.sh,line="),
        "{text}"
    );
    let output = repository.run(&commands_of_gitlab()[1]);
    assert!(!output.status.success());
    assert!(said(&output.stdout).contains("\n+id\n"));
}

#[test]
fn the_workflow_shows_how_a_plan_differs_from_the_one_before() {
    let repository = Repository::new();
    edit(
        &repository.cluster().join("plan/lib/node.sh"),
        "\n",
        "\n#\n",
    );
    let (name, command) = steps_of_github().pop().unwrap();
    let output = repository.run(&command);
    assert!(output.status.success(), "{name}: {}", said(&output.stderr));
    let text = said(&output.stdout);
    assert!(
        text.starts_with("::warning file=clusters/a lab/plan/lib/node.sh,line=1::"),
        "{text}"
    );
    // A plan that cannot be compared is no difference but a failure.
    let repository = Repository::new();
    fs::write(repository.cluster().join("plan/plan.json"), "{").unwrap();
    assert!(!repository.run(&command).status.success());
}

#[test]
fn a_committed_secret_stops_either() {
    let repository = Repository::new();
    fs::create_dir_all(repository.cluster().join("secrets/keyring")).unwrap();
    fs::write(
        repository.cluster().join("secrets/keyring/cluster.key"),
        "x",
    )
    .unwrap();
    repository.commit();
    assert!(!repository.run(&steps_of_github()[1].1).status.success());
    assert!(!repository.run(&commands_of_gitlab()[0]).status.success());
}

#[test]
fn the_hook_runs_a_check_for_whatever_belongs_to_a_plan() {
    let hooks = ci(".pre-commit-hooks.yaml");
    let hook = &hooks[0];
    assert_eq!(
        hook["id"],
        ci("docs/ci/pre-commit-config.yaml")["repos"][0]["hooks"][0]["id"]
    );
    let mut command = hook["entry"].as_str().unwrap().to_owned();
    for argument in hook["args"].as_sequence().unwrap() {
        command.push(' ');
        command.push_str(argument.as_str().unwrap());
    }
    assert_eq!(command, "carota check --quiet cluster.toml");
    let repository = Repository::new();
    let run = || repository.run(&format!("cd 'clusters/a lab' && {command}"));
    assert!(run().status.success());
    edit(
        &repository.cluster().join("plan/README.md"),
        "What could go wrong",
        "x",
    );
    let output = run();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        said(&output.stdout),
        "plan/README.md is not what the inputs give\n"
    );
    // The pattern is one that grep -E knows too.
    let files = hook["files"].as_str().unwrap();
    let fits = |path: &str| {
        judge("grep", &["-cE", files], path.as_bytes())
            .status
            .success()
    };
    for path in [
        "cluster.toml",
        "a/carota.lock",
        "a/plan/01-x/PHASE",
        "snapshot/nodes/cp-1/FILES",
    ] {
        assert!(fits(path), "{path}");
    }
    for path in ["README.md", "my-cluster.toml", "src/plans.rs"] {
        assert!(!fits(path), "{path}");
    }
}

#[test]
fn the_commands_are_clean_shell() {
    let mut commands: Vec<String> = steps_of_github().into_iter().map(|(_, run)| run).collect();
    commands.extend(commands_of_gitlab());
    for command in commands {
        let script = format!("#!/bin/sh\n{command}\n");
        // The inner script's variables are the inner shell's: SC2016 is what is meant there.
        let output = judge("shellcheck", &["-e", "SC2016", "-"], script.as_bytes());
        assert!(output.status.success(), "{}", said(&output.stdout));
    }
}
