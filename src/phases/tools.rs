//! What several phases do the same way: pointing flags at bundles, restarting static pods, editing
//! kubeconfigs, finding workloads. One place for each, so that phases read as what they mean.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Action, Part, Step, Undoing};
use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::digest::hex;
use crate::edit::kubeconfig::{CaSource, CertSource, Kubeconfig, looks_like_kubeconfig};
use crate::edit::manifest::Manifest;
use crate::layout::{self, Component, Program, snapshot_file};
use crate::names::{NodeName, NodePath};
use crate::pki::{self, Certificate};
use crate::rotation::{CaPair, Home, Rotation, Trust, decode_lines, to_pem};
use crate::state::{Draft, ObjectId, Process, State};

/// The annotation by which a static pod is recreated when only the content of its files changed: its
/// value is a fingerprint of that content.
pub const POD_ANNOTATION: &str = "ca-rotation/inputs";
/// The annotation in a workload's pod template by which it rolls: its value names the phase. When
/// phase 17 removes it, the workload rolls once more.
pub const WORKLOAD_ANNOTATION: &str = "ca-rotation/rolled-by";

/// Every flag that names a file of trust, by program.
pub const TRUST_FLAGS: [(Program, &str); 14] = [
    (Program::Apiserver, "client-ca-file"),
    (Program::Apiserver, "kubelet-certificate-authority"),
    (Program::Apiserver, "requestheader-client-ca-file"),
    (Program::Apiserver, "etcd-cafile"),
    (Program::ControllerManager, "root-ca-file"),
    (Program::ControllerManager, "client-ca-file"),
    (Program::ControllerManager, "requestheader-client-ca-file"),
    (Program::Scheduler, "client-ca-file"),
    (Program::Scheduler, "requestheader-client-ca-file"),
    (Program::CloudControllerManager, "root-ca-file"),
    (Program::CloudControllerManager, "client-ca-file"),
    (
        Program::CloudControllerManager,
        "requestheader-client-ca-file",
    ),
    (Program::Etcd, "trusted-ca-file"),
    (Program::Etcd, "peer-trusted-ca-file"),
];

/// The flags of one program, but for those left out.
pub fn trust_flags(program: Program, but: &[&str]) -> Vec<&'static str> {
    TRUST_FLAGS
        .iter()
        .filter(|(of, flag)| *of == program && !but.contains(flag))
        .map(|(_, flag)| *flag)
        .collect()
}

/// The bundle that a phase of the first act puts beside a file of trust.
pub fn bundle_of(path: &NodePath) -> NodePath {
    path.with_suffix("-bundle")
}

/// The new CA's file, or its key's, beside the old one.
pub fn new_of(path: &NodePath) -> NodePath {
    path.with_suffix("-new")
}

/// The homes of CAs whose new certificate and key the controller manager beside them will read: to
/// sign, or to publish. Of the others no process reads the new key, so it is not brought early.
pub fn homes_read<'r>(rotation: &'r Rotation<'_>) -> Result<Vec<(&'r CaPair, &'r Home)>> {
    let mut read = BTreeSet::new();
    for component in layout::all(&rotation.start, Program::ControllerManager)? {
        let certificates = layout::SIGNERS.iter().map(|(certificate, _)| *certificate);
        for flag in certificates.chain(["root-ca-file"]) {
            let path = component.host_file(flag)?;
            read.extend(path.map(|path| (component.node.clone(), path)));
        }
    }
    let homes = rotation.cas.values();
    let homes = homes.flat_map(|pair| pair.homes.iter().map(move |home| (pair, home)));
    Ok(homes
        .filter(|(_, home)| read.contains(&(home.node.clone(), home.certificate.clone())))
        .collect())
}

/// A step that changes something on nodes or in the cluster; None where `edit` changes nothing and
/// no action is asked for.
pub fn step(
    before: &State,
    title: &str,
    part: Part,
    actions: Vec<Action>,
    edit: impl FnOnce(&mut Draft) -> Result<()>,
) -> Result<Option<Step>> {
    let mut draft = before.draft();
    edit(&mut draft)?;
    let after = draft.finish();
    Ok(
        (after.differs_from(before) || !actions.is_empty()).then(|| Step {
            title: title.to_owned(),
            part,
            after,
            actions,
        }),
    )
}

/// The certificates of a PEM file on a node, with the file's own path.
pub fn pem_file(
    state: &State,
    node: &NodeName,
    path: &NodePath,
) -> Result<Option<(NodePath, Vec<Certificate>)>> {
    let Some((at, file)) = state.nodes.get(node).and_then(|n| n.file(path)) else {
        return Ok(None);
    };
    let certificates = pki::certificates_in_pem(&file.text, &snapshot_file(node, at))?;
    Ok(Some((at.clone(), certificates)))
}

/// Every file of trust in the snapshot that holds a rotated CA and is named by a flag, a kubelet's
/// configuration or a kubeconfig: by node and path.
pub fn trust_files(
    rotation: &Rotation,
) -> Result<BTreeMap<(NodeName, NodePath), Vec<Certificate>>> {
    let start = &rotation.start;
    let found = start.look_at_nodes(|node, files| {
        let mut out = Vec::new();
        let mut paths = BTreeSet::new();
        for component in layout::components(start, node)? {
            for flag in trust_flags(component.program, &[]) {
                paths.extend(component.host_file(flag)?);
            }
        }
        paths.extend(layout::kubelet(start, node)?.and_then(|k| k.client_ca_file.clone()));
        for (path, file) in files.regular_files() {
            if names_a_ca_file(&file.text) && looks_like_kubeconfig(&file.text) {
                let named = ca_files(rotation, node, path)?;
                paths.extend(named.into_iter().map(|named| named.file));
            }
        }
        for path in paths {
            if let Some((_, certificates)) = pem_file(start, node, &path)?
                && rotation.affects(&certificates)
            {
                out.push(((node.clone(), path), certificates));
            }
        }
        Ok(out)
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// Lets some flags of a program name other files of the node, and restarts it where that changes a file.
pub fn point_at(
    draft: &mut Draft,
    component: &Component,
    files: &[(&str, NodePath)],
) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    for (path, text) in component.with_files(files)? {
        write_program(draft, component.process(), &path, &text);
    }
    Ok(())
}

/// Brings the files that start a program back to what the snapshot shows. Static pods that were touched
/// differ and restart; a unit that was restarted meanwhile restarts once more.
pub fn restore_program(rotation: &Rotation, draft: &mut Draft, component: &Component) {
    for path in component.files() {
        if let Some(file) = rotation.start.file(&component.node, &path) {
            write_program(draft, component.process(), &path, &file.text);
        }
    }
    let process = component.process();
    if component.is_unit() && draft.now().started_in(&process) > 0 {
        draft.restart(process);
    }
}

/// Writes a file that starts a program, and restarts it.
fn write_program(draft: &mut Draft, process: Process, path: &NodePath, text: &str) {
    let Some(node) = process.node().cloned() else {
        return;
    };
    let same = |file: &crate::state::File| *file.text == *text;
    if draft.now().file(&node, path).is_some_and(same) {
        return;
    }
    draft.write(&node, path, text, 0o600, "0:0");
    draft.restart(process);
}

/// Points those of the flags that name a file with a rotated CA at its bundle. Says which flags are
/// not set at all.
pub fn point_at_bundles(
    rotation: &Rotation,
    draft: &mut Draft,
    component: &Component,
    flags: &[&str],
) -> Result<Vec<String>> {
    let mut unset = Vec::new();
    let mut edits = Vec::new();
    for flag in flags {
        let Some(path) = component.host_file(flag)? else {
            unset.push((*flag).to_owned());
            continue;
        };
        let Some((_, certificates)) = pem_file(&rotation.start, &component.node, &path)? else {
            continue;
        };
        if rotation.affects(&certificates) {
            edits.push((*flag, bundle_of(&path)));
        }
    }
    point_at(draft, component, &edits)?;
    Ok(unset)
}

/// The components of a program in the state as drafted so far.
pub fn components_now(
    draft: &Draft,
    node: &NodeName,
    program: Program,
) -> Result<Vec<Arc<Component>>> {
    let all = layout::components(draft.now(), node)?;
    Ok(all.into_iter().filter(|c| c.program == program).collect())
}

/// Restarts a program because the files `inputs` that it reads have changed: a static pod by an annotation
/// with the fingerprint of their present content, a unit by systemd.
pub fn recreate(
    draft: &mut Draft,
    node: &NodeName,
    path: &NodePath,
    inputs: &[NodePath],
) -> Result<()> {
    let process = Process::Program(node.clone(), path.clone());
    if layout::unit_of(path).is_some() {
        draft.restart(process);
        return Ok(());
    }
    let Some(file) = draft.now().file(node, path) else {
        return Ok(());
    };
    let mut hasher = Sha256::new();
    for input in inputs {
        if let Some(file) = draft.now().file(node, input) {
            hasher.update(input.as_str());
            hasher.update([0]);
            hasher.update(file.text.as_bytes());
        }
    }
    let digest = hasher.finalize();
    let fingerprint = hex(&digest[..8]);
    let manifest = Manifest::parse(&file.text, &snapshot_file(node, path))?;
    let text = manifest.set_annotation(POD_ANNOTATION, &format!("sha256-{fingerprint}"))?;
    write_program(draft, process, path, &text);
    Ok(())
}

/// Who reads a kubeconfig on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reader {
    /// An API server, for webhooks and the like.
    Apiserver,
    /// The controller manager, scheduler or cloud controller manager.
    ControlPlane,
    /// The kubelet.
    Kubelet,
    /// The kubelet, once, when the node joins.
    Bootstrap,
    /// A network plugin or another agent of the node.
    Agent,
    /// A person or a tool.
    Person,
}

/// A kubeconfig on a node.
pub struct NodeKubeconfig {
    /// Its path.
    pub path: NodePath,
    /// Who reads it.
    pub reader: Reader,
    /// The static pods that read it.
    pub pods: BTreeSet<NodePath>,
}

/// Flags by which control-plane programs name kubeconfigs.
const KUBECONFIG_FLAGS: [&str; 6] = [
    "kubeconfig",
    "authentication-kubeconfig",
    "authorization-kubeconfig",
    "authentication-token-webhook-config-file",
    "authorization-webhook-config-file",
    "audit-webhook-config-file",
];

/// The kubeconfigs on a node, each with its readers.
pub fn kubeconfigs(state: &State, node: &NodeName) -> Result<Vec<NodeKubeconfig>> {
    let Some(files) = state.nodes.get(node) else {
        return Ok(Vec::new());
    };
    let mut readers: BTreeMap<NodePath, (Reader, BTreeSet<NodePath>)> = BTreeMap::new();
    for component in layout::components(state, node)? {
        for flag in KUBECONFIG_FLAGS {
            let Some(path) = component.host_file(flag)? else {
                continue;
            };
            let reader = match component.program {
                Program::Apiserver => Reader::Apiserver,
                _ => Reader::ControlPlane,
            };
            let entry = readers.entry(path).or_insert((reader, BTreeSet::new()));
            entry.1.insert(component.path.clone());
        }
    }
    if let Some(kubelet) = layout::kubelet(state, node)? {
        for (path, reader) in [
            (&kubelet.kubeconfig, Reader::Kubelet),
            (&kubelet.bootstrap_kubeconfig, Reader::Bootstrap),
        ] {
            if let Some(path) = path {
                let of = readers.entry(path.clone());
                of.or_insert((reader, BTreeSet::new()));
            }
        }
    }
    let mut out = Vec::new();
    for (path, file) in files.regular_files() {
        // What a program reads as its kubeconfig must be one: whoever edits it says so.
        if !looks_like_kubeconfig(&file.text) && !readers.contains_key(path) {
            continue;
        }
        let (reader, pods) = readers.remove(path).unwrap_or_else(|| {
            let agent =
                path.as_str().starts_with("/etc/cni/") || path.as_str().starts_with("/var/lib/");
            (
                if agent { Reader::Agent } else { Reader::Person },
                BTreeSet::new(),
            )
        });
        out.push(NodeKubeconfig {
            path: path.clone(),
            reader,
            pods,
        });
    }
    Ok(out)
}

/// A PEM text with its trust changed; None where no rotated CA, old or new, is in it or nothing
/// changes.
pub fn pem_with_trust(
    rotation: &Rotation,
    text: &str,
    label: &str,
    trust: Trust,
) -> Result<Option<String>> {
    let before = pki::certificates_in_pem(text, label)?;
    if !rotation.affects(&before) {
        return Ok(None);
    }
    let after = trust.of(rotation, &before);
    Ok((after != before).then(|| to_pem(&after)))
}

/// What a declared consumer holds, with its trust changed: PEM, a kubeconfig, one certificate in DER,
/// or base64 of any of these. None where nothing changes, or it is something else.
pub fn consumer_with_trust(
    rotation: &Rotation,
    text: &str,
    label: &str,
    trust: Trust,
) -> Result<Option<String>> {
    if looks_like_kubeconfig(text) {
        return kubeconfig_with_trust(rotation, text, label, trust);
    }
    if text.contains("BEGIN CERTIFICATE") {
        let changed = pem_with_trust(rotation, text, label, trust)?;
        return match first_foreign_line(text) {
            Some(line) if changed.is_some() => Err(not_only_certificates(label, line)),
            _ => Ok(changed),
        };
    }
    let Some(bytes) = decode_lines(text) else {
        return Ok(None);
    };
    if let Ok(certificate) = Certificate::from_der(&bytes) {
        let before = [certificate];
        return match &trust.of(rotation, &before)[..] {
            [one] if *one == before[0] => Ok(None),
            [one] => Ok(Some(BASE64.encode(one.der()))),
            _ => Err(one_certificate_only(label)),
        };
    }
    let Ok(inner) = String::from_utf8(bytes) else {
        return Ok(None);
    };
    let changed = consumer_with_trust(rotation, &inner, label, trust)?;
    Ok(changed.map(|text| BASE64.encode(text)))
}

/// The first line that is neither of a PEM block, nor a comment, nor blank.
fn first_foreign_line(text: &str) -> Option<usize> {
    let mut inside = false;
    text.lines().position(|line| {
        let begins = line.starts_with("-----BEGIN ");
        let ends = line.starts_with("-----END ");
        let foreign = !inside && !begins && !line.trim().is_empty() && !line.starts_with('#');
        inside = (inside || begins) && !ends;
        foreign
    })
}

fn not_only_certificates(label: &str, line: usize) -> Diagnostic {
    let place = Place {
        line: line + 1,
        ..Place::start_of(label)
    };
    Diagnostic::new(
        Code::Unsupported,
        "what is declared as a trust consumer holds more than certificates",
        "keep the CA in a file or key of its own, then collect again",
    )
    .at(place)
}

fn one_certificate_only(label: &str) -> Diagnostic {
    Diagnostic::new(
        Code::Unsupported,
        "what is declared as a bundle holds one certificate in DER and cannot hold two",
        "declare it with mode = \"replace\"",
    )
    .at(Place::start_of(label))
}

/// A kubeconfig with the trust of every cluster in it changed; None where nothing changes.
pub fn kubeconfig_with_trust(
    rotation: &Rotation,
    text: &str,
    label: &str,
    trust: Trust,
) -> Result<Option<String>> {
    let mut now: Option<String> = None;
    let count = Kubeconfig::parse(text, label)?.clusters.len();
    for index in 0..count {
        let parsed = Kubeconfig::parse(now.as_deref().unwrap_or(text), label)?;
        let CaSource::Data(data) = &parsed.clusters[index].ca else {
            continue;
        };
        let pem = String::from_utf8_lossy(data);
        if let Some(changed) = pem_with_trust(rotation, &pem, label, trust)? {
            now = Some(parsed.set_ca_data(index, &changed)?);
        }
    }
    Ok(now)
}

/// A kubeconfig with every embedded client certificate re-issued; None where none is.
pub fn kubeconfig_reissued(rotation: &Rotation, text: &str, label: &str) -> Result<Option<String>> {
    let mut now: Option<String> = None;
    let count = Kubeconfig::parse(text, label)?.users.len();
    for index in 0..count {
        let parsed = Kubeconfig::parse(now.as_deref().unwrap_or(text), label)?;
        let CertSource::Data(data) = &parsed.users[index].certificate else {
            continue;
        };
        let pem = String::from_utf8_lossy(data);
        let Some(changed) = rotation.reissued_pem(&pem, label)? else {
            continue;
        };
        let mut edited = parsed.set_client_certificate_data(index, &changed)?;
        let key = pki::certificates_in_pem(&pem, label)?
            .iter()
            .find_map(|c| rotation.reissued(c))
            .and_then(|issued| issued.key.as_ref());
        if let Some(key) = key {
            let again = Kubeconfig::parse(&edited, label)?;
            edited = again.set_client_key_data(index, &key.base64_reference)?;
        }
        now = Some(edited);
    }
    Ok(now)
}

/// Changes the text of a file on a node by a function that says None where nothing changes.
pub fn edit_file(
    draft: &mut Draft,
    node: &NodeName,
    path: &NodePath,
    edit: impl FnOnce(&str, &str) -> Result<Option<String>>,
) -> Result<bool> {
    let Some((at, file)) = draft.now().nodes.get(node).and_then(|n| n.file(path)) else {
        return Ok(false);
    };
    let Some(text) = edit(&file.text, &snapshot_file(node, at))? else {
        return Ok(false);
    };
    draft.write(node, path, &text, 0o600, "0:0");
    Ok(true)
}

/// A file of trust that a kubeconfig names for a cluster.
struct CaFile {
    cluster: usize,
    /// As the kubeconfig spells it.
    written: String,
    file: NodePath,
}

/// Whether a kubeconfig may name a CA by a file, in YAML or JSON: most hold it, and need no reading for that.
fn names_a_ca_file(text: &str) -> bool {
    let field = "certificate-authority";
    let mut fields = text.match_indices(field);
    fields.any(|(at, _)| !text[at + field.len()..].starts_with("-data"))
}

/// The files with a rotated CA that a kubeconfig of the snapshot names.
fn ca_files(rotation: &Rotation, node: &NodeName, path: &NodePath) -> Result<Vec<CaFile>> {
    let mut out = Vec::new();
    let kubeconfig = rotation.start.file(node, path);
    let Some(kubeconfig) = kubeconfig.filter(|file| names_a_ca_file(&file.text)) else {
        return Ok(out);
    };
    let parsed = Kubeconfig::parse(&kubeconfig.text, &snapshot_file(node, path))?;
    for (cluster, entry) in parsed.clusters.iter().enumerate() {
        let CaSource::File(written) = &entry.ca else {
            continue;
        };
        if let Some(file) = path.named(written)
            && let Some((_, certificates)) = pem_file(&rotation.start, node, &file)?
            && rotation.affects(&certificates)
        {
            out.push(CaFile {
                cluster,
                written: written.clone(),
                file,
            });
        }
    }
    Ok(out)
}

/// Changes the trust of a kubeconfig on a node: its CA data, and for each file of trust that it names, whether
/// it names the bundle or the file itself.
pub fn change_kubeconfig(
    rotation: &Rotation,
    draft: &mut Draft,
    node: &NodeName,
    path: &NodePath,
    trust: Trust,
) -> Result<bool> {
    let named = ca_files(rotation, node, path)?;
    edit_file(draft, node, path, |text, label| {
        let mut now = kubeconfig_with_trust(rotation, text, label, trust)?;
        for ca in &named {
            let bundle = bundle_of(&ca.file);
            let folder = ca.written.strip_suffix(ca.file.file_name()).unwrap_or("/");
            let wanted = match trust {
                Trust::Narrowed => ca.written.clone(),
                Trust::Widened | Trust::NewFirst => format!("{folder}{}", bundle.file_name()),
            };
            let parsed = Kubeconfig::parse(now.as_deref().unwrap_or(text), label)?;
            if parsed.clusters.get(ca.cluster).map(|c| &c.ca)
                != Some(&CaSource::File(wanted.clone()))
            {
                now = Some(parsed.set_ca_file(ca.cluster, &wanted)?);
            }
        }
        Ok(now)
    })
}

/// Changes the trust of kubeconfigs on the nodes and recreates the static pods that read them.
/// Gives the paths that changed, by node.
pub fn change_kubeconfig_trust(
    rotation: &Rotation,
    draft: &mut Draft,
    readers: &[Reader],
    trust: Trust,
) -> Result<BTreeMap<NodeName, Vec<NodePath>>> {
    change_kubeconfigs(draft, readers, |draft, node, path| {
        change_kubeconfig(rotation, draft, node, path, trust)
    })
}

/// Changes kubeconfigs on the nodes by a function that says whether it did, and recreates the static pods that
/// read them.
pub fn change_kubeconfigs(
    draft: &mut Draft,
    readers: &[Reader],
    edit: impl Fn(&mut Draft, &NodeName, &NodePath) -> Result<bool> + Sync,
) -> Result<BTreeMap<NodeName, Vec<NodePath>>> {
    let all = draft.each_node(|draft, node| {
        let mut changed = Vec::new();
        let mut pods: BTreeMap<NodePath, Vec<NodePath>> = BTreeMap::new();
        for kubeconfig in kubeconfigs(draft.now(), node)? {
            if readers.contains(&kubeconfig.reader) && edit(draft, node, &kubeconfig.path)? {
                for pod in &kubeconfig.pods {
                    let inputs = pods.entry(pod.clone()).or_default();
                    inputs.push(kubeconfig.path.clone());
                }
                changed.push(kubeconfig.path);
            }
        }
        for (pod, inputs) in pods {
            recreate(draft, node, &pod, &inputs)?;
        }
        Ok(changed)
    })?;
    Ok(all
        .into_iter()
        .filter(|(_, changed)| !changed.is_empty())
        .collect())
}

/// Changes every user's kubeconfig.
pub fn change_users(
    draft: &mut Draft,
    edit: impl Fn(&str, &str) -> Result<Option<String>>,
) -> Result<()> {
    for (user, text) in draft.now().users.clone() {
        if let Some(text) = edit(&text, &format!("snapshot/users/{user}.kubeconfig"))? {
            draft.write_user(&user, &text);
        }
    }
    Ok(())
}

/// What users must have put back before something is undone that the kubeconfig of a later phase
/// needs: each user whose file is changed by `edit`.
pub fn put_back_by_users(
    state: &State,
    (name, text): (&str, &str),
    edit: impl Fn(&str, &str) -> Result<Option<String>>,
) -> Result<Vec<Undoing>> {
    let mut out = Vec::new();
    for (user, file) in &state.users {
        if edit(file, &format!("snapshot/users/{user}.kubeconfig"))?.is_some() {
            out.push(Undoing {
                name: format!("undone-user-{user}{name}"),
                text: format!("{user} {text}"),
                user: Some(user.clone()),
            });
        }
    }
    Ok(out)
}

/// The text that the controller manager publishes as `ca.crt` in every namespace: the bytes of its
/// `--root-ca-file`, or the CA data of its kubeconfig where that is not set.
///
/// Source: cmd/kube-controller-manager/app/certificates.go of Kubernetes 1.34.4.
pub fn published_ca(state: &State) -> Result<Option<String>> {
    for component in layout::all(state, Program::ControllerManager)? {
        if let Some(path) = component.host_file("root-ca-file")? {
            if let Some(file) = state.file(&component.node, &path) {
                return Ok(Some(file.text.to_string()));
            }
        } else if let Some(path) = component.host_file("kubeconfig")?
            && let Some(file) = state.file(&component.node, &path)
        {
            let parsed = Kubeconfig::parse(&file.text, &snapshot_file(&component.node, &path))?;
            if let Some(CaSource::Data(data)) = parsed.clusters.first().map(|c| &c.ca) {
                return Ok(Some(String::from_utf8_lossy(data).into_owned()));
            }
        }
    }
    Ok(None)
}

/// Sets the field at a JSON pointer, making the objects on the way.
pub fn set_field(value: &mut Value, path: &[&str], new: Value) {
    let mut at = value;
    for part in path {
        if !at.is_object() {
            *at = Value::Object(serde_json::Map::new());
        }
        let Value::Object(map) = at else { return };
        at = map.entry((*part).to_owned()).or_insert(Value::Null);
    }
    *at = new;
}

/// Removes the field at a path.
pub fn remove_field(value: &mut Value, path: &[&str]) {
    let Some((last, folders)) = path.split_last() else {
        return;
    };
    let mut at = value;
    for part in folders {
        match at.get_mut(*part) {
            Some(next) => at = next,
            None => return,
        }
    }
    if let Value::Object(map) = at {
        map.remove(*last);
    }
}

/// Reads the field at a path.
pub fn field<'v>(value: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(value, |at, part| at.get(*part))
}

/// A text field.
pub fn text<'v>(value: &'v Value, path: &[&str]) -> Option<&'v str> {
    field(value, path).and_then(Value::as_str)
}

/// The node's internal address, from its Node object.
pub fn address(state: &State, node: &NodeName) -> Option<String> {
    let object = state.object(&ObjectId::new("nodes", "", node.as_str()))?;
    field(object, &["status", "addresses"])?
        .as_array()?
        .iter()
        .find(|a| text(a, &["type"]) == Some("InternalIP"))
        .and_then(|a| text(a, &["address"]))
        .map(str::to_owned)
}
