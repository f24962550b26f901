//! Keys and certificates.

mod algorithms;
mod asn1;
pub mod bundle;
pub mod certificate;
pub mod name;
mod pem;
pub mod secret;

pub use bundle::Bundle;
pub use certificate::{Certificate, certificates_in_pem, facts};
pub use secret::PrivateText;
