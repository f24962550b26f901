//! 19: kubelets and node agents trust only the new CA, and their configuration is as it was.

use crate::diagnostic::Result;
use crate::layout;
use crate::phases::tools::{
    Reader, change_kubeconfig, kubeconfigs, restore_program, step, trust_files,
};
use crate::phases::widen::extension_trust::change_consumer_files;
use crate::phases::{Act, Outcome, Part, Phase, WayBack};
use crate::rotation::{Rotation, Trust, to_pem};
use crate::spec::Role;
use crate::state::{Process, State};

/// The phase.
pub const PHASE: Phase = Phase {
    number: 19,
    name: "retire-kubelets",
    act: Act::Narrow,
    page_step: "12.3",
    title: "kubelets and node agents trust the new CA only; their configuration is as it was",
    why: "The same on every node: the original file of trust gets the new CA alone, the kubelet's \
          configuration goes back to what the snapshot shows, byte for byte, and the kubelet starts \
          anew.",
    way_back: WayBack::until(
        20,
        "restores both CAs and restarts the kubelet.",
        "nothing; certificates of the new CA stay in use, and those of the old one are \
         accepted again.",
    ),
    run,
};

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let narrow: Trust = Trust::Narrowed;
    let step = step(
        before,
        "narrow the kubelets' trust, restart them",
        Part::Nodes { serial: false },
        Vec::new(),
        |draft| {
            for ((node, path), trust) in trust_files(rotation)? {
                if rotation.start.nodes[&node].role == Role::Worker {
                    draft.write(
                        &node,
                        &path,
                        &to_pem(&narrow.of(rotation, &trust)),
                        0o644,
                        "0:0",
                    );
                }
            }
            draft.each_node(|draft, node| {
                for kubeconfig in kubeconfigs(before, node)? {
                    let worker = rotation.start.nodes[node].role == Role::Worker;
                    let here = match kubeconfig.reader {
                        Reader::Kubelet | Reader::Agent | Reader::Bootstrap => true,
                        Reader::Person | Reader::ControlPlane => worker,
                        Reader::Apiserver => false,
                    };
                    if here {
                        change_kubeconfig(rotation, draft, node, &kubeconfig.path, narrow)?;
                    }
                }
                let kubelet = layout::kubelet(&rotation.start, node)?;
                for path in kubelet.iter().flat_map(|kubelet| kubelet.files()) {
                    if let Some(file) = rotation.start.file(node, path) {
                        draft.write(node, path, &file.text, file.mode, &file.owner);
                    }
                }
                Ok(())
            })?;
            change_consumer_files(rotation, draft, narrow)?;
            let changed = draft.now().changed_files(before);
            for node in changed.keys() {
                if layout::kubelet(&rotation.start, node)?.is_some() {
                    draft.restart(Process::Kubelet(node.clone()));
                }
            }
            // kube-proxy, where it is no pod of a DaemonSet.
            for (node, _) in before.nodes.iter().filter(|(_, n)| n.role == Role::Worker) {
                for component in layout::components(&rotation.start, node)? {
                    restore_program(rotation, draft, &component);
                }
            }
            Ok(())
        },
    )?;
    outcome.steps.extend(step);
    Ok(outcome)
}
