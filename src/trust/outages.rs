//! What is not available while a step restarts it.
//!
//! Knows processes, programs and strategies of workloads. It must not know certificates.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::EdgeFacts;
use super::edges::Kind;
use super::inputs::Inputs;
use crate::diagnostic::Result;
use crate::layout::Program;
use crate::names::{NodeName, NodePath};
use crate::state::{Process, State};

/// Seconds for which a script waits for a restart, unless it is told otherwise.
const WAITED: u32 = 300;

/// Something that is away for a while.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Outage {
    /// The phase.
    pub phase: u8,
    /// The phase's name.
    pub phase_name: String,
    /// The name by which it is accepted: `outage:apiserver`.
    pub name: String,
    /// What is away, and for whom.
    pub scope: String,
    /// Short and of small scope: it is named, and need not be accepted.
    pub minor: bool,
}

/// A step in which something restarts without which an API server does not answer.
pub struct Unanswered {
    phase: u8,
    phase_name: String,
    /// The nodes of those API servers.
    nodes: BTreeSet<NodeName>,
}

/// Finds the outages of every step, but for those of kubelets that know one API server.
pub fn find(inputs: &mut Inputs<'_>) -> Result<(Vec<Outage>, Vec<Unanswered>)> {
    let timeline = inputs.timeline;
    let start = timeline.state(0);
    let mut programs: BTreeMap<(NodeName, NodePath), Program> = BTreeMap::new();
    for node in start.nodes.keys() {
        for started in inputs.artifacts.programs(start, node)?.iter() {
            programs.insert((node.clone(), started.manifest.clone()), started.program);
        }
    }
    let mut out = BTreeSet::new();
    let mut unanswered = Vec::new();
    for at in 1..timeline.len() {
        let moment = timeline.moment(at);
        let restarted = moment.state.restarted_since(timeline.state(at - 1));
        let mut push = |name: &str, scope: String, minor: bool| {
            out.insert(Outage {
                phase: moment.phase,
                phase_name: moment.phase_name.clone(),
                name: format!("outage:{name}"),
                scope,
                minor,
            });
        };
        let mut by_program: BTreeMap<Program, BTreeSet<&NodeName>> = BTreeMap::new();
        for process in &restarted {
            if let Process::Program(node, manifest) = process
                && let Some(program) = programs.get(&(node.clone(), manifest.clone()))
            {
                by_program.entry(*program).or_default().insert(node);
            }
        }
        let serial = moment.nodes_serial.unwrap_or(false);
        for (program, nodes) in &by_program {
            let all = programs.values().filter(|p| *p == program).count();
            if let Some((name, scope)) = of_program(*program, nodes.len(), all, serial) {
                push(name, scope, false);
            }
        }
        // Seen live: it takes connections some tenths of a second before it has read the roles, and a balancer that asks
        // /readyz each second or two has not noticed yet that it was away.
        if by_program.contains_key(&Program::Apiserver) {
            push(
                "starting-apiserver",
                "a request that reaches an API server in the second after its start, before it is ready: 403 for whoever has a role; the same request again is answered".to_owned(),
                true,
            );
        }
        // Without its etcd an API server answers nothing either. Seen live: the kubelet wants to delete the old mirror
        // pod first, waits for that same API server in vain, and starts the new etcd only after some 40 s.
        let nodes = [Program::Apiserver, Program::Etcd]
            .iter()
            .filter_map(|program| by_program.get(program))
            .flatten();
        unanswered.push(Unanswered {
            phase: moment.phase,
            phase_name: moment.phase_name.clone(),
            nodes: nodes.map(|node| (*node).clone()).collect(),
        });
        if restarted.iter().any(|p| matches!(p, Process::Kubelet(_))) {
            push(
                "kubelet",
                "kubectl logs and exec into pods on a node, while its kubelet restarts: some seconds, up to half a minute on a busy machine".to_owned(),
                true,
            );
        }
        let away = workloads_away(moment.state, &restarted);
        if !away.is_empty() {
            push(
                "workloads",
                format!("all pods at once of {}", away.join(", ")),
                false,
            );
        }
    }
    Ok((out.into_iter().collect(), unanswered))
}

/// The outages of kubelets that know only the API server beside them. `edges` are those of the whole cluster.
pub fn of_local_kubelets<'e>(
    edges: impl Iterator<Item = &'e EdgeFacts>,
    unanswered: &[Unanswered],
) -> Vec<Outage> {
    let local = local_kubelets(edges);
    let affected = unanswered.iter().filter_map(|step| {
        let nodes = step.nodes.intersection(&local).map(ToString::to_string);
        let nodes = nodes.collect::<Vec<_>>().join(", ");
        (!nodes.is_empty()).then(|| Outage {
            phase: step.phase,
            phase_name: step.phase_name.clone(),
            name: "outage:local-kubelet".to_owned(),
            scope: format!(
                "kubectl logs and exec into pods on {nodes}, while that node's API server, or the etcd that it asks, restarts: its kubelet asks no other one, nor does it renew its lease, so that the node is reported NotReady, and its pods leave their Services, when that takes longer than some 40 s"
            ),
            minor: true,
        })
    });
    let affected: BTreeSet<Outage> = affected.collect();
    affected.into_iter().collect()
}

/// Whether restarts of a program leave enough of it.
fn of_program(
    program: Program,
    restarted: usize,
    all: usize,
    serial: bool,
) -> Option<(&'static str, String)> {
    let at_once = if serial { 1 } else { restarted };
    let left = all.saturating_sub(at_once);
    let (name, needed, what) = match program {
        Program::Apiserver => ("apiserver", 1, "the Kubernetes API"),
        Program::Etcd => (
            "etcd",
            all / 2 + 1,
            "etcd's quorum, and with it the Kubernetes API",
        ),
        Program::ControllerManager => (
            "controller-manager",
            1,
            "controllers: nothing is reconciled",
        ),
        Program::Scheduler => ("scheduler", 1, "scheduling of new pods"),
        Program::CloudControllerManager => ("cloud-controller-manager", 1, "cloud controllers"),
        // One of each node: what it set up in the kernel stays.
        Program::Proxy => return None,
    };
    (left < needed).then(|| {
        let how = if all == 1 {
            format!("the only one restarts, and is waited for at most {WAITED} s")
        } else {
            format!("{at_once} of {all} may restart at once")
        };
        (name, format!("{what} ({how})"))
    })
}

/// Nodes whose kubelet knows only the API server beside it.
fn local_kubelets<'e>(edges: impl Iterator<Item = &'e EdgeFacts>) -> BTreeSet<NodeName> {
    let mut servers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in edges.filter(|edge| edge.kind == Kind::Kubelet.as_str()) {
        servers
            .entry(&edge.client)
            .or_default()
            .insert(&edge.server);
    }
    let all: BTreeSet<&str> = servers.values().flatten().copied().collect();
    if all.len() < 2 {
        return BTreeSet::new();
    }
    servers
        .into_iter()
        .filter_map(|(client, servers)| {
            let node = client.strip_prefix("kubelet on ")?;
            let own = format!("API server on {node}");
            (servers.len() == 1 && servers.contains(own.as_str()))
                .then(|| NodeName::new(node).ok())
                .flatten()
        })
        .collect()
}

/// The restarted workloads that have no pod left meanwhile.
fn workloads_away(state: &State, restarted: &BTreeSet<Process>) -> Vec<String> {
    let mut out = Vec::new();
    for process in restarted {
        let Process::Workload(id) = process else {
            continue;
        };
        let Some(object) = state.object(id) else {
            continue;
        };
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let replicas = object.pointer("/spec/replicas").and_then(Value::as_u64);
        let away = match &*id.kind {
            "deployments" => replicas != Some(0) && text("/spec/strategy/type") == Some("Recreate"),
            "statefulsets" => replicas.unwrap_or(1) == 1,
            "pods" => !matches!(text("/status/phase"), Some("Succeeded" | "Failed")),
            _ => false,
        };
        if away {
            out.push(id.to_string());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::OUTAGES;

    #[test]
    fn an_outage_is_bounded_by_what_the_scripts_wait() {
        let scripts = include_str!("../../templates/lib/main.sh");
        assert!(scripts.contains(&format!(" timeout={WAITED} ")));
        let (_, scope) = of_program(Program::Apiserver, 1, 1, true).unwrap();
        assert!(scope.contains("at most 300 s"), "{scope}");
    }

    #[test]
    fn every_outage_has_a_name_that_can_be_accepted() {
        for program in [
            Program::Apiserver,
            Program::ControllerManager,
            Program::Scheduler,
            Program::CloudControllerManager,
            Program::Etcd,
        ] {
            let (name, _) = of_program(program, 1, 1, true).unwrap();
            assert!(OUTAGES.contains(&name), "{name}");
        }
        let source = include_str!("outages.rs");
        let pushed = source.split("push(\n").skip(1);
        let names =
            pushed.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
        let names: Vec<&str> = names.collect();
        assert!(names.contains(&"workloads"), "{names:?}");
        assert!(names.iter().all(|name| OUTAGES.contains(name)), "{names:?}");
    }

    #[test]
    fn etcd_keeps_its_quorum_or_is_out() {
        assert!(of_program(Program::Etcd, 3, 3, true).is_none());
        assert!(of_program(Program::Etcd, 2, 3, false).is_some());
        assert!(of_program(Program::Etcd, 1, 1, true).is_some());
        assert!(of_program(Program::Etcd, 2, 2, true).is_some());
    }

    #[test]
    fn the_only_api_server_or_all_of_them_are_an_outage() {
        assert_eq!(
            of_program(Program::Apiserver, 1, 1, true).unwrap().0,
            "apiserver"
        );
        assert!(of_program(Program::Apiserver, 3, 3, true).is_none());
        assert!(of_program(Program::Apiserver, 3, 3, false).is_some());
    }
}
