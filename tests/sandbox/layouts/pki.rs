//! Keys and certificates of a made cluster, by OpenSSL: carota's own issuing is what is tested.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Cas;
use crate::common::judge;

/// A certificate and its private key.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// What a leaf says.
pub struct Leaf<'a> {
    /// The CA's name here.
    pub ca: &'a str,
    /// `/O=…/CN=…`.
    pub subject: &'a str,
    /// `DNS:…,IP:…`, or nothing.
    pub names: &'a str,
    /// `serverAuth`, `clientAuth` or both.
    pub usages: &'a str,
}

pub struct Pki {
    folder: PathBuf,
    shape: Cas,
    cas: BTreeMap<String, Pair>,
    count: usize,
}

const CA: &str = "basicConstraints = critical, CA:TRUE\nsubjectKeyIdentifier = hash\n\
    keyUsage = critical, digitalSignature, keyEncipherment, keyCertSign\n";

impl Pki {
    pub fn new(folder: &Path, shape: Cas) -> Pki {
        fs::create_dir_all(folder).unwrap();
        Pki {
            folder: folder.to_owned(),
            shape,
            cas: BTreeMap::new(),
            count: 0,
        }
    }

    /// What trusts a CA: its certificate, and that of the root above it.
    pub fn trust(&mut self, name: &str) -> String {
        let ca = self.ca(name, "").certificate;
        match self.cas.get("root").filter(|_| name == "cluster") {
            Some(root) => ca + &root.certificate,
            None => ca,
        }
    }

    /// A CA of this name, made when it is asked for the first time. kubeadm's CAs hold their own name as
    /// a DNS name.
    pub fn ca(&mut self, name: &str, subject: &str) -> Pair {
        if !self.cas.contains_key(name) {
            let common = subject.rsplit('=').next().unwrap_or_default();
            let extensions = format!("{CA}subjectAltName = DNS:{common}\n");
            let above = self.cas.get("root").cloned();
            let root = above.filter(|_| name == "cluster");
            let made = self.issue(subject, &extensions, 3650, root.as_ref(), None);
            self.cas.insert(name.to_owned(), made);
        }
        self.cas[name].clone()
    }

    /// Lets a CA be another one's certificate too, where CAs are shared.
    pub fn share(&mut self, name: &str, with: &str) {
        if self.shape == Cas::Shared {
            self.cas.insert(name.to_owned(), self.cas[with].clone());
        }
    }

    pub fn leaf(&mut self, leaf: &Leaf<'_>) -> Pair {
        self.leaf_of(leaf, None)
    }

    /// A leaf, where there is a key for that.
    pub fn leaf_of(&mut self, leaf: &Leaf<'_>, key: Option<&str>) -> Pair {
        let mut extensions = format!(
            "basicConstraints = critical, CA:FALSE\nauthorityKeyIdentifier = keyid\nsubjectKeyIdentifier = none\n\
             keyUsage = critical, digitalSignature, keyEncipherment\nextendedKeyUsage = {}\n",
            leaf.usages
        );
        if !leaf.names.is_empty() {
            extensions += &format!("subjectAltName = {}\n", leaf.names);
        }
        let ca = self.cas[leaf.ca].clone();
        let mut made = self.issue(leaf.subject, &extensions, 365, Some(&ca), key);
        if leaf.ca == "cluster" && self.cas.contains_key("root") {
            made.certificate += &ca.certificate;
        }
        made
    }

    /// A private key.
    pub fn key() -> String {
        done(&["genrsa", "-traditional", "2048"], "")
    }

    /// The ServiceAccounts' key, private and public.
    pub fn service_account() -> (String, String) {
        let key = Pki::key();
        let public = done(&["pkey", "-pubout"], &key);
        (key, public)
    }

    fn issue(
        &mut self,
        subject: &str,
        extensions: &str,
        days: u32,
        ca: Option<&Pair>,
        own: Option<&str>,
    ) -> Pair {
        self.count += 1;
        let mut extensions = extensions.to_owned();
        if self.shape == Cas::WithoutKeyIds {
            for identifier in ["subjectKeyIdentifier", "authorityKeyIdentifier"] {
                extensions = extensions
                    .lines()
                    .filter(|l| !l.starts_with(identifier))
                    .fold(format!("{identifier} = none\n"), |all, line| {
                        format!("{all}{line}\n")
                    });
            }
        }
        let at = |name: &str| {
            let file = self.folder.join(format!("{}.{name}", self.count));
            file.to_str().unwrap().to_owned()
        };
        let (config, key) = (at("cnf"), at("key"));
        let text = format!(
            "[req]\ndistinguished_name = dn\nx509_extensions = all\nprompt = no\n[dn]\n[all]\n{extensions}"
        );
        fs::write(&config, text).unwrap();
        let made = ["ecparam", "-name", "prime256v1", "-genkey", "-noout"];
        let pem = own.map_or_else(|| done(&made, ""), str::to_owned);
        fs::write(&key, pem).unwrap();
        let days = days.to_string();
        let mut arguments: Vec<&str> = vec![
            "req", "-x509", "-new", "-config", &config, "-subj", subject, "-days", &days, "-key",
            &key,
        ];
        let (ca_certificate, ca_key) = (at("ca.crt"), at("ca.key"));
        if let Some(ca) = ca {
            fs::write(&ca_certificate, &ca.certificate).unwrap();
            fs::write(&ca_key, &ca.key).unwrap();
            arguments.extend(["-CA", &ca_certificate, "-CAkey", &ca_key]);
        }
        Pair {
            certificate: done(&arguments, ""),
            key: fs::read_to_string(key).unwrap(),
        }
    }
}

fn done(arguments: &[&str], input: &str) -> String {
    let output = judge("openssl", arguments, input.as_bytes());
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
