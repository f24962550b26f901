#!/bin/sh
# 03-service-account-trust: wait until every namespace has old and new CA
#
# The leading controller manager writes ConfigMap `kube-root-ca.crt` and the `ca.crt` of token
# Secrets in every namespace. They are its objects, so they are waited for and never applied: it
# would revert a foreign edit. On clusters with many namespaces it lags.
#
# Nodes: nothing
# Cluster: wait-ca-all 1
#
# This script looks whether this node, or with --cluster the cluster, is as the phase leaves it. It
# changes nothing; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main verify "$here" "$@"
