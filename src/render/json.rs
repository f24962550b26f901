//! `plan.json`: the plan for machines. Versioned; fields are only ever added within a version.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{PhaseView, calendar, times};
use crate::coverage::Coverage;
use crate::digest::sha256;
use crate::phases::Until;
use crate::pki::Certificate;
use crate::rotation::Rotation;
use crate::spec::Version;
use crate::trust::Proof;

/// The version of the format.
pub const VERSION: u32 = 1;

/// Renders plan.json.
pub fn plan(
    rotation: &Rotation,
    views: &[PhaseView],
    coverage: &Coverage,
    proof: &Proof,
) -> String {
    let spec = rotation.spec;
    let cas: Vec<Value> = rotation
        .cas
        .values()
        .map(|pair| {
            json!({
                "name": pair.name.as_str(),
                "old": certificate(&pair.old),
                "new": certificate(&pair.new),
            })
        })
        .collect();
    let leaves: Vec<Value> = rotation
        .leaves
        .iter()
        .map(|(old, issued)| {
            json!({
                "replaces": old,
                "certificate": certificate(&issued.certificate),
                "key": if issued.key.is_some() { "new" } else { "kept" },
            })
        })
        .collect();
    let milestones = calendar::milestones(views);
    let nodes: Vec<Value> = rotation
        .start
        .nodes
        .iter()
        .map(|(name, node)| {
            let when = milestones.get(name).cloned().unwrap_or_default();
            json!({
                "name": name.as_str(),
                "role": node.role.as_str(),
                "widened_after": when.widened_after,
                "switched_in": when.switched_in,
                "narrowed_after": when.narrowed_after,
            })
        })
        .collect();
    let stale: Vec<String> = coverage
        .stale_sources
        .iter()
        .map(ToString::to_string)
        .collect();
    let plan = json!({
        "carota": VERSION,
        "cluster": spec.cluster,
        "kubernetes": spec.kubernetes.to_string(),
        "endpoint": spec.endpoint,
        "rotation": spec.id,
        "window": {"not_before": spec.not_before, "not_after": spec.window_end},
        "cas": cas,
        "nodes": nodes,
        "leaves": leaves,
        "users": users(rotation, views),
        "duties": duties(rotation, views, coverage),
        "phases": views.iter().map(|view| phase(view, spec.kubernetes)).collect::<Vec<_>>(),
        "expected_time": {
            "seconds": views.iter().map(|view| times::of(view, spec.kubernetes)).sum::<u64>(),
            "assumptions": times::assumptions(spec.kubernetes).map(|a| json!({
                "what": a.what, "seconds": a.seconds, "source": a.source,
            })).collect::<Vec<_>>(),
        },
        "accepted": spec.accept,
        "proof": self::proof(proof),
        "stale_sources": stale,
        "unused_certificates": coverage.unused,
    });
    let mut text = serde_json::to_string_pretty(&plan).unwrap_or_default();
    text.push('\n');
    text
}

fn users(rotation: &Rotation, views: &[PhaseView]) -> Vec<Value> {
    calendar::users(rotation, views)
        .into_iter()
        .map(|user| {
            json!({
                "name": user.name.as_str(),
                "handed_out": user.handed_out,
                "first_file_until": user.first_until,
            })
        })
        .collect()
}

fn duties(rotation: &Rotation, views: &[PhaseView], coverage: &Coverage) -> Vec<Value> {
    calendar::duties(rotation, views, &coverage.stale_sources)
        .into_iter()
        .map(|duty| {
            json!({
                "who": duty.who,
                "what": duty.what,
                "phases": duty.phases,
                "within": duty.within,
                "acknowledgements": duty.acknowledgements,
            })
        })
        .collect()
}

/// The proof; of the edges only how many there are of a kind, which does not grow with the nodes.
fn proof(proof: &Proof) -> Value {
    let mut edges: BTreeMap<&str, usize> = BTreeMap::new();
    for edge in &proof.edges {
        *edges.entry(edge.kind).or_default() += 1;
    }
    json!({
        "holds": proof.holds(),
        "edges": edges,
        "chains_verified": proof.pairs_verified,
        "phases": proof.phases.iter().map(|phase| phase.number).collect::<Vec<_>>(),
        "matrix": proof.matrix,
        "weaknesses": proof.weaknesses,
        "outages": proof.outages,
    })
}

fn certificate(certificate: &Certificate) -> Value {
    json!({
        "subject": certificate.subject(),
        "issuer": certificate.issuer(),
        "serial": certificate.serial(),
        "not_before": certificate.not_before(),
        "not_after": certificate.not_after(),
        "sha256": certificate.fingerprint(),
    })
}

fn phase(view: &PhaseView, kubernetes: Version) -> Value {
    let phase = view.done.phase;
    let restarts: Vec<Value> = view
        .changes
        .restarts()
        .into_iter()
        .map(|(what, nodes)| {
            let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
            json!({"process": what, "nodes": nodes})
        })
        .collect();
    let objects: Vec<Value> = view
        .cluster
        .objects
        .iter()
        .map(|(id, owner)| json!({"object": id.to_string(), "change": owner.as_str()}))
        .collect();
    let acknowledgements: Vec<Value> = view
        .cluster
        .acknowledgements()
        .into_iter()
        .map(|(name, text)| json!({"name": name, "text": text}))
        .collect();
    let steps: Vec<&str> = view
        .done
        .outcome
        .steps
        .iter()
        .map(|s| s.title.as_str())
        .collect();
    let nodes: Vec<String> = view
        .changes
        .nodes()
        .iter()
        .map(ToString::to_string)
        .collect();
    let (reversible, until) = match phase.way_back.until {
        Until::Nothing => ("nothing-to-undo", None),
        Until::Phase(number) => ("until-phase", Some(number)),
        Until::Always => ("always", None),
        Until::Never => ("never", None),
    };
    json!({
        "number": phase.number,
        "name": phase.name,
        "directory": view.directory(),
        "act": phase.act.as_str(),
        "page_step": phase.page_step,
        "title": phase.title,
        "steps": steps,
        "order": view.order(),
        "serial": view.serial(),
        "nodes": nodes,
        "files": view.changes.file_count(),
        "restarts": restarts,
        "objects": objects,
        "acknowledgements": acknowledgements,
        "nothing_to_do": view.changes.is_empty() && view.cluster.is_empty(),
        "absent": view.done.outcome.absent,
        "notes": view.done.outcome.notes,
        "why": phase.why_text(),
        "way_back": phase.way_back.text(),
        "expected_seconds": times::of(view, kubernetes),
        "reversible": reversible,
        "reversible_until": until,
        "changes_sha256": sha256(view.changes.table()),
    })
}
