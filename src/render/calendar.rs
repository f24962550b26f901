//! Who is concerned when: which phases change which node, and what people outside of carota's reach
//! must have done by which phase. Derived from the phases as they were rendered.

use std::collections::{BTreeMap, BTreeSet};

use super::PhaseView;
use crate::names::NodeName;
use crate::phases::{Act, HANDLERS};
use crate::rotation::Rotation;
use crate::state::ObjectId;

/// When a node comes to trust both CAs, gets its new identities and forgets the old CA.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Milestones {
    /// After this phase everything on it trusts old and new.
    pub widened_after: Option<u8>,
    /// In these phases its certificates are replaced.
    pub switched_in: Vec<u8>,
    /// After this phase nothing on it trusts the old CA.
    pub narrowed_after: Option<u8>,
}

/// The milestones of each node.
pub fn milestones(views: &[PhaseView]) -> BTreeMap<NodeName, Milestones> {
    let mut out: BTreeMap<NodeName, Milestones> = BTreeMap::new();
    for view in views {
        let number = view.done.phase.number;
        for node in view.changes.nodes() {
            let of_node = out.entry(node).or_default();
            match view.done.phase.act {
                Act::Widen => of_node.widened_after = Some(number),
                // The signer's files are no identity of the node.
                Act::Switch if number > SIGNER => of_node.switched_in.push(number),
                Act::Narrow => of_node.narrowed_after = Some(number),
                Act::Prepare | Act::Switch | Act::Finish => {}
            }
        }
    }
    out
}

/// The phase that switches the signer.
const SIGNER: u8 = 12;

/// Nodes with the same milestones, together.
pub fn grouped(views: &[PhaseView]) -> BTreeMap<Milestones, BTreeSet<NodeName>> {
    let mut out: BTreeMap<Milestones, BTreeSet<NodeName>> = BTreeMap::new();
    for (node, milestones) in milestones(views) {
        out.entry(milestones).or_default().insert(node);
    }
    out
}

/// Something that people must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duty {
    /// Who.
    pub who: String,
    /// What they need, or must do.
    pub what: String,
    /// The phases before which, or in which, it must be done.
    pub phases: Vec<u8>,
    /// In these phases, which wait for it, rather than before them.
    pub within: bool,
    /// By what names of `--ack` the phases ask for it.
    pub acknowledgements: Vec<String>,
}

impl Duty {
    /// By when, in words.
    pub fn when(&self) -> String {
        let word = if self.within { "in" } else { "before" };
        format!("{word} {}", numbered(&self.phases))
    }
}

/// What people outside must do, in order of the phases.
pub fn duties(rotation: &Rotation, views: &[PhaseView], stale: &BTreeSet<ObjectId>) -> Vec<Duty> {
    let mut out = acknowledged(rotation, views);
    out.extend(unreached(views));
    for leaf in &rotation.spec.external_leaves {
        let what = format!(
            "re-issue the certificate with SHA-256 {} from the new CA",
            leaf.fingerprint
        );
        out.push(duty(&leaf.owner, &what, &[RETIRE]));
    }
    if !stale.is_empty() {
        let who = format!("whoever keeps the sources of {}", listed(stale.iter()));
        let what = "take the old CA out of them: the next `kubectl apply` would bring it back";
        out.push(duty(&who, what, &[RETIRE]));
    }
    out.sort_by_key(|duty| duty.phases.first().copied());
    out
}

/// The first phase that narrows trust.
const RETIRE: u8 = 17;
/// The phase that replaces served certificates.
const SERVED: u8 = 14;

/// The numbers of phases, in words.
fn numbered(phases: &[u8]) -> String {
    let numbers: Vec<String> = phases.iter().map(|n| format!("{n:02}")).collect();
    numbers.join(" and ")
}

/// Names in a row.
fn listed(names: impl Iterator<Item = impl ToString>) -> String {
    names
        .map(|name| name.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn duty(who: &str, what: &str, phases: &[u8]) -> Duty {
    Duty {
        who: who.to_owned(),
        what: what.to_owned(),
        phases: phases.to_vec(),
        within: false,
        acknowledgements: Vec::new(),
    }
}

/// Users, and clients outside: the phases ask for them by name.
fn acknowledged(rotation: &Rotation, views: &[PhaseView]) -> Vec<Duty> {
    let mut out = Vec::new();
    for view in views
        .iter()
        .filter(|view| view.done.phase.act != Act::Finish)
    {
        let number = view.done.phase.number;
        for (name, text) in view.cluster.acknowledgements() {
            let user = rotation.start.users.keys().find(|user| {
                name.strip_prefix("user-").is_some_and(|rest| {
                    rest == user.as_str() || rest == format!("{user}-certificate")
                })
            });
            let who = match user {
                Some(user) => user.to_string(),
                None if name == HANDLERS => "whoever runs what API servers dial".to_owned(),
                None => "clients outside".to_owned(),
            };
            let what = text.strip_prefix(&format!("{who} ")).unwrap_or(text);
            let mut duty = duty(&who, what, &[number]);
            duty.acknowledgements.push(name.to_owned());
            out.push(duty);
        }
    }
    out
}

/// Pods that no roll reaches.
fn unreached(views: &[PhaseView]) -> Vec<Duty> {
    let mut phases: BTreeMap<String, (Vec<u8>, Vec<u8>)> = BTreeMap::new();
    for view in views {
        let number = view.done.phase.number;
        for (name, _) in view.cluster.unreached() {
            phases.entry(name).or_default().0.push(number);
        }
        for (name, _) in view.cluster.unreached_back() {
            phases.entry(name).or_default().1.push(number);
        }
    }
    let mut together: BTreeMap<(Vec<u8>, Vec<u8>), Vec<String>> = BTreeMap::new();
    for (name, phases) in phases {
        together.entry(phases).or_default().push(name);
    }
    let owners = |((phases, back), names): ((Vec<u8>, Vec<u8>), Vec<String>)| {
        let mut what =
            "restart the pods: no roll reaches them, and the phase waits for it".to_owned();
        if !back.is_empty() {
            what += &format!(", on the way back of {} too", numbered(&back));
        }
        Duty {
            within: true,
            ..duty(
                &format!("whoever owns {}", listed(names.iter())),
                &what,
                &phases,
            )
        }
    };
    together.into_iter().map(owners).collect()
}

/// Until when a user's files of before and of each phase work: the phases that hand out another one,
/// and the phases that ask for it.
pub struct UserFiles {
    /// The user.
    pub name: NodeName,
    /// The phases that hand out a file.
    pub handed_out: Vec<u8>,
    /// The file of before the rotation works until this phase begins.
    pub first_until: Option<u8>,
}

/// The users' files.
pub fn users(rotation: &Rotation, views: &[PhaseView]) -> Vec<UserFiles> {
    let duties = acknowledged(rotation, views);
    rotation
        .start
        .users
        .keys()
        .map(|name| UserFiles {
            name: name.clone(),
            handed_out: views
                .iter()
                .filter(|v| v.done.after().changed_users(&v.done.before).contains(name))
                .map(|v| v.done.phase.number)
                .collect(),
            first_until: duties
                .iter()
                .find(|duty| duty.who == name.as_str())
                .and_then(|duty| duty.phases.first().copied()),
        })
        .collect()
}

/// Where, in the plan, the bundle lies that verifiers outside may use: old and new cluster CA.
pub fn public_bundle(rotation: &Rotation, views: &[PhaseView]) -> Option<String> {
    let pair = rotation.cas.get(&crate::spec::CaName::Cluster)?;
    let text = crate::rotation::to_pem(&rotation.widened(std::slice::from_ref(&pair.old)));
    views.iter().find_map(|view| {
        let images = view.changes.images();
        let (path, _) = images.iter().find(|(_, image)| **image == text)?;
        Some(format!("{}/nodes/{path}", view.directory()))
    })
}

/// Whether served certificates change at all, so that clients outside are concerned.
pub fn concerns_clients(duties: &[Duty]) -> bool {
    duties.iter().any(|duty| duty.phases.contains(&SERVED))
}
