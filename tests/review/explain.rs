//! `carota explain`: a phase, a code or a file of a plan, in the words that stand where it is declared.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use carota::diagnostic::Code;
use carota::explain::gaps::GAPS;
use carota::phases::PHASES;
use carota::render::kinds::{self, KINDS};

use crate::common::{carota, copy_tree, edit, examples, judge, phases, table, tree};
use crate::example;

fn explained(what: &str, folder: &Path) -> String {
    let output = carota(&["explain", what], folder);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{what}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(what: &str, folder: &Path) -> String {
    let output = carota(&["explain", what], folder);
    assert_eq!(output.status.code(), Some(2), "{what}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

/// Folded lines as one.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_phase_is_explained_by_number_name_and_directory_in_the_words_of_its_readme() {
    let page = explained("05", &example());
    for what in ["5", "apiserver-trust", "05-apiserver-trust"] {
        assert_eq!(explained(what, &example()), page, "{what}");
    }
    assert!(page.contains("step 5 of 'Manual Rotation of CA Certificates'"));
    for phase in &PHASES {
        let directory = phase.directory();
        let page = squeezed(&explained(&directory, &example()));
        let readme = example().join("plan").join(&directory).join("README.md");
        let readme = fs::read_to_string(readme).unwrap();
        for heading in ["## Why\n\n", "## Way back\n\n"] {
            let said = readme
                .split_once(heading)
                .unwrap()
                .1
                .lines()
                .next()
                .unwrap();
            let said = said.split(" Run `sh rollback.sh").next().unwrap();
            assert!(page.contains(&squeezed(said)), "{directory}: {said}");
        }
    }
}

#[test]
fn a_manifest_of_the_plan_is_explained_with_its_hashes_nodes_step_rule_and_diff() {
    let path = "05-apiserver-trust/nodes/cp-1/etc/kubernetes/manifests/kube-apiserver.yaml";
    let page = explained(&format!("plan/{path}"), &example());
    let hash = |file: &Path| {
        let output = judge("sha256sum", &[], &fs::read(file).unwrap()).stdout;
        String::from_utf8(output).unwrap()[..64].to_owned()
    };
    let manifest = "snapshot/nodes/cp-1/etc/kubernetes/manifests/kube-apiserver.yaml";
    let before = hash(&example().join(manifest));
    let after = hash(&example().join("plan").join(path));
    let text = squeezed(&page);
    for said in [
        "on nodes cp-1 path /etc/kubernetes/manifests/kube-apiserver.yaml",
        "page step 5 of 'Manual Rotation of CA Certificates'",
        "step 1 of 1: point the API server's trust at bundles",
        &format!("before {before} (as in {manifest})"),
        &format!("after {after} (mode 0600, owner 0:0)"),
        "private nothing private is in it",
        "restarts this static pod, by the change itself, on cp-1",
        "Rule Flags move, files do not",
        "Safe until phase 12 begins",
    ] {
        assert!(text.contains(said), "no `{said}` in\n{page}");
    }
    assert!(page.contains("\n+    - --client-ca-file=/etc/kubernetes/pki/ca-bundle.crt\n"));
    // From inside the plan, and from beside the folder, it is the same file.
    let inside = explained(path, &example().join("plan"));
    let beside = explained(
        &format!("kubeadm-ha/plan/{path}"),
        example().parent().unwrap(),
    );
    let rest = |page: &str| page.split_once('\n').unwrap().1.to_owned();
    assert_eq!(rest(&inside), rest(&page));
    assert_eq!(rest(&beside), rest(&page));
    let upwards = explained(&format!("../{path}"), &example().join("plan/lib"));
    assert_eq!(rest(&upwards), rest(&page));
}

#[test]
fn a_file_that_several_nodes_share_is_found_by_each_of_them() {
    let of = |set: &str| {
        format!(
            "plan/06-control-plane-trust/nodes/{set}/etc/kubernetes/manifests/kube-controller-manager.yaml"
        )
    };
    let shared = explained(&of("@control-planes"), &example());
    let own = explained(&of("cp-2"), &example());
    assert_eq!(
        shared.split_once('\n').unwrap().1,
        own.split_once('\n').unwrap().1
    );
    assert!(squeezed(&own).contains("on nodes cp-1, cp-2, cp-3 path"));
    // Its pre-image is what an earlier phase left.
    assert!(
        squeezed(&own).contains("(as plan/02-controller-manager-root-ca/nodes/@control-planes/")
    );
    refused(&of("worker-1"), &example());
}

#[test]
fn a_certificate_is_explained_with_the_one_that_it_replaces_and_the_lock_that_pins_it() {
    let path = "plan/14-leaf-certificates/nodes/cp-1/etc/kubernetes/pki/apiserver.crt";
    let text = squeezed(&explained(path, &example()));
    let facts = judge(
        "openssl",
        &["x509", "-noout", "-fingerprint", "-sha256"],
        &fs::read(example().join(path)).unwrap(),
    );
    let facts = String::from_utf8(facts.stdout).unwrap().replace(':', "");
    let fingerprint = facts.trim().split('=').nth(1).unwrap().to_lowercase();
    assert!(text.contains(&format!("CN=kube-apiserver (SHA-256 {fingerprint})")));
    assert!(
        text.contains("made from the file before it; carota.lock [leaf.\""),
        "{text}"
    );
    let bundle = "plan/01-distribute-ca/nodes/cp-1/etc/kubernetes/pki/ca-bundle.crt";
    let text = squeezed(&explained(bundle, &example()));
    assert!(
        text.contains("the old cluster CA CN=kubernetes (SHA-256 "),
        "{text}"
    );
    assert!(text.contains("the new cluster CA CN=kubernetes-ca-2026-11-25 (SHA-256 "));
    assert!(text.contains("carota.lock [ca.\"cluster\"]"));
}

#[test]
fn an_object_is_explained_with_its_way_back_and_its_part_of_the_diff() {
    let path = "plan/11-bootstrap-trust/cluster/configmaps.kube-public.cluster-info.yaml";
    let page = explained(path, &example());
    let text = squeezed(&page);
    assert!(
        text.contains("object configmaps/kube-public/cluster-info"),
        "{page}"
    );
    assert!(text.contains("(cluster/back-configmaps.kube-public.cluster-info.yaml)"));
    assert!(
        page.contains("\n# configmaps/kube-public/cluster-info\n# applied\n"),
        "{page}"
    );
}

#[test]
fn every_file_of_every_plan_can_be_explained_and_every_kind_occurs() {
    let mut patterns = BTreeSet::new();
    for example in examples() {
        for path in tree(&example.join("plan")).into_keys() {
            let path = format!("plan/{path}");
            let kind = kinds::of(&path).unwrap_or_else(|| panic!("{path} is of no kind"));
            patterns.insert(kind.pattern);
        }
        // What a change is made of is found for each line that writes.
        for phase in phases(&example.join("plan")).iter().skip(1).step_by(6) {
            let directory = phase.file_name().unwrap().to_str().unwrap();
            for row in table(&phase.join("CHANGES"))
                .iter()
                .filter(|r| r[2] == "write")
                .take(3)
            {
                let text = explained(
                    &format!("plan/{directory}/nodes/{}{}", row[1], row[3]),
                    &example,
                );
                let text = squeezed(&text);
                assert!(text.contains(&format!("before {}", row[6])), "{text}");
                assert!(text.contains(&format!("after {}", row[7])), "{text}");
            }
        }
    }
    for kind in &KINDS {
        let in_plan = kind.pattern.starts_with("plan/") && kind.pattern != "plan/NN";
        if in_plan {
            assert!(
                patterns.contains(kind.pattern),
                "{} occurs nowhere",
                kind.pattern
            );
        }
    }
}

#[test]
fn a_file_that_was_changed_after_the_compile_is_not_explained_as_if_it_were_not() {
    let folder = tempfile::tempdir().unwrap();
    copy_tree(&example().join("plan"), &folder.path().join("plan"));
    let manifest =
        "plan/05-apiserver-trust/nodes/cp-1/etc/kubernetes/manifests/kube-apiserver.yaml";
    edit(
        &folder.path().join(manifest),
        "kind: Pod\n",
        "kind: Pod\n#\n",
    );
    let text = explained(manifest, folder.path());
    assert!(
        squeezed(&text).contains("was changed after the compile"),
        "{text}"
    );
    edit(&folder.path().join("plan/README.md"), "## ", "### ");
    let text = explained("plan/README.md", folder.path());
    assert!(
        squeezed(&text).contains("was changed after the compile"),
        "{text}"
    );
}

#[test]
fn a_private_file_is_named_and_never_opened() {
    let folder = tempfile::tempdir().unwrap();
    copy_tree(&example().join("plan"), &folder.path().join("plan"));
    let key = "secrets/keyring/cluster.key";
    fs::create_dir_all(folder.path().join("secrets/keyring")).unwrap();
    fs::write(folder.path().join(key), "hidden").unwrap();
    let text = explained(key, folder.path());
    assert!(
        text.contains("a private file") && !text.contains("hidden"),
        "{text}"
    );
}

#[test]
fn what_is_mistyped_is_answered_with_the_nearest_name() {
    let folder = example();
    for (typed, meant) in [
        ("apiserver-trst", "apiserver-trust"),
        ("05-apiserver", "05-apiserver-trust"),
        (
            "plan/05-apiserver-trust/phase.dif",
            "plan/05-apiserver-trust/phase.diff",
        ),
        ("plan/READM.md", "plan/README.md"),
        (
            "plan/14-leaf-certificates/nodes/cp-1/etc/kubernetes/pki/apiservr.crt",
            "plan/14-leaf-certificates/nodes/cp-1/etc/kubernetes/pki/apiserver.crt",
        ),
    ] {
        let error = refused(typed, &folder);
        assert!(error.starts_with("error[C040]: "), "{error}");
        assert!(
            error.contains(&format!("did you mean `{meant}`?")),
            "{typed}: {error}"
        );
    }
    for nothing in [
        "C999",
        "21",
        "../nothing",
        "/etc/passwd",
        "plan/lib/../../../x",
    ] {
        let error = refused(nothing, &folder);
        assert!(
            error.contains("name a diagnostic code (C001)"),
            "{nothing}: {error}"
        );
    }
    assert_eq!(Code::UnknownSubject.id(), "C040");
}

#[test]
fn a_path_that_the_plan_does_not_have_is_said_to_be_missing() {
    let error = refused("plan/nope", &example());
    assert!(error.contains("there is no file `plan/nope`"), "{error}");
    assert!(error.contains("plan/SHA256SUMS lists the files"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let error = refused("plan/README.md", folder.path());
    assert!(
        error.contains("there is no compiled plan at `plan`"),
        "{error}"
    );
    copy_tree(&example().join("plan"), &folder.path().join("plan"));
    fs::write(folder.path().join("plan/notes.txt"), "").unwrap();
    let error = refused("plan/notes.txt", folder.path());
    assert!(error.contains("is no file that carota writes"), "{error}");
}

#[test]
fn a_plan_of_another_version_is_refused_at_its_place() {
    let folder = tempfile::tempdir().unwrap();
    copy_tree(&example().join("plan"), &folder.path().join("plan"));
    edit(
        &folder.path().join("plan/plan.json"),
        "\"carota\": 1",
        "\"carota\": 99",
    );
    let error = refused("plan/README.md", folder.path());
    assert!(error.starts_with("error[C041]: "), "{error}");
    assert!(
        error.contains("--> plan/plan.json:1:1") || error.contains("--> ./plan/plan.json:1:1"),
        "{error}"
    );
    assert_eq!(Code::PlanUnreadable.id(), "C041");
}

#[test]
fn the_pages_of_docs_are_what_the_program_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in ["diagnostics", "gaps", "phases"] {
        let output = carota(&["document", page], root);
        let committed = fs::read_to_string(root.join(format!("docs/{page}.md"))).unwrap();
        assert!(
            String::from_utf8(output.stdout).unwrap() == committed,
            "docs/{page}.md is not what `carota document {page}` prints"
        );
    }
    let text = fs::read_to_string(root.join("docs/diagnostics.md")).unwrap();
    for code in Code::ALL {
        assert_eq!(text.matches(&format!("\n## {code}\n")).count(), 1, "{code}");
        assert!(text.contains(code.explanation()), "{code}");
    }
}

/// Numbers such as `G3` in a text.
fn gaps_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let numbered = |word: &&str| {
        let digits = word.strip_prefix('G').unwrap_or_default();
        !digits.is_empty() && digits.len() <= 2 && digits.bytes().all(|b| b.is_ascii_digit())
    };
    words.filter(numbered).map(str::to_owned).collect()
}

#[test]
fn every_gap_that_is_cited_is_explained_with_the_phases_that_close_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ids: Vec<&str> = GAPS.iter().map(|gap| gap.id).collect();
    let numbered: Vec<String> = (1..=20).map(|n| format!("G{n}")).collect();
    assert_eq!(ids, numbered);
    let mut cited = gaps_in(&fs::read_to_string(root.join("README.md")).unwrap());
    for phase in &PHASES {
        for id in gaps_in(&phase.why_text()) {
            let gap = GAPS.iter().find(|gap| gap.id == id).unwrap();
            assert!(
                gap.phases.contains(&phase.number),
                "{id} is cited in {}",
                phase.name
            );
            cited.insert(id);
        }
    }
    for example in examples() {
        for path in tree(&example.join("plan"))
            .into_keys()
            .filter(|p| p.ends_with("README.md"))
        {
            cited.append(&mut gaps_in(
                &fs::read_to_string(example.join("plan").join(path)).unwrap(),
            ));
        }
    }
    assert!(cited.len() >= 12, "{cited:?}");
    assert!(
        cited.iter().all(|id| ids.contains(&id.as_str())),
        "{cited:?}"
    );
    for gap in &GAPS {
        assert!(
            gap.phases.is_sorted() && !gap.phases.is_empty(),
            "{}",
            gap.id
        );
        let page = squeezed(&explained(&gap.id.to_lowercase(), &example()));
        assert!(
            page.starts_with(&format!("{}: {}", gap.id, gap.title)),
            "{page}"
        );
        assert!(page.contains(gap.page) && page.contains(gap.does), "{page}");
        for number in gap.phases {
            assert!(
                page.contains(&PHASES[usize::from(*number)].directory()),
                "{page}"
            );
        }
    }
    refused("G21", &example());
    refused("G0", &example());
}
