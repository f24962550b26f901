//! Could each program start again? It may crash at any time, and then every file that its flags name
//! must be there.
//!
//! Knows flags and files. It must not know certificates.

use std::collections::BTreeSet;

use super::inputs::Inputs;
use super::{BrokenEdge, Direction};
use crate::diagnostic::Result;
use crate::names::{NodeName, NodePath};
use crate::state::Process;

/// Programs that, started again with the flags they have, would miss a file that is there today.
pub fn find(inputs: &mut Inputs<'_>) -> Result<Vec<BrokenEdge>> {
    let mut out = Vec::new();
    let timeline = inputs.timeline;
    let nodes: Vec<NodeName> = timeline.state(0).nodes.keys().cloned().collect();
    for node in nodes {
        let before = named(inputs, &node, 0)?;
        if before.is_empty() {
            continue;
        }
        let mut seen = BTreeSet::new();
        for (process, program, _, _) in &before {
            for (now, since) in timeline.starts(process).into_iter().enumerate().skip(1) {
                for read in since..=now {
                    let flags = named(inputs, &node, read)?;
                    for (_, _, flag, path) in flags
                        .iter()
                        .filter(|(of, name, _, _)| of == process && name == program)
                    {
                        let there = |at: usize| timeline.state(at).file(&node, path).is_some();
                        // What the collector withheld was never there.
                        let never = before.iter().any(|(_, _, _, p)| p == path) && !there(0);
                        if !there(now) && !never && seen.insert((process.clone(), flag.clone())) {
                            out.push(broken(inputs, now, process, (flag, path)));
                        }
                    }
                }
            }
        }
    }
    Ok(out)
}

/// Every file that the programs of a node name at a moment: process, program, flag, path.
fn named(
    inputs: &mut Inputs<'_>,
    node: &NodeName,
    at: usize,
) -> Result<Vec<(Process, &'static str, String, NodePath)>> {
    let state = inputs.timeline.state(at);
    let mut out = Vec::new();
    for started in inputs.artifacts.programs(state, node)?.iter() {
        let process = Process::StaticPod(node.clone(), started.manifest.clone());
        for (flag, path) in &started.files {
            out.push((
                process.clone(),
                started.program.as_str(),
                format!("--{flag}"),
                path.clone(),
            ));
        }
    }
    Ok(out)
}

fn broken(
    inputs: &Inputs<'_>,
    at: usize,
    process: &Process,
    (flag, path): (&str, &NodePath),
) -> BrokenEdge {
    let moment = inputs.timeline.moment(at);
    BrokenEdge {
        kind: "start of a program",
        client: process.to_string(),
        server: path.to_string(),
        dialled: None,
        direction: Direction::CannotStart,
        phase: moment.phase,
        phase_name: moment.phase_name.clone(),
        step: moment.step,
        step_title: moment.title.clone(),
        reason: format!("{flag} names {path}, which is not there: it could not start again"),
        certificate: String::new(),
        certificate_from: String::new(),
        bundle: Vec::new(),
        bundle_from: String::new(),
        remedy: format!(
            "write {path} before {flag} names it, and keep it until {process} has started without it"
        ),
        also_in: Vec::new(),
    }
}
