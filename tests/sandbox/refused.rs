//! What is odd about a layout, and cannot be carried through: each is refused with a code and a place.

use crate::common::edit;
use crate::layouts::{self, Layout};
use crate::made::{plan_of, temporary};
use crate::world::{copy, text};

const UNIT: &str = "nodes/etcd-1/etc/systemd/system/etcd.service";
const MANIFEST: &str = "nodes/etcd-1/etc/kubernetes/manifests/etcd.yaml";

/// A change of one file of a made cluster, and what comes of it.
struct Case {
    file: &'static str,
    from: &'static str,
    to: &'static str,
    /// The code, and what the place begins with.
    error: (&'static str, &'static str),
}

const fn case(
    file: &'static str,
    (from, to): (&'static str, &'static str),
    error: (&'static str, &'static str),
) -> Case {
    Case {
        file,
        from,
        to,
        error,
    }
}

#[test]
fn a_unit_of_etcd_that_hides_what_it_trusts_is_refused_at_its_place() {
    let at = "snapshot/nodes/etcd-1/etc/systemd/system/etcd.service:";
    let start = "ExecStart=/usr/local/bin/etcd ";
    check(
        layouts::ETCD_UNITS,
        &[
            // In a shell command, a script, a configuration file.
            case(
                UNIT,
                (start, "ExecStart=/bin/sh -c 'exec etcd' "),
                ("C018", at),
            ),
            case(UNIT, (start, "ExecStart=/opt/etcd/run.sh "), ("C018", at)),
            case(
                UNIT,
                ("--data-dir=/var/lib/etcd", "--config-file=/opt/etcd.yml"),
                ("C032", at),
            ),
            // In an environment file that is not there.
            case(
                UNIT,
                ("Type=notify", "EnvironmentFile=/etc/etcd/no.env"),
                ("C018", at),
            ),
            // Twice; and by a flag that nobody knows.
            case(
                UNIT,
                (
                    "--data-dir=/var/lib/etcd",
                    "--trusted-ca-file=/etc/etcd/pki/ca.crt",
                ),
                ("C018", at),
            ),
            case(
                UNIT,
                (
                    "Type=notify\nExecStart=/usr/local/bin/etcd \\\n  --name etcd-1",
                    "Environment=DIR=/etc/etcd\nExecStart=/usr/local/bin/etcd --name etcd-1 --experimental-x=${DIR}/pki/ca.crt",
                ),
                ("C037", at),
            ),
        ],
    );
}

#[test]
fn an_etcd_pod_with_settings_in_its_environment_is_refused_at_its_place() {
    let at = "snapshot/nodes/etcd-1/etc/kubernetes/manifests/etcd.yaml:";
    check(
        layouts::EXTERNAL_ETCD,
        &[
            case(
                MANIFEST,
                (
                    "    image: ",
                    "    env:\n    - name: ETCD_TRUSTED_CA_FILE\n      value: /etc/kubernetes/pki/etcd/other.crt\n    image: ",
                ),
                ("C032", at),
            ),
            // Declared as what it is not.
            case(
                "cluster.toml",
                (
                    "name = \"etcd-1\"\nrole = \"etcd\"",
                    "name = \"etcd-1\"\nrole = \"worker\"",
                ),
                ("C002", "cluster.toml:"),
            ),
            case(
                "cluster.toml",
                (
                    "name = \"worker-1\"\nrole = \"worker\"",
                    "name = \"worker-1\"\nrole = \"etcd\"",
                ),
                ("C028", "cluster.toml:"),
            ),
        ],
    );
}

fn check(layout: Layout, cases: &[Case]) {
    let made = temporary();
    layout.make(made.path());
    for Case {
        file,
        from,
        to,
        error: (code, place),
    } in cases
    {
        let raw = temporary();
        let folder = temporary();
        copy(made.path(), raw.path());
        if *file != "cluster.toml" {
            edit(&raw.path().join(file), from, to);
        }
        let output = plan_of(raw.path(), layout, folder.path(), |folder| {
            if *file == "cluster.toml" {
                edit(&folder.join(file), from, to);
            }
        });
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{to}: {said}");
        assert!(said.contains(&format!("error[{code}]")), "{to}: {said}");
        assert!(said.contains(&format!("--> {place}")), "{to}: {said}");
        assert!(!folder.path().join("plan").exists());
    }
}
