//! Keys and certificates.

mod algorithms;
mod asn1;
pub mod bundle;
pub mod ca;
pub mod certificate;
pub mod key;
pub mod name;
mod pem;
pub mod secret;
pub mod verify;

pub use bundle::Bundle;
pub use ca::{CaRequest, SigningCa, import_public};
pub use certificate::{Certificate, certificates_in_pem, facts};
pub use key::{KeyAlgorithm, PrivateKey};
pub use secret::PrivateText;
pub use verify::{Purpose, VerifyError, verify};
