//! Act one: every verifier comes to trust the old and the new CA. Until its end no identity changes.

pub mod apiserver_trust;
pub mod bootstrap_trust;
pub mod control_plane_trust;
pub mod controller_manager_root_ca;
pub mod distribute_ca;
pub mod etcd_trust;
pub mod extension_trust;
pub mod kubeconfig_trust;
pub mod kubelet_trust;
pub mod preflight;
pub mod restart_in_cluster_clients;
pub mod service_account_trust;
