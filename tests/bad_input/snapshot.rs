//! The snapshot: its layout, its names, its files, and private values that must not be in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use carota::diagnostic::Code;

use crate::case::{Case, judged, on, place_in};
use crate::certificates::{EARLY, LATE, ca, key};

const TOML: &str = "cluster.toml";
const ALICE: &str = "snapshot/users/alice.kubeconfig";
const CONFIG_MAPS: &str = "snapshot/cluster/configmaps.yaml";
const FILES: &str = "snapshot/nodes/worker-1/FILES";

fn manifest() -> String {
    on("cp-1", "/etc/kubernetes/manifests/kube-apiserver.yaml")
}

fn certificate() -> String {
    on("cp-1", "/etc/kubernetes/pki/ca.crt")
}

fn kubeconfig() -> String {
    on("cp-1", "/etc/kubernetes/controller-manager.conf")
}

/// A line of worker-1's FILES for a path.
fn line_for(path: &str, change: impl Fn(&str) -> String + Copy) -> Case {
    Case::new().change_files("worker-1", path, |line| Some(change(line.unwrap())))
}

#[test]
fn a_node_without_snapshot_is_refused_where_it_is_declared() {
    Case::new().remove("snapshot/nodes/worker-2").refused(
        Code::NodeWithoutSnapshot,
        TOML,
        "\"worker-2\"",
    );
}

#[test]
fn a_snapshot_without_node_is_refused_with_its_declaration() {
    let declared = "[[node]]\nname = \"worker-2\"\nrole = \"worker\"\n";
    // Where it would be declared: at the last node.
    let said = Case::new().edit(TOML, declared, "").refused(
        Code::SnapshotWithoutNode,
        TOML,
        "\"worker-1\"",
    );
    assert!(said.contains("name = \"worker-2\""), "{said}");
}

#[test]
fn hostile_names_of_folders_of_nodes_are_refused() {
    for name in [
        "$(id)",
        "a\nb",
        "a'b",
        "a\"b",
        "a\u{7}b",
        "\u{1b}[31mred",
        "...",
    ] {
        let said = Case::new()
            .put_unlisted(&format!("snapshot/nodes/{name}/FILES"), "")
            .refused_with(Code::HostileName);
        assert!(place_in(&said).starts_with("snapshot/nodes/"), "{said}");
    }
}

#[test]
fn hostile_names_of_users_are_refused() {
    let long = "a".repeat(240);
    for name in ["$(id)", "a\nb", "a'b", "a\"b", "a\u{7}b", "", "..", &long] {
        let said = Case::new()
            .put(&format!("snapshot/users/{name}.kubeconfig"), "")
            .refused_with(Code::HostileName);
        assert!(place_in(&said).starts_with("snapshot/users/"), "{said}");
    }
}

#[test]
fn hostile_names_of_objects_are_refused() {
    let long = "a".repeat(300);
    for name in [
        "../x",
        "$(id)",
        "a\\nb",
        "a'b",
        "a\\\"b",
        "a\\u0007b",
        "",
        &long,
    ] {
        for field in ["name", "namespace"] {
            if field == "namespace" && name.is_empty() {
                continue;
            }
            let other = if field == "name" { "namespace" } else { "name" };
            let item = format!(
                "items:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    {field}: \"{name}\"\n    {other}: x\n"
            );
            Case::new().edit(CONFIG_MAPS, "items:\n", &item).refused(
                Code::HostileName,
                CONFIG_MAPS,
                "",
            );
        }
    }
}

#[test]
fn hostile_paths_on_nodes_are_refused_at_their_line() {
    for path in [
        "/etc/../x",
        "/etc/%0Ax",
        "/etc//x",
        "etc/x",
        "/etc/%2e%2e/x",
        "/etc/%1B",
        "/etc/%zz",
    ] {
        let line = format!("f\t-\t0644\t0:0\t{path}");
        Case::new()
            .change_files("worker-1", path, |_| Some(line.clone()))
            .refused(Code::HostileName, FILES, &line);
    }
}

#[test]
fn a_damaged_line_of_files_is_refused_at_its_line() {
    let path = "/var/lib/kubelet/config.yaml";
    for change in [
        |line: &str| line.replace('\t', " "),
        |line: &str| line.replace("0644", "0999"),
        |line: &str| line.replace("0:0", "root:root"),
        |line: &str| format!("{line}\n{line}"),
        |line: &str| line.replacen('f', "d", 1),
    ] {
        line_for(path, change).refused_on_line(Code::SnapshotShape, FILES, path);
    }
    Case::new()
        .edit(FILES, "worker-1", "worker-2")
        .refused(Code::SnapshotShape, FILES, "");
}

#[test]
fn a_files_that_is_no_text_is_refused() {
    Case::new()
        .put(FILES, "")
        .refused(Code::SnapshotShape, FILES, "");
    Case::new()
        .put(FILES, [0, 1])
        .refused(Code::SnapshotShape, FILES, "");
    Case::new()
        .put(FILES, [b'#', 0xff])
        .refused(Code::FileUnreadable, FILES, "\u{fffd}");
    Case::new()
        .put_huge(FILES)
        .refused(Code::FileUnreadable, FILES, "");
    let said = Case::new().remove(FILES).refused_with(Code::FileUnreadable);
    assert_eq!(place_in(&said), format!("{FILES}:1:1"));
}

#[test]
fn a_snapshot_that_is_not_there_or_not_whole_is_refused() {
    let said = Case::new()
        .remove("snapshot")
        .refused_with(Code::SnapshotShape);
    assert_eq!(place_in(&said), "snapshot:1:1");
    assert!(said.contains("no such file or folder"), "{said}");
    let said = Case::new()
        .edit(TOML, "snapshot = \"snapshot\"", "snapshot = \"snap\"")
        .refused_with(Code::SnapshotShape);
    assert_eq!(place_in(&said), "snap:1:1");
    let case = Case::new();
    std::fs::rename(case.path("snapshot"), case.path("snap")).unwrap();
    let case = case.edit(TOML, "snapshot = \"snapshot\"", "snapshot = \"snap\"");
    let said = case.remove("snap/nodes").refused_with(Code::SnapshotShape);
    assert_eq!(place_in(&said), "snap/nodes:1:1");
    let init = std::process::Command::new(assert_cmd::cargo::cargo_bin!("carota"))
        .args(["init", "nope"])
        .output()
        .unwrap();
    assert_eq!(place_in(&judged(&init, Code::SnapshotShape)), "nope:1:1");
    let said = Case::new()
        .remove("snapshot/cluster")
        .refused_with(Code::SnapshotShape);
    assert_eq!(place_in(&said), "snapshot/cluster:1:1");
}

#[test]
fn a_list_of_objects_that_was_lost_is_refused() {
    let missing = "snapshot/cluster/MISSING";
    let noted = Case::new().text(missing);
    for kind in std::fs::read_dir(Case::new().path("snapshot/cluster")).unwrap() {
        let file = kind.unwrap().file_name().into_string().unwrap();
        let Some(kind) = file.strip_suffix(".yaml") else {
            continue;
        };
        let lost = Case::new().remove(&format!("snapshot/cluster/{kind}.yaml"));
        let said = lost.refused_with(Code::ObjectsLost);
        assert_eq!(place_in(&said), format!("snapshot/cluster/{file}:1:1"));
        assert!(said.contains("sh collect.sh cluster --force"), "{said}");
    }
    let without = |kind: &str| {
        let case = Case::new().remove(&format!("snapshot/cluster/{kind}.yaml"));
        case.put(missing, format!("{noted}{kind}\n"))
    };
    without("apiservices").compiles();
    // No cluster is without these, whatever is noted.
    without("pods").refused_with(Code::ObjectsLost);
    let said = Case::new().remove(missing).refused_with(Code::ObjectsLost);
    let first = "snapshot/cluster/clustertrustbundles.yaml:1:1";
    assert_eq!(place_in(&said), first);
    let empty = "apiVersion: v1\nitems: []\nkind: List\n";
    let webhooks = "snapshot/cluster/validatingwebhookconfigurations.yaml";
    Case::new().put(webhooks, empty).compiles();
}

#[test]
fn a_certificate_or_kubeconfig_that_a_program_reads_and_the_snapshot_lacks_is_refused() {
    let etcd = "/etc/kubernetes/manifests/etcd.yaml";
    let apiserver = "/etc/kubernetes/manifests/kube-apiserver.yaml";
    for (node, path, named_in) in [
        ("cp-2", "/etc/kubernetes/pki/etcd/peer.crt", etcd),
        ("cp-1", "/etc/kubernetes/pki/apiserver.crt", apiserver),
        (
            "cp-3",
            "/etc/kubernetes/pki/front-proxy-client.crt",
            apiserver,
        ),
        (
            "worker-1",
            "/etc/kubernetes/kubelet.conf",
            "/var/lib/kubelet/config.yaml",
        ),
        (
            "worker-2",
            "/etc/kubernetes/pki/ca.crt",
            "/var/lib/kubelet/config.yaml",
        ),
    ] {
        for withheld in [false, true] {
            let row = withheld.then(|| format!("x\t-\t0644\t0:0\t{path}"));
            let case = Case::new().change_files(node, path, |_| row);
            std::fs::remove_file(case.path(&on(node, path))).unwrap();
            let said = case.refused_with(Code::FileUnreadable);
            assert!(said.contains(path), "{said}");
            assert_eq!(said.contains("withheld"), withheld, "{said}");
            assert!(place_in(&said).starts_with(&on(node, named_in)), "{said}");
        }
    }
}

#[test]
fn a_list_that_was_cut_off_is_refused() {
    for kind in ["pods", "deployments", "apiservices"] {
        let file = format!("snapshot/cluster/{kind}.yaml");
        let whole = Case::new().text(&file);
        let items = whole.match_indices("\n- ").map(|(at, _)| at + 1);
        let last = items.last().unwrap();
        for cut in [last, whole.find("\nkind: List").unwrap() + 1] {
            let said = Case::new()
                .put(&file, &whole[..cut])
                .refused_with(Code::ObjectsLost);
            assert!(said.contains("cut off"), "{said}");
            assert_eq!(place_in(&said), format!("{file}:1:1"));
        }
    }
}

#[test]
fn an_address_or_a_uid_that_would_be_more_than_one_column_is_refused() {
    let nodes = "snapshot/cluster/nodes.yaml";
    let address = Case::new().text(nodes);
    let (_, address) = address.split_once("address: ").unwrap();
    let address = address.lines().next().unwrap().to_owned();
    for hostile in ["\"10.0.0.1\\nnote\\tx\"", "\"a\\tb\"", "\"\\u202e\""] {
        Case::new()
            .edit(
                nodes,
                &format!("address: {address}"),
                &format!("address: {hostile}"),
            )
            .refused_with(Code::HostileName);
    }
    let namespaces = "snapshot/cluster/namespaces.yaml";
    let uid = Case::new().text(namespaces);
    let (_, uid) = uid.split_once("uid: ").unwrap();
    let uid = uid.lines().next().unwrap().to_owned();
    Case::new()
        .edit(
            namespaces,
            &format!("uid: {uid}"),
            "uid: \"a\\norder\\tevil\"",
        )
        .refused_with(Code::HostileName);
}

#[test]
fn a_file_that_is_not_the_one_of_files_is_refused() {
    let edited = Case::new().text(&manifest()) + "# edited\n";
    Case::new()
        .put_unlisted(&manifest(), edited)
        .refused(Code::SnapshotTampered, &manifest(), "");
    let extra = on("cp-1", "/etc/kubernetes/extra.conf");
    Case::new()
        .put_unlisted(&extra, "extra\n")
        .refused(Code::SnapshotTampered, &extra, "");
    let lost = on("cp-1", "/etc/kubernetes/pki/ca.crt");
    let case = Case::new();
    std::fs::remove_file(case.path(&lost)).unwrap();
    let said = case.refused_with(Code::FileUnreadable);
    assert_eq!(place_in(&said), format!("{lost}:1:1"));
}

#[test]
fn a_link_out_of_the_snapshot_is_refused() {
    let case = Case::new();
    let text = case.text(&certificate());
    let case = case.put_unlisted("elsewhere", text);
    std::fs::remove_file(case.path(&certificate())).unwrap();
    let target = case.path("elsewhere");
    let said = case
        .link(&certificate(), target.to_str().unwrap())
        .refused_with(Code::FileUnreadable);
    assert_eq!(place_in(&said), format!("{}:1:1", certificate()));
}

#[test]
fn huge_files_are_refused() {
    for file in [&manifest(), &certificate(), &kubeconfig(), ALICE] {
        Case::new()
            .put_huge(file)
            .refused(Code::FileUnreadable, file, "");
    }
    // Lists of objects may be that large; this one is no YAML.
    Case::new()
        .put_huge(CONFIG_MAPS)
        .refused(Code::YamlSyntax, CONFIG_MAPS, "");
}

#[test]
fn files_that_are_not_utf_8_are_refused_at_the_byte() {
    for file in [
        &manifest(),
        &certificate(),
        &kubeconfig(),
        ALICE,
        CONFIG_MAPS,
    ] {
        let case = Case::new();
        let mut bytes = case.text(file).into_bytes();
        bytes.extend(b"# caf\xe9\n");
        case.put(file, bytes)
            .refused(Code::FileUnreadable, file, "\u{fffd}");
    }
}

#[test]
fn empty_files_are_refused() {
    for (file, code) in [
        (manifest(), Code::ManifestShape),
        (certificate(), Code::PemMalformed),
        (kubeconfig(), Code::ManifestShape),
        (
            on("worker-1", "/etc/kubernetes/kubelet.conf"),
            Code::ManifestShape,
        ),
        (
            on("worker-1", "/var/lib/kubelet/config.yaml"),
            Code::ManifestShape,
        ),
        (ALICE.into(), Code::ManifestShape),
        (CONFIG_MAPS.into(), Code::ObjectMalformed),
    ] {
        Case::new().put(&file, "").refused(code, &file, "");
    }
}

#[test]
fn binary_files_are_refused() {
    let binary = [0x7f, b'E', b'L', b'F', 2, 1, 0];
    for (file, code) in [
        (manifest(), Code::YamlSyntax),
        (certificate(), Code::PemMalformed),
        (kubeconfig(), Code::YamlSyntax),
        (
            on("worker-1", "/etc/kubernetes/kubelet.conf"),
            Code::YamlSyntax,
        ),
        (ALICE.into(), Code::YamlSyntax),
        (CONFIG_MAPS.into(), Code::YamlSyntax),
    ] {
        let said = Case::new().put(&file, binary).refused_with(code);
        assert!(place_in(&said).starts_with(&format!("{file}:1:")), "{said}");
    }
}

#[test]
fn a_manifest_whose_content_was_withheld_is_refused() {
    let path = "/etc/kubernetes/manifests/kube-apiserver.yaml";
    let said = Case::new()
        .remove(&manifest())
        .change_files("cp-1", path, |_| Some(format!("x\t-\t0600\t0:0\t{path}")))
        .refused_with(Code::FileUnreadable);
    assert_eq!(place_in(&said), format!("{}:1:1", manifest()));
}

#[test]
fn a_private_key_in_any_file_is_refused_and_not_quoted() {
    let private = key(&ca(EARLY, LATE));
    let body = private.lines().nth(1).unwrap();
    for file in [
        on("cp-1", "/etc/kubernetes/pki/ca.key"),
        on("worker-1", "/etc/note.txt"),
        ALICE.into(),
        CONFIG_MAPS.into(),
    ] {
        let case = Case::new();
        let before = std::fs::read_to_string(case.path(&file)).unwrap_or_default();
        let said = case.put(&file, before + &private).refused_on_line(
            Code::PrivateInSnapshot,
            &file,
            "-----BEGIN",
        );
        assert!(!said.contains(body));
    }
}

#[test]
fn a_key_or_token_in_a_kubeconfig_is_refused_at_its_place_and_not_quoted() {
    let key_data = BASE64.encode(key(&ca(EARLY, LATE)));
    let opaque = BASE64.encode([7; 48]);
    let lab = on("worker-1", "/etc/cni/net.d/lab-kubeconfig");
    for (file, setting, value) in [
        (ALICE, "client-key-data", key_data.as_str()),
        (ALICE, "client-key-data", opaque.as_str()),
        (ALICE, "token", "abcdef.0123456789abcdef"),
        (ALICE, "password", "hunter2"),
        (lab.as_str(), "token", "abcdef.0123456789abcdef"),
    ] {
        let case = Case::new();
        let text = case.text(file);
        let kept = text
            .split_inclusive('\n')
            .find(|l| l.contains("carota-kept:"));
        let kept = kept.unwrap().trim();
        let said = case
            .edit(file, kept, &format!("{setting}: {value}"))
            .refused(Code::PrivateInSnapshot, file, value);
        assert!(!said.contains(value));
    }
}

#[test]
fn the_value_of_a_secret_is_refused_and_not_quoted() {
    let secrets = "snapshot/cluster/secrets.yaml";
    let private = key(&ca(EARLY, LATE));
    let text = Case::new().text(secrets);
    let kept = text
        .lines()
        .find(|l| l.contains("token-secret: carota-kept:"))
        .unwrap();
    let beside = format!(
        "clusters: {}\ntoken: 0123456789abcdef\n",
        Case::new().text(&on("cp-1", "/etc/kubernetes/pki/ca.crt"))
    );
    for value in [
        "12345678".to_owned(),
        BASE64.encode("0123456789abcdef"),
        BASE64.encode(&private),
        BASE64.encode(&beside),
        BASE64.encode(BASE64.encode(&beside)),
    ] {
        let is_text = value.parse::<u32>().is_err();
        let at = if is_text { &value } else { "" };
        let said = Case::new()
            .edit(secrets, kept, &format!("    token-secret: {value}"))
            .refused(Code::PrivateInSnapshot, secrets, at);
        assert!(!said.contains(&value));
    }
}

#[test]
fn a_copy_of_a_secret_in_its_annotations_is_refused_and_not_quoted() {
    let secrets = "snapshot/cluster/secrets.yaml";
    let text = Case::new().text(secrets);
    let metadata = text.lines().find(|l| *l == "  metadata:").unwrap();
    for value in [
        "'{\"data\": {\"token\": \"c2VjcmV0\"}}'".to_owned(),
        "c2VjcmV0".repeat(40),
    ] {
        let annotations = format!("{metadata}\n    annotations:\n      x: {value}");
        let bare = value.trim_matches('\'');
        let said = Case::new().edit(secrets, metadata, &annotations).refused(
            Code::PrivateInSnapshot,
            secrets,
            bare,
        );
        assert!(!said.contains("c2VjcmV0"));
    }
}

#[test]
fn a_list_of_objects_that_is_none_is_refused() {
    Case::new()
        .edit(
            CONFIG_MAPS,
            "items:\n",
            "items:\n- apiVersion: v1\n  kind: ConfigMap\n",
        )
        .refused(Code::ObjectMalformed, CONFIG_MAPS, "");
    Case::new()
        .put(CONFIG_MAPS, "items: [a\n")
        .refused_on_line(Code::YamlSyntax, CONFIG_MAPS, "");
}
