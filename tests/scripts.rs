//! What the generated scripts promise: guards that stop before anything is written, runs that can be
//! killed anywhere and started again, a way back that restores every byte, and nothing executed that
//! comes from a table or a path. All of it under dash, bash and busybox ash, in sandbox roots.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

const SHELLS: [&[&str]; 3] = [&["dash"], &["bash"], &["busybox", "sh"]];
const FIRST: &str = "01-first";
const SECOND: &str = "02-second";

/// A file name with everything that a careless script would run, split or expand.
const HOSTILE: &str =
    "/etc/kubernetes/pki/-n $(touch canary)`touch canary`;touch canary 'q' \"d\" * [a] \\ ü.crt";
const KEY: &str = "/etc/kubernetes/pki/new dir/-ca.key";
const ADMIN: &str = "/etc/kubernetes/admin.conf";
const BOOT: &str = "/etc/kubernetes/boot strap.conf";
const MANIFEST: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
const OLD: &str = "/etc/kubernetes/pki/old-€.crt";

// ---- The plan, made by hand.

/// One line of CHANGES, with whole files as they are on the node.
struct Action {
    step: u8,
    set: &'static str,
    op: &'static str,
    path: String,
    mode: u32,
    keys: &'static str,
    pre: Option<String>,
    post: Option<String>,
}

impl Action {
    fn write(
        step: u8,
        path: &str,
        mode: u32,
        keys: &'static str,
        pre: Option<&str>,
        post: &str,
    ) -> Self {
        let (pre, post) = (pre.map(str::to_owned), Some(post.to_owned()));
        Self {
            step,
            set: "@all",
            op: "write",
            path: path.to_owned(),
            mode,
            keys,
            pre,
            post,
        }
    }

    fn remove(step: u8, path: &str, pre: &str) -> Self {
        Self {
            step,
            set: "@all",
            op: "remove",
            path: path.to_owned(),
            mode: 0,
            keys: "-",
            pre: Some(pre.to_owned()),
            post: None,
        }
    }

    fn restart(step: u8, what: &str, runs: Option<&str>) -> Self {
        let post = runs.map(str::to_owned);
        Self {
            step,
            set: "@all",
            op: "restart",
            path: what.to_owned(),
            mode: 0,
            keys: "-",
            pre: None,
            post,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The public form of the few shapes that the plan has, computed apart from the scripts.
fn public(path: &str, text: &str) -> String {
    let mut place = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            place.push(char::from(byte));
        } else {
            let _ = write!(place, "%{byte:02X}");
        }
    }
    let (mut out, mut block, mut count) = (String::new(), String::new(), 0);
    for line in text.lines() {
        if !block.is_empty() || line.contains("BEGIN PRIVATE KEY") {
            block.push_str(line);
            block.push('\n');
            if line.contains("END PRIVATE KEY") {
                count += 1;
                let _ = writeln!(out, "carota-kept:sha256:{}", hex(block.as_bytes()));
                block.clear();
            }
        } else if let Some((indent, value)) = line.split_once("client-key-data: ") {
            count += 1;
            let _ = writeln!(
                out,
                "{indent}client-key-data: carota-kept:sha256:{}",
                hex(value.as_bytes())
            );
        } else if let Some((indent, _)) = line.split_once("token: ") {
            count += 1;
            let _ = writeln!(out, "{indent}token: carota-kept:token@{place}#{count}");
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// A private key of this run, as PEM.
fn key() -> &'static str {
    static KEY: OnceLock<String> = OnceLock::new();
    KEY.get_or_init(|| {
        let made = Command::new("openssl")
            .args([
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ])
            .output()
            .expect("openssl makes the test's keys");
        String::from_utf8(made.stdout).expect("PEM is text")
    })
}

fn token() -> String {
    format!("secret-{}", &hex(key().as_bytes())[..20])
}

fn kubeconfig(ca: &str) -> String {
    let data = key()
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect::<String>();
    // Base64 of base64 is as good a stand-in for base64 of PEM as any, and as private.
    format!(
        "clusters:\n- cluster:\n    certificate-authority-data: {ca}\nusers:\n- user:\n    client-key-data: {data}{data}\n"
    )
}

fn bootstrap(ca: &str) -> String {
    format!(
        "clusters:\n- cluster:\n    certificate-authority-data: {ca}\nusers:\n- user:\n    token: {}\n",
        token()
    )
}

fn manifest(ca: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: kube-apiserver\nspec:\n  containers:\n  - command:\n    - kube-apiserver\n    \
         - --client-ca-file={ca}\n    - --secure-port=6443\n    image: kube-apiserver\n    livenessProbe:\n      httpGet:\n        \
         host: 10.0.0.1\n        path: /livez\n        port: probe-port\n        scheme: HTTPS\n    name: kube-apiserver\n    \
         ports:\n    - containerPort: 6443\n      name: probe-port\n"
    )
}

fn first_phase() -> Vec<Action> {
    let (narrow, wide) = (
        manifest("/etc/kubernetes/pki/ca.crt"),
        manifest("/etc/kubernetes/pki/ca-bundle.crt"),
    );
    vec![
        Action::write(1, HOSTILE, 0o644, "-", None, "both\n"),
        Action::write(1, KEY, 0o600, "new", None, key()),
        Action::write(
            2,
            ADMIN,
            0o600,
            "kept",
            Some(&kubeconfig("OLD")),
            &kubeconfig("BOTH"),
        ),
        Action::write(2, MANIFEST, 0o600, "-", Some(&narrow), &wide),
        Action::restart(2, &format!("static-pod:{MANIFEST}"), Some(&wide)),
        Action::write(
            3,
            BOOT,
            0o640,
            "kept",
            Some(&bootstrap("OLD")),
            &bootstrap("BOTH"),
        ),
        Action::restart(3, "kubelet", None),
        Action::remove(3, OLD, "old\n"),
    ]
}

fn second_phase() -> Vec<Action> {
    let (narrow, wide) = (
        manifest("/etc/kubernetes/pki/ca.crt"),
        manifest("/etc/kubernetes/pki/ca-bundle.crt"),
    );
    vec![
        Action::write(1, MANIFEST, 0o600, "-", Some(&wide), &narrow),
        Action::restart(1, &format!("static-pod:{MANIFEST}"), Some(&narrow)),
        Action::write(
            2,
            ADMIN,
            0o600,
            "kept",
            Some(&kubeconfig("BOTH")),
            &kubeconfig("NEW"),
        ),
        Action {
            set: "cp-1",
            ..Action::write(
                3,
                ADMIN,
                0o600,
                "kept",
                Some(&kubeconfig("NEW")),
                &kubeconfig("NEWEST"),
            )
        },
        Action::remove(3, HOSTILE, "both\n"),
    ]
}

/// A manifest that holds something private as well.
fn private_manifest(ca: &str) -> String {
    manifest(ca).replace(
        "spec:",
        &format!("  annotations:\n    token: {}\nspec:", token()),
    )
}

/// What the fault injection runs: each kind of action once, as few operations as that takes.
fn faulty_phase() -> Vec<Action> {
    let wide = private_manifest("/etc/kubernetes/pki/ca-bundle.crt");
    vec![
        Action::write(1, KEY, 0o600, "new", None, key()),
        Action::write(
            2,
            MANIFEST,
            0o600,
            "kept",
            Some(&private_manifest("/etc/kubernetes/pki/ca.crt")),
            &wide,
        ),
        Action::restart(
            2,
            &format!("static-pod:{MANIFEST}"),
            Some(&public(MANIFEST, &wide)),
        ),
        Action::remove(3, OLD, "old\n"),
    ]
}

/// A folder with a plan, its private files, programs that stand in for others, and a home.
struct Fixture {
    dir: TempDir,
    runs: AtomicUsize,
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a path in a folder")).expect("folder");
    fs::write(path, text).expect("file");
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// A folder in memory, where there is one.
fn fixture_folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() {
        TempDir::new_in(memory)
    } else {
        TempDir::new()
    };
    dir.expect("temporary folder")
}

impl Fixture {
    fn new(phases: &[(&str, Vec<Action>)]) -> Self {
        let fixture = Self {
            dir: fixture_folder(),
            runs: AtomicUsize::new(0),
        };
        fixture.write_lib();
        let mut previous = "-";
        for (name, actions) in phases {
            fixture.write_phase(name, previous, actions);
            previous = name;
        }
        fixture.write_programs();
        fixture.seal();
        fixture
    }

    /// The folder of the plan has a hostile name too.
    fn plan(&self) -> PathBuf {
        self.dir
            .path()
            .join("a $(touch canary) 'q' \"d\" [b], ü/plan")
    }

    fn write_lib(&self) {
        for entry in fs::read_dir(repository("templates/lib")).expect("templates/lib") {
            let path = entry.expect("entry").path();
            put(
                &self
                    .plan()
                    .join("lib")
                    .join(path.file_name().expect("name")),
                &fs::read_to_string(&path).expect("text"),
            );
        }
        self.write_form("tests/scripts/public-form.sh");
    }

    fn write_form(&self, from: &str) {
        let form = fs::read_to_string(repository(from)).expect("the public form's script");
        put(&self.plan().join("lib/public-form.sh"), &form);
    }

    fn write_phase(&self, name: &str, previous: &str, actions: &[Action]) {
        let owner = fs::metadata(self.dir.path())
            .map(|meta| format!("{}:{}", meta.uid(), meta.gid()))
            .expect("owner");
        let folder = self.plan().join(name);
        let mut changes = String::new();
        for action in actions {
            let hash = |text: &Option<String>| {
                text.as_ref().map_or("absent".to_owned(), |text| {
                    hex(public(&action.path, text).as_bytes())
                })
            };
            let (pre, post, mode, user) = match action.op {
                "write" => (
                    hash(&action.pre),
                    hash(&action.post),
                    format!("{:04o}", action.mode),
                    owner.as_str(),
                ),
                "remove" => (hash(&action.pre), "-".into(), "-".into(), "-"),
                _ => (
                    "-".into(),
                    action
                        .post
                        .as_ref()
                        .map_or("-".into(), |text| hex(text.as_bytes())),
                    "-".into(),
                    "-",
                ),
            };
            let _ = writeln!(
                changes,
                "{}\t{}\t{}\t{}\t{mode}\t{user}\t{pre}\t{post}\t{}",
                action.step, action.set, action.op, action.path, action.keys
            );
            if let (Some(post), "write") = (&action.post, action.op) {
                put(
                    &below(&folder.join("nodes").join(action.set), &action.path),
                    &public(&action.path, post),
                );
                if action.keys == "new" {
                    let secrets = self.plan().join("../secrets/nodes/cp-1").join(name);
                    let path = below(&secrets, &action.path);
                    put(&path, post);
                    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("mode");
                }
            }
        }
        put(&folder.join("CHANGES"), &changes);
        put(
            &folder.join("NODES"),
            "@all\tcp-1\n@all\tcp-2\ncp-1\tcp-1\n",
        );
        let number = &name[..2];
        put(
            &folder.join("PHASE"),
            &format!(
                "number\t{number}\nname\t{name}\nprevious\t{previous}\nid\t2026-11\norder\tnode\nserial\tany\nnot-before\t1000\nnot-after\t99999999999\n"
            ),
        );
        for verb in ["apply", "verify", "rollback"] {
            put(&folder.join(format!("{verb}.sh")), &script(name, verb));
        }
    }

    fn write_programs(&self) {
        let bin = self.dir.path().join("bin");
        for (name, source) in [("systemctl", "systemctl.sh"), ("kubectl", "kubectl.sh")] {
            program(
                &bin.join(name),
                &fs::read_to_string(repository("tests/scripts").join(source)).expect("stand-in"),
            );
        }
        program(&bin.join("curl"), "#!/bin/sh\necho 200\n");
        program(&bin.join("sleep"), "#!/bin/sh\nexec /usr/bin/sleep 0.05\n");
        let fault = fs::read_to_string(repository("tests/scripts/fault.sh")).expect("stand-in");
        for name in [
            "cp", "mv", "rm", "ln", "sync", "chmod", "chown", "mkdir", "rmdir", "kubectl",
        ] {
            program(&self.dir.path().join("fault").join(name), &fault);
        }
        fs::create_dir(self.dir.path().join("home")).expect("home");
    }

    /// Lists every file of the plan in SHA256SUMS, as the compiler does.
    fn seal(&self) {
        let plan = self.plan();
        let _ = fs::remove_file(plan.join("SHA256SUMS"));
        let mut sums = String::new();
        for (path, entry) in tree(&plan) {
            if let Entry::File { bytes, .. } = entry {
                let _ = writeln!(sums, "{}  ./{path}", hex(&bytes));
            }
        }
        put(&plan.join("SHA256SUMS"), &sums);
    }

    fn digest(&self) -> String {
        hex(&fs::read(self.plan().join("SHA256SUMS")).expect("sums"))
    }

    /// A new node, as the snapshot saw it.
    fn node(&self) -> PathBuf {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let root = self
            .dir
            .path()
            .join(format!("roots/a node's \"root\" {number}"));
        for (path, text, mode) in [
            (ADMIN, kubeconfig("OLD"), 0o600),
            (BOOT, bootstrap("OLD"), 0o640),
            (MANIFEST, manifest("/etc/kubernetes/pki/ca.crt"), 0o600),
            (OLD, "old\n".to_owned(), 0o604),
            (
                "/etc/kubernetes/manifests/.hidden",
                "not a pod\n".to_owned(),
                0o644,
            ),
        ] {
            put(&below(&root, path), &text);
            fs::set_permissions(below(&root, path), fs::Permissions::from_mode(mode))
                .expect("mode");
        }
        fs::create_dir_all(root.join("proc")).expect("proc");
        for call in [
            vec!["static-pod".into(), below(&root, MANIFEST).into_os_string()],
            vec!["restart".into(), "kubelet".into()],
        ] {
            let done = Command::new(self.dir.path().join("bin/systemctl"))
                .args(call)
                .env("SANDBOX", &root)
                .status();
            assert!(done.expect("stand-in").success());
        }
        root
    }

    fn command(&self, shell: &[&str], phase: &str, verb: &str) -> Command {
        let mut command = Command::new(where_is(shell[0]));
        let path = std::env::var("PATH").expect("PATH");
        command
            .args(&shell[1..])
            .arg(self.plan().join(phase).join(format!("{verb}.sh")))
            .env(
                "PATH",
                format!("{}:{path}", self.dir.path().join("bin").display()),
            )
            .env("HOME", self.dir.path().join("home"))
            .current_dir(self.dir.path().join("home"));
        command
    }

    fn on_node(&self, shell: &[&str], phase: &str, verb: &str, root: &Path) -> Command {
        let mut command = self.command(shell, phase, verb);
        command
            .args(["--node", "cp-1", "--timeout", "5", "--root"])
            .arg(root);
        let temporary = root.with_extension("tmp");
        fs::create_dir_all(&temporary).expect("folder");
        command
            .env("TMPDIR", temporary)
            .env("SANDBOX", root)
            .env("CAROTA_TEST_RESTART", self.dir.path().join("bin/systemctl"));
        command
    }

    fn run(&self, shell: &[&str], phase: &str, verb: &str, root: &Path, more: &[&str]) -> Output {
        self.on_node(shell, phase, verb, root)
            .args(more)
            .output()
            .expect("the shell runs")
    }

    /// Runs a script that must stop with this exit code, say this, and change nothing.
    fn refused(
        &self,
        shell: &[&str],
        phase: &str,
        verb: &str,
        root: &Path,
        more: &[&str],
        (exit, says): (i32, &str),
    ) {
        let before = files(root);
        let output = self.run(shell, phase, verb, root, more);
        assert_eq!(
            output.status.code(),
            Some(exit),
            "{shell:?} {phase} {verb} {more:?}: {}",
            text(&output)
        );
        assert!(
            text(&output).contains(says),
            "{says:?} is missing in: {}",
            text(&output)
        );
        assert_same(&files(root), &before, "a refused run changed something");
    }

    /// The same with other programs before those that stand in for the node's.
    fn run_with(
        &self,
        programs: &[(&str, &str)],
        shell: &[&str],
        phase: &str,
        verb: &str,
        root: &Path,
        more: &[&str],
    ) -> Output {
        let bin = root.with_extension("more");
        let _ = fs::remove_dir_all(&bin);
        for (name, source) in programs {
            program(&bin.join(name), source);
        }
        let mut command = self.on_node(shell, phase, verb, root);
        let others = self.dir.path().join("bin");
        let path = std::env::var("PATH").expect("PATH");
        let path = format!("{}:{}:{path}", bin.display(), others.display());
        let output = command.args(more).env("PATH", path).output();
        output.expect("the shell runs")
    }

    fn succeeds(
        &self,
        shell: &[&str],
        phase: &str,
        verb: &str,
        root: &Path,
        more: &[&str],
    ) -> String {
        let output = self.run(shell, phase, verb, root, more);
        assert!(
            output.status.success(),
            "{shell:?} {phase} {verb}: {}",
            text(&output)
        );
        self.nothing_private(&text(&output), root);
        text(&output)
    }

    /// No private value on the terminal or in the log, no canary, nothing left in temporary folders.
    fn nothing_private(&self, output: &str, root: &Path) {
        let log = fs::read_to_string(root.join("var/lib/carota/2026-11/log")).unwrap_or_default();
        let body = key().lines().nth(1).expect("a line of the key");
        for text in [output, &log] {
            assert!(
                !text.contains(body) && !text.contains(&token()),
                "private value in: {text}"
            );
        }
        assert!(
            tree(&root.with_extension("tmp")).is_empty(),
            "a temporary file is left"
        );
        assert!(
            !self.dir.path().join("home/canary").exists(),
            "something hostile was executed"
        );
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn program(path: &Path, text: &str) {
    put(path, text);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("mode");
}

/// A thin script, from its template.
fn script(phase: &str, verb: &str) -> String {
    let template = fs::read_to_string(repository("templates/phase").join(format!("{verb}.sh")))
        .expect("template");
    let mut environment = minijinja::Environment::new();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    let context = minijinja::context! {
        phase => minijinja::context! { number => &phase[..2], name => phase },
        title => "a title with 'quotes' and $(touch canary)",
        summary => ["What it does, in words.", "On two lines."],
        nodes => "cp-1, cp-2",
        cluster => "nothing",
    };
    environment
        .render_str(&template, context)
        .expect("the template renders")
}

#[derive(Debug, PartialEq, Eq, Clone)]
enum Entry {
    File {
        bytes: Vec<u8>,
        mode: u32,
        owner: (u32, u32),
    },
    Link(PathBuf),
    Folder,
}

/// Every entry below a folder by its relative path.
fn tree(folder: &Path) -> BTreeMap<String, Entry> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).expect("folder").flatten() {
            let path = entry.path();
            let name = path
                .strip_prefix(folder)
                .expect("below")
                .to_str()
                .expect("UTF-8")
                .to_owned();
            let meta = path.symlink_metadata().expect("meta");
            let kind = if meta.is_symlink() {
                Entry::Link(fs::read_link(&path).expect("link"))
            } else if meta.is_dir() {
                open.push(path);
                Entry::Folder
            } else {
                let bytes = fs::read(&path).expect("bytes");
                Entry::File {
                    bytes,
                    mode: meta.mode() & 0o7777,
                    owner: (meta.uid(), meta.gid()),
                }
            };
            found.insert(name, kind);
        }
    }
    found
}

/// The node's own files: all but the journal and the processes.
fn files(root: &Path) -> BTreeMap<String, Entry> {
    let mut all = tree(root);
    all.retain(|path, _| {
        !path.starts_with("var") && !path.starts_with("proc") && path != "last-pid"
    });
    all
}

/// Fails with the names of what differs; the bytes may be private.
#[track_caller]
fn assert_same(found: &BTreeMap<String, Entry>, wanted: &BTreeMap<String, Entry>, what: &str) {
    let names: std::collections::BTreeSet<_> = found.keys().chain(wanted.keys()).collect();
    let differing: Vec<_> = names
        .into_iter()
        .filter(|name| found.get(*name) != wanted.get(*name))
        .collect();
    assert!(differing.is_empty(), "{what}: {differing:?}");
}

fn content(root: &Path, path: &str) -> String {
    fs::read_to_string(below(root, path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs one check per shell, side by side.
fn in_every_shell(check: impl Fn(&[&str]) + Sync) {
    std::thread::scope(|scope| {
        for shell in SHELLS {
            let check = &check;
            scope.spawn(move || check(shell));
        }
    });
}

fn two_phases() -> Fixture {
    Fixture::new(&[(FIRST, first_phase()), (SECOND, second_phase())])
}

#[test]
fn a_phase_is_applied_verified_and_rolled_back_to_the_same_bytes() {
    let fixture = two_phases();
    if repository("templates/public-form.sh").exists() {
        fixture.write_form("templates/public-form.sh");
        fixture.seal();
    }
    in_every_shell(|shell| {
        let root = fixture.node();
        let start = files(&root);
        fixture.succeeds(
            shell,
            FIRST,
            "apply",
            &root,
            &["--digest", &fixture.digest()],
        );
        assert_eq!(content(&root, HOSTILE), "both\n");
        assert_eq!(content(&root, KEY), key());
        assert_eq!(content(&root, ADMIN), kubeconfig("BOTH"));
        assert_eq!(content(&root, BOOT), bootstrap("BOTH"));
        assert!(!below(&root, OLD).exists());
        let mode = |path: &str| fs::metadata(below(&root, path)).expect("meta").mode() & 0o777;
        assert_eq!(
            [mode(HOSTILE), mode(KEY), mode(ADMIN), mode(BOOT)],
            [0o644, 0o600, 0o600, 0o640]
        );
        assert_eq!(mode("/var/lib/carota/2026-11"), 0o700);
        fixture.succeeds(shell, FIRST, "verify", &root, &[]);
        let middle = files(&root);
        fixture.succeeds(shell, SECOND, "apply", &root, &[]);
        assert_eq!(content(&root, ADMIN), kubeconfig("NEWEST"));
        fixture.succeeds(shell, SECOND, "verify", &root, &[]);
        // Whoever goes through all phases again comes past this one.
        let again = fixture.succeeds(shell, FIRST, "verify", &root, &[]);
        assert!(again.contains("begun since: 02-second. "), "{again}");
        let again = fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        assert!(
            again.contains("already done on cp-1, and 02-second after it; nothing to do"),
            "{again}"
        );
        fixture.refused(
            shell,
            FIRST,
            "rollback",
            &root,
            &[],
            (12, "02-second has been applied here since"),
        );
        fixture.succeeds(shell, SECOND, "rollback", &root, &[]);
        assert_same(&files(&root), &middle, "rolled back");
        fixture.succeeds(shell, FIRST, "rollback", &root, &[]);
        assert_same(&files(&root), &start, "rolled back");
        let again = fixture.succeeds(shell, FIRST, "rollback", &root, &[]);
        assert!(again.contains("nothing to do"), "{again}");
    });
}

#[test]
fn what_a_later_phase_has_changed_is_not_for_an_earlier_one_to_verify() {
    let fixture = two_phases();
    in_every_shell(|shell| {
        let root = fixture.node();
        fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        let said = fixture.succeeds(shell, FIRST, "verify", &root, &[]);
        assert!(!said.contains("begun since"), "{said}");
        assert!(said.contains("kubelet runs as it should"), "{said}");
        // Begun, and stopped in the middle.
        put(&root.join("stubborn"), "");
        let stopped = fixture.run(shell, SECOND, "apply", &root, &["--timeout", "0"]);
        says(&stopped, 23, &["still runs: kube-apiserver"]);
        let said = fixture.succeeds(shell, FIRST, "verify", &root, &["--timeout", "0"]);
        assert!(said.contains("begun since: 02-second. "), "{said}");
        // The static pod is the later phase's, the kubelet is not.
        assert!(!said.contains("kube-apiserver.yaml runs"), "{said}");
        assert!(said.contains("kubelet runs as it should"), "{said}");
        // Nor is what it leaves alone.
        put(&below(&root, BOOT), &bootstrap("EDITED"));
        fixture.refused(shell, FIRST, "verify", &root, &[], (24, BOOT));
    });
}

#[test]
fn the_clusters_half_is_not_verified_once_a_later_phase_was_begun() {
    let fixture = cluster_fixture();
    in_every_shell(|shell| {
        let folder = fixture.dir.path().join(format!("later {}", shell[0]));
        record_api(&folder);
        let root = folder.join("root");
        fs::create_dir(&root).expect("folder");
        let verify = || {
            let root = ["--root", root.to_str().expect("UTF-8")];
            on_cluster(&fixture, shell, "verify", &folder, &root)
        };
        says(&verify(), 24, &["the cluster is not as phase 01-first"]);
        // As the journal of the cluster says, or that of the node that this machine is.
        let own = folder.join("state/2026-11");
        for journal in [&own, &root.join("var/lib/carota/2026-11")] {
            put(&journal.join(SECOND).join("began"), "1\n");
            // Whoever has not done this half cannot leave it to a later phase.
            says(&verify(), 24, &["the cluster is not as phase 01-first"]);
            put(&own.join(FIRST).join("done"), "1\n");
            says(&verify(), 0, &["begun since: 02-second. "]);
            fs::remove_dir_all(journal).expect("journal");
            let _ = fs::remove_dir_all(&own);
        }
        says(&verify(), 24, &["the cluster is not as phase 01-first"]);
    });
}

#[test]
fn a_second_run_does_nothing_and_says_so() {
    let fixture = two_phases();
    in_every_shell(|shell| {
        let root = fixture.node();
        fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        let (node, processes) = (tree(&root.join("etc")), tree(&root.join("proc")));
        let again = fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        assert!(again.contains("already done"), "{again}");
        // A journal that is lost: the files themselves say what is done.
        fs::remove_dir_all(root.join("var")).expect("journal");
        fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        assert_same(&tree(&root.join("etc")), &node, "a second run");
        assert_eq!(tree(&root.join("proc")).len(), processes.len());
        let status = fixture.succeeds(shell, FIRST, "apply", &root, &["--status"]);
        let lines: Vec<_> = status.lines().collect();
        assert!(
            lines[0].starts_with(FIRST) && lines[0].ends_with(&fixture.digest()),
            "{status}"
        );
        assert!(
            lines[1].starts_with(SECOND) && lines[1].ends_with("no"),
            "{status}"
        );
        put(&below(&root, HOSTILE), "changed\n");
        fixture.refused(shell, FIRST, "apply", &root, &[], (13, "+changed"));
        fixture.refused(shell, FIRST, "verify", &root, &[], (24, "+changed"));
        fixture.refused(shell, FIRST, "rollback", &root, &[], (13, "+changed"));
    });
}

#[test]
fn a_dry_run_prints_the_diff_and_changes_nothing() {
    let fixture = two_phases();
    in_every_shell(|shell| {
        let root = fixture.node();
        let before = tree(&root);
        let output = fixture.succeeds(shell, FIRST, "apply", &root, &["--dry-run"]);
        assert_same(&tree(&root), &before, "a dry run");
        for line in [
            format!("1 of 8: would write {HOSTILE}, mode 0644, owner "),
            "+both".into(),
            "-    certificate-authority-data: OLD\n+    certificate-authority-data: BOTH".into(),
            "+    - --client-ca-file=/etc/kubernetes/pki/ca-bundle.crt".into(),
            format!("5 of 8: would restart static-pod:{MANIFEST}"),
            "    token: carota-kept:token@/etc/kubernetes/boot%20strap.conf#1".into(),
            format!("8 of 8: would remove {OLD}"),
        ] {
            assert!(output.contains(&line), "{line:?} is missing in {output}");
        }
        // Every guard that would stop the phase is named, and the first one's exit code returned.
        fixture.refused(
            shell,
            SECOND,
            "apply",
            &root,
            &["--dry-run"],
            (12, "01-first comes first and is not done here"),
        );
        fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        let applied = tree(&root);
        let back = fixture.succeeds(shell, FIRST, "rollback", &root, &["--dry-run"]);
        assert!(
            back.contains(
                "-    certificate-authority-data: BOTH\n+    certificate-authority-data: OLD"
            ),
            "{back}"
        );
        assert_same(&tree(&root), &applied, "a dry run");
    });
}

#[test]
fn drift_stops_a_phase_before_its_first_write() {
    let fixture = two_phases();
    in_every_shell(|shell| {
        // Each damage, the exit code, and what is said of it.
        type Damage<'a> = (&'a dyn Fn(&Path), i32, &'a str);
        let bundle = &|root: &Path| put(&below(root, HOSTILE), "someone else's\n");
        let edited = &|root: &Path| put(&below(root, BOOT), &bootstrap("EDITED"));
        let gone = &|root: &Path| fs::remove_file(below(root, BOOT)).expect("file");
        let mode = &|root: &Path| {
            fs::set_permissions(below(root, ADMIN), fs::Permissions::from_mode(0o644))
                .expect("mode");
        };
        let link = &|root: &Path| {
            fs::rename(below(root, BOOT), below(root, "/etc/kubernetes/real.conf"))
                .expect("rename");
            symlink("real.conf", below(root, BOOT)).expect("link");
        };
        let outside = &|root: &Path| {
            fs::remove_dir_all(root.join("etc/kubernetes/pki")).expect("folder");
            symlink(fixture.dir.path(), root.join("etc/kubernetes/pki")).expect("link");
        };
        let folder = &|root: &Path| fs::create_dir_all(below(root, KEY)).expect("folder");
        let rekeyed = &|root: &Path| {
            put(
                &below(root, ADMIN),
                &kubeconfig("OLD").replace("client-key-data: ", "client-key-data: A"),
            );
        };
        let damages: [Damage; 8] = [
            (bundle, 13, "-someone else's\n+both"),
            (
                edited,
                13,
                "-    certificate-authority-data: EDITED\n+    certificate-authority-data: BOTH",
            ),
            (gone, 13, "is not there"),
            (
                mode,
                13,
                "/etc/kubernetes/admin.conf: mode and owner are 644",
            ),
            (link, 13, "is a symbolic link now"),
            (outside, 13, "behind a symbolic link"),
            (folder, 13, "is not a regular file"),
            (rekeyed, 13, "/etc/kubernetes/admin.conf differs"),
        ];
        for (damage, exit, says) in damages {
            let root = fixture.node();
            damage(&root);
            fixture.refused(shell, FIRST, "apply", &root, &[], (exit, says));
        }
    });
}

#[test]
fn guards_stop_with_their_own_exit_code_and_say_what_to_do() {
    let fixture = two_phases();
    in_every_shell(|shell| {
        let root = fixture.node();
        fixture.refused(
            shell,
            SECOND,
            "apply",
            &root,
            &[],
            (12, "01-first/apply.sh, then this one"),
        );
        fixture.refused(
            shell,
            FIRST,
            "apply",
            &root,
            &["--node", "worker-9"],
            (11, "nothing for a node named worker-9"),
        );
        fixture.refused(
            shell,
            FIRST,
            "apply",
            &root,
            &["--node", "$(touch canary)"],
            (2, "not a node's name"),
        );
        fixture.refused(
            shell,
            FIRST,
            "apply",
            &root,
            &["--digest", &"0".repeat(64)],
            (10, "approved is 0000"),
        );
        fixture.refused(
            shell,
            FIRST,
            "apply",
            &root,
            &["--frobnicate"],
            (2, "unknown option --frobnicate"),
        );
        fixture.refused(
            shell,
            FIRST,
            "apply",
            &root,
            &["--ack"],
            (2, "--ack needs a value"),
        );
        let none = fixture.dir.path().join("none");
        fixture.refused(
            shell,
            FIRST,
            "apply",
            &root,
            &["--secrets", none.to_str().expect("UTF-8")],
            (19, "carota bundle --node cp-1"),
        );
        assert!(
            fixture
                .succeeds(shell, FIRST, "apply", &root, &["--help"])
                .contains("17 outside the time window")
        );
    });
}

#[test]
fn a_stray_among_the_manifests_stops_a_phase() {
    let fixture = two_phases();
    in_every_shell(|shell| {
        let root = fixture.node();
        // Anything that is no manifest, and a second manifest of the same pod.
        let stray = below(
            &root,
            "/etc/kubernetes/manifests/kube-apiserver.yaml.bak $(touch canary)",
        );
        put(&stray, "kind: Pod\n");
        fixture.refused(
            shell,
            FIRST,
            "apply",
            &root,
            &[],
            (18, "Move it to another directory"),
        );
        fs::rename(&stray, below(&root, "/etc/kubernetes/manifests/z.yaml")).expect("rename");
        put(
            &below(&root, "/etc/kubernetes/manifests/z.yaml"),
            &manifest("x"),
        );
        fixture.refused(
            shell,
            FIRST,
            "apply",
            &root,
            &[],
            (
                18,
                "two files in /etc/kubernetes/manifests are manifests of the pod kube-apiserver",
            ),
        );
        fs::remove_file(below(&root, "/etc/kubernetes/manifests/z.yaml")).expect("file");
    });
}

#[test]
fn a_lock_is_respected_while_its_holder_lives() {
    let fixture = two_phases();
    in_every_shell(|shell| {
        let root = fixture.node();
        // The holder is this test; then the same number, of a process that is gone.
        let this = fs::read_to_string("/proc/self/stat").expect("stat");
        let start = this
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.split(' ').nth(19))
            .expect("start");
        put(
            &root.join("var/lib/carota/2026-11/lock"),
            &format!("{} {start}\n", std::process::id()),
        );
        fixture.refused(shell, FIRST, "apply", &root, &[], (16, "is at work on"));
        put(
            &root.join("var/lib/carota/2026-11/lock"),
            &format!("{} 1\n", std::process::id()),
        );
        let taken = fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        assert!(taken.contains("taking over"), "{taken}");
        assert!(!root.join("var/lib/carota/2026-11/lock").exists());
    });
}

/// Several runs find the lock of a killed one. The quickest takes it over while the slower still believe what they have read.
#[test]
fn a_lock_that_was_just_taken_over_is_left_alone() {
    let fixture = two_phases();
    in_every_shell(|shell| {
        let root = fixture.node();
        let state = root.join("var/lib/carota/2026-11");
        let lock = state.join("lock");
        let dead = format!("{} 1\n", std::process::id());
        let locks = || {
            let names = fs::read_dir(&state).expect("folder");
            let names = names.map(|entry| entry.expect("entry").file_name().into_string());
            let is_lock = |name: &String| name.starts_with("lock") || name.starts_with("over");
            names.flatten().filter(is_lock).collect::<Vec<_>>()
        };
        put(&lock, &dead);
        let quicker = "#!/bin/sh\nfor last; do :; done\ncase $last in */over.*) rm \"${last%/*}/lock\"; echo '7 quicker' >\"${last%/*}/lock\" ;; esac\nexec /usr/bin/ln \"$@\"\n";
        let before = files(&root);
        let output = fixture.run_with(&[("ln", quicker)], shell, FIRST, "apply", &root, &[]);
        says(&output, 16, &["another run took"]);
        assert_same(&files(&root), &before, "a run without the lock");
        let held = fs::read_to_string(&lock).expect("the lock is there");
        assert_eq!(held, "7 quicker\n");
        assert_eq!(locks(), ["lock"]);
        // Another one is about to take it over, or was killed at it.
        put(&lock, &dead);
        let over = format!("over.{}.1", std::process::id());
        put(&state.join(&over), "8 also quicker\n");
        let said = fixture.run(shell, FIRST, "apply", &root, &[]);
        says(&said, 16, &["remove ", &over]);
        fs::remove_file(state.join(&over)).expect("removed");
        fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        assert!(locks().is_empty(), "{:?}", locks());
    });
}

/// The folder of a kubeconfig may be a user's own, who puts something in the way of root.
#[test]
fn what_someone_puts_in_the_way_of_a_write_is_not_followed() {
    let fixture = two_phases();
    let victim = fixture.dir.path().join("victim");
    in_every_shell(|shell| {
        let victim = victim.join(shell[0]);
        put(&victim.join("new"), "root's own\n");
        put(&victim.join("file"), "root's own\n");
        let whole = tree(&victim);
        for verb in ["apply", "rollback"] {
            let root = fixture.node();
            if verb == "rollback" {
                fixture.succeeds(shell, FIRST, "apply", &root, &[]);
            }
            let before = files(&root);
            let folder = below(&root, "/etc/kubernetes");
            let way = folder.join(".carota-new");
            // Before the run: it is taken away.
            for planted in [&victim.join("file"), &victim] {
                symlink(planted, &way).expect("link");
                let copy = copy_of(&fixture, &root);
                fixture.succeeds(shell, FIRST, verb, &copy, &[]);
                assert_same(&tree(&victim), &whole, verb);
                fs::remove_file(&way).expect("link");
            }
            // Meanwhile, as each write begins: a link in place of the new directory, one's own, and a link in place of
            // the folder around it.
            let plant = format!("ln -s '{}' \"$last\"", victim.display());
            let own = "mkdir -m 0755 \"$last\"; echo x >\"$last/new\"".to_owned();
            let moved = format!(
                "mv \"${{last%/*}}\" \"${{last%/*}}.away\"; ln -s '{}' \"${{last%/*}}\"",
                victim.display()
            );
            let swapped = "exec 3>&1; /usr/bin/mkdir \"$@\"; mv \"$last\" \"$last.mine\"; mkdir -m 0755 \"$last\"; exit 0".to_owned();
            for what in [plant, own, moved, swapped] {
                let root = copy_of(&fixture, &root);
                let meddler = format!(
                    "#!/bin/sh\nPATH=/usr/bin:/bin\nfor last; do :; done\ncase $last in */etc/kubernetes/.carota-new) {what} ;; esac\nexec mkdir \"$@\"\n"
                );
                let with = [("mkdir", meddler.as_str())];
                let output = fixture.run_with(&with, shell, FIRST, verb, &root, &[]);
                says(&output, 13, &["was changed by someone else just now"]);
                let _ = fs::remove_dir(victim.join(".carota-new"));
                assert_same(&tree(&victim), &whole, &what);
                let admin = if what.starts_with("mv") {
                    "/etc/kubernetes.away/admin.conf"
                } else {
                    ADMIN
                };
                let known = Some(&Entry::File {
                    bytes: content(&root, admin).into_bytes(),
                    mode: 0o600,
                    owner: fs::metadata(below(&root, admin))
                        .map(|meta| (meta.uid(), meta.gid()))
                        .expect("meta"),
                });
                assert_eq!(before.get(&ADMIN[1..]), known, "{what}");
            }
        }
    });
}

#[test]
fn folders_are_made_up_to_the_top() {
    in_every_shell(|shell| {
        // The function alone, with a folder above all others that is missing.
        let node = fs::read_to_string(repository("templates/lib/node.sh")).expect("node.sh");
        let start = node.find("\nmake_dirs() {").expect("the function");
        let end = start + node[start..].find("\n}\n").expect("its end") + 3;
        let script = format!(
            "set -eu\nroot='' state=$1 phase=x\nflush() {{ :; }}\nmkdir() {{ echo \"mkdir $*\"; }}\n{}make_dirs /not-here/a/b\n",
            &node[start..end]
        );
        let state = fixture_folder();
        fs::create_dir(state.path().join("x")).expect("folder");
        let mut command = Command::new("timeout");
        command
            .args(["10"])
            .args(shell)
            .args(["-c", &script, "sh"])
            .arg(state.path());
        let output = command.output().expect("the shell runs");
        let made =
            "mkdir -m 0755 /not-here\nmkdir -m 0755 /not-here/a\nmkdir -m 0755 /not-here/a/b\n";
        assert_eq!(text(&output), made, "{shell:?}");
    });
}

#[test]
fn programs_that_are_missing_or_say_no_stop_a_phase() {
    let fixture = two_phases();
    in_every_shell(|shell| {
        let check = |name: &str, source: &str, exit: i32, says: &str| {
            let root = fixture.node();
            let before = files(&root);
            let bin = root.with_extension("bin");
            program(&bin.join(name), source);
            let path = std::env::var("PATH").expect("PATH");
            let mut command = fixture.on_node(shell, FIRST, "apply", &root);
            command.env("EDITED", below(&root, OLD));
            command.env(
                "PATH",
                format!(
                    "{}:{}:{path}",
                    bin.display(),
                    fixture.dir.path().join("bin").display()
                ),
            );
            let output = command.output().expect("the shell runs");
            assert_eq!(
                output.status.code(),
                Some(exit),
                "{shell:?}: {}",
                text(&output)
            );
            assert!(text(&output).contains(says), "{}", text(&output));
            (root, before)
        };
        let full = "#!/bin/sh\nprintf 'Filesystem 1024-blocks Used Available Capacity Mounted on\\nd 9 8 7 50%% /a b\\n'\n";
        let (root, before) = check("df", full, 15, "has 7 KiB free");
        assert_same(&files(&root), &before, "a run that was stopped");
        let late = "#!/bin/sh\nprintf 'Filesystem 1024-blocks Used Available Capacity Mounted on\\nd 9 8 %s000 17%% /\\n' \"$(date +%s)\"\n";
        let (root, before) = check("df", late, 0, "is done");
        assert_ne!(files(&root), before);
        // Someone edits a file between the check and the write: df is asked in between.
        let meddler = "#!/bin/sh\necho more >>\"$EDITED\"\n";
        let (root, _) = check("df", meddler, 13, "was changed by someone else just now");
        assert!(content(&root, OLD).starts_with("old\nmore\n"));
        fs::write(below(&root, OLD), "old\n").expect("file");
        fixture.succeeds(shell, FIRST, "apply", &root, &[]);

        // Not root, without --root; the script stops before it looks at anything.
        let bin = root.with_extension("bin");
        program(&bin.join("id"), "#!/bin/sh\necho 1000\n");
        let mut command = fixture.command(shell, FIRST, "apply");
        command
            .args(["--node", "cp-1"])
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
        let output = command.output().expect("the shell runs");
        assert_eq!(output.status.code(), Some(14), "{}", text(&output));
    });
}

/// A program's path.
fn where_is(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").expect("PATH");
    let found = std::env::split_paths(&path).map(|folder| folder.join(name));
    { found }.find(|path| path.exists()).expect("the program")
}

/// The programs that main.sh asks for before anything else.
fn tools() -> Vec<String> {
    let main = fs::read_to_string(repository("templates/lib/main.sh")).expect("main.sh");
    let (_, rest) = main.split_once("for tool in ").expect("the list of tools");
    let (list, _) = rest.split_once(';').expect("its end");
    list.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_node_needs_no_more_than_what_is_asked_for_before_the_first_write() {
    let fixture = two_phases();
    fixture.write_form("templates/public-form.sh");
    fixture.seal();
    let tools = tools();
    let all = fixture.dir.path().join("all");
    fs::create_dir(&all).expect("folder");
    for name in &tools {
        symlink(where_is(name), all.join(name)).expect("link");
    }
    in_every_shell(|shell| {
        let run = |verb: &str, root: &Path, path: &Path| {
            let mut command = Command::new(where_is(shell[0]));
            command
                .args(&shell[1..])
                .arg(fixture.plan().join(FIRST).join(format!("{verb}.sh")))
                .args(["--node", "cp-1", "--root"])
                .arg(root)
                .env("PATH", path)
                .output()
                .expect("the shell runs")
        };
        // With nothing else the phase goes forth and back.
        let root = fixture.node();
        let start = files(&root);
        for verb in ["apply", "verify", "rollback"] {
            let output = run(verb, &root, &all);
            assert!(
                output.status.success(),
                "{shell:?} {verb}: {}",
                text(&output)
            );
        }
        assert_same(&files(&root), &start, "rolled back");
        // Without any one of them nothing is begun.
        let without = root.with_extension("without");
        for missing in &tools {
            fs::create_dir(&without).expect("folder");
            for name in tools.iter().filter(|name| *name != missing) {
                symlink(all.join(name), without.join(name)).expect("link");
            }
            let output = run("apply", &root, &without);
            assert_eq!(
                output.status.code(),
                Some(22),
                "{shell:?} without {missing}: {}",
                text(&output)
            );
            assert!(
                text(&output).contains(&format!("{missing} is not installed here")),
                "{}",
                text(&output)
            );
            fs::remove_dir_all(&without).expect("folder");
        }
        assert_same(&files(&root), &start, "a run without a tool");
    });
}

#[test]
fn every_exit_code_is_documented_once_and_used() {
    let lib =
        |name: &str| fs::read_to_string(repository("templates/lib").join(name)).expect("a script");
    let mut used = std::collections::BTreeSet::new();
    for name in ["main.sh", "node.sh", "cluster.sh", "process.sh"] {
        let script = lib(name);
        for word in ["die ", "refuse "] {
            for (at, _) in script.match_indices(word) {
                let number: String = script[at + word.len()..]
                    .chars()
                    .take_while(char::is_ascii_digit)
                    .collect();
                used.extend(number.parse::<u8>());
            }
        }
    }
    let main = lib("main.sh");
    let (_, rest) = main.split_once("exit: ").expect("the list of exit codes");
    let (list, _) = rest.split_once("The scripts check").expect("its end");
    let numbers = list
        .split(|c: char| c.is_whitespace())
        .map(str::parse::<u8>);
    let documented: Vec<u8> = numbers.filter_map(Result::ok).collect();
    let distinct: std::collections::BTreeSet<u8> = documented.iter().copied().collect();
    assert_eq!(distinct.len(), documented.len(), "{list}");
    used.insert(0);
    assert_eq!(used, distinct);
    // Each guard has a number of its own.
    for (number, what) in [
        (10, "plan altered since approval"),
        (11, "wrong node or cluster"),
        (12, "phases out of order"),
        (13, "drift: not as planned for"),
        (14, "not root"),
        (15, "not enough space"),
        (16, "another run holds the lock"),
        (17, "outside the time window"),
        (18, "unknown file among the manifests"),
        (19, "private value not there"),
        (20, "other nodes not ready"),
        (21, "acknowledgement missing"),
        (22, "a tool is missing"),
        (23, "waited in vain"),
        (24, "verification failed"),
    ] {
        assert!(list.contains(&format!("{number} {what}")), "{number}");
    }
    for example in ["kubeadm-ha", "kubeadm-1.20"] {
        let readme = repository("plans").join(example).join("plan/README.md");
        let readme = fs::read_to_string(readme).expect("README.md");
        assert!(readme.contains(list.trim_end()), "{example}");
        assert!(readme.contains(&tools().join(" ")), "{example}");
    }
}

#[test]
fn the_log_says_what_was_done_when_where_and_how_it_ended() {
    let fixture = two_phases();
    in_every_shell(|shell| {
        let root = fixture.node();
        fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        fixture.refused(
            shell,
            FIRST,
            "rollback",
            &root,
            &["--digest", "0"],
            (10, "digest"),
        );
        fixture.succeeds(shell, FIRST, "rollback", &root, &[]);
        let log = content(&root, "/var/lib/carota/2026-11/log");
        for line in log.lines() {
            let (time, what) = line.split_once(' ').expect("a time");
            let digits: String = time
                .chars()
                .map(|c| if c.is_ascii_digit() { '0' } else { c })
                .collect();
            assert_eq!(digits, "0000-00-00T00:00:00Z", "{line}");
            let verb = what.starts_with("cp-1 01-first apply: ");
            assert!(
                verb || what.starts_with("cp-1 01-first rollback: "),
                "{line}"
            );
        }
        let digest = fixture.digest();
        for wanted in [
            format!(" cp-1 01-first apply: begins, plan {digest}\n"),
            format!(" cp-1 01-first apply: 3 of 8: write {ADMIN}: done\n"),
            " cp-1 01-first apply: exit 0\n".to_owned(),
            format!(" cp-1 01-first rollback: put back {ADMIN}\n"),
            " cp-1 01-first rollback: exit 0\n".to_owned(),
        ] {
            assert!(log.contains(&wanted), "{wanted:?} is missing in {log}");
        }
        let mode = fs::metadata(root.join("var/lib/carota/2026-11/log"))
            .expect("log")
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    });
}

#[test]
fn the_way_back_is_in_reverse_order_through_nodes_and_cluster() {
    let fixture = two_phases();
    let cluster = "patch\tcluster/x.yaml\tmerge\n";
    put(&fixture.plan().join(SECOND).join("CHANGES"), "");
    put(&fixture.plan().join(SECOND).join("CLUSTER"), cluster);
    put(&fixture.plan().join(SECOND).join("CLUSTER-BACK"), cluster);
    set_key(&fixture, SECOND, "order", "cluster");
    in_every_shell(|shell| {
        let root = fixture.node();
        let start = files(&root);
        let home = root.with_extension("home");
        let journal = home.join(".carota/2026-11").join(SECOND);
        let back = |more: &[&str]| {
            let mut command = fixture.on_node(shell, FIRST, "rollback", &root);
            command
                .args(more)
                .env("HOME", &home)
                .output()
                .expect("the shell runs")
        };
        fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        let done = files(&root);
        // Nothing here tells whether the cluster's half of a later phase is undone.
        says(
            &back(&[]),
            21,
            &["02-second must be undone", "--ack undone-02-second"],
        );
        // The acknowledgement that it was done, for a later phase's sake, is another one.
        says(&back(&["--ack", SECOND]), 21, &["--ack undone-02-second"]);
        // The cluster's journal is on this machine: it is applied, half applied, half undone.
        for marker in ["done", "progress", "began", "rolling-back"] {
            put(&journal.join(marker), "1\n");
            let output = back(&["--ack", "undone-02-second"]);
            says(
                &output,
                12,
                &["02-second/rollback.sh --cluster", "Roll it back first"],
            );
            fs::remove_file(journal.join(marker)).expect("marker");
        }
        assert_same(&files(&root), &done, "a rollback out of order");
        let other = copy_of(&fixture, &root);
        // It saw it undone.
        says(&back(&[]), 0, &["rolled back"]);
        assert_same(&files(&root), &start, "rolled back");
        fixture.succeeds(
            shell,
            FIRST,
            "rollback",
            &other,
            &["--ack", "undone-02-second"],
        );
        assert_same(&files(&other), &start, "rolled back");
        // There is nothing to go back from: nothing is asked.
        fixture.succeeds(shell, FIRST, "rollback", &root, &[]);
    });
}

/// A program that starts before its files are back would keep the new ones in memory.
#[test]
fn on_the_way_back_files_are_there_before_their_readers_start() {
    let (old, new) = (manifest("/old"), manifest("/new"));
    let z = |text: &str| text.replace("kube-apiserver", "z");
    let other = "/etc/kubernetes/manifests/z.yaml";
    let fixture = Fixture::new(&[(
        FIRST,
        vec![
            Action::write(1, HOSTILE, 0o644, "-", None, "both\n"),
            Action::write(
                2,
                ADMIN,
                0o600,
                "kept",
                Some(&kubeconfig("OLD")),
                &kubeconfig("BOTH"),
            ),
            Action::write(2, MANIFEST, 0o600, "-", Some(&old), &new),
            Action::restart(2, &format!("static-pod:{MANIFEST}"), Some(&new)),
            Action::write(2, other, 0o644, "-", Some(&z(&old)), &z(&new)),
            Action::restart(2, &format!("static-pod:{other}"), Some(&z(&new))),
            Action::restart(2, "kubelet", None),
        ],
    )]);
    let root = fixture.node();
    put(&root.join(&MANIFEST[1..]), &old);
    put(&root.join(&other[1..]), &z(&old));
    // Nobody runs the second program: the phase stops before the kubelet's turn.
    let stopped = fixture.run(SHELLS[0], FIRST, "apply", &root, &[]);
    says(&stopped, 23, &["z.yaml was written, but"]);
    let told = fixture.run(SHELLS[0], FIRST, "rollback", &root, &["--dry-run"]);
    let text = String::from_utf8(told.stdout).unwrap();
    let told: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once("would "))
        .map(|(_, what)| what)
        .collect();
    let back = |path: &str| format!("put back {path}");
    let start = |path: &str| format!("restart static-pod:{path}");
    let wanted = [
        back(ADMIN),
        back(other),
        start(other),
        back(MANIFEST),
        start(MANIFEST),
        "restart kubelet".to_owned(),
        format!("remove {HOSTILE}"),
    ];
    assert_eq!(told, wanted);
}

/// Who started on the way forth knows too little on the way back.
#[test]
fn the_way_back_waits_for_pods_that_no_roll_reaches() {
    let fixture = cluster_fixture();
    put(
        &fixture.plan().join(FIRST).join("CLUSTER-BACK"),
        "patch\tcluster/back.yaml\tmerge\ngate-pods\tdeployment\tshop\tweb\tdelete it\n",
    );
    fixture.seal();
    in_every_shell(|shell| {
        let folder = fixture.dir.path().join(format!("pods of {}", shell[0]));
        record_api(&folder);
        let run = |verb: &str, more: &[&str]| on_cluster(&fixture, shell, verb, &folder, more);
        let ack = ["--ack", "users $(touch canary)"];
        says(&run("apply", &ack), 0, &["is done"]);
        let began = tree(&folder.join("state"))
            .into_keys()
            .find(|path| path.ends_with(&format!("{FIRST}/began")))
            .expect("the journal");
        put(&folder.join("state").join(&began), "2001-01-01T00:00:00Z\n");
        put(
            &folder.join("pods"),
            "web-1-x Running 2002-01-01T00:00:00Z ReplicaSet/web-1\n",
        );
        for _ in 0..2 {
            says(
                &run("rollback", &[]),
                23,
                &["behind:\n  web-1-x (started 2002-01-01T00:00:00Z)"],
            );
        }
        record_api(&folder);
        says(&run("rollback", &[]), 0, &["1 of 1", "rolled back"]);
        let left = tree(&folder.join("state"));
        let left: Vec<&String> = left.keys().filter(|path| path.contains("began")).collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn the_clusters_way_back_waits_for_the_nodes() {
    let fixture = cluster_fixture();
    put(
        &fixture.plan().join(FIRST).join("CHANGES"),
        "1\t@all\tremove\t/x\t-\t-\tabsent\t-\t-\n",
    );
    set_key(&fixture, FIRST, "order", "node cluster");
    in_every_shell(|shell| {
        let folder = fixture.dir.path().join(format!("nodes of {}", shell[0]));
        record_api(&folder);
        let root = folder.join("root");
        fs::create_dir(&root).expect("folder");
        let run = |verb: &str, more: &[&str]| {
            let root = ["--root", root.to_str().expect("UTF-8")];
            on_cluster(&fixture, shell, verb, &folder, &[&root, more].concat())
        };
        let users = ["--ack", "users $(touch canary)"];
        says(
            &run("apply", &users),
            21,
            &["01-first/apply.sh on every node", "--ack 01-first"],
        );
        says(
            &run("apply", &[&users[..], &["--ack", FIRST]].concat()),
            0,
            &["is done"],
        );
        let applied = || fs::read_to_string(folder.join("applied")).expect("applied");
        let before = applied();
        // What vouched for the way forth does not vouch for the way back.
        says(
            &run("rollback", &[]),
            21,
            &[
                "01-first/rollback.sh on every node",
                "--ack undone-01-first",
            ],
        );
        // One of the nodes is this machine, and says that it is not.
        put(
            &root.join("var/lib/carota/2026-11").join(FIRST).join("done"),
            "1\n",
        );
        let sure = ["--ack", "undone-01-first"];
        says(
            &run("rollback", &sure),
            12,
            &["01-first has been applied since (done"],
        );
        assert_eq!(applied(), before);
        fs::remove_dir_all(root.join("var")).expect("journal");
        says(&run("rollback", &sure), 0, &["rolled back"]);
        assert_ne!(applied(), before);
        says(&run("rollback", &[]), 0, &["nothing to do"]);
    });
}

#[test]
fn no_private_value_is_seen_in_arguments_environment_or_open_files() {
    let fixture = two_phases();
    fixture.write_form("templates/public-form.sh");
    fixture.seal();
    in_every_shell(|shell| {
        let root = fixture.node();
        let (watch, bin) = (root.with_extension("watch"), root.with_extension("watched"));
        let source = fs::read_to_string(repository("tests/scripts/watch.sh")).expect("stand-in");
        for name in tools()
            .iter()
            .map(String::as_str)
            .chain(["openssl", "curl", "diff", "timeout"])
        {
            program(&bin.join(name), &source);
        }
        // Each line of the key, the same in base64 of a kubeconfig, and the token.
        let lines = key().lines().filter(|line| !line.starts_with('-'));
        let values: String = lines.map(|line| format!("{line}\n")).collect();
        put(&watch.join("values"), &format!("{values}{}\n", token()));
        put(&watch.join("seen"), "");
        symlink(fixture.dir.path().join("bin"), watch.join("real")).expect("link");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("PATH"));
        for (phase, verb, more) in [
            (FIRST, "apply", &["--dry-run"][..]),
            (FIRST, "apply", &[]),
            (FIRST, "verify", &[]),
            (SECOND, "apply", &[]),
            (SECOND, "rollback", &[]),
            (FIRST, "rollback", &["--dry-run"]),
            (FIRST, "rollback", &[]),
        ] {
            let mut command = fixture.on_node(shell, phase, verb, &root);
            let output = command
                .args(more)
                .env("PATH", &path)
                .env("WATCH", &watch)
                .output();
            let output = output.expect("the shell runs");
            assert!(output.status.success(), "{phase} {verb}: {}", text(&output));
            fixture.nothing_private(&text(&output), &root);
            let meta = fs::metadata(root.join("var/lib/carota/2026-11"));
            assert!(meta.is_err() || meta.expect("meta").mode() & 0o777 == 0o700);
        }
        let read = |name: &str| fs::read_to_string(watch.join(name)).expect("the watch's file");
        assert_eq!(read("seen"), "", "{shell:?}");
        let called = read("called");
        assert!(called.lines().count() > 300, "{}", called.lines().count());
        for name in ["awk", "cp", "mv", "chmod", "sync", "sha256sum"] {
            assert!(
                called.lines().any(|line| line == name),
                "{name} was not watched"
            );
        }
        // The watch sees what it is for.
        let show = |command: &mut Command| {
            let output = command
                .env("WATCH", &watch)
                .output()
                .expect("the watch runs");
            assert!(output.status.success());
        };
        show(
            Command::new(bin.join("uname"))
                .arg("-s")
                .env("SECRET", token()),
        );
        let open = watch.join("open");
        put(&open, key());
        fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).expect("mode");
        show(Command::new(bin.join("chmod")).arg("0600").arg(&open));
        assert_eq!(read("seen").lines().count(), 2, "{}", read("seen"));
    });
}

#[test]
fn a_plan_that_was_altered_is_refused() {
    in_every_shell(|shell| {
        let fixture = two_phases();
        let root = fixture.node();
        let digest = fixture.digest();
        fixture.succeeds(shell, FIRST, "apply", &root, &["--digest", &digest]);
        let image = below(&fixture.plan().join(SECOND).join("nodes/@all"), MANIFEST);
        let whole = fs::read_to_string(&image).expect("image");
        fs::write(&image, "other\n").expect("image");
        fixture.refused(
            shell,
            SECOND,
            "apply",
            &root,
            &[],
            (10, "kube-apiserver.yaml: FAILED"),
        );
        fs::write(&image, whole).expect("image");
        let added = fixture.plan().join(SECOND).join(".hidden $(touch canary)");
        put(&added, "note\tmore\n");
        fixture.refused(
            shell,
            SECOND,
            "apply",
            &root,
            &[],
            (10, "files were added to the plan"),
        );
        // Even one that is whole, when it is another than the one before.
        fixture.seal();
        fixture.refused(
            shell,
            SECOND,
            "apply",
            &root,
            &["--digest", &digest],
            (10, "not the approved one"),
        );
        fixture.refused(
            shell,
            SECOND,
            "apply",
            &root,
            &[],
            (10, &format!("--digest {}", fixture.digest())),
        );
        fixture.succeeds(
            shell,
            SECOND,
            "apply",
            &root,
            &["--digest", &fixture.digest()],
        );
    });
}

/// A bundle has no files of other nodes, and none for reviewers alone. Anything else that is missing is seen.
#[test]
fn what_a_node_does_not_need_may_be_missing_and_nothing_else() {
    in_every_shell(|shell| {
        let fixture = two_phases();
        let root = fixture.node();
        let plan = fixture.plan();
        let foreign = plan.join(SECOND).join("nodes/worker-9/etc/a b.conf");
        for path in [
            &foreign,
            &plan.join("plan.json"),
            &plan.join("report.html"),
            &plan.join("plan.json.sh"),
        ] {
            put(path, "x\n");
        }
        fixture.seal();
        for path in [&foreign, &plan.join("plan.json"), &plan.join("report.html")] {
            fs::remove_file(path).expect("a file");
        }
        let start = files(&root);
        let image = below(&plan.join(FIRST).join("nodes/@all"), MANIFEST);
        for (missing, says) in [
            (plan.join("plan.json.sh"), "plan.json.sh"),
            (image, "is missing; copy the plan again"),
        ] {
            let text = fs::read_to_string(&missing).expect("a file");
            fs::remove_file(&missing).expect("a file");
            fixture.refused(shell, FIRST, "apply", &root, &[], (10, says));
            assert_same(&files(&root), &start, "refused");
            put(&missing, &text);
        }
        fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        fixture.succeeds(shell, FIRST, "verify", &root, &[]);
        fixture.succeeds(shell, FIRST, "rollback", &root, &[]);
    });
}

/// Rewrites one key of a phase's PHASE file.
fn set_key(fixture: &Fixture, phase: &str, key: &str, value: &str) {
    let path = fixture.plan().join(phase).join("PHASE");
    let old = fs::read_to_string(&path).expect("PHASE");
    let mut kept = String::new();
    for line in old
        .lines()
        .filter(|line| line.split('\t').next() != Some(key))
    {
        let _ = writeln!(kept, "{line}");
    }
    fs::write(path, format!("{kept}{key}\t{value}\n")).expect("PHASE");
    fixture.seal();
}

#[test]
fn the_clock_is_asked_but_does_not_shut_the_way_back() {
    in_every_shell(|shell| {
        let fixture = two_phases();
        let root = fixture.node();
        set_key(&fixture, FIRST, "not-after", "2000");
        fixture.refused(
            shell,
            FIRST,
            "apply",
            &root,
            &[],
            (17, "Set the clock right"),
        );
        // The way back is not shut by a clock.
        set_key(&fixture, FIRST, "not-after", "99999999999");
        let other = fixture.node();
        fixture.succeeds(shell, FIRST, "apply", &other, &[]);
        set_key(&fixture, FIRST, "not-after", "2000");
        let digest = fixture.digest();
        let sure = ["--digest", digest.as_str()];
        fixture.refused(
            shell,
            FIRST,
            "rollback",
            &other,
            &sure,
            (17, "or add --i-checked if no certificate has expired"),
        );
        let sure = [sure[0], sure[1], "--i-checked"];
        fixture.succeeds(shell, FIRST, "rollback", &other, &sure);
    });
}

#[test]
fn the_neighbours_and_acknowledgements_are_asked() {
    in_every_shell(|shell| {
        let fixture = two_phases();
        let root = fixture.node();
        // What only people can know, by its name.
        put(
            &fixture.plan().join(FIRST).join("CLUSTER"),
            "ack\tload balancers\tevery load balancer trusts both\n",
        );
        set_key(&fixture, FIRST, "serial", "1");
        fixture.refused(
            shell,
            FIRST,
            "apply",
            &root,
            &["--ack", "load"],
            (21, "every load balancer trusts both"),
        );
        let ack = ["--ack", "load balancers"];

        // One node at a time: kubectl answers, or is not asked at all.
        set_key(&fixture, FIRST, "control-planes", "cp-1 cp-2");
        let cluster = fixture.dir.path().join("cluster");
        put(&cluster.join("nodes"), "cp-1 node False\ncp-2 node True\n");
        put(
            &cluster.join("static-pods"),
            "cp-1 etcd-cp-1 False\ncp-2 etcd-cp-2 False\n",
        );
        let with_api = |more: &[&str]| {
            let mut command = fixture.on_node(shell, FIRST, "apply", &root);
            command
                .args(ack)
                .args(more)
                .env("CLUSTER", &cluster)
                .output()
                .expect("the shell runs")
        };
        let output = with_api(&[]);
        says(&output, 20, &["cp-2 etcd-cp-2 False"]);
        assert!(!text(&output).contains("cp-1 node"), "{}", text(&output));
        put(
            &cluster.join("static-pods"),
            "cp-1 etcd-cp-1 False\ncp-2 etcd-cp-2 True\n",
        );
        fixture.refused(
            shell,
            FIRST,
            "apply",
            &root,
            &ack,
            (20, "then add --i-checked"),
        );
        // A pod is reported ready some seconds after its process answers: that is waited for.
        let static_pods = cluster.join("static-pods");
        // So is one that is not there while its kubelet gives it to the API anew.
        put(&static_pods, "cp-2 etcd-cp-2 False\n");
        let ready = std::thread::spawn(move || {
            for pods in ["", "cp-2 etcd-cp-2 True\n"] {
                std::thread::sleep(std::time::Duration::from_secs(3));
                put(&static_pods, pods);
            }
        });
        let output = with_api(&["--timeout", "60"]);
        ready.join().expect("the file is written");
        assert!(output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("waiting for the other nodes"));
        fixture.succeeds(shell, FIRST, "rollback", &root, &["--i-checked"]);

        // Where no static pod is restarted, as on a worker, no quorum can be lost.
        let changes = fixture.plan().join(FIRST).join("CHANGES");
        let whole = fs::read_to_string(&changes).expect("CHANGES");
        let without: Vec<_> = whole.lines().filter(|l| !l.contains(MANIFEST)).collect();
        put(&changes, &(without.join("\n") + "\n"));
        fixture.seal();
        fixture.succeeds(shell, FIRST, "apply", &root, &ack);
        fixture.succeeds(shell, FIRST, "rollback", &root, &[]);
        put(&changes, &whole);
        fixture.seal();

        // The other half of the plan, when it comes first.
        put(
            &fixture.plan().join(FIRST).join("CLUSTER"),
            "patch\tcluster/x.yaml\tmerge\n",
        );
        set_key(&fixture, FIRST, "order", "cluster node");
        fixture.refused(
            shell,
            FIRST,
            "apply",
            &root,
            &["--i-checked"],
            (21, "--ack 01-first"),
        );
        fixture.succeeds(
            shell,
            FIRST,
            "apply",
            &root,
            &["--i-checked", "--ack", FIRST],
        );

        // An id becomes part of a path.
        set_key(&fixture, FIRST, "id", "../$(touch canary)");
        fixture.refused(shell, FIRST, "apply", &root, &[], (10, "not a name"));
        assert!(!fixture.dir.path().join("home/canary").exists());
    });
}

#[test]
fn nobody_can_vouch_for_a_node_that_is_seen_not_to_be_ready() {
    let fixture = two_phases();
    set_key(&fixture, FIRST, "serial", "1");
    set_key(&fixture, FIRST, "control-planes", "cp-1 cp-2");
    in_every_shell(|shell| {
        let root = fixture.node();
        let cluster = root.with_extension("cluster");
        let run = |verb: &str, more: &[&str]| {
            let mut command = fixture.on_node(shell, FIRST, verb, &root);
            command.args(more).env("CLUSTER", &cluster);
            command.output().expect("the shell runs")
        };
        let api = |nodes: &str, pods: &str| {
            put(&cluster.join("nodes"), nodes);
            put(&cluster.join("static-pods"), pods);
        };
        let bad = "  cp-2 etcd-cp-2 False";
        api("cp-2 node True\n", "cp-2 etcd-cp-2 False\n");
        let sure = ["--i-checked", "--timeout", "1"];
        let output = run("apply", &sure);
        says(&output, 20, &[bad, "--ack others-not-ready"]);
        let tried = run("apply", &["--dry-run", "--i-checked"]);
        says(&tried, 20, &["would stop here with exit 20", bad]);
        // An answer that leaves a control plane out says nothing of it: that can be vouched for.
        for (nodes, pods) in [
            ("", ""),
            ("", "cp-1 etcd-cp-1 True\ncp-3 etcd-cp-3 True\n"),
            // A Node is ready as long as its kubelet is.
            ("cp-2 node True\n", "cp-1 etcd-cp-1 True\n"),
        ] {
            api(nodes, pods);
            let wanted = ["  cp-2: the API knows no pod", "then add --i-checked"];
            says(&run("apply", &["--timeout", "1"]), 20, &wanted);
        }
        says(&run("apply", &sure), 0, &["is done"]);
        says(&run("rollback", &sure), 0, &["rolled back"]);
        // Beside a machine that is lost there is a way on, and back, for whoever takes the risk: each time anew.
        api("cp-2 node True\n", "cp-2 etcd-cp-2 False\n");
        let lost = ["--ack", "others-not-ready", "--timeout", "60"];
        says(&run("apply", &lost), 0, &[bad, "is done"]);
        says(&run("rollback", &sure), 20, &[bad]);
        says(&run("rollback", &lost), 0, &[bad, "rolled back"]);
    });
}

#[test]
fn a_node_of_neither_control_plane_nor_etcd_waits_for_nobody() {
    let fixture = two_phases();
    set_key(&fixture, FIRST, "serial", "1");
    set_key(&fixture, FIRST, "control-planes", "cp-2 cp-3");
    in_every_shell(|shell| {
        let root = fixture.node();
        fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        fixture.succeeds(shell, FIRST, "rollback", &root, &[]);
    });
}

/// Members that are units of systemd: the API knows nothing of them, whatever it says of the control planes.
#[test]
fn the_other_members_of_etcd_are_asked_beside_the_api() {
    let fixture = two_phases();
    set_key(&fixture, FIRST, "serial", "1");
    set_key(&fixture, FIRST, "control-planes", "cp-1 cp-2");
    let members = "cp-1=https://10.0.0.1:2379 cp-2=https://10.0.0.2:2379";
    set_key(&fixture, FIRST, "etcd-members", members);
    in_every_shell(|shell| {
        let root = fixture.node();
        let cluster = root.with_extension("cluster");
        put(&cluster.join("nodes"), "cp-2 node True\n");
        put(
            &cluster.join("static-pods"),
            "cp-2 kube-apiserver-cp-2 True\n",
        );
        let curl = format!(
            "#!/bin/sh\nfor last; do :; done\necho \"$*\" >>'{0}/asked'\ncase $last in https://10.0.0.2:2379/health) cat '{0}/health' ;; *) echo 200 ;; esac\n",
            cluster.display().to_string().replace('\'', "'\\''")
        );
        let run = |verb: &str, more: &[&str]| {
            let bin = root.with_extension("more");
            program(&bin.join("curl"), &curl);
            let others = fixture.dir.path().join("bin");
            let path = std::env::var("PATH").expect("PATH");
            let path = format!("{}:{}:{path}", bin.display(), others.display());
            let mut command = fixture.on_node(shell, FIRST, verb, &root);
            command
                .args(more)
                .env("PATH", path)
                .env("CLUSTER", &cluster);
            command.output().expect("the shell runs")
        };
        put(&cluster.join("health"), "503\n");
        let start = files(&root);
        // There is no etcd here to ask with.
        says(
            &run("apply", &[]),
            20,
            &["  etcd on cp-2: ", "then add --i-checked"],
        );
        let process = root.join("proc/77");
        put(&process.join("comm"), "etcd\n");
        put(&process.join("environ"), "");
        put(
            &process.join("cmdline"),
            "/etcd\0--trusted-ca-file=/ca\0--peer-cert-file\0/peer.crt\0--peer-key-file=/peer.key\0",
        );
        let sure = ["--i-checked", "--timeout", "1"];
        let bad = "  cp-2: https://10.0.0.2:2379/health answers 503";
        says(&run("apply", &sure), 20, &[bad, "--ack others-not-ready"]);
        put(&cluster.join("health"), "200\n");
        // The API is believed no less.
        put(&cluster.join("nodes"), "cp-2 node False\n");
        says(&run("apply", &sure), 20, &["  cp-2 node False"]);
        assert_same(&files(&root), &start, "a run that was stopped");
        put(&cluster.join("nodes"), "cp-2 node True\n");
        says(&run("apply", &[]), 0, &["is done"]);
        says(&run("rollback", &[]), 0, &["rolled back"]);
        let asked = fs::read_to_string(cluster.join("asked")).expect("asked");
        let of = |what: &str| format!("{what}{}", root.display());
        for line in asked.lines().filter(|line| line.contains(":2379/")) {
            assert!(line.starts_with("-q -g --noproxy * "), "{line}");
            assert!(line.contains(&of("--key ")), "{line}");
            assert!(!line.contains("10.0.0.1:"), "{line}");
        }
    });
}

/// A phase that writes the unit of a program and restarts it, and a node that has it.
fn unit_fixture(name: &str) -> Fixture {
    let unit = format!("/etc/systemd/system/{name}.service");
    Fixture::new(&[(
        FIRST,
        vec![
            Action::write(1, &unit, 0o644, "-", Some("old\n"), "new\n"),
            Action::restart(1, &format!("unit:{name}.service"), None),
        ],
    )])
}

fn unit_node(fixture: &Fixture, name: &str, flags: &str) -> PathBuf {
    let root = fixture.node();
    let unit = root.join(format!("etc/systemd/system/{name}.service"));
    put(&unit, "old\n");
    fs::set_permissions(unit, fs::Permissions::from_mode(0o644)).expect("mode");
    put(&root.join("var/flags"), flags);
    let call = ["restart", &format!("{name}.service")];
    let mut systemctl = Command::new(fixture.dir.path().join("bin/systemctl"));
    let done = systemctl.args(call).env("SANDBOX", &root).status();
    assert!(done.expect("stand-in").success());
    root
}

#[test]
fn a_unit_that_starts_again_and_again_is_not_taken_for_running() {
    let fixture = unit_fixture("kube-apiserver");
    in_every_shell(|shell| {
        let root = unit_node(&fixture, "kube-apiserver", "--secure-port=0\n");
        let crashes = root.join("var/crashes");
        put(&crashes, "");
        let wanted = ["kube-apiserver.service does not keep running: its process was "];
        let short = ["--timeout", "0"];
        says(
            &fixture.run(shell, FIRST, "apply", &root, &short),
            23,
            &wanted,
        );
        says(
            &fixture.run(shell, FIRST, "verify", &root, &short),
            23,
            &wanted,
        );
        // One that systemd waits to start again is not active.
        put(&crashes, "not active\n");
        let wanted = ["kube-apiserver.service is not active"];
        says(
            &fixture.run(shell, FIRST, "verify", &root, &short),
            23,
            &wanted,
        );
        fs::remove_file(crashes).expect("file");
        fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        fixture.succeeds(shell, FIRST, "verify", &root, &[]);
        fixture.succeeds(shell, FIRST, "rollback", &root, &[]);
    });
}

#[test]
fn an_api_server_that_is_a_unit_is_asked_for_its_health_and_its_certificate() {
    let fixture = unit_fixture("kube-apiserver");
    in_every_shell(|shell| {
        let flags =
            "--bind-address=10.0.0.5\n--secure-port\n7443\n--tls-cert-file=/etc/server.crt\n";
        let root = unit_node(&fixture, "kube-apiserver", flags);
        let here = root.display().to_string().replace('\'', "'\\''");
        let curl = format!(
            "#!/bin/sh\nfor last; do :; done\necho \"$last\" >>'{here}/var/asked'\ncat '{here}/var/health'\n"
        );
        let openssl = format!(
            "#!/bin/sh\nif [ \"$1\" = s_client ]; then echo \"$3\" >>'{here}/var/asked'; cat '{here}/var/served'; else exec /usr/bin/openssl \"$@\"; fi\n"
        );
        let programs = [("curl", curl.as_str()), ("openssl", openssl.as_str())];
        let run = |verb: &str, more: &[&str]| {
            fixture.run_with(&programs, shell, FIRST, verb, &root, more)
        };
        let certificate = |name: &str| {
            let made = Command::new("openssl")
                .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj".split(' '))
                .arg(format!("/CN={name}"))
                .output();
            String::from_utf8(made.expect("openssl").stdout).expect("PEM")
        };
        put(&root.join("etc/server.crt"), &certificate("new"));
        put(&root.join("var/served"), &certificate("old"));
        put(&root.join("var/health"), "500\n");
        let short = ["--timeout", "0"];
        let wanted = ["after 0 s https://10.0.0.5:7443/readyz answers 500"];
        says(&run("apply", &short), 23, &wanted);
        put(&root.join("var/health"), "401\n");
        let wanted = ["10.0.0.5:7443 does not serve the certificate in /etc/server.crt"];
        says(&run("verify", &short), 23, &wanted);
        fs::copy(root.join("etc/server.crt"), root.join("var/served")).expect("file");
        says(&run("apply", &[]), 0, &["is done"]);
        says(&run("verify", &[]), 0, &["verified"]);
        let asked = content(&root, "/var/asked");
        let expected = ["https://10.0.0.5:7443/readyz", "10.0.0.5:7443"];
        assert!(
            asked.lines().all(|line| expected.contains(&line)),
            "{asked}"
        );
    });
}

#[test]
fn a_unit_is_asked_at_the_port_that_its_program_has_by_default() {
    for (name, url) in [
        ("kube-apiserver", "https://127.0.0.1:6443/readyz\n"),
        (
            "kube-controller-manager",
            "https://127.0.0.1:10257/healthz\n",
        ),
        ("kube-scheduler", "https://127.0.0.1:10259/healthz\n"),
        ("kube-proxy", ""),
    ] {
        let fixture = unit_fixture(name);
        in_every_shell(|shell| {
            for (flags, asked) in [("--bind-address=::\n", url), ("--secure-port=0\n", "")] {
                let root = unit_node(&fixture, name, flags);
                let here = root.display().to_string().replace('\'', "'\\''");
                let curl = format!(
                    "#!/bin/sh\nfor last; do :; done\necho \"$last\" >>'{here}/var/asked'\necho 200\n"
                );
                put(&root.join("var/asked"), "");
                let output =
                    fixture.run_with(&[("curl", &curl)], shell, FIRST, "apply", &root, &[]);
                says(&output, 0, &["is done"]);
                // Twice: when it has come up, and when it has stayed.
                assert_eq!(content(&root, "/var/asked"), asked.repeat(2), "{name}");
            }
        });
    }
}

#[test]
fn a_kubelet_is_asked_for_its_health_where_the_plan_says_or_nowhere() {
    let fixture = two_phases();
    let changes = fixture.plan().join(FIRST).join("CHANGES");
    let whole = fs::read_to_string(&changes).expect("CHANGES");
    let line = "\trestart\tkubelet\t-\t-\t-\t";
    for (health, asked) in [("http://[::1]:10348/healthz", true), ("-", false)] {
        put(
            &changes,
            &whole.replace(&format!("{line}-"), &format!("{line}{health}")),
        );
        fixture.seal();
        in_every_shell(|shell| {
            let root = fixture.node();
            let here = root.display().to_string().replace('\'', "'\\''");
            // No kubelet tells anything at the usual port.
            let curl = format!(
                "#!/bin/sh\nfor last; do :; done\necho \"$last\" >>'{here}/var/asked'\ncase $last in *:10248/*) echo 000 ;; *) echo 200 ;; esac\n"
            );
            for verb in ["apply", "verify", "rollback"] {
                let output = fixture.run_with(&[("curl", &curl)], shell, FIRST, verb, &root, &[]);
                says(&output, 0, &[]);
            }
            let said = content(&root, "/var/asked");
            assert_eq!(said.lines().any(|line| line == health), asked, "{said}");
            assert!(!said.contains("10248"), "{said}");
        });
    }
}

/// A server of this cluster is asked itself, whatever proxy there is.
#[test]
fn no_proxy_is_asked_for_health() {
    let fixture = two_phases();
    in_every_shell(|shell| {
        let curl = "#!/bin/sh\ncase $* in '-q -g --noproxy * '*) echo 200 ;; *) echo 502 ;; esac\n";
        // As GNU's and busybox's say it: the second is a server that knows nobody without a certificate.
        let wget = "#!/bin/sh\n[ -z \"${http_proxy-}${https_proxy-}${all_proxy-}${HTTPS_PROXY-}\" ] || { echo 'wget: error 502' >&2; exit 8; }\nfor last; do :; done\ncase $last in https:*) echo 'wget: server returned error: HTTP/1.1 401 Unauthorized' >&2; exit 8 ;; esac\n";
        let tools = fixture.dir.path().join(format!("only {}", shell[0]));
        fs::create_dir(&tools).expect("folder");
        for name in tools_and_shells() {
            symlink(where_is(&name), tools.join(name)).expect("link");
        }
        for (name, source) in [("curl", curl), ("wget", wget)] {
            let root = fixture.node();
            let bin = root.with_extension("more");
            program(&bin.join(name), source);
            program(&bin.join("sleep"), "#!/bin/sh\n");
            let path = format!("{}:{}", bin.display(), tools.display());
            for verb in ["apply", "verify"] {
                let mut command = fixture.on_node(shell, FIRST, verb, &root);
                command
                    .env("PATH", &path)
                    .env("http_proxy", "http://proxy:3128");
                command
                    .env("https_proxy", "http://proxy:3128")
                    .env("HTTPS_PROXY", "http://proxy:3128");
                says(&command.output().expect("the shell runs"), 0, &[]);
            }
        }
    });
}

/// What the scripts ask for, and what their tests run by.
fn tools_and_shells() -> Vec<String> {
    let shells = ["dash", "bash", "busybox", "sh", "env"].map(str::to_owned);
    tools().into_iter().chain(shells).collect()
}

#[test]
fn a_renewed_kubelet_certificate_is_named_as_such() {
    let dated = "/var/lib/kubelet/pki/kubelet-client-2026-11-24-10-00-00.pem";
    let link = "/var/lib/kubelet/pki/kubelet-client-current.pem";
    let fixture = Fixture::new(&[(
        FIRST,
        vec![Action::write(
            1,
            dated,
            0o600,
            "kept",
            Some(key()),
            &format!("new\n{}", key()),
        )],
    )]);
    in_every_shell(|shell| {
        let root = fixture.node();
        put(&below(&root, dated), key());
        fs::set_permissions(below(&root, dated), fs::Permissions::from_mode(0o600)).expect("mode");
        symlink(
            "/var/lib/kubelet/pki/kubelet-client-2026-12-01-10-00-00.pem",
            below(&root, link),
        )
        .expect("link");
        fixture.refused(shell, FIRST, "apply", &root, &[], (13, "From phase 12 on"));
        fs::remove_file(below(&root, link)).expect("link");
        symlink(dated, below(&root, link)).expect("link");
        fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        assert_eq!(content(&root, dated), format!("new\n{}", key()));
        assert!(below(&root, link).is_symlink());
    });
}

#[test]
fn a_manifest_that_the_kubelet_refuses_is_found() {
    let fixture = two_phases();
    in_every_shell(|shell| {
        let root = fixture.node();
        put(&root.join("stubborn"), "");
        let output = fixture.run(shell, FIRST, "apply", &root, &["--timeout", "0"]);
        assert_eq!(output.status.code(), Some(23), "{}", text(&output));
        for says in [
            "the process from before the write still runs: kube-apiserver",
            "journalctl -u kubelet",
        ] {
            assert!(text(&output).contains(says), "{}", text(&output));
        }
        let output = fixture.run(shell, FIRST, "verify", &root, &["--timeout", "0"]);
        assert_eq!(output.status.code(), Some(24), "{}", text(&output));
        // Back from the middle: the old process was never replaced, and is right.
        let other = fixture.node();
        put(&other.join("stubborn"), "");
        let start = files(&other);
        assert_eq!(
            fixture
                .run(shell, FIRST, "apply", &other, &["--timeout", "0"])
                .status
                .code(),
            Some(23)
        );
        fixture.succeeds(shell, FIRST, "rollback", &other, &[]);
        assert_same(&files(&other), &start, "rolled back");
        // And forward, once it is taken over.
        fs::remove_file(root.join("stubborn")).expect("file");
        fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        fixture.succeeds(shell, FIRST, "verify", &root, &[]);
    });
}

#[test]
fn a_host_whose_kubelet_is_another_node_is_refused() {
    let fixture = two_phases();
    let root = fixture.node();
    let (pem, other) = (
        root.join("var/lib/kubelet/pki/kubelet-client-current.pem"),
        root.join("var/lib/kubelet/pki/dated.pem"),
    );
    fs::create_dir_all(other.parent().expect("folder")).expect("folder");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/O=system:nodes/CN=system:node:cp-2",
            "-keyout",
        ])
        .args([other.with_extension("key"), "-out".into(), other])
        .output();
    assert!(made.expect("openssl").status.success());
    symlink("/var/lib/kubelet/pki/dated.pem", pem).expect("link");
    in_every_shell(|shell| {
        fixture.refused(
            shell,
            FIRST,
            "apply",
            &root,
            &["--dry-run"],
            (11, "kubelet is cp-2, not cp-1"),
        );
    });
}

#[test]
fn the_tools_of_busybox_will_do() {
    let fixture = two_phases();
    let tools = fixture.dir.path().join("busybox");
    fs::create_dir(&tools).expect("folder");
    let list = Command::new("busybox")
        .arg("--list")
        .output()
        .expect("busybox");
    for name in String::from_utf8_lossy(&list.stdout)
        .lines()
        .filter(|name| *name != "busybox")
    {
        symlink(where_is("busybox"), tools.join(name)).expect("link");
    }
    let root = fixture.node();
    let start = files(&root);
    for verb in ["apply", "verify", "rollback"] {
        let busybox = where_is("busybox").display().to_string();
        let mut command = fixture.on_node(&[&busybox, "sh"], FIRST, verb, &root);
        command.env(
            "PATH",
            format!(
                "{}:{}",
                fixture.dir.path().join("bin").display(),
                tools.display()
            ),
        );
        let output = command.output().expect("busybox runs");
        assert!(output.status.success(), "{verb}: {}", text(&output));
    }
    assert_same(&files(&root), &start, "rolled back");
}

#[test]
fn the_clean_up_destroys_the_backups_and_with_them_the_way_back() {
    let fixture = two_phases();
    let changes = fixture.plan().join(SECOND).join("CHANGES");
    put(&changes, "1\t@all\tforget\t-\t-\t-\t-\t-\t-\n");
    fixture.seal();
    in_every_shell(|shell| {
        let root = fixture.node();
        fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        let kept = |root: &Path| {
            tree(&root.join("var"))
                .keys()
                .filter(|path| path.contains("/backup/"))
                .count()
        };
        assert!(kept(&root) > 0);
        // what a run that was killed had taken out of files
        let left = root.join("var/lib/carota/2026-11").join(FIRST).join("work");
        put(&left.join("values.3/value.1"), key());
        fixture.succeeds(shell, SECOND, "apply", &root, &[]);
        assert_eq!(kept(&root), 0);
        assert!(!left.exists());
        fixture.refused(
            shell,
            SECOND,
            "rollback",
            &root,
            &[],
            (12, "there is no way back"),
        );
    });
}

// ---- Fault injection.

/// Runs a script whose `at`-th operation fails in this way. None: it had fewer operations.
fn with_fault(
    fixture: &Fixture,
    shell: &[&str],
    verb: &str,
    root: &Path,
    mode: &str,
    at: usize,
) -> Option<Output> {
    let command = fixture.on_node(shell, FIRST, verb, root);
    let (output, hit) = faulted(fixture, command, root, mode, at);
    if hit.is_none() {
        assert!(output.status.success(), "{}", text(&output));
    }
    hit.map(|_| output)
}

/// Runs a command whose `at`-th operation fails in this way. Also: which operation that was.
fn faulted(
    fixture: &Fixture,
    mut command: Command,
    place: &Path,
    mode: &str,
    at: usize,
) -> (Output, Option<String>) {
    let folder = place.with_extension("fault");
    put(&folder.join("count"), "0\n");
    let _ = fs::remove_file(folder.join("hit"));
    let path = std::env::var("PATH").expect("PATH");
    let bin = |name: &str| fixture.dir.path().join(name).display().to_string();
    command
        .process_group(0)
        .env("PATH", format!("{}:{}:{path}", bin("fault"), bin("bin")))
        .env("FAULT", &folder)
        .env("FAULT_AT", at.to_string())
        .env("FAULT_FILE", below(place, MANIFEST))
        .env("FAULT_BIN", bin("bin"))
        .env("FAULT_MODE", mode);
    let output = command.output().expect("the shell runs");
    (output, fs::read_to_string(folder.join("hit")).ok())
}

/// Walks one kind of fault through every operation, each on a node of its own: `check(shell, at)` says
/// whether there was an operation of that number. Returns how many there were.
fn at_every_operation(check: impl Fn(&[&str], usize) -> bool + Sync) -> usize {
    let every_shell = std::env::var("CAROTA_FAULTS").is_ok_and(|value| value == "all");
    let (next, last) = (AtomicUsize::new(1), AtomicUsize::new(usize::MAX));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= last.load(Ordering::Relaxed) {
                        return;
                    }
                    for (number, shell) in SHELLS.iter().enumerate() {
                        // Each point under one shell, in turn; under all of them where there is time.
                        if (every_shell || at % SHELLS.len() == number) && !check(shell, at) {
                            last.fetch_min(at, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    last.load(Ordering::Relaxed) - 1
}

/// A node of the fault injection: its manifest holds something private.
fn faulty_node(fixture: &Fixture) -> PathBuf {
    let root = fixture.node();
    fs::write(
        below(&root, MANIFEST),
        private_manifest("/etc/kubernetes/pki/ca.crt"),
    )
    .expect("manifest");
    root
}

/// A node that is done with the phase.
fn done_node(fixture: &Fixture) -> PathBuf {
    let root = faulty_node(fixture);
    fixture.succeeds(SHELLS[0], FIRST, "apply", &root, &[]);
    root
}

/// Whether a killed run left a state that none left before: its files and journal, but not the log,
/// the lock and the staging folder, which the next run replaces. What follows depends on nothing else.
fn is_new(seen: &Mutex<Vec<BTreeMap<String, Entry>>>, root: &Path) -> bool {
    let mut state = tree(root);
    state.retain(|path, _| {
        !path.ends_with("/log") && !path.contains("/lock") && !path.contains("/work/")
    });
    let mut seen = seen.lock().expect("no check has failed");
    let new = !seen.contains(&state);
    if new {
        seen.push(state);
    }
    new
}

/// A node in the state of another, its journal and processes included.
fn copy_of(fixture: &Fixture, root: &Path) -> PathBuf {
    let copy = fixture.dir.path().join(format!(
        "roots/copy {}",
        fixture.runs.fetch_add(1, Ordering::Relaxed)
    ));
    let done = Command::new("/usr/bin/cp")
        .arg("-a")
        .arg(root)
        .arg(&copy)
        .status();
    assert!(done.expect("cp").success());
    copy
}

#[test]
fn a_run_killed_at_any_operation_goes_on_or_back_to_the_same_bytes() {
    let fixture = Fixture::new(&[(FIRST, faulty_phase())]);
    let (start, done) = (files(&faulty_node(&fixture)), files(&done_node(&fixture)));
    let seen = Mutex::new(Vec::new());
    let points = at_every_operation(|shell, at| {
        let root = faulty_node(&fixture);
        let what = format!("{shell:?}, killed at operation {at}");
        let Some(_) = with_fault(&fixture, shell, "apply", &root, "kill", at) else {
            return false;
        };
        if is_new(&seen, &root) {
            let other = copy_of(&fixture, &root);
            fixture.succeeds(shell, FIRST, "rollback", &other, &[]);
            assert_same(&files(&other), &start, &what);
        }
        fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        assert_same(&files(&root), &done, &what);
        true
    });
    println!(
        "apply: killed at each of {points} operations, then finished, or rolled back from each of {} states: the same bytes",
        seen.lock().expect("no check has failed").len()
    );
    assert!(points > 30, "{points}");
}

#[test]
fn a_rollback_killed_at_any_operation_finishes_when_started_again() {
    let fixture = Fixture::new(&[(FIRST, faulty_phase())]);
    let start = files(&faulty_node(&fixture));
    let done = done_node(&fixture);
    let points = at_every_operation(|shell, at| {
        let root = copy_of(&fixture, &done);
        let Some(_) = with_fault(&fixture, shell, "rollback", &root, "kill", at) else {
            return false;
        };
        fixture.succeeds(shell, FIRST, "rollback", &root, &[]);
        assert_same(
            &files(&root),
            &start,
            &format!("{shell:?}, killed at operation {at}"),
        );
        true
    });
    println!("rollback: killed at each of {points} operations, then finished: the same bytes");
    assert!(points > 20, "{points}");
}

#[test]
fn a_full_disk_at_any_operation_is_an_error_and_leaves_nothing_half_done() {
    let fixture = Fixture::new(&[(FIRST, faulty_phase())]);
    let done = files(&done_node(&fixture));
    let points = at_every_operation(|shell, at| {
        let root = faulty_node(&fixture);
        let what = format!("{shell:?}, failed at operation {at}");
        let Some(output) = with_fault(&fixture, shell, "apply", &root, "fail", at) else {
            return false;
        };
        if output.status.success() {
            // some operations may fail: a flush that has a second way, a lock that is left
            assert_same(&files(&root), &done, &what);
        } else {
            assert!(
                text(&output).contains("No space left"),
                "{what}: {}",
                text(&output)
            );
            let manifest = content(&root, MANIFEST);
            let whole =
                |ca: &str| manifest == private_manifest(&format!("/etc/kubernetes/pki/{ca}.crt"));
            assert!(whole("ca") || whole("ca-bundle"), "{what}");
            assert!(
                !files(&root).keys().any(|path| path.contains("carota-new")),
                "{what}: {}",
                text(&output)
            );
        }
        fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        assert_same(&files(&root), &done, &what);
        true
    });
    println!(
        "apply: a full disk at each of {points} operations: an error, nothing half-done, then finished"
    );
}

/// Whether nothing on a node is half-written: each file is as before or as after, and no other is there.
#[track_caller]
fn nothing_half_done(
    root: &Path,
    before: &BTreeMap<String, Entry>,
    after: &BTreeMap<String, Entry>,
    what: &str,
) {
    for (path, entry) in files(root) {
        let known = [before, after]
            .into_iter()
            .any(|all| all.get(&path) == Some(&entry));
        assert!(known, "{what}: {path} is neither as before nor as after");
    }
}

/// Walks someone who edits the manifest, or takes it away, through every operation of a run.
fn overtaken(verb: &str, mode: &str) -> (usize, usize) {
    let fixture = Fixture::new(&[(FIRST, faulty_phase())]);
    let (fresh, applied) = (faulty_node(&fixture), done_node(&fixture));
    let begin = if verb == "apply" { &fresh } else { &applied };
    let end = files(if verb == "apply" { &applied } else { &fresh });
    let before = files(begin);
    let refused = AtomicUsize::new(0);
    let points = at_every_operation(|shell, at| {
        let root = copy_of(&fixture, begin);
        let what = format!("{shell:?} {verb}, {mode} before operation {at}");
        let command = fixture.on_node(shell, FIRST, verb, &root);
        let (output, hit) = faulted(&fixture, command, &root, mode, at);
        let Some(hit) = hit else {
            return false;
        };
        fixture.nothing_private(&text(&output), &root);
        let manifest = below(&root, MANIFEST);
        let renames =
            hit.starts_with("mv ") && hit.trim_end() == format!("mv {}", manifest.display());
        // The one moment that remains: between the last look and the rename, side by side.
        if !renames {
            let vanished = root.with_extension("fault").join("vanished");
            if mode == "edit" {
                let now = fs::read_to_string(&manifest).expect("the manifest");
                assert!(now.contains("# someone\n"), "{what}: their change is lost");
                fs::write(&manifest, now.replace("# someone\n", "")).expect("manifest");
            } else {
                assert!(!manifest.exists(), "{what}: it is there again");
                fs::rename(vanished, &manifest).expect("manifest");
            }
        }
        if !output.status.success() {
            refused.fetch_add(1, Ordering::Relaxed);
            assert_eq!(output.status.code(), Some(13), "{what}: {}", text(&output));
            assert!(
                text(&output).contains(MANIFEST),
                "{what}: {}",
                text(&output)
            );
        }
        nothing_half_done(&root, &before, &end, &what);
        fixture.succeeds(shell, FIRST, verb, &root, &[]);
        assert_same(&files(&root), &end, &what);
        true
    });
    (points, refused.into_inner())
}

#[test]
fn a_file_that_someone_edits_or_takes_away_meanwhile_is_left_to_them() {
    for verb in ["apply", "rollback"] {
        for mode in ["edit", "vanish"] {
            let (points, refused) = overtaken(verb, mode);
            println!(
                "{verb}: someone's {mode} before each of {points} operations: {refused} runs refused, nothing half-done, then finished"
            );
            assert!(refused > 5, "{verb} {mode}: {refused} of {points}");
        }
    }
}

#[test]
fn a_file_that_nobody_may_change_stops_both_ways_by_its_name() {
    let fixture = Fixture::new(&[(FIRST, faulty_phase())]);
    let (fresh, applied) = (faulty_node(&fixture), done_node(&fixture));
    let (start, end) = (files(&fresh), files(&applied));
    in_every_shell(|shell| {
        for (verb, begin, wanted) in [("apply", &fresh, &end), ("rollback", &applied, &start)] {
            let root = copy_of(&fixture, begin);
            let command = fixture.on_node(shell, FIRST, verb, &root);
            let (output, _) = faulted(&fixture, command, &root, "fixed", 0);
            let what = format!("{shell:?} {verb}: {}", text(&output));
            assert_eq!(output.status.code(), Some(1), "{what}");
            let manifest = below(&root, MANIFEST).display().to_string();
            for says in [
                &manifest,
                "Operation not permitted",
                "No file is half-written",
            ] {
                assert!(text(&output).contains(says), "{what}");
            }
            nothing_half_done(&root, &start, &end, &what);
            fixture.succeeds(shell, FIRST, verb, &root, &[]);
            assert_same(&files(&root), wanted, &what);
        }
    });
}

// ---- The cluster's half, against a small recorded API.

const CA: &str = "-----BEGIN CERTIFICATE-----\nnew \\ \"quoted\"\n-----END CERTIFICATE-----\n";

fn hex_of(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// A plan whose first phase is the cluster's, and an API that is as the phase wants it.
fn cluster_fixture() -> Fixture {
    let fixture = Fixture::new(&[(FIRST, vec![]), (SECOND, vec![])]);
    let folder = fixture.plan().join(FIRST);
    let sum = hex(CA.as_bytes());
    put(
        &folder.join("CLUSTER"),
        &format!(
            "ack\tusers $(touch canary)\tevery user has the new kubeconfig\n\
             note\ta PodDisruptionBudget shop/web may be breached\n\
             patch\tcluster/a b,c.yaml\tmerge\n\
             wait-ca\tsecrets\tkube-system\told-token\tca.crt\t{sum}\n\
             wait-ca-all\tconfigmaps\tkube-root-ca.crt\tca.crt\t{sum}\n\
             rollout\tdeployment\tshop\tweb\n\
             gate-pods\tdeployment\tshop\tweb\n\
             prune-auth\tclient-ca-file\tcluster/ca.crt\n"
        ),
    );
    put(
        &folder.join("CLUSTER-BACK"),
        "patch\tcluster/back.yaml\tmerge\nrollout\tdeployment\tshop\tweb\n",
    );
    put(
        &folder.join("cluster/a b,c.yaml"),
        "kind: Secret\nmetadata:\n  name: old-token\n",
    );
    put(
        &folder.join("cluster/back.yaml"),
        "kind: ConfigMap\nmetadata:\n  name: back\n",
    );
    put(&folder.join("cluster/ca.crt"), CA);
    set_key(&fixture, FIRST, "cluster-uid", "uid-1");
    fixture
}

fn record_api(folder: &Path) {
    for (name, text) in [
        ("uid", "uid-1".to_owned()),
        ("namespaces", "default\nshop\nkube-system\n".to_owned()),
        ("configmaps", format!("default {0}\nshop {0}\nkube-system {0}\n", hex_of(CA))),
        ("secret", format!("kube-system {}\n", hex_of(CA))),
        ("pods", "web-1-x Running 2999-01-01T00:00:00Z ReplicaSet/web-1\nweb-api-1-x Running 2001-01-01T00:00:00Z ReplicaSet/web-api-1\nweb-0-y Succeeded 2001-01-01T00:00:00Z ReplicaSet/web-0\n".to_owned()),
        ("auth", format!("kube-system {}\n", hex_of("old and new"))),
        ("auth.after", format!("kube-system {}\n", hex_of(CA))),
        ("version", "{\n    \"minor\": \"34\",\n    \"minor\": \"34\",\n}\n".to_owned()),
    ] {
        put(&folder.join(name), &text);
    }
}

fn cluster_command(
    fixture: &Fixture,
    shell: &[&str],
    verb: &str,
    folder: &Path,
    more: &[&str],
) -> Command {
    let mut command = fixture.command(shell, FIRST, verb);
    let temporary = folder.join("tmp");
    fs::create_dir_all(&temporary).expect("folder");
    command
        .args(["--cluster", "--timeout", "0", "--state"])
        .arg(folder.join("state"))
        .args(more)
        .env("CLUSTER", folder)
        .env("TMPDIR", &temporary);
    command
}

fn on_cluster(
    fixture: &Fixture,
    shell: &[&str],
    verb: &str,
    folder: &Path,
    more: &[&str],
) -> Output {
    let output = cluster_command(fixture, shell, verb, folder, more)
        .output()
        .expect("the shell runs");
    assert!(
        tree(&folder.join("tmp")).is_empty() && !fixture.dir.path().join("home/canary").exists()
    );
    output
}

#[track_caller]
fn says(output: &Output, exit: i32, what: &[&str]) {
    assert_eq!(output.status.code(), Some(exit), "{}", text(output));
    for line in what {
        assert!(
            text(output).contains(line),
            "{line:?} is missing in: {}",
            text(output)
        );
    }
}

#[test]
fn the_cluster_is_changed_in_order_and_waited_for() {
    let fixture = cluster_fixture();
    in_every_shell(|shell| {
        let folder = fixture
            .dir
            .path()
            .join(format!("an api of \"{}\"", shell[0]));
        record_api(&folder);
        let run = |verb: &str, more: &[&str]| on_cluster(&fixture, shell, verb, &folder, more);
        let ack = ["--ack", "users $(touch canary)"];
        let calls = || fs::read_to_string(folder.join("calls")).unwrap_or_default();
        says(
            &run("apply", &[]),
            21,
            &["every user has the new kubeconfig"],
        );
        put(&folder.join("uid"), "uid-2");
        says(&run("apply", &ack), 11, &["another cluster"]);
        put(&folder.join("uid"), "uid-1");
        says(
            &run("apply", &[ack[0], ack[1], "--dry-run"]),
            0,
            &["3 of 8: would patch cluster/a b,c.yaml", "not shown"],
        );
        assert!(!folder.join("applied").exists() && !folder.join("state").exists());

        // A namespace and a pod that lag behind are named, with a count.
        put(
            &folder.join("configmaps"),
            &format!("default {0}\nkube-system {1}\n", hex_of(CA), hex_of("old")),
        );
        says(
            &run("apply", &ack),
            23,
            &[
                "note: a PodDisruptionBudget",
                "after 0 s 1 of 3; these are behind:\n  shop\n  kube-system\n",
            ],
        );
        record_api(&folder);
        put(
            &folder.join("pods"),
            "web-1-x Running 2001-01-01T00:00:00Z ReplicaSet/web-1\nweb-1-y Running 2999-01-01T00:00:00Z ReplicaSet/web-1\n",
        );
        // Resumed: what is done is not done again, and the acknowledgement is remembered.
        says(
            &run("apply", &[]),
            23,
            &["1 of 2; these are behind:\n  web-1-x (started 2001-01-01T00:00:00Z)"],
        );
        assert_eq!(
            calls()
                .matches("patch -f - --type merge --patch-file ")
                .count(),
            1,
            "{}",
            calls()
        );
        record_api(&folder);
        says(
            &run("apply", &[]),
            0,
            &["7 of 8: wait for deployment shop/web", "is done"],
        );
        let patch = fs::read_to_string(folder.join("patch")).expect("patch");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&patch).expect("JSON"),
            serde_json::json!({ "data": { "client-ca-file": CA } })
        );
        says(&run("apply", &[]), 0, &["already done"]);
        says(&run("verify", &[]), 0, &["verified"]);
        put(&folder.join("auth"), "kube-system 00\n");
        says(
            &run("verify", &[]),
            24,
            &["client-ca-file of kube-system/extension-apiserver-authentication is not as written"],
        );
        says(
            &run("apply", &["--status"]),
            0,
            &["01-first", "nothing to do here"],
        );
        says(&run("rollback", &[]), 0, &["rolled back"]);
        let applied = fs::read_to_string(folder.join("applied")).expect("applied");
        assert!(applied.ends_with("name: back\n"), "{applied}");
        says(&run("rollback", &[]), 0, &["nothing to do"]);
        // Of Secrets one public key is asked; they are printed as a whole by nobody.
        let whole = |line: &str| ["-o yaml", "-o json"].iter().any(|o| line.contains(o));
        assert!(
            calls()
                .lines()
                .all(|l| !whole(l) || l.ends_with("version -o json")),
            "{}",
            calls()
        );
    });
}

/// What kubectl says of a connection that is lost, and what of everything else.
const LOST: [&str; 5] = [
    "error: http2: client connection lost",
    "The connection to the server k8s-api.lab:6443 was refused - did you specify the right host or port?",
    "Unable to connect to the server: net/http: TLS handshake timeout",
    "Unable to connect to the server: EOF",
    "Error from server: etcdserver: leader changed",
];
const FINAL: [&str; 2] = [
    "Unable to connect to the server: tls: failed to verify certificate: x509: certificate signed by unknown authority",
    "Error from server (Forbidden): configmaps is forbidden: User \"alice\" cannot patch resource",
];

#[test]
fn a_lost_connection_is_tried_again_a_bounded_number_of_times() {
    let fixture = cluster_fixture();
    in_every_shell(|shell| {
        let folder = |name: String| {
            let folder = fixture.dir.path().join(format!("{name} {}", shell[0]));
            record_api(&folder);
            folder
        };
        let ack = ["--ack", "users $(touch canary)"];
        let lose = |folder: &Path, times: usize, which: &str, said: &str| {
            put(&folder.join("lost"), &format!("{times}|{which}|{said}\n"));
        };
        let calls = |folder: &Path, which: &str| {
            let calls = fs::read_to_string(folder.join("calls")).expect("calls");
            calls.lines().filter(|l| l.contains(which)).count()
        };
        // Each call of an apply, and how often it is made when nothing is lost.
        for (at, (which, times)) in [
            ("patch -f - --type merge", 1),
            ("get secrets", 1),
            ("get namespaces", 1),
            ("get configmaps -A", 1),
            ("rollout status", 2),
            ("get pods", 1),
            ("patch configmap", 1),
            ("get configmap extension", 2),
        ]
        .into_iter()
        .enumerate()
        {
            let folder = folder(format!("lost {at}"));
            lose(&folder, 5, which, LOST[at % LOST.len()]);
            let output = on_cluster(&fixture, shell, "apply", &folder, &ack);
            says(&output, 0, &["is done"]);
            assert_eq!(calls(&folder, which), times + 5, "{which}");
            let applied = fs::read_to_string(folder.join("applied")).expect("applied");
            assert_eq!(applied, "kind: Secret\nmetadata:\n  name: old-token\n");
            let log = fs::read_to_string(folder.join("state/2026-11/log")).expect("log");
            assert_eq!(log.matches("kubectl lost its connection").count(), 5);
        }
        // Not without end, and what was done is not done again.
        let folder = folder("lost".to_owned());
        lose(&folder, 6, "patch configmap", LOST[0]);
        let output = on_cluster(&fixture, shell, "apply", &folder, &ack);
        says(
            &output,
            1,
            &[
                "trying again in 16 s: error: http2",
                LOST[0],
                "kubectl cannot patch",
            ],
        );
        assert_eq!(calls(&folder, "patch configmap"), 6);
        for said in FINAL {
            lose(&folder, 1, "patch configmap", said);
            let before = calls(&folder, "patch configmap");
            let output = on_cluster(&fixture, shell, "apply", &folder, &[]);
            says(&output, 1, &[said, "kubectl cannot patch"]);
            assert_eq!(calls(&folder, "patch configmap"), before + 1);
        }
        lose(&folder, 1, "get configmap extension", LOST[0]);
        says(
            &on_cluster(&fixture, shell, "apply", &folder, &[]),
            0,
            &["is done"],
        );
        assert_eq!(calls(&folder, "patch -f - --type merge"), 1);
        lose(&folder, 5, "get configmap extension", LOST[0]);
        says(
            &on_cluster(&fixture, shell, "verify", &folder, &[]),
            0,
            &["verified"],
        );
        // Who cannot be reached at all is told so at once.
        lose(&folder, 1, "get namespace kube-system", LOST[1]);
        says(
            &on_cluster(&fixture, shell, "verify", &folder, &[]),
            11,
            &["does not reach a cluster", LOST[1]],
        );
    });
}

/// An aggregated API that is away makes kubectl complain whenever it succeeds; and a connection may be lost in the
/// middle of an answer.
#[test]
fn what_kubectl_complains_of_is_not_taken_for_its_answer() {
    let fixture = cluster_fixture();
    in_every_shell(|shell| {
        let folder = fixture.dir.path().join(format!("complains {}", shell[0]));
        record_api(&folder);
        let complaint = "E1130 00:00:00.000000 1 memcache.go:287] \"Unhandled Error\" err=\"couldn't get resource list for metrics.k8s.io/v1beta1\"";
        put(&folder.join("complaint"), &format!("{complaint}\n"));
        put(
            &folder.join("lost"),
            &format!("2|get namespaces|{}\n", LOST[0]),
        );
        put(&folder.join("partial"), "default\nsho");
        let run = |verb: &str, more: &[&str]| on_cluster(&fixture, shell, verb, &folder, more);
        let done = run("apply", &["--ack", "users $(touch canary)"]);
        says(&done, 0, &["is done"]);
        // Three namespaces, not those of the lost answer too.
        assert!(text(&done).contains("\n  3 of 3\n"), "{}", text(&done));
        says(&run("verify", &[]), 0, &["verified"]);
        says(&run("rollback", &[]), 0, &["rolled back"]);
        // Where it fails, its last word is the reason.
        put(
            &folder.join("lost"),
            &format!("1|get namespace kube-system|{}\n", FINAL[0]),
        );
        says(
            &run("verify", &[]),
            11,
            &[&format!("configuration: {}", FINAL[0])],
        );
    });
}

#[test]
fn a_number_of_seconds_may_begin_with_zeros() {
    let fixture = two_phases();
    in_every_shell(|shell| {
        let root = fixture.node();
        fixture.succeeds(shell, FIRST, "apply", &root, &["--timeout", "0080"]);
        for wrong in ["", "8s", "-1", "12345678901"] {
            let wrong = ["--timeout", wrong];
            let says = (2, "--timeout takes a number of seconds");
            fixture.refused(shell, FIRST, "verify", &root, &wrong, says);
        }
    });
}

#[test]
fn what_a_later_phase_gave_people_is_asked_for_on_the_way_back() {
    let fixture = Fixture::new(&[(FIRST, first_phase()), (SECOND, second_phase())]);
    let ask = "ack\tundone-user-x$(touch canary)\tx has put back the file\n";
    put(&fixture.plan().join(FIRST).join("CLUSTER-BACK"), ask);
    fixture.seal();
    in_every_shell(|shell| {
        let root = fixture.node();
        let start = files(&root);
        // A file may have been taken wherever the later phase stands: it is asked in any case.
        fixture.succeeds(shell, FIRST, "apply", &root, &[]);
        let done = files(&root);
        let name = "undone-user-x$(touch canary)";
        fixture.refused(
            shell,
            FIRST,
            "rollback",
            &root,
            &["--ack", "undone-user-x"],
            (
                21,
                "x has put back the file\nIf that is so, add: --ack undone-user-x$(touch canary)",
            ),
        );
        assert_same(&files(&root), &done, "refused");
        says(
            &fixture.run(shell, FIRST, "rollback", &root, &["--dry-run"]),
            21,
            &["would stop here with exit 21", "would put back"],
        );
        fixture.succeeds(shell, FIRST, "rollback", &root, &["--ack", name]);
        assert_same(&files(&root), &start, "rolled back");
        let log = root.join("var/lib/carota/2026-11/log");
        let log = fs::read_to_string(log).expect("log");
        assert!(log.contains(&format!("acknowledged: {name}")), "{log}");
        // There is nothing to go back from: nothing is asked.
        fixture.succeeds(shell, FIRST, "rollback", &root, &[]);
        assert!(!fixture.dir.path().join("home/canary").exists());
    });
}

/// Fields are patched into an object; an apply on the server's side may take others away. What would change is
/// shown, and looked for afterwards.
#[test]
fn an_object_is_patched_and_looked_at() {
    let fixture = Fixture::new(&[(FIRST, vec![]), (SECOND, vec![])]);
    let folder = fixture.plan().join(FIRST);
    for (list, file, bundle) in [
        ("CLUSTER", "cluster/a b,c.yaml", "both"),
        ("CLUSTER-BACK", "cluster/back.yaml", "old"),
    ] {
        put(&folder.join(list), &format!("patch\t{file}\tstrategic\n"));
        put(
            &folder.join(file),
            &format!("kind: X\nmetadata:\n  name: x\nspec:\n  caBundle: {bundle}\n"),
        );
    }
    set_key(&fixture, FIRST, "cluster-uid", "uid-1");
    in_every_shell(|shell| {
        let folder = fixture
            .dir
            .path()
            .join(format!("an api of \"{}\"", shell[0]));
        record_api(&folder);
        let run = |verb: &str, more: &[&str]| on_cluster(&fixture, shell, verb, &folder, more);
        let there = folder.join("objects/x");
        let object = |bundle: &str, marks: &str| {
            let text =
                format!("kind: X\nmetadata:\n{marks}  name: x\nspec:\n  caBundle: {bundle}\n");
            put(&there, &text);
        };
        object("old", "");
        says(
            &run("apply", &["--dry-run"]),
            0,
            &[
                "1 of 1: would patch cluster/a b,c.yaml",
                "-  caBundle: old\n+  caBundle: both\n",
            ],
        );
        let calls = || fs::read_to_string(folder.join("calls")).expect("calls");
        let writes = || {
            let calls = calls();
            let patches = calls.lines().filter(|call| call.contains("--patch-file"));
            patches.filter(|call| !call.contains("--dry-run")).count()
        };
        assert_eq!(writes(), 0, "{}", calls());
        says(&run("apply", &[]), 0, &["1 of 1: patch cluster/a b,c.yaml"]);
        assert_eq!(writes(), 1, "{}", calls());
        says(&run("verify", &[]), 0, &["verified"]);
        // Who wrote what, and how often, is no difference.
        object(
            "both",
            "  generation: 7\n  managedFields:\n  - apiVersion: v1\n    fieldsV1:\n      f:spec: {}\n  resourceVersion: \"9\"\n",
        );
        says(&run("verify", &[]), 0, &["verified"]);
        object("by hand", "");
        says(
            &run("verify", &[]),
            24,
            &[
                "the cluster differs\n",
                "-  caBundle: by hand\n+  caBundle: both\n",
            ],
        );
        object("both", "");
        says(&run("rollback", &[]), 0, &["is rolled back"]);
        let now = fs::read_to_string(&there).expect("object");
        assert!(now.contains("caBundle: old"), "{now}");
        assert!(
            !calls().contains("apply") && calls().contains("--type strategic"),
            "{}",
            calls()
        );
    });
}

/// A cluster's half with each kind of change once, and the API before it.
fn faulty_cluster() -> Fixture {
    let fixture = cluster_fixture();
    let folder = fixture.plan().join(FIRST);
    let sum = hex(CA.as_bytes());
    put(
        &folder.join("CLUSTER"),
        &format!(
            "ack\tusers\tevery user has the new kubeconfig\n\
             patch\tcluster/a b,c.yaml\tmerge\n\
             wait-ca\tsecrets\tkube-system\told-token\tca.crt\t{sum}\n\
             rollout\tdeployment\tshop\tweb\n\
             patch\tcluster/more.yaml\tmerge\n\
             prune-auth\tclient-ca-file\tcluster/ca.crt\n"
        ),
    );
    let object = |name: &str, data: &str| {
        format!("kind: ConfigMap\nmetadata:\n  name: {name}\ndata: {data}\n")
    };
    for (file, text) in [
        ("a b,c.yaml", object("first", "both")),
        ("more.yaml", object("more", "both")),
        ("back.yaml", object("first", "old")),
        ("back-more.yaml", object("more", "old")),
    ] {
        put(&folder.join("cluster").join(file), &text);
    }
    put(
        &folder.join("CLUSTER-BACK"),
        "patch\tcluster/back-more.yaml\tmerge\nrollout\tdeployment\tshop\tweb\npatch\tcluster/back.yaml\tmerge\n",
    );
    fixture.seal();
    fixture
}

/// What the API holds, and which markers the journal has.
fn api(folder: &Path) -> (BTreeMap<String, Entry>, String, Vec<String>) {
    let journal = folder.join("state/2026-11").join(FIRST);
    fs::create_dir_all(&journal).expect("folder");
    let auth = fs::read_to_string(folder.join("auth")).expect("auth");
    (
        tree(&folder.join("objects")),
        auth,
        tree(&journal).into_keys().collect(),
    )
}

#[test]
fn the_clusters_half_killed_at_any_operation_goes_on_or_back_to_the_same() {
    let fixture = faulty_cluster();
    let count = AtomicUsize::new(0);
    let new = || {
        let number = count.fetch_add(1, Ordering::Relaxed);
        let folder = fixture.dir.path().join(format!("an api {number}"));
        record_api(&folder);
        for name in ["first", "more"] {
            let file = if name == "first" {
                "back.yaml"
            } else {
                "back-more.yaml"
            };
            let text = fs::read_to_string(fixture.plan().join(FIRST).join("cluster").join(file));
            put(&folder.join("objects").join(name), &text.expect("object"));
        }
        folder
    };
    let ack = ["--ack", "users"];
    let finish = |shell: &[&str], verb: &str, folder: &Path| {
        let output = on_cluster(&fixture, shell, verb, folder, &ack);
        assert!(
            output.status.success(),
            "{shell:?} {verb}: {}",
            text(&output)
        );
    };
    let undisturbed = new();
    let start = api(&undisturbed);
    finish(SHELLS[0], "apply", &undisturbed);
    let done = api(&undisturbed);
    assert_ne!(done.0, start.0);
    finish(SHELLS[0], "rollback", &undisturbed);
    let back = api(&undisturbed);
    assert_eq!((&back.0, back.2.len()), (&start.0, 0), "{:?}", back.2);
    let killed = |shell: &[&str], verb: &str, folder: &Path, at: usize| {
        let command = cluster_command(&fixture, shell, verb, folder, &ack);
        let (output, hit) = faulted(&fixture, command, folder, "kill", at);
        assert_eq!(
            output.status.code().is_none(),
            hit.is_some(),
            "{}",
            text(&output)
        );
        let _ = fs::remove_dir_all(folder.join("tmp"));
        hit.is_some()
    };
    let forth = at_every_operation(|shell, at| {
        let (folder, other) = (new(), new());
        let hit = killed(shell, "apply", &folder, at);
        if hit {
            killed(shell, "apply", &other, at);
            finish(shell, "rollback", &other);
            assert_eq!(api(&other).0, start.0, "{shell:?}, killed at {at}, back");
        }
        finish(shell, "apply", &folder);
        let found = api(&folder);
        assert_eq!(found.2, done.2, "{shell:?}, killed at {at}");
        assert!(found == done, "{shell:?}, killed at {at}");
        hit
    });
    let back_again = at_every_operation(|shell, at| {
        let folder = new();
        finish(shell, "apply", &folder);
        let hit = killed(shell, "rollback", &folder, at);
        finish(shell, "rollback", &folder);
        let found = api(&folder);
        assert_eq!(found.2, back.2, "{shell:?}, killed at {at}");
        assert!(found == back, "{shell:?}, killed at {at}");
        hit
    });
    let failed = at_every_operation(|shell, at| {
        let folder = new();
        let command = cluster_command(&fixture, shell, "apply", &folder, &ack);
        let (output, hit) = faulted(&fixture, command, &folder, "fail", at);
        let said = text(&output);
        let explained = said.contains("carota: ") || said.contains("No space left");
        assert!(output.status.success() || explained, "{at}: {said}");
        finish(shell, "apply", &folder);
        assert!(api(&folder) == done, "{shell:?}, failed at {at}");
        hit.is_some()
    });
    println!(
        "the cluster's half: apply failed at each of {failed} operations, then finished: the same objects and journal"
    );
    println!(
        "the cluster's half: apply killed at each of {forth} operations, then finished or rolled back; rollback killed at each of {back_again}, then finished: the same objects and journal"
    );
    assert!(forth > 30 && back_again > 20, "{forth} {back_again}");
}

#[test]
fn names_from_the_cluster_are_only_names() {
    let fixture = cluster_fixture();
    // What no object can be called, in every place that a table has.
    let evil = "-oyaml $(touch canary)`touch canary`;touch canary 'q' \"d\" * [a] \\ ü";
    let folder = fixture.plan().join(FIRST);
    put(
        &folder.join("CLUSTER"),
        &format!(
            "ack\t{evil}\tPodDisruptionBudget {evil}\n\
             note\tPodDisruptionBudget {evil}/{evil} may be breached\n\
             patch\tcluster/{evil}.yaml\tmerge\n\
             wait-ca\tsecrets\t{evil}\t{evil}\tca.crt\t{sum}\n\
             wait-ca-all\tconfigmaps\t{evil}\tca.crt\t{sum}\n\
             rollout\t{evil}\t{evil}\t{evil}\n\
             gate-pods\tdeployment\t{evil}\t{evil}\t{evil}\n",
            sum = hex(CA.as_bytes())
        ),
    );
    put(
        &folder.join(format!("cluster/{evil}.yaml")),
        &format!("kind: Secret\nmetadata:\n  name: x\ndata: {evil}\n"),
    );
    put(
        &folder.join("CLUSTER-BACK"),
        &format!("rollout\t{evil}\t{evil}\t{evil}\n"),
    );
    fixture.seal();
    in_every_shell(|shell| {
        let folder = fixture.dir.path().join(format!("api {evil} {}", shell[0]));
        record_api(&folder);
        // Controllers and pods of such names too.
        put(
            &folder.join("pods"),
            &format!(
                "{0}-x Running 2999-01-01T00:00:00Z ReplicaSet/{0}\n",
                evil.replace(' ', "_")
            ),
        );
        let run = |verb: &str, more: &[&str]| on_cluster(&fixture, shell, verb, &folder, more);
        let dry = run("apply", &["--ack", evil, "--dry-run"]);
        says(
            &dry,
            0,
            &[&format!(
                "note: PodDisruptionBudget {evil}/{evil} may be breached"
            )],
        );
        let done = run("apply", &["--ack", evil]);
        says(&done, 0, &["is done"]);
        // What the roll may breach is said before the first change.
        let said = text(&done);
        assert!(
            said.find("note: PodDisruptionBudget") < said.find("3 of 7: patch"),
            "{said}"
        );
        says(&run("verify", &[]), 0, &["verified"]);
        says(&run("rollback", &[]), 0, &["rolled back"]);
        let calls = fs::read_to_string(folder.join("calls")).expect("calls");
        // As it stands, and where no program takes it for an option.
        let wait = format!("-n {evil} get secrets/{evil} -o go-template=");
        assert!(calls.contains(&wait), "{calls}");
        assert!(
            calls.contains(&format!("-n {evil} rollout status {evil}/{evil} ")),
            "{calls}"
        );
        assert!(
            !fixture.dir.path().join("home/canary").exists() && !folder.join("canary").exists()
        );
    });
}

#[test]
fn kubectl_is_within_one_minor_of_the_cluster_or_vouched_for() {
    let fixture = cluster_fixture();
    in_every_shell(|shell| {
        let folder = fixture.dir.path().join(format!("versions {}", shell[0]));
        record_api(&folder);
        let run = |client: &str, server: &str, more: &[&str]| {
            let minor = |name: &str, minor: &str| {
                format!(
                    "  \"{name}\": {{\n    \"major\": \"1\",\n    \"minor\": \"{minor}\",\n  }},\n"
                )
            };
            let text = [
                "{\n",
                &minor("clientVersion", client),
                "  \"kustomizeVersion\": \"v5.5.0\",\n",
                &minor("serverVersion", server),
                "}\n",
            ]
            .concat();
            put(&folder.join("version"), &text);
            on_cluster(&fixture, shell, "verify", &folder, more)
        };
        for (client, server) in [("34", "34"), ("33+", "34"), ("35", "34+"), ("99", "100")] {
            says(&run(client, server, &[]), 24, &["the cluster is not as"]);
        }
        for (client, server) in [("32+", "34"), ("20", "34"), ("36", "34+")] {
            let wanted = format!(
                "Bring a kubectl of 1.{}; or add --i-checked",
                server.trim_end_matches('+')
            );
            says(
                &run(client, server, &[]),
                22,
                &["more than one minor version apart", &wanted],
            );
        }
        says(
            &run("20", "34", &["--i-checked"]),
            24,
            &["vouched for with --i-checked"],
        );
        // No one can vouch for an option that is not there.
        let old = run("19+", "20", &["--i-checked"]);
        says(&old, 22, &["Bring one of 1.20 or newer"]);
    });
}

#[test]
fn shellcheck_finds_nothing_in_what_is_generated() {
    let fixture = two_phases();
    let scripts = [
        "01-first/apply.sh",
        "01-first/verify.sh",
        "01-first/rollback.sh",
        "lib/main.sh",
        "lib/node.sh",
        "lib/process.sh",
        "lib/cluster.sh",
    ];
    let found = Command::new("shellcheck")
        .args(scripts)
        .current_dir(fixture.plan())
        .output();
    match found {
        Ok(output) => assert!(output.status.success(), "{}", text(&output)),
        Err(_) => println!("shellcheck is not installed: not looked at"),
    }
    for name in scripts {
        let script = fs::read_to_string(fixture.plan().join(name)).expect("script");
        for line in script
            .lines()
            .filter(|line| line.contains("shellcheck disable"))
        {
            assert!(
                line.contains(" # "),
                "{name}: a disabled check without its reason: {line}"
            );
        }
    }
}
