//! What controllers make of their files: certificates that they sign, `ca.crt` that they publish,
//! and what API servers publish of their own trust.
//!
//! Knows what such a controller reads, and when. It must not know who uses what it makes.

use std::rc::Rc;

use super::super::judge::{Credential, Trust};
use super::{InputId, Inputs, KubeconfigOf, object_label};
use crate::diagnostic::Result;
use crate::layout::Program;
use crate::names::{NodeName, NodePath};
use crate::pki::Certificate;
use crate::state::{ObjectId, State};

/// One of the signers of a controller manager: each may have a CA of its own
/// (cmd/kube-controller-manager/app/certificates.go).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signer {
    /// `kubernetes.io/kube-apiserver-client`.
    Client,
    /// `kubernetes.io/kube-apiserver-client-kubelet`.
    KubeletClient,
    /// `kubernetes.io/kubelet-serving`.
    KubeletServing,
    /// `kubernetes.io/legacy-unknown`: nobody is held to trust it.
    LegacyUnknown,
}

impl Signer {
    /// All of them.
    pub const ALL: [Signer; 4] = [
        Signer::Client,
        Signer::KubeletClient,
        Signer::KubeletServing,
        Signer::LegacyUnknown,
    ];
    /// Those that sign for whoever comes to API servers with a certificate of the cluster.
    pub const OF_CLIENTS: [Signer; 2] = [Signer::Client, Signer::KubeletClient];

    fn flag(self) -> &'static str {
        match self {
            Signer::Client => "cluster-signing-kube-apiserver-client-cert-file",
            Signer::KubeletClient => "cluster-signing-kubelet-client-cert-file",
            Signer::KubeletServing => "cluster-signing-kubelet-serving-cert-file",
            Signer::LegacyUnknown => "cluster-signing-legacy-unknown-cert-file",
        }
    }
}

/// Names the CA of the signers that have none of their own.
const FOR_ALL: &str = "cluster-signing-cert-file";

impl<'a> Inputs<'a> {
    /// What these signers of any controller manager may sign with while a step is carried out.
    pub fn signed(&mut self, by: &[Signer], step: usize) -> Result<Vec<usize>> {
        let mut out = Vec::new();
        for signer in by {
            out.extend_from_slice(&self.signed_by(*signer, step)?);
        }
        out.sort_unstable();
        out.dedup();
        Ok(out)
    }

    /// The same for one signer: its file as of any election since a controller manager started, or as it is now.
    pub fn signed_by(&mut self, by: Signer, step: usize) -> Result<Rc<Vec<usize>>> {
        if let Some(known) = self.signers.get(&(by, step)) {
            return Ok(known.clone());
        }
        let mut out = Vec::new();
        for manager in 0..self.managers.len() {
            let (node, manifest) = (
                self.managers[manager].node.clone(),
                self.managers[manager].manifest.clone(),
            );
            let since = self.managers[manager].starts[step.saturating_sub(1)];
            for read in since..=step {
                let before = self.timeline.state(read);
                let program = Program::ControllerManager;
                let Some(started) = self.artifacts.program(before, &node, program, &manifest)?
                else {
                    continue;
                };
                let files = &started.files;
                let Some(path) = files.get(by.flag()).or_else(|| files.get(FOR_ALL)) else {
                    continue;
                };
                for now in read..=step {
                    out.push(self.signer(&node, path, now)?);
                }
            }
        }
        out.sort_unstable();
        out.dedup();
        let out = Rc::new(out);
        self.signers.insert((by, step), out.clone());
        Ok(out)
    }

    /// What a controller manager signs with when it reads this file.
    fn signer(&mut self, node: &NodeName, path: &NodePath, now: usize) -> Result<usize> {
        let trust = self
            .artifacts
            .trust_file(self.timeline.state(now), node, path)?;
        let signer = match self.artifacts.judge.trust_of(trust) {
            Trust::Anchors(one) if one.len() == 1 => Credential::IssuedBy(one[0].clone()),
            Trust::Anchors(several) => Credential::Absent(format!(
                "the signer's file {path} holds {} certificates: kube-controller-manager exits when \
                 it is elected, or signs no more",
                several.len()
            )),
            Trust::Absent(why) => Credential::Absent(format!("the signer cannot start: {why}")),
            Trust::Lacking(why) => {
                Credential::Absent(format!("the signer cannot start: {path} on {node} {why}"))
            }
            Trust::Unverified => Credential::Unknown,
        };
        Ok(self.artifacts.judge.credential(signer))
    }

    /// A certificate that nobody has seen: whoever keeps it lets it be signed by the cluster, and
    /// replaces it no later than the certificates of the inputs are.
    pub(super) fn assumed(
        &mut self,
        signers: &[Signer],
        while_used: &[InputId],
        now: usize,
    ) -> Result<Vec<usize>> {
        let mut out = self.signed(signers, now)?;
        let at_first = self.signed(signers, 0)?;
        for input in while_used {
            let set = self.in_step(*input, now)?;
            let judge = &self.artifacts.judge;
            for signer in &at_first {
                let Credential::IssuedBy(ca) = judge.credential_of(*signer) else {
                    continue;
                };
                let used = judge
                    .members(set)
                    .iter()
                    .filter_map(|id| judge.credential_of(*id).leaf());
                if used
                    .into_iter()
                    .any(|leaf| leaf.issuer_der() == ca.subject_der() && leaf.signed_by(ca))
                {
                    out.push(*signer);
                }
            }
        }
        let judge = &self.artifacts.judge;
        out.retain(|id| matches!(judge.credential_of(*id), Credential::IssuedBy(_)));
        out.sort_unstable();
        out.dedup();
        Ok(out)
    }

    /// What the controller managers may publish at a moment: the file of `--root-ca-file`, or the CA
    /// of their kubeconfig where that is not set, as of any election since they started.
    fn roots(&mut self, now: usize) -> Result<Vec<usize>> {
        if let Some(known) = &self.roots[now] {
            return Ok(known.clone());
        }
        let mut out = Vec::new();
        for manager in 0..self.managers.len() {
            let (node, manifest) = (
                self.managers[manager].node.clone(),
                self.managers[manager].manifest.clone(),
            );
            for at in self.managers[manager].starts[now]..=now {
                let state = self.timeline.state(at);
                let started =
                    self.artifacts
                        .program(state, &node, Program::ControllerManager, &manifest)?;
                if let Some(path) = started.and_then(|s| s.files.get("root-ca-file").cloned()) {
                    out.push(self.artifacts.trust_file(state, &node, &path)?);
                    continue;
                }
                let program = Program::ControllerManager;
                let of = KubeconfigOf::Flag(program, manifest.clone(), "kubeconfig");
                if let Some((path, view)) = self.kubeconfig(&node, &of, at, at)? {
                    let cluster = view.pairs.first().map_or(0, |pair| pair.0);
                    out.push(self.kubeconfig_trust(&node, &path, &view, cluster, at)?);
                }
            }
        }
        out.sort_unstable();
        out.dedup();
        self.roots[now] = Some(out.clone());
        Ok(out)
    }

    pub(super) fn published(
        &mut self,
        objects: &[(ObjectId, &'static str)],
        now: usize,
    ) -> Result<Vec<usize>> {
        let mut out = self.roots(now)?;
        let state = self.timeline.state(now);
        for (id, pointer) in objects {
            if let Some(value) = state.object(id).and_then(|o| o.pointer(pointer)) {
                out.extend(self.artifacts.trust_field(value, &object_label(id))?);
            }
        }
        Ok(out)
    }

    /// API servers add what they trust to ConfigMap `extension-apiserver-authentication` and take
    /// nothing away; only a step in the cluster can prune it, and they add theirs again.
    pub(super) fn published_front_proxy(&mut self, now: usize) -> Result<usize> {
        let id = ObjectId::new(
            "configmaps",
            "kube-system",
            "extension-apiserver-authentication",
        );
        let pointer = "/data/requestheader-client-ca-file";
        for at in self.front_proxy.len()..=now {
            let state = self.timeline.state(at);
            let field = |state: &'a State| state.object(&id).and_then(|o| o.pointer(pointer));
            let pruned = at == 0
                || (self.timeline.moment(at).nodes_serial.is_none()
                    && field(state) != field(self.timeline.state(at - 1)));
            let base = match (pruned, field(state)) {
                (true, Some(value)) => self.artifacts.trust_field(value, &object_label(&id))?,
                (true, None) => None,
                (false, _) => Some(self.front_proxy[at - 1]),
            };
            let mut anchors = base.map(|b| self.anchors(b)).unwrap_or_default();
            for (node, manifest) in self.api_servers.clone() {
                let started =
                    self.artifacts
                        .program(state, &node, Program::Apiserver, &manifest)?;
                let Some(path) =
                    started.and_then(|s| s.files.get("requestheader-client-ca-file").cloned())
                else {
                    continue;
                };
                let own = self.artifacts.trust_file(state, &node, &path)?;
                for anchor in self.anchors(own) {
                    if !anchors.contains(&anchor) {
                        anchors.push(anchor);
                    }
                }
            }
            let trust = if anchors.is_empty() {
                Trust::Absent("no API server has --requestheader-client-ca-file".into())
            } else {
                Trust::Anchors(anchors)
            };
            let trust = self.artifacts.judge.trust(trust);
            self.front_proxy.push(trust);
        }
        Ok(self.front_proxy[now])
    }

    fn anchors(&self, trust: usize) -> Vec<Certificate> {
        match self.artifacts.judge.trust_of(trust) {
            Trust::Anchors(anchors) => anchors.clone(),
            _ => Vec::new(),
        }
    }
}
