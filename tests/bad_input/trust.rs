//! Silence is an error: an old CA, or a certificate under one, in a place that no rule knows stops
//! the compile, and what the message says to paste makes it go on.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use carota::diagnostic::Code;
use carota::pki::certificates_in_pem;

use crate::case::{Case, on, place_in};

const TOML: &str = "cluster.toml";
const CONFIG_MAPS: &str = "snapshot/cluster/configmaps.yaml";
const SECRETS: &str = "snapshot/cluster/secrets.yaml";

fn pem_of(path: &str) -> String {
    Case::new().text(&on("cp-1", path))
}

fn old_ca() -> String {
    pem_of("/etc/kubernetes/pki/ca.crt")
}

fn der(pem: &str) -> Vec<u8> {
    certificates_in_pem(pem, "").unwrap()[0].der().to_vec()
}

/// The example with one more object that holds these values.
fn with_object(file: &str, kind: &str, values: &[&String]) -> Case {
    add_object(Case::new(), file, kind, values)
}

fn add_object(case: Case, file: &str, kind: &str, values: &[&String]) -> Case {
    let line = |(number, value): (usize, &&String)| {
        format!("    trust-{number}: \"{}\"\n", value.replace('\n', "\\n"))
    };
    let data: String = values.iter().enumerate().map(line).collect();
    let item = format!(
        "items:\n- apiVersion: v1\n  data:\n{data}  kind: {kind}\n  metadata:\n    name: unknown\n    namespace: shop\n"
    );
    case.edit(file, "items:\n", &item)
}

/// Refused in `file` with a declaration, which is pasted.
fn declare(case: Case, file: &str) -> Case {
    let said = case.refused_with(Code::UnaccountedCa);
    assert!(place_in(&said).starts_with(&format!("{file}:")), "{said}");
    let toml = &said[said.find("\n[[").expect("a declaration")..];
    case.append(TOML, toml)
}

#[test]
fn a_ca_in_an_undeclared_config_map_is_refused_with_its_declaration() {
    let text = Case::new().text(TOML);
    let without = &text[..text.find("[[trust_consumer]]").unwrap()];
    let case = Case::new().put(TOML, without);
    let said = case.refused_with(Code::UnaccountedCa);
    assert!(said.contains("configmaps/shop/gateway-trust"), "{said}");
    declare(case, CONFIG_MAPS).compiles();
}

#[test]
fn a_ca_in_a_file_is_refused_at_its_line_with_its_declaration() {
    let file = on("worker-1", "/opt/it's \"here\"/$(id).pem");
    let case = Case::new().put(&file, format!("# trust of the backup job\n{}", old_ca()));
    let said = case.refused(Code::UnaccountedCa, &file, "-----BEGIN");
    assert!(said.contains("[[trust_consumer]]"), "{said}");
    declare(case, &file).compiles();
}

#[test]
fn a_ca_in_any_encoding_is_refused_with_its_declaration() {
    let once = BASE64.encode(old_ca());
    let twice = BASE64.encode(&once);
    let binary = BASE64.encode(der(&old_ca()));
    let binary_twice = BASE64.encode(&binary);
    let in_config_map = [&old_ca(), &once, &twice, &binary, &binary_twice];
    let in_secret = [&twice, &binary];
    let case = with_object(CONFIG_MAPS, "ConfigMap", &in_config_map);
    let case = add_object(case, SECRETS, "Secret", &in_secret);
    let case = (0..in_config_map.len()).fold(case, |case, _| declare(case, CONFIG_MAPS));
    let case = (0..in_secret.len()).fold(case, |case, _| declare(case, SECRETS));
    case.compiles();
}

#[test]
fn a_file_that_holds_more_than_certificates_is_never_rewritten_as_a_bundle() {
    let file = on("worker-1", "/opt/app.conf");
    let case = Case::new().put(&file, format!("port = 1\n{}", old_ca()));
    let said = case.refused(Code::UnaccountedCa, &file, "-----BEGIN");
    let toml = said[said.find("\n[[").unwrap()..].to_owned();
    case.append(TOML, &toml)
        .refused(Code::Unsupported, &file, "port = 1");
}

#[test]
fn a_leaf_in_an_unknown_place_is_refused_with_its_declaration() {
    // A certificate that nobody re-issues: under the old CA, but in no place that carota knows.
    let leaf = pem_of("/etc/kubernetes/pki/front-proxy-client.crt");
    let (pem, encoded) = (BASE64.encode(&leaf), BASE64.encode(der(&leaf)));
    for value in [&leaf, &pem, &encoded] {
        let said = with_object(CONFIG_MAPS, "ConfigMap", &[value]).refused(
            Code::UnknownLeaf,
            CONFIG_MAPS,
            "",
        );
        assert!(said.contains("[[external_leaf]]"), "{said}");
    }
    let file = on("worker-1", "/opt/leaf.b64");
    let said = Case::new()
        .put(&file, pem)
        .refused(Code::UnknownLeaf, &file, "");
    assert!(said.contains("[[external_leaf]]"), "{said}");
}
