//! How compile and proof grow with the cluster: 5, 50, 500 and 5,000 nodes, or those sizes that are
//! named (`cargo bench --bench fleet -- 500`). Prints times; nothing is asserted but that the plan
//! holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use carota::compile;
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

fn main() {
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
        stages(folder.path());
        whole(folder.path());
    }
}

/// Prints how long something took.
fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let out = run();
    println!("  {what:32} {:>9.1?}", begin.elapsed());
    out
}

/// The parts of a compile, one after another.
fn stages(folder: &Path) {
    let text = fs::read_to_string(folder.join("cluster.toml")).expect("the description");
    let spec = Spec::parse(&text, "cluster.toml").expect("a description");
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

/// Compiles as a user would.
fn whole(folder: &Path) {
    let toml = folder.join("cluster.toml");
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
    drop(compiled);
    timed("compile, with the lock", || {
        compile::compile(&toml).expect("the cluster compiles")
    });
}
