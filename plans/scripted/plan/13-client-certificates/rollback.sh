#!/bin/sh
# 13-client-certificates: control plane, kubelets and users get client certificates of the new CA
#
# Each is re-issued for the same subject and extensions, and for its own key unless new keys are
# asked for, so the identity that API servers see stays the same. Every kubelet is re-issued now:
# one that renews by itself would keep its old certificate for up to a year and be locked out in 18
# (gap G7).
#
# Nodes: 13 files on 3 nodes
# Cluster: nothing
#
# This script puts back what the phase found here, from the backup that apply.sh made: every byte, mode
# and owner. README.md says until when that is safe; --dry-run tells what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main rollback "$here" "$@"
