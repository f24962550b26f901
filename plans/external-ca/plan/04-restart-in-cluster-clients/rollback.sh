#!/bin/sh
# 04-restart-in-cluster-clients: roll every workload whose pods use the API
#
# Client libraries read the CA once, when they start. A pod that started before phase 03 trusts only
# the old CA, and fails when the API servers' certificate changes in 14. The page names only system
# pods; every pod with a mounted ServiceAccount counts (gap G10).
#
# Nodes: nothing
# Cluster: patch 2, rollout 2
#
# This script puts back what the phase found here, from the backup that apply.sh made: every byte, mode
# and owner. README.md says until when that is safe; --dry-run tells what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main rollback "$here" "$@"
