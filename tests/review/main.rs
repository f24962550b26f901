//! What reviewers, CI and auditors are promised: explanations, schemas, comparisons, a README that
//! answers, and commands that behave.

#[path = "../common/mod.rs"]
mod common;

mod ci;
mod compare;
mod explain;
mod manners;
mod private;
mod reviewer;
mod schemas;

use std::path::{Path, PathBuf};

use common::{copy_tree, examples, inputs_of};

/// The current example.
fn example() -> PathBuf {
    let found = examples().into_iter().find(|e| e.ends_with("kubeadm-ha"));
    found.unwrap()
}

/// A clone of an example: inputs and plan, no secrets.
fn clone_of(example: &Path) -> tempfile::TempDir {
    let folder = inputs_of(example);
    copy_tree(&example.join("plan"), &folder.path().join("plan"));
    folder
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
