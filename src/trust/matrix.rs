//! The cells of the matrix: which CA what is used comes from, and what is trusted.
//!
//! Knows old and new. Nothing that is decided here decides whether an edge holds.

use std::collections::{BTreeMap, HashMap};

use super::judge::{Credential, Judge, SetId, Trust};
use super::{Cell, Part};
use crate::pki::Certificate;
use crate::spec::CaName;

/// Which CA, as bits: of what is used, or of what is trusted.
pub mod label {
    /// The old CA, or only it.
    pub const OLD: u8 = 1;
    /// The new CA, or only it.
    pub const NEW: u8 = 2;
    /// Both are trusted.
    pub const BOTH: u8 = 4;
    /// Neither.
    pub const OTHER: u8 = 8;
    /// Nothing is verified.
    pub const OPEN: u8 = 16;
    /// What should be there is not.
    pub const ABSENT: u8 = 32;
}

/// Names sets by old and new.
pub struct Labels<'c> {
    cas: &'c BTreeMap<CaName, (Certificate, Certificate)>,
    used: HashMap<SetId, u8>,
    trusted: HashMap<SetId, u8>,
}

impl<'c> Labels<'c> {
    /// Labels for these CAs.
    pub fn new(cas: &'c BTreeMap<CaName, (Certificate, Certificate)>) -> Labels<'c> {
        Labels {
            cas,
            used: HashMap::new(),
            trusted: HashMap::new(),
        }
    }

    /// The CAs that the members of a set of credentials are of.
    pub fn used(&mut self, judge: &Judge, set: SetId) -> u8 {
        if let Some(known) = self.used.get(&set) {
            return *known;
        }
        let bits = judge.members(set).iter().fold(0, |bits, id| {
            bits | self.of_credential(judge.credential_of(*id))
        });
        self.used.insert(set, bits);
        bits
    }

    /// The CA that a credential is of.
    pub fn of_credential(&self, credential: &Credential) -> u8 {
        match credential {
            Credential::None | Credential::Unknown => 0,
            Credential::Absent(_) | Credential::Lacking(_) => label::ABSENT,
            Credential::IssuedBy(ca) => self.of_issuer(|one| one == ca),
            Credential::Chain(chain) => match chain.first() {
                // Two CAs of one name are told apart by who signed.
                Some(leaf) => self.of_issuer(|one| {
                    leaf.issuer_der() == one.subject_der()
                        && (self.names_differ() || leaf.signed_by(one))
                }),
                None => label::ABSENT,
            },
        }
    }

    fn names_differ(&self) -> bool {
        self.cas
            .values()
            .all(|(old, new)| old.subject_der() != new.subject_der())
    }

    fn of_issuer(&self, is: impl Fn(&Certificate) -> bool) -> u8 {
        for (old, new) in self.cas.values() {
            if is(new) {
                return label::NEW;
            }
            if is(old) {
                return label::OLD;
            }
        }
        label::OTHER
    }

    /// What the members of a set of trusts trust.
    pub fn trusted(&mut self, judge: &Judge, set: SetId) -> u8 {
        if let Some(known) = self.trusted.get(&set) {
            return *known;
        }
        let bits = judge
            .members(set)
            .iter()
            .fold(0, |bits, id| bits | self.of_trust(judge.trust_of(*id)));
        self.trusted.insert(set, bits);
        bits
    }

    fn of_trust(&self, trust: &Trust) -> u8 {
        let anchors = match trust {
            Trust::Unverified => return label::OPEN,
            Trust::Absent(_) | Trust::Lacking(_) => return label::ABSENT,
            Trust::Anchors(anchors) => anchors,
        };
        let mut bits = 0;
        for (old, new) in self.cas.values() {
            bits |= match (anchors.contains(old), anchors.contains(new)) {
                (true, true) => label::BOTH,
                (true, false) => label::OLD,
                (false, true) => label::NEW,
                (false, false) => 0,
            };
        }
        if bits == 0 { label::OTHER } else { bits }
    }
}

/// What a cell is made of.
#[derive(Clone, Default)]
pub struct Bits {
    /// By stretch: used and trusted.
    pub parts: BTreeMap<usize, (u8, u8)>,
    /// Some combination fails.
    pub broken: bool,
}

impl Bits {
    /// Adds what other edges of the kind show.
    pub fn join(&mut self, other: &Bits) {
        for (place, (used, trusted)) in &other.parts {
            let part = self.parts.entry(*place).or_default();
            *part = (part.0 | used, part.1 | trusted);
        }
        self.broken |= other.broken;
    }

    /// Whether a rotated CA is in use.
    pub fn uses_rotated(&self) -> bool {
        self.parts
            .values()
            .any(|(used, _)| used & (label::OLD | label::NEW) != 0)
    }

    /// The parts that differ and say more than another one.
    fn telling(&self) -> Vec<(u8, u8)> {
        let within = |a: (u8, u8), b: (u8, u8)| a.0 & !b.0 == 0 && a.1 & !b.1 == 0;
        let mut out: Vec<(u8, u8)> = Vec::new();
        for part in self.parts.values() {
            if !out.iter().any(|other| within(*part, *other)) {
                out.retain(|other| !within(*other, *part));
                out.push(*part);
            }
        }
        out
    }
}

/// A cell in words.
pub fn cell(bits: &Bits) -> Cell {
    let words = |bits: u8, names: &[(u8, &str)], between: &str| {
        let found: Vec<_> = names
            .iter()
            .filter(|(bit, _)| bits & bit != 0)
            .map(|(_, n)| *n)
            .collect();
        if found.is_empty() {
            "-".to_owned()
        } else {
            found.join(between)
        }
    };
    let used = [
        (label::OLD, "old"),
        (label::NEW, "new"),
        (label::OTHER, "other"),
        (label::ABSENT, "none"),
    ];
    let trusted = [
        (label::OLD, "old"),
        (label::BOTH, "both"),
        (label::NEW, "new"),
        (label::OTHER, "other"),
        (label::OPEN, "any"),
        (label::ABSENT, "none"),
    ];
    let part = |(u, t): (u8, u8)| Part {
        used: words(u, &used, "+"),
        trusted: words(t, &trusted, "|"),
    };
    Cell {
        parts: bits.telling().into_iter().map(part).collect(),
        holds: !bits.broken,
    }
}
