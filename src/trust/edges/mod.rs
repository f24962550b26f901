//! Edges: who dials whom, with which inputs on either side. Read from the cluster's artifacts as
//! they are before the rotation; their values are looked up for every later state.
//!
//! Knows which flags, files and objects make a connection. It must not know values, time, or what a
//! phase does.

mod clients;
mod etcd;
mod extensions;
mod kubelets;
mod workloads;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use super::artifacts::{Started, host_of};
use super::inputs::{Input, InputId, Inputs, What};
use super::judge::{Role, RoleId};
use super::{EdgeFacts, Share};
use crate::diagnostic::Result;
use crate::layout::{Kubelet, Program};
use crate::names::{NodeName, NodePath};
use crate::spec::{Role as NodeRole, Version};
use crate::state::{ObjectId, Process, State, Texts};

use workloads::Workload;
pub use workloads::workloads;

/// Kinds of edges: the rows of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Controller managers and scheduler to their API server.
    ControlPlane,
    /// Kubelets to an API server.
    Kubelet,
    /// Pods to the API servers.
    Pods,
    /// Kubeconfigs on nodes that are read when they are used.
    NodeTools,
    /// Users' kubeconfigs outside the nodes.
    Users,
    /// Nodes that join.
    Bootstrap,
    /// Whoever has a certificate signed by the cluster.
    Signed,
    /// Whoever has a certificate signed by the cluster, to what delegates authentication.
    SignedControlPlane,
    /// API servers to kubelets.
    ApiserverKubelet,
    /// Pods to kubelets, where kubelets serve with a certificate of a CA that pods get.
    PodsKubelet,
    /// API servers to etcd.
    ApiserverEtcd,
    /// etcd members to each other.
    EtcdPeers,
    /// An etcd member to itself.
    EtcdGateway,
    /// kubeadm, probes and backups to etcd, by path.
    EtcdTools,
    /// API servers to aggregated API servers.
    Aggregated,
    /// API servers to webhooks that API objects name.
    Webhook,
    /// API servers to webhooks that kubeconfigs name: authentication, authorization, audit.
    ConfiguredWebhook,
    /// Whoever has a certificate of the cluster to kubelets: monitoring, people.
    ClientsKubelet,
}

impl Kind {
    /// Its name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::ControlPlane => "controller manager, scheduler → API server",
            Kind::Kubelet => "kubelet → API server",
            Kind::Pods => "pods → API server",
            Kind::NodeTools => "kubeconfigs on nodes → API server",
            Kind::Users => "users → API server",
            Kind::Bootstrap => "joining node → API server",
            Kind::Signed => "newly signed client → API server",
            Kind::SignedControlPlane => "newly signed client → controller manager, scheduler",
            Kind::ApiserverKubelet => "API server → kubelet",
            Kind::PodsKubelet => "pods → kubelet",
            Kind::ApiserverEtcd => "API server → etcd",
            Kind::EtcdPeers => "etcd ↔ etcd",
            Kind::EtcdGateway => "etcd → itself",
            Kind::EtcdTools => "kubeadm, probes, backups → etcd",
            Kind::Aggregated => "API server → aggregated API server",
            Kind::Webhook => "API server → webhook",
            Kind::ConfiguredWebhook => "API server → authentication, authorization, audit webhook",
            Kind::ClientsKubelet => "users, newly signed clients → kubelet",
        }
    }
}

/// One side's check of the other: what verifies, and what is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// The input that verifies.
    pub trust: InputId,
    /// The input that is presented.
    pub credential: InputId,
    /// As what.
    pub role: RoleId,
}

/// A client that dials a server.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Its kind.
    pub kind: Kind,
    /// Who dials.
    pub client: Arc<str>,
    /// Who is dialled.
    pub server: Arc<str>,
    /// By which name.
    pub dialled: Option<Arc<str>>,
    /// The client verifies the server.
    pub of_server: Option<Check>,
    /// The server verifies the client.
    pub of_client: Option<Check>,
}

impl Edge {
    /// What the proof says of it.
    pub fn facts(&self) -> EdgeFacts {
        EdgeFacts {
            kind: self.kind.as_str(),
            client: self.client.clone(),
            server: self.server.clone(),
            dialled: self.dialled.clone(),
        }
    }
}

/// A program on its node.
#[derive(Clone)]
struct Host {
    node: NodeName,
    started: Rc<Started>,
}

/// Where an edge stands among all: the stage of the reading, the place of its node, and its number
/// there. It is the same in whatever shares the edges are read.
pub type Place = (usize, usize, usize);

/// Edges with their places.
pub type Placed = Vec<(Place, Edge)>;

/// An API server.
struct ApiServer {
    at: Host,
    serving: InputId,
    clients: InputId,
}

/// An etcd member.
struct Member {
    at: Host,
    hosts: BTreeSet<String>,
}

/// Reads the edges.
pub struct Reader<'r, 'a> {
    inputs: &'r mut Inputs<'a>,
    start: &'a State,
    kubernetes: Version,
    /// Which node a host name or address belongs to.
    hosts: BTreeMap<String, NodeName>,
    workloads: Rc<Vec<Workload<'a>>>,
    api_servers: Vec<ApiServer>,
    members: Vec<Member>,
    kubelets: BTreeMap<NodeName, Arc<Kubelet>>,
    /// Client certificates of users outside the nodes, and of whoever the cluster signs for.
    clients: Vec<(String, InputId)>,
    share: Share,
    places: HashMap<&'a NodeName, usize>,
    next: Place,
    edges: Placed,
    /// Who dials and is dialled: thousands of edges name the same.
    texts: Texts,
    weaknesses: BTreeSet<String>,
}

/// The edges of a share in order, and what was found that cannot be proven.
///
/// The edges of one node stay together, since they ask for the same values. An API server has edges to
/// all nodes, and takes no part in this.
pub fn read(
    inputs: &mut Inputs<'_>,
    kubernetes: Version,
    share: Share,
) -> Result<(Placed, BTreeSet<String>)> {
    let start = inputs.timeline.state(0);
    let mut reader = Reader {
        inputs,
        start,
        kubernetes,
        hosts: BTreeMap::new(),
        workloads: Rc::new(workloads(start)),
        api_servers: Vec::new(),
        members: Vec::new(),
        kubelets: BTreeMap::new(),
        clients: Vec::new(),
        share,
        places: start.nodes.keys().zip(0..).collect(),
        next: (0, 0, 0),
        edges: Vec::new(),
        texts: Texts::default(),
        weaknesses: BTreeSet::new(),
    };
    reader.find_hosts();
    reader.find_programs()?;
    let stages = [
        Reader::control_plane,
        Reader::kubelets,
        Reader::node_kubeconfigs,
        Reader::users,
        Reader::pods,
        Reader::joining,
        Reader::etcd,
        Reader::extensions,
        Reader::configured_webhooks,
        Reader::clients_of_kubelets,
    ];
    for stage in stages {
        reader.begin_stage();
        stage(&mut reader)?;
    }
    let Reader {
        inputs,
        places,
        mut edges,
        weaknesses,
        ..
    } = reader;
    edges.retain(|(_, edge)| {
        let checks = [edge.of_server, edge.of_client].into_iter().flatten();
        let sides = checks.flat_map(|check| [check.trust, check.credential]);
        let mut nodes = sides.filter_map(|input| inputs.input(input).node.as_ref());
        let node = nodes.find(|node| !inputs.runs_api_server(node));
        let place = node.and_then(|node| places.get(node)).copied();
        share.has(place.unwrap_or(0), places.len())
    });
    Ok((edges, weaknesses))
}

impl Reader<'_, '_> {
    fn begin_stage(&mut self) {
        self.next = (self.next.0 + 1, 0, 0);
    }

    fn begin_node(&mut self, node: &NodeName) {
        self.next.1 = self.places.get(node).map_or(0, |place| place + 1);
        self.next.2 = 0;
    }

    /// Whether what is read node by node is read of this one.
    fn takes(&self, node: &NodeName) -> bool {
        let place = self.places.get(node).copied();
        let place = place.filter(|_| !self.inputs.runs_api_server(node));
        self.share.has(place.unwrap_or(0), self.places.len())
    }

    fn push(&mut self, mut edge: Edge) {
        edge.client = self.texts.keep(edge.client);
        edge.server = self.texts.keep(edge.server);
        edge.dialled = edge.dialled.map(|name| self.texts.keep(name));
        self.edges.push((self.next, edge));
        self.next.2 += 1;
    }

    fn input(
        &mut self,
        what: What,
        node: Option<&NodeName>,
        process: Option<Process>,
        row: &'static str,
        label: String,
    ) -> Result<InputId> {
        self.inputs.add(Input {
            what,
            node: node.cloned(),
            process,
            row,
            label,
        })
    }

    /// The value of a flag of a program, read as `what`, by a row of the reload table.
    fn flag(
        &mut self,
        Host { node, started }: &Host,
        (flag, row): (&'static str, &'static str),
        what: fn(Program, NodePath, &'static str) -> What,
    ) -> Result<InputId> {
        let process = Process::Program(node.clone(), started.manifest.clone());
        let label = format!("--{flag} of {} on {node}", started.program);
        let what = what(started.program, started.manifest.clone(), flag);
        self.input(what, Some(node), Some(process), row, label)
    }

    fn client_role(&mut self) -> RoleId {
        self.inputs.artifacts.judge.role(Role::Client)
    }

    fn server_role(&mut self, name: &str) -> RoleId {
        let role = Role::Server(Some(name.to_owned()));
        self.inputs.artifacts.judge.role(role)
    }

    /// An edge on which only the server verifies the client, or nothing is known of the rest.
    fn client_edge(
        &mut self,
        kind: Kind,
        (client, credential): (String, InputId),
        (server, trust): (String, InputId),
    ) {
        let role = self.client_role();
        self.push(Edge {
            kind,
            client: client.into(),
            server: server.into(),
            dialled: None,
            of_server: None,
            of_client: Some(Check {
                trust,
                credential,
                role,
            }),
        });
    }

    fn find_hosts(&mut self) {
        for (id, object) in self.start.objects_of("nodes") {
            let Ok(node) = NodeName::new(&id.name) else {
                continue;
            };
            let addresses = object
                .pointer("/status/addresses")
                .and_then(Value::as_array);
            for address in addresses.into_iter().flatten() {
                if let Some(host) = address.get("address").and_then(Value::as_str) {
                    self.hosts.insert(host.to_owned(), node.clone());
                }
            }
        }
        for node in self.start.nodes.keys() {
            self.hosts.insert(node.to_string(), node.clone());
        }
    }

    fn find_programs(&mut self) -> Result<()> {
        for node in self.start.nodes.keys() {
            if self.takes(node) {
                self.find_kubelet(node)?;
            }
            let programs = self.inputs.artifacts.programs(self.start, node)?;
            for started in programs.iter() {
                match started.program {
                    Program::Apiserver => self.find_api_server(node, started)?,
                    Program::Etcd => self.find_member(node, started),
                    _ => {}
                }
            }
        }
        if self.api_servers.is_empty() {
            self.weaknesses
                .insert("no API server was found: nothing is proven of its clients".into());
        }
        Ok(())
    }

    fn find_kubelet(&mut self, node: &NodeName) -> Result<()> {
        let registered = ObjectId::new("nodes", "", node.as_str());
        let registered = self.start.object(&registered).is_some();
        if let Some(kubelet) = self.inputs.artifacts.kubelet(self.start, node)? {
            // Without a kubeconfig a kubelet runs by itself: it dials no API server, and none dials it.
            if registered || kubelet.kubeconfig.is_some() {
                self.kubelets.insert(node.clone(), kubelet);
            }
        } else if registered || self.start.nodes[node].role != NodeRole::Etcd {
            self.weaknesses.insert(format!(
                "the kubelet of {node} was not found: nothing is proven of it"
            ));
        }
        Ok(())
    }

    fn find_api_server(&mut self, node: &NodeName, started: &Rc<Started>) -> Result<()> {
        if let Some(address) = started.flags.get("advertise-address") {
            self.hosts.insert(address.clone(), node.clone());
        }
        if !started.files.contains_key("tls-cert-file") {
            self.weaknesses.insert(format!(
                "the API server on {node} makes its own serving certificate"
            ));
        }
        let at = Host {
            node: node.clone(),
            started: started.clone(),
        };
        let row = ("tls-cert-file", "kube-apiserver tls-cert-file");
        let serving = self.flag(&at, row, certificate)?;
        let row = ("client-ca-file", "kube-apiserver client-ca-file");
        let clients = self.flag(&at, row, closed)?;
        self.api_servers.push(ApiServer {
            at,
            serving,
            clients,
        });
        Ok(())
    }

    fn find_member(&mut self, node: &NodeName, started: &Rc<Started>) {
        let mut hosts = BTreeSet::new();
        for flag in [
            "advertise-client-urls",
            "listen-client-urls",
            "initial-advertise-peer-urls",
        ] {
            let urls = started
                .flags
                .get(flag)
                .map(String::as_str)
                .unwrap_or_default();
            for host in urls.split(',').map(host_of) {
                if !is_loopback(host) && !matches!(host, "" | "0.0.0.0" | "::") {
                    hosts.insert(host.to_owned());
                }
            }
        }
        let at = Host {
            node: node.clone(),
            started: started.clone(),
        };
        self.members.push(Member { at, hosts });
    }

    /// The API servers that a host means: one of them, or, by any other name, whichever a load
    /// balancer picks.
    fn api_servers_at(&self, host: &str, from: Option<&NodeName>) -> Vec<usize> {
        let node = match from {
            Some(node) if is_loopback(host) => Some(node),
            _ => self.hosts.get(host),
        };
        let on_it: Vec<usize> = (0..self.api_servers.len())
            .filter(|at| Some(&self.api_servers[*at].at.node) == node)
            .collect();
        if on_it.is_empty() {
            (0..self.api_servers.len()).collect()
        } else {
            on_it
        }
    }
}

fn certificate(program: Program, manifest: NodePath, flag: &'static str) -> What {
    What::FlagCertificate {
        program,
        manifest,
        flag,
    }
}

/// Trust where a missing flag means that nothing is accepted.
fn closed(program: Program, manifest: NodePath, flag: &'static str) -> What {
    What::FlagTrust {
        program,
        manifest,
        flag,
        open: false,
    }
}

/// Trust where a missing flag means that nothing is verified.
fn open(program: Program, manifest: NodePath, flag: &'static str) -> What {
    What::FlagTrust {
        program,
        manifest,
        flag,
        open: true,
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host == "::1" || host.starts_with("127.")
}
