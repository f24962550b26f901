//! 00: nothing changes yet. The scripts compare every file that any later phase will touch with the
//! snapshot, and look for what would stop the rotation half-way.

use crate::diagnostic::Result;
use crate::phases::{Act, Action, Outcome, Part, Phase, Step, WayBack};
use crate::rotation::Rotation;
use crate::state::State;

/// The phase.
pub const PHASE: Phase = Phase {
    number: 0,
    name: "preflight",
    act: Act::Prepare,
    page_step: "caution",
    title: "check that every node is as the snapshot shows it",
    why: "A rotation that stops half-way is worse than none. Before the first change every file that \
          a later phase touches is compared with the snapshot, and every Node object must be one that \
          this plan knows. Each later phase backs up what it touches, outside the manifests directory.",
    way_back: WayBack::nothing("nothing has changed.", "nothing."),
    run,
};

#[allow(clippy::unnecessary_wraps, reason = "every phase has this form")]
fn run(_: &Rotation, before: &State) -> Result<Outcome> {
    let nodes = before.nodes.keys().cloned().collect();
    let step = Step {
        title: "check the Node objects".into(),
        part: Part::Cluster,
        after: before.clone(),
        actions: vec![
            Action::GateNodes(nodes),
            Action::Note(
                "Take an etcd snapshot now (`etcdctl snapshot save`), and keep it away from the nodes."
                    .into(),
            ),
        ],
    };
    Ok(Outcome {
        steps: vec![step],
        ..Outcome::default()
    })
}
