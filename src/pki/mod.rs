//! Keys and certificates: what a rotation issues, and whether a TLS peer would accept it.
//!
//! Knows X.509 and nothing of Kubernetes but its habits: kubeadm's forms of keys and CAs, and Go's
//! way of judging a chain. It must not know the snapshot, phases or output; apart from reading the
//! keyring it touches no disk.
//!
//! [`Issuer`] is the door to everything that is issued; [`verify`](verify::verify) to everything that
//! is judged. Private keys cannot be printed: [`PrivateKey`] and [`PrivateText`] see to it.

mod algorithms;
mod asn1;
pub mod bundle;
pub mod ca;
pub mod certificate;
pub mod issuer;
pub mod key;
pub mod keyring;
pub mod lock;
pub mod name;
mod pem;
pub mod request;
pub mod secret;
pub mod verify;

pub use bundle::Bundle;
pub use ca::{CaRequest, SigningCa, import_public};
pub use certificate::{Certificate, certificates_in_pem, facts};
pub use issuer::{CaSource, Issued, Issuer, LeafRequest, NewKey};
pub use key::{KeyAlgorithm, PrivateKey};
pub use keyring::Keyring;
pub use lock::{KeyReferences, LOCK_FILE, Lock, LockedCa, LockedLeaf};
pub use secret::PrivateText;
pub use verify::{Purpose, VerifyError, holds_name, verify};
