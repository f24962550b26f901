//! The kubelet's configuration file.
//!
//! Knows the few fields of `KubeletConfiguration` that name certificates, the directory of
//! static pods, and where the kubelet tells whether it is healthy. Does not know defaults that depend on the kubelet's flags or version.

use crate::diagnostic::{Place, Result};
use crate::edit::yaml::{Document, Node, Step};

/// A kubelet configuration.
#[derive(Clone, Debug)]
pub struct KubeletConfig {
    /// `authentication.x509.clientCAFile`.
    pub client_ca_file: Option<String>,
    /// `rotateCertificates`, where it is set.
    pub rotate_certificates: Option<bool>,
    /// `serverTLSBootstrap`, where it is set.
    pub server_tls_bootstrap: Option<bool>,
    /// `tlsCertFile`.
    pub tls_cert_file: Option<String>,
    /// `tlsPrivateKeyFile`.
    pub tls_private_key_file: Option<String>,
    /// `staticPodPath`.
    pub static_pod_path: Option<String>,
    /// `healthzPort`, as it is spelled.
    pub healthz_port: Option<String>,
    /// `healthzBindAddress`.
    pub healthz_bind_address: Option<String>,
    doc: Document,
}

const CLIENT_CA: [Step; 3] = [
    Step::Key("authentication"),
    Step::Key("x509"),
    Step::Key("clientCAFile"),
];

impl KubeletConfig {
    /// Reads a kubelet configuration.
    pub fn parse(text: &str, file: &str) -> Result<KubeletConfig> {
        let doc = Document::parse(text, file)?;
        let root = doc.root();
        if doc.scalar_of(root, "kind")?.map(|(_, kind)| kind) != Some("KubeletConfiguration") {
            return Err(doc.shape(root, "this is not a KubeletConfiguration"));
        }
        let path = |node: &Node, key: &str| -> Result<Option<String>> {
            Ok(doc
                .scalar_of(node, key)?
                .map(|(_, text)| text.to_owned())
                .filter(|t| !t.is_empty()))
        };
        let client_ca_file = match root.at(&CLIENT_CA[..2]) {
            Some(x509) => path(x509, "clientCAFile")?,
            None => None,
        };
        Ok(KubeletConfig {
            client_ca_file,
            rotate_certificates: doc.bool_of(root, "rotateCertificates")?,
            server_tls_bootstrap: doc.bool_of(root, "serverTLSBootstrap")?,
            tls_cert_file: path(root, "tlsCertFile")?,
            tls_private_key_file: path(root, "tlsPrivateKeyFile")?,
            static_pod_path: path(root, "staticPodPath")?,
            healthz_port: path(root, "healthzPort")?,
            healthz_bind_address: path(root, "healthzBindAddress")?,
            doc,
        })
    }

    /// The text as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        self.doc.text()
    }

    /// Where `clientCAFile` stands.
    #[must_use]
    pub fn client_ca_place(&self) -> Option<Place> {
        self.doc
            .root()
            .at(&CLIENT_CA)
            .map(|node| self.doc.place(node))
    }

    /// The text with `clientCAFile` replaced; it must be there.
    pub fn set_client_ca_file(&self, path: &str) -> Result<String> {
        if self.client_ca_file.is_none() {
            return Err(self
                .doc
                .shape(self.doc.root(), "there is no `clientCAFile` to replace"));
        }
        self.doc.set_scalar(&CLIENT_CA, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Code;

    #[test]
    fn the_client_ca_file_is_read_and_replaced_alone() {
        let text = "kind: KubeletConfiguration\r\nauthentication:\r\n  x509: {clientCAFile: '/etc/ca.crt'} # trust\r\nrotateCertificates: yes\r\nserverTLSBootstrap: false";
        let k = KubeletConfig::parse(text, "f").unwrap();
        assert_eq!(k.client_ca_file.as_deref(), Some("/etc/ca.crt"));
        assert_eq!(
            (k.rotate_certificates, k.server_tls_bootstrap),
            (Some(true), Some(false))
        );
        assert_eq!(k.client_ca_place().unwrap().to_string(), "f:3:24");
        assert_eq!(
            k.set_client_ca_file("/etc/b.crt").unwrap(),
            text.replace("/etc/ca.crt", "/etc/b.crt")
        );
    }

    #[test]
    fn what_is_not_set_is_not_added() {
        let k = KubeletConfig::parse("kind: KubeletConfiguration\n", "f").unwrap();
        assert_eq!(
            k.set_client_ca_file("/x").unwrap_err().code,
            Code::ManifestShape
        );
    }
}
