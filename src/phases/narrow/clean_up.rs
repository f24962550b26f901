//! 20: what the rotation brought goes. Nothing restarts; the end looks like the beginning.

use crate::diagnostic::Result;
use crate::phases::tools::step;
use crate::phases::{Act, Outcome, Part, Phase, WayBack};
use crate::rotation::Rotation;
use crate::state::State;

/// The phase.
pub const PHASE: Phase = Phase {
    number: 20,
    name: "clean-up",
    act: Act::Finish,
    page_step: "-",
    title: "remove helper files, backups and old keys",
    why: "No flag names the bundles and the new CA's second copies any more. The backups hold the old \
          CA's key; they go only when asked for by name.",
    way_back: WayBack::none(
        "what is removed here is not needed by anything.",
        "the backups of every phase, and with them the old CAs' keys: nothing of the rotation \
         can be undone.",
    ),
    run,
};

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let step = step(
        before,
        "remove the helper files",
        Part::Nodes { serial: false },
        Vec::new(),
        |draft| {
            for (name, node) in &before.nodes {
                let brought = node
                    .files
                    .keys()
                    .filter(|path| !rotation.start.nodes[name].files.contains_key(path));
                for path in brought {
                    draft.remove(name, path);
                }
            }
            Ok(())
        },
    )?;
    Ok(Outcome {
        steps: step.into_iter().collect(),
        notes: vec![
            "What was carried to the nodes stays there: the plan, and `secrets/` beside it, which holds keys of the new CAs where \
             a phase wrote them. Remove it from every node when `verify.sh` has passed everywhere (`ansible/forget.yml` does, \
             for what the playbooks unpacked)."
                .to_owned(),
        ],
        ..Outcome::default()
    })
}
