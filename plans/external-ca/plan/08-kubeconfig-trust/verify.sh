#!/bin/sh
# 08-kubeconfig-trust: kubeconfigs of control plane, node agents and users trust both CAs
#
# A client that knows only the old CA fails at the first write of phase 14, when API servers begin
# to serve the new certificate. So everybody gets the widened file now, copies of admin.conf on the
# nodes included (gaps G13, G15).
#
# Nodes: 7 files on 1 node
# Cluster: nothing
#
# This script looks whether this node, or with --cluster the cluster, is as the phase leaves it. It
# changes nothing; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main verify "$here" "$@"
