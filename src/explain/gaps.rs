//! What the Kubernetes page 'Manual Rotation of CA Certificates' leaves open, by the numbers that phases and READMEs
//! cite: the one text for `carota explain G3` and docs/gaps.md.

/// A place where the page is silent, or does not hold.
pub struct Gap {
    /// Its number: `G3`.
    pub id: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// What following the page to the letter leaves undone or breaks.
    pub page: &'static str,
    /// What carota does.
    pub does: &'static str,
    /// In which phases.
    pub phases: &'static [u8],
}

const fn gap(
    id: &'static str,
    title: &'static str,
    page: &'static str,
    does: &'static str,
    phases: &'static [u8],
) -> Gap {
    Gap {
        id,
        title,
        page,
        does,
        phases,
    }
}

/// Every gap, in the order of its number.
pub static GAPS: [Gap; 20] = [
    gap(
        "G1",
        "when the signer is switched",
        "Step 2 has the controller manager sign with the new CA before step 5 makes API servers trust it: a kubelet that renews in between is locked out.",
        "The signer stays on the old CA until every verifier trusts both, and is switched before the first identity is re-issued.",
        &[2, 12],
    ),
    gap(
        "G2",
        "the signer's key, and its other flags",
        "The flag for the signer's key is not named, nor are the flags that newer versions have for each kind of signer.",
        "Every pair of `--cluster-signing-…` flags that is set moves, certificate and key together.",
        &[12, 18],
    ),
    gap(
        "G3",
        "who trusts the front proxy",
        "The front-proxy CA is replaced, but the flag by which its clients are verified, `--requestheader-client-ca-file`, is not named.",
        "The flag is pointed at a bundle on API servers and on the controller manager, before the front-proxy client is re-issued.",
        &[5, 6],
    ),
    gap(
        "G4",
        "etcd",
        "The CA of etcd is not covered.",
        "It is rotated like the others: its members one after another, the API servers' trust in it, and the certificates on both sides.",
        &[5, 7, 14, 18],
    ),
    gap(
        "G5",
        "kube-root-ca.crt",
        "The ConfigMap `kube-root-ca.crt`, from which pods of Kubernetes 1.21 and newer get the CA, is not named.",
        "It is waited for in every namespace, and never written: the controller manager owns it.",
        &[3, 17],
    ),
    gap(
        "G6",
        "flags that are not set",
        "Some of the flags that are to be changed are set on few clusters: kubeadm, for one, sets no `--client-ca-file` on the scheduler.",
        "What is set is changed, and no flag is added; the phase's README names the flags that are not set.",
        &[5, 6],
    ),
    gap(
        "G7",
        "kubelets that renew by themselves",
        "Such a kubelet keeps its certificate of the old CA until it is due, which may take a year; step 12 then locks it out.",
        "Every kubelet's client certificate is re-issued, and old trust goes only if every Node object is one that the plan knows.",
        &[13, 16],
    ),
    gap(
        "G8",
        "kubelets' serving certificates",
        "Serving certificates that the cluster CA signed for kubelets are not covered.",
        "They are re-issued together with those of API servers, before old trust goes.",
        &[14],
    ),
    gap(
        "G9",
        "a bundle for the controller manager's clients",
        "It says that the controller manager's `--client-ca-file` must not hold several CAs.",
        "It may, as was tried with 1.20.2 and 1.34.4, and it gets a bundle. Only the signer's own file must hold one certificate.",
        &[6],
    ),
    gap(
        "G10",
        "pods that are not the system's",
        "Step 4 restarts system pods. Any other pod whose client read the CA when it started fails once API servers serve the new certificate.",
        "Every workload whose pods use the API is rolled, when trust is wide and again when it is narrow.",
        &[4, 17],
    ),
    gap(
        "G11",
        "nodes that join meanwhile",
        "Step 10 changes `cluster-info` only after API servers have switched in 9.3: a node that joins in between does not trust them.",
        "`cluster-info` holds both CAs before the switch, and the new one alone at the end.",
        &[11, 17],
    ),
    gap(
        "G12",
        "the loops",
        "The shell loops on the page do not run as they are printed, and write whole objects back as they were read.",
        "Of each object the field that changes is patched and nothing else; every wait has an end, and then names what is behind.",
        &[3, 9, 11, 17],
    ),
    gap(
        "G13",
        "people and clients outside",
        "Users and clients outside the cluster must have the wide file before API servers switch, and a new certificate before old trust goes. No step waits for them.",
        "The scripts ask for each user, and for the clients outside, by name before their first write.",
        &[8, 14, 18],
    ),
    gap(
        "G14",
        "certificates of workloads",
        "Certificates that a rotated CA signed for webhooks, operators and other workloads are not covered; they die with the old trust.",
        "They are found in the snapshot and re-issued, or have to be declared before the plan compiles (C026); what mounts them is rolled.",
        &[14, 15],
    ),
    gap(
        "G15",
        "copies of admin.conf",
        "Copies of kubeconfigs on the nodes, such as `/root/.kube/config`, are not named.",
        "The collector takes them along, and they change with the kubeconfigs that they are copies of.",
        &[8, 13, 18],
    ),
    gap(
        "G16",
        "what trusts by path",
        "Some programs know no flag and read `ca.crt` by its path: kubeadm's client of etcd, backup jobs, probes.",
        "The files of the original names hold new and old, the new first, before servers switch, and the new one alone at the end; the key beside them goes along.",
        &[12, 18],
    ),
    gap(
        "G17",
        "a controller manager without --root-ca-file",
        "Without that flag the controller manager gives ServiceAccounts the CA data of its own kubeconfig, which the page changes much later.",
        "Such a kubeconfig is widened first, with the flag of the others, and narrowed when ServiceAccounts are.",
        &[2, 17],
    ),
    gap(
        "G18",
        "caBundles at the end",
        "Step 12 takes the old CA from files and kubeconfigs, and leaves it in the `caBundle`s of webhooks and APIServices.",
        "They are narrowed together with what ServiceAccounts trust.",
        &[17],
    ),
    gap(
        "G19",
        "what a rolling restart does not reach",
        "An annotation rolls no set with strategy OnDelete or a partition, no paused Deployment and no bare pod; and a rolling update asks no PodDisruptionBudget.",
        "What a roll does not reach is listed by name, and the phase waits for pods that started anew; a budget that may be breached is named first.",
        &[4, 15, 17],
    ),
    gap(
        "G20",
        "quiet logs",
        "Logs without TLS errors are taken as a sign of success, but an untrusted client may be answered with 401 alone, and a process may not have read its new files yet.",
        "The scripts look at what servers serve, and at the start and the flags of the process that runs.",
        &[14, 16],
    ),
];

impl Gap {
    /// The gap of a number such as `G3`.
    #[must_use]
    pub fn named(what: &str) -> Option<&'static Gap> {
        GAPS.iter().find(|gap| gap.id.eq_ignore_ascii_case(what))
    }
}
