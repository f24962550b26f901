//! Made clusters with one oddity each: a plan comes of it that proves and leaves no old CA behind, or carota
//! stops with a code, a place and a remedy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use carota::pki::Certificate;

use crate::common::pieces::certificates_of;
use crate::common::{edit, table};
use crate::layouts::{self, Layout};
use crate::made::{plan_of, rotated, temporary};
use crate::world::{Entry, Files, copy, text, walk};

/// What comes of an oddity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// A plan.
    Plan,
    /// An error of this code.
    Stop(&'static str),
}
use Outcome::{Plan, Stop};

/// One oddity: what it is, how it is made, what comes of it.
type Case = (&'static str, fn(&Path), Outcome);

const PKI: &str = "nodes/cp-1/etc/kubernetes/pki";
const MANIFESTS: &str = "nodes/cp-1/etc/kubernetes/manifests";

fn change(raw: &Path, file: &str, from: &str, to: &str) {
    edit(&raw.join(file), from, to);
}

fn apiserver(raw: &Path, from: &str, to: &str) {
    change(raw, &format!("{MANIFESTS}/kube-apiserver.yaml"), from, to);
}

fn manager(raw: &Path, from: &str, to: &str) {
    change(
        raw,
        &format!("{MANIFESTS}/kube-controller-manager.yaml"),
        from,
        to,
    );
}

/// Puts another line in place of a kubeconfig's CA data.
fn authority(raw: &Path, file: &str, line: &str) {
    let file = raw.join("nodes/cp-1/etc/kubernetes").join(file);
    let text = fs::read_to_string(&file).unwrap();
    let mut lines = text.lines();
    let data = lines.find(|l| l.contains("certificate-authority-data"));
    edit(&file, data.unwrap(), line);
}

fn duplicate(raw: &Path, from: &str, to: &str) {
    let to = raw.join(to);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(raw.join(from), to).unwrap();
}

fn append(raw: &Path, from: &str, to: &str) {
    let both =
        fs::read_to_string(raw.join(to)).unwrap() + &fs::read_to_string(raw.join(from)).unwrap();
    fs::write(raw.join(to), both).unwrap();
}

const CLIENTS: &str = "    - --client-ca-file=/etc/kubernetes/pki/ca.crt\n";

const KUBEADM: &[Case] = &[
    (
        "a flag with underscores",
        |raw| apiserver(raw, "--client-ca-file=", "--client_ca_file="),
        Plan,
    ),
    (
        "a flag whose value is an item of its own",
        |raw| apiserver(raw, "--client-ca-file=", "--client-ca-file\n    - "),
        Plan,
    ),
    (
        "a flag in quotes, with a comment",
        |raw| {
            apiserver(
                raw,
                CLIENTS,
                "    - \"--client-ca-file=/etc/kubernetes/pki/ca.crt\" # ours\n",
            );
        },
        Plan,
    ),
    (
        "a path with a doubled slash and a dot",
        |raw| {
            apiserver(
                raw,
                CLIENTS,
                "    - --client-ca-file=/etc/kubernetes//pki/./ca.crt\n",
            );
        },
        Plan,
    ),
    (
        "a flag twice",
        |raw| apiserver(raw, CLIENTS, &CLIENTS.repeat(2)),
        Stop("C018"),
    ),
    (
        "a flag that nobody knows",
        |raw| {
            apiserver(raw, CLIENTS, &CLIENTS.replace("client-ca", "x-ca"));
        },
        Stop("C037"),
    ),
    (
        "a flag with a variable",
        |raw| {
            apiserver(
                raw,
                "--client-ca-file=/etc/kubernetes/pki/ca.crt",
                "--client-ca-file=$(CA)",
            );
        },
        Stop("C032"),
    ),
    (
        "issuers' certificates by a flag",
        |raw| {
            apiserver(
                raw,
                CLIENTS,
                &(CLIENTS.to_owned() + &CLIENTS.replace("client-ca", "oidc-ca")),
            );
        },
        Stop("C037"),
    ),
    (
        "another certificate by name",
        |raw| {
            let pair = "/etc/kubernetes/pki/apiserver.crt,/etc/kubernetes/pki/apiserver.key";
            apiserver(
                raw,
                CLIENTS,
                &format!("{CLIENTS}    - --tls-sni-cert-key={pair}\n"),
            );
        },
        Stop("C037"),
    ),
    (
        "tokens that the CA's key verifies",
        |raw| {
            apiserver(
                raw,
                "--service-account-key-file=/etc/kubernetes/pki/sa.pub",
                "--service-account-key-file=/etc/kubernetes/pki/ca.crt",
            );
        },
        Stop("C016"),
    ),
    (
        "lines that end as on Windows",
        |raw| {
            let file = raw.join(MANIFESTS).join("kube-apiserver.yaml");
            let text = fs::read_to_string(&file).unwrap().replace('\n', "\r\n");
            fs::write(file, text).unwrap();
        },
        Plan,
    ),
    (
        "two documents in a manifest",
        |raw| apiserver(raw, "status: {}\n", "---\nkind: Pod\n"),
        Stop("C018"),
    ),
    (
        "an anchor where flags stand",
        |raw| {
            apiserver(
                raw,
                CLIENTS,
                "    - &ca --client-ca-file=/etc/kubernetes/pki/ca.crt\n",
            );
        },
        Stop("C018"),
    ),
    (
        "a copy of a manifest in its folder",
        |raw| {
            let name = format!("{MANIFESTS}/kube-apiserver.yaml");
            duplicate(raw, &name, &format!("{name}.bak"));
        },
        Stop("C018"),
    ),
    (
        "a copy of the CA",
        |raw| duplicate(raw, &format!("{PKI}/ca.crt"), &format!("{PKI}/copy.crt")),
        Stop("C025"),
    ),
    (
        "two CAs in one file",
        |raw| append(raw, &format!("{PKI}/etcd/ca.crt"), &format!("{PKI}/ca.crt")),
        Stop("C015"),
    ),
    (
        "two CAs that a front proxy may be of",
        |raw| {
            append(
                raw,
                &format!("{PKI}/ca.crt"),
                &format!("{PKI}/front-proxy-ca.crt"),
            );
        },
        Stop("C017"),
    ),
    (
        "a CA beside another in what pods get",
        |raw| {
            duplicate(raw, &format!("{PKI}/ca.crt"), &format!("{PKI}/roots.crt"));
            append(
                raw,
                &format!("{PKI}/etcd/ca.crt"),
                &format!("{PKI}/roots.crt"),
            );
            manager(
                raw,
                "--root-ca-file=/etc/kubernetes/pki/ca.crt",
                "--root-ca-file=/etc/kubernetes/pki/roots.crt",
            );
        },
        Plan,
    ),
    (
        "a signer's key elsewhere",
        |raw| {
            duplicate(
                raw,
                &format!("{PKI}/ca.key"),
                &format!("{PKI}/private/signing.key"),
            );
            fs::remove_file(raw.join(format!("{PKI}/ca.key"))).unwrap();
            manager(
                raw,
                "--cluster-signing-key-file=/etc/kubernetes/pki/ca.key",
                "--cluster-signing-key-file=/etc/kubernetes/pki/private/signing.key",
            );
        },
        Plan,
    ),
    (
        "a kubelet behind a shell",
        |raw| {
            change(
                raw,
                "nodes/worker-1/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf",
                "ExecStart=/usr/bin/kubelet ",
                "ExecStart=/bin/sh -c 'exec kubelet' ",
            );
        },
        Stop("C018"),
    ),
    (
        "a kubelet with more configuration files",
        |raw| {
            change(
                raw,
                "nodes/worker-1/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf",
                "$KUBELET_CONFIG_ARGS ",
                "$KUBELET_CONFIG_ARGS --config-dir=/etc/kubelet.d ",
            );
        },
        Stop("C032"),
    ),
    (
        "a kubelet with its CA by a flag",
        |raw| {
            change(
                raw,
                "nodes/worker-1/var/lib/kubelet/kubeadm-flags.env",
                "KUBELET_KUBEADM_ARGS=\"",
                "KUBELET_KUBEADM_ARGS=\"--client-ca-file=/etc/kubernetes/pki/ca.crt ",
            );
        },
        Plan,
    ),
    (
        "a kubelet that joins by a certificate",
        |raw| {
            duplicate(
                raw,
                "nodes/cp-1/etc/kubernetes/admin.conf",
                "nodes/worker-1/etc/kubernetes/bootstrap-kubelet.conf",
            );
        },
        Plan,
    ),
    (
        "a kubelet that trusts no client",
        |raw| {
            change(
                raw,
                "nodes/worker-1/var/lib/kubelet/config.yaml",
                "  x509:\n    clientCAFile: /etc/kubernetes/pki/ca.crt\n",
                "",
            );
        },
        Stop("C025"),
    ),
    (
        "a kubeconfig that verifies nothing",
        |raw| authority(raw, "scheduler.conf", "    insecure-skip-tls-verify: true"),
        Plan,
    ),
    (
        "a kubeconfig whose CA lies in a file",
        |raw| {
            authority(
                raw,
                "controller-manager.conf",
                "    certificate-authority: pki/ca.crt",
            );
        },
        Plan,
    ),
];

const UNITS: &str = "nodes/cp-1/etc/systemd/system";

const BY_HAND: &[Case] = &[
    (
        "flags in a variable",
        |raw| {
            change(
                raw,
                &format!("{UNITS}/kube-controller-manager.service"),
                "[Service]\n",
                "[Service]\nEnvironment=CA=--root-ca-file=/var/lib/kubernetes/ca.crt\n",
            );
            change(
                raw,
                &format!("{UNITS}/kube-controller-manager.service"),
                "--root-ca-file=/var/lib/kubernetes/ca.crt \\\n",
                "$CA \\\n",
            );
        },
        Plan,
    ),
    (
        "a comment between continued lines",
        |raw| {
            change(
                raw,
                &format!("{UNITS}/kube-apiserver.service"),
                "  --v=2",
                "# louder\n  --v=4",
            );
        },
        Plan,
    ),
    (
        "a drop-in that starts another program",
        |raw| {
            let folder = raw.join(UNITS).join("kube-apiserver.service.d");
            fs::create_dir(&folder).unwrap();
            fs::write(
                folder.join("10.conf"),
                "[Service]\nExecStart=\nExecStart=/opt/run-kube-apiserver.sh\n",
            )
            .unwrap();
        },
        Stop("C018"),
    ),
    (
        "a command before the program that reads the CA",
        |raw| {
            change(
                raw,
                &format!("{UNITS}/kube-scheduler.service"),
                "[Service]\n",
                "[Service]\nExecStartPre=/usr/bin/test -s /var/lib/kubernetes/ca.crt\n",
            );
        },
        Stop("C037"),
    ),
    (
        "a unit of somebody's that reads the CA",
        |raw| {
            let unit = "[Service]\nExecStart=/usr/bin/exporter --ca /var/lib/kubernetes/ca.crt\n";
            fs::write(raw.join(UNITS).join("exporter.service"), unit).unwrap();
        },
        Stop("C037"),
    ),
    (
        "a proxy without its configuration",
        |raw| {
            fs::remove_file(raw.join("nodes/worker-1/var/lib/kube-proxy/kube-proxy-config.yaml"))
                .unwrap();
        },
        Stop("C007"),
    ),
];

const SCRIPTED: &[Case] = &[
    (
        "a shell that expands",
        |raw| {
            change(
                raw,
                &format!("{MANIFESTS}/kube-apiserver.json"),
                "--v=2 1>>",
                "--v=$V 1>>",
            );
        },
        Stop("C018"),
    ),
    (
        "a shell that pipes",
        |raw| {
            change(
                raw,
                &format!("{MANIFESTS}/kube-apiserver.json"),
                "1>>/var/log/kube-apiserver.log 2>&1",
                "2>&1 | tee /var/log/kube-apiserver.log",
            );
        },
        Stop("C018"),
    ),
    (
        "a mounted file that two flags read",
        |raw| {
            change(
                raw,
                &format!("{MANIFESTS}/kube-controller-manager.manifest"),
                "    - /etc/kcm/root.pem\n",
                "    - /etc/kcm/clients.pem\n",
            );
        },
        Stop("C032"),
    ),
    (
        "a signer that mounts a folder",
        |raw| {
            let file = format!("{MANIFESTS}/kube-controller-manager.manifest");
            change(
                raw,
                &file,
                "{mountPath: /etc/kcm/signer.pem, name: signer}",
                "{mountPath: /etc/kcm/signer, name: signer}",
            );
            change(
                raw,
                &file,
                "    - {mountPath: /etc/kcm/signer-key.pem, name: signer-key}\n",
                "",
            );
            change(
                raw,
                &file,
                "    - /etc/kcm/signer.pem\n",
                "    - /etc/kcm/signer/ca.pem\n",
            );
            change(
                raw,
                &file,
                "    - /etc/kcm/signer-key.pem\n",
                "    - /etc/kcm/signer/ca-key.pem\n",
            );
            change(
                raw,
                &file,
                "{path: /srv/kubernetes/signer/ca.pem, type: File}",
                "{path: /srv/kubernetes/signer, type: Directory}",
            );
        },
        Plan,
    ),
];

#[test]
fn oddities_of_kubeadm_clusters_are_planned_or_refused() {
    check(layouts::SINGLE, KUBEADM);
}

#[test]
fn oddities_of_units_are_planned_or_refused() {
    check(layouts::HARD_WAY, BY_HAND);
}

#[test]
fn oddities_of_manifests_of_scripts_are_planned_or_refused() {
    check(layouts::SCRIPTED, SCRIPTED);
}

fn check(layout: Layout, cases: &[Case]) {
    let made = temporary();
    layout.make(made.path());
    let mut wrong = Vec::new();
    for (what, mutate, wanted) in cases {
        let (raw, folder) = (temporary(), temporary());
        copy(made.path(), raw.path());
        mutate(raw.path());
        let output = plan_of(raw.path(), layout, folder.path(), |_| ());
        let said = text(&output);
        let found = match output.status.code() {
            Some(0) => {
                leaves_nothing_behind(what, raw.path(), folder.path());
                "Plan".to_owned()
            }
            Some(2) => {
                assert!(!folder.path().join("plan").exists(), "{what}");
                let placed = said.contains("--> ") && said.contains("= help: ");
                let code = said
                    .split("error[")
                    .nth(1)
                    .and_then(|rest| rest.split(']').next());
                format!(
                    "{}{}",
                    code.unwrap_or("?"),
                    if placed { "" } else { ", without a place" }
                )
            }
            other => format!("{other:?}"),
        };
        let expected = match wanted {
            Plan => "Plan",
            Stop(code) => code,
        };
        if found != expected {
            wrong.push(format!("{what}: {found} in place of {expected}\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Lays every file of a plan over the nodes' own, and finds no old CA and nothing of it.
fn leaves_nothing_behind(what: &str, raw: &Path, folder: &Path) {
    let plan = folder.join("plan");
    let mut nodes: BTreeMap<String, Files> = BTreeMap::new();
    for entry in fs::read_dir(raw.join("nodes")).unwrap() {
        let node = entry.unwrap();
        let files = nodes
            .entry(node.file_name().into_string().unwrap())
            .or_default();
        walk(&node.path(), "", files);
    }
    let certificates = |entry: &Entry| match entry {
        Entry::File { bytes, .. } => certificates_of(&String::from_utf8_lossy(bytes)),
        _ => Vec::new(),
    };
    let all = nodes.values().flat_map(|files| files.values());
    let all: Vec<Certificate> = all.flat_map(certificates).collect();
    let old = rotated(folder, &all);
    assert!(!old.is_empty(), "{what}");
    for phase in crate::common::phases(&plan) {
        let sets = table(&phase.join("NODES"));
        for row in table(&phase.join("CHANGES")) {
            let [_, set, op, path, ..] = &row[..] else {
                continue;
            };
            let of_set = sets
                .iter()
                .filter(|row| row[0] == *set)
                .map(|row| row[1].clone());
            for node in of_set.collect::<BTreeSet<String>>() {
                let files = nodes.get_mut(&node).unwrap();
                let place = real(files, path.trim_start_matches('/'));
                match op.as_str() {
                    "write" => {
                        let bytes =
                            fs::read(phase.join("nodes").join(set).join(&path[1..])).unwrap();
                        let entry = Entry::File {
                            bytes,
                            mode: 0,
                            owner: (0, 0),
                        };
                        files.insert(place, entry);
                    }
                    "remove" => drop(files.remove(&place)),
                    _ => {}
                }
            }
        }
    }
    for (node, files) in &nodes {
        for (path, entry) in files {
            for found in certificates(entry) {
                let of_old = old.iter().any(|ca| found == *ca || found.signed_by(ca));
                assert!(
                    !of_old,
                    "{what}: {path} on {node} holds `{}`",
                    found.subject()
                );
            }
        }
    }
}

/// Where a path leads.
fn real(files: &Files, path: &str) -> String {
    match files.get(path) {
        Some(Entry::Link(target, _)) => target.to_str().unwrap().trim_start_matches('/').to_owned(),
        _ => path.to_owned(),
    }
}
