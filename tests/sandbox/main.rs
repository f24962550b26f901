//! The whole compiled plan of a cluster like the example, carried out by its own scripts: five nodes in
//! sandbox roots with keys that this test makes, collected by the collector, compiled, then taken
//! through all phases forth, back and forth again. Stand-ins only for what cannot run there: kubectl and
//! the controllers behind it, systemd, the kubelet, and connections to servers.

#![allow(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "paths on nodes are case-sensitive"
)]

mod ansible;
mod checks;
#[path = "../common/mod.rs"]
mod common;
mod elsewhere;
mod layouts;
mod made;
mod mutated;
mod refused;
mod twin;
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use checks::{
    ends_as_it_began, everyone_trusts_everyone, objects, objects_are_back,
    old_leaves_verify_against_both,
};
use common::{carota, edit};
use layouts::Layout;
use made::Made;
use world::{Files, SHELLS, World, assert_same, text};

/// What the scripts ask people for by name, on the whole way: the halves of phases that cannot be seen
/// from where the next script runs (forth, and `undone-` back), what only people know, and the pods that no
/// roll reaches.
const ASKED: [&str; 31] = [
    "00-preflight",
    "02-controller-manager-root-ca",
    "04-restart-in-cluster-clients",
    "04-restart-in-cluster-clients: debug",
    "08-kubeconfig-trust",
    "09-extension-trust",
    "10-kubelet-trust",
    "11-bootstrap-trust",
    "14-leaf-certificates",
    "16-verify",
    "17-retire-service-accounts",
    "17-retire-service-accounts: debug",
    "18-retire-control-plane",
    "destroy-backups",
    "extension-servers",
    "external-certificates",
    "external-clients",
    "undone-00-preflight",
    "undone-04-restart-in-cluster-clients",
    "undone-05-apiserver-trust",
    "undone-09-extension-trust",
    "undone-10-kubelet-trust",
    "undone-11-bootstrap-trust",
    "undone-12-signer",
    "undone-17-retire-service-accounts",
    "undone-18-retire-control-plane",
    "undone-signed",
    "undone-user-alice",
    "undone-user-alice-certificate",
    "user-alice",
    "user-alice-certificate",
];

/// What is asked on the way of every layout without a user outside the nodes and without pods that no roll
/// reaches.
const ASKED_ALWAYS: [&str; 20] = [
    "00-preflight",
    "02-controller-manager-root-ca",
    "04-restart-in-cluster-clients",
    "10-kubelet-trust",
    "11-bootstrap-trust",
    "14-leaf-certificates",
    "16-verify",
    "17-retire-service-accounts",
    "18-retire-control-plane",
    "destroy-backups",
    "external-certificates",
    "external-clients",
    "undone-00-preflight",
    "undone-04-restart-in-cluster-clients",
    "undone-05-apiserver-trust",
    "undone-11-bootstrap-trust",
    "undone-12-signer",
    "undone-17-retire-service-accounts",
    "undone-18-retire-control-plane",
    "undone-signed",
];

#[test]
fn the_whole_plan_runs_both_ways_and_ends_as_it_began_with_new_cas() {
    let snapshot = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/kubeadm-ha/snapshot");
    let made = Made::new(twin::nodes(&snapshot), |to| twin::make(&snapshot, to));
    goes_through(&made, &ASKED);
}

#[test]
fn one_control_plane_goes_through_its_rotation_and_back() {
    goes_through_whole_phases(&laid_out(layouts::SINGLE), &ASKED_ALWAYS);
}

#[test]
fn a_cluster_of_units_that_was_set_up_by_hand_goes_through_and_back() {
    goes_through(&laid_out(layouts::HARD_WAY), &asked_of_units());
}

/// Nobody joins a cluster of units with a token, and so nothing is asked about 11.
fn asked_of_units() -> Vec<&'static str> {
    let no = ["10-", "11-", "undone-11-", "undone-12-"];
    let mut asked = ASKED_ALWAYS.to_vec();
    asked.retain(|name| !no.iter().any(|no| name.starts_with(no)));
    asked
}

#[test]
fn one_ca_for_everything_goes_through_and_back() {
    let made = laid_out(layouts::ONE_CA);
    assert_eq!(made.old_cas.len(), 1);
    goes_through_whole_phases(&made, &asked_of_units());
}

#[test]
fn one_ca_for_cluster_and_front_proxy_goes_through_and_back() {
    let made = laid_out(layouts::SHARED_FRONT_PROXY);
    assert_eq!(made.old_cas.len(), 2);
    goes_through_whole_phases(&made, &ASKED_ALWAYS);
}

#[test]
fn an_intermediate_of_a_company_goes_through_and_back() {
    goes_through_whole_phases(&laid_out(layouts::INTERMEDIATE), &asked_of_units());
}

#[test]
fn cas_without_key_identifiers_go_through_and_back() {
    goes_through_whole_phases(&laid_out(layouts::WITHOUT_KEY_IDS), &ASKED_ALWAYS);
}

/// The front proxy's new CA is made by carota and its key stays with it; the cluster's is somebody else's, who signs
/// what `carota request` writes.
#[test]
fn cas_whose_keys_are_on_no_node_go_through_and_back() {
    let layout = layouts::EXTERNAL_CAS;
    let made = Made::described(layout.nodes(), |to| layout.make(to), elsewhere::signed);
    assert_eq!((made.old_cas.len(), made.external), (3, 2));
    let output = carota(&["check", "cluster.toml"], &made.folder());
    assert!(output.status.success(), "{}", text(&output));
    // Nothing in the cluster signs.
    let mut asked = ASKED_ALWAYS.to_vec();
    asked.retain(|name| *name != "undone-signed");
    goes_through_whole_phases(&made, &asked);
}

/// Somebody has begun by hand, and left: what is there already stays, and the rest follows.
#[test]
fn a_rotation_that_was_begun_by_hand_is_finished() {
    let layout = layouts::SINGLE;
    let by_hand = std::cell::OnceCell::new();
    let fill = |to: &Path| {
        layout.make(to);
        let somebody = elsewhere::begun(&to.join("nodes"));
        assert!(by_hand.set(somebody).is_ok());
    };
    let accept = |folder: &Path| {
        let refused = carota(&["init", "snapshot"], folder);
        let said = text(&refused);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains("carota init --resume"), "{said}");
        let toml = folder.join("cluster.toml");
        let described = fs::read_to_string(&toml).unwrap();
        let found = "# CN=kubernetes again is in the cluster already. Leaves signed: 1 by it, 8 by the old one.";
        assert!(described.contains(found), "{described}");
        let all = ["apiserver", "controller-manager", "etcd", "scheduler"];
        let all = all.map(|name| format!("\"outage:{name}\"")).join(", ");
        edit(&toml, "accept = []", &format!("accept = [{all}]"));
        let key = by_hand.get().unwrap().key();
        fs::copy(key, folder.join("cluster-ca-new.key")).unwrap();
    };
    let made = Made::described_by(&["--resume"], layout.nodes(), fill, accept);
    assert_eq!(made.old_cas.len(), 1);
    // It is the very CA that was there.
    let new = fs::read_to_string(made.folder().join("cluster-ca-new.pem")).unwrap();
    let lock = fs::read_to_string(made.folder().join("carota.lock")).unwrap();
    assert!(lock.contains(&new));
    goes_through_whole_phases(&made, &ASKED_ALWAYS);
}

/// Two API servers on one node, for users and for the cluster itself, each with a manifest in the same folder.
#[test]
fn two_api_servers_of_one_node_go_through_and_back() {
    let layout = layouts::SINGLE;
    let fill = |to: &Path| {
        layout.make(to);
        let folder = to.join("nodes/cp-1/etc/kubernetes/manifests");
        let text = fs::read_to_string(folder.join("kube-apiserver.yaml")).unwrap();
        let inner = text
            .replace("  name: kube-apiserver\n", "  name: kube-apiserver-inner\n")
            .replace(":6443", ":6444")
            .replace("=6443", "=6444")
            .replace("Port: 6443", "Port: 6444");
        assert_eq!(inner.matches("6444").count(), text.matches("6443").count());
        fs::write(folder.join("kube-apiserver-inner.yaml"), inner).unwrap();
    };
    let made = Made::new(layout.nodes(), fill);
    let restarts =
        fs::read_to_string(made.folder().join("plan/05-apiserver-trust/CHANGES")).unwrap();
    for name in ["kube-apiserver", "kube-apiserver-inner"] {
        assert!(restarts.contains(&format!("/{name}.yaml")), "{restarts}");
    }
    goes_through_whole_phases(&made, &ASKED_ALWAYS);
}

#[test]
fn manifests_of_an_installer_of_scripts_go_through_and_back() {
    goes_through_whole_phases(&laid_out(layouts::SCRIPTED), &ASKED_ALWAYS);
}

#[test]
fn an_etcd_of_static_pods_on_nodes_of_its_own_goes_through_and_back() {
    goes_through(&laid_out(layouts::EXTERNAL_ETCD), &ASKED_ALWAYS);
}

#[test]
fn an_etcd_of_units_with_flags_goes_through_and_back() {
    goes_through_whole_phases(&laid_out(layouts::ETCD_UNITS), &ASKED_ALWAYS);
}

#[test]
fn an_etcd_of_units_with_an_environment_file_goes_through_and_back() {
    goes_through_whole_phases(&laid_out(layouts::ETCD_VARIABLES), &ASKED_ALWAYS);
}

#[test]
fn an_etcd_that_somebody_else_runs_stays_as_it_is() {
    goes_through_whole_phases(&laid_out(layouts::ETCD_FOREIGN), &ASKED_ALWAYS);
}

/// On nodes of their own, and as units on control planes, of which the API knows neither Node nor pod.
#[test]
fn a_member_restarts_only_when_the_others_are_healthy() {
    let acks = ["--ack", "04-restart-in-cluster-clients"];
    let places = [
        (
            layouts::EXTERNAL_ETCD,
            "etcd-1",
            "etcd-3",
            "etcd-2",
            "10.20.0.33",
        ),
        (layouts::HARD_WAY, "cp-1", "cp-2", "cp-1", "10.20.0.12"),
    ];
    for (layout, here, ill, well, address) in places {
        let made = laid_out(layout);
        let world = World::new(&made, None);
        let phases = made.phases();
        let (before, from) = phases.split_at(7);
        for phase in before {
            world.apply_again(phase);
        }
        let start = world.all_files();
        world.program(
            "bin",
            "curl",
            &format!("#!/bin/sh\ncase $* in *{address}:2379*) echo 503 ;; *) echo 200 ;; esac\n"),
        );
        // It is seen, so that nobody can vouch for it.
        for more in [&[][..], &["--i-checked"]] {
            let mut command = world.command(&from[0], "apply", Some(here));
            let output = command.args(acks).args(more).output().unwrap();
            let said = text(&output);
            assert_eq!(output.status.code(), Some(20), "{said}");
            let wanted = format!("{ill}: https://{address}:2379/health answers 503");
            assert!(said.contains(&wanted), "{said}");
            assert!(!said.contains(&format!("{well}:")), "{said}");
        }
        assert_same(&world.all_files(), &start, "refused");
    }
}

#[test]
fn one_ca_of_three_goes_alone() {
    let only = |names: &'static [&'static str]| {
        move |folder: &Path| {
            let toml = folder.join("cluster.toml");
            let text = fs::read_to_string(&toml).unwrap();
            let of_other = |part: &&str| {
                let section = part.split("[rotation.ca.").nth(1);
                section.is_none_or(|rest| names.iter().any(|n| rest.starts_with(&format!("{n}]"))))
            };
            let parts: Vec<&str> = text.split("\n\n").filter(of_other).collect();
            let all = parts
                .iter()
                .flat_map(|part| part.lines())
                .find(|l| l.starts_with("cas = "));
            let some = format!("cas = {names:?}");
            fs::write(&toml, parts.join("\n\n").replace(all.unwrap(), &some)).unwrap();
        }
    };
    let layout = layouts::SINGLE;
    let of_the_cluster = [
        "02", "03", "04", "08", "09", "10", "11", "13", "15", "17", "19",
    ];
    let and_requests = [&of_the_cluster[..], &["06"]].concat();
    for (names, idle) in [
        (&["etcd"][..], &and_requests[..]),
        (&["front-proxy", "etcd"], &of_the_cluster),
        (&["cluster"], &["07", "09", "15"]),
    ] {
        let made = Made::described(layout.nodes(), |to| layout.make(to), only(names));
        assert_eq!(made.old_cas.len(), names.len());
        for phase in made.phases() {
            let folder = made.folder().join("plan").join(&phase);
            let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
            let nothing = read("CHANGES").is_empty() && read("CLUSTER").is_empty();
            assert_eq!(idle.contains(&&phase[..2]), nothing, "{names:?}: {phase}");
            let said = read("README.md");
            assert!(
                !nothing || said.contains("Nothing to do in this cluster"),
                "{said}"
            );
        }
        let world = World::new(&made, None);
        let start = world.all_files();
        for phase in made.phases() {
            world.apply(&phase);
            everyone_trusts_everyone(&world, &phase);
        }
        ends_as_it_began(&made, &start, &world);
    }
}

/// A cluster of a layout, with keys that are made now.
fn laid_out(layout: Layout) -> Made {
    let begin = Instant::now();
    let made = Made::new(layout.nodes(), |to| layout.make(to));
    println!("made, collected and compiled in {:?}", begin.elapsed());
    made
}

fn goes_through(made: &Made, asked: &[&str]) {
    goes(made, asked, true);
}

/// The same without stops in the middle of phases: where a run stops is no matter of how a manifest is spelt or what
/// CAs are like. Static pods, units, and nodes of etcd have those.
fn goes_through_whole_phases(made: &Made, asked: &[&str]) {
    goes(made, asked, false);
}

fn goes(made: &Made, asked: &[&str], stopped: bool) {
    for shell in shells() {
        let begin = Instant::now();
        let (runs, middles) = both_ways(made, shell, asked, stopped);
        println!(
            "{shell:?}: {runs} scripts run in {:?}; back from each of 20 phases, and from {middles} places in the middle of them: the same bytes",
            begin.elapsed()
        );
    }
}

/// Each run in the next shell, or with `CAROTA_SANDBOX=all` everything in each shell.
fn shells() -> Vec<Option<usize>> {
    if std::env::var("CAROTA_SANDBOX").is_ok_and(|value| value == "all") {
        (0..SHELLS.len()).map(Some).collect()
    } else {
        vec![None]
    }
}

fn both_ways(made: &Made, shell: Option<usize>, wanted: &[&str], stopped: bool) -> (usize, usize) {
    let world = World::new(made, shell);
    let start = world.all_files();
    let names = made.phases();
    assert_eq!(names.len(), 21);
    let (last, reversible) = names.split_last().unwrap();
    // Forth up to where there is still a way back, and from the middle of each phase back to its start.
    world.snapshots.store(stopped, Ordering::Relaxed);
    let (mut states, mut middles) = (Vec::new(), 0);
    for name in reversible {
        let before = (world.all_files(), objects(&world));
        world.apply(name);
        if stopped {
            middles += back_from_the_middle(&world, name, &before);
        }
        everyone_trusts_everyone(&world, name);
        states.push(before);
    }
    world.snapshots.store(false, Ordering::Relaxed);
    let done = world.all_files();
    // Back through all of them: after each, everything is as it was before it.
    for (name, before) in reversible.iter().zip(&states).rev() {
        world.roll_back(name);
        assert_same(
            &world.all_files(),
            &before.0,
            &format!("{name} rolled back"),
        );
        objects_are_back(made, &before.1, &objects(&world), name);
        everyone_trusts_everyone(&world, name);
    }
    assert_same(&world.all_files(), &start, "all rolled back");
    // And forth again, to the end.
    for (name, before) in reversible.iter().zip(&states) {
        if stopped {
            kill_in_the_middle(&world, name, &before.0);
        }
        world.apply_again(name);
        everyone_trusts_everyone(&world, name);
        if name.starts_with("12") {
            old_leaves_verify_against_both(&world, &start);
        }
    }
    assert_same(&world.all_files(), &done, "all applied again");
    world.apply(last);
    no_way_back(&world, last, &world.all_files());
    ends_as_it_began(made, &start, &world);
    let asked = world.asked.lock().unwrap();
    assert_eq!(asked.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
    (world.runs.load(Ordering::Relaxed), middles)
}

/// From the middle of each half of a phase that was just applied, its rollback restores what was before:
/// in worlds of their own.
fn back_from_the_middle(
    world: &World,
    phase: &str,
    before: &(BTreeMap<String, Files>, BTreeMap<String, String>),
) -> usize {
    world.roll_back_from_the_middle(phase, |fork, node, what| {
        let nodes = fork
            .made
            .nodes
            .iter()
            .filter(|n| node.is_none_or(|node| node == *n));
        let found = nodes.map(|n| (n.clone(), fork.files(n))).collect();
        assert_same(&found, &before.0, what);
        if node.is_none() {
            objects_are_back(fork.made, &before.1, &objects(fork), what);
        }
    })
}

/// Kills runs on one node after a few operations, rolls back, and finds everything as it was. Every
/// operation of a phase's scripts is killed in another test; this is that of a real plan.
fn kill_in_the_middle(world: &World, phase: &str, before: &BTreeMap<String, Files>) {
    let at = match &phase[..2] {
        "12" => 50,
        "18" => 120,
        _ => return,
    };
    let masters = world.made.masters();
    let node = masters.get(1).unwrap_or(&masters[0]);
    world.kill(phase, "apply", node, at);
    world.run(phase, "rollback", Some(node));
    assert_same(
        &world.all_files(),
        before,
        &format!("{phase} killed at {at} and rolled back"),
    );
}

fn no_way_back(world: &World, phase: &str, after: &BTreeMap<String, Files>) {
    for node in &world.made.nodes {
        let output = world
            .command(phase, "rollback", Some(node))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(12), "{}", text(&output));
    }
    assert_same(&world.all_files(), after, "a rollback after the clean-up");
}

/// Its name, the cluster, and what people change in its description.
type Example = (&'static str, Layout, fn(&Path));

/// The examples of `plans/` that are made here.
const EXAMPLES: [Example; 5] = [
    ("scripted", layouts::SCRIPTED, as_it_comes),
    ("hard-way", layouts::HARD_WAY, as_it_comes),
    ("kubeadm-single", layouts::SINGLE, as_it_comes),
    ("kubeadm-external-etcd", layouts::EXTERNAL_ETCD, as_it_comes),
    ("external-ca", layouts::EXTERNAL_CAS, elsewhere::signed),
];

/// Writes examples anew: a cluster with other keys, what the collector finds there, and its plan. Which ones,
/// says `CAROTA_EXAMPLES`.
#[test]
#[ignore = "replaces committed examples"]
fn write_examples() {
    let wanted = std::env::var("CAROTA_EXAMPLES").expect("the names of examples");
    let plans = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    for (name, layout, change) in EXAMPLES {
        if wanted.split_whitespace().any(|wanted| wanted == name) {
            made::write_example(layout, &plans.join(name), change);
        }
    }
}

fn as_it_comes(_: &Path) {}
