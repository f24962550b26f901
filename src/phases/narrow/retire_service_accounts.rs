//! 17: pods, joining nodes and webhooks trust only the new CA.

use crate::diagnostic::Result;
use crate::layout::Program;
use crate::names::NodePath;
use crate::phases::tools::{components_now, new_of, pem_file, point_at, step};
use crate::phases::widen::bootstrap_trust::change_cluster_info;
use crate::phases::widen::controller_manager_root_ca::change_own_kubeconfig;
use crate::phases::widen::extension_trust::{change_ca_bundles, change_consumer_objects};
use crate::phases::widen::service_account_trust::publish;
use crate::phases::{Act, Action, Outcome, Part, Phase, Step, WayBack, workloads};
use crate::pki::Certificate;
use crate::rotation::{Rotation, Trust, to_pem};
use crate::spec::{CaName, ConsumerMode};
use crate::state::State;

/// By what name it is confirmed that servers behind caBundles have new certificates.
pub const HANDLERS: &str = "extension-servers";

/// The phase.
pub const PHASE: Phase = Phase {
    number: 17,
    name: "retire-service-accounts",
    act: Act::Narrow,
    page_step: "12.1",
    title: "ServiceAccounts, cluster-info and caBundles trust the new CA only",
    why: "Every server of this plan has its new certificate since 14, so clients need the old CA no longer. Pods \
          start anew to forget it: taking off the annotation of phase 04 rolls them, so nothing is \
          left behind in their templates.",
    way_back: WayBack::until(
        18,
        "both CAs are published again, and pods roll once more.",
        "what the pods hold in memory and in emptyDir volumes, as in every roll.",
    ),
    run,
};

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let published = step(
        before,
        "publish the new CA only",
        Part::Nodes { serial: true },
        Vec::new(),
        |draft| {
            for node in before.nodes.keys() {
                for component in components_now(draft, node, Program::ControllerManager)? {
                    if let Some((path, trust)) = original_root_ca(rotation, &component)? {
                        let narrow = to_pem(&rotation.narrowed(&trust));
                        draft.write(node, &new_of(&path), &narrow, 0o644, "0:0");
                        point_at(draft, &component, &[("root-ca-file", new_of(&path))])?;
                    } else if component.flag("root-ca-file")?.is_none() {
                        change_own_kubeconfig(rotation, draft, &component, Trust::Narrowed)?;
                    }
                }
            }
            Ok(())
        },
    )?;
    let mut last = published.as_ref().map_or(before, |s| &s.after).clone();
    outcome.steps.extend(published);
    let objects = step(
        &last,
        "narrow what objects trust",
        Part::Cluster,
        Vec::new(),
        |draft| {
            publish(rotation, draft)?;
            change_cluster_info(rotation, draft, Trust::Narrowed)?;
            change_ca_bundles(rotation, draft, Trust::Narrowed)?;
            change_consumer_objects(rotation, draft, ConsumerMode::Bundle, Trust::Narrowed)
        },
    )?;
    let objects = objects.map(|step| asking_handlers(step, &last));
    if let Some(step) = &objects {
        last = step.after.clone();
    }
    outcome.steps.extend(objects);
    let mut clients = workloads::Restarts::default();
    if rotation.rotates(CaName::Cluster) {
        clients = workloads::using_api(before);
    }
    let annotated = workloads::annotated(before);
    let rolled = step(
        &last,
        "roll the clients of the API once more",
        Part::Cluster,
        roll_actions(&annotated, &clients),
        |draft| {
            for id in &annotated {
                workloads::unannotate(rotation, draft, id);
            }
            clients.restart_gated(draft);
            Ok(())
        },
    )?;
    outcome.steps.extend(rolled);
    if outcome.steps.is_empty() {
        outcome
            .absent
            .push("Nothing in the cluster's objects trusts a CA that is rotated.".into());
    }
    Ok(outcome)
}

/// Kinds of objects by whose caBundle API servers dial a server of somebody's.
const DIALLED: [&str; 4] = [
    "apiservices",
    "customresourcedefinitions",
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
];

/// The step with the question whether what API servers dial by a caBundle serves a new certificate: carota does not see
/// what is served.
fn asking_handlers(mut step: Step, before: &State) -> Step {
    let changed = step.after.changed_objects(before);
    let dialled = changed.iter().filter(|id| DIALLED.contains(&&*id.kind));
    let names: Vec<String> = dialled.map(ToString::to_string).collect();
    if !names.is_empty() {
        step.actions.push(Action::Acknowledge {
            name: HANDLERS.to_owned(),
            text: format!(
                "the servers behind {} serve certificates of the new CA, of phase 14 or from whoever runs them: the caBundle \
                 is narrowed, and API servers refuse others from now on",
                names.join(", ")
            ),
        });
    }
    step
}

fn roll_actions(
    annotated: &std::collections::BTreeSet<crate::state::ObjectId>,
    clients: &workloads::Restarts,
) -> Vec<Action> {
    let rollouts = annotated.iter().cloned().map(Action::Rollout);
    let gates = clients
        .actions()
        .into_iter()
        .filter(|action| matches!(action, Action::GatePods { .. }));
    rollouts.chain(gates).collect()
}

/// The file of `--root-ca-file` in the snapshot, if it holds a rotated CA, and what it holds.
fn original_root_ca(
    rotation: &Rotation,
    component: &crate::layout::Component,
) -> Result<Option<(NodePath, Vec<Certificate>)>> {
    let start = crate::layout::components(&rotation.start, &component.node)?;
    let Some(original) = start.iter().find(|c| c.is_like(component)) else {
        return Ok(None);
    };
    let Some(path) = original.host_file("root-ca-file")? else {
        return Ok(None);
    };
    let found = pem_file(&rotation.start, &component.node, &path)?;
    Ok(found
        .map(|(_, certificates)| (path, certificates))
        .filter(|(_, certificates)| rotation.affects(certificates)))
}
