//! The only part of carota that writes: the plan beside its place, then the keyring and private files,
//! then the lock, then the plan into its place by one exchange of directories. Whatever is
//! interrupted, the old plan stays whole and no key that something was signed with is lost.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::Plan;
use crate::diagnostic::{Code, Diagnostic, Place, Result};
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

/// Refuses an output directory that carota did not write, or not alone. Called before anything is
/// issued.
pub fn check_output(folder: &Path) -> Result<()> {
    let plan = folder.join("plan");
    let Ok(meta) = fs::symlink_metadata(&plan) else {
        return Ok(());
    };
    let foreign = |reason: String| {
        Err(Diagnostic::new(
            Code::OutputForeign,
            reason,
            "move it away, and compile again",
        )
        .at(Place::start_of("plan")))
    };
    if meta.is_dir() && fs::read_dir(&plan).is_ok_and(|mut entries| entries.next().is_none()) {
        return Ok(());
    }
    let ours = fs::read_to_string(plan.join("plan.json"))
        .is_ok_and(|text| text.starts_with("{\n  \"carota\": "));
    let sums = fs::read_to_string(plan.join("SHA256SUMS")).unwrap_or_default();
    if !meta.is_dir() || !ours || sums.is_empty() {
        return foreign("there is a plan/ here that carota did not write".into());
    }
    let mut listed: BTreeSet<&str> = sums
        .lines()
        .filter_map(|line| line.split_once("  ./").map(|(_, path)| path))
        .collect();
    listed.insert("SHA256SUMS");
    match first_unlisted(&plan, &plan, &listed) {
        None => Ok(()),
        Some(path) => foreign(format!("plan/{path} was not written by carota")),
    }
}

/// The first file below `folder` that is not listed.
fn first_unlisted(root: &Path, folder: &Path, listed: &BTreeSet<&str>) -> Option<String> {
    let entries = fs::read_dir(folder).ok()?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    paths.into_iter().find_map(|path| {
        if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            return first_unlisted(root, &path, listed);
        }
        let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy();
        (!listed.contains(&*relative)).then(|| relative.into_owned())
    })
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

/// A plan that is whole, beside its place. Dropped before it is put there, it leaves nothing behind.
pub struct Staged {
    making: PathBuf,
    place: PathBuf,
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.making);
    }
}

/// Writes the plan beside its place. Nothing that was there before is touched.
pub fn stage(folder: &Path, plan: &Plan) -> Result<Staged> {
    let failed = |e: io::Error| failed("plan/ could not be written", &e);
    let making = folder.join(MAKING);
    // What an interrupted compile left.
    if fs::symlink_metadata(&making).is_ok_and(|meta| meta.is_dir()) {
        fs::remove_dir_all(&making).map_err(failed)?;
    }
    fs::create_dir(&making).map_err(failed)?;
    let staged = Staged {
        making,
        place: folder.join("plan"),
    };
    write_files(&staged.making, plan).map_err(failed)?;
    Ok(staged)
}

fn write_files(root: &Path, plan: &Plan) -> io::Result<()> {
    let mut folders = BTreeSet::new();
    for (path, file) in &plan.files {
        let folder = Path::new(path).parent().unwrap_or(Path::new(""));
        if folders.insert(folder) {
            fs::create_dir_all(root.join(folder))?;
        }
        let mode = if file.executable { 0o755 } else { 0o644 };
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(root.join(path))?;
        out.write_all(file.text.as_bytes())?;
        // Whatever the umask is, the plan's modes are the same.
        out.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

impl Staged {
    /// Exchanges the plan with what is in its place.
    pub fn put_in_place(self) -> Result<()> {
        exchange(&self.making, &self.place).map_err(|e| failed("plan/ could not be replaced", &e))
    }
}

/// Puts `new` in the place of `old` at once. What was there is then at `new`, or nothing is.
fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    if fs::symlink_metadata(old).is_err() {
        return fs::rename(new, old);
    }
    if renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE).is_ok() {
        return Ok(());
    }
    // Not every file system can exchange: then there is a moment without plan/, and the old one is
    // kept beside it until the new one is in place.
    let aside = new.with_extension("old");
    if aside.exists() {
        fs::remove_dir_all(&aside)?;
    }
    fs::rename(old, &aside)?;
    if let Err(error) = fs::rename(new, old) {
        fs::rename(&aside, old)?;
        return Err(error);
    }
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

/// Writes a file that holds private keys, whole or not at all, through the `age` program if there is
/// anybody to encrypt it for.
pub fn private_file(path: &Path, bytes: &[u8], recipients: &[String]) -> Result<()> {
    let written = if recipients.is_empty() {
        put(path, bytes, 0o600)
    } else {
        put_encrypted(path, bytes, recipients)
    };
    written.map_err(|e| {
        Diagnostic::new(
            Code::OutputFailed,
            format!("{} could not be written: {e}", path.display()),
            "see that its folder exists, and that there is space and permission",
        )
    })
}

fn put_encrypted(path: &Path, bytes: &[u8], recipients: &[String]) -> io::Result<()> {
    let making = making(path);
    let written = encrypt(&making, bytes, recipients).and_then(|()| fs::rename(&making, path));
    if written.is_err() {
        let _ = fs::remove_file(&making);
    }
    written
}

fn encrypt(to: &Path, bytes: &[u8], recipients: &[String]) -> io::Result<()> {
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    let mut age = Command::new("age")
        .args(recipients.iter().flat_map(|r| ["-r", r]))
        .stdin(Stdio::piped())
        .stdout(file.try_clone()?)
        .spawn()
        .map_err(|e| io::Error::new(e.kind(), format!("the age program does not start: {e}")))?;
    let given = age.stdin.take().map(|mut to| to.write_all(bytes));
    if !age.wait()?.success() {
        return Err(io::Error::other("age failed, see above"));
    }
    given.transpose()?;
    file.sync_all()
}

/// Where a file is made before it takes its place; what a killed run left there is removed.
fn making(path: &Path) -> PathBuf {
    let mut making = PathBuf::from(path).into_os_string();
    making.push(".carota-new");
    let making = PathBuf::from(making);
    let _ = fs::remove_file(&making);
    making
}

/// Writes a file whole or not at all.
fn put(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut making = PathBuf::from(path).into_os_string();
    making.push(".carota-new");
    let making = PathBuf::from(making);
    let _ = fs::remove_file(&making);
    let write = || -> io::Result<()> {
        let mut file: File = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&making)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&making, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&making);
    })
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
