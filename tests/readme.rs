//! The README says what is so: its commands run, and what it quotes stands in the file it names.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{carota, compile, copy_tree, example, inputs_of};

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The fenced blocks of a language, each with the line before it.
fn blocks(language: &str) -> Vec<(String, String)> {
    let text = readme();
    let mut out = Vec::new();
    let mut before = "";
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == format!("```{language}") {
            let body: Vec<&str> = lines.by_ref().take_while(|l| l.trim() != "```").collect();
            out.push((before.to_owned(), body.join("\n")));
        } else {
            before = line;
        }
    }
    out
}

#[test]
fn what_it_quotes_stands_in_the_file_it_names() {
    let mut quoted = blocks("diff");
    assert_eq!(quoted.len(), 2);
    quoted.extend(blocks("toml").into_iter().map(|(before, body)| {
        let file = "<!-- plans/kubeadm-single/cluster.toml -->".to_owned();
        (if before.is_empty() { file } else { before }, body)
    }));
    assert_eq!(quoted.len(), 4);
    for (before, body) in quoted {
        let file = before.trim_start_matches("<!-- ").trim_end_matches(" -->");
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        // Leading blanks differ where a line of the file is indented deeper than the quotation.
        let squeezed = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            squeezed(&text).contains(&squeezed(&body)),
            "{file} does not hold:\n{body}"
        );
    }
}

#[test]
fn its_commands_run() {
    let commands: Vec<String> = blocks("sh")
        .into_iter()
        .map(|(_, body)| body.trim().to_owned())
        .collect();
    assert_eq!(
        commands[0],
        "cargo run --release -- compile plans/kubeadm-ha/cluster.toml"
    );
    assert_eq!(commands[1], "cargo test");
    let folder = tempfile::tempdir().unwrap();
    copy_tree(
        &example("kubeadm-ha").join("snapshot"),
        &folder.path().join("snapshot"),
    );
    copy_tree(
        &example("kubeadm-single").join("snapshot"),
        &folder.path().join("plans/kubeadm-single/snapshot"),
    );
    let (mut run, mut others) = (0, 0);
    for command in commands[2..].iter().flat_map(|block| block.lines()) {
        let command = command.trim().split(" > ").next().unwrap();
        let words: Vec<&str> = command.split_whitespace().collect();
        let output = match words[0] {
            "carota" => carota(&words[1..], folder.path()),
            program => {
                assert!(["cp", "mkdir"].contains(&program), "{command}");
                others += 1;
                let mut other = Command::new(program);
                other
                    .args(&words[1..])
                    .current_dir(folder.path())
                    .output()
                    .unwrap()
            }
        };
        assert!(
            output.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        run += 1;
    }
    assert_eq!((run, others), (20, 4));
    // The bundles hold keys: they are where git does not look, and another compile leaves them there.
    assert_eq!(
        fs::read_to_string(folder.path().join("secrets/.gitignore")).unwrap(),
        "*\n"
    );
    let bundles = fs::read_dir(folder.path().join("secrets/bundles")).unwrap();
    assert_eq!(bundles.count(), 5);
}

#[test]
fn it_says_what_a_newcomer_sees() {
    let folder = inputs_of(&example("kubeadm-ha"));
    let output = compile(folder.path());
    let said = String::from_utf8(output.stderr).unwrap();
    let note = "note: 12 private files could not be written, the keyring is not here:\n";
    assert!(said.contains(note), "{said}");
    let told = readme().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        told.contains("12 private files could not be written, because the keyring is not here")
    );
}

#[test]
fn its_links_lead_somewhere() {
    let text = readme();
    let mut links = 0;
    for part in text.split("](").skip(1) {
        let target = part.split(')').next().unwrap();
        if target.starts_with("https://") {
            assert_eq!(target, carota::phases::PAGE);
            continue;
        }
        assert!(
            Path::new(env!("CARGO_MANIFEST_DIR")).join(target).exists(),
            "{target}"
        );
        links += 1;
    }
    assert!(links >= 4);
}
