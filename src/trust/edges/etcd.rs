//! etcd: its members, API servers and tools as its clients.
//!
//! Knows URLs and the pairs that members serve. It must not know quorum.

use std::collections::BTreeSet;

use super::super::artifacts::host_of;
use super::super::inputs::{InputId, What};
use super::{Check, Edge, Host, Kind, Reader, certificate, closed, is_loopback, open};
use crate::diagnostic::Result;
use crate::names::{NodeName, NodePath};

impl Reader<'_, '_> {
    pub(super) fn etcd(&mut self) -> Result<()> {
        for at in 0..self.api_servers.len() {
            self.api_server_to_etcd(at)?;
        }
        for from in 0..self.members.len() {
            for to in 0..self.members.len() {
                if from != to {
                    self.peers(from, to)?;
                }
            }
            self.gateway(from)?;
            self.etcd_tools(from)?;
        }
        Ok(())
    }

    fn api_server_to_etcd(&mut self, at: usize) -> Result<()> {
        let host = self.api_servers[at].at.clone();
        let node = host.node.clone();
        let list = |flag| host.started.flags.get(flag).cloned().unwrap_or_default();
        let (servers, overrides) = (list("etcd-servers"), list("etcd-servers-overrides"));
        let mut dialled = https_hosts(servers.split(','));
        dialled.extend(https_hosts(overriding(&overrides)));
        let trust = self.flag(&host, ("etcd-cafile", "kube-apiserver etcd-cafile"), closed)?;
        let row = ("etcd-certfile", "kube-apiserver etcd-certfile");
        let credential = self.flag(&host, row, certificate)?;
        for dialled in dialled {
            let members = self.members_at(&dialled, &node);
            if members.is_empty() {
                self.weaknesses.insert(format!("etcd at {dialled} is not in the snapshot: the API server's connection to it is not proven"));
            }
            for member in members {
                self.etcd_edge(
                    Kind::ApiserverEtcd,
                    format!("API server on {node}"),
                    (trust, credential),
                    (member, &dialled, CLIENTS),
                )?;
            }
        }
        Ok(())
    }

    fn members_at(&self, host: &str, from: &NodeName) -> Vec<usize> {
        (0..self.members.len())
            .filter(|at| {
                let member = &self.members[*at];
                if is_loopback(host) {
                    member.at.node == *from
                } else {
                    member.hosts.contains(host) || self.hosts.get(host) == Some(&member.at.node)
                }
            })
            .collect()
    }

    /// An edge to a member: what the client trusts and shows, and which of the member's ports.
    fn etcd_edge(
        &mut self,
        kind: Kind,
        client: String,
        (trust, credential): (InputId, InputId),
        (member, dialled, port): (usize, &str, Port),
    ) -> Result<()> {
        let server = self.members[member].at.clone();
        let serving = self.flag(&server, port.pair, certificate)?;
        let clients = self.flag(&server, port.ca, open)?;
        let (role, client_role) = (self.server_role(dialled), self.client_role());
        self.push(Edge {
            kind,
            client: client.into(),
            server: format!("etcd on {}", server.node).into(),
            dialled: Some(dialled.into()),
            of_server: Some(Check {
                trust,
                credential: serving,
                role,
            }),
            of_client: Some(Check {
                trust: clients,
                credential,
                role: client_role,
            }),
        });
        Ok(())
    }

    fn peers(&mut self, from: usize, to: usize) -> Result<()> {
        let client = self.members[from].at.clone();
        let trust = self.flag(&client, PEERS.ca, open)?;
        let own = self.flag(&client, PEERS.pair, certificate)?;
        let urls = self.urls(to, "initial-advertise-peer-urls");
        for dialled in https_hosts(urls.split(',')) {
            self.etcd_edge(
                Kind::EtcdPeers,
                format!("etcd on {}", client.node),
                (trust, own),
                (to, &dialled, PEERS),
            )?;
        }
        Ok(())
    }

    fn urls(&self, member: usize, flag: &str) -> String {
        let flags = &self.members[member].at.started.flags;
        flags.get(flag).cloned().unwrap_or_default()
    }

    /// A member's gateway dials the member itself with the serving pair, and does not verify it
    /// (server/embed/etcd.go and serve.go of etcd).
    fn gateway(&mut self, at: usize) -> Result<()> {
        let host = self.members[at].at.clone();
        let credential = self.flag(&host, CLIENTS.pair, certificate)?;
        let trust = self.flag(&host, CLIENTS.ca, open)?;
        let own = format!("etcd on {}", host.node);
        self.client_edge(Kind::EtcdGateway, (own.clone(), credential), (own, trust));
        Ok(())
    }

    /// kubeadm's own client, probes and backup jobs find the CA and a client certificate by path,
    /// beside what the member's flags named before the rotation, and dial every member.
    fn etcd_tools(&mut self, from: usize) -> Result<()> {
        let Host { node, started } = self.members[from].at.clone();
        let Some(ca) = started.files.get("trusted-ca-file").cloned() else {
            return Ok(());
        };
        let Ok(pair) = NodePath::new(&format!("{}/healthcheck-client.crt", ca.folder())) else {
            return Ok(());
        };
        if self.start.file(&node, &pair).is_none() {
            return Ok(());
        }
        let label = format!("{ca} on {node}");
        let what = What::FileTrust { path: ca };
        let trust = self.input(what, Some(&node), None, "call", label)?;
        let label = format!("{pair} on {node}");
        let what = What::FileCertificate { path: pair };
        let credential = self.input(what, Some(&node), None, "call", label)?;
        for to in 0..self.members.len() {
            let urls = self.urls(to, "advertise-client-urls");
            for dialled in https_hosts(urls.split(',')) {
                self.etcd_edge(
                    Kind::EtcdTools,
                    format!("kubeadm, probes and backups on {node}"),
                    (trust, credential),
                    (to, &dialled, CLIENTS),
                )?;
            }
        }
        Ok(())
    }
}

/// The flags and rows of one of a member's ports.
#[derive(Clone, Copy)]
struct Port {
    pair: (&'static str, &'static str),
    ca: (&'static str, &'static str),
}

/// Where clients reach it.
const CLIENTS: Port = Port {
    pair: ("cert-file", "etcd cert-file"),
    ca: ("trusted-ca-file", "etcd trusted-ca-file"),
};

/// Where other members reach it.
const PEERS: Port = Port {
    pair: ("peer-cert-file", "etcd peer-cert-file"),
    ca: ("peer-trusted-ca-file", "etcd peer-trusted-ca-file"),
};

/// The URLs at which an API server keeps certain resources: `group/resource#URL;URL` and so on after commas
/// (staging/src/k8s.io/apiserver/pkg/server/options/etcd.go). Flags for CA and certificate are the same for all.
fn overriding(overrides: &str) -> impl Iterator<Item = &str> {
    let servers = overrides
        .split(',')
        .filter_map(|one| Some(one.split_once('#')?.1));
    servers.flat_map(|urls| urls.split(';'))
}

/// The hosts of the `https` URLs.
fn https_hosts<'u>(urls: impl Iterator<Item = &'u str>) -> BTreeSet<String> {
    let https = urls.filter(|url| url.starts_with("https://"));
    https.map(|url| host_of(url).to_owned()).collect()
}
