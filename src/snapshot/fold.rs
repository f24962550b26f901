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
use super::{Lies, Places, called};
use crate::diagnostic::{Code, Diagnostic, Result};
use crate::digest::sha256;
use crate::names::NodeName;
use crate::parallel;
use crate::spec::Role;
use crate::state::Texts;

/// A snapshot's folder `nodes/`, made anew.
#[derive(Default)]
pub struct Folded {
    /// The files by their path below it.
    pub files: BTreeMap<String, Arc<str>>,
    /// The sets.
    pub sets: Vec<Made>,
    /// How many nodes have a folder to themselves.
    pub alone: usize,
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
    let originals = originals(folder)?;
    let looked = parallel::map(&originals, Looked::at);
    let mut alike: BTreeMap<&str, Vec<(&Original, &Looked)>> = BTreeMap::new();
    let mut out = Folded::default();
    for (node, looked) in originals.iter().zip(&looked) {
        match &looked.form {
            Some(form) => alike.entry(form).or_default().push((node, looked)),
            None => out.put_alone(node),
        }
    }
    for members in alike.values() {
        match members[..] {
            [(node, _)] => out.put_alone(node),
            _ => out.put_set(members)?,
        }
    }
    out.sets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(out)
}

/// Gives each node a folder again.
pub fn unfold(folder: &Path) -> Result<Folded> {
    let mut out = Folded::default();
    for node in originals(folder)? {
        out.put_alone(&node);
    }
    Ok(out)
}

/// What a node's own folder holds, or would hold.
struct Original {
    name: NodeName,
    lines: Vec<Line>,
}

/// All nodes of a snapshot, each checked as a compile checks it. Errors name it as the user did.
fn originals(folder: &Path) -> Result<Vec<Original>> {
    read_originals(folder).map_err(|error| called(&folder.to_string_lossy(), error))
}

fn read_originals(folder: &Path) -> Result<Vec<Original>> {
    let texts = Mutex::new(Texts::default());
    let places = Places::find(folder, &texts)?;
    let names: Vec<&NodeName> = places.nodes.keys().collect();
    let read = parallel::map(&names, |name| {
        places.read(folder, name, Role::Worker, &texts)?;
        let lines = match places.nodes[*name] {
            Lies::Alone => files::lines_of(folder, name.as_str())?,
            Lies::InSet(set, row) => places.sets[set].1.lines_of(row),
        };
        let name = (*name).clone();
        Ok(Original { name, lines })
    });
    read.into_iter().collect()
}

impl Folded {
    fn put(&mut self, folder: &str, table: &str, lines: &[Line]) {
        let mut files = table.to_owned();
        for line in lines {
            files.push_str(&line.line);
            files.push('\n');
            if let (Some(text), Some(stored)) = (&line.text, line.line.split('\t').nth(4)) {
                self.files.insert(format!("{folder}{stored}"), text.clone());
            }
        }
        self.files.insert(format!("{folder}/FILES"), files.into());
    }

    fn put_alone(&mut self, node: &Original) {
        let folder = node.name.as_str();
        self.put(folder, &files::header(folder), &node.lines);
        self.alone += 1;
    }

    fn put_set(&mut self, members: &[(&Original, &Looked)]) -> Result<()> {
        let names: Vec<&NodeName> = members.iter().map(|(node, _)| &node.name).collect();
        let name = name_of_set(&names);
        let values = Values::of(members);
        let lines: Vec<Line> = members[0].0.formed(&values);
        let table = values.table(members);
        let set = Set::new(&name, &lines, &table)?;
        let mut back = (0..).zip(members);
        if !back.all(|(row, (node, _))| set.lines_of(row) == node.lines) {
            return Err(Diagnostic::new(
                Code::EditMismatch,
                format!(
                    "nodes like {} do not come out of their set as they went in",
                    names[0]
                ),
                "this is a fault of carota: leave the snapshot as it is",
            ));
        }
        self.put(&name, &files::header(&name), &lines);
        self.files.insert(format!("{name}/{TABLE}"), table.into());
        self.sets.push(Made {
            nodes: names.len(),
            values: values.count,
            name,
        });
        Ok(())
    }
}

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
            let mut from = 0;
            for span in own(text, node.name.as_str()) {
                // The length tells where one piece ends, whatever is in it.
                form.push_str(&format!(
                    "{}:{}",
                    span.start - from,
                    &text[from..span.start]
                ));
                from = span.end;
                let value = &text[span];
                values.push(if encoded {
                    value.to_owned()
                } else {
                    encode(value)
                });
            }
            form.push_str(&format!("{}:{}\n", text.len() - from, &text[from..]));
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
        let mut form = |text: &str| {
            let mut out = String::new();
            let mut from = 0;
            for span in own(text, self.name.as_str()) {
                out.push_str(&text[from..span.start]);
                from = span.end;
                match places.next() {
                    Some(Some(number)) => out.push_str(&format!("{OWN}{number}@")),
                    _ => out.push_str(&text[span]),
                }
            }
            out + &text[from..]
        };
        let form = |Line { line, text }: &Line| Line {
            line: form(line),
            text: text.as_ref().map(|text| form(text).into()),
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
/// An address or a date is at least so long.
const SHORT: usize = 7;

/// Where a text has what may be a node's own: certificates, its name, hashes, addresses, dates.
fn own(text: &str, name: &str) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut from = 0;
    for certain in bodies_and_names(text, name) {
        by_looks(text, from..certain.start, &mut out);
        from = certain.end;
        out.push(certain);
    }
    by_looks(text, from..text.len(), &mut out);
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
fn by_looks(text: &str, within: Range<usize>, out: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let run = |from: usize, of: fn(u8) -> bool| {
        let length = bytes[from..within.end]
            .iter()
            .take_while(|b| of(**b))
            .count();
        from..from + length
    };
    let mut at = within.start;
    while at < within.end {
        if !is_of_hash(bytes[at]) || (at > within.start && is_of_hash(bytes[at - 1])) {
            at += 1;
            continue;
        }
        let long = run(at, is_of_hash);
        let short = run(at, is_of_address);
        let short = &text[short.clone()].trim_end_matches(['.', ':', '-']);
        let signs = short.bytes().filter(|b| b".:-".contains(b)).count();
        if long.len() >= LONG {
            at = long.end;
            out.push(long);
        } else if short.len() >= SHORT && signs >= 2 && short.contains(|c: char| c.is_ascii_digit())
        {
            out.push(at..at + short.len());
            at += short.len();
        } else {
            at += 1;
        }
    }
}

/// A character of base64, and so of a hash.
fn is_of_hash(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"+/=".contains(&b)
}

/// A character of an address, of either family, or of a date.
fn is_of_address(b: u8) -> bool {
    b.is_ascii_hexdigit() || b".:-".contains(&b)
}
