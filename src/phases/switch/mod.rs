//! Act two: every identity is re-issued by the new CA, now that every verifier trusts it.

pub mod client_certificates;
pub mod leaf_certificates;
pub mod signer;
pub mod verify;
pub mod workloads;
