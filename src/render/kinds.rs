//! What each file of a plan, and beside it, is and why it is there: the one text for `carota explain`,
//! for the plan's README and for docs/phases.md. Knows names and contents of files; it must not know
//! how they were made.

use crate::edit::KEPT;
use crate::edit::kubeconfig::looks_like_kubeconfig;

/// A kind of file.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its path from the user's folder: `NN` is a phase's directory, `**` anything below, `*` part of a
    /// name.
    pub pattern: &'static str,
    /// What it is, as a noun.
    pub what: &'static str,
    /// Why it is there, or why it is so.
    pub why: &'static str,
}

const fn kind(pattern: &'static str, what: &'static str, why: &'static str) -> Kind {
    Kind { pattern, what, why }
}

/// Every kind, the more special before the more general.
pub static KINDS: [Kind; 31] = [
    kind(
        "cluster.toml",
        "the description of the rotation, written by people",
        "It says what is rotated, how the new CAs are made, when, and what is accepted. Together with the snapshot and the lock it gives the plan.",
    ),
    kind(
        "carota.lock",
        "the certificates that were issued for this rotation",
        "Keys and signatures are made at random, so what was issued is pinned here. With it `carota check` gives the same plan again without any secret. No private value is in it.",
    ),
    kind(
        "snapshot/**",
        "the cluster as the collector found it",
        "The states of the rotation begin here. In place of each private value it holds a reference.",
    ),
    kind(
        "secrets/**",
        "a private file",
        "New CA keys, and new leaf keys where leaf_keys is \"new\": private, ignored by git, carried to its own node alone. Its content is never shown.",
    ),
    kind(
        "plan",
        "the compiled plan",
        "People review this directory, carry it to the cluster and run its scripts. It is replaced as a whole by a compile. Begin with its README.md.",
    ),
    kind(
        "plan/README.md",
        "what a reviewer reads first",
        "It is rendered from the same states as everything else, so it cannot say what the files do not.",
    ),
    kind(
        "plan/plan.json",
        "the same as the README, for programs",
        "Versioned; `carota schema --of plan` prints its JSON Schema.",
    ),
    kind(
        "plan/report.html",
        "the plan to look at, in one file without network",
        "Timeline, trust matrix, diffs and certificates for people who would rather see than read.",
    ),
    kind(
        "plan/SHA256SUMS",
        "the SHA-256 of every other file of the plan",
        "Its own SHA-256 is the digest that people approve, and that the scripts compare with `--digest`.",
    ),
    kind(
        "plan/lib/**",
        "what the scripts share",
        "It lies once for all phases and is the same in every plan of one version of carota, so it is reviewed once.",
    ),
    kind(
        "plan/ansible/**",
        "the same scripts, run by Ansible on many hosts",
        "An inventory by role, a playbook for each phase and `site.yml` over all. They carry bundles and call `apply.sh`, `verify.sh` and `rollback.sh`, and do nothing else.",
    ),
    kind(
        "plan/NN/README.md",
        "what the phase does, why, and the commands to run",
        "For the person who runs it and the person who approves it.",
    ),
    kind(
        "plan/NN/phase.diff",
        "every change of the phase",
        "This is what to review: nodes with the same change share a section, certificates are shown as what they say, and of changes that differ in a certificate's serial number, fingerprint and dates alone one is shown. Sections of text files apply with `patch -p1`.",
    ),
    kind(
        "plan/NN/CERTIFICATES",
        "a table for people: certificates whose changes are alike, by node",
        "What `phase.diff` shows of one of them holds for all; what is each one's own stands here.",
    ),
    kind(
        "plan/NN/apply.sh",
        "the script that carries out the phase",
        "It checks the window, the phase before, acknowledgements and the hash of every file before it writes, and can be started again after an interruption.",
    ),
    kind(
        "plan/NN/verify.sh",
        "the script that looks whether the phase holds",
        "It changes nothing. Its exit code 0 is the gate before the next phase.",
    ),
    kind(
        "plan/NN/rollback.sh",
        "the script that undoes the phase",
        "It is compiled from the same two states as the way forth, in the other direction.",
    ),
    kind(
        "plan/NN/PHASE",
        "a table for the scripts: the phase, its predecessor, its order and window",
        "The scripts are the same in every phase; what differs is data. It also says which nodes must be ready before another is touched, and where etcd's members are asked.",
    ),
    kind(
        "plan/NN/NODES",
        "a table for the scripts: which nodes are in which set",
        "Nodes with equal files share them.",
    ),
    kind(
        "plan/NN/CHANGES",
        "a table for the scripts: what is written, removed and restarted on nodes",
        "Each line has the hash of the file before and after: a file that drifted since the snapshot is not overwritten.",
    ),
    kind(
        "plan/NN/PODS",
        "a table for the scripts: what manifests say that are not spelled line by line",
        "JSON, flow style and shell commands cannot be read on a node. By the manifest's hash it has the command line that must run, and where to ask whether it is healthy.",
    ),
    kind(
        "plan/NN/CLUSTER",
        "a table for the scripts: what is done with kubectl, in order",
        "Objects that are applied, waited for and gated, and what a person must confirm first.",
    ),
    kind(
        "plan/NN/CLUSTER-BACK",
        "a table for the scripts: what undoes CLUSTER, in order",
        "The inverse is compiled with the plan; nothing is read back from the cluster. What a person must confirm before the phase is undone stands here too, for nodes and cluster.",
    ),
    kind(
        "plan/NN/cluster/known-nodes",
        "the nodes that the plan knows",
        "A node that joined since the snapshot has certificates of its own and would be locked out: the phase stops at it.",
    ),
    kind(
        "plan/NN/cluster/new-ca.crt",
        "the new CA, to verify what servers serve",
        "The phase asks each server for its chain and puts it to this CA.",
    ),
    kind(
        "plan/NN/cluster/*.crt",
        "a value that is set in an object as a whole",
        "API servers publish the union of what they have seen; only setting it prunes the old CA.",
    ),
    kind(
        "plan/NN/cluster/back-*.yaml",
        "an object for the way back, with nothing but the fields that change",
        "rollback.sh patches the object with it: all other fields are left alone; null takes away what the phase had added.",
    ),
    kind(
        "plan/NN/cluster/*.yaml",
        "a patch of an object: its name and nothing but the fields that change",
        "apply.sh patches the object with it: all other fields, and items of lists by other names, are left alone.",
    ),
    kind(
        "plan/NN/users/*.kubeconfig",
        "a kubeconfig to hand out to its user",
        "It lives outside the nodes. Its private key is not in it: `lib/user.sh` puts the key of the present file into it.",
    ),
    kind(
        "plan/NN/nodes/**",
        "a file on nodes as the phase leaves it",
        "apply.sh installs it where the file before it has the hash that CHANGES names.",
    ),
    kind(
        "plan/NN",
        "a phase",
        "One step of the rotation, complete on every node before the next begins.",
    ),
];

/// The kind of a file, by its path from the user's folder.
#[must_use]
pub fn of(path: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| matches(kind.pattern, path))
}

fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    for wanted in pattern.split('/') {
        if wanted == "**" {
            return parts.next().is_some_and(|part| !part.is_empty());
        }
        let Some(part) = parts.next() else {
            return false;
        };
        let fits = match (wanted, wanted.split_once('*')) {
            ("NN", _) => is_phase_directory(part),
            (_, Some((head, tail))) => {
                part.len() > head.len() + tail.len()
                    && part.starts_with(head)
                    && part.ends_with(tail)
            }
            _ => part == wanted,
        };
        if !fits {
            return false;
        }
    }
    parts.next().is_none()
}

/// Whether a name is that of a phase's directory, such as `05-apiserver-trust`.
#[must_use]
pub fn is_phase_directory(name: &str) -> bool {
    matches!(name.as_bytes(), [a, b, b'-', _, ..] if a.is_ascii_digit() && b.is_ascii_digit())
}

/// What a file on a node is to the rules that change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Runs a static pod.
    Manifest,
    /// Configures a kubelet.
    KubeletConfig,
    /// Says where the API server is, whom to trust and who one is.
    Kubeconfig,
    /// CA certificates.
    Trust,
    /// A certificate of a process, perhaps with its key.
    Leaf,
    /// A private key.
    Key,
    /// Something that cluster.toml declares.
    Other,
}

fn is_json_pod(text: &str) -> bool {
    let word = |w: &str| text.starts_with('{') && text.contains(w);
    word("\"Pod\"") && word("\"containers\"")
}

impl Form {
    /// What a file on a node is, by its public text. `holds_ca`: whether one of its certificates is a
    /// rotated CA, old or new.
    #[must_use]
    pub fn of(text: &str, holds_ca: bool) -> Form {
        let has = |line: &str| text.lines().any(|l| l.trim_end() == line);
        if looks_like_kubeconfig(text) {
            Form::Kubeconfig
        } else if has("kind: Pod") || is_json_pod(text) {
            Form::Manifest
        } else if has("kind: KubeletConfiguration") {
            Form::KubeletConfig
        } else if text.contains("BEGIN CERTIFICATE") {
            if holds_ca { Form::Trust } else { Form::Leaf }
        } else if text.starts_with(KEPT) {
            Form::Key
        } else {
            Form::Other
        }
    }

    /// The rule that changes such files.
    #[must_use]
    pub fn rule(self) -> &'static str {
        match self {
            Form::Manifest => {
                "Flags move, files do not: only flags that name a file of trust or the signer's files, and an annotation with the fingerprint of certificates that the process must read anew, are changed; every other byte stays. At the end the manifest is the snapshot's again."
            }
            Form::KubeletConfig => {
                "Only the path of clientCAFile moves, to the bundle and at the end back; every other byte stays."
            }
            Form::Kubeconfig => {
                "Only CA data and client certificate data are replaced, for the same user, key and groups; every other byte stays."
            }
            Form::Trust => {
                "A bundle lies beside the file of trust that it widens; the original gets both CAs, the new first, when the signer no longer reads it, and the new one alone at the end."
            }
            Form::Leaf => {
                "The certificate is re-issued by the new CA with the same subject, names and usages, for the same key unless leaf_keys is \"new\"."
            }
            Form::Key => {
                "A private key is never in the plan: this is the reference to it. The script puts the key in from the node's own file or from secrets/."
            }
            Form::Other => {
                "cluster.toml declares it as a trust consumer: a copy of a CA that no rule of carota's own knows."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_special_kind_comes_before_the_general_one() {
        let pattern = |path: &str| of(path).map(|kind| kind.pattern);
        assert_eq!(
            pattern("plan/05-a/cluster/back-x.yaml"),
            Some("plan/NN/cluster/back-*.yaml")
        );
        assert_eq!(
            pattern("plan/05-a/cluster/x.yaml"),
            Some("plan/NN/cluster/*.yaml")
        );
        assert_eq!(
            pattern("plan/05-a/nodes/cp-1/etc/README.md"),
            Some("plan/NN/nodes/**")
        );
        for path in [
            "plan/README.txt",
            "plan/5-a/PHASE",
            "plan/05-a/PHASE/x",
            "",
            "plan/lib/",
        ] {
            assert_eq!(pattern(path), None, "{path}");
        }
    }

    #[test]
    fn a_file_is_known_by_what_it_says() {
        assert_eq!(
            Form::of("apiVersion: v1\nkind: Pod\n", false),
            Form::Manifest
        );
        assert_eq!(Form::of("-----BEGIN CERTIFICATE-----\n", true), Form::Trust);
        assert_eq!(Form::of("-----BEGIN CERTIFICATE-----\n", false), Form::Leaf);
        assert_eq!(Form::of("carota-kept:sha256:00\n", false), Form::Key);
    }
}
