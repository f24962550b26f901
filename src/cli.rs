//! The command line, and nothing else: reads arguments, calls the library, prints. The only module
//! that prints; results go to standard output, everything else to standard error.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use clap::{Parser, Subcommand, ValueEnum};

use crate::bundle::Source;
use crate::check::check;
use crate::compile::{Compiled, compile, folder_of};
use crate::diagnostic::{Code, Diagnostic, is_unprintable, one_line, printable};
use crate::input;
use crate::render::write;
use crate::{collect, init};

/// Exit code for a plan that does not hold.
const PROOF_BROKEN: u8 = 1;
/// Exit code for a plan that is not what its inputs give.
const DIFFERS: u8 = 1;
/// Exit code for bad input.
const BAD_INPUT: u8 = 2;

/// Compile the rotation of a Kubernetes cluster's certificate authorities into a directory of patched
/// files and scripts that people review.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// A form of output.
#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// A form of a check's output.
#[derive(Clone, Copy, ValueEnum)]
enum CheckFormat {
    /// For people: unified diffs.
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
    },
    /// Compile the plan: issue what carota.lock lacks, write plan/, secrets/ and carota.lock.
    #[command(after_help = "Example:\n  carota compile plans/kubeadm-ha/cluster.toml")]
    Compile {
        /// The description of the cluster; its folder holds snapshot and lock and gets the output.
        #[arg(value_name = "CLUSTER.toml")]
        cluster: PathBuf,
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
        #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
        format: CheckFormat,
    },
    /// Pack what is carried to a node: the plan, and the private files of that node alone.
    #[command(
        after_help = "Examples:\n  carota bundle cluster.toml --node cp-1\n  carota bundle cluster.toml --all --out bundles --recipient age1…"
    )]
    Bundle {
        /// The description of the cluster; its folder holds plan/ and secrets/.
        #[arg(value_name = "CLUSTER.toml")]
        cluster: PathBuf,
        /// A node; may be given several times.
        #[arg(long, value_name = "NAME", required_unless_present = "all")]
        node: Vec<String>,
        /// Every node of the plan, a tar for each.
        #[arg(long, conflicts_with = "node")]
        all: bool,
        /// The folder to write to; it must exist.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
        /// Encrypt for this recipient with the `age` program; may be given several times.
        #[arg(long, value_name = "RECIPIENT")]
        recipient: Vec<String>,
    },
    /// Explain a diagnostic code.
    #[command(after_help = "Example:\n  carota explain C017")]
    Explain {
        /// A code such as C017.
        what: String,
    },
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let cluster = match &arguments.command {
        Command::Compile { cluster }
        | Command::Prove { cluster, .. }
        | Command::Check { cluster, .. } => Some(cluster.clone()),
        _ => None,
    };
    match run(arguments.command) {
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

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Collect => print(&collect::script())?,
        Command::Init { snapshot, out } => {
            let toml =
                init::cluster_toml(&snapshot, out.as_deref().map_or(Path::new("."), folder_of))?;
            match out {
                None => print(&toml)?,
                Some(path) => write_new(&path, &toml)?,
            }
        }
        Command::Compile { cluster } => return run_compile(&cluster),
        Command::Prove { cluster, format } => return prove(&cluster, format),
        Command::Check { cluster, format } => return run_check(&cluster, format),
        Command::Bundle {
            cluster,
            node,
            all,
            out,
            recipient,
        } => bundle(&cluster, (!all).then_some(&node), &out, &recipient)?,
        Command::Explain { what } => explain(&what)?,
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
                format!("{} could not be made: {}", path.display(), e.kind()),
                "name a file that does not exist yet",
            )
        })?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

fn run_compile(cluster: &Path) -> anyhow::Result<ExitCode> {
    let folder = folder_of(cluster);
    write::check_output(folder)?;
    let compiled = compile(cluster)?;
    if !compiled.may_be_written() {
        let mut say = anstream::stderr().lock();
        write!(say, "{}", printable(&verdict(&compiled)))?;
        writeln!(say, "nothing was written")?;
        return Ok(ExitCode::from(PROOF_BROKEN));
    }
    let staged = write::stage(folder, &compiled.plan)?;
    write::secrets(folder, &compiled.keyring, &compiled.plan)?;
    write::lock(folder, &compiled.lock)?;
    staged.put_in_place()?;
    let mut say = anstream::stderr().lock();
    for id in &compiled.stale_sources {
        writeln!(
            say,
            "note: the source of {id} still holds the old CA; see plan/README.md"
        )?;
    }
    if !compiled.plan.missing_secrets.is_empty() {
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

fn prove(cluster: &Path, format: Format) -> anyhow::Result<ExitCode> {
    let compiled = compile(cluster)?;
    match format {
        Format::Text => print(&printable(&verdict(&compiled)))?,
        Format::Json => print(&format!(
            "{}\n",
            serde_json::to_string_pretty(&compiled.proof)?
        ))?,
    }
    let code = if compiled.may_be_written() {
        0
    } else {
        PROOF_BROKEN
    };
    Ok(ExitCode::from(code))
}

fn run_check(cluster: &Path, format: CheckFormat) -> anyhow::Result<ExitCode> {
    let checked = check(cluster)?;
    let holds = checked.compiled.may_be_written();
    let mut text = String::new();
    match format {
        CheckFormat::Json => {
            let report = serde_json::json!({
                "carota": 1,
                "same": checked.differences.is_empty(),
                "proof_holds": holds,
                "digest": checked.compiled.plan.digest,
                "differences": checked.differences,
            });
            text = format!("{}\n", serde_json::to_string_pretty(&report)?);
        }
        CheckFormat::Text => {
            for difference in &checked.differences {
                text.push_str(&format!(
                    "{} {}\n",
                    difference.path,
                    difference.kind.as_str()
                ));
                text.push_str(&difference.diff);
            }
            if checked.differences.is_empty() {
                text.push_str(&format!(
                    "the same, digest {}\n",
                    checked.compiled.plan.digest
                ));
            }
            text = printable(&text);
        }
        CheckFormat::Github => {
            let folder = folder_of(cluster);
            for difference in &checked.differences {
                let path = folder.join(&difference.path);
                let path = path
                    .strip_prefix(".")
                    .unwrap_or(&path)
                    .to_string_lossy()
                    .into_owned();
                text.push_str(&format!(
                    "::error file={},line={}::{} {}\n",
                    github(&path),
                    difference.line,
                    github(&difference.path),
                    difference.kind.as_str()
                ));
            }
        }
    }
    print(&text)?;
    if !holds {
        writeln!(
            anstream::stderr().lock(),
            "{}",
            printable(&verdict(&checked.compiled))
        )?;
    }
    let same = checked.differences.is_empty() && holds;
    Ok(ExitCode::from(if same { 0 } else { DIFFERS }))
}

/// Text in a workflow command: what would end it is encoded as GitHub decodes it.
fn github(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
        .replace(':', "%3A")
        .replace(',', "%2C")
}

/// The proof in words, with the outages that cluster.toml would have to accept.
fn verdict(compiled: &Compiled) -> String {
    let mut text = compiled.proof.render_text();
    let names: BTreeSet<&str> = compiled
        .unaccepted
        .iter()
        .map(|o| o.name.as_str())
        .collect();
    if !names.is_empty() {
        let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        text.push_str(&format!(
            "error[{}]: the plan has outages that are not accepted; if they may be, add to [rotation]: \
             accept = [{}]\n",
            Code::ProofBroken,
            names.join(", ")
        ));
    }
    text
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
        None => source.nodes().into_iter().collect(),
    };
    // All of them are whole before the first is written.
    let bundles = nodes
        .into_iter()
        .map(|node| source.bundle(node))
        .collect::<Result<Vec<_>, _>>()?;
    for bundle in bundles {
        let ending = if recipients.is_empty() { "" } else { ".age" };
        let path = out.join(format!("{}{ending}", bundle.name));
        write::private_file(&path, &bundle.bytes, recipients)?;
        let text = format!(
            "{}: {} private files\n",
            path.display(),
            bundle.private_files
        );
        print(&printable(&text))?;
    }
    Ok(())
}

fn explain(what: &str) -> anyhow::Result<()> {
    let code = Code::ALL
        .iter()
        .find(|code| code.id().eq_ignore_ascii_case(what));
    let Some(code) = code else {
        return Err(Diagnostic::new(
            Code::TomlValue,
            format!("`{what}` is not a diagnostic code"),
            "codes run from C001 on; they stand in brackets behind `error`",
        )
        .into());
    };
    print(&format!(
        "{code}: {}\n\n{}\n",
        code.summary(),
        code.explanation()
    ))
}
