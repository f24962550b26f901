//! Items of a list that have one form: the pods that a DaemonSet has on thousands of nodes differ in names, addresses and
//! dates only, and nothing in a large snapshot takes as long to read as YAML.
//!
//! Knows lines as kubectl prints them; it must not know kinds or fields. A form is an item with a mark in the place of
//! each simple value. It is read once, by the parser that reads everything, and gives a value with marks in it; of
//! an item of that form it is then known what the parser would say. Simple is a value that stands alone at the end of its
//! line, and whose text can neither change what is around it nor be taken for another type than that of its mark. Where a
//! mark does not come out as it went in, since it was part of a longer text or stands twice, there is no such form.

use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;
use serde_json::{Map, Value};

/// The forms that were met. All threads share them.
#[derive(Default)]
pub struct Forms(Mutex<FxHashMap<String, Option<Arc<Form>>>>);

/// More forms than that are not kept: whatever differs so much is read item by item.
const MOST: usize = 1 << 10;

/// A value with holes.
enum Form {
    Hole(usize),
    Whole(Value),
    Array(Vec<Form>),
    Object(Vec<(String, Form)>),
}

/// A simple value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Simple<'t> {
    /// A text without quotes.
    Plain(&'t str),
    /// One with a colon in it, which a parser looks at twice.
    WithColon(&'t str),
    /// The text between double quotes.
    Quoted(&'t str),
    /// A whole number.
    Number(u64),
}

impl Forms {
    /// What `parse` would make of an item, the only one of a list. None where only `parse` itself can say it.
    pub fn value(&self, item: &str, parse: impl Fn(&str) -> Option<Value>) -> Option<Value> {
        let (text, values) = marked(item);
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(&text).cloned();
        let form = match known {
            Some(form) => form,
            None if lock().len() >= MOST => return None,
            None => {
                let form = parse(&text).and_then(|value| Form::of(&value, &values));
                let form = form.map(Arc::new);
                lock().insert(text, form.clone());
                form
            }
        };
        Some(form?.filled(&values))
    }
}

impl Form {
    /// The form of a value in which each mark stands once; None where one does not.
    fn of(marked: &Value, values: &[Simple]) -> Option<Form> {
        let marks: FxHashMap<Value, usize> = values
            .iter()
            .enumerate()
            .map(|(number, value)| (value.mark(number).1, number))
            .collect();
        let mut met = vec![0; values.len()];
        let form = Form::with_holes(marked, &marks, &mut met);
        met.iter().all(|times| *times == 1).then_some(form)
    }

    fn with_holes(value: &Value, marks: &FxHashMap<Value, usize>, met: &mut [usize]) -> Form {
        if let Some(hole) = marks.get(value) {
            met[*hole] += 1;
            return Form::Hole(*hole);
        }
        match value {
            Value::Array(items) => {
                let items = items.iter();
                Form::Array(items.map(|v| Form::with_holes(v, marks, met)).collect())
            }
            Value::Object(fields) => {
                let fields = fields.iter();
                let form =
                    |(name, v): (&String, &Value)| (name.clone(), Form::with_holes(v, marks, met));
                Form::Object(fields.map(form).collect())
            }
            other => Form::Whole(other.clone()),
        }
    }

    fn filled(&self, values: &[Simple]) -> Value {
        match self {
            Form::Hole(number) => values[*number].value(),
            Form::Whole(value) => value.clone(),
            Form::Array(items) => items.iter().map(|item| item.filled(values)).collect(),
            Form::Object(fields) => {
                let fields = fields.iter();
                let filled = fields.map(|(name, form)| (name.clone(), form.filled(values)));
                Value::Object(filled.collect::<Map<_, _>>())
            }
        }
    }
}

/// An item with marks in the place of its simple values, and these.
fn marked(item: &str) -> (String, Vec<Simple<'_>>) {
    let mut text = String::with_capacity(item.len());
    let mut values = Vec::new();
    for line in item.split_inclusive('\n') {
        let (content, end) = match line.strip_suffix('\n') {
            Some(content) => (content, "\n"),
            None => (line, ""),
        };
        let begin = begin_of_value(content);
        match Simple::read(&content[begin..]).filter(|_| begin > 0) {
            Some(value) => {
                text.push_str(&content[..begin]);
                text.push_str(&value.mark(values.len()).0);
                values.push(value);
            }
            None => text.push_str(content),
        }
        text.push_str(end);
    }
    (text, values)
}

/// Where a line's value begins, behind dashes and a key; 0 where there is neither.
fn begin_of_value(line: &str) -> usize {
    let mut at = line.len() - line.trim_start_matches(' ').len();
    let indent = at;
    while line[at..].starts_with("- ") {
        at += 2;
    }
    let key = line[at..]
        .bytes()
        .take_while(|b| b.is_ascii_alphanumeric() || b"._/-".contains(b))
        .count();
    match line[at + key..].strip_prefix(": ") {
        Some(_) if key > 0 && line.as_bytes()[at].is_ascii_alphabetic() => at + key + 2,
        _ if at > indent => at,
        _ => 0,
    }
}

impl<'t> Simple<'t> {
    /// A text as a simple value, if it is one.
    fn read(text: &'t str) -> Option<Simple<'t>> {
        if text.len() > 256 {
            return None;
        }
        if let Some(inner) = text.strip_prefix('"') {
            let inner = inner.strip_suffix('"')?;
            let plain = |b: u8| matches!(b, b' '..=b'~') && !b"\"\\".contains(&b);
            return inner.bytes().all(plain).then_some(Simple::Quoted(inner));
        }
        if text.len() <= 15 && text.bytes().all(|b| b.is_ascii_digit()) {
            // A zero in front is a matter of opinion.
            let number = text.parse().ok()?;
            return (text == "0" || !text.starts_with('0')).then_some(Simple::Number(number));
        }
        if !is_word(text) || !is_text(text) {
            None
        } else if text.contains(':') {
            Some(Simple::WithColon(text))
        } else {
            Some(Simple::Plain(text))
        }
    }

    /// The mark that takes its place in a form: as it is written, and as it is read.
    fn mark(self, number: usize) -> (String, Value) {
        match self {
            Simple::Plain(_) => (format!("mark-{number}"), format!("mark-{number}").into()),
            Simple::WithColon(_) => (format!("mark:{number}"), format!("mark:{number}").into()),
            Simple::Quoted(_) => (
                format!("\"mark {number}\""),
                format!("mark {number}").into(),
            ),
            Simple::Number(_) => {
                let mark = 7_770_000_000 + number as u64;
                (mark.to_string(), mark.into())
            }
        }
    }

    fn value(self) -> Value {
        match self {
            Simple::Plain(text) | Simple::WithColon(text) | Simple::Quoted(text) => text.into(),
            Simple::Number(number) => number.into(),
        }
    }
}

/// Whether a text is one plain scalar wherever a mark is one.
fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inside = |b: &u8| b.is_ascii_alphanumeric() || b"._/@:-".contains(b);
    let colon_ends =
        |pair: &[u8]| pair[0] == b':' && !pair[1].is_ascii_alphanumeric() && pair[1] != b'/';
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last() != Some(&b':')
        && bytes.iter().all(inside)
        && !bytes.windows(2).any(colon_ends)
}

/// Whether a word is no number, boolean or null to anybody.
fn is_text(word: &str) -> bool {
    const OTHERS: [&str; 13] = [
        "true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity",
        "none",
    ];
    if word.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return !OTHERS.iter().any(|other| word.eq_ignore_ascii_case(other));
    }
    // No number has two dots, two dashes, a slash, or one of these letters; one with colons may be in base sixty.
    let count = |of: char| word.chars().filter(|c| *c == of).count();
    let foreign = |c: char| matches!(c.to_ascii_lowercase(), 'g'..='n' | 'p'..='w' | 'y' | 'z');
    !word.contains(':')
        && (count('.') > 1 || count('-') > 1 || word.contains('/') || word.contains(foreign))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::objects::only_item as parse;
    use super::*;

    const POD: &str = "\
- apiVersion: v1
  kind: Pod
  metadata:
    creationTimestamp: \"2026-11-24T21:30:25Z\"
    name: kube-proxy-x2x4z
    namespace: kube-system
    ownerReferences:
    - apiVersion: apps/v1
      controller: true
      kind: DaemonSet
      name: kube-proxy
  spec:
    containers:
    - command:
      - /usr/local/bin/kube-proxy
      - --config=/var/lib/kube-proxy/config.conf
      image: registry.k8s.io/kube-proxy:v1.34.4
      imagePullPolicy: IfNotPresent
    nodeName: worker-1
    overhead: {}
  status:
    containerStatuses:
    - containerID: containerd://0123456789abcdef
      restartCount: 0
      usage: 24581684Ki
    podIPs:
    - ip: 10.244.3.7
    qosClass: BestEffort
";

    #[test]
    fn an_item_of_a_known_form_is_read_without_the_parser() {
        let forms = Forms::default();
        assert_eq!(forms.value(POD, parse), parse(POD));
        let other = POD
            .replace("worker-1", "worker-2")
            .replace("10.244.3.7", "10.244.4.9")
            .replace("restartCount: 0", "restartCount: 12")
            .replace("0123456789abcdef", "fedcba")
            .replace("24581684Ki", "1Gi")
            .replace("21:30:25Z", "00:00:00Z");
        let expected = parse(&other);
        let read = forms.value(&other, |_| panic!("the form is known"));
        assert_eq!(read, expected);
        assert!(expected.is_some());
        // Another type, another shape.
        for (from, to) in [
            ("restartCount: 0", "restartCount: x"),
            ("restartCount: 0", "restartCount: 00"),
            ("nodeName: worker-1", "nodeName: null"),
            ("nodeName: worker-1", "nodeName: 1.5"),
            ("nodeName: worker-1", "nodeName: 1e-5"),
            ("nodeName: worker-1", "nodeName: a: b"),
            ("nodeName: worker-1", "nodeName: worker-1 # comment"),
            ("nodeName: worker-1", "nodeName: \"a\\nb\""),
            ("nodeName: worker-1\n", "nodeName: worker-1\n      more\n"),
            ("nodeName: worker-1\n", "nodeName:\n      worker-1\n"),
            (
                "nodeName: worker-1\n",
                "nodeName: |\n      name: worker-1\n",
            ),
            (
                "nodeName: worker-1\n",
                "nodeName: 'name: x\n\n      name: worker-1'\n",
            ),
            ("nodeName: worker-1\n", "nodeName: mark-0\n"),
            ("nodeName: worker-1\n", "nodeName: 'mark-1'\n"),
            (
                "nodeName: worker-1\n",
                "nodeName: worker-1\n    nodeName: worker-2\n",
            ),
            (
                "nodeName: worker-1\n",
                "nodeName: &a worker-1\n    other: *a\n",
            ),
            (
                "nodeName: worker-1\n",
                "nodeName: &a\n      b: c\n    other: *a\n",
            ),
            ("nodeName: worker-1\n", "nodeName: [a,\n      b: c\n    ]\n"),
        ] {
            let other = POD.replace(from, to);
            assert_ne!(other, POD);
            agrees(&forms, &other);
        }
    }

    /// What is said of an item is what the parser says.
    fn agrees(forms: &Forms, item: &str) {
        for _ in 0..2 {
            if let Some(value) = forms.value(item, parse) {
                assert_eq!(Some(value), parse(item), "{item}");
            }
        }
    }

    #[test]
    fn words_are_texts_to_the_parser_and_what_is_not_stays_as_it_is() {
        for text in [
            "a",
            "kube-proxy",
            "10.244.3.7",
            "10.244.0.0/16",
            "1Gi",
            "100m",
            "a:b",
            "34870ba0-f57e-43ff",
        ] {
            let simple = Simple::read(text).unwrap();
            assert_eq!(simple.value(), Value::from(text));
            assert_eq!(parse(&format!("- {text}\n")), Some(text.into()));
        }
        for text in [
            "",
            "true",
            "Null",
            "~",
            "1.5",
            "1e-5",
            "0x1f",
            "0o7",
            "1_000",
            "007",
            ".inf",
            "-1",
            "+1",
            "a b",
            "a: b",
            "a:",
            "a #b",
            "190:20:30",
            "'a'",
            "\"a\\tb\"",
            "{}",
            "[]",
            "|",
            "*a",
            "&a",
            "!a",
            "\u{e9}",
            "1f",
            "1e5",
            "12345678901234567890",
        ] {
            assert_eq!(Simple::read(text), None, "{text}");
        }
    }

    proptest! {
        /// Whatever stands in the place of a value, and wherever a line is repeated, moved or cut.
        #[test]
        fn an_item_of_any_form_is_read_as_the_parser_reads_it(
            changes in prop::collection::vec((0usize..31, 0usize..31, "[ -~]{0,12}", 0u8..5), 1..4),
        ) {
            let forms = Forms::default();
            let mut lines: Vec<String> = POD.lines().map(str::to_owned).collect();
            agrees(&forms, POD);
            for (at, other, text, kind) in changes {
                let (at, other) = (at % lines.len(), other % lines.len());
                match kind {
                    0 => {
                        let begin = begin_of_value(&lines[at]);
                        lines[at].replace_range(begin.., &text);
                    }
                    1 => lines.swap(at, other),
                    2 => lines.insert(at, text),
                    3 => lines[at].push_str(&text),
                    _ => lines[at] = format!("  {}", lines[at]),
                }
                agrees(&forms, &(lines.join("\n") + "\n"));
            }
        }
    }
}
