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
# This script carries the phase out, here: on this node, or with --cluster on the cluster. It checks
# before it writes, can be started again at any time, and tells with --dry-run what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main apply "$here" "$@"
