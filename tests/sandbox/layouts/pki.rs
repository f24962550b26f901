//! Keys and certificates of a made cluster, by OpenSSL: carota's own issuing is what is tested.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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
    cas: BTreeMap<String, Pair>,
    count: usize,
}

const CA: &str = "basicConstraints = critical, CA:TRUE\nsubjectKeyIdentifier = hash\n\
    keyUsage = critical, digitalSignature, keyEncipherment, keyCertSign\n";

impl Pki {
    pub fn new(folder: &Path) -> Pki {
        fs::create_dir_all(folder).unwrap();
        Pki {
            folder: folder.to_owned(),
            cas: BTreeMap::new(),
            count: 0,
        }
    }

    /// A CA of this name, made when it is asked for the first time. kubeadm's CAs hold their own name as
    /// a DNS name.
    pub fn ca(&mut self, name: &str, subject: &str) -> Pair {
        if !self.cas.contains_key(name) {
            let common = subject.rsplit('=').next().unwrap_or_default();
            let extensions = format!("{CA}subjectAltName = DNS:{common}\n");
            let made = self.issue(subject, &extensions, 3650, None, None);
            self.cas.insert(name.to_owned(), made);
        }
        self.cas[name].clone()
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
        self.issue(leaf.subject, &extensions, 365, Some(&ca), key)
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
