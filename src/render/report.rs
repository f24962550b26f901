//! `report.html`: the plan to look at, in one file that asks for nothing else: no network, no font,
//! and no script for the content. Says nothing that phase.diff, the proof and the READMEs do not say.
//!
//! Everything that is inserted is escaped by the template engine, and what would be invisible or turn
//! the direction of text is spelled out. The page forbids itself every style and script but its own
//! two, by their hashes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use minijinja::{HtmlEscape, Value, context};
use sha2::{Digest as _, Sha256};

use super::PhaseView;
use super::diff::{Section, Subject, alike_on, node_names};
use super::readme::{asked, gate, in_cluster, place, upper_first};
use super::scripts::render;
use crate::coverage::Coverage;
use crate::diagnostic::Result;
use crate::names::NodeName;
use crate::parallel;
use crate::phases::Act;
use crate::pki::Certificate;
use crate::pki::certificate::utc;
use crate::rotation::{FoundLeaf, Holder, Rotation};
use crate::spec::Role;
use crate::trust::{Cell, MatrixRow, Part, PhaseFacts, Proof};

const STYLE: &str = include_str!("../../templates/report.css");
const SCRIPT: &str = include_str!("../../templates/report.js");

/// The changes of a phase stand open when all of them together have no more lines.
const OPEN_LINES: usize = 45;

/// Renders report.html.
pub fn plan(
    rotation: &Rotation,
    views: &[PhaseView],
    coverage: &Coverage,
    proof: &Proof,
) -> Result<String> {
    let spec = rotation.spec;
    let acts = acts(rotation, views);
    let html = render(
        "report.html",
        include_str!("../../templates/report.html"),
        context! {
            style => Value::from_safe_string(STYLE.to_owned()),
            style_hash => hash(STYLE),
            script => Value::from_safe_string(SCRIPT.to_owned()),
            script_hash => hash(SCRIPT),
            cluster => spec.cluster.as_str(),
            kubernetes => spec.kubernetes.to_string(),
            endpoint => spec.endpoint.as_str(),
            id => spec.id.as_str(),
            from => date(spec.not_before),
            until => date(spec.window_end),
            nodes => rotation.start.nodes.keys().map(ToString::to_string).collect::<Vec<_>>(),
            control_planes => rotation.start.nodes_with(Role::ControlPlane).count(),
            users => rotation.start.users.keys().map(ToString::to_string).collect::<Vec<_>>(),
            reissued => rotation.leaves.len(),
            files => views.iter().map(|v| v.changes.file_count()).sum::<usize>(),
            edges => proof.edges.len(),
            chains => proof.pairs_verified,
            outages => outages(proof),
            weaknesses => proof.weaknesses_for_people().iter().map(|w| upper_first(w)).collect::<Vec<_>>(),
            stale => coverage.stale_sources.iter().map(ToString::to_string).collect::<Vec<_>>(),
            unused => &coverage.unused,
            acts => acts,
            columns => proof.phases.iter().map(|p| format!("{:02}", p.number)).collect::<Vec<_>>(),
            column_acts => column_acts(views, proof),
            matrix => matrix(proof),
            cas => cas(rotation),
            leaves => leaves(rotation),
        },
    )?;
    Ok(visible(&html))
}

/// What a Content-Security-Policy calls a text.
fn hash(text: &str) -> String {
    format!("sha256-{}", BASE64.encode(Sha256::digest(text)))
}

/// A moment: all of it for programs, the day for people.
fn date(seconds: i64) -> Value {
    let full = utc(seconds);
    let day = full.split('T').next().unwrap_or_default().to_owned();
    context! { full => full, day => day }
}

/// Spells out what cannot be seen or turns the direction of text: a reviewer must not be shown
/// another order of characters than a machine reads.
fn visible(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    for c in html.chars() {
        let hidden = matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if hidden || (c.is_control() && !matches!(c, '\n' | '\t')) {
            let _ = write!(out, "⟨U+{:04X}⟩", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// A text of carota's with `code` in it.
fn prose(text: &str) -> Value {
    let mut out = String::new();
    for (index, part) in text.split('`').enumerate() {
        let part = HtmlEscape(part);
        let _ = if index % 2 == 1 {
            write!(out, "<code>{part}</code>")
        } else {
            write!(out, "{part}")
        };
    }
    Value::from_safe_string(out)
}

/// What the filter calls a node, a user, or the cluster's objects.
fn on_node(node: &NodeName) -> String {
    format!("node:{node}")
}

fn on_user(user: &NodeName) -> String {
    format!("user:{user}")
}

const ON_CLUSTER: &str = "cluster:";

/// What is away meanwhile.
fn outages(proof: &Proof) -> Vec<Value> {
    proof
        .outages_once()
        .into_iter()
        .map(|(outage, phases)| {
            context! {
                phases => phases.iter().map(|p| format!("{p:02}")).collect::<Vec<_>>(),
                name => outage.name.as_str(),
                scope => upper_first(&outage.scope),
                minor => outage.minor,
            }
        })
        .collect()
}

/// The acts with their phases.
fn acts(rotation: &Rotation, views: &[PhaseView]) -> Vec<Value> {
    views
        .chunk_by(|a, b| a.done.phase.act == b.done.phase.act)
        .map(|views| {
            let act = views[0].done.phase.act;
            let about = match act {
                Act::Prepare => "Before anything changes.",
                Act::Widen => "Every verifier comes to trust the old and the new CA.",
                Act::Switch => "Every identity is re-issued by the new CA.",
                Act::Narrow => "The old CA goes from every verifier.",
                Act::Finish => "What the rotation needed and nothing uses any more is removed.",
            };
            let phases = parallel::map(views, |view| phase(rotation, view));
            context! { name => act.as_str(), about => about, phases => phases }
        })
        .collect()
}

fn phase(rotation: &Rotation, view: &PhaseView) -> Value {
    let phase = view.done.phase;
    let steps: Vec<Value> = view
        .done
        .outcome
        .steps
        .iter()
        .map(|step| {
            context! { title => prose(&upper_first(&step.title)), place => place(view, step) }
        })
        .collect();
    let restarts: Vec<String> = view
        .changes
        .restarts()
        .into_iter()
        .map(|(what, nodes)| format!("{what} on {}", node_names(rotation, &nodes)))
        .collect();
    let acknowledgements: Vec<Value> = view
        .cluster
        .acknowledgements()
        .into_iter()
        .map(|(name, text)| context! { name => name, text => prose(text) })
        .collect();
    let lines: usize = view.diff.iter().map(|s| s.unified.lines().count()).sum();
    let changes: Vec<Value> = view.diff.iter().map(|s| change(rotation, s)).collect();
    let paragraphs = |texts: Vec<&str>| texts.into_iter().map(prose).collect::<Vec<_>>();
    context! {
        number => format!("{:02}", phase.number),
        directory => view.directory(),
        title => prose(&upper_first(phase.title)),
        page_step => phase.page_step,
        why => prose(&phase.why.split_whitespace().collect::<Vec<_>>().join(" ")),
        idle => view.changes.is_empty() && view.cluster.is_empty(),
        nodes => node_names(rotation, &view.changes.nodes()),
        on => view.changes.nodes().iter().map(on_node).collect::<Vec<_>>().join(" "),
        files => view.changes.file_count(),
        restarts => restarts,
        in_cluster => in_cluster(view).into_iter().chain(asked(view)).collect::<Vec<_>>(),
        steps => steps,
        acknowledgements => acknowledgements,
        absent => paragraphs(view.done.outcome.absent.iter().map(String::as_str).collect()),
        notes => paragraphs(view.cluster.notes()),
        gate => prose(&gate(view)),
        way_back => prose(&phase.way_back.text()),
        changes => changes,
        open => lines <= OPEN_LINES,
    }
}

/// One section of the phase's diff.
fn change(rotation: &Rotation, section: &Section) -> Value {
    let (what, place, on, all) = match &section.of {
        Subject::File(path, nodes) => {
            let mut on = format!("on {}", node_names(rotation, nodes));
            if let Some(others) = alike_on(rotation, section) {
                on.push_str(&format!("; {others}"));
            }
            let members = section.alike.members.iter();
            let all: BTreeSet<_> = members.flat_map(|m| &m.nodes).chain(nodes).collect();
            let all: Vec<_> = all.into_iter().map(on_node).collect();
            (path.to_string(), on, all.join(" "), Vec::new())
        }
        Subject::Objects(ids, owner) => {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let more = match ids.len() {
                1 => String::new(),
                n => format!("and {} more, ", n - 1),
            };
            let all = if ids.len() > 1 {
                ids.clone()
            } else {
                Vec::new()
            };
            (
                ids[0].clone(),
                format!("{more}{owner}"),
                ON_CLUSTER.to_owned(),
                all,
            )
        }
        Subject::User(user) => (
            format!("users/{user}.kubeconfig"),
            "handed out".to_owned(),
            on_user(user),
            Vec::new(),
        ),
    };
    let lines = || section.unified.lines().skip(2);
    context! {
        what => what,
        place => place,
        on => on,
        all => all,
        made => !section.there.0,
        removed => !section.there.1,
        added => lines().filter(|l| l.starts_with('+')).count(),
        gone => lines().filter(|l| l.starts_with('-')).count(),
        diff => Value::from_safe_string(coloured(lines())),
    }
}

/// A unified diff without its heading: neighbouring lines of a kind share one element.
fn coloured<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let tag = |line: &str| match line.bytes().next() {
        Some(b'+') => "ins",
        Some(b'-') => "del",
        Some(b'@') => "b",
        _ => "",
    };
    let mut out = String::new();
    let mut open = "";
    for line in lines {
        let now = tag(line);
        if now != open {
            if !open.is_empty() {
                let _ = write!(out, "</{open}>");
            }
            if !now.is_empty() {
                let _ = write!(out, "<{now}>");
            }
            open = now;
        }
        let _ = writeln!(out, "{}", HtmlEscape(line));
    }
    if !open.is_empty() {
        let _ = write!(out, "</{open}>");
    }
    out
}

/// Over how many columns of the trust picture each act reaches.
fn column_acts(views: &[PhaseView], proof: &Proof) -> Vec<Value> {
    let act = |facts: &PhaseFacts| {
        let view = views.iter().find(|v| v.done.phase.number == facts.number);
        view.map_or("", |v| v.done.phase.act.as_str())
    };
    proof
        .phases
        .chunk_by(|a, b| act(a) == act(b))
        .map(|phases| context! { name => act(&phases[0]), columns => phases.len() })
        .collect()
}

/// The trust picture: for each kind of edge and direction, what signed the certificate and what its
/// verifier trusts, as bars over the phases.
fn matrix(proof: &Proof) -> Vec<Value> {
    proof
        .matrix
        .chunk_by(|a, b| a.kind == b.kind)
        .map(|rows| {
            let bars: Vec<Value> = rows
                .iter()
                .flat_map(|row| {
                    let verifier = if row.verified == "server" {
                        "client"
                    } else {
                        "server"
                    };
                    [
                        context! {
                            label => format!("{} shows", row.verified),
                            cells => bars(proof, row, |part| &part.used),
                        },
                        context! {
                            label => format!("{verifier} trusts"),
                            cells => bars(proof, row, |part| &part.trusted),
                        },
                    ]
                })
                .collect();
            context! { kind => rows[0].kind, bars => bars }
        })
        .collect()
}

fn bars(proof: &Proof, row: &MatrixRow, what: fn(&Part) -> &str) -> Vec<Value> {
    let cells: Vec<(Vec<&str>, &PhaseFacts)> = row
        .cells
        .iter()
        .map(|cell| in_order(cell, what))
        .zip(&proof.phases)
        .collect();
    cells
        .chunk_by(|a, b| a.0 == b.0)
        .map(|run| {
            let (first, last) = (run[0].1.number, run[run.len() - 1].1.number);
            let phases = if first == last {
                format!("{first:02}")
            } else {
                format!("{first:02} to {last:02}")
            };
            let words = in_words(&run[0].0);
            let class = class(&run[0].0);
            let short = match (run.len(), words.len()) {
                (2.., _) | (1, ..=4) => words.clone(),
                _ if class.matches('-').count() > 1 => "→".to_owned(),
                _ => "…".to_owned(),
            };
            context! { columns => run.len(), phases => phases, words => words, short => short, class => class }
        })
        .collect()
}

/// What a cell says, one after the other.
fn in_order(cell: &Cell, what: fn(&Part) -> &str) -> Vec<&str> {
    let mut out: Vec<&str> = cell.parts.iter().map(what).collect();
    out.dedup();
    out
}

fn in_words(values: &[&str]) -> String {
    let words = |value: &&str| {
        value
            .split(['+', '|'])
            .map(|word| match word {
                "other" => "another CA",
                "any" => "not verified",
                "none" => "missing",
                "-" => "nothing",
                word => word,
            })
            .collect::<Vec<_>>()
            .join(" or ")
    };
    values.iter().map(words).collect::<Vec<_>>().join(", then ")
}

/// The colour: where it comes from and where it leads.
fn class(values: &[&str]) -> String {
    let mut known = values
        .iter()
        .flat_map(|value| value.split(['+', '|']))
        .filter(|word| matches!(*word, "old" | "both" | "new"));
    let Some(first) = known.next() else {
        return "ca-none".to_owned();
    };
    match known.next_back() {
        Some(last) if last != first => format!("ca-{first}-{last}"),
        _ => format!("ca-{first}"),
    }
}

/// The CAs, old and new.
fn cas(rotation: &Rotation) -> Vec<Value> {
    let facts = |certificate: &Certificate| {
        context! {
            subject => certificate.subject(),
            until => date(certificate.not_after()),
            key => certificate.key_algorithm_text(),
            sha256 => certificate.fingerprint(),
        }
    };
    rotation
        .cas
        .values()
        .map(|pair| {
            context! { name => pair.names(), old => facts(&pair.old), new => facts(&pair.new) }
        })
        .collect()
}

/// Every leaf once: who, where, and what becomes of it.
fn leaves(rotation: &Rotation) -> Vec<Value> {
    let mut order: Vec<(&FoundLeaf, BTreeSet<&Holder>)> = Vec::new();
    let mut at: BTreeMap<&str, usize> = BTreeMap::new();
    for leaf in &rotation.found {
        let index = *at.entry(leaf.certificate.fingerprint()).or_insert_with(|| {
            order.push((leaf, BTreeSet::new()));
            order.len() - 1
        });
        order[index].1.insert(&leaf.holder);
    }
    order.sort_by_key(|(leaf, _)| leaf.ca);
    order
        .into_iter()
        .map(|(leaf, holders)| leaf_row(rotation, leaf, &holders))
        .collect()
}

fn leaf_row(rotation: &Rotation, leaf: &FoundLeaf, holders: &BTreeSet<&Holder>) -> Value {
    let old = &leaf.certificate;
    let issued = rotation.reissued(old);
    let owner = rotation
        .spec
        .external_leaves
        .iter()
        .find(|external| external.fingerprint == old.fingerprint())
        .map(|external| external.owner.as_str());
    let places: Vec<Value> = holders
        .iter()
        .map(|holder| match holder {
            Holder::File(node, path) => {
                context! { who => node.as_str(), what => path.to_string() }
            }
            Holder::User(user) => {
                context! { who => user.as_str(), what => format!("users/{user}.kubeconfig") }
            }
            Holder::Secret(id) => context! { who => "cluster", what => id.to_string() },
        })
        .collect();
    let on: BTreeSet<String> = holders
        .iter()
        .map(|holder| match holder {
            Holder::File(node, _) => on_node(node),
            Holder::User(user) => on_user(user),
            Holder::Secret(_) => ON_CLUSTER.to_owned(),
        })
        .collect();
    let uses = match (old.server_auth(), old.client_auth()) {
        (true, true) => "server and client",
        (true, false) => "server",
        (false, true) => "client",
        (false, false) => "neither",
    };
    context! {
        subject => old.subject(),
        uses => uses,
        places => places,
        on => on.into_iter().collect::<Vec<_>>().join(" "),
        issuer => old.issuer(),
        until => date(old.not_after()),
        new_issuer => issued.map(|i| i.certificate.issuer()),
        new_until => issued.map(|i| date(i.certificate.not_after())),
        key => issued.map(|i| if i.key.is_some() { "new" } else { "kept" }),
        owner => owner,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_text_around_is_spelled_out() {
        assert_eq!(
            visible("a\u{202e}b\u{1b}[0m\tc\r\n\u{200b}ä"),
            "a⟨U+202E⟩b⟨U+001B⟩[0m\tc⟨U+000D⟩\n⟨U+200B⟩ä"
        );
    }

    #[test]
    fn a_hostile_line_of_a_diff_stays_text() {
        let lines = ["+<script>alert(1)</script>", "-</pre>", " x", "@@ -1 +1 @@"];
        assert_eq!(
            coloured(lines.into_iter()),
            "<ins>+&lt;script&gt;alert(1)&lt;&#x2f;script&gt;\n</ins>\
             <del>-&lt;&#x2f;pre&gt;\n</del> x\n<b>@@ -1 +1 @@\n</b>"
        );
    }

    #[test]
    fn code_in_a_hostile_text_stays_text() {
        assert_eq!(
            prose("see `a<b>` & <i>").to_string(),
            "see <code>a&lt;b&gt;</code> &amp; &lt;i&gt;"
        );
    }

    #[test]
    fn a_bar_says_where_it_comes_from_and_where_it_leads() {
        for (values, words, name) in [
            (vec!["old"], "old", "ca-old"),
            (vec!["old|both"], "old or both", "ca-old-both"),
            (vec!["old", "old+new"], "old, then old or new", "ca-old-new"),
            (vec!["old+other"], "old or another CA", "ca-old"),
            (vec!["any"], "not verified", "ca-none"),
        ] {
            assert_eq!(in_words(&values), words);
            assert_eq!(class(&values), name);
        }
    }
}
