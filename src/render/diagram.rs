//! The acts and their gates as a Mermaid diagram, which code hosts draw: what may be run in a row, and
//! where people must confirm something first. Its labels are phase names and names that Kubernetes
//! takes, so nothing in them can end a label.

use super::PhaseView;
use crate::phases::Act;

/// The diagram, without the fence around it.
pub fn mermaid(views: &[PhaseView]) -> String {
    let mut out = String::from("flowchart LR\n");
    let mut before: Option<(usize, Act)> = None;
    for (index, run) in runs(views).into_iter().enumerate() {
        let act = run[0].done.phase.act;
        let names: Vec<String> = run.iter().map(|view| named(view)).collect();
        out.push_str(&format!(
            "  r{index}[\"<b>{}</b><br/>{}\"]\n",
            heading(act),
            names.join("<br/>")
        ));
        let asks: Vec<&str> = asked(run[0]);
        let gate = if asks.is_empty() {
            None
        } else {
            out.push_str(&format!(
                "  c{index}{{{{\"people confirm<br/>{}\"}}}}\n  c{index} --> r{index}\n",
                asks.join("<br/>")
            ));
            Some(format!("c{index}"))
        };
        if let Some((last, of)) = before {
            let to = gate.unwrap_or_else(|| format!("r{index}"));
            let label = if of == act {
                ""
            } else {
                "|\"complete and verified everywhere\"|"
            };
            out.push_str(&format!("  r{last} -->{label} {to}\n"));
        }
        before = Some((index, act));
    }
    out
}

/// Phases of one act that follow each other without a person's confirmation.
fn runs(views: &[PhaseView]) -> Vec<Vec<&PhaseView>> {
    let mut out: Vec<Vec<&PhaseView>> = Vec::new();
    for view in views {
        match out.last_mut() {
            Some(run) if run[0].done.phase.act == view.done.phase.act && asked(view).is_empty() => {
                run.push(view);
            }
            _ => out.push(vec![view]),
        }
    }
    out
}

fn asked(view: &PhaseView) -> Vec<&str> {
    let acknowledgements = view.cluster.acknowledgements().into_iter();
    acknowledgements.map(|(name, _)| name).collect()
}

fn named(view: &PhaseView) -> String {
    let idle = view.changes.is_empty() && view.cluster.is_empty();
    let nothing = if idle { " (nothing to do)" } else { "" };
    format!(
        "{:02} {}{nothing}",
        view.done.phase.number, view.done.phase.name
    )
}

fn heading(act: Act) -> &'static str {
    match act {
        Act::Prepare => "Prepare",
        Act::Widen => "Widen: every verifier trusts old and new",
        Act::Switch => "Switch: every identity is of the new CA",
        Act::Narrow => "Narrow: every verifier trusts the new CA only",
        Act::Finish => "Finish",
    }
}
