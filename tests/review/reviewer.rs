//! A reviewer with ten minutes and no context: what they ask is answered by plan/README.md and the
//! diffs, read as text, and the answers are those of plan.json.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use carota::phases::PAGE;

use crate::common::{examples, table};

/// The tables of a Markdown text: header and rows, in order.
fn tables(text: &str) -> Vec<(Vec<String>, Vec<Vec<String>>)> {
    let cells = |line: &str| -> Vec<String> {
        let line = line.trim().trim_start_matches('|').trim_end_matches('|');
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut out: Vec<(Vec<String>, Vec<Vec<String>>)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match (line.starts_with('|'), inside) {
            (true, false) => out.push((cells(line), Vec::new())),
            (true, true) if !line.starts_with("| ---") => {
                out.last_mut().unwrap().1.push(cells(line));
            }
            _ => {}
        }
        inside = line.starts_with('|');
    }
    out
}

/// What a reviewer has.
struct Review {
    plan: PathBuf,
    readme: String,
    json: Value,
}

impl Review {
    fn all() -> Vec<Review> {
        let of = |example: PathBuf| {
            let plan = example.join("plan");
            Review {
                readme: fs::read_to_string(plan.join("README.md")).unwrap(),
                json: serde_json::from_str(&fs::read_to_string(plan.join("plan.json")).unwrap())
                    .unwrap(),
                plan,
            }
        };
        examples().into_iter().map(of).collect()
    }

    /// Those of clusters as they were collected, with a user outside the nodes.
    fn with_users() -> Vec<Review> {
        let mut all = Review::all();
        all.retain(|review| !review.json["users"].as_array().unwrap().is_empty());
        assert_eq!(all.len(), 2);
        all
    }

    /// The names of its control planes.
    fn control_planes(&self) -> BTreeSet<String> {
        let nodes = self.json["nodes"].as_array().unwrap().iter();
        let planes = nodes.filter(|node| node["role"] == "control-plane");
        planes
            .map(|node| node["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The table that has these columns, each row by its columns' names.
    fn table(&self, columns: &[&str]) -> Vec<BTreeMap<String, String>> {
        let fits = |header: &Vec<String>| columns.iter().all(|c| header.iter().any(|h| h == c));
        let mut found = tables(&self.readme)
            .into_iter()
            .filter(|(header, _)| fits(header));
        let (header, rows) = found
            .next()
            .unwrap_or_else(|| panic!("no table has {columns:?}"));
        assert!(found.next().is_none(), "two tables have {columns:?}");
        rows.into_iter()
            .map(|row| {
                assert_eq!(row.len(), header.len(), "{row:?}");
                header.iter().cloned().zip(row).collect()
            })
            .collect()
    }

    /// The row of a phase, from its number.
    fn phase_row(&self, number: u64) -> BTreeMap<String, String> {
        let start = format!("[{number:02}-");
        let rows = self.table(&["phase", "safe to undo until"]);
        rows.into_iter()
            .find(|row| row["phase"].starts_with(&start))
            .unwrap()
    }

    fn phase(&self, number: u64) -> &Value {
        let phases = self.json["phases"].as_array().unwrap();
        phases.iter().find(|p| p["number"] == number).unwrap()
    }

    /// A file of a phase.
    fn file(&self, number: u64, name: &str) -> String {
        let directory = self.phase(number)["directory"].as_str().unwrap();
        fs::read_to_string(self.plan.join(directory).join(name)).unwrap()
    }

    fn diff(&self, number: u64) -> String {
        self.file(number, "phase.diff")
    }

    /// The table of changes that are alike; empty where there are none.
    fn certificates(&self, number: u64) -> String {
        let directory = self.phase(number)["directory"].as_str().unwrap();
        fs::read_to_string(self.plan.join(directory).join("CERTIFICATES")).unwrap_or_default()
    }

    fn all_nodes(&self) -> BTreeSet<String> {
        let nodes = self.json["nodes"].as_array().unwrap().iter();
        nodes
            .map(|n| n["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The nodes that a cell names.
    fn nodes(&self, cell: &str) -> BTreeSet<String> {
        if cell.starts_with("all ") {
            return self.all_nodes();
        }
        cell.split(", ").map(str::to_owned).collect()
    }
}

fn strings(value: &Value) -> BTreeSet<String> {
    let list = value.as_array().unwrap().iter();
    list.map(|v| v.as_str().unwrap().to_owned()).collect()
}

#[test]
fn which_nodes_restart_what_in_a_phase() {
    for review in Review::all() {
        for number in 0..=20 {
            let row = review.phase_row(number);
            let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for part in row["restarts"].split("; ").filter(|p| !p.is_empty()) {
                let (process, nodes) = part.split_once(" on ").unwrap();
                told.insert(process.to_owned(), review.nodes(nodes));
            }
            let restarts = review.phase(number)["restarts"].as_array().unwrap().iter();
            let known: BTreeMap<String, BTreeSet<String>> = restarts
                .map(|r| {
                    (
                        r["process"].as_str().unwrap().to_owned(),
                        strings(&r["nodes"]),
                    )
                })
                .collect();
            assert_eq!(told, known, "phase {number}");
        }
        let planes = review.control_planes();
        assert_eq!(
            review.nodes(
                review.phase_row(5)["restarts"]
                    .split(" on ")
                    .nth(1)
                    .unwrap()
            ),
            planes
        );
    }
}

#[test]
fn which_ca_signs_in_11_and_which_in_12() {
    for review in Review::all() {
        // The matrix says it in letters, for whatever the cluster signs from then on.
        let rows = review.table(&["connection", "certificate of"]);
        let mut rows = rows.iter();
        let Some(row) = rows.find(|r| r["connection"] == "newly signed client → API server")
        else {
            let readme = review.file(12, "README.md");
            assert!(readme.contains("No controller manager signs with a CA that is rotated."));
            continue;
        };
        // A phase with nothing to do has no column: what held before it holds.
        let letters = |number: u64| {
            let from = |name: &str| name.split('–').next()?.parse::<u64>().ok();
            let columns = row
                .iter()
                .filter_map(|(name, cell)| Some((from(name)?, cell)));
            let before = columns.filter(|(from, _)| *from <= number);
            let (_, cell) = before.max_by_key(|(from, _)| *from).unwrap();
            cell.split('/').next().unwrap().to_owned()
        };
        assert_eq!([letters(11), letters(12), letters(13)], ["O", "ON", "N"]);
        let proof = &review.json["proof"];
        let matrix = proof["matrix"].as_array().unwrap();
        let cells = matrix
            .iter()
            .find(|r| r["kind"] == "newly signed client → API server")
            .unwrap();
        let used = |number: u64| {
            let at = proof["phases"]
                .as_array()
                .unwrap()
                .iter()
                .rposition(|p| p.as_u64().unwrap() <= number)
                .unwrap();
            cells["cells"][at]["parts"][0]["used"].as_str().unwrap()
        };
        assert_eq!([used(11), used(12), used(13)], ["old", "old+new", "new"]);
        // The diff names the file, and that of 01 what is in it.
        let diff = review.diff(12);
        let file = |sign: char| {
            let mut lines = diff.lines().filter(|line| line.starts_with(sign));
            // Where the file is mounted by itself, its volume shows another one.
            let volume = "{name: signer, hostPath: {path: ";
            let value = lines.find_map(|line| {
                let flag = line.split_once("--cluster-signing-cert-file=");
                flag.or(line.split_once(volume))
            });
            let path = value.unwrap().1.split(',').next().unwrap();
            path.trim_end_matches('\\').trim_end().to_owned()
        };
        let (old, new_file) = (file('-'), file('+'));
        assert_eq!(new_file, old.replace("/ca.", "/ca-new."));
        let first = review.diff(1);
        let heading = format!("# {new_file} on ");
        let section = first.split(&heading).nth(1).unwrap();
        let line = section.lines().find(|l| l.contains("SHA-256")).unwrap();
        let new = &review.json["cas"][0]["new"]["sha256"];
        assert_eq!(
            line.split_whitespace().last().unwrap(),
            new.as_str().unwrap()
        );
    }
}

#[test]
fn when_a_node_stops_to_trust_the_old_ca() {
    for review in Review::all() {
        let rows = review.table(&["nodes", "trust only the new CA after"]);
        for node in review.json["nodes"].as_array().unwrap() {
            let name = node["name"].as_str().unwrap();
            let row = rows
                .iter()
                .find(|row| review.nodes(&row["nodes"]).contains(name))
                .unwrap();
            let number: u64 = row["trust only the new CA after"].parse().unwrap();
            assert_eq!(number, node["narrowed_after"], "{name}");
            assert_eq!(
                row["trust old and new after"].parse::<u64>().unwrap(),
                node["widened_after"]
            );
            // The diff of that phase takes the old CA from the node, and no later one gives it back.
            let in_diff = |number| {
                let diff = review.diff(number);
                diff.lines().any(|line| {
                    let on = line.strip_prefix("# /").and_then(|l| l.split_once(" on "));
                    on.is_some_and(|(_, on)| {
                        on.starts_with("all ") || on.split(", ").any(|n| n == name)
                    })
                })
            };
            assert!(in_diff(number), "{name}");
        }
        assert_eq!(
            review.json["nodes"].as_array().unwrap().last().unwrap()["narrowed_after"],
            19
        );
    }
}

#[test]
fn until_when_a_user_may_use_the_old_file() {
    for review in Review::with_users() {
        let users = review.json["users"].as_array().unwrap();
        let rows = review.table(&["user", "gets a file in phases"]);
        assert_eq!(rows.len(), users.len());
        for (row, user) in rows.iter().zip(users) {
            assert_eq!(row["user"], user["name"].as_str().unwrap());
            let until = &row["the file of before the rotation works until"];
            let number: u64 = until.split_whitespace().nth(1).unwrap().parse().unwrap();
            assert_eq!(number, user["first_file_until"]);
            let phases: Vec<u64> = row["gets a file in phases"]
                .split(", ")
                .map(|n| n.parse().unwrap())
                .collect();
            assert_eq!(Value::from(phases), user["handed_out"]);
        }
        // For alice of the examples: served certificates change in 14.
        assert_eq!(users[0]["first_file_until"], 14);
    }
}

#[test]
fn what_people_must_confirm_before_a_phase() {
    for review in Review::all() {
        let rows = review.table(&["who", "confirmed with"]);
        let mut told: BTreeSet<(u64, String)> = BTreeSet::new();
        for row in rows
            .iter()
            .filter(|row| row["confirmed with"].starts_with('`'))
        {
            let number = row["when"]
                .strip_prefix("before ")
                .unwrap()
                .parse()
                .unwrap();
            let name = row["confirmed with"]
                .trim_matches('`')
                .strip_prefix("--ack ")
                .unwrap();
            told.insert((number, name.to_owned()));
        }
        let mut known = BTreeSet::new();
        for phase in review.json["phases"].as_array().unwrap() {
            for ack in phase["acknowledgements"].as_array().unwrap() {
                // The last is about the plan's own backups, and stands in the phase's README.
                if phase["act"] != "finish" {
                    let name = ack["name"].as_str().unwrap().to_owned();
                    known.insert((phase["number"].as_u64().unwrap(), name));
                }
            }
        }
        assert_eq!(told, known);
        assert!(told.contains(&(14, "external-clients".to_owned())));
        let duties = review.json["duties"].as_array().unwrap();
        assert_eq!(rows.len(), duties.len());
    }
}

#[test]
fn what_is_away_meanwhile_and_who_accepted_it() {
    for review in Review::all() {
        let rows = review.table(&["phases", "what", "accepted"]);
        let mut told = BTreeSet::new();
        for row in &rows {
            for number in row["phases"].split(", ") {
                told.insert((number.parse::<u64>().unwrap(), row["what"].clone()));
            }
            let by_name = row["accepted"]
                .split('`')
                .find(|part| part.starts_with("outage:"));
            let named =
                by_name.is_some_and(|name| strings(&review.json["accepted"]).contains(name));
            assert_eq!(named, !row["accepted"].starts_with("short"), "{row:?}");
        }
        let outages = review.json["proof"]["outages"].as_array().unwrap().iter();
        let known: BTreeSet<_> = outages
            .map(|o| {
                (
                    o["phase"].as_u64().unwrap(),
                    o["scope"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        assert_eq!(told, known);
        assert!(!known.is_empty());
    }
}

#[test]
fn until_when_each_phase_can_be_undone() {
    for review in Review::all() {
        for number in 0..=20 {
            let until = review.phase_row(number)["safe to undo until"].clone();
            let phase = review.phase(number);
            let known = match phase["reversible"].as_str().unwrap() {
                "until-phase" => {
                    format!("{:02} begins", phase["reversible_until"].as_u64().unwrap())
                }
                "always" => "any time".to_owned(),
                "never" => "not reversible".to_owned(),
                _ => "changes nothing".to_owned(),
            };
            assert_eq!(until, known, "phase {number}");
        }
        assert_eq!(review.phase_row(12)["safe to undo until"], "13 begins");
    }
}

#[test]
fn how_long_it_takes_and_what_that_is_made_of() {
    for review in Review::all() {
        let minutes = |text: &str| text.strip_suffix(" min").map(|n| n.parse::<u64>().unwrap());
        let mut total = 0;
        for number in 0..=20 {
            let seconds = review.phase(number)["expected_seconds"].as_u64().unwrap();
            total += seconds;
            let told = review.phase_row(number)["time"].clone();
            let wanted = if seconds > 20 {
                Some(seconds.div_ceil(60))
            } else {
                None
            };
            assert_eq!(minutes(&told), wanted, "phase {number}: {told}");
        }
        assert_eq!(review.json["expected_time"]["seconds"], total);
        let said = format!(
            "{} min in all, which is less than\nthe column adds up to",
            total.div_ceil(60)
        );
        assert!(review.readme.contains(&said), "{said}");
        let rows = review.table(&["what", "seconds", "from"]);
        let assumed = review.json["expected_time"]["assumptions"]
            .as_array()
            .unwrap();
        assert_eq!(rows.len(), assumed.len());
        for (row, known) in rows.iter().zip(assumed) {
            assert_eq!(row["seconds"].parse::<u64>().unwrap(), known["seconds"]);
            assert!(!row["from"].is_empty());
        }
        // API servers one after another.
        let servers = review.control_planes().len();
        assert_eq!(review.phase(5)["expected_seconds"], servers * 56);
    }
}

#[test]
fn which_phases_have_nothing_to_do() {
    for review in Review::all() {
        for number in 0..=20 {
            let idle = review.phase_row(number)["nodes"] == "nothing to do";
            assert_eq!(
                review.phase(number)["nothing_to_do"],
                idle,
                "phase {number}"
            );
        }
    }
}

#[test]
fn which_certificates_are_the_new_cas_and_until_when_they_are_valid() {
    for review in Review::with_users() {
        let rows = review.table(&["CA", "key"]);
        assert_eq!(rows.len(), review.json["cas"].as_array().unwrap().len());
        for ca in review.json["cas"].as_array().unwrap() {
            let name = ca["name"].as_str().unwrap();
            let row = rows.iter().find(|row| row["CA"] == name).unwrap();
            assert_eq!(row["new"], ca["new"]["subject"].as_str().unwrap());
            let hash = ca["new"]["sha256"].as_str().unwrap();
            assert!(review.readme.contains(&format!("- {name}: `{hash}`\n")));
        }
        // 2036-11-22T00:00:00Z; the column `until` of the new CA is the second of its name.
        assert_eq!(review.json["cas"][0]["new"]["not_after"], 2_110_924_800_u64);
        assert!(
            review
                .readme
                .contains("| CN=kubernetes-ca-2026-11-25 | 2036-11-22T00:00:00Z |")
        );
    }
}

#[test]
fn which_files_a_phase_changes_on_which_nodes() {
    for review in Review::all() {
        for number in [5, 10, 12, 13, 14, 18, 19] {
            let mut files = BTreeSet::new();
            for line in review.diff(number).lines() {
                let Some((path, on)) = line.strip_prefix("# ").and_then(|l| l.split_once(" on "))
                else {
                    continue;
                };
                if path.starts_with('/') {
                    let nodes = review.nodes(on.trim_end_matches(" nodes"));
                    files.extend(nodes.into_iter().map(|node| (node, path.to_owned())));
                }
            }
            // Of changes that are alike one is shown; all of them are listed.
            let rows = review.certificates(number);
            let rows = rows.lines().filter_map(|line| {
                let mut columns = line.split('\t');
                let (node, path) = (columns.next()?, columns.next()?);
                (node != "node").then(|| (node.to_owned(), path.to_owned()))
            });
            files.extend(rows);
            let files = files.len();
            let told: usize = review.phase_row(number)["files"].parse().unwrap();
            assert_eq!(
                Value::from(told),
                review.phase(number)["files"],
                "phase {number}"
            );
            assert_eq!(files, told, "phase {number}");
        }
    }
}

#[test]
fn the_diagram_has_every_phase_and_every_gate_and_ends_its_labels() {
    for review in Review::all() {
        let fenced = review.readme.split("```mermaid\n").nth(1).unwrap();
        let diagram = fenced.split("```").next().unwrap();
        assert!(diagram.starts_with("flowchart LR\n"));
        for phase in review.json["phases"].as_array().unwrap() {
            let number = phase["number"].as_u64().unwrap();
            let name = format!("<br/>{number:02} {}", phase["name"].as_str().unwrap());
            assert_eq!(diagram.matches(&name).count(), 1, "{name}");
            for ack in phase["acknowledgements"].as_array().unwrap() {
                // Whoever confirms does it before the box that begins with the phase.
                let gate = diagram.lines().find(|l| {
                    l.contains("people confirm") && l.contains(ack["name"].as_str().unwrap())
                });
                let id = gate.unwrap().trim().split('{').next().unwrap();
                let boxed = diagram
                    .lines()
                    .find(|l| l.trim().starts_with(&id.replace('c', "r")));
                assert!(boxed.unwrap().contains(&format!("</b>{name}")), "{ack}");
                assert!(diagram.contains(&format!("\n  {id} --> {}\n", id.replace('c', "r"))));
            }
        }
        assert_eq!(diagram.matches("verified everywhere").count(), 4);
        for line in diagram.lines() {
            assert_eq!(line.matches('"').count() % 2, 0, "{line}");
        }
    }
}

#[test]
fn the_readme_has_what_a_reviewer_needs_in_the_order_in_which_they_need_it() {
    for review in Review::all() {
        let headings: Vec<&str> = review
            .readme
            .lines()
            .filter(|l| l.starts_with("## "))
            .collect();
        assert_eq!(
            headings,
            [
                "## What could go wrong, and what is accepted",
                "## Phases",
                "## Trust, phase by phase",
                "## Who must do something",
                "## What is approved",
                "## How to run it",
                "## What the scripts need",
            ]
        );
        for link in review.readme.split("](").skip(1) {
            let target = link.split(')').next().unwrap();
            match target.strip_prefix('#') {
                Some(anchor) => {
                    let slug = |h: &&str| {
                        h[3..].to_lowercase().replace(' ', "-").replace(',', "") == anchor
                    };
                    assert!(headings.iter().any(slug), "{target}");
                }
                None if target.starts_with("https://") => assert_eq!(target, PAGE),
                None => assert!(review.plan.join(target).exists(), "{target}"),
            }
        }
    }
}

/// Whether one side, nodes or cluster, has work in a phase, as the scripts look for it.
fn has_work(phase: &Path, on_nodes: bool) -> bool {
    if on_nodes {
        return !table(&phase.join("CHANGES")).is_empty();
    }
    let operations = table(&phase.join("CLUSTER"));
    operations
        .iter()
        .any(|row| row[0] != "note" && row[0] != "ack")
}

#[test]
fn the_commands_of_a_phase_confirm_what_its_scripts_ask_for() {
    for review in Review::all() {
        let folders = crate::common::phases(&review.plan);
        for (number, folder) in folders.iter().enumerate() {
            let readme = fs::read_to_string(folder.join("README.md")).unwrap();
            let how = readme.split("## How\n").nth(1).unwrap_or_default();
            let how = how.split("\n## ").next().unwrap();
            let order = fs::read_to_string(folder.join("PHASE")).unwrap();
            let order = order
                .lines()
                .find_map(|l| l.strip_prefix("order\t"))
                .unwrap();
            let mut people = Vec::new();
            if folder.join("CLUSTER").is_file() {
                let rows = table(&folder.join("CLUSTER"));
                people.extend(
                    rows.into_iter()
                        .filter(|row| row[0] == "ack")
                        .map(|row| row[1].clone()),
                );
            }
            let mut commands = Vec::new();
            for (on_nodes, option) in [(false, " --cluster"), (true, "")] {
                if !has_work(folder, on_nodes) {
                    continue;
                }
                // The other side of this phase counts where it comes first.
                let (mine, other) = if on_nodes {
                    ("node", "cluster")
                } else {
                    ("cluster", "node")
                };
                let own = order.starts_with(other) && order.ends_with(mine);
                let earlier = &folders[..number + usize::from(own)];
                let asked = earlier.iter().rev().find(|f| has_work(f, !on_nodes));
                let asked = asked.map(|f| f.file_name().unwrap().to_str().unwrap().to_owned());
                let acks: String = asked
                    .iter()
                    .chain(&people)
                    .map(|name| format!(" --ack {name}"))
                    .collect();
                if on_nodes {
                    commands.push(format!("sh apply.sh --dry-run{acks}"));
                }
                commands.push(format!("sh apply.sh{option}{acks}"));
                commands.push(format!("sh verify.sh{option}"));
                for name in asked.iter().chain(&people) {
                    assert!(
                        readme.contains(&format!("| `{name}` | ")),
                        "{name}: {readme}"
                    );
                }
            }
            commands.sort();
            let mut told: Vec<&str> = how.lines().filter(|l| l.starts_with("sh ")).collect();
            told.sort_unstable();
            assert_eq!(told, commands, "{}", folder.display());
        }
        // What people confirm is asked on each node, not in the cluster, where only nodes have work.
        let readme = review.file(14, "README.md");
        let on_nodes = "(asked on each node).";
        assert_eq!(
            readme.contains(on_nodes),
            !has_work(&folders[14], false),
            "{readme}"
        );
        assert!(!readme.contains("Acknowledgements (in the cluster"));
    }
}

#[test]
fn what_a_diff_shows_is_named_in_the_readme_beside_it() {
    let mut seen = [0; 3];
    for review in Review::all() {
        for number in 0..=20 {
            let (readme, diff) = (review.file(number, "README.md"), review.diff(number));
            // Objects that API servers write by themselves.
            for pair in diff.lines().collect::<Vec<_>>().windows(2) {
                if pair[1] == "# published by API servers" {
                    let object = pair[0].strip_prefix("# ").unwrap();
                    assert!(
                        readme.contains(&format!("| `{object}` | ")),
                        "{number}: {readme}"
                    );
                    assert!(!readme.contains("| In the cluster | nothing |"), "{number}");
                    seen[0] += 1;
                }
            }
            // The annotation by which static pods restart.
            let annotated = diff
                .lines()
                .any(|line| line.starts_with(['+', '-']) && line.contains("ca-rotation/inputs"));
            assert_eq!(
                readme.contains("`ca-rotation/inputs`"),
                annotated,
                "{number}: {readme}"
            );
            seen[1] += usize::from(annotated);
            // Pods that no roll reaches.
            let folder = review
                .plan
                .join(review.phase(number)["directory"].as_str().unwrap());
            for row in table(&folder.join("CLUSTER"))
                .iter()
                .filter(|row| row[0] == "gate-pods")
            {
                let row = format!("| `{}/{}/{}` | {} |\n", row[1], row[2], row[3], row[4]);
                assert!(readme.contains(&row), "{number}: {row}{readme}");
                seen[2] += 1;
            }
        }
    }
    assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
}

#[test]
fn what_the_matrix_leaves_open_is_said() {
    for review in Review::all() {
        // Users are not asked whether they have taken the last file.
        for user in review.json["users"].as_array().unwrap() {
            let name = format!("kubeconfig of {}", user["name"].as_str().unwrap());
            assert!(review.readme.contains(&name), "{name}");
        }
        let header = review
            .readme
            .lines()
            .find(|l| l.starts_with("| connection |"))
            .unwrap();
        for phase in review.json["phases"].as_array().unwrap() {
            let number = format!("{:02}", phase["number"].as_u64().unwrap());
            let idle = phase["steps"].as_array().unwrap().is_empty() && number != "00";
            let sentence = review.readme.split("there is nothing to do: ").nth(1);
            let listed = sentence.is_some_and(|s| s.lines().next().unwrap().contains(&number));
            assert_eq!(listed, idle, "{number}: {header}");
        }
    }
}
