//! `carota diff`: which phases, nodes and objects differ between two plans, and why it matters.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::{carota, compile, copy_tree, edit, record_anew};
use crate::{clone_of, example, said};

/// A clone whose plan of before lies in old/, after a change of its inputs and a compile.
fn changed(change: impl FnOnce(&Path)) -> tempfile::TempDir {
    let folder = clone_of(&example());
    copy_tree(&folder.path().join("plan"), &folder.path().join("old"));
    change(folder.path());
    compile(folder.path());
    folder
}

fn findings(folder: &Path) -> Vec<Value> {
    let output = carota(&["diff", "old", "plan", "--format", "json"], folder);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["same"], false);
    assert!(
        report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .all(|f| !f["why"].as_str().unwrap().is_empty())
    );
    report["findings"].as_array().unwrap().clone()
}

#[test]
fn a_plan_is_the_same_as_itself() {
    let folder = clone_of(&example());
    for format in ["text", "json", "github"] {
        let output = carota(&["diff", "plan", "plan", "--format", format], folder.path());
        assert_eq!(output.status.code(), Some(0));
        let text = said(&output.stdout);
        match format {
            "text" => assert!(text.ends_with("\nthe same\n"), "{text}"),
            "json" => assert!(text.contains("\"findings\": []"), "{text}"),
            _ => assert_eq!(text, ""),
        }
    }
}

#[test]
fn a_manifest_that_changed_since_the_snapshot_shows_in_its_phases_on_its_node() {
    let manifest = "/etc/kubernetes/manifests/kube-apiserver.yaml";
    let folder = changed(|folder| {
        let file = folder.join("snapshot/nodes/cp-2").join(&manifest[1..]);
        edit(&file, "kind: Pod\n", "kind: Pod # mine\n");
        record_anew(&folder.join("snapshot"), "cp-2", manifest);
    });
    let found = findings(folder.path());
    let mut phases = BTreeSet::new();
    for finding in found.iter().filter(|f| f["subject"] == "file") {
        let what = finding["what"].as_str().unwrap();
        assert!(
            what.starts_with(&format!("{manifest} is another before")),
            "{what}"
        );
        assert_eq!(finding["nodes"], serde_json::json!(["cp-2"]));
        phases.insert(finding["phase"].as_str().unwrap().to_owned());
    }
    // Whatever else differs are words and tables.
    let wanted = [
        "00-preflight",
        "05-apiserver-trust",
        "14-leaf-certificates",
        "18-retire-control-plane",
    ];
    assert_eq!(phases, wanted.map(str::to_owned).into());
    let others: Vec<_> = found.iter().filter(|f| f["subject"] != "file").collect();
    assert!(others.iter().all(|f| f["subject"] == "words"), "{others:?}");
    let text = said(&carota(&["diff", "old", "plan"], folder.path()).stdout);
    assert!(
        text.contains("\n05-apiserver-trust\n  The scripts refuse to write over a file"),
        "{text}"
    );
    assert!(text.contains(" (on cp-2)\n"), "{text}");
    let brief = said(&carota(&["diff", "-q", "old", "plan"], folder.path()).stdout);
    assert!(
        brief.lines().any(|l| l == "05-apiserver-trust") && !brief.contains("refuse"),
        "{brief}"
    );
}

#[test]
fn another_window_and_another_outage_are_found_in_the_plan_as_a_whole() {
    let folder = changed(|folder| {
        edit(
            &folder.join("cluster.toml"),
            "window = \"14d\"",
            "window = \"13d\"",
        );
        edit(
            &folder.join("cluster.toml"),
            "accept = [\"outage:workloads\"]",
            "accept = [\"outage:workloads\", \"outage:apiserver\"]",
        );
    });
    let found = findings(folder.path());
    let of = |subject: &str| -> Vec<&str> {
        let with = found
            .iter()
            .filter(|f| f["subject"] == subject && f["phase"].is_null());
        with.map(|f| f["what"].as_str().unwrap()).collect()
    };
    assert_eq!(
        of("rotation"),
        [
            "window: {\"not_after\":1796774400,\"not_before\":1795564800} became {\"not_after\":1796688000,\"not_before\":1795564800}"
        ]
    );
    assert_eq!(of("outages"), ["new: outage:apiserver is accepted"]);
}

#[test]
fn an_object_that_is_gone_and_a_script_that_was_changed_are_found() {
    let folder = clone_of(&example());
    copy_tree(&folder.path().join("plan"), &folder.path().join("old"));
    let gone = "plan/11-bootstrap-trust/cluster/configmaps.kube-public.cluster-info.yaml";
    fs::remove_file(folder.path().join(gone)).unwrap();
    edit(&folder.path().join("plan/lib/node.sh"), "\n", "\n#\n");
    edit(
        &folder.path().join("plan/05-apiserver-trust/apply.sh"),
        "set -eu\n",
        "set -eu\nid\n",
    );
    let found = findings(folder.path());
    let shown: Vec<(Option<&str>, &str, &str)> = found
        .iter()
        .map(|f| {
            (
                f["phase"].as_str(),
                f["subject"].as_str().unwrap(),
                f["what"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (None, "scripts", "lib/node.sh is another"),
            (Some("05-apiserver-trust"), "scripts", "apply.sh is another"),
            (
                Some("11-bootstrap-trust"),
                "objects",
                "cluster/configmaps.kube-public.cluster-info.yaml is gone"
            ),
        ]
    );
    let output = carota(
        &["diff", "old", "plan", "--format", "github"],
        folder.path(),
    );
    let text = said(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with(
            "::warning file=plan/lib/node.sh,line=1::plan%3A lib/node.sh is another. "
        ),
        "{text}"
    );
    // What the newer plan does not have is shown in the older.
    assert!(
        lines[2].starts_with("::warning file=old/11-bootstrap-trust/cluster/configmaps."),
        "{text}"
    );
}

#[test]
fn a_node_that_the_newer_plan_has_lost_is_named_with_what_that_means() {
    let folder = clone_of(&example());
    copy_tree(&folder.path().join("plan"), &folder.path().join("old"));
    let json = folder.path().join("plan/plan.json");
    let mut plan: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    plan["nodes"]
        .as_array_mut()
        .unwrap()
        .retain(|n| n["name"] != "worker-2");
    fs::write(&json, plan.to_string()).unwrap();
    let found = findings(folder.path());
    let nodes: Vec<&Value> = found.iter().filter(|f| f["subject"] == "nodes").collect();
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0]["what"], "gone: worker-2");
    assert_eq!(nodes[0]["nodes"], serde_json::json!(["worker-2"]));
    assert!(nodes[0]["why"].as_str().unwrap().contains("locked out"));
}

#[test]
fn what_is_no_plan_is_bad_input() {
    let folder = clone_of(&example());
    for (old, new) in [
        ("plan", "snapshot"),
        ("nothing", "plan"),
        ("plan", "cluster.toml"),
    ] {
        let output = carota(&["diff", old, new], folder.path());
        assert_eq!(output.status.code(), Some(2), "{old} {new}");
        assert!(output.stdout.is_empty());
        let text = said(&output.stderr);
        assert!(
            text.starts_with("error[C007]: ") && text.contains("plan.json:1:1"),
            "{text}"
        );
    }
    fs::write(folder.path().join("plan/plan.json"), "{").unwrap();
    let output = carota(&["diff", "plan", "plan"], folder.path());
    assert!(said(&output.stderr).starts_with("error[C041]: "));
}
