//! Adding a pair to a map of a YAML document, and taking it out again.
//!
//! Knows layout: indentation, line ends, commas. Each function gives edits for the text; the caller
//! applies them and has the result compared. Taking out what was added gives the bytes from before:
//! whatever cannot be told apart afterwards is either marked in the text or refused.

use crate::diagnostic::{Code, Diagnostic, Result};
use crate::edit::scalar;
use crate::edit::yaml::{Document, Edit, Entry, Kind, Node};

/// A comment that remembers how an empty map was spelled before a pair was put into it.
const WAS: &str = "# carota: was ";

/// What taking out the last pair does to the map itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The map stays, with the other pairs or as `{}`.
    Map,
    /// The map was null before.
    Null,
    /// The map was not there before.
    Nothing,
}

/// The edits that add `key: value` to the map under `name` of `parent`, after its last pair; the map
/// is made where it is absent or null.
pub(crate) fn add(
    doc: &Document,
    parent: &Entry,
    name: &str,
    key: &str,
    value: &str,
) -> Result<Vec<Edit>> {
    let Some(entries) = parent.value.entries() else {
        return Err(doc.shape(&parent.value, format!("`{}` must be a map", parent.name())));
    };
    let Some(entry) = entries.iter().find(|e| e.name() == name) else {
        return Ok(vec![create(doc, parent, name, key, value)?]);
    };
    match &entry.value.kind {
        Kind::Mapping { flow: true, .. } => Ok(vec![append_flow(
            doc,
            &entry.value,
            &flow_pair(key, value),
        )?]),
        Kind::Mapping {
            entries,
            flow: false,
        } => {
            let indent = indent_of(doc, &entries[0].key)?;
            Ok(vec![append_line(
                doc,
                &entry.value,
                &format!("{indent}{}", block_pair(key, value)),
            )?])
        }
        Kind::Scalar { .. } if entry.value.is_null() && !entry.value.in_flow => {
            fill_null(doc, parent, entry, key, value)
        }
        _ => Err(doc.shape(
            &entry.value,
            format!("`{name}` is not a map that can take a pair and give it back"),
        )),
    }
}

/// The edits that take `key` out of the map under `name` of `parent`.
pub(crate) fn remove(
    doc: &Document,
    parent: &Entry,
    name: &str,
    key: &str,
) -> Result<(Vec<Edit>, Left)> {
    let found = parent.value.entries().and_then(|outer| {
        let at = outer.iter().position(|e| e.name() == name)?;
        let inner = outer[at].value.entries()?;
        Some((
            outer,
            at,
            inner,
            inner.iter().position(|e| e.name() == key)?,
        ))
    });
    let Some((outer, at, inner, index)) = found else {
        return Err(doc.shape(&parent.value, format!("no `{key}` in `{name}` to remove")));
    };
    let map = &outer[at].value;
    if inner.len() > 1 {
        return Ok((vec![remove_entry(doc, map, index)?], Left::Map));
    }
    if is_flow(map) {
        return if doc.text()[map.range.start + 1..].starts_with([' ', '\t', '\r', '\n']) {
            Ok((vec![remove_entry(doc, &parent.value, at)?], Left::Nothing))
        } else {
            Ok((vec![remove_entry(doc, map, 0)?], Left::Map))
        };
    }
    if let Some(restore) = restore_null(doc, &outer[at]) {
        return Ok((vec![restore, remove_entry(doc, map, 0)?], Left::Null));
    }
    let between = &doc.text()[outer[at].key.range.end..inner[0].key.range.start];
    if between.trim_start_matches([' ', '\t', ':']).trim() != "" {
        return Err(doc.shape(
            map,
            format!("a comment stands between `{name}` and its only entry, and would be lost"),
        ));
    }
    if outer.len() == 1 {
        return Err(doc.shape(map, format!("`{}` would be left empty", parent.name())));
    }
    Ok((vec![remove_entry(doc, &parent.value, at)?], Left::Nothing))
}

fn block_pair(key: &str, value: &str) -> String {
    format!(
        "{}: {}",
        scalar::encode(false, key),
        scalar::encode(false, value)
    )
}

fn flow_pair(key: &str, value: &str) -> String {
    format!("{}: {}", scalar::double(key), scalar::double(value))
}

fn is_flow(node: &Node) -> bool {
    matches!(node.kind, Kind::Mapping { flow: true, .. })
}

/// A new map with one pair, as the last entry of `parent`.
fn create(doc: &Document, parent: &Entry, name: &str, key: &str, value: &str) -> Result<Edit> {
    let entries = parent.value.entries().unwrap_or_default();
    let step = step_of(doc, parent);
    if !is_flow(&parent.value) {
        let indent = indent_of(doc, &entries[0].key)?;
        let nl = line_end_after(doc, parent.value.full_end);
        let lines = format!(
            "{indent}{name}:{nl}{indent}{step}{}",
            block_pair(key, value)
        );
        return append_line(doc, &parent.value, &lines);
    }
    let pair = flow_pair(key, value);
    let name = scalar::double(name);
    match entries.last().and_then(|e| own_line(doc, &e.key)) {
        Some(indent) => {
            let nl = line_end_before(doc, entries.last().map_or(0, |e| e.key.range.start));
            append_flow(
                doc,
                &parent.value,
                &format!("{name}: {{{nl}{indent}{step}{pair}{nl}{indent}}}"),
            )
        }
        None => append_flow(doc, &parent.value, &format!("{name}: {{ {pair} }}")),
    }
}

/// A pair for a map that is null: the null goes into a comment, so that it can come back.
fn fill_null(
    doc: &Document,
    parent: &Entry,
    entry: &Entry,
    key: &str,
    value: &str,
) -> Result<Vec<Edit>> {
    let text = doc.text();
    let null = &entry.value.range;
    if text[entry.key.range.end..null.start].contains('\n') {
        return Err(doc.shape(&entry.value, "a null on a line of its own"));
    }
    let indent = indent_of(doc, &entry.key)?;
    let line = format!("{indent}{}{}", step_of(doc, parent), block_pair(key, value));
    let mark = if null.is_empty() {
        Edit::new(null.clone(), format!(" {WAS}empty"))
    } else {
        Edit::new(null.clone(), format!("{WAS}{}", &text[null.clone()]))
    };
    Ok(vec![mark, append_line(doc, &entry.value, &line)?])
}

/// The edit that puts back the null which [`fill_null`] wrote into a comment.
fn restore_null(doc: &Document, entry: &Entry) -> Option<Edit> {
    let text = doc.text();
    let colon = entry.key.range.end + text[entry.key.range.end..].find(':')? + 1;
    let line = text[colon..].lines().next()?;
    let mark = line.find(WAS).filter(|i| line[..*i].trim().is_empty())?;
    let token = line[mark + WAS.len()..].split([' ', '\t']).next()?;
    let end = colon + mark + WAS.len() + token.len();
    match token {
        "empty" => Some(Edit::new(colon + mark.checked_sub(1)?..end, "")),
        "null" | "Null" | "NULL" | "~" => Some(Edit::new(colon + mark..end, token)),
        _ => None,
    }
}

/// The indentation by which the entries of `parent` stand further right than it; two blanks where
/// it cannot be seen.
fn step_of(doc: &Document, parent: &Entry) -> String {
    let outer = own_line(doc, &parent.key);
    let inner = parent
        .value
        .entries()
        .and_then(|e| own_line(doc, &e.first()?.key));
    match (outer, inner) {
        (Some(outer), Some(inner)) => match inner.strip_prefix(outer) {
            Some(step) if !step.is_empty() => step.to_owned(),
            _ => "  ".to_owned(),
        },
        _ => "  ".to_owned(),
    }
}

/// What stands before `node` on its line, where that is nothing but blanks.
fn own_line<'a>(doc: &'a Document, node: &Node) -> Option<&'a str> {
    let start = line_start(doc.text(), node.range.start);
    let before = doc.text()[start..node.range.start].trim_start_matches('\u{feff}');
    before
        .trim_matches([' ', '\t'])
        .is_empty()
        .then_some(before)
}

fn indent_of<'a>(doc: &'a Document, key: &Node) -> Result<&'a str> {
    own_line(doc, key)
        .ok_or_else(|| doc.shape(key, "a key that does not stand on a line of its own"))
}

fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |i| i + 1)
}

/// The line end in use at `offset`: of its own line, or else of the line before it.
fn line_end_after(doc: &Document, offset: usize) -> &'static str {
    match doc.text()[offset..].find('\n') {
        Some(i) if doc.text()[..offset + i].ends_with('\r') => "\r\n",
        Some(_) => "\n",
        None => line_end_before(doc, doc.text().len()),
    }
}

fn line_end_before(doc: &Document, offset: usize) -> &'static str {
    match doc.text()[..offset].rfind('\n') {
        Some(i) if doc.text()[..i].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// Inserts `lines` (without a last line break) below the last line of `node`.
fn append_line(doc: &Document, node: &Node, lines: &str) -> Result<Edit> {
    let text = doc.text();
    let nl = line_end_after(doc, node.full_end);
    // After a block scalar the position is the start of a line already.
    if node.full_end > 0 && text[..node.full_end].ends_with('\n') {
        return Ok(Edit::new(
            node.full_end..node.full_end,
            format!("{lines}{nl}"),
        ));
    }
    if ends_in_block_scalar(node) {
        return Err(doc.shape(
            node,
            "a block scalar at the end of a file without a last line break",
        ));
    }
    let rest = &text[node.full_end..];
    let line = rest.split_inclusive('\n').next().unwrap_or_default();
    if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
        return Err(doc.shape(
            node,
            "something follows on the line after which a line is to be added",
        ));
    }
    let at = node.full_end + line.len();
    Ok(if line.ends_with('\n') {
        Edit::new(at..at, format!("{lines}{nl}"))
    } else {
        Edit::new(at..at, format!("{nl}{lines}"))
    })
}

fn ends_in_block_scalar(node: &Node) -> bool {
    match &node.kind {
        Kind::Scalar { style, .. } => style.is_block(),
        Kind::Sequence { items, flow } => !flow && items.last().is_some_and(ends_in_block_scalar),
        Kind::Mapping { entries, flow } => {
            !flow
                && entries
                    .last()
                    .is_some_and(|e| ends_in_block_scalar(&e.value))
        }
    }
}

/// Inserts a spelled pair into a `{…}`.
fn append_flow(doc: &Document, map: &Node, pair: &str) -> Result<Edit> {
    let Some(last) = map.entries().and_then(<[Entry]>::last) else {
        // Directly after the brace: `remove` tells by that that the empty map was there before.
        let at = map.range.start + 1;
        return Ok(Edit::new(at..at, pair));
    };
    if last.value.range.is_empty() {
        return Err(doc.shape(&last.key, "a key without a value"));
    }
    let at = last.value.range.end;
    Ok(match own_line(doc, &last.key) {
        Some(indent) => Edit::new(
            at..at,
            format!(
                ",{}{indent}{pair}",
                line_end_before(doc, last.key.range.start)
            ),
        ),
        None => Edit::new(at..at, format!(", {pair}")),
    })
}

/// Takes entry `index` out of a map.
fn remove_entry(doc: &Document, map: &Node, index: usize) -> Result<Edit> {
    let entries = map.entries().unwrap_or_default();
    if is_flow(map) {
        remove_flow(doc, entries, index)
    } else {
        remove_lines(doc, entries, index)
    }
}

fn remove_flow(doc: &Document, entries: &[Entry], index: usize) -> Result<Edit> {
    let text = doc.text();
    let entry = &entries[index];
    let end = entry.value.range.end.max(entry.key.range.end);
    let (range, gap) = if let Some(next) = entries.get(index + 1) {
        (
            entry.key.range.start..next.key.range.start,
            end..next.key.range.start,
        )
    } else if index > 0 {
        let before = entries[index - 1].value.range.end;
        (before..end, before..entry.key.range.start)
    } else {
        let comma = text[end..]
            .trim_start()
            .strip_prefix(',')
            .map_or(end, |rest| text.len() - rest.len());
        (entry.key.range.start..comma, end..comma)
    };
    if text[gap].contains('#') {
        return Err(doc.shape(&entry.key, "a comment beside the entry would be lost"));
    }
    Ok(Edit::new(range, ""))
}

fn remove_lines(doc: &Document, entries: &[Entry], index: usize) -> Result<Edit> {
    let text = doc.text();
    let entry = &entries[index];
    indent_of(doc, &entry.key)?;
    let start = line_start(text, entry.key.range.start);
    let full = entry.value.full_end.max(entry.key.range.end);
    if text[..full].ends_with('\n') {
        return Ok(Edit::new(start..full, ""));
    }
    let line = text[full..]
        .split_inclusive('\n')
        .next()
        .unwrap_or_default();
    let end = full + line.len();
    if line.ends_with('\n') || start == 0 {
        return Ok(Edit::new(start..end, ""));
    }
    // The last line of a file without a last line break: the break before it goes.
    let before = text[..start - 1].trim_end_matches('\r').len();
    if text[before..start].len() > 2 {
        return Err(
            Diagnostic::new(Code::ManifestShape, "an odd line break", "correct the file")
                .at(doc.place_at(before)),
        );
    }
    Ok(Edit::new(before..end, ""))
}
