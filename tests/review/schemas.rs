//! Every JSON that carota reads or prints has a schema: versioned, committed, and true of the output.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::common::{carota, copy_tree, edit, examples};
use crate::{clone_of, example, said};

const ALL: [&str; 5] = ["cluster", "plan", "check", "proof", "diff"];

fn schema(of: &str) -> Value {
    let output = carota(&["schema", "--of", of], Path::new("."));
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn validator(of: &str) -> Validator {
    jsonschema::options()
        .should_validate_formats(true)
        .build(&schema(of))
        .unwrap()
}

/// What is wrong with a value, in words.
fn wrong(of: &str, value: &Value) -> Vec<String> {
    validator(of)
        .iter_errors(value)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect()
}

/// cluster.toml as editors see it: a moment is a string.
fn json_of(toml: &str) -> Value {
    fn convert(value: toml::Value) -> Value {
        match value {
            toml::Value::String(s) => json!(s),
            toml::Value::Integer(i) => json!(i),
            toml::Value::Float(f) => json!(f),
            toml::Value::Boolean(b) => json!(b),
            toml::Value::Datetime(d) => json!(d.to_string()),
            toml::Value::Array(list) => list.into_iter().map(convert).collect(),
            toml::Value::Table(table) => {
                let members: Map<String, Value> =
                    table.into_iter().map(|(k, v)| (k, convert(v))).collect();
                Value::Object(members)
            }
        }
    }
    convert(toml::from_str(toml).unwrap())
}

#[test]
fn the_committed_schemas_are_what_is_printed_and_are_schemas() {
    for of in ALL {
        let committed =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schema/{of}.json"));
        let output = carota(&["schema", "--of", of], Path::new("."));
        assert_eq!(said(&output.stdout), fs::read_to_string(committed).unwrap());
        let schema = schema(of);
        assert!(jsonschema::meta::is_valid(&schema), "{of}");
        assert_eq!(schema["$id"], format!("urn:carota:schema:{of}:1"));
        if of != "cluster" {
            assert_eq!(schema["properties"]["carota"]["const"], 1, "{of}");
        }
    }
}

#[test]
fn every_plan_json_is_as_its_schema_says_and_no_field_of_it_is_invented() {
    let mut seen = BTreeSet::new();
    for example in examples() {
        let text = fs::read_to_string(example.join("plan/plan.json")).unwrap();
        let plan: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            wrong("plan", &plan),
            Vec::<String>::new(),
            "{}",
            example.display()
        );
        collect_keys(&plan, &mut seen);
    }
    let mut declared = BTreeSet::new();
    declared_keys(&schema("plan"), &mut declared);
    let invented: Vec<_> = declared.difference(&seen).collect();
    assert!(invented.is_empty(), "no plan has {invented:?}");
}

fn collect_keys(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                out.insert(key.clone());
                collect_keys(value, out);
            }
        }
        Value::Array(list) => list.iter().for_each(|v| collect_keys(v, out)),
        _ => {}
    }
}

fn declared_keys(schema: &Value, out: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                out.extend(properties.keys().cloned());
            }
            map.values().for_each(|v| declared_keys(v, out));
        }
        Value::Array(list) => list.iter().for_each(|v| declared_keys(v, out)),
        _ => {}
    }
}

#[test]
fn a_plan_json_that_is_not_one_is_refused_by_the_schema() {
    type Change<'a> = &'a dyn Fn(&mut Value);
    let text = fs::read_to_string(example().join("plan/plan.json")).unwrap();
    let plan: Value = serde_json::from_str(&text).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut plan = plan.clone();
        change(&mut plan);
        wrong("plan", &plan)
    };
    let cases: [(&str, Change); 5] = [
        ("another version", &|p| p["carota"] = json!(2)),
        ("an unknown field", &|p| p["phases"][0]["extra"] = json!(1)),
        ("a missing field", &|p| {
            p["phases"][3].as_object_mut().unwrap().remove("way_back");
        }),
        ("no hash", &|p| p["cas"][0]["new"]["sha256"] = json!("42")),
        ("a phase too few", &|p| {
            p["phases"].as_array_mut().unwrap().pop();
        }),
    ];
    for (what, change) in cases {
        assert_eq!(changed(change).len(), 1, "{what}: {:?}", changed(change));
    }
}

#[test]
fn what_check_prove_and_diff_print_is_as_their_schemas_say() {
    let folder = clone_of(&example());
    let json = |arguments: &[&str]| -> Value {
        let output = carota(arguments, folder.path());
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let check = ["check", "cluster.toml", "--format", "json"];
    let none = Vec::<String>::new();
    assert_eq!(wrong("check", &json(&check)), none);
    let proof = json(&["prove", "cluster.toml", "--format", "json"]);
    assert_eq!(wrong("proof", &proof), none);
    let plan = folder.path().join("plan");
    fs::write(plan.join("extra"), "").unwrap();
    edit(&plan.join("README.md"), "What could go wrong", "x");
    fs::remove_file(plan.join("plan.json")).unwrap();
    let report = json(&check);
    assert_eq!(report["differences"].as_array().unwrap().len(), 3);
    assert_eq!(wrong("check", &report), none);
    let old = examples().remove(0);
    let new = example().join("plan");
    let diff = json(&[
        "diff",
        old.join("plan").to_str().unwrap(),
        new.to_str().unwrap(),
        "--format",
        "json",
    ]);
    assert!(diff["findings"].as_array().unwrap().len() > 20);
    assert_eq!(wrong("diff", &diff), none);
    assert!(!wrong("diff", &proof).is_empty());
}

#[test]
fn a_broken_connection_is_as_the_schema_of_the_proof_says() {
    let folder = clone_of(&example());
    let accepted = "accept = [\"outage:workloads\"]";
    edit(&folder.path().join("cluster.toml"), accepted, "accept = []");
    let output = carota(
        &["prove", "cluster.toml", "--format", "json"],
        folder.path(),
    );
    assert_eq!(output.status.code(), Some(1));
    let mut proof: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(proof["broken"], json!([]));
    let broken = carota::trust::BrokenEdge {
        kind: "pods → API server",
        client: "pods".into(),
        server: "kube-apiserver on cp-1".into(),
        dialled: None,
        direction: carota::trust::Direction::ClientRefusesServer,
        phase: 14,
        phase_name: "leaf-certificates".into(),
        step: 2,
        step_title: String::new(),
        reason: String::new(),
        certificate: String::new(),
        certificate_from: String::new(),
        bundle: vec![String::new()],
        bundle_from: String::new(),
        remedy: String::new(),
        also_in: vec![15, 16],
    };
    proof["broken"] = json!([broken]);
    assert_eq!(wrong("proof", &proof), Vec::<String>::new());
    proof["broken"][0]["direction"] = json!("sideways");
    assert_eq!(wrong("proof", &proof).len(), 1);
}

#[test]
fn the_examples_descriptions_and_whatever_init_writes_are_as_the_schema_says() {
    for example in examples() {
        let text = fs::read_to_string(example.join("cluster.toml")).unwrap();
        assert_eq!(wrong("cluster", &json_of(&text)), Vec::<String>::new());
        let named = text
            .lines()
            .next()
            .unwrap()
            .strip_prefix("#:schema ")
            .unwrap();
        let there = fs::read_to_string(example.join(named)).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&there).unwrap(),
            schema("cluster")
        );
        let folder = tempfile::tempdir().unwrap();
        copy_tree(&example.join("snapshot"), &folder.path().join("snapshot"));
        let output = carota(
            &["init", "snapshot", "--out", "cluster.toml"],
            folder.path(),
        );
        assert!(output.status.success());
        let text = fs::read_to_string(folder.path().join("cluster.toml")).unwrap();
        assert_eq!(wrong("cluster", &json_of(&text)), Vec::<String>::new());
        let named = text
            .lines()
            .next()
            .unwrap()
            .strip_prefix("#:schema ")
            .unwrap();
        let there = fs::read_to_string(folder.path().join(named)).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&there).unwrap(),
            schema("cluster")
        );
    }
}

#[test]
fn a_description_that_carota_refuses_is_refused_by_the_schema_where_a_schema_can() {
    let text = fs::read_to_string(example().join("cluster.toml")).unwrap();
    for (from, to) in [
        ("[[node]]", "[[nod]]"),
        ("window = \"14d\"", "window = \"14\""),
        ("leaf_keys = \"keep\"", "leaf_keys = \"keeps\""),
        (
            "not_before = 2026-11-25T00:00:00Z",
            "not_before = 2026-11-25",
        ),
        ("endpoint = \"https://", "endpoint = \"http://"),
        ("role = \"worker\"", "role = \"master\""),
        ("mode = \"bundle\"", "mode = \"both\""),
        ("key = \"ca.crt\"\n", ""),
        ("id = \"2026-11-25\"", "id = \"A b\""),
        (
            "accept = [\"outage:workloads\"]",
            "accept = [\"workloads\"]",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let changed = text.replace(from, to);
        assert!(!wrong("cluster", &json_of(&changed)).is_empty(), "{to}");
        let folder = clone_of(&example());
        fs::write(folder.path().join("cluster.toml"), changed).unwrap();
        let output = carota(&["check", "cluster.toml"], folder.path());
        assert_eq!(output.status.code(), Some(2), "{to}");
    }
}

/// The fields of each `struct Raw…` of spec.rs.
fn fields_of_spec() -> Vec<(String, BTreeSet<String>)> {
    let source = include_str!("../../src/spec.rs");
    let mut out = Vec::new();
    for part in source.split("\nstruct Raw").skip(1) {
        let (name, rest) = part.split_once(" {\n").unwrap();
        let body = rest.split_once("\n}").unwrap().0;
        let fields = body
            .lines()
            .filter(|line| !line.trim().starts_with("#["))
            .map(|line| line.trim().split_once(':').unwrap().0.to_owned())
            .collect();
        out.push((name.to_owned(), fields));
    }
    out
}

#[test]
fn every_field_of_cluster_toml_is_in_the_schema_and_no_other() {
    let schema = schema("cluster");
    let at = |name: &str| match name {
        "" => "",
        "Cluster" => "/properties/cluster",
        "Rotation" => "/properties/rotation",
        "Ca" => "/$defs/ca",
        "Node" => "/properties/node/items",
        "Consumer" => "/properties/trust_consumer/items",
        "ExternalLeaf" => "/properties/external_leaf/items",
        other => panic!("the schema has nothing for Raw{other}"),
    };
    let found = fields_of_spec();
    assert_eq!(found.len(), 7);
    for (name, fields) in found {
        let object = schema.pointer(at(&name)).unwrap();
        let declared = object["properties"].as_object().unwrap();
        assert_eq!(
            declared.keys().cloned().collect::<BTreeSet<_>>(),
            fields,
            "Raw{name}"
        );
        assert_eq!(object["additionalProperties"], false, "Raw{name}");
    }
}
