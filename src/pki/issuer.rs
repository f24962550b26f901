//! The issuer: the one place where a plan gets its CAs and its leaves.
//!
//! Knows the lock, the keyring and what was asked for in this run. It must not know phases or files
//! of the cluster, nor write anything: `finish` hands the new lock and keyring to the writer.
//!
//! What stands in the lock is taken from it, so that a second run gives the same bytes and needs no
//! key. What does not fit its request any more is an error and never replaced silently: the old
//! entry may already be on the cluster.

use std::collections::BTreeMap;

use super::ca::{CaRequest, SigningCa};
use super::certificate::Certificate;
use super::key::PrivateKey;
use super::keyring::Keyring;
use super::lock::{KeyReferences, LeafId, Lock, LockedCa, LockedLeaf};
use super::name::subject_from_text;
use super::request::{self, answers};
use super::secret::PrivateText;
use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::parallel;

/// Where a new CA comes from.
#[derive(Debug)]
pub enum CaSource {
    /// carota makes it.
    Mint(CaRequest),
    /// It exists, and its key is here.
    Import(SigningCa),
    /// It exists, and its key is not here; enough where the lock holds every leaf.
    ImportPublic {
        /// The CA itself.
        certificate: Certificate,
        /// The certificates above it, its issuer first.
        chain: Vec<Certificate>,
    },
    /// It exists, and somebody else signs with its key: leaves are asked for, and brought back.
    Elsewhere {
        /// The CA itself.
        certificate: Certificate,
        /// The certificates above it, its issuer first.
        chain: Vec<Certificate>,
    },
}

impl CaSource {
    /// The certificate of a CA that exists, and those above it.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        let found = match self {
            CaSource::Mint(_) => None,
            CaSource::Import(ca) => Some((&ca.certificate, &ca.chain)),
            CaSource::ImportPublic { certificate, chain }
            | CaSource::Elsewhere { certificate, chain } => Some((certificate, chain)),
        };
        found
            .into_iter()
            .flat_map(|(ca, chain)| std::iter::once(ca).chain(chain))
    }
}

/// A leaf to be re-issued.
#[derive(Clone, Debug)]
pub struct LeafRequest {
    /// The name of the new CA.
    pub ca: String,
    /// The certificate to replace.
    pub old: Certificate,
    /// First second of validity, unix time.
    pub not_before: i64,
    /// Last second of validity, unix time; capped at that of the CA.
    pub not_after: i64,
    /// Until when it must be valid at least where somebody else signs, unix time.
    pub needed_until: i64,
    /// Make a new key instead of keeping the one it has.
    pub new_key: bool,
}

impl LeafRequest {
    fn id(&self) -> LeafId {
        (self.ca.clone(), self.old.fingerprint().to_owned())
    }
}

/// A re-issued leaf.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The new certificate.
    pub certificate: Certificate,
    /// Its key, if a new one was asked for.
    pub key: Option<NewKey>,
}

/// A new leaf key.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its PEM text; `None` where the leaf comes from the lock and the keyring is not here.
    pub pem: Option<PrivateText>,
    /// What stands for its PEM block in public files.
    pub pem_reference: String,
    /// What stands for the base64 of its PEM text in public files.
    pub base64_reference: String,
}

/// Gives CAs and leaves, from the lock or newly signed.
#[derive(Debug)]
pub struct Issuer {
    rotation: String,
    lock: Lock,
    locked_rotation: Option<String>,
    keyring: Keyring,
    sealed: bool,
    cas: BTreeMap<String, HeldCa>,
    leaves: BTreeMap<LeafId, HeldLeaf>,
}

/// A CA that this run uses.
#[derive(Debug)]
struct HeldCa {
    locked: LockedCa,
    signing: Option<SigningCa>,
}

/// A leaf that this run uses.
#[derive(Debug)]
struct HeldLeaf {
    locked: LockedLeaf,
    key: Option<PrivateKey>,
}

impl Issuer {
    /// An issuer for one rotation, with what an earlier run left.
    #[must_use]
    pub fn new(rotation_id: &str, lock: Option<Lock>, keyring: Keyring) -> Issuer {
        Issuer {
            rotation: rotation_id.to_owned(),
            locked_rotation: lock.as_ref().map(|l| l.rotation.clone()),
            lock: lock.unwrap_or_default(),
            keyring,
            sealed: false,
            cas: BTreeMap::new(),
            leaves: BTreeMap::new(),
        }
    }

    /// The same issuer, but what the lock lacks is an error instead of being made: for a check, whose
    /// result must depend on nothing else.
    #[must_use]
    pub fn sealed(self) -> Issuer {
        Issuer {
            sealed: true,
            ..self
        }
    }

    /// The new CA of this name. Asked for again under the same name, it is the same.
    ///
    /// From the lock if it is there and fits; `LockMismatch` if it does not fit. A key in the keyring
    /// that does not belong to it, or that the lock does not know, is `KeyringMismatch`. A CA of the
    /// lock without its key is fine as long as nothing must be signed.
    pub fn ca(&mut self, name: &str, source: CaSource) -> Result<Certificate> {
        require_plain(name)?;
        self.require_rotation()?;
        if let Some(held) = self.cas.get(name) {
            return Ok(held.locked.certificate.clone());
        }
        let held = match self.lock.cas.get(name).cloned() {
            Some(locked) => self.ca_from_lock(name, locked, source)?,
            None if self.sealed => return Err(not_in_lock(&format!("the CA {name}"))),
            None => self.ca_from_source(name, source)?,
        };
        let certificate = held.locked.certificate.clone();
        self.cas.insert(name.to_owned(), held);
        Ok(certificate)
    }

    fn ca_from_lock(&self, name: &str, locked: LockedCa, source: CaSource) -> Result<HeldCa> {
        let elsewhere = matches!(source, CaSource::Elsewhere { .. });
        let (fits, imported) = match source {
            CaSource::Mint(request) => (ca_fits(&locked.certificate, &request)?, None),
            CaSource::Import(ca) => (same_ca(&locked, &ca.certificate, &ca.chain), Some(ca.key)),
            CaSource::ImportPublic { certificate, chain }
            | CaSource::Elsewhere { certificate, chain } => {
                (same_ca(&locked, &certificate, &chain), None)
            }
        };
        if !fits || elsewhere == locked.key_reference.is_some() {
            return Err(mismatch(
                &format!("the CA {name} in it is not the one that is asked for"),
                &format!("undo the change; or, {ANEW}"),
            )
            .at(self.lock.place_of_ca(name)));
        }
        let key = imported.or_else(|| self.keyring.cas.get(name).cloned());
        if let Some(key) = &key {
            let belongs = key.belongs_to(&locked.certificate)
                && Some(key.pem_reference()) == locked.key_reference;
            if !belongs {
                return Err(foreign_key(&format!("{name}.key")));
            }
        }
        Ok(HeldCa {
            signing: key.map(|key| SigningCa {
                certificate: locked.certificate.clone(),
                chain: locked.chain.clone(),
                key,
            }),
            locked,
        })
    }

    fn ca_from_source(&self, name: &str, source: CaSource) -> Result<HeldCa> {
        let kept = self.keyring.cas.get(name).cloned();
        let signing = match (source, kept) {
            (CaSource::Mint(_) | CaSource::Elsewhere { .. }, Some(_)) => {
                return Err(unknown_key(name));
            }
            (CaSource::Mint(request), None) => SigningCa::mint(&request)?,
            (CaSource::Import(ca), Some(key)) if !key.belongs_to(&ca.certificate) => {
                return Err(unknown_key(name));
            }
            (CaSource::Import(ca), _) => ca,
            (CaSource::ImportPublic { certificate, chain }, Some(key)) => {
                if !key.belongs_to(&certificate) {
                    return Err(unknown_key(name));
                }
                SigningCa {
                    certificate,
                    chain,
                    key,
                }
            }
            (CaSource::ImportPublic { .. }, None) => return Err(key_missing(name, 0)),
            (CaSource::Elsewhere { certificate, chain }, None) => {
                return Ok(HeldCa {
                    locked: LockedCa {
                        certificate,
                        chain,
                        key_reference: None,
                    },
                    signing: None,
                });
            }
        };
        Ok(HeldCa {
            locked: LockedCa {
                certificate: signing.certificate.clone(),
                chain: signing.chain.clone(),
                key_reference: Some(signing.key.pem_reference()),
            },
            signing: Some(signing),
        })
    }

    /// The re-issued leaves, by the fingerprint of the certificate that each replaces. One old
    /// certificate may be asked for many times, always in the same way.
    ///
    /// From the lock where they are there and fit; `LockMismatch` where they do not fit. The others
    /// are signed, on all cores; `KeyringMissing` where the CA's key is not here. The result depends
    /// on neither the order of the requests nor the number of cores.
    pub fn leaves(&mut self, wanted: &[LeafRequest]) -> Result<BTreeMap<String, Issued>> {
        self.require_rotation()?;
        let distinct = distinct(wanted)?;
        let asked: Vec<&LeafRequest> = distinct
            .values()
            .copied()
            .filter(|request| !self.leaves.contains_key(&request.id()))
            .collect();
        let locked = parallel::map(&asked, |request| self.leaf_from_lock(request));
        let mut missing = Vec::new();
        for (request, held) in asked.iter().zip(locked) {
            match held? {
                Some(held) => {
                    self.leaves.insert(request.id(), held);
                }
                None => missing.push(*request),
            }
        }
        self.require_signers(&missing)?;
        for (request, made) in missing.iter().zip(self.sign_all(&missing)) {
            self.leaves.insert(request.id(), made?);
        }
        let issued = distinct.into_iter().filter_map(|(fingerprint, request)| {
            let held = self.leaves.get(&request.id())?;
            Some((fingerprint, held.issued()))
        });
        Ok(issued.collect())
    }

    fn leaf_from_lock(&self, request: &LeafRequest) -> Result<Option<HeldLeaf>> {
        let ca = self.held(&request.ca)?;
        let Some(locked) = self.lock.leaves.get(&request.id()) else {
            return Ok(None);
        };
        let fits = if ca.is_elsewhere() {
            answers(&locked.certificate, request, &ca.locked.certificate).is_ok()
        } else {
            leaf_fits(locked, request, &ca.locked.certificate)
        };
        if !fits {
            return Err(mismatch(
                &format!(
                    "its entry for {} (replaces {}) is not what is asked for",
                    request.old.subject(),
                    request.old.fingerprint()
                ),
                "undo the change, or remove that [[leaf]] entry and compile where the keyring is",
            )
            .at(self.lock.place_of_leaf(request.old.fingerprint())));
        }
        let fingerprint = locked.certificate.fingerprint();
        let key = match &locked.key {
            Some(references) => self.leaf_key(&locked.certificate, references)?,
            None if self.keyring.leaves.contains_key(fingerprint) => {
                return Err(foreign_key(&format!("leaf/{fingerprint}.key")));
            }
            None => None,
        };
        Ok(Some(HeldLeaf {
            locked: locked.clone(),
            key,
        }))
    }

    fn leaf_key(
        &self,
        certificate: &Certificate,
        references: &KeyReferences,
    ) -> Result<Option<PrivateKey>> {
        let Some(key) = self.keyring.leaves.get(certificate.fingerprint()) else {
            return Ok(None);
        };
        let fits = key.belongs_to(certificate) && key_references(key) == *references;
        if fits {
            Ok(Some(key.clone()))
        } else {
            Err(foreign_key(&format!(
                "leaf/{}.key",
                certificate.fingerprint()
            )))
        }
    }

    fn require_signers(&self, missing: &[&LeafRequest]) -> Result<()> {
        for request in missing {
            if self.sealed {
                return Err(not_in_lock(&format!(
                    "the leaf {} (replaces {})",
                    request.old.subject(),
                    request.old.fingerprint()
                )));
            }
            let ca = self.held(&request.ca)?;
            if ca.signing.is_none() {
                let count = missing.iter().filter(|r| r.ca == request.ca).count();
                return Err(if ca.is_elsewhere() {
                    unsigned(&request.ca, count)
                } else {
                    key_missing(&request.ca, count)
                });
            }
        }
        Ok(())
    }

    /// Signs on all cores; the results come in the order of the requests.
    fn sign_all(&self, missing: &[&LeafRequest]) -> Vec<Result<HeldLeaf>> {
        parallel::map(missing, |request| self.sign(request))
    }

    fn sign(&self, request: &LeafRequest) -> Result<HeldLeaf> {
        let ca = self
            .held(&request.ca)?
            .signing
            .as_ref()
            .ok_or_else(|| key_missing(&request.ca, 1))?;
        let (old, window) = (&request.old, (request.not_before, request.not_after));
        let (certificate, key) = if request.new_key {
            let (certificate, key) =
                ca.reissue_with_new_key(old, window.0, window.1, &self.rotation)?;
            (certificate, Some(key))
        } else {
            (ca.reissue(old, window.0, window.1, &self.rotation)?, None)
        };
        Ok(HeldLeaf {
            locked: LockedLeaf {
                certificate,
                key: key.as_ref().map(key_references),
            },
            key,
        })
    }

    /// The leaves that somebody else must sign and has not yet, each once.
    pub fn unsigned<'r>(&self, wanted: &'r [LeafRequest]) -> Result<Vec<&'r LeafRequest>> {
        self.require_rotation()?;
        let mut out = Vec::new();
        for request in distinct(wanted)?.into_values() {
            if self.held(&request.ca)?.is_elsewhere() && self.leaf_from_lock(request)?.is_none() {
                out.push(request);
            }
        }
        Ok(out)
    }

    /// The signing request, PEM, for each leaf that somebody else must sign and has not yet, with the leaf. Asked again,
    /// a request has the same key.
    pub fn requests<'r>(
        &mut self,
        wanted: &'r [LeafRequest],
    ) -> Result<Vec<(&'r LeafRequest, String)>> {
        let mut out = Vec::new();
        for request in self.unsigned(wanted)? {
            let key = match self.keyring.requests.get(request.old.fingerprint()) {
                Some(key) => key.clone(),
                None => PrivateKey::generate_like(&request.old)?,
            };
            let text = request::request(&request.old, &key)?;
            let of = request.old.fingerprint().to_owned();
            self.keyring.requests.insert(of, key);
            out.push((request, text));
        }
        Ok(out)
    }

    /// Takes a certificate that was signed for one of these requests. Gives the fingerprint of what it replaces, or
    /// None where it is for none of them.
    ///
    /// `LeafInvalid` where it is not what was asked for.
    pub fn take(
        &mut self,
        certificate: &Certificate,
        unsigned: &[&LeafRequest],
    ) -> Result<Option<String>> {
        let of = |request: &&&LeafRequest| {
            let key = self.keyring.requests.get(request.old.fingerprint());
            key.is_some_and(|key| key.belongs_to(certificate))
        };
        let Some(request) = unsigned.iter().find(of) else {
            return Ok(None);
        };
        let ca = &self.held(&request.ca)?.locked.certificate;
        answers(certificate, request, ca).map_err(|why| {
            Diagnostic::new(
                Code::LeafInvalid,
                format!("the certificate for {} is not what was asked for: {why}", request.old.subject()),
                "have the request signed again, with the subject, names, usages and dates that it asks for",
            )
        })?;
        let replaces = request.old.fingerprint().to_owned();
        let Some(key) = self.keyring.requests.remove(&replaces) else {
            return Ok(None);
        };
        let held = HeldLeaf {
            locked: LockedLeaf {
                certificate: certificate.clone(),
                key: Some(key_references(&key)),
            },
            key: Some(key),
        };
        self.leaves.insert(request.id(), held);
        Ok(Some(replaces))
    }

    /// Whether a leaf is among those of this run.
    #[must_use]
    pub fn holds(&self, certificate: &Certificate) -> bool {
        self.leaves
            .values()
            .any(|held| held.locked.certificate == *certificate)
    }

    /// Takes over what the lock holds of these leaves.
    pub fn keep(&mut self, wanted: &[LeafRequest]) -> Result<()> {
        for request in distinct(wanted)?.into_values() {
            if !self.leaves.contains_key(&request.id())
                && let Some(held) = self.leaf_from_lock(request)?
            {
                self.leaves.insert(request.id(), held);
            }
        }
        Ok(())
    }

    /// The key of a CA that was asked for; `None` without the keyring.
    #[must_use]
    pub fn ca_key(&self, name: &str) -> Option<PrivateText> {
        let signing = self.cas.get(name)?.signing.as_ref()?;
        Some(signing.key.to_pem())
    }

    /// What stands for the PEM block of that key in public files; known without the keyring. `None` for a CA
    /// with whose key somebody else signs, or that was not asked for.
    #[must_use]
    pub fn ca_key_reference(&self, name: &str) -> Option<String> {
        self.cas.get(name)?.locked.key_reference.clone()
    }

    /// The certificates above an imported CA, its issuer first; empty for every other.
    #[must_use]
    pub fn chain(&self, name: &str) -> &[Certificate] {
        self.cas.get(name).map_or(&[], |held| &held.locked.chain)
    }

    /// What this run used, for the writer: the lock and the keyring hold that and nothing else. The
    /// lock's `inputs` are those of the lock that was given.
    #[must_use]
    pub fn finish(self) -> (Lock, Keyring) {
        let mut keyring = Keyring {
            requests: self.keyring.requests,
            ..Keyring::default()
        };
        let mut lock = Lock {
            rotation: self.rotation,
            inputs: self.lock.inputs,
            ..Lock::default()
        };
        for (name, held) in self.cas {
            if let Some(signing) = held.signing {
                keyring.cas.insert(name.clone(), signing.key);
            }
            lock.cas.insert(name, held.locked);
        }
        for (id, held) in self.leaves {
            if let Some(key) = held.key {
                let fingerprint = held.locked.certificate.fingerprint().to_owned();
                keyring.leaves.insert(fingerprint, key);
            }
            lock.leaves.insert(id, held.locked);
        }
        (lock, keyring)
    }

    fn held(&self, name: &str) -> Result<&HeldCa> {
        self.cas.get(name).ok_or_else(|| {
            Diagnostic::new(
                Code::CaNotFound,
                format!("a leaf is to be signed by the CA {name}, which is not rotated"),
                "name the CA in rotation.cas",
            )
        })
    }

    fn require_rotation(&self) -> Result<()> {
        match &self.locked_rotation {
            Some(locked) if *locked != self.rotation => Err(mismatch(
                &format!(
                    "it belongs to the rotation {locked}, and this is {}",
                    self.rotation
                ),
                "move carota.lock and secrets/ of the finished rotation away, or restore its id",
            )
            .at(self.lock.place_of("rotation = "))),
            _ => Ok(()),
        }
    }
}

impl HeldCa {
    /// Whether somebody else signs with its key.
    fn is_elsewhere(&self) -> bool {
        self.locked.key_reference.is_none()
    }
}

impl HeldLeaf {
    fn issued(&self) -> Issued {
        Issued {
            certificate: self.locked.certificate.clone(),
            key: self.locked.key.as_ref().map(|references| NewKey {
                pem: self.key.as_ref().map(PrivateKey::to_pem),
                pem_reference: references.pem.clone(),
                base64_reference: references.base64.clone(),
            }),
        }
    }
}

fn key_references(key: &PrivateKey) -> KeyReferences {
    KeyReferences {
        pem: key.pem_reference(),
        base64: key.base64_reference(),
    }
}

/// Each old certificate once. The same one wanted in two ways is an error.
fn distinct(wanted: &[LeafRequest]) -> Result<BTreeMap<String, &LeafRequest>> {
    let mut distinct: BTreeMap<String, &LeafRequest> = BTreeMap::new();
    let terms = |r: &LeafRequest| (r.ca.clone(), r.not_before, r.not_after, r.new_key);
    for request in wanted {
        let first = distinct
            .entry(request.old.fingerprint().to_owned())
            .or_insert(request);
        if terms(first) != terms(request) {
            return Err(Diagnostic::new(
                Code::LeafInvalid,
                format!(
                    "the certificate {} is used in two places that need different successors",
                    request.old.subject()
                ),
                "give one of the places a certificate of its own, then take the snapshot again",
            ));
        }
    }
    Ok(distinct)
}

fn ca_fits(certificate: &Certificate, request: &CaRequest) -> Result<bool> {
    Ok(certificate.may_sign()
        && certificate.subject_der() == subject_from_text(&request.subject)?
        && certificate.not_before() == request.not_before
        && certificate.not_after() == request.not_after
        && certificate.key_algorithm_text() == request.key.certificate_text()
        && certificate.signed_by(certificate))
}

fn same_ca(locked: &LockedCa, certificate: &Certificate, chain: &[Certificate]) -> bool {
    locked.certificate == *certificate && locked.chain == chain
}

fn leaf_fits(locked: &LockedLeaf, request: &LeafRequest, ca: &Certificate) -> bool {
    let (new, old) = (&locked.certificate, &request.old);
    let same_key = new.spki_der() == old.spki_der();
    new.subject_der() == old.subject_der()
        && new.not_before() == request.not_before
        && new.not_after() == request.not_after.min(ca.not_after())
        && locked.key.is_some() == request.new_key
        && same_key != request.new_key
        && new.key_algorithm_text() == old.key_algorithm_text()
        && new.signed_by(ca)
}

/// CA names become file names.
fn require_plain(name: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !name.is_empty() && name.len() <= 63 && name.bytes().all(plain) {
        return Ok(());
    }
    Err(Diagnostic::new(
        Code::HostileName,
        format!("`{name}` cannot name a CA"),
        "use lower-case letters, digits and `-`",
    ))
}

/// How to begin anew. All together: the keys of the other CAs are in the way of a new lock as well.
const ANEW: &str = "if nothing of this rotation is installed anywhere, remove carota.lock and the folder secrets/keyring, and \
     compile again: every new CA and certificate is made anew";

fn mismatch(reason: &str, remedy: &str) -> Diagnostic {
    Diagnostic::new(
        Code::LockMismatch,
        format!("carota.lock does not fit: {reason}"),
        remedy,
    )
}

fn not_in_lock(what: &str) -> Diagnostic {
    mismatch(
        &format!("{what} is not in it"),
        "compile where the keyring is, and commit carota.lock with the plan",
    )
}

fn foreign_key(file: &str) -> Diagnostic {
    Diagnostic::new(
        Code::KeyringMismatch,
        format!("secrets/keyring/{file} is not the key that carota.lock knows"),
        "restore the keyring or the lock that belong together",
    )
    .at(Place::start_of(&format!("secrets/keyring/{file}")))
}

fn unknown_key(name: &str) -> Diagnostic {
    Diagnostic::new(
        Code::KeyringMismatch,
        format!("secrets/keyring/{name}.key is there, but carota.lock does not know its CA"),
        format!("restore carota.lock; or, {ANEW}"),
    )
    .at(Place::start_of(&format!("secrets/keyring/{name}.key")))
}

/// For leaves that somebody else must sign first.
fn unsigned(name: &str, count: usize) -> Diagnostic {
    let what = match count {
        1 => "a leaf is".to_owned(),
        _ => format!("{count} leaves are"),
    };
    Diagnostic::new(
        Code::Unsigned,
        format!("{what} not signed yet by the CA {name}, with whose key somebody else signs"),
        "write the requests with `carota request`, have them signed, and bring them back with `carota import`",
    )
}

fn key_missing(name: &str, count: usize) -> Diagnostic {
    Diagnostic::new(
        Code::KeyringMissing,
        match count {
            0 => format!("the key of the CA {name} is not here"),
            1 => format!("a leaf must be signed by the CA {name}, whose key is not here"),
            _ => format!("{count} leaves must be signed by the CA {name}, whose key is not here"),
        },
        "compile where secrets/keyring is, import the CA with its key, or restore carota.lock",
    )
}
