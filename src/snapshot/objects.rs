//! API objects, as `kubectl get -A -o yaml` prints them: one List a kind.
//!
//! A list that was lost is not the same as one that is empty: webhooks that nobody sees keep the old trust. So every
//! kind that the collector asks for is there, or in `MISSING`, where it notes what the API does not serve.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::files::{check_public, disclosed};
use super::forms::Forms;
use super::light::lightened;
use super::read_text;
use super::strict::Strict;
use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::edit::KEPT;
use crate::edit::embedded::are_only_certificates;
use crate::input::{MAX_FILE, MAX_LIST, why};
use crate::names;
use crate::parallel;
use crate::state::ObjectId;

/// The kinds that the collector asks for (`kinds` in templates/collect.sh), each with whether a cluster may do
/// without: the API serves only some of them in some versions, but no snapshot is of use without pods.
const KINDS: [(&str, Need); 20] = [
    ("apiservices", Need::IfServed),
    ("certificatesigningrequests", Need::IfServed),
    ("clustertrustbundles", Need::IfServed),
    ("configmaps", Need::Always),
    ("cronjobs", Need::IfServed),
    ("customresourcedefinitions", Need::IfServed),
    ("daemonsets", Need::IfServed),
    ("deployments", Need::IfServed),
    ("jobs", Need::IfServed),
    ("mutatingwebhookconfigurations", Need::IfServed),
    ("namespaces", Need::Always),
    ("nodes", Need::Always),
    ("poddisruptionbudgets", Need::IfServed),
    ("pods", Need::Always),
    ("replicasets", Need::IfServed),
    ("secrets", Need::Always),
    ("serviceaccounts", Need::IfServed),
    ("services", Need::IfServed),
    ("statefulsets", Need::IfServed),
    ("validatingwebhookconfigurations", Need::IfServed),
];

/// Whether a kind's list must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// In every snapshot: the collector itself stops without it.
    Always,
    /// Unless the collector noted that the API does not serve it.
    IfServed,
}

/// Where the collector notes the kinds that the API does not serve, one a line.
const MISSING: &str = "MISSING";

/// Refuses a snapshot that has lost a list.
fn refuse_lost(folder: &Path, kinds: &[&str]) -> Result<()> {
    let path = folder.join("cluster").join(MISSING);
    let noted = match fs::symlink_metadata(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
        _ => read_text(&path, "snapshot/cluster/MISSING", MAX_FILE)?,
    };
    let noted: BTreeSet<&str> = noted.lines().map(str::trim_end).collect();
    let lost = KINDS.iter().find(|(kind, need)| {
        let without = *need == Need::IfServed && noted.contains(kind);
        !without && !kinds.contains(kind)
    });
    let Some((kind, need)) = lost else {
        return Ok(());
    };
    let unless = match need {
        Need::Always => "",
        Need::IfServed => ", and MISSING does not say that the API does not serve them",
    };
    Err(Diagnostic::new(
        Code::ObjectsLost,
        format!("the snapshot has no list of the cluster's {kind}{unless}"),
        "restore the file, or run `sh collect.sh cluster --force` where kubectl works: it writes every list, an empty one too",
    )
    .at(Place::start_of(&format!("snapshot/cluster/{kind}.yaml"))))
}

/// Reads `cluster/<kind>.yaml`.
pub fn read(folder: &Path) -> Result<BTreeMap<ObjectId, Arc<Value>>> {
    let entries = fs::read_dir(folder.join("cluster")).map_err(|e| {
        Diagnostic::new(
            Code::SnapshotShape,
            format!("the snapshot has no readable folder cluster/: {}", why(&e)),
            "run `sh collect.sh cluster` where kubectl works, and put what it wrote beside nodes/",
        )
        .at(Place::start_of("snapshot/cluster"))
    })?;
    let mut names: Vec<String> = entries
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let kinds: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_suffix(".yaml"))
        .collect();
    refuse_lost(folder, &kinds)?;
    let mut lists: Vec<List> = parallel::map(&kinds, |kind| List::open(folder, kind))
        .into_iter()
        .collect::<Result<_>>()?;
    // What `kubectl version` printed is for people, and no List.
    lists.retain(|list| list.kind != "version");
    // What is kept of pods depends on their workloads.
    let (pods, others): (Vec<_>, Vec<_>) = lists.iter().partition(|list| list.kind == "pods");
    let mut out = BTreeMap::new();
    for lists in [others, pods] {
        let read = read_lists(&lists, &out)?.into_iter();
        out.extend(read.filter_map(|(id, object)| Some((id, object?))));
    }
    Ok(out)
}

/// A list of the objects of one kind.
struct List {
    kind: String,
    label: String,
    text: String,
}

/// Items of a list: their text, and their numbers.
struct Items<'l> {
    list: &'l List,
    text: &'l str,
    numbers: Range<usize>,
}

/// So many bytes of items are read at once: enough that dividing them costs nothing, and little enough that all cores
/// have work.
const SHARE: usize = 1 << 16;

impl List {
    fn open(folder: &Path, kind: &str) -> Result<List> {
        let label = format!("snapshot/cluster/{kind}.yaml");
        let path = folder.join("cluster").join(format!("{kind}.yaml"));
        let text = read_text(&path, &label, MAX_LIST)?;
        check_public(&text, &label)?;
        Ok(List {
            kind: kind.to_owned(),
            label,
            text,
        })
    }

    /// The list in shares, where it has the form in which kubectl prints it: each item begins with a dash in
    /// the first column. None where it has another.
    fn shares(&self) -> Option<Vec<Items<'_>>> {
        const BEGIN: &str = "\nitems:\n- ";
        let first = self.text.find(BEGIN)? + BEGIN.len() - 2;
        let body = &self.text[first..];
        let end = after_items(body);
        let before = self.text[..first].trim_end();
        let around = document(&format!("{before} []\n{}", &body[end..])).ok()?;
        around.get("items")?.as_array()?;
        is_list(&around).then_some(())?;
        let mut out = Vec::new();
        let (mut begin, mut number, mut seen) = (0, 0, 0);
        for next in ends_of_items(&body[..end]) {
            seen += 1;
            if next - begin >= SHARE || next == end {
                out.push(Items {
                    list: self,
                    text: &body[begin..next],
                    numbers: number..seen,
                });
                (begin, number) = (next, seen);
            }
        }
        Some(out)
    }

    /// The items of the whole text, read as one.
    fn items(&self) -> Result<Vec<Value>> {
        if self.text.trim().is_empty() {
            return Err(self.malformed("this is empty, and not a List with items"));
        }
        let mut list = document(&self.text).map_err(|e| {
            let place = e.location().map_or_else(
                || Place::start_of(&self.label),
                |at| Place {
                    file: self.label.clone(),
                    line: at.line(),
                    column: at.column(),
                },
            );
            Diagnostic::new(
                Code::YamlSyntax,
                "this is not valid YAML",
                "take the snapshot again",
            )
            .at(place)
        })?;
        let whole = is_list(&list);
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(_)) if !whole => Err(Diagnostic::new(
                Code::ObjectsLost,
                "this list has no `kind: List`, which kubectl writes behind the items: it may have been cut off",
                "restore the file, or run `sh collect.sh cluster --force` where kubectl works",
            )
            .at(Place::start_of(&self.label))),
            Some(Value::Array(items)) => Ok(items),
            _ => Err(self.malformed("this is not a List with items")),
        }
    }

    fn malformed(&self, why: &str) -> Diagnostic {
        Diagnostic::new(Code::ObjectMalformed, why, "take the snapshot again")
            .at(Place::start_of(&self.label))
    }

    /// An item with its id, as far as it is asked for; None where it is not.
    fn object(
        &self,
        index: usize,
        item: Value,
        others: &BTreeMap<ObjectId, Arc<Value>>,
    ) -> Result<(ObjectId, Option<Arc<Value>>)> {
        let field = |name: &str| {
            item.pointer(&format!("/metadata/{name}"))
                .and_then(Value::as_str)
        };
        let name =
            field("name").ok_or_else(|| self.malformed(&format!("item {index} has no name")))?;
        let namespace = field("namespace").unwrap_or_default();
        let hostile = |why: String| {
            Diagnostic::new(
                Code::HostileName,
                format!("item {index} has an unusable name: {why}"),
                "take the snapshot again",
            )
            .at(Place::start_of(&self.label))
        };
        names::object_name(name).map_err(hostile)?;
        if !namespace.is_empty() {
            names::subdomain(namespace).map_err(hostile)?;
        }
        if let Some(why) = is_hostile(&self.kind, &item) {
            return Err(hostile(why.to_owned()));
        }
        if self.kind == "secrets" {
            check_secret(&item, &self.text, &self.label)?;
        }
        let id = ObjectId::new(&self.kind, namespace, name);
        Ok((id, lightened(&self.kind, item, others).map(Arc::new)))
    }
}

/// Where a list's items end: at the first line that neither is one's nor belongs to one.
fn after_items(body: &str) -> usize {
    let lines = body.match_indices('\n').map(|(at, _)| at + 1);
    let mut ends =
        lines.filter(|at| !matches!(body.as_bytes().get(*at), Some(b' ' | b'-' | b'\n')));
    ends.next().unwrap_or(body.len())
}

/// Where each of some items ends.
fn ends_of_items(items: &str) -> impl Iterator<Item = usize> {
    let starts = items.match_indices("\n- ").map(|(at, _)| at + 1);
    starts.chain([items.len()])
}

/// Whether this is a list by what stands behind its items.
fn is_list(around: &Value) -> bool {
    let kind = around.get("kind").and_then(Value::as_str);
    kind.is_some_and(|kind| kind.ends_with("List"))
}

/// What of an object goes into tables that scripts read, and is not in the form that it has: a node's address, the
/// identity of kube-system.
fn is_hostile(kind: &str, item: &Value) -> Option<&'static str> {
    let plain = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        let safe = |b: u8| b.is_ascii_alphanumeric() || b"-.:".contains(&b);
        text.len() <= 253 && text.bytes().all(safe)
    };
    let addresses = item.pointer("/status/addresses").and_then(Value::as_array);
    let mut addresses = addresses
        .into_iter()
        .flatten()
        .filter_map(|a| a.get("address"));
    match kind {
        "nodes" if !addresses.all(plain) => Some("an address of this node is none"),
        "namespaces" if !item.pointer("/metadata/uid").is_none_or(plain) => {
            Some("the uid of this namespace is none")
        }
        _ => None,
    }
}

fn document(text: &str) -> Result<Value, serde_yaml::Error> {
    serde_yaml::from_str(text).map(|Strict(value)| value)
}

type Objects = Vec<(ObjectId, Option<Arc<Value>>)>;

/// The objects of lists, in shares on all cores. What is wrong is looked for in a whole list, so that its place is
/// right.
fn read_lists(lists: &[&List], others: &BTreeMap<ObjectId, Arc<Value>>) -> Result<Objects> {
    let shares: Vec<Option<Vec<Items>>> = lists.iter().map(|list| list.shares()).collect();
    let all: Vec<&Items> = shares.iter().flatten().flatten().collect();
    let forms = Forms::default();
    let read = parallel::map(&all, |share| read_share(share, &forms, others));
    let mut read = read.into_iter();
    let mut out = Vec::new();
    for (list, shares) in lists.iter().zip(&shares) {
        let count = shares.as_ref().map_or(0, Vec::len);
        let of_shares: Option<Vec<Objects>> = read.by_ref().take(count).collect();
        let objects = match of_shares.filter(|_| shares.is_some()) {
            Some(objects) => objects.into_iter().flatten().collect(),
            None => read_whole(list, others)?,
        };
        let mut ids: Vec<&ObjectId> = objects.iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        let mut neighbours = ids.iter().zip(ids.iter().skip(1));
        if let Some((twice, _)) = neighbours.find(|(one, next)| one == next) {
            return Err(list.malformed(&format!("{twice} stands twice")));
        }
        out.extend(objects);
    }
    Ok(out)
}

/// The objects of a share; None where anything is not as it should be.
fn read_share(
    share: &Items<'_>,
    forms: &Forms,
    others: &BTreeMap<ObjectId, Arc<Value>>,
) -> Option<Objects> {
    let mut begin = 0;
    let mut out = Vec::with_capacity(share.numbers.len());
    for (end, index) in ends_of_items(share.text).zip(share.numbers.clone()) {
        let text = &share.text[begin..end];
        let item = forms.value(text, only_item).or_else(|| only_item(text))?;
        out.push(share.list.object(index, item, others).ok()?);
        begin = end;
    }
    (out.len() == share.numbers.len() && begin == share.text.len()).then_some(out)
}

/// The item of a list that has one.
pub fn only_item(text: &str) -> Option<Value> {
    let Value::Array(mut items) = document(text).ok()? else {
        return None;
    };
    let only = items.pop()?;
    items.is_empty().then_some(only)
}

fn read_whole(list: &List, others: &BTreeMap<ObjectId, Arc<Value>>) -> Result<Objects> {
    let items = list.items()?.into_iter().enumerate();
    items
        .map(|(index, item)| list.object(index, item, others))
        .collect()
}

/// Of a Secret, the collector leaves certificates, short annotations and references to what it withheld: what is longer
/// or holds a brace may be a copy of the whole Secret, as kubectl and Helm keep it.
fn check_secret(secret: &Value, text: &str, label: &str) -> Result<()> {
    let check = |place: &str, what: &str, is_fine: fn(&str) -> bool| {
        let values = match secret.pointer(place) {
            Some(Value::Object(fields)) => fields.values().collect(),
            other => Vec::from_iter(other),
        };
        for value in values {
            // Whatever is no text is not what the collector writes.
            let found = match value {
                Value::Null => continue,
                Value::String(value) if value.is_empty() || is_fine(value) => continue,
                Value::String(value) => text.find(value),
                _ => None,
            };
            let place = Place::at(label, text, found.unwrap_or(0));
            return Err(disclosed(what, place));
        }
        Ok(())
    };
    let value = "the value of a Secret";
    check("/data", value, is_public)?;
    check("/stringData", value, is_public)?;
    let copy = "an annotation of a Secret that may be a copy of it";
    check("/metadata/annotations", copy, is_short)
}

fn is_public(value: &str) -> bool {
    value.starts_with(KEPT) || are_only_certificates(value.as_bytes())
}

/// References are longer than what they stand for, and are not counted.
fn is_short(value: &str) -> bool {
    let words = value.split(' ').filter(|word| !word.contains(KEPT));
    let own: usize = words.map(|word| word.len() + 1).sum();
    own <= 254 && !value.contains('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> List {
        List {
            kind: "configmaps".to_owned(),
            label: "snapshot/cluster/configmaps.yaml".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn the_kinds_are_those_that_the_collector_asks_for() {
        let script = crate::collect::script();
        let (_, rest) = script.split_once("\nkinds='").unwrap();
        let (asked, _) = rest.split_once('\'').unwrap();
        let asked = asked.split_whitespace().map(|kind| kind.split('.').next());
        let known = KINDS.iter().map(|(kind, _)| Some(*kind));
        assert!(asked.eq(known));
        let (_, rest) = script.split_once("\n  for kind in configmaps").unwrap();
        let (more, _) = rest.split_once(';').unwrap();
        let needed = ["configmaps"].into_iter().chain(more.split_whitespace());
        let always = KINDS.iter().filter(|(_, need)| *need == Need::Always);
        assert!(needed.eq(always.map(|(kind, _)| *kind)));
    }

    fn both_ways(text: &str) -> (Result<Objects>, Result<Objects>) {
        let (list, none) = (list(text), BTreeMap::new());
        (read_lists(&[&list], &none), read_whole(&list, &none))
    }

    /// More items than one share holds, with texts that look like items.
    fn many() -> String {
        let item = |n: usize| {
            format!(
                "- apiVersion: v1\n  data:\n    list: |\n      - a\n      -  b\n    long: \"{}\"\n  kind: ConfigMap\n  metadata:\n    name: m-{n}\n    namespace: default\n",
                "x".repeat(n % 300)
            )
        };
        let items: String = (0..1000).map(item).collect();
        format!("apiVersion: v1\nitems:\n{items}kind: List\nmetadata:\n  resourceVersion: \"\"\n")
    }

    #[test]
    fn a_list_in_shares_is_the_same_as_the_whole_list() {
        let text = many();
        let count = list(&text).shares().map_or(0, |shares| shares.len());
        assert!(count > 2, "{count}");
        let (in_shares, whole) = both_ways(&text);
        let (in_shares, whole) = (in_shares.unwrap(), whole.unwrap());
        assert_eq!(in_shares.len(), 1000);
        assert_eq!(in_shares, whole);
    }

    #[test]
    fn whatever_form_a_list_has_it_is_read_as_a_whole_list_would_be() {
        let item = "- metadata: {name: a}\n";
        let quoted = "- metadata: {name: a}\n  data: {x: \"b\n- c\"}\n";
        for text in [
            format!("kind: List\nitems:\n{item}"),
            format!(
                "kind: List\nitems:\n{item}{}",
                item.replace("name: a", "name: b")
            ),
            format!("kind: List\nitems:\n{item}# a comment\nb: 2\n"),
            format!(
                "kind: List\nitems:\n{item}# a comment\n{}",
                item.replace("name: a", "name: b")
            ),
            format!("kind: List\nitems:\n{quoted}b: 2"),
            "kind: List\nitems:\n- &x\n  metadata: {name: a}\n- metadata: {name: b}\n  data: *x\n"
                .to_owned(),
            "kind: List\nitems:\n- metadata: {name: a}\n-\n  metadata: {name: b}\n".to_owned(),
            "kind: List\nitems:\n  - metadata: {name: a}\n".to_owned(),
            "kind: List\nitems: []\n".to_owned(),
            "{\"kind\": \"List\", \"items\": [{\"metadata\": {\"name\": \"a\"}}]}\n".to_owned(),
        ] {
            let (shared, whole) = both_ways(&text);
            assert_eq!(shared.unwrap(), whole.unwrap(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_found_at_its_place() {
        let item = "- metadata: {name: a}\n";
        for text in [
            format!("kind: List\nitems:\n{item}{item}"),
            format!("kind: List\nitems:\n{item}- metadata: {{name: a, name: b}}\n"),
            format!("kind: List\nitems:\n{item}- metadata: {{}}\n"),
            format!("kind: List\nitems:\n{item}---\nitems: []\n"),
            format!("kind: List\nitems:\n{item}items: []\n"),
            format!("kind: List\nkind: List\nitems:\n{item}"),
            format!("kind: List\nitems:\n{item}b: 2\nb: 3\n"),
            format!("kind: List\nitems:\n{item}- metadata: [\n"),
            "\n".to_owned(),
        ] {
            let (shared, whole) = both_ways(&text);
            let shared = shared.unwrap_err().to_string();
            // Only that a name stands twice is seen after the reading of one.
            if let Err(whole) = whole {
                assert_eq!(shared, whole.to_string(), "{text}");
            } else {
                assert!(shared.contains("stands twice"), "{shared}");
            }
        }
    }
}
