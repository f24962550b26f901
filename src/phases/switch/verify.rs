//! 16: everything that can be observed from outside is of the new CA. The gate before old trust goes.

use crate::diagnostic::Result;
use crate::layout::{self, Program};
use crate::phases::tools::address;
use crate::phases::{Act, Action, Outcome, Part, Phase, Step, WayBack};
use crate::rotation::Rotation;
use crate::spec::CaName;
use crate::state::State;

/// The phase.
pub const PHASE: Phase = Phase {
    number: 16,
    name: "verify",
    act: Act::Switch,
    page_step: "11",
    title: "served certificates are of the new CA, and every Node is known",
    why: "A quiet log proves little: an untrusted client is answered with 401, and APIService \
          availability is probed without verification (gap G20). So the served chains are verified \
          against the new CA alone, and every Node object, those that joined since included (G7).",
    way_back: WayBack::nothing("nothing changes here.", "nothing."),
    run,
};

fn run(rotation: &Rotation, before: &State) -> Result<Outcome> {
    let mut actions = vec![Action::GateNodes(before.nodes.keys().cloned().collect())];
    if let Some(pair) = rotation.cas.get(&CaName::Cluster) {
        let anchors = pair.new.to_pem();
        for component in layout::all(before, Program::Apiserver)? {
            // A control plane without a kubelet has no Node object.
            let of_node = address(before, &component.node);
            let advertised = component.flag("advertise-address")?;
            let Some(host) = of_node.or(advertised) else {
                continue;
            };
            let port = component
                .flag("secure-port")?
                .unwrap_or_else(|| "6443".to_owned());
            actions.push(Action::ProbeServed {
                address: join_host_port(&host, &port),
                name: host,
                anchors: anchors.clone(),
            });
        }
        let authority = rotation.spec.endpoint.trim_start_matches("https://");
        let (host, port) = split_host_port(authority);
        actions.push(Action::ProbeServed {
            address: join_host_port(host, port),
            name: host.to_owned(),
            anchors,
        });
    }
    let step = Step {
        title: "look from outside".into(),
        part: Part::Cluster,
        after: before.clone(),
        actions,
    };
    Ok(Outcome {
        steps: vec![step],
        ..Outcome::default()
    })
}

/// `host:port`, with brackets around an IPv6 address.
fn join_host_port(host: &str, port: &str) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Host and port of an authority; 443 where it names none.
fn split_host_port(authority: &str) -> (&str, &str) {
    if let Some(rest) = authority.strip_prefix('[')
        && let Some((host, rest)) = rest.split_once(']')
    {
        return (host, rest.strip_prefix(':').unwrap_or("443"));
    }
    authority.rsplit_once(':').unwrap_or((authority, "443"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_split_into_host_and_port() {
        assert_eq!(split_host_port("k8s-api.lab:6443"), ("k8s-api.lab", "6443"));
        assert_eq!(split_host_port("k8s-api.lab"), ("k8s-api.lab", "443"));
        assert_eq!(split_host_port("[fd00::1]:6443"), ("fd00::1", "6443"));
        assert_eq!(join_host_port("fd00::1", "6443"), "[fd00::1]:6443");
    }
}
