//! What is rotated: for each CA the old and the new certificate and where it is at home, the leaves
//! that the new CAs have issued, and the algebra on trust that every phase uses (widen, narrow).
//!
//! Made once from the first State, before any phase runs, so that phases are pure. Checks here what
//! must hold of the cluster as it is: usable CAs, no bundle where one CA is expected, keys apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::edit::KEPT;
use crate::edit::kubeconfig::{CertSource, Kubeconfig, looks_like_kubeconfig};
use crate::edit::pem;
use crate::layout::{self, Program, snapshot_file};
use crate::names::{NodeName, NodePath};
use crate::parallel;
use crate::pki::{self, Certificate, Issued, Issuer, LeafRequest, PrivateText};
use crate::spec::{CaName, CaSpec, LeafKeys, NewCa, Role, Spec};
use crate::state::{Node, ObjectId, State};

/// Where a CA's certificate and key lie together on a control-plane node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The node.
    pub node: NodeName,
    /// `ca.crt`.
    pub certificate: NodePath,
    /// `ca.key`.
    pub key: NodePath,
    /// The kept reference of the new CA's key, which takes its place.
    pub new_key: String,
}

/// One CA, old and new.
#[derive(Clone, Debug)]
pub struct CaPair {
    /// Which CA.
    pub name: CaName,
    /// What else it is the CA of: one certificate may be all three.
    pub also: Vec<CaName>,
    /// The one that goes.
    pub old: Certificate,
    /// What is above it in the files that name it, up to its root, and goes with it; empty for a root, and
    /// where the new one is under the same root.
    pub old_chain: Vec<Certificate>,
    /// The one that comes.
    pub new: Certificate,
    /// Above the new one, up to its root; empty for a root.
    pub chain: Vec<Certificate>,
    /// Where it is at home; nowhere for an external CA.
    pub homes: Vec<Home>,
}

impl CaPair {
    /// What it is the CA of, in a list.
    #[must_use]
    pub fn names(&self) -> String {
        let also = self.also.iter().map(|name| format!(", {name}"));
        std::iter::once(self.name.to_string()).chain(also).collect()
    }

    /// Whether a certificate goes: the old CA, or what is above it and not above the new one.
    #[must_use]
    pub fn is_old(&self, certificate: &Certificate) -> bool {
        self.old == *certificate || self.old_chain.contains(certificate)
    }

    /// What a verifier trusts for the new CA: itself, then what is above it.
    fn new_trust(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.new).chain(&self.chain)
    }
}

/// How trust in the rotated CAs changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Old and new: what is there stays in its order, each new CA is added at the end.
    Widened,
    /// New and old, the new first: for files whose first certificate is taken for the signer's.
    NewFirst,
    /// The new only: the old is replaced where it stands.
    Narrowed,
}

impl Trust {
    /// The certificates after the change.
    #[must_use]
    pub fn of(self, rotation: &Rotation, trust: &[Certificate]) -> Vec<Certificate> {
        match self {
            Trust::Widened => rotation.widened(trust),
            Trust::NewFirst => rotation.widened_new_first(trust),
            Trust::Narrowed => rotation.narrowed(trust),
        }
    }
}

/// A leaf found in the snapshot.
#[derive(Clone, Debug)]
pub struct FoundLeaf {
    /// The CA that signed it.
    pub ca: CaName,
    /// The certificate as it is.
    pub certificate: Certificate,
    /// What holds it.
    pub holder: Holder,
}

/// What holds a certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// A file on a node.
    File(NodeName, NodePath),
    /// A user's kubeconfig.
    User(NodeName),
    /// A Secret.
    Secret(ObjectId),
}

impl Holder {
    /// The file of the snapshot.
    fn place(&self) -> Place {
        Place::start_of(&match self {
            Holder::File(node, path) => snapshot_file(node, path),
            Holder::User(user) => format!("snapshot/users/{user}.kubeconfig"),
            Holder::Secret(id) => format!("snapshot/cluster/{}.yaml", id.kind),
        })
    }
}

/// The rotation: everything that phases need beyond the State before them.
pub struct Rotation<'a> {
    /// cluster.toml.
    pub spec: &'a Spec,
    /// The snapshot's state.
    pub start: State,
    /// The rotated CAs.
    pub cas: BTreeMap<CaName, CaPair>,
    /// Every leaf of the old CAs that something uses, once for each place that holds it.
    pub found: Vec<FoundLeaf>,
    /// What was issued, by the fingerprint of the certificate that it replaces.
    pub leaves: BTreeMap<String, Issued>,
    /// New private values by their kept reference; without a value where the keyring is not here.
    pub new_keys: BTreeMap<String, Option<PrivateText>>,
}

impl<'a> Rotation<'a> {
    /// Finds the CAs and leaves in the snapshot, checks them, and has the new ones issued.
    ///
    /// `imported` are the CAs that cluster.toml takes from files.
    pub fn prepare(
        spec: &'a Spec,
        start: State,
        issuer: &mut Issuer,
        imported: &mut BTreeMap<CaName, pki::CaSource>,
    ) -> Result<Rotation<'a>> {
        let Found { cas, leaves: found } = Found::of(spec, &start, issuer, imported)?;
        let leaves = issuer.leaves(&wanted(spec, &found))?;
        let mut new_keys: BTreeMap<String, Option<PrivateText>> = BTreeMap::new();
        for pair in cas.values() {
            let name = pair.name.as_str();
            if let Some(reference) = issuer.ca_key_reference(name) {
                new_keys.insert(reference, issuer.ca_key(name));
            }
        }
        for key in leaves.values().filter_map(|issued| issued.key.as_ref()) {
            let base64 = key
                .pem
                .as_ref()
                .map(|p| PrivateText::new(BASE64.encode(p.expose().as_bytes())));
            new_keys.insert(key.pem_reference.clone(), key.pem.clone());
            new_keys.insert(key.base64_reference.clone(), base64);
        }
        Ok(Rotation {
            spec,
            start,
            cas,
            found,
            leaves,
            new_keys,
        })
    }

    /// The leaves that are to be issued, each once.
    pub fn wanted(
        spec: &Spec,
        start: &State,
        issuer: &mut Issuer,
        imported: &mut BTreeMap<CaName, pki::CaSource>,
    ) -> Result<Vec<LeafRequest>> {
        let found = Found::of(spec, start, issuer, imported)?;
        Ok(wanted(spec, &found.leaves))
    }

    /// Whether the CA of this name is rotated, under it or as what it is beside.
    #[must_use]
    pub fn rotates(&self, name: CaName) -> bool {
        let mut pairs = self.cas.values();
        pairs.any(|pair| pair.name == name || pair.also.contains(&name))
    }

    /// The CA whose old certificate this is, or one above it that goes too.
    #[must_use]
    pub fn old_ca(&self, certificate: &Certificate) -> Option<&CaPair> {
        self.cas.values().find(|pair| pair.is_old(certificate))
    }

    /// Whether trust in these certificates is affected at all.
    #[must_use]
    pub fn affects(&self, certificates: &[Certificate]) -> bool {
        certificates.iter().any(|c| self.old_ca(c).is_some())
    }

    /// Trust in old and new: what is there stays in its order, each new CA is added at the end.
    #[must_use]
    pub fn widened(&self, trust: &[Certificate]) -> Vec<Certificate> {
        let mut out = trust.to_vec();
        for pair in self.trusted_in(trust) {
            push_new(&mut out, pair.new_trust());
        }
        out
    }

    /// The CAs that are trusted, themselves or by what is above them.
    fn trusted_in(&self, trust: &[Certificate]) -> impl Iterator<Item = &CaPair> {
        let pairs = self.cas.values();
        pairs.filter(|pair| trust.iter().any(|certificate| pair.is_old(certificate)))
    }

    /// Trust in new and old, the new first: for files whose first certificate is the signer's.
    #[must_use]
    pub fn widened_new_first(&self, trust: &[Certificate]) -> Vec<Certificate> {
        let mut out = Vec::new();
        for pair in self.trusted_in(trust) {
            push_new(&mut out, pair.new_trust());
        }
        push_new(&mut out, trust.iter());
        out
    }

    /// Trust in the new CA only: the old one is replaced where it stands.
    #[must_use]
    pub fn narrowed(&self, trust: &[Certificate]) -> Vec<Certificate> {
        let mut out = Vec::new();
        for certificate in trust {
            match self.old_ca(certificate) {
                Some(pair) => push_new(&mut out, pair.new_trust()),
                None => push_new(&mut out, std::iter::once(certificate)),
            }
        }
        out
    }

    /// The certificate that replaces this leaf.
    #[must_use]
    pub fn reissued(&self, leaf: &Certificate) -> Option<&Issued> {
        self.leaves.get(leaf.fingerprint())
    }

    /// A PEM text in which every replaced leaf stands re-issued, and with it the key's reference
    /// where the key is new. None where nothing is replaced.
    ///
    /// Intermediates of the old CA that follow the leaf give way to those of the new one.
    pub fn reissued_pem(&self, text: &str, file: &str) -> Result<Option<String>> {
        let mut out = String::with_capacity(text.len());
        let mut from = 0;
        let mut new_key = None;
        for block in pem::blocks(text, file)? {
            let Ok(certificate) = Certificate::from_der(&block.der) else {
                continue;
            };
            let replacement = match self.reissued(&certificate) {
                Some(issued) => {
                    new_key = issued.key.as_ref().or(new_key);
                    issued.certificate.to_pem()
                }
                None => match self.old_ca(&certificate).filter(|_| from > 0) {
                    Some(pair) if certificate == pair.old => pair.new.to_pem(),
                    // The first above it gives way to all above the new one.
                    Some(pair) if pair.old_chain.first() == Some(&certificate) => {
                        to_pem(&pair.chain)
                    }
                    Some(_) => String::new(),
                    None => continue,
                },
            };
            out.push_str(&text[from..block.range.start]);
            out.push_str(replacement.trim_end_matches('\n'));
            from = block.range.end;
            if text[..from].ends_with('\n') {
                out.push('\n');
            }
        }
        if from == 0 {
            return Ok(None);
        }
        out.push_str(&text[from..]);
        if let Some(key) = new_key {
            out = replace_reference(&out, &key.pem_reference);
        }
        Ok(Some(out))
    }

    /// Whether a file's text holds a private value that is new.
    #[must_use]
    pub fn holds_new_key(&self, text: &str) -> bool {
        references(text).any(|r| self.new_keys.contains_key(r))
    }
}

/// What a rotation begins with.
struct Found {
    cas: BTreeMap<CaName, CaPair>,
    leaves: Vec<FoundLeaf>,
}

impl Found {
    /// Finds the CAs and leaves in the snapshot and checks them; the new CAs come from the issuer.
    fn of(
        spec: &Spec,
        start: &State,
        issuer: &mut Issuer,
        imported: &mut BTreeMap<CaName, pki::CaSource>,
    ) -> Result<Found> {
        check_programs(spec, start)?;
        let mut cas = BTreeMap::new();
        let begun = begun(spec, imported);
        let found = CaName::ALL.map(|name| (name, find_ca(start, name, &begun)));
        let found = BTreeMap::from(found);
        for (&name, ca) in &spec.cas {
            let its = found[&name].clone()?;
            let FoundCa {
                certificate: old,
                above,
                place,
            } = its.ok_or_else(|| ca_not_found(spec, name))?;
            check_old_ca(spec, name, &old, &place)?;
            let also = also(spec, &found, name, &old)?;
            let source = match &ca.new {
                NewCa::Mint {
                    subject,
                    key,
                    validity,
                } => pki::CaSource::Mint(pki::CaRequest {
                    subject: subject.clone(),
                    key: *key,
                    not_before: spec.not_before,
                    not_after: spec.not_before + validity,
                    serial: ca_serial(spec, name, &old),
                }),
                NewCa::Import { certificate, .. } => imported.remove(&name).ok_or_else(|| {
                    Diagnostic::new(
                        Code::ImportInvalid,
                        format!("the imported {name} CA was not read from {certificate}"),
                        "see that the file is there",
                    )
                    .at(ca.place.clone())
                })?,
            };
            let new = issuer.ca(name.as_str(), source)?;
            check_new_ca(spec, name, &old, &new)?;
            let chain = issuer.chain(name.as_str()).to_vec();
            let homes = match issuer.ca_key_reference(name.as_str()) {
                Some(new_key) if !ca.external => {
                    let there = ca.resume.then_some(&new);
                    homes(start, name, &old, there, &place, &new_key)?
                }
                _ => {
                    check_external(start, name, &old)?;
                    Vec::new()
                }
            };
            let pair = CaPair {
                name,
                also,
                homes,
                old_chain: above.into_iter().filter(|c| !chain.contains(c)).collect(),
                chain,
                old,
                new,
            };
            cas.insert(name, pair);
        }
        check_service_account_keys(spec, start, &cas)?;
        let leaves = find_leaves(start, &cas)?;
        for leaf in &leaves {
            check_leaf(spec, leaf)?;
        }
        Ok(Found { cas, leaves })
    }
}

/// The kept references in a text, in order.
pub fn references(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(KEPT).map(|(at, _)| {
        let rest = &text[at..];
        let end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '}' | ']'))
            .unwrap_or(rest.len());
        &rest[..end]
    })
}

/// Replaces the one key reference of a PEM file.
fn replace_reference(text: &str, new: &str) -> String {
    match references(text).find(|r| r.starts_with("carota-kept:sha256:")) {
        Some(old) => text.replacen(old, new, 1),
        None => text.to_owned(),
    }
}

fn push_new<'c>(out: &mut Vec<Certificate>, more: impl Iterator<Item = &'c Certificate>) {
    for certificate in more {
        if !out.contains(certificate) {
            out.push(certificate.clone());
        }
    }
}

/// The PEM text of a list of certificates.
#[must_use]
pub fn to_pem(certificates: &[Certificate]) -> String {
    certificates.iter().map(Certificate::to_pem).collect()
}

/// The flags by which a program names files of trust for a CA, most telling first.
const CA_FLAGS: [(CaName, Program, &str); 8] = [
    (
        CaName::Cluster,
        Program::ControllerManager,
        "cluster-signing-cert-file",
    ),
    (
        CaName::Cluster,
        Program::ControllerManager,
        "cluster-signing-kube-apiserver-client-cert-file",
    ),
    (CaName::Cluster, Program::Apiserver, "client-ca-file"),
    (
        CaName::FrontProxy,
        Program::Apiserver,
        "requestheader-client-ca-file",
    ),
    (
        CaName::FrontProxy,
        Program::ControllerManager,
        "requestheader-client-ca-file",
    ),
    (CaName::Etcd, Program::Apiserver, "etcd-cafile"),
    (CaName::Etcd, Program::Etcd, "trusted-ca-file"),
    (CaName::Etcd, Program::Etcd, "peer-trusted-ca-file"),
];

/// A CA as the flags show it.
#[derive(Clone)]
pub struct FoundCa {
    /// Its certificate, the same everywhere.
    pub certificate: Certificate,
    /// The certificates above it that stand with it, its issuer first.
    pub above: Vec<Certificate>,
    /// A place of it.
    pub place: Place,
}

impl FoundCa {
    /// Whether certificates are what is above it.
    fn is_under(&self, certificates: &[Certificate]) -> bool {
        let signed = certificates
            .first()
            .is_some_and(|c| self.certificate.signed_by(c));
        signed && self.certificate != certificates[0] && is_chain(certificates)
    }
}

/// Whether each certificate is signed by the one after it, which is a CA.
fn is_chain(certificates: &[Certificate]) -> bool {
    let signed =
        |pair: &[Certificate]| pair[0].signed_by(&pair[1]) && pair[0] != pair[1] && pair[1].is_ca();
    certificates.windows(2).all(signed)
}

/// A file of trust that a flag names.
struct Flagged {
    flag: &'static str,
    node: NodeName,
    path: NodePath,
    label: String,
    certificates: Vec<Certificate>,
}

/// The files that flags name for a CA.
fn flagged(state: &State, name: CaName) -> Result<Vec<Flagged>> {
    let mut out = Vec::new();
    for (_, program, flag) in CA_FLAGS.iter().filter(|(ca, _, _)| *ca == name) {
        for component in layout::all(state, *program)? {
            let Some(path) = component.host_file(flag)? else {
                continue;
            };
            let Some(file) = state.file(&component.node, &path) else {
                return Err(Diagnostic::new(
                    Code::FileUnreadable,
                    format!(
                        "--{flag} names {path}, which the snapshot of {} lacks",
                        component.node
                    ),
                    "take the snapshot of this node again",
                )
                .at(component.flag_place(flag)));
            };
            let label = snapshot_file(&component.node, &path);
            let certificates = pki::certificates_in_pem(&file.text, &label)?;
            // kube-controller-manager takes one certificate to sign with.
            let signs = flag.starts_with("cluster-signing");
            if certificates.is_empty() || signs && certificates.len() > 1 {
                return Err(not_one(&certificates, flag, &label));
            }
            out.push(Flagged {
                flag,
                node: component.node.clone(),
                path,
                label,
                certificates,
            });
        }
    }
    Ok(out)
}

/// The CA of a name as the flags show it. Files may hold it alone, with all above it, or only that. `new` are the
/// certificates of new CAs that an unfinished rotation has left there: they are passed over.
pub fn find_ca(state: &State, name: CaName, new: &[Certificate]) -> Result<Option<FoundCa>> {
    let mut found: Option<FoundCa> = None;
    for file in flagged(state, name)? {
        if !new.is_empty() {
            refuse_bundle_of_a_plan(state, &file)?;
        }
        let label = &file.label;
        let mut certificates = file.certificates;
        certificates.retain(|certificate| !new.contains(certificate));
        let Some((one, above)) = certificates.split_first() else {
            continue;
        };
        if !is_chain(&certificates) {
            return Err(not_one(&certificates, file.flag, label));
        }
        let place = Place::start_of(label);
        match &mut found {
            Some(known) if known.certificate == *one => {
                if known.above.len() < above.len() {
                    known.above = above.to_vec();
                }
            }
            Some(known) if known.is_under(&certificates) => {
                if known.above.len() < certificates.len() {
                    known.above.clone_from(&certificates);
                }
            }
            Some(known) => {
                return Err(Diagnostic::new(
                    Code::HalfRotated,
                    format!(
                        "the {name} CA differs between control planes: {place} and {}",
                        known.place
                    ),
                    UNFINISHED,
                )
                .at(place));
            }
            None => {
                found = Some(FoundCa {
                    certificate: one.clone(),
                    above: above.to_vec(),
                    place,
                });
            }
        }
    }
    Ok(found)
}

/// What to do where two CAs are found for one name.
const UNFINISHED: &str = "an earlier rotation was not finished: undo it and take the snapshot again, or have this one \
                          finish it (`carota init --resume`)";

/// A plan of carota that was stopped is finished by its own scripts: they know what they did.
fn refuse_bundle_of_a_plan(state: &State, file: &Flagged) -> Result<()> {
    let (folder, name) = (file.path.folder(), file.path.file_name());
    let original = NodePath::new(&format!("{folder}/{}", name.replacen("-bundle", "", 1)));
    let beside =
        original.is_ok_and(|path| path != file.path && state.file(&file.node, &path).is_some());
    if !beside {
        return Ok(());
    }
    Err(Diagnostic::new(
        Code::HalfRotated,
        format!("--{} names a bundle beside the original file, as a plan of carota leaves it", file.flag),
        "finish or undo that plan with its own scripts, which go on where they stopped; from the snapshot and the \
         lock that it was compiled from it comes out the same",
    )
    .at(Place::start_of(&file.label)))
}

/// The old and the new CA that flags name for one name, where somebody has begun a rotation: the new one is valid from a
/// later moment. None where there is one.
pub fn find_begun(state: &State, name: CaName) -> Result<Option<(Certificate, Certificate)>> {
    let mut all: Vec<(Certificate, String)> = Vec::new();
    for file in flagged(state, name)? {
        for certificate in file.certificates {
            if !all.iter().any(|(known, _)| *known == certificate) {
                all.push((certificate, file.label.clone()));
            }
        }
    }
    // What is above a CA is no other one.
    let is_above = |c: &Certificate| {
        let mut others = all.iter().filter(|(other, _)| other != c);
        others.any(|(other, _)| other.signed_by(c))
    };
    let mut cas: Vec<&(Certificate, String)> = all.iter().filter(|(c, _)| !is_above(c)).collect();
    cas.sort_by_key(|(c, _)| c.not_before());
    match cas[..] {
        [] | [_] => Ok(None),
        [(old, _), (new, _)] if old.not_before() < new.not_before() => {
            Ok(Some((old.clone(), new.clone())))
        }
        _ => {
            let found: Vec<String> = cas
                .iter()
                .map(|(c, label)| format!("`{}` ({label})", c.subject()))
                .collect();
            Err(Diagnostic::new(
                Code::HalfRotated,
                format!(
                    "which {name} CA comes and which goes cannot be told: {}",
                    found.join(", ")
                ),
                "leave two of them, of which the new one is valid from a later moment",
            )
            .at(Place::start_of(&cas[0].1)))
        }
    }
}

/// The certificates of new CAs that are in the cluster already.
fn begun(spec: &Spec, imported: &BTreeMap<CaName, pki::CaSource>) -> Vec<Certificate> {
    let resumed = spec.cas.iter().filter(|(_, ca)| ca.resume);
    resumed
        .filter_map(|(name, _)| imported.get(name))
        .flat_map(pki::CaSource::certificates)
        .cloned()
        .collect()
}

/// The error for a file that should hold exactly one CA.
fn not_one(certificates: &[Certificate], flag: &str, label: &str) -> Diagnostic {
    let place = Place::start_of(label);
    if certificates.is_empty() {
        return Diagnostic::new(
            Code::PemMalformed,
            format!("the file of --{flag} holds no certificate"),
            "take the snapshot again; if the file is really empty, the cluster is broken",
        )
        .at(place);
    }
    let signer = flag.starts_with("cluster-signing");
    let code = if signer {
        Code::SignerBundle
    } else {
        Code::HalfRotated
    };
    Diagnostic::new(
        code,
        format!("the file of --{flag} holds {} certificates, where one CA is expected", certificates.len()),
        if signer {
            "give the signer a file with one certificate: kube-controller-manager exits when elected with a bundle"
        } else {
            UNFINISHED
        },
    )
    .at(place)
}

/// The other names of a certificate that is one CA for several. It is rotated under the first.
fn also(
    spec: &Spec,
    found: &BTreeMap<CaName, Result<Option<FoundCa>>>,
    name: CaName,
    old: &Certificate,
) -> Result<Vec<CaName>> {
    let mut out = Vec::new();
    for (&other, its) in found.iter().filter(|(other, _)| **other != name) {
        // What is not rotated need not be in order.
        let same = |its: &Option<FoundCa>| its.as_ref().is_some_and(|ca| ca.certificate == *old);
        if !its.as_ref().is_ok_and(same) {
            continue;
        }
        if other < name {
            return Err(Diagnostic::new(
                Code::TomlValue,
                format!(
                    "the {name} CA and the {other} CA are one certificate, which is rotated as one"
                ),
                format!("remove \"{name}\" from rotation.cas, and name \"{other}\" there"),
            )
            .at(spec.start()));
        }
        out.push(other);
    }
    Ok(out)
}

fn ca_not_found(spec: &Spec, name: CaName) -> Diagnostic {
    let ca = &spec.cas[&name];
    let (reason, remedy) = if ca.resume {
        (
            format!("no flag in the snapshot names an old {name} CA any more"),
            "remove it from rotation.cas: it has been rotated",
        )
    } else {
        (
            format!("no flag in the snapshot names the {name} CA"),
            "remove it from rotation.cas, or complete the snapshot of the control planes",
        )
    };
    Diagnostic::new(Code::CaNotFound, reason, remedy).at(ca.place.clone())
}

fn check_old_ca(spec: &Spec, name: CaName, old: &Certificate, place: &Place) -> Result<()> {
    if !old.may_sign() {
        return Err(Diagnostic::new(
            Code::NotACa,
            format!(
                "the {name} CA `{}` is not usable as a CA (X.509 version {}, CA:{}, may sign: {})",
                old.subject(),
                old.version(),
                old.is_ca(),
                old.may_sign()
            ),
            "carota cannot prove connections under it; rotate by hand to a version 3 CA first",
        )
        .at(place.clone()));
    }
    if old.not_before() > spec.not_before || old.not_after() < spec.window_end {
        return Err(Diagnostic::new(
            Code::CaExpired,
            format!(
                "the old {name} CA `{}` is not valid from rotation.not_before to the end of the window",
                old.subject()
            ),
            "move rotation.not_before into its validity, or shorten rotation.window",
        )
        .at(place.clone()));
    }
    Ok(())
}

fn check_new_ca(spec: &Spec, name: CaName, old: &Certificate, new: &Certificate) -> Result<()> {
    let error = |code, reason: String, remedy: &str| {
        Err(Diagnostic::new(code, reason, remedy).at(spec.cas[&name].place.clone()))
    };
    if !new.may_sign() {
        return error(
            Code::NotACa,
            format!(
                "the new {name} CA `{}` may not sign certificates",
                new.subject()
            ),
            "use a certificate with CA:TRUE and keyCertSign",
        );
    }
    if new.not_before() > spec.not_before || new.not_after() < spec.window_end {
        return error(
            Code::CaExpired,
            format!(
                "the new {name} CA `{}` is not valid during the whole window",
                new.subject()
            ),
            "use a CA that is valid from rotation.not_before to well beyond the window",
        );
    }
    if new.spki_der() == old.spki_der() {
        return error(
            Code::ImportInvalid,
            format!("the new {name} CA has the key of the old one"),
            "a rotation replaces the key: make the new CA with a key of its own",
        );
    }
    // Names are compared as OpenSSL does: whatever the kind of string and the case.
    if new.subject().eq_ignore_ascii_case(old.subject()) {
        return error(
            Code::ImportInvalid,
            format!(
                "the new {name} CA has the subject of the old one, `{}`",
                old.subject()
            ),
            "give the new CA a common name of its own: OpenSSL clients pick an issuer by name",
        );
    }
    Ok(())
}

/// A serial number that depends on the inputs only: 16 bytes, positive.
fn ca_serial(spec: &Spec, name: CaName, old: &Certificate) -> [u8; 16] {
    let text = format!(
        "{}\n{}\n{name}\n{}",
        spec.cluster,
        spec.id,
        old.fingerprint()
    );
    let mut serial = [0; 16];
    serial.copy_from_slice(&Sha256::digest(text)[..16]);
    serial[0] = (serial[0] & 0x7f) | 0x40;
    serial
}

/// Every place where a CA's certificate lies with its key: beside it by custom, or both named by the flags
/// of a signer.
pub fn with_keys(state: &State, ca: &Certificate) -> Result<Vec<(NodeName, NodePath, NodePath)>> {
    let found = state.look_at_nodes(|node, files| {
        let mut out = Vec::new();
        let mut pairs = BTreeSet::new();
        if files.role != Role::Worker {
            pairs = layout::signer_files(state, node)?;
        }
        for (certificate, _) in files.regular_files() {
            let beside = files.key_beside(certificate);
            pairs.extend(beside.map(|key| (certificate.clone(), key)));
        }
        for (certificate, key) in pairs {
            let Some(file) = files.files.file(&certificate) else {
                continue;
            };
            let label = snapshot_file(node, &certificate);
            if file.text.contains("BEGIN CERTIFICATE")
                && pki::certificates_in_pem(&file.text, &label)?.first() == Some(ca)
            {
                out.push((node.clone(), certificate, key));
            }
        }
        Ok(out)
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// Where a CA's certificate lies with its key on control planes and nodes of etcd. `new`, where it is in the cluster
/// already: what has its key by now is no home of the old one any more.
fn homes(
    state: &State,
    name: CaName,
    old: &Certificate,
    new: Option<&Certificate>,
    place: &Place,
    new_key: &str,
) -> Result<Vec<Home>> {
    let found = with_keys(state, old)?.into_iter();
    let out: Vec<Home> = found
        .filter(|(node, ..)| state.nodes[node].role != Role::Worker)
        .map(|(node, certificate, key)| Home {
            node,
            certificate,
            key,
            new_key: new_key.to_owned(),
        })
        .collect();
    let switched = match new {
        Some(new) => !with_keys(state, new)?.is_empty(),
        None => false,
    };
    if out.is_empty() && !switched {
        return Err(Diagnostic::new(
            Code::Unsupported,
            format!("no control plane or etcd node has the key of the {name} CA with its certificate"),
            format!(
                "if its key lies on no node, write `external = true` in [rotation.ca.{name}]; if somebody else runs \
                 it, remove \"{name}\" from rotation.cas"
            ),
        )
        .at(place.clone()));
    }
    Ok(out)
}

/// Refuses to leave a key on the nodes: a CA is external where its key lies on none.
fn check_external(state: &State, name: CaName, old: &Certificate) -> Result<()> {
    let Some((node, certificate, key)) = with_keys(state, old)?.into_iter().next() else {
        return Ok(());
    };
    Err(Diagnostic::new(
        Code::Unsupported,
        format!("the {name} CA is declared as external, and {node} has its key as {key}"),
        "take the snapshot again without it, if nothing signs with it; else remove `external = true` and give \
         the new CA's key",
    )
    .at(Place::start_of(&snapshot_file(&node, &certificate))))
}

/// A node does what it is declared as: the phases narrow trust where the programs run that hold it.
fn check_programs(spec: &Spec, state: &State) -> Result<()> {
    // Here each node is read for the first time, and remembered.
    let checked = state.look_at_nodes(|node, files| {
        let programs: BTreeSet<Program> = layout::components(state, node)?
            .iter()
            .map(|component| component.program)
            .collect();
        let declared = files.role;
        let place = spec.nodes.get(node).map(|n| n.place.clone());
        let error = |code, reason: String, remedy: String| {
            let place = place.clone().unwrap_or_else(|| spec.start());
            Err(Diagnostic::new(code, reason, remedy).at(place))
        };
        let wanted = match declared {
            Role::ControlPlane => Some(Program::Apiserver),
            Role::Etcd => Some(Program::Etcd),
            Role::Worker => None,
        };
        if let Some(program) = wanted.filter(|program| !programs.contains(program)) {
            return error(
                Code::ComponentMissing,
                format!(
                    "the snapshot of the {} node `{node}` shows no {program}",
                    declared.as_str()
                ),
                "take the snapshot of this node again, or declare it as a worker".to_owned(),
            );
        }
        let role = role_of(&programs);
        if role.is_none_or(|role| role != declared) {
            let names: Vec<&str> = programs.iter().map(|p| p.as_str()).collect();
            return error(
                Code::TomlValue,
                format!("`{node}` runs {}, and is declared as {}", names.join(", "), declared.as_str()),
                match role {
                    Some(role) => format!("declare it with role = \"{}\"", role.as_str()),
                    None => "a node with such programs and no API server is not supported yet: run them beside one".into(),
                },
            );
        }
        Ok(())
    });
    checked.map(drop)
}

/// What a node with these programs is; None where the phases know no such node.
#[must_use]
pub fn role_of(programs: &BTreeSet<Program>) -> Option<Role> {
    // kube-proxy runs on every node.
    let mut programs = programs.clone();
    programs.remove(&Program::Proxy);
    if programs.contains(&Program::Apiserver) {
        Some(Role::ControlPlane)
    } else if programs.is_empty() {
        Some(Role::Worker)
    } else {
        let etcd_alone = programs.iter().all(|program| *program == Program::Etcd);
        etcd_alone.then_some(Role::Etcd)
    }
}

/// Refuses a cluster whose ServiceAccount key is one of the CAs' keys, or would get another key as the
/// leaf that it is: tokens are verified by it.
fn check_service_account_keys(
    spec: &Spec,
    state: &State,
    cas: &BTreeMap<CaName, CaPair>,
) -> Result<()> {
    for component in layout::all(state, Program::Apiserver)? {
        for path in component.host_files("service-account-key-file")? {
            let Some(file) = state.file(&component.node, &path) else {
                continue;
            };
            let label = snapshot_file(&component.node, &path);
            for block in pem::blocks(&file.text, &label)? {
                if let Some(pair) = cas.values().find(|pair| {
                    pair.old.spki_der() == block.der
                        || Certificate::from_der(&block.der).is_ok_and(|c| c == pair.old)
                }) {
                    return Err(shared_key(pair.name, &label));
                }
                let leaf = Certificate::from_der(&block.der).ok();
                let gets_another = |leaf: &Certificate| {
                    let mut pairs = cas.values();
                    pairs.any(|pair| gets_new_key(spec, pair.name) && leaf.signed_by(&pair.old))
                };
                if leaf.as_ref().is_some_and(gets_another) {
                    return Err(Diagnostic::new(
                        Code::SharedServiceAccountKey,
                        "ServiceAccount tokens are verified by the key of this certificate, which would get another one",
                        "keep the keys of leaves (leaf_keys = \"keep\", and a CA whose key is here), or give tokens a key of their own first",
                    )
                    .at(Place::start_of(&label)));
                }
            }
            check_signing_key(state, cas, &component.node, &path)?;
        }
        for path in component.host_files("service-account-signing-key-file")? {
            check_signing_key(state, cas, &component.node, &path)?;
        }
    }
    for component in layout::all(state, Program::ControllerManager)? {
        for path in component.host_files("service-account-private-key-file")? {
            check_signing_key(state, cas, &component.node, &path)?;
        }
    }
    Ok(())
}

/// Refuses a private key that is, by its kept reference, that of a CA on the same node.
fn check_signing_key(
    state: &State,
    cas: &BTreeMap<CaName, CaPair>,
    node: &NodeName,
    path: &NodePath,
) -> Result<()> {
    let reference_in = |path: &NodePath| {
        references(&state.file(node, path)?.text)
            .next()
            .map(str::to_owned)
    };
    let Some(reference) = reference_in(path) else {
        return Ok(());
    };
    for pair in cas.values() {
        let mut homes = pair.homes.iter().filter(|home| home.node == *node);
        if homes.any(|home| reference_in(&home.key).as_ref() == Some(&reference)) {
            return Err(shared_key(pair.name, &snapshot_file(node, path)));
        }
    }
    Ok(())
}

fn shared_key(name: CaName, label: &str) -> Diagnostic {
    Diagnostic::new(
        Code::SharedServiceAccountKey,
        format!("ServiceAccount tokens are signed with the key of the {name} CA"),
        "give ServiceAccounts a key of their own first, or every token dies with the CA",
    )
    .at(Place::start_of(label))
}

/// Every leaf certificate of a rotated CA that something uses: in files, kubeconfigs and Secrets.
fn find_leaves(state: &State, cas: &BTreeMap<CaName, CaPair>) -> Result<Vec<FoundLeaf>> {
    let held = held_certificates(state)?;
    let mut distinct: Vec<&Certificate> = held.iter().map(|(c, _)| c).collect();
    distinct.sort_unstable_by_key(|certificate| certificate.fingerprint());
    distinct.dedup();
    let signers = parallel::map(&distinct, |certificate| {
        let signer = cas.values().find(|pair| {
            certificate.issuer_der() == pair.old.subject_der()
                && **certificate != pair.old
                && !certificate.is_ca()
                && certificate.signed_by(&pair.old)
        });
        Some((certificate.fingerprint(), signer?.name))
    });
    let signers: HashMap<&str, CaName> = signers.into_iter().flatten().collect();
    let leaf = |(certificate, holder): &(Certificate, Holder)| {
        Some(FoundLeaf {
            ca: *signers.get(certificate.fingerprint())?,
            certificate: certificate.clone(),
            holder: holder.clone(),
        })
    };
    Ok(held.iter().filter_map(leaf).collect())
}

/// Every certificate that something uses, once for each place that holds it.
pub fn held_certificates(state: &State) -> Result<Vec<(Certificate, Holder)>> {
    let of_nodes = state.look_at_nodes(|node, files| {
        let mut out = Vec::new();
        for (path, file) in files.regular_files() {
            if is_unused_kubelet_pem(files, path) {
                continue;
            }
            let label = snapshot_file(node, path);
            let mut certificates = Vec::new();
            if file.text.contains("BEGIN CERTIFICATE") {
                certificates.extend(pki::certificates_in_pem(&file.text, &label)?);
            }
            if looks_like_kubeconfig(&file.text) {
                certificates.extend(client_certificates(&file.text, &label)?);
            }
            let holder = Holder::File(node.clone(), path.clone());
            out.extend(certificates.into_iter().map(|c| (c, holder.clone())));
        }
        Ok(out)
    })?;
    let mut out: Vec<_> = of_nodes.into_iter().flatten().collect();
    let mut take = |certificates: Vec<Certificate>, holder: Holder| {
        out.extend(certificates.into_iter().map(|c| (c, holder.clone())));
    };
    for (user, text) in &state.users {
        let label = format!("snapshot/users/{user}.kubeconfig");
        let holder = Holder::User(user.clone());
        take(client_certificates(text, &label)?, holder);
    }
    for (id, _, certificates) in secret_certificates(state)? {
        take(certificates, Holder::Secret(id));
    }
    Ok(out)
}

/// A dated pem that the kubelet has left behind: no link leads to it any more.
#[must_use]
pub fn is_unused_kubelet_pem(files: &Node, path: &NodePath) -> bool {
    let name = path.file_name();
    let dated = ["kubelet-client-", "kubelet-server-"].iter().any(|prefix| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    });
    dated
        && !files.files.keys().any(|other| {
            other != path
                && other.folder() == path.folder()
                && files.resolve(other).as_ref() == Some(path)
        })
}

/// The client certificates embedded in a kubeconfig.
pub fn client_certificates(text: &str, label: &str) -> Result<Vec<Certificate>> {
    let mut out = Vec::new();
    for user in &Kubeconfig::parse(text, label)?.users {
        if let CertSource::Data(data) = &user.certificate {
            out.extend(pki::certificates_in_pem(
                &String::from_utf8_lossy(data),
                label,
            )?);
        }
    }
    Ok(out)
}

/// The certificates in Secrets: object, key below `data`, certificates.
pub fn secret_certificates(state: &State) -> Result<Vec<(ObjectId, String, Vec<Certificate>)>> {
    let mut out = Vec::new();
    for (id, secret) in state.objects_of("secrets") {
        let Some(data) = secret.get("data").and_then(|d| d.as_object()) else {
            continue;
        };
        for (key, value) in data {
            let Some(text) = value.as_str().and_then(decode_pem) else {
                continue;
            };
            let label = format!("snapshot/cluster/{}.yaml", id.kind);
            out.push((
                id.clone(),
                key.clone(),
                pki::certificates_in_pem(&text, &label)?,
            ));
        }
    }
    Ok(out)
}

/// Base64, which may be cut into lines, decoded; None for anything else, and for nothing.
#[must_use]
pub fn decode_lines(value: &str) -> Option<Vec<u8>> {
    let compact: String = value.split_whitespace().collect();
    BASE64.decode(compact).ok().filter(|b| !b.is_empty())
}

/// Base64 of PEM certificates, decoded; None for anything else.
#[must_use]
pub fn decode_pem(value: &str) -> Option<String> {
    let text = String::from_utf8(decode_lines(value)?).ok()?;
    text.contains("BEGIN CERTIFICATE").then_some(text)
}

fn check_leaf(spec: &Spec, leaf: &FoundLeaf) -> Result<()> {
    let certificate = &leaf.certificate;
    if certificate.not_before() > spec.not_before {
        return Err(Diagnostic::new(
            Code::LeafInvalid,
            format!(
                "the certificate of `{}` is not valid yet at rotation.not_before",
                certificate.subject()
            ),
            "set rotation.not_before to a moment after the snapshot was taken",
        )
        .at(leaf.holder.place()));
    }
    if certificate.not_after() < spec.window_end {
        return Err(Diagnostic::new(
            Code::LeafInvalid,
            format!(
                "the certificate of `{}` expires before the window ends",
                certificate.subject()
            ),
            "renew it first and take the snapshot again, or shorten rotation.window",
        )
        .at(leaf.holder.place()));
    }
    Ok(())
}

fn wanted(spec: &Spec, found: &[FoundLeaf]) -> Vec<LeafRequest> {
    let external: BTreeSet<&str> = spec
        .external_leaves
        .iter()
        .map(|leaf| leaf.fingerprint.as_str())
        .collect();
    let mut seen = BTreeSet::new();
    found
        .iter()
        .filter(|leaf| !external.contains(leaf.certificate.fingerprint()))
        .filter(|leaf| seen.insert(leaf.certificate.fingerprint().to_owned()))
        .map(|leaf| LeafRequest {
            ca: leaf.ca.as_str().to_owned(),
            old: leaf.certificate.clone(),
            not_before: spec.not_before,
            not_after: spec.not_before + spec.leaf_validity,
            needed_until: spec.window_end,
            new_key: gets_new_key(spec, leaf.ca),
        })
        .collect()
}

impl Rotation<'_> {
    /// Whether any leaf gets a new key.
    #[must_use]
    pub fn gives_new_keys(&self) -> bool {
        self.cas.keys().any(|ca| gets_new_key(self.spec, *ca))
    }
}

/// Whether leaves of a CA get new keys: where they shall, and where somebody else signs, who must be shown by
/// the key that it is at hand.
fn gets_new_key(spec: &Spec, ca: CaName) -> bool {
    let elsewhere = spec.cas.get(&ca).is_some_and(CaSpec::signs_elsewhere);
    spec.leaf_keys == LeafKeys::New || elsewhere
}
