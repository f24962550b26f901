#!/bin/sh
# 00-preflight: check that every node is as the snapshot shows it, and back up what will be touched
#
# A rotation that stops half-way is worse than none. Before the first change every file that a later
# phase touches is compared with the snapshot and backed up outside the manifests directory, and
# every Node object must be one that this plan knows.
#
# Nodes: nothing
# Cluster: gate-nodes 1, note 1
#
# This script looks whether this node, or with --cluster the cluster, is as the phase leaves it. It
# changes nothing; see --help.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main verify "$here" "$@"
