//! The only part of carota that writes: the keyring and private files first, then the lock, then the
//! plan in one exchange of directories. Whatever is interrupted, the old plan stays whole and no key
//! that something was signed with is lost.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::Plan;
use crate::diagnostic::{Code, Diagnostic, Result};
use crate::pki::PrivateText;

/// Where a plan is made before it takes its place.
const MAKING: &str = ".carota-plan";

fn failed(what: &str, error: &io::Error) -> Diagnostic {
    Diagnostic::new(
        Code::OutputFailed,
        format!("{what}: {error}"),
        "see that there is space and permission, then compile again; the old plan is whole",
    )
}

/// Refuses an output directory that carota did not write. Called before anything is issued.
pub fn check_output(folder: &Path) -> Result<()> {
    let plan = folder.join("plan");
    let exists = fs::symlink_metadata(&plan).is_ok();
    let ours = fs::read_to_string(plan.join("plan.json"))
        .is_ok_and(|text| text.starts_with("{\n  \"carota\": "))
        && plan.join("SHA256SUMS").is_file();
    let empty = fs::read_dir(&plan).is_ok_and(|mut entries| entries.next().is_none());
    if !exists || ours || empty {
        return Ok(());
    }
    Err(Diagnostic::new(
        Code::OutputForeign,
        "there is a plan/ here that carota did not write",
        "move it away, and compile again",
    ))
}

/// Writes keyring files that are not there yet, and `secrets/nodes/` as the plan wants it.
pub fn secrets(folder: &Path, keyring: &[(String, PrivateText)], plan: &Plan) -> Result<()> {
    if keyring.is_empty() && plan.secrets.is_empty() {
        return Ok(());
    }
    let root = folder.join("secrets");
    let write = || -> io::Result<()> {
        private_folder(&root)?;
        put(&root.join(".gitignore"), b"*\n", 0o600)?;
        for (path, text) in keyring {
            put_private(&root, path, text)?;
        }
        for (path, text) in &plan.secrets {
            put_private(&root, path, text)?;
        }
        if plan.missing_secrets.is_empty() {
            remove_stale(&root.join("nodes"), &root, plan)?;
        }
        Ok(())
    };
    write().map_err(|e| failed("the private files could not be written", &e))
}

/// Writes the lock.
pub fn lock(folder: &Path, text: &str) -> Result<()> {
    put(&folder.join("carota.lock"), text.as_bytes(), 0o644)
        .map_err(|e| failed("carota.lock could not be written", &e))
}

/// Writes the plan beside its place, then exchanges it with what is there.
pub fn plan(folder: &Path, plan: &Plan) -> Result<()> {
    let making = folder.join(MAKING);
    let place = folder.join("plan");
    let write = || -> io::Result<()> {
        if making.exists() {
            fs::remove_dir_all(&making)?;
        }
        fs::create_dir(&making)?;
        let mut folders = BTreeSet::new();
        for (path, file) in &plan.files {
            let folder = Path::new(path).parent().unwrap_or(Path::new(""));
            if folders.insert(folder) {
                fs::create_dir_all(making.join(folder))?;
            }
            let mode = if file.executable { 0o755 } else { 0o644 };
            let mut out = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(making.join(path))?;
            out.write_all(file.text.as_bytes())?;
            // Whatever the umask is, the plan's modes are the same.
            out.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        exchange(&making, &place)
    };
    write().map_err(|e| failed("plan/ could not be written", &e))
}

/// Puts `new` in the place of `old` at once, and removes what was there.
fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    if !old.exists() {
        return fs::rename(new, old);
    }
    if renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE).is_ok() {
        return fs::remove_dir_all(new);
    }
    // Not every file system can exchange: then there is a moment without plan/, and the old one is
    // kept beside it until the new one is in place.
    let aside = new.with_extension("old");
    if aside.exists() {
        fs::remove_dir_all(&aside)?;
    }
    fs::rename(old, &aside)?;
    fs::rename(new, old)?;
    fs::remove_dir_all(aside)
}

fn private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

fn put_private(root: &Path, path: &str, text: &PrivateText) -> io::Result<()> {
    let at = root.join(path);
    if let Some(parent) = at.parent() {
        private_folder(parent)?;
    }
    if fs::read(&at).is_ok_and(|now| now == text.expose().as_bytes()) {
        return Ok(());
    }
    put(&at, text.expose().as_bytes(), 0o600)
}

/// Writes a file whole or not at all.
fn put(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut making = PathBuf::from(path).into_os_string();
    making.push(".carota-new");
    let making = PathBuf::from(making);
    let _ = fs::remove_file(&making);
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&making)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&making, path)
}

/// Private files of an earlier compile that this plan has no use for.
fn remove_stale(folder: &Path, root: &Path, plan: &Plan) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            remove_stale(&path, root, plan)?;
            let _ = fs::remove_dir(&path);
        } else if let Some(relative) = path.strip_prefix(root).ok().and_then(Path::to_str)
            && !plan.secrets.contains_key(relative)
        {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
