//! How long a phase takes: the restarts and waits that it consists of, each with a time that was seen
//! or is waited for by the scripts themselves. It knows nothing of the time that people need between
//! commands, and promises nothing: the scripts wait for what they see, not for a clock.

use std::collections::BTreeMap;

use super::PhaseView;
use crate::phases::Part;
use crate::spec::Version;
use crate::trust::versions;

/// A time that the table of phases is made of.
pub struct Assumption {
    /// What takes this long.
    pub what: &'static str,
    /// Seconds.
    pub seconds: u64,
    /// Where the number is from.
    pub source: &'static str,
}

/// Seen on a throwaway cluster; the slowest of each.
const SEEN: &str =
    "slowest seen on a kubeadm 1.34.4 cluster of three control planes on one small machine";

const APISERVER: Assumption = Assumption {
    what: "restart of an API server, until it is ready",
    seconds: 56,
    source: SEEN,
};
const CONTROLLER: Assumption = Assumption {
    what: "restart of a controller manager, a scheduler or another static pod",
    seconds: 26,
    source: SEEN,
};
const ETCD: Assumption = Assumption {
    what: "restart of an etcd member, until it is healthy",
    seconds: 65,
    source: "slowest seen on the same cluster, where the kubelet starts the new member only when an API server has answered it",
};
const KUBELET: Assumption = Assumption {
    what: "restart of a kubelet",
    seconds: 15,
    source: "slowest seen on the same cluster, and the ten seconds after which lib/process.sh looks whether it still runs",
};
/// Only before 1.21: a kubelet takes no notice of the end of a startup probe by itself, so that whoever
/// waits for the pod waits for its next look at all pods. API servers have a readiness probe, of whose
/// end it does take notice.
const LATE: Assumption = Assumption {
    what: "until a kubelet before 1.21 reports the other static pods ready, for which the next node waits",
    seconds: 90,
    source: "seen on a kubeadm 1.20.2 cluster: such a kubelet looks at a pod again after 60 to 90 s, and not when its startup probe ends",
};
const ROLL: Assumption = Assumption {
    what: "roll of a workload",
    seconds: 60,
    source: "not measured: two pods after each other, each with the default terminationGracePeriodSeconds; yours depends on its strategy and probes",
};
const PUBLISH: Assumption = Assumption {
    what: "the root CA reaches every namespace",
    seconds: 8,
    source: SEEN,
};
const PRUNE: Assumption = Assumption {
    what: "one value pruned, and looked at again",
    seconds: 65,
    source: "lib/cluster.sh waits as long as an API server needs to put an old CA back",
};

/// Everything that is assumed.
static ASSUMPTIONS: [&Assumption; 8] = [
    &APISERVER,
    &CONTROLLER,
    &ETCD,
    &LATE,
    &KUBELET,
    &ROLL,
    &PUBLISH,
    &PRUNE,
];

/// Everything that is assumed of a version.
pub fn assumptions(kubernetes: Version) -> impl Iterator<Item = &'static Assumption> {
    ASSUMPTIONS
        .into_iter()
        .filter(move |a| is_late(kubernetes) || a.what != LATE.what)
}

fn is_late(kubernetes: Version) -> bool {
    !versions::NOTICES_STARTUP.holds(kubernetes)
}

fn of_process(name: &str) -> u64 {
    let of = if name == "kubelet" {
        &KUBELET
    } else if name.contains("apiserver") {
        &APISERVER
    } else if name.contains("etcd") {
        &ETCD
    } else {
        &CONTROLLER
    };
    of.seconds
}

/// Seconds that a phase takes: where one node follows another, the sum of the nodes; where they may go
/// at once, the slowest.
pub fn of(view: &PhaseView, kubernetes: Version) -> u64 {
    let mut by_step = view.changes.restarts_by_step();
    let mut seconds = 0;
    for (index, step) in view.done.outcome.steps.iter().enumerate() {
        let nodes = by_step.remove(&(index + 1)).unwrap_or_default();
        let each = nodes.values().map(|names| of_node(names, kubernetes));
        seconds += match step.part {
            Part::Nodes { serial: true } => each.sum::<u64>(),
            Part::Nodes { serial: false } => each.max().unwrap_or(0),
            Part::Cluster => 0,
        };
    }
    seconds + in_cluster(&view.cluster.counts())
}

fn of_node(names: &[&str], kubernetes: Version) -> u64 {
    let is_reported_late = |name: &&str| *name != "kubelet" && !name.contains("apiserver");
    // several are reported late together
    let late = is_late(kubernetes) && names.iter().any(is_reported_late);
    names.iter().map(|n| of_process(n)).sum::<u64>() + if late { LATE.seconds } else { 0 }
}

fn in_cluster(counts: &BTreeMap<&str, usize>) -> u64 {
    let number = |op: &str| counts.get(op).map_or(0, |n| *n as u64);
    let publish = if number("wait-ca-all") + number("wait-ca") > 0 {
        PUBLISH.seconds
    } else {
        0
    };
    number("rollout") * ROLL.seconds + number("prune-auth") * PRUNE.seconds + publish
}

/// For a table: full minutes, rounded up.
pub fn text(seconds: u64) -> String {
    match seconds {
        0..=20 => "seconds".to_owned(),
        _ => format!("{} min", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rounded_up_to_minutes() {
        let shown: Vec<_> = [0, 20, 21, 60, 61, 600].map(text).into();
        assert_eq!(
            shown,
            ["seconds", "seconds", "1 min", "1 min", "2 min", "10 min"]
        );
    }

    #[test]
    fn an_old_kubelet_reports_what_has_no_readiness_probe_late() {
        let version = |minor| Version {
            major: 1,
            minor,
            patch: 2,
        };
        let names = ["kube-controller-manager", "kube-scheduler"];
        assert_eq!(of_node(&names, version(34)), 2 * 26);
        assert_eq!(of_node(&names, version(20)), 2 * 26 + 90);
        for name in ["kube-apiserver", "kubelet"] {
            assert_eq!(of_node(&[name], version(20)), of_node(&[name], version(21)));
        }
        assert_eq!(
            assumptions(version(20)).count(),
            assumptions(version(21)).count() + 1
        );
    }

    #[test]
    fn what_is_waited_for_in_the_cluster_adds_up() {
        let counts = BTreeMap::from([
            ("rollout", 5),
            ("prune-auth", 2),
            ("wait-ca-all", 1),
            ("ack", 4),
        ]);
        assert_eq!(in_cluster(&counts), 5 * 60 + 2 * 65 + 8);
        assert_eq!(in_cluster(&BTreeMap::new()), 0);
    }
}
