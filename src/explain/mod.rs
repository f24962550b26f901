//! `carota explain`: what a diagnostic code, a phase or a file of a plan is, and why it is so. The
//! words stand where the thing is declared (a code's in `diagnostic`, a phase's in `phases`, a file's
//! in `render::kinds`); this module finds and arranges them. It reads a plan as it lies on disk and
//! never opens a private file.

pub mod document;
mod file;
pub mod gaps;
mod text;

use std::path::{Path, PathBuf};

use crate::diagnostic::{Code, Diagnostic, Result};
use crate::phases::{PHASES, Phase};
use crate::render::kinds;
use gaps::Gap;
use text::Page;

/// The page of whatever `what` names.
pub fn explain(what: &str) -> Result<String> {
    if let Some(code) = Code::ALL
        .iter()
        .find(|code| code.id().eq_ignore_ascii_case(what))
    {
        return Ok(self::code(*code));
    }
    if let Some(phase) = Phase::named(what) {
        return Ok(self::phase(phase).finish());
    }
    if let Some(gap) = Gap::named(what) {
        return Ok(self::gap(gap));
    }
    if let Some(place) = PlanPath::of(what) {
        return file::explain(&place);
    }
    let beside = what.rsplit('/').next().unwrap_or(what);
    match kinds::of(beside).filter(|_| Path::new(what).exists()) {
        Some(kind) => Ok(file::of_kind(what, kind).finish()),
        None => Err(without_plan(what).unwrap_or_else(|| unknown(what, &[]))),
    }
}

/// A path into a plan that is not there.
fn without_plan(what: &str) -> Option<Diagnostic> {
    let parts: Vec<&str> = what.split('/').collect();
    let at = parts.iter().position(|part| *part == "plan")?;
    let plan = parts[..=at].join("/");
    if Path::new(&plan).join("plan.json").exists() {
        return None;
    }
    Some(Diagnostic::new(
        Code::UnknownSubject,
        format!("there is no compiled plan at `{plan}`"),
        "compile it first: `carota compile cluster.toml`; a path is looked for from the folder that you are in",
    ))
}

/// A code's page.
#[must_use]
pub fn code(code: Code) -> String {
    let mut page = Page::new(&format!("{code}: {}", code.summary()));
    page.paragraph(code.explanation());
    page.finish()
}

/// A phase's page, without a plan.
fn phase(phase: &Phase) -> Page {
    let mut page = Page::new(&format!("{}: {}", phase.directory(), phase.title));
    page.row("act", phase.act.as_str());
    page.row("page", &page_step(phase));
    page.row("undo until", &phase.way_back.until_text());
    page.section("Why", &phase.why_text());
    page.section("Way back", &phase.way_back.text());
    page
}

/// A gap's page.
fn gap(gap: &Gap) -> String {
    let mut page = Page::new(&format!("{}: {}", gap.id, gap.title));
    page.section("The Kubernetes page", gap.page);
    page.section("carota", gap.does);
    let phases: Vec<String> = gap
        .phases
        .iter()
        .map(|n| PHASES[usize::from(*n)].directory())
        .collect();
    page.section("Phases", &phases.join(", "));
    page.finish()
}

/// The step of the Kubernetes page, with the page's name.
fn page_step(phase: &Phase) -> String {
    match phase.page_step {
        "-" => phase.page_text(),
        _ => format!(
            "{} of 'Manual Rotation of CA Certificates' of the Kubernetes documentation",
            phase.page_text()
        ),
    }
}

/// A path that leads into a plan, or beside one.
struct PlanPath {
    /// As it was given.
    given: String,
    /// The plan's folder.
    plan: PathBuf,
    /// From the folder of the plan on: `plan/05-…/apply.sh`, `carota.lock`.
    path: String,
}

impl PlanPath {
    /// Looks for the plan that a path, which need not exist, leads into or lies beside.
    fn of(given: &str) -> Option<PlanPath> {
        let trimmed = given.trim_end_matches('/');
        let parts: Vec<&str> = trimmed.split('/').filter(|p| *p != ".").collect();
        if trimmed.is_empty() || !(given.contains('/') || is_known(given)) {
            return None;
        }
        for at in (0..=parts.len()).rev() {
            let folder = match parts[..at].join("/") {
                empty if empty.is_empty() && given.starts_with('/') => "/".to_owned(),
                empty if empty.is_empty() => ".".to_owned(),
                folder => folder,
            };
            // The way to a plan may lead upwards; the way inside may not.
            if parts[at..].contains(&"..") {
                break;
            }
            let rest = parts[at..].join("/");
            for (plan, prefix) in [
                (PathBuf::from(&folder), "plan/"),
                (Path::new(&folder).join("plan"), ""),
            ] {
                let path = format!("{prefix}{rest}");
                if plan.join("plan.json").is_file() && plan.join("SHA256SUMS").is_file() {
                    return Some(PlanPath {
                        given: given.to_owned(),
                        plan,
                        path: path.trim_end_matches('/').to_owned(),
                    });
                }
            }
        }
        None
    }
}

/// Whether a bare name is that of a file of the user's folder or of a plan.
fn is_known(name: &str) -> bool {
    name == "plan" || kinds::of(name).is_some() || kinds::of(&format!("plan/{name}")).is_some()
}

/// Nothing of that name; the nearest that there is.
fn unknown(what: &str, paths: &[&str]) -> Diagnostic {
    let directories: Vec<String> = PHASES.iter().map(Phase::directory).collect();
    // No codes: nearly every code is near another, and none is meant.
    let mut names: Vec<&str> = PHASES.iter().map(|phase| phase.name).collect();
    names.extend(directories.iter().map(String::as_str));
    names.extend(paths);
    let near = similar::get_close_matches(what, &names, 1, 0.6);
    let remedy = match near.first() {
        Some(name) => format!("did you mean `{name}`?"),
        None => "name a diagnostic code (C001), a gap (G5), a phase (05, apiserver-trust) or a file of a plan \
                 (plan/05-apiserver-trust/phase.diff)"
            .to_owned(),
    };
    Diagnostic::new(
        Code::UnknownSubject,
        format!("there is nothing to explain by the name `{what}`"),
        remedy,
    )
}
