//! Does each private key belong to its certificate? Where they are two files, one may change without
//! the other, and a program with half a pair serves nobody and does not start.
//!
//! Knows flags, files, and the references that stand for keys. It must not know who connects to whom.
//!
//! No key is in sight, only the reference to one. So what lay together before the rotation belongs
//! together, and so does what changes together; a key that stays beside a certificate for another one,
//! or the reverse, is half a pair.

use std::collections::{BTreeMap, BTreeSet};

use super::artifacts::Started;
use super::inputs::Inputs;
use super::starts::no_start;
use super::{BrokenEdge, Outage, Share};
use crate::diagnostic::Result;
use crate::edit::KEPT;
use crate::layout::Program;
use crate::names::{NodeName, NodePath};
use crate::state::{Process, State};

/// Flags that name a certificate and its key, and whether both are read at every handshake: then each
/// fails between the two writes (P transport/listener.go:493 of etcd; an API server keeps its old pair
/// meanwhile, A dynamiccertificates).
const PAIRS: [(Program, &str, &str, bool); 11] = [
    (
        Program::Apiserver,
        "tls-cert-file",
        "tls-private-key-file",
        false,
    ),
    (
        Program::Apiserver,
        "kubelet-client-certificate",
        "kubelet-client-key",
        true,
    ),
    (
        Program::Apiserver,
        "proxy-client-cert-file",
        "proxy-client-key-file",
        false,
    ),
    (Program::Apiserver, "etcd-certfile", "etcd-keyfile", true),
    (Program::Etcd, "cert-file", "key-file", true),
    (Program::Etcd, "peer-cert-file", "peer-key-file", true),
    (
        Program::ControllerManager,
        "cluster-signing-cert-file",
        "cluster-signing-key-file",
        false,
    ),
    (
        Program::ControllerManager,
        "cluster-signing-kubelet-client-cert-file",
        "cluster-signing-kubelet-client-key-file",
        false,
    ),
    (
        Program::ControllerManager,
        "cluster-signing-kubelet-serving-cert-file",
        "cluster-signing-kubelet-serving-key-file",
        false,
    ),
    (
        Program::ControllerManager,
        "cluster-signing-kube-apiserver-client-cert-file",
        "cluster-signing-kube-apiserver-client-key-file",
        false,
    ),
    (
        Program::ControllerManager,
        "cluster-signing-legacy-unknown-cert-file",
        "cluster-signing-legacy-unknown-key-file",
        false,
    ),
];

/// What was found.
#[derive(Default)]
pub struct Pairs {
    /// Half pairs.
    pub broken: Vec<BrokenEdge>,
    /// Moments between two writes.
    pub outages: Vec<Outage>,
}

/// Looks at every pair that flags name after every change of its node's files.
pub fn find(inputs: &mut Inputs<'_>) -> Result<Pairs> {
    let mut out = Pairs::default();
    let mut between: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for node in inputs.timeline.state(0).nodes.keys() {
        let before = inputs.artifacts.programs(inputs.timeline.state(0), node)?;
        for program in before.iter() {
            for pair in PAIRS.iter().filter(|pair| pair.0 == program.program) {
                one(inputs, node, program, pair, &mut out.broken, &mut between)?;
            }
        }
    }
    for (at, who) in between {
        let moment = inputs.timeline.moment(at);
        let who: Vec<_> = who.into_iter().collect();
        out.outages.push(Outage {
            phase: moment.phase,
            phase_name: moment.phase_name.clone(),
            name: "outage:key-pairs".to_owned(),
            scope: format!(
                "new handshakes of {} in the moment between the writes of a certificate and of its new key",
                who.join(", ")
            ),
            minor: true,
        });
    }
    Ok(out)
}

/// The pairs that one place has held.
#[derive(Default)]
struct Known(Vec<(String, String)>);

/// What a pair is to those before it.
enum Met {
    /// One of them.
    Again,
    /// Another certificate with another key.
    New,
    /// The certificate or the key of another pair.
    Half,
}

impl Known {
    fn meet(&mut self, pair: &(String, String)) -> Met {
        if self.0.contains(pair) {
            return Met::Again;
        }
        if self.0.iter().any(|(c, k)| *c == pair.0 || *k == pair.1) {
            return Met::Half;
        }
        self.0.push(pair.clone());
        Met::New
    }
}

/// The moments at which a node's files change, the first one too.
fn changes(inputs: &Inputs<'_>, node: &NodeName) -> Vec<usize> {
    let versions = inputs.timeline.node_versions(node).into_iter().enumerate();
    let first = versions.filter(|(now, since)| now == since);
    first.map(|(now, _)| now).collect()
}

/// One pair over time.
fn one(
    inputs: &mut Inputs<'_>,
    node: &NodeName,
    program: &Started,
    &(_, certificate, key, at_handshake): &(Program, &'static str, &'static str, bool),
    broken: &mut Vec<BrokenEdge>,
    between: &mut BTreeMap<usize, BTreeSet<String>>,
) -> Result<()> {
    let timeline = inputs.timeline;
    let mut known = Known::default();
    let mut last: Option<NodePath> = None;
    for now in changes(inputs, node) {
        let running = inputs.artifacts.program(
            timeline.state(now),
            node,
            program.program,
            &program.manifest,
        )?;
        let files = running.as_ref().map(|r| &r.files);
        let named = |flag| files.and_then(|files| files.get(flag)).cloned();
        let (Some(at), Some(key)) = (named(certificate), named(key)) else {
            continue;
        };
        let state = timeline.state(now);
        let Some(pair) = contents(inputs, state, node, (&at, &key))? else {
            continue;
        };
        match known.meet(&pair) {
            Met::Again => {}
            // In one place: other paths are taken over by a start.
            Met::New => {
                if at_handshake && last.as_ref() == Some(&at) {
                    let who = format!("{} on {node}", program.program);
                    between.entry(now).or_default().insert(who);
                }
            }
            Met::Half => {
                let process = Process::Program(node.clone(), program.manifest.clone());
                broken.push(half_pair(inputs, now, process.to_string(), (&at, &key)));
                return Ok(());
            }
        }
        last = Some(at);
    }
    Ok(())
}

/// Certificates of a share of the nodes that lie beside a key of the same name, whoever reads them:
/// kubeadm signs with such pairs (kadm/phases/certs), and no flag names them.
pub fn beside(inputs: &mut Inputs<'_>, share: Share) -> Result<Vec<BrokenEdge>> {
    let mut out = Vec::new();
    let timeline = inputs.timeline;
    let nodes = &timeline.state(0).nodes;
    let ours = nodes
        .iter()
        .enumerate()
        .filter(|(at, _)| share.has(*at, nodes.len()));
    for (_, (node, files)) in ours {
        let of_node = changes(inputs, node);
        for (certificate, _) in files.regular_files() {
            let Some(key) = files.key_beside(certificate) else {
                continue;
            };
            let text = |now: usize, path| {
                let file = timeline.state(now).file(node, path);
                file.map(|file| file.text.as_ptr())
            };
            // Most never change, and then need no look.
            let mut moments = of_node.clone();
            moments.dedup_by_key(|now| (text(*now, certificate), text(*now, &key)));
            if moments.len() < 2 {
                continue;
            }
            let mut known = Known::default();
            for now in moments {
                let state = timeline.state(now);
                let Some(pair) = contents(inputs, state, node, (certificate, &key))? else {
                    continue;
                };
                if matches!(known.meet(&pair), Met::Half) {
                    let who = format!("whoever reads both on {node}");
                    out.push(half_pair(inputs, now, who, (certificate, &key)));
                    break;
                }
            }
        }
    }
    Ok(out)
}

/// A certificate and a key that do not belong together.
fn half_pair(
    inputs: &Inputs<'_>,
    now: usize,
    who: String,
    (certificate, key): (&NodePath, &NodePath),
) -> BrokenEdge {
    let reason = format!("the key in {key} does not belong to the certificate in {certificate}");
    let remedy = format!("replace {certificate} and {key} together");
    no_start(inputs, now, who, certificate.to_string(), (reason, remedy))
}

/// The public key of a certificate's file, and the reference in a key's file. None where either is not
/// in sight.
fn contents<'a>(
    inputs: &mut Inputs<'a>,
    state: &'a State,
    node: &NodeName,
    (certificate, key): (&NodePath, &NodePath),
) -> Result<Option<(String, String)>> {
    let Some(key) = state.file(node, key) else {
        return Ok(None);
    };
    let reference = key
        .text
        .split_whitespace()
        .find(|word| word.starts_with(KEPT));
    let id = inputs.artifacts.credential_file(state, node, certificate)?;
    let leaf = inputs.artifacts.judge.credential_of(id).leaf();
    Ok(leaf.zip(reference).map(|(leaf, reference)| {
        let public = crate::digest::sha256(leaf.spki_der());
        (public, reference.to_owned())
    }))
}
