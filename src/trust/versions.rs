//! What differs between versions of Kubernetes and cannot be read from a cluster's own files: as data, each
//! with its source. All else is found by what is there: token Secrets and `kube-root-ca.crt` are objects,
//! signers' flags and `super-admin.conf` are flags and files, and a version that lacks one shows none.
//!
//! When a running process reads its files is in `reload`, a table of its own.

use crate::spec::Version;

/// Something that is so since a version.
#[derive(Debug)]
pub struct Since {
    /// The minor version of Kubernetes 1.
    pub minor: u32,
    /// Where that was read.
    pub source: &'static str,
}

/// Pods get `ca.crt` from the ConfigMap `kube-root-ca.crt` of their namespace, projected; before that from the token
/// Secret of their ServiceAccount.
pub const BOUND_TOKENS: Since = Since {
    minor: 21,
    source: "K pkg/features/kube_features.go, BoundServiceAccountTokenVolume: beta and on since 1.21",
};

/// A kubelet takes notice of the end of a startup probe by itself; before that, when it looks at all pods.
pub const NOTICES_STARTUP: Since = Since {
    minor: 21,
    source: "seen on 1.20.2; K pkg/kubelet/kubelet.go asks startupManager.Updates since 1.21",
};

/// The versions whose behaviour was looked up, and tried on files of real clusters.
const KNOWN: std::ops::RangeInclusive<u32> = 13..=37;

impl Since {
    /// Whether it is so in a version.
    #[must_use]
    pub fn holds(&self, kubernetes: Version) -> bool {
        kubernetes.is_since(self.minor)
    }
}

/// What a reviewer must know of a version that was not looked up.
#[must_use]
pub fn note(kubernetes: Version) -> Option<String> {
    let than = if kubernetes.major > 1 || kubernetes.minor > *KNOWN.end() {
        format!("newer than 1.{}", KNOWN.end())
    } else if kubernetes.major < 1 || kubernetes.minor < *KNOWN.start() {
        format!("older than 1.{}", KNOWN.start())
    } else {
        return None;
    };
    Some(format!(
        "Kubernetes {kubernetes} is {than}, and was not looked at: when its programs read changed files is taken to be as in those that were"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_that_were_not_looked_up_have_a_note() {
        let note = |text: &str| note(Version::parse(text).unwrap());
        assert_eq!((note("1.13.0"), note("v1.34.4")), (None, None));
        assert!(
            note("1.38.0")
                .unwrap()
                .contains("1.38.0 is newer than 1.37")
        );
        assert!(note("2.0.0").is_some());
        assert!(note("1.12.9").unwrap().contains("older than 1.13"));
        assert!(!BOUND_TOKENS.holds(Version::parse("1.20.2").unwrap()));
        for since in [BOUND_TOKENS, NOTICES_STARTUP] {
            assert!(!since.source.is_empty());
        }
        assert!(BOUND_TOKENS.source.contains("1.21"));
    }
}
