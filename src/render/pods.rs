//! PODS: what manifests say that the scripts cannot read by themselves. A script that waits for a static pod
//! compares the processes of its node with the manifest's command line, and has awk alone to read it.
//!
//! Knows manifests; it must not know why one is changed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::diagnostic::Result;
use crate::digest::sha256;
use crate::edit::manifest::{Container, Manifest};
use crate::layout::{snapshot_file, unit_of};
use crate::phases::Done;
use crate::state::Process;

/// The table of a phase: for each manifest that it starts a pod by, before and after, and that is not spelled
/// line by line, what the scripts make of the others. Empty where there is none.
pub fn table(done: &Done) -> Result<String> {
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    let mut before = &done.before;
    for step in &done.outcome.steps {
        for process in step.after.restarted_since(before) {
            let Process::Program(node, path) = &process else {
                continue;
            };
            if unit_of(path).is_some() {
                continue;
            }
            let states = [before, &step.after];
            for file in states.iter().filter_map(|state| state.file(node, path)) {
                let manifest = Manifest::parse(&file.text, &snapshot_file(node, path))?;
                if !manifest.is_plain() {
                    let hash = sha256(file.text.as_bytes());
                    out.entry(hash)
                        .or_insert_with_key(|hash| rows(hash, &manifest));
                }
            }
        }
        before = &step.after;
    }
    Ok(out.into_values().collect())
}

fn rows(hash: &str, manifest: &Manifest) -> String {
    let mut out = String::new();
    for (index, container) in manifest.containers().iter().enumerate() {
        let number = index + 1;
        let mut row = |what: &str, text: &str| {
            let _ = writeln!(out, "{hash}\t{number}\t{what}\t{text}");
        };
        if container.names_program() {
            row("exact", "");
        }
        // A word of several lines is as many rows: the scripts see a command line the same way.
        for line in container.words().flat_map(|word| word.split('\n')) {
            row("arg", line);
        }
        for flag in ["tls-cert-file", "cert-file"] {
            if let Some(file) = served(manifest, index, container, flag) {
                row("serves", &file);
            }
        }
        let urls = container.flag_value("listen-client-urls").ok().flatten();
        if let Some(clients) = urls.and_then(first_address) {
            row("clients", clients);
        }
        if let Some(health) = &container.health {
            let path = if matches!(container.program(), Ok(Some("etcd"))) {
                // It asks through consensus, so that it answers only when the member has caught up.
                "/health"
            } else {
                &health.path
            };
            let (scheme, host, port) = (&health.scheme, &health.host, &health.port);
            row("health", &format!("{scheme}\t{host}\t{port}\t{path}"));
        }
    }
    out
}

/// The file of the host that holds the certificate which a container serves.
fn served(manifest: &Manifest, index: usize, container: &Container, flag: &str) -> Option<String> {
    let value = container.flag_value(flag).ok().flatten()?;
    manifest.host_path_of(index, value)
}

/// The address of the first of etcd's URLs for clients.
fn first_address(urls: &str) -> Option<&str> {
    urls.split(',').find_map(|url| url.strip_prefix("https://"))
}
