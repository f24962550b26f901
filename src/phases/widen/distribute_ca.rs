//! 01: the new CA that will sign arrives under a new name, and bundles beside every file of trust.
//! Nothing reads them yet.

use crate::diagnostic::Result;
use crate::names::NodePath;
use crate::phases::tools::{bundle_of, homes_read, new_of, step, trust_files};
use crate::phases::{Act, Outcome, Part, Phase, WayBack};
use crate::rotation::{Rotation, to_pem};
use crate::state::{Entry, State};

/// The phase.
pub const PHASE: Phase = Phase {
    number: 1,
    name: "distribute-ca",
    act: Act::Widen,
    page_step: "1",
    title: "the signer's new CA and key to the control planes, bundles to every node",
    why: "The new CA that the controller manager will sign with lies beside the old one under a new \
          name (`ca-new.crt`, `ca-new.key`), and each file of trust gets a bundle beside it \
          (`ca-bundle.crt`) that holds old and new. No process reads these files yet, so nothing can \
          break. The old files stay as they are until phase 12; the keys of the other new CAs, which no \
          process reads, come with it.",
    way_back: WayBack::until(
        2,
        "removes the new files.",
        "nothing; the new CAs' keys stay in secrets/ beside the plan.",
    ),
    run,
};

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let files = trust_files(rotation)?;
    let homes = homes_read(rotation)?;
    let step = step(
        before,
        "new CAs and bundles, under new names",
        Part::Nodes { serial: false },
        Vec::new(),
        |draft| {
            for (pair, home) in &homes {
                let owner = |path: &NodePath| match before.nodes[&home.node].files.get(path) {
                    Some(Entry::File(file)) => file.owner.to_string(),
                    _ => "0:0".to_owned(),
                };
                let mut write = |path: &NodePath, text: &str, mode| {
                    draft.write(&home.node, &new_of(path), text, mode, &owner(path));
                };
                write(&home.certificate, &pair.new.to_pem(), 0o644);
                write(&home.key, &format!("{}\n", home.new_key), 0o600);
            }
            for ((node, path), trust) in &files {
                let bundle = to_pem(&rotation.widened(trust));
                draft.write(node, &bundle_of(path), &bundle, 0o644, "0:0");
            }
            Ok(())
        },
    )?;
    Ok(Outcome {
        steps: step.into_iter().collect(),
        ..Outcome::default()
    })
}
