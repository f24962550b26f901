//! docs/diagnostics.md and docs/phases.md: the same words that `carota explain` prints, for readers of
//! the repository. `carota document` prints them, and a test compares.

use std::fmt::Write as _;

use crate::diagnostic::Code;
use crate::phases::PHASES;
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

/// docs/phases.md.
#[must_use]
pub fn phases() -> String {
    let mut out = format!(
        "{MADE}\n\n# Phases\n\nEvery plan has these phases, in this order; on a cluster where one has nothing to do, it says so and why.\n\
         `page` is the step of 'Manual Rotation of CA Certificates' of the Kubernetes documentation.\n\n\
         | phase | act | page | reversible until | what |\n| --- | --- | --- | --- | --- |\n"
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
