//! 07: etcd members trust clients and peers of both CAs.

use std::collections::BTreeSet;

use crate::diagnostic::Result;
use crate::layout::{self, Program};
use crate::phases::tools::{components_now, point_at_bundles, step, trust_flags};
use crate::phases::{Act, Outcome, Part, Phase, WayBack};
use crate::rotation::Rotation;
use crate::spec::CaName;
use crate::state::State;

/// The phase.
pub const PHASE: Phase = Phase {
    number: 7,
    name: "etcd-trust",
    act: Act::Widen,
    page_step: "-",
    title: "etcd members trust both CAs, one member after another",
    why: "The page does not cover etcd (gap G4). A member reads its CA files only when it starts, so \
          each restarts once, and the next only when it is healthy and has caught up: two at once \
          would lose quorum.",
    way_back: WayBack::until(
        14,
        "restores manifests and units, one member after another.",
        "nothing; before 14 nobody has a certificate of the new etcd CA.",
    ),
    run,
};

/// What to say where somebody else runs etcd.
fn foreign(state: &State) -> Result<Option<String>> {
    if !layout::all(state, Program::Etcd)?.is_empty() {
        return Ok(None);
    }
    let mut servers = BTreeSet::new();
    for component in layout::all(state, Program::Apiserver)? {
        for flag in ["etcd-servers", "etcd-servers-overrides"] {
            servers.extend(component.list(flag)?.into_iter().map(str::to_owned));
        }
    }
    let servers: Vec<String> = servers.into_iter().collect();
    Ok((!servers.is_empty()).then(|| {
        format!(
            "Somebody else runs etcd ({}): its CA is not rotated, and the API servers' client certificates of \
             that CA stay as they are. Whoever runs it rotates it by themselves, before or after this plan.",
            servers.join(", ")
        )
    }))
}

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    if !rotation.rotates(CaName::Etcd) {
        outcome.absent.push(match foreign(before)? {
            Some(who) => who,
            None => "The etcd CA is not rotated.".into(),
        });
    } else if layout::all(before, Program::Etcd)?.is_empty() {
        outcome
            .absent
            .push("No etcd member runs on these nodes.".into());
    }
    let step = step(
        before,
        "point the members' trust at bundles",
        Part::Nodes { serial: true },
        Vec::new(),
        |draft| {
            for node in before.nodes.keys() {
                for component in components_now(draft, node, Program::Etcd)? {
                    let flags = trust_flags(Program::Etcd, &[]);
                    point_at_bundles(rotation, draft, &component, &flags)?;
                }
            }
            Ok(())
        },
    )?;
    outcome.steps.extend(step);
    Ok(outcome)
}
