//! docs/diagnostics.md, docs/gaps.md and docs/phases.md: the same words that `carota explain` prints, for readers of
//! the repository. `carota document` prints them, and a test compares.

use std::fmt::Write as _;

use super::gaps::GAPS;
use crate::diagnostic::Code;
use crate::phases::{PAGE, PHASES, UNDO};
use crate::render::kinds::KINDS;

const MADE: &str = "<!-- Printed by `carota document`; the words stand in src/. -->";

/// docs/diagnostics.md.
#[must_use]
pub fn diagnostics() -> String {
    let mut out = format!(
        "{MADE}\n\n# Diagnostics\n\nBad input gives one error with a stable code, its place, the reason and a remedy; exit code 2, and nothing\n\
         is written. C036 alone is about the plan that comes out, which is not written either: exit code 1. A code never changes its meaning. `carota explain C025` prints the same text.\n\n\
         | code | meaning |\n| --- | --- |\n"
    );
    for code in Code::ALL {
        let _ = writeln!(
            out,
            "| [{code}](#{}) | {} |",
            code.id().to_lowercase(),
            code.summary()
        );
    }
    for code in Code::ALL {
        let _ = write!(
            out,
            "\n## {code}\n\n{}{}.\n\n{}\n",
            code.summary()[..1].to_uppercase(),
            &code.summary()[1..],
            code.explanation()
        );
    }
    out
}

/// docs/gaps.md.
#[must_use]
pub fn gaps() -> String {
    let mut out = format!(
        "{MADE}\n\n# Gaps\n\nWhere the page [Manual Rotation of CA Certificates]({PAGE})\n\
         of the Kubernetes documentation is silent, or does not hold, and what carota does there. Phases and READMEs cite these\n\
         numbers; `carota explain G3` prints one. The phases stand in [phases.md](phases.md).\n\n\
         | gap | about | the page | carota | phases |\n| --- | --- | --- | --- | --- |\n"
    );
    for gap in &GAPS {
        let phases: Vec<String> = gap.phases.iter().map(|n| format!("{n:02}")).collect();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            gap.id,
            gap.title,
            gap.page,
            gap.does,
            phases.join(", ")
        );
    }
    out
}

/// docs/phases.md.
#[must_use]
pub fn phases() -> String {
    let mut out = format!(
        "{MADE}\n\n# Phases\n\nEvery plan has these phases, in this order; on a cluster where one has nothing to do, it says so and why.\n\
         `page` is the step of [Manual Rotation of CA Certificates]({PAGE}) of the Kubernetes\n\
         documentation; `G1` to `G20` are [gaps](gaps.md) of that page.\n\n{UNDO}\n\n\
         | phase | act | page | safe to undo until | what |\n| --- | --- | --- | --- | --- |\n"
    );
    for phase in &PHASES {
        let _ = writeln!(
            out,
            "| [{0}](#{0}) | {1} | {2} | {3} | {4} |",
            phase.directory(),
            phase.act.as_str(),
            phase.page_step,
            phase.way_back.until_text(),
            phase.title
        );
    }
    for phase in &PHASES {
        let _ = write!(
            out,
            "\n## {}\n\n{}\n\nWay back: {}\n",
            phase.directory(),
            phase.why_text(),
            phase.way_back.text()
        );
    }
    out.push_str("\n# Files\n\n`NN` stands for a phase's directory.\n\n| file | what | why |\n| --- | --- | --- |\n");
    for kind in &KINDS {
        let _ = writeln!(out, "| `{}` | {} | {} |", kind.pattern, kind.what, kind.why);
    }
    out
}
