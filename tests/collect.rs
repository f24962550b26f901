//! The collector's promises: no private byte reaches a snapshot, the public form can be undone byte for
//! byte, and every shell and awk gives the same bytes.
//!
//! Keys are made at run time. No assertion prints a private value, or a text that may hold one.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

// ---- Running the collector.

fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// A shell and an awk to run a script with.
#[derive(Clone)]
struct Tools {
    name: String,
    shell: Vec<String>,
    /// A directory in front of PATH.
    bin: PathBuf,
}

impl Tools {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.shell[0]);
        command.args(&self.shell[1..]);
        let old = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{old}", self.bin.display()));
        command
    }
}

/// Each installed shell with an awk, and each installed awk with a shell.
fn all_tools(dir: &Path) -> Vec<Tools> {
    let shells: Vec<Vec<String>> = [
        vec!["dash"],
        vec!["busybox", "ash"],
        vec!["bash", "--posix"],
        vec!["sh"],
    ]
    .into_iter()
    .filter(|s| installed(s[0]).is_some())
    .map(|s| s.into_iter().map(str::to_owned).collect())
    .collect();
    let awks: Vec<PathBuf> = ["mawk", "gawk", "busybox", "original-awk", "awk"]
        .into_iter()
        .filter_map(installed)
        .collect();
    (0..shells.len().max(awks.len()))
        .map(|i| {
            let shell = shells[i % shells.len()].clone();
            let awk = &awks[i % awks.len()];
            let bin = dir.join(format!("bin{i}"));
            fs::create_dir(&bin).unwrap();
            symlink(awk, bin.join("awk")).unwrap();
            let name = format!("{} with {}", shell.join(" "), awk.display());
            Tools { name, shell, bin }
        })
        .collect()
}

fn default_tools(dir: &Path) -> Tools {
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).unwrap();
    Tools {
        name: "sh".to_owned(),
        shell: vec!["sh".to_owned()],
        bin,
    }
}

fn write_script(dir: &Path) -> PathBuf {
    let path = dir.join("collect.sh");
    fs::write(&path, carota::collect::script()).unwrap();
    path
}

fn collect(tools: &Tools, script: &Path, args: &[&str]) -> Output {
    tools
        .command()
        .arg(script)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn succeed(output: &Output) {
    assert!(
        output.status.success(),
        "status {:?}: {}",
        output.status.code(),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Every regular file below a directory, with its content, by relative path.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(dir: &Path, root: &Path, out: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                walk(&entry.path(), root, out);
            } else if kind.is_file() {
                let relative = entry.path().strip_prefix(root).unwrap().to_owned();
                out.insert(relative, fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(root, root, &mut out);
    out
}

// ---- Private values in every encoding.

fn openssl(args: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(args)
        .stderr(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        write!(out, "{b:02x}").unwrap();
        out
    })
}

fn body_of(pem: &str) -> String {
    pem.lines()
        .filter(|l| !l.starts_with('-') && !l.contains(':'))
        .collect()
}

/// What must not be found, and what it is (for messages).
#[derive(Default)]
struct Private(HashMap<Vec<u8>, String>);

impl Private {
    fn add(&mut self, what: &str, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        // Shorter ones would be found by chance.
        if bytes.len() >= 8 {
            self.0
                .entry(bytes.to_owned())
                .or_insert_with(|| what.to_owned());
        }
    }

    /// A value as it is, in base64, in base64 of base64, in hex, and with its line breaks escaped.
    fn add_encoded(&mut self, what: &str, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.add(what, bytes);
        self.add(what, b64(bytes));
        self.add(what, b64(b64(bytes)));
        self.add(what, hex(bytes));
        if let Ok(text) = std::str::from_utf8(bytes) {
            self.add(what, text.replace('\n', "\\n"));
            self.add(what, text.replace('\n', "\\\\n"));
        }
    }

    fn add_key(&mut self, what: &str, pem: &str) {
        self.add_encoded(what, pem);
        self.add_encoded(what, pem.trim_end());
        let der = STANDARD.decode(body_of(pem)).unwrap();
        self.add_encoded(what, &der);
        for scalar in private_scalars(&der) {
            self.add(what, &scalar);
            self.add(what, hex(&scalar));
            // Wherever it lies in a longer text that is base64, save for the digits it shares.
            for shift in 0..3 {
                let mut shifted = vec![0; shift];
                shifted.extend_from_slice(&scalar);
                let encoded = b64(&shifted);
                self.add(what, &encoded[4..encoded.len() - 4]);
                self.add(
                    what,
                    b64(&encoded[4..encoded.len() - 4])[4..].trim_end_matches('='),
                );
            }
        }
    }

    fn add_token(&mut self, what: &str, token: &str) {
        self.add_encoded(what, token);
        for part in token.split('.').skip(1) {
            self.add(what, part);
        }
    }

    /// The names of what was found in a text, with or without its white space.
    fn found_in(&self, text: &[u8]) -> Vec<&str> {
        let mut by_start: HashMap<&[u8], Vec<(&[u8], &str)>> = HashMap::new();
        for (value, what) in &self.0 {
            by_start.entry(&value[..8]).or_default().push((value, what));
        }
        let dense: Vec<u8> = text
            .iter()
            .copied()
            .filter(|b| !b.is_ascii_whitespace())
            .collect();
        let mut found = Vec::new();
        for haystack in [text, &dense] {
            for at in 0..haystack.len().saturating_sub(7) {
                if let Some(candidates) = by_start.get(&haystack[at..at + 8]) {
                    found.extend(
                        candidates
                            .iter()
                            .filter(|(v, _)| haystack[at..].starts_with(v))
                            .map(|(_, w)| *w),
                    );
                }
            }
        }
        found
    }

    #[track_caller]
    fn assert_absent(&self, root: &Path) {
        assert!(self.0.len() > 20, "nothing to search for");
        for (path, content) in files(root) {
            let found = self.found_in(&content);
            assert!(found.is_empty(), "{} holds {found:?}", path.display());
        }
    }
}

/// Primitive DER values of a private key that are not public: of an RSA key all but the modulus, of an
/// elliptic curve key the scalar.
fn private_scalars(der: &[u8]) -> Vec<Vec<u8>> {
    fn walk(der: &[u8], out: &mut Vec<Vec<u8>>) {
        let mut rest = der;
        let mut integers = 0;
        while rest.len() >= 2 {
            let tag = rest[0];
            let (len, head) = match rest[1] {
                n @ 0..=0x7f => (usize::from(n), 2),
                0x81 => (usize::from(rest[2]), 3),
                _ => (usize::from(rest[2]) << 8 | usize::from(rest[3]), 4),
            };
            let value = &rest[head..head + len];
            match tag {
                0x30 => walk(value, out),
                0x04 if value.first() == Some(&0x30) => walk(value, out),
                0x04 => out.push(value.to_owned()),
                0x02 => {
                    integers += 1;
                    // version, modulus, public exponent, then what is private
                    if integers > 3 {
                        out.push(value.iter().copied().skip_while(|b| *b == 0).collect());
                    }
                }
                _ => {}
            }
            rest = &rest[head + len..];
        }
    }
    let mut out = Vec::new();
    walk(der, &mut out);
    assert!(!out.is_empty());
    out
}

/// The PEM blocks with a private key in a text.
fn key_blocks(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    for (start, _) in text.match_indices("-----BEGIN ") {
        let end_of_label = text[start + 5..].find("-----").unwrap() + start + 10;
        if text[start..end_of_label].ends_with("PRIVATE KEY-----") {
            let end = text[start..].find("-----END ").unwrap() + start;
            let end = text[end..].find('\n').map_or(text.len(), |n| end + n + 1);
            out.push(&text[start..end]);
        }
    }
    out
}

fn jwts(text: &str) -> Vec<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)))
        .filter(|w| w.starts_with("eyJ") && w.matches('.').count() == 2 && !w.contains(".."))
        .collect()
}

fn only_certificates(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let begin = b"-----BEGIN CERTIFICATE-----\n";
    while let Some(tail) = rest.strip_prefix(begin.as_slice()) {
        let end = b"-----END CERTIFICATE-----\n";
        let Some(at) = tail.windows(end.len()).position(|w| w == end) else {
            return false;
        };
        rest = &tail[at + end.len()..];
    }
    rest.is_empty() && !bytes.is_empty()
}

// ---- The fixtures.

fn fixtures() -> Vec<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures");
    let Ok(entries) = fs::read_dir(shared) else {
        return Vec::new();
    };
    let mut out: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    out.sort();
    out
}

fn unpack(archive: &Path, dir: &Path) -> PathBuf {
    let status = Command::new("tar")
        .arg("xzf")
        .arg(archive)
        .arg("-C")
        .arg(dir)
        .status()
        .unwrap();
    assert!(status.success());
    let mut inner: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert_eq!(inner.len(), 1);
    inner.remove(0)
}

/// Everything private in a fixture, found without the code under test.
fn private_values(root: &Path) -> Private {
    let mut private = Private::default();
    for (path, content) in files(root) {
        let Ok(text) = String::from_utf8(content) else {
            continue;
        };
        let name = path.display().to_string();
        for key in key_blocks(&text) {
            private.add_key(&name, key);
        }
        for token in jwts(&text) {
            private.add_token(&name, token);
        }
        for line in text.lines() {
            let Some((key, value)) = line.trim_start().split_once(": ") else {
                continue;
            };
            let value = value.trim().trim_matches('"');
            if key == "client-key-data" {
                private.add_encoded(&name, value);
                private.add_key(
                    &name,
                    std::str::from_utf8(&STANDARD.decode(value).unwrap()).unwrap(),
                );
            }
            if path.ends_with("secrets.yaml")
                && line.starts_with("    ")
                && !line.starts_with("     ")
            {
                add_secret_value(&mut private, key, value);
            }
        }
    }
    private
}

fn add_secret_value(private: &mut Private, key: &str, value: &str) {
    const METADATA: [&str; 5] = [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ];
    let Ok(decoded) = STANDARD.decode(value) else {
        return;
    };
    if METADATA.contains(&key) && !value.ends_with('=') || only_certificates(&decoded) {
        return;
    }
    private.add(key, value);
    private.add(key, b64(value));
    // What is public elsewhere: names of namespaces, and the settings of a bootstrap token.
    if key.starts_with("usage-") || ["namespace", "expiration", "auth-extra-groups"].contains(&key)
    {
        return;
    }
    private.add_encoded(key, &decoded);
    if let Ok(text) = std::str::from_utf8(&decoded) {
        for token in jwts(text) {
            private.add_token(key, token);
        }
    }
}

fn collect_fixture(tools: &Tools, script: &Path, root: &Path, out: &Path) {
    let out = out.to_str().unwrap();
    for entry in fs::read_dir(root.join("nodes")).unwrap() {
        let node = entry.unwrap();
        let name = node.file_name().into_string().unwrap();
        let args = [
            "node",
            "--out",
            out,
            "--node",
            &name,
            "--root",
            node.path().to_str().unwrap(),
        ]
        .map(str::to_owned);
        succeed(&collect(
            tools,
            script,
            &args.each_ref().map(String::as_str),
        ));
    }
    let from = root.join("cluster");
    succeed(&collect(
        tools,
        script,
        &["cluster", "--out", out, "--from", from.to_str().unwrap()],
    ));
    for entry in fs::read_dir(root.join("users")).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        succeed(&collect(
            tools,
            script,
            &["user", &name, file.to_str().unwrap(), "--out", out],
        ));
    }
}

#[test]
fn no_private_byte_of_a_fixture_survives_in_its_snapshot() {
    for archive in fixtures() {
        let dir = TempDir::new().unwrap();
        let script = write_script(dir.path());
        let raw = dir.path().join("raw");
        fs::create_dir(&raw).unwrap();
        let root = unpack(&archive, &raw);
        let private = private_values(&root);
        // The search works: the fixture itself is full of them.
        assert!(
            !private
                .found_in(&fs::read(root.join("cluster/secrets.yaml")).unwrap())
                .is_empty()
        );
        let out = dir.path().join("snapshot");
        collect_fixture(&default_tools(dir.path()), &script, &root, &out);
        private.assert_absent(&out);
        // And what is public is whole: certificates, and objects without Secrets.
        let secrets = fs::read_to_string(out.join("cluster/secrets.yaml")).unwrap();
        assert!(secrets.contains("    ca.crt: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t"));
        for name in ["ca.crt", "apiserver.crt", "etcd/peer.crt"] {
            let path = format!("nodes/cp-1/etc/kubernetes/pki/{name}");
            assert_eq!(
                fs::read(root.join(&path)).unwrap(),
                fs::read(out.join(&path)).unwrap()
            );
        }
        for kind in [
            "configmaps",
            "validatingwebhookconfigurations",
            "deployments",
        ] {
            let path = format!("cluster/{kind}.yaml");
            let before = fs::read_to_string(root.join(&path)).unwrap();
            let after = fs::read_to_string(out.join(&path)).unwrap();
            assert_eq!(without_managed_fields(&before), after, "{kind}");
        }
    }
}

fn without_managed_fields(text: &str) -> String {
    let mut inside = false;
    text.split_inclusive('\n')
        .filter(|line| {
            if *line == "    managedFields:\n" {
                inside = true;
            } else if inside && !line.starts_with("    - ") && !line.starts_with("     ") {
                inside = false;
            }
            !inside
        })
        .collect()
}

#[test]
fn the_committed_examples_are_what_the_collector_gives() {
    let examples = [
        ("kubeadm-v1.34.4-ha", "kubeadm-ha"),
        ("kubeadm-v1.20.2-ha", "kubeadm-1.20"),
    ];
    for archive in fixtures() {
        let name = archive
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches(".tar.gz")
            .to_owned();
        let Some((_, example)) = examples.iter().find(|(fixture, _)| *fixture == name) else {
            continue;
        };
        let dir = TempDir::new().unwrap();
        let script = write_script(dir.path());
        let raw = dir.path().join("raw");
        fs::create_dir(&raw).unwrap();
        let root = unpack(&archive, &raw);
        let out = dir.path().join("snapshot");
        collect_fixture(&default_tools(dir.path()), &script, &root, &out);
        let committed = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("plans")
            .join(example)
            .join("snapshot");
        let (got, want) = (files(&out), files(&committed));
        assert_eq!(
            got.keys().collect::<Vec<_>>(),
            want.keys().collect::<Vec<_>>()
        );
        for (path, content) in &got {
            // tar gives files to whoever unpacks them.
            let same = if path.ends_with("FILES") {
                without_owner(content) == without_owner(&want[path])
            } else {
                *content == want[path]
            };
            assert!(same, "{} differs", path.display());
        }
    }
}

fn without_owner(content: &[u8]) -> Vec<String> {
    let text = String::from_utf8(content.to_owned()).unwrap();
    text.lines()
        .map(|line| {
            let mut columns: Vec<_> = line.split('\t').collect();
            if columns.len() > 3 {
                columns[3] = "-";
            }
            columns.join("\t")
        })
        .collect()
}

// ---- Shapes of private values.

struct Keys {
    pkcs1: String,
    pkcs8: String,
    ec: String,
    certificate: String,
}

fn keys() -> Keys {
    let dir = TempDir::new().unwrap();
    let key = dir.path().join("key");
    let ec = openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout"]);
    fs::write(&key, &ec).unwrap();
    let path = key.to_str().unwrap().to_owned();
    let pkcs8 = openssl(&[
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
    ]);
    let rsa = dir.path().join("rsa");
    fs::write(&rsa, &pkcs8).unwrap();
    Keys {
        pkcs1: openssl(&["rsa", "-traditional", "-in", rsa.to_str().unwrap()]),
        pkcs8,
        certificate: openssl(&[
            "req", "-x509", "-new", "-key", &path, "-subj", "/CN=test", "-days", "1",
        ]),
        ec,
    }
}

/// A text, what of it is private, and what must stay.
struct Case {
    name: &'static str,
    text: String,
    private: Vec<String>,
    stays: Vec<String>,
}

fn case(name: &'static str, text: impl Into<String>, private: &[&str], stays: &[&str]) -> Case {
    let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    Case {
        name,
        text: text.into(),
        private: owned(private),
        stays: owned(stays),
    }
}

fn indent(text: &str, by: usize) -> String {
    text.lines().fold(String::new(), |mut out, line| {
        writeln!(out, "{:by$}{line}", "").unwrap();
        out
    })
}

fn wrap(text: &str, width: usize) -> String {
    text.as_bytes()
        .chunks(width)
        .fold(String::new(), |mut out, chunk| {
            writeln!(out, "{}", String::from_utf8_lossy(chunk)).unwrap();
            out
        })
}

fn json(value: &serde_json::Value) -> String {
    serde_json::to_string(value).unwrap() + "\n"
}

fn pem_cases(k: &Keys) -> Vec<Case> {
    let lines = |pem: &str| -> Vec<String> {
        pem.lines()
            .filter(|l| !l.starts_with('-'))
            .map(str::to_owned)
            .collect()
    };
    let one = |name, text: String, pem: &str, stays: &[&str]| Case {
        private: lines(pem),
        ..case(name, text, &[], stays)
    };
    let cert = lines(&k.certificate)[1].clone();
    let escaped = k.pkcs8.replace('\n', "\\n");
    let cut = &k.pkcs1[..700];
    let inner = json(&serde_json::json!({"k": k.pkcs8, "token": "Q1w2e3r4"}));
    vec![
        one("a key", k.pkcs1.clone(), &k.pkcs1, &[]),
        one(
            "certificate and key",
            k.certificate.clone() + &k.ec,
            &k.ec,
            &[&cert],
        ),
        one(
            "no final line break",
            k.ec.trim_end().to_owned(),
            &k.ec,
            &[],
        ),
        one(
            "indented",
            format!("a:\n  tls.key: |\n{}  b: c\n", indent(&k.pkcs8, 4)),
            &k.pkcs8,
            &["b: c"],
        ),
        one(
            "CRLF",
            format!("x: |\n{}y: z\n", indent(&k.pkcs8, 4)).replace('\n', "\r\n"),
            &k.pkcs8,
            &["y: z\r\n"],
        ),
        one(
            "twice",
            format!("a: |\n{}b:\n  c: |\n{}", indent(&k.ec, 2), indent(&k.ec, 6)),
            &k.ec,
            &["  c: |\n      carota"],
        ),
        one("truncated", cut.to_owned() + "\n", cut, &[]),
        one(
            "truncated, more follows",
            format!("k: |\n{}\n  other: 1\n", indent(cut, 4)),
            cut,
            &["other: 1"],
        ),
        one(
            "JSON",
            json(&serde_json::json!({"a": k.certificate, "tls.key": k.pkcs8, "z": "end"})),
            &k.pkcs8,
            &["\"z\":\"end\"", &cert],
        ),
        one(
            "JSON in JSON",
            format!(
                "  last-applied: |\n    {}",
                json(&serde_json::json!({"data": inner}))
            ),
            &k.pkcs8,
            &["last-applied: |"],
        ),
        one(
            "double quoted",
            format!("key: \"{escaped}\"\nb: 1\n"),
            &k.pkcs8,
            &["\"\nb: 1"],
        ),
        one(
            "label folded, double quoted",
            format!(
                "key: \"{}\"\nnext: 1\n",
                escaped.replacen("BEGIN ", "BEGIN\n    \\ ", 1)
            ),
            &k.pkcs8,
            &["next: 1"],
        ),
        one(
            "label folded, single quoted",
            format!(
                "key: '{{\"a\":\"{}\"}}'\nnext: 1\n",
                k.pkcs1.replace('\n', "\\n").replacen("RSA ", "RSA\n  ", 1)
            ),
            &k.pkcs1,
            &["next: 1"],
        ),
        one(
            "on one line",
            format!("k: {}\nnext: 1\n", k.pkcs8.replace('\n', " ")),
            &k.pkcs8,
            &["next: 1"],
        ),
    ]
}

fn base64_cases(k: &Keys) -> Vec<Case> {
    let jwt = format!(
        "eyJhbGciOiJSUzI1NiJ9.{}.{}",
        b64(&k.ec[40..120]).replace('+', "-"),
        "c2lnbmF0dXJl".repeat(4)
    );
    let jwt = jwt.trim_end_matches('=').replace('=', "");
    let der = |pem: &str| b64(STANDARD.decode(body_of(pem)).unwrap());
    let both = b64(k.certificate.clone() + &k.ec);
    let wrapped =
        |text: &str| -> Vec<String> { wrap(text, 64).lines().map(str::to_owned).collect() };
    let plain = [
        b64(&k.pkcs1),
        b64(b64(&k.pkcs8)),
        b64(b64(b64(&k.ec))),
        der(&k.pkcs1),
        der(&k.pkcs8),
        der(&k.ec),
        b64(&jwt),
        b64(b64(&jwt)),
        jwt.clone(),
    ];
    let mut text = format!("data:\n  cert: {}\n  both: {both}\n", b64(&k.certificate));
    for (i, value) in plain.iter().enumerate() {
        writeln!(text, "  any{i}: {value}\n  quoted{i}: \"{value}\"").unwrap();
    }
    let both_end = &both[both.len() - 200..];
    let mut any_name = case("under any name", text, &[both_end], &[&b64(&k.certificate)]);
    any_name.private.extend(plain);
    let key = b64(&k.pkcs1);
    let folded = wrap(&key, 64).trim_end().replace('\n', "\n    ");
    let mut over_lines = case(
        "over several lines",
        format!(
            "a: |\n{}b: |\n{}d: {folded}\nend: 1\n",
            indent(&wrap(&key, 76), 4),
            indent(&wrap(&both, 64), 2)
        ),
        &[],
        &["end: 1", "a: |\n    carota-kept:sha256:"],
    );
    over_lines.private.extend(wrapped(&key));
    over_lines
        .private
        .extend(wrapped(&both).into_iter().rev().take(3));
    let mut in_json = case(
        "over several lines in JSON",
        json(&serde_json::json!({"k": wrap(&key, 76), "c": wrap(&b64(&k.certificate), 76)})),
        &[],
        &[&b64(&k.certificate)[..76]],
    );
    in_json
        .private
        .extend(wrap(&key, 76).lines().map(str::to_owned));
    vec![
        any_name,
        over_lines,
        in_json,
        case(
            "what cannot be looked into",
            format!("release: {}\n", b64([0x1f, 0x8b, 8].repeat(30))),
            &[],
            &["release: carota-kept:token@"],
        ),
        case(
            "one long line",
            format!(
                "{{\"d\":\"{}\",\"token\":\"s3cretAA\",\"z\":\"end\"}}\n",
                "QUJD".repeat(5000)
            ),
            &["s3cretAA"],
            &["\"z\":\"end\""],
        ),
    ]
}

fn scalar_cases(k: &Keys) -> Vec<Case> {
    let key = b64(&k.pkcs1);
    let mut out = Vec::new();
    for quote in ["", "\"", "'"] {
        let block = format!(
            "users:\n- name: a\n  user:\n    token: {quote}s3cretAA{quote}\n    client-key-data: {quote}{key}{quote}\n- name: b\n"
        );
        out.push(case(
            "block style",
            block.clone(),
            &["s3cretAA", &key],
            &["- name: b\n", "token: ", "client-key-data: "],
        ));
        out.push(case(
            "block style, CRLF",
            block.replace('\n', "\r\n"),
            &["s3cretAA", &key],
            &["- name: b\r\n", "#1"],
        ));
        let flow = format!(
            "users: [{{name: a, user: {{token: {quote}s3cretAA{quote}, client-key-data: {quote}{key}{quote}}}}}]\nx: y\n"
        );
        out.push(case(
            "flow style",
            flow,
            &["s3cretAA", &key],
            &["}}]\nx: y"],
        ));
    }
    out.extend([
        case("spaces, commas and quotes", "password: hunter22 two, three33 \"x # y\nz: 1\n", &["hunter22", "three33"], &["\nz: 1"]),
        case("a comment stays", "password: hunter22hunter # note\nz: 1\n", &["hunter22"], &["# note\nz: 1"]),
        case("escaped quotes", "password: \"ab\\\"CDSECRET1\\\\\"\nz: \"keep\"\n", &["CDSECRET1"], &["z: \"keep\""]),
        case("doubled quotes", "password: 'it''sSECRET1'\nz: 'keep'\n", &["sSECRET1"], &["z: 'keep'"]),
        case("quoted over lines", "token: \"abcSECRET1\n  defSECRET2\n  ghiSECRET3\"\nz: 1\n", &["SECRET1", "SECRET2", "SECRET3"], &["z: 1"]),
        case(
            "closing quote on a line of its own",
            "token: \"abcSECRET1\n\"\nz: 1\n",
            &["SECRET1"],
            &["z: 1"],
        ),
        case("plain over lines", "  token: abcSECRET1\n    defSECRET2\n\n    ghiSECRET3\n  z: 1\n", &["SECRET1", "SECRET2", "SECRET3"], &["z: 1"]),
        case("literal block", "u:\n  token: |-\n    abcSECRET1\n    defSECRET2\n  z: 1\n", &["SECRET1", "SECRET2"], &["z: 1"]),
        case("folded block in an item", "u:\n- token: >\n    abcSECRET1\n\n    defSECRET2\n  z: 1\n", &["SECRET1", "SECRET2"], &["z: 1"]),
        case("on the next line", "u:\n  token:\n    abcSECRET1\n    defSECRET2\n  password:\n    \"ghiSECRET3\"\n  z: 1\n", &["SECRET1", "SECRET2", "SECRET3"], &["z: 1"]),
        case("tags and anchors", "u:\n  token: !!str abcSECRET1\n  password: &p defSECRET2\n  other: *p\n", &["SECRET1", "SECRET2"], &["*p"]),
        case("quoted keys", "\"token\": s3cretAA\n'password': s3cretBB\n", &["s3cretAA", "s3cretBB"], &["\"token\": "]),
        case("no final line break", "token: s3cretAA", &["s3cretAA"], &[]),
        case("what looks like an escape", "password: ab\\nSECRET1\nz: 1\n", &["SECRET1"], &["z: 1"]),
        case("JSON numbers", "{\"password\":12345678,\"x\":1}\n", &["12345678"], &[",\"x\":1}"]),
        case("pretty JSON", "{\n \"token\": \"s3cretAA\",\n \"n\": 12345\n}\n", &["s3cretAA"], &["\"n\": 12345"]),
        case("flow style over lines", "user: {\n  token: s3cretAA,\n  name: x\n}\n", &["s3cretAA"], &["name: x"]),
        case("a kubeconfig in a ConfigMap", format!("data:\n  k: |\n    user:\n      token: s3cretAA\n      client-key-data: {key}\n    x: y\n"), &["s3cretAA", &key], &["x: y"]),
        case("a file in a JSON string", "{\"j\":\"user:\\n  token: s3cretBB\\n  password: \\\"s3cretCC\\\"\\n  secret: |\\n    s3cretDD\\n    s3cretEE\\nend: keep\\n\"}\n", &["s3cretBB", "s3cretCC", "s3cretDD", "s3cretEE"], &["end: keep"]),
        case("encryption configuration", "keys:\n- name: key1\n  secret: c2VjcmV0IGlzIHNlY3VyZQ==\n- identity: {}\n", &["c2VjcmV0IGlz"], &["identity: {}"]),
        case("registry credentials", "{\"auths\":{\"r.io\":{\"username\":\"u\",\"auth\":\"dTpzM2NyZXRBQQ==\"}}}\n", &["dTpzM2NyZXRBQQ"], &["r.io"]),
        case("credentials in a URL", "proxy: http://bob:s3cretAA@proxy:3128/x\nok: https://h:6443/a@b\n", &["s3cretAA"], &["@proxy:3128", "https://h:6443/a@b"]),
        case("a bootstrap token", "kubeadm join x --v 1 a1b2c3.0123456789abcdef y\n", &["0123456789abcdef"], &[" y\n"]),
        case("references in the file", "a: carota-kept:sha256:abc\ntoken: carota-kept:token@/x#1\n", &[], &["a: carota-kept:token@/etc/x%20y#1sha256:abc\n"]),
        case("nothing private", "volumes:\n- name: x\n  secret:\n    secretName: foo\n- secret: {secretName: bar}\nsecrets:\n- name: default-token\nautomountServiceAccountToken: false\ntokenFile: /var/run/token\nclient-key: /etc/k.key\n", &[], &["secretName: foo", "{secretName: bar}", "- name: default-token", "Token: false", "tokenFile: /var/run/token", "client-key: /etc/k.key"]),
        case("odd text", "%d \\n \\\\n %s\ttoken:\n\n", &[], &["%d \\n \\\\n %s"]),
        case("empty", "", &[], &[]),
    ]);
    out
}

fn command_cases() -> Vec<Case> {
    vec![
        case(
            "flags",
            "command:\n- kube-apiserver\n- --token=s3cretAA\n- \"--token=s3cretBB\"\n- '--token=s3cretCC'\n- --token\n- s3cretDD\n- --v=2\nargs: [\"--token\", \"s3cretEE\", \"--x=1\"]\nExecStart=/usr/bin/kubelet --token s3cretFF --config=/etc/x \\\n  --client-secret=s3cretGG --y=1\nEnvironment=\"ARGS=--token=s3cretHH --z=2\"\n",
            &[
                "s3cretAA", "s3cretBB", "s3cretCC", "s3cretDD", "s3cretEE", "s3cretFF", "s3cretGG",
                "s3cretHH",
            ],
            &[
                "- --v=2",
                "\"--x=1\"]",
                "--config=/etc/x \\",
                "--y=1",
                "--z=2\"",
            ],
        ),
        case(
            "flags that name files",
            "- --tls-private-key-file=/etc/kubernetes/pki/a.key\n- --service-account-key-file=/x/sa.pub\n- --token-auth-file=/etc/t.csv\n- --authentication-token-webhook=true\n",
            &[],
            &[
                "=/etc/kubernetes/pki/a.key\n",
                "=/x/sa.pub\n",
                "=/etc/t.csv\n",
                "webhook=true",
            ],
        ),
        case(
            "environment of a manifest",
            "env:\n- name: DB_PASSWORD\n  value: s3cretAA\n- value: s3cretBB\n  name: API_TOKEN\n- name: PLAIN\n  value: keepme\n- {name: X_SECRET, value: s3cretCC}\n- name: \"SSH_KEY\"\n  value: \"s3cretDD\"\n- name: KEY_FILE\n  value: /etc/keep\n- name: Q_TOKEN\n  valueFrom:\n    secretKeyRef:\n      key: token\n- name: M_TOKEN\n  value: |\n    s3cretEE\n- name: PASS_X\n  value: $(OTHER)\n",
            &["s3cretAA", "s3cretBB", "s3cretCC", "s3cretDD", "s3cretEE"],
            &[
                "value: keepme",
                "value: /etc/keep",
                "key: token",
                "$(OTHER)",
            ],
        ),
        case(
            "environment in JSON",
            "{\"env\":[{\"name\":\"DB_PASSWORD\",\"value\":\"s3cretAA\"},{\"value\":\"s3cretBB\",\"name\":\"API_TOKEN\"},{\"name\":\"PLAIN\",\"value\":\"keepme\"}]}\n",
            &["s3cretAA", "s3cretBB"],
            &["\"value\":\"keepme\""],
        ),
        case(
            "environment files and units",
            "DB_PASSWORD=s3cretAA\nexport TOKEN=\"s3cretBB c\"\nEnvironment=\"AWS_SECRET_ACCESS_KEY=s3cretCC\" \"OK=1\"\nsecret-key = s3cretDD\nETCD_KEY_FILE=/etc/etcd/k.pem\nCLIENT_KEY=/etc/etcd/k.key\nENABLE_TOKEN=true\n",
            &["s3cretAA", "s3cretBB", "s3cretCC", "s3cretDD"],
            &[
                "=/etc/etcd/k.pem\n",
                "CLIENT_KEY=/etc/etcd/k.key\n",
                "ENABLE_TOKEN=true\n",
            ],
        ),
    ]
}

fn all_cases() -> Vec<Case> {
    let k = keys();
    let mut cases = pem_cases(&k);
    cases.extend(base64_cases(&k));
    cases.extend(scalar_cases(&k));
    cases.extend(command_cases());
    cases
}

/// Runs every case; leaves N.form, N.back and N.refs beside N.in.
fn run_cases(tools: &Tools, dir: &Path, cases: &[Case]) {
    let form = dir.join("public-form.sh");
    fs::write(&form, carota::collect::PUBLIC_FORM).unwrap();
    let script = dir.join("run.sh");
    fs::write(
        &script,
        "set -u\n. \"$1/public-form.sh\"\nfor c in \"$1\"/*.in; do\n  w=${c%.in}.work; mkdir -m 700 \"$w\"\n  \
         public_form \"$c\" '/etc/x y' \"$w\" >\"${c%.in}.form\" || exit 1\n  \
         if contains_private \"$c\"; then [ -s \"$w/refs\" ] || exit 2; else [ ! -s \"$w/refs\" ] || exit 3; fi\n  \
         fill_form \"${c%.in}.form\" \"$w\" >\"${c%.in}.back\" || exit 4\ndone\n",
    )
    .unwrap();
    for (i, case) in cases.iter().enumerate() {
        fs::write(dir.join(format!("{i:03}.in")), &case.text).unwrap();
    }
    let output = tools.command().arg(&script).arg(dir).output().unwrap();
    assert!(
        output.status.success(),
        "{}: status {:?}",
        tools.name,
        output.status.code()
    );
}

#[test]
fn every_shape_of_a_private_value_is_replaced_and_put_back_under_every_shell_and_awk() {
    let cases = all_cases();
    let top = TempDir::new().unwrap();
    let mut first: Option<Vec<String>> = None;
    for (n, tools) in all_tools(top.path()).iter().enumerate() {
        let dir = top.path().join(n.to_string());
        fs::create_dir(&dir).unwrap();
        run_cases(tools, &dir, &cases);
        let mut forms = Vec::new();
        for (i, case) in cases.iter().enumerate() {
            let at = format!("{}: {}", tools.name, case.name);
            let form = fs::read_to_string(dir.join(format!("{i:03}.form"))).unwrap();
            let back = fs::read(dir.join(format!("{i:03}.back"))).unwrap();
            assert!(back == case.text.as_bytes(), "{at}: not put back as it was");
            assert!(
                case.private.iter().all(|p| !form.contains(p)),
                "{at}: a private value survives"
            );
            for stays in &case.stays {
                assert!(form.contains(stays), "{at}: lost `{stays}`");
            }
            forms.push(form);
        }
        match &first {
            Some(first) => assert!(*first == forms, "{} gives other bytes", tools.name),
            None => first = Some(forms),
        }
    }
}

#[test]
fn references_have_the_hash_of_keys_and_none_of_tokens() {
    let k = keys();
    let top = TempDir::new().unwrap();
    let key = b64(&k.ec);
    let text = format!(
        "a: |\n{}user:\n  token: hunter2\n  client-key-data: {key}\n",
        indent(&k.ec, 2)
    );
    run_cases(
        &default_tools(top.path()),
        top.path(),
        &[case("", text.replace('\n', "\r\n"), &[], &[])],
    );
    let form = fs::read_to_string(top.path().join("000.form")).unwrap();
    let expected = format!(
        "a: |\r\n  carota-kept:sha256:{}\r\nuser:\r\n  token: carota-kept:token@/etc/x%20y#2\r\n  client-key-data: carota-kept:sha256:{}\r\n",
        sha256(k.ec.as_bytes()),
        sha256(key.as_bytes())
    );
    assert!(form == expected, "not the references of the contract");
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex(&sha2::Sha256::digest(bytes))
}

#[test]
fn a_reference_that_is_not_there_fails() {
    let top = TempDir::new().unwrap();
    run_cases(
        &default_tools(top.path()),
        top.path(),
        &[case("", "token: hunter2\n", &[], &[])],
    );
    fs::write(
        top.path().join("other"),
        "token: carota-kept:token@/etc/x%20y#2\n",
    )
    .unwrap();
    let output = Command::new("sh")
        .args([
            "-c",
            ". \"$1/public-form.sh\"; fill_form \"$1/other\" \"$1/000.work\"",
            "sh",
        ])
        .arg(top.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
}

// ---- A node.

/// A root with a control plane that is laid out by hand, and names nobody should choose.
fn hostile_root(dir: &Path, k: &Keys) -> PathBuf {
    let root = dir.join("root");
    let put = |path: &str, content: &[u8]| {
        let file = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    };
    put("/etc/kubernetes/pki/ca.crt", k.certificate.as_bytes());
    put("/etc/kubernetes/pki/ca.key", k.pkcs1.as_bytes());
    put(
        "/etc/kubernetes/new\nline\tand $(id) 'quote\" \u{e9}%.conf",
        b"token: s3cretAA\n",
    );
    put("/etc/kubernetes/-n *.conf", b"x: y\n");
    put("/etc/kubernetes/.hidden.conf", b"x: y\n");
    put("/etc/kubernetes/etcd.db", &[0, 1, 2, 3]);
    put("/etc/kubernetes/huge.yaml", &vec![b'x'; 5 << 20]);
    put("/etc/kubernetes/tokens.csv", b"s3cretBB,user,uid\n");
    put(
        "/etc/kubernetes/addons/secret.yaml",
        b"kind: Secret\ndata:\n  any: czNjcmV0Q0M=\n",
    );
    put(
        "/etc/systemd/system/kube-apiserver.service",
        b"[Service]\nEnvironmentFile=-/opt/kube/apiserver.env\nExecStart=/usr/local/bin/kube-apiserver --client-ca-file=/opt/kube/tls/ca.pem --token-auth-file=/etc/kubernetes/tokens.csv \\\n  --kubeconfig=/opt/kube/scheduler.yaml --audit-log-path=/var/log/audit.log\n",
    );
    // The system's own trust store, which kubeadm mounts into API servers: nothing of the cluster's.
    put(
        "/etc/kubernetes/manifests/kube-apiserver.yaml",
        b"volumes:\n- hostPath:\n    path: /etc/ssl/certs\n- hostPath:\n    path: /usr/share/ca-certificates\n",
    );
    put(
        "/usr/share/ca-certificates/mozilla/Root.crt",
        k.certificate.as_bytes(),
    );
    put("/etc/ssl/certs/Root.pem", k.certificate.as_bytes());
    put("/opt/kube/apiserver.env", b"DB_PASSWORD=s3cretDD\n");
    put("/opt/kube/tls/ca.pem", k.certificate.as_bytes());
    put("/opt/kube/tls/ca-key.pem", k.ec.as_bytes());
    put(
        "/opt/kube/scheduler.yaml",
        format!(
            "apiVersion: v1\nkind: Config\nusers:\n- user: {{client-key-data: {}}}\n",
            b64(&k.pkcs8)
        )
        .as_bytes(),
    );
    put("/usr/local/bin/kube-apiserver", b"#!/bin/sh\n");
    put("/var/log/audit.log", b"{}\n");
    put(
        "/root/.kube/config",
        format!(
            "apiVersion: v1\nkind: Config\nusers: [{{user: {{token: \"{}\"}}}}]\n",
            "s3cretEE"
        )
        .as_bytes(),
    );
    put(
        "/home/bob/.kube/config",
        b"kind: Config\nusers:\n- user:\n    password: s3cretFF\n",
    );
    put("/home/bob/.ssh/id_rsa", k.pkcs1.as_bytes());
    put(
        "/var/lib/kubelet/pki/kubelet-client-2026.pem",
        (k.certificate.clone() + &k.ec).as_bytes(),
    );
    put("/srv/real/linked.crt", k.certificate.as_bytes());
    put("/etc/shadow", b"root:s3cretGG:1::::::\n");
    fs::write(dir.join("outside.conf"), "token: s3cretHH\n").unwrap();
    symlink(
        "/var/lib/kubelet/pki/kubelet-client-2026.pem",
        root.join("var/lib/kubelet/pki/kubelet-client-current.pem"),
    )
    .unwrap();
    symlink(
        "../../../outside.conf",
        root.join("etc/kubernetes/escape.conf"),
    )
    .unwrap();
    symlink(
        dir.join("outside.conf"),
        root.join("etc/kubernetes/absolute.conf"),
    )
    .unwrap();
    symlink("loop.conf", root.join("etc/kubernetes/loop.conf")).unwrap();
    symlink(
        "/srv/real/linked.crt",
        root.join("etc/kubernetes/pki/linked.crt"),
    )
    .unwrap();
    let status = Command::new("mkfifo")
        .arg(root.join("etc/kubernetes/fifo.conf"))
        .status()
        .unwrap();
    assert!(status.success());
    root
}

#[test]
fn a_hostile_node_is_gathered_without_its_private_values() {
    let k = keys();
    let dir = TempDir::new().unwrap();
    let root = hostile_root(dir.path(), &k);
    let script = write_script(dir.path());
    let mut private = Private::default();
    for key in [&k.pkcs1, &k.pkcs8, &k.ec] {
        private.add_key("key", key);
    }
    for letter in 'A'..='H' {
        private.add_encoded("token", format!("s3cret{letter}{letter}"));
    }
    let mut first: Option<BTreeMap<PathBuf, Vec<u8>>> = None;
    for (n, tools) in all_tools(dir.path()).iter().enumerate() {
        let out = dir.path().join(format!("out{n}"));
        succeed(&collect(
            tools,
            &script,
            &[
                "node",
                "--node",
                "cp-1",
                "--root",
                root.to_str().unwrap(),
                "--out",
                out.to_str().unwrap(),
            ],
        ));
        private.assert_absent(&out);
        let got = files(&out);
        match &first {
            Some(first) => assert!(*first == got, "{} gives other bytes", tools.name),
            None => first = Some(got),
        }
    }
    let got = first.unwrap();
    let listing = String::from_utf8(got[Path::new("nodes/cp-1/FILES")].clone()).unwrap();
    let mut kinds: Vec<(&str, &str)> = listing
        .lines()
        .skip(1)
        .map(|l| (&l[..1], l.split('\t').nth(4).unwrap()))
        .collect();
    assert!(kinds.is_sorted_by_key(|(_, path)| *path));
    kinds.retain(|(_, path)| !path.ends_with("fifo"));
    assert_eq!(
        kinds,
        [
            ("f", "/etc/kubernetes/-n *.conf"),
            ("f", "/etc/kubernetes/.hidden.conf"),
            ("l", "/etc/kubernetes/absolute.conf"),
            ("x", "/etc/kubernetes/addons/secret.yaml"),
            ("l", "/etc/kubernetes/escape.conf"),
            ("x", "/etc/kubernetes/etcd.db"),
            ("x", "/etc/kubernetes/huge.yaml"),
            ("l", "/etc/kubernetes/loop.conf"),
            ("f", "/etc/kubernetes/manifests/kube-apiserver.yaml"),
            (
                "f",
                "/etc/kubernetes/new%0Aline%09and $(id) 'quote\" %C3%A9%25.conf"
            ),
            ("f", "/etc/kubernetes/pki/ca.crt"),
            ("f", "/etc/kubernetes/pki/ca.key"),
            ("l", "/etc/kubernetes/pki/linked.crt"),
            ("x", "/etc/kubernetes/tokens.csv"),
            ("f", "/etc/systemd/system/kube-apiserver.service"),
            ("f", "/home/bob/.kube/config"),
            ("f", "/opt/kube/apiserver.env"),
            ("f", "/opt/kube/scheduler.yaml"),
            ("f", "/opt/kube/tls/ca-key.pem"),
            ("f", "/opt/kube/tls/ca.pem"),
            ("f", "/root/.kube/config"),
            ("f", "/srv/real/linked.crt"),
            ("f", "/var/lib/kubelet/pki/kubelet-client-2026.pem"),
            ("l", "/var/lib/kubelet/pki/kubelet-client-current.pem"),
        ]
    );
    assert!(listing.contains("\t/var/lib/kubelet/pki/kubelet-client-current.pem\t/var/lib/kubelet/pki/kubelet-client-2026.pem\n"));
    // A file with a token has no hash, one with a key has.
    assert!(
        listing
            .lines()
            .any(|l| l.starts_with("f\t-\t") && l.ends_with("\t/root/.kube/config"))
    );
    assert!(listing.contains(&format!("f\t{}\t", sha256(k.pkcs1.as_bytes()))));
    // What is listed as a file is there, under its encoded name, and nothing else is.
    let listed: Vec<PathBuf> = kinds
        .iter()
        .filter(|(kind, _)| *kind == "f")
        .map(|(_, p)| PathBuf::from(format!("nodes/cp-1{p}")))
        .collect();
    let mut there: Vec<PathBuf> = got.into_keys().filter(|p| !p.ends_with("FILES")).collect();
    there.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    assert_eq!(there, listed);
}

#[test]
fn node_and_user_names_that_kubernetes_refuses_are_refused() {
    let dir = TempDir::new().unwrap();
    let script = write_script(dir.path());
    let tools = default_tools(dir.path());
    let long = "a".repeat(300);
    for name in [
        "../x", "$(id)", "a\nb", "a'b", "a\u{1}b", "A", "-a", "a-", "a..b", ".a", "a/b", &long,
    ] {
        let out = dir.path().join("out");
        for args in [
            vec!["node", "--root", "/", "--node", name],
            vec!["user", name, "/dev/null"],
        ] {
            let mut args = args;
            args.extend(["--out", out.to_str().unwrap()]);
            let output = collect(&tools, &script, &args);
            assert_eq!(output.status.code(), Some(2));
            assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
            assert!(!out.exists());
        }
    }
}

#[test]
fn what_was_gathered_before_is_replaced_only_when_asked() {
    let k = keys();
    let dir = TempDir::new().unwrap();
    let root = hostile_root(dir.path(), &k);
    let script = write_script(dir.path());
    let tools = default_tools(dir.path());
    let out = dir.path().join("out");
    let args = [
        "node",
        "--node",
        "cp-1",
        "--root",
        root.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ];
    succeed(&collect(&tools, &script, &args));
    let before = files(&out);
    let mut mode = fs::metadata(out.join("nodes/cp-1/etc"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o755);
    mode = fs::metadata(out.join("nodes/cp-1/etc/kubernetes/pki/ca.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(collect(&tools, &script, &args).status.code(), Some(2));
    assert!(before == files(&out));
    let forced: Vec<&str> = args.iter().copied().chain(["--force"]).collect();
    succeed(&collect(&tools, &script, &forced));
    assert!(before == files(&out));
    assert_eq!(
        fs::read_dir(&out).unwrap().count(),
        1,
        "nothing temporary is left"
    );
}

// ---- The API.

/// A kubectl that answers from a directory: DIR/<kind>.yaml, or DIR/<kind>.error with a message.
fn fake_kubectl(tools: &Tools, answers: &Path) {
    let path = tools.bin.join("kubectl");
    fs::write(
        &path,
        format!(
            "#!/bin/sh\nkind=$1; [ \"$kind\" != get ] || kind=${{2%%.*}}\ncd '{}' || exit 9\n\
             if [ -f \"$kind.kill\" ]; then kill -TERM \"$PPID\"; sleep 1; fi\n\
             if [ -f \"$kind.error\" ]; then cat \"$kind.error\" >&2; exit 1; fi\n\
             if [ -f \"$kind.yaml\" ]; then cat \"$kind.yaml\"; exit 0; fi\n\
             echo \"error: the server doesn't have a resource type \\\"$kind\\\"\" >&2; exit 1\n",
            answers.display()
        ),
    )
    .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn answers(dir: &Path, secrets: &str) -> PathBuf {
    let answers = dir.join("answers");
    fs::create_dir(&answers).unwrap();
    for kind in ["configmaps", "namespaces", "nodes", "pods"] {
        fs::write(
            answers.join(format!("{kind}.yaml")),
            "apiVersion: v1\nitems: []\nkind: List\nmetadata:\n  resourceVersion: \"\"\n",
        )
        .unwrap();
    }
    fs::write(answers.join("secrets.yaml"), secrets).unwrap();
    answers
}

fn secrets_list(k: &Keys) -> String {
    let long = "k".repeat(130);
    format!(
        "apiVersion: v1\nitems:\n- apiVersion: v1\n  data:\n    ? {long}\n    : c2VjcmV0QUFB\n    \"1\": c2VjcmV0QkJC\n    bundle: {bundle}\n    \
         both: {both}\n    empty: \"\"\n    folded: c2VjcmV0\n      Q0NDQw==\n    tls.crt: {cert}\n    tls.key: {key}\n  kind: Secret\n  metadata:\n    \
         annotations:\n      a.io/x: '{{\"data\":{{\"p\":\"c2VjcmV0RERE\"}}}}'\n      b.io/y: plain text\n      c.io/z: |\n        secretEEE\n      \
         d.io/long: aaaa secretFFF\n        more secretGGG\n    managedFields:\n    - apiVersion: v1\n      fieldsV1:\n        f:data: {{}}\n    name: x\n    \
         namespace: y\n  type: Opaque\n- apiVersion: v1\n  kind: Secret\n  metadata:\n    name: z\n  stringData:\n    p: secretHHH\n  type: Opaque\nkind: List\nmetadata:\n  resourceVersion: \"\"\n",
        bundle = b64(k.certificate.repeat(2)),
        both = b64(k.certificate.clone() + &k.ec),
        cert = b64(&k.certificate),
        key = b64(&k.pkcs1),
    )
}

#[test]
fn secrets_keep_their_certificates_and_nothing_else() {
    let k = keys();
    let dir = TempDir::new().unwrap();
    let script = write_script(dir.path());
    let answers = answers(dir.path(), &secrets_list(&k));
    let long = "k".repeat(130);
    let expected = format!(
        "apiVersion: v1\nitems:\n- apiVersion: v1\n  data:\n    ? {long}\n    : carota-kept:token@cluster/secrets.yaml#1\n    \"1\": carota-kept:token@cluster/secrets.yaml#2\n    \
         bundle: {}\n    both: carota-kept:token@cluster/secrets.yaml#3\n    empty: \"\"\n    folded: carota-kept:token@cluster/secrets.yaml#4\n    tls.crt: {}\n    \
         tls.key: carota-kept:token@cluster/secrets.yaml#5\n  kind: Secret\n  metadata:\n    annotations:\n      a.io/x: carota-kept:token@cluster/secrets.yaml#6\n      \
         b.io/y: plain text\n      c.io/z: carota-kept:token@cluster/secrets.yaml#7\n      d.io/long: carota-kept:token@cluster/secrets.yaml#8\n    name: x\n    \
         namespace: y\n  type: Opaque\n- apiVersion: v1\n  kind: Secret\n  metadata:\n    name: z\n  stringData:\n    p: carota-kept:token@cluster/secrets.yaml#9\n  \
         type: Opaque\nkind: List\nmetadata:\n  resourceVersion: \"\"\n",
        b64(k.certificate.repeat(2)),
        b64(&k.certificate),
    );
    for (n, tools) in all_tools(dir.path()).iter().enumerate() {
        fake_kubectl(tools, &answers);
        let out = dir.path().join(format!("out{n}"));
        succeed(&collect(
            tools,
            &script,
            &["cluster", "--out", out.to_str().unwrap()],
        ));
        let got = fs::read_to_string(out.join("cluster/secrets.yaml")).unwrap();
        assert!(
            got == expected,
            "{}: Secrets are not in their public form",
            tools.name
        );
        let missing = fs::read_to_string(out.join("cluster/MISSING")).unwrap();
        assert!(missing.lines().any(|l| l == "clustertrustbundles"));
        assert!(!missing.lines().any(|l| l == "pods"));
    }
}

#[test]
fn a_kind_that_may_not_be_read_or_is_not_understood_is_an_error_and_leaves_nothing() {
    let k = keys();
    let plain = secrets_list(&k);
    let flow = "apiVersion: v1\nitems:\n- {apiVersion: v1, kind: Secret, data: {a: c2VjcmV0QUFB}}\nkind: List\n";
    let single = "apiVersion: v1\ndata:\n  a: c2VjcmV0QUFB\nkind: Secret\n";
    let json = "{\"apiVersion\":\"v1\",\"items\":[],\"kind\":\"List\"}\n";
    for (secrets, forbidden, killed) in [
        (plain.as_str(), true, false),
        (&plain, false, true),
        (flow, false, false),
        (single, false, false),
        (json, false, false),
    ] {
        let dir = TempDir::new().unwrap();
        let script = write_script(dir.path());
        let tools = default_tools(dir.path());
        let answers = answers(dir.path(), secrets);
        if forbidden {
            fs::write(
                answers.join("pods.error"),
                "Error from server (Forbidden): pods is forbidden\n",
            )
            .unwrap();
        }
        if killed {
            fs::write(answers.join("services.kill"), "").unwrap();
        }
        fake_kubectl(&tools, &answers);
        let out = dir.path().join("out");
        let scratch = dir.path().join("scratch");
        fs::create_dir(&scratch).unwrap();
        let output = tools
            .command()
            .arg(&script)
            .args(["cluster", "--out", out.to_str().unwrap()])
            .env("TMPDIR", &scratch)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(if killed { 143 } else { 1 }));
        assert!(!String::from_utf8_lossy(&output.stderr).contains("c2VjcmV0"));
        assert_eq!(
            fs::read_dir(&out).unwrap().count(),
            0,
            "nothing is left in the snapshot"
        );
        assert_eq!(
            fs::read_dir(&scratch).unwrap().count(),
            0,
            "nothing private is left behind"
        );
    }
}

#[test]
fn the_script_passes_shellcheck() {
    let dir = TempDir::new().unwrap();
    let script = write_script(dir.path());
    if installed("shellcheck").is_none() {
        return;
    }
    let output = Command::new("shellcheck").arg(&script).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn help_and_misuse_have_their_exit_codes() {
    let dir = TempDir::new().unwrap();
    let script = write_script(dir.path());
    let tools = default_tools(dir.path());
    for args in [&["--help"][..], &["node", "--help"], &["cluster", "-h"]] {
        let output = collect(&tools, &script, args);
        succeed(&output);
        assert!(
            String::from_utf8(output.stdout)
                .unwrap()
                .contains("sh collect.sh node")
        );
    }
    for args in [
        &[][..],
        &["nodes"],
        &["node", "--nod", "x"],
        &["node", "--out"],
        &["user", "bob"],
        &["cluster", "--root", "/"],
        &["node", "extra"],
    ] {
        assert_eq!(
            collect(&tools, &script, args).status.code(),
            Some(2),
            "{args:?}"
        );
    }
}
