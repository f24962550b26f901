//! The command line, and nothing else: reads arguments, calls the library, prints. The only module
//! that prints; results go to standard output, everything else to standard error.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use clap::{ArgGroup, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::bundle::Source;
use crate::check::check;
use crate::compare::compare;
use crate::compile::{Compiled, compile_telling, folder_of};
use crate::diagnostic::{Code, Diagnostic, is_unprintable, one_line, printable};
use crate::explain::{document, explain};
use crate::input;
use crate::parallel;
use crate::render::write;
use crate::schema::{BESIDE, Subject};
use crate::snapshot::{self, Folded};
use crate::{collect, init, requests};
use progress::Progress;

mod formats;
mod progress;

/// Exit code for a plan that does not hold.
const PROOF_BROKEN: u8 = 1;
/// Exit code for a plan that is not what its inputs give.
const DIFFERS: u8 = 1;
/// Exit code for bad input.
const BAD_INPUT: u8 = 2;

/// Compile the rotation of a Kubernetes cluster's certificate authorities into a directory of patched
/// files and scripts that people review.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "Examples:\n  carota compile plans/kubeadm-ha/cluster.toml\n  carota check plans/kubeadm-ha/cluster.toml\n  carota explain apiserver-trust\n\nResults go to standard output, everything else to standard error. NO_COLOR is honoured."
)]
struct Arguments {
    /// Say nothing but results and errors; a check or diff in text without its details.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Say on standard error what was read, issued and proven.
    #[arg(short, long, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

/// How much is said on standard error.
#[derive(Clone, Copy)]
struct Manner {
    quiet: bool,
    verbose: bool,
}

/// A form of output.
#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// A form of the output of a check or a comparison.
#[derive(Clone, Copy, ValueEnum)]
enum ReportFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// Annotations of a GitHub workflow.
    Github,
}

#[derive(Subcommand)]
enum Command {
    /// Print the POSIX sh collector: run it on each node and once where kubectl works.
    #[command(
        after_help = "Example:\n  carota collect > collect.sh\n  sh collect.sh node      # on each node, as root\n  sh collect.sh cluster   # once, where kubectl works"
    )]
    Collect,
    /// Write a commented cluster.toml from a snapshot.
    #[command(after_help = "Example:\n  carota init snapshot --out cluster.toml")]
    Init {
        /// The folder that the collector wrote.
        snapshot: PathBuf,
        /// Where to write; standard output if it is not given. An existing file is not replaced.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Finish a rotation that somebody has begun: of the CAs whose files hold an old and a new one. Writes the new ones
        /// beside.
        #[arg(long, requires = "out")]
        resume: bool,
    },
    /// Put nodes of a snapshot that are alike into sets: one copy of their files, and a table of what each has to itself.
    #[command(
        after_help = "A plan comes out the same, whether its snapshot is folded or not. A node that was collected again\nbeside its set takes its place in it.\n\nExample:\n  carota fold snapshot"
    )]
    Fold {
        /// The folder that the collector wrote; its nodes/ is replaced.
        snapshot: PathBuf,
    },
    /// Give each node of a folded snapshot a folder of its own again.
    #[command(after_help = "Example:\n  carota unfold snapshot")]
    Unfold {
        /// The folder that was folded; its nodes/ is replaced.
        snapshot: PathBuf,
    },
    /// Compile the plan: issue what carota.lock lacks, write plan/, secrets/ and carota.lock.
    #[command(after_help = "Example:\n  carota compile plans/kubeadm-ha/cluster.toml")]
    Compile {
        /// The description of the cluster; its folder holds snapshot and lock and gets the output.
        #[arg(value_name = "CLUSTER.toml")]
        cluster: PathBuf,
    },
    /// Write the requests for what somebody else must sign: where a CA is external and its key elsewhere.
    #[command(
        after_help = "Example:\n  carota request cluster.toml   # secrets/requests/*.csr, each with a key beside it"
    )]
    Request {
        /// The description of the cluster; its folder gets secrets/requests.
        #[arg(value_name = "CLUSTER.toml")]
        cluster: PathBuf,
    },
    /// Take back what was signed for the requests, and pin it in carota.lock.
    #[command(after_help = "Example:\n  carota import cluster.toml signed/")]
    Import {
        /// The description of the cluster; its folder holds secrets/requests.
        #[arg(value_name = "CLUSTER.toml")]
        cluster: PathBuf,
        /// PEM files, or folders of them.
        #[arg(required = true)]
        signed: Vec<PathBuf>,
    },
    /// Prove the plan without writing it: print the trust matrix, or each connection that would break.
    #[command(after_help = "Example:\n  carota prove plans/kubeadm-ha/cluster.toml")]
    Prove {
        /// The description of the cluster.
        #[arg(value_name = "CLUSTER.toml")]
        cluster: PathBuf,
        /// How to print it.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Compare plan/ and carota.lock with what the inputs give, without any secret.
    #[command(
        after_help = "Exit codes: 0 the same, 1 differs, 2 bad input.\n\nExample:\n  carota check plans/kubeadm-ha/cluster.toml --format github"
    )]
    Check {
        /// The description of the cluster.
        #[arg(value_name = "CLUSTER.toml")]
        cluster: PathBuf,
        /// How to print what differs.
        #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
        format: ReportFormat,
    },
    /// Compare two compiled plans: which phases, nodes and objects differ, and why it matters.
    #[command(
        after_help = "Exit codes: 0 the same, 1 differs, 2 bad input.\n\nExamples:\n  carota diff old/plan plan\n  carota diff plans/kubeadm-1.20/plan plans/kubeadm-ha/plan --format json"
    )]
    Diff {
        /// The plan/ of before.
        old: PathBuf,
        /// The plan/ of now.
        new: PathBuf,
        /// How to print what differs.
        #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
        format: ReportFormat,
    },
    /// Pack what is carried to a node: the plan, and the private files of that node alone.
    #[command(
        after_help = "Examples:\n  carota bundle cluster.toml --node cp-1\n  carota bundle cluster.toml --all --out secrets/bundles --recipient age1…"
    )]
    #[command(group(ArgGroup::new("nodes").args(["node", "all"]).required(true)))]
    Bundle {
        /// The description of the cluster; its folder holds plan/ and secrets/.
        #[arg(value_name = "CLUSTER.toml")]
        cluster: PathBuf,
        /// A node; may be given several times.
        #[arg(long, value_name = "NAME")]
        node: Vec<String>,
        /// Every node of the plan, a tar for each.
        #[arg(long)]
        all: bool,
        /// The folder to write to; it must exist.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
        /// Encrypt for this recipient with the `age` program; may be given several times.
        #[arg(long, value_name = "RECIPIENT")]
        recipient: Vec<String>,
    },
    /// Explain a diagnostic code, a phase, a gap of the Kubernetes page, or a file of a plan.
    #[command(
        after_help = "Examples:\n  carota explain C017\n  carota explain apiserver-trust\n  carota explain G3\n  carota explain plan/05-apiserver-trust/phase.diff"
    )]
    Explain {
        /// A code (C017), a phase (05, apiserver-trust), a gap (G3) or a path in a plan.
        what: String,
    },
    /// Print a JSON Schema: of what carota reads, or of what it prints.
    #[command(
        after_help = "Example:\n  carota schema --of cluster > cluster.schema.json   # what the first line of cluster.toml names"
    )]
    Schema {
        /// Of what.
        #[arg(long, value_enum)]
        of: SchemaOf,
    },
    /// Print completions for a shell.
    #[command(after_help = "Example:\n  carota completions bash > /etc/bash_completion.d/carota")]
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print a manual page, of carota or of one of its commands.
    #[command(
        after_help = "Examples:\n  carota man > carota.1\n  carota man compile > carota-compile.1"
    )]
    Man {
        /// A command.
        command: Option<String>,
    },
    /// Print a page of docs/.
    #[command(hide = true)]
    Document {
        /// Which page.
        #[arg(value_enum)]
        what: Document,
    },
}

/// What has a schema.
#[derive(Clone, Copy, ValueEnum)]
enum SchemaOf {
    /// cluster.toml.
    Cluster,
    /// plan.json.
    Plan,
    /// The output of `check --format json`.
    Check,
    /// The output of `prove --format json`.
    Proof,
    /// The output of `diff --format json`.
    Diff,
}

/// A page of docs/ that is printed from the words in the program.
#[derive(Clone, Copy, ValueEnum)]
enum Document {
    /// docs/diagnostics.md.
    Diagnostics,
    /// docs/gaps.md.
    Gaps,
    /// docs/phases.md.
    Phases,
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let cluster = match &arguments.command {
        Command::Compile { cluster }
        | Command::Request { cluster }
        | Command::Import { cluster, .. }
        | Command::Prove { cluster, .. }
        | Command::Check { cluster, .. } => Some(cluster.clone()),
        _ => None,
    };
    let manner = Manner {
        quiet: arguments.quiet,
        verbose: arguments.verbose,
    };
    match run(arguments.command, manner) {
        Ok(code) => code,
        Err(error) => {
            // A reader that has gone wants to hear nothing more.
            if error
                .downcast_ref::<io::Error>()
                .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
            {
                return ExitCode::SUCCESS;
            }
            let text = match error.downcast_ref::<Diagnostic>() {
                Some(diagnostic) => rendered(diagnostic, cluster.as_deref()),
                None => format!("error: {}", printable(&format!("{error:#}"))),
            };
            let _ = writeln!(anstream::stderr(), "{text}");
            ExitCode::from(BAD_INPUT)
        }
    }
}

/// An error with the line of cluster.toml that it is about. No other file is ever quoted: a snapshot
/// may hold, by somebody's mistake, a private value.
fn rendered(error: &Diagnostic, cluster: Option<&Path>) -> String {
    let quoted = || {
        let (path, place) = (cluster?, error.place.as_ref()?);
        if path.file_name()?.to_str()? != place.file {
            return None;
        }
        let source = input::read_text(path, &place.file, input::MAX_FILE, "").ok()?;
        let source = shown(&source);
        let at = place.offset_in(&source)?;
        Some((source, at, one_line(&place.file)))
    };
    let Some((source, at, file)) = quoted() else {
        return error.to_string();
    };
    let snippet = Snippet::source(source.as_str())
        .path(file)
        .annotation(AnnotationKind::Primary.span(at..at + token_length(&source[at..])));
    let report = Level::ERROR
        .primary_title(one_line(&error.reason))
        .id(error.code.id())
        .element(snippet)
        .element(Level::HELP.message(printable(&error.remedy)));
    // Colours are taken out again by the stream where it is no terminal.
    Renderer::styled().render(&[report])
}

/// A source as it may be shown: character by character the same, without what drives a terminal.
fn shown(source: &str) -> String {
    let safe = |c| match c {
        '\n' | '\t' => c,
        '\r' => ' ',
        c if is_unprintable(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    source.chars().map(safe).collect()
}

/// How much of a line to underline: the string or the word that it begins with.
fn token_length(text: &str) -> usize {
    let line = text.lines().next().unwrap_or_default();
    let end = match line.chars().next() {
        Some(quote @ ('"' | '\'')) => line[1..].find(quote).map(|i| i + 2),
        _ => line.find(|c: char| c.is_whitespace() || "=,]}".contains(c)),
    };
    end.unwrap_or(line.len())
}

fn run(command: Command, manner: Manner) -> anyhow::Result<ExitCode> {
    match command {
        Command::Collect => print(&collect::script())?,
        Command::Init {
            snapshot,
            out,
            resume,
        } => {
            let folder = out.as_deref().map_or(Path::new("."), folder_of);
            let described = init::describe(&snapshot, folder, resume)?;
            match &out {
                None => print(&described.toml)?,
                Some(path) => {
                    write_new(path, &described.toml)?;
                    for (name, text) in &described.files {
                        write_new(&folder.join(name), text)?;
                    }
                    write_schema(folder, manner)?;
                }
            }
        }
        Command::Fold { snapshot } => fold(&snapshot, snapshot::fold)?,
        Command::Unfold { snapshot } => fold(&snapshot, snapshot::unfold)?,
        Command::Compile { cluster } => return run_compile(&cluster, manner),
        Command::Request { cluster } => request(&cluster)?,
        Command::Import { cluster, signed } => import(&cluster, &signed)?,
        Command::Prove { cluster, format } => return prove(&cluster, format, manner),
        Command::Check { cluster, format } => return run_check(&cluster, format, manner),
        Command::Diff { old, new, format } => return run_diff(&old, &new, format, manner),
        Command::Schema { of } => print(schema(of).schema())?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "carota", &mut script);
            print(&String::from_utf8_lossy(&script))?;
        }
        Command::Man { command } => print(&manual(command.as_deref())?)?,
        Command::Bundle {
            cluster,
            node,
            all,
            out,
            recipient,
        } => bundle(&cluster, (!all).then_some(&node), &out, &recipient)?,
        Command::Explain { what } => print(&printable(&explain(&what)?))?,
        Command::Document { what } => print(&match what {
            Document::Diagnostics => document::diagnostics(),
            Document::Gaps => document::gaps(),
            Document::Phases => document::phases(),
        })?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|e| {
            Diagnostic::new(
                Code::OutputFailed,
                format!("{} could not be made: {}", path.display(), input::why(&e)),
                "name a file that does not exist yet",
            )
        })?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

/// Writes the nodes of a snapshot in another way, and says what it has now.
fn fold(
    snapshot: &Path,
    how: impl FnOnce(&Path) -> crate::diagnostic::Result<Folded>,
) -> anyhow::Result<()> {
    let folding = write::folding(snapshot)?;
    let folded = how(snapshot)?;
    folding.replace(&folded.files, &folded.read, |written| folded.check(written))?;
    for set in &folded.sets {
        print(&format!(
            "nodes/{}: {} nodes, {} values each\n",
            set.name, set.nodes, set.values
        ))?;
    }
    let folders = if folded.alone == 1 {
        "folder"
    } else {
        "folders"
    };
    print(&format!("{} {folders} of one node\n", folded.alone))?;
    Ok(())
}

/// The schema beside a new cluster.toml, which names it. One that is there is left alone.
fn write_schema(folder: &Path, manner: Manner) -> anyhow::Result<()> {
    let path = folder.join(BESIDE);
    if path.exists() {
        return Ok(());
    }
    write_new(&path, Subject::Cluster.schema())?;
    if !manner.quiet {
        let mut say = anstream::stderr().lock();
        writeln!(
            say,
            "note: {BESIDE} written beside it: editors complete cluster.toml from it"
        )?;
    }
    Ok(())
}

fn schema(of: SchemaOf) -> Subject {
    match of {
        SchemaOf::Cluster => Subject::Cluster,
        SchemaOf::Plan => Subject::Plan,
        SchemaOf::Check => Subject::Check,
        SchemaOf::Proof => Subject::Proof,
        SchemaOf::Diff => Subject::Diff,
    }
}

/// The manual page of carota, or of one of its commands.
fn manual(command: Option<&str>) -> anyhow::Result<String> {
    let mut all = Arguments::command();
    all.build();
    let page = match command {
        None => all,
        Some(name) => {
            let found = all.get_subcommands().find(|c| c.get_name() == name);
            found.cloned().ok_or_else(|| {
                let names: Vec<&str> = all.get_subcommands().map(clap::Command::get_name).collect();
                let near = similar::get_close_matches(name, &names, 1, 0.6);
                let remedy = match near.first() {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "name one of the commands that `carota --help` lists".to_owned(),
                };
                let reason = format!("there is no command named `{name}`");
                Diagnostic::new(Code::UnknownSubject, reason, remedy)
            })?
        }
    };
    let mut out = Vec::new();
    clap_mangen::Man::new(page).render(&mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Says what a compile was made of.
fn say_facts(compiled: &Compiled, manner: Manner) -> io::Result<()> {
    if !manner.verbose {
        return Ok(());
    }
    let mut say = anstream::stderr().lock();
    compiled
        .facts
        .iter()
        .try_for_each(|fact| writeln!(say, "{fact}"))
}

fn run_compile(cluster: &Path, manner: Manner) -> anyhow::Result<ExitCode> {
    let folder = folder_of(cluster);
    write::check_output(folder)?;
    let progress = Progress::of("compiling", manner.quiet);
    let compiled = compile_telling(cluster, &|stage| progress.at(stage))?;
    drop(progress);
    say_facts(&compiled, manner)?;
    if !compiled.may_be_written() {
        let mut say = anstream::stderr().lock();
        write!(say, "{}", printable(&refusal_in_full(&compiled)))?;
        writeln!(say, "nothing was written; `carota prove` prints the proof")?;
        return Ok(ExitCode::from(PROOF_BROKEN));
    }
    let staged = write::stage(folder, &compiled.plan)?;
    write::secrets(folder, &compiled.keyring, &compiled.plan)?;
    write::lock(folder, &compiled.lock)?;
    staged.put_in_place()?;
    say_superfluous(&compiled, manner)?;
    let mut say = anstream::stderr().lock();
    for id in compiled.stale_sources.iter().filter(|_| !manner.quiet) {
        writeln!(
            say,
            "note: the source of {id} still holds the old CA; see plan/README.md"
        )?;
    }
    if !compiled.plan.missing_secrets.is_empty() && !manner.quiet {
        let count = compiled.plan.missing_secrets.len();
        writeln!(
            say,
            "note: {count} private files could not be written, the keyring is not here:"
        )?;
        for path in &compiled.plan.missing_secrets {
            writeln!(say, "  secrets/{}", printable(path))?;
        }
    }
    let text = format!(
        "plan/ written: {} files, digest {}\n",
        compiled.plan.files.len(),
        compiled.plan.digest
    );
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes requests, and lists them.
fn request(cluster: &Path) -> anyhow::Result<()> {
    let requests = requests::requests(cluster)?;
    if requests.all.is_empty() {
        print("nothing waits for somebody else's signature\n")?;
        return Ok(());
    }
    write::private(folder_of(cluster), &requests.files)?;
    let line = |r: &requests::Request| {
        let what = format!("{} of the {} CA", r.subject, r.ca);
        format!("secrets/{}  {}\n", r.path, one_line(&what))
    };
    print(&requests.all.iter().map(line).collect::<String>())?;
    Ok(())
}

/// Takes signed certificates over into lock and keyring.
fn import(cluster: &Path, signed: &[PathBuf]) -> anyhow::Result<()> {
    let imported = requests::import(cluster, signed)?;
    let folder = folder_of(cluster);
    if imported.taken > 0 {
        write::private(folder, &imported.keyring)?;
        write::lock(folder, &imported.lock)?;
        write::remove(folder, &imported.answered)?;
    }
    print(&format!(
        "{} certificates taken, {} still to come\n",
        imported.taken, imported.left
    ))?;
    Ok(())
}

fn prove(cluster: &Path, format: Format, manner: Manner) -> anyhow::Result<ExitCode> {
    let progress = Progress::of("proving", manner.quiet);
    let compiled = compile_telling(cluster, &|stage| progress.at(stage))?;
    drop(progress);
    say_facts(&compiled, manner)?;
    say_superfluous(&compiled, manner)?;
    match format {
        Format::Text => print(&printable(&verdict(&compiled)))?,
        Format::Json => {
            // The proof says what breaks, and not that the plan is refused.
            let refused = refusal(&compiled);
            write!(anstream::stderr().lock(), "{}", printable(&refused))?;
            let mut proof = serde_json::to_value(&compiled.proof)?;
            proof["carota"] = 1.into();
            print(&format!("{}\n", serde_json::to_string_pretty(&proof)?))?;
        }
    }
    let code = if compiled.may_be_written() {
        0
    } else {
        PROOF_BROKEN
    };
    Ok(ExitCode::from(code))
}

fn run_check(cluster: &Path, format: ReportFormat, manner: Manner) -> anyhow::Result<ExitCode> {
    let progress = Progress::of("checking", manner.quiet);
    let checked = check(cluster, &|stage| progress.at(stage))?;
    drop(progress);
    say_facts(&checked.compiled, manner)?;
    say_superfluous(&checked.compiled, manner)?;
    let holds = checked.compiled.may_be_written();
    print(&match format {
        ReportFormat::Text => formats::check_text(&checked, manner.quiet),
        ReportFormat::Json => formats::check_json(&checked)?,
        ReportFormat::Github => formats::check_github(&checked, folder_of(cluster)),
    })?;
    if !holds {
        let refused = refusal_in_full(&checked.compiled);
        write!(anstream::stderr().lock(), "{}", printable(&refused))?;
    }
    let same = checked.differences.is_empty() && holds;
    Ok(ExitCode::from(if same { 0 } else { DIFFERS }))
}

fn run_diff(
    old: &Path,
    new: &Path,
    format: ReportFormat,
    manner: Manner,
) -> anyhow::Result<ExitCode> {
    let found = compare(old, new)?;
    print(&match format {
        ReportFormat::Text => printable(&found.text(manner.quiet)),
        ReportFormat::Json => formats::diff_json(&found)?,
        ReportFormat::Github => formats::diff_github(&found),
    })?;
    Ok(ExitCode::from(if found.same { 0 } else { DIFFERS }))
}

/// That and why a plan is refused; empty where it is not.
fn refusal(compiled: &Compiled) -> String {
    let mut why = Vec::new();
    let broken = compiled.proof.broken.len();
    if broken > 0 {
        let connections = if broken == 1 {
            "connection"
        } else {
            "connections"
        };
        why.push(format!("it would break {broken} {connections}"));
    }
    let unaccepted = &compiled.unaccepted;
    let names: BTreeSet<&String> = unaccepted.iter().map(|o| &o.name).collect();
    if !names.is_empty() {
        why.push("it has outages that are not accepted".to_owned());
    }
    if why.is_empty() {
        return String::new();
    }
    let why = why.join(", and ");
    let mut text = format!("error[{}]: the plan is refused: {why}\n", Code::ProofBroken);
    for outage in unaccepted {
        text.push_str(&format!(
            "  {:02}-{}: {}: {}\n",
            outage.phase, outage.phase_name, outage.name, outage.scope
        ));
    }
    if !names.is_empty() {
        let all: BTreeSet<&String> = names.into_iter().chain(&compiled.accepted).collect();
        let all: Vec<String> = all.into_iter().map(|name| format!("\"{name}\"")).collect();
        text.push_str(&format!(
            "  = help: if they may be, write in [rotation]: accept = [{}]\n",
            all.join(", ")
        ));
    }
    text
}

/// The refusal of a plan that is not written, with what would have to change: the connections that break. Of a plan whose
/// connections hold that is all there is to say.
fn refusal_in_full(compiled: &Compiled) -> String {
    let mut text = refusal(compiled);
    if !compiled.proof.holds() {
        text.push('\n');
        text.push_str(&compiled.proof.render_text(&compiled.accepted));
    }
    text
}

/// The proof in words, below the refusal if there is one.
fn verdict(compiled: &Compiled) -> String {
    let mut text = refusal(compiled);
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&compiled.proof.render_text(&compiled.accepted));
    text
}

/// Says which outages are accepted for nothing: for another cluster, or by mistake.
fn say_superfluous(compiled: &Compiled, manner: Manner) -> io::Result<()> {
    if manner.quiet {
        return Ok(());
    }
    let mut say = anstream::stderr().lock();
    compiled.superfluous.iter().try_for_each(|name| {
        writeln!(
            say,
            "note: rotation.accept names \"{name}\", which this plan has no need of"
        )
    })
}

/// Writes the bundle of each of these nodes, or of all.
fn bundle(
    cluster: &Path,
    nodes: Option<&Vec<String>>,
    out: &Path,
    recipients: &[String],
) -> anyhow::Result<()> {
    let source = Source::read(folder_of(cluster))?;
    let nodes: Vec<&str> = match nodes {
        Some(named) => named.iter().map(String::as_str).collect(),
        None => source.nodes().collect(),
    };
    // All of them can be made before the first is written.
    nodes.iter().try_for_each(|node| source.check(node))?;
    let written = parallel::map(&nodes, |node| {
        let bundle = source.bundle(node)?;
        let ending = if recipients.is_empty() { "" } else { ".age" };
        let path = out.join(format!("{}{ending}", bundle.name));
        write::private_file(&path, &bundle.bytes, recipients)?;
        let count = bundle.private_files;
        anyhow::Ok(format!("{}: {count} private files\n", path.display()))
    });
    for text in written {
        print(&printable(&text?))?;
    }
    Ok(())
}
