//! Private keys: making, reading, writing, signing.
//!
//! Knows the key kinds that Kubernetes components use. It must not know which CA or leaf a key
//! belongs to. A key cannot be printed; its PEM text leaves this module only as [`PrivateText`].
//!
//! Signatures are deterministic: RFC 6979 for ECDSA, PKCS#1 v1.5 for RSA. The same key and the same
//! certificate content give the same bytes, on every machine.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use der::zeroize::Zeroizing;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::elliptic_curve::Generate;
use p256::elliptic_curve::sec1::ToSec1Point;
use rsa::pkcs1::{DecodeRsaPrivateKey, EncodeRsaPrivateKey, EncodeRsaPublicKey};
use rsa::pkcs8::DecodePrivateKey;
use rsa::signature::SignatureEncoding;
use rsa::traits::PublicKeyParts;
use rustls_pki_types::{AlgorithmIdentifier, alg_id};
use sha2::{Digest, Sha256, Sha384};

use super::asn1::{SEQUENCE, bit_string, element, hex};
use super::certificate::Certificate;
use super::pem;
use super::secret::PrivateText;
use crate::diagnostic::{Code, Diagnostic, Place, Result};

/// The keys that carota makes for a CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyAlgorithm {
    /// RSA with 2048 bits, kubeadm's default.
    Rsa2048,
    /// RSA with 4096 bits.
    Rsa4096,
    /// ECDSA over P-256.
    EcdsaP256,
    /// ECDSA over P-384.
    EcdsaP384,
}

impl KeyAlgorithm {
    /// Every algorithm, in the order in which documentation lists them.
    pub const ALL: [KeyAlgorithm; 4] = [
        KeyAlgorithm::Rsa2048,
        KeyAlgorithm::Rsa4096,
        KeyAlgorithm::EcdsaP256,
        KeyAlgorithm::EcdsaP384,
    ];

    /// The name in cluster.toml.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            KeyAlgorithm::Rsa2048 => "rsa-2048",
            KeyAlgorithm::Rsa4096 => "rsa-4096",
            KeyAlgorithm::EcdsaP256 => "ecdsa-p256",
            KeyAlgorithm::EcdsaP384 => "ecdsa-p384",
        }
    }

    /// The name that [`Certificate::key_algorithm_text`] gives such a key.
    #[must_use]
    pub fn certificate_text(self) -> &'static str {
        match self {
            KeyAlgorithm::Rsa2048 => "RSA 2048",
            KeyAlgorithm::Rsa4096 => "RSA 4096",
            KeyAlgorithm::EcdsaP256 => "ECDSA P-256",
            KeyAlgorithm::EcdsaP384 => "ECDSA P-384",
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyAlgorithm {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<KeyAlgorithm, String> {
        let names = KeyAlgorithm::ALL.map(KeyAlgorithm::name).join(", ");
        KeyAlgorithm::ALL
            .into_iter()
            .find(|a| a.name() == text)
            .ok_or_else(|| format!("a key algorithm is one of {names}"))
    }
}

/// A private key. It is overwritten when dropped and cannot be printed.
#[derive(Clone)]
pub struct PrivateKey {
    secret: Arc<Secret>,
    pem: PrivateText,
    spki: Vec<u8>,
}

enum Secret {
    Rsa(Box<rsa::PrivateKey>),
    P256(p256::SecretKey),
    P384(p384::SecretKey),
}

impl PrivateKey {
    /// A new key from the system's random source.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<PrivateKey> {
        match algorithm {
            KeyAlgorithm::Rsa2048 => generate_rsa(2048),
            KeyAlgorithm::Rsa4096 => generate_rsa(4096),
            KeyAlgorithm::EcdsaP256 => p256::SecretKey::try_generate()
                .map_err(no_randomness)
                .and_then(|key| PrivateKey::new(Secret::P256(key))),
            KeyAlgorithm::EcdsaP384 => p384::SecretKey::try_generate()
                .map_err(no_randomness)
                .and_then(|key| PrivateKey::new(Secret::P384(key))),
        }
    }

    /// A new key of the kind and size of the one in `certificate`.
    pub fn generate_like(certificate: &Certificate) -> Result<PrivateKey> {
        let text = certificate.key_algorithm_text();
        if let Some(algorithm) = KeyAlgorithm::ALL
            .into_iter()
            .find(|a| a.certificate_text() == text)
        {
            return PrivateKey::generate(algorithm);
        }
        // Sizes between those of KeyAlgorithm are met in leaves that people made themselves.
        match text.strip_prefix("RSA ").and_then(|b| b.parse().ok()) {
            Some(bits @ 2048..=8192) => generate_rsa(bits),
            _ => Err(Diagnostic::new(
                Code::Unsupported,
                format!(
                    "the certificate {} has a {text} key, and carota makes RSA, P-256 and P-384 keys",
                    certificate.subject()
                ),
                "keep the keys of the leaves (`leaf_keys = \"keep\"`), or renew this one by hand",
            )),
        }
    }

    /// Reads the first private key of a PEM text: PKCS#1, SEC1 or PKCS#8; RSA, P-256 or P-384. Blocks
    /// before it (`EC PARAMETERS`, certificates) are passed over.
    pub fn from_pem(text: &PrivateText, file: &str) -> Result<PrivateKey> {
        let invalid = |reason: &str, line: usize| {
            Diagnostic::new(
                Code::PemMalformed,
                reason,
                "give an unencrypted PEM file with an RSA, P-256 or P-384 private key",
            )
            .at(pem::place(file, line))
        };
        let blocks = pem::blocks(text.expose(), file, pem::is_private)?;
        let Some(block) = blocks.first() else {
            return Err(invalid("the file holds no private key", 1));
        };
        let secret = match block.label.as_str() {
            "RSA PRIVATE KEY" => rsa_from_pkcs1(&block.der),
            "EC PRIVATE KEY" => p256::SecretKey::from_sec1_der(&block.der)
                .map(Secret::P256)
                .or_else(|_| p384::SecretKey::from_sec1_der(&block.der).map(Secret::P384))
                .ok(),
            "PRIVATE KEY" => secret_from_pkcs8(&block.der),
            _ => None,
        };
        secret
            .ok_or_else(|| invalid("the private key cannot be read", block.line))
            .and_then(PrivateKey::new)
            .map_err(|error| match error.place {
                Some(_) => error,
                None => error.at(Place::start_of(file)),
            })
    }

    /// The PEM text in the form that kubeadm writes: PKCS#1 for RSA, SEC1 for ECDSA; LF, 64 columns,
    /// a final newline.
    #[must_use]
    pub fn to_pem(&self) -> PrivateText {
        self.pem.clone()
    }

    /// The encoded public key, as it stands in a certificate.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The reference that stands for this key's PEM block in public files.
    #[must_use]
    pub fn pem_reference(&self) -> String {
        // The text is already in the form that is hashed: unindented lines, LF, a final newline.
        reference(self.pem.expose().as_bytes())
    }

    /// The reference that stands for this key where a kubeconfig holds it (`client-key-data`): base64
    /// of the PEM text with its final newline.
    #[must_use]
    pub fn base64_reference(&self) -> String {
        let encoded = Zeroizing::new(BASE64.encode(self.pem.expose()));
        reference(encoded.as_bytes())
    }

    /// Whether this is the key of `certificate`.
    #[must_use]
    pub fn belongs_to(&self, certificate: &Certificate) -> bool {
        self.spki == certificate.spki_der()
    }

    /// The algorithm identifier (DER) of the signatures that this key makes.
    #[must_use]
    pub fn signature_identifier(&self) -> Vec<u8> {
        let content = match &*self.secret {
            Secret::Rsa(_) => alg_id::RSA_PKCS1_SHA256,
            Secret::P256(_) => alg_id::ECDSA_SHA256,
            Secret::P384(_) => alg_id::ECDSA_SHA384,
        };
        element(SEQUENCE, &[content.as_ref()])
    }

    /// Signs: SHA-256, and SHA-384 with P-384. Gives the algorithm identifier (DER) and the
    /// signature.
    pub fn sign(&self, tbs: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let signature = match &*self.secret {
            Secret::Rsa(key) => key
                .sign(rsa::Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(tbs))
                .ok(),
            Secret::P256(key) => p256::ecdsa::SigningKey::from(key)
                .sign_prehash(&Sha256::digest(tbs))
                .ok()
                .map(|s: p256::ecdsa::DerSignature| s.to_vec()),
            Secret::P384(key) => p384::ecdsa::SigningKey::from(key)
                .sign_prehash(&Sha384::digest(tbs))
                .ok()
                .map(|s: p384::ecdsa::DerSignature| s.to_vec()),
        };
        let signature = signature.ok_or_else(|| damaged("no signature"))?;
        Ok((self.signature_identifier(), signature))
    }

    /// What rcgen calls this kind of key.
    pub(super) fn rcgen_algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match &*self.secret {
            Secret::Rsa(_) => &rcgen::PKCS_RSA_SHA256,
            Secret::P256(_) => &rcgen::PKCS_ECDSA_P256_SHA256,
            Secret::P384(_) => &rcgen::PKCS_ECDSA_P384_SHA384,
        }
    }

    fn new(secret: Secret) -> Result<PrivateKey> {
        let (spki, pem) = match &secret {
            Secret::Rsa(key) => {
                let private = key.to_pkcs1_der().map(|d| d.to_bytes()).map_err(damaged)?;
                (
                    spki(alg_id::RSA_ENCRYPTION, &rsa_public_bits(key)?),
                    pem::write_private("RSA PRIVATE KEY", &private),
                )
            }
            Secret::P256(key) => (
                spki(
                    alg_id::ECDSA_P256,
                    key.public_key().to_sec1_point(false).as_bytes(),
                ),
                pem::write_private("EC PRIVATE KEY", &key.to_sec1_der().map_err(damaged)?),
            ),
            Secret::P384(key) => (
                spki(
                    alg_id::ECDSA_P384,
                    key.public_key().to_sec1_point(false).as_bytes(),
                ),
                pem::write_private("EC PRIVATE KEY", &key.to_sec1_der().map_err(damaged)?),
            ),
        };
        Ok(PrivateKey {
            secret: Arc::new(secret),
            pem,
            spki,
        })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// A reference to a private value by its hash. Keys are too long to be guessed from it.
fn reference(value: &[u8]) -> String {
    format!("carota-kept:sha256:{}", hex(&Sha256::digest(value)))
}

fn spki(algorithm: AlgorithmIdentifier, bits: &[u8]) -> Vec<u8> {
    let identifier = element(SEQUENCE, &[algorithm.as_ref()]);
    element(SEQUENCE, &[&identifier, &bit_string(bits)])
}

fn rsa_public_bits(key: &rsa::PrivateKey) -> Result<Vec<u8>> {
    if key.n().bit_width() < 2048 {
        return Err(Diagnostic::new(
            Code::Unsupported,
            "an RSA key has fewer than 2048 bits",
            "use a key of at least 2048 bits",
        ));
    }
    let public = key.as_public_key().to_pkcs1_der();
    public.map(der::Document::into_vec).map_err(damaged)
}

/// A key that was decoded and cannot be encoded again.
fn damaged(_: impl fmt::Display) -> Diagnostic {
    Diagnostic::new(
        Code::PemMalformed,
        "a private key is damaged",
        "give a sound private key",
    )
}

fn generate_rsa(bits: usize) -> Result<PrivateKey> {
    rsa::PrivateKey::new(&mut getrandom::SysRng, bits)
        .map_err(no_randomness)
        .and_then(|key| PrivateKey::new(Secret::Rsa(Box::new(key))))
}

fn rsa_from_pkcs1(der: &[u8]) -> Option<Secret> {
    let key = rsa::PrivateKey::from_pkcs1_der(der).ok()?;
    key.validate().ok()?;
    Some(Secret::Rsa(Box::new(key)))
}

fn secret_from_pkcs8(der: &[u8]) -> Option<Secret> {
    let rsa = || {
        let key = rsa::PrivateKey::from_pkcs8_der(der).ok()?;
        key.validate().ok()?;
        Some(Secret::Rsa(Box::new(key)))
    };
    let p256 = || p256::SecretKey::from_pkcs8_der(der).ok().map(Secret::P256);
    let p384 = || p384::SecretKey::from_pkcs8_der(der).ok().map(Secret::P384);
    rsa().or_else(p256).or_else(p384)
}

fn no_randomness(error: impl fmt::Display) -> Diagnostic {
    Diagnostic::new(
        Code::OutputFailed,
        format!("a key could not be made: {error}"),
        "check that the system's random source works",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_reads_its_own_name() {
        for algorithm in KeyAlgorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
        assert!(
            "rsa-1024"
                .parse::<KeyAlgorithm>()
                .unwrap_err()
                .contains("rsa-2048")
        );
    }

    #[test]
    fn a_key_survives_its_pem_form_and_signs_the_same_bytes_twice() {
        for (algorithm, label) in [
            (KeyAlgorithm::Rsa2048, "RSA PRIVATE KEY"),
            (KeyAlgorithm::EcdsaP256, "EC PRIVATE KEY"),
            (KeyAlgorithm::EcdsaP384, "EC PRIVATE KEY"),
        ] {
            let key = PrivateKey::generate(algorithm).unwrap();
            let text = key.to_pem();
            assert!(
                text.expose()
                    .starts_with(&format!("-----BEGIN {label}-----\n"))
            );
            assert!(
                text.expose()
                    .ends_with(&format!("\n-----END {label}-----\n"))
            );
            let again = PrivateKey::from_pem(&text, "f").unwrap();
            assert_eq!(again.spki_der(), key.spki_der());
            assert_eq!(again.to_pem().expose(), text.expose());
            assert_eq!(again.sign(b"x").unwrap(), key.sign(b"x").unwrap());
        }
    }

    #[test]
    fn a_private_key_does_not_print_itself() {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey(..)");
    }

    #[test]
    fn an_unreadable_key_is_refused_without_being_quoted() {
        let text = "x\n-----BEGIN PRIVATE KEY-----\nAAECAwQF\n-----END PRIVATE KEY-----\n";
        let error = PrivateKey::from_pem(&PrivateText::new(text.to_owned()), "ca.key").unwrap_err();
        assert_eq!(error.code, Code::PemMalformed);
        assert_eq!(error.place.clone().unwrap().line, 2);
        assert!(!error.to_string().contains("AAEC"));
        let none = PrivateKey::from_pem(&PrivateText::new(String::new()), "ca.key");
        assert_eq!(none.unwrap_err().code, Code::PemMalformed);
    }
}
