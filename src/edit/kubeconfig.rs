//! Kubeconfigs: whom they trust, who they are, and replacing either in place.
//!
//! Knows the shape that client-go reads. Does not decode certificates, and holds no private value:
//! of a key it says only whether it is a reference, a file, or was left in the file by mistake.

use std::ops::Deref;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::edit::KEPT;
use crate::edit::yaml::{Document, Node, Step};
use crate::memo::Memo;

static READ: Memo<Arc<Parsed>> = Memo::new();

/// Keys whose values are secrets, wherever they stand in a user.
const SECRETS: [&str; 11] = [
    "client-key-data",
    "token",
    "password",
    "id-token",
    "refresh-token",
    "access-token",
    "client-secret",
    "clientSecret",
    "secret",
    "accessToken",
    "refreshToken",
];

/// Whether a text is worth parsing as a kubeconfig.
#[must_use]
pub fn looks_like_kubeconfig(text: &str) -> bool {
    text.contains("clusters") && text.contains("contexts") && text.contains("users")
}

/// A kubeconfig, in a file: on thousands of nodes it may be the same one.
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    file: String,
    parsed: Arc<Parsed>,
}

impl Deref for Kubeconfig {
    type Target = Parsed;

    fn deref(&self) -> &Parsed {
        &self.parsed
    }
}

/// What a kubeconfig says.
#[derive(Debug)]
pub struct Parsed {
    /// The clusters in order.
    pub clusters: Vec<Cluster>,
    /// The users in order.
    pub users: Vec<User>,
    /// The contexts in order.
    pub contexts: Vec<Context>,
    /// The context in use.
    pub current_context: Option<String>,
    doc: Document,
}

/// An entry of `clusters`.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// The URL of the API server.
    pub server: Option<String>,
    /// Which CA it trusts.
    pub ca: CaSource,
    /// `insecure-skip-tls-verify`.
    pub insecure_skip_tls_verify: bool,
    /// `tls-server-name`.
    pub tls_server_name: Option<String>,
}

/// Where a cluster's CA comes from. Data wins over a file, as in client-go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaSource {
    /// `certificate-authority-data`, decoded: PEM.
    Data(Vec<u8>),
    /// `certificate-authority`, as written: relative paths are relative to the kubeconfig.
    File(String),
    /// Neither: the system's trust.
    None,
}

/// An entry of `users`.
#[derive(Clone, Debug)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its client certificate.
    pub certificate: CertSource,
    /// Its private key.
    pub key: KeySource,
    /// It has a `token`.
    pub has_token: bool,
    /// `tokenFile`.
    pub token_file: Option<String>,
    /// The command of its credential plugin.
    pub exec: Option<String>,
    /// It has a `username` or a legacy `auth-provider`.
    pub has_other_credentials: bool,
}

/// Where a user's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertSource {
    /// `client-certificate-data`, decoded: PEM.
    Data(Vec<u8>),
    /// `client-certificate`, as written.
    File(String),
    /// Neither.
    None,
}

/// Where a user's key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// `client-key-data` holds the reference to a key that stayed on its node.
    Kept(String),
    /// `client-key`, as written.
    File(String),
    /// `client-key-data` holds a key: the snapshot must not.
    Plain,
    /// Neither.
    None,
}

/// An entry of `contexts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Its name.
    pub name: String,
    /// The name of its cluster.
    pub cluster: Option<String>,
    /// The name of its user.
    pub user: Option<String>,
}

impl Kubeconfig {
    /// Reads a kubeconfig.
    pub fn parse(text: &str, file: &str) -> Result<Kubeconfig> {
        let parsed = READ.recall(&[text.as_bytes()], || {
            Parsed::read(text, file).map(Arc::new)
        })?;
        Ok(Kubeconfig {
            file: file.to_owned(),
            parsed,
        })
    }

    /// The document, with the name of this file.
    fn doc(&self) -> Document {
        self.doc.named(&self.file)
    }

    /// The text as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        self.doc.text()
    }

    /// The indices of the cluster and the user of the current context; without one, of the only
    /// cluster and the only user.
    #[must_use]
    pub fn current(&self) -> (Option<usize>, Option<usize>) {
        let context = self
            .current_context
            .as_ref()
            .and_then(|c| self.contexts.iter().find(|x| x.name == *c));
        match context {
            Some(context) => (
                self.clusters
                    .iter()
                    .position(|c| Some(&c.name) == context.cluster.as_ref()),
                self.users
                    .iter()
                    .position(|u| Some(&u.name) == context.user.as_ref()),
            ),
            None => (
                (self.clusters.len() == 1).then_some(0),
                (self.users.len() == 1).then_some(0),
            ),
        }
    }

    /// The places of private values that are not references.
    #[must_use]
    pub fn plain_secrets(&self) -> Vec<Place> {
        let mut places = Vec::new();
        if let Some(users) = self.doc.root().get("users") {
            collect_secrets(&self.doc(), users, &mut places);
        }
        places
    }

    /// The text with the CA data of a cluster replaced by `pem`, on one line of base64. The cluster
    /// must have CA data.
    pub fn set_ca_data(&self, cluster: usize, pem: &str) -> Result<String> {
        self.set(
            "clusters",
            cluster,
            "cluster",
            "certificate-authority-data",
            &STANDARD.encode(pem),
        )
    }

    /// The text with the CA file that a cluster names replaced by another. The cluster must name one.
    pub fn set_ca_file(&self, cluster: usize, file: &str) -> Result<String> {
        self.set(
            "clusters",
            cluster,
            "cluster",
            "certificate-authority",
            file,
        )
    }

    /// The text with the certificate data of a user replaced by `pem`, on one line of base64. The
    /// user must have certificate data.
    pub fn set_client_certificate_data(&self, user: usize, pem: &str) -> Result<String> {
        self.set(
            "users",
            user,
            "user",
            "client-certificate-data",
            &STANDARD.encode(pem),
        )
    }

    /// The text with the key data of a user replaced by `scalar`: a reference, or base64. The user
    /// must have key data.
    pub fn set_client_key_data(&self, user: usize, scalar: &str) -> Result<String> {
        self.set("users", user, "user", "client-key-data", scalar)
    }

    fn set(&self, list: &str, index: usize, inner: &str, key: &str, new: &str) -> Result<String> {
        let path = [
            Step::Key(list),
            Step::Index(index),
            Step::Key(inner),
            Step::Key(key),
        ];
        let doc = self.doc();
        let present = doc
            .root()
            .at(&path)
            .is_some_and(|n| n.as_str().is_some_and(|t| !t.is_empty()) && !n.is_null());
        if !present {
            let entry = doc.root().at(&path[..2]).unwrap_or(doc.root());
            return Err(doc.shape(entry, format!("there is no `{key}` to replace")));
        }
        doc.set_scalar(&path, new)
    }
}

impl Parsed {
    fn read(text: &str, file: &str) -> Result<Parsed> {
        let doc = Document::parse(text, file)?;
        let root = doc.root();
        if root.entries().is_none()
            || (root.get("clusters").is_none() && root.get("users").is_none())
        {
            return Err(doc.shape(
                root,
                "this is not a kubeconfig: it has neither `clusters` nor `users`",
            ));
        }
        let clusters = named(&doc, "clusters", "cluster", cluster)?;
        let users = named(&doc, "users", "user", user)?;
        let contexts = named(&doc, "contexts", "context", |doc, name, node| {
            Ok(Context {
                name,
                cluster: text_of(doc, node, "cluster")?,
                user: text_of(doc, node, "user")?,
            })
        })?;
        let current_context = text_of(&doc, root, "current-context")?.filter(|c| !c.is_empty());
        Ok(Parsed {
            clusters,
            users,
            contexts,
            current_context,
            doc,
        })
    }
}

fn collect_secrets(doc: &Document, node: &Node, places: &mut Vec<Place>) {
    for item in node.items().unwrap_or_default() {
        collect_secrets(doc, item, places);
    }
    for entry in node.entries().unwrap_or_default() {
        match entry.value.as_str() {
            Some(text) if SECRETS.contains(&entry.name()) => {
                if !text.is_empty() && !entry.value.is_null() && !text.starts_with(KEPT) {
                    places.push(doc.place(&entry.value));
                }
            }
            _ => collect_secrets(doc, &entry.value, places),
        }
    }
}

/// Reads a list of named entries, whose names must differ. The reader gets the name, and what lies
/// under `inner`.
fn named<T>(
    doc: &Document,
    list: &str,
    inner: &str,
    read: impl Fn(&Document, String, &Node) -> Result<T>,
) -> Result<Vec<T>> {
    let mut names: Vec<&str> = Vec::new();
    let mut out = Vec::new();
    for item in doc.list_of(doc.root(), list)? {
        let Some((node, name)) = doc.scalar_of(item, "name")? else {
            return Err(doc.shape(item, format!("an entry of `{list}` has no name")));
        };
        if names.contains(&name) {
            return Err(doc.shape(node, format!("two entries of `{list}` have the same name")));
        }
        names.push(name);
        let body = item.get(inner).unwrap_or(item);
        if body.entries().is_none() && !body.is_null() {
            return Err(doc.shape(body, format!("`{inner}` must be a map")));
        }
        out.push(read(doc, name.to_owned(), body)?);
    }
    Ok(out)
}

fn cluster(doc: &Document, name: String, node: &Node) -> Result<Cluster> {
    let data = data_of(doc, node, "certificate-authority-data")?;
    let file = text_of(doc, node, "certificate-authority")?.filter(|f| !f.is_empty());
    Ok(Cluster {
        name,
        server: text_of(doc, node, "server")?,
        ca: match (data, file) {
            (Some(data), _) => CaSource::Data(data),
            (None, Some(file)) => CaSource::File(file),
            (None, None) => CaSource::None,
        },
        insecure_skip_tls_verify: doc
            .bool_of(node, "insecure-skip-tls-verify")?
            .unwrap_or(false),
        tls_server_name: text_of(doc, node, "tls-server-name")?.filter(|n| !n.is_empty()),
    })
}

fn user(doc: &Document, name: String, node: &Node) -> Result<User> {
    let data = data_of(doc, node, "client-certificate-data")?;
    let file = text_of(doc, node, "client-certificate")?.filter(|f| !f.is_empty());
    let key_data = text_of(doc, node, "client-key-data")?.filter(|k| !k.is_empty());
    let key_file = text_of(doc, node, "client-key")?.filter(|f| !f.is_empty());
    let exec = node.get("exec").filter(|e| !e.is_null());
    let filled = |key: &str| {
        node.get(key)
            .is_some_and(|n| !n.is_null() && n.as_str() != Some(""))
    };
    Ok(User {
        name,
        certificate: match (data, file) {
            (Some(data), _) => CertSource::Data(data),
            (None, Some(file)) => CertSource::File(file),
            (None, None) => CertSource::None,
        },
        key: match (key_data, key_file) {
            (Some(text), _) if text.starts_with(KEPT) => KeySource::Kept(text),
            (Some(_), _) => KeySource::Plain,
            (None, Some(file)) => KeySource::File(file),
            (None, None) => KeySource::None,
        },
        has_token: filled("token"),
        token_file: text_of(doc, node, "tokenFile")?.filter(|f| !f.is_empty()),
        exec: exec
            .map(|e| text_of(doc, e, "command"))
            .transpose()?
            .map(Option::unwrap_or_default),
        has_other_credentials: filled("username") || filled("auth-provider"),
    })
}

fn text_of(doc: &Document, node: &Node, key: &str) -> Result<Option<String>> {
    Ok(doc.scalar_of(node, key)?.map(|(_, text)| text.to_owned()))
}

/// The decoded base64 under `key`. Line breaks and blanks in it are a matter of folding.
fn data_of(doc: &Document, node: &Node, key: &str) -> Result<Option<Vec<u8>>> {
    let Some((at, text)) = doc.scalar_of(node, key)? else {
        return Ok(None);
    };
    let packed: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    if packed.is_empty() {
        return Ok(None);
    }
    STANDARD.decode(packed).map(Some).map_err(|_| {
        Diagnostic::new(
            Code::PemMalformed,
            format!("the value of `{key}` is not base64"),
            "correct the file on the node, then take the snapshot again",
        )
        .at(doc.place(at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "\
apiVersion: v1
clusters: # of ours
- cluster:
    certificate-authority-data: T0xE # old
    server: https://k8s.example:6443
  name: lab
contexts:
- context: {cluster: lab, user: \"a\"}
  name: a@lab
current-context: a@lab
users:
- name: a
  user:
    client-certificate-data: 'Q0VSVA=='
    client-key-data: \"carota-kept:sha256:00\"
- name: b
  user: {token: \"carota-kept:token@/x#1\", client-key: b.key, client-certificate: b.crt}
";

    #[test]
    fn a_kubeconfig_says_whom_it_trusts_and_who_it_is() {
        let k = Kubeconfig::parse(BLOCK, "f").unwrap();
        assert_eq!(k.clusters[0].ca, CaSource::Data(b"OLD".to_vec()));
        assert_eq!(
            k.clusters[0].server.as_deref(),
            Some("https://k8s.example:6443")
        );
        assert_eq!(k.users[0].certificate, CertSource::Data(b"CERT".to_vec()));
        assert_eq!(
            k.users[0].key,
            KeySource::Kept("carota-kept:sha256:00".into())
        );
        assert_eq!(k.users[1].key, KeySource::File("b.key".into()));
        assert!(k.users[1].has_token);
        assert_eq!(k.current(), (Some(0), Some(0)));
        assert_eq!(k.plain_secrets(), []);
    }

    #[test]
    fn only_the_data_changes() {
        let k = Kubeconfig::parse(BLOCK, "f").unwrap();
        assert_eq!(
            k.set_ca_data(0, "NEW!").unwrap(),
            BLOCK.replace("T0xE", "TkVXIQ==")
        );
        assert_eq!(
            k.set_client_certificate_data(0, "NEW!").unwrap(),
            BLOCK.replace("Q0VSVA==", "TkVXIQ==")
        );
        assert_eq!(
            k.set_client_key_data(0, "carota-kept:sha256:11").unwrap(),
            BLOCK.replace("sha256:00", "sha256:11")
        );
        assert_eq!(
            k.set_client_certificate_data(1, "x").unwrap_err().code,
            Code::ManifestShape
        );
    }

    #[test]
    fn json_and_folded_data_are_read_and_replaced_by_one_line() {
        let json = "{\"clusters\":[{\"name\":\"x\",\"cluster\":{\"certificate-authority-data\":\"T0xE\"}}]}";
        let k = Kubeconfig::parse(json, "f").unwrap();
        assert_eq!(
            k.set_ca_data(0, "NEW!").unwrap(),
            json.replace("T0xE", "TkVXIQ==")
        );
        let folded = "clusters:\n- name: x\n  cluster:\n    certificate-authority-data: |\n      T0\n      xE\n    server: s\n";
        let k = Kubeconfig::parse(folded, "f").unwrap();
        assert_eq!(k.clusters[0].ca, CaSource::Data(b"OLD".to_vec()));
        assert_eq!(
            k.set_ca_data(0, "NEW!").unwrap(),
            "clusters:\n- name: x\n  cluster:\n    certificate-authority-data: TkVXIQ==\n    server: s\n"
        );
    }

    #[test]
    fn private_values_left_in_the_file_are_found() {
        let text = "users:\n- name: a\n  user:\n    client-key-data: S0VZ\n    auth-provider:\n      config:\n        id-token: abc\n";
        let k = Kubeconfig::parse(text, "f").unwrap();
        assert_eq!(k.users[0].key, KeySource::Plain);
        let places: Vec<_> = k.plain_secrets().iter().map(ToString::to_string).collect();
        assert_eq!(places, ["f:4:22", "f:7:19"]);
    }

    #[test]
    fn damaged_data_and_doubled_names_are_refused_at_their_place() {
        let bad = "clusters:\n- name: x\n  cluster:\n    certificate-authority-data: T0x\n";
        let e = Kubeconfig::parse(bad, "f").unwrap_err();
        assert_eq!(
            (e.code, e.place.unwrap().to_string().as_str()),
            (Code::PemMalformed, "f:4:33")
        );
        let twice = "clusters: []\nusers:\n- name: x\n- name: x\n";
        let e = Kubeconfig::parse(twice, "f").unwrap_err();
        assert_eq!(
            (e.code, e.place.unwrap().to_string().as_str()),
            (Code::ManifestShape, "f:4:9")
        );
    }
}
