//! Edits keep every byte that they do not mean to change.
//!
//! Files are made up line by line from every spelling that people use; what an edit must give is
//! made up the same way, with the new value in the old one's place.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carota::edit::kubeconfig::Kubeconfig;
use carota::edit::kubelet_config::KubeletConfig;
use carota::edit::manifest::Manifest;
use carota::edit::unit::Unit;
use carota::edit::yaml::Document;
use carota::edit::{embedded, pem};
use proptest::prelude::*;
use serde_yaml::Value;

/// How a file is laid out. Each bool is one independent habit of the people who write files.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug)]
struct Layout {
    crlf: bool,
    last_break: bool,
    bom: bool,
    /// Indentation of sequences below their key.
    sequence: usize,
    /// Indentation of maps below their key.
    step: usize,
    comments: bool,
    document_start: bool,
}

fn layout() -> impl Strategy<Value = Layout> {
    (
        any::<(bool, bool, bool, bool, bool)>(),
        prop::sample::select(vec![0, 2, 4]),
        prop::sample::select(vec![1, 2, 4]),
    )
        .prop_map(
            |((crlf, last_break, bom, comments, document_start), sequence, step)| Layout {
                crlf,
                last_break,
                bom,
                sequence,
                step,
                comments,
                document_start,
            },
        )
}

impl Layout {
    /// Lines as a file of this layout.
    fn file(&self, lines: &[String]) -> String {
        let mut all = Vec::new();
        if self.document_start {
            all.push("---".to_owned());
        }
        for (i, line) in lines.iter().enumerate() {
            // Inside a block scalar a comment would be text, or end it.
            let in_block = matches!(line.trim(), "text" | "more");
            if self.comments && i % 3 == 1 && !in_block {
                all.push(format!("{}# line {i}: it's \"so\"", " ".repeat(i % 5)));
            }
            all.push(line.clone());
        }
        let mut text = all.join("\n");
        if self.last_break {
            text.push('\n');
        }
        if self.crlf {
            text = text.replace('\n', "\r\n");
        }
        if self.bom {
            text.insert(0, '\u{feff}');
        }
        text
    }

    /// A comment for the end of a line.
    fn comment(&self) -> &'static str {
        if self.comments {
            "  # why: it's so"
        } else {
            ""
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Quotes {
    None,
    Single,
    Double,
}

fn quotes() -> impl Strategy<Value = Quotes> {
    prop::sample::select(vec![Quotes::None, Quotes::Single, Quotes::Double])
}

fn quoted(quotes: Quotes, value: &str) -> String {
    match quotes {
        Quotes::None => value.to_owned(),
        Quotes::Single => format!("'{}'", value.replace('\'', "''")),
        Quotes::Double => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

/// A path that needs no quotes.
fn plain_path() -> impl Strategy<Value = String> {
    "(/[a-zA-Z0-9._é-]{1,8}){1,4}"
}

/// A path that may need quotes in every way.
fn odd_path() -> impl Strategy<Value = String> {
    "/[a-z '\"#:\\\\,\\[\\]{}&*!|>%@`$~é-]{1,12}"
}

/// How a flag is spelled, with its old value and a new one.
#[derive(Clone, Debug)]
struct FlagCase {
    two_items: bool,
    dashes: &'static str,
    quotes: Quotes,
    old: String,
    new: String,
}

fn flag_case() -> impl Strategy<Value = FlagCase> {
    let values = (
        any::<bool>(),
        odd_path(),
        odd_path(),
        plain_path(),
        plain_path(),
    );
    (
        any::<bool>(),
        prop::sample::select(vec!["-", "--"]),
        quotes(),
        values,
    )
        .prop_map(
            |(two_items, dashes, quotes, (odd, odd_old, odd_new, old, new))| {
                let odd = odd && quotes != Quotes::None;
                let (old, new) = if odd { (odd_old, odd_new) } else { (old, new) };
                FlagCase {
                    two_items,
                    dashes,
                    quotes,
                    old,
                    new,
                }
            },
        )
}

impl FlagCase {
    fn items(&self, name: &str, value: &str) -> Vec<String> {
        let name = format!("{}{name}", self.dashes);
        if self.two_items {
            vec![quoted(self.quotes, &name), quoted(self.quotes, value)]
        } else {
            vec![quoted(self.quotes, &format!("{name}={value}"))]
        }
    }
}

/// What stands in a manifest's metadata about annotations.
const ANNOTATIONS: [&[&str]; 9] = [
    &[],
    &["annotations: {}"],
    &["annotations: { }"],
    &["annotations: null"],
    &["annotations: ~"],
    &["annotations:"],
    &["annotations: {a: b, 'c': \"d\"}"],
    &["annotations:", ">a: b", ">c/d: 'e'"],
    &["annotations:", ">a: |", ">>text", ">>more"],
];

fn manifest(
    l: &Layout,
    flags: &[(FlagCase, String)],
    annotations: &[&str],
    first: bool,
    flow: bool,
) -> String {
    let (step, seq) = (" ".repeat(l.step), " ".repeat(l.sequence));
    let metadata = {
        let annotations: Vec<String> = annotations
            .iter()
            .map(|a| format!("{step}{}", a.replace('>', &step)))
            .collect();
        let name = format!("{step}name: api{}", l.comment());
        if first {
            [annotations, vec![name]].concat()
        } else {
            [vec![name], annotations].concat()
        }
    };
    let items: Vec<String> = flags
        .iter()
        .enumerate()
        .flat_map(|(i, (case, value))| case.items(&format!("flag-{i}"), value))
        .collect();
    let inside = format!("{step}{seq}  ");
    let mut spec = vec![
        "spec:".to_owned(),
        format!("{step}containers:"),
        format!("{step}{seq}- name: c"),
    ];
    if flow {
        let list: Vec<String> = items
            .iter()
            .map(|i| {
                if i.starts_with(['\'', '"']) {
                    i.clone()
                } else {
                    quoted(Quotes::Double, i)
                }
            })
            .collect();
        spec.push(format!(
            "{inside}command: [kube-apiserver, {}]{}",
            list.join(",  "),
            l.comment()
        ));
    } else {
        spec.push(format!("{inside}command:"));
        for item in std::iter::once("kube-apiserver".to_owned()).chain(items) {
            spec.push(format!("{inside}{seq}- {item}{}", l.comment()));
        }
    }
    let head = vec!["apiVersion: v1".to_owned(), "kind: Pod".to_owned()];
    let meta = [vec!["metadata:".to_owned()], metadata].concat();
    // A file may end in its metadata.
    l.file(&if first {
        [head, meta, spec].concat()
    } else {
        [head, spec, meta].concat()
    })
}

fn with_values(cases: &[FlagCase], value: impl Fn(&FlagCase) -> String) -> Vec<(FlagCase, String)> {
    cases.iter().map(|c| (c.clone(), value(c))).collect()
}

fn yaml_value(text: &str) -> Value {
    serde_yaml::from_str(text.trim_start_matches('\u{feff}')).expect("generated YAML is valid")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flags_change_only_their_values_and_come_back(
        l in layout(),
        cases in prop::collection::vec(flag_case(), 1..4),
        shape in prop::sample::select(ANNOTATIONS.to_vec()),
        first: bool,
        flow: bool,
    ) {
        let before = manifest(&l, &with_values(&cases, |c| c.old.clone()), shape, first, flow);
        let after = manifest(&l, &with_values(&cases, |c| c.new.clone()), shape, first, flow);
        let names: Vec<String> = (0..cases.len()).map(|i| format!("flag-{i}")).collect();
        let there: Vec<(&str, &str)> = names.iter().zip(&cases).map(|(n, c)| (n.as_str(), c.new.as_str())).collect();
        let back: Vec<(&str, &str)> = names.iter().zip(&cases).map(|(n, c)| (n.as_str(), c.old.as_str())).collect();
        let m = Manifest::parse(&before, "f").unwrap();
        for (name, old) in &back {
            prop_assert_eq!(m.containers()[0].flag_value(name).unwrap(), Some(*old));
        }
        let set = m.set(0, &there, &BTreeMap::new()).unwrap();
        prop_assert_eq!(&set, &after);
        prop_assert_eq!(Manifest::parse(&set, "f").unwrap().set(0, &back, &BTreeMap::new()).unwrap(), before);
    }

    #[test]
    fn an_unquoted_flag_takes_any_value(l in layout(), old in plain_path(), new in odd_path()) {
        let case = FlagCase { two_items: false, dashes: "--", quotes: Quotes::None, old: old.clone(), new: new.clone() };
        let before = manifest(&l, &[(case, old)], &[], true, false);
        let set = Manifest::parse(&before, "f").unwrap().set(0, &[("flag-0", &new)], &BTreeMap::new()).unwrap();
        let mut expected = yaml_value(&before);
        expected["spec"]["containers"][0]["command"][1] = format!("--flag-0={new}").into();
        prop_assert_eq!(yaml_value(&set), expected);
    }

    #[test]
    fn an_annotation_added_and_removed_gives_the_start(
        l in layout(),
        shape in prop::sample::select(ANNOTATIONS.to_vec()),
        first: bool,
        key in "[a-z]{1,8}\\.dev/[a-z-]{1,8}[a-z]",
        value in prop_oneof!["sha256:[0-9a-f]{64}".boxed(), odd_path().boxed(), "[0-9]{1,4}".boxed(), Just(String::new()).boxed()],
    ) {
        let before = manifest(&l, &[], shape, first, false);
        let m = Manifest::parse(&before, "f").unwrap();
        // A block scalar that the end of the file cuts off cannot be followed by anything.
        let cut_off = shape.len() == 4 && !first && !l.last_break;
        let added = m.set_annotation(&key, &value);
        prop_assert_eq!(added.is_err(), cut_off);
        if let Ok(added) = added {
            let after = Manifest::parse(&added, "f").unwrap();
            prop_assert_eq!(after.annotation(&key), Some(value.as_str()));
            prop_assert_eq!(after.annotations().len(), m.annotations().len() + 1);
            prop_assert_eq!(after.annotations().last().map(|(k, _)| k.as_str()), Some(key.as_str()));
            let mut expected = yaml_value(&before);
            let annotations = &mut expected["metadata"]["annotations"];
            if annotations.is_null() {
                *annotations = Value::Mapping(serde_yaml::Mapping::new());
            }
            annotations[key.as_str()] = value.as_str().into();
            prop_assert_eq!(yaml_value(&added), expected);
            let changed = after.set_annotation(&key, "sha256:00").unwrap();
            let removed = Manifest::parse(&changed, "f").unwrap().remove_annotation(&key).unwrap();
            prop_assert_eq!(removed, before);
        }
    }

    #[test]
    fn json_manifests_are_edited_too(pretty: bool, annotated in 0..3, old in odd_path(), new in odd_path()) {
        let mut pod = serde_json::json!({
            "kind": "Pod",
            "metadata": {"name": "a"},
            "spec": {"containers": [{"command": ["etcd", format!("--trusted-ca-file={old}")]}]},
        });
        if annotated > 0 {
            pod["metadata"]["annotations"] = serde_json::json!({});
        }
        if annotated > 1 {
            pod["metadata"]["annotations"]["a"] = "b".into();
        }
        let before = if pretty { serde_json::to_string_pretty(&pod) } else { serde_json::to_string(&pod) }.unwrap();
        let m = Manifest::parse(&before, "f").unwrap();
        let set = m.set(0, &[("trusted-ca-file", &new)], &BTreeMap::new()).unwrap();
        let read: serde_json::Value = serde_json::from_str(&set).unwrap();
        let mut expected = pod.clone();
        expected["spec"]["containers"][0]["command"][1] = format!("--trusted-ca-file={new}").into();
        prop_assert_eq!(read, expected);
        prop_assert_eq!(Manifest::parse(&set, "f").unwrap().set(0, &[("trusted-ca-file", &old)], &BTreeMap::new()).unwrap(), before.clone());
        let added = m.set_annotation("k/x", &new).unwrap();
        let read: serde_json::Value = serde_json::from_str(&added).unwrap();
        prop_assert_eq!(&read["metadata"]["annotations"]["k/x"], &serde_json::Value::from(new));
        prop_assert_eq!(Manifest::parse(&added, "f").unwrap().remove_annotation("k/x").unwrap(), before);
    }

    #[test]
    fn kubeconfigs_change_only_in_the_data(
        l in layout(),
        q in quotes(),
        flow: bool,
        old in prop::collection::vec(any::<u8>(), 1..80),
        new in "[ -~]{1,80}",
    ) {
        let (step, seq) = (" ".repeat(l.step), " ".repeat(l.sequence));
        let file = |ca: &str, cert: &str, key: &str| {
            let (ca, cert, key) = (quoted(q, ca), quoted(q, cert), quoted(q, key));
            let user = if flow {
                vec![format!("{seq}  user: {{client-certificate-data: {cert}, client-key-data: {key} }}{}", l.comment())]
            } else {
                vec![
                    format!("{seq}  user:"),
                    format!("{seq}  {step}client-certificate-data:   {cert}{}", l.comment()),
                    format!("{seq}  {step}client-key-data: {key}"),
                ]
            };
            let head = vec![
                "clusters:".to_owned(),
                format!("{seq}- cluster:"),
                format!("{seq}  {step}certificate-authority-data: {ca}{}", l.comment()),
                format!("{seq}  {step}server: https://a.example:6443"),
                format!("{seq}  name: x"),
                "users:".to_owned(),
                format!("{seq}- name: \"y\""),
            ];
            l.file(&[head, user].concat())
        };
        let (old64, new64) = (STANDARD.encode(&old), STANDARD.encode(&new));
        let (kept, kept_new) = ("carota-kept:sha256:aa", "carota-kept:sha256:bb");
        let k = Kubeconfig::parse(&file(&old64, &old64, kept), "f").unwrap();
        prop_assert_eq!(k.set_ca_data(0, &new).unwrap(), file(&new64, &old64, kept));
        prop_assert_eq!(k.set_client_certificate_data(0, &new).unwrap(), file(&old64, &new64, kept));
        prop_assert_eq!(k.set_client_key_data(0, kept_new).unwrap(), file(&old64, &old64, kept_new));
    }

    #[test]
    fn kubelet_configs_change_only_in_the_ca_file(
        l in layout(), q in quotes(), flow: bool, old in plain_path(), new in plain_path(),
    ) {
        let step = " ".repeat(l.step);
        let file = |ca: &str| {
            let ca = quoted(q, ca);
            let x509 = if flow {
                vec![format!("{step}x509: {{ clientCAFile: {ca} }}{}", l.comment())]
            } else {
                vec![format!("{step}x509:"), format!("{step}{step}clientCAFile: {ca}{}", l.comment())]
            };
            l.file(&[vec!["kind: KubeletConfiguration".to_owned(), "authentication:".to_owned()], x509].concat())
        };
        let k = KubeletConfig::parse(&file(&old), "f").unwrap();
        prop_assert_eq!(k.client_ca_file.as_deref(), Some(old.as_str()));
        prop_assert_eq!(k.set_client_ca_file(&new).unwrap(), file(&new));
    }

    #[test]
    fn units_change_only_in_the_value(
        crlf: bool, last_break: bool, continued: bool, q in quotes(), old in "(/[a-zA-Z0-9._-]{1,8}){1,4}", new in "(/[a-zA-Z0-9._-]{1,8}){1,4}",
    ) {
        let between = if continued { " \\\n # note\n  " } else { " " };
        let file = |value: &str| {
            let flag = quoted(q, &format!("--client-ca-file={value}"));
            let text = format!("[Service]\n# c\nExecStart=/usr/bin/kubelet --v=2{between}{flag}{between}$EXTRA{}", if last_break { "\n" } else { "" });
            if crlf { text.replace('\n', "\r\n") } else { text }
        };
        let env = |value: &str| format!("EXTRA=\"--root-dir={value} --x\"\n");
        let (unit, extra) = (file(&old), env(&old));
        let u = Unit::load(&[("u", &unit), ("d", "[Service]\nEnvironmentFile=-/etc/extra\n")], &[("n/etc/extra", Some(&extra))]).unwrap();
        prop_assert_eq!(u.set_flag("client-ca-file", &new).unwrap(), (0, file(&new)));
        prop_assert_eq!(u.set_flag("root-dir", &new).unwrap(), (2, env(&new)));
    }

    #[test]
    fn nothing_that_is_read_panics(text in "[a-z:{}\\[\\]'\"|>#&*!?,\\-%\\\\ \t\r\n=$/~é]{0,80}") {
        let _ = Document::parse(&text, "f");
        let _ = Manifest::parse(&format!("kind: Pod\nspec: {{}}\nmetadata: {text}"), "f").map(|m| m.set_annotation("a", "b"));
        let _ = Kubeconfig::parse(&text, "f");
        let _ = Unit::load(&[("u", &format!("[Service]\nExecStart={text}"))], &[]).map(|u| u.set_flag("a", "b"));
        let _ = Unit::load(&[("u", "[Service]\nEnvironmentFile=/e\nExecStart=/k $A ${B}")], &[("/e", Some(&text))]);
        let _ = pem::blocks(&text, "f");
        let _ = embedded::find_embedded_certificates(&text, "f");
    }

    #[test]
    fn an_encoded_block_is_read_back(der in prop::collection::vec(any::<u8>(), 0..200), crlf: bool) {
        let text = pem::encode("CERTIFICATE", &der);
        let text = if crlf { text.replace('\n', "\r\n") } else { text };
        prop_assert_eq!(&pem::blocks(&text, "f").unwrap()[0].der, &der);
    }
}
