//! 12: certificates that the cluster issues come from the new CA; the original names hold both.

use crate::diagnostic::{Code, Diagnostic, Result};
use crate::layout::{self, Program, snapshot_file};
use crate::names::NodePath;
use crate::phases::tools::{
    components_now, homes_read, new_of, pem_file, point_at, step, trust_files,
};
use crate::phases::{Act, Outcome, Part, Phase, Undoing, WayBack};
use crate::pki::Certificate;
use crate::rotation::{Home, Rotation, Trust, to_pem};
use crate::state::{Draft, State};

/// The phase.
pub const PHASE: Phase = Phase {
    number: 12,
    name: "signer",
    act: Act::Switch,
    page_step: "2, note",
    title: "kube-controller-manager signs with the new CA; original files hold both",
    why: "From here on every certificate that the cluster issues by itself (a kubelet that renews, a \
          node that joins, a CSR) is of the new CA, and every verifier trusts it already. The signer \
          takes one certificate, so it gets the new CA's own files. When it no longer reads them, the \
          original files get both CAs, new first, so that what trusts by path (kubeadm, backup jobs, \
          probes) holds when servers switch (gap G16), and the new key beside them.",
    way_back: WayBack::until(
        13,
        "the old CA signs again, and the original files hold what they held.",
        "nothing at once. What the new CA signed meanwhile (a kubelet that renewed, a node \
         that joined, a CSR) stays valid until 10 or 05 is undone, whose rollbacks ask that it \
         is of the old CA by then.",
    ),
    run,
};

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let flags = step(
        before,
        "point the signer at the new CA's own files",
        Part::Nodes { serial: true },
        Vec::new(),
        |draft| {
            for node in before.nodes.keys() {
                for component in components_now(draft, node, Program::ControllerManager)? {
                    let mut edits = Vec::new();
                    for (certificate, key) in layout::SIGNERS {
                        edits.extend(signer_edits(rotation, &component, certificate, key)?);
                    }
                    point_at(draft, &component, &edits)?;
                }
            }
            Ok(())
        },
    )?;
    if flags.is_none() {
        outcome
            .absent
            .push("No controller manager signs with a CA that is rotated.".into());
    }
    let last = flags.as_ref().map_or(before, |s| &s.after).clone();
    outcome.steps.extend(flags);
    let files = step(
        &last,
        "original files: new and old CA, and the new key",
        Part::Nodes { serial: false },
        Vec::new(),
        |draft| write_originals(rotation, draft, Trust::NewFirst, true),
    )?;
    outcome.steps.extend(files);
    Ok(outcome)
}

/// The edits of one signer's pair of flags; none where it is not set or not of a rotated CA.
fn signer_edits(
    rotation: &Rotation,
    component: &layout::Component,
    certificate: &'static str,
    key: &'static str,
) -> Result<Vec<(&'static str, NodePath)>> {
    let Some(path) = component.host_file(certificate)? else {
        return Ok(Vec::new());
    };
    let Some((_, found)) = pem_file(&rotation.start, &component.node, &path)? else {
        return Ok(Vec::new());
    };
    if !rotation.affects(&found) {
        return Ok(Vec::new());
    }
    let Some(key_path) = component.host_file(key)? else {
        return Err(Diagnostic::new(
            Code::Unsupported,
            format!("--{certificate} is set without --{key}"),
            "name both files; they must belong together",
        )
        .at(component.flag_place(certificate)));
    };
    let home = rotation
        .cas
        .values()
        .flat_map(|pair| &pair.homes)
        .find(|home| {
            home.node == component.node && home.certificate == path && home.key == key_path
        });
    if home.is_none() {
        return Err(Diagnostic::new(
            Code::Unsupported,
            format!(
                "the signer's files {path} and {key_path} do not lie side by side under one name"
            ),
            "name them alike (ca.crt, ca.key) in one folder and take the snapshot again",
        )
        .at(component.flag_place(certificate)));
    }
    Ok(vec![(certificate, new_of(&path)), (key, new_of(&key_path))])
}

/// What must be confirmed before trust in what the new CA signed is taken back. No script sees every CSR.
pub fn taken_back(rotation: &Rotation) -> Result<Option<Undoing>> {
    Ok((!homes_read(rotation)?.is_empty()).then(|| Undoing {
        name: "undone-signed".to_owned(),
        text: "what the new CA signed since phase 12 (for a kubelet that renewed, a node that joined, a CSR) is issued \
               anew by the old one, or 12 was never begun: it is refused from now on"
            .to_owned(),
        user: None,
    }))
}

/// Rewrites the original files of trust and the CAs' homes: at the homes with the new key too.
pub fn write_originals(
    rotation: &Rotation,
    draft: &mut Draft,
    trust: Trust,
    workers: bool,
) -> Result<()> {
    for pair in rotation.cas.values() {
        for home in &pair.homes {
            let mut certificates = trust.of(rotation, &at_home(rotation, home)?);
            if trust == Trust::Narrowed && read_by_a_signer(rotation, home)? {
                // It takes one certificate, whatever is above that.
                certificates.truncate(1);
            }
            draft.write(
                &home.node,
                &home.certificate,
                &to_pem(&certificates),
                0o644,
                "0:0",
            );
            let key = format!("{}\n", home.new_key);
            draft.write(&home.node, &home.key, &key, 0o600, "0:0");
        }
    }
    for ((node, path), certificates) in trust_files(rotation)? {
        let at_home = |p: &NodePath| {
            rotation.cas.values().any(|pair| {
                pair.homes
                    .iter()
                    .any(|home| home.node == node && home.certificate == *p)
            })
        };
        let is_worker = rotation.start.nodes[&node].role == crate::spec::Role::Worker;
        if !at_home(&path) && (workers || !is_worker) {
            draft.write(
                &node,
                &path,
                &to_pem(&trust.of(rotation, &certificates)),
                0o644,
                "0:0",
            );
        }
    }
    check_signer_files(rotation, draft.now())
}

/// What a CA's certificate file at home holds in the snapshot: the CA first.
fn at_home(rotation: &Rotation, home: &Home) -> Result<Vec<Certificate>> {
    let found = pem_file(&rotation.start, &home.node, &home.certificate)?;
    Ok(found
        .map(|(_, certificates)| certificates)
        .unwrap_or_default())
}

/// Whether a controller manager signs with the certificate at a home.
fn read_by_a_signer(rotation: &Rotation, home: &Home) -> Result<bool> {
    let read = layout::signer_files(&rotation.start, &home.node)?;
    Ok(read
        .iter()
        .any(|(certificate, _)| *certificate == home.certificate))
}

/// The signer takes one certificate: asserts it of every state that a phase makes (gap G1, pitfall 4).
fn check_signer_files(rotation: &Rotation, state: &State) -> Result<()> {
    for component in layout::all(state, Program::ControllerManager)? {
        for (flag, _) in layout::SIGNERS {
            let Some(path) = component.host_file(flag)? else {
                continue;
            };
            let Some((at, certificates)) = pem_file(state, &component.node, &path)? else {
                continue;
            };
            let count = certificates.len();
            let ours = certificates.iter().any(|c| {
                rotation
                    .cas
                    .values()
                    .any(|pair| pair.old == *c || pair.new == *c)
            });
            if ours && count != 1 {
                return Err(Diagnostic::new(
                    Code::SignerBundle,
                    format!("the file of --{flag} would hold {count} certificates"),
                    "keep the signer's file apart from files of trust",
                )
                .at(crate::diagnostic::Place::start_of(&snapshot_file(
                    &component.node,
                    &at,
                ))));
            }
        }
    }
    Ok(())
}
