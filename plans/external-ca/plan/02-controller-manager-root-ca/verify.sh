#!/bin/sh
# 02-controller-manager-root-ca: kube-controller-manager publishes old and new CA to ServiceAccounts
#
# `--root-ca-file` is what every pod comes to trust for the API. It is pointed at the bundle first,
# because it takes longest to reach everything. The signer stays on the old CA: signing with the new
# one before API servers trust it would lock out a kubelet that renews just then (the page does
# that; gap G1).
#
# Nodes: 1 files on 1 node
# Cluster: nothing
#
# This script looks whether this node, or with --cluster the cluster, is as the phase leaves it. It
# changes nothing; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main verify "$here" "$@"
