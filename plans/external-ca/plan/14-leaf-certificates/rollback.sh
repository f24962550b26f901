#!/bin/sh
# 14-leaf-certificates: API servers, etcd, kubelets' serving and workloads' certificates of the new CA
#
# This is the switch that everybody sees: API servers serve the new certificate within seconds of
# the file write, before any restart. So everybody outside carota's reach must have confirmed the
# widened kubeconfig of phase 08 before the first write (gap G13).
#
# Nodes: 10 files on 1 node
# Cluster: nothing
#
# This script puts back what the phase found here, from the backup that apply.sh made: every byte, mode
# and owner. README.md says until when that is safe; --dry-run tells what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main rollback "$here" "$@"
