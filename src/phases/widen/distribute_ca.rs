//! 01: the new CAs arrive under new names, and bundles beside every file of trust. Nothing reads
//! them yet.

use crate::diagnostic::Result;
use crate::phases::tools::{bundle_of, new_of, step, trust_files};
use crate::phases::{Act, Outcome, Part, Phase, WayBack};
use crate::rotation::{Rotation, to_pem};
use crate::state::{Entry, State};

/// The phase.
pub const PHASE: Phase = Phase {
    number: 1,
    name: "distribute-ca",
    act: Act::Widen,
    page_step: "1",
    title: "new CA certificates and keys to the control planes, bundles to every node",
    why: "Each new CA lies beside the old one under a new name (`ca-new.crt`, `ca-new.key`), and each \
          file of trust gets a bundle beside it (`ca-bundle.crt`) that holds old and new. No process \
          reads these files yet, so nothing can break. The old files stay as they are until phase 12.",
    way_back: WayBack::until(
        2,
        "removes the new files.",
        "nothing; the new CAs' keys stay in secrets/ beside the plan.",
    ),
    run,
};

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let files = trust_files(rotation)?;
    let step = step(
        before,
        "new CAs and bundles, under new names",
        Part::Nodes { serial: false },
        Vec::new(),
        |draft| {
            for pair in rotation.cas.values() {
                for home in &pair.homes {
                    let owner = |path| match before.nodes[&home.node].files.get(path) {
                        Some(Entry::File(file)) => file.owner.to_string(),
                        _ => "0:0".to_owned(),
                    };
                    let (certificate, key) = (new_of(&home.certificate), new_of(&home.key));
                    let owners = (owner(&home.certificate), owner(&home.key));
                    draft.write(
                        &home.node,
                        &certificate,
                        &pair.new.to_pem(),
                        0o644,
                        &owners.0,
                    );
                    let text = format!("{}\n", pair.key_reference);
                    draft.write(&home.node, &key, &text, 0o600, &owners.1);
                }
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
