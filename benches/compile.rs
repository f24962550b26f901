//! How long a compile of the example takes, from reading the snapshot to the last written byte.
//! `cargo bench` prints the median and the fastest of a number of runs; nothing is asserted.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use carota::compile::compile;
use carota::render::write;

const RUNS: usize = 30;

fn main() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/kubeadm-ha");
    let folder = std::env::temp_dir().join(format!("carota-bench-{}", std::process::id()));
    copy(&example.join("snapshot"), &folder.join("snapshot"));
    fs::copy(example.join("cluster.toml"), folder.join("cluster.toml"))
        .expect("the example is there");
    measure("compile in memory, everything issued", || {
        let _ = fs::remove_file(folder.join("carota.lock"));
        let _ = fs::remove_dir_all(folder.join("secrets"));
        let start = Instant::now();
        let compiled = compile(&folder.join("cluster.toml")).expect("the example compiles");
        let time = start.elapsed();
        write::lock(&folder, &compiled.lock).expect("the lock is written");
        write::secrets(&folder, &compiled.keyring, &compiled.plan).expect("the keys are written");
        time
    });
    measure("compile in memory, with the lock", || {
        let start = Instant::now();
        compile(&folder.join("cluster.toml")).expect("the example compiles");
        start.elapsed()
    });
    let compiled = compile(&folder.join("cluster.toml")).expect("the example compiles");
    measure("write plan/", || {
        let start = Instant::now();
        write::stage(&folder, &compiled.plan)
            .and_then(write::Staged::put_in_place)
            .expect("the plan is written");
        start.elapsed()
    });
    let _ = fs::remove_dir_all(&folder);
}

fn measure(what: &str, mut run: impl FnMut() -> Duration) {
    let mut times: Vec<Duration> = (0..RUNS).map(|_| run()).collect();
    times.sort();
    println!(
        "{what:40} median {:>8.1?}  fastest {:>8.1?}",
        times[RUNS / 2],
        times[0]
    );
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a temporary folder");
    for entry in fs::read_dir(from).expect("the example is there").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
