//! Act three: the old CA goes from every verifier, now that nothing it signed is in use.

pub mod clean_up;
pub mod retire_control_plane;
pub mod retire_kubelets;
pub mod retire_service_accounts;
