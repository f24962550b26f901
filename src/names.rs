//! Names that come from outside and end up in paths, scripts and YAML: checked once, where they
//! enter, so that nothing behind that door has to ask again.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Whether shared texts are equal. Most that are compared are one and the same, which is seen without reading them.
#[must_use]
pub fn is_same(one: &Arc<str>, other: &Arc<str>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

/// A text that is shared.
#[derive(Clone, Debug)]
struct Shared(Arc<str>);

impl PartialEq for Shared {
    fn eq(&self, other: &Shared) -> bool {
        is_same(&self.0, &other.0)
    }
}

impl Eq for Shared {}

impl PartialOrd for Shared {
    fn partial_cmp(&self, other: &Shared) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Shared {
    fn cmp(&self, other: &Shared) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        self.0.cmp(&other.0)
    }
}

impl Hash for Shared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// The name of a node (or of a user's kubeconfig): what Kubernetes accepts as a DNS-1123 subdomain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Shared);

impl NodeName {
    /// Where the text lies in memory: the same for a name and its clones, for as long as one of them is
    /// there.
    #[must_use]
    pub fn address(&self) -> usize {
        self.0.0.as_ptr() as usize
    }

    /// Checks and takes a name. The error says what is wrong with it, without a final stop.
    ///
    /// The form is that of RFC 1123 subdomains, which is what Kubernetes asks of Node names.
    pub fn new(name: &str) -> Result<NodeName, String> {
        subdomain(name).map(|()| NodeName(Shared(name.into())))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.0)
    }
}

/// Checks that `name` is a DNS-1123 subdomain of at most 253 characters.
pub fn subdomain(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a name must not be empty".into());
    }
    if name.len() > 253 {
        return Err(format!(
            "a name has at most 253 characters, this one has {}",
            name.len()
        ));
    }
    for label in name.split('.') {
        let ok = !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-');
        if !ok {
            return Err(
                "a name consists of lower-case letters, digits, `-` and `.`, \
                        and each part begins and ends with a letter or digit"
                    .into(),
            );
        }
    }
    Ok(())
}

/// The name of an API object or of a key in one: wider than a subdomain (RBAC names have `:`), but
/// never anything that could leave its place in a path or a script.
pub fn object_name(name: &str) -> Result<(), String> {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
    if name.is_empty() || name.len() > 253 || name == "." || name == ".." {
        return Err("an object's name has 1 to 253 characters and is not `.` or `..`".into());
    }
    if name.bytes().all(safe) {
        Ok(())
    } else {
        Err("an object's name consists of letters, digits, `-`, `.`, `_` and `:`".into())
    }
}

/// An absolute, normalised path on a node. Not a path on this machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePath(Shared);

impl NodePath {
    /// Checks and takes a path: absolute, without `.`, `..`, empty parts or control characters.
    pub fn new(path: &str) -> Result<NodePath, String> {
        if !path.starts_with('/') || path.len() < 2 {
            return Err("a path on a node is absolute".into());
        }
        if path.chars().any(char::is_control) {
            return Err("a path must not hold control characters".into());
        }
        if path.len() > 4095 {
            return Err("a path has at most 4,095 bytes".into());
        }
        let parts_ok = path[1..].split('/').all(|p| !matches!(p, "" | "." | ".."));
        if parts_ok {
            Ok(NodePath(Shared(path.into())))
        } else {
            Err("a path must not hold empty parts, `.` or `..`".into())
        }
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.0
    }

    /// The same path, whose text is this one if it says the same: what is one and the same compares quickly.
    #[must_use]
    pub fn sharing(self, text: &Arc<str>) -> NodePath {
        if self.0.0 == *text {
            NodePath(Shared(text.clone()))
        } else {
            self
        }
    }

    /// The last part.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.0.rsplit('/').next().unwrap_or_default()
    }

    /// The folder, without a slash at its end; empty for the root.
    #[must_use]
    pub fn folder(&self) -> &str {
        self.0.0.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// A file beside this one: `/pki/ca.crt` with `-new` is `/pki/ca-new.crt`.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> NodePath {
        let name = self.file_name();
        let renamed = match name.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() => format!("{stem}{suffix}.{extension}"),
            _ => format!("{name}{suffix}"),
        };
        NodePath(Shared(format!("{}/{renamed}", self.folder()).into()))
    }

    /// A path that this file names: an absolute one, or one relative to its folder; cleaned, as programs do it (Go's
    /// `path/filepath.Clean`).
    #[must_use]
    pub fn named(&self, name: &str) -> Option<NodePath> {
        if name.starts_with('/') {
            NodePath::cleaned(name)
        } else if name.is_empty() {
            None
        } else {
            NodePath::cleaned(&format!("{}/{name}", self.folder()))
        }
    }

    /// An absolute path without its empty parts, `.` and `..`.
    #[must_use]
    pub fn cleaned(path: &str) -> Option<NodePath> {
        NodePath::new(&clean(path)?).ok()
    }

    /// Where a certificate's private key lies beside it by custom: `ca.key` (kubeadm and most others), or
    /// `ca-key.pem` (cfssl).
    #[must_use]
    pub fn keys(&self) -> [NodePath; 2] {
        let name = self.file_name();
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        [".key", "-key.pem"]
            .map(|end| NodePath(Shared(format!("{}/{stem}{end}", self.folder()).into())))
    }
}

/// An absolute path without `.`, `..`, doubled and trailing slashes; the root is empty.
#[must_use]
pub fn clean(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.strip_prefix('/')?.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Some(
        parts
            .iter()
            .fold(String::new(), |path, part| path + "/" + part),
    )
}

/// The rest of a path below a folder, with its slash; empty for the same path. None for what lies elsewhere.
#[must_use]
pub fn below<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    path.strip_prefix(folder)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_node_names_are_refused() {
        let long = "a".repeat(300);
        for name in [
            "", "../x", "$(id)", "a\nb", "a'b", "a\"b", "a\u{7}b", "A", "-a", "a-", &long,
        ] {
            assert!(NodeName::new(name).is_err(), "{name:?}");
        }
        for name in ["cp-1", "ip-10-0-0-1.eu-west-1.compute.internal", "0"] {
            assert!(NodeName::new(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_path_on_a_node_cannot_leave_its_root() {
        for path in ["", "/", "a", "/a/../b", "/a//b", "/a/./b", "/a\nb"] {
            assert!(NodePath::new(path).is_err(), "{path:?}");
        }
        assert!(NodePath::new("/etc/ku be/$(x)'\"*").is_ok());
    }

    #[test]
    fn a_file_names_others_as_programs_find_them() {
        let config = NodePath::new("/etc/kubernetes/kubelet.conf").unwrap();
        for (name, found) in [
            ("pki/ca.crt", Some("/etc/kubernetes/pki/ca.crt")),
            ("./ca.crt", Some("/etc/kubernetes/ca.crt")),
            ("../ssl//ca.crt", Some("/etc/ssl/ca.crt")),
            (
                "/etc/kubernetes/manifests/",
                Some("/etc/kubernetes/manifests"),
            ),
            ("/etc/x/../../../ca.crt", Some("/ca.crt")),
            ("", None),
            ("/", None),
            ("a\nb", None),
        ] {
            let named = config.named(name);
            assert_eq!(named.as_ref().map(NodePath::as_str), found, "{name:?}");
        }
    }

    #[test]
    fn a_folder_is_no_beginning_of_a_name() {
        assert_eq!(below("/etc/pki/ca.crt", "/etc/pki"), Some("/ca.crt"));
        assert_eq!(below("/etc/pki", "/etc/pki"), Some(""));
        assert_eq!(below("/etc/pki-old/ca.crt", "/etc/pki"), None);
        assert_eq!(below("/etc", "/etc/pki"), None);
    }

    #[test]
    fn files_beside_a_file_keep_its_extension() {
        let path = NodePath::new("/etc/kubernetes/pki/ca.crt").unwrap();
        assert_eq!(
            path.with_suffix("-new").as_str(),
            "/etc/kubernetes/pki/ca-new.crt"
        );
        let keys = path.keys();
        assert_eq!(keys[0].as_str(), "/etc/kubernetes/pki/ca.key");
        assert_eq!(keys[1].as_str(), "/etc/kubernetes/pki/ca-key.pem");
        let bare = NodePath::new("/x/ca").unwrap();
        assert_eq!(bare.with_suffix("-new").as_str(), "/x/ca-new");
    }
}
