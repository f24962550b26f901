#!/bin/sh
# 05-apiserver-trust: API servers trust both CAs for clients, kubelets, front proxy and etcd
#
# `--client-ca-file`, `--kubelet-certificate-authority`, `--requestheader-client-ca-file` (not named
# by the page, gap G3) and `--etcd-cafile` (G4) are pointed at bundles, on one control plane after
# another. A flag that is not set is not added.
#
# Nodes: 1 files on 1 node
# Cluster: nothing
#
# This script carries the phase out, here: on this node, or with --cluster on the cluster. It checks
# before it writes, can be started again at any time, and tells with --dry-run what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main apply "$here" "$@"
