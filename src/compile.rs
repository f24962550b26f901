//! A compile from end to end: cluster.toml, snapshot and lock in; plan, private files and lock out.
//! Nothing is written here; everything is in memory when this returns.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::coverage;
use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::phases;
use crate::pki::{self, CaSource, Issuer, Keyring, Lock, PrivateText, SigningCa};
use crate::render::{self, Plan};
use crate::rotation::Rotation;
use crate::snapshot;
use crate::spec::{CaName, NewCa, Spec};

/// What a compile gives.
pub struct Compiled {
    /// The plan and its private files.
    pub plan: Plan,
    /// The lock's text.
    pub lock: String,
    /// The keyring's files, by path below `secrets/`.
    pub keyring: Vec<(String, PrivateText)>,
    /// Objects whose source still holds the old CA.
    pub stale_sources: Vec<String>,
}

/// Compiles the folder of `cluster.toml`.
pub fn compile(cluster_toml: &Path) -> Result<Compiled> {
    let name = file_name(cluster_toml);
    let folder = folder_of(cluster_toml);
    let text = read(cluster_toml, &name)?;
    let spec = Spec::parse(&text, &name)?;
    let start = snapshot::read(&folder.join(&spec.snapshot), &spec)?;
    let lock = match fs::read_to_string(folder.join("carota.lock")) {
        Ok(text) => Some(Lock::parse(&text, "carota.lock")?),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(_) => return Err(unreadable("carota.lock")),
    };
    let keyring = Keyring::load(&folder.join("secrets"))?;
    let mut imported = imported(&spec, folder)?;
    let mut issuer = Issuer::new(&spec.id, lock, keyring);
    let rotation = Rotation::prepare(&spec, start.clone(), &mut issuer, &mut imported)?;
    let done = phases::run(&rotation, &start)?;
    let last = done.last().map_or(&rotation.start, phases::Done::after);
    let coverage = coverage::check(&rotation, last)?;
    let plan = render::plan(&rotation, &done, &coverage)?;
    let stale_sources = coverage
        .stale_sources
        .iter()
        .map(ToString::to_string)
        .collect();
    let (lock, keyring) = issuer.finish();
    Ok(Compiled {
        plan,
        lock: lock.to_text(),
        keyring: keyring.files(),
        stale_sources,
    })
}

/// The folder that holds a file; `.` for a bare name.
#[must_use]
pub fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(
        || "cluster.toml".into(),
        |n| n.to_string_lossy().into_owned(),
    )
}

fn read(path: &Path, label: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|e| {
        Diagnostic::new(
            Code::FileUnreadable,
            format!("the file cannot be read: {}", e.kind()),
            "name a cluster.toml that exists and is UTF-8 text",
        )
        .at(Place::start_of(label))
    })
}

fn unreadable(label: &str) -> Diagnostic {
    Diagnostic::new(
        Code::FileUnreadable,
        "the file cannot be read",
        "check its permissions",
    )
    .at(Place::start_of(label))
}

/// The CAs that were made elsewhere. Their keys may be absent where only the lock is.
fn imported(spec: &Spec, folder: &Path) -> Result<BTreeMap<CaName, CaSource>> {
    let mut out = BTreeMap::new();
    for (&name, how) in &spec.cas {
        let NewCa::Import { certificate, key } = how else {
            continue;
        };
        let text = read(&folder.join(certificate), certificate)?;
        let source = match fs::read_to_string(folder.join(key)) {
            Ok(key_text) => {
                let key_text = PrivateText::new(key_text);
                CaSource::Import(SigningCa::import(&text, certificate, &key_text, key)?)
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let (certificate, chain) = pki::import_public(&text, certificate)?;
                CaSource::ImportPublic { certificate, chain }
            }
            Err(_) => return Err(unreadable(key)),
        };
        out.insert(name, source);
    }
    Ok(out)
}
