//! carota compiles the rotation of a Kubernetes cluster's certificate authorities: from a cluster
//! description and a snapshot into a directory of patched files and scripts that people review.
//!
//! The one idea: a rotation is a sequence of states. Arrows between the modules run one way:
//! `cli → render → trust → phases → edit/pki → state → snapshot/spec`.

pub mod bundle;
pub mod check;
mod claims;
pub mod cli;
pub mod collect;
pub mod committed;
pub mod compare;
pub mod compile;
pub mod coverage;
pub mod diagnostic;
pub mod digest;
pub mod edit;
pub mod explain;
pub mod init;
pub mod input;
pub mod layout;
mod memo;
pub mod names;
mod parallel;
pub mod phases;
pub mod pki;
mod presence;
pub mod ranges;
pub mod render;
pub mod requests;
pub mod rotation;
pub mod schema;
pub mod snapshot;
pub mod spec;
pub mod state;
pub mod trust;
