#!/bin/sh
# 18-retire-control-plane: the control plane trusts the new CA only; manifests and units are as they were
#
# First the original files get the new CA alone, then manifests and units go back to what the
# snapshot shows, byte for byte, which restarts every program that the rotation touched. From its
# first restart on, a client certificate of the old CA is refused: so each user must have confirmed
# the new one (gap G13). What API servers publish of their trust is a union that only grows; it is
# pruned after the last of them.
#
# Nodes: 28 files on 2 nodes
# Cluster: ack 1, prune-auth 2
#
# This script carries the phase out, here: on this node, or with --cluster on the cluster. It checks
# before it writes, can be started again at any time, and tells with --dry-run what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main apply "$here" "$@"
