#!/bin/sh
# 17-retire-service-accounts: ServiceAccounts, cluster-info and caBundles trust the new CA only
#
# Every server of this plan has its new certificate since 14, so clients need the old CA no longer.
# Pods start anew to forget it: taking off the annotation of phase 04 rolls them, so nothing is left
# behind in their templates.
#
# Nodes: 4 files on 2 nodes
# Cluster: patch 3, rollout 2, wait-ca-all 1
#
# This script carries the phase out, here: on this node, or with --cluster on the cluster. It checks
# before it writes, can be started again at any time, and tells with --dry-run what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main apply "$here" "$@"
