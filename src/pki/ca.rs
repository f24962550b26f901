//! Certificate authorities: making one, importing one, and re-issuing what the old one signed.
//!
//! Knows how certificates are built. It must not know which certificates a cluster has, nor keep
//! anything: the lock and the keyring do.
//!
//! A re-issued certificate repeats its predecessor's subject, public key and extensions byte for
//! byte, so nothing that compares names, groups, SANs or keys can tell them apart. What differs is
//! the issuer, the authority key identifier, the serial number, the validity and the signature.
//!
//! The two certificates of one leaf have different serial numbers under different issuers, and the
//! same content under the same CA always gives the same serial number and, signatures being
//! deterministic, the same bytes.

use std::time::Duration;

use const_oid::ObjectIdentifier;
use der::Encode;
use rcgen::{BasicConstraints, CertificateParams, DnType, DnValue, IsCa, KeyIdMethod};
use rcgen::{KeyUsagePurpose, PublicKeyData, SigningKey};
use sha2::{Digest, Sha256};

use super::asn1::{
    CONTEXT_0, EXPLICIT_0, EXPLICIT_3, INTEGER, OCTET_STRING, SEQUENCE, bit_string, element, time,
};
use super::certificate::{AKI, Certificate, PublicKey, SKI, certificates_in_pem, utc};
use super::key::{KeyAlgorithm, PrivateKey};
use super::name::subject_from_text;
use super::secret::PrivateText;
use crate::diagnostic::{Code, Diagnostic, Place, Result};

/// What a new CA shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaRequest {
    /// Its name in RFC 4514 text, such as `CN=kubernetes,O=example`.
    pub subject: String,
    /// The kind of its key.
    pub key: KeyAlgorithm,
    /// First second of validity, unix time.
    pub not_before: i64,
    /// Last second of validity, unix time.
    pub not_after: i64,
    /// Its serial number, big-endian.
    pub serial: [u8; 16],
}

/// A CA with its key: it can sign.
#[derive(Debug)]
pub struct SigningCa {
    /// The CA itself.
    pub certificate: Certificate,
    /// For an imported intermediate: the certificates above it, its issuer first. Else empty.
    pub chain: Vec<Certificate>,
    /// The key that signs.
    pub key: PrivateKey,
}

impl SigningCa {
    /// Makes a self-signed CA as kubeadm does (version 3, CA:TRUE, digitalSignature,
    /// keyEncipherment and keyCertSign), and with an authority key identifier. Its key is new.
    pub fn mint(request: &CaRequest) -> Result<SigningCa> {
        let subject = subject_from_text(&request.subject)?;
        let key = PrivateKey::generate(request.key)?;
        SigningCa::self_sign(request, &subject, key)
    }

    fn self_sign(request: &CaRequest, subject: &[u8], key: PrivateKey) -> Result<SigningCa> {
        let public = PublicKey::read(key.spki_der()).map_err(|e| defect(&e.to_string()))?;
        let made = with_rcgen(request, subject, &key, &public)?;
        // rcgen keeps one attribute of each type; a name with two O needs the other way.
        let certificate = if made.subject_der() == subject {
            made
        } else {
            let content = Content {
                serial: request.serial,
                not_before: request.not_before,
                not_after: request.not_after,
                subject,
                spki: key.spki_der(),
                extensions: made.extensions().map(|e| e.der.to_vec()).collect(),
            };
            content.sign(subject, &key)?
        };
        let sound = certificate.subject_der() == subject
            && certificate.may_sign()
            && certificate.signed_by(&certificate);
        if !sound {
            return Err(defect("a new CA is not what was asked for"));
        }
        Ok(SigningCa {
            certificate,
            chain: Vec::new(),
            key,
        })
    }

    /// Takes a CA that exists. The first certificate of the PEM text is the CA; the others, in any
    /// order, are the certificates above it.
    pub fn import(
        certificate_pem: &str,
        certificate_file: &str,
        key_pem: &PrivateText,
        key_file: &str,
    ) -> Result<SigningCa> {
        let (certificate, chain) = import_public(certificate_pem, certificate_file)?;
        let key = PrivateKey::from_pem(key_pem, key_file)?;
        if !key.belongs_to(&certificate) {
            return Err(Diagnostic::new(
                Code::KeyMismatch,
                format!(
                    "the key is not that of the CA {} in {certificate_file}",
                    certificate.subject()
                ),
                "give the key that belongs to the CA certificate",
            )
            .at(Place::start_of(key_file)));
        }
        Ok(SigningCa {
            certificate,
            chain,
            key,
        })
    }

    /// The same certificate under this CA: for the same key, with the same subject and extensions.
    /// `not_after` is capped at that of the CA.
    ///
    /// The authority key identifier is replaced by this CA's, added where it was missing, and left
    /// out where this CA has no subject key identifier. Everything else stays as it was, so a
    /// certificate that `openssl verify -x509_strict` refused for another reason (a CA:TRUE leaf
    /// without a subject key identifier, an empty SAN, keyCertSign in a leaf) is still refused; and
    /// under an imported CA without a subject key identifier every leaf is, for want of an authority
    /// key identifier. Kubernetes asks for none of that.
    pub fn reissue(
        &self,
        old: &Certificate,
        not_before: i64,
        not_after: i64,
        rotation_id: &str,
    ) -> Result<Certificate> {
        self.issue(old, old.public_key(), (not_before, not_after), rotation_id)
    }

    /// The same certificate under this CA, for a new key of the same kind and size. A subject key
    /// identifier, if there is one, is that of the new key.
    pub fn reissue_with_new_key(
        &self,
        old: &Certificate,
        not_before: i64,
        not_after: i64,
        rotation_id: &str,
    ) -> Result<(Certificate, PrivateKey)> {
        let key = PrivateKey::generate_like(old)?;
        let public = PublicKey::read(key.spki_der()).map_err(|e| defect(&e.to_string()))?;
        let certificate = self.issue(old, &public, (not_before, not_after), rotation_id)?;
        Ok((certificate, key))
    }

    fn issue(
        &self,
        old: &Certificate,
        public: &PublicKey,
        (not_before, not_after): (i64, i64),
        rotation_id: &str,
    ) -> Result<Certificate> {
        let not_after = not_after.min(self.certificate.not_after());
        if not_after <= not_before {
            return Err(self.too_short(old, not_before));
        }
        let content = Content {
            serial: self.serial(old, public, (not_before, not_after), rotation_id),
            not_before,
            not_after,
            subject: old.subject_der(),
            spki: public.der(),
            extensions: self.extensions(old, public),
        };
        let new = content.sign(self.certificate.subject_der(), &self.key)?;
        let sound = new.subject_der() == old.subject_der()
            && new.spki_der() == public.der()
            && new.version() == 3
            && new.signed_by(&self.certificate);
        if sound {
            Ok(new)
        } else {
            Err(defect("a re-issued certificate is not what was asked for"))
        }
    }

    fn too_short(&self, old: &Certificate, not_before: i64) -> Diagnostic {
        Diagnostic::new(
            Code::CaExpired,
            format!(
                "the CA {} ends on {}, before {} would begin on {}",
                self.certificate.subject(),
                utc(self.certificate.not_after()),
                old.subject(),
                utc(not_before),
            ),
            "use a CA that stays valid well beyond the rotation",
        )
    }

    /// The extensions of `old` in their order, with the identifiers of the keys brought up to date.
    fn extensions(&self, old: &Certificate, public: &PublicKey) -> Vec<Vec<u8>> {
        let mut authority = self.certificate.ski_bytes().map(|id| {
            let identifier = element(SEQUENCE, &[&element(CONTEXT_0, &[&id])]);
            extension(AKI, &identifier)
        });
        let mut extensions: Vec<Vec<u8>> = old
            .extensions()
            .filter_map(|e| match e.id {
                AKI => authority.take(),
                SKI if public.der() != old.spki_der() => {
                    let identifier = element(OCTET_STRING, &[&key_identifier(public)]);
                    Some(extension(SKI, &identifier))
                }
                _ => Some(e.der.to_vec()),
            })
            .collect();
        extensions.extend(authority);
        extensions
    }

    /// Sixteen bytes, positive, that only this content under this CA in this rotation has.
    fn serial(
        &self,
        old: &Certificate,
        public: &PublicKey,
        (not_before, not_after): (i64, i64),
        rotation_id: &str,
    ) -> [u8; 16] {
        let mut hash = Sha256::new();
        // The length keeps the id apart from what follows; DER knows its own length.
        hash.update((rotation_id.len() as u64).to_be_bytes());
        hash.update(rotation_id);
        hash.update(old.der());
        hash.update(self.certificate.der());
        hash.update(public.der());
        hash.update(not_before.to_be_bytes());
        hash.update(not_after.to_be_bytes());
        positive(&hash.finalize())
    }
}

/// The first sixteen bytes as a positive number of exactly that length.
#[must_use]
pub fn positive(hash: &[u8]) -> [u8; 16] {
    let mut serial = [0; 16];
    for (to, from) in serial.iter_mut().zip(hash) {
        *to = *from;
    }
    serial[0] = serial[0] & 0x3f | 0x40;
    serial
}

/// What a certificate says, but for its issuer and signature.
struct Content<'a> {
    serial: [u8; 16],
    not_before: i64,
    not_after: i64,
    subject: &'a [u8],
    spki: &'a [u8],
    extensions: Vec<Vec<u8>>,
}

impl Content<'_> {
    fn sign(&self, issuer: &[u8], key: &PrivateKey) -> Result<Certificate> {
        let algorithm = key.signature_identifier();
        let tbs = self.tbs(issuer, &algorithm)?;
        let (algorithm, signature) = key.sign(&tbs)?;
        let der = element(SEQUENCE, &[&tbs, &algorithm, &bit_string(&signature)]);
        Certificate::from_der(&der).map_err(|why| defect(&why))
    }

    fn tbs(&self, issuer: &[u8], algorithm: &[u8]) -> Result<Vec<u8>> {
        let parts: Vec<&[u8]> = self.extensions.iter().map(Vec::as_slice).collect();
        let extensions = if parts.is_empty() {
            Vec::new()
        } else {
            element(EXPLICIT_3, &[&element(SEQUENCE, &parts)])
        };
        let validity = element(
            SEQUENCE,
            &[&encoded(self.not_before)?, &encoded(self.not_after)?],
        );
        Ok(element(
            SEQUENCE,
            &[
                &element(EXPLICIT_0, &[&element(INTEGER, &[&[2]])]),
                &integer(&self.serial),
                algorithm,
                issuer,
                &validity,
                self.subject,
                self.spki,
                &extensions,
            ],
        ))
    }
}

fn encoded(seconds: i64) -> Result<Vec<u8>> {
    time(seconds).ok_or_else(|| {
        Diagnostic::new(
            Code::TomlValue,
            "a date is outside the years 1970 to 9999",
            "choose dates that a certificate can hold",
        )
    })
}

/// A non-negative INTEGER in its shortest form.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let leading = bytes.iter().take_while(|b| **b == 0).count();
    match &bytes[leading.min(bytes.len().saturating_sub(1))..] {
        negative @ [0x80..=0xff, ..] => element(INTEGER, &[&[0], negative]),
        plain => element(INTEGER, &[plain]),
    }
}

/// A non-critical extension.
fn extension(id: ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    // An object identifier of a known constant always encodes.
    let id = id.to_der().unwrap_or_default();
    element(SEQUENCE, &[&id, &element(OCTET_STRING, &[value])])
}

/// RFC 7093, method 1: the first 160 bits of the SHA-256 of the key, as Go computes it today.
fn key_identifier(public: &PublicKey) -> Vec<u8> {
    Sha256::digest(public.bits())[..20].to_vec()
}

fn with_rcgen(
    request: &CaRequest,
    subject: &[u8],
    key: &PrivateKey,
    public: &PublicKey,
) -> Result<Certificate> {
    let mut params = CertificateParams::default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(request.not_before)?;
    params.not_after = epoch + since_epoch(request.not_after)?;
    params.serial_number = Some(request.serial.to_vec().into());
    params.distinguished_name = rcgen_name(subject)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    params.use_authority_key_identifier_extension = true;
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_identifier(public));
    let made = params
        .self_signed(&Signer { key, public })
        .map_err(|e| defect(&e.to_string()))?;
    Certificate::from_der(made.der()).map_err(|why| defect(&why))
}

/// Seconds since 1970 that a certificate can hold. rcgen takes times of a crate that carota does not
/// depend on, but a duration can be added to them.
fn since_epoch(seconds: i64) -> Result<Duration> {
    encoded(seconds)?;
    Ok(Duration::from_secs(
        u64::try_from(seconds).unwrap_or_default(),
    ))
}

fn rcgen_name(subject: &[u8]) -> Result<rcgen::DistinguishedName> {
    use der::{Decode, Tag, Tagged};
    let name = x509_cert::name::Name::from_der(subject).map_err(|e| defect(&e.to_string()))?;
    let mut out = rcgen::DistinguishedName::new();
    for attribute in name.iter() {
        let kind: Vec<u64> = attribute.oid.arcs().map(u64::from).collect();
        let text = String::from_utf8_lossy(attribute.value.value()).into_owned();
        let value = match attribute.value.tag() {
            Tag::PrintableString => text.as_str().try_into().ok().map(DnValue::PrintableString),
            Tag::Ia5String => text.as_str().try_into().ok().map(DnValue::Ia5String),
            _ => None,
        };
        // Another kind of string makes the subject differ, and the other way is taken.
        out.push(
            DnType::from_oid(&kind),
            value.unwrap_or(DnValue::Utf8String(text)),
        );
    }
    Ok(out)
}

/// A key as rcgen takes it.
struct Signer<'a> {
    key: &'a PrivateKey,
    public: &'a PublicKey,
}

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public.bits()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.key.rcgen_algorithm()
    }
}

impl SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, rcgen::Error> {
        self.key
            .sign(message)
            .map(|(_, signature)| signature)
            .map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// Reads an imported CA without its key: the CA and the certificates above it in order.
pub fn import_public(text: &str, file: &str) -> Result<(Certificate, Vec<Certificate>)> {
    let invalid = |reason: String| {
        Diagnostic::new(
            Code::ImportInvalid,
            reason,
            "give a PEM file with the CA certificate first and the certificates above it after it",
        )
        .at(Place::start_of(file))
    };
    let mut others = certificates_in_pem(text, file).map_err(|mut error| {
        if error.code == Code::PrivateInSnapshot {
            error.code = Code::ImportInvalid;
            "keep the key in a file of its own and name it as `key`".clone_into(&mut error.remedy);
        }
        error
    })?;
    if others.is_empty() {
        return Err(invalid("the file holds no certificate".to_owned()));
    }
    let certificate = others.remove(0);
    let chain = sorted_chain(&certificate, &mut others);
    if let Some(stray) = others.first() {
        return Err(invalid(format!(
            "{} is not above the CA {}",
            stray.subject(),
            certificate.subject()
        )));
    }
    for ca in [&certificate].into_iter().chain(&chain) {
        require_ca(ca, file)?;
    }
    Ok((certificate, chain))
}

/// Takes the issuers of `certificate` out of `others`, from it upwards.
fn sorted_chain(certificate: &Certificate, others: &mut Vec<Certificate>) -> Vec<Certificate> {
    others.retain(|c| c != certificate);
    let mut chain: Vec<Certificate> = Vec::new();
    loop {
        let top = chain.last().unwrap_or(certificate);
        let Some(at) = others.iter().position(|c| top.signed_by(c)) else {
            return chain;
        };
        chain.push(others.remove(at));
    }
}

fn require_ca(certificate: &Certificate, file: &str) -> Result<()> {
    if certificate.may_sign() {
        return Ok(());
    }
    let why = if certificate.version() != 3 {
        "it is not X.509 version 3"
    } else if certificate.is_ca() {
        "its keyUsage lacks keyCertSign"
    } else {
        "it lacks basicConstraints CA:TRUE"
    };
    Err(Diagnostic::new(
        Code::NotACa,
        format!("{} cannot be a CA: {why}", certificate.subject()),
        "give a CA certificate of version 3 with CA:TRUE and keyCertSign",
    )
    .at(Place::start_of(file)))
}

pub(super) fn defect(why: &str) -> Diagnostic {
    Diagnostic::new(
        Code::CertificateMalformed,
        format!("a certificate could not be built: {why}"),
        "this is a defect in carota; please report what kind of certificate it was",
    )
}
