//! `carota diff`: two compiled plans, after the snapshot was taken again, say. Which phases, nodes and
//! objects differ, and why it matters. It compares what plan.json and the scripts' tables say, file by
//! file; it knows nothing of how a plan is made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::committed::{Change, Committed};
use crate::diagnostic::{Result, one_line};

/// How two plans differ.
#[derive(Debug, Serialize)]
pub struct Comparison {
    carota: u32,
    /// Whether they are the same, byte for byte.
    pub same: bool,
    /// The first plan.
    pub old: Side,
    /// The second plan.
    pub new: Side,
    /// What differs: the plan as a whole, then phase by phase.
    pub findings: Vec<Finding>,
}

/// One of the plans.
#[derive(Debug, Serialize)]
pub struct Side {
    /// Its directory, as it was named.
    pub plan: String,
    /// The id of its rotation.
    pub rotation: String,
    /// Its digest.
    pub digest: String,
}

/// One difference.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The phase's directory; none for the plan as a whole.
    pub phase: Option<String>,
    /// What it is about.
    pub subject: Subject,
    /// What differs.
    pub what: String,
    /// Why it matters.
    pub why: &'static str,
    /// The nodes that it concerns.
    pub nodes: Vec<String>,
    /// The file that shows it.
    pub path: String,
}

/// What a difference is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(
    missing_docs,
    reason = "docs/schema/diff.json lists them; `why` explains each"
)]
pub enum Subject {
    Rotation,
    Ca,
    Nodes,
    Certificates,
    Users,
    Outages,
    Weaknesses,
    Duties,
    NothingToDo,
    File,
    Restarts,
    Objects,
    Acknowledgements,
    Order,
    Scripts,
    Words,
}

impl Subject {
    /// Why a difference of this kind matters.
    fn why(self) -> &'static str {
        match self {
            Subject::Rotation => {
                "What was approved was another rotation: its window, cluster or name is part of every script."
            }
            Subject::Ca => {
                "Every bundle and certificate of the plan follows from it. Where the older plan was begun, the newer one must not be: roll back first."
            }
            Subject::Nodes => {
                "A node that a plan does not know keeps the old trust and is locked out at its end; one that is gone stops a gate."
            }
            Subject::Certificates => {
                "What is not re-issued dies with the old trust; what is re-issued anew has another fingerprint to compare."
            }
            Subject::Users => "A user who gets no file is locked out when the old trust goes.",
            Subject::Outages => "What is away meanwhile has to be accepted by people.",
            Subject::Weaknesses => "It is outside of what was proven.",
            Subject::Duties => "People outside of carota's reach must be told.",
            Subject::NothingToDo => {
                "A phase that begins or ceases to do something changes what is run, and when."
            }
            Subject::File => {
                "The scripts refuse to write over a file that is not the one that the plan was made for; the newer plan fits the newer snapshot."
            }
            Subject::Restarts => "A restart is what users of the cluster may notice.",
            Subject::Objects => "What is applied to the cluster is another.",
            Subject::Acknowledgements => {
                "What people must confirm before the first write is another."
            }
            Subject::Order => {
                "Where it is run first, or whether one node waits for another, is another."
            }
            Subject::Scripts => {
                "The code that runs as root on the nodes is another: it was compiled by another version of carota."
            }
            Subject::Words => {
                "Only words or tables differ; what is done on nodes and in the cluster is the same."
            }
        }
    }
}

/// Compares two directories.
pub fn compare(old: &Path, new: &Path) -> Result<Comparison> {
    let (old, new) = (Committed::read(old)?, Committed::read(new)?);
    let sides = (hashes(&old)?, hashes(&new)?);
    let mut findings = Findings {
        list: Vec::new(),
        old: &old,
        new: &new,
        told: BTreeSet::new(),
    };
    findings.plan();
    findings.library(&sides.0, &sides.1);
    let directories: BTreeSet<&str> = old
        .phases()
        .chain(new.phases())
        .map(|(name, _)| name)
        .collect();
    for directory in directories {
        findings.phase(directory)?;
    }
    findings.rest(&sides.0, &sides.1);
    let mut list = findings.list;
    list.sort_by(|a, b| a.phase.cmp(&b.phase));
    Ok(Comparison {
        carota: 1,
        same: sides.0 == sides.1 && old.digest == new.digest,
        old: side(&old),
        new: side(&new),
        findings: list,
    })
}

fn side(plan: &Committed) -> Side {
    Side {
        plan: plan.root().to_string_lossy().into_owned(),
        rotation: plan.json["rotation"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        digest: plan.digest.clone(),
    }
}

/// The hash of each file.
fn hashes(plan: &Committed) -> Result<BTreeMap<String, String>> {
    let mut out = BTreeMap::new();
    for path in plan.files() {
        let text = plan.text(&path)?.unwrap_or_default();
        out.insert(path, crate::digest::sha256(text));
    }
    Ok(out)
}

struct Findings<'a> {
    list: Vec<Finding>,
    old: &'a Committed,
    new: &'a Committed,
    /// Paths whose difference has been told.
    told: BTreeSet<String>,
}

impl Findings<'_> {
    fn say(
        &mut self,
        phase: Option<&str>,
        subject: Subject,
        what: String,
        nodes: BTreeSet<String>,
        path: &str,
    ) {
        self.list.push(Finding {
            phase: phase.map(str::to_owned),
            subject,
            what,
            why: subject.why(),
            nodes: nodes.into_iter().collect(),
            path: path.to_owned(),
        });
    }

    /// What is said of the plan as a whole.
    fn plan(&mut self) {
        let (old, new) = (&self.old.json, &self.new.json);
        let mut found: Vec<(Subject, String)> = Vec::new();
        for key in ["cluster", "kubernetes", "endpoint", "rotation", "window"] {
            if old[key] != new[key] {
                found.push((
                    Subject::Rotation,
                    format!("{key}: {} became {}", shown(&old[key]), shown(&new[key])),
                ));
            }
        }
        for (subject, list, name) in [
            (Subject::Ca, "cas", "name"),
            (Subject::Nodes, "nodes", "name"),
            (Subject::Users, "users", "name"),
            (Subject::Duties, "duties", "who"),
        ] {
            found.extend(
                by_name(&old[list], &new[list], name)
                    .into_iter()
                    .map(|what| (subject, what)),
            );
        }
        found.extend(
            leaves(&old["leaves"], &new["leaves"]).map(|what| (Subject::Certificates, what)),
        );
        let outage = |outage: &Value| {
            let part = |key: &str| shown(&outage[key]);
            format!("{} in {}: {}", part("name"), part("phase"), part("scope"))
        };
        let (a, b) = (&old["proof"], &new["proof"]);
        found.extend(
            added(&a["outages"], &b["outages"], outage)
                .into_iter()
                .map(|what| (Subject::Outages, what)),
        );
        found.extend(
            added(&old["accepted"], &new["accepted"], |name| {
                format!("{} is accepted", shown(name))
            })
            .into_iter()
            .map(|what| (Subject::Outages, what)),
        );
        found.extend(
            added(&a["weaknesses"], &b["weaknesses"], shown)
                .into_iter()
                .map(|what| (Subject::Weaknesses, what)),
        );
        let concerned: BTreeSet<String> = by_name(&old["nodes"], &new["nodes"], "name")
            .iter()
            .filter_map(|what| Some(what.split(' ').nth(1)?.trim_end_matches(':').to_owned()))
            .collect();
        for (subject, what) in found {
            let nodes = match subject {
                Subject::Nodes => concerned
                    .iter()
                    .filter(|n| what.contains(&format!(" {n}")))
                    .cloned()
                    .collect(),
                _ => BTreeSet::new(),
            };
            self.say(None, subject, what, nodes, "README.md");
        }
    }

    /// Scripts that all phases share.
    fn library(&mut self, old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) {
        for (path, change) in changed(old, new) {
            if path.starts_with("lib/") {
                self.told.insert(path.clone());
                self.say(
                    None,
                    Subject::Scripts,
                    format!("{path} {change}"),
                    BTreeSet::new(),
                    &path,
                );
            }
        }
    }

    fn phase(&mut self, directory: &str) -> Result<()> {
        let of = |plan: &Committed| {
            plan.phases()
                .find(|(name, _)| *name == directory)
                .map(|(_, p)| p.clone())
        };
        let (old, new) = (of(self.old), of(self.new));
        let (Some(old), Some(new)) = (&old, &new) else {
            let what = if new.is_some() {
                "the phase is new"
            } else {
                "the phase is gone"
            };
            self.say(
                Some(directory),
                Subject::NothingToDo,
                what.into(),
                BTreeSet::new(),
                &format!("{directory}/README.md"),
            );
            return Ok(());
        };
        let readme = format!("{directory}/README.md");
        let idle = |phase: &Value| phase["nothing_to_do"].as_bool().unwrap_or(false);
        match (idle(old), idle(new)) {
            (true, false) => self.say(
                Some(directory),
                Subject::NothingToDo,
                "it had nothing to do, and has now".into(),
                BTreeSet::new(),
                &readme,
            ),
            (false, true) => self.say(
                Some(directory),
                Subject::NothingToDo,
                "it has nothing to do any more".into(),
                BTreeSet::new(),
                &readme,
            ),
            _ => {}
        }
        self.files(directory)?;
        for (subject, key, name) in [
            (Subject::Restarts, "restarts", "process"),
            (Subject::Acknowledgements, "acknowledgements", "name"),
        ] {
            for what in by_name(&old[key], &new[key], name) {
                self.say(Some(directory), subject, what, BTreeSet::new(), &readme);
            }
        }
        for key in ["order", "serial", "steps"] {
            if old[key] != new[key] {
                let what = format!("{key}: {} became {}", shown(&old[key]), shown(&new[key]));
                self.say(
                    Some(directory),
                    Subject::Order,
                    what,
                    BTreeSet::new(),
                    &readme,
                );
            }
        }
        Ok(())
    }

    /// Files on nodes: what is done with them, and from and to what.
    fn files(&mut self, directory: &str) -> Result<()> {
        let (old, new) = (by_node(self.old, directory)?, by_node(self.new, directory)?);
        let mut grouped: BTreeMap<(String, &str), BTreeSet<String>> = BTreeMap::new();
        for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            let how = match (old.get(key), new.get(key)) {
                (None, Some(_)) => "is written or removed now, and was not before",
                (Some(_), None) => "is left alone now",
                (Some(a), Some(b)) if a.pre != b.pre && a.post != b.post => {
                    "is another before and after: it was changed since the older snapshot"
                }
                (Some(a), Some(b)) if a.pre != b.pre => {
                    "is another before the phase, and the same after it"
                }
                (Some(a), Some(b)) if a.post != b.post => {
                    "is another after the phase: what is issued or decided for it changed"
                }
                (Some(a), Some(b))
                    if (&a.op, &a.mode, &a.owner, &a.keys)
                        != (&b.op, &b.mode, &b.owner, &b.keys) =>
                {
                    "has another mode, owner or key"
                }
                _ => continue,
            };
            let (node, _, path) = key;
            grouped
                .entry((path.clone(), how))
                .or_default()
                .insert(node.clone());
        }
        for ((path, how), nodes) in grouped {
            self.say(
                Some(directory),
                Subject::File,
                format!("{path} {how}"),
                nodes,
                &format!("{directory}/phase.diff"),
            );
        }
        Ok(())
    }

    /// What has not been told: objects by their files, scripts, and words.
    fn rest(&mut self, old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) {
        for (path, change) in changed(old, new) {
            if self.told.contains(&path) {
                continue;
            }
            let (directory, file) = path.split_once('/').unwrap_or(("", &path));
            let phase = Some(directory).filter(|d| !d.is_empty());
            let spoken = |list: &[Finding]| list.iter().any(|f| f.phase.as_deref() == phase);
            if file.starts_with("cluster/") || file.starts_with("users/") {
                let subject = if file.starts_with("users/") {
                    Subject::Users
                } else {
                    Subject::Objects
                };
                self.say(
                    phase,
                    subject,
                    format!("{file} {change}"),
                    BTreeSet::new(),
                    &path,
                );
            } else if SCRIPTS.contains(&file) {
                self.say(
                    phase,
                    Subject::Scripts,
                    format!("{file} {change}"),
                    BTreeSet::new(),
                    &path,
                );
            } else if !spoken(&self.list) {
                self.say(
                    phase,
                    Subject::Words,
                    format!("{file} {change}"),
                    BTreeSet::new(),
                    &path,
                );
            }
        }
    }
}

/// The scripts of a phase.
const SCRIPTS: [&str; 3] = ["apply.sh", "verify.sh", "rollback.sh"];

/// Each file that a phase changes, by node, step and path.
fn by_node(plan: &Committed, directory: &str) -> Result<BTreeMap<(String, usize, String), Change>> {
    let sets = plan.sets(directory)?;
    let mut out = BTreeMap::new();
    for change in plan.changes(directory)? {
        if matches!(change.op.as_str(), "write" | "remove" | "check") {
            for node in sets.get(&change.set).into_iter().flatten() {
                out.insert(
                    (node.clone(), change.step, change.path.clone()),
                    change.clone(),
                );
            }
        }
    }
    Ok(out)
}

/// Paths whose content differs, and how.
fn changed(
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> Vec<(String, &'static str)> {
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    paths
        .into_iter()
        .filter(|path| *path != "SHA256SUMS")
        .filter_map(|path| {
            let how = match (old.get(path), new.get(path)) {
                (None, _) => "is new",
                (_, None) => "is gone",
                (a, b) if a != b => "is another",
                _ => return None,
            };
            Some((path.clone(), how))
        })
        .collect()
}

/// Members of two lists that go by a name: new, gone, or another.
fn by_name(old: &Value, new: &Value, name: &str) -> Vec<String> {
    let index = |list: &Value| -> BTreeMap<String, Value> {
        let members = list.as_array().into_iter().flatten();
        let mut out: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for member in members {
            out.entry(shown(&member[name]))
                .or_default()
                .push(member.clone());
        }
        out.into_iter()
            .map(|(name, list)| (name, Value::Array(list)))
            .collect()
    };
    let (old, new) = (index(old), index(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| match (old.get(name), new.get(name)) {
            (None, _) => Some(format!("new: {name}")),
            (_, None) => Some(format!("gone: {name}")),
            (a, b) if a != b => Some(format!("another: {name}")),
            _ => None,
        })
        .collect()
}

/// Members that only one of two lists has.
fn added(old: &Value, new: &Value, show: impl Fn(&Value) -> String) -> Vec<String> {
    let set = |list: &Value| -> BTreeSet<String> {
        list.as_array().into_iter().flatten().map(&show).collect()
    };
    let (old, new) = (set(old), set(new));
    let gone = old.difference(&new).map(|what| format!("gone: {what}"));
    let fresh = new.difference(&old).map(|what| format!("new: {what}"));
    gone.chain(fresh).collect()
}

/// Certificates, by the one that is replaced: how many are concerned, and whose.
fn leaves(old: &Value, new: &Value) -> impl Iterator<Item = String> {
    let index = |list: &Value| -> BTreeMap<String, (String, String)> {
        let members = list.as_array().into_iter().flatten();
        members
            .map(|leaf| {
                let certificate = &leaf["certificate"];
                (
                    shown(&leaf["replaces"]),
                    (
                        shown(&certificate["subject"]),
                        shown(&certificate["sha256"]),
                    ),
                )
            })
            .collect()
    };
    let (old, new) = (index(old), index(new));
    let mut groups: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
    for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let (how, subject) = match (old.get(key), new.get(key)) {
            (None, Some((subject, _))) => ("re-issued now, and not before", subject),
            (Some((subject, _)), None) => ("not re-issued any more", subject),
            (Some(a), Some(b)) if a != b => ("re-issued anew", &b.0),
            _ => continue,
        };
        *groups
            .entry(how)
            .or_default()
            .entry(subject.clone())
            .or_default() += 1;
    }
    groups.into_iter().map(|(how, subjects)| {
        let count: usize = subjects.values().sum();
        let names: Vec<String> = subjects.into_keys().collect();
        let shown = names.iter().take(4).cloned().collect::<Vec<_>>().join("; ");
        let more = if names.len() > 4 { "; …" } else { "" };
        format!("{count} {how}: {shown}{more}")
    })
}

/// A JSON value as people read it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Comparison {
    /// For people. `brief`: the phases that differ, and no more.
    #[must_use]
    pub fn text(&self, brief: bool) -> String {
        let line = |word: &str, side: &Side| {
            format!(
                "{word}  {} (rotation {}, digest {})\n",
                side.plan, side.rotation, side.digest
            )
        };
        let mut out = line("old", &self.old) + &line("new", &self.new);
        if self.same {
            return out + "the same\n";
        }
        let mut heading = None;
        let mut why = "";
        for finding in &self.findings {
            let name = finding.phase.as_deref().unwrap_or("the plan as a whole");
            if heading != Some(name) {
                out.push_str(&format!("{}{name}\n", if brief { "" } else { "\n" }));
                heading = Some(name);
                why = "";
            }
            if brief {
                continue;
            }
            if why != finding.why {
                out.push_str(&format!("  {}\n", finding.why));
                why = finding.why;
            }
            let on = if finding.nodes.is_empty() {
                String::new()
            } else {
                format!(" (on {})", finding.nodes.join(", "))
            };
            out.push_str(&format!("    {}{on}\n", one_line(&finding.what)));
        }
        out
    }
}
