//! The scripts of a phase and the table that they read first. What they share lies once in `lib/`.

use std::fmt::Write as _;
use std::net::IpAddr;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, context};

use super::PhaseView;
use crate::collect::PUBLIC_FORM;
use crate::diagnostic::{Code, Diagnostic, Result};
use crate::layout::{self, Component, Program};
use crate::names::NodeName;
use crate::rotation::Rotation;
use crate::spec::Role;
use crate::state::ObjectId;
use crate::trust::host_of;

/// The library of the scripts: name below `lib/` and text.
pub fn library() -> [(&'static str, String); 6] {
    let text = str::to_owned;
    [
        (
            "cluster.sh",
            text(include_str!("../../templates/lib/cluster.sh")),
        ),
        ("main.sh", text(include_str!("../../templates/lib/main.sh"))),
        ("node.sh", text(include_str!("../../templates/lib/node.sh"))),
        (
            "process.sh",
            text(include_str!("../../templates/lib/process.sh")),
        ),
        (
            "public-form.sh",
            // Alone, unlike in the collector, it must say which shell it is for.
            format!("# shellcheck shell=sh\n{PUBLIC_FORM}"),
        ),
        ("user.sh", text(include_str!("../../templates/lib/user.sh"))),
    ]
}

/// The usual syntax, but files keep the line break at their end.
fn syntax() -> Result<SyntaxConfig> {
    SyntaxConfig::builder()
        .keep_trailing_newline(true)
        .build()
        .map_err(|e| template_defect("syntax", &e))
}

fn template_defect(name: &str, error: &minijinja::Error) -> Diagnostic {
    Diagnostic::new(
        Code::EditMismatch,
        format!("the template {name} failed: {error:#}"),
        "this is a defect in carota: please report it",
    )
}

/// Renders a template. A template that fails is a defect, reported as such.
pub fn render(name: &str, template: &str, context: minijinja::Value) -> Result<String> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_syntax(syntax()?);
    env.render_named_str(name, template, context)
        .map_err(|e| template_defect(name, &e))
}

/// `apply.sh`, `verify.sh` and `rollback.sh`.
pub fn of(view: &PhaseView) -> Result<Vec<(&'static str, String)>> {
    let phase = view.done.phase;
    let summary = comment_lines(phase.why);
    let nodes = if view.changes.is_empty() {
        "nothing".to_owned()
    } else {
        let nodes = view.changes.nodes();
        let many = if nodes.len() == 1 { "node" } else { "nodes" };
        format!(
            "{} files on {} {many}",
            view.changes.file_count(),
            nodes.len()
        )
    };
    let cluster = if view.cluster.is_empty() {
        "nothing".to_owned()
    } else {
        view.cluster
            .counts()
            .iter()
            .map(|(op, n)| format!("{op} {n}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    [
        ("apply.sh", include_str!("../../templates/phase/apply.sh")),
        ("verify.sh", include_str!("../../templates/phase/verify.sh")),
        (
            "rollback.sh",
            include_str!("../../templates/phase/rollback.sh"),
        ),
    ]
    .into_iter()
    .map(|(name, template)| {
        let context = context! {
            phase => context! { name => view.directory(), number => phase.number },
            title => phase.title,
            summary => &summary,
            nodes => &nodes,
            cluster => &cluster,
        };
        Ok((name, render(name, template, context)?))
    })
    .collect()
}

/// A paragraph wrapped to lines of a comment.
fn comment_lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().filter(|l| l.len() + 1 + word.len() <= 98);
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// PHASE.
pub fn phase_file(
    rotation: &Rotation,
    view: &PhaseView,
    previous: Option<String>,
) -> Result<String> {
    let spec = rotation.spec;
    let uid = rotation
        .start
        .object(&ObjectId::new("namespaces", "", "kube-system"))
        .and_then(|o| o.pointer("/metadata/uid"))
        .and_then(|uid| uid.as_str())
        .unwrap_or_default();
    let mut out = String::new();
    for (key, value) in [
        ("number", format!("{:02}", view.done.phase.number)),
        ("name", view.done.phase.name.to_owned()),
        ("previous", previous.unwrap_or_else(|| "-".to_owned())),
        ("id", spec.id.clone()),
        ("order", view.order()),
        (
            "serial",
            (if view.serial() { "1" } else { "any" }).to_owned(),
        ),
        ("not-before", spec.not_before.to_string()),
        ("not-after", spec.window_end.to_string()),
        ("cluster-uid", uid.to_owned()),
    ] {
        let _ = writeln!(out, "{key}\t{value}");
    }
    if let Some(members) = members(rotation, view)? {
        let _ = writeln!(out, "etcd-members\t{members}");
    }
    let is_master = |node: &NodeName| rotation.start.nodes[node].role == Role::ControlPlane;
    if view.changes.restarting_nodes().any(is_master) {
        let nodes = rotation.start.nodes_with(Role::ControlPlane);
        let nodes: Vec<&str> = nodes.map(NodeName::as_str).collect();
        let _ = writeln!(out, "control-planes\t{}", nodes.join(" "));
    }
    Ok(out)
}

/// Every etcd member with its client URL, or `-` where that is none that a script can ask, if members restart of which the
/// API does not know: those on nodes of their own, and units of systemd. They must ask one another.
fn members(rotation: &Rotation, view: &PhaseView) -> Result<Option<String>> {
    let of_etcd = |node: &NodeName| rotation.start.nodes[node].role == Role::Etcd;
    let members = layout::all(&rotation.start, Program::Etcd)?;
    let restarts = |member: &Component| view.changes.restarts_unit(&member.node, &member.path);
    if !view.changes.restarting_nodes().any(of_etcd) && !members.iter().any(|m| restarts(m)) {
        return Ok(None);
    }
    let mut out = Vec::new();
    for member in members {
        let urls = member.flag("advertise-client-urls")?.unwrap_or_default();
        let url = urls.split(',').find(|url| plain_url(url)).unwrap_or("-");
        out.push(format!("{}={url}", member.node));
    }
    Ok((!out.is_empty()).then(|| out.join(" ")))
}

/// Whether a URL is of one host for all others, and can stand in a table whose columns and words the shell takes apart.
fn plain_url(url: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:/[]".contains(&b);
    let host = host_of(url);
    // Whoever asks there asks itself.
    let own = |host: IpAddr| host.is_loopback() || host.is_unspecified();
    url.starts_with("https://")
        && url.bytes().all(plain)
        && host != "localhost"
        && !host.parse().is_ok_and(own)
}

#[cfg(test)]
mod tests {
    use super::plain_url;

    #[test]
    fn only_an_address_of_one_host_is_asked() {
        for url in [
            "https://10.0.0.2:2379",
            "https://etcd-2.lab:2379",
            "https://[fd00::2]:2379",
        ] {
            assert!(plain_url(url), "{url}");
        }
        for url in [
            "https://127.0.0.1:2379",
            "https://[::1]:2379",
            "https://0.0.0.0:2379",
            "https://localhost:2379",
            "http://10.0.0.2:2379",
            "https://$(id):2379",
        ] {
            assert!(!plain_url(url), "{url}");
        }
    }
}
