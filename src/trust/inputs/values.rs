//! The value of an input at a moment: where its configuration was read, and where its content.
//!
//! Knows files, flags and fields. It must not know which moments count.

use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use super::super::artifacts::{Held, View};
use super::super::judge::{Credential, NO_CA, Trust};
use super::{Input, InputId, Inputs, Kubeconfig, KubeconfigOf, Signer, What, object_label};
use crate::diagnostic::Result;
use crate::layout::snapshot_file;
use crate::names::{NodeName, NodePath};
use crate::state::{ObjectId, State};

impl<'a> Inputs<'a> {
    /// The values of an input whose configuration was read at one moment and its content at another.
    pub(super) fn value(&mut self, id: InputId, read: usize, now: usize) -> Result<Vec<usize>> {
        let input = self.tracks[id].input.clone();
        match &input.node {
            Some(node) => self.value_on_node(&input, node, read, now),
            None => self.value_elsewhere(&input, now),
        }
    }

    fn value_on_node(
        &mut self,
        input: &Input,
        node: &NodeName,
        read: usize,
        now: usize,
    ) -> Result<Vec<usize>> {
        let (before, after) = (self.timeline.state(read), self.timeline.state(now));
        let artifacts = &mut self.artifacts;
        let one = match &input.what {
            What::FlagTrust {
                program,
                manifest,
                flag,
                open,
            } => {
                let started = artifacts.program(before, node, *program, manifest)?;
                match started.and_then(|s| s.files.get(flag).cloned()) {
                    Some(path) => artifacts.trust_file(after, node, &path)?,
                    None if *open => artifacts.judge.trust(Trust::Unverified),
                    None => artifacts
                        .judge
                        .trust(Trust::Absent(format!("--{flag} is not set"))),
                }
            }
            What::FlagCertificate {
                program,
                manifest,
                flag,
            } => {
                let started = artifacts.program(before, node, *program, manifest)?;
                match started.and_then(|s| s.files.get(flag).cloned()) {
                    Some(path) => artifacts.credential_file(after, node, &path)?,
                    None => artifacts.judge.credential(Credential::None),
                }
            }
            What::KubeconfigTrust { of, cluster } => match self.kubeconfig(node, of, read, now)? {
                Some((path, view)) => self.kubeconfig_trust(node, &path, &view, *cluster, now)?,
                None => self.no_kubeconfig_trust(input),
            },
            What::KubeconfigCertificate { of, user } => {
                self.kubeconfig_certificate(node, of, *user, read, now)?
            }
            What::KubeletClientCa => {
                let path = artifacts
                    .kubelet(before, node)?
                    .and_then(|k| k.client_ca_file.clone());
                match path {
                    Some(path) => artifacts.trust_file(after, node, &path)?,
                    None => artifacts
                        .judge
                        .trust(Trust::Absent("clientCAFile is not set".into())),
                }
            }
            What::KubeletClient { user } => self.kubelet_client(node, *user, read, now)?,
            What::KubeletServing => self.kubelet_serving(node, read, now)?,
            What::FileTrust { path } => artifacts.trust_file(after, node, path)?,
            What::FileCertificate { path } => artifacts.credential_file(after, node, path)?,
            _ => return self.value_elsewhere(input, now),
        };
        Ok(vec![one])
    }

    pub(super) fn value_elsewhere(&mut self, input: &Input, now: usize) -> Result<Vec<usize>> {
        let state = self.timeline.state(now);
        let one = match &input.what {
            What::UserTrust { user, cluster } => match self.user_view(user, now)? {
                Some(view) => match view.clusters.get(*cluster).map(|c| &c.trust) {
                    Some(Held::Here(id)) => *id,
                    _ => self.no_kubeconfig_trust(input),
                },
                None => self.no_kubeconfig_trust(input),
            },
            What::UserCertificate { user, of } => match self.user_view(user, now)? {
                Some(view) => match view.users.get(*of).map(|u| &u.certificate) {
                    Some(Held::Here(id)) => *id,
                    _ => self.artifacts.judge.credential(Credential::Unknown),
                },
                None => self.artifacts.judge.credential(Credential::Unknown),
            },
            What::Published { objects } => return self.published(objects, now),
            What::ObjectTrust { id, pointer } => self.object_trust(state, id, pointer)?,
            What::ObjectKubeconfig { id, pointer } => {
                self.object_kubeconfig(state, id, pointer, input)?
            }
            What::ObjectCertificate { id, pointer } => {
                let found = match state.object(id).and_then(|o| o.pointer(pointer)) {
                    Some(value) => self.artifacts.credential_field(value, &object_label(id))?,
                    None => None,
                };
                found.unwrap_or_else(|| {
                    let why = format!("{} holds no certificate", object_label(id));
                    self.artifacts.judge.credential(Credential::Absent(why))
                })
            }
            What::PublishedFrontProxy => return self.published_front_proxy(now).map(|id| vec![id]),
            What::Signed => return self.signed(&Signer::OF_CLIENTS, now),
            What::Assumed {
                signers,
                while_used,
            } => return self.assumed(signers, while_used, now),
            _ => self.artifacts.judge.credential(Credential::Unknown),
        };
        Ok(vec![one])
    }

    fn no_kubeconfig_trust(&mut self, input: &Input) -> usize {
        self.artifacts
            .judge
            .trust(Trust::Absent(format!("{} is not there", input.label)))
    }

    fn object_trust(&mut self, state: &'a State, id: &ObjectId, pointer: &str) -> Result<usize> {
        let field = state.object(id).and_then(|o| o.pointer(pointer));
        let found = match field {
            Some(value) => self.artifacts.trust_field(value, &object_label(id))?,
            None => None,
        };
        Ok(found.unwrap_or_else(|| self.artifacts.judge.trust(Trust::Lacking(NO_CA))))
    }

    fn object_kubeconfig(
        &mut self,
        state: &'a State,
        id: &ObjectId,
        pointer: &str,
        input: &Input,
    ) -> Result<usize> {
        let text = state
            .object(id)
            .and_then(|o| o.pointer(pointer))
            .and_then(Value::as_str);
        let view = match text {
            Some(text) => self.artifacts.view(text, || object_label(id))?,
            None => None,
        };
        let trust = view
            .as_ref()
            .and_then(|v| v.clusters.first())
            .map(|c| &c.trust);
        Ok(match trust {
            Some(Held::Here(id)) => *id,
            _ => self.no_kubeconfig_trust(input),
        })
    }

    fn user_view(&mut self, user: &NodeName, now: usize) -> Result<Option<Rc<View>>> {
        match self.timeline.state(now).users.get(user) {
            Some(text) => self
                .artifacts
                .view(text, || format!("snapshot/users/{user}.kubeconfig")),
            None => Ok(None),
        }
    }

    /// A kubeconfig: its path as configured at one moment, its content at another.
    pub(super) fn kubeconfig(
        &mut self,
        node: &NodeName,
        of: &KubeconfigOf,
        read: usize,
        now: usize,
    ) -> Result<Option<Kubeconfig>> {
        if *of != KubeconfigOf::Kubelet {
            return self.read_kubeconfig(node, of, read, now);
        }
        let mut address = |moment| {
            let node = self.artifacts.node(self.timeline.state(moment), node);
            node.map_or(0, |node| Arc::as_ptr(node) as usize)
        };
        // Several inputs of a node ask for its kubelet's.
        let key = (address(read), address(now));
        if let Some(known) = self.kubelet_kubeconfigs.get(&key) {
            return Ok(known.clone());
        }
        let found = self.read_kubeconfig(node, of, read, now)?;
        self.kubelet_kubeconfigs.insert(key, found.clone());
        Ok(found)
    }

    fn read_kubeconfig(
        &mut self,
        node: &NodeName,
        of: &KubeconfigOf,
        read: usize,
        now: usize,
    ) -> Result<Option<Kubeconfig>> {
        let before = self.timeline.state(read);
        let path = match of {
            KubeconfigOf::Flag(program, manifest, flag) => self
                .artifacts
                .program(before, node, *program, manifest)?
                .and_then(|s| s.files.get(flag).cloned()),
            KubeconfigOf::Kubelet => self
                .artifacts
                .kubelet(before, node)?
                .and_then(|k| k.kubeconfig.clone()),
            KubeconfigOf::Bootstrap => self
                .artifacts
                .kubelet(before, node)?
                .and_then(|k| k.bootstrap_kubeconfig.clone()),
            KubeconfigOf::File(path) => Some(path.clone()),
        };
        let Some(path) = path else { return Ok(None) };
        let state = self.timeline.state(now);
        let Some(file) = self.artifacts.file(state, node, &path) else {
            return Ok(None);
        };
        let view = self
            .artifacts
            .view(&file.text, || snapshot_file(node, &path))?;
        Ok(view.map(|view| (path, view)))
    }

    pub(super) fn kubeconfig_trust(
        &mut self,
        node: &NodeName,
        path: &NodePath,
        view: &View,
        cluster: usize,
        now: usize,
    ) -> Result<usize> {
        match view.clusters.get(cluster).map(|c| &c.trust) {
            Some(Held::Here(id)) => Ok(*id),
            Some(Held::In(name)) => match path.named(name) {
                Some(file) => self
                    .artifacts
                    .trust_file(self.timeline.state(now), node, &file),
                None => Ok(self
                    .artifacts
                    .judge
                    .trust(Trust::Absent(format!("{name} is no path")))),
            },
            None => Ok(self
                .artifacts
                .judge
                .trust(Trust::Absent(format!("{path} has no such cluster")))),
        }
    }

    /// A certificate named by a kubeconfig lies under the name that was read at the start; one that
    /// stands in it is what it holds now.
    fn kubeconfig_certificate(
        &mut self,
        node: &NodeName,
        of: &KubeconfigOf,
        user: usize,
        read: usize,
        now: usize,
    ) -> Result<usize> {
        let Some((path, view)) = self.kubeconfig(node, of, read, read)? else {
            return Ok(self
                .artifacts
                .judge
                .credential(Credential::Absent("the kubeconfig is not there".into())));
        };
        if let Some(Held::In(name)) = view.users.get(user).map(|u| &u.certificate) {
            return match path.named(name) {
                Some(file) => self
                    .artifacts
                    .credential_file(self.timeline.state(now), node, &file),
                None => Ok(self
                    .artifacts
                    .judge
                    .credential(Credential::Absent(format!("{name} is no path")))),
            };
        }
        let Some((_, view)) = self.kubeconfig(node, of, read, now)? else {
            return Ok(self
                .artifacts
                .judge
                .credential(Credential::Absent(format!("{path} is not there"))));
        };
        Ok(match view.users.get(user).map(|u| &u.certificate) {
            Some(Held::Here(id)) => *id,
            _ => self.artifacts.judge.credential(Credential::Unknown),
        })
    }

    /// The file in which a certificate lies that a kubeconfig names, at the start.
    pub(super) fn certificate_file(
        &mut self,
        node: &NodeName,
        of: &KubeconfigOf,
        user: usize,
    ) -> Result<Option<NodePath>> {
        let named = self.kubeconfig_at_start(node, of)?;
        Ok(
            named.and_then(|(path, view)| match &view.users.get(user)?.certificate {
                Held::In(name) => path.named(name),
                Held::Here(_) => None,
            }),
        )
    }

    /// A kubelet that renews uses the file that its last renewal wrote.
    fn kubelet_client(
        &mut self,
        node: &NodeName,
        user: usize,
        read: usize,
        now: usize,
    ) -> Result<usize> {
        let kubelet = self.artifacts.kubelet(self.timeline.state(read), node)?;
        let current = match kubelet {
            Some(kubelet) if kubelet.rotates => {
                self.rotated_file(node, "kubelet-client-current.pem", user, read)?
            }
            _ => None,
        };
        match current {
            Some(path) => self
                .artifacts
                .credential_file(self.timeline.state(now), node, &path),
            None => self.kubeconfig_certificate(node, &KubeconfigOf::Kubelet, user, read, now),
        }
    }

    fn kubelet_serving(&mut self, node: &NodeName, read: usize, now: usize) -> Result<usize> {
        let Some(kubelet) = self.artifacts.kubelet(self.timeline.state(read), node)? else {
            return Ok(self.artifacts.judge.credential(Credential::Unknown));
        };
        let path = match &kubelet.serving {
            Some(path) => Some(path.clone()),
            None if kubelet.serving_is_signed => {
                self.rotated_file(node, "kubelet-server-current.pem", 0, read)?
            }
            // Signed by itself: nobody who verifies can trust it.
            None => self.rotated_file(node, "kubelet.crt", 0, read)?,
        };
        match path {
            Some(path) => self
                .artifacts
                .credential_file(self.timeline.state(now), node, &path),
            None => Ok(self.artifacts.judge.credential(Credential::Unknown)),
        }
    }

    /// A file in the kubelet's certificate directory: that of the certificate which its kubeconfig
    /// names, or the usual one.
    fn rotated_file(
        &mut self,
        node: &NodeName,
        name: &str,
        user: usize,
        at: usize,
    ) -> Result<Option<NodePath>> {
        let named = self
            .kubeconfig(node, &KubeconfigOf::Kubelet, at, at)?
            .and_then(
                |(path, view)| match view.users.get(user).map(|u| &u.certificate) {
                    Some(Held::In(file)) => path.named(file),
                    _ => None,
                },
            );
        let kubelet = self.artifacts.kubelet(self.timeline.state(at), node)?;
        let usual = kubelet
            .and_then(|kubelet| kubelet.certificates.clone())
            .map_or("/var/lib/kubelet/pki".to_owned(), |path| path.to_string());
        let folder = named.map_or(usual, |path| path.folder().to_owned());
        let Ok(path) = NodePath::new(&format!("{folder}/{name}")) else {
            return Ok(None);
        };
        let there = self.artifacts.file(self.timeline.state(at), node, &path);
        Ok(there.map(|_| path))
    }

    /// A kubeconfig at the start: its path and content.
    pub fn kubeconfig_at_start(
        &mut self,
        node: &NodeName,
        of: &KubeconfigOf,
    ) -> Result<Option<Kubeconfig>> {
        self.kubeconfig(node, of, 0, 0)
    }
}
