#!/bin/sh
# 14-leaf-certificates: API servers, etcd, kubelets' serving and workloads' certificates of the new CA
#
# This is the switch that everybody sees: API servers serve the new certificate within seconds of
# the file write, before any restart. So everybody outside carota's reach must have confirmed the
# widened kubeconfig of phase 08 before the first write (gap G13).
#
# Nodes: 10 files on 1 node
# Cluster: nothing
#
# This script looks whether this node, or with --cluster the cluster, is as the phase leaves it. It
# changes nothing; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main verify "$here" "$@"
