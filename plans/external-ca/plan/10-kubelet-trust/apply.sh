#!/bin/sh
# 10-kubelet-trust: kubelets trust both CAs, for their clients and for API servers
#
# `clientCAFile` decides which API server may ask for logs and exec; the CA data of kubelet.conf
# decides which API server the kubelet believes. Both are read when the kubelet starts; restarting
# it leaves containers alone.
#
# Nodes: 4 files on 2 nodes
# Cluster: nothing
#
# This script carries the phase out, here: on this node, or with --cluster on the cluster. It checks
# before it writes, can be started again at any time, and tells with --dry-run what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main apply "$here" "$@"
