#!/bin/sh
# 02-controller-manager-root-ca: kube-controller-manager publishes old and new CA to ServiceAccounts
#
# `--root-ca-file` is what every pod comes to trust for the API. It is pointed at the bundle first,
# because it takes longest to reach everything. The signer stays on the old CA: signing with the new
# one before API servers trust it would lock out a kubelet that renews just then (the page does
# that; gap G1).
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
