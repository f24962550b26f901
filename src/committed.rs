//! A compiled plan as it lies on disk, for those who explain it and compare it. It reads plan.json and
//! the tables that the scripts read; nothing private, and nothing outside of the plan's folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::digest::sha256;
use crate::input::{self, MAX_FILE};
use crate::render::kinds::is_phase_directory;

/// What to do where a plan cannot be read.
const REMEDY: &str = "name a plan/ that carota compiled, or compile it again";

/// Larger files are no part of a plan: a report of a large cluster has some ten MiB.
const LIMIT: u64 = 32 * MAX_FILE;

/// A plan on disk.
pub struct Committed {
    root: PathBuf,
    /// plan.json.
    pub json: Value,
    /// SHA-256 of SHA256SUMS.
    pub digest: String,
}

/// A line of CHANGES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The step of the phase, from 1.
    pub step: usize,
    /// The set of nodes.
    pub set: String,
    /// `write`, `remove`, `restart`, `check` or `forget`.
    pub op: String,
    /// The path on the node, or what restarts.
    pub path: String,
    /// Permission bits in octal.
    pub mode: String,
    /// `uid:gid`.
    pub owner: String,
    /// SHA-256 of the public form before, `absent`, or `-`.
    pub pre: String,
    /// SHA-256 of the public form after, or `-`.
    pub post: String,
    /// Where private values come from: `-`, `kept` or `new`.
    pub keys: String,
}

impl Committed {
    /// Reads the plan in a folder.
    pub fn read(root: &Path) -> Result<Committed> {
        let shown = root.to_string_lossy();
        let at = |name: &str| format!("{shown}/{name}");
        let read = |name: &str| input::read_text(&root.join(name), &at(name), LIMIT, REMEDY);
        let text = read("plan.json")?;
        let json: Value = serde_json::from_str(&text)
            .map_err(|e| unusable(&at("plan.json"), format!("it is not JSON: {e}")))?;
        if json.get("carota").and_then(Value::as_u64) != Some(1) {
            return Err(unusable(
                &at("plan.json"),
                "it is not a plan of this version of carota".into(),
            ));
        }
        let digest = sha256(read("SHA256SUMS")?);
        Ok(Committed {
            root: root.to_owned(),
            json,
            digest,
        })
    }

    /// Where it lies, as the user named it.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The phases of plan.json with their directories, in order.
    pub fn phases(&self) -> impl Iterator<Item = (&str, &Value)> {
        let phases = self.json.get("phases").and_then(Value::as_array);
        phases.into_iter().flatten().filter_map(|phase| {
            let directory = phase.get("directory")?.as_str()?;
            (is_phase_directory(directory) && !directory.contains('/'))
                .then_some((directory, phase))
        })
    }

    /// A file of the plan; None where there is none.
    pub fn text(&self, path: &str) -> Result<Option<String>> {
        let label = format!("{}/{path}", self.root.to_string_lossy());
        let path = self.root.join(path);
        match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            _ => input::read_text(&path, &label, LIMIT, REMEDY).map(Some),
        }
    }

    /// The paths of its files, in order.
    #[must_use]
    pub fn files(&self) -> BTreeSet<String> {
        let mut out = BTreeSet::new();
        list(&self.root, &self.root, &mut out);
        out
    }

    /// The lines of a phase's CHANGES.
    pub fn changes(&self, directory: &str) -> Result<Vec<Change>> {
        let text = self.text(&format!("{directory}/CHANGES"))?;
        Ok(text
            .unwrap_or_default()
            .lines()
            .filter_map(change)
            .collect())
    }

    /// The node sets of a phase.
    pub fn sets(&self, directory: &str) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let text = self.text(&format!("{directory}/NODES"))?;
        let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (set, node) in text
            .unwrap_or_default()
            .lines()
            .filter_map(|l| l.split_once('\t'))
        {
            out.entry(set.to_owned())
                .or_default()
                .insert(node.to_owned());
        }
        Ok(out)
    }
}

fn change(line: &str) -> Option<Change> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [step, set, op, path, mode, owner, pre, post, keys] = columns[..] else {
        return None;
    };
    Some(Change {
        step: step.parse().ok()?,
        set: set.into(),
        op: op.into(),
        path: path.into(),
        mode: mode.into(),
        owner: owner.into(),
        pre: pre.into(),
        post: post.into(),
        keys: keys.into(),
    })
}

fn list(root: &Path, folder: &Path, out: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            list(root, &path, out);
        } else if let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) {
            out.insert(name.to_owned());
        }
    }
}

fn unusable(file: &str, why: String) -> Diagnostic {
    Diagnostic::new(Code::PlanUnreadable, why, REMEDY).at(Place::start_of(file))
}
