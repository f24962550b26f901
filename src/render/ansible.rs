//! Playbooks for fleets: Ansible carries each host its bundle and calls the same scripts in the same
//! order. Knows hosts by role and which phase has work where. Nothing is done here that the scripts do
//! not do by themselves: what they refuse, stops the play.
//!
//! Names of nodes and phases are letters, digits, `-` and `.`: nothing in them means anything to YAML,
//! inside quotes, or to Jinja.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use minijinja::context;

use super::PhaseView;
use super::scripts::render;
use crate::diagnostic::Result;
use crate::names::NodeName;
use crate::ranges;
use crate::rotation::Rotation;
use crate::spec::Role;

/// What is the same in every plan: name below `ansible/` and text.
const COMMON: [(&str, &str); 6] = [
    (
        "bundles.yml",
        include_str!("../../templates/ansible/bundles.yml"),
    ),
    (
        "forget.yml",
        include_str!("../../templates/ansible/forget.yml"),
    ),
    (
        "rollback.yml",
        include_str!("../../templates/ansible/rollback.yml"),
    ),
    (
        "tasks/apply.yml",
        include_str!("../../templates/ansible/tasks/apply.yml"),
    ),
    (
        "tasks/back.yml",
        include_str!("../../templates/ansible/tasks/back.yml"),
    ),
    (
        "tasks/bundle.yml",
        include_str!("../../templates/ansible/tasks/bundle.yml"),
    ),
];

/// Groups of hosts in the order in which phases come to them: role, group, what people call it, and how
/// many at a time.
const GROUPS: [(Role, &str, &str, &str); 3] = [
    (
        Role::ControlPlane,
        "carota_control_planes",
        "control planes",
        "1",
    ),
    (Role::Etcd, "carota_etcd", "nodes of etcd", "1"),
    (
        Role::Worker,
        "carota_workers",
        "workers",
        "{{ carota_workers_at_once | default('10%') }}",
    ),
];

/// Where a phase's half in the cluster runs.
const KUBECTL: &str = "{{ carota_kubectl | default('carota_control_planes[0]') }}";

/// What the tasks share. The lists are what a script is called with.
const VARIABLES: &str = r#"  vars:
    carota_home: /root/carota
    carota_bundle: "carota-@ID@-{{ inventory_hostname }}"
    carota_shell: [sh]
    carota_scripts: "{{ carota_home }}/{{ carota_bundle }}/plan/{{ carota_phase }}"
    carota_apply: "{{ carota_shell + [carota_scripts ~ '/apply.sh'] }}"
    carota_verify: "{{ carota_shell + [carota_scripts ~ '/verify.sh'] }}"
    carota_rollback: "{{ carota_shell + [carota_scripts ~ '/rollback.sh'] }}"
    carota_acks: []
    carota_options: []
    carota_given: "{{ ['--digest', carota_digest] + (['--dry-run'] if ansible_check_mode else [])
      + (['--ack'] | product(carota_acks) | map('list') | flatten) + carota_options }}"
    carota_environment: "{{ {'KUBECONFIG': carota_kubeconfig} if carota_kubeconfig is defined else {} }}"
"#;

/// The files below `ansible/`.
pub fn files(rotation: &Rotation, views: &[PhaseView]) -> Result<Vec<(String, String)>> {
    let mut out: Vec<(String, String)> = COMMON
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    out.push(("inventory.yml".to_owned(), inventory(rotation)));
    let mut site = include_str!("../../templates/ansible/site.yml").to_owned();
    for view in views {
        let Some(plays) = plays(rotation, view)? else {
            continue;
        };
        let name = format!("{}.yml", view.directory());
        let _ = write!(
            site,
            "\n- name: Phase {}\n  ansible.builtin.import_playbook: {name}\n",
            view.directory()
        );
        out.push((name, plays));
    }
    out.push(("site.yml".to_owned(), site));
    Ok(out)
}

/// The playbook of a phase; None where it has nothing to do.
fn plays(rotation: &Rotation, view: &PhaseView) -> Result<Option<String>> {
    let nodes = view.changes.nodes();
    let roles: BTreeSet<Role> = nodes
        .iter()
        .map(|node| rotation.start.nodes[node].role)
        .collect();
    let phase = view.directory();
    let play = |who: &str, hosts: &str, serial: &str, options: &str| {
        let context = context! {
            phase => &phase, who => who, hosts => hosts, serial => serial, where => options,
        };
        render(
            "ansible/play.yml",
            include_str!("../../templates/ansible/play.yml"),
            context,
        )
    };
    let order = view.order();
    let mut out = Vec::new();
    for part in order.split_whitespace() {
        if part == "cluster" && !view.cluster.is_empty() {
            out.push(play("the cluster", KUBECTL, "1", "{{ ['--cluster'] }}")?);
        } else if part == "node" {
            for (role, group, who, serial) in GROUPS {
                if roles.contains(&role) {
                    let node = "{{ ['--node', inventory_hostname] }}";
                    out.push(play(who, group, serial, node)?);
                }
            }
        }
    }
    Ok((!out.is_empty()).then(|| format!("---\n{}", out.join("\n"))))
}

/// Hosts by role; names that count up are one line.
fn inventory(rotation: &Rotation) -> String {
    let mut out = String::from(
        "---\n# The plan's nodes by role. Give their addresses in an inventory of your own beside this one.\nall:\n",
    );
    out.push_str(&VARIABLES.replace("@ID@", &rotation.spec.id));
    out.push_str("  children:\n");
    for (role, group, _, _) in GROUPS {
        let names: Vec<&NodeName> = rotation.start.nodes_with(role).collect();
        let hosts = ranges::of(&names);
        let _ = writeln!(out, "    {group}:");
        if hosts.is_empty() {
            out.push_str("      hosts: {}\n");
            continue;
        }
        out.push_str("      hosts:\n");
        for host in hosts {
            // As Ansible writes a range: `worker-[0001:0250]`.
            let _ = writeln!(out, "        \"{}\":", host.pattern(':'));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_hold_what_yaml_or_jinja_would_read() {
        for hostile in ["{{ x }}", "a\"b", "a: b", "a\nb", "x[1:3]", "all:", "-a"] {
            assert!(NodeName::new(hostile).is_err(), "{hostile}");
        }
    }
}
