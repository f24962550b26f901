//! `carota fold` and `carota unfold`: nodes that are alike into sets, and back into a folder each.
//!
//! Nodes are alike if their files are the same but for what a node has to itself: its name, its certificates and
//! hashes, addresses and dates. It knows these by their looks alone, and need not be right: a value that is the
//! same on all of them stays in the form, and one that it took for common keeps nodes apart. Whatever it makes of
//! a folder is undone again before it is given out, and must be that folder, byte for byte.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::files::{self, Line, encode};
use super::sets::{OWN, Set, TABLE, heading, name_of_set};
use super::{Lies, Places, folders, on_disk};
use crate::diagnostic::{Code, Diagnostic, Result};
use crate::digest::sha256;
use crate::input::{MAX_FILE, MAX_LIST};
use crate::names::NodeName;
use crate::parallel;
use crate::spec::Role;
use crate::state::Texts;

/// A snapshot's folder `nodes/`, made anew.
pub struct Folded {
    /// The files by their path below it.
    pub files: BTreeMap<String, Arc<str>>,
    /// The folders that were read.
    pub read: Vec<String>,
    /// The sets.
    pub sets: Vec<Made>,
    /// How many nodes have a folder to themselves.
    pub alone: usize,
    nodes: Vec<Original>,
}

/// A set that was made.
pub struct Made {
    /// The name of its folder.
    pub name: String,
    /// How many nodes it has.
    pub nodes: usize,
    /// How many values each of them has to itself, its name included.
    pub values: usize,
}

/// Puts nodes that are alike into sets. A node that has a folder beside a set that knows it was collected again:
/// the folder counts.
pub fn fold(folder: &Path) -> Result<Folded> {
    let mut out = Folded::of(folder)?;
    let nodes = std::mem::take(&mut out.nodes);
    let looked = parallel::map(&nodes, Looked::at);
    let mut alike: BTreeMap<&str, Vec<(&Original, &Looked)>> = BTreeMap::new();
    for (node, looked) in nodes.iter().zip(&looked) {
        match &looked.form {
            Some(form) => alike.entry(form).or_default().push((node, looked)),
            None => out.put_alone(node),
        }
    }
    for members in alike.values() {
        if members.len() < 2 || !out.put_set(members) {
            for (node, _) in members {
                out.put_alone(node);
            }
        }
    }
    out.sets.sort_by(|a, b| a.name.cmp(&b.name));
    out.nodes = nodes;
    Ok(out)
}

/// Gives each node a folder again.
pub fn unfold(folder: &Path) -> Result<Folded> {
    let mut out = Folded::of(folder)?;
    let nodes = std::mem::take(&mut out.nodes);
    for node in &nodes {
        out.put_alone(node);
    }
    out.nodes = nodes;
    Ok(out)
}

/// What a node's own folder holds, or would hold.
#[derive(PartialEq, Eq)]
struct Original {
    name: NodeName,
    lines: Vec<Line>,
}

/// All nodes of a snapshot, each checked as a compile checks it.
fn originals(folder: &Path) -> Result<Vec<Original>> {
    let texts = Mutex::new(Texts::default());
    let places = Places::find(folder, &texts)?;
    let names: Vec<&NodeName> = places.nodes.keys().collect();
    let read = parallel::map(&names, |name| {
        let lines = match places.nodes[*name] {
            Lies::Alone => files::read_node(folder, name, Role::Worker, &texts)?.1,
            Lies::InSet(set, row) => {
                let set = &places.sets[set].1;
                set.node(row, Role::Worker, &texts)?;
                set.lines_of(row)?
            }
        };
        let name = (*name).clone();
        Ok(Original { name, lines })
    });
    read.into_iter().collect()
}

impl Folded {
    /// Nothing yet of a snapshot that was read. Errors name it as the user did.
    fn of(folder: &Path) -> Result<Folded> {
        let read = || Ok((folders(folder)?, originals(folder)?));
        let (read, nodes) =
            read().map_err(|error| on_disk(folder, &folder.to_string_lossy(), error))?;
        Ok(Folded {
            files: BTreeMap::new(),
            read,
            sets: Vec::new(),
            alone: 0,
            nodes,
        })
    }

    /// Whether a folder in which the files were written gives the nodes that were read, each with its very files.
    pub fn check(&self, written: &Path) -> Result<()> {
        match originals(written) {
            Ok(nodes) if nodes == self.nodes => Ok(()),
            other => Err(Diagnostic::new(
                Code::EditMismatch,
                format!(
                    "the nodes do not come out as they went in{}",
                    other.map_or_else(|error| format!(": {}", error.reason), |_| String::new())
                ),
                "this is a fault of carota, please report it; the snapshot is as it was",
            )),
        }
    }

    fn put(&mut self, folder: &str, table: String, lines: &[Line]) {
        for Line { line, text } in lines {
            if let (Some(text), Some(stored)) = (text, line.split('\t').nth(4)) {
                self.files.insert(format!("{folder}{stored}"), text.clone());
            }
        }
        self.files.insert(format!("{folder}/FILES"), table.into());
    }

    fn put_alone(&mut self, node: &Original) {
        let folder = node.name.as_str();
        self.put(folder, files_table(folder, &node.lines), &node.lines);
        self.alone += 1;
    }

    /// Makes a set of nodes, unless it would be none that can be read.
    fn put_set(&mut self, members: &[(&Original, &Looked)]) -> bool {
        let names: Vec<&NodeName> = members.iter().map(|(node, _)| &node.name).collect();
        let name = name_of_set(&names);
        let values = Values::of(members);
        let lines: Vec<Line> = members[0].0.formed(&values);
        let (files, table) = (files_table(&name, &lines), values.table(members));
        let small = |text: &str| text.len() as u64 <= MAX_FILE;
        let fits = name.len() <= LONGEST_NAME
            && small(&files)
            && table.len() as u64 <= MAX_LIST
            && lines.iter().filter_map(|l| l.text.as_deref()).all(small);
        // A file of that name would lie where the table does.
        let taken = lines.iter().any(|line| line.stored() == Some(TABLE));
        let comes_back = |set: Set| {
            let mut members = (0..).zip(members);
            members.all(|(row, (node, _))| set.lines_of(row).is_ok_and(|l| l == node.lines))
        };
        if !fits || taken || !Set::new(&name, &lines, &table).is_ok_and(comes_back) {
            return false;
        }
        self.put(&name, files, &lines);
        self.files.insert(format!("{name}/{TABLE}"), table.into());
        self.sets.push(Made {
            nodes: names.len(),
            values: values.count,
            name,
        });
        true
    }
}

/// FILES of a node or a set.
fn files_table(name: &str, lines: &[Line]) -> String {
    let lines = lines.iter().flat_map(|line| [&line.line[..], "\n"]);
    files::header(name) + &lines.collect::<String>()
}

/// Longer names of folders are none on most file systems.
const LONGEST_NAME: usize = 255;

/// How a node looks.
struct Looked {
    /// The hash of all that is not a value. None where a text has what would be taken for the place of a value.
    form: Option<String>,
    /// What may be the node's own, in order, encoded.
    values: Vec<String>,
}

impl Looked {
    fn at(node: &Original) -> Looked {
        let mut form = String::new();
        let mut values = Vec::new();
        let mut can_be_formed = true;
        for (text, encoded) in node.texts() {
            can_be_formed &= !text.contains(OWN);
            for (common, value) in pieces(text, node.name.as_str(), encoded) {
                // The length tells where one piece ends, whatever is in it.
                form.push_str(&format!("{}:{common}", common.len()));
                let as_stored = |value: &str| {
                    if encoded {
                        value.to_owned()
                    } else {
                        encode(value)
                    }
                };
                values.extend(value.map(as_stored));
            }
            form.push('\n');
        }
        Looked {
            form: can_be_formed.then(|| sha256(form)),
            values,
        }
    }
}

impl Original {
    /// The lines of FILES and the content of files, in order, and whether they are encoded.
    fn texts(&self) -> impl Iterator<Item = (&str, bool)> {
        self.lines.iter().flat_map(|Line { line, text }| {
            std::iter::once((&line[..], true)).chain(text.iter().map(|text| (&text[..], false)))
        })
    }

    /// The same as forms.
    fn formed(&self, values: &Values) -> Vec<Line> {
        let mut places = values.places.iter();
        let mut form = |text: &str, encoded: bool| {
            let mut out = String::new();
            for (common, value) in pieces(text, self.name.as_str(), encoded) {
                out.push_str(common);
                let Some(value) = value else { continue };
                match places.next() {
                    Some(Some(number)) => out.push_str(&format!("{OWN}{number}@")),
                    _ => out.push_str(value),
                }
            }
            out
        };
        let form = |Line { line, text }: &Line| Line {
            line: form(line, true),
            text: text.as_ref().map(|text| form(text, false).into()),
        };
        self.lines.iter().map(form).collect()
    }
}

/// The values of a set.
struct Values {
    /// For each value that a node may have: its number, or none where all have the same.
    places: Vec<Option<usize>>,
    /// For each number, from 2: which of the values of a node it is.
    columns: Vec<usize>,
    /// How many numbers there are, that of the name included.
    count: usize,
}

impl Values {
    fn of(members: &[(&Original, &Looked)]) -> Values {
        let names = members.iter().map(|(node, _)| node.name.as_str()).collect();
        let mut known: BTreeMap<Vec<&str>, usize> = BTreeMap::from([(names, 1)]);
        let mut columns = Vec::new();
        let places = (0..members[0].1.values.len()).map(|at| {
            let column: Vec<&str> = members.iter().map(|(_, l)| l.values[at].as_str()).collect();
            if column.iter().all(|value| *value == column[0]) {
                return None;
            }
            let next = known.len() + 1;
            let number = *known.entry(column).or_insert(next);
            if number == next {
                columns.push(at);
            }
            Some(number)
        });
        Values {
            places: places.collect(),
            count: columns.len() + 1,
            columns,
        }
    }

    /// NODES.
    fn table(&self, members: &[(&Original, &Looked)]) -> String {
        let mut out = heading(self.count) + "\n";
        for (node, looked) in members {
            out.push_str(node.name.as_str());
            for at in &self.columns {
                out.push('\t');
                out.push_str(&looked.values[*at]);
            }
            out.push('\n');
        }
        out
    }
}

/// A value of letters and digits is a hash, a key or a number drawn at random if it is at least so long.
const LONG: usize = 24;
/// An address or a date is so long.
const SHORT: Range<usize> = 7..64;

/// A text in pieces: what may be a node's own, each after what stands before it, and at the end the rest.
fn pieces<'t>(text: &'t str, name: &str, encoded: bool) -> Vec<(&'t str, Option<&'t str>)> {
    let mut out = Vec::new();
    let mut from = 0;
    for span in own(text, name, encoded) {
        out.push((&text[from..span.start], Some(&text[span.clone()])));
        from = span.end;
    }
    out.push((&text[from..], None));
    out
}

/// Where a text has what may be a node's own: certificates, its name, hashes, addresses, dates. In a line of FILES,
/// which is encoded, a value is no part of a code, and keeps within one part of a path.
fn own(text: &str, name: &str, encoded: bool) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    if encoded && text.contains('%') {
        return out;
    }
    let mut from = 0;
    for certain in bodies_and_names(text, name) {
        by_looks(text, from..certain.start, encoded, &mut out);
        from = certain.end;
        out.push(certain);
    }
    by_looks(text, from..text.len(), encoded, &mut out);
    out
}

/// The bodies of certificates in PEM, and the node's name where it stands by itself.
fn bodies_and_names(text: &str, name: &str) -> Vec<Range<usize>> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----\n";
    let mut out: Vec<Range<usize>> = Vec::new();
    for (at, _) in text.match_indices(BEGIN) {
        let start = at + BEGIN.len();
        if let Some(length) = text[start..].find("\n-----END") {
            out.push(start..start + length);
        }
    }
    let stands_alone = |span: &Range<usize>| {
        let beside = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        !beside(text[..span.start].chars().next_back()) && !beside(text[span.end..].chars().next())
    };
    let names = text.match_indices(name).map(|(at, _)| at..at + name.len());
    let bodies = out.len();
    for span in names.filter(stands_alone) {
        let inside = |body: &Range<usize>| body.start < span.end && span.start < body.end;
        if !out[..bodies].iter().any(inside) {
            out.push(span);
        }
    }
    out.sort_by_key(|span| span.start);
    out.dedup_by(|later, earlier| later.start < earlier.end);
    out
}

/// What looks like a hash, an address or a date.
fn by_looks(text: &str, within: Range<usize>, encoded: bool, out: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let is_of_hash =
        |b: u8| b.is_ascii_alphanumeric() || b"+=".contains(&b) || (b == b'/' && !encoded);
    let mut at = within.start;
    while at < within.end {
        if !is_of_hash(bytes[at]) || (at > within.start && is_of_hash(bytes[at - 1])) {
            at += 1;
            continue;
        }
        let rest = &bytes[at..within.end];
        let long = rest.iter().take_while(|b| is_of_hash(**b)).count();
        let short = rest
            .iter()
            .take(SHORT.end)
            .take_while(|b| is_of_address(**b));
        let short = &text[at..at + short.count()].trim_end_matches(['.', ':', '-']);
        let signs = short.bytes().filter(|b| b".:-".contains(b)).count();
        let has_digit = short.contains(|c: char| c.is_ascii_digit());
        let length = if long >= LONG {
            long
        } else if SHORT.contains(&short.len()) && signs >= 2 && has_digit {
            short.len()
        } else {
            at += 1;
            continue;
        };
        out.push(at..at + length);
        at += length;
    }
}

/// A character of an address, of either family, or of a date.
fn is_of_address(b: u8) -> bool {
    b.is_ascii_hexdigit() || b".:-".contains(&b)
}
