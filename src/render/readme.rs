//! The READMEs: of the plan, and of each phase. For a reader without context, on a code host as it
//! is: tables and words.

use std::collections::BTreeSet;

use minijinja::{Value, context};

use super::cluster::Ownership;
use super::diff::{PUBLISHED, Subject};
use super::scripts::render;
use super::{PhaseView, calendar, diagram, times};
use crate::coverage::Coverage;
use crate::diagnostic::Result;
use crate::names::NodeName;
use crate::phases::{PAGE, POD_ANNOTATION, Part, Step, UNDO};
use crate::pki::certificate::utc;
use crate::rotation::Rotation;
use crate::spec::{Role, Spec};
use crate::state::{ObjectId, Process};
use crate::trust::Proof;

/// Text inside a Markdown table or line: nothing in it may end the cell, the line or the code span.
fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '\\' | '<' | '>' | '*' | '[' | ']' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// The text as a sentence begins.
pub fn upper_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// What the scripts say of themselves, so that it stands once: from their text, the part between two.
fn of_scripts(from: &str, to: &str) -> &'static str {
    let main = include_str!("../../templates/lib/main.sh");
    let rest = main.split_once(from).map_or("", |(_, rest)| rest);
    rest.split_once(to).map_or("", |(part, _)| part.trim_end())
}

/// Names, or how many.
fn listed(rotation: &Rotation, nodes: &BTreeSet<NodeName>) -> String {
    if nodes.is_empty() {
        return "-".into();
    }
    if nodes.len() > 1 && nodes.len() == rotation.start.nodes.len() {
        return format!("all {}", nodes.len());
    }
    let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    if names.len() <= 6 {
        names.join(", ")
    } else {
        format!("{} nodes", names.len())
    }
}

fn restarts(rotation: &Rotation, view: &PhaseView) -> Vec<String> {
    view.changes
        .restarts()
        .into_iter()
        .map(|(what, nodes)| format!("{} on {}", cell(&what), listed(rotation, &nodes)))
        .collect()
}

/// What is asked of people by name.
pub fn asked(view: &PhaseView) -> Option<String> {
    match view.cluster.acknowledgements().len() {
        0 => None,
        1 => Some("1 acknowledgement asked for".to_owned()),
        n => Some(format!("{n} acknowledgements asked for")),
    }
}

/// The same for a narrow column: few by their names.
fn asked_names(view: &PhaseView) -> String {
    let names = view.cluster.acknowledgements();
    if names.len() > 3 {
        return format!("{} names", names.len());
    }
    let names: Vec<String> = names.iter().map(|(name, _)| format!("`{name}`")).collect();
    names.join(", ")
}

/// The objects that change without the scripts, because API servers publish what they trust.
fn published(view: &PhaseView) -> Vec<&ObjectId> {
    let sections = view.diff.iter().filter_map(|section| match &section.of {
        Subject::Objects(ids, owner) if *owner == PUBLISHED => Some(ids),
        _ => None,
    });
    let known = |id: &&ObjectId| !view.cluster.objects.iter().any(|(other, _)| other == *id);
    sections.flatten().filter(known).collect()
}

/// What a phase does in the cluster, in words.
pub fn in_cluster(view: &PhaseView) -> Vec<String> {
    let count = |owner: Ownership| {
        view.cluster
            .objects
            .iter()
            .filter(|(_, o)| *o == owner)
            .count()
    };
    let counts = view.cluster.counts();
    let number = |op: &str| counts.get(op).copied().unwrap_or(0);
    let mut out = Vec::new();
    let mut say = |n: usize, one: &str, many: &str| {
        if n > 0 {
            out.push(format!("{n} {}", if n == 1 { one } else { many }));
        }
    };
    say(
        count(Ownership::Applied),
        "object applied",
        "objects applied",
    );
    say(
        count(Ownership::Awaited),
        "object waited for",
        "objects waited for",
    );
    say(count(Ownership::Pruned), "object pruned", "objects pruned");
    say(
        published(view).len(),
        "object that API servers publish when they restart",
        "objects that API servers publish when they restart",
    );
    say(number("rollout"), "workload rolled", "workloads rolled");
    say(
        number("gate-pods"),
        "pod that no roll reaches",
        "pods that no roll reaches",
    );
    say(
        number("probe"),
        "served certificate verified",
        "served certificates verified",
    );
    say(
        number("gate-nodes"),
        "list of Node objects compared",
        "lists of Node objects compared",
    );
    let users = view.done.after().changed_users(&view.done.before).len();
    say(
        users,
        "user's kubeconfig handed out",
        "users' kubeconfigs handed out",
    );
    out
}

/// Where a step is carried out, in words.
pub fn place(view: &PhaseView, step: &Step) -> String {
    match step.part {
        // One script does all steps of a node.
        Part::Nodes { .. } if view.serial() => "on the nodes, one after another".to_owned(),
        Part::Nodes { .. } => "on the nodes, in any order".to_owned(),
        Part::Cluster if view.only_hands_out(step) => "by people".to_owned(),
        Part::Cluster if view.only_asks(step) => format!("asked {}", where_asked(view)),
        Part::Cluster => "in the cluster, with kubectl".to_owned(),
    }
}

/// Where the scripts of a phase ask for what people confirm: each of them does.
fn where_asked(view: &PhaseView) -> &'static str {
    match (view.changes.is_empty(), view.cluster.is_empty()) {
        (false, true) => "on each node",
        (true, _) => "where kubectl works",
        (false, false) => "on each node, and where kubectl works",
    }
}

/// The phase whose half on the other side, nodes or cluster, must be complete before the last of `views` goes on,
/// which cannot be seen from this side: a script asks for it by name (`check_other_side` in templates/lib/main.sh).
fn other_half(views: &[PhaseView], on_nodes: bool) -> Option<&PhaseView> {
    let (own, earlier) = views.split_last()?;
    let order = own.order();
    let sides = |first: &str, last: &str| order.starts_with(first) && order.ends_with(last);
    let after_other = if on_nodes {
        sides("cluster", "node")
    } else {
        sides("node", "cluster")
    };
    let has_other = |view: &&PhaseView| {
        if on_nodes {
            !view.cluster.is_empty()
        } else {
            !view.changes.is_empty()
        }
    };
    let own = after_other.then_some(own);
    own.into_iter().chain(earlier.iter().rev()).find(has_other)
}

/// What the scripts of one side ask for: `--ack NAME`, each with a blank before it.
fn acks(views: &[PhaseView], on_nodes: bool) -> String {
    let Some(view) = views.last() else {
        return String::new();
    };
    let other = other_half(views, on_nodes).map(PhaseView::directory);
    let people = view.cluster.acknowledgements().into_iter();
    let names = other
        .into_iter()
        .chain(people.map(|(name, _)| name.to_owned()));
    names.map(|name| format!(" --ack {name}")).collect()
}

/// A row of what must be confirmed.
fn confirmed(name: &str, place: &str, text: &str) -> Value {
    context! { name => name, place => place, text => text }
}

/// Everything that is to be confirmed by name before the first write of the last of `views`.
fn confirmations(views: &[PhaseView]) -> Vec<Value> {
    let Some(view) = views.last() else {
        return Vec::new();
    };
    let mut out = Vec::new();
    if !view.changes.is_empty()
        && let Some(other) = other_half(views, true)
    {
        let number = other.done.phase.number;
        let text = format!(
            "the part of phase {number:02} where kubectl works has finished; not asked where its journal is on the \
             same machine, in `~/.carota`"
        );
        out.push(confirmed(&other.directory(), "on each node", &text));
    }
    if !view.cluster.is_empty()
        && let Some(other) = other_half(views, false)
    {
        let number = other.done.phase.number;
        let text = format!("phase {number:02} has finished on every node that it names");
        out.push(confirmed(&other.directory(), "where kubectl works", &text));
    }
    let place = where_asked(view);
    let people = view.cluster.acknowledgements().into_iter();
    out.extend(people.map(|(name, text)| confirmed(name, place, &cell(text))));
    out
}

/// What the annotation says by which static pods restart.
fn about_annotation(view: &PhaseView) -> Option<String> {
    let lines = || view.diff.iter().flat_map(|section| section.unified.lines());
    let is = |line: &str, sign| line.starts_with(sign) && line.contains(POD_ANNOTATION);
    if lines().any(|line| is(line, '+')) {
        Some(format!(
            "The annotation `{POD_ANNOTATION}` is a fingerprint of the files that a static pod reads: a kubelet restarts the \
             pod when its manifest changes, and not when such a file does."
        ))
    } else if lines().any(|line| is(line, '-')) {
        Some(format!(
            "The annotation `{POD_ANNOTATION}`, by which an earlier phase restarted static pods, goes: the manifest is the \
             snapshot's again."
        ))
    } else {
        None
    }
}

/// The README of a phase, the last of `views`: those before it are the ones before it in the plan.
pub fn phase(rotation: &Rotation, views: &[PhaseView]) -> Result<String> {
    let Some(view) = views.last() else {
        return Ok(String::new());
    };
    let phase = view.done.phase;
    let steps: Vec<Value> = view
        .done
        .outcome
        .steps
        .iter()
        .map(|step| context! { title => upper_first(&step.title), place => place(view, step) })
        .collect();
    let objects: Vec<Value> = view
        .cluster
        .objects
        .iter()
        .map(|(id, owner)| {
            let how = match owner {
                Ownership::Applied => "applied",
                Ownership::Awaited => "written by its controller; waited for",
                Ownership::Pruned => "pruned",
            };
            context! { id => id.to_string(), how => how }
        })
        .chain(published(view).into_iter().map(
            |id| context! { id => id.to_string(), how => "published by API servers when they restart" },
        ))
        .collect();
    let pods = |pods: Vec<(String, &str)>| -> Vec<Value> {
        let rows = pods.into_iter();
        rows.map(|(name, why)| context! { name => name, why => cell(why) })
            .collect()
    };
    let unreached = pods(view.cluster.unreached());
    let unreached_back = pods(view.cluster.unreached_back());
    let notes = view.cluster.notes().into_iter().map(cell);
    let notes: Vec<String> = notes.chain(about_annotation(view)).collect();
    let undoing: Vec<Value> = view
        .done
        .outcome
        .undoing
        .iter()
        .map(|asked| context! { name => &asked.name, text => &asked.text })
        .collect();
    let order = view.order();
    render(
        "phase/README.md",
        include_str!("../../templates/phase/README.md"),
        context! {
            directory => view.directory(),
            title => upper_first(phase.title),
            act => phase.act.as_str(),
            page_step => phase.page_step,
            why => phase.why_text(),
            steps => steps,
            files => view.changes.file_count(),
            nodes => listed(rotation, &view.changes.nodes()),
            on_nodes => !view.changes.is_empty(),
            on_cluster => !view.cluster.is_empty(),
            serial => view.serial() && view.changes.nodes().len() > 1,
            cluster_first => order.starts_with("cluster"),
            restarts => restarts(rotation, view),
            objects => objects,
            in_cluster => in_cluster(view),
            unreached => unreached,
            unreached_back => unreached_back,
            asked => asked(view).map(|text| format!("{text} {}", where_asked(view))),
            confirmations => confirmations(views),
            node_acks => acks(views, true),
            cluster_acks => acks(views, false),
            absent => view.done.outcome.absent.iter().map(|a| cell(a)).collect::<Vec<_>>(),
            notes => notes,
            way_back => phase.way_back.text(),
            undoing => undoing,
            hands_out => handed_out(view),
            blind => blind(rotation, view),
            has_way_back => !view.changes.forget(),
            gate => gate(view),
        },
    )
}

/// The files of users that a phase hands out, in words; empty where there are none.
fn handed_out(view: &PhaseView) -> String {
    let users = view.done.after().changed_users(&view.done.before);
    let files: Vec<String> = users
        .iter()
        .map(|user| format!("`users/{user}.kubeconfig`"))
        .collect();
    files.join(", ")
}

/// The control planes of a phase that restarts their programs one after another, from which a script cannot see how the
/// others are (`look_at_api` in templates/lib/node.sh).
fn blind(rotation: &Rotation, view: &PhaseView) -> String {
    if !view.serial() || rotation.start.nodes_with(Role::ControlPlane).count() < 2 {
        return String::new();
    }
    let cannot_see = |name: &&NodeName| {
        let node = &rotation.start.nodes[*name];
        node.role == Role::ControlPlane
            && !node
                .files
                .keys()
                .any(|path| path.as_str() == "/etc/kubernetes/admin.conf")
    };
    let restarted = view.done.after().restarted_since(&view.done.before);
    let programs = restarted.iter().filter_map(|process| match process {
        Process::Program(node, _) => Some(node),
        _ => None,
    });
    let nodes: BTreeSet<NodeName> = programs.filter(cannot_see).cloned().collect();
    if nodes.is_empty() {
        return String::new();
    }
    listed(rotation, &nodes)
}

/// What must hold before the next phase.
pub fn gate(view: &PhaseView) -> String {
    match (view.changes.is_empty(), view.cluster.is_empty()) {
        (true, true) => "None: nothing changes here.".into(),
        (false, true) => "`verify.sh` exits 0 on every node named above.".into(),
        (true, false) => "`verify.sh --cluster` exits 0.".into(),
        (false, false) => {
            "`verify.sh` exits 0 on every node named above, and `verify.sh --cluster` exits 0."
                .into()
        }
    }
}

/// The plan's README.
pub fn plan(
    rotation: &Rotation,
    views: &[PhaseView],
    coverage: &Coverage,
    proof: &Proof,
) -> Result<String> {
    let spec = rotation.spec;
    let cas: Vec<Value> = rotation
        .cas
        .values()
        .map(|pair| {
            context! {
                name => pair.names(),
                old => cell(pair.old.subject()),
                old_until => utc(pair.old.not_after()),
                new => cell(pair.new.subject()),
                new_until => utc(pair.new.not_after()),
                new_key => pair.new.key_algorithm_text(),
                new_sha256 => pair.new.fingerprint(),
            }
        })
        .collect();
    let phases: Vec<Value> = views
        .iter()
        .map(|view| {
            let idle = view.changes.is_empty() && view.cluster.is_empty();
            context! {
                directory => view.directory(),
                act => view.done.phase.act.as_str(),
                nodes => if idle { "nothing to do".to_owned() } else { listed(rotation, &view.changes.nodes()) },
                files => view.changes.file_count(),
                restarts => restarts(rotation, view).join("; "),
                in_cluster => in_cluster(view).join("; "),
                asked => asked_names(view),
                time => if idle { "-".to_owned() } else { times::text(times::of(view, spec.kubernetes)) },
                until => view.done.phase.way_back.until_text(),
            }
        })
        .collect();
    let duties = calendar::duties(rotation, views, &coverage.stale_sources);
    let unseen = (1..=views.len()).find_map(|n| {
        let view = views[n - 1].directory();
        let works = !views[n - 1].changes.is_empty();
        works
            .then(|| other_half(&views[..n], true))
            .flatten()
            .map(|other| (view, other.directory()))
    });
    let count = |phases: &[PhaseView]| phases.iter().map(|v| v.changes.file_count()).sum::<usize>();
    render(
        "README.md",
        include_str!("../../templates/README.md"),
        context! {
            cluster => spec.cluster.as_str(),
            kubernetes => spec.kubernetes.to_string(),
            endpoint => spec.endpoint.as_str(),
            id => spec.id.as_str(),
            tools => of_scripts("for tool in ", ";"),
            exit_codes => of_scripts("exit: ", "The scripts check"),
            from => utc(spec.not_before),
            until => utc(spec.window_end),
            cas => cas,
            phases => phases,
            page => PAGE,
            undo => UNDO,
            unseen => unseen.map(|(phase, other)| context! { phase => phase, other => other }),
            leftovers => proof.leftovers.iter().map(|l| cell(l)).collect::<Vec<_>>(),
            nodes => rotation.start.nodes.len(),
            control_planes => rotation.start.nodes_with(crate::spec::Role::ControlPlane).count(),
            leaves => rotation.leaves.len(),
            new_keys => rotation.gives_new_keys(),
            files => count(views),
            total_time => times::text(views.iter().map(|view| times::of(view, spec.kubernetes)).sum()),
            assumptions => times::assumptions(spec.kubernetes).map(|a| context! { what => a.what, seconds => a.seconds, source => a.source }).collect::<Vec<_>>(),
            diagram => diagram::mermaid(views),
            milestones => milestones(rotation, views),
            asked => duties.iter().any(|duty| !duty.acknowledgements.is_empty()),
            duties => duties.iter().map(duty).collect::<Vec<_>>(),
            users => users(rotation, views),
            bundle => calendar::public_bundle(rotation, views).filter(|_| calendar::concerns_clients(&duties)),
            edges => proof.proven(),
            unproven => proof.unproven,
            chains => proof.pairs_verified,
            matrix => proof.matrix_markdown(),
            about_cas => [external_keys(rotation), kept_roots(rotation)].concat(),
            weaknesses => proof.weaknesses_for_people().iter().map(|w| cell(w)).collect::<Vec<_>>(),
            outages => outages(spec, proof),
            unused => coverage.unused.iter().map(|u| cell(u)).collect::<Vec<_>>(),
        },
    )
}

/// The roots that stay above a new CA and were above the old one: what the old one signed goes on being accepted.
fn kept_roots(rotation: &Rotation) -> Vec<String> {
    let pairs = rotation.cas.values();
    pairs
        .filter_map(|pair| {
            let root = pair.chain.iter().find(|above| pair.old.signed_by(above))?;
            Some(format!(
                "`{}`, above the old {} CA, is above the new one too and stays trusted: whoever shows the old CA along with \
                 a certificate\n  that it signed is accepted until {}. Where its key may be known to others, rotate to a CA \
                 under another root.",
                root.subject(),
                pair.names(),
                utc(pair.old.not_after()),
            ))
        })
        .collect()
}

/// Where the keys of CAs are that lie on no node.
fn external_keys(rotation: &Rotation) -> Vec<String> {
    let external = rotation.spec.cas.iter().filter(|(_, ca)| ca.external);
    external
        .map(|(name, ca)| {
            if ca.signs_elsewhere() {
                let signed = rotation.found.iter().filter(|leaf| leaf.ca == *name);
                let signed: BTreeSet<&str> = signed.map(|leaf| leaf.certificate.fingerprint()).collect();
                format!(
                    "The key of the {name} CA is on no node, and that of the new one with somebody else, who has signed the \
                     {} certificates of it in this plan.\n  Nothing in the cluster renews them.",
                    signed.len()
                )
            } else {
                format!(
                    "The key of the {name} CA is on no node, and that of the new one goes to none: it is \
                     `secrets/keyring/{name}.key`,\n  which no bundle carries. Take it to where the old one is kept. Nothing in \
                     the cluster renews what it signs."
                )
            }
        })
        .collect()
}

/// What is away meanwhile: each kind once, with its phases, and whether it was accepted.
fn outages(spec: &Spec, proof: &Proof) -> Vec<Value> {
    proof
        .outages_once()
        .into_iter()
        .map(|(outage, phases)| {
            let name = &outage.name;
            let accepted = if outage.minor {
                "short and of small scope: named here, not asked for".to_owned()
            } else if spec.accept.contains(name) {
                format!("by `accept` in cluster.toml, as `{name}`")
            } else {
                format!("**no**: `{name}` is not in `accept` of cluster.toml")
            };
            let phases: Vec<String> = phases.iter().map(|p| format!("{p:02}")).collect();
            let scope = cell(&outage.scope);
            context! { phases => phases.join(", "), scope => scope, accepted => accepted }
        })
        .collect()
}

/// When each node changes; nodes that go alike share a row.
fn milestones(rotation: &Rotation, views: &[PhaseView]) -> Vec<Value> {
    let number = |phase: Option<u8>| phase.map_or_else(|| "-".to_owned(), |n| format!("{n:02}"));
    calendar::grouped(views)
        .into_iter()
        .map(|(when, nodes)| {
            let switched: Vec<String> =
                when.switched_in.iter().map(|n| format!("{n:02}")).collect();
            context! {
                nodes => listed(rotation, &nodes),
                widened => number(when.widened_after),
                switched => if switched.is_empty() { "-".to_owned() } else { switched.join(", ") },
                narrowed => number(when.narrowed_after),
            }
        })
        .collect()
}

fn duty(duty: &calendar::Duty) -> Value {
    let acks: Vec<String> = duty
        .acknowledgements
        .iter()
        .map(|name| format!("`--ack {name}`"))
        .collect();
    context! {
        who => cell(&duty.who),
        what => cell(&duty.what),
        when => duty.when(),
        ack => acks.join(", "),
    }
}

fn users(rotation: &Rotation, views: &[PhaseView]) -> Vec<Value> {
    calendar::users(rotation, views)
        .into_iter()
        .map(|user| {
            let phases: Vec<String> = user.handed_out.iter().map(|n| format!("{n:02}")).collect();
            let until = match user.first_until {
                Some(phase) => format!("phase {phase:02} begins"),
                None => "the end: it is not concerned".to_owned(),
            };
            context! { name => user.name.as_str(), phases => phases.join(", "), until => until }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_in_its_cell() {
        assert_eq!(cell("a|b\nc<script>"), "a\\|b c\\<script\\>");
    }
}
