//! 18: the control plane trusts only the new CA, and its manifests are as they were.

use crate::diagnostic::Result;
use crate::layout;
use crate::phases::switch::signer::write_originals;
use crate::phases::tools::{
    Reader, change_kubeconfig, change_users, kubeconfig_with_trust, kubeconfigs, put_back_by_users,
    restore_program, step,
};
use crate::phases::widen::apiserver_trust::change_published_trust;
use crate::phases::{Act, Action, Outcome, Part, Phase, Undoing, WayBack, handing_out};
use crate::rotation::{Rotation, Trust};
use crate::spec::{CaName, Role};
use crate::state::{Draft, State};

/// The phase.
pub const PHASE: Phase = Phase {
    number: 18,
    name: "retire-control-plane",
    act: Act::Narrow,
    page_step: "12.2",
    title: "the control plane trusts the new CA only; manifests and units are as they were",
    why: "First the original files get the new CA alone, then manifests and units go back to what the \
          snapshot shows, byte for byte, which restarts every program that the rotation touched. \
          From its first restart on, a client certificate of the old CA is refused: so each user must \
          have confirmed the new one (gap G13). What API servers publish of their trust is a union \
          that only grows; it is pruned after the last of them.",
    way_back: WayBack::until(
        20,
        "restores both CAs, one control plane after another.",
        "nothing; certificates of the new CA stay in use, and those of the old one are \
         accepted again. Users may keep the kubeconfig of this phase until 14 is undone.",
    ),
    run,
};

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut last = before.clone();
    let mut push = |outcome: &mut Outcome, made: Option<crate::phases::Step>| {
        if let Some(step) = made {
            last = step.after.clone();
            outcome.steps.push(step);
        }
        last.clone()
    };
    let confirmed = step(
        before,
        "acknowledgements",
        Part::Cluster,
        acknowledgements(rotation, before),
        |draft| {
            for user in before.users.keys() {
                // The file of 13.
                draft.confirm(user, 1);
            }
            Ok(())
        },
    )?;
    let last = push(&mut outcome, confirmed);
    let files = step(
        &last,
        "original files: the new CA only",
        Part::Nodes { serial: false },
        Vec::new(),
        |draft| write_originals(rotation, draft, Trust::Narrowed, false),
    )?;
    let last = push(&mut outcome, files);
    let manifests = step(
        &last,
        "kubeconfigs: the new CA only; manifests and units as the snapshot shows them",
        Part::Nodes { serial: true },
        Vec::new(),
        |draft| {
            // In the step of their readers' restart: on the way back, whoever starts again reads them.
            narrow_kubeconfigs(rotation, draft)?;
            for node in before.nodes.keys() {
                for component in layout::components(&rotation.start, node)? {
                    restore_program(rotation, draft, &component);
                }
            }
            Ok(())
        },
    )?;
    let last = push(&mut outcome, manifests);
    let pruned = step(
        &last,
        "prune what API servers publish; hand out users' files",
        Part::Cluster,
        Vec::new(),
        |draft| {
            change_published_trust(rotation, draft, Trust::Narrowed)?;
            change_users(draft, |text, label| {
                kubeconfig_with_trust(rotation, text, label, Trust::Narrowed)
            })
        },
    )?;
    push(&mut outcome, handing_out(before, pruned));
    Ok(outcome)
}

/// What must be confirmed before the servers' old certificates are taken back into use.
pub fn taken_back(rotation: &Rotation, state: &State) -> Result<Vec<Undoing>> {
    let what = (
        "",
        "has put back the kubeconfig of phase 08 or 13, or never took that of 18, which does not trust what API servers serve from now on",
    );
    put_back_by_users(state, what, |text, label| {
        kubeconfig_with_trust(rotation, text, label, Trust::Narrowed)
    })
}

fn narrow_kubeconfigs(rotation: &Rotation, draft: &mut Draft) -> Result<()> {
    let readers = [Reader::Apiserver, Reader::ControlPlane, Reader::Person];
    let control_planes = draft.now().nodes.iter();
    let control_planes = control_planes.filter(|(_, node)| node.role != Role::Worker);
    let names: Vec<_> = control_planes.map(|(name, _)| name.clone()).collect();
    for node in names {
        for kubeconfig in kubeconfigs(draft.now(), &node)? {
            if readers.contains(&kubeconfig.reader) {
                change_kubeconfig(rotation, draft, &node, &kubeconfig.path, Trust::Narrowed)?;
            }
        }
    }
    Ok(())
}

fn acknowledgements(rotation: &Rotation, state: &State) -> Vec<Action> {
    if !rotation.rotates(CaName::Cluster) {
        return Vec::new();
    }
    let users = state.users.keys().map(|user| Action::Acknowledge {
        name: format!("user-{user}-certificate"),
        text: format!("{user} uses the client certificate of phase 13, of the new CA"),
    });
    users
        .chain(std::iter::once(Action::Acknowledge {
            name: "external-certificates".into(),
            text:
                "every client outside the cluster that shows a certificate of the cluster CA (CI, monitoring, whoever had \
                   a CSR approved) has one that was signed since phase 12"
                    .into(),
        }))
        .collect()
}
