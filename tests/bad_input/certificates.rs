//! Certificates for the cases, made at run time: nothing private is in the repository.

use carota::pki::{CaRequest, Certificate, KeyAlgorithm, SigningCa};

/// 2026-11-01T00:00:00Z, before everything in the example.
pub const EARLY: i64 = 1_793_491_200;
/// 2040-01-01T00:00:00Z, after everything in the example.
pub const LATE: i64 = 2_208_988_800;
/// 2026-11-20T00:00:00Z, before the rotation of the example begins.
pub const BEFORE: i64 = EARLY + 19 * 86_400;

/// `digitalSignature` and nothing else.
const KEY_USAGE: (&[u8], &[u8]) = (
    &[0x55, 0x1d, 0x0f],
    &[0x01, 0x01, 0xff, 0x04, 0x04, 0x03, 0x02, 0x07, 0x80],
);
/// `CA:FALSE`.
const BASIC_CONSTRAINTS: (&[u8], &[u8]) = (
    &[0x55, 0x1d, 0x13],
    &[0x01, 0x01, 0xff, 0x04, 0x02, 0x30, 0x00],
);

/// A usable CA with this validity.
pub fn ca(not_before: i64, not_after: i64) -> SigningCa {
    let request = CaRequest {
        subject: "CN=elsewhere".into(),
        key: KeyAlgorithm::EcdsaP256,
        not_before,
        not_after,
        serial: [0x41; 16],
    };
    SigningCa::mint(&request).unwrap()
}

/// The private key of a CA in PEM.
pub fn key(ca: &SigningCa) -> String {
    ca.key.to_pem().expose().to_owned()
}

/// A CA certificate whose keyUsage lacks keyCertSign.
pub fn without_key_cert_sign() -> String {
    with_extension(KEY_USAGE)
}

/// A certificate with CA:FALSE.
pub fn not_a_ca() -> String {
    with_extension(BASIC_CONSTRAINTS)
}

/// A CA as X.509 version 1 has it: without extensions.
pub fn version_1() -> String {
    remade(|parts| {
        parts.remove(0);
        parts.pop();
    })
}

/// The public key of a certificate in PEM.
pub fn public_key(certificate: &Certificate) -> String {
    pem("PUBLIC KEY", certificate.spki_der())
}

pub fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = (0..body.len())
        .step_by(64)
        .map(|i| &body[i..body.len().min(i + 64)])
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// A CA with one extension replaced.
fn with_extension((id, rest): (&[u8], &[u8])) -> String {
    remade(|parts| {
        let list = parts.pop().unwrap();
        let inner = children(&children(&list)[0]);
        let replaced: Vec<u8> = inner
            .into_iter()
            .map(|extension| {
                let own_id = children(&extension)[0][2..] == *id;
                if own_id {
                    element(0x30, &[&element(0x06, id)[..], rest].concat())
                } else {
                    extension
                }
            })
            .collect::<Vec<_>>()
            .concat();
        parts.push(element(0xa3, &element(0x30, &replaced)));
    })
}

/// A CA with other parts in its to-be-signed sequence, signed again.
fn remade(change: impl FnOnce(&mut Vec<Vec<u8>>)) -> String {
    let ca = ca(EARLY, LATE);
    let mut parts = children(&children(ca.certificate.der())[0]);
    change(&mut parts);
    let tbs = element(0x30, &parts.concat());
    let (algorithm, signature) = ca.key.sign(&tbs).unwrap();
    let bits = element(0x03, &[&[0], &signature[..]].concat());
    pem(
        "CERTIFICATE",
        &element(0x30, &[tbs, algorithm, bits].concat()),
    )
}

/// The elements inside a constructed DER element.
fn children(der: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &der[header(der).0..];
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (start, length) = header(rest);
        out.push(rest[..start + length].to_vec());
        rest = &rest[start + length..];
    }
    out
}

/// Length of an element's header and of its content.
fn header(der: &[u8]) -> (usize, usize) {
    match der[1] {
        long @ 0x80.. => {
            let count = usize::from(long & 0x7f);
            let length = der[2..2 + count]
                .iter()
                .fold(0, |n, b| n << 8 | usize::from(*b));
            (2 + count, length)
        }
        short => (2, usize::from(short)),
    }
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    let [.., high, low] = length.to_be_bytes();
    match length {
        0..0x80 => out.push(low),
        0x80..0x100 => out.extend([0x81, low]),
        _ => out.extend([0x82, high, low]),
    }
    out.extend(content);
    out
}
