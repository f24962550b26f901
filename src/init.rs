//! `carota init`: a commented cluster.toml from a snapshot. It reads what is there and says what it
//! could not tell; a person reviews the result.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use crate::compile;
use crate::coverage::certificates_in;
use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::edit::kubeconfig::{Kubeconfig, looks_like_kubeconfig};
use crate::layout::{self, Program, ROOT_CA, is_token, snapshot_file};
use crate::names::NodeName;
use crate::pki::certificate::utc;
use crate::pki::{self, Certificate};
use crate::ranges;
use crate::rotation::{self, decode_pem};
use crate::schema::BESIDE;
use crate::snapshot;
use crate::spec::{CaName, Role, Spec, Version, quoted};
use crate::state::State;

/// A cluster's description.
pub struct Described {
    /// The text of cluster.toml.
    pub toml: String,
    /// The new CAs that an unfinished rotation has left in the cluster: files that it names, PEM.
    pub files: Vec<(String, String)>,
}

/// Describes a snapshot that will lie as it does now relative to `folder`. `resume`: somebody has begun to rotate CAs, and
/// this rotation finishes it.
pub fn describe(path: &Path, folder: &Path, resume: bool) -> Result<Described> {
    described(path, folder, resume).map_err(|error| {
        let named = path.to_string_lossy();
        snapshot::on_disk(path, &named, error)
    })
}

fn described(path: &Path, folder: &Path, resume: bool) -> Result<Described> {
    let mut state = snapshot::survey(path)?;
    find_roles(&mut state)?;
    let state = state;
    let relative = path.strip_prefix(folder).unwrap_or(path);
    let relative = relative
        .to_str()
        .filter(|p| !p.starts_with('/'))
        .ok_or_else(|| {
            Diagnostic::new(
                Code::TomlValue,
                "the snapshot does not lie below the folder of the cluster.toml to be written",
                "run `carota init` in the folder that holds the snapshot",
            )
        })?;
    let mut unknown = Vec::new();
    let mut out = format!(
        "#:schema ./{BESIDE}\n\
         # What to rotate: written by `carota init` from the snapshot, to be reviewed by people. Editors complete\n\
         # it from the schema that the first line names: `carota schema --of cluster` prints that file.\n"
    );
    cluster(&mut out, &state, relative, &mut unknown)?;
    let cas = if resume { begun(&state)? } else { cas(&state)? };
    let new = cas
        .iter()
        .filter_map(|ca| Some((ca.name, ca.new.as_ref()?)));
    let files: Vec<_> = new
        .map(|(name, new)| (new_file(name), new.to_pem()))
        .collect();
    let consumed = consumers(&state, &cas);
    rotation(&mut out, &state, cas)?;
    nodes(&mut out, &state)?;
    out.push_str(&consumed);
    if resume {
        unknown.push("what is away meanwhile: a compile says what to accept".to_owned());
    } else {
        accept(&mut out, folder, &mut unknown);
    }
    if !unknown.is_empty() {
        out.push_str("\n# What could not be told from the snapshot:\n");
        for line in unknown {
            let _ = writeln!(out, "# - {line}");
        }
    }
    Ok(Described { toml: out, files })
}

/// Where the new CA lies that an unfinished rotation has left in the cluster.
fn new_file(name: CaName) -> String {
    format!("{name}-ca-new.pem")
}

/// For a CA whose key lies on no node.
const EXTERNAL: &str = "\
# Its key is on no node of the snapshot; the new one's stays in secrets/ too. Where somebody else signs with it, write\n\
# `certificate = \"FILE\"` instead of subject, key and validity: `carota request` then writes what they sign, and\n\
# `carota import` takes it back.\n\
external = true\n";

/// Where accepted outages stand in `[rotation]`.
const ACCEPT: &str = "accept = []\n";

/// Rehearses the rotation and accepts the outages that it cannot do without, each with its scope, for
/// a person to think about.
fn accept(out: &mut String, folder: &Path, unknown: &mut Vec<String>) {
    let rehearsed =
        Spec::parse(out, "cluster.toml").and_then(|spec| compile::rehearse(&spec, folder));
    match rehearsed {
        Ok(outages) if outages.is_empty() => {}
        Ok(outages) => {
            let mut text =
                String::from("# What is away meanwhile, and has to be accepted by name:\n");
            for outage in &outages {
                let _ = writeln!(
                    text,
                    "# {:02}-{}: {}",
                    outage.phase, outage.phase_name, outage.scope
                );
            }
            let names: BTreeSet<String> = outages.iter().map(|o| quoted(&o.name)).collect();
            let names: Vec<String> = names.into_iter().collect();
            let _ = writeln!(text, "accept = [{}]", names.join(", "));
            *out = out.replacen(ACCEPT, &text, 1);
        }
        Err(error) => unknown.push(format!(
            "whether it compiles: it stops with {}: {}",
            error.code,
            error.reason.lines().next().unwrap_or_default()
        )),
    }
}

/// A TOML basic string.
fn cluster(
    out: &mut String,
    state: &State,
    snapshot: &str,
    unknown: &mut Vec<String>,
) -> Result<()> {
    let version = version(state).unwrap_or_else(|| {
        unknown.push("the Kubernetes version: no Node object says it; 1.34.0 was taken".into());
        "1.34.0".into()
    });
    let endpoint = endpoint(state)?.unwrap_or_else(|| {
        unknown.push("the API endpoint: no kubeconfig of an administrator was found".into());
        "https://localhost:6443".into()
    });
    let name = cluster_name(state)?.unwrap_or_else(|| {
        unknown.push("the cluster's name".into());
        "kubernetes".into()
    });
    let _ = write!(
        out,
        "\n[cluster]\nname = {}\nkubernetes = {}\n# The URL by which clients reach the API servers.\nendpoint = {}\nsnapshot = {}\n",
        quoted(&name),
        quoted(&version),
        quoted(&endpoint),
        quoted(snapshot.trim_end_matches('/')),
    );
    Ok(())
}

/// The oldest kubelet's version: what every process of the cluster can do.
fn version(state: &State) -> Option<String> {
    state
        .objects_of("nodes")
        .filter_map(|(_, o)| o.pointer("/status/nodeInfo/kubeletVersion")?.as_str())
        .filter_map(Version::parse)
        .min()
        .map(|v| v.to_string())
}

/// The API's URL as an administrator, another user or a kubelet has it; one that means the node itself says
/// nothing of it.
fn endpoint(state: &State) -> Result<Option<String>> {
    let preferred = ["admin.conf", "super-admin.conf"];
    let server = |text: &str, label: &str| -> Result<Option<String>> {
        let parsed = Kubeconfig::parse(text, label)?;
        let server = parsed.clusters.first().and_then(|c| c.server.clone());
        let here = ["://127.", "://localhost", "://[::1]"];
        Ok(server.filter(|server| !here.iter().any(|here| server.contains(here))))
    };
    for (node, files) in &state.nodes {
        for (path, file) in files.regular_files() {
            if preferred.contains(&path.file_name())
                && looks_like_kubeconfig(&file.text)
                && let Some(server) = server(&file.text, &snapshot_file(node, path))?
            {
                return Ok(Some(server));
            }
        }
    }
    for (user, text) in &state.users {
        if let Some(server) = server(text, &format!("snapshot/users/{user}.kubeconfig"))? {
            return Ok(Some(server));
        }
    }
    for node in state.nodes.keys() {
        let kubeconfig =
            layout::kubelet(state, node)?.and_then(|kubelet| kubelet.kubeconfig.clone());
        if let Some(path) = kubeconfig
            && let Some(file) = state.file(node, &path)
            && let Some(server) = server(&file.text, &snapshot_file(node, &path))?
        {
            return Ok(Some(server));
        }
    }
    Ok(None)
}

fn cluster_name(state: &State) -> Result<Option<String>> {
    for component in layout::all(state, Program::ControllerManager)? {
        if let Some(name) = component.flag("cluster-name")? {
            return Ok(Some(name).filter(|n| crate::names::subdomain(n).is_ok()));
        }
    }
    Ok(None)
}

/// Whether somebody else runs etcd: neither a member nor the key of its CA is in the snapshot.
fn is_foreign(state: &State, name: CaName, certificate: &Certificate) -> Result<bool> {
    Ok(name == CaName::Etcd
        && layout::all(state, Program::Etcd)?.is_empty()
        && rotation::with_keys(state, certificate)?.is_empty())
}

/// A CA that flags name, under all its names.
struct DistinctCa {
    name: CaName,
    certificate: Certificate,
    /// Other CAs that are the same certificate.
    also: Vec<CaName>,
    /// Its successor, where somebody has brought that into the cluster already.
    new: Option<Certificate>,
}

/// The CAs of which somebody has begun the rotation, each certificate once.
fn begun(state: &State) -> Result<Vec<DistinctCa>> {
    let mut out: Vec<DistinctCa> = Vec::new();
    for name in CaName::ALL {
        let Some((certificate, new)) = rotation::find_begun(state, name)? else {
            continue;
        };
        match out
            .iter_mut()
            .find(|known| known.certificate == certificate)
        {
            Some(known) => known.also.push(name),
            None => out.push(DistinctCa {
                name,
                certificate,
                also: Vec::new(),
                new: Some(new),
            }),
        }
    }
    if out.is_empty() {
        return Err(Diagnostic::new(
            Code::CaNotFound,
            "no flag in the snapshot names a file with an old and a new CA: no rotation was begun there",
            "run `carota init` without --resume",
        )
        .at(Place::start_of("snapshot/nodes")));
    }
    Ok(out)
}

/// The CAs that flags name, each certificate once.
fn cas(state: &State) -> Result<Vec<DistinctCa>> {
    let mut out: Vec<DistinctCa> = Vec::new();
    for name in CaName::ALL {
        let Some(found) = rotation::find_ca(state, name, &[])? else {
            continue;
        };
        let certificate = found.certificate;
        match out
            .iter_mut()
            .find(|known| known.certificate == certificate)
        {
            Some(known) => known.also.push(name),
            None => out.push(DistinctCa {
                name,
                certificate,
                also: Vec::new(),
                new: None,
            }),
        }
    }
    Ok(out)
}

fn rotation(out: &mut String, state: &State, mut cas: Vec<DistinctCa>) -> Result<()> {
    let mut foreign = String::new();
    if let Some(DistinctCa {
        name, certificate, ..
    }) = cas.last()
        && is_foreign(state, *name, certificate)?
    {
        let _ = write!(
            foreign,
            "# The CA of etcd, {}, is left out: no node of the snapshot runs a member or has its key, so that\n\
             # somebody else runs it and rotates it.\n",
            certificate.subject()
        );
        cas.pop();
    }
    if cas.is_empty() {
        return Err(Diagnostic::new(
            Code::CaNotFound,
            "no flag of a control-plane component in the snapshot names a CA",
            "collect the control planes too: `sh collect.sh node` on each of them",
        )
        .at(Place::start_of("snapshot/nodes")));
    }
    // It has passed when a snapshot is taken, so that a cluster made today can be rotated today.
    let not_before = utc(newest_certificate(state)?);
    let id = unused_id(not_before.get(..10).unwrap_or("rotation"), &cas);
    let names: Vec<String> = cas.iter().map(|ca| quoted(ca.name.as_str())).collect();
    let _ = write!(
        out,
        "\n[rotation]\n# Names the plan; used in annotations and backup paths.\nid = {}\n\
         # The only clock there is: start of the window and of every new certificate. Now the moment\n\
         # since which every certificate of the snapshot is valid; set it to when the rollout is planned.\nnot_before = {not_before}\n\
         # How long the rollout may take.\nwindow = \"14d\"\n{foreign}cas = [{}]\n\
         # \"keep\": leaves are re-issued for the keys that they have; \"new\": each gets a new key.\n\
         leaf_keys = \"keep\"\nleaf_validity = \"1y\"\n{ACCEPT}",
        quoted(&id),
        names.join(", "),
    );
    for ca in &cas {
        let also = ca.also.iter();
        let also: String = also
            .map(|other| format!("# It is the {other} CA as well: they are rotated as one.\n"))
            .collect();
        let (name, old) = (ca.name, &ca.certificate);
        let _ = write!(
            out,
            "\n# Replaces {} ({}), valid until {}.\n{also}[rotation.ca.{name}]\n",
            old.subject(),
            old.key_algorithm_text(),
            utc(old.not_after()),
        );
        if rotation::with_keys(state, old)?.is_empty() {
            out.push_str(EXTERNAL);
        }
        let subject = format!("CN={}-{id}", name.default_common_name());
        let _ = match &ca.new {
            None => write!(
                out,
                "subject = {}\nkey = \"ecdsa-p256\"\nvalidity = \"10y\"\n",
                quoted(&subject),
            ),
            Some(new) => write!(
                out,
                "# {} is in the cluster already. Leaves signed: {} by it, {} by the old one. Bring its key here.\n\
                 resume = true\ncertificate = {}\nkey = {}\n",
                new.subject(),
                signed_by(state, new)?,
                signed_by(state, old)?,
                quoted(&new_file(name)),
                quoted(&format!("{name}-ca-new.key")),
            ),
        };
    }
    Ok(())
}

/// How many of the certificates that something uses are signed by a CA.
fn signed_by(state: &State, ca: &Certificate) -> Result<usize> {
    let held = rotation::held_certificates(state)?;
    let signed = held.iter().map(|(certificate, _)| certificate);
    let signed = signed.filter(|c| !c.is_ca() && c.signed_by(ca));
    Ok(signed
        .map(Certificate::fingerprint)
        .collect::<BTreeSet<_>>()
        .len())
}

/// A name for the rotation that no CA of an earlier one was named after: nodes keep journals by it.
fn unused_id(date: &str, cas: &[DistinctCa]) -> String {
    let named = |id: &str| {
        cas.iter().any(|ca| {
            let common = ca.name.default_common_name();
            ca.certificate.subject() == format!("CN={common}-{id}")
        })
    };
    let more = (2..).map(|number| format!("{date}-{number}"));
    let mut ids = std::iter::once(date.to_owned()).chain(more);
    ids.find(|id| !named(id)).unwrap_or_default()
}

/// The latest beginning of validity among the certificates on nodes and of users.
fn newest_certificate(state: &State) -> Result<i64> {
    let mut newest = 0;
    let mut take = |certificates: &[Certificate]| {
        newest = certificates
            .iter()
            .map(Certificate::not_before)
            .fold(newest, i64::max);
    };
    for (node, files) in &state.nodes {
        for (path, file) in files.regular_files() {
            let label = snapshot_file(node, path);
            if file.text.contains("BEGIN CERTIFICATE") {
                take(&pki::certificates_in_pem(&file.text, &label)?);
            }
            if looks_like_kubeconfig(&file.text) {
                take(&rotation::client_certificates(&file.text, &label)?);
            }
        }
    }
    for (user, text) in &state.users {
        let label = format!("snapshot/users/{user}.kubeconfig");
        take(&rotation::client_certificates(text, &label)?);
    }
    Ok(newest)
}

/// Gives each node the role that its programs show.
fn find_roles(state: &mut State) -> Result<()> {
    let mut roles = Vec::new();
    for node in state.nodes.keys() {
        let programs = programs(state, node)?.into_iter().collect();
        roles.push(rotation::role_of(&programs).unwrap_or(Role::Worker));
    }
    for (node, role) in state.nodes.values_mut().zip(roles) {
        Arc::make_mut(node).role = role;
    }
    Ok(())
}

/// As many nodes that count up, do the same and run the same are declared by one pattern.
const MANY: u32 = 8;

fn nodes(out: &mut String, state: &State) -> Result<()> {
    let mut alike: BTreeMap<(&str, String), Vec<&NodeName>> = BTreeMap::new();
    for (node, files) in &state.nodes {
        let programs = programs(state, node)?;
        let runs: Vec<&str> = programs.iter().map(|p| p.as_str()).collect();
        let key = (files.role.as_str(), runs.join(", "));
        alike.entry(key).or_default().push(node);
    }
    let mut declared: BTreeMap<String, (&str, &str)> = BTreeMap::new();
    for ((role, runs), names) in &alike {
        for range in ranges::of(names) {
            let patterns = if range.count < MANY {
                range.names()
            } else {
                vec![range.pattern('-')]
            };
            declared.extend(patterns.into_iter().map(|p| (p, (*role, runs.as_str()))));
        }
    }
    for (pattern, (role, runs)) in declared {
        let comment = if runs.is_empty() {
            String::new()
        } else {
            format!("# runs {runs}\n")
        };
        let _ = write!(
            out,
            "\n{comment}[[node]]\nname = {}\nrole = \"{role}\"\n",
            quoted(&pattern)
        );
    }
    Ok(())
}

fn programs(state: &State, node: &NodeName) -> Result<Vec<Program>> {
    Ok(layout::components(state, node)?
        .iter()
        .map(|c| c.program)
        .collect())
}

/// The objects that hold a copy of a CA where no rule looks, as consumers for people to complete.
fn consumers(state: &State, cas: &[DistinctCa]) -> String {
    let mut out = String::new();
    let known = [
        ROOT_CA,
        "extension-apiserver-authentication",
        "cluster-info",
    ];
    let held = |text: &str| {
        certificates_in(text)
            .into_iter()
            .find_map(|c| cas.iter().find(|ca| ca.certificate == c).map(|ca| ca.name))
    };
    for kind in ["configmaps", "secrets"] {
        for (id, object) in state.objects_of(kind) {
            let Some(data) = object.get("data").and_then(|d| d.as_object()) else {
                continue;
            };
            if is_token(object) || known.contains(&&*id.name) {
                continue;
            }
            for (key, value) in data {
                let Some(text) = value.as_str() else { continue };
                let decoded = decode_pem(text);
                let Some(ca) = held(decoded.as_deref().unwrap_or(text)) else {
                    continue;
                };
                let _ = write!(
                    out,
                    "\n# {id} holds a copy of the {ca} CA. Say what can hold it (\"bundle\": several CAs at once; \"replace\":\n\
                     # one only) and which workloads must restart to read it, such as \"deployments/{}/NAME\".\n\
                     [[trust_consumer]]\nobject = {}\nkey = {}\nmode = \"bundle\"\nrestart = []\n",
                    id.namespace,
                    quoted(&id.to_string()),
                    quoted(key),
                );
            }
        }
    }
    out
}
