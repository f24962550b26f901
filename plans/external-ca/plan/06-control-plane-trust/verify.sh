#!/bin/sh
# 06-control-plane-trust: scheduler, controller manager and cloud controller manager trust both CAs
#
# Their `--client-ca-file` and `--requestheader-client-ca-file` decide who may ask for health and
# metrics. kubeadm sets none for the scheduler, which then takes the API servers' (gap G6). The page
# says that the controller manager's must not be a bundle; it may (G9).
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
