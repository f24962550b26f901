//! Bad input exits 2 with one clear error, its code and its place, and changes nothing.
//!
//! Each case is the example `plans/kubeadm-ha` with one mutation, compiled by the real binary. The
//! place that a message must name is searched for in the mutated file by the test itself.

mod authorities;
mod case;
mod certificates;
mod claims;
mod codes;
mod description;
mod external;
mod lock;
mod manifests;
mod output;
mod readers;
mod resume;
mod snapshot;
mod trust;
