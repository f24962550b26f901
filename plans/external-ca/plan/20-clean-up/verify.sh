#!/bin/sh
# 20-clean-up: remove helper files, backups and old keys
#
# No flag names the bundles and the new CA's second copies any more. The backups hold the old CA's
# key; they go only when asked for by name.
#
# Nodes: 5 files on 2 nodes
# Cluster: nothing
#
# This script looks whether this node, or with --cluster the cluster, is as the phase leaves it. It
# changes nothing; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main verify "$here" "$@"
