//! The proof for people: on a terminal, and as a table in the plan's README.
//!
//! Knows words and widths. It must not know how anything was found.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{BrokenEdge, Cell, MatrixRow, Outage, PhaseFacts, Proof};
use crate::names::NodeName;

/// How many broken edges of one kind are written out.
const SHOWN: usize = 3;

impl Proof {
    /// Whether no connection breaks.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.broken.is_empty()
    }

    /// How many connections were proven to hold, where the proof holds.
    #[must_use]
    pub fn proven(&self) -> usize {
        self.edges.len() - self.unproven
    }

    /// Every outage once, with the phases in which it happens.
    #[must_use]
    pub fn outages_once(&self) -> Vec<(&Outage, Vec<u8>)> {
        let mut once: BTreeMap<(&str, &str, bool), (&Outage, Vec<u8>)> = BTreeMap::new();
        for outage in &self.outages {
            once.entry((&outage.name, &outage.scope, outage.minor))
                .or_insert((outage, Vec::new()))
                .1
                .push(outage.phase);
        }
        once.into_values().collect()
    }

    /// The proof as text for a terminal. `accepted`: the outages that cluster.toml accepts.
    #[must_use]
    pub fn render_text(&self, accepted: &[String]) -> String {
        let mut out = String::new();
        if self.holds() {
            let _ = writeln!(
                out,
                "Every TLS connection{} holds in every state and between them: {} connections, {} phases with something to do, {} distinct chains verified.",
                if self.unproven == 0 {
                    ""
                } else {
                    " that held before"
                },
                self.proven(),
                self.phases.len(),
                self.pairs_verified
            );
            if self.unproven > 0 {
                let _ = writeln!(
                    out,
                    "Nothing is proven of {} more: they did not hold before the rotation, or the snapshot lacks what they use; see below.",
                    self.unproven
                );
            }
        } else {
            let _ = writeln!(out, "{} connections would break.", self.broken.len());
            self.render_broken(&mut out);
        }
        out.push('\n');
        self.render_matrix(&mut out);
        if !self.outages.is_empty() {
            out.push_str("\nNot available meanwhile:\n");
            for outage in &self.outages {
                let accept = match outage.minor {
                    true => "",
                    false if accepted.contains(&outage.name) => " (accepted)",
                    false => " (to be accepted)",
                };
                let _ = writeln!(
                    out,
                    "  {:02} {}{accept}: {}",
                    outage.phase, outage.name, outage.scope
                );
            }
        }
        if !self.leftovers.is_empty() {
            out.push_str("\nStill trusting an old CA at the end, perhaps:\n");
            for leftover in &self.leftovers {
                let _ = writeln!(out, "  {leftover}");
            }
        }
        if !self.weaknesses.is_empty() {
            out.push_str("\nNot verified by the cluster, or not provable from the snapshot:\n");
            for weakness in self.weaknesses_for_people() {
                let _ = writeln!(out, "  {weakness}");
            }
        }
        out
    }

    /// The weaknesses: of many that say the same of other nodes the first alone, with their number.
    #[must_use]
    pub fn weaknesses_for_people(&self) -> Vec<String> {
        let is_node = |word: &str| {
            let name = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
            NodeName::new(name).is_ok_and(|name| self.nodes.contains(&name))
        };
        let form = |text: &str| -> String {
            let words = text.split(' ');
            let words: Vec<&str> = words.map(|w| if is_node(w) { "\0" } else { w }).collect();
            words.join(" ")
        };
        let forms: Vec<String> = self.weaknesses.iter().map(|w| form(w)).collect();
        let mut alike: BTreeMap<&str, usize> = BTreeMap::new();
        for form in &forms {
            *alike.entry(form).or_default() += 1;
        }
        let mut out = Vec::new();
        for (weakness, form) in self.weaknesses.iter().zip(&forms) {
            match alike.get_mut(&form[..]) {
                Some(0) => {}
                Some(count) if *count > SHOWN => {
                    out.push(format!(
                        "{weakness} (and {} more, of other nodes: plan.json has them)",
                        *count - 1
                    ));
                    *count = 0;
                }
                _ => out.push(weakness.clone()),
            }
        }
        out
    }

    fn render_broken(&self, out: &mut String) {
        let mut rest: Vec<&BrokenEdge> = self.broken.iter().collect();
        while let Some(first) = rest.first().copied() {
            let (alike, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|b| {
                (b.kind, b.direction, b.phase, b.step)
                    == (first.kind, first.direction, first.phase, first.step)
            });
            let _ = writeln!(
                out,
                "\n{:02}-{}, step {} ({}): {}, {}",
                first.phase,
                first.phase_name,
                first.step,
                first.step_title,
                first.kind,
                first.direction.as_str()
            );
            for broken in alike.iter().take(SHOWN) {
                render_one(out, broken);
            }
            if alike.len() > SHOWN {
                let _ = writeln!(out, "  and {} more like these", alike.len() - SHOWN);
            }
            rest = others;
        }
    }

    fn render_matrix(&self, out: &mut String) {
        let columns = self.columns();
        let label = |row: &MatrixRow| format!("{} [{}]", row.kind, row.verified);
        let first = self
            .matrix
            .iter()
            .map(|r| label(r).chars().count())
            .max()
            .unwrap_or(0);
        let widths: Vec<usize> = columns
            .iter()
            .map(|column| {
                let cells = self
                    .matrix
                    .iter()
                    .map(|row| short(&row.cells[column.at]).chars().count());
                cells
                    .chain([column.name.chars().count()])
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut line = format!("{:first$}", "used/trusted");
        for (column, width) in columns.iter().zip(&widths) {
            let _ = write!(line, "  {:width$}", column.name);
        }
        let _ = writeln!(out, "{}", line.trim_end());
        for row in &self.matrix {
            let mut line = format!("{:first$}", label(row));
            for (column, width) in columns.iter().zip(&widths) {
                let _ = write!(line, "  {:width$}", short(&row.cells[column.at]));
            }
            let _ = writeln!(out, "{}", line.trim_end());
        }
        out.push_str(&self.legend());
        out.push('\n');
    }

    /// What the cells say, and which phases have none.
    fn legend(&self) -> String {
        let numbers: Vec<u8> = self.phases.iter().map(|phase| phase.number).collect();
        let all = numbers.iter().min().zip(numbers.iter().max());
        let idle: Vec<String> = all
            .into_iter()
            .flat_map(|(first, last)| *first..=*last)
            .filter(|number| !numbers.contains(number))
            .map(|number| format!("{number:02}"))
            .collect();
        if idle.is_empty() {
            LEGEND.to_owned()
        } else {
            format!(
                "{LEGEND} Without a column, because there is nothing to do: {}.",
                idle.join(", ")
            )
        }
    }

    /// The matrix as a Markdown table. Neighbouring phases with equal cells share a column.
    #[must_use]
    pub fn matrix_markdown(&self) -> String {
        let columns = self.columns();
        let mut out = String::from("| connection | certificate of |");
        for column in &columns {
            let _ = write!(out, " {} |", column.name);
        }
        out.push_str("\n| --- | --- |");
        out.push_str(&" --- |".repeat(columns.len()));
        out.push('\n');
        for row in &self.matrix {
            let _ = write!(out, "| {} | {} |", row.kind, row.verified);
            for column in &columns {
                let _ = write!(
                    out,
                    " {} |",
                    short(&row.cells[column.at]).replace('|', "\\|")
                );
            }
            out.push('\n');
        }
        out.push('\n');
        out.push_str(&self.legend().replace('|', "\\|"));
        out.push('\n');
        out
    }

    /// Neighbouring phases with equal cells, together.
    fn columns(&self) -> Vec<Column> {
        let same = |a: usize, b: usize| self.matrix.iter().all(|row| row.cells[a] == row.cells[b]);
        let mut out: Vec<Column> = Vec::new();
        let mut first: Option<&PhaseFacts> = None;
        for (at, phase) in self.phases.iter().enumerate() {
            match (out.last_mut(), first) {
                (Some(column), Some(begin)) if same(column.at, at) => {
                    column.name = format!("{:02}–{:02}", begin.number, phase.number);
                }
                _ => {
                    out.push(Column {
                        at,
                        name: format!("{:02}", phase.number),
                    });
                    first = Some(phase);
                }
            }
        }
        out
    }
}

const LEGEND: &str = "Each cell: which CA signed the certificates in use / what the verifier trusts. \
    O old, N new, B both, * without verification, x other CA, ! broken. Several letters: any of them may be in use. Two pairs: one after the other.";

struct Column {
    /// Which phase stands for them.
    at: usize,
    /// `05` or `06–09`.
    name: String,
}

/// A cell in letters.
fn short(cell: &Cell) -> String {
    let letters = |words: &str| -> String {
        words
            .split(['+', '|'])
            .map(|word| match word {
                "old" => "O",
                "new" => "N",
                "both" => "B",
                "any" => "*",
                "other" => "x",
                "none" => "?",
                _ => "-",
            })
            .collect()
    };
    let parts: Vec<_> = cell
        .parts
        .iter()
        .map(|part| format!("{}/{}", letters(&part.used), letters(&part.trusted)))
        .collect();
    format!("{}{}", parts.join(" "), if cell.holds { "" } else { "!" })
}

fn render_one(out: &mut String, broken: &BrokenEdge) {
    let dialled = broken
        .dialled
        .as_ref()
        .map(|name| format!(" as {name}"))
        .unwrap_or_default();
    let _ = writeln!(out, "  {} → {}{dialled}", broken.client, broken.server);
    let _ = writeln!(out, "    because      {}", broken.reason);
    let _ = writeln!(
        out,
        "    certificate  {} ({})",
        broken.certificate, broken.certificate_from
    );
    if broken.bundle.is_empty() {
        let _ = writeln!(out, "    trusted      nothing ({})", broken.bundle_from);
    }
    for (at, anchor) in broken.bundle.iter().enumerate() {
        let from = if at == 0 {
            format!(" ({})", broken.bundle_from)
        } else {
            String::new()
        };
        let _ = writeln!(out, "    trusted      {anchor}{from}");
    }
    let _ = writeln!(out, "    first        {}", broken.remedy);
    if !broken.also_in.is_empty() {
        let also: Vec<_> = broken
            .also_in
            .iter()
            .map(|phase| format!("{phase:02}"))
            .collect();
        let _ = writeln!(out, "    also in      {}", also.join(", "));
    }
}
