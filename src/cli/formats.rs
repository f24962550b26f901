//! What a check and a comparison found, for people, for programs and as annotations of a workflow.
//! Knows forms of text; it prints nothing.

use std::path::Path;

use crate::check::{Checked, Difference};
use crate::compare::Comparison;
use crate::diagnostic::{one_line, printable};

/// In place of a line for each file, where there is no plan at all.
const NO_PLAN: &str = "no plan/ here: run `carota compile` first, and commit what it writes";

/// The differences that are worth a line each.
fn worth_a_line(checked: &Checked) -> impl Iterator<Item = &Difference> {
    let all = checked.differences.iter();
    all.filter(|difference| !(checked.no_plan && difference.path.starts_with("plan/")))
}

/// A check as text. `brief`: without the diffs.
pub fn check_text(checked: &Checked, brief: bool) -> String {
    let mut text = String::new();
    if checked.no_plan {
        text.push_str(NO_PLAN);
        text.push('\n');
    }
    for difference in worth_a_line(checked) {
        text.push_str(&format!(
            "{} {}\n",
            one_line(&difference.path),
            difference.kind.as_str()
        ));
        if !brief {
            text.push_str(&difference.diff);
        }
    }
    if checked.differences.is_empty() {
        text.push_str(&format!(
            "the same, digest {}\n",
            checked.compiled.plan.digest
        ));
    }
    printable(&text)
}

/// A check as JSON: docs/schema/check.json.
pub fn check_json(checked: &Checked) -> serde_json::Result<String> {
    let report = serde_json::json!({
        "carota": 1,
        "same": checked.differences.is_empty(),
        "proof_holds": checked.compiled.may_be_written(),
        "digest": checked.compiled.plan.digest,
        "differences": checked.differences,
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&report)?))
}

/// A check as annotations. `folder`: where cluster.toml lies.
pub fn check_github(checked: &Checked, folder: &Path) -> String {
    let none = checked
        .no_plan
        .then(|| annotation("error", &folder.join("plan"), 1, NO_PLAN));
    let differences = worth_a_line(checked);
    let annotations = differences.map(|difference| {
        let message = format!("{} {}", difference.path, difference.kind.as_str());
        annotation(
            "error",
            &folder.join(&difference.path),
            difference.line,
            &message,
        )
    });
    none.into_iter().chain(annotations).collect()
}

/// A comparison as JSON: docs/schema/diff.json.
pub fn diff_json(found: &Comparison) -> serde_json::Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(found)?))
}

/// A comparison as annotations of the second plan's files, or of the first's where it has none.
pub fn diff_github(found: &Comparison) -> String {
    let findings = found.findings.iter();
    findings
        .map(|finding| {
            let sides =
                [&found.new.plan, &found.old.plan].map(|plan| Path::new(plan).join(&finding.path));
            let file = sides.iter().find(|path| path.exists()).unwrap_or(&sides[0]);
            let phase = finding.phase.as_deref().unwrap_or("plan");
            let nodes = match finding.nodes.as_slice() {
                [] => String::new(),
                nodes => format!(" (on {})", nodes.join(", ")),
            };
            let message = format!("{phase}: {}{nodes}. {}", finding.what, finding.why);
            annotation("warning", file, 1, &message)
        })
        .collect()
}

/// A workflow command of GitHub.
fn annotation(level: &str, file: &Path, line: usize, message: &str) -> String {
    let file = file.strip_prefix(".").unwrap_or(file).to_string_lossy();
    format!(
        "::{level} file={},line={line}::{}\n",
        encoded(&file),
        encoded(message)
    )
}

/// Text in a workflow command: what would end it is encoded as GitHub decodes it.
fn encoded(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
        .replace(':', "%3A")
        .replace(',', "%2C")
}
