//! etcd: its members, API servers and tools as its clients.
//!
//! Knows URLs and the pairs that members serve. It must not know quorum.

use super::super::artifacts::host_of;
use super::super::inputs::{InputId, What};
use super::super::judge::Role;
use super::{Check, Edge, Kind, Reader, certificate, closed, is_loopback, open};
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
        let (node, started) = (
            self.api_servers[at].node.clone(),
            self.api_servers[at].started.clone(),
        );
        let servers = started
            .flags
            .get("etcd-servers")
            .cloned()
            .unwrap_or_default();
        let trust = self.flag(
            &node,
            &started,
            ("etcd-cafile", "kube-apiserver etcd-cafile"),
            closed,
        )?;
        let credential = self.flag(
            &node,
            &started,
            ("etcd-certfile", "kube-apiserver etcd-certfile"),
            certificate,
        )?;
        for url in servers.split(',').filter(|url| url.starts_with("https://")) {
            let host = host_of(url).to_owned();
            let members = self.members_at(&host, &node);
            if members.is_empty() {
                self.weaknesses.insert(format!("etcd at {host} is not in the snapshot: the API server's connection to it is not proven"));
            }
            for member in members {
                self.etcd_edge(
                    Kind::ApiserverEtcd,
                    format!("API server on {node}"),
                    member,
                    &host,
                    (trust, credential),
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
                    member.node == *from
                } else {
                    member.hosts.contains(host) || self.hosts.get(host) == Some(&member.node)
                }
            })
            .collect()
    }

    fn etcd_edge(
        &mut self,
        kind: Kind,
        client: String,
        member: usize,
        host: &str,
        (trust, credential): (InputId, InputId),
    ) -> Result<()> {
        let (node, started) = (
            self.members[member].node.clone(),
            self.members[member].started.clone(),
        );
        let serving = self.flag(
            &node,
            &started,
            ("cert-file", "etcd cert-file"),
            certificate,
        )?;
        let clients = self.flag(
            &node,
            &started,
            ("trusted-ca-file", "etcd trusted-ca-file"),
            open,
        )?;
        let judge = &mut self.inputs.artifacts.judge;
        let (role, client_role) = (
            judge.role(Role::Server(Some(host.to_owned()))),
            judge.role(Role::Client),
        );
        self.edges.push(Edge {
            kind,
            client,
            server: format!("etcd on {node}"),
            dialled: Some(host.to_owned()),
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
        let (client, client_started) = (
            self.members[from].node.clone(),
            self.members[from].started.clone(),
        );
        let (server, server_started) = (
            self.members[to].node.clone(),
            self.members[to].started.clone(),
        );
        let urls = server_started
            .flags
            .get("initial-advertise-peer-urls")
            .cloned()
            .unwrap_or_default();
        let pair = ("peer-cert-file", "etcd peer-cert-file");
        let ca = ("peer-trusted-ca-file", "etcd peer-trusted-ca-file");
        let trust = self.flag(&client, &client_started, ca, open)?;
        let own = self.flag(&client, &client_started, pair, certificate)?;
        let serving = self.flag(&server, &server_started, pair, certificate)?;
        let clients = self.flag(&server, &server_started, ca, open)?;
        for host in urls
            .split(',')
            .filter(|url| url.starts_with("https://"))
            .map(host_of)
        {
            let judge = &mut self.inputs.artifacts.judge;
            let (role, client_role) = (
                judge.role(Role::Server(Some(host.to_owned()))),
                judge.role(Role::Client),
            );
            self.edges.push(Edge {
                kind: Kind::EtcdPeers,
                client: format!("etcd on {client}"),
                server: format!("etcd on {server}"),
                dialled: Some(host.to_owned()),
                of_server: Some(Check {
                    trust,
                    credential: serving,
                    role,
                }),
                of_client: Some(Check {
                    trust: clients,
                    credential: own,
                    role: client_role,
                }),
            });
        }
        Ok(())
    }

    /// A member's gateway dials the member itself with the serving pair, and does not verify it
    /// (server/embed/etcd.go and serve.go of etcd).
    fn gateway(&mut self, at: usize) -> Result<()> {
        let (node, started) = (
            self.members[at].node.clone(),
            self.members[at].started.clone(),
        );
        let credential = self.flag(
            &node,
            &started,
            ("cert-file", "etcd cert-file"),
            certificate,
        )?;
        let trust = self.flag(
            &node,
            &started,
            ("trusted-ca-file", "etcd trusted-ca-file"),
            open,
        )?;
        let role = self.inputs.artifacts.judge.role(Role::Client);
        self.edges.push(Edge {
            kind: Kind::EtcdGateway,
            client: format!("etcd on {node}"),
            server: format!("etcd on {node}"),
            dialled: None,
            of_server: None,
            of_client: Some(Check {
                trust,
                credential,
                role,
            }),
        });
        Ok(())
    }

    /// kubeadm's own client, probes and backup jobs find the CA and a client certificate by path,
    /// beside what the member's flags named before the rotation, and dial every member.
    fn etcd_tools(&mut self, from: usize) -> Result<()> {
        let (node, started) = (
            self.members[from].node.clone(),
            self.members[from].started.clone(),
        );
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
        let trust = self.input(
            What::FileTrust { path: ca },
            Some(&node),
            None,
            "call",
            label,
        )?;
        let label = format!("{pair} on {node}");
        let credential = self.input(
            What::FileCertificate { path: pair },
            Some(&node),
            None,
            "call",
            label,
        )?;
        for to in 0..self.members.len() {
            let urls = self.members[to]
                .started
                .flags
                .get("advertise-client-urls")
                .cloned()
                .unwrap_or_default();
            for host in urls
                .split(',')
                .filter(|url| url.starts_with("https://"))
                .map(host_of)
            {
                let client = format!("kubeadm, probes and backups on {node}");
                self.etcd_edge(Kind::EtcdTools, client, to, host, (trust, credential))?;
            }
        }
        Ok(())
    }
}
