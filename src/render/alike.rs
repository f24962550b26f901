//! Which decoded changes are the same but for what is a node's own: serial numbers, fingerprints, dates.
//! Of a thousand renewed kubelets a reviewer reads one change, and a table of the others.
//!
//! Knows lines of facts. It must not know why anything changes. A CA is nobody's own: where one comes
//! or goes, changes are only together if they are equal.

use std::collections::{BTreeMap, BTreeSet};

use super::diff::{Section, Subject};
use crate::names::{NodeName, NodePath};

/// Facts that each certificate has to itself.
const OWN: [&str; 5] = ["serial", "SHA-256", "SKI", "not before", "not after"];
/// The reference to a private value, before its hash.
const REFERENCE: &str = "carota-kept:sha256:";

/// One of several changes that are alike.
pub struct Member {
    /// Whose file it is.
    pub nodes: BTreeSet<NodeName>,
    /// The file.
    pub path: NodePath,
    /// What is its own, in the order of the columns.
    pub values: Vec<String>,
}

/// Changes that are alike: the first is shown.
#[derive(Default)]
pub struct Alike {
    /// What each member has to itself: `-serial`, `+SHA-256`.
    pub columns: Vec<String>,
    /// All of them, the one that is shown too; empty where a change stands alone.
    pub members: Vec<Member>,
}

/// Sections of files with those that are alike in one, at the place of the first.
pub fn together(sections: Vec<Section>) -> Vec<Section> {
    let mut out: Vec<Section> = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for mut section in sections {
        let Some((form, columns, member)) = form(&section) else {
            out.push(section);
            continue;
        };
        if let Some(at) = known.get(&form) {
            out[*at].alike.members.push(member);
        } else {
            known.insert(form, out.len());
            section.alike = Alike {
                columns,
                members: vec![member],
            };
            out.push(section);
        }
    }
    for section in &mut out {
        if section.alike.members.len() == 1 {
            section.alike = Alike::default();
        }
    }
    out
}

/// The tables of all changes that are alike; empty where there are none.
pub fn tables(sections: &[Section]) -> String {
    let mut out = String::new();
    for Section { alike, .. } in sections {
        let Some(first) = alike.members.first() else {
            continue;
        };
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&format!("# as {}\n", first.path));
        out.push_str(&format!("node\tfile\t{}\n", alike.columns.join("\t")));
        for member in &alike.members {
            for node in &member.nodes {
                out.push_str(&format!(
                    "{node}\t{}\t{}\n",
                    member.path,
                    member.values.join("\t")
                ));
            }
        }
    }
    out
}

/// A change with what is its own left out, and that by itself. None where it has nothing of its own.
fn form(section: &Section) -> Option<(String, Vec<String>, Member)> {
    let Subject::File(path, nodes) = &section.of else {
        return None;
    };
    let changed = || {
        let lines = section.unified.lines().skip(2);
        lines.filter(|line| line.starts_with(['+', '-']))
    };
    if !section.decoded || changed().any(|line| line.contains("keyCertSign")) {
        return None;
    }
    let own_name = (nodes.len() == 1).then(|| nodes.iter().next()).flatten();
    let mut form = match own_name {
        Some(_) => format!("{}/{}\n", path.folder(), undated(path.file_name())),
        None => format!("{path}\n"),
    };
    let (mut columns, mut values) = (Vec::new(), Vec::new());
    for line in changed() {
        let (sign, fact) = line.split_at(1);
        let fact = fact.trim_start();
        let own = OWN.iter().find_map(|name| {
            let value = fact.strip_prefix(name)?;
            value.starts_with(' ').then(|| (*name, value.trim()))
        });
        if let Some((name, value)) = own {
            columns.push(format!("{sign}{name}"));
            values.push(value.to_owned());
            form.push_str(&format!("{sign}{name}\n"));
        } else if let Some((before, hash)) = fact.split_once(REFERENCE) {
            columns.push(format!("{sign}{}", before.trim_end().trim_end_matches(':')));
            values.push(hash.to_owned());
            form.push_str(&format!("{sign}{before}\n"));
        } else {
            form.push_str(&format!("{line}\n"));
        }
    }
    let member = Member {
        nodes: nodes.clone(),
        path: path.clone(),
        values,
    };
    (!columns.is_empty()).then_some((form, columns, member))
}

/// A file's name without its digits: kubelets date theirs.
fn undated(name: &str) -> String {
    name.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(node: &str, path: &str, unified: &str) -> Section {
        let nodes = BTreeSet::from([NodeName::new(node).unwrap()]);
        Section {
            of: Subject::File(NodePath::new(path).unwrap(), nodes),
            there: (true, true),
            decoded: true,
            unified: format!("--- before\n+++ after\n{unified}"),
            alike: Alike::default(),
        }
    }

    fn renewed(subject: &str, serial: &str) -> String {
        format!(
            " certificate\n-  subject     CN=x\n+  subject     {subject}\n-  serial      01\n+  serial      {serial}\n"
        )
    }

    #[test]
    fn certificates_that_differ_in_what_is_their_own_are_alike() {
        let sections = vec![
            section("a", "/pki/client-2026-01-01.pem", &renewed("CN=x", "0a")),
            section("b", "/pki/client-2026-01-02.pem", &renewed("CN=x", "0b")),
        ];
        let together = together(sections);
        assert_eq!(together.len(), 1);
        assert_eq!(
            tables(&together),
            "# as /pki/client-2026-01-01.pem\n\
             node\tfile\t-serial\t+serial\n\
             a\t/pki/client-2026-01-01.pem\t01\t0a\n\
             b\t/pki/client-2026-01-02.pem\t01\t0b\n"
        );
    }

    #[test]
    fn whoever_gets_another_name_or_another_ca_stands_alone() {
        let path = "/pki/client.pem";
        let sections = vec![
            section("a", path, &renewed("CN=x", "0a")),
            section("b", path, &renewed("CN=admin", "0b")),
            section("c", path, "+  serial      02\n+  usages      keyCertSign\n"),
            section("d", path, "+  serial      03\n+  usages      keyCertSign\n"),
        ];
        let together = together(sections);
        assert_eq!(together.len(), 4);
        assert_eq!(tables(&together), "");
    }
}
