#!/bin/sh
# 07-etcd-trust: etcd members trust both CAs, one member after another
#
# The page does not cover etcd (gap G4). A member reads its CA files only when it starts, so each
# restarts once, and the next only when it is healthy and has caught up: two at once would lose
# quorum.
#
# Nodes: 1 files on 1 node
# Cluster: nothing
#
# This script puts back what the phase found here, from the backup that apply.sh made: every byte, mode
# and owner. README.md says until when that is safe; --dry-run tells what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main rollback "$here" "$@"
