//! Moments in order, and what may be mixed with what.
//!
//! Knows states, their order, and when processes started. It must not know certificates.
//!
//! A **step** leads from one moment to the next. The steps of one phase that are carried out on
//! nodes, one after another, form a **stretch**: one node may be at its first step while another has
//! finished, so whatever happens between two nodes is looked at with both anywhere in it. A step in
//! the cluster is a stretch of its own, and so is a phase's end: nothing begins before all of it is
//! confirmed.
//!
//! The way back leads through the same moments in the other order: a phase is undone as a whole, the last one first, and
//! whoever started in it starts anew with what was there before it. So what a process has in memory at a moment on the
//! way back was read between its last start before that moment and the phase of its next one.

use std::collections::{BTreeMap, BTreeSet};

use crate::names::NodeName;
use crate::state::{Process, State};

/// The cluster at one moment of the rotation.
#[derive(Clone, Debug)]
pub struct Moment<'a> {
    /// The phase's number.
    pub phase: u8,
    /// The phase's name.
    pub phase_name: String,
    /// The step within the phase, from 1; 0 for what there was before it.
    pub step: usize,
    /// What the step does, in words.
    pub title: String,
    /// For a step on nodes: whether one finishes before the next begins. None for the cluster's.
    pub nodes_serial: Option<bool>,
    /// The cluster after the step.
    pub state: &'a State,
    /// Where the moment's phase can be undone: which pods and users start anew by that. Programs and kubelets do where
    /// they did on the way forth. Of no account before the rotation.
    pub undone: Option<&'a BTreeSet<Process>>,
}

/// Steps of one phase that may be mixed between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The moment that the first step leads to. 0: the cluster before the rotation, and no step.
    pub first: usize,
    /// The moment that the last step leads to.
    pub last: usize,
    /// Whether the steps are carried out on nodes.
    pub on_nodes: bool,
}

/// The moments of a rotation.
pub struct Timeline<'a> {
    moments: &'a [Moment<'a>],
    by_number: BTreeMap<usize, usize>,
    stretches: Vec<Stretch>,
    turn: usize,
}

impl<'a> Timeline<'a> {
    /// Takes the moments in order, the cluster before the rotation first.
    pub fn new(moments: &'a [Moment<'a>]) -> Timeline<'a> {
        let mut by_number = BTreeMap::new();
        for (index, moment) in moments.iter().enumerate() {
            by_number.entry(moment.state.number).or_insert(index);
        }
        let mut stretches: Vec<Stretch> = Vec::new();
        for (index, moment) in moments.iter().enumerate() {
            let on_nodes = index > 0 && moment.nodes_serial.is_some();
            match stretches.last_mut() {
                Some(last)
                    if on_nodes && last.on_nodes && moments[last.last].phase == moment.phase =>
                {
                    last.last = index;
                }
                _ => stretches.push(Stretch {
                    first: index,
                    last: index,
                    on_nodes,
                }),
            }
        }
        Timeline {
            moments,
            by_number,
            stretches,
            turn: moments
                .iter()
                .skip(1)
                .take_while(|moment| moment.undone.is_some())
                .count(),
        }
    }

    /// How many moments there are.
    pub fn len(&self) -> usize {
        self.moments.len()
    }

    /// One moment.
    pub fn moment(&self, index: usize) -> &'a Moment<'a> {
        &self.moments[index]
    }

    /// The state at a moment.
    pub fn state(&self, index: usize) -> &'a State {
        self.moments[index].state
    }

    /// The stretches in order; the first is the cluster before the rotation.
    pub fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    /// The first step of the stretch in which a moment lies; the moment itself for the cluster's.
    pub fn stretch_begin(&self, moment: usize) -> usize {
        let within = |s: &&Stretch| s.first <= moment && moment <= s.last;
        self.stretches
            .iter()
            .find(within)
            .map_or(moment, |s| s.first)
    }

    /// For each moment, the moment at which the process, as it runs then, started.
    pub fn starts(&self, process: &Process) -> Vec<usize> {
        self.moments
            .iter()
            .enumerate()
            .map(|(index, moment)| {
                let number = moment.state.started_in(process);
                let at = self
                    .by_number
                    .range(..=number)
                    .next_back()
                    .map_or(0, |(_, at)| *at);
                at.min(index)
            })
            .collect()
    }

    /// The last moment that there is a way back from. 0: there is none.
    pub fn turn(&self) -> usize {
        self.turn
    }

    /// For each moment that there is a way back to, the last moment of which the process may have something in memory
    /// there: that before the next phase in which it started, which started it anew when it was undone; or the last one
    /// with a way back.
    pub fn returns(&self, process: &Process, starts: &[usize]) -> Vec<usize> {
        let is_undone = |moment: &Moment<'_>, process| {
            moment.undone.is_some_and(|again| again.contains(process))
        };
        let turn = self.turn();
        let mut out = vec![turn; turn + 1];
        let mut end = turn;
        let mut until = turn;
        while end > 0 {
            let moment = &self.moments[end];
            let of_it = |other: &&Moment<'_>| {
                (other.phase, &other.phase_name) == (moment.phase, &moment.phase_name)
            };
            let steps = self.moments[1..=end].iter().rev().take_while(of_it).count();
            let base = end - steps;
            out[base + 1..=end].fill(until);
            match process {
                Process::Program(..) | Process::Kubelet(_) if starts[end] > base => until = base,
                Process::Workload(_) if is_undone(moment, process) => until = base,
                // Before anything of the phase is undone, users put away what a later one gave them.
                Process::User(_) if is_undone(moment, process) => {
                    out[base + 1..=end].fill(end);
                    until = end;
                }
                _ => {}
            }
            end = base;
        }
        out[0] = until;
        out
    }

    /// For each moment, the first moment since when the node's files are what they are.
    pub fn node_versions(&self, node: &NodeName) -> Vec<usize> {
        self.versions(|state| {
            state
                .nodes
                .get(node)
                .map(|n| std::sync::Arc::as_ptr(n) as usize)
        })
    }

    /// For each moment, the first moment since when what `address` gives is the same.
    pub fn versions(&self, address: impl Fn(&State) -> Option<usize>) -> Vec<usize> {
        let mut out: Vec<usize> = Vec::with_capacity(self.len());
        let mut last = None;
        for (index, moment) in self.moments.iter().enumerate() {
            let now = address(moment.state);
            let since = if index > 0 && now == last {
                out[index - 1]
            } else {
                index
            };
            out.push(since);
            last = now;
        }
        out
    }
}
