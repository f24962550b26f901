#!/bin/sh
# 13-client-certificates: control plane, kubelets and users get client certificates of the new CA
#
# Each is re-issued for the same subject and extensions, and for its own key unless new keys are
# asked for, so the identity that API servers see stays the same. Every kubelet is re-issued now:
# one that renews by itself would keep its old certificate for up to a year and be locked out in 18
# (gap G7).
#
# Nodes: 21 files on 5 nodes
# Cluster: nothing
#
# This script carries the phase out, here: on this node, or with --cluster on the cluster. It checks
# before it writes, can be started again at any time, and tells with --dry-run what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main apply "$here" "$@"
