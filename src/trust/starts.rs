//! Could each program start again? It may crash at any time, and then every file that its flags name
//! must be there.
//!
//! Knows flags and files. It must not know certificates.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::artifacts::Started;
use super::inputs::Inputs;
use super::{BrokenEdge, Direction};
use crate::diagnostic::Result;
use crate::names::{NodeName, NodePath};
use crate::state::Process;

/// Programs that, started again with the flags they have, would miss a file that is there today.
pub fn find(inputs: &mut Inputs<'_>) -> Result<Vec<BrokenEdge>> {
    let mut out = Vec::new();
    for node in inputs.timeline.state(0).nodes.keys() {
        let before = inputs.artifacts.programs(inputs.timeline.state(0), node)?;
        for program in before.iter() {
            find_on(inputs, node, program, &mut out)?;
        }
    }
    Ok(out)
}

/// Whether one program could start again after each change of its node's files.
fn find_on(
    inputs: &mut Inputs<'_>,
    node: &NodeName,
    program: &Started,
    out: &mut Vec<BrokenEdge>,
) -> Result<()> {
    let timeline = inputs.timeline;
    let process = Process::Program(node.clone(), program.manifest.clone());
    let versions = timeline.node_versions(node);
    let there = |path: &NodePath, at: usize| timeline.state(at).file(node, path).is_some();
    let mut seen = BTreeSet::new();
    for (now, since) in timeline.starts(&process).into_iter().enumerate().skip(1) {
        if versions[now] != now {
            continue;
        }
        let mut reads: Vec<usize> = (since..=now).map(|at| versions[at]).collect();
        reads.dedup();
        for read in reads {
            let running = inputs.artifacts.programs(timeline.state(read), node)?;
            for (flag, path) in flags(&running, program) {
                // What the collector withheld was never there.
                let never = program.files.values().any(|p| p == path) && !there(path, 0);
                if !there(path, now) && !never && seen.insert(flag) {
                    out.push(broken(inputs, now, &process, (flag, path)));
                }
            }
        }
    }
    Ok(())
}

/// The flags of a program, as it stands among all of its node, and the files that they name.
fn flags<'p>(
    running: &'p [Rc<Started>],
    program: &Started,
) -> impl Iterator<Item = (&'static str, &'p NodePath)> {
    running
        .iter()
        .filter(|s| s.program == program.program && s.manifest == program.manifest)
        .flat_map(|s| s.files.iter().map(|(flag, path)| (*flag, path)))
}

fn broken(
    inputs: &Inputs<'_>,
    at: usize,
    process: &Process,
    (flag, path): (&str, &NodePath),
) -> BrokenEdge {
    let reason = format!("--{flag} names {path}, which is not there: it could not start again");
    let remedy = format!(
        "write {path} before --{flag} names it, and keep it until {process} has started without it"
    );
    no_start(
        inputs,
        at,
        process.to_string(),
        path.to_string(),
        (reason, remedy),
    )
}

/// A program that could not start again.
pub fn no_start(
    inputs: &Inputs<'_>,
    at: usize,
    who: String,
    file: String,
    (reason, remedy): (String, String),
) -> BrokenEdge {
    let moment = inputs.timeline.moment(at);
    BrokenEdge {
        kind: "start of a program",
        client: who,
        server: file,
        dialled: None,
        direction: Direction::CannotStart,
        phase: moment.phase,
        phase_name: moment.phase_name.clone(),
        step: moment.step,
        step_title: moment.title.clone(),
        reason,
        certificate: String::new(),
        certificate_from: String::new(),
        bundle: Vec::new(),
        bundle_from: String::new(),
        remedy,
        also_in: Vec::new(),
    }
}
