//! A located YAML tree: every node knows the bytes that spell it.
//!
//! Knows YAML syntax only; what a key means is for others. Reads with `granit-parser`, whose byte
//! ranges are exact, and again with `serde_yaml`: a file that the two read differently is refused,
//! because one of them would be wrong about what Kubernetes reads. JSON documents are YAML too.
//!
//! Refused at their place: anchors, aliases, tags, merge keys, duplicate keys, keys that are not
//! scalars, several documents in a file.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use granit_parser::{Event, Options, Parser, ScalarStyle, StructureStyle};
use serde_yaml::Value;

use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::edit::scalar;
pub use crate::edit::scalar::Style;
use crate::memo::Memo;

/// A document with its text.
#[derive(Clone, Debug)]
pub struct Document {
    file: String,
    read: Arc<Read>,
}

/// What two parsers made of a text.
#[derive(Debug)]
struct Read {
    text: String,
    root: Node,
    value: Value,
}

static READ: Memo<Arc<Read>> = Memo::new();

/// A node of the tree.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// The bytes that spell it: quotes, brackets and the header of a block scalar included, the
    /// line break after a block scalar not. Empty, and after the colon, for a value left out.
    pub range: Range<usize>,
    /// Whether it stands inside a flow collection (`[…]`, `{…}`, JSON).
    pub in_flow: bool,
    /// Where what belongs to it ends; for a block scalar after its trailing blank lines.
    pub(crate) full_end: usize,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A string, number, boolean or null; `value` is its text after escapes.
    Scalar {
        /// The text, unescaped.
        value: String,
        /// Its notation.
        style: Style,
    },
    /// A list.
    Sequence {
        /// Its items in order.
        items: Vec<Node>,
        /// `[…]`.
        flow: bool,
    },
    /// A map.
    Mapping {
        /// Its entries in order.
        entries: Vec<Entry>,
        /// `{…}`.
        flow: bool,
    },
}

/// A key with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key, always a scalar.
    pub key: Node,
    /// The value.
    pub value: Node,
}

impl Entry {
    /// The key's text.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.as_str().unwrap_or_default()
    }
}

/// One step of a path into a document.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// Into a mapping.
    Key(&'a str),
    /// Into a sequence.
    Index(usize),
}

impl Node {
    /// The text of a scalar, whatever its notation.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The notation of a scalar.
    #[must_use]
    pub fn style(&self) -> Option<Style> {
        match &self.kind {
            Kind::Scalar { style, .. } => Some(*style),
            _ => None,
        }
    }

    /// Whether it is a null: left out, `~` or `null`, without quotes.
    #[must_use]
    pub fn is_null(&self) -> bool {
        match &self.kind {
            Kind::Scalar { value, style } => {
                *style == Style::Plain
                    && matches!(value.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// The items of a sequence.
    #[must_use]
    pub fn items(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::Sequence { items, .. } => Some(items),
            _ => None,
        }
    }

    /// The entries of a mapping.
    #[must_use]
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.kind {
            Kind::Mapping { entries, .. } => Some(entries),
            _ => None,
        }
    }

    /// The value under `key` of a mapping.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries()?
            .iter()
            .find(|e| e.name() == key)
            .map(|e| &e.value)
    }

    /// The node at the end of `path`.
    #[must_use]
    pub fn at(&self, path: &[Step]) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| match step {
            Step::Key(key) => node.get(key),
            Step::Index(i) => node.items()?.get(*i),
        })
    }
}

/// A replacement of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The bytes to replace; empty to insert.
    pub range: Range<usize>,
    /// What to put there.
    pub text: String,
}

impl Edit {
    /// A replacement.
    #[must_use]
    pub fn new(range: Range<usize>, text: impl Into<String>) -> Edit {
        Edit {
            range,
            text: text.into(),
        }
    }
}

/// `text` with `edits` made. `None` when they overlap or lie outside the text.
#[must_use]
pub fn splice(text: &str, edits: &[Edit]) -> Option<String> {
    let mut sorted: Vec<&Edit> = edits.iter().collect();
    sorted.sort_by_key(|e| (e.range.start, e.range.end));
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for edit in sorted {
        if edit.range.start < done || edit.range.end < edit.range.start {
            return None;
        }
        out.push_str(text.get(done..edit.range.start)?);
        out.push_str(&edit.text);
        done = edit.range.end;
    }
    out.push_str(text.get(done..)?);
    Some(out)
}

impl Document {
    /// Reads the one document of `text`.
    pub fn parse(text: &str, file: &str) -> Result<Document> {
        let read = READ.recall(&[text.as_bytes()], || {
            Document::read(text, file).map(Arc::new)
        })?;
        Ok(Document {
            file: file.to_owned(),
            read,
        })
    }

    fn read(text: &str, file: &str) -> Result<Read> {
        let root = Builder::new(text, file).run()?;
        let value = second_opinion(text, file)?;
        if let Err(offset) = agree(&root, &value) {
            return Err(shape(
                file,
                text,
                offset,
                "two YAML parsers read this value differently, so other programs may too",
            ));
        }
        Ok(Read {
            text: text.to_owned(),
            root,
            value,
        })
    }

    /// The text as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.read.text
    }

    /// The same document under the name of another file.
    #[must_use]
    pub fn named(&self, file: &str) -> Document {
        Document {
            file: file.to_owned(),
            read: self.read.clone(),
        }
    }

    /// The file's name, for places.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The top node.
    #[must_use]
    pub fn root(&self) -> &Node {
        &self.read.root
    }

    /// The document as the second parser reads it.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.read.value
    }

    /// The place of a node.
    #[must_use]
    pub fn place(&self, node: &Node) -> Place {
        self.place_at(node.range.start)
    }

    /// The place of a byte.
    #[must_use]
    pub fn place_at(&self, offset: usize) -> Place {
        Place::at(&self.file, &self.read.text, offset)
    }

    /// A [`Code::ManifestShape`] error at `node`.
    #[must_use]
    pub fn shape(&self, node: &Node, reason: impl Into<String>) -> Diagnostic {
        shape(&self.file, &self.read.text, node.range.start, reason)
    }

    /// The text of the scalar under `key` of `node`, with its node. Absent and null are `None`; a
    /// list or map is an error.
    pub fn scalar_of<'a>(&self, node: &'a Node, key: &str) -> Result<Option<(&'a Node, &'a str)>> {
        match node.get(key) {
            None => Ok(None),
            Some(child) if child.is_null() => Ok(None),
            Some(child) => match child.as_str() {
                Some(text) => Ok(Some((child, text))),
                None => Err(self.shape(child, format!("`{key}` must be a scalar"))),
            },
        }
    }

    /// The boolean under `key` of `node`, in the spellings that Kubernetes takes (YAML 1.1).
    pub fn bool_of(&self, node: &Node, key: &str) -> Result<Option<bool>> {
        let Some((at, text)) = self.scalar_of(node, key)? else {
            return Ok(None);
        };
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" if at.style() == Some(Style::Plain) => Ok(Some(true)),
            "false" | "no" | "off" | "n" if at.style() == Some(Style::Plain) => Ok(Some(false)),
            _ => Err(self.shape(at, format!("`{key}` must be true or false"))),
        }
    }

    /// The items of the list under `key` of `node`; absent and null are an empty list.
    pub fn list_of<'a>(&self, node: &'a Node, key: &str) -> Result<&'a [Node]> {
        match node.get(key) {
            None => Ok(&[]),
            Some(child) if child.is_null() => Ok(&[]),
            Some(child) => child
                .items()
                .ok_or_else(|| self.shape(child, format!("`{key}` must be a list"))),
        }
    }

    /// The text with the scalar at `path` replaced, in the style of the one that stands there.
    pub fn set_scalar(&self, path: &[Step], new: &str) -> Result<String> {
        let Some(node) = self.read.root.at(path) else {
            return Err(Diagnostic::new(
                Code::ManifestShape,
                "the value to replace is not in the file",
                "take the snapshot again",
            )
            .at(Place::start_of(&self.file)));
        };
        let edit = self.replace(node, new)?;
        self.apply(&[edit], |value| set_value(value, path, Some(new.into())))
    }

    /// The edit that replaces the scalar `node` by `new`.
    pub(crate) fn replace(&self, node: &Node, new: &str) -> Result<Edit> {
        let Some(style) = node.style() else {
            return Err(self.shape(
                node,
                "a list or map stands where a single value is to be replaced",
            ));
        };
        let mut text = scalar::encode_like(style, node.in_flow, new);
        if style.is_block()
            && let Some(comment) = self.header_comment(node)
        {
            text.push(' ');
            text.push_str(comment);
        }
        if node.range.is_empty() && !self.read.text[..node.range.start].ends_with([' ', '\t', '\n'])
        {
            text.insert(0, ' ');
        }
        Ok(Edit::new(node.range.clone(), text))
    }

    /// The comment on the header line of a block scalar.
    fn header_comment(&self, node: &Node) -> Option<&str> {
        let header = self.read.text[node.range.clone()].lines().next()?;
        header.find(" #").map(|i| header[i..].trim())
    }

    /// Makes `edits`, reads the result with both parsers, and compares it with `expect` made on the
    /// value that was read before.
    pub(crate) fn apply(
        &self,
        edits: &[Edit],
        expect: impl FnOnce(&mut Value) -> bool,
    ) -> Result<String> {
        let mismatch = |what: &str| {
            let offset = edits.first().map_or(0, |e| e.range.start);
            Diagnostic::new(
                Code::EditMismatch,
                format!("the edit at this place {what}"),
                "report the shape of the file; nothing was written",
            )
            .at(self.place_at(offset))
        };
        let mut expected = self.read.value.clone();
        if !expect(&mut expected) {
            return Err(mismatch("has no counterpart in the parsed value"));
        }
        let text =
            splice(&self.read.text, edits).ok_or_else(|| mismatch("overlaps another edit"))?;
        let after = Document::parse(&text, &self.file)
            .map_err(|_| mismatch("gives a file that cannot be read"))?;
        if *after.value() != expected {
            return Err(mismatch("changes more, or less, than it should"));
        }
        Ok(text)
    }
}

/// Sets (or with `None` removes) what stands at `path`. False when the path does not exist.
pub(crate) fn set_value(value: &mut Value, path: &[Step], new: Option<Value>) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    let mut parent = value;
    for step in parents {
        let next = match step {
            Step::Key(key) => parent.get_mut(*key),
            Step::Index(i) => parent.get_mut(*i),
        };
        match next {
            Some(child) => parent = child,
            None => return false,
        }
    }
    match (last, parent, new) {
        (Step::Key(key), Value::Mapping(map), Some(new)) => {
            map.insert(Value::from(*key), new);
            true
        }
        (Step::Key(key), Value::Mapping(map), None) => map.shift_remove(*key).is_some(),
        (Step::Index(i), Value::Sequence(items), Some(new)) => {
            items.get_mut(*i).is_some_and(|item| {
                *item = new;
                true
            })
        }
        _ => false,
    }
}

/// The document as `serde_yaml` reads it; it does not take a byte order mark.
fn second_opinion(text: &str, file: &str) -> Result<Value> {
    serde_yaml::from_str(text.strip_prefix('\u{feff}').unwrap_or(text)).map_err(|e| {
        let place = e.location().map_or_else(
            || Place::start_of(file),
            |l| Place {
                file: file.to_owned(),
                line: l.line(),
                column: l.column(),
            },
        );
        Diagnostic::new(
            Code::YamlSyntax,
            "this is not valid YAML to the second parser",
            "correct the file on the node, then take the snapshot again",
        )
        .at(place)
    })
}

/// Whether both parsers read the same; the error is the offset where they do not.
fn agree(node: &Node, value: &Value) -> Result<(), usize> {
    let here = node.range.start;
    let same = match (&node.kind, value) {
        (Kind::Sequence { items, .. }, Value::Sequence(values)) => {
            for (item, value) in items.iter().zip(values) {
                agree(item, value)?;
            }
            items.len() == values.len()
        }
        (Kind::Mapping { entries, .. }, Value::Mapping(map)) => {
            for (entry, (key, value)) in entries.iter().zip(map) {
                agree(&entry.key, key)?;
                agree(&entry.value, value)?;
            }
            entries.len() == map.len()
        }
        (Kind::Scalar { value: text, .. }, Value::String(string)) => text == string,
        (Kind::Scalar { .. }, Value::Null) => node.is_null(),
        (Kind::Scalar { style, .. }, Value::Bool(_) | Value::Number(_)) => *style == Style::Plain,
        _ => false,
    };
    if same { Ok(()) } else { Err(here) }
}

fn shape(file: &str, text: &str, offset: usize, reason: impl Into<String>) -> Diagnostic {
    Diagnostic::new(
        Code::ManifestShape,
        reason,
        "write it out in plain block YAML on the node, then take the snapshot again",
    )
    .at(Place::at(file, text, offset))
}

/// A collection that is still open while events come in.
enum Open {
    Sequence {
        start: usize,
        flow: bool,
        items: Vec<Node>,
    },
    Mapping {
        start: usize,
        flow: bool,
        entries: Vec<Entry>,
        key: Option<Node>,
        names: HashSet<String>,
    },
}

/// Builds the tree from events.
struct Builder<'a> {
    text: &'a str,
    file: &'a str,
    open: Vec<Open>,
    root: Option<Node>,
    /// Where the last token ended; headers of block scalars are searched from here.
    last_end: usize,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str, file: &'a str) -> Builder<'a> {
        Builder {
            text,
            file,
            open: Vec::new(),
            root: None,
            last_end: 0,
        }
    }

    fn shape(&self, offset: usize, reason: &str) -> Diagnostic {
        shape(self.file, self.text, offset, reason)
    }

    fn run(mut self) -> Result<Node> {
        let mut options = Options::default();
        options.set_emit_comments(false);
        options.block_scalar_eof_without_line_feed = true;
        options.emit_unresolved_aliases = true;
        for event in Parser::new_from_str_with_options(self.text, options) {
            let (event, span) = event.map_err(|e| self.syntax(&e))?;
            // Events of a text always have byte ranges.
            let range = span.byte_range().unwrap_or(0..0);
            if let Some(tag) = span.tag_start() {
                return Err(self.shape(tag.byte_offset().unwrap_or(range.start), "a YAML tag"));
            }
            if event.tag().is_some() {
                return Err(self.shape(range.start, "a YAML tag"));
            }
            if event.anchor_id().is_some_and(|id| id != 0) {
                return Err(self.shape(range.start, "a YAML anchor"));
            }
            self.event(event, range)?;
        }
        self.root.ok_or_else(|| {
            Diagnostic::new(
                Code::ManifestShape,
                "the file holds no document",
                "take the snapshot again",
            )
            .at(Place::start_of(self.file))
        })
    }

    fn syntax(&self, error: &granit_parser::ScanError) -> Diagnostic {
        let offset = error.marker().byte_offset().unwrap_or(0);
        Diagnostic::new(
            Code::YamlSyntax,
            "this is not valid YAML",
            "correct the file on the node, then take the snapshot again",
        )
        .at(Place::at(self.file, self.text, offset))
    }

    fn event(&mut self, event: Event, range: Range<usize>) -> Result<()> {
        match event {
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                return Err(self.shape(range.start, "a YAML alias"));
            }
            Event::DocumentStart(..) if self.root.is_some() => {
                return Err(self.shape(range.start, "a second document in one file"));
            }
            Event::DocumentStart(explicit, _) => {
                if explicit {
                    self.last_end = range.end;
                }
                return Ok(());
            }
            Event::Scalar(value, style, ..) => {
                let node = self.scalar(&value, style, &range)?;
                self.last_end = node.full_end;
                return self.close(node);
            }
            Event::SequenceStart(style, ..) => self.open.push(Open::Sequence {
                start: range.start,
                flow: style == StructureStyle::Flow,
                items: Vec::new(),
            }),
            Event::MappingStart(style, ..) => self.open.push(Open::Mapping {
                start: range.start,
                flow: style == StructureStyle::Flow,
                entries: Vec::new(),
                key: None,
                names: HashSet::new(),
            }),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let node = self.collection(open, &range);
                    self.last_end = self.last_end.max(node.range.end);
                    return self.close(node);
                }
            }
            _ => return Ok(()),
        }
        self.last_end = self.last_end.max(range.end);
        Ok(())
    }

    fn in_flow(&self) -> bool {
        match self.open.last() {
            Some(Open::Sequence { flow, .. } | Open::Mapping { flow, .. }) => *flow,
            None => false,
        }
    }

    fn scalar(&self, value: &str, style: ScalarStyle, range: &Range<usize>) -> Result<Node> {
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::Single,
            ScalarStyle::DoubleQuoted => Style::Double,
            ScalarStyle::Literal => Style::Literal,
            ScalarStyle::Folded => Style::Folded,
        };
        let (spelled, full_end) = if style.is_block() {
            let header = self.block_header().ok_or_else(|| {
                self.shape(range.start, "a block scalar whose header was not found")
            })?;
            let block = &self.text[header..range.end.max(header)];
            // The parser's range may reach into the indentation of the next line.
            let full = block.trim_end_matches([' ', '\t']);
            let full = if full.ends_with('\n') { full } else { block };
            (header..header + block.trim_end().len(), header + full.len())
        } else {
            (range.clone(), range.end)
        };
        // The parser gives `~` for a value that was left out.
        let value = if spelled.is_empty() {
            String::new()
        } else {
            value.to_owned()
        };
        Ok(Node {
            kind: Kind::Scalar { value, style },
            range: spelled,
            in_flow: self.in_flow(),
            full_end,
        })
    }

    /// The offset of the `|` or `>` of the block scalar that follows the last token: only
    /// indicators, blanks and comments lie between.
    fn block_header(&self) -> Option<usize> {
        let mut rest = self.last_end;
        let bytes = self.text.as_bytes();
        while let Some(&b) = bytes.get(rest) {
            match b {
                b'|' | b'>' => return Some(rest),
                b'#' => rest += self.text[rest..].find('\n')?,
                b' ' | b'\t' | b'\r' | b'\n' | b':' | b'-' | b'?' => rest += 1,
                _ => return None,
            }
        }
        None
    }

    fn collection(&self, open: Open, end: &Range<usize>) -> Node {
        let in_flow = self.in_flow();
        let (start, flow, last) = match &open {
            Open::Sequence { start, flow, items } => (*start, *flow, items.last()),
            Open::Mapping {
                start,
                flow,
                entries,
                ..
            } => (*start, *flow, entries.last().map(|e| &e.value)),
        };
        // A block collection ends where its last child does; the parser says where the next token is.
        let (range_end, full_end) = if flow {
            (end.end, end.end)
        } else {
            last.map_or((start, start), |n| (n.range.end, n.full_end))
        };
        let kind = match open {
            Open::Sequence { items, .. } => Kind::Sequence { items, flow },
            Open::Mapping { entries, .. } => Kind::Mapping { entries, flow },
        };
        Node {
            kind,
            range: start..range_end,
            in_flow,
            full_end,
        }
    }

    /// Puts a finished node into what is open.
    fn close(&mut self, node: Node) -> Result<()> {
        let (text, file) = (self.text, self.file);
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::Sequence { items, .. }) => items.push(node),
            Some(Open::Mapping {
                entries,
                key,
                names,
                ..
            }) => {
                if let Some(key) = key.take() {
                    let value = after_colon(text, &key, node);
                    entries.push(Entry { key, value });
                } else {
                    check_key(&node, names)
                        .map_err(|reason| shape(file, text, node.range.start, reason))?;
                    *key = Some(node);
                }
            }
        }
        Ok(())
    }
}

/// A value that was left out, moved from the end of its key, where the parser puts it, to after the
/// colon, where a value would go.
fn after_colon(text: &str, key: &Node, mut value: Node) -> Node {
    if value.range.is_empty() && value.as_str().is_some() {
        let rest = &text[key.range.end..];
        if let Some(after) = rest.trim_start_matches([' ', '\t']).strip_prefix(':') {
            let at = text.len() - after.len();
            value.range = at..at;
            value.full_end = at;
        }
    }
    value
}

fn check_key(node: &Node, before: &mut HashSet<String>) -> Result<(), &'static str> {
    let Some(name) = node.as_str() else {
        return Err("a key that is not a scalar");
    };
    if name == "<<" && node.style() == Some(Style::Plain) {
        return Err("a merge key");
    }
    if node.style().is_some_and(Style::is_block) {
        return Err("a key that is a block scalar");
    }
    if !before.insert(name.to_owned()) {
        return Err("a key that stands twice in one map");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (Code, String) {
        let e = Document::parse(text, "f").unwrap_err();
        (e.code, e.place.unwrap().to_string())
    }

    #[test]
    fn what_cannot_be_edited_safely_is_refused_at_its_place() {
        let shape = |place: &str| (Code::ManifestShape, place.to_owned());
        assert_eq!(refused("a: &x 1\nb: 2\n"), shape("f:1:7"));
        assert_eq!(refused("a: 1\nb: *x\n"), shape("f:2:4"));
        assert_eq!(refused("a: 1\n---\nb: 1\n"), shape("f:2:1"));
        assert_eq!(refused("a: 1\nb: 1\na: 2\n"), shape("f:3:1"));
        assert_eq!(refused("b: !!str 1\n"), shape("f:1:4"));
        assert_eq!(refused("c:\n  <<: {a: 1}\n"), shape("f:2:3"));
        assert_eq!(refused("? [a]\n: b\n"), shape("f:1:3"));
        assert_eq!(refused("# nothing\n"), shape("f:1:1"));
        assert_eq!(refused("a:\n\tb: 1\n").0, Code::YamlSyntax);
        assert_eq!(refused("a: [1\nb: 2\n").0, Code::YamlSyntax);
        assert_eq!(refused("a: x\u{2028}y\n").0, Code::YamlSyntax);
    }

    #[test]
    fn nodes_know_the_bytes_that_spell_them() {
        let text = "\u{feff}a: b # c\nl: |- # why\n\n   x\n   y\n\nq: 'it''s'\ne:\nj: {\"k\": [1, \"z\"]}\n";
        let doc = Document::parse(text, "f").unwrap();
        let spelled = |path: &[Step]| &text[doc.root().at(path).unwrap().range.clone()];
        assert_eq!(spelled(&[Step::Key("a")]), "b");
        assert_eq!(spelled(&[Step::Key("l")]), "|- # why\n\n   x\n   y");
        assert_eq!(spelled(&[Step::Key("q")]), "'it''s'");
        assert_eq!(spelled(&[Step::Key("e")]), "");
        assert_eq!(spelled(&[Step::Key("j")]), "{\"k\": [1, \"z\"]}");
        assert_eq!(
            spelled(&[Step::Key("j"), Step::Key("k"), Step::Index(1)]),
            "\"z\""
        );
    }

    #[test]
    fn a_replaced_scalar_keeps_its_style_and_its_neighbours() {
        for (before, after) in [
            ("a: b # c\r\nz: 1", "a: /n w # c\r\nz: 1"),
            ("a: 'b'\n", "a: '/n w'\n"),
            ("{\"a\":\"b\"}", "{\"a\":\"/n w\"}"),
            ("a: |\n  b\n  c\n# end\n", "a: /n w\n# end\n"),
            ("a: >- # why\n  b\n\nz: 1\n", "a: /n w # why\n\nz: 1\n"),
            ("a:\nz: 1\n", "a: /n w\nz: 1\n"),
            ("a: b\n  c\nz: 1\n", "a: /n w\nz: 1\n"),
            ("a: \"b\\\n  c\"\nz: 1\n", "a: \"/n w\"\nz: 1\n"),
        ] {
            let doc = Document::parse(before, "f").unwrap();
            assert_eq!(doc.set_scalar(&[Step::Key("a")], "/n w").unwrap(), after);
        }
    }

    #[test]
    fn hostile_nesting_is_an_error_and_not_a_crash() {
        for text in [
            "[".repeat(100_000),
            "- ".repeat(100_000),
            "{a: ".repeat(50_000),
            "? ".repeat(50_000),
        ] {
            assert_eq!(refused(&text).0, Code::YamlSyntax);
        }
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert_eq!(refused(&deep).0, Code::YamlSyntax);
    }

    #[test]
    fn overlapping_edits_are_not_made() {
        assert_eq!(
            splice("abc", &[Edit::new(0..2, ""), Edit::new(1..3, "")]),
            None
        );
        assert_eq!(
            splice("abc", &[Edit::new(2..3, "z"), Edit::new(0..1, "x")]).unwrap(),
            "xbz"
        );
    }
}
