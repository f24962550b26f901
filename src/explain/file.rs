//! The page of a file of a plan: its kind, the change that it belongs to, what it was made from, and
//! the part of phase.diff that shows it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::text::Page;
use super::{PlanPath, page_step, phase, unknown};
use crate::committed::{Change, Committed};
use crate::diagnostic::{Code, Diagnostic, Result};
use crate::digest::sha256;
use crate::edit::embedded::find_embedded_certificates;
use crate::phases::Phase;
use crate::pki::Certificate;
use crate::render::kinds::{self, Form, Kind};

/// A page that says of what kind a file is.
pub fn of_kind(heading: &str, kind: &Kind) -> Page {
    let mut page = Page::new(heading);
    page.row("what", kind.what);
    page.section("Why", kind.why);
    page
}

/// The page of a file in, or beside, a plan.
pub fn explain(place: &PlanPath) -> Result<String> {
    let plan = Committed::read(&place.plan)?;
    let inside = place.path.strip_prefix("plan/");
    if let Some((directory, path)) = inside.and_then(|p| p.split_once("/nodes/")) {
        return node_file(place, &plan, directory, path);
    }
    let Some(kind) = kinds::of(&place.path) else {
        return Err(missing(place, &plan));
    };
    let Some(inside) = inside else {
        return Ok(of_kind(&place.given, kind).finish());
    };
    let directory = inside.split('/').next().unwrap_or_default();
    if directory == inside && kind.pattern == "plan/NN" {
        return phase_here(place, &plan, directory);
    }
    let Some(text) = plan.text(inside)? else {
        return Err(missing(place, &plan));
    };
    let mut page = Page::new(&place.given);
    page.row("what", kind.what);
    if let Some(phase) = Phase::named(directory) {
        rows_of_phase(&mut page, phase);
    }
    let file = inside.split_once('/').map_or("", |(_, file)| file);
    let hash = sha256(&text);
    let listed = plan.text("SHA256SUMS")?.unwrap_or_default();
    let same = listed.contains(&format!("{hash}  ./{inside}\n"));
    let object = object_of(&plan, directory, file);
    if let Some(object) = &object {
        object_rows(&mut page, &plan, directory, file, object)?;
    }
    page.row(
        if object.is_some() { "after" } else { "sha256" },
        &if same || inside == "SHA256SUMS" {
            hash
        } else {
            format!(
                "{hash}, which is not what SHA256SUMS says: the file was changed after the compile"
            )
        },
    );
    page.row(
        "made from",
        "cluster.toml, snapshot/ and carota.lock; `carota check` compares",
    );
    match object {
        None => page.section("Why", kind.why),
        Some(object) => {
            page.section("Rule", kind.why);
            why_of_phase(&mut page, directory);
            diff_section(&mut page, &plan, directory, |title| {
                title.split(", ").any(|id| id == object)
            })?;
        }
    }
    Ok(page.finish())
}

/// A phase with what it does in this plan.
fn phase_here(place: &PlanPath, plan: &Committed, directory: &str) -> Result<String> {
    let known = Phase::named(directory).zip(plan.phases().find(|(name, _)| *name == directory));
    let Some((known, (_, facts))) = known else {
        return Err(missing(place, plan));
    };
    let mut page = phase(known);
    let names = |value: &Value| -> String {
        let names = value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        names.collect::<Vec<_>>().join(", ")
    };
    page.row("nodes", &or_none(names(&facts["nodes"])));
    page.row("files", &facts["files"].to_string());
    for restart in facts["restarts"].as_array().into_iter().flatten() {
        let process = restart["process"].as_str().unwrap_or_default();
        page.row(
            "restarts",
            &format!("{process} on {}", names(&restart["nodes"])),
        );
    }
    for object in facts["objects"].as_array().into_iter().flatten() {
        let name = object["object"].as_str().unwrap_or_default();
        let change = object["change"].as_str().unwrap_or_default();
        page.row("object", &format!("{name} ({change})"));
    }
    for ack in facts["acknowledgements"].as_array().into_iter().flatten() {
        let name = ack["name"].as_str().unwrap_or_default();
        page.row(
            "confirm",
            &format!("{name}: {}", ack["text"].as_str().unwrap_or_default()),
        );
    }
    Ok(page.finish())
}

fn or_none(text: String) -> String {
    if text.is_empty() {
        "none".to_owned()
    } else {
        text
    }
}

/// A post-image: `path` is the set or a node, and the path on the node.
fn node_file(place: &PlanPath, plan: &Committed, directory: &str, path: &str) -> Result<String> {
    let Some((named, path)) = path
        .split_once('/')
        .map(|(set, rest)| (set, format!("/{rest}")))
    else {
        return Err(missing(place, plan));
    };
    let sets = plan.sets(directory)?;
    let of_set = |change: &&Change| {
        change.path == path
            && (change.set == named
                || sets
                    .get(&change.set)
                    .is_some_and(|nodes| nodes.contains(named)))
    };
    let changes = plan.changes(directory)?;
    let mine: Vec<&Change> = changes.iter().filter(of_set).collect();
    let Some(last) = mine.last() else {
        return Err(missing(place, plan));
    };
    let nodes = sets.get(&last.set).cloned().unwrap_or_default();
    let image = format!("{directory}/nodes/{}{path}", last.set);
    let text = plan.text(&image)?;
    let mut page = Page::new(&place.given);
    let kind = kinds::of(&format!("plan/{image}"));
    page.row("what", kind.map_or("a file on nodes", |kind| kind.what));
    page.row("on nodes", &joined(&nodes));
    page.row("path", &path);
    if let Some(phase) = Phase::named(directory) {
        rows_of_phase(&mut page, phase);
    }
    for change in &mine {
        change_rows(&mut page, plan, directory, change, &nodes)?;
    }
    if let (Some(text), "write") = (&text, last.op.as_str())
        && sha256(text) != last.post
    {
        page.row(
            "but",
            "this file does not have that hash: it was changed after the compile",
        );
    }
    for row in restarts(&changes, &sets, &nodes, &path) {
        page.row("restarts", &row);
    }
    let found = certificates(plan, text.as_deref().unwrap_or_default());
    for line in &found.lines {
        page.row("holds", line);
    }
    page.row("made from", &inputs(&found));
    if let Some(text) = &text {
        page.section("Rule", Form::of(text, found.holds_ca).rule());
    }
    why_of_phase(&mut page, directory);
    diff_section(&mut page, plan, directory, |title| {
        title
            .strip_prefix(&format!("{path} on "))
            .is_some_and(|on| {
                let on = on.split(" and ").next().unwrap_or(on);
                on.starts_with("all ") || on.split(", ").any(|node| nodes.contains(node))
            })
    })?;
    Ok(page.finish())
}

fn rows_of_phase(page: &mut Page, phase: &Phase) {
    page.row(
        "phase",
        &format!(
            "{}: {} ({})",
            phase.directory(),
            phase.title,
            phase.act.as_str()
        ),
    );
    page.row("page", &page_step(phase));
}

fn why_of_phase(page: &mut Page, directory: &str) {
    if let Some(phase) = Phase::named(directory) {
        page.section("Why", &phase.why_text());
        page.section("Way back", &phase.way_back.text());
    }
}

/// What a line of CHANGES says.
fn change_rows(
    page: &mut Page,
    plan: &Committed,
    directory: &str,
    change: &Change,
    nodes: &BTreeSet<String>,
) -> Result<()> {
    let steps = plan.phases().find(|(name, _)| *name == directory);
    let steps = steps
        .and_then(|(_, phase)| phase["steps"].as_array())
        .map_or(&[][..], Vec::as_slice);
    let title = steps
        .get(change.step.wrapping_sub(1))
        .and_then(Value::as_str)
        .unwrap_or_default();
    page.row(
        "step",
        &format!("{} of {}: {title}", change.step, steps.len()),
    );
    let before = origin(plan, directory, change, nodes)?;
    page.row("before", &format!("{} ({before})", change.pre));
    match change.op.as_str() {
        "write" => {
            page.row(
                "after",
                &format!(
                    "{} (mode {}, owner {})",
                    change.post, change.mode, change.owner
                ),
            );
            page.row(
                "private",
                match change.keys.as_str() {
                    "kept" => "the node's own values are put back from its present file",
                    "new" => "the whole file comes from secrets/, it holds a new key",
                    _ => "nothing private is in it",
                },
            );
        }
        "remove" => page.row("after", "absent: it is removed"),
        _ => page.row("after", "the same: it is only compared"),
    }
    Ok(())
}

/// Where the pre-image comes from: the phase that wrote it last, or the snapshot.
fn origin(
    plan: &Committed,
    directory: &str,
    change: &Change,
    nodes: &BTreeSet<String>,
) -> Result<String> {
    if change.pre == "absent" {
        return Ok("there is no such file before".into());
    }
    let mut found = None;
    for (name, _) in plan.phases() {
        let sets = plan.sets(name)?;
        for earlier in plan.changes(name)? {
            let here =
                earlier.path == change.path && earlier.post == change.pre && earlier.op == "write";
            let before = name < directory || (name == directory && earlier.step < change.step);
            if here && before && sets.get(&earlier.set).is_some_and(|s| nodes.is_subset(s)) {
                found = Some(format!(
                    "as plan/{name}/nodes/{}{} leaves it",
                    earlier.set, earlier.path
                ));
            }
        }
    }
    let node = nodes.first().map_or("", String::as_str);
    Ok(found.unwrap_or_else(|| format!("as in snapshot/nodes/{node}{}", change.path)))
}

/// What restarts because of a file, or with it.
fn restarts(
    changes: &[Change],
    sets: &BTreeMap<String, BTreeSet<String>>,
    nodes: &BTreeSet<String>,
    path: &str,
) -> Vec<String> {
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for change in changes.iter().filter(|change| change.op == "restart") {
        let on = sets
            .get(&change.set)
            .into_iter()
            .flatten()
            .filter(|node| nodes.contains(*node));
        let process = match change.path.strip_prefix("static-pod:") {
            Some(manifest) if manifest == path => {
                "this static pod, by the change itself".to_owned()
            }
            Some(manifest) => format!("the static pod of {manifest}"),
            None => format!("the {}", change.path),
        };
        out.entry(process).or_default().extend(on.cloned());
    }
    out.retain(|_, on| !on.is_empty());
    out.into_iter()
        .map(|(process, on)| format!("{process}, on {} (in this phase)", joined(&on)))
        .collect()
}

/// Certificates in a text, named by what plan.json knows of them.
struct Found {
    lines: Vec<String>,
    holds_ca: bool,
    issued: BTreeSet<String>,
}

fn certificates(plan: &Committed, text: &str) -> Found {
    let mut out = Found {
        lines: Vec::new(),
        holds_ca: false,
        issued: BTreeSet::new(),
    };
    let of = |value: &Value| value["sha256"].as_str().unwrap_or_default().to_owned();
    for found in find_embedded_certificates(text, "") {
        let Ok(certificate) = Certificate::from_der(&found.der) else {
            continue;
        };
        let mut what = "a certificate".to_owned();
        for ca in plan.json["cas"].as_array().into_iter().flatten() {
            let name = ca["name"].as_str().unwrap_or_default();
            for age in ["old", "new"] {
                if of(&ca[age]) == certificate.fingerprint() {
                    what = format!("the {age} {name} CA");
                    out.holds_ca = true;
                    if age == "new" {
                        out.issued.insert(format!("carota.lock [ca.\"{name}\"]"));
                    }
                }
            }
        }
        for leaf in plan.json["leaves"].as_array().into_iter().flatten() {
            if of(&leaf["certificate"]) == certificate.fingerprint() {
                let old = leaf["replaces"].as_str().unwrap_or_default();
                what = format!(
                    "the re-issued certificate in place of {}…,",
                    old.get(..16).unwrap_or(old)
                );
                out.issued.insert(format!("carota.lock [leaf.\"{old}\"]"));
            }
        }
        out.lines.push(format!(
            "{what} {} (SHA-256 {})",
            certificate.subject(),
            certificate.fingerprint()
        ));
    }
    out
}

fn inputs(found: &Found) -> String {
    let mut parts = vec!["the file before it".to_owned()];
    parts.extend(found.issued.iter().cloned());
    parts.push("cluster.toml".to_owned());
    parts.join("; ")
}

/// The object that a file of `cluster/` applies, as plan.json names it.
fn object_of(plan: &Committed, directory: &str, file: &str) -> Option<String> {
    let stem = file.strip_prefix("cluster/")?.strip_suffix(".yaml")?;
    let stem = stem.strip_prefix("back-").unwrap_or(stem);
    let (_, phase) = plan.phases().find(|(name, _)| *name == directory)?;
    let mut objects = phase["objects"]
        .as_array()?
        .iter()
        .filter_map(|o| o["object"].as_str());
    objects
        .find(|object| object.replace('/', ".") == stem)
        .map(str::to_owned)
}

fn object_rows(
    page: &mut Page,
    plan: &Committed,
    directory: &str,
    file: &str,
    object: &str,
) -> Result<()> {
    page.row("object", object);
    let name = file.strip_prefix("cluster/").unwrap_or(file);
    let (other, role) = match name.strip_prefix("back-") {
        Some(forth) => (forth.to_owned(), "forth"),
        None => (format!("back-{name}"), "before"),
    };
    let other = format!("cluster/{other}");
    if let Some(text) = plan.text(&format!("{directory}/{other}"))? {
        page.row(role, &format!("{} ({other})", sha256(text)));
    }
    Ok(())
}

/// The sections of phase.diff whose title fits.
fn diff_section(
    page: &mut Page,
    plan: &Committed,
    directory: &str,
    fits: impl Fn(&str) -> bool,
) -> Result<()> {
    let diff = plan
        .text(&format!("{directory}/phase.diff"))?
        .unwrap_or_default();
    let mut shown = String::new();
    let mut within = false;
    let mut after_title = false;
    for line in diff.lines() {
        match line.strip_prefix("# ") {
            // The line below a title says who writes the object.
            Some(title) if !after_title => {
                within = fits(title);
                after_title = true;
            }
            _ => after_title = false,
        }
        if within {
            shown.push_str(line);
            shown.push('\n');
        }
    }
    if !shown.is_empty() {
        page.verbatim("Change (phase.diff)", &shown);
    }
    Ok(())
}

fn joined(names: &BTreeSet<String>) -> String {
    names
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

/// No such file in the plan; the nearest one is suggested as the user would write it. A name beside the plan may be meant
/// for anything.
fn missing(place: &PlanPath, plan: &Committed) -> Diagnostic {
    /// Paths share folders, so that only those that are nearly the same are meant.
    const NEAR: f32 = 0.8;
    let root = plan.root().to_string_lossy();
    let root = root.strip_prefix("./").unwrap_or(&root);
    let named = |path: &String| {
        if root == "." {
            path.clone()
        } else {
            format!("{root}/{path}")
        }
    };
    let mut paths: BTreeSet<String> = plan.files().iter().map(named).collect();
    paths.extend(
        plan.phases()
            .map(|(directory, _)| named(&directory.to_owned())),
    );
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let given = place.given.as_str();
    let Some(inside) = place.path.strip_prefix("plan/") else {
        return unknown(given, &paths);
    };
    let reason = if plan.root().join(inside).exists() {
        format!("`{given}` is no file that carota writes into a plan")
    } else {
        format!("there is no file `{given}`: the plan has none of that name")
    };
    let remedy = match similar::get_close_matches(given, &paths, 1, NEAR).first() {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "{} lists the files of the plan",
            named(&"SHA256SUMS".to_owned())
        ),
    };
    Diagnostic::new(Code::UnknownSubject, reason, remedy)
}
