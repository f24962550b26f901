//! The gaps of the Kubernetes page (G1 to G20), each on a variant of the example cluster that has it.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{compile, edit, examples, inputs_of, judge, phases, record_anew, table};

/// A variant of the current example: its inputs, changed, compiled anew.
struct Variant(tempfile::TempDir);

impl Variant {
    fn new(change: impl FnOnce(&Variant)) -> Variant {
        let example = examples()
            .into_iter()
            .find(|e| e.ends_with("kubeadm-ha"))
            .unwrap();
        let folder = inputs_of(&example);
        fs::remove_file(folder.path().join("carota.lock")).unwrap();
        let variant = Variant(folder);
        change(&variant);
        compile(variant.0.path());
        variant
    }

    fn snapshot(&self) -> PathBuf {
        self.0.path().join("snapshot")
    }

    /// Changes a file of a node in the snapshot.
    fn edit(&self, node: &str, path: &str, from: &str, to: &str) {
        edit(
            &self.snapshot().join(format!("nodes/{node}{path}")),
            from,
            to,
        );
        let table = self.snapshot().join(format!("nodes/{node}/FILES"));
        if !fs::read_to_string(table)
            .unwrap()
            .contains(&format!("f\t-\t0600\t0:0\t{path}\n"))
        {
            record_anew(&self.snapshot(), node, path);
        }
    }

    /// Adds a file to a node in the snapshot.
    fn add(&self, node: &str, path: &str, text: &str) {
        let file = self.snapshot().join(format!("nodes/{node}{path}"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        let table = self.snapshot().join(format!("nodes/{node}/FILES"));
        let line = format!("f\t-\t0600\t0:0\t{path}\n");
        fs::write(&table, fs::read_to_string(&table).unwrap() + &line).unwrap();
    }

    fn read(&self, node: &str, path: &str) -> String {
        fs::read_to_string(self.snapshot().join(format!("nodes/{node}{path}"))).unwrap()
    }

    fn phase(&self, number: usize) -> PathBuf {
        phases(&self.0.path().join("plan"))[number].clone()
    }

    fn file(&self, number: usize, path: &str) -> String {
        fs::read_to_string(self.phase(number).join(path)).unwrap_or_default()
    }

    /// The post-image of a path on a node in a phase.
    fn image(&self, number: usize, node: &str, path: &str) -> Option<String> {
        let phase = self.phase(number);
        let sets = table(&phase.join("NODES"));
        sets.iter()
            .filter(|row| row[1] == node)
            .find_map(|row| fs::read_to_string(phase.join(format!("nodes/{}{path}", row[0]))).ok())
    }

    fn restarts(&self, number: usize) -> Vec<String> {
        table(&self.phase(number).join("CHANGES"))
            .into_iter()
            .filter(|row| row[2] == "restart")
            .map(|row| format!("{} {}", row[1], row[3]))
            .collect()
    }
}

const KCM: &str = "/etc/kubernetes/manifests/kube-controller-manager.yaml";
const APISERVER: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
const SCHEDULER: &str = "/etc/kubernetes/manifests/kube-scheduler.yaml";

fn subjects(pem: &str) -> Vec<String> {
    carota::pki::certificates_in_pem(pem, "")
        .unwrap()
        .iter()
        .map(|c| c.subject().to_owned())
        .collect()
}

#[test]
fn g1_the_signer_stays_on_the_old_ca_until_phase_12_and_then_has_one_certificate() {
    let v = Variant::new(|_| {});
    for number in 1..12 {
        if let Some(manifest) = v.image(number, "cp-1", KCM) {
            assert!(manifest.contains("--cluster-signing-cert-file=/etc/kubernetes/pki/ca.crt\n"));
        }
    }
    let manifest = v.image(12, "cp-1", KCM).unwrap();
    assert!(manifest.contains("--cluster-signing-cert-file=/etc/kubernetes/pki/ca-new.crt\n"));
    assert!(manifest.contains("--cluster-signing-key-file=/etc/kubernetes/pki/ca-new.key\n"));
    let signer = v
        .image(1, "cp-1", "/etc/kubernetes/pki/ca-new.crt")
        .unwrap();
    assert_eq!(subjects(&signer), ["CN=kubernetes-ca-2026-11-25"]);
    // The files under the original names change only after the signer has left them, new CA first.
    let rows = table(&v.phase(12).join("CHANGES"));
    let step_of = |path: &str| rows.iter().find(|r| r[3] == path).unwrap()[0].clone();
    assert!(step_of(KCM) < step_of("/etc/kubernetes/pki/ca.crt"));
    let original = v.image(12, "cp-1", "/etc/kubernetes/pki/ca.crt").unwrap();
    assert_eq!(
        subjects(&original),
        ["CN=kubernetes-ca-2026-11-25", "CN=kubernetes"]
    );
}

#[test]
fn g2_every_signer_of_the_controller_manager_is_switched_with_its_key() {
    let one = "    - --cluster-signing-cert-file=/etc/kubernetes/pki/ca.crt\n    - --cluster-signing-key-file=/etc/kubernetes/pki/ca.key\n";
    let kinds = [
        "kubelet-serving",
        "kubelet-client",
        "kube-apiserver-client",
        "legacy-unknown",
    ];
    let four: String = kinds
        .iter()
        .map(|kind| {
            format!(
                "    - --cluster-signing-{kind}-cert-file=/etc/kubernetes/pki/ca.crt\n    - --cluster-signing-{kind}-key-file=/etc/kubernetes/pki/ca.key\n"
            )
        })
        .collect();
    let v = Variant::new(|v| {
        for node in ["cp-1", "cp-2", "cp-3"] {
            v.edit(node, KCM, one, &four);
        }
    });
    let manifest = v.image(12, "cp-2", KCM).unwrap();
    for kind in kinds {
        assert!(manifest.contains(&format!(
            "--cluster-signing-{kind}-cert-file=/etc/kubernetes/pki/ca-new.crt"
        )));
        assert!(manifest.contains(&format!(
            "--cluster-signing-{kind}-key-file=/etc/kubernetes/pki/ca-new.key"
        )));
    }
}

#[test]
fn g3_the_front_proxy_ca_is_widened_on_api_servers_and_controller_managers() {
    let v = Variant::new(|_| {});
    let flag = "--requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca-bundle.crt\n";
    assert!(v.image(5, "cp-3", APISERVER).unwrap().contains(flag));
    assert!(v.image(6, "cp-3", KCM).unwrap().contains(flag));
}

#[test]
fn g4_etcd_is_widened_member_by_member_with_its_bundle_where_its_pod_sees_it() {
    let v = Variant::new(|_| {});
    let manifest = v
        .image(7, "cp-1", "/etc/kubernetes/manifests/etcd.yaml")
        .unwrap();
    assert!(manifest.contains("--trusted-ca-file=/etc/kubernetes/pki/etcd/ca-bundle.crt\n"));
    assert!(manifest.contains("--peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca-bundle.crt\n"));
    assert!(v.file(7, "PHASE").contains("\nserial\t1\n"));
    assert!(
        v.image(5, "cp-1", APISERVER)
            .unwrap()
            .contains("--etcd-cafile=/etc/kubernetes/pki/etcd/ca-bundle.crt\n")
    );
}

#[test]
fn g5_what_a_controller_owns_is_waited_for_and_never_applied() {
    let v = Variant::new(|_| {});
    for number in [3, 17] {
        let cluster = v.file(number, "CLUSTER");
        assert!(cluster.contains("wait-ca-all\tconfigmaps\tkube-root-ca.crt\tca.crt\t"));
        assert!(cluster.contains("wait-ca\tsecrets\tshop\tlegacy-token\tca.crt\t"));
        assert!(!cluster.contains("patch\tcluster/configmaps.shop.kube-root-ca.crt"));
        assert!(!cluster.contains("patch\tcluster/secrets"));
    }
}

#[test]
fn g6_flags_that_are_not_set_are_not_added_and_the_readme_says_so() {
    let v = Variant::new(|_| {});
    let readme = v.file(5, "README.md");
    assert!(readme.contains("--kubelet-certificate-authority is not set on cp-1, cp-2, cp-3"));
    assert!(
        !v.image(5, "cp-1", APISERVER)
            .unwrap()
            .contains("kubelet-certificate-authority")
    );
    let readme = v.file(6, "README.md");
    assert!(readme.contains("--client-ca-file of kube-scheduler is not set"));
    assert!(readme.contains("There is no cloud-controller-manager."));
    assert!(v.image(6, "cp-1", SCHEDULER).is_none());
}

#[test]
fn g6_a_set_kubelet_certificate_authority_is_widened() {
    let flag = "    - --kubelet-certificate-authority=/etc/kubernetes/pki/ca.crt\n";
    let after = "    - --kubelet-client-certificate=";
    let v = Variant::new(|v| v.edit("cp-1", APISERVER, after, &format!("{flag}{after}")));
    let manifest = v.image(5, "cp-1", APISERVER).unwrap();
    assert!(
        manifest.contains("--kubelet-certificate-authority=/etc/kubernetes/pki/ca-bundle.crt\n")
    );
    let readme = v.file(5, "README.md");
    assert!(readme.contains("--kubelet-certificate-authority is not set on cp-2, cp-3"));
}

#[test]
fn g7_every_kubelet_gets_a_client_certificate_and_every_node_is_gated() {
    let v = Variant::new(|_| {});
    let pems: Vec<_> = table(&v.phase(13).join("CHANGES"))
        .into_iter()
        .filter(|row| row[3].contains("/kubelet-client-"))
        .map(|row| (row[1].clone(), row[8].clone()))
        .collect();
    let kept = |node: &str| (node.to_owned(), "kept".to_owned());
    assert_eq!(
        pems,
        ["cp-1", "cp-2", "cp-3", "worker-1", "worker-2"].map(kept)
    );
    assert_eq!(
        v.file(16, "cluster/known-nodes"),
        "cp-1\ncp-2\ncp-3\nworker-1\nworker-2\n"
    );
    assert!(
        v.file(16, "CLUSTER")
            .contains("gate-nodes\tcluster/known-nodes\n")
    );
}

#[test]
fn g7_a_dated_certificate_that_no_link_leads_to_is_left_and_named() {
    let v = Variant::new(|v| {
        let pem = v.read(
            "worker-1",
            "/var/lib/kubelet/pki/kubelet-client-2026-11-24-21-30-42.pem",
        );
        v.add(
            "worker-1",
            "/var/lib/kubelet/pki/kubelet-client-2025-01-01-00-00-00.pem",
            &pem,
        );
    });
    assert!(
        v.image(
            13,
            "worker-1",
            "/var/lib/kubelet/pki/kubelet-client-2025-01-01-00-00-00.pem"
        )
        .is_none()
    );
    let readme = fs::read_to_string(v.0.path().join("plan/README.md")).unwrap();
    assert!(readme.contains("kubelet-client-2025-01-01-00-00-00.pem"));
}

/// A kubelet cleans the paths of its configuration, and takes them from where that lies.
#[test]
fn g6_paths_of_kubelets_are_cleaned() {
    let plain = Variant::new(|_| {});
    for named in [
        "/etc/kubernetes//pki/./ca.crt",
        "../../../etc/kubernetes/pki/ca.crt",
    ] {
        let v = Variant::new(|v| {
            let config = "/var/lib/kubelet/config.yaml";
            v.edit(
                "worker-1",
                config,
                "clientCAFile: /etc/kubernetes/pki/ca.crt",
                &format!("clientCAFile: {named}"),
            );
            let manifests = "staticPodPath: /etc/kubernetes/manifests";
            v.edit("cp-1", config, manifests, &format!("{manifests}/"));
        });
        for node in ["worker-1", "cp-1"] {
            let image = |v: &Variant| v.image(10, node, "/var/lib/kubelet/config.yaml");
            assert!(image(&plain).is_some() && image(&v).is_some(), "{named}");
        }
        assert_eq!(v.restarts(5), plain.restarts(5), "{named}");
    }
}

/// systemd reads a drop-in that is a link, and none that is a link to /dev/null.
#[test]
fn g6_drop_ins_that_are_links_are_read_as_systemd_reads_them() {
    const FOLDER: &str = "/etc/systemd/system/kubelet.service.d";
    let link = |v: &Variant, target: &str| {
        let table = v.snapshot().join("nodes/worker-1/FILES");
        let line = format!("l\t-\t-\t0:0\t{FOLDER}/20-more.conf\t{target}\n");
        fs::write(&table, fs::read_to_string(&table).unwrap() + &line).unwrap();
    };
    let own = "[Service]\nEnvironment=\"KUBELET_EXTRA_ARGS=--client-ca-file=/etc/kubernetes/pki/ca.crt\"\n";
    let changes_unit = |v: &Variant| {
        let rows = table(&v.phase(10).join("CHANGES"));
        rows.iter().any(|row| row[3].contains("more.conf"))
    };
    let linked = Variant::new(|v| {
        v.add("worker-1", "/srv/more.conf", own);
        link(v, "/srv/more.conf");
    });
    assert!(changes_unit(&linked));
    // 20-more.conf of a less important folder is hidden by it.
    let masked = Variant::new(|v| {
        v.add(
            "worker-1",
            "/usr/lib/systemd/system/kubelet.service.d/20-more.conf",
            own,
        );
        link(v, "/dev/null");
    });
    assert!(!changes_unit(&masked));
    assert!(
        masked
            .image(10, "worker-1", "/var/lib/kubelet/config.yaml")
            .is_some()
    );
}

#[test]
fn g8_a_serving_certificate_of_the_cluster_ca_is_reissued_and_its_kubelet_restarts() {
    let v = Variant::new(|_| {});
    let path = "/var/lib/kubelet/pki/kubelet-server-2026-11-24-21-33-09.pem";
    let pem = v.image(14, "worker-2", path).unwrap();
    assert_eq!(subjects(&pem), ["O=system:nodes, CN=system:node:worker-2"]);
    assert!(pem.contains("carota-kept:sha256:"));
    assert!(v.restarts(14).contains(&"worker-2 kubelet".to_owned()));
    assert!(!v.restarts(14).contains(&"worker-1 kubelet".to_owned()));
}

#[test]
fn g9_the_controller_managers_client_ca_file_takes_a_bundle() {
    let v = Variant::new(|_| {});
    let manifest = v.image(6, "cp-1", KCM).unwrap();
    assert!(manifest.contains("--client-ca-file=/etc/kubernetes/pki/ca-bundle.crt\n"));
}

#[test]
fn g10_and_g19_workloads_roll_and_what_a_roll_does_not_reach_is_gated() {
    let v = Variant::new(|v| {
        let cluster = v.snapshot().join("cluster");
        edit(
            &cluster.join("daemonsets.yaml"),
            "    updateStrategy:\n      rollingUpdate:\n        maxSurge: 0\n        maxUnavailable: 1\n      type: RollingUpdate\n  status:\n    currentNumberScheduled: 5\n    desiredNumberScheduled: 5\n    numberAvailable: 5\n    numberMisscheduled: 0\n    numberReady: 5\n    observedGeneration: 1\n",
            "    updateStrategy:\n      type: OnDelete\n",
        );
        edit(
            &cluster.join("statefulsets.yaml"),
            "        partition: 0\n",
            "        partition: 1\n",
        );
    });
    let cluster = v.file(4, "CLUSTER");
    for rolled in [
        "daemonsets\tkube-system\tkube-proxy",
        "deployments\tkube-system\tcoredns",
        "deployments\tshop\tweb",
    ] {
        assert!(
            cluster.contains(&format!("rollout\t{rolled}\n")),
            "{cluster}"
        );
    }
    for gated in [
        "pods\tshop\tdebug",
        "daemonsets\tshop\tagent",
        "statefulsets\tshop\tqueue",
    ] {
        assert!(
            cluster.contains(&format!("gate-pods\t{gated}\t")),
            "{cluster}"
        );
        assert!(!cluster.contains(&format!("rollout\t{gated}\n")));
    }
    assert!(cluster.contains("PodDisruptionBudget web"));
    // 17 rolls what 04 has annotated, by taking the annotation off again.
    let forth = v.file(4, "cluster/deployments.shop.web.yaml");
    let back = v.file(17, "cluster/deployments.shop.web.yaml");
    assert!(
        forth.contains("ca-rotation/rolled-by: 2026-11-25-phase-04\n"),
        "{forth}"
    );
    assert!(
        back.contains("ca-rotation/rolled-by: null\n") && back.contains("kind: Deployment"),
        "{back}"
    );
}

#[test]
fn g10_pods_that_get_a_token_or_the_ca_by_themselves_roll() {
    for asks in [
        "        - env:\n          - name: CA\n            valueFrom:\n              secretKeyRef:\n                key: ca.crt\n                name: legacy-token\n          command:\n          - sh\n",
        "        - env:\n          - name: CA\n            valueFrom:\n              configMapKeyRef:\n                key: ca.crt\n                name: kube-root-ca.crt\n          command:\n          - sh\n",
        "        - command:\n          - sh\n",
    ] {
        let v = Variant::new(|v| {
            let deployments = v.snapshot().join("cluster/deployments.yaml");
            edit(&deployments, "        - command:\n          - sh\n", asks);
            edit(
                &deployments,
                "        dnsPolicy: ClusterFirst\n        restartPolicy: Always\n        schedulerName: default-scheduler\n",
                "        automountServiceAccountToken: false\n        dnsPolicy: ClusterFirst\n        restartPolicy: Always\n        schedulerName: default-scheduler\n",
            );
        });
        let rolls = v
            .file(4, "CLUSTER")
            .contains("rollout\tdeployments\tshop\tweb\n");
        assert_eq!(rolls, asks.contains("env:"), "{asks}");
    }
}

#[test]
fn g11_cluster_info_is_widened_before_the_api_servers_switch_and_pins_are_told() {
    let v = Variant::new(|_| {});
    let object = v.file(11, "cluster/configmaps.kube-public.cluster-info.yaml");
    assert!(object.contains("certificate-authority-data"));
    let pin = |file: &Path| {
        let key = judge(
            "openssl",
            &["x509", "-noout", "-pubkey"],
            &fs::read(file).unwrap(),
        )
        .stdout;
        let der = judge("openssl", &["pkey", "-pubin", "-outform", "der"], &key).stdout;
        String::from_utf8(judge("sha256sum", &[], &der).stdout).unwrap()[..64].to_owned()
    };
    let old = pin(&v.snapshot().join("nodes/cp-1/etc/kubernetes/pki/ca.crt"));
    let new = pin(&v
        .phase(1)
        .join("nodes/@control-planes/etc/kubernetes/pki/ca-new.crt"));
    let readme = v.file(11, "README.md");
    assert!(
        readme.contains(&format!("old sha256:{old}"))
            && readme.contains(&format!("new sha256:{new}"))
    );
}

#[test]
fn g13_people_confirm_by_name_before_14_and_18() {
    let v = Variant::new(|_| {});
    assert!(v.file(14, "CLUSTER").starts_with("ack\tuser-alice\t"));
    assert!(v.file(14, "CLUSTER").contains("\nack\texternal-clients\t"));
    assert!(
        v.file(18, "CLUSTER")
            .starts_with("ack\tuser-alice-certificate\t")
    );
    assert!(
        v.file(8, "users/alice.kubeconfig")
            .contains("carota-kept:sha256:")
    );
}

#[test]
fn g13_people_confirm_by_name_before_what_their_file_needs_is_undone() {
    let v = Variant::new(|_| {});
    let asked: Vec<(usize, String)> = (0..=20)
        .filter(|number| v.phase(*number).join("CLUSTER-BACK").exists())
        .flat_map(|number| {
            let table = v.file(number, "CLUSTER-BACK");
            let asks = table.lines().filter(|line| line.starts_with("ack\t"));
            let of = |line: &str| (number, line.split('\t').nth(1).unwrap().to_owned());
            asks.map(of).collect::<Vec<_>>()
        })
        .collect();
    let (certificate, hers) = (
        "undone-user-alice-certificate",
        "alice has put back the kubeconfig of ",
    );
    let (signed, new) = ("undone-signed", "what the new CA signed since phase 12 ");
    let wanted = [
        (5, certificate, hers),
        (5, signed, new),
        (10, certificate, hers),
        (10, signed, new),
        (14, "undone-user-alice", hers),
    ];
    let names = wanted.map(|(number, name, _)| (number, name.to_owned()));
    assert_eq!(asked, names);
    for (number, name, text) in wanted {
        let readme = v.file(number, "README.md");
        assert!(readme.contains(&format!("| `{name}` | {text}")), "{readme}");
    }
}

#[test]
fn g14_a_webhooks_certificate_in_a_secret_is_reissued_and_its_workload_rolls() {
    let mounted = (
        "        dnsPolicy: ClusterFirst\n        restartPolicy: Always\n        schedulerName: default-scheduler\n",
        "        volumes:\n        - name: tls\n          secret:\n            secretName: policy-tls\n",
    );
    let in_its_environment = (
        "          imagePullPolicy: Never\n          name: c\n",
        "          envFrom:\n          - secretRef:\n              name: policy-tls\n",
    );
    for (before, gets) in [mounted, in_its_environment] {
        let v = Variant::new(|v| {
            let leaf = v.read("cp-1", "/etc/kubernetes/pki/apiserver.crt");
            let encoded = judge("base64", &["-w0"], leaf.as_bytes()).stdout;
            let encoded = String::from_utf8(encoded).unwrap();
            let secret = format!(
                "items:\n- apiVersion: v1\n  data:\n    tls.crt: {encoded}\n    tls.key: carota-kept:token@cluster/secrets.yaml#99\n  kind: Secret\n  metadata:\n    name: policy-tls\n    namespace: shop\n  type: kubernetes.io/tls\n"
            );
            let cluster = v.snapshot().join("cluster");
            edit(&cluster.join("secrets.yaml"), "items:\n", &secret);
            edit(
                &cluster.join("deployments.yaml"),
                before,
                &format!("{gets}{before}"),
            );
        });
        assert!(v.file(14, "PHASE").contains("\norder\tcluster node\n"));
        let secret = v.file(14, "cluster/secrets.shop.policy-tls.yaml");
        assert!(
            secret.contains("  tls.crt: ")
                && !secret.contains("tls.key")
                && !secret.contains("type:"),
            "{secret}"
        );
        let cluster = v.file(15, "CLUSTER");
        assert!(
            cluster.contains("rollout\tdeployments\tshop\tweb\n"),
            "{cluster}"
        );
        // 15 is undone first, while the new certificate still lies there: so 14 ends its way back with a roll.
        let back = v.file(14, "CLUSTER-BACK");
        let (secret, roll) = back
            .split_once("patch\tcluster/back-roll-deployments.shop.web.yaml\tmerge\n")
            .expect("a roll");
        assert!(
            secret.contains("patch\tcluster/back-secrets.shop.policy-tls.yaml\t"),
            "{back}"
        );
        assert_eq!(roll, "rollout\tdeployments\tshop\tweb\n");
        let patch = v.file(14, "cluster/back-roll-deployments.shop.web.yaml");
        assert!(
            patch.contains("ca-rotation/rolled-by: 2026-11-25-phase-14-undone\n"),
            "{patch}"
        );
    }
}

#[test]
fn g15_copies_of_admin_conf_are_treated_as_kubeconfigs_of_people() {
    let v = Variant::new(|v| {
        let admin = v.read("cp-1", "/etc/kubernetes/admin.conf");
        v.add("worker-1", "/root/.kube/config", &admin);
    });
    for number in [8, 13, 19] {
        assert!(
            v.image(number, "worker-1", "/root/.kube/config").is_some(),
            "{number}"
        );
    }
}

#[test]
fn g17_without_root_ca_file_the_controller_managers_own_kubeconfig_is_widened_in_02() {
    let v = Variant::new(|v| {
        for node in ["cp-1", "cp-2", "cp-3"] {
            v.edit(
                node,
                KCM,
                "    - --root-ca-file=/etc/kubernetes/pki/ca.crt\n",
                "",
            );
        }
    });
    assert!(
        v.image(2, "cp-1", "/etc/kubernetes/controller-manager.conf")
            .is_some()
    );
    assert!(
        v.image(2, "cp-1", KCM)
            .unwrap()
            .contains("ca-rotation/inputs: sha256-")
    );
    assert!(
        v.image(8, "cp-1", "/etc/kubernetes/controller-manager.conf")
            .is_none()
    );
    assert!(v.file(2, "README.md").contains("gap G17"));
    assert!(
        v.image(17, "cp-1", "/etc/kubernetes/controller-manager.conf")
            .is_some()
    );
    // What pods get is then the kubeconfig's CA data, and is waited for all the same.
    assert!(
        v.file(3, "CLUSTER")
            .contains("wait-ca-all\tconfigmaps\tkube-root-ca.crt")
    );
}

#[test]
fn g18_ca_bundles_are_narrowed_in_17() {
    let v = Variant::new(|_| {});
    for name in [
        "apiservices.v1alpha1.wares.shop.example",
        "customresourcedefinitions.carts.shop.example",
        "mutatingwebhookconfigurations.defaults.shop.example",
        "validatingwebhookconfigurations.policy.shop.example",
        "configmaps.shop.gateway-trust",
    ] {
        assert!(
            v.file(9, "CLUSTER")
                .contains(&format!("patch\tcluster/{name}.yaml\t"))
        );
        assert!(
            v.file(17, "CLUSTER")
                .contains(&format!("patch\tcluster/{name}.yaml\t"))
        );
    }
}

#[test]
fn g20_served_chains_are_probed_against_the_new_ca_alone() {
    let v = Variant::new(|_| {});
    let cluster = v.file(16, "CLUSTER");
    for address in ["10.200.0.11", "10.200.0.12", "10.200.0.13", "k8s-api.lab"] {
        assert!(cluster.contains(&format!(
            "probe\t{address}:6443\t{address}\tcluster/new-ca.crt\n"
        )));
    }
    assert_eq!(
        subjects(&v.file(16, "cluster/new-ca.crt")),
        ["CN=kubernetes-ca-2026-11-25"]
    );
}

#[test]
fn pitfall_8_the_published_trust_of_api_servers_is_pruned_after_the_last_of_them() {
    let v = Variant::new(|_| {});
    assert!(v.file(18, "PHASE").contains("\norder\tnode cluster\n"));
    let cluster = v.file(18, "CLUSTER");
    for key in ["client-ca-file", "requestheader-client-ca-file"] {
        assert!(cluster.contains(&format!(
            "prune-auth\t{key}\tcluster/extension-apiserver-authentication.{key}.crt\n"
        )));
    }
}

#[test]
fn pitfall_20_static_pods_whose_kubeconfig_is_mounted_as_a_file_are_recreated() {
    let v = Variant::new(|_| {});
    for number in [8, 13] {
        for manifest in [KCM, SCHEDULER] {
            let image = v.image(number, "cp-1", manifest).unwrap();
            assert!(
                image.contains("ca-rotation/inputs: sha256-"),
                "{number} {manifest}"
            );
            assert!(
                v.restarts(number)
                    .contains(&format!("cp-1 static-pod:{manifest}"))
            );
        }
    }
}

#[test]
fn an_agent_that_reads_a_kubeconfig_of_the_host_rolls_in_08() {
    let v = Variant::new(|v| {
        edit(
            &v.snapshot().join("cluster/daemonsets.yaml"),
            "        dnsPolicy: ClusterFirst\n        restartPolicy: Always\n",
            "        dnsPolicy: ClusterFirst\n        volumes:\n        - name: cni\n          hostPath:\n            path: /etc/cni/net.d\n        restartPolicy: Always\n",
        );
    });
    assert!(
        v.file(8, "CLUSTER")
            .contains("rollout\tdaemonsets\tshop\tagent\n")
    );
    assert!(
        !v.file(8, "CLUSTER")
            .contains("rollout\tdaemonsets\tkube-system\tkube-proxy\n")
    );
}

#[test]
fn token_secrets_are_patched_only_where_no_controller_writes_them() {
    let v = Variant::new(|v| {
        for node in ["cp-1", "cp-2", "cp-3"] {
            let flag = "    - --service-account-private-key-file=/etc/kubernetes/pki/sa.key\n";
            v.edit(node, KCM, flag, "");
        }
    });
    let secret = v.file(3, "cluster/secrets.shop.legacy-token.yaml");
    assert!(
        secret.contains("ca.crt:") && !secret.contains("token:"),
        "{secret}"
    );
}

#[test]
fn a_published_cluster_trust_bundle_is_left_to_its_controller_and_named() {
    let v = Variant::new(|v| {
        let ca = v
            .read("cp-1", "/etc/kubernetes/pki/ca.crt")
            .replace('\n', "\n      ");
        let list = format!(
            "apiVersion: v1\nitems:\n- apiVersion: certificates.k8s.io/v1beta1\n  kind: ClusterTrustBundle\n  metadata:\n    name: kubernetes.io:kube-apiserver-serving:abc\n  spec:\n    signerName: kubernetes.io/kube-apiserver-serving\n    trustBundle: |\n      {}\nkind: List\n",
            ca.trim_end()
        );
        fs::write(v.snapshot().join("cluster/clustertrustbundles.yaml"), list).unwrap();
    });
    assert!(
        v.file(2, "README.md")
            .contains("clustertrustbundles/kubernetes.io:kube-apiserver-serving:abc")
    );
}
