//! What is written, and what must not be touched: a plan/ of somebody else, the old plan while a new
//! one is made, everything when something fails.

use std::fs;
use std::process::Command;

use carota::diagnostic::Code;

use crate::case::{Case, judged, tree};

const TOML: &str = "cluster.toml";

/// A case with a plan, and then a change that gives another one.
fn planned_and_changed() -> Case {
    let case = Case::new();
    case.compiles();
    case.edit(TOML, "window = \"14d\"", "window = \"13d\"")
}

/// The binary under a limit of `blocks` of 512 bytes for any file that it writes.
fn limited(blocks: u32, first: &str) -> Command {
    let script = format!("{first} ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    command.arg(assert_cmd::cargo::cargo_bin!("carota"));
    command
}

#[test]
fn a_plan_that_carota_did_not_write_is_not_touched() {
    for case in [
        Case::new().put("plan/notes.txt", "mine\n"),
        Case::new()
            .put("plan/plan.json", "{}\n")
            .put("plan/SHA256SUMS", "mine\n"),
        Case::new().put("plan", "a file\n"),
        Case::new().link("plan", "snapshot"),
        Case::new().link("plan", "nowhere"),
    ] {
        case.refused_with(Code::OutputForeign);
    }
}

#[test]
fn a_file_that_somebody_put_into_the_plan_is_not_lost() {
    let case = Case::new();
    case.compiles();
    let said = case
        .put("plan/05-apiserver-trust/notes.txt", "mine\n")
        .refused_with(Code::OutputForeign);
    assert!(said.contains("plan/05-apiserver-trust/notes.txt"), "{said}");
}

#[test]
fn the_plan_of_carota_behind_a_link_is_not_touched() {
    let case = Case::new();
    case.compiles();
    fs::rename(case.path("plan"), case.path("elsewhere")).unwrap();
    case.link("plan", "elsewhere")
        .refused_with(Code::OutputForeign);
}

#[test]
fn an_empty_folder_and_the_own_plan_are_replaced() {
    let case = Case::new();
    fs::create_dir(case.path("plan")).unwrap();
    case.compiles();
    let first = case.tree();
    case.compiles();
    assert_eq!(case.tree(), first);
}

#[test]
fn a_compile_that_is_killed_leaves_the_old_plan_and_the_lock_whole() {
    let case = planned_and_changed();
    let plan = tree(&case.path("plan"));
    let lock = case.text("carota.lock");
    for blocks in [1, 8, 32] {
        // The kernel kills with SIGXFSZ in the middle of the first file that grows beyond the limit.
        let output = case.run(&mut limited(blocks, ""));
        assert_eq!(output.status.code(), None, "{output:?}");
        assert_eq!(tree(&case.path("plan")), plan);
        assert_eq!(case.text("carota.lock"), lock);
    }
    case.compiles();
    assert_ne!(tree(&case.path("plan")), plan);
    let left: Vec<_> = fs::read_dir(case.path("")).unwrap().flatten().collect();
    let mut names: Vec<_> = left.iter().map(fs::DirEntry::file_name).collect();
    names.sort();
    assert_eq!(names, ["carota.lock", "cluster.toml", "plan", "snapshot"]);
}

#[test]
fn a_write_that_fails_leaves_everything_as_it_was() {
    let case = planned_and_changed();
    let before = case.tree();
    for blocks in [1, 8, 32] {
        // With the signal ignored, the write itself fails.
        let output = case.run(&mut limited(blocks, "trap '' XFSZ;"));
        judged(&output, Code::OutputFailed);
        assert_eq!(case.tree(), before);
    }
}

#[test]
fn something_in_the_way_is_not_removed() {
    Case::new()
        .put(".carota-plan", "mine\n")
        .refused_with(Code::OutputFailed);
    Case::new()
        .link(".carota-plan", "snapshot")
        .refused_with(Code::OutputFailed);
}

#[test]
fn what_an_interrupted_compile_left_is_removed() {
    let case = Case::new()
        .put(".carota-plan/00-preflight/README.md", "half a fi")
        .put("carota.lock.carota-new", "half a lo");
    case.compiles();
    assert!(!case.path(".carota-plan").exists());
    assert!(!case.path("carota.lock.carota-new").exists());
}

#[test]
fn a_cluster_toml_that_exists_is_not_replaced() {
    let case = Case::new();
    let before = case.tree();
    let output = Command::new(assert_cmd::cargo::cargo_bin!("carota"))
        .args(["init", "snapshot", "--out", TOML])
        .current_dir(case.path(""))
        .output()
        .unwrap();
    judged(&output, Code::OutputFailed);
    assert_eq!(case.tree(), before);
}

#[test]
fn a_plan_with_an_outage_that_nobody_accepted_is_not_written() {
    let case = Case::new().edit(TOML, "accept = [\"outage:workloads\"]\n", "");
    let before = case.tree();
    let output = case.compile();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let last = format!("error[{}]: ", Code::ProofBroken);
    assert_eq!(said.matches(&last).count(), 1, "{said}");
    assert!(said.starts_with(&last), "{said}");
    assert!(said.contains("accept = [\"outage:workloads\"]"), "{said}");
    // The connections hold: there is no more to say than what is away, and when.
    assert!(
        said.contains("  04-restart-in-cluster-clients: outage:workloads: "),
        "{said}"
    );
    assert!(said.lines().count() < 10, "{said}");
    assert_eq!(case.tree(), before);
    for (format, at_top) in [("text", "stdout"), ("json", "stderr")] {
        let output = Command::new(assert_cmd::cargo::cargo_bin!("carota"))
            .args(["prove", TOML, "--format", format])
            .current_dir(case.path(""))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let top = if at_top == "stdout" {
            output.stdout
        } else {
            output.stderr
        };
        let top = String::from_utf8(top).unwrap();
        assert!(top.starts_with(&last), "{format}: {top}");
    }
}

#[test]
fn an_accepted_outage_that_the_plan_does_not_have_is_noted() {
    let more = "accept = [\"outage:workloads\", \"outage:etcd\"]";
    let case = Case::new().edit(TOML, "accept = [\"outage:workloads\"]", more);
    let note = "note: rotation.accept names \"outage:etcd\", which this plan has no need of\n";
    assert!(case.compiles().starts_with(note));
    assert!(!Case::new().compiles().contains("rotation.accept"));
}
