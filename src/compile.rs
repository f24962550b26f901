//! A compile from end to end: cluster.toml, snapshot and lock in; plan, private files and lock out.
//! Nothing is written here; everything is in memory when this returns.

use std::collections::BTreeMap;
use std::path::Path;

use crate::coverage;
use crate::diagnostic::Result;
use crate::input::{self, MAX_FILE};
use crate::phases;
use crate::pki::{self, CaSource, Issuer, Keyring, LOCK_FILE, Lock, PrivateText, SigningCa};
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
    let text = input::read_text(
        cluster_toml,
        &name,
        MAX_FILE,
        "name a cluster.toml that exists; `carota init` writes one",
    )?;
    let spec = Spec::parse(&text, &name)?;
    let start = snapshot::read(&folder.join(&spec.snapshot), &spec)?;
    let lock = input::read_text_if_any(
        &folder.join(LOCK_FILE),
        LOCK_FILE,
        "restore carota.lock from version control",
    )?
    .map(|text| Lock::parse(&text, LOCK_FILE))
    .transpose()?;
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

/// The CAs that were made elsewhere. Their keys may be absent where only the lock is.
fn imported(spec: &Spec, folder: &Path) -> Result<BTreeMap<CaName, CaSource>> {
    let mut out = BTreeMap::new();
    for (&name, how) in &spec.cas {
        let NewCa::Import { certificate, key } = how else {
            continue;
        };
        let remedy = format!(
            "see [rotation.ca.{name}] in {}: it names this file",
            spec.file
        );
        let text = input::read_text(&folder.join(certificate), certificate, MAX_FILE, &remedy)?;
        let source = match input::read_text_if_any(&folder.join(key), key, &remedy)? {
            Some(key_text) => {
                let key_text = PrivateText::new(key_text);
                CaSource::Import(SigningCa::import(&text, certificate, &key_text, key)?)
            }
            None => {
                let (certificate, chain) = pki::import_public(&text, certificate)?;
                CaSource::ImportPublic { certificate, chain }
            }
        };
        out.insert(name, source);
    }
    Ok(out)
}
