//! Servers that API objects and the API servers' kubeconfigs name: webhooks, aggregated API servers,
//! CRD conversion.
//!
//! Knows `caBundle`s, and which Secrets hold what is served. It must not know the handlers' code.

use serde_json::Value;

use super::super::artifacts::{Held, UserView, WEBHOOK_FLAGS, host_of};
use super::super::inputs::{InputId, KubeconfigOf, Signer, What};
use super::super::judge::{Credential, Trust};
use super::{Check, Edge, Host, Kind, Reader, certificate};
use crate::diagnostic::Result;
use crate::pki::Certificate;
use crate::state::{ObjectId, Process};

impl<'a> Reader<'_, 'a> {
    pub(super) fn extensions(&mut self) -> Result<()> {
        self.aggregated_by_anyone()?;
        for (id, object) in self.start.objects_of("apiservices") {
            let Some(service) = object.pointer("/spec/service") else {
                continue;
            };
            let insecure =
                object.pointer("/spec/insecureSkipTLSVerify") == Some(&Value::Bool(true));
            if insecure {
                self.weaknesses.insert(format!(
                    "API servers do not verify {id}: insecureSkipTLSVerify"
                ));
            } else {
                self.extension(
                    Kind::Aggregated,
                    id,
                    "/spec/caBundle".into(),
                    Some(service),
                    None,
                )?;
            }
        }
        for kind in [
            "mutatingwebhookconfigurations",
            "validatingwebhookconfigurations",
        ] {
            for (id, object) in self.start.objects_of(kind) {
                let count = object
                    .get("webhooks")
                    .and_then(Value::as_array)
                    .map_or(0, Vec::len);
                for at in 0..count {
                    let config = format!("/webhooks/{at}/clientConfig");
                    self.webhook(id, object, &config)?;
                }
            }
        }
        for (id, object) in self.start.objects_of("customresourcedefinitions") {
            self.webhook(id, object, "/spec/conversion/webhook/clientConfig")?;
        }
        Ok(())
    }

    fn webhook(&mut self, id: &ObjectId, object: &'a Value, config: &str) -> Result<()> {
        let Some(client) = object.pointer(config) else {
            return Ok(());
        };
        let url = client.get("url").and_then(Value::as_str);
        self.extension(
            Kind::Webhook,
            id,
            format!("{config}/caBundle"),
            client.get("service"),
            url,
        )
    }

    /// What any aggregated API server that asks the API servers whom to trust would see.
    fn aggregated_by_anyone(&mut self) -> Result<()> {
        let label = "ConfigMap kube-system/extension-apiserver-authentication".to_owned();
        let trust = self.input(What::PublishedFrontProxy, None, None, "object", label)?;
        for at in 0..self.api_servers.len() {
            let host = self.api_servers[at].at.clone();
            if !host.started.files.contains_key("proxy-client-cert-file") {
                continue;
            }
            let row = (
                "proxy-client-cert-file",
                "kube-apiserver proxy-client-cert-file",
            );
            let credential = self.flag(&host, row, certificate)?;
            self.client_edge(
                Kind::Aggregated,
                (format!("API server on {}", host.node), credential),
                ("aggregated API servers".into(), trust),
            );
        }
        Ok(())
    }

    /// An edge to a server that an object names: its CA bundle against the server's certificate, as
    /// far as a Secret of the snapshot holds it.
    fn extension(
        &mut self,
        kind: Kind,
        id: &ObjectId,
        pointer: String,
        service: Option<&Value>,
        url: Option<&str>,
    ) -> Result<()> {
        let text = |key: &str| service.and_then(|s| s.get(key)).and_then(Value::as_str);
        let (name, namespace) = match (text("name"), text("namespace"), url) {
            (Some(name), Some(namespace), _) => {
                (format!("{name}.{namespace}.svc"), Some(namespace))
            }
            (_, _, Some(url)) => (host_of(url).to_owned(), None),
            _ => return Ok(()),
        };
        let what = What::ObjectTrust {
            id: id.clone(),
            pointer,
        };
        let trust = self.input(what, None, None, "object", format!("caBundle of {id}"))?;
        self.serving(
            kind,
            ("API servers".to_owned(), trust),
            (&name, namespace, &id.to_string()),
        )
    }

    /// Edges to whatever is served under a name, as far as a Secret of the snapshot holds it.
    fn serving(
        &mut self,
        kind: Kind,
        (client, trust): (String, InputId),
        (name, namespace, by): (&str, Option<&str>, &str),
    ) -> Result<()> {
        let mut servers = self.serving_secrets(name, namespace)?;
        let signers = self.trusted_signers(trust)?;
        if servers.is_empty() && !signers.is_empty() {
            self.weaknesses.insert(format!(
                "the certificate that {name} serves for {by} is not in the snapshot: taken to be of the CA that \
                 API servers' are of, and replaced when theirs are"
            ));
            let while_used = self
                .api_servers
                .iter()
                .map(|server| server.serving)
                .collect();
            let label = format!("certificate of {name}, not in the snapshot");
            let what = What::Assumed {
                signers,
                while_used,
            };
            servers.push(self.input(what, None, None, "object", label)?);
        }
        let role = self.server_role(name);
        for credential in servers {
            self.push(Edge {
                kind,
                client: client.as_str().into(),
                server: format!("{name} for {by}").into(),
                dialled: Some(name.into()),
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

    /// Webhooks that kubeconfigs of the API servers name. What they are served with is looked for as
    /// for other webhooks; whom they trust is not in the snapshot.
    pub(super) fn configured_webhooks(&mut self) -> Result<()> {
        for at in 0..self.api_servers.len() {
            let Host { node, started } = self.api_servers[at].at.clone();
            for flag in WEBHOOK_FLAGS {
                let of = KubeconfigOf::Flag(started.program, started.manifest.clone(), flag);
                let Some((path, view)) = self.inputs.kubeconfig_at_start(&node, &of)? else {
                    continue;
                };
                let Some(&(cluster, user)) = view.pairs.first() else {
                    continue;
                };
                let process = Process::Program(node.clone(), started.manifest.clone());
                let label = format!("{path} on {node}");
                let what = What::KubeconfigTrust { of, cluster };
                let trust = self.input(what, Some(&node), Some(process), "kubeconfig ca", label)?;
                let name = view.clusters[cluster].name.clone();
                self.serving(
                    Kind::ConfiguredWebhook,
                    (format!("API server on {node}"), trust),
                    (&name, None, &format!("--{flag} on {node}")),
                )?;
                if view
                    .users
                    .get(user)
                    .is_some_and(|user| self.shows_certificate(user))
                {
                    self.weaknesses.insert(format!(
                        "{name}, the webhook of --{flag} on {node}, is shown a client certificate; whom it trusts is not \
                         in the snapshot"
                    ));
                }
            }
        }
        Ok(())
    }

    fn shows_certificate(&self, user: &UserView) -> bool {
        match user.certificate {
            Held::Here(id) => self
                .inputs
                .artifacts
                .judge
                .credential_of(id)
                .leaf()
                .is_some(),
            Held::In(_) => true,
        }
    }

    /// Whether a bundle holds what the cluster's signer signs with.
    fn trusted_signers(&mut self, trust: InputId) -> Result<Vec<Signer>> {
        let set = self.inputs.in_step(trust, 0)?;
        let mut out = Vec::new();
        for signer in Signer::ALL {
            let signed = self.inputs.signed_by(signer, 0)?;
            let judge = &self.inputs.artifacts.judge;
            let mut cas = signed
                .iter()
                .filter_map(|id| match judge.credential_of(*id) {
                    Credential::IssuedBy(ca) => Some(ca),
                    _ => None,
                });
            let trusts = |ca: &Certificate| {
                let mut trusts = judge.members(set).iter().map(|id| judge.trust_of(*id));
                trusts.any(|trust| matches!(trust, Trust::Anchors(anchors) if anchors.contains(ca)))
            };
            if cas.any(trusts) {
                out.push(signer);
            }
        }
        Ok(out)
    }

    /// The certificates in Secrets that are served under a name, in the memory of each workload that
    /// gets them.
    fn serving_secrets(&mut self, name: &str, namespace: Option<&str>) -> Result<Vec<InputId>> {
        let mut out = Vec::new();
        for (id, secret) in self.start.objects_of("secrets") {
            if namespace.is_some_and(|n| n != &*id.namespace) {
                continue;
            }
            let Some(data) = secret.get("data").and_then(Value::as_object) else {
                continue;
            };
            for (key, value) in data {
                let label = format!("snapshot/cluster/secrets.yaml ({id})");
                let Some(credential) = self.inputs.artifacts.credential_field(value, &label)?
                else {
                    continue;
                };
                let judge = &self.inputs.artifacts.judge;
                let serves = judge.credential_of(credential).leaf().is_some_and(|leaf| {
                    !leaf.is_ca()
                        && (leaf.dns_names().iter().any(|dns| dns == name)
                            || leaf.ip_addresses().iter().any(|ip| ip.to_string() == name))
                });
                if !serves {
                    continue;
                }
                let pointer = format!("/data/{}", key.replace('~', "~0").replace('/', "~1"));
                let getting: Vec<_> = self
                    .workloads
                    .iter()
                    .filter(|w| w.pod().gets(id))
                    .map(|w| Some(Process::Workload(w.id.clone())))
                    .collect();
                let readers = if getting.is_empty() {
                    vec![None]
                } else {
                    getting
                };
                for process in readers {
                    let what = What::ObjectCertificate {
                        id: id.clone(),
                        pointer: pointer.clone(),
                    };
                    // No row: a handler may watch its mounted certificate, or not.
                    out.push(self.input(
                        what,
                        None,
                        process,
                        "handler's certificate",
                        id.to_string(),
                    )?);
                }
            }
        }
        Ok(out)
    }
}
