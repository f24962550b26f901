//! What folding a snapshot promises: fewer files, the same plan, and the same folders again when it is undone. A
//! set is as hostile as any other input.

mod common;

use std::fs;
use std::path::Path;

use common::{carota, compile, copy_tree, example, put_on_node, tree};
use tempfile::TempDir;

/// A cluster with so many workers, of two shapes.
fn fleet(workers: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    common::fleet::make(&example("kubeadm-ha"), workers, folder.path());
    folder
}

fn run(command: &[&str], folder: &Path) -> String {
    let output = carota(command, folder);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Exits with 2 and says this; the snapshot stays as it is.
fn refused(command: &[&str], folder: &Path, what: &[&str]) {
    let before = tree(&folder.join("snapshot"));
    let output = carota(command, folder);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
    for what in what {
        assert!(said.contains(what), "{what}: {said}");
    }
    assert!(before == tree(&folder.join("snapshot")), "{command:?}");
}

/// A folded fleet of nine workers, five of them of one shape and four of the other.
fn folded() -> TempDir {
    let folder = fleet(9);
    run(&["fold", "snapshot"], folder.path());
    folder
}

const ODD: &str = "node0001+4";
const EVEN: &str = "node0002+3";

/// How a test changes a text.
type Change<'t> = &'t dyn Fn(&str) -> String;

/// Changes a file of a set.
fn change(folder: &Path, file: &str, change: impl Fn(&str) -> String) {
    let path = folder.join("snapshot/nodes").join(file);
    let text = fs::read_to_string(&path).unwrap();
    let changed = change(&text);
    assert_ne!(text, changed, "{file}");
    fs::write(path, changed).unwrap();
}

#[test]
fn a_folded_snapshot_gives_the_same_plan_and_unfolds_to_the_same_folders() {
    let folder = fleet(30);
    let folder = folder.path();
    compile(folder);
    let before = tree(&folder.join("snapshot"));
    let described = run(&["init", "snapshot"], folder);
    assert!(
        described.contains("name = \"node[0001-0030]\"\n"),
        "{described}"
    );
    assert_eq!(
        run(&["fold", "snapshot"], folder),
        "nodes/node0001+14: 15 nodes, 8 values each\n\
         nodes/node0002+14: 15 nodes, 6 values each\n\
         3 folders of one node\n"
    );
    let fewer = tree(&folder.join("snapshot"));
    assert!(2 * fewer.len() < before.len(), "{}", fewer.len());
    run(&["check", "cluster.toml"], folder);
    assert_eq!(run(&["init", "snapshot"], folder), described);
    // Folded again it is the same.
    run(&["fold", "snapshot"], folder);
    assert!(fewer == tree(&folder.join("snapshot")));
    run(&["unfold", "snapshot"], folder);
    assert!(before == tree(&folder.join("snapshot")));
    let left = fs::read_dir(folder.join("snapshot")).unwrap().count();
    assert_eq!(left, 3, "cluster, nodes and users");
}

#[test]
fn nodes_that_count_up_are_a_pattern() {
    let folder = fleet(9);
    let nodes = folder.path().join("snapshot/nodes");
    for even in ["node0002", "node0004", "node0006", "node0008"] {
        fs::remove_dir_all(nodes.join(even)).unwrap();
    }
    // Of what is left nine, the third and the first follow each other in no range; so two are renamed.
    for (old, new) in [("node0009", "node0002"), ("node0007", "node0004")] {
        copy_tree(&nodes.join(old), &nodes.join(new));
        fs::remove_dir_all(nodes.join(old)).unwrap();
        let files = nodes.join(new).join("FILES");
        let text = fs::read_to_string(&files).unwrap();
        fs::write(&files, text.replacen(old, new, 1)).unwrap();
    }
    run(&["fold", "snapshot"], folder.path());
    assert!(nodes.join("node[0001-0005]/NODES").exists());
}

#[test]
fn a_node_collected_again_takes_its_place_in_the_set() {
    let folder = folded();
    let folder = folder.path();
    let set = tree(&folder.join("snapshot/nodes").join(ODD));
    // The same node with another certificate, as a later collection would show it.
    let unfolded = tempfile::tempdir().unwrap();
    copy_tree(&folder.join("snapshot"), unfolded.path());
    run(&["unfold", "."], unfolded.path());
    let own = folder.join("snapshot/nodes/node0003");
    copy_tree(&unfolded.path().join("nodes/node0003"), &own);
    let certificate = "/var/lib/kubelet/pki/kubelet.crt";
    let other = unfolded.path().join("nodes/node0001");
    fs::copy(other.join(&certificate[1..]), own.join(&certificate[1..])).unwrap();
    let line = |folder: &Path| {
        let table = fs::read_to_string(folder.join("FILES")).unwrap();
        let line = table.lines().find(|line| line.ends_with(certificate));
        (line.unwrap().to_owned(), table)
    };
    let (old, table) = line(&own);
    let anew = table.replacen(&old, &line(&other).0, 1);
    fs::write(own.join("FILES"), anew).unwrap();
    refused(
        &["compile", "cluster.toml"],
        folder,
        &[
            "error[C033]",
            "snapshot/nodes/node0003:",
            ODD,
            "carota fold",
        ],
    );
    let said = run(&["fold", "snapshot"], folder);
    assert!(!own.exists(), "{said}");
    let now = tree(&folder.join("snapshot/nodes").join(ODD));
    let text = |files: &std::collections::BTreeMap<String, (Vec<u8>, bool)>| {
        String::from_utf8(files["NODES"].0.clone()).unwrap()
    };
    let (old, new) = (text(&set), text(&now));
    for (old, new) in old.lines().zip(new.lines()) {
        assert_eq!(old == new, !new.starts_with("node0003\t"), "{new:.20}");
    }
    assert_eq!(
        set.keys().collect::<Vec<_>>(),
        now.keys().collect::<Vec<_>>()
    );
}

#[test]
fn whatever_looks_like_a_value_keeps_a_node_out_of_sets() {
    let folder = fleet(9);
    let folder = folder.path();
    for node in ["node0002", "node0004", "node0006", "node0008"] {
        let snapshot = folder.join("snapshot");
        let path = "/etc/systemd/system/kubelet.service";
        let file = snapshot.join("nodes").join(node).join(&path[1..]);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("# @carota:1@\n{text}")).unwrap();
        common::record_anew(&snapshot, node, path);
    }
    let before = tree(&folder.join("snapshot"));
    let said = run(&["fold", "snapshot"], folder);
    assert!(said.ends_with("7 folders of one node\n"), "{said}");
    run(&["unfold", "snapshot"], folder);
    assert!(before == tree(&folder.join("snapshot")));
}

#[test]
fn a_set_that_was_edited_is_refused_where_it_was() {
    let compile = ["compile", "cluster.toml"];
    let nodes = format!("{ODD}/NODES");
    let at = format!("snapshot/nodes/{ODD}/");
    // A certificate in a row: the last value of the first node.
    let folder = folded();
    change(folder.path(), &nodes, |text| {
        let row = text.lines().nth(1).unwrap();
        let (before, last) = row.rsplit_once("MII").unwrap();
        text.replacen(row, &format!("{before}MIJ{last}"), 1)
    });
    let said = [
        "error[C009]",
        "snapshot/nodes/node0001/",
        "lies in a set, with its values in nodes/node0001+4/NODES:2",
    ];
    refused(&compile, folder.path(), &said);
    refused(&["fold", "snapshot"], folder.path(), &["error[C009]"]);
    // A file that all have.
    let folder = folded();
    let unit = format!("{ODD}/etc/systemd/system/kubelet.service");
    change(folder.path(), &unit, |text| format!("{text}\n"));
    let unit = format!("snapshot/nodes/{unit}");
    refused(&compile, folder.path(), &["error[C009]", &unit]);
    // A file that is not listed.
    let folder = folded();
    fs::write(
        folder.path().join("snapshot/nodes").join(ODD).join("more"),
        "",
    )
    .unwrap();
    refused(
        &compile,
        folder.path(),
        &["error[C009]", &format!("{at}more")],
    );
    // A row less, one twice, one cut, a heading that promises more.
    let cut = |text: &str, from: usize| {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        [&lines[..from], &lines[from + 1..]].concat().concat()
    };
    let twice = |text: &str| {
        let row = text.split_inclusive('\n').nth(2).unwrap();
        text.replacen(row, &row.repeat(2), 1)
    };
    let broken: [(&str, Change<'_>); 5] = [
        ("NODES:1:1", &|text| cut(text, 2)),
        ("NODES:4:1", &twice),
        ("NODES:2:1", &|text| {
            text.replacen("\tMII", "\t%zz", 1)
                .replacen("%0AMII", "%0", 1)
        }),
        ("NODES:2:1", &|text| {
            text.replacen("\nnode0001\t", "\nnode0001\tmore\t", 1)
        }),
        ("NODES:1:1", &|text| text.replacen("node\t", "name\t", 1)),
    ];
    for (place, how) in broken {
        let folder = folded();
        change(folder.path(), &nodes, how);
        refused(
            &compile,
            folder.path(),
            &["error[C033]", &format!("{at}{place}")],
        );
    }
    // A name that hides whom it is for.
    let folder = folded();
    let all = folder.path().join("snapshot/nodes");
    fs::rename(all.join(ODD), all.join("node[0001-0009]")).unwrap();
    refused(
        &compile,
        folder.path(),
        &["error[C033]", "FILES does not begin with the header"],
    );
    // One node in two sets.
    let folder = folded();
    change(folder.path(), &format!("{EVEN}/NODES"), |text| {
        text.replacen("node0004", "node0003", 1)
    });
    refused(
        &compile,
        folder.path(),
        &["error[C033]", "node `node0003` is in two sets"],
    );
}

#[test]
fn a_row_cannot_lead_out_of_its_node_or_bring_in_a_private_key() {
    let compile = ["compile", "cluster.toml"];
    let files = format!("{ODD}/FILES");
    let nodes = format!("{ODD}/NODES");
    // A value in a path.
    let folder = folded();
    change(folder.path(), &files, |text| {
        text.replacen("kubelet-client-current.pem\t", "@carota:2@\t", 1)
    });
    change(folder.path(), &nodes, |text| {
        let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
        for row in &mut rows[1..] {
            let mut values: Vec<&str> = row.split('\t').collect();
            values[1] = "../../../x";
            *row = values.join("\t");
        }
        rows.join("\n") + "\n"
    });
    refused(
        &compile,
        folder.path(),
        &["error[C003]", "snapshot/nodes/node0001/FILES:"],
    );
    // The name of a file in the set.
    let folder = folded();
    change(folder.path(), &files, |text| {
        text.replacen("/etc/", "/../", 1)
    });
    refused(
        &compile,
        folder.path(),
        &["error[C003]", &format!("{files}:2:1")],
    );
    // A place that no row has.
    let folder = folded();
    change(folder.path(), &files, |text| {
        text.replacen("@carota:2@", "@carota:99@", 1)
    });
    refused(
        &compile,
        folder.path(),
        &["error[C033]", "begins a value that no row"],
    );
    // A value for which no file has a place.
    let folder = folded();
    change(folder.path(), &nodes, |text| {
        let rows: Vec<String> = text.lines().map(|row| format!("{row}\t9\n")).collect();
        rows.concat()
    });
    refused(
        &compile,
        folder.path(),
        &["error[C033]", "no file has a place for value 9"],
    );
    // A folder that leads elsewhere.
    let folder = folded();
    let set = folder.path().join("snapshot/nodes").join(ODD);
    fs::rename(&set, folder.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../../elsewhere", &set).unwrap();
    let output = carota(&compile, folder.path());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("error[C007]: this is a symbolic link, not a folder"),
        "{said}"
    );
    // A private key in a row.
    let folder = folded();
    let marker = ["-----BEGIN PRIVATE", " KEY-----"].concat();
    change(folder.path(), &nodes, |text| {
        text.replacen("\tMII", &format!("\t{marker}%0Asecretbody%0AMII"), 1)
    });
    refused(
        &compile,
        folder.path(),
        &["error[C008]", "the file holds a private key"],
    );
    let said = carota(&compile, folder.path()).stderr;
    assert!(!String::from_utf8_lossy(&said).contains("secretbody"));
}

/// A file of the node of this number: its stored path and content.
type File<'t> = &'t dyn Fn(u8) -> (String, String);

#[test]
fn whatever_nodes_hold_comes_out_of_a_fold_as_it_went_in() {
    let long = "10.0.0.1 ".repeat(300_000);
    let cases: [(&str, File<'_>); 8] = [
        ("a value that begins a part of a path", &|n| {
            (
                format!("/abcdefghijklmnopqrstuvwx{n}/ca.crt"),
                String::new(),
            )
        }),
        ("the node's name in a path", &|n| {
            (format!("/pki/node000{n}/node000{n}.crt"), "x".to_owned())
        }),
        ("a code in a path", &|n| {
            (
                format!("/x%25aaaaaaaaaaaaaaaaaaaaaaaaaaaa{n}"),
                String::new(),
            )
        }),
        ("a file where the table would lie", &|n| {
            ("/NODES".to_owned(), n.to_string())
        }),
        ("a form larger than any file", &|n| {
            ("/hosts".to_owned(), long.replace(".1 ", &format!(".{n} ")))
        }),
        ("letters of other scripts", &|n| {
            (
                "/motd".to_owned(),
                format!("\u{fc}node000{n}\u{fc} \u{4e16}10.0.0.{n}\u{754c}\r\n%0A{n}"),
            )
        }),
        ("no line at all", &|_| ("/empty".to_owned(), String::new())),
        ("a chain without an end", &|n| {
            ("/chain".to_owned(), format!("{}{n}", "a.".repeat(200_000)))
        }),
    ];
    for (what, file) in cases {
        let folder = fleet(5);
        for n in [1, 3, 5] {
            let (stored, text) = file(n);
            let snapshot = folder.path().join("snapshot");
            put_on_node(&snapshot, &format!("node000{n}"), &stored, &text);
        }
        let before = tree(&folder.path().join("snapshot"));
        run(&["fold", "snapshot"], folder.path());
        run(&["unfold", "snapshot"], folder.path());
        assert!(before == tree(&folder.path().join("snapshot")), "{what}");
    }
}

#[test]
fn two_folds_at_once_and_one_that_was_killed_lose_nothing() {
    let folder = fleet(9);
    let folder = folder.path();
    let before = tree(&folder.join("snapshot"));
    let held = fs::File::open(folder.join("snapshot")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    refused(
        &["fold", "snapshot"],
        folder,
        &["error[C031]", "another run is at work on it"],
    );
    drop(held);
    // Killed where directories cannot be exchanged: between the two renames.
    let snapshot = folder.join("snapshot");
    let making = snapshot.join(".carota-fold");
    fs::create_dir_all(making.join("nodes/half")).unwrap();
    fs::rename(snapshot.join("nodes"), making.join("nodes.old")).unwrap();
    run(&["unfold", "snapshot"], folder);
    assert!(before == tree(&snapshot));
}
