//! Kubelets: as clients of API servers, and as servers of API servers and of pods.
//!
//! Knows addresses and the kubelet's certificates. It must not know when they change.

use serde_json::Value;

use super::super::artifacts::{Held, Started};
use super::super::inputs::{InputId, KubeconfigOf, What};
use super::{Check, Edge, Kind, Reader, certificate, open};
use crate::diagnostic::Result;
use crate::layout::Kubelet;
use crate::names::NodeName;
use crate::state::{ObjectId, Process};

impl Reader<'_, '_> {
    pub(super) fn kubelet_certificate(
        &mut self,
        node: &NodeName,
        user: usize,
        held: &Held<usize>,
        process: Option<Process>,
    ) -> Result<InputId> {
        let rotates = self.kubelets.get(node).is_some_and(|k| k.rotates);
        let row = match held {
            Held::In(_) if !rotates => "kubelet client-certificate",
            _ => "kubelet client-current",
        };
        let label = format!("client certificate of the kubelet on {node}");
        self.input(
            What::KubeletClient { user },
            Some(node),
            process,
            row,
            label,
        )
    }

    pub(super) fn kubelets(&mut self) -> Result<()> {
        for (node, kubelet) in self.kubelets.clone() {
            self.begin_node(&node);
            let process = Process::Kubelet(node.clone());
            let name = format!("kubelet on {node}");
            self.kubeconfig_client(
                Kind::Kubelet,
                &name,
                &node,
                &KubeconfigOf::Kubelet,
                Some(&process),
            )?;
            if kubelet.bootstrap_kubeconfig.is_some() {
                let joining = format!("{node}, when it joins again");
                self.kubeconfig_client(
                    Kind::Bootstrap,
                    &joining,
                    &node,
                    &KubeconfigOf::Bootstrap,
                    None,
                )?;
            }
            self.api_servers_to_kubelet(&node, &kubelet)?;
        }
        Ok(())
    }

    fn kubelet_serving(&mut self, node: &NodeName) -> Result<InputId> {
        let process = Process::Kubelet(node.clone());
        let label = format!("serving certificate of the kubelet on {node}");
        self.input(
            What::KubeletServing,
            Some(node),
            Some(process),
            "kubelet serving",
            label,
        )
    }

    fn kubelet_clients(&mut self, node: &NodeName) -> Result<InputId> {
        let process = Process::Kubelet(node.clone());
        let label = format!("clientCAFile of the kubelet on {node}");
        self.input(
            What::KubeletClientCa,
            Some(node),
            Some(process),
            "kubelet clientCAFile",
            label,
        )
    }

    /// People and monitoring that show kubelets a certificate. Whether they verify the kubelet, and
    /// with what, is not in the snapshot.
    pub(super) fn clients_of_kubelets(&mut self) -> Result<()> {
        for (node, kubelet) in self.kubelets.clone() {
            if kubelet.client_ca_file.is_none() {
                continue;
            }
            self.begin_node(&node);
            let trust = self.kubelet_clients(&node)?;
            for client in self.clients.clone() {
                let server = (format!("kubelet on {node}"), trust);
                self.client_edge(Kind::ClientsKubelet, client, server);
            }
        }
        Ok(())
    }

    fn api_servers_to_kubelet(&mut self, node: &NodeName, kubelet: &Kubelet) -> Result<()> {
        let serving = self.kubelet_serving(node)?;
        let clients = self.kubelet_clients(node)?;
        if kubelet.client_ca_file.is_none() {
            self.weaknesses.insert(format!("the kubelet on {node} has no clientCAFile: API servers are not known to it by certificate"));
        }
        for at in 0..self.api_servers.len() {
            let host = self.api_servers[at].at.clone();
            let server = host.node.clone();
            let name = self.kubelet_address(node, &host.started);
            let row = (
                "kubelet-client-certificate",
                "kube-apiserver kubelet-client-certificate",
            );
            let credential = self.flag(&host, row, certificate)?;
            let row = (
                "kubelet-certificate-authority",
                "kube-apiserver kubelet-certificate-authority",
            );
            let trust = self.flag(&host, row, open)?;
            if !host
                .started
                .files
                .contains_key("kubelet-certificate-authority")
            {
                self.weaknesses.insert(format!(
                    "the API server on {server} does not verify kubelets: --kubelet-certificate-authority is not set"
                ));
            }
            let (client_role, role) = (self.client_role(), self.server_role(&name));
            self.push(Edge {
                kind: Kind::ApiserverKubelet,
                client: format!("API server on {server}").into(),
                server: format!("kubelet on {node}").into(),
                dialled: Some(name.into()),
                of_server: Some(Check {
                    trust,
                    credential: serving,
                    role,
                }),
                of_client: kubelet.client_ca_file.is_some().then_some(Check {
                    trust: clients,
                    credential,
                    role: client_role,
                }),
            });
        }
        Ok(())
    }

    /// The address by which an API server dials a kubelet.
    fn kubelet_address(&self, node: &NodeName, started: &Started) -> String {
        const DEFAULT: &str = "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP";
        let order = started
            .flags
            .get("kubelet-preferred-address-types")
            .map_or(DEFAULT, String::as_str);
        let object = self
            .start
            .object(&ObjectId::new("nodes", "", node.as_str()));
        let addresses = object
            .and_then(|o| o.pointer("/status/addresses"))
            .and_then(Value::as_array);
        let of_type = |kind: &str| {
            addresses?
                .iter()
                .find(|a| a.get("type").and_then(Value::as_str) == Some(kind))
                .and_then(|a| a.get("address"))
                .and_then(Value::as_str)
        };
        order
            .split(',')
            .find_map(of_type)
            .unwrap_or(node.as_str())
            .to_owned()
    }

    /// Pods that verify kubelets (monitoring) do it with the CA that they get.
    pub(super) fn pods_to_kubelets(&mut self, name: &str, trust: InputId) -> Result<()> {
        self.begin_stage();
        for (node, kubelet) in self.kubelets.clone() {
            if kubelet.serving.is_none() && !kubelet.serving_is_signed {
                continue;
            }
            self.begin_node(&node);
            let credential = self.kubelet_serving(&node)?;
            let object = self
                .start
                .object(&ObjectId::new("nodes", "", node.as_str()));
            let addresses = object
                .and_then(|o| o.pointer("/status/addresses"))
                .and_then(Value::as_array);
            let address = addresses
                .and_then(|all| {
                    all.iter()
                        .find(|a| a.get("type").and_then(Value::as_str) == Some("InternalIP"))
                })
                .and_then(|a| a.get("address"))
                .and_then(Value::as_str)
                .unwrap_or(node.as_str())
                .to_owned();
            let role = self.server_role(&address);
            // Only where it would hold today: a certificate of another CA is nothing to pods.
            let (before, after) = (
                self.inputs.in_step(trust, 0)?,
                self.inputs.in_step(credential, 0)?,
            );
            let judge = &mut self.inputs.artifacts.judge;
            let seen = judge.seen(after);
            if judge.judge(before, seen, role).is_some() {
                continue;
            }
            self.push(Edge {
                kind: Kind::PodsKubelet,
                client: name.into(),
                server: format!("kubelet on {node}").into(),
                dialled: Some(address.into()),
                of_server: Some(Check {
                    trust,
                    credential,
                    role,
                }),
                of_client: None,
            });
        }
        Ok(())
    }
}
