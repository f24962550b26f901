//! The proof holds for the examples, and names each hole of an order that breaks.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use carota::compile::compile;
use carota::coverage;
use carota::names::{NodeName, NodePath};
use carota::phases::{self, Done, Part, Phase};
use carota::pki::{Certificate, Issuer, Keyring, Lock, Purpose, verify};
use carota::rotation::Rotation;
use carota::snapshot;
use carota::spec::{CaName, Spec};
use carota::state::{Entry, ObjectId, Process, State};
use carota::trust::{self, BrokenEdge, Direction, Moment, Proof, Question, Role};
use common::judges::{self, ask_go, ask_openssl, go_is_here};
use common::{edit, inputs_of, judge};

/// A step as the tests change it.
#[derive(Clone)]
struct Point {
    phase: u8,
    name: String,
    step: usize,
    title: String,
    serial: Option<bool>,
    state: State,
    /// Who starts anew when its phase is undone.
    undone: BTreeSet<Process>,
}

/// The points of a finished rotation.
fn points(done: &[Arc<Done>]) -> Vec<Point> {
    let mut out = vec![Point {
        phase: 0,
        name: done[0].phase.name.to_owned(),
        step: 0,
        title: "before".to_owned(),
        serial: None,
        state: done[0].before.clone(),
        undone: BTreeSet::new(),
    }];
    for phase in done {
        for (at, step) in phase.outcome.steps.iter().enumerate() {
            out.push(Point {
                phase: phase.phase.number,
                name: phase.phase.name.to_owned(),
                step: at + 1,
                title: step.title.clone(),
                serial: match step.part {
                    Part::Nodes { serial } => Some(serial),
                    Part::Cluster => None,
                },
                state: step.after.clone(),
                undone: phase.undone.clone().unwrap_or_default(),
            });
        }
    }
    out
}

fn prove(rotation: &Rotation<'_>, points: &[Point]) -> Proof {
    let window = (rotation.spec.not_before, rotation.spec.window_end);
    prove_within(rotation, points, window)
}

/// The old and the new CAs.
fn cas(rotation: &Rotation<'_>) -> BTreeMap<CaName, (Certificate, Certificate)> {
    let pairs = rotation.cas.iter();
    pairs
        .map(|(name, pair)| (*name, (pair.old.clone(), pair.new.clone())))
        .collect()
}

fn moments(points: &[Point]) -> Vec<Moment<'_>> {
    points
        .iter()
        .map(|point| Moment {
            phase: point.phase,
            phase_name: point.name.clone(),
            step: point.step,
            title: point.title.clone(),
            nodes_serial: point.serial,
            state: &point.state,
            undone: None,
        })
        .collect()
}

fn prove_within(rotation: &Rotation<'_>, points: &[Point], window: (i64, i64)) -> Proof {
    let kubernetes = rotation.spec.kubernetes;
    trust::prove(&moments(points), window, kubernetes, &cas(rotation)).unwrap()
}

/// Runs `run` with the rotation of an example, its CAs issued for this run.
fn with_example(example: &Path, run: impl FnOnce(&Rotation<'_>, Vec<Arc<Done>>)) {
    let toml = fs::read_to_string(example.join("cluster.toml")).unwrap();
    let spec = Spec::parse(&toml, "cluster.toml").unwrap();
    let start = snapshot::read(&example.join(&spec.snapshot), &spec).unwrap();
    let lock = fs::read_to_string(example.join("carota.lock")).ok();
    let lock = lock.map(|lock| Lock::parse(&lock, "carota.lock").unwrap());
    let keyring = Keyring::load(&example.join("secrets")).unwrap();
    let mut issuer = Issuer::new(&spec.id, lock, keyring);
    let mut imported = carota::compile::imported(&spec, example).unwrap();
    let rotation = Rotation::prepare(&spec, start.clone(), &mut issuer, &mut imported).unwrap();
    let done = phases::run(&rotation, &start, |_| ()).unwrap();
    run(&rotation, done);
}

#[test]
fn every_connection_of_the_examples_holds() {
    for example in common::examples() {
        with_example(&example, |rotation, done| {
            let proof = prove(rotation, &points(&done));
            assert!(proof.holds(), "{}", proof.render_text(&[]));
            // Users say of the last file that they use it, and nobody asks after it is narrowed.
            let users = rotation.start.users.keys();
            let theirs: Vec<_> = users.map(|user| format!("kubeconfig of {user}")).collect();
            assert_eq!(proof.leftovers, theirs);
            // What is not verified is said, and is no edge that holds.
            let weak = "the API server on cp-1 does not verify kubelets: --kubelet-certificate-authority is not set";
            let verified = example.ends_with("hard-way") || example.ends_with("scripted");
            assert_eq!(
                proof.weaknesses.iter().any(|w| w == weak),
                !verified,
                "{:?}",
                proof.weaknesses
            );
        });
    }
}

/// A plan with one thing left out.
struct Mutant {
    what: String,
    points: Vec<Point>,
}

/// A kubelet of kubeadm 1.33 and later asks its own API server alone, which asks its own etcd alone.
#[test]
fn what_a_control_planes_own_restarts_take_away_is_named() {
    let named = |example_name: &str, outage: &str| {
        let mut phases = Vec::new();
        with_example(&example(example_name), |rotation, done| {
            let outages = prove(rotation, &points(&done)).outages;
            phases.extend(outages.iter().filter(|o| o.name == outage).map(|o| o.phase));
        });
        phases
    };
    let own = "outage:local-kubelet";
    assert_eq!(named("kubeadm-ha", own), [5, 7, 14, 18]);
    assert_eq!(named("kubeadm-1.20", own), [0_u8; 0]);
    // 14: a serving certificate of the cluster CA
    assert_eq!(named("kubeadm-ha", "outage:kubelet"), [10, 13, 14, 19]);
    let starting = "outage:starting-apiserver";
    assert_eq!(named("kubeadm-1.20", starting), [5, 14, 18]);
}

#[test]
fn an_api_server_keeps_some_resources_elsewhere_and_dials_every_piece_of_a_list() {
    let more = "    - --etcd-servers=https://127.0.0.1:2379\n    - --etcd-servers=https://10.200.0.12:2379\n    \
                - --etcd-servers-overrides=/events#http://10.1.1.1:2379;https://10.200.0.13:2379,apps/x#https://events.test:2379\n";
    let add = |start: &mut State| {
        let node = start
            .nodes
            .get_mut(&NodeName::new("cp-1").unwrap())
            .unwrap();
        let path = NodePath::new("/etc/kubernetes/manifests/kube-apiserver.yaml").unwrap();
        let Some(Entry::File(file)) = Arc::make_mut(node).files.get_mut(&path) else {
            panic!("no manifest");
        };
        let flag = "    - --etcd-servers=https://127.0.0.1:2379\n";
        assert!(file.text.contains(flag));
        file.text = file.text.replace(flag, more).into();
    };
    let all = "[\"cluster\", \"front-proxy\", \"etcd\"]";
    with_cas(&example("kubeadm-ha"), all, add, |rotation| {
        let done = phases::run(rotation, &rotation.start, |_| ()).unwrap();
        let proof = prove(rotation, &points(&done));
        assert!(proof.holds(), "{}", proof.render_text(&[]));
        let dialled: Vec<_> = proof
            .edges
            .iter()
            .filter(|edge| {
                edge.kind == "API server → etcd" && &*edge.client == "API server on cp-1"
            })
            .map(|edge| (&*edge.server, edge.dialled.as_deref().unwrap()))
            .collect();
        assert_eq!(
            dialled,
            [
                ("etcd on cp-2", "10.200.0.12"),
                ("etcd on cp-3", "10.200.0.13"),
                ("etcd on cp-1", "127.0.0.1"),
            ]
        );
        let unknown = "etcd at events.test is not in the snapshot";
        assert!(proof.weaknesses.iter().any(|w| w.starts_with(unknown)));
    });
}

/// Leaves out one restart: whoever should have started at `at` runs on.
fn without_restart(points: &[Point], at: usize, process: &Process) -> Vec<Point> {
    let started = points[at].state.started.get(process).copied();
    let before = points[at - 1].state.started.get(process).copied();
    let mut out = points.to_vec();
    for point in &mut out[at..] {
        if point.state.started.get(process).copied() == started {
            match before {
                Some(before) => point.state.started.insert(process.clone(), before),
                None => point.state.started.remove(process),
            };
        }
    }
    out
}

/// Leaves out one change of a file, an object or a user's kubeconfig: until the next change it
/// stays what it was.
fn without_change<T: PartialEq>(
    points: &[Point],
    at: usize,
    get: impl Fn(&State) -> Option<T>,
    set: impl Fn(&mut State, Option<T>),
) -> Vec<Point> {
    let changed = get(&points[at].state);
    let mut out = points.to_vec();
    for point in &mut out[at..] {
        if get(&point.state) != changed {
            break;
        }
        set(&mut point.state, get(&points[at - 1].state));
    }
    out
}

/// Nodes that stand for those like them.
const SAMPLE: [&str; 2] = ["cp-2", "worker-2"];

/// Every single change and every single restart left out, on one node of each role. Without the change
/// of a manifest or a workload there is no restart either.
fn mutants(points: &[Point]) -> Vec<Mutant> {
    let mut out = Vec::new();
    for at in 1..points.len() {
        let (before, after) = (&points[at - 1].state, &points[at].state);
        let place = format!("{:02}.{}", points[at].phase, points[at].step);
        let restarted = after.restarted_since(before);
        let unstarted = |points: Vec<Point>, by: &Process| {
            if restarted.contains(by) {
                without_restart(&points, at, by)
            } else {
                points
            }
        };
        for process in &restarted {
            if process
                .node()
                .is_none_or(|node| SAMPLE.contains(&node.as_str()))
            {
                let what = format!("{place} restart of {process}");
                out.push(Mutant {
                    what,
                    points: without_restart(points, at, process),
                });
            }
        }
        for (node, paths) in after.changed_files(before) {
            for path in paths.iter().filter(|_| SAMPLE.contains(&node.as_str())) {
                let get = |s: &State| s.nodes[&node].files.get(path).cloned();
                let set = |s: &mut State, entry: Option<Entry>| {
                    let files = &mut Arc::make_mut(s.nodes.get_mut(&node).unwrap()).files;
                    match entry {
                        Some(entry) => files.insert(path.clone(), entry),
                        None => files.remove(path),
                    };
                };
                let what = format!("{place} {path} on {node}");
                let by = Process::Program(node.clone(), path.clone());
                out.push(Mutant {
                    what,
                    points: unstarted(without_change(points, at, get, set), &by),
                });
            }
        }
        for id in after.changed_objects(before) {
            let get = |s: &State| s.objects.get(&id).cloned();
            let set = |s: &mut State, object: Option<_>| {
                s.objects.insert(id.clone(), object.unwrap());
            };
            let by = Process::Workload(id.clone());
            out.push(Mutant {
                what: format!("{place} {id}"),
                points: unstarted(without_change(points, at, get, set), &by),
            });
        }
        for user in after.changed_users(before) {
            let get = |s: &State| s.users.get(&user).cloned();
            let set = |s: &mut State, text: Option<_>| {
                s.users.insert(user.clone(), text.unwrap());
            };
            out.push(Mutant {
                what: format!("{place} kubeconfig of {user}"),
                points: without_change(points, at, get, set),
            });
        }
    }
    out
}

/// What may be left out without harm to a connection, by name, and why it is in the plan.
const HARMLESS: [(&str, &str); 12] = [
    (
        "06.1 /etc/kubernetes/manifests/kube-controller-manager.yaml on cp-2",
        WIDE,
    ),
    (
        "06.1 restart of static pod /etc/kubernetes/manifests/kube-controller-manager.yaml on cp-2",
        WIDE,
    ),
    (
        "08.1 /etc/kubernetes/manifests/kube-controller-manager.yaml on cp-2",
        WIDE,
    ),
    (
        "08.1 /etc/kubernetes/manifests/kube-scheduler.yaml on cp-2",
        WIDE,
    ),
    (
        "08.1 restart of static pod /etc/kubernetes/manifests/kube-controller-manager.yaml on cp-2",
        WIDE,
    ),
    (
        "08.1 restart of static pod /etc/kubernetes/manifests/kube-scheduler.yaml on cp-2",
        WIDE,
    ),
    (
        "12.2 /etc/kubernetes/pki/ca.crt on worker-2",
        "nobody in the snapshot trusts by this path between 12 and 18",
    ),
    (
        "13.1 /etc/kubernetes/manifests/kube-controller-manager.yaml on cp-2",
        SEEN,
    ),
    (
        "13.1 restart of static pod /etc/kubernetes/manifests/kube-controller-manager.yaml on cp-2",
        SEEN,
    ),
    ("13.1 restart of kubelet on worker-2", SEEN),
    (
        "14.2 /etc/kubernetes/manifests/kube-apiserver.yaml on cp-2",
        SEEN,
    ),
    (
        "14.2 restart of static pod /etc/kubernetes/manifests/kube-apiserver.yaml on cp-2",
        SEEN,
    ),
];

/// Two phases later comes another restart, soon enough; this one makes every running process trust
/// both CAs before any certificate is switched, so that it holds whoever renews in between.
const WIDE: &str = "a later phase restarts it before a new certificate is asked of it";
/// A later phase restarts it, or it reads the file by itself; this restart shows here and now, on one
/// node, that the new certificate works, while trust in the old one is still there to go back to.
const SEEN: &str = "a later phase restarts it, or it reads the file by itself";

/// Whether a compile refuses: a connection breaks, somebody who trusts was passed over before the
/// switch, or something old is left at the end.
fn refused(rotation: &Rotation<'_>, points: &[Point], sound: &Proof) -> bool {
    let proof = prove(rotation, points);
    let wide = points.iter().rfind(|point| point.phase < 12).unwrap();
    let last = points.last().unwrap();
    !proof.holds()
        || proof.leftovers != sound.leftovers
        || coverage::check_wide(rotation, &wide.state).is_err()
        || coverage::check(rotation, &last.state).is_err()
}

#[test]
fn a_plan_with_one_thing_left_out_does_not_hold() {
    let example = example("kubeadm-ha");
    with_example(&example, |rotation, done| {
        let points = points(&done);
        let sound = prove(rotation, &points);
        assert!(!refused(rotation, &points, &sound));
        let mutants = mutants(&points);
        let survivors: BTreeSet<&str> = mutants
            .iter()
            .filter(|mutant| !refused(rotation, &mutant.points, &sound))
            .map(|mutant| mutant.what.as_str())
            .collect();
        println!(
            "{} left out one by one, {} harmless",
            mutants.len(),
            survivors.len()
        );
        let known: BTreeSet<&str> = HARMLESS.iter().map(|(name, _)| *name).collect();
        assert_eq!(survivors, known);
    });
}

fn example(name: &str) -> PathBuf {
    common::examples()
        .into_iter()
        .find(|e| e.ends_with(name))
        .unwrap()
}

/// The proof of the phases in another order, or why they do not run in it.
fn in_order(rotation: &Rotation<'_>, order: &[usize]) -> Result<Proof, String> {
    let list: Vec<Phase> = order
        .iter()
        .map(|at| Phase {
            ..phases::PHASES[*at]
        })
        .collect();
    let done = phases::run_in_order(rotation, &rotation.start, list.leak(), |_| ());
    done.map(|done| prove(rotation, &points(&done)))
        .map_err(|why| why.reason)
}

/// Phases without which the connections of the example hold, and why.
const DISPENSABLE: [(usize, &str); 4] = [
    (0, "it looks, and changes nothing"),
    (
        15,
        "no workload of the example mounts a certificate that 14 re-issues",
    ),
    (16, "it looks, and changes nothing"),
    (20, "helper files stay"),
];

#[test]
fn a_phase_left_out_is_noticed() {
    with_example(&example("kubeadm-ha"), |rotation, done| {
        let sound = prove(rotation, &points(&done));
        let mut harmless = Vec::new();
        for left_out in 0..phases::PHASES.len() {
            let order: Vec<usize> = (0..phases::PHASES.len())
                .filter(|at| *at != left_out)
                .collect();
            let goes_on = |proof: Proof| proof.holds() && proof.leftovers == sound.leftovers;
            if in_order(rotation, &order).is_ok_and(goes_on) {
                harmless.push(left_out);
            }
        }
        assert_eq!(harmless, DISPENSABLE.map(|(phase, _)| phase));
    });
}

/// Phases that may change places with the next one, and why. Within an act the order is the page's,
/// not one that connections need.
const COMMUTE: [(usize, &str); 12] = [
    (0, "it looks, and changes nothing"),
    (4, "both widen"),
    (5, "both widen"),
    (6, "both widen"),
    (7, "both widen"),
    (8, "both widen"),
    (9, "both widen"),
    (10, "both widen"),
    (
        11,
        "who joins verifies API servers, whose certificates change in 14 only",
    ),
    (
        14,
        "no workload of the example mounts a certificate that 14 re-issues",
    ),
    (15, "both do nothing here"),
    (16, "it looks, and changes nothing"),
];

#[test]
fn neighbouring_phases_are_not_swapped_without_notice() {
    with_example(&example("kubeadm-ha"), |rotation, _| {
        let mut harmless = Vec::new();
        for first in 0..phases::PHASES.len() - 1 {
            let mut order: Vec<usize> = (0..phases::PHASES.len()).collect();
            order.swap(first, first + 1);
            if in_order(rotation, &order).is_ok_and(|proof| proof.holds()) {
                harmless.push(first);
            }
        }
        assert_eq!(harmless, COMMUTE.map(|(phase, _)| phase));
    });
}

/// The rotation as the Kubernetes page has it, step by step, made of the phases' own parts.
struct Page<'r> {
    rotation: &'r Rotation<'r>,
    points: Vec<Point>,
}

impl Page<'_> {
    /// A step of the page: the steps of one phase that `part` picks, changed by `twist`.
    fn step(
        &mut self,
        page: u8,
        name: &str,
        phase: usize,
        part: impl Fn(usize) -> bool,
        twist: impl Fn(&State, &mut State),
    ) {
        let before = self.points.last().unwrap().state.clone();
        let outcome = (phases::PHASES[phase].run)(self.rotation, &before).unwrap();
        let mut last = before;
        for (at, step) in outcome
            .steps
            .into_iter()
            .enumerate()
            .filter(|(at, _)| part(*at))
        {
            let mut state = step.after;
            twist(&last, &mut state);
            last = state.clone();
            self.points.push(Point {
                phase: page,
                name: name.to_owned(),
                step: at + 1,
                title: step.title,
                serial: match step.part {
                    Part::Nodes { serial } => Some(serial),
                    Part::Cluster => None,
                },
                state,
                undone: BTreeSet::new(),
            });
        }
    }
}

/// Takes back the restarts that `which` names.
fn without_restarts(before: &State, after: &mut State, which: impl Fn(&Process) -> bool) {
    for process in after
        .restarted_since(before)
        .into_iter()
        .filter(|p| which(p))
    {
        match before.started.get(&process) {
            Some(at) => after.started.insert(process, *at),
            None => after.started.remove(&process),
        };
    }
}

/// Takes back the changes of the files that `which` names.
fn without_files(before: &State, after: &mut State, which: impl Fn(&str) -> bool) {
    for (node, paths) in after.changed_files(before) {
        for path in paths.into_iter().filter(|p| which(p.as_str())) {
            let old = before.nodes[&node].files.get(&path).cloned();
            let files = &mut Arc::make_mut(after.nodes.get_mut(&node).unwrap()).files;
            match old {
                Some(entry) => files.insert(path, entry),
                None => files.remove(&path),
            };
        }
    }
}

/// The steps of the page 'Manual Rotation of CA Certificates', taken literally.
fn page<'r>(rotation: &'r Rotation<'r>) -> Vec<Point> {
    let start = Point {
        phase: 0,
        name: "before".into(),
        step: 0,
        title: "before".into(),
        serial: None,
        state: rotation.start.clone(),
        undone: BTreeSet::new(),
    };
    let mut page = Page {
        rotation,
        points: vec![start],
    };
    let all = |_: usize| true;
    let same = |_: &State, _: &mut State| {};
    page.step(1, "distribute", 1, all, same);
    // The signer goes to the new CA at once (G1), and a kubeconfig that is published is not named
    // (G17).
    page.step(2, "controller-manager", 2, all, |before, after| {
        without_files(before, after, |path| {
            path.ends_with("controller-manager.conf")
        });
    });
    page.step(2, "controller-manager", 12, |at| at == 0, same);
    page.step(3, "service-accounts", 3, all, same);
    // Only system pods are named (G10).
    page.step(4, "restart-pods", 4, all, |before, after| {
        let theirs =
            |p: &Process| matches!(p, Process::Workload(id) if &*id.namespace != "kube-system");
        without_restarts(before, after, theirs);
    });
    // `--requestheader-client-ca-file` is not named (G3).
    page.step(5, "apiserver", 5, all, |_, after| {
        for node in after.nodes.values_mut() {
            for entry in Arc::make_mut(node).files.values_mut() {
                if let Entry::File(file) = entry {
                    let text = file.text.replace(
                        "--requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca-bundle.crt",
                        "--requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt",
                    );
                    file.text = text.into();
                }
            }
        }
    });
    page.step(6, "scheduler", 6, all, same);
    page.step(7, "users", 8, all, same);
    // Kubelets renew by themselves (G7).
    page.step(7, "users", 13, all, |before, after| {
        without_files(before, after, |path| path.starts_with("/var/lib/kubelet/"));
        without_restarts(before, after, |p| matches!(p, Process::Kubelet(_)));
    });
    page.step(9, "rolling-update", 9, all, same);
    page.step(9, "rolling-update", 10, all, same);
    // No gate for users (G13).
    page.step(9, "rolling-update", 14, all, |before, after| {
        without_files(before, after, |path| path.starts_with("/var/lib/kubelet/"));
        without_restarts(before, after, |p| matches!(p, Process::User(_)));
    });
    // `cluster-info` after the API servers (G11).
    page.step(10, "bootstrap-tokens", 11, all, same);
    page.step(12, "old-ca", 17, all, same);
    page.step(12, "old-ca", 18, all, |before, after| {
        without_restarts(before, after, |p| matches!(p, Process::User(_)));
    });
    page.step(12, "old-ca", 19, all, same);
    page.points
}

#[test]
fn the_pages_own_order_breaks_where_its_gaps_are() {
    // The page does not cover etcd.
    with_cas(
        &example("kubeadm-ha"),
        "[\"cluster\", \"front-proxy\"]",
        |_| {},
        |rotation| {
            let proof = prove(rotation, &page(rotation));
            quoted_in_readme(&proof);
            let holes = [
                (
                    "G1",
                    2,
                    "kubelet → API server",
                    Direction::ServerRefusesClient,
                ),
                (
                    "G3",
                    9,
                    "API server → aggregated API server",
                    Direction::ServerRefusesClient,
                ),
                (
                    "G7",
                    12,
                    "kubelet → API server",
                    Direction::ServerRefusesClient,
                ),
                (
                    "G10",
                    9,
                    "pods → API server",
                    Direction::ClientRefusesServer,
                ),
                (
                    "G11",
                    9,
                    "joining node → API server",
                    Direction::ClientRefusesServer,
                ),
                (
                    "G13",
                    9,
                    "users → API server",
                    Direction::ClientRefusesServer,
                ),
                (
                    "G13",
                    12,
                    "users → API server",
                    Direction::ServerRefusesClient,
                ),
            ];
            for (gap, phase, kind, direction) in holes {
                let named = proof.broken.iter().any(|b| {
                    b.kind == kind
                        && b.direction == direction
                        && (b.phase == phase || b.also_in.contains(&phase))
                });
                assert!(named, "{gap} is not named:\n{}", proof.render_text(&[]));
            }
        },
    );
}

/// The README quotes this proof, but for the lines that show certificates: they are of this run.
fn quoted_in_readme(proof: &Proof) {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let (_, quoted) = readme.split_once("```text\n").expect("a quotation");
    let (quoted, _) = quoted.split_once("```").unwrap();
    let said = proof.render_text(&[]);
    let mut said = said.lines().map(str::trim);
    let mut count = 0;
    for line in quoted.lines().map(str::trim).filter(|l| !l.is_empty()) {
        assert!(
            said.any(|l| l == line),
            "the proof does not say, there: {line}\n{}",
            proof.render_text(&[])
        );
        count += 1;
    }
    assert!(count >= 7 * 3, "{count}");
}

#[test]
fn the_page_on_a_cluster_that_publishes_a_kubeconfig_s_ca_breaks_pods() {
    let example = example("kubeadm-ha");
    let cas = "[\"cluster\", \"front-proxy\"]";
    let without_flag = |start: &mut State| {
        let mut left_out = 0;
        for node in start.nodes.values_mut() {
            for entry in Arc::make_mut(node).files.values_mut() {
                if let Entry::File(file) = entry {
                    let flag = "    - --root-ca-file=/etc/kubernetes/pki/ca.crt\n";
                    left_out += file.text.matches(flag).count();
                    file.text = file.text.replace(flag, "").into();
                }
            }
        }
        assert_eq!(left_out, 3);
    };
    let breaks = |proof: &Proof| {
        // Of kube-system, whose pods the page restarts in time.
        proof.broken.iter().any(|b| {
            (b.kind, b.direction, b.phase)
                == ("pods → API server", Direction::ClientRefusesServer, 9)
                && b.client == "daemonsets/kube-system/kube-proxy"
        })
    };
    with_cas(&example, cas, without_flag, |rotation| {
        let proof = prove(rotation, &page(rotation));
        assert!(
            breaks(&proof),
            "G17 is not named:\n{}",
            proof.render_text(&[])
        );
        let done = phases::run(rotation, &rotation.start, |_| ()).unwrap();
        let proof = prove(rotation, &points(&done));
        assert!(proof.holds(), "{}", proof.render_text(&[]));
    });
    with_cas(
        &example,
        cas,
        |_| {},
        |rotation| {
            assert!(!breaks(&prove(rotation, &page(rotation))));
        },
    );
}

/// Runs `run` with a rotation of some of an example's CAs, minted for this run, of a cluster that
/// `change` changes.
fn with_cas(
    example: &Path,
    cas: &str,
    change: impl FnOnce(&mut State),
    run: impl FnOnce(&Rotation<'_>),
) {
    let toml = fs::read_to_string(example.join("cluster.toml")).unwrap();
    let all = "[\"cluster\", \"front-proxy\", \"etcd\"]";
    assert!(toml.contains(all));
    let mut kept = String::new();
    for table in toml.replace(all, cas).split_inclusive("\n\n") {
        let of_other = CaName::ALL.iter().any(|name| {
            table.contains(&format!("[rotation.ca.{name}]")) && !cas.contains(name.as_str())
        });
        if !of_other {
            kept.push_str(table);
        }
    }
    let spec = Spec::parse(&kept, "cluster.toml").unwrap();
    let mut start = snapshot::read(&example.join(&spec.snapshot), &spec).unwrap();
    change(&mut start);
    let keyring = Keyring::load(Path::new("no secrets here")).unwrap();
    let mut issuer = Issuer::new(&spec.id, None, keyring);
    let rotation = Rotation::prepare(&spec, start, &mut issuer, &mut BTreeMap::new()).unwrap();
    run(&rotation);
}

/// The line of a kubeconfig that holds the client certificate.
fn certificate_line(text: &str) -> &str {
    let found = text
        .lines()
        .find(|line| line.contains("client-certificate-data"));
    found.unwrap()
}

#[test]
fn a_certificate_of_somebody_else_is_noticed() {
    with_example(&example("kubeadm-ha"), |rotation, done| {
        let mut points = points(&done);
        let node = NodeName::new("cp-1").unwrap();
        let path = |name: &str| NodePath::new(&format!("/etc/kubernetes/{name}.conf")).unwrap();
        for point in points.iter_mut().filter(|point| point.phase >= 13) {
            let other = point
                .state
                .file(&node, &path("controller-manager"))
                .unwrap();
            let other = certificate_line(&other.text).to_owned();
            let files = &mut Arc::make_mut(point.state.nodes.get_mut(&node).unwrap()).files;
            let Some(Entry::File(file)) = files.get_mut(&path("scheduler")) else {
                panic!()
            };
            file.text = file
                .text
                .replace(certificate_line(&file.text), &other)
                .into();
        }
        let proof = prove(rotation, &points);
        let [broken] = &proof.broken[..] else {
            panic!("{}", proof.render_text(&[]))
        };
        assert_eq!(
            (broken.direction, broken.phase),
            (Direction::IdentityChanges, 13)
        );
        assert_eq!(broken.client, "kube-scheduler on cp-1");
        assert!(
            broken.reason.contains("`system:kube-controller-manager`"),
            "{}",
            broken.reason
        );
    });
}

/// How a test changes a text.
type Change<'t> = &'t dyn Fn(&str) -> String;

#[test]
fn whoever_stops_showing_a_certificate_or_verifying_one_is_noticed() {
    let alice = NodeName::new("alice").unwrap();
    let losses: [(&str, Change<'_>); 2] = [
        ("no certificate would be presented any more", &|text| {
            text.replace(certificate_line(text), "")
        }),
        ("it would verify nothing any more", &|text| {
            let mut lines = text.lines();
            let line = lines.find(|line| line.contains("certificate-authority-data"));
            text.replace(line.unwrap(), "    insecure-skip-tls-verify: true")
        }),
    ];
    with_example(&example("kubeadm-ha"), |rotation, done| {
        for (reason, change) in losses {
            let mut points = points(&done);
            for point in points.iter_mut().filter(|point| point.phase >= 13) {
                let text = point.state.users[&alice].clone();
                let changed = change(&text);
                assert_ne!(*text, *changed);
                point.state.users.insert(alice.clone(), changed.into());
            }
            let proof = prove(rotation, &points);
            let kinds: BTreeSet<&str> = proof.broken.iter().map(|broken| broken.kind).collect();
            assert!(kinds.contains("users → API server"), "{kinds:?}");
            for broken in &proof.broken {
                let names = [&broken.client, &broken.server];
                assert!(names.iter().any(|name| name.contains("alice")), "{names:?}");
                assert_eq!((broken.phase, &*broken.reason), (13, reason));
            }
        }
    });
}

/// A folder with the inputs of kubeadm-ha.
fn kubeadm_ha() -> tempfile::TempDir {
    common::inputs_of(&example("kubeadm-ha"))
}

#[test]
fn signers_with_cas_of_their_own_are_proven_each_where_it_counts() {
    let folder = kubeadm_ha();
    let serving = carota::pki::SigningCa::mint(&carota::pki::CaRequest {
        subject: "CN=kubelet-serving-ca".to_owned(),
        key: carota::pki::KeyAlgorithm::EcdsaP256,
        not_before: 1_700_000_000,
        not_after: 2_500_000_000,
        serial: [7; 16],
    });
    let serving = serving.unwrap().certificate.to_pem();
    let manifest = "/etc/kubernetes/manifests/kube-controller-manager.yaml";
    for node in ["cp-1", "cp-2", "cp-3"] {
        let snapshot = folder.path().join("snapshot");
        let root = snapshot.join("nodes").join(node);
        let key = fs::read_to_string(root.join("etc/kubernetes/pki/sa.key")).unwrap();
        common::put_on_node(
            &snapshot,
            node,
            "/etc/kubernetes/pki/serving-ca.crt",
            &serving,
        );
        common::put_on_node(&snapshot, node, "/etc/kubernetes/pki/serving-ca.key", &key);
        let of = |signer: &str, ca: &str| {
            format!(
                "    - --cluster-signing-{signer}-cert-file=/etc/kubernetes/pki/{ca}.crt\n    \
                 - --cluster-signing-{signer}-key-file=/etc/kubernetes/pki/{ca}.key\n"
            )
        };
        let all = [
            of("kubelet-client", "ca"),
            of("kube-apiserver-client", "ca"),
            of("legacy-unknown", "ca"),
            of("kubelet-serving", "serving-ca"),
        ];
        let one = "    - --cluster-signing-cert-file=/etc/kubernetes/pki/ca.crt\n    \
                   - --cluster-signing-key-file=/etc/kubernetes/pki/ca.key\n";
        common::edit(&root.join(&manifest[1..]), one, &all.concat());
        common::record_anew(&snapshot, node, manifest);
    }
    fs::remove_file(folder.path().join("carota.lock")).unwrap();
    let usual = compile(&example("kubeadm-ha").join("cluster.toml"))
        .unwrap()
        .proof;
    let own = compile(&folder.path().join("cluster.toml")).unwrap();
    assert!(own.may_be_written(), "{}", own.proof.render_text(&[]));
    let rows = |proof: &Proof| -> Vec<_> {
        let rows = proof.matrix.iter();
        rows.map(|row| (row.kind, row.verified)).collect()
    };
    assert_eq!(rows(&usual), rows(&own.proof));
    let unproven = |proof: &Proof| -> Vec<String> {
        let all = proof.weaknesses.iter();
        all.filter(|w| w.contains("nothing is proven"))
            .cloned()
            .collect()
    };
    assert_eq!(unproven(&usual), Vec::<String>::new());
    let unproven = unproven(&own.proof);
    assert!(!unproven.is_empty());
    for weakness in &unproven {
        assert!(
            weakness.contains(" → kubelet on ") && weakness.contains("kubelet-serving-ca"),
            "{weakness}"
        );
    }
}

#[test]
fn a_certificate_that_ends_within_the_window_does_not_hold() {
    with_example(&example("kubeadm-ha"), |rotation, done| {
        let begin = rotation.spec.not_before;
        let proof = prove_within(rotation, &points(&done), (begin, begin + 3 * 365 * 86_400));
        assert!(
            proof
                .broken
                .iter()
                .any(|b| b.phase == 0 && b.reason.contains("expired on"))
        );
    });
}

#[test]
fn every_worker_of_a_fleet_is_proven_by_its_own_certificates() {
    let workers = 9;
    let folder = tempfile::tempdir().unwrap();
    common::fleet::make(&example("kubeadm-ha"), workers, folder.path());
    let compiled = compile(&folder.path().join("cluster.toml")).unwrap();
    let proof = &compiled.proof;
    assert!(compiled.may_be_written(), "{:#?}", proof.broken);
    for number in 1..=workers {
        let kubelet = format!("kubelet on node{number:04}");
        let edges = proof.edges.iter();
        assert!(edges.filter(|edge| *edge.client == *kubelet).count() >= 1);
    }
    let more = |workers| {
        let folder = tempfile::tempdir().unwrap();
        common::fleet::make(&example("kubeadm-ha"), workers, folder.path());
        let compiled = compile(&folder.path().join("cluster.toml")).unwrap();
        compiled.proof.pairs_verified
    };
    // Each worker has a client certificate of its own, old and new, and half of them a server's.
    assert!(more(workers + 2) >= proof.pairs_verified + 2 * 2 + 2);
}

/// A core that this test may use.
fn one_core() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = allowed.unwrap().trim().split([',', '-']).next().unwrap();
    first.to_owned()
}

#[test]
fn nobody_can_tell_how_many_cores_worked_on_a_proof() {
    let fleet = tempfile::tempdir().unwrap();
    common::fleet::make(&example("kubeadm-ha"), 9, fleet.path());
    let compiled = compile(&fleet.path().join("cluster.toml")).unwrap();
    fs::write(fleet.path().join("carota.lock"), compiled.lock).unwrap();
    // The same text, which lacks a CA, on nodes of different shares.
    let lacking = kubeadm_ha();
    for node in ["cp-1", "worker-1", "worker-2"] {
        let text = "apiVersion: v1\nkind: Config\n\
                    clusters: [{name: lab, cluster: {server: 'https://k8s-api.lab:6443'}}]\n\
                    users: [{name: agent, user: {}}]\n\
                    contexts: [{name: lab, context: {cluster: lab, user: agent}}]\n\
                    current-context: lab\n";
        common::put_on_node(
            &lacking.path().join("snapshot"),
            node,
            "/etc/agent/kubeconfig",
            text,
        );
    }
    // Kubelets that know one API server, and others in another share that know them all.
    let local = kubeadm_ha();
    for (node, own) in [("cp-2", 12), ("cp-3", 13)] {
        let path = "/etc/kubernetes/kubelet.conf";
        let file = format!("snapshot/nodes/{node}{path}");
        let (own, other) = (format!("10.200.0.{own}"), "10.200.0.11");
        common::edit(&local.path().join(file), &own, other);
        common::record_anew(&local.path().join("snapshot"), node, path);
    }
    let prove = ["prove", "cluster.toml", "--format", "json"];
    let core = one_core();
    for folder in common::examples().iter().map(PathBuf::as_path).chain([
        fleet.path(),
        lacking.path(),
        local.path(),
    ]) {
        let all = common::carota(&prove, folder);
        let one = Command::new("taskset")
            .args(["-c", &core, env!("CARGO_BIN_EXE_carota")])
            .args(prove)
            .current_dir(folder)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&all.stderr), "");
        assert!(all.status.success() && all.stdout.len() > 10_000);
        assert_eq!(all.stdout, one.stdout, "{}", folder.display());
        let said = String::from_utf8_lossy(&all.stdout);
        for node in ["cp-1", "worker-1", "worker-2"]
            .iter()
            .filter(|_| folder == lacking.path())
        {
            let named = format!("/etc/agent/kubeconfig on {node} names no CA");
            assert!(said.contains(&named), "{named}");
        }
        if folder == local.path() {
            assert!(said.contains("kubectl logs and exec into pods on cp-1, while"));
        }
    }
}

/// The files of questions, written into a folder: the same text under the same name.
struct Files<'f> {
    folder: &'f Path,
    names: BTreeMap<String, String>,
}

impl Files<'_> {
    fn name(&mut self, certificates: &[Certificate]) -> String {
        let text: String = certificates.iter().map(Certificate::to_pem).collect();
        let next = format!("{}.crt", self.names.len());
        let name = self.names.entry(text.clone()).or_insert(next);
        fs::write(self.folder.join(&*name), text).unwrap();
        name.clone()
    }

    fn question(&mut self, question: &Question, at: i64) -> judges::Question {
        let (leaf, middle) = question.chain.split_first().unwrap();
        judges::Question {
            leaf: self.name(std::slice::from_ref(leaf)),
            middle: (!middle.is_empty()).then(|| self.name(middle)),
            anchors: self.name(&question.anchors),
            server: matches!(question.role, Role::Server(_)),
            name: match &question.role {
                Role::Server(name) => name.clone(),
                Role::Client => None,
            },
            at,
        }
    }
}

/// What carota says at one time.
fn at(question: &Question, when: i64) -> bool {
    let purpose = match &question.role {
        Role::Client => Purpose::Client,
        Role::Server(name) => Purpose::Server {
            name: name.as_deref(),
        },
    };
    let (leaf, middle) = question.chain.split_first().unwrap();
    verify(leaf, middle, &question.anchors, purpose, when).is_ok()
}

/// A moment after the end of every certificate of the examples, and one before their beginning.
const OTHER_TIMES: [i64; 2] = [4_102_444_800, 946_684_800];

#[test]
fn other_judges_answer_every_question_of_the_proof_alike() {
    let go = go_is_here();
    for example in common::examples() {
        with_example(&example, |rotation, done| {
            let window = (rotation.spec.not_before, rotation.spec.window_end);
            let points = points(&done);
            let kubernetes = rotation.spec.kubernetes;
            let all = trust::questions(&moments(&points), window, kubernetes, &cas(rotation));
            let all = all.unwrap();
            let folder = tempfile::tempdir().unwrap();
            let mut files = Files {
                folder: folder.path(),
                names: BTreeMap::new(),
            };
            let mut asked = Vec::new();
            let mut expected = Vec::new();
            for question in &all {
                let held = question.refused.is_none();
                assert_eq!(held, at(question, window.0) && at(question, window.1));
                for when in [window.0, window.1].into_iter().chain(OTHER_TIMES) {
                    asked.push(files.question(question, when));
                    expected.push(at(question, when));
                }
            }
            let mut answers = vec![("OpenSSL", ask_openssl(folder.path(), &asked))];
            if go {
                answers.push(("Go", ask_go(folder.path(), &asked)));
            }
            for (judge, answers) in answers {
                for ((question, expected), answer) in asked.iter().zip(&expected).zip(answers) {
                    assert_eq!(
                        answer.is_ok(),
                        *expected,
                        "{judge}: {answer:?}, {question:?}"
                    );
                }
            }
            let count = |which: &dyn Fn(&Question) -> bool| all.iter().filter(|q| which(q)).count();
            println!(
                "{}: {} questions, {} of them the proof's own; accepted {}, refused {}; at {} times",
                example.file_name().unwrap().display(),
                all.len(),
                count(&|q| q.asked),
                count(&|q| q.refused.is_none()),
                count(&|q| q.refused.is_some()),
                2 + OTHER_TIMES.len(),
            );
            // Both answers are compared, and so is what a proof that fails would ask.
            assert!(count(&|q| q.asked && q.refused.is_none()) > 50);
            assert!(count(&|q| q.refused.is_some()) > 50);
        });
    }
}

/// Runs `run` with a rotation of an example whose cluster.toml is changed; CAs are minted for this run.
fn with_toml(example: &Path, (from, to): (&str, &str), run: impl FnOnce(&Rotation<'_>)) {
    let toml = fs::read_to_string(example.join("cluster.toml")).unwrap();
    assert!(toml.contains(from));
    let spec = Spec::parse(&toml.replace(from, to), "cluster.toml").unwrap();
    let start = snapshot::read(&example.join(&spec.snapshot), &spec).unwrap();
    let keyring = Keyring::load(Path::new("no secrets here")).unwrap();
    let mut issuer = Issuer::new(&spec.id, None, keyring);
    let rotation = Rotation::prepare(&spec, start, &mut issuer, &mut BTreeMap::new()).unwrap();
    run(&rotation);
}

#[test]
fn a_key_that_does_not_change_with_its_certificate_is_noticed() {
    let keys = ("leaf_keys = \"keep\"", "leaf_keys = \"new\"");
    with_toml(&example("kubeadm-1.20"), keys, |rotation| {
        let done = phases::run(rotation, &rotation.start, |_| ()).unwrap();
        let points = points(&done);
        let proof = prove(rotation, &points);
        assert!(proof.holds(), "{}", proof.render_text(&[]));
        let between: Vec<_> = proof
            .outages
            .iter()
            .filter(|outage| outage.name == "outage:key-pairs")
            .collect();
        let [between] = between[..] else {
            panic!("{:?}", proof.outages)
        };
        assert_eq!((between.phase, between.minor), (14, true));
        assert!(between.scope.contains("etcd on cp-2"), "{}", between.scope);
        let node = NodeName::new("cp-2").unwrap();
        let at = points.iter().position(|point| {
            point.phase == 14
                && point
                    .state
                    .changed_files(&rotation.start)
                    .contains_key(&node)
        });
        let before = points[at.unwrap() - 1].state.clone();
        for name in ["apiserver.key", "apiserver.crt", "etcd/peer.key"] {
            let path = NodePath::new(&format!("/etc/kubernetes/pki/{name}")).unwrap();
            let mut half = points.clone();
            for point in &mut half {
                let files = &mut Arc::make_mut(point.state.nodes.get_mut(&node).unwrap()).files;
                files.insert(
                    path.clone(),
                    before.nodes[&node]
                        .files
                        .get(&path)
                        .expect("a file")
                        .clone(),
                );
            }
            let proof = prove(rotation, &half);
            let named = proof.broken.iter().any(|b| {
                b.phase == 14 && b.reason.contains("does not belong") && b.client.contains("cp-2")
            });
            assert!(named, "{name}: {}", proof.render_text(&[]));
        }
    });
}

#[test]
fn who_shows_kubelets_a_certificate_is_an_edge() {
    with_example(&example("kubeadm-ha"), |rotation, done| {
        let mut points = points(&done);
        let node = NodeName::new("worker-1").unwrap();
        let paths = ["/var/lib/kubelet/config.yaml", "/etc/kubernetes/pki/ca.crt"];
        for point in points.iter_mut().filter(|point| point.phase >= 10) {
            for path in paths.map(|path| NodePath::new(path).unwrap()) {
                let files = &mut Arc::make_mut(point.state.nodes.get_mut(&node).unwrap()).files;
                files.insert(
                    path.clone(),
                    rotation.start.nodes[&node]
                        .files
                        .get(&path)
                        .expect("a file")
                        .clone(),
                );
            }
        }
        let proof = prove(rotation, &points);
        let broken = |client: &str, phase: u8| {
            proof.broken.iter().any(|b| {
                (b.client.as_str(), b.server.as_str()) == (client, "kubelet on worker-1")
                    && b.direction == Direction::ServerRefusesClient
                    && b.phase == phase
            })
        };
        let text = proof.render_text(&[]);
        assert!(
            broken("whoever gets a certificate from the cluster", 12),
            "{text}"
        );
        assert!(broken("user alice", 13), "{text}");
        assert!(broken("API server on cp-1", 14), "{text}");
    });
}

/// The rotation up to a phase, and undone from there as `rollback.sh` does it: of each phase first the
/// steps on nodes, the last one first, then what is in the cluster; whoever started in a step starts
/// once more. Users put back the file that they had where a phase that handed out another one is
/// undone, of the phases that are `told`.
fn there_and_back(points: &[Point], until: u8, told: &[u8]) -> Vec<Point> {
    let there: Vec<Point> = points
        .iter()
        .filter(|p| p.phase <= until)
        .cloned()
        .collect();
    let mut out = there.clone();
    let mut push = |undone: &Point, serial, mut state: State, restarted: &BTreeSet<Process>| {
        let last = &out.last().unwrap().state;
        state.number = last.number + 1;
        state.started.clone_from(&last.started);
        for process in restarted {
            state.started.insert(process.clone(), state.number);
        }
        let title = format!("undo: {}", undone.title);
        out.push(Point {
            title,
            serial,
            state,
            ..undone.clone()
        });
    };
    for phase in there[1..].chunk_by(|a, b| a.phase == b.phase).rev() {
        let (last, number) = (phase.last().unwrap(), phase[0].phase);
        let at_first = |point: &Point| point.phase == number && point.step > 0;
        let first = there.iter().position(at_first).unwrap();
        let before = &there[first - 1].state;
        // A confirmation is of a file, and that of 08 stays with whoever has it.
        let workloads = phase[0].undone.iter().cloned();
        let workloads = workloads.filter(|process| matches!(process, Process::Workload(_)));
        let befores = there[first - 1..].iter().map(|point| &point.state);
        let steps = befores.zip(phase).rev();
        for (earlier, point) in steps.filter(|(_, point)| point.serial.is_some()) {
            let mut state = last.state.clone();
            state.nodes.clone_from(&earlier.nodes);
            let restarted = point.state.restarted_since(earlier);
            push(point, point.serial, state, &restarted);
        }
        if phase.iter().any(|point| point.serial.is_none()) {
            let users = last.state.changed_users(before).into_iter();
            let users = users.filter(|_| told.contains(&number)).map(Process::User);
            let restarted = workloads.chain(users).collect();
            push(last, None, before.clone(), &restarted);
        }
    }
    out
}

/// A webhook whose certificate of the cluster CA lies in a Secret, which `web` gets.
fn with_a_webhook(example: &Path, run: impl FnOnce(&Rotation<'_>, Vec<Arc<Done>>)) {
    let folder = inputs_of(example);
    fs::remove_file(folder.path().join("carota.lock")).unwrap();
    let snapshot = folder.path().join("snapshot");
    let leaf = fs::read(snapshot.join("nodes/cp-1/etc/kubernetes/pki/apiserver.crt")).unwrap();
    let encoded = String::from_utf8(judge("base64", &["-w0"], &leaf).stdout).unwrap();
    edit(
        &snapshot.join("cluster/secrets.yaml"),
        "items:\n",
        &format!(
            "items:\n- apiVersion: v1\n  data:\n    tls.crt: {encoded}\n  kind: Secret\n  metadata:\n    name: policy-tls\n    namespace: shop\n  type: kubernetes.io/tls\n"
        ),
    );
    let spec = "        dnsPolicy: ClusterFirst\n        restartPolicy: Always\n        schedulerName: default-scheduler\n";
    let gets = "        volumes:\n        - name: tls\n          secret:\n            secretName: policy-tls\n";
    edit(
        &snapshot.join("cluster/deployments.yaml"),
        spec,
        &format!("{gets}{spec}"),
    );
    edit(
        &snapshot.join("cluster/validatingwebhookconfigurations.yaml"),
        "      service:\n        name: policy\n        namespace: shop\n        path: /validate\n        port: 443\n",
        "      url: https://kubernetes.default.svc/validate\n",
    );
    with_example(folder.path(), run);
}

#[test]
fn who_has_later_files_in_memory_starts_anew_on_the_way_back() {
    let example = common::examples()
        .into_iter()
        .find(|e| e.ends_with("kubeadm-ha"))
        .unwrap();
    with_a_webhook(&example, |rotation, mut done| {
        let proof = carota::compile::prove(rotation, &done).unwrap();
        assert!(proof.holds(), "{}", proof.render_text(&[]));
        // Each is undone without what its CLUSTER-BACK starts anew: `web` has the webhook's later certificate when 09 is
        // undone, and the pod without an owner knows the new CA alone when 14 is.
        let web = Process::Workload(ObjectId::new("deployments", "shop", "web"));
        let debug = Process::Workload(ObjectId::new("pods", "shop", "debug"));
        for (phase, process, broken_in) in [(14, web, 9), (17, debug, 14)] {
            let known = done[phase].undone.clone().unwrap();
            let mut without = known.clone();
            assert!(without.remove(&process), "{process} in {phase}");
            Arc::get_mut(&mut done[phase]).unwrap().undone = Some(without);
            let proof = carota::compile::prove(rotation, &done).unwrap();
            let first = proof.broken.first().expect("it breaks");
            assert_eq!(first.phase, broken_in, "{}", proof.render_text(&[]));
            assert!(first.step_title.starts_with("on the way back: "));
            assert!(
                first.remedy.contains("restart it first"),
                "{}",
                first.remedy
            );
            Arc::get_mut(&mut done[phase]).unwrap().undone = Some(known);
        }
    });
}

#[test]
fn the_way_back_holds_until_old_trust_goes() {
    for example in common::examples() {
        with_example(&example, |rotation, done| {
            let points = points(&done);
            // What was signed in 12 must be replaced before 10 is undone, which is asked; here it is not.
            let signed = |b: &BrokenEdge| b.phase == 10 && b.client.starts_with("whoever gets");
            for until in [5, 12, 16, 19] {
                let proof = prove(rotation, &there_and_back(&points, until, &[13, 18]));
                let holds = proof.broken.iter().all(signed);
                assert!(holds, "{until}: {}", proof.render_text(&[]));
            }
            // What is asked before 05, 10 and 14 are undone, and nowhere else: nobody knows the users'
            // certificate of 13 once 05 and 10 are, nor does their file of 18 know what is served once
            // 14 is.
            for (told, asked) in [([18, 18], [5, 10]), ([13, 13], [14, 14])] {
                let proof = prove(rotation, &there_and_back(&points, 19, &told));
                let mut others = proof.broken.iter().filter(|b| !signed(b)).peekable();
                assert_eq!(others.peek().is_none(), rotation.start.users.is_empty());
                let theirs = |b: &BrokenEdge| b.client == "user alice" && asked.contains(&b.phase);
                assert!(others.all(theirs), "{}", proof.render_text(&[]));
            }
        });
    }
}
