//! No certificate, PEM text or lock can make the reader panic, whatever was done to its bytes.

use carota::pki::verify::verify;
use carota::pki::{
    CaRequest, Certificate, KeyAlgorithm, Lock, LockedCa, PrivateKey, PrivateText, Purpose,
    SigningCa, certificates_in_pem, facts,
};
use proptest::prelude::*;
use std::sync::LazyLock;

static CA: LazyLock<SigningCa> = LazyLock::new(|| {
    SigningCa::mint(&CaRequest {
        subject: "CN=kubernetes,O=a,O=b".to_owned(),
        key: KeyAlgorithm::EcdsaP256,
        not_before: 1_893_456_000,
        not_after: 2_208_988_800,
        serial: [7; 16],
    })
    .unwrap()
});

/// Bytes with some of them changed, and perhaps cut short.
fn damaged(bytes: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (changes, any::<prop::sample::Index>(), any::<bool>()).prop_map(|(changes, cut, shorten)| {
        let mut bytes = bytes.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if shorten {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes
    })
}

fn leaked(bytes: Vec<u8>) -> &'static [u8] {
    Box::leak(bytes.into_boxed_slice())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_damaged_certificate_is_refused_or_read(der in damaged(CA.certificate.der())) {
        if let Ok(read) = Certificate::from_der(&der) {
            prop_assert_eq!(read.der(), &der[..]);
            prop_assert!(facts(&read).iter().all(|(_, v)| !v.chars().any(char::is_control)));
            prop_assert_eq!(read.signed_by(&CA.certificate), read == CA.certificate);
            let anchors = [CA.certificate.clone()];
            let _ = verify(&read, &anchors, &anchors, Purpose::Client, 1_900_000_000);
            let _ = verify(&CA.certificate, &[], std::slice::from_ref(&read), Purpose::Client, 1_900_000_000);
            let _ = CA.reissue(&read, 1_893_456_000, 1_924_992_000, "r");
        }
    }

    #[test]
    fn a_damaged_pem_text_is_refused_or_read(
        text in damaged(leaked(CA.certificate.to_pem().into_bytes()))
    ) {
        let text = String::from_utf8_lossy(&text);
        let _ = certificates_in_pem(&text, "f");
        let _ = PrivateKey::from_pem(&PrivateText::new(text.into_owned()), "f");
    }

    #[test]
    fn a_damaged_key_is_refused_or_read(
        text in damaged(leaked(CA.key.to_pem().expose().as_bytes().to_vec()))
    ) {
        let text = String::from_utf8_lossy(&text).into_owned();
        if let Err(error) = PrivateKey::from_pem(&PrivateText::new(text), "f") {
            let body = CA.key.to_pem().expose().lines().nth(1).unwrap()[..16].to_owned();
            prop_assert!(!error.to_string().contains(&body));
        }
    }

    #[test]
    fn a_damaged_lock_is_refused_or_read(text in damaged(leaked(lock_text()))) {
        let text = String::from_utf8_lossy(&text);
        if let Ok(lock) = Lock::parse(&text, "carota.lock") {
            prop_assert_eq!(Lock::parse(&lock.to_text(), "carota.lock").unwrap(), lock);
        }
    }
}

fn lock_text() -> Vec<u8> {
    let mut lock = Lock::default();
    lock.cas.insert(
        "kubernetes".to_owned(),
        LockedCa {
            certificate: CA.certificate.clone(),
            chain: Vec::new(),
            key_reference: Some(CA.key.pem_reference()),
        },
    );
    lock.to_text().into_bytes()
}
