//! A node's files and users' kubeconfigs. `FILES` says what there is; what it does not say must not
//! be there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{once, read_text};
use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::digest::sha256;
use crate::edit::KEPT;
use crate::edit::kubeconfig::{Kubeconfig, looks_like_kubeconfig};
use crate::input::{MAX_FILE, why};
use crate::names::{NodeName, NodePath};
use crate::spec::Role;
use crate::state::{Entry, File, Node, Texts};

/// The first line of FILES, of a node or a set.
pub fn header(name: &str) -> String {
    format!("# carota snapshot 1\t{name}\n")
}

/// A line of FILES, and the content of the regular file that it lists.
#[derive(PartialEq, Eq)]
pub struct Line {
    /// The line.
    pub line: String,
    /// The content.
    pub text: Option<Arc<str>>,
}

impl Line {
    /// Where the content lies in the folder.
    pub fn stored(&self) -> Option<&str> {
        self.text.as_ref()?;
        self.line.split('\t').nth(4)?.strip_prefix('/')
    }
}

/// The lines of FILES of a node or a set, with the content of the files.
pub fn lines_of(folder: &Path, name: &str) -> Result<Vec<Line>> {
    let root = folder.join("nodes").join(name);
    let label = format!("snapshot/nodes/{name}/FILES");
    refuse_link(&root, &format!("snapshot/nodes/{name}"))?;
    let table = read_text(&root.join("FILES"), &label, MAX_FILE)?;
    if table.split_inclusive('\n').next() != Some(&header(name)) {
        let why = "FILES does not begin with the header of its folder";
        return Err(shape(&label, 1, why));
    }
    let lines = table.lines().enumerate().skip(1).map(|(index, line)| {
        let at = (&label[..], index + 1);
        let [_, _, _, stored, _] = columns(line, at)?;
        let path = path(stored, at)?;
        let read = || {
            let label = format!("snapshot/nodes/{name}{path}");
            read_text(&root.join(&stored[1..]), &label, MAX_FILE)
        };
        Ok(Line {
            line: line.to_owned(),
            text: line.starts_with('f').then(read).transpose()?.map(Arc::from),
        })
    });
    lines.collect()
}

/// A folder that is a link could lead out of the snapshot.
fn refuse_link(folder: &Path, label: &str) -> Result<()> {
    if fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_symlink()) {
        let why = "this is a symbolic link, not a folder";
        let remedy = "put the folder itself there";
        return Err(Diagnostic::new(Code::FileUnreadable, why, remedy).at(Place::start_of(label)));
    }
    Ok(())
}

/// Reads `nodes/<node>`: the node, and the lines that say so.
pub fn read_node(
    folder: &Path,
    name: &NodeName,
    role: Role,
    texts: &Mutex<Texts>,
) -> Result<(Node, Vec<Line>)> {
    let lines = lines_of(folder, name.as_str())?;
    let label = format!("snapshot/nodes/{name}/FILES");
    let entries = (2..)
        .zip(&lines)
        .map(|(number, line)| line.read(name.as_str(), (&label, number), texts));
    let node = node(role, &label, entries)?;
    let listed = lines.iter().filter_map(Line::stored).collect();
    let root = folder.join("nodes").join(name.as_str());
    refuse_unlisted(&root, name.as_str(), &listed)?;
    Ok((node, lines))
}

/// A node of what the lines of FILES say.
pub fn node(
    role: Role,
    label: &str,
    entries: impl Iterator<Item = Result<(NodePath, Entry)>>,
) -> Result<Node> {
    let mut files = BTreeMap::new();
    for (number, entry) in (2..).zip(entries) {
        let (path, entry) = entry?;
        if files.insert(path, entry).is_some() {
            return Err(shape(label, number, "the path stands twice in FILES"));
        }
    }
    let files = files.into();
    Ok(Node { role, files })
}

fn shape(label: &str, line: usize, why: &str) -> Diagnostic {
    let remedy = "take the snapshot of this node again";
    Diagnostic::new(Code::SnapshotShape, why, remedy).at(line_at(label, line))
}

/// The beginning of a line.
pub fn line_at(label: &str, line: usize) -> Place {
    Place {
        file: label.to_owned(),
        line,
        column: 1,
    }
}

/// The columns of a line of FILES after the kind: hash, mode, owner, stored path, and a link's target.
fn columns<'l>(line: &'l str, (label, number): (&str, usize)) -> Result<[&'l str; 5]> {
    match line.split('\t').collect::<Vec<_>>()[..] {
        ["f" | "x", hash, mode, owner, stored] => Ok([hash, mode, owner, stored, ""]),
        ["l", hash, mode, owner, stored, target] => Ok([hash, mode, owner, stored, target]),
        _ => {
            let why = "a line of FILES does not have the form of the collector";
            Err(shape(label, number, why))
        }
    }
}

/// A stored path as the path on the node.
fn path(stored: &str, (label, number): (&str, usize)) -> Result<NodePath> {
    let decoded = decode(stored).filter(|_| stored.starts_with('/'));
    let path = decoded.and_then(|path| NodePath::new(&path).ok());
    path.ok_or_else(|| {
        Diagnostic::new(
            Code::HostileName,
            "a path on the node holds control characters or leaves its place",
            "rename the file on the node, and take the snapshot again",
        )
        .at(line_at(label, number))
    })
}

impl Line {
    /// The path on the node, and what is there. `name` is that of the node or set, `at` where the line stands.
    pub fn read(
        &self,
        name: &str,
        at: (&str, usize),
        texts: &Mutex<Texts>,
    ) -> Result<(NodePath, Entry)> {
        let bad = |why: &str| shape(at.0, at.1, why);
        let [hash, mode, owner, stored, target] = columns(&self.line, at)?;
        let path = path(stored, at)?;
        let path_text = once(texts, path.as_str());
        let path = path.sharing(&path_text);
        let owner_ok = owner.split_once(':').is_some_and(|(u, g)| {
            [u, g]
                .iter()
                .all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        });
        if !owner_ok {
            return Err(bad("an owner is two numbers, uid:gid"));
        }
        if self.line.starts_with('l') {
            let target = decode(target).ok_or_else(|| bad("a link's target is damaged"))?;
            return Ok((path, Entry::Link(target.into())));
        }
        let Some(text) = &self.text else {
            return Ok((path, Entry::Withheld));
        };
        let mode = u32::from_str_radix(mode, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777)
            .ok_or_else(|| bad("a mode is four octal digits"))?;
        let file_label = format!("snapshot/nodes/{name}{path}");
        check_public_file(text, &file_label)?;
        let kept = text.contains(KEPT);
        if !kept && hash != "-" && hash != sha256(&**text) {
            return Err(Diagnostic::new(
                Code::SnapshotTampered,
                "the file is not the one that FILES records: its hash differs",
                "restore it, or take the snapshot of this node again",
            )
            .at(Place::start_of(&file_label)));
        }
        let file = File {
            text: once(texts, text.clone()),
            mode,
            owner: once(texts, owner),
        };
        Ok((path, Entry::File(file)))
    }
}

/// A text as the collector encodes paths: control characters, `%` and everything that is not ASCII.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Undoes the collector's percent-encoding. None for a damaged one.
pub fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let pair = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// A private value in a snapshot is a disclosure: it stops everything.
pub fn check_public(text: &str, label: &str) -> Result<()> {
    let plain = text.match_indices("PRIVATE KEY-----").find(|(at, _)| {
        let line_start = text[..*at].rfind('\n').map_or(0, |i| i + 1);
        text[line_start..*at].contains("-----BEGIN ")
    });
    if let Some((at, _)) = plain {
        return Err(disclosed("a private key", Place::at(label, text, at)));
    }
    if let Some(at) = encoded_private_key(text) {
        let what = "a private key in base64";
        return Err(disclosed(what, Place::at(label, text, at)));
    }
    Ok(())
}

/// The same for a file, which may be a kubeconfig.
fn check_public_file(text: &str, label: &str) -> Result<()> {
    check_public(text, label)?;
    if !looks_like_kubeconfig(text) {
        return Ok(());
    }
    // What cannot be read is refused, at its place, by whoever needs it.
    let secrets = Kubeconfig::parse(text, label).map(|k| k.plain_secrets());
    match secrets.unwrap_or_default().into_iter().next() {
        Some(place) => Err(disclosed("a key, token or password", place)),
        None => Ok(()),
    }
}

/// The base64 of `---`: in it every PEM text begins, whatever stands before it.
const ENCODED_DASHES: &str = "LS0t";
/// So much base64 holds what is between that and the end of the line.
const ENCODED_HEAD: usize = 80;

/// Where base64 of a PEM text with a private key begins.
fn encoded_private_key(text: &str) -> Option<usize> {
    let mut places = text.match_indices(ENCODED_DASHES).map(|(at, _)| at);
    places.find(|at| encodes_private_key(&text[*at..]))
}

/// Whether base64 at the start of `text`, which may be cut into lines, begins a private key.
fn encodes_private_key(text: &str) -> bool {
    let mut head: Vec<u8> = text
        .bytes()
        .filter(|b| !b.is_ascii_whitespace())
        .take(ENCODED_HEAD)
        .take_while(|b| b.is_ascii_alphanumeric() || b"+/".contains(b))
        .collect();
    head.truncate(head.len() / 4 * 4);
    BASE64
        .decode(&head)
        .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains("PRIVATE KEY-----"))
}

/// The error for a private value. It names the place and never the value.
pub fn disclosed(what: &str, place: Place) -> Diagnostic {
    Diagnostic::new(
        Code::PrivateInSnapshot,
        format!("the file holds {what}"),
        "take the snapshot with `carota collect`; if this was committed, the value is disclosed",
    )
    .at(place)
}

/// Refuses files that FILES does not list: the snapshot was edited, or two were mixed.
pub fn refuse_unlisted(root: &Path, name: &str, listed: &BTreeSet<&str>) -> Result<()> {
    refuse_unlisted_in(root, root, name, listed)
}

fn refuse_unlisted_in(
    root: &Path,
    folder: &Path,
    name: &str,
    listed: &BTreeSet<&str>,
) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|e| {
        Diagnostic::new(
            Code::FileUnreadable,
            format!("a folder of the snapshot cannot be read: {}", why(&e)),
            "check its permissions",
        )
        .at(Place::start_of(&format!("snapshot/nodes/{name}")))
    })?;
    for entry in entries.flatten() {
        let path = entry.path();
        let relative = path
            .strip_prefix(root)
            .ok()
            .and_then(Path::to_str)
            .unwrap_or("\u{fffd}")
            .to_owned();
        let is_folder = entry.file_type().is_ok_and(|t| t.is_dir());
        if is_folder {
            refuse_unlisted_in(root, &path, name, listed)?;
        } else if relative != "FILES" && !listed.contains(&relative[..]) {
            return Err(Diagnostic::new(
                Code::SnapshotTampered,
                "the file is not listed in FILES",
                "remove it, or take the snapshot of this node again",
            )
            .at(Place::start_of(&format!(
                "snapshot/nodes/{name}/{relative}"
            ))));
        }
    }
    Ok(())
}

/// Reads `users/<name>.kubeconfig`.
pub fn read_users(folder: &Path) -> Result<BTreeMap<NodeName, Arc<str>>> {
    let mut out = BTreeMap::new();
    let Ok(entries) = fs::read_dir(folder.join("users")) else {
        return Ok(out);
    };
    for entry in entries.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let label = format!("snapshot/users/{file}");
        let name = file.strip_suffix(".kubeconfig").unwrap_or_default();
        let name = NodeName::new(name).map_err(|why| {
            Diagnostic::new(
                Code::HostileName,
                format!("a user's kubeconfig is named <user>.kubeconfig: {why}"),
                "rename the file, or remove it from snapshot/users",
            )
            .at(Place::start_of(&label))
        })?;
        let text = read_text(&entry.path(), &label, MAX_FILE)?;
        check_public_file(&text, &label)?;
        out.insert(name, text.into());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone_and_damage_is_seen() {
        assert_eq!(decode("/a%20b%25%C3%A9"), Some("/a b%\u{e9}".into()));
        assert_eq!(decode("/a%2"), None);
        assert_eq!(decode("/a%zz"), None);
        assert_eq!(decode("/a%FF"), None);
        for text in ["/a b%\u{e9}", "one\ntwo\t\u{7f}", "%", ""] {
            assert_eq!(decode(&encode(text)).as_deref(), Some(text));
            assert!(!encode(text).contains(char::is_control));
        }
    }

    #[test]
    fn a_private_key_is_found_and_never_quoted() {
        let marker = ["-----BEGIN RSA PRIVATE", " KEY-----\nsecretbody\n"].concat();
        let text = format!("a\n  {marker}");
        let error = check_public(&text, "f").unwrap_err();
        assert_eq!(error.code, Code::PrivateInSnapshot);
        assert!(!error.to_string().contains("secretbody"));
        assert_eq!(error.place.unwrap().line, 2);
        let hidden = format!("a: {}\n", BASE64.encode(&marker));
        let error = check_public(&hidden, "f").unwrap_err();
        assert_eq!(error.place.unwrap().to_string(), "f:1:4");
        for before in ["", "\n", "\n\n", "certificate\n", "certificate\n\n"] {
            let encoded = BASE64.encode(format!("{before}{marker}"));
            for width in [4, 64, 76, encoded.len()] {
                let lines: Vec<&str> = encoded
                    .as_bytes()
                    .chunks(width)
                    .map(|line| std::str::from_utf8(line).unwrap())
                    .collect();
                let text = format!("a: |\n  {}\n", lines.join("\n  "));
                assert!(check_public(&text, "f").is_err(), "{before:?}, {width}");
            }
        }
        check_public("a PUBLIC KEY----- and PRIVATE KEY----- in words", "f").unwrap();
    }
}
