//! The proof: no TLS connection breaks, in any state of the rotation or between two of them.
//!
//! It looks at the states alone. Edges (who dials whom) are read from the artifacts; for each side
//! of each edge it takes every value that may be in use in a step, and asks real path validation
//! about every combination, at the start and at the end of the planned window. Nothing in here
//! knows what a phase is or what it meant to do: what ships is what is checked.
//!
//! - `timeline`: moments, steps, and what may be mixed with what
//! - `reload`: what processes re-read, and when
//! - `artifacts`, `inputs`: what lies where, and its possible values over time
//! - `edges`: who dials whom
//! - `judge`: path validation, each question once
//! - `prover`: every edge in every stretch; `matrix`: old and new in its cells
//! - `outages`: what is away meanwhile
//! - `starts`: whether each program could start again; `pairs`: whether keys belong to certificates
//! - `readers`: who reads what is rotated in a way that none of this knows
//! - `report`: the proof for people

mod artifacts;
mod edges;
mod inputs;
mod judge;
mod matrix;
mod outages;
mod pairs;
mod prover;
pub mod readers;
pub mod reload;
mod report;
mod starts;
mod timeline;
pub mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::diagnostic::Result;
use crate::names::NodeName;
use crate::parallel;
use crate::pki::Certificate;
use crate::spec::{CaName, Version};
pub use artifacts::host_of;
use edges::Place;
use inputs::Inputs;
use judge::Judge;
pub use judge::{Question, Role};
pub use outages::{Outage, Unanswered};
use prover::{Findings, Prover};
pub use timeline::Moment;
use timeline::Timeline;

/// What was proven, and what was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Every edge that was looked at.
    pub edges: Vec<EdgeFacts>,
    /// The phases: the columns of the matrix.
    pub phases: Vec<PhaseFacts>,
    /// Which CA signed what is used, and what is trusted, by kind of edge and phase.
    pub matrix: Vec<MatrixRow>,
    /// Edges that would break, each with its first phase.
    pub broken: Vec<BrokenEdge>,
    /// What the cluster does not verify, and what cannot be proven from the snapshot.
    pub weaknesses: Vec<String>,
    /// The nodes' names.
    #[serde(skip)]
    pub nodes: BTreeSet<NodeName>,
    /// What is not available meanwhile.
    pub outages: Vec<Outage>,
    /// Who may still trust an old CA when the rotation has ended.
    pub leftovers: Vec<String>,
    /// Distinct pairs of chain and anchor, with purpose and name, that were put to path validation.
    pub pairs_verified: usize,
    /// How many of the edges did not hold before the rotation, so that nothing is proven of them.
    #[serde(skip)]
    pub unproven: usize,
}

/// An edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EdgeFacts {
    /// Its kind.
    pub kind: &'static str,
    /// Who dials.
    pub client: Arc<str>,
    /// Who is dialled.
    pub server: Arc<str>,
    /// By which name.
    pub dialled: Option<Arc<str>>,
}

/// A phase of the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PhaseFacts {
    /// Its number.
    pub number: u8,
    /// Its name.
    pub name: String,
}

/// One direction of one kind of edge, over the phases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MatrixRow {
    /// The kind of edge.
    pub kind: &'static str,
    /// Whose certificate is verified: `server` or `client`.
    pub verified: &'static str,
    /// One cell for each phase, in order.
    pub cells: Vec<Cell>,
}

/// A cell of the matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// What is in use and what is trusted, at the same time: one for each part of the phase that
    /// differs, in order.
    pub parts: Vec<Part>,
    /// Whether every combination holds.
    pub holds: bool,
}

/// What may be in use together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The CAs of the certificates that may be in use: `old`, `new`, `old+new`, `other`, `-`.
    pub used: String,
    /// What the verifiers may trust: `old`, `both`, `new`, mixtures with `|`, `any` without verification.
    pub trusted: String,
}

/// A connection that would break.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BrokenEdge {
    /// The kind of edge.
    pub kind: &'static str,
    /// Who dials.
    pub client: String,
    /// Who is dialled.
    pub server: String,
    /// By which name.
    pub dialled: Option<String>,
    /// Who does not accept whom.
    pub direction: Direction,
    /// The first phase in which it breaks.
    pub phase: u8,
    /// Its name.
    pub phase_name: String,
    /// The step within the phase, from 1; 0 before the rotation.
    pub step: usize,
    /// What the step does.
    pub step_title: String,
    /// Why it is not accepted.
    pub reason: String,
    /// The certificate that is presented.
    pub certificate: String,
    /// Where it comes from.
    pub certificate_from: String,
    /// What is trusted.
    pub bundle: Vec<String>,
    /// Where that comes from.
    pub bundle_from: String,
    /// What would have to come first.
    pub remedy: String,
    /// Later phases in which it is broken too.
    pub also_in: Vec<u8>,
}

/// Who does not accept whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The client does not accept the server's certificate.
    ClientRefusesServer,
    /// The server does not accept the client's certificate.
    ServerRefusesClient,
    /// The server takes the client for somebody else.
    IdentityChanges,
    /// A program could not start again.
    CannotStart,
}

impl Direction {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::ClientRefusesServer => "the client refuses the server's certificate",
            Direction::ServerRefusesClient => "the server refuses the client's certificate",
            Direction::IdentityChanges => "the server would take the client for somebody else",
            Direction::CannotStart => "it could not start again",
        }
    }
}

/// Proves a rotation: the cluster before it, then the cluster after each step, in order.
///
/// `window` is the planned time, Unix seconds. `cas` only names the cells of the matrix; what holds
/// is decided by certificates alone.
pub fn prove(
    timeline: &[Moment<'_>],
    window: (i64, i64),
    kubernetes: Version,
    cas: &BTreeMap<CaName, (Certificate, Certificate)>,
) -> Result<Proof> {
    let shares: Vec<Share> = Share::all(parallel::cores());
    let examined = parallel::map(&shares, |share| {
        examine(timeline, window, kubernetes, cas, *share)
    });
    let mut examined = examined.into_iter();
    let Some(first) = examined.next() else {
        return Ok(Proof::nothing());
    };
    let mut all = first?;
    for other in examined {
        let other = other?;
        all.edges.extend(other.edges);
        all.findings.join(other.findings);
        all.outages.extend(other.outages);
        all.unanswered.extend(other.unanswered);
        all.elsewhere.extend(other.elsewhere);
    }
    let mut proof = all.proof();
    if let Some(first) = timeline.first() {
        proof.nodes = first.state.nodes.keys().cloned().collect();
    }
    Ok(proof)
}

/// What the proof asks of path validation, and as much again, with the answers: for other judges to
/// answer too.
pub fn questions(
    timeline: &[Moment<'_>],
    window: (i64, i64),
    kubernetes: Version,
    cas: &BTreeMap<CaName, (Certificate, Certificate)>,
) -> Result<Vec<Question>> {
    let mut all = examine(timeline, window, kubernetes, cas, Share::WHOLE)?;
    Ok(all.judge.questions())
}

/// A part of the proof that is worked out by itself: the connections of some of the nodes.
#[derive(Clone, Copy)]
struct Share {
    number: usize,
    of: usize,
}

impl Share {
    const WHOLE: Share = Share { number: 0, of: 1 };

    fn all(of: usize) -> Vec<Share> {
        (0..of).map(|number| Share { number, of }).collect()
    }

    fn is_first(self) -> bool {
        self.number == 0
    }

    fn is_last(self) -> bool {
        self.number + 1 == self.of
    }

    /// Whether it has the one of `all` things that stands at this place.
    fn has(self, at: usize, all: usize) -> bool {
        at * self.of / all.max(1) == self.number
    }
}

/// What a share of the proof gave.
struct Examined {
    edges: BTreeMap<Place, EdgeFacts>,
    phases: Vec<PhaseFacts>,
    findings: Findings,
    outages: Vec<Outage>,
    unanswered: Vec<Unanswered>,
    /// What breaks besides edges.
    elsewhere: Vec<BrokenEdge>,
    judge: Judge,
}

impl Examined {
    fn proof(self) -> Proof {
        let mut outages = self.outages;
        outages.extend(outages::of_local_kubelets(
            self.edges.values(),
            &self.unanswered,
        ));
        outages.sort();
        let edges = self.edges.into_values().collect();
        let mut proof = self.findings.proof(edges, self.phases, outages);
        proof.broken.extend(self.elsewhere);
        proof
            .broken
            .sort_by_key(|broken| (broken.phase, broken.step));
        proof
    }
}

fn examine(
    timeline: &[Moment<'_>],
    window: (i64, i64),
    kubernetes: Version,
    cas: &BTreeMap<CaName, (Certificate, Certificate)>,
    share: Share,
) -> Result<Examined> {
    let timeline = Timeline::new(timeline);
    let phases = phases(&timeline);
    let mut out = Examined {
        edges: BTreeMap::new(),
        phases,
        findings: Findings::default(),
        outages: Vec::new(),
        unanswered: Vec::new(),
        elsewhere: Vec::new(),
        judge: Judge::new(window),
    };
    if timeline.len() == 0 {
        return Ok(out);
    }
    let mut inputs = Inputs::new(&timeline, Judge::new(window), kubernetes)?;
    let (edges, weaknesses) = edges::read(&mut inputs, kubernetes, share)?;
    if share.is_first() {
        (out.outages, out.unanswered) = outages::find(&mut inputs)?;
    }
    let facts = edges.iter().map(|(place, edge)| (*place, edge.facts()));
    out.edges = facts.collect();
    let mut prover = Prover::new(inputs, window, &out.phases, cas, weaknesses);
    for (index, edge) in &edges {
        prover.prove_edge(*index, edge)?;
    }
    prover.prove_identities(&edges)?;
    prover.find_leftovers(&edges)?;
    out.elsewhere = pairs::beside(&mut prover.inputs, share)?;
    if share.is_last() {
        let pairs = pairs::find(&mut prover.inputs)?;
        out.outages.extend(pairs.outages);
        out.elsewhere.extend(starts::find(&mut prover.inputs)?);
        out.elsewhere.extend(pairs.broken);
    }
    (out.findings, out.judge) = prover.finish();
    Ok(out)
}

/// The phases of a timeline in order.
fn phases(timeline: &Timeline<'_>) -> Vec<PhaseFacts> {
    let mut out: Vec<PhaseFacts> = Vec::new();
    for at in 0..timeline.len() {
        let moment = timeline.moment(at);
        if out
            .last()
            .is_none_or(|last| last.number != moment.phase || last.name != moment.phase_name)
        {
            out.push(PhaseFacts {
                number: moment.phase,
                name: moment.phase_name.clone(),
            });
        }
    }
    out
}

impl Proof {
    fn nothing() -> Proof {
        Proof {
            edges: Vec::new(),
            phases: Vec::new(),
            matrix: Vec::new(),
            broken: Vec::new(),
            weaknesses: Vec::new(),
            nodes: BTreeSet::new(),
            outages: Vec::new(),
            leftovers: Vec::new(),
            pairs_verified: 0,
            unproven: 0,
        }
    }
}
