//! `carota request` and `carota import`: what goes to somebody who signs with a new CA's key elsewhere, and what
//! comes back.
//!
//! Nothing is written here. A request's key is made here and stays here, below `secrets/requests`; what comes
//! back is pinned in carota.lock, and from then on a compile takes it from there as anything else.

use std::fs;
use std::path::{Path, PathBuf};

use crate::compile::Inputs;
use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::input::{self, MAX_FILE};
use crate::pki::keyring::REQUESTS;
use crate::pki::{self, Certificate, PrivateText};

/// What is to be signed.
pub struct Requests {
    /// The requests, in order of CA and subject.
    pub all: Vec<Request>,
    /// Their files and those of their keys, the keys first, by path below `secrets/`.
    pub files: Vec<(String, PrivateText)>,
}

/// A certificate that somebody else is to sign.
pub struct Request {
    /// The request's file, below `secrets/`.
    pub path: String,
    /// Which CA is to sign it.
    pub ca: String,
    /// Its subject.
    pub subject: String,
}

/// The requests for everything that somebody else must sign and has not yet. Asked again, they have the same keys.
pub fn requests(cluster_toml: &Path) -> Result<Requests> {
    let inputs = Inputs::read(cluster_toml)?;
    let (mut issuer, wanted) = inputs.wanted()?;
    let mut all = Vec::new();
    let mut texts = Vec::new();
    for (leaf, text) in issuer.requests(&wanted)? {
        let path = format!("{REQUESTS}/{}.csr", leaf.old.fingerprint());
        texts.push((path.clone(), PrivateText::new(text)));
        all.push(Request {
            path,
            ca: leaf.ca.clone(),
            subject: leaf.old.subject().to_owned(),
        });
    }
    all.sort_by(|a, b| (&a.ca, &a.subject, &a.path).cmp(&(&b.ca, &b.subject, &b.path)));
    let (_, keyring) = issuer.finish();
    let mut files = keyring.files();
    files.retain(|(path, _)| path.starts_with(REQUESTS));
    files.extend(texts);
    Ok(Requests { all, files })
}

/// What came back.
pub struct Imported {
    /// The lock's text, with the new certificates.
    pub lock: String,
    /// The keyring's files, by path below `secrets/`: those of requests that are answered now are leaves' keys.
    pub keyring: Vec<(String, PrivateText)>,
    /// The files below `secrets/` that are of no use any more.
    pub answered: Vec<String>,
    /// How many certificates were taken.
    pub taken: usize,
    /// How many are still to come.
    pub left: usize,
}

/// Takes signed certificates from PEM files, or from the files in folders. CAs that came along are passed over, as are
/// certificates that were taken before.
///
/// `LeafInvalid` for a certificate that answers no request, or not as it was asked.
pub fn import(cluster_toml: &Path, from: &[PathBuf]) -> Result<Imported> {
    let inputs = Inputs::read(cluster_toml)?;
    let (mut issuer, wanted) = inputs.wanted()?;
    issuer.keep(&wanted)?;
    let unsigned = issuer.unsigned(&wanted)?;
    let mut answered = Vec::new();
    for path in files(from)? {
        let label = path.display().to_string();
        let remedy = "name a PEM file; `openssl x509 -inform der` makes one of DER";
        let text = input::read_text(&path, &label, MAX_FILE, remedy)?;
        let found = pki::certificates_in_pem(&text, &label)?;
        if found.is_empty() {
            return Err(Diagnostic::new(
                Code::PemMalformed,
                "there is no certificate in it",
                remedy,
            )
            .at(Place::start_of(&label)));
        }
        for certificate in found.iter().filter(|c| !c.is_ca()) {
            let taken = issuer.take(certificate, &unsigned);
            match taken.map_err(|error| error.at(Place::start_of(&label)))? {
                Some(replaces) => answered.push(replaces),
                None if issuer.holds(certificate) => {}
                None => return Err(answers_nothing(certificate, &label)),
            }
        }
    }
    let (lock, keyring) = issuer.finish();
    let files_of = |of: &String| {
        [
            format!("{REQUESTS}/{of}.csr"),
            format!("{REQUESTS}/{of}.key"),
        ]
    };
    Ok(Imported {
        lock: lock.to_text(),
        keyring: keyring.files(),
        taken: answered.len(),
        left: unsigned.len() - answered.len(),
        answered: answered.iter().flat_map(files_of).collect(),
    })
}

fn answers_nothing(certificate: &Certificate, label: &str) -> Diagnostic {
    Diagnostic::new(
        Code::LeafInvalid,
        format!(
            "the certificate of {} has the key of no request",
            certificate.subject()
        ),
        "give what was signed for the requests below secrets/requests",
    )
    .at(Place::start_of(label))
}

/// The files that are named, and those in folders that are named, in order.
fn files(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for path in named {
        if !path.is_dir() {
            out.push(path.clone());
            continue;
        }
        let label = path.display().to_string();
        let failed = |e: std::io::Error| {
            let why = format!("the folder cannot be read: {}", input::why(&e));
            Diagnostic::new(Code::FileUnreadable, why, "see that it can be read")
                .at(Place::start_of(&label))
        };
        let mut within = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            within.push(entry.map_err(failed)?.path());
        }
        within.retain(|path| path.is_file());
        within.sort();
        out.extend(within);
    }
    Ok(out)
}
