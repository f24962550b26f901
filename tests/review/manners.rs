//! The command line's manners: help with examples that run, completions, manual pages, suggestions,
//! results apart from messages, closed pipes, colour.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::common::{carota, compile, copy_tree, edit, examples, inputs_of, judge};
use crate::{clone_of, example, said};

const COMMANDS: [&str; 15] = [
    "collect",
    "init",
    "fold",
    "unfold",
    "compile",
    "request",
    "import",
    "prove",
    "check",
    "diff",
    "bundle",
    "explain",
    "schema",
    "completions",
    "man",
];

fn help_of(command: &[&str]) -> String {
    let output = carota(&[command, &["--help"]].concat(), Path::new("."));
    assert!(output.status.success());
    said(&output.stdout)
}

/// The lines after `Example`.
fn examples_in(help: &str) -> Vec<String> {
    let after = help
        .split_once("Example")
        .unwrap_or_else(|| panic!("no example in:\n{help}"))
        .1;
    let lines = after
        .lines()
        .map(str::trim)
        .filter(|l| l.starts_with("carota "));
    lines.map(str::to_owned).collect()
}

#[test]
fn help_lists_every_command_and_each_has_examples() {
    let help = help_of(&[]);
    for command in COMMANDS {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
        assert!(!examples_in(&help_of(&[command])).is_empty(), "{command}");
    }
    assert!(
        !help.contains("document"),
        "what is for the tests is hidden"
    );
}

#[test]
fn the_examples_of_the_help_run() {
    // A user's folder with a plan of its own, the repository's examples below, and a plan of before.
    let inputs = inputs_of(&example());
    let folder = inputs.path();
    fs::remove_file(folder.join("carota.lock")).unwrap();
    compile(folder);
    copy_tree(&folder.join("plan"), &folder.join("old/plan"));
    for example in examples() {
        let to = folder.join("plans").join(example.file_name().unwrap());
        copy_tree(clone_of(&example).path(), &to);
    }
    for empty in ["secrets/bundles", "signed"] {
        fs::create_dir(folder.join(empty)).unwrap();
    }
    fs::create_dir(folder.join("bin")).unwrap();
    let age = folder.join("bin/age");
    fs::write(&age, "#!/bin/sh\nexec cat\n").unwrap();
    fs::set_permissions(&age, fs::Permissions::from_mode(0o755)).unwrap();
    let mut lines = examples_in(&help_of(&[]));
    lines.extend(
        COMMANDS
            .iter()
            .flat_map(|command| examples_in(&help_of(&[command]))),
    );
    let mut ran = 0;
    for line in lines {
        let bare = line
            .split("  #")
            .next()
            .unwrap()
            .split(" > ")
            .next()
            .unwrap();
        let words: Vec<&str> = bare.split_whitespace().skip(1).collect();
        if words[0] == "init" {
            fs::rename(folder.join("cluster.toml"), folder.join("kept.toml")).unwrap();
        }
        let output = Command::new(env!("CARGO_BIN_EXE_carota"))
            .args(&words)
            .current_dir(folder)
            .env(
                "PATH",
                format!(
                    "{}:{}",
                    folder.join("bin").display(),
                    std::env::var("PATH").unwrap()
                ),
            )
            .output()
            .unwrap();
        if words[0] == "init" {
            fs::rename(folder.join("kept.toml"), folder.join("cluster.toml")).unwrap();
        }
        let wanted = i32::from(line.contains("kubeadm-1.20/plan plans/kubeadm-ha/plan"));
        assert_eq!(
            output.status.code(),
            Some(wanted),
            "{line}: {}",
            said(&output.stderr)
        );
        ran += 1;
    }
    assert!(ran >= 19, "{ran}");
}

#[test]
fn a_mistyped_command_option_or_value_is_answered_with_the_nearest() {
    for (typed, meant) in [
        (&["chek", "cluster.toml"][..], "'check'"),
        (&["check", "cluster.toml", "--fromat", "json"], "'--format'"),
        (&["check", "cluster.toml", "--format", "jsn"], "'json'"),
        (&["schema", "--of", "plans"], "'plan'"),
        (&["man", "compil"], "`compile`"),
        (&["explain", "apiserver-trst"], "`apiserver-trust`"),
    ] {
        let output = carota(typed, Path::new("."));
        assert_eq!(output.status.code(), Some(2), "{typed:?}");
        assert!(output.stdout.is_empty());
        let text = said(&output.stderr);
        assert!(text.contains(meant), "{typed:?}: {text}");
    }
}

#[test]
fn completions_are_for_every_shell_and_bash_takes_its() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = carota(&["completions", shell], Path::new("."));
        assert!(output.status.success());
        let text = said(&output.stdout);
        for command in COMMANDS {
            assert!(text.contains(command), "{shell}: {command}");
        }
    }
    let script = carota(&["completions", "bash"], Path::new(".")).stdout;
    let asked = "\nCOMP_WORDS=(carota ex); COMP_CWORD=1; _carota carota ex carota; echo \"${COMPREPLY[@]}\"\n";
    let output = judge("bash", &[], &[script.as_slice(), asked.as_bytes()].concat());
    assert_eq!(
        said(&output.stdout),
        "explain\n",
        "{}",
        said(&output.stderr)
    );
}

#[test]
fn there_is_a_manual_page_of_each_command_with_its_examples() {
    let page = said(&carota(&["man"], Path::new(".")).stdout);
    assert!(page.contains(".TH carota 1"), "{page}");
    for command in COMMANDS {
        assert!(page.contains(&format!("carota\\-{command}")), "{command}");
        let own = said(&carota(&["man", command], Path::new(".")).stdout);
        assert!(own.contains(&format!(".TH carota-{command} 1")), "{own}");
        assert!(own.contains("Example"), "{command}");
    }
}

#[test]
fn results_go_to_stdout_messages_to_stderr_and_quiet_and_verbose_change_what_is_said() {
    let folder = clone_of(&example());
    let lines = |bytes: &[u8]| said(bytes).lines().map(str::to_owned).collect::<Vec<_>>();
    let usual = carota(&["compile", "cluster.toml"], folder.path());
    assert_eq!(lines(&usual.stdout).len(), 1);
    assert!(said(&usual.stdout).starts_with("plan/ written: "));
    assert!(said(&usual.stderr).contains("note: the source of configmaps/shop/gateway-trust"));
    let quiet = carota(&["--quiet", "compile", "cluster.toml"], folder.path());
    assert_eq!(quiet.stdout, usual.stdout);
    assert!(!said(&quiet.stderr).contains("the source of"));
    let verbose = carota(&["compile", "cluster.toml", "-v"], folder.path());
    assert_eq!(verbose.stdout, usual.stdout);
    let facts: Vec<String> = lines(&verbose.stderr)
        .into_iter()
        .filter(|l| !lines(&usual.stderr).contains(l))
        .collect();
    assert_eq!(facts.len(), 5, "{facts:?}");
    assert!(facts[0].starts_with("read: 5 nodes with "));
    assert!(
        facts[1].ends_with("3 CAs, 38 leaf certificates"),
        "{facts:?}"
    );
    edit(
        &folder.path().join("plan/README.md"),
        "What could go wrong",
        "x",
    );
    let quiet = carota(&["check", "-q", "cluster.toml"], folder.path());
    assert_eq!(
        said(&quiet.stdout),
        "plan/README.md is not what the inputs give\n"
    );
    assert_eq!(quiet.status.code(), Some(1));
    let both = carota(&["check", "-q", "-v", "cluster.toml"], folder.path());
    assert_eq!(both.status.code(), Some(2));
}

/// Runs a command whose reader has gone before it writes.
fn without_a_reader(arguments: &[&str], folder: &Path) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_carota"))
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    child.wait_with_output().unwrap()
}

#[test]
fn a_closed_pipe_is_no_panic_and_no_error() {
    let folder = clone_of(&example());
    for arguments in [
        &["collect"][..],
        &["--help"],
        &["prove", "cluster.toml", "--format", "json"],
        &["explain", "C001"],
        &["schema", "--of", "plan"],
        &["completions", "bash"],
        &["man"],
    ] {
        let output = without_a_reader(arguments, folder.path());
        assert_eq!(said(&output.stderr), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
    let script = "\"$0\" prove cluster.toml --format json | head -n 1";
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_carota")])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(
        (said(&output.stdout), said(&output.stderr)),
        ("{\n".into(), String::new())
    );
}

#[test]
fn colour_is_for_terminals_and_no_color_is_honoured() {
    let folder = clone_of(&example());
    edit(
        &folder.path().join("cluster.toml"),
        "leaf_keys = \"keep\"",
        "leaf_keys = \"keeps\"",
    );
    let plain = carota(&["check", "cluster.toml"], folder.path());
    assert_eq!(plain.status.code(), Some(2));
    assert!(said(&plain.stderr).contains("keeps") && !said(&plain.stderr).contains('\u{1b}'));
    let on_a_terminal = |no_color: Option<&str>| {
        let mut script = Command::new("script");
        script.args([
            "-qec",
            &format!("{} check cluster.toml", env!("CARGO_BIN_EXE_carota")),
            "/dev/null",
        ]);
        script
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .env("TERM", "xterm-256color");
        script
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR")
            .env_remove("CI");
        if let Some(value) = no_color {
            script.env("NO_COLOR", value);
        }
        said(&script.output().unwrap().stdout)
    };
    assert!(on_a_terminal(None).contains("\u{1b}["));
    let without = on_a_terminal(Some("1"));
    assert!(
        without.contains("keeps") && !without.contains('\u{1b}'),
        "{without:?}"
    );
}
