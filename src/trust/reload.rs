//! What a running process makes of a file that changed, by component and input.
//!
//! A table, and nothing but facts with their source. A row says since which version of Kubernetes
//! (or etcd, which moves with it) the behaviour was read or is known; before that, and for an input
//! that has no row, anything is possible: the process may have read the change, and it may not.
//!
//! Sources: A = k8s.io/apiserver, K = k8s.io/kubernetes, C = k8s.io/client-go, G =
//! k8s.io/kube-aggregator, P = go.etcd.io/etcd/client/pkg/v3; dyn = A pkg/server/dynamiccertificates;
//! kcm = K cmd/kube-controller-manager/app. Read at Kubernetes 1.34.4 and etcd 3.6.16; what differs at 1.37.2 was
//! looked through in the same files.

use crate::spec::Version;

/// When a process takes over a changed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// When it starts, only.
    Start,
    /// Within about a second of the write, or at the next handshake.
    Live,
    /// When it is elected leader, which can be any time after its start.
    Elected,
    /// Not known: as at the start, or live.
    Unknown,
}

/// One row.
#[derive(Debug)]
pub struct Row {
    /// The component and its input.
    pub input: &'static str,
    /// The minor version of Kubernetes 1 since which this is so.
    pub since: u32,
    /// When a change is taken over.
    pub class: Class,
    /// Where that was read.
    pub source: &'static str,
}

const fn row(input: &'static str, since: u32, class: Class, source: &'static str) -> Row {
    Row {
        input,
        since,
        class,
        source,
    }
}

/// Since this minor version API servers, controller managers and kubelets watch the files of
/// certificates and CAs; before, from 1.18 on, they look once a minute, which can be after the next
/// step (`dyn/dynamic_cafile_content.go` and `dynamic_serving_content.go`, read at 0.20.2, 0.22.0, 0.23.0).
const WATCHED: u32 = 23;

/// The table.
pub const TABLE: [Row; 26] = [
    row(
        "kube-apiserver client-ca-file",
        WATCHED,
        Class::Live,
        "dyn/dynamic_cafile_content.go:104; A pkg/authentication/request/x509/x509.go:138",
    ),
    row(
        "kube-apiserver requestheader-client-ca-file",
        WATCHED,
        Class::Live,
        "A pkg/server/options/authentication.go:159",
    ),
    row(
        "kube-apiserver tls-cert-file",
        WATCHED,
        Class::Live,
        "A pkg/server/options/serving.go:302; dyn/dynamic_serving_content.go:85",
    ),
    row(
        "kube-apiserver kubelet-certificate-authority",
        0,
        Class::Start,
        "K pkg/kubelet/client/kubelet_client.go:114",
    ),
    row(
        "kube-apiserver kubelet-client-certificate",
        18,
        Class::Live,
        "C transport/transport.go:378; cert_rotation.go:37,68",
    ),
    row(
        "kube-apiserver proxy-client-cert-file",
        WATCHED,
        Class::Live,
        "G pkg/apiserver/apiserver.go:283",
    ),
    row(
        "kube-apiserver etcd-cafile",
        0,
        Class::Start,
        "A pkg/storage/storagebackend/factory/etcd3.go:286,426",
    ),
    row(
        "kube-apiserver etcd-certfile",
        0,
        Class::Live,
        "A etcd3.go:286 newETCD3Client; P transport/listener.go:493",
    ),
    row(
        "kube-controller-manager root-ca-file",
        0,
        Class::Elected,
        "kcm/certificates.go:335",
    ),
    row(
        "kube-controller-manager signer",
        0,
        Class::Elected,
        "K pkg/controller/certificates/signer/ca_provider.go:31,87",
    ),
    row(
        "kube-controller-manager client-ca-file",
        WATCHED,
        Class::Live,
        "A pkg/server/options/authentication.go:354-405 (scheduler and cloud-controller-manager alike)",
    ),
    row(
        "kubeconfig ca",
        0,
        Class::Start,
        "C transport/transport.go:213; cache.go:152",
    ),
    row(
        "kubeconfig client-certificate-data",
        0,
        Class::Start,
        "C transport/transport.go:220",
    ),
    row(
        "kubeconfig client-certificate",
        18,
        Class::Live,
        "C transport/transport.go:220; cert_rotation.go:68",
    ),
    row(
        "kubelet clientCAFile",
        WATCHED,
        Class::Live,
        "K cmd/kubelet/app/auth.go:74; server.go:1175",
    ),
    row(
        "kubelet kubeconfig",
        0,
        Class::Start,
        "K pkg/kubelet/certificate/transport.go:83 addCertRotation",
    ),
    row(
        "kubelet client-current",
        0,
        Class::Start,
        "C util/certificate/certificate_store.go:142; certificate_manager.go:498",
    ),
    row(
        "kubelet client-certificate",
        18,
        Class::Live,
        "K cmd/kubelet/app/server.go:1025; C transport/transport.go:221",
    ),
    row(
        "kubelet serving",
        0,
        Class::Start,
        "K pkg/kubelet/kubelet.go:905; server/server.go:198 (live with SNI since 1.31, which API servers do not send for an address)",
    ),
    row(
        "etcd trusted-ca-file",
        0,
        Class::Start,
        "P transport/listener.go:544,576; tlsutil/tlsutil.go:25",
    ),
    row(
        "etcd peer-trusted-ca-file",
        0,
        Class::Start,
        "P transport/listener.go:544,576; tlsutil/tlsutil.go:25",
    ),
    row(
        "etcd cert-file",
        0,
        Class::Live,
        "P transport/listener.go:474,493",
    ),
    row(
        "etcd peer-cert-file",
        0,
        Class::Live,
        "P transport/listener.go:474,493",
    ),
    row(
        "object",
        0,
        Class::Live,
        "A pkg/util/webhook/client.go:122; G pkg/apiserver/handler_proxy.go:214 (API watch)",
    ),
    row(
        "call",
        0,
        Class::Live,
        "a command reads its files each time it is called",
    ),
    row(
        "pod ca.crt",
        0,
        Class::Start,
        "C transport/transport.go:213 (ca.crt of the ServiceAccount mount)",
    ),
];

/// Inputs of which a later version makes something else: the minor version of Kubernetes 1 from which on both must be
/// counted with, and where that was read.
pub const LATER: [(&str, u32, &str); 3] = [
    // On by default, and a gate that each program may turn off.
    (
        "kubeconfig ca",
        36,
        "C features/known_features.go, ClientsAllowCARotation: beta and on since 1.36; transport/cache.go at 0.37.2",
    ),
    (
        "pod ca.crt",
        36,
        "C features/known_features.go, ClientsAllowCARotation; whatever client a pod was built with",
    ),
    // Changed somewhere between the two that were read.
    (
        "kubelet serving",
        35,
        "K pkg/kubelet/kubelet.go:962,976 and server/server.go:211 at 1.37.2",
    ),
];

/// When a process takes over a change of an input.
#[must_use]
pub fn class(input: &str, kubernetes: Version) -> Class {
    let mut later = LATER.iter();
    if later.any(|(of, since, _)| *of == input && kubernetes.is_since(*since)) {
        return Class::Unknown;
    }
    TABLE
        .iter()
        .find(|row| row.input == input && kubernetes.is_since(row.since))
        .map_or(Class::Unknown, |row| row.class)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Version = Version {
        major: 1,
        minor: 34,
        patch: 4,
    };

    #[test]
    fn what_is_not_in_the_table_is_unknown() {
        assert_eq!(class("kube-apiserver client-ca-file", NEW), Class::Live);
        let old = Version {
            major: 1,
            minor: 17,
            patch: 0,
        };
        assert_eq!(class("kubeconfig client-certificate", old), Class::Unknown);
        assert_eq!(class("webhook tls", NEW), Class::Unknown);
    }

    #[test]
    fn what_a_later_version_reloads_counts_both_ways() {
        let since = |minor| Version { minor, ..NEW };
        for (input, from, source) in LATER {
            assert_eq!(class(input, since(from)), Class::Unknown, "{input}");
            assert_eq!(class(input, since(from - 1)), Class::Start, "{input}");
            assert!(!source.is_empty());
        }
    }

    #[test]
    fn a_look_once_a_minute_is_not_live() {
        let polled = Version {
            major: 1,
            minor: 22,
            patch: 0,
        };
        let watched = Version {
            minor: WATCHED,
            ..polled
        };
        for input in [
            "kube-apiserver client-ca-file",
            "kube-apiserver requestheader-client-ca-file",
            "kube-apiserver tls-cert-file",
            "kube-apiserver proxy-client-cert-file",
            "kube-controller-manager client-ca-file",
            "kubelet clientCAFile",
        ] {
            assert_eq!(class(input, polled), Class::Unknown, "{input}");
            assert_eq!(class(input, watched), Class::Live, "{input}");
        }
        // read at each handshake, then as now
        assert_eq!(
            class("kube-apiserver kubelet-client-certificate", polled),
            Class::Live
        );
    }

    #[test]
    fn every_row_names_its_source_and_stands_once() {
        for (at, row) in TABLE.iter().enumerate() {
            assert!(!row.source.is_empty(), "{}", row.input);
            assert!(
                TABLE[..at].iter().all(|other| other.input != row.input),
                "{}",
                row.input
            );
        }
    }
}
