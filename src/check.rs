//! `carota check`: is the committed plan what its inputs give? Recompiles in memory from cluster.toml,
//! snapshot and lock alone, and compares byte for byte. Needs no secret and writes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::Serialize;
use similar::TextDiff;

use crate::compile::{Compiled, Told, folder_of, recompile};
use crate::diagnostic::Result;
use crate::parallel;
use crate::pki::LOCK_FILE;

/// One difference between what is there and what the inputs give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The file, relative to the folder of cluster.toml.
    pub path: String,
    /// What is the matter with it.
    pub kind: Kind,
    /// The first line that differs, from 1.
    pub line: usize,
    /// A unified diff from what the inputs give to what is there; empty where there is none to show.
    pub diff: String,
}

/// Kinds of difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The content differs.
    Altered,
    /// The inputs give it, and it is not there.
    Missing,
    /// It is there, and the inputs do not give it.
    Foreign,
    /// It is executable and should not be, or the other way round.
    Mode,
}

impl Kind {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Altered => "is not what the inputs give",
            Kind::Missing => "is missing",
            Kind::Foreign => "is not part of the plan",
            Kind::Mode => "has the wrong mode",
        }
    }
}

/// What a check found.
pub struct Checked {
    /// Differences, by path.
    pub differences: Vec<Difference>,
    /// Whether there is no plan/ at all, so that everything in it is missing.
    pub no_plan: bool,
    /// What the inputs give.
    pub compiled: Compiled,
}

/// Compares the plan and the lock beside a cluster.toml with what its inputs give.
///
/// `told` hears how far it has come.
pub fn check(cluster_toml: &Path, told: Told<'_>) -> Result<Checked> {
    let compiled = recompile(cluster_toml, told)?;
    let folder = folder_of(cluster_toml);
    let plan = folder.join("plan");
    let mut there = BTreeSet::new();
    list(&plan, &plan, &mut there);
    let files: Vec<_> = compiled.plan.files.iter().collect();
    let found = parallel::map(&files, |(path, file)| {
        let name = format!("plan/{path}");
        compared(&name, &plan.join(path), &file.text, Some(file.executable))
    });
    let mut differences: Vec<Difference> = found.into_iter().flatten().collect();
    there.retain(|path| !compiled.plan.files.contains_key(path));
    for path in there {
        let diff = String::new();
        differences.push(Difference {
            path: format!("plan/{path}"),
            kind: Kind::Foreign,
            line: 1,
            diff,
        });
    }
    differences.extend(compared(
        LOCK_FILE,
        &folder.join(LOCK_FILE),
        &compiled.lock,
        None,
    ));
    differences.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Checked {
        differences,
        no_plan: fs::symlink_metadata(&plan).is_err(),
        compiled,
    })
}

/// Everything below a folder that is not a folder, links included.
fn list(root: &Path, folder: &Path, out: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            list(root, &path, out);
        } else if let Ok(relative) = path.strip_prefix(root) {
            out.insert(relative.to_string_lossy().into_owned());
        }
    }
}

fn compared(name: &str, at: &Path, wanted: &str, executable: Option<bool>) -> Option<Difference> {
    let difference = |kind, line, diff| {
        Some(Difference {
            path: name.to_owned(),
            kind,
            line,
            diff,
        })
    };
    let Ok(meta) = fs::symlink_metadata(at) else {
        return difference(Kind::Missing, 1, String::new());
    };
    let there = if meta.is_file() {
        fs::read(at).ok()
    } else {
        None
    };
    let Some(there) = there else {
        return difference(Kind::Altered, 1, String::new());
    };
    if there != wanted.as_bytes() {
        let text = String::from_utf8_lossy(&there);
        let same = wanted
            .lines()
            .zip(text.lines())
            .take_while(|(a, b)| a == b)
            .count();
        let diff = TextDiff::from_lines(wanted, &*text)
            .unified_diff()
            .header(&format!("inputs/{name}"), name)
            .to_string();
        return difference(Kind::Altered, same + 1, diff);
    }
    let is_executable = meta.permissions().mode() & 0o111 != 0;
    match executable {
        Some(wanted) if wanted != is_executable => difference(Kind::Mode, 1, String::new()),
        _ => None,
    }
}
