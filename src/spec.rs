//! `cluster.toml`: what to rotate, reviewed by people. Types, defaults and validation.
//!
//! Every key is known or refused, every value checked here and placed, so that the rest of carota
//! deals with checked types only. Knows nothing of the snapshot.

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;
use serde::Deserialize;
use toml::Spanned;

use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::names::{self, NodeName, NodePath};
use crate::pki::KeyAlgorithm;
use crate::ranges;

/// Seconds in a day.
pub const DAY: i64 = 86_400;
/// Days in the year that validities count with.
const YEAR_DAYS: i64 = 365;

/// What an outage can be of; `rotation.accept` names it as `outage:apiserver`.
pub const OUTAGES: [&str; 9] = [
    "apiserver",
    "cloud-controller-manager",
    "controller-manager",
    "etcd",
    "kubelet",
    "local-kubelet",
    "scheduler",
    "starting-apiserver",
    "workloads",
];

/// Which certificate authority of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CaName {
    /// Signs API servers, kubelets, users: `--client-ca-file`, kubeadm's `pki/ca.crt`.
    Cluster,
    /// Signs the aggregator's client: `--requestheader-client-ca-file`.
    FrontProxy,
    /// Signs etcd's members and clients: `--etcd-cafile`.
    Etcd,
}

impl CaName {
    /// All, in the order in which they are listed everywhere.
    pub const ALL: [CaName; 3] = [CaName::Cluster, CaName::FrontProxy, CaName::Etcd];

    /// The name as in cluster.toml.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            CaName::Cluster => "cluster",
            CaName::FrontProxy => "front-proxy",
            CaName::Etcd => "etcd",
        }
    }

    /// The common name that a new CA gets when cluster.toml names none.
    #[must_use]
    pub fn default_common_name(self) -> &'static str {
        match self {
            CaName::Cluster => "kubernetes-ca",
            CaName::FrontProxy => "front-proxy-ca",
            CaName::Etcd => "etcd-ca",
        }
    }
}

impl std::fmt::Display for CaName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a node does in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs an API server.
    ControlPlane,
    /// Runs an etcd member and no API server.
    Etcd,
    /// Runs workloads only.
    Worker,
}

impl Role {
    /// The role as in cluster.toml.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::ControlPlane => "control-plane",
            Role::Etcd => "etcd",
            Role::Worker => "worker",
        }
    }
}

/// Whether leaf certificates keep their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeafKeys {
    /// A leaf is re-issued for the public key of its present certificate; keys never travel.
    Keep,
    /// Each leaf gets a new key of the same kind, carried in `secrets/`.
    New,
}

/// A Kubernetes version: major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Always 1 today.
    pub major: u32,
    /// The minor version.
    pub minor: u32,
    /// The patch version.
    pub patch: u32,
}

impl Version {
    /// Reads `1.34.4`, `v1.34.4` or `v1.34.4+k3s1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Version> {
        let bare = text.strip_prefix('v').unwrap_or(text);
        let core = bare.split(['-', '+']).next()?;
        let mut parts = core.split('.').map(|p| p.parse::<u32>().ok());
        let version = Version {
            major: parts.next()??,
            minor: parts.next()??,
            patch: parts.next()??,
        };
        parts.next().is_none().then_some(version)
    }
}

impl Version {
    /// Whether it is 1.`minor` or newer.
    #[must_use]
    pub fn is_since(self, minor: u32) -> bool {
        (self.major, self.minor) >= (1, minor)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// How the new CA comes to be.
#[derive(Clone, Debug)]
pub enum NewCa {
    /// carota mints it.
    Mint {
        /// Distinguished name, RFC 4514, e.g. `CN=kubernetes-ca-2026-11`.
        subject: String,
        /// Kind and size of its key.
        key: KeyAlgorithm,
        /// Seconds that it is valid from `not_before` on.
        validity: i64,
    },
    /// It was made elsewhere; paths relative to cluster.toml.
    Import {
        /// PEM file: the CA first, its chain after it.
        certificate: String,
        /// PEM file of its private key. None where somebody else signs with it: what it shall sign goes out as
        /// requests, and comes back by `carota import`.
        key: Option<String>,
    },
}

/// A CA that is rotated.
#[derive(Clone, Debug)]
pub struct CaSpec {
    /// How the new one comes to be.
    pub new: NewCa,
    /// Whether its key lies on no node, neither the old one nor the new one: what kubeadm calls an external CA.
    pub external: bool,
    /// Whether the new one is in the cluster already, as somebody who did not finish left it.
    pub resume: bool,
    /// Where it is set up, or named where nothing is set up.
    pub place: Place,
}

impl CaSpec {
    /// Whether somebody else signs with the new one's key.
    #[must_use]
    pub fn signs_elsewhere(&self) -> bool {
        matches!(self.new, NewCa::Import { key: None, .. })
    }
}

/// A declared node.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// What it does.
    pub role: Role,
    /// Where it was declared.
    pub place: Place,
}

/// Where a declared trust consumer keeps its copy of a CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerPlace {
    /// A key of an API object: `configmaps/shop/gateway-trust`, key `ca.crt`.
    Object {
        /// Plural kind.
        kind: String,
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// Key below `data`.
        key: String,
    },
    /// A PEM file on the nodes that have it.
    File {
        /// Its path.
        path: NodePath,
    },
}

/// What a trust consumer can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsumerMode {
    /// Several CAs at once: widened in 09, narrowed in 17 (objects) or 19 (files).
    Bundle,
    /// One CA only: replaced in 14, when what it verifies changes its certificate.
    Replace,
}

/// Something outside carota's rules that trusts a rotated CA.
#[derive(Clone, Debug)]
pub struct TrustConsumer {
    /// Where its copy lies.
    pub at: ConsumerPlace,
    /// What it can hold.
    pub mode: ConsumerMode,
    /// Workloads that must be restarted to read it.
    pub restart: Vec<Workload>,
    /// Where its object or file was named.
    pub place: Place,
    /// Where the key of its object was named; for a file, where that was.
    pub key_place: Place,
}

/// A workload that a trust consumer names: `deployments/shop/gateway`.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Plural kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Where it was named.
    pub place: Place,
}

/// A leaf certificate that somebody else re-issues.
#[derive(Clone, Debug)]
pub struct ExternalLeaf {
    /// Lower hex SHA-256 of the certificate.
    pub fingerprint: String,
    /// Who re-issues it before the old trust goes.
    pub owner: String,
    /// Where its fingerprint stands.
    pub place: Place,
}

/// A checked cluster.toml.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The file's name, for places.
    pub file: String,
    /// `cluster.name`.
    pub cluster: String,
    /// `cluster.kubernetes`.
    pub kubernetes: Version,
    /// Where that stands.
    pub kubernetes_place: Place,
    /// `cluster.endpoint`: the URL by which clients reach the API servers.
    pub endpoint: String,
    /// Where that stands.
    pub endpoint_place: Place,
    /// `cluster.snapshot`, relative to cluster.toml.
    pub snapshot: String,
    /// `rotation.id`.
    pub id: String,
    /// `rotation.not_before`, Unix seconds: the start of the window and of every new certificate.
    pub not_before: i64,
    /// End of the planned window, Unix seconds.
    pub window_end: i64,
    /// `rotation.leaf_keys`.
    pub leaf_keys: LeafKeys,
    /// `rotation.leaf_validity`, seconds.
    pub leaf_validity: i64,
    /// The CAs to rotate and how the new ones come to be.
    pub cas: BTreeMap<CaName, CaSpec>,
    /// `rotation.accept`: outages that are accepted by name.
    pub accept: Vec<String>,
    /// The nodes.
    pub nodes: BTreeMap<NodeName, NodeSpec>,
    /// Declared trust consumers.
    pub trust_consumers: Vec<TrustConsumer>,
    /// Declared leaves of others.
    pub external_leaves: Vec<ExternalLeaf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    cluster: RawCluster,
    rotation: RawRotation,
    #[serde(default)]
    node: Vec<RawNode>,
    #[serde(default)]
    trust_consumer: Vec<RawConsumer>,
    #[serde(default)]
    external_leaf: Vec<RawExternalLeaf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCluster {
    name: Spanned<String>,
    kubernetes: Spanned<String>,
    endpoint: Spanned<String>,
    #[serde(default)]
    snapshot: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRotation {
    id: Spanned<String>,
    not_before: Spanned<toml::value::Datetime>,
    window: Spanned<String>,
    cas: Spanned<Vec<Spanned<String>>>,
    leaf_keys: Option<LeafKeys>,
    leaf_validity: Option<Spanned<String>>,
    #[serde(default)]
    accept: Vec<Spanned<String>>,
    #[serde(default)]
    ca: BTreeMap<Spanned<String>, RawCa>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCa {
    subject: Option<Spanned<String>>,
    key: Option<Spanned<String>>,
    validity: Option<Spanned<String>>,
    certificate: Option<Spanned<String>>,
    #[serde(default)]
    external: bool,
    resume: Option<Spanned<bool>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    name: Spanned<String>,
    role: Role,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConsumer {
    object: Option<Spanned<String>>,
    key: Option<Spanned<String>>,
    file: Option<Spanned<String>>,
    mode: Spanned<ConsumerMode>,
    #[serde(default)]
    restart: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExternalLeaf {
    fingerprint: Spanned<String>,
    owner: Spanned<String>,
}

/// The text being read: makes placed errors.
struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn place(&self, span: &Range<usize>) -> Place {
        Place::at(self.file, self.text, span.start)
    }

    fn error<T>(
        &self,
        code: Code,
        span: &Range<usize>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Result<T> {
        Err(Diagnostic::new(code, reason, remedy).at(self.place(span)))
    }

    /// Checks a value with a function whose error is the reason.
    fn check<T>(
        &self,
        code: Code,
        value: &Spanned<String>,
        remedy: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T> {
        parse(value.get_ref()).or_else(|why| self.error(code, &value.span(), why, remedy))
    }
}

/// A text as a string of TOML.
#[must_use]
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Spec {
    /// Reads and checks a cluster.toml. `file` is its name for messages.
    pub fn parse(text: &str, file: &str) -> Result<Spec> {
        let source = Source { file, text };
        let raw: Raw = toml::from_str(text).map_err(|e| {
            let span = e.span().unwrap_or(0..0);
            Diagnostic::new(
                Code::TomlSyntax,
                e.message().trim(),
                toml_remedy(e.message()),
            )
            .at(source.place(&span))
        })?;
        let rotation = &raw.rotation;
        let id = source.check(
            Code::TomlValue,
            &rotation.id,
            "use a short name such as `2026-11`",
            |s| names::subdomain(s).map(|()| s.to_owned()),
        )?;
        let not_before = timestamp(&source, &rotation.not_before)?;
        let window = duration(&source, &rotation.window)?;
        let leaf_validity = match &rotation.leaf_validity {
            Some(text) => duration(&source, text)?,
            None => YEAR_DAYS * DAY,
        };
        if leaf_validity <= window {
            let span = rotation
                .leaf_validity
                .as_ref()
                .map_or(rotation.window.span(), Spanned::span);
            return source.error(
                Code::TomlValue,
                &span,
                "leaf certificates would expire before the window ends",
                "make leaf_validity longer than the window",
            );
        }
        Ok(Spec {
            file: file.to_owned(),
            cluster: source.check(
                Code::HostileName,
                &raw.cluster.name,
                "name the cluster with lower-case letters, digits, `-` and `.`",
                |s| names::subdomain(s).map(|()| s.to_owned()),
            )?,
            kubernetes: source.check(
                Code::TomlValue,
                &raw.cluster.kubernetes,
                "write it as `1.34.4`",
                |s| Version::parse(s).ok_or_else(|| "not a Kubernetes version".to_owned()),
            )?,
            kubernetes_place: source.place(&raw.cluster.kubernetes.span()),
            endpoint_place: source.place(&raw.cluster.endpoint.span()),
            endpoint: source.check(
                Code::TomlValue,
                &raw.cluster.endpoint,
                "write the URL that kubeconfigs use, such as `https://k8s-api.lab:6443`",
                endpoint,
            )?,
            snapshot: match &raw.cluster.snapshot {
                Some(path) => source.check(
                    Code::TomlValue,
                    path,
                    "write a path relative to cluster.toml",
                    relative_path,
                )?,
                None => "snapshot".to_owned(),
            },
            cas: cas(&source, rotation, &id, window)?,
            id,
            not_before,
            window_end: not_before + window,
            leaf_keys: rotation.leaf_keys.unwrap_or(LeafKeys::Keep),
            leaf_validity,
            accept: rotation
                .accept
                .iter()
                .map(|name| accepted(&source, name))
                .collect::<Result<_>>()?,
            nodes: nodes(&source, &raw.node)?,
            trust_consumers: consumers(&source, &raw.trust_consumer)?,
            external_leaves: external_leaves(&source, &raw.external_leaf)?,
        })
    }

    /// The place of the first line, for errors about the whole file.
    #[must_use]
    pub fn start(&self) -> Place {
        Place::start_of(&self.file)
    }
}

/// The name of an outage. One that no plan has is a slip of the pen.
fn accepted(source: &Source<'_>, name: &Spanned<String>) -> Result<String> {
    let text = name.get_ref();
    let known = OUTAGES.map(|what| format!("outage:{what}"));
    if known.contains(text) {
        return Ok(text.clone());
    }
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    let remedy = match similar::get_close_matches(text.as_str(), &names, 1, 0.6).first() {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "write a name that the compile prints: `{}`",
            names.join("`, `")
        ),
    };
    let reason = format!("`{text}` is not an outage");
    source.error(Code::TomlValue, &name.span(), reason, remedy)
}

/// What to do about an error of the TOML reader: for a name that is none of those it lists (``unknown
/// field `nod`, expected `node` or `rotation` ``), the nearest of them.
fn toml_remedy(message: &str) -> String {
    let (found, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let quoted = |text| str::split(text, '`').skip(1).step_by(2);
    let candidates: Vec<&str> = quoted(expected).collect();
    if !message.starts_with("unknown ") {
        return "correct the line; `carota init` writes a cluster.toml that is complete".into();
    }
    let name = quoted(found).next().unwrap_or_default();
    match similar::get_close_matches(name, &candidates, 1, 0.6).first() {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => "use one of the names that the message lists".into(),
    }
}

fn timestamp(source: &Source<'_>, value: &Spanned<toml::value::Datetime>) -> Result<i64> {
    let text = value.get_ref().to_string();
    match text.parse::<Timestamp>() {
        Ok(t) => Ok(t.as_second()),
        Err(_) => source.error(
            Code::TomlValue,
            &value.span(),
            "not a moment with a time zone",
            "write it as `2026-11-24T00:00:00Z`",
        ),
    }
}

/// A duration in seconds: `90m`, `12h`, `14d`, `8w`, `10y` (of 365 days).
fn duration(source: &Source<'_>, value: &Spanned<String>) -> Result<i64> {
    source.check(
        Code::TomlValue,
        value,
        "write a number and a unit: `90m`, `12h`, `14d`, `8w` or `10y`",
        |text| {
            let bad = || format!("`{text}` is not a duration");
            let unit = text.chars().last().ok_or_else(bad)?;
            let number = text[..text.len() - unit.len_utf8()]
                .parse::<u32>()
                .map_err(|_| bad())?;
            let seconds = match unit {
                'm' => 60,
                'h' => 3600,
                'd' => DAY,
                'w' => 7 * DAY,
                'y' => YEAR_DAYS * DAY,
                _ => return Err(bad()),
            };
            let total = i64::from(number) * seconds;
            if total == 0 || total > 100 * YEAR_DAYS * DAY {
                return Err("a duration is more than nothing and at most 100 years".into());
            }
            Ok(total)
        },
    )
}

fn endpoint(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("https://")
        .ok_or("an API endpoint begins with `https://`")?;
    let authority = rest.trim_end_matches('/');
    let ok = !authority.is_empty()
        && authority
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    if ok {
        Ok(format!("https://{authority}"))
    } else {
        Err("not a host and port".into())
    }
}

fn relative_path(text: &str) -> Result<String, String> {
    let ok = !text.is_empty()
        && !text.starts_with('/')
        && !text.chars().any(char::is_control)
        && text.split('/').all(|part| !matches!(part, ".." | ""));
    if ok {
        Ok(text.to_owned())
    } else {
        Err("a path here is relative and stays below the folder of cluster.toml".into())
    }
}

fn cas(
    source: &Source<'_>,
    rotation: &RawRotation,
    id: &str,
    window: i64,
) -> Result<BTreeMap<CaName, CaSpec>> {
    let by_name = |text: &str| CaName::ALL.into_iter().find(|ca| ca.as_str() == text);
    let names_help = "the CAs are `cluster`, `front-proxy` and `etcd`";
    let mut settings = BTreeMap::new();
    for (name, raw) in &rotation.ca {
        let Some(ca) = by_name(name.get_ref()) else {
            return source.error(Code::TomlValue, &name.span(), "not a CA", names_help);
        };
        settings.insert(ca, (name.span(), raw));
    }
    let mut out = BTreeMap::new();
    for name in rotation.cas.get_ref() {
        let Some(ca) = by_name(name.get_ref()) else {
            return source.error(Code::TomlValue, &name.span(), "not a CA", names_help);
        };
        let set = settings.remove(&ca);
        let span = set
            .as_ref()
            .map_or_else(|| name.span(), |(span, _)| span.clone());
        let raw = set.map(|(_, raw)| raw);
        let its = CaSpec {
            new: new_ca(source, ca, raw, id, window)?,
            external: raw.is_some_and(|raw| raw.external),
            resume: raw
                .and_then(|raw| raw.resume.as_ref())
                .is_some_and(|resume| *resume.get_ref()),
            place: source.place(&span),
        };
        if out.insert(ca, its).is_some() {
            return source.error(
                Code::TomlValue,
                &name.span(),
                format!("`{ca}` stands twice in rotation.cas"),
                "name each CA once",
            );
        }
    }
    if out.is_empty() {
        return source.error(
            Code::TomlValue,
            &rotation.cas.span(),
            "rotation.cas names no CA",
            names_help,
        );
    }
    if let Some((ca, (span, _))) = settings.into_iter().next() {
        return source.error(
            Code::TomlValue,
            &span,
            format!("[rotation.ca.{ca}] sets up a CA that rotation.cas does not rotate"),
            format!("add `{ca}` to rotation.cas, or remove the section"),
        );
    }
    Ok(out)
}

fn new_ca(
    source: &Source<'_>,
    ca: CaName,
    raw: Option<&RawCa>,
    id: &str,
    window: i64,
) -> Result<NewCa> {
    let empty = RawCa {
        subject: None,
        key: None,
        validity: None,
        certificate: None,
        external: false,
        resume: None,
    };
    let raw = raw.unwrap_or(&empty);
    if let (Some(resume), None) = (&raw.resume, &raw.certificate) {
        return source.error(
            Code::TomlValue,
            &resume.span(),
            "a rotation that was begun is finished with the new CA that it has",
            "name its file: `certificate = \"ca-new.pem\"`; `carota init --resume` writes it",
        );
    }
    if let Some(certificate) = &raw.certificate {
        let span = certificate.span();
        if let Some(extra) = raw.subject.as_ref().or(raw.validity.as_ref()) {
            return source.error(
                Code::TomlValue,
                &extra.span(),
                "an imported CA has its subject and validity already",
                "remove subject and validity, or certificate",
            );
        }
        if raw.key.is_none() && !raw.external {
            return source.error(
                Code::TomlValue,
                &span,
                "an imported CA needs its key",
                "add `key = \"path/to/ca.key\"`, or `external = true` where its key lies on no node",
            );
        }
        let path = |text| {
            let help = "write a path relative to cluster.toml";
            source.check(Code::TomlValue, text, help, relative_path)
        };
        return Ok(NewCa::Import {
            certificate: path(certificate)?,
            key: raw.key.as_ref().map(path).transpose()?,
        });
    }
    let validity = match &raw.validity {
        Some(text) => {
            let seconds = duration(source, text)?;
            if seconds <= window {
                return source.error(
                    Code::CaExpired,
                    &text.span(),
                    "the new CA would expire before the window ends",
                    "make its validity longer than the window; ten years is usual",
                );
            }
            seconds
        }
        None => 10 * YEAR_DAYS * DAY,
    };
    let subject = match &raw.subject {
        Some(text) => source.check(Code::TomlValue, text, "write it as `CN=name`", |s| {
            if s.contains('=') && !s.chars().any(char::is_control) {
                Ok(s.to_owned())
            } else {
                Err("not a distinguished name".into())
            }
        })?,
        None => format!("CN={}-{id}", ca.default_common_name()),
    };
    let key = match &raw.key {
        Some(text) => source.check(
            Code::TomlValue,
            text,
            "use `rsa-2048`, `rsa-4096`, `ecdsa-p256` or `ecdsa-p384`; a path needs `certificate`",
            |s| {
                s.parse()
                    .map_err(|_| format!("`{s}` is not a key algorithm"))
            },
        )?,
        None => KeyAlgorithm::EcdsaP256,
    };
    Ok(NewCa::Mint {
        subject,
        key,
        validity,
    })
}

fn nodes(source: &Source<'_>, raw: &[RawNode]) -> Result<BTreeMap<NodeName, NodeSpec>> {
    let mut out = BTreeMap::new();
    for node in raw {
        let span = node.name.span();
        for name in ranges::expand(node.name.get_ref()) {
            let checked = NodeName::new(&name).or_else(|why| {
                source.error(
                    Code::HostileName,
                    &span,
                    why,
                    "write the name of the Node object, or a pattern such as `worker-[001-500]`",
                )
            })?;
            let spec = NodeSpec {
                role: node.role,
                place: source.place(&span),
            };
            if out.insert(checked, spec).is_some() {
                return source.error(
                    Code::DuplicateNode,
                    &span,
                    format!("node `{name}` is declared twice"),
                    "remove one of the declarations",
                );
            }
        }
    }
    if out.is_empty() {
        return source.error(
            Code::TomlSyntax,
            &(0..0),
            "no node is declared",
            "declare each node with [[node]]; `carota init` writes them",
        );
    }
    Ok(out)
}

fn consumers(source: &Source<'_>, raw: &[RawConsumer]) -> Result<Vec<TrustConsumer>> {
    raw.iter().map(|c| consumer(source, c)).collect()
}

fn consumer(source: &Source<'_>, raw: &RawConsumer) -> Result<TrustConsumer> {
    let mode = raw.mode.span();
    let named = raw.object.as_ref().or(raw.file.as_ref());
    let named = named.map_or_else(|| mode.clone(), Spanned::span);
    let key_span = raw
        .key
        .as_ref()
        .map_or_else(|| named.clone(), Spanned::span);
    let at = match (&raw.object, &raw.key, &raw.file) {
        (Some(object), Some(key), None) => {
            let (kind, namespace, name) = object_ref(source, object)?;
            let key = source.check(Code::HostileName, key, "name a key of `data`", |k| {
                names::object_name(k).map(|()| k.to_owned())
            })?;
            ConsumerPlace::Object {
                kind,
                namespace,
                name,
                key,
            }
        }
        (None, None, Some(file)) => ConsumerPlace::File {
            path: source.check(
                Code::HostileName,
                file,
                "write an absolute path on the node",
                NodePath::new,
            )?,
        },
        _ => {
            return source.error(
                Code::TomlValue,
                &mode,
                "a trust consumer is either an object with a key, or a file",
                "write `object = \"configmaps/ns/name\"` and `key = \"ca.crt\"`, or `file = \"/path\"`",
            );
        }
    };
    Ok(TrustConsumer {
        at,
        mode: *raw.mode.get_ref(),
        restart: raw
            .restart
            .iter()
            .map(|named| {
                let (kind, namespace, name) = object_ref(source, named)?;
                Ok(Workload {
                    kind,
                    namespace,
                    name,
                    place: source.place(&named.span()),
                })
            })
            .collect::<Result<_>>()?,
        place: source.place(&named),
        key_place: source.place(&key_span),
    })
}

fn object_ref(source: &Source<'_>, value: &Spanned<String>) -> Result<(String, String, String)> {
    source.check(
        Code::HostileName,
        value,
        "write it as `configmaps/namespace/name` or `deployments/namespace/name`",
        |text| {
            let parts: Vec<_> = text.split('/').collect();
            let [kind, namespace, name] = parts[..] else {
                return Err("an object has a plural kind, a namespace and a name".to_owned());
            };
            names::subdomain(kind)?;
            names::subdomain(namespace)?;
            names::object_name(name)?;
            Ok((kind.to_owned(), namespace.to_owned(), name.to_owned()))
        },
    )
}

fn external_leaves(source: &Source<'_>, raw: &[RawExternalLeaf]) -> Result<Vec<ExternalLeaf>> {
    raw.iter()
        .map(|leaf| {
            let fingerprint = source.check(
                Code::TomlValue,
                &leaf.fingerprint,
                "copy the SHA-256 from the message that asked for it",
                |s| {
                    let hex = s.replace(':', "").to_ascii_lowercase();
                    let ok = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
                    ok.then_some(hex)
                        .ok_or_else(|| "not a SHA-256 in hexadecimal".to_owned())
                },
            )?;
            let owner =
                source.check(Code::TomlValue, &leaf.owner, "say who re-issues it", |s| {
                    let ok = !s.trim().is_empty() && !s.chars().any(char::is_control);
                    ok.then(|| s.to_owned())
                        .ok_or_else(|| "an owner is one line of text".to_owned())
                })?;
            Ok(ExternalLeaf {
                fingerprint,
                owner,
                place: source.place(&leaf.fingerprint.span()),
            })
        })
        .collect()
}
