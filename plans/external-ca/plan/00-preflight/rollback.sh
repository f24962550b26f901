#!/bin/sh
# 00-preflight: check that every node is as the snapshot shows it
#
# A rotation that stops half-way is worse than none. Before the first change every file that a later
# phase touches is compared with the snapshot, and every Node object must be one that this plan
# knows. Each later phase backs up what it touches, outside the manifests directory.
#
# Nodes: 0 files on 2 nodes
# Cluster: gate-nodes 1, note 1
#
# This script puts back what the phase found here, from the backup that apply.sh made: every byte, mode
# and owner. README.md says until when that is safe; --dry-run tells what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main rollback "$here" "$@"
