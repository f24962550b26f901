//! What report.html promises, asked of a real browser: it says what the plan says, needs no script
//! and no network, can be read in any width and light, and is driven by keyboard.

#[path = "../common/mod.rs"]
mod common;

mod browser;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use browser::Browser;
use common::{compile, edit, example, examples, inputs_of, phases, record_anew};

const PAGE: &str = include_str!("page.js");

/// The committed plan of the newer example.
fn plan() -> PathBuf {
    example("kubeadm-ha").join("plan")
}

fn opened(report: &Path) -> Browser {
    let mut browser = Browser::start();
    browser.open(report);
    browser.eval(PAGE);
    browser
}

fn texts(value: &Value) -> Vec<&str> {
    let items = value.as_array().unwrap().iter();
    items.map(|v| v.as_str().unwrap()).collect()
}

/// The sections of a phase.diff: what stands above each, and its lines without the diff's heading.
fn sections(phase: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(phase.join("phase.diff")).unwrap();
    let mut out: Vec<(String, String)> = Vec::new();
    let mut heading = 0;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("# ") {
            match out.last_mut() {
                // Objects have a second line, on who makes the change.
                Some((above, body)) if body.is_empty() => {
                    above.push('\n');
                    above.push_str(title);
                }
                _ => out.push((title.to_owned(), String::new())),
            }
            heading = 0;
            continue;
        }
        let line = line.strip_prefix("| ").unwrap_or(line);
        heading += 1;
        if heading > 2
            && let Some((_, body)) = out.last_mut()
        {
            body.push_str(line);
            body.push('\n');
        }
    }
    for (_, body) in &mut out {
        body.truncate(body.trim_end_matches('\n').len());
    }
    out
}

#[test]
fn it_is_whole_without_script_and_network() {
    let mut browser = Browser::start();
    browser.call(
        "Emulation.setScriptExecutionDisabled",
        &json!({"value": true}),
    );
    browser.open(&plan().join("report.html"));
    browser.eval(PAGE);
    // What only a script would move is not there.
    assert_eq!(
        browser.eval("document.querySelector('form').checkVisibility()"),
        false
    );
    let diffs = browser.eval("probe.diffs()");
    let mut compared = 0;
    for (phase, shown) in phases(&plan()).iter().zip(diffs.as_array().unwrap()) {
        let expected = sections(phase);
        let shown = texts(shown);
        assert_eq!(shown.len(), expected.len(), "{}", phase.display());
        for (shown, (above, body)) in shown.iter().zip(&expected) {
            assert_eq!(
                shown.trim_matches('\n'),
                body,
                "{}: {above}",
                phase.display()
            );
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
    // A change opens by keyboard, the browser's own doing.
    browser.eval("document.querySelector('details:not([open]) > summary').focus()");
    browser.press("Enter");
    assert_eq!(
        browser.eval("document.activeElement.parentElement.open"),
        true
    );
    assert_eq!(browser.requests().len(), 1, "{:?}", browser.requests());
    assert!(
        browser.complaints().is_empty(),
        "{:?}",
        browser.complaints()
    );
}

#[test]
fn it_says_what_plan_json_says() {
    let json: Value =
        serde_json::from_str(&fs::read_to_string(plan().join("plan.json")).unwrap()).unwrap();
    let mut browser = opened(&plan().join("report.html"));
    let body = browser.eval("document.body.textContent");
    let body = body.as_str().unwrap();
    for phase in json["phases"].as_array().unwrap() {
        let id = format!("phase-{:02}", phase["number"].as_u64().unwrap());
        let about = browser.eval(&format!(
            "document.querySelector('#{id} .about').textContent"
        ));
        let about = about.as_str().unwrap().to_lowercase();
        for words in [&phase["title"], &phase["act"], &phase["way_back"]] {
            let words = words.as_str().unwrap().to_lowercase().replace('`', "");
            assert!(about.contains(&words), "{id} does not say {words}");
        }
        for restart in phase["restarts"].as_array().unwrap() {
            let process = restart["process"].as_str().unwrap();
            assert!(about.contains(&format!("{process} on ")), "{id}: {process}");
        }
        for ack in phase["acknowledgements"].as_array().unwrap() {
            let name = ack["name"].as_str().unwrap();
            assert!(about.contains(&format!("--ack {name}")), "{id}: {name}");
        }
    }
    for ca in json["cas"].as_array().unwrap() {
        for side in ["old", "new"] {
            assert!(body.contains(ca[side]["sha256"].as_str().unwrap()));
        }
    }
    for text in texts(&json["proof"]["weaknesses"])
        .iter()
        .chain(&texts(&json["stale_sources"]))
    {
        assert!(body.contains(&text[1..]), "{text}");
    }
    for outage in json["proof"]["outages"].as_array().unwrap() {
        let scope = &outage["scope"].as_str().unwrap()[1..];
        let row = browser.eval(&format!(
            "[...document.querySelectorAll('#risks tbody tr')].find((r) => r.textContent.includes({})).textContent",
            json!(scope)
        ));
        let number = format!("{:02}", outage["phase"].as_u64().unwrap());
        assert!(row.as_str().unwrap().contains(&number), "{scope}");
    }
    let rows = browser.eval(
        "[...document.querySelectorAll('.leaves tbody tr')].map((r) => [...r.cells].map((c) => c.textContent))",
    );
    let rows = rows.as_array().unwrap();
    let leaves = json["leaves"].as_array().unwrap();
    assert_eq!(rows.len(), leaves.len());
    for leaf in leaves {
        let (subject, issuer) = (
            &leaf["certificate"]["subject"],
            &leaf["certificate"]["issuer"],
        );
        let row = rows.iter().find(|row| row[0] == *subject).unwrap();
        assert!(row[3].as_str().unwrap().ends_with(issuer.as_str().unwrap()));
        assert_eq!(row[5], leaf["key"]);
    }
    trust_is_drawn_as_proven(&json, &browser.eval("probe.trust()"));
}

/// Each cell of the proof's matrix against the picture, by the words for those who do not see it.
fn trust_is_drawn_as_proven(json: &Value, drawn: &Value) {
    let mut edges = drawn.as_array().unwrap().iter();
    let mut rows: Vec<&Value> = Vec::new();
    for row in json["proof"]["matrix"].as_array().unwrap() {
        if rows.is_empty() {
            let edge = edges.next().unwrap();
            assert_eq!(edge["kind"], row["kind"]);
            rows = edge["rows"].as_array().unwrap().iter().collect();
        }
        let verifier = if row["verified"] == "server" {
            "client"
        } else {
            "server"
        };
        for (label, side) in [
            (
                format!("{} shows", row["verified"].as_str().unwrap()),
                "used",
            ),
            (format!("{verifier} trusts"), "trusted"),
        ] {
            let bar = rows.remove(0);
            assert_eq!(bar["label"], label);
            let drawn = texts(&bar["cells"]);
            let proven = row["cells"].as_array().unwrap();
            assert_eq!(drawn.len(), proven.len());
            for (drawn, proven) in drawn.iter().zip(proven) {
                let words: BTreeSet<&str> = proven["parts"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .flat_map(|part| part[side].as_str().unwrap().split(['+', '|']))
                    .collect();
                for word in ["old", "both", "new"] {
                    let said = drawn.split([' ', ',', ':']).any(|w| w == word);
                    assert_eq!(
                        said,
                        words.contains(word),
                        "{} {label}: {drawn}",
                        row["kind"]
                    );
                }
            }
        }
    }
    assert!(rows.is_empty() && edges.next().is_none());
}

#[test]
fn it_can_be_read_in_any_width_and_light() {
    let mut browser = opened(&plan().join("report.html"));
    browser.eval("probe.openAll()");
    for scheme in ["light", "dark"] {
        for width in [360, 768, 1440] {
            browser.look(width, scheme);
            assert_eq!(browser.eval("innerWidth"), width);
            assert_eq!(browser.eval("probe.overflow()"), json!([]), "at {width} px");
            let contrast = browser.eval("probe.contrast()");
            assert!(contrast["pairs"].as_u64().unwrap() > 2000, "{contrast}");
            assert_eq!(contrast["low"], json!([]), "{scheme} at {width} px");
        }
    }
    // Both judges can say no.
    browser.look(1440, "light");
    browser.eval("document.querySelector('h1').style.width = '3000px'");
    browser.eval("document.querySelector('h2').style.color = '#888'");
    let overflow = browser.eval("probe.overflow()");
    assert!(texts(&overflow)[1].starts_with("h1"), "{overflow}");
    let contrast = browser.eval("probe.contrast()");
    let low = texts(&contrast["low"]);
    assert_eq!(low.len(), 1, "{low:?}");
    assert!(low[0].starts_with("3.") && low[0].contains("h2"), "{low:?}");
}

#[test]
fn it_is_driven_by_keyboard() {
    let mut browser = opened(&plan().join("report.html"));
    browser.look(1440, "light");
    browser.press("Tab");
    let first = browser.eval("probe.focus()");
    assert!(
        first["name"].as_str().unwrap().starts_with("a.skip"),
        "{first}"
    );
    assert_eq!(first["visible"], true, "{first}");
    browser.press("Enter");
    assert_eq!(browser.eval("document.activeElement.id"), "main");
    let (mut last, mut seen) = (0, 0);
    let mut names = Vec::new();
    loop {
        browser.press("Tab");
        let focus = browser.eval("probe.focus()");
        let name = focus["name"].as_str().unwrap().to_owned();
        let at = focus["at"].as_u64().unwrap();
        assert!(at > last, "{name} comes after what stands behind it");
        assert_eq!(focus["visible"], true, "{name}");
        (last, seen) = (at, seen + 1);
        let is_summary = name.starts_with("summary");
        names.push(name);
        if is_summary {
            break;
        }
        assert!(seen < 120, "{names:?}");
    }
    for part in [
        "a.",
        "div.scroll",
        "input.",
        "select.",
        "button.",
        "summary.",
    ] {
        assert!(
            names.iter().any(|n| n.starts_with(part)),
            "{part} in {names:?}"
        );
    }
}

#[test]
fn search_and_filter_show_what_is_on_a_node() {
    let mut browser = opened(&plan().join("report.html"));
    let all = browser.eval("probe.choose('')");
    assert_eq!(all["said"], "");
    for node in ["cp-1", "worker-2"] {
        let mut changes = 0;
        let mut shown = Vec::new();
        for phase in phases(&plan()) {
            let on_it = sections(&phase)
                .iter()
                .filter(|(above, _)| {
                    let named = |line: &str| {
                        line.split_once(" on ").is_some_and(|(_, nodes)| {
                            let nodes = nodes.split(", each with").next().unwrap();
                            nodes == "all 5 nodes" || nodes.split(", ").any(|n| n == node)
                        })
                    };
                    above.lines().any(named)
                })
                .count();
            if on_it > 0 {
                changes += on_it;
                let number = &phase.file_name().unwrap().to_str().unwrap()[..2];
                shown.push(format!("phase-{number}"));
            }
        }
        let chosen = browser.eval(&format!("probe.choose('node:{node}')"));
        assert_eq!(chosen["changes"], changes, "{node}");
        assert_eq!(chosen["open"], changes, "{node}");
        assert_eq!(chosen["phases"], json!(shown), "{node}");
        assert!(chosen["certificates"].as_u64().unwrap() > 0);
        assert!(chosen["certificates"].as_u64() < all["certificates"].as_u64());
        let said = chosen["said"].as_str().unwrap();
        assert!(
            said.contains(&format!(
                "{changes} changes in {} of 21 phases",
                shown.len()
            )),
            "{said}"
        );
    }
    // Words narrow it further; nothing is found where nothing is.
    browser.eval("document.querySelector('#words').focus()");
    browser.call("Input.insertText", &json!({"text": "KUBELET.conf issuer"}));
    let settled =
        "new Promise((done) => setTimeout(() => done(probe.choose('node:worker-2')), 300))";
    let found = browser.eval(settled);
    let narrowed = found["changes"].as_u64().unwrap();
    assert!(
        narrowed > 0 && found["phases"].as_array().unwrap().len() >= 2,
        "{found}"
    );
    assert_eq!(browser.eval("CSS.highlights.get('found').size > 0"), true);
    browser.call("Input.insertText", &json!({"text": " no-such-word"}));
    let nothing = browser.eval(settled);
    assert_eq!(
        (&nothing["changes"], &nothing["phases"]),
        (&json!(0), &json!([]))
    );
    // Clear brings all of it back as it was.
    browser.eval("document.querySelector('button[type=reset]').click()");
    let again = browser.eval(&settled.replace("node:worker-2", ""));
    assert_eq!(again, all);
    assert!(
        browser.complaints().is_empty(),
        "{:?}",
        browser.complaints()
    );
}

#[test]
fn on_paper_every_change_stands_open() {
    let mut browser = opened(&plan().join("report.html"));
    // Without the script's help, as where there is none; once the page is laid out anew.
    browser.call("Emulation.setEmulatedMedia", &json!({"media": "print"}));
    let closed = browser.eval(
        "new Promise((done) => setTimeout(() => done([...document.querySelectorAll('details:not([open]) .diff')].filter((d) => d.checkVisibility({contentVisibilityAuto: true}) && d.getBoundingClientRect().height > 10).length), 300))",
    );
    assert!(closed.as_u64().unwrap() > 50, "{closed}");
    assert_eq!(
        browser.eval("document.querySelector('nav').checkVisibility()"),
        false
    );
    let pdf = browser.call("Page.printToPDF", &json!({"printBackground": true}));
    let pdf = BASE64.decode(pdf["data"].as_str().unwrap()).unwrap();
    assert!(pdf.starts_with(b"%PDF-"));
    assert!(
        browser.complaints().is_empty(),
        "{:?}",
        browser.complaints()
    );
}

#[test]
fn what_a_file_holds_stays_text() {
    let folder = inputs_of(&example("kubeadm-ha"));
    let snapshot = folder.path().join("snapshot");
    let manifest = "/etc/kubernetes/manifests/kube-apiserver.yaml";
    let hostile =
        "</code></pre></details><script>owned=1</script><img src=x onerror=owned=1> &lt; \u{202e}";
    edit(
        &snapshot.join("nodes/cp-1").join(&manifest[1..]),
        "    - --client-ca-file=",
        &format!("    # {hostile}\n    - --client-ca-file="),
    );
    record_anew(&snapshot, "cp-1", manifest);
    compile(folder.path());
    let mut browser = opened(&folder.path().join("plan/report.html"));
    let diffs = browser.eval("probe.diffs()");
    let shown = hostile.replace('\u{202e}', "⟨U+202E⟩");
    let diff = texts(&diffs[5]).join("");
    assert!(diff.contains(&format!("     # {shown}\n")), "{diff}");
    assert_eq!(
        browser.eval("document.querySelectorAll('img, script:not(:last-child)').length"),
        0
    );
    assert_eq!(browser.eval("document.scripts.length"), 1);
    assert_eq!(browser.eval("typeof owned"), "undefined");
    assert!(
        browser.complaints().is_empty(),
        "{:?}",
        browser.complaints()
    );
    // The page's own policy would have stopped it too, and a complaint would have been seen.
    browser.eval(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'owned = 1'}))",
    );
    assert_eq!(browser.eval("typeof owned"), "undefined");
    assert!(!browser.complaints().is_empty());
}

#[test]
fn it_stays_small() {
    for example in examples() {
        let size = fs::metadata(example.join("plan/report.html"))
            .unwrap()
            .len();
        assert!(size < 500_000, "{}: {size} bytes", example.display());
    }
}
