#!/bin/sh
# 04-restart-in-cluster-clients: roll every workload whose pods use the API
#
# Client libraries read the CA once, when they start. A pod that started before phase 03 trusts only
# the old CA, and fails when the API servers' certificate changes in 14. The page names only system
# pods; every pod with a mounted ServiceAccount counts (gap G10).
#
# Nodes: nothing
# Cluster: patch 2, rollout 2
#
# This script carries the phase out, here: on this node, or with --cluster on the cluster. It checks
# before it writes, can be started again at any time, and tells with --dry-run what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main apply "$here" "$@"
