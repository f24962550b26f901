//! A compile from end to end: cluster.toml, snapshot and lock in; plan, private files and lock out.
//! Nothing is written here; everything is in memory when this returns.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::claims;
use crate::coverage;
use crate::diagnostic::{Diagnostic, Result};
use crate::input::{self, MAX_FILE, MAX_LOCK};
use crate::parallel;
use crate::phases::{self, Act, Done, Part};
use crate::pki::{
    self, CaSource, Certificate, Issuer, Keyring, LOCK_FILE, LeafRequest, Lock, PrivateText,
    SigningCa,
};
use crate::presence;
use crate::render::{self, Plan};
use crate::rotation::Rotation;
use crate::snapshot;
use crate::spec::{CaName, ConsumerPlace, NewCa, Spec};
use crate::state::{ObjectId, State};
use crate::trust::readers::{self, Declared};
use crate::trust::{self, Moment, Outage, Proof, versions};

/// What a compile gives.
pub struct Compiled {
    /// The plan and its private files.
    pub plan: Plan,
    /// The lock's text.
    pub lock: String,
    /// The keyring's files, by path below `secrets/`.
    pub keyring: Vec<(String, PrivateText)>,
    /// Objects whose source still holds the old CA.
    pub stale_sources: Vec<String>,
    /// What was proven of the plan.
    pub proof: Proof,
    /// Outages that cluster.toml does not accept.
    pub unaccepted: Vec<Outage>,
    /// Names of outages that cluster.toml accepts.
    pub accepted: Vec<String>,
    /// Those of them that nobody has to accept for this plan.
    pub superfluous: Vec<String>,
    /// What was read, issued, proven and rendered, in a line each.
    pub facts: Vec<String>,
}

impl Compiled {
    /// Whether the plan may be written: no connection breaks, nothing keeps old trust, and what is
    /// away meanwhile was accepted.
    #[must_use]
    pub fn may_be_written(&self) -> bool {
        self.proof.holds() && self.unaccepted.is_empty()
    }
}

/// How far a compile has come: so many parts of so many, and what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Parts that are done.
    pub done: usize,
    /// All parts.
    pub of: usize,
    /// What is done now.
    pub now: &'static str,
}

/// Who is told how far a compile has come.
pub type Told<'t> = &'t dyn Fn(Stage);

/// Compiles the folder of `cluster.toml`.
pub fn compile(cluster_toml: &Path) -> Result<Compiled> {
    compile_telling(cluster_toml, &|_| ())
}

/// The same, telling how far it has come.
pub fn compile_telling(cluster_toml: &Path, told: Told<'_>) -> Result<Compiled> {
    let keyring = Keyring::load(&folder_of(cluster_toml).join("secrets"))?;
    build(cluster_toml, told, |id, lock| {
        Issuer::new(id, lock, keyring)
    })
}

/// Compiles it again from what is committed: nothing is issued and no secret is read. What the lock
/// lacks is an error.
pub fn recompile(cluster_toml: &Path, told: Told<'_>) -> Result<Compiled> {
    build(cluster_toml, told, |id, lock| {
        Issuer::new(id, lock, Keyring::default()).sealed()
    })
}

/// What a compile reads, apart from the keyring.
pub struct Inputs {
    spec: Spec,
    start: State,
    lock: Option<Lock>,
    imported: BTreeMap<CaName, CaSource>,
    folder: PathBuf,
}

impl Inputs {
    /// Reads the folder of `cluster.toml`.
    pub fn read(cluster_toml: &Path) -> Result<Inputs> {
        let name = file_name(cluster_toml);
        let folder = folder_of(cluster_toml);
        let text = input::read_text(
            cluster_toml,
            &name,
            MAX_FILE,
            "name a cluster.toml that exists; `carota init` writes one",
        )?;
        let spec = Spec::parse(&text, &name)?;
        let at = folder.join(&spec.snapshot);
        let (lock, start) = parallel::both(|| read_lock(folder), || read_snapshot(&at, &spec));
        let start = start.map_err(|error| snapshot::on_disk(&at, &spec.snapshot, error))?;
        Ok(Inputs {
            lock: lock?,
            imported: imported(&spec, folder)?,
            spec,
            start,
            folder: folder.to_owned(),
        })
    }

    /// An error about the snapshot, as its user meets it.
    fn on_disk(&self) -> impl Fn(Diagnostic) -> Diagnostic + use<> {
        let (at, named) = (
            self.folder.join(&self.spec.snapshot),
            self.spec.snapshot.clone(),
        );
        move |error| snapshot::on_disk(&at, &named, error)
    }

    /// The leaves that are to be issued, and who issues them; nothing has been issued yet.
    pub fn wanted(mut self) -> Result<(Issuer, Vec<LeafRequest>)> {
        let keyring = Keyring::load(&self.folder.join("secrets"))?;
        let on_disk = self.on_disk();
        let mut issuer = Issuer::new(&self.spec.id, self.lock, keyring);
        let wanted = Rotation::wanted(&self.spec, &self.start, &mut issuer, &mut self.imported)
            .map_err(on_disk)?;
        Ok((issuer, wanted))
    }
}

fn read_lock(folder: &Path) -> Result<Option<Lock>> {
    let text = input::read_text_if_any(
        &folder.join(LOCK_FILE),
        LOCK_FILE,
        MAX_LOCK,
        "restore carota.lock from version control",
    )?;
    text.map(|text| Lock::parse(&text, LOCK_FILE)).transpose()
}

fn build(
    cluster_toml: &Path,
    told: Told<'_>,
    issuer: impl FnOnce(&str, Option<Lock>) -> Issuer,
) -> Result<Compiled> {
    // Reading, issuing, each phase, the proof.
    let of = phases::PHASES.len() + 3;
    let tell = |done, now| told(Stage { done, of, now });
    tell(0, "reading the snapshot");
    let inputs = Inputs::read(cluster_toml)?;
    let on_disk = inputs.on_disk();
    made_of(inputs, &tell, issuer).map_err(on_disk)
}

fn made_of(
    inputs: Inputs,
    tell: &dyn Fn(usize, &'static str),
    issuer: impl FnOnce(&str, Option<Lock>) -> Issuer,
) -> Result<Compiled> {
    let Inputs {
        spec,
        start,
        lock,
        mut imported,
        ..
    } = inputs;
    tell(1, "issuing certificates");
    let mut issuer = issuer(&spec.id, lock);
    let rotation = Rotation::prepare(&spec, start.clone(), &mut issuer, &mut imported)?;
    let renderer = render::Renderer::new(&rotation)?;
    let (done, directories) = parallel::pipeline(
        |render| {
            tell(2, phases::PHASES[0].name);
            phases::run(&rotation, &start, |done| {
                let number = usize::from(done.phase.number) + 1;
                let next = phases::PHASES.get(number);
                tell(2 + number, next.map_or("proving", |phase| phase.name));
                render(done.clone());
            })
        },
        |done: Arc<Done>| renderer.phase(done),
    );
    let done = done?;
    let last = done.last().map_or(&rotation.start, |last| last.after());
    let (proof, rest) = parallel::both(
        || prove(&rotation, &done),
        || {
            let unproven = readers::check(&rotation.start, &pairs(&rotation), &declared(&spec))?;
            // The end first: it names what people can declare.
            let coverage = coverage::check(&rotation, last)?;
            coverage::check_wide(&rotation, before_the_switch(&rotation, &done))?;
            Ok((unproven, coverage, renderer.phases(&done, directories)?))
        },
    );
    let (unproven, coverage, phases) = rest?;
    let mut proof = proof?;
    proof.weaknesses.extend(unproven);
    proof.weaknesses.extend(versions::note(spec.kubernetes));
    proof.weaknesses.sort();
    let unaccepted = unaccepted(&spec, &proof);
    let superfluous = superfluous(&spec, &proof);
    let plan = render::plan(&rotation, phases, &coverage, &proof)?;
    let facts = facts(&rotation, &done, &proof, &plan);
    let stale_sources = coverage
        .stale_sources
        .iter()
        .map(ToString::to_string)
        .collect();
    let (lock, keyring) = issuer.finish();
    // Thousands of nodes in each of dozens of states. What holds keys stays here: it is wiped before anybody goes.
    parallel::let_go((done, start, rotation.start));
    Ok(Compiled {
        plan,
        lock: lock.to_text(),
        keyring: keyring.files(),
        stale_sources,
        proof,
        unaccepted,
        accepted: spec.accept.clone(),
        superfluous,
        facts,
    })
}

/// The state when all that trusts has been widened, and nothing is switched yet.
fn before_the_switch<'a>(rotation: &'a Rotation, done: &'a [Arc<Done>]) -> &'a State {
    done.iter()
        .rev()
        .find(|done| done.phase.act == Act::Widen)
        .map_or(&rotation.start, |done| done.after())
}

/// What a compile was made of, for whoever wants to know.
fn facts(rotation: &Rotation, done: &[Arc<Done>], proof: &Proof, plan: &Plan) -> Vec<String> {
    let start = &rotation.start;
    let files: usize = start.nodes.values().map(|node| node.files.len()).sum();
    let steps: usize = done.iter().map(|phase| phase.outcome.steps.len()).sum();
    vec![
        format!(
            "read: {} nodes with {files} files, {} objects, {} users' kubeconfigs",
            start.nodes.len(),
            start.objects.len(),
            start.users.len()
        ),
        format!(
            "issued, now or before: {} CAs, {} leaf certificates",
            rotation.cas.len(),
            rotation.leaves.len()
        ),
        format!("made: {} phases with {steps} steps", done.len()),
        format!(
            "proven: {} connections, {} distinct chains",
            proof.edges.len(),
            proof.pairs_verified
        ),
        format!(
            "rendered: {} files, {} private files",
            plan.files.len(),
            plan.secrets.len() + plan.missing_secrets.len()
        ),
    ]
}

/// The snapshot in a folder, held against what cluster.toml claims and what its own flags name.
fn read_snapshot(folder: &Path, spec: &Spec) -> Result<State> {
    let start = snapshot::read(folder, spec)?;
    claims::check(spec, &start)?;
    presence::check(&start)?;
    Ok(start)
}

/// The outages of a rotation that cluster.toml does not accept, found by a rehearsal with CAs that
/// are made for it and forgotten. `folder` is where cluster.toml would lie.
pub fn rehearse(spec: &Spec, folder: &Path) -> Result<Vec<Outage>> {
    let start = read_snapshot(&folder.join(&spec.snapshot), spec)?;
    let mut issuer = Issuer::new(&spec.id, None, Keyring::default());
    let rotation = Rotation::prepare(spec, start.clone(), &mut issuer, &mut BTreeMap::new())?;
    let done = phases::run(&rotation, &start, |_| ())?;
    Ok(unaccepted(spec, &prove(&rotation, &done)?))
}

fn unaccepted(spec: &Spec, proof: &Proof) -> Vec<Outage> {
    proof
        .outages
        .iter()
        .filter(|outage| !outage.minor && !spec.accept.contains(&outage.name))
        .cloned()
        .collect()
}

fn superfluous(spec: &Spec, proof: &Proof) -> Vec<String> {
    let needed = |name: &&String| {
        let mut outages = proof.outages.iter();
        outages.any(|outage| !outage.minor && outage.name == **name)
    };
    let accepted = spec.accept.iter();
    accepted.filter(|name| !needed(name)).cloned().collect()
}

/// Proves the states that the phases made.
pub fn prove(rotation: &Rotation, done: &[Arc<Done>]) -> Result<Proof> {
    let window = (rotation.spec.not_before, rotation.spec.window_end);
    let (moments, pairs) = (moments(rotation, done), pairs(rotation));
    trust::prove(&moments, window, rotation.spec.kubernetes, &pairs)
}

/// The cluster before the rotation, and after each step.
fn moments<'a>(rotation: &'a Rotation, done: &'a [Arc<Done>]) -> Vec<Moment<'a>> {
    let mut out = vec![Moment {
        phase: 0,
        phase_name: "preflight".to_owned(),
        step: 0,
        title: "before the rotation".to_owned(),
        nodes_serial: None,
        state: &rotation.start,
        undone: None,
    }];
    for phase in done {
        for (index, step) in phase.outcome.steps.iter().enumerate() {
            out.push(Moment {
                phase: phase.phase.number,
                phase_name: phase.phase.name.to_owned(),
                step: index + 1,
                title: step.title.clone(),
                nodes_serial: match step.part {
                    Part::Nodes { serial } => Some(serial),
                    Part::Cluster => None,
                },
                state: &step.after,
                undone: phase.undone.as_ref(),
            });
        }
    }
    out
}

/// The rotated CAs, old and new.
fn pairs(rotation: &Rotation) -> BTreeMap<CaName, (Certificate, Certificate)> {
    let pairs = rotation.cas.values();
    pairs
        .map(|pair| (pair.name, (pair.old.clone(), pair.new.clone())))
        .collect()
}

/// What cluster.toml answers for.
fn declared(spec: &Spec) -> Declared<'_> {
    let files = spec.trust_consumers.iter().filter_map(|c| match &c.at {
        ConsumerPlace::File { path } => Some(path.as_str()),
        ConsumerPlace::Object { .. } => None,
    });
    let objects = spec.trust_consumers.iter().filter_map(|c| match &c.at {
        ConsumerPlace::Object {
            kind,
            namespace,
            name,
            ..
        } => {
            let restarted = c.restart.iter().map(ObjectId::from).collect();
            Some((ObjectId::new(kind, namespace, name), restarted))
        }
        ConsumerPlace::File { .. } => None,
    });
    let leaves = spec.external_leaves.iter();
    Declared {
        objects: objects.collect(),
        files: files.collect(),
        leaves: leaves.map(|leaf| leaf.fingerprint.as_str()).collect(),
    }
}

/// The folder that holds a file; `.` for a bare name.
#[must_use]
pub fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(
        || "cluster.toml".into(),
        |n| n.to_string_lossy().into_owned(),
    )
}

/// The CAs that were made elsewhere. Their keys may be absent where only the lock is.
pub fn imported(spec: &Spec, folder: &Path) -> Result<BTreeMap<CaName, CaSource>> {
    let mut out = BTreeMap::new();
    for (&name, ca) in &spec.cas {
        let NewCa::Import { certificate, key } = &ca.new else {
            continue;
        };
        let remedy = format!(
            "see [rotation.ca.{name}] in {}: it names this file",
            spec.file
        );
        let text = input::read_text(&folder.join(certificate), certificate, MAX_FILE, &remedy)?;
        let key_text = match key {
            Some(key) => input::read_text_if_any(&folder.join(key), key, MAX_FILE, &remedy)?
                .map(|text| (key, PrivateText::new(text))),
            None => None,
        };
        let source = if let Some((key, text_of_key)) = key_text {
            CaSource::Import(SigningCa::import(&text, certificate, &text_of_key, key)?)
        } else {
            let (certificate, chain) = pki::import_public(&text, certificate)?;
            if key.is_some() {
                CaSource::ImportPublic { certificate, chain }
            } else {
                CaSource::Elsewhere { certificate, chain }
            }
        };
        out.insert(name, source);
    }
    Ok(out)
}
