#!/bin/sh
# 00-preflight: check that every node is as the snapshot shows it, and back up what will be touched
#
# A rotation that stops half-way is worse than none. Before the first change every file that a later
# phase touches is compared with the snapshot and backed up outside the manifests directory, and
# every Node object must be one that this plan knows.
#
# Nodes: nothing
# Cluster: gate-nodes 1, note 1
#
# This script puts back what the phase found here, from the backup that apply.sh made: every byte, mode
# and owner. README.md says until when that is safe; --dry-run tells what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main rollback "$here" "$@"
