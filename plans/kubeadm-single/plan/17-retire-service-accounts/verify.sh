#!/bin/sh
# 17-retire-service-accounts: ServiceAccounts, cluster-info and caBundles trust the new CA only
#
# Every server of this plan has its new certificate since 14, so clients need the old CA no longer.
# Pods start anew to forget it: taking off the annotation of phase 04 rolls them, so nothing is left
# behind in their templates.
#
# Nodes: 1 files on 1 node
# Cluster: patch 3, rollout 2, wait-ca-all 1
#
# This script looks whether this node, or with --cluster the cluster, is as the phase leaves it. It
# changes nothing; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main verify "$here" "$@"
