//! Certificate signing requests (PKCS #10, RFC 2986), for a CA with whose key somebody else signs; and whether
//! what comes back is what was asked for.
//!
//! Knows what a request and its answer must say. It must not know where either lies.

use const_oid::ObjectIdentifier;
use der::{Decode, Encode};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::Name;

use super::asn1::{EXPLICIT_0, INTEGER, SEQUENCE, SET, bit_string, element};
use super::ca::defect;
use super::certificate::{AKI, Certificate, SKI, utc};
use super::issuer::LeafRequest;
use super::key::PrivateKey;
use super::pem;
use crate::diagnostic::Result;

/// PKCS #9 (RFC 2985), 5.4.2.
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");

/// The request, PEM, for a successor of a certificate with a key of its own: the same subject and extensions but for
/// the identifiers of keys, which a CA sets by itself.
pub fn request(old: &Certificate, key: &PrivateKey) -> Result<String> {
    let asked: Vec<&[u8]> = old
        .extensions()
        .filter(|extension| extension.id != AKI && extension.id != SKI)
        .map(|extension| extension.der)
        .collect();
    let id = EXTENSION_REQUEST
        .to_der()
        .map_err(|e| defect(&e.to_string()))?;
    let attributes = if asked.is_empty() {
        Vec::new()
    } else {
        let values = element(SET, &[&element(SEQUENCE, &asked)]);
        element(SEQUENCE, &[&id, &values])
    };
    let information = element(
        SEQUENCE,
        &[
            &element(INTEGER, &[&[0]]),
            old.subject_der(),
            key.spki_der(),
            &element(EXPLICIT_0, &[&attributes]),
        ],
    );
    let (algorithm, signature) = key.sign(&information)?;
    let der = element(
        SEQUENCE,
        &[&information, &algorithm, &bit_string(&signature)],
    );
    Ok(pem::write("CERTIFICATE REQUEST", &der))
}

/// Whether a certificate is what was asked for, from the CA that was to sign it: the same names and usages, in
/// whatever order and encoding, and valid long enough. Else why not.
pub fn answers(
    new: &Certificate,
    request: &LeafRequest,
    ca: &Certificate,
) -> std::result::Result<(), String> {
    let old = &request.old;
    if !new.signed_by(ca) {
        return Err(format!("it is not signed by {}", ca.subject()));
    }
    if attributes(new) != attributes(old) {
        return Err(format!(
            "its subject is {}, not {}",
            new.subject(),
            old.subject()
        ));
    }
    if new.is_ca() {
        return Err("it is a CA".into());
    }
    let names = new.san_text();
    if let Some(lacking) = old
        .san_text()
        .into_iter()
        .find(|name| !names.contains(name))
    {
        return Err(format!("it lacks the name {lacking}"));
    }
    for (had, has, usage) in [
        (old.server_auth(), new.server_auth(), "serverAuth"),
        (old.client_auth(), new.client_auth(), "clientAuth"),
    ] {
        if had && !has {
            return Err(format!("it may not be used for {usage}"));
        }
    }
    if new.not_before() > request.not_before {
        return Err(format!(
            "it is valid from {} on, and the window begins before",
            utc(new.not_before())
        ));
    }
    if new.not_after() < request.needed_until {
        return Err(format!(
            "it is valid until {}, and the window ends later",
            utc(new.not_after())
        ));
    }
    Ok(())
}

/// What a subject says, in no order: a CA may put an organization behind the common name, and Kubernetes asks for
/// neither order nor encoding.
fn attributes(certificate: &Certificate) -> Option<Vec<(ObjectIdentifier, Vec<u8>)>> {
    let name = Name::from_der(certificate.subject_der()).ok()?;
    let attribute = |a: &AttributeTypeAndValue| (a.oid, a.value.value().to_vec());
    let mut out: Vec<_> = name.iter().map(attribute).collect();
    out.sort();
    Some(out)
}
