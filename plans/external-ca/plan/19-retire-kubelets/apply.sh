#!/bin/sh
# 19-retire-kubelets: kubelets and node agents trust the new CA only; their configuration is as it was
#
# The same on every node: the original file of trust gets the new CA alone, the kubelet's
# configuration goes back to what the snapshot shows, byte for byte, and the kubelet starts anew.
#
# Nodes: 5 files on 2 nodes
# Cluster: nothing
#
# This script carries the phase out, here: on this node, or with --cluster on the cluster. It checks
# before it writes, can be started again at any time, and tells with --dry-run what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main apply "$here" "$@"
