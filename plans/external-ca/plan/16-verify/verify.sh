#!/bin/sh
# 16-verify: served certificates are of the new CA, and every Node is known
#
# A quiet log proves little: an untrusted client is answered with 401, and APIService availability
# is probed without verification (gap G20). So the served chains are verified against the new CA
# alone, and every Node object, those that joined since included (G7).
#
# Nodes: nothing
# Cluster: gate-nodes 1, probe 1
#
# This script looks whether this node, or with --cluster the cluster, is as the phase leaves it. It
# changes nothing; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main verify "$here" "$@"
