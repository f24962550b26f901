//! X.509 certificates as carota needs them: what stands in one, and whether another signed it.
//!
//! Knows the encoding and decodes it once. It must not know files on disk, phases or trust: whether
//! a chain is valid for a purpose is asked of `verify`.
//!
//! Reading is as lenient as Go's `crypto/x509` where Kubernetes depends on it: kubeadm up to 1.20
//! gave its CAs the serial number 0. What Go refuses is refused here: repeated extensions, encodings
//! that are not DER.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use der::asn1::ObjectIdentifier;
use der::{Decode, Tag, TagNumber};
use sha2::{Digest, Sha256};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::time::Time;

use super::asn1::{Element, document, hex};
use super::name::{Attributes, COMMON_NAME, ORGANIZATION, escape};
use super::{algorithms, pem};
use crate::diagnostic::{Code, Diagnostic, Result};
use crate::memo::Memo;

pub use super::bundle::Bundle;

type DerResult<T> = std::result::Result<T, String>;

pub(super) const SKI: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
pub(super) const AKI: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const SAN: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

static READ: Memo<Vec<Certificate>> = Memo::of_little();
static DECODED: Memo<Certificate> = Memo::of_little();

/// A certificate. Clones share one decoded value; two are equal when their DER is.
#[derive(Clone)]
pub struct Certificate(Arc<Decoded>);

/// Everything that is read from a certificate.
struct Decoded {
    der: Box<[u8]>,
    fingerprint: String,
    tbs: Part,
    version: u8,
    serial: String,
    subject_der: Part,
    issuer_der: Part,
    subject: String,
    issuer: String,
    common_name: Option<String>,
    organizations: Vec<String>,
    not_before: i64,
    not_after: i64,
    spki: PublicKey,
    signature_identifier: Part,
    signature: Part,
    extensions: Box<[ExtensionParts]>,
    usage: Usage,
}

/// A part of an encoding, by its place in it: thousands of certificates are held at a time.
#[derive(Clone, Copy)]
struct Part {
    begin: u32,
    length: u32,
}

impl Part {
    /// `part` is a slice of `whole`.
    fn of(whole: &[u8], part: &[u8]) -> der::Result<Part> {
        let begin = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        let begin = if part.is_empty() { 0 } else { begin };
        Ok(Part {
            begin: der::Length::try_from(begin)?.into(),
            length: der::Length::try_from(part.len())?.into(),
        })
    }

    fn within(self, whole: &[u8]) -> &[u8] {
        let begin = self.begin as usize;
        &whole[begin..begin + self.length as usize]
    }
}

/// A public key with the algorithm it is for.
pub(super) struct PublicKey {
    der: Box<[u8]>,
    identifier: Part,
    bits: Part,
    text: String,
}

/// One extension, undecoded.
pub(super) struct Extension<'a> {
    pub id: ObjectIdentifier,
    /// Content of its octet string.
    pub value: &'a [u8],
    /// The whole element.
    pub der: &'a [u8],
}

/// The same by places.
struct ExtensionParts {
    id: ObjectIdentifier,
    value: Part,
    der: Part,
}

/// The extensions that carota understands.
#[derive(Default)]
struct Usage {
    ca: Option<BasicConstraints>,
    keys: Option<KeyUsage>,
    extended: Option<Vec<ObjectIdentifier>>,
    ski: Option<String>,
    aki: Option<String>,
    dns: Vec<String>,
    ips: Vec<IpAddr>,
    san: Vec<String>,
}

impl Certificate {
    /// Decodes one certificate. The error is a phrase without a place; whoever knows the file adds
    /// it.
    pub fn from_der(der: &[u8]) -> DerResult<Certificate> {
        DECODED.recall(&[der], || {
            decode(der)
                .map(|decoded| Certificate(Arc::new(decoded)))
                .map_err(|why| format!("it is not an X.509 certificate in DER ({why})"))
        })
    }

    /// The encoded certificate.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// One PEM block: LF, 64 columns, a final newline.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::write("CERTIFICATE", self.der())
    }

    /// SHA-256 of the DER in lower-case hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    /// The encoded subject.
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        self.part(self.0.subject_der)
    }

    /// The encoded issuer.
    #[must_use]
    pub fn issuer_der(&self) -> &[u8] {
        self.part(self.0.issuer_der)
    }

    /// The subject for people, in encoding order: `O=a, O=b, CN=x`. One line, hostile characters
    /// escaped. Never compare names by it.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The issuer for people.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The CN as Go (and so Kubernetes, for the user name) takes it: the last one. Unescaped.
    #[must_use]
    pub fn common_name(&self) -> Option<String> {
        self.0.common_name.clone()
    }

    /// Every O in encoding order: the user's groups. Unescaped.
    #[must_use]
    pub fn organizations(&self) -> Vec<String> {
        self.0.organizations.clone()
    }

    /// The serial number in hexadecimal, without a sign byte; `00` for zero.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.0.serial
    }

    /// X.509 version: 1, 2 or 3.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.0.version
    }

    /// First second of validity, unix time.
    #[must_use]
    pub fn not_before(&self) -> i64 {
        self.0.not_before
    }

    /// Last second of validity, unix time.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.0.not_after
    }

    /// Version 3 with basicConstraints CA:TRUE.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.version() == 3 && self.0.usage.ca.as_ref().is_some_and(|b| b.ca)
    }

    /// A CA whose keyUsage, if it has one, holds keyCertSign.
    #[must_use]
    pub fn may_sign(&self) -> bool {
        self.is_ca() && self.0.usage.keys.is_none_or(|k| k.key_cert_sign())
    }

    /// How many intermediates may stand below this CA; `None` is any number.
    #[must_use]
    pub fn path_length(&self) -> Option<u8> {
        self.0.usage.ca.as_ref().and_then(|b| b.path_len_constraint)
    }

    /// Subject key identifier in hexadecimal.
    #[must_use]
    pub fn ski(&self) -> Option<String> {
        self.0.usage.ski.clone()
    }

    /// Authority key identifier in hexadecimal.
    #[must_use]
    pub fn aki(&self) -> Option<String> {
        self.0.usage.aki.clone()
    }

    /// DNS names of the SAN, in order. Unescaped.
    #[must_use]
    pub fn dns_names(&self) -> &[String] {
        &self.0.usage.dns
    }

    /// IP addresses of the SAN, in order.
    #[must_use]
    pub fn ip_addresses(&self) -> &[IpAddr] {
        &self.0.usage.ips
    }

    /// Every SAN for people, in order: `DNS:a`, `IP:10.0.0.1`, `URI:…`, `email:…`, `other`.
    #[must_use]
    pub fn san_text(&self) -> Vec<String> {
        self.0.usage.san.clone()
    }

    /// Whether it may serve TLS. As in Go, no extendedKeyUsage means any purpose.
    #[must_use]
    pub fn server_auth(&self) -> bool {
        self.allows(SERVER_AUTH)
    }

    /// Whether it may be a TLS client. As in Go, no extendedKeyUsage means any purpose.
    #[must_use]
    pub fn client_auth(&self) -> bool {
        self.allows(CLIENT_AUTH)
    }

    fn allows(&self, purpose: ObjectIdentifier) -> bool {
        let named = |usages: &Vec<_>| usages.contains(&purpose) || usages.contains(&ANY_USAGE);
        self.0.usage.extended.as_ref().is_none_or(named)
    }

    /// Key usages and extended key usages for people, in the order of the standard and of the
    /// encoding.
    #[must_use]
    pub fn key_usages(&self) -> Vec<String> {
        let keys = self.0.usage.keys.iter().flat_map(|k| k.0.into_iter());
        let extended = self.0.usage.extended.iter().flatten();
        keys.map(|k| usage_text(k).to_owned())
            .chain(extended.map(extended_text))
            .collect()
    }

    /// Kind and size of the public key: `RSA 2048`, `ECDSA P-256`.
    #[must_use]
    pub fn key_algorithm_text(&self) -> &str {
        &self.0.spki.text
    }

    /// The encoded `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.0.spki.der
    }

    /// Subject and issuer are the same name. Says nothing of the signature.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.subject_der() == self.issuer_der()
    }

    /// Whether `ca` has this certificate's issuer as its subject and its key made the signature. Not
    /// whether `ca` may sign, nor whether anything is valid now.
    #[must_use]
    pub fn signed_by(&self, ca: &Certificate) -> bool {
        self.issuer_der() == ca.subject_der()
            && algorithms::signature_holds(
                ca.0.spki.identifier(),
                ca.0.spki.bits(),
                self.part(self.0.signature_identifier),
                self.part(self.0.tbs),
                self.part(self.0.signature),
            )
    }

    /// The raw subject key identifier.
    pub(super) fn ski_bytes(&self) -> Option<Vec<u8>> {
        let extension = self.extension(SKI)?;
        let identifier = SubjectKeyIdentifier::from_der(extension.value).ok()?;
        Some(identifier.0.as_bytes().to_vec())
    }

    /// The encoded name constraints, content of their SEQUENCE.
    pub(super) fn name_constraints(&self) -> Option<&[u8]> {
        document(self.extension(NAME_CONSTRAINTS)?.value)
            .ok()
            .map(|element| element.value)
    }

    pub(super) fn public_key(&self) -> &PublicKey {
        &self.0.spki
    }

    pub(super) fn extensions(&self) -> impl Iterator<Item = Extension<'_>> {
        self.0.extensions.iter().map(|extension| Extension {
            id: extension.id,
            value: self.part(extension.value),
            der: self.part(extension.der),
        })
    }

    fn extension(&self, id: ObjectIdentifier) -> Option<Extension<'_>> {
        self.extensions().find(|e| e.id == id)
    }

    fn part(&self, part: Part) -> &[u8] {
        part.within(self.der())
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Certificate) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.der() == other.der()
    }
}

impl Eq for Certificate {}

impl PartialOrd for Certificate {
    fn partial_cmp(&self, other: &Certificate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Certificate {
    fn cmp(&self, other: &Certificate) -> Ordering {
        self.der().cmp(other.der())
    }
}

impl Hash for Certificate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.der().hash(state);
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, {})", self.subject(), self.fingerprint())
    }
}

fn decode(der: &[u8]) -> DerResult<Decoded> {
    let fail = |error: der::Error| error.kind().to_string();
    let part = |part: &[u8]| Part::of(der, part).map_err(fail);
    let parts = document(der)
        .and_then(|d| d.children(Tag::Sequence))
        .map_err(fail)?;
    let [tbs, algorithm, signature] = parts[..] else {
        return Err("wrong number of parts".to_owned());
    };
    let fields = Fields::split(tbs).map_err(fail)?;
    if fields.algorithm.whole != algorithm.whole {
        return Err("two signature algorithms".to_owned());
    }
    let extensions = extensions(fields.extensions).map_err(fail)?;
    refuse_repeated(&extensions)?;
    let subject = Attributes::read(fields.subject.whole).map_err(fail)?;
    let issuer = Attributes::read(fields.issuer.whole).map_err(fail)?;
    let (not_before, not_after) = validity(fields.validity).map_err(fail)?;
    let parts = extensions.iter().map(|extension| {
        Ok(ExtensionParts {
            id: extension.id,
            value: part(extension.value)?,
            der: part(extension.der)?,
        })
    });
    Ok(Decoded {
        der: der.into(),
        fingerprint: hex(&Sha256::digest(der)),
        tbs: part(tbs.whole)?,
        version: fields.version,
        serial: serial(fields.serial).map_err(fail)?,
        subject_der: part(fields.subject.whole)?,
        issuer_der: part(fields.issuer.whole)?,
        subject: subject.to_text(),
        issuer: issuer.to_text(),
        common_name: subject.values(COMMON_NAME).last().map(str::to_owned),
        organizations: subject.values(ORGANIZATION).map(str::to_owned).collect(),
        not_before,
        not_after,
        spki: PublicKey::read(fields.spki.whole).map_err(fail)?,
        signature_identifier: part(algorithm.expect(Tag::Sequence).map_err(fail)?)?,
        signature: part(bits(signature).map_err(fail)?)?,
        usage: usage(&extensions).map_err(fail)?,
        extensions: parts.collect::<DerResult<_>>()?,
    })
}

/// The fields of a `TBSCertificate`, as they stand.
struct Fields<'a> {
    version: u8,
    serial: Element<'a>,
    algorithm: Element<'a>,
    issuer: Element<'a>,
    validity: Element<'a>,
    subject: Element<'a>,
    spki: Element<'a>,
    extensions: Option<Element<'a>>,
}

impl<'a> Fields<'a> {
    fn split(tbs: Element<'a>) -> der::Result<Fields<'a>> {
        let mut parts = tbs.children(Tag::Sequence)?.into_iter().peekable();
        let version = match parts.next_if(|p| context(p.tag) == Some(0)) {
            Some(explicit) => match u8::from_der(explicit.value)? {
                encoded @ 0..=2 => encoded + 1,
                _ => return Err(Tag::Integer.value_error().into()),
            },
            None => 1,
        };
        let mut field = || parts.next().ok_or(Tag::Sequence.length_error());
        let fields = Fields {
            version,
            serial: field()?,
            algorithm: field()?,
            issuer: field()?,
            validity: field()?,
            subject: field()?,
            spki: field()?,
            extensions: None,
        };
        // Unique identifiers, [1] and [2], are passed over as Go does.
        let mut rest = parts.skip_while(|p| matches!(context(p.tag), Some(1 | 2)));
        let extensions = rest.next();
        if rest.next().is_some() || extensions.is_some_and(|e| context(e.tag) != Some(3)) {
            return Err(Tag::Sequence.value_error().into());
        }
        Ok(Fields {
            extensions,
            ..fields
        })
    }
}

/// The number of a context-specific tag.
fn context(tag: Tag) -> Option<u32> {
    match tag {
        Tag::ContextSpecific {
            number: TagNumber(number),
            ..
        } => Some(number),
        _ => None,
    }
}

fn serial(element: Element<'_>) -> der::Result<String> {
    match element.expect(Tag::Integer)? {
        [] => Err(Tag::Integer.length_error().into()),
        [0, rest @ ..] if !rest.is_empty() => Ok(hex(rest)),
        bytes => Ok(hex(bytes)),
    }
}

fn validity(element: Element<'_>) -> der::Result<(i64, i64)> {
    let [not_before, not_after] = element.children(Tag::Sequence)?[..] else {
        return Err(Tag::Sequence.value_error().into());
    };
    let seconds = |part: Element<'_>| -> der::Result<i64> {
        let since_epoch = Time::from_der(part.whole)?.to_unix_duration();
        i64::try_from(since_epoch.as_secs()).map_err(|_| part.tag.value_error().into())
    };
    Ok((seconds(not_before)?, seconds(not_after)?))
}

/// The content of a bit string of whole bytes.
fn bits(element: Element<'_>) -> der::Result<&[u8]> {
    match element.expect(Tag::BitString)? {
        [0, bytes @ ..] => Ok(bytes),
        _ => Err(Tag::BitString.value_error().into()),
    }
}

fn extensions<'a>(explicit: Option<Element<'a>>) -> der::Result<Vec<Extension<'a>>> {
    let Some(explicit) = explicit else {
        return Ok(Vec::new());
    };
    let list = document(explicit.value)?.children(Tag::Sequence)?;
    let read = |element: Element<'a>| {
        let parts = element.children(Tag::Sequence)?;
        let (id, value) = match parts[..] {
            [id, value] => (id, value),
            [id, critical, value] => {
                bool::from_der(critical.whole)?;
                (id, value)
            }
            _ => return Err(Tag::Sequence.value_error().into()),
        };
        Ok(Extension {
            id: id.object_identifier()?,
            value: value.expect(Tag::OctetString)?,
            der: element.whole,
        })
    };
    list.into_iter().map(read).collect()
}

fn refuse_repeated(extensions: &[Extension<'_>]) -> DerResult<()> {
    let mut ids: Vec<_> = extensions.iter().map(|e| e.id).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("an extension is repeated".to_owned());
    }
    Ok(())
}

fn usage(extensions: &[Extension<'_>]) -> der::Result<Usage> {
    let mut usage = Usage::default();
    for extension in extensions {
        let value = extension.value;
        match extension.id {
            BASIC_CONSTRAINTS => usage.ca = Some(BasicConstraints::from_der(value)?),
            KEY_USAGE => usage.keys = Some(KeyUsage::from_der(value)?),
            EXTENDED_KEY_USAGE => usage.extended = Some(ExtendedKeyUsage::from_der(value)?.0),
            SKI => {
                let identifier = SubjectKeyIdentifier::from_der(value)?;
                usage.ski = Some(hex(identifier.0.as_bytes()));
            }
            AKI => {
                let identifier = AuthorityKeyIdentifier::from_der(value)?.key_identifier;
                usage.aki = identifier.map(|id| hex(id.as_bytes()));
            }
            SAN => alternative_names(SubjectAltName::from_der(value)?, &mut usage)?,
            _ => {}
        }
    }
    Ok(usage)
}

fn alternative_names(names: SubjectAltName, usage: &mut Usage) -> der::Result<()> {
    for name in names.0 {
        let (kind, text) = match name {
            GeneralName::DnsName(dns) => {
                usage.dns.push(dns.as_str().to_owned());
                ("DNS:", dns.as_str().to_owned())
            }
            GeneralName::IpAddress(bytes) => {
                let ip = address(bytes.as_bytes()).ok_or(Tag::OctetString.length_error())?;
                usage.ips.push(ip);
                ("IP:", ip.to_string())
            }
            GeneralName::UniformResourceIdentifier(uri) => ("URI:", uri.as_str().to_owned()),
            GeneralName::Rfc822Name(mail) => ("email:", mail.as_str().to_owned()),
            _ => ("other", String::new()),
        };
        let mut shown = kind.to_owned();
        escape(&text, &mut shown);
        usage.san.push(shown);
    }
    Ok(())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| v6()).ok()
}

impl PublicKey {
    /// Reads a `SubjectPublicKeyInfo`.
    pub fn read(der: &[u8]) -> der::Result<PublicKey> {
        let parts = document(der)?.children(Tag::Sequence)?;
        let [identifier, key] = parts[..] else {
            return Err(Tag::Sequence.value_error().into());
        };
        let kind = identifier.children(Tag::Sequence)?;
        let Some(id) = kind.first() else {
            return Err(Tag::Sequence.length_error().into());
        };
        let bits = bits(key)?;
        Ok(PublicKey {
            der: der.into(),
            identifier: Part::of(der, identifier.value)?,
            bits: Part::of(der, bits)?,
            text: key_text(id.object_identifier()?, kind.get(1).copied(), bits)?,
        })
    }

    /// The encoded `SubjectPublicKeyInfo`.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Content of the bit string.
    pub fn bits(&self) -> &[u8] {
        self.bits.within(&self.der)
    }

    /// Content of the algorithm identifier.
    fn identifier(&self) -> &[u8] {
        self.identifier.within(&self.der)
    }
}

/// Kind and size of a key for people.
fn key_text(
    id: ObjectIdentifier,
    parameters: Option<Element<'_>>,
    bits: &[u8],
) -> der::Result<String> {
    let curve = || parameters.map(|p| p.object_identifier()).transpose();
    Ok(match id.to_string().as_str() {
        "1.2.840.113549.1.1.1" => format!("RSA {}", modulus_bits(bits)?),
        "1.2.840.10045.2.1" => match curve()?.map(|c| c.to_string()).as_deref() {
            Some("1.2.840.10045.3.1.7") => "ECDSA P-256".to_owned(),
            Some("1.3.132.0.34") => "ECDSA P-384".to_owned(),
            Some("1.3.132.0.35") => "ECDSA P-521".to_owned(),
            other => format!("ECDSA {}", other.unwrap_or("without a curve")),
        },
        "1.3.101.112" => "Ed25519".to_owned(),
        other => other.to_owned(),
    })
}

fn modulus_bits(rsa_public_key: &[u8]) -> der::Result<usize> {
    let parts = document(rsa_public_key)?.children(Tag::Sequence)?;
    let modulus = parts.first().ok_or(Tag::Sequence.length_error())?;
    let bytes = modulus.expect(Tag::Integer)?;
    let significant = bytes.iter().skip_while(|b| **b == 0).count();
    let top = bytes[bytes.len() - significant..].first().copied();
    let unused = top.map_or(0, |b| b.leading_zeros() as usize);
    Ok(significant * 8 - unused)
}

fn usage_text(usage: KeyUsages) -> &'static str {
    match usage {
        KeyUsages::DigitalSignature => "digitalSignature",
        KeyUsages::NonRepudiation => "contentCommitment",
        KeyUsages::KeyEncipherment => "keyEncipherment",
        KeyUsages::DataEncipherment => "dataEncipherment",
        KeyUsages::KeyAgreement => "keyAgreement",
        KeyUsages::KeyCertSign => "keyCertSign",
        KeyUsages::CRLSign => "cRLSign",
        KeyUsages::EncipherOnly => "encipherOnly",
        KeyUsages::DecipherOnly => "decipherOnly",
    }
}

fn extended_text(usage: &ObjectIdentifier) -> String {
    match *usage {
        SERVER_AUTH => "serverAuth".to_owned(),
        CLIENT_AUTH => "clientAuth".to_owned(),
        ANY_USAGE => "any".to_owned(),
        other => other.to_string(),
    }
}

/// Every certificate of a PEM text, in order. Other text, `carota-kept:` lines and blocks that are
/// neither certificates nor private keys are passed over. A private key is `PrivateInSnapshot`.
pub fn certificates_in_pem(text: &str, file: &str) -> Result<Vec<Certificate>> {
    let wanted = |label: &str| label == "CERTIFICATE" || pem::is_private(label);
    let read = |block: pem::Block| {
        let at = pem::place(file, block.line);
        if pem::is_private(&block.label) {
            return Err(Diagnostic::new(
                Code::PrivateInSnapshot,
                "a private key stands in a file that must be public",
                "take the snapshot with `carota collect`, which leaves private keys on the node",
            )
            .at(at));
        }
        Certificate::from_der(&block.der).map_err(|why| {
            Diagnostic::new(
                Code::CertificateMalformed,
                format!("a certificate cannot be read: {why}"),
                "restore the file, then take the snapshot again",
            )
            .at(at)
        })
    };
    READ.recall(&[text.as_bytes()], || {
        let blocks = pem::blocks(text, file, wanted)?.into_iter();
        blocks.map(read).collect()
    })
}

/// What people compare in a diff of two certificates, in a stable order. Absent facts are left out.
#[must_use]
pub fn facts(certificate: &Certificate) -> Vec<(&'static str, String)> {
    let joined = |texts: Vec<String>| (!texts.is_empty()).then(|| texts.join(", "));
    [
        ("subject", Some(certificate.subject().to_owned())),
        ("issuer", Some(certificate.issuer().to_owned())),
        ("serial", Some(certificate.serial().to_owned())),
        ("not before", Some(utc(certificate.not_before()))),
        ("not after", Some(utc(certificate.not_after()))),
        ("SHA-256", Some(certificate.fingerprint().to_owned())),
        ("SKI", certificate.ski()),
        ("AKI", certificate.aki()),
        ("key", Some(certificate.key_algorithm_text().to_owned())),
        ("SANs", joined(certificate.san_text())),
        ("usages", joined(certificate.key_usages())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

/// A unix time as RFC 3339 in UTC.
#[must_use]
pub fn utc(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| format!("unix {seconds}"), |time| time.to_string())
}
