//! carota compiles the rotation of a Kubernetes cluster's certificate authorities: from a cluster
//! description and a snapshot into a directory of patched files and scripts that people review.
//!
//! The one idea: a rotation is a sequence of states. Arrows between the modules run one way:
//! `cli → render → trust → phases → edit/pki → state → snapshot/spec`.

pub mod diagnostic;
pub mod edit;
pub mod pki;
