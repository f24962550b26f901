//! The only part of carota that writes: the plan beside its place, then the keyring and private files,
//! then the lock, then the plan into its place by one exchange of directories. Whatever is
//! interrupted, the old plan stays whole and no key that something was signed with is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with, syncfs};

use super::{Plan, PlanFile};
use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::input;
use crate::parallel;
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
    let json = fs::read_to_string(plan.join("plan.json")).unwrap_or_default();
    let ours = serde_json::from_str::<serde_json::Value>(&json)
        .is_ok_and(|json| json.get("carota").is_some_and(serde_json::Value::is_u64));
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
    private(folder, keyring)?;
    let root = folder.join("secrets");
    let write = || -> io::Result<()> {
        // These are made of the keyring and the lock, and made again by the next compile.
        for (path, text) in &plan.secrets {
            put_private(&root, path, text.expose().as_bytes(), Keep::Written)?;
        }
        if plan.missing_secrets.is_empty() {
            remove_stale(&root.join("nodes"), &root, plan)?;
        }
        Ok(())
    };
    write().map_err(|e| private_failed(&e))
}

/// Writes files that exist nowhere else, by path below `secrets/`, where they are not there yet.
pub fn private(folder: &Path, files: &[(String, PrivateText)]) -> Result<()> {
    let root = folder.join("secrets");
    let write = || -> io::Result<()> {
        private_folder(&root)?;
        put_private(&root, ".gitignore", b"*\n", Keep::Written)?;
        files.iter().try_for_each(|(path, text)| {
            put_private(&root, path, text.expose().as_bytes(), Keep::Synced)
        })
    };
    write().map_err(|e| private_failed(&e))
}

/// Removes files below `secrets/` that are of no use any more.
pub fn remove(folder: &Path, paths: &[String]) -> Result<()> {
    let root = folder.join("secrets");
    let remove = |path: &String| match fs::remove_file(root.join(path)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(private_failed(&e)),
        _ => Ok(()),
    };
    paths.iter().try_for_each(remove)
}

fn private_failed(error: &io::Error) -> Diagnostic {
    failed("the private files could not be written", error)
}

/// Writes the lock, unless it is there as it is.
pub fn lock(folder: &Path, text: &str) -> Result<()> {
    let path = folder.join("carota.lock");
    if fs::read(&path).is_ok_and(|now| now == text.as_bytes()) {
        // What a killed run left beside it goes all the same.
        making(&path);
        return Ok(());
    }
    put(&path, text.as_bytes(), 0o644, Keep::Synced)
        .map_err(|e| failed("carota.lock could not be written", &e))
}

/// A plan that is whole, beside its place. Dropped before it is put there, it leaves nothing behind.
pub struct Staged {
    /// None where the very same plan is in its place already.
    making: Option<PathBuf>,
    place: PathBuf,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(making) = &self.making {
            let _ = fs::remove_dir_all(making);
        }
    }
}

/// Writes the plan beside its place. Nothing that was there before is touched, and a plan that is
/// there already, to the last byte and mode, is not written again.
pub fn stage(folder: &Path, plan: &Plan) -> Result<Staged> {
    let failed = |e: io::Error| failed("plan/ could not be written", &e);
    let making = folder.join(MAKING);
    // What an interrupted compile left.
    if fs::symlink_metadata(&making).is_ok_and(|meta| meta.is_dir()) {
        fs::remove_dir_all(&making).map_err(failed)?;
    }
    let place = folder.join("plan");
    if is_there(&place, plan) {
        return Ok(Staged {
            making: None,
            place,
        });
    }
    fs::create_dir(&making).map_err(failed)?;
    let staged = Staged {
        making: Some(making.clone()),
        place,
    };
    let files: Vec<_> = plan.files.iter().map(in_full).collect();
    write_files(&making, &files).map_err(failed)?;
    Ok(staged)
}

/// Whether these files, and no others, are there.
fn is_there(root: &Path, plan: &Plan) -> bool {
    let files: Vec<_> = plan.files.iter().collect();
    let same = |(path, file): &(&String, &PlanFile)| {
        let at = root.join(path);
        fs::symlink_metadata(&at).is_ok_and(|meta| {
            meta.is_file()
                && meta.len() == file.text.len() as u64
                && meta.permissions().mode() & 0o7777 == mode(file)
        }) && fs::read(&at).is_ok_and(|bytes| bytes == file.text.as_bytes())
    };
    let listed = plan.files.keys().map(String::as_str).collect();
    root.is_dir()
        && first_unlisted(root, root, &listed).is_none()
        && parallel::map(&files, same).into_iter().all(|same| same)
}

fn mode(file: &PlanFile) -> u32 {
    if file.executable { 0o755 } else { 0o644 }
}

/// A file's path, content and mode.
type InFull<'a> = (&'a str, &'a str, u32);

fn in_full<'a>((path, file): (&'a String, &'a PlanFile)) -> InFull<'a> {
    (path, &file.text, mode(file))
}

fn write_files(root: &Path, files: &[InFull<'_>]) -> io::Result<()> {
    let mut folders = BTreeSet::new();
    for (path, ..) in files {
        folders.extend(Path::new(path).ancestors().skip(1));
    }
    // A folder sorts before what is in it.
    for folder in folders.into_iter().filter(|f| *f != Path::new("")) {
        fs::create_dir(root.join(folder))?;
    }
    let write = |(path, text, mode): &InFull<'_>| {
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(*mode)
            .open(root.join(path))?;
        out.write_all(text.as_bytes())?;
        // Whatever the umask is, the modes are the same.
        out.set_permissions(fs::Permissions::from_mode(*mode))
    };
    parallel::map(files, write).into_iter().collect()
}

/// Where a snapshot's nodes are written anew.
const FOLDING: &str = ".carota-fold";
/// What [`exchange`] makes of `nodes` there, for a moment.
const ASIDE: &str = "nodes.old";

/// The right to replace a snapshot's nodes: nobody else has it meanwhile.
pub struct Folding {
    snapshot: PathBuf,
    /// Holds the lock until it is closed.
    held: File,
}

/// Takes it, before the snapshot is read. What a killed run left is put in order.
pub fn folding(snapshot: &Path) -> Result<Folding> {
    let failed = |why: String| {
        Diagnostic::new(
            Code::OutputFailed,
            format!("the snapshot cannot be written: {why}"),
            "wait until another run has ended, or see to its permissions; the snapshot is as it was",
        )
    };
    let held = File::open(snapshot).map_err(|e| failed(input::why(&e)))?;
    flock(&held, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| failed("another run is at work on it".to_owned()))?;
    let left = snapshot.join(FOLDING);
    let tidy = || -> io::Result<()> {
        let nodes = snapshot.join("nodes");
        // Where directories cannot be exchanged there was a moment without nodes/.
        if fs::symlink_metadata(&nodes).is_err() && left.join(ASIDE).is_dir() {
            fs::rename(left.join(ASIDE), &nodes)?;
        }
        match fs::remove_dir_all(&left) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    };
    tidy().map_err(|e| failed(input::why(&e)))?;
    Ok(Folding {
        snapshot: snapshot.to_owned(),
        held,
    })
}

impl Folding {
    /// Writes `nodes/` anew beside its place, lets it be checked, and exchanges the two. What was put into the old one
    /// since `read` was read is taken over.
    pub fn replace(
        self,
        files: &BTreeMap<String, Arc<str>>,
        read: &[String],
        check: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let making = self.snapshot.join(FOLDING);
        let (new, place) = (making.join("nodes"), self.snapshot.join("nodes"));
        let write = || -> io::Result<()> {
            fs::create_dir(&making)?;
            fs::create_dir(&new)?;
            let files: Vec<InFull<'_>> =
                files.iter().map(|(p, t)| (&p[..], &t[..], 0o644)).collect();
            write_files(&new, &files)
        };
        let put = || -> io::Result<()> {
            // The originals go only when the new ones are on the disk.
            syncfs(&self.held)?;
            exchange(&new, &place)?;
            for entry in fs::read_dir(&new)?.flatten() {
                let name = entry.file_name();
                if !read.iter().any(|known| name.to_str() == Some(known)) {
                    fs::rename(entry.path(), place.join(name))?;
                }
            }
            self.held.sync_all()
        };
        let failed = |e: io::Error| {
            Diagnostic::new(
                Code::OutputFailed,
                format!("nodes/ of the snapshot could not be written: {e}"),
                "see that there is space and permission, then start again",
            )
        };
        let done = write()
            .map_err(failed)
            .and_then(|()| check(&making))
            .and_then(|()| put().map_err(failed));
        if place.exists() {
            let _ = fs::remove_dir_all(&making);
        }
        done
    }
}

impl Staged {
    /// Exchanges the plan with what is in its place.
    pub fn put_in_place(self) -> Result<()> {
        match &self.making {
            Some(making) => {
                exchange(making, &self.place).map_err(|e| failed("plan/ could not be replaced", &e))
            }
            None => Ok(()),
        }
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
    fs::rename(aside, new)
}

fn private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

fn put_private(root: &Path, path: &str, bytes: &[u8], keep: Keep) -> io::Result<()> {
    let at = root.join(path);
    if let Some(parent) = at.parent() {
        private_folder(parent)?;
    }
    if fs::read(&at).is_ok_and(|now| now == bytes) {
        return Ok(());
    }
    put(&at, bytes, 0o600, keep)
}

/// Writes a file that holds private keys, whole or not at all, through the `age` program if there is
/// anybody to encrypt it for.
pub fn private_file(path: &Path, bytes: &[u8], recipients: &[String]) -> Result<()> {
    let written = if recipients.is_empty() {
        put(path, bytes, 0o600, Keep::Synced).map_err(Unwritten::ByUs)
    } else {
        put_encrypted(path, bytes, recipients)
    };
    written.map_err(|unwritten| {
        let (reason, remedy) = match unwritten {
            Unwritten::ByUs(e) => (
                e.to_string(),
                "see that its folder exists, and that there is space and permission",
            ),
            Unwritten::NoAge(e) if e.kind() == io::ErrorKind::NotFound => (
                "the program `age`, which encrypts it, is not installed".to_owned(),
                "install age, which most distributions have as a package and https://age-encryption.org as a binary; without --recipient it is not needed",
            ),
            Unwritten::NoAge(e) => (
                format!("the program `age`, which encrypts it, does not start: {e}"),
                "see that `age --version` works; without --recipient it is not needed",
            ),
            Unwritten::ByAge => (
                "age failed, see above".to_owned(),
                "see that each --recipient is one that age takes: `age1…`, or an SSH public key",
            ),
        };
        let reason = format!("{} could not be written: {reason}", path.display());
        Diagnostic::new(Code::OutputFailed, reason, remedy)
    })
}

/// Why an encrypted file is not there.
enum Unwritten {
    /// It could not be written.
    ByUs(io::Error),
    /// The program that encrypts does not start.
    NoAge(io::Error),
    /// It did not encrypt, and has said why.
    ByAge,
}

fn put_encrypted(path: &Path, bytes: &[u8], recipients: &[String]) -> Result<(), Unwritten> {
    let making = making(path);
    let written = encrypt(&making, bytes, recipients)
        .and_then(|()| fs::rename(&making, path).map_err(Unwritten::ByUs));
    if written.is_err() {
        let _ = fs::remove_file(&making);
    }
    written
}

fn encrypt(to: &Path, bytes: &[u8], recipients: &[String]) -> Result<(), Unwritten> {
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(Unwritten::ByUs)?;
    let out = file.try_clone().map_err(Unwritten::ByUs)?;
    let mut age = Command::new("age")
        .args(recipients.iter().flat_map(|r| ["-r", r]))
        .stdin(Stdio::piped())
        .stdout(out)
        .spawn()
        .map_err(Unwritten::NoAge)?;
    let given = age.stdin.take().map(|mut to| to.write_all(bytes));
    if !age.wait().map_err(Unwritten::ByUs)?.success() {
        return Err(Unwritten::ByAge);
    }
    given.transpose().map_err(Unwritten::ByUs)?;
    file.sync_all().map_err(Unwritten::ByUs)
}

/// Where a file is made before it takes its place; what a killed run left there is removed.
fn making(path: &Path) -> PathBuf {
    let mut making = PathBuf::from(path).into_os_string();
    making.push(".carota-new");
    let making = PathBuf::from(making);
    let _ = fs::remove_file(&making);
    making
}

/// What a write waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// Nothing: it can be made again.
    Written,
    /// The disk: it exists nowhere else.
    Synced,
}

/// Writes a file whole or not at all.
fn put(path: &Path, bytes: &[u8], mode: u32, keep: Keep) -> io::Result<()> {
    let making = making(path);
    let write = || -> io::Result<()> {
        let mut file: File = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&making)?;
        file.write_all(bytes)?;
        if keep == Keep::Synced {
            file.sync_all()?;
        }
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
