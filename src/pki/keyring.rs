//! The private keys that a rotation makes: those of the new CAs and, where asked for, of leaves.
//!
//! Knows where they lie under `secrets/`. It must not know which key fits which entry of the lock:
//! `Issuer` compares. It reads the disk and never writes it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::key::PrivateKey;
use super::secret::PrivateText;
use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::input;

const REMEDY: &str = "check the permissions of secrets/, or move it away to go on without keys";
const CAS: &str = "keyring";
const LEAVES: &str = "keyring/leaf";
/// The folder below `secrets/` for what somebody else is to sign.
pub const REQUESTS: &str = "requests";

/// New private keys, by CA name and by the fingerprint of the new leaf; and those of requests that somebody else is to
/// sign, by the fingerprint of the certificate that is to be replaced.
#[derive(Default)]
pub struct Keyring {
    pub(super) cas: BTreeMap<String, PrivateKey>,
    pub(super) leaves: BTreeMap<String, PrivateKey>,
    pub(super) requests: BTreeMap<String, PrivateKey>,
}

impl Keyring {
    /// Reads `keyring/<ca>.key`, `keyring/leaf/<fingerprint>.key` and `requests/<fingerprint>.key` under `secrets`,
    /// the directory that [`Keyring::files`] is written to. What is missing is empty: without `secrets/` a plan can
    /// still be checked.
    pub fn load(secrets: &Path) -> Result<Keyring> {
        Ok(Keyring {
            cas: load_keys(secrets, CAS)?,
            leaves: load_keys(secrets, LEAVES)?,
            requests: load_keys(secrets, REQUESTS)?,
        })
    }

    /// Every key as a file: its path below `secrets/` and its content, sorted by path.
    #[must_use]
    pub fn files(&self) -> Vec<(String, PrivateText)> {
        let in_folder = |folder: &'static str, keys: &BTreeMap<String, PrivateKey>| {
            keys.iter()
                .map(|(name, key)| (format!("{folder}/{name}.key"), key.to_pem()))
                .collect::<Vec<_>>()
        };
        let mut files = in_folder(CAS, &self.cas);
        files.extend(in_folder(LEAVES, &self.leaves));
        files.extend(in_folder(REQUESTS, &self.requests));
        files.sort_by(|(a, _), (b, _)| a.cmp(b));
        files
    }

    /// Whether it holds no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cas.is_empty() && self.leaves.is_empty() && self.requests.is_empty()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(..)")
    }
}

/// The `*.key` files of one folder by their names.
fn load_keys(secrets: &Path, folder: &str) -> Result<BTreeMap<String, PrivateKey>> {
    let failed = |path: &str, error: &std::io::Error| {
        let reason = format!("the keyring cannot be read: {error}");
        let place = Place::start_of(&format!("secrets/{path}"));
        Diagnostic::new(Code::FileUnreadable, reason, REMEDY).at(place)
    };
    let entries = match fs::read_dir(secrets.join(folder)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(failed(folder, &error)),
    };
    let mut keys = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(folder, &error))?;
        let name = entry.file_name().into_string().unwrap_or_default();
        let Some(stem) = name.strip_suffix(".key") else {
            continue;
        };
        let shown = format!("secrets/{folder}/{name}");
        let text = input::read_text(&entry.path(), &shown, input::MAX_FILE, REMEDY)?;
        let key = PrivateKey::from_pem(&PrivateText::new(text), &shown)?;
        keys.insert(stem.to_owned(), key);
    }
    Ok(keys)
}
