#!/bin/sh
# 00-preflight: check that every node is as the snapshot shows it
#
# A rotation that stops half-way is worse than none. Before the first change every file that a later
# phase touches is compared with the snapshot, and every Node object must be one that this plan
# knows. Each later phase backs up what it touches, outside the manifests directory.
#
# Nodes: 0 files on 2 nodes
# Cluster: gate-nodes 1, note 1
#
# This script looks whether this node, or with --cluster the cluster, is as the phase leaves it. It
# changes nothing; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main verify "$here" "$@"
