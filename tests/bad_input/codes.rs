//! Diagnostic codes: each is unique, explained, and triggered by a test.

use std::fs;
use std::path::Path;
use std::process::Command;

use carota::diagnostic::Code;

use crate::case::judged;

/// Codes that no input can trigger.
const WITHOUT_TEST: [(Code, &str); 1] = [(
    Code::EditMismatch,
    "a defect in carota itself: an edit that does not give what it should",
)];

fn explain(what: &str) -> std::process::Output {
    Command::new(assert_cmd::cargo::cargo_bin!("carota"))
        .args(["explain", what])
        .output()
        .unwrap()
}

/// The text of every file below a folder whose name ends in `.rs`.
fn sources(folder: &Path) -> String {
    let mut out = String::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            out += &sources(&path);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out += &fs::read_to_string(&path).unwrap();
        }
    }
    out
}

/// Whether `text` names the variant, and not one whose name begins with it.
fn names(text: &str, code: Code) -> bool {
    let variant = format!("Code::{code:?}");
    text.match_indices(&variant).any(|(at, _)| {
        let after = text[at + variant.len()..].chars().next();
        !after.is_some_and(char::is_alphanumeric)
    })
}

#[test]
fn every_code_is_unique_and_its_page_is_printed() {
    let mut seen = std::collections::BTreeSet::new();
    for code in Code::ALL {
        assert!(seen.insert(code.id()), "{code} stands twice");
        let output = explain(code.id());
        assert!(output.status.success());
        let page = String::from_utf8(output.stdout).unwrap();
        assert!(
            page.starts_with(&format!("{code}: {}\n", code.summary())),
            "{page}"
        );
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            squeezed(&page).contains(&squeezed(code.explanation())),
            "{page}"
        );
    }
}

#[test]
fn an_unknown_subject_is_refused() {
    for what in ["C999", "", "\u{1b}[31m", "a\nerror[C001]: b"] {
        judged(&explain(what), Code::UnknownSubject);
    }
}

#[test]
fn every_code_is_used_and_triggered_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = sources(&root.join("src"));
    // This file names codes that have no test.
    let tests = sources(&root.join("tests")).replace(include_str!("codes.rs"), "");
    for code in Code::ALL {
        assert!(names(&source, *code), "nothing uses {code:?}: remove it");
        let excepted = WITHOUT_TEST.iter().any(|(c, _)| c == code);
        assert_eq!(
            names(&tests, *code),
            !excepted,
            "no test triggers {code:?}, or its exception is not needed"
        );
    }
}
