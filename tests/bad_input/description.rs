//! cluster.toml itself.

use carota::diagnostic::Code;

use crate::case::{Case, judged};

const TOML: &str = "cluster.toml";

/// Names that must never reach a path or a script, as TOML strings.
const HOSTILE: [&str; 8] = [
    r#""../x""#,
    r#""$(id)""#,
    r#""a\nerror[C001]: b""#,
    r#""a'b""#,
    r#""a\"b""#,
    r#""a\u0007b""#,
    r#""\u001b[31mred""#,
    r#""""#,
];

fn hostile() -> Vec<String> {
    let long = format!("\"{}\"", "a".repeat(300));
    let names = HOSTILE.iter().map(|name| (*name).to_owned());
    names.chain([long]).collect()
}

/// Every hostile name in the place of `setting = old`.
fn refuses_hostile(setting: &str, old: &str, code: Code) {
    for name in hostile() {
        let new = format!("{setting} = {name}");
        Case::description()
            .edit(TOML, &format!("{setting} = {old}"), &new)
            .refused(code, TOML, &format!("{name}\n"));
    }
}

#[test]
fn a_misspelt_key_is_refused_with_the_right_one() {
    for (from, to, at, hint) in [
        (
            "endpoint =",
            "endpont =",
            "endpont",
            "did you mean `endpoint`?",
        ),
        ("window =", "windw =", "windw", "did you mean `window`?"),
        ("[[node]]", "[[nodes]]", "nodes", "did you mean `node`?"),
        (
            "validity = \"10y\"",
            "valdity = \"10y\"",
            "valdity",
            "did you mean `validity`?",
        ),
        (
            "role = \"worker\"",
            "role = \"wroker\"",
            "\"wroker\"",
            "did you mean `worker`?",
        ),
        (
            "mode = \"bundle\"",
            "mode = \"both\"",
            "\"both\"",
            "`bundle` or `replace`",
        ),
        (
            "snapshot =",
            "colour =",
            "colour",
            "`name`, `kubernetes`, `endpoint`, `snapshot`",
        ),
    ] {
        let said = Case::description()
            .edit(TOML, from, to)
            .refused(Code::TomlSyntax, TOML, at);
        assert!(said.contains(hint), "{said}");
    }
}

#[test]
fn a_key_that_is_missing_or_given_twice_is_refused() {
    Case::description()
        .edit(TOML, "window = \"14d\"\n", "")
        .refused_with(Code::TomlSyntax);
    Case::description()
        .edit(
            TOML,
            "window = \"14d\"\n",
            "window = \"14d\"\nwindow = \"2d\"\n",
        )
        .refused(Code::TomlSyntax, TOML, "window = \"2d\"");
}

#[test]
fn values_out_of_their_form_are_refused_at_their_place() {
    for (from, to, code) in [
        ("\"14d\"", "\"14 days\"", Code::TomlValue),
        ("\"14d\"", "\"0d\"", Code::TomlValue),
        (
            "2026-11-25T00:00:00Z",
            "2026-11-25 # no time",
            Code::TomlValue,
        ),
        ("\"ecdsa-p256\"", "\"rsa-1024\"", Code::TomlValue),
        ("\"1.34.4\"", "\"latest\"", Code::TomlValue),
        (
            "\"https://k8s-api.lab:6443\"",
            "\"http://k8s-api.lab\"",
            Code::TomlValue,
        ),
        (
            "snapshot = \"snapshot\"",
            "snapshot = \"../other\"",
            Code::TomlValue,
        ),
        (
            "\"CN=kubernetes-ca-2026-11-25\"",
            "\"kubernetes\"",
            Code::TomlValue,
        ),
        (
            "cas = [\"cluster\", ",
            "cas = [\"clutser\", ",
            Code::TomlValue,
        ),
        (
            "leaf_validity = \"1y\"",
            "leaf_validity = \"1d\"",
            Code::TomlValue,
        ),
        ("validity = \"10y\"", "validity = \"1d\"", Code::CaExpired),
    ] {
        let needle = to.split(" = ").last().unwrap();
        let needle = needle.strip_prefix('[').unwrap_or(needle);
        Case::description()
            .edit(TOML, from, to)
            .refused(code, TOML, needle.trim_end_matches(", "));
    }
}

#[test]
fn a_node_declared_twice_is_refused_at_the_second_place() {
    for again in ["cp-1", "cp-[0-1]"] {
        let case = Case::description().append(
            TOML,
            &format!("[[node]]\nname = \"{again}\" # again\nrole = \"control-plane\"\n"),
        );
        case.refused(Code::DuplicateNode, TOML, &format!("\"{again}\" # again"));
    }
}

#[test]
fn hostile_names_of_nodes_are_refused() {
    refuses_hostile("name", "\"cp-2\"", Code::HostileName);
}

#[test]
fn a_hostile_name_of_the_cluster_is_refused() {
    refuses_hostile("name", "\"lab\"", Code::HostileName);
}

#[test]
fn hostile_rotation_ids_are_refused() {
    refuses_hostile("id", "\"2026-11-25\"", Code::TomlValue);
}

#[test]
fn hostile_names_of_trust_consumers_are_refused() {
    refuses_hostile(
        "object",
        "\"configmaps/shop/gateway-trust\"",
        Code::HostileName,
    );
    refuses_hostile("key", "\"ca.crt\"", Code::HostileName);
    for part in ["../x", "$(id)", "a'b", ""] {
        let new = format!("object = \"configmaps/shop/{part}\"");
        Case::description()
            .edit(TOML, "object = \"configmaps/shop/gateway-trust\"", &new)
            .refused(Code::HostileName, TOML, &new["object = ".len()..]);
    }
    for path in ["relative", "/a/../b", "/a//b", r"/a\nb", r"/a\u0007", ""] {
        let consumer = format!("[[trust_consumer]]\nfile = \"{path}\"\nmode = \"bundle\"\n");
        Case::description().append(TOML, &consumer).refused(
            Code::HostileName,
            TOML,
            &format!("\"{path}\"\nmode"),
        );
    }
}

#[test]
fn a_cluster_toml_that_is_no_text_is_refused() {
    Case::description()
        .put(TOML, "")
        .refused(Code::TomlSyntax, TOML, "");
    Case::description()
        .put(TOML, b"\x00\x01\x02")
        .refused_on_line(Code::TomlSyntax, TOML, "\u{1}");
    Case::description()
        .put_huge(TOML)
        .refused(Code::FileUnreadable, TOML, "");
    let said = Case::description()
        .remove(TOML)
        .refused_with(Code::FileUnreadable);
    assert!(said.contains("there is no such file"), "{said}");
    let case = Case::description();
    let mut bytes = case.text(TOML).into_bytes();
    bytes.extend(b"# caf\xe9\n");
    case.put(TOML, bytes)
        .refused(Code::FileUnreadable, TOML, "\u{fffd}");
}

#[test]
fn the_line_of_cluster_toml_is_shown_and_coloured_on_a_terminal_only() {
    let case = Case::description().edit(TOML, "role = \"worker\"", "role = \"wroker\"");
    let said = case.refused_with(Code::TomlSyntax);
    let shown = said.lines().any(|l| l.ends_with(" | role = \"wroker\""));
    let marked = said.lines().any(|l| l.ends_with(" |        ^^^^^^^^"));
    assert!(shown && marked, "{said}");
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("carota"));
    let forced = command
        .args(["compile", "cluster.toml"])
        .current_dir(case.path("."))
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    assert!(
        String::from_utf8(forced.stderr)
            .unwrap()
            .contains("\u{1b}[")
    );
}

#[test]
fn control_characters_of_a_line_of_cluster_toml_do_not_reach_a_terminal() {
    let case = Case::description().edit(
        TOML,
        "endpoint =",
        "\"\u{7f}\u{202e}\" = 1 # \u{9b}31m\nendpoint =",
    );
    judged(&case.compile(), Code::TomlSyntax);
}

#[test]
fn an_outage_that_no_plan_has_is_refused_at_its_place() {
    let wrong = |name: &str| {
        let case = Case::description().edit(TOML, "\"outage:workloads\"", name);
        case.refused(Code::TomlValue, TOML, name)
    };
    for name in [
        "\"outage:workload\"",
        "\"workloads\"",
        "\"outage:worklaods\"",
    ] {
        let said = wrong(name);
        assert!(said.contains("did you mean `outage:workloads`?"), "{said}");
    }
    let said = wrong("\"x\"");
    assert!(said.contains("`outage:apiserver`, "), "{said}");
}
