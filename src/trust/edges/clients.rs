//! Clients of the API servers: control plane, kubeconfigs, users, pods, nodes that join.
//!
//! Knows who reads which kubeconfig or CA. It must not know what the servers present.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::artifacts::{Held, Started, UserView};
use super::super::inputs::{InputId, KubeconfigOf, Ways, What};
use super::super::versions;
use super::workloads::Workload;
use super::{Check, Edge, Host, Kind, Reader, closed};
use crate::diagnostic::Result;
use crate::layout::{Program, ROOT_CA, is_token, snapshot_file};
use crate::names::{NodeName, below};
use crate::state::{ObjectId, Process};

/// A client's side of an edge to API servers.
struct Client {
    kind: Kind,
    name: String,
    trust: InputId,
    certificate: Option<InputId>,
    /// The node it runs on.
    node: Option<NodeName>,
}

impl Reader<'_, '_> {
    /// Edges from a client to the API servers that a host means.
    fn reach_api_servers(&mut self, client: &Client, host: &str, name: &str) {
        let (role, client_role) = (self.server_role(name), self.client_role());
        for at in self.api_servers_at(host, client.node.as_ref()) {
            let server = &self.api_servers[at];
            self.push(Edge {
                kind: client.kind,
                client: client.name.as_str().into(),
                server: format!("API server on {}", server.at.node).into(),
                dialled: Some(name.into()),
                of_server: Some(Check {
                    trust: client.trust,
                    credential: server.serving,
                    role,
                }),
                of_client: client.certificate.map(|credential| Check {
                    trust: server.clients,
                    credential,
                    role: client_role,
                }),
            });
        }
    }

    pub(super) fn control_plane(&mut self) -> Result<()> {
        const FLAGS: [&str; 3] = [
            "kubeconfig",
            "authentication-kubeconfig",
            "authorization-kubeconfig",
        ];
        for node in self.start.nodes.keys() {
            let programs = self.inputs.artifacts.programs(self.start, node)?;
            for started in programs.iter() {
                let mut seen = BTreeSet::new();
                for flag in FLAGS {
                    if started
                        .files
                        .get(flag)
                        .is_some_and(|path| seen.insert(path.clone()))
                    {
                        self.control_plane_client(node, started, flag)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn control_plane_client(
        &mut self,
        node: &NodeName,
        started: &Started,
        flag: &'static str,
    ) -> Result<()> {
        let of = KubeconfigOf::Flag(started.program, started.manifest.clone(), flag);
        let process = Process::Program(node.clone(), started.manifest.clone());
        let name = format!("{} on {node}", started.program);
        let kind = match started.program {
            Program::Proxy => Kind::NodeTools,
            _ => Kind::ControlPlane,
        };
        self.kubeconfig_client(kind, &name, node, &of, Some(&process))
    }

    /// Edges from whoever reads a kubeconfig on a node, for each of its contexts.
    pub(super) fn kubeconfig_client(
        &mut self,
        kind: Kind,
        name: &str,
        node: &NodeName,
        of: &KubeconfigOf,
        process: Option<&Process>,
    ) -> Result<()> {
        let Some((path, view)) = self.inputs.kubeconfig_at_start(node, of)? else {
            if kind != Kind::Bootstrap {
                self.weaknesses
                    .insert(format!("the kubeconfig of {name} is not in the snapshot"));
            }
            return Ok(());
        };
        for &(cluster, user) in &view.pairs {
            let (Some(server), Some(credential)) =
                (view.clusters.get(cluster), view.users.get(user))
            else {
                continue;
            };
            self.note_program(name, credential);
            let label = format!("{path} on {node}");
            let trust = What::KubeconfigTrust {
                of: of.clone(),
                cluster,
            };
            let row = if kind == Kind::Kubelet {
                "kubelet kubeconfig"
            } else {
                "kubeconfig ca"
            };
            let trust = self.input(trust, Some(node), process.cloned(), row, label.clone())?;
            let certificate = if kind == Kind::Kubelet {
                self.kubelet_certificate(node, user, &credential.certificate, process.cloned())?
            } else {
                let row = match credential.certificate {
                    Held::Here(_) => "kubeconfig client-certificate-data",
                    Held::In(_) => "kubeconfig client-certificate",
                };
                let what = What::KubeconfigCertificate {
                    of: of.clone(),
                    user,
                };
                self.input(what, Some(node), process.cloned(), row, label)?
            };
            let client = Client {
                kind,
                name: name.to_owned(),
                trust,
                certificate: Some(certificate),
                node: Some(node.clone()),
            };
            self.reach_api_servers(&client, &server.host, &server.name);
        }
        Ok(())
    }

    /// What a credential plugin gives is not in the snapshot.
    fn note_program(&mut self, client: &str, user: &UserView) {
        if user.by_program {
            self.weaknesses.insert(format!(
                "{client} has what it shows from a program (exec): where that is a certificate of a rotated CA, nothing is proven of it"
            ));
        }
    }

    /// Every other kubeconfig on the nodes: read when it is used, or by pods that mount it.
    pub(super) fn node_kubeconfigs(&mut self) -> Result<()> {
        let mounting = self.host_mounts();
        for (node, files) in &self.start.nodes {
            if !self.takes(node) {
                continue;
            }
            self.begin_node(node);
            let mut taken = BTreeSet::new();
            for started in self.inputs.artifacts.programs(self.start, node)?.iter() {
                taken.extend(started.files.values().cloned());
            }
            if let Some(kubelet) = self.kubelets.get(node) {
                taken.extend(kubelet.kubeconfig.clone());
                taken.extend(kubelet.bootstrap_kubeconfig.clone());
            }
            let static_pods = self
                .inputs
                .artifacts
                .foreign_static_pods(self.start, node)?;
            for (path, file) in files.regular_files() {
                let label = || snapshot_file(node, path);
                if taken.contains(path) || self.inputs.artifacts.view(&file.text, label)?.is_none()
                {
                    continue;
                }
                let of = KubeconfigOf::File(path.clone());
                self.kubeconfig_client(
                    Kind::NodeTools,
                    &format!("{path} on {node}"),
                    node,
                    &of,
                    None,
                )?;
                let pods = mounting
                    .iter()
                    .map(|(id, mounted)| (Process::Workload(id.clone()), mounted));
                let foreign = static_pods.iter().flat_map(|(manifest, mounts)| {
                    let process = Process::Program(node.clone(), manifest.clone());
                    mounts.iter().map(move |mounted| (process.clone(), mounted))
                });
                let readers: BTreeSet<Process> = pods
                    .chain(foreign)
                    .filter(|(_, mounted)| below(path.as_str(), mounted).is_some())
                    .map(|(process, _)| process)
                    .collect();
                for process in readers {
                    let name = format!("{process}, which mounts {path} of {node}");
                    self.kubeconfig_client(Kind::NodeTools, &name, node, &of, Some(&process))?;
                }
            }
        }
        Ok(())
    }

    /// The folders and files of the host that workloads mount and that can hold kubeconfigs.
    fn host_mounts(&self) -> Vec<(ObjectId, String)> {
        let mut out = Vec::new();
        for workload in self.workloads.iter() {
            for path in workload.pod().host_paths() {
                out.push((workload.id.clone(), path.to_owned()));
            }
        }
        out
    }

    pub(super) fn users(&mut self) -> Result<()> {
        for (user, text) in &self.start.users {
            let label = format!("snapshot/users/{user}.kubeconfig");
            let Some(view) = self.inputs.artifacts.view(text, || label)? else {
                continue;
            };
            for &(cluster, of) in &view.pairs {
                let Some(server) = view.clusters.get(cluster) else {
                    continue;
                };
                if let Some(credential) = view.users.get(of) {
                    self.note_program(&format!("user {user}"), credential);
                }
                let process = Some(Process::User(user.clone()));
                let label = format!("kubeconfig of {user}");
                let trust = What::UserTrust {
                    user: user.clone(),
                    cluster,
                };
                let trust =
                    self.input(trust, None, process.clone(), "kubeconfig ca", label.clone())?;
                let what = What::UserCertificate {
                    user: user.clone(),
                    of,
                };
                let certificate = self.input(
                    what,
                    None,
                    process,
                    "kubeconfig client-certificate-data",
                    label,
                )?;
                let name = format!("user {user}");
                self.clients.push((name.clone(), certificate));
                let client = Client {
                    kind: Kind::Users,
                    name,
                    trust,
                    certificate: Some(certificate),
                    node: None,
                };
                self.reach_api_servers(&client, &server.host, &server.name);
            }
        }
        Ok(())
    }

    /// Pods trust `ca.crt` of their ServiceAccount, and show a token.
    pub(super) fn pods(&mut self) -> Result<()> {
        let service = self
            .start
            .object(&ObjectId::new("services", "default", "kubernetes"));
        let address = service
            .and_then(|s| s.pointer("/spec/clusterIP"))
            .and_then(Value::as_str);
        let host = address.unwrap_or("kubernetes.default.svc").to_owned();
        // Thousands of workloads would be as many clients of thousands of kubelets.
        let mut alike: BTreeMap<Ways, (InputId, Vec<String>)> = BTreeMap::new();
        for workload in self.workloads.clone().iter() {
            let objects = self.published_to(workload);
            if !workload.pod().uses_api(self.start) {
                continue;
            }
            if objects.is_empty() {
                self.weaknesses.insert(format!(
                    "the CA that {} gets is not in the snapshot",
                    workload.id
                ));
                continue;
            }
            let process = workload
                .lasting
                .then(|| Process::Workload(workload.id.clone()));
            let label = format!("ca.crt of {}", workload.id);
            let trust = self.input(
                What::Published { objects },
                None,
                process,
                "pod ca.crt",
                label,
            )?;
            let name = workload.id.to_string();
            let client = Client {
                kind: Kind::Pods,
                name: name.clone(),
                trust,
                certificate: None,
                node: None,
            };
            self.reach_api_servers(&client, &host, &host);
            let ways = self.inputs.histories(trust)?;
            let (_, names) = alike.entry(ways).or_insert((trust, Vec::new()));
            names.push(name);
        }
        for (trust, names) in alike.into_values() {
            let name = match &names[..] {
                [one] => one.clone(),
                [first, more @ ..] => {
                    format!("{first} and {} more with the same ca.crt", more.len())
                }
                [] => continue,
            };
            self.pods_to_kubelets(&name, trust)?;
        }
        Ok(())
    }

    /// The objects from which a workload's pods get `ca.crt`, and token Secrets mounted by name.
    fn published_to(&self, workload: &Workload<'_>) -> Vec<(ObjectId, &'static str)> {
        const POINTER: &str = "/data/ca.crt";
        let mut out = Vec::new();
        let map = ObjectId::new("configmaps", &workload.id.namespace, ROOT_CA);
        let bound = versions::BOUND_TOKENS.holds(self.kubernetes);
        if bound && self.start.object(&map).is_some() {
            out.push((map, POINTER));
        }
        let pod = workload.pod();
        for (id, secret) in self.start.objects_of("secrets") {
            let of = secret.pointer("/metadata/annotations/kubernetes.io~1service-account.name");
            let given = !bound
                && id.namespace == workload.id.namespace
                && of.and_then(Value::as_str) == Some(pod.account());
            if is_token(secret) && (given || pod.gets(id)) {
                out.push((id.clone(), POINTER));
            }
        }
        out
    }

    /// A node that joins reads `cluster-info`; what the signer gives it must be accepted.
    pub(super) fn joining(&mut self) -> Result<()> {
        let id = ObjectId::new("configmaps", "kube-public", "cluster-info");
        let pointer = "/data/kubeconfig".to_owned();
        let text = self
            .start
            .object(&id)
            .and_then(|o| o.pointer(&pointer))
            .and_then(Value::as_str);
        if let Some(text) = text
            && let Some(view) = self
                .inputs
                .artifacts
                .view(text, || "snapshot/cluster/configmaps.yaml".to_owned())?
            && let Some(server) = view.clusters.first()
        {
            let what = What::ObjectKubeconfig { id, pointer };
            let trust = self.input(
                what,
                None,
                None,
                "object",
                "ConfigMap kube-public/cluster-info".into(),
            )?;
            let name = "a node that joins".to_owned();
            let client = Client {
                kind: Kind::Bootstrap,
                name,
                trust,
                certificate: None,
                node: None,
            };
            self.reach_api_servers(&client, &server.host, &server.name);
        }
        let label = "certificates that kube-controller-manager signs".to_owned();
        let credential = self.input(What::Signed, None, None, "call", label)?;
        let set = self.inputs.in_step(credential, 0)?;
        if self.inputs.artifacts.judge.members(set).is_empty() {
            return Ok(());
        }
        self.clients.push((SIGNED.to_owned(), credential));
        for at in 0..self.api_servers.len() {
            let server = &self.api_servers[at];
            let server = (format!("API server on {}", server.at.node), server.clients);
            self.client_edge(Kind::Signed, (SIGNED.to_owned(), credential), server);
        }
        self.delegating(credential)
    }

    /// Controller managers and schedulers with a client CA of their own: whoever asks them for
    /// health and metrics shows a certificate.
    fn delegating(&mut self, credential: InputId) -> Result<()> {
        for node in self.start.nodes.keys() {
            for started in self.inputs.artifacts.programs(self.start, node)?.iter() {
                if started.program == Program::Apiserver
                    || !started.files.contains_key("client-ca-file")
                {
                    continue;
                }
                let host = Host {
                    node: node.clone(),
                    started: started.clone(),
                };
                let row = ("client-ca-file", "kube-controller-manager client-ca-file");
                let trust = self.flag(&host, row, closed)?;
                self.client_edge(
                    Kind::SignedControlPlane,
                    (SIGNED.to_owned(), credential),
                    (format!("{} on {node}", started.program), trust),
                );
            }
        }
        Ok(())
    }
}

/// Clients that nobody knows yet.
const SIGNED: &str = "whoever gets a certificate from the cluster";
