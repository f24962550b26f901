//! Whether the snapshot shows what programs read by their flags and configuration: certificates, trust, kubeconfigs. No
//! phase changes a file that is not there, and whoever reads it would be left behind with the old CA.
//!
//! Knows which flags name such files. It must not know what is in them.

use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::layout::{self, snapshot_file};
use crate::names::{NodeName, NodePath};
use crate::state::{Node, State};

/// Flags of programs of the control plane that name a file with public certificates, or a kubeconfig.
const NAMED: [&str; 14] = [
    "authentication-kubeconfig",
    "authorization-kubeconfig",
    "cert-file",
    "client-ca-file",
    "etcd-certfile",
    "kubeconfig",
    "kubelet-certificate-authority",
    "kubelet-client-certificate",
    "peer-cert-file",
    "peer-trusted-ca-file",
    "proxy-client-cert-file",
    "requestheader-client-ca-file",
    "tls-cert-file",
    "trusted-ca-file",
];

/// Refuses a snapshot that lacks one of them, at the flag.
pub fn check(state: &State) -> Result<()> {
    let looked = state.look_at_nodes(|node, files| check_node(state, node, files));
    looked.map(|_| ())
}

fn check_node(state: &State, node: &NodeName, files: &Node) -> Result<()> {
    for component in layout::components(state, node)? {
        for flag in NAMED {
            let Some(value) = component.flag(flag)?.filter(|value| !value.is_empty()) else {
                continue;
            };
            // What no volume covers is refused by whoever would change it.
            let path = component.host_path(&value);
            if let Some(path) = path.and_then(|path| NodePath::cleaned(&path)) {
                let who = || format!("--{flag} of {} on {node}", component.program);
                is_there(files, &path, who, || component.flag_place(flag))?;
            }
        }
    }
    let Some(kubelet) = layout::kubelet(state, node)? else {
        return Ok(());
    };
    let place = || {
        let said = kubelet.files().next();
        Place::start_of(&said.map_or_else(String::new, |path| snapshot_file(node, path)))
    };
    for (what, path) in [
        ("the kubeconfig", &kubelet.kubeconfig),
        ("the client CA file", &kubelet.client_ca_file),
        ("the serving certificate", &kubelet.serving),
    ] {
        if let Some(path) = path {
            is_there(
                files,
                path,
                || format!("{what} of the kubelet on {node}"),
                place,
            )?;
        }
    }
    Ok(())
}

fn is_there(
    files: &Node,
    path: &NodePath,
    who: impl Fn() -> String,
    place: impl Fn() -> Place,
) -> Result<()> {
    if files.file(path).is_some() {
        return Ok(());
    }
    let why = if files.files.contains_key(path) {
        "whose text the collector withheld: it is no plain text, or too large"
    } else {
        "which the snapshot of this node lacks"
    };
    Err(Diagnostic::new(
        Code::FileUnreadable,
        format!("{} is {path}, {why}", who()),
        "see that the file is there and holds nothing but PEM or a kubeconfig, and collect this node again",
    )
    .at(place()))
}
