//! Path validation: would a TLS peer accept this certificate?
//!
//! Knows certificates, anchors, purposes, names and one point in time. It must not know clusters,
//! files or phases; the proof asks here and explains there.
//!
//! The path is searched by `rustls-webpki`, which treats an anchor as a bare name and key. What Go
//! asks of an anchor is therefore asked here first: that it is a version 3 CA that may sign, is valid
//! at that time, allows the purpose, and allows that many intermediates.
//!
//! Where this differs from Go's `crypto/x509`, it is stricter, so that what is accepted here is
//! accepted by Kubernetes:
//! - a version 1 anchor is refused; Go accepts one, OpenSSL's strict mode does not;
//! - a CA certificate used as a server's or client's own certificate is refused, unless it is itself
//!   an anchor ([`VerifyError::LeafIsCa`]); Go accepts it;
//! - certificates with issuer or subject unique identifiers are refused;
//! - below a CA with name constraints, a wildcard of a top-level name (`*.example`) is refused;
//! - Ed25519 and P-521 signatures are not checked but refused.
//!
//! As in Go, names are looked for in the SAN only, several anchors with one subject are all tried
//! whatever their key identifiers, and a certificate that is itself an anchor needs no issuer.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeIdIter, VerifiedPath};

use super::algorithms;
use super::asn1::document;
use super::certificate::{Certificate, utc};

/// What a certificate is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose<'a> {
    /// It serves TLS.
    Server {
        /// The DNS name or IP address that the client dials; `None` when it checks no name.
        name: Option<&'a str>,
    },
    /// It is a TLS client.
    Client,
}

/// Why a certificate would not be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum VerifyError {
    /// The certificate, or an intermediate, has expired.
    Expired {
        /// Last second of validity, unix time.
        not_after: i64,
    },
    /// The certificate, or an intermediate, is not valid yet.
    NotYetValid {
        /// First second of validity, unix time.
        not_before: i64,
    },
    /// No anchor has the issuer's name.
    UnknownIssuer,
    /// An anchor has the issuer's name, but another key signed.
    IssuerKeyDiffers,
    /// The SAN does not hold the name dialled.
    WrongName,
    /// The extendedKeyUsage of the certificate or of a CA above it excludes the purpose.
    WrongPurpose,
    /// The only anchor that fits is not a CA: not version 3, no CA:TRUE, or no keyCertSign.
    AnchorNotCa {
        /// Its subject, for people.
        subject: String,
    },
    /// The only anchor that fits has expired.
    AnchorExpired {
        /// Its subject, for people.
        subject: String,
        /// Last second of validity, unix time.
        not_after: i64,
    },
    /// The only anchor that fits is not valid yet.
    AnchorNotYetValid {
        /// Its subject, for people.
        subject: String,
        /// First second of validity, unix time.
        not_before: i64,
    },
    /// An intermediate is not a CA.
    IntermediateNotCa,
    /// A CA allows fewer intermediates below it than there are.
    PathTooLong,
    /// A name in the certificate is outside what a CA may issue.
    NameNotPermitted,
    /// The certificate is a CA and not itself an anchor.
    LeafIsCa,
    /// The certificate is not X.509 version 3.
    NotVersion3,
    /// A signature uses an algorithm that carota does not check.
    UnsupportedAlgorithm,
    /// Something else is wrong with the certificate; the text is webpki's name for it.
    Malformed(String),
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use VerifyError as E;
        match self {
            E::Expired { not_after } => write!(f, "it expired on {}", utc(*not_after)),
            E::NotYetValid { not_before } => {
                write!(f, "it is not valid before {}", utc(*not_before))
            }
            E::UnknownIssuer => f.write_str("no trusted CA has the name of its issuer"),
            E::IssuerKeyDiffers => f.write_str(
                "a trusted CA has the name of its issuer, but another key made the signature",
            ),
            E::WrongName => f.write_str("its SAN does not hold the name that is dialled"),
            E::WrongPurpose => {
                f.write_str("its extendedKeyUsage, or that of a CA above it, excludes this purpose")
            }
            E::AnchorNotCa { subject } => write!(
                f,
                "the trusted certificate {subject} is not a version 3 CA with keyCertSign"
            ),
            E::AnchorExpired { subject, not_after } => {
                write!(f, "the trusted CA {subject} expired on {}", utc(*not_after))
            }
            E::AnchorNotYetValid {
                subject,
                not_before,
            } => write!(
                f,
                "the trusted CA {subject} is not valid before {}",
                utc(*not_before)
            ),
            E::IntermediateNotCa => f.write_str("a certificate between it and the CA is not a CA"),
            E::PathTooLong => f.write_str("a CA allows fewer intermediates than there are"),
            E::NameNotPermitted => f.write_str("a CA above it does not permit one of its names"),
            E::LeafIsCa => f.write_str("it is a CA certificate and not itself trusted"),
            E::NotVersion3 => f.write_str("it is not an X.509 version 3 certificate"),
            E::UnsupportedAlgorithm => {
                f.write_str("a signature uses an algorithm that carota does not check")
            }
            E::Malformed(what) => write!(f, "it cannot be validated ({what})"),
        }
    }
}

impl std::error::Error for VerifyError {}

/// Whether a peer that trusts `anchors` accepts `leaf`, sent together with `intermediates`, for
/// `purpose` at unix time `at`.
pub fn verify(
    leaf: &Certificate,
    intermediates: &[Certificate],
    anchors: &[Certificate],
    purpose: Purpose<'_>,
    at: i64,
) -> Result<(), VerifyError> {
    let encoded = CertificateDer::from(leaf.der());
    let end_entity = EndEntityCert::try_from(&encoded).map_err(translate)?;
    if anchors.contains(leaf) {
        in_time(leaf, at)?;
        allows(leaf, purpose)?;
    } else {
        find_path(leaf, &end_entity, intermediates, anchors, (purpose, at))?;
    }
    match purpose {
        Purpose::Server { name: Some(name) } => holds_name(leaf, name)
            .then_some(())
            .ok_or(VerifyError::WrongName),
        Purpose::Server { name: None } | Purpose::Client => Ok(()),
    }
}

fn find_path(
    leaf: &Certificate,
    end_entity: &EndEntityCert<'_>,
    intermediates: &[Certificate],
    anchors: &[Certificate],
    (purpose, at): (Purpose<'_>, i64),
) -> Result<(), VerifyError> {
    // Go asks an intermediate for keyCertSign, webpki does not.
    let usable: Vec<&Certificate> = intermediates.iter().filter(|c| c.may_sign()).collect();
    let mut refused = None;
    let mut trusted = Vec::new();
    for anchor in anchors {
        match usable_anchor(anchor, purpose, at) {
            Ok(()) => trusted.push((anchor, trust_anchor(anchor)?)),
            Err(why) if issued_any(anchor, leaf, intermediates) => refused = Some(why),
            Err(_) => {}
        }
    }
    let bare: Vec<TrustAnchor<'_>> = trusted.iter().map(|(_, bare)| bare.clone()).collect();
    let between: Vec<CertificateDer<'_>> = usable.iter().map(|c| c.der().into()).collect();
    let path_length = |path: &VerifiedPath<'_>| {
        let below = path.intermediate_certificates().count();
        let allowed = trusted
            .iter()
            .find(|(_, bare)| bare == path.anchor())
            .and_then(|(anchor, _)| anchor.path_length());
        match allowed {
            Some(allowed) if below > usize::from(allowed) => Err(Error::PathLenConstraintViolated),
            _ => Ok(()),
        }
    };
    let found = end_entity.verify_for_usage(
        &algorithms::supported(),
        &bare,
        &between,
        UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).unwrap_or(0))),
        Usage(purpose),
        None,
        Some(&path_length),
    );
    match found.map(|_| ()).map_err(translate) {
        // The anchor that would have been found says more.
        Err(VerifyError::UnknownIssuer) => Err(refused
            .or_else(|| unusable_intermediate(leaf, intermediates))
            .unwrap_or(VerifyError::UnknownIssuer)),
        result => result,
    }
}

/// Whether `anchor` signed the leaf or one of the intermediates.
fn issued_any(anchor: &Certificate, leaf: &Certificate, intermediates: &[Certificate]) -> bool {
    let mut below = [leaf].into_iter().chain(intermediates);
    below.any(|c| c != anchor && c.signed_by(anchor))
}

fn unusable_intermediate(leaf: &Certificate, intermediates: &[Certificate]) -> Option<VerifyError> {
    intermediates
        .iter()
        .any(|c| !c.may_sign() && leaf.signed_by(c))
        .then_some(VerifyError::IntermediateNotCa)
}

fn usable_anchor(anchor: &Certificate, purpose: Purpose<'_>, at: i64) -> Result<(), VerifyError> {
    let subject = || anchor.subject().to_owned();
    if !anchor.may_sign() {
        return Err(VerifyError::AnchorNotCa { subject: subject() });
    }
    match in_time(anchor, at) {
        Err(VerifyError::Expired { not_after }) => Err(VerifyError::AnchorExpired {
            subject: subject(),
            not_after,
        }),
        Err(VerifyError::NotYetValid { not_before }) => Err(VerifyError::AnchorNotYetValid {
            subject: subject(),
            not_before,
        }),
        _ => allows(anchor, purpose),
    }
}

fn in_time(certificate: &Certificate, at: i64) -> Result<(), VerifyError> {
    let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
    if at > not_after {
        Err(VerifyError::Expired { not_after })
    } else if at < not_before {
        Err(VerifyError::NotYetValid { not_before })
    } else {
        Ok(())
    }
}

fn allows(certificate: &Certificate, purpose: Purpose<'_>) -> Result<(), VerifyError> {
    let allowed = match purpose {
        Purpose::Server { .. } => certificate.server_auth(),
        Purpose::Client => certificate.client_auth(),
    };
    allowed.then_some(()).ok_or(VerifyError::WrongPurpose)
}

/// An anchor as webpki takes it: contents without their SEQUENCE.
fn trust_anchor(certificate: &Certificate) -> Result<TrustAnchor<'_>, VerifyError> {
    let content = |der| match document(der) {
        Ok(element) => Ok(element.value.into()),
        Err(error) => Err(VerifyError::Malformed(error.kind().to_string())),
    };
    Ok(TrustAnchor {
        subject: content(certificate.subject_der())?,
        subject_public_key_info: content(certificate.spki_der())?,
        name_constraints: certificate.name_constraints().map(Into::into),
    })
}

/// Whether the SAN holds the name, as Go's `VerifyHostname` decides. webpki's own check is not used:
/// it refuses wildcards of one label and names that Go compares exactly.
#[must_use]
pub fn holds_name(certificate: &Certificate, name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(name).parse::<IpAddr>() {
        let wanted = address.to_canonical();
        let mut addresses = certificate.ip_addresses().iter();
        addresses.any(|a| a.to_canonical() == wanted)
    } else {
        certificate
            .dns_names()
            .iter()
            .any(|dns| dns_matches(dns, name))
    }
}

fn dns_matches(pattern: &str, name: &str) -> bool {
    let host = name.strip_suffix('.').unwrap_or(name);
    if !(is_host(host, false) && is_host(pattern, true)) {
        return !matches!(name, "" | ".") && pattern.eq_ignore_ascii_case(name);
    }
    let wildcard = pattern.strip_prefix("*.");
    match (wildcard, host.split_once('.')) {
        (Some(rest), Some((_, parent))) => rest.eq_ignore_ascii_case(parent),
        (Some(_), None) => false,
        (None, _) => pattern.eq_ignore_ascii_case(host),
    }
}

/// Labels of letters, digits, `_` and inner `-`; the first label of a pattern may be `*`.
fn is_host(text: &str, pattern: bool) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label = |l: &str| !l.is_empty() && !l.starts_with('-') && l.bytes().all(fine);
    let rest = text.strip_prefix("*.").filter(|_| pattern);
    rest.unwrap_or(text).split('.').all(label)
}

/// The extendedKeyUsage as Go reads it: none means any, and `any` means any.
struct Usage<'a>(Purpose<'a>);

impl ExtendedKeyUsageValidator for Usage<'_> {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        const ANY: [usize; 5] = [2, 5, 29, 37, 0];
        let wanted: [usize; 9] = match self.0 {
            Purpose::Server { .. } => [1, 3, 6, 1, 5, 5, 7, 3, 1],
            Purpose::Client => [1, 3, 6, 1, 5, 5, 7, 3, 2],
        };
        let mut present = Vec::new();
        for usage in usages {
            present.push(usage?.to_decoded_oid());
        }
        let allowed = present.is_empty() || present.iter().any(|u| *u == wanted || *u == ANY);
        if allowed {
            return Ok(());
        }
        Err(Error::RequiredEkuNotFoundContext(
            webpki::RequiredEkuNotFoundContext {
                required: match self.0 {
                    Purpose::Server { .. } => webpki::KeyUsage::server_auth(),
                    Purpose::Client => webpki::KeyUsage::client_auth(),
                },
                present,
            },
        ))
    }
}

fn translate(error: Error) -> VerifyError {
    let seconds = |time: UnixTime| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match error {
        Error::CertExpired { not_after, .. } => VerifyError::Expired {
            not_after: seconds(not_after),
        },
        Error::CertNotValidYet { not_before, .. } => VerifyError::NotYetValid {
            not_before: seconds(not_before),
        },
        Error::UnknownIssuer => VerifyError::UnknownIssuer,
        Error::InvalidSignatureForPublicKey => VerifyError::IssuerKeyDiffers,
        Error::UnsupportedSignatureAlgorithmForPublicKeyContext(context) => {
            if algorithms::knows_key(&context.public_key_algorithm_id) {
                VerifyError::IssuerKeyDiffers
            } else {
                VerifyError::UnsupportedAlgorithm
            }
        }
        Error::RequiredEkuNotFoundContext(_) => VerifyError::WrongPurpose,
        Error::EndEntityUsedAsCa => VerifyError::IntermediateNotCa,
        Error::PathLenConstraintViolated => VerifyError::PathTooLong,
        Error::NameConstraintViolation => VerifyError::NameNotPermitted,
        Error::CaUsedAsEndEntity => VerifyError::LeafIsCa,
        Error::UnsupportedCertVersion => VerifyError::NotVersion3,
        Error::UnsupportedSignatureAlgorithmContext(_) => VerifyError::UnsupportedAlgorithm,
        other => VerifyError::Malformed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::dns_matches;

    #[test]
    fn dns_names_match_as_in_go() {
        for (pattern, name, matches) in [
            ("a.example", "A.example.", true),
            ("a.example.", "a.example.", true),
            ("a.example.", "a.example", false),
            ("*.example", "a.example", true),
            ("*.example", "a.b.example", false),
            ("*.example", "example", false),
            ("*.example", ".example", false),
            ("*", "example", false),
            ("*", "*", true),
            ("a*.example", "ab.example", false),
            ("a.*.example", "a.b.example", false),
            ("under_score.example", "under_score.example", true),
            ("-a.example", "-a.example", true),
            ("", "", false),
            (".", ".", false),
        ] {
            assert_eq!(dns_matches(pattern, name), matches, "{pattern} {name}");
        }
    }
}
