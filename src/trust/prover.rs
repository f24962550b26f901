//! Goes through every edge in every stretch of the timeline and keeps what fails.
//!
//! Knows edges, inputs and the judge. It must not know how a value is found or a verdict reached.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashSet as HashSet;

use super::edges::{Check, Edge, Kind, Place};
use super::inputs::{InputId, Inputs, Way, Ways};
use super::judge::{self, Credential, CredentialId, Failure, Judge, Pair, RoleId, SetId, Trust};
use super::matrix::{Bits, Labels, cell, label};
use super::outages::Outage;
use super::timeline::Stretch;
use super::{BrokenEdge, Direction, EdgeFacts, MatrixRow, PhaseFacts, Proof};
use crate::diagnostic::Result;
use crate::pki::Certificate;
use crate::spec::CaName;
use crate::state::Process;

/// Key of a broken edge: its place among all, and the direction.
type BrokenKey = (Place, Direction);

/// What a check depends on: kind and direction, the histories of both sides, the role where
/// anything is verified, and whether both are on one node.
type Likeness = (Kind, Direction, Ways, Ways, Option<RoleId>, bool);

/// Of what a check is proven.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Of certificates that are there, or that a phase brings.
    Seen,
    /// Of these on the way back: what was signed meanwhile is asked for before trust in it is taken back.
    SeenBack,
    /// Of what the cluster's signer is yet to sign, as well.
    All,
}

impl Scope {
    fn way(self) -> Way {
        match self {
            Scope::Seen | Scope::All => Way::Forth,
            Scope::SeenBack => Way::Back,
        }
    }
}

/// What was found of edges.
#[derive(Default)]
pub struct Findings {
    /// By kind and direction: one for each phase.
    cells: BTreeMap<(Kind, Direction), Vec<Bits>>,
    broken: BTreeMap<BrokenKey, BrokenEdge>,
    weaknesses: BTreeSet<String>,
    leftovers: BTreeSet<String>,
    verified: HashSet<Pair>,
    /// Edges that did not hold before the rotation.
    unproven: BTreeSet<Place>,
}

impl Findings {
    /// Adds what was found of other edges.
    pub fn join(&mut self, other: Findings) {
        for (key, cells) in other.cells {
            match self.cells.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(cells);
                }
                Entry::Occupied(mut entry) => {
                    for (mine, more) in entry.get_mut().iter_mut().zip(cells) {
                        mine.join(&more);
                    }
                }
            }
        }
        self.broken.extend(other.broken);
        self.weaknesses.extend(other.weaknesses);
        self.leftovers.extend(other.leftovers);
        self.verified.extend(other.verified);
        self.unproven.extend(other.unproven);
    }

    /// The proof as far as the edges go.
    pub fn proof(
        self,
        edges: Vec<EdgeFacts>,
        phases: Vec<PhaseFacts>,
        outages: Vec<Outage>,
    ) -> Proof {
        let matrix = self
            .cells
            .iter()
            .filter(|(_, cells)| cells.iter().any(Bits::uses_rotated))
            .map(|((kind, direction), cells)| MatrixRow {
                kind: kind.as_str(),
                verified: match direction {
                    Direction::ClientRefusesServer => "server",
                    _ => "client",
                },
                cells: cells.iter().map(cell).collect(),
            })
            .collect();
        Proof {
            edges,
            phases,
            matrix,
            broken: once_for_each_identity(self.broken),
            weaknesses: self.weaknesses.into_iter().collect(),
            nodes: BTreeSet::new(),
            outages,
            leftovers: self.leftovers.into_iter().collect(),
            pairs_verified: self.verified.len(),
            unproven: self.unproven.len(),
        }
    }
}

/// What is broken, in order. Who would be taken for somebody else is named once, although each share finds it at an
/// edge of its own.
fn once_for_each_identity(broken: BTreeMap<BrokenKey, BrokenEdge>) -> Vec<BrokenEdge> {
    let mut named = BTreeSet::new();
    let mut first = |broken: &BrokenEdge| {
        broken.direction != Direction::IdentityChanges
            || named.insert(broken.certificate_from.clone())
    };
    broken.into_values().filter(|b| first(b)).collect()
}

/// The proof in the making.
pub struct Prover<'c, 't> {
    window: (i64, i64),
    phases: &'c [PhaseFacts],
    labels: Labels<'c>,
    findings: Findings,
    /// Checks that hold throughout, by what they depend on.
    sound: HashSet<Likeness>,
    /// The inputs.
    pub inputs: Inputs<'t>,
}

impl<'c, 't> Prover<'c, 't> {
    /// Nothing proven yet.
    pub fn new(
        inputs: Inputs<'t>,
        window: (i64, i64),
        phases: &'c [PhaseFacts],
        cas: &'c BTreeMap<CaName, (Certificate, Certificate)>,
        weaknesses: BTreeSet<String>,
    ) -> Prover<'c, 't> {
        Prover {
            window,
            phases,
            labels: Labels::new(cas),
            findings: Findings {
                weaknesses,
                ..Findings::default()
            },
            sound: HashSet::default(),
            inputs,
        }
    }

    /// Proves one edge, in both directions.
    pub fn prove_edge(&mut self, index: Place, edge: &Edge) -> Result<()> {
        let checks = [
            (edge.of_server, Direction::ClientRefusesServer),
            (edge.of_client, Direction::ServerRefusesClient),
        ];
        for (check, direction) in checks {
            let Some(check) = check else { continue };
            let alike = self.likeness(edge.kind, direction, check)?;
            // Thousands of nodes ask the same question.
            if self.sound.contains(&alike) {
                continue;
            }
            if let Some(scope) = self.holds_before(index, edge, check, direction)?
                && self.prove_check(index, edge, check, scope, direction)?
                && self.prove_way_back(index, edge, check, direction)?
            {
                self.sound.insert(alike);
            }
        }
        Ok(())
    }

    /// Everything on which a check's outcome, and its part in the matrix, depend.
    fn likeness(&mut self, kind: Kind, direction: Direction, check: Check) -> Result<Likeness> {
        let trust = self.inputs.histories(check.trust)?;
        let credential = self.inputs.histories(check.credential)?;
        let role = (!self.inputs.verifies_nothing(trust.forth)).then_some(check.role);
        let same_node = self.on_one_node(check);
        Ok((kind, direction, trust, credential, role, same_node))
    }

    fn on_one_node(&self, check: Check) -> bool {
        let node = &self.inputs.input(check.trust).node;
        node.is_some() && *node == self.inputs.input(check.credential).node
    }

    /// What does not hold in the snapshot is not broken by the rotation, and nothing is proven of it. None where
    /// that is all.
    fn holds_before(
        &mut self,
        index: Place,
        edge: &Edge,
        check: Check,
        direction: Direction,
    ) -> Result<Option<Scope>> {
        const START: Stretch = Stretch {
            first: 0,
            last: 0,
            on_nodes: false,
        };
        let Some(mut failure) = self.failure(check, Scope::All, START)? else {
            return Ok(Some(Scope::All));
        };
        let credentials = self.inputs.in_step(check.credential, 0)?;
        let seen = self.inputs.artifacts.judge.seen(credentials);
        if !self.inputs.artifacts.judge.members(seen).is_empty() {
            if let Some(of_seen) = self.failure(check, Scope::Seen, START)? {
                failure = of_seen;
            } else {
                let reason = self.reason(check, &failure);
                let what = format!(
                    "if the cluster's signer signs it ({reason}); nothing is proven of that"
                );
                self.unproven(edge, direction, &what);
                return Ok(Some(Scope::Seen));
            }
        }
        let (start, end) = self.window;
        let ends_within = match self
            .inputs
            .artifacts
            .judge
            .credential_of(failure.credential)
            .leaf()
        {
            Some(leaf) => leaf.not_before() <= start && (start..end).contains(&leaf.not_after()),
            None => false,
        };
        if ends_within {
            let found = (0, Way::Forth, &failure);
            self.breaks(index, edge, check, direction, found)?;
        } else {
            let reason = self.reason(check, &failure);
            let what = format!("({reason}); nothing is proven of it");
            self.unproven(edge, direction, &what);
            self.findings.unproven.insert(index);
        }
        Ok(None)
    }

    fn unproven(&mut self, edge: &Edge, direction: Direction, what: &str) {
        let (client, server) = (&edge.client, &edge.server);
        let already = format!("{} already before the rotation", direction.as_str());
        let weakness = format!("{client} → {server}: {already} {what}");
        self.findings.weaknesses.insert(weakness);
    }

    /// Why a combination fails, with the place of what lacks something.
    fn reason(&self, check: Check, failure: &Failure) -> String {
        let judge = &self.inputs.artifacts.judge;
        let lacking = if let Credential::Lacking(_) = judge.credential_of(failure.credential) {
            check.credential
        } else if let Trust::Lacking(_) = judge.trust_of(failure.trust) {
            check.trust
        } else {
            return failure.reason.clone();
        };
        format!("{} {}", self.inputs.input(lacking).label, failure.reason)
    }

    /// Looks at a check in every stretch; says whether it holds in all.
    fn prove_check(
        &mut self,
        index: Place,
        edge: &Edge,
        check: Check,
        scope: Scope,
        direction: Direction,
    ) -> Result<bool> {
        let mut holds = true;
        let stretches = self.inputs.timeline.stretches().to_vec();
        for (place, stretch) in stretches.iter().enumerate() {
            let failure = match self.failure(check, scope, *stretch)? {
                None => self.loss(check, *stretch)?,
                found => found,
            };
            let credentials = self.credentials_in_stretch(check, scope, *stretch)?;
            let trusts = self.inputs.in_stretch(check.trust, *stretch, Way::Forth)?;
            let judge = &self.inputs.artifacts.judge;
            let used = self.labels.used(judge, credentials);
            let trusted = self.labels.trusted(judge, trusts);
            let column = self.column(stretch.last);
            let width = self.phases.len();
            let cells = self
                .findings
                .cells
                .entry((edge.kind, direction))
                .or_insert_with(|| vec![Bits::default(); width]);
            let part = cells[column].parts.entry(place).or_default();
            *part = (part.0 | used, part.1 | trusted);
            cells[column].broken |= failure.is_some();
            if let Some(failure) = failure {
                holds = false;
                let found = (place, Way::Forth, &failure);
                self.breaks(index, edge, check, direction, found)?;
            }
        }
        Ok(holds)
    }

    /// Looks at a check in every stretch that may be undone, the last one first; says whether it holds in all.
    fn prove_way_back(
        &mut self,
        index: Place,
        edge: &Edge,
        check: Check,
        direction: Direction,
    ) -> Result<bool> {
        let mut holds = true;
        let turn = self.inputs.timeline.turn();
        let stretches = self.inputs.timeline.stretches().to_vec();
        for (place, stretch) in stretches.iter().enumerate().rev() {
            if stretch.last > turn {
                continue;
            }
            if let Some(failure) = self.failure(check, Scope::SeenBack, *stretch)? {
                holds = false;
                let found = (place, Way::Back, &failure);
                self.breaks(index, edge, check, direction, found)?;
            }
        }
        Ok(holds)
    }

    fn column(&self, moment: usize) -> usize {
        let moment = self.inputs.timeline.moment(moment);
        self.phases
            .iter()
            .position(|p| p.number == moment.phase && p.name == moment.phase_name)
            .unwrap_or(0)
    }

    /// The first combination that fails in a stretch. Two sides on one node are at the same step of
    /// it; two on different nodes may be anywhere in it, and so may the signer of what is renewed.
    fn failure(&mut self, check: Check, scope: Scope, stretch: Stretch) -> Result<Option<Failure>> {
        if self.on_one_node(check) {
            let way = scope.way();
            let all = self.inputs.in_stretch(check.credential, stretch, way)?;
            for step in stretch.first..=stretch.last {
                let trusts = self.inputs.on_way(check.trust, step, way)?;
                let credentials = self.inputs.on_way(check.credential, step, way)?;
                let judge = &mut self.inputs.artifacts.judge;
                let credentials = match scope {
                    Scope::All => judge.with_issued(credentials, all),
                    Scope::Seen | Scope::SeenBack => judge.seen(credentials),
                };
                let found = self
                    .inputs
                    .artifacts
                    .judge
                    .judge(trusts, credentials, check.role);
                if found.is_some() {
                    return Ok(found);
                }
            }
            return Ok(None);
        }
        let trusts = self.inputs.in_stretch(check.trust, stretch, scope.way())?;
        let credentials = self.credentials_in_stretch(check, scope, stretch)?;
        Ok(self
            .inputs
            .artifacts
            .judge
            .judge(trusts, credentials, check.role))
    }

    fn credentials_in_stretch(
        &mut self,
        check: Check,
        scope: Scope,
        stretch: Stretch,
    ) -> Result<SetId> {
        let set = self
            .inputs
            .in_stretch(check.credential, stretch, scope.way())?;
        Ok(match scope {
            Scope::All => set,
            Scope::Seen | Scope::SeenBack => self.inputs.artifacts.judge.seen(set),
        })
    }

    /// Who showed a certificate goes on to show one, and who verified goes on to verify.
    fn loss(&mut self, check: Check, stretch: Stretch) -> Result<Option<Failure>> {
        let first = (
            self.inputs.in_step(check.trust, 0)?,
            self.inputs.in_step(check.credential, 0)?,
        );
        let now = (
            self.inputs.in_stretch(check.trust, stretch, Way::Forth)?,
            self.inputs
                .in_stretch(check.credential, stretch, Way::Forth)?,
        );
        if first == now {
            return Ok(None);
        }
        let judge = &self.inputs.artifacts.judge;
        let is_open = |id: &usize| *judge.trust_of(*id) == Trust::Unverified;
        let is_nothing = |id: &usize| {
            let credential = judge.credential_of(*id);
            matches!(credential, Credential::None | Credential::Unknown)
        };
        let lost = |before: SetId, now: SetId, is: &dyn Fn(&usize) -> bool| {
            let (before, now) = (judge.members(before), judge.members(now));
            (!before.iter().any(is))
                .then(|| now.iter().copied().find(is))
                .flatten()
        };
        let trust = lost(first.0, now.0, &is_open);
        let credential = lost(first.1, now.1, &is_nothing);
        let failure = |trust, credential, reason: &str| Failure {
            trust,
            credential,
            reason: reason.to_owned(),
        };
        let any = |set| judge.members(set).first().copied();
        Ok(match (trust, credential) {
            (Some(trust), _) => any(now.1)
                .map(|credential| failure(trust, credential, "it would verify nothing any more")),
            (None, Some(credential)) => judge.first_trust(now.0).map(|trust| {
                let reason = "no certificate would be presented any more";
                failure(trust, credential, reason)
            }),
            (None, None) => None,
        })
    }

    /// The first step of a stretch by whose end the failing combination is possible.
    fn step_of(
        &mut self,
        check: Check,
        stretch: Stretch,
        (way, failure): (Way, &Failure),
    ) -> Result<usize> {
        let (mut trust, mut credential) = (false, false);
        for step in stretch.first..=stretch.last {
            let trusts = self.inputs.on_way(check.trust, step, way)?;
            let credentials = self.inputs.on_way(check.credential, step, way)?;
            let judge = &self.inputs.artifacts.judge;
            trust |= judge.members(trusts).contains(&failure.trust);
            credential |= judge.members(credentials).contains(&failure.credential);
            if trust && credential {
                return Ok(step);
            }
        }
        Ok(stretch.last)
    }

    fn breaks(
        &mut self,
        index: Place,
        edge: &Edge,
        check: Check,
        direction: Direction,
        (place, way, failure): (usize, Way, &Failure),
    ) -> Result<()> {
        let stretch = self.inputs.timeline.stretches()[place];
        let step = self.step_of(check, stretch, (way, failure))?;
        let moment = self.inputs.timeline.moment(step);
        if let Some(known) = self.findings.broken.get_mut(&(index, direction)) {
            if known.phase != moment.phase && !known.also_in.contains(&moment.phase) {
                known.also_in.push(moment.phase);
            }
            return Ok(());
        }
        let (step_title, remedy) = match way {
            Way::Forth => (
                moment.title.clone(),
                self.remedy(check, failure, place, step)?,
            ),
            Way::Back => (
                format!("on the way back: {}", moment.title),
                self.remedy_back(check, failure, step)?,
            ),
        };
        let reason = self.reason(check, failure);
        let judge = &self.inputs.artifacts.judge;
        let bundle = match judge.trust_of(failure.trust) {
            Trust::Anchors(anchors) => anchors.iter().map(judge::describe).collect(),
            _ => Vec::new(),
        };
        let certificate = match judge.credential_of(failure.credential) {
            Credential::Chain(chain) => chain.first().map(judge::describe).unwrap_or_default(),
            Credential::IssuedBy(ca) => format!("any certificate that `{}` signs", ca.subject()),
            _ => "none".to_owned(),
        };
        let broken = BrokenEdge {
            kind: edge.kind.as_str(),
            client: edge.client.to_string(),
            server: edge.server.to_string(),
            dialled: edge.dialled.as_deref().map(str::to_owned),
            direction,
            phase: moment.phase,
            phase_name: moment.phase_name.clone(),
            step: moment.step,
            step_title,
            reason,
            certificate,
            certificate_from: self.inputs.input(check.credential).label.clone(),
            bundle,
            bundle_from: self.inputs.input(check.trust).label.clone(),
            remedy,
            also_in: Vec::new(),
        };
        self.findings.broken.insert((index, direction), broken);
        Ok(())
    }

    /// What would have to come first: looked for in what comes later.
    fn remedy(
        &mut self,
        check: Check,
        failure: &Failure,
        place: usize,
        step: usize,
    ) -> Result<String> {
        let (trust, credential) = (check.trust, check.credential);
        let (verifier, presenter) = (
            self.inputs.input(trust).clone(),
            self.inputs.input(credential).clone(),
        );
        let shown = self
            .inputs
            .artifacts
            .judge
            .credential_of(failure.credential);
        if !matches!(shown, Credential::Chain(_) | Credential::IssuedBy(_)) {
            return Ok(format!(
                "{} must be there before anything asks for it",
                presenter.label
            ));
        }
        let old = self.labels.of_credential(
            self.inputs
                .artifacts
                .judge
                .credential_of(failure.credential),
        );
        if old != label::OLD {
            if let Some(process) = &verifier.process
                && self.accepts(trust, failure.credential, check, step)?
            {
                return Ok(match process {
                    Process::User(_) => format!(
                        "{process} must confirm first that {} is in use",
                        verifier.label
                    ),
                    _ => format!(
                        "{} trusts it already, but {process} may still have the old content in memory: restart it first",
                        verifier.label
                    ),
                });
            }
            return Ok(match self.later_trust(check, failure, place)? {
                Some(phase) => format!(
                    "{phase} makes {} trust it: that must come first",
                    verifier.label
                ),
                None => format!(
                    "no later phase makes {} trust it: widen it first",
                    verifier.label
                ),
            });
        }
        Ok(match self.later_credential(check, failure, place)? {
            Some(phase) => format!("{phase} replaces {}: that must come first", presenter.label),
            None => match &presenter.process {
                Some(process @ Process::User(_)) => {
                    format!(
                        "{process} must confirm first that the new {} is in use",
                        presenter.label
                    )
                }
                Some(process) => format!(
                    "no later phase replaces it: re-issue {} and restart {process} first",
                    presenter.label
                ),
                None => format!(
                    "no later phase replaces it: re-issue {} first",
                    presenter.label
                ),
            },
        })
    }

    /// Who would have to start anew on the way back, before it comes to this step.
    fn remedy_back(&mut self, check: Check, failure: &Failure, step: usize) -> Result<String> {
        let lies_there = self.inputs.on_disk(check.credential, step)?;
        let late = if lies_there.contains(&failure.credential) {
            check.trust
        } else {
            check.credential
        };
        let late = self.inputs.input(late);
        Ok(match &late.process {
            Some(process @ Process::User(_)) => {
                format!(
                    "{process} must put away first what a later phase has given for {}",
                    late.label
                )
            }
            Some(process) => format!(
                "{process} may still have in memory what {} was in a later phase: restart it first",
                late.label
            ),
            None => format!("{} must be as it was before first", late.label),
        })
    }

    /// Whether what lies on disk after a step would accept a credential.
    fn accepts(
        &mut self,
        trust: InputId,
        credential: CredentialId,
        check: Check,
        step: usize,
    ) -> Result<bool> {
        let values = self.inputs.on_disk(trust, step)?;
        Ok(values.into_iter().all(|value| {
            self.inputs
                .artifacts
                .judge
                .verdict(value, credential, check.role)
                .is_none()
        }))
    }

    fn later_trust(
        &mut self,
        check: Check,
        failure: &Failure,
        place: usize,
    ) -> Result<Option<String>> {
        for stretch in self
            .inputs
            .timeline
            .stretches()
            .to_vec()
            .into_iter()
            .skip(place + 1)
        {
            let set = self.inputs.in_step(check.trust, stretch.last)?;
            let judge = &mut self.inputs.artifacts.judge;
            let all = judge.members(set).to_vec();
            if all
                .into_iter()
                .all(|t| judge.verdict(t, failure.credential, check.role).is_none())
            {
                // Fully so from here on: the step before brought it.
                return Ok(Some(self.bringer(stretch)));
            }
        }
        Ok(None)
    }

    fn later_credential(
        &mut self,
        check: Check,
        failure: &Failure,
        place: usize,
    ) -> Result<Option<String>> {
        for stretch in self
            .inputs
            .timeline
            .stretches()
            .to_vec()
            .into_iter()
            .skip(place + 1)
        {
            let set = self.inputs.in_step(check.credential, stretch.last)?;
            if !self
                .inputs
                .artifacts
                .judge
                .members(set)
                .contains(&failure.credential)
            {
                return Ok(Some(self.bringer(stretch)));
            }
        }
        Ok(None)
    }

    /// The phase that brought what holds throughout a stretch: the one before it.
    fn bringer(&self, stretch: Stretch) -> String {
        let moment = self.inputs.timeline.moment(stretch.first.saturating_sub(1));
        format!("phase {:02}-{}", moment.phase, moment.phase_name)
    }

    /// User and groups stay what they were.
    pub fn prove_identities(&mut self, edges: &[(Place, Edge)]) -> Result<()> {
        let mut clients: BTreeMap<InputId, (Place, &Edge, Check)> = BTreeMap::new();
        for (index, edge) in edges {
            if let Some(check) = edge.of_client {
                let client = clients.entry(check.credential);
                client.or_insert((*index, edge, check));
            }
        }
        for (input, (index, edge, check)) in clients {
            let first = self.inputs.in_step(input, 0)?;
            let known = self.identities(first);
            if known.is_empty() {
                continue;
            }
            let mut last = first;
            for (place, stretch) in self.inputs.timeline.stretches().to_vec().iter().enumerate() {
                let set = self.inputs.in_stretch(input, *stretch, Way::Forth)?;
                if set == last {
                    continue;
                }
                last = set;
                let stranger = self
                    .identities(set)
                    .into_iter()
                    .find(|(who, _)| !known.contains_key(who));
                if let Some((who, credential)) = stranger {
                    let trusts = self.inputs.in_stretch(check.trust, *stretch, Way::Forth)?;
                    let Some(trust) = self.inputs.artifacts.judge.first_trust(trusts) else {
                        continue;
                    };
                    let before: Vec<_> = known.keys().cloned().collect();
                    let reason = format!("{who}, where it was {}", before.join(" or "));
                    let failure = Failure {
                        trust,
                        credential,
                        reason,
                    };
                    let found = (place, Way::Forth, &failure);
                    self.breaks(index, edge, check, Direction::IdentityChanges, found)?;
                }
            }
        }
        Ok(())
    }

    /// Verifiers that may still trust an old CA after the last step, in memory or on disk.
    pub fn find_leftovers(&mut self, edges: &[(Place, Edge)]) -> Result<()> {
        let last = self.inputs.timeline.len() - 1;
        let checks = edges.iter().flat_map(|(_, e)| [e.of_server, e.of_client]);
        let trusts: BTreeSet<InputId> = checks.flatten().map(|check| check.trust).collect();
        for trust in trusts {
            let set = self.inputs.at_end(trust, last)?;
            let bits = self.labels.trusted(&self.inputs.artifacts.judge, set);
            if bits & (label::OLD | label::BOTH) != 0 {
                let label = self.inputs.input(trust).label.clone();
                self.findings.leftovers.insert(label);
            }
        }
        Ok(())
    }

    fn identities(&self, set: SetId) -> BTreeMap<String, CredentialId> {
        let judge = &self.inputs.artifacts.judge;
        judge
            .members(set)
            .iter()
            .filter_map(|id| judge.credential_of(*id).identity().map(|who| (who, *id)))
            .collect()
    }

    /// What was found, and the judge that was asked.
    pub fn finish(mut self) -> (Findings, Judge) {
        let judge = self.inputs.artifacts.judge;
        self.findings.verified = judge.pairs_verified();
        (self.findings, judge)
    }
}
