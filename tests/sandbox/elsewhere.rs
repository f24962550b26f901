//! Somebody who signs with a CA's key elsewhere: `openssl ca`, as it comes. It judges what `carota request` writes, and
//! `carota import` must take what it makes of that. Knows those commands; nothing of plans.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tempfile::TempDir;

use crate::common::{carota, edit, tree};
use crate::made::temporary;
use crate::world::text;

/// Has everything that a described cluster's new cluster CA shall sign signed elsewhere.
pub fn signed(folder: &Path) {
    let toml = folder.join("cluster.toml");
    let described = fs::read_to_string(&toml).unwrap();
    let since = described
        .lines()
        .find_map(|l| l.strip_prefix("not_before = "))
        .unwrap();
    let since: String = since[2..].chars().filter(|c| !"-:T".contains(*c)).collect();
    let ours = described.split("[rotation.ca.cluster]\n").nth(1).unwrap();
    let ours = ours.split("\n\n").next().unwrap();
    assert!(ours.contains("\nexternal = true\n"), "{ours}");
    edit(&toml, ours, "external = true\ncertificate = \"office.pem\"");
    let office = Elsewhere::new(
        "/O=Office/CN=office issuing CA",
        &since,
        &folder.join("office.pem"),
    );
    let run = |arguments: &[&str], code: i32| {
        let output = carota(arguments, folder);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        said
    };
    let refused = run(&["compile", "cluster.toml"], 2);
    assert!(refused.contains("error[C038]"), "{refused}");
    assert!(!folder.join("plan").exists() && !folder.join("secrets").exists());
    let listed = run(&["request", "cluster.toml"], 0);
    assert!(
        listed.contains(".csr  CN=kube-apiserver of the cluster CA\n"),
        "{listed}"
    );
    let requests = folder.join("secrets/requests");
    let before = tree(&requests);
    assert_eq!(before.len(), 2 * listed.lines().count());
    assert_eq!(run(&["request", "cluster.toml"], 0), listed);
    assert!(tree(&requests) == before, "the same keys and requests");
    let signed = folder.join("signed");
    // What is not as it was asked for is refused, and nothing is taken of it.
    let stranger = Elsewhere::new("/CN=another CA", &since, &folder.join("stranger.pem"));
    let server = requests.join(listed_as(&listed, "CN=kube-apiserver"));
    for (by, how, days, why) in [
        (&stranger, SIGN, "400", "it is not signed by "),
        (&office, SIGN, "2", ", and the window ends later"),
        (&office, SIGN_ALONE, "400", "it lacks the name "),
    ] {
        by.sign_one(&server, how, &since, days, &folder.join("wrong.pem"));
        let said = run(&["import", "cluster.toml", "wrong.pem"], 2);
        assert!(
            said.starts_with("error[C029]") && said.contains(why),
            "{said}"
        );
        assert!(tree(&requests) == before && !folder.join("carota.lock").exists());
    }
    for file in ["stranger.pem", "wrong.pem"] {
        fs::remove_file(folder.join(file)).unwrap();
    }
    office.sign(&requests, &since, &signed);
    // One comes first, the others later, with the CA that signed them beside.
    let mut all: Vec<PathBuf> = tree(&signed)
        .into_keys()
        .map(|name| signed.join(name))
        .collect();
    let first = all.remove(0);
    let said = run(&["import", "cluster.toml", first.to_str().unwrap()], 0);
    assert_eq!(
        said,
        format!("1 certificates taken, {} still to come\n", all.len())
    );
    run(&["compile", "cluster.toml"], 2);
    fs::copy(folder.join("office.pem"), signed.join("ca.pem")).unwrap();
    let said = run(&["import", "cluster.toml", "signed"], 0);
    assert_eq!(
        said,
        format!("{} certificates taken, 0 still to come\n", all.len())
    );
    assert!(tree(&requests).is_empty());
    assert_eq!(
        run(&["request", "cluster.toml"], 0),
        "nothing waits for somebody else's signature\n"
    );
    fs::remove_dir_all(signed).unwrap();
}

/// Somebody with a CA.
pub struct Elsewhere {
    dir: TempDir,
}

impl Elsewhere {
    /// With a new CA of this subject, valid from this moment on (`YYMMDDHHMMSSZ`), whose certificate it writes to `to`.
    fn new(subject: &str, since: &str, to: &Path) -> Elsewhere {
        let elsewhere = Elsewhere { dir: temporary() };
        fs::write(elsewhere.dir.path().join("ca.cnf"), OFFICE).unwrap();
        for empty in ["index.txt", "index.txt.attr"] {
            fs::write(elsewhere.dir.path().join(empty), "").unwrap();
        }
        let to = to.to_str().unwrap();
        for arguments in [
            "ecparam -name prime256v1 -genkey -noout -out ca.key",
            "req -new -config ca.cnf -key ca.key -out ca.csr -subj SUBJECT",
            "ca -selfsign -extensions authority -config ca.cnf -batch -notext -startdate SINCE -days 3650 -in ca.csr -out ca.crt",
            "x509 -in ca.crt -out TO",
        ] {
            let word = |word| match word {
                "SUBJECT" => subject,
                "SINCE" => since,
                "TO" => to,
                other => other,
            };
            let words: Vec<&str> = arguments.split(' ').map(word).collect();
            elsewhere.openssl(&words);
        }
        elsewhere
    }

    /// Signs every request of a folder, valid from this moment on (`YYMMDDHHMMSSZ`), into files of another folder.
    fn sign(&self, requests: &Path, since: &str, to: &Path) {
        fs::create_dir_all(to).unwrap();
        let mut all: Vec<PathBuf> = fs::read_dir(requests)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        all.retain(|path| path.extension().is_some_and(|e| e == "csr"));
        all.sort();
        for request in all {
            self.openssl(&["req", "-in", request.to_str().unwrap(), "-verify", "-noout"]);
            let out = to.join(request.file_stem().unwrap()).with_extension("pem");
            self.sign_one(&request, SIGN, since, "400", &out);
        }
    }

    /// Signs a request by a command.
    fn sign_one(&self, request: &Path, how: &str, since: &str, days: &str, out: &Path) {
        let word = |word| match word {
            "SINCE" => since,
            "DAYS" => days,
            "REQUEST" => request.to_str().unwrap(),
            "OUT" => out.to_str().unwrap(),
            other => other,
        };
        let words: Vec<&str> = how.split(' ').map(word).collect();
        self.openssl(&words);
    }

    /// The CA's private key.
    pub fn key(&self) -> PathBuf {
        self.dir.path().join("ca.key")
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    }
}

/// Begins a rotation of the cluster CA by hand, in a made cluster, and leaves it: API server and kubelets trust a new CA
/// beside the old one, and the administrator has a certificate of it. Gives who has the new CA.
pub fn begun(nodes: &Path) -> Elsewhere {
    let date = ["-u", "-d", "+2 seconds", "+%y%m%d%H%M%SZ"];
    let since = Command::new("date").args(date).output().unwrap().stdout;
    let since = String::from_utf8(since).unwrap();
    let since = since.trim();
    let scratch = temporary();
    let at = |name: &str| scratch.path().join(name);
    let new = at("new.crt");
    let elsewhere = Elsewhere::new("/CN=kubernetes again", since, &new);
    for node in ["cp-1", "worker-1"] {
        let in_pki = |name: &str| nodes.join(node).join("etc/kubernetes/pki").join(name);
        let both =
            fs::read_to_string(in_pki("ca.crt")).unwrap() + &fs::read_to_string(&new).unwrap();
        fs::write(in_pki("trusted.crt"), both).unwrap();
        if node == "worker-1" {
            // Nothing names it any more.
            fs::remove_file(in_pki("ca.crt")).unwrap();
        }
        let kubelet = nodes.join(node).join("var/lib/kubelet/config.yaml");
        edit(&kubelet, "pki/ca.crt", "pki/trusted.crt");
    }
    let kubernetes = nodes.join("cp-1/etc/kubernetes");
    let manifest = kubernetes.join("manifests/kube-apiserver.yaml");
    edit(
        &manifest,
        "--client-ca-file=/etc/kubernetes/pki/ca.crt",
        "--client-ca-file=/etc/kubernetes/pki/trusted.crt",
    );
    let admin = kubernetes.join("admin.conf");
    let text = fs::read_to_string(&admin).unwrap();
    let value = |key: &str| {
        text.lines()
            .find_map(|l| l.trim().strip_prefix(key))
            .unwrap()
    };
    fs::write(
        at("key"),
        BASE64.decode(value("client-key-data: ")).unwrap(),
    )
    .unwrap();
    let (key, request) = (at("key"), at("csr"));
    elsewhere.openssl(&[
        "req",
        "-new",
        "-config",
        "ca.cnf",
        "-key",
        key.to_str().unwrap(),
        "-subj",
        "/O=kubeadm:cluster-admins/CN=kubernetes-admin",
        "-addext",
        "extendedKeyUsage=clientAuth",
        "-out",
        request.to_str().unwrap(),
    ]);
    elsewhere.sign_one(&request, SIGN, since, "400", &at("signed"));
    let signed = BASE64.encode(fs::read(at("signed")).unwrap());
    edit(&admin, value("client-certificate-data: "), &signed);
    elsewhere
}

/// The file name in the list of requests for a subject.
fn listed_as<'l>(listed: &'l str, subject: &str) -> &'l str {
    let of = format!("  {subject} of the cluster CA");
    let line = listed.lines().find_map(|line| line.strip_suffix(&*of));
    line.unwrap().rsplit('/').next().unwrap()
}

const SIGN: &str =
    "ca -config ca.cnf -batch -notext -startdate SINCE -days DAYS -in REQUEST -out OUT";
/// Without what the request asks for but its subject and key.
const SIGN_ALONE: &str =
    "x509 -req -in REQUEST -CA ca.crt -CAkey ca.key -set_serial 7 -days DAYS -out OUT";

/// What the person at the CA has set up: whatever a request asks for is copied, and identifiers of keys are added.
const OFFICE: &str = "\
[req]
distinguished_name = dn
x509_extensions = authority
prompt = no
[dn]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[ca]
default_ca = office
[office]
database = index.txt
new_certs_dir = .
certificate = ca.crt
private_key = ca.key
rand_serial = yes
default_md = sha256
policy = anything
copy_extensions = copyall
x509_extensions = leaf
unique_subject = no
[anything]
commonName = supplied
organizationName = optional
[leaf]
authorityKeyIdentifier = keyid
subjectKeyIdentifier = hash
";
