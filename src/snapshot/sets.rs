//! Nodes that are alike, kept once: `nodes/<set>/` holds their files in one form, and NODES a row of what
//! each node has to itself. `carota fold` writes them (`fold.rs`).
//!
//! A form is a text in which `@carota:3@` stands for the third value of a row; the first is the node's name.
//! FILES has a form too, and so have the names of files in the folder: whatever a node's own folder would hold
//! is what its row makes of the set's. Values in NODES, and in FILES, are encoded as the collector encodes
//! paths.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use super::files::{self, Line, decode, line_at, refuse_unlisted};
use super::read_text;
use crate::diagnostic::{Code, Diagnostic, Result};
use crate::input::{MAX_FILE, MAX_LIST};
use crate::names::{NodeName, NodePath};
use crate::ranges;
use crate::spec::Role;
use crate::state::{Entry, Node, Texts};

/// What begins a place for a node's own value.
pub const OWN: &str = "@carota:";
/// The table of the nodes in a set.
pub const TABLE: &str = "NODES";

/// A text with places for what is a node's own.
pub struct Form(Vec<Piece>);

enum Piece {
    Text(String),
    /// The place of a value in a row, from 0.
    Own(usize),
}

impl Form {
    /// Reads a form for rows of so many values. The error says what is wrong, without a final stop.
    fn parse(text: &str, values: usize) -> Result<Form, String> {
        let mut out = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(OWN) {
            let number = after.split_once('@').and_then(|(number, after)| {
                let number = number.parse::<usize>().ok()?;
                (1..=values).contains(&number).then_some((number, after))
            });
            let Some((number, after)) = number else {
                return Err(format!("`{OWN}` begins a value that no row of {TABLE} has"));
            };
            out.push(Piece::Text(before.to_owned()));
            out.push(Piece::Own(number - 1));
            rest = after;
        }
        out.push(Piece::Text(rest.to_owned()));
        Ok(Form(out))
    }

    /// Whether it is the same text for every node.
    fn is_plain(&self) -> bool {
        self.0.iter().all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// The text of a node with these values; None where it would be larger than any file is.
    fn with(&self, values: &[impl AsRef<str>]) -> Option<String> {
        let pieces = || {
            self.0.iter().map(|piece| match piece {
                Piece::Text(text) => text,
                Piece::Own(at) => values[*at].as_ref(),
            })
        };
        let size: u64 = pieces().map(|piece| piece.len() as u64).sum();
        (size <= MAX_FILE).then(|| pieces().collect())
    }

    /// Which values it has a place for, from 0.
    fn values(&self) -> impl Iterator<Item = usize> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Own(at) => Some(*at),
        })
    }
}

/// What one node of a set has to itself.
struct Row {
    name: NodeName,
    /// As they stand in NODES.
    values: Vec<String>,
}

/// A line of the set's FILES.
struct Formed {
    number: usize,
    line: Form,
    /// The content of a regular file.
    text: Option<Form>,
    /// What lies there on every node alike.
    everywhere: Option<(NodePath, Entry)>,
}

/// A set of nodes.
pub struct Set {
    name: String,
    lines: Vec<Formed>,
    rows: Vec<Row>,
}

/// Whether a folder of this name holds a set: no node has such a name.
pub fn is_name_of_set(name: &str) -> bool {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-[]+".contains(&b);
    name.contains(['[', '+']) && name.bytes().all(fine)
}

/// The name of a set of these nodes, which are in order: a pattern where they count up, otherwise the first
/// and how many others there are.
pub fn name_of_set(nodes: &[&NodeName]) -> String {
    match &ranges::of(nodes)[..] {
        [range] if range.count > 1 => range.pattern('-'),
        _ => format!("{}+{}", nodes[0], nodes.len() - 1),
    }
}

impl Set {
    /// Reads `nodes/<set>`.
    pub fn read(folder: &Path, name: &str, texts: &Mutex<Texts>) -> Result<Set> {
        let root = folder.join("nodes").join(name);
        let label = format!("snapshot/nodes/{name}/{TABLE}");
        let table = read_text(&root.join(TABLE), &label, MAX_LIST)?;
        let lines = files::lines_of(folder, name)?;
        let listed = lines.iter().filter_map(|line| line.stored());
        refuse_unlisted(&root, name, &listed.chain([TABLE]).collect())?;
        let mut set = Set::new(name, &lines, &table)?;
        let label = format!("snapshot/nodes/{name}/FILES");
        for (formed, line) in set.lines.iter_mut().zip(&lines) {
            let plain = formed.line.is_plain() && formed.text.as_ref().is_none_or(Form::is_plain);
            if plain {
                let at = (&label[..], formed.number);
                formed.everywhere = Some(line.read(name, at, texts)?);
            }
        }
        Ok(set)
    }

    /// A set of this name with these lines of FILES as forms, and this NODES.
    pub fn new(name: &str, lines: &[Line], table: &str) -> Result<Set> {
        let rows = rows(table, name)?;
        let values = rows[0].values.len();
        let form = |file: &str, line: usize, text: &str| {
            let label = format!("snapshot/nodes/{name}{file}");
            Form::parse(text, values).map_err(|why| damaged(&label, line, &why))
        };
        let formed = (2..).zip(lines).map(|(number, line)| {
            let text = line.text.as_ref();
            let stored = line.line.split('\t').nth(4).unwrap_or_default();
            Ok(Formed {
                number,
                line: form("/FILES", number, &line.line)?,
                text: text.map(|text| form(stored, 1, text)).transpose()?,
                everywhere: None,
            })
        });
        let lines: Vec<Formed> = formed.collect::<Result<_>>()?;
        // The first is the node's name, which is at least the name.
        let forms = lines.iter().flat_map(|l| [Some(&l.line), l.text.as_ref()]);
        let used: BTreeSet<usize> = forms.flatten().flat_map(Form::values).collect();
        if let Some(unused) = (1..values).find(|value| !used.contains(value)) {
            let label = format!("snapshot/nodes/{name}/{TABLE}");
            let why = format!("no file has a place for value {}", unused + 1);
            return Err(damaged(&label, 1, &why));
        }
        Ok(Set {
            name: name.to_owned(),
            lines,
            rows,
        })
    }

    /// The nodes of the set, in order.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeName> {
        self.rows.iter().map(|row| &row.name)
    }

    /// Reads one of its nodes.
    pub fn node(&self, row: usize, role: Role, texts: &Mutex<Texts>) -> Result<Node> {
        let row = &self.rows[row];
        let label = format!("snapshot/nodes/{}/FILES", row.name);
        let decoded = row.decoded();
        files::node(
            role,
            &label,
            self.lines.iter().map(|formed| {
                let at = (&label[..], formed.number);
                if let Some(everywhere) = &formed.everywhere {
                    return Ok(everywhere.clone());
                }
                let line = self.line_of(formed, row, &decoded)?;
                line.read(row.name.as_str(), at, texts)
            }),
        )
    }

    /// What the folder of one of its nodes would hold.
    pub fn lines_of(&self, row: usize) -> Result<Vec<Line>> {
        let row = &self.rows[row];
        let decoded = row.decoded();
        let lines = self.lines.iter();
        lines
            .map(|formed| self.line_of(formed, row, &decoded))
            .collect()
    }

    /// The line of one node, whose values are given as they stand in NODES and as texts have them.
    fn line_of(&self, formed: &Formed, row: &Row, decoded: &[String]) -> Result<Line> {
        let line = formed.line.with(&row.values);
        let text = formed.text.as_ref().map(|text| text.with(decoded));
        match (line, text) {
            (Some(line), Some(Some(text))) => Ok(Line {
                line,
                text: Some(text.into()),
            }),
            (Some(line), None) => Ok(Line { line, text: None }),
            _ => {
                let label = format!("snapshot/nodes/{}/FILES", self.name);
                let why = format!("the file of node {} would be too large", row.name);
                Err(damaged(&label, formed.number, &why))
            }
        }
    }
}

impl Row {
    /// The values as texts have them. A damaged one has been refused.
    fn decoded(&self) -> Vec<String> {
        let values = self.values.iter();
        values
            .map(|value| decode(value).unwrap_or_default())
            .collect()
    }
}

/// Reads NODES.
fn rows(table: &str, set: &str) -> Result<Vec<Row>> {
    let label = format!("snapshot/nodes/{set}/{TABLE}");
    let mut lines = table.lines().enumerate();
    let columns = lines.next().map_or(0, |(_, line)| line.split('\t').count());
    if table.lines().next() != Some(&heading(columns)) {
        return Err(damaged(&label, 1, "NODES does not begin with its heading"));
    }
    let mut out: Vec<Row> = Vec::new();
    for (index, line) in lines {
        let bad = |why: &str| Err(damaged(&label, index + 1, why));
        let values: Vec<String> = line.split('\t').map(str::to_owned).collect();
        if values.len() != columns {
            return bad("a row of NODES has not as many values as the heading");
        }
        if values.iter().any(|value| decode(value).is_none()) {
            return bad("a value is damaged");
        }
        let name = match NodeName::new(&values[0]) {
            Ok(name) => name,
            Err(why) => return bad(&why),
        };
        if out.last().is_some_and(|before| before.name >= name) {
            return bad("rows of NODES are in the order of the nodes' names, each once");
        }
        out.push(Row { name, values });
    }
    let names: Vec<&NodeName> = out.iter().map(|row| &row.name).collect();
    if names.is_empty() || name_of_set(&names) != set {
        let why = "the folder's name does not say which nodes NODES has";
        return Err(damaged(&label, 1, why));
    }
    Ok(out)
}

/// The first line of NODES.
pub fn heading(columns: usize) -> String {
    let own = (2..=columns).map(|number| format!("\t{number}"));
    format!("node{}", own.collect::<String>())
}

fn damaged(label: &str, line: usize, why: &str) -> Diagnostic {
    let remedy =
        "restore the set as `carota fold` wrote it, or take the snapshot of its nodes again";
    Diagnostic::new(Code::SnapshotShape, why, remedy).at(line_at(label, line))
}
