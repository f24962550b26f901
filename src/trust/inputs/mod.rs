//! Inputs: one thing that one process trusts or presents, and every value that it may have in a
//! step.
//!
//! Knows the reload table, when processes started, and where values lie. It must not know who talks
//! to whom.
//!
//! What a process reads when it starts may be the value of any state since its last known start: it
//! may have crashed and come back in any of them. What it reads live is what the file holds now,
//! under the path that it was started with. Within a step both sides count, and the mix of an old
//! start with a new file. On the way back it is the same between the start before a moment and the one after it.

mod controllers;
mod values;

pub use controllers::Signer;

use std::rc::Rc;

use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

use super::artifacts::{Artifacts, View};
use super::judge::{Credential, Judge, SetId, Trust};
use super::reload::{self, Class};
use super::timeline::{Stretch, Timeline};
use crate::diagnostic::Result;
use crate::layout::Program;
use crate::names::{NodeName, NodePath};
use crate::spec::Version;
use crate::state::{ObjectId, Process};

/// The kubeconfig that somebody reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KubeconfigOf {
    /// Named by a flag of a program: manifest and flag.
    Flag(Program, NodePath, &'static str),
    /// The kubelet's.
    Kubelet,
    /// The kubelet's for joining.
    Bootstrap,
    /// A file whose readers are not programs of the control plane.
    File(NodePath),
}

/// What an input is and where its value lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// Trust in a file that a flag names. Without the flag: no verification at all, or nothing
    /// accepted.
    FlagTrust {
        program: Program,
        manifest: NodePath,
        flag: &'static str,
        open: bool,
    },
    /// The certificate in a file that a flag names.
    FlagCertificate {
        program: Program,
        manifest: NodePath,
        flag: &'static str,
    },
    /// Trust of a cluster in a kubeconfig.
    KubeconfigTrust { of: KubeconfigOf, cluster: usize },
    /// Certificate of a user in a kubeconfig.
    KubeconfigCertificate { of: KubeconfigOf, user: usize },
    /// The kubelet's `clientCAFile`.
    KubeletClientCa,
    /// The kubelet's client certificate, renewals by the cluster's signer included.
    KubeletClient { user: usize },
    /// The kubelet's serving certificate.
    KubeletServing,
    /// Trust of a cluster in a user's kubeconfig outside the nodes.
    UserTrust { user: NodeName, cluster: usize },
    /// Certificate in a user's kubeconfig outside the nodes.
    UserCertificate { user: NodeName, of: usize },
    /// `ca.crt` as pods get it: what the objects hold, and what the controller managers write there.
    Published {
        objects: Vec<(ObjectId, &'static str)>,
    },
    /// Trust in a field of an object.
    ObjectTrust { id: ObjectId, pointer: String },
    /// Trust in a kubeconfig in a field of an object.
    ObjectKubeconfig { id: ObjectId, pointer: String },
    /// A certificate in a field of an object.
    ObjectCertificate { id: ObjectId, pointer: String },
    /// What API servers publish for aggregated ones.
    PublishedFrontProxy,
    /// Trust in a file, by path.
    FileTrust { path: NodePath },
    /// A certificate in a file, by path.
    FileCertificate { path: NodePath },
    /// Whatever the cluster's signer signs.
    Signed,
    /// A certificate that the snapshot does not show, taken to be of this CA while the certificates
    /// that these inputs present are, and of these signers'.
    Assumed {
        signers: Vec<Signer>,
        while_used: Vec<InputId>,
    },
}

/// One input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Input {
    /// What it is.
    pub what: What,
    /// On which node it lies.
    pub node: Option<NodeName>,
    /// Whose memory it is in.
    pub process: Option<Process>,
    /// The row of the reload table.
    pub row: &'static str,
    /// For people: where it is read from.
    pub label: String,
}

/// Number of an [`Input`].
pub type InputId = usize;
/// Number of what an input may be in every step.
pub type HistoryId = usize;

/// A controller manager, for what it signs with and publishes.
struct Manager {
    node: NodeName,
    manifest: NodePath,
    starts: Vec<usize>,
}

/// A kubeconfig: where it lies, and what it holds.
pub type Kubeconfig = (NodePath, Rc<View>);

/// A moment for each moment: when a process started, or since when something is what it is. Shared by all for
/// which they are the same.
type Moments = Rc<[usize]>;

/// Which versions of an input count in a step.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Span {
    /// The first that may be in memory.
    first: usize,
    /// The last that may be in memory.
    last: usize,
    /// What lies there before the step.
    before: usize,
    /// What lies there after it.
    after: usize,
}

/// The values of an input by the moments when its configuration and its content were read: few, and the
/// same ones in many steps.
type Values = Vec<((usize, usize), Vec<usize>)>;

/// What is known of one input over time.
struct Track {
    input: Rc<Input>,
    class: Class,
    starts: Moments,
    /// The last moments of which it may have something in memory on the way back.
    returns: Moments,
    versions: Moments,
    histories: Option<Ways>,
}

/// An input's history, and that of the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ways {
    /// What it may be in every step.
    pub forth: HistoryId,
    /// What it may be while the steps with a way back are undone; first, when all are.
    pub back: HistoryId,
}

/// Which way the rotation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// On.
    Forth,
    /// Phases are undone, the last one first.
    Back,
}

impl Ways {
    fn of(self, way: Way) -> HistoryId {
        match way {
            Way::Forth => self.forth,
            Way::Back => self.back,
        }
    }
}

/// The histories that inputs have, each once.
#[derive(Default)]
struct Histories {
    numbers: HashMap<Rc<[SetId]>, HistoryId>,
    sets: Vec<Rc<[SetId]>>,
    /// The sets of whole stretches, as far as asked for: by history, first and last step.
    in_stretches: HashMap<(HistoryId, usize, usize), SetId>,
}

impl Histories {
    fn number(&mut self, sets: Vec<SetId>) -> HistoryId {
        if let Some(&known) = self.numbers.get(&sets[..]) {
            return known;
        }
        let sets: Rc<[SetId]> = sets.into();
        self.sets.push(sets.clone());
        self.numbers.insert(sets, self.sets.len() - 1);
        self.sets.len() - 1
    }
}

/// All inputs and their values over time.
pub struct Inputs<'a> {
    /// The moments.
    pub timeline: &'a Timeline<'a>,
    /// What has been read.
    pub artifacts: Artifacts<'a>,
    kubernetes: Version,
    tracks: Vec<Track>,
    numbers: HashMap<Rc<Input>, InputId>,
    moments: HashSet<Moments>,
    /// When each process started, and until when it may have something in memory on the way back.
    processes: HashMap<Process, (Moments, Moments)>,
    histories: Histories,
    open_history: Option<HistoryId>,
    managers: Vec<Manager>,
    api_servers: Vec<(NodeName, NodePath)>,
    node_versions: HashMap<NodeName, Moments>,
    /// By where the nodes lie in memory.
    kubelet_kubeconfigs: HashMap<(usize, usize), Option<Kubeconfig>>,
    front_proxy: Vec<usize>,
    signers: HashMap<(Signer, usize), Rc<Vec<usize>>>,
    roots: Vec<Option<Vec<usize>>>,
}

impl<'a> Inputs<'a> {
    /// No input yet. Finds the controller managers and API servers.
    pub fn new(
        timeline: &'a Timeline<'a>,
        judge: Judge,
        kubernetes: Version,
    ) -> Result<Inputs<'a>> {
        let mut artifacts = Artifacts::new(judge);
        let mut managers = Vec::new();
        let mut api_servers = Vec::new();
        let start = timeline.state(0);
        for node in start.nodes.keys() {
            for started in artifacts.programs(start, node)?.iter() {
                let process = Process::Program(node.clone(), started.manifest.clone());
                match started.program {
                    Program::ControllerManager => managers.push(Manager {
                        node: node.clone(),
                        manifest: started.manifest.clone(),
                        starts: timeline.starts(&process),
                    }),
                    Program::Apiserver => {
                        api_servers.push((node.clone(), started.manifest.clone()));
                    }
                    _ => {}
                }
            }
        }
        Ok(Inputs {
            timeline,
            artifacts,
            kubernetes,
            tracks: Vec::new(),
            numbers: HashMap::default(),
            moments: HashSet::default(),
            processes: HashMap::default(),
            histories: Histories::default(),
            open_history: None,
            managers,
            api_servers,
            node_versions: HashMap::default(),
            kubelet_kubeconfigs: HashMap::default(),
            front_proxy: Vec::new(),
            signers: HashMap::default(),
            roots: vec![None; timeline.len()],
        })
    }

    /// The number of an input.
    pub fn add(&mut self, input: Input) -> Result<InputId> {
        if let Some(&id) = self.numbers.get(&input) {
            return Ok(id);
        }
        let (starts, returns) = if let Some(process) = &input.process {
            self.in_memory(process)
        } else {
            // Nobody keeps it in memory: it is read when it is needed.
            let starts = (0..self.timeline.len()).collect();
            let returns = (0..=self.timeline.turn()).collect();
            (self.shared(starts), self.shared(returns))
        };
        let versions = self.versions(&input)?;
        let class = match reload::class(input.row, self.kubernetes) {
            _ if input.process.is_none() => Class::Live,
            Class::Live if self.is_mounted_alone(&input)? => Class::Unknown,
            class => class,
        };
        let input = Rc::new(input);
        self.tracks.push(Track {
            input: input.clone(),
            class,
            starts,
            returns,
            versions,
            histories: None,
        });
        self.numbers.insert(input, self.tracks.len() - 1);
        Ok(self.tracks.len() - 1)
    }

    fn in_memory(&mut self, process: &Process) -> (Moments, Moments) {
        if let Some(known) = self.processes.get(process) {
            return known.clone();
        }
        let starts = self.timeline.starts(process);
        let returns = self.timeline.returns(process, &starts);
        let found = (self.shared(starts), self.shared(returns));
        self.processes.insert(process.clone(), found.clone());
        found
    }

    fn shared(&mut self, moments: Vec<usize>) -> Moments {
        if let Some(known) = self.moments.get(&moments[..]) {
            return known.clone();
        }
        let moments: Moments = moments.into();
        self.moments.insert(moments.clone());
        moments
    }

    /// Whether a program sees a file through a mount of this one file, which shows what was there when the
    /// container started: a file renamed over it does not arrive.
    fn is_mounted_alone(&mut self, input: &Input) -> Result<bool> {
        let Some(node) = &input.node else {
            return Ok(false);
        };
        let (program, manifest) = match &input.what {
            What::FlagTrust {
                program, manifest, ..
            }
            | What::FlagCertificate {
                program, manifest, ..
            }
            | What::KubeconfigCertificate {
                of: KubeconfigOf::Flag(program, manifest, _),
                ..
            } => (*program, manifest),
            _ => return Ok(false),
        };
        let start = self.timeline.state(0);
        let Some(started) = self.artifacts.program(start, node, program, manifest)? else {
            return Ok(false);
        };
        let file = match &input.what {
            What::FlagTrust { flag, .. } | What::FlagCertificate { flag, .. } => {
                started.files.get(flag).cloned()
            }
            What::KubeconfigCertificate { of, user } => self.certificate_file(node, of, *user)?,
            _ => None,
        };
        Ok(file.is_some_and(|file| started.single.contains(&file)))
    }

    /// For each moment, the first moment since when the input's value is the same.
    fn versions(&mut self, input: &Input) -> Result<Moments> {
        if let Some(node) = &input.node {
            if let Some(known) = self.node_versions.get(node) {
                return Ok(known.clone());
            }
            let found = self.shared(self.timeline.node_versions(node));
            self.node_versions.insert(node.clone(), found.clone());
            return Ok(found);
        }
        let mut out: Vec<usize> = Vec::with_capacity(self.timeline.len());
        let mut last = None;
        for now in 0..self.timeline.len() {
            let value = self.value_elsewhere(input, now)?;
            let since = if last.as_ref() == Some(&value) {
                out[now - 1]
            } else {
                now
            };
            out.push(since);
            last = Some(value);
        }
        Ok(self.shared(out))
    }

    /// Whether an API server runs on a node.
    pub fn runs_api_server(&self, node: &NodeName) -> bool {
        self.api_servers.iter().any(|(of, _)| of == node)
    }

    /// An input by its number.
    pub fn input(&self, id: InputId) -> &Input {
        &self.tracks[id].input
    }

    /// Every value that an input may have while `step` is carried out. Step 0 is the cluster before
    /// the rotation.
    pub fn in_step(&mut self, id: InputId, step: usize) -> Result<SetId> {
        self.on_way(id, step, Way::Forth)
    }

    /// The same while the step is carried out, or undone; the cluster when all is undone is step 0 of the way back.
    pub fn on_way(&mut self, id: InputId, step: usize, way: Way) -> Result<SetId> {
        let history = self.histories(id)?.of(way);
        Ok(self.histories.sets[history][step])
    }

    /// Whether nothing that could change an input has happened between the step before and this one.
    fn unchanged(&mut self, id: InputId, step: usize) -> Result<bool> {
        let track = &self.tracks[id];
        if step < 3
            || (track.input.process.is_some() && track.starts[step - 2] != track.starts[step - 1])
            || track.versions[step] != track.versions[step - 2]
        {
            return Ok(false);
        }
        let Some(signer) = renewed_by(&track.input.what) else {
            return Ok(true);
        };
        Ok(self.signed_by(signer, step)? == self.signed_by(signer, step - 1)?)
    }

    /// What a kubelet that renews may have had signed since it started.
    fn renewals(&mut self, id: InputId, step: usize) -> Result<Vec<usize>> {
        let track = &self.tracks[id];
        let since = track.starts[step.saturating_sub(1)];
        let Some(node) = track.input.node.clone() else {
            return Ok(Vec::new());
        };
        let Some(signer) = renewed_by(&track.input.what) else {
            return Ok(Vec::new());
        };
        let kubelet = self.artifacts.kubelet(self.timeline.state(since), &node)?;
        let renews = kubelet.is_some_and(|k| {
            if signer == Signer::KubeletClient {
                k.rotates
            } else {
                k.serving.is_none() && k.serving_is_signed
            }
        });
        let mut out = Vec::new();
        if renews {
            // Another node may lag behind within the steps in which this kubelet started.
            for now in self.timeline.stretch_begin(since)..=step {
                out.extend_from_slice(&self.signed_by(signer, now)?);
            }
        }
        // A signer that does not start signs nothing: that is the signer's own edge.
        let judge = &self.artifacts.judge;
        out.retain(|id| matches!(judge.credential_of(*id), Credential::IssuedBy(_)));
        Ok(out)
    }

    /// The numbers of an input's histories: its sets in every step, on either way.
    pub fn histories(&mut self, id: InputId) -> Result<Ways> {
        if let Some(known) = self.tracks[id].histories {
            return Ok(known);
        }
        let mut sets: Vec<SetId> = Vec::with_capacity(self.timeline.len());
        let mut values = Values::new();
        for step in 0..self.timeline.len() {
            let set = match sets.last() {
                Some(&before) if self.unchanged(id, step)? => before,
                _ => {
                    let mut members = Vec::new();
                    for moments in self.readings(id, self.span(id, step)) {
                        members.extend_from_slice(self.value_once(id, moments, &mut values)?);
                    }
                    members.extend(self.renewals(id, step)?);
                    self.artifacts.judge.set(members)
                }
            };
            sets.push(set);
        }
        let back = self.history_back(id, &sets, &mut values)?;
        let ways = Ways {
            forth: self.histories.number(sets),
            back,
        };
        self.tracks[id].histories = Some(ways);
        Ok(ways)
    }

    fn history_back(
        &mut self,
        id: InputId,
        forth: &[SetId],
        values: &mut Values,
    ) -> Result<HistoryId> {
        let turn = self.timeline.turn();
        // What is renewed is not looked at on the way back.
        let alike = renewed_by(&self.tracks[id].input.what).is_none();
        let mut sets: Vec<SetId> = Vec::with_capacity(turn + 1);
        let mut last = None;
        for (step, &same_forth) in forth.iter().enumerate().take(turn + 1) {
            let span = self.span_back(id, step);
            match sets.last() {
                Some(&same) if last == Some(span) => sets.push(same),
                _ if alike && span == self.span(id, step) => sets.push(same_forth),
                _ => {
                    let mut members = Vec::new();
                    for moments in self.readings(id, span) {
                        members.extend_from_slice(self.value_once(id, moments, values)?);
                    }
                    sets.push(self.artifacts.judge.set(members));
                }
            }
            last = Some(span);
        }
        Ok(self.histories.number(sets))
    }

    /// The values of an input by when its configuration was read, and its content.
    fn value_once<'v>(
        &mut self,
        id: InputId,
        moments: (usize, usize),
        values: &'v mut Values,
    ) -> Result<&'v [usize]> {
        let known = values.iter().position(|(at, _)| *at == moments);
        let at = if let Some(at) = known {
            at
        } else {
            values.push((moments, self.value(id, moments.0, moments.1)?));
            values.len() - 1
        };
        Ok(&values[at].1)
    }

    /// Whether nothing is verified in any step of a history of trust.
    pub fn verifies_nothing(&mut self, history: HistoryId) -> bool {
        let judge = &mut self.artifacts.judge;
        let open = judge.trust(Trust::Unverified);
        let open = judge.set(vec![open]);
        let histories = &mut self.histories;
        let steps = self.timeline.len();
        *self
            .open_history
            .get_or_insert_with(|| histories.number(vec![open; steps]))
            == history
    }

    /// Every value that an input may have in a stretch.
    pub fn in_stretch(&mut self, id: InputId, stretch: Stretch, way: Way) -> Result<SetId> {
        let history = self.histories(id)?.of(way);
        let key = (history, stretch.first, stretch.last);
        if let Some(&known) = self.histories.in_stretches.get(&key) {
            return Ok(known);
        }
        let sets = &self.histories.sets[history][stretch.first..=stretch.last];
        let judge = &mut self.artifacts.judge;
        let set = if sets.iter().all(|set| *set == sets[0]) {
            sets[0]
        } else {
            let members = sets.iter().flat_map(|set| judge.members(*set));
            let members = members.copied().collect();
            judge.set(members)
        };
        self.histories.in_stretches.insert(key, set);
        Ok(set)
    }

    /// Every value that an input may have when nothing is under way any more.
    pub fn at_end(&mut self, id: InputId, last: usize) -> Result<SetId> {
        let track = &self.tracks[id];
        let since = track.starts[last];
        let mut starts: Vec<usize> = (since..=last).map(|at| track.versions[at]).collect();
        starts.dedup();
        let live = track.class == Class::Live;
        let (mut members, mut values) = (Vec::new(), Values::new());
        for (at, read) in starts.iter().enumerate() {
            for now in if live {
                &starts[starts.len() - 1..]
            } else {
                &starts[at..]
            } {
                members.extend_from_slice(self.value_once(id, (*read, *now), &mut values)?);
            }
        }
        Ok(self.artifacts.judge.set(members))
    }

    /// What counts in a step.
    fn span(&self, id: InputId, step: usize) -> Span {
        let track = &self.tracks[id];
        let before = step.saturating_sub(1);
        Span {
            first: track.versions[track.starts[before]],
            last: track.versions[step],
            before: track.versions[before],
            after: track.versions[step],
        }
    }

    /// What counts while a step is undone.
    fn span_back(&self, id: InputId, step: usize) -> Span {
        let track = &self.tracks[id];
        let span = self.span(id, step);
        let first = match track.input.process {
            // What users have confirmed stays.
            Some(Process::User(_)) => track.versions[track.starts[step]],
            _ => span.first,
        };
        Span {
            first,
            last: track.versions[track.returns[step]],
            ..span
        }
    }

    /// The pairs of moments (when its configuration was read, when its content) that count in a span.
    fn readings(&self, id: InputId, span: Span) -> Vec<(usize, usize)> {
        let track = &self.tracks[id];
        let Span { before, after, .. } = span;
        let versions = &track.versions;
        let mut starts: Vec<usize> = versions[span.first..=span.last].to_vec();
        starts.dedup();
        let mut out = Vec::new();
        if track.class != Class::Live {
            // Where flags changed and no start was confirmed, it may come back with the old flags
            // and read what the files hold by then.
            for (at, read) in starts.iter().enumerate() {
                out.extend(starts[at..].iter().map(|now| (*read, *now)));
            }
        }
        if track.class == Class::Live || track.class == Class::Unknown {
            for read in starts.into_iter().filter(|read| *read <= after) {
                out.push((read, after));
                if read <= before {
                    out.push((read, before));
                }
            }
        }
        out.sort_unstable();
        out.dedup();
        out
    }

    /// The values that a process would read if it started after a step.
    pub fn on_disk(&mut self, id: InputId, step: usize) -> Result<Vec<usize>> {
        self.value(id, step, step)
    }
}

/// Who signs what a kubelet renews by itself.
fn renewed_by(what: &What) -> Option<Signer> {
    match what {
        What::KubeletClient { .. } => Some(Signer::KubeletClient),
        What::KubeletServing => Some(Signer::KubeletServing),
        _ => None,
    }
}

/// An object's place for messages.
fn object_label(id: &ObjectId) -> String {
    format!("snapshot/cluster/{}.yaml ({id})", id.kind)
}
