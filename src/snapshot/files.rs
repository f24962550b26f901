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
use crate::edit::kubeconfig::{Kubeconfig, looks_like_kubeconfig};
use crate::input::MAX_FILE;
use crate::names::{NodeName, NodePath};
use crate::spec::Role;
use crate::state::{Entry, File, Node, Texts};

/// The first line of every FILES begins so.
const HEADER: &str = "# carota snapshot 1\t";

/// Reads `nodes/<node>`.
pub fn read_node(folder: &Path, name: &NodeName, role: Role, texts: &Mutex<Texts>) -> Result<Node> {
    let root = folder.join("nodes").join(name.as_str());
    let label = format!("snapshot/nodes/{name}/FILES");
    let table = read_text(&root.join("FILES"), &label, MAX_FILE)?;
    let header = table.lines().next().unwrap_or_default();
    if header != format!("{HEADER}{name}") {
        return Err(shape(
            &label,
            1,
            "FILES does not begin with this node's header",
        ));
    }
    let mut files = BTreeMap::new();
    let mut listed = BTreeSet::new();
    for (index, line) in table.lines().enumerate().skip(1) {
        let (encoded, path, entry) = read_entry(&root, name, (&label, index + 1), line, texts)?;
        if let Some(encoded) = encoded {
            listed.insert(encoded);
        }
        if files.insert(path, entry).is_some() {
            return Err(shape(&label, index + 1, "the path stands twice in FILES"));
        }
    }
    refuse_unlisted(&root, &root, name, &listed)?;
    let files = files.into();
    Ok(Node { role, files })
}

fn shape(label: &str, line: usize, why: &str) -> Diagnostic {
    Diagnostic::new(
        Code::SnapshotShape,
        why,
        "take the snapshot of this node again",
    )
    .at(Place {
        file: label.to_owned(),
        line,
        column: 1,
    })
}

/// One line of FILES: the stored path of a regular file, the path on the node, and what is there.
fn read_entry(
    root: &Path,
    name: &NodeName,
    (label, number): (&str, usize),
    line: &str,
    texts: &Mutex<Texts>,
) -> Result<(Option<String>, NodePath, Entry)> {
    let bad = |why: &str| shape(label, number, why);
    let columns: Vec<&str> = line.split('\t').collect();
    let ([kind @ ("f" | "x"), hash, mode, owner, stored]
    | [kind @ "l", hash, mode, owner, stored, _]) = columns[..]
    else {
        return Err(bad(
            "a line of FILES does not have the form of the collector",
        ));
    };
    let path = decode(stored)
        .and_then(|p| NodePath::new(&p).ok())
        .ok_or_else(|| {
            Diagnostic::new(
                Code::HostileName,
                "a path on the node holds control characters or leaves its place",
                "rename the file on the node, and take the snapshot again",
            )
            .at(Place {
                file: label.to_owned(),
                line: number,
                column: 1,
            })
        })?;
    let owner_ok = owner.split_once(':').is_some_and(|(u, g)| {
        [u, g]
            .iter()
            .all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    });
    if !owner_ok {
        return Err(bad("an owner is two numbers, uid:gid"));
    }
    if kind == "l" {
        let target = decode(columns[5]).ok_or_else(|| bad("a link's target is damaged"))?;
        return Ok((None, path, Entry::Link(target.into())));
    }
    if kind == "x" {
        return Ok((None, path, Entry::Withheld));
    }
    let mode = u32::from_str_radix(mode, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| bad("a mode is four octal digits"))?;
    let file_label = format!("snapshot/nodes/{name}{path}");
    let text = read_text(&root.join(&stored[1..]), &file_label, MAX_FILE)?;
    check_public_file(&text, &file_label)?;
    let kept = text.contains("carota-kept:");
    if !kept && hash != "-" && hash != sha256(&text) {
        return Err(Diagnostic::new(
            Code::SnapshotTampered,
            "the file is not the one that FILES records: its hash differs",
            "restore it, or take the snapshot of this node again",
        )
        .at(Place::start_of(&file_label)));
    }
    let file = File {
        text: once(texts, &text),
        mode,
        owner: once(texts, owner),
    };
    Ok((Some(stored[1..].to_owned()), path, Entry::File(file)))
}

/// Undoes the collector's percent-encoding. None for a damaged one.
fn decode(text: &str) -> Option<String> {
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
    if let Some((at, _)) = text
        .match_indices(ENCODED_BEGIN)
        .find(|(at, _)| encodes_private_key(&text[*at..]))
    {
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

/// The base64 of `-----BEGIN `, as far as whole characters go.
const ENCODED_BEGIN: &str = "LS0tLS1CRUdJTi";

/// Whether a run of base64 at the start of `text` is a PEM text with a private key.
fn encodes_private_key(text: &str) -> bool {
    let run = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "+/".contains(c)))
        .map_or(text, |end| &text[..end]);
    BASE64
        .decode(&run[..run.len() / 4 * 4])
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
fn refuse_unlisted(
    root: &Path,
    folder: &Path,
    name: &NodeName,
    listed: &BTreeSet<String>,
) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|e| {
        Diagnostic::new(
            Code::FileUnreadable,
            format!("a folder of the snapshot cannot be read: {}", e.kind()),
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
            refuse_unlisted(root, &path, name, listed)?;
        } else if relative != "FILES" && !listed.contains(&relative) {
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
        check_public("a PUBLIC KEY----- and PRIVATE KEY----- in words", "f").unwrap();
    }
}
