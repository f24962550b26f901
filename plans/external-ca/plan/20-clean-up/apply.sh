#!/bin/sh
# 20-clean-up: remove helper files, backups and old keys
#
# No flag names the bundles and the new CA's second copies any more. The backups hold the old CA's
# key; they go only when asked for by name.
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
