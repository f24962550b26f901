//! The signature algorithms that carota can check, over pure Rust.
//!
//! Knows public keys, messages and signatures. It must not know certificates or trust. One table
//! serves both the single signature check (`Certificate::signed_by`) and path validation.
//!
//! Beside these, Go also checks Ed25519 and P-521, and accepts PKCS#1 signatures whose algorithm
//! identifier lacks its NULL; no Kubernetes component issues such certificates. SHA-1 and MD5 are
//! refused by Go too.

use std::convert::Infallible;

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::{pkcs1v15, pss};
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::memo::Memo;

type Check = fn(public_key: &[u8], message: &[u8], signature: &[u8]) -> Option<()>;

/// A key type with a signature algorithm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Algorithm {
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    check: Check,
}

static CHECKED: Memo<bool> = Memo::of_little();

impl Algorithm {
    /// Whether a signature is one over the message by the key. Nothing takes longer in a compile, and
    /// one certificate is met under several names, purposes and times.
    fn holds(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let (key, of) = (self.key.as_ref(), self.signature.as_ref());
        let parts = [key, of, public_key, message, signature];
        let check = || Ok((self.check)(public_key, message, signature).is_some());
        CHECKED
            .recall(&parts, check)
            .unwrap_or_else(|never: Infallible| match never {})
    }
}

impl SignatureVerificationAlgorithm for Algorithm {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        if self.holds(public_key, message, signature) {
            Ok(())
        } else {
            Err(InvalidSignature)
        }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

const fn algorithm(
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    check: Check,
) -> Algorithm {
    Algorithm {
        key,
        signature,
        check,
    }
}

/// Every algorithm that carota can check.
static TABLE: [Algorithm; 12] = [
    algorithm(
        alg_id::RSA_ENCRYPTION,
        alg_id::RSA_PKCS1_SHA256,
        rsa_pkcs1::<Sha256>,
    ),
    algorithm(
        alg_id::RSA_ENCRYPTION,
        alg_id::RSA_PKCS1_SHA384,
        rsa_pkcs1::<Sha384>,
    ),
    algorithm(
        alg_id::RSA_ENCRYPTION,
        alg_id::RSA_PKCS1_SHA512,
        rsa_pkcs1::<Sha512>,
    ),
    algorithm(
        alg_id::RSA_ENCRYPTION,
        alg_id::RSA_PSS_SHA256,
        rsa_pss::<Sha256>,
    ),
    algorithm(
        alg_id::RSA_ENCRYPTION,
        alg_id::RSA_PSS_SHA384,
        rsa_pss::<Sha384>,
    ),
    algorithm(
        alg_id::RSA_ENCRYPTION,
        alg_id::RSA_PSS_SHA512,
        rsa_pss::<Sha512>,
    ),
    algorithm(
        alg_id::ECDSA_P256,
        alg_id::ECDSA_SHA256,
        p256_hash::<Sha256>,
    ),
    algorithm(
        alg_id::ECDSA_P256,
        alg_id::ECDSA_SHA384,
        p256_hash::<Sha384>,
    ),
    algorithm(
        alg_id::ECDSA_P256,
        alg_id::ECDSA_SHA512,
        p256_hash::<Sha512>,
    ),
    algorithm(
        alg_id::ECDSA_P384,
        alg_id::ECDSA_SHA256,
        p384_hash::<Sha256>,
    ),
    algorithm(
        alg_id::ECDSA_P384,
        alg_id::ECDSA_SHA384,
        p384_hash::<Sha384>,
    ),
    algorithm(
        alg_id::ECDSA_P384,
        alg_id::ECDSA_SHA512,
        p384_hash::<Sha512>,
    ),
];

/// The table as path validation takes it.
pub(super) fn supported() -> Vec<&'static dyn SignatureVerificationAlgorithm> {
    TABLE
        .iter()
        .map(|a| a as &dyn SignatureVerificationAlgorithm)
        .collect()
}

/// Whether signatures by this kind of key can be checked at all. The identifier is the content of its
/// SEQUENCE.
pub(super) fn knows_key(key_identifier: &[u8]) -> bool {
    TABLE.iter().any(|a| a.key.as_ref() == key_identifier)
}

/// Whether `signature` is one over `message` by the key. The identifiers are the contents of their
/// SEQUENCE. An algorithm that is not in the table gives false.
pub(super) fn signature_holds(
    key_identifier: &[u8],
    public_key: &[u8],
    signature_identifier: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    TABLE
        .iter()
        .find(|a| a.key.as_ref() == key_identifier && a.signature.as_ref() == signature_identifier)
        .is_some_and(|a| a.holds(public_key, message, signature))
}

fn rsa_pkcs1<D>(public_key: &[u8], message: &[u8], signature: &[u8]) -> Option<()>
where
    D: Digest + const_oid::AssociatedOid,
{
    let key = rsa::PublicKey::from_pkcs1_der(public_key).ok()?;
    let signature = pkcs1v15::Signature::try_from(signature).ok()?;
    pkcs1v15::VerifyingKey::<D>::new(key)
        .verify_prehash(&D::digest(message), &signature)
        .ok()
}

fn rsa_pss<D>(public_key: &[u8], message: &[u8], signature: &[u8]) -> Option<()>
where
    D: Digest + sha2::digest::FixedOutputReset,
{
    let key = rsa::PublicKey::from_pkcs1_der(public_key).ok()?;
    let signature = pss::Signature::try_from(signature).ok()?;
    pss::VerifyingKey::<D>::new(key)
        .verify_prehash(&D::digest(message), &signature)
        .ok()
}

fn p256_hash<D: Digest>(public_key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(public_key).ok()?;
    let signature = p256::ecdsa::Signature::from_der(signature).ok()?;
    key.verify_prehash(&D::digest(message), &signature).ok()
}

fn p384_hash<D: Digest>(public_key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(public_key).ok()?;
    let signature = p384::ecdsa::Signature::from_der(signature).ok()?;
    key.verify_prehash(&D::digest(message), &signature).ok()
}
