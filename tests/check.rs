//! `carota check` finds whatever is not what the inputs give, without any secret.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use common::{carota, copy_tree, edit, examples, inputs_of};

/// A clone of an example: inputs and plan, no secrets.
fn clone(example: &Path) -> tempfile::TempDir {
    let folder = inputs_of(example);
    copy_tree(&example.join("plan"), &folder.path().join("plan"));
    folder
}

fn current() -> tempfile::TempDir {
    clone(
        &examples()
            .into_iter()
            .find(|e| e.ends_with("kubeadm-ha"))
            .unwrap(),
    )
}

/// Changes a clone and says what a check prints of it, which must be a difference.
fn found(change: impl FnOnce(&Path)) -> String {
    let folder = current();
    change(folder.path());
    let output = carota(&["check", "cluster.toml"], folder.path());
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_examples_are_the_same_in_a_clone_without_secrets() {
    for example in examples() {
        let folder = clone(&example);
        let output = carota(&["check", "cluster.toml"], folder.path());
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        let sums = fs::read(example.join("plan/SHA256SUMS")).unwrap();
        let digest = common::judge("sha256sum", &[], &sums).stdout;
        let digest = String::from_utf8(digest).unwrap()[..64].to_owned();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            format!("the same, digest {digest}\n")
        );
    }
}

/// The collector writes `kubectl version` beside the lists of objects.
#[test]
fn the_version_of_a_collected_cluster_is_no_list_of_objects() {
    let folder = current();
    fs::write(
        folder.path().join("snapshot/cluster/version.yaml"),
        "clientVersion:\n  gitVersion: v1.34.4\nserverVersion:\n  gitVersion: v1.34.4\n",
    )
    .unwrap();
    let output = carota(&["check", "cluster.toml"], folder.path());
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_kind_of_tampering_is_found_at_its_place() {
    let script = "plan/05-apiserver-trust/apply.sh";
    let text = found(|f| edit(&f.join(script), "set -eu\n", "set -eu\nid\n"));
    assert!(text.starts_with(&format!("{script} is not what the inputs give\n")));
    assert!(text.contains("\n+id\n"), "{text}");

    let certificate = "plan/14-leaf-certificates/nodes/cp-1/etc/kubernetes/pki/apiserver.crt";
    let text = found(|f| edit(&f.join(certificate), "-----END", "\n-----END"));
    assert!(text.starts_with(&format!("{certificate} is not what the inputs give\n")));

    let text = found(|f| {
        edit(
            &f.join("plan/README.md"),
            "What could go wrong",
            "Nothing can go wrong",
        );
    });
    assert!(
        text.contains(
            "-## What could go wrong, and what is accepted\n+## Nothing can go wrong, and what is accepted\n"
        ),
        "{text}"
    );

    let text = found(|f| fs::write(f.join("plan/lib/extra.sh"), "id\n").unwrap());
    assert_eq!(text, "plan/lib/extra.sh is not part of the plan\n");

    let text = found(|f| fs::remove_file(f.join("plan/plan.json")).unwrap());
    assert_eq!(text, "plan/plan.json is missing\n");

    let text = found(|f| {
        fs::set_permissions(f.join(script), fs::Permissions::from_mode(0o644)).unwrap();
    });
    assert_eq!(text, format!("{script} has the wrong mode\n"));

    let text = found(|f| {
        fs::remove_file(f.join(script)).unwrap();
        symlink("/bin/true", f.join(script)).unwrap();
    });
    assert_eq!(text, format!("{script} is not what the inputs give\n"));

    let text = found(|f| fs::remove_dir_all(f.join("plan")).unwrap());
    assert!(
        text.starts_with("no plan/ here: run `carota compile`"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");

    // Any input that changes shows in the plan.
    let text = found(|f| {
        edit(
            &f.join("cluster.toml"),
            "window = \"14d\"",
            "window = \"13d\"",
        );
    });
    assert!(text.contains("plan/01-distribute-ca/PHASE is not what the inputs give\n"));
}

#[test]
fn other_programs_get_json_and_annotations() {
    let folder = current();
    edit(
        &folder.path().join("plan/README.md"),
        "What could go wrong",
        "x",
    );
    let output = carota(
        &["check", "cluster.toml", "--format", "json"],
        folder.path(),
    );
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["same"], false);
    assert_eq!(report["differences"][0]["path"], "plan/README.md");
    assert_eq!(report["differences"][0]["kind"], "altered");
    let line = report["differences"][0]["line"].as_u64().unwrap();
    let output = carota(
        &["check", "cluster.toml", "--format", "github"],
        folder.path(),
    );
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!(
            "::error file=plan/README.md,line={line}::plan/README.md is not what the inputs give\n"
        )
    );
}

#[test]
fn what_the_lock_lacks_is_bad_input_and_never_issued() {
    let folder = current();
    fs::remove_file(folder.path().join("carota.lock")).unwrap();
    let output = carota(&["check", "cluster.toml"], folder.path());
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("error[C021]"), "{text}");
    assert!(!folder.path().join("carota.lock").exists());
}
