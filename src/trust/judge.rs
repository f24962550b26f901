//! Would this verifier accept this certificate? Every distinct question is asked of path validation
//! once; everything else works on numbers.
//!
//! Knows trust, credentials and the planned window. It must not know which process holds what, or
//! when.

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

use crate::diagnostic::Result;
use crate::pki::certificate::utc;
use crate::pki::{self, Certificate, Purpose, VerifyError};

/// What a text lacks that has none.
const NO_CERTIFICATE: &str = "holds no certificate";
/// What a kubeconfig or configuration lacks without CA data.
pub const NO_CA: &str = "names no CA: the system's roots, which are not in the snapshot";

/// What a verifier trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It does not verify at all.
    Unverified,
    /// Nothing that could be trusted is there, and why.
    Absent(String),
    /// It is there and lacks what could be trusted: said as a predicate, since the same text lies in many places.
    Lacking(&'static str),
    /// These certificates.
    Anchors(Vec<Certificate>),
}

/// What a peer presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// No certificate: a token, or nothing.
    None,
    /// A certificate that the snapshot does not show.
    Unknown,
    /// A certificate should be there and is not, and why.
    Absent(String),
    /// It is there and holds no certificate: said as a predicate.
    Lacking(&'static str),
    /// A leaf and what is sent with it.
    Chain(Vec<Certificate>),
    /// Whatever this CA signs by itself from now on: a renewal, a node that joins.
    IssuedBy(Certificate),
}

impl Trust {
    /// What tells it from others, whatever its number is.
    fn key(&self) -> String {
        match self {
            Trust::Unverified => "unverified".to_owned(),
            Trust::Absent(why) => format!("absent {why}"),
            Trust::Lacking(why) => format!("lacking {why}"),
            Trust::Anchors(anchors) => fingerprints(anchors),
        }
    }
}

impl Credential {
    /// What tells it from others, whatever its number is.
    fn key(&self) -> String {
        match self {
            Credential::None => "none".to_owned(),
            Credential::Unknown => "unknown".to_owned(),
            Credential::Absent(why) => format!("absent {why}"),
            Credential::Lacking(why) => format!("lacking {why}"),
            Credential::Chain(chain) => fingerprints(chain),
            Credential::IssuedBy(ca) => format!("by {}", ca.fingerprint()),
        }
    }

    /// The leaf, where there is one to see.
    pub fn leaf(&self) -> Option<&Certificate> {
        match self {
            Credential::Chain(chain) => chain.first(),
            _ => None,
        }
    }

    /// Who the peer is taken for: user and groups as Kubernetes reads them from the subject.
    pub fn identity(&self) -> Option<String> {
        let leaf = self.leaf()?;
        let mut groups = leaf.organizations();
        groups.sort_unstable();
        groups.dedup();
        let user = leaf.common_name().unwrap_or_default();
        Some(format!("user `{user}`, groups [{}]", groups.join(", ")))
    }
}

/// What a certificate is presented as.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A client's.
    Client,
    /// A server's, dialled by this name; none where the verifier checks no name.
    Server(Option<String>),
}

/// A question to path validation, with the judge's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The leaf, and what is sent with it.
    pub chain: Vec<Certificate>,
    /// What is trusted.
    pub anchors: Vec<Certificate>,
    /// As what the leaf is presented.
    pub role: Role,
    /// Whether the proof of the plan asked it. The others are asked for comparison.
    pub asked: bool,
    /// Why it is not accepted at the start or the end of the window; none where it is.
    pub refused: Option<String>,
}

/// The fingerprints of a chain and of an anchor, and as what the chain's leaf is presented.
pub type Pair = (String, String, Role);

/// Number of a [`Trust`].
pub type TrustId = usize;
/// Number of a [`Credential`].
pub type CredentialId = usize;
/// Number of a [`Role`].
pub type RoleId = usize;
/// Number of a set of trusts or of credentials.
pub type SetId = usize;

/// The first combination of two sets that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What is trusted.
    pub trust: TrustId,
    /// What is presented.
    pub credential: CredentialId,
    /// Why it is not accepted.
    pub reason: String,
}

/// The judge.
pub struct Judge {
    window: (i64, i64),
    trusts: Vec<Trust>,
    trust_numbers: HashMap<String, TrustId>,
    credentials: Vec<Credential>,
    credential_numbers: HashMap<String, CredentialId>,
    roles: Vec<Role>,
    role_numbers: HashMap<Role, RoleId>,
    sets: Vec<Vec<usize>>,
    set_numbers: HashMap<Vec<usize>, SetId>,
    verified: HashMap<(CredentialId, String, RoleId), Option<VerifyError>>,
    verdicts: HashMap<(TrustId, CredentialId, RoleId), Option<String>>,
    judged: HashMap<(SetId, SetId, RoleId), Option<Box<Failure>>>,
}

impl Judge {
    /// A judge for a planned window, Unix seconds.
    pub fn new(window: (i64, i64)) -> Judge {
        Judge {
            window,
            trusts: Vec::new(),
            trust_numbers: HashMap::default(),
            credentials: Vec::new(),
            credential_numbers: HashMap::default(),
            roles: Vec::new(),
            role_numbers: HashMap::default(),
            sets: Vec::new(),
            set_numbers: HashMap::default(),
            verified: HashMap::default(),
            verdicts: HashMap::default(),
            judged: HashMap::default(),
        }
    }

    /// The number of a trust.
    pub fn trust(&mut self, trust: Trust) -> TrustId {
        *self.trust_numbers.entry(trust.key()).or_insert_with(|| {
            self.trusts.push(trust);
            self.trusts.len() - 1
        })
    }

    /// The number of a credential.
    pub fn credential(&mut self, credential: Credential) -> CredentialId {
        *self
            .credential_numbers
            .entry(credential.key())
            .or_insert_with(|| {
                self.credentials.push(credential);
                self.credentials.len() - 1
            })
    }

    /// The trust in the certificates of a PEM text.
    pub fn trust_in(&mut self, pem: &str, label: &str) -> Result<TrustId> {
        let anchors = pki::certificates_in_pem(pem, label)?;
        Ok(self.trust(if anchors.is_empty() {
            Trust::Lacking(NO_CERTIFICATE)
        } else {
            Trust::Anchors(anchors)
        }))
    }

    /// The credential in a PEM text: the leaf first.
    pub fn credential_in(&mut self, pem: &str, label: &str) -> Result<CredentialId> {
        let chain = pki::certificates_in_pem(pem, label)?;
        Ok(self.credential(if chain.is_empty() {
            Credential::Lacking(NO_CERTIFICATE)
        } else {
            Credential::Chain(chain)
        }))
    }

    /// The number of a role.
    pub fn role(&mut self, role: Role) -> RoleId {
        if let Some(&id) = self.role_numbers.get(&role) {
            return id;
        }
        self.roles.push(role.clone());
        self.role_numbers.insert(role, self.roles.len() - 1);
        self.roles.len() - 1
    }

    /// The number of a set.
    pub fn set(&mut self, mut members: Vec<usize>) -> SetId {
        members.sort_unstable();
        members.dedup();
        if let Some(&id) = self.set_numbers.get(&members) {
            return id;
        }
        self.sets.push(members.clone());
        self.set_numbers.insert(members, self.sets.len() - 1);
        self.sets.len() - 1
    }

    /// Of a set of credentials those that the snapshot or a phase shows: not what a CA is yet to sign.
    pub fn seen(&mut self, set: SetId) -> SetId {
        let seen = |id: &usize| !matches!(self.credentials[*id], Credential::IssuedBy(_));
        let seen = self.sets[set].iter().copied().filter(seen).collect();
        self.set(seen)
    }

    /// A set of credentials, and what CAs of another set are yet to sign.
    pub fn with_issued(&mut self, set: SetId, other: SetId) -> SetId {
        if set == other {
            return set;
        }
        let issued = |id: &usize| matches!(self.credentials[*id], Credential::IssuedBy(_));
        let others = self.sets[other].iter().copied().filter(issued);
        let all = self.sets[set].iter().copied().chain(others).collect();
        self.set(all)
    }

    /// The member of a set of trusts that comes first, whatever its number is.
    pub fn first_trust(&self, set: SetId) -> Option<TrustId> {
        let trusts = self.sets[set].iter().copied();
        trusts.min_by_key(|id| self.trusts[*id].key())
    }

    /// The members of a set.
    pub fn members(&self, set: SetId) -> &[usize] {
        &self.sets[set]
    }

    /// A trust by its number.
    pub fn trust_of(&self, id: TrustId) -> &Trust {
        &self.trusts[id]
    }

    /// A credential by its number.
    pub fn credential_of(&self, id: CredentialId) -> &Credential {
        &self.credentials[id]
    }

    /// Every chain in every role in which it was met, against every list of anchors that was met: what
    /// the proof asked, and as much again that it did not, most of which must be refused.
    pub fn questions(&mut self) -> Vec<Question> {
        let asked: BTreeSet<_> = self.verdicts.keys().copied().collect();
        let met: BTreeSet<_> = asked.iter().map(|(_, c, role)| (*c, *role)).collect();
        let mut out = Vec::new();
        for (credential, role) in met {
            let Credential::Chain(chain) = self.credentials[credential].clone() else {
                continue;
            };
            for trust in 0..self.trusts.len() {
                let Trust::Anchors(anchors) = self.trusts[trust].clone() else {
                    continue;
                };
                out.push(Question {
                    chain: chain.clone(),
                    anchors,
                    role: self.roles[role].clone(),
                    asked: asked.contains(&(trust, credential, role)),
                    refused: self.verdict(trust, credential, role),
                });
            }
        }
        out
    }

    /// The distinct pairs of chain and anchor, with their role, that were put to path validation.
    pub fn pairs_verified(&self) -> HashSet<Pair> {
        let pair = |(credential, anchor, role): &(CredentialId, String, RoleId)| {
            let Credential::Chain(chain) = &self.credentials[*credential] else {
                return None;
            };
            Some((
                fingerprints(chain),
                anchor.clone(),
                self.roles[*role].clone(),
            ))
        };
        self.verified.keys().filter_map(pair).collect()
    }

    /// Whether every trust of one set accepts every credential of the other.
    pub fn judge(&mut self, trusts: SetId, credentials: SetId, role: RoleId) -> Option<Failure> {
        if let Some(known) = self.judged.get(&(trusts, credentials, role)) {
            return known.as_deref().cloned();
        }
        let mut failures = Vec::new();
        for trust in self.sets[trusts].clone() {
            for credential in self.sets[credentials].clone() {
                if let Some(reason) = self.verdict(trust, credential, role) {
                    failures.push(Failure {
                        trust,
                        credential,
                        reason,
                    });
                }
            }
        }
        // Numbers depend on what was met before, and so on how the work was divided.
        let found = failures.into_iter().min_by_key(|failure| {
            (
                self.trusts[failure.trust].key(),
                self.credentials[failure.credential].key(),
            )
        });
        self.judged
            .insert((trusts, credentials, role), found.clone().map(Box::new));
        found
    }

    /// Why a trust does not accept a credential; none where it does.
    pub fn verdict(
        &mut self,
        trust: TrustId,
        credential: CredentialId,
        role: RoleId,
    ) -> Option<String> {
        if let Some(known) = self.verdicts.get(&(trust, credential, role)) {
            return known.clone();
        }
        let found = self.decide(trust, credential, role);
        self.verdicts
            .insert((trust, credential, role), found.clone());
        found
    }

    fn decide(&mut self, trust: TrustId, credential: CredentialId, role: RoleId) -> Option<String> {
        let presented = self.credentials[credential].clone();
        match &presented {
            // Who presents no certificate is let in by a token or not at all; that never changes.
            Credential::None | Credential::Unknown => return None,
            Credential::Absent(why) => return Some(why.clone()),
            Credential::Lacking(why) => return Some((*why).to_owned()),
            Credential::Chain(_) | Credential::IssuedBy(_) => {}
        }
        let anchors = match &self.trusts[trust] {
            Trust::Unverified => return None,
            Trust::Absent(why) => return Some(why.clone()),
            Trust::Lacking(why) => return Some((*why).to_owned()),
            Trust::Anchors(anchors) => anchors.clone(),
        };
        match presented {
            Credential::IssuedBy(ca) => self.accepts_issuer(&anchors, &ca),
            _ => self.accepts_chain(&anchors, credential, role),
        }
    }

    /// Whether a certificate that `ca` is yet to sign would be accepted: it comes without
    /// intermediates, so its issuer must itself be trusted.
    fn accepts_issuer(&self, anchors: &[Certificate], ca: &Certificate) -> Option<String> {
        let (start, end) = self.window;
        let trusted = anchors.iter().any(|anchor| {
            anchor.subject_der() == ca.subject_der()
                && anchor.spki_der() == ca.spki_der()
                && anchor.may_sign()
                && anchor.not_before() <= start
                && anchor.not_after() >= end
        });
        (!trusted).then(|| format!("the signer `{}` is not trusted", ca.subject()))
    }

    /// A chain is accepted when one anchor accepts it: anchors never stand in each other's way, as
    /// all of them are tried (crypto/x509 and webpki alike).
    fn accepts_chain(
        &mut self,
        anchors: &[Certificate],
        credential: CredentialId,
        role: RoleId,
    ) -> Option<String> {
        let mut worst = VerifyError::UnknownIssuer;
        for anchor in anchors {
            match self.path(credential, anchor, role) {
                None => return None,
                Some(VerifyError::UnknownIssuer) => {}
                Some(other) => worst = other,
            }
        }
        Some(match (&worst, &self.roles[role]) {
            (VerifyError::WrongName, Role::Server(Some(name))) => format!("{worst} ({name})"),
            _ => worst.to_string(),
        })
    }

    /// Path validation against one anchor, at the start and at the end of the window.
    fn path(
        &mut self,
        credential: CredentialId,
        anchor: &Certificate,
        role: RoleId,
    ) -> Option<VerifyError> {
        let key = (credential, anchor.fingerprint().to_owned(), role);
        if let Some(known) = self.verified.get(&key) {
            return known.clone();
        }
        let Credential::Chain(chain) = &self.credentials[credential] else {
            return None;
        };
        let (leaf, between) = chain.split_first()?;
        let purpose = match &self.roles[role] {
            Role::Client => Purpose::Client,
            Role::Server(name) => Purpose::Server {
                name: name.as_deref(),
            },
        };
        let (start, end) = self.window;
        let at = |when| pki::verify(leaf, between, std::slice::from_ref(anchor), purpose, when);
        // Only dates depend on the time: where none of those involved ends in between, the second
        // verdict is the first.
        let lasts = chain.iter().chain([anchor]).all(|c| c.not_after() >= end);
        let found = match at(start) {
            Ok(()) if lasts => None,
            Ok(()) => at(end).err(),
            Err(error) => Some(error),
        };
        self.verified.insert(key, found.clone());
        found
    }
}

/// A key for a list of certificates.
fn fingerprints(certificates: &[Certificate]) -> String {
    let list: Vec<_> = certificates.iter().map(Certificate::fingerprint).collect();
    list.join(" ")
}

/// A certificate in a few words.
pub fn describe(certificate: &Certificate) -> String {
    format!(
        "`{}` by `{}`, valid until {}, sha256 {}",
        certificate.subject(),
        certificate.issuer(),
        utc(certificate.not_after()),
        certificate.fingerprint().get(..16).unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{CaRequest, KeyAlgorithm, SigningCa};

    const WINDOW: (i64, i64) = (1_893_456_000, 1_894_665_600);

    fn ca(name: &str, not_after: i64) -> Certificate {
        let request = CaRequest {
            subject: format!("CN={name}"),
            key: KeyAlgorithm::EcdsaP256,
            not_before: WINDOW.0 - 60,
            not_after,
            serial: [1; 16],
        };
        SigningCa::mint(&request).unwrap().certificate
    }

    #[test]
    fn what_a_signer_is_yet_to_sign_needs_the_signer_itself_trusted() {
        let (old, new) = (
            ca("kubernetes", WINDOW.1 + 60),
            ca("kubernetes", WINDOW.1 + 60),
        );
        let mut judge = Judge::new(WINDOW);
        let role = judge.role(Role::Client);
        let only_old = judge.trust(Trust::Anchors(vec![old.clone()]));
        let both = judge.trust(Trust::Anchors(vec![old, new.clone()]));
        let by_new = judge.credential(Credential::IssuedBy(new));
        // One name for both: the key decides.
        assert!(judge.verdict(only_old, by_new, role).is_some());
        assert!(judge.verdict(both, by_new, role).is_none());
        let (trusts, one) = (judge.set(vec![both, only_old]), judge.set(vec![by_new]));
        assert_eq!(judge.judge(trusts, one, role).unwrap().trust, only_old);
    }

    #[test]
    fn an_anchor_that_ends_within_the_window_is_none() {
        let short = ca("short", WINDOW.1 - 1);
        let mut judge = Judge::new(WINDOW);
        let role = judge.role(Role::Client);
        let trust = judge.trust(Trust::Anchors(vec![short.clone()]));
        let signed = judge.credential(Credential::IssuedBy(short));
        assert!(judge.verdict(trust, signed, role).is_some());
    }

    #[test]
    fn who_shows_no_certificate_is_not_refused_for_it_and_who_lacks_one_is() {
        let mut judge = Judge::new(WINDOW);
        let role = judge.role(Role::Client);
        let nothing = judge.trust(Trust::Absent("there is nothing".into()));
        let token = judge.credential(Credential::None);
        let missing = judge.credential(Credential::Absent("it is gone".into()));
        let open = judge.trust(Trust::Unverified);
        assert_eq!(judge.verdict(nothing, token, role), None);
        assert_eq!(
            judge.verdict(open, missing, role).as_deref(),
            Some("it is gone")
        );
    }
}
