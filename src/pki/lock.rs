//! carota.lock: what was issued, so that the same inputs give the same plan without any key.
//!
//! Knows its text form. It must not know what a rotation needs: `Issuer` decides whether an entry
//! still fits. It holds certificates and hashes, nothing private.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;

use super::certificate::{Certificate, certificates_in_pem};
use crate::diagnostic::{Code, Diagnostic, Place, Result};

/// The name of the lock, beside cluster.toml.
pub const LOCK_FILE: &str = "carota.lock";

const VERSION: u32 = 1;

const HEADER: &str = "\
# carota.lock: the certificates that carota issued for this rotation. No secret is in it.
# Commit it beside the plan: with it, `carota check` gives the same plan without any key.
# Written by carota; do not edit. To have something issued again, remove its entry.
";

/// The name of a CA, and the fingerprint of the certificate that a leaf of it replaces.
pub type LeafId = (String, String);

/// What was issued for one rotation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// The id of the rotation.
    pub rotation: String,
    /// A fingerprint of the settings that decide what is issued; the caller makes and compares it.
    pub inputs: String,
    /// The new CAs by name.
    pub cas: BTreeMap<String, LockedCa>,
    /// The re-issued leaves: by the name of the CA that signed one, and the fingerprint of the
    /// certificate that it replaces.
    pub leaves: BTreeMap<LeafId, LockedLeaf>,
}

/// A CA that was made or imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedCa {
    /// The CA itself.
    pub certificate: Certificate,
    /// The certificates above an imported intermediate, its issuer first.
    pub chain: Vec<Certificate>,
    /// What stands for the PEM block of its key in public files. None where somebody else signs with it.
    pub key_reference: Option<String>,
}

/// A leaf that was re-issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedLeaf {
    /// The new certificate.
    pub certificate: Certificate,
    /// For a new key, what stands for it in public files.
    pub key: Option<KeyReferences>,
}

/// What stands for a new leaf key in public files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyReferences {
    /// For its PEM block.
    pub pem: String,
    /// For the base64 of its PEM text, as a kubeconfig holds it.
    pub base64: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LockText {
    version: u32,
    rotation: String,
    inputs: String,
    #[serde(default)]
    ca: BTreeMap<String, CaText>,
    #[serde(default)]
    leaf: Vec<LeafText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaText {
    subject: String,
    serial: String,
    fingerprint: String,
    #[serde(default)]
    key: Option<String>,
    certificate: String,
    #[serde(default)]
    chain: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeafText {
    ca: String,
    replaces: String,
    subject: String,
    serial: String,
    fingerprint: String,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    key_base64: Option<String>,
    certificate: String,
}

impl Lock {
    /// Reads a lock. Whatever carota would not have written is `LockSyntax`.
    pub fn parse(text: &str, file: &str) -> Result<Lock> {
        let read: LockText = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            unreadable(error.message()).at(Place::at(file, text, at))
        })?;
        Lock::from_text(read).map_err(|error| error.at(Place::start_of(file)))
    }

    fn from_text(read: LockText) -> Result<Lock> {
        if read.version != VERSION {
            return Err(unreadable(&format!(
                "its version is {}, and this carota reads version {VERSION}",
                read.version
            )));
        }
        let cas = read.ca.into_iter().map(|(name, ca)| {
            let locked = LockedCa {
                certificate: one(&ca.certificate, &ca.fingerprint, &ca.serial, &ca.subject)?,
                chain: certificates(&ca.chain)?,
                key_reference: ca.key.map(reference).transpose()?,
            };
            Ok((name, locked))
        });
        let mut leaves = BTreeMap::new();
        for leaf in read.leaf {
            let key = match (leaf.key, leaf.key_base64) {
                (None, None) => None,
                (Some(pem), Some(base64)) => Some(KeyReferences {
                    pem: reference(pem)?,
                    base64: reference(base64)?,
                }),
                _ => return Err(unreadable("a leaf has one reference to its key, not two")),
            };
            let certificate = one(
                &leaf.certificate,
                &leaf.fingerprint,
                &leaf.serial,
                &leaf.subject,
            )?;
            let locked = LockedLeaf { certificate, key };
            if leaves.insert((leaf.ca, leaf.replaces), locked).is_some() {
                return Err(unreadable("two of its leaves replace one certificate"));
            }
        }
        Ok(Lock {
            rotation: read.rotation,
            inputs: read.inputs,
            cas: cas.collect::<Result<_>>()?,
            leaves,
        })
    }

    /// The text of the lock: the same content always gives the same bytes.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::from(HEADER);
        let _ = write!(
            out,
            "version = {VERSION}\nrotation = {}\ninputs = {}\n",
            quoted(&self.rotation),
            quoted(&self.inputs)
        );
        for (name, ca) in &self.cas {
            let _ = writeln!(out, "\n[ca.{}]", quoted(name));
            describe(&mut out, &ca.certificate);
            if let Some(reference) = &ca.key_reference {
                let _ = writeln!(out, "key = {}", quoted(reference));
            }
            block(&mut out, "certificate", &ca.certificate.to_pem());
            if !ca.chain.is_empty() {
                let chain: String = ca.chain.iter().map(Certificate::to_pem).collect();
                block(&mut out, "chain", &chain);
            }
        }
        let mut leaves: Vec<(&LeafId, &LockedLeaf)> = self.leaves.iter().collect();
        leaves.sort_by_key(|((ca, replaces), l)| (ca, l.certificate.subject(), replaces));
        for ((ca, replaces), leaf) in leaves {
            let _ = write!(
                out,
                "\n[[leaf]]\nca = {}\nreplaces = {}\n",
                quoted(ca),
                quoted(replaces)
            );
            describe(&mut out, &leaf.certificate);
            if let Some(key) = &leaf.key {
                let _ = writeln!(out, "key = {}", quoted(&key.pem));
                let _ = writeln!(out, "key_base64 = {}", quoted(&key.base64));
            }
            block(&mut out, "certificate", &leaf.certificate.to_pem());
        }
        out
    }

    /// Where the lock, as carota writes it, says this; its start if it does not.
    #[must_use]
    pub fn place_of(&self, line: &str) -> Place {
        let text = self.to_text();
        Place::at(LOCK_FILE, &text, text.find(line).unwrap_or(0))
    }

    /// The place of a CA's entry.
    #[must_use]
    pub fn place_of_ca(&self, name: &str) -> Place {
        self.place_of(&format!("[ca.{}]", quoted(name)))
    }

    /// The place of a leaf's entry.
    #[must_use]
    pub fn place_of_leaf(&self, replaces: &str) -> Place {
        self.place_of(&format!("replaces = {}", quoted(replaces)))
    }
}

fn describe(out: &mut String, certificate: &Certificate) {
    let _ = write!(
        out,
        "subject = {}\nserial = {}\nfingerprint = {}\n",
        quoted(certificate.subject()),
        quoted(certificate.serial()),
        quoted(certificate.fingerprint())
    );
}

/// A multi-line string; PEM needs no escaping.
fn block(out: &mut String, key: &str, pem: &str) {
    let _ = write!(out, "{key} = '''\n{pem}'''\n");
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn one(pem: &str, fingerprint: &str, serial: &str, subject: &str) -> Result<Certificate> {
    match <[Certificate; 1]>::try_from(certificates(pem)?) {
        Ok([certificate])
            if certificate.fingerprint() == fingerprint
                && certificate.serial() == serial
                && certificate.subject() == subject =>
        {
            Ok(certificate)
        }
        _ => Err(unreadable(&format!(
            "the entry {fingerprint} does not describe its certificate"
        ))),
    }
}

fn certificates(pem: &str) -> Result<Vec<Certificate>> {
    certificates_in_pem(pem, "").map_err(|error| unreadable(&error.reason))
}

fn reference(text: String) -> Result<String> {
    let hash = text.strip_prefix("carota-kept:sha256:").unwrap_or_default();
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if hash.len() == 64 && hash.bytes().all(lower_hex) {
        Ok(text)
    } else {
        Err(unreadable("a reference to a key is not of its form"))
    }
}

fn unreadable(why: &str) -> Diagnostic {
    Diagnostic::new(
        Code::LockSyntax,
        format!("the lock cannot be read: {why}"),
        "restore carota.lock from version control",
    )
}
