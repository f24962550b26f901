#!/bin/sh
# 07-etcd-trust: etcd members trust both CAs, one member after another
#
# The page does not cover etcd (gap G4). A member reads its CA files only when it starts, so each
# restarts once, and the next only when it is healthy and has caught up: two at once would lose
# quorum.
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
