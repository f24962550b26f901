//! Reading one text file that somebody gave: regular, of a sane size, UTF-8, or an error with its
//! place. Knows nothing of what is in it, and quotes nothing of it.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use crate::diagnostic::{Code, Diagnostic, Place, Result};

/// No file of a cluster's configuration is larger, in bytes; the collector withholds what is.
pub const MAX_FILE: u64 = 4 << 20;

/// No list of a large cluster's objects is larger, in bytes.
pub const MAX_LIST: u64 = 512 << 20;

/// No lock is larger, in bytes: one of five thousand nodes has seven million.
pub const MAX_LOCK: u64 = 64 << 20;

/// Why something on this machine could not be read or made, in words for people.
#[must_use]
pub fn why(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file or folder".to_owned(),
        ErrorKind::AlreadyExists => "it exists already".to_owned(),
        other => other.to_string(),
    }
}

/// Reads a text file of at most `limit` bytes. `label` is its name in messages, `remedy` what to do
/// if it cannot be read.
pub fn read_text(path: &Path, label: &str, limit: u64, remedy: &str) -> Result<String> {
    read_looked_at(path, fs::metadata(path), label, limit, remedy)
}

/// The same for a file that must not be a link, which could lead anywhere.
pub fn read_text_no_link(path: &Path, label: &str, limit: u64, remedy: &str) -> Result<String> {
    read_looked_at(path, fs::symlink_metadata(path), label, limit, remedy)
}

fn read_looked_at(
    path: &Path,
    meta: io::Result<Metadata>,
    label: &str,
    limit: u64,
    remedy: &str,
) -> Result<String> {
    let unreadable = |reason: String| {
        Diagnostic::new(Code::FileUnreadable, reason, remedy).at(Place::start_of(label))
    };
    let failed = |e: io::Error| {
        unreadable(match e.kind() {
            ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => format!("the file cannot be read: {}", why(&e)),
        })
    };
    // Looked at before it is opened: opening a pipe waits for its writer.
    let meta = meta.map_err(failed)?;
    if meta.is_symlink() {
        let why = "this is a symbolic link, not a regular file";
        return Err(unreadable(why.into()));
    }
    if !meta.is_file() {
        return Err(unreadable("this is not a regular file".into()));
    }
    if meta.len() > limit {
        return Err(unreadable(format!(
            "the file has {} bytes, more than the {limit} that are read",
            meta.len()
        )));
    }
    // One byte more, so that the end is found without asking for room.
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len() + 1).unwrap_or_default());
    let file = File::open(path).map_err(failed)?;
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    String::from_utf8(bytes).map_err(|e| {
        let valid = e.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&e.as_bytes()[..valid]).into_owned();
        unreadable("the file is not UTF-8 text".into()).at(Place::at(label, &text, valid))
    })
}

/// The same for a file that may be absent.
pub fn read_text_if_any(
    path: &Path,
    label: &str,
    limit: u64,
    remedy: &str,
) -> Result<Option<String>> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        _ => read_text(path, label, limit, remedy).map(Some),
    }
}
