//! API objects, as `kubectl get -A -o yaml` prints them: one List a kind.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::files::{check_public, disclosed};
use super::read_text;
use super::strict::Strict;
use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::edit::embedded;
use crate::input::MAX_LIST;
use crate::names;
use crate::parallel;
use crate::state::ObjectId;

/// Reads `cluster/<kind>.yaml`.
pub fn read(folder: &Path) -> Result<BTreeMap<ObjectId, Arc<Value>>> {
    let entries = fs::read_dir(folder.join("cluster")).map_err(|e| {
        Diagnostic::new(
            Code::SnapshotShape,
            format!("the snapshot has no readable folder cluster/: {}", e.kind()),
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
    let lists = parallel::map(&kinds, |kind| {
        let label = format!("snapshot/cluster/{kind}.yaml");
        let path = folder.join("cluster").join(format!("{kind}.yaml"));
        let text = read_text(&path, &label, MAX_LIST)?;
        check_public(&text, &label)?;
        // what `kubectl version` printed is for people, and no List
        if *kind == "version" {
            return Ok(BTreeMap::new());
        }
        read_list(kind, &text, &label)
    });
    let mut out = BTreeMap::new();
    for list in lists {
        out.extend(list?);
    }
    Ok(out)
}

/// The objects of one kind, whose name is part of their ids.
fn read_list(kind: &str, text: &str, label: &str) -> Result<BTreeMap<ObjectId, Arc<Value>>> {
    let mut out = BTreeMap::new();
    let malformed = |why: String| {
        Diagnostic::new(Code::ObjectMalformed, why, "take the snapshot again")
            .at(Place::start_of(label))
    };
    if text.trim().is_empty() {
        return Err(malformed("this is empty, and not a List with items".into()));
    }
    let Strict(mut list) = serde_yaml::from_str(text).map_err(|e| {
        let place = e.location().map_or_else(
            || Place::start_of(label),
            |at| Place {
                file: label.to_owned(),
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
    let Some(Value::Array(items)) = list.get_mut("items").map(Value::take) else {
        return Err(malformed("this is not a List with items".into()));
    };
    for (index, item) in items.into_iter().enumerate() {
        let field = |name: &str| {
            item.pointer(&format!("/metadata/{name}"))
                .and_then(Value::as_str)
        };
        let name = field("name").ok_or_else(|| malformed(format!("item {index} has no name")))?;
        let namespace = field("namespace").unwrap_or_default();
        let hostile = |why: String| {
            Diagnostic::new(
                Code::HostileName,
                format!("item {index} has an unusable name: {why}"),
                "take the snapshot again",
            )
            .at(Place::start_of(label))
        };
        names::object_name(name).map_err(hostile)?;
        if !namespace.is_empty() {
            names::subdomain(namespace).map_err(hostile)?;
        }
        if kind == "secrets" {
            check_secret(&item, text, label)?;
        }
        let id = ObjectId::new(kind, namespace, name);
        if out.insert(id.clone(), Arc::new(item)).is_some() {
            return Err(malformed(format!("{id} stands twice")));
        }
    }
    Ok(out)
}

/// Of a Secret, the collector leaves certificates and references to what it withheld.
fn check_secret(secret: &Value, text: &str, label: &str) -> Result<()> {
    let values = ["data", "stringData"]
        .iter()
        .filter_map(|field| secret.get(field)?.as_object())
        .flat_map(|map| map.values().filter_map(Value::as_str));
    for value in values {
        let public = value.is_empty()
            || value.starts_with("carota-kept:")
            || !embedded::find_embedded_certificates(value, label).is_empty();
        if !public {
            let at = text.find(value).unwrap_or(0);
            return Err(disclosed(
                "the value of a Secret",
                Place::at(label, text, at),
            ));
        }
    }
    Ok(())
}
