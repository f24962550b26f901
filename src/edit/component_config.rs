//! The configuration files of kube-scheduler and kube-proxy, which take most of what their flags say.
//!
//! Knows the one field that names a file with certificates: `clientConnection.kubeconfig`. It must not
//! know who reads it.

use crate::diagnostic::Result;
use crate::edit::manifest::Flag;
use crate::edit::yaml::{Document, Step};

/// What a configuration says, as the flags that say the same.
pub fn settings(text: &str, file: &str) -> Result<Vec<Flag>> {
    let doc = Document::parse(text, file)?;
    let Some(connection) = doc.root().at(&[Step::Key("clientConnection")]) else {
        return Ok(Vec::new());
    };
    let Some((node, kubeconfig)) = doc.scalar_of(connection, "kubeconfig")? else {
        return Ok(Vec::new());
    };
    if kubeconfig.is_empty() {
        return Ok(Vec::new());
    }
    let (name, value) = ("kubeconfig".to_owned(), kubeconfig.to_owned());
    Ok(vec![Flag::elsewhere(name, value, doc.place(node))])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Option<String> {
        let flags = settings(text, "x.yaml").unwrap();
        flags.first().and_then(|flag| flag.value.clone())
    }

    #[test]
    fn the_kubeconfig_of_the_client_connection_is_found() {
        let text =
            "kind: KubeProxyConfiguration\nclientConnection:\n  qps: 0\n  kubeconfig: \"/a/b\"\n";
        assert_eq!(named(text).as_deref(), Some("/a/b"));
        assert_eq!(named("clientConnection: {kubeconfig: ''}\n"), None);
        assert_eq!(named("kind: KubeSchedulerConfiguration\n"), None);
    }
}
