#!/bin/sh
# 17-retire-service-accounts: ServiceAccounts, cluster-info and caBundles trust the new CA only
#
# Every server of this plan has its new certificate since 14, so clients need the old CA no longer.
# Pods start anew to forget it: taking off the annotation of phase 04 rolls them, so nothing is left
# behind in their templates.
#
# Nodes: 2 files on 2 nodes
# Cluster: patch 3, rollout 2, wait-ca-all 1
#
# This script puts back what the phase found here, from the backup that apply.sh made: every byte, mode
# and owner. README.md says until when that is safe; --dry-run tells what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main rollback "$here" "$@"
