//! How compile and proof grow with the cluster: 5, 50, 500 and 5,000 nodes, or those sizes that are
//! named (`cargo bench --bench fleet -- 500`). Prints times; nothing is asserted but that the plan
//! holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use carota::bundle::Source;
use carota::check;
use carota::compile;
use carota::edit::kubeconfig::looks_like_kubeconfig;
use carota::phases;
use carota::pki::{Issuer, Keyring};
use carota::render::write;
use carota::rotation::Rotation;
use carota::snapshot;
use carota::spec::Spec;

#[path = "../tests/common/mod.rs"]
mod common;

const SIZES: [usize; 4] = [5, 50, 500, 5000];
const CONTROL_PLANES: usize = 3;
/// The size at which the work is also done with a shell loop.
const BY_HAND: usize = 50;

/// What a person would run instead, for certificates and kubeconfigs alone: $1 and $2 are how many.
const LOOP: &str = r#"
set -eu
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=new -days 3650 2>/dev/null
openssl req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /O=system:nodes/CN=system:node:x 2>/dev/null
begin=$(date +%s%N)
n=0; while [ "$n" -lt "$1" ]; do
  openssl x509 -req -in leaf.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -out "$n.crt" 2>/dev/null
  n=$((n + 1))
done
n=0; while [ "$n" -lt "$2" ]; do
  kubectl config --kubeconfig="$n.conf" set-cluster x --server=https://x:6443 --certificate-authority=ca.crt --embed-certs >/dev/null
  kubectl config --kubeconfig="$n.conf" set-credentials x --client-certificate=0.crt --client-key=leaf.key --embed-certs >/dev/null
  n=$((n + 1))
done
echo $((($(date +%s%N) - begin) / 1000000))
"#;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == ALONE) {
        return alone(Path::new(&arguments.next().expect("a folder")));
    }
    let wanted: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let sizes = if wanted.is_empty() {
        &SIZES[..]
    } else {
        &wanted
    };
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/kubeadm-ha");
    for &nodes in sizes {
        let folder = tempfile::tempdir().expect("a temporary folder");
        common::fleet::make(&example, nodes - CONTROL_PLANES, folder.path());
        println!("{nodes} nodes");
        whole(folder.path());
        stages(folder.path());
        if nodes == BY_HAND {
            by_hand(folder.path());
        }
        folded(folder.path());
    }
}

/// Prints how long something took.
fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let out = run();
    println!("  {what:32} {:>9.1?}", begin.elapsed());
    out
}

fn spec_of(folder: &Path) -> Spec {
    let text = fs::read_to_string(folder.join("cluster.toml")).expect("the description");
    Spec::parse(&text, "cluster.toml").expect("a description")
}

/// The parts of a compile, one after another.
fn stages(folder: &Path) {
    let spec = spec_of(folder);
    let start = timed("read the snapshot", || {
        snapshot::read(&folder.join("snapshot"), &spec).expect("a snapshot")
    });
    let mut issuer = Issuer::new(&spec.id, None, Keyring::default());
    let rotation = timed("find and issue certificates", || {
        Rotation::prepare(&spec, start.clone(), &mut issuer, &mut BTreeMap::new())
            .expect("a rotation")
    });
    let done = timed("run the phases", || {
        phases::run(&rotation, &start, |_| ()).expect("phases")
    });
    let proof = timed("prove", || {
        compile::prove(&rotation, &done).expect("a proof")
    });
    assert!(proof.holds(), "{:#?}", proof.broken.first());
    println!(
        "  ({} connections, {} distinct chains)",
        proof.edges.len(),
        proof.pairs_verified
    );
}

/// The certificates and kubeconfigs of the plan, made by a shell loop.
fn by_hand(folder: &Path) {
    let lock = fs::read_to_string(folder.join("carota.lock")).expect("the lock");
    let certificates = lock.matches("[[leaf]]").count();
    let kubeconfigs = common::tree(&folder.join("snapshot"))
        .values()
        .filter(|(bytes, _)| looks_like_kubeconfig(&String::from_utf8_lossy(bytes)))
        .count();
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new("sh")
        .args(["-c", LOOP, "loop"])
        .args([certificates.to_string(), kubeconfigs.to_string()])
        .current_dir(scratch.path())
        .output();
    let milliseconds = output.ok().filter(|output| output.status.success());
    match milliseconds.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()) {
        Some(milliseconds) => println!(
            "  a shell loop of openssl and kubectl for {certificates} certificates and {kubeconfigs} kubeconfigs: {milliseconds} ms"
        ),
        None => println!("  openssl or kubectl was not found"),
    }
}

/// A snapshot whose nodes lie in sets.
fn folded(folder: &Path) {
    let size = || {
        let nodes = common::tree(&folder.join("snapshot/nodes"));
        let bytes: usize = nodes.values().map(|(bytes, _)| bytes.len()).sum();
        (nodes.len(), bytes / 1000)
    };
    let before = size();
    timed("fold the snapshot", || {
        let snapshot = folder.join("snapshot");
        let folding = write::folding(&snapshot).expect("a snapshot");
        let nodes = snapshot::fold(&snapshot).expect("nodes");
        folding
            .replace(&nodes.files, &nodes.read, |written| nodes.check(written))
            .expect("the sets are written");
    });
    let spec = spec_of(folder);
    timed("read the folded snapshot", || {
        snapshot::read(&folder.join("snapshot"), &spec).expect("a snapshot")
    });
    let after = size();
    println!(
        "  ({} files of nodes with {} kB, folded {} with {} kB)",
        before.0, before.1, after.0, after.1
    );
    let checked = timed("check, folded", || {
        check::check(&folder.join("cluster.toml"), &|_| ()).expect("the plan is there")
    });
    assert!(checked.differences.is_empty());
}

/// The argument by which this program compiles a folder and prints the memory that took.
const ALONE: &str = "alone";

/// Prints how much memory a process has at most that only compiles: this one keeps what it had before.
fn print_memory(folder: &Path) {
    let this = std::env::current_exe().expect("this program");
    let output = Command::new(this).arg(ALONE).arg(folder).output();
    let output = output.expect("this program runs again");
    assert!(output.status.success(), "the cluster compiles");
    print!("{}", String::from_utf8_lossy(&output.stdout));
}

/// Compiles, and prints how much memory this process has had at most, where the system says it.
fn alone(folder: &Path) {
    let compiled = compile::compile(&folder.join("cluster.toml")).expect("the cluster compiles");
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    drop(compiled);
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
    if let Some(kib) = kib {
        let megabytes = kib * 1024 / 1_000_000;
        println!("  {:32} {megabytes:>6} MB", "at most in memory");
    }
}

/// Compiles as a user would.
fn whole(folder: &Path) {
    let toml = folder.join("cluster.toml");
    print_memory(folder);
    let compiled = timed("compile, everything issued", || {
        compile::compile(&toml).expect("the cluster compiles")
    });
    timed("write plan, lock and secrets", || {
        write::lock(folder, &compiled.lock).expect("the lock is written");
        write::secrets(folder, &compiled.keyring, &compiled.plan).expect("the keys are written");
        write::stage(folder, &compiled.plan)
            .and_then(write::Staged::put_in_place)
            .expect("the plan is written");
    });
    let issued = compiled.plan.files.len();
    drop(compiled);
    print_memory(folder);
    timed("compile, with the lock", || {
        compile::compile(&toml).expect("the cluster compiles")
    });
    let checked = timed("check", || {
        check::check(&toml, &|_| ()).expect("the plan is there")
    });
    assert!(checked.differences.is_empty());
    drop(checked);
    let source = timed("read the plan for bundles", || {
        Source::read(folder).expect("a plan")
    });
    let node = source.nodes().last().expect("a node").to_owned();
    let bundle = timed("bundle of one worker", || {
        source.bundle(&node).expect("a bundle")
    });
    println!(
        "  ({issued} files in the plan, {} kB in a bundle)",
        bundle.bytes.len() / 1000
    );
    yardsticks(folder);
}

/// What other programs need for the same: the speed of this machine, to compare with.
fn yardsticks(folder: &Path) {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    timed("cp -r of the plan", || run("cp", &["-r", "plan", "copy"]));
    timed("diff -r of both", || run("diff", &["-r", "plan", "copy"]));
    let text = fs::read_to_string(folder.join("carota.lock")).expect("the lock");
    let count = text.matches("[[leaf]]").count();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let speed = Command::new("openssl")
        .args(["speed", "-seconds", "1", "-multi", &cores.to_string()])
        .arg("ecdsap256")
        .output();
    let speed = speed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let speed = speed.unwrap_or_default();
    // The new CAs of the example have P-256 keys: signatures and verifications a second stand at the line's end.
    let last = speed.lines().rev().find(|line| line.contains("nistp256"));
    let per_second =
        last.and_then(|line| line.split_whitespace().rev().nth(1)?.parse::<f64>().ok());
    match per_second {
        Some(per_second) => {
            let count = u32::try_from(count).map_or(0.0, f64::from);
            let seconds = Duration::from_secs_f64(count / per_second);
            println!(
                "  {:32} {seconds:>9.1?}",
                format!("openssl: {count} P-256 signatures")
            );
        }
        None => println!("  openssl was not found"),
    }
}
